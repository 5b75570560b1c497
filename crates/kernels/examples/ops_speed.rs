//! Times of the training kernels at the shapes of a small language model.
//! `cargo run --release -p modelyard-kernels --example ops_speed [part of a name [threads]]`
#![allow(clippy::print_stdout, reason = "an example")]

use std::time::Instant;

use kernels::attention::Attention;
use kernels::cross_entropy::{Head, HeadGradients};
use kernels::embedding;
use kernels::gemm::{Compute, Matrix};
use kernels::norm::{Gradients, Input, Kind, Moments, Norm};
use kernels::optimizer::{Adam, Lion, Penalty};
use kernels::pointwise::{self, Pointwise};
use kernels::position::RotaryTable;
use kernels::step::{Rule, Slot, norm_of_all, step_all};

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

/// Rows, width, inner width, classes.
const SHAPE: [usize; 4] = [2048, 384, 1536, 8192];

fn norms() {
    let [count, width, ..] = SHAPE;
    let (x, update, weight, bias) =
        (numbers(count * width, 1), numbers(count * width, 2), numbers(width, 3), numbers(width, 4));
    for kind in [Kind::Layer, Kind::RootMeanSquare] {
        let bias_w = (kind == Kind::Layer).then_some(&bias[..]);
        let norm = Norm { kind, weight_w: &weight, bias_w, epsilon: 1e-5 };
        let (mut y, mut stream) = (vec![0.0; count * width], x.clone());
        let mut moments = vec![Moments::default(); count];
        let bytes = (4 * count * width) as f64;
        time(&format!("{kind:?} norm forward"), 2.0 * bytes, "B", || {
            norm.forward(&mut y, &mut moments, Input::Rows(&x));
        });
        time(&format!("{kind:?} norm forward, residual"), 4.0 * bytes, "B", || {
            norm.forward(&mut y, &mut moments, Input::Residual { stream_nw: &mut stream, update_nw: &update });
        });
        norm.forward(&mut y, &mut moments, Input::Rows(&x));
        let (mut dx, mut d_weight, mut d_bias) = (vec![0.0; count * width], vec![0.0; width], vec![0.0; width]);
        for accumulate in [false, true] {
            let bytes = bytes * if accumulate { 4.0 } else { 3.0 };
            time(&format!("{kind:?} norm backward, accumulate {accumulate}"), bytes, "B", || {
                let d_bias_w = bias_w.is_some().then_some(&mut d_bias[..]);
                let to = Gradients { dx_nw: &mut dx, accumulate, d_weight_w: &mut d_weight, d_bias_w };
                norm.backward(to, &update, &x, &moments);
            });
        }
    }
}

fn activations() {
    let [count, _, inner, _] = SHAPE;
    let (x, dy, both) = (numbers(count * inner, 1), numbers(count * inner, 2), numbers(2 * count * inner, 3));
    let (mut y, mut d_both) = (vec![0.0; count * inner], vec![0.0; 2 * count * inner]);
    let bytes = (4 * count * inner) as f64;
    for kind in [Pointwise::Relu, Pointwise::Gelu, Pointwise::GeluExact, Pointwise::Silu] {
        time(&format!("{kind:?} forward"), 2.0 * bytes, "B", || kind.forward(&mut y, &x));
        time(&format!("{kind:?} backward"), 3.0 * bytes, "B", || kind.backward(&mut y, &dy, &x));
    }
    time("SwiGLU forward", 3.0 * bytes, "B", || pointwise::swiglu_rows(&mut y, &both, inner));
    time("SwiGLU backward", 5.0 * bytes, "B", || pointwise::swiglu_rows_backward(&mut d_both, &dy, &both, inner));
    let mut sums = vec![0.0; inner];
    time("bias gradient", bytes, "B", || kernels::rows::add_columns(&mut sums, &x));
}

