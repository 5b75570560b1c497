//! Embeddings: rows of a table looked up by token, and the gradient added back to them.
//!
//! Shapes: `n` tokens, a table of `v` rows of `w` columns, `t` learned position rows. Backward is cut by
//! columns: each task adds the gradients of its own columns in the order of the tokens, so that the result
//! has the same bits for any number of threads.

use std::ops::Range;

use crate::parallel;
use crate::rows::{self, Parts};

/// Columns of a task of the backward pass.
const COLUMNS: usize = 64;

/// `y[n] = table[token[n]]`, plus `table[position[n]]` of a table of learned positions where one is given.
///
/// # Panics
/// When the slices do not fit, or a token or a position has no row.
pub fn embed(y_nw: &mut [f32], table_vw: &[f32], tokens_n: &[u32], positions: Option<(&[f32], &[u32])>, width: usize) {
    check(y_nw.len(), table_vw.len(), tokens_n, width);
    if let Some((table_tw, positions_n)) = positions {
        check(y_nw.len(), table_tw.len(), positions_n, width);
    }
    if width == 0 {
        return;
    }
    let y = Parts::new(y_nw);
    rows::run(tokens_n.len(), width, |_, range| {
        for row in range {
            // SAFETY: rows of different tasks do not overlap.
            let y = unsafe { y.take(row * width..(row + 1) * width) };
            y.copy_from_slice(&table_vw[span(tokens_n[row], width, 0..width)]);
            if let Some((table_tw, positions_n)) = positions {
                rows::add(y, &table_tw[span(positions_n[row], width, 0..width)]);
            }
        }
    });
}

/// `d_table[token[n]] += dy[n]`: the gradient of one table of [`embed`]; call it again for the positions.
///
/// # Panics
/// When the slices do not fit, or a token has no row.
pub fn embed_backward(d_table_vw: &mut [f32], dy_nw: &[f32], tokens_n: &[u32], width: usize) {
    check(dy_nw.len(), d_table_vw.len(), tokens_n, width);
    if width == 0 {
        return;
    }
    let d_table = Parts::new(d_table_vw);
    parallel::run(width.div_ceil(COLUMNS), |task| {
        let columns = task * COLUMNS..width.min((task + 1) * COLUMNS);
        for (dy_w, token) in dy_nw.chunks_exact(width).zip(tokens_n) {
            // SAFETY: tasks have columns of their own, and within a task the rows are taken one by one.
            let to = unsafe { d_table.take(span(*token, width, columns.clone())) };
            rows::add(to, &dy_w[columns.clone()]);
        }
    });
}

/// Where some columns of a row stand.
fn span(row: u32, width: usize, columns: Range<usize>) -> Range<usize> {
    let start = row as usize * width;
    start + columns.start..start + columns.end
}

#[track_caller]
fn check(elements: usize, table: usize, rows_n: &[u32], width: usize) {
    assert_eq!(elements, rows_n.len() * width, "{} rows of {width}", rows_n.len());
    let height = rows::count(table, width);
    let outside = if width == 0 { None } else { rows_n.iter().find(|row| **row as usize >= height) };
    assert!(outside.is_none(), "row {outside:?} of a table of {height}");
}
