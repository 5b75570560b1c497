//! Fused attention against the plain formula in double precision, and its gradients against differences.
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

use std::ops::Range;

use common::{all_close, differences, for_any_threads, numbers, on_each, wide};
use kernels::attention::Attention;
use kernels::gemm::Compute;
use proptest::prelude::*;

/// A problem, without its numbers.
#[derive(Debug, Clone)]
struct Problem {
    sequences: Vec<Range<usize>>,
    count: usize,
    heads: usize,
    kv_heads: usize,
    dim: usize,
    causal: bool,
    compute: Compute,
}

impl Problem {
    fn attention(&self) -> Attention<'_> {
        Attention {
            sequences: &self.sequences,
            heads: self.heads,
            kv_heads: self.kv_heads,
            dim: self.dim,
            causal: self.causal,
            scale: 1.0 / (self.dim as f32).sqrt(),
            compute: self.compute,
        }
    }

    /// The output, the log-sum-exp and the gradient of the inputs.
    fn run(&self, qkv: &[f32], d_out: &[f32]) -> [Vec<f32>; 3] {
        let attention = self.attention();
        let mut out = vec![f32::NAN; d_out.len()];
        let mut sums = vec![f32::NAN; self.heads * self.count];
        attention.forward(&mut out, &mut sums, qkv);
        let mut d_qkv = vec![f32::NAN; qkv.len()];
        attention.backward(&mut d_qkv, d_out, &out, &sums, qkv);
        [out, sums, d_qkv]
    }

    fn qkv(&self, seed: u64) -> Vec<f32> {
        numbers(self.count * self.attention().stride(), seed).iter().map(|x| 2.0 * x).collect()
    }

    fn d_out(&self, seed: u64) -> Vec<f32> {
        numbers(self.count * self.heads * self.dim, seed ^ 1)
    }
}

/// The same as [`Problem::run`], by the definition.
fn reference(problem: &Problem, qkv: &[f64], d_out: &[f64]) -> [Vec<f64>; 3] {
    let Problem { count, heads, kv_heads, dim, .. } = *problem;
    let (stride, scale) = ((heads + 2 * kv_heads) * dim, f64::from(problem.attention().scale));
    let (mut out, mut sums) = (vec![0.0; count * heads * dim], vec![0.0; heads * count]);
    let mut d_qkv = vec![0.0; count * stride];
    for (sequence, head) in problem.sequences.iter().flat_map(|s| (0..heads).map(move |head| (s.clone(), head))) {
        let kv = head / (heads / kv_heads);
        let (q, k, v) = (head * dim, (heads + kv) * dim, (heads + kv_heads + kv) * dim);
        for row in sequence.clone() {
            let seen = if problem.causal { sequence.start..row + 1 } else { sequence.clone() };
            let scores: Vec<f64> = seen
                .clone()
                .map(|key| (0..dim).map(|i| qkv[row * stride + q + i] * qkv[key * stride + k + i]).sum::<f64>() * scale)
                .collect();
            let largest = scores.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
            let sum = largest + scores.iter().map(|score| (score - largest).exp()).sum::<f64>().ln();
            sums[head * count + row] = sum;
            let at = row * heads * dim + head * dim;
            let weights: Vec<f64> = scores.iter().map(|score| (score - sum).exp()).collect();
            for (key, weight) in seen.clone().zip(&weights) {
                (0..dim).for_each(|i| out[at + i] += weight * qkv[key * stride + v + i]);
            }
            let all: f64 = (0..dim).map(|i| d_out[at + i] * out[at + i]).sum();
            for (key, weight) in seen.zip(&weights) {
                let along: f64 = (0..dim).map(|i| d_out[at + i] * qkv[key * stride + v + i]).sum();
                let d_score = weight * (along - all) * scale;
                for i in 0..dim {
                    d_qkv[key * stride + v + i] += weight * d_out[at + i];
                    d_qkv[row * stride + q + i] += d_score * qkv[key * stride + k + i];
                    d_qkv[key * stride + k + i] += d_score * qkv[row * stride + q + i];
                }
            }
        }
    }
    [out, sums, d_qkv]
}

fn check(problem: &Problem, seed: u64) {
    let (qkv, d_out) = (problem.qkv(seed), problem.d_out(seed));
    let expected = reference(problem, &wide(&qkv), &wide(&d_out));
    on_each(
        || problem.run(&qkv, &d_out),
        |found| {
            for (found, expected) in found.iter().zip(&expected) {
                all_close(found, expected, if problem.compute == Compute::F32 { 4e-6 } else { 2.5e-2 });
            }
        },
    );
}

