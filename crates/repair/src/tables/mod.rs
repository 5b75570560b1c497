//! One table of flags by character, from which every scan of this crate reads: the part a character
//! plays in mojibake (`classes.rs`), the fixes that concern it, and whether normalisation might
//! change it. It is built on first use and takes about 100 KiB; equal blocks of 256 are kept once.

pub(crate) mod classes;
pub(crate) mod encodings;

use std::collections::HashMap;
use std::iter::once;
use std::sync::LazyLock;

use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, is_nfc_quick, is_nfd_quick, is_nfkc_quick, is_nfkd_quick};

pub(crate) const C1: u32 = 1;
pub(crate) const BAD: u32 = 1 << 1;
pub(crate) const LOWER_ACCENTED: u32 = 1 << 2;
pub(crate) const UPPER_ACCENTED: u32 = 1 << 3;
pub(crate) const BOX: u32 = 1 << 4;
pub(crate) const START: u32 = 1 << 5;
pub(crate) const END: u32 = 1 << 6;
pub(crate) const CURRENCY: u32 = 1 << 7;
pub(crate) const NUMERIC: u32 = 1 << 8;
pub(crate) const LAW: u32 = 1 << 9;
pub(crate) const LOWER_COMMON: u32 = 1 << 10;
pub(crate) const UPPER_COMMON: u32 = 1 << 11;
pub(crate) const KAOMOJI: u32 = 1 << 12;
pub(crate) const COMMON: u32 = 1 << 13;
/// How many of the lowest bits are the categories of the badness heuristic.
pub(crate) const CATEGORIES: u32 = 14;

pub(crate) const FIRST_OF_2: u32 = 1 << 14;
pub(crate) const FIRST_OF_3: u32 = 1 << 15;
pub(crate) const FIRST_OF_4: u32 = 1 << 16;
pub(crate) const CONTINUATION: u32 = 1 << 17;
pub(crate) const CONTINUATION_STRICT: u32 = 1 << 18;

/// Every match of the badness heuristic holds at least one of these.
pub(crate) const SUSPECT: u32 = 1 << 19;

pub(crate) const LIGATURE: u32 = 1 << 20;
pub(crate) const WIDTH: u32 = 1 << 21;
pub(crate) const QUOTE: u32 = 1 << 22;
pub(crate) const BREAK: u32 = 1 << 23;
pub(crate) const CONTROL: u32 = 1 << 24;
pub(crate) const ESCAPE: u32 = 1 << 25;
pub(crate) const AMPERSAND: u32 = 1 << 26;
pub(crate) const NFC: u32 = 1 << 27;
pub(crate) const NFD: u32 = 1 << 28;
pub(crate) const NFKC: u32 = 1 << 29;
pub(crate) const NFKD: u32 = 1 << 30;
/// Of the forms with [`WIDTH`] those of letters, digits, katakana and hangul.
pub(crate) const WIDTH_LETTERS: u32 = 1 << 31;

/// Characters from here on have no flags: nothing up there is repaired or decomposes.
const LIMIT: u32 = 0x30000;
const BLOCK: usize = 256;

/// Flags by character.
pub(crate) struct Table {
    pages: Vec<u16>,
    blocks: Vec<[u32; BLOCK]>,
}

impl Table {
    /// The table.
    pub(crate) fn get() -> &'static Self {
        static TABLE: LazyLock<Table> = LazyLock::new(Table::build);
        &TABLE
    }

    /// The flags of a character.
    #[inline]
    pub(crate) fn flags(&self, code: u32) -> u32 {
        match self.pages.get((code >> 8) as usize) {
            Some(&page) => self.blocks[page as usize][(code & 0xFF) as usize],
            None => 0,
        }
    }

    fn build() -> Self {
        let mut all = vec![0u32; LIMIT as usize];
        mark_categories(&mut all);
        mark_fixes(&mut all);
        for (code, flags) in all.iter_mut().enumerate().skip(0xA0) {
            if let Some(character) = char::from_u32(code as u32) {
                *flags |= normalization_flags(character);
            }
        }
        Self::pack(&all)
    }

    fn pack(all: &[u32]) -> Self {
        let mut known: HashMap<[u32; BLOCK], u16> = HashMap::new();
        let (mut pages, mut blocks) = (Vec::with_capacity(all.len() / BLOCK), Vec::new());
        for chunk in all.chunks_exact(BLOCK) {
            let mut block = [0u32; BLOCK];
            block.copy_from_slice(chunk);
            pages.push(*known.entry(block).or_insert_with(|| {
                blocks.push(block);
                (blocks.len() - 1) as u16
            }));
        }
        Self { pages, blocks }
    }
}

