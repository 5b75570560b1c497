//! Tensors in bf16: a kernel gives the bits that it gives for the same numbers in `f32`, rounded once.
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

use common::{each_isa, numbers};
use kernels::attention::Attention;
use kernels::bf16::{Bf16, narrow, widen};
use kernels::gemm::Compute;
use kernels::norm::{Input, Kind, Moments, Norm};
use kernels::pointwise::{swiglu_rows, swiglu_rows_backward};
use kernels::position::RotaryTable;
use kernels::rows::add_columns;
use proptest::prelude::*;

fn rounded(values: &[f32]) -> Vec<Bf16> {
    let mut narrow_values = vec![Bf16::default(); values.len()];
    narrow(&mut narrow_values, values);
    narrow_values
}

/// Numbers that bf16 holds: as they are, and as `f32`.
fn both(count: usize, seed: u64) -> (Vec<Bf16>, Vec<f32>) {
    let half = rounded(&numbers(count, seed));
    let mut single = vec![0.0; count];
    widen(&mut single, &half);
    (half, single)
}

fn nothing(count: usize) -> (Vec<Bf16>, Vec<f32>) {
    (vec![Bf16::default(); count], vec![0.0; count])
}

proptest! {
    #[test]
    fn norms(rows in 0..9_usize, width in 1..70_usize, layer: bool, seed: u64) {
        each_isa(|isa| {
            let (x, weight, bias) = (numbers(rows * width, seed), numbers(width, seed ^ 1), numbers(width, seed ^ 2));
            let kind = if layer { Kind::Layer } else { Kind::RootMeanSquare };
            let norm = Norm { kind, weight_w: &weight, bias_w: layer.then_some(&bias[..]), epsilon: 1e-5 };
            let (mut half, mut single) = nothing(rows * width);
            let (mut moments, mut same) = (vec![Moments::default(); rows], vec![Moments::default(); rows]);
            norm.forward(&mut half[..], &mut moments, Input::Rows(&x));
            norm.forward(&mut single[..], &mut same, Input::Rows(&x));
            assert_eq!((half, moments), (rounded(&single), same), "{isa:?}");
        });
    }

    #[test]
    fn gated_activations(rows in 0..9_usize, inner in 1..70_usize, seed: u64) {
        each_isa(|isa| {
            let (pre, wide_pre) = both(rows * 2 * inner, seed);
            let (d_out, wide_d_out) = both(rows * inner, seed ^ 1);
            let (mut half, mut single) = nothing(rows * inner);
            swiglu_rows(&mut half, &pre, inner);
            swiglu_rows(&mut single, &wide_pre, inner);
            assert_eq!(half, rounded(&single), "{isa:?}");
            let (mut half, mut single) = nothing(rows * 2 * inner);
            swiglu_rows_backward(&mut half, &d_out, &pre, inner);
            swiglu_rows_backward(&mut single, &wide_d_out, &wide_pre, inner);
            assert_eq!(half, rounded(&single), "{isa:?}");
        });
    }

    #[test]
    fn positions_and_sums(rows in 0..9_usize, heads in 1..4_usize, half_dim in 1..20_usize, seed: u64) {
        each_isa(|isa| {
            let stride = 2 * half_dim * (heads + 1);
            let table = RotaryTable::new(rows, 2 * half_dim, 1e4);
            let places: Vec<u32> = (0..rows as u32).collect();
            let (start, wide_start) = both(rows * stride, seed);
            let (mut half, mut single) = (start.clone(), wide_start.clone());
            table.forward(&mut half, stride, 0..heads, &places);
            table.forward(&mut single, stride, 0..heads, &places);
            assert_eq!(half, rounded(&single), "{isa:?}");
            let (mut half, mut single) = (start.clone(), wide_start.clone());
            table.backward(&mut half, stride, 0..heads, &places);
            table.backward(&mut single, stride, 0..heads, &places);
            assert_eq!(half, rounded(&single), "{isa:?}");
            let (mut sums, mut wide_sums) = (vec![1.0; stride], vec![1.0; stride]);
            add_columns(&mut sums, &start);
            add_columns(&mut wide_sums, &wide_start);
            assert_eq!(sums, wide_sums, "{isa:?}");
        });
    }

    #[test]
    fn attention(
        lengths in prop::collection::vec(0..80_usize, 1..4),
        (kv_heads, group) in (1..3_usize, 1..3_usize),
        dim in 1..40_usize,
        (causal, pairs) in (any::<bool>(), any::<bool>()),
        seed: u64,
    ) {
        let mut end = 0;
        let sequences: Vec<_> = lengths.iter().map(|length| { end += length; end - length..end }).collect();
        let heads = kv_heads * group;
        let compute = if pairs { Compute::Bf16 } else { Compute::F32 };
        let scale = 1.0 / (dim as f32).sqrt();
        let attention = Attention { sequences: &sequences, heads, kv_heads, dim, causal, scale, compute };
        each_isa(|isa| {
            let (qkv, wide_qkv) = both(end * attention.stride(), seed);
            let (mut half, mut single) = nothing(end * heads * dim);
            let (mut sums, mut wide_sums) = (vec![0.0; end * heads], vec![0.0; end * heads]);
            attention.forward(&mut half, &mut sums, &qkv);
            attention.forward(&mut single, &mut wide_sums, &wide_qkv);
            assert_eq!((&half, &sums), (&rounded(&single), &wide_sums), "{isa:?}");
            widen(&mut single, &half);
            let (d_out, wide_d_out) = both(end * heads * dim, seed ^ 1);
            let (mut d_half, mut d_single) = nothing(qkv.len());
            attention.backward(&mut d_half, &d_out, &half, &sums, &qkv);
            attention.backward(&mut d_single, &wide_d_out, &single, &sums, &wide_qkv);
            assert_eq!(d_half, rounded(&d_single), "{isa:?}");
        });
    }
}
