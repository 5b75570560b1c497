//! Convolutions against plain loops in double precision, their gradients against central differences of those.
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

use every::{all_close, every, numbers, sines, six, some_differences, wide};
use kernels::convolution::{self, Convolution};
use kernels::gemm::{Activation, Compute};
use proptest::prelude::*;

/// The parts of the largest value that an answer may be off by.
fn parts(compute: Compute) -> f64 {
    if compute == Compute::F32 { 2e-6 } else { 2e-2 }
}

/// The convolution as its formula has it, without an activation.
fn reference(shape: &Convolution, x: &[f64], w: &[f64], bias: &[f64]) -> Vec<f64> {
    let ([height, width], [channels_in, channels_out]) = (shape.output(), shape.channels);
    let (in_group, out_group) = (channels_in / shape.groups, channels_out / shape.groups);
    let mut y = Vec::new();
    for n in 0..shape.batch {
        for (p, q) in (0..height).flat_map(|p| (0..width).map(move |q| (p, q))) {
            for o in 0..channels_out {
                let mut sum = bias[o];
                for i in 0..shape.kernel[0] {
                    for j in 0..shape.kernel[1] {
                        let row = (p * shape.stride[0] + i * shape.dilation[0]).wrapping_sub(shape.padding[0]);
                        let column = (q * shape.stride[1] + j * shape.dilation[1]).wrapping_sub(shape.padding[1]);
                        if row >= shape.input[0] || column >= shape.input[1] {
                            continue;
                        }
                        for c in 0..in_group {
                            let channel = o / out_group * in_group + c;
                            let at = ((n * shape.input[0] + row) * shape.input[1] + column) * channels_in + channel;
                            sum += x[at] * w[((o * shape.kernel[0] + i) * shape.kernel[1] + j) * in_group + c];
                        }
                    }
                }
                y.push(sum);
            }
        }
    }
    y
}

/// Everything of one shape: output, rectified output, gradients by input, rectified input, weights and bias.
fn everything(shape: &Convolution, compute: Compute, seed: u64) -> [Vec<f32>; 6] {
    let (x, w, bias, dy) = data(shape, seed);
    let (mut y, mut rectified) = (vec![f32::NAN; dy.len()], vec![f32::NAN; dy.len()]);
    convolution::forward(shape, compute, &mut y, &x, &w, Some(&bias), Activation::None);
    convolution::forward(shape, compute, &mut rectified, &x, &w, None, Activation::Relu);
    let (mut dx, mut dx_rectified) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
    convolution::backward_input(shape, compute, &mut dx, &dy, &w, None);
    convolution::backward_input(shape, compute, &mut dx_rectified, &dy, &w, Some(&x));
    let (mut dw, mut dbias) = (vec![f32::NAN; w.len()], vec![f32::NAN; bias.len()]);
    convolution::backward_weight(shape, compute, &mut dw, &dy, &x);
    convolution::backward_bias(&mut dbias, &dy);
    [y, rectified, dx, dx_rectified, dw, dbias]
}

fn data(shape: &Convolution, seed: u64) -> (Vec<f32>, Vec<f32>, Vec<f32>, Vec<f32>) {
    (
        numbers(shape.input_len(), seed),
        numbers(shape.weight_len(), seed + 1),
        numbers(shape.channels[1], seed + 2),
        numbers(shape.output_len(), seed + 3),
    )
}

/// Gradients that are checked of each tensor.
const SOME: usize = 150;

/// What [`everything`] should be.
fn expected(shape: &Convolution, seed: u64) -> [Vec<f64>; 6] {
    let (x, w, bias, dy) = data(shape, seed);
    let (x, w, bias, dy) = (wide(&x), wide(&w), wide(&bias), wide(&dy));
    let loss = |y: Vec<f64>| y.iter().zip(&dy).map(|(y, dy)| y * dy).sum::<f64>();
    let dx = some_differences(&x, 0.5, SOME, |x| loss(reference(shape, x, &w, &bias)));
    let rectified = reference(shape, &x, &w, &vec![0.0; bias.len()]).iter().map(|y| y.max(0.0)).collect();
    let dx_rectified = dx.iter().zip(&x).map(|(dx, x)| if *x > 0.0 { *dx } else { 0.0 }).collect();
    let dw = some_differences(&w, 0.5, SOME, |w| loss(reference(shape, &x, w, &bias)));
    let dbias = some_differences(&bias, 0.5, SOME, |bias| loss(reference(shape, &x, &w, bias)));
    [reference(shape, &x, &w, &bias), rectified, dx, dx_rectified, dw, dbias]
}

