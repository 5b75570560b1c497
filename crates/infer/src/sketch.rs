//! What rows look like, in a few counts: of the training data (the baseline), and of served traffic.
//!
//! A sketch has [`Feature`]s, each a list of counts: of labels, or of the bins of a histogram. The
//! baseline chooses the bins; a sketch of traffic is made by [`Sketch::like`], so that `monitor` can
//! compare bin by bin. Sketches of one baseline are added up by [`Sketch::merge`] in any order.
//!
//! | column | features |
//! |---|---|
//! | number | `value`: 20 bins of equal share in training, and one beyond each end |
//! | category, binary | `label`: one count a label, and one for all others |
//! | text | `characters`: the length; `new_words`: the share of words that half of the training rows do not have, measured in training on the other half |
//! | category output | `label`; `confidence`: the highest probability |
//! | binary output | `label`; `probability` |
//! | number output | `value` |

use base::Value;
use serde::{Deserialize, Serialize};

use crate::clean::clean_text;
use crate::description::{Columns, Encoding, InputDescription, OutputDescription, Target, TextCleaning};
use crate::error::InferError;
use crate::histogram::Histogram;
use crate::predict::Prediction;
use crate::words::Words;

/// Of more labels than this, those that come later in their order count as others.
const LABELS_MAX: usize = 1024;
/// How a sketch names all labels that it does not count by themselves.
pub const OTHER: &str = "(other)";

/// Counts of what rows look like.
///
/// A baseline under way chooses its bins late: it is settled whenever it is written, compared with
/// or given as the baseline to [`Sketch::like`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Written", from = "Written")]
pub struct Sketch {
    /// How many rows, or completions, were seen.
    pub rows: u64,
    /// How text is cleaned before it is counted, as the model cleans it.
    pub clean: TextCleaning,
    /// The inputs (a language model's prompt).
    pub inputs: Vec<ColumnSketch>,
    /// The outputs, as the model predicted them (a language model's completion).
    pub outputs: Vec<ColumnSketch>,
}

/// A sketch as it is written: settled.
#[derive(Serialize, Deserialize)]
struct Written {
    rows: u64,
    clean: TextCleaning,
    inputs: Vec<ColumnSketch>,
    outputs: Vec<ColumnSketch>,
}

/// Counts of one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnSketch {
    /// The column's name.
    pub name: String,
    /// In how many rows it was missing.
    pub missing: u64,
    /// What is counted.
    pub features: Vec<Feature>,
    /// Of texts, the words that training knows; only a baseline writes them down.
    #[serde(default, skip_serializing_if = "Words::is_hidden")]
    words: Words,
}

/// One way of looking at a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// Its name; see the module's table.
    pub name: String,
    /// The counts.
    pub counts: Distribution,
}

/// Counts by label or by bin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// One count a label.
    Labels {
        /// The labels; the last is [`OTHER`].
        labels: Vec<String>,
        /// A count for each.
        counts: Vec<u64>,
    },
    /// Counts of the bins of a histogram.
    Histogram(Histogram),
}

impl Sketch {
    /// An empty sketch that chooses its own bins: for a baseline of a `predict` model.
    #[must_use]
    pub fn new(columns: &Columns) -> Self {
        Self {
            rows: 0,
            clean: columns.clean,
            inputs: columns.inputs.iter().map(input_sketch).collect(),
            outputs: columns.outputs.iter().map(output_sketch).collect(),
        }
    }

    /// An empty sketch that chooses its own bins: for a baseline of a `language` model.
    #[must_use]
    pub fn language() -> Self {
        let clean = TextCleaning { unicode: true, whitespace: false };
        Self { rows: 0, clean, inputs: vec![text_sketch("prompt")], outputs: vec![text_sketch("completion")] }
    }

    /// An empty sketch with the baseline's bins.
    #[must_use]
    pub fn like(baseline: &Self) -> Self {
        let empty = |columns: &[ColumnSketch]| columns.iter().map(|column| column.settled().like()).collect();
        Self { rows: 0, clean: baseline.clean, inputs: empty(&baseline.inputs), outputs: empty(&baseline.outputs) }
    }

