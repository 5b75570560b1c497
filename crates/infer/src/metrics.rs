//! Metrics of predictions against the truth, by scikit-learn's definitions.
//!
//! A label that training never saw counts as a wrong answer, with probability 0. A row whose truth is
//! missing says nothing and is left out; the number of rows stands in each metric's method.

use std::collections::BTreeMap;

use base::{Measure, Value};
use serde::{Deserialize, Serialize};

use crate::description::{Columns, OutputDescription, Target};
use crate::predict::Prediction;

/// With more labels than this no confusion matrix is made: it would be larger than a model.
const CONFUSION_LABELS_MAX: usize = 512;
/// Probabilities are kept this far from 0 and 1, as scikit-learn does for `f32`.
const PROBABILITY_MIN: f64 = f32::EPSILON as f64;
/// How the confusion matrix names all labels that training never saw.
pub const UNSEEN: &str = "(unseen)";

/// What `metrics.json` and `confusion.json` hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Metrics by name; with several outputs, `OUTPUT.NAME`.
    pub metrics: BTreeMap<String, Measure>,
    /// A matrix for each category or binary output.
    pub confusion: BTreeMap<String, Confusion>,
}

/// How often each label was taken for each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// The labels of rows and columns.
    pub labels: Vec<String>,
    /// `matrix[truth][prediction]`.
    pub matrix: Vec<Vec<u64>>,
}

/// Compares predictions with the truth, row by row and output by output.
///
/// # Panics
/// When there are not as many truths as predictions.
#[must_use]
pub fn evaluate(columns: &Columns, predictions: &[Vec<Prediction>], truths: &[Vec<Value>]) -> Evaluation {
    assert_eq!(predictions.len(), truths.len(), "rows of predictions and of truths");
    let mut evaluation = Evaluation { metrics: BTreeMap::new(), confusion: BTreeMap::new() };
    for (index, output) in columns.outputs.iter().enumerate() {
        let pairs = predictions.iter().map(|row| &row[index]).zip(truths.iter().map(|row| &row[index]));
        let (metrics, confusion) = match &output.target {
            Target::Category { labels } => category(labels, pairs),
            Target::Binary { labels } => binary(labels, pairs),
            Target::Number { .. } => (number(pairs), None),
        };
        for (name, measure) in metrics {
            evaluation.metrics.insert(metric_name(columns, output, name), measure);
        }
        if let Some(confusion) = confusion {
            evaluation.confusion.insert(output.name.clone(), confusion);
        }
    }
    evaluation.metrics.insert("examples".to_owned(), rows(predictions.len() as u64));
    evaluation
}

/// The metrics of a language model, from the summed cross-entropy in nats of `tokens` tokens, which
/// stand for `bytes` bytes of text in `examples` documents.
#[must_use]
pub fn evaluate_language(nats: f64, tokens: u64, bytes: u64, examples: u64) -> BTreeMap<String, Measure> {
    let mut metrics = BTreeMap::from([("examples".to_owned(), rows(examples))]);
    if tokens == 0 {
        return metrics;
    }
    let loss = nats / tokens as f64;
    let over = format!("over {tokens} tokens");
    metrics.insert("loss".to_owned(), Measure::measured(loss, "nats", &format!("mean cross-entropy {over}")));
    let method = format!("exponential of the mean cross-entropy {over}");
    metrics.insert("perplexity".to_owned(), Measure::measured(loss.exp(), "", &method));
    if bytes > 0 {
        let value = nats / std::f64::consts::LN_2 / bytes as f64;
        let method = format!("summed cross-entropy over {bytes} bytes");
        metrics.insert("bits_per_byte".to_owned(), Measure::measured(value, "bits", &method));
    }
    metrics
}

/// The metric by which a model is judged, one for each output, and whether higher is better:
/// `accuracy` for labels, `r2` for numbers, `perplexity` for language models.
#[must_use]
pub fn primary(metrics: &BTreeMap<String, Measure>) -> Vec<(String, bool)> {
    metrics
        .keys()
        .filter_map(|name| match name.rsplit_once('.').map_or(name.as_str(), |(_, metric)| metric) {
            "accuracy" | "r2" => Some((name.clone(), true)),
            "perplexity" => Some((name.clone(), false)),
            _ => None,
        })
        .collect()
}

/// The name of an output's metric: plain with one output, `OUTPUT.metric` with several.
#[must_use]
pub fn metric_name(columns: &Columns, output: &OutputDescription, metric: &str) -> String {
    if columns.outputs.len() == 1 { metric.to_owned() } else { format!("{}.{metric}", output.name) }
}

type Metrics = Vec<(&'static str, Measure)>;

fn rows(count: u64) -> Measure {
    Measure::measured(count as f64, "rows", "counted")
}

fn category<'a>(
    labels: &[String],
    pairs: impl Iterator<Item = (&'a Prediction, &'a Value)>,
) -> (Metrics, Option<Confusion>) {
    let known: BTreeMap<&str, usize> =
        labels.iter().enumerate().map(|(index, label)| (label.as_str(), index)).collect();
    // Labels that training never saw are classes of their own, behind the known ones.
    let mut unseen: BTreeMap<String, usize> = BTreeMap::new();
    let mut answers = Vec::new();
    let mut nats = 0.0;
    for (prediction, truth) in pairs {
        let (Prediction::Category { label, probabilities }, false) = (prediction, truth.is_missing()) else { continue };
        let truth = truth.as_text().unwrap_or_default();
        let class = known.get(truth).copied().unwrap_or_else(|| {
            let next = labels.len() + unseen.len();
            *unseen.entry(truth.to_owned()).or_insert(next)
        });
        nats += cross_entropy(probabilities.get(class).map_or(0.0, |probability| f64::from(*probability)));
        answers.push((class, *label));
    }
    let metrics = label_metrics(&answers, labels.len() + unseen.len(), nats);
    (metrics, confusion(labels, &answers))
}

