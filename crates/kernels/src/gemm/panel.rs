//! The parts of a product: packing panels, and multiplying two packed panels into a tile.
//!
//! # Layout
//!
//! A *unit* is 32 bits: [`Engine::depth`] neighbours along the inner dimension of one row of `a` or of one
//! column of `b` (one `f32`, two bf16 with the earlier one in the lower half, or four bytes). A *panel* holds
//! [`Engine::rows`] rows of `a`, or [`Engine::columns`] columns of `b`, for a stretch of the inner dimension:
//!
//! ```text
//! panel[u · width + i]   unit u of row (column) i of the panel
//! ```
//!
//! Panels follow each other without gaps, `width · units` words each. Missing rows or columns of the last
//! panel and missing elements of the last unit are zero.
//!
//! [`Engine::pack_rows`] and [`Engine::pack_columns`] pack any number of panels;
//! [`Engine::multiply_tile`] multiplies a panel of rows with a panel of columns that have the same number of
//! units and writes, or adds to, up to `Engine::rows × Engine::columns` elements of `f32`. They panic where
//! panels are too short.

use std::cell::Cell;

use super::{Compute, Data, portable};
use crate::isa::{self, Isa};

/// The most elements that a tile of any engine has.
pub(crate) const TILE_MAX: usize = 14 * 32;

/// Where rows of `a` or columns of `b` come from. The element `d` of row (column) `w` is
/// `data[offset + w · width_stride + d · depth_stride]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) data: Data<'a>,
    pub(crate) offset: usize,
    /// The number of rows of `a` or of columns of `b`.
    pub(crate) width: usize,
    /// The size of the inner dimension.
    pub(crate) depth: usize,
    pub(crate) width_stride: usize,
    pub(crate) depth_stride: usize,
}

impl Source<'_> {
    /// The same, `distance` elements later.
    pub(crate) fn moved(&self, distance: usize) -> Self {
        Self { offset: self.offset + distance, ..*self }
    }

    /// A part of the source.
    pub(crate) fn part(&self, first: usize, width: usize, first_depth: usize, depth: usize) -> Self {
        debug_assert!(first + width <= self.width && first_depth + depth <= self.depth);
        let offset = self.offset + first * self.width_stride + first_depth * self.depth_stride;
        Self { offset, width, depth, ..*self }
    }

    /// # Panics
    /// When an element lies outside the data.
    fn check(&self) {
        let extent = super::extent(self.width, self.depth, self.width_stride, self.depth_stride);
        let end = extent.and_then(|extent| if extent == 0 { Some(0) } else { extent.checked_add(self.offset) });
        assert!(end.is_some_and(|end| end <= self.data.len()), "a source reaches outside its data");
    }
}

/// Packs a checked source into a slice of the right size.
pub(super) type Pack = unsafe fn(to: &mut [u32], source: &Source<'_>);

/// Multiplies two panels into a tile.
pub(super) type Multiply = unsafe fn(tile: Tile, a: &[u32], b: &[u32]);

/// Where a tile is written: `rows × columns` elements from `to` on, with `stride` between the rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile {
    pub(super) to: *mut f32,
    pub(super) stride: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Adds to what is there.
    pub(super) add: bool,
}

/// Packers and a kernel that fit each other, for one precision on one instruction set. The processor has
/// what the engine needs: [`Engine::choose`] sees to that, and nothing else gives engines away.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(super) isa: Isa,
    /// Rows of a tile and of a panel of `a`.
    pub(super) rows: usize,
    /// Columns of a tile and of a panel of `b`.
    pub(super) columns: usize,
    /// Elements in a unit.
    pub(super) depth: usize,
    /// The most elements of the inner dimension that are packed at a time: a multiple of `depth`.
    pub(super) inner: usize,
    pub(super) pack_rows: Pack,
    pub(super) pack_columns: Pack,
    pub(super) multiply: Multiply,
}

impl Engine {
    /// The engine for a precision on the instruction set in use.
    pub(crate) fn choose(compute: Compute) -> &'static Self {
        match (isa::current(), compute) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512Bf16, Compute::Bf16) => &super::avx512::PAIRS,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512 | Isa::Avx512Bf16, Compute::F32) => &super::avx512::SINGLE,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, Compute::Bf16) => &super::avx512::ROUNDED,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, Compute::F32) => &super::avx2::SINGLE,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, Compute::Bf16) => &super::avx2::ROUNDED,
            (Isa::Neon, Compute::F32) => &portable::NEON_SINGLE,
            (Isa::Neon, Compute::Bf16) => &portable::NEON_ROUNDED,
            (_, Compute::F32) => &portable::SINGLE,
            (_, Compute::Bf16) => &portable::ROUNDED,
        }
    }

    /// The number of units that hold `depth` elements of the inner dimension.
    pub(crate) fn units(&self, depth: usize) -> usize {
        depth.div_ceil(self.depth)
    }

    /// The length of all panels of `rows` rows of `a`.
    pub(crate) fn rows_length(&self, rows: usize, depth: usize) -> usize {
        rows.div_ceil(self.rows) * self.rows * self.units(depth)
    }

    /// The length of all panels of `columns` columns of `b`.
    pub(crate) fn columns_length(&self, columns: usize, depth: usize) -> usize {
        columns.div_ceil(self.columns) * self.columns * self.units(depth)
    }

    /// Packs rows of `a`.
    ///
    /// # Panics
    /// When `to` does not have [`Engine::rows_length`] words, or the source reaches outside its data.
    pub(crate) fn pack_rows(&self, to: &mut [u32], source: &Source<'_>) {
        source.check();
        assert_eq!(to.len(), self.rows_length(source.width, source.depth), "length of packed rows");
        // SAFETY: the processor has the instructions; the sizes were checked.
        unsafe { (self.pack_rows)(to, source) }
    }

    /// Packs columns of `b`.
    ///
    /// # Panics
    /// When `to` does not have [`Engine::columns_length`] words, or the source reaches outside its data.
    pub(crate) fn pack_columns(&self, to: &mut [u32], source: &Source<'_>) {
        source.check();
        assert_eq!(to.len(), self.columns_length(source.width, source.depth), "length of packed columns");
        // SAFETY: the processor has the instructions; the sizes were checked.
        unsafe { (self.pack_columns)(to, source) }
    }

    /// Multiplies a panel of rows with a panel of columns: `to[i · stride + j] = Σ a·b`, or `+=`, for the tile's
    /// elements.
    ///
    /// # Panics
    /// When the panels differ in their units, or the tile is larger than the engine's.
    ///
    /// # Safety
    /// The tile's elements can be written (and read, with `add`), and nobody else touches them.
    pub(super) unsafe fn multiply_tile(&self, tile: Tile, a: &[u32], b: &[u32]) {
        let units = a.len() / self.rows;
        assert!(a.len() == units * self.rows && b.len() == units * self.columns, "panels of different units");
        assert!(tile.rows <= self.rows && tile.columns <= self.columns, "a tile larger than the engine's");
        if tile.rows == 0 || tile.columns == 0 {
            return;
        }
        // SAFETY: the processor has the instructions; the sizes were checked; the caller's promise.
        unsafe { (self.multiply)(tile, a, b) }
    }
}

