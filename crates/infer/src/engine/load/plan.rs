//! Architectures as data: what each is called in each kind of file, what it has, and how a file's tensors become the
//! weights of the one decoder.

use std::sync::LazyLock;

use kernels::norm::Kind;

use super::shelf::{Matrix, Shelf};
use crate::engine::packed::{Layer, Linear, Mlp, NormWeights, Rotary, Sizes, Weights};
use crate::error::InferError;

/// No size of a model is larger; products of two still fit 64 bits.
pub(crate) const SIZE_MAX: usize = 1 << 28;
pub(crate) const LAYERS_MAX: usize = 1024;
/// No head has more dimensions.
pub(crate) const DIMENSIONS_MAX: usize = 1 << 16;
/// The longest sequence, whatever the file says.
pub(crate) const CONTEXT_MAX: usize = 1 << 17;

/// What an architecture has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Architecture {
    /// Its name in GGUF files, where it has one of its own.
    pub(crate) gguf: Option<&'static str>,
    /// Its class in `config.json`.
    pub(crate) class: &'static str,
    pub(crate) norm: Kind,
    /// The MLP where the file does not say.
    pub(crate) mlp: Mlp,
    /// Learned positions instead of rotary ones.
    pub(crate) learned_positions: bool,
    /// The rotated pairs of GGUF files lie beside each other.
    pub(crate) neighbours_in_gguf: bool,
    /// Norms of each head's queries and keys.
    pub(crate) head_norms: bool,
    /// Biases of queries, keys and values, and of all other products, where the file does not say.
    pub(crate) biases: [bool; 2],
    /// The window where `config.json` does not name any.
    pub(crate) window: Option<usize>,
    /// How its tensors are called in Hugging Face's folders.
    names: &'static Names,
}

const LLAMA: Architecture = Architecture {
    gguf: Some("llama"),
    class: "LlamaForCausalLM",
    norm: Kind::RootMeanSquare,
    mlp: Mlp::SwiGlu,
    learned_positions: false,
    neighbours_in_gguf: true,
    head_norms: false,
    biases: [false, false],
    window: None,
    names: &HUGGING_FACE,
};

/// Every architecture.
pub(crate) const ARCHITECTURES: [Architecture; 5] = [
    LLAMA,
    Architecture { gguf: None, class: "MistralForCausalLM", window: Some(4096), ..LLAMA },
    Architecture {
        gguf: Some("qwen2"),
        class: "Qwen2ForCausalLM",
        neighbours_in_gguf: false,
        biases: [true, false],
        ..LLAMA
    },
    Architecture {
        gguf: Some("qwen3"),
        class: "Qwen3ForCausalLM",
        neighbours_in_gguf: false,
        head_norms: true,
        ..LLAMA
    },
    Architecture {
        gguf: Some("gpt2"),
        class: "GPT2LMHeadModel",
        norm: Kind::Layer,
        mlp: Mlp::GeluTanh,
        learned_positions: true,
        neighbours_in_gguf: false,
        biases: [true, true],
        names: &GPT_2,
        ..LLAMA
    },
];

impl Architecture {
    /// How its tensors are called in this kind of file.
    pub(crate) fn names(&self, gguf: bool) -> &'static Names {
        if gguf { &GGUF } else { self.names }
    }
}

/// Every name in one kind of file, for messages.
pub(crate) static GGUF_NAMES: LazyLock<String> = LazyLock::new(|| listed(|architecture| architecture.gguf));
pub(crate) static CLASS_NAMES: LazyLock<String> = LazyLock::new(|| listed(|architecture| Some(architecture.class)));

fn listed(name: impl Fn(&Architecture) -> Option<&'static str>) -> String {
    ARCHITECTURES.iter().filter_map(name).collect::<Vec<_>>().join(", ")
}

