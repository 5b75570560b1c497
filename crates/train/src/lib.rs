//! `yard train`: a dataset in, a model and its training history out.
//!
//! [`plan`] derives what the project file leaves open and estimates the work; [`run`] trains, with
//! checkpoints in the stage's scratch folder, writes the model folder, loads it back with the engine
//! that will serve it, and measures it on the test split.
//!
//! **Invariant:** a result depends on the plan, the dataset and the seed alone: not on threads, time,
//! or where the training was stopped and continued. (A GPU may add in another order; its name is in the
//! key.) Read on in `trainer`. Several processes
//! ([`Ranks`]) add the gradients of a batch in another order than one, and so round otherwise; nothing else
//! changes.

mod checkpoint;
mod coefficients;
mod derive;
mod error;
mod facts;
mod history;
mod language;
mod optimizer;
mod plan;
mod predict;
mod publish;
mod range;
mod ranks;
mod schedule;
mod trainer;
mod watch;

use std::ops::ControlFlow;

use base::Context;
use base::project::Project;
use infer::description::Task;
use store::{Artifact, Made, StageKey, Store};

pub use error::TrainError;
pub use facts::{DataShape, Facts};
pub use history::{History, HistoryPoint};
pub use plan::{Plan, Settings, plan, plan_for};
pub use range::{RANGE_FILE, RangePoint, RangeTest, range_test};
pub use ranks::Ranks;
pub use trainer::EpochReport;

/// Raised whenever the same inputs would give another result.
pub const CODE_VERSION: u32 = 1;
/// The file of a model that holds its [`History`].
pub const HISTORY_FILE: &str = "history.json";

/// Trains the model of a plan, or finds what was trained before. `observer` hears of every epoch, and
/// may end the training; of a model that was there already it hears the recorded epochs. Where `ranks` are
/// several, this is the leader's part, and the others [`follow`].
///
/// # Errors
/// [`TrainError::Stopped`] after Ctrl-C, with a checkpoint written; [`TrainError::Cut`] when the
/// observer ended it; [`TrainError::Device`] when the device cannot be used; [`TrainError::Diverged`]; whatever
/// reading, writing and loading give.
pub fn run(
    context: &Context,
    store: &Store,
    plan: &Plan,
    dataset: &Artifact,
    ranks: &Ranks,
    observer: &mut dyn FnMut(EpochReport) -> ControlFlow<()>,
) -> Result<Made, TrainError> {
    let made = in_session(context, store, &plan.key(dataset), plan, dataset, ranks, |session| session.train(observer))?;
    if made.cached {
        for report in History::load(&made.artifact.path(HISTORY_FILE))?.reports() {
            if observer(report).is_break() {
                break;
            }
        }
    }
    Ok(made)
}

/// Makes an artifact in a session that has threads to compute on.
fn in_session(
    context: &Context,
    store: &Store,
    key: &StageKey,
    plan: &Plan,
    dataset: &Artifact,
    ranks: &Ranks,
    make: impl FnOnce(&trainer::Session<'_>) -> Result<(), TrainError>,
) -> Result<Made, TrainError> {
    store.stage(key, |work| {
        begin(context, plan)?;
        let pool = pool(context)?;
        // Observers are not sent between threads, so that the pool only computes.
        make(&trainer::Session { context, work: Some(work), plan, dataset, pool: &pool, ranks })
    })
}

/// Looks for the device that a project trains on and tries it; [`run`] does so too.
///
/// # Errors
/// [`TrainError::Device`] with what is missing.
pub fn open_device(project: &Project) -> Result<(), TrainError> {
    Ok(derive::device(project.file.train.device).open()?)
}

/// Opens the device that the plan names. A linear model has nothing for it, and people are told.
fn begin(context: &Context, plan: &Plan) -> Result<(), TrainError> {
    let device = plan.settings.device;
    device.open()?;
    let linear = matches!(&plan.description.task, Task::Predict(predict) if nn::predict::is_linear(predict));
    if device != nn::Device::Cpu && linear {
        let name = device.name();
        context
            .progress
            .note(&format!("train: a linear model is computed on the CPU, with train.device = {name:?} too"));
    }
    Ok(())
}

/// Computes along with the leader of several `ranks`, without a store: this rank's share of every batch.
/// That a training ended early is the leader's to tell, and no error here.
///
/// # Errors
/// Whatever reading the dataset gives; [`TrainError::Ranks`] when this rank computes something else than
/// the leader.
pub fn follow(context: &Context, plan: &Plan, dataset: &Artifact, ranks: &Ranks) -> Result<(), TrainError> {
    begin(context, plan)?;
    let pool = pool(context)?;
    let session = trainer::Session { context, work: None, plan, dataset, pool: &pool, ranks };
    match session.train(&mut |_| ControlFlow::Continue(())) {
        Err(TrainError::Stopped { .. } | TrainError::Diverged { .. }) => Ok(()),
        other => other,
    }
}

fn pool(context: &Context) -> Result<rayon::ThreadPool, TrainError> {
    kernels::parallel::set_threads(context.threads);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(context.threads).build();
    pool.map_err(|error| TrainError::Threads { what: error.to_string() })
}

#[cfg(test)]
mod device_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
