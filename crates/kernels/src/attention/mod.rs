//! Attention for training, fused: no matrix of scores is kept, only the log-sum-exp of each row.
//!
//! Shapes: `n` rows of all sequences, `h` query heads, `k` key and value heads (`h` a multiple of `k`: groups
//! of query heads share keys and values, Ainslie et al. 2023), heads of `d`. Queries, keys and values stand in
//! one row `q|k|v` of `s = (h + 2k)·d` elements. Batches with padding, packed sequences and single ones are
//! all lists of row ranges: a row attends to rows of its own range and to no other.
//!
//! Forward: `p = softmax(scale·q·k)`, `out = p·v`, tile by tile with a running maximum. Backward, with
//! `D = Σ d_out·out`: `dv = pᵀ·d_out`, `ds = p·(d_out·vᵀ − D)`, `dq = scale·ds·k`, `dk = scale·dsᵀ·q`
//! (FlashAttention-2, Dao 2023). One task computes all gradients of a sequence's key head, in a fixed order,
//! so that the bits do not depend on the number of threads; forward is cut into blocks of queries besides.

use std::ops::Range;

use crate::element::Element;
use crate::gemm::Compute;
use crate::parallel;
use crate::rows::{self, Parts};
use pack::Rows;

mod backward;
mod forward;
mod pack;
pub mod paged;
mod tile;

/// Query rows of a forward task.
const QUERIES: usize = 256;

/// What attends to what, and how it is computed.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// The rows of each sequence, ascending and apart from each other. Rows outside of all (padding) give and
    /// get 0.
    pub sequences: &'a [Range<usize>],
    /// Query heads.
    pub heads: usize,
    /// Key and value heads, a divisor of `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub dim: usize,
    /// Whether a row sees only itself and the rows before it.
    pub causal: bool,
    /// The factor of the scores, usually `1/√d`.
    pub scale: f32,
    /// In which precision products are computed; softmax and sums are `f32` always.
    pub compute: Compute,
}

/// A task's part of the problem: one sequence, one key head and its group of query heads.
struct Task<'a> {
    attention: &'a Attention<'a>,
    sequence: Range<usize>,
    kv_head: usize,
    /// Query rows, counted from the sequence's begin.
    queries: Range<usize>,
}

impl Task<'_> {
    fn group(&self) -> Range<usize> {
        let size = self.attention.heads / self.attention.kv_heads;
        self.kv_head * size..(self.kv_head + 1) * size
    }

    /// Rows of a head's `dim` elements that begin `column` into each row of `data`.
    fn rows<'a, E: Element>(&self, data: &'a [E], stride: usize, column: usize, range: Range<usize>) -> Rows<'a, E> {
        let begin = (self.sequence.start + range.start) * stride + column;
        // Nothing of an empty range is read.
        let data = if range.is_empty() { &data[..0] } else { &data[begin..] };
        Rows { data, stride, count: range.len(), dim: self.attention.dim }
    }

    fn query_column(&self, head: usize) -> usize {
        head * self.attention.dim
    }

    fn key_column(&self) -> usize {
        (self.attention.heads + self.kv_head) * self.attention.dim
    }

    fn value_column(&self) -> usize {
        self.key_column() + self.attention.kv_heads * self.attention.dim
    }
}

