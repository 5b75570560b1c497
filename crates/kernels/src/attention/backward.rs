//! One task of attention's backward pass: a sequence's key head with its group of query heads.
//!
//! Tiles are transposed, keys as rows and queries as columns, so that a row's log-sum-exp and `D` are read
//! along with the scores, and the weights are in the right form for the gradients of values and keys.

use super::Task;
use super::pack::{Memory, rows_form, summed_form, transposed_form};
use super::tile::{Format, Pair, Product, ROWS, Shape, Single, WIDTH, exp_of_difference};
use crate::LANES;
use crate::element::Element;
use crate::gemm::Compute;
use crate::isa::kernel;
use crate::rows::Parts;
use crate::vector::reduce;

/// Keys and queries of a block: both multiples of the rows of a tile and the width of a panel.
const BLOCK: usize = 64;

/// What forward left and what comes from above; `count` is the number of all rows.
pub struct Saved<'a, E> {
    pub d_out_nhd: &'a [E],
    pub out_nhd: &'a [E],
    pub log_sum_exp_hn: &'a [f32],
    pub qkv_ns: &'a [E],
    pub count: usize,
}

/// Fills the task's part of `d_qkv_ns`.
pub fn run<E: Element>(task: &Task<'_>, d_qkv: &Parts<'_, E>, saved: &Saved<'_, E>) {
    match task.attention.compute {
        Compute::F32 => Memory::with(&lengths::<Single>(task), |memory| single(task, d_qkv, saved, memory)),
        Compute::Bf16 => Memory::with(&lengths::<Pair>(task), |memory| pair(task, d_qkv, saved, memory)),
    }
}

kernel! {
    /// In `f32`.
    pub fn single<E: Element>(task: &Task<'_>, d_qkv: &Parts<'_, E>, saved: &Saved<'_, E>, memory: Memory<'_>) {
        group::<Single, E>(task, d_qkv, saved, memory);
    }
}

kernel! {
    /// In bf16.
    pub fn pair<E: Element>(task: &Task<'_>, d_qkv: &Parts<'_, E>, saved: &Saved<'_, E>, memory: Memory<'_>) {
        group::<Pair, E>(task, d_qkv, saved, memory);
    }
}

/// The parts of the memory, in the order in which [`group`] takes them.
#[inline(always)]
fn lengths<F: Format>(task: &Task<'_>) -> [usize; 17] {
    let (dim, tall) = (task.attention.dim, task.sequence.len().next_multiple_of(BLOCK));
    let (units, deep) = (dim.div_ceil(F::VALUES), dim.next_multiple_of(WIDTH));
    let (flat, summed, sums, strip) = (tall * units, tall / F::VALUES * deep, tall * deep, ROWS * BLOCK);
    let packed = [flat, flat, summed, flat, summed, flat, summed];
    let rest = [WIDTH * units, strip, BLOCK * BLOCK, sums, sums, sums, tall, tall, strip, strip];
    std::array::from_fn(|part| if part < 7 { packed[part] } else { rest[part - 7] })
}

/// A task's tensors: `t` rows of the sequence (filled up to whole blocks), `u` units of a head, `e` its elements
/// (filled up to whole panels), `b` units of rows.
struct Work<'a> {
    keys_tu: &'a mut [u32],
    values_tu: &'a mut [u32],
    keys_be: &'a mut [u32],
    queries_ut: &'a mut [u32],
    queries_be: &'a mut [u32],
    d_out_ut: &'a mut [u32],
    d_out_be: &'a mut [u32],
    d_keys_te: &'a mut [f32],
    d_values_te: &'a mut [f32],
    d_queries_te: &'a mut [f32],
    log_sum_exp_t: &'a mut [f32],
    /// `D`, the part of each row's gradient that softmax takes away.
    along_t: &'a mut [f32],
    /// 8 keys' scores, then weights.
    scores: &'a mut [f32],
    /// 8 keys' gradients of weights, then of scores.
    d_scores: &'a mut [f32],
    /// 8 keys' weights, then gradients of scores, as rows of a product.
    rows: &'a mut [u32],
    /// A block's gradients of scores with the keys along, for the gradient of the queries.
    columns: &'a mut [u32],
    product: Product,
    units: usize,
    deep: usize,
    depth: usize,
}

