//! Out-of-sample predictions without the full model: multinomial logistic regression (or least squares)
//! over sparse features, fitted on all folds but one and applied to that one.
//!
//! Stochastic gradient descent with AdaGrad (Duchi, Hazan, Singer 2011), one accumulator a feature.
//! Folds run in parallel; each is computed in one fixed order, so the result does not depend on threads.

use base::{ColumnType, Value};
use rayon::prelude::*;

use crate::error::LabelsError;
use crate::features::{Features, featurize};
use crate::probabilities::Probabilities;
use crate::random::Random;

/// The most weights of one fold's model: 512 MiB.
const WEIGHTS_MAX: usize = 1 << 27;

/// How the cross-validation runs.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossValidationConfig {
    /// The number of folds, at least 2.
    pub folds: usize,
    /// How often each row is seen.
    pub epochs: usize,
    /// AdaGrad's step.
    pub learning_rate: f32,
    /// The L2 penalty, as a decay of the weights a row touches.
    pub decay: f32,
    /// Where folds and orders come from.
    pub seed: u64,
}

impl Default for CrossValidationConfig {
    fn default() -> Self {
        Self { folds: 5, epochs: 8, learning_rate: 0.5, decay: 0.0, seed: 0 }
    }
}

/// Out-of-sample class probabilities of rows; `labels` are classes below `classes`.
///
/// # Errors
/// When rows, types and labels do not fit each other, or there are too few rows for the folds.
pub fn cross_validate(
    types: &[ColumnType],
    rows: &[Vec<Value>],
    labels: &[u32],
    classes: usize,
    config: &CrossValidationConfig,
) -> Result<Probabilities, LabelsError> {
    cross_validate_features(&featurize(types, rows)?, labels, classes, config)
}

/// Out-of-sample class probabilities from features; folds keep the classes' shares.
///
/// # Errors
/// When features and labels do not fit each other, or there are too few rows for the folds.
pub fn cross_validate_features(
    features: &Features,
    labels: &[u32],
    classes: usize,
    config: &CrossValidationConfig,
) -> Result<Probabilities, LabelsError> {
    check(features, labels.len(), classes, config)?;
    if let Some(row) = labels.iter().position(|&label| label as usize >= classes) {
        let what = format!("row {row} has the label {}, and there are {classes} classes", labels[row]);
        return Err(LabelsError::input("labels", what, "Number the classes from 0."));
    }
    let folds = folds(labels, config);
    let parts: Vec<Vec<(usize, Vec<f32>)>> = (0..config.folds)
        .into_par_iter()
        .map(|fold| {
            let model = fit(features, classes, &folds, fold, config, |scores, row| {
                softmax(scores);
                scores[labels[row] as usize] -= 1.0;
            });
            let mut scores = vec![0.0; classes];
            let held = (0..labels.len()).filter(|row| folds[*row] == fold);
            held.map(|row| {
                model.scores(features.row(row), &mut scores);
                softmax(&mut scores);
                (row, scores.clone())
            })
            .collect()
        })
        .collect();
    let mut values = vec![0.0; labels.len() * classes];
    for (row, scores) in parts.into_iter().flatten() {
        let sum: f64 = scores.iter().map(|score| f64::from(*score)).sum();
        for (value, score) in values[row * classes..][..classes].iter_mut().zip(scores) {
            *value = f64::from(score) / sum;
        }
    }
    Probabilities::new(classes, values)
}

/// The class probabilities of all rows, by a model of the rows that have a label (`None` where one has none). Of labelled
/// rows they are those of a model that has seen them.
///
/// # Errors
/// When features and labels do not fit each other, or no row has a label.
pub fn predict_unlabelled(
    features: &Features,
    labels: &[Option<u32>],
    classes: usize,
    config: &CrossValidationConfig,
) -> Result<Probabilities, LabelsError> {
    check(features, labels.len(), classes, config)?;
    let known = labels.iter().flatten();
    if known.clone().count() == 0 || known.clone().any(|label| *label as usize >= classes) {
        let what = format!("no row has a label, or one is beyond the {classes} classes");
        return Err(LabelsError::input("labels", what, "Number the classes from 0, and label some rows."));
    }
    // Rows without a label are the fold that is held out.
    let folds: Vec<usize> = labels.iter().map(|label| usize::from(label.is_none())).collect();
    let model = fit(features, classes, &folds, 1, config, |scores, row| {
        softmax(scores);
        if let Some(label) = labels[row] {
            scores[label as usize] -= 1.0;
        }
    });
    let mut scores = vec![0.0; classes];
    let mut values = Vec::with_capacity(labels.len() * classes);
    for row in 0..labels.len() {
        model.scores(features.row(row), &mut scores);
        softmax(&mut scores);
        let sum: f64 = scores.iter().map(|score| f64::from(*score)).sum();
        values.extend(scores.iter().map(|score| f64::from(*score) / sum));
    }
    Probabilities::new(classes, values)
}

