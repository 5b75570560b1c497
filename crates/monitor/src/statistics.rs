//! How far apart two samples of counts are: the population stability index, Pearson's chi-square test
//! for two samples, and the Kolmogorov–Smirnov test on shared bins.

use serde::Serialize;
use statrs::function::gamma::checked_gamma_ur;

/// Added to every bin before shares are taken, so that an empty bin has a logarithm (the prior of
/// Jeffreys; Perks' and others' choices differ only where bins are nearly empty).
const SMOOTHING: f64 = 0.5;
/// The smallest expected count of a bin in the chi-square test (Cochran 1954).
const EXPECTED_MIN: f64 = 5.0;

/// What a two-sample test found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TwoSample {
    /// Which test.
    pub test: Test,
    /// Its statistic: chi-square, or the largest distance between the two distribution functions.
    pub statistic: f64,
    /// The probability of a statistic at least this large if both samples have one distribution.
    pub p_value: f64,
}

/// The two-sample tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// Pearson's, on counts of kinds.
    ChiSquare,
    /// Kolmogorov–Smirnov, on bins in order.
    KolmogorovSmirnov,
}

/// The population stability index `Σ (a − b) · ln(a / b)` over the shares `a` and `b` of each bin; it is
/// symmetric, and 0 for equal shares. Every bin gets half a count more before shares are taken. `None`
/// where one side is empty.
///
/// With no drift at all it is about `(bins − 1) · (1/n + 1/m)` for samples of `n` and `m` (B. Yurdakul,
/// Statistical Properties of Population Stability Index, 2018): with few requests and many bins it is
/// large by chance, which is why a verdict also looks at a test.
#[must_use]
pub fn psi(baseline: &[u64], traffic: &[u64]) -> Option<f64> {
    let (n, m) = (total(baseline), total(traffic));
    if n == 0.0 || m == 0.0 || baseline.len() != traffic.len() {
        return None;
    }
    let extra = SMOOTHING * baseline.len() as f64;
    let share = |count: u64, total: f64| (count as f64 + SMOOTHING) / (total + extra);
    let terms = baseline.iter().zip(traffic).map(|(before, now)| {
        let (before, now) = (share(*before, n), share(*now, m));
        (now - before) * (now / before).ln()
    });
    Some(terms.sum())
}

/// Pearson's chi-square test of homogeneity on the table of two rows, without continuity correction.
/// Bins whose expected count is below 5 in either row are put together, and with the smallest other
/// bin if that is still too few. `None` where fewer than two bins are left.
#[must_use]
pub fn chi_square(baseline: &[u64], traffic: &[u64]) -> Option<TwoSample> {
    let (n, m) = (total(baseline), total(traffic));
    if n == 0.0 || m == 0.0 || baseline.len() != traffic.len() {
        return None;
    }
    let smaller = n.min(m) / (n + m);
    let expected = |bin: &(f64, f64)| (bin.0 + bin.1) * smaller;
    let bins = baseline.iter().zip(traffic).map(|(before, now)| (*before as f64, *now as f64));
    let (mut large, small): (Vec<_>, Vec<_>) =
        bins.filter(|bin| bin.0 + bin.1 > 0.0).partition(|bin| expected(bin) >= EXPECTED_MIN);
    if !small.is_empty() {
        let mut rest = small.iter().fold((0.0, 0.0), |sum, bin| (sum.0 + bin.0, sum.1 + bin.1));
        if expected(&rest) < EXPECTED_MIN {
            let smallest = (0..large.len()).min_by(|a, b| expected(&large[*a]).total_cmp(&expected(&large[*b])))?;
            let other = large.swap_remove(smallest);
            rest = (rest.0 + other.0, rest.1 + other.1);
        }
        large.push(rest);
    }
    if large.len() < 2 {
        return None;
    }
    let distance = |seen: f64, expected: f64| (seen - expected).powi(2) / expected;
    let statistic: f64 = large
        .iter()
        .map(|(before, now)| {
            let both = before + now;
            distance(*before, both * n / (n + m)) + distance(*now, both * m / (n + m))
        })
        .sum();
    let freedom = (large.len() - 1) as f64;
    // The upper tail of the chi-square distribution is a regularised incomplete gamma function, which
    // statrs gives for positive arguments only; at 0 it is 1.
    let p_value = if statistic > 0.0 { checked_gamma_ur(freedom / 2.0, statistic / 2.0).ok()? } else { 1.0 };
    Some(TwoSample { test: Test::ChiSquare, statistic, p_value })
}

