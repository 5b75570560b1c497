//! The column matrix: what each pixel of the output sees, one row each; into it, and back.

use std::cell::RefCell;
use std::ops::Range;

use super::Convolution;
use crate::bf16::Bf16;
use crate::isa::kernel;

/// Memory of a thread for columns; it grows and stays.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    floats: Vec<f32>,
    halves: Vec<Bf16>,
    #[cfg(target_arch = "x86_64")]
    units: Vec<u32>,
}

impl Scratch {
    pub(super) fn floats(&mut self, length: usize) -> &mut [f32] {
        grown(&mut self.floats, length)
    }

    /// Memory for each kind of number.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn all(&mut self, floats: usize, halves: usize, units: usize) -> (&mut [f32], &mut [Bf16], &mut [u32]) {
        (grown(&mut self.floats, floats), grown(&mut self.halves, halves), grown(&mut self.units, units))
    }

    /// The memory for floats, set aside until [`Scratch::keep`] gives it back.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn floats_apart(&mut self) -> Self {
        Self { floats: std::mem::take(&mut self.floats), ..Self::default() }
    }

    /// Takes back what was set aside.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn keep(&mut self, apart: Self) {
        self.floats = apart.floats;
    }

    /// Two slices of bf16.
    pub(super) fn halves(&mut self, first: usize, second: usize) -> (&mut [Bf16], &mut [Bf16]) {
        grown(&mut self.halves, first + second).split_at_mut(first)
    }
}

fn grown<T: Clone + Default>(all: &mut Vec<T>, length: usize) -> &mut [T] {
    if all.len() < length {
        all.resize(length, T::default());
    }
    &mut all[..length]
}

/// Calls `work` with this thread's memory; its content is left from the last time.
pub(super) fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    // Taken out, so that a call within a call has fresh memory instead of a panic.
    let mut scratch = SCRATCH.take();
    let result = work(&mut scratch);
    SCRATCH.set(scratch);
    result
}

/// The input pixels that kernel row or column 0, 1, … sees from `place`: `(kernel index, input index)` pairs
/// within the image, from the first that lies inside.
#[inline(always)]
fn inside(shape: &Convolution, dimension: usize, place: usize) -> (Range<usize>, usize) {
    let (dilation, padding) = (shape.dilation[dimension], shape.padding[dimension]);
    let begin = place * shape.stride[dimension];
    let first = padding.saturating_sub(begin).div_ceil(dilation).min(shape.kernel[dimension]);
    let room = (shape.input[dimension] + padding).saturating_sub(begin);
    let last = room.div_ceil(dilation).min(shape.kernel[dimension]).max(first);
    (first..last, (begin + first * dilation).wrapping_sub(padding))
}

/// The rows of the input, counted through all images, among which is all that these output pixels see.
pub(super) fn rows_seen(shape: &Convolution, pixels: Range<usize>) -> Range<usize> {
    if pixels.is_empty() {
        return 0..0;
    }
    let ([height, _], [stride, _], [padding, _]) = (shape.input, shape.stride, shape.padding);
    let (first, last) = (shape.place(pixels.start), shape.place(pixels.end - 1));
    let begin = (first.row * stride).saturating_sub(padding).min(height);
    let end = (last.row * stride + shape.span(0)).saturating_sub(padding).min(height);
    first.image * height + begin..last.image * height + end
}

/// A run of copies of a few numbers, as a loop, where a call would cost more than the copy.
#[inline(always)]
fn copy<T: Copy>(to: &mut [T], from: &[T]) {
    if to.len() < 16 {
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
        }
    } else {
        to.copy_from_slice(from);
    }
}

/// Neighbouring numbers that pixels see. (A trait and no closure: it has to be compiled into the kernel.)
trait Runs {
    /// `pixel` is counted from the first, `into` is the place in its row of columns, and `from` the input row
    /// (through all images) and the place in it; nothing, where it lies outside the image.
    fn visit(&mut self, pixel: usize, into: usize, length: usize, from: Option<(usize, usize)>);
}

struct Copies<'a, T> {
    seen: &'a mut [T],
    x_nhwc: &'a [T],
    first_row: usize,
    row: usize,
    depth: usize,
}

