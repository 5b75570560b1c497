//! Runs kernels that promise the same bits for any number of threads, and answers within rounding elsewhere.
#![allow(dead_code)]

use std::sync::{Mutex, PoisonError};

use kernels::{isa, parallel};

static FORCED: Mutex<()> = Mutex::new(());

/// Runs `work` on every instruction set with one, two and five threads, holds the results of different numbers of
/// threads to the same bits, and hands `check` one result per instruction set.
pub fn every(work: impl Fn() -> Vec<f32>, check: impl Fn(&[f32])) {
    let _alone = FORCED.lock().unwrap_or_else(PoisonError::into_inner);
    for isa in isa::available() {
        assert!(isa::force(Some(isa)));
        let results = [1, 2, 5].map(|threads| {
            parallel::set_threads(threads);
            work()
        });
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert!(results.iter().all(|result| bits(result) == bits(&results[0])), "threads show on {isa:?}");
        check(&results[0]);
    }
    isa::force(None);
    parallel::set_threads(0);
}

/// Numbers between −1 and 1 from a seed (a linear congruential generator).
pub fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// Central differences of `loss` by about `count` elements of `at`; the others are not a number.
pub fn some_differences(at: &[f64], step: f64, count: usize, loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let (mut at, mut all) = (at.to_vec(), vec![f64::NAN; at.len()]);
    for i in (0..at.len()).step_by(at.len().div_ceil(count).max(1)) {
        let middle = at[i];
        at[i] = middle + step;
        let above = loss(&at);
        at[i] = middle - step;
        let below = loss(&at);
        at[i] = middle;
        all[i] = (above - below) / (2.0 * step);
    }
    all
}

/// Central differences of `loss` by each element of `at`.
pub fn differences(at: &[f64], step: f64, loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    some_differences(at, step, usize::MAX, loss)
}

/// Whether every number is as expected to within `parts` of the largest expected one (or of 1);
/// where nothing is expected, it has to be a number.
#[track_caller]
pub fn all_close(found: &[f32], expected: &[f64], parts: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0_f64, |scale, value| scale.max(value.abs()));
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        let fine = if expected.is_nan() { found.is_finite() } else { error <= parts * scale };
        assert!(fine, "{what}: {found} instead of {expected} at {place} of scale {scale}");
    }
}

/// The numbers of `tests/torch_constants.py`: sines of the places.
pub fn sines(count: usize, scale: f64) -> Vec<f32> {
    (0..count).map(|place| (place as f64 * scale).sin() as f32).collect()
}

/// Six numbers of a tensor, as that script prints them.
pub fn six(values: &[f32]) -> Vec<f32> {
    values.iter().step_by((values.len() / 6).max(1)).take(6).copied().collect()
}