#[inline(always)]
fn group<F: Format, E: Element>(task: &Task<'_>, d_qkv: &Parts<'_, E>, saved: &Saved<'_, E>, mut memory: Memory<'_>) {
    let attention = task.attention;
    let (stride, dim, length) = (attention.stride(), attention.dim, task.sequence.len());
    let (units, deep) = (dim.div_ceil(F::VALUES), dim.next_multiple_of(WIDTH));
    let depth = length.next_multiple_of(BLOCK) / F::VALUES;
    let lengths = lengths::<F>(task);
    let [keys_tu, values_tu, keys_be, queries_ut, queries_be, d_out_ut, d_out_be, line, rows, columns] =
        std::array::from_fn(|part| memory.units(lengths[part]));
    let [d_keys_te, d_values_te, d_queries_te, log_sum_exp_t, along_t, scores, d_scores] =
        std::array::from_fn(|part| memory.floats(lengths[10 + part]));
    let product = Product::of(attention.compute);
    let mut work = Work {
        keys_tu,
        values_tu,
        keys_be,
        queries_ut,
        queries_be,
        d_out_ut,
        d_out_be,
        d_keys_te,
        d_values_te,
        d_queries_te,
        log_sum_exp_t,
        along_t,
        scores,
        d_scores,
        rows,
        columns,
        product,
        units,
        deep,
        depth,
    };
    let keys = task.rows(saved.qkv_ns, stride, task.key_column(), 0..length);
    let values = task.rows(saved.qkv_ns, stride, task.value_column(), 0..length);
    rows_form::<F, E>(work.keys_tu, keys, 1.0);
    rows_form::<F, E>(work.values_tu, values, 1.0);
    summed_form::<F, E>(work.keys_be, keys, 1.0, depth);
    work.d_keys_te.fill(0.0);
    work.d_values_te.fill(0.0);
    for head in task.group() {
        prepare::<F, E>(&mut work, task, saved, head, line);
        for key in (0..length).step_by(BLOCK) {
            let first = if attention.causal { key } else { 0 };
            for query in (first..length).step_by(BLOCK) {
                block::<F>(&mut work, task, key, query);
            }
        }
        store(task, d_qkv, work.d_queries_te, task.query_column(head), attention.scale);
    }
    store(task, d_qkv, work.d_keys_te, task.key_column(), 1.0);
    store(task, d_qkv, work.d_values_te, task.value_column(), 1.0);
}

/// Packs a query head and the gradient of its output.
#[inline(always)]
fn prepare<F: Format, E: Element>(
    work: &mut Work<'_>,
    task: &Task<'_>,
    saved: &Saved<'_, E>,
    head: usize,
    line: &mut [u32],
) {
    let attention = task.attention;
    let (length, column, wide) = (task.sequence.len(), task.query_column(head), attention.heads * attention.dim);
    let queries = task.rows(saved.qkv_ns, attention.stride(), column, 0..length);
    let d_out = task.rows(saved.d_out_nhd, wide, column, 0..length);
    let out = task.rows(saved.out_nhd, wide, column, 0..length);
    // The factor is in the queries, so the gradient of the keys has it.
    transposed_form::<F, E>(work.queries_ut, queries, attention.scale, line);
    summed_form::<F, E>(work.queries_be, queries, attention.scale, work.depth);
    transposed_form::<F, E>(work.d_out_ut, d_out, 1.0, line);
    summed_form::<F, E>(work.d_out_be, d_out, 1.0, work.depth);
    let begin = head * saved.count + task.sequence.start;
    work.log_sum_exp_t[..length].copy_from_slice(&saved.log_sum_exp_hn[begin..begin + length]);
    // Rows that do not exist have no weights.
    work.log_sum_exp_t[length..].fill(f32::INFINITY);
    for (row, along) in work.along_t[..length].iter_mut().enumerate() {
        *along = product(d_out.row(row), out.row(row));
    }
    work.along_t[length..].fill(0.0);
    work.d_queries_te.fill(0.0);
}

/// `Σ a[i]·b[i]`, in [`LANES`] sums.
#[inline(always)]
fn product<E: Element>(a: &[E], b: &[E]) -> f32 {
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] = a[lane].to_f32().mul_add(b[lane].to_f32(), sums[lane]);
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *sum = a.to_f32().mul_add(b.to_f32(), *sum);
    }
    reduce(&sums)
}

/// One block of keys against one block of queries.
#[inline(always)]
fn block<F: Format>(work: &mut Work<'_>, task: &Task<'_>, key: usize, query: usize) {
    let length = task.sequence.len();
    let columns = BLOCK.min((length - query).next_multiple_of(LANES));
    let last = BLOCK.min(length - key).next_multiple_of(ROWS);
    for strip in (0..last).step_by(ROWS) {
        // No query before the panel of the first key sees any of these keys.
        let skip = if task.attention.causal { (key + strip).saturating_sub(query) / WIDTH * WIDTH } else { 0 };
        if skip < columns {
            key_strip::<F>(work, task, (key + strip, strip), (query, skip, columns));
        }
    }
    let (units, deep) = (work.units, work.deep);
    debug_assert_eq!(units, task.attention.dim.div_ceil(F::VALUES));
    for strip in (0..columns).step_by(ROWS) {
        // Keys after the last of these queries have no part.
        let seen = if task.attention.causal { (query + strip + ROWS - key).min(last) } else { last };
        let shape = Shape {
            columns: task.attention.dim.next_multiple_of(LANES),
            depth: seen.div_ceil(F::VALUES),
            a_row: 1,
            a_step: BLOCK,
            b_panel: work.depth * WIDTH,
            c_row: deep,
            add: true,
        };
        let to = &mut work.d_queries_te[(query + strip) * deep..];
        work.product.run(to, &work.columns[strip..], &work.keys_be[key / F::VALUES * WIDTH..], &shape);
    }
}

