//! Depthwise convolutions, each channel by itself: sums of products along the channels, without a matrix product.

use super::columns::with_scratch;
use super::{Convolution, parts_summed};
use crate::gemm::Activation;
use crate::isa::kernel;
use crate::parallel;

/// Channels whose weight gradients are summed at once.
const WIDE: usize = 64;
/// The most partial weight gradients.
const PARTS: usize = 16;

/// As [`super::forward`].
pub(super) fn forward(
    shape: &Convolution,
    y_nhwc: &mut [f32],
    x_nhwc: &[f32],
    w_ohwi: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
) {
    let rectify = match activation {
        Activation::Relu => true,
        Activation::None => false,
        #[allow(unreachable_patterns, reason = "whatever else there may be")]
        other => panic!("a depthwise convolution with {other:?}"),
    };
    let channels = shape.groups;
    let ([height, width], taps) = (shape.output(), shape.kernel[0] * shape.kernel[1]);
    let mut w_hwo = vec![0.0; w_ohwi.len()];
    super::to_channels_first(&mut w_hwo, w_ohwi, taps, channels);
    let zeros = if bias.is_none() { vec![0.0; channels] } else { Vec::new() };
    let bias = bias.unwrap_or(&zeros);
    parallel::chunks(y_nhwc, width * channels, |row, y| {
        let x = &x_nhwc[row / height * shape.image_len()..][..shape.image_len()];
        forward_row(shape, y, x, &w_hwo, bias, row % height, rectify);
    });
}

/// As [`super::backward_input`], for one image.
pub(super) fn backward_input(shape: &Convolution, dx_hwc: &mut [f32], dy_hwc: &[f32], w_ohwi: &[f32]) {
    let taps = shape.kernel[0] * shape.kernel[1];
    with_scratch(|scratch| {
        let w_hwo = scratch.floats(w_ohwi.len());
        super::to_channels_first(w_hwo, w_ohwi, taps, shape.groups);
        dx_hwc.fill(0.0);
        image_backward(shape, dx_hwc, dy_hwc, w_hwo);
    });
}

/// As [`super::backward_weight`].
pub(super) fn backward_weight(shape: &Convolution, dw_ohwi: &mut [f32], dy_nhwc: &[f32], x_nhwc: &[f32]) {
    let [height, width] = shape.output();
    let (rows, taps) = (shape.batch * height, shape.kernel[0] * shape.kernel[1]);
    let mut dw_hwo = vec![0.0; dw_ohwi.len()];
    let parts = PARTS.min(rows);
    parts_summed(&mut dw_hwo, parts, |part, dw| {
        dw.fill(0.0);
        for row in part * rows / parts.max(1)..(part + 1) * rows / parts.max(1) {
            let x = &x_nhwc[row / height * shape.image_len()..][..shape.image_len()];
            let dy = &dy_nhwc[row * width * shape.groups..][..width * shape.groups];
            row_weight(shape, dw, dy, x, row % height);
        }
    });
    super::to_channels_last(dw_ohwi, &dw_hwo, taps, shape.groups);
}

/// The pixel of the input, counted through the image, that output `(row, column)` sees at kernel place `(i, j)`.
#[inline(always)]
fn sees(shape: &Convolution, row: usize, column: usize, i: usize, j: usize) -> Option<usize> {
    let at = |dimension: usize, place: usize, k: usize| {
        let at = place * shape.stride[dimension] + k * shape.dilation[dimension];
        at.checked_sub(shape.padding[dimension]).filter(|at| *at < shape.input[dimension])
    };
    Some(at(0, row, i)? * shape.input[1] + at(1, column, j)?)
}

kernel! {
    /// One row of the output of one image.
    pub fn forward_row(
        shape: &Convolution, y_wc: &mut [f32], x_hwc: &[f32], w_hwo: &[f32], bias: &[f32], row: usize, rectify: bool,
    ) {
        let channels = shape.groups;
        for (column, y) in y_wc.chunks_exact_mut(channels).enumerate() {
            y.copy_from_slice(bias);
            for i in 0..shape.kernel[0] {
                for j in 0..shape.kernel[1] {
                    let Some(pixel) = sees(shape, row, column, i, j) else { continue };
                    let x = &x_hwc[pixel * channels..][..channels];
                    let w = &w_hwo[(i * shape.kernel[1] + j) * channels..][..channels];
                    for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                        *y = x.mul_add(*w, *y);
                    }
                }
            }
            if rectify {
                for y in y {
                    *y = if *y < 0.0 { 0.0 } else { *y };
                }
            }
        }
    }
}

kernel! {
    /// Adds the gradient of one image.
    pub fn image_backward(shape: &Convolution, dx_hwc: &mut [f32], dy_hwc: &[f32], w_hwo: &[f32]) {
        let (channels, width) = (shape.groups, shape.output()[1]);
        for (pixel, dy) in dy_hwc.chunks_exact(channels).enumerate() {
            for i in 0..shape.kernel[0] {
                for j in 0..shape.kernel[1] {
                    let Some(pixel) = sees(shape, pixel / width, pixel % width, i, j) else { continue };
                    let dx = &mut dx_hwc[pixel * channels..][..channels];
                    let w = &w_hwo[(i * shape.kernel[1] + j) * channels..][..channels];
                    for ((dx, dy), w) in dx.iter_mut().zip(dy).zip(w) {
                        *dx = dy.mul_add(*w, *dx);
                    }
                }
            }
        }
    }
}

/// Adds the sums of one kernel place `(i, j)` over a row of the output, for up to [`WIDE`] channels from `first` on.
#[inline(always)]
fn place_sums(
    shape: &Convolution,
    dw_o: &mut [f32],
    (dy_wc, x_hwc): (&[f32], &[f32]),
    (row, i, j): (usize, usize, usize),
    first: usize,
) {
    let channels = shape.groups;
    let mut sums = [0.0_f32; WIDE];
    for column in 0..shape.output()[1] {
        let Some(pixel) = sees(shape, row, column, i, j) else { continue };
        let x = &x_hwc[pixel * channels + first..][..dw_o.len()];
        let dy = &dy_wc[column * channels + first..][..dw_o.len()];
        for ((sum, x), dy) in sums.iter_mut().zip(x).zip(dy) {
            *sum = x.mul_add(*dy, *sum);
        }
    }
    for (dw, sum) in dw_o.iter_mut().zip(&sums) {
        *dw += sum;
    }
}

kernel! {
    /// Adds the weight gradient of one row of the output: summed over the row first, which keeps sums short.
    pub fn row_weight(shape: &Convolution, dw_hwo: &mut [f32], dy_wc: &[f32], x_hwc: &[f32], row: usize) {
        let channels = shape.groups;
        for (place, dw) in dw_hwo.chunks_exact_mut(channels).enumerate() {
            let at = (row, place / shape.kernel[1], place % shape.kernel[1]);
            for (block, dw) in dw.chunks_mut(WIDE).enumerate() {
                place_sums(shape, dw, (dy_wc, x_hwc), at, block * WIDE);
            }
        }
    }
}
