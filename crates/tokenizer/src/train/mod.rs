//! Training: [`Trainer::new`], then texts by [`Trainer::feed`], then [`Trainer::finish`].
//!
//! Counting words takes all threads and a bounded amount of memory; what is learned from the counts depends on neither.
//! With the same settings Hugging Face's trainers learn the same BPE merges, below the 2³¹ pairs at which their counts
//! overflow. The exceptions are words of more than 4,096 bytes, which are cut here, and corpora whose words outgrow
//! the memory: then the rarest words are left out, all words of a count together.

mod merges;
mod pieces;
mod scheme;
mod suffixes;
#[cfg(test)]
mod tests;
mod unigram;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use crate::error::TokenizerError;
use crate::normalize::Normalizer;
use crate::pretokenize::PreTokenizer;
use crate::tokenizer::Tokenizer;
pub use scheme::{Alphabet, Scheme, SplitPattern};
use words::Words;

/// The longest word that is counted, in bytes; longer ones are cut.
const WORD_BYTES_MAX: usize = 4096;
/// Texts that [`Trainer::feed_from`] collects before it counts them, in bytes.
const BATCH_BYTES: usize = 8 << 20;
/// The largest vocabulary that is learned.
pub const VOCABULARY_MAX: usize = 1 << 22;

/// What to learn.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerConfig {
    /// The model, and how texts are normalised and split for it.
    pub scheme: Scheme,
    /// How many tokens there are at most, special tokens among them.
    pub vocabulary_size: usize,
    /// A pair of tokens that came fewer times is not joined. It has no part in a Unigram model.
    pub min_frequency: u64,
    /// Tokens with the first numbers, in this order, that no text is made of.
    pub special_tokens: Vec<String>,
    /// Characters that are tokens whether they come or not.
    pub initial_alphabet: Vec<char>,
    /// The most characters that are tokens by themselves; the most frequent are kept. None: all.
    pub limit_alphabet: Option<usize>,
    /// A token has fewer characters (bytes, at the level of bytes) than this. None: any number.
    pub max_token_length: Option<usize>,
    /// The memory for words, in bytes. Counts that do not fit are kept in files until the end; of words that do not fit
    /// then, the rarest are left out.
    pub memory_bytes_max: usize,
    /// Threads that count; 0: as many as the machine has.
    pub threads: usize,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            scheme: Scheme::default(),
            vocabulary_size: 32_000,
            min_frequency: 2,
            special_tokens: Vec::new(),
            initial_alphabet: Vec::new(),
            limit_alphabet: None,
            max_token_length: None,
            memory_bytes_max: 1 << 30,
            threads: 0,
        }
    }
}

/// How far a training is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done: `merges`, `seeds` or `pieces`.
    pub stage: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// How much there is to do at most.
    pub total: u64,
}

/// Learns a tokenizer from texts.
#[derive(Debug)]
pub struct Trainer {
    config: TrainerConfig,
    normalizer: Option<Normalizer>,
    pre_tokenizer: PreTokenizer,
    words: Words,
    threads: usize,
    stop: Arc<AtomicBool>,
}

/// Where progress goes, and whether to go on.
struct Watch<'w> {
    progress: &'w mut dyn FnMut(Progress),
    stop: &'w AtomicBool,
}

impl Watch<'_> {
    fn step(&mut self, stage: &'static str, done: u64, total: u64) -> Result<(), TokenizerError> {
        (self.progress)(Progress { stage, done, total });
        if self.stop.load(Ordering::Relaxed) { Err(TokenizerError::Stopped) } else { Ok(()) }
    }
}

