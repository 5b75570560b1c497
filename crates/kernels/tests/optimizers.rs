//! Optimisers against plain references in double precision, and against numbers computed by hand.
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

use common::{everywhere, for_any_threads, numbers};
use kernels::optimizer::{Adam, Lion, Penalty, RmsProp, Sgd, adam, adamw, lion, rmsprop, sgd};
use kernels::step::{Rule, Slot, clip_factor, move_average, norm_of_all, step_all};
use proptest::prelude::*;

const LENGTH: usize = 37;

fn parameters(seed: u32) -> Vec<f32> {
    (0..LENGTH).map(|i| ((i as u32 * 7 + seed % 1000) as f32).sin() * 2.0).collect()
}

fn gradients(seed: u32, step: u64) -> Vec<f32> {
    (0..LENGTH).map(|i| ((i as u64 * 13 + u64::from(seed % 1000) + 5 * step) as f32).cos()).collect()
}

/// A parameter with its state, in double precision.
#[derive(Clone, Copy, Default)]
struct Reference {
    p: f64,
    first: f64,
    second: f64,
}

fn penalised(g: f32, p: f64, penalty: Penalty) -> f64 {
    let sign = if p == 0.0 { 0.0 } else { p.signum() };
    f64::from(g) * f64::from(penalty.scale) + f64::from(penalty.l1) * sign + f64::from(penalty.l2) * p
}

/// Runs ten steps of both and compares the parameters.
fn compare(
    seed: u32,
    step: impl Fn(&mut [f32], &[f32], &mut [f32], &mut [f32], u64),
    reference: impl Fn(&mut Reference, f32, u64),
) {
    let found = everywhere(|| {
        let (mut p, mut first, mut second) = (parameters(seed), vec![0.0; LENGTH], vec![0.0; LENGTH]);
        for number in 1..=10 {
            step(&mut p, &gradients(seed, number), &mut first, &mut second, number);
        }
        p
    });
    for (i, (found, start)) in found.iter().zip(parameters(seed)).enumerate() {
        let mut state = Reference { p: f64::from(start), ..Reference::default() };
        for number in 1..=10 {
            reference(&mut state, gradients(seed, number)[i], number);
        }
        assert!((f64::from(*found) - state.p).abs() < 2e-5, "{i}: {found} instead of {}", state.p);
    }
}

fn penalty() -> impl Strategy<Value = Penalty> {
    // L1 is left to a test of its own: at 0 its sign jumps, and rounding decides on which side.
    (0.1_f32..1.0, 0.0_f32..0.1).prop_map(|(scale, l2)| Penalty { scale, l1: 0.0, l2 })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sgd_is_its_formula(seed in any::<u32>(), momentum in 0.0_f32..0.99, penalty in penalty()) {
        let hyper = Sgd { learning_rate: 0.05, momentum, penalty };
        compare(seed, |p, g, velocity, _, _| sgd(p, g, velocity, &hyper), |state, g, _| {
            state.first = f64::from(momentum) * state.first + penalised(g, state.p, penalty);
            state.p -= f64::from(hyper.learning_rate) * state.first;
        });
    }

    #[test]
    fn adam_and_adamw_are_their_formulas(seed in any::<u32>(), decay in 0.0_f32..0.5, penalty in penalty()) {
        for decoupled in [false, true] {
            let hyper = |step| Adam {
                learning_rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: decay, step, penalty,
            };
            let step = |p: &mut [f32], g: &[f32], first: &mut [f32], second: &mut [f32], number| {
                if decoupled { adamw(p, g, first, second, &hyper(number)) } else { adam(p, g, first, second, &hyper(number)) }
            };
            compare(seed, step, |state, g, number| {
                let (beta1, beta2, rate) = (f64::from(0.9_f32), f64::from(0.999_f32), f64::from(0.01_f32));
                let g = penalised(g, state.p, penalty);
                if decoupled {
                    state.p *= 1.0 - rate * f64::from(decay);
                }
                state.first = beta1 * state.first + (1.0 - beta1) * g;
                state.second = beta2 * state.second + (1.0 - beta2) * g * g;
                let first = state.first / (1.0 - beta1.powf(number as f64));
                let second = state.second / (1.0 - beta2.powf(number as f64));
                state.p -= rate * first / (second.sqrt() + f64::from(1e-8_f32));
            });
        }
    }

    #[test]
    fn rmsprop_is_its_formula(seed in any::<u32>(), momentum in 0.0_f32..0.9, penalty in penalty()) {
        let hyper = RmsProp { learning_rate: 1e-3, alpha: 0.99, epsilon: 1e-8, momentum, penalty };
        compare(seed, |p, g, square, velocity, _| rmsprop(p, g, square, velocity, &hyper), |state, g, _| {
            let alpha = f64::from(0.99_f32);
            let g = penalised(g, state.p, penalty);
            state.first = alpha * state.first + (1.0 - alpha) * g * g;
            state.second = f64::from(momentum) * state.second + g / (state.first.sqrt() + f64::from(1e-8_f32));
            state.p -= f64::from(hyper.learning_rate) * state.second;
        });
    }
}

