//! Tiles of 14 × 32 and packers for AVX-512: pairs of bf16, and `f32`.
//!
//! A tile keeps 28 sums in registers; a step loads 2 vectors of `b` and broadcasts 14 units of `a`, so that
//! 28 products wait for 16 loads.
#![allow(clippy::needless_range_loop, reason = "indices are registers")]

use std::arch::x86_64::*;

use super::panel::{Engine, Source, Tile};
use crate::bf16::Bf16;
use crate::gemm::Data;
use crate::isa::Isa;

const ROWS: usize = 14;
const COLUMNS: usize = 32;
/// Panels that are packed side by side when neighbours in memory lie in different panels.
const SIDE_BY_SIDE: usize = 8;

/// How many rows ahead of those that are packed memory is asked for: rows are too far apart for the
/// processor to guess the next one.
const AHEAD: usize = 12;

/// bf16 pairs.
pub(super) static PAIRS: Engine = Engine {
    isa: Isa::Avx512Bf16,
    rows: ROWS,
    columns: COLUMNS,
    depth: 2,
    inner: 2048,
    pack_rows: pack_pairs::<ROWS>,
    pack_columns: pack_pairs::<COLUMNS>,
    multiply: multiply_pairs,
};

/// `f32`.
pub(super) static SINGLE: Engine = Engine {
    isa: Isa::Avx512,
    rows: ROWS,
    columns: COLUMNS,
    depth: 1,
    inner: 1024,
    pack_rows: pack_single::<ROWS>,
    pack_columns: pack_single::<COLUMNS>,
    multiply: multiply_single,
};

/// `f32` rounded to bf16.
pub(super) static ROUNDED: Engine =
    Engine { pack_rows: pack_rounded::<ROWS>, pack_columns: pack_rounded::<COLUMNS>, ..SINGLE };

/// One step of a sum: what an instruction does with units.
trait Step {
    /// # Safety
    /// The processor has the instruction.
    unsafe fn step(sum: __m512, a: __m512i, b: __m512i) -> __m512;
}

struct PairStep;
struct SingleStep;

impl Step for PairStep {
    #[inline(always)]
    unsafe fn step(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        // SAFETY: the caller's promise; the types are both 512 bits.
        unsafe {
            _mm512_dpbf16_ps(
                sum,
                std::mem::transmute::<__m512i, __m512bh>(a),
                std::mem::transmute::<__m512i, __m512bh>(b),
            )
        }
    }
}

impl Step for SingleStep {
    #[inline(always)]
    unsafe fn step(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum) }
    }
}

/// A tile of up to `R × 16·V` elements.
///
/// # Safety
/// The processor has AVX-512 and the step's instruction; the panels have the same number of units; the tile
/// can be written.
#[inline(always)]
unsafe fn tile<S: Step, const R: usize, const V: usize>(tile: Tile, a: &[u32], b: &[u32]) {
    let Tile { to, stride, rows, columns, add } = tile;
    let units = b.len() / COLUMNS;
    let (mut a, mut b) = (a.as_ptr(), b.as_ptr());
    // SAFETY: `units` units are read of each panel; stores are masked to the tile.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        for r in 0..R {
            _mm_prefetch::<_MM_HINT_ET0>(to.wrapping_add(r.min(rows - 1) * stride).cast());
            _mm_prefetch::<_MM_HINT_ET0>(to.wrapping_add(r.min(rows - 1) * stride + columns - 1).cast());
        }
        for _ in 0..units {
            let mut columns = [_mm512_setzero_si512(); V];
            for v in 0..V {
                columns[v] = _mm512_loadu_si512(b.add(16 * v).cast());
            }
            for r in 0..R {
                let row = _mm512_set1_epi32(*a.add(r).cast());
                for v in 0..V {
                    sums[r][v] = S::step(sums[r][v], row, columns[v]);
                }
            }
            a = a.add(ROWS);
            b = b.add(COLUMNS);
        }
        for r in 0..R {
            if r < rows {
                for v in 0..V {
                    let (to, mask) = (to.add(r * stride + 16 * v), lanes(columns.saturating_sub(16 * v)));
                    let sum = if add { _mm512_add_ps(sums[r][v], _mm512_maskz_loadu_ps(mask, to)) } else { sums[r][v] };
                    _mm512_mask_storeu_ps(to, mask, sum);
                }
            }
        }
    }
}

