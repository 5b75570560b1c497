//! The plan of rows: every file scanned, every column typed, nothing written.

use std::collections::BTreeSet;
use std::path::PathBuf;

use base::project::{
    CleanConfig, LabelsConfig, PersonalConfig, Project, RepairConfig, SplitConfig, SplitMethod, TextEncoder,
};
use base::{ColumnType, Value};
use dataset::PerSplit;
use infer::description::{
    Columns, Encoding, InputDescription, OutputDescription, Target, TextCleaning, TransformerShape,
};
use serde_json::{Value as Json, json};
use tables::Expectations;

use super::checks;

use super::read;
use super::source::{self, Source};
use super::types::{self, Typed};
use crate::error::DataError;
use crate::mend::Mender;
use crate::plan::vocabulary;

/// One column that is read.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedColumn {
    /// Its name.
    pub name: String,
    /// Its type, and why.
    pub typed: Typed,
    /// How it becomes features; of outputs, nothing.
    pub encoder: Option<Encoder>,
}

/// How text becomes features, sizes filled in.
#[derive(Debug, Clone, PartialEq)]
pub enum Encoder {
    /// Bags of n-grams.
    Bag {
        /// Lengths of word n-grams.
        word_ngrams: [u32; 2],
        /// Lengths of character n-grams.
        character_ngrams: [u32; 2],
        /// Buckets of each bag.
        buckets: u32,
    },
    /// A transformer over tokens.
    Transformer {
        /// The longest text.
        tokens_max: usize,
    },
}

/// What will be done with the rows of a `predict` project.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) sources: Vec<Source>,
    pub(crate) inputs: Vec<PlannedColumn>,
    pub(crate) outputs: Vec<PlannedColumn>,
    /// The column to split by, where it is neither input nor output it is read besides.
    pub(crate) split_by: Option<String>,
    pub(crate) split: SplitConfig,
    pub(crate) clean: CleanConfig,
    pub(crate) intercept: bool,
    pub(crate) vocabulary: usize,
    pub(crate) repair: Option<RepairConfig>,
    pub(crate) personal: Option<PersonalConfig>,
    pub(crate) labels: Option<LabelsConfig>,
    pub(crate) expectations: Option<(PathBuf, Expectations)>,
    pub(crate) seed: u64,
    rows: u64,
    bytes: u64,
    samples: Vec<Vec<Value>>,
    given: PerSplit,
}

/// Looks at the data and plans the stage.
///
/// # Errors
/// [`DataError`] for everything that is wrong with the files and columns.
pub(crate) fn plan(project: &Project) -> Result<Plan, DataError> {
    let file = &project.file;
    let mut sources = source::find(project)?;
    let (mut rows, mut bytes, mut given) = (0, 0, PerSplit::default());
    for source in &mut sources {
        source::scan(source)?;
        let count = if source.format == base::project::DataFormat::Parquet {
            source.columns = read::parquet_columns(source)?;
            read::parquet_rows(source)?
        } else {
            source.lines.len() as u64
        };
        if count == 0 {
            return Err(DataError::file(&source.path, "it has no rows", "Check that it was written completely."));
        }
        rows += count;
        bytes += source.size_bytes;
        if let Some(split) = source.split {
            *given.of(split) += count;
        }
    }
    let mut plan = Plan {
        sources,
        inputs: Vec::new(),
        outputs: Vec::new(),
        split_by: file.data.split.by.clone(),
        split: file.data.split.clone(),
        clean: file.data.clean.clone(),
        intercept: file.model.intercept,
        vocabulary: vocabulary(&project.file),
        repair: file.data.repair.clone(),
        personal: file.data.personal.clone().map(|personal| PersonalConfig {
            key_file: personal.key_file.map(|path| project.folder.join(path)),
            ..personal
        }),
        labels: file.data.labels.clone().map(|labels| LabelsConfig {
            corrections: labels.corrections.map(|path| project.folder.join(path)),
            ..labels
        }),
        expectations: match &file.data.expectations {
            None => None,
            Some(path) => Some((project.folder.join(path), checks::read(&project.folder.join(path))?)),
        },
        seed: u64::from(file.seed),
        rows,
        bytes,
        samples: Vec::new(),
        given,
    };
    plan.type_columns(project)?;
    Ok(plan)
}

