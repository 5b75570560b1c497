//! Convolutions over two dimensions, forward and backward: columns and a matrix product.
//!
//! **Layout.** Images are NHWC (batch, height, width, channels) and weights OHWI (output channel, kernel row,
//! kernel column, input channel), which is how PyTorch's `channels_last` lies in memory. With the channels last,
//! a kernel row reads one run of neighbouring numbers, the product's columns are the output channels (so its
//! result is the output, without a transposition), and pools and depthwise kernels run along a vector.
//! [`to_channels_last`] and [`to_channels_first`] change the layout of images and of weights.
//!
//! **Method.** On AVX-512, convolutions without groups are direct (`direct`, `tiles`): tiles of sums in registers
//! read the images where they lie. That took the network of `examples/convolution_speed.rs` from 76 to 53 ms on
//! one core in `f32`, because columns and packing cost as much as the products of so small weights.
//!
//! Everywhere else a task takes some output pixels, copies what each of them sees into a row of a *column* matrix
//! that fits the second level cache, and multiplies it by the weights (Chellapilla et al. 2006, a piece at a time).
//! Backward by input is the product the other way, added back into the image; backward by weight is the product of
//! the gradient's transpose and the columns. Bf16 columns are rounded before they are copied. A kernel of one pixel
//! needs no columns, and depthwise kernels are summed along the channels.
//!
//! Work is cut by shape alone, and partial sums are added in the order of the pieces.
//!
//! A convolution over one dimension is that over an image of height 1: [`Convolution::one_dimensional`].

mod bias;
mod columns;
mod depthwise;
#[cfg(target_arch = "x86_64")]
pub(crate) mod direct;
mod layout;
#[cfg(target_arch = "x86_64")]
pub(crate) mod tiles;

use std::cell::Cell;

pub use bias::backward_bias;
pub use layout::{to_channels_first, to_channels_last};

use crate::bf16::{self, Bf16};
use crate::gemm::{Activation, Compute, Epilogue, Matrix, MatrixMut, gemm};
use crate::parallel;
use columns::{Scratch, add_columns, columns, with_scratch};

/// Numbers of a column matrix: 256 KiB, a fourth of a second level cache.
const COLUMNS: usize = 1 << 16;
/// The most partial weight gradients.
const PARTS: usize = 32;
/// Numbers in all partial weight gradients together, unless there would be less than [`PARTS_LEAST`].
const PARTS_NUMBERS: usize = 1 << 22;
/// Partial weight gradients of however large weights.
const PARTS_LEAST: usize = 4;

/// The shape of a convolution; arrays hold what belongs to the height and to the width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// Images.
    pub batch: usize,
    /// Height and width of an input image.
    pub input: [usize; 2],
    /// Channels of the input and of the output.
    pub channels: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// The distance between the places of the kernel.
    pub stride: [usize; 2],
    /// Zeros at either side of the input.
    pub padding: [usize; 2],
    /// The distance between the pixels that one kernel sees.
    pub dilation: [usize; 2],
    /// Groups of channels that do not see each other; as many as channels for a depthwise convolution.
    pub groups: usize,
}

/// Where a pixel of the output lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    image: usize,
    row: usize,
    column: usize,
}

impl Convolution {
    /// A convolution of stride 1 without padding, dilation and groups; the other shapes are set with `..`.
    #[must_use]
    pub fn new(batch: usize, input: [usize; 2], channels: [usize; 2], kernel: [usize; 2]) -> Self {
        Self { batch, input, channels, kernel, stride: [1; 2], padding: [0; 2], dilation: [1; 2], groups: 1 }
    }

    /// The same over one dimension: an image of height 1. Stride, padding and dilation are set by their
    /// second number.
    #[must_use]
    pub fn one_dimensional(batch: usize, length: usize, channels: [usize; 2], kernel: usize) -> Self {
        Self::new(batch, [1, length], channels, [1, kernel])
    }

    /// Height and width of the output: `(input + 2·padding − dilation·(kernel − 1) − 1) / stride + 1`.
    ///
    /// # Panics
    /// When the kernel is larger than the padded image, has no pixels, or a stride or dilation is 0.
    #[must_use]
    pub fn output(&self) -> [usize; 2] {
        [0, 1].map(|i| {
            assert!(self.kernel[i] > 0 && self.stride[i] > 0 && self.dilation[i] > 0, "{self:?}");
            let (seen, padded) = (self.span(i), self.input[i] + 2 * self.padding[i]);
            assert!(seen <= padded, "a kernel over {seen} of {padded} pixels");
            (padded - seen) / self.stride[i] + 1
        })
    }

