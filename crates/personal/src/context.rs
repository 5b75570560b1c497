//! Words near a value that name its kind, and the search for them around a place.
//!
//! The words follow the context lists of Presidio's recognisers (presidio-analyzer 2.2, MIT), with
//! Chinese, Japanese and Korean ones added. Only whole words count; scripts without spaces are searched for phrases.

use aho_corasick::{AhoCorasick, MatchKind};

use crate::bytes::is_alphanumeric;
use crate::context_words::{PHRASES, WORDS};
use crate::kind::{Kind, KindSet};

/// How far before a value words are read.
const BEFORE_BYTES: usize = 80;
/// How many words before a value are read.
const BEFORE_WORDS: usize = 7;
/// How far after a value words are read.
const AFTER_BYTES: usize = 32;
/// How many words after a value are read.
const AFTER_WORDS: usize = 4;

/// Slots of the table of words; a power of two, at most half full.
const SLOTS: usize = 2048;

/// The words of context, ready for looking up.
pub(crate) struct Contexts {
    /// Open addressing: the word's hash (0 is free) and the kinds it names.
    slots: Vec<(u64, KindSet)>,
    phrases: AhoCorasick,
    phrase_kinds: Vec<KindSet>,
    known: KindSet,
}

impl Contexts {
    /// The tables for the words and phrases of this crate.
    pub(crate) fn new() -> Self {
        let mut contexts = Self {
            slots: vec![(0, KindSet::EMPTY); SLOTS],
            phrases: AhoCorasick::builder()
                .match_kind(MatchKind::Standard)
                .build(PHRASES.iter().flat_map(|(_, phrases)| phrases.split(' ')))
                .unwrap_or_else(|error| unreachable!("the phrases are constants: {error}")),
            phrase_kinds: Vec::new(),
            known: KindSet::EMPTY,
        };
        for (kinds, words) in WORDS {
            let set: KindSet = kinds.iter().copied().collect();
            contexts.known = contexts.known.union(set);
            for word in words.split(' ') {
                contexts.insert(word, set);
            }
        }
        for (kinds, phrases) in PHRASES {
            let set: KindSet = kinds.iter().copied().collect();
            contexts.known = contexts.known.union(set);
            contexts.phrase_kinds.extend(phrases.split(' ').map(|_| set));
        }
        contexts
    }

    fn insert(&mut self, word: &str, kinds: KindSet) {
        let hash = word.bytes().fold(HASH_START, hash_step) | 1;
        let mut slot = hash as usize >> 8 & (SLOTS - 1);
        while self.slots[slot].0 != 0 && self.slots[slot].0 != hash {
            slot = (slot + 1) & (SLOTS - 1);
        }
        self.slots[slot] = (hash, self.slots[slot].1.union(kinds));
    }

    fn kinds_of(&self, hash: u64) -> KindSet {
        let hash = hash | 1;
        let mut slot = hash as usize >> 8 & (SLOTS - 1);
        while self.slots[slot].0 != 0 {
            if self.slots[slot].0 == hash {
                return self.slots[slot].1;
            }
            slot = (slot + 1) & (SLOTS - 1);
        }
        KindSet::EMPTY
    }

    /// True if words are known for the kind.
    pub(crate) fn knows(&self, kind: Kind) -> bool {
        self.known.contains(kind)
    }

    /// The kinds that the words around `start..end` name.
    pub(crate) fn around(&self, text: &[u8], start: usize, end: usize) -> KindSet {
        let before = &text[start.saturating_sub(BEFORE_BYTES)..start];
        let after = &text[end..text.len().min(end + AFTER_BYTES)];
        let (mut kinds, mut foreign) = self.words_before(before);
        let (more, foreign_after) = self.words_after(after);
        kinds = kinds.union(more);
        foreign |= foreign_after;
        if foreign {
            for window in [before, after] {
                for found in self.phrases.find_overlapping_iter(window) {
                    kinds = kinds.union(self.phrase_kinds[found.pattern().as_usize()]);
                }
            }
        }
        kinds
    }

    /// The kinds named by the last words of the window, and whether other scripts occur in it.
    fn words_before(&self, window: &[u8]) -> (KindSet, bool) {
        let mut kinds = KindSet::EMPTY;
        let mut foreign = false;
        let mut words = 0;
        let mut end = window.len();
        while end > 0 && words < BEFORE_WORDS {
            if !is_letter(window[end - 1]) {
                foreign |= window[end - 1] >= 0x80;
                end -= 1;
                continue;
            }
            let mut start = end;
            while start > 0 && is_letter(window[start - 1]) {
                start -= 1;
            }
            foreign |= window[start..end].iter().any(|byte| *byte >= 0xE0);
            // A word that the window cuts is not known whole.
            if (start > 0 || window.len() < BEFORE_BYTES) && !is_placeholder(window, start, end) {
                kinds = kinds.union(self.kinds_of_word(&window[start..end]));
            }
            words += 1;
            end = start;
        }
        (kinds, foreign)
    }

    fn words_after(&self, window: &[u8]) -> (KindSet, bool) {
        let mut kinds = KindSet::EMPTY;
        let mut foreign = false;
        let mut words = 0;
        let mut start = 0;
        while start < window.len() && words < AFTER_WORDS {
            if !is_letter(window[start]) {
                foreign |= window[start] >= 0x80;
                start += 1;
                continue;
            }
            let mut end = start;
            while end < window.len() && is_letter(window[end]) {
                end += 1;
            }
            foreign |= window[start..end].iter().any(|byte| *byte >= 0xE0);
            if (end < window.len() || window.len() < AFTER_BYTES) && !is_placeholder(window, start, end) {
                kinds = kinds.union(self.kinds_of_word(&window[start..end]));
            }
            words += 1;
            start = end;
        }
        (kinds, foreign)
    }

    fn kinds_of_word(&self, word: &[u8]) -> KindSet {
        let mut hash = HASH_START;
        let mut last = 0;
        for byte in word {
            // Upper case of Latin letters with marks: U+00C0 to U+00DE.
            let lower = match byte {
                0x80..=0x9E if last == 0xC3 => byte + 0x20,
                _ => byte.to_ascii_lowercase(),
            };
            hash = hash_step(hash, lower);
            last = *byte;
        }
        self.kinds_of(hash)
    }
}

/// FNV-1a.
const HASH_START: u64 = 0xCBF2_9CE4_8422_2325;

fn hash_step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
}

/// Bytes that words of context are made of: ASCII letters and digits, and the bytes of letters with marks.
fn is_letter(byte: u8) -> bool {
    is_alphanumeric(byte) || matches!(byte, 0x80..=0xBF | 0xC3..=0xDF)
}

/// True for a word inside a placeholder that this crate writes, such as `[PHONE]`: it says what was
/// there, not what stands beside it.
fn is_placeholder(window: &[u8], start: usize, end: usize) -> bool {
    let opened = window[..start].iter().rev().take_while(|byte| byte.is_ascii_uppercase() || **byte == b'_').count();
    let before = start.checked_sub(opened + 1).map(|index| window[index]);
    matches!(before, Some(b'[' | b'<')) && window[start..end].iter().all(|byte| !byte.is_ascii_lowercase())
}
