//! The same meaning: SemDeDup (Abbas et al. 2023) over embeddings in files.
//!
//! Rows are scaled to length one. Spherical k-means puts them into clusters; within a cluster they are put
//! into the order of the keep rule, and a row is dropped if its cosine with an earlier one reaches the
//! threshold. With one cluster (the default up to 4,096 rows) all pairs are compared. Sums are taken in the
//! order of ids and products in a fixed order of lanes, so the answer has the same bits everywhere.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::DedupError;
use crate::components::{ClusterSink, Clusters, Member, check_budget, pool};
use crate::records::{Kind, RecordReader, RecordWriter};
use crate::scratch::Spool;
use crate::sorter::{Sorted, Sorter};

const ROWS_EXACT: u64 = 4096;
const CHUNK_ROWS: usize = 1024;
const LANES: usize = 16;

/// Which of similar rows stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SemanticKeep {
    /// The one farthest from its cluster's centre: SemDeDup's "hard".
    Farthest,
    /// The one nearest to its cluster's centre.
    Nearest,
    /// The one with the least id.
    First,
}

/// Settings of semantic deduplication.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SemanticConfig {
    /// The least cosine of duplicates, above −1 and at most 1.
    pub similarity: f32,
    /// How many k-means clusters; 0 means one for every 4,096 rows.
    pub clusters: usize,
    /// How often k-means goes over the rows, at most.
    pub iterations: usize,
    /// Chooses the first centres.
    pub seed: u64,
    /// Which of similar rows stays.
    pub keep: SemanticKeep,
    /// How much memory finding may use, in bytes.
    pub budget_bytes: u64,
    /// How many threads; 0 means one for each core.
    pub threads: usize,
}

impl Default for SemanticConfig {
    fn default() -> Self {
        Self {
            similarity: 0.95,
            clusters: 0,
            iterations: 20,
            seed: 1,
            keep: SemanticKeep::First,
            budget_bytes: 1 << 30,
            threads: 0,
        }
    }
}

/// Writes one worker's embeddings.
pub struct EmbeddingWriter {
    file: RecordWriter,
    dimensions: usize,
    record: Vec<u64>,
}

impl EmbeddingWriter {
    /// Makes the file `path` for rows of `dimensions` numbers; it appears when it is finished.
    ///
    /// # Errors
    /// The file cannot be made, or the dimensions are not 1 to 65,536.
    pub fn create(path: &Path, dimensions: usize) -> Result<Self, DedupError> {
        if !(1..=1 << 16).contains(&dimensions) {
            return Err(DedupError::config("dimensions", "an embedding has 1 to 65536 numbers"));
        }
        let width = 1 + dimensions.div_ceil(2);
        let file = RecordWriter::create(path, Kind::Embeddings, width, dimensions as u64, dimensions as u64)?;
        Ok(Self { file, dimensions, record: Vec::with_capacity(width) })
    }

    /// Adds a row, scaled to length one.
    ///
    /// # Errors
    /// The row has another length, is zero or not finite, or there is no room.
    pub fn push(&mut self, id: u64, row: &[f32]) -> Result<(), DedupError> {
        let norm = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        if row.len() != self.dimensions || !norm.is_normal() {
            let what = format!("its embedding has {} numbers and the length {norm}", row.len());
            return Err(DedupError::Input { id, what });
        }
        let scaled = |value: f32| u64::from(((f64::from(value) / norm) as f32).to_bits());
        self.record.clear();
        self.record.push(id);
        self.record
            .extend(row.chunks(2).map(|pair| scaled(pair[0]) | scaled(pair.get(1).copied().unwrap_or(0.0)) << 32));
        self.file.push(&self.record)
    }

    /// Ends the file and gives it its name; answers how many rows it has.
    ///
    /// # Errors
    /// There is no room, or the folder is gone.
    pub fn finish(self) -> Result<u64, DedupError> {
        self.file.finish()
    }
}

