//! A first version of expectations from a profile, with slack, and the reason for each.

use base::ColumnType;

use crate::dates;
use crate::expectations::{ColumnExpectations, Comparison, Distribution, Expectations, Method, Operator};
use crate::profile::{ColumnProfile, Profile};

/// How expectations are proposed.
#[derive(Debug, Clone, PartialEq)]
pub struct ProposeConfig {
    /// The table may shrink or grow by this share of its rows. Default 0.5.
    pub rows_slack: f64,
    /// Ranges are widened by this share of their width. Default 0.5.
    pub range_slack: f64,
    /// The most values that are listed. Default 50.
    pub values_max: usize,
    /// The limit of the population stability index. Default 0.2.
    pub psi_max: f64,
    /// The fewest present cells from which a distribution or a set of values is proposed. Default 100.
    pub cells_min: u64,
}

impl Default for ProposeConfig {
    fn default() -> Self {
        Self { rows_slack: 0.5, range_slack: 0.5, values_max: 50, psi_max: 0.2, cells_min: 100 }
    }
}

/// Expectations that the profiled table itself meets.
#[must_use]
pub fn propose(profile: &Profile, config: &ProposeConfig) -> Expectations {
    let mut expectations = Expectations::default();
    if profile.rows > 0 {
        expectations.rows_min = Some((profile.rows as f64 * (1.0 - config.rows_slack).max(0.0)).ceil() as u64);
        expectations.rows_max = Some((profile.rows as f64 * (1.0 + config.rows_slack)).ceil() as u64);
        let reason = format!("{} rows were seen", profile.rows);
        expectations.reasons.insert("rows_min".to_owned(), reason);
    }
    expectations.columns = profile.columns.iter().map(|column| propose_column(column, config)).collect();
    for pair in profile.pairs.iter().filter(|pair| pair.compared >= 20 && pair.broken == 0) {
        let (left, right) = (&profile.columns[pair.smaller].name, &profile.columns[pair.larger].name);
        let key = expectations.comparisons.len().to_string();
        expectations.reasons.insert(key, format!("held in all {} rows that have both", pair.compared));
        let comparison =
            Comparison { left: left.clone(), operator: Operator::AtMost, right: right.clone(), warn: false };
        expectations.comparisons.push(comparison);
    }
    expectations
}

fn propose_column(column: &ColumnProfile, config: &ProposeConfig) -> ColumnExpectations {
    let mut expected = ColumnExpectations::new(&column.name, column.kind);
    because(&mut expected, "type", format!("{} of {} cells present", column.present(), column.count));
    if column.count > 0 {
        // Twice the share seen and a little more; a column without gaps keeps none.
        let share = column.missing_share();
        let most = if column.missing == 0 { 0.0 } else { (share * 2.0 + 0.01).min(1.0) };
        expected.missing_share_max = Some(round_up(most));
        because(&mut expected, "missing_share_max", format!("{} missing, {:.4}", column.missing, share));
    }
    if column.present() == 0 {
        return expected;
    }
    match column.kind {
        ColumnType::Number => propose_numbers(column, &mut expected, config),
        ColumnType::Text | ColumnType::Category => propose_texts(column, &mut expected, config),
        ColumnType::Binary => {}
    }
    let distinct = column.distinct.count();
    let can_be_a_name = column.kind != ColumnType::Number || column.whole == column.present();
    if column.distinct.is_exact() && distinct == column.present() && column.present() >= 20 && can_be_a_name {
        expected.unique = true;
        because(&mut expected, "unique", format!("all {distinct} values differ"));
    }
    expected
}

fn propose_numbers(column: &ColumnProfile, expected: &mut ColumnExpectations, config: &ProposeConfig) {
    let (Some(least), Some(most)) = (column.numbers.smallest(), column.numbers.largest()) else { return };
    let whole = column.whole == column.numbers.count();
    let slack = (most - least) * config.range_slack;
    let (mut min, mut max) = (least - slack, most + slack);
    // What was never negative is likely never negative, and what was a share stays one.
    if least >= 0.0 {
        min = min.max(0.0);
        if !whole && most <= 1.0 {
            max = max.min(1.0);
        }
    }
    if whole {
        (min, max) = (min.floor(), max.ceil());
        expected.whole = true;
        because(expected, "whole", "no number has a fraction".to_owned());
    }
    if min.is_finite() && max.is_finite() {
        expected.min = Some(min);
        expected.max = Some(max);
        because(expected, "min", format!("saw {least} to {most}"));
    }
    if column.numbers.count() < config.cells_min || least == most {
        return;
    }
    let tenths: Vec<f64> = (1..10).map(|tenth| f64::from(tenth) / 10.0).collect();
    let mut edges = column.quantiles.at(&tenths).unwrap_or_default();
    edges.dedup();
    let Some(upto) = column.quantiles.shares_upto(&edges) else { return };
    let mut shares: Vec<f64> =
        upto.iter().scan(0.0, |before, &upto| Some(upto - std::mem::replace(before, upto))).collect();
    shares.push(1.0 - upto.last().copied().unwrap_or(0.0));
    let values = Vec::new();
    expected.distribution =
        Some(Distribution { method: Method::Psi, threshold: config.psi_max, edges, values, shares });
    because(expected, "distribution", "deciles of the numbers".to_owned());
}

fn propose_texts(column: &ColumnProfile, expected: &mut ColumnExpectations, config: &ProposeConfig) {
    if column.is_date() && column.dates.count() == column.present() {
        if let (Some(first), Some(last)) = (column.dates.smallest(), column.dates.largest()) {
            let (first, last) = (dates::show(first as i64), dates::show(last as i64));
            because(expected, "type", format!("dates from {first} to {last}; newest_days_max can ask for fresh ones"));
        }
        expected.pattern = Some(r"\d{4}.*".to_owned());
        because(expected, "pattern", "all are dates that begin with the year".to_owned());
        return;
    }
    if let (Some(least), Some(most)) = (column.lengths.smallest(), column.lengths.largest()) {
        expected.length_min = Some(u64::from(least >= 1.0));
        expected.length_max = Some((most * 2.0).ceil() as u64);
        because(expected, "length_min", format!("saw {least} to {most} characters"));
    }
    let distinct = column.distinct.count();
    let repeated = column.present() >= config.cells_min && column.present() >= distinct * 5;
    let exact = column.frequent.error() == 0 && column.distinct.is_exact();
    if !(repeated && exact && distinct as usize <= config.values_max) {
        return;
    }
    let top = column.frequent.top();
    let mut names: Vec<String> = top.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.sort();
    let total: u64 = top.iter().map(|(_, count)| count).sum();
    let kept: Vec<&(&str, u64)> = top.iter().take(20).collect();
    let mut shares: Vec<f64> = kept.iter().map(|(_, count)| *count as f64 / total as f64).collect();
    shares.push((1.0 - shares.iter().sum::<f64>()).max(0.0));
    let values = kept.iter().map(|(name, _)| (*name).to_owned()).collect();
    expected.values = names;
    because(expected, "values", format!("{distinct} different values in {} cells", column.present()));
    if distinct > 1 {
        expected.distribution =
            Some(Distribution { method: Method::Psi, threshold: config.psi_max, edges: Vec::new(), values, shares });
        because(expected, "distribution", "shares of the most frequent values, and of the rest".to_owned());
    }
}

fn because(expected: &mut ColumnExpectations, key: &str, reason: String) {
    expected.reasons.insert(key.to_owned(), reason);
}

/// Four decimals, upwards.
fn round_up(share: f64) -> f64 {
    ((share * 1e4).ceil() / 1e4).min(1.0)
}
