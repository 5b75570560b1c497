//! Memory of a task, and the forms in which attention's tile products read rows of a tensor.

use std::cell::RefCell;

use super::tile::{Format, WIDTH};
use crate::element::Element;

/// A line of the cache: panels begin at one.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; 16]);

thread_local! {
    /// Kept from task to task, because fresh memory costs more than the work on it.
    static MEMORY: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Memory of which a task takes parts. What it holds is left over from other tasks.
pub struct Memory<'a>(&'a mut [Line]);

impl<'a> Memory<'a> {
    /// Calls `work` with room for parts of these lengths.
    pub fn with<R>(lengths: &[usize], work: impl FnOnce(Memory<'_>) -> R) -> R {
        let lines = lengths.iter().map(|length| length.div_ceil(16)).sum();
        MEMORY.with_borrow_mut(|memory| {
            if memory.len() < lines {
                memory.resize(lines, Line([0; 16]));
            }
            work(Memory(&mut memory[..lines]))
        })
    }

    /// The next part.
    pub fn units(&mut self, length: usize) -> &'a mut [u32] {
        let (part, rest) = std::mem::take(&mut self.0).split_at_mut(length.div_ceil(16));
        self.0 = rest;
        // SAFETY: a line is 16 units without padding, so the part holds at least `length` of them.
        unsafe { std::slice::from_raw_parts_mut(part.as_mut_ptr().cast(), length) }
    }

    /// The next part, as numbers.
    pub fn floats(&mut self, length: usize) -> &'a mut [f32] {
        let units = self.units(length);
        // SAFETY: both have the same size and alignment, and every pattern is a number.
        unsafe { std::slice::from_raw_parts_mut(units.as_mut_ptr().cast(), length) }
    }
}

/// Some rows of a tensor: `count` rows of `dim` elements, `stride` apart, the first at `data[0]`.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, E> {
    pub data: &'a [E],
    pub stride: usize,
    pub count: usize,
    pub dim: usize,
}

impl<'a, E> Rows<'a, E> {
    #[inline(always)]
    pub fn row(&self, index: usize) -> &'a [E] {
        &self.data[index * self.stride..index * self.stride + self.dim]
    }
}

/// Units along a row, `x.len()` values; what is left of `to` becomes 0.
#[inline(always)]
pub fn along<F: Format, E: Element>(to: &mut [u32], x: &[E], scale: f32) {
    if F::VALUES == 1 {
        let (filled, rest) = to.split_at_mut(x.len());
        for (to, x) in filled.iter_mut().zip(x) {
            *to = F::unit(scale, *x, E::default());
        }
        rest.fill(0);
        return;
    }
    let (pairs, last) = x.as_chunks::<2>();
    let (filled, rest) = to.split_at_mut(pairs.len());
    for (to, [even, odd]) in filled.iter_mut().zip(pairs) {
        *to = F::unit(scale, *even, *odd);
    }
    rest.fill(0);
    if let [last] = last {
        rest[0] = F::unit(scale, *last, E::default());
    }
}

/// `[rows, units]`: units along each row; rows beyond the last are 0.
#[inline(always)]
pub fn rows_form<F: Format, E: Element>(to: &mut [u32], x: Rows<'_, E>, scale: f32) {
    let units = x.dim.div_ceil(F::VALUES);
    for (index, to) in to.chunks_exact_mut(units).enumerate() {
        if index < x.count {
            along::<F, E>(to, x.row(index), scale);
        } else {
            to.fill(0);
        }
    }
}

/// `[rows/WIDTH][units][WIDTH]`: rows as columns, to be summed over their elements.
#[inline(always)]
pub fn transposed_form<F: Format, E: Element>(to: &mut [u32], x: Rows<'_, E>, scale: f32, line: &mut [u32]) {
    let units = x.dim.div_ceil(F::VALUES);
    for (panel, to) in to.chunks_exact_mut(units * WIDTH).enumerate() {
        for index in 0..WIDTH {
            let row = panel * WIDTH + index;
            if row < x.count {
                along::<F, E>(&mut line[index * units..(index + 1) * units], x.row(row), scale);
            } else {
                line[index * units..(index + 1) * units].fill(0);
            }
        }
        for (unit, to) in to.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
            for (index, to) in to.iter_mut().enumerate() {
                *to = line[index * units + unit];
            }
        }
    }
}

/// `[dim/WIDTH][units of rows][WIDTH]`: columns as columns, to be summed over the rows. `depth` is the number of
/// units, and rows beyond the last are 0.
#[inline(always)]
pub fn summed_form<F: Format, E: Element>(to: &mut [u32], x: Rows<'_, E>, scale: f32, depth: usize) {
    for (panel, to) in to.chunks_exact_mut(depth * WIDTH).enumerate() {
        let columns = panel * WIDTH..x.dim.min((panel + 1) * WIDTH);
        for (unit, to) in to.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
            let first = unit * F::VALUES;
            let filled = &mut to[..columns.len()];
            if first + 1 < x.count && F::VALUES == 2 {
                let (even, odd) = (&x.row(first)[columns.clone()], &x.row(first + 1)[columns.clone()]);
                for ((to, even), odd) in filled.iter_mut().zip(even).zip(odd) {
                    *to = F::unit(scale, *even, *odd);
                }
            } else if first < x.count {
                for (to, even) in filled.iter_mut().zip(&x.row(first)[columns.clone()]) {
                    *to = F::unit(scale, *even, E::default());
                }
            } else {
                filled.fill(0);
            }
            to[columns.len()..].fill(0);
        }
    }
}
