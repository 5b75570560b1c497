//! Words of 16 rows in AVX-512 vectors: taking codes and scales apart.

use std::arch::x86_64::*;

use super::lines::{LINE, Line};

/// The 16 f16 in half a line.
///
/// # Safety
/// There is such a line.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn halves(lines: *const Line, index: usize, upper: usize) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_cvtph_ps(_mm256_load_si256(lines.add(index).cast::<u8>().add(upper * LINE / 2).cast())) }
}

/// The f16 in the lower and in the upper half of each word.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn both_halves(words: __m512i) -> (__m512, __m512) {
    let low = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words));
    (low, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(words))))
}

/// The lower four bits of each byte.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn low(words: __m512i) -> __m512i {
    _mm512_and_si512(words, _mm512_set1_epi8(15))
}

/// The upper four bits of each byte.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn high(words: __m512i) -> __m512i {
    low(_mm512_srli_epi32::<4>(words))
}

/// The upper four bits of each byte where they are: 16 times as much. A sum of products with them is a multiple of 16.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn top(words: __m512i) -> __m512i {
    _mm512_and_si512(words, _mm512_set1_epi8(-16))
}

/// `a & mask | b`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn and_or(a: __m512i, mask: __m512i, b: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xea>(a, mask, b)
}

/// The scales and the minimums of `Q4_K` and `Q5_K`, four in a word, from their three words.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn six_bits([first, second, third]: [__m512i; 3]) -> ([__m512i; 2], [__m512i; 2]) {
    let (six, two) = (_mm512_set1_epi8(63), _mm512_set1_epi8(48));
    let (top, middle) = (_mm512_srli_epi32::<2>(first), _mm512_srli_epi32::<2>(second));
    (
        [_mm512_and_si512(first, six), and_or(top, two, low(third))],
        [_mm512_and_si512(second, six), and_or(middle, two, high(third))],
    )
}
