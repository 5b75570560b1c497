//! The types of `yard.toml`. The JSON Schema, the validator, the reference page and the tuner all
//! read these types; a doc comment here is what the user reads there.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::data::*;
pub use super::release::*;
use crate::value::ColumnType;

/// A project: one file that says what goes in, what comes out, and what must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectFile {
    /// The model's name in the registry: lower-case letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What kind of model to build.
    pub family: Family,
    /// The seed of every random choice. The same seed on the same machine gives the same model.
    #[serde(default)]
    pub seed: u32,
    /// Where the rows come from and how they are cleaned and split.
    pub data: DataConfig,
    /// The columns that go in (`predict` only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input: Vec<InputConfig>,
    /// The columns that come out (`predict` only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<OutputConfig>,
    /// The shape of the model.
    #[serde(default)]
    pub model: ModelConfig,
    /// How the model is trained.
    #[serde(default)]
    pub train: TrainConfig,
    /// A search for better settings. Without this table nothing is searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tune: Option<TuneConfig>,
    /// Make the model smaller. Without this table the model stays as trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compress: Option<CompressConfig>,
    /// Make an OCI image of the model. Without this table no image is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageConfig>,
    /// How the model is served.
    #[serde(default)]
    pub serve: ServeConfig,
    /// How served traffic is compared with the training data.
    #[serde(default)]
    pub monitor: MonitorConfig,
    /// What a version must show before it may become `champion`.
    #[serde(default)]
    pub rollout: RolloutConfig,
}

/// What kind of model to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Columns in, columns out.
    Predict,
    /// A causal language model, trained from scratch.
    Language,
}

/// One column that goes in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputConfig {
    /// The column's name.
    pub column: String,
    /// Its type. Without it, the type is inferred from the data and printed.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub column_type: Option<ColumnType>,
    /// How text becomes numbers (text only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder: Option<TextEncoder>,
    /// Lengths of word n-grams, from and to (bag only). Derived: `[1, 2]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word_ngrams: Option<[u32; 2]>,
    /// Lengths of character n-grams, from and to (bag only). Derived: `[2, 5]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub character_ngrams: Option<[u32; 2]>,
    /// How many buckets the n-grams of each kind are hashed into (bag only). Derived: 16384.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 4_194_304))]
    pub buckets: Option<u32>,
    /// The longest text in tokens; what lies beyond is cut (transformer only). Derived: 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub tokens_max: Option<u32>,
}

/// How text becomes numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TextEncoder {
    /// Hashed bags of word and character n-grams with TF-IDF weights: quick and strong.
    Bag,
    /// A small transformer encoder over byte-level BPE tokens, trained from scratch.
    Transformer,
}

/// One column that comes out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    /// The column's name.
    pub column: String,
    /// Its type: number, category or binary. Without it, the type is inferred and printed.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub column_type: Option<ColumnType>,
    /// What training minimises. Derived: `mse` for numbers, `cross_entropy` otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
    /// The weight of this output's loss among several outputs.
    #[serde(default = "one")]
    #[schemars(range(min = 0))]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// What training minimises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Mean squared error.
    Mse,
    /// Cross-entropy of the softmax (category) or of the logistic function (binary).
    CrossEntropy,
}

/// The shape of the model. Every size can be left out; it is then derived, and `yard plan` prints it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// One dial for every size that is not given.
    pub size: Size,
    /// Widths of the hidden layers of a `predict` model. Empty: a linear model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<u32>>,
    /// Whether a `predict` model has an intercept. Without one, inputs and outputs are scaled but not
    /// centred, so that the model passes through the origin.
    pub intercept: bool,
    /// The kind of the transformer's block. Derived: `llama`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// Width of the transformer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8, max = 8192))]
    pub width: Option<u32>,
    /// Layers of the transformer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 128))]
    pub layers: Option<u32>,
    /// Attention heads of the transformer; they must divide the width into even parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 128))]
    pub heads: Option<u32>,
    /// Heads of keys and values, each shared by a group of query heads. Derived: as many as `heads`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 128))]
    pub key_value_heads: Option<u32>,
    /// Width of the transformer's MLP. Derived: 8/3 of the width for `llama`, 4 times the width otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8, max = 65_536))]
    pub feed_forward: Option<u32>,
    /// The longest sequence in tokens (`language` only).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8, max = 32_768))]
    pub context: Option<u32>,
    /// Size of the byte-level BPE vocabulary.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 257, max = 65_536))]
    pub vocabulary: Option<u32>,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            size: Size::Small,
            hidden: None,
            intercept: true,
            architecture: None,
            width: None,
            layers: None,
            heads: None,
            key_value_heads: None,
            feed_forward: None,
            context: None,
            vocabulary: None,
        }
    }
}

