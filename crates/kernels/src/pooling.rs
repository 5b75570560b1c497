//! Pools over one or two dimensions, forward and backward: the largest value, the mean, the mean of all.
//!
//! Images are NHWC, as in [`crate::convolution`], so that every step runs along the channels. A pool over one
//! dimension is that over images of height 1 ([`Pooling::one_dimensional`]). Forward passes are cut into rows
//! of the output, backward passes into images.

use crate::isa::kernel;
use crate::parallel;

/// The shape of a pool; arrays hold what belongs to the height and to the width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pooling {
    /// Images.
    pub batch: usize,
    /// Height and width of an input image.
    pub input: [usize; 2],
    /// Channels.
    pub channels: usize,
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// The distance between windows.
    pub stride: [usize; 2],
    /// Pixels at either side that windows may reach over the image: at most half a window.
    pub padding: [usize; 2],
}

impl Pooling {
    /// Windows next to each other, without padding; the other shapes are set with `..`.
    #[must_use]
    pub fn new(batch: usize, input: [usize; 2], channels: usize, kernel: [usize; 2]) -> Self {
        Self { batch, input, channels, kernel, stride: kernel, padding: [0; 2] }
    }

    /// The same over one dimension: an image of height 1. Stride and padding are set by their second number.
    #[must_use]
    pub fn one_dimensional(batch: usize, length: usize, channels: usize, kernel: usize) -> Self {
        Self::new(batch, [1, length], channels, [1, kernel])
    }

