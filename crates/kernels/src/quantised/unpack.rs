//! Taking slabs apart with AVX-512: what `slab::unpack` does, word for word.
#![allow(clippy::needless_range_loop, reason = "indices are words")]

use std::arch::x86_64::*;

use super::Format;
use super::lines::Line;
use super::packed::{Layout, q6_part};
use super::slab::Slab;
use super::vectors::{and_or, both_halves, halves, high, low, six_bits};

/// Bytes from what is read to what is asked for.
const AHEAD: usize = 4096;

/// # Safety
/// There is such a line.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(line: &Line) -> __m512i {
    _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(line).cast::<i8>().wrapping_add(AHEAD));
    // SAFETY: a line is a vector.
    unsafe { _mm512_load_si512(std::ptr::from_ref(line).cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store<T>(to: &mut [T; 16], words: __m512i) {
    const { assert!(size_of::<T>() == 4) };
    // SAFETY: sixteen elements of 32 bits are a vector.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), words) };
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_numbers(to: &mut [f32; 16], numbers: __m512) {
    // SAFETY: sixteen elements are a vector.
    unsafe { _mm512_storeu_ps(to.as_mut_ptr(), numbers) };
}

/// As `slab::unpack`.
///
/// # Safety
/// The processor has the instructions.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn unpack(slab: &mut Slab, format: Format, group: &[Line], chunk: usize, blocks: usize) {
    let layout = Layout::of(format);
    if format.block_elements() == 256 {
        let words = &group[layout.block(chunk)..][..layout.words];
        // SAFETY: the sizes were checked.
        unsafe {
            if format == Format::Q6_K {
                store_numbers(&mut slab.scales[0], halves(group.as_ptr(), layout.halves(chunk), chunk % 2));
                symmetric(slab, words);
            } else {
                with_minimums(slab, words, format == Format::Q5_K);
            }
        }
        return;
    }
    assert!(blocks <= 8 && layout.lines(8 * chunk + blocks) <= group.len(), "blocks of a chunk");
    for index in 0..blocks {
        let block = 8 * chunk + index;
        let words = &group[layout.block(block)..][..layout.words];
        let codes = &mut slab.codes[8 * index..][..8];
        // SAFETY: the sizes were checked.
        unsafe {
            if format == Format::Q8_0 {
                let sign = _mm512_set1_epi8(-128);
                for v in 0..8 {
                    store(&mut codes[v], _mm512_xor_si512(load(&words[v]), sign));
                }
            } else {
                for v in 0..4 {
                    let words = load(&words[words.len() - 4 + v]);
                    store(&mut codes[v], low(words));
                    store(&mut codes[4 + v], high(words));
                }
            }
            if format == Format::Q4_1 {
                let (scales, minimums) = both_halves(load(&words[0]));
                store_numbers(&mut slab.scales[index], scales);
                store_numbers(&mut slab.minimums[index], minimums);
            } else {
                store_numbers(&mut slab.scales[index], halves(group.as_ptr(), layout.halves(block), block % 2));
            }
        }
    }
}

/// # Safety
/// There are the words of a block of `Q4_K`, or of `Q5_K` where there is a fifth bit.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn with_minimums(slab: &mut Slab, words: &[Line], fifth: bool) {
    let first = if fifth { 12 } else { 4 };
    // SAFETY: lines are vectors.
    unsafe {
        for v in 0..8 {
            let mut bits = if fifth { load(&words[4 + v]) } else { _mm512_setzero_si512() };
            let mask = _mm512_set1_epi8(16);
            for part in 0..4 {
                let words = load(&words[first + 8 * part + v]);
                let (even, odd) = (_mm512_slli_epi32::<4>(bits), _mm512_slli_epi32::<3>(bits));
                store(&mut slab.codes[16 * part + v], and_or(even, mask, low(words)));
                store(&mut slab.codes[16 * part + 8 + v], and_or(odd, mask, high(words)));
                bits = _mm512_srli_epi32::<2>(bits);
            }
        }
        let (scales, minimums) = both_halves(load(&words[0]));
        store_numbers(&mut slab.scales[0], scales);
        store_numbers(&mut slab.minimums[0], minimums);
        let (factors, least) = six_bits([load(&words[1]), load(&words[2]), load(&words[3])]);
        let pairs = _mm512_set1_epi32(0x00ff_00ff);
        for half in 0..2 {
            let mut factors = factors[half];
            for byte in 0..4 {
                store(&mut slab.factors[4 * half + byte], _mm512_and_si512(factors, _mm512_set1_epi32(255)));
                factors = _mm512_srli_epi32::<8>(factors);
            }
            store(&mut slab.pairs[2 * half], _mm512_and_si512(least[half], pairs));
            store(&mut slab.pairs[2 * half + 1], _mm512_and_si512(_mm512_srli_epi32::<8>(least[half]), pairs));
        }
    }
}

/// # Safety
/// There are the words of a block of `Q6_K`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn symmetric(slab: &mut Slab, words: &[Line]) {
    let mask = _mm512_set1_epi8(48);
    // SAFETY: lines are vectors.
    unsafe {
        for part in 0..2 {
            let codes = &mut slab.codes[32 * part..][..32];
            for v in 0..8 {
                let words = &words[q6_part(part) + 2 + 3 * v..][..3];
                let (first, second, bits) = (load(&words[0]), load(&words[1]), load(&words[2]));
                store(&mut codes[v], and_or(_mm512_slli_epi32::<4>(bits), mask, low(first)));
                store(&mut codes[8 + v], and_or(_mm512_slli_epi32::<2>(bits), mask, low(second)));
                store(&mut codes[16 + v], and_or(bits, mask, high(first)));
                store(&mut codes[24 + v], and_or(_mm512_srli_epi32::<2>(bits), mask, high(second)));
            }
        }
        for index in 0..4 {
            let mut factors = load(&words[q6_part(index / 2) + index % 2]);
            for byte in (0..4).rev() {
                store(&mut slab.factors[4 * index + byte], _mm512_srai_epi32::<24>(factors));
                factors = _mm512_slli_epi32::<8>(factors);
            }
        }
    }
}
