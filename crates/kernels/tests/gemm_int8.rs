//! Products of bytes, which are exact, on every instruction set.

mod common;

use common::each_isa;
use kernels::gemm::{Bytes, int8};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn products_of_bytes_are_exact(rows in 0..40_usize, inner in 0..40_usize, columns in 0..70_usize, seed in any::<u32>()) {
        let bytes = |count: usize, salt: u32| -> Vec<i8> {
            (0..count as u32).map(|i| ((i ^ salt).wrapping_mul(seed | 1) >> 13) as i8).collect()
        };
        let (a, b) = (bytes(rows * inner, 1), bytes(columns * inner, 77));
        let without_sign: Vec<u8> = a.iter().map(|a| *a as u8).collect();
        each_isa(|isa| {
            for a in [Bytes::I8(&a), Bytes::U8(&without_sign)] {
                let mut c = vec![i32::MAX; rows * columns];
                int8(&mut c, a, &b, rows, inner, columns);
                for (place, found) in c.iter().enumerate() {
                    let (row, column) = (place / columns, place % columns);
                    let at = |k: usize| match a {
                        Bytes::I8(a) => i32::from(a[row * inner + k]),
                        Bytes::U8(a) => i32::from(a[row * inner + k]),
                    };
                    let expected: i32 = (0..inner).map(|k| at(k) * i32::from(b[column * inner + k])).sum();
                    assert_eq!(*found, expected, "{isa:?} {row} {column}");
                }
            }
        });
    }
}

#[test]
fn extremes_do_not_saturate() {
    let inner = 1021;
    each_isa(|_| {
        for (a, b) in [(-128_i8, -128_i8), (127, -128), (-128, 127)] {
            let mut c = [0];
            int8(&mut c, &vec![a; inner][..], &vec![b; inner], 1, inner, 1);
            assert_eq!(c[0], inner as i32 * i32::from(a) * i32::from(b));
        }
        let mut c = [0];
        int8(&mut c, &vec![255_u8; inner][..], &vec![-128; inner], 1, inner, 1);
        assert_eq!(c[0], inner as i32 * 255 * -128);
    });
}
