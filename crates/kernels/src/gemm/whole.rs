//! The usual epilogues of inference, for tiles of 32 columns in registers of 16: a bias, GELU, a residual in `f32`, and
//! the result in `f32` or bf16. Nothing but the result is stored: in an encoder's profile the steps of `finish` were 13 %,
//! these are 5 %. The operations and their order are the same.
#![allow(clippy::needless_range_loop, reason = "indices are registers")]

use std::arch::x86_64::*;

use super::finish::{GELU_END, GELU_FIT, Place, Shape};

/// Columns of a tile.
pub(super) const COLUMNS: usize = 32;

/// What happens to a tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    /// The bias of the tile's first column.
    pub(super) bias: *const f32,
    /// GELU by the normal distribution.
    pub(super) gelu: bool,
    /// The residual of the tile's first element; its rows are `columns` apart.
    pub(super) residual: Option<*const f32>,
    pub(super) columns: usize,
    /// The tile's first element; its rows are `row_stride` apart.
    pub(super) to: Place,
    pub(super) row_stride: usize,
}

/// Stores a tile of 32 columns.
///
/// # Safety
/// The processor has AVX-512 with BF16; `values` has `rows × 32` elements; the bias, the residual and the result have
/// those of the tile.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
pub(super) unsafe fn store(steps: &Steps, values: &[f32], shape: Shape) {
    assert!(shape.columns == COLUMNS && shape.stride == COLUMNS && values.len() >= shape.rows * COLUMNS);
    // SAFETY: the caller's promise.
    unsafe {
        let bias: [__m512; 2] = [_mm512_loadu_ps(steps.bias), _mm512_loadu_ps(steps.bias.add(16))];
        for row in 0..shape.rows {
            for v in 0..2 {
                let at = values.as_ptr().add(row * COLUMNS + 16 * v);
                let mut x = _mm512_add_ps(_mm512_loadu_ps(at), bias[v]);
                if steps.gelu {
                    x = gelu(x);
                }
                if let Some(residual) = steps.residual {
                    x = _mm512_add_ps(x, _mm512_loadu_ps(residual.add(row * steps.columns + 16 * v)));
                }
                let to = row * steps.row_stride + 16 * v;
                match steps.to {
                    Place::F32(first) => _mm512_storeu_ps(first.add(to), x),
                    Place::Bf16(first) => {
                        let narrow = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x));
                        _mm256_storeu_si256(first.add(to).cast(), narrow);
                    }
                }
            }
        }
    }
}

/// As `finish::gelu`.
#[inline]
#[target_feature(enable = "avx512f")]
fn gelu(x: __m512) -> __m512 {
    let one = _mm512_set1_ps(1.0);
    let scaled = _mm512_mul_ps(x, _mm512_set1_ps(2.0 / (GELU_END * GELU_END)));
    let u = _mm512_fmsub_ps(scaled, x, one);
    // What is not a number passes, because it is the second operand.
    let u = _mm512_min_ps(one, u);
    let mut polynomial = _mm512_set1_ps(GELU_FIT[0]);
    for coefficient in &GELU_FIT[1..] {
        polynomial = _mm512_fmadd_ps(polynomial, u, _mm512_set1_ps(*coefficient));
    }
    let half = _mm512_set1_ps(0.5);
    let part = _mm512_mul_ps(x, polynomial);
    let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_set1_ps(GELU_END));
    let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_set1_ps(-GELU_END));
    let part = _mm512_mask_mov_ps(part, above, half);
    let part = _mm512_mask_mov_ps(part, below, _mm512_set1_ps(-0.5));
    _mm512_mul_ps(x, _mm512_add_ps(half, part))
}
