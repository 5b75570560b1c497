//! How long work tells of its progress and learns that it should stop. `yard` draws bars, prints
//! plain lines or JSON; no stage knows which.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Receives progress. One implementation per way of output, all in `yard`.
pub trait Progress: Send + Sync {
    /// Work begins. `total` is in `unit`s; `None` when it is not known in advance.
    fn begin(&self, label: &str, total: Option<u64>, unit: &str) -> Box<dyn Task>;
    /// One line worth keeping, printed above any bar.
    fn note(&self, line: &str);
}

/// A piece of work under way; dropping it ends it.
pub trait Task: Send + Sync {
    /// `position` units are done.
    fn at(&self, position: u64);
    /// A short text after the bar, such as `loss 0.412`.
    fn say(&self, text: &str);
    /// Ends the work with one closing text, such as `10,003 rows`.
    fn end(self: Box<Self>, text: &str);
}

/// A flag that asks long work to stop at the next safe point.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks everyone who holds this flag to stop.
    pub fn ask(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether someone asked.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What a stage gets from its surroundings.
#[derive(Clone)]
pub struct Context {
    /// Where progress goes.
    pub progress: Arc<dyn Progress>,
    /// Whether to stop at the next safe point.
    pub stop: Stop,
    /// The number of threads that heavy work may use, at least 1.
    pub threads: usize,
}

impl Context {
    /// A context that tells nobody anything: for tests and for calls inside the server.
    #[must_use]
    pub fn silent() -> Self {
        Self { progress: Arc::new(Silent), stop: Stop::default(), threads: default_threads() }
    }

    /// Begins a piece of work.
    #[must_use]
    pub fn begin(&self, label: &str, total: Option<u64>, unit: &str) -> Box<dyn Task> {
        self.progress.begin(label, total, unit)
    }
}

/// The number of processors this process may use.
#[must_use]
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Progress that goes nowhere.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: Option<u64>, _: &str) -> Box<dyn Task> {
        Box::new(Self)
    }
    fn note(&self, _: &str) {}
}

impl Task for Silent {
    fn at(&self, _: u64) {}
    fn say(&self, _: &str) {}
    fn end(self: Box<Self>, _: &str) {}
}