    /// Height and width of the output: `(input + 2·padding − kernel) / stride + 1`.
    ///
    /// # Panics
    /// When the image is empty, when a window is or is larger than the padded image, when the padding is more than half a window,
    /// when a stride is 0.
    #[must_use]
    pub fn output(&self) -> [usize; 2] {
        [0, 1].map(|i| {
            let padded = self.input[i] + 2 * self.padding[i];
            let fits = self.input[i] > 0
                && self.kernel[i] > 0
                && self.kernel[i] <= padded
                && 2 * self.padding[i] <= self.kernel[i];
            assert!(fits && self.stride[i] > 0, "{self:?}");
            (padded - self.kernel[i]) / self.stride[i] + 1
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
        let [height, width] = self.output();
        self.batch * height * width * self.channels
    }

    fn image_len(&self) -> usize {
        self.input[0] * self.input[1] * self.channels
    }

    fn check(&self, x: usize, y: usize) {
        assert_eq!((x, y), (self.input_len(), self.output_len()), "lengths of input and output of {self:?}");
    }

    /// The window at `place`: its first pixel inside the image, the one after its last, and how many pixels of
    /// it lie before the image.
    #[inline(always)]
    fn window(&self, dimension: usize, place: usize) -> (usize, usize, usize) {
        let (begin, padding) = (place * self.stride[dimension], self.padding[dimension]);
        let end = (begin + self.kernel[dimension] - padding).min(self.input[dimension]);
        (begin.saturating_sub(padding).min(end), end, padding.saturating_sub(begin))
    }

    /// Calls `visit` with each pixel of the image (counted through it) that a window holds, and its place in the
    /// window.
    #[inline(always)]
    fn each(&self, row: usize, column: usize, visit: &mut impl Visit) {
        let ((top, bottom, above), (left, right, before)) = (self.window(0, row), self.window(1, column));
        for (i, y) in (top..bottom).enumerate() {
            for (j, x) in (left..right).enumerate() {
                visit.visit(y * self.input[1] + x, (i + above) * self.kernel[1] + j + before);
            }
        }
    }
}

/// What is done with a pixel of a window. (A trait and no closure: it has to be compiled into the kernel.)
trait Visit {
    fn visit(&mut self, pixel: usize, place: usize);
}

/// `y[n,p,q,c] = max x[n,h,w,c]` over the window of `(p, q)`; `places_nhwc` (as long as `y_nhwc`) gets the place
/// of the largest in its window, counted along the rows, the first of equals. What is not a number is the largest.
///
/// # Panics
/// When the slices do not fit the shape, the shape is none (see [`Pooling::output`]), or a window has more than
/// 65,536 places.
pub fn max_forward(shape: &Pooling, y_nhwc: &mut [f32], places_nhwc: &mut [u16], x_nhwc: &[f32]) {
    shape.check(x_nhwc.len(), y_nhwc.len());
    assert_eq!(places_nhwc.len(), y_nhwc.len(), "places of {shape:?}");
    assert!(shape.kernel[0] * shape.kernel[1] <= 1 << 16, "a window of {:?} places", shape.kernel);
    let ([height, width], channels) = (shape.output(), shape.channels);
    let (row_len, places) = (width * channels, parallel::Shared(places_nhwc.as_mut_ptr()));
    parallel::chunks(y_nhwc, row_len, |row, y| {
        // SAFETY: rows do not overlap, each has one task, and `places_nhwc` is borrowed until `chunks` returns.
        let places = unsafe { std::slice::from_raw_parts_mut(places.get().add(row * row_len), y.len()) };
        let x = &x_nhwc[row / height * shape.image_len()..][..shape.image_len()];
        max_row(shape, y, places, x, row % height);
    });
}

/// The gradient of [`max_forward`]: `dx` at the place of the largest gets `dy`, added up where windows overlap,
/// all else 0.
///
/// With `rectified`, which is the output of the pool `[batch, height, width, channels]`, the gradient goes on
/// through the ReLU that made the pool's input: it is 0 where the largest is not above 0.
///
/// # Panics
/// When the slices do not fit the shape, or the shape is none.
pub fn max_backward(
    shape: &Pooling,
    dx_nhwc: &mut [f32],
    dy_nhwc: &[f32],
    places_nhwc: &[u16],
    rectified: Option<&[f32]>,
) {
    shape.check(dx_nhwc.len(), dy_nhwc.len());
    assert_eq!(places_nhwc.len(), dy_nhwc.len(), "places of {shape:?}");
    assert!(rectified.is_none_or(|y| y.len() == dy_nhwc.len()), "an output that does not fit {shape:?}");
    let [height, width] = shape.output();
    let length = height * width * shape.channels;
    parallel::chunks(dx_nhwc, shape.image_len(), |image, dx| {
        let own = image * length..(image + 1) * length;
        let y = rectified.map(|y| &y[own.clone()]);
        max_image_backward(shape, dx, &dy_nhwc[own.clone()], &places_nhwc[own], y);
    });
}

/// `y[n,p,q,c] = Σ x[n,h,w,c] / size` over the window of `(p, q)`; the size is that of the whole window with
/// `count_padding` (PyTorch's `count_include_pad`, its default), or else of the part within the image.
///
/// # Panics
/// When the slices do not fit the shape, or the shape is none.
pub fn average_forward(shape: &Pooling, count_padding: bool, y_nhwc: &mut [f32], x_nhwc: &[f32]) {
    shape.check(x_nhwc.len(), y_nhwc.len());
    let [height, width] = shape.output();
    parallel::chunks(y_nhwc, width * shape.channels, |row, y| {
        let x = &x_nhwc[row / height * shape.image_len()..][..shape.image_len()];
        average_row(shape, count_padding, y, x, row % height);
    });
}

/// The gradient of [`average_forward`]: every pixel of a window gets its part of `dy`.
///
/// # Panics
/// When the slices do not fit the shape, or the shape is none.
pub fn average_backward(shape: &Pooling, count_padding: bool, dx_nhwc: &mut [f32], dy_nhwc: &[f32]) {
    shape.check(dx_nhwc.len(), dy_nhwc.len());
    let [height, width] = shape.output();
    let length = height * width * shape.channels;
    parallel::chunks(dx_nhwc, shape.image_len(), |image, dx| {
        average_image_backward(shape, count_padding, dx, &dy_nhwc[image * length..][..length]);
    });
}

/// `y[n,c] = Σ x[n,h,w,c] / pixels`: the mean over each image of so many pixels, `[batch, pixels, channels]` to
/// `[batch, channels]`. Sums are taken over pieces of 64 pixels first.
///
/// # Panics
/// When the slices do not fit each other, or there are no pixels.
pub fn global_average_forward(y_nc: &mut [f32], x_nhwc: &[f32], channels: usize, pixels: usize) {
    const PIECE: usize = 64;
    assert!(pixels > 0 && y_nc.len() * pixels == x_nhwc.len(), "images of {pixels} pixels");
    parallel::chunks(y_nc, channels, |image, y| {
        let x = &x_nhwc[image * pixels * channels..][..pixels * channels];
        y.fill(0.0);
        let mut piece_sum = vec![0.0; channels];
        for piece in x.chunks(PIECE * channels) {
            piece_sum.fill(0.0);
            for x in piece.chunks_exact(channels) {
                crate::axpy(&mut piece_sum, 1.0, x);
            }
            crate::axpy(y, 1.0, &piece_sum);
        }
        for y in y {
            *y /= pixels as f32;
        }
    });
}

/// The gradient of [`global_average_forward`]: `dx[n,h,w,c] = dy[n,c] / pixels`.
///
/// # Panics
/// When the slices do not fit each other, or there are no pixels.
pub fn global_average_backward(dx_nhwc: &mut [f32], dy_nc: &[f32], channels: usize, pixels: usize) {
    assert!(pixels > 0 && dy_nc.len() * pixels == dx_nhwc.len(), "images of {pixels} pixels");
    parallel::chunks(dx_nhwc, pixels * channels, |image, dx| {
        let dy = &dy_nc[image * channels..][..channels];
        for dx in dx.chunks_exact_mut(channels) {
            for (dx, dy) in dx.iter_mut().zip(dy) {
                *dx = dy / pixels as f32;
            }
        }
    });
}

/// The largest of the channels so far, and where it was.
struct Largest<'a> {
    x_hwc: &'a [f32],
    values: &'a mut [f32],
    places: &'a mut [u16],
}

impl Visit for Largest<'_> {
    #[inline(always)]
    fn visit(&mut self, pixel: usize, place: usize) {
        let channels = self.values.len();
        let x = &self.x_hwc[pixel * channels..][..channels];
        for ((value, at), x) in self.values.iter_mut().zip(self.places.iter_mut()).zip(x) {
            let larger = (*x > *value) | (x.is_nan() & !value.is_nan());
            *value = if larger { *x } else { *value };
            *at = if larger { place as u16 } else { *at };
        }
    }
}