    /// Counts a row and what was predicted for it; both in the order of the model's columns. A value
    /// of the wrong type counts as missing.
    pub fn observe(&mut self, row: &[Value], predictions: &[Prediction]) {
        self.rows += 1;
        for (column, value) in self.inputs.iter_mut().zip(row) {
            column.observe(value, self.clean);
        }
        for (column, prediction) in self.outputs.iter_mut().zip(predictions) {
            column.observe_prediction(prediction);
        }
    }

    /// Counts a prompt and its completion.
    pub fn observe_text(&mut self, prompt: &str, completion: &str) {
        self.rows += 1;
        for (columns, text) in [(&mut self.inputs, prompt), (&mut self.outputs, completion)] {
            if let Some(column) = columns.first_mut() {
                column.observe_text(&clean_text(text, self.clean));
            }
        }
    }

    /// Adds the counts of another sketch of the same baseline.
    ///
    /// # Errors
    /// [`InferError::Sketch`] when they count by different bins; nothing was added then.
    pub fn merge(&mut self, other: &Self) -> Result<(), InferError> {
        let pairs = |mine: &[ColumnSketch], others: &[ColumnSketch]| {
            mine.len() == others.len() && mine.iter().zip(others).all(|(a, b)| a.fits(b))
        };
        if !pairs(&self.inputs, &other.inputs) || !pairs(&self.outputs, &other.outputs) {
            return Err(InferError::Sketch { what: "they are not of one baseline".to_owned() });
        }
        self.rows += other.rows;
        for (mine, other) in self.inputs.iter_mut().zip(&other.inputs) {
            mine.add(other);
        }
        for (mine, other) in self.outputs.iter_mut().zip(&other.outputs) {
            mine.add(other);
        }
        Ok(())
    }
}

impl From<Sketch> for Written {
    fn from(Sketch { rows, clean, inputs, outputs }: Sketch) -> Self {
        let settled = |columns: Vec<ColumnSketch>| columns.iter().map(ColumnSketch::settled).collect();
        Self { rows, clean, inputs: settled(inputs), outputs: settled(outputs) }
    }
}

impl From<Written> for Sketch {
    fn from(Written { rows, clean, inputs, outputs }: Written) -> Self {
        Self { rows, clean, inputs, outputs }
    }
}

impl ColumnSketch {
    /// A feature by its name.
    #[must_use]
    pub fn feature(&self, name: &str) -> Option<&Distribution> {
        self.features.iter().find(|feature| feature.name == name).map(|feature| &feature.counts)
    }

    fn new(name: &str, features: Vec<(&str, Distribution)>) -> Self {
        let features = features.into_iter().map(|(name, counts)| Feature { name: name.to_owned(), counts }).collect();
        Self { name: name.to_owned(), missing: 0, features, words: Words::default() }
    }

    fn like(&self) -> Self {
        let features = self
            .features
            .iter()
            .map(|feature| Feature { name: feature.name.clone(), counts: feature.counts.like() })
            .collect();
        Self { name: self.name.clone(), missing: 0, features, words: self.words.like() }
    }

    /// The same with every bin chosen and every text measured.
    fn settled(&self) -> Self {
        let mut settled = self.clone();
        for share in settled.words.settle() {
            settled.count_number(1, share);
        }
        settled
    }

    fn observe(&mut self, value: &Value, clean: TextCleaning) {
        match (value, self.features.first().map(|feature| feature.name.as_str())) {
            (Value::Number(number), Some("value")) if number.is_finite() => self.count_number(0, *number),
            (Value::Binary(truth), Some("label")) => self.count_index(0, usize::from(*truth)),
            (Value::Text(label), Some("label")) => self.count_label(&clean_text(label, clean)),
            (Value::Text(text), Some("characters")) => self.observe_text(&clean_text(text, clean)),
            _ => self.missing += 1,
        }
    }

    fn observe_prediction(&mut self, prediction: &Prediction) {
        match prediction {
            Prediction::Category { label, probabilities } => {
                self.count_index(0, *label);
                self.count_number(1, f64::from(probabilities.get(*label).copied().unwrap_or(0.0)));
            }
            Prediction::Binary { probability } => {
                self.count_index(0, usize::from(*probability >= 0.5));
                self.count_number(1, f64::from(*probability));
            }
            Prediction::Number { value } => self.count_number(0, f64::from(*value)),
        }
    }

    fn observe_text(&mut self, text: &str) {
        self.count_number(0, text.chars().count() as f64);
        if let Some(share) = self.words.observe(text) {
            self.count_number(1, share);
        }
    }

