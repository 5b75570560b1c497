//! Rounding activations to bytes: `d = max|x|/127`, `q = round(x · (127/max|x|))`, ties to even, and sums of `q`.

use super::activations::{Block256, Blocks32, CHUNK};
use crate::isa::{self, Isa, kernel};

/// A largest size below which a block counts as zero; its scale would be no normal number.
const NOTHING: f32 = 1e-36;
/// Adding this to a number of up to 22 bits rounds it to an integer, ties to even, in the lower bits.
const ROUND: f32 = 12_582_912.0;

/// Rounds up to eight blocks of 32.
pub(super) fn blocks32(codes: &mut [i8; CHUNK], block: &mut Blocks32, x: &[f32]) {
    let mut sums = [0; 8];
    let x = x.as_chunks::<32>().0;
    *block = Blocks32::default();
    for (((scale, sum), codes), x) in block.scales.iter_mut().zip(&mut sums).zip(codes.as_chunks_mut::<32>().0).zip(x) {
        let mut halves = [0; 2];
        *scale = codes_of(codes, &mut halves, x);
        *sum = halves[0] + halves[1];
    }
    for (index, sum) in sums.into_iter().enumerate() {
        block.negated[index] = -sum;
        block.sums[index] = block.scales[index] * sum as f32;
    }
}

/// Rounds a block of 256.
pub(super) fn block256(codes: &mut [i8; CHUNK], block: &mut Block256, x: &[f32]) {
    let Some(x) = x.as_array::<CHUNK>() else { return };
    let mut sums = [0; 16];
    block.scale = codes_of(codes, &mut sums, x);
    block.negated = sums.map(|sum| -sum);
    let sum = |index: usize| (sums[2 * index] + sums[2 * index + 1]) as u16;
    block.pairs = [0, 1, 4, 5].map(|index| u32::from(sum(index)) | u32::from(sum(index + 2)) << 16);
}

/// Codes of a block, the sums of 16 each, and the scale.
fn codes_of<const N: usize, const S: usize>(codes: &mut [i8; N], sums: &mut [i32; S], x: &[f32; N]) -> f32 {
    const { assert!(N == 16 * S) };
    #[cfg(target_arch = "x86_64")]
    if matches!(isa::current(), Isa::Avx512 | Isa::Avx512Bf16) {
        // SAFETY: the processor has the instructions.
        return unsafe { codes_avx512(codes, sums, x) };
    }
    plain(codes, sums, x)
}

kernel! {
    pub fn plain(codes: &mut [i8], sums: &mut [i32], x: &[f32]) -> f32 {
        // Sizes are in the order of their bits, and above them all is what is not a number.
        let mut largest = [0_u32; 16];
        for x in x.as_chunks::<16>().0 {
            for (largest, x) in largest.iter_mut().zip(x) {
                *largest = (*largest).max(x.to_bits() & 0x7fff_ffff);
            }
        }
        let (scale, factor) = scale(largest.iter().fold(0, |most: u32, bits| most.max(*bits)));
        if factor == 0.0 {
            codes.fill(0);
            sums.fill(0);
            return scale;
        }
        for ((codes, x), sum) in codes.as_chunks_mut::<16>().0.iter_mut().zip(x.as_chunks::<16>().0).zip(sums) {
            let mut rounded = [0; 16];
            for (rounded, x) in rounded.iter_mut().zip(x) {
                *rounded = ((x * factor + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
            }
            *sum = 0;
            for (code, rounded) in codes.iter_mut().zip(rounded) {
                *code = rounded as i8;
                *sum += i32::from(*code);
            }
        }
        scale
    }
}

/// The scale of a block by the bits of its largest size, and what its elements are multiplied by, which is 0
/// where all codes are 0.
#[inline(always)]
fn scale(largest: u32) -> (f32, f32) {
    let size = f32::from_bits(largest);
    if !size.is_finite() {
        // Times any sum this is not a number.
        (f32::NAN, 0.0)
    } else if size < NOTHING {
        (0.0, 0.0)
    } else {
        (size / 127.0, 127.0 / size)
    }
}

/// As [`plain`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn codes_avx512(codes: &mut [i8], sums: &mut [i32], x: &[f32]) -> f32 {
    use std::arch::x86_64::*;
    let mut largest = _mm512_setzero_si512();
    let size = _mm512_set1_epi32(0x7fff_ffff);
    for x in x.as_chunks::<16>().0 {
        // SAFETY: there are 16.
        let x = unsafe { _mm512_loadu_si512(x.as_ptr().cast()) };
        largest = _mm512_max_epu32(largest, _mm512_and_si512(x, size));
    }
    let (scale, factor) = scale(_mm512_reduce_max_epu32(largest));
    if factor == 0.0 {
        codes.fill(0);
        sums.fill(0);
        return scale;
    }
    let factor = _mm512_set1_ps(factor);
    for ((codes, x), sum) in codes.as_chunks_mut::<16>().0.iter_mut().zip(x.as_chunks::<16>().0).zip(sums) {
        // SAFETY: there are 16 of each.
        unsafe {
            let rounded = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x.as_ptr()), factor));
            _mm_storeu_si128(codes.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(rounded));
            *sum = _mm512_reduce_add_epi32(rounded);
        }
    }
    scale
}
