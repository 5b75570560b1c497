//! Products against plain sums.
use kernels::gemm::*;
#[test]
fn products_of_small_integers_are_exact() {
    for isa in kernels::isa::available() {
        kernels::isa::force(Some(isa));
        for (m, k, n) in [(1, 1, 1), (15, 33, 37), (100, 65, 70), (40, 2100, 50), (5, 0, 7), (70, 70, 15)] {
            for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
                for compute in [Compute::F32, Compute::Bf16] {
                    let a: Vec<f32> = (0..m * k).map(|i| ((i * 7919) % 17) as f32 - 8.0).collect();
                    let b: Vec<f32> = (0..k * n).map(|i| ((i * 104729) % 13) as f32 - 6.0).collect();
                    let ma = if ta { Matrix::new(&*a, k, m).transposed() } else { Matrix::new(&*a, m, k) };
                    let mb = if tb { Matrix::new(&*b, n, k).transposed() } else { Matrix::new(&*b, k, n) };
                    let mut c = vec![0.0; m * n];
                    gemm(compute, MatrixMut::new(&mut *c, m, n), ma, mb, Epilogue::default());
                    for i in 0..m {
                        for j in 0..n {
                            let e: f32 = (0..k)
                                .map(|l| {
                                    a[i * ma.row_stride + l * ma.column_stride]
                                        * b[l * mb.row_stride + j * mb.column_stride]
                                })
                                .sum();
                            assert_eq!(c[i * n + j], e, "{isa:?} {compute:?} {m} {k} {n} {ta} {tb} at {i} {j}");
                        }
                    }
                }
            }
        }
    }
}
