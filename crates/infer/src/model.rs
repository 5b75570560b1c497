//! A model's folder: read, checked in every part, and made into an engine.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Deserialize;

use crate::description::{
    Columns, Encoding, FORMAT, LanguageDescription, MODEL_FILE, ModelDescription, PredictDescription, TOKENIZER_FILE,
    Target, Task, TransformerShape, WEIGHTS_FILE, Weights,
};
use crate::error::InferError;
use crate::language::Generator;
use crate::predict::Predictor;
use crate::preprocess::Preprocessor;
use crate::tokenizer::TextTokenizer;
use crate::weights::{self, Shelf, Tensor};

/// The largest `model.json` that is read.
const DESCRIPTION_BYTES_MAX: u64 = 256 << 20;
/// No size of a model is larger. Products of two sizes still fit 64 bits.
const SIZE_MAX: usize = 1 << 28;
/// The most layers.
const LAYERS_MAX: usize = 1024;

/// A model ready to answer; it may be shared among threads.
#[derive(Debug)]
pub struct Model {
    description: ModelDescription,
    engine: Engine,
    bytes: u64,
}

/// What a model computes with.
#[derive(Debug)]
pub enum Engine {
    /// Columns in, columns out.
    Predict(Predictor),
    /// Text in, text out.
    Language(Generator),
}

impl Model {
    /// Loads a model's folder: `model.json`, `weights.safetensors` and, where it is needed,
    /// `tokenizer.json`.
    ///
    /// # Errors
    /// [`InferError`] when a file is missing, damaged, of another format, or does not fit the others.
    pub fn load(folder: &Path) -> Result<Self, InferError> {
        let description = read_description(folder)?;
        let tokenizer =
            if needs_tokenizer(&description) { Some(TextTokenizer::load(&folder.join(TOKENIZER_FILE))?) } else { None };
        let path = folder.join(WEIGHTS_FILE);
        Self::assemble(description, weights::read(&path)?, tokenizer, &path)
    }

    /// A model from its parts, without files; what is checked is the same.
    ///
    /// # Errors
    /// [`InferError::Unfit`] when the parts do not fit each other.
    pub fn from_parts(
        description: ModelDescription,
        tensors: BTreeMap<String, Tensor>,
        tokenizer: Option<TextTokenizer>,
    ) -> Result<Self, InferError> {
        check(&description).map_err(|what| InferError::Unfit { path: MODEL_FILE.into(), what })?;
        Self::assemble(description, tensors, tokenizer, Path::new(WEIGHTS_FILE))
    }

    /// What the model is.
    #[must_use]
    pub fn description(&self) -> &ModelDescription {
        &self.description
    }

    /// What it computes with.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// How much memory its weights take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn assemble(
        description: ModelDescription,
        tensors: BTreeMap<String, Tensor>,
        tokenizer: Option<TextTokenizer>,
        path: &Path,
    ) -> Result<Self, InferError> {
        let unfit = |what: &str| InferError::Unfit { path: path.with_file_name(TOKENIZER_FILE), what: what.to_owned() };
        for shape in shapes(&description) {
            let found = tokenizer.as_ref().map(TextTokenizer::vocabulary_size);
            if found != Some(shape.vocabulary) {
                let found = found.map_or_else(|| "no tokenizer".to_owned(), |found| format!("{found} tokens"));
                return Err(unfit(&format!("there is {found}, and the model has {}", shape.vocabulary)));
            }
        }
        let bytes = tensors.values().map(Tensor::bytes).sum();
        let mut shelf = Shelf::new(tensors, path, description.weights == Weights::Int8);
        let engine = match &description.task {
            Task::Predict(predict) => {
                let idf = take_idf(&predict.columns, &mut shelf)?;
                let preprocessor = Preprocessor::new(predict.columns.clone(), idf, tokenizer)?;
                Engine::Predict(Predictor::new(predict.clone(), preprocessor, &mut shelf)?)
            }
            Task::Language(language) => {
                let tokenizer = tokenizer.ok_or_else(|| unfit("there is no tokenizer"))?;
                Engine::Language(Generator::new(language.clone(), tokenizer, &mut shelf)?)
            }
        };
        shelf.finish()?;
        Ok(Self { description, engine, bytes })
    }
}

