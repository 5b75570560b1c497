//! A slab: 16 rows by 256 columns of weights, taken apart for products with many rows of activations.
//!
//! Each lane is a row; a word has the codes of four neighbouring columns as bytes without a sign. What a format
//! subtracts from its codes (128 from `Q8_0`, which has a sign, 8 from `Q4_0`, 32 from `Q6_K`) is made good by
//! the sums of the activations, which are exact.

use super::Format;
use super::lines::{LINE, Line};
use super::packed::{GROUP, Layout, q6_part};
use crate::f16::F16;
use crate::isa::kernel;

/// A word of each row.
pub(super) type Words = [u32; GROUP];

/// Part of a matrix, ready for products.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Slab {
    /// Codes of columns `4v` to `4v + 3`.
    pub(super) codes: [Words; 64],
    /// `d` of each block of 32; the first one is that of a block of 256.
    pub(super) scales: [[f32; GROUP]; 8],
    /// `m` of each block of 32, or in the first one `dmin` of a block of 256.
    pub(super) minimums: [[f32; GROUP]; 8],
    /// Whole-numbered scales of 32 columns (the first 8) or of 16, of a block of 256.
    pub(super) factors: [[i32; GROUP]; 16],
    /// Whole-numbered minimums of 32 columns in pairs, as the sums of `Block256`.
    pub(super) pairs: [Words; 4],
}

impl Slab {
    /// All zero.
    pub(super) const ZERO: Self = Self {
        codes: [[0; GROUP]; 64],
        scales: [[0.0; GROUP]; 8],
        minimums: [[0.0; GROUP]; 8],
        factors: [[0; GROUP]; 16],
        pairs: [[0; GROUP]; 4],
    };
}

/// The power of two that a format's codes are too large by, as a shift.
pub(super) const fn offset(format: Format) -> Option<u32> {
    match format {
        Format::Q8_0 => Some(7),
        Format::Q4_0 => Some(3),
        Format::Q6_K => Some(5),
        Format::Q4_1 | Format::Q4_K | Format::Q5_K => None,
    }
}

kernel! {
    /// Takes a chunk of a group apart; `blocks` is how many blocks of 32 are in it, or 1 of 256.
    pub fn unpack(slab: &mut Slab, format: Format, group: &[Line], chunk: usize, blocks: usize) {
        let layout = Layout::of(format);
        if format.block_elements() == 32 {
            for index in 0..blocks {
                let block = 8 * chunk + index;
                let words = &group[layout.block(block)..][..layout.words];
                let Some(codes) = slab.codes.as_chunks_mut::<8>().0.get_mut(index) else { return };
                match format {
                    Format::Q8_0 => {
                        for (codes, words) in codes.iter_mut().zip(words) {
                            *codes = each(&words.0, |word| word ^ 0x8080_8080);
                        }
                        slab.scales[index] = halves(&group[layout.halves(block)], block % 2);
                    }
                    Format::Q4_0 => {
                        nibbles(codes, words);
                        slab.scales[index] = halves(&group[layout.halves(block)], block % 2);
                    }
                    _ => {
                        nibbles(codes, &words[1..]);
                        (slab.scales[index], slab.minimums[index]) = both_halves(&words[0]);
                    }
                }
            }
            return;
        }
        let words = &group[layout.block(chunk)..][..layout.words];
        match format {
            Format::Q4_K => {
                for (codes, words) in slab.codes.as_chunks_mut::<16>().0.iter_mut().zip(words[4..].chunks_exact(8)) {
                    for (v, words) in words.iter().enumerate() {
                        codes[v] = each(&words.0, low);
                        codes[8 + v] = each(&words.0, high);
                    }
                }
            }
            Format::Q5_K => {
                for (part, (codes, words)) in
                    slab.codes.as_chunks_mut::<16>().0.iter_mut().zip(words[12..].chunks_exact(8)).enumerate()
                {
                    let shift = 2 * part as u32;
                    for (v, words) in words.iter().enumerate() {
                        let fifth = &group[layout.block(chunk) + 4 + v].0;
                        codes[v] = two(&words.0, fifth, |word, bits| low(word) | (bits >> shift & 0x0101_0101) << 4);
                        codes[8 + v] =
                            two(&words.0, fifth, |word, bits| high(word) | (bits >> (shift + 1) & 0x0101_0101) << 4);
                    }
                }
            }
            _ => {
                for part in 0..2 {
                    for v in 0..8 {
                        let words = &words[q6_part(part) + 2 + 3 * v..];
                        let (first, second, top) = (&words[0].0, &words[1].0, &words[2].0);
                        let codes = &mut slab.codes[32 * part..][..32];
                        codes[v] = two(first, top, |word, bits| low(word) | (bits & 0x0303_0303) << 4);
                        codes[8 + v] = two(second, top, |word, bits| low(word) | (bits >> 2 & 0x0303_0303) << 4);
                        codes[16 + v] = two(first, top, |word, bits| high(word) | (bits >> 4 & 0x0303_0303) << 4);
                        codes[24 + v] = two(second, top, |word, bits| high(word) | (bits >> 6 & 0x0303_0303) << 4);
                    }
                }
                for (index, factors) in slab.factors.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    let words = &words[q6_part(index / 2) + index % 2];
                    for (byte, factors) in factors.iter_mut().enumerate() {
                        for (factor, word) in factors.iter_mut().zip(&words.0) {
                            *factor = (*word << (24 - 8 * byte)) as i32 >> 24;
                        }
                    }
                }
                slab.scales[0] = halves(&group[layout.halves(chunk)], chunk % 2);
                return;
            }
        }
        (slab.scales[0], slab.minimums[0]) = both_halves(&words[0]);
        let (factors, minimums) = six_bits(&words[1].0, &words[2].0, &words[3].0);
        for (half, (factors, minimums)) in factors.iter().zip(&minimums).enumerate() {
            for byte in 0..4 {
                for (to, word) in slab.factors[4 * half + byte].iter_mut().zip(factors) {
                    *to = (word >> (8 * byte) & 255) as i32;
                }
            }
            slab.pairs[2 * half] = each(minimums, |word| word & 0x00ff_00ff);
            slab.pairs[2 * half + 1] = each(minimums, |word| word >> 8 & 0x00ff_00ff);
        }
    }
}

