//! Rows become features: the one code path of training, evaluation and serving.
//!
//! A [`Preprocessor`] is fitted by the data stage (see [`crate::fit`]), stored with the dataset, and
//! copied into the model. What each encoding computes is defined in [`crate::description`] and, for
//! text, in [`crate::bag`]. A standardised number beyond ±10⁶ deviations is taken for ±10⁶, so that no
//! request can bring infinities into the model.

use std::collections::BTreeMap;
use std::path::Path;

use base::{ColumnType, Value};

use crate::bag::Bag;
use crate::clean::{clean_value, read_binary};
use crate::description::{Columns, Encoding, InputDescription, TOKENIZER_FILE};
use crate::error::InferError;
pub use crate::fit::{BagFitter, NumberFitter, labels};
use crate::tokenizer::TextTokenizer;
use crate::weights::{self, Tensor};

/// The file of a dataset that holds [`Columns`].
pub const PREPROCESS_FILE: &str = "preprocess.json";
/// The file of a dataset that holds the weights of n-grams.
pub const PREPROCESS_WEIGHTS_FILE: &str = "preprocess.safetensors";
/// The largest `preprocess.json` that is read.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// The largest standardised number.
const STANDARDISED_MAX: f64 = 1e6;
/// The longest n-gram, as in the project file.
const NGRAM_MAX: u32 = 8;

/// What a row becomes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Features {
    /// Features of the shared table by index, ascending, each index once.
    pub sparse: Vec<(u32, f32)>,
    /// The tokens of each transformer input, in the inputs' order; never empty.
    pub tokens: Vec<Vec<u32>>,
}

/// Turns rows into features.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    columns: Columns,
    idf: BTreeMap<String, Vec<f32>>,
    tokenizer: Option<TextTokenizer>,
}

/// The name of the tensor that holds the weights of an input's n-grams.
#[must_use]
pub fn idf_name(input: &str) -> String {
    format!("input.{input}.idf")
}

impl Preprocessor {
    /// Puts the parts together and checks that they fit.
    ///
    /// # Errors
    /// [`InferError::Input`] when an input lacks its weights or its tokenizer, or an offset is wrong.
    pub fn new(
        columns: Columns,
        idf: BTreeMap<String, Vec<f32>>,
        tokenizer: Option<TextTokenizer>,
    ) -> Result<Self, InferError> {
        let mut offset = 0;
        for input in &columns.inputs {
            let wrong = |what: String| Err(wrong(input, what));
            if input.offset != offset {
                return wrong(format!("its features begin at {}, not at {offset}", input.offset));
            }
            offset += input.sparse_features();
            match &input.encoding {
                Encoding::Bag { word_ngrams, character_ngrams, buckets } => {
                    let ranges = [word_ngrams, character_ngrams];
                    if *buckets == 0 || ranges.iter().any(|[low, high]| *low == 0 || low > high || *high > NGRAM_MAX) {
                        return wrong(format!("its n-grams run from and to {ranges:?} in {buckets} buckets"));
                    }
                    let found = idf.get(&input.name).map_or(0, Vec::len);
                    if found != input.sparse_features() {
                        return wrong(format!("it has {found} n-gram weights, not {}", input.sparse_features()));
                    }
                }
                Encoding::Transformer { .. } if tokenizer.is_none() => {
                    return wrong("there is no tokenizer".to_owned());
                }
                Encoding::Category { labels } if !labels.is_sorted_by(|a, b| a < b) => {
                    return wrong("its labels are not sorted".to_owned());
                }
                Encoding::Number { mean, deviation } if !mean.is_finite() || !deviation.is_normal() => {
                    return wrong(format!("its mean is {mean} and its deviation {deviation}"));
                }
                _ => {}
            }
        }
        if u32::try_from(offset).is_err() {
            return Err(InferError::RowLength { found: offset, wanted: u32::MAX as usize });
        }
        Ok(Self { columns, idf, tokenizer })
    }