/// Writes `model.json` and `weights.safetensors` into a folder. The same model gives the same bytes.
///
/// # Errors
/// [`InferError::Io`] when they cannot be written.
pub fn write(
    folder: &Path,
    description: &ModelDescription,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<(), InferError> {
    let path = folder.join(MODEL_FILE);
    let mut json = serde_json::to_vec_pretty(description)
        .map_err(|error| InferError::io("write", &path)(std::io::Error::other(error)))?;
    json.push(b'\n');
    base::files::write_atomically(&path, &json).map_err(InferError::io("write", &path))?;
    weights::write(&folder.join(WEIGHTS_FILE), tensors)
}

/// Reads and checks `model.json`.
///
/// # Errors
/// [`InferError`] when it is missing, damaged, of another format, or describes no possible model.
pub fn read_description(folder: &Path) -> Result<ModelDescription, InferError> {
    #[derive(Deserialize)]
    struct Head {
        format: u64,
    }
    let path = folder.join(MODEL_FILE);
    let length = std::fs::metadata(&path).map_err(InferError::io("open", &path))?.len();
    if length > DESCRIPTION_BYTES_MAX {
        return Err(InferError::damaged(&path)(format!("it has {length} bytes")));
    }
    let bytes = std::fs::read(&path).map_err(InferError::io("read", &path))?;
    // A model of another format may have other fields: its format is read before them.
    let head: Head = serde_json::from_slice(&bytes).map_err(InferError::damaged(&path))?;
    if head.format != u64::from(FORMAT) {
        return Err(InferError::Format { path, found: head.format, known: FORMAT });
    }
    let description = serde_json::from_slice(&bytes).map_err(InferError::damaged(&path))?;
    check(&description).map_err(|what| InferError::Unfit { path, what })?;
    Ok(description)
}

/// The shapes of all transformers of a model.
fn shapes(description: &ModelDescription) -> Vec<&TransformerShape> {
    match &description.task {
        Task::Language(language) => vec![&language.shape],
        Task::Predict(predict) => predict
            .columns
            .inputs
            .iter()
            .filter_map(|input| match &input.encoding {
                Encoding::Transformer { shape, .. } => Some(shape),
                _ => None,
            })
            .collect(),
    }
}

fn needs_tokenizer(description: &ModelDescription) -> bool {
    !shapes(description).is_empty()
}

fn take_idf(columns: &Columns, shelf: &mut Shelf<'_>) -> Result<BTreeMap<String, Vec<f32>>, InferError> {
    let mut idf = BTreeMap::new();
    for input in &columns.inputs {
        if let Encoding::Bag { .. } = input.encoding {
            let values = shelf.vector(&format!("input.{}.idf", input.name), input.sparse_features())?;
            idf.insert(input.name.clone(), values);
        }
    }
    Ok(idf)
}

/// Whether a description is that of a possible model: nothing is allocated by its sizes before.
fn check(description: &ModelDescription) -> Result<(), String> {
    match &description.task {
        Task::Predict(predict) => check_predict(predict),
        Task::Language(language) => check_language(language),
    }
}

fn check_language(language: &LanguageDescription) -> Result<(), String> {
    size("context", language.context)?;
    check_shape(&language.shape, language.context, true)
}

fn check_predict(predict: &PredictDescription) -> Result<(), String> {
    let columns = &predict.columns;
    if columns.inputs.is_empty() || columns.outputs.is_empty() {
        return Err("a model needs an input and an output".to_owned());
    }
    let mut names = HashSet::new();
    for name in columns.inputs.iter().map(|c| &c.name).chain(columns.outputs.iter().map(|c| &c.name)) {
        if !names.insert(name) {
            return Err(format!("two columns are named {name}"));
        }
    }
    let mut offset = 0;
    for input in &columns.inputs {
        if input.offset != offset {
            return Err(format!("the features of {} begin at {} instead of {offset}", input.name, input.offset));
        }
        check_encoding(&input.encoding).map_err(|what| format!("input {}: {what}", input.name))?;
        offset += input.sparse_features();
        if offset > SIZE_MAX {
            return Err(format!("more than {SIZE_MAX} features"));
        }
    }
    for output in &columns.outputs {
        check_target(&output.target).map_err(|what| format!("output {}: {what}", output.name))?;
    }
    if predict.hidden.len() > LAYERS_MAX {
        return Err(format!("{} hidden layers", predict.hidden.len()));
    }
    predict.widths().into_iter().try_for_each(|width| size("width of a layer", width))
}

fn check_encoding(encoding: &Encoding) -> Result<(), String> {
    match encoding {
        Encoding::Number { mean, deviation } => check_scale(*mean, *deviation),
        Encoding::Binary { .. } | Encoding::Category { .. } => Ok(()),
        Encoding::Bag { buckets, word_ngrams, character_ngrams } => {
            for [from, to] in [word_ngrams, character_ngrams] {
                if from > to || *to > 64 {
                    return Err(format!("n-grams of lengths {from} to {to}"));
                }
            }
            size("buckets", *buckets as usize)
        }
        Encoding::Transformer { shape, tokens_max } => {
            size("tokens_max", *tokens_max)?;
            check_shape(shape, *tokens_max, false)
        }
    }
}

fn check_target(target: &Target) -> Result<(), String> {
    match target {
        Target::Category { labels } => size("number of labels", labels.len()),
        Target::Binary { .. } => Ok(()),
        Target::Number { mean, deviation } => check_scale(*mean, *deviation),
    }
}

fn check_scale(mean: f64, deviation: f64) -> Result<(), String> {
    if mean.is_finite() && deviation.is_finite() && deviation > 0.0 {
        return Ok(());
    }
    Err(format!("mean {mean} and deviation {deviation}"))
}

/// `places` is the longest sequence that the transformer will see.
fn check_shape(shape: &TransformerShape, places: usize, causal: bool) -> Result<(), String> {
    for (name, value) in [
        ("vocabulary", shape.vocabulary),
        ("width", shape.width),
        ("heads", shape.heads),
        ("feed_forward", shape.feed_forward),
    ] {
        size(name, value)?;
    }
    if shape.layers > LAYERS_MAX {
        return Err(format!("{} layers", shape.layers));
    }
    if !shape.width.is_multiple_of(2 * shape.heads) {
        return Err(format!("{} heads do not divide a width of {} into even parts", shape.heads, shape.width));
    }
    let shared = shape.kv_heads();
    if shared == 0 || !shape.heads.is_multiple_of(shared) {
        return Err(format!("{shared} heads of keys and values do not divide {} heads", shape.heads));
    }
    if shape.learned_positions > 0 && !(places..=SIZE_MAX).contains(&shape.learned_positions) {
        return Err(format!("{} learned positions for sequences of {places}", shape.learned_positions));
    }
    let positive = |value: f32| value.is_finite() && value > 0.0;
    if !positive(shape.rope_theta) || !positive(shape.norm_epsilon) {
        return Err(format!("rope_theta {} and norm_epsilon {}", shape.rope_theta, shape.norm_epsilon));
    }
    if shape.causal != causal {
        return Err(format!("causal is {}", shape.causal));
    }
    Ok(())
}

fn size(name: &str, value: usize) -> Result<(), String> {
    if (1..=SIZE_MAX).contains(&value) { Ok(()) } else { Err(format!("{name} is {value}, not 1 to {SIZE_MAX}")) }
}
