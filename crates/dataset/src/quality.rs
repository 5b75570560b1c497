//! The quality report: what the rows are like.

use std::collections::BTreeMap;
use std::path::Path;

use base::ColumnType;
use serde::{Deserialize, Serialize};

use crate::PerSplit;
use crate::error::DatasetError;

/// The file of [`Quality`].
pub const QUALITY_FILE: &str = "quality.json";

/// What the rows are like. All counts are measured over all rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Rows in the sources.
    pub rows_read: u64,
    /// Rows in the splits.
    pub rows_kept: u64,
    /// Rows of each split.
    pub splits: PerSplit,
    /// Dropped rows by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Changed cells by reason.
    pub changed: BTreeMap<String, u64>,
    /// The columns, inputs first.
    pub columns: Vec<ColumnQuality>,
    /// How often each label of each output stands in each split.
    pub balance: BTreeMap<String, Balance>,
    /// What a founder should know.
    pub warnings: Vec<String>,
    /// Of documents: what became of them, step by step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<DocumentsQuality>,
}

/// What became of documents, step by step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DocumentsQuality {
    /// The retention waterfall, from what was read to what was kept. Measured.
    pub steps: Vec<Step>,
    /// Signals by name. Histograms are those of a sample of at most [`SAMPLE_ROWS`] documents of each kind.
    pub signals: BTreeMap<String, SignalQuality>,
    /// The first documents that each reason dropped.
    pub samples: BTreeMap<String, Vec<Sample>>,
    /// The licence of each source. Declared by whoever wrote the project file, not measured.
    pub licences: Vec<Licence>,
    /// Documents by language, most frequent first. Estimated by the language model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub languages: BTreeMap<String, u64>,
    /// Pieces of personal data by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub personal: BTreeMap<String, u64>,
}

/// Documents of which histograms are made.
pub const SAMPLE_ROWS: usize = 4096;

/// A step of the retention waterfall.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What decided: `read`, the reason of a rule, or `kept`.
    pub name: String,
    /// Documents that the step took away; of `read` and `kept`, those that there were.
    pub documents: u64,
    /// Bytes of their text.
    pub bytes: u64,
}

/// The distribution of a signal among kept and dropped documents.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SignalQuality {
    /// Among kept ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<NumberQuality>,
    /// Among dropped ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<NumberQuality>,
}

/// A document that was dropped, for people to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Its position in all sources, from 0.
    pub row: u64,
    /// Its source.
    pub source: String,
    /// Where it stands there.
    pub line: u64,
    /// How it begins.
    pub beginning: String,
}

/// The licence of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Licence {
    /// The source.
    pub source: String,
    /// What the project file says; `None` where it says nothing.
    pub licence: Option<String>,
    /// Kept documents of the source.
    pub documents: u64,
    /// Bytes of their text.
    pub bytes: u64,
}

/// What one column is like, over the kept rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnQuality {
    /// Its name.
    pub name: String,
    /// `input`, `output` or `text`.
    pub role: String,
    /// Its type.
    pub column_type: ColumnType,
    /// Why it has that type.
    pub inferred: String,
    /// Rows that lack it.
    pub missing: u64,
    /// Distinct values, missing ones left out.
    pub distinct: u64,
    /// Of numbers: their distribution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<NumberQuality>,
    /// Of text: the distribution of its length in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<NumberQuality>,
}

/// The distribution of a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NumberQuality {
    /// The smallest.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// The median.
    pub median: f64,
    /// The largest.
    pub max: f64,
    /// The standard deviation (of the population).
    pub deviation: f64,
    /// Its histogram.
    pub histogram: Histogram,
}

/// Counts between edges: `counts[i]` from `edges[i]` up to `edges[i + 1]`, the last edge included.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// One more than there are counts, ascending.
    pub edges: Vec<f64>,
    /// How many lie between.
    pub counts: Vec<u64>,
}

/// How often each label stands in each split.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// The labels, sorted.
    pub labels: Vec<String>,
    /// Rows of the training split with each label.
    pub train: Vec<u64>,
    /// Rows of the validation split.
    pub valid: Vec<u64>,
    /// Rows of the test split.
    pub test: Vec<u64>,
}

impl NumberQuality {
    /// The distribution of numbers, in at most `bins` equal bins; `None` where there are none.
    #[must_use]
    pub fn of(numbers: &[f64], bins: usize) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.iter().copied().filter(|number| number.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let count = sorted.len() as f64;
        let mean = sorted.iter().map(|number| number / count).sum::<f64>();
        let deviation = sorted.iter().map(|number| (number - mean).powi(2) / count).sum::<f64>().sqrt();
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { sorted[middle - 1].midpoint(sorted[middle]) };
        let span = max - min;
        let bins = if span > 0.0 && span.is_finite() { bins.max(1) } else { 1 };
        let mut counts = vec![0; bins];
        for number in &sorted {
            let bin = if bins == 1 { 0 } else { ((number - min) / span * bins as f64) as usize };
            counts[bin.min(bins - 1)] += 1;
        }
        let edges =
            (0..=bins).map(|edge| if edge == bins { max } else { min + span * edge as f64 / bins as f64 }).collect();
        Some(Self { min, mean, median, max, deviation, histogram: Histogram { edges, counts } })
    }
}

/// The share that stands for none, so that a logarithm exists.
const SHARE_MIN: f64 = 1e-4;
/// Parts of a distribution that the stability index compares.
const PARTS: usize = 10;