kernel! {
    /// One row of [`max_forward`].
    pub fn max_row(shape: &Pooling, y_wc: &mut [f32], places_wc: &mut [u16], x_hwc: &[f32], row: usize) {
        let channels = shape.channels;
        let all = y_wc.chunks_exact_mut(channels).zip(places_wc.chunks_exact_mut(channels));
        for (column, (values, places)) in all.enumerate() {
            // It begins with the first pixel of the window, at its place.
            let ((top, _, above), (left, _, before)) = (shape.window(0, row), shape.window(1, column));
            values.copy_from_slice(&x_hwc[(top * shape.input[1] + left) * channels..][..channels]);
            places.fill((above * shape.kernel[1] + before) as u16);
            shape.each(row, column, &mut Largest { x_hwc, values, places });
        }
    }
}

/// Gradients that go to where the largest was.
struct ToLargest<'a> {
    dx_hwc: &'a mut [f32],
    dy: &'a [f32],
    places: &'a [u16],
}

impl Visit for ToLargest<'_> {
    #[inline(always)]
    fn visit(&mut self, pixel: usize, place: usize) {
        let dx = &mut self.dx_hwc[pixel * self.dy.len()..][..self.dy.len()];
        for ((dx, dy), at) in dx.iter_mut().zip(self.dy).zip(self.places) {
            *dx += if *at == place as u16 { *dy } else { 0.0 };
        }
    }
}

kernel! {
    /// One image of [`max_backward`].
    pub fn max_image_backward(
        shape: &Pooling, dx_hwc: &mut [f32], dy_hwc: &[f32], places_hwc: &[u16], rectified: Option<&[f32]>,
    ) {
        let (channels, [_, width]) = (shape.channels, shape.output());
        dx_hwc.fill(0.0);
        let mut gradients = vec![0.0; channels];
        for (pixel, dy) in dy_hwc.chunks_exact(channels).enumerate() {
            let own = pixel * channels..(pixel + 1) * channels;
            gradients.copy_from_slice(dy);
            if let Some(y) = rectified {
                for (gradient, y) in gradients.iter_mut().zip(&y[own.clone()]) {
                    *gradient = if *y <= 0.0 { 0.0 } else { *gradient };
                }
            }
            let mut visit = ToLargest { dx_hwc: &mut *dx_hwc, dy: &gradients, places: &places_hwc[own] };
            shape.each(pixel / width, pixel % width, &mut visit);
        }
    }
}

/// A sum over a window, or the parts of one.
struct Sum<'a> {
    x_hwc: &'a [f32],
    y: &'a mut [f32],
}

impl Visit for Sum<'_> {
    #[inline(always)]
    fn visit(&mut self, pixel: usize, _: usize) {
        let x = &self.x_hwc[pixel * self.y.len()..][..self.y.len()];
        for (y, x) in self.y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

struct Spread<'a> {
    dx_hwc: &'a mut [f32],
    dy: &'a [f32],
    size: f32,
}

impl Visit for Spread<'_> {
    #[inline(always)]
    fn visit(&mut self, pixel: usize, _: usize) {
        let dx = &mut self.dx_hwc[pixel * self.dy.len()..][..self.dy.len()];
        for (dx, dy) in dx.iter_mut().zip(self.dy) {
            *dx += dy / self.size;
        }
    }
}

/// What a sum over the window is divided by.
#[inline(always)]
fn size(shape: &Pooling, count_padding: bool, row: usize, column: usize) -> f32 {
    let ((top, bottom, _), (left, right, _)) = (shape.window(0, row), shape.window(1, column));
    let within = (bottom - top) * (right - left);
    (if count_padding { shape.kernel[0] * shape.kernel[1] } else { within }) as f32
}

kernel! {
    /// One row of [`average_forward`].
    pub fn average_row(shape: &Pooling, count_padding: bool, y_wc: &mut [f32], x_hwc: &[f32], row: usize) {
        for (column, y) in y_wc.chunks_exact_mut(shape.channels).enumerate() {
            y.fill(0.0);
            shape.each(row, column, &mut Sum { x_hwc, y: &mut *y });
            let size = size(shape, count_padding, row, column);
            for y in y {
                *y /= size;
            }
        }
    }
}

kernel! {
    /// One image of [`average_backward`].
    pub fn average_image_backward(shape: &Pooling, count_padding: bool, dx_hwc: &mut [f32], dy_hwc: &[f32]) {
        let [_, width] = shape.output();
        dx_hwc.fill(0.0);
        for (pixel, dy) in dy_hwc.chunks_exact(shape.channels).enumerate() {
            let (row, column) = (pixel / width, pixel % width);
            let size = size(shape, count_padding, row, column);
            shape.each(row, column, &mut Spread { dx_hwc: &mut *dx_hwc, dy, size });
        }
    }
}