    fn count_number(&mut self, feature: usize, number: f64) {
        if let Some(Feature { counts: Distribution::Histogram(histogram), .. }) = self.features.get_mut(feature) {
            histogram.add(number);
        }
    }

    fn count_index(&mut self, feature: usize, index: usize) {
        if let Some(Feature { counts: Distribution::Labels { counts, .. }, .. }) = self.features.get_mut(feature) {
            let place = index.min(counts.len().saturating_sub(1));
            // A file may hold a feature without labels.
            counts.get_mut(place).into_iter().for_each(|count| *count += 1);
        }
    }

    fn count_label(&mut self, label: &str) {
        if let Some(Feature { counts: Distribution::Labels { labels, .. }, .. }) = self.features.first() {
            let index = labels.iter().position(|known| known == label).unwrap_or(usize::MAX);
            self.count_index(0, index);
        }
    }

    fn fits(&self, other: &Self) -> bool {
        let same = |(a, b): (&Feature, &Feature)| a.name == b.name && a.counts.fits(&b.counts);
        self.name == other.name
            && self.features.len() == other.features.len()
            && self.features.iter().zip(&other.features).all(same)
    }

    fn add(&mut self, other: &Self) {
        self.missing += other.missing;
        for (mine, other) in self.features.iter_mut().zip(&other.features) {
            mine.counts.add(&other.counts);
        }
    }
}

impl Distribution {
    /// The counts, label by label or bin by bin.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        match self {
            Self::Labels { counts, .. } => counts.clone(),
            Self::Histogram(histogram) => histogram.counts(),
        }
    }

    /// The sum of all counts.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts().iter().sum()
    }

    fn like(&self) -> Self {
        match self {
            Self::Labels { labels, counts } => Self::Labels { labels: labels.clone(), counts: vec![0; counts.len()] },
            Self::Histogram(histogram) => Self::Histogram(histogram.like()),
        }
    }

    fn fits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Labels { labels: a, .. }, Self::Labels { labels: b, .. }) => a == b,
            (Self::Histogram(a), Self::Histogram(b)) => a.fits(b),
            _ => false,
        }
    }

    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Labels { counts, .. }, Self::Labels { counts: others, .. }) => {
                counts.iter_mut().zip(others).for_each(|(mine, other)| *mine += other);
            }
            (Self::Histogram(mine), Self::Histogram(other)) => mine.merge(other),
            _ => {}
        }
    }
}

fn labels(labels: &[String]) -> Distribution {
    let mut labels: Vec<String> = labels.iter().take(LABELS_MAX).cloned().collect();
    labels.push(OTHER.to_owned());
    Distribution::Labels { counts: vec![0; labels.len()], labels }
}

fn text_sketch(name: &str) -> ColumnSketch {
    let histogram = || Distribution::Histogram(Histogram::quantiles());
    let column = ColumnSketch::new(name, vec![("characters", histogram()), ("new_words", histogram())]);
    ColumnSketch { words: Words::learning(), ..column }
}

fn input_sketch(input: &InputDescription) -> ColumnSketch {
    match &input.encoding {
        Encoding::Number { .. } => {
            ColumnSketch::new(&input.name, vec![("value", Distribution::Histogram(Histogram::quantiles()))])
        }
        Encoding::Binary { labels: both } => ColumnSketch::new(&input.name, vec![("label", labels(both))]),
        Encoding::Category { labels: known } => ColumnSketch::new(&input.name, vec![("label", labels(known))]),
        Encoding::Bag { .. } | Encoding::Transformer { .. } => text_sketch(&input.name),
    }
}

fn output_sketch(output: &OutputDescription) -> ColumnSketch {
    let shares = || Distribution::Histogram(Histogram::shares());
    match &output.target {
        Target::Category { labels: known } => {
            ColumnSketch::new(&output.name, vec![("label", labels(known)), ("confidence", shares())])
        }
        Target::Binary { labels: both } => {
            ColumnSketch::new(&output.name, vec![("label", labels(both)), ("probability", shares())])
        }
        Target::Number { .. } => {
            ColumnSketch::new(&output.name, vec![("value", Distribution::Histogram(Histogram::quantiles()))])
        }
    }
}

#[cfg(test)]
#[path = "sketch_tests.rs"]
mod tests;
