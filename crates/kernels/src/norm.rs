//! Layer norm and RMS norm of rows for training: forward with the residual sum fused in, and backward.
//!
//! Shapes: `n` rows, `w` columns. With `x̂ = (x − mean)·scale` and `scale = 1/√(variance + ε)` (RMS norm has
//! no mean, and the mean square for the variance), `y = weight·x̂ + bias`. Backward, with `g = weight·dy`:
//! `dx = scale·(g − mean(g) − x̂·mean(g·x̂))`, where RMS norm lacks the second term; `dweight = Σ dy·x̂` and
//! `dbias = Σ dy` over the rows. Sources: Ba, Kiros & Hinton 2016; Zhang & Sennrich 2019.

use crate::LANES;
use crate::element::Element;
use crate::isa::kernel;
use crate::rows::{self, Parts};
use crate::vector::{reduce, sum_of_squares};

/// Which norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Mean and variance (Ba, Kiros & Hinton 2016).
    Layer,
    /// The mean square (Zhang & Sennrich 2019).
    RootMeanSquare,
}

/// A norm with its parameters.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// Which norm.
    pub kind: Kind,
    /// The factor of each column.
    pub weight_w: &'a [f32],
    /// What is added to each column, if anything.
    pub bias_w: Option<&'a [f32]>,
    /// Added to the variance, usually 1e-5.
    pub epsilon: f32,
}

/// What backward needs of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    /// The mean; 0 for RMS norm.
    pub mean: f32,
    /// `1/√(variance + ε)`.
    pub scale: f32,
}

/// What is normalised.
#[derive(Debug)]
pub enum Input<'a> {
    /// These rows.
    Rows(&'a [f32]),
    /// The sum of both, which is written to `stream_nw`: the residual stream after a block.
    Residual {
        /// The stream before, and after.
        stream_nw: &'a mut [f32],
        /// What the block adds.
        update_nw: &'a [f32],
    },
}

/// Where the gradients of a norm go.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// The gradient of the rows.
    pub dx_nw: &'a mut [f32],
    /// Whether `dx_nw` is added to (the gradient that goes around the block) or overwritten.
    pub accumulate: bool,
    /// Added to.
    pub d_weight_w: &'a mut [f32],
    /// Added to, if there.
    pub d_bias_w: Option<&'a mut [f32]>,
}