/// Names of tensors, without `.weight` and `.bias`; those of a layer without what stands before each of them.
#[derive(Debug)]
pub(crate) struct Names {
    /// Whether queries, keys and values are one matrix (`query`), and matrices have rows and columns exchanged.
    joint: bool,
    transposed: bool,
    pub(crate) embedding: &'static str,
    positions: &'static str,
    norm: &'static str,
    pub(crate) head: &'static str,
    /// Before and behind the number of a layer.
    pub(crate) layer: [&'static str; 2],
    attention_norm: &'static str,
    pub(crate) query: &'static str,
    key: &'static str,
    value: &'static str,
    head_norms: [&'static str; 2],
    output: &'static str,
    mlp_norm: &'static str,
    gate: &'static str,
    up: &'static str,
    down: &'static str,
    /// What files hold besides, and no decoder needs: ends of names.
    spare: &'static [&'static str],
}

const GGUF: Names = Names {
    joint: false,
    transposed: false,
    embedding: "token_embd",
    positions: "position_embd",
    norm: "output_norm",
    head: "output",
    layer: ["blk.", "."],
    attention_norm: "attn_norm",
    query: "attn_q",
    key: "attn_k",
    value: "attn_v",
    head_norms: ["attn_q_norm", "attn_k_norm"],
    output: "attn_output",
    mlp_norm: "ffn_norm",
    gate: "ffn_gate",
    up: "ffn_up",
    down: "ffn_down",
    spare: &[],
};

const HUGGING_FACE: Names = Names {
    joint: false,
    transposed: false,
    embedding: "model.embed_tokens",
    positions: "",
    norm: "model.norm",
    head: "lm_head",
    layer: ["model.layers.", "."],
    attention_norm: "input_layernorm",
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    head_norms: ["self_attn.q_norm", "self_attn.k_norm"],
    output: "self_attn.o_proj",
    mlp_norm: "post_attention_layernorm",
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    down: "mlp.down_proj",
    spare: &["rotary_emb.inv_freq"],
};

const GPT_2: Names = Names {
    joint: true,
    transposed: true,
    embedding: "wte",
    positions: "wpe",
    norm: "ln_f",
    head: "lm_head",
    layer: ["h.", "."],
    attention_norm: "ln_1",
    query: "attn.c_attn",
    key: "",
    value: "",
    head_norms: ["", ""],
    output: "attn.c_proj",
    mlp_norm: "ln_2",
    gate: "",
    up: "mlp.c_fc",
    down: "mlp.c_proj",
    spare: &[".attn.bias", ".attn.masked_bias"],
};

/// What a file says about its model.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) architecture: Architecture,
    pub(crate) names: &'static Names,
    /// Sizes, whose `dim` is a multiple of 16.
    pub(crate) sizes: Sizes,
    /// The model's own dimensions of a head.
    pub(crate) dim: usize,
    /// The window of each layer.
    pub(crate) windows: Vec<Option<usize>>,
    pub(crate) rotary: Option<Rotary>,
    /// The rotated pairs lie beside each other.
    pub(crate) neighbours: bool,
    /// Biases of queries, keys and values; of what follows attention; and of the MLP.
    pub(crate) biases: [bool; 3],
    /// The embedding is the head, whatever else there is.
    pub(crate) tied: bool,
}

