//! Products with weights that are packed once and multiplied many times: `c = epilogue(a · b)`.
//!
//! [`super::gemm`] packs both operands anew, because training changes them. Here `b` is kept in the panels of `panel`,
//! in stretches of the inner dimension, and a task packs some rows of `a`, which then meet every panel of `b`: a panel
//! is read from the large cache once for all of the task's rows.
//!
//! For one instruction set a row has the same bits alone and among any others: each element is summed up in the order of
//! the inner dimension, whatever tile it is in.

use super::drive::{Block, tiles};
use super::finish::{Earlier, Finish, Place};
use super::panel::{Buffer, Engine, Kind, Source};
use super::{Compute, Epilogue, Matrix, MatrixMut, sources};
use crate::parallel;

/// Panels of rows of a task: with the columns of a usual width they stay in a core's second cache.
const PANELS: usize = 10;
/// A line of the cache, at which panels begin.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; 16]);

/// The right operand of products, packed for the instruction set that was in use.
#[derive(Debug)]
pub struct PackedColumns {
    engine: &'static Engine,
    lines: Vec<Line>,
    /// The first word of each stretch of the inner dimension, and its elements.
    stretches: Vec<(usize, usize)>,
    rows: usize,
    columns: usize,
}

impl PackedColumns {
    /// Packs a matrix of `inner × columns`.
    #[must_use]
    pub fn new(compute: Compute, b: Matrix<'_>) -> Self {
        let engine = Engine::choose(compute);
        let (rows, columns) = (b.rows, b.columns);
        let (_, source) = sources(b, b);
        let count = rows.div_ceil(engine.inner).max(1);
        let size = rows.div_ceil(count).next_multiple_of(engine.depth);
        let (mut stretches, mut length) = (Vec::new(), 0);
        for index in 0..count {
            let depth = size.min(rows - index * size);
            stretches.push((length, depth));
            length += engine.columns_length(columns, depth).next_multiple_of(16);
        }
        let mut packed = Self { engine, lines: vec![Line([0; 16]); length / 16], stretches, rows, columns };
        for (index, (first, depth)) in packed.stretches.clone().into_iter().enumerate() {
            let part = source.part(0, columns, index * size, depth);
            let length = engine.columns_length(columns, depth);
            engine.pack_columns(&mut packed.words_mut()[first..first + length], &part);
        }
        packed
    }

    /// The size of the inner dimension.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns of a product.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    fn words(&self) -> &[u32] {
        // SAFETY: a line is 16 words without padding.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), 16 * self.lines.len()) }
    }

    fn words_mut(&mut self) -> &mut [u32] {
        // SAFETY: a line is 16 words without padding.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), 16 * self.lines.len()) }
    }
}

/// `c = epilogue(a · b)`; `a` is `rows × b.rows()`, `c` is `rows × b.columns()`.
///
/// # Panics
/// When the shapes do not fit each other, or a part of the epilogue does not fit `c`.
pub fn gemm_packed(c: MatrixMut<'_>, a: Matrix<'_>, b: &PackedColumns, epilogue: Epilogue<'_>) {
    assert!(
        a.columns == b.rows && c.rows == a.rows && c.columns == b.columns,
        "a product of {} × {} and {} × {} in {} × {}",
        a.rows,
        a.columns,
        b.rows,
        b.columns,
        c.rows,
        c.columns
    );
    super::check_extent(a.data.len(), a.rows, a.columns, a.row_stride, a.column_stride);
    super::check_extent(c.data.len(), c.rows, c.columns, c.row_stride, 1);
    assert!(c.rows < 2 || c.row_stride >= c.columns, "rows of the product overlap");
    epilogue.check(c.rows, c.columns);
    if c.rows == 0 || c.columns == 0 {
        return;
    }
    let (a, _) = sources(a, a);
    let mut c = c;
    let finish = Finish::new(&mut c, epilogue);
    // Sums of several stretches are kept in the product itself, or beside it where that is narrower.
    let count = b.stretches.len();
    let mut kept = match finish.to {
        Place::Bf16(_) if count > 1 => vec![0.0_f32; a.width * b.columns],
        _ => Vec::new(),
    };
    let (sums, stride) = match finish.to {
        Place::F32(to) => (to, finish.row_stride),
        Place::Bf16(_) => (kept.as_mut_ptr(), b.columns),
    };
    let mut begin = 0;
    for (index, (first, depth)) in b.stretches.iter().enumerate() {
        let (is_first, last) = (index == 0, index + 1 == count);
        let earlier = (count > 1).then_some(Earlier { sums, stride, first: is_first, last });
        let words = &b.words()[*first..first + b.engine.columns_length(b.columns, *depth)];
        one_stretch(b.engine, &finish, &a.part(0, a.width, begin, *depth), (words, b.columns), earlier);
        begin += depth;
    }
}

fn one_stretch(
    engine: &'static Engine,
    finish: &Finish<'_>,
    a: &Source<'_>,
    (packed, columns): (&[u32], usize),
    earlier: Option<Earlier>,
) {
    let units = engine.units(a.depth);
    // Tasks of about the same size.
    let panels = a.width.div_ceil(engine.rows);
    let size = panels.div_ceil(panels.div_ceil(PANELS)) * engine.rows;
    parallel::run(a.width.div_ceil(size), |index| {
        let first = index * size;
        let width = size.min(a.width - first);
        Buffer::with(Kind::Local, engine.rows_length(width, a.depth), |own| {
            engine.pack_rows(own, &a.part(first, width, 0, a.depth));
            let block = Block { a: own, b: packed, rows: (first, width), columns: (0, columns) };
            tiles(engine, finish, &block, units, true, earlier);
        });
    });
}