/// Out-of-sample predictions of numbers (least squares on standardised targets).
///
/// # Errors
/// When features and targets do not fit each other, a target is not finite, or there are too few rows.
pub fn cross_validate_numbers(
    features: &Features,
    targets: &[f64],
    config: &CrossValidationConfig,
) -> Result<Vec<f64>, LabelsError> {
    check(features, targets.len(), 1, config)?;
    let count = targets.len() as f64;
    let mean = targets.iter().sum::<f64>() / count;
    let deviation = (targets.iter().map(|target| (target - mean).powi(2)).sum::<f64>() / count).sqrt();
    if !deviation.is_finite() {
        return Err(LabelsError::input("targets", "not all are finite", "Leave out rows without a target."));
    }
    if deviation == 0.0 {
        return Ok(vec![mean; targets.len()]);
    }
    let folds = folds(&vec![0; targets.len()], config);
    let mut predictions = vec![0.0; targets.len()];
    let parts: Vec<Vec<(usize, f64)>> = (0..config.folds)
        .into_par_iter()
        .map(|fold| {
            let model = fit(features, 1, &folds, fold, config, |scores, row| {
                let target = ((targets[row] - mean) / deviation) as f32;
                // A clipped gradient: one wild target must not throw the others' weights about.
                scores[0] = (scores[0] - target).clamp(-3.0, 3.0);
            });
            let mut score = [0.0];
            let held = (0..targets.len()).filter(|row| folds[*row] == fold);
            held.map(|row| {
                model.scores(features.row(row), &mut score);
                (row, f64::from(score[0]) * deviation + mean)
            })
            .collect()
        })
        .collect();
    parts.into_iter().flatten().for_each(|(row, value)| predictions[row] = value);
    Ok(predictions)
}

fn check(features: &Features, rows: usize, outputs: usize, config: &CrossValidationConfig) -> Result<(), LabelsError> {
    let wrong = |what: String, hint: &str| Err(LabelsError::input("the cross-validation", what, hint));
    if features.rows() != rows {
        return wrong(format!("{} rows of features, {rows} labels", features.rows()), "Give each row its label.");
    }
    if config.folds < 2 || config.folds > rows {
        return wrong(format!("{} folds of {rows} rows", config.folds), "Give at least 2 folds, and a row for each.");
    }
    if outputs == 0 || features.width().saturating_mul(outputs) > WEIGHTS_MAX {
        let what = format!("{} features times {outputs} classes are too many", features.width());
        return wrong(what, "Give the probabilities of your own model instead.");
    }
    Ok(())
}

/// The fold of each row: within each class in a seeded order, dealt out in turn.
fn folds(labels: &[u32], config: &CrossValidationConfig) -> Vec<usize> {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    Random::new(config.seed, 0).shuffle(&mut order);
    order.sort_by_key(|&row| labels[row]);
    let mut folds = vec![0; labels.len()];
    for (turn, row) in order.into_iter().enumerate() {
        folds[row] = turn % config.folds;
    }
    folds
}

/// A linear model: `weights[feature][output]`.
struct Linear {
    outputs: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Linear {
    fn scores(&self, (ids, values): (&[u32], &[f32]), scores: &mut [f32]) {
        scores.copy_from_slice(&self.bias);
        for (id, value) in ids.iter().zip(values) {
            let weights = &self.weights[*id as usize * self.outputs..][..self.outputs];
            for (score, weight) in scores.iter_mut().zip(weights) {
                *score += weight * value;
            }
        }
    }
}

/// Fits on every fold but `held`; `gradient` turns a row's scores into the loss's gradient over them.
fn fit(
    features: &Features,
    outputs: usize,
    folds: &[usize],
    held: usize,
    config: &CrossValidationConfig,
    gradient: impl Fn(&mut [f32], usize),
) -> Linear {
    let mut model = Linear { outputs, weights: vec![0.0; features.width() * outputs], bias: vec![0.0; outputs] };
    let mut seen = vec![1e-3_f32; features.width()];
    let mut seen_bias = 1e-3_f32;
    let mut order: Vec<usize> = (0..folds.len()).filter(|&row| folds[row] != held).collect();
    let mut scores = vec![0.0; outputs];
    let mut random = Random::new(config.seed, 1 + held as u64);
    for _ in 0..config.epochs {
        random.shuffle(&mut order);
        for &row in &order {
            let (ids, values) = features.row(row);
            model.scores((ids, values), &mut scores);
            gradient(&mut scores, row);
            let squared: f32 = scores.iter().map(|score| score * score).sum();
            for (id, value) in ids.iter().zip(values) {
                let id = *id as usize;
                seen[id] += squared * value * value;
                let rate = config.learning_rate / seen[id].sqrt();
                let step = rate * value;
                let keep = 1.0 - rate * config.decay;
                let weights = &mut model.weights[id * outputs..][..outputs];
                for (weight, score) in weights.iter_mut().zip(&scores) {
                    *weight = *weight * keep - step * score;
                }
            }
            seen_bias += squared;
            let step = config.learning_rate / seen_bias.sqrt();
            model.bias.iter_mut().zip(&scores).for_each(|(bias, score)| *bias -= step * score);
        }
    }
    model
}

fn softmax(scores: &mut [f32]) {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - largest).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}
