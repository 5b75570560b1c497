//! The account of documents: the retention waterfall, what signals are like among kept and dropped ones, samples of what
//! each rule dropped, languages, personal data, and licences.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use base::ColumnType;
use dataset::{
    ColumnQuality, DatasetError, DocumentsQuality, Licence, NumberQuality, PerSplit, Quality, SAMPLE_ROWS, Sample,
    SignalQuality, Split, Step,
};
use dedup::Clusters;

use super::gather::Gathered;
use super::make::beginning;
use super::plan::Plan;
use super::walk::Judged;
use crate::error::DataError;

/// Bins of histograms.
const BINS: usize = 20;
/// How many documents are shown of those that a reason dropped.
const SAMPLES: usize = 5;
/// How many notes of readers are shown.
const NOTES_MAX: usize = 20;
/// The file of clusters: one line for each member, the first of a cluster first.
const CLUSTERS_FILE: &str = "clusters.jsonl";

/// Counts documents as they are written.
pub(super) struct Account<'a> {
    plan: &'a Plan,
    gathered: &'a Gathered,
    signals: &'a [&'static str],
    read: Step,
    kept: Step,
    dropped: BTreeMap<String, Step>,
    samples: BTreeMap<String, Vec<Sample>>,
    kept_signals: Reservoir,
    dropped_signals: Reservoir,
    lengths: Reservoir,
    languages: BTreeMap<String, u64>,
    personal: BTreeMap<String, u64>,
    /// Kept documents and bytes of each object.
    objects: Vec<(u64, u64)>,
    splits: PerSplit,
}

impl<'a> Account<'a> {
    pub(super) fn new(plan: &'a Plan, gathered: &'a Gathered, signals: &'a [&'static str]) -> Self {
        Self {
            plan,
            gathered,
            signals,
            read: Step::default(),
            kept: Step::default(),
            dropped: BTreeMap::new(),
            samples: BTreeMap::new(),
            kept_signals: Reservoir::default(),
            dropped_signals: Reservoir::default(),
            lengths: Reservoir::default(),
            languages: BTreeMap::new(),
            personal: BTreeMap::new(),
            objects: vec![(0, 0); plan.objects.len()],
            splits: PerSplit::default(),
        }
    }

    /// Counts a document; `split` of one that is kept.
    pub(super) fn add(&mut self, judged: &Judged, source: &str, split: Option<Split>) {
        let document = &judged.document;
        self.read.documents += 1;
        self.read.bytes += document.bytes_read;
        for change in &document.changes {
            if let Some(kind) = change.reason.strip_prefix("personal_") {
                *self.personal.entry(kind.to_owned()).or_default() += 1;
            }
        }
        if let Some(language) = &document.language {
            *self.languages.entry(language.clone()).or_default() += 1;
        }
        let Some(split) = split else {
            let reason = document.reason.clone().unwrap_or_default();
            let step = self.dropped.entry(reason.clone()).or_default();
            step.documents += 1;
            step.bytes += document.bytes_read;
            self.dropped_signals.add(document.row, || document.signals.clone());
            let samples = self.samples.entry(reason).or_default();
            if samples.len() < SAMPLES {
                samples.push(Sample {
                    row: document.row,
                    source: source.to_owned(),
                    line: document.line,
                    beginning: beginning(&document.text),
                });
            }
            return;
        };
        let bytes = document.text.len() as u64;
        self.kept.documents += 1;
        self.kept.bytes += bytes;
        *self.splits.of(split) += 1;
        if let Some((documents, of)) = self.objects.get_mut(document.object as usize) {
            *documents += 1;
            *of += bytes;
        }
        self.kept_signals.add(document.row, || document.signals.clone());
        self.lengths.add(document.row, || vec![document.text.chars().count() as f32]);
    }

    pub(super) fn finish(self, vocabulary: usize) -> Quality {
        let mut quality = Quality {
            rows_read: self.read.documents,
            rows_kept: self.kept.documents,
            splits: self.splits,
            columns: vec![ColumnQuality {
                name: self.plan.text_column.clone(),
                role: "text".to_owned(),
                column_type: ColumnType::Text,
                inferred: "the text of a language model".to_owned(),
                missing: 0,
                distinct: self.kept.documents,
                number: None,
                length: self.lengths.quality(0),
            }],
            ..Quality::default()
        };
        if vocabulary < self.plan.vocabulary {
            let asked = self.plan.vocabulary;
            quality.warnings.push(format!("the text gave {vocabulary} tokens of the {asked} that were asked for"));
        }
        quality.warnings.extend(self.gathered.notes.iter().take(NOTES_MAX).cloned());
        if let Some(more) = self.gathered.notes.len().checked_sub(NOTES_MAX).filter(|more| *more > 0) {
            quality.warnings.push(format!("and {more} more notes of readers"));
        }
        let signals = self.signals.iter().enumerate().map(|(at, name)| {
            let (kept, dropped) = (self.kept_signals.quality(at), self.dropped_signals.quality(at));
            ((*name).to_owned(), SignalQuality { kept, dropped })
        });
        let signals = signals.filter(|(_, signal)| signal.kept.is_some() || signal.dropped.is_some()).collect();
        quality.documents = Some(DocumentsQuality {
            signals,
            licences: licences(self.plan, &self.objects),
            steps: steps(&self.read, self.dropped, &self.kept),
            samples: self.samples,
            languages: self.languages,
            personal: self.personal,
        });
        quality
    }
}

