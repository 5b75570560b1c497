//! The inner loops of direct convolutions on AVX-512: tiles of sums in registers, straight from the images.
//!
//! A tile of [`seen`] has some neighbouring pixels of a row and up to 64 output channels. It broadcasts what each
//! pixel sees, where it lies in the image, and multiplies it by packed weights. A tile of [`gradient`] has some
//! neighbours of what a pixel sees and up to 64 output channels, and runs over pixels.
//!
//! A *unit* is 32 bits: one `f32`, or a pair of bf16 of which the products are summed at once.

#![allow(clippy::needless_range_loop, reason = "registers are chosen by number")]

use std::arch::x86_64::*;

/// Lanes of a vector.
pub(crate) const WIDTH: usize = 16;
/// Vectors of output channels in a block.
pub(crate) const VECTORS: usize = 4;

/// The most rows of a tile of so many vectors: 24 or fewer sums in registers.
pub(crate) fn rows_max(vectors: usize) -> usize {
    [12, 12, 12, 8, 6][vectors]
}

/// Cuts `count` rows into tiles of nearly the same size: the first and the number of each.
pub(crate) fn rows(count: usize, vectors: usize) -> impl Iterator<Item = (usize, usize)> {
    let tiles = count.div_ceil(rows_max(vectors)).max(1);
    (0..tiles).map(move |tile| {
        let begin = tile * count / tiles;
        (begin, (tile + 1) * count / tiles - begin)
    })
}

/// Some pixels of a row, and where their sums go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// What the first pixel sees first.
    pub(crate) x: *const u8,
    /// Bytes between what neighbouring pixels see.
    pub(crate) step: usize,
    /// Bytes to each run of what a pixel sees.
    pub(crate) runs: &'a [usize],
    /// Units of a run.
    pub(crate) units: usize,
    /// `[runs, units, 16 · vectors]`.
    pub(crate) w: *const u32,
    /// `[16 · vectors]`.
    pub(crate) bias: *const f32,
    pub(crate) to: *mut f32,
    /// Numbers between pixels of `to`.
    pub(crate) stride: usize,
    /// Adds what `to` holds.
    pub(crate) accumulate: bool,
    /// Sums below 0 become 0.
    pub(crate) relu: bool,
    /// As `to`: sums become 0 where this is not above 0. May be null.
    pub(crate) rectified: *const f32,
    /// The channels that exist.
    pub(crate) channels: usize,
}

/// Neighbours of what pixels see, and where their gradients go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gradient {
    pub(crate) x: *const u32,
    /// Units between (pairs of) pixels and between rows of `x`.
    pub(crate) x_steps: [usize; 2],
    pub(crate) dy: *const u32,
    /// Units between (pairs of) pixels and between rows of `dy`.
    pub(crate) dy_steps: [usize; 2],
    /// Rows, and (pairs of) pixels in a row.
    pub(crate) counts: [usize; 2],
    /// `[rows, …]`, added to.
    pub(crate) to: *mut f32,
    /// Numbers between rows of `to`.
    pub(crate) stride: usize,
    /// The channels that exist.
    pub(crate) channels: usize,
}

/// How units are multiplied and summed.
trait Step {
    /// # Safety
    /// The processor has the instruction.
    unsafe fn step(sum: __m512, a: __m512i, b: __m512i) -> __m512;
}

struct Single;
struct Pairs;

impl Step for Single {
    #[inline(always)]
    unsafe fn step(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum) }
    }
}

impl Step for Pairs {
    #[inline(always)]
    unsafe fn step(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        // SAFETY: the caller's promise; the types are all 512 bits.
        unsafe {
            let (a, b) = (std::mem::transmute::<__m512i, __m512bh>(a), std::mem::transmute::<__m512i, __m512bh>(b));
            _mm512_dpbf16_ps(sum, a, b)
        }
    }
}

/// The mask of the first `count` lanes.
#[inline(always)]
fn lanes(count: usize) -> __mmask16 {
    if count >= WIDTH { !0 } else { (1 << count) - 1 }
}

