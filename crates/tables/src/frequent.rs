//! The frequent values of a stream in bounded memory: Misra and Gries 1982, merged as Agarwal et al.
//! 2012 (*Mergeable summaries*).
//!
//! **Error:** a count is too small by at most [`Frequent::error`], which itself is at most the number of
//! values over 1,025; up to 1,024 different values counts are exact.

use std::collections::HashMap;

use base::Value;

use crate::hashing::hash_bytes;

/// How many values are kept.
pub const KEPT: usize = 1024;
/// Longer texts are kept by their beginning and a digest.
const TEXT_BYTES_MAX: usize = 256;

/// A sketch of the frequent values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Frequent {
    counts: HashMap<String, u64>,
    total: u64,
    error: u64,
}

impl Frequent {
    /// Adds a value as [`text_of`] writes it.
    pub fn push(&mut self, value: &Value) {
        match value {
            Value::Text(text) if text.len() <= TEXT_BYTES_MAX => self.push_text(text),
            other => self.push_text(&text_of(other)),
        }
    }

    fn push_text(&mut self, text: &str) {
        self.total += 1;
        if let Some(count) = self.counts.get_mut(text) {
            *count += 1;
        } else if self.counts.len() < KEPT {
            self.counts.insert(text.to_owned(), 1);
        } else {
            // The new value and one of each kept cancel out. Each pass takes KEPT + 1 occurrences away,
            // so passes cost a constant time a value on average.
            self.error += 1;
            self.counts.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }

    /// Adds what another saw.
    pub fn merge(&mut self, other: &Self) {
        for (text, count) in &other.counts {
            *self.counts.entry(text.clone()).or_default() += count;
        }
        self.total += other.total;
        self.error += other.error;
        if self.counts.len() > KEPT {
            let mut counts: Vec<u64> = self.counts.values().copied().collect();
            counts.sort_unstable_by(|a, b| b.cmp(a));
            let cut = counts[KEPT];
            self.error += cut;
            self.counts.retain(|_, count| {
                *count = count.saturating_sub(cut);
                *count > 0
            });
        }
    }

    /// The values and how often each was seen at least, most frequent first, equals by name.
    #[must_use]
    pub fn top(&self) -> Vec<(&str, u64)> {
        let mut all: Vec<(&str, u64)> = self.counts.iter().map(|(text, count)| (text.as_str(), *count)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        all
    }

    /// How many values were seen.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// By how much counts may be too small; 0 says that they are exact and that none is left out.
    #[must_use]
    pub fn error(&self) -> u64 {
        self.error
    }
}

/// A cell as text: what examples show and sets of values hold. Long texts are cut, with a digest.
#[must_use]
pub fn text_of(value: &Value) -> String {
    match value {
        Value::Missing => String::new(),
        Value::Binary(binary) => binary.to_string(),
        Value::Number(number) => (number + 0.0).to_string(),
        Value::Text(text) if text.len() <= TEXT_BYTES_MAX => text.clone(),
        Value::Text(text) => {
            let mut end = TEXT_BYTES_MAX - 24;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            format!("{}… #{:016x}", &text[..end], hash_bytes(text.as_bytes()))
        }
    }
}
