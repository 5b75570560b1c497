//! From signatures to pairs of documents that share a band, and back to signatures for an estimate.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{NearConfig, Signatures};
use crate::DedupError;
use crate::components::{Member, write_members};
use crate::scratch::Spool;
use crate::sorter::Sorter;

/// How many documents there are, and the pairs band by band, each in the order of its hashes, then of ids:
/// the order in which datatrove joins them, which decides who stays.
pub(super) fn pairs(files: &[PathBuf], folder: &Path, config: &NearConfig) -> Result<(u64, Vec<Spool>), DedupError> {
    let pool = crate::components::pool(config.threads)?;
    let threads = pool.current_num_threads().min(config.bands);
    // A quarter stays free for what is not sorted: buffers, files, the allocator's own.
    let share = config.budget_bytes / 4 * 3 / config.bands as u64;
    let per_thread = config.bands.div_ceil(threads);
    let groups: Vec<Vec<usize>> =
        (0..config.bands).collect::<Vec<_>>().chunks(per_thread).map(<[usize]>::to_vec).collect();
    let made: Vec<(u64, Vec<Spool>)> = pool.install(|| {
        groups.par_iter().map(|bands| band_pairs(files, folder, config, bands, share)).collect::<Result<_, _>>()
    })?;
    let documents = made.first().map_or(0, |(documents, _)| *documents);
    Ok((documents, made.into_iter().flat_map(|(_, spools)| spools).collect()))
}

fn band_pairs(
    files: &[PathBuf],
    folder: &Path,
    config: &NearConfig,
    bands: &[usize],
    share: u64,
) -> Result<(u64, Vec<Spool>), DedupError> {
    let width = config.band_words() + 1;
    let mut sorters: Vec<Sorter> = bands.iter().map(|_| Sorter::new(folder, width, share)).collect();
    let mut key = Vec::with_capacity(width);
    let mut documents = 0;
    for file in files {
        let mut signatures = Signatures::open(file, config)?;
        while let Some(record) = signatures.next_record()? {
            documents += 1;
            for (band, sorter) in bands.iter().zip(&mut sorters) {
                let start = 1 + band * (width - 1);
                key.clear();
                key.extend_from_slice(&record[start..start + width - 1]);
                key.push(record[0]);
                sorter.push(&key)?;
            }
        }
    }
    let spools = sorters.into_iter().map(|sorter| neighbours(sorter, folder, width)).collect::<Result<_, _>>()?;
    Ok((documents, spools))
}

/// Documents that follow each other with equal bands.
fn neighbours(sorter: Sorter, folder: &Path, width: usize) -> Result<Spool, DedupError> {
    let mut sorted = sorter.finish()?;
    let mut spool = Spool::create(folder, 2)?;
    let mut last: Vec<u64> = Vec::with_capacity(width);
    while let Some(record) = sorted.next()? {
        let id = record[width - 1];
        if last.len() == width && last[..width - 1] == record[..width - 1] {
            if last[width - 1] == id {
                return Err(DedupError::Duplicate { id });
            }
            spool.push(&[last[width - 1], id])?;
        }
        last.clear();
        last.extend_from_slice(record);
    }
    spool.rewind()?;
    Ok(spool)
}

/// Bits kept of each hash for the estimate; two different ones agree by chance once in 65,536.
const BITS: usize = 16;

/// Estimates the similarity of cluster members to their representatives: the share of equal hashes.
///
/// All reading is sequential: the files are merged by id beside the members, which come by id too.
pub(super) struct Similarity {
    files: Vec<(Option<u64>, Signatures, Vec<u64>)>,
    sorter: Sorter,
    hashes: usize,
    record: Vec<u64>,
}

impl Similarity {
    pub(super) fn new(files: &[PathBuf], folder: &Path, config: &NearConfig) -> Result<Self, DedupError> {
        let mut opened = Vec::with_capacity(files.len());
        for file in files {
            let mut signatures = Signatures::open(file, config)?;
            let (id, signature) = match signatures.next_signature()? {
                Some((id, signature)) => (Some(id), compact(signature)),
                None => (None, Vec::new()),
            };
            opened.push((id, signatures, signature));
        }
        let width = 3 + config.hashes().div_ceil(64 / BITS);
        let sorter = Sorter::new(folder, width, config.budget_bytes / 2);
        Ok(Self { files: opened, sorter, hashes: config.hashes(), record: Vec::with_capacity(width) })
    }

    /// Takes members in ascending order of ids, representatives included.
    pub(super) fn push(&mut self, member: u64, representative: u64) -> Result<(), DedupError> {
        for (next, signatures, signature) in &mut self.files {
            while next.is_some_and(|id| id < member) {
                *next = match signatures.next_signature()? {
                    Some((id, read)) => {
                        compact_into(read, signature);
                        Some(id)
                    }
                    None => None,
                };
            }
            if *next == Some(member) {
                self.record.clear();
                self.record.extend_from_slice(&[representative, u64::from(member != representative), member]);
                self.record.extend_from_slice(signature);
                return self.sorter.push(&self.record);
            }
        }
        Err(DedupError::Input { id: member, what: "its signature is not in the files any more".to_owned() })
    }

    /// Writes the file of clusters.
    pub(super) fn write(self, output: &Path, documents: u64) -> Result<(), DedupError> {
        let hashes = self.hashes;
        let mut sorted = self.sorter.finish()?;
        let mut first: Vec<u64> = Vec::new();
        write_members(output, documents, || {
            let Some(record) = sorted.next()? else { return Ok(None) };
            if record[1] == 0 {
                first.clear();
                first.extend_from_slice(&record[3..]);
            }
            let similarity = equal(&first, &record[3..], hashes) as f64 / hashes as f64;
            Ok(Some(Member { representative: record[0], id: record[2], similarity }))
        })
    }
}

fn compact(signature: &[u64]) -> Vec<u64> {
    let mut out = Vec::new();
    compact_into(signature, &mut out);
    out
}

fn compact_into(signature: &[u64], out: &mut Vec<u64>) {
    out.clear();
    out.extend(
        signature.chunks(64 / BITS).map(|four| four.iter().fold(0, |word, hash| word << BITS | (hash & 0xffff))),
    );
}

/// How many of the hashes are equal.
fn equal(a: &[u64], b: &[u64], hashes: usize) -> usize {
    let per_word = 64 / BITS;
    let different: usize = a
        .iter()
        .zip(b)
        .map(|(a, b)| (0..per_word).filter(|place| (a ^ b) >> (place * BITS) & 0xffff != 0).count())
        .sum();
    hashes - different
}
