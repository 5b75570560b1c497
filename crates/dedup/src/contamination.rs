//! Texts that hold what a model is evaluated on, by n-grams.
//!
//! [`Contamination`] keeps the evaluation texts and compares n-grams exactly. [`NgramIndex`] does what
//! datatrove 0.10.1 does (`pipeline/decont/n_grams.py`, Apache-2.0): hashes only, and n-grams that reach
//! from a question into its answer. Memory is bounded by the evaluation texts, about 16 bytes an n-gram.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;
use words::simplify_into;

use crate::DedupError;

/// What n-grams are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// What stands between white space after normalisation.
    Words,
    /// Characters without white space, for writing that has none, such as Chinese.
    Characters,
}

/// Settings of decontamination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContaminationConfig {
    /// How many units in a row must be equal (13 as for GPT-3).
    pub ngram: usize,
    /// What the units are.
    pub unit: Unit,
}

impl Default for ContaminationConfig {
    fn default() -> Self {
        Self { ngram: 13, unit: Unit::Words }
    }
}

/// An n-gram of an evaluation text, found in another text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The n-gram, normalised.
    pub ngram: String,
    /// The evaluation text that has it; the first where several do.
    pub evaluation: u64,
}

/// Keys are hashes already.
#[derive(Debug, Clone, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = XxHash64::oneshot(0, bytes);
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

type Map<V> = HashMap<u64, V, BuildHasherDefault<Identity>>;

/// Evaluation texts, ready to be looked for. Shared between threads by reference.
#[derive(Debug, Clone)]
pub struct Contamination {
    config: ContaminationConfig,
    /// Where an n-gram with this hash first begins in `units`.
    ngrams: Map<u32>,
    /// All evaluation texts, normalised, units joined by spaces (or by nothing), and what each unit spans.
    text: String,
    units: Vec<(u32, u32)>,
    /// The first unit of each evaluation text, and its id.
    starts: Vec<(u32, u64)>,
    too_short: u64,
}

impl Contamination {
    /// Takes evaluation texts with their ids.
    ///
    /// # Errors
    /// The n-gram length is out of range, or the texts are longer than 4 GiB.
    pub fn new<'a>(
        config: &ContaminationConfig,
        texts: impl IntoIterator<Item = (u64, &'a str)>,
    ) -> Result<Self, DedupError> {
        if !(1..=1000).contains(&config.ngram) {
            return Err(DedupError::config("ngram", "an n-gram has 1 to 1000 units"));
        }
        let mut made = Self {
            config: config.clone(),
            ngrams: Map::default(),
            text: String::new(),
            units: Vec::new(),
            starts: Vec::new(),
            too_short: 0,
        };
        let mut simplified = String::new();
        for (id, text) in texts {
            simplify_into(text, &mut simplified);
            made.add(id, &simplified)?;
        }
        Ok(made)
    }

    fn add(&mut self, id: u64, simplified: &str) -> Result<(), DedupError> {
        let first = self.units.len();
        self.starts.push((first as u32, id));
        cut_into_units(simplified, self.config.unit, &mut self.text, &mut self.units);
        if u32::try_from(self.text.len()).is_err() {
            return Err(DedupError::config("evaluation", "evaluation texts are limited to 4 GiB"));
        }
        if self.units.len() - first < self.config.ngram {
            self.too_short += 1;
        }
        for (offset, window) in self.units[first..].windows(self.config.ngram).enumerate() {
            let hash = XxHash64::oneshot(0, spanned(&self.text, window).as_bytes());
            self.ngrams.entry(hash).or_insert((first + offset) as u32);
        }
        Ok(())
    }

    /// How many evaluation texts are shorter than an n-gram, so that they can never be found.
    #[must_use]
    pub fn too_short(&self) -> u64 {
        self.too_short
    }

    /// The first n-gram of a text that an evaluation text has.
    #[must_use]
    pub fn check(&self, text: &str) -> Option<Match> {
        Checker::new(self).check(text)
    }
}

/// Checks one text after the other with the same buffers.
#[derive(Debug, Clone)]
pub struct Checker<'a> {
    contamination: &'a Contamination,
    simplified: String,
    text: String,
    units: Vec<(u32, u32)>,
}

impl<'a> Checker<'a> {
    /// For one thread.
    #[must_use]
    pub fn new(contamination: &'a Contamination) -> Self {
        Self { contamination, simplified: String::new(), text: String::new(), units: Vec::new() }
    }

