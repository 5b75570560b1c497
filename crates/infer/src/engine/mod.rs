//! The engine of served language models: many completions at once, each token as soon as it is chosen.
//!
//! [`Engine::start`] gives a thread of its own to a model; [`Engine::submit`] hands it a prompt, and the events of the
//! completion come back through the request's own function. `schedule` chooses what is computed together, `pages` keeps
//! the cache, `writer` turns logits into text, `grammar` keeps text in a form.
//!
//! What a client gets does not depend on who else is served: a row of a step has the same bits whatever the other rows
//! are (the promise of the model's kernels), draws follow the request's own seed, and guesses change nothing.

mod grammar;
pub(crate) mod load;
mod packed;
mod pages;
mod schedule;
mod writer;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use grammar::{Matcher, Structure, Structures};
pub use load::{Opened, Packing, gguf_decoder, open, open_decoder, open_gguf, open_with_draft};
pub use packed::{Layer, Linear, Mlp, NormWeights, PackedDecoder, Rotary, Sizes, Weights};
pub use schedule::{Batch, Forward, Part};
pub use writer::{Event, Failure, Request, Summary};

use crate::error::InferError;
use crate::tokenizer::TextTokenizer;
use pages::Pages;
use schedule::{Limits, Scheduler};
use writer::TextWriter;

/// How often the thread looks for clients that went away while nothing is computed.
const IDLE: Duration = Duration::from_millis(200);

/// Sizes of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// The most rows of a step: what a long prompt makes the others wait for.
    pub step_rows_max: usize,
    /// The most sequences that are computed in turn.
    pub sequences_max: usize,
    /// The most requests that wait for their turn; more are refused.
    pub waiting_max: usize,
    /// Positions of a page of the cache.
    pub page_positions: usize,
    /// Pages of the cache.
    pub pages: usize,
    /// The most tokens that are guessed ahead for a sequence; 0: none.
    pub guesses_max: usize,
    /// The longest sequence of the model.
    pub context: usize,
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// As many wait as may.
    Full,
    /// The engine is at its end.
    Closed,
}

/// What an engine has done and holds; all counts are since its start.
#[derive(Debug, Default)]
pub struct EngineStatistics {
    /// Requests that wait for their turn, and sequences that are computed, now.
    pub waiting: AtomicUsize,
    /// Sequences that are computed, now.
    pub running: AtomicUsize,
    /// Pages that sequences hold, now.
    pub pages_used: AtomicUsize,
    /// Steps.
    pub steps: AtomicU64,
    /// Sequences of all steps, for the mean size of a batch.
    pub sequences: AtomicU64,
    /// Steps by their sequences: the first has those of one, the next those of up to 2, 4, 8, and so on to 256 and more.
    pub batches: [AtomicU64; 9],
    /// Rows of prompts.
    pub prompt_rows: AtomicU64,
    /// Rows of sequences that waited for a token.
    pub decode_rows: AtomicU64,
    /// Guessed tokens.
    pub guessed: AtomicU64,
    /// Guessed tokens that were right.
    pub right: AtomicU64,
    /// Sequences that had to give their pages back.
    pub preempted: AtomicU64,
    /// Nanoseconds in steps with rows of prompts.
    pub prefill_ns: AtomicU64,
    /// Nanoseconds in the other steps.
    pub decode_ns: AtomicU64,
}

/// A model that answers, on a thread of its own. Dropping it ends what is under way.
#[derive(Debug)]
pub struct Engine {
    requests: Mutex<Option<Sender<(Request, Instant)>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
    config: EngineConfig,
    tokenizer: TextTokenizer,
    ends: Vec<u32>,
}

#[derive(Debug, Default)]
struct Shared {
    statistics: EngineStatistics,
    /// Requests that were taken and have not begun.
    queued: AtomicUsize,
    abandon: AtomicBool,
}

impl Engine {
    /// Starts the thread. `ends` are the tokens that end a text.
    ///
    /// # Errors
    /// [`InferError::Engine`] when the system gives no thread.
    pub fn start(
        model: Box<dyn Forward + Send>,
        tokenizer: TextTokenizer,
        ends: Vec<u32>,
        config: EngineConfig,
    ) -> Result<Self, InferError> {
        Self::start_with_draft(model, None, tokenizer, ends, config)
    }

