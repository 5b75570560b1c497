//! Attention for inference: new rows of sequences against keys and values that are kept in pages.
//!
//! A *page* holds the keys and values of some neighbouring positions of one sequence, in f16; a *table* lists the
//! pages of a sequence in the order of positions. All pages of a layer are one slice:
//!
//! ```text
//! pages  [page][kv head]  keys    [dim][position]   a vector has 16 positions
//!                         values  [position][dim]   a vector has 16 elements
//! ```
//!
//! Positions are cut into *splits* of 256, from position 0 on. For a split, up to eight rows (the query heads of a
//! group, of one token or several) meet each page once:
//!
//! ```text
//! s = scale·q·k     m = max s     p = exp(s − m)     l = Σp     a = p·v
//! ```
//!
//! and splits are merged in their order, as FlashAttention does (Dao 2023; splits as in Flash-Decoding, Dao et al.
//! 2023): `M' = max(M, m)`, `L' = e^(M−M')·L + e^(m−M')·l`, `A' = e^(M−M')·A + e^(m−M')·a`, and at last `A/L`.
//!
//! **Invariant:** a row's result has the same bits alone, in a batch and in a prompt of any size, for any number
//! of threads and on every instruction set.

use std::ops::Range;

use super::tile::exp_of_difference;
use crate::f16::{self, F16};
use crate::parallel;
use crate::rows::Parts;
use product::{Shape, multiply};
use weights::{blend, softmax};

mod product;
mod weights;

/// Positions of a split.
const SPLIT: usize = 256;
/// The most rows that meet a page together.
const ROWS: usize = product::ROWS;
/// Blocks of rows in a task of a long prompt.
const BLOCKS: usize = 4;
/// Blocks of rows up to which the splits of a sequence are tasks of their own.
const BLOCKS_SPLIT: usize = 4;
/// The largest f16.
const LARGEST: f32 = 65504.0;

/// How keys and values lie in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    /// Positions of a page: 32, 64, 128 or 256.
    pub positions: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a head: a multiple of 16.
    pub dim: usize,
}

impl Pages {
    /// The number of elements of a page.
    #[must_use]
    pub fn elements(&self) -> usize {
        2 * self.positions * self.kv_heads * self.dim
    }

    /// The number of pages that hold so many positions.
    #[must_use]
    pub fn count(&self, positions: usize) -> usize {
        positions.div_ceil(self.positions)
    }

    /// Writes the keys and values of one position, `[kv head · dim]` each, rounded to f16; what is too large for
    /// it becomes its largest number.
    ///
    /// # Panics
    /// When the slices do not fit, or the table has no page for the position.
    pub fn write(&self, pages: &mut [F16], table: &[u32], position: usize, keys: &[f32], values: &[f32]) {
        self.check();
        let Self { positions, kv_heads, dim } = *self;
        assert_eq!((keys.len(), values.len()), (kv_heads * dim, kv_heads * dim), "elements of keys and values");
        let begin = table[position / positions] as usize * self.elements();
        let page = &mut pages[begin..][..self.elements()];
        let place = position % positions;
        let heads = page.chunks_exact_mut(2 * positions * dim);
        for (page, (keys, values)) in heads.zip(keys.chunks_exact(dim).zip(values.chunks_exact(dim))) {
            let (page_keys, page_values) = page.split_at_mut(positions * dim);
            for (to, key) in page_keys[place..].iter_mut().step_by(positions).zip(keys) {
                *to = F16::from_f32(key.clamp(-LARGEST, LARGEST));
            }
            for (to, value) in page_values[place * dim..].iter_mut().zip(values) {
                *to = F16::from_f32(value.clamp(-LARGEST, LARGEST));
            }
        }
    }

