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