fn mark(all: &mut [u32], ranges: &[(u32, u32)], flag: u32) {
    for &(first, last) in ranges {
        for code in first..=last {
            all[code as usize] |= flag;
        }
    }
}

fn mark_categories(all: &mut [u32]) {
    for (ranges, flag) in [
        (classes::C1, C1),
        (classes::BAD, BAD),
        (classes::LOWER_ACCENTED, LOWER_ACCENTED),
        (classes::UPPER_ACCENTED, UPPER_ACCENTED),
        (classes::BOX, BOX),
        (classes::START_PUNCTUATION, START),
        (classes::END_PUNCTUATION, END),
        (classes::CURRENCY, CURRENCY),
        (classes::NUMERIC, NUMERIC),
        (classes::LAW, LAW),
        (classes::LOWER_COMMON, LOWER_COMMON),
        (classes::UPPER_COMMON, UPPER_COMMON),
        (classes::KAOMOJI, KAOMOJI),
        (classes::COMMON, COMMON),
        (classes::UTF8_FIRST_OF_2, FIRST_OF_2),
        (classes::UTF8_FIRST_OF_3, FIRST_OF_3),
        (classes::UTF8_FIRST_OF_4, FIRST_OF_4),
        (classes::UTF8_CONTINUATION, CONTINUATION),
        (classes::UTF8_CONTINUATION_STRICT, CONTINUATION_STRICT),
    ] {
        mark(all, ranges, flag);
    }
    let suspect = C1 | BAD | LOWER_ACCENTED | UPPER_ACCENTED | BOX | START | END | CURRENCY | NUMERIC | LAW;
    for flags in all.iter_mut() {
        if *flags & suspect != 0 {
            *flags |= SUSPECT;
        }
    }
    // The degree sign and U with grave draw faces, the Cyrillic Dje is a letter, yet rules hang on them alone.
    for character in ['°', 'Ù', 'Ђ'] {
        all[character as usize] |= SUSPECT;
    }
}

fn mark_fixes(all: &mut [u32]) {
    let ligatures: &[(u32, u32)] = &[(0x132, 0x133), (0x149, 0x149), (0x1C4, 0x1CC), (0x1F1, 0x1F3), (0xFB00, 0xFB06)];
    mark(all, ligatures, LIGATURE);
    mark(all, &[(0x3000, 0x3000)], WIDTH);
    for code in 0xFF01..0xFFF0u32 {
        if let Some(character) = char::from_u32(code)
            && is_nfkc_quick(once(character)) == IsNormalized::No
        {
            let letter = matches!(character, '０'..='９' | 'Ａ'..='Ｚ' | 'ａ'..='ｚ' | '\u{FF61}'..='\u{FFDC}');
            all[code as usize] |= if letter { WIDTH | WIDTH_LETTERS } else { WIDTH };
        }
    }
    mark(all, &[(0x2BC, 0x2BC), (0x2018, 0x201B), (0x201C, 0x201F)], QUOTE);
    mark(all, &[(0x0D, 0x0D), (0x85, 0x85), (0x2028, 0x2029)], BREAK);
    let controls: &[(u32, u32)] =
        &[(0, 8), (0x0B, 0x0B), (0x0E, 0x1F), (0x7F, 0x7F), (0x206A, 0x206F), (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFC)];
    mark(all, controls, CONTROL);
    mark(all, &[(0x1B, 0x1B)], ESCAPE);
    mark(all, &[('&' as u32, '&' as u32)], AMPERSAND);
}

/// In which forms a text with this character might not be normalised.
fn normalization_flags(character: char) -> u32 {
    if canonical_combining_class(character) != 0 {
        return NFC | NFD | NFKC | NFKD;
    }
    let mut flags = 0;
    for (quick, flag) in [
        (is_nfc_quick(once(character)), NFC),
        (is_nfd_quick(once(character)), NFD),
        (is_nfkc_quick(once(character)), NFKC),
        (is_nfkd_quick(once(character)), NFKD),
    ] {
        if quick != IsNormalized::Yes {
            flags |= flag;
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scan skips bytes 0xE4 to 0xE9 unseen.
    #[test]
    fn nothing_from_4000_to_9fff_is_ever_repaired() {
        let table = Table::get();
        for code in 0x4000..0xA000 {
            assert_eq!(table.flags(code), 0, "U+{code:04X}");
        }
        for code in LIMIT..0x110000 {
            if let Some(character) = char::from_u32(code) {
                assert_eq!(normalization_flags(character), 0, "U+{code:04X}");
            }
        }
    }
}
