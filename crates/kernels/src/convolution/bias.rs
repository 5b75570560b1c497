//! The gradient by bias: sums over all rows of a matrix.

use crate::isa::kernel;
use crate::parallel::{self, Shared};

/// Rows that are summed in `f32` before the sums are added in double precision.
const ROWS: usize = 256;

/// `dbias[o] = Σ dy[…, o]`: the gradient by bias of a convolution, a linear layer or a recurrent one. `dy_mo`
/// is a matrix of any number of rows with `dbias.len()` columns. Pieces of 256 rows are summed in `f32`, their
/// sums in double precision.
///
/// # Panics
/// When `dy_mo` is not whole rows.
pub fn backward_bias(dbias: &mut [f32], dy_mo: &[f32]) {
    let width = dbias.len();
    assert!(dy_mo.is_empty() || width > 0 && dy_mo.len().is_multiple_of(width), "rows of {width} columns");
    let pieces = dy_mo.len().div_ceil((ROWS * width).max(1));
    let mut sums = vec![0.0_f32; pieces * width];
    let shared = Shared(sums.as_mut_ptr());
    // Some pieces to a task, so that it is worth a claim.
    const PIECES: usize = 4;
    parallel::run(pieces.div_ceil(PIECES), |task| {
        for piece in task * PIECES..((task + 1) * PIECES).min(pieces) {
            let begin = piece * ROWS * width;
            let rows = &dy_mo[begin..(begin + ROWS * width).min(dy_mo.len())];
            // SAFETY: pieces do not overlap, and `sums` is touched by nothing else until `run` returns.
            let sums = unsafe { std::slice::from_raw_parts_mut(shared.get().add(piece * width), width) };
            add_up(sums, rows);
        }
    });
    for (o, dbias) in dbias.iter_mut().enumerate() {
        *dbias = sums.iter().skip(o).step_by(width).map(|sum| f64::from(*sum)).sum::<f64>() as f32;
    }
}

kernel! {
    /// Adds each row onto `sums`.
    pub fn add_up(sums: &mut [f32], rows: &[f32]) {
        let width = sums.len();
        const WIDTH: usize = 64;
        for begin in (0..width).step_by(WIDTH) {
            let end = (begin + WIDTH).min(width);
            if end - begin == WIDTH {
                let mut lanes = [0.0_f32; WIDTH];
                for row in rows.chunks_exact(width) {
                    for (lane, value) in lanes.iter_mut().zip(&row[begin..end]) {
                        *lane += value;
                    }
                }
                for (sum, lane) in sums[begin..end].iter_mut().zip(&lanes) {
                    *sum += lane;
                }
            } else {
                for row in rows.chunks_exact(width) {
                    for (sum, value) in sums[begin..end].iter_mut().zip(&row[begin..end]) {
                        *sum += value;
                    }
                }
            }
        }
    }
}
