//! Work on rows: how many make a task, parts of one slice for many tasks, and sums over rows.
//!
//! A sum over rows is taken in pieces whose size depends on the width alone; the pieces are added in their
//! order. So the result has the same bits for any number of threads.

use std::marker::PhantomData;
use std::ops::Range;

use crate::element::Element;
use crate::isa::kernel;
use crate::parallel::{self, Shared};

/// Elements that are worth a task of their own.
const TASK: usize = 1 << 15;

/// Rows of a task, by their width alone.
pub(crate) fn per_task(width: usize) -> usize {
    TASK.div_ceil(width.max(1)).clamp(1, 4096)
}

/// A slice of which tasks take parts that do not overlap.
pub(crate) struct Parts<'a, T> {
    start: Shared<T>,
    length: usize,
    life: PhantomData<&'a mut [T]>,
}

impl<'a, T> Parts<'a, T> {
    pub(crate) fn new(all: &'a mut [T]) -> Self {
        Self { start: Shared(all.as_mut_ptr()), length: all.len(), life: PhantomData }
    }

    /// The elements of a range.
    ///
    /// # Safety
    /// While the result lives, no other part that overlaps it is taken.
    ///
    /// # Panics
    /// When the range reaches beyond the slice.
    #[inline]
    pub(crate) unsafe fn take(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.length, "{range:?} of {}", self.length);
        // SAFETY: the range lies inside the slice that is borrowed for 'a; the caller promises the rest.
        unsafe { std::slice::from_raw_parts_mut(self.start.get().add(range.start), range.len()) }
    }
}

/// The number of rows of `width` elements.
///
/// # Panics
/// When the elements are not whole rows.
#[track_caller]
pub(crate) fn count(elements: usize, width: usize) -> usize {
    if width == 0 {
        assert_eq!(elements, 0, "elements of rows without columns");
        return 0;
    }
    assert!(elements.is_multiple_of(width), "{elements} elements are no rows of {width}");
    elements / width
}

/// Calls `work` with the range of rows of each task.
pub(crate) fn run(rows: usize, width: usize, work: impl Fn(usize, Range<usize>) + Sync) {
    let size = per_task(width);
    parallel::run(rows.div_ceil(size), |task| work(task, task * size..rows.min((task + 1) * size)));
}

kernel! {
    /// `y[i] += x[i]`.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn add<E: Element>(y: &mut [f32], x: &[E]) {
        assert_eq!(y.len(), x.len());
        for (y, x) in y.iter_mut().zip(x) {
            *y += x.to_f32();
        }
    }
}

/// Adds every row of `partial_tw` to `total_w`, in their order.
pub(crate) fn add_partial(total_w: &mut [f32], partial_tw: &[f32]) {
    if total_w.is_empty() {
        return;
    }
    for partial_w in partial_tw.chunks_exact(total_w.len()) {
        add(total_w, partial_w);
    }
}

/// `total[i] += Σ x[n][i]` over the rows of `x_nw`: the gradient of a bias.
///
/// # Panics
/// When `x_nw` is not whole rows of the length of `total_w`.
pub fn add_columns<E: Element>(total_w: &mut [f32], x_nw: &[E]) {
    let width = total_w.len();
    let rows = count(x_nw.len(), width);
    let mut partial_tw = vec![0.0; rows.div_ceil(per_task(width)) * width];
    parallel::chunks(&mut partial_tw, width, |task, partial_w| {
        let begin = task * per_task(width);
        let end = rows.min(begin + per_task(width));
        for x_w in x_nw[begin * width..end * width].chunks_exact(width) {
            add(partial_w, x_w);
        }
    });
    add_partial(total_w, &partial_tw);
}
