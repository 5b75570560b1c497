//! Matrix products against sums in double precision, on every instruction set.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_range_loop,
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "tests"
)]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::each_isa;
use kernels::bf16::Bf16;
use kernels::gemm::{
    Activation, Compute, Data, DataMut, Epilogue, Matrix, MatrixMut, PackedColumns, gemm, gemm_batch, gemm_packed,
};
use kernels::parallel;
use proptest::prelude::*;

/// Numbers from -1 to 1 that depend on a seed.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Elements in either precision.
#[derive(Debug, Clone)]
enum Store {
    F32(Vec<f32>),
    Bf16(Vec<Bf16>),
}

impl Store {
    fn new(values: Vec<f32>, narrow: bool) -> Self {
        if narrow { Self::Bf16(values.into_iter().map(Bf16::from_f32).collect()) } else { Self::F32(values) }
    }

    fn data(&self, skip: usize) -> Data<'_> {
        match self {
            Self::F32(values) => Data::from(&values[skip..]),
            Self::Bf16(values) => Data::from(&values[skip..]),
        }
    }

    fn data_mut(&mut self) -> DataMut<'_> {
        match self {
            Self::F32(values) => DataMut::from(&mut values[..]),
            Self::Bf16(values) => DataMut::from(&mut values[..]),
        }
    }

    fn at(&self, index: usize) -> f64 {
        match self {
            Self::F32(values) => values[index].into(),
            Self::Bf16(values) => values[index].to_f32().into(),
        }
    }

    fn narrow(&self) -> bool {
        matches!(self, Self::Bf16(_))
    }
}

fn element(matrix: &Matrix<'_>, row: usize, column: usize, compute: Compute) -> f64 {
    let index = row * matrix.row_stride + column * matrix.column_stride;
    let value = match matrix.data {
        Data::F32(data) => data[index],
        Data::Bf16(data) => data[index].to_f32(),
    };
    match compute {
        Compute::F32 => value.into(),
        Compute::Bf16 => Bf16::from_f32(value).to_f32().into(),
    }
}

/// The sum of an element's products, and of their sizes.
fn reference(a: &Matrix<'_>, b: &Matrix<'_>, row: usize, column: usize, compute: Compute) -> (f64, f64) {
    (0..a.columns).fold((0.0, 0.0), |(sum, size), k| {
        let product = element(a, row, k, compute) * element(b, k, column, compute);
        (sum + product, size + product.abs())
    })
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
}

/// The normal distribution function, by Simpson's rule.
fn normal(x: f64) -> f64 {
    let end = x.clamp(-12.0, 12.0);
    let (steps, density) = (400, |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt());
    let width = end / f64::from(steps);
    let weight = |step: i32| {
        if step == 0 || step == steps {
            1.0
        } else if step % 2 == 1 {
            4.0
        } else {
            2.0
        }
    };
    0.5 + (0..=steps).map(|step| weight(step) * density(width * f64::from(step))).sum::<f64>() * width / 3.0
}

fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::Gelu => gelu(x),
        Activation::GeluExact => x * normal(x),
        Activation::Silu => x / (1.0 + (-x).exp()),
    }
}

fn derivative(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::None => 1.0,
        Activation::Relu => f64::from(u8::from(x > 0.0)),
        _ => (activate(activation, x + 1e-5) - activate(activation, x - 1e-5)) / 2e-5,
    }
}

/// How a matrix lies in memory.
#[derive(Debug, Clone, Copy)]
enum Layout {
    Rows,
    Columns,
    Apart,
}

/// A matrix of numbers in such a layout: elements to skip, and the strides.
fn layout(layout: Layout, rows: usize, columns: usize, pad: usize) -> (usize, usize, usize) {
    match layout {
        Layout::Rows => (columns + pad, 1, rows * (columns + pad)),
        Layout::Columns => (1, rows + pad, columns * (rows + pad)),
        Layout::Apart => (2 * columns + pad, 2, rows * (2 * columns + pad)),
    }
}

