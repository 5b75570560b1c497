//! The fit of a model of one number by one number: the rows as dots, the model as a line, and its
//! coefficients where it is linear.

use base::Value;
use dataset::Split;
use infer::description::{Columns, Encoding, Target};
use infer::{Engine, Model, Prediction};
use maud::{Markup, html};
use serde_json::Value as Json;

use crate::chart::{Chart, Kind, Series, significant};
use crate::page::{damaged, section};
use crate::story::{File, Story};

/// How many points the model's line has.
const LINE_POINTS: u32 = 200;
/// At most so many dots a split; of more rows, every n-th is drawn.
const DOTS_MAX: usize = 1500;
/// The splits with their colours; the model's line has the second.
const SPLITS: [(Split, usize); 3] = [(Split::Train, 1), (Split::Valid, 3), (Split::Test, 3)];

/// The drawing, for models that have one.
pub(crate) fn fit(story: &Story) -> Option<Markup> {
    let artifact = story.artifact_with("model.json")?;
    let columns: Columns =
        serde_json::from_value(story.file("model.json").json()?.pointer("/task/predict")?.clone()).ok()?;
    let (x, y) = one_number_each(&columns)?;
    let body = match Model::load(&artifact.folder) {
        Err(error) => damaged("model.json", &error.to_string()),
        Ok(model) => html! {
            (coefficients(story))
            div class="charts" { @if let Some(chart) = chart(story, &model, &columns, x, y) { (chart) } }
        },
    };
    Some(section("fit", "Fit", &body))
}

/// The names of the one number in and the one number out.
fn one_number_each(columns: &Columns) -> Option<(&str, &str)> {
    let ([input], [output]) = (columns.inputs.as_slice(), columns.outputs.as_slice()) else { return None };
    let numbers = matches!(input.encoding, Encoding::Number { .. }) && matches!(output.target, Target::Number { .. });
    numbers.then_some((&input.name, &output.name))
}

fn chart(story: &Story, model: &Model, columns: &Columns, x: &str, y: &str) -> Option<Markup> {
    let Engine::Predict(predictor) = model.engine() else { return None };
    let mut series: Vec<Series> =
        SPLITS.into_iter().filter_map(|(split, colour)| dots(story, columns, split, colour)).collect();
    let all = || series.iter().flat_map(|one| one.points.iter().map(|point| point.0));
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    if low > high {
        return None;
    }
    // A little beyond the rows, and to the origin where it is near, because that is where one looks.
    let margin = (high - low).max(1e-9) * 0.08;
    let low = if low > 0.0 && low < (high - low) { 0.0 } else { low - margin };
    let high = high + margin;
    let points = (0..=LINE_POINTS).filter_map(|index| {
        let at = low + (high - low) * f64::from(index) / f64::from(LINE_POINTS);
        match predictor.predict(&[Value::Number(at)]).ok()?.first()? {
            Prediction::Number { value } => Some((at, f64::from(*value))),
            _ => None,
        }
    });
    series.push(Series { name: "the model".to_owned(), colour: 2, kind: Kind::Line, points: points.collect() });
    let title = format!("{y} by {x}");
    Chart { title: &title, x, y, series, mark: None }.draw()
}

fn dots(story: &Story, columns: &Columns, split: Split, colour: usize) -> Option<Series> {
    let dataset = story.artifact_with("preprocess.json")?;
    let rows = dataset::read_split(&dataset.folder, split, columns).ok()?;
    let every = rows.len().div_ceil(DOTS_MAX).max(1);
    let number = |cells: &[Value]| cells.first().and_then(Value::as_number);
    let points: Vec<_> =
        rows.iter().step_by(every).filter_map(|row| Some((number(&row.inputs)?, number(&row.outputs)?))).collect();
    let rows =
        if every > 1 { format!("{} rows, every {every}th", split.name()) } else { format!("{} rows", split.name()) };
    (!points.is_empty()).then_some(Series { name: rows, colour, kind: Kind::Dots, points })
}

/// The equation of a linear model: `y = 2.2 + 0.6 · x`.
fn coefficients(story: &Story) -> Markup {
    let File::Found(json) = story.file("coefficients.json") else { return html! {} };
    let Some(outputs) = json.as_object() else { return html! {} };
    html! { @for (output, line) in outputs { p { code { (output) } " = " strong { (sum(line)) } } } }
}

fn sum(line: &Json) -> String {
    let intercept = line.get("intercept").and_then(Json::as_f64).map(|value| significant(value, 6));
    let slopes = line.get("slopes").and_then(Json::as_object);
    let terms = slopes.into_iter().flatten().filter_map(|(input, slope)| Some((input, slope.as_f64()?)));
    let mut text = intercept.unwrap_or_default();
    for (input, slope) in terms {
        let sign = match (text.is_empty(), slope < 0.0) {
            (true, true) => "−",
            (true, false) => "",
            (false, true) => " − ",
            (false, false) => " + ",
        };
        text += &format!("{sign}{} · {input}", significant(slope.abs(), 6));
    }
    text
}
