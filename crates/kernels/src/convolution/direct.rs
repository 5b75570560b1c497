//! Direct convolutions on AVX-512: tiles of sums that read the images where they lie, without columns.
//!
//! A task takes some rows of the output of one image. It reads the input as it is, or a copy of the rows it needs
//! with zeros at the edges, in bf16 if two products at a time are wanted. Weights are packed once. The gradient by
//! input of a convolution of stride 1 is the convolution of the gradient with the weights turned round.
//!
//! Bf16 takes pairs of neighbours in what a pixel sees (or, by weight, pairs of neighbouring pixels). Where these
//! do not come out even, or the processor has no such products, everything is computed in `f32`: more precise
//! than asked for.

use super::columns::{Scratch, with_scratch};
use super::tiles::{self, Gradient, Seen, VECTORS, WIDTH};
use super::{Convolution, parts_summed};
use crate::bf16::{self, Bf16};
use crate::gemm::Compute;
use crate::isa::{self, Isa, kernel};
use crate::parallel::{self, Shared};

/// Products of a task, about.
const TASK: usize = 1 << 21;
/// Pixels that a weight gradient runs over at a time: what they hold of 64 channels stays in the first cache.
const PIXELS: usize = 96;
/// Channels of a block.
pub(crate) const BLOCK: usize = VECTORS * WIDTH;

/// How a direct convolution computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Units {
    Single,
    Pairs,
}

/// What each output channel multiplies number `k` of what a pixel sees with.
pub(crate) type WeightAt<'a> = dyn Fn(usize, usize) -> f32 + Sync + 'a;

/// What becomes of a sum before it is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finish<'a> {
    pub(super) bias: Option<&'a [f32]>,
    pub(super) relu: bool,
    /// As the output: 0 where it is not above 0.
    pub(super) rectified: Option<&'a [f32]>,
}

/// Rows of the output of one image.
#[derive(Debug, Clone, Copy)]
struct Part {
    image: usize,
    first: usize,
    rows: usize,
}

/// Whether this processor computes such a convolution directly.
pub(super) fn fits(shape: &Convolution) -> bool {
    let avx512 = matches!(isa::current(), Isa::Avx512 | Isa::Avx512Bf16);
    avx512 && shape.groups == 1 && shape.output_len() > 0 && shape.weight_len() > 0
}

/// The convolution whose output is the gradient by input, if there is one.
pub(super) fn turned(shape: &Convolution) -> Option<Convolution> {
    let [high, wide] = [0, 1].map(|i| (shape.span(i) - 1).checked_sub(shape.padding[i]));
    let [channels_in, channels_out] = shape.channels;
    let turned =
        Convolution { input: shape.output(), channels: [channels_out, channels_in], padding: [high?, wide?], ..*shape };
    (shape.stride == [1; 2] && turned.output() == shape.input && fits(&turned)).then_some(turned)
}

impl Units {
    /// Pairs, if they are wanted, come out even, and the processor multiplies them.
    pub(crate) fn new(compute: Compute, even: bool) -> Self {
        let pairs = compute == Compute::Bf16 && isa::current() == Isa::Avx512Bf16 && even;
        if pairs { Self::Pairs } else { Self::Single }
    }

    /// Numbers in a unit.
    pub(crate) fn numbers(self) -> usize {
        if self == Self::Single { 1 } else { 2 }
    }
}

/// The runs of neighbouring numbers that a pixel sees in a padded image: where they begin, and their length.
fn runs(shape: &Convolution) -> (Vec<usize>, usize) {
    let ([channels, _], [height, width]) = (shape.channels, shape.kernel);
    let row = padded_width(shape) * channels;
    if shape.dilation[1] == 1 {
        return ((0..height).map(|i| i * shape.dilation[0] * row).collect(), width * channels);
    }
    let place = |i: usize, j: usize| i * shape.dilation[0] * row + j * shape.dilation[1] * channels;
    ((0..height).flat_map(|i| (0..width).map(move |j| place(i, j))).collect(), channels)
}

fn padded_width(shape: &Convolution) -> usize {
    shape.input[1] + 2 * shape.padding[1]
}

/// Cuts the output into parts of so many rows.
fn parts(shape: &Convolution, rows: usize) -> (usize, impl Fn(usize) -> Part + Sync) {
    let height = shape.output()[0];
    let per_image = height.div_ceil(rows);
    let part = move |index: usize| {
        let first = index % per_image * rows;
        Part { image: index / per_image, first, rows: rows.min(height - first) }
    };
    (shape.batch * per_image, part)
}

