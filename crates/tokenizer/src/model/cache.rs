//! What short words became: a table of fixed size in which a newer word takes the place of an older one, so that it can
//! neither grow nor be made slow.

use crate::hash::mix;

const BITS: u32 = 15;
/// The longest word that is remembered, in bytes.
const BYTES_MAX: usize = 15;
/// The most tokens that are remembered.
const TOKENS_MAX: usize = 4;
const NONE: u32 = u32::MAX;

/// The bytes of a word and their number, which no other word shares.
pub(super) type Key = [u64; 2];

#[derive(Debug, Clone, Copy)]
struct Entry {
    key: Key,
    tokens: [u32; TOKENS_MAX],
}

/// The table; it is made at the first word.
#[derive(Debug, Default)]
pub(super) struct Cache(Vec<Entry>);

/// The key of a word, unless it is too long or empty.
#[inline]
pub(super) fn key(word: &[u8]) -> Option<Key> {
    let length = word.len();
    let long = |at: usize| word.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    let short = |at: usize| {
        let bytes = word.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u64::from(bytes.map_or(0, u32::from_le_bytes))
    };
    let tag = (length as u64) << 56;
    match length {
        1..4 => {
            let [first, middle, last] = [word[0], word[length / 2], word[length - 1]].map(u64::from);
            Some([first | middle << 8 | last << 16, tag])
        }
        4..8 => Some([short(0) | short(length - 4) << (8 * (length - 4)), tag]),
        8 => Some([long(0), tag]),
        9..=BYTES_MAX => Some([long(0), long(length - 8) >> (8 * (16 - length)) | tag]),
        _ => None,
    }
}

impl Cache {
    /// Appends what a word became, if it is remembered.
    #[inline]
    pub fn get(&self, key: Key, out: &mut Vec<u32>) -> bool {
        let Some(entry) = self.0.get(slot(key)) else { return false };
        if entry.key != key {
            return false;
        }
        for token in entry.tokens {
            if token == NONE {
                break;
            }
            out.push(token);
        }
        true
    }

    #[inline]
    pub fn set(&mut self, key: Key, tokens: &[u32]) {
        if tokens.len() > TOKENS_MAX {
            return;
        }
        if self.0.is_empty() {
            self.0 = vec![Entry { key: [0; 2], tokens: [NONE; TOKENS_MAX] }; 1 << BITS];
        }
        let entry = &mut self.0[slot(key)];
        entry.key = key;
        entry.tokens = [NONE; TOKENS_MAX];
        entry.tokens[..tokens.len()].copy_from_slice(tokens);
    }
}

#[inline]
fn slot(key: Key) -> usize {
    (mix(key[0], key[1]) >> (64 - BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_share_no_key(a in proptest::collection::vec(0_u8..3, 1..16), b in proptest::collection::vec(0_u8..3, 1..16)) {
            prop_assert_eq!(key(&a) == key(&b), a == b);
        }
    }

    #[test]
    fn a_word_comes_back_until_another_takes_its_place() {
        let mut cache = Cache::default();
        let mut out = vec![9];
        assert!(!cache.get(key(b"word").unwrap(), &mut out));
        cache.set(key(b"word").unwrap(), &[1, 2]);
        assert!(cache.get(key(b"word").unwrap(), &mut out));
        assert_eq!(out, [9, 1, 2]);
        cache.set(key(b"other").unwrap(), &[1, 2, 3, 4, 5]);
        assert!(!cache.get(key(b"other").unwrap(), &mut out));
        assert_eq!(key(b"").or(key(&[0; 16])), None);
    }
}
