//! The passes behind the first: what repeats something is found, the rest is divided, a tokenizer is learned from the
//! training documents, and everything is written with its ledger and its report.

use std::sync::Arc;

use base::project::SplitMethod;
use base::{Context, Digest};
use dataset::{
    DOCUMENTS_FILE, DROPPED_FILE, Document, DocumentRow, DocumentsWriter, LanguageInfo, LedgerEntry, LedgerWriter,
    PerSplit, Split, TestWriter, TokensWriter,
};
use infer::tokenizer::TextTokenizer;
use serde_json::json;
use store::Work;

use super::duplicates::{self, Duplicates};
use super::gather::{Gathered, gather};
use super::plan::Plan;
use super::prepare::Preparer;
use super::quality::Account;
use super::walk::{Judged, Walk};
use super::{TOKENIZER_FILE, tokens};
use crate::error::DataError;

/// How much of a dropped document is kept, in characters.
const BEGINNING_CHARACTERS: usize = 400;

pub(super) fn make(context: &Context, plan: &Arc<Plan>, work: &Work<'_>) -> Result<(), DataError> {
    let folder = work.scratch();
    let preparer = Preparer::new(context, plan)?;
    let gathered = gather(context, plan, &preparer, folder)?;
    let duplicates = duplicates::find(context, plan, &gathered, folder)?;
    let pass = Pass { context, plan, work, gathered: &gathered, duplicates: &duplicates, signals: preparer.signals() };
    let cut = pass.cut()?;
    let tokenizer = tokens::learn(&pass, &cut)?;
    pass.write(&preparer, &tokenizer, &cut)
}

/// What every later pass needs.
pub(super) struct Pass<'a> {
    pub(super) context: &'a Context,
    pub(super) plan: &'a Plan,
    work: &'a Work<'a>,
    pub(super) gathered: &'a Gathered,
    duplicates: &'a Duplicates,
    signals: &'a [&'static str],
}

/// Where the order of the documents is cut: those with lesser keys test, the next validate.
pub(super) struct Cut {
    test: u128,
    valid: u128,
}

impl Pass<'_> {
    pub(super) fn walk(&self) -> Result<Walk<'_>, DataError> {
        Walk::begin(self.plan, self.work.scratch(), self.gathered.shards, self.duplicates)
    }

    pub(super) fn folder(&self) -> &std::path::Path {
        self.work.out()
    }

    pub(super) fn stopped(&self) -> Result<(), DataError> {
        if self.context.stop.asked() { Err(DataError::Stopped) } else { Ok(()) }
    }

    /// Whether a document is divided by us, and not given.
    fn open(&self, judged: &Judged) -> bool {
        judged.document.reason.is_none()
            && match judged.given {
                None => true,
                Some(split) => split == Split::Train && !self.plan.given(Split::Valid),
            }
    }

    /// Finds where to cut. Held in memory are 16 bytes of each document.
    fn cut(&self) -> Result<Cut, DataError> {
        let (mut keys, mut train) = (Vec::new(), 0_u64);
        let mut walk = self.walk()?;
        while let Some(shard) = walk.next_shard()? {
            self.stopped()?;
            for judged in &shard {
                if self.open(judged) {
                    keys.push(self.key(judged)?);
                }
                train += u64::from(judged.document.reason.is_none() && judged.given == Some(Split::Train));
            }
        }
        let ours = self.plan.objects.iter().all(|given| given.split.is_none());
        let count = keys.len();
        let share = |share: f64, most: usize| ((count as f64 * share).round() as usize).min(most);
        let test = if ours { share(self.plan.split.test, count.saturating_sub(1)) } else { 0 };
        let valid = share(self.plan.split.valid, count.saturating_sub(1 + test));
        if count == 0 && train == 0 {
            return Err(DataError::rows(
                "the training split has no documents",
                "Look at the ledger: yard data --explain-drops.",
            ));
        }
        let mut least = |count: usize| match count {
            0 => 0,
            count if count >= keys.len() => u128::MAX,
            count => *keys.select_nth_unstable(count).1,
        };
        Ok(Cut { test: least(test), valid: least(test + valid) })
    }

    /// The key that documents are ordered by: a hash of the seed, the text and the position; or the time, newest first.
    fn key(&self, judged: &Judged) -> Result<u128, DataError> {
        let document = &judged.document;
        if self.plan.split.method != SplitMethod::Time {
            let mut bytes = self.plan.seed.to_le_bytes().to_vec();
            bytes.extend(document.hash);
            bytes.extend(document.row.to_le_bytes());
            let mut key = [0; 16];
            key.copy_from_slice(&Digest::of(&bytes).bytes()[..16]);
            return Ok(u128::from_be_bytes(key));
        }
        if document.moment.is_nan() {
            let by = self.plan.split.by.as_deref().unwrap_or("");
            return Err(DataError::rows(
                format!("row {} has no time to split by in {by:?}", document.row),
                "Times are numbers, or dates such as 2026-11-24 or 2026-11-24T18:46:00.",
            ));
        }
        let bits = document.moment.to_bits();
        // The order of floating point numbers as that of whole numbers.
        let ascending = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
        Ok(u128::from(!ascending) << 64 | u128::from(!document.row))
    }

    /// The split of a document that is kept.
    pub(super) fn split(&self, judged: &Judged, cut: &Cut) -> Result<Split, DataError> {
        if !self.open(judged) {
            return Ok(judged.given.unwrap_or(Split::Train));
        }
        let key = self.key(judged)?;
        Ok(if key < cut.test {
            Split::Test
        } else if key < cut.valid {
            Split::Valid
        } else {
            Split::Train
        })
    }

    /// The source of a document, for people.
    fn source(&self, judged: &Judged) -> String {
        let name = self.plan.objects.get(judged.document.object as usize).map_or("", |given| &*given.object.name);
        judged.document.member.as_ref().map_or_else(|| name.to_owned(), |member| format!("{name}!{member}"))
    }

    fn write(&self, preparer: &Preparer, tokenizer: &TextTokenizer, cut: &Cut) -> Result<(), DataError> {
        let folder = self.folder();
        let task = self.context.begin("tokenise", Some(self.gathered.rows), "documents");
        let mut out = Out::create(folder, self.signals)?;
        let mut account = Account::new(self.plan, self.gathered, self.signals);
        let mut walk = self.walk()?;
        while let Some(shard) = walk.next_shard()? {
            self.stopped()?;
            let encoded = tokens::encode(self.context, tokenizer, &shard)?;
            for (judged, tokens) in shard.into_iter().zip(encoded) {
                let source = self.source(&judged);
                let split = match judged.document.reason {
                    None => Some(self.split(&judged, cut)?),
                    Some(_) => None,
                };
                account.add(&judged, &source, split);
                out.ledger(&judged, &source)?;
                task.at(judged.document.row);
                out.document(judged, source, split, &tokens)?;
            }
        }
        task.end("");
        let mut quality = account.finish(tokenizer.vocabulary_size());
        if let Some(clusters) = self.duplicates.near() {
            super::quality::write_clusters(folder, clusters)?;
        }
        quality.warnings.extend(preparer.warnings());
        let info = LanguageInfo {
            clean: self.plan.cleaning(),
            vocabulary: tokenizer.vocabulary_size(),
            tokens: out.counts(),
            documents: quality.splits,
            bytes: out.bytes,
        };
        self.work.metric("tokens", 0, info.tokens.train as f64)?;
        (quality.dropped, quality.changed) = out.finish()?;
        info.save(folder)?;
        quality.save(folder)?;
        tokenizer.save(&folder.join(TOKENIZER_FILE))?;
        Ok(())
    }
}