impl NumberQuality {
    /// The population stability index of another distribution against this one, over tenths of this one: below 0.1 they
    /// hardly differ, above 0.25 much. Estimated from the histograms, within whose bins numbers count as even.
    #[must_use]
    pub fn stability(&self, other: &Self) -> f64 {
        let mut edges: Vec<f64> = (1..PARTS).map(|part| self.quantile(part as f64 / PARTS as f64)).collect();
        edges.dedup();
        let shares = |of: &Self| {
            let below: Vec<f64> = edges.iter().map(|edge| of.share_to(*edge)).collect();
            let mut shares = vec![below.first().copied().unwrap_or(1.0)];
            shares.extend(below.windows(2).map(|pair| pair[1] - pair[0]));
            shares.push(1.0 - below.last().copied().unwrap_or(1.0));
            shares
        };
        let pairs = shares(self).into_iter().zip(shares(other));
        pairs.map(|(a, b)| (a.max(SHARE_MIN), b.max(SHARE_MIN))).map(|(a, b)| (b - a) * (b / a).ln()).sum()
    }

    /// The share of numbers up to one.
    fn share_to(&self, number: f64) -> f64 {
        let (edges, counts) = (&self.histogram.edges, &self.histogram.counts);
        let all = counts.iter().sum::<u64>().max(1) as f64;
        let bins = edges.windows(2).zip(counts).map(|(edge, count)| {
            let width = edge[1] - edge[0];
            let part = if width > 0.0 {
                ((number - edge[0]) / width).clamp(0.0, 1.0)
            } else {
                f64::from(u8::from(number >= edge[0]))
            };
            part * *count as f64
        });
        bins.sum::<f64>() / all
    }

    /// The number that a share of them is below.
    fn quantile(&self, share: f64) -> f64 {
        let (edges, counts) = (&self.histogram.edges, &self.histogram.counts);
        let wanted = share * counts.iter().sum::<u64>() as f64;
        let mut before = 0.0;
        for (edge, count) in edges.windows(2).zip(counts) {
            let count = *count as f64;
            if before + count >= wanted && count > 0.0 {
                return edge[0] + (edge[1] - edge[0]) * (wanted - before) / count;
            }
            before += count;
        }
        self.max
    }
}

impl Quality {
    /// How much each number, length and signal moved from another version of the dataset to this one: population stability
    /// indices by name.
    #[must_use]
    pub fn stability(&self, earlier: &Self) -> BTreeMap<String, f64> {
        let mut moved = BTreeMap::new();
        for column in &self.columns {
            let Some(before) = earlier.columns.iter().find(|other| other.name == column.name) else { continue };
            for (what, now, then) in
                [("", &column.number, &before.number), (" (length)", &column.length, &before.length)]
            {
                if let (Some(now), Some(then)) = (now, then) {
                    moved.insert(format!("{}{what}", column.name), then.stability(now));
                }
            }
        }
        let signals = |quality: &Self| quality.documents.clone().map(|documents| documents.signals).unwrap_or_default();
        let before = signals(earlier);
        for (name, signal) in signals(self) {
            let then = before.get(&name).and_then(|signal| signal.kept.as_ref());
            if let (Some(now), Some(then)) = (&signal.kept, then) {
                moved.insert(name, then.stability(now));
            }
        }
        moved
    }

    /// Reads it from a dataset's folder.
    ///
    /// # Errors
    /// [`DatasetError::Io`] or [`DatasetError::Damaged`].
    pub fn load(folder: &Path) -> Result<Self, DatasetError> {
        let path = folder.join(QUALITY_FILE);
        let bytes = std::fs::read(&path).map_err(DatasetError::io("read", &path))?;
        serde_json::from_slice(&bytes).map_err(DatasetError::damaged(&path))
    }

    /// Writes it to a dataset's folder.
    ///
    /// # Errors
    /// [`DatasetError::Io`].
    pub fn save(&self, folder: &Path) -> Result<(), DatasetError> {
        let path = folder.join(QUALITY_FILE);
        let text = serde_json::to_string_pretty(self).map_err(DatasetError::damaged(&path))?;
        std::fs::write(&path, text).map_err(DatasetError::io("write", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stability_is_nothing_for_the_same_and_much_for_another() {
        let numbers = |shift: f64| (0..1000).map(|number| f64::from(number) / 10.0 + shift).collect::<Vec<_>>();
        let of = |numbers: &[f64]| NumberQuality::of(numbers, 20).unwrap();
        let one = of(&numbers(0.0));
        assert!(one.stability(&one) < 1e-9);
        assert!(one.stability(&of(&numbers(2.0))) < 0.1);
        assert!(one.stability(&of(&numbers(60.0))) > 0.25);
        // All numbers are the same.
        let flat = of(&[3.0; 50]);
        assert!(flat.stability(&flat).abs() < 1e-9);
        assert!(flat.stability(&one).is_finite() && one.stability(&flat).is_finite());
        // By hand: (0.5, 0.5) against (0.25, 0.75) is 0.25 ln 2 + 0.25 ln 1.5.
        let half = NumberQuality::of(&[0.0, 1.0], 2).unwrap();
        let shares = [(0.5_f64, 0.25_f64), (0.5, 0.75)];
        let expected: f64 = shares.iter().map(|(a, b)| (b - a) * (b / a).ln()).sum();
        assert!((expected - 0.274_653).abs() < 1e-5 && half.share_to(0.5) == 0.5);
    }
}
