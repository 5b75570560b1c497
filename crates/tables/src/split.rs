//! Rows that stand on both sides of a split: equal inputs, and inputs whose numbers nearly agree.

use std::collections::HashMap;

use base::Value;

use crate::hashing::{hash_value, mix};
use crate::moments::Moments;

/// The most rows one row is compared with; beyond, ties of the projection are many and equality has
/// been looked for already.
const COMPARED_MAX: usize = 256;

/// Test rows that stand in the training part.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Test rows with equal inputs, ascending.
    pub equal: Vec<usize>,
    /// Test rows with nearly equal inputs, ascending.
    pub near: Vec<usize>,
    /// Test rows and one training row each.
    pub twins: Vec<(usize, usize)>,
}

/// Looks for test rows in the training part; `columns` are the inputs.
pub(crate) fn across_the_split(columns: &[&Vec<Value>], in_test: &[bool], near_deviations: f64) -> Shared {
    let mut shared = Shared::default();
    if columns.is_empty() {
        return shared;
    }
    let key = |row: usize| columns.iter().fold(1, |key, column| mix(key ^ hash_value(&column[row])));
    let mut train: HashMap<u64, usize> = HashMap::new();
    for row in (0..in_test.len()).filter(|&row| !in_test[row]) {
        train.entry(key(row)).or_insert(row);
    }
    let mut open = Vec::new();
    for row in (0..in_test.len()).filter(|&row| in_test[row]) {
        if let Some(&twin) = train.get(&key(row)) {
            shared.equal.push(row);
            shared.twins.push((row, twin));
        } else {
            open.push(row);
        }
    }
    near(columns, in_test, &open, near_deviations, &mut shared);
    shared
}

/// Rows whose names agree and whose numbers differ by at most the limit each: sorted by the sum of
/// their scaled numbers, they lie within a window.
fn near(columns: &[&Vec<Value>], in_test: &[bool], open: &[usize], limit: f64, shared: &mut Shared) {
    let (mut numbers, mut names) = (Vec::new(), Vec::new());
    for column in columns {
        let mut moments = Moments::default();
        column.iter().filter_map(Value::as_number).for_each(|number| moments.push(number));
        match moments.deviation().filter(|deviation| *deviation > 0.0 && deviation.is_finite()) {
            Some(deviation) => numbers.push((*column, deviation, moments.mean().unwrap_or(0.0))),
            None => names.push(*column),
        }
    }
    if numbers.is_empty() {
        return;
    }
    let group = |row: usize| {
        let key = names.iter().fold(1, |key, column| mix(key ^ hash_value(&column[row])));
        // Where a number is missing, the other must be missing too.
        numbers.iter().fold(key, |key, (column, ..)| mix(key ^ u64::from(column[row].as_number().is_some())))
    };
    let scaled = |row: usize| {
        numbers.iter().filter_map(|(column, deviation, mean)| Some((column[row].as_number()? - mean) / deviation)).sum()
    };
    let mut train: HashMap<u64, Vec<(f64, usize)>> = HashMap::new();
    for row in (0..in_test.len()).filter(|&row| !in_test[row]) {
        train.entry(group(row)).or_default().push((scaled(row), row));
    }
    train.values_mut().for_each(|rows| rows.sort_by(|a, b| a.0.total_cmp(&b.0)));
    let close = |a: usize, b: usize| {
        numbers.iter().all(|(column, deviation, _)| match (column[a].as_number(), column[b].as_number()) {
            (Some(a), Some(b)) => (a - b).abs() <= limit * deviation,
            (None, None) => true,
            _ => false,
        })
    };
    let width = limit * numbers.len() as f64 * 1.000_001;
    for &row in open {
        let Some(rows) = train.get(&group(row)) else { continue };
        let sum: f64 = scaled(row);
        let start = rows.partition_point(|entry| entry.0 < sum - width);
        let window = rows[start..].iter().take_while(|entry| entry.0 <= sum + width).take(COMPARED_MAX);
        if let Some((_, twin)) = window.into_iter().find(|(_, other)| close(row, *other)) {
            shared.near.push(row);
            shared.twins.push((row, *twin));
        }
    }
}
