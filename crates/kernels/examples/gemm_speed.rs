//! Measures products on training shapes: `cargo run --release -p modelyard-kernels --example gemm_speed`.
//! Arguments are words that the printed shape must contain.
#![allow(clippy::print_stdout, reason = "a program that prints a table")]

use std::time::{Duration, Instant};

use kernels::gemm::{Compute, Epilogue, Matrix, MatrixMut, gemm};
use kernels::parallel;

/// How long each figure is looked for; the best run counts.
const TIME: Duration = Duration::from_millis(600);

#[derive(Clone, Copy)]
enum Form {
    /// `x · Wᵀ`
    Forward,
    /// `dy · W`
    Backward,
    /// `xᵀ · dy`
    Weights,
}

const SHAPES: &[(Form, usize, usize, usize)] = &[
    (Form::Backward, 2048, 2048, 2048),
    (Form::Forward, 2048, 384, 1536),
    (Form::Forward, 2048, 1536, 384),
    (Form::Forward, 2048, 384, 1152),
    (Form::Forward, 2048, 384, 8192),
    (Form::Backward, 2048, 1536, 384),
    (Form::Backward, 2048, 8192, 384),
    (Form::Weights, 384, 2048, 1536),
    (Form::Weights, 8192, 2048, 384),
    (Form::Weights, 2048, 576, 1536),
    (Form::Weights, 576, 2048, 49152),
    (Form::Backward, 128, 64, 128),
];

fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// The least seconds that `work` takes.
fn best(mut work: impl FnMut()) -> f64 {
    let (since, mut best) = (Instant::now(), f64::INFINITY);
    while since.elapsed() < TIME || best == f64::INFINITY {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    println!("{:>32} {:>5} {:>10} {:>10} {:>8}", "m × k × n", "", "1 thread", "2 threads", "of peak");
    for compute in [Compute::Bf16, Compute::F32] {
        for (form, m, k, n) in SHAPES.iter().copied() {
            let form_name = match form {
                Form::Forward => "x·Wᵀ",
                Form::Backward => "dy·W",
                Form::Weights => "xᵀ·dy",
            };
            let name = format!("{form_name} {m} × {k} × {n} {compute:?}");
            if !wanted.iter().all(|word| name.contains(word)) {
                continue;
            }
            let (a, b, mut c) = (numbers(m * k), numbers(k * n), vec![0.0_f32; m * n]);
            let mut rates = [0.0; 2];
            for (threads, rate) in (1..).zip(&mut rates) {
                parallel::set_threads(threads);
                let seconds = best(|| {
                    let (a, b) = match form {
                        Form::Forward => (Matrix::new(&*a, m, k), Matrix::new(&*b, n, k).transposed()),
                        Form::Backward => (Matrix::new(&*a, m, k), Matrix::new(&*b, k, n)),
                        Form::Weights => (Matrix::new(&*a, k, m).transposed(), Matrix::new(&*b, k, n)),
                    };
                    gemm(compute, MatrixMut::new(&mut *c, m, n), a, b, Epilogue::default());
                });
                *rate = 2.0 * m as f64 * k as f64 * n as f64 / seconds / 1e9;
            }
            println!("{name:>38} {:>10.1} {:>10.1}", rates[0], rates[1]);
        }
    }
}
