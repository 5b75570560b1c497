//! What kind each character is, as the rules of spaCy and Python's own string methods see it.
//!
//! The table is read off the peers by `crates/xtask/peers/words_tables.py` (spaCy's classes are MIT;
//! Python 3.11's Unicode database is version 14). It is kept as ranges and unpacked once into two stages.

use std::sync::LazyLock;

/// Python's `str.isspace`.
pub const SPACE: u32 = 1;
/// Python's `str.isalpha`.
pub const ALPHABETIC: u32 = 1 << 1;
/// Is split off the front of a chunk.
pub(crate) const PREFIX: u32 = 1 << 2;
/// Is split off the end of a chunk.
pub(crate) const SUFFIX: u32 = 1 << 3;
/// A full stop after it is split off the end of a chunk.
pub(crate) const BEFORE_STOP: u32 = 1 << 4;
/// spaCy's letters.
pub(crate) const LETTER: u32 = 1 << 5;
/// spaCy's lower-case and uncased letters.
pub(crate) const LOWER: u32 = 1 << 6;
/// spaCy's upper-case and uncased letters.
pub(crate) const UPPER: u32 = 1 << 7;
/// spaCy's quotation marks.
pub(crate) const QUOTE: u32 = 1 << 8;
/// spaCy's symbols, emoji among them.
pub(crate) const ICON: u32 = 1 << 9;
/// May stand in a host's name.
pub(crate) const HOST: u32 = 1 << 10;
/// `\w` of Python's regular expressions.
pub const WORD: u32 = 1 << 11;
/// `\d` of Python's regular expressions: any script's decimal digit.
pub const DIGIT: u32 = 1 << 12;
/// The Unicode categories P*.
pub const PUNCTUATION: u32 = 1 << 13;
/// Ends a sentence when it is a token of its own.
pub(crate) const SENTENCE_END: u32 = 1 << 14;
/// datatrove's `PUNCTUATION_SET`: a word of nothing else is a symbol.
pub const SYMBOL: u32 = 1 << 15;
/// datatrove's `PUNCTUATION`, which [`crate::simplify`] makes spaces.
pub(crate) const ERASED: u32 = 1 << 16;
/// datatrove's `TERMINAL_PUNCTUATION`: a line that ends so ends well.
pub const TERMINAL: u32 = 1 << 17;
/// The Unicode category Mn, the accents of decomposed letters.
pub(crate) const MARK: u32 = 1 << 18;
/// Python's `str.isupper`.
pub const UPPER_CASE: u32 = 1 << 19;
/// Python's `str.isalnum`.
pub const ALPHANUMERIC: u32 = 1 << 20;

const RANGES: &str = include_str!("../data/classes.txt");
const BLOCK: usize = 256;

/// The classes of every character.
pub struct Classes {
    block_of: Vec<u16>,
    bits: Vec<u32>,
}

static CLASSES: LazyLock<Classes> = LazyLock::new(Classes::unpack);

/// The table. Take it once outside a loop: the first call unpacks it.
pub fn classes() -> &'static Classes {
    &CLASSES
}

impl Classes {
    fn unpack() -> Self {
        let mut flat = vec![0u32; 0x11_0000];
        for line in RANGES.lines() {
            let mut fields = line.split(' ').map(|field| usize::from_str_radix(field, 16).unwrap_or(0));
            let (first, last, bits) = (fields.next(), fields.next(), fields.next());
            if let (Some(first), Some(last), Some(bits)) = (first, last, bits) {
                flat[first..=last].fill(bits as u32);
            }
        }
        let mut block_of = Vec::with_capacity(flat.len() / BLOCK);
        let mut bits: Vec<u32> = Vec::new();
        for block in flat.chunks_exact(BLOCK) {
            let known = bits.chunks_exact(BLOCK).position(|seen| seen == block);
            block_of.push(known.unwrap_or(bits.len() / BLOCK) as u16);
            if known.is_none() {
                bits.extend_from_slice(block);
            }
        }
        Self { block_of, bits }
    }

    /// The classes of a character, as bits.
    #[inline]
    pub fn of(&self, character: char) -> u32 {
        let point = character as usize;
        self.bits[usize::from(self.block_of[point / BLOCK]) * BLOCK + point % BLOCK]
    }

    /// The classes of an ASCII byte, as bits; of no use above 127.
    #[inline]
    pub fn of_byte(&self, byte: u8) -> u32 {
        self.bits[usize::from(byte)]
    }

    /// Whether a character has one of the classes.
    #[inline]
    pub fn is(&self, character: char, bits: u32) -> bool {
        self.of(character) & bits != 0
    }
}
