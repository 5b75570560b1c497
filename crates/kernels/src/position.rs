//! Rotary positions for training (Su et al. 2021, in the two-halves form of Hugging Face).
//!
//! Shapes: `n` rows, each of `s` elements that begin with heads of `d`; `t` positions. In a row `q|k|v` the
//! queries and keys are turned together, in place. Backward turns the other way, because a rotation's
//! transpose is its inverse.

use std::ops::Range;

use crate::element::Element;
use crate::isa::kernel;
use crate::rows::{self, Parts};

/// Cosines and sines of every position and pair.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    /// `[t, d/2]`.
    cosines_th: Vec<f32>,
    /// `[t, d/2]`.
    sines_th: Vec<f32>,
    half: usize,
    /// Elements of a head; those behind the pairs stay as they are.
    dim: usize,
}

impl RotaryTable {
    /// The angles `t / base^(2i/d)` of `positions` positions for heads of `dim` elements, in double precision.
    ///
    /// # Panics
    /// When `dim` is odd.
    #[must_use]
    pub fn new(positions: usize, dim: usize, base: f64) -> Self {
        assert!(dim.is_multiple_of(2), "rotary heads of {dim} elements");
        let half = dim / 2;
        let angle = |index: usize| {
            let (position, pair) = (index / half.max(1), index % half.max(1));
            position as f64 / base.powf(2.0 * pair as f64 / dim as f64)
        };
        let (cosines_th, sines_th) =
            (0..positions * half).map(|index| (angle(index).cos() as f32, angle(index).sin() as f32)).unzip();
        Self { cosines_th, sines_th, half, dim }
    }

    /// The angles `t · frequencies[i]` of `positions` positions for heads of `dim` elements, in double precision; cosines
    /// and sines are multiplied by `factor` (YaRN, Peng et al. 2023). Where there are fewer frequencies than pairs, the
    /// pairs lie in the first `2 · frequencies.len()` elements, and the others stay as they are.
    ///
    /// # Panics
    /// When there are more frequencies than pairs in a head.
    #[must_use]
    pub fn with_frequencies(positions: usize, dim: usize, frequencies: &[f64], factor: f64) -> Self {
        let half = frequencies.len();
        assert!(2 * half <= dim, "{half} rotary pairs in heads of {dim} elements");
        let angles = (0..positions).flat_map(|position| frequencies.iter().map(move |turn| position as f64 * turn));
        let (cosines_th, sines_th) =
            angles.map(|angle| ((factor * angle.cos()) as f32, (factor * angle.sin()) as f32)).unzip();
        Self { cosines_th, sines_th, half, dim }
    }

    /// Turns the heads `heads` of every row of `x_ns` by the row's position.
    ///
    /// # Panics
    /// When the rows do not fit, or a position lies outside of the table.
    pub fn forward<E: Element>(&self, x_ns: &mut [E], stride: usize, heads: Range<usize>, positions_n: &[u32]) {
        self.turn(x_ns, stride, heads, positions_n, false);
    }

    /// The gradient of what went into [`RotaryTable::forward`], in place of the gradient of what came out.
    ///
    /// # Panics
    /// As there.
    pub fn backward<E: Element>(&self, dx_ns: &mut [E], stride: usize, heads: Range<usize>, positions_n: &[u32]) {
        self.turn(dx_ns, stride, heads, positions_n, true);
    }

    fn turn<E: Element>(&self, x_ns: &mut [E], stride: usize, heads: Range<usize>, positions_n: &[u32], back: bool) {
        let (dim, count) = (self.dim, rows::count(x_ns.len(), stride));
        assert!(heads.start <= heads.end && heads.end * dim <= stride, "heads {heads:?} in rows of {stride}");
        assert_eq!(positions_n.len(), count, "positions");
        let x = Parts::new(x_ns);
        rows::run(count, heads.len() * dim, |_, range| {
            for row in range {
                // SAFETY: rows of different tasks do not overlap.
                let x = unsafe { x.take(row * stride + heads.start * dim..row * stride + heads.end * dim) };
                let angles = positions_n[row] as usize * self.half;
                let angles = angles..angles + self.half;
                turn_heads(x, dim, &self.cosines_th[angles.clone()], &self.sines_th[angles], back);
            }
        });
    }
}

kernel! {
    /// Turns every head of `dim` elements of `x` by the same angles, or back.
    pub fn turn_heads<E: Element>(x: &mut [E], dim: usize, cosines: &[f32], sines: &[f32], back: bool) {
        let half = cosines.len();
        let sign = if back { -1.0 } else { 1.0 };
        for head in x.chunks_exact_mut(dim.max(1)) {
            let (lower, upper) = head[..2 * half].split_at_mut(half);
            for (((a, b), cosine), sine) in lower.iter_mut().zip(upper).zip(cosines).zip(sines) {
                let (from_a, from_b) = (a.to_f32(), b.to_f32());
                let sine = sign * sine;
                *a = E::from_f32(from_a * cosine - from_b * sine);
                *b = E::from_f32(from_b * cosine + from_a * sine);
            }
        }
    }
}
