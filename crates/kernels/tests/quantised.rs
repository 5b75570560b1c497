//! Products with packed weights against the `f32` products of what the weights mean.

mod common;

use common::{each_isa, for_any_threads, numbers};
use kernels::isa::Isa;
use kernels::quantised::{
    Activations, Encoding, Format, PackedMatrix, Product, multiply, multiply_add, multiply_all, multiply_swiglu,
};
use proptest::prelude::*;

/// Every encoding.
fn encodings() -> Vec<Encoding> {
    let plain = [Encoding::F32, Encoding::F16, Encoding::Bf16];
    Format::ALL.into_iter().map(Encoding::Blocks).chain(plain).collect()
}

/// Bytes of random weights whose sizes are about 1. Blocks have random codes, so that all of them occur.
fn weights(encoding: Encoding, rows: usize, columns: usize, seed: u64) -> Vec<u8> {
    let values = numbers(rows * columns, seed);
    match encoding {
        Encoding::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Encoding::F16 => values.iter().flat_map(|value| kernels::f16::F16::from_f32(*value).0.to_le_bytes()).collect(),
        Encoding::Bf16 => {
            values.iter().flat_map(|value| kernels::bf16::Bf16::from_f32(*value).0.to_le_bytes()).collect()
        }
        Encoding::Blocks(format) => {
            let count = rows * columns / format.block_elements();
            let random = numbers(count * format.block_bytes(), seed ^ 5);
            let mut bytes: Vec<u8> = random.iter().map(|value| (value * 128.0) as i8 as u8).collect();
            let halves: &[usize] = match format {
                Format::Q8_0 | Format::Q4_0 => &[0],
                Format::Q4_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
                Format::Q6_K => &[208],
            };
            for (block, scale) in bytes.chunks_exact_mut(format.block_bytes()).zip(values) {
                for at in halves {
                    let half = kernels::f16::F16::from_f32(scale * 0.05 * (1.0 + *at as f32)).0;
                    block[*at..at + 2].copy_from_slice(&half.to_le_bytes());
                }
            }
            bytes
        }
    }
}

/// The weights as numbers.
fn meaning(encoding: Encoding, bytes: &[u8], elements: usize) -> Vec<f32> {
    let mut found = vec![0.0; elements];
    encoding.dequantise(&mut found, bytes);
    found
}

/// What rounding a row of activations may change in a product, at most.
fn bound(encoding: Encoding, weights: &[f32], x: &[f32]) -> f64 {
    let size = |values: &[f32]| values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    let block = match encoding {
        Encoding::Blocks(format) => format.block_elements(),
        _ => x.len(),
    };
    let blocks = weights.chunks(block.max(1)).zip(x.chunks(block.max(1)));
    let rounding: f64 = match encoding {
        Encoding::Blocks(_) => blocks
            .map(|(weights, x)| {
                let step = f64::from(size(x)) / 127.0;
                0.501 * step * weights.iter().map(|weight| f64::from(weight.abs())).sum::<f64>()
            })
            .sum(),
        Encoding::Bf16 => weights.iter().zip(x).map(|(weight, x)| f64::from((weight * x).abs()) / 256.0).sum(),
        Encoding::F32 | Encoding::F16 => 0.0,
    };
    // Sums of f32, whose intermediate sizes for formats with minimums are larger than the weights.
    let largest = f64::from(size(weights)) * f64::from(size(x)) * x.len() as f64;
    rounding + largest * 64.0 * f64::from(f32::EPSILON) + 1e-30
}

