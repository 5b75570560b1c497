//! Rows and prompts in, predictions and tokens out: the one code path that training evaluates with,
//! that `predict` and `serve` answer with, and that a packaged model runs.
//!
//! A model's folder is read by [`Model::load`]; [`description`] says what stands in it.
//!
//! **Invariant:** this crate knows no HTTP, no registry, no Burn.

pub mod bag;
pub mod clean;
pub mod description;
pub mod encoder;
pub mod engine;
pub mod error;
pub mod fit;
pub mod formats;
mod histogram;
pub mod language;
pub mod mapped;
pub mod metrics;
pub mod model;
pub mod predict;
pub mod preprocess;
pub mod sampling;
pub mod sketch;
pub mod tokenizer;
mod transformer;
pub mod weights;
mod words;

pub use description::{ModelDescription, PredictDescription, Task};
pub use error::InferError;
pub use histogram::Histogram;
pub use language::{Completion, FinishReason, Generator};
pub use model::{Engine, Model};
pub use predict::{Prediction, Predictor};
pub use sampling::Sampling;
pub use sketch::Sketch;
