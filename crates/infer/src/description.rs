//! What a model is, as `model.json` says it. `nn` builds the training graph from the same words that
//! the engine here computes with; a test holds both to the same outputs.
//!
//! # The `predict` model
//! Every input becomes features: a sparse list of `(index, value)` pairs (numbers, truth values,
//! categories, bags of n-grams), or a dense vector (a pooled transformer). All sparse features of
//! all inputs share one table, each input at its own `offset`. With `widths = hidden ++ [outputs]`:
//!
//! ```text
//! h0 = layer.0.bias + Σ value · features.weight[index] + Σ pooled · input.NAME.projection
//! hi = layer.i.bias + layer.i.weight ᵀ · relu(h(i−1))
//! ```
//!
//! and the last `h` is cut into the outputs in their order: one logit per label of a category, one
//! logit for a binary output, one standardised value for a number. With no hidden layer this is a
//! linear model.
//!
//! | tensor | shape | when |
//! |---|---|---|
//! | `features.weight` | `[sparse features of all inputs, widths[0]]` | there is a sparse input |
//! | `input.NAME.idf` | `[2 · buckets]` | bag inputs; from the dataset, not trained |
//! | `input.NAME.projection` | `[width, widths[0]]` | transformer inputs |
//! | `input.NAME.` + a transformer's tensors | see below | transformer inputs |
//! | `layer.i.weight` | `[widths[i−1], widths[i]]` | i ≥ 1 |
//! | `layer.i.bias` | `[widths[i]]` | `intercept` |
//!
//! # The transformer
//! By default the block of Llama: RMSNorm before attention and before the MLP, rotary embedding in the
//! two-halves form of Hugging Face, SwiGLU, no biases, a head tied to the embedding. Tensors have the
//! names and the `[out, in]` shapes of a Hugging Face `LlamaForCausalLM`: `model.embed_tokens.weight
//! [vocabulary, width]`, `model.layers.N.input_layernorm.weight [width]`,
//! `model.layers.N.self_attn.{q,k,v,o}_proj.weight`, `model.layers.N.post_attention_layernorm.weight`,
//! `model.layers.N.mlp.{gate,up,down}_proj.weight`, `model.norm.weight`. As an encoder it attends in
//! both directions, and the text's vector is the mean of the final outputs over its tokens.
//!
//! [`TransformerShape`] varies it by data, not by code: fewer heads of keys and values (grouped-query
//! attention), LayerNorm, an MLP without gate, learned positions (`model.embed_positions.weight
//! [positions, width]`), biases (`... .bias [out]`), norms behind the residual sums as in BERT
//! (`model.embed_norm` behind the embedding, `post_attention_layernorm` and `output_layernorm` in a layer,
//! and no others), and a head of its own
//! (`lm_head.weight [vocabulary, width]`).
//!
//! # Int8
//! With [`Weights::Int8`], each matrix `NAME` (every tensor of two dimensions) is stored as `NAME` in
//! `I8` and `NAME.scale` in `F32`, one scale a row: `weight[row][i] = scale[row] · q[row][i]`, with
//! `scale = max|row| / 127`. Vectors stay in `F32`.

use base::ColumnType;
use serde::{Deserialize, Serialize};

/// The version of the model folder's format.
pub const FORMAT: u32 = 1;
/// The file that describes the model.
pub const MODEL_FILE: &str = "model.json";
/// The file of weights.
pub const WEIGHTS_FILE: &str = "weights.safetensors";
/// The tokenizer, where there is one.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// The sketch of the training data that traffic is compared with.
pub const BASELINE_FILE: &str = "baseline.json";
/// Metrics on the test split, by name, as [`base::Measure`].
pub const METRICS_FILE: &str = "metrics.json";
/// The token that ends a document, and begins a completion from nothing.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// What `model.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelDescription {
    /// [`FORMAT`].
    pub format: u32,
    /// The program and version that made it, such as `yard 0.1.0`.
    pub made_by: String,
    /// The model's name.
    pub name: String,
    /// How weights are stored.
    pub weights: Weights,
    /// What it does.
    pub task: Task,
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// 32-bit floating point.
    F32,
    /// Eight-bit integers with one scale a row.
    Int8,
}

