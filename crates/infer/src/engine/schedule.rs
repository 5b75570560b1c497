//! Continuous batching: which rows of which sequences go through the model together, step after step.
//!
//! A step takes at most [`Limits::rows_max`] rows. Sequences that wait for their next token come first, one row each
//! and the tokens that were guessed for them; what is left goes to prompts in the order of their arrival, in pieces,
//! so that a long one holds nobody up. A sequence joins as soon as there are pages for it, and leaves with its last
//! token. Where pages run out, the sequence that came last gives its pages back and waits at the front of the queue;
//! what it had published is likely still there when it comes back, and the rest is computed again.
//!
//! Guessed tokens (speculation) are rows like others. From the logits behind each of them the sampler draws as it
//! would have, and the guess is right where it draws the guessed token: what comes out is what would have come out
//! without guesses, in fewer steps. Guesses come from the writer, which looks them up in the text, or from a draft: a
//! smaller model with the same tokens, whose cache has the same pages, and which therefore computes every row as well.
//!
//! Nothing here knows layers, text or clients: a [`Forward`] computes, a [`Writer`] chooses and tells.

use std::collections::VecDeque;
use std::ops::Range;

use super::pages::{Held, Pages};

/// The rows of one sequence in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its rows among all rows of the step.
    pub rows: Range<usize>,
    /// The position of the first of them.
    pub position: usize,
    /// The pages of all its positions.
    pub pages: Vec<u32>,
}

/// What goes through the model in a step.
#[derive(Debug, Default)]
pub struct Batch {
    /// A token for each row.
    pub tokens: Vec<u32>,
    /// The sequences, in the order of their rows.
    pub parts: Vec<Part>,
    /// The rows whose logits are wanted, ascending.
    pub wanted: Vec<usize>,
}

/// A model. What it gives for a row depends on the tokens before it in its sequence and on nothing else.
pub trait Forward {
    /// Writes keys and values of all rows into their pages, and gives the logits `[wanted, vocabulary]`.
    fn forward(&mut self, batch: &Batch) -> &mut [f32];
    /// Elements of a row of logits.
    fn vocabulary(&self) -> usize;
}

impl<F: Forward + ?Sized> Forward for Box<F> {
    fn forward(&mut self, batch: &Batch) -> &mut [f32] {
        (**self).forward(batch)
    }

    fn vocabulary(&self) -> usize {
        (**self).vocabulary()
    }
}

/// What a writer says to its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// This token follows.
    Token(u32),
    /// The sequence is over.
    End,
}

/// What becomes of a sequence's logits.
pub(crate) trait Writer {
    /// Chooses the token that follows `tokens`, and tells whoever waits for it.
    fn next(&mut self, tokens: &[u32], logits: &mut [f32]) -> Next;
    /// Up to `most` tokens that may follow `tokens`.
    fn guess(&mut self, tokens: &[u32], most: usize) -> Vec<u32>;
    /// How many of up to `most` tokens a draft shall guess, where [`Writer::guess`] had none.
    fn wants_draft(&mut self, most: usize) -> usize;
    /// Hears what the draft guessed.
    fn drafted(&mut self, guesses: &[u32]);
    /// Whether nobody waits any more.
    fn is_gone(&self) -> bool;
    /// Hears how many tokens of the prompt were found in the cache, when the sequence begins to be computed.
    fn begins(&mut self, cached: usize);
    /// The sequence is taken out before its end.
    fn cut(&mut self, why: Cut);
}

/// Why a sequence is taken out before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nobody waits for it.
    Gone,
    /// It needs more pages than there are.
    TooLong,
}

/// Limits of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The most rows.
    pub(crate) rows_max: usize,
    /// The most sequences that are computed in turn.
    pub(crate) sequences_max: usize,
    /// The most guessed tokens of a sequence.
    pub(crate) guesses_max: usize,
}

/// With more sequences a step is busy enough, and a draft only costs.
const DRAFTED_MAX: usize = 4;

/// A sequence with its writer.
struct Job<W> {
    /// The prompt, and what followed.
    tokens: Vec<u32>,
    /// How many of the tokens have keys and values.
    computed: usize,
    held: Held,
    writer: W,
    begun: bool,
}

/// What a step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// Rows of prompts.
    pub(crate) prompt_rows: usize,
    /// Rows of sequences that waited for their next token, guesses among them.
    pub(crate) decode_rows: usize,
    /// Sequences in the step.
    pub(crate) sequences: usize,
    /// Guessed tokens, and how many of them were right.
    pub(crate) guessed: usize,
    pub(crate) right: usize,
    /// Sequences that had to give their pages back.
    pub(crate) preempted: usize,
    /// Requests that left the queue for the first time, to be computed or for good.
    pub(crate) admitted: usize,
}

/// Sequences that wait and that are computed.
pub(crate) struct Scheduler<F, W> {
    model: F,
    draft: Option<F>,
    pages: Pages,
    limits: Limits,
    waiting: VecDeque<Job<W>>,
    running: Vec<Job<W>>,
    batch: Batch,
}

