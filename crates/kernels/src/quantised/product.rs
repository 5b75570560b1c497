//! How products are cut into tasks, and what happens to their results.
//!
//! A task has some neighbouring groups of 16 rows of one matrix, all of its columns, and every row of the
//! activations. One row of activations is multiplied straight from the packed weights (`stream`); for more, two
//! groups at a time are taken apart chunk by chunk, and each chunk meets all rows (`vnni`). Results do not depend
//! on how rows or groups are put together.

use std::ops::Range;

use super::activations::{Activations, Block256, Blocks32, CHUNK, Kind};
use super::floats;
use super::lines::Line;
use super::packed::{Encoding, GROUP, PackedMatrix};
use super::slab::{self, Slab};
#[cfg(target_arch = "x86_64")]
use super::vnni;
use super::{Format, plain};
use crate::isa::{self, Isa};
use crate::rows::Parts;
use crate::{activation, parallel};

/// The fewest bytes of weights in a task, for one row of activations.
const TASK: usize = 64 << 10;
/// The part of what is left of a matrix that the next task takes.
const SHARE: usize = 8;
/// Rows of activations that meet a slab before the next one is taken apart.
const ROWS: usize = 240;
/// Elements from a row of sums to the next: two groups.
const STRIDE: usize = 2 * GROUP;

/// A product to compute: `y = weights · x` for every row of `x`, or `y += weights · x`.
#[derive(Debug)]
pub struct Product<'a> {
    /// `[row of x][row of weights]`
    pub y: &'a mut [f32],
    /// `[row][column]`
    pub weights: &'a PackedMatrix,
    /// Whether to add to what `y` holds.
    pub add: bool,
}

/// `y = weights · x` for every row of `x`.
///
/// # Panics
/// As [`multiply_all`].
pub fn multiply(y: &mut [f32], weights: &PackedMatrix, x: &Activations) {
    multiply_all(&mut [Product { y, weights, add: false }], x);
}

/// `y += weights · x` for every row of `x`: a product that is added to a residual.
///
/// # Panics
/// As [`multiply_all`].
pub fn multiply_add(y: &mut [f32], weights: &PackedMatrix, x: &Activations) {
    multiply_all(&mut [Product { y, weights, add: true }], x);
}

