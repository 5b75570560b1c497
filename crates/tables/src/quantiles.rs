//! Quantiles of a stream in bounded memory: the KLL sketch (Karnin, Lang, Liberty, *Optimal Quantile
//! Approximation in Streams*, FOCS 2016), with k = 512.
//!
//! **Error:** the rank of an answer differs from the wanted one by at most [`RANK_ERROR`] of the count
//! (99 in 100 answers stay within a third of it); up to 512 numbers the answers are exact. Merging keeps
//! the bound. The coin comes from a seed, so the same stream gives the same sketch.

use crate::hashing::Random;

/// The largest difference of ranks, as a share of the count.
pub const RANK_ERROR: f64 = 0.015;
/// The size of the topmost level.
const TOP: usize = 512;
/// Lower levels are this much smaller, each than the one above.
const SHRINK: f64 = 2.0 / 3.0;
/// No level is smaller.
const LEAST: usize = 8;

/// A KLL sketch of finite numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantiles {
    /// Level h holds numbers that stand for 2ʰ each.
    levels: Vec<Vec<f64>>,
    held: usize,
    capacity: usize,
    count: u64,
    coin: Random,
}

impl Default for Quantiles {
    fn default() -> Self {
        Self { levels: vec![Vec::new()], held: 0, capacity: TOP, count: 0, coin: Random::new(0, 0x1c11) }
    }
}

impl Quantiles {
    /// Adds a number; one that is not finite is left out.
    pub fn push(&mut self, value: f64) {
        if value.is_finite() {
            self.levels[0].push(value);
            self.held += 1;
            self.count += 1;
            if self.held > self.capacity {
                self.compress();
            }
        }
    }

    /// Adds what another saw.
    pub fn merge(&mut self, other: &Self) {
        while self.levels.len() < other.levels.len() {
            self.levels.push(Vec::new());
        }
        for (ours, theirs) in self.levels.iter_mut().zip(&other.levels) {
            ours.extend_from_slice(theirs);
        }
        self.held += other.held;
        self.count += other.count;
        self.capacity = self.total_capacity();
        self.compress();
    }

    /// How many numbers were seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The numbers at the given shares, 0 to 1; none of an empty stream. Share 0.5 is the median.
    #[must_use]
    pub fn at(&self, shares: &[f64]) -> Option<Vec<f64>> {
        let sorted = self.weighted();
        let total: u64 = sorted.iter().map(|entry| entry.1).sum();
        if total == 0 {
            return None;
        }
        let mut upto = Vec::with_capacity(sorted.len());
        let mut sum = 0;
        for (_, weight) in &sorted {
            sum += weight;
            upto.push(sum);
        }
        let pick = |share: &f64| {
            let rank = share.clamp(0.0, 1.0) * (total - 1) as f64;
            let index = upto.partition_point(|&sum| sum as f64 <= rank);
            sorted[index.min(sorted.len() - 1)].0
        };
        Some(shares.iter().map(pick).collect())
    }

    /// The share of numbers that are at most each of `edges`.
    #[must_use]
    pub fn shares_upto(&self, edges: &[f64]) -> Option<Vec<f64>> {
        let sorted = self.weighted();
        let total: u64 = sorted.iter().map(|entry| entry.1).sum();
        let share = |edge: &f64| {
            let end = sorted.partition_point(|entry| entry.0 <= *edge);
            sorted[..end].iter().map(|entry| entry.1).sum::<u64>() as f64 / total as f64
        };
        (total > 0).then(|| edges.iter().map(share).collect())
    }

    fn weighted(&self) -> Vec<(f64, u64)> {
        let weigh = |(level, values): (usize, &Vec<f64>)| {
            values.iter().map(|value| (*value, 1_u64 << level)).collect::<Vec<_>>()
        };
        let mut all: Vec<(f64, u64)> = self.levels.iter().enumerate().flat_map(weigh).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all
    }

    fn level_capacity(&self, level: usize) -> usize {
        let depth = (self.levels.len() - 1 - level) as i32;
        ((TOP as f64 * SHRINK.powi(depth)).ceil() as usize).max(LEAST)
    }

    fn total_capacity(&self) -> usize {
        (0..self.levels.len()).map(|level| self.level_capacity(level)).sum()
    }

    /// Halves the lowest full level until all fits.
    fn compress(&mut self) {
        while self.held > self.capacity {
            let full = (0..self.levels.len()).find(|&level| self.levels[level].len() >= self.level_capacity(level));
            let Some(level) = full else { break };
            if level + 1 == self.levels.len() {
                self.levels.push(Vec::new());
                self.capacity = self.total_capacity();
            }
            let mut values = std::mem::take(&mut self.levels[level]);
            values.sort_by(f64::total_cmp);
            // An odd one stays behind, so that weights add up to the count exactly.
            if values.len() % 2 == 1 {
                let odd = if self.coin.next() & 1 == 0 { values.pop() } else { Some(values.remove(0)) };
                self.levels[level].extend(odd);
            }
            let first = (self.coin.next() & 1) as usize;
            let before = values.len();
            self.levels[level + 1].extend(values.iter().skip(first).step_by(2));
            self.held -= before / 2;
        }
    }
}
