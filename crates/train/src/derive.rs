//! What is derived where the project file leaves it open, by `model.size` and the data.
//!
//! | | tiny | small | medium |
//! |---|---|---|---|
//! | `hidden`, where an input is not a bag | 32 | 64, 32 | 256, 128 |
//! | transformer input: width, layers, heads | 32, 1, 2 | 64, 2, 4 | 192, 4, 4 |
//! | language: width, layers, heads, context | 64, 2, 2, 64 | 128, 4, 4, 64 | 384, 6, 6, 256 |
//! | language: tokens to train on | 0.1 M | 2 M | 30 M |
//!
//! A `predict` model is linear where every input is a bag of n-grams, where there are fewer than
//! [`LINEAR_ROWS_MAX`] training rows, or where there is no intercept. The MLP of a transformer is 8/3
//! of its width, rounded to a multiple of 32, for the block of Llama, and 4 times its width for the others.

use base::project::{self, Architecture, ModelConfig, Optimizer, ProjectFile, Size};
use infer::description::{Columns, Encoding, Mlp, Norm, NormPlace, TransformerShape};
use kernels::gemm::Compute;

/// With fewer training rows a hidden layer has nothing to learn from.
pub(crate) const LINEAR_ROWS_MAX: u64 = 200;
/// Up to this many training rows, every step takes all of them.
const WHOLE_ROWS_MAX: u64 = 256;

fn by_size<T>(size: Size, tiny: T, small: T, medium: T) -> T {
    match size {
        Size::Tiny => tiny,
        Size::Small => small,
        Size::Medium => medium,
    }
}

/// The widths of the hidden layers.
pub(crate) fn hidden(model: &ModelConfig, columns: &Columns, rows: u64) -> Vec<usize> {
    if let Some(hidden) = &model.hidden {
        return hidden.iter().map(|width| *width as usize).collect();
    }
    let bags = columns.inputs.iter().all(|input| matches!(input.encoding, Encoding::Bag { .. }));
    if bags || rows < LINEAR_ROWS_MAX || !model.intercept {
        return Vec::new();
    }
    by_size(model.size, vec![32], vec![64, 32], vec![256, 128])
}

/// The transformer of a text input, and of a language model; it sees at most `positions` tokens.
pub(crate) fn transformer(model: &ModelConfig, vocabulary: usize, positions: usize, causal: bool) -> TransformerShape {
    let (width, layers, heads) = if causal {
        by_size(model.size, (64, 2, 2), (128, 4, 4), (384, 6, 6))
    } else {
        by_size(model.size, (32, 1, 2), (64, 2, 4), (192, 4, 4))
    };
    let width = model.width.map_or(width, |width| width as usize);
    let layers = model.layers.map_or(layers, |layers| layers as usize);
    // Where only the width is given, the heads follow it: the most of the table's that fit.
    let fits = |heads: &usize| width.is_multiple_of(*heads) && (width / heads).is_multiple_of(2);
    let heads = model.heads.map_or_else(|| (1..=heads).rev().find(fits).unwrap_or(1), |heads| heads as usize);
    let architecture = model.architecture.unwrap_or(Architecture::Llama);
    let llama = architecture == Architecture::Llama;
    let feed_forward = if llama { (width * 8 / 3).next_multiple_of(32) } else { 4 * width };
    let feed_forward = model.feed_forward.map_or(feed_forward, |width| width as usize);
    let key_value_heads = model.key_value_heads.map(|heads| heads as usize);
    let shape = TransformerShape::llama(vocabulary, width, layers, heads, feed_forward, causal);
    if llama {
        return TransformerShape { key_value_heads, ..shape };
    }
    let behind = architecture == Architecture::Bert;
    TransformerShape {
        key_value_heads,
        norm: Norm::LayerNorm,
        norm_place: if behind { NormPlace::After } else { NormPlace::Before },
        mlp: Mlp::Gelu,
        learned_positions: positions,
        biases: true,
        ..shape
    }
}

/// The longest sequence of a language model.
pub(crate) fn context(model: &ModelConfig) -> usize {
    model.context.map_or(by_size(model.size, 64, 64, 256), |context| context as usize)
}

