//! Corrections of labels: the small JSONL file that the review page writes and the next run applies.
//!
//! The first line names the format; each further line is one decision. A row is found by the digest of
//! its content, so that reordered files keep their corrections; its id tells equal rows apart.
//! `from` equal to `to` says that a person confirmed the label.

use std::collections::{BTreeMap, HashMap};

use base::{Digest, Value};
use serde::{Deserialize, Serialize};

use crate::error::LabelsError;

/// The first line of a corrections file.
pub const HEADER: &str = r#"{"format":"modelyard.corrections","version":1}"#;
/// The longest line that is read.
const LINE_BYTES_MAX: usize = 64 << 10;
/// The most lines that are read.
const LINES_MAX: usize = 10_000_000;

/// One decision of a person about one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// The digest of the row's content: [`row_key`].
    pub key: Digest,
    /// The row's id.
    pub row: String,
    /// The label the person saw.
    pub from: String,
    /// The label it should be.
    pub to: String,
    /// Who decided.
    pub who: String,
    /// When, as RFC 3339 in UTC: `2026-11-26T20:15:00Z`.
    pub when: String,
    /// Why, or nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
}

/// A row as corrections see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledRow {
    /// The digest of its content without the label.
    pub key: Digest,
    /// Its id.
    pub id: String,
    /// Its label.
    pub label: String,
}

/// A label that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The row's index.
    pub index: usize,
    /// The label before.
    pub from: String,
    /// The label now.
    pub to: String,
    /// The correction's index.
    pub correction: usize,
}

/// Why a correction had no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stale {
    /// No row has the content.
    Gone,
    /// The id exists, and its content is another.
    ContentChanged {
        /// The row's index.
        index: usize,
    },
    /// Several rows have the content, none of them the id.
    Ambiguous {
        /// How many.
        rows: usize,
    },
    /// The row carries another label than the person saw.
    LabelChanged {
        /// The row's index.
        index: usize,
        /// The label it carries.
        label: String,
    },
}

/// Decisions about one row that contradict each other; none was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The corrections' indices.
    pub corrections: Vec<usize>,
}

/// What became of corrections. Every correction is in exactly one of the lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Labels that were changed, in the order of corrections.
    pub changed: Vec<Change>,
    /// Corrections that confirm the label a row carries.
    pub confirmed: Vec<usize>,
    /// Corrections whose row carries the wanted label already.
    pub already: Vec<usize>,
    /// Corrections that a later one of the same person replaced.
    pub replaced: Vec<usize>,
    /// Corrections without effect, and why.
    pub stale: Vec<(usize, Stale)>,
    /// Corrections that contradict each other.
    pub conflicts: Vec<Conflict>,
}

/// The digest of a row's content: its cells without the label, as a JSON array.
///
/// # Errors
/// Never for finite numbers; a number that is not finite has no content to name.
pub fn row_key(cells: &[Value]) -> Result<Digest, LabelsError> {
    let text = serde_json::to_string(cells)
        .map_err(|error| LabelsError::input("a row", error.to_string(), "Numbers of a row are finite."))?;
    Ok(Digest::of(text.as_bytes()))
}

/// Reads a corrections file.
///
/// # Errors
/// With the line: a missing or unknown header, a line that is no correction, an impossible time.
pub fn read_corrections(text: &str) -> Result<Vec<Correction>, LabelsError> {
    let wrong = |line: usize, what: String, hint: &str| {
        Err(LabelsError::Corrections { line: line as u64 + 1, what, hint: hint.to_owned() })
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut corrections = Vec::new();
    let mut header_seen = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        if line.len() > LINE_BYTES_MAX || index >= LINES_MAX {
            return wrong(index, "the file or this line is too long".to_owned(), "Is this a file of corrections?");
        }
        if !header_seen {
            let header: Option<Header> = serde_json::from_str(line).ok();
            if !header.is_some_and(|header| header.format == "modelyard.corrections" && header.version == 1) {
                let hint = format!("The first line reads {HEADER}");
                return wrong(index, "no header of a known version".to_owned(), &hint);
            }
            header_seen = true;
            continue;
        }
        let correction: Correction = match serde_json::from_str(line) {
            Ok(correction) => correction,
            Err(error) => {
                let hint = "A line has the fields key, row, from, to, who, when and, if wanted, note.";
                return wrong(index, error.to_string(), hint);
            }
        };
        if !is_utc_time(&correction.when) {
            let what = format!("{:?} is no time", correction.when);
            return wrong(index, what, "Write times in UTC, like 2026-11-26T20:15:00Z.");
        }
        corrections.push(correction);
    }
    if !header_seen && !text.trim().is_empty() {
        return wrong(0, "no header".to_owned(), "Download the file from the review page.");
    }
    Ok(corrections)
}

