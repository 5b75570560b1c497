//! What a GGUF file says about its model, as a [`Plan`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::plan::{ARCHITECTURES, Architecture, CONTEXT_MAX, DIMENSIONS_MAX, GGUF_NAMES, LAYERS_MAX, Plan, SIZE_MAX};
use super::rope::Scaling;
use super::shelf::{Shelf, Tensor};
use super::{Packing, attention_dim};
use crate::engine::packed::Sizes;
use crate::error::InferError;
use crate::formats::gguf::{Gguf, Value};

/// Factors that some architectures have, and none of ours: what is not 1 would change the arithmetic.
const FACTORS: [&str; 4] = ["logit_scale", "residual_scale", "embedding_scale", "attention.scale"];

/// All tensors of a file but the factors of rotary positions.
pub(crate) fn shelf(file: &Gguf, packing: Packing) -> Shelf<'_> {
    let tensors: BTreeMap<_, _> = file
        .tensors()
        .iter()
        .filter(|(name, _)| *name != FREQUENCIES)
        .map(|(name, tensor)| {
            let bytes = Cow::Borrowed(file.bytes(tensor));
            (name.clone(), Tensor { shape: tensor.shape.clone(), encoding: tensor.encoding, bytes })
        })
        .collect();
    Shelf::new(file.path().to_owned(), tensors, packing)
}

const FREQUENCIES: &str = "rope_freqs.weight";

/// Reads the plan.
pub(crate) fn plan(file: &Gguf) -> Result<Plan, InferError> {
    let name = file.text("general.architecture")?;
    let Some(architecture) = ARCHITECTURES.into_iter().find(|known| known.gguf == Some(name)) else {
        let what = format!("its general.architecture is {name:?}; known here: {}", *GGUF_NAMES);
        return Err(file.unsupported(what));
    };
    let keys = Keys { file, name };
    if let Some(count) = keys.size("expert_count")?.filter(|count| *count > 0) {
        return Err(file.unsupported(format!("it has {count} experts, and mixtures of experts are not known here")));
    }
    for key in FACTORS {
        if let Some(factor) = keys.number(key)?.filter(|factor| (*factor - 1.0).abs() > 1e-9 && *factor != 0.0) {
            return Err(file.unsupported(format!("{name}.{key} is {factor}, which is not known here")));
        }
    }
    let width = keys.needed("embedding_length")?;
    let heads = keys.needed("attention.head_count")?;
    let kv_heads = keys.size("attention.head_count_kv")?.unwrap_or(heads);
    let dim = keys.size("attention.key_length")?.unwrap_or(width / heads.max(1));
    if keys.size("attention.value_length")?.is_some_and(|value| value != dim) {
        return Err(file.unfit("its values have other dimensions than its keys".to_owned()));
    }
    let layers = keys.needed("block_count")?;
    if layers > LAYERS_MAX {
        return Err(file.unfit(format!("it has {layers} layers")));
    }
    let tensor = |name: &str| file.tensors().get(name);
    let vocabulary = tensor("token_embd.weight").and_then(|tensor| tensor.shape.first()).copied().unwrap_or(0);
    let epsilon = ["attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"];
    let epsilon = [keys.number(epsilon[0])?, keys.number(epsilon[1])?].into_iter().flatten().next().unwrap_or(1e-5);
    let window = keys.size("attention.sliding_window")?.filter(|window| *window > 0);
    let has = |part: &str| {
        let [before, behind] = architecture.names(true).layer;
        tensor(&format!("{before}0{behind}{part}.bias")).is_some()
    };
    let plan = Plan {
        architecture,
        names: architecture.names(true),
        sizes: Sizes {
            vocabulary,
            width,
            heads,
            kv_heads,
            dim: attention_dim(dim),
            feed_forward: keys.needed("feed_forward_length")?,
            norm: architecture.norm,
            norm_epsilon: epsilon as f32,
            mlp: architecture.mlp,
            scale: 1.0 / (dim as f32).sqrt(),
            context: keys.needed("context_length")?.min(CONTEXT_MAX),
        },
        dim,
        windows: vec![window; layers],
        rotary: if architecture.learned_positions { None } else { Some(scaling(&keys, dim)?.1) },
        neighbours: architecture.neighbours_in_gguf,
        biases: [
            architecture.biases[0] || has("attn_q"),
            architecture.biases[1] || has("attn_output"),
            architecture.biases[1] || has("ffn_up"),
        ],
        tied: false,
    };
    check_positions(file, &architecture, &plan)?;
    plan.check().map_err(|what| file.unfit(what))?;
    Ok(plan)
}

/// A file with fewer learned positions than it says.
fn check_positions(file: &Gguf, architecture: &Architecture, plan: &Plan) -> Result<(), InferError> {
    let rows = file.tensors().get("position_embd.weight").and_then(|tensor| tensor.shape.first().copied());
    if architecture.learned_positions && rows != Some(plan.sizes.context) {
        return Err(file.unfit(format!("it has {rows:?} learned positions for a context of {}", plan.sizes.context)));
    }
    Ok(())
}

