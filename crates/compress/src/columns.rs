//! Two `predict` models on the same rows: their metrics, how often they agree, how fast they are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{Context, Measure, Value};
use dataset::{Row, Split};
use infer::description::{Columns, Target};
use infer::metrics::{evaluate, metric_name};
use infer::{Prediction, Predictor};

use crate::rounds::{Speeds, race};
use crate::{Comparison, CompressError, ON_TRAIN, ON_VALID, noted};

/// Rows between two looks at whether to stop.
const PIECE_ROWS: usize = 64;
/// Rows that one turn of a speed round predicts.
const TURN_ROWS: usize = 16;

/// Compares two models on the test split, or on the training split where there is no test.
pub(crate) fn compare(
    context: &Context,
    before: &Predictor,
    after: &Predictor,
    dataset: &Path,
) -> Result<Comparison, CompressError> {
    let columns = &after.description().columns;
    let (split, note, rows) = judged_rows(dataset, columns)?;
    let task = context.begin("compress", Some(2 * rows.len() as u64), "rows");
    let done = AtomicU64::new(0);
    let tell = |count: usize| {
        let count = count as u64;
        task.at(done.fetch_add(count, Ordering::Relaxed) + count);
    };
    let predictions = [predict_all(context, before, &rows, &tell)?, predict_all(context, after, &rows, &tell)?];
    let truths: Vec<Vec<Value>> = rows.iter().map(|row| row.outputs.clone()).collect();
    let [first, second] = [0, 1].map(|side| evaluate(columns, &predictions[side], &truths));
    task.say("measuring the speed");
    let speed = if rows.is_empty() { None } else { Some(speed(context, [before, after], &rows)?) };
    let others = agreement(after, &predictions, split);
    task.end(&format!("compared on {} rows of the {} split", base::units::count(rows.len() as u64), split.name()));
    let metrics = [noted(first.metrics, note), noted(second.metrics, note)];
    Ok(Comparison { metrics, confusion: second.confusion, speed, others })
}

/// The rows of the test split, or of the next that is not empty, with what to say of them.
fn judged_rows(dataset: &Path, columns: &Columns) -> Result<(Split, Option<&'static str>, Vec<Row>), CompressError> {
    for (split, note) in [(Split::Test, None), (Split::Valid, Some(ON_VALID))] {
        let rows = dataset::read_split(dataset, split, columns)?;
        if !rows.is_empty() {
            return Ok((split, note, rows));
        }
    }
    Ok((Split::Train, Some(ON_TRAIN), dataset::read_split(dataset, Split::Train, columns)?))
}

/// Predicts every row, on all threads; the answers stand in the order of the rows.
fn predict_all(
    context: &Context,
    predictor: &Predictor,
    rows: &[Row],
    tell: &(dyn Fn(usize) + Sync),
) -> Result<Vec<Vec<Prediction>>, CompressError> {
    let share = rows.len().div_ceil(context.threads.max(1)).max(1);
    let part = |rows: &[Row]| -> Result<Vec<Vec<Prediction>>, CompressError> {
        let mut answers = Vec::with_capacity(rows.len());
        for piece in rows.chunks(PIECE_ROWS) {
            if context.stop.asked() {
                return Err(CompressError::Stopped);
            }
            for row in piece {
                answers.push(predictor.predict(&row.inputs)?);
            }
            tell(piece.len());
        }
        Ok(answers)
    };
    std::thread::scope(|scope| {
        let parts: Vec<_> = rows.chunks(share).map(|rows| scope.spawn(|| part(rows))).collect();
        let mut all = Vec::with_capacity(rows.len());
        for part in parts {
            all.extend(part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
}

/// Predictions a second of both models, on one thread.
fn speed(context: &Context, sides: [&Predictor; 2], rows: &[Row]) -> Result<[Measure; 2], CompressError> {
    let mut next = [0_usize; 2];
    let Speeds { per_second, rounds } = race(|side| {
        if context.stop.asked() {
            return Err(CompressError::Stopped);
        }
        for _ in 0..TURN_ROWS {
            std::hint::black_box(sides[side].predict(&rows[next[side] % rows.len()].inputs)?);
            next[side] += 1;
        }
        Ok(TURN_ROWS as u64)
    })?;
    let method = format!("median of {rounds} interleaved rounds, row by row on one thread, preprocessing included");
    Ok(per_second.map(|speed| Measure::measured(speed, "predictions/s", &method)))
}

/// How often both models give the same label, and how far their probabilities and numbers lie apart.
fn agreement(
    predictor: &Predictor,
    predictions: &[Vec<Vec<Prediction>>; 2],
    split: Split,
) -> BTreeMap<String, Measure> {
    let columns = &predictor.description().columns;
    let rows = predictions[0].len();
    let mut found = BTreeMap::new();
    if rows == 0 {
        return found;
    }
    for (index, output) in columns.outputs.iter().enumerate() {
        let pairs = || predictions[0].iter().zip(&predictions[1]).map(|(a, b)| (&a[index], &b[index]));
        let mut add = |name: &str, value: f64, unit: &str, method: &str| {
            let method = format!("{method}, {rows} rows of the {} split", split.name());
            found.insert(metric_name(columns, output, name), Measure::measured(value, unit, &method));
        };
        if let Target::Number { deviation, .. } = output.target {
            let apart = pairs().map(|(a, b)| difference(a, b)).fold(0.0, f64::max);
            add("difference_max", apart, "", "largest difference of two answers");
            add(
                "difference_max_relative",
                apart / deviation,
                "deviations",
                "largest difference over the training deviation",
            );
        } else {
            let same = pairs().filter(|(a, b)| label(a) == label(b)).count();
            add("agreement", same as f64 / rows as f64, "", "share of rows with the same label");
            let apart = pairs().map(|(a, b)| difference(a, b)).fold(0.0, f64::max);
            add("probability_difference_max", apart, "", "largest difference of two probabilities");
        }
    }
    found
}

fn label(prediction: &Prediction) -> Option<usize> {
    match prediction {
        Prediction::Category { label, .. } => Some(*label),
        Prediction::Binary { probability } => Some(usize::from(*probability >= 0.5)),
        Prediction::Number { .. } => None,
    }
}

/// How far two answers lie apart at most.
fn difference(a: &Prediction, b: &Prediction) -> f64 {
    match (a, b) {
        (Prediction::Category { probabilities: a, .. }, Prediction::Category { probabilities: b, .. }) => {
            a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max)
        }
        (Prediction::Binary { probability: a }, Prediction::Binary { probability: b })
        | (Prediction::Number { value: a }, Prediction::Number { value: b }) => f64::from((a - b).abs()),
        _ => f64::INFINITY,
    }
}
