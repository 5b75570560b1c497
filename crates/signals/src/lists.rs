//! Words to be counted, such as toxic ones, and words' frequencies.
//!
//! No list comes with this crate: the usual one for C4 is CC BY 4.0 and not in any package registry, so its text is
//! the user's to bring, one word or phrase a line.

use std::collections::HashMap;
use std::path::Path;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use words::{WORD, classes};

use crate::SignalsError;

/// The most entries a list may have.
pub const LIST_ENTRIES_MAX: usize = 1_000_000;

/// A list of words and phrases that are searched for in lower-cased text.
#[derive(Debug)]
pub struct WordList {
    name: String,
    finder: AhoCorasick,
    whole_words: bool,
}

impl WordList {
    /// From entries; blank ones are left out. `whole_words` finds them between characters that are no letters, digits
    /// or `_` only: right where words have spaces between them, wrong for Chinese, Japanese and Thai.
    ///
    /// # Errors
    /// If there is no entry, or too many.
    pub fn new<'a>(
        name: &str,
        entries: impl IntoIterator<Item = &'a str>,
        whole_words: bool,
    ) -> Result<Self, SignalsError> {
        let error = |what: String| SignalsError::WordList { name: name.to_owned(), what };
        let entries: Vec<String> =
            entries.into_iter().map(words::strip).filter(|entry| !entry.is_empty()).map(str::to_lowercase).collect();
        if entries.is_empty() {
            return Err(error("it has no entry".to_owned()));
        }
        if entries.len() > LIST_ENTRIES_MAX {
            return Err(error(format!("it has {} entries, more than {LIST_ENTRIES_MAX}", entries.len())));
        }
        let kind = if whole_words { MatchKind::Standard } else { MatchKind::LeftmostLongest };
        let finder =
            AhoCorasickBuilder::new().match_kind(kind).build(&entries).map_err(|what| error(what.to_string()))?;
        Ok(Self { name: name.to_owned(), finder, whole_words })
    }

    /// The list's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many places of the text hold an entry. Where entries overlap each counts if whole words are asked for.
    pub fn count(&self, text: &str) -> u64 {
        let lower = text.to_lowercase();
        if !self.whole_words {
            return self.finder.find_iter(&lower).count() as u64;
        }
        let table = classes();
        let word = |character: Option<char>| character.is_some_and(|character| table.is(character, WORD));
        self.finder
            .find_overlapping_iter(&lower)
            .filter(|found| {
                !word(lower[..found.start()].chars().next_back()) && !word(lower[found.end()..].chars().next())
            })
            .count() as u64
    }
}

/// How frequent words are, for datatrove's unigram filter.
#[derive(Clone, Debug, Default)]
pub struct UnigramFrequencies {
    log_of: HashMap<String, f64>,
}

/// What a word not in the list counts as.
const UNKNOWN_FREQUENCY: f64 = 1e-9;

impl UnigramFrequencies {
    /// From a CSV file with the columns `word` and `count`, as `unigram_freq.csv` has them.
    ///
    /// # Errors
    /// If the file cannot be read or has no such lines.
    pub fn read(path: &Path) -> Result<Self, SignalsError> {
        let text = std::fs::read_to_string(path).map_err(|error| SignalsError::Io {
            verb: "read",
            path: path.to_owned(),
            error,
        })?;
        let counts: Vec<(&str, u64)> = text
            .lines()
            .filter_map(|line| line.rsplit_once(','))
            .filter_map(|(word, count)| Some((word.trim_matches('"'), count.trim().parse().ok()?)))
            .collect();
        if counts.is_empty() {
            let what = "no line has a word and its count".to_owned();
            return Err(SignalsError::Model { path: path.to_owned(), what });
        }
        Ok(Self::new(counts))
    }

    /// From words and their counts.
    pub fn new<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        let counts: Vec<(&str, u64)> = counts.into_iter().collect();
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        let log = |count: u64| (count as f64 / total as f64).ln();
        Self { log_of: counts.into_iter().map(|(word, count)| (word.to_owned(), log(count))).collect() }
    }

    /// The mean natural logarithm of the words' frequencies, 0 of no words.
    pub fn mean_log_probability<'a>(&self, words: impl Iterator<Item = &'a str>) -> f64 {
        let unknown = UNKNOWN_FREQUENCY.ln();
        let (mut count, mut sum) = (0u64, 0.0);
        let mut buffer = String::new();
        for word in words {
            let lower = if word.is_ascii() {
                buffer.clear();
                buffer.push_str(word);
                buffer.make_ascii_lowercase();
                &buffer
            } else {
                buffer = word.to_lowercase();
                &buffer
            };
            sum += self.log_of.get(lower.as_str()).copied().unwrap_or(unknown);
            count += 1;
        }
        if count == 0 { 0.0 } else { sum / count as f64 }
    }
}
