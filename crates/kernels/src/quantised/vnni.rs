//! Products of slabs with several rows of activations, on AVX-512 with the byte products of VNNI.
//!
//! A tile is one or two slabs by up to six rows. For each word of four columns, the codes of a slab meet the
//! broadcast word of each row:
//!
//! ```text
//! total[row][slab] += codes[slab][v] · broadcast(x[row][v])      16 × 4 products an instruction
//! ```
//!
//! so that 2·6 instructions take 2 + 6 loads, and sums, totals and words fit the 32 registers. What happens to
//! the sums is written in `plain`.
#![allow(clippy::needless_range_loop, reason = "indices are registers")]

use std::arch::x86_64::*;

use super::activations::{Block256, Blocks32, CHUNK};
use super::packed::GROUP;
use super::slab::Slab;

/// The most rows of a tile.
pub(super) const ROWS: usize = 6;
/// Elements from a row of sums to the next.
pub(super) const STRIDE: usize = 2 * GROUP;

/// A tile's activations and sums: `T` rows of each.
#[derive(Clone, Copy)]
pub(super) struct Tile<B> {
    pub(super) codes: *const i8,
    pub(super) blocks: *const B,
    pub(super) sums: *mut f32,
}

impl<B> Tile<B> {
    /// # Safety
    /// There are codes of the row.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn word(&self, row: usize, word: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_set1_epi32(self.codes.add(row * CHUNK + 4 * word).cast::<i32>().read_unaligned()) }
    }

    /// # Safety
    /// There is a block of the row.
    #[inline]
    unsafe fn block(&self, row: usize) -> &B {
        // SAFETY: the caller's promise.
        unsafe { &*self.blocks.add(row) }
    }

    /// # Safety
    /// There are sums of the row and of the slab.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn sums(&self, row: usize, slab: usize) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(self.sums.add(row * STRIDE + slab * GROUP)) }
    }

    /// # Safety
    /// There are sums of the row and of the slab.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store(&self, row: usize, slab: usize, sums: __m512) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(self.sums.add(row * STRIDE + slab * GROUP), sums) }
    }
}

/// # Safety
/// The slice has 16 elements of 32 bits.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load<T>(words: &[T; GROUP]) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

/// Adds the words `first..first + WORDS` of all rows and slabs to `totals`.
///
/// # Safety
/// The tile has `T` rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn dot<const G: usize, const T: usize, const WORDS: usize, B>(
    totals: &mut [[__m512i; G]; T],
    slabs: &[Slab; G],
    tile: &Tile<B>,
    first: usize,
) {
    for v in first..first + WORDS {
        // SAFETY: words are vectors.
        let codes: [__m512i; G] = std::array::from_fn(|g| unsafe { load(&slabs[g].codes[v]) });
        for t in 0..T {
            // SAFETY: the caller's promise.
            let word = unsafe { tile.word(t, v) };
            for g in 0..G {
                totals[t][g] = _mm512_dpbusd_epi32(totals[t][g], codes[g], word);
            }
        }
    }
}

/// Blocks of 32; `OFFSET` is the shift of what codes are too large by, or 0 for a format with minimums.
///
/// # Safety
/// The processor has the instructions; the tile has `T` rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn tile32<const G: usize, const T: usize, const OFFSET: u32>(
    slabs: &[Slab; G],
    tile: Tile<Blocks32>,
    blocks: usize,
) {
    // SAFETY: the caller's promise; eight blocks at most.
    unsafe {
        let mut sums: [[__m512; G]; T] = [[_mm512_setzero_ps(); G]; T];
        for t in 0..T {
            for g in 0..G {
                sums[t][g] = tile.sums(t, g);
            }
        }
        for index in 0..blocks.min(8) {
            let mut totals = [[_mm512_setzero_si512(); G]; T];
            if OFFSET > 0 {
                for t in 0..T {
                    totals[t] = [_mm512_slli_epi32::<OFFSET>(_mm512_set1_epi32(tile.block(t).negated[index])); G];
                }
            }
            dot::<G, T, 8, _>(&mut totals, slabs, &tile, 8 * index);
            for g in 0..G {
                let scales = _mm512_loadu_ps(slabs[g].scales[index].as_ptr());
                for t in 0..T {
                    let scale = _mm512_mul_ps(_mm512_set1_ps(tile.block(t).scales[index]), scales);
                    sums[t][g] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(totals[t][g]), scale, sums[t][g]);
                }
                if OFFSET == 0 {
                    let minimums = _mm512_loadu_ps(slabs[g].minimums[index].as_ptr());
                    for t in 0..T {
                        sums[t][g] = _mm512_fmadd_ps(minimums, _mm512_set1_ps(tile.block(t).sums[index]), sums[t][g]);
                    }
                }
            }
        }
        for t in 0..T {
            for g in 0..G {
                tile.store(t, g, sums[t][g]);
            }
        }
    }
}