/// How positions are scaled, and what comes of it.
fn scaling(keys: &Keys<'_>, dim: usize) -> Result<(Scaling, crate::engine::packed::Rotary), InferError> {
    let file = keys.file;
    let wrong = |what: String| file.unfit(what);
    let turned = keys.size("rope.dimension_count")?.unwrap_or(dim);
    if turned == 0 || turned > dim || !turned.is_multiple_of(2) {
        return Err(wrong(format!("{turned} of {dim} dimensions of a head are turned")));
    }
    let base = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    let positive = |key: &str, value: f64| {
        if value.is_finite() && value > 0.0 { Ok(value) } else { Err(wrong(format!("{}.{key} is {value}", keys.name))) }
    };
    let base = positive("rope.freq_base", base)?;
    let kind = match file.pairs().get(&format!("{}.rope.scaling.type", keys.name)) {
        None => "none",
        Some(Value::Text(kind)) => kind.as_str(),
        Some(other) => return Err(wrong(format!("{}.rope.scaling.type is {other:?}", keys.name))),
    };
    let factor = match keys.number("rope.scaling.factor")? {
        None => keys.number("rope.scale_linear")?.unwrap_or(1.0),
        Some(factor) => factor,
    };
    // Files write 0 for a factor that does nothing.
    let factor = if factor == 0.0 { 1.0 } else { positive("rope.scaling.factor", factor)? };
    let scaling = match (kind, file.tensors().get(FREQUENCIES)) {
        ("none" | "linear", Some(tensor)) => {
            let mut factors = vec![0.0; turned / 2];
            if tensor.shape != [turned / 2] || tensor.encoding != kernels::quantised::Encoding::F32 {
                return Err(wrong(format!(
                    "tensor {FREQUENCIES} is {:?}, and should be [{}]",
                    tensor.shape,
                    turned / 2
                )));
            }
            tensor.encoding.dequantise(&mut factors, file.bytes(tensor));
            if let Some(factor) = factors.iter().find(|factor| !(factor.is_finite() && **factor > 0.0)) {
                return Err(wrong(format!("tensor {FREQUENCIES} holds {factor}")));
            }
            factors.iter_mut().for_each(|each| *each *= factor as f32);
            Scaling::Each(factors)
        }
        ("none", None) => Scaling::None,
        ("linear", None) => Scaling::Linear { factor },
        ("yarn", None) => {
            let original = keys.number_or_size("rope.scaling.original_context_length")?;
            let original =
                original.ok_or_else(|| wrong("it scales by YaRN without its original context".to_owned()))?;
            let or = |key: &str, value: f64| keys.number(key).map(|found| found.unwrap_or(value));
            let attention = keys.number("rope.scaling.attn_factor")?;
            // llama.cpp multiplies its own factor by the file's.
            let own = if factor > 1.0 { 0.1 * factor.ln() + 1.0 } else { 1.0 };
            Scaling::Yarn {
                factor,
                fast: positive("rope.scaling.yarn_beta_fast", or("rope.scaling.yarn_beta_fast", 32.0)?)?,
                slow: positive("rope.scaling.yarn_beta_slow", or("rope.scaling.yarn_beta_slow", 1.0)?)?,
                original: positive("rope.scaling.original_context_length", original)?,
                attention: attention.map(|attention| attention * own),
            }
        }
        (kind, _) => {
            let what = format!("{}.rope.scaling.type is {kind:?}; known here: none, linear, yarn", keys.name);
            return Err(file.unsupported(what));
        }
    };
    if turned > DIMENSIONS_MAX {
        return Err(file.unfit(format!("its heads have {turned} dimensions")));
    }
    let rotary = scaling.rotary(turned, base);
    Ok((scaling, rotary))
}

/// The values of an architecture.
struct Keys<'a> {
    file: &'a Gguf,
    name: &'a str,
}

impl Keys<'_> {
    fn size(&self, key: &str) -> Result<Option<usize>, InferError> {
        let size = self.file.size(&format!("{}.{key}", self.name))?;
        // What is larger would be made room for before it is compared with the weights.
        match size.filter(|size| *size > SIZE_MAX) {
            Some(size) => Err(self.file.unfit(format!("{}.{key} is {size}", self.name))),
            None => Ok(size),
        }
    }

    fn needed(&self, key: &str) -> Result<usize, InferError> {
        self.size(key)?.ok_or_else(|| self.file.unfit(format!("it has no {}.{key}", self.name)))
    }

    fn number(&self, key: &str) -> Result<Option<f64>, InferError> {
        self.file.number(&format!("{}.{key}", self.name))
    }

    fn number_or_size(&self, key: &str) -> Result<Option<f64>, InferError> {
        match self.number(key) {
            Ok(number) => Ok(number),
            Err(_) => Ok(self.size(key)?.map(|size| size as f64)),
        }
    }
}
