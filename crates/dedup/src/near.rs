//! Nearly the same texts: MinHash signatures, banded, in clusters.
//!
//! The method, the hashes, the permutations and the choice of what stays are datatrove 0.10.1's
//! (`pipeline/dedup/minhash.py`, Apache-2.0), so that signatures are equal in every bit and the same
//! documents are kept. Of two texts whose sets of shingles have Jaccard similarity s, 1 − (1 − s^rows)^bands
//! is the probability to be found.
//!
//! A worker has a [`MinHasher`] for each thread and one [`Writer`]; [`cluster`] takes all their files.

mod bands;
mod permutation;
mod shingle;
mod writer;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::components::{Clusters, Components, Keep};
use crate::{DedupError, components};

pub use permutation::permutations;
pub use shingle::MinHasher;
pub use writer::{Signatures, Writer};

/// What a text is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Shingle {
    /// Runs of this many words.
    Words(usize),
    /// Runs of this many characters without white space, for writing that has none, such as Chinese.
    Characters(usize),
}

/// The hash of a shingle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShingleHash {
    /// XXH64, or XXH32 for 32 bits.
    Xxhash,
    /// The first bytes of SHA-1.
    Sha1,
}

/// How many bits hashes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits: half the disk, a few more accidental matches.
    Bits32,
    /// 64 bits.
    Bits64,
}

/// Settings of near-deduplication; the defaults are datatrove's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NearConfig {
    /// What a text is cut into.
    pub shingle: Shingle,
    /// How many bands a signature has.
    pub bands: usize,
    /// How many hashes a band has; all must be equal for a match.
    pub rows: usize,
    /// Chooses the permutations.
    pub seed: u32,
    /// The hash of a shingle.
    pub hash: ShingleHash,
    /// How many bits hashes have.
    pub precision: Precision,
    /// Which document of a cluster stays.
    pub keep: Keep,
    /// How much memory [`cluster`] may use, in bytes.
    pub budget_bytes: u64,
    /// How many threads [`cluster`] may use; 0 means one for each core.
    pub threads: usize,
}

impl Default for NearConfig {
    fn default() -> Self {
        Self {
            shingle: Shingle::Words(5),
            bands: 14,
            rows: 8,
            seed: 1,
            hash: ShingleHash::Xxhash,
            precision: Precision::Bits64,
            keep: Keep::LargestCluster,
            budget_bytes: 1 << 30,
            threads: 0,
        }
    }
}

impl NearConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn check(&self) -> Result<(), DedupError> {
        let (Shingle::Words(length) | Shingle::Characters(length)) = self.shingle;
        if !(1..=1000).contains(&length) {
            return Err(DedupError::config("shingle", "a shingle has 1 to 1000 words or characters"));
        }
        if self.bands == 0 || self.rows == 0 || self.bands.saturating_mul(self.rows) > 4096 {
            return Err(DedupError::config("bands", "bands and rows are at least 1, and their product at most 4096"));
        }
        components::check_budget(self.budget_bytes)
    }

    /// How many hashes a signature has.
    #[must_use]
    pub fn hashes(&self) -> usize {
        self.bands * self.rows
    }

    /// The probability that two texts of this Jaccard similarity are found, 1 − (1 − s^rows)^bands.
    #[must_use]
    pub fn probability(&self, similarity: f64) -> f64 {
        let band = similarity.powi(i32::try_from(self.rows).unwrap_or(i32::MAX));
        1.0 - (1.0 - band).powi(i32::try_from(self.bands).unwrap_or(i32::MAX))
    }

    /// Differs between settings that give different signatures.
    fn fingerprint(&self) -> u64 {
        let (kind, length) = match self.shingle {
            Shingle::Words(length) => (1_u64, length),
            Shingle::Characters(length) => (2, length),
        };
        let words = [
            kind,
            length as u64,
            self.bands as u64,
            self.rows as u64,
            u64::from(self.seed),
            self.hash as u64,
            self.precision as u64,
        ];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        twox_hash::XxHash64::oneshot(0, &bytes)
    }

    /// Words of a signature on disk: two hashes of 32 bits share one.
    fn band_words(&self) -> usize {
        match self.precision {
            Precision::Bits64 => self.rows,
            Precision::Bits32 => self.rows.div_ceil(2),
        }
    }

    fn record_words(&self) -> usize {
        1 + self.bands * self.band_words()
    }
}

/// Finds the clusters in the files of all workers and writes them to the folder `output`.
///
/// Peak memory is `budget_bytes` and a few megabytes, for any number of documents. Temporary files are
/// unnamed and in `output`; the results appear when they are complete.
///
/// # Errors
/// A file cannot be read, is damaged or was made with other settings; two documents have one id; no room.
pub fn cluster(files: &[PathBuf], output: &Path, config: &NearConfig) -> Result<Clusters, DedupError> {
    config.check()?;
    std::fs::create_dir_all(output).map_err(DedupError::io("create", output))?;
    // Each open file has buffers of three blocks.
    if files.len() as u64 * (48 << 10) > config.budget_bytes / 4 {
        let what = format!("it is too small for {} files; join workers' files or raise it", files.len());
        return Err(DedupError::config("budget_bytes", what));
    }
    let (documents, pairs) = bands::pairs(files, output, config)?;
    let mut components = Components::new(output, pairs, config.keep, config.budget_bytes)?;
    let mut similarity = bands::Similarity::new(files, output, config)?;
    let dropped = components
        .write_dropped(output, documents, |member, representative| similarity.push(member, representative))?;
    drop(components);
    similarity.write(output, documents)?;
    dropped.finish()?;
    Clusters::open(output)
}
