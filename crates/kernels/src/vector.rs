//! Products and sums of vectors. `reduce` is the one order in which partial sums are added up.

use crate::LANES;
use crate::isa::kernel;

kernel! {
    /// `Σ a[i]·b[i]`.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn dot(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        let mut sums = [0.0; LANES];
        for (a, b) in a_blocks.iter().zip(b_blocks) {
            multiply_add(&mut sums, a, b);
        }
        if !a_rest.is_empty() {
            multiply_add(&mut sums, &pad(a_rest), &pad(b_rest));
        }
        reduce(&sums)
    }
}

kernel! {
    /// `Σ q[i]·x[i]` with weights of eight bits, without their scale.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn dot_int8(q: &[i8], x: &[f32]) -> f32 {
        assert_eq!(q.len(), x.len());
        let ((q_blocks, q_rest), (x_blocks, x_rest)) = (q.as_chunks::<LANES>(), x.as_chunks::<LANES>());
        let mut sums = [0.0; LANES];
        for (q, x) in q_blocks.iter().zip(x_blocks) {
            multiply_add(&mut sums, &widen(q), x);
        }
        if !q_rest.is_empty() {
            multiply_add(&mut sums, &widen(&pad(q_rest)), &pad(x_rest));
        }
        reduce(&sums)
    }
}

kernel! {
    /// `y[i] += a·x[i]`.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn axpy(y: &mut [f32], a: f32, x: &[f32]) {
        assert_eq!(y.len(), x.len());
        for (y, x) in y.iter_mut().zip(x) {
            *y = a.mul_add(*x, *y);
        }
    }
}

/// The Euclidean length of several slices taken as one vector, summed in double precision.
#[must_use]
pub fn global_norm(slices: &[&[f32]]) -> f64 {
    slices.iter().map(|slice| sum_of_squares(slice)).sum::<f64>().sqrt()
}

kernel! {
    /// `Σ x[i]²` in double precision.
    pub fn sum_of_squares(x: &[f32]) -> f64 {
        let (blocks, rest) = x.as_chunks::<LANES>();
        let mut sums = [0.0_f64; LANES];
        for block in blocks.iter().chain(std::iter::once(&pad(rest))) {
            for (sum, x) in sums.iter_mut().zip(block) {
                *sum += f64::from(*x) * f64::from(*x);
            }
        }
        reduce(&sums)
    }
}

/// `sums[i] += a[i]·b[i]`, each with one rounding.
#[inline(always)]
pub(crate) fn multiply_add(sums: &mut [f32; LANES], a: &[f32; LANES], b: &[f32; LANES]) {
    for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
        *sum = a.mul_add(*b, *sum);
    }
}

/// The last, incomplete block, filled up with zeros.
#[inline(always)]
pub(crate) fn pad<T: Copy + Default>(rest: &[T]) -> [T; LANES] {
    let mut block = [T::default(); LANES];
    block[..rest.len()].copy_from_slice(rest);
    block
}

/// A block of weights of eight bits in floating point.
#[inline(always)]
pub(crate) fn widen(q: &[i8; LANES]) -> [f32; LANES] {
    // A loop, and not `map`, which is left as a call and loses the instruction set.
    let mut wide = [0.0; LANES];
    for (wide, q) in wide.iter_mut().zip(q) {
        *wide = f32::from(*q);
    }
    wide
}

/// Adds up partial sums: the upper half onto the lower half, until one is left.
#[inline(always)]
pub(crate) fn reduce<T: Copy + Default + std::ops::Add<Output = T>>(sums: &[T; LANES]) -> T {
    let (mut eight, mut four) = ([T::default(); 8], [T::default(); 4]);
    for lane in 0..8 {
        eight[lane] = sums[lane] + sums[lane + 8];
    }
    for lane in 0..4 {
        four[lane] = eight[lane] + eight[lane + 4];
    }
    (four[0] + four[2]) + (four[1] + four[3])
}
