//! Tiles and packers in plain Rust, which the compiler turns into the vectors of the target.

use super::Data;
use super::panel::{Engine, Source, Tile};
use crate::bf16::Bf16;
use crate::isa::Isa;

/// `f32`, for 16 registers of 4 lanes or fewer.
pub(super) static SINGLE: Engine = Engine {
    isa: Isa::Portable,
    rows: 4,
    columns: 8,
    depth: 1,
    inner: 512,
    pack_rows: pack::<Single, 4>,
    pack_columns: pack::<Single, 8>,
    multiply: multiply::<4, 8>,
};

/// `f32` rounded to bf16.
pub(super) static ROUNDED: Engine =
    Engine { pack_rows: pack::<Rounded, 4>, pack_columns: pack::<Rounded, 8>, ..SINGLE };

/// `f32`, for the 32 registers of 4 lanes that NEON has.
pub(super) static NEON_SINGLE: Engine = Engine {
    isa: Isa::Neon,
    rows: 8,
    columns: 8,
    depth: 1,
    inner: 512,
    pack_rows: pack::<Single, 8>,
    pack_columns: pack::<Single, 8>,
    multiply: multiply_fused::<8, 8>,
};

/// `f32` rounded to bf16, likewise.
pub(super) static NEON_ROUNDED: Engine =
    Engine { pack_rows: pack::<Rounded, 8>, pack_columns: pack::<Rounded, 8>, ..NEON_SINGLE };

/// What an element becomes.
pub(super) trait Precision {
    fn of(value: f32) -> f32;
}

/// Elements as they are.
pub(super) struct Single;
/// Elements rounded to bf16.
pub(super) struct Rounded;

impl Precision for Single {
    #[inline(always)]
    fn of(value: f32) -> f32 {
        value
    }
}

impl Precision for Rounded {
    #[inline(always)]
    fn of(value: f32) -> f32 {
        Bf16::from_f32(value).to_f32()
    }
}

/// Packs panels of `WIDTH` rows or columns, in units of one `f32`.
#[inline(always)]
pub(super) fn pack<P: Precision, const WIDTH: usize>(to: &mut [u32], source: &Source<'_>) {
    match source.data {
        Data::F32(data) => pack_with::<_, WIDTH>(to, data, source, |value| P::of(value).to_bits()),
        Data::Bf16(data) => pack_with::<_, WIDTH>(to, data, source, |value| value.to_f32().to_bits()),
    }
}

#[inline(always)]
fn pack_with<T: Copy, const WIDTH: usize>(
    to: &mut [u32],
    data: &[T],
    source: &Source<'_>,
    unit: impl Fn(T) -> u32 + Copy,
) {
    let Source { offset, width, depth, width_stride, depth_stride, .. } = *source;
    for (panel, to) in to.chunks_exact_mut((WIDTH * depth).max(1)).enumerate() {
        let first = panel * WIDTH;
        let count = WIDTH.min(width - first);
        let start = offset + first * width_stride;
        if count < WIDTH {
            to.fill(0);
        }
        let (to, _) = to.as_chunks_mut::<WIDTH>();
        if width_stride == 1 {
            for (d, to) in to.iter_mut().enumerate() {
                let from = &data[start + d * depth_stride..][..count];
                to.iter_mut().zip(from).for_each(|(to, from)| *to = unit(*from));
            }
        } else {
            for lane in 0..count {
                let from = start + lane * width_stride;
                for (d, to) in to.iter_mut().enumerate() {
                    to[lane] = unit(data[from + d * depth_stride]);
                }
            }
        }
    }
}

/// Multiplies and adds with two roundings, which is fast where there is no fused instruction.
///
/// # Safety
/// The tile can be written.
unsafe fn multiply<const R: usize, const C: usize>(tile: Tile, a: &[u32], b: &[u32]) {
    // SAFETY: the caller's promise.
    unsafe { store(tile, &sums::<R, C>(a, b, |a, b, sum| a * b + sum)) }
}

/// Multiplies and adds with one rounding.
///
/// # Safety
/// The tile can be written.
unsafe fn multiply_fused<const R: usize, const C: usize>(tile: Tile, a: &[u32], b: &[u32]) {
    // SAFETY: the caller's promise.
    unsafe { store(tile, &sums::<R, C>(a, b, f32::mul_add)) }
}

#[inline(always)]
fn sums<const R: usize, const C: usize>(a: &[u32], b: &[u32], add: impl Fn(f32, f32, f32) -> f32) -> [[f32; C]; R] {
    let mut sums = [[0.0; C]; R];
    let ((a, _), (b, _)) = (a.as_chunks::<R>(), b.as_chunks::<C>());
    for (a, b) in a.iter().zip(b) {
        for (sums, a) in sums.iter_mut().zip(a) {
            let a = f32::from_bits(*a);
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = add(a, f32::from_bits(*b), *sum);
            }
        }
    }
    sums
}

/// Writes the part of `whole` that belongs to the tile.
///
/// # Safety
/// The tile can be written, and is not larger than `whole`.
#[inline(always)]
pub(super) unsafe fn store<const R: usize, const C: usize>(tile: Tile, whole: &[[f32; C]; R]) {
    for (r, whole) in whole.iter().enumerate().take(tile.rows) {
        // SAFETY: the caller's promise.
        let to = unsafe { std::slice::from_raw_parts_mut(tile.to.add(r * tile.stride), tile.columns) };
        if tile.add {
            to.iter_mut().zip(whole).for_each(|(to, sum)| *to += sum);
        } else {
            to.copy_from_slice(&whole[..tile.columns]);
        }
    }
}
