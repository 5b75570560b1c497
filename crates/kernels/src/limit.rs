//! How fast this machine multiplies at best: the yardstick beside which rates are told.

use std::time::{Duration, Instant};

use crate::gemm::{Compute, Epilogue, Matrix, MatrixMut, gemm};

/// Rows, columns and inner elements of the product that is timed: large enough to hide packing, small
/// enough for the cache.
const SIZE: usize = 1024;
/// How long is measured.
const TIME: Duration = Duration::from_millis(60);

/// Floating-point operations a second of a large matrix product on all [`crate::parallel::threads`]: the
/// best of several, measured now.
#[must_use]
pub fn measure(compute: Compute) -> f64 {
    let values = vec![1.0_f32; SIZE * SIZE];
    let mut product = vec![0.0_f32; SIZE * SIZE];
    let begun = Instant::now();
    let mut best = f64::INFINITY;
    while begun.elapsed() < TIME || best.is_infinite() {
        let once = Instant::now();
        let (a, b) = (Matrix::new(&values[..], SIZE, SIZE), Matrix::new(&values[..], SIZE, SIZE));
        gemm(compute, MatrixMut::new(&mut product[..], SIZE, SIZE), a, b, Epilogue::default());
        best = best.min(once.elapsed().as_secs_f64());
    }
    2.0 * (SIZE * SIZE * SIZE) as f64 / best.max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_a_rate() {
        for compute in [Compute::F32, Compute::Bf16] {
            let rate = measure(compute);
            assert!(rate.is_finite() && rate > 1e6, "{rate}");
        }
    }
}
