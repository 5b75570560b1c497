//! How a training went, epoch by epoch (`history.json`).

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::trainer::EpochReport;

/// The most points that are kept; of longer trainings every second, fourth, … epoch.
const POINTS_MAX: usize = 512;

/// The end of one epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryPoint {
    /// Steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: u64,
    /// The mean loss of the epoch's batches, as training saw them.
    pub train_loss: f64,
    /// The loss on the validation split, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_loss: Option<f64>,
    /// The learning rate of the epoch's last step.
    pub learning_rate: f64,
}

/// How a training went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Ends of epochs, the last always among them.
    pub points: Vec<HistoryPoint>,
    /// The epoch whose weights were kept.
    pub best_epoch: u64,
    /// Whether patience ended the training.
    pub stopped_early: bool,
    /// Seconds of training, over all its continuations.
    pub seconds: f64,
    /// Rows (or tokens) of the training split that went through the model in a second.
    pub rows_per_second: f64,
    /// What `rows_per_second` counts: `rows` or `tokens`.
    pub unit: String,
}

impl History {
    /// Reads a history.
    ///
    /// # Errors
    /// [`TrainError::Io`] when the file cannot be read or is none.
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let bytes = std::fs::read(path).map_err(TrainError::io("read", path))?;
        serde_json::from_slice(&bytes).map_err(|error| TrainError::io("read", path)(error.into()))
    }

    /// The recorded epochs as reports.
    pub fn reports(&self) -> impl Iterator<Item = EpochReport> + '_ {
        self.points.iter().map(|point| EpochReport {
            epoch: point.epoch,
            step: point.step,
            train_loss: point.train_loss,
            valid_loss: point.valid_loss,
            learning_rate: point.learning_rate,
        })
    }

    /// Whether an epoch of a training of `epochs` is recorded.
    pub(crate) fn records(epoch: u64, epochs: u64) -> bool {
        let stride = epochs.div_ceil(POINTS_MAX as u64).next_power_of_two();
        epoch.is_multiple_of(stride) || epoch == epochs || epoch == 1
    }
}
