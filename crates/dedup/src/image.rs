//! The same picture: perceptual hashes of grey pixels, and clusters by Hamming distance.
//!
//! [`difference_hash`] and [`cosine_hash`] are `dhash` and `phash` of Python's imagehash 4.3 in every bit, on
//! the same grey pixels: they scale as Pillow 13's Lanczos filter does (`Resample.c`: weights of three lobes,
//! rounded to 22 bits, across and then down, rounded to bytes between), which is repeated here.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::DedupError;
use crate::components::{ClusterSink, Clusters, Components, Keep, Member, check_budget};
use crate::scratch::Spool;

/// Decoded grey pixels, row by row.
#[derive(Debug, Clone, Copy)]
pub struct Grey<'a> {
    width: usize,
    height: usize,
    pixels: &'a [u8],
}

impl<'a> Grey<'a> {
    /// A picture of `width` times `height` pixels; none unless there are that many, at least one and at most
    /// 2^30.
    #[must_use]
    pub fn new(width: usize, height: usize, pixels: &'a [u8]) -> Option<Self> {
        let count = width.checked_mul(height)?;
        (count == pixels.len() && (1..=1 << 30).contains(&count)).then_some(Self { width, height, pixels })
    }
}

/// Bit by bit whether a pixel is lighter than its left neighbour, of the picture at 9 × 8.
#[must_use]
pub fn difference_hash(image: Grey) -> u64 {
    let small = resize(image, 9, 8);
    let bits = small.chunks_exact(9).flat_map(|row| row.windows(2).map(|two| two[1] > two[0]));
    bits.fold(0, |hash, bit| hash << 1 | u64::from(bit))
}

/// Bit by bit whether one of the 64 lowest frequencies of the picture at 32 × 32 is above their median.
#[must_use]
pub fn cosine_hash(image: Grey) -> u64 {
    let small = resize(image, 32, 32);
    let mut columns = [[0.0_f64; 32]; 8];
    for x in 0..32 {
        let column: [f64; 32] = std::array::from_fn(|y| f64::from(small[y * 32 + x]));
        for (frequency, value) in low_frequencies(&column).into_iter().enumerate() {
            columns[frequency][x] = value;
        }
    }
    let low: Vec<f64> = columns.iter().flat_map(low_frequencies).collect();
    let mut ordered = low.clone();
    ordered.sort_by(f64::total_cmp);
    let median = (ordered[31] + ordered[32]) / 2.0;
    low.iter().fold(0, |hash, value| hash << 1 | u64::from(*value > median))
}

/// The first eight coefficients of the cosine transform (type 2) of 32 values, up to a factor.
///
/// Values are added to and subtracted from their mirror images first, as fast transforms do, so that what
/// cancels cancels exactly: a plain picture has frequencies of zero and not of rounding errors.
fn low_frequencies(values: &[f64; 32]) -> [f64; 8] {
    let mut out = [0.0; 8];
    let mut sums = values.to_vec();
    let mut step = 1;
    while sums.len() > 4 {
        let half = sums.len() / 2;
        let differences: Vec<f64> = (0..half).map(|n| sums[n] - sums[sums.len() - 1 - n]).collect();
        for frequency in (step..8).step_by(2 * step) {
            out[frequency] = differences.iter().enumerate().map(|(n, value)| value * cosine(n, frequency)).sum();
        }
        sums = (0..half).map(|n| sums[n] + sums[sums.len() - 1 - n]).collect();
        step *= 2;
    }
    out[0] = sums.iter().sum();
    out
}

/// cos(π k (2 n + 1) / 64): folding halves the length and the frequency, so their ratio stays.
fn cosine(n: usize, frequency: usize) -> f64 {
    (std::f64::consts::PI * (frequency * (2 * n + 1)) as f64 / 64.0).cos()
}

const PRECISION_BITS: u32 = 22;

/// Scales to `width` times `height` by Pillow's Lanczos filter.
///
/// As in Pillow 13 the height comes first where it shrinks by more than twice as many pixels as the width;
/// older versions always begin with the width.
#[must_use]
pub fn resize(image: Grey, width: usize, height: usize) -> Vec<u8> {
    let pixels = image.pixels.to_vec();
    let (columns, rows) = (image.width as i64 - width as i64, image.height as i64 - height as i64);
    if rows > 0 && rows > 2 * columns {
        let pixels = scale_height(pixels, image.width, image.height, height);
        return scale_width(pixels, height, image.width, width);
    }
    let pixels = scale_width(pixels, image.height, image.width, width);
    scale_height(pixels, width, image.height, height)
}

fn scale_width(pixels: Vec<u8>, height: usize, from: usize, to: usize) -> Vec<u8> {
    if from == to { pixels } else { scale(&pixels, height, from, to, (from, 1)) }
}

fn scale_height(pixels: Vec<u8>, width: usize, from: usize, to: usize) -> Vec<u8> {
    if from == to {
        return pixels;
    }
    let columns = scale(&pixels, width, from, to, (1, width));
    // Columns lie one behind the other: turn them.
    (0..to * width).map(|at| columns[at % width * to + at / width]).collect()
}

/// Scales each of `lines` lines from `from` to `to` values; `strides` are from line to line and from value
/// to value.
fn scale(pixels: &[u8], lines: usize, from: usize, to: usize, strides: (usize, usize)) -> Vec<u8> {
    let weights: Vec<(usize, Vec<i32>)> = (0..to).map(|at| lanczos(from, to, at)).collect();
    let mut out = Vec::with_capacity(lines * to);
    for line in 0..lines {
        for (first, weights) in &weights {
            let sum = weights.iter().enumerate().fold(1_i32 << (PRECISION_BITS - 1), |sum, (index, weight)| {
                sum.wrapping_add(i32::from(pixels[line * strides.0 + (first + index) * strides.1]) * weight)
            });
            out.push((sum >> PRECISION_BITS).clamp(0, 255) as u8);
        }
    }
    out
}

