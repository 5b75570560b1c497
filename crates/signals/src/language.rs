//! The language of a text by a fastText model such as lid.176 (`.bin` or the compressed `.ftz`).
//!
//! Written from fastText's file format and formulas (Joulin et al., 2016; MIT): a text's vector is the mean of the
//! vectors of its words and their runs of characters; labels hang on a Huffman tree. A word's own sum is kept for
//! when it comes again, which is what makes this fast: most words of a text were seen before.

use std::collections::HashMap;
use std::path::Path;

use crate::hash::{NumberMap, hash_bytes, mix};
use crate::values::LanguageScore;
use crate::{SignalsError, fasttext};

/// Languages less likely than this are not listed.
pub const LANGUAGE_PROBABILITY_MIN: f64 = 0.005;

const CACHE_SLOTS: usize = 1 << 15;
const END_OF_LINE: &[u8] = b"</s>";

/// A model that tells languages apart. It is read once and shared by all threads.
pub struct LanguageModel {
    pub(crate) dimensions: usize,
    pub(crate) shortest_run: usize,
    pub(crate) longest_run: usize,
    pub(crate) buckets: u32,
    /// Words by their bytes; their rows come first.
    pub(crate) words: HashMap<Box<[u8]>, u32>,
    /// Which buckets a compressed model kept, and as which.
    pub(crate) kept: Option<NumberMap>,
    pub(crate) input: Vec<f32>,
    pub(crate) output: Vec<f32>,
    pub(crate) labels: Vec<String>,
    /// For each inner node of the tree, left and right: labels first, then nodes.
    pub(crate) tree: Vec<(u32, u32)>,
    /// Of the file, to know whose sums a cache holds.
    pub(crate) fingerprint: u64,
}

impl std::fmt::Debug for LanguageModel {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("LanguageModel").field("labels", &self.labels.len()).finish_non_exhaustive()
    }
}

/// Sums of words seen before: one for each thread.
#[derive(Default)]
pub(crate) struct LanguageScratch {
    model: u64,
    keys: Vec<u64>,
    counts: Vec<u32>,
    sums: Vec<f32>,
    hidden: Vec<f32>,
    bracketed: Vec<u8>,
}

impl LanguageModel {
    /// Reads a model file.
    ///
    /// # Errors
    /// If the file cannot be read, is no fastText classifier with hierarchical softmax, or is damaged.
    pub fn read(path: &Path) -> Result<Self, SignalsError> {
        let bytes =
            std::fs::read(path).map_err(|error| SignalsError::Io { verb: "read", path: path.to_owned(), error })?;
        fasttext::parse(&bytes).map_err(|what| SignalsError::Model { path: path.to_owned(), what })
    }

    /// The labels it knows.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The likely languages of a text, best first; none of a text without a known piece.
    pub fn languages(&self, text: &str) -> Vec<LanguageScore> {
        self.predict(text, &mut LanguageScratch::default())
    }

