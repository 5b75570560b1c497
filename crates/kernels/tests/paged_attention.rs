//! Attention over pages against plain softmax in double precision.

mod common;

use common::{all_close, each_isa, everywhere, for_any_threads, numbers, wide};
use kernels::attention::paged::{PagedAttention, Pages, Sequence};
use kernels::f16::F16;
use proptest::prelude::*;

/// Sequences whose keys and values lie in pages, in a mixed order, with garbage in what is not used.
struct Cache {
    pages: Pages,
    data: Vec<F16>,
    tables: Vec<Vec<u32>>,
    /// Of each sequence, `[position][kv head · dim]`, as they are kept.
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

impl Cache {
    fn new(pages: Pages, lengths: &[usize], seed: u64) -> Self {
        let count: usize = lengths.iter().map(|length| pages.count(*length)).sum();
        let mut free: Vec<u32> = (0..count as u32 + 3).rev().collect();
        free.rotate_left(count / 2);
        let mut data = vec![F16(0x7e00); (count + 3) * pages.elements()];
        let width = pages.kv_heads * pages.dim;
        let (mut tables, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (index, length) in lengths.iter().enumerate() {
            let table: Vec<u32> = (0..pages.count(*length)).map(|_| free.pop().expect("a page")).collect();
            let mut kept = [vec![0.0; length * width], vec![0.0; length * width]];
            let new = [0, 1].map(|which| numbers(length * width, seed ^ (2 * index as u64 + which)));
            for position in 0..*length {
                let range = position * width..(position + 1) * width;
                pages.write(&mut data, &table, position, &new[0][range.clone()], &new[1][range.clone()]);
                let [keys, values] = &mut kept;
                pages.read(&data, &table, position, &mut keys[range.clone()], &mut values[range.clone()]);
                for (kept, new) in keys[range.clone()].iter().zip(&new[0][range]) {
                    assert!((kept - new).abs() <= new.abs() / 2048.0 + 1e-7);
                }
            }
            let [new_keys, new_values] = kept;
            tables.push(table);
            keys.push(new_keys);
            values.push(new_values);
        }
        Self { pages, data, tables, keys, values }
    }
}

#[derive(Clone, Copy)]
struct Heads {
    heads: usize,
    window: Option<usize>,
    scale: f32,
}

/// The last `counts` rows of each sequence attend to all of it.
fn run(cache: &Cache, heads: Heads, counts: &[usize], queries: &[f32]) -> Vec<f32> {
    let mut first = 0;
    let mut sequences = Vec::new();
    for (index, count) in counts.iter().enumerate() {
        let length = cache.keys[index].len() / (cache.pages.kv_heads * cache.pages.dim);
        sequences.push(Sequence { table: &cache.tables[index], rows: first..first + count, position: length - count });
        first += count;
    }
    let Heads { heads, window, scale } = heads;
    let mut out = vec![f32::NAN; queries.len()];
    let attention = PagedAttention { pages: cache.pages, sequences: &sequences, heads, scale, window };
    attention.run(&mut out, queries, &cache.data);
    out
}

fn reference(cache: &Cache, heads: Heads, counts: &[usize], queries: &[f32]) -> Vec<f64> {
    let (dim, width) = (cache.pages.dim, cache.pages.kv_heads * cache.pages.dim);
    let group = heads.heads / cache.pages.kv_heads;
    let (queries, mut out, mut row) = (wide(queries), Vec::new(), 0);
    for (index, count) in counts.iter().enumerate() {
        let (keys, values) = (wide(&cache.keys[index]), wide(&cache.values[index]));
        let length = keys.len() / width;
        for position in length - count..length {
            for head in 0..heads.heads {
                let q = &queries[(row * heads.heads + head) * dim..][..dim];
                let first = heads.window.map_or(0, |window| (position + 1).saturating_sub(window));
                let at = |data: &[f64], place: usize| data[place * width + head / group * dim..][..dim].to_vec();
                let scores: Vec<f64> = (first..=position)
                    .map(|place| {
                        at(&keys, place).iter().zip(q).map(|(k, q)| k * q).sum::<f64>() * f64::from(heads.scale)
                    })
                    .collect();
                let most = scores.iter().fold(f64::NEG_INFINITY, |most, score| most.max(*score));
                let total: f64 = scores.iter().map(|score| (score - most).exp()).sum();
                let mut sums = vec![0.0; dim];
                for (place, score) in (first..=position).zip(&scores) {
                    for (sum, value) in sums.iter_mut().zip(at(&values, place)) {
                        *sum += (score - most).exp() / total * value;
                    }
                }
                out.extend(sums);
            }
            row += 1;
        }
    }
    out
}

fn queries(cache: &Cache, heads: Heads, rows: usize, seed: u64) -> Vec<f32> {
    numbers(rows * heads.heads * cache.pages.dim, seed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 6 } else { 40 }))]

    #[test]
    fn attention_is_softmax(
        positions in prop_oneof![Just(32_usize), Just(64), Just(256)],
        kv_heads in 1..4_usize,
        group in 1..10_usize,
        dim in prop_oneof![Just(16_usize), Just(48), Just(64)],
        lengths in proptest::collection::vec((0..600_usize, 0..40_usize), 1..4),
        window in proptest::option::of(1..400_usize),
        scale in prop_oneof![Just(0.2_f32), Just(10.0), Just(-3.0)],
        seed in any::<u64>(),
    ) {
        let (lengths, counts): (Vec<_>, Vec<_>) = lengths.iter().map(|(old, new)| (old + new, *new)).unzip();
        let cache = Cache::new(Pages { positions, kv_heads, dim }, &lengths, seed);
        let heads = Heads { heads: kv_heads * group, window, scale };
        let queries = queries(&cache, heads, counts.iter().sum(), seed ^ 77);
        let found = everywhere(|| run(&cache, heads, &counts, &queries));
        // Scores of a large scale are rounded in larger steps.
        let parts = if scale == 10.0 { 1e-4 } else { 1e-5 };
        all_close(&found, &reference(&cache, heads, &counts, &queries), parts);
    }
}