fn binary<'a>(
    labels: &[String; 2],
    pairs: impl Iterator<Item = (&'a Prediction, &'a Value)>,
) -> (Metrics, Option<Confusion>) {
    let mut answers = Vec::new();
    let mut scores = Vec::new();
    let mut nats = 0.0;
    for (prediction, truth) in pairs {
        let (Prediction::Binary { probability }, Some(truth)) = (prediction, truth.as_binary()) else { continue };
        let score = f64::from(*probability);
        nats += cross_entropy(if truth { score } else { 1.0 - score });
        answers.push((usize::from(truth), usize::from(score >= 0.5)));
        scores.push((score, truth));
    }
    let mut metrics = label_metrics(&answers, 2, nats);
    if let Some(area) = roc_auc(&mut scores) {
        let method = format!("chance that a true row scores above a false one, {} rows", answers.len());
        metrics.push(("roc_auc", Measure::measured(area, "", &method)));
    }
    (metrics, confusion(labels, &answers))
}

fn number<'a>(pairs: impl Iterator<Item = (&'a Prediction, &'a Value)>) -> Metrics {
    let values: Vec<(f64, f64)> = pairs
        .filter_map(|(prediction, truth)| match prediction {
            Prediction::Number { value } => Some((f64::from(*value), truth.as_number()?)),
            _ => None,
        })
        .collect();
    if values.is_empty() {
        return Vec::new();
    }
    let count = values.len() as f64;
    let squares: f64 = values.iter().map(|(value, truth)| (value - truth).powi(2)).sum();
    let absolutes: f64 = values.iter().map(|(value, truth)| (value - truth).abs()).sum();
    let over = format!("over {count} rows");
    let mut metrics = vec![
        ("rmse", Measure::measured((squares / count).sqrt(), "", &format!("root of the mean squared error {over}"))),
        ("mae", Measure::measured(absolutes / count, "", &format!("mean absolute error {over}"))),
    ];
    if values.len() > 1 {
        let mean = values.iter().map(|(_, truth)| truth).sum::<f64>() / count;
        let spread: f64 = values.iter().map(|(_, truth)| (truth - mean).powi(2)).sum();
        let r2 = match (squares == 0.0, spread == 0.0) {
            (true, _) => 1.0,
            (false, true) => 0.0,
            (false, false) => 1.0 - squares / spread,
        };
        metrics.push(("r2", Measure::measured(r2, "", &format!("coefficient of determination {over}"))));
    }
    metrics
}

/// Accuracy, macro F1 and log loss of `(truth, prediction)` pairs.
fn label_metrics(answers: &[(usize, usize)], classes: usize, nats: f64) -> Metrics {
    if answers.is_empty() {
        return Vec::new();
    }
    let count = answers.len() as f64;
    let right = answers.iter().filter(|(truth, prediction)| truth == prediction).count() as f64;
    let over = format!("{count} rows");
    vec![
        ("accuracy", Measure::measured(right / count, "", &format!("share of right labels of {over}"))),
        ("macro_f1", Measure::measured(macro_f1(answers, classes), "", &format!("mean F1 of all labels in {over}"))),
        ("log_loss", Measure::measured(nats / count, "nats", &format!("mean cross-entropy of {over}"))),
    ]
}

fn cross_entropy(probability: f64) -> f64 {
    -probability.clamp(PROBABILITY_MIN, 1.0 - PROBABILITY_MIN).ln()
}

/// The mean of `2·right / (true + predicted)` over all labels that stand in the truth or in the
/// predictions.
fn macro_f1(answers: &[(usize, usize)], classes: usize) -> f64 {
    let (mut right, mut total) = (vec![0_u64; classes], vec![0_u64; classes]);
    for (truth, prediction) in answers {
        total[*truth] += 1;
        total[*prediction] += 1;
        right[*truth] += u64::from(truth == prediction);
    }
    let present = total.iter().filter(|total| **total > 0).count().max(1);
    let sum: f64 = right.iter().zip(&total).map(|(r, t)| 2.0 * *r as f64 / (*t).max(1) as f64).sum();
    sum / present as f64
}

/// The area under the ROC curve: the chance that a true row scores above a false one, where an equal
/// score counts half. Nothing where one of the two is absent.
fn roc_auc(scores: &mut [(f64, bool)]) -> Option<f64> {
    scores.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins) = (0.0, 0.0);
    for group in scores.chunk_by(|a, b| a.0 == b.0) {
        let positive = group.iter().filter(|(_, truth)| *truth).count() as f64;
        let negative = group.len() as f64 - positive;
        wins += positive * (below + negative / 2.0);
        below += negative;
    }
    let positive = scores.len() as f64 - below;
    (positive > 0.0 && below > 0.0).then(|| wins / (positive * below))
}

/// The matrix of `(truth, prediction)` pairs; all labels that training never saw share one row.
fn confusion(labels: &[String], answers: &[(usize, usize)]) -> Option<Confusion> {
    if labels.len() > CONFUSION_LABELS_MAX {
        return None;
    }
    let mut names = labels.to_vec();
    if answers.iter().any(|(truth, _)| *truth >= labels.len()) {
        names.push(UNSEEN.to_owned());
    }
    let mut matrix = vec![vec![0; names.len()]; names.len()];
    for (truth, prediction) in answers {
        matrix[(*truth).min(labels.len())][*prediction] += 1;
    }
    Some(Confusion { labels: names, matrix })
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