/// As [`super::forward`], with any weights.
pub(super) fn forward(
    shape: &Convolution,
    compute: Compute,
    y_nhwc: &mut [f32],
    x_nhwc: &[f32],
    weight_at: &WeightAt<'_>,
    finish: Finish<'_>,
) {
    let ([_, width], [_, channels]) = (shape.output(), shape.channels);
    let (runs, length) = runs(shape);
    let units = Units::new(compute, length.is_multiple_of(2));
    let packed = pack(units, shape.depth(), channels, weight_at);
    let mut bias = vec![0.0; channels.next_multiple_of(WIDTH)];
    bias[..channels].copy_from_slice(finish.bias.unwrap_or(&vec![0.0; channels]));
    let (tasks, part) = parts(shape, (TASK / (width * shape.depth() * channels).max(1)).max(1));
    let y = Shared(y_nhwc.as_mut_ptr());
    parallel::run(tasks, |task| {
        let part = part(task);
        with_scratch(|scratch| {
            let x = image_rows(shape, units, scratch, x_nhwc, part);
            let bytes = 4 / units.numbers();
            let runs: Vec<usize> = runs.iter().map(|run| run * bytes).collect();
            for block in 0..channels.div_ceil(BLOCK) {
                let (first, count) = (block * BLOCK, BLOCK.min(channels - block * BLOCK));
                let vectors = count.div_ceil(WIDTH);
                for row in 0..part.rows {
                    let x_row = row * shape.stride[0] * padded_width(shape) * shape.channels[0] * bytes;
                    let y_row = ((part.image * shape.output()[0] + part.first + row) * width) * channels;
                    for (pixel, rows) in tiles::rows(width, vectors) {
                        let step = shape.stride[1] * shape.channels[0] * bytes;
                        let place = y_row + pixel * channels + first;
                        let at = Seen {
                            x: x.wrapping_add(x_row + pixel * step),
                            step,
                            runs: &runs,
                            units: length / units.numbers(),
                            w: packed[first * shape.depth() / units.numbers()..].as_ptr(),
                            bias: bias[first..].as_ptr(),
                            to: y.get().wrapping_add(place),
                            stride: channels,
                            accumulate: false,
                            relu: finish.relu,
                            rectified: finish.rectified.map_or(std::ptr::null(), |x| x[place..].as_ptr()),
                            channels: count,
                        };
                        // SAFETY: `fits` and `Units::new` looked at the processor; the pixels of this part see the
                        // rows that `image_rows` gave; the output's rows belong to this task.
                        unsafe {
                            match units {
                                Units::Single => tiles::seen_single(rows, vectors, at),
                                Units::Pairs => tiles::seen_pairs(rows, vectors, at),
                            }
                        }
                    }
                }
            }
        });
    });
}

/// Weights as tiles read them: blocks of up to 64 output channels, `[what a pixel sees, 16 · vectors]` each.
pub(crate) fn pack(units: Units, depth: usize, channels: usize, weight_at: &WeightAt<'_>) -> Vec<u32> {
    const ROWS: usize = 64;
    let rows = depth / units.numbers();
    let mut packed = vec![0; rows * channels.next_multiple_of(WIDTH)];
    for (block, to) in packed.chunks_mut(rows * BLOCK).enumerate() {
        let (first, lanes) = (block * BLOCK, to.len() / rows);
        parallel::chunks(to, ROWS * lanes, |piece, to| {
            for (row, to) in to.chunks_exact_mut(lanes).enumerate() {
                let row = piece * ROWS + row;
                for (lane, to) in to[..lanes.min(channels - first)].iter_mut().enumerate() {
                    *to = match units {
                        Units::Single => weight_at(first + lane, row).to_bits(),
                        Units::Pairs => pair(weight_at(first + lane, 2 * row), weight_at(first + lane, 2 * row + 1)),
                    };
                }
            }
        });
    }
    packed
}

#[inline(always)]
fn pair(first: f32, second: f32) -> u32 {
    u32::from(Bf16::from_f32(first).0) | u32::from(Bf16::from_f32(second).0) << 16
}

