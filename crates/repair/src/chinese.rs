//! Conversion between simplified and traditional Chinese, by phrases, with the written standards of
//! Taiwan and Hong Kong. Dictionaries and procedure are OpenCC's (1.4.2, Apache-2.0, by the OpenCC
//! authors); `crates/xtask/peers/repair_tables.py` packs them into `data/opencc.deflate`. They are
//! unpacked on first use; the trees of a conversion are built when it is first asked for.
//!
//! OpenCC cuts a text into the phrases it knows, the longest first, and converts each piece in one or
//! two stages. A stage asks its dictionaries in turn; the first that knows how the text goes on decides.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Read;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// A conversion, by OpenCC's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chinese {
    /// Simplified to traditional.
    S2t,
    /// Traditional to simplified.
    T2s,
    /// Simplified to traditional as in Taiwan.
    S2tw,
    /// Simplified to traditional with Taiwan's words (軟體 for 软件).
    S2twp,
    /// Taiwan's traditional to simplified.
    Tw2s,
    /// Taiwan's traditional to simplified with the mainland's words.
    Tw2sp,
    /// Simplified to traditional as in Hong Kong.
    S2hk,
    /// Hong Kong's traditional to simplified.
    Hk2s,
    /// Traditional to Taiwan's.
    T2tw,
    /// Taiwan's to traditional.
    Tw2t,
    /// Traditional to Hong Kong's.
    T2hk,
    /// Hong Kong's to traditional.
    Hk2t,
}

/// Dictionaries asked in turn; those within the inner list count as one.
type Group = &'static [&'static [&'static str]];

const SIMPLIFIED_PHRASES: &[&str] = &["STPhrases", "STPhrases_GeneratedFromRegionalPhrases"];
const TO_TRADITIONAL: Group = &[SIMPLIFIED_PHRASES, &["STCharacters"]];
const TO_SIMPLIFIED: Group = &[&["TSPhrases"], &["TSCharactersExt"], &["TSCharacters"]];
const TO_TAIWAN: Group = &[&["TWVariantsPhrases"], &["TWVariants"]];
const TO_TAIWAN_WORDS: Group = &[&["TWPhrases"], &["TWVariantsPhrases"], &["TWVariants"]];
const FROM_TAIWAN: Group = &[&["TWVariantsRevPhrases"], &["TWVariantsRev"]];
const FROM_TAIWAN_WORDS: Group = &[&["TWPhrasesRev"], &["TWVariantsRevPhrases"], &["TWVariantsRev"]];
const TO_HONG_KONG: Group = &[&["HKVariantsPhrases"], &["HKVariants"]];
const FROM_HONG_KONG: Group = &[&["HKVariantsRevPhrases"], &["HKVariantsRev"]];
const COMPATIBILITY: Group = &[&["CJK_Compatibility_Ideographs"]];

impl Chinese {
    /// Every conversion, in the order of [`Chinese`].
    const ALL: [Self; 12] = [
        Self::S2t,
        Self::T2s,
        Self::S2tw,
        Self::S2twp,
        Self::Tw2s,
        Self::Tw2sp,
        Self::S2hk,
        Self::Hk2s,
        Self::T2tw,
        Self::Tw2t,
        Self::T2hk,
        Self::Hk2t,
    ];

    /// What cuts the text into pieces, if that is done, and the stages.
    fn recipe(self) -> (Option<Group>, &'static [Group]) {
        let simplified: Option<Group> = Some(&[SIMPLIFIED_PHRASES]);
        let traditional: Option<Group> = Some(&[&["TSPhrases"]]);
        match self {
            Self::S2t => (None, &[TO_TRADITIONAL]),
            Self::T2s => (None, &[TO_SIMPLIFIED]),
            Self::S2tw => (simplified, &[TO_TRADITIONAL, TO_TAIWAN]),
            Self::S2twp => (simplified, &[TO_TRADITIONAL, TO_TAIWAN_WORDS]),
            Self::Tw2s => (traditional, &[FROM_TAIWAN, TO_SIMPLIFIED]),
            Self::Tw2sp => (traditional, &[FROM_TAIWAN_WORDS, TO_SIMPLIFIED]),
            Self::S2hk => (simplified, &[TO_TRADITIONAL, TO_HONG_KONG]),
            Self::Hk2s => (traditional, &[FROM_HONG_KONG, TO_SIMPLIFIED]),
            Self::T2tw => (None, &[TO_TAIWAN]),
            Self::Tw2t => (None, &[FROM_TAIWAN]),
            Self::T2hk => (None, &[TO_HONG_KONG]),
            Self::Hk2t => (None, &[FROM_HONG_KONG]),
        }
    }

    fn converter(self) -> &'static Converter {
        static CONVERTERS: [LazyLock<Converter>; 12] = {
            macro_rules! lazy {
                ($($index:literal)*) => { [$(LazyLock::new(|| Converter::new(Chinese::ALL[$index]))),*] };
            }
            lazy!(0 1 2 3 4 5 6 7 8 9 10 11)
        };
        &CONVERTERS[self as usize]
    }
}

