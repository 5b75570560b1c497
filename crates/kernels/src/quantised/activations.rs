//! What weights are multiplied with: rows of `f32`, rounded to bytes block by block.
//!
//! As llama.cpp does it: `d = max|x|/127` and `q = round(x/d)` for blocks of 32 (partners of `Q8_0`, `Q4_0` and
//! `Q4_1`) or of 256 (partners of the K formats), with the sums of `q` that minimums and offsets of weights are
//! multiplied by. Sums are exact. Here `d` stays an `f32`.
//!
//! Columns are cut into *chunks* of 256, the last filled up with zeros, and each chunk of all rows lies together:
//!
//! ```text
//! codes   [chunk][row][256]   bytes
//! blocks  [chunk][row]        scales and sums of these 256 columns
//! ```
//!
//! so that a product reads a chunk of a few rows front to back. Matrices of `f32` and f16 take the rows as they
//! are, those of bf16 rows that are rounded to bf16.

use super::packed::{Encoding, PackedMatrix};
use super::{Format, round};
use crate::bf16::Bf16;
use crate::rows::Parts;

/// Columns of a chunk.
pub(super) const CHUNK: usize = 256;
/// Scales and sums of the eight blocks of 32 in a chunk.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Blocks32 {
    /// `d`.
    pub(super) scales: [f32; 8],
    /// `−Σq`.
    pub(super) negated: [i32; 8],
    /// `d · Σq`.
    pub(super) sums: [f32; 8],
}

/// The scale and the sums of a block of 256.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Block256 {
    /// `−Σq` of 16 neighbours.
    pub(super) negated: [i32; 16],
    /// `Σq` of 32 neighbours, in pairs of 16 bits: those numbered 0 and 2, 1 and 3, 4 and 6, 5 and 7.
    pub(super) pairs: [u32; 4],
    /// `d`.
    pub(super) scale: f32,
}

/// In which form a matrix wants its activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Blocks32,
    Blocks256,
    F32,
    Bf16,
}

impl Kind {
    pub(super) fn of(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Blocks(Format::Q8_0 | Format::Q4_0 | Format::Q4_1) => Self::Blocks32,
            Encoding::Blocks(Format::Q4_K | Format::Q5_K | Format::Q6_K) => Self::Blocks256,
            Encoding::F32 | Encoding::F16 => Self::F32,
            Encoding::Bf16 => Self::Bf16,
        }
    }
}

/// Rows that were rounded for products. The buffers stay for the next use.
#[derive(Debug, Default)]
pub struct Activations {
    rows: usize,
    columns: usize,
    codes32: Vec<i8>,
    blocks32: Vec<Blocks32>,
    codes256: Vec<i8>,
    blocks256: Vec<Block256>,
    /// `[row][column]`, the bits of an `f32`.
    floats: Vec<u32>,
    /// `[row][pair of columns]`, the even one in the lower half.
    pairs: Vec<u32>,
}

impl Activations {
    /// No rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of rows: tokens.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Takes rows of `columns` elements, in every form that one of the matrices wants. What was there is
    /// forgotten. A row's bits do not depend on the other rows.
    ///
    /// What is infinite or not a number makes the products of its row not a number with weights in blocks; sizes below 10⁻³⁶ count as 0 in blocks
    /// that have nothing larger.
    ///
    /// # Panics
    /// When `x` is not whole rows, or a matrix has another number of columns.
    pub fn prepare(&mut self, x: &[f32], columns: usize, matrices: &[&PackedMatrix]) {
        self.rows = crate::rows::count(x.len(), columns);
        self.columns = columns;
        self.codes32.clear();
        self.blocks32.clear();
        self.codes256.clear();
        self.blocks256.clear();
        self.floats.clear();
        self.pairs.clear();
        for matrix in matrices {
            assert_eq!(matrix.columns(), columns, "columns of a matrix for rows of {columns}");
            match Kind::of(matrix.encoding()) {
                Kind::Blocks32 if self.codes32.is_empty() => {
                    fill(&mut self.codes32, &mut self.blocks32, x, columns, round::blocks32);
                }
                Kind::Blocks256 if self.codes256.is_empty() => {
                    fill(&mut self.codes256, &mut self.blocks256, x, columns, round::block256);
                }
                Kind::F32 if self.floats.is_empty() => self.floats.extend(x.iter().map(|x| x.to_bits())),
                Kind::Bf16 if self.pairs.is_empty() && columns > 0 => {
                    for row in x.chunks_exact(columns) {
                        self.pairs.extend(row.chunks(2).map(pair));
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn blocks32(&self) -> (&[i8], &[Blocks32]) {
        (&self.codes32, &self.blocks32)
    }

    pub(super) fn blocks256(&self) -> (&[i8], &[Block256]) {
        (&self.codes256, &self.blocks256)
    }

    /// The words of all rows for weights that are numbers, and how many a row has.
    pub(super) fn words(&self, encoding: Encoding) -> (&[u32], usize) {
        match encoding {
            Encoding::Bf16 => (&self.pairs, self.columns.div_ceil(2)),
            _ => (&self.floats, self.columns),
        }
    }

    /// Whether the form that a matrix wants was prepared.
    pub(super) fn fits(&self, matrix: &PackedMatrix) -> bool {
        let there = match Kind::of(matrix.encoding()) {
            Kind::Blocks32 => !self.codes32.is_empty(),
            Kind::Blocks256 => !self.codes256.is_empty(),
            Kind::F32 => !self.floats.is_empty(),
            Kind::Bf16 => !self.pairs.is_empty(),
        };
        matrix.columns() == self.columns && (there || self.rows == 0 || self.columns == 0)
    }
}

fn pair(columns: &[f32]) -> u32 {
    let half = |column: usize| columns.get(column).map_or(0, |x| u32::from(Bf16::from_f32(*x).0));
    half(0) | half(1) << 16
}

/// Rounds chunks of all rows with `round`.
fn fill<B: Default + Copy + Send + Sync>(
    codes: &mut Vec<i8>,
    blocks: &mut Vec<B>,
    x: &[f32],
    columns: usize,
    round: fn(&mut [i8; CHUNK], &mut B, &[f32]),
) {
    if columns == 0 {
        return;
    }
    let (rows, chunks) = (x.len() / columns, columns.div_ceil(CHUNK));
    codes.resize(rows * chunks * CHUNK, 0);
    blocks.resize(rows * chunks, B::default());
    let (codes, blocks) = (Parts::new(codes), Parts::new(blocks));
    crate::rows::run(rows, columns, |_, range| {
        for row in range {
            let row_x = &x[row * columns..][..columns];
            for (chunk, x) in row_x.chunks(CHUNK).enumerate() {
                let at = chunk * rows + row;
                // SAFETY: each chunk of each row is taken once.
                let (codes, block) = unsafe { (codes.take(at * CHUNK..(at + 1) * CHUNK), blocks.take(at..at + 1)) };
                let (codes, _) = codes.as_chunks_mut::<CHUNK>();
                round(&mut codes[0], &mut block[0], x);
            }
        }
    });
}
