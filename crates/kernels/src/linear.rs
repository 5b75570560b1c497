//! Matrices times vectors, and sums of rows of a table; in `f32`, and with weights of eight bits.
//!
//! A product is computed in tiles of a few rows and a few vectors that share what they load. Each
//! element of a tile has its own 16 partial sums in the order of [`crate::dot`], so that neither the
//! tile nor the batch shows in the result.

use crate::LANES;
use crate::isa::kernel;
use crate::vector::{multiply_add, pad, reduce, widen};

/// Rows of weights in a tile.
const ROWS: usize = 4;
/// Vectors in a tile.
const VECTORS: usize = 2;

kernel! {
    /// `y[n][o] = Σ w[o][i]·x[n][i] + bias[o]` for every vector of `x`; `columns` is the length of a
    /// vector of `x` and of a row of `w`, and `w` has as many rows as a vector of `y` is long.
    ///
    /// # Panics
    /// When the slices do not fit each other.
    pub fn linear(y: &mut [f32], w: &[f32], x: &[f32], bias: Option<&[f32]>, columns: usize) {
        product(y, w, x, columns, |element, row| bias.map_or(element, |bias| element + bias[row]));
    }
}

kernel! {
    /// `y[n][o] = scale[o]·Σ w[o][i]·x[n][i]`: as [`linear`], with weights of eight bits.
    ///
    /// # Panics
    /// When the slices do not fit each other.
    pub fn linear_int8(y: &mut [f32], w: &[i8], scales: &[f32], x: &[f32], columns: usize) {
        product(y, w, x, columns, |element, row| element * scales[row]);
    }
}

kernel! {
    /// `y += Σ value · table[index]` over `(index, value)` pairs in their order; a row of the table is
    /// as long as `y`.
    ///
    /// # Panics
    /// When the table has no such row.
    pub fn add_rows(y: &mut [f32], table: &[f32], pairs: &[(u32, f32)]) {
        let width = y.len();
        for (index, value) in pairs {
            let start = *index as usize * width;
            for (y, w) in y.iter_mut().zip(&table[start..start + width]) {
                *y = value.mul_add(*w, *y);
            }
        }
    }
}

kernel! {
    /// `y += Σ value · scale[index] · table[index]`: as [`add_rows`], with weights of eight bits.
    ///
    /// # Panics
    /// When the table has no such row.
    pub fn add_rows_int8(y: &mut [f32], table: &[i8], scales: &[f32], pairs: &[(u32, f32)]) {
        let width = y.len();
        for (index, value) in pairs {
            let start = *index as usize * width;
            let value = value * scales[*index as usize];
            for (y, w) in y.iter_mut().zip(&table[start..start + width]) {
                *y = value.mul_add(f32::from(*w), *y);
            }
        }
    }
}

/// A weight as it is stored.
trait Weight: Copy + Default {
    fn block(block: &[Self; LANES]) -> [f32; LANES];
}

impl Weight for f32 {
    #[inline(always)]
    fn block(block: &[Self; LANES]) -> [f32; LANES] {
        *block
    }
}

impl Weight for i8 {
    #[inline(always)]
    fn block(block: &[Self; LANES]) -> [f32; LANES] {
        widen(block)
    }
}

/// Every element of the product, given to `finish` with its row before it is stored.
#[inline(always)]
fn product<W: Weight>(y: &mut [f32], w: &[W], x: &[f32], columns: usize, finish: impl Fn(f32, usize) -> f32) {
    let Some((rows, vectors)) = shape(y.len(), w.len(), x.len(), columns) else {
        // Rows without elements: every sum is empty.
        let rows = y.len().max(1);
        y.iter_mut().enumerate().for_each(|(index, y)| *y = finish(0.0, index % rows));
        return;
    };
    let w_row = |row: usize| &w[row * columns..(row + 1) * columns];
    let x_row = |vector: usize| &x[vector * columns..(vector + 1) * columns];
    let mut row = 0;
    while row < rows {
        let tall = row + ROWS <= rows;
        let mut vector = 0;
        while vector < vectors {
            let wide = vector + VECTORS <= vectors;
            let at = |r: usize, v: usize| (vector + v) * rows + row + r;
            match (tall, wide) {
                (true, true) => {
                    let sums = tile::<W, ROWS, VECTORS>(
                        std::array::from_fn(|r| w_row(row + r)),
                        std::array::from_fn(|v| x_row(vector + v)),
                    );
                    store(y, &sums, at, row, &finish);
                }
                (true, false) => {
                    let sums = tile::<W, ROWS, 1>(std::array::from_fn(|r| w_row(row + r)), [x_row(vector)]);
                    store(y, &sums, at, row, &finish);
                }
                (false, true) => {
                    let sums = tile::<W, 1, VECTORS>([w_row(row)], std::array::from_fn(|v| x_row(vector + v)));
                    store(y, &sums, at, row, &finish);
                }
                (false, false) => {
                    let sums = tile::<W, 1, 1>([w_row(row)], [x_row(vector)]);
                    store(y, &sums, at, row, &finish);
                }
            }
            vector += if wide { VECTORS } else { 1 };
        }
        row += if tall { ROWS } else { 1 };
    }
}

/// The rows of `w` and the vectors of `x`, or nothing where they have no elements.
#[inline(always)]
fn shape(y: usize, w: usize, x: usize, columns: usize) -> Option<(usize, usize)> {
    if columns == 0 {
        assert_eq!((w, x), (0, 0), "elements of rows without columns");
        return None;
    }
    let (rows, vectors) = (w / columns, x / columns);
    assert_eq!((rows * columns, vectors * columns, rows * vectors), (w, x, y), "shapes of a product");
    Some((rows, vectors))
}

#[inline(always)]
fn store<const R: usize, const V: usize>(
    y: &mut [f32],
    sums: &[[f32; V]; R],
    at: impl Fn(usize, usize) -> usize,
    row: usize,
    finish: &impl Fn(f32, usize) -> f32,
) {
    for (r, sums) in sums.iter().enumerate() {
        for (v, sum) in sums.iter().enumerate() {
            y[at(r, v)] = finish(*sum, row + r);
        }
    }
}

/// `R × V` products of rows and vectors of one length.
#[inline(always)]
fn tile<W: Weight, const R: usize, const V: usize>(w: [&[W]; R], x: [&[f32]; V]) -> [[f32; V]; R] {
    let blocks = x[0].len() / LANES;
    let w_parts = w.map(<[W]>::as_chunks::<LANES>);
    let x_parts = x.map(<[f32]>::as_chunks::<LANES>);
    let (w_blocks, x_blocks) = (w_parts.map(|(all, _)| &all[..blocks]), x_parts.map(|(all, _)| &all[..blocks]));
    let mut sums = [[[0.0; LANES]; V]; R];
    for block in 0..blocks {
        for r in 0..R {
            let w = W::block(&w_blocks[r][block]);
            for v in 0..V {
                multiply_add(&mut sums[r][v], &w, &x_blocks[v][block]);
            }
        }
    }
    if !x_parts[0].1.is_empty() {
        for r in 0..R {
            let w = W::block(&pad(w_parts[r].1));
            for v in 0..V {
                multiply_add(&mut sums[r][v], &w, &pad(x_parts[v].1));
            }
        }
    }
    let mut totals = [[0.0; V]; R];
    for r in 0..R {
        for v in 0..V {
            totals[r][v] = reduce(&sums[r][v]);
        }
    }
    totals
}