/// What a model does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Columns in, columns out.
    Predict(PredictDescription),
    /// Text in, text out.
    Language(LanguageDescription),
}

/// A model of columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictDescription {
    /// Inputs and outputs, with their fitted preprocessing.
    #[serde(flatten)]
    pub columns: Columns,
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Whether layers have biases.
    pub intercept: bool,
}

impl PredictDescription {
    /// The widths of all layers: the hidden ones and the outputs together.
    #[must_use]
    pub fn widths(&self) -> Vec<usize> {
        let mut widths = self.hidden.clone();
        widths.push(self.columns.outputs.iter().map(OutputDescription::width).sum());
        widths
    }
}

/// Inputs and outputs with their preprocessing, as the data stage fitted it (`preprocess.json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Columns {
    /// How text is cleaned, in training and in serving.
    pub clean: TextCleaning,
    /// The inputs in the order of the project file.
    pub inputs: Vec<InputDescription>,
    /// The outputs in the order of the project file.
    pub outputs: Vec<OutputDescription>,
}

impl Columns {
    /// The number of sparse features of all inputs.
    #[must_use]
    pub fn sparse_features(&self) -> usize {
        self.inputs.iter().map(InputDescription::sparse_features).sum()
    }
}

/// How text is cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextCleaning {
    /// Unicode normalisation form C.
    pub unicode: bool,
    /// Trim, and fold runs of blanks into one.
    pub whitespace: bool,
}

/// One input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputDescription {
    /// The column's name.
    pub name: String,
    /// The column's type.
    pub column_type: ColumnType,
    /// How it becomes features.
    pub encoding: Encoding,
    /// Where its sparse features begin in the shared table.
    pub offset: usize,
}

impl InputDescription {
    /// How many rows of the shared table it has.
    #[must_use]
    pub fn sparse_features(&self) -> usize {
        match &self.encoding {
            Encoding::Number { .. } => 2,
            Encoding::Binary { .. } => 3,
            Encoding::Category { labels } => labels.len() + 1,
            Encoding::Bag { buckets, .. } => 2 * *buckets as usize,
            Encoding::Transformer { .. } => 0,
        }
    }
}

/// How an input becomes features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Encoding {
    /// Feature 0 is `(x − mean) / deviation`; feature 1 is 1 where the number is missing.
    Number {
        /// The mean of the training split; 0 in a model without intercept.
        mean: f64,
        /// The standard deviation; without intercept, the root of the mean square. Never 0.
        deviation: f64,
    },
    /// Feature 0 is 1 for false, feature 1 for true, feature 2 where it is missing.
    Binary {
        /// How false and true are written in the source.
        labels: [String; 2],
    },
    /// Feature `i` is 1 for label `i`; the last feature is 1 for what training never saw, and for
    /// what is missing.
    Category {
        /// The labels of the training split, sorted.
        labels: Vec<String>,
    },
    /// Hashed bags of lower-case word n-grams (features `0..buckets`) and of character n-grams within
    /// words (`buckets..2·buckets`). A feature's value is `(1 + ln count) · idf`, and each of the two
    /// bags is scaled to length 1.
    Bag {
        /// Lengths of word n-grams, from and to.
        word_ngrams: [u32; 2],
        /// Lengths of character n-grams, from and to.
        character_ngrams: [u32; 2],
        /// Buckets of each of the two bags.
        buckets: u32,
    },
    /// A transformer encoder over tokens, pooled by the mean.
    Transformer {
        /// Its shape.
        shape: TransformerShape,
        /// Tokens beyond this many are cut.
        tokens_max: usize,
    },
}

/// One output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputDescription {
    /// The column's name.
    pub name: String,
    /// What it says.
    pub target: Target,
    /// The weight of its loss.
    pub weight: f64,
    /// Whether a binary output is trained by mean squared error (of the probability) instead of
    /// cross-entropy.
    pub squared: bool,
}