/// The two-sample Kolmogorov–Smirnov test on histograms with the same edges. The distribution functions
/// are known at the edges only, so the distance is at most the true one and the test is conservative.
/// The p-value is the asymptotic one with Stephens' correction for finite samples (M. A. Stephens 1970;
/// Press et al., Numerical Recipes, section 14.3). `None` where one side is empty.
#[must_use]
pub fn kolmogorov_smirnov(baseline: &[u64], traffic: &[u64]) -> Option<TwoSample> {
    let (n, m) = (total(baseline), total(traffic));
    if n == 0.0 || m == 0.0 || baseline.len() != traffic.len() {
        return None;
    }
    let (mut before, mut now, mut statistic) = (0.0, 0.0, 0.0_f64);
    for (a, b) in baseline.iter().zip(traffic) {
        before += *a as f64;
        now += *b as f64;
        statistic = statistic.max((before / n - now / m).abs());
    }
    let root = (n * m / (n + m)).sqrt();
    let p_value = kolmogorov_tail((root + 0.12 + 0.11 / root) * statistic);
    Some(TwoSample { test: Test::KolmogorovSmirnov, statistic, p_value })
}

/// Kolmogorov's distribution, its upper tail: `2 Σ (−1)^(j−1) · exp(−2 j² λ²)`.
fn kolmogorov_tail(lambda: f64) -> f64 {
    // Below this the sum is 1 to within 1e-12 and converges slowly.
    if lambda < 0.2 {
        return 1.0;
    }
    let mut sum = 0.0;
    let mut sign = 1.0;
    for j in 1..=100 {
        let term = (-2.0 * f64::from(j * j) * lambda * lambda).exp();
        sum += sign * term;
        if term < 1e-17 {
            break;
        }
        sign = -sign;
    }
    (2.0 * sum).clamp(0.0, 1.0)
}

fn total(counts: &[u64]) -> f64 {
    counts.iter().map(|count| *count as f64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() < tolerance, "{found} instead of {expected}");
    }

    #[test]
    fn psi_as_computed_by_hand() {
        // Shares (49.5 + .5)/100 and so on: .5 .5 against .25 .75, so .25·ln 2 + .25·ln 1.5.
        near(psi(&[4999, 4999], &[2499, 7499]).unwrap(), 0.25 * 2_f64.ln() + 0.25 * 1.5_f64.ln(), 1e-3);
        // Two bins of counts 1 and 0 against 0 and 1: shares .75 .25 against .25 .75, so 2 · .5 · ln 3.
        near(psi(&[1, 0], &[0, 1]).unwrap(), 3_f64.ln(), 1e-12);
        assert_eq!(psi(&[10, 20], &[10, 20]), Some(0.0));
        assert_eq!(psi(&[10, 20], &[0, 0]), None);
        near(psi(&[90, 10], &[10, 90]).unwrap(), psi(&[10, 90], &[90, 10]).unwrap(), 1e-12);
    }

    #[test]
    fn chi_square_as_scipy_computes_it() {
        // scipy.stats.chi2_contingency([[10, 20, 30], [6, 9, 17]], correction=False)
        let found = chi_square(&[10, 20, 30], &[6, 9, 17]).unwrap();
        near(found.statistic, 0.271_575, 1e-5);
        near(found.p_value, 0.873_028, 1e-5);
        // Four cells that are 10 away from 50 give 8, and erfc(2) is its tail with one degree of freedom.
        let found = chi_square(&[60, 40], &[40, 60]).unwrap();
        near(found.statistic, 8.0, 1e-12);
        near(found.p_value, 0.004_677_735, 1e-8);
    }

    #[test]
    fn bins_with_small_expected_counts_are_put_together() {
        // Bins 2 and 3 expect 1 each; together 2, so bin 1 (the smaller of the large) joins them.
        let merged = chi_square(&[100, 50, 1, 1], &[100, 50, 1, 1]).unwrap();
        near(merged.p_value, 1.0, 1e-12);
        let by_hand = chi_square(&[100, 53], &[60, 92]).unwrap();
        let found = chi_square(&[100, 50, 1, 2], &[60, 90, 1, 1]).unwrap();
        near(found.statistic, by_hand.statistic, 1e-12);
        assert_eq!(chi_square(&[3, 1], &[2, 2]), None);
        assert_eq!(chi_square(&[300, 0], &[200, 0]), None);
        assert_eq!(chi_square(&[], &[]), None);
    }

    #[test]
    fn kolmogorovs_distribution_as_tabulated() {
        near(kolmogorov_tail(1.0), 0.269_999_67, 1e-7);
        near(kolmogorov_tail(1.358_1), 0.05, 1e-4);
        near(kolmogorov_tail(1.36), 0.049_486, 1e-5);
        near(kolmogorov_tail(1.627_6), 0.01, 1e-4);
        near(kolmogorov_tail(0.0), 1.0, 1e-12);
        near(kolmogorov_tail(0.200_001), 1.0, 1e-9);
        near(kolmogorov_tail(9.0), 0.0, 1e-30);
    }

    #[test]
    fn the_distance_is_that_of_the_distribution_functions() {
        let found = kolmogorov_smirnov(&[10, 10, 10, 10], &[0, 0, 20, 20]).unwrap();
        near(found.statistic, 0.5, 1e-12);
        assert!(found.p_value < 1e-3);
        near(kolmogorov_smirnov(&[5, 5], &[50, 50]).unwrap().p_value, 1.0, 1e-12);
        assert_eq!(kolmogorov_smirnov(&[0, 0], &[1, 1]), None);
    }
}
