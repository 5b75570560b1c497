//! How well one column alone predicts the label, out of sample: cells are put into bins (names, or
//! intervals of numbers), and each bin predicts what the other folds' rows in it were.

use std::collections::HashMap;

use base::Value;

use crate::hashing::{Random, hash_value};

/// Numbers are cut into at most so many bins of equal counts, of about so many rows each.
const BINS_MAX: usize = 256;
const BINS_MIN: usize = 8;
const BIN_ROWS: usize = 16;
/// How many folds.
const FOLDS: usize = 5;

/// The label of every row that has one.
pub(crate) enum Target {
    /// Classes.
    Classes { of: Vec<Option<u32>>, count: usize },
    /// Numbers.
    Numbers(Vec<Option<f64>>),
}

/// How well a column predicts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Power {
    /// Classes: balanced accuracy, 0 for chance, 1 for perfect. Numbers: R².
    pub score: f64,
    /// The area under the ROC curve, mean over the classes against the rest. None for numbers.
    pub auc: Option<f64>,
    /// Mutual information of bin and label over the label's entropy, in sample. None for numbers.
    pub information: Option<f64>,
    /// How many bins.
    pub bins: usize,
}

/// The bin of each cell. Missing cells share a bin.
pub(crate) fn bins(values: &[Value]) -> (Vec<u32>, usize) {
    let mut numbers: Vec<f64> = values.iter().filter_map(Value::as_number).collect();
    numbers.sort_by(f64::total_cmp);
    let mut edges: Vec<f64> = Vec::new();
    let mut distinct = numbers.clone();
    distinct.dedup();
    let most = (numbers.len() / BIN_ROWS).clamp(BINS_MIN, BINS_MAX);
    if distinct.len() > most {
        edges.extend((1..most).map(|bin| numbers[numbers.len() * bin / most]));
        edges.dedup();
    }
    let mut known: HashMap<u64, u32> = HashMap::new();
    let bins = values
        .iter()
        .map(|value| {
            let key = match value {
                Value::Number(number) if !edges.is_empty() => edges.partition_point(|edge| edge < number) as u64,
                other => hash_value(other),
            };
            let next = known.len() as u32;
            *known.entry(key).or_insert(next)
        })
        .collect();
    (bins, known.len())
}

/// How well cells predict the label.
pub(crate) fn power(values: &[Value], target: &Target, seed: u64) -> Power {
    let (bins, count) = bins(values);
    let mut random = Random::new(seed, 0xf01d);
    let folds: Vec<usize> = (0..values.len()).map(|_| random.below(FOLDS)).collect();
    match target {
        Target::Classes { of, count: classes } => {
            let (scores, counts) = class_scores(&bins, count, of, *classes, &folds);
            Power {
                score: balanced_accuracy(&scores, of, *classes),
                auc: Some(mean_auc(&scores, of, *classes)),
                information: Some(information(&counts, *classes)),
                bins: count,
            }
        }
        Target::Numbers(of) => {
            // A line may fit where bins are too coarse.
            let line = linear_fit(&pairs(values, of)).map_or(0.0, |fit| fit.r_squared);
            Power { score: r_squared(&bins, count, of, &folds).max(line), auc: None, information: None, bins: count }
        }
    }
}

/// For each row the other folds' shares of classes in its bin, over the class's share overall, so that
/// every class counts the same; and the counts of all folds.
fn class_scores(
    bins: &[u32],
    bin_count: usize,
    of: &[Option<u32>],
    classes: usize,
    folds: &[usize],
) -> (Vec<f64>, Vec<f64>) {
    let mut counts = vec![0.0; bin_count * classes];
    let mut by_fold = vec![0.0; FOLDS * bin_count * classes];
    let mut totals = vec![0.0_f64; classes];
    for (row, class) in of.iter().enumerate().filter_map(|(row, class)| Some((row, (*class)? as usize))) {
        let cell = bins[row] as usize * classes + class;
        counts[cell] += 1.0;
        by_fold[folds[row] * bin_count * classes + cell] += 1.0;
        totals[class] += 1.0;
    }
    let mut scores = vec![0.0; of.len() * classes];
    for row in 0..of.len() {
        let start = bins[row] as usize * classes;
        let held = folds[row] * bin_count * classes + start;
        let own = &mut scores[row * classes..][..classes];
        for (class, score) in own.iter_mut().enumerate() {
            // One pseudo-count, spread as the classes are: an unseen bin predicts nothing.
            *score = (counts[start + class] - by_fold[held + class]) / totals[class].max(1.0) + 1e-9;
        }
        let sum: f64 = own.iter().sum();
        own.iter_mut().for_each(|score| *score /= sum);
    }
    (scores, counts)
}

fn balanced_accuracy(scores: &[f64], of: &[Option<u32>], classes: usize) -> f64 {
    let (mut right, mut all) = (vec![0.0_f64; classes], vec![0.0_f64; classes]);
    for (row, class) in of.iter().enumerate().filter_map(|(row, class)| Some((row, (*class)? as usize))) {
        let own = &scores[row * classes..][..classes];
        let best = own.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let ties = own.iter().filter(|score| **score >= best - 1e-12).count() as f64;
        all[class] += 1.0;
        if own[class] >= best - 1e-12 {
            right[class] += 1.0 / ties;
        }
    }
    let present = all.iter().filter(|count| **count > 0.0).count() as f64;
    if present < 2.0 {
        return 0.0;
    }
    let mean =
        right.iter().zip(&all).filter(|(_, all)| **all > 0.0).map(|(right, all)| right / all).sum::<f64>() / present;
    ((mean - 1.0 / present) / (1.0 - 1.0 / present)).clamp(0.0, 1.0)
}