/// The input rows that a part sees, from the first on, padded on all sides: the input itself where it is that.
fn image_rows(shape: &Convolution, units: Units, scratch: &mut Scratch, x_nhwc: &[f32], part: Part) -> *const u8 {
    let ([height, width], channels) = (shape.input, shape.channels[0]);
    let image = &x_nhwc[part.image * shape.image_len()..][..shape.image_len()];
    let (row, padded) = (width * channels, padded_width(shape) * channels);
    let first = part.first * shape.stride[0];
    if units == Units::Single && shape.padding == [0; 2] {
        return image[first * row..].as_ptr().cast();
    }
    let rows = (part.rows - 1) * shape.stride[0] + shape.span(0);
    let lengths = if units == Units::Single { (rows * padded, 0) } else { (0, rows * padded) };
    let (floats, halves, _) = scratch.all(lengths.0, lengths.1, 0);
    let edge = shape.padding[1] * channels;
    for index in 0..rows {
        let at = (first + index).checked_sub(shape.padding[0]).filter(|at| *at < height);
        let from = at.map(|at| &image[at * row..][..row]);
        let own = index * padded..(index + 1) * padded;
        match units {
            Units::Single => pad(&mut floats[own], edge, from, <[f32]>::copy_from_slice),
            Units::Pairs => pad(&mut halves[own], edge, from, bf16::narrow),
        }
    }
    if units == Units::Single { floats.as_ptr().cast() } else { halves.as_ptr().cast() }
}

/// A row with zeros at either edge, or nothing but zeros.
fn pad<T: Copy + Default>(to: &mut [T], edge: usize, from: Option<&[f32]>, copy: impl Fn(&mut [T], &[f32])) {
    let Some(from) = from else { return to.fill(T::default()) };
    let (before, rest) = to.split_at_mut(edge);
    let (middle, after) = rest.split_at_mut(from.len());
    before.fill(T::default());
    copy(middle, from);
    after.fill(T::default());
}

/// As [`super::backward_weight`].
pub(super) fn backward_weight(
    shape: &Convolution,
    compute: Compute,
    dw_ohwi: &mut [f32],
    dy_nhwc: &[f32],
    x_nhwc: &[f32],
) {
    let ([_, width], [channels_in, channels_out]) = (shape.output(), shape.channels);
    let units = Units::new(compute, channels_in >= 4);
    let (pieces, part) = parts(shape, (PIXELS / width).max(1));
    let most = (super::PARTS_NUMBERS / dw_ohwi.len()).clamp(super::PARTS_LEAST, super::PARTS).min(pieces);
    // What pixels see comes first, as tiles have it.
    let mut dw_hwio = vec![0.0; dw_ohwi.len()];
    parts_summed(&mut dw_hwio, most, |index, dw| {
        dw.fill(0.0);
        for piece in index * pieces / most..(index + 1) * pieces / most {
            let part = part(piece);
            with_scratch(|scratch| match units {
                Units::Single => part_single(shape, scratch, dw, dy_nhwc, x_nhwc, part),
                Units::Pairs => part_pairs(shape, scratch, dw, dy_nhwc, x_nhwc, part),
            });
        }
    });
    super::to_channels_first(dw_ohwi, &dw_hwio, channels_out, shape.depth());
}

/// The part of `dy` that belongs to a part of the output.
fn own_rows<'a>(shape: &Convolution, dy_nhwc: &'a [f32], part: Part) -> &'a [f32] {
    let ([height, width], [_, channels]) = (shape.output(), shape.channels);
    &dy_nhwc[(part.image * height + part.first) * width * channels..][..part.rows * width * channels]
}

/// Adds the weight gradient of one part, in `f32`.
fn part_single(
    shape: &Convolution,
    scratch: &mut Scratch,
    dw_hwio: &mut [f32],
    dy_nhwc: &[f32],
    x_nhwc: &[f32],
    part: Part,
) {
    let ([_, width], [channels_in, channels_out]) = (shape.output(), shape.channels);
    let x = image_rows(shape, Units::Single, scratch, x_nhwc, part).cast::<u32>();
    let dy = own_rows(shape, dy_nhwc, part);
    let (runs, length) = runs(shape);
    let x_steps = [shape.stride[1] * channels_in, shape.stride[0] * padded_width(shape) * channels_in];
    let at = Gradient {
        x,
        x_steps,
        dy: dy.as_ptr().cast(),
        dy_steps: [channels_out, width * channels_out],
        counts: [part.rows, width],
        to: std::ptr::null_mut(),
        stride: channels_out,
        channels: channels_out,
    };
    all_tiles(Units::Single, at, &runs, length, dw_hwio);
}

