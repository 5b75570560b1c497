//! The function that a cluster's workers know: it prepares a batch and writes its shard.

use std::hash::{Hash, Hasher};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array as _, ArrayRef, AsArray as _, UInt64Array};
use arrow::datatypes::{DataType, UInt64Type};
use base::{Context, Digest};
use datafusion::common::{DataFusionError, Result as EngineResult, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::super::plan::{Plan, plan};
use super::super::prepare::Preparer;
use super::super::prepared::shard_path;
use super::exchange::{Job, from_row};
use crate::error::DataError;

/// Its name in plans.
pub(super) const NAME: &str = "yard_prepare";

/// `yard_prepare(stage, identity, index, first_row, documents) -> documents prepared`: `stage` is the folder of the stage,
/// relative to the project's, and `identity` is the job's, as hexadecimal digits.
#[derive(Debug)]
pub(super) struct Prepare {
    signature: Signature,
    /// The project's folder, on workers; elsewhere the function stands in plans only.
    project: Option<PathBuf>,
    /// What is needed for the job at hand. A worker has one at a time.
    job: Mutex<Option<Arc<Prepared>>>,
}

struct Prepared {
    identity: Digest,
    preparer: Preparer,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Prepared").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Prepare {
    /// The function as workers have it, or as it stands in plans.
    pub(super) fn function(project: Option<&Path>) -> ScalarUDF {
        ScalarUDF::new_from_impl(Self {
            // It writes files, so that nobody may call it once for all rows, or leave it out.
            signature: Signature::any(5, Volatility::Volatile),
            project: project.map(Path::to_owned),
            job: Mutex::new(None),
        })
    }

    /// What the job needs, from the job before where it is the same one.
    fn job(&self, stage: &Path, project: &Path, identity: Digest) -> Result<Arc<Prepared>, DataError> {
        let mut job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = job.as_ref().filter(|job| job.identity == identity) {
            return Ok(Arc::clone(job));
        }
        let found = Job::read(stage)?;
        let plan: Arc<Plan> = Arc::new(plan(&found.project, project)?);
        let ours = plan.identity()?;
        if ours != identity || found.identity != identity {
            return Err(DataError::cluster(
                format!("the worker in {} sees other sources or settings, or is another version", project.display()),
                "Driver and workers must be the same yard, and see the same files under the same paths.",
            ));
        }
        let preparer = Preparer::new(&Context::silent(), &plan)?;
        let made = Arc::new(Prepared { identity, preparer });
        *job = Some(Arc::clone(&made));
        Ok(made)
    }

    fn prepare(&self, arguments: &ScalarFunctionArgs) -> Result<ArrayRef, DataError> {
        let Some(project) = &self.project else {
            let hint = "Start workers with `yard worker data`; another executor does not know the function.";
            return Err(DataError::cluster(format!("{NAME} was called where there is no project"), hint));
        };
        let wrong =
            || DataError::cluster(format!("{NAME} was called with other arguments"), "Use the same yard everywhere.");
        let [stage, identity, columns @ ..] = &arguments.args[..] else { return Err(wrong()) };
        let text = |value: &ColumnarValue| match value {
            ColumnarValue::Scalar(ScalarValue::Utf8(Some(text))) => Some(text.clone()),
            _ => None,
        };
        let identity: Digest = text(identity).and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
        // What a plan names lies in the project, whoever sends it.
        let stage = text(stage).map(PathBuf::from).filter(|stage| inside(stage)).ok_or_else(wrong)?;
        let stage = project.join(stage);
        let job = self.job(&stage, project, identity)?;
        let columns = ColumnarValue::values_to_arrays(columns).map_err(|error| DataError::engine(&stage)(error))?;
        let [index, first_row, documents] = &columns[..] else { return Err(wrong()) };
        let index = index.as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?;
        let first_row = first_row.as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?;
        let documents = documents.as_list_opt::<i32>().ok_or_else(wrong)?;
        let mut worker = job.preparer.worker()?;
        let mut counts = Vec::with_capacity(documents.len());
        for at in 0..documents.len() {
            let batch = from_row(index.value(at), first_row.value(at), &documents.value(at)).ok_or_else(wrong)?;
            counts.push(batch.documents.len() as u64);
            // It may be there from a worker that died before it could say so.
            if !shard_path(&stage, batch.index).exists() {
                worker.shard(batch, &stage)?;
            }
        }
        Ok(Arc::new(UInt64Array::from(counts)))
    }
}

/// Whether a path leads down from where it starts, and nowhere else.
fn inside(path: &Path) -> bool {
    path.components().next().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)))
}

impl PartialEq for Prepare {
    fn eq(&self, other: &Self) -> bool {
        self.project == other.project
    }
}

impl Eq for Prepare {}

impl Hash for Prepare {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.project.hash(state);
    }
}

impl ScalarUDFImpl for Prepare {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> EngineResult<DataType> {
        Ok(DataType::UInt64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> EngineResult<ColumnarValue> {
        let counts = self.prepare(&arguments).map_err(|error| {
            let hint = base::Failure::hint(&error).unwrap_or_default();
            DataFusionError::Execution(format!("{error}. {hint}"))
        })?;
        Ok(ColumnarValue::Array(counts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_nothing_outside_the_project() {
        for (path, is_inside) in [
            (".yard/scratch/1", true),
            ("a", true),
            ("/etc", false),
            ("../x", false),
            ("a/../../x", false),
            ("", false),
            (".", false),
        ] {
            assert_eq!(inside(Path::new(path)), is_inside, "{path}");
        }
    }
}
