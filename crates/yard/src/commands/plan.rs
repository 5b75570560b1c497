//! `yard plan`: what `yard run` would do. Nothing runs and nothing is written.

use base::project::Family;
use base::{Measure, Provenance, units};
use serde_json::{Map, Value as Json, json};
use train::{DataShape, Facts};

use crate::arguments::ProjectArguments;
use crate::output::{Error, Output, boxed, table};
use crate::pipeline::load;

/// What the train stage needs to know, estimated before there is a dataset.
fn facts(plan: &data::Plan) -> Facts {
    match plan.family() {
        Family::Predict => Facts { shape: DataShape::Predict(plan.columns_estimate()), rows: plan.split_estimate() },
        Family::Language => {
            let (clean, vocabulary, tokens) = plan.language_estimate();
            Facts { shape: DataShape::Language { clean, vocabulary }, rows: tokens }
        }
    }
}

pub fn plan(output: Output, arguments: &ProjectArguments) -> Result<(), Error> {
    let project = load(arguments)?;
    let file = &project.file;
    let data = data::plan(&project).map_err(boxed)?;
    let train = train::plan_for(&project, facts(&data)).map_err(boxed)?;
    let mut stages = vec!["data"];
    stages.extend(file.tune.as_ref().map(|_| "tune"));
    stages.push("train");
    stages.extend(file.compress.as_ref().map(|_| "compress"));
    stages.push("register");
    stages.extend(file.package.as_ref().map(|_| "package"));
    stages.extend(["verify", "rollout", "report"]);
    output.line(&format!("{}: {}", file.name, stages.join(" → ")));
    output.line("\ndata");
    let counted = format!("  rows: {} (measured), {}", units::count(data.rows()), units::bytes(data.bytes()));
    output.line(&counted);
    for note in data.notes() {
        output.line(&format!("  {note}"));
    }
    output.line("\nmodel");
    for note in train.notes() {
        output.line(&format!("  {note}"));
    }
    output.line("\nsizes");
    let trials = file.tune.as_ref().map_or(0, |tune| tune.trials);
    let mut rows = Vec::new();
    let mut measures = Map::new();
    for (name, measure) in train.measures() {
        rows.push(row(name, &measure));
        measures.insert(name.to_owned(), json!(measure));
        if name == "train_seconds" && trials > 0 {
            let all = Measure::estimated(measure.value * f64::from(trials), "s", "every trial trained to its end");
            rows.push(row("tune_seconds", &all));
            measures.insert("tune_seconds".to_owned(), json!(all));
        }
    }
    output.line(table(&rows).trim_end());
    output.line("\nnothing was run");
    let result = json!({
        "name": file.name, "stages": stages, "rows": data.rows(), "bytes": data.bytes(),
        "data": data.notes(), "model": train.notes(), "measures": Json::Object(measures),
    });
    output.result("plan", &result);
    Ok(())
}

fn row(name: &str, measure: &Measure) -> Vec<String> {
    let value = match measure.unit.as_str() {
        "bytes" => units::bytes(measure.value as u64),
        "s" => units::seconds(measure.value),
        "parameters" => units::count(measure.value as u64),
        unit => format!("{:.3e} {unit}", measure.value),
    };
    let how = match measure.provenance {
        Provenance::Measured => "measured",
        Provenance::Estimated => "estimated",
        Provenance::Assumed => "assumed",
    };
    vec![format!("  {}", name.replace('_', " ")), value, format!("({how}: {})", measure.method)]
}