/// # Safety
/// The processor has AVX-512 and the step's instruction; everything that [`Seen`] points to can be read and
/// written.
#[inline(always)]
unsafe fn seen<S: Step, const R: usize, const V: usize>(at: Seen<'_>) {
    // SAFETY: the caller's promise; loads and stores of channels are masked.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        for v in 0..V {
            let bias = _mm512_loadu_ps(at.bias.add(WIDTH * v));
            for sums in &mut sums {
                sums[v] = bias;
            }
        }
        let mut w = at.w;
        for run in at.runs {
            let mut x = at.x.add(*run);
            for _ in 0..at.units {
                let mut columns = [_mm512_setzero_si512(); V];
                for v in 0..V {
                    columns[v] = _mm512_loadu_si512(w.add(WIDTH * v).cast());
                }
                for r in 0..R {
                    let row = _mm512_set1_epi32(x.add(r * at.step).cast::<i32>().read_unaligned());
                    for v in 0..V {
                        sums[r][v] = S::step(sums[r][v], row, columns[v]);
                    }
                }
                x = x.add(4);
                w = w.add(WIDTH * V);
            }
        }
        let zero = _mm512_setzero_ps();
        for r in 0..R {
            for v in 0..V {
                let (mask, place) = (lanes(at.channels.saturating_sub(WIDTH * v)), r * at.stride + WIDTH * v);
                let mut sum = sums[r][v];
                if at.accumulate {
                    sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, at.to.add(place)));
                }
                if at.relu {
                    // The second operand goes through where one is not a number.
                    sum = _mm512_max_ps(zero, sum);
                }
                if !at.rectified.is_null() {
                    let x = _mm512_maskz_loadu_ps(mask, at.rectified.add(place));
                    sum = _mm512_mask_mov_ps(sum, _mm512_cmp_ps_mask::<_CMP_LE_OQ>(x, zero), zero);
                }
                _mm512_mask_storeu_ps(at.to.add(place), mask, sum);
            }
        }
    }
}

/// # Safety
/// The processor has AVX-512 and the step's instruction; everything that [`Gradient`] points to can be read and
/// written.
#[inline(always)]
unsafe fn gradient<S: Step, const R: usize, const V: usize>(at: Gradient) {
    // SAFETY: the caller's promise; loads and stores of channels are masked.
    unsafe {
        let mut masks = [0; V];
        for v in 0..V {
            masks[v] = lanes(at.channels.saturating_sub(WIDTH * v));
        }
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        for r in 0..R {
            for v in 0..V {
                sums[r][v] = _mm512_maskz_loadu_ps(masks[v], at.to.add(r * at.stride + WIDTH * v));
            }
        }
        for row in 0..at.counts[0] {
            let (mut x, mut dy) = (at.x.add(row * at.x_steps[1]), at.dy.add(row * at.dy_steps[1]));
            for _ in 0..at.counts[1] {
                let mut columns = [_mm512_setzero_si512(); V];
                for v in 0..V {
                    columns[v] = _mm512_maskz_loadu_epi32(masks[v], dy.add(WIDTH * v).cast());
                }
                for r in 0..R {
                    let row = _mm512_set1_epi32(x.add(r).cast::<i32>().read_unaligned());
                    for v in 0..V {
                        sums[r][v] = S::step(sums[r][v], row, columns[v]);
                    }
                }
                x = x.add(at.x_steps[0]);
                dy = dy.add(at.dy_steps[0]);
            }
        }
        for r in 0..R {
            for v in 0..V {
                _mm512_mask_storeu_ps(at.to.add(r * at.stride + WIDTH * v), masks[v], sums[r][v]);
            }
        }
    }
}

/// Calls the tile of `rows` rows and `vectors` vectors.
macro_rules! sized {
    ($sized:ident($at:expr), $rows:expr, $vectors:expr; $($r:literal $v:literal,)*) => {
        match ($rows, $vectors) {
            // SAFETY: the caller's promise.
            $(($r, $v) => unsafe { $sized::<$r, $v>($at) },)*
            _ => unreachable!("a tile of {} rows and {} vectors", $rows, $vectors),
        }
    };
}

macro_rules! tile {
    ($name:ident, $tile:ident, $at:ty, $step:ty, $features:literal) => {
        /// # Safety
        /// As the tile; there are 1 to [`rows_max`] rows and 1 to [`VECTORS`] vectors.
        pub(crate) unsafe fn $name(rows: usize, vectors: usize, at: $at) {
            #[target_feature(enable = $features)]
            unsafe fn sized<const R: usize, const V: usize>(at: $at) {
                // SAFETY: the caller's promise.
                unsafe { $tile::<$step, R, V>(at) }
            }
            sized! {
                sized(at), rows, vectors;
                1 1, 2 1, 3 1, 4 1, 5 1, 6 1, 7 1, 8 1, 9 1, 10 1, 11 1, 12 1, 1 2, 2 2, 3 2, 4 2,
                5 2, 6 2, 7 2, 8 2, 9 2, 10 2, 11 2, 12 2, 1 3, 2 3, 3 3, 4 3, 5 3, 6 3, 7 3, 8 3,
                1 4, 2 4, 3 4, 4 4, 5 4, 6 4,
            }
        }
    };
}

tile!(seen_single, seen, Seen<'_>, Single, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");
tile!(seen_pairs, seen, Seen<'_>, Pairs, "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma");
tile!(gradient_single, gradient, Gradient, Single, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");
tile!(gradient_pairs, gradient, Gradient, Pairs, "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma");
