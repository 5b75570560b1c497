//! Rows as sparse vectors: hashed words and pairs of words of texts, standardised numbers and their
//! deciles, categories.
//!
//! No label is looked at, so the features may be made once for all folds. Chinese, Japanese and Korean
//! characters count as words of their own, since those scripts are written without spaces.

use std::collections::HashMap;

use base::{ColumnType, Value};

use crate::error::LabelsError;
use crate::random::mix;

/// The most features that are kept: the most frequent ones.
const FEATURES_MAX: usize = 1 << 18;
/// The most bytes of one text that are read.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// From this number of rows on, a feature must occur twice to be kept.
const ROWS_FOR_RARE: usize = 500;

/// Sparse vectors, one for each row, each feature once a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    width: usize,
    offsets: Vec<usize>,
    ids: Vec<u32>,
    weights: Vec<f32>,
}

impl Features {
    /// From dense vectors of `width` numbers, row after row; embeddings for instance.
    ///
    /// # Errors
    /// When the length is no multiple of `width`, or a number is not finite.
    pub fn dense(width: usize, values: &[f32]) -> Result<Self, LabelsError> {
        let wrong = |what: String| LabelsError::input("features", what, "Give one finite vector for each row.");
        if width == 0 || !values.len().is_multiple_of(width) || u32::try_from(width).is_err() {
            return Err(wrong(format!("{} numbers are not rows of {width}", values.len())));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(wrong(format!("row {} is not finite", at / width)));
        }
        let mut features = Self { width, offsets: vec![0], ids: Vec::new(), weights: Vec::new() };
        for row in values.chunks_exact(width) {
            for (id, value) in row.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                features.ids.push(id as u32);
                features.weights.push(*value);
            }
            features.offsets.push(features.ids.len());
        }
        Ok(features)
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The number of different features.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The features of a row and their weights.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[row]..self.offsets[row + 1];
        (&self.ids[range.clone()], &self.weights[range])
    }

    /// |row|².
    #[must_use]
    pub fn squared_norm(&self, row: usize) -> f64 {
        self.row(row).1.iter().map(|weight| f64::from(*weight).powi(2)).sum()
    }
}

/// Features before they have their final numbers; the weight of a word is not a number yet.
#[derive(Default)]
struct Raw {
    offsets: Vec<usize>,
    hashes: Vec<u64>,
    weights: Vec<f32>,
}

/// The features of rows; `types` names the type of each column that predicts.
///
/// # Errors
/// When a row has another number of cells than there are types.
pub fn featurize(types: &[ColumnType], rows: &[Vec<Value>]) -> Result<Features, LabelsError> {
    if let Some(row) = rows.iter().position(|row| row.len() != types.len()) {
        let what = format!("row {row} has {} cells, and there are {} columns", rows[row].len(), types.len());
        return Err(LabelsError::input("rows", what, "Give every row one cell for each column."));
    }
    let numbers: Vec<Option<Scale>> = types
        .iter()
        .enumerate()
        .map(|(column, kind)| (*kind == ColumnType::Number).then(|| Scale::of(column, rows)))
        .collect();
    let mut raw = Raw { offsets: vec![0], ..Raw::default() };
    let mut words = Vec::new();
    let mut texts = vec![false; types.len()];
    for row in rows {
        for (column, (value, kind)) in row.iter().zip(types).enumerate() {
            let salt = mix(column as u64 + 1);
            match (value, kind) {
                (Value::Text(text), ColumnType::Text) => {
                    texts[column] = true;
                    hash_words(text, salt, &mut words);
                    raw.hashes.extend_from_slice(&words);
                    raw.weights.resize(raw.hashes.len(), f32::NAN);
                }
                (Value::Number(number), _) => match &numbers[column] {
                    Some(scale) => scale.push(*number, salt, &mut raw),
                    None => raw.push(mix(salt ^ number.to_bits()), 1.0),
                },
                (Value::Text(text), _) => raw.push(hash_bytes(text.as_bytes(), salt), 1.0),
                (Value::Binary(binary), _) => raw.push(mix(salt ^ (2 + u64::from(*binary))), 1.0),
                (Value::Missing, _) => raw.push(mix(salt ^ 1), 1.0),
            }
        }
        raw.offsets.push(raw.hashes.len());
    }
    Ok(number_and_weigh(&raw))
}

impl Raw {
    fn push(&mut self, hash: u64, weight: f32) {
        self.hashes.push(hash);
        self.weights.push(weight);
    }
}

/// How a column of numbers is standardised and cut.
struct Scale {
    mean: f64,
    deviation: f64,
    deciles: Vec<f64>,
}

impl Scale {
    fn of(column: usize, rows: &[Vec<Value>]) -> Self {
        let mut values: Vec<f64> = rows.iter().filter_map(|row| row[column].as_number()).collect();
        values.sort_by(f64::total_cmp);
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        let at = |tenth: usize| values[(values.len() - 1) * tenth / 10];
        let mut deciles: Vec<f64> = if values.is_empty() { Vec::new() } else { (1..10).map(at).collect() };
        deciles.dedup();
        Self { mean, deviation: variance.sqrt(), deciles }
    }

