//! A walk over the shards in the order of the sources, with what repeats something taken out: what every later pass sees.

use std::ops::Range;
use std::path::Path;

use dataset::Split;

use super::duplicates::{Cut, Duplicates, Repeats};
use super::plan::Plan;
use super::prepared::{Prepared, read_shard};
use crate::error::DataError;
use crate::mend::Change;

/// Longer passages are shortened in the ledger.
const SHOWN_CHARACTERS: usize = 200;

/// A document and what became of it.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) document: Prepared,
    /// The document that it repeats.
    pub(super) of: Option<u64>,
    /// The split that it was given as.
    pub(super) given: Option<Split>,
}

/// The documents of one shard after the other.
pub(super) struct Walk<'a> {
    plan: &'a Plan,
    folder: &'a Path,
    shards: Range<usize>,
    repeats: Repeats,
    /// Behind the last row of the given test split, and of the given validation split.
    ends: (u64, u64),
}

impl<'a> Walk<'a> {
    pub(super) fn begin(
        plan: &'a Plan,
        folder: &'a Path,
        shards: usize,
        duplicates: &Duplicates,
    ) -> Result<Self, DataError> {
        Ok(Self { plan, folder, shards: 0..shards, repeats: duplicates.walk()?, ends: (0, 0) })
    }

    /// The documents of the next shard; `None` behind the last.
    pub(super) fn next_shard(&mut self) -> Result<Option<Vec<Judged>>, DataError> {
        let Some(shard) = self.shards.next() else { return Ok(None) };
        let documents = read_shard(self.folder, shard)?;
        documents.into_iter().map(|document| self.judge(document)).collect::<Result<_, _>>().map(Some)
    }

    fn judge(&mut self, mut document: Prepared) -> Result<Judged, DataError> {
        let given = self.plan.objects.get(document.object as usize).and_then(|given| given.split);
        match given {
            Some(Split::Test) => self.ends.0 = document.row + 1,
            Some(Split::Valid) => self.ends.1 = document.row + 1,
            _ => {}
        }
        let mut of = None;
        // What was given to judge the model stays as it was given.
        let held_out = matches!(given, Some(Split::Test | Split::Valid));
        if let Some((reason, first)) = self.repeats.reason(document.row)?
            && document.reason.is_none()
            && !held_out
        {
            document.reason = Some(self.named(reason, first));
            of = Some(first);
        }
        let cuts = self.repeats.cut(document.row)?;
        if document.reason.is_none() && !held_out && !cuts.is_empty() {
            cut(&mut document, cuts);
        }
        Ok(Judged { document, of, given })
    }

    /// The reason says whether the first document is one that the model is judged by. Those come first in the sources.
    fn named(&self, reason: &str, first: u64) -> String {
        match self.ends {
            (test, _) if first < test => format!("{reason}_of_test"),
            (_, valid) if first < valid => format!("{reason}_of_valid"),
            _ => reason.to_owned(),
        }
    }
}

/// Cuts passages out of a text; a text of which nothing is left is dropped.
fn cut(document: &mut Prepared, cuts: Vec<Cut>) {
    let mut all: Vec<Range<usize>> = Vec::new();
    for (reason, ranges) in cuts {
        for range in ranges {
            let passage = document.text.get(range.clone()).unwrap_or("");
            document.changes.push(Change {
                reason: reason.to_owned(),
                before: passage.chars().take(SHOWN_CHARACTERS).collect(),
                after: String::new(),
            });
            all.push(range);
        }
    }
    document.text = dedup::exact::cut(&document.text, &merged(all));
    if document.text.trim().is_empty() {
        document.reason = Some("only_repeated_passages".to_owned());
    }
}

/// Ranges in order, those that overlap made one.
fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
