//! Products and row sums against sums in double precision, on every instruction set.
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

use common::{close, everywhere, number, vector};
use proptest::prelude::*;

/// A sum of `n` products in `f32` is off by at most about `n` roundings of its largest partial sums;
/// with 16 partial sums a small factor is enough.
const PARTS: f64 = 1e-6;

fn reference(a: impl Iterator<Item = f64>, b: &[f32]) -> (f64, f64) {
    a.zip(b).fold((0.0, 0.0), |(sum, scale), (a, b)| (sum + a * f64::from(*b), scale + (a * f64::from(*b)).abs()))
}

fn wide(values: &[f32]) -> impl Iterator<Item = f64> + '_ {
    values.iter().map(|value| f64::from(*value))
}

/// Weights, scales and vectors of a product.
fn shapes() -> impl Strategy<Value = (usize, Vec<f32>, Vec<i8>, Vec<f32>, Vec<f32>)> {
    (0_usize..11, 0_usize..40, 0_usize..6).prop_flat_map(|(rows, columns, vectors)| {
        (
            Just(columns),
            proptest::collection::vec(number(), rows * columns),
            proptest::collection::vec(any::<i8>(), rows * columns),
            proptest::collection::vec(-2.0_f32..2.0, rows),
            proptest::collection::vec(number(), vectors * columns),
        )
    })
}

proptest! {
    #[test]
    fn dot_is_the_sum_of_products(a in vector(200), seed in any::<u32>()) {
        let b: Vec<f32> = a.iter().enumerate().map(|(i, a)| a * 0.5 + (i as f32 * seed as f32).sin()).collect();
        let found = everywhere(|| vec![kernels::dot(&a, &b)])[0];
        let (expected, scale) = reference(wide(&a), &b);
        close(found, expected, scale, PARTS);
    }

    #[test]
    fn dot_int8_is_the_sum_of_products(q in proptest::collection::vec(any::<i8>(), 0..100), shift in number()) {
        let x: Vec<f32> = (0..q.len()).map(|i| shift + i as f32).collect();
        let found = everywhere(|| vec![kernels::dot_int8(&q, &x)])[0];
        let (expected, scale) = reference(q.iter().map(|q| f64::from(*q)), &x);
        close(found, expected, scale, PARTS);
    }

    #[test]
    fn linear_is_a_dot_per_element((columns, w, _, bias, x) in shapes(), biased in any::<bool>()) {
        if columns == 0 {
            return Ok(());
        }
        let (rows, vectors) = (w.len() / columns, x.len() / columns);
        let bias = biased.then_some(bias.as_slice());
        let found = everywhere(|| {
            let mut y = vec![f32::NAN; rows * vectors];
            kernels::linear(&mut y, &w, &x, bias, columns);
            y
        });
        for (vector, x) in x.chunks(columns).enumerate() {
            for (row, w) in w.chunks(columns).enumerate() {
                // Not one bit depends on the tile or the batch.
                let expected = kernels::dot(w, x) + bias.map_or(0.0, |bias| bias[row]);
                prop_assert_eq!(found[vector * rows + row].to_bits(), expected.to_bits());
            }
        }
    }

    #[test]
    fn linear_int8_is_a_scaled_dot_per_element((columns, _, w, scales, x) in shapes()) {
        if columns == 0 {
            return Ok(());
        }
        let (rows, vectors) = (w.len() / columns, x.len() / columns);
        let found = everywhere(|| {
            let mut y = vec![f32::NAN; rows * vectors];
            kernels::linear_int8(&mut y, &w, &scales, &x, columns);
            y
        });
        for (vector, x) in x.chunks(columns).enumerate() {
            for (row, w) in w.chunks(columns).enumerate() {
                let (expected, scale) = reference(w.iter().map(|q| f64::from(*q) * f64::from(scales[row])), x);
                close(found[vector * rows + row], expected, scale, PARTS);
                prop_assert_eq!(found[vector * rows + row].to_bits(), (kernels::dot_int8(w, x) * scales[row]).to_bits());
            }
        }
    }

    #[test]
    fn add_rows_sums_rows(
        width in 1_usize..40,
        table in proptest::collection::vec(-3.0_f32..3.0, 40 * 5),
        pairs in proptest::collection::vec((0_u32..5, number()), 0..12),
    ) {
        let table = &table[..5 * width];
        let q: Vec<i8> = table.iter().map(|value| (value * 40.0) as i8).collect();
        let scales = [0.5, 0.25, 0.0, 1e-3, 3.0];
        let start: Vec<f32> = (0..width).map(|i| i as f32).collect();
        let found = everywhere(|| {
            let (mut y, mut z) = (start.clone(), start.clone());
            kernels::add_rows(&mut y, table, &pairs);
            kernels::add_rows_int8(&mut z, &q, &scales, &pairs);
            [y, z].concat()
        });
        for i in 0..width {
            let (mut sum, mut scaled) = ((start[i].into(), f64::from(start[i])), (start[i].into(), f64::from(start[i])));
            for (index, value) in &pairs {
                let at = *index as usize;
                let add = |sum: &mut (f64, f64), part: f64| *sum = (sum.0 + part, sum.1 + part.abs());
                add(&mut sum, f64::from(*value) * f64::from(table[at * width + i]));
                add(&mut scaled, f64::from(*value) * f64::from(scales[at]) * f64::from(q[at * width + i]));
            }
            close(found[i], sum.0, sum.1, PARTS);
            close(found[width + i], scaled.0, scaled.1, PARTS);
        }
    }

    #[test]
    fn axpy_adds_a_multiple(x in vector(70), a in number()) {
        let found = everywhere(|| {
            let mut y: Vec<f32> = (0..x.len()).map(|i| i as f32).collect();
            kernels::axpy(&mut y, a, &x);
            y
        });
        for (i, found) in found.iter().enumerate() {
            let product = f64::from(a) * f64::from(x[i]);
            close(*found, i as f64 + product, i as f64 + product.abs(), 1e-7);
        }
    }

    #[test]
    fn the_norm_is_of_all_slices_together(a in vector(50), b in vector(50)) {
        let found = everywhere(|| vec![kernels::global_norm(&[&a, &b]) as f32])[0];
        let expected = wide(&a).chain(wide(&b)).map(|x| x * x).sum::<f64>().sqrt();
        close(found, expected, expected, 1e-7);
    }
}

