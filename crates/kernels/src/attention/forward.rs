//! One task of attention's forward pass: some query rows of a group of heads, 8 rows at a time.

use super::Task;
use super::pack::{Memory, rows_form, summed_form, transposed_form};
use super::tile::{Format, Pair, Product, ROWS, Shape, Single, WIDTH, exp_of_difference};
use crate::LANES;
use crate::activation::exp;
use crate::element::Element;
use crate::gemm::Compute;
use crate::isa::kernel;
use crate::rows::Parts;
use crate::vector::reduce;

/// Keys whose scores are held at a time.
const KEYS: usize = 512;

/// Where results go, and what they are computed from; `count` is the number of all rows.
pub struct Tensors<'a, E> {
    pub out_nhd: Parts<'a, E>,
    pub log_sum_exp_hn: Parts<'a, f32>,
    pub qkv_ns: &'a [E],
    pub count: usize,
}

/// Fills the task's part of `out_nhd` and of `log_sum_exp_hn`.
pub fn run<E: Element>(task: &Task<'_>, tensors: &Tensors<'_, E>) {
    // The memory is found out here: a closure inside a kernel would lose its instruction set.
    match task.attention.compute {
        Compute::F32 => Memory::with(&lengths::<Single>(task), |memory| single(task, tensors, memory)),
        Compute::Bf16 => Memory::with(&lengths::<Pair>(task), |memory| pair(task, tensors, memory)),
    }
}

kernel! {
    /// In `f32`.
    pub fn single<E: Element>(task: &Task<'_>, tensors: &Tensors<'_, E>, memory: Memory<'_>) {
        group::<Single, E>(task, tensors, memory);
    }
}

kernel! {
    /// In bf16.
    pub fn pair<E: Element>(task: &Task<'_>, tensors: &Tensors<'_, E>, memory: Memory<'_>) {
        group::<Pair, E>(task, tensors, memory);
    }
}

/// The keys that the task's queries see.
#[inline(always)]
fn seen(task: &Task<'_>) -> usize {
    if task.attention.causal { task.queries.end } else { task.sequence.len() }
}

/// The parts of the memory: keys, values, a panel, queries, weights; scores, sums.
#[inline(always)]
fn lengths<F: Format>(task: &Task<'_>) -> [usize; 7] {
    let (dim, wide) = (task.attention.dim, seen(task).next_multiple_of(WIDTH));
    let (units, deep, strip) = (dim.div_ceil(F::VALUES), dim.next_multiple_of(WIDTH), ROWS * wide.min(KEYS));
    let queries = task.queries.len().next_multiple_of(ROWS);
    [wide * units, wide / F::VALUES * deep, WIDTH * units, queries * units, strip, strip, ROWS * deep]
}

/// Packed keys and values, and room for 8 rows.
struct Work<'a> {
    keys: &'a [u32],
    values: &'a [u32],
    /// Units of all keys.
    depth: usize,
    seen: usize,
    scores: &'a mut [f32],
    weights: &'a mut [u32],
    out: &'a mut [f32],
    product: Product,
}

#[inline(always)]
fn group<F: Format, E: Element>(task: &Task<'_>, tensors: &Tensors<'_, E>, mut memory: Memory<'_>) {
    let attention = task.attention;
    let (stride, dim, seen) = (attention.stride(), attention.dim, seen(task));
    let (units, deep) = (dim.div_ceil(F::VALUES), dim.next_multiple_of(WIDTH));
    let depth = seen.next_multiple_of(WIDTH) / F::VALUES;
    let lengths = lengths::<F>(task);
    let [keys, values, line, query, weights] = [0, 1, 2, 3, 4].map(|part| memory.units(lengths[part]));
    let (keys_in, values_in) = (task.key_column(), task.value_column());
    transposed_form::<F, E>(keys, task.rows(tensors.qkv_ns, stride, keys_in, 0..seen), 1.0, line);
    summed_form::<F, E>(values, task.rows(tensors.qkv_ns, stride, values_in, 0..seen), 1.0, depth);
    let (scores, out) = (memory.floats(lengths[5]), memory.floats(lengths[6]));
    let product = Product::of(attention.compute);
    let mut work = Work { keys, values, depth, seen, scores, weights, out, product };
    for head in task.group() {
        let rows = task.rows(tensors.qkv_ns, stride, task.query_column(head), task.queries.clone());
        rows_form::<F, E>(query, rows, attention.scale);
        for row in (0..task.queries.len()).step_by(ROWS) {
            let totals = strip::<F>(&mut work, &query[row * units..], task, row);
            let place = task.sequence.start + task.queries.start + row;
            for (r, (largest, total)) in totals.into_iter().enumerate().take(task.queries.len() - row) {
                let begin = ((place + r) * attention.heads + head) * dim;
                let sums = head * tensors.count + place + r;
                // SAFETY: only this task has these rows of this head.
                let (out, sums) =
                    unsafe { (tensors.out_nhd.take(begin..begin + dim), tensors.log_sum_exp_hn.take(sums..sums + 1)) };
                let factor = 1.0 / total;
                for (out, value) in out.iter_mut().zip(&work.out[r * deep..]) {
                    *out = E::from_f32(factor * value);
                }
                sums[0] = largest + total.ln();
            }
        }
    }
}