#[derive(Debug, Clone)]
struct Case {
    shape: (usize, usize, usize),
    layouts: (Layout, Layout),
    /// Elements between rows, and before the first one.
    pad: usize,
    /// a, b, c and the parts of the epilogue in bf16.
    narrow: (bool, bool, bool, bool),
    compute: Compute,
    scale: f32,
    accumulate: bool,
    bias: bool,
    before: bool,
    activation: Activation,
    derivative: Option<Activation>,
    residual: bool,
    seed: u32,
}

fn activations() -> impl Strategy<Value = Activation> {
    prop_oneof![
        Just(Activation::None),
        Just(Activation::Relu),
        Just(Activation::Gelu),
        Just(Activation::GeluExact),
        Just(Activation::Silu)
    ]
}

fn cases() -> impl Strategy<Value = Case> {
    let size = || prop_oneof![1 => Just(0_usize), 2 => Just(1_usize), 4 => 1..20_usize, 3 => 20..70_usize];
    let layouts = || prop_oneof![Just(Layout::Rows), Just(Layout::Columns), Just(Layout::Apart)];
    let shape = ((size(), size(), size()), (layouts(), layouts()), 0..3_usize);
    let kinds = (any::<(bool, bool, bool, bool)>(), prop_oneof![Just(Compute::F32), Just(Compute::Bf16)]);
    let scale = prop_oneof![Just(1.0_f32), -2.0_f32..2.0];
    let derivative = prop_oneof![2 => Just(None), 1 => activations().prop_map(Some)];
    let parts = (scale, any::<bool>(), any::<bool>(), any::<bool>(), activations(), derivative, any::<bool>());
    (shape, kinds, parts, any::<u32>(), any::<bool>()).prop_map(|(shape, kinds, parts, seed, plain)| Case {
        shape: shape.0,
        layouts: shape.1,
        pad: shape.2,
        narrow: kinds.0,
        compute: kinds.1,
        scale: if plain { 1.0 } else { parts.0 },
        accumulate: parts.1,
        bias: parts.2 && !plain,
        before: parts.3 && !plain,
        activation: if plain { Activation::None } else { parts.4 },
        derivative: parts.5.filter(|_| !plain),
        residual: parts.6 && !plain,
        seed,
    })
}