/// Eight keys, at `key` in the sequence and `strip` in their block, against the queries `skip..columns` of the
/// block at `query`.
#[inline(always)]
fn key_strip<F: Format>(
    work: &mut Work<'_>,
    task: &Task<'_>,
    (key, strip): (usize, usize),
    (query, skip, columns): (usize, usize, usize),
) {
    let (units, deep, count) = (work.units, work.deep, columns - skip);
    let begin = query + skip;
    let scores = Shape {
        columns: count,
        depth: units,
        a_row: units,
        a_step: 1,
        b_panel: units * WIDTH,
        c_row: BLOCK,
        add: false,
    };
    let (keys, panel) = (key * units, begin * units);
    work.product.run(work.scores, &work.keys_tu[keys..], &work.queries_ut[panel..], &scores);
    work.product.run(work.d_scores, &work.values_tu[keys..], &work.d_out_ut[panel..], &scores);
    let depth = count / F::VALUES;
    let sums = Shape {
        columns: task.attention.dim.next_multiple_of(LANES),
        depth,
        a_row: depth,
        a_step: 1,
        b_panel: work.depth * WIDTH,
        c_row: deep,
        add: true,
    };
    let (log_sum_exp, along_c) = (&work.log_sum_exp_t[begin..begin + count], &work.along_t[begin..begin + count]);
    for r in 0..ROWS {
        let scores = &mut work.scores[r * BLOCK..r * BLOCK + count];
        let d_scores = &mut work.d_scores[r * BLOCK..r * BLOCK + count];
        let hidden = match (key + r < task.sequence.len(), task.attention.causal) {
            (false, _) => count,
            (true, true) => (key + r).saturating_sub(begin).min(count),
            (true, false) => 0,
        };
        weigh(scores, d_scores, log_sum_exp, along_c, hidden);
    }
    let rows = &mut work.rows[..ROWS * depth];
    work.product.narrow(rows, work.scores, BLOCK, count);
    let panel = begin / F::VALUES * WIDTH;
    work.product.run(&mut work.d_values_te[key * deep..], rows, &work.d_out_be[panel..], &sums);
    work.product.narrow(rows, work.d_scores, BLOCK, count);
    work.product.run(&mut work.d_keys_te[key * deep..], rows, &work.queries_be[panel..], &sums);
    for r in (0..ROWS).step_by(F::VALUES) {
        let unit = (strip + r) / F::VALUES;
        let to = &mut work.columns[unit * BLOCK + skip..unit * BLOCK + columns];
        let (even, odd) = (&work.d_scores[r * BLOCK..], &work.d_scores[(r + F::VALUES - 1) * BLOCK..]);
        for ((to, even), odd) in to.iter_mut().zip(even).zip(odd) {
            *to = F::pack(*even, *odd);
        }
    }
}

/// Scores become weights, and gradients of weights become gradients of scores; the first `hidden` are 0.
#[inline(always)]
fn weigh(scores: &mut [f32], d_scores: &mut [f32], log_sum_exp: &[f32], along: &[f32], hidden: usize) {
    let inputs = log_sum_exp.iter().zip(along);
    for ((score, d_score), (log_sum_exp, along)) in scores.iter_mut().zip(d_scores.iter_mut()).zip(inputs) {
        let weight = exp_of_difference(*score - log_sum_exp);
        *d_score = weight * (*d_score - along);
        *score = weight;
    }
    scores[..hidden].fill(0.0);
    d_scores[..hidden].fill(0.0);
}

/// The task's rows of some columns of `d_qkv_ns`.
#[inline(always)]
fn store<E: Element>(task: &Task<'_>, d_qkv: &Parts<'_, E>, from_te: &[f32], column: usize, scale: f32) {
    let (stride, dim) = (task.attention.stride(), task.attention.dim);
    let deep = dim.next_multiple_of(WIDTH);
    for (row, from) in task.sequence.clone().zip(from_te.chunks_exact(deep)) {
        let begin = row * stride + column;
        // SAFETY: only this task has these rows of this head.
        let to = unsafe { d_qkv.take(begin..begin + dim) };
        for (to, from) in to.iter_mut().zip(from) {
            *to = E::from_f32(scale * from);
        }
    }
}
