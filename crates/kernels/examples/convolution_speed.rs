//! The time of the convolutions, pools and recurrent layers of a training step: `cargo run --release --example
//! convolution_speed [threads [word]]`; a line is measured if it contains the word. Each line is the least time of many runs.
//!
//! The network is 28×28×1 → 3×3×32 → ReLU → 3×3×64 → ReLU → 2×2 max pool → 128 → ReLU → 10 at a batch of 128;
//! the recurrent layers have a batch of 64, 100 steps, 64 features and 256 units.
#![allow(clippy::print_stdout, reason = "a benchmark")]

use std::time::{Duration, Instant};

use kernels::convolution::{self, Convolution};
use kernels::gemm::{Activation, Compute, Epilogue, Matrix, MatrixMut, gemm};
use kernels::parallel;
use kernels::pooling::{self, Pooling};
use kernels::recurrent::{Gradients, Inputs, Recurrent, Weights, WeightsMut, gru, lstm};

const BATCH: usize = 128;

fn main() {
    if let Some(threads) = std::env::args().nth(1).and_then(|threads| threads.parse().ok()) {
        parallel::set_threads(threads);
    }
    println!("{:?}, {} threads", kernels::isa::current(), parallel::threads());
    for compute in [Compute::F32, Compute::Bf16] {
        println!("{compute:?}");
        let first = Convolution::new(BATCH, [28, 28], [1, 32], [3, 3]);
        let second = Convolution::new(BATCH, [26, 26], [32, 64], [3, 3]);
        layer("3×3×32", &first, compute);
        layer("3×3×64", &second, compute);
        network(&first, &second, compute);
        recurrent(compute);
    }
    pools();
    let shape = Convolution { padding: [1; 2], groups: 64, ..Convolution::new(BATCH, [24, 24], [64, 64], [3, 3]) };
    layer("depthwise 3×3×64", &shape, Compute::F32);
}

/// The least time of a second of runs.
fn best(mut work: impl FnMut()) -> f64 {
    let (begin, mut least) = (Instant::now(), f64::INFINITY);
    while begin.elapsed() < Duration::from_millis(800) {
        let now = Instant::now();
        work();
        least = least.min(now.elapsed().as_secs_f64());
    }
    least
}

/// Measures `work` and prints its line.
fn report(name: &str, operations: usize, work: impl FnMut()) {
    if std::env::args().nth(2).is_some_and(|word| !name.contains(&word)) {
        return;
    }
    let seconds = best(work);
    let rate = operations as f64 / seconds / 1e9;
    println!("  {name:40} {:8.3} ms {rate:7.0} GFLOP/s", seconds * 1e3);
}

fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1_u32;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn layer(name: &str, shape: &Convolution, compute: Compute) {
    let (x, w, dy) = (numbers(shape.input_len()), numbers(shape.weight_len()), numbers(shape.output_len()));
    let bias = numbers(shape.channels[1]);
    let (mut y, mut dx, mut dw, mut db) = (dy.clone(), x.clone(), w.clone(), bias.clone());
    let operations = 2 * shape.output_len() / shape.channels[1] * shape.weight_len();
    report(&format!("{name} forward"), operations, || {
        convolution::forward(shape, compute, &mut y, &x, &w, Some(&bias), Activation::Relu);
    });
    report(&format!("{name} by input"), operations, || {
        convolution::backward_input(shape, compute, &mut dx, &dy, &w, None);
    });
    report(&format!("{name} by weight"), operations, || convolution::backward_weight(shape, compute, &mut dw, &dy, &x));
    report(&format!("{name} by bias"), dy.len(), || convolution::backward_bias(&mut db, &dy));
}

fn pools() {
    println!("pools");
    let shape = Pooling::new(BATCH, [24, 24], 64, [2, 2]);
    let (x, dy) = (numbers(shape.input_len()), numbers(shape.output_len()));
    let (mut y, mut places, mut dx) = (dy.clone(), vec![0; dy.len()], x.clone());
    report("max forward", x.len(), || pooling::max_forward(&shape, &mut y, &mut places, &x));
    report("max backward, rectified", x.len(), || pooling::max_backward(&shape, &mut dx, &dy, &places, Some(&y)));
    report("average forward", x.len(), || pooling::average_forward(&shape, true, &mut y, &x));
    report("average backward", x.len(), || pooling::average_backward(&shape, true, &mut dx, &dy));
}

