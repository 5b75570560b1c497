//! Bytes as the finders see them: words, borders, and the characters of a value without separators.

/// True for an ASCII letter or digit.
#[inline]
pub(crate) const fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// True if the character that ends before `at` belongs to a word.
///
/// Letters of two bytes in UTF-8 (Latin with marks, Greek, Cyrillic, Arabic …) count; characters of three
/// bytes and more (Han, Hangul, Thai, punctuation) do not, because those scripts write no spaces
/// beside figures.
#[inline]
pub(crate) fn word_before(text: &[u8], at: usize) -> bool {
    let Some(last) = at.checked_sub(1).and_then(|index| text.get(index)) else { return false };
    if last.is_ascii() {
        return is_alphanumeric(*last) || *last == b'_';
    }
    at >= 2 && matches!(text[at - 2], 0xC3..=0xDF)
}

/// True if the character at `at` belongs to a word; see [`word_before`].
#[inline]
pub(crate) fn word_after(text: &[u8], at: usize) -> bool {
    match text.get(at) {
        Some(byte) if byte.is_ascii() => is_alphanumeric(*byte) || *byte == b'_',
        Some(byte) => matches!(byte, 0xC3..=0xDF),
        None => false,
    }
}

/// The end of the ASCII letters and digits that start at `at`.
#[inline]
pub(crate) fn run_end(text: &[u8], mut at: usize) -> usize {
    while at < text.len() && is_alphanumeric(text[at]) {
        at += 1;
    }
    at
}

/// The start of the ASCII letters and digits that end before `at`, not before `floor`.
#[inline]
pub(crate) fn run_start(text: &[u8], mut at: usize, floor: usize) -> usize {
    while at > floor && is_alphanumeric(text[at - 1]) {
        at -= 1;
    }
    at
}

/// The longest value that a check looks at, without its separators.
const CHARACTERS_MAX: usize = 40;

/// The letters (in upper case) and digits of a value, without separators, on the stack.
pub(crate) struct Compact {
    characters: [u8; CHARACTERS_MAX],
    count: usize,
}

impl Compact {
    /// The letters and digits of `raw`; what is beyond the longest is cut.
    pub(crate) fn of(raw: &[u8]) -> Self {
        let mut compact = Self { characters: [0; CHARACTERS_MAX], count: 0 };
        for byte in raw.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
            if compact.count == CHARACTERS_MAX {
                break;
            }
            compact.characters[compact.count] = byte.to_ascii_uppercase();
            compact.count += 1;
        }
        compact
    }

    /// The digits of `raw` only.
    pub(crate) fn digits_of(raw: &[u8]) -> Self {
        let mut compact = Self { characters: [0; CHARACTERS_MAX], count: 0 };
        for byte in raw.iter().filter(|byte| byte.is_ascii_digit()) {
            if compact.count == CHARACTERS_MAX {
                break;
            }
            compact.characters[compact.count] = *byte;
            compact.count += 1;
        }
        compact
    }

    /// The characters.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.characters[..self.count]
    }
}

/// The number that decimal digits write; other bytes count as nothing sensible.
pub(crate) fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0u64, |sum, byte| sum.wrapping_mul(10).wrapping_add(u64::from(byte.wrapping_sub(b'0'))))
}
