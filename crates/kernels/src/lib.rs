//! SIMD compute on plain slices: products, norms, activations, softmax, optimiser steps.
//!
//! Each kernel is written once, in plain Rust over blocks of [`LANES`] values, and compiled once per
//! instruction set ([`isa`] chooses at run time). Every kernel fixes the order of its operations (16
//! partial sums, fused multiply-adds, one tree at the end, an exponential of our own), so that **a
//! result has the same bits on every instruction set**, in every batch and on every thread; the tests
//! hold each kernel to that, and to a plain reference in double precision.
//!
//! Kernels for training that compute in [`bf16`] or through a packed matrix product promise less: the
//! same bits for any number of threads ([`parallel`]), and answers within rounding of the reference
//! between instruction sets, because the hardware's bf16 products round in their own way.
//!
//! Shapes are the caller's promise: a kernel panics when slices do not fit each other. Not a number
//! goes in, not a number comes out. The crate knows no framework and no file.

pub mod activation;
pub mod attention;
pub mod bf16;
pub mod convolution;
pub mod cross_entropy;
pub mod element;
pub mod embedding;
pub mod f16;
pub mod gemm;
pub mod isa;
pub mod limit;
pub mod linear;
pub mod norm;
pub mod optimizer;
pub mod parallel;
pub mod pointwise;
pub mod pooling;
pub mod position;
pub mod quantised;
pub mod recurrent;
pub mod rows;
pub mod step;
pub mod vector;

pub use activation::{log_sum_exp, relu, rms_norm, rotary, sigmoid, silu, softmax, swiglu};
pub use linear::{add_rows, add_rows_int8, linear, linear_int8};
pub use vector::{axpy, dot, dot_int8, global_norm};

/// The number of partial sums of every reduction; also the width that loops are cut into.
pub const LANES: usize = 16;
