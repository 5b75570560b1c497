//! Checkpoints: everything that the rest of a training depends on. Random numbers are functions of
//! seed and step, so two counters stand for their state.
//!
//! The tensors are written first, as `checkpoint-STEP.safetensors`; then `checkpoint.json`, which names
//! that file and its digest; then older tensors are removed. A kill at any moment leaves the old
//! checkpoint or the new one.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::JoinHandle;

use base::Digest;
use base::files::write_atomically;
use infer::weights::{self, Tensor};
use nn::Tensors;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::history::History;
use crate::optimizer::Moments;
use crate::ranks::Ranks;

/// The file that says which tensors belong to the checkpoint.
const STATE_FILE: &str = "checkpoint.json";

/// Where a training stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Steps done.
    pub(crate) step: u64,
    /// The sum of the losses of the current epoch.
    pub(crate) epoch_loss: f64,
    /// Rows or tokens that the sum is of.
    pub(crate) epoch_weight: f64,
    /// The best validation loss so far, and its epoch.
    pub(crate) best: Option<(f64, u64)>,
    /// Epochs since the best.
    pub(crate) waited: u32,
    /// Mishaps so far; each halved the learning rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) mishaps: u32,
    /// The epochs so far.
    pub(crate) history: History,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A training between two steps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    pub(crate) progress: Progress,
    pub(crate) parameters: Tensors,
    pub(crate) moments: Moments,
    /// The moving average of the parameters, where there is one.
    pub(crate) average: Option<Tensors>,
    /// The parameters of the best epoch, where validation chose one.
    pub(crate) best: Option<Tensors>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    progress: Progress,
    tensors: String,
    sha256: Digest,
}

/// Writes a checkpoint.
pub(crate) fn save(folder: &Path, state: &State) -> Result<(), TrainError> {
    let mut all = BTreeMap::new();
    for (role, tensors) in parts(state) {
        for one in tensors.all() {
            all.insert(format!("{role}/{}", one.name), Tensor::f32(one.shape.to_vec(), one.values.to_vec()));
        }
    }
    let name = format!("checkpoint-{}.safetensors", state.progress.step);
    let path = folder.join(&name);
    weights::write(&path, &all)?;
    let (sha256, _) = Digest::of_file(&path).map_err(TrainError::io("read", &path))?;
    let saved = Saved { progress: state.progress.clone(), tensors: name.clone(), sha256 };
    let json = serde_json::to_vec(&saved).map_err(|error| TrainError::io("write", folder)(error.into()))?;
    let path = folder.join(STATE_FILE);
    write_atomically(&path, &json).map_err(TrainError::io("write", &path))?;
    for entry in std::fs::read_dir(folder).map_err(TrainError::io("list", folder))?.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        if file.ends_with(".safetensors") && file != name {
            // What cannot be removed is found and removed next time.
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// Writes checkpoints on a thread of its own, one at a time.
#[derive(Debug, Default)]
pub(crate) struct Saver {
    writing: Option<JoinHandle<Result<(), TrainError>>>,
}

impl Saver {
    /// Begins to write a checkpoint; waits only for the one before it.
    pub(crate) fn begin(&mut self, folder: &Path, state: &State) -> Result<(), TrainError> {
        self.wait()?;
        let (folder, state) = (folder.to_owned(), state.clone());
        let thread = std::thread::Builder::new().name("checkpoint".to_owned());
        let writing = thread.spawn(move || save(&folder, &state));
        self.writing = Some(writing.map_err(|error| TrainError::Threads { what: error.to_string() })?);
        Ok(())
    }

    /// Waits until everything is written.
    pub(crate) fn wait(&mut self) -> Result<(), TrainError> {
        match self.writing.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(written)) => written,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        // An error on the way out matters more than one of the checkpoint.
        let _ = self.writing.take().map(JoinHandle::join);
    }
}

/// Gives every rank the leader's state. `fresh` is the state that training would begin with.
pub(crate) fn share(ranks: &Ranks, state: State, fresh: &State) -> Result<State, TrainError> {
    if ranks.size() == 1 {
        return Ok(state);
    }
    let unread = |error: serde_json::Error| TrainError::Ranks {
        what: format!("the leader's progress cannot be read ({error})"),
        hint: "Start the same yard on every machine.",
    };
    let progress = serde_json::to_vec(&state.progress).map_err(unread)?;
    let mut shared = state;
    shared.progress = serde_json::from_slice(&ranks.tell(&progress)).map_err(unread)?;
    if !ranks.leads() {
        shared.best = shared.progress.best.map(|_| fresh.parameters.clone());
    }
    let State { parameters, moments, average, best, .. } = &mut shared;
    let all = [parameters, &mut moments.first, &mut moments.second];
    for tensors in all.into_iter().chain(average).chain(best) {
        ranks.spread(tensors.flat_mut());
    }
    Ok(shared)
}

fn parts(state: &State) -> Vec<(&'static str, &Tensors)> {
    let mut parts =
        vec![("parameter", &state.parameters), ("first", &state.moments.first), ("second", &state.moments.second)];
    parts.extend(state.average.as_ref().map(|average| ("average", average)));
    parts.extend(state.best.as_ref().map(|best| ("best", best)));
    parts
}

/// Reads the checkpoint of a folder into `fresh`, the state that training would begin with. `Ok(None)`
/// where there is none, `Err` with the reason where it is damaged.
pub(crate) fn load(folder: &Path, fresh: &State) -> Result<Option<State>, String> {
    let path = folder.join(STATE_FILE);
    let json = match std::fs::read(&path) {
        Ok(json) => json,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let saved: Saved = serde_json::from_slice(&json).map_err(|error| format!("{STATE_FILE}: {error}"))?;
    if saved.tensors.contains(['/', '\\']) {
        return Err(format!("{STATE_FILE} names a file elsewhere"));
    }
    let path = folder.join(&saved.tensors);
    let (found, _) = Digest::of_file(&path).map_err(|error| format!("{}: {error}", saved.tensors))?;
    if found != saved.sha256 {
        return Err(format!("{} was changed", saved.tensors));
    }
    let mut all = weights::read(&path).map_err(|error| error.to_string())?;
    let mut state = fresh.clone();
    state.best = saved.progress.best.map(|_| fresh.parameters.clone());
    let State { parameters, moments, average, best, .. } = &mut state;
    let mut targets = vec![("parameter", parameters), ("first", &mut moments.first), ("second", &mut moments.second)];
    targets.extend(average.as_mut().map(|average| ("average", average)));
    targets.extend(best.as_mut().map(|best| ("best", best)));
    for (role, tensors) in targets {
        let count = tensors.all().len();
        for position in 0..count {
            let one = tensors.at(position);
            let name = format!("{role}/{}", one.name);
            match all.remove(&name) {
                Some(Tensor::F32 { shape, values }) if shape == one.shape => {
                    tensors.at_mut(position).copy_from_slice(&values);
                }
                _ => return Err(format!("{name} is missing or has another shape")),
            }
        }
    }
    state.progress = saved.progress;
    Ok(Some(state))
}
