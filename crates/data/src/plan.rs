//! The plan of the data stage, whichever family the project has.

use std::sync::Arc;

use base::project::{Family, Project, ProjectFile, Size};
use dataset::PerSplit;
use infer::description::{Columns, TextCleaning};

use crate::error::DataError;
use crate::{documents, rows};

/// What the data stage will do.
#[derive(Debug, Clone)]
pub struct Plan(pub(crate) Kind);

/// Rows of a table, or documents.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Rows(Box<rows::Plan>),
    Documents(Arc<documents::Plan>),
}

/// Looks at the data and plans the stage.
///
/// # Errors
/// [`DataError`] for everything that is wrong with the files and columns.
pub fn plan(project: &Project) -> Result<Plan, DataError> {
    Ok(Plan(match project.file.family {
        Family::Predict => Kind::Rows(Box::new(rows::plan(project)?)),
        Family::Language => Kind::Documents(Arc::new(documents::plan(&project.file, &project.folder)?)),
    }))
}

impl Plan {
    /// The same plan, with the documents prepared by the workers of the cluster whose scheduler listens at `HOST:PORT`. The
    /// dataset is the same in every byte.
    ///
    /// # Errors
    /// [`DataError::Cluster`] for the rows of a `predict` project, which are held in memory, and where the feature
    /// `ballista` was left out.
    pub fn on_cluster(mut self, scheduler: &str) -> Result<Self, DataError> {
        if cfg!(not(feature = "ballista")) {
            return Err(DataError::without_clusters());
        }
        match &mut self.0 {
            Kind::Rows(_) => Err(DataError::cluster(
                "the rows of a predict project are held in memory, so a cluster has nothing to do",
                "Leave --scheduler out.",
            )),
            Kind::Documents(plan) => {
                Arc::make_mut(plan).scheduler = Some(scheduler.to_owned());
                Ok(self)
            }
        }
    }

    /// Rows in the sources: counted in tables, estimated in documents from the beginning of each source.
    #[must_use]
    pub fn rows(&self) -> u64 {
        match &self.0 {
            Kind::Rows(plan) => plan.rows(),
            Kind::Documents(plan) => plan.rows(),
        }
    }

    /// Bytes of the sources, counted; of those whose size nobody tells, nothing.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match &self.0 {
            Kind::Rows(plan) => plan.bytes(),
            Kind::Documents(plan) => plan.bytes(),
        }
    }

    /// What was derived, one line each, for people.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        match &self.0 {
            Kind::Rows(plan) => plan.notes(),
            Kind::Documents(plan) => plan.notes(),
        }
    }

    /// The rows of each split, estimated before the stage has run: as if nothing were dropped.
    #[must_use]
    pub fn split_estimate(&self) -> PerSplit {
        match &self.0 {
            Kind::Rows(plan) => plan.split_estimate(),
            Kind::Documents(plan) => plan.split_estimate(),
        }
    }

    /// Inputs and outputs as the stage would fit them, from the rows looked at: sizes hold, scales do not. Only of
    /// `predict` projects; of others, none.
    #[must_use]
    pub fn columns_estimate(&self) -> Columns {
        match &self.0 {
            Kind::Rows(plan) => plan.columns_estimate(),
            Kind::Documents(plan) => Columns { clean: plan.cleaning(), inputs: Vec::new(), outputs: Vec::new() },
        }
    }

    /// The vocabulary and cleaning of a language project, and its tokens estimated at three bytes each.
    #[must_use]
    pub fn language_estimate(&self) -> (TextCleaning, usize, PerSplit) {
        match &self.0 {
            Kind::Rows(plan) => (plan.cleaning(), plan.vocabulary, PerSplit::default()),
            Kind::Documents(plan) => plan.language_estimate(),
        }
    }

    /// The family of the project.
    #[must_use]
    pub fn family(&self) -> Family {
        match self.0 {
            Kind::Rows(_) => Family::Predict,
            Kind::Documents(_) => Family::Language,
        }
    }
}

/// The size of the vocabulary that is trained.
pub(crate) fn vocabulary(file: &ProjectFile) -> usize {
    let model = &file.model;
    model.vocabulary.map_or(
        match model.size {
            Size::Tiny => 512,
            Size::Small => 4096,
            Size::Medium => 8192,
        },
        |vocabulary| vocabulary as usize,
    )
}
