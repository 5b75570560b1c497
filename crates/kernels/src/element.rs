//! What tensors are made of: `f32`, or bf16 where half the memory is worth three digits.
//!
//! Kernels that are generic over [`Element`] read and write either; they compute in `f32` all the same.

use crate::bf16::Bf16;
use crate::gemm::{Data, DataMut};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for crate::bf16::Bf16 {}
}

/// An element of a tensor.
pub trait Element: sealed::Sealed + Copy + Default + PartialEq + Send + Sync + std::fmt::Debug + 'static {
    /// The number.
    fn to_f32(self) -> f32;
    /// The nearest element, ties to even.
    fn from_f32(value: f32) -> Self;
    /// The number in bf16.
    fn to_bf16(self) -> Bf16;
    /// Elements to read.
    fn data(elements: &[Self]) -> Data<'_>;
    /// Elements to write.
    fn data_mut(elements: &mut [Self]) -> DataMut<'_>;
}

impl Element for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn to_bf16(self) -> Bf16 {
        Bf16::from_f32(self)
    }

    fn data(elements: &[Self]) -> Data<'_> {
        Data::F32(elements)
    }

    fn data_mut(elements: &mut [Self]) -> DataMut<'_> {
        DataMut::F32(elements)
    }
}

impl Element for Bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        Self::to_f32(self)
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        Self::from_f32(value)
    }

    #[inline(always)]
    fn to_bf16(self) -> Bf16 {
        self
    }

    fn data(elements: &[Self]) -> Data<'_> {
        Data::Bf16(elements)
    }

    fn data_mut(elements: &mut [Self]) -> DataMut<'_> {
        DataMut::Bf16(elements)
    }
}
