//! Sketches of what was asked and answered, one span at a time, until they are stored.
//!
//! Every row of a request counts as one request for a prediction, and every prompt as one for a
//! completion: that is the sample that drift is measured on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base::Value;
use infer::predict::Prediction;
use infer::sketch::Sketch;
use store::{StoredSketch, now_ms};

use crate::error::ServeError;
use crate::metrics::Metrics;
use crate::source::{Kept, Source};

/// The shortest and the longest span of one stored sketch. Under steady traffic spans double from the
/// one to the other, so that a busy server does not fill the store: a kill loses at most one span.
const SPAN_MIN: Duration = Duration::from_secs(2);
const SPAN_MAX: Duration = Duration::from_secs(60);

/// The traffic of one version.
pub(crate) struct Traffic {
    name: String,
    version: u32,
    baseline: Sketch,
    span: Mutex<Option<Span>>,
}

struct Span {
    sketch: Sketch,
    requests: u64,
    started_ms: i64,
    ended_ms: i64,
}

impl Traffic {
    pub(crate) fn new(name: String, version: u32, baseline: Sketch) -> Self {
        Self { name, version, baseline, span: Mutex::new(None) }
    }

    /// Notes answered rows.
    pub(crate) fn observe(&self, rows: &[Vec<Value>], predictions: &[Vec<Prediction>]) {
        self.note(rows.len(), |sketch| {
            for (row, predictions) in rows.iter().zip(predictions) {
                sketch.observe(row, predictions);
            }
        });
    }

    /// Notes an answered prompt.
    pub(crate) fn observe_text(&self, prompt: &str, completion: &str) {
        self.note(1, |sketch| sketch.observe_text(prompt, completion));
    }

    fn note(&self, requests: usize, add: impl FnOnce(&mut Sketch)) {
        let now = now_ms();
        let mut span = lock(&self.span);
        let span = span.get_or_insert_with(|| Span {
            sketch: Sketch::like(&self.baseline),
            requests: 0,
            started_ms: now,
            ended_ms: now,
        });
        span.ended_ms = now;
        span.requests += requests as u64;
        add(&mut span.sketch);
    }

    /// Puts back what could not be stored.
    fn put_back(&self, before: Span) -> Result<(), ServeError> {
        let mut span = lock(&self.span);
        let mut sum = before;
        if let Some(now) = span.take() {
            sum.sketch.merge(&now.sketch)?;
            sum.requests += now.requests;
            sum.ended_ms = now.ended_ms;
        }
        *span = Some(sum);
        Ok(())
    }

    fn stored(&self, span: &Span) -> Result<StoredSketch, serde_json::Error> {
        Ok(StoredSketch {
            name: self.name.clone(),
            version: self.version,
            started_ms: span.started_ms,
            ended_ms: span.ended_ms,
            requests: span.requests,
            body: serde_json::to_value(&span.sketch)?,
        })
    }

    /// What was not stored yet.
    pub(crate) fn pending(&self) -> Option<StoredSketch> {
        lock(&self.span).as_ref().and_then(|span| self.stored(span).ok())
    }

    /// Stores what there is; says whether there was something.
    fn flush(&self, source: &dyn Source, metrics: &Metrics) -> Result<bool, ServeError> {
        let Some(span) = lock(&self.span).take() else { return Ok(false) };
        let kept = self
            .stored(&span)
            .map_err(|error| ServeError::Model {
                version: format!("{}@{}", self.name, self.version),
                message: format!("its sketch cannot be written: {error}"),
            })
            .and_then(|stored| source.keep(&stored));
        match kept {
            Ok(Kept::Stored) => Ok(true),
            Ok(Kept::NoStore) => {
                self.put_back(span)?;
                Ok(false)
            }
            Err(error) => {
                metrics.sketch_failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                self.put_back(span)?;
                Err(error)
            }
        }
    }
}

/// The traffic of every version that this server has loaded.
pub(crate) struct Recorder {
    all: Mutex<Vec<Arc<Traffic>>>,
    next: Mutex<(Duration, Instant)>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self { all: Mutex::new(Vec::new()), next: Mutex::new((SPAN_MIN, Instant::now() + SPAN_MIN)) }
    }

    pub(crate) fn add(&self, traffic: &Arc<Traffic>) {
        let mut all = lock(&self.all);
        if !all.iter().any(|known| Arc::ptr_eq(known, traffic)) {
            all.push(traffic.clone());
        }
    }

    /// Stores every span, if it is time to, or if `now`. Traffic of versions that are gone is forgotten
    /// once it is stored. Blocks.
    pub(crate) fn flush(&self, source: &dyn Source, metrics: &Metrics, now: bool) -> Result<(), ServeError> {
        if !now && Instant::now() < lock(&self.next).1 {
            return Ok(());
        }
        let all = lock(&self.all).clone();
        let (mut busy, mut failure) = (false, None);
        for traffic in &all {
            match traffic.flush(source, metrics) {
                Ok(stored) => busy |= stored,
                Err(error) => failure = Some(error),
            }
        }
        drop(all);
        lock(&self.all).retain(|traffic| Arc::strong_count(traffic) > 1 || lock(&traffic.span).is_some());
        let mut next = lock(&self.next);
        next.0 = if busy { (2 * next.0).min(SPAN_MAX) } else { SPAN_MIN };
        next.1 = Instant::now() + next.0;
        failure.map_or(Ok(()), Err)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