    /// Reads what the data stage fitted, from the folder of a dataset.
    ///
    /// # Errors
    /// [`InferError`] when a file cannot be read or does not fit the others.
    pub fn load(folder: &Path) -> Result<Self, InferError> {
        let path = folder.join(PREPROCESS_FILE);
        let size = std::fs::metadata(&path).map_err(InferError::io("read", &path))?.len();
        if size > FILE_BYTES_MAX {
            return Err(InferError::damaged(&path)(format!("it has {size} bytes, more than {FILE_BYTES_MAX}")));
        }
        let bytes = std::fs::read(&path).map_err(InferError::io("read", &path))?;
        let columns: Columns = serde_json::from_slice(&bytes).map_err(InferError::damaged(&path))?;
        let mut tensors = weights::read(&folder.join(PREPROCESS_WEIGHTS_FILE))?;
        let mut idf = BTreeMap::new();
        for input in &columns.inputs {
            if let Some(Tensor::F32 { values, .. }) = tensors.remove(&idf_name(&input.name)) {
                idf.insert(input.name.clone(), values);
            }
        }
        let tokenizes = columns.inputs.iter().any(|input| matches!(input.encoding, Encoding::Transformer { .. }));
        let tokenizer = tokenizes.then(|| TextTokenizer::load(&folder.join(TOKENIZER_FILE))).transpose()?;
        Self::new(columns, idf, tokenizer)
    }

    /// Writes what [`Preprocessor::load`] reads.
    ///
    /// # Errors
    /// [`InferError::Io`].
    pub fn save(&self, folder: &Path) -> Result<(), InferError> {
        let path = folder.join(PREPROCESS_FILE);
        let mut text = serde_json::to_string_pretty(&self.columns).map_err(InferError::damaged(&path))?;
        text.push('\n');
        base::files::write_atomically(&path, text.as_bytes()).map_err(InferError::io("write", &path))?;
        weights::write(&folder.join(PREPROCESS_WEIGHTS_FILE), &self.idf_tensors())?;
        match &self.tokenizer {
            Some(tokenizer) => tokenizer.save(&folder.join(TOKENIZER_FILE)),
            None => Ok(()),
        }
    }

    /// The inputs and outputs.
    #[must_use]
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The weights of n-grams by input.
    #[must_use]
    pub fn idf(&self) -> &BTreeMap<String, Vec<f32>> {
        &self.idf
    }

    /// The weights of n-grams as the tensors `input.NAME.idf` that a dataset and a model hold.
    #[must_use]
    pub fn idf_tensors(&self) -> BTreeMap<String, Tensor> {
        let tensor = |values: &Vec<f32>| Tensor::f32(vec![values.len()], values.clone());
        self.idf.iter().map(|(name, values)| (idf_name(name), tensor(values))).collect()
    }

    /// The tokenizer of the transformer inputs.
    #[must_use]
    pub fn tokenizer(&self) -> Option<&TextTokenizer> {
        self.tokenizer.as_ref()
    }

    /// The features of one row, whose values stand in the order of the inputs. Values are cleaned here.
    ///
    /// # Errors
    /// [`InferError::RowLength`]; [`InferError::Input`] for a value of the wrong type, naming the column.
    pub fn features(&self, row: &[Value]) -> Result<Features, InferError> {
        let inputs = &self.columns.inputs;
        if row.len() != inputs.len() {
            return Err(InferError::RowLength { found: row.len(), wanted: inputs.len() });
        }
        let mut features = Features::default();
        for (input, value) in inputs.iter().zip(row) {
            let value = truth_value(input, clean_value(value.clone(), self.columns.clean));
            self.encode(input, &value, &mut features)?;
        }
        Ok(features)
    }