/// Several products with the same activations, in one parallel region.
///
/// The result of a row has the same bits alone, among any others, and for any number of threads. It differs from
/// the product of the dequantised weights by what rounding `x` to bytes loses: at most half of `max|x|/127` of a
/// block, times the sizes of the block's weights.
///
/// # Panics
/// When `x` was not prepared for a matrix, or a `y` does not have `x.rows() × weights.rows()` elements.
pub fn multiply_all(products: &mut [Product<'_>], x: &Activations) {
    let mut tasks = Vec::new();
    let mut jobs = Vec::with_capacity(products.len());
    for (index, product) in products.iter_mut().enumerate() {
        check(product.y.len(), product.weights, x);
        tasks.extend(cut(product.weights, x.rows()).map(|groups| (index, groups)));
        jobs.push((product.weights, product.add, Parts::new(product.y)));
    }
    // The small ones of every matrix come last.
    tasks.sort_by_key(|(index, groups)| std::cmp::Reverse(groups.len() * jobs[*index].0.group_bytes()));
    if x.rows() == 0 {
        return;
    }
    parallel::run(tasks.len(), |index| {
        let (job, groups) = &tasks[index];
        let (weights, add, y) = &jobs[*job];
        for_each(&[weights], groups.clone(), x, |row, lanes, sums| {
            let lanes = row * weights.rows() + lanes.start..row * weights.rows() + lanes.end;
            // SAFETY: each task has its own groups, whose lanes no other takes.
            let y = unsafe { y.take(lanes) };
            if *add {
                y.iter_mut().zip(sums).for_each(|(y, sum)| *y += sum);
            } else {
                y.copy_from_slice(&sums[..y.len()]);
            }
        });
    });
}

/// `y = silu(gate · x) · (up · x)` for every row of `x`, in one parallel region.
///
/// # Panics
/// As [`multiply_all`], or when the matrices differ in their rows.
pub fn multiply_swiglu(y: &mut [f32], gate: &PackedMatrix, up: &PackedMatrix, x: &Activations) {
    assert_eq!(gate.rows(), up.rows(), "rows of gate and up");
    check(y.len(), gate, x);
    check(y.len(), up, x);
    if x.rows() == 0 {
        return;
    }
    let tasks: Vec<_> = cut(gate, 2 * x.rows()).collect();
    let y = Parts::new(y);
    parallel::run(tasks.len(), |index| {
        for_each(&[gate, up], tasks[index].clone(), x, |row, lanes, sums| {
            let count = lanes.len();
            let lanes = row * gate.rows() + lanes.start..row * gate.rows() + lanes.end;
            // SAFETY: each task has its own groups, whose lanes no other takes.
            let y = unsafe { y.take(lanes) };
            let (gates, ups) = sums.split_at(sums.len() / 2);
            y.copy_from_slice(&gates[..count]);
            activation::swiglu(y, &ups[..count]);
        });
    });
}

fn check(y: usize, weights: &PackedMatrix, x: &Activations) {
    let (rows, columns) = (weights.rows(), weights.columns());
    assert!(x.fits(weights), "activations that were not prepared for {rows} × {columns} {:?}", weights.encoding());
    assert_eq!(Some(y), rows.checked_mul(x.rows()), "elements of {rows} results for {} rows", x.rows());
}

/// The groups of each task, by shapes alone: large ones first, which read long stretches, and small ones at the end, so
/// that threads end together (guided self-scheduling, Polychronopoulos and Kuck 1987).
fn cut(weights: &PackedMatrix, rows: usize) -> impl Iterator<Item = Range<usize>> {
    let work = weights.group_bytes().max(1) * rows.div_ceil(4).max(1);
    let least = (TASK / work).max(1).next_multiple_of(2);
    let (groups, mut first) = (weights.groups(), 0);
    std::iter::from_fn(move || {
        let size = ((groups - first) / SHARE).next_multiple_of(2).max(least).min(groups - first);
        let task = first..first + size;
        first = task.end;
        (!task.is_empty()).then_some(task)
    })
}

/// Multiplies some groups of one or two matrices with all rows of the activations. `finish` gets a row, a range
/// of a matrix's rows, and their sums: for two matrices those of the first and behind them those of the second,
/// as long as each other and padded to whole groups.
fn for_each(
    weights: &[&PackedMatrix],
    groups: Range<usize>,
    x: &Activations,
    mut finish: impl FnMut(usize, Range<usize>, &[f32]),
) {
    let (rows, last) = (x.rows(), weights[0].rows());
    let lanes = |groups: Range<usize>| groups.start * GROUP..last.min(groups.end * GROUP);
    let kinds: [Kind; 2] = [0, 1].map(|index| Kind::of(weights[index % weights.len()].encoding()));
    let floats = kinds.iter().any(|kind| matches!(kind, Kind::F32 | Kind::Bf16));
    if rows == 1 && !floats {
        let size = groups.len() * GROUP;
        let mut sums = vec![0.0; weights.len() * size];
        for (sums, weights) in sums.chunks_exact_mut(size).zip(weights) {
            for (group, sums) in groups.clone().zip(sums.as_chunks_mut::<GROUP>().0) {
                *sums = stream(weights, group, x);
            }
        }
        return finish(0, lanes(groups), &sums);
    }
    // Two groups at a time: neighbours of one matrix, or one of each.
    let step = 2 / weights.len();
    let mut slabs = [Slab::ZERO; 2];
    let mut sums = vec![0.0; ROWS.min(rows) * STRIDE];
    for first in groups.clone().step_by(step) {
        let end = groups.end.min(first + step);
        for begin in (0..rows).step_by(ROWS) {
            let part = begin..rows.min(begin + ROWS);
            let sums = &mut sums[..part.len() * STRIDE];
            sums.fill(0.0);
            match weights {
                [one] if end - first == 2 => add(sums, [(one, first), (one, first + 1)], x, part.clone(), &mut slabs),
                [one, two] if one.encoding() == two.encoding() => {
                    add(sums, [(one, first), (two, first)], x, part.clone(), &mut slabs);
                }
                _ => {
                    for (g, weights) in weights.iter().enumerate() {
                        add(&mut sums[g * GROUP..], [(weights, first)], x, part.clone(), &mut slabs);
                    }
                }
            }
            for (row, sums) in part.zip(sums.chunks_exact(STRIDE)) {
                finish(row, lanes(first..end), sums);
            }
        }
    }
}

/// The sums of a group for one row of activations.
fn stream(weights: &PackedMatrix, group: usize, x: &Activations) -> [f32; GROUP] {
    #[cfg(target_arch = "x86_64")]
    if let (Isa::Avx512Bf16, Encoding::Blocks(format)) = (isa::current(), weights.encoding()) {
        let lines = weights.group(group);
        // SAFETY: the processor has the instructions; one row's chunks follow each other.
        return unsafe {
            if format.block_elements() == CHUNK {
                let (codes, blocks) = x.blocks256();
                super::stream::sums256(format, lines, codes, blocks)
            } else {
                let (codes, blocks) = x.blocks32();
                super::stream::sums32(format, lines, codes, blocks, weights.columns() / 32)
            }
        };
    }
    let mut sums = [0.0; STRIDE];
    add(&mut sums, [(weights, group)], x, 0..1, &mut [Slab::ZERO]);
    std::array::from_fn(|lane| sums[lane])
}

/// Adds to the sums of `G` groups, which have one encoding: `sums[row · STRIDE + 16 g + lane]`.
fn add<const G: usize>(
    sums: &mut [f32],
    groups: [(&PackedMatrix, usize); G],
    x: &Activations,
    rows: Range<usize>,
    slabs: &mut [Slab],
) {
    let lines = groups.map(|(weights, group)| weights.group(group));
    let (encoding, columns) = (groups[0].0.encoding(), x.columns());
    let Encoding::Blocks(format) = encoding else {
        let (words, stride) = x.words(encoding);
        let words = &words[rows.start * stride..rows.end * stride];
        return floats::multiply(sums, STRIDE, encoding, lines, floats::Rows { words, stride, columns });
    };
    let Some(slabs) = slabs.first_chunk_mut::<G>() else { return };
    for chunk in 0..columns.div_ceil(CHUNK) {
        let blocks = (columns - chunk * CHUNK).min(CHUNK) / format.block_elements();
        for (slab, lines) in slabs.iter_mut().zip(lines) {
            unpack(slab, format, lines, chunk, blocks);
        }
        let at = chunk * x.rows();
        let range = at + rows.start..at + rows.end;
        let bytes = range.start * CHUNK..range.end * CHUNK;
        if format.block_elements() == CHUNK {
            let (codes, x) = x.blocks256();
            add256(sums, slabs, format, &codes[bytes], &x[range]);
        } else {
            let (codes, x) = x.blocks32();
            add32(sums, slabs, format, &codes[bytes], &x[range], blocks);
        }
    }
}

/// Takes a chunk of a group apart.
fn unpack(slab: &mut Slab, format: Format, lines: &[Line], chunk: usize, blocks: usize) {
    #[cfg(target_arch = "x86_64")]
    if isa::current() == Isa::Avx512Bf16 {
        // SAFETY: the processor has the instructions.
        return unsafe { super::unpack::unpack(slab, format, lines, chunk, blocks) };
    }
    slab::unpack(slab, format, lines, chunk, blocks);
}

/// Calls a tile of 1 to 6 rows with as many constants.
#[cfg(target_arch = "x86_64")]
macro_rules! tile {
    ($rows:expr, $name:ident::<$g:ident $(, $offset:literal)?>($($argument:expr),*)) => {
        match $rows {
            1 => vnni::$name::<$g, 1 $(, $offset)?>($($argument),*),
            2 => vnni::$name::<$g, 2 $(, $offset)?>($($argument),*),
            3 => vnni::$name::<$g, 3 $(, $offset)?>($($argument),*),
            4 => vnni::$name::<$g, 4 $(, $offset)?>($($argument),*),
            5 => vnni::$name::<$g, 5 $(, $offset)?>($($argument),*),
            _ => vnni::$name::<$g, 6 $(, $offset)?>($($argument),*),
        }
    };
}

/// Adds a chunk of blocks of 32.
fn add32<const G: usize>(
    sums: &mut [f32],
    slabs: &[Slab; G],
    format: Format,
    codes: &[i8],
    x: &[Blocks32],
    blocks: usize,
) {
    let codes = codes.as_chunks::<CHUNK>().0;
    #[cfg(target_arch = "x86_64")]
    if isa::current() == Isa::Avx512Bf16 {
        for first in (0..x.len()).step_by(vnni::ROWS) {
            let tile = tile_at::<G, _>(sums, codes, x, first);
            // SAFETY: the processor has the instructions, and the rows are there.
            unsafe {
                match format {
                    Format::Q8_0 => tile!(x.len() - first, tile32::<G, 7>(slabs, tile, blocks)),
                    Format::Q4_0 => tile!(x.len() - first, tile32::<G, 3>(slabs, tile, blocks)),
                    _ => tile!(x.len() - first, tile32::<G, 0>(slabs, tile, blocks)),
                }
            }
        }
        return;
    }
    each_row(sums, slabs, codes, x, |sums, slab, codes, x| {
        plain::add32(sums, slab, codes, x, blocks, slab::offset(format));
    });
}

/// Adds a block of 256.
fn add256<const G: usize>(sums: &mut [f32], slabs: &[Slab; G], format: Format, codes: &[i8], x: &[Block256]) {
    let codes = codes.as_chunks::<CHUNK>().0;
    #[cfg(target_arch = "x86_64")]
    if isa::current() == Isa::Avx512Bf16 {
        for first in (0..x.len()).step_by(vnni::ROWS) {
            let tile = tile_at::<G, _>(sums, codes, x, first);
            // SAFETY: the processor has the instructions, and the rows are there.
            unsafe {
                if format == Format::Q6_K {
                    tile!(x.len() - first, tile_symmetric::<G>(slabs, tile));
                } else {
                    tile!(x.len() - first, tile_with_minimums::<G>(slabs, tile));
                }
            }
        }
        return;
    }
    let one = if format == Format::Q6_K { plain::add_symmetric } else { plain::add_with_minimums };
    each_row(sums, slabs, codes, x, one);
}

/// The tile that begins at a row.
#[cfg(target_arch = "x86_64")]
fn tile_at<const G: usize, B>(sums: &mut [f32], codes: &[[i8; CHUNK]], x: &[B], first: usize) -> vnni::Tile<B> {
    let end = x.len().min(first + vnni::ROWS);
    assert!(codes.len() == x.len() && sums.len() >= (end - 1) * STRIDE + G * GROUP, "rows of a tile");
    vnni::Tile {
        codes: codes[first..].as_ptr().cast(),
        blocks: x[first..].as_ptr(),
        sums: sums[first * STRIDE..].as_mut_ptr(),
    }
}

/// Calls `one` for every slab and row.
fn each_row<B, const G: usize>(
    sums: &mut [f32],
    slabs: &[Slab; G],
    codes: &[[i8; CHUNK]],
    x: &[B],
    one: impl Fn(&mut [f32; GROUP], &Slab, &[i8; CHUNK], &B),
) {
    for (sums, (codes, x)) in sums.chunks_mut(STRIDE).zip(codes.iter().zip(x)) {
        for (sums, slab) in sums.as_chunks_mut::<GROUP>().0.iter_mut().zip(slabs) {
            one(sums, slab, codes, x);
        }
    }
}
