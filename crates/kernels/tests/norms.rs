//! Norms of rows against their formulas in double precision, and gradients against differences.
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

use common::{all_close, all_close_at, differences, everywhere, for_any_threads, numbers, wide};
use kernels::norm::{Gradients, Input, Kind, Moments, Norm};
use proptest::prelude::*;

/// Rows, weight and bias.
struct Numbers {
    x: Vec<f32>,
    dy: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Numbers {
    fn new(count: usize, width: usize, seed: u64, size: f32) -> Self {
        let x = numbers(count * width, seed).iter().map(|x| size * (x + 0.3)).collect();
        let weight = numbers(width, seed ^ 2).iter().map(|x| x + 0.5).collect();
        Self { x, dy: numbers(count * width, seed ^ 1), weight, bias: numbers(width, seed ^ 3) }
    }

    fn norm(&self, kind: Kind, biased: bool) -> Norm<'_> {
        Norm { kind, weight_w: &self.weight, bias_w: biased.then_some(&self.bias[..]), epsilon: 1e-5 }
    }

    /// Output, gradient of the rows, of the weights and of the bias.
    fn run(&self, kind: Kind, biased: bool) -> [Vec<f32>; 4] {
        let (norm, width) = (self.norm(kind, biased), self.weight.len());
        let mut y = vec![f32::NAN; self.x.len()];
        let mut moments = vec![Moments::default(); self.x.len().checked_div(width).unwrap_or(0)];
        norm.forward(&mut y, &mut moments, Input::Rows(&self.x));
        let (mut dx, mut d_weight, mut d_bias) = (vec![f32::NAN; self.x.len()], vec![0.0; width], vec![0.0; width]);
        let d_bias_w = biased.then_some(&mut d_bias[..]);
        let to = Gradients { dx_nw: &mut dx, accumulate: false, d_weight_w: &mut d_weight, d_bias_w };
        norm.backward(to, &self.dy, &self.x, &moments);
        [y, dx, d_weight, d_bias]
    }
}

/// The same by the definition: a direct derivative, not the formula of the kernel.
fn reference(kind: Kind, x: &[f64], dy: &[f64], weight: &[f64], bias: Option<&[f64]>) -> [Vec<f64>; 4] {
    let width = weight.len();
    let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    let (mut d_weight, mut d_bias) = (vec![0.0; width], vec![0.0; width]);
    for row in 0..x.len() / width.max(1) {
        let all = row * width..(row + 1) * width;
        let (x, dy) = (&x[all.clone()], &dy[all.clone()]);
        let mean = if kind == Kind::Layer { x.iter().sum::<f64>() / width as f64 } else { 0.0 };
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64 + f64::from(1e-5_f32);
        for i in 0..width {
            let normal = (x[i] - mean) / variance.sqrt();
            y[row * width + i] = weight[i] * normal + bias.map_or(0.0, |bias| bias[i]);
            d_weight[i] += dy[i] * normal;
            d_bias[i] += if bias.is_some() { dy[i] } else { 0.0 };
            for j in 0..width {
                // ∂x̂[j]/∂x[i]
                let same = if i == j { 1.0 } else { 0.0 };
                let of_mean = if kind == Kind::Layer { 1.0 / width as f64 } else { 0.0 };
                let along = (x[i] - mean) * (x[j] - mean) / (width as f64 * variance);
                dx[row * width + i] += dy[j] * weight[j] * (same - of_mean - along) / variance.sqrt();
            }
        }
    }
    [y, dx, d_weight, d_bias]
}

