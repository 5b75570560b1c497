//! `yard train`, alone or as one of several processes.

use base::Context;
use train::Ranks;

use crate::arguments::ProjectArguments;
use crate::output::{Error, Output};
use crate::pipeline::{Pipeline, Until, ranks as together};

pub fn train(output: Output, context: &Context, arguments: &ProjectArguments, ranks: &Ranks) -> Result<(), Error> {
    if !ranks.leads() {
        return together::follow(context, arguments, ranks);
    }
    let pipeline = Pipeline::open(output, context, arguments)?;
    super::run::stages(pipeline.with_ranks(ranks), Until::Train)
}