    /// Reads the keys and values of one position back.
    ///
    /// # Panics
    /// As [`Pages::write`].
    pub fn read(&self, pages: &[F16], table: &[u32], position: usize, keys: &mut [f32], values: &mut [f32]) {
        self.check();
        let Self { positions, kv_heads, dim } = *self;
        assert_eq!((keys.len(), values.len()), (kv_heads * dim, kv_heads * dim), "elements of keys and values");
        let page = &pages[table[position / positions] as usize * self.elements()..][..self.elements()];
        let place = position % positions;
        let heads = page.chunks_exact(2 * positions * dim);
        for (page, (keys, values)) in heads.zip(keys.chunks_exact_mut(dim).zip(values.chunks_exact_mut(dim))) {
            let (page_keys, page_values) = page.split_at(positions * dim);
            let column = page_keys[place..].iter().step_by(positions);
            keys.iter_mut().zip(column).for_each(|(to, key)| *to = key.to_f32());
            f16::widen(values, &page_values[place * dim..][..dim]);
        }
    }

    /// # Panics
    /// When the shape is none.
    fn check(&self) {
        let Self { positions, dim, .. } = *self;
        assert!(matches!(positions, 32 | 64 | 128 | 256), "{positions} positions in a page");
        assert!(dim > 0 && dim.is_multiple_of(16), "heads of {dim} elements");
    }
}

/// New rows of a sequence.
#[derive(Debug, Clone)]
pub struct Sequence<'a> {
    /// The pages of the sequence, in the order of positions.
    pub table: &'a [u32],
    /// Its rows among all query rows.
    pub rows: Range<usize>,
    /// The position of the first row. The keys and values of all rows are in the pages already.
    pub position: usize,
}

/// What attends to what.
#[derive(Debug, Clone, Copy)]
pub struct PagedAttention<'a> {
    /// The shape of the pages.
    pub pages: Pages,
    /// The new rows of each sequence.
    pub sequences: &'a [Sequence<'a>],
    /// Query heads: a multiple of the key heads. Query heads `g·k` to `g·(k + 1) − 1` share key head `k`.
    pub heads: usize,
    /// The factor of the scores, usually `1/√dim`.
    pub scale: f32,
    /// How many positions a row sees, its own among them; all of them if not set.
    pub window: Option<usize>,
}

/// Some rows of one sequence and one key head: heads of a group, of neighbouring tokens.
#[derive(Clone)]
struct Block {
    sequence: usize,
    kv_head: usize,
    /// Numbered by token and head of the group.
    rows: Range<usize>,
}

/// The sums of up to eight rows: largest score, sum of weights, weighted values.
struct State<'a> {
    largest: &'a mut [f32],
    sums: &'a mut [f32],
    values: &'a mut [f32],
}

/// What a task needs besides.
#[derive(Default)]
struct Scratch {
    /// `[row][dim]`, scaled.
    queries: Vec<f32>,
    /// `[row][SPLIT]`
    weights: Vec<f32>,
    /// `[row][dim]`
    values: Vec<f32>,
}

