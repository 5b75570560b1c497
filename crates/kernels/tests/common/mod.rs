//! What the tests of all kernels share.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_range_loop,
    clippy::needless_pass_by_value,
    clippy::zombie_processes,
    reason = "tests"
)]
#![allow(dead_code)]

use std::sync::{Mutex, PoisonError};

use kernels::isa;
use proptest::prelude::*;

static FORCED: Mutex<()> = Mutex::new(());

/// Runs `work` once on every instruction set of this machine, holds all results to the same bits, and
/// gives the first.
pub fn everywhere(work: impl Fn() -> Vec<f32>) -> Vec<f32> {
    let _alone = FORCED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut first: Option<Vec<f32>> = None;
    for isa in isa::available() {
        assert!(isa::force(Some(isa)));
        let result = work();
        match &first {
            Some(first) => assert_eq!(bits(&result), bits(first), "{isa:?}: {result:?} instead of {first:?}"),
            None => first = Some(result),
        }
    }
    isa::force(None);
    #[allow(clippy::unwrap_used, reason = "tests")]
    first.unwrap()
}

/// Runs `work` once on every instruction set of this machine.
pub fn each_isa(work: impl Fn(isa::Isa)) {
    let _alone = FORCED.lock().unwrap_or_else(PoisonError::into_inner);
    for isa in isa::available() {
        assert!(isa::force(Some(isa)));
        work(isa);
    }
    isa::force(None);
}

/// The bits of each value, with one pattern for all that is not a number.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }).collect()
}

/// Numbers of very different sizes, all small enough that a sum of products stays finite.
pub fn number() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => -4.0_f32..4.0,
        1 => Just(0.0_f32),
        1 => Just(-0.0_f32),
        1 => -1e15_f32..1e15,
        1 => -1e-30_f32..1e-30,
        1 => Just(1e-42_f32),
    ]
}

/// A vector of up to `length` such numbers.
pub fn vector(length: usize) -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec(number(), 0..=length)
}

/// Whether `found` is `expected` to within `parts` of `scale`, a bound on the sizes summed up.
#[track_caller]
pub fn close(found: f32, expected: f64, scale: f64, parts: f64) {
    let error = (f64::from(found) - expected).abs();
    assert!(error <= parts * scale + 1e-42, "{found} instead of {expected}: {error} of {scale}");
}

/// Runs `work` once on every instruction set of this machine and hands each result to `check`: for kernels
/// whose rounding differs between them.
pub fn on_each<R>(work: impl Fn() -> R, check: impl Fn(R)) {
    let _alone = FORCED.lock().unwrap_or_else(PoisonError::into_inner);
    for isa in isa::available() {
        assert!(isa::force(Some(isa)));
        check(work());
    }
    isa::force(None);
}

/// Holds the results of `work` with 1, 2 and 5 threads to the same bits.
pub fn for_any_threads(work: impl Fn() -> Vec<f32>) {
    let _alone = FORCED.lock().unwrap_or_else(PoisonError::into_inner);
    let results = [1, 2, 5].map(|threads| {
        kernels::parallel::set_threads(threads);
        bits(&work())
    });
    kernels::parallel::set_threads(0);
    assert!(results[0] == results[1] && results[0] == results[2], "the number of threads shows");
}

/// Numbers between −1 and 1 from a seed.
pub fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// The same numbers in double precision.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// Holds `found` to `expected` within `parts` of the largest size in `expected`.
#[track_caller]
pub fn all_close(found: &[f32], expected: &[f64], parts: f64) {
    all_close_at(found, expected, parts, 1e-3);
}

/// As [`all_close`], where sizes up to `least` cancelled out.
#[track_caller]
pub fn all_close_at(found: &[f32], expected: &[f64], parts: f64, least: f64) {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(least, |scale: f64, value| scale.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(error <= parts * scale, "{index}: {found} instead of {expected}: {error} of {scale}");
    }
}

/// Holds a gradient in double precision to central finite differences of `loss` at `x`.
#[track_caller]
pub fn differences(x: &[f64], gradient: &[f64], loss: impl Fn(&[f64]) -> f64) {
    assert_eq!(x.len(), gradient.len());
    let mut x = x.to_vec();
    for (index, gradient) in gradient.iter().enumerate() {
        let (at, step) = (x[index], 1e-5 * x[index].abs().max(1.0));
        x[index] = at + step;
        let above = loss(&x);
        x[index] = at - step;
        let below = loss(&x);
        x[index] = at;
        let expected = (above - below) / (2.0 * step);
        assert!((gradient - expected).abs() < 1e-6 * expected.abs().max(1.0), "{index}: {gradient}, not {expected}");
    }
}
