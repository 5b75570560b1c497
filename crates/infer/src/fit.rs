//! Fits preprocessing to the rows of the training split: means and deviations, labels, and the inverse
//! document frequencies of n-grams, `ln((1 + rows) / (1 + rows with it)) + 1` (scikit-learn's smooth
//! idf, over buckets).

use std::collections::{BTreeMap, BTreeSet};

use base::Value;

use crate::bag::Bag;
use crate::description::{Columns, Encoding, Target};
use crate::error::InferError;
use crate::preprocess::Preprocessor;
use crate::tokenizer::TextTokenizer;

/// Collects what preprocessing needs, row by row.
#[derive(Debug)]
pub struct Fitter {
    columns: Columns,
    /// Whether numbers are centred: not in a model without intercept.
    centre: bool,
    inputs: Vec<Collected>,
    outputs: Vec<Collected>,
}

/// What one column has shown.
#[derive(Debug)]
enum Collected {
    Nothing,
    Labels(BTreeSet<String>),
    Number(NumberFitter),
    Bag(BagFitter),
}

/// Collects mean and sum of squared differences (Welford 1962), and the sum of squares.
#[derive(Debug, Clone, Default)]
pub struct NumberFitter {
    count: f64,
    mean: f64,
    differences: f64,
    squares: f64,
}

impl NumberFitter {
    /// Takes one finite number.
    pub fn observe(&mut self, number: f64) {
        self.count += 1.0;
        let before = number - self.mean;
        self.mean += before / self.count;
        self.differences += before * (number - self.mean);
        self.squares += number * number;
    }

    /// Mean and deviation to scale by. Not centred, the mean is 0 and the deviation the root of the
    /// mean square. The deviation is 1 where all numbers are equal, and not finite where they are
    /// beyond what floating point can square.
    #[must_use]
    pub fn finish(&self, centred: bool) -> (f64, f64) {
        let count = self.count.max(1.0);
        let (mean, square) = if centred { (self.mean, self.differences) } else { (0.0, self.squares) };
        let deviation = (square / count).sqrt();
        // Below the smallest normal number a quotient by it would overflow.
        (mean, if deviation < f64::MIN_POSITIVE { 1.0 } else { deviation })
    }
}

/// Counts in how many texts each bucket of a bag stands.
#[derive(Debug, Clone)]
pub struct BagFitter {
    bag: Bag,
    texts: u64,
    texts_with: Vec<u32>,
}

impl BagFitter {
    /// Begins, for a bag of these lengths of n-grams and twice as many buckets.
    #[must_use]
    pub fn new(word_ngrams: [u32; 2], character_ngrams: [u32; 2], buckets: u32) -> Self {
        let bag = Bag::new(word_ngrams, character_ngrams, buckets);
        Self { bag, texts: 0, texts_with: vec![0; 2 * buckets.max(1) as usize] }
    }

    /// Takes one cleaned text; the empty text for a missing one.
    pub fn observe(&mut self, text: &str) {
        self.texts += 1;
        self.bag.count(text, |feature, _| self.texts_with[feature as usize] += 1);
    }

    /// The inverse document frequency of each bucket.
    #[must_use]
    pub fn finish(&self) -> Vec<f32> {
        let all = 1.0 + self.texts as f64;
        self.texts_with.iter().map(|with| ((all / (1.0 + f64::from(*with))).ln() + 1.0) as f32).collect()
    }
}

/// The distinct labels of a column's cells, sorted.
pub fn labels<'a>(cells: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let distinct: BTreeSet<&str> = cells.filter_map(Value::as_text).collect();
    distinct.into_iter().map(str::to_owned).collect()
}

impl Fitter {
    /// Begins. In `columns`, what is to be fitted (labels of categories, means and deviations,
    /// offsets) may hold anything.
    #[must_use]
    pub fn new(columns: Columns, centre: bool) -> Self {
        let inputs = columns.inputs.iter().map(|input| match &input.encoding {
            Encoding::Number { .. } => Collected::Number(NumberFitter::default()),
            Encoding::Category { .. } => Collected::Labels(BTreeSet::new()),
            Encoding::Bag { word_ngrams, character_ngrams, buckets } => {
                Collected::Bag(BagFitter::new(*word_ngrams, *character_ngrams, *buckets))
            }
            Encoding::Binary { .. } | Encoding::Transformer { .. } => Collected::Nothing,
        });
        let inputs = inputs.collect();
        let outputs = columns.outputs.iter().map(|output| match &output.target {
            Target::Category { .. } => Collected::Labels(BTreeSet::new()),
            Target::Number { .. } => Collected::Number(NumberFitter::default()),
            Target::Binary { .. } => Collected::Nothing,
        });
        let outputs = outputs.collect();
        Self { columns, centre, inputs, outputs }
    }

    /// Takes one cleaned row of the training split, values in the order of the columns.
    pub fn observe(&mut self, inputs: &[Value], outputs: &[Value]) {
        let cells = self.inputs.iter_mut().zip(inputs).chain(self.outputs.iter_mut().zip(outputs));
        for (collected, value) in cells {
            match (collected, value) {
                (Collected::Labels(labels), Value::Text(text)) if !labels.contains(text) => {
                    labels.insert(text.clone());
                }
                (Collected::Number(numbers), Value::Number(number)) => numbers.observe(*number),
                (Collected::Bag(bag), value) => bag.observe(value.as_text().unwrap_or("")),
                _ => {}
            }
        }
    }

    /// Ends. `tokenizer` is needed where an input is a transformer's; it gives the vocabulary's size.
    ///
    /// # Errors
    /// [`InferError::Input`] when a column's numbers are too large to scale, or there is no tokenizer.
    pub fn finish(self, tokenizer: Option<TextTokenizer>) -> Result<Preprocessor, InferError> {
        let Self { mut columns, centre, inputs, outputs } = self;
        let mut idf = BTreeMap::new();
        let mut begin = 0;
        for (input, collected) in columns.inputs.iter_mut().zip(inputs) {
            match (&mut input.encoding, collected) {
                (Encoding::Category { labels }, Collected::Labels(found)) => *labels = found.into_iter().collect(),
                (Encoding::Number { mean, deviation }, Collected::Number(numbers)) => {
                    (*mean, *deviation) = scale(&input.name, &numbers, centre)?;
                }
                (Encoding::Transformer { shape, .. }, _) => {
                    shape.vocabulary = tokenizer.as_ref().map_or(0, TextTokenizer::vocabulary_size);
                }
                (_, Collected::Bag(bag)) => {
                    idf.insert(input.name.clone(), bag.finish());
                }
                _ => {}
            }
            input.offset = begin;
            begin += input.sparse_features();
        }
        for (output, collected) in columns.outputs.iter_mut().zip(outputs) {
            match (&mut output.target, collected) {
                (Target::Category { labels }, Collected::Labels(found)) => *labels = found.into_iter().collect(),
                (Target::Number { mean, deviation }, Collected::Number(numbers)) => {
                    (*mean, *deviation) = scale(&output.name, &numbers, centre)?;
                }
                _ => {}
            }
        }
        Preprocessor::new(columns, idf, tokenizer)
    }
}

fn scale(column: &str, numbers: &NumberFitter, centre: bool) -> Result<(f64, f64), InferError> {
    let (mean, deviation) = numbers.finish(centre);
    if mean.is_finite() && deviation.is_finite() {
        return Ok((mean, deviation));
    }
    Err(InferError::Input { column: column.to_owned(), what: "its numbers are too large to be scaled".to_owned() })
}
