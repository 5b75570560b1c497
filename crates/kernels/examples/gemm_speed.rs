//! Measures products on training shapes: `cargo run --release -p modelyard-kernels --example gemm_speed`.
//! Arguments: the milliseconds that each figure is looked for (or not), and words that a line must contain.
#![allow(clippy::print_stdout, reason = "a program that prints a table")]

use std::time::{Duration, Instant};

use kernels::bf16::Bf16;
use kernels::gemm::{Activation, Compute, Epilogue, Matrix, MatrixMut, gemm, int8};
use kernels::isa::{self, Isa};
use kernels::parallel;

/// How long each figure is looked for; the best run counts. The first argument may be other milliseconds.
const TIME: u64 = 500;

#[derive(Clone, Copy)]
enum Form {
    /// `x · Wᵀ`
    Forward,
    /// `x · Wᵀ` with a bias, GELU and the values before it kept in bf16
    Gelu,
    /// `dy · W`
    Backward,
    /// `xᵀ · dy`
    Weights,
}

const SHAPES: &[(Form, usize, usize, usize)] = &[
    (Form::Backward, 2048, 2048, 2048),
    (Form::Forward, 2048, 384, 1536),
    (Form::Gelu, 2048, 384, 1536),
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
fn best(time: Duration, mut work: impl FnMut()) -> f64 {
    let (since, mut best) = (Instant::now(), f64::INFINITY);
    while since.elapsed() < time || best == f64::INFINITY {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

/// The GFLOP/s of one thread whose operands all lie in registers; 0 where that is not measured.
fn peak(time: Duration, compute: Compute) -> f64 {
    const STEPS: usize = 100_000;
    const SUMS: usize = 16;
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::*;
        #[target_feature(enable = "avx512f,avx512bf16")]
        fn pairs() -> f32 {
            let one = std::hint::black_box(_mm512_cvtne2ps_pbh(_mm512_set1_ps(1.0), _mm512_set1_ps(1.0)));
            // Sums that the compiler cannot know to be the same.
            let mut sums = std::hint::black_box([_mm512_setzero_ps(); SUMS]);
            for _ in 0..STEPS {
                sums.iter_mut().for_each(|sum| *sum = _mm512_dpbf16_ps(*sum, one, one));
            }
            sums.iter().map(|sum| _mm512_reduce_add_ps(*sum)).sum()
        }
        #[target_feature(enable = "avx512f")]
        fn single() -> f32 {
            let factor = std::hint::black_box(_mm512_set1_ps(0.5));
            let mut sums = std::hint::black_box([_mm512_setzero_ps(); SUMS]);
            for _ in 0..STEPS {
                sums.iter_mut().for_each(|sum| *sum = _mm512_fmadd_ps(*sum, factor, factor));
            }
            sums.iter().map(|sum| _mm512_reduce_add_ps(*sum)).sum()
        }
        let run = |elements: usize, sums: &dyn Fn() -> f32| {
            let seconds = best(time, || {
                std::hint::black_box(sums());
            });
            2.0 * (STEPS * SUMS * elements) as f64 / seconds / 1e9
        };
        match (compute, isa::best()) {
            // SAFETY: the processor has the instructions.
            (Compute::Bf16, Isa::Avx512Bf16) => return run(32, &|| unsafe { pairs() }),
            // SAFETY: the processor has the instructions.
            (Compute::F32, Isa::Avx512 | Isa::Avx512Bf16) => return run(16, &|| unsafe { single() }),
            _ => {}
        }
    }
    0.0 * time.as_secs_f64()
}

fn main() {
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    let milliseconds = wanted.first().and_then(|word| word.parse().ok());
    if milliseconds.is_some() {
        wanted.remove(0);
    }
    let time = Duration::from_millis(milliseconds.unwrap_or(TIME));
    println!("{:>38} {:>10} {:>10} {:>8}", "m × k × n", "1 thread", "2 threads", "of peak");
    for compute in [Compute::Bf16, Compute::F32] {
        let peak = peak(time, compute);
        println!("{:>38} {peak:>10.1} {:>10.1}", format!("registers alone {compute:?}"), 2.0 * peak);
        for (form, m, k, n) in SHAPES.iter().copied() {
            let form_name = match form {
                Form::Forward => "x·Wᵀ",
                Form::Gelu => "gelu(x·Wᵀ)",
                Form::Backward => "dy·W",
                Form::Weights => "xᵀ·dy",
            };
            let name = format!("{form_name} {m} × {k} × {n} {compute:?}");
            if !wanted.iter().all(|word| name.contains(word)) {
                continue;
            }
            let [one, two] = rates(time, compute, (form, m, k, n));
            println!("{name:>38} {one:>10.1} {two:>10.1} {:>7.0}%", 100.0 * two / (2.0 * peak));
        }
    }
    for (m, k, n) in [(2048, 384, 1536), (2048, 1536, 384)] {
        let [one, two] = rates_of_bytes(time, m, k, n);
        println!("{:>38} {one:>10.1} {two:>10.1}", format!("x·Wᵀ {m} × {k} × {n} bytes"));
    }
}

/// GFLOP/s on one thread and on two.
fn rates(time: Duration, compute: Compute, (form, m, k, n): (Form, usize, usize, usize)) -> [f64; 2] {
    let (a, b, mut c) = (numbers(m * k), numbers(k * n), vec![0.0_f32; m * n]);
    let (bias, mut before) = (numbers(n), vec![Bf16::default(); m * n]);
    [1, 2].map(|threads| {
        parallel::set_threads(threads);
        let seconds = best(time, || {
            let (a, b) = match form {
                Form::Forward | Form::Gelu => (Matrix::new(&*a, m, k), Matrix::new(&*b, n, k).transposed()),
                Form::Backward => (Matrix::new(&*a, m, k), Matrix::new(&*b, k, n)),
                Form::Weights => (Matrix::new(&*a, k, m).transposed(), Matrix::new(&*b, k, n)),
            };
            let epilogue = match form {
                Form::Gelu => Epilogue {
                    // To the size that values before an activation have.
                    scale: 0.1,
                    bias: Some(&bias),
                    activation: Activation::Gelu,
                    before: Some((&mut *before).into()),
                    ..Epilogue::default()
                },
                _ => Epilogue::default(),
            };
            gemm(compute, MatrixMut::new(&mut *c, m, n), a, b, epilogue);
        });
        2.0 * m as f64 * k as f64 * n as f64 / seconds / 1e9
    })
}

/// GFLOP/s of bytes on one thread and on two.
fn rates_of_bytes(time: Duration, m: usize, k: usize, n: usize) -> [f64; 2] {
    let (a, b, mut c) = (vec![1_i8; m * k], vec![2_i8; n * k], vec![0; m * n]);
    [1, 2].map(|threads| {
        parallel::set_threads(threads);
        let seconds = best(time, || int8(&mut c, &*a, &b, m, k, n));
        2.0 * m as f64 * k as f64 * n as f64 / seconds / 1e9
    })
}
