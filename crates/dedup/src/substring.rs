//! The same long run of bytes or tokens, within and across documents.
//!
//! What is cut: every window of `length` symbols that is equal to an earlier window (in the order of ids,
//! then of places) which it does not overlap. First occurrences stay whole, so a text that repeats itself
//! keeps one period's window. These are the spans that a suffix array gives (Lee et al. 2021,
//! "Deduplicating Training Data Makes Language Models Better"), but for keeping the first one.
//!
//! No suffix array is built: it takes nine bytes of memory for each byte of text. Instead:
//! 1. Every window has one anchor, the k-gram in it with the least hash (a minimizer; Roberts et al. 2004):
//!    equal windows have equal anchors at equal places. Anchors, about one in `length / 3` places, are
//!    sorted on disk; a window whose anchor occurs once occurs once itself.
//! 2. The other windows are hashed by two rolling polynomials modulo 2^61 − 1 with bases that a seed chooses
//!    and sorted on disk. 122 bits stand for equality: for n windows of L symbols a false match has a
//!    probability below (n L / 2^61)^2, under 10^-12 for a gigabyte and windows of 200, where the suffix
//!    array would verify.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::DedupError;
use crate::components::check_budget;
use crate::exact::{Cuts, write_cuts};
use crate::records::{Kind, RecordReader, RecordWriter};
use crate::sorter::{Sorted, Sorter};

/// What texts are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Symbol {
    /// Bytes of UTF-8.
    Byte,
    /// Token ids.
    Token,
}

/// Settings of substring deduplication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubstringConfig {
    /// What is compared.
    pub symbol: Symbol,
    /// How many symbols in a row must be equal: by default 200 bytes; for tokens 100 are usual.
    pub length: usize,
    /// Chooses the rolling hashes; changes nothing but which texts could collide.
    pub seed: u32,
    /// How much memory finding may use, in bytes.
    pub budget_bytes: u64,
}

impl Default for SubstringConfig {
    fn default() -> Self {
        Self { symbol: Symbol::Byte, length: 200, seed: 1, budget_bytes: 1 << 30 }
    }
}

impl SubstringConfig {
    fn check(&self) -> Result<(), DedupError> {
        if !(2..=1 << 16).contains(&self.length) {
            return Err(DedupError::config("length", "a span has 2 to 65536 symbols"));
        }
        check_budget(self.budget_bytes)
    }
}

/// Writes one worker's texts; finding reads them twice.
pub struct TextWriter {
    file: RecordWriter,
    symbol: Symbol,
}

impl TextWriter {
    /// Makes the file `path`; it appears when it is finished.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path, symbol: Symbol) -> Result<Self, DedupError> {
        Ok(Self { file: RecordWriter::create(path, Kind::Texts, 1, symbol as u64, 0)?, symbol })
    }

    /// Adds a text as bytes.
    ///
    /// # Errors
    /// The file is one of tokens, or there is no room.
    pub fn push_text(&mut self, id: u64, text: &str) -> Result<(), DedupError> {
        self.begin(id, text.len(), Symbol::Byte)?;
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.file.push(&[u64::from_le_bytes(word)])?;
        }
        Ok(())
    }

    /// Adds a text as tokens.
    ///
    /// # Errors
    /// The file is one of bytes, or there is no room.
    pub fn push_tokens(&mut self, id: u64, tokens: &[u32]) -> Result<(), DedupError> {
        self.begin(id, tokens.len(), Symbol::Token)?;
        for pair in tokens.chunks(2) {
            self.file.push(&[u64::from(pair[0]) | u64::from(pair.get(1).copied().unwrap_or(0)) << 32])?;
        }
        Ok(())
    }

    fn begin(&mut self, id: u64, length: usize, symbol: Symbol) -> Result<(), DedupError> {
        if self.symbol != symbol {
            return Err(DedupError::Input {
                id,
                what: format!("it is not made of what the file has, {:?}", self.symbol),
            });
        }
        self.file.push(&[id])?;
        self.file.push(&[length as u64])
    }

    /// Ends the file and gives it its name.
    ///
    /// # Errors
    /// There is no room, or the folder is gone.
    pub fn finish(self) -> Result<(), DedupError> {
        self.file.finish().map(|_| ())
    }
}