/// The files of the dataset under way.
struct Out {
    tokens: [TokensWriter; 3],
    test: TestWriter,
    kept: DocumentsWriter,
    dropped: DocumentsWriter,
    ledger: LedgerWriter,
    bytes: PerSplit,
}

impl Out {
    fn create(folder: &std::path::Path, signals: &[&str]) -> Result<Self, DataError> {
        let tokens = |split| TokensWriter::create(folder, split);
        Ok(Self {
            tokens: [tokens(Split::Train)?, tokens(Split::Valid)?, tokens(Split::Test)?],
            test: TestWriter::create(folder)?,
            kept: DocumentsWriter::create(folder, DOCUMENTS_FILE, signals)?,
            dropped: DocumentsWriter::create(folder, DROPPED_FILE, signals)?,
            ledger: LedgerWriter::create(folder)?,
            bytes: PerSplit::default(),
        })
    }

    /// What was changed and why something was dropped.
    fn ledger(&mut self, judged: &Judged, source: &str) -> Result<(), DataError> {
        let document = &judged.document;
        let entry = |action: &str, reason: &str| LedgerEntry {
            row: document.row,
            source: source.to_owned(),
            line: document.line,
            action: action.to_owned(),
            reason: reason.to_owned(),
            column: None,
            before: json!(null),
            after: json!(null),
            of: None,
        };
        for change in &document.changes {
            let (before, after) = (json!(change.before), json!(change.after));
            self.ledger.add(&LedgerEntry { before, after, ..entry("changed", &change.reason) })?;
        }
        if let Some(reason) = &document.reason {
            let before = json!(beginning(&document.text));
            self.ledger.add(&LedgerEntry { of: judged.of, before, ..entry("dropped", reason) })?;
        }
        Ok(())
    }

    fn document(
        &mut self,
        judged: Judged,
        source: String,
        split: Option<Split>,
        tokens: &[u16],
    ) -> Result<(), DataError> {
        let document = judged.document;
        let mut row = DocumentRow {
            row: document.row,
            source,
            line: document.line,
            why: String::new(),
            of: judged.of,
            text: document.text,
            hash: document.hash,
            signals: document.signals,
        };
        let Some(split) = split else {
            row.why = document.reason.unwrap_or_default();
            row.text = beginning(&row.text);
            return Ok(self.dropped.add(row)?);
        };
        split.name().clone_into(&mut row.why);
        *self.bytes.of(split) += row.text.len() as u64;
        self.tokens[split as usize].add(tokens.iter().copied())?;
        if split == Split::Test {
            self.test.add(&Document { row: row.row, text: row.text.clone() })?;
        }
        Ok(self.kept.add(row)?)
    }

    fn counts(&self) -> PerSplit {
        let [train, valid, test] = &self.tokens;
        PerSplit { train: train.count, valid: valid.count, test: test.count }
    }

    fn finish(self) -> Result<(dataset::LedgerCounts, dataset::LedgerCounts), DataError> {
        for tokens in self.tokens {
            tokens.finish()?;
        }
        self.test.finish()?;
        self.kept.finish()?;
        self.dropped.finish()?;
        Ok(self.ledger.finish()?)
    }
}

/// How a text begins.
pub(super) fn beginning(text: &str) -> String {
    text.char_indices()
        .nth(BEGINNING_CHARACTERS)
        .map_or_else(|| text.to_owned(), |(end, _)| format!("{}…", &text[..end]))
}