    fn push(&self, number: f64, salt: u64, raw: &mut Raw) {
        let scaled = if self.deviation > 0.0 { (number - self.mean) / self.deviation } else { 0.0 };
        raw.push(mix(salt ^ 0xa0), (scaled.clamp(-4.0, 4.0) * 0.5) as f32);
        let decile = self.deciles.partition_point(|edge| *edge < number) as u64;
        raw.push(mix(salt ^ (0x100 + decile)), 1.0);
    }
}

/// The hashes of a text's words, pairs of neighbours, and the words' runs of 3 to 5 letters.
fn hash_words(text: &str, salt: u64, hashes: &mut Vec<u64>) {
    hashes.clear();
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut previous = mix(salt ^ 0x57);
    let mut word: Vec<char> = Vec::new();
    for letter in text[..end].chars().chain([' ']) {
        if letter.is_alphanumeric() && !is_own_word(letter) {
            word.extend(letter.to_lowercase());
        } else if letter != '\'' {
            if !word.is_empty() {
                previous = push_word(&word, previous, salt, hashes);
                push_runs(&word, salt, hashes);
                word.clear();
            }
            if is_own_word(letter) {
                previous = push_word(&[letter], previous, salt, hashes);
            }
        }
    }
}

/// Pushes a word and its pair with the word before it; gives the word's hash.
fn push_word(word: &[char], previous: u64, salt: u64, hashes: &mut Vec<u64>) -> u64 {
    let hash = word.iter().fold(salt, |hash, letter| step(hash, *letter));
    hashes.extend([hash, mix(previous.rotate_left(17) ^ hash)]);
    hash
}

/// Pushes the runs of 3 to 5 letters of ` word `, so that spellings and endings count.
fn push_runs(word: &[char], salt: u64, hashes: &mut Vec<u64>) {
    let at = |index: usize| if index == 0 || index > word.len() { ' ' } else { word[index - 1] };
    for first in 0..word.len() {
        let mut hash = mix(salt ^ 0x3c);
        for length in 1..=5.min(word.len() + 2 - first) {
            hash = step(hash, at(first + length - 1));
            if length >= 3 {
                hashes.push(hash);
            }
        }
    }
}

fn step(hash: u64, letter: char) -> u64 {
    mix(hash.wrapping_add(u64::from(letter)).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Han, kana and Hangul.
fn is_own_word(letter: char) -> bool {
    matches!(u32::from(letter), 0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0x2_0000..=0x3_ffff)
}

fn hash_bytes(bytes: &[u8], salt: u64) -> u64 {
    let mut hash = mix(salt ^ bytes.len() as u64);
    for piece in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        hash = mix(hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    hash
}

/// Gives the kept hashes their numbers, most frequent first, adds up repeats within a row, and weighs
/// words by (1 + ln tf) · idf with unit length.
fn number_and_weigh(raw: &Raw) -> Features {
    let rows = raw.offsets.len() - 1;
    let mut sorted: Vec<(u64, f32, u32)> = Vec::new();
    let mut unique_offsets = vec![0];
    let mut entries: Vec<(u64, f32, u32)> = Vec::new();
    let mut frequencies: HashMap<u64, u32> = HashMap::new();
    for range in raw.offsets.windows(2) {
        sorted.clear();
        sorted.extend((range[0]..range[1]).map(|at| (raw.hashes[at], raw.weights[at], 1)));
        sorted.sort_by_key(|entry| entry.0);
        sorted.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.2 += u32::from(same);
            same
        });
        for (hash, weight, count) in &sorted {
            *frequencies.entry(*hash).or_default() += 1;
            entries.push((*hash, *weight, *count));
        }
        unique_offsets.push(entries.len());
    }
    let rare = if rows >= ROWS_FOR_RARE { 2 } else { 1 };
    let mut kept: Vec<(u64, u32)> = frequencies.into_iter().filter(|(_, count)| *count >= rare).collect();
    kept.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    kept.truncate(FEATURES_MAX);
    let numbers: HashMap<u64, (u32, f32)> = kept
        .iter()
        .enumerate()
        .map(|(id, (hash, count))| {
            (*hash, (id as u32, ((1.0 + rows as f64) / (1.0 + f64::from(*count))).ln() as f32 + 1.0))
        })
        .collect();
    let mut features = Features { width: kept.len().max(1), offsets: vec![0], ids: Vec::new(), weights: Vec::new() };
    let mut row: Vec<(u32, f32, bool)> = Vec::new();
    for range in unique_offsets.windows(2) {
        row.clear();
        for (hash, weight, count) in &entries[range[0]..range[1]] {
            if let Some((id, idf)) = numbers.get(hash) {
                let word = weight.is_nan();
                row.push((*id, if word { (1.0 + (*count as f32).ln()) * idf } else { *weight }, word));
            }
        }
        let norm = row.iter().filter(|entry| entry.2).map(|entry| entry.1 * entry.1).sum::<f32>().sqrt();
        row.sort_by_key(|entry| entry.0);
        features.ids.extend(row.iter().map(|entry| entry.0));
        features.weights.extend(row.iter().map(|entry| if entry.2 { entry.1 / norm } else { entry.1 }));
        features.offsets.push(features.ids.len());
    }
    features
}
