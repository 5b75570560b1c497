//! Activations of tensors, rotary positions and embeddings against their formulas in double precision.
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

use common::{close, differences, everywhere, for_any_threads, number, numbers, wide};
use kernels::embedding::{embed, embed_backward};
use kernels::pointwise::{Pointwise, swiglu_backward, swiglu_forward, swiglu_rows, swiglu_rows_backward};
use kernels::position::RotaryTable;
use proptest::prelude::*;

const ALL: [Pointwise; 4] = [Pointwise::Relu, Pointwise::Gelu, Pointwise::GeluExact, Pointwise::Silu];

/// The error function by its series and, far out, its continued fraction (Abramowitz & Stegun 7.1.6, 7.1.14).
fn complement(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - complement(-x);
    }
    let root = std::f64::consts::PI.sqrt();
    if x < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= 2.0 * x * x / (2 * n + 1) as f64;
            sum += term;
        }
        return 1.0 - 2.0 / root * (-x * x).exp() * sum;
    }
    let fraction = (1..80).rev().fold(x, |below, n| x + n as f64 / 2.0 / below);
    (-x * x).exp() / root / fraction
}

fn value(kind: Pointwise, x: f64) -> f64 {
    match kind {
        Pointwise::Relu => x.max(0.0),
        Pointwise::Gelu => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            x / (1.0 + (-2.0 * inner).exp())
        }
        Pointwise::GeluExact => x * complement(-x / std::f64::consts::SQRT_2) / 2.0,
        Pointwise::Silu => x / (1.0 + (-x).exp()),
    }
}