/// Finds rows of the same meaning in the files of all workers and writes clusters to the folder `output`.
///
/// # Errors
/// A file is missing, damaged or of other dimensions, a setting is out of range, an id came twice, or no room.
pub fn find(files: &[PathBuf], output: &Path, config: &SemanticConfig) -> Result<Clusters, DedupError> {
    check_budget(config.budget_bytes)?;
    if !(config.similarity > -1.0 && config.similarity <= 1.0) {
        return Err(DedupError::config("similarity", "a cosine is above -1 and at most 1"));
    }
    fs::create_dir_all(output).map_err(DedupError::io("create", output))?;
    let mut sink = ClusterSink::new(output, config.budget_bytes / 8);
    let Some(mut rows) = Rows::open(files, output, config)? else {
        return sink.finish(output, 0);
    };
    let pool = pool(config.threads)?;
    pool.install(|| {
        let centres = rows.centres(config)?;
        let mut sorted = rows.sorted_by_cluster(&centres, output, config)?;
        let mut cluster = Cluster::new(sorted.dimensions, output, config);
        while cluster.read(&mut sorted)? {
            cluster.compare(&mut sink)?;
        }
        Ok::<_, DedupError>(())
    })?;
    sink.finish(output, rows.count)
}

/// All rows by id.
struct Rows {
    spool: Spool,
    dimensions: usize,
    count: u64,
    clusters: usize,
}

impl Rows {
    fn open(files: &[PathBuf], folder: &Path, config: &SemanticConfig) -> Result<Option<Self>, DedupError> {
        let Some(first) = files.first() else { return Ok(None) };
        let dimensions = RecordReader::open(first, Kind::Embeddings)?.own();
        let width = 1 + (dimensions as usize).div_ceil(2);
        let mut sorter = Sorter::new(folder, width, config.budget_bytes / 2);
        for file in files {
            let mut reader = RecordReader::open(file, Kind::Embeddings)?.expect(width, dimensions)?;
            while let Some(record) = reader.next()? {
                sorter.push(record)?;
            }
        }
        let mut spool = Spool::create(folder, width)?;
        let mut sorted = sorter.finish()?;
        let (mut count, mut before) = (0_u64, None);
        while let Some(record) = sorted.next()? {
            if before == Some(record[0]) {
                return Err(DedupError::Duplicate { id: record[0] });
            }
            before = Some(record[0]);
            count += 1;
            spool.push(record)?;
        }
        spool.rewind()?;
        let derived = count.div_ceil(ROWS_EXACT).max(1) as usize;
        let clusters = if config.clusters == 0 { derived } else { config.clusters.min(count.max(1) as usize) };
        if clusters as u64 * dimensions * 16 > config.budget_bytes / 4 {
            let what = format!("{clusters} centres of {dimensions} numbers do not fit into the budget of memory");
            return Err(DedupError::config("clusters", what));
        }
        Ok(Some(Self { spool, dimensions: dimensions as usize, count, clusters }))
    }

    /// Spherical k-means from seeded rows.
    fn centres(&mut self, config: &SemanticConfig) -> Result<Vec<f32>, DedupError> {
        let dimensions = self.dimensions;
        let mut centres = self.first_centres(config.seed)?;
        let mut before = f64::NEG_INFINITY;
        let iterations = if self.clusters > 1 { config.iterations } else { 0 };
        for _ in 0..iterations {
            let mut sums = vec![0.0_f64; centres.len()];
            let mut total = 0.0;
            self.each_assigned(&centres, |_, row, (cluster, similarity)| {
                total += f64::from(similarity);
                for (sum, value) in sums[cluster * dimensions..(cluster + 1) * dimensions].iter_mut().zip(row) {
                    *sum += f64::from(*value);
                }
                Ok(())
            })?;
            for (centre, sum) in centres.chunks_mut(dimensions).zip(sums.chunks(dimensions)) {
                let norm = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
                if norm.is_normal() {
                    centre.iter_mut().zip(sum).for_each(|(value, sum)| *value = (sum / norm) as f32);
                }
            }
            if total - before <= 1e-6 * self.count as f64 {
                break;
            }
            before = total;
        }
        Ok(centres)
    }

    /// The rows whose seeded hashes of ids are the least.
    fn first_centres(&mut self, seed: u64) -> Result<Vec<f32>, DedupError> {
        let mut chosen = std::collections::BinaryHeap::new();
        let hash = |id: u64| (twox_hash::XxHash64::oneshot(seed, &id.to_le_bytes()), id);
        self.spool.rewind()?;
        while let Some(record) = self.spool.next()? {
            chosen.push(hash(record[0]));
            if chosen.len() > self.clusters {
                chosen.pop();
            }
        }
        let last = chosen.peek().copied();
        let mut centres = Vec::with_capacity(self.clusters * self.dimensions);
        self.spool.rewind()?;
        while let Some(record) = self.spool.next()? {
            if Some(hash(record[0])) <= last {
                unpack(&record[1..], self.dimensions, &mut centres);
            }
        }
        Ok(centres)
    }

