//! How far two distributions over the same bins are apart.

use statrs::distribution::{ChiSquared, ContinuousCDF};

use crate::expectations::Method;

/// Added to shares of 0, so that the index is finite.
const LEAST_SHARE: f64 = 1e-4;

/// What [`Method`] compares with its threshold, or none where nothing was counted. `shares` sum to 1.
#[must_use]
pub fn difference(method: Method, shares: &[f64], counts: &[u64]) -> Option<f64> {
    match method {
        Method::Psi => psi(shares, counts),
        Method::Ks => ks(shares, counts),
        Method::ChiSquare => chi_square(shares, counts).map(|(_, p)| p),
    }
}

/// Whether the difference is within the threshold.
#[must_use]
pub fn within(method: Method, difference: f64, threshold: f64) -> bool {
    if method == Method::ChiSquare { difference >= threshold } else { difference <= threshold }
}

/// The population stability index: Σ (q − p) · ln(q / p).
#[must_use]
pub fn psi(shares: &[f64], counts: &[u64]) -> Option<f64> {
    let total = total(counts)?;
    let term = |(share, count): (&f64, &u64)| {
        let (p, q) = (share.max(LEAST_SHARE), (*count as f64 / total).max(LEAST_SHARE));
        (q - p) * (q / p).ln()
    };
    Some(shares.iter().zip(counts).map(term).sum())
}

/// The largest difference of the cumulative shares: Kolmogorov and Smirnov's D, on the bins' edges.
#[must_use]
pub fn ks(shares: &[f64], counts: &[u64]) -> Option<f64> {
    let total = total(counts)?;
    let (mut expected, mut seen, mut most) = (0.0, 0.0, 0.0_f64);
    for (share, count) in shares.iter().zip(counts) {
        expected += share;
        seen += *count as f64 / total;
        most = most.max((expected - seen).abs());
    }
    Some(most)
}

/// Pearson's chi-square statistic and its p-value with one degree of freedom fewer than bins. A share
/// of 0 expects half a value.
#[must_use]
pub fn chi_square(shares: &[f64], counts: &[u64]) -> Option<(f64, f64)> {
    let total = total(counts)?;
    let term = |(share, count): (&f64, &u64)| {
        let expected = (share * total).max(0.5);
        // An empty bin that expects nothing says nothing.
        if *share == 0.0 && *count == 0 { 0.0 } else { (*count as f64 - expected).powi(2) / expected }
    };
    let statistic: f64 = shares.iter().zip(counts).map(term).sum();
    let bins = shares.iter().zip(counts).filter(|(share, count)| **share > 0.0 || **count > 0).count();
    let p = if bins < 2 { 1.0 } else { ChiSquared::new((bins - 1) as f64).ok()?.sf(statistic) };
    Some((statistic, p))
}

fn total(counts: &[u64]) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    (total > 0).then_some(total as f64)
}
