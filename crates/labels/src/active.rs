//! What to label next: the rows a model is unsure of, spread over the data.
//!
//! Sources: Settles, *Active Learning Literature Survey* (2009) for uncertainty; Sener and Savarese
//! (2018) for k-centre greedy; Ash et al. (2020), BADGE: k-means++ seeding over gradient embeddings,
//! whose distances are computed without building them.

use serde::Serialize;

use crate::error::LabelsError;
use crate::features::Features;
use crate::probabilities::Probabilities;
use crate::random::Random;

/// How unsure a row's probabilities are, scaled to 0 (sure) to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Uncertainty {
    /// Entropy over the logarithm of the number of classes.
    Entropy,
    /// 1 − (largest − second largest).
    #[default]
    Margin,
    /// (1 − largest) · K / (K − 1).
    LeastConfidence,
}

/// How a batch is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The most uncertain rows, whether alike or not.
    Uncertain,
    /// Each next row is the one furthest from those chosen and labelled (k-centre greedy).
    Diverse,
    /// Drawn by squared distance of gradient embeddings (BADGE).
    Badge,
    /// Among the most uncertain rows, ten times the batch, the one with the largest product of
    /// uncertainty and distance to those chosen.
    #[default]
    Mixed,
}

/// How rows are chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectConfig {
    /// How many rows.
    pub count: usize,
    /// How uncertainty is measured.
    pub uncertainty: Uncertainty,
    /// How a batch is chosen.
    pub strategy: Strategy,
    /// Where draws come from.
    pub seed: u64,
}

impl Default for SelectConfig {
    fn default() -> Self {
        Self { count: 100, uncertainty: Uncertainty::default(), strategy: Strategy::default(), seed: 0 }
    }
}

/// A row to label next.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pick {
    /// The row, from 0.
    pub row: usize,
    /// Its uncertainty, 0 to 1.
    pub uncertainty: f64,
    /// The distance to the nearest row chosen before or labelled already, at the time it was chosen;
    /// none for the first and where distances play no part.
    pub distance: Option<f64>,
}

/// How many times the batch the mixed strategy looks at.
const POOL_FACTOR: usize = 10;

/// The uncertainty of every row.
#[must_use]
pub fn uncertainties(probabilities: &Probabilities, kind: Uncertainty) -> Vec<f64> {
    (0..probabilities.rows()).map(|row| uncertainty(probabilities.row(row), kind)).collect()
}

fn uncertainty(values: &[f64], kind: Uncertainty) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let (mut first, mut second) = (0.0_f64, 0.0_f64);
    for &value in values {
        if value > first {
            (first, second) = (value, first);
        } else if value > second {
            second = value;
        }
    }
    let classes = values.len() as f64;
    let result = match kind {
        Uncertainty::Entropy => {
            let entropy: f64 = values.iter().filter(|value| **value > 0.0).map(|value| -value * value.ln()).sum();
            entropy / classes.ln()
        }
        Uncertainty::Margin => 1.0 - (first - second),
        Uncertainty::LeastConfidence => (1.0 - first) * classes / (classes - 1.0),
    };
    result.clamp(0.0, 1.0)
}

/// The rows to label next, in the order they were chosen. `probabilities` and `features` have one row
/// for each row of the data; `labelled` are rows that have a label already and are not chosen.
///
/// Takes time proportional to `count` times the rows for the strategies with distances.
///
/// # Errors
/// When probabilities, features and labelled rows do not fit each other.
pub fn select(
    probabilities: &Probabilities,
    features: &Features,
    labelled: &[usize],
    config: &SelectConfig,
) -> Result<Vec<Pick>, LabelsError> {
    let rows = probabilities.rows();
    if features.rows() != rows || labelled.iter().any(|&row| row >= rows) {
        let what = format!("{rows} rows of probabilities, {} of features, or a labelled row beyond", features.rows());
        return Err(LabelsError::input("rows", what, "Give probabilities and features of the same rows."));
    }
    let unsure = uncertainties(probabilities, config.uncertainty);
    let mut free = vec![true; rows];
    labelled.iter().for_each(|&row| free[row] = false);
    let mut open: Vec<usize> = (0..rows).filter(|&row| free[row]).collect();
    open.sort_by(|&a, &b| unsure[b].total_cmp(&unsure[a]).then(a.cmp(&b)));
    let space = Space { features, norms: (0..rows).map(|row| features.squared_norm(row)).collect() };
    Ok(match config.strategy {
        Strategy::Uncertain => {
            let pick = |&row: &usize| Pick { row, uncertainty: unsure[row], distance: None };
            open.iter().take(config.count).map(pick).collect()
        }
        Strategy::Diverse => greedy(&space, &open, labelled, config.count, &unsure, |_, distance| distance),
        Strategy::Mixed => {
            open.truncate(config.count.saturating_mul(POOL_FACTOR));
            greedy(&space, &open, labelled, config.count, &unsure, |row, distance| unsure[row] * distance)
        }
        Strategy::Badge => {
            let residuals = residuals(probabilities);
            badge(&space, &residuals, probabilities.classes(), &open, config, &unsure)
        }
    })
}

/// Rows as points.
struct Space<'a> {
    features: &'a Features,
    norms: Vec<f64>,
}