    /// Shows every row by id with its cluster and its cosine with that centre.
    fn each_assigned(
        &mut self,
        centres: &[f32],
        mut each: impl FnMut(u64, &[f32], (usize, f32)) -> Result<(), DedupError>,
    ) -> Result<(), DedupError> {
        let dimensions = self.dimensions;
        let (mut ids, mut rows) = (Vec::new(), Vec::new());
        self.spool.rewind()?;
        loop {
            ids.clear();
            rows.clear();
            while ids.len() < CHUNK_ROWS {
                let Some(record) = self.spool.next()? else { break };
                ids.push(record[0]);
                unpack(&record[1..], dimensions, &mut rows);
            }
            if ids.is_empty() {
                return Ok(());
            }
            let nearest: Vec<(usize, f32)> =
                rows.par_chunks(dimensions).map(|row| most_similar(row, centres).unwrap_or((0, 0.0))).collect();
            for ((id, row), nearest) in ids.iter().zip(rows.chunks(dimensions)).zip(nearest) {
                each(*id, row, nearest)?;
            }
        }
    }

    /// Rows by cluster, in the order of the keep rule.
    fn sorted_by_cluster(
        &mut self,
        centres: &[f32],
        folder: &Path,
        config: &SemanticConfig,
    ) -> Result<SortedRows, DedupError> {
        let width = 3 + self.dimensions.div_ceil(2);
        let mut sorter = Sorter::new(folder, width, config.budget_bytes / 4);
        let mut record = Vec::with_capacity(width);
        self.each_assigned(centres, |id, row, (cluster, similarity)| {
            let order = match config.keep {
                SemanticKeep::Farthest => ascending(similarity),
                SemanticKeep::Nearest => u64::MAX - ascending(similarity),
                SemanticKeep::First => 0,
            };
            record.clear();
            record.extend_from_slice(&[cluster as u64, order, id]);
            let bits = |value: f32| u64::from(value.to_bits());
            record.extend(row.chunks(2).map(|pair| bits(pair[0]) | pair.get(1).map_or(0, |value| bits(*value)) << 32));
            sorter.push(&record)
        })?;
        Ok(SortedRows { sorted: sorter.finish()?, dimensions: self.dimensions, waiting: None })
    }
}

struct SortedRows {
    sorted: Sorted,
    dimensions: usize,
    waiting: Option<Vec<u64>>,
}

/// One cluster's rows: in memory as far as the budget allows, and all of them in a spool if not.
struct Cluster {
    folder: PathBuf,
    dimensions: usize,
    threshold: f32,
    ids: Vec<u64>,
    ids_max: usize,
    block_rows: usize,
    first_block: Vec<f32>,
    spool: Option<Spool>,
}

impl Cluster {
    fn new(dimensions: usize, folder: &Path, config: &SemanticConfig) -> Self {
        let block_bytes = config.budget_bytes / 8;
        Self {
            folder: folder.to_owned(),
            dimensions,
            threshold: config.similarity,
            ids: Vec::new(),
            ids_max: (config.budget_bytes / 8 / 32) as usize,
            block_rows: (block_bytes as usize / (dimensions * 4)).max(1),
            first_block: Vec::new(),
            spool: None,
        }
    }

    fn read(&mut self, rows: &mut SortedRows) -> Result<bool, DedupError> {
        self.ids.clear();
        self.first_block.clear();
        self.spool = None;
        let mut cluster = None;
        loop {
            let record = match rows.waiting.take() {
                Some(record) => record,
                None => match rows.sorted.next()? {
                    Some(record) => record.to_vec(),
                    None => break,
                },
            };
            if *cluster.get_or_insert(record[0]) != record[0] {
                rows.waiting = Some(record);
                break;
            }
            self.push(&record)?;
        }
        if let Some(spool) = &mut self.spool {
            spool.rewind()?;
        }
        Ok(!self.ids.is_empty())
    }

    fn push(&mut self, record: &[u64]) -> Result<(), DedupError> {
        if self.ids.len() == self.ids_max {
            let what = format!("a cluster has more than {} rows; use more clusters", self.ids_max);
            return Err(DedupError::config("clusters", what));
        }
        if self.ids.len() == self.block_rows {
            let mut spool = Spool::create(&self.folder, self.dimensions.div_ceil(2))?;
            for row in self.first_block.chunks(self.dimensions) {
                let bits = |value: f32| u64::from(value.to_bits());
                let words: Vec<u64> = row
                    .chunks(2)
                    .map(|pair| bits(pair[0]) | pair.get(1).map_or(0, |value| bits(*value)) << 32)
                    .collect();
                spool.push(&words)?;
            }
            self.spool = Some(spool);
        }
        self.ids.push(record[2]);
        match &mut self.spool {
            Some(spool) => spool.push(&record[3..]),
            None => {
                unpack(&record[3..], self.dimensions, &mut self.first_block);
                Ok(())
            }
        }
    }

