//! Losses and their gradients against the definitions in double precision.
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

use common::{all_close, close, differences, everywhere, for_any_threads, numbers, on_each, wide};
use kernels::bf16::{Bf16, narrow};
use kernels::cross_entropy::{Head, HeadGradients, IGNORE, Loss, binary_cross_entropy, cross_entropy, squared_error};
use kernels::gemm::{Compute, Matrix};
use proptest::prelude::*;

/// Loss and gradient of the logits, per row summed.
fn reference(logits: &[f64], targets: &[u32], classes: usize, smoothing: f64) -> (f64, Vec<f64>) {
    let (mut sum, mut gradient) = (0.0, vec![0.0; logits.len()]);
    for (row, target) in targets.iter().enumerate().filter(|(_, target)| **target != IGNORE) {
        let z = &logits[row * classes..(row + 1) * classes];
        let largest = z.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
        let all: f64 = z.iter().map(|z| (z - largest).exp()).sum();
        for (class, z) in z.iter().enumerate() {
            let chosen = if class == *target as usize { 1.0 - smoothing } else { 0.0 };
            let wanted = chosen + smoothing / classes as f64;
            let log = z - largest - all.ln();
            sum -= wanted * log;
            gradient[row * classes + class] = log.exp() - wanted;
        }
    }
    (sum, gradient)
}

fn targets(count: usize, classes: usize, seed: u64) -> Vec<u32> {
    let pick = |row| (seed % 1000 + row * 7919) as u32;
    (0..count as u64).map(|row| if pick(row).is_multiple_of(5) { IGNORE } else { pick(row) % classes as u32 }).collect()
}

struct Problem {
    hidden: Vec<f32>,
    table: Vec<f32>,
    targets: Vec<u32>,
    width: usize,
    classes: usize,
    compute: Compute,
}

impl Problem {
    fn new(count: usize, width: usize, classes: usize, seed: u64, compute: Compute) -> Self {
        let hidden = numbers(count * width, seed).iter().map(|x| 2.0 * x).collect();
        Self {
            hidden,
            table: numbers(classes * width, seed ^ 1),
            targets: targets(count, classes, seed),
            width,
            classes,
            compute,
        }
    }

