//! How a product is cut: stretches of the inner dimension, a shared operand, and tasks.
//!
//! The operand with the smaller width is packed once by all threads and read by all of them; the other one
//! is cut into tasks, which pack their part for themselves. Tasks get smaller towards the end, so that
//! threads end at about the same time. Everything is cut by shapes alone, and each element is summed up in
//! the order of the inner dimension.

use super::finish::{Earlier, Finish, Place, Scratch, Shape};
use super::panel::{Buffer, Engine, Kind, Source, Tile};
use crate::parallel;

/// Words of the shared operand that are packed at a time: half of a large cache that all cores share.
const SHARED_MAX: usize = 1 << 22;
/// Words that a task packs at most: about a third of a core's second cache.
const LOCAL_MAX: usize = 96 << 10;
/// Products of elements below which threads cost more than they bring.
const ALONE: usize = 1 << 16;

/// The product of `a` and `b`, whose sizes fit `finish`.
pub(super) fn product(engine: &Engine, finish: &Finish<'_>, a: Source<'_>, b: Source<'_>) {
    let (rows, columns, inner) = (a.width, b.width, a.depth);
    if rows == 0 || columns == 0 {
        return;
    }
    let stretches = inner.div_ceil(engine.inner).max(1);
    // Stretches of about the same size.
    let stretch = inner.div_ceil(stretches).next_multiple_of(engine.depth);
    // Sums of several stretches are kept in the product itself, or beside it where that is narrower.
    let mut kept = match finish.to {
        Place::Bf16(_) if stretches > 1 => vec![0.0_f32; rows * columns],
        _ => Vec::new(),
    };
    let (sums, stride) = match finish.to {
        Place::F32(to) => (to, finish.row_stride),
        Place::Bf16(_) => (kept.as_mut_ptr(), columns),
    };
    for index in 0..stretches {
        let (first, last) = (index == 0, index + 1 == stretches);
        let depth = stretch.min(inner - index * stretch);
        let earlier = (stretches > 1).then_some(Earlier { sums, stride, first, last });
        let a = a.part(0, rows, index * stretch, depth);
        let b = b.part(0, columns, index * stretch, depth);
        one_stretch(engine, finish, &a, &b, earlier);
    }
}

/// The product of one stretch of the inner dimension.
fn one_stretch(engine: &Engine, finish: &Finish<'_>, a: &Source<'_>, b: &Source<'_>, earlier: Option<Earlier>) {
    let share_b = b.width <= a.width;
    let units = engine.units(a.depth);
    let (shared, local) = if share_b { (b, a) } else { (a, b) };
    let (shared_width, local_width) =
        if share_b { (engine.columns, engine.rows) } else { (engine.rows, engine.columns) };
    let panels_max = (SHARED_MAX / (shared_width * units).max(1)).max(1);
    let pieces = pieces(local.width.div_ceil(local_width), LOCAL_MAX / (local_width * units).max(1));
    let alone = a.width * b.width * a.depth <= ALONE;
    for first in (0..shared.width).step_by(panels_max * shared_width) {
        let width = (panels_max * shared_width).min(shared.width - first);
        let shared = shared.part(first, width, 0, shared.depth);
        let length = width.div_ceil(shared_width) * shared_width * units;
        Buffer::with(Kind::Shared, length, |packed| {
            pack_shared(engine, share_b, packed, &shared, alone);
            let task = |index: usize| {
                let (first_panel, panels) = pieces[index];
                let first_local = first_panel * local_width;
                let width = (panels * local_width).min(local.width - first_local);
                let part = local.part(first_local, width, 0, local.depth);
                Buffer::with(Kind::Local, panels * local_width * units, |own| {
                    if share_b {
                        engine.pack_rows(own, &part);
                        let block =
                            Block { a: own, b: packed, rows: (first_local, width), columns: (first, shared.width) };
                        tiles(engine, finish, &block, units, true, earlier);
                    } else {
                        engine.pack_columns(own, &part);
                        let block =
                            Block { a: packed, b: own, rows: (first, shared.width), columns: (first_local, width) };
                        tiles(engine, finish, &block, units, false, earlier);
                    }
                });
            };
            if alone { (0..pieces.len()).for_each(task) } else { parallel::run(pieces.len(), task) }
        });
    }
}

