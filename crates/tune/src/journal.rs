//! Finished trials, a line each, in a file that survives a kill.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use base::files::write_atomically;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::error::TuneError;

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialState {
    /// With a validation loss.
    Done,
    /// By the median rule.
    Pruned,
    /// With an error.
    Failed,
}

/// One finished trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Its number, from 0.
    pub number: u32,
    /// What it set, by key.
    pub settings: Vec<(String, Json)>,
    /// How it ended.
    pub state: TrialState,
    /// The best validation loss, of a trial that is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_loss: Option<f64>,
    /// Epochs it trained.
    pub epochs: u64,
    /// The validation loss after each reported epoch.
    pub curve: Vec<(u64, f64)>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

/// The journal of one study.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    pub(crate) trials: Vec<Trial>,
}

impl Journal {
    /// Opens the journal of a folder. A line cut off by a kill, and whatever follows it, is dropped.
    pub(crate) fn open(folder: &Path) -> Result<Self, TuneError> {
        let path = folder.join("trials.jsonl");
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(TuneError::io("read", &path)(error)),
        };
        let mut trials: Vec<Trial> = Vec::new();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            match serde_json::from_str::<Trial>(line) {
                Ok(trial) if trial.number as usize == trials.len() => trials.push(trial),
                _ => break,
            }
        }
        let mut journal = Self { path, trials };
        let count = journal.trials.len();
        journal.truncate(count)?;
        Ok(journal)
    }

    /// Keeps the first `count` trials.
    pub(crate) fn truncate(&mut self, count: usize) -> Result<(), TuneError> {
        self.trials.truncate(count);
        let mut text = String::new();
        for trial in &self.trials {
            text.push_str(&self.line(trial)?);
        }
        write_atomically(&self.path, text.as_bytes()).map_err(TuneError::io("write", &self.path))
    }

    /// Adds a trial; it is on the disk when this returns.
    pub(crate) fn append(&mut self, trial: Trial) -> Result<(), TuneError> {
        let line = self.line(&trial)?;
        let write = || {
            let mut file = File::options().append(true).open(&self.path)?;
            file.write_all(line.as_bytes())?;
            file.sync_all()
        };
        write().map_err(TuneError::io("write", &self.path))?;
        self.trials.push(trial);
        Ok(())
    }

    fn line(&self, trial: &Trial) -> Result<String, TuneError> {
        let json = serde_json::to_string(trial).map_err(|error| TuneError::io("write", &self.path)(error.into()))?;
        Ok(json + "\n")
    }
}
