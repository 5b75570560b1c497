//! Confident learning: which labels are likely wrong, from out-of-sample probabilities.
//!
//! Source: Northcutt, Jiang, Chuang, *Confident Learning: Estimating Uncertainty in Dataset Labels*,
//! JAIR 70 (2021). Where the paper leaves details open (rounding, at least one example a class, the
//! tolerance of thresholds) the behaviour of the library cleanlab 2.9 (Apache-2.0) is followed, so that
//! both list the same rows.

use serde::Serialize;

use crate::error::LabelsError;
use crate::probabilities::{Probabilities, argmax};

/// How close two probabilities are to count as equal.
const TOLERANCE: f64 = 1e-6;

/// Which rows count as issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filter {
    /// For each pair (given, true) as many rows as the calibrated joint estimates, by largest margin.
    #[default]
    PruneByNoiseRate,
    /// For each class as many rows as the calibrated joint estimates, by smallest self-confidence.
    PruneByClass,
    /// What both of the above list.
    Both,
    /// The off-diagonal of the confident joint.
    ConfidentLearning,
    /// Every row whose most probable class is not the given one.
    PredictedNotGiven,
}

/// How issues are ranked; the smallest score comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ranking {
    /// (p(given) − max p(other) + 1) / 2.
    #[default]
    NormalisedMargin,
    /// p(given).
    SelfConfidence,
}

/// How label errors are looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfidentConfig {
    /// Which rows count.
    pub filter: Filter,
    /// In which order.
    pub ranking: Ranking,
    /// Each class keeps at least this many rows.
    pub examples_per_class_min: u32,
    /// The share of the estimated noise to list, 0 to 1; for the pruning filters.
    pub noise_share: f64,
}

impl Default for ConfidentConfig {
    fn default() -> Self {
        Self { filter: Filter::default(), ranking: Ranking::default(), examples_per_class_min: 1, noise_share: 1.0 }
    }
}

/// The estimated joint distribution of given and true labels.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfidentJoint {
    /// The number of classes.
    pub classes: usize,
    /// For each class, the mean probability of it among the rows that carry it; 2 for a class no row
    /// carries, which no probability reaches.
    pub thresholds: Vec<f64>,
    /// Counts as found, `[given][true]`, row after row.
    pub counts: Vec<u64>,
    /// The counts scaled so that each row sums to the number of rows with that label, in whole numbers.
    pub calibrated: Vec<u64>,
    /// The rows that were counted off the diagonal, ascending.
    pub off_diagonal: Vec<usize>,
}

impl ConfidentJoint {
    /// The estimated share of wrong labels: the off-diagonal mass of the calibrated joint.
    #[must_use]
    pub fn noise_share(&self) -> f64 {
        let total: u64 = self.calibrated.iter().sum();
        let right: u64 = (0..self.classes).map(|class| self.calibrated[class * self.classes + class]).sum();
        if total == 0 { 0.0 } else { (total - right) as f64 / total as f64 }
    }
}

/// A row whose label is likely wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelIssue {
    /// The row, from 0.
    pub row: usize,
    /// Its label.
    pub given: u32,
    /// The most probable other class.
    pub suggested: u32,
    /// The probability of the given label.
    pub given_probability: f64,
    /// The probability of the suggested one.
    pub suggested_probability: f64,
    /// The label's quality, 0 (worst) to 1.
    pub score: f64,
}

/// The confident joint and its calibration.
///
/// # Errors
/// When labels and probabilities do not fit each other.
pub fn confident_joint(labels: &[u32], probabilities: &Probabilities) -> Result<ConfidentJoint, LabelsError> {
    probabilities.expect_labels(labels)?;
    let classes = probabilities.classes();
    let label_counts = label_counts(labels, classes);
    let thresholds = thresholds(labels, probabilities, &label_counts);
    let mut counts = vec![0_u64; classes * classes];
    let mut off_diagonal = Vec::new();
    for (row, &given) in labels.iter().enumerate() {
        if let Some(guess) = confident_class(probabilities.row(row), &thresholds) {
            counts[given as usize * classes + guess] += 1;
            if guess != given as usize {
                off_diagonal.push(row);
            }
        }
    }
    for class in 0..classes {
        let diagonal = &mut counts[class * classes + class];
        *diagonal = (*diagonal).max(1);
    }
    let calibrated = calibrate(&counts, &label_counts);
    Ok(ConfidentJoint { classes, thresholds, counts, calibrated, off_diagonal })
}

