//! A histogram that chooses its edges from the first numbers it gets, and counts all of them.

use serde::{Deserialize, Serialize};

/// Bins between the least and the greatest number.
const BINS: usize = 20;
/// The edges are chosen from this many numbers, or from all where there are fewer.
const CHOSEN_FROM_MAX: usize = 1 << 16;

/// Counts of numbers between edges: bin 0 is below the first edge, bin `i` from edge `i − 1` up to but
/// not including edge `i`, the last bin from the last edge on. There is one count more than edges.
///
/// Until it is written, compared or given to others, a new histogram keeps the numbers themselves;
/// then it takes their least, every twentieth part and just above their greatest as its edges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Settled", into = "Settled")]
pub struct Histogram {
    state: State,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Choosing(Vec<f64>),
    Settled(Settled),
}

/// A histogram as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Settled {
    edges: Vec<f64>,
    counts: Vec<u64>,
}

impl Histogram {
    /// One whose edges come from its numbers.
    #[must_use]
    pub fn quantiles() -> Self {
        Self { state: State::Choosing(Vec::new()) }
    }

    /// One of shares: twenty equal bins from 0 to 1.
    #[must_use]
    pub fn shares() -> Self {
        let edges = (1..BINS).map(|bin| bin as f64 / BINS as f64).collect();
        Self { state: State::Settled(Settled { edges, counts: vec![0; BINS] }) }
    }

    /// Counts a number; what is not a number is not counted.
    pub fn add(&mut self, number: f64) {
        if number.is_nan() {
            return;
        }
        match &mut self.state {
            State::Settled(settled) => settled.add(number),
            State::Choosing(numbers) => {
                numbers.push(number);
                if numbers.len() == CHOSEN_FROM_MAX {
                    self.state = State::Settled(self.settled());
                }
            }
        }
    }

    /// The edges between bins, rising.
    #[must_use]
    pub fn edges(&self) -> Vec<f64> {
        self.settled().edges
    }

    /// The counts, one more than edges.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        self.settled().counts
    }

    /// An empty one with the same edges.
    #[must_use]
    pub fn like(&self) -> Self {
        let Settled { edges, counts } = self.settled();
        Self { state: State::Settled(Settled { edges, counts: vec![0; counts.len()] }) }
    }

    pub(crate) fn fits(&self, other: &Self) -> bool {
        self.settled().edges == other.settled().edges
    }

    /// Adds the counts of a histogram with the same edges.
    pub(crate) fn merge(&mut self, other: &Self) {
        let mut mine = self.settled();
        let other = other.settled();
        mine.counts.iter_mut().zip(other.counts).for_each(|(mine, other)| *mine += other);
        self.state = State::Settled(mine);
    }

    fn settled(&self) -> Settled {
        match &self.state {
            State::Settled(settled) => settled.clone(),
            State::Choosing(numbers) => Settled::choose(numbers),
        }
    }
}

impl Settled {
    fn choose(numbers: &[f64]) -> Self {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let mut edges: Vec<f64> = (0..BINS).filter_map(|bin| sorted.get(bin * sorted.len() / BINS).copied()).collect();
        edges.extend(sorted.last().map(|greatest| greatest.next_up()));
        edges.dedup();
        let mut settled = Self { counts: vec![0; edges.len() + 1], edges };
        sorted.into_iter().for_each(|number| settled.add(number));
        settled
    }

    fn add(&mut self, number: f64) {
        self.counts[self.edges.partition_point(|edge| *edge <= number)] += 1;
    }
}

impl From<Histogram> for Settled {
    fn from(histogram: Histogram) -> Self {
        histogram.settled()
    }
}

impl From<Settled> for Histogram {
    fn from(mut settled: Settled) -> Self {
        // A file may say anything; what follows relies on these.
        settled.edges.sort_by(f64::total_cmp);
        settled.counts.resize(settled.edges.len() + 1, 0);
        Self { state: State::Settled(settled) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_divide_the_numbers_evenly() {
        let mut histogram = Histogram::quantiles();
        (0..1000).rev().for_each(|number| histogram.add(f64::from(number)));
        let counts = histogram.counts();
        assert_eq!(histogram.edges().len(), 21);
        assert_eq!(counts.len(), 22);
        assert_eq!((counts[0], counts[21]), (0, 0));
        assert!(counts[1..21].iter().all(|count| *count == 50), "{counts:?}");
    }

    #[test]
    fn a_constant_sees_what_is_above_and_below() {
        let mut baseline = Histogram::quantiles();
        (0..10).for_each(|_| baseline.add(7.0));
        assert_eq!(baseline.counts(), [0, 10, 0]);
        let mut traffic = baseline.like();
        [6.9, 7.0, 7.1, f64::INFINITY, f64::NAN].into_iter().for_each(|number| traffic.add(number));
        assert_eq!(traffic.counts(), [1, 1, 2]);
    }

    #[test]
    fn numbers_beyond_those_that_chose_the_edges_are_counted() {
        let mut histogram = Histogram::quantiles();
        for number in 0..CHOSEN_FROM_MAX + 5 {
            histogram.add(number as f64);
        }
        assert_eq!(histogram.counts().iter().sum::<u64>(), CHOSEN_FROM_MAX as u64 + 5);
        assert_eq!(histogram.counts().last(), Some(&5));
    }

    #[test]
    fn an_empty_one_is_written_and_read() {
        let empty = serde_json::to_string(&Histogram::quantiles()).unwrap();
        assert_eq!(empty, r#"{"edges":[],"counts":[0]}"#);
        let mut read: Histogram = serde_json::from_str(&empty).unwrap();
        read.add(1.0);
        assert_eq!(read.counts(), [1]);
    }
}
