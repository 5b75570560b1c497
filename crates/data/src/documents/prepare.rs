//! What happens to a document on its own: repair, signals, the recipe's rules, personal data, contamination. A batch goes
//! in and a shard comes out, and nothing else is looked at, so that any thread or machine may do it.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Schema;
use base::{Context, Digest};
use dataset::Split;
use dedup::contamination::{Checker, Contamination, ContaminationConfig, Unit};
use dedup::exact::DocumentWriter;
use dedup::near::{MinHasher, NearConfig, Writer};
use infer::clean::clean_document;
use infer::description::TextCleaning;

use super::conditions::Conditions;
use super::duplicates::{hashes_path, near_config, signatures_path};
use super::gather::{Raw, RawBatch};
use super::judge::{Judge, JudgeWorker};
use super::plan::Plan;
use super::prepared::{Prepared, partial_path, schema, to_batch, write_shard};
use crate::error::DataError;
use crate::mend::{Change, Mender};

/// Everything that preparing needs, made once and shared by all threads.
pub(crate) struct Preparer {
    plan: Arc<Plan>,
    mender: Mender,
    judge: Judge,
    conditions: Option<Conditions>,
    contamination: Option<Contamination>,
    near: Option<NearConfig>,
    schema: Arc<Schema>,
}

impl Preparer {
    pub(crate) fn new(context: &Context, plan: &Arc<Plan>) -> Result<Self, DataError> {
        let judge = Judge::new(plan)?;
        let mender = Mender::new(plan.repair.as_ref(), plan.personal.as_ref())?;
        let schema = schema(judge.names());
        Ok(Self {
            plan: Arc::clone(plan),
            mender: if plan.is_chinese() { mender.chinese() } else { mender },
            conditions: Conditions::new(&plan.drop_where, &schema)?,
            contamination: contamination(context, plan)?,
            near: near_config(plan, 1),
            schema,
            judge,
        })
    }

    /// The names of the signals.
    pub(crate) fn signals(&self) -> &'static [&'static str] {
        self.judge.names()
    }

    /// What a founder should know of the settings.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let short = self.contamination.as_ref().map_or(0, Contamination::too_short);
        (short > 0)
            .then(|| format!("{short} evaluation texts are shorter than the n-grams that contamination is found by"))
            .into_iter()
            .collect()
    }

    /// For one thread.
    pub(crate) fn worker(&self) -> Result<Worker<'_>, DataError> {
        Ok(Worker {
            preparer: self,
            judge: self.judge.worker(),
            checker: self.contamination.as_ref().map(Checker::new),
            hasher: self.near.as_ref().map(MinHasher::new).transpose()?,
        })
    }
}

/// What one thread needs: buffers that are used again.
pub(crate) struct Worker<'a> {
    preparer: &'a Preparer,
    judge: JudgeWorker<'a>,
    checker: Option<Checker<'a>>,
    hasher: Option<MinHasher>,
}