#[test]
fn rows_without_columns_are_the_bias() {
    let mut y = [f32::NAN; 2];
    kernels::linear(&mut y, &[], &[], Some(&[1.0, 2.0]), 0);
    assert_eq!(y, [1.0, 2.0]);
    assert_eq!(kernels::dot(&[], &[]), 0.0);
}

#[test]
fn huge_tiny_and_not_a_number() {
    for length in [1, 15, 16, 17, 64, 77] {
        for place in 0..length {
            let mut x = vec![1.0; length];
            x[place] = f32::NAN;
            let ones = vec![1.0; length];
            assert!(everywhere(|| vec![kernels::dot(&x, &ones)])[0].is_nan());
            assert!(everywhere(|| vec![kernels::dot_int8(&vec![0; length], &x)])[0].is_nan());
            x[place] = f32::INFINITY;
            assert_eq!(everywhere(|| vec![kernels::dot(&x, &ones)])[0], f32::INFINITY);
            x[place] = f32::MAX;
            assert_eq!(kernels::global_norm(&[&x]) as f32, f32::MAX);
        }
    }
    assert_eq!(everywhere(|| vec![kernels::dot(&[1e-45], &[1.0])])[0], 1e-45);
}

#[test]
#[should_panic(expected = "shapes of a product")]
fn shapes_that_do_not_fit_are_our_mistake() {
    kernels::linear(&mut [0.0; 3], &[0.0; 4], &[0.0; 2], None, 2);
}