/// Packs the shared operand, a few panels a task.
fn pack_shared(engine: &Engine, is_b: bool, to: &mut [u32], source: &Source<'_>, alone: bool) {
    let width = if is_b { engine.columns } else { engine.rows };
    let panel = width * engine.units(source.depth);
    let panels = (16_usize << 10).div_ceil(panel.max(1));
    let panels = if alone { source.width.div_ceil(width) } else { panels };
    parallel::chunks(to, panels * panel, |index, to| {
        let first = index * panels * width;
        let part = source.part(first, (panels * width).min(source.width - first), 0, source.depth);
        if is_b { engine.pack_columns(to, &part) } else { engine.pack_rows(to, &part) }
    });
}

/// Cuts panels into tasks that get smaller towards the end: the first panel and the number of panels of each.
fn pieces(panels: usize, most: usize) -> Vec<(usize, usize)> {
    let mut pieces = Vec::new();
    let mut first = 0;
    while first < panels {
        let count = ((panels - first) / 8).clamp(1, most.max(1));
        pieces.push((first, count));
        first += count;
    }
    pieces
}

/// Packed rows and columns, and where they lie in the product: the first and the number of each.
pub(super) struct Block<'a> {
    pub(super) a: &'a [u32],
    pub(super) b: &'a [u32],
    pub(super) rows: (usize, usize),
    pub(super) columns: (usize, usize),
}

/// Multiplies all panels of a block. Panels of the shared operand come in the outer loop: each is read once
/// from the large cache and multiplied with all of the task's own ones.
pub(super) fn tiles(
    engine: &Engine,
    finish: &Finish<'_>,
    block: &Block<'_>,
    units: usize,
    share_b: bool,
    earlier: Option<Earlier>,
) {
    let row_panels = block.rows.1.div_ceil(engine.rows);
    let mut scratch = Scratch::default();
    let column_panels = block.columns.1.div_ceil(engine.columns);
    if share_b {
        for j in 0..column_panels {
            for i in 0..row_panels {
                one_tile(engine, finish, block, units, (i, j), earlier, &mut scratch);
            }
        }
    } else {
        for i in 0..row_panels {
            for j in 0..column_panels {
                one_tile(engine, finish, block, units, (i, j), earlier, &mut scratch);
            }
        }
    }
}

fn one_tile(
    engine: &Engine,
    finish: &Finish<'_>,
    block: &Block<'_>,
    units: usize,
    (i, j): (usize, usize),
    earlier: Option<Earlier>,
    scratch: &mut Scratch,
) {
    let a = &block.a[i * engine.rows * units..][..engine.rows * units];
    let b = &block.b[j * engine.columns * units..][..engine.columns * units];
    let rows = engine.rows.min(block.rows.1 - i * engine.rows);
    let columns = engine.columns.min(block.columns.1 - j * engine.columns);
    let (first_row, first_column) = (block.rows.0 + i * engine.rows, block.columns.0 + j * engine.columns);
    // SAFETY: the tile lies in the product, and belongs to this task alone.
    unsafe {
        if let Some(to) = finish.plain() {
            let to = to.add(first_row * finish.row_stride + first_column);
            let add = finish.accumulate || earlier.is_some_and(|earlier| !earlier.first);
            engine.multiply_tile(Tile { to, stride: finish.row_stride, rows, columns, add }, a, b);
        } else {
            let stride = engine.columns;
            engine.multiply_tile(Tile { to: scratch.values.as_mut_ptr(), stride, rows, columns, add: false }, a, b);
            let shape = Shape { stride, first_row, first_column, rows, columns };
            finish.store(engine.isa, scratch, shape, earlier);
        }
    }
}