/// Runs a case on the instruction set in use and compares it with the formula.
fn check(case: &Case) {
    let (rows, inner, columns) = case.shape;
    let (a_row, a_column, a_size) = layout(case.layouts.0, rows, inner, case.pad);
    let (b_row, b_column, b_size) = layout(case.layouts.1, inner, columns, case.pad);
    let a = Store::new(numbers(a_size + case.pad, case.seed), case.narrow.0);
    let b = Store::new(numbers(b_size + case.pad, case.seed ^ 1), case.narrow.1);
    let a = Matrix::strided(a.data(case.pad), rows, inner, a_row, a_column);
    let b = Matrix::strided(b.data(case.pad), inner, columns, b_row, b_column);
    let stride = columns + case.pad;
    let old = Store::new(numbers(rows * stride, case.seed ^ 2), case.narrow.2);
    let other = |seed, scale: f32| {
        let values = numbers(rows * columns, case.seed ^ seed).iter().map(|value| value * scale).collect();
        Store::new(values, case.narrow.3)
    };
    let (mut c, mut before) = (old.clone(), other(3, 1.0));
    let bias = numbers(columns, case.seed ^ 4);
    let (at, residual) = (other(5, 6.0), other(6, 1.0));
    let epilogue = Epilogue {
        scale: case.scale,
        accumulate: case.accumulate,
        bias: case.bias.then_some(&bias[..]),
        before: case.before.then(|| before.data_mut()),
        activation: case.activation,
        derivative: case.derivative.map(|activation| (activation, at.data(0))),
        residual: case.residual.then(|| residual.data(0)),
    };
    gemm(case.compute, MatrixMut::strided(c.data_mut(), rows, columns, stride), a, b, epilogue);
    for row in 0..rows {
        for column in 0..stride {
            let (place, contiguous) = (row * stride + column, row * columns + column);
            if column >= columns {
                assert_eq!(c.at(place).to_bits(), old.at(place).to_bits(), "between rows: {case:?}");
                continue;
            }
            let (sum, size) = reference(&a, &b, row, column, case.compute);
            let scale = f64::from(case.scale);
            let pre = scale * sum
                + if case.accumulate { old.at(place) } else { 0.0 }
                + if case.bias { bias[column].into() } else { 0.0 };
            let parts = scale.abs() * size + 2.0;
            let error = (inner as f64 + 10.0) * 1.2e-7 * parts;
            let place_of = |name, found: f64, expected: f64, error: f64, narrow: bool| {
                let error = error + if narrow { expected.abs() / 256.0 } else { 0.0 };
                let wrong = (found - expected).abs();
                assert!(wrong <= error, "{name} {row}, {column}: {found}, not {expected} ± {error}: {case:?}");
            };
            if case.before {
                place_of("before", before.at(contiguous), pre, error, case.narrow.3);
            }
            let factor = case.derivative.map_or(1.0, |activation| derivative(activation, at.at(contiguous)));
            let value = activate(case.activation, pre) * factor;
            let expected = value + if case.residual { residual.at(contiguous) } else { 0.0 };
            place_of("product", c.at(place), expected, 2.0 * error + 1e-6 * pre.abs(), c.narrow());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn products_are_their_formula(case in cases()) {
        each_isa(|_| check(&case));
    }
}

fn plain(shape: (usize, usize, usize), compute: Compute) -> Case {
    Case {
        shape,
        layouts: (Layout::Rows, Layout::Rows),
        pad: 0,
        narrow: (false, false, false, false),
        compute,
        scale: 1.0,
        accumulate: false,
        bias: false,
        before: false,
        activation: Activation::None,
        derivative: None,
        residual: false,
        seed: 7,
    }
}

#[test]
fn a_long_inner_dimension_is_cut() {
    for compute in [Compute::F32, Compute::Bf16] {
        for narrow in [false, true] {
            let narrow = (false, narrow, narrow, narrow);
            let long = Case { narrow, ..plain((5, 4103, 9), compute) };
            let layouts = (Layout::Columns, Layout::Columns);
            let parts = Case {
                layouts,
                scale: -0.25,
                accumulate: true,
                bias: true,
                before: true,
                activation: Activation::Gelu,
                derivative: Some(Activation::Silu),
                residual: true,
                ..long.clone()
            };
            each_isa(|_| [&long, &parts].into_iter().for_each(check));
        }
    }
}

/// Many panels, and tasks of several panels.
#[test]
fn wide_products_are_exact_for_small_integers() {
    let integers = |count: usize, range: i32| -> Vec<f32> {
        (0..count).map(|i| ((i * 7919) % range as usize) as f32 - (range / 2) as f32).collect()
    };
    each_isa(|isa| {
        for (rows, inner, columns) in [(311, 33, 37), (37, 33, 311), (15, 64, 700), (130, 65, 130)] {
            let (a, b) = (integers(rows * inner, 17), integers(inner * columns, 13));
            for (left, right) in [(false, false), (false, true), (true, false)] {
                let a = if left { Matrix::new(&*a, inner, rows).transposed() } else { Matrix::new(&*a, rows, inner) };
                let b = if right {
                    Matrix::new(&*b, columns, inner).transposed()
                } else {
                    Matrix::new(&*b, inner, columns)
                };
                for compute in [Compute::F32, Compute::Bf16] {
                    let mut c = vec![f32::NAN; rows * columns];
                    gemm(compute, MatrixMut::new(&mut *c, rows, columns), a, b, Epilogue::default());
                    // All places would be slow without optimisation.
                    for place in (0..rows * columns).step_by(7) {
                        let (row, column) = (place / columns, place % columns);
                        let (expected, _) = reference(&a, &b, row, column, Compute::F32);
                        assert_eq!(f64::from(c[place]), expected, "{isa:?} {compute:?} {row} {column}");
                    }
                }
            }
        }
    });
}

#[test]
fn threads_do_not_show() {
    each_isa(|isa| {
        for (rows, inner, columns) in [(150, 70, 90), (90, 70, 250), (40, 2100, 33)] {
            let (a, b) = (numbers(rows * inner, 1), numbers(inner * columns, 2));
            for compute in [Compute::F32, Compute::Bf16] {
                let run = |threads| {
                    parallel::set_threads(threads);
                    let mut c = numbers(rows * columns, 3);
                    let bias = numbers(columns, 4);
                    let epilogue = Epilogue { scale: 0.5, accumulate: true, bias: Some(&bias), ..Epilogue::default() };
                    let (a, b) = (Matrix::new(&*a, rows, inner), Matrix::new(&*b, inner, columns));
                    gemm(compute, MatrixMut::new(&mut *c, rows, columns), a, b, epilogue);
                    c.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
                };
                let one = run(1);
                for threads in [2, 3, 7] {
                    assert!(run(threads) == one, "{isa:?} {compute:?} {threads} threads");
                }
            }
        }
        parallel::set_threads(0);
    });
}

#[test]
fn what_is_not_a_number_keeps_to_its_row_and_column() {
    let (rows, inner, columns) = (17, 5, 35);
    each_isa(|isa| {
        for compute in [Compute::F32, Compute::Bf16] {
            for (special, at) in [(f32::NAN, (16, 4)), (f32::INFINITY, (3, 0)), (f32::NEG_INFINITY, (16, 4))] {
                let (mut a, b) = (vec![1.0_f32; rows * inner], vec![2.0_f32; inner * columns]);
                a[at.0 * inner + at.1] = special;
                let mut c = vec![0.0; rows * columns];
                let (a, b) = (Matrix::new(&*a, rows, inner), Matrix::new(&*b, inner, columns));
                gemm(compute, MatrixMut::new(&mut *c, rows, columns), a, b, Epilogue::default());
                for (place, value) in c.iter().enumerate() {
                    let expected = if place / columns == at.0 { special } else { 10.0 };
                    assert!(*value == expected || value.is_nan() && expected.is_nan(), "{isa:?} {value} {expected}");
                }
            }
            // An infinity times zero is not a number, and huge products are infinite.
            for (left, right, expected) in [
                (f32::INFINITY, 0.0, f32::NAN),
                (1e30, -1e30, f32::NEG_INFINITY),
                (1e30, 1e-30, 1.0),
                (1e-30, 1e-30, 0.0),
            ] {
                let (a, b, mut c) = ([left], [right], [7.0]);
                let (a, b) = (Matrix::new(&a[..], 1, 1), Matrix::new(&b[..], 1, 1));
                gemm(compute, MatrixMut::new(&mut c[..], 1, 1), a, b, Epilogue::default());
                let close = (c[0] - expected).abs() < 0.01 || c[0] == expected || c[0].is_nan() && expected.is_nan();
                assert!(close, "{isa:?} {left} {right}: {c:?}");
            }
        }
    });
}

#[test]
fn extremes_of_activations_are_numbers() {
    each_isa(|isa| {
        for activation in [Activation::Relu, Activation::Gelu, Activation::GeluExact, Activation::Silu] {
            let (a, at) = ([-1e30_f32, -100.0, 0.0, 100.0, 1e30], [-1e30_f32, -90.0, 0.0, 90.0, 1e30]);
            let (mut c, mut slope) = ([0.0; 5], [0.0; 5]);
            let one = [1.0_f32];
            let one = Matrix::new(&one[..], 1, 1);
            let epilogue = Epilogue { activation, ..Epilogue::default() };
            gemm(Compute::F32, MatrixMut::new(&mut c[..], 5, 1), Matrix::new(&a[..], 5, 1), one, epilogue);
            let ones = [1.0_f32; 5];
            let epilogue = Epilogue { derivative: Some((activation, Data::from(&at[..]))), ..Epilogue::default() };
            gemm(Compute::F32, MatrixMut::new(&mut slope[..], 5, 1), Matrix::new(&ones[..], 5, 1), one, epilogue);
            assert!(c[0].abs() < 1e-30 && c[1].abs() < 1e-30, "{isa:?} {activation:?} {c:?}");
            assert_eq!(c[2..], [0.0, 100.0, 1e30], "{isa:?} {activation:?}");
            let half = if activation == Activation::Relu { 0.0 } else { 0.5 };
            assert!(slope[0].abs() < 1e-30 && slope[1].abs() < 1e-30, "{isa:?} {activation:?} {slope:?}");
            assert_eq!(slope[2..], [half, 1.0, 1.0], "{isa:?} {activation:?}");
        }
    });
}

/// Packed once or anew, a product has the same bits, and a row those that it has alone.
#[test]
fn packed_columns_give_the_same_product() {
    each_isa(|isa| {
        for (rows, inner, columns) in [(1, 7, 5), (31, 40, 64), (150, 96, 96), (17, 5000, 40), (3, 0, 9)] {
            let (a, b) = (numbers(rows * inner, 1), numbers(inner * columns, 2));
            let (bias, residual) = (numbers(columns, 3), numbers(rows * columns, 4));
            for compute in [Compute::F32, Compute::Bf16] {
                let right = Matrix::new(&b[..], columns, inner).transposed();
                let packed = PackedColumns::new(compute, right);
                assert_eq!((packed.rows(), packed.columns()), (inner, columns));
                for activation in [Activation::None, Activation::GeluExact] {
                    let epilogue = |row: Option<usize>| {
                        let residual = match row {
                            Some(row) => &residual[row * columns..(row + 1) * columns],
                            None => &residual[..],
                        };
                        let (bias, residual) = (Some(&bias[..]), Some(residual.into()));
                        Epilogue { bias, activation, residual, ..Epilogue::default() }
                    };
                    let left = || Matrix::new(&a[..], rows, inner);
                    let (mut expected, mut found) = (vec![0.0; rows * columns], vec![0.0; rows * columns]);
                    gemm(compute, MatrixMut::new(&mut expected[..], rows, columns), left(), right, epilogue(None));
                    gemm_packed(MatrixMut::new(&mut found[..], rows, columns), left(), &packed, epilogue(None));
                    assert_eq!(found, expected, "{isa:?} {compute:?} {rows} {inner} {columns}");
                    let last = rows - 1;
                    let mut alone = vec![0.0; columns];
                    let row = Matrix::new(&a[last * inner..], 1, inner);
                    gemm_packed(MatrixMut::new(&mut alone[..], 1, columns), row, &packed, epilogue(Some(last)));
                    assert_eq!(alone, found[last * columns..], "{isa:?} {compute:?} alone");
                    let mut narrow = vec![Bf16::default(); rows * columns];
                    gemm_packed(MatrixMut::new(&mut narrow[..], rows, columns), left(), &packed, epilogue(None));
                    for (narrow, wide) in narrow.iter().zip(&found) {
                        assert_eq!(*narrow, Bf16::from_f32(*wide), "{isa:?} {compute:?} narrow");
                    }
                }
            }
        }
    });
}

#[test]
fn batches_are_their_products() {
    let (batch, rows, inner, columns) = (5, 19, 23, 37);
    for (a_stride, b_stride, c_stride) in
        [(rows * inner, inner * columns, rows * columns), (0, inner * columns + 3, 900)]
    {
        let a = numbers(batch * rows * inner, 1);
        let b = numbers(batch * (inner * columns + 3), 2);
        each_isa(|_| {
            for compute in [Compute::F32, Compute::Bf16] {
                let mut all = numbers(batch * 900, 3);
                let mut single = all.clone();
                let epilogue = || Epilogue { scale: 0.5, accumulate: true, ..Epilogue::default() };
                let (left, right) = (
                    Matrix::strided(&*a, rows, inner, inner, 1),
                    Matrix::strided(&*b, columns, inner, inner, 1).transposed(),
                );
                let c = MatrixMut::strided(&mut *all, rows, columns, columns);
                gemm_batch(compute, batch, c, c_stride, left, a_stride, right, b_stride, epilogue());
                for index in 0..batch {
                    let left = Matrix::strided(&a[index * a_stride..], rows, inner, inner, 1);
                    let right = Matrix::strided(&b[index * b_stride..], columns, inner, inner, 1).transposed();
                    let c = MatrixMut::strided(&mut single[index * c_stride..], rows, columns, columns);
                    gemm(compute, c, left, right, epilogue());
                }
                assert!(all == single);
            }
        });
    }
    let mut c = [1.0];
    let one = [1.0_f32];
    let one = Matrix::new(&one[..], 1, 1);
    gemm_batch(Compute::F32, 0, MatrixMut::new(&mut c[..], 1, 1), 0, one, 0, one, 0, Epilogue::default());
    assert_eq!(c, [1.0]);
}

/// Whether a product panics with this text.
#[track_caller]
fn refused(text: &str, work: impl FnOnce()) {
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("no panic");
    let found =
        panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    assert!(found.as_ref().is_some_and(|found| found.contains(text)), "{found:?}");
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let (a, bias) = ([0.0_f32; 6], [0.0_f32; 2]);
    let mut c = [0.0_f32; 9];
    let matrix = |rows, columns| Matrix::new(&a[..rows * columns], rows, columns);
    refused("a product of 2 × 3 and 2 × 3 in 2 × 2", || {
        let c = MatrixMut::new(&mut c[..4], 2, 2);
        gemm(Compute::F32, c, matrix(2, 3), matrix(2, 3), Epilogue::default());
    });
    refused("elements of a 2 × 2 matrix", || _ = Matrix::new(&a[..3], 2, 2));
    refused("strides 5 and 1 in 6 elements", || _ = Matrix::strided(&a[..], 2, 2, 5, 1));
    refused("overlap", || _ = MatrixMut::strided(&mut c[..], 2, 3, 2));
    refused("bias for 3 columns", || {
        let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
        gemm(Compute::F32, MatrixMut::new(&mut c[..], 3, 3), matrix(3, 2), matrix(2, 3), epilogue);
    });
    refused("residual for 3 × 3", || {
        let epilogue = Epilogue { residual: Some(Data::from(&bias[..])), ..Epilogue::default() };
        gemm(Compute::F32, MatrixMut::new(&mut c[..], 3, 3), matrix(3, 2), matrix(2, 3), epilogue);
    });
    let batch = |c: &mut [f32], stride, epilogue: Epilogue<'_>| {
        let c = MatrixMut::strided(c, 1, 3, 3);
        gemm_batch(Compute::F32, 3, c, stride, Matrix::strided(&a[..], 1, 2, 2, 1), 1, matrix(2, 3), 0, epilogue);
    };
    refused("overlap at a distance of 2", || batch(&mut c, 2, Epilogue::default()));
    refused("3 matrices 4 apart in 9 elements", || batch(&mut c, 4, Epilogue::default()));
    refused("scale and accumulate alone", || {
        batch(&mut c, 3, Epilogue { activation: Activation::Relu, ..Epilogue::default() });
    });
    batch(&mut c, 3, Epilogue::default());
}
