//! Products of matrices of bytes with exact sums: `c[i][j] = Σ a[i][k] · b[j][k]`.
//!
//! Panels are those of `panel` with four bytes in a unit. The instruction multiplies bytes without a sign
//! by bytes with one, so signed bytes of `a` are packed with 128 added, and 128 times the sum of a row of `b`
//! is taken off again. Sums wrap around, so an intermediate sum that is too large does no harm.

use super::panel::{Buffer, Kind};
use crate::isa;
use crate::parallel::{self, Shared};

const ROWS: usize = 14;
const COLUMNS: usize = 32;

/// Bytes with or without a sign.
#[derive(Debug, Clone, Copy)]
pub enum Bytes<'a> {
    /// 0 to 255.
    U8(&'a [u8]),
    /// -128 to 127.
    I8(&'a [i8]),
}

impl<'a> From<&'a [u8]> for Bytes<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::U8(bytes)
    }
}

impl<'a> From<&'a [i8]> for Bytes<'a> {
    fn from(bytes: &'a [i8]) -> Self {
        Self::I8(bytes)
    }
}

/// A tile of sums.
type Sums = [[i32; COLUMNS]; ROWS];

/// `c = a · bᵀ`: `a` is `rows × inner`, `b` is `columns × inner` (as the weights of a layer lie), `c` is
/// `rows × columns`, all row after row. Exact as long as the results fit 32 bits; they wrap around otherwise.
///
/// # Panics
/// When the slices do not have these sizes.
pub fn int8<'a>(c: &mut [i32], a: impl Into<Bytes<'a>>, b: &[i8], rows: usize, inner: usize, columns: usize) {
    let (a, flip) = match a.into() {
        Bytes::U8(a) => (a, 0),
        Bytes::I8(a) => (unsigned(a), 0x80),
    };
    let sizes = (rows.checked_mul(inner), columns.checked_mul(inner), rows.checked_mul(columns));
    let found = (Some(a.len()), Some(b.len()), Some(c.len()));
    assert_eq!(found, sizes, "bytes of {rows} × {inner}, {columns} × {inner} and {rows} × {columns}");
    if c.is_empty() {
        return;
    }
    let units = inner.div_ceil(4);
    let offsets: Vec<i32> = (0..columns)
        .map(|column| {
            let row = &b[column * inner..(column + 1) * inner];
            if flip == 0 { 0 } else { 128_i32.wrapping_mul(row.iter().fold(0, |sum, b| sum + i32::from(*b))) }
        })
        .collect();
    let panel = COLUMNS * units;
    Buffer::with(Kind::Shared, columns.div_ceil(COLUMNS) * panel, |packed| {
        parallel::chunks(packed, panel, |index, to| {
            let first = index * COLUMNS;
            let count = COLUMNS.min(columns - first);
            pack::<COLUMNS>(to, &unsigned(b)[first * inner..(first + count) * inner], inner, 0);
        });
        let c = Shared(c.as_mut_ptr());
        parallel::run(rows.div_ceil(ROWS), |index| {
            let first = index * ROWS;
            let count = ROWS.min(rows - first);
            // SAFETY: each task has its own rows, and `c` is borrowed until all are done.
            let c = unsafe { std::slice::from_raw_parts_mut(c.get().add(first * columns), count * columns) };
            Buffer::with(Kind::Local, ROWS * units, |own| {
                pack::<ROWS>(own, &a[first * inner..(first + count) * inner], inner, flip);
                rows_of_tiles(c, own, packed, &offsets, units);
            });
        });
    });
}

/// The same bytes, as patterns.
fn unsigned(bytes: &[i8]) -> &[u8] {
    // SAFETY: both have one byte, and every pattern is a value.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}

/// Packs up to `WIDTH` rows of `inner` bytes; `flip` changes bits of each.
fn pack<const WIDTH: usize>(to: &mut [u32], from: &[u8], inner: usize, flip: u8) {
    to.fill(0);
    if inner == 0 {
        return;
    }
    for (lane, from) in from.chunks_exact(inner).enumerate() {
        let (units, rest) = from.as_chunks::<4>();
        for (unit, bytes) in units.iter().enumerate() {
            to[unit * WIDTH + lane] = u32::from_le_bytes(*bytes) ^ u32::from_le_bytes([flip; 4]);
        }
        if !rest.is_empty() {
            let mut bytes = [0; 4];
            for (byte, rest) in bytes.iter_mut().zip(rest) {
                *byte = rest ^ flip;
            }
            to[units.len() * WIDTH + lane] = u32::from_le_bytes(bytes);
        }
    }
}

/// Multiplies a panel of rows with every panel of columns.
fn rows_of_tiles(c: &mut [i32], a: &[u32], b: &[u32], offsets: &[i32], units: usize) {
    let columns = offsets.len();
    for first in (0..columns).step_by(COLUMNS) {
        let count = COLUMNS.min(columns - first);
        let b = &b[first * units..][..COLUMNS * units];
        let sums = match isa::current() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has the instructions.
            isa::Isa::Avx512Bf16 => unsafe { tile_vnni(a, b) },
            _ => tile(a, b),
        };
        for (c, sums) in c.chunks_exact_mut(columns).zip(&sums) {
            let offsets = &offsets[first..first + count];
            for ((c, sum), offset) in c[first..first + count].iter_mut().zip(sums).zip(offsets) {
                *c = sum.wrapping_sub(*offset);
            }
        }
    }
}

fn tile(a: &[u32], b: &[u32]) -> Sums {
    let mut sums = [[0_i32; COLUMNS]; ROWS];
    for (a, b) in a.as_chunks::<ROWS>().0.iter().zip(b.as_chunks::<COLUMNS>().0) {
        for (sums, a) in sums.iter_mut().zip(a) {
            let a = a.to_le_bytes().map(i32::from);
            for (sum, b) in sums.iter_mut().zip(b) {
                // Each of the four bytes with its sign: shifted up, and down again.
                let b = *b as i32;
                let four = a[0] * (b << 24 >> 24) + a[1] * (b << 16 >> 24) + a[2] * (b << 8 >> 24) + a[3] * (b >> 24);
                *sum = sum.wrapping_add(four);
            }
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[allow(clippy::needless_range_loop, reason = "indices are registers")]
fn tile_vnni(a: &[u32], b: &[u32]) -> Sums {
    use std::arch::x86_64::*;
    let mut sums = [[_mm512_setzero_si512(); 2]; ROWS];
    for (a, b) in a.as_chunks::<ROWS>().0.iter().zip(b.as_chunks::<COLUMNS>().0) {
        // SAFETY: `b` has two vectors.
        let columns = unsafe { [_mm512_loadu_si512(b.as_ptr().cast()), _mm512_loadu_si512(b.as_ptr().add(16).cast())] };
        for r in 0..ROWS {
            let row = _mm512_set1_epi32(a[r] as i32);
            sums[r][0] = _mm512_dpbusd_epi32(sums[r][0], row, columns[0]);
            sums[r][1] = _mm512_dpbusd_epi32(sums[r][1], row, columns[1]);
        }
    }
    let mut stored = [[0; COLUMNS]; ROWS];
    for (stored, sums) in stored.iter_mut().zip(&sums) {
        // SAFETY: a row has two vectors.
        unsafe {
            _mm512_storeu_si512(stored.as_mut_ptr().cast(), sums[0]);
            _mm512_storeu_si512(stored.as_mut_ptr().add(16).cast(), sums[1]);
        }
    }
    stored
}
