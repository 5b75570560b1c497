//! Text as two bags of hashed n-grams: of words, and of characters within words.
//!
//! This is an on-disk promise: a model's weights belong to buckets, so the same text must fall into
//! the same buckets for ever. In full:
//!
//! 1. The text is brought to lower case (Unicode, `str::to_lowercase`).
//! 2. *Words* are the longest runs of letters, digits and `_`; every other character that is not a
//!    blank is a word by itself, and so is every Chinese or Japanese character.
//! 3. A *word n-gram* is n words in a row, joined by one space.
//! 4. A *character n-gram* is n characters in a row within a run of characters that are not blanks,
//!    with one space before and one after it. A run too short for n, spaces counted, gives itself
//!    once, for the smallest such n (scikit-learn's `char_wb` does the same).
//! 5. An n-gram's bucket is `hash(its UTF-8 bytes) mod buckets`; see [`hash`].

/// Adds a byte to a hash: FNV-1a, 64 bits.
const fn step(state: u64, byte: u8) -> u64 {
    (state ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3)
}

const START: u64 = 0xcbf2_9ce4_8422_2325;

/// Spreads the state over all bits (the finaliser of MurmurHash3): FNV-1a alone mixes its low bits,
/// which choose the bucket, too little.
const fn spread(mut state: u64) -> u64 {
    state ^= state >> 33;
    state = state.wrapping_mul(0xff51_afd7_ed55_8ccd);
    state ^= state >> 33;
    state = state.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    state ^ (state >> 33)
}

/// The hash of an n-gram: FNV-1a of its bytes, then MurmurHash3's 64-bit finaliser.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    spread(bytes.iter().fold(START, |state, byte| step(state, *byte)))
}

/// The lengths of n-grams and the number of buckets; buffers are reused from text to text.
#[derive(Debug, Clone)]
pub struct Bag {
    word_ngrams: [u32; 2],
    character_ngrams: [u32; 2],
    buckets: u32,
    lower: String,
    /// Where words (or the padded run's characters) begin and end in `lower`.
    ends: Vec<(usize, usize)>,
    run: String,
    /// The buckets of the text's n-grams, sorted; characters' buckets come after the words'.
    hits: Vec<u32>,
}

impl Bag {
    /// A bag with two times `buckets` features, at least one.
    #[must_use]
    pub fn new(word_ngrams: [u32; 2], character_ngrams: [u32; 2], buckets: u32) -> Self {
        Self {
            word_ngrams,
            character_ngrams,
            buckets: buckets.max(1),
            lower: String::new(),
            ends: Vec::new(),
            run: String::new(),
            hits: Vec::new(),
        }
    }

    /// Calls `each(feature, count)` for every feature that the text has, in ascending order: words'
    /// buckets are `0..buckets`, characters' `buckets..2·buckets`.
    pub fn count(&mut self, text: &str, mut each: impl FnMut(u32, u32)) {
        self.lower = text.to_lowercase();
        self.hits.clear();
        self.count_words();
        self.count_characters();
        self.hits.sort_unstable();
        for equal in self.hits.chunk_by(|a, b| a == b) {
            each(equal[0], u32::try_from(equal.len()).unwrap_or(u32::MAX));
        }
    }

    fn bucket(&self, state: u64) -> u32 {
        // The remainder is below a u32, so nothing is cut.
        (spread(state) % u64::from(self.buckets)) as u32
    }

    fn count_words(&mut self) {
        find_words(&self.lower, &mut self.ends);
        let [shortest, longest] = self.word_ngrams.map(|n| n as usize);
        for first in 0..self.ends.len() {
            let mut state = START;
            for (length, (from, to)) in (1..=longest).zip(&self.ends[first..]) {
                if length > 1 {
                    state = step(state, b' ');
                }
                state = self.lower.as_bytes()[*from..*to].iter().fold(state, |state, byte| step(state, *byte));
                if length >= shortest {
                    self.hits.push(self.bucket(state));
                }
            }
        }
    }

    fn count_characters(&mut self) {
        let [shortest, longest] = self.character_ngrams.map(|n| n as usize);
        let mut run = std::mem::take(&mut self.run);
        let mut ends = std::mem::take(&mut self.ends);
        for word in self.lower.split_whitespace() {
            run.clear();
            run.extend([" ", word, " "]);
            ends.clear();
            ends.extend(run.char_indices().map(|(at, character)| (at, at + character.len_utf8())));
            for first in 0..ends.len() {
                let mut state = START;
                for (length, (from, to)) in (1..=longest).zip(&ends[first..]) {
                    state = run.as_bytes()[*from..*to].iter().fold(state, |state, byte| step(state, *byte));
                    if length >= shortest || (first == 0 && length == ends.len()) {
                        self.hits.push(self.buckets + self.bucket(state));
                    }
                }
            }
        }
        self.run = run;
        self.ends = ends;
    }
}

