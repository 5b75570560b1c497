//! The version that answers, and how it is changed under way.
//!
//! A request takes the current version once and keeps it. A switch loads the new version beside the
//! old, has it answer one request of its own, and swaps one pointer. The old version stays loaded until
//! the new one has answered a real request; if that goes wrong by the program's fault, the old one
//! answers it and is current again.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use infer::engine::EngineConfig;

use crate::error::ServeError;
use crate::metrics::Metrics;
use crate::model::Loaded;
use crate::source::{Source, Wanted};
use crate::traffic::Recorder;

/// How long a version that failed is left alone before it is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// The version that answers, the one before it, and what went wrong last.
pub(crate) struct Slot {
    current: ArcSwap<Loaded>,
    rest: Mutex<Rest>,
}

#[derive(Default)]
struct Rest {
    previous: Option<Arc<Loaded>>,
    failed: Option<Failed>,
    /// Why the source could not be asked, if the last time failed.
    source: Option<String>,
}

struct Failed {
    wanted: Wanted,
    message: String,
    at: Instant,
}

impl Slot {
    pub(crate) fn new(first: Loaded) -> Self {
        Self { current: ArcSwap::from_pointee(first), rest: Mutex::default() }
    }

    /// The version that answers now.
    pub(crate) fn current(&self) -> Arc<Loaded> {
        self.current.load_full()
    }

    /// The version before, while it is still loaded.
    pub(crate) fn previous(&self) -> Option<Arc<Loaded>> {
        self.rest().previous.clone()
    }

    /// Whether no request holds the version that answers, and none is on its way in or out.
    pub(crate) fn is_idle(&self) -> bool {
        self.rest().previous.is_none() && Arc::strong_count(&self.current.load()) == 1
    }

    /// What is wrong, in words; `None` when all is well.
    pub(crate) fn trouble(&self) -> Option<String> {
        let rest = self.rest();
        rest.failed.as_ref().map(|failed| failed.message.clone()).or_else(|| rest.source.clone())
    }

    /// A version has answered a real request.
    pub(crate) fn answered(&self, loaded: &Arc<Loaded>) {
        if !loaded.proven.swap(true, Ordering::AcqRel) {
            let mut rest = self.rest();
            if Arc::ptr_eq(loaded, &self.current.load()) {
                let previous = rest.previous.take();
                drop(rest);
                // Unloading may take a while, and needs no lock.
                drop(previous);
            }
        }
    }

    /// A version failed by the program's fault. If it never answered and another is still loaded, that
    /// one is current again, and is returned.
    pub(crate) fn reject(&self, loaded: &Arc<Loaded>, message: &str, metrics: &Metrics) -> Option<Arc<Loaded>> {
        let mut rest = self.rest();
        if loaded.proven.load(Ordering::Acquire) {
            return None;
        }
        if !Arc::ptr_eq(loaded, &self.current.load()) {
            // Another request was faster.
            return Some(self.current());
        }
        let previous = rest.previous.take()?;
        metrics.load_failures.fetch_add(1, Ordering::Relaxed);
        let message = format!("{} failed at its first request: {message}", loaded.full_name());
        rest.failed = Some(Failed { wanted: loaded.wanted.clone(), message, at: Instant::now() });
        self.current.store(previous.clone());
        Some(previous)
    }

    /// Asks the source which version should answer, and switches to it. Blocks.
    pub(crate) fn follow(&self, source: &dyn Source, recorder: &Recorder, metrics: &Metrics, engine: EngineConfig) {
        let wanted = match source.wanted() {
            Ok(wanted) => wanted,
            Err(error) => {
                self.rest().source = Some(error.to_string());
                return;
            }
        };
        {
            let mut rest = self.rest();
            rest.source = None;
            if self.current.load().wanted == wanted {
                rest.failed = None;
                return;
            }
            if rest.failed.as_ref().is_some_and(|failed| failed.wanted == wanted && failed.at.elapsed() < RETRY) {
                return;
            }
        }
        match self.load(source, &wanted, engine) {
            Ok(next) => {
                if let Some(traffic) = &next.traffic {
                    recorder.add(traffic);
                }
                metrics.switches.fetch_add(1, Ordering::Relaxed);
                self.switch(&next);
            }
            Err(error) => {
                metrics.load_failures.fetch_add(1, Ordering::Relaxed);
                let message = error.to_string();
                self.rest().failed = Some(Failed { wanted, message, at: Instant::now() });
            }
        }
    }

    /// The version, from memory where it is still there (a rollback before the new one has answered).
    fn load(&self, source: &dyn Source, wanted: &Wanted, engine: EngineConfig) -> Result<Arc<Loaded>, ServeError> {
        if let Some(previous) = self.previous().filter(|previous| previous.wanted == *wanted) {
            return Ok(previous);
        }
        let load = std::panic::AssertUnwindSafe(|| Loaded::load(source, wanted, engine));
        std::panic::catch_unwind(load).map_or_else(
            |_| {
                Err(ServeError::Model {
                    version: format!("version {}", wanted.version),
                    message: "loading it panicked".to_owned(),
                })
            },
            |loaded| loaded.map(Arc::new),
        )
    }

    /// The version that last proved itself stays loaded; one that never answered does not push it out.
    fn switch(&self, next: &Arc<Loaded>) {
        let mut rest = self.rest();
        rest.failed = None;
        let before = self.current.swap(next.clone());
        rest.previous = if next.proven.load(Ordering::Acquire) {
            None
        } else if before.proven.load(Ordering::Acquire) {
            Some(before)
        } else {
            rest.previous.take().filter(|previous| !Arc::ptr_eq(previous, next)).or(Some(before))
        };
    }

    fn rest(&self) -> std::sync::MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests;