/// The scales and the minimums of `Q4_K` and `Q5_K`, four in a word, from their three words.
#[inline(always)]
fn six_bits(first: &Words, second: &Words, third: &Words) -> ([Words; 2], [Words; 2]) {
    let six = |word: u32| word & 0x3f3f_3f3f;
    let top = |word: u32| (word >> 6 & 0x0303_0303) << 4;
    let factors = two(third, first, |third, first| low(third) | top(first));
    let minimums = two(third, second, |third, second| high(third) | top(second));
    ([each(first, six), factors], [each(second, six), minimums])
}

/// The lower four bits of each byte.
#[inline(always)]
fn low(word: u32) -> u32 {
    word & 0x0f0f_0f0f
}

/// The upper four bits of each byte.
#[inline(always)]
fn high(word: u32) -> u32 {
    word >> 4 & 0x0f0f_0f0f
}

/// Codes of 32 columns from half bytes: the lower ones first.
#[inline(always)]
fn nibbles(codes: &mut [Words; 8], words: &[Line]) {
    for (v, words) in words.iter().take(4).enumerate() {
        codes[v] = each(&words.0, low);
        codes[4 + v] = each(&words.0, high);
    }
}

#[inline(always)]
fn each(words: &Words, of: impl Fn(u32) -> u32) -> Words {
    let mut found = [0; GROUP];
    for (found, word) in found.iter_mut().zip(words) {
        *found = of(*word);
    }
    found
}

#[inline(always)]
fn two(first: &Words, second: &Words, of: impl Fn(u32, u32) -> u32) -> Words {
    let mut found = [0; GROUP];
    for (found, (first, second)) in found.iter_mut().zip(first.iter().zip(second)) {
        *found = of(*first, *second);
    }
    found
}

/// The 16 f16 in the lower or the upper half of a line.
#[inline(always)]
fn halves(line: &Line, upper: usize) -> [f32; GROUP] {
    // SAFETY: a line has 64 bytes, and every pattern is an f16.
    let all = unsafe { &*std::ptr::from_ref(line).cast::<[F16; LINE / 2]>() };
    let mut found = [0.0; GROUP];
    for (found, half) in found.iter_mut().zip(&all[upper * GROUP..]) {
        *found = half.to_f32();
    }
    found
}

/// The f16 in the lower and in the upper half of each word.
#[inline(always)]
fn both_halves(line: &Line) -> ([f32; GROUP], [f32; GROUP]) {
    let mut found = ([0.0; GROUP], [0.0; GROUP]);
    for ((low, high), word) in found.0.iter_mut().zip(&mut found.1).zip(&line.0) {
        *low = F16(*word as u16).to_f32();
        *high = F16((word >> 16) as u16).to_f32();
    }
    found
}