fn check(shape: &Convolution, seed: u64) {
    let expected = expected(shape, seed).concat();
    for compute in [Compute::F32, Compute::Bf16] {
        every(
            || everything(shape, compute, seed).concat(),
            |found| all_close(found, &expected, parts(compute), &format!("{shape:?} {compute:?}")),
        );
    }
}

fn pair(range: std::ops::Range<usize>) -> impl Strategy<Value = [usize; 2]> {
    [range.clone(), range]
}

fn shapes() -> impl Strategy<Value = Convolution> {
    let sizes = (0_usize..4, pair(1..8), pair(1..4), 0_usize..3);
    let places = (pair(1..4), pair(1..4), pair(0..3), pair(1..3));
    (sizes, places)
        .prop_map(|((batch, input, channels, grouped), (kernel, stride, padding, dilation))| {
            let (channels, groups) = match grouped {
                0 => (channels, 1),
                1 => (channels.map(|channels| 2 * channels), 2),
                _ => ([channels[0] + 1; 2], channels[0] + 1),
            };
            Convolution { stride, padding, dilation, groups, ..Convolution::new(batch, input, channels, kernel) }
        })
        .prop_filter("a kernel larger than the image", |shape| {
            (0..2).all(|i| shape.dilation[i] * (shape.kernel[i] - 1) < shape.input[i] + 2 * shape.padding[i])
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_shape_is_its_formula(shape in shapes(), seed in 0_u64..1000) {
        check(&shape, seed);
    }
}

#[test]
fn shapes_of_networks_are_their_formula() {
    let wide = Convolution { padding: [1; 2], ..Convolution::new(2, [6, 5], [17, 33], [3, 3]) };
    let strided = Convolution { stride: [2; 2], padding: [3; 2], ..Convolution::new(1, [9, 8], [3, 20], [7, 7]) };
    let depthwise = Convolution { padding: [1; 2], groups: 35, ..Convolution::new(2, [4, 5], [35, 35], [3, 3]) };
    let multiplied = Convolution { groups: 4, ..Convolution::new(1, [4, 3], [4, 8], [3, 2]) };
    let line = Convolution { stride: [1, 2], padding: [0, 2], ..Convolution::one_dimensional(2, 19, [5, 6], 5) };
    let blocks = Convolution { padding: [0, 1], ..Convolution::new(1, [4, 5], [6, 70], [2, 3]) };
    let narrow = Convolution { padding: [1; 2], ..Convolution::new(1, [3, 27], [70, 5], [3, 3]) };
    let point = Convolution::new(2, [3, 4], [18, 7], [1, 1]);
    for shape in [wide, strided, depthwise, multiplied, line, blocks, narrow, point] {
        check(&shape, 7);
    }
}

/// Large enough for several pieces and several partial weight gradients.
#[test]
fn many_pieces_are_one_convolution() {
    let shape = Convolution::new(4, [28, 28], [8, 4], [3, 3]);
    let (x, w, bias, dy) = data(&shape, 3);
    let y = reference(&shape, &wide(&x), &wide(&w), &wide(&bias));
    // The weight gradient is a convolution too; some of its numbers are enough.
    let [height, width] = shape.output();
    let places: Vec<usize> = (0..shape.weight_len()).step_by(37).collect();
    let dw: Vec<f64> = places
        .iter()
        .map(|place| {
            let (o, i, j, c) = (place / 72, place / 24 % 3, place / 8 % 3, place % 8);
            let pixels = (0..4 * height * width).map(|at| (at / (height * width), at / width % height, at % width));
            let product = |(n, p, q)| {
                let x = x[((n * 28 + p + i) * 28 + q + j) * 8 + c];
                f64::from(x) * f64::from(dy[((n * height + p) * width + q) * 4 + o])
            };
            pixels.map(product).sum()
        })
        .collect();
    for compute in [Compute::F32, Compute::Bf16] {
        every(
            || {
                let mut out = vec![0.0; dy.len()];
                convolution::forward(&shape, compute, &mut out, &x, &w, Some(&bias), Activation::None);
                let mut dw = vec![0.0; w.len()];
                convolution::backward_weight(&shape, compute, &mut dw, &dy, &x);
                out.extend(places.iter().map(|place| dw[*place]));
                out
            },
            |found| {
                all_close(&found[..y.len()], &y, parts(compute), "forward");
                all_close(&found[y.len()..], &dw, parts(compute), "by weight");
            },
        );
    }
}

#[test]
fn layouts_are_transposed_and_come_back() {
    let (outer, channels, pixels) = (3, 19, 35);
    let first = numbers(outer * channels * pixels, 1);
    let (mut last, mut back) = (vec![0.0; first.len()], vec![0.0; first.len()]);
    convolution::to_channels_last(&mut last, &first, channels, pixels);
    convolution::to_channels_first(&mut back, &last, channels, pixels);
    assert_eq!(back, first);
    assert_eq!(last[(2 * pixels + 5) * channels + 7], first[(2 * channels + 7) * pixels + 5]);
}

#[test]
fn what_is_not_a_number_spreads() {
    for groups in [1, 3] {
        let shape = Convolution { padding: [1; 2], groups, ..Convolution::new(1, [4, 4], [3, 3], [3, 3]) };
        for compute in [Compute::F32, Compute::Bf16] {
            let (mut x, w, bias, mut dy) = data(&shape, 5);
            (x[15], dy[15]) = (f32::NAN, f32::NAN);
            every(
                || {
                    let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
                    convolution::forward(&shape, compute, &mut y, &x, &w, Some(&bias), Activation::Relu);
                    convolution::backward_input(&shape, compute, &mut dx, &dy, &w, None);
                    convolution::backward_weight(&shape, compute, &mut dw, &dy, &x);
                    vec![y[15], dx[15], dw[0], dw[9]]
                },
                |found| assert!(found[..3].iter().all(|value| value.is_nan()), "{groups} {compute:?} {found:?}"),
            );
        }
    }
}

#[test]
#[should_panic(expected = "a kernel over 5 of 4 pixels")]
fn a_kernel_larger_than_the_image_is_our_mistake() {
    let _ = Convolution { dilation: [2; 2], ..Convolution::new(1, [4, 4], [1, 1], [3, 3]) }.output();
}

/// PyTorch 2.15.0, `tests/torch_constants.py`.
#[test]
fn pytorch_has_the_same_numbers() {
    const EXPECTED: [f64; 22] = [
        1.77773023,
        1.43984962,
        0.706290364,
        1.9212358,
        1.34781396,
        0.408253133, // y
        0.912222981,
        -0.537782192,
        1.0974623,
        -0.546144724,
        -0.435528845,
        -1.71141303, // dx
        0.0286022983,
        -0.0235877391,
        -0.00970956683,
        0.0384301879,
        -0.0368797258,
        0.107122637, // dw
        -0.0659988821,
        0.198848113,
        0.445932418,
        0.653183043, // dbias
    ];
    let shape = Convolution {
        stride: [2, 1],
        padding: [1, 2],
        dilation: [1, 2],
        ..Convolution::new(2, [5, 6], [3, 4], [3, 2])
    };
    let (x, w) = (sines(shape.input_len(), 0.7), sines(shape.weight_len(), 1.3));
    let (bias, dy) = (sines(4, 2.0), sines(shape.output_len(), 0.3));
    every(
        || {
            let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
            let (mut dw, mut dbias) = (vec![0.0; w.len()], vec![0.0; 4]);
            convolution::forward(&shape, Compute::F32, &mut y, &x, &w, Some(&bias), Activation::None);
            convolution::backward_input(&shape, Compute::F32, &mut dx, &dy, &w, None);
            convolution::backward_weight(&shape, Compute::F32, &mut dw, &dy, &x);
            convolution::backward_bias(&mut dbias, &dy);
            [six(&y), six(&dx), six(&dw), dbias].concat()
        },
        |found| all_close(found, &EXPECTED, 2e-6, "PyTorch"),
    );
}
