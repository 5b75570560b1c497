//! From the rows of a text to its vector, as sentence-transformers' files say.

use std::path::Path;

use serde_json::Value as Json;

use crate::error::InferError;
use crate::formats::safetensors::read_json;

const JSON_BYTES_MAX: u64 = 1 << 20;

/// How rows become a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pooling {
    /// The first row alone, or the mean of all.
    pub(super) first: bool,
    /// The vector is made as long as 1.
    pub(super) normalise: bool,
}

/// Reads `modules.json` and what it names, and the longest text in tokens.
pub(super) fn read(folder: &Path) -> Result<(Pooling, Option<usize>), InferError> {
    let optional = |name: &str| -> Result<Json, InferError> {
        let path = folder.join(name);
        if path.exists() { read_json(&path, JSON_BYTES_MAX) } else { Ok(Json::Null) }
    };
    let mut longest = None;
    for name in ["sentence_bert_config.json", "sentence_roberta_config.json"] {
        longest = longest.or(optional(name)?["max_seq_length"].as_u64());
    }
    // Files write huge numbers where nothing is known.
    let longest = match longest {
        None => optional("tokenizer_config.json")?["model_max_length"].as_u64(),
        found => found,
    };
    let longest = longest.and_then(|longest| usize::try_from(longest).ok());
    let path = folder.join("modules.json");
    let unfit = |what: String| InferError::Unfit { path: path.clone(), what };
    let unsupported = |what: String| InferError::Unsupported { path: path.clone(), what };
    let modules = optional("modules.json")?;
    let Json::Array(modules) = modules else {
        return Ok((Pooling { first: false, normalise: true }, longest));
    };
    let mut pooling = Pooling { first: false, normalise: false };
    for module in &modules {
        let kind = module["type"].as_str().unwrap_or_default();
        match kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" => {}
            "Normalize" => pooling.normalise = true,
            "Pooling" => {
                let place = module["path"].as_str().unwrap_or_default();
                if place.is_empty() || !place.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
                    return Err(unfit(format!("the path {place:?} of its pooling is no name of a folder beside it")));
                }
                pooling.first = first_alone(&optional(&format!("{place}/config.json"))?).map_err(unsupported)?;
            }
            _ => {
                return Err(unsupported(format!(
                    "it has a module {kind:?}; known here: Transformer, Pooling, Normalize"
                )));
            }
        }
    }
    Ok((pooling, longest))
}

/// Whether the first row is the vector; the mean is the other way that is known.
fn first_alone(json: &Json) -> Result<bool, String> {
    let mut modes: Vec<&str> = Vec::new();
    if let Some(mode) = json["pooling_mode"].as_str() {
        modes.push(mode);
    }
    for (key, value) in json.as_object().into_iter().flatten() {
        if let (Some(mode), true) = (key.strip_prefix("pooling_mode_"), value == true) {
            modes.push(mode.trim_end_matches("_tokens").trim_end_matches("_token"));
        }
    }
    match modes[..] {
        ["mean"] => Ok(false),
        ["cls"] => Ok(true),
        _ => Err(format!("its pooling is {modes:?}; known here: mean, cls")),
    }
}

impl Pooling {
    /// The vector of a sequence's rows.
    pub(super) fn vector(self, rows: &[f32], width: usize) -> Vec<f32> {
        let mut vector = vec![0.0; width];
        if self.first {
            vector.copy_from_slice(&rows[..width]);
        } else {
            rows.chunks_exact(width).for_each(|row| kernels::axpy(&mut vector, 1.0, row));
            let count = (rows.len() / width).max(1) as f32;
            vector.iter_mut().for_each(|value| *value /= count);
        }
        if self.normalise {
            let length = kernels::dot(&vector, &vector).sqrt().max(1e-12);
            vector.iter_mut().for_each(|value| *value /= length);
        }
        vector
    }
}
