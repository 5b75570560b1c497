//! A token bucket: so much a minute, and after a rest a minute's worth at once.
//!
//! Time is told from outside, as the time since any fixed moment, so that tests need not wait.

use std::time::Duration;

/// So much a minute. What is taken before its amount is known may leave a debt, which is paid off before
/// anything else is let through.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    per_minute: f64,
    level: f64,
    at: Duration,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(per_minute: u32, now: Duration) -> Self {
        let per_minute = f64::from(per_minute);
        Self { per_minute, level: per_minute, at: now }
    }

    /// How long to wait until at least `amount` is there; `None` when it is there now.
    pub(crate) fn wait(&mut self, amount: f64, now: Duration) -> Option<Duration> {
        self.refill(now);
        // A part in a thousand million of slack: refilling for exactly as long as was said is enough.
        let missing = amount - self.level;
        if missing <= 1e-9 * self.per_minute.max(1.0) {
            return None;
        }
        // A bucket of nothing never fills.
        let seconds = if self.per_minute > 0.0 { missing * 60.0 / self.per_minute } else { f64::from(u32::MAX) };
        Some(Duration::from_secs_f64(seconds.min(f64::from(u32::MAX))))
    }

    /// Takes an amount, whether or not it is there.
    pub(crate) fn spend(&mut self, amount: f64, now: Duration) {
        self.refill(now);
        self.level -= amount;
    }

    fn refill(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.level = (self.level + seconds * self.per_minute / 60.0).min(self.per_minute);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes one if it is there.
    fn take(bucket: &mut Bucket, now: Duration) -> bool {
        let free = bucket.wait(1.0, now).is_none();
        if free {
            bucket.spend(1.0, now);
        }
        free
    }

    proptest! {
        /// Over no span of time is more let through than a full bucket and what flows in meanwhile; and a
        /// client that waits as long as it was told is let through.
        #[test]
        fn no_span_of_time_sees_more_than_its_share(
            per_minute in 1_u32..500, steps in prop::collection::vec(0_u64..5_000, 1..300),
        ) {
            let mut bucket = Bucket::new(per_minute, Duration::ZERO);
            let (mut now, mut taken) = (Duration::ZERO, Vec::new());
            for step in steps {
                now += Duration::from_millis(step);
                if take(&mut bucket, now) {
                    taken.push(now);
                } else {
                    let wait = bucket.wait(1.0, now).unwrap();
                    prop_assert!(wait <= Duration::from_secs_f64(60.0 / f64::from(per_minute) + 1e-6));
                    let mut later = bucket.clone();
                    prop_assert!(take(&mut later, now + wait + Duration::from_nanos(2)));
                }
            }
            for (from, first) in taken.iter().enumerate() {
                for (to, last) in taken.iter().enumerate().skip(from) {
                    let share = f64::from(per_minute) * (1.0 + (*last - *first).as_secs_f64() / 60.0);
                    prop_assert!((to - from + 1) as f64 <= share + 1e-3);
                }
            }
        }

        /// A debt is paid off by time alone, to the second.
        #[test]
        fn a_debt_takes_its_time(per_minute in 60_u32..6_000, spent in 1_u32..100_000) {
            let mut bucket = Bucket::new(per_minute, Duration::ZERO);
            bucket.spend(f64::from(spent), Duration::ZERO);
            let expected = (f64::from(spent) - f64::from(per_minute) + 1.0).max(0.0) * 60.0 / f64::from(per_minute);
            let wait = bucket.wait(1.0, Duration::ZERO).unwrap_or_default().as_secs_f64();
            prop_assert!((wait - expected).abs() < 1e-3, "{wait} {expected}");
        }
    }

    #[test]
    fn time_that_goes_backwards_gives_nothing() {
        let mut bucket = Bucket::new(1, Duration::from_secs(100));
        assert!(take(&mut bucket, Duration::from_secs(100)));
        assert!(!take(&mut bucket, Duration::from_secs(10)));
        assert!(!take(&mut bucket, Duration::from_secs(101)));
        assert!(take(&mut bucket, Duration::from_secs(160)));
        assert!(Bucket::new(0, Duration::ZERO).wait(1.0, Duration::from_secs(9)).is_some());
    }
}
