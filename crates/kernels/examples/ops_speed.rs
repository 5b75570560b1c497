//! Times of the training kernels at the shapes of a small language model.
//! `cargo run --release -p modelyard-kernels --example ops_speed [part of a name]`
#![allow(clippy::print_stdout, reason = "an example")]

use std::time::Instant;

use kernels::attention::Attention;
use kernels::gemm::Compute;

/// Runs `work` until half a second has passed and prints the shortest time, with `amount` per second.
fn time(name: &str, amount: f64, unit: &str, mut work: impl FnMut()) {
    if std::env::args().nth(1).is_some_and(|part| !name.contains(&part)) {
        return;
    }
    work();
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed().as_secs_f64() < 0.5 {
        let begin = Instant::now();
        work();
        best = best.min(begin.elapsed().as_secs_f64());
    }
    println!("{name:<44} {:>9.3} ms {:>8.1} G{unit}/s", best * 1e3, amount / best / 1e9);
}

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn attention(batch: usize, length: usize, heads: usize, kv_heads: usize, dim: usize, compute: Compute) {
    let sequences: Vec<_> = (0..batch).map(|index| index * length..(index + 1) * length).collect();
    let scale = 1.0 / (dim as f32).sqrt();
    let attention = Attention { sequences: &sequences, heads, kv_heads, dim, causal: true, scale, compute };
    let count = batch * length;
    let qkv = numbers(count * attention.stride(), 1);
    let mut out = vec![0.0; count * heads * dim];
    let mut sums = vec![0.0; count * heads];
    let name = format!("attention B{batch} T{length} {heads}/{kv_heads}x{dim} {compute:?}");
    let half = batch * heads * length * (length + 1) / 2 * dim;
    time(&format!("{name} forward"), 4.0 * half as f64, "FLOP", || attention.forward(&mut out, &mut sums, &qkv));
    let d_out = numbers(out.len(), 2);
    let mut d_qkv = vec![0.0; qkv.len()];
    time(&format!("{name} backward"), 10.0 * half as f64, "FLOP", || {
        attention.backward(&mut d_qkv, &d_out, &out, &sums, &qkv);
    });
}

fn main() {
    println!("{:?}, {} threads", kernels::isa::current(), kernels::parallel::threads());
    for compute in [Compute::F32, Compute::Bf16] {
        attention(8, 256, 6, 6, 64, compute);
        attention(4, 512, 9, 3, 64, compute);
    }
}
