//! Two ways of the same work, timed in turns, so that whatever else the machine does meets both.

use std::time::{Duration, Instant};

/// How long one side of one round lasts at least.
const ROUND: Duration = Duration::from_millis(20);
/// How many rounds there are at least and at most.
const ROUNDS: std::ops::RangeInclusive<usize> = 5..=25;
/// How long both sides of all rounds may last together, once there are enough of them.
const TOTAL: Duration = Duration::from_secs(2);

/// The speeds of two sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Speeds {
    /// Units a second: the medians over the rounds.
    pub per_second: [f64; 2],
    /// How many rounds there were.
    pub rounds: usize,
}

/// Times `work(side)`, which returns how many units it did, in turns; the side that begins changes
/// with every round.
///
/// # Errors
/// The first error of `work`.
pub(crate) fn race<E>(mut work: impl FnMut(usize) -> Result<u64, E>) -> Result<Speeds, E> {
    let mut speeds: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    // What runs first pays for cold caches; that is not what is measured.
    for side in 0..2 {
        work(side)?;
    }
    let begun = Instant::now();
    for round in 0..*ROUNDS.end() {
        for turn in 0..2 {
            let side = (round + turn) % 2;
            let begun = Instant::now();
            let mut units = 0;
            while begun.elapsed() < ROUND {
                units += work(side)?;
            }
            speeds[side].push(units as f64 / begun.elapsed().as_secs_f64());
        }
        if begun.elapsed() > TOTAL && round + 1 >= *ROUNDS.start() {
            break;
        }
    }
    let rounds = speeds[0].len();
    Ok(Speeds { per_second: speeds.map(median), rounds })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_side_has_the_lower_speed() {
        let speeds = race::<()>(|side| {
            std::thread::sleep(Duration::from_millis(if side == 0 { 4 } else { 1 }));
            Ok(1)
        });
        let Speeds { per_second: [slow, quick], rounds } = speeds.unwrap();
        assert!(slow < quick && slow > 0.0, "{slow} {quick}");
        assert!(ROUNDS.contains(&rounds));
    }

    #[test]
    fn the_median_stands_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 100.0]) - 3.0).abs() < 1e-12);
        assert!((median(vec![4.0, 1.0]) - 2.5).abs() < 1e-12);
    }
}