/// The kind of a transformer's block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// RMSNorm before attention and MLP, rotary positions, SwiGLU, no biases.
    Llama,
    /// LayerNorm before attention and MLP, learned positions, GELU, biases.
    Gpt2,
    /// LayerNorm behind attention and MLP, learned positions, GELU, biases: for text inputs.
    Bert,
}

/// One dial for every size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// For tests: seconds on a laptop.
    Tiny,
    /// Minutes on two cores.
    Small,
    /// An hour on two cores.
    Medium,
}

/// How the model is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// The rule of the update.
    pub optimizer: Optimizer,
    /// The step size at its highest. Derived from the model where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub learning_rate: Option<f64>,
    /// Momentum of SGD and of RMSprop.
    #[schemars(range(min = 0, max = 0.9999))]
    pub momentum: f64,
    /// Decoupled weight decay of AdamW and Lion.
    #[schemars(range(min = 0))]
    pub weight_decay: f64,
    /// Tensors that are trained otherwise than the rest. Of several groups that fit, the last one counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<GroupConfig>,
    /// L1 penalty on weights (not on intercepts).
    #[schemars(range(min = 0))]
    pub l1: f64,
    /// L2 penalty on weights (not on intercepts), added to the loss as half its square.
    #[schemars(range(min = 0))]
    pub l2: f64,
    /// How the step size falls after the warm-up.
    pub schedule: Schedule,
    /// The share of all steps over which the step size rises from zero.
    #[schemars(range(min = 0, max = 1))]
    pub warmup: f64,
    /// The share of all steps over which `warmup_stable_decay` falls at the end.
    #[schemars(range(min = 0, max = 1))]
    pub cooldown: f64,
    /// Rows (or sequences) a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_536))]
    pub batch_size: Option<u32>,
    /// In how many parts the batch of a step goes through the model, one after the other: less memory,
    /// the same step. Derived from `memory_bytes_max` where that is given, 1 otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_536))]
    pub accumulate: Option<u32>,
    /// The memory that training may take, estimated: where the batch needs more, it goes through the model
    /// in parts, and if that is not enough, activations are computed again in the backward pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1_048_576))]
    pub memory_bytes_max: Option<u64>,
    /// Keep only the inputs of transformer layers and compute the rest again in the backward pass: less
    /// memory, a third more arithmetic. Derived from `memory_bytes_max` where that is given, false otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recompute_activations: Option<bool>,
    /// In what precision matrix products and attention are computed; weights and sums are always `f32`.
    /// Derived: `bf16` for language models where the processor has instructions for it and `device` is `cpu`,
    /// `f32` otherwise. On `cuda` the results of products are rounded to `bf16` too; `wgpu` has no `bf16`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute: Option<Compute>,
    /// What computes the steps of transformers and of hidden layers. A GPU needs a `yard` built with the feature
    /// of that name. The optimiser, sums over sparse features and linear models stay on the CPU, as do test
    /// metrics and serving. On a GPU a repeated run need not give the same bits. `cuda` takes the first GPU
    /// that the driver shows (`CUDA_VISIBLE_DEVICES` chooses), `wgpu` any with Vulkan, Metal or DirectX 12.
    pub device: Device,
    /// How documents become sequences (`language` only).
    pub packing: Packing,
    /// Decay of the moving average of the weights, which is validated and kept instead of the last
    /// weights. 0: no average.
    #[schemars(range(min = 0, max = 0.999_999))]
    pub average_decay: f64,
    /// A loss this many times the recent median, or one that is no number, counts as a mishap: training goes
    /// back to its last checkpoint and on with half the learning rate. 0: only what is no number.
    #[schemars(range(min = 0))]
    pub spike_factor: f64,
    /// After this many mishaps training fails. 0: at the first one.
    #[schemars(range(min = 0, max = 100))]
    pub retries: u32,
    /// Passes over the training split.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub epochs: Option<u32>,
    /// Stop after this many epochs without a better validation loss, and keep the best. 0: never.
    pub patience: u32,
    /// Gradients longer than this (all of them as one vector) are scaled down to it. 0: never.
    #[schemars(range(min = 0))]
    pub clip_norm: f64,
    /// The share of hidden units that a training step leaves out.
    #[schemars(range(min = 0, max = 0.9))]
    pub dropout: f64,
    /// Seconds between checkpoints. A killed run continues from its last one.
    #[schemars(range(min = 1))]
    pub checkpoint_seconds: u32,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            optimizer: Optimizer::Adamw,
            learning_rate: None,
            momentum: 0.9,
            weight_decay: 0.0,
            group: Vec::new(),
            l1: 0.0,
            l2: 0.0,
            schedule: Schedule::Cosine,
            warmup: 0.05,
            cooldown: 0.2,
            batch_size: None,
            accumulate: None,
            memory_bytes_max: None,
            recompute_activations: None,
            compute: None,
            device: Device::Cpu,
            packing: Packing::Stream,
            average_decay: 0.0,
            spike_factor: 0.0,
            retries: 0,
            epochs: None,
            patience: 0,
            clip_norm: 1.0,
            dropout: 0.0,
            checkpoint_seconds: 30,
        }
    }
}

