//! Agreement of annotators on categories: Cohen's kappa for two, Fleiss' kappa for many.
//!
//! Sources: Cohen 1960 and 1968 (weights), Fleiss 1971.

use crate::bootstrap::{BootstrapConfig, Interval, bootstrap};
use crate::error::LabelsError;

/// The most categories.
const CATEGORIES_MAX: u32 = 4096;

/// How much a disagreement weighs, for Cohen's kappa; the others need categories in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weights {
    /// Every disagreement the same.
    #[default]
    None,
    /// |i − j|.
    Linear,
    /// (i − j)².
    Quadratic,
}

/// Cohen's kappa of two annotators' categories of the same items.
///
/// # Errors
/// When the lengths differ, or kappa is undefined (both gave one and the same category throughout).
pub fn cohen_kappa(first: &[u32], second: &[u32], weights: Weights) -> Result<f64, LabelsError> {
    check_pair(first, second)?;
    let all: Vec<usize> = (0..first.len()).collect();
    cohen_of(first, second, weights, &all)
}

/// Cohen's kappa with its bootstrap interval over items.
///
/// # Errors
/// Those of [`cohen_kappa`] and [`bootstrap`].
pub fn cohen_kappa_interval(
    first: &[u32],
    second: &[u32],
    weights: Weights,
    config: &BootstrapConfig,
) -> Result<Interval, LabelsError> {
    check_pair(first, second)?;
    bootstrap(first.len(), config, |items| cohen_of(first, second, weights, items))
}

fn check_pair(first: &[u32], second: &[u32]) -> Result<(), LabelsError> {
    if first.len() != second.len() {
        let what = format!("{} and {} ratings", first.len(), second.len());
        return Err(LabelsError::input("ratings", what, "Give both annotators' ratings of the same items."));
    }
    if first.iter().chain(second).any(|&category| category >= CATEGORIES_MAX) {
        return Err(too_many());
    }
    Ok(())
}

fn too_many() -> LabelsError {
    let what = format!("a category of {CATEGORIES_MAX} or more");
    LabelsError::input("ratings", what, "Number the categories from 0.")
}

fn cohen_of(first: &[u32], second: &[u32], weights: Weights, items: &[usize]) -> Result<f64, LabelsError> {
    // Margins only: expected disagreement needs no matrix beyond them.
    let categories = items.iter().map(|&item| first[item].max(second[item])).max().map_or(0, |most| most as usize + 1);
    let mut rows = vec![0.0; categories];
    let mut columns = vec![0.0; categories];
    let weight = |a: u32, b: u32| -> f64 {
        let distance = f64::from(a.abs_diff(b));
        match weights {
            Weights::None => f64::from(a != b),
            Weights::Linear => distance,
            Weights::Quadratic => distance * distance,
        }
    };
    let mut observed = 0.0;
    for &item in items {
        rows[first[item] as usize] += 1.0;
        columns[second[item] as usize] += 1.0;
        observed += weight(first[item], second[item]);
    }
    let mut expected = 0.0;
    for (a, row) in rows.iter().enumerate().filter(|(_, count)| **count > 0.0) {
        for (b, column) in columns.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            expected += weight(a as u32, b as u32) * row * column;
        }
    }
    if expected == 0.0 {
        return Err(LabelsError::undefined("Cohen's kappa", "both annotators gave one category throughout"));
    }
    Ok(1.0 - observed * items.len() as f64 / expected)
}

/// Fleiss' kappa: for each item how many annotators gave each category; every item has the same number
/// of annotators, at least 2.
///
/// # Errors
/// When the items differ in annotators or categories, or kappa is undefined.
pub fn fleiss_kappa(counts: &[Vec<u32>]) -> Result<f64, LabelsError> {
    check_counts(counts)?;
    let all: Vec<usize> = (0..counts.len()).collect();
    fleiss_of(counts, &all)
}

/// Fleiss' kappa with its bootstrap interval over items.
///
/// # Errors
/// Those of [`fleiss_kappa`] and [`bootstrap`].
pub fn fleiss_kappa_interval(counts: &[Vec<u32>], config: &BootstrapConfig) -> Result<Interval, LabelsError> {
    check_counts(counts)?;
    bootstrap(counts.len(), config, |items| fleiss_of(counts, items))
}

/// Counts for [`fleiss_kappa`] from ratings, one vector of categories an item.
///
/// # Errors
/// When a category is out of range.
pub fn count_ratings(ratings: &[Vec<u32>]) -> Result<Vec<Vec<u32>>, LabelsError> {
    let most = ratings.iter().flatten().copied().max().unwrap_or(0);
    if most >= CATEGORIES_MAX {
        return Err(too_many());
    }
    let count = |item: &Vec<u32>| {
        let mut counts = vec![0; most as usize + 1];
        item.iter().for_each(|&category| counts[category as usize] += 1);
        counts
    };
    Ok(ratings.iter().map(count).collect())
}

fn check_counts(counts: &[Vec<u32>]) -> Result<(), LabelsError> {
    let hint = "Give for each item the number of annotators that chose each category; for ratings with gaps use Krippendorff's alpha.";
    let raters = |item: &Vec<u32>| item.iter().map(|&count| u64::from(count)).sum::<u64>();
    let Some(first) = counts.first() else { return Ok(()) };
    for (index, item) in counts.iter().enumerate() {
        if item.len() != first.len() || raters(item) != raters(first) || raters(item) < 2 {
            let what = format!(
                "item {index} has {} ratings in {} categories, item 0 has {} in {}",
                raters(item),
                item.len(),
                raters(first),
                first.len()
            );
            return Err(LabelsError::input("ratings", what, hint));
        }
    }
    Ok(())
}

fn fleiss_of(counts: &[Vec<u32>], items: &[usize]) -> Result<f64, LabelsError> {
    let Some(&first) = items.first() else {
        return Err(LabelsError::undefined("Fleiss' kappa", "there are no items"));
    };
    let raters: f64 = counts[first].iter().map(|&count| f64::from(count)).sum();
    let mut categories = vec![0.0; counts[first].len()];
    let mut observed = 0.0;
    for &item in items {
        let mut squares = 0.0;
        for (total, &count) in categories.iter_mut().zip(&counts[item]) {
            *total += f64::from(count);
            squares += f64::from(count).powi(2);
        }
        observed += (squares - raters) / (raters * (raters - 1.0));
    }
    observed /= items.len() as f64;
    let all = raters * items.len() as f64;
    let expected: f64 = categories.iter().map(|count| (count / all).powi(2)).sum();
    if 1.0 - expected <= f64::EPSILON {
        return Err(LabelsError::undefined("Fleiss' kappa", "all annotators gave one category throughout"));
    }
    Ok((observed - expected) / (1.0 - expected))
}
