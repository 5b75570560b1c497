//! What differs between two versions of a dataset: which rows or documents came, went, or moved between the splits, what was
//! dropped for which reason, and how the numbers moved.

use std::collections::BTreeMap;
use std::path::Path;

use base::Value;
use dataset::{DOCUMENTS_FILE, Documents, Quality, Split, read_columns, read_split};
use serde::Serialize;

use crate::error::DataError;
use crate::rows::key;

/// Rows that are shown of those that came and went.
const SAMPLES: usize = 5;
/// Longer rows are cut.
const SAMPLE_CHARACTERS: usize = 160;

/// What differs between two versions of a dataset, from the first to the second. Everything is counted, but `stability`,
/// which is estimated from histograms.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Rows of both.
    pub rows: [u64; 2],
    /// Rows that both have, by their contents.
    pub common: u64,
    /// Rows that only the second has.
    pub added: u64,
    /// Rows that only the first has.
    pub removed: u64,
    /// Common rows that changed their split, by `from → to`.
    pub moved: BTreeMap<String, u64>,
    /// Rows that were dropped, by reason.
    pub dropped: BTreeMap<String, [u64; 2]>,
    /// Cells or texts that were changed, by reason.
    pub changed: BTreeMap<String, [u64; 2]>,
    /// How much numbers, lengths and signals moved: population stability indices.
    pub stability: BTreeMap<String, f64>,
    /// Some rows that only the second has.
    pub samples_added: Vec<String>,
    /// Some rows that only the first has.
    pub samples_removed: Vec<String>,
}

/// A row, by the hash of its contents; its split; and its place among the rows of its dataset.
type Entry = ([u8; 16], u8, u32);

/// Compares two datasets, by their folders. Takes 24 bytes of memory for each row.
///
/// # Errors
/// [`DataError`] when one of them cannot be read, or they are of two families.
pub fn diff(first: &Path, second: &Path) -> Result<Diff, DataError> {
    let qualities = [Quality::load(first)?, Quality::load(second)?];
    let mut entries = [entries(first)?, entries(second)?];
    for list in &mut entries {
        list.sort_unstable();
    }
    let [a, b] = &entries;
    let mut found = Diff { rows: [a.len() as u64, b.len() as u64], ..Diff::default() };
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        match (a.get(i), b.get(j)) {
            (Some(one), Some(two)) if one.0 == two.0 => {
                found.common += 1;
                if one.1 != two.1 {
                    let name = |split: u8| Split::ALL[usize::from(split)].name();
                    *found.moved.entry(format!("{} → {}", name(one.1), name(two.1))).or_default() += 1;
                }
                (i, j) = (i + 1, j + 1);
            }
            (Some(one), two) if two.is_none_or(|two| one.0 < two.0) => {
                removed.push(one.2);
                i += 1;
            }
            (_, Some(two)) => {
                added.push(two.2);
                j += 1;
            }
            (_, None) => break,
        }
    }
    (found.added, found.removed) = (added.len() as u64, removed.len() as u64);
    found.samples_added = samples(second, added)?;
    found.samples_removed = samples(first, removed)?;
    for (at, quality) in qualities.iter().enumerate() {
        for (reason, count) in &quality.dropped {
            found.dropped.entry(reason.clone()).or_default()[at] = *count;
        }
        for (reason, count) in &quality.changed {
            found.changed.entry(reason.clone()).or_default()[at] = *count;
        }
    }
    found.stability = qualities[1].stability(&qualities[0]);
    Ok(found)
}

/// Calls with every row of a dataset: its place, split, hash, and words for it.
fn each(folder: &Path, mut take: impl FnMut(u32, u8, [u8; 16], &dyn Fn() -> String)) -> Result<(), DataError> {
    let mut place = 0;
    if folder.join(DOCUMENTS_FILE).exists() {
        for document in Documents::open(folder, DOCUMENTS_FILE)? {
            let document = document?;
            let split = Split::ALL.iter().position(|split| split.name() == document.why).unwrap_or(0) as u8;
            take(place, split, document.hash, &|| document.text.clone());
            place += 1;
        }
        return Ok(());
    }
    if folder.join(dataset::LANGUAGE_FILE).exists() {
        let what = "it was made before documents were kept, and holds only tokens";
        return Err(DataError::file(folder, what, "Make it anew with this version of yard."));
    }
    let columns = read_columns(folder)?;
    for split in Split::ALL {
        for row in read_split(folder, split, &columns)? {
            let cells: Vec<Value> = row.inputs.into_iter().chain(row.outputs).collect();
            take(place, split as u8, key(&cells), &|| told(&cells));
            place += 1;
        }
    }
    Ok(())
}

fn told(cells: &[Value]) -> String {
    let text = |value: &Value| match value {
        Value::Missing => String::new(),
        Value::Binary(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.clone(),
    };
    cells.iter().map(text).collect::<Vec<_>>().join(" | ")
}

fn entries(folder: &Path) -> Result<Vec<Entry>, DataError> {
    let mut entries = Vec::new();
    each(folder, |place, split, hash, _| entries.push((hash, split, place)))?;
    Ok(entries)
}

/// The first of some rows in the order of their dataset, in short.
fn samples(folder: &Path, mut places: Vec<u32>) -> Result<Vec<String>, DataError> {
    places.sort_unstable();
    places.truncate(SAMPLES);
    let mut shown = Vec::new();
    if places.is_empty() {
        return Ok(shown);
    }
    each(folder, |place, _, _, words| {
        if places.binary_search(&place).is_ok() {
            shown.push(words().chars().take(SAMPLE_CHARACTERS).collect());
        }
    })?;
    Ok(shown)
}
