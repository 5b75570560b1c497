//! Losses with their gradients: cross-entropy of a language model's head without all of its logits, of given
//! logits, and the losses of single numbers.
//!
//! Shapes: `n` rows, `w` columns of a hidden state, `v` classes. With `p = softmax(z)` the cross-entropy of a
//! row is `ln Σ exp(z) − z[target]` and its gradient `p − onehot(target)`. Losses are sums over the rows, in
//! double precision; the mean is the caller's, who hands its factor in as the scale of the gradient.
//!
//! The head is computed in chunks of rows whose logits stay in the cache: product, softmax and both gradient
//! products of a chunk, then the next. Chunks depend on the shape alone.

use std::ops::Range;

use crate::LANES;
use crate::activation::{exp, maximum, sum};
use crate::bf16::Bf16;
use crate::gemm::{Compute, Data, Epilogue, Matrix, MatrixMut, gemm};
use crate::isa::kernel;
use crate::parallel;
use crate::rows::{self, Parts};
use crate::vector::reduce;

/// The target of a row that does not count.
pub const IGNORE: u32 = u32::MAX;

/// Logits of a chunk: 16 MiB of them, half of what a large cache holds.
const CHUNK: usize = 1 << 22;
/// The fewest rows of a chunk: a large table and its gradient come through memory once a chunk, and with fewer
/// rows that takes as long as the products.
const CHUNK_ROWS: usize = 256;
/// Elements of a task of the losses of single numbers.
const PIECE: usize = 1 << 14;

/// A loss summed over rows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Loss {
    /// The sum.
    pub sum: f64,
    /// How many rows counted.
    pub count: usize,
}

/// A language model's head: `z = hidden·tableᵀ`, one row of the table per class.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// `n × w`.
    pub hidden: Matrix<'a>,
    /// `v × w`.
    pub table: Matrix<'a>,
    /// The class of each row, or [`IGNORE`].
    pub targets_n: &'a [u32],
    /// In which precision the three products are taken; for bf16 the gradient of the logits is stored so.
    pub compute: Compute,
}

/// Where the gradients of a [`Head`] go.
#[derive(Debug)]
pub struct HeadGradients<'a> {
    /// Overwritten.
    pub d_hidden_nw: &'a mut [f32],
    /// Added to.
    pub d_table_vw: &'a mut [f32],
    /// The factor of the gradient of each row, usually 1 over the number of rows that count.
    pub scale: f32,
}

/// A chunk's logits, and their gradient where it has another format.
struct Chunk {
    logits: Vec<f32>,
    narrow: Vec<Bf16>,
}

impl Head<'_> {
    /// The loss alone.
    ///
    /// # Panics
    /// When the shapes do not fit, or a target is no row of the table.
    #[must_use]
    pub fn loss(&self) -> Loss {
        self.run(None)
    }

    /// The loss, and the gradients of `scale` times the loss.
    ///
    /// # Panics
    /// When the shapes do not fit, or a target is no row of the table.
    #[must_use]
    pub fn loss_and_gradients(&self, gradients: HeadGradients<'_>) -> Loss {
        let (width, size) = (self.hidden.columns, gradients.d_hidden_nw.len());
        assert_eq!(
            (size, gradients.d_table_vw.len()),
            (self.hidden.rows * width, self.table.rows * width),
            "gradients"
        );
        self.run(Some(gradients))
    }

    fn run(&self, mut gradients: Option<HeadGradients<'_>>) -> Loss {
        let (count, classes) = (self.hidden.rows, self.table.rows);
        assert_eq!((self.hidden.columns, self.targets_n.len()), (self.table.columns, count), "shapes of a head");
        check_targets(self.targets_n, classes);
        let size = (CHUNK / classes.max(1)).max(CHUNK_ROWS).min(count);
        let narrow = if self.compute == Compute::Bf16 && gradients.is_some() { size * classes } else { 0 };
        let mut chunk = Chunk { logits: vec![0.0; size * classes], narrow: vec![Bf16::default(); narrow] };
        let mut losses_n = vec![0.0_f64; count];
        for begin in (0..count).step_by(size.max(1)) {
            let range = begin..count.min(begin + size);
            self.chunk(&mut chunk, &mut losses_n[range.clone()], range, gradients.as_mut());
        }
        total(&losses_n, self.targets_n)
    }

    fn chunk(&self, chunk: &mut Chunk, losses: &mut [f64], range: Range<usize>, to: Option<&mut HeadGradients<'_>>) {
        let (classes, width, rows) = (self.table.rows, self.hidden.columns, range.len());
        let hidden = part(self.hidden, range.clone());
        let logits = &mut chunk.logits[..rows * classes];
        let product = MatrixMut::new(&mut *logits, rows, classes);
        gemm(self.compute, product, hidden, self.table.transposed(), Epilogue::default());
        let targets = &self.targets_n[range.clone()];
        let Some(to) = to else {
            each_row(logits, losses, classes, |row, logits| row_loss(logits, targets[row], 0.0, None));
            return;
        };
        let gradient: Data<'_> = if self.compute == Compute::Bf16 {
            let narrow = Parts::new(&mut chunk.narrow[..rows * classes]);
            each_row(logits, losses, classes, |row, logits| {
                let loss = row_loss(logits, targets[row], 0.0, Some(to.scale));
                // SAFETY: each row is visited once.
                crate::bf16::narrow(unsafe { narrow.take(row * classes..(row + 1) * classes) }, logits);
                loss
            });
            Data::Bf16(&chunk.narrow[..rows * classes])
        } else {
            each_row(logits, losses, classes, |row, logits| row_loss(logits, targets[row], 0.0, Some(to.scale)));
            Data::F32(logits)
        };
        let gradient = Matrix::new(gradient, rows, classes);
        let d_hidden = &mut to.d_hidden_nw[range.start * width..range.end * width];
        gemm(self.compute, MatrixMut::new(d_hidden, rows, width), gradient, self.table, Epilogue::default());
        let d_table = MatrixMut::new(&mut *to.d_table_vw, classes, width);
        let add = Epilogue { accumulate: true, ..Epilogue::default() };
        gemm(self.compute, d_table, gradient.transposed(), hidden, add);
    }
}

