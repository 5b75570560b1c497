//! A stream of tokens as sequences, and their loss.
//!
//! An epoch cuts the stream into sequences of the context's length, each beginning with the last token
//! of the one before it. The cuts move from epoch to epoch, so that every token is seen in different
//! places; the number of sequences stays the same.

use dataset::{Split, read_tokens};
use infer::description::{LanguageDescription, Task};
use nn::language::Batch;
use nn::random::Random;
use nn::{Dropout, Tensors};

use crate::error::TrainError;
use crate::trainer::{Objective, Session};

/// What the place of an epoch's first cut is drawn for.
const CUT: u64 = 0xc077;

/// The training and the validation split.
pub(crate) struct Data<'a> {
    description: &'a LanguageDescription,
    seed: u64,
    batch: usize,
    train: Vec<u32>,
    valid: Vec<u32>,
}

impl<'a> Data<'a> {
    /// Reads both splits.
    pub(crate) fn read(session: &Session<'a>) -> Result<Self, TrainError> {
        let Task::Language(description) = &session.plan.description.task else {
            unreachable!("the plan of a predict model")
        };
        let read = |split| -> Result<Vec<u32>, TrainError> {
            Ok(read_tokens(&session.dataset.folder, split)?.into_iter().map(u32::from).collect())
        };
        Ok(Self {
            description,
            seed: session.plan.seed,
            batch: session.plan.settings.batch_size as usize,
            train: read(Split::Train)?,
            valid: read(Split::Valid)?,
        })
    }
}

impl Objective for Data<'_> {
    fn examples(&self) -> usize {
        (self.train.len() - 1) / self.description.context
    }

    fn measure(&self) -> (u64, &'static str) {
        (self.description.context as u64, "tokens")
    }

    fn step(&self, parameters: &Tensors, epoch: u64, batch: &[u32], dropout: Dropout, gradients: &mut Tensors) -> f64 {
        let time = self.description.context;
        let spare = (self.train.len() - 1) % time;
        let cut = Random::new(self.seed, &[CUT, epoch]).below(spare + 1);
        let mut sequences = Batch { tokens: Vec::new(), targets: Vec::new(), time };
        for index in batch {
            let begin = cut + *index as usize * time;
            sequences.tokens.extend_from_slice(&self.train[begin..begin + time]);
            sequences.targets.extend_from_slice(&self.train[begin + 1..=begin + time]);
        }
        nn::language::step(self.description, parameters, &sequences, dropout, gradients)
    }

    fn valid_loss(&self, parameters: &Tensors) -> Option<f64> {
        let targets = self.valid.len().checked_sub(1).filter(|count| *count > 0)?;
        let time = self.description.context;
        let whole = targets / time;
        let mut sum = 0.0;
        let mut add = |begin: usize, end: usize, time: usize| {
            let tokens = self.valid[begin..end].to_vec();
            let targets = self.valid[begin + 1..=end].to_vec();
            sum += nn::language::loss(self.description, parameters, &Batch { tokens, targets, time });
        };
        for first in (0..whole).step_by(self.batch) {
            add(first * time, (first + self.batch).min(whole) * time, time);
        }
        if whole * time < targets {
            // What is left is one shorter sequence.
            add(whole * time, targets, targets - whole * time);
        }
        Some(sum / targets as f64)
    }
}