impl Plan {
    fn type_columns(&mut self, project: &Project) -> Result<(), DataError> {
        let file = &project.file;
        let mut names: Vec<String> = file.input.iter().map(|input| input.column.clone()).collect();
        names.extend(file.output.iter().map(|output| output.column.clone()));
        let extra = self.split_by.iter().filter(|by| !names.contains(by)).cloned().collect::<Vec<_>>();
        for source in &self.sources {
            for name in names.iter().chain(&extra) {
                if !source.columns.contains(name) {
                    let known = source.columns.clone();
                    return Err(DataError::Column { column: name.clone(), path: source.path.clone(), known });
                }
            }
        }
        let samples = self.look(&names)?;
        let wrong =
            |what: String| DataError::rows(what, "Give the column another `type` in yard.toml, or mend its values.");
        for (input, values) in file.input.iter().zip(&samples) {
            let given = input.column_type.or(input.encoder.map(|_| ColumnType::Text));
            let typed = types::infer(&input.column, given, false, values).map_err(wrong)?;
            let encoder = (typed.column_type == ColumnType::Text).then(|| match input.encoder {
                Some(TextEncoder::Transformer) => {
                    Encoder::Transformer { tokens_max: input.tokens_max.unwrap_or(64) as usize }
                }
                _ => Encoder::Bag {
                    word_ngrams: input.word_ngrams.unwrap_or([1, 2]),
                    character_ngrams: input.character_ngrams.unwrap_or([2, 5]),
                    buckets: input.buckets.unwrap_or(16_384),
                },
            });
            self.inputs.push(PlannedColumn { name: input.column.clone(), typed, encoder });
        }
        for (output, values) in file.output.iter().zip(&samples[file.input.len()..]) {
            let typed = types::infer(&output.column, output.column_type, true, values).map_err(wrong)?;
            self.outputs.push(PlannedColumn { name: output.column.clone(), typed, encoder: None });
        }
        self.settle_split()?;
        self.samples = samples;
        Ok(())
    }

    /// `auto` becomes stratified by the first class there is, or random.
    fn settle_split(&mut self) -> Result<(), DataError> {
        let class = self.outputs.iter().find(|output| output.typed.column_type != ColumnType::Number);
        match self.split.method {
            SplitMethod::Auto => {
                self.split.method = if class.is_some() { SplitMethod::Stratified } else { SplitMethod::Random };
            }
            SplitMethod::Stratified if class.is_none() && self.split_by.is_none() => {
                return Err(DataError::rows(
                    "there is no class to stratify by",
                    "Give data.split.by, or use method = \"random\".",
                ));
            }
            _ => {}
        }
        if self.split.method == SplitMethod::Stratified && self.split_by.is_none() {
            self.split_by = class.map(|output| output.name.clone());
        }
        Ok(())
    }

    /// The first values of columns, over all sources.
    fn look(&self, names: &[String]) -> Result<Vec<Vec<Value>>, DataError> {
        let mut samples: Vec<Vec<Value>> = vec![Vec::new(); names.len()];
        let share = types::ROWS_LOOKED_AT / self.sources.len().max(1);
        for source in &self.sources {
            let mut count = 0;
            read::read(source, names, |row| {
                for (sample, value) in samples.iter_mut().zip(row) {
                    sample.push(value);
                }
                count += 1;
                Ok(count < share.max(1))
            })?;
        }
        Ok(samples)
    }

    /// How text is cleaned.
    pub(crate) fn cleaning(&self) -> TextCleaning {
        TextCleaning { unicode: self.clean.unicode, whitespace: self.clean.whitespace }
    }

    /// What mends texts.
    pub(crate) fn mender(&self) -> Result<Mender, DataError> {
        Mender::new(self.repair.as_ref(), self.personal.as_ref())
    }

    /// What the result depends on, besides the files and the seed.
    pub(crate) fn config(&self) -> Json {
        let column = |column: &PlannedColumn| {
            let encoder = match &column.encoder {
                None => Json::Null,
                Some(Encoder::Bag { word_ngrams, character_ngrams, buckets }) => {
                    json!(["bag", word_ngrams, character_ngrams, buckets])
                }
                Some(Encoder::Transformer { tokens_max }) => json!(["transformer", tokens_max]),
            };
            json!([column.name, column.typed.column_type, column.typed.labels, encoder])
        };
        let tokenized = self.inputs.iter().any(|input| matches!(input.encoder, Some(Encoder::Transformer { .. })));
        let mut config = json!({
            "family": "predict",
            "inputs": self.inputs.iter().map(column).collect::<Vec<_>>(),
            "outputs": self.outputs.iter().map(column).collect::<Vec<_>>(),
            "split": self.split, "split_by": self.split_by, "clean": self.clean, "intercept": self.intercept,
            "vocabulary": tokenized.then_some(self.vocabulary),
            "sources": self.sources.iter().map(|source| json!([source.name, source.format, source.split])).collect::<Vec<_>>(),
        });
        if let Some(labels) = &self.labels {
            config["labels"] = json!([labels.check, labels.folds, labels.next]);
        }
        if self.repair.is_some() || self.personal.is_some() {
            // Where the key lies changes nothing; what it is stands among the inputs.
            let personal = self.personal.clone().map(|personal| PersonalConfig { key_file: None, ..personal });
            config["mend"] = json!([self.repair, personal]);
        }
        config
    }