/// A running sequence's place in a step.
struct Planned {
    job: usize,
    rows: usize,
    guesses: Vec<u32>,
    /// Guesses that the draft shall make.
    drafts: usize,
}

impl<F: Forward, W: Writer> Scheduler<F, W> {
    /// A draft has as many pages as the model.
    pub(crate) fn new(model: F, draft: Option<F>, pages: Pages, limits: Limits) -> Self {
        assert!(limits.rows_max > 0 && limits.sequences_max > 0, "a step without rows");
        let (waiting, running) = (VecDeque::new(), Vec::new());
        Self { model, draft, pages, limits, waiting, running, batch: Batch::default() }
    }

    /// A sequence for the end of the queue; it has a token at least.
    pub(crate) fn add(&mut self, tokens: Vec<u32>, writer: W) {
        assert!(!tokens.is_empty(), "a prompt without tokens");
        self.waiting.push_back(Job { tokens, computed: 0, held: Held::default(), writer, begun: false });
    }

    /// Sequences that wait, and that are computed.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.waiting.len(), self.running.len())
    }

    /// The pages.
    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// One step. Nothing is done where nobody waits.
    pub(crate) fn step(&mut self) -> Done {
        let mut done = Done::default();
        self.drop_gone(&mut done);
        self.admit(&mut done);
        let mut planned = self.plan(&mut done);
        if planned.is_empty() {
            return done;
        }
        let awake = kernels::parallel::Awake::keep();
        self.make_drafts(&mut planned);
        self.fill(&planned);
        done.sequences = planned.len();
        if let Some(draft) = &mut self.draft {
            // Its cache keeps up with the model's.
            let wanted = std::mem::take(&mut self.batch.wanted);
            draft.forward(&self.batch);
            self.batch.wanted = wanted;
        }
        let vocabulary = self.model.vocabulary();
        let logits = self.model.forward(&self.batch);
        drop(awake);
        let mut logits = logits.chunks_exact_mut(vocabulary);
        let mut over = Vec::new();
        for Planned { job: index, rows, guesses, .. } in planned {
            let job = &mut self.running[index];
            let known = job.tokens.len();
            let waited = known - job.computed;
            if waited == 1 {
                done.decode_rows += rows;
            } else {
                done.prompt_rows += rows;
            }
            job.computed += rows.min(waited);
            let (mut ended, mut right) = (false, 0);
            if job.computed == known {
                for guess in guesses.iter().map(Some).chain([None]) {
                    let Some(logits) = logits.next() else { break };
                    if ended || right < job.tokens.len() - known {
                        continue;
                    }
                    match job.writer.next(&job.tokens, logits) {
                        Next::End => ended = true,
                        Next::Token(token) => {
                            job.tokens.push(token);
                            right += usize::from(guess == Some(&token));
                        }
                    }
                }
            }
            (done.guessed, done.right) = (done.guessed + guesses.len(), done.right + right);
            job.computed += right;
            self.pages.publish(&mut job.held, &job.tokens[..job.computed]);
            self.pages.shrink(&mut job.held, job.computed);
            if ended {
                over.push(index);
            }
        }
        for index in over.into_iter().rev() {
            let job = self.running.remove(index);
            self.pages.end(job.held);
        }
        done
    }

    /// Takes out what nobody waits for.
    fn drop_gone(&mut self, done: &mut Done) {
        let pages = &mut self.pages;
        let mut leave = |job: &mut Job<W>| {
            let gone = job.writer.is_gone();
            if gone {
                done.admitted += usize::from(!job.begun);
                pages.end(std::mem::take(&mut job.held));
                job.writer.cut(Cut::Gone);
            }
            !gone
        };
        self.running.retain_mut(&mut leave);
        self.waiting.retain_mut(&mut leave);
    }

    /// Lets sequences in, in their order, while there are pages for the whole of the next one's tokens and one more for
    /// everybody.
    fn admit(&mut self, done: &mut Done) {
        while self.running.len() < self.limits.sequences_max {
            let Some(mut job) = self.waiting.pop_front() else { return };
            let size = self.pages.positions();
            // The next token needs a place as well.
            let wanted = (job.tokens.len() + 1).div_ceil(size);
            if wanted > self.pages.count() {
                done.admitted += usize::from(!job.begun);
                job.writer.cut(Cut::TooLong);
                continue;
            }
            job.held = self.pages.begin(&job.tokens);
            let more = wanted.saturating_sub(job.held.pages.len());
            let full = !self.running.is_empty() && self.pages.available() < more + self.running.len();
            if full || self.is_about_to_be_computed(&job) {
                self.pages.end(std::mem::take(&mut job.held));
                self.waiting.push_front(job);
                return;
            }
            job.computed = job.held.pages.len() * size;
            if !job.begun {
                job.begun = true;
                done.admitted += 1;
                job.writer.begins(job.computed);
            }
            self.running.push(job);
        }
    }

    /// Whether a prompt that is being computed begins with pages that this one begins with too, and has not come to the
    /// end of them: a little later they are found.
    fn is_about_to_be_computed(&self, job: &Job<W>) -> bool {
        let size = self.pages.positions();
        let found = job.held.pages.len() * size;
        self.running.iter().filter(|other| other.computed < other.tokens.len()).any(|other| {
            // The last token of a prompt is computed in any case.
            let most = (other.tokens.len() - 1).min(job.tokens.len() - 1);
            let same = other.tokens[..most].iter().zip(&job.tokens).take_while(|(one, other)| one == other).count();
            let pages = same / size * size;
            pages > found && other.computed < pages
        })
    }

    /// Chooses the rows of a step and finds pages for them.
    fn plan(&mut self, done: &mut Done) -> Vec<Planned> {
        let mut left = self.limits.rows_max;
        let mut planned: Vec<Planned> = Vec::new();
        for prompts in [false, true] {
            let mut index = 0;
            while index < self.running.len() && left > 0 {
                let job = &mut self.running[index];
                let waited = job.tokens.len() - job.computed;
                if (waited > 1) != prompts || planned.iter().any(|planned| planned.job == index) {
                    index += 1;
                    continue;
                }
                let most = if prompts { 0 } else { self.limits.guesses_max.min(left - 1) };
                let guesses = if most > 0 { job.writer.guess(&job.tokens, most) } else { Vec::new() };
                debug_assert!(guesses.len() <= most);
                let few = guesses.is_empty() && self.draft.is_some() && self.running.len() <= DRAFTED_MAX;
                let job = &mut self.running[index];
                let drafts = if few && most > 0 { job.writer.wants_draft(most).min(most) } else { 0 };
                let rows = (waited + guesses.len() + drafts).min(left);
                let positions = job.computed + rows;
                let mut held = std::mem::take(&mut job.held);
                if self.pages.grow(&mut held, positions) {
                    self.running[index].held = held;
                    left -= rows;
                    planned.push(Planned { job: index, rows, guesses, drafts });
                    index += 1;
                } else {
                    self.running[index].held = held;
                    // What came last makes room; it may be this one.
                    let last = self.running.len() - 1;
                    if last == 0 {
                        let mut job = self.running.remove(0);
                        self.pages.end(std::mem::take(&mut job.held));
                        job.writer.cut(Cut::TooLong);
                        return Vec::new();
                    }
                    let mut job = self.running.remove(last);
                    self.pages.end(std::mem::take(&mut job.held));
                    job.computed = 0;
                    done.preempted += 1;
                    self.waiting.push_front(job);
                    if let Some(place) = planned.iter().position(|planned| planned.job == last) {
                        left += planned.remove(place).rows;
                    }
                }
            }
        }
        planned.sort_by_key(|planned| planned.job);
        planned
    }

    /// Has the draft guess, token by token, for all sequences that want it together.
    fn make_drafts(&mut self, planned: &mut [Planned]) {
        let Some(draft) = &mut self.draft else { return };
        let most = planned.iter().map(|planned| planned.drafts).max().unwrap_or(0);
        for step in 0..most {
            let mut batch = Batch::default();
            for Planned { job, guesses, drafts, .. } in planned.iter().filter(|planned| planned.drafts > step) {
                debug_assert!(guesses.len() == step && *drafts > step);
                let job = &self.running[*job];
                let row = batch.tokens.len();
                batch.tokens.extend(guesses.last().or(job.tokens.last()));
                let pages = job.held.pages.clone();
                batch.parts.push(Part { rows: row..row + 1, position: job.computed + step, pages });
                batch.wanted.push(row);
            }
            let vocabulary = draft.vocabulary();
            let mut logits = draft.forward(&batch).chunks_exact(vocabulary);
            for planned in planned.iter_mut().filter(|planned| planned.drafts > step) {
                let likeliest = logits.next().map_or(0, crate::predict::largest);
                planned.guesses.push(likeliest as u32);
            }
        }
        for Planned { job, guesses, .. } in planned.iter().filter(|planned| planned.drafts > 0) {
            self.running[*job].writer.drafted(guesses);
        }
    }

    /// Makes the batch of a plan.
    fn fill(&mut self, planned: &[Planned]) {
        let Batch { tokens, parts, wanted } = &mut self.batch;
        tokens.clear();
        parts.clear();
        wanted.clear();
        for Planned { job, rows, guesses, .. } in planned {
            let job = &self.running[*job];
            let begin = tokens.len();
            tokens.extend(job.tokens[job.computed..].iter().chain(guesses).take(*rows));
            parts.push(Part { rows: begin..tokens.len(), position: job.computed, pages: job.held.pages.clone() });
            let waited = job.tokens.len() - job.computed;
            if *rows >= waited {
                wanted.extend(begin + waited - 1..tokens.len());
            }
        }
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