impl Norm<'_> {
    /// `y = weight·x̂ + bias`, and the moments of each row.
    ///
    /// # Panics
    /// When the slices do not fit: `[n, w]`, `[n]` moments, `[w]` parameters.
    pub fn forward<E: Element>(&self, y_nw: &mut [E], moments_n: &mut [Moments], input: Input<'_>) {
        let width = self.width();
        let count = rows::count(y_nw.len(), width);
        assert_eq!(moments_n.len(), if width == 0 { moments_n.len() } else { count }, "moments");
        let (y, moments) = (Parts::new(y_nw), Parts::new(moments_n));
        match input {
            Input::Rows(x_nw) => {
                assert_eq!(x_nw.len(), count * width, "rows of the norm");
                rows::run(count, width, |_, range| {
                    let all = range.start * width..range.end * width;
                    // SAFETY: ranges of different tasks do not overlap.
                    let (y, moments) = unsafe { (y.take(all.clone()), moments.take(range)) };
                    piece::forward(y, moments, &x_nw[all], self);
                });
            }
            Input::Residual { stream_nw, update_nw } => {
                assert_eq!((stream_nw.len(), update_nw.len()), (count * width, count * width), "rows of the norm");
                let stream = Parts::new(stream_nw);
                rows::run(count, width, |_, range| {
                    let all = range.start * width..range.end * width;
                    // SAFETY: ranges of different tasks do not overlap.
                    let (y, moments, x) =
                        unsafe { (y.take(all.clone()), moments.take(range), stream.take(all.clone())) };
                    piece::forward_residual(y, moments, x, &update_nw[all], self);
                });
            }
        }
    }

    /// The gradients of rows and parameters, from `dy_nw`, the rows that were normalised and their moments.
    ///
    /// # Panics
    /// When the slices do not fit: `[n, w]`, `[n]` moments, `[w]` parameters.
    pub fn backward(&self, gradients: Gradients<'_>, dy_nw: &[f32], x_nw: &[f32], moments_n: &[Moments]) {
        let width = self.width();
        let Gradients { dx_nw, accumulate, d_weight_w, d_bias_w } = gradients;
        let count = rows::count(dx_nw.len(), width);
        assert_eq!((dy_nw.len(), x_nw.len()), (dx_nw.len(), dx_nw.len()), "rows of the norm");
        assert_eq!(d_weight_w.len(), width, "gradients of the weights");
        if width == 0 {
            return;
        }
        assert_eq!(moments_n.len(), count, "moments");
        let tasks = count.div_ceil(rows::per_task(width));
        let mut partial_t2w = vec![0.0; tasks * 2 * width];
        let (dx, partial) = (Parts::new(dx_nw), Parts::new(&mut partial_t2w));
        rows::run(count, width, |task, range| {
            let all = range.start * width..range.end * width;
            // SAFETY: ranges of different tasks do not overlap.
            let (dx, partial) =
                unsafe { (dx.take(all.clone()), partial.take(task * 2 * width..(task + 1) * 2 * width)) };
            let (d_weight, d_bias) = partial.split_at_mut(width);
            piece::backward(
                &mut Gradients { dx_nw: dx, accumulate, d_weight_w: d_weight, d_bias_w: Some(d_bias) },
                &dy_nw[all.clone()],
                &x_nw[all],
                &moments_n[range],
                self,
            );
        });
        for partial in partial_t2w.chunks_exact(2 * width) {
            rows::add(d_weight_w, &partial[..width]);
        }
        if let Some(d_bias_w) = d_bias_w {
            for partial in partial_t2w.chunks_exact(2 * width) {
                rows::add(d_bias_w, &partial[width..]);
            }
        }
    }

    fn width(&self) -> usize {
        let width = self.weight_w.len();
        assert!(self.bias_w.is_none_or(|bias| bias.len() == width), "weight and bias of a norm differ in length");
        width
    }
}

/// One task's rows.
mod piece {
    use super::{Element, Gradients, Moments, Norm, kernel, one_row, row_backward};

    kernel! {
        /// Forward of some rows.
        pub fn forward<E: Element>(y: &mut [E], moments: &mut [Moments], x: &[f32], norm: &Norm<'_>) {
            let width = norm.weight_w.len();
            for ((y, x), moments) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(moments) {
                *moments = one_row(y, x, norm);
            }
        }
    }

    kernel! {
        /// Forward of the sum of some rows.
        pub fn forward_residual<E: Element>(
            y: &mut [E],
            moments: &mut [Moments],
            stream: &mut [f32],
            update: &[f32],
            norm: &Norm<'_>,
        ) {
            let width = norm.weight_w.len();
            let pairs = stream.chunks_exact_mut(width).zip(update.chunks_exact(width));
            for ((y, (stream, update)), moments) in y.chunks_exact_mut(width).zip(pairs).zip(moments) {
                for (stream, update) in stream.iter_mut().zip(update) {
                    *stream += update;
                }
                *moments = one_row(y, stream, norm);
            }
        }
    }

    kernel! {
        /// Backward of some rows; the parameters' gradients are this task's share.
        pub fn backward(to: &mut Gradients<'_>, dy: &[f32], x: &[f32], moments: &[Moments], norm: &Norm<'_>) {
            let width = norm.weight_w.len();
            for (row, moments) in moments.iter().enumerate() {
                let all = row * width..(row + 1) * width;
                row_backward(to, all.clone(), &dy[all.clone()], &x[all], *moments, norm);
            }
        }
    }
}