fn problems() -> impl Strategy<Value = Problem> {
    let lengths = proptest::collection::vec((0_usize..3, 0_usize..75), 0..4);
    let heads = prop_oneof![Just((1, 1)), Just((4, 2)), Just((3, 1)), Just((2, 2))];
    let dim = prop_oneof![1_usize..40, Just(64_usize), Just(80)];
    let compute = prop_oneof![Just(Compute::F32), Just(Compute::Bf16)];
    (lengths, heads, dim, any::<bool>(), compute, 0_usize..3).prop_map(
        |(lengths, heads, dim, causal, compute, rest)| {
            let mut count = 0;
            let sequences = lengths
                .iter()
                .map(|(gap, length)| {
                    let begin = count + gap;
                    count = begin + length;
                    begin..count
                })
                .collect();
            Problem { sequences, count: count + rest, heads: heads.0, kv_heads: heads.1, dim, causal, compute }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn attention_is_its_formula(problem in problems(), seed in any::<u64>()) {
        check(&problem, seed);
    }
}

fn one(length: usize, heads: usize, kv_heads: usize, dim: usize, causal: bool, compute: Compute) -> Problem {
    Problem { sequences: std::iter::once(0..length).collect(), count: length, heads, kv_heads, dim, causal, compute }
}

#[test]
fn long_sequences_are_cut_into_blocks() {
    for (causal, compute) in [(true, Compute::F32), (false, Compute::Bf16), (false, Compute::F32)] {
        check(&one(530, 1, 1, 5, causal, compute), 7);
    }
}

#[test]
fn the_references_gradient_is_that_of_the_reference() {
    for causal in [false, true] {
        let sequences = vec![0..3, 4..8];
        let problem = Problem { sequences, count: 9, heads: 4, kv_heads: 2, dim: 3, causal, compute: Compute::F32 };
        let (qkv, d_out) = (wide(&problem.qkv(3)), wide(&problem.d_out(3)));
        let [_, _, gradient] = reference(&problem, &qkv, &d_out);
        differences(&qkv, &gradient, |qkv| {
            let [out, ..] = reference(&problem, qkv, &d_out);
            out.iter().zip(&d_out).map(|(out, d_out)| out * d_out).sum()
        });
    }
}

#[test]
fn threads_do_not_show() {
    for compute in [Compute::F32, Compute::Bf16] {
        let sequences = vec![0..300, 300..301, 310..400];
        let problem = Problem { sequences, count: 400, heads: 4, kv_heads: 2, dim: 24, causal: true, compute };
        let (qkv, d_out) = (problem.qkv(5), problem.d_out(5));
        for_any_threads(|| problem.run(&qkv, &d_out).concat());
    }
}

#[test]
fn packed_sequences_are_like_single_ones() {
    for compute in [Compute::F32, Compute::Bf16] {
        let whole = Problem { sequences: vec![0..37, 37..90], ..one(90, 2, 1, 16, true, compute) };
        let (qkv, d_out) = (whole.qkv(9), whole.d_out(9));
        let (stride, wide) = (whole.attention().stride(), 32);
        let part = one(53, 2, 1, 16, true, compute);
        on_each(
            || (whole.run(&qkv, &d_out), part.run(&qkv[37 * stride..], &d_out[37 * wide..])),
            |([out, _, d_qkv], [part_out, _, part_d_qkv])| {
                assert_eq!((&out[37 * wide..], &d_qkv[37 * stride..]), (&part_out[..], &part_d_qkv[..]));
            },
        );
    }
}

#[test]
fn not_a_number_stays_in_its_sequence() {
    for compute in [Compute::F32, Compute::Bf16] {
        let problem = Problem { sequences: vec![0..20, 20..50], ..one(52, 2, 2, 16, true, compute) };
        let (mut qkv, d_out) = (problem.qkv(4), problem.d_out(4));
        // A query, a key and a value of row 25.
        for column in [0, 33, 90] {
            let clean = qkv[25 * 96 + column];
            qkv[25 * 96 + column] = f32::NAN;
            on_each(
                || problem.run(&qkv, &d_out),
                |[out, _, d_qkv]| {
                    let head = column % 32 / 16 * 16;
                    assert!(out[25 * 32 + head..25 * 32 + head + 16].iter().any(|x| x.is_nan()));
                    assert!(d_qkv[20 * 96..50 * 96].iter().any(|x| x.is_nan()));
                    assert!(out[..20 * 32].iter().chain(&d_qkv[..20 * 96]).all(|x| x.is_finite()));
                    assert!(out[50 * 32..].iter().chain(&d_qkv[50 * 96..]).all(|x| *x == 0.0));
                },
            );
            qkv[25 * 96 + column] = clean;
        }
    }
}

#[test]
fn extreme_scores_choose_one_key() {
    // Scores of 10⁴ times a cosine: the best key takes all.
    for compute in [Compute::F32, Compute::Bf16] {
        let problem = one(40, 1, 1, 8, false, compute);
        let mut qkv = problem.qkv(6);
        for row in qkv.chunks_exact_mut(24) {
            row[..16].iter_mut().for_each(|x| *x *= 100.0);
        }
        on_each(
            || problem.run(&qkv, &problem.d_out(6)),
            |[out, sums, d_qkv]| {
                assert!(out.iter().chain(&sums).chain(&d_qkv).all(|x| x.is_finite()));
                assert!(out.iter().all(|x| x.abs() <= 2.01));
            },
        );
        // And no score at all: equal weights.
        qkv.chunks_exact_mut(24).for_each(|row| row[..16].fill(1e-30));
        let [out, sums, _] = problem.run(&qkv, &problem.d_out(6));
        let mean: f32 = qkv.chunks_exact(24).map(|row| row[16]).sum::<f32>() / 40.0;
        assert!((out[0] - mean).abs() < 1e-2 && (sums[0] - 40.0_f32.ln()).abs() < 1e-6);
    }
}

#[test]
fn places_in_memory_do_not_matter() {
    let problem = one(33, 2, 1, 10, true, Compute::Bf16);
    let (qkv, d_out) = (problem.qkv(8), problem.d_out(8));
    let (shifted_qkv, shifted_d_out) = ([&[0.0], &qkv[..]].concat(), [&[0.0; 3], &d_out[..]].concat());
    on_each(
        || [problem.run(&qkv, &d_out), problem.run(&shifted_qkv[1..], &shifted_d_out[3..])],
        |[plain, shifted]| assert_eq!(plain, shifted),
    );
}

#[test]
#[should_panic(expected = "after row")]
fn overlapping_sequences_are_refused() {
    let problem = Problem { sequences: vec![0..5, 4..8], ..one(8, 1, 1, 4, true, Compute::F32) };
    problem.run(&problem.qkv(1), &problem.d_out(1));
}
