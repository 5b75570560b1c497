//! Softmax, norms and activations against their formulas in double precision, on every instruction
//! set.
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

mod common;

use common::{close, everywhere, number, vector};
use proptest::prelude::*;

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Logits: nothing so large that `f32` cannot tell its neighbours apart.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec(prop_oneof![9 => -20.0_f32..20.0, 1 => -1000.0_f32..1000.0], 1..100)
}

proptest! {
    #[test]
    fn softmax_is_a_distribution(x in logits()) {
        let found = everywhere(|| {
            let mut x = x.clone();
            kernels::softmax(&mut x);
            x
        });
        let largest = x.iter().fold(f64::NEG_INFINITY, |largest, x| largest.max((*x).into()));
        let total: f64 = x.iter().map(|x| (f64::from(*x) - largest).exp()).sum();
        for (found, x) in found.iter().zip(&x) {
            let expected = (f64::from(*x) - largest).exp() / total;
            // The exponential of a difference that was rounded.
            let parts = 4e-7 + (f64::from(*x) - largest).abs() * 6e-8;
            close(*found, expected, expected, parts);
        }
    }

    #[test]
    fn log_sum_exp_is_that(x in logits()) {
        let found = everywhere(|| vec![kernels::log_sum_exp(&x) as f32])[0];
        let largest = x.iter().fold(f64::NEG_INFINITY, |largest, x| largest.max((*x).into()));
        let expected = largest + x.iter().map(|x| (f64::from(*x) - largest).exp()).sum::<f64>().ln();
        close(found, expected, expected.abs().max(1.0), 3e-7);
    }

    #[test]
    fn rms_norm_has_a_mean_square_of_one(x in vector(90), epsilon in prop_oneof![Just(1e-5_f32), Just(1e-12)]) {
        let weight: Vec<f32> = (0..x.len()).map(|i| 0.5 + i as f32 / 8.0).collect();
        let found = everywhere(|| {
            let mut y = vec![f32::NAN; x.len()];
            kernels::rms_norm(&mut y, &x, &weight, epsilon);
            y
        });
        let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / x.len().max(1) as f64;
        for ((found, x), weight) in found.iter().zip(&x).zip(&weight) {
            let expected = f64::from(*weight) * f64::from(*x) / (mean + f64::from(epsilon)).sqrt();
            close(*found, expected, expected.abs(), 3e-7);
        }
    }

    #[test]
    fn rotary_turns_pairs(pairs in proptest::collection::vec((number(), number(), -9.0_f64..9.0), 0..40)) {
        let x: Vec<f32> = pairs.iter().map(|pair| pair.0).chain(pairs.iter().map(|pair| pair.1)).collect();
        let cosines: Vec<f32> = pairs.iter().map(|pair| pair.2.cos() as f32).collect();
        let sines: Vec<f32> = pairs.iter().map(|pair| pair.2.sin() as f32).collect();
        let found = everywhere(|| {
            let mut x = x.clone();
            kernels::rotary(&mut x, &cosines, &sines);
            x
        });
        for (i, (a, b, angle)) in pairs.iter().enumerate() {
            let (a, b) = (f64::from(*a), f64::from(*b));
            let scale = a.abs() + b.abs();
            close(found[i], a * angle.cos() - b * angle.sin(), scale, 2e-7);
            close(found[pairs.len() + i], b * angle.cos() + a * angle.sin(), scale, 2e-7);
        }
    }

    #[test]
    fn activations_are_their_formulas(x in vector(90)) {
        let up: Vec<f32> = x.iter().rev().map(|x| x * 0.5).collect();
        let found = everywhere(|| {
            let (mut silu, mut swiglu, mut relu) = (x.clone(), x.clone(), x.clone());
            kernels::silu(&mut silu);
            kernels::swiglu(&mut swiglu, &up);
            kernels::relu(&mut relu);
            let sigmoid = x.iter().map(|x| kernels::sigmoid(*x)).collect();
            [silu, swiglu, relu, sigmoid].concat()
        });
        for (i, (x, up)) in x.iter().zip(&up).enumerate() {
            let (wide, parts) = (f64::from(*x), 4e-7);
            let silu = wide * logistic(wide);
            close(found[i], silu, silu.abs(), parts);
            close(found[x_len(&found) + i], silu * f64::from(*up), (silu * f64::from(*up)).abs(), 2.0 * parts);
            prop_assert_eq!(found[2 * x_len(&found) + i], x.max(0.0));
            close(found[3 * x_len(&found) + i], logistic(wide), logistic(wide), parts);
        }
    }
}

