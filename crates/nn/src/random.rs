//! Random numbers as pure functions of a seed and a position. Nothing has to be saved for a training
//! run to continue exactly: step 812 draws the same numbers whether or not the run was stopped at 500.

/// A stream of random numbers (SplitMix64, Steele et al. 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed and of what it is drawn for, such as `[EPOCH, 3]`.
    #[must_use]
    pub fn new(seed: u64, purpose: &[u64]) -> Self {
        let mut stream = Self(seed);
        for part in purpose {
            stream.0 = stream.next_u64() ^ part.wrapping_mul(0xd605_bbb5_8c8a_bc03);
        }
        stream.next_u64();
        stream
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 (included) to 1 (excluded).
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number below `bound`, which must be above 0 (the bias is below 2⁻³² for bounds below 2³²).
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// A number of the standard normal distribution (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// The numbers below `count` in random order (Fisher and Yates).
    pub fn order(&mut self, count: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
        for index in (1..order.len()).rev() {
            order.swap(index, self.below(index + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_a_permutation_and_depends_on_the_purpose() {
        let mut order = Random::new(7, &[1, 2]).order(1000);
        assert_eq!(order, Random::new(7, &[1, 2]).order(1000));
        assert_ne!(order, Random::new(7, &[1, 3]).order(1000));
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(index, value)| index == *value as usize));
    }

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let mut random = Random::new(1, &[]);
        let all: Vec<f64> = (0..100_000).map(|_| random.normal()).collect();
        let mean = all.iter().sum::<f64>() / 1e5;
        let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }
}