impl Worker<'_> {
    /// Prepares a batch and writes its files: hashes and signatures first, so that a shard that is there is whole.
    pub(crate) fn shard(&mut self, batch: RawBatch, folder: &Path) -> Result<(), DataError> {
        let (index, preparer) = (batch.index, self.preparer);
        let mut documents = self.prepare(batch);
        if let Some(conditions) = &preparer.conditions {
            conditions.apply(&preparer.schema, &mut documents, |document| preparer.held_out(document.object))?;
        }
        // Under names of their own first: on a cluster, two may do the same batch.
        let (path, partial) = (hashes_path(folder, index), partial_path(&hashes_path(folder, index)));
        let mut hashes = DocumentWriter::create(&partial)?;
        for document in documents.iter().filter(|document| document.reason.is_none()) {
            hashes.push(document.row, &document.text)?;
        }
        hashes.finish()?;
        std::fs::rename(&partial, &path).map_err(DataError::io("rename", &partial))?;
        if let (Some(config), Some(hasher)) = (&preparer.near, &mut self.hasher) {
            let (path, partial) = (signatures_path(folder, index), partial_path(&signatures_path(folder, index)));
            let mut signatures = Writer::create(&partial, config)?;
            for document in documents.iter().filter(|document| document.reason.is_none()) {
                if let Some(signature) = hasher.signature_of_text(&document.text, self.judge.language()) {
                    signatures.push(document.row, signature)?;
                }
            }
            signatures.finish()?;
            std::fs::rename(&partial, &path).map_err(DataError::io("rename", &partial))?;
        }
        let batch = to_batch(&preparer.schema, &documents).map_err(|error| DataError::engine(folder)(error))?;
        write_shard(folder, index, &batch)
    }

    fn prepare(&mut self, batch: RawBatch) -> Vec<Prepared> {
        let rows = batch.first_row..;
        batch.documents.into_iter().zip(rows).map(|(raw, row)| self.document(raw, row)).collect()
    }

    fn document(&mut self, raw: Raw, row: u64) -> Prepared {
        let mut document = Prepared {
            row,
            object: raw.object,
            member: raw.member,
            line: raw.line,
            moment: raw.moment,
            bytes_read: raw.text.len() as u64,
            signals: Vec::new(),
            ..Prepared::default()
        };
        if let Some((code, message)) = raw.damage {
            document.reason = Some(format!("damaged_{code}"));
            document.text = message;
            return document;
        }
        if raw.replaced > 0 {
            let before = format!("{} places", raw.replaced);
            document.changes.push(Change { reason: "no_characters".to_owned(), before, after: "\u{fffd}".to_owned() });
        }
        document.text = raw.text;
        self.repair(&mut document);
        if document.text.trim().is_empty() {
            document.reason = Some("empty".to_owned());
            return document;
        }
        if !raw.held_out {
            self.judge(&mut document);
        }
        if document.reason.is_none() {
            self.personal(&mut document, raw.held_out);
        }
        let hash = Digest::of(document.text.as_bytes());
        document.hash.copy_from_slice(&hash.bytes()[..16]);
        document
    }

    fn repair(&self, document: &mut Prepared) {
        let preparer = self.preparer;
        preparer.mender.repair(&mut document.text, &mut document.changes);
        for (reason, how) in [
            ("unicode", TextCleaning { unicode: preparer.plan.clean.unicode, whitespace: false }),
            ("whitespace", TextCleaning { unicode: false, whitespace: preparer.plan.clean.whitespace }),
        ] {
            if let Cow::Owned(after) = clean_document(&document.text, how) {
                document.changes.extend(Change::of(reason, &document.text, &after));
                document.text = after;
            }
        }
    }

    /// Signals, the recipe, contamination.
    fn judge(&mut self, document: &mut Prepared) {
        self.judge.judge(document);
        if document.reason.is_none()
            && let Some(found) = self.checker.as_mut().and_then(|checker| checker.check(&document.text))
        {
            let drop = self
                .preparer
                .plan
                .contamination
                .as_ref()
                .is_none_or(|config| config.action == base::project::DropOrKeep::Drop);
            let change = Change { reason: "contaminated".to_owned(), before: found.ngram, after: String::new() };
            if drop {
                document.reason = Some(change.reason);
            } else {
                document.changes.push(change);
            }
        }
    }

    fn personal(&self, document: &mut Prepared, held_out: bool) {
        let kind = self.preparer.mender.personal(&mut document.text, &mut document.changes);
        // What was given to judge the model is kept, without the data.
        if let Some(kind) = kind.filter(|_| !held_out) {
            document.reason = Some(format!("personal_{kind}"));
        }
    }
}

impl Preparer {
    fn held_out(&self, object: u32) -> bool {
        let split = self.plan.objects.get(object as usize).and_then(|given| given.split);
        matches!(split, Some(Split::Test | Split::Valid))
    }
}

/// The n-grams of evaluation texts: those of given test and validation objects, and of `contamination.against`.
fn contamination(context: &Context, plan: &Plan) -> Result<Option<Contamination>, DataError> {
    let held_out = plan.objects.iter().filter(|given| matches!(given.split, Some(Split::Test | Split::Valid)));
    let objects: Vec<_> = held_out.map(|given| &given.object).chain(&plan.evaluation).collect();
    if objects.is_empty() {
        return Ok(None);
    }
    let config = plan.contamination.clone().unwrap_or_default();
    let column = config.column.as_deref().unwrap_or(&plan.text_column);
    let task = context.begin("evaluation texts", None, "texts");
    let mut texts: Vec<String> = Vec::new();
    for object in objects {
        sources::read(object, &plan.reading, &mut |item| {
            if let sources::Item::Record(record) = item {
                match record.body {
                    sources::Body::Document(document) => texts.push(document.text),
                    sources::Body::Row(row) => texts.extend(row.into_document(column).map(|document| document.text)),
                    _ => {}
                }
            }
            task.at(texts.len() as u64);
            std::ops::ControlFlow::Continue(())
        });
    }
    task.end("");
    let settings = ContaminationConfig {
        ngram: config.ngram as usize,
        unit: if plan.is_chinese() { Unit::Characters } else { Unit::Words },
    };
    let numbered = texts.iter().enumerate().map(|(index, text)| (index as u64, text.as_str()));
    Ok(Some(Contamination::new(&settings, numbered)?))
}
