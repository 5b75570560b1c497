//! `yard train --find-rate`: the learning-rate range test.

use base::Context;
use serde_json::json;
use train::{RANGE_FILE, RangeTest};

use crate::arguments::ProjectArguments;
use crate::output::{Error, Output, boxed, table};
use crate::pipeline::Pipeline;

/// Rows of the table that people see, at most.
const ROWS: usize = 20;
/// The widest bar of the table's drawing.
const BAR: f64 = 40.0;

pub fn find_rate(output: Output, context: &Context, arguments: &ProjectArguments) -> Result<(), Error> {
    let mut pipeline = Pipeline::open(output, context, arguments)?;
    let dataset = pipeline.dataset()?;
    let plan = train::plan(&pipeline.project, &dataset).map_err(boxed)?;
    let made = train::range_test(context, &pipeline.store, &plan, &dataset).map_err(boxed)?;
    let test = RangeTest::load(&made.artifact.path(RANGE_FILE)).map_err(boxed)?;
    let most = test.points.iter().map(|point| point.smoothed).fold(0.0, f64::max);
    let stride = test.points.len().div_ceil(ROWS).max(1);
    let mut rows = vec![vec!["learning rate".to_owned(), "loss".to_owned(), String::new()]];
    for point in test.points.iter().step_by(stride) {
        let bar = "▇".repeat((BAR * point.smoothed / most).max(0.0) as usize);
        rows.push(vec![format!("{:.1e}", point.learning_rate), format!("{:.4}", point.smoothed), bar]);
    }
    output.aside(table(&rows).trim_end());
    match test.suggestion {
        Some(rate) => output.line(&format!(
            "the loss falls fastest at {rate:.1e} (measured, {} steps): set train.learning_rate = {rate:.1e}; it is {:.1e} now",
            test.points.len(),
            plan.settings.learning_rate
        )),
        None => output.line("the loss never fell: look at the data, or at model.size"),
    }
    output.result("train", &json!({ "range": test, "learning_rate": plan.settings.learning_rate }));
    Ok(())
}