/// Tensors that are trained otherwise than the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    /// Which: a part of the tensor's name, with `*` for any characters, such as `embed_tokens` or
    /// `layers.0.*norm`.
    pub tensors: String,
    /// Their weight decay instead of `train.weight_decay`; also of vectors, which otherwise have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub weight_decay: Option<f64>,
    /// What their learning rate is multiplied by; 0 leaves them as they are.
    #[serde(default = "one")]
    #[schemars(range(min = 0))]
    pub learning_rate_factor: f64,
}

/// In what precision products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compute {
    /// 32-bit floating point.
    F32,
    /// Inputs rounded to the brain floating point format (8 bits of precision), sums in 32 bits.
    Bf16,
}

/// What computes the steps of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// The processor.
    Cpu,
    /// The first NVIDIA GPU that the driver shows (`CUDA_VISIBLE_DEVICES` chooses).
    Cuda,
    /// Any GPU with Vulkan, Metal or DirectX 12. `compute = "bf16"` is refused.
    Wgpu,
}

/// How documents become sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// All documents in a row are cut into sequences of the context's length; a sequence may hold several.
    Stream,
    /// Every document is a sequence of its own (long ones are cut); short ones share a place in the batch
    /// without seeing each other, and nothing is padded.
    Documents,
}

/// The rule of the update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam (Kingma & Ba 2015).
    Adam,
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    Adamw,
    /// RMSprop (Hinton 2012).
    Rmsprop,
    /// The sign of a momentum, with decoupled weight decay (Chen et al. 2023).
    Lion,
}

/// How the step size falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// It does not.
    Constant,
    /// In a straight line to zero.
    Linear,
    /// Along half a cosine to zero.
    Cosine,
    /// With one over the square root of the step (Vaswani et al. 2017).
    InverseSquareRoot,
    /// It stays, and falls in a straight line to zero over the last `train.cooldown` of all steps (Hu et al.
    /// 2024).
    WarmupStableDecay,
}

/// A search for better settings, judged on the validation split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TuneConfig {
    /// How many settings to try.
    #[schemars(range(min = 1, max = 10_000))]
    pub trials: u32,
    /// How the next setting is chosen.
    #[serde(default = "default_sampler")]
    pub sampler: Sampler,
    /// Stop a trial whose validation loss is worse than the median of the others at the same epoch.
    #[serde(default = "yes")]
    pub stop_early: bool,
    /// What is searched: a key of this file, such as `"train.learning_rate"`, and its range.
    pub search: BTreeMap<String, SearchRange>,
}

fn default_sampler() -> Sampler {
    Sampler::Tpe
}

fn yes() -> bool {
    true
}

/// How the next setting is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// At random.
    Random,
    /// Tree-structured Parzen estimator (Bergstra et al. 2011).
    Tpe,
}

/// The range of one key: `low` and `high` for numbers, `choices` for names, numbers or truth values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRange {
    /// The lowest value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// The highest value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// Whether the search is even in the logarithm.
    #[serde(default)]
    pub log: bool,
    /// The values to choose from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<serde_json::Value>>,
}