/// The cross-entropy of given logits, `[n, v]`, with `smoothing` of the target's weight spread over all classes
/// (Szegedy et al. 2016); 0 is none. With a scale, the logits become the gradient of `scale` times the loss.
///
/// # Panics
/// When the slices do not fit, or a target is no class.
#[must_use]
pub fn cross_entropy(
    logits_nv: &mut [f32],
    targets_n: &[u32],
    classes: usize,
    smoothing: f32,
    scale: Option<f32>,
) -> Loss {
    assert_eq!(logits_nv.len(), targets_n.len() * classes, "logits");
    check_targets(targets_n, classes);
    let mut losses_n = vec![0.0_f64; targets_n.len()];
    each_row(logits_nv, &mut losses_n, classes, |row, logits| row_loss(logits, targets_n[row], smoothing, scale));
    total(&losses_n, targets_n)
}

/// `Σ (prediction − target)²`; with a destination and a scale, the gradient of `scale` times it is written
/// there: `2·scale·(prediction − target)`.
///
/// # Panics
/// When the slices differ in length.
#[must_use]
pub fn squared_error(predictions_n: &[f32], targets_n: &[f32], gradient: Option<(&mut [f32], f32)>) -> f64 {
    numbers(predictions_n, targets_n, gradient, squared_piece)
}

/// Binary cross-entropy with logits, `Σ max(z, 0) − z·y + ln(1 + exp(−|z|))`, for targets from 0 to 1; with a
/// destination and a scale, the gradient of `scale` times it is written there: `scale·(sigmoid(z) − y)`.
///
/// # Panics
/// When the slices differ in length.
#[must_use]
pub fn binary_cross_entropy(logits_n: &[f32], targets_n: &[f32], gradient: Option<(&mut [f32], f32)>) -> f64 {
    numbers(logits_n, targets_n, gradient, binary_piece)
}

/// The sum of a loss of single numbers, piece by piece.
fn numbers(
    found: &[f32],
    targets: &[f32],
    gradient: Option<(&mut [f32], f32)>,
    piece: fn(&[f32], &[f32], &mut [f32], f32) -> f64,
) -> f64 {
    let length = found.len();
    assert_eq!(length, targets.len());
    assert!(gradient.as_ref().is_none_or(|(to, _)| to.len() == length), "a gradient of another length");
    let gradient = gradient.map(|(to, scale)| (Parts::new(to), scale));
    let mut sums = vec![0.0_f64; length.div_ceil(PIECE)];
    parallel::chunks(&mut sums, 1, |index, sum| {
        let range = index * PIECE..length.min((index + 1) * PIECE);
        let (found, targets) = (&found[range.clone()], &targets[range.clone()]);
        sum[0] = match &gradient {
            // SAFETY: ranges of different tasks do not overlap.
            Some((to, scale)) => piece(found, targets, unsafe { to.take(range) }, *scale),
            None => piece(found, targets, &mut [], 0.0),
        };
    });
    sums.iter().sum()
}