    fn encode(&self, input: &InputDescription, value: &Value, features: &mut Features) -> Result<(), InferError> {
        check_type(input, value)?;
        // `new` has checked that all offsets fit.
        let offset = input.offset as u32;
        let mut put = |feature: u32, value: f32| features.sparse.push((offset + feature, value));
        match &input.encoding {
            Encoding::Number { mean, deviation } => match value.as_number() {
                Some(number) => {
                    let scaled = ((number - mean) / deviation).clamp(-STANDARDISED_MAX, STANDARDISED_MAX);
                    put(0, scaled as f32);
                }
                None => put(1, 1.0),
            },
            Encoding::Binary { .. } => put(value.as_binary().map_or(2, u32::from), 1.0),
            Encoding::Category { labels } => {
                let known = value.as_text().and_then(|text| labels.binary_search_by(|l| l.as_str().cmp(text)).ok());
                put(known.unwrap_or(labels.len()) as u32, 1.0);
            }
            Encoding::Bag { word_ngrams, character_ngrams, buckets } => {
                if let Some(text) = value.as_text() {
                    let mut bag = Bag::new(*word_ngrams, *character_ngrams, *buckets);
                    self.weigh(input, &mut bag, text, features);
                }
            }
            Encoding::Transformer { tokens_max, .. } => {
                features.tokens.push(self.tokens(value.as_text().unwrap_or(""), *tokens_max)?);
            }
        }
        Ok(())
    }

    /// Adds the two bags of a text, each scaled to length 1.
    fn weigh(&self, input: &InputDescription, bag: &mut Bag, text: &str, features: &mut Features) {
        let Some(idf) = self.idf.get(&input.name) else { return };
        let sparse = &mut features.sparse;
        let begin = sparse.len();
        bag.count(text, |feature, count| {
            let frequency = 1.0 + f64::from(count).ln();
            let value = frequency * f64::from(idf[feature as usize]);
            sparse.push((input.offset as u32 + feature, value as f32));
        });
        let characters = (input.offset + input.sparse_features() / 2) as u32;
        let middle = begin + sparse[begin..].partition_point(|(index, _)| *index < characters);
        let (words, characters) = sparse[begin..].split_at_mut(middle - begin);
        scale_to_one(words);
        scale_to_one(characters);
    }

    fn tokens(&self, text: &str, tokens_max: usize) -> Result<Vec<u32>, InferError> {
        let Some(tokenizer) = &self.tokenizer else { return Ok(Vec::new()) };
        // A token has a few characters; what lies far behind the last one need not be tokenised.
        let end = text.char_indices().nth(tokens_max.saturating_mul(256)).map_or(text.len(), |(at, _)| at);
        let mut tokens = tokenizer.encode(&text[..end])?;
        tokens.truncate(tokens_max);
        if tokens.is_empty() {
            tokens.push(tokenizer.end_of_text());
        }
        Ok(tokens)
    }
}

fn scale_to_one(bag: &mut [(u32, f32)]) {
    let squares: f64 = bag.iter().map(|(_, value)| f64::from(*value).powi(2)).sum();
    if squares > 0.0 {
        let length = squares.sqrt();
        for (_, value) in bag {
            *value = (f64::from(*value) / length) as f32;
        }
    }
}

/// A truth value may also be given as it is written in the source.
fn truth_value(input: &InputDescription, value: Value) -> Value {
    match (&input.encoding, value) {
        (Encoding::Binary { labels }, Value::Text(text)) => {
            read_binary(&text, labels).map_or(Value::Text(text), Value::Binary)
        }
        (_, value) => value,
    }
}

/// A value must be of its column's type, or missing.
fn check_type(input: &InputDescription, value: &Value) -> Result<(), InferError> {
    let found = match (input.column_type, value) {
        (_, Value::Missing)
        | (ColumnType::Text | ColumnType::Category, Value::Text(_))
        | (ColumnType::Number, Value::Number(_))
        | (ColumnType::Binary, Value::Binary(_)) => return Ok(()),
        (_, Value::Text(_)) => "text",
        (_, Value::Number(_)) => "a number",
        (_, Value::Binary(_)) => "a truth value",
    };
    Err(wrong(input, format!("it is {found}, and the column's type is {}", input.column_type.name())))
}

fn wrong(input: &InputDescription, what: String) -> InferError {
    InferError::Input { column: input.name.clone(), what }
}