fn positions_and_embeddings() {
    let [count, width, _, classes] = SHAPE;
    let table = RotaryTable::new(256, 64, 10_000.0);
    let positions: Vec<u32> = (0..count as u32).map(|row| row % 256).collect();
    let mut qkv = numbers(count * 3 * width, 1);
    time("rotary of q and k in q|k|v", (2 * 2 * 4 * count * width) as f64, "B", || {
        table.forward(&mut qkv, 3 * width, 0..12, &positions);
    });
    let tokens: Vec<u32> = (0..count as u32).map(|row| row.wrapping_mul(2_654_435_761) % classes as u32).collect();
    let (rows, mut y) = (numbers(classes * width, 2), vec![0.0; count * width]);
    let bytes = (4 * count * width) as f64;
    time("embedding forward", 2.0 * bytes, "B", || embedding::embed(&mut y, &rows, &tokens, None, width));
    let mut d_rows = vec![0.0; classes * width];
    time("embedding backward", 3.0 * bytes, "B", || embedding::embed_backward(&mut d_rows, &y, &tokens, width));
}

fn heads(count: usize, width: usize, classes: usize) {
    let (hidden, table) = (numbers(count * width, 1), numbers(classes * width, 2));
    let targets_n: Vec<u32> = (0..count as u32).map(|row| row.wrapping_mul(2_654_435_761) % classes as u32).collect();
    let flop = (2 * count * width * classes) as f64;
    for compute in [Compute::F32, Compute::Bf16] {
        let head = Head {
            hidden: Matrix::new(&hidden[..], count, width),
            table: Matrix::new(&table[..], classes, width),
            targets_n: &targets_n,
            compute,
        };
        let (mut d_hidden, mut d_table) = (vec![0.0; hidden.len()], vec![0.0; table.len()]);
        time(&format!("head of {classes}, loss alone, {compute:?}"), flop, "FLOP", || {
            std::hint::black_box(head.loss());
        });
        time(&format!("head of {classes}, loss and gradients, {compute:?}"), 3.0 * flop, "FLOP", || {
            let to = HeadGradients { d_hidden_nw: &mut d_hidden, d_table_vw: &mut d_table, scale: 1e-3 };
            std::hint::black_box(head.loss_and_gradients(to));
        });
    }
}

fn steps() {
    let sizes = [8192 * 384, 384 * 1152, 384 * 384, 384 * 3072, 1536 * 384];
    let total: usize = sizes.iter().sum();
    let gradients: Vec<_> = sizes.iter().map(|size| numbers(*size, 1)).collect();
    let mut tensors: Vec<_> = sizes.iter().map(|size| [(); 4].map(|()| vec![0.1_f32; *size])).collect();
    let penalty = Penalty::default();
    let (learning_rate, weight_decay) = (1e-3, 0.1);
    let adam = Adam { learning_rate, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay, step: 2, penalty };
    let lion = Lion { learning_rate, beta1: 0.9, beta2: 0.99, weight_decay, penalty };
    let all: Vec<&[f32]> = gradients.iter().map(Vec::as_slice).collect();
    time("norm of all gradients", (4 * total) as f64, "B", || {
        std::hint::black_box(norm_of_all(&all));
    });
    for (name, rule, average, streams) in [
        ("AdamW", Rule::AdamW(adam), false, 7),
        ("AdamW with average", Rule::AdamW(adam), true, 9),
        ("Lion", Rule::Lion(lion), false, 5),
    ] {
        time(&format!("{name}, {total} parameters"), (4 * streams * total) as f64, "B", || {
            let mut slots: Vec<_> = tensors
                .iter_mut()
                .zip(&gradients)
                .map(|([parameters, first, second, moving], g)| Slot {
                    parameters,
                    gradients: g,
                    first,
                    second: if rule.states() == 2 { second } else { &mut [] },
                    average: average.then_some((&mut moving[..], 0.999)),
                    rule,
                })
                .collect();
            step_all(&mut slots);
        });
    }
}

fn main() {
    kernels::parallel::set_threads(std::env::args().nth(2).and_then(|count| count.parse().ok()).unwrap_or(0));
    println!("{:?}, {} threads", kernels::isa::current(), kernels::parallel::threads());
    norms();
    activations();
    positions_and_embeddings();
    heads(SHAPE[0], SHAPE[1], SHAPE[3]);
    heads(2048, 576, 49_152);
    for compute in [Compute::F32, Compute::Bf16] {
        attention(8, 256, 6, 6, 64, compute);
        attention(4, 512, 9, 3, 64, compute);
    }
    steps();
}
