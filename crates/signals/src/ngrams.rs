//! A small n-gram language model with interpolated Kneser–Ney smoothing (Chen & Goodman 1999, section 2.7), trained on
//! clean text, by which unclean text is perplexing.
//!
//! N-grams are kept as 64-bit hashes, in a table whose size is a limit given beforehand: once it is full, n-grams not
//! seen so far are not added, which only coarsens what is rare. Orders below the highest count in how many contexts an
//! n-gram was new, as the method wants. The hashes (`hash_bytes`, `mix`) are part of the file's format: a change of them
//! needs another magic.

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use words::{Language, for_each_word};

use crate::SignalsError;
use crate::hash::{hash_bytes, mix};

const MAGIC: &[u8; 8] = b"MYNGRAM1";
const ORDER_MAX: usize = 6;
const START: u64 = 0x5a5a_1234_9876_a5a5;

/// What an n-gram is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Units {
    /// Words.
    #[default]
    Words,
    /// Characters, white space as one blank.
    Characters,
}

/// How a model is trained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NgramConfig {
    /// The longest n-gram, 1 to 6.
    pub order: usize,
    /// What it is made of.
    pub units: Units,
    /// How words are told apart: an ISO 639 code.
    pub language: String,
    /// At most so many n-grams are kept, and as many contexts; each takes 16 bytes, half of that table free.
    pub entries_max: usize,
}

impl Default for NgramConfig {
    fn default() -> Self {
        Self { order: 3, units: Units::Words, language: "en".to_owned(), entries_max: 1 << 22 }
    }
}

#[derive(Clone, Copy, Default)]
struct Entry {
    key: u64,
    count: u32,
    /// Of a context: how many different units followed it.
    kinds: u32,
}

/// An open table with a limit.
#[derive(Default)]
struct Table {
    slots: Vec<Entry>,
    held: usize,
    limit: usize,
}

impl Table {
    fn new(limit: usize, expected: usize) -> Self {
        let size = (expected.clamp(8, limit.max(8)) * 2).next_power_of_two();
        Self { slots: vec![Entry::default(); size], held: 0, limit }
    }

    fn slot(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = mix(key, 7) as usize & mask;
        while self.slots[slot].key != key && self.slots[slot].key != 0 {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn get(&self, key: u64) -> Entry {
        self.slots[self.slot(key)]
    }

    /// The entry of a key, new if need be and the limit allows.
    fn entry(&mut self, key: u64) -> Option<&mut Entry> {
        let mut slot = self.slot(key);
        if self.slots[slot].key == 0 {
            if self.held >= self.limit {
                return None;
            }
            if self.held * 2 >= self.slots.len() {
                self.grow();
                slot = self.slot(key);
            }
            self.slots[slot].key = key;
            self.held += 1;
        }
        Some(&mut self.slots[slot])
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![Entry::default(); old.len() * 2];
        for entry in old.into_iter().filter(|entry| entry.key != 0) {
            let slot = self.slot(entry.key);
            self.slots[slot] = entry;
        }
    }

    fn sorted(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.slots.iter().copied().filter(|entry| entry.key != 0).collect();
        entries.sort_unstable_by_key(|entry| entry.key);
        entries
    }
}

/// The key of the n-gram that ends a run of units.
fn key(units: &[u64]) -> u64 {
    units.iter().fold(units.len() as u64 + 1, |state, unit| mix(state, *unit)).max(1)
}

/// The units of a text, with the start's marks before them.
fn units(text: &str, config: &NgramConfig) -> Vec<u64> {
    let mut out = vec![START; config.order - 1];
    match config.units {
        Units::Words => for_each_word(text, Language::from_code(&config.language), |word| {
            out.push(hash_bytes(word.as_bytes()));
        }),
        Units::Characters => {
            let mut blank = true;
            for character in text.chars() {
                let character = if character.is_whitespace() { ' ' } else { character };
                if character != ' ' || !blank {
                    out.push(mix(u64::from(character), 3));
                }
                blank = character == ' ';
            }
        }
    }
    out
}

/// Takes clean text and makes a model of it.
pub struct NgramTrainer {
    config: NgramConfig,
    ngrams: Table,
    contexts: Table,
    units: u64,
    refused: u64,
    once: [u64; ORDER_MAX],
    twice: [u64; ORDER_MAX],
}

impl NgramTrainer {
    /// Starts; an order out of range is brought into it.
    pub fn new(mut config: NgramConfig) -> Self {
        config.order = config.order.clamp(1, ORDER_MAX);
        let limit = config.entries_max.max(1);
        Self {
            ngrams: Table::new(limit, 1 << 12),
            contexts: Table::new(limit, 1 << 12),
            config,
            units: 0,
            refused: 0,
            once: [0; ORDER_MAX],
            twice: [0; ORDER_MAX],
        }
    }

    /// Learns from a document.
    pub fn add(&mut self, text: &str) {
        let units = units(text, &self.config);
        for window in units.windows(self.config.order) {
            self.units += 1;
            // A longer n-gram that is new is a new context of the shorter one that ends it.
            for skip in 0..self.config.order {
                match self.count(&window[skip..]) {
                    Some(true) => {}
                    Some(false) => break,
                    None => {
                        self.refused += 1;
                        break;
                    }
                }
            }
        }
    }

    /// Counts an n-gram; says whether it is new, nothing if there is no room for it.
    fn count(&mut self, ngram: &[u64]) -> Option<bool> {
        let order = ngram.len() - 1;
        // Room for the context first: an n-gram without its context would have no total.
        self.contexts.entry(key(&ngram[..order]))?;
        let entry = self.ngrams.entry(key(ngram))?;
        entry.count = entry.count.saturating_add(1);
        let count = entry.count;
        let new = count == 1;
        match count {
            1 => self.once[order] += 1,
            2 => {
                self.once[order] -= 1;
                self.twice[order] += 1;
            }
            3 => self.twice[order] -= 1,
            _ => {}
        }
        let context = self.contexts.entry(key(&ngram[..order]))?;
        context.count = context.count.saturating_add(1);
        context.kinds += u32::from(new);
        Some(new)
    }

    /// How many n-grams found no room.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The model.
    ///
    /// # Errors
    /// If there was no text.
    pub fn finish(self) -> Result<NgramModel, SignalsError> {
        if self.units == 0 {
            return Err(SignalsError::Training { what: "there is no text" });
        }
        let mut discounts = [0.75; ORDER_MAX];
        for (order, discount) in discounts.iter_mut().enumerate() {
            let (once, twice) = (self.once[order] as f64, self.twice[order] as f64);
            if once > 0.0 && twice > 0.0 {
                *discount = once / (once + 2.0 * twice);
            }
        }
        Ok(NgramModel { config: self.config, ngrams: self.ngrams, contexts: self.contexts, discounts })
    }
}

/// An n-gram language model.
pub struct NgramModel {
    config: NgramConfig,
    ngrams: Table,
    contexts: Table,
    discounts: [f64; ORDER_MAX],
}

impl std::fmt::Debug for NgramModel {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("NgramModel").field("config", &self.config).field("ngrams", &self.ngrams.held).finish()
    }
}

impl NgramModel {
    /// How it was trained.
    pub fn config(&self) -> &NgramConfig {
        &self.config
    }

