//! Products with quantised weights: the compute of an inference engine.
//!
//! [`Format`] describes blocks as GGUF files hold them. [`PackedMatrix`] is a matrix of such blocks (or of plain
//! numbers), interleaved by 16 rows for vectors and as large as in the file. [`Activations`] are rows of `f32`,
//! rounded to bytes block by block. [`multiply`] and its kin compute the products, of one row or many, with exact
//! sums in blocks and `f32` sums over blocks in a fixed order:
//!
//! **Invariant:** a row's result has the same bits alone, among any other rows, for any number of threads, and
//! (but for weights in bf16) on every instruction set.

mod activations;
mod floats;
mod format;
mod k;
mod legacy;
mod lines;
mod packed;
mod plain;
mod product;
mod round;
mod slab;
#[cfg(target_arch = "x86_64")]
mod stream;
#[cfg(target_arch = "x86_64")]
mod unpack;
#[cfg(target_arch = "x86_64")]
mod vectors;
#[cfg(target_arch = "x86_64")]
mod vnni;

pub use activations::Activations;
pub use format::Format;
pub use packed::{Encoding, PackedMatrix};
pub use product::{Product, multiply, multiply_add, multiply_all, multiply_swiglu};
