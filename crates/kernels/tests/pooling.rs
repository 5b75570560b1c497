//! Pools against plain loops in double precision, their gradients against central differences of those.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_range_loop,
    clippy::needless_pass_by_value,
    reason = "tests"
)]

#[path = "common/every.rs"]
mod every;

use every::{all_close, differences, every, numbers, wide};
use kernels::pooling::{self, Pooling};
use proptest::prelude::*;

/// Calls `visit` with each window's place in the output, and the values and pixels in it.
fn windows(shape: &Pooling, x: &[f64], mut visit: impl FnMut(Vec<f64>)) {
    let [height, width] = shape.output();
    for n in 0..shape.batch {
        for (p, q) in (0..height).flat_map(|p| (0..width).map(move |q| (p, q))) {
            for c in 0..shape.channels {
                let mut window = Vec::new();
                for i in 0..shape.kernel[0] {
                    for j in 0..shape.kernel[1] {
                        let row = (p * shape.stride[0] + i).wrapping_sub(shape.padding[0]);
                        let column = (q * shape.stride[1] + j).wrapping_sub(shape.padding[1]);
                        if row < shape.input[0] && column < shape.input[1] {
                            window.push(x[((n * shape.input[0] + row) * shape.input[1] + column) * shape.channels + c]);
                        }
                    }
                }
                visit(window);
            }
        }
    }
}

fn largest(shape: &Pooling, x: &[f64]) -> Vec<f64> {
    let mut y = Vec::new();
    windows(shape, x, |window| y.push(window.into_iter().fold(f64::NEG_INFINITY, f64::max)));
    y
}

fn average(shape: &Pooling, count_padding: bool, x: &[f64]) -> Vec<f64> {
    let (whole, mut y) = (shape.kernel[0] * shape.kernel[1], Vec::new());
    windows(shape, x, |window| {
        let size = if count_padding { whole } else { window.len() };
        y.push(window.iter().sum::<f64>() / size as f64);
    });
    y
}

/// Numbers that are all different, by more than a step of the central differences.
fn distinct(count: usize, seed: u64) -> Vec<f32> {
    let mut order: Vec<(u32, usize)> = numbers(count, seed).iter().map(|x| x.to_bits()).zip(0..).collect();
    order.sort_unstable();
    let mut x = vec![0.0; count];
    for (rank, (_, place)) in order.into_iter().enumerate() {
        x[place] = (rank as f32 - count as f32 / 2.0 + 0.25) / 64.0;
    }
    x
}

fn everything(shape: &Pooling, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let (mut y, mut places) = (vec![f32::NAN; dy.len()], vec![0; dy.len()]);
    let mut dx = vec![f32::NAN; x.len()];
    pooling::max_forward(shape, &mut y, &mut places, x);
    pooling::max_backward(shape, &mut dx, dy, &places, None);
    let mut all = [y.clone(), dx.clone()].concat();
    pooling::max_backward(shape, &mut dx, dy, &places, Some(&y));
    all.extend(&dx);
    for count_padding in [true, false] {
        pooling::average_forward(shape, count_padding, &mut y, x);
        pooling::average_backward(shape, count_padding, &mut dx, dy);
        all.extend(y.iter().chain(&dx));
    }
    all
}

fn check(shape: &Pooling, seed: u64) {
    let (x, dy) = (distinct(shape.input_len(), seed), numbers(shape.output_len(), seed + 1));
    let (x_wide, dy_wide) = (wide(&x), wide(&dy));
    let loss = |y: Vec<f64>| y.iter().zip(&dy_wide).map(|(y, dy)| y * dy).sum::<f64>();
    let step = 1.0 / 1024.0;
    let y = largest(shape, &x_wide);
    let rectified = |x: &[f64]| loss(largest(shape, x).iter().map(|y| y.max(0.0)).collect());
    let mut expected =
        [y, differences(&x_wide, step, |x| loss(largest(shape, x))), differences(&x_wide, step, rectified)].concat();
    for count_padding in [true, false] {
        expected.extend(average(shape, count_padding, &x_wide));
        expected.extend(differences(&x_wide, 0.5, |x| loss(average(shape, count_padding, x))));
    }
    every(|| everything(shape, &x, &dy), |found| all_close(found, &expected, 1e-6, &format!("{shape:?}")));
}

