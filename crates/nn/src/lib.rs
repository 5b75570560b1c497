//! The models that [`infer::description`] describes, as graphs that can be trained: a batch and plain
//! parameter vectors in, a loss and plain gradient vectors out.
//!
//! Burn does matrix products and automatic differentiation in here and is seen by no other crate. The
//! trainer owns the parameters as plain vectors, so that checkpoints, exact resume and export need
//! nothing of Burn. What would be the bottleneck has a hand-written backward pass: sparse sums,
//! embeddings, transformer layers, the tied head, the losses. On another [`Device`] than the CPU the same
//! models are composed of Burn's operations.
//!
//! **Invariant:** no files, no stages, no config. On the CPU results depend on neither time nor threads.

mod composed;
pub mod device;
mod dropout;
mod graph;
pub mod language;
pub mod loss;
pub mod predict;
pub mod random;
mod tensors;
mod transformer;

pub use device::{Device, DeviceError};
pub use dropout::Dropout;
pub use loss::Targets;
pub use tensors::{Ready, Sink, Tensor, Tensors, initial};
pub use transformer::{Options, Workspace};

#[cfg(test)]
mod tests;