/// A block of 256 with minimums.
///
/// # Safety
/// The processor has the instructions; the tile has `T` rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn tile_with_minimums<const G: usize, const T: usize>(slabs: &[Slab; G], tile: Tile<Block256>) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut totals = [[_mm512_setzero_si512(); G]; T];
        for index in 0..8 {
            let mut sums = [[_mm512_setzero_si512(); G]; T];
            dot::<G, T, 8, _>(&mut sums, slabs, &tile, 8 * index);
            for g in 0..G {
                let factors = load(&slabs[g].factors[index]);
                for t in 0..T {
                    totals[t][g] = _mm512_add_epi32(totals[t][g], _mm512_mullo_epi32(sums[t][g], factors));
                }
            }
        }
        for g in 0..G {
            let scales = _mm512_loadu_ps(slabs[g].scales[0].as_ptr());
            let minimums = _mm512_loadu_ps(slabs[g].minimums[0].as_ptr());
            for t in 0..T {
                let block = tile.block(t);
                let mut minimum = _mm512_setzero_si512();
                for p in 0..4 {
                    let pairs = _mm512_set1_epi32(block.pairs[p] as i32);
                    minimum = _mm512_dpwssd_epi32(minimum, load(&slabs[g].pairs[p]), pairs);
                }
                let scale = _mm512_set1_ps(block.scale);
                let sum = _mm512_cvtepi32_ps(totals[t][g]);
                let sum = _mm512_fmadd_ps(sum, _mm512_mul_ps(scale, scales), tile.sums(t, g));
                let minimum = _mm512_cvtepi32_ps(minimum);
                tile.store(t, g, _mm512_fnmadd_ps(minimum, _mm512_mul_ps(scale, minimums), sum));
            }
        }
    }
}

/// A block of 256 of `Q6_K`.
///
/// # Safety
/// The processor has the instructions; the tile has `T` rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn tile_symmetric<const G: usize, const T: usize>(slabs: &[Slab; G], tile: Tile<Block256>) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut totals = [[_mm512_setzero_si512(); G]; T];
        for index in 0..16 {
            let mut sums = [[_mm512_setzero_si512(); G]; T];
            for t in 0..T {
                sums[t] = [_mm512_slli_epi32::<5>(_mm512_set1_epi32(tile.block(t).negated[index])); G];
            }
            dot::<G, T, 4, _>(&mut sums, slabs, &tile, 4 * index);
            for g in 0..G {
                let factors = load(&slabs[g].factors[index]);
                for t in 0..T {
                    totals[t][g] = _mm512_add_epi32(totals[t][g], _mm512_mullo_epi32(sums[t][g], factors));
                }
            }
        }
        for g in 0..G {
            let scales = _mm512_loadu_ps(slabs[g].scales[0].as_ptr());
            for t in 0..T {
                let scale = _mm512_mul_ps(_mm512_set1_ps(tile.block(t).scale), scales);
                let sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(totals[t][g]), scale, tile.sums(t, g));
                tile.store(t, g, sum);
            }
        }
    }
}
