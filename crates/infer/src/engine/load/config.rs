//! What Hugging Face's `config.json` says about its model, as a [`Plan`].
//!
//! Keys that no decoder here computes with are refused where they say something other than what every model means
//! without them: nothing that changes the numbers is passed over.

use std::path::Path;

use serde_json::Value as Json;

use super::attention_dim;
use super::plan::{ARCHITECTURES, Architecture, CLASS_NAMES, CONTEXT_MAX, DIMENSIONS_MAX, LAYERS_MAX, Plan, SIZE_MAX};
use super::rope::Scaling;
use super::shelf::Shelf;
use crate::engine::packed::{Mlp, Rotary, Sizes};
use crate::error::InferError;

/// Keys that change what is computed, each with the values that do not.
const REFUSED: [(&str, &[&str]); 12] = [
    ("quantization_config", &[]),
    ("is_encoder_decoder", &["false"]),
    ("add_cross_attention", &["false"]),
    ("scale_attn_weights", &["true"]),
    ("scale_attn_by_inverse_layer_idx", &["false"]),
    ("attn_logit_softcapping", &[]),
    ("final_logit_softcapping", &[]),
    ("logit_scale", &["1", "1.0"]),
    ("num_local_experts", &["0"]),
    ("num_experts", &["0"]),
    ("embedding_multiplier", &["1", "1.0"]),
    ("residual_multiplier", &["1", "1.0"]),
];

/// A configuration, whose path stands in messages.
pub(crate) struct Config<'a> {
    pub(crate) path: &'a Path,
    pub(crate) json: &'a Json,
}

/// Reads the plan; `shelf` says what the configuration leaves open.
pub(crate) fn plan(config: &Config<'_>, shelf: &Shelf<'_>) -> Result<Plan, InferError> {
    let classes = config.json["architectures"].as_array().map(Vec::as_slice).unwrap_or_default();
    let known = |class: &Json| ARCHITECTURES.into_iter().find(|known| class.as_str() == Some(known.class));
    let Some(architecture) = classes.iter().find_map(known) else {
        let what = format!("its architectures are {}; known here: {}", Json::from(classes), *CLASS_NAMES);
        return Err(config.unsupported(what));
    };
    for (key, neutral) in REFUSED {
        let value = &config.json[key];
        if !value.is_null() && !neutral.contains(&value.to_string().as_str()) {
            return Err(config.unsupported(format!("{key} is {value}, which is not known here")));
        }
    }
    let width = config.needed(&["hidden_size", "n_embd"])?;
    let heads = config.needed(&["num_attention_heads", "n_head"])?;
    let kv_heads = config.size(&["num_key_value_heads"])?.unwrap_or(heads);
    let dim = config.size(&["head_dim"])?.unwrap_or(width / heads.max(1));
    let layers = config.needed(&["num_hidden_layers", "n_layer"])?;
    if layers > LAYERS_MAX {
        return Err(config.unfit(format!("it has {layers} layers")));
    }
    let inner = config.size(&["intermediate_size", "n_inner"])?;
    let inner = match (inner, architecture.learned_positions) {
        (Some(inner), _) => inner,
        (None, true) => 4 * width,
        (None, false) => config.needed(&["intermediate_size"])?,
    };
    let names = architecture.names(false);
    let embedding = shelf.shape(&format!("{}.weight", names.embedding)).and_then(|shape| shape.first());
    let [attention_bias, all] = architecture.biases;
    let attention = config.truth("attention_bias")?.unwrap_or(false);
    let plan = Plan {
        names,
        sizes: Sizes {
            vocabulary: embedding.copied().unwrap_or(0),
            width,
            heads,
            kv_heads,
            dim: attention_dim(dim),
            feed_forward: inner,
            norm: architecture.norm,
            norm_epsilon: config.number(&["rms_norm_eps", "layer_norm_epsilon"])?.unwrap_or(1e-6) as f32,
            mlp: mlp(config, &architecture)?,
            scale: 1.0 / (dim as f32).sqrt(),
            context: config.needed(&["max_position_embeddings", "n_positions"])?.min(CONTEXT_MAX),
        },
        dim,
        windows: windows(config, &architecture, layers)?,
        rotary: if architecture.learned_positions { None } else { Some(rotary(config, dim)?) },
        neighbours: false,
        biases: [
            attention_bias || attention,
            // Qwen's key means queries, keys and values alone in version 2.
            all || attention && !attention_bias,
            all || config.truth("mlp_bias")?.unwrap_or(false),
        ],
        tied: config.truth("tie_word_embeddings")?.unwrap_or(!shelf.has(&format!("{}.weight", names.head))),
        architecture,
    };
    plan.check().map_err(|what| config.unfit(what))?;
    if !plan.tied && !shelf.has(&format!("{}.weight", names.head)) {
        return Err(config.unfit(format!("tie_word_embeddings is false, and there is no tensor {}.weight", names.head)));
    }
    Ok(plan)
}