/// Holds a product with random weights to the meaning of the weights.
fn check(encoding: Encoding, rows: usize, columns: usize, tokens: usize, seed: u64, scale: f32) {
    let bytes = weights(encoding, rows, columns, seed);
    let numbers_w = meaning(encoding, &bytes, rows * columns);
    let x: Vec<f32> = numbers(tokens * columns, seed ^ 9).iter().map(|x| x * scale).collect();
    let matrix = PackedMatrix::pack(encoding, rows, columns, &bytes);
    assert_eq!((matrix.rows(), matrix.columns(), matrix.encoding()), (rows, columns, encoding));
    let mut row = vec![0.0; columns];
    for (index, expected) in numbers_w.chunks_exact(columns).enumerate() {
        matrix.dequantise_row(index, &mut row);
        assert_eq!(row, expected, "{encoding:?} row {index}");
    }
    let mut activations = Activations::new();
    activations.prepare(&x, columns, &[&matrix]);
    let mut y = vec![f32::NAN; tokens * rows];
    multiply(&mut y, &matrix, &activations);
    for (place, found) in y.iter().enumerate() {
        let (token, row) = (place / rows, place % rows);
        let (x, w) = (&x[token * columns..][..columns], &numbers_w[row * columns..][..columns]);
        let expected: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
        let (error, bound) = ((f64::from(*found) - expected).abs(), bound(encoding, w, x));
        assert!(error <= bound, "{encoding:?} {rows} × {columns} at {token}, {row}: {found}, not {expected} ± {bound}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 4 } else { 24 }))]

    #[test]
    fn products_are_what_the_weights_mean(
        rows in 0..70_usize,
        blocks in 1..20_usize,
        tokens in 0..15_usize,
        seed in any::<u64>(),
        exponent in -12..12_i32,
    ) {
        each_isa(|_| {
            for encoding in encodings() {
                let block = encoding.block_elements();
                let columns = if block == 256 { blocks.div_ceil(6) * block } else { blocks * block };
                check(encoding, rows, columns, tokens, seed, 10_f32.powi(exponent));
            }
        });
    }
}

#[test]
fn shapes_at_the_edges() {
    each_isa(|_| {
        for encoding in encodings() {
            let block = encoding.block_elements();
            for (rows, blocks, tokens) in [(1, 1, 1), (16, 1, 1), (17, 2, 6), (33, 9, 7), (0, 1, 1), (1, 1, 0)] {
                check(encoding, rows, blocks * block, tokens, 3, 1.0);
            }
        }
    });
}

/// The bits of a product of the first `tokens` rows.
fn product(matrix: &PackedMatrix, x: &[f32], tokens: usize) -> Vec<u32> {
    let mut activations = Activations::new();
    activations.prepare(&x[..tokens * matrix.columns()], matrix.columns(), &[matrix]);
    let mut y = vec![0.0; tokens * matrix.rows()];
    multiply(&mut y, matrix, &activations);
    y.iter().map(|y| y.to_bits()).collect()
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_others_and_everywhere() {
    let (rows, columns, tokens) = (75, 768, 251);
    let x = numbers(tokens * columns, 4);
    for encoding in encodings() {
        let matrix = PackedMatrix::pack(encoding, rows, columns, &weights(encoding, rows, columns, 8));
        let first = std::sync::OnceLock::new();
        each_isa(|isa| {
            let all = product(&matrix, &x, tokens);
            for token in [0, 1, 5, 6, 239, 240, 250] {
                let alone = product(&matrix, &x[token * columns..], 1);
                assert_eq!(alone, all[token * rows..][..rows], "{isa:?} {encoding:?} {token}");
            }
            let eight = product(&matrix, &x[40 * columns..], 8);
            assert_eq!(eight, all[40 * rows..48 * rows], "{isa:?} {encoding:?}");
            if encoding != Encoding::Bf16 || isa < Isa::Avx512Bf16 {
                assert!(first.get_or_init(|| all.clone()) == &all, "{isa:?} {encoding:?}");
            }
        });
    }
}

#[test]
fn the_number_of_threads_does_not_show() {
    let (rows, columns) = (530, 512);
    for encoding in encodings() {
        let matrix = PackedMatrix::pack(encoding, rows, columns, &weights(encoding, rows, columns, 8));
        for tokens in [1, 20] {
            let x = numbers(tokens * columns, 4);
            for_any_threads(|| product(&matrix, &x, tokens).into_iter().map(f32::from_bits).collect());
        }
    }
}

fn silu(x: f32) -> f64 {
    f64::from(x) / (1.0 + (-f64::from(x)).exp())
}

#[test]
fn products_of_one_region_are_those_of_many() {
    let columns = 512;
    each_isa(|isa| {
        for tokens in [1, 9] {
            let x = numbers(tokens * columns, 2);
            let make = |encoding, rows, seed| {
                PackedMatrix::pack(encoding, rows, columns, &weights(encoding, rows, columns, seed))
            };
            let q4 = make(Encoding::Blocks(Format::Q4_K), 130, 1);
            let q6 = make(Encoding::Blocks(Format::Q6_K), 34, 2);
            let q8 = make(Encoding::Blocks(Format::Q8_0), 130, 3);
            let half = make(Encoding::F16, 130, 4);
            let all = [&q4, &q6, &q8, &half];
            let mut activations = Activations::new();
            activations.prepare(&x, columns, &all);
            let alone = all.map(|matrix| {
                let mut y = vec![0.0; tokens * matrix.rows()];
                multiply(&mut y, matrix, &activations);
                y
            });
            let mut together = alone.clone().map(|y| vec![1.0; y.len()]);
            let mut products: Vec<Product<'_>> = all
                .iter()
                .zip(&mut together)
                .map(|(weights, y)| Product { y, weights, add: weights.rows() == 34 })
                .collect();
            multiply_all(&mut products, &activations);
            for (index, (alone, together)) in alone.iter().zip(&together).enumerate() {
                let add = if index == 1 { 1.0 } else { 0.0 };
                let expected: Vec<f32> = alone.iter().map(|alone| alone + add).collect();
                assert_eq!(&expected, together, "{isa:?} {index}");
            }
            let mut added = alone[0].clone();
            multiply_add(&mut added, &q4, &activations);
            assert!(added.iter().zip(&alone[0]).all(|(added, alone)| *added == alone + alone));
            for (gate, up) in [(0, 0), (0, 2), (2, 0), (3, 2), (3, 3)] {
                let mut y = vec![f32::NAN; tokens * 130];
                multiply_swiglu(&mut y, all[gate], all[up], &activations);
                for ((found, gate), up) in y.iter().zip(&alone[gate]).zip(&alone[up]) {
                    let expected = silu(*gate) * f64::from(*up);
                    common::close(*found, expected, expected.abs() + f64::from(up.abs()) * 1e-6, 1e-5);
                }
            }
        }
    });
}

#[test]
fn extreme_codes_do_not_overflow() {
    each_isa(|isa| {
        for format in Format::ALL {
            for fill in [0x00, 0xff, 0x80, 0x7f] {
                for sign in [1.0_f32, -1.0] {
                    let (rows, columns) = (16, 512);
                    let mut bytes = vec![fill; rows * format.row_bytes(columns)];
                    let halves: &[usize] = match format {
                        Format::Q8_0 | Format::Q4_0 => &[0],
                        Format::Q4_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
                        Format::Q6_K => &[208],
                    };
                    for block in bytes.chunks_exact_mut(format.block_bytes()) {
                        halves.iter().for_each(|at| block[*at..at + 2].copy_from_slice(&0x3c00_u16.to_le_bytes()));
                    }
                    let encoding = Encoding::Blocks(format);
                    let numbers_w = meaning(encoding, &bytes, rows * columns);
                    let matrix = PackedMatrix::pack(encoding, rows, columns, &bytes);
                    let x: Vec<f32> = (0..7 * columns).map(|_| 127.0 * sign).collect();
                    let found = product(&matrix, &x, 7);
                    let expected: f64 = numbers_w[..columns].iter().map(|w| f64::from(*w) * 127.0).sum();
                    for found in found {
                        let found = f64::from(f32::from_bits(found));
                        let error = (found - f64::from(sign) * expected).abs();
                        // Minimums are taken off a sum that is larger than what is left.
                        assert!(
                            error <= 1e-6 * 63.0 * 512.0 * 127.0 * 32.0,
                            "{isa:?} {format:?} {fill}: {found} {expected}"
                        );
                    }
                }
            }
        }
    });
}

#[test]
fn what_is_not_a_number_stays_in_its_row() {
    each_isa(|isa| {
        for encoding in encodings() {
            let (rows, columns, tokens) = (20, 512, 8);
            let matrix = PackedMatrix::pack(encoding, rows, columns, &weights(encoding, rows, columns, 6));
            let mut x = numbers(tokens * columns, 1);
            x[3 * columns + 300] = f32::NAN;
            let found: Vec<f32> = product(&matrix, &x, tokens).into_iter().map(f32::from_bits).collect();
            for (token, y) in found.chunks(rows).enumerate() {
                assert!(y.iter().all(|y| y.is_nan() == (token == 3)), "{isa:?} {encoding:?} {token} {y:?}");
            }
            let alone: Vec<f32> = product(&matrix, &x[3 * columns..], 1).into_iter().map(f32::from_bits).collect();
            assert!(alone.iter().all(|y| y.is_nan()), "{isa:?} {encoding:?}");
        }
    });
}

#[test]
#[should_panic(expected = "not prepared")]
fn activations_for_another_matrix_are_refused() {
    let make = |format| PackedMatrix::pack(Encoding::Blocks(format), 1, 256, &vec![0; Format::row_bytes(format, 256)]);
    let (one, other) = (make(Format::Q4_K), make(Format::Q8_0));
    let mut activations = Activations::new();
    activations.prepare(&[0.0; 256], 256, &[&one]);
    multiply(&mut [0.0], &other, &activations);
}