    /// The length of the input `[batch, height, width, channels]`.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.batch * self.image_len()
    }

    /// The length of the output `[batch, height, width, channels]`.
    ///
    /// # Panics
    /// As [`output`](Self::output).
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.pixels() * self.channels[1]
    }

    /// The length of the weights `[channels out, kernel height, kernel width, channels in / groups]`.
    ///
    /// # Panics
    /// When the groups do not divide the channels.
    #[must_use]
    pub fn weight_len(&self) -> usize {
        self.channels[1] * self.depth()
    }

    /// Pixels that the kernel spans in a dimension.
    fn span(&self, dimension: usize) -> usize {
        self.dilation[dimension] * (self.kernel[dimension] - 1) + 1
    }

    fn image_len(&self) -> usize {
        self.input[0] * self.input[1] * self.channels[0]
    }

    /// Pixels of all output images.
    fn pixels(&self) -> usize {
        let [height, width] = self.output();
        self.batch * height * width
    }

    /// Channels of the input and of the output in a group.
    fn group(&self) -> [usize; 2] {
        let fits = self.groups > 0 && self.channels.iter().all(|channels| channels.is_multiple_of(self.groups));
        assert!(fits, "{} groups of {:?} channels", self.groups, self.channels);
        self.channels.map(|channels| channels / self.groups)
    }

    /// Numbers that a pixel of the output sees in its group: the depth of the product.
    fn depth(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.group()[0]
    }

    /// Whether the columns are the image itself.
    fn is_pointwise(&self) -> bool {
        (self.kernel, self.stride, self.padding, self.groups) == ([1; 2], [1; 2], [0; 2], 1)
    }

    /// Whether each channel of the output has one of the input.
    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.channels[0] && self.groups == self.channels[1]
    }

    /// Output pixels of a piece.
    fn piece(&self) -> usize {
        (COLUMNS / self.depth().max(1)).max(16)
    }

    fn place(&self, pixel: usize) -> Place {
        let [height, width] = self.output();
        let (row, column) = (pixel / width, pixel % width);
        Place { image: row / height, row: row % height, column }
    }

    fn check(&self, x: usize, y: usize, weight: usize) {
        let expected = (self.input_len(), self.output_len(), self.weight_len());
        assert_eq!((x, y, weight), expected, "lengths of input, output and weights of {self:?}");
    }
}

/// `y = activation(x ∗ w + bias)`, where each output pixel is
/// `y[n,p,q,o] = Σ w[o,i,j,c]·x[n, p·stride + i·dilation − padding, q·stride + j·dilation − padding, c]`:
/// the cross-correlation that PyTorch calls convolution.
///
/// `x_nhwc` is `[batch, height, width, channels in]`, `y_nhwc` the same of the output, `w_ohwi` is
/// `[channels out, kernel height, kernel width, channels in / groups]` and `bias` `[channels out]`. A depthwise
/// convolution is computed in `f32` whatever `compute` is.
///
/// # Panics
/// When the slices do not fit the shape, or the shape is none (see [`Convolution::output`]); for an activation
/// other than `None` and `Relu` of a depthwise convolution.
pub fn forward(
    shape: &Convolution,
    compute: Compute,
    y_nhwc: &mut [f32],
    x_nhwc: &[f32],
    w_ohwi: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
) {
    shape.check(x_nhwc.len(), y_nhwc.len(), w_ohwi.len());
    let [channels_in, channels_out] = shape.channels;
    assert!(bias.is_none_or(|bias| bias.len() == channels_out), "a bias that does not fit {shape:?}");
    let (pixels, depth) = (shape.pixels(), shape.depth());
    if shape.is_depthwise() {
        return depthwise::forward(shape, y_nhwc, x_nhwc, w_ohwi, bias, activation);
    }
    if shape.is_pointwise() {
        let epilogue = Epilogue { bias, activation, ..Epilogue::default() };
        let (y, x) = (MatrixMut::new(y_nhwc, pixels, channels_out), Matrix::new(x_nhwc, pixels, channels_in));
        return gemm(compute, y, x, Matrix::new(w_ohwi, channels_out, channels_in).transposed(), epilogue);
    }
    #[cfg(target_arch = "x86_64")]
    if direct::fits(shape) && matches!(activation, Activation::None | Activation::Relu) {
        let finish = direct::Finish { bias, relu: activation == Activation::Relu, rectified: None };
        return direct::forward(shape, compute, y_nhwc, x_nhwc, &|o, k| w_ohwi[o * depth + k], finish);
    }
    let per_group = channels_out / shape.groups;
    parallel::chunks(y_nhwc, shape.piece() * channels_out, |piece, y| {
        let count = y.len() / channels_out.max(1);
        let pixels = piece * shape.piece()..piece * shape.piece() + count;
        with_scratch(|scratch| {
            for group in 0..shape.groups {
                let first = group * per_group;
                let seen = seen(shape, compute, scratch, x_nhwc, pixels.clone(), group);
                let w = Matrix::new(&w_ohwi[first * depth..][..per_group * depth], per_group, depth);
                let y = MatrixMut::strided(&mut y[first..], count, per_group, channels_out);
                let bias = bias.map(|bias| &bias[first..first + per_group]);
                gemm(compute, y, seen, w.transposed(), Epilogue { bias, activation, ..Epilogue::default() });
            }
        });
    });
}

