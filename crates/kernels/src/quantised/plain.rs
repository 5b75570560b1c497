//! Products of slabs in plain Rust, and with the byte products of AVX2: the reference of what `vnni` computes.
//!
//! A row's result is the same bits here and there: sums of codes are exact integers, and each block adds to an
//! `f32` by fused multiply-adds in the order of the blocks:
//!
//! ```text
//! Q8_0, Q4_0    y = (dx·dw) · Σ(q−offset)·qx + y
//! Q4_1          the same without offset, and then y = m · (dx·Σqx) + y
//! Q4_K, Q5_K    y = (dx·d) · Σ s·Σq·qx + y, and then y = −(dx·dmin) · Σ n·Σqx + y
//! Q6_K          y = (dx·d) · Σ s·Σ(q−32)·qx + y
//! ```

use super::activations::{Block256, Blocks32, CHUNK};
use super::packed::GROUP;
use super::slab::{Slab, Words};
use crate::isa::{self, Isa, kernel};

/// `y += slab · x` for blocks of 32; `offset` is what codes are too large by.
pub(super) fn add32(
    y: &mut [f32; GROUP],
    slab: &Slab,
    codes: &[i8; CHUNK],
    x: &Blocks32,
    blocks: usize,
    offset: Option<u32>,
) {
    let mut totals = [[0; GROUP]; 8];
    dot::<8>(&mut totals, slab, codes);
    finish32(y, &mut totals, slab, x, blocks, offset);
}

/// `y += slab · x` for a block of 256 with minimums.
pub(super) fn add_with_minimums(y: &mut [f32; GROUP], slab: &Slab, codes: &[i8; CHUNK], x: &Block256) {
    let mut totals = [[0; GROUP]; 8];
    dot::<8>(&mut totals, slab, codes);
    finish_with_minimums(y, &totals, slab, x);
}

/// `y += slab · x` for a block of 256 of `Q6_K`.
pub(super) fn add_symmetric(y: &mut [f32; GROUP], slab: &Slab, codes: &[i8; CHUNK], x: &Block256) {
    let mut totals = [[0; GROUP]; 16];
    dot::<16>(&mut totals, slab, codes);
    finish_symmetric(y, &totals, slab, x);
}

kernel! {
    pub fn finish32(
        y: &mut [f32; GROUP],
        totals: &mut [[i32; GROUP]; 8],
        slab: &Slab,
        x: &Blocks32,
        blocks: usize,
        offset: Option<u32>,
    ) {
        for (index, totals) in totals.iter_mut().enumerate().take(blocks) {
            let start = offset.map_or(0, |shift| x.negated[index] << shift);
            for lane in 0..GROUP {
                let scale = x.scales[index] * slab.scales[index][lane];
                y[lane] = ((totals[lane] + start) as f32).mul_add(scale, y[lane]);
            }
            if offset.is_none() {
                for (y, minimum) in y.iter_mut().zip(&slab.minimums[index]) {
                    *y = minimum.mul_add(x.sums[index], *y);
                }
            }
        }
    }
}

kernel! {
    pub fn finish_with_minimums(y: &mut [f32; GROUP], totals: &[[i32; GROUP]; 8], slab: &Slab, x: &Block256) {
        let (mut total, mut minimum) = ([0; GROUP], [0; GROUP]);
        for (totals, factors) in totals.iter().zip(&slab.factors) {
            for lane in 0..GROUP {
                total[lane] += totals[lane] * factors[lane];
            }
        }
        for (sums, pairs) in x.pairs.iter().zip(&slab.pairs) {
            let half = |word: u32| i32::from(word as u16 as i16);
            let (low, high) = (half(*sums), half(*sums >> 16));
            for (minimum, pair) in minimum.iter_mut().zip(pairs) {
                *minimum += half(*pair) * low + half(*pair >> 16) * high;
            }
        }
        for lane in 0..GROUP {
            let scale = x.scale * slab.scales[0][lane];
            y[lane] = (total[lane] as f32).mul_add(scale, y[lane]);
            let scale = x.scale * slab.minimums[0][lane];
            y[lane] = (-(minimum[lane] as f32)).mul_add(scale, y[lane]);
        }
    }
}

kernel! {
    pub fn finish_symmetric(y: &mut [f32; GROUP], totals: &[[i32; GROUP]; 16], slab: &Slab, x: &Block256) {
        let mut total = [0; GROUP];
        for ((totals, factors), negated) in totals.iter().zip(&slab.factors).zip(&x.negated) {
            for lane in 0..GROUP {
                total[lane] += (totals[lane] + (negated << 5)) * factors[lane];
            }
        }
        for lane in 0..GROUP {
            let scale = x.scale * slab.scales[0][lane];
            y[lane] = (total[lane] as f32).mul_add(scale, y[lane]);
        }
    }
}

/// Sums of the products of codes in each of `N` equal parts of a chunk.
fn dot<const N: usize>(totals: &mut [[i32; GROUP]; N], slab: &Slab, codes: &[i8; CHUNK]) {
    let words = 64 / N;
    for (part, total) in totals.iter_mut().enumerate() {
        let (slab, codes) = (&slab.codes[part * words..][..words], &codes[part * 4 * words..][..4 * words]);
        match isa::current() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has the instructions.
            Isa::Avx2 | Isa::Avx512 | Isa::Avx512Bf16 => unsafe { dot_avx2(total, slab, codes) },
            _ => dot_plain(total, slab, codes),
        }
    }
}

kernel! {
    pub fn dot_plain(total: &mut [i32; GROUP], slab: &[Words], codes: &[i8]) {
        for (words, codes) in slab.iter().zip(codes.as_chunks::<4>().0) {
            let codes = codes.map(i32::from);
            for (total, word) in total.iter_mut().zip(words) {
                let byte = |shift: u32| (word >> shift & 255) as i32;
                *total += byte(0) * codes[0] + byte(8) * codes[1] + byte(16) * codes[2] + byte(24) * codes[3];
            }
        }
    }
}

/// Products of bytes in pairs of 16 bits would overflow with codes above 127, so codes are split: the lower
/// seven bits, and the eighth as 64 twice.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn dot_avx2(total: &mut [i32; GROUP], slab: &[Words], codes: &[i8]) {
    use std::arch::x86_64::*;
    let (ones, seven, eighth) = (_mm256_set1_epi16(1), _mm256_set1_epi8(127), _mm256_set1_epi8(64));
    for half in 0..2 {
        // SAFETY: a total and a word have two vectors each.
        unsafe {
            let total = total.as_mut_ptr().add(8 * half).cast::<__m256i>();
            let mut sum = _mm256_loadu_si256(total);
            for (words, codes) in slab.iter().zip(codes.as_chunks::<4>().0) {
                let words = _mm256_loadu_si256(words.as_ptr().add(8 * half).cast());
                let codes = _mm256_set1_epi32(i32::from_le_bytes(codes.map(|code| code as u8)));
                let low = _mm256_maddubs_epi16(_mm256_and_si256(words, seven), codes);
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(low, ones));
                let top = _mm256_and_si256(_mm256_srli_epi16(words, 1), eighth);
                if _mm256_testz_si256(top, top) == 0 {
                    let high = _mm256_madd_epi16(_mm256_maddubs_epi16(top, codes), ones);
                    sum = _mm256_add_epi32(sum, _mm256_add_epi32(high, high));
                }
            }
            _mm256_storeu_si256(total, sum);
        }
    }
}
