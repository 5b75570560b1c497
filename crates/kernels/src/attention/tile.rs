//! Products of small tiles that lie in the cache, for attention.
//!
//! Both formats are kept in units of 32 bits along the dimension that is summed over: one `f32`, or two bf16
//! (the even one in the lower half). A tile product is `c[r][j] += Σ a[r][k]·b[k][j]` over units `k`, for
//! [`ROWS`] rows. `a` may have any strides, because its units are broadcast; `b` lies in panels of [`WIDTH`]
//! columns, `[columns/WIDTH][depth][WIDTH]`, so that a panel is read front to back.

use crate::LANES;
use crate::bf16::Bf16;
use crate::element::Element;
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
    /// A unit of one or two elements, times `scale`. Elements that are bf16 already stay as they are for a scale
    /// of 1.
    fn unit<E: Element>(scale: f32, even: E, odd: E) -> u32;
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
    fn unit<E: Element>(scale: f32, even: E, _: E) -> u32 {
        (scale * even.to_f32()).to_bits()
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
    fn unit<E: Element>(scale: f32, even: E, odd: E) -> u32 {
        if scale == 1.0 {
            u32::from(even.to_bf16().0) | u32::from(odd.to_bf16().0) << 16
        } else {
            Self::pack(scale * even.to_f32(), scale * odd.to_f32())
        }
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

/// `eˣ` for scores less their largest or their log-sum-exp, `x` not above 0 but for rounding: as
/// [`crate::activation::exp`] with one factor `2ⁿ` and one term less (1.2e-7), and 0 below −87.
#[inline(always)]
pub fn exp_of_difference(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let low = x < -87.0;
    let x = if low { -87.0 } else { x };
    let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    let mut polynomial = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        polynomial = r.mul_add(polynomial, coefficient);
    }
    let n = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32 - 127);
    let value = polynomial * f32::from_bits((n as u32) << 23);
    if low { 0.0 } else { value }
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

type Multiply = unsafe fn(*mut f32, *const u32, *const u32, &Shape);
type Narrow = unsafe fn(&mut [u32], &[f32]);

/// The tile product of a format on this processor, and the way into the format.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    multiply: Multiply,
    narrow: Narrow,
}

impl Product {
    /// The product for numbers of this kind.
    pub fn of(compute: Compute) -> Self {
        let (multiply, narrow): (Multiply, Narrow) = match (isa::current(), compute) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512Bf16, Compute::Bf16) => (avx512_bf16, avx512_narrow),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512 | Isa::Avx512Bf16, Compute::F32) => (avx512_f32, units::<Single>),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512 | Isa::Avx2, Compute::Bf16) => (avx2_bf16, avx2_narrow),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, Compute::F32) => (avx2_f32, units::<Single>),
            (_, Compute::Bf16) => (portable::<Pair, { cfg!(target_arch = "aarch64") }>, units::<Pair>),
            (_, Compute::F32) => (portable::<Single, { cfg!(target_arch = "aarch64") }>, units::<Single>),
        };
        Self { multiply, narrow }
    }

    /// Units along [`ROWS`] rows of `count` numbers that lie `from_row` apart; `to` holds them all, row after row.
    ///
    /// # Panics
    /// When `count` is no multiple of 16, or a slice does not fit.
    #[inline]
    pub fn narrow(self, to: &mut [u32], from: &[f32], from_row: usize, count: usize) {
        assert!(count.is_multiple_of(LANES), "rows of units");
        if count > 0 {
            let units = to.len() / ROWS;
            for r in 0..ROWS {
                // SAFETY: the function was chosen for this processor.
                unsafe { (self.narrow)(&mut to[r * units..(r + 1) * units], &from[r * from_row..][..count]) }
            }
        }
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
        unsafe { (self.multiply)(c.as_mut_ptr(), a.as_ptr(), b.as_ptr(), shape) }
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

/// Units along a row of an even number of values.
///
/// # Safety
/// It is always safe; the type is that of its like.
#[inline(always)]
unsafe fn units<F: Format>(to: &mut [u32], from: &[f32]) {
    assert_eq!(to.len() * F::VALUES, from.len(), "units of a row");
    for (to, from) in to.iter_mut().zip(from.chunks_exact(F::VALUES)) {
        *to = F::pack(from[0], from[F::VALUES - 1]);
    }
}

/// [`units`] of bf16 for 8 lanes.
///
/// # Safety
/// The processor has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2_narrow(to: &mut [u32], from: &[f32]) {
    // SAFETY: it is always safe.
    unsafe { units::<Pair>(to, from) }
}

/// [`units`] of bf16 by the processor's own rounding, which makes subnormal numbers 0.
///
/// # Safety
/// The processor has AVX-512 with BF16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn avx512_narrow(to: &mut [u32], from: &[f32]) {
    assert_eq!(to.len() * 2, from.len(), "units of a row");
    let (to, from) = (to.as_chunks_mut::<8>().0, from.as_chunks::<LANES>().0);
    for (to, from) in to.iter_mut().zip(from) {
        // SAFETY: both arrays are as long as what is read and written.
        unsafe {
            let narrow = _mm512_cvtneps_pbh(_mm512_loadu_ps(from.as_ptr()));
            _mm256_storeu_si256(to.as_mut_ptr().cast(), std::mem::transmute::<__m256bh, __m256i>(narrow));
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
    __m256bh, __m256i, __m512bh, __m512i, _mm256_storeu_si256, _mm512_add_ps, _mm512_castsi512_ps, _mm512_cvtneps_pbh,
    _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_storeu_ps,
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