    /// Rows in the sources, counted.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of the sources, counted.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What was derived, one line each, for people.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for source in &self.sources {
            let rows = if source.lines.is_empty() {
                String::new()
            } else {
                format!("{} rows, ", base::units::count(source.lines.len() as u64))
            };
            let mark = if source.mark { ", its byte order mark is skipped" } else { "" };
            notes.push(format!("source {}: {rows}{}{mark}", source.name, base::units::bytes(source.size_bytes)));
        }
        for (role, columns) in [("input", &self.inputs), ("output", &self.outputs)] {
            for column in columns {
                notes.push(format!(
                    "{role} {}: {} ({})",
                    column.name,
                    column.typed.column_type.name(),
                    column.typed.why
                ));
            }
        }
        let by = self.split_by.as_ref().map_or(String::new(), |by| format!(" by {by}"));
        let method = serde_json::to_value(self.split.method)
            .ok()
            .and_then(|name| name.as_str().map(str::to_owned))
            .unwrap_or_default();
        notes.push(format!(
            "split: {method}{by}{}",
            if self.given == PerSplit::default() { "" } else { ", for validation only: the splits are given" }
        ));
        notes
    }

    /// The rows of each split, estimated before the stage has run: as if nothing were dropped.
    pub(crate) fn split_estimate(&self) -> PerSplit {
        let share = |rows: u64, share: f64| (rows as f64 * share).round() as u64;
        if self.given == PerSplit::default() {
            let valid = share(self.rows, self.split.valid);
            let test = share(self.rows, self.split.test);
            return PerSplit { train: self.rows.saturating_sub(valid + test), valid, test };
        }
        let mut rows = self.given;
        if rows.valid == 0 {
            rows.valid = share(rows.train, self.split.valid);
            rows.train -= rows.valid;
        }
        rows
    }

    /// Inputs and outputs as the stage would fit them, from the rows looked at: sizes hold, scales do
    /// not. Only of `predict` projects.
    pub(crate) fn columns_estimate(&self) -> Columns {
        let mut offset = 0;
        let mut inputs = Vec::new();
        for (column, values) in self.inputs.iter().zip(&self.samples) {
            let encoding = encoding_of(column, || labels(values), self.vocabulary);
            let input =
                InputDescription { name: column.name.clone(), column_type: column.typed.column_type, encoding, offset };
            offset += input.sparse_features();
            inputs.push(input);
        }
        let outputs = self.outputs.iter().zip(self.samples.iter().skip(self.inputs.len()));
        let outputs = outputs.map(|(column, values)| output_of(column, || labels(values))).collect();
        Columns { clean: self.cleaning(), inputs, outputs }
    }
}

/// The sorted, distinct labels among the values looked at.
fn labels(values: &[Value]) -> Vec<String> {
    values.iter().filter_map(Value::as_text).map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The encoding of an input, with labels as far as they are known; scales are fitted later.
pub(crate) fn encoding_of(column: &PlannedColumn, labels: impl FnOnce() -> Vec<String>, vocabulary: usize) -> Encoding {
    match (column.typed.column_type, &column.encoder) {
        (ColumnType::Number, _) => Encoding::Number { mean: 0.0, deviation: 1.0 },
        (ColumnType::Binary, _) => Encoding::Binary { labels: binary_labels(column) },
        (ColumnType::Text, Some(Encoder::Transformer { tokens_max })) => {
            Encoding::Transformer { shape: shape_of(vocabulary), tokens_max: *tokens_max }
        }
        (ColumnType::Text, Some(Encoder::Bag { word_ngrams, character_ngrams, buckets })) => {
            Encoding::Bag { word_ngrams: *word_ngrams, character_ngrams: *character_ngrams, buckets: *buckets }
        }
        _ => Encoding::Category { labels: labels() },
    }
}

/// An output, with labels as far as they are known; scales are fitted later.
pub(crate) fn output_of(column: &PlannedColumn, labels: impl FnOnce() -> Vec<String>) -> OutputDescription {
    let target = match column.typed.column_type {
        ColumnType::Number => Target::Number { mean: 0.0, deviation: 1.0 },
        ColumnType::Binary => Target::Binary { labels: binary_labels(column) },
        _ => Target::Category { labels: labels() },
    };
    // Weight and loss are the training's to say; changing them must not run this stage again.
    OutputDescription { name: column.name.clone(), target, weight: 1.0, squared: false }
}

fn binary_labels(column: &PlannedColumn) -> [String; 2] {
    column.typed.labels.clone().unwrap_or_else(|| ["false".to_owned(), "true".to_owned()])
}

/// Only the vocabulary is known here; the training derives the rest.
fn shape_of(vocabulary: usize) -> TransformerShape {
    TransformerShape::llama(vocabulary, 2, 1, 1, 2, false)
}