/// A prompt in one piece, in chunks and token by token: the same bits.
#[test]
fn a_row_has_the_same_bits_alone_and_among_others() {
    let pages = Pages { positions: 32, kv_heads: 2, dim: 64 };
    for (group, window) in [(3, None), (4, Some(300)), (8, None)] {
        let heads = Heads { heads: 2 * group, window, scale: 0.125 };
        let (length, width) = (700, 2 * group * 64);
        let cache = Cache::new(pages, &[length], 3);
        let queries = queries(&cache, heads, length, 4);
        each_isa(|isa| {
            let all = run(&cache, heads, &[length], &queries);
            // Rows of a shorter prefix are the same, for all they see lies before them.
            for (first, count) in [(0, 1), (0, 7), (255, 2), (300, 100), (511, 2), (699, 1), (650, 50)] {
                let attention = PagedAttention {
                    pages,
                    sequences: &[Sequence { table: &cache.tables[0], rows: 0..count, position: first }],
                    heads: heads.heads,
                    scale: heads.scale,
                    window,
                };
                let mut out = vec![0.0; count * width];
                attention.run(&mut out, &queries[first * width..(first + count) * width], &cache.data);
                assert!(out == all[first * width..(first + count) * width], "{isa:?} {group} {first} {count}");
            }
        });
    }
}

#[test]
fn the_number_of_threads_does_not_show() {
    let heads = Heads { heads: 6, window: None, scale: 0.125 };
    let cache = Cache::new(Pages { positions: 64, kv_heads: 2, dim: 64 }, &[900, 300], 3);
    let counts = [1, 200];
    let queries = queries(&cache, heads, 201, 4);
    for_any_threads(|| run(&cache, heads, &counts, &queries));
}

#[test]
fn large_scores_and_large_values_do_no_harm() {
    let pages = Pages { positions: 32, kv_heads: 1, dim: 16 };
    let (mut data, table) = (vec![F16(0x7e00); 10 * pages.elements()], (0..10).collect::<Vec<u32>>());
    for position in 0..300 {
        let size = if position == 150 { 1e6 } else { 1.0 };
        pages.write(&mut data, &table, position, &[size; 16], &[if position == 150 { -1e9 } else { 1.0 }; 16]);
    }
    each_isa(|_| {
        for (sign, expected) in [(1.0, -65504.0), (-1.0, 1.0)] {
            let mut out = [0.0; 16];
            let sequences = [Sequence { table: &table, rows: 0..1, position: 299 }];
            let attention = PagedAttention { pages, sequences: &sequences, heads: 1, scale: sign, window: None };
            attention.run(&mut out, &[100.0; 16], &data);
            assert!(out.iter().all(|out| *out == expected), "{out:?}");
        }
    });
}
