//! One file per verb (or per pair of verbs that share everything).

mod data;
mod dataset;
mod init;
mod key;
mod monitor;
mod plan;
mod predict;
mod range;
pub mod registry;
mod report;
mod rollout;
mod run;
mod serve;
mod train;
mod worker;

use ::train::Ranks;
use base::Context;

use crate::arguments::Command;
use crate::output::{Error, Output};
use crate::pipeline::Until;

/// Carries out what the user typed.
pub fn execute(command: Command, output: Output, context: &Context, ranks: &Ranks) -> Result<(), Error> {
    match command {
        Command::Init { data, out, force } => init::init(output, &data, &out, force),
        Command::Schema => init::schema(output),
        Command::Plan(project) => plan::plan(output, &project),
        Command::Run(project) => run::run(output, context, &project, Until::Report),
        Command::Data { action: Some(action), .. } => dataset::act(output, context, action),
        Command::Data { project, explain_drops, review, scheduler, .. } => {
            let asked = data::Asked { explain_drops, review: review.as_deref(), scheduler: scheduler.as_deref() };
            data::data(output, context, &project, asked)
        }
        Command::Worker { action } => worker::worker(output, context, action),
        Command::Train { project, find_rate: true } => range::find_rate(output, context, &project),
        Command::Train { project, .. } => train::train(output, context, &project, ranks),
        Command::Tune(project) => run::run(output, context, &project, Until::Tune),
        Command::Compress(project) => run::run(output, context, &project, Until::Compress),
        Command::Package(project) => run::run(output, context, &project, Until::Package),
        Command::Serve { names, registry, model, memory_bytes_max, draft, address, key } => {
            let what = serve::What { names, model, memory_bytes_max, draft, address, key };
            serve::serve(output, context, &registry.project, what)
        }
        Command::Key { action, registry } => key::key(output, &registry.project, action),
        Command::Predict { name, registry, rows } => predict::predict(output, &registry.project, &name, &rows),
        Command::Monitor { name, registry, hours } => monitor::monitor(output, &registry.project, &name, hours),
        Command::Promote { name, registry } => rollout::promote(output, &registry.project, &name),
        Command::Rollback { name, registry } => rollout::rollback(output, &registry.project, &name),
        Command::Report { what, registry, out } => report::report(output, &registry.project, &what, out),
        Command::Show { what, registry } => registry::show(output, &registry.project, &what),
        Command::Models(registry) => registry::models(output, &registry.project),
        Command::Runs { registry, limit } => registry::runs(output, &registry.project, limit),
        Command::Log { registry, limit } => registry::log(output, &registry.project, limit),
    }
}