fn compare(numbers: &Numbers, kind: Kind, biased: bool) {
    let found = everywhere(|| numbers.run(kind, biased).concat());
    let [x, dy, weight, bias] = [&numbers.x, &numbers.dy, &numbers.weight, &numbers.bias].map(|values| wide(values));
    let expected = reference(kind, &x, &dy, &weight, biased.then_some(&bias[..]));
    // What cancels out in the gradient of a row is as large as its scale.
    let width = weight.len();
    let scale = |x: &[f64]| {
        let mean = if kind == Kind::Layer { x.iter().sum::<f64>() / width as f64 } else { 0.0 };
        (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64 + 1e-5).sqrt().recip()
    };
    let least = x.chunks_exact(width).map(scale).fold(1e-3, f64::max);
    let mut rest = &found[..];
    for expected in expected {
        let (found, after) = rest.split_at(expected.len());
        all_close_at(found, &expected, 1e-5, least);
        rest = after;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn norms_and_gradients_are_their_formulas(
        count in 0_usize..20, width in 1_usize..70, seed in any::<u64>(), biased in any::<bool>(),
        size in prop_oneof![3 => Just(1.0_f32), 1 => Just(100.0), 1 => Just(0.01)],
    ) {
        let numbers = Numbers::new(count, width, seed, size);
        compare(&numbers, Kind::Layer, biased);
        compare(&numbers, Kind::RootMeanSquare, biased);
    }
}

#[test]
fn many_rows_are_cut_into_tasks() {
    for kind in [Kind::Layer, Kind::RootMeanSquare] {
        let numbers = Numbers::new(9000, 9, 5, 1.0);
        compare(&numbers, kind, true);
        for_any_threads(|| numbers.run(kind, true).concat());
    }
}

#[test]
fn the_references_gradient_is_that_of_the_reference() {
    for kind in [Kind::Layer, Kind::RootMeanSquare] {
        let numbers = Numbers::new(3, 5, 2, 1.0);
        let [x, dy, weight, bias] =
            [&numbers.x, &numbers.dy, &numbers.weight, &numbers.bias].map(|values| wide(values));
        let [_, dx, d_weight, d_bias] = reference(kind, &x, &dy, &weight, Some(&bias));
        let loss = |x: &[f64], weight: &[f64], bias: &[f64]| {
            let [y, ..] = reference(kind, x, &dy, weight, Some(bias));
            y.iter().zip(&dy).map(|(y, dy)| y * dy).sum()
        };
        differences(&x, &dx, |x| loss(x, &weight, &bias));
        differences(&weight, &d_weight, |weight| loss(&x, weight, &bias));
        differences(&bias, &d_bias, |bias| loss(&x, &weight, bias));
    }
}

#[test]
fn the_residual_is_added_first_and_gradients_accumulate() {
    let numbers = Numbers::new(7, 33, 1, 1.0);
    let update = common::numbers(7 * 33, 9);
    let summed: Vec<f32> = numbers.x.iter().zip(&update).map(|(x, update)| x + update).collect();
    for kind in [Kind::Layer, Kind::RootMeanSquare] {
        let norm = numbers.norm(kind, true);
        let (mut stream, mut y, mut moments) = (numbers.x.clone(), vec![0.0; 231], [Moments::default(); 7]);
        norm.forward(&mut y, &mut moments, Input::Residual { stream_nw: &mut stream, update_nw: &update });
        let (mut plain, mut plain_moments) = (vec![0.0; 231], [Moments::default(); 7]);
        norm.forward(&mut plain, &mut plain_moments, Input::Rows(&summed));
        assert_eq!((&stream, &y, moments), (&summed, &plain, plain_moments));
        let run = |accumulate| {
            let (mut dx, mut d_weight, mut d_bias) = (numbers.dy.clone(), vec![2.0; 33], vec![3.0; 33]);
            let d_bias_w = Some(&mut d_bias[..]);
            let to = Gradients { dx_nw: &mut dx, accumulate, d_weight_w: &mut d_weight, d_bias_w };
            norm.backward(to, &numbers.dy, &summed, &moments);
            (dx, d_weight, d_bias)
        };
        let ((added, weight, bias), (alone, ..)) = (run(true), run(false));
        for ((added, alone), dy) in added.iter().zip(&alone).zip(&numbers.dy) {
            assert!((added - alone - dy).abs() < 1e-5);
        }
        let column: f32 = numbers.dy.chunks_exact(33).map(|row| row[0]).sum();
        assert!((bias[0] - 3.0 - column).abs() < 1e-5 && weight[0] != 2.0);
    }
}

#[test]
fn huge_rows_stay_finite_and_not_a_number_stays_in_its_row() {
    let mut numbers = Numbers::new(4, 20, 3, 1.0);
    numbers.x[20..40].iter_mut().for_each(|x| *x *= 1e38);
    numbers.x[40..60].fill(7.0);
    numbers.x[65] = f32::NAN;
    for kind in [Kind::Layer, Kind::RootMeanSquare] {
        let found = everywhere(|| numbers.run(kind, true).concat());
        assert!(found[..60].iter().chain(&found[80..140]).all(|value| value.is_finite()));
        assert!(found[60..80].iter().chain(&found[140..160]).all(|value| value.is_nan()));
        // The row's gradient reaches the weights, and the bias does not see the row.
        assert!(found[160..180].iter().all(|value| value.is_nan()));
        assert!(found[180..].iter().all(|value| value.is_finite()));
    }
}

#[test]
fn bias_gradients_are_sums_of_columns() {
    let x = numbers(5000 * 7, 4);
    let run = || {
        let mut sums = vec![1.0; 7];
        kernels::rows::add_columns(&mut sums, &x);
        sums
    };
    let expected: Vec<f64> =
        (0..7).map(|i| 1.0 + x.chunks_exact(7).map(|row| f64::from(row[i])).sum::<f64>()).collect();
    all_close(&everywhere(run), &expected, 1e-5);
    for_any_threads(run);
    kernels::rows::add_columns::<f32>(&mut [], &[]);
}