/// Eight query rows against all keys: leaves the unscaled result in `work.out`, and gives the maximum and the
/// sum of each row.
#[inline(always)]
fn strip<F: Format>(work: &mut Work<'_>, query: &[u32], task: &Task<'_>, row: usize) -> [(f32, f32); ROWS] {
    let dim = task.attention.dim;
    let (units, deep) = (dim.div_ceil(F::VALUES), dim.next_multiple_of(WIDTH));
    let first = task.queries.start + row;
    let seen = if task.attention.causal { work.seen.min(first + ROWS) } else { work.seen };
    let mut totals = [(f32::NEG_INFINITY, 0.0_f32); ROWS];
    for begin in (0..seen).step_by(KEYS) {
        let keys = KEYS.min(seen - begin);
        let columns = keys.next_multiple_of(LANES);
        let scores = Shape {
            columns,
            depth: units,
            a_row: units,
            a_step: 1,
            b_panel: units * WIDTH,
            c_row: columns,
            add: false,
        };
        work.product.run(work.scores, query, &work.keys[begin * units..], &scores);
        let depth = keys.div_ceil(F::VALUES);
        for (r, total) in totals.iter_mut().enumerate() {
            let visible = if task.attention.causal { (first + r + 1).saturating_sub(begin).min(keys) } else { keys };
            let scores = &mut work.scores[r * columns..(r + 1) * columns];
            let keep = soften(scores, visible, total);
            if begin > 0 && keep != 1.0 {
                for out in &mut work.out[r * deep..(r + 1) * deep] {
                    *out *= keep;
                }
            }
        }
        let weights = &mut work.weights[..ROWS * columns / F::VALUES];
        work.product.narrow(weights, work.scores, columns, columns);
        let sums = Shape {
            columns: dim.next_multiple_of(LANES),
            depth,
            a_row: columns / F::VALUES,
            a_step: 1,
            b_panel: work.depth * WIDTH,
            c_row: deep,
            add: begin > 0,
        };
        work.product.run(work.out, work.weights, &work.values[begin / F::VALUES * WIDTH..], &sums);
    }
    totals
}

/// Turns the first `visible` scores into weights relative to the largest so far and the others into 0, counts the
/// weights in, and gives the factor for what was summed up before.
#[inline(always)]
fn soften(scores: &mut [f32], visible: usize, (largest, total): &mut (f32, f32)) -> f32 {
    let (scores, hidden) = scores.split_at_mut(visible.next_multiple_of(LANES));
    hidden.fill(0.0);
    if visible == 0 {
        return 1.0;
    }
    // Whole blocks alone: what is hidden in the last one weighs nothing.
    scores[visible..].fill(f32::NEG_INFINITY);
    let blocks = scores.as_chunks_mut::<LANES>().0;
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for block in blocks.iter() {
        for (lane, score) in lanes.iter_mut().zip(block) {
            *lane = larger(*lane, *score);
        }
    }
    let new = larger(*largest, most(&lanes));
    // Where nothing but −∞ was seen, weights are 0 and not −∞ − −∞.
    let base = if new == f32::NEG_INFINITY { 0.0 } else { new };
    let mut sums = [0.0; LANES];
    for block in blocks {
        for (sum, score) in sums.iter_mut().zip(block) {
            *score = exp_of_difference(*score - base);
            *sum += *score;
        }
    }
    let keep = if new == *largest { 1.0 } else { exp(*largest - base) };
    *total = keep * *total + reduce(&sums);
    *largest = new;
    keep
}

/// The larger one, passing over what is not a number in `b`.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// The largest lane, found in halves.
#[inline(always)]
fn most(lanes: &[f32; LANES]) -> f32 {
    let mut lanes = *lanes;
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] = larger(lanes[lane], lanes[lane + half]);
        }
    }
    lanes[0]
}