/// The derivative of [`value`] by a difference of four points.
fn slope(kind: Pointwise, x: f64) -> f64 {
    if kind == Pointwise::Relu || x.abs() > 40.0 {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    let step = 1e-3;
    let difference = |step: f64| (value(kind, x + step) - value(kind, x - step)) / (2.0 * step);
    (4.0 * difference(step / 2.0) - difference(step)) / 3.0
}

fn inputs() -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec(prop_oneof![4 => -8.0_f32..8.0, 1 => -60.0_f32..60.0, 1 => number()], 0..90)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn activations_are_their_formulas(x in inputs(), seed in any::<u64>()) {
        let dy = numbers(x.len(), seed);
        for kind in ALL {
            let found = everywhere(|| {
                let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
                kind.forward(&mut y, &x);
                kind.backward(&mut dx, &dy, &x);
                [y, dx].concat()
            });
            for (i, (x, dy)) in x.iter().zip(&dy).enumerate() {
                let (x, dy) = (f64::from(*x), f64::from(*dy));
                let y = value(kind, x);
                close(found[i], y, x.abs(), 4e-7);
                // Far below, the value itself is right to some digits.
                if y.abs() > 1e-30 && x > -9.0 {
                    close(found[i], y, y.abs(), 1e-5);
                }
                close(found[found.len() / 2 + i], slope(kind, x) * dy, dy.abs().max(1e-3), 3e-6);
            }
        }
    }

    #[test]
    fn swiglu_is_its_formula(rows in 0_usize..5, inner in 0_usize..40, seed in any::<u64>()) {
        let both: Vec<f32> = numbers(2 * rows * inner, seed).iter().map(|x| 6.0 * x).collect();
        let d_out = numbers(rows * inner, seed ^ 1);
        let found = everywhere(|| {
            let (mut out, mut d_both) = (vec![f32::NAN; rows * inner], vec![f32::NAN; 2 * rows * inner]);
            swiglu_rows(&mut out, &both, inner);
            swiglu_rows_backward(&mut d_both, &d_out, &both, inner);
            [out, d_both].concat()
        });
        for (row, i) in (0..rows).flat_map(|row| (0..inner).map(move |i| (row, i))) {
            let at = 2 * row * inner + i;
            let [gate, up, d_out] = [both[at], both[at + inner], d_out[row * inner + i]].map(f64::from);
            close(found[row * inner + i], value(Pointwise::Silu, gate) * up, 6.0 * 6.0, 1e-6);
            let d_both = &found[rows * inner..];
            close(d_both[at], d_out * up * slope(Pointwise::Silu, gate), 6.0, 1e-6);
            close(d_both[at + inner], d_out * value(Pointwise::Silu, gate), 6.0, 1e-6);
        }
        // And with the halves apart.
        let part = |second: usize| -> Vec<f32> {
            both.chunks(2 * inner.max(1)).flat_map(|row| row[second * inner..(second + 1) * inner].to_vec()).collect()
        };
        let (gate, up) = (part(0), part(1));
        let (mut out, mut d_gate, mut d_up) = (gate.clone(), gate.clone(), gate.clone());
        swiglu_forward(&mut out, &gate, &up);
        swiglu_backward(&mut d_gate, &mut d_up, &d_out, &gate, &up);
        prop_assert_eq!(&out[..], &found[..rows * inner]);
        for (row, found) in found[rows * inner..].chunks(2 * inner.max(1)).enumerate() {
            let all = row * inner..(row + 1) * inner;
            prop_assert_eq!((&found[..inner], &found[inner..]), (&d_gate[all.clone()], &d_up[all]));
        }
    }

    #[test]
    fn rotary_turns_pairs_and_back(count in 0_usize..9, half in 1_usize..20, heads in 1_usize..4, seed in any::<u64>()) {
        let (dim, stride) = (2 * half, (heads + 1) * 2 * half + 3);
        let table = RotaryTable::new(50, dim, 10_000.0);
        let positions: Vec<u32> = (0..count as u32).map(|row| (row * 7 + seed as u32 % 50) % 50).collect();
        let x = numbers(count * stride, seed);
        let found = everywhere(|| {
            let mut y = x.clone();
            table.forward(&mut y, stride, 1..heads + 1, &positions);
            y
        });
        for (row, position) in positions.iter().enumerate() {
            for at in 0..stride {
                let (x, found) = (&x[row * stride..][..stride], found[row * stride + at]);
                if at < dim || at >= (heads + 1) * dim {
                    prop_assert_eq!(found, x[at]);
                    continue;
                }
                let (head, i) = (at / dim * dim, at % dim);
                let angle = f64::from(*position) / 10_000.0_f64.powf(2.0 * (i % half) as f64 / dim as f64);
                let (a, b) = (f64::from(x[head + i % half]), f64::from(x[head + i % half + half]));
                let expected = if i < half { a * angle.cos() - b * angle.sin() } else { b * angle.cos() + a * angle.sin() };
                close(found, expected, 2.0, 2e-7);
            }
        }
        let mut back = found;
        table.backward(&mut back, stride, 1..heads + 1, &positions);
        for (back, x) in back.iter().zip(&x) {
            close(*back, f64::from(*x), 2.0, 4e-7);
        }
    }

    #[test]
    fn embeddings_gather_and_scatter(
        tokens in proptest::collection::vec(0_u32..6, 0..40), width in 0_usize..150, seed in any::<u64>(),
    ) {
        let (table, learned) = (numbers(6 * width, seed), numbers(40 * width, seed ^ 1));
        let positions: Vec<u32> = (0..tokens.len() as u32).collect();
        let dy = numbers(tokens.len() * width, seed ^ 2);
        let found = everywhere(|| {
            let (mut plain, mut placed) = (vec![f32::NAN; dy.len()], vec![f32::NAN; dy.len()]);
            embed(&mut plain, &table, &tokens, None, width);
            embed(&mut placed, &table, &tokens, Some((&learned, &positions)), width);
            let mut d_table = vec![0.5; table.len()];
            embed_backward(&mut d_table, &dy, &tokens, width);
            [plain, placed, d_table].concat()
        });
        let mut expected = vec![0.5_f32; table.len()];
        for (row, token) in tokens.iter().enumerate() {
            for i in 0..width {
                let at = row * width + i;
                let entry = *token as usize * width + i;
                prop_assert_eq!(found[at], table[entry]);
                prop_assert_eq!(found[dy.len() + at], table[entry] + learned[at]);
                expected[entry] += dy[at];
            }
        }
        prop_assert_eq!(&found[2 * dy.len()..], &expected[..]);
    }
}