impl PagedAttention<'_> {
    /// `out[row] = softmax(scale·q·kᵀ)·v`, `[row][head · dim]`, where a row sees the positions up to its own. Rows
    /// of no sequence are left alone.
    ///
    /// # Panics
    /// When the slices do not fit each other, a table is too short, or a sequence has rows that do not exist.
    pub fn run(&self, out: &mut [f32], queries: &[f32], pages: &[F16]) {
        self.check(out.len(), queries.len(), pages.len());
        let (group, dim) = (self.heads / self.pages.kv_heads, self.pages.dim);
        let (mut whole, mut split) = (Vec::new(), Vec::new());
        let mut states = 0;
        for (sequence, rows) in self.sequences.iter().map(|sequence| sequence.rows.len() * group).enumerate() {
            for kv_head in 0..self.pages.kv_heads {
                let blocks = (0..rows).step_by(ROWS).map(|first| first..rows.min(first + ROWS));
                let blocks = blocks.map(|rows| Block { sequence, kv_head, rows });
                if rows.div_ceil(ROWS) <= BLOCKS_SPLIT {
                    for block in blocks {
                        let splits = self.splits(&block);
                        split.extend(splits.clone().map(|index| (block.clone(), index, states + index - splits.start)));
                        states += splits.len();
                    }
                } else {
                    whole.extend(blocks);
                }
            }
        }
        let out = Parts::new(out);
        // The rows of a prompt that see the most come first.
        parallel::run(whole.len().div_ceil(BLOCKS), |index| {
            let end = whole.len() - index * BLOCKS;
            let mut scratch = Scratch::default();
            let mut memory = vec![0.0; state_length(dim)];
            for block in whole[end.saturating_sub(BLOCKS)..end].iter().rev() {
                let mut state = State::of(&mut memory, dim);
                state.clear();
                for index in self.splits(block) {
                    self.add_split(&mut state, block, index, queries, pages, &mut scratch);
                }
                self.finish(&out, block, &state);
            }
        });
        let length = state_length(dim);
        let mut memory = vec![0.0; states * length];
        let all = Parts::new(&mut memory);
        parallel::run(split.len(), |task| {
            let (block, index, place) = &split[task];
            // SAFETY: each task has its own state.
            let mut state = State::of(unsafe { all.take(place * length..(place + 1) * length) }, dim);
            state.clear();
            self.add_split(&mut state, block, *index, queries, pages, &mut Scratch::default());
        });
        let mut memory = memory.as_mut_slice();
        let mut rest = split.as_slice();
        while let Some((block, first, _)) = rest.first() {
            let count = self.splits(block).end - first;
            let (states, later) = memory.split_at_mut(count * length);
            let (total, others) = states.split_at_mut(length);
            let mut total = State::of(total, dim);
            for other in others.chunks_exact_mut(length) {
                let other = State::of(other, dim);
                merge(&mut total, other.largest, other.sums, other.values, dim);
            }
            self.finish(&out, block, &total);
            memory = later;
            rest = &rest[count..];
        }
    }

    fn check(&self, out: usize, queries: usize, pages: usize) {
        self.pages.check();
        let Self { heads, pages: Pages { kv_heads, dim, .. }, .. } = *self;
        assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads), "{heads} query heads for {kv_heads} key heads");
        assert_eq!(out, queries, "elements of results and of queries");
        assert!(self.window != Some(0), "a window of nothing");
        let rows = crate::rows::count(queries, heads * dim);
        let count = pages / self.pages.elements();
        let mut end = 0;
        for sequence in self.sequences {
            let range = &sequence.rows;
            assert!(end <= range.start && range.start <= range.end && range.end <= rows, "rows {range:?} of {rows}");
            end = range.end;
            let used = self.pages.count(sequence.position + range.len());
            assert!(used <= sequence.table.len(), "{} pages of {used}", sequence.table.len());
            assert!(sequence.table[..used].iter().all(|page| (*page as usize) < count), "a page beyond {count}");
        }
    }

    /// The positions that a row of a block sees.
    fn seen(&self, block: &Block, row: usize) -> Range<usize> {
        let group = self.heads / self.pages.kv_heads;
        let end = self.sequences[block.sequence].position + row / group + 1;
        self.window.map_or(0, |window| end.saturating_sub(window))..end
    }

    /// The positions that any row of a block sees.
    fn seen_by_all(&self, block: &Block) -> Range<usize> {
        self.seen(block, block.rows.start).start..self.seen(block, block.rows.end - 1).end
    }

    /// The splits that a block meets.
    fn splits(&self, block: &Block) -> Range<usize> {
        let seen = self.seen_by_all(block);
        seen.start / SPLIT..seen.end.div_ceil(SPLIT)
    }

    /// The elements of a row of a block among all queries.
    fn place(&self, block: &Block, row: usize) -> Range<usize> {
        let (group, dim) = (self.heads / self.pages.kv_heads, self.pages.dim);
        let (token, head) = (self.sequences[block.sequence].rows.start + row / group, row % group);
        let begin = (token * self.heads + block.kv_head * group + head) * dim;
        begin..begin + dim
    }

    /// Adds what a block's rows see of a split.
    fn add_split(
        &self,
        state: &mut State<'_>,
        block: &Block,
        split: usize,
        queries: &[f32],
        pages: &[F16],
        scratch: &mut Scratch,
    ) {
        let Pages { positions, dim, .. } = self.pages;
        let rows = block.rows.len();
        let Scratch { queries: q, weights, values } = scratch;
        q.resize(ROWS * dim, 0.0);
        weights.resize(ROWS * SPLIT, 0.0);
        values.resize(ROWS * dim, 0.0);
        for (q, row) in q.chunks_exact_mut(dim).zip(block.rows.clone()) {
            q.iter_mut().zip(&queries[self.place(block, row)]).for_each(|(to, q)| *to = q * self.scale);
        }
        let begin = split * SPLIT;
        // What any row sees, and each of them, counted from the split's begin.
        let here =
            |seen: Range<usize>| seen.start.saturating_sub(begin).min(SPLIT)..seen.end.saturating_sub(begin).min(SPLIT);
        let all = here(self.seen_by_all(block));
        let parts = all.start / positions..all.end.div_ceil(positions);
        let page = |part: usize| {
            let page = self.sequences[block.sequence].table[begin / positions + part] as usize;
            let first = (page * self.pages.kv_heads + block.kv_head) * 2 * positions * dim;
            pages[first..][..2 * positions * dim].split_at(positions * dim)
        };
        for part in parts.clone() {
            let to = &mut weights[part * positions..];
            let shape = Shape { rows, depth: dim, width: positions, a_stride: dim, c_stride: SPLIT, add: false };
            multiply(to, q, page(part).0, shape);
        }
        let counted = parts.start * positions..all.end.next_multiple_of(16);
        let mut largest = [f32::NEG_INFINITY; ROWS];
        let mut sums = [0.0; ROWS];
        for (index, row) in block.rows.clone().enumerate() {
            let weights = &mut weights[index * SPLIT..][counted.clone()];
            let seen = here(self.seen(block, row));
            let first = seen.start.clamp(counted.start, counted.end);
            let seen = first - counted.start..seen.end.clamp(first, counted.end) - counted.start;
            (largest[index], sums[index]) = softmax(weights, seen.start, seen.end);
        }
        for part in parts.clone() {
            let (first, last) = (part * positions, all.end.min((part + 1) * positions));
            let shape = Shape {
                rows,
                depth: last - first,
                width: dim,
                a_stride: SPLIT,
                c_stride: dim,
                add: part > parts.start,
            };
            multiply(values, &weights[first..], page(part).1, shape);
        }
        merge(state, &largest[..rows], &sums[..rows], values, dim);
    }

    /// Writes the results of a block.
    fn finish(&self, out: &Parts<'_, f32>, block: &Block, state: &State<'_>) {
        let values = state.values.chunks_exact(self.pages.dim);
        for ((row, sum), values) in block.rows.clone().zip(state.sums.iter()).zip(values) {
            // SAFETY: each row of each head belongs to one block, which is finished once.
            let out = unsafe { out.take(self.place(block, row)) };
            out.iter_mut().zip(values).for_each(|(to, value)| *to = value / sum);
        }
    }
}

