//! `yard run`, and the verbs that run a part of it: `train`, `tune`, `compress`, `package`.

use base::Context;

use crate::arguments::ProjectArguments;
use crate::output::{Error, Output};
use crate::pipeline::{Pipeline, Until};

pub fn run(output: Output, context: &Context, arguments: &ProjectArguments, until: Until) -> Result<(), Error> {
    stages(Pipeline::open(output, context, arguments)?, until)
}

/// Runs the stages of an open project.
pub fn stages(mut pipeline: Pipeline<'_>, until: Until) -> Result<(), Error> {
    let (output, context) = (pipeline.output, pipeline.context);
    let file = &pipeline.project.file;
    let family = match file.family {
        base::project::Family::Predict => "predict",
        base::project::Family::Language => "language",
    };
    output.aside(&format!(
        "{} · {family} · seed {} · {}{} threads",
        file.name,
        file.seed,
        pipeline.processes(),
        context.threads
    ));
    let result = pipeline.run(until)?;
    let command = match until {
        Until::Data => "data",
        Until::Tune => "tune",
        Until::Train => "train",
        Until::Compress => "compress",
        Until::Package => "package",
        Until::Report => "run",
    };
    output.result(command, &result);
    Ok(())
}