/// Finds repeated spans in the files of all workers and writes the ranges to cut to the file `output`.
///
/// # Errors
/// A file is missing, damaged or of other symbols, two documents have one id, or there is no room.
pub fn find(files: &[PathBuf], output: &Path, config: &SubstringConfig) -> Result<Cuts, DedupError> {
    config.check()?;
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(DedupError::io("create", folder))?;
    let mut anchors = repeated_anchors(files, folder, config)?;
    let mut windows = Sorter::new(folder, 4, config.budget_bytes / 2);
    let mut anchor = anchors.next()?.map(|record| [record[0], record[1]]);
    scan(files, config, true, |found| {
        let place = [found.ordinal, found.anchor];
        while anchor.is_some_and(|anchor| anchor < place) {
            anchor = anchors.next()?.map(|record| [record[0], record[1]]);
        }
        if anchor == Some(place) {
            windows.push(&[found.window[0], found.window[1], found.id, found.start])?;
        }
        Ok(())
    })?;
    drop(anchors);
    write_repeated(windows, folder, output, config)
}

/// Anchors that occur twice or more, as (ordinal of the document, place), in order.
fn repeated_anchors(files: &[PathBuf], folder: &Path, config: &SubstringConfig) -> Result<Sorted, DedupError> {
    let mut by_hash = Sorter::new(folder, 3, config.budget_bytes / 2);
    let mut before = None;
    scan(files, config, false, |found| {
        let place = [found.ordinal, found.anchor];
        if before == Some(place) {
            return Ok(());
        }
        before = Some(place);
        by_hash.push(&[found.anchor_hash, found.ordinal, found.anchor])
    })?;
    let mut by_place = Sorter::new(folder, 2, config.budget_bytes / 2);
    let mut sorted = by_hash.finish()?;
    let mut last: Option<[u64; 3]> = None;
    let mut last_pushed = false;
    while let Some(&[hash, ordinal, place]) = sorted.next()? {
        let again = last.filter(|last| last[0] == hash);
        if let Some(first) = again {
            if !last_pushed {
                by_place.push(&first[1..])?;
            }
            by_place.push(&[ordinal, place])?;
        }
        last_pushed = again.is_some();
        last = Some([hash, ordinal, place]);
    }
    drop(sorted);
    by_place.finish()
}

fn write_repeated(windows: Sorter, folder: &Path, output: &Path, config: &SubstringConfig) -> Result<Cuts, DedupError> {
    let length = config.length as u64;
    let mut cuts = Sorter::new(folder, 3, config.budget_bytes / 2);
    let mut sorted = windows.finish()?;
    let mut first: Option<[u64; 4]> = None;
    while let Some(&[high, low, id, start]) = sorted.next()? {
        match first {
            Some([first_high, first_low, first_id, first_start]) if (first_high, first_low) == (high, low) => {
                if id != first_id || start >= first_start + length {
                    cuts.push(&[id, start, start + length])?;
                } else if start == first_start {
                    return Err(DedupError::Duplicate { id });
                }
            }
            _ => first = Some([high, low, id, start]),
        }
    }
    drop(sorted);
    write_cuts(cuts, output)
}

/// A window of a document.
struct Found {
    ordinal: u64,
    id: u64,
    start: u64,
    anchor: u64,
    anchor_hash: u64,
    window: [u64; 2],
}

/// Shows every window of every document, in the order of files.
fn scan(
    files: &[PathBuf],
    config: &SubstringConfig,
    hash_windows: bool,
    mut each: impl FnMut(Found) -> Result<(), DedupError>,
) -> Result<(), DedupError> {
    let mut scanner = Scanner::new(config, hash_windows);
    let mut ordinal = 0;
    for file in files {
        let mut reader = RecordReader::open(file, Kind::Texts)?.expect(1, config.symbol as u64)?;
        let per_word = if config.symbol == Symbol::Byte { 8 } else { 2 };
        let bits = 64 / per_word;
        while let Some(id) = reader.next()?.map(|record| record[0]) {
            let mut left = word(&mut reader)?;
            scanner.begin();
            while left > 0 {
                let mut symbols = word(&mut reader)?;
                for _ in 0..left.min(per_word) {
                    let symbol = symbols & ((1 << bits) - 1);
                    symbols = symbols.checked_shr(bits as u32).unwrap_or(0);
                    if let Some((start, (anchor_hash, anchor))) = scanner.push(symbol) {
                        each(Found { ordinal, id, start, anchor, anchor_hash, window: scanner.window })?;
                    }
                }
                left -= left.min(per_word);
            }
            ordinal += 1;
        }
    }
    Ok(())
}