/// Adds the weight gradient of one part in pairs of pixels. For each kernel column there is a copy of the input's
/// rows in which the pixels that a pair of outputs sees lie next to each other.
fn part_pairs(
    shape: &Convolution,
    scratch: &mut Scratch,
    dw_hwio: &mut [f32],
    dy_nhwc: &[f32],
    x_nhwc: &[f32],
    part: Part,
) {
    let ([_, width], [channels_in, channels_out]) = (shape.output(), shape.channels);
    let [kernel_height, kernel_width] = shape.kernel;
    let (pairs, padded) = (width.div_ceil(2), padded_width(shape) * channels_in);
    let rows = (part.rows - 1) * shape.stride[0] + shape.span(0);
    // The rows' memory is set aside while there are pairs of them.
    let mut own = scratch.floats_apart();
    let x = image_rows(shape, Units::Single, &mut own, x_nhwc, part).cast::<f32>();
    // SAFETY: these are the rows that the part sees; they live in `own` or in the input.
    let x = unsafe { std::slice::from_raw_parts(x, rows * padded) };
    let dy = own_rows(shape, dy_nhwc, part);
    let (x_length, dy_length) = (kernel_width * pairs * channels_in, pairs * channels_out);
    let (_, _, units) = scratch.all(0, 0, rows * x_length + part.rows * dy_length);
    let (x_pairs, dy_pairs) = units.split_at_mut(rows * x_length);
    for (to, x) in x_pairs.chunks_exact_mut(x_length).zip(x.chunks_exact(padded)) {
        for (j, to) in to.chunks_exact_mut(pairs * channels_in).enumerate() {
            pair_up(to, &x[j * shape.dilation[1] * channels_in..], channels_in, shape.stride[1] * channels_in, width);
        }
    }
    for (to, dy) in dy_pairs.chunks_exact_mut(dy_length).zip(dy.chunks_exact(width * channels_out)) {
        pair_up(to, dy, channels_out, channels_out, width);
    }
    let run = |i: usize, j: usize| i * shape.dilation[0] * x_length + j * pairs * channels_in;
    let runs: Vec<usize> = (0..kernel_height).flat_map(|i| (0..kernel_width).map(move |j| run(i, j))).collect();
    let at = Gradient {
        x: x_pairs.as_ptr(),
        x_steps: [channels_in, shape.stride[0] * x_length],
        dy: dy_pairs.as_ptr(),
        dy_steps: [channels_out, dy_length],
        counts: [part.rows, pairs],
        to: std::ptr::null_mut(),
        stride: channels_out,
        channels: channels_out,
    };
    all_tiles(Units::Pairs, at, &runs, channels_in, dw_hwio);
    scratch.keep(own);
}

/// Runs over all tiles of a weight gradient `[runs, length, channels]`; `at` is the tile at its beginning.
fn all_tiles(units: Units, at: Gradient, runs: &[usize], length: usize, dw_hwio: &mut [f32]) {
    let channels = at.stride;
    assert_eq!(dw_hwio.len(), runs.len() * length * channels, "a weight gradient");
    for first in (0..channels).step_by(BLOCK) {
        let count = BLOCK.min(channels - first);
        let vectors = count.div_ceil(WIDTH);
        for (index, run) in runs.iter().enumerate() {
            for (row, rows) in tiles::rows(length, vectors) {
                let to = dw_hwio[((index * length + row) * channels) + first..].as_mut_ptr();
                let (x, dy) = (at.x.wrapping_add(run + row), at.dy.wrapping_add(first));
                let at = Gradient { x, dy, to, channels: count, ..at };
                // SAFETY: `fits` and `Units::new` looked at the processor; the rows of the part hold what its
                // pixels see, and the tile lies in the gradient.
                unsafe {
                    match units {
                        Units::Single => tiles::gradient_single(rows, vectors, at),
                        Units::Pairs => tiles::gradient_pairs(rows, vectors, at),
                    }
                }
            }
        }
    }
}

kernel! {
    /// Pairs of bf16 from pairs of pixels: pixels `step` apart with so many channels each; the last pixel of an odd
    /// number is paired with zeros.
    pub fn pair_up(to: &mut [u32], from: &[f32], channels: usize, step: usize, count: usize) {
        for (index, to) in to.chunks_exact_mut(channels).enumerate() {
            let first = &from[2 * index * step..][..channels];
            if 2 * index + 1 < count {
                let second = &from[(2 * index + 1) * step..][..channels];
                for ((to, first), second) in to.iter_mut().zip(first).zip(second) {
                    *to = pair(*first, *second);
                }
            } else {
                for (to, first) in to.iter_mut().zip(first) {
                    *to = pair(*first, 0.0);
                }
            }
        }
    }
}
