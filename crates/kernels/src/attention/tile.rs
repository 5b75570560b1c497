//! Products of small tiles that lie in the cache, for attention.
//!
//! Both formats are kept in units of 32 bits along the dimension that is summed over: one `f32`, or two bf16
//! (the even one in the lower half). A tile product is `c[r][j] += Σ a[r][k]·b[k][j]` over units `k`, for
//! [`ROWS`] rows. `a` may have any strides, because its units are broadcast; `b` lies in panels of [`WIDTH`]
//! columns, `[columns/WIDTH][depth][WIDTH]`, so that a panel is read front to back.

use crate::LANES;
use crate::bf16::Bf16;
use crate::gemm::Compute;
use crate::isa::{self, Isa};

/// Rows of a tile.
pub const ROWS: usize = 8;
/// Columns of a panel.
pub const WIDTH: usize = 32;

/// A format of units.
pub trait Format {
    /// Values in a unit.
    const VALUES: usize;
    /// A unit of one or two values.
    fn pack(even: f32, odd: f32) -> u32;
    /// `sums += a·b`.
    fn multiply_add<const FUSED: bool>(sums: &mut [f32; LANES], a: u32, b: &[u32; LANES]);
}

/// One `f32` in a unit.
pub struct Single;
/// Two bf16 in a unit.
pub struct Pair;

impl Format for Single {
    const VALUES: usize = 1;

    #[inline(always)]
    fn pack(even: f32, _: f32) -> u32 {
        even.to_bits()
    }

    #[inline(always)]
    fn multiply_add<const FUSED: bool>(sums: &mut [f32; LANES], a: u32, b: &[u32; LANES]) {
        let a = f32::from_bits(a);
        for (sum, b) in sums.iter_mut().zip(b) {
            *sum = add_product::<FUSED>(a, f32::from_bits(*b), *sum);
        }
    }
}

impl Format for Pair {
    const VALUES: usize = 2;

    #[inline(always)]
    fn pack(even: f32, odd: f32) -> u32 {
        u32::from(Bf16::from_f32(even).0) | u32::from(Bf16::from_f32(odd).0) << 16
    }

    #[inline(always)]
    fn multiply_add<const FUSED: bool>(sums: &mut [f32; LANES], a: u32, b: &[u32; LANES]) {
        let (even, odd) = (f32::from_bits(a << 16), f32::from_bits(a & 0xffff_0000));
        for (sum, b) in sums.iter_mut().zip(b) {
            let inner = add_product::<FUSED>(odd, f32::from_bits(b & 0xffff_0000), *sum);
            *sum = add_product::<FUSED>(even, f32::from_bits(b << 16), inner);
        }
    }
}

/// `a·b + c`; where the processor cannot do it with one rounding, with two.
#[inline(always)]
fn add_product<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// The shape of a tile product, in units and elements.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// A multiple of 16.
    pub columns: usize,
    /// Units to sum over.
    pub depth: usize,
    /// From a row of `a` to the next.
    pub a_row: usize,
    /// From a unit of a row of `a` to the next.
    pub a_step: usize,
    /// From a panel of `b` to the next.
    pub b_panel: usize,
    /// From a row of `c` to the next.
    pub c_row: usize,
    /// Whether to add to `c` or to overwrite it.
    pub add: bool,
}

type Call = unsafe fn(*mut f32, *const u32, *const u32, &Shape);

/// The tile product of a format on this processor.
#[derive(Debug, Clone, Copy)]
pub struct Product(Call);

impl Product {
    /// The product for numbers of this kind.
    pub fn of(compute: Compute) -> Self {
        Self(match (isa::current(), compute) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512Bf16, Compute::Bf16) => avx512_bf16,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512 | Isa::Avx512Bf16, Compute::F32) => avx512_f32,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512 | Isa::Avx2, Compute::Bf16) => avx2_bf16,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, Compute::F32) => avx2_f32,
            (_, Compute::Bf16) => portable::<Pair, { cfg!(target_arch = "aarch64") }>,
            (_, Compute::F32) => portable::<Single, { cfg!(target_arch = "aarch64") }>,
        })
    }

    /// `c (+)= a·b`.
    ///
    /// # Panics
    /// When a slice is too short for the shape.
    #[inline]
    pub fn run(self, c: &mut [f32], a: &[u32], b: &[u32], shape: &Shape) {
        let Shape { columns, depth, a_row, a_step, b_panel, c_row, .. } = *shape;
        if columns == 0 {
            return;
        }
        assert!(columns.is_multiple_of(LANES) && (ROWS - 1) * c_row + columns <= c.len(), "c of a tile");
        if depth > 0 {
            assert!((ROWS - 1) * a_row + (depth - 1) * a_step < a.len(), "a of a tile");
            assert!((columns - 1) / WIDTH * b_panel + depth * WIDTH <= b.len(), "b of a tile");
        }
        // SAFETY: the function was chosen for this processor, and the shape lies inside the slices.
        unsafe { self.0(c.as_mut_ptr(), a.as_ptr(), b.as_ptr(), shape) }
    }
}