/// Every rule, with settings of its own.
fn rules() -> [Rule; 5] {
    let penalty = Penalty { scale: 0.5, l1: 0.0, l2: 0.01 };
    let (learning_rate, beta1, beta2, epsilon, weight_decay) = (0.01, 0.9, 0.99, 1e-8, 0.1);
    let adam = Adam { learning_rate, beta1, beta2, epsilon, weight_decay, step: 2, penalty };
    [
        Rule::Sgd(Sgd { learning_rate, momentum: 0.9, penalty }),
        Rule::Adam(adam),
        Rule::AdamW(adam),
        Rule::RmsProp(RmsProp { learning_rate, alpha: 0.99, epsilon, momentum: 0.9, penalty }),
        Rule::Lion(Lion { learning_rate, beta1, beta2, weight_decay, penalty }),
    ]
}

#[test]
fn a_step_of_all_is_a_step_of_each() {
    const SIZES: [usize; 5] = [70_001, 0, 1, 32_768, 17];
    let make = |seed: u64| SIZES.map(|size| numbers(size, seed).iter().map(|x| x.abs()).collect::<Vec<f32>>());
    let gradients = SIZES.map(|size| numbers(size, 9));
    let bulk = || {
        let (mut p, mut first, mut second, mut average) = (make(1), make(2), make(3), make(4));
        let tensors =
            p.iter_mut().zip(&mut first).zip(second.iter_mut().zip(&mut average)).zip(&gradients).zip(rules());
        let mut slots: Vec<Slot<'_>> = tensors
            .map(|((((parameters, first), (second, average)), gradients), rule)| Slot {
                parameters,
                gradients,
                first,
                second: if rule.states() == 2 { second } else { &mut [] },
                average: Some((average, 0.9)),
                rule,
            })
            .collect();
        step_all(&mut slots);
        [p.concat(), first.concat(), second.concat(), average.concat()].concat()
    };
    let (mut p, mut first, mut second, mut average) = (make(1), make(2), make(3), make(4));
    for (index, rule) in rules().iter().enumerate() {
        let (p, g, first, second) = (&mut p[index], &gradients[index], &mut first[index], &mut second[index]);
        match rule {
            Rule::Sgd(hyper) => sgd(p, g, first, hyper),
            Rule::Adam(hyper) => adam(p, g, first, second, hyper),
            Rule::AdamW(hyper) => adamw(p, g, first, second, hyper),
            Rule::RmsProp(hyper) => rmsprop(p, g, first, second, hyper),
            Rule::Lion(hyper) => lion(p, g, first, hyper),
        }
        move_average(&mut average[index], p, 0.9);
    }
    assert!(bulk() == [p.concat(), first.concat(), second.concat(), average.concat()].concat());
    for_any_threads(bulk);
    for_any_threads(|| vec![norm_of_all(&make(1).each_ref().map(|slice| &slice[..])) as f32]);
}

#[test]
fn clipping_by_hand() {
    let norm = norm_of_all(&[&[3.0], &[], &[0.0, -4.0]]);
    assert_eq!((norm, clip_factor(norm, 2.5), clip_factor(norm, 5.0)), (5.0, 0.5, 1.0));
    assert!(clip_factor(norm_of_all(&[&[f32::NAN]]), 1.0).is_nan());
    assert_eq!(norm_of_all(&[]), 0.0);
    assert_eq!(clip_factor(0.0, 1.0), 1.0);
}

#[test]
fn lion_by_hand() {
    let hyper = Lion { learning_rate: 0.1, beta1: 0.5, beta2: 0.75, weight_decay: 0.5, penalty: Penalty::default() };
    let (mut p, mut m) = ([1.0, 1.0, 1.0, 1.0], [0.0, 4.0, 0.0, f32::NAN]);
    // Signs of 1, 2 − 0.5 and 0; the parameters keep 1 − 0.05.
    lion(&mut p, &[2.0, -1.0, 0.0, 1.0], &mut m, &hyper);
    near(p[0], 0.85);
    near(p[1], 0.85);
    near(p[2], 0.95);
    assert_eq!(m[..3], [0.5, 2.75, 0.0]);
    assert!(p[3].is_nan() && m[3].is_nan());
}

