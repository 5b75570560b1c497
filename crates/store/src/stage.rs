//! A stage is a function with a cache: the key of its result is the hash of the stage's code version,
//! its part of the project file, its inputs and the seed. The same key is never computed twice.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base::{Digest, Failure, Fault};
use serde_json::{Value as Json, json};

use crate::artifact::Artifact;
use crate::error::StoreError;
use crate::run::RunStatus;
use crate::{Store, now_ms};

/// What a stage's result depends on.
#[derive(Debug, Clone)]
pub struct StageKey {
    /// The stage's name, such as `train`.
    pub stage: &'static str,
    /// Raised whenever the stage's code would give another result for the same inputs.
    pub code_version: u32,
    /// The stage's part of the project file, derived values filled in.
    pub config: Json,
    /// The artifacts (or source files) that go in, by role.
    pub inputs: Vec<(String, Digest)>,
    /// The seed.
    pub seed: u64,
    /// What the stage makes: `dataset`, `model`, `study`, `image`.
    pub makes: &'static str,
}

impl StageKey {
    /// The key itself.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let inputs: Vec<Json> = self.inputs.iter().map(|(role, digest)| json!([role, digest])).collect();
        Digest::of_json(&json!([self.stage, self.code_version, self.config, inputs, self.seed, self.makes]))
    }
}

/// A stage's result, and whether it was there already.
#[derive(Debug, Clone)]
pub struct Made {
    /// The result.
    pub artifact: Artifact,
    /// The run that made it.
    pub run: i64,
    /// Whether it was made before.
    pub cached: bool,
    /// How long it took, now or then.
    pub seconds: f64,
}

/// Points of metrics (name, step, value) that are not written yet, and when the last were.
type Pending = (Vec<(String, i64, f64)>, Instant);

/// Where a running stage puts its results.
#[derive(Debug)]
pub struct Work<'a> {
    store: &'a Store,
    run: i64,
    out: PathBuf,
    scratch: PathBuf,
    pending: Mutex<Pending>,
}

impl Work<'_> {
    /// The folder whose files become the artifact; it is empty when the stage begins.
    #[must_use]
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// A folder for checkpoints. It survives a kill, and the same stage finds it again.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// The run's number.
    #[must_use]
    pub fn run(&self) -> i64 {
        self.run
    }

    /// Records one point of a metric; `step` counts from 0. Points are written once a second.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub fn metric(&self, name: &str, step: u64, value: f64) -> Result<(), StoreError> {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let due = {
            let mut pending = self.pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            pending.0.push((name.to_owned(), step, value));
            if pending.1.elapsed() < Duration::from_secs(1) {
                return Ok(());
            }
            pending.1 = Instant::now();
            std::mem::take(&mut pending.0)
        };
        self.store.record_metrics(self.run, &due)
    }

    fn flush(&self) -> Result<(), StoreError> {
        let due = std::mem::take(&mut self.pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0);
        self.store.record_metrics(self.run, &due)
    }
}

impl Store {
    /// The result of a stage, if it was made before and is intact.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it was made and is not intact any more.
    pub fn cached(&self, key: &StageKey) -> Result<Option<Made>, StoreError> {
        let Some(digest) = self.stage_result(&key.digest())? else { return Ok(None) };
        let artifact = self.artifact(digest)?;
        let run = self.run_of_key(&key.digest())?;
        let (run, seconds) = run.map_or((0, 0.0), |run| (run.id, run.seconds()));
        Ok(Some(Made { artifact, run, cached: true, seconds }))
    }

    /// Runs a stage, or finds what the same stage made before. The caller holds the [`crate::Lock`].
    ///
    /// # Errors
    /// What the stage's own work gives, or [`StoreError`].
    pub fn stage<E>(&self, key: &StageKey, work: impl FnOnce(&Work<'_>) -> Result<(), E>) -> Result<Made, E>
    where
        E: From<StoreError> + Failure,
    {
        if let Some(made) = self.cached(key)? {
            return Ok(made);
        }
        let folder = self.root().join("work").join(key.digest().to_string());
        let place = Work {
            store: self,
            out: folder.join("out"),
            scratch: folder.join("scratch"),
            run: self.begin_run(key)?,
            pending: Mutex::new((Vec::new(), Instant::now())),
        };
        let begun = Instant::now();
        match self.work_and_adopt(key, &place, &folder, work) {
            Ok(artifact) => {
                Ok(Made { artifact, run: place.run, cached: false, seconds: begun.elapsed().as_secs_f64() })
            }
            Err(error) => {
                let status = match error.fault() {
                    Fault::Stopped => RunStatus::Interrupted,
                    Fault::Gate => RunStatus::Refused,
                    Fault::User | Fault::Internal => RunStatus::Failed,
                };
                // The first error is what the user must see, even if the database fails as well.
                let _ = place.flush();
                let _ = self.end_run(place.run, status, None, Some(&error.to_string()));
                Err(error)
            }
        }
    }

    fn work_and_adopt<E: From<StoreError>>(
        &self,
        key: &StageKey,
        place: &Work<'_>,
        folder: &Path,
        work: impl FnOnce(&Work<'_>) -> Result<(), E>,
    ) -> Result<Artifact, E> {
        if place.out.exists() {
            std::fs::remove_dir_all(&place.out).map_err(StoreError::io("clear", &place.out))?;
        }
        for folder in [&place.out, &place.scratch] {
            std::fs::create_dir_all(folder).map_err(StoreError::io("make", folder))?;
        }
        work(place)?;
        place.flush()?;
        let artifact = self.adopt(&place.out, key.makes)?;
        self.finish_stage(key, place.run, &artifact, now_ms())?;
        std::fs::remove_dir_all(folder).map_err(StoreError::io("remove", folder))?;
        Ok(artifact)
    }
}