#[test]
fn threads_do_not_show() {
    let (x, dy) = (numbers(40_000, 1), numbers(40_000, 2));
    let table = RotaryTable::new(8, 10, 100.0);
    for_any_threads(|| {
        let (mut y, mut dx) = (vec![0.0; 40_000], vec![0.0; 40_000]);
        Pointwise::Gelu.forward(&mut y, &x);
        Pointwise::Silu.backward(&mut dx, &dy, &x);
        let mut turned = x.clone();
        let positions: Vec<u32> = (0..4000).map(|row| row % 8).collect();
        table.forward(&mut turned, 10, 0..1, &positions);
        let mut d_table = vec![0.0; 2000];
        embed_backward(&mut d_table, &dy, &positions[..200], 200);
        let mut out = vec![0.0; 20_000];
        swiglu_rows(&mut out, &x, 25);
        [y, dx, turned, d_table, out].concat()
    });
}

#[test]
fn extremes_stay_finite_and_not_a_number_spreads() {
    let x = [3e38, -3e38, 1e-42, -0.0, f32::NAN, 16.0, -16.0, 100.0, -100.0];
    for kind in ALL {
        let found = everywhere(|| {
            let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            kind.forward(&mut y, &x);
            kind.backward(&mut dx, &[2.0; 9], &x);
            [y, dx].concat()
        });
        for (at, found) in found.iter().enumerate() {
            assert_eq!(found.is_nan(), at % 9 == 4, "{kind:?} of {}: {found}", x[at % 9]);
        }
        assert_eq!((found[0], found[1].abs(), found[9], found[10]), (3e38, 0.0, 2.0, 0.0), "{kind:?}");
    }
}

#[test]
fn a_turn_back_is_the_gradient_of_a_turn() {
    let table = RotaryTable::new(9, 6, 50.0);
    let (x, dy) = (numbers(6, 1), numbers(6, 2));
    let mut gradient = dy.clone();
    table.backward(&mut gradient, 6, 0..1, &[8]);
    // A rotation is linear, so differences of any size are exact up to the rounding of `f32`.
    let loss = |x: &[f64]| {
        let half = 3;
        (0..half)
            .map(|i| {
                let (sine, cosine) = (8.0 / 50.0_f64.powf(2.0 * i as f64 / 6.0)).sin_cos();
                (x[i] * cosine - x[i + half] * sine) * f64::from(dy[i])
                    + (x[i + half] * cosine + x[i] * sine) * f64::from(dy[i + half])
            })
            .sum()
    };
    differences(&wide(&x), &wide(&gradient), loss);
}

#[test]
#[should_panic(expected = "of a table of 3")]
fn a_token_without_a_row_is_refused() {
    embed(&mut [0.0; 2], &[0.0; 6], &[3], None, 2);
}

#[test]
fn frequencies_of_its_own_turn_the_first_pairs_of_a_head() {
    let numbers = numbers(3 * 16, 5);
    let frequencies: Vec<f64> = (0..8).map(|pair| 100_f64.powf(-f64::from(2 * pair) / 16.0)).collect();
    let (mut found, mut expected) = (numbers.clone(), numbers.clone());
    RotaryTable::with_frequencies(6, 16, &frequencies, 1.0).forward(&mut found, 16, 0..1, &[0, 3, 5]);
    RotaryTable::new(6, 16, 100.0).forward(&mut expected, 16, 0..1, &[0, 3, 5]);
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
    // Three pairs in the first six elements, twice as long.
    let mut part = numbers.clone();
    RotaryTable::with_frequencies(6, 16, &frequencies[..3], 2.0).forward(&mut part, 16, 0..1, &[0, 3, 5]);
    for (row, position) in [0.0, 3.0, 5.0_f64].into_iter().enumerate() {
        let (from, to) = (&numbers[row * 16..(row + 1) * 16], &part[row * 16..(row + 1) * 16]);
        assert_eq!(from[6..], to[6..]);
        for pair in 0..3 {
            let (sine, cosine) = (position * frequencies[pair]).sin_cos();
            let (a, b) = (f64::from(from[pair]), f64::from(from[pair + 3]));
            assert!((f64::from(to[pair]) - 2.0 * (a * cosine - b * sine)).abs() < 1e-5, "{row} {pair}");
            assert!((f64::from(to[pair + 3]) - 2.0 * (b * cosine + a * sine)).abs() < 1e-5, "{row} {pair}");
        }
    }
}
