//! Checkpoints: everything that the rest of a training depends on. Random numbers are functions of
//! seed and step, so two counters stand for their state.
//!
//! The tensors are written first, as `checkpoint-STEP.safetensors`; then `checkpoint.json`, which names
//! that file and its digest; then older tensors are removed. A kill at any moment leaves the old
//! checkpoint or the new one.

use std::collections::BTreeMap;
use std::path::Path;

use base::Digest;
use base::files::write_atomically;
use infer::weights::{self, Tensor};
use nn::Tensors;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::history::History;
use crate::optimizer::Moments;

/// The file that says which tensors belong to the checkpoint.
const STATE_FILE: &str = "checkpoint.json";

/// Where a training stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Steps done.
    pub(crate) step: u64,
    /// The sum of the losses of the current epoch, each times its rows.
    pub(crate) epoch_loss: f64,
    /// The best validation loss so far, and its epoch.
    pub(crate) best: Option<(f64, u64)>,
    /// Epochs since the best.
    pub(crate) waited: u32,
    /// The epochs so far.
    pub(crate) history: History,
}

/// A training between two steps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    pub(crate) progress: Progress,
    pub(crate) parameters: Tensors,
    pub(crate) moments: Moments,
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
            all.insert(format!("{role}/{}", one.name), Tensor::f32(one.shape.clone(), one.values.clone()));
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

fn parts(state: &State) -> Vec<(&'static str, &Tensors)> {
    let mut parts =
        vec![("parameter", &state.parameters), ("first", &state.moments.first), ("second", &state.moments.second)];
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
    let State { parameters, moments, best, .. } = &mut state;
    let mut targets = vec![("parameter", parameters), ("first", &mut moments.first), ("second", &mut moments.second)];
    targets.extend(best.as_mut().map(|best| ("best", best)));
    for (role, tensors) in targets {
        for one in tensors.all_mut() {
            let name = format!("{role}/{}", one.name);
            match all.remove(&name) {
                Some(Tensor::F32 { shape, values }) if shape == one.shape => one.values = values,
                _ => return Err(format!("{name} is missing or has another shape")),
            }
        }
    }
    state.progress = saved.progress;
    Ok(Some(state))
}