/// The rows whose label is likely wrong, worst first; equal scores in the order of rows.
///
/// # Errors
/// When labels and probabilities do not fit each other, or the noise share is not in 0 to 1.
pub fn find_label_issues(
    labels: &[u32],
    probabilities: &Probabilities,
    config: &ConfidentConfig,
) -> Result<Vec<LabelIssue>, LabelsError> {
    if !(0.0..=1.0).contains(&config.noise_share) {
        let what = format!("a noise share of {}", config.noise_share);
        return Err(LabelsError::input("the label settings", what, "Give a share from 0 to 1."));
    }
    let joint = confident_joint(labels, probabilities)?;
    let mask = issue_mask(labels, probabilities, config, &joint);
    let mut issues: Vec<LabelIssue> = (0..labels.len())
        .filter(|&row| mask[row])
        .map(|row| issue(row, labels[row], probabilities.row(row), config.ranking))
        .collect();
    issues.sort_by(|a, b| a.score.total_cmp(&b.score).then(a.row.cmp(&b.row)));
    Ok(issues)
}

/// The quality of every label, 0 (worst) to 1, in the order of rows.
///
/// # Errors
/// When labels and probabilities do not fit each other.
pub fn label_quality(labels: &[u32], probabilities: &Probabilities, ranking: Ranking) -> Result<Vec<f64>, LabelsError> {
    probabilities.expect_labels(labels)?;
    Ok(labels.iter().enumerate().map(|(row, &label)| quality(label, probabilities.row(row), ranking)).collect())
}

fn issue(row: usize, given: u32, values: &[f64], ranking: Ranking) -> LabelIssue {
    let suggested = best_other(given, values);
    LabelIssue {
        row,
        given,
        suggested: suggested as u32,
        given_probability: values[given as usize],
        suggested_probability: values[suggested],
        score: quality(given, values, ranking),
    }
}

fn quality(given: u32, values: &[f64], ranking: Ranking) -> f64 {
    let own = values[given as usize];
    match ranking {
        Ranking::SelfConfidence => own,
        Ranking::NormalisedMargin if values.len() == 1 => (own + 1.0) / 2.0,
        Ranking::NormalisedMargin => (own - values[best_other(given, values)] + 1.0) / 2.0,
    }
}

fn best_other(given: u32, values: &[f64]) -> usize {
    let given = given as usize;
    let mut best = usize::from(given == 0 && values.len() > 1);
    for (class, value) in values.iter().enumerate() {
        if class != given && *value > values[best] {
            best = class;
        }
    }
    best
}

pub(crate) fn issue_mask(
    labels: &[u32],
    probabilities: &Probabilities,
    config: &ConfidentConfig,
    joint: &ConfidentJoint,
) -> Vec<bool> {
    let rows = labels.len();
    let pruned = |by_class: bool| {
        let kept = prune_counts(joint, config);
        let mut mask = vec![false; rows];
        let mut members = vec![Vec::new(); joint.classes];
        for (row, &label) in labels.iter().enumerate() {
            members[label as usize].push(row);
        }
        for (class, rows) in members.iter().enumerate() {
            if rows.len() > 1 && rows.len() > config.examples_per_class_min as usize {
                let prune = if by_class { prune_by_class } else { prune_by_noise_rate };
                prune(class, rows, probabilities, &kept, &mut mask);
            }
        }
        mask
    };
    let mut mask = match config.filter {
        Filter::PruneByNoiseRate => pruned(false),
        Filter::PruneByClass => pruned(true),
        Filter::Both => pruned(false).iter().zip(pruned(true)).map(|(a, b)| *a && b).collect(),
        Filter::ConfidentLearning => {
            let mut mask = vec![false; rows];
            joint.off_diagonal.iter().for_each(|&row| mask[row] = true);
            mask
        }
        Filter::PredictedNotGiven => vec![true; rows],
    };
    for (row, marked) in mask.iter_mut().enumerate() {
        *marked &= !predicted_as_given(labels[row] as usize, probabilities.row(row));
    }
    mask
}

/// Whether the given label is the most probable one, or within the tolerance of it.
fn predicted_as_given(given: usize, values: &[f64]) -> bool {
    let own = values[given] + TOLERANCE;
    values.iter().enumerate().all(|(class, value)| match class.cmp(&given) {
        std::cmp::Ordering::Less => *value < own,
        std::cmp::Ordering::Equal => true,
        std::cmp::Ordering::Greater => *value <= own,
    })
}

fn label_counts(labels: &[u32], classes: usize) -> Vec<u64> {
    let mut counts = vec![0; classes];
    labels.iter().for_each(|&label| counts[label as usize] += 1);
    counts
}

fn thresholds(labels: &[u32], probabilities: &Probabilities, label_counts: &[u64]) -> Vec<f64> {
    let mut sums = vec![0.0; label_counts.len()];
    for (row, &label) in labels.iter().enumerate() {
        sums[label as usize] += probabilities.row(row)[label as usize];
    }
    let mean = |(sum, &count): (f64, &u64)| if count == 0 { 2.0 } else { sum / count as f64 };
    sums.into_iter().zip(label_counts).map(mean).map(|mean| mean.max(2.0 * TOLERANCE)).collect()
}

