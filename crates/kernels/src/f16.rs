//! The half-precision format of IEEE 754 (binary16): sign, 5 bits of exponent, 10 of fraction.
//!
//! Files of models and their scales use it; nothing is computed in it. The conversions follow F. Giesen,
//! "Float→half conversion" (2012).

use crate::isa::kernel;

/// A number in f16.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct F16(pub u16);

/// So many zeros, in memory that the system gives when it is first written.
#[must_use]
pub fn zeros(count: usize) -> Vec<F16> {
    let mut bits = std::mem::ManuallyDrop::new(vec![0_u16; count]);
    // SAFETY: F16 is its bits, of the same size and alignment, and the vector's parts are used once.
    unsafe { Vec::from_raw_parts(bits.as_mut_ptr().cast(), bits.len(), bits.capacity()) }
}

impl F16 {
    /// The nearest f16, ties to even; what is too large becomes infinite, what is not a number stays so.
    #[must_use]
    #[inline(always)]
    pub fn from_f32(value: f32) -> Self {
        /// The least f32 that is too large for any rounding to a finite f16, less half a step: 2¹⁶.
        const TOO_LARGE: u32 = (127 + 16) << 23;
        /// The least normal f16: 2⁻¹⁴.
        const NORMAL: u32 = (127 - 14) << 23;
        /// Adding this shifts the fraction of a subnormal number into its place, and rounds it.
        const SHIFT: u32 = ((127 - 15) + (23 - 10) + 1) << 23;
        let bits = value.to_bits();
        let sign = (bits >> 16) & 0x8000;
        let size = bits & 0x7fff_ffff;
        let large = if size > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
        let subnormal = (f32::from_bits(size) + f32::from_bits(SHIFT)).to_bits().wrapping_sub(SHIFT);
        let odd = (size >> 13) & 1;
        let normal = size.wrapping_sub((127 - 15) << 23).wrapping_add(0xfff + odd) >> 13;
        let found = if size >= TOO_LARGE {
            large
        } else if size < NORMAL {
            subnormal
        } else {
            normal
        };
        Self((found | sign) as u16)
    }

    /// The same number as `f32`.
    #[must_use]
    #[inline(always)]
    pub fn to_f32(self) -> f32 {
        let sign = u32::from(self.0 & 0x8000) << 16;
        let size = u32::from(self.0 & 0x7fff) << 13;
        let normal = size + ((127 - 15) << 23);
        // One more in the exponent, and the number that is implied by it taken off again.
        let subnormal = (f32::from_bits(normal + (1 << 23)) - f32::from_bits((127 - 14) << 23)).to_bits();
        let quiet = if size > 0x7c00 << 13 { 1 << 22 } else { 0 };
        let special = size | 0x7f80_0000 | quiet;
        let found = match size >> 23 {
            0 => subnormal,
            31 => special,
            _ => normal,
        };
        f32::from_bits(found | sign)
    }
}

kernel! {
    /// Rounds every element to f16.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn narrow(to: &mut [F16], from: &[f32]) {
        assert_eq!(to.len(), from.len());
        for (to, from) in to.iter_mut().zip(from) {
            *to = F16::from_f32(*from);
        }
    }
}

kernel! {
    /// Every element as `f32`.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn widen(to: &mut [f32], from: &[F16]) {
        assert_eq!(to.len(), from.len());
        for (to, from) in to.iter_mut().zip(from) {
            *to = from.to_f32();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest_and_ties_go_to_even() {
        let (step, least) = (2_f32.powi(-10), 2_f32.powi(-24));
        for (value, bits) in [
            (0.0, 0x0000),
            (-0.0, 0x8000),
            (1.0, 0x3c00),
            (1.0 + 0.5 * step, 0x3c00),
            (1.0 + 1.5 * step, 0x3c02),
            (-2.0, 0xc000),
            (65504.0, 0x7bff),
            (65519.9, 0x7bff),
            (65520.0, 0x7c00),
            (f32::MAX, 0x7c00),
            (f32::NEG_INFINITY, 0xfc00),
            (least, 0x0001),
            (0.5 * least, 0x0000),
            (0.500_1 * least, 0x0001),
            (1.5 * least, 0x0002),
            (1023.0 * least, 0x03ff),
            (1023.5 * least, 0x0400),
            (-1e-42, 0x8000),
        ] {
            assert_eq!(F16::from_f32(value).0, bits, "{value}");
        }
        assert!(F16::from_f32(f32::NAN).to_f32().is_nan());
    }

    #[test]
    fn every_f16_comes_back() {
        let all: Vec<F16> = (0..=u16::MAX).map(F16).collect();
        let mut wide = vec![0.0; all.len()];
        widen(&mut wide, &all);
        let mut back = vec![F16::default(); all.len()];
        narrow(&mut back, &wide);
        for (one, (back, wide)) in all.iter().zip(back.iter().zip(&wide)) {
            let exponent = i32::from(one.0 >> 10 & 31);
            let fraction = f64::from(one.0 & 0x3ff);
            let sign = if one.0 >> 15 == 1 { -1.0 } else { 1.0 };
            let expected = match exponent {
                0 => sign * fraction * 2_f64.powi(-24),
                31 if fraction == 0.0 => sign * f64::INFINITY,
                31 => f64::NAN,
                _ => sign * (1024.0 + fraction) * 2_f64.powi(exponent - 25),
            };
            assert!(f64::from(*wide) == expected || wide.is_nan() && expected.is_nan(), "{one:?} {wide} {expected}");
            assert!(one == back || wide.is_nan(), "{one:?} {back:?}");
        }
    }
}
