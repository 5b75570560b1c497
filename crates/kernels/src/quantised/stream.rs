//! Products of one row of activations, straight from packed weights, on AVX-512 with VNNI.
//!
//! Weights are read once, front to back; codes are taken apart in registers and never stored. What happens to
//! the sums is written in `plain`; the bits are the same.
#![allow(clippy::needless_range_loop, reason = "indices are registers")]

use std::arch::x86_64::*;

use super::Format;
use super::activations::{Block256, Blocks32};
use super::lines::Line;
use super::packed::{GROUP, Layout, q6_part};
use super::vectors::{and_or, both_halves, halves, high, low, six_bits, top};

/// The line `index` of a group. Nothing is asked for ahead: the processor sees that lines are read upwards, and in large pages
/// whatever is asked for besides only gets into its way. It must see it, though: the reads are volatile so that the compiler
/// leaves them in their order, which is worth a factor of three.
///
/// # Safety
/// There is such a line.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(lines: *const Line, index: usize) -> __m512i {
    // SAFETY: the caller's promise; a line is a vector, aligned as one.
    unsafe { lines.add(index).cast::<__m512i>().read_volatile() }
}

/// Four columns of the activations in every lane.
///
/// # Safety
/// There are so many columns.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn word(codes: *const i8, index: usize) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_set1_epi32(codes.add(4 * index).cast::<i32>().read_unaligned()) }
}

/// The sums of a group for formats with blocks of 32.
///
/// # Safety
/// The processor has the instructions. `lines` is a group of the format with so many blocks in a row; `codes`
/// and `x` are those of one row, in chunks of 256 columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn sums32(
    format: Format,
    lines: &[Line],
    codes: &[i8],
    x: &[Blocks32],
    blocks: usize,
) -> [f32; GROUP] {
    let layout = Layout::of(format);
    assert!(lines.len() >= layout.lines(blocks) && codes.len() >= 32 * blocks && 8 * x.len() >= blocks);
    let lines = lines.as_ptr();
    let mut sums = _mm512_setzero_ps();
    for block in 0..blocks {
        // SAFETY: the sizes were checked.
        unsafe {
            let (x, index) = (x.get_unchecked(block / 8), block % 8);
            let codes = codes.as_ptr().add(32 * block);
            let first = layout.block(block);
            let negated = _mm512_set1_epi32(x.negated[index]);
            // Two chains, which are one sum.
            let (mut even, mut odd) = (_mm512_setzero_si512(), _mm512_setzero_si512());
            let scales;
            let mut minimums = _mm512_setzero_ps();
            match format {
                Format::Q8_0 => {
                    let sign = _mm512_set1_epi8(-128);
                    even = _mm512_slli_epi32::<7>(negated);
                    for v in 0..4 {
                        let words = _mm512_xor_si512(load(lines, first + 2 * v), sign);
                        even = _mm512_dpbusd_epi32(even, words, word(codes, 2 * v));
                        let words = _mm512_xor_si512(load(lines, first + 2 * v + 1), sign);
                        odd = _mm512_dpbusd_epi32(odd, words, word(codes, 2 * v + 1));
                    }
                    scales = halves(lines, layout.halves(block), block % 2);
                }
                Format::Q4_0 => {
                    even = _mm512_slli_epi32::<3>(negated);
                    for v in 0..4 {
                        let words = load(lines, first + v);
                        even = _mm512_dpbusd_epi32(even, low(words), word(codes, v));
                        odd = _mm512_dpbusd_epi32(odd, top(words), word(codes, 4 + v));
                    }
                    scales = halves(lines, layout.halves(block), block % 2);
                }
                _ => {
                    (scales, minimums) = both_halves(load(lines, first));
                    for v in 0..4 {
                        let words = load(lines, first + 1 + v);
                        even = _mm512_dpbusd_epi32(even, low(words), word(codes, v));
                        odd = _mm512_dpbusd_epi32(odd, top(words), word(codes, 4 + v));
                    }
                }
            }
            if !matches!(format, Format::Q8_0) {
                odd = _mm512_srai_epi32::<4>(odd);
            }
            let total = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
            sums = _mm512_fmadd_ps(total, _mm512_mul_ps(_mm512_set1_ps(x.scales[index]), scales), sums);
            if matches!(format, Format::Q4_1) {
                sums = _mm512_fmadd_ps(minimums, _mm512_set1_ps(x.sums[index]), sums);
            }
        }
    }
    store(sums)
}

