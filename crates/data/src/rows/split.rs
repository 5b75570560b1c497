//! Dividing rows among training, validation and test, the same way every time.
//!
//! Rows are put in an order (a hash of seed, contents and position; or time), and the first share goes
//! to the test, the next to validation. Stratified, that happens within each class, and every class
//! keeps at least one training row.

use std::collections::BTreeMap;

use base::Digest;
use base::Value;
use base::project::{SplitConfig, SplitMethod};
use dataset::Split;

use super::clean::key;
use crate::error::DataError;

/// What a row is split by.
pub(crate) struct Candidate<'a> {
    pub(crate) id: u64,
    pub(crate) contents: &'a [Value],
    pub(crate) by: &'a Value,
}

/// The split of each candidate. With `test` false, only validation rows are taken.
pub(crate) fn divide(
    candidates: &[Candidate<'_>],
    config: &SplitConfig,
    seed: u64,
    test: bool,
) -> Result<Vec<Split>, DataError> {
    let shares = (if test { config.test } else { 0.0 }, config.valid);
    let mut splits = vec![Split::Train; candidates.len()];
    match config.method {
        SplitMethod::Time => {
            let mut order = (0..candidates.len())
                .map(|index| Ok((moment(candidates[index].by)?, candidates[index].id, index)))
                .collect::<Result<Vec<_>, DataError>>()?;
            order.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
            let order: Vec<usize> = order.into_iter().map(|(_, _, index)| index).collect();
            assign(&order, shares, &mut splits);
        }
        SplitMethod::Stratified => {
            let mut classes: BTreeMap<[u8; 16], Vec<usize>> = BTreeMap::new();
            for index in shuffled(candidates, seed) {
                classes.entry(key(std::slice::from_ref(candidates[index].by))).or_default().push(index);
            }
            for order in classes.values() {
                assign(order, shares, &mut splits);
            }
        }
        SplitMethod::Auto | SplitMethod::Random => assign(&shuffled(candidates, seed), shares, &mut splits),
    }
    Ok(splits)
}

/// The first share of an order to the test, the next to validation; one row at least stays.
fn assign(order: &[usize], (test, valid): (f64, f64), splits: &mut [Split]) {
    let count = order.len() as f64;
    let test = ((count * test).round() as usize).min(order.len().saturating_sub(1));
    let valid = ((count * valid).round() as usize).min(order.len().saturating_sub(1 + test));
    for index in &order[..test] {
        splits[*index] = Split::Test;
    }
    for index in &order[test..test + valid] {
        splits[*index] = Split::Valid;
    }
}

/// All candidates in the order of a hash of seed, contents and position.
fn shuffled(candidates: &[Candidate<'_>], seed: u64) -> Vec<usize> {
    let mut order: Vec<([u8; 32], usize)> = candidates
        .iter()
        .enumerate()
        .map(|(index, candidate)| {
            let mut bytes = seed.to_le_bytes().to_vec();
            bytes.extend(key(candidate.contents));
            bytes.extend(candidate.id.to_le_bytes());
            (*Digest::of(&bytes).bytes(), index)
        })
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, index)| index).collect()
}

/// A moment as a number: a number itself, or an ISO 8601 date with or without a time of day.
pub(crate) fn moment(value: &Value) -> Result<f64, DataError> {
    let unreadable = |text: &str| {
        DataError::rows(
            format!("{text:?} is no time to split by"),
            "Times are numbers, or dates such as 2026-11-24 or 2026-11-24T18:46:00.",
        )
    };
    match value {
        Value::Number(number) => Ok(*number),
        Value::Text(text) => {
            let text = text.trim();
            text.parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
                .or_else(|| date(text))
                .ok_or_else(|| unreadable(text))
        }
        Value::Missing => Err(unreadable("nothing")),
        Value::Binary(_) => Err(unreadable("a truth value")),
    }
}

/// Seconds since 1970 of `YYYY-MM-DD`, with `T` or a blank and `HH:MM[:SS[.F]]` after it. Days from a
/// civil date after Howard Hinnant's `days_from_civil`. A zone other than `Z` is refused.
pub(crate) fn date(text: &str) -> Option<f64> {
    let (day, time) = text.split_once(['T', ' ']).unwrap_or((text, ""));
    let parts: Vec<i64> = day.split(['-', '/']).map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [year, month, day] = parts[..] else { return None };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(-9999..=9999).contains(&year) {
        return None;
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    let mut seconds = days as f64 * 86_400.0;
    for (part, unit) in time.trim_end_matches('Z').split(':').filter(|part| !part.is_empty()).zip([3600.0, 60.0, 1.0]) {
        seconds += part.parse::<f64>().ok().filter(|value| (0.0..61.0).contains(value))? * unit;
    }
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize) -> Vec<Value> {
        (0..count).map(|index| Value::Text(format!("class {}", index % 4))).collect()
    }

    fn divide_by(values: &[Value], config: &SplitConfig, seed: u64) -> Vec<Split> {
        let candidates: Vec<Candidate<'_>> = values
            .iter()
            .enumerate()
            .map(|(id, by)| Candidate { id: id as u64, contents: std::slice::from_ref(by), by })
            .collect();
        divide(&candidates, config, seed, true).unwrap()
    }

    fn config(method: SplitMethod) -> SplitConfig {
        SplitConfig { method, by: None, valid: 0.1, test: 0.2 }
    }

    #[test]
    fn the_same_seed_divides_the_same_way() {
        let values = values(400);
        let random = config(SplitMethod::Random);
        let first = divide_by(&values, &random, 1);
        assert_eq!(first, divide_by(&values, &random, 1));
        assert_ne!(first, divide_by(&values, &random, 2));
        assert_eq!(first.iter().filter(|split| **split == Split::Test).count(), 80);
        assert_eq!(first.iter().filter(|split| **split == Split::Valid).count(), 40);
    }

    #[test]
    fn stratified_splits_have_the_same_share_of_each_class() {
        let mut values = values(400);
        values.push(Value::Text("alone".to_owned()));
        let splits = divide_by(&values, &config(SplitMethod::Stratified), 1);
        for class in 0..4 {
            let of_class = (0..400).filter(|index| index % 4 == class);
            assert_eq!(of_class.filter(|index| splits[*index] == Split::Test).count(), 20);
        }
        assert_eq!(splits[400], Split::Train);
    }

    #[test]
    fn the_newest_rows_test() {
        let days = ["2026-01-03", "2025-12-31", "2026-01-01T10:00", "2026-01-01 09:59:59", "2024-02-29"];
        let values: Vec<Value> = days.iter().map(|day| Value::Text((*day).to_owned())).collect();
        let splits = divide_by(&values, &SplitConfig { valid: 0.2, ..config(SplitMethod::Time) }, 1);
        assert_eq!(splits, [Split::Test, Split::Train, Split::Valid, Split::Train, Split::Train]);
        assert!(moment(&Value::Text("yesterday".to_owned())).is_err());
        assert_eq!(moment(&Value::Text("1970-01-02T00:00:01Z".to_owned())).unwrap(), 86_401.0);
    }
}