fn mlp(config: &Config<'_>, architecture: &Architecture) -> Result<Mlp, InferError> {
    let (key, value) = match (&config.json["hidden_act"], &config.json["activation_function"]) {
        (Json::Null, value) => ("activation_function", value),
        (value, _) => ("hidden_act", value),
    };
    let gated = architecture.mlp == Mlp::SwiGlu;
    match value.as_str() {
        None if value.is_null() => Ok(architecture.mlp),
        Some("silu" | "swish") if gated => Ok(Mlp::SwiGlu),
        Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") if !gated => Ok(Mlp::GeluTanh),
        Some("gelu") if !gated => Ok(Mlp::Gelu),
        _ => {
            let known = if gated { "silu" } else { "gelu_new, gelu_pytorch_tanh, gelu_fast, gelu" };
            Err(config.unsupported(format!("{key} is {value}; known here for {}: {known}", architecture.class)))
        }
    }
}

/// The window of each layer.
fn windows(config: &Config<'_>, architecture: &Architecture, layers: usize) -> Result<Vec<Option<usize>>, InferError> {
    let window = match &config.json["sliding_window"] {
        Json::Null if config.json.get("sliding_window").is_none() => architecture.window,
        Json::Null => None,
        _ => Some(config.needed(&["sliding_window"])?),
    };
    let used = config.truth("use_sliding_window")?.unwrap_or(architecture.window.is_some());
    let window = window.filter(|_| used);
    if let Some(types) = config.json["layer_types"].as_array() {
        if types.len() != layers {
            return Err(config.unfit(format!("it has {layers} layers and {} layer_types", types.len())));
        }
        let one = |kind: &Json| match kind.as_str() {
            Some("full_attention") => Ok(None),
            Some("sliding_attention") => match window {
                Some(window) => Ok(Some(window)),
                None => Err(config.unfit("it has layers of sliding_attention, and no sliding_window".to_owned())),
            },
            _ => Err(config
                .unsupported(format!("a layer is of the type {kind}; known here: full_attention, sliding_attention"))),
        };
        return types.iter().map(one).collect();
    }
    // Qwen's lower layers see everything.
    let below = if architecture.window.is_some() { 0 } else { config.size(&["max_window_layers"])?.unwrap_or(0) };
    Ok((0..layers).map(|layer| window.filter(|_| layer >= below)).collect())
}