impl Plan {
    /// Sizes that every architecture checks the same way: `dim` of the model's own becomes one that attention takes.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Sizes { vocabulary, width, heads, kv_heads, feed_forward, context, norm_epsilon, .. } = self.sizes;
        for (name, size) in [
            ("tokens", vocabulary),
            ("width", width),
            ("heads", heads),
            ("heads of keys", kv_heads),
            ("dimensions of a head", self.dim),
            ("elements of the MLP", feed_forward),
            ("positions", context),
        ] {
            if size == 0 || size > SIZE_MAX {
                return Err(format!("it has {size} {name}"));
            }
        }
        let layers = self.windows.len();
        if layers == 0 || layers > LAYERS_MAX || !heads.is_multiple_of(kv_heads) || heads > width {
            return Err(format!("it has {layers} layers and {heads} heads with {kv_heads} of keys"));
        }
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !positive(f64::from(norm_epsilon)) || self.windows.contains(&Some(0)) {
            return Err(format!("its epsilon is {norm_epsilon}, its windows are {:?}", self.windows));
        }
        if let Some(rotary) = &self.rotary
            && !(positive(rotary.factor) && rotary.frequencies.iter().all(|turn| turn.is_finite()))
        {
            return Err("its rotary positions turn by what is no number".to_owned());
        }
        if self.architecture.head_norms && self.dim != self.sizes.dim {
            return Err(format!("it has norms of heads of {} dimensions, which are no multiple of 16", self.dim));
        }
        Ok(())
    }

    /// Takes the tensors of a decoder off the shelf.
    pub(crate) fn weights(&self, mut shelf: Shelf<'_>) -> Result<Weights, InferError> {
        let Sizes { vocabulary, width, context, .. } = self.sizes;
        let names = self.names;
        let weight = |name: &str| format!("{name}.weight");
        let embedding = shelf.matrix(&weight(names.embedding), vocabulary, width)?;
        let head = match weight(names.head) {
            name if !self.tied && shelf.has(&name) => Some(shelf.matrix(&name, vocabulary, width)?),
            name => {
                // A copy of the embedding, which some files hold.
                if shelf.has(&name) {
                    shelf.matrix(&name, vocabulary, width)?;
                }
                None
            }
        };
        let positions = if self.architecture.learned_positions {
            Some(shelf.floats(&weight(names.positions), &[context, width])?)
        } else {
            None
        };
        let layers = (0..self.windows.len()).map(|index| self.layer(&mut shelf, index)).collect::<Result<_, _>>()?;
        let norm = self.norm(&mut shelf, names.norm, width)?;
        let (embedding, head) = (shelf.pack(embedding), head.map(|head| shelf.pack(head)));
        shelf.finish(names.spare)?;
        Ok(Weights { embedding, positions, rotary: self.rotary.clone(), layers, norm, head })
    }

    fn layer(&self, shelf: &mut Shelf<'_>, index: usize) -> Result<Layer, InferError> {
        let Sizes { width, heads, kv_heads, feed_forward, mlp, .. } = self.sizes;
        let (names, dim) = (self.names, self.dim);
        let [before, behind] = names.layer;
        let name = |part: &str| format!("{before}{index}{behind}{part}");
        let [attention_bias, output_bias, mlp_bias] = self.biases;
        let (q, k) = (heads * dim, kv_heads * dim);
        let attention = if names.joint
            || !shelf.has(&format!("{}.weight", name(names.query))) && shelf.has(&name("attn_qkv.weight"))
        {
            let joint = if names.joint { name(names.query) } else { name("attn_qkv") };
            let all = self.matrix(shelf, &joint, q + 2 * k, width)?;
            let bias = if attention_bias { Some(shelf.vector(&format!("{joint}.bias"), q + 2 * k)?) } else { None };
            [0..q, q..q + k, q + k..q + 2 * k]
                .map(|rows| (all.rows(rows.clone()), bias.as_ref().map(|bias| bias[rows].to_vec())))
        } else {
            let mut one = |part: &str, rows| -> Result<_, InferError> {
                let matrix = self.matrix(shelf, &name(part), rows, width)?;
                let bias =
                    if attention_bias { Some(shelf.vector(&format!("{}.bias", name(part)), rows)?) } else { None };
                Ok((matrix, bias))
            };
            [one(names.query, q)?, one(names.key, k)?, one(names.value, k)?]
        };
        let [query, key, value] = attention;
        let query = self.heads(shelf, query, true)?;
        let key = self.heads(shelf, key, true)?;
        let value = self.heads(shelf, value, false)?;
        let output = self.matrix(shelf, &name(names.output), width, q)?;
        let output = shelf.padded(output, None, Some([dim, self.sizes.dim]))?;
        let output_bias =
            if output_bias { Some(shelf.vector(&format!("{}.bias", name(names.output)), width)?) } else { None };
        let output = Linear { weight: shelf.pack(output), bias: output_bias };
        let head_norms = if self.architecture.head_norms {
            let mut one = |part: &str| self.norm(shelf, &name(part), dim);
            Some([one(names.head_norms[0])?, one(names.head_norms[1])?])
        } else {
            None
        };
        let mut linear = |part: &str, rows: usize, columns: usize| -> Result<Linear, InferError> {
            let matrix = self.matrix(shelf, &name(part), rows, columns)?;
            let bias = if mlp_bias { Some(shelf.vector(&format!("{}.bias", name(part)), rows)?) } else { None };
            Ok(Linear { weight: shelf.pack(matrix), bias })
        };
        let gate = if mlp == Mlp::SwiGlu { Some(linear(names.gate, feed_forward, width)?) } else { None };
        let (up, down) = (linear(names.up, feed_forward, width)?, linear(names.down, width, feed_forward)?);
        Ok(Layer {
            attention_norm: self.norm(shelf, &name(names.attention_norm), width)?,
            query,
            key,
            value,
            head_norms,
            window: self.windows[index],
            output,
            mlp_norm: self.norm(shelf, &name(names.mlp_norm), width)?,
            gate,
            up,
            down,
        })
    }

    /// Queries, keys or values as attention takes them.
    fn heads(
        &self,
        shelf: &Shelf<'_>,
        (matrix, bias): (Matrix<'_>, Option<Vec<f32>>),
        turned: bool,
    ) -> Result<Linear, InferError> {
        let (dim, wide) = (self.dim, self.sizes.dim);
        let pairs = self.rotary.as_ref().map_or(0, |rotary| rotary.frequencies.len());
        let mut matrix = matrix;
        let mut bias = bias;
        if turned && self.neighbours && pairs > 0 {
            matrix = matrix.halves(dim, 2 * pairs);
            bias = bias.map(|bias| {
                let from = |place: usize| match place % dim {
                    within if within < 2 * pairs => place - within + within % pairs * 2 + within / pairs,
                    _ => place,
                };
                (0..bias.len()).map(|place| bias[from(place)]).collect()
            });
        }
        let matrix = shelf.padded(matrix, Some([dim, wide]), None)?;
        let bias = bias.map(|bias| {
            let padded = |head: &[f32]| [head, &vec![0.0; wide - dim]].concat();
            bias.chunks_exact(dim).flat_map(padded).collect()
        });
        Ok(Linear { weight: shelf.pack(matrix), bias })
    }

    fn matrix<'a>(
        &self,
        shelf: &mut Shelf<'a>,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Matrix<'a>, InferError> {
        let name = format!("{name}.weight");
        if self.names.transposed { shelf.transposed(&name, rows, columns) } else { shelf.matrix(&name, rows, columns) }
    }

    fn norm(&self, shelf: &mut Shelf<'_>, name: &str, size: usize) -> Result<NormWeights, InferError> {
        let weight = shelf.vector(&format!("{name}.weight"), size)?;
        let bias =
            if self.sizes.norm == Kind::Layer { Some(shelf.vector(&format!("{name}.bias"), size)?) } else { None };
        Ok(NormWeights { weight, bias })
    }
}