/// Calls the smallest tile that is enough.
macro_rules! smallest_tile {
    ($name:ident, $step:ty, $features:literal) => {
        /// # Safety
        /// As [`tile`].
        unsafe fn $name(to: Tile, a: &[u32], b: &[u32]) {
            #[target_feature(enable = $features)]
            unsafe fn sized<const R: usize, const V: usize>(to: Tile, a: &[u32], b: &[u32]) {
                // SAFETY: the caller's promise.
                unsafe { tile::<$step, R, V>(to, a, b) }
            }
            // SAFETY: the caller's promise; no tile is smaller than what is asked for.
            unsafe {
                match (to.rows, to.columns > 16) {
                    (13.., true) => sized::<14, 2>(to, a, b),
                    (13.., false) => sized::<14, 1>(to, a, b),
                    (9..13, true) => sized::<12, 2>(to, a, b),
                    (9..13, false) => sized::<12, 1>(to, a, b),
                    (7..9, true) => sized::<8, 2>(to, a, b),
                    (7..9, false) => sized::<8, 1>(to, a, b),
                    (5..7, true) => sized::<6, 2>(to, a, b),
                    (5..7, false) => sized::<6, 1>(to, a, b),
                    (3..5, true) => sized::<4, 2>(to, a, b),
                    (3..5, false) => sized::<4, 1>(to, a, b),
                    (..3, true) => sized::<2, 2>(to, a, b),
                    (..3, false) => sized::<2, 1>(to, a, b),
                }
            }
        }
    };
}

smallest_tile!(multiply_pairs, PairStep, "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma");
smallest_tile!(multiply_single, SingleStep, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");

/// The mask of the first `count` lanes of 16.
#[inline(always)]
fn lanes(count: usize) -> __mmask16 {
    if count >= 16 { !0 } else { (1 << count) - 1 }
}

/// How 16 units come about.
trait Units {
    type Element: Copy + Default;
    /// Elements in a unit.
    const DEPTH: usize;

    /// 16 units from up to `16 · DEPTH` neighbours in memory along the inner dimension.
    ///
    /// # Safety
    /// The processor has AVX-512 (BF16 for pairs), and `count` elements can be read.
    unsafe fn along(from: *const Self::Element, count: usize) -> __m512i;

    /// One unit of each of `count` (up to 16) neighbours in memory; the unit's elements are `stride` apart,
    /// and `depth` of them exist.
    ///
    /// # Safety
    /// As [`Units::along`], for all of these elements.
    unsafe fn across(from: *const Self::Element, stride: usize, depth: usize, count: usize) -> __m512i;
}

/// Pairs of bf16 from `f32`.
struct PairsOfSingle;
/// Pairs of bf16 from bf16.
struct PairsOfBf16;
/// `f32` as it is.
struct Single;
/// `f32` rounded to bf16.
struct Rounded;
/// `f32` from bf16.
struct Widened;

/// The order of words that puts neighbours of two rows of 16 next to each other.
const INTERLEAVE: [u16; 32] = {
    let mut order = [0; 32];
    let mut lane = 0;
    while lane < 16 {
        order[2 * lane] = lane as u16;
        order[2 * lane + 1] = 16 + lane as u16;
        lane += 1;
    }
    order
};

impl Units for PairsOfSingle {
    type Element = f32;
    const DEPTH: usize = 2;

    #[inline(always)]
    unsafe fn along(from: *const f32, count: usize) -> __m512i {
        // SAFETY: the caller's promise; the loads are masked.
        unsafe {
            let lower = _mm512_maskz_loadu_ps(lanes(count), from);
            let upper = _mm512_maskz_loadu_ps(lanes(count.saturating_sub(16)), from.wrapping_add(16));
            std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(upper, lower))
        }
    }

    #[inline(always)]
    unsafe fn across(from: *const f32, stride: usize, depth: usize, count: usize) -> __m512i {
        // SAFETY: the caller's promise; the loads are masked.
        unsafe {
            let lower = _mm512_maskz_loadu_ps(lanes(count), from);
            let upper = _mm512_maskz_loadu_ps(lanes(if depth > 1 { count } else { 0 }), from.wrapping_add(stride));
            let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(upper, lower));
            _mm512_permutexvar_epi16(_mm512_loadu_si512(INTERLEAVE.as_ptr().cast()), both)
        }
    }
}

impl Units for PairsOfBf16 {
    type Element = Bf16;
    const DEPTH: usize = 2;

    #[inline(always)]
    unsafe fn along(from: *const Bf16, count: usize) -> __m512i {
        let mask = if count >= 32 { !0 } else { (1 << count) - 1 };
        // SAFETY: the caller's promise; the load is masked.
        unsafe { _mm512_maskz_loadu_epi16(mask, from.cast()) }
    }