/// The class the row belongs to with confidence: the one class above its threshold, or, where several
/// are, the most probable.
fn confident_class(values: &[f64], thresholds: &[f64]) -> Option<usize> {
    let mut above = values.iter().zip(thresholds).enumerate().filter(|(_, (p, t))| **p >= **t - TOLERANCE);
    let (first, _) = above.next()?;
    Some(if above.next().is_some() { argmax(values) } else { first })
}

/// Each row scaled to the number of rows with that label, then all to the number of rows, rounded so
/// that the rows' sums stay.
fn calibrate(counts: &[u64], label_counts: &[u64]) -> Vec<u64> {
    let classes = label_counts.len();
    let mut scaled = Vec::with_capacity(counts.len());
    for (row, &label_count) in counts.chunks_exact(classes).zip(label_counts) {
        let sum = row.iter().sum::<u64>().max(1) as f64;
        scaled.extend(row.iter().map(|&count| count as f64 / sum * label_count as f64));
    }
    let sum: f64 = scaled.iter().sum();
    let total = label_counts.iter().sum::<u64>() as f64;
    if sum > 0.0 {
        scaled.iter_mut().for_each(|value| *value = *value / sum * total);
    }
    scaled.chunks_exact(classes).flat_map(round_keeping_sum).collect()
}

/// Whole numbers near `values` with the rounded sum of `values`: those rounded down furthest go up
/// first (or the reverse), the last of equals first.
fn round_keeping_sum(values: &[f64]) -> Vec<u64> {
    let mut whole: Vec<f64> = values.iter().map(|value| value.round_ties_even()).collect();
    let wanted = values.iter().sum::<f64>().round_ties_even();
    // Each pass changes the sum towards the wanted one, and rounding moved it by at most half a unit a
    // value, so two passes are enough.
    for _ in 0..2 {
        let missing = wanted - whole.iter().sum::<f64>();
        if missing.abs() < 0.5 {
            break;
        }
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| (values[a] - whole[a]).total_cmp(&(values[b] - whole[b])));
        if missing > 0.0 {
            order.reverse();
        }
        for &index in order.iter().take(missing.abs() as usize) {
            whole[index] += missing.signum();
        }
    }
    whole.into_iter().map(|value| value.max(0.0) as u64).collect()
}

/// How many rows of each given class are kept for each true class, `[true][given]`: the calibrated
/// counts, with at least the wanted number on the diagonal and the noise scaled by its share.
fn prune_counts(joint: &ConfidentJoint, config: &ConfidentConfig) -> Vec<u64> {
    let classes = joint.classes;
    let mut kept = vec![0_u64; classes * classes];
    for given in 0..classes {
        let column = &joint.calibrated[given * classes..][..classes];
        let old = column[given] as f64;
        let diagonal = old.max(f64::from(config.examples_per_class_min));
        let noisy = column.iter().filter(|&&count| count > 0).count() as f64 - 1.0;
        let less = (diagonal - old) / noisy.max(1.0);
        let mut moved = 0.0;
        for (truth, &count) in column.iter().enumerate().filter(|(truth, _)| *truth != given) {
            let noise = (count as f64 - less).max(0.0);
            kept[truth * classes + given] = (noise * config.noise_share) as u64;
            moved += noise - noise * config.noise_share;
        }
        kept[given * classes + given] = (diagonal + moved) as u64;
    }
    kept
}

fn prune_by_class(class: usize, rows: &[usize], probabilities: &Probabilities, kept: &[u64], mask: &mut [bool]) {
    let count = (rows.len() as u64).saturating_sub(kept[class * probabilities.classes() + class]) as usize;
    let mut order = rows.to_vec();
    order.sort_by(|&a, &b| probabilities.row(a)[class].total_cmp(&probabilities.row(b)[class]));
    order.iter().take(count).for_each(|&row| mask[row] = true);
}

fn prune_by_noise_rate(class: usize, rows: &[usize], probabilities: &Probabilities, kept: &[u64], mask: &mut [bool]) {
    let classes = probabilities.classes();
    for truth in (0..classes).filter(|&truth| truth != class) {
        let count = kept[truth * classes + class] as usize;
        if count == 0 {
            continue;
        }
        let margin = |row: usize| probabilities.row(row)[truth] - probabilities.row(row)[class];
        let mut order = rows.to_vec();
        order.sort_by(|&a, &b| margin(b).total_cmp(&margin(a)));
        order.iter().take(count).for_each(|&row| mask[row] = true);
    }
}