    /// The first n-gram of a text that an evaluation text has. Of texts over 4 GiB only that much is seen.
    pub fn check(&mut self, text: &str) -> Option<Match> {
        let known = self.contamination;
        let text = &text[..text.floor_char_boundary(text.len().min(u32::MAX as usize / 4))];
        simplify_into(text, &mut self.simplified);
        self.text.clear();
        self.units.clear();
        cut_into_units(&self.simplified, known.config.unit, &mut self.text, &mut self.units);
        self.units.windows(known.config.ngram).find_map(|window| {
            let ngram = spanned(&self.text, window);
            let first = *known.ngrams.get(&XxHash64::oneshot(0, ngram.as_bytes()))? as usize;
            let same = spanned(&known.text, &known.units[first..first + known.config.ngram]);
            if same != ngram {
                return None; // another text with this hash
            }
            let text = known.starts.partition_point(|(start, _)| *start as usize <= first) - 1;
            Some(Match { ngram: ngram.to_owned(), evaluation: known.starts[text].1 })
        })
    }
}

fn spanned<'a>(text: &'a str, window: &[(u32, u32)]) -> &'a str {
    &text[window[0].0 as usize..window[window.len() - 1].1 as usize]
}

/// Appends a normalised text and the spans of its units.
fn cut_into_units(simplified: &str, unit: Unit, text: &mut String, units: &mut Vec<(u32, u32)>) {
    for word in simplified.split(' ').filter(|word| !word.is_empty()) {
        match unit {
            Unit::Words => {
                text.push(' ');
                let start = text.len() as u32;
                text.push_str(word);
                units.push((start, text.len() as u32));
            }
            Unit::Characters => {
                for character in word.chars() {
                    let start = text.len() as u32;
                    text.push(character);
                    units.push((start, text.len() as u32));
                }
            }
        }
    }
}

/// Settings of datatrove's decontamination, with its defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NgramIndexConfig {
    /// How many words in a row must be equal.
    pub ngram: usize,
    /// Also look for n-grams of the question alone.
    pub find_query_ngrams: bool,
    /// Also look for n-grams that begin in the question and end in the answer.
    pub find_overlap_ngrams: bool,
}

impl Default for NgramIndexConfig {
    fn default() -> Self {
        Self { ngram: 12, find_query_ngrams: false, find_overlap_ngrams: true }
    }
}

/// datatrove's index: hashes of n-grams of tasks.
#[derive(Debug, Clone)]
pub struct NgramIndex {
    config: NgramIndexConfig,
    tasks: Vec<String>,
    hashes: Map<u32>,
}

impl NgramIndex {
    /// An empty index.
    ///
    /// # Errors
    /// The n-gram length is out of range.
    pub fn new(config: &NgramIndexConfig) -> Result<Self, DedupError> {
        if !(1..=1000).contains(&config.ngram) {
            return Err(DedupError::config("ngram", "an n-gram has 1 to 1000 words"));
        }
        Ok(Self { config: config.clone(), tasks: Vec::new(), hashes: Map::default() })
    }

    /// Adds an answer, with its question, to a task. Words are those of the normalised texts.
    pub fn add(&mut self, task: &str, label: &[&str], query: Option<&[&str]>) {
        let index = self.tasks.iter().position(|known| known == task).unwrap_or_else(|| {
            self.tasks.push(task.to_owned());
            self.tasks.len() - 1
        }) as u32;
        let length = self.config.ngram;
        let mut add = |words: &[&str]| {
            let hash = XxHash64::oneshot(0, words.join(" ").as_bytes());
            let tasks = &self.tasks;
            // datatrove reads its tasks' files in order of names, and later ones replace earlier ones.
            let file = |index: u32| format!("{}.index.hashes", tasks[index as usize].replace(' ', "_"));
            let known = self.hashes.entry(hash).or_insert(index);
            if *known != index && file(*known) < file(index) {
                *known = index;
            }
        };
        label.windows(length).for_each(&mut add);
        let Some(query) = query else { return };
        if self.config.find_query_ngrams {
            query.windows(length).for_each(&mut add);
        }
        if self.config.find_overlap_ngrams {
            for from_label in 1..length {
                let from_query = length - from_label;
                if query.len() >= from_query && label.len() >= from_label {
                    add(&[&query[query.len() - from_query..], &label[..from_label]].concat());
                }
            }
        }
    }

    /// The first n-gram of a text's words (normalised) that a task has, and the task.
    #[must_use]
    pub fn check(&self, words: &[&str]) -> Option<(String, &str)> {
        let mut joined = String::new();
        let mut spans = Vec::with_capacity(words.len());
        for word in words {
            if !joined.is_empty() {
                joined.push(' ');
            }
            spans.push(joined.len());
            joined.push_str(word);
        }
        let last = self.config.ngram - 1;
        (0..words.len().saturating_sub(last)).find_map(|first| {
            let ngram = &joined[spans[first]..spans[first + last] + words[first + last].len()];
            let task = *self.hashes.get(&XxHash64::oneshot(0, ngram.as_bytes()))?;
            Some((ngram.to_owned(), self.tasks[task as usize].as_str()))
        })
    }
}