    #[inline(always)]
    unsafe fn across(from: *const Bf16, stride: usize, depth: usize, count: usize) -> __m512i {
        // SAFETY: the caller's promise; the loads are masked.
        unsafe {
            let lower = _mm256_maskz_loadu_epi16(lanes(count), from.cast());
            let mask = lanes(if depth > 1 { count } else { 0 });
            let upper = _mm256_maskz_loadu_epi16(mask, from.wrapping_add(stride).cast());
            let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(lower), upper);
            _mm512_permutexvar_epi16(_mm512_loadu_si512(INTERLEAVE.as_ptr().cast()), both)
        }
    }
}

impl Units for Single {
    type Element = f32;
    const DEPTH: usize = 1;

    #[inline(always)]
    unsafe fn along(from: *const f32, count: usize) -> __m512i {
        // SAFETY: the caller's promise; the load is masked.
        unsafe { _mm512_castps_si512(_mm512_maskz_loadu_ps(lanes(count), from)) }
    }

    #[inline(always)]
    unsafe fn across(from: *const f32, _: usize, _: usize, count: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { Self::along(from, count) }
    }
}

impl Units for Rounded {
    type Element = f32;
    const DEPTH: usize = 1;

    #[inline(always)]
    unsafe fn along(from: *const f32, count: usize) -> __m512i {
        let mut lanes = [0.0; 16];
        // SAFETY: the caller's promise; an array is as good as a register.
        unsafe {
            _mm512_storeu_si512(lanes.as_mut_ptr().cast(), Single::along(from, count));
            for lane in &mut lanes {
                *lane = Bf16::from_f32(*lane).to_f32();
            }
            _mm512_loadu_si512(lanes.as_ptr().cast())
        }
    }

    #[inline(always)]
    unsafe fn across(from: *const f32, _: usize, _: usize, count: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { Self::along(from, count) }
    }
}

impl Units for Widened {
    type Element = Bf16;
    const DEPTH: usize = 1;

    #[inline(always)]
    unsafe fn along(from: *const Bf16, count: usize) -> __m512i {
        // SAFETY: the caller's promise; the load is masked.
        unsafe {
            let narrow = _mm256_maskz_loadu_epi16(lanes(count), from.cast());
            _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(narrow))
        }
    }

    #[inline(always)]
    unsafe fn across(from: *const Bf16, _: usize, _: usize, count: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { Self::along(from, count) }
    }
}

/// Packs with the units that fit the source's elements.
macro_rules! packer {
    ($name:ident, $single:ty, $bf16:ty, $features:literal) => {
        /// # Safety
        /// The processor has the instructions, the source lies in its data, and `to` has the right length.
        #[target_feature(enable = $features)]
        unsafe fn $name<const WIDTH: usize>(to: &mut [u32], source: &Source<'_>) {
            // SAFETY: the caller's promise.
            unsafe {
                match source.data {
                    Data::F32(data) => pack::<$single, WIDTH>(to, data.as_ptr().wrapping_add(source.offset), source),
                    Data::Bf16(data) => pack::<$bf16, WIDTH>(to, data.as_ptr().wrapping_add(source.offset), source),
                }
            }
        }
    };
}

packer!(pack_pairs, PairsOfSingle, PairsOfBf16, "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma");
packer!(pack_single, Single, Widened, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");
packer!(pack_rounded, Rounded, Widened, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");

/// # Safety
/// As the packers.
#[inline(always)]
unsafe fn pack<U: Units, const WIDTH: usize>(to: &mut [u32], from: *const U::Element, source: &Source<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        if source.width_stride == 1 && source.depth_stride != 1 {
            pack_across::<U, WIDTH>(to, from, source);
        } else {
            pack_along::<U, WIDTH>(to, from, source);
        }
    }
}

/// Packs rows (columns) whose neighbours in memory belong to different rows (columns).
///
/// # Safety
/// As the packers.
#[inline(always)]
unsafe fn pack_across<U: Units, const WIDTH: usize>(to: &mut [u32], from: *const U::Element, source: &Source<'_>) {
    let (units, stride) = (source.depth.div_ceil(U::DEPTH), source.depth_stride);
    let (panels, to) = (source.width.div_ceil(WIDTH), to.as_mut_ptr());
    for first in (0..panels).step_by(SIDE_BY_SIDE) {
        for unit in 0..units {
            let depth = source.depth - unit * U::DEPTH;
            for panel in first..panels.min(first + SIDE_BY_SIDE) {
                for part in (0..WIDTH).step_by(16) {
                    let place = panel * WIDTH + part;
                    let count = source.width.saturating_sub(place).min(WIDTH - part).min(16);
                    // SAFETY: `count` elements of the source from `place` on; the store keeps to its panel.
                    unsafe {
                        let from = from.wrapping_add(unit * U::DEPTH * stride + place);
                        for row in 0..U::DEPTH {
                            _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add((AHEAD + row) * stride).cast());
                        }
                        let units_16 = U::across(from, stride, depth, count);
                        let to = to.add((panel * units + unit) * WIDTH + part);
                        _mm512_mask_storeu_epi32(to.cast(), lanes(WIDTH - part), units_16);
                    }
                }
            }
        }
    }
}

