//! What a plan needs to know of a dataset.

use dataset::PerSplit;
use infer::description::{Columns, TextCleaning};
use store::Artifact;

use crate::error::TrainError;

/// What goes in and out.
#[derive(Debug, Clone, PartialEq)]
pub enum DataShape {
    /// Columns with their fitted preprocessing.
    Predict(Columns),
    /// Tokens.
    Language {
        /// How text is cleaned.
        clean: TextCleaning,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
}

/// What a plan needs to know of a dataset. `yard plan` fills it with estimates before there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// What goes in and out.
    pub shape: DataShape,
    /// Rows of a `predict` dataset, tokens of a `language` dataset.
    pub rows: PerSplit,
}

impl Facts {
    /// Reads them from a dataset.
    ///
    /// # Errors
    /// Whatever reading the dataset's descriptions gives.
    pub fn read(dataset: &Artifact) -> Result<Self, TrainError> {
        if dataset.has(dataset::LANGUAGE_FILE) {
            let info = dataset::LanguageInfo::load(&dataset.folder)?;
            let shape = DataShape::Language { clean: info.clean, vocabulary: info.vocabulary };
            return Ok(Self { shape, rows: info.tokens });
        }
        let columns = dataset::read_columns(&dataset.folder)?;
        let count = |split| dataset::count_rows(&dataset.folder, split);
        let rows = PerSplit {
            train: count(dataset::Split::Train)?,
            valid: count(dataset::Split::Valid)?,
            test: count(dataset::Split::Test)?,
        };
        Ok(Self { shape: DataShape::Predict(columns), rows })
    }
}