/// Writes where words begin and end.
fn find_words(text: &str, words: &mut Vec<(usize, usize)>) {
    words.clear();
    let mut open: Option<usize> = None;
    for (at, character) in text.char_indices() {
        let joins = (character.is_alphanumeric() || character == '_') && !is_ideograph(character);
        if joins {
            open.get_or_insert(at);
            continue;
        }
        if let Some(from) = open.take() {
            words.push((from, at));
        }
        if !character.is_whitespace() {
            words.push((at, at + character.len_utf8()));
        }
    }
    if let Some(from) = open {
        words.push((from, text.len()));
    }
}

/// Whether a character is of a script that writes no blanks between words: Han, kana, Bopomofo.
fn is_ideograph(character: char) -> bool {
    matches!(character,
        '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{312f}' | '\u{31a0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// The same in plain words, with a `String` for each n-gram.
    fn reference(text: &str, words: [usize; 2], characters: [usize; 2], buckets: u64) -> BTreeMap<u32, u32> {
        let lower = text.to_lowercase();
        let mut grams: Vec<(u64, String)> = Vec::new();
        let mut found = Vec::new();
        find_words(&lower, &mut found);
        let all: Vec<&str> = found.iter().map(|(from, to)| &lower[*from..*to]).collect();
        for n in words[0]..=words[1] {
            grams.extend(all.windows(n).map(|window| (0, window.join(" "))));
        }
        for word in lower.split_whitespace() {
            let run: Vec<char> = format!(" {word} ").chars().collect();
            let mut short = false;
            for n in characters[0]..=characters[1] {
                if n <= run.len() {
                    grams.extend(run.windows(n).map(|window| (buckets, window.iter().collect())));
                } else if !std::mem::replace(&mut short, true) && run.len() < characters[0] {
                    grams.push((buckets, run.iter().collect()));
                }
            }
        }
        let mut counts = BTreeMap::new();
        for (offset, gram) in grams {
            let feature = offset + hash(gram.as_bytes()) % buckets;
            *counts.entry(u32::try_from(feature).unwrap()).or_default() += 1;
        }
        counts
    }

    fn counts(bag: &mut Bag, text: &str) -> BTreeMap<u32, u32> {
        let mut counts = BTreeMap::new();
        let mut last = None;
        bag.count(text, |feature, count| {
            assert!(last < Some(feature), "features come in ascending order");
            last = Some(feature);
            counts.insert(feature, count);
        });
        counts
    }

    #[test]
    fn the_hash_is_what_was_promised() {
        // FNV-1a's own test vectors, before the finaliser.
        let fnv = |text: &str| text.bytes().fold(START, step);
        assert_eq!(fnv(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv("foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(spread(0), 0);
        assert_eq!(hash(b"card arrival"), spread(fnv("card arrival")));
    }

    #[test]
    fn words_are_runs_or_single_signs_or_ideographs() {
        let text = "can't pay_me 3.5€ 床前 カナ 한국어 ok";
        let mut words = Vec::new();
        find_words(text, &mut words);
        let words: Vec<&str> = words.iter().map(|(from, to)| &text[*from..*to]).collect();
        let wanted = ["can", "'", "t", "pay_me", "3", ".", "5", "€", "床", "前", "カ", "ナ", "한국어", "ok"];
        assert_eq!(words, wanted);
    }

    #[test]
    fn buckets_are_spread_evenly() {
        let buckets: BTreeSet<u64> = (0..1000).map(|n| hash(format!("word{n}").as_bytes()) % 16384).collect();
        // 1000 balls in 16384 boxes: 970 boxes are hit on average.
        assert!((950..990).contains(&buckets.len()), "{}", buckets.len());
    }

    proptest::proptest! {
        #[test]
        fn the_quick_way_is_the_plain_way(text in "(?s)([a-cA-C,. \t\n床前é]|\\PC){0,40}", low in 1_u32..4, more in 0_u32..3) {
            let (words, characters) = ([1, 1 + more], [low, low + more]);
            let mut bag = Bag::new(words, characters, 512);
            let wanted = reference(&text, words.map(|n| n as usize), characters.map(|n| n as usize), 512);
            proptest::prop_assert_eq!(&counts(&mut bag, &text), &wanted);
            proptest::prop_assert_eq!(counts(&mut bag, &text), wanted);
        }
    }
}
