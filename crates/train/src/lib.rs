//! `yard train`: a dataset in, a model and its training history out.
//!
//! [`plan`] derives what the project file leaves open and estimates the work; [`run`] trains, with
//! checkpoints in the stage's scratch folder, writes the model folder, loads it back with the engine
//! that will serve it, and measures it on the test split.
//!
//! **Invariant:** a result depends on the plan, the dataset and the seed alone: not on threads, time,
//! or where the training was stopped and continued. (A GPU may add in another order; its name is in the
//! key.) Read on in `trainer`.

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
mod schedule;
mod trainer;
mod watch;

use std::ops::ControlFlow;

use base::Context;
use base::project::Project;
use infer::description::Task;
use store::{Artifact, Made, Store};

pub use error::TrainError;
pub use facts::{DataShape, Facts};
pub use history::{History, HistoryPoint};
pub use plan::{Plan, Settings, plan, plan_for};
pub use trainer::EpochReport;

/// Raised whenever the same inputs would give another result.
pub const CODE_VERSION: u32 = 1;
/// The file of a model that holds its [`History`].
pub const HISTORY_FILE: &str = "history.json";

/// Trains the model of a plan, or finds what was trained before. `observer` hears of every epoch, and
/// may end the training; of a model that was there already it hears the recorded epochs.
///
/// # Errors
/// [`TrainError::Stopped`] after Ctrl-C, with a checkpoint written; [`TrainError::Cut`] when the
/// observer ended it; [`TrainError::Device`] when the device cannot be used; [`TrainError::Diverged`]; whatever reading, writing and loading give.
pub fn run(
    context: &Context,
    store: &Store,
    plan: &Plan,
    dataset: &Artifact,
    observer: &mut dyn FnMut(EpochReport) -> ControlFlow<()>,
) -> Result<Made, TrainError> {
    let made = store.stage(&plan.key(dataset), |work| {
        begin(context, plan)?;
        kernels::parallel::set_threads(context.threads);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(context.threads).build();
        let pool = pool.map_err(|error| TrainError::Threads { what: error.to_string() })?;
        // Observers are not sent between threads, so that the pool only computes.
        trainer::Session { context, work, plan, dataset, pool: &pool }.train(observer)
    })?;
    if made.cached {
        for report in History::load(&made.artifact.path(HISTORY_FILE))?.reports() {
            if observer(report).is_break() {
                break;
            }
        }
    }
    Ok(made)
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

#[cfg(test)]
mod device_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