/// Packs rows (columns) whose elements are neighbours in memory, or lie at any distances.
///
/// # Safety
/// As the packers.
#[inline(always)]
unsafe fn pack_along<U: Units, const WIDTH: usize>(to: &mut [u32], from: *const U::Element, source: &Source<'_>) {
    let units = source.depth.div_ceil(U::DEPTH);
    for (panel, to) in to.chunks_exact_mut((WIDTH * units).max(1)).enumerate() {
        for part in (0..WIDTH).step_by(16) {
            let place = panel * WIDTH + part;
            let count = source.width.saturating_sub(place).min(WIDTH - part).min(16);
            for first in (0..units).step_by(16) {
                let depth = (source.depth - first * U::DEPTH).min(16 * U::DEPTH);
                // SAFETY: the elements are the source's; the stores keep to the panel.
                unsafe {
                    let mut rows = [_mm512_setzero_si512(); 16];
                    for lane in 0..16 {
                        if lane < count {
                            let row = (place + lane) * source.width_stride + first * U::DEPTH * source.depth_stride;
                            let row = from.wrapping_add(row);
                            rows[lane] = if source.depth_stride == 1 {
                                let ahead = row.wrapping_add(8 * 16);
                                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                                _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(16).cast());
                                U::along(row, depth)
                            } else {
                                gather::<U>(row, source.depth_stride, depth)
                            };
                        }
                    }
                    let rows = transpose(rows);
                    let to = to.as_mut_ptr().add(first * WIDTH + part);
                    for (unit, row) in rows.iter().enumerate().take(units - first) {
                        _mm512_mask_storeu_epi32(to.add(unit * WIDTH).cast(), lanes(WIDTH - part), *row);
                    }
                }
            }
        }
    }
}

/// As [`Units::along`], of elements at any distance.
///
/// # Safety
/// `count` elements can be read, up to `16 · DEPTH` (at most 64).
#[inline(always)]
unsafe fn gather<U: Units>(from: *const U::Element, stride: usize, count: usize) -> __m512i {
    let mut elements = [U::Element::default(); 64];
    for (index, element) in elements.iter_mut().enumerate().take(count) {
        // SAFETY: the caller's promise.
        *element = unsafe { *from.add(index * stride) };
    }
    // SAFETY: there are enough.
    unsafe { U::along(elements.as_ptr(), count) }
}

/// Transposes 16 × 16 words.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let (mut two, mut four, mut eight, mut all) = (rows, rows, rows, rows);
    // SAFETY: the caller's promise.
    unsafe {
        for i in 0..8 {
            two[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
            two[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
        }
        for i in 0..4 {
            four[4 * i] = _mm512_unpacklo_epi64(two[4 * i], two[4 * i + 2]);
            four[4 * i + 1] = _mm512_unpackhi_epi64(two[4 * i], two[4 * i + 2]);
            four[4 * i + 2] = _mm512_unpacklo_epi64(two[4 * i + 1], two[4 * i + 3]);
            four[4 * i + 3] = _mm512_unpackhi_epi64(two[4 * i + 1], two[4 * i + 3]);
        }
        // `four[4·i + j]` holds columns j, 4 + j, 8 + j and 12 + j of rows 4·i to 4·i + 3.
        for j in 0..4 {
            eight[j] = _mm512_shuffle_i32x4::<0x88>(four[j], four[4 + j]);
            eight[4 + j] = _mm512_shuffle_i32x4::<0xdd>(four[j], four[4 + j]);
            eight[8 + j] = _mm512_shuffle_i32x4::<0x88>(four[8 + j], four[12 + j]);
            eight[12 + j] = _mm512_shuffle_i32x4::<0xdd>(four[8 + j], four[12 + j]);
        }
        for j in 0..4 {
            all[j] = _mm512_shuffle_i32x4::<0x88>(eight[j], eight[8 + j]);
            all[8 + j] = _mm512_shuffle_i32x4::<0xdd>(eight[j], eight[8 + j]);
            all[4 + j] = _mm512_shuffle_i32x4::<0x88>(eight[4 + j], eight[12 + j]);
            all[12 + j] = _mm512_shuffle_i32x4::<0xdd>(eight[4 + j], eight[12 + j]);
        }
    }
    all
}