/// A training step of the whole network, without the loss itself: its gradient is given.
fn network(first: &Convolution, second: &Convolution, compute: Compute) {
    let pool = Pooling::new(BATCH, [24, 24], 64, [2, 2]);
    let [wide, dense, classes] = [pool.output_len() / BATCH, 128, 10];
    let x = numbers(first.input_len());
    let mut weights = [first.weight_len(), second.weight_len(), wide * dense, dense * classes].map(numbers);
    let mut biases = [32, 64, dense, classes].map(numbers);
    let (mut dweights, mut dbiases) = (weights.clone(), biases.clone());
    let [mut y1, mut y2, mut y3] = [first.output_len(), second.output_len(), pool.output_len()].map(numbers);
    let [mut y4, mut y5] = [BATCH * dense, BATCH * classes].map(numbers);
    let ([mut d1, mut d2, mut d3], mut d4) = ([y1.clone(), y2.clone(), y3.clone()], y4.clone());
    let (mut places, d5) = (vec![0; y3.len()], numbers(BATCH * classes));
    let linear = |y: &mut [f32], x: &[f32], w: &[f32], b: &[f32], activation| {
        let (from, to) = (x.len() / BATCH, y.len() / BATCH);
        let (x, w) = (Matrix::new(x, BATCH, from), Matrix::new(w, to, from).transposed());
        gemm(
            compute,
            MatrixMut::new(y, BATCH, to),
            x,
            w,
            Epilogue { bias: Some(b), activation, ..Epilogue::default() },
        );
    };
    let back = |dx: &mut [f32], dw: &mut [f32], db: &mut [f32], dy: &[f32], x: &[f32], w: &[f32], relu: bool| {
        let (from, to) = (x.len() / BATCH, dy.len() / BATCH);
        let (dy_bo, x_bi) = (Matrix::new(dy, BATCH, to), Matrix::new(x, BATCH, from));
        gemm(compute, MatrixMut::new(dw, to, from), dy_bo.transposed(), x_bi, Epilogue::default());
        convolution::backward_bias(db, dy);
        let derivative = relu.then_some((Activation::Relu, x.into()));
        let epilogue = Epilogue { derivative, ..Epilogue::default() };
        gemm(compute, MatrixMut::new(dx, BATCH, from), dy_bo, Matrix::new(w, to, from), epilogue);
    };
    let convolutions = 2 * first.output_len() * 9 + 3 * second.output_len() * 9 * 32;
    let operations = 2 * (convolutions + 3 * BATCH * wide * dense);
    report("the network's training step", operations, || {
        convolution::forward(first, compute, &mut y1, &x, &weights[0], Some(&biases[0]), Activation::Relu);
        convolution::forward(second, compute, &mut y2, &y1, &weights[1], Some(&biases[1]), Activation::Relu);
        pooling::max_forward(&pool, &mut y3, &mut places, &y2);
        linear(&mut y4, &y3, &weights[2], &biases[2], Activation::Relu);
        linear(&mut y5, &y4, &weights[3], &biases[3], Activation::None);
        back(&mut d4, &mut dweights[3], &mut dbiases[3], &d5, &y4, &weights[3], true);
        back(&mut d3, &mut dweights[2], &mut dbiases[2], &d4, &y3, &weights[2], false);
        pooling::max_backward(&pool, &mut d2, &d3, &places, Some(&y3));
        convolution::backward_weight(second, compute, &mut dweights[1], &d2, &y1);
        convolution::backward_bias(&mut dbiases[1], &d2);
        convolution::backward_input(second, compute, &mut d1, &d2, &weights[1], Some(&y1));
        convolution::backward_weight(first, compute, &mut dweights[0], &d1, &x);
        convolution::backward_bias(&mut dbiases[0], &d1);
        for (w, dw) in weights.iter_mut().zip(&dweights).chain(biases.iter_mut().zip(&dbiases)) {
            parallel::chunks(w, 1 << 16, |piece, w| kernels::axpy(w, -1e-6, &dw[piece << 16..][..w.len()]));
        }
    });
}

fn recurrent(compute: Compute) {
    let [time, batch, input, hidden] = [100, 64, 64, 256];
    let layer = Recurrent { compute, time, batch, input, hidden, reverse: false, lengths: None };
    let x = numbers(time * batch * input);
    let dy = numbers(time * batch * hidden);
    let (mut y, mut dx, [mut h, mut c]) = (dy.clone(), x.clone(), [batch * hidden; 2].map(numbers));
    for (name, gates) in [("LSTM", 4 * hidden), ("GRU", 3 * hidden)] {
        let w: Vec<Vec<f32>> = [gates * input, gates * hidden, gates, gates]
            .map(|count| numbers(count).iter().map(|x| x / 16.0).collect())
            .into();
        let weights = Weights { input_gi: &w[0], hidden_gh: &w[1], input_bias_g: &w[2], hidden_bias_g: &w[3] };
        let mut dw = w.clone();
        let operations = 2 * time * batch * gates * (input + hidden);
        let (mut lstm_tape, mut gru_tape) = (lstm::Tape::default(), gru::Tape::default());
        let mut run = |backward: bool| {
            let [a, b, d, e] = &mut dw[..] else { return };
            let into = WeightsMut { input_gi: a, hidden_gh: b, input_bias_g: d, hidden_bias_g: e };
            if name == "LSTM" {
                let inputs = Inputs { x_tbi: &x, weights, first: None };
                lstm::forward(&layer, &mut y, (&mut h, &mut c), backward.then_some(&mut lstm_tape), &inputs);
                let into = Gradients { x_tbi: Some(&mut dx), weights: into, first: None };
                if backward {
                    lstm::backward(&layer, into, &mut lstm_tape, &inputs, &dy, None);
                }
            } else {
                let inputs = Inputs { x_tbi: &x, weights, first: None };
                gru::forward(&layer, &mut y, &mut h, &mut gru_tape, &inputs);
                let into = Gradients { x_tbi: Some(&mut dx), weights: into, first: None };
                if backward {
                    gru::backward(&layer, into, &mut gru_tape, &inputs, &y, &dy, None);
                }
            }
        };
        report(&format!("{name} forward"), operations, || run(false));
        report(&format!("{name} forward and backward"), 3 * operations, || run(true));
    }
}