kernel! {
    /// The squared error of some numbers, and its gradient where `to` is not empty.
    pub fn squared_piece(found: &[f32], targets: &[f32], to: &mut [f32], scale: f32) -> f64 {
        for ((to, found), target) in to.iter_mut().zip(found).zip(targets) {
            *to = 2.0 * scale * (found - target);
        }
        let ((found, found_rest), (targets, targets_rest)) =
            (found.as_chunks::<LANES>(), targets.as_chunks::<LANES>());
        let mut sums = [0.0_f64; LANES];
        for (found, target) in found.iter().zip(targets) {
            for lane in 0..LANES {
                let error = f64::from(found[lane]) - f64::from(target[lane]);
                sums[lane] += error * error;
            }
        }
        for (sum, (found, target)) in sums.iter_mut().zip(found_rest.iter().zip(targets_rest)) {
            let error = f64::from(*found) - f64::from(*target);
            *sum += error * error;
        }
        reduce(&sums)
    }
}

/// The binary cross-entropy of some numbers, and its gradient where `to` is not empty.
fn binary_piece(logits: &[f32], targets: &[f32], to: &mut [f32], scale: f32) -> f64 {
    for ((to, logit), target) in to.iter_mut().zip(logits).zip(targets) {
        *to = scale * (crate::sigmoid(*logit) - target);
    }
    let one = |(logit, target): (&f32, &f32)| {
        let (z, y) = (f64::from(*logit), f64::from(*target));
        // `max` would lose what is not a number.
        let above = if z < 0.0 { 0.0 } else { z };
        above - z * y + (-z.abs()).exp().ln_1p()
    };
    logits.iter().zip(targets).map(one).sum()
}

/// Calls `work` with each row's number and logits, in parallel, and keeps its result.
fn each_row(logits: &mut [f32], losses: &mut [f64], classes: usize, work: impl Fn(usize, &mut [f32]) -> f64 + Sync) {
    let (logits, count) = (Parts::new(logits), losses.len());
    let losses = Parts::new(losses);
    rows::run(count, classes, |_, range| {
        for row in range {
            // SAFETY: rows of different tasks do not overlap.
            let (logits, loss) =
                unsafe { (logits.take(row * classes..(row + 1) * classes), losses.take(row..row + 1)) };
            loss[0] = work(row, logits);
        }
    });
}

kernel! {
    /// A row's cross-entropy; with a scale, its logits become their gradient. An ignored row has none.
    pub fn row_loss(logits: &mut [f32], target: u32, smoothing: f32, scale: Option<f32>) -> f64 {
        if target == IGNORE {
            if scale.is_some() {
                logits.fill(0.0);
            }
            return 0.0;
        }
        let (place, count) = (target as usize, logits.len() as f64);
        let (chosen, largest) = (f64::from(logits[place]), maximum(logits));
        let smoothing = f64::from(smoothing);
        let mean = if smoothing > 0.0 { wide_sum(logits) / count } else { 0.0 };
        for logit in logits.iter_mut() {
            *logit = exp(*logit - largest);
        }
        let all = sum(logits);
        if let Some(scale) = scale {
            let (factor, everywhere) = (scale / all, (f64::from(scale) * smoothing / count) as f32);
            for logit in logits.iter_mut() {
                *logit = factor.mul_add(*logit, -everywhere);
            }
            logits[place] -= (f64::from(scale) * (1.0 - smoothing)) as f32;
        }
        f64::from(largest) + f64::from(all).ln() - (1.0 - smoothing) * chosen - smoothing * mean
    }
}

#[inline(always)]
fn wide_sum(x: &[f32]) -> f64 {
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut sums = [0.0_f64; LANES];
    for block in blocks {
        for (sum, x) in sums.iter_mut().zip(block) {
            *sum += f64::from(*x);
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += f64::from(*x);
    }
    reduce(&sums)
}

/// Some rows of a matrix.
fn part(matrix: Matrix<'_>, range: Range<usize>) -> Matrix<'_> {
    let begin = range.start * matrix.row_stride;
    let data = match matrix.data {
        Data::F32(data) => Data::F32(&data[begin..]),
        Data::Bf16(data) => Data::Bf16(&data[begin..]),
    };
    Matrix { data, rows: range.len(), ..matrix }
}

fn total(losses_n: &[f64], targets_n: &[u32]) -> Loss {
    Loss { sum: losses_n.iter().sum(), count: targets_n.iter().filter(|target| **target != IGNORE).count() }
}

#[track_caller]
fn check_targets(targets_n: &[u32], classes: usize) {
    let outside = targets_n.iter().find(|target| **target != IGNORE && **target as usize >= classes);
    assert!(outside.is_none(), "target {outside:?} of {classes} classes");
}