fn near(found: f32, expected: f32) {
    assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{found} instead of {expected}");
}

#[test]
fn sgd_by_hand() {
    let hyper = Sgd { learning_rate: 0.1, momentum: 0.5, penalty: Penalty::default() };
    let (mut p, mut v) = ([1.0], [0.0]);
    // v = 2, p = 1 - 0.2; then v = 0.5·2 + 1 = 2, p = 0.8 - 0.2.
    sgd(&mut p, &[2.0], &mut v, &hyper);
    near(p[0], 0.8);
    sgd(&mut p, &[1.0], &mut v, &hyper);
    near(p[0], 0.6);
}

#[test]
fn penalties_by_hand() {
    let penalty = Penalty { scale: 0.5, l1: 0.25, l2: 0.5 };
    let hyper = Sgd { learning_rate: 1.0, momentum: 0.0, penalty };
    let (mut p, mut v) = ([2.0, -2.0, 0.0], [0.0; 3]);
    // g = 1·0.5 ± 0.25 ± 0.5·2, and at 0 only 0.5.
    sgd(&mut p, &[1.0; 3], &mut v, &hyper);
    assert_eq!(p, [2.0 - 1.75, -2.0 + 0.75, -0.5]);
}

#[test]
fn adams_first_step_has_the_size_of_the_learning_rate() {
    let hyper = Adam {
        learning_rate: 0.1,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.5,
        step: 1,
        penalty: Penalty::default(),
    };
    let (mut p, mut m, mut v) = ([1.0, 1.0], [0.0; 2], [0.0; 2]);
    // m̂ = g and √v̂ = |g|.
    adam(&mut p, &[3.0, -0.001], &mut m, &mut v, &hyper);
    near(p[0], 0.9);
    near(p[1], 1.1);
    near(m[0], 0.3);
    near(v[0], 0.009);
    // Decoupled decay takes 0.1·0.5 of the parameter first.
    let (mut p, mut m, mut v) = ([1.0], [0.0], [0.0]);
    adamw(&mut p, &[3.0], &mut m, &mut v, &hyper);
    near(p[0], 0.85);
    // g = 1 after g = 3: m = 0.37, v = 0.009991; m̂ = 0.37/0.19, v̂ = 0.009991/0.001999.
    let second = Adam { step: 2, ..hyper };
    adamw(&mut p, &[1.0], &mut m, &mut v, &second);
    near(p[0], 0.85 * 0.95 - 0.1 * (0.37 / 0.19) / (0.009_991_f32 / 0.001_999).sqrt());
}

#[test]
fn rmsprop_by_hand() {
    let hyper = RmsProp { learning_rate: 0.1, alpha: 0.75, epsilon: 0.5, momentum: 0.5, penalty: Penalty::default() };
    let (mut p, mut s, mut v) = ([1.0], [0.0], [0.0]);
    // s = 0.25·16 = 4, v = 4/(2 + 0.5) = 1.6; then s = 3, v = 0.8 + 0.
    rmsprop(&mut p, &[4.0], &mut s, &mut v, &hyper);
    near(p[0], 0.84);
    rmsprop(&mut p, &[0.0], &mut s, &mut v, &hyper);
    near(s[0], 3.0);
    near(p[0], 0.84 - 0.08);
}

#[test]
fn pieces_step_like_the_whole() {
    let hyper = Adam {
        learning_rate: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.1,
        step: 3,
        penalty: Penalty::default(),
    };
    let run = |cut: usize| {
        let (mut p, mut m, mut v) = (parameters(1), gradients(2, 1), vec![0.5; LENGTH]);
        let g = gradients(3, 1);
        adamw(&mut p[..cut], &g[..cut], &mut m[..cut], &mut v[..cut], &hyper);
        adamw(&mut p[cut..], &g[cut..], &mut m[cut..], &mut v[cut..], &hyper);
        p
    };
    assert!((0..LENGTH).all(|cut| run(cut) == run(0)));
}

#[test]
fn not_a_number_is_not_hidden() {
    let hyper = Sgd { learning_rate: 0.1, momentum: 0.9, penalty: Penalty::default() };
    let (mut p, mut v) = ([1.0, 1.0], [0.0; 2]);
    sgd(&mut p, &[f32::NAN, 1.0], &mut v, &hyper);
    assert!(p[0].is_nan() && p[1] == 0.9);
}