impl Space<'_> {
    /// Spreads a row over a dense vector, so that dot products with it are quick.
    fn spread(&self, row: usize, dense: &mut [f32]) {
        let (ids, values) = self.features.row(row);
        ids.iter().zip(values).for_each(|(id, value)| dense[*id as usize] = *value);
    }

    fn clear(&self, row: usize, dense: &mut [f32]) {
        self.features.row(row).0.iter().for_each(|id| dense[*id as usize] = 0.0);
    }

    fn dot(&self, row: usize, dense: &[f32]) -> f64 {
        let (ids, values) = self.features.row(row);
        ids.iter().zip(values).map(|(id, value)| f64::from(*value) * f64::from(dense[*id as usize])).sum()
    }
}

/// Chooses one by one the open row with the largest gain; the first is the most uncertain one.
fn greedy(
    space: &Space<'_>,
    open: &[usize],
    labelled: &[usize],
    count: usize,
    unsure: &[f64],
    gain: impl Fn(usize, f64) -> f64,
) -> Vec<Pick> {
    let mut dense = vec![0.0; space.features.width()];
    let mut nearest = vec![f64::INFINITY; open.len()];
    let approach = |row: usize, dense: &mut Vec<f32>, nearest: &mut Vec<f64>| {
        space.spread(row, dense);
        for (squared, &other) in nearest.iter_mut().zip(open) {
            let distance = space.norms[row] + space.norms[other] - 2.0 * space.dot(other, dense);
            *squared = squared.min(distance.max(0.0));
        }
        space.clear(row, dense);
    };
    labelled.iter().for_each(|&row| approach(row, &mut dense, &mut nearest));
    let mut taken = vec![false; open.len()];
    let mut picks = Vec::new();
    while picks.len() < count.min(open.len()) {
        let mut best: Option<(usize, f64)> = None;
        for (index, &row) in open.iter().enumerate().filter(|(index, _)| !taken[*index]) {
            // Before there is anything to be far from, uncertainty alone decides.
            let value = if nearest[index].is_finite() { gain(row, nearest[index].sqrt()) } else { unsure[row] };
            if best.is_none_or(|(_, most)| value > most) {
                best = Some((index, value));
            }
        }
        let Some((index, _)) = best else { break };
        taken[index] = true;
        let distance = nearest[index].is_finite().then(|| nearest[index].sqrt());
        picks.push(Pick { row: open[index], uncertainty: unsure[open[index]], distance });
        approach(open[index], &mut dense, &mut nearest);
    }
    picks
}

/// p − onehot(argmax p), the loss's gradient over the scores if the prediction were the label.
fn residuals(probabilities: &Probabilities) -> Vec<f64> {
    let mut values = probabilities.values().to_vec();
    for row in 0..probabilities.rows() {
        values[row * probabilities.classes() + probabilities.best(row)] -= 1.0;
    }
    values
}

/// k-means++ over the gradient embeddings a ⊗ h: |a ⊗ h − b ⊗ g|² = |a|²|h|² + |b|²|g|² − 2 (a·b)(h·g).
fn badge(
    space: &Space<'_>,
    residuals: &[f64],
    classes: usize,
    open: &[usize],
    config: &SelectConfig,
    unsure: &[f64],
) -> Vec<Pick> {
    let residual = |row: usize| &residuals[row * classes..][..classes];
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let norms: Vec<f64> = open.iter().map(|&row| dot(residual(row), residual(row)) * space.norms[row]).collect();
    let mut nearest = norms.clone();
    let mut dense = vec![0.0; space.features.width()];
    let mut taken = vec![false; open.len()];
    let mut random = Random::new(config.seed, 0xbad);
    let mut picks: Vec<Pick> = Vec::new();
    while picks.len() < config.count.min(open.len()) {
        let sum: f64 = nearest.iter().sum();
        let index = if picks.is_empty() {
            // The longest embedding, as BADGE begins.
            (0..open.len()).fold(0, |best, index| if norms[index] > norms[best] { index } else { best })
        } else {
            draw(&nearest, sum, &taken, &mut random)
        };
        let row = open[index];
        let distance = (!picks.is_empty()).then(|| nearest[index].sqrt());
        picks.push(Pick { row, uncertainty: unsure[row], distance });
        taken[index] = true;
        space.spread(row, &mut dense);
        for (other, squared) in nearest.iter_mut().enumerate() {
            let cross = dot(residual(row), residual(open[other])) * space.dot(open[other], &dense);
            let distance = (norms[index] + norms[other] - 2.0 * cross).max(0.0);
            *squared = if taken[other] { 0.0 } else { squared.min(distance) };
        }
        space.clear(row, &mut dense);
    }
    picks
}

/// An untaken index drawn in proportion to `weights`; the first untaken one where all weights are 0.
fn draw(weights: &[f64], sum: f64, taken: &[bool], random: &mut Random) -> usize {
    let mut left = random.unit() * sum;
    let mut last = None;
    for (index, weight) in weights.iter().enumerate().filter(|(index, _)| !taken[*index]) {
        if *weight > 0.0 {
            last = Some(index);
            left -= weight;
            if left < 0.0 {
                return index;
            }
        }
    }
    last.or_else(|| taken.iter().position(|taken| !taken)).unwrap_or(0)
}