fn x_len(found: &[f32]) -> usize {
    found.len() / 4
}

#[test]
fn the_exponential_is_right_to_two_units() {
    // Every 977th of all numbers whose exponential is neither 0 nor infinite.
    let mut worst = 0.0_f64;
    for sign in [0, 1 << 31] {
        for bits in (0..105.0_f32.to_bits()).step_by(977) {
            let x = f32::from_bits(bits | sign);
            let (found, expected) = (kernels::activation::exp(x), f64::from(x).exp());
            if expected as f32 == f32::INFINITY || expected < 1e-45 {
                assert!(found == f32::INFINITY || found <= 1.5e-45, "{x}: {found}");
                continue;
            }
            let unit = f64::from((expected as f32).next_up()) - f64::from(expected as f32);
            worst = worst.max((f64::from(found) - expected).abs() / unit);
        }
    }
    assert!(worst < 2.0, "{worst} units in the last place");
    for (x, expected) in [(0.0, 1.0), (f32::INFINITY, f32::INFINITY), (f32::NEG_INFINITY, 0.0), (1e9, f32::INFINITY)] {
        assert_eq!(kernels::activation::exp(x), expected);
    }
    assert!(kernels::activation::exp(f32::NAN).is_nan());
}

#[test]
fn by_hand() {
    let mut x = [0.0, 3.0_f32.ln()];
    kernels::softmax(&mut x);
    assert!((x[0] - 0.25).abs() < 1e-7 && (x[1] - 0.75).abs() < 1e-7);
    let mut y = [0.0; 2];
    // The mean square of 3 and 4 is 12.5.
    kernels::rms_norm(&mut y, &[3.0, 4.0], &[1.0, 2.0], 0.0);
    assert!((y[0] - 3.0 / 12.5_f32.sqrt()).abs() < 1e-7 && (y[1] - 8.0 / 12.5_f32.sqrt()).abs() < 1e-6);
    assert_eq!(kernels::log_sum_exp(&[]), f64::NEG_INFINITY);
    assert_eq!(kernels::log_sum_exp(&[f32::NEG_INFINITY; 3]), f64::NEG_INFINITY);
    assert_eq!(kernels::sigmoid(0.0), 0.5);
    let mut empty: [f32; 0] = [];
    kernels::softmax(&mut empty);
}

#[test]
fn huge_values_stay_finite_and_not_a_number_spreads() {
    let found = everywhere(|| {
        let mut x = [3e38, -3e38, f32::NEG_INFINITY, 3e38];
        kernels::softmax(&mut x);
        x.to_vec()
    });
    assert_eq!(found, [0.5, 0.0, 0.0, 0.5]);
    let found = everywhere(|| {
        let mut y = [0.0; 3];
        kernels::rms_norm(&mut y, &[3e38, 0.0, -3e38], &[1.0; 3], 1e-5);
        y.to_vec()
    });
    assert!((found[0] - 1.5_f32.sqrt()).abs() < 1e-6, "{found:?}");
    for length in [1, 16, 17, 40] {
        for place in [0, length / 2, length - 1] {
            let mut x = vec![1.0; length];
            x[place] = f32::NAN;
            let found = everywhere(|| {
                let (mut softmax, mut norm, mut silu, mut relu) = (x.clone(), x.clone(), x.clone(), x.clone());
                kernels::softmax(&mut softmax);
                kernels::rms_norm(&mut norm, &x, &vec![1.0; length], 1e-5);
                kernels::silu(&mut silu);
                kernels::relu(&mut relu);
                vec![softmax[0], norm[0], silu[place], relu[place], kernels::log_sum_exp(&x) as f32]
            });
            assert!(found.iter().all(|value| value.is_nan()), "{found:?}");
        }
    }
}