fn rotary(config: &Config<'_>, dim: usize) -> Result<Rotary, InferError> {
    // The new form has everything in one place, the old one the base beside it.
    let empty = Json::Null;
    let given =
        [&config.json["rope_parameters"], &config.json["rope_scaling"]].into_iter().find(|given| !given.is_null());
    let given = given.unwrap_or(&empty);
    let scaled = Config { path: config.path, json: given };
    let base = match scaled.number(&["rope_theta"])? {
        Some(base) => base,
        None => config.number(&["rope_theta"])?.unwrap_or(10_000.0),
    };
    let part = match scaled.number(&["partial_rotary_factor"])? {
        Some(part) => part,
        None => config.number(&["partial_rotary_factor"])?.unwrap_or(1.0),
    };
    let turned = (dim as f64 * part) as usize;
    let fits = base.is_finite() && base > 0.0 && (0.0..=1.0).contains(&part) && turned.is_multiple_of(2);
    if !fits {
        return Err(config.unfit(format!("its rotary base is {base}, and {turned} of {dim} dimensions are turned")));
    }
    let kind = if given["rope_type"].is_null() { &given["type"] } else { &given["rope_type"] };
    let positive = |key: &str, otherwise: Option<f64>| match scaled.number(&[key])?.or(otherwise) {
        Some(value) if value.is_finite() && value > 0.0 => Ok(value),
        found => Err(config.unfit(format!("{key} of its rotary positions is {found:?}"))),
    };
    let scaling = match kind.as_str() {
        None if kind.is_null() => Scaling::None,
        Some("default") => Scaling::None,
        Some("linear") => Scaling::Linear { factor: positive("factor", None)? },
        Some("llama3") => Scaling::Llama3 {
            factor: positive("factor", None)?,
            low: positive("low_freq_factor", None)?,
            high: positive("high_freq_factor", None)?,
            original: positive("original_max_position_embeddings", None)?,
        },
        Some("yarn") => {
            let longest = config.number(&["max_position_embeddings"])?;
            let original = positive("original_max_position_embeddings", longest)?;
            let factor = positive("factor", longest.map(|longest| longest / original))?;
            let of = |scale: f64| if factor > 1.0 { 0.1 * scale * factor.ln() + 1.0 } else { 1.0 };
            let attention = match (scaled.number(&["mscale"])?, scaled.number(&["mscale_all_dim"])?) {
                (Some(one), Some(all)) if one != 0.0 && all != 0.0 => Some(of(one) / of(all)),
                _ => None,
            };
            if scaled.truth("truncate")? == Some(false) {
                return Err(
                    config.unsupported("truncate of its rotary positions is false, which is not known here".to_owned())
                );
            }
            Scaling::Yarn {
                factor,
                fast: positive("beta_fast", Some(32.0))?,
                slow: positive("beta_slow", Some(1.0))?,
                original,
                attention: scaled.number(&["attention_factor"])?.or(attention),
            }
        }
        _ => {
            let what =
                format!("its rotary positions are of the type {kind}; known here: default, linear, llama3, yarn");
            return Err(config.unsupported(what));
        }
    };
    if turned > DIMENSIONS_MAX {
        return Err(config.unfit(format!("its heads have {turned} dimensions")));
    }
    Ok(scaling.rotary(turned, base))
}

impl Config<'_> {
    /// The first size that is there.
    pub(crate) fn size(&self, keys: &[&str]) -> Result<Option<usize>, InferError> {
        let Some((key, value)) = self.first(keys) else { return Ok(None) };
        // What is larger would be made room for before it is compared with the weights.
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|size| *size <= SIZE_MAX);
        size.map(Some).ok_or_else(|| self.unfit(format!("{key} is {value}, which is no size")))
    }

    pub(crate) fn needed(&self, keys: &[&str]) -> Result<usize, InferError> {
        self.size(keys)?.ok_or_else(|| self.unfit(format!("it has no {}", keys[0])))
    }

    pub(crate) fn number(&self, keys: &[&str]) -> Result<Option<f64>, InferError> {
        let Some((key, value)) = self.first(keys) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.unfit(format!("{key} is {value}, which is no number")))
    }

    pub(crate) fn truth(&self, key: &str) -> Result<Option<bool>, InferError> {
        let Some((key, value)) = self.first(&[key]) else { return Ok(None) };
        value
            .as_bool()
            .map(Some)
            .ok_or_else(|| self.unfit(format!("{key} is {value}, which is neither true nor false")))
    }

    fn first<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, &Json)> {
        keys.iter().map(|key| (*key, &self.json[*key])).find(|(_, value)| !value.is_null())
    }

    /// An error about what is not known here.
    pub(crate) fn unsupported(&self, what: String) -> InferError {
        InferError::Unsupported { path: self.path.to_owned(), what }
    }

    pub(crate) fn unfit(&self, what: String) -> InferError {
        InferError::Unfit { path: self.path.to_owned(), what }
    }
}