/// Converts a text; borrowed where nothing changes.
pub fn convert(text: &str, script: Chinese) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let converted = script.converter().convert(text);
    if converted == text { Cow::Borrowed(text) } else { Cow::Owned(converted) }
}

/// How many dictionaries a stage may ask in turn.
const RANKS: usize = 3;
const NONE: u32 = u32::MAX;

/// Dictionaries of a stage in one tree. A node's children are found in a hash table of
/// (node, character), so that the tree of 100,000 nodes takes about 2 MB.
struct Trie {
    /// Node in the upper 20 bits, character in the 21 below, child in the 20 lowest; 0 is empty.
    slots: Vec<u64>,
    /// For each node the value's index and the dictionary's rank.
    values: Vec<(u32, u8)>,
    texts: Vec<&'static str>,
}

/// The name of a dictionary and its lines.
fn dictionaries() -> &'static HashMap<&'static str, &'static str> {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut text = String::new();
        let packed: &[u8] = include_bytes!("../data/opencc.deflate");
        // The data is part of the program; a test reads all of it.
        let _ = flate2::read::DeflateDecoder::new(packed).read_to_string(&mut text);
        text
    });
    static DICTIONARIES: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
        let text: &'static str = &TEXT;
        text.split('#').filter_map(|part| part.split_once('\n')).collect()
    });
    &DICTIONARIES
}

impl Trie {
    fn new(group: Group) -> Self {
        let lines = |name: &&str| dictionaries().get(name).copied().unwrap_or_default();
        let characters: usize = group.iter().flat_map(|names| names.iter()).map(|name| lines(name).len() / 5).sum();
        let size = (characters + 16).next_power_of_two();
        let mut trie = Self { slots: vec![0; size], values: vec![(NONE, 0)], texts: Vec::new() };
        for (rank, names) in group.iter().enumerate() {
            for line in names.iter().flat_map(|name| lines(name).lines()) {
                let (key, value) = line.split_once('\t').unwrap_or((line, line));
                trie.insert(key, value, rank as u8);
            }
        }
        trie
    }