/// The first value that the scaled value `at` is made of, and the weights.
fn lanczos(from: usize, to: usize, at: usize) -> (usize, Vec<i32>) {
    let ratio = from as f64 / to as f64;
    let stretch = ratio.max(1.0);
    let support = 3.0 * stretch;
    let centre = (at as f64 + 0.5) * ratio;
    let first = (centre - support + 0.5).max(0.0) as usize;
    let end = ((centre + support + 0.5) as usize).min(from);
    let weights: Vec<f64> = (first..end).map(|index| window((index as f64 - centre + 0.5) * (1.0 / stretch))).collect();
    let sum: f64 = weights.iter().sum();
    let rounded = |weight: &f64| {
        let share = if sum == 0.0 { *weight } else { weight / sum };
        let share = share * f64::from(1 << PRECISION_BITS);
        (share + 0.5_f64.copysign(share)) as i32
    };
    (first, weights.iter().map(rounded).collect())
}

fn window(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI) };
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}

/// Settings of image deduplication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageConfig {
    /// How many of the 64 bits may differ, 0 to 32.
    pub distance: u32,
    /// Which picture of a cluster stays.
    pub keep: Keep,
    /// How much memory clustering may use, in bytes; about 100 for each picture are needed.
    pub budget_bytes: u64,
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self { distance: 5, keep: Keep::First, budget_bytes: 1 << 30 }
    }
}

/// Joins pictures, given as (id, hash) in any order, whose hashes differ in few bits, and writes the
/// clusters to the folder `output`.
///
/// Hashes that differ in at most d bits differ in at most one bit in one of ⌊d/2⌋ + 1 parts: each part is
/// an index, asked for the part itself and for each of its bits turned.
///
/// # Errors
/// A setting is out of range, the budget is too small for the pictures, an id came twice, or no room.
pub fn cluster(
    hashes: impl IntoIterator<Item = (u64, u64)>,
    output: &Path,
    config: &ImageConfig,
) -> Result<Clusters, DedupError> {
    check_budget(config.budget_bytes)?;
    if config.distance > 32 {
        return Err(DedupError::config("distance", "at most 32 of 64 bits may differ"));
    }
    fs::create_dir_all(output).map_err(DedupError::io("create", output))?;
    let limit = (config.budget_bytes / 100) as usize;
    let mut by_id: Vec<(u64, u64)> = Vec::new();
    for entry in hashes {
        if by_id.len() == limit {
            let what = format!("it is enough for {limit} pictures, and there are more");
            return Err(DedupError::config("budget_bytes", what));
        }
        by_id.push(entry);
    }
    by_id.sort_unstable();
    if let Some(two) = by_id.windows(2).find(|two| two[0].0 == two[1].0) {
        return Err(DedupError::Duplicate { id: two[0].0 });
    }
    let pairs = pairs(&by_id, output, config)?;
    let mut components = Components::new(output, vec![pairs], config.keep, config.budget_bytes / 4)?;
    let mut sink = ClusterSink::new(output, config.budget_bytes / 4);
    let hash_of = |id| by_id.binary_search_by_key(&id, |entry| entry.0).map_or(0, |at| by_id[at].1);
    components.for_each(|id, representative| {
        if id == representative {
            return Ok(());
        }
        let different = (hash_of(id) ^ hash_of(representative)).count_ones();
        sink.push(Member { representative, id, similarity: 1.0 - f64::from(different) / 64.0 })
    })?;
    sink.finish(output, by_id.len() as u64)
}

fn pairs(by_id: &[(u64, u64)], folder: &Path, config: &ImageConfig) -> Result<Spool, DedupError> {
    let mut spool = Spool::create(folder, 2)?;
    let mut hashes: Vec<(u64, u64)> = by_id.iter().map(|(id, hash)| (*hash, *id)).collect();
    hashes.sort_unstable();
    for two in hashes.windows(2).filter(|two| two[0].0 == two[1].0) {
        spool.push(&[two[0].1, two[1].1])?;
    }
    hashes.dedup_by_key(|entry| entry.0);
    let parts = if config.distance == 0 { 0 } else { config.distance / 2 + 1 };
    for part in 0..parts {
        let (low, high) = (64 * part / parts, 64 * (part + 1) / parts);
        let key = |hash: u64| hash >> low & (u64::MAX >> (64 - (high - low)));
        let mut index: Vec<(u64, u32)> =
            hashes.iter().enumerate().map(|(at, entry)| (key(entry.0), at as u32)).collect();
        index.sort_unstable();
        for (at, (hash, id)) in hashes.iter().enumerate() {
            let turned = (0..high - low).map(|bit| key(*hash) ^ 1 << bit);
            for probe in std::iter::once(key(*hash)).chain(turned) {
                let first = index.partition_point(|entry| *entry < (probe, at as u32 + 1));
                for (_, other) in index[first..].iter().take_while(|entry| entry.0 == probe) {
                    let (other_hash, other_id) = hashes[*other as usize];
                    if (other_hash ^ hash).count_ones() <= config.distance {
                        spool.push(&[*id, other_id])?;
                    }
                }
            }
        }
    }
    spool.rewind()?;
    Ok(spool)
}
