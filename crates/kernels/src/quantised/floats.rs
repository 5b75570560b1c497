//! Products of matrices whose weights are numbers, not blocks.
//!
//! A row's result is the same bits alone and among others: columns are added in their order, by fused
//! multiply-adds in `f32` for `F32` and `F16` (whose numbers are `f32` exactly), and in pairs for `Bf16`, by the
//! processor's instruction or by two multiply-adds, the odd column first. Only the pairs differ between
//! instruction sets.

use super::lines::Line;
use super::packed::{Encoding, GROUP};
use crate::bf16::Bf16;
use crate::f16::F16;
use crate::isa::{self, Isa, kernel};

/// Activations of some rows, in words: numbers, or pairs of bf16.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) words: &'a [u32],
    /// Words of a row.
    pub(super) stride: usize,
    pub(super) columns: usize,
}

/// `sums = groups · x` for every row of `x`: `sums[row · stride + 16 g + lane]`.
///
/// # Panics
/// When a group or the sums are too short.
pub(super) fn multiply<const G: usize>(
    sums: &mut [f32],
    stride: usize,
    encoding: Encoding,
    groups: [&[Line]; G],
    x: Rows<'_>,
) {
    let rows = x.words.len().checked_div(x.stride).unwrap_or(0);
    let lines = if encoding == Encoding::F32 { x.columns } else { x.columns.div_ceil(2) };
    assert!(groups.iter().all(|group| group.len() >= lines), "lines of a group");
    assert!(rows == 0 || sums.len() >= (rows - 1) * stride + G * GROUP, "sums of {rows} rows");
    assert!(x.stride >= if encoding == Encoding::Bf16 { x.columns.div_ceil(2) } else { x.columns });
    #[cfg(target_arch = "x86_64")]
    if matches!(isa::current(), Isa::Avx512 | Isa::Avx512Bf16)
        && (encoding != Encoding::Bf16 || isa::current() == Isa::Avx512Bf16)
    {
        for first in (0..rows).step_by(avx512::ROWS) {
            let (words, sums) = (&x.words[first * x.stride..], &mut sums[first * stride..]);
            let part = avx512::Part { sums, stride };
            let x = Rows { words, ..x };
            // SAFETY: the processor has the instructions; the sizes were checked.
            unsafe {
                match rows - first {
                    1 => avx512::multiply::<G, 1>(encoding, groups, part, x),
                    2 => avx512::multiply::<G, 2>(encoding, groups, part, x),
                    3 => avx512::multiply::<G, 3>(encoding, groups, part, x),
                    4 => avx512::multiply::<G, 4>(encoding, groups, part, x),
                    5 => avx512::multiply::<G, 5>(encoding, groups, part, x),
                    6 => avx512::multiply::<G, 6>(encoding, groups, part, x),
                    7 => avx512::multiply::<G, 7>(encoding, groups, part, x),
                    _ => avx512::multiply::<G, 8>(encoding, groups, part, x),
                }
            }
        }
        return;
    }
    for row in 0..rows {
        let words = &x.words[row * x.stride..][..x.stride];
        for (g, group) in groups.iter().enumerate() {
            let mut found = [0.0; GROUP];
            match encoding {
                Encoding::F32 => plain_f32(&mut found, group, words, x.columns),
                Encoding::F16 => plain_f16(&mut found, group, words, x.columns),
                _ => plain_bf16(&mut found, group, words, x.columns),
            }
            sums[row * stride + g * GROUP..][..GROUP].copy_from_slice(&found);
        }
    }
}

kernel! {
    pub fn plain_f32(sums: &mut [f32; GROUP], group: &[Line], x: &[u32], columns: usize) {
        for (line, x) in group.iter().zip(x).take(columns) {
            for (sum, word) in sums.iter_mut().zip(&line.0) {
                *sum = f32::from_bits(*word).mul_add(f32::from_bits(*x), *sum);
            }
        }
    }
}

kernel! {
    pub fn plain_f16(sums: &mut [f32; GROUP], group: &[Line], x: &[u32], columns: usize) {
        for (line, x) in group.iter().zip(x[..columns].chunks(2)) {
            for (words, x) in line.0.as_chunks::<8>().0.iter().zip(x) {
                for (pair, word) in sums.as_chunks_mut::<2>().0.iter_mut().zip(words) {
                    pair[0] = F16(*word as u16).to_f32().mul_add(f32::from_bits(*x), pair[0]);
                    pair[1] = F16((word >> 16) as u16).to_f32().mul_add(f32::from_bits(*x), pair[1]);
                }
            }
        }
    }
}