    fn head(&self) -> Head<'_> {
        Head {
            hidden: Matrix::new(&self.hidden[..], self.targets.len(), self.width),
            table: Matrix::new(&self.table[..], self.classes, self.width),
            targets_n: &self.targets,
            compute: self.compute,
        }
    }

    fn run(&self, scale: f32) -> (Loss, Vec<f32>, Vec<f32>) {
        let (mut d_hidden, mut d_table) = (vec![f32::NAN; self.hidden.len()], vec![0.0; self.table.len()]);
        let to = HeadGradients { d_hidden_nw: &mut d_hidden, d_table_vw: &mut d_table, scale };
        let loss = self.head().loss_and_gradients(to);
        (loss, d_hidden, d_table)
    }

    fn check(&self, scale: f32) {
        let (hidden, table) = (wide(&self.hidden), wide(&self.table));
        let (count, width, classes) = (self.targets.len(), self.width, self.classes);
        let mut logits = vec![0.0; count * classes];
        for (at, logit) in logits.iter_mut().enumerate() {
            let (row, class) = (at / classes * width, at % classes * width);
            *logit = (0..width).map(|i| hidden[row + i] * table[class + i]).sum();
        }
        let (sum, gradient) = reference(&logits, &self.targets, classes, 0.0);
        let (mut d_hidden, mut d_table) = (vec![0.0; hidden.len()], vec![0.0; table.len()]);
        for (at, gradient) in gradient.iter().enumerate() {
            for i in 0..width {
                let (row, class) = (at / classes * width + i, at % classes * width + i);
                d_hidden[row] += gradient * f64::from(scale) * table[class];
                d_table[class] += gradient * f64::from(scale) * hidden[row];
            }
        }
        let parts = if self.compute == Compute::F32 { 1e-5 } else { 2e-2 };
        on_each(
            || (self.run(scale), self.head().loss()),
            |((loss, found_hidden, found_table), alone)| {
                assert_eq!(
                    (loss, loss.count),
                    (alone, self.targets.iter().filter(|target| **target != IGNORE).count())
                );
                close(loss.sum as f32, sum, sum.abs().max(1.0), parts);
                all_close(&found_hidden, &d_hidden, parts);
                all_close(&found_table, &d_table, parts);
            },
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn heads_are_their_formula(
        count in 0_usize..40, width in 1_usize..40, classes in 1_usize..90, seed in any::<u64>(), bf16 in any::<bool>(),
    ) {
        Problem::new(count, width, classes, seed, if bf16 { Compute::Bf16 } else { Compute::F32 }).check(0.5);
    }

    #[test]
    fn cross_entropy_of_logits_is_its_formula(
        count in 0_usize..20, classes in 1_usize..90, seed in any::<u64>(),
        smoothing in prop_oneof![Just(0.0_f32), 0.0_f32..0.5], size in prop_oneof![Just(5.0_f32), Just(0.1)],
    ) {
        let logits: Vec<f32> = numbers(count * classes, seed).iter().map(|x| size * x).collect();
        let targets = targets(count, classes, seed);
        let (sum, gradient) = reference(&wide(&logits), &targets, classes, f64::from(smoothing));
        let found = everywhere(|| {
            let mut d_logits = logits.clone();
            let loss = cross_entropy(&mut d_logits, &targets, classes, smoothing, Some(1.0));
            let alone = cross_entropy(&mut logits.clone(), &targets, classes, smoothing, None);
            assert_eq!(loss, alone);
            d_logits.push(loss.sum as f32);
            d_logits
        });
        close(found[gradient.len()], sum, sum.abs().max(1.0), 1e-6);
        all_close(&found[..gradient.len()], &gradient, 1e-6);
    }

    #[test]
    fn losses_of_numbers_are_their_formulas(count in 0_usize..70, seed in any::<u64>()) {
        let z: Vec<f32> = numbers(count, seed).iter().map(|x| 8.0 * x).collect();
        let y: Vec<f32> = numbers(count, seed ^ 1).iter().map(|x| x.abs()).collect();
        let found = everywhere(|| {
            let (mut squared, mut binary) = (vec![f32::NAN; count], vec![f32::NAN; count]);
            let sums = [squared_error(&z, &y, Some((&mut squared, 0.5))), binary_cross_entropy(&z, &y, Some((&mut binary, 0.5)))];
            assert_eq!(sums, [squared_error(&z, &y, None), binary_cross_entropy(&z, &y, None)]);
            [squared, binary, sums.map(|sum| sum as f32).to_vec()].concat()
        });
        let pairs: Vec<(f64, f64)> = wide(&z).into_iter().zip(wide(&y)).collect();
        let logistic = |z: f64| 1.0 / (1.0 + (-z).exp());
        let squared: f64 = pairs.iter().map(|(z, y)| (z - y).powi(2)).sum();
        let binary: f64 = pairs.iter().map(|(z, y)| -y * logistic(*z).ln() - (1.0 - y) * logistic(-z).ln()).sum();
        close(found[2 * count], squared, squared, 1e-6);
        close(found[2 * count + 1], binary, binary, 1e-6);
        for (at, (z, y)) in pairs.iter().enumerate() {
            close(found[at], z - y, 8.0, 1e-6);
            close(found[count + at], 0.5 * (logistic(*z) - y), 1.0, 1e-6);
        }
    }
}

#[test]
fn a_head_is_cut_into_chunks_and_threads_do_not_show() {
    for compute in [Compute::F32, Compute::Bf16] {
        // More rows than a chunk of 128: 2²¹ logits are 105 rows of 20 000 classes.
        let problem = Problem::new(150, 3, 20_000, 11, compute);
        let (hidden, table) = (wide(&problem.hidden), wide(&problem.table));
        let logits: Vec<f64> = (0..150 * 20_000)
            .map(|at| (0..3).map(|i| hidden[at / 20_000 * 3 + i] * table[at % 20_000 * 3 + i]).sum())
            .collect();
        let (sum, _) = reference(&logits, &problem.targets, 20_000, 0.0);
        let (loss, ..) = problem.run(1.0);
        close(loss.sum as f32, sum, sum, if compute == Compute::F32 { 1e-6 } else { 1e-3 });
        for_any_threads(|| {
            let (loss, d_hidden, d_table) = problem.run(1.0);
            [d_hidden, d_table, vec![loss.sum as f32]].concat()
        });
    }
}

#[test]
fn bf16_tensors_are_like_rounded_ones() {
    let mut problem = Problem::new(9, 12, 30, 3, Compute::Bf16);
    let round = |values: &mut Vec<f32>| {
        let mut to = vec![Bf16::default(); values.len()];
        narrow(&mut to, values);
        values.iter_mut().zip(&to).for_each(|(value, to)| *value = to.to_f32());
        to
    };
    let (hidden, table) = (round(&mut problem.hidden), round(&mut problem.table));
    let run = || {
        let (mut d_hidden, mut d_table) = (vec![f32::NAN; 9 * 12], vec![0.0; 30 * 12]);
        let head =
            Head { hidden: Matrix::new(&hidden[..], 9, 12), table: Matrix::new(&table[..], 30, 12), ..problem.head() };
        let to = HeadGradients { d_hidden_nw: &mut d_hidden, d_table_vw: &mut d_table, scale: 1.0 };
        (head.loss_and_gradients(to), d_hidden, d_table)
    };
    on_each(|| (run(), problem.run(1.0)), |(found, expected)| assert_eq!(found, expected));
}

#[test]
fn the_references_gradient_is_that_of_the_reference() {
    let (logits, targets) = (wide(&numbers(15, 3)), [4, IGNORE, 0]);
    for smoothing in [0.0, 0.2] {
        let (_, gradient) = reference(&logits, &targets, 5, smoothing);
        differences(&logits, &gradient, |logits| reference(logits, &targets, 5, smoothing).0);
    }
}

#[test]
fn by_hand_and_at_the_edges() {
    // Two equal logits: ln 2 each, gradients of a half; and one that is certain.
    let mut logits = [1.0, 1.0, 5.0, 5.0, 1000.0, -1000.0];
    let loss = cross_entropy(&mut logits, &[0, IGNORE, 0], 2, 0.0, Some(2.0));
    assert!((loss.sum - 2.0_f64.ln()).abs() < 1e-7 && loss.count == 2);
    assert_eq!(logits, [-1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    for place in [0, 1] {
        let mut logits = [0.0; 2];
        logits[place] = f32::NAN;
        let loss = cross_entropy(&mut logits, &[0], 2, 0.0, Some(1.0));
        assert!(loss.sum.is_nan() && logits.iter().all(|x| x.is_nan()));
    }
    assert!(binary_cross_entropy(&[f32::NAN], &[1.0], None).is_nan());
    assert!(squared_error(&[f32::NAN], &[1.0], None).is_nan());
    assert!((binary_cross_entropy(&[3e38, -3e38], &[1.0, 0.0], None)).abs() < 1e-12);
    let mut problem = Problem::new(6, 4, 7, 1, Compute::Bf16);
    problem.targets = vec![IGNORE, 1, 2, IGNORE, 3, 4];
    problem.hidden[2 * 4] = f32::NAN;
    let (loss, d_hidden, d_table) = problem.run(1.0);
    assert!(loss.sum.is_nan() && d_hidden[8..12].iter().chain(&d_table).any(|x| x.is_nan()));
    assert!(d_hidden[..8].iter().chain(&d_hidden[12..]).all(|x| x.is_finite()));
    assert!(d_hidden[..4].iter().all(|x| *x == 0.0));
}

#[test]
#[should_panic(expected = "of 7 classes")]
fn a_target_without_a_class_is_refused() {
    let mut problem = Problem::new(1, 4, 7, 1, Compute::F32);
    problem.targets = vec![7];
    let _ = problem.head().loss();
}
