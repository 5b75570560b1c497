//! Isolation forest (Liu, Ting, Zhou 2008): rows that random cuts isolate early stand apart.

use crate::error::TablesError;
use crate::hashing::Random;

/// How the forest grows.
#[derive(Debug, Clone, PartialEq)]
pub struct ForestConfig {
    /// The number of trees. Default 100.
    pub trees: usize,
    /// The rows each tree sees, drawn without replacement. Default 256.
    pub sample: usize,
    /// Where draws come from.
    pub seed: u64,
}

impl Default for ForestConfig {
    fn default() -> Self {
        Self { trees: 100, sample: 256, seed: 0 }
    }
}

/// The most trees and rows a tree sees.
const TREES_MAX: usize = 10_000;
const SAMPLE_MAX: usize = 1 << 16;

enum Node {
    /// The column, the cut, and where smaller and other values go on.
    Cut(usize, f64, usize, usize),
    /// The path's length, with what the rows left there would need.
    Leaf(f64),
}

/// The score of every row, 2^(−E(h) / c(n)): near 1 isolated, below 0.5 usual. `columns` holds finite
/// numbers, column by column.
///
/// # Errors
/// When the columns are not equally long, a number is not finite, or the settings are out of range.
pub fn isolation_forest(columns: &[Vec<f64>], config: &ForestConfig) -> Result<Vec<f64>, TablesError> {
    let rows = columns.first().map_or(0, Vec::len);
    let hint = "Give equally long columns of finite numbers, 1 to 10,000 trees and 2 to 65,536 rows a tree.";
    let wrong = |what: &str| Err(TablesError::input("the isolation forest's input", what, hint));
    if columns.iter().any(|column| column.len() != rows || column.iter().any(|value| !value.is_finite())) {
        return wrong("columns of unequal length, or a number that is not finite");
    }
    if !(1..=TREES_MAX).contains(&config.trees) || !(2..=SAMPLE_MAX).contains(&config.sample) {
        return wrong("trees or rows a tree out of range");
    }
    if rows < 2 {
        return Ok(vec![0.5; rows]);
    }
    let sample = config.sample.min(rows);
    let depth_max = (sample as f64).log2().ceil() as usize;
    let mut paths = vec![0.0; rows];
    let mut all: Vec<usize> = (0..rows).collect();
    for tree in 0..config.trees {
        let mut random = Random::new(config.seed, tree as u64);
        for index in 0..sample {
            let other = index + random.below(rows - index);
            all.swap(index, other);
        }
        let mut drawn = all[..sample].to_vec();
        let mut nodes = Vec::new();
        grow(columns, &mut drawn, 0, depth_max, &mut random, &mut nodes);
        for (row, path) in paths.iter_mut().enumerate() {
            *path += length(columns, &nodes, row);
        }
    }
    let usual = average_path(sample);
    Ok(paths.into_iter().map(|path| (-path / config.trees as f64 / usual).exp2()).collect())
}

/// Grows the subtree of `rows` and gives its root's index. Its depth is at most 16.
fn grow(
    columns: &[Vec<f64>],
    rows: &mut [usize],
    depth: usize,
    depth_max: usize,
    random: &mut Random,
    nodes: &mut Vec<Node>,
) -> usize {
    let at = nodes.len();
    nodes.push(Node::Leaf(depth as f64 + average_path(rows.len())));
    if depth >= depth_max || rows.len() < 2 {
        return at;
    }
    // Columns that do not vary here cannot be cut.
    let mut open: Vec<usize> = (0..columns.len()).collect();
    while !open.is_empty() {
        let column = open.swap_remove(random.below(open.len()));
        let values = rows.iter().map(|&row| columns[column][row]);
        let (least, most) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if least >= most {
            continue;
        }
        let share = random.unit();
        let cut = (least * (1.0 - share) + most * share).clamp(least, most);
        let mut middle = 0;
        for index in 0..rows.len() {
            if columns[column][rows[index]] <= cut {
                rows.swap(index, middle);
                middle += 1;
            }
        }
        // A cut rounded up to the largest value separates nothing; the node stays a leaf.
        if middle == rows.len() {
            return at;
        }
        let (left, right) = rows.split_at_mut(middle);
        let left = grow(columns, left, depth + 1, depth_max, random, nodes);
        let right = grow(columns, right, depth + 1, depth_max, random, nodes);
        nodes[at] = Node::Cut(column, cut, left, right);
        return at;
    }
    at
}

fn length(columns: &[Vec<f64>], nodes: &[Node], row: usize) -> f64 {
    let mut at = 0;
    loop {
        match nodes[at] {
            Node::Leaf(length) => return length,
            Node::Cut(column, cut, left, right) => at = if columns[column][row] <= cut { left } else { right },
        }
    }
}

/// The average length of an unsuccessful search in a binary search tree of n.
fn average_path(n: usize) -> f64 {
    match n {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => {
            let n = n as f64;
            2.0 * ((n - 1.0).ln() + 0.577_215_664_901_532_9) - 2.0 * (n - 1.0) / n
        }
    }
}