/// The product on any processor, in parts of 4 rows and 16 columns.
///
/// # Safety
/// The shape lies inside the memory of `c`, `a` and `b`.
#[inline(always)]
unsafe fn portable<F: Format, const FUSED: bool>(c: *mut f32, a: *const u32, b: *const u32, shape: &Shape) {
    const PART: usize = 4;
    for (row, column) in
        (0..ROWS).step_by(PART).flat_map(|row| (0..shape.columns).step_by(LANES).map(move |column| (row, column)))
    {
        let mut sums = [[0.0_f32; LANES]; PART];
        let panel = column / WIDTH * shape.b_panel + column % WIDTH;
        for k in 0..shape.depth {
            // SAFETY: the caller's promise, for 16 units of the panel and 4 rows of `a`.
            unsafe {
                let b = &*b.add(panel + k * WIDTH).cast::<[u32; LANES]>();
                for (r, sums) in sums.iter_mut().enumerate() {
                    F::multiply_add::<FUSED>(sums, *a.add((row + r) * shape.a_row + k * shape.a_step), b);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            // SAFETY: the caller's promise, for 16 elements of a row of `c`.
            let c = unsafe { &mut *c.add((row + r) * shape.c_row + column).cast::<[f32; LANES]>() };
            for (c, sum) in c.iter_mut().zip(sums) {
                *c = if shape.add { *c + sum } else { *sum };
            }
        }
    }
}

/// [`portable`] for 8 lanes.
///
/// # Safety
/// As there, and the processor has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2_f32(c: *mut f32, a: *const u32, b: *const u32, shape: &Shape) {
    // SAFETY: the caller's promise.
    unsafe { portable::<Single, true>(c, a, b, shape) }
}

/// [`portable`] for 8 lanes.
///
/// # Safety
/// As there, and the processor has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2_bf16(c: *mut f32, a: *const u32, b: *const u32, shape: &Shape) {
    // SAFETY: the caller's promise.
    unsafe { portable::<Pair, true>(c, a, b, shape) }
}

/// A product in registers of 16 lanes: 8 rows of one panel, or of its first half.
#[cfg(target_arch = "x86_64")]
macro_rules! wide {
    ($name:ident, $panel:ident, $features:literal, |$sum:ident, $a:ident, $b:ident| $step:expr) => {
        /// The whole product.
        ///
        /// # Safety
        /// The shape lies inside the memory of `c`, `a` and `b`, and the processor has the features.
        #[target_feature(enable = $features)]
        unsafe fn $name(c: *mut f32, a: *const u32, b: *const u32, shape: &Shape) {
            for column in (0..shape.columns).step_by(WIDTH) {
                // SAFETY: the caller's promise; the panel begins at `column`.
                unsafe {
                    let (c, b) = (c.add(column), b.add(column / WIDTH * shape.b_panel));
                    if shape.columns - column >= WIDTH {
                        $panel::<2>(c, a, b, shape);
                    } else {
                        $panel::<1>(c, a, b, shape);
                    }
                }
            }
        }

        /// One panel.
        ///
        /// # Safety
        /// As of the whole product.
        #[target_feature(enable = $features)]
        #[inline]
        unsafe fn $panel<const V: usize>(c: *mut f32, a: *const u32, b: *const u32, shape: &Shape) {
            let mut sums = [[_mm512_setzero_ps(); V]; ROWS];
            let (mut a_k, mut b_k) = (a, b);
            for _ in 0..shape.depth {
                let mut wide = [_mm512_setzero_si512(); V];
                for (v, wide) in wide.iter_mut().enumerate() {
                    // SAFETY: the caller's promise, for 16 units of the panel.
                    *wide = unsafe { _mm512_loadu_si512(b_k.add(v * LANES).cast()) };
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller's promise, for one unit of `a`.
                    let $a = _mm512_set1_epi32(unsafe { *a_k.add(r * shape.a_row) } as i32);
                    for ($sum, $b) in sums.iter_mut().zip(wide) {
                        *$sum = $step;
                    }
                }
                a_k = a_k.wrapping_add(shape.a_step);
                b_k = b_k.wrapping_add(WIDTH);
            }
            for (r, sums) in sums.iter().enumerate() {
                for (v, sum) in sums.iter().enumerate() {
                    // SAFETY: the caller's promise, for 16 elements of a row of `c`.
                    unsafe {
                        let c = c.add(r * shape.c_row + v * LANES);
                        let sum = if shape.add { _mm512_add_ps(_mm512_loadu_ps(c), *sum) } else { *sum };
                        _mm512_storeu_ps(c, sum);
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m512bh, __m512i, _mm512_add_ps, _mm512_castsi512_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_storeu_ps,
};

#[cfg(target_arch = "x86_64")]
wide!(avx512_f32, avx512_f32_panel, "avx512f", |sum, a, b| _mm512_fmadd_ps(
    _mm512_castsi512_ps(a),
    _mm512_castsi512_ps(b),
    *sum
));
#[cfg(target_arch = "x86_64")]
wide!(avx512_bf16, avx512_bf16_panel, "avx512f,avx512bf16", |sum, a, b| _mm512_dpbf16_ps(*sum, bf16s(a), bf16s(b)));

/// The same bits as 32 bf16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
fn bf16s(bits: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits, and every pattern is valid.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(bits) }
}