#[inline(always)]
fn one_row<E: Element>(y: &mut [E], x: &[f32], norm: &Norm<'_>) -> Moments {
    let count = x.len().max(1) as f64;
    // In double precision no square overflows.
    let (mean, variance) = match norm.kind {
        Kind::Layer => {
            let mean = sum(x) / count;
            (mean as f32, deviations(x, mean) / count)
        }
        Kind::RootMeanSquare => (0.0, sum_of_squares(x) / count),
    };
    let scale = (1.0 / (variance + f64::from(norm.epsilon)).sqrt()) as f32;
    match norm.bias_w {
        Some(bias) => {
            for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(norm.weight_w).zip(bias) {
                *y = E::from_f32(weight.mul_add((x - mean) * scale, *bias));
            }
        }
        None => {
            for ((y, x), weight) in y.iter_mut().zip(x).zip(norm.weight_w) {
                *y = E::from_f32(weight * ((x - mean) * scale));
            }
        }
    }
    Moments { mean, scale }
}

#[inline(always)]
fn row_backward(
    to: &mut Gradients<'_>,
    range: std::ops::Range<usize>,
    dy: &[f32],
    x: &[f32],
    moments: Moments,
    norm: &Norm<'_>,
) {
    let Moments { mean, scale } = moments;
    let width = norm.weight_w.len();
    let dx = &mut to.dx_nw[range];
    let d_weight = &mut to.d_weight_w[..width];
    for ((d_weight, dy), x) in d_weight.iter_mut().zip(dy).zip(x) {
        *d_weight = dy.mul_add((x - mean) * scale, *d_weight);
    }
    if let (Some(d_bias), true) = (to.d_bias_w.as_deref_mut(), norm.bias_w.is_some()) {
        for (d_bias, dy) in d_bias.iter_mut().zip(dy) {
            *d_bias += dy;
        }
    }
    let ((dy_blocks, dy_rest), (x_blocks, x_rest)) = (dy.as_chunks::<LANES>(), x.as_chunks::<LANES>());
    let (weight_blocks, weight_rest) = norm.weight_w.as_chunks::<LANES>();
    let (mut plain, mut along) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    for ((dy, x), weight) in dy_blocks.iter().zip(x_blocks).zip(weight_blocks) {
        for lane in 0..LANES {
            let g = dy[lane] * weight[lane];
            plain[lane] += g;
            along[lane] = g.mul_add((x[lane] - mean) * scale, along[lane]);
        }
    }
    for (lane, ((dy, x), weight)) in dy_rest.iter().zip(x_rest).zip(weight_rest).enumerate() {
        let g = dy * weight;
        plain[lane] += g;
        along[lane] = g.mul_add((x - mean) * scale, along[lane]);
    }
    let plain = if norm.kind == Kind::Layer { reduce(&plain) / width as f32 } else { 0.0 };
    let along = reduce(&along) / width as f32;
    let keep = if to.accumulate { 1.0 } else { 0.0 };
    for (((dx, dy), x), weight) in dx.iter_mut().zip(dy).zip(x).zip(norm.weight_w) {
        let inner = dy.mul_add(*weight, -plain) - (x - mean) * scale * along;
        // What is overwritten may be anything, infinite too.
        let before = if keep == 1.0 { *dx } else { 0.0 };
        *dx = scale.mul_add(inner, before);
    }
}

/// `Σ x[i]` in double precision.
#[inline(always)]
fn sum(x: &[f32]) -> f64 {
    deviation_sum(x, |x| x)
}

/// `Σ (x[i] − mean)²` in double precision.
#[inline(always)]
fn deviations(x: &[f32], mean: f64) -> f64 {
    deviation_sum(x, |x| (x - mean) * (x - mean))
}

#[inline(always)]
fn deviation_sum(x: &[f32], of: impl Fn(f64) -> f64) -> f64 {
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut sums = [0.0_f64; LANES];
    for block in blocks {
        for (sum, x) in sums.iter_mut().zip(block) {
            *sum += of(f64::from(*x));
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += of(f64::from(*x));
    }
    reduce(&sums)
}
