//! How new a text's words are, against the words of half of the training rows, kept in 8 KiB.
//!
//! Every second text of training teaches its words; of the others the share of words that were not
//! taught is measured when all texts were seen. So the baseline tells how many new words a text of the
//! same kind has, and served traffic is measured against the same words.

use serde::{Deserialize, Serialize};

/// Bits of the set; a word sets one of them.
const BITS: usize = 1 << 16;
/// As many texts wait to be measured; later ones are measured against what was taught until then.
const WAITING_MAX: usize = 1 << 13;
/// No more words of one text are looked at.
const WORDS_MAX: usize = 256;

/// The words that were taught, and the texts that wait to be measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Words {
    /// Empty where the column has no text.
    bits: Vec<u64>,
    /// The texts that were seen while learning; nothing once learning has ended.
    learning: Option<Learning>,
    /// Whether this is traffic, which does not write the words down.
    hidden: bool,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Learning {
    texts: u64,
    waiting: Vec<Vec<u16>>,
}

impl Words {
    /// A baseline under way.
    pub fn learning() -> Self {
        Self { bits: vec![0; BITS / 64], learning: Some(Learning::default()), hidden: false }
    }

    /// The same words, to measure traffic.
    pub fn like(&self) -> Self {
        Self { bits: self.bits.clone(), learning: None, hidden: true }
    }

    /// Whether there is nothing to write down.
    pub fn is_hidden(&self) -> bool {
        self.hidden || self.bits.is_empty()
    }

    /// Looks at a text: the share of its words that are new, where that can be told now.
    pub fn observe(&mut self, text: &str) -> Option<f64> {
        if self.bits.is_empty() {
            return None;
        }
        let words = hashes(text);
        if let Some(learning) = &mut self.learning {
            learning.texts += 1;
            if learning.texts % 2 == 1 {
                words.iter().for_each(|word| self.bits[usize::from(*word) / 64] |= 1 << (word % 64));
                return None;
            }
            if learning.waiting.len() < WAITING_MAX {
                learning.waiting.push(words);
                return None;
            }
        }
        self.share(&words)
    }

    /// Ends learning: the shares of new words of the texts that waited.
    pub fn settle(&mut self) -> Vec<f64> {
        let waiting = self.learning.take().unwrap_or_default().waiting;
        waiting.iter().filter_map(|words| self.share(words)).collect()
    }

    fn share(&self, words: &[u16]) -> Option<f64> {
        let new = words.iter().filter(|word| self.bits[usize::from(**word) / 64] >> (*word % 64) & 1 == 0).count();
        (!words.is_empty()).then(|| new as f64 / words.len() as f64)
    }
}

impl From<Words> for String {
    fn from(words: Words) -> Self {
        words.bits.iter().map(|bits| format!("{bits:016x}")).collect()
    }
}

impl TryFrom<String> for Words {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "the words of a sketch are damaged";
        if !text.is_empty() && (text.len() != BITS / 4 || !text.is_ascii()) {
            return Err(WRONG);
        }
        let chunk = |at: usize| u64::from_str_radix(&text[at..at + 16], 16).map_err(|_| WRONG);
        let bits = (0..text.len()).step_by(16).map(chunk).collect::<Result<_, _>>()?;
        Ok(Self { bits, learning: None, hidden: false })
    }
}

/// A hash of each word: a run of letters and digits in lower case, or one Chinese or Japanese
/// character.
fn hashes(text: &str) -> Vec<u16> {
    // FNV-1a (Fowler, Noll & Vo), folded to 16 bits.
    const START: u32 = 0x811c_9dc5;
    let mut words = Vec::new();
    let mut hash = START;
    let mut end = |hash: &mut u32| {
        if *hash != START && words.len() < WORDS_MAX {
            words.push((*hash >> 16 ^ *hash) as u16);
        }
        *hash = START;
    };
    for character in text.chars().flat_map(char::to_lowercase) {
        let alone = stands_alone(character);
        if alone || !character.is_alphanumeric() {
            end(&mut hash);
        }
        if character.is_alphanumeric() {
            let bytes = u32::from(character).to_le_bytes();
            hash = bytes.iter().fold(hash, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
        }
        if alone {
            end(&mut hash);
        }
    }
    end(&mut hash);
    words
}

/// Whether a character is a word by itself: ideographs and kana, which are written without blanks.
fn stands_alone(character: char) -> bool {
    matches!(u32::from(character), 0x3040..=0x30ff | 0x3400..=0x9fff | 0xf900..=0xfaff | 0x2_0000..=0x3_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_or_single_ideographs() {
        assert_eq!(hashes("My card, MY card!"), [hashes("my"), hashes("card"), hashes("my"), hashes("card")].concat());
        assert_eq!(hashes("春眠a1不"), [hashes("春"), hashes("眠"), hashes("a1"), hashes("不")].concat());
        assert!(hashes(" ,.!").is_empty());
        assert_eq!(hashes(&"x ".repeat(1000)).len(), WORDS_MAX);
    }

    #[test]
    fn half_of_the_texts_teach_and_the_others_are_measured() {
        let mut words = Words::learning();
        for text in ["my card", "my card", "my loan", "your house today now"] {
            assert_eq!(words.observe(text), None);
        }
        let mut baseline = words.clone();
        assert_eq!(baseline.settle(), [0.0, 1.0]);
        let mut traffic = baseline.like();
        assert_eq!(traffic.observe("My LOAN"), Some(0.0));
        assert_eq!(traffic.observe("my xylophone"), Some(0.5));
        assert_eq!(traffic.observe("?"), None);
    }

    #[test]
    fn they_are_written_and_read() {
        let mut words = Words::learning();
        words.observe("my card");
        words.settle();
        let json = serde_json::to_string(&words).unwrap();
        assert_eq!(serde_json::from_str::<Words>(&json).unwrap(), words);
        for rubbish in ["\"12\"", "\"é\"", "1"] {
            assert!(serde_json::from_str::<Words>(rubbish).is_err(), "{rubbish}");
        }
    }
}