/// Elements of a state.
fn state_length(dim: usize) -> usize {
    ROWS * (dim + 2)
}

impl<'a> State<'a> {
    fn of(memory: &'a mut [f32], dim: usize) -> Self {
        let (largest, rest) = memory.split_at_mut(ROWS);
        let (sums, rest) = rest.split_at_mut(ROWS);
        Self { largest, sums, values: &mut rest[..ROWS * dim] }
    }

    fn clear(&mut self) {
        self.largest.fill(f32::NEG_INFINITY);
        self.sums.fill(0.0);
        self.values.fill(0.0);
    }
}

/// Adds a split, or the sums of splits that follow. A row that saw nothing of it stays as it is.
fn merge(state: &mut State<'_>, largest: &[f32], sums: &[f32], values: &[f32], dim: usize) {
    for (row, (later, sum)) in largest.iter().zip(sums).enumerate() {
        if *later == f32::NEG_INFINITY {
            continue;
        }
        let earlier = state.largest[row];
        let most = if *later > earlier { *later } else { earlier };
        let (old, new) = (exp_of_difference(earlier - most), exp_of_difference(later - most));
        state.largest[row] = most;
        state.sums[row] = state.sums[row] * old + sum * new;
        let range = row * dim..(row + 1) * dim;
        blend(&mut state.values[range.clone()], old, &values[range], new);
    }
}