/// What kind of model decides rates and lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Linear over numbers and categories.
    Linear,
    /// Linear over bags of n-grams.
    Bag,
    /// With hidden layers.
    Layers,
    /// With a transformer input.
    Encoder,
    /// A language model.
    Language,
}

/// The kind of a `predict` model.
pub(crate) fn kind(columns: &Columns, hidden: &[usize]) -> Kind {
    let any = |test: fn(&Encoding) -> bool| columns.inputs.iter().any(|input| test(&input.encoding));
    if any(|encoding| matches!(encoding, Encoding::Transformer { .. })) {
        Kind::Encoder
    } else if !hidden.is_empty() {
        Kind::Layers
    } else if any(|encoding| matches!(encoding, Encoding::Bag { .. })) {
        Kind::Bag
    } else {
        Kind::Linear
    }
}

/// Rows (or sequences of `context` tokens) a step.
pub(crate) fn batch_size(file: &ProjectFile, kind: Kind, rows: u64, context: usize) -> u32 {
    if let Some(batch) = file.train.batch_size {
        return batch;
    }
    match kind {
        Kind::Language => (1024 / context).max(1) as u32,
        Kind::Encoder => 32,
        _ if rows <= WHOLE_ROWS_MAX => rows.max(1) as u32,
        _ => (rows / 150).next_power_of_two().clamp(32, 256) as u32,
    }
}

/// Passes over the training split.
pub(crate) fn epochs(file: &ProjectFile, kind: Kind, rows: u64) -> u64 {
    if let Some(epochs) = file.train.epochs {
        return u64::from(epochs);
    }
    let size = file.model.size;
    match kind {
        Kind::Language => {
            let tokens = by_size(size, 100_000, 2_000_000, 30_000_000);
            (tokens / rows.max(1)).clamp(1, 20)
        }
        Kind::Encoder => by_size(size, 3, 10, 20),
        // All rows in one step: steps cost next to nothing, and a linear model wants its minimum.
        Kind::Linear if rows <= WHOLE_ROWS_MAX => 2000,
        _ if rows <= WHOLE_ROWS_MAX => 300,
        Kind::Bag => by_size(size, 5, 20, 30),
        Kind::Linear | Kind::Layers => by_size(size, 5, 20, 40),
    }
}

/// What computes the steps.
pub(crate) fn device(device: project::Device) -> nn::Device {
    match device {
        project::Device::Cpu => nn::Device::Cpu,
        project::Device::Cuda => nn::Device::Cuda,
        project::Device::Wgpu => nn::Device::Wgpu,
    }
}

/// The precision of products: bf16 for language models where the processor has instructions for it and is
/// what computes.
pub(crate) fn compute(file: &ProjectFile, kind: Kind) -> Compute {
    match file.train.compute {
        Some(project::Compute::F32) => Compute::F32,
        Some(project::Compute::Bf16) => Compute::Bf16,
        None if file.train.device != project::Device::Cpu => Compute::F32,
        None if kind == Kind::Language && kernels::isa::best() >= kernels::isa::Isa::Avx512Bf16 => Compute::Bf16,
        None => Compute::F32,
    }
}

/// The step size at its highest.
pub(crate) fn learning_rate(file: &ProjectFile, kind: Kind) -> f64 {
    if let Some(rate) = file.train.learning_rate {
        return rate;
    }
    let adam = match kind {
        Kind::Linear => 0.05,
        Kind::Bag => 0.02,
        Kind::Layers => 0.003,
        Kind::Encoder => 0.001,
        Kind::Language => 0.003,
    };
    match file.train.optimizer {
        Optimizer::Adam | Optimizer::Adamw => adam,
        Optimizer::Lion => adam / 5.0,
        // Its momentum multiplies the step by up to 1 / (1 − momentum).
        Optimizer::Rmsprop => adam * (1.0 - file.train.momentum),
        Optimizer::Sgd => match kind {
            Kind::Bag => 5.0,
            Kind::Language | Kind::Encoder => 0.1,
            Kind::Linear | Kind::Layers => 0.05,
        },
    }
}