fn pair(range: std::ops::Range<usize>) -> impl Strategy<Value = [usize; 2]> {
    [range.clone(), range]
}

fn shapes() -> impl Strategy<Value = Pooling> {
    (0_usize..3, pair(1..7), 1_usize..4, pair(1..4), pair(1..4), pair(0..2))
        .prop_map(|(batch, input, channels, kernel, stride, padding)| Pooling {
            stride,
            padding: [0, 1].map(|i: usize| padding[i].min(kernel[i] / 2)),
            ..Pooling::new(batch, input, channels, kernel)
        })
        .prop_filter("a window larger than the image", |shape| {
            (0..2).all(|i| shape.kernel[i] <= shape.input[i] + 2 * shape.padding[i])
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_shape_is_its_formula(shape in shapes(), seed in 0_u64..1000) {
        check(&shape, seed);
    }

    #[test]
    fn the_global_average_is_the_mean(batch in 0_usize..4, channels in 1_usize..40, pixels in 1_usize..150) {
        let (x, dy) = (numbers(batch * pixels * channels, 1), numbers(batch * channels, 2));
        let mean = |n: usize, c: usize| (0..pixels).map(|p| f64::from(x[(n * pixels + p) * channels + c])).sum::<f64>();
        let mut expected: Vec<f64> =
            (0..batch * channels).map(|at| mean(at / channels, at % channels) / pixels as f64).collect();
        let spread = |at: usize| f64::from(dy[at / (pixels * channels) * channels + at % channels]) / pixels as f64;
        expected.extend((0..x.len()).map(spread));
        every(
            || {
                let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]);
                pooling::global_average_forward(&mut y, &x, channels, pixels);
                pooling::global_average_backward(&mut dx, &dy, channels, pixels);
                [y, dx].concat()
            },
            |found| all_close(found, &expected, 1e-6, "global average"),
        );
    }
}

#[test]
fn shapes_of_networks_are_their_formula() {
    check(&Pooling::new(2, [6, 5], 35, [2, 2]), 1);
    check(&Pooling { stride: [2; 2], padding: [1; 2], ..Pooling::new(1, [7, 7], 18, [3, 3]) }, 2);
    check(&Pooling::one_dimensional(2, 11, 16, 3), 3);
}

#[test]
fn of_equals_the_first_and_not_a_number_above_all() {
    let shape = Pooling::new(1, [2, 2], 2, [2, 2]);
    // Channel 0: all equal; channel 1: not a number at place 1.
    let x = [1.0, 5.0, 1.0, f32::NAN, 1.0, 9.0, 1.0, f32::NAN];
    every(
        || {
            let (mut y, mut places, mut dx) = (vec![0.0; 2], vec![9; 2], vec![0.0; 8]);
            pooling::max_forward(&shape, &mut y, &mut places, &x);
            pooling::max_backward(&shape, &mut dx, &[1.0, 2.0], &places, None);
            assert_eq!(places, [0, 1]);
            assert_eq!(dx, [1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
            let mut mean = vec![0.0; 2];
            pooling::average_forward(&shape, true, &mut mean, &x);
            [y, mean].concat()
        },
        |found| assert!(found[0] == 1.0 && found[1].is_nan() && found[2] == 1.0 && found[3].is_nan(), "{found:?}"),
    );
}

#[test]
#[should_panic(expected = "padding: [2, 2]")]
fn padding_beyond_half_a_window_is_our_mistake() {
    let _ = Pooling { padding: [2; 2], ..Pooling::new(1, [4, 4], 1, [3, 3]) }.output();
}