/// The gradient by input: `dx[n,h,w,c] = Σ w[o,i,j,c]·dy[n,p,q,o]` over all `i, j, p, q` where the output saw
/// the input. Shapes are those of [`forward`].
///
/// With `rectified`, which is the input itself (`[batch, height, width, channels in]`), the gradient goes on
/// through the ReLU that made it: it is 0 where the input is not above 0.
///
/// # Panics
/// When the slices do not fit the shape, or the shape is none.
pub fn backward_input(
    shape: &Convolution,
    compute: Compute,
    dx_nhwc: &mut [f32],
    dy_nhwc: &[f32],
    w_ohwi: &[f32],
    rectified: Option<&[f32]>,
) {
    shape.check(dx_nhwc.len(), dy_nhwc.len(), w_ohwi.len());
    assert!(rectified.is_none_or(|x| x.len() == dx_nhwc.len()), "an input that does not fit {shape:?}");
    let [height, width] = shape.output();
    let [_, channels_out] = shape.channels;
    let (per_image, image_len) = (height * width, shape.image_len());
    if dx_nhwc.is_empty() {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(turned) = direct::turned(shape) {
        let ([channels_in, _], places) = (shape.channels, shape.kernel[0] * shape.kernel[1]);
        // Kernel place (i, j) is now the one from the end.
        let weight_at = |c: usize, k: usize| {
            let (place, o) = (k / channels_out, k % channels_out);
            w_ohwi[(o * places + places - 1 - place) * channels_in + c]
        };
        let finish = direct::Finish { bias: None, relu: false, rectified };
        return direct::forward(&turned, compute, dx_nhwc, dy_nhwc, &weight_at, finish);
    }
    // One task per image, because what neighbouring pixels saw overlaps.
    parallel::chunks(dx_nhwc, image_len, |image, dx| {
        let dy = &dy_nhwc[image * per_image * channels_out..][..per_image * channels_out];
        if shape.is_depthwise() {
            depthwise::backward_input(shape, dx, dy, w_ohwi);
        } else {
            with_scratch(|scratch| image_backward(shape, compute, scratch, dx, dy, w_ohwi));
        }
        if let Some(x) = rectified {
            columns::rectify(dx, &x[image * image_len..][..image_len]);
        }
    });
}

/// One image of [`backward_input`].
fn image_backward(
    shape: &Convolution,
    compute: Compute,
    scratch: &mut Scratch,
    dx_hwc: &mut [f32],
    dy_hwc: &[f32],
    w_ohwi: &[f32],
) {
    let ([_, channels_out], depth) = (shape.channels, shape.depth());
    let per_group = channels_out / shape.groups;
    let pixels = dy_hwc.len() / channels_out.max(1);
    if shape.is_pointwise() {
        let (dx, dy) = (MatrixMut::new(dx_hwc, pixels, depth), Matrix::new(dy_hwc, pixels, channels_out));
        return gemm(compute, dx, dy, Matrix::new(w_ohwi, channels_out, depth), Epilogue::default());
    }
    dx_hwc.fill(0.0);
    for begin in (0..pixels).step_by(shape.piece()) {
        let count = shape.piece().min(pixels - begin);
        for group in 0..shape.groups {
            let first = group * per_group;
            let w = Matrix::new(&w_ohwi[first * depth..][..per_group * depth], per_group, depth);
            let dy = &dy_hwc[begin * channels_out + first..];
            let dy = Matrix::strided(dy, count, per_group, channels_out, 1);
            let seen = scratch.floats(count * depth);
            gemm(compute, MatrixMut::new(&mut *seen, count, depth), dy, w, Epilogue::default());
            add_columns(shape, dx_hwc, seen, begin..begin + count, group);
        }
    }
}

/// The gradient by weight: `dw[o,i,j,c] = Σ x[n, …, …, c]·dy[n,p,q,o]` over all output pixels. Shapes are those
/// of [`forward`].
///
/// # Panics
/// When the slices do not fit the shape, or the shape is none.
pub fn backward_weight(shape: &Convolution, compute: Compute, dw_ohwi: &mut [f32], dy_nhwc: &[f32], x_nhwc: &[f32]) {
    shape.check(x_nhwc.len(), dy_nhwc.len(), dw_ohwi.len());
    if shape.is_depthwise() {
        return depthwise::backward_weight(shape, dw_ohwi, dy_nhwc, x_nhwc);
    }
    let [channels_in, channels_out] = shape.channels;
    let (pixels, depth, length) = (shape.pixels(), shape.depth(), dw_ohwi.len());
    if pixels == 0 || length == 0 {
        return dw_ohwi.fill(0.0);
    }
    if shape.is_pointwise() {
        let (dy, x) = (Matrix::new(dy_nhwc, pixels, channels_out), Matrix::new(x_nhwc, pixels, channels_in));
        let dw = MatrixMut::new(dw_ohwi, channels_out, channels_in);
        return gemm(compute, dw, dy.transposed(), x, Epilogue::default());
    }
    #[cfg(target_arch = "x86_64")]
    if direct::fits(shape) {
        return direct::backward_weight(shape, compute, dw_ohwi, dy_nhwc, x_nhwc);
    }
    let per_group = channels_out / shape.groups;
    let pieces = pixels.div_ceil(shape.piece());
    let parts = (PARTS_NUMBERS / length).clamp(PARTS_LEAST, PARTS).min(pieces);
    parts_summed(dw_ohwi, parts, |part, dw| {
        for piece in part * pieces / parts..(part + 1) * pieces / parts {
            let begin = piece * shape.piece();
            let count = shape.piece().min(pixels - begin);
            let accumulate = piece > part * pieces / parts;
            with_scratch(|scratch| {
                for group in 0..shape.groups {
                    let first = group * per_group;
                    let seen = seen(shape, compute, scratch, x_nhwc, begin..begin + count, group);
                    let dy = &dy_nhwc[begin * channels_out + first..];
                    let dy = Matrix::strided(dy, count, per_group, channels_out, 1);
                    let dw = MatrixMut::new(&mut dw[first * depth..][..per_group * depth], per_group, depth);
                    gemm(compute, dw, dy.transposed(), seen, Epilogue { accumulate, ..Epilogue::default() });
                }
            });
        }
    });
}

/// What the pixels see of a group, as a matrix `[pixels, depth]` in the numbers that the product computes in.
fn seen<'a>(
    shape: &Convolution,
    compute: Compute,
    scratch: &'a mut Scratch,
    x_nhwc: &[f32],
    pixels: std::ops::Range<usize>,
    group: usize,
) -> Matrix<'a> {
    let (count, depth) = (pixels.len(), shape.depth());
    if compute == Compute::F32 {
        let seen = scratch.floats(count * depth);
        columns(shape, seen, x_nhwc, 0, pixels, group);
        return Matrix::new(&*seen, count, depth);
    }
    let rows = columns::rows_seen(shape, pixels.clone());
    let row = shape.input[1] * shape.channels[0];
    let x = &x_nhwc[rows.start * row..rows.end * row];
    let (seen, narrow): (&mut [Bf16], _) = scratch.halves(count * depth, x.len());
    bf16::narrow(narrow, x);
    columns(shape, seen, narrow, rows.start, pixels, group);
    Matrix::new(&*seen, count, depth)
}

/// `to = Σ` over `parts`, each made by a task in its own memory, added in their order. The memory that `make`
/// gets holds anything.
fn parts_summed(to: &mut [f32], parts: usize, make: impl Fn(usize, &mut [f32]) + Sync) {
    const PIECE: usize = 1 << 12;
    thread_local! {
        static ALL: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    let length = to.len();
    if parts <= 1 {
        return make(0, to);
    }
    // Kept, because fresh memory costs a page fault per 4 KiB.
    let mut all = ALL.take();
    if all.len() < parts * length {
        all.resize(parts * length, 0.0);
    }
    parallel::chunks(&mut all[..parts * length], length, &make);
    parallel::chunks(to, PIECE, |index, to| {
        to.copy_from_slice(&all[index * PIECE..][..to.len()]);
        for part in 1..parts {
            crate::axpy(to, 1.0, &all[part * length + index * PIECE..][..to.len()]);
        }
    });
    ALL.set(all);
}