kernel! {
    pub fn plain_bf16(sums: &mut [f32; GROUP], group: &[Line], x: &[u32], columns: usize) {
        let number = |half: u32| Bf16(half as u16).to_f32();
        for (line, x) in group.iter().zip(x).take(columns.div_ceil(2)) {
            let (even, odd) = (number(*x), number(x >> 16));
            for (sum, word) in sums.iter_mut().zip(&line.0) {
                let inner = number(word >> 16).mul_add(odd, *sum);
                *sum = number(*word).mul_add(even, inner);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    //! The same with vectors of 16 rows.
    #![allow(clippy::needless_range_loop, reason = "indices are registers")]

    use std::arch::x86_64::*;

    use super::{Encoding, GROUP, Line, Rows};

    /// The most rows of a tile.
    pub(super) const ROWS: usize = 8;
    /// Lines from what is read to what is asked for.
    const AHEAD: usize = 32;

    /// Where sums go.
    pub(super) struct Part<'a> {
        pub(super) sums: &'a mut [f32],
        pub(super) stride: usize,
    }

    /// # Safety
    /// The processor has AVX-512, and BF16 for bf16; groups and rows have the columns, and there are `T` rows
    /// of activations and sums.
    pub(super) unsafe fn multiply<const G: usize, const T: usize>(
        encoding: Encoding,
        groups: [&[Line]; G],
        part: Part<'_>,
        x: Rows<'_>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match encoding {
                Encoding::F32 => single::<G, T>(groups, part, x),
                Encoding::F16 => half::<G, T>(groups, part, x),
                _ => pairs::<G, T>(groups, part, x),
            }
        }
    }

    /// # Safety
    /// There are `T` rows with the word.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn word(x: &Rows<'_>, row: usize, index: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_set1_epi32(*x.words.get_unchecked(row * x.stride + index) as i32) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn ask(group: &[Line], index: usize) {
        _mm_prefetch::<_MM_HINT_T0>(group.as_ptr().wrapping_add(index + AHEAD).cast());
    }

    /// # Safety
    /// There are sums of `T` rows.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store<const G: usize, const T: usize>(part: &mut Part<'_>, sums: [[__m512; G]; T]) {
        for t in 0..T {
            for g in 0..G {
                // SAFETY: the caller's promise.
                unsafe { _mm512_storeu_ps(part.sums.as_mut_ptr().add(t * part.stride + g * GROUP), sums[t][g]) };
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn single<const G: usize, const T: usize>(groups: [&[Line]; G], mut part: Part<'_>, x: Rows<'_>) {
        let mut sums = [[_mm512_setzero_ps(); G]; T];
        // SAFETY: the promise of `multiply`.
        unsafe {
            for column in 0..x.columns {
                let weights: [__m512; G] = std::array::from_fn(|g| {
                    ask(groups[g], column);
                    _mm512_load_ps(groups[g].as_ptr().add(column).cast())
                });
                for t in 0..T {
                    let x = _mm512_castsi512_ps(word(&x, t, column));
                    for g in 0..G {
                        sums[t][g] = _mm512_fmadd_ps(weights[g], x, sums[t][g]);
                    }
                }
            }
            store(&mut part, sums);
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn half<const G: usize, const T: usize>(groups: [&[Line]; G], mut part: Part<'_>, x: Rows<'_>) {
        let mut sums = [[_mm512_setzero_ps(); G]; T];
        // SAFETY: the promise of `multiply`.
        unsafe {
            for column in 0..x.columns {
                let weights: [__m512; G] = std::array::from_fn(|g| {
                    ask(groups[g], column / 2);
                    _mm512_cvtph_ps(_mm256_load_si256(groups[g].as_ptr().cast::<__m256i>().add(column)))
                });
                for t in 0..T {
                    let x = _mm512_castsi512_ps(word(&x, t, column));
                    for g in 0..G {
                        sums[t][g] = _mm512_fmadd_ps(weights[g], x, sums[t][g]);
                    }
                }
            }
            store(&mut part, sums);
        }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn pairs<const G: usize, const T: usize>(groups: [&[Line]; G], mut part: Part<'_>, x: Rows<'_>) {
        let mut sums = [[_mm512_setzero_ps(); G]; T];
        // SAFETY: the promise of `multiply`; a vector of pairs is a vector of bits.
        unsafe {
            let bits = |words: __m512i| std::mem::transmute::<__m512i, __m512bh>(words);
            for index in 0..x.columns.div_ceil(2) {
                let weights: [__m512bh; G] = std::array::from_fn(|g| {
                    ask(groups[g], index);
                    bits(_mm512_load_si512(groups[g].as_ptr().add(index).cast()))
                });
                for t in 0..T {
                    let x = bits(word(&x, t, index));
                    for g in 0..G {
                        sums[t][g] = _mm512_dpbf16_ps(sums[t][g], weights[g], x);
                    }
                }
            }
            store(&mut part, sums);
        }
    }
}