impl OutputDescription {
    /// How many values of the last layer it takes.
    #[must_use]
    pub fn width(&self) -> usize {
        match &self.target {
            Target::Category { labels } => labels.len(),
            Target::Binary { .. } | Target::Number { .. } => 1,
        }
    }
}

/// What an output says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Target {
    /// One of the labels, sorted.
    Category {
        /// The labels of the training split.
        labels: Vec<String>,
    },
    /// The probability of the second label.
    Binary {
        /// How false and true are written in the source.
        labels: [String; 2],
    },
    /// `value · deviation + mean`.
    Number {
        /// The mean of the training split; 0 in a model without intercept.
        mean: f64,
        /// The standard deviation; without intercept, the root of the mean square. Never 0.
        deviation: f64,
    },
}

/// A causal language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LanguageDescription {
    /// How text is cleaned.
    pub clean: TextCleaning,
    /// The transformer.
    pub shape: TransformerShape,
    /// The longest sequence in tokens.
    pub context: usize,
}

/// The shape of a transformer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransformerShape {
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads; each has `width / heads` dimensions, an even number.
    pub heads: usize,
    /// Heads of keys and values, each shared by a group of query heads (Ainslie et al. 2023). Without
    /// it, as many as `heads`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_value_heads: Option<usize>,
    /// Width of the MLP.
    pub feed_forward: usize,
    /// Base of the rotary embedding's angles.
    pub rope_theta: f32,
    /// Added to the mean square or the variance in norms.
    pub norm_epsilon: f32,
    /// Whether a token sees only those before it.
    pub causal: bool,
    /// The kind of the norms.
    #[serde(default, skip_serializing_if = "is_default")]
    pub norm: Norm,
    /// Where the norms stand.
    #[serde(default, skip_serializing_if = "is_default")]
    pub norm_place: NormPlace,
    /// The kind of the MLP.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mlp: Mlp,
    /// Learned positions instead of rotary embedding: so many; 0 is rotary embedding.
    #[serde(default, skip_serializing_if = "is_default")]
    pub learned_positions: usize,
    /// Whether projections (but not the head) have biases.
    #[serde(default, skip_serializing_if = "is_default")]
    pub biases: bool,
    /// Whether the head has a matrix of its own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub untied_head: bool,
}

/// The kind of a transformer's norms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// RMSNorm (Zhang and Sennrich 2019): a weight.
    #[default]
    RmsNorm,
    /// LayerNorm (Ba et al. 2016): a weight and a bias.
    LayerNorm,
}

/// Where a transformer's norms stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormPlace {
    /// Before attention and MLP, and once at the end.
    #[default]
    Before,
    /// Behind the residual sums, and once behind the embedding (BERT).
    After,
}

