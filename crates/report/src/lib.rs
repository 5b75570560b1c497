//! The report: one HTML page that needs no network and no script, and tells what a run made, from
//! what, and how good it is.
//!
//! Pages are made of sections; a section is a function from the `story::Story` of a run to markup,
//! or to nothing when the run has nothing to say about it. All text goes through `maud`, which escapes
//! it.
//!
//! It does not know how any stage works, only what its files say.

mod chart;
mod confusion;
mod curves;
mod data;
mod documents;
mod error;
mod fit;
mod ledger;
mod lineage;
mod numbers;
mod page;
mod samples;
mod story;

use base::Digest;
use store::Store;

pub use error::ReportError;
use story::Story;

/// What a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A run: what it made, and everything before it; of a run that made a registered version, also
    /// what was made of it since.
    Run(i64),
    /// An artifact, such as a version's model: everything before it, and what was made of it since.
    Artifact(Digest),
}

impl From<i64> for Subject {
    fn from(run: i64) -> Self {
        Self::Run(run)
    }
}

impl From<Digest> for Subject {
    fn from(artifact: Digest) -> Self {
        Self::Artifact(artifact)
    }
}

/// Writes the report of a run or an artifact as one HTML page.
///
/// # Errors
/// [`ReportError::Store`] when there is no such run or artifact, or the database refuses.
pub fn render(store: &Store, subject: impl Into<Subject>) -> Result<String, ReportError> {
    let story = Story::read(store, subject.into())?;
    Ok(page::page(&story).into_string())
}
