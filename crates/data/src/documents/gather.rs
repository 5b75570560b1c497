//! The first pass: sources are read one after the other, and their documents prepared in batches by as many threads as
//! there are. Batches are cut by what is read alone, so that shards do not depend on the threads.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use base::{Context, Value};
use sources::{Body, Item, Position, Record};

use super::plan::{Given, Plan};
use super::prepare::Preparer;
use super::prepared::shard_path;
use crate::error::DataError;
use crate::rows::split::moment;

/// A batch ends when it has so many documents, or so many bytes of text. It is larger for large sources, so that shards are
/// not too many to be merged within a budget.
const BATCH_DOCUMENTS: usize = 4096;
const BATCH_BYTES: (u64, u64) = (4 << 20, 64 << 20);
/// As many shards as are usual at most.
const SHARDS: u64 = 2000;

/// A document as it was read, or the place of one that could not be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Raw {
    pub(crate) object: u32,
    pub(crate) member: Option<String>,
    pub(crate) line: u64,
    pub(crate) text: String,
    pub(crate) moment: f64,
    /// Whether the document is of a given test or validation split, which no rule touches.
    pub(crate) held_out: bool,
    /// Why it could not be read: a short code, and a sentence.
    pub(crate) damage: Option<(String, String)>,
    /// Places of the text that were no characters.
    pub(crate) replaced: u32,
}

/// Some documents, one behind the other.
#[derive(Debug)]
pub(crate) struct RawBatch {
    /// The number of the shard.
    pub(crate) index: usize,
    /// The position of its first document in all sources.
    pub(crate) first_row: u64,
    pub(crate) documents: Vec<Raw>,
}

/// What reading came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gathered {
    pub(crate) shards: usize,
    pub(crate) rows: u64,
    /// What readers had to say of whole files.
    pub(crate) notes: Vec<String>,
}

