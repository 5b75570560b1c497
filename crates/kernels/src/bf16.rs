//! The brain floating point format: the upper half of an `f32`, with 8 bits of precision.

use crate::isa::kernel;

/// A number in bf16: sign, 8 bits of exponent, 7 of fraction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(pub u16);

impl Bf16 {
    /// The nearest bf16, ties to even; what is not a number stays so.
    #[must_use]
    #[inline(always)]
    pub fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        // A quiet bit keeps a not-a-number whose upper fraction is empty from turning into infinity.
        let special = (bits >> 16) | 0x40;
        Self(if value.is_nan() { special as u16 } else { (rounded >> 16) as u16 })
    }

    /// The same number as `f32`.
    #[must_use]
    #[inline(always)]
    pub fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

kernel! {
    /// Rounds every element to bf16.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn narrow(to: &mut [Bf16], from: &[f32]) {
        assert_eq!(to.len(), from.len());
        for (to, from) in to.iter_mut().zip(from) {
            *to = Bf16::from_f32(*from);
        }
    }
}

kernel! {
    /// Every element as `f32`.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn widen(to: &mut [f32], from: &[Bf16]) {
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
        for (value, bits) in [
            (0.0, 0x0000),
            (-0.0, 0x8000),
            (1.0, 0x3f80),
            (f32::from_bits(0x3f80_8000), 0x3f80), // half way between 1 and 1 + 2⁻⁷: the even one
            (f32::from_bits(0x3f81_8000), 0x3f82), // half way between 1 + 2⁻⁷ and 1 + 2⁻⁶
            (f32::from_bits(0x3f80_8001), 0x3f81),
            (f32::MAX, 0x7f80),
            (f32::INFINITY, 0x7f80),
            (f32::NEG_INFINITY, 0xff80),
        ] {
            assert_eq!(Bf16::from_f32(value).0, bits, "{value}");
        }
        assert!(Bf16::from_f32(f32::NAN).to_f32().is_nan());
        assert!(Bf16::from_f32(f32::from_bits(0x7f80_0001)).to_f32().is_nan());
    }

    #[test]
    fn every_bf16_comes_back() {
        let all: Vec<Bf16> = (0..=u16::MAX).map(Bf16).collect();
        let mut wide = vec![0.0; all.len()];
        widen(&mut wide, &all);
        let mut back = vec![Bf16::default(); all.len()];
        narrow(&mut back, &wide);
        for (one, (back, wide)) in all.iter().zip(back.iter().zip(&wide)) {
            assert!(one == back || wide.is_nan(), "{one:?} {back:?}");
        }
    }
}