/// The sums of a group for formats with blocks of 256.
///
/// # Safety
/// As [`sums32`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn sums256(format: Format, lines: &[Line], codes: &[i8], x: &[Block256]) -> [f32; GROUP] {
    let layout = Layout::of(format);
    assert!(lines.len() >= layout.lines(x.len()) && codes.len() >= 256 * x.len());
    let mut sums = _mm512_setzero_ps();
    for (block, x) in x.iter().enumerate() {
        // SAFETY: the sizes were checked.
        unsafe {
            let codes = codes.as_ptr().add(256 * block);
            let words = lines.as_ptr().add(layout.block(block));
            sums = match format {
                Format::Q4_K => {
                    let head = std::array::from_fn(|index| load(words, index));
                    with_minimums::<4>(head, sums, codes, x, |part, v| {
                        let words = load(words, 4 + 8 * part + v);
                        (low(words), top(words))
                    })
                }
                Format::Q5_K => {
                    let fifth = _mm512_set1_epi8(16);
                    let head = std::array::from_fn(|index| load(words, index));
                    let upper: [__m512i; 8] = std::array::from_fn(|v| load(words, 4 + v));
                    // The bit of the part's first 32 columns is moved to the place of the fifth one.
                    with_minimums::<0>(head, sums, codes, x, |part, v| {
                        let words = load(words, 12 + 8 * part + v);
                        let bits = _mm512_rorv_epi32(upper[v], _mm512_set1_epi32(2 * part as i32));
                        let (first, second) = (_mm512_slli_epi32::<4>(bits), _mm512_slli_epi32::<3>(bits));
                        (and_or(first, fifth, low(words)), and_or(second, fifth, high(words)))
                    })
                }
                _ => {
                    let scales = halves(lines.as_ptr(), layout.halves(block), block % 2);
                    symmetric(words, scales, sums, codes, x)
                }
            };
        }
    }
    store(sums)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(sums: __m512) -> [f32; GROUP] {
    let mut stored = [0.0; GROUP];
    // SAFETY: there are 16.
    unsafe { _mm512_storeu_ps(stored.as_mut_ptr(), sums) };
    stored
}

/// Adds a block with minimums, whose first four lines are given; `pair` gives word `v` of the two groups of 32 columns in a part of 64, those of the second one
/// times `2^SHIFT`.
///
/// # Safety
/// There are the words and the codes of a block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn with_minimums<const SHIFT: u32>(
    [first, second, third, fourth]: [__m512i; 4],
    sums: __m512,
    codes: *const i8,
    x: &Block256,
    pair: impl Fn(usize, usize) -> (__m512i, __m512i),
) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let (scales, minimums) = both_halves(first);
        let (factors, least) = six_bits([second, third, fourth]);
        let mut total = _mm512_setzero_si512();
        for half in 0..2 {
            let mut factors = factors[half];
            for part in 2 * half..2 * half + 2 {
                let (mut even, mut odd) = (_mm512_setzero_si512(), _mm512_setzero_si512());
                for v in 0..8 {
                    let (first, second) = pair(part, v);
                    even = _mm512_dpbusd_epi32(even, first, word(codes, 16 * part + v));
                    odd = _mm512_dpbusd_epi32(odd, second, word(codes, 16 * part + 8 + v));
                }
                for sum in [even, _mm512_srai_epi32::<SHIFT>(odd)] {
                    let factor = _mm512_and_si512(factors, _mm512_set1_epi32(255));
                    total = _mm512_add_epi32(total, _mm512_mullo_epi32(sum, factor));
                    factors = _mm512_srli_epi32::<8>(factors);
                }
            }
        }
        let mut minimum = _mm512_setzero_si512();
        let pairs = _mm512_set1_epi32(0x00ff_00ff);
        for half in 0..2 {
            let even = _mm512_and_si512(least[half], pairs);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<8>(least[half]), pairs);
            minimum = _mm512_dpwssd_epi32(minimum, even, _mm512_set1_epi32(x.pairs[2 * half] as i32));
            minimum = _mm512_dpwssd_epi32(minimum, odd, _mm512_set1_epi32(x.pairs[2 * half + 1] as i32));
        }
        let scale = _mm512_set1_ps(x.scale);
        let sums = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), _mm512_mul_ps(scale, scales), sums);
        _mm512_fnmadd_ps(_mm512_cvtepi32_ps(minimum), _mm512_mul_ps(scale, minimums), sums)
    }
}

/// Adds a block of `Q6_K`.
///
/// # Safety
/// There are the words and the codes of a block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn symmetric(words: *const Line, scales: __m512, sums: __m512, codes: *const i8, x: &Block256) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let mask = _mm512_set1_epi8(48);
        let mut total = _mm512_setzero_si512();
        for part in 0..2 {
            let words = words.add(q6_part(part));
            let scales = [load(words, 0), load(words, 1)];
            // Word v of the four groups of 32 columns of a part; a group has two sums of 16 columns.
            for half in 0..2 {
                let mut totals = [_mm512_setzero_si512(); 4];
                for group in 0..4 {
                    let negated = _mm512_set1_epi32(x.negated[8 * part + 2 * group + half]);
                    totals[group] = _mm512_slli_epi32::<5>(negated);
                }
                for v in 4 * half..4 * half + 4 {
                    let [first, second, bits] = [0, 1, 2].map(|place| load(words, 2 + 3 * v + place));
                    let groups = [
                        and_or(_mm512_slli_epi32::<4>(bits), mask, low(first)),
                        and_or(_mm512_slli_epi32::<2>(bits), mask, low(second)),
                        and_or(bits, mask, high(first)),
                        and_or(_mm512_srli_epi32::<2>(bits), mask, high(second)),
                    ];
                    for group in 0..4 {
                        let word = word(codes, 32 * part + 8 * group + v);
                        totals[group] = _mm512_dpbusd_epi32(totals[group], groups[group], word);
                    }
                }
                for group in 0..4 {
                    // Scale 2·group + half of the part's eight: two words of four bytes.
                    let index = 2 * group + half;
                    let up = _mm512_set1_epi32(24 - 8 * (index as i32 % 4));
                    let factor = _mm512_srai_epi32::<24>(_mm512_sllv_epi32(scales[index / 4], up));
                    total = _mm512_add_epi32(total, _mm512_mullo_epi32(totals[group], factor));
                }
            }
        }
        let scale = _mm512_mul_ps(_mm512_set1_ps(x.scale), scales);
        _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), scale, sums)
    }
}