impl Attention<'_> {
    /// Elements of a row `q|k|v`.
    #[must_use]
    pub fn stride(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.dim
    }

    /// `out = softmax(scale·q·kᵀ)·v` for every head, `[n, h·d]`, and `ln Σ exp` of each row of scores,
    /// `[h, n]`, for the backward pass.
    ///
    /// What is not a number may spread to every row of its sequence and group of heads, and to no other.
    ///
    /// # Panics
    /// When the slices do not fit, `heads` is no multiple of `kv_heads`, or the sequences overlap or do not
    /// ascend.
    pub fn forward<E: Element>(&self, out_nhd: &mut [E], log_sum_exp_hn: &mut [f32], qkv_ns: &[E]) {
        let count = self.check(qkv_ns.len(), out_nhd.len(), log_sum_exp_hn.len());
        let stride = self.heads * self.dim;
        for gap in self.gaps(count) {
            out_nhd[gap.start * stride..gap.end * stride].fill(E::default());
            (0..self.heads).for_each(|head| log_sum_exp_hn[head * count..][gap.clone()].fill(0.0));
        }
        if stride == 0 {
            return;
        }
        let mut tasks = Vec::new();
        for sequence in self.sequences {
            for kv_head in 0..self.kv_heads {
                for begin in (0..sequence.len()).step_by(QUERIES) {
                    let queries = begin..sequence.len().min(begin + QUERIES);
                    tasks.push(Task { attention: self, sequence: sequence.clone(), kv_head, queries });
                }
            }
        }
        let (out_nhd, log_sum_exp_hn) = (Parts::new(out_nhd), Parts::new(log_sum_exp_hn));
        let tensors = forward::Tensors { out_nhd, log_sum_exp_hn, qkv_ns, count };
        // The last tasks of a sequence see the most keys and come first.
        parallel::run(tasks.len(), |index| {
            forward::run(&tasks[tasks.len() - 1 - index], &tensors);
        });
    }

    /// The gradient `d_qkv_ns` of what went into [`Attention::forward`], overwritten, from the gradient of what
    /// came out and what forward gave.
    ///
    /// # Panics
    /// As [`Attention::forward`].
    pub fn backward<E: Element>(
        &self,
        d_qkv_ns: &mut [E],
        d_out_nhd: &[E],
        out_nhd: &[E],
        log_sum_exp_hn: &[f32],
        qkv_ns: &[E],
    ) {
        let count = self.check(qkv_ns.len(), out_nhd.len(), log_sum_exp_hn.len());
        assert_eq!((d_qkv_ns.len(), d_out_nhd.len()), (qkv_ns.len(), out_nhd.len()), "gradients of attention");
        for gap in self.gaps(count) {
            d_qkv_ns[gap.start * self.stride()..gap.end * self.stride()].fill(E::default());
        }
        if self.stride() == 0 {
            return;
        }
        let mut tasks = Vec::new();
        for sequence in self.sequences.iter().filter(|sequence| !sequence.is_empty()) {
            for kv_head in 0..self.kv_heads {
                let queries = 0..sequence.len();
                tasks.push(Task { attention: self, sequence: sequence.clone(), kv_head, queries });
            }
        }
        // Long ones first, so that no thread begins one when the others are done.
        tasks.sort_by_key(|task| std::cmp::Reverse(task.sequence.len()));
        let d_qkv = Parts::new(d_qkv_ns);
        let saved = backward::Saved { d_out_nhd, out_nhd, log_sum_exp_hn, qkv_ns, count };
        parallel::run(tasks.len(), |index| backward::run(&tasks[index], &d_qkv, &saved));
    }

    /// The number of rows.
    fn check(&self, qkv: usize, out: usize, log_sum_exp: usize) -> usize {
        let Self { heads, kv_heads, .. } = *self;
        assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads), "{heads} query heads for {kv_heads} key heads");
        let stride = self.stride();
        let count = if stride == 0 { log_sum_exp / heads.max(1) } else { rows::count(qkv, stride) };
        assert_eq!((out, log_sum_exp), (count * heads * self.dim, heads * count), "rows of attention");
        let mut end = 0;
        for sequence in self.sequences {
            assert!(end <= sequence.start && sequence.start <= sequence.end, "sequence {sequence:?} after row {end}");
            end = sequence.end;
        }
        assert!(end <= count, "a sequence ends at row {end} of {count}");
        count
    }

    /// The rows of no sequence.
    fn gaps(&self, count: usize) -> impl Iterator<Item = Range<usize>> {
        let begins = std::iter::once(0).chain(self.sequences.iter().map(|sequence| sequence.end));
        let ends = self.sequences.iter().map(|sequence| sequence.start).chain(std::iter::once(count));
        begins.zip(ends).map(|(begin, end)| begin..end).filter(|gap| !gap.is_empty())
    }
}