    pub(crate) fn predict(&self, text: &str, scratch: &mut LanguageScratch) -> Vec<LanguageScore> {
        scratch.prepare(self);
        let mut count = 0u64;
        for word in text.as_bytes().split(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0b | 0x0c | 0)) {
            if !word.is_empty() {
                count += u64::from(self.add_word(word, scratch));
            }
        }
        count += u64::from(self.add_word(END_OF_LINE, scratch));
        if count == 0 {
            return Vec::new();
        }
        let scale = 1.0 / count as f32;
        for value in &mut scratch.hidden {
            *value *= scale;
        }
        let mut found = Vec::new();
        self.descend(self.labels.len() + self.tree.len() - 1, 0.0, &scratch.hidden, &mut found);
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let score = |(label, score): (usize, f32)| LanguageScore {
            language: self.labels[label].clone(),
            probability: f64::from(score.exp()),
        };
        found.into_iter().map(score).collect()
    }

    /// Adds a word's rows to the hidden vector; says how many.
    #[inline]
    fn add_word(&self, word: &[u8], scratch: &mut LanguageScratch) -> u32 {
        let key = hash_bytes(word).max(1);
        let slot = (mix(key, 1) >> (64 - CACHE_SLOTS.trailing_zeros())) as usize;
        let range = slot * self.dimensions..(slot + 1) * self.dimensions;
        if scratch.keys[slot] != key {
            scratch.keys[slot] = key;
            let sum = &mut scratch.sums[range.clone()];
            sum.fill(0.0);
            scratch.counts[slot] = self.sum_word(word, sum, &mut scratch.bracketed);
        }
        for (total, part) in scratch.hidden.iter_mut().zip(&scratch.sums[range]) {
            *total += part;
        }
        scratch.counts[slot]
    }

    fn sum_word(&self, word: &[u8], sum: &mut [f32], bracketed: &mut Vec<u8>) -> u32 {
        let known = self.words.get(word);
        if known.is_none() && word.starts_with(b"__label__") {
            return 0;
        }
        let mut count = 0;
        if let Some(row) = known {
            count += self.add_row(*row, sum);
        }
        if word == END_OF_LINE || self.longest_run == 0 {
            return count;
        }
        bracketed.clear();
        bracketed.push(b'<');
        bracketed.extend_from_slice(word);
        bracketed.push(b'>');
        let continues = |byte: u8| byte & 0xc0 == 0x80;
        for start in 0..bracketed.len() {
            if continues(bracketed[start]) {
                continue;
            }
            let (mut at, mut hash) = (start, 2_166_136_261u32);
            for n in 1..=self.longest_run {
                if at == bracketed.len() {
                    break;
                }
                loop {
                    // fastText takes bytes as signed.
                    hash = (hash ^ (bracketed[at] as i8 as u32)).wrapping_mul(16_777_619);
                    at += 1;
                    if at == bracketed.len() || !continues(bracketed[at]) {
                        break;
                    }
                }
                if n >= self.shortest_run && !(n == 1 && (start == 0 || at == bracketed.len())) {
                    count += self.add_bucket(hash % self.buckets, sum);
                }
            }
        }
        count
    }

    fn add_bucket(&self, bucket: u32, sum: &mut [f32]) -> u32 {
        let bucket = match &self.kept {
            None => bucket,
            Some(kept) => match kept.get(bucket) {
                Some(row) => row,
                None => return 0,
            },
        };
        self.add_row(self.words.len() as u32 + bucket, sum)
    }

    #[inline]
    fn add_row(&self, row: u32, sum: &mut [f32]) -> u32 {
        let start = row as usize * self.dimensions;
        // Rows are checked against the dictionary when the file is read.
        if let Some(values) = self.input.get(start..start + self.dimensions) {
            for (total, value) in sum.iter_mut().zip(values) {
                *total += value;
            }
        }
        1
    }

    /// Goes down the tree for as long as a label below can be likely enough.
    fn descend(&self, node: usize, score: f32, hidden: &[f32], found: &mut Vec<(usize, f32)>) {
        let mut open = vec![(node, score)];
        while let Some((node, score)) = open.pop() {
            if f64::from(score) < LANGUAGE_PROBABILITY_MIN.ln() {
                continue;
            }
            let Some(inner) = node.checked_sub(self.labels.len()) else {
                found.push((node, score));
                continue;
            };
            let row = &self.output[inner * self.dimensions..(inner + 1) * self.dimensions];
            let dot: f32 = row.iter().zip(hidden).map(|(a, b)| a * b).sum();
            let right = 1.0 / (1.0 + (-dot).exp());
            let log = |probability: f32| (f64::from(probability) + 1e-5).ln() as f32;
            let (left_node, right_node) = self.tree[inner];
            open.push((left_node as usize, score + log(1.0 - right)));
            open.push((right_node as usize, score + log(right)));
        }
    }
}

impl LanguageScratch {
    fn prepare(&mut self, model: &LanguageModel) {
        if self.model != model.fingerprint || self.keys.is_empty() {
            self.model = model.fingerprint;
            self.keys = vec![0; CACHE_SLOTS];
            self.counts = vec![0; CACHE_SLOTS];
            self.sums = vec![0.0; CACHE_SLOTS * model.dimensions];
        }
        self.hidden.clear();
        self.hidden.resize(model.dimensions, 0.0);
    }
}