    /// The same with a draft: a smaller model of the same tokens, with as many pages, that guesses ahead where nothing can
    /// be looked up. What comes out is what would have come out without it.
    ///
    /// # Errors
    /// [`InferError::Engine`] when the draft has other tokens, or the system gives no thread.
    pub fn start_with_draft(
        model: Box<dyn Forward + Send>,
        draft: Option<Box<dyn Forward + Send>>,
        tokenizer: TextTokenizer,
        ends: Vec<u32>,
        config: EngineConfig,
    ) -> Result<Self, InferError> {
        if let Some(draft) = draft.as_ref().filter(|draft| draft.vocabulary() != model.vocabulary()) {
            let what = format!("the draft has {} tokens, and the model {}", draft.vocabulary(), model.vocabulary());
            return Err(InferError::Engine { what });
        }
        let (sender, receiver) = channel();
        let shared = Arc::new(Shared::default());
        let worker = Worker { receiver, shared: shared.clone(), tokenizer: tokenizer.clone(), ends: ends.clone() };
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || worker.run(model, draft, config))
            .map_err(|error| InferError::Engine { what: format!("no thread could be started: {error}") })?;
        let (requests, thread) = (Mutex::new(Some(sender)), Mutex::new(Some(thread)));
        Ok(Self { requests, thread, shared, config, tokenizer, ends })
    }

    /// Hands a prompt to the engine. Its events come from the engine's thread.
    ///
    /// # Errors
    /// [`Refused`] when it cannot be taken; its function hears nothing then.
    pub fn submit(&self, request: Request) -> Result<(), Refused> {
        assert!(!request.prompt.is_empty(), "a prompt without tokens");
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = requests.as_ref().ok_or(Refused::Closed)?;
        if self.shared.queued.fetch_add(1, Ordering::AcqRel) >= self.config.waiting_max {
            self.shared.queued.fetch_sub(1, Ordering::AcqRel);
            return Err(Refused::Full);
        }
        sender.send((request, Instant::now())).map_err(|_| {
            self.shared.queued.fetch_sub(1, Ordering::AcqRel);
            Refused::Closed
        })
    }

    /// Whether its thread has ended, be it by a fault: then it answers nothing any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Its sizes.
    #[must_use]
    pub fn config(&self) -> EngineConfig {
        self.config
    }

    /// Its tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// The tokens that end a text.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// What it does.
    #[must_use]
    pub fn statistics(&self) -> &EngineStatistics {
        &self.shared.statistics
    }

    /// Takes no more requests, and waits until all that were taken are answered.
    pub fn finish(&self) {
        drop(self.requests.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // What went wrong on the thread was told to its clients by their dropped functions.
            let _ = thread.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.abandon.store(true, Ordering::Release);
        self.finish();
    }
}

/// The engine's thread.
struct Worker {
    receiver: Receiver<(Request, Instant)>,
    shared: Arc<Shared>,
    tokenizer: TextTokenizer,
    ends: Vec<u32>,
}

impl Worker {
    fn run(self, model: Box<dyn Forward + Send>, draft: Option<Box<dyn Forward + Send>>, config: EngineConfig) {
        let limits = Limits {
            rows_max: config.step_rows_max,
            sequences_max: config.sequences_max,
            guesses_max: config.guesses_max,
        };
        let mut scheduler = Scheduler::new(model, draft, Pages::new(config.pages, config.page_positions), limits);
        let mut open = true;
        while !self.shared.abandon.load(Ordering::Acquire) {
            let idle = scheduler.load() == (0, 0);
            if idle && !open {
                return;
            }
            open &= self.take(&mut scheduler, idle && open);
            let begun = Instant::now();
            let done = scheduler.step();
            self.count(&scheduler, done, begun.elapsed());
        }
    }

    /// Moves requests into the queue, and waits a little for one where there is nothing else to do; false when no more
    /// will come.
    fn take<F: Forward>(&self, scheduler: &mut Scheduler<F, TextWriter>, wait: bool) -> bool {
        let mut wait = wait;
        loop {
            let next = if wait {
                self.receiver.recv_timeout(IDLE)
            } else {
                self.receiver.try_recv().map_err(|error| match error {
                    std::sync::mpsc::TryRecvError::Empty => RecvTimeoutError::Timeout,
                    std::sync::mpsc::TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                })
            };
            match next {
                Ok((request, asked)) => {
                    let (prompt, writer) = TextWriter::new(request, &self.tokenizer, &self.ends, asked);
                    scheduler.add(prompt, writer);
                    wait = false;
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn count<F: Forward>(&self, scheduler: &Scheduler<F, TextWriter>, done: schedule::Done, taken: Duration) {
        let (waiting, running) = scheduler.load();
        let all = &self.shared.statistics;
        // Those that are still on their way to the queue were counted when they were taken.
        self.shared.queued.fetch_sub(done.admitted, Ordering::AcqRel);
        all.waiting.store(waiting, Ordering::Relaxed);
        all.running.store(running, Ordering::Relaxed);
        let pages = scheduler.pages();
        all.pages_used.store(pages.count() - pages.available(), Ordering::Relaxed);
        if done.sequences == 0 {
            return;
        }
        let bucket = done.sequences.next_power_of_two().trailing_zeros() as usize;
        all.batches[bucket.min(all.batches.len() - 1)].fetch_add(1, Ordering::Relaxed);
        for (counter, value) in [
            (&all.steps, 1),
            (&all.sequences, done.sequences),
            (&all.prompt_rows, done.prompt_rows),
            (&all.decode_rows, done.decode_rows),
            (&all.guessed, done.guessed),
            (&all.right, done.right),
            (&all.preempted, done.preempted),
        ] {
            counter.fetch_add(value as u64, Ordering::Relaxed);
        }
        let time = if done.prompt_rows > 0 { &all.prefill_ns } else { &all.decode_ns };
        time.fetch_add(u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
