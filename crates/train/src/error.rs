//! What can go wrong in training.

use std::io;
use std::path::{Path, PathBuf};

use base::failure::{io_fault, io_hint};
use base::{Failure, Fault};
use dataset::DatasetError;
use infer::InferError;
use store::StoreError;

/// What can go wrong in training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The dataset could not be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The model that was written could not be used.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// A file could not be used.
    #[error("failed to {verb} {}: {error}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// What came back.
        error: io::Error,
    },
    /// The project file and the dataset do not fit.
    #[error("failed to plan the training: {what}")]
    Plan {
        /// What does not fit.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// The device of the project file cannot be used.
    #[error("failed to begin the training: {0}")]
    Device(#[from] nn::DeviceError),
    /// The loss jumped, or the loss or a gradient is not a number any more.
    #[error("failed to train: {what} at step {step} (epoch {epoch}){}", if *mishaps > 0 { format!(", after {mishaps} earlier mishaps") } else { String::new() })]
    Diverged {
        /// What is wrong, with the tensor.
        what: String,
        /// The step, counted from 1.
        step: u64,
        /// The epoch, counted from 1.
        epoch: u64,
        /// The learning rate of that step.
        learning_rate: f64,
        /// Mishaps before this one.
        mishaps: u32,
    },
    /// Ctrl-C; a checkpoint was written.
    #[error("failed to finish the training: it was stopped at step {step} of {steps}")]
    Stopped {
        /// Steps done.
        step: u64,
        /// Steps planned.
        steps: u64,
    },
    /// The observer ended it.
    #[error("failed to finish the training: it was cut off after epoch {epoch}")]
    Cut {
        /// Epochs done.
        epoch: u64,
    },
    /// The processes of one training do not work together.
    #[error("failed to train on several processes: {what}")]
    Ranks {
        /// Why not.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// The threads could not be started.
    #[error("failed to start threads: {what}")]
    Threads {
        /// Why.
        what: String,
    },
}

impl TrainError {
    /// For `map_err` on input and output.
    pub fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { verb, path, error }
    }
}

impl Failure for TrainError {
    fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::Dataset(error) => error.fault(),
            Self::Infer(error) => error.fault(),
            Self::Io { error, .. } => io_fault(error),
            Self::Plan { .. } | Self::Device(_) | Self::Diverged { .. } | Self::Ranks { .. } => Fault::User,
            Self::Stopped { .. } | Self::Cut { .. } => Fault::Stopped,
            Self::Threads { .. } => Fault::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Dataset(error) => error.hint(),
            Self::Infer(error) => error.hint(),
            Self::Io { error, .. } => io_hint(error),
            Self::Plan { hint, .. } | Self::Ranks { hint, .. } | Self::Device(nn::DeviceError { hint, .. }) => {
                Some((*hint).to_owned())
            }
            Self::Diverged { learning_rate, .. } => Some(format!(
                "The learning rate was {learning_rate:.2e}: set a lower one, such as train.learning_rate = {:.1e}, or \
                 train.retries = 3, which goes back to the last checkpoint and on with half the rate.",
                learning_rate / 10.0
            )),
            Self::Stopped { .. } => Some("A checkpoint was written: the same command continues from it.".to_owned()),
            Self::Cut { .. } | Self::Threads { .. } => None,
        }
    }
}
