//! Products with quantised weights: the compute of an inference engine.
//!
//! [`Format`] describes blocks as GGUF files hold them.

mod format;
mod k;
mod legacy;

pub use format::Format;