    fn slot(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) as usize & (self.slots.len() - 1)
    }

    #[inline]
    fn child(&self, node: u32, character: u32) -> Option<u32> {
        let key = u64::from(node) << 21 | u64::from(character);
        let mut slot = self.slot(key);
        loop {
            match self.slots[slot] {
                0 => return None,
                entry if entry >> 20 == key => return Some((entry & 0xF_FFFF) as u32),
                _ => slot = (slot + 1) & (self.slots.len() - 1),
            }
        }
    }

    fn insert(&mut self, key: &str, value: &'static str, rank: u8) {
        let mut node = 0;
        for character in key.chars() {
            node = match self.child(node, character as u32) {
                Some(child) => child,
                None => self.add(node, character as u32),
            };
        }
        // The first dictionary to know a key keeps it.
        if self.values[node as usize].0 == NONE {
            self.values[node as usize] = (self.texts.len() as u32, rank);
            self.texts.push(value);
        }
    }

    fn add(&mut self, node: u32, character: u32) -> u32 {
        if self.values.len() * 10 > self.slots.len() * 7 {
            self.grow();
        }
        let child = self.values.len() as u32;
        self.values.push((NONE, 0));
        self.place(u64::from(node) << 41 | u64::from(character) << 20 | u64::from(child));
        child
    }

    fn place(&mut self, entry: u64) {
        let mut slot = self.slot(entry >> 20);
        while self.slots[slot] != 0 {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = entry;
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![0; old.len() * 2];
        old.into_iter().filter(|entry| *entry != 0).for_each(|entry| self.place(entry));
    }

    /// The value and length in bytes of the longest key that a text begins with, in the first
    /// dictionary that has one.
    #[inline]
    fn longest(&self, text: &str) -> Option<(&'static str, usize)> {
        let mut best = [(NONE, 0); RANKS];
        let mut node = 0;
        for (offset, character) in text.char_indices() {
            match self.child(node, character as u32) {
                Some(child) => node = child,
                None => break,
            }
            let (value, rank) = self.values[node as usize];
            if value != NONE {
                best[rank as usize] = (value, offset + character.len_utf8());
            }
        }
        best.iter().find(|(value, _)| *value != NONE).map(|&(value, length)| (self.texts[value as usize], length))
    }

    /// Appends the text, its longest keys replaced from left to right.
    fn convert(&self, text: &str, out: &mut String) {
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            match self.longest(rest) {
                Some((value, length)) => {
                    out.push_str(value);
                    rest = &rest[length..];
                }
                None => {
                    out.push(character);
                    rest = &rest[character.len_utf8()..];
                }
            }
        }
    }
}

struct Converter {
    compatibility: Trie,
    pieces: Option<Trie>,
    stages: Vec<Trie>,
}

impl Converter {
    fn new(script: Chinese) -> Self {
        let (pieces, stages) = script.recipe();
        Self {
            compatibility: Trie::new(COMPATIBILITY),
            pieces: pieces.map(Trie::new),
            stages: stages.iter().map(|group| Trie::new(group)).collect(),
        }
    }

    fn convert(&self, text: &str) -> String {
        let mut normal = Cow::Borrowed(text);
        if text.contains(|c| matches!(c, '\u{F900}'..='\u{FAFF}' | '\u{2F800}'..='\u{2FA1F}')) {
            let mut out = String::with_capacity(text.len());
            self.compatibility.convert(text, &mut out);
            normal = Cow::Owned(out);
        }
        let mut out = String::with_capacity(text.len());
        let mut scratch = [String::new(), String::new()];
        match &self.pieces {
            None => self.convert_piece(&normal, &mut out, &mut scratch),
            Some(pieces) => {
                let (mut start, mut at) = (0, 0);
                while let Some(character) = normal[at..].chars().next() {
                    if let Some((_, length)) = pieces.longest(&normal[at..]) {
                        self.convert_piece(&normal[start..at], &mut out, &mut scratch);
                        self.convert_piece(&normal[at..at + length], &mut out, &mut scratch);
                        at += length;
                        start = at;
                    } else {
                        at += character.len_utf8();
                    }
                }
                self.convert_piece(&normal[start..], &mut out, &mut scratch);
            }
        }
        out
    }

    fn convert_piece(&self, piece: &str, out: &mut String, [from, to]: &mut [String; 2]) {
        let Some((last, earlier)) = self.stages.split_last() else { return };
        from.clear();
        from.push_str(piece);
        for stage in earlier {
            to.clear();
            stage.convert(from, to);
            std::mem::swap(from, to);
        }
        last.convert(from, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dictionary_is_there() {
        assert_eq!(dictionaries().len(), 17);
        for script in Chinese::ALL {
            let (pieces, stages) = script.recipe();
            for name in pieces.iter().chain(stages).flat_map(|group| group.iter()).flat_map(|names| names.iter()) {
                assert!(dictionaries().get(name).is_some_and(|lines| lines.lines().count() > 10), "{name}");
            }
            assert!(stages.iter().all(|group| group.len() <= RANKS));
        }
    }
}