/// A cache line of words.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; 16]);

/// Words aligned to a cache line, which are kept by their thread for the next use.
#[derive(Default)]
pub(crate) struct Buffer {
    lines: Vec<Line>,
}

thread_local! {
    static LOCAL: Cell<Buffer> = const { Cell::new(Buffer { lines: Vec::new() }) };
    static SHARED: Cell<Buffer> = const { Cell::new(Buffer { lines: Vec::new() }) };
}

/// Which of a thread's buffers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// For what a task packs for itself.
    Local,
    /// For what a caller packs for all tasks.
    Shared,
}

impl Buffer {
    /// Calls `work` with `length` words that hold anything. A use inside a use gets other words.
    pub(crate) fn with<R>(kind: Kind, length: usize, work: impl FnOnce(&mut [u32]) -> R) -> R {
        let place = match kind {
            Kind::Local => &LOCAL,
            Kind::Shared => &SHARED,
        };
        let mut buffer = place.take();
        let result = work(buffer.words(length));
        place.set(buffer);
        result
    }

    fn words(&mut self, length: usize) -> &mut [u32] {
        let lines = length.div_ceil(16);
        if self.lines.len() < lines {
            // What is there need not be copied.
            self.lines = Vec::new();
            self.lines = vec![Line([0; 16]); lines];
        }
        // SAFETY: a line is 16 words without padding, and there are enough of them.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast::<u32>(), length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout that the top of this file describes, read back unit by unit, and a tile of panels.
    #[test]
    fn panels_have_the_described_layout() {
        let data: Vec<f32> = (0..40 * 37).map(|value| (value % 201) as f32 - 100.0).collect();
        for isa in isa::available() {
            assert!(isa::force(Some(isa)));
            for compute in [Compute::F32, Compute::Bf16] {
                let engine = Engine::choose(compute);
                for (width_stride, depth_stride) in [(37, 1), (1, 40), (37, 2)] {
                    let (width, depth) = (engine.columns + 1, 7);
                    let source = Source { data: Data::F32(&data), offset: 3, width, depth, width_stride, depth_stride };
                    let units = engine.units(depth);
                    let mut packed = vec![u32::MAX; engine.columns_length(width, depth)];
                    engine.pack_columns(&mut packed, &source);
                    for (place, word) in packed.iter().enumerate() {
                        let (panel, unit, lane) =
                            (place / (engine.columns * units), place / engine.columns % units, place % engine.columns);
                        let column = panel * engine.columns + lane;
                        let element = |d: usize| {
                            let exists = column < width && d < depth;
                            if exists { data[3 + column * width_stride + d * depth_stride] } else { 0.0 }
                        };
                        let expected = match engine.depth {
                            1 => element(unit).to_bits(),
                            _ => element(2 * unit).to_bits() >> 16 | element(2 * unit + 1).to_bits() & 0xffff_0000,
                        };
                        assert_eq!(*word, expected, "{isa:?} {compute:?} {place}");
                    }
                    let rows = source.part(0, engine.rows, 0, depth);
                    let mut left = vec![u32::MAX; engine.rows_length(engine.rows, depth)];
                    engine.pack_rows(&mut left, &rows);
                    let (rows, columns, stride) = (engine.rows - 1, engine.columns - 3, engine.columns + 2);
                    let mut tile = vec![1.0; rows * stride];
                    let panel = &packed[..engine.columns * units];
                    let place = Tile { to: tile.as_mut_ptr(), stride, rows, columns, add: true };
                    // SAFETY: the tile is as large as said.
                    unsafe { engine.multiply_tile(place, &left, panel) };
                    for (place, found) in tile.iter().enumerate() {
                        let (row, column) = (place / stride, place % stride);
                        let at = |lane: usize, d: usize| data[3 + lane * width_stride + d * depth_stride];
                        let sum: f32 = (0..depth).map(|d| at(row, d) * at(column, d)).sum();
                        assert_eq!(*found, if column < columns { 1.0 + sum } else { 1.0 }, "{isa:?} {compute:?}");
                    }
                }
            }
        }
        isa::force(None);
    }
}