/// Writes a corrections file that [`read_corrections`] reads back.
///
/// # Errors
/// When `serde_json` refuses, which strings give no cause for.
pub fn write_corrections(corrections: &[Correction]) -> Result<String, LabelsError> {
    let mut text = format!("{HEADER}\n");
    for correction in corrections {
        let line = serde_json::to_string(correction).map_err(|error| {
            LabelsError::input("a correction", error.to_string(), "Please report this: texts can always be written.")
        })?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

/// Applies corrections to rows and says what became of each.
///
/// Decisions about one row and one seen label: the latest of one person counts; two persons who differ
/// are a conflict, and neither is applied. A chain (first to B, then from B to C) is followed.
pub fn apply(rows: &mut [LabelledRow], corrections: &[Correction]) -> Applied {
    let mut applied = Applied::default();
    let dropped = settle(corrections, &mut applied);
    let mut by_key: HashMap<Digest, Vec<usize>> = HashMap::new();
    let mut by_id: HashMap<String, usize> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        by_key.entry(row.key).or_default().push(index);
        by_id.entry(row.id.clone()).or_insert(index);
    }
    for (at, correction) in corrections.iter().enumerate().filter(|(at, _)| !dropped[*at]) {
        let found = by_key.get(&correction.key).map_or(&[][..], Vec::as_slice);
        let index = match found.iter().find(|&&index| rows[index].id == correction.row) {
            Some(&index) => index,
            None if found.len() == 1 => found[0],
            None => {
                let stale = match by_id.get(&correction.row) {
                    _ if !found.is_empty() => Stale::Ambiguous { rows: found.len() },
                    Some(&index) => Stale::ContentChanged { index },
                    None => Stale::Gone,
                };
                applied.stale.push((at, stale));
                continue;
            }
        };
        let label = &mut rows[index].label;
        if correction.from == correction.to && *label == correction.to {
            applied.confirmed.push(at);
        } else if *label == correction.to {
            applied.already.push(at);
        } else if *label == correction.from {
            let from = std::mem::replace(label, correction.to.clone());
            applied.changed.push(Change { index, from, to: correction.to.clone(), correction: at });
        } else {
            applied.stale.push((at, Stale::LabelChanged { index, label: label.clone() }));
        }
    }
    applied
}

/// Marks what a later decision replaced and what contradicts.
fn settle(corrections: &[Correction], applied: &mut Applied) -> Vec<bool> {
    let mut dropped = vec![false; corrections.len()];
    let mut groups: BTreeMap<(Digest, &str, &str), Vec<usize>> = BTreeMap::new();
    for (at, correction) in corrections.iter().enumerate() {
        groups.entry((correction.key, &correction.row, &correction.from)).or_default().push(at);
    }
    let mut conflicts = Vec::new();
    for group in groups.into_values().filter(|group| group.len() > 1) {
        let mut latest: BTreeMap<&str, usize> = BTreeMap::new();
        for &at in &group {
            let correction = &corrections[at];
            match latest.get(correction.who.as_str()) {
                Some(&other) if corrections[other].when > correction.when => dropped[at] = true,
                Some(&other) => {
                    dropped[other] = true;
                    latest.insert(&correction.who, at);
                }
                None => drop(latest.insert(&correction.who, at)),
            }
        }
        applied.replaced.extend(group.iter().filter(|&&at| dropped[at]));
        let mut left: Vec<usize> = latest.into_values().collect();
        left.sort_unstable();
        if left.iter().any(|&at| corrections[at].to != corrections[left[0]].to) {
            left.iter().for_each(|&at| dropped[at] = true);
            conflicts.push(Conflict { corrections: left });
        }
    }
    applied.replaced.sort_unstable();
    conflicts.sort_by_key(|conflict: &Conflict| conflict.corrections[0]);
    applied.conflicts = conflicts;
    dropped
}

/// `YYYY-MM-DDTHH:MM:SS[.fff]Z` with a day that exists.
fn is_utc_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = b"0000-00-00T00:00:00";
    let fits = |(byte, wanted): (&u8, &u8)| if *wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted };
    if bytes.len() < 20 || !bytes.iter().zip(shape).all(fits) {
        return false;
    }
    let rest = &bytes[19..];
    let fraction =
        rest.len() > 2 && rest.len() <= 11 && rest[0] == b'.' && rest[1..rest.len() - 1].iter().all(u8::is_ascii_digit);
    if rest[rest.len() - 1] != b'Z' || !(rest.len() == 1 || fraction) {
        return false;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u32>().unwrap_or(u32::MAX);
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => 0,
    };
    (1..=days).contains(&day) && number(11, 13) < 24 && number(14, 16) < 60 && number(17, 19) <= 60
}
