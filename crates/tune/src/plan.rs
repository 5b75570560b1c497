//! The plan of a search: the space, checked against the project file.

use base::project::{Project, Sampler, TuneConfig};
use serde_json::{Value as Json, json};
use store::{Artifact, StageKey};

use crate::error::TuneError;
use crate::space::values_to_check;

/// The plan of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The `[tune]` table.
    pub config: TuneConfig,
    /// The seed of every choice.
    pub seed: u64,
    /// The parts of the project file that a trial depends on.
    pub project: Json,
    inputs: Vec<(String, base::Digest)>,
}

/// Plans the search of a project's `[tune]` table. `dataset` is the dataset of the project as it
/// stands; trials that search data keys make their own.
///
/// # Errors
/// [`TuneError::NoTable`]; [`TuneError::Project`] when an end of a range or a choice is a value that
/// its key cannot have.
pub fn plan(project: &Project, dataset: &Artifact) -> Result<Plan, TuneError> {
    let file = &project.file;
    let config = file.tune.clone().ok_or(TuneError::NoTable)?;
    for (key, range) in &config.search {
        for value in values_to_check(key, range) {
            project.with(&[(key.clone(), value)])?;
        }
    }
    let project = json!({
        "family": file.family, "data": file.data, "input": file.input, "output": file.output,
        "model": file.model, "train": file.train,
    });
    let inputs = vec![("dataset".to_owned(), dataset.digest)];
    Ok(Plan { config, seed: u64::from(file.seed), project, inputs })
}

impl Plan {
    /// What the result depends on.
    #[must_use]
    pub fn key(&self) -> StageKey {
        StageKey {
            stage: "tune",
            code_version: crate::CODE_VERSION,
            config: json!({ "tune": self.config, "project": self.project }),
            inputs: self.inputs.clone(),
            seed: self.seed,
            makes: "study",
        }
    }

    /// The sampler's name.
    #[must_use]
    pub fn sampler(&self) -> &'static str {
        match self.config.sampler {
            Sampler::Random => "random",
            Sampler::Tpe => "tpe",
        }
    }
}