    /// Compares every row with all earlier ones and hands on what is dropped.
    fn compare(&mut self, sink: &mut ClusterSink) -> Result<(), DedupError> {
        let mut representatives: Vec<u64> = Vec::with_capacity(self.ids.len());
        let mut first = 0;
        while first < self.ids.len() {
            let block = self.block(first)?;
            let best = self.best_earlier(first, &block)?;
            for (index, best) in best.into_iter().enumerate() {
                let id = self.ids[first + index];
                match best.filter(|(_, similarity)| *similarity >= self.threshold) {
                    Some((earlier, similarity)) => {
                        let representative = representatives[earlier];
                        representatives.push(representative);
                        sink.push(Member { representative, id, similarity: f64::from(similarity) })?;
                    }
                    None => representatives.push(id),
                }
            }
            first += block.len() / self.dimensions;
        }
        Ok(())
    }

    /// For every row of a block the most similar earlier row of the cluster.
    fn best_earlier(&mut self, first: usize, block: &[f32]) -> Result<Vec<Option<(usize, f32)>>, DedupError> {
        let dimensions = self.dimensions;
        let mut best: Vec<Option<(usize, f32)>> = vec![None; block.len() / dimensions];
        let mut start = 0;
        while start < first {
            let earlier = self.block(start)?;
            best.par_iter_mut().zip(block.par_chunks(dimensions)).for_each(|(best, row)| {
                better(best, most_similar(row, &earlier).map(|(index, similarity)| (start + index, similarity)));
            });
            start += earlier.len() / dimensions;
        }
        best.par_iter_mut().zip(block.par_chunks(dimensions)).enumerate().for_each(|(index, (best, row))| {
            let found = most_similar(row, &block[..index * dimensions]);
            better(best, found.map(|(index, similarity)| (first + index, similarity)));
        });
        Ok(best)
    }

    /// The rows from `first` on, one block of them. Blocks are asked for in order, or from the start again.
    fn block(&mut self, first: usize) -> Result<Vec<f32>, DedupError> {
        let Some(spool) = &mut self.spool else { return Ok(std::mem::take(&mut self.first_block)) };
        let count = self.block_rows.min(self.ids.len() - first);
        let mut words = vec![0; count * self.dimensions.div_ceil(2)];
        spool.read_at(first as u64, &mut words)?;
        let mut block = Vec::with_capacity(count * self.dimensions);
        for row in words.chunks(self.dimensions.div_ceil(2)) {
            unpack(row, self.dimensions, &mut block);
        }
        Ok(block)
    }
}

fn better(best: &mut Option<(usize, f32)>, found: Option<(usize, f32)>) {
    if found.is_some_and(|found| best.is_none_or(|best| found.1 > best.1)) {
        *best = found;
    }
}

/// The row with the largest product, the first of equal ones.
fn most_similar(row: &[f32], rows: &[f32]) -> Option<(usize, f32)> {
    pulp::Arch::new().dispatch(MostSimilar { row, rows })
}

struct MostSimilar<'a> {
    row: &'a [f32],
    rows: &'a [f32],
}

impl pulp::NullaryFnOnce for MostSimilar<'_> {
    type Output = Option<(usize, f32)>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        let mut best: Option<(usize, f32)> = None;
        for (index, other) in self.rows.chunks_exact(self.row.len()).enumerate() {
            let similarity = dot(self.row, other);
            if best.is_none_or(|best| similarity > best.1) {
                best = Some((index, similarity));
            }
        }
        best
    }
}

/// Sixteen sums side by side, then added in halves: the same bits with any instruction set.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_groups, a_rest) = a.as_chunks::<LANES>();
    let (b_groups, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a_groups.iter().zip(b_groups) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0] + rest
}

/// Bits that are ordered as the numbers are.
fn ascending(value: f32) -> u64 {
    let bits = value.to_bits();
    u64::from(if bits >> 31 == 1 { !bits } else { bits | 1 << 31 })
}

fn unpack(words: &[u64], dimensions: usize, out: &mut Vec<f32>) {
    let values = words.iter().flat_map(|word| [*word as u32, (word >> 32) as u32]);
    out.extend(values.take(dimensions).map(f32::from_bits));
}
