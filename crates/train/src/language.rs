//! Tokens as sequences, and their loss.
//!
//! **Stream**: an epoch cuts the stream of all documents into sequences of the context's length, each
//! beginning with the last token of the one before it. The cuts move from epoch to epoch, so that every
//! token is seen in different places; the number of sequences stays the same.
//!
//! **Documents**: every document is a sequence of its own, its end before its beginning as in serving;
//! longer ones are cut. Sequences lie in the batch one behind the other without padding and do not see
//! each other.

use std::ops::Range;

use base::project::Packing;
use dataset::{Split, Tokens, read_tokens};
use infer::description::{LanguageDescription, TOKENIZER_FILE, Task};
use infer::tokenizer::TextTokenizer;
use nn::language::Batch;
use nn::random::Random;
use nn::{Dropout, Options, Sink, Tensors, Workspace};

use crate::error::TrainError;
use crate::ranks::Ranks;
use crate::trainer::{How, Objective, Session};

/// What the place of an epoch's first cut is drawn for.
const CUT: u64 = 0xc077;

/// The training and the validation split.
pub(crate) struct Data<'a> {
    description: &'a LanguageDescription,
    seed: u64,
    /// Sequences that go through the model at once in validation.
    batch: usize,
    options: Options,
    train: Tokens,
    valid: Tokens,
    /// The sequences of both splits, where documents are sequences: inputs and targets of each, the
    /// targets one place further.
    documents: Option<[Vec<Range<usize>>; 2]>,
    workspace: Workspace,
}

impl<'a> Data<'a> {
    /// Reads both splits.
    pub(crate) fn read(session: &Session<'a>) -> Result<Self, TrainError> {
        let Task::Language(description) = &session.plan.description.task else {
            unreachable!("the plan of a predict model")
        };
        let read = |split| read_tokens(&session.dataset.folder, split);
        let (train, valid) = (read(Split::Train)?, read(Split::Valid)?);
        let settings = &session.plan.settings;
        let documents = match settings.packing {
            Packing::Stream => None,
            Packing::Documents => {
                let end = TextTokenizer::load(&session.dataset.path(TOKENIZER_FILE))?.end_of_text();
                Some([&train, &valid].map(|tokens| documents(tokens, end, description.context)))
            }
        };
        let batch = (settings.batch_size / settings.accumulate).max(1) as usize;
        let options = settings.options(Dropout::OFF);
        let (seed, workspace) = (session.plan.seed, Workspace::default());
        Ok(Self { description, seed, batch, options, train, valid, documents, workspace })
    }

    /// The places of an example's inputs in the training split.
    fn place(&self, epoch: u64, example: u32) -> Range<usize> {
        if let Some([train, _]) = &self.documents {
            return train[example as usize].clone();
        }
        let time = self.description.context;
        let spare = (self.train.len() - 1) % time;
        let cut = Random::new(self.seed, &[CUT, epoch]).below(spare + 1);
        let begin = cut + example as usize * time;
        begin..begin + time
    }
}

/// The sequences of documents, each from the end of the one before it, at most `context` inputs long.
fn documents(tokens: &Tokens, end: u32, context: usize) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    let mut begin = 0;
    for (place, token) in tokens.iter().enumerate().skip(1) {
        if token == end || place - begin == context {
            all.push(begin..place);
            begin = place;
        }
    }
    if begin + 1 < tokens.len() {
        all.push(begin..tokens.len() - 1);
    }
    all
}

/// Sequences of a split as a batch.
fn batch(tokens: &Tokens, places: impl Iterator<Item = Range<usize>>) -> Batch {
    let mut batch = Batch::default();
    for place in places {
        batch.tokens.extend(tokens.range(place.clone()));
        batch.targets.extend(tokens.range(place.start + 1..place.end + 1));
        batch.lengths.push(place.len());
    }
    batch
}

impl Objective for Data<'_> {
    fn examples(&self) -> usize {
        let stream = || self.train.len().saturating_sub(1) / self.description.context;
        self.documents.as_ref().map_or_else(stream, |[train, _]| train.len())
    }

    fn unit(&self) -> &'static str {
        "tokens"
    }

    fn weight(&self, epoch: u64, batch: &[u32]) -> f64 {
        batch.iter().map(|example| self.place(epoch, *example).len()).sum::<usize>() as f64
    }

    fn step(&mut self, parameters: &Tensors, epoch: u64, examples: &[u32], how: How, sink: Sink<'_>) -> f64 {
        let batch = batch(&self.train, examples.iter().map(|example| self.place(epoch, *example)));
        let How { scale, options } = how;
        nn::language::step(self.description, parameters, &batch, scale, options, &mut self.workspace, sink)
    }

    fn valid_loss(&mut self, parameters: &Tensors, ranks: &Ranks) -> Option<f64> {
        let targets = self.valid.len().checked_sub(1).filter(|count| *count > 0)?;
        let time = self.description.context;
        let stream = || (0..targets).step_by(time).map(|begin| begin..(begin + time).min(targets)).collect();
        let places: Vec<Range<usize>> = self.documents.as_ref().map_or_else(stream, |[_, valid]| valid.clone());
        let count: usize = places.iter().map(Range::len).sum();
        let mut sum = 0.0;
        for places in places[ranks.share(places.len())].chunks(self.batch) {
            let batch = batch(&self.valid, places.iter().cloned());
            sum += nn::language::loss(self.description, parameters, &batch, self.options, &mut self.workspace);
        }
        Some(ranks.sum(sum) / count as f64)
    }
}
