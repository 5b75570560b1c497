//! Blocks of GGUF files against the Python package `gguf` (`crates/xtask/peers/gguf_golden.py`).

mod common;

use common::numbers;
use kernels::quantised::Format;
use proptest::prelude::*;

fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/gguf/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn blocks_mean_what_gguf_says() {
    for format in Format::ALL {
        let (blocks, expected) =
            (golden(&format!("{format:?}.blocks")), floats(&golden(&format!("{format:?}.values"))));
        let mut found = vec![0.0; blocks.len() / format.block_bytes() * format.block_elements()];
        format.dequantise(&mut found, &blocks);
        assert_eq!(found.len(), expected.len());
        for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
            assert!(same, "{format:?} {place}: {found} instead of {expected}");
        }
    }
}

#[test]
fn elements_become_the_blocks_that_gguf_makes() {
    let elements = floats(&golden("elements.values"));
    for format in [Format::Q8_0, Format::Q4_0, Format::Q4_1] {
        let mut found = vec![0; format.row_bytes(elements.len())];
        format.quantise(&mut found, &elements);
        assert_eq!(found, golden(&format!("{format:?}.quantised")), "{format:?}");
    }
}

/// The largest error that rounding leaves in a block, in parts of its largest element.
fn worst(format: Format) -> f32 {
    match format {
        Format::Q8_0 => 0.005,
        Format::Q4_0 => 0.13,
        Format::Q4_1 => 0.07,
        // A step is 2/15 or 2/31 of the largest element. Rounding takes half of one; the search, which prefers small
        // errors of many elements to one of the largest, and the rounding of its scales to 6 bits take less than the
        // other half in 5,000 random blocks, and a tenth more is allowed.
        Format::Q4_K => 2.2 / 15.0,
        Format::Q5_K => 2.2 / 31.0,
        Format::Q6_K => 0.04,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn elements_come_back_from_their_blocks(seed in any::<u64>(), exponent in 0..4_i32) {
        let elements: Vec<f32> = numbers(1024, seed).iter().map(|x| x * 10_f32.powi(exponent)).collect();
        for format in Format::ALL {
            let mut blocks = vec![0; format.row_bytes(elements.len())];
            format.quantise(&mut blocks, &elements);
            let mut back = vec![0.0; elements.len()];
            format.dequantise(&mut back, &blocks);
            for (back, elements) in back.chunks(format.block_elements()).zip(elements.chunks(format.block_elements())) {
                let largest = elements.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
                for (back, x) in back.iter().zip(elements) {
                    prop_assert!((back - x).abs() <= worst(format) * largest, "{format:?}: {back} instead of {x}");
                }
            }
        }
    }
}

#[test]
fn zeros_and_equal_elements_come_back() {
    for format in Format::ALL {
        for value in [0.0_f32, 0.5, -0.5] {
            let mut blocks = vec![0xff; format.row_bytes(256)];
            format.quantise(&mut blocks, &[value; 256]);
            let mut back = vec![1.0; 256];
            format.dequantise(&mut back, &blocks);
            assert!(back.iter().all(|back| (back - value).abs() < 0.005), "{format:?} {value}: {:?}", &back[..4]);
        }
    }
}
