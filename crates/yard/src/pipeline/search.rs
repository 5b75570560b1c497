//! The objective of a search: the data and train stages with other settings, both cached.

use std::ops::ControlFlow;

use base::Context;
use base::project::Project;
use serde_json::Value as Json;
use store::{Artifact, Made, Store};
use train::TrainError;
use tune::{Report, STUDY_FILE, Study};

use super::{Usage, summary};
use crate::output::{Error, boxed};

/// Searches the settings that `[tune]` names.
pub fn tune(context: &Context, store: &Store, project: &Project, dataset: &Artifact) -> Result<Made, Error> {
    let plan = tune::plan(project, dataset).map_err(boxed)?;
    // The search has a bar of its own; the trials' bars would only flicker.
    let quiet = Context { stop: context.stop.clone(), threads: context.threads, ..Context::silent() };
    // A device that cannot be used ends the search, and is no result of a trial: it can be mended.
    let mut unusable = None;
    let mut objective = |settings: &[(String, Json)], report: &mut Report<'_>| {
        if let Err(error) = train::open_device(project) {
            unusable = Some(error);
            return Err(boxed(TrainError::Cut { epoch: 0 }));
        }
        attempt(&quiet, store, project, settings, report)
    };
    let made = tune::run(context, store, &plan, &mut objective).map_err(boxed);
    unusable.map_or(made, |error| Err(boxed(error)))
}

/// Trains with some settings; `None` when the search ended the trial early.
fn attempt(
    context: &Context,
    store: &Store,
    project: &Project,
    settings: &[(String, Json)],
    report: &mut Report<'_>,
) -> Result<Option<f64>, Error> {
    let project = project.with(settings).map_err(boxed)?;
    let dataset = data::run(context, store, &data::plan(&project).map_err(boxed)?).map_err(boxed)?.artifact;
    let plan = train::plan(&project, &dataset).map_err(boxed)?;
    let mut best: Option<f64> = None;
    let mut observer = |epoch: train::EpochReport| {
        let Some(loss) = epoch.valid_loss else { return ControlFlow::Continue(()) };
        best = Some(best.map_or(loss, |best: f64| best.min(loss)));
        report(epoch.epoch, loss)
    };
    match train::run(context, store, &plan, &dataset, &train::Ranks::one(), &mut observer) {
        Ok(_) => match best {
            Some(loss) => Ok(Some(loss)),
            None => Err(boxed(Usage::new(
                "failed to judge a trial: there is no validation split",
                "Set data.split.valid above 0.",
            ))),
        },
        Err(TrainError::Cut { .. }) => Ok(None),
        Err(error) => Err(boxed(error)),
    }
}

/// The best settings of a study.
pub fn best(study: &Artifact) -> Result<Vec<(String, Json)>, Error> {
    let read = serde_json::from_value::<Study>(summary::read(study, STUDY_FILE));
    let study = read.map_err(|error| {
        boxed(Usage::new(format!("failed to read {STUDY_FILE}: {error}"), "Run `yard run --repair`."))
    })?;
    Ok(study.best.settings)
}
