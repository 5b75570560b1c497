//! Counts of kinds of characters. ASCII is counted by a histogram of its bytes, the rest one by one.

use words::{ALPHABETIC, ALPHANUMERIC, DIGIT, SPACE, UPPER_CASE, classes};

/// Chinese characters that running text is full of, simplified and traditional.
const CHINESE_STOP: &str =
    "的是了在不和有我他她它这這个個们們来來就说說也都与與为為之以而于於对對上下中到要会會着著过過地得把被从從但所又很";
const CHINESE_PUNCTUATION: &str = "，。、；：？！“”‘’（）《》〈〉「」『』【】…—·～";

/// How many characters of each kind a text has.
#[derive(Clone, Debug)]
pub(crate) struct CharacterCounts {
    pub characters: u64,
    pub digits: u64,
    pub upper_case: u64,
    pub letters: u64,
    pub alphanumeric: u64,
    pub white_space: u64,
    pub cjk: u64,
    pub han: u64,
    pub chinese_stop: u64,
    pub chinese_punctuation: u64,
    pub ellipses: u64,
    /// How often each byte occurs.
    pub bytes: [u32; 256],
}

impl CharacterCounts {
    pub fn of(text: &str) -> Self {
        let bytes = histogram(text.as_bytes());
        let table = classes();
        let ascii = |bits: u32| -> u64 {
            (0u8..128)
                .filter(|byte| table.of_byte(*byte) & bits != 0)
                .map(|byte| u64::from(bytes[usize::from(byte)]))
                .sum()
        };
        let continued: u64 = bytes[0x80..0xc0].iter().map(|count| u64::from(*count)).sum();
        let mut out = Self {
            characters: text.len() as u64 - continued,
            digits: ascii(DIGIT),
            upper_case: ascii(UPPER_CASE),
            letters: ascii(ALPHABETIC),
            alphanumeric: ascii(ALPHANUMERIC),
            white_space: ascii(SPACE),
            cjk: 0,
            han: 0,
            chinese_stop: 0,
            chinese_punctuation: 0,
            ellipses: 0,
            bytes,
        };
        if out.characters < text.len() as u64 {
            out.add_wide(text);
        }
        out
    }

    fn add_wide(&mut self, text: &str) {
        let table = classes();
        let bytes = text.as_bytes();
        let mut at = 0;
        while let Some(next) = first_wide(bytes, at) {
            let Some(character) = text[next..].chars().next() else { return };
            at = next + character.len_utf8();
            let bits = table.of(character);
            self.digits += u64::from(bits & DIGIT != 0);
            self.upper_case += u64::from(bits & UPPER_CASE != 0);
            self.letters += u64::from(bits & ALPHABETIC != 0);
            self.alphanumeric += u64::from(bits & ALPHANUMERIC != 0);
            self.white_space += u64::from(bits & SPACE != 0);
            self.ellipses += u64::from(character == '…');
            if character < '\u{2000}' {
                continue;
            }
            if is_han(character) {
                self.han += 1;
                self.cjk += 1;
                self.chinese_stop += u64::from(CHINESE_STOP.contains(character));
            } else if matches!(character, '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{ac00}'..='\u{d7a3}') {
                self.cjk += 1;
            } else {
                self.chinese_punctuation += u64::from(CHINESE_PUNCTUATION.contains(character));
            }
        }
    }

    /// Whether there may be line ends other than `\n`.
    pub fn may_have_other_line_ends(&self) -> bool {
        let has = |byte: usize| self.bytes[byte] > 0;
        [0x0b, 0x0c, 0x0d, 0x1c, 0x1d, 0x1e].into_iter().any(has)
            || has(0xc2) && has(0x85)
            || has(0xe2) && has(0x80) && (has(0xa8) || has(0xa9))
    }
}

/// Whether a character is a Chinese one.
pub(crate) fn is_han(character: char) -> bool {
    matches!(u32::from(character), 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x323af)
}

/// The first byte of a character beyond ASCII, from here on.
#[inline]
fn first_wide(bytes: &[u8], mut at: usize) -> Option<usize> {
    while at + 8 <= bytes.len() {
        let high = crate::hash::load(bytes, at) & 0x8080_8080_8080_8080;
        if high != 0 {
            return Some(at + high.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    (at..bytes.len()).find(|at| bytes[*at] >= 0x80)
}

/// Four tables, so that equal bytes in a row do not wait for each other.
fn histogram(bytes: &[u8]) -> [u32; 256] {
    let mut tables = [[0u32; 256]; 4];
    let mut fours = bytes.chunks_exact(4);
    for four in &mut fours {
        for (table, byte) in tables.iter_mut().zip(four) {
            table[usize::from(*byte)] += 1;
        }
    }
    for byte in fours.remainder() {
        tables[0][usize::from(*byte)] += 1;
    }
    let [mut out, rest @ ..] = tables;
    for table in rest {
        for (sum, count) in out.iter_mut().zip(table) {
            *sum += count;
        }
    }
    out
}
