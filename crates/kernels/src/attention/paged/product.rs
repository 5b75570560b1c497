//! Products of some rows with a page of f16, in `f32`: columns in vectors, one multiply-add after the other.

use crate::f16::F16;
use crate::isa::{self, Isa, kernel};

/// The most rows of a product.
pub const ROWS: usize = 8;

/// The shape of a product `c[row][i] = Σ a[row][k] · b[k][i]`, where `b` is `depth × width` without gaps.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// At most eight.
    pub rows: usize,
    pub depth: usize,
    /// A multiple of 16.
    pub width: usize,
    pub a_stride: usize,
    pub c_stride: usize,
    /// Adds to what `c` holds.
    pub add: bool,
}

/// # Panics
/// When a slice is too short.
pub fn multiply(c: &mut [f32], a: &[f32], b: &[F16], shape: Shape) {
    let Shape { rows, depth, width, a_stride, c_stride, .. } = shape;
    if rows == 0 {
        return;
    }
    assert!(rows <= ROWS && width.is_multiple_of(16), "{rows} rows of {width}");
    assert!(c.len() >= (rows - 1) * c_stride + width && a.len() >= (rows - 1) * a_stride + depth, "rows of a product");
    assert!(b.len() >= depth * width, "a page");
    #[cfg(target_arch = "x86_64")]
    if matches!(isa::current(), Isa::Avx512 | Isa::Avx512Bf16) {
        // SAFETY: the processor has the instructions; the sizes were checked.
        return unsafe {
            match rows {
                1 => avx512::multiply::<1>(c, a, b, shape),
                2 => avx512::multiply::<2>(c, a, b, shape),
                3 => avx512::multiply::<3>(c, a, b, shape),
                4 => avx512::multiply::<4>(c, a, b, shape),
                5 => avx512::multiply::<5>(c, a, b, shape),
                6 => avx512::multiply::<6>(c, a, b, shape),
                7 => avx512::multiply::<7>(c, a, b, shape),
                _ => avx512::multiply::<8>(c, a, b, shape),
            }
        };
    }
    plain(c, a, b, shape);
}

kernel! {
    pub fn plain(c: &mut [f32], a: &[f32], b: &[F16], shape: Shape) {
        for first in (0..shape.width).step_by(16) {
            for row in 0..shape.rows {
                let to = &mut c[row * shape.c_stride + first..][..16];
                let mut sums = [0.0; 16];
                if shape.add {
                    sums.copy_from_slice(to);
                }
                for (k, a) in a[row * shape.a_stride..][..shape.depth].iter().enumerate() {
                    for (sum, b) in sums.iter_mut().zip(&b[k * shape.width + first..][..16]) {
                        *sum = b.to_f32().mul_add(*a, *sum);
                    }
                }
                to.copy_from_slice(&sums);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    //! The same with 16 or 32 columns of up to eight rows in registers.
    #![allow(clippy::needless_range_loop, reason = "indices are registers")]

    use std::arch::x86_64::*;

    use super::{F16, Shape};

    /// # Safety
    /// The processor has AVX-512; the slices have the shape, with `R` rows.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn multiply<const R: usize>(c: &mut [f32], a: &[f32], b: &[F16], shape: Shape) {
        let (mut c, a, mut b) = (c.as_mut_ptr(), a.as_ptr(), b.as_ptr());
        let mut rest = shape.width;
        // SAFETY: the caller's promise.
        unsafe {
            while rest >= 32 {
                tile::<R, 2>(c, a, b, shape);
                (c, b, rest) = (c.add(32), b.add(32), rest - 32);
            }
            if rest > 0 {
                tile::<R, 1>(c, a, b, shape);
            }
        }
    }

    /// # Safety
    /// As [`multiply`], for `16 V` columns.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn tile<const R: usize, const V: usize>(c: *mut f32, a: *const f32, b: *const F16, shape: Shape) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); V]; R];
            if shape.add {
                for r in 0..R {
                    for v in 0..V {
                        sums[r][v] = _mm512_loadu_ps(c.add(r * shape.c_stride + 16 * v));
                    }
                }
            }
            for k in 0..shape.depth {
                let b = b.add(k * shape.width);
                let b: [__m512; V] = std::array::from_fn(|v| _mm512_cvtph_ps(_mm256_loadu_si256(b.add(16 * v).cast())));
                for r in 0..R {
                    let a = _mm512_set1_ps(*a.add(r * shape.a_stride + k));
                    for v in 0..V {
                        sums[r][v] = _mm512_fmadd_ps(b[v], a, sums[r][v]);
                    }
                }
            }
            for r in 0..R {
                for v in 0..V {
                    _mm512_storeu_ps(c.add(r * shape.c_stride + 16 * v), sums[r][v]);
                }
            }
        }
    }
}