/// The kind of a transformer's MLP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mlp {
    /// `down(silu(gate(x)) · up(x))` (Shazeer 2020).
    #[default]
    SwiGlu,
    /// `down(gelu(up(x)))` with the tanh form of GELU (Hendrycks and Gimpel 2016), as GPT-2 has it.
    Gelu,
    /// `down(relu(up(x)))`.
    Relu,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl TransformerShape {
    /// The block of Llama with the given sizes: as many heads of keys and values as of queries, a tied
    /// head, angles on base 10,000.
    #[must_use]
    pub const fn llama(
        vocabulary: usize,
        width: usize,
        layers: usize,
        heads: usize,
        feed_forward: usize,
        causal: bool,
    ) -> Self {
        Self {
            vocabulary,
            width,
            layers,
            heads,
            key_value_heads: None,
            feed_forward,
            rope_theta: 10_000.0,
            norm_epsilon: 1e-5,
            causal,
            norm: Norm::RmsNorm,
            norm_place: NormPlace::Before,
            mlp: Mlp::SwiGlu,
            learned_positions: 0,
            biases: false,
            untied_head: false,
        }
    }

    /// Dimensions of a head.
    #[must_use]
    pub fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// Heads of keys and values.
    #[must_use]
    pub fn kv_heads(&self) -> usize {
        self.key_value_heads.unwrap_or(self.heads)
    }

    /// Width of all heads of keys, or of values.
    #[must_use]
    pub fn kv_width(&self) -> usize {
        self.kv_heads() * self.head_width()
    }

    /// Every tensor with its shape, in a fixed order; `prefix` stands before each name. Queries, keys and
    /// values stand behind each other, and so do gate and up, so that each can be one product.
    #[must_use]
    pub fn tensors(&self, prefix: &str) -> Vec<(String, Vec<usize>)> {
        let (width, inner) = (self.width, self.feed_forward);
        let mut all = vec![(format!("{prefix}model.embed_tokens.weight"), vec![self.vocabulary, width])];
        if self.learned_positions > 0 {
            all.push((format!("{prefix}model.embed_positions.weight"), vec![self.learned_positions, width]));
        }
        if self.norm_place == NormPlace::After {
            self.norm_tensors(&format!("{prefix}model.embed_norm"), &mut all);
        }
        for layer in 0..self.layers {
            let name = |name: &str| format!("{prefix}model.layers.{layer}.{name}");
            let before = self.norm_place == NormPlace::Before;
            if before {
                self.norm_tensors(&name("input_layernorm"), &mut all);
            }
            let kv = self.kv_width();
            let projections = [("q", width), ("k", kv), ("v", kv), ("o", width)];
            all.extend(
                projections.map(|(part, out)| (name(&format!("self_attn.{part}_proj.weight")), vec![out, width])),
            );
            if self.biases {
                all.extend(projections.map(|(part, out)| (name(&format!("self_attn.{part}_proj.bias")), vec![out])));
            }
            self.norm_tensors(&name("post_attention_layernorm"), &mut all);
            let mut mlp = vec![("up", inner, width), ("down", width, inner)];
            if self.mlp == Mlp::SwiGlu {
                mlp.insert(0, ("gate", inner, width));
            }
            all.extend(
                mlp.iter().map(|(part, out, into)| (name(&format!("mlp.{part}_proj.weight")), vec![*out, *into])),
            );
            if self.biases {
                all.extend(mlp.iter().map(|(part, out, _)| (name(&format!("mlp.{part}_proj.bias")), vec![*out])));
            }
            if !before {
                self.norm_tensors(&name("output_layernorm"), &mut all);
            }
        }
        if self.norm_place == NormPlace::Before {
            self.norm_tensors(&format!("{prefix}model.norm"), &mut all);
        }
        if self.untied_head {
            all.push((format!("{prefix}lm_head.weight"), vec![self.vocabulary, width]));
        }
        all
    }

    fn norm_tensors(&self, name: &str, all: &mut Vec<(String, Vec<usize>)>) {
        all.push((format!("{name}.weight"), vec![self.width]));
        if self.norm == Norm::LayerNorm {
            all.push((format!("{name}.bias"), vec![self.width]));
        }
    }

    /// The number of parameters.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.tensors("").iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}

impl ModelDescription {
    /// Every trained tensor with its shape, in a fixed order.
    #[must_use]
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        match &self.task {
            Task::Language(language) => language.shape.tensors(""),
            Task::Predict(predict) => predict.tensors(),
        }
    }

    /// The number of trained parameters.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}

impl PredictDescription {
    /// Every trained tensor with its shape, in a fixed order.
    #[must_use]
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let widths = self.widths();
        let mut all = Vec::new();
        if self.columns.sparse_features() > 0 {
            all.push(("features.weight".to_owned(), vec![self.columns.sparse_features(), widths[0]]));
        }
        for input in &self.columns.inputs {
            if let Encoding::Transformer { shape, .. } = &input.encoding {
                all.extend(shape.tensors(&format!("input.{}.", input.name)));
                all.push((format!("input.{}.projection", input.name), vec![shape.width, widths[0]]));
            }
        }
        for (index, width) in widths.iter().enumerate() {
            if index > 0 {
                all.push((format!("layer.{index}.weight"), vec![widths[index - 1], *width]));
            }
            if self.intercept {
                all.push((format!("layer.{index}.bias"), vec![*width]));
            }
        }
        all
    }
}