impl Trainer {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`TokenizerError::Settings`] when they cannot be met.
    pub fn new(config: TrainerConfig) -> Result<Self, TokenizerError> {
        scheme::check(&config)?;
        let normalizer = Normalizer::read(&config.scheme.normalizer())?;
        let pre_tokenizer = PreTokenizer::read(&config.scheme.pre_tokenizer())?;
        let threads = match config.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads.min(256),
        };
        let words = Words::new(config.memory_bytes_max / 2);
        Ok(Self { config, normalizer, pre_tokenizer, words, threads, stop: Arc::default() })
    }

    /// Ends with [`TokenizerError::Stopped`] soon after the flag is set.
    #[must_use]
    pub fn with_stop(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = stop;
        self
    }

    /// Counts the words of some texts. Neither their order nor how they are divided among calls makes a difference.
    ///
    /// # Errors
    /// [`TokenizerError::Io`] when the temporary files fail; [`TokenizerError::Stopped`].
    pub fn feed<S: AsRef<str> + Sync>(&mut self, texts: &[S]) -> Result<(), TokenizerError> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut local = self.words.local();
            let mut result = Ok(());
            while result.is_ok()
                && let Some(text) = texts.get(next.fetch_add(1, Ordering::Relaxed))
            {
                result = if self.stop.load(Ordering::Relaxed) {
                    Err(TokenizerError::Stopped)
                } else {
                    self.count(text.as_ref(), &mut local)
                };
            }
            self.words.put_back(local);
            result
        };
        let threads = self.threads.min(texts.len());
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut result = work();
            for other in others {
                // A panic of ours goes on.
                let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                result = result.and(other);
            }
            result
        })
    }

    /// Counts the words of all texts of an iterator, some at a time.
    ///
    /// # Errors
    /// As [`Trainer::feed`].
    pub fn feed_from<S: AsRef<str> + Sync>(
        &mut self,
        texts: impl IntoIterator<Item = S>,
    ) -> Result<(), TokenizerError> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for text in texts {
            bytes += text.as_ref().len();
            batch.push(text);
            if bytes >= BATCH_BYTES {
                self.feed(&batch)?;
                batch.clear();
                bytes = 0;
            }
        }
        self.feed(&batch)
    }

    fn count(&self, text: &str, local: &mut words::Table) -> Result<(), TokenizerError> {
        let normalized = match &self.normalizer {
            Some(normalizer) => normalizer.apply(text)?,
            None => text.into(),
        };
        let mut result = Ok(());
        self.pre_tokenizer.words(&normalized, true, &mut |mut word| {
            while word.len() > WORD_BYTES_MAX && result.is_ok() {
                let (begin, rest) = word.split_at(word.floor_char_boundary(WORD_BYTES_MAX));
                result = self.words.count(begin.as_bytes(), local);
                word = rest;
            }
            if result.is_ok() {
                result = self.words.count(word.as_bytes(), local);
            }
        })?;
        result
    }

    /// Learns the tokenizer from what was counted.
    ///
    /// # Errors
    /// [`TokenizerError::Settings`] when the texts and the settings do not fit; [`TokenizerError::Stopped`];
    /// [`TokenizerError::Io`] when the temporary files fail.
    pub fn finish(mut self, progress: &mut dyn FnMut(Progress)) -> Result<Tokenizer, TokenizerError> {
        let mut watch = Watch { progress, stop: &self.stop };
        self.words.finish()?;
        let least = least_count(&self.words, self.config.memory_bytes_max)?;
        let model: Value = match &self.config.scheme {
            Scheme::Unigram { .. } => unigram::train(self.words, least, &self.config, &mut watch)?,
            _ => pieces::train(self.words, least, &self.config, self.pre_tokenizer.byte_level, &mut watch)?,
        };
        Tokenizer::from_json(scheme::file(&self.config, &model))
    }
}

/// The least count at which all words fit into the memory.
fn least_count(words: &Words, memory_bytes_max: usize) -> Result<u64, TokenizerError> {
    // A symbol is 4 bytes, with its two places of a pair 12; a word is 16.
    let weights = words.weights(|word| 16 + 12 * word.len() as u64)?;
    let (mut sum, mut least) = (0, u64::MAX);
    for (count, weight) in weights.iter().rev() {
        sum += weight;
        if sum > memory_bytes_max as u64 {
            break;
        }
        least = *count;
    }
    Ok(least)
}