impl<T: Copy + Default> Runs for Copies<'_, T> {
    #[inline(always)]
    fn visit(&mut self, pixel: usize, into: usize, length: usize, from: Option<(usize, usize)>) {
        let seen = &mut self.seen[pixel * self.depth + into..][..length];
        match from {
            Some((row, place)) => copy(seen, &self.x_nhwc[(row - self.first_row) * self.row + place..][..length]),
            None => seen.fill(T::default()),
        }
    }
}

struct Additions<'a> {
    dx_hwc: &'a mut [f32],
    seen: &'a [f32],
    row: usize,
    depth: usize,
}

impl Runs for Additions<'_> {
    #[inline(always)]
    fn visit(&mut self, pixel: usize, into: usize, length: usize, from: Option<(usize, usize)>) {
        if let Some((row, place)) = from {
            let seen = &self.seen[pixel * self.depth + into..][..length];
            for (dx, seen) in self.dx_hwc[row * self.row + place..][..length].iter_mut().zip(seen) {
                *dx += seen;
            }
        }
    }
}

/// Writes what `pixels` see of a group: `seen` is `[pixels, kernel height, kernel width, channels in / groups]`,
/// `x_nhwc` the input from its row `first_row` on, counted through all images.
pub(super) fn columns<T: Copy + Default>(
    shape: &Convolution,
    seen: &mut [T],
    x_nhwc: &[T],
    first_row: usize,
    pixels: Range<usize>,
    group: usize,
) {
    let (row, depth) = (shape.input[1] * shape.channels[0], shape.depth());
    each_run(shape, pixels, group, &mut Copies { seen, x_nhwc, first_row, row, depth });
}

kernel! {
    /// Adds what `pixels` of one image saw back into the image: the transpose of [`columns`].
    pub fn add_columns(shape: &Convolution, dx_hwc: &mut [f32], seen: &[f32], pixels: Range<usize>, group: usize) {
        let (row, depth) = (shape.input[1] * shape.channels[0], shape.depth());
        each_run(shape, pixels, group, &mut Additions { dx_hwc, seen, row, depth });
    }
}

/// Calls `runs` for every run that the pixels see, from the kernel's first place to its last.
#[inline(always)]
fn each_run(shape: &Convolution, pixels: Range<usize>, group: usize, runs: &mut impl Runs) {
    let ([channels, _], [in_group, _]) = (shape.channels, shape.group());
    let [kernel_height, kernel_width] = shape.kernel;
    // Neighbours in the kernel are neighbours in memory: as long a run as there is.
    let whole = shape.dilation[1] == 1 && shape.groups == 1;
    let [_, width] = shape.output();
    let mut place = shape.place(pixels.start);
    let mut rows = inside(shape, 0, place.row);
    for pixel in 0..pixels.len() {
        let (columns, first_column) = inside(shape, 1, place.column);
        let length = if whole { columns.len() * in_group } else { in_group };
        for i in 0..kernel_height {
            let begin = i * kernel_width * in_group;
            let (within, end) = (begin + columns.start * in_group, begin + kernel_width * in_group);
            if !rows.0.contains(&i) || columns.is_empty() {
                runs.visit(pixel, begin, end - begin, None);
                continue;
            }
            let row = place.image * shape.input[0] + rows.1 + (i - rows.0.start) * shape.dilation[0];
            for j in 0..if whole { 1 } else { columns.len() } {
                let from = (first_column + j * shape.dilation[1]) * channels + group * in_group;
                runs.visit(pixel, within + j * in_group, length, Some((row, from)));
            }
            let after = begin + columns.end * in_group;
            for (from, to) in [(begin, within), (after, end)] {
                if from < to {
                    runs.visit(pixel, from, to - from, None);
                }
            }
        }
        place.column += 1;
        if place.column == width {
            place = shape.place(pixels.start + pixel + 1);
            rows = inside(shape, 0, place.row);
        }
    }
}

kernel! {
    /// `dx[i] = 0` where `x[i]` is not above 0, the gradient of ReLU; it passes where `x[i]` is not a number.
    pub fn rectify(dx: &mut [f32], x: &[f32]) {
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = if *x <= 0.0 { 0.0 } else { *dx };
        }
    }
}
