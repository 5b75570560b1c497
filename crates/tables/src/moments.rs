//! Count, mean and standard deviation of a stream: Welford 1962, merged as Chan, Golub, LeVeque 1979.

/// Moments of finite numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
    smallest: Option<f64>,
    largest: Option<f64>,
}

impl Moments {
    /// Adds a number; one that is not finite is left out.
    pub fn push(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
        self.smallest = Some(self.smallest.map_or(value, |least| least.min(value)));
        self.largest = Some(self.largest.map_or(value, |most| most.max(value)));
    }

    /// Adds what another saw.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let apart = other.mean - self.mean;
        self.count += other.count;
        self.mean += apart * b / (a + b);
        self.squares += other.squares + apart * apart * a * b / (a + b);
        let pick = |a: Option<f64>, b: Option<f64>, best: fn(f64, f64) -> f64| match (a, b) {
            (Some(a), Some(b)) => Some(best(a, b)),
            (a, b) => a.or(b),
        };
        self.smallest = pick(self.smallest, other.smallest, f64::min);
        self.largest = pick(self.largest, other.largest, f64::max);
    }

    /// How many numbers.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their mean.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// Their standard deviation over n − 1.
    #[must_use]
    pub fn deviation(&self) -> Option<f64> {
        (self.count > 1).then(|| (self.squares.max(0.0) / (self.count - 1) as f64).sqrt())
    }

    /// The smallest.
    #[must_use]
    pub fn smallest(&self) -> Option<f64> {
        self.smallest
    }

    /// The largest.
    #[must_use]
    pub fn largest(&self) -> Option<f64> {
        self.largest
    }
}
