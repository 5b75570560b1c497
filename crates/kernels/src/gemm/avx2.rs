//! Tiles of 6 × 16 for AVX2 in `f32`: 12 sums in registers, 2 vectors of `b`, 6 broadcasts of `a`.
#![allow(clippy::needless_range_loop, reason = "indices are registers")]

use std::arch::x86_64::*;

use super::panel::{Engine, Source, Tile};
use super::portable::{self, Rounded, Single};
use crate::isa::Isa;

const ROWS: usize = 6;
const COLUMNS: usize = 16;

/// `f32`.
pub(super) static SINGLE: Engine = Engine {
    isa: Isa::Avx2,
    rows: ROWS,
    columns: COLUMNS,
    depth: 1,
    inner: 512,
    pack_rows: pack_single::<ROWS>,
    pack_columns: pack_single::<COLUMNS>,
    multiply,
};

/// `f32` rounded to bf16.
pub(super) static ROUNDED: Engine =
    Engine { pack_rows: pack_rounded::<ROWS>, pack_columns: pack_rounded::<COLUMNS>, ..SINGLE };

/// # Safety
/// As [`portable::pack`], and the processor has AVX2.
#[target_feature(enable = "avx2,fma")]
unsafe fn pack_single<const WIDTH: usize>(to: &mut [u32], source: &Source<'_>) {
    portable::pack::<Single, WIDTH>(to, source);
}

/// # Safety
/// As [`portable::pack`], and the processor has AVX2.
#[target_feature(enable = "avx2,fma")]
unsafe fn pack_rounded<const WIDTH: usize>(to: &mut [u32], source: &Source<'_>) {
    portable::pack::<Rounded, WIDTH>(to, source);
}

/// # Safety
/// The processor has AVX2 and FMA; the panels have the same number of units; the tile can be written.
#[target_feature(enable = "avx2,fma")]
unsafe fn multiply(tile: Tile, a: &[u32], b: &[u32]) {
    let units = b.len() / COLUMNS;
    let (mut a, mut b) = (a.as_ptr().cast::<f32>(), b.as_ptr().cast::<f32>());
    let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
    // SAFETY: `units` units are read of each panel.
    unsafe {
        for _ in 0..units {
            let (left, right) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
            for r in 0..ROWS {
                let row = _mm256_set1_ps(*a.add(r));
                sums[r][0] = _mm256_fmadd_ps(row, left, sums[r][0]);
                sums[r][1] = _mm256_fmadd_ps(row, right, sums[r][1]);
            }
            (a, b) = (a.add(ROWS), b.add(COLUMNS));
        }
    }
    let mut whole = [[0.0; COLUMNS]; ROWS];
    for (sums, whole) in sums.iter().zip(&mut whole) {
        // SAFETY: a row has 16 elements.
        unsafe {
            _mm256_storeu_ps(whole.as_mut_ptr(), sums[0]);
            _mm256_storeu_ps(whole.as_mut_ptr().add(8), sums[1]);
        }
    }
    // SAFETY: the caller's promise.
    unsafe { portable::store(tile, &whole) }
}
