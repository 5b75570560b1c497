//! Finds the words and prefixes that secrets and names are told by.
//!
//! An automaton of this many words leaves the first cache at nearly every byte of prose. Here each place is tested by the hash
//! of its next three bytes against a table of 4 KB, which needs no earlier step to be finished; what passes is compared.

use crate::kind::{Kind, KindSet};
use crate::secrets::Word;
use crate::{names, secret_forms};

/// What is done where an anchor is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// A prefix of the token form with this index.
    Token(usize),
    WebToken,
    Armour,
    Named(Word),
    Person(names::Anchor),
}

/// Bytes that are hashed; no word is shorter.
const HASHED_BYTES: usize = 3;
/// Bits of the hash.
const HASH_BITS: u32 = 15;

/// The words, ready for the search.
pub(crate) struct Anchors {
    /// One bit for each hash that a word begins with.
    filter: Vec<u64>,
    /// For each hash the index of its first word.
    firsts: Vec<u16>,
    /// Words with their hashes and actions, by hash, longer ones first.
    words: Vec<(u32, &'static str, Action)>,
}

#[inline]
fn hash(first: u8, second: u8, third: u8) -> u32 {
    u32::from_le_bytes([first, second, third, 0]).wrapping_mul(0x9E37_79B1) >> (32 - HASH_BITS)
}

impl Anchors {
    /// The anchors of the wanted kinds.
    pub(crate) fn new(kinds: KindSet) -> Self {
        let mut words = Vec::new();
        let mut add = |list: &[&'static str], action: Action| {
            words.extend(list.iter().map(|word| (0, *word, action)));
        };
        if kinds.contains(Kind::ApiKey) {
            for (index, form) in secret_forms::FORMS.iter().enumerate() {
                add(form.prefixes, Action::Token(index));
            }
        }
        if kinds.contains(Kind::JsonWebToken) {
            add(&["eyJ"], Action::WebToken);
        }
        if kinds.contains(Kind::PrivateKey) {
            add(&["-----BEGIN "], Action::Armour);
        }
        if kinds.contains(Kind::Password) {
            add(secret_forms::PASSWORD_WORDS, Action::Named(Word::Password));
            add(secret_forms::TOKEN_WORDS, Action::Named(Word::Token));
        }
        if kinds.contains(Kind::Person) {
            for (anchor, list) in names::ANCHORS {
                add(list, Action::Person(*anchor));
            }
        }
        let mut filter = vec![0u64; 1 << (HASH_BITS - 6)];
        for (hashed, word, _) in &mut words {
            let bytes = word.as_bytes();
            assert!(bytes.len() >= HASHED_BYTES, "the anchor {word:?} is too short");
            *hashed = hash(bytes[0], bytes[1], bytes[2]);
            filter[(*hashed >> 6) as usize] |= 1 << (*hashed & 63);
        }
        words.sort_by(|left, right| {
            left.0.cmp(&right.0).then(right.1.len().cmp(&left.1.len())).then(left.1.cmp(right.1))
        });
        let mut firsts = vec![0u16; 1 << HASH_BITS];
        for (index, (hashed, _, _)) in words.iter().enumerate().rev() {
            firsts[*hashed as usize] = index as u16;
        }
        Self { filter, firsts, words }
    }

    /// Calls `met` with the start, the end and the action of each word in the text: the first, the longest there, and on
    /// from its end.
    pub(crate) fn each(&self, text: &[u8], mut met: impl FnMut(usize, usize, Action)) {
        if self.words.is_empty() {
            return;
        }
        let mut free = 0;
        for (at, window) in text.windows(HASHED_BYTES).enumerate() {
            let hashed = hash(window[0], window[1], window[2]);
            if self.filter[(hashed >> 6) as usize] >> (hashed & 63) & 1 == 1
                && at >= free
                && let Some((end, action)) = self.word_at(text, at, hashed)
            {
                free = end;
                met(at, end, action);
            }
        }
    }

    fn word_at(&self, text: &[u8], at: usize, hashed: u32) -> Option<(usize, Action)> {
        let rest = &text[at..];
        let first = usize::from(self.firsts[hashed as usize]);
        let mut same = self.words[first..].iter().take_while(|(other, _, _)| *other == hashed);
        // The fourth byte tells most words of prose apart without a call.
        let found = same.find(|(_, word, _)| match (word.as_bytes().get(HASHED_BYTES), rest.get(HASHED_BYTES)) {
            (Some(want), have) if Some(want) != have => false,
            _ => rest.starts_with(word.as_bytes()),
        });
        found.map(|(_, word, action)| (at + word.len(), *action))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_word_at_the_first_place_is_met() {
        let anchors = Anchors::new(KindSet::all());
        let text = "sk-ant-1 api_key Mr. 姓名";
        let mut met = Vec::new();
        anchors.each(text.as_bytes(), |at, end, _| met.push(&text[at..end]));
        assert_eq!(met, ["sk-ant-", "api_key", "Mr.", "姓名"]);
    }
}