fn word(reader: &mut RecordReader) -> Result<u64, DedupError> {
    match reader.next()? {
        Some(record) => Ok(record[0]),
        None => Err(DedupError::file(reader.path(), "it ends within a text")),
    }
}

const MERSENNE: u64 = (1 << 61) - 1;
const GRAM_BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Rolls over a document's symbols: the window's hash and its anchor.
struct Scanner {
    length: usize,
    gram: usize,
    hash_windows: bool,
    /// The last `length` symbols, each plus one, so that leading zeros count.
    ring: Vec<u64>,
    count: u64,
    gram_hash: u64,
    gram_power: u64,
    window: [u64; 2],
    bases: [u64; 2],
    powers: [u64; 2],
    /// K-grams of the window that can still be its least, as (hash, place): hashes ascend.
    least: VecDeque<(u64, u64)>,
}

impl Scanner {
    fn new(config: &SubstringConfig, hash_windows: bool) -> Self {
        let gram = (config.length / 3).max(1);
        let seed = u64::from(config.seed);
        let bases = [mix(2 * seed + 1) % (MERSENNE - 1000) + 500, mix(2 * seed + 2) % (MERSENNE - 1000) + 500];
        let mut powers = [1, 1];
        for _ in 0..config.length {
            powers = [multiply(powers[0], bases[0]), multiply(powers[1], bases[1])];
        }
        let gram_power = (0..gram).fold(1_u64, |power, _| power.wrapping_mul(GRAM_BASE));
        Self {
            length: config.length,
            gram,
            hash_windows,
            ring: vec![0; config.length],
            count: 0,
            gram_hash: 0,
            gram_power,
            window: [0; 2],
            bases,
            powers,
            least: VecDeque::new(),
        }
    }

    fn begin(&mut self) {
        self.ring.fill(0);
        self.count = 0;
        self.gram_hash = 0;
        self.window = [0; 2];
        self.least.clear();
    }

    /// The start of the window that ends with this symbol, and its anchor.
    fn push(&mut self, symbol: u64) -> Option<(u64, (u64, u64))> {
        let symbol = symbol + 1;
        let at = (self.count % self.length as u64) as usize;
        let left_gram = self.ring[if at >= self.gram { at - self.gram } else { at + self.length - self.gram }];
        let left_window = self.ring[at];
        self.ring[at] = symbol;
        self.count += 1;
        self.gram_hash = self
            .gram_hash
            .wrapping_mul(GRAM_BASE)
            .wrapping_add(symbol)
            .wrapping_sub(left_gram.wrapping_mul(self.gram_power));
        if self.hash_windows {
            for side in 0..2 {
                let rolled = multiply(self.window[side], self.bases[side]) + symbol + MERSENNE;
                self.window[side] = reduce(rolled - multiply(left_window, self.powers[side]));
            }
        }
        let place = self.count.checked_sub(self.gram as u64)?;
        let hash = mix(self.gram_hash);
        while self.least.back().is_some_and(|back| back.0 > hash) {
            self.least.pop_back();
        }
        self.least.push_back((hash, place));
        let start = self.count.checked_sub(self.length as u64)?;
        while self.least.front().is_some_and(|front| front.1 < start) {
            self.least.pop_front();
        }
        self.least.front().map(|anchor| (start, *anchor))
    }
}

/// The finaliser of SplitMix64.
fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(GRAM_BASE);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    reduce((product as u64 & MERSENNE) + (product >> 61) as u64)
}

/// Modulo 2^61 − 1, for values below 2^63.
fn reduce(value: u64) -> u64 {
    let folded = (value & MERSENNE) + (value >> 61);
    if folded >= MERSENNE { folded - MERSENNE } else { folded }
}