/// The mean over classes of the Mann–Whitney AUC of its score, class against the rest.
fn mean_auc(scores: &[f64], of: &[Option<u32>], classes: usize) -> f64 {
    let rows: Vec<(usize, usize)> =
        of.iter().enumerate().filter_map(|(row, class)| Some((row, (*class)? as usize))).collect();
    let (mut sum, mut counted) = (0.0, 0.0);
    for class in 0..classes {
        let mut ranked: Vec<(f64, bool)> =
            rows.iter().map(|&(row, own)| (scores[row * classes + class], own == class)).collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        let positives = ranked.iter().filter(|entry| entry.1).count() as f64;
        let negatives = ranked.len() as f64 - positives;
        if positives == 0.0 || negatives == 0.0 {
            continue;
        }
        let (mut below, mut wins) = (0.0, 0.0);
        for group in ranked.chunk_by(|a, b| a.0 == b.0) {
            let up = group.iter().filter(|entry| entry.1).count() as f64;
            let down = group.len() as f64 - up;
            wins += up * (below + down / 2.0);
            below += down;
        }
        sum += wins / (positives * negatives);
        counted += 1.0;
    }
    if counted == 0.0 { 0.5 } else { sum / counted }
}

/// I(bin; class) / H(class).
fn information(counts: &[f64], classes: usize) -> f64 {
    let total: f64 = counts.iter().sum();
    let mut margins = vec![0.0; classes];
    for bin in counts.chunks_exact(classes) {
        margins.iter_mut().zip(bin).for_each(|(margin, count)| *margin += count);
    }
    let entropy = |values: &[f64], sum: f64| -> f64 {
        values.iter().filter(|value| **value > 0.0).map(|value| -(value / sum) * (value / sum).ln()).sum()
    };
    let all = entropy(&margins, total);
    let rest: f64 = counts
        .chunks_exact(classes)
        .map(|bin| {
            let sum: f64 = bin.iter().sum();
            if sum > 0.0 { sum / total * entropy(bin, sum) } else { 0.0 }
        })
        .sum();
    if all > 0.0 { ((all - rest) / all).clamp(0.0, 1.0) } else { 0.0 }
}

fn r_squared(bins: &[u32], bin_count: usize, of: &[Option<f64>], folds: &[usize]) -> f64 {
    let rows: Vec<(usize, f64)> = of.iter().enumerate().filter_map(|(row, value)| Some((row, (*value)?))).collect();
    if rows.is_empty() {
        return 0.0;
    }
    let mean = rows.iter().map(|(_, value)| value).sum::<f64>() / rows.len() as f64;
    let mut sums = vec![(0.0, 0.0); (FOLDS + 1) * bin_count];
    for &(row, value) in &rows {
        for place in [folds[row], FOLDS] {
            let cell = &mut sums[place * bin_count + bins[row] as usize];
            cell.0 += value - mean;
            cell.1 += 1.0;
        }
    }
    let (mut left, mut all) = (0.0, 0.0);
    for &(row, value) in &rows {
        let (sum, count) = sums[FOLDS * bin_count + bins[row] as usize];
        let (held_sum, held) = sums[folds[row] * bin_count + bins[row] as usize];
        let others = count - held;
        let predicted = if others > 0.0 { (sum - held_sum) / others } else { 0.0 };
        left += (value - mean - predicted).powi(2);
        all += (value - mean).powi(2);
    }
    if all > 0.0 { (1.0 - left / all).max(0.0) } else { 0.0 }
}

/// A line through pairs of numbers.
pub(crate) struct Line {
    pub intercept: f64,
    pub slope: f64,
    /// The standard deviation of what is predicted.
    pub deviation: f64,
    pub r_squared: f64,
}

/// Rows that have both a number and a label.
pub(crate) fn pairs(values: &[Value], of: &[Option<f64>]) -> Vec<(f64, f64)> {
    values.iter().zip(of).filter_map(|(value, of)| Some((value.as_number()?, (*of)?))).collect()
}

/// Least squares.
pub(crate) fn linear_fit(pairs: &[(f64, f64)]) -> Option<Line> {
    let count = pairs.len() as f64;
    let (mx, my) = (pairs.iter().map(|p| p.0).sum::<f64>() / count, pairs.iter().map(|p| p.1).sum::<f64>() / count);
    let xx: f64 = pairs.iter().map(|p| (p.0 - mx).powi(2)).sum();
    let xy: f64 = pairs.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
    let yy: f64 = pairs.iter().map(|p| (p.1 - my).powi(2)).sum();
    let slope = xy / xx;
    let line = Line { intercept: my - slope * mx, slope, deviation: (yy / count).sqrt(), r_squared: slope * xy / yy };
    (slope.is_finite() && line.r_squared.is_finite()).then_some(line)
}
