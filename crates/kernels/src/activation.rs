//! Softmax, norms, rotary positions and activations, on an exponential of our own.

use crate::LANES;
use crate::isa::kernel;
use crate::vector::{reduce, sum_of_squares};

kernel! {
    /// `x[i] = exp(x[i] − max) / Σ exp(x[j] − max)`. A value of −∞ gets 0; if there is nothing but
    /// −∞, or a +∞, the result is not a number.
    pub fn softmax(x: &mut [f32]) {
        let largest = maximum(x);
        for x in x.iter_mut() {
            *x = exp(*x - largest);
        }
        let total = sum(x);
        for x in x.iter_mut() {
            *x /= total;
        }
    }
}

kernel! {
    /// `ln Σ exp(x[i])`, computed from the largest down; −∞ for an empty slice.
    pub fn log_sum_exp(x: &[f32]) -> f64 {
        let largest = maximum(x);
        if largest == f32::NEG_INFINITY && !x.iter().any(|x| x.is_nan()) {
            return f64::from(largest);
        }
        let (blocks, rest) = x.as_chunks::<LANES>();
        let mut sums = [0.0_f64; LANES];
        for block in blocks {
            for (sum, x) in sums.iter_mut().zip(block) {
                *sum += f64::from(exp(*x - largest));
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest) {
            *sum += f64::from(exp(*x - largest));
        }
        f64::from(largest) + reduce(&sums).ln()
    }
}

kernel! {
    /// `y[i] = weight[i]·x[i] / √(mean(x²) + epsilon)` (Zhang & Sennrich 2019).
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn rms_norm(y: &mut [f32], x: &[f32], weight: &[f32], epsilon: f32) {
        assert_eq!((y.len(), x.len()), (x.len(), weight.len()));
        // The mean is taken in double precision, where no square overflows.
        let mean = sum_of_squares(x) / x.len().max(1) as f64;
        let scale = (1.0 / (mean + f64::from(epsilon)).sqrt()) as f32;
        for ((y, x), weight) in y.iter_mut().zip(x).zip(weight) {
            *y = weight * (x * scale);
        }
    }
}

kernel! {
    /// Turns the pair `(x[i], x[i + half])` by the angle `i`, given by cosines and sines: rotary
    /// embedding (Su et al. 2021) in the two-halves form of Hugging Face.
    ///
    /// # Panics
    /// When `x` is not twice as long as the angles.
    pub fn rotary(x: &mut [f32], cosines: &[f32], sines: &[f32]) {
        assert_eq!((x.len(), cosines.len()), (2 * cosines.len(), sines.len()));
        let (lower, upper) = x.split_at_mut(cosines.len());
        for (((a, b), cosine), sine) in lower.iter_mut().zip(upper).zip(cosines).zip(sines) {
            let (from_a, from_b) = (*a, *b);
            *a = from_a * cosine - from_b * sine;
            *b = from_b * cosine + from_a * sine;
        }
    }
}

kernel! {
    /// `x[i] = x[i] · sigmoid(x[i])`.
    pub fn silu(x: &mut [f32]) {
        for x in x.iter_mut() {
            *x /= 1.0 + exp(-*x);
        }
    }
}

kernel! {
    /// `gate[i] = silu(gate[i]) · up[i]` (Shazeer 2020).
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn swiglu(gate: &mut [f32], up: &[f32]) {
        assert_eq!(gate.len(), up.len());
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = *gate / (1.0 + exp(-*gate)) * up;
        }
    }
}

kernel! {
    /// `x[i] = max(x[i], 0)`.
    pub fn relu(x: &mut [f32]) {
        for x in x.iter_mut() {
            *x = if *x < 0.0 { 0.0 } else { *x };
        }
    }
}

/// `1 / (1 + exp(−x))`.
#[must_use]
pub fn sigmoid(x: f32) -> f32 {
    exp_one(-x)
}

#[inline]
fn exp_one(negative: f32) -> f32 {
    1.0 / (1.0 + exp(negative))
}

#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f32 {
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for block in blocks {
        for (sum, x) in sums.iter_mut().zip(block) {
            *sum += x;
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += x;
    }
    reduce(&sums)
}

/// The largest value, passing over what is not a number; −∞ for an empty slice.
#[inline(always)]
pub(crate) fn maximum(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for block in blocks {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane = larger(*lane, *x);
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, b| larger(a, *b))
}

/// `eˣ` within 2 units in the last place, the same bits everywhere: `x = n·ln 2 + r` with |r| ≤ ln 2 / 2,
/// and Taylor's polynomial of degree 7 for `eʳ`, whose remainder is below 6e-9.
#[must_use]
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding 1.5 · 2²³ rounds to the nearest integer and leaves it in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts; n times the first one is exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Beyond these the result is 0 and infinite; the comparisons let what is not a number pass.
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    let mut polynomial = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        polynomial = r.mul_add(polynomial, coefficient);
    }
    // 2ⁿ in two factors, because n reaches beyond the exponents of normal numbers.
    let n = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    polynomial * power(half) * power(n.wrapping_sub(half))
}
