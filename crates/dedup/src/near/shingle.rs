//! From words or characters to a signature.

use sha1::{Digest, Sha1};
use twox_hash::{XxHash32, XxHash64};
use words::{Language, Token, TokenKind, simplify_into, tokenize};

use super::permutation::Permutations;
use super::{NearConfig, Precision, Shingle, ShingleHash};
use crate::DedupError;

/// Makes signatures; one for each thread, since it reuses its buffers.
#[derive(Debug, Clone)]
pub struct MinHasher {
    permutations: Permutations,
    length: usize,
    words: bool,
    hash: fn(&[u8]) -> u64,
    hashes: usize,
    text: String,
    simplified: String,
    tokens: Vec<Token>,
    /// Where each word or character begins in `text`, and where it ends.
    units: Vec<(u32, u32)>,
    shingles: Vec<u64>,
    signature: Vec<u64>,
}

impl MinHasher {
    /// For these settings.
    ///
    /// # Errors
    /// A setting is out of range.
    pub fn new(config: &NearConfig) -> Result<Self, DedupError> {
        config.check()?;
        let mask = match config.precision {
            Precision::Bits32 => u64::from(u32::MAX),
            Precision::Bits64 => u64::MAX,
        };
        let (words, length) = match config.shingle {
            Shingle::Words(length) => (true, length),
            Shingle::Characters(length) => (false, length),
        };
        Ok(Self {
            permutations: Permutations::new(config.seed, config.hashes(), mask),
            length,
            words,
            hash: hash_function(config),
            hashes: config.hashes(),
            text: String::new(),
            simplified: String::new(),
            tokens: Vec::new(),
            units: Vec::new(),
            shingles: Vec::new(),
            signature: Vec::new(),
        })
    }

    /// The signature of a text that is already normalised ([`words::simplify_into`]) and cut into words.
    ///
    /// A text shorter than one shingle has none and is never a duplicate. With shingles of characters the
    /// words are taken without what stood between them.
    pub fn signature_of_words<'a>(&mut self, words: impl IntoIterator<Item = &'a str>) -> Option<&[u64]> {
        self.text.clear();
        self.units.clear();
        for word in words {
            self.push(word);
        }
        self.finish()
    }

    /// The signature of a raw text, which is normalised and cut into the words of its language here, as
    /// datatrove does. Shingles of characters need no language.
    pub fn signature_of_text(&mut self, text: &str, language: Language) -> Option<&[u64]> {
        let mut simplified = std::mem::take(&mut self.simplified);
        simplify_into(text, &mut simplified);
        self.text.clear();
        self.units.clear();
        if self.words {
            let mut tokens = std::mem::take(&mut self.tokens);
            let whole = tokenize(&simplified, language, &mut tokens).is_ok();
            for token in tokens.iter().filter(|token| whole && token.kind != TokenKind::Space) {
                self.push(token.of(&simplified));
            }
            self.tokens = tokens;
        } else {
            self.push_characters(&simplified);
        }
        self.simplified = simplified;
        self.finish()
    }

    fn push(&mut self, word: &str) {
        if !self.words {
            return self.push_characters(word);
        }
        if !self.units.is_empty() {
            self.text.push(' ');
        }
        let start = self.text.len();
        self.text.push_str(word);
        self.units.push((start as u32, self.text.len() as u32));
    }

    fn push_characters(&mut self, word: &str) {
        for character in word.chars() {
            if !character.is_whitespace() {
                let start = self.text.len();
                self.text.push(character);
                self.units.push((start as u32, self.text.len() as u32));
            }
        }
    }

    fn finish(&mut self) -> Option<&[u64]> {
        if self.units.len() < self.length || u32::try_from(self.text.len()).is_err() {
            return None;
        }
        self.shingles.clear();
        let bytes = self.text.as_bytes();
        let hash = self.hash;
        self.shingles.extend(self.units.windows(self.length).map(|window| {
            let (start, end) = (window[0].0 as usize, window[self.length - 1].1 as usize);
            hash(&bytes[start..end])
        }));
        self.permutations.minima(&self.shingles, &mut self.signature);
        Some(&self.signature[..self.hashes])
    }
}

fn hash_function(config: &NearConfig) -> fn(&[u8]) -> u64 {
    match (config.hash, config.precision) {
        (ShingleHash::Xxhash, Precision::Bits64) => |bytes| XxHash64::oneshot(0, bytes),
        (ShingleHash::Xxhash, Precision::Bits32) => |bytes| u64::from(XxHash32::oneshot(0, bytes)),
        (ShingleHash::Sha1, Precision::Bits64) => sha1_64,
        (ShingleHash::Sha1, Precision::Bits32) => |bytes| sha1_64(bytes) & u64::from(u32::MAX),
    }
}

fn sha1_64(bytes: &[u8]) -> u64 {
    let digest = Sha1::digest(bytes);
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}