    /// The perplexity a unit of a text: e to the mean of −ln p. `None` of a text without units.
    pub fn perplexity(&self, text: &str) -> Option<f64> {
        let units = units(text, &self.config);
        let count = units.len() + 1 - self.config.order;
        if count == 0 {
            return None;
        }
        let sum: f64 = units.windows(self.config.order).map(|ngram| self.probability(ngram).ln()).sum();
        Some((-sum / count as f64).exp())
    }

    /// The probability of the last unit after those before it.
    fn probability(&self, ngram: &[u64]) -> f64 {
        let kinds = f64::from(self.contexts.get(key(&[])).kinds);
        let mut probability = 1.0 / (kinds + 1.0);
        for order in 1..=ngram.len() {
            let run = &ngram[ngram.len() - order..];
            let context = self.contexts.get(key(&run[..order - 1]));
            if context.count == 0 {
                break;
            }
            let total = f64::from(context.count);
            let discount = self.discounts[order - 1];
            let count = f64::from(self.ngrams.get(key(run)).count);
            probability =
                (count - discount).max(0.0) / total + discount * f64::from(context.kinds) / total * probability;
        }
        probability
    }

    /// Writes the model to a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), SignalsError> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        let config = serde_json::to_vec(&self.config).unwrap_or_default();
        out.extend_from_slice(&(config.len() as u32).to_le_bytes());
        out.extend_from_slice(&config);
        for discount in self.discounts {
            out.extend_from_slice(&discount.to_le_bytes());
        }
        for table in [&self.ngrams, &self.contexts] {
            out.extend_from_slice(&(table.held as u64).to_le_bytes());
            for entry in table.sorted() {
                out.extend_from_slice(&entry.key.to_le_bytes());
                out.extend_from_slice(&entry.count.to_le_bytes());
                out.extend_from_slice(&entry.kinds.to_le_bytes());
            }
        }
        let write = || {
            let mut file = std::fs::File::create(path)?;
            file.write_all(&out)?;
            file.sync_all()
        };
        write().map_err(|error| SignalsError::Io { verb: "write", path: path.to_owned(), error })
    }

    /// Reads a model from a file.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn read(path: &Path) -> Result<Self, SignalsError> {
        let bytes =
            std::fs::read(path).map_err(|error| SignalsError::Io { verb: "read", path: path.to_owned(), error })?;
        parse(&bytes).ok_or_else(|| SignalsError::Model {
            path: path.to_owned(),
            what: "it is no n-gram model, or cut off".to_owned(),
        })
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(count)?;
    *rest = behind;
    Some(taken)
}

fn parse(bytes: &[u8]) -> Option<NgramModel> {
    let mut rest = bytes;
    if take(&mut rest, 8)? != MAGIC {
        return None;
    }
    let length = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?) as usize;
    let config: NgramConfig = serde_json::from_slice(take(&mut rest, length)?).ok()?;
    if !(1..=ORDER_MAX).contains(&config.order) {
        return None;
    }
    let mut discounts = [0.0; ORDER_MAX];
    for discount in &mut discounts {
        *discount = f64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
        if !(0.0..=1.0).contains(discount) {
            return None;
        }
    }
    let (ngrams, contexts) = (table(&mut rest)?, table(&mut rest)?);
    rest.is_empty().then_some(NgramModel { config, ngrams, contexts, discounts })
}

fn table(rest: &mut &[u8]) -> Option<Table> {
    let count = usize::try_from(u64::from_le_bytes(take(rest, 8)?.try_into().ok()?)).ok()?;
    let bytes = take(rest, count.checked_mul(16)?)?;
    let mut table = Table::new(count, count);
    for entry in bytes.chunks_exact(16) {
        let key = u64::from_le_bytes(entry[..8].try_into().ok()?);
        if key == 0 {
            return None;
        }
        *table.entry(key)? = Entry {
            key,
            count: u32::from_le_bytes(entry[8..12].try_into().ok()?),
            kinds: u32::from_le_bytes(entry[12..].try_into().ok()?),
        };
    }
    Some(table)
}