/// The waterfall: what was read; what each reason took, in the order in which reasons decide; what is left.
fn steps(read: &Step, dropped: BTreeMap<String, Step>, kept: &Step) -> Vec<Step> {
    let rank = |name: &str| match name {
        name if name.starts_with("damaged_") => 0,
        "empty" => 1,
        name if name.starts_with("personal_") => 3,
        "contaminated" => 4,
        name if name.starts_with("duplicate") => 5,
        name if name.starts_with("near_duplicate") => 6,
        name if name.starts_with("semantic_duplicate") => 7,
        "only_repeated_passages" => 8,
        _ => 2,
    };
    let mut taken: Vec<Step> = dropped.into_iter().map(|(name, step)| Step { name, ..step }).collect();
    taken.sort_by_key(|step| (rank(&step.name), std::cmp::Reverse(step.documents), step.name.clone()));
    let first = Step { name: "read".to_owned(), ..read.clone() };
    let last = Step { name: "kept".to_owned(), ..kept.clone() };
    std::iter::once(first).chain(taken).chain([last]).collect()
}

/// What is kept under each declared licence, and what under none.
fn licences(plan: &Plan, objects: &[(u64, u64)]) -> Vec<Licence> {
    let mut found: BTreeMap<(Option<String>, String), (u64, u64)> = BTreeMap::new();
    for (given, (documents, bytes)) in plan.objects.iter().zip(objects) {
        let name: &str = &given.object.name;
        let declared = plan.licences.iter().find(|(pattern, _)| crate::rows::source::matches(pattern, name));
        let key = match declared {
            Some((pattern, licence)) => (Some(licence.clone()), pattern.clone()),
            None => (None, name.to_owned()),
        };
        let sum = found.entry(key).or_default();
        *sum = (sum.0 + documents, sum.1 + bytes);
    }
    found
        .into_iter()
        .map(|((licence, source), (documents, bytes))| Licence { source, licence, documents, bytes })
        .collect()
}

/// An even sample of rows: those with the least hashes of their numbers, so that it is the same for any order and number of
/// workers.
#[derive(Default)]
struct Reservoir(BTreeMap<u64, Vec<f32>>);

impl Reservoir {
    fn add(&mut self, row: u64, values: impl FnOnce() -> Vec<f32>) {
        let hash = scrambled(row);
        let full = self.0.len() >= SAMPLE_ROWS;
        if full && self.0.last_key_value().is_some_and(|(most, _)| *most < hash) {
            return;
        }
        self.0.insert(hash, values());
        if full {
            self.0.pop_last();
        }
    }

    fn quality(&self, at: usize) -> Option<NumberQuality> {
        let values: Vec<f64> =
            self.0.values().filter_map(|values| values.get(at)).map(|value| f64::from(*value)).collect();
        NumberQuality::of(&values, BINS)
    }
}

/// A number that looks random, different for every row (the finaliser of SplitMix64, a bijection).
fn scrambled(row: u64) -> u64 {
    let mut hash = row.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Writes the members of clusters, so that a person can look at them.
pub(super) fn write_clusters(folder: &Path, clusters: &Clusters) -> Result<(), DataError> {
    let path = folder.join(CLUSTERS_FILE);
    let file = std::fs::File::create(&path).map_err(DatasetError::io("make", &path))?;
    let mut out = std::io::BufWriter::new(file);
    for member in clusters.members()? {
        let member = member?;
        let line = serde_json::json!({
            "cluster": member.representative, "row": member.id,
            "similarity": (member.similarity * 1e4).round() / 1e4,
        });
        writeln!(out, "{line}").map_err(DatasetError::io("write", &path))?;
    }
    Ok(out.flush().map_err(DatasetError::io("write", &path))?)
}