/// Reads all sources and writes their shards into `folder`.
pub(crate) fn gather(
    context: &Context,
    plan: &Plan,
    preparer: &Preparer,
    folder: &std::path::Path,
) -> Result<Gathered, DataError> {
    let task = context.begin("documents", None, "documents");
    let (sender, receiver) = sync_channel::<RawBatch>(context.threads);
    // Only the workers have it: when all of them are gone, even by a panic, the reader's next batch finds nobody, and it ends.
    let receiver = Arc::new(Mutex::new(receiver));
    let failed: Mutex<Option<DataError>> = Mutex::new(None);
    let gathered = std::thread::scope(|scope| {
        // A cluster has its own threads; here one speaks with it.
        let workers = if plan.scheduler.is_some() { 1 } else { context.threads };
        for _ in 0..workers {
            let (receiver, failed) = (Arc::clone(&receiver), &failed);
            scope.spawn(move || {
                let done = match &plan.scheduler {
                    #[cfg(feature = "ballista")]
                    Some(scheduler) => super::cluster::prepare(context, plan, scheduler, &receiver, folder),
                    _ => work(&receiver, preparer, folder),
                };
                if let Err(error) = done {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            });
        }
        drop(receiver);
        let limit = (plan.bytes() / SHARDS).clamp(BATCH_BYTES.0, BATCH_BYTES.1);
        let limit = (limit / BATCH_BYTES.0) as usize;
        let mut reader = Reader { plan, sender, batch: Vec::new(), bytes: 0, limit, gathered: Gathered::default() };
        let stop = || context.stop.asked() || failed.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let mut say = |rows: u64| {
            task.at(rows);
            stop()
        };
        for (index, given) in plan.objects.iter().enumerate() {
            if reader.object(index, given, &mut say).is_break() {
                break;
            }
        }
        reader.finish()
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    if context.stop.asked() {
        return Err(DataError::Stopped);
    }
    task.at(gathered.rows);
    task.end("");
    Ok(gathered)
}

/// Prepares batches until there are none, or one fails. A batch whose shard is there from an earlier try is passed over.
fn work(receiver: &Mutex<Receiver<RawBatch>>, preparer: &Preparer, folder: &std::path::Path) -> Result<(), DataError> {
    let mut worker = preparer.worker()?;
    loop {
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(batch) = next else { return Ok(()) };
        if !shard_path(folder, batch.index).exists() {
            worker.shard(batch, folder)?;
        }
    }
}

/// Cuts what is read into batches.
struct Reader<'a> {
    plan: &'a Plan,
    sender: SyncSender<RawBatch>,
    batch: Vec<Raw>,
    bytes: usize,
    /// How many times the usual a batch holds.
    limit: usize,
    gathered: Gathered,
}

impl Reader<'_> {
    fn object(&mut self, index: usize, given: &Given, say: &mut dyn FnMut(u64) -> bool) -> ControlFlow<()> {
        let held_out = given.split.is_some_and(|split| split != dataset::Split::Train);
        let counts = sources::read(&given.object, &self.plan.reading, &mut |item| {
            let mut raw = Raw { object: index as u32, moment: f64::NAN, held_out, ..Raw::default() };
            match item {
                Item::Record(record) => self.record(record, &mut raw),
                Item::Damaged { place, damage } => {
                    raw.at(&place);
                    raw.damage = Some((damage.reason.code().replace('-', "_"), damage.message));
                }
                Item::Note { place, message, .. } => {
                    self.gathered.notes.push(format!("{place}: {message}"));
                    return ControlFlow::Continue(());
                }
                _ => return ControlFlow::Continue(()),
            }
            self.add(raw, say)
        });
        if counts.stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Takes the text out of a record.
    fn record(&self, record: Record, raw: &mut Raw) {
        raw.at(&record.place);
        raw.replaced = record.replaced;
        let by = self.plan.split.by.as_deref();
        match record.body {
            Body::Document(document) => {
                raw.moment = by.and_then(|by| document.get(by)).map_or(f64::NAN, moment_of);
                raw.text = document.text;
            }
            Body::Row(row) => {
                let at = by.and_then(|by| row.get(by));
                raw.moment = at.and_then(|value| moment(value).ok()).unwrap_or(f64::NAN);
                match row.into_document(&self.plan.text_column) {
                    Ok(document) => raw.text = document.text,
                    Err(row) if row.columns.contains(&self.plan.text_column) => {}
                    Err(row) => {
                        let known = row.columns.join(", ");
                        let what = format!("it has no column {:?}; it has {known}", self.plan.text_column);
                        raw.damage = Some(("no_text_column".to_owned(), what));
                    }
                }
            }
            Body::Picture(_) => raw.damage = Some(("no_text".to_owned(), "it is an image".to_owned())),
            Body::Audio(_) => raw.damage = Some(("no_text".to_owned(), "it is a sound".to_owned())),
        }
    }

    fn add(&mut self, raw: Raw, say: &mut dyn FnMut(u64) -> bool) -> ControlFlow<()> {
        self.bytes += raw.text.len();
        self.batch.push(raw);
        self.gathered.rows += 1;
        let full =
            self.batch.len() >= BATCH_DOCUMENTS * self.limit || self.bytes >= BATCH_BYTES.0 as usize * self.limit;
        if !full {
            return ControlFlow::Continue(());
        }
        let sent = self.send();
        if !sent || say(self.gathered.rows) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Gives the batch away; whether someone takes it.
    fn send(&mut self) -> bool {
        let documents = std::mem::take(&mut self.batch);
        self.bytes = 0;
        if documents.is_empty() {
            return true;
        }
        let first_row = self.gathered.rows - documents.len() as u64;
        let index = self.gathered.shards;
        self.gathered.shards += 1;
        self.sender.send(RawBatch { index, first_row, documents }).is_ok()
    }

    fn finish(mut self) -> Gathered {
        self.send();
        self.gathered
    }
}

impl Raw {
    fn at(&mut self, place: &sources::Place) {
        self.member = place.member.as_deref().map(str::to_owned);
        self.line = match place.position {
            Position::Whole => 1,
            Position::Line(line) | Position::Record(line) => line,
        };
    }
}

/// The moment that metadata says; NaN where it says none.
fn moment_of(text: &str) -> f64 {
    moment(&Value::Text(text.to_owned())).unwrap_or(f64::NAN)
}
