//! Classes of characters, as regular expressions mean them.
//!
//! The ranges come from `regex-syntax`, which is also what Hugging Face's engine reads: the hand-written
//! splitters and the expressions they stand for agree by construction. The table has two stages: 256
//! characters share a block, and equal blocks are stored once.

use std::collections::HashMap;
use std::sync::OnceLock;

use regex_syntax::hir::{Class, HirKind};

/// `\p{L}`
pub(crate) const LETTER: u8 = 1;
/// `\p{N}`
pub(crate) const NUMBER: u8 = 2;
/// `\p{M}`
pub(crate) const MARK: u8 = 4;
/// `[\p{P}\p{S}]`
pub(crate) const SIGN: u8 = 8;
/// `\s`
pub(crate) const SPACE: u8 = 16;
/// `\w`
pub(crate) const WORD: u8 = 32;

/// The classes of every character.
pub(crate) struct Classes {
    pub ascii: [u8; 128],
    block_of: Vec<u16>,
    blocks: Vec<[u8; 256]>,
}

/// The table, built at its first use.
pub(crate) fn classes() -> &'static Classes {
    static TABLE: OnceLock<Classes> = OnceLock::new();
    TABLE.get_or_init(build)
}

impl Classes {
    /// The classes of a character.
    #[inline]
    pub fn of(&self, character: u32) -> u8 {
        if let Some(class) = self.ascii.get(character as usize) {
            return *class;
        }
        let Some(block) = self.block_of.get((character >> 8) as usize) else { return 0 };
        self.blocks[*block as usize][(character & 0xff) as usize]
    }

    /// The classes of the character that begins at a byte of a valid text, and its bytes.
    #[inline]
    pub fn at(&self, text: &[u8], index: usize) -> (u8, usize) {
        let first = text[index];
        if first < 128 {
            return (self.ascii[first as usize], 1);
        }
        let (character, bytes) = decode(text, index);
        (self.of(character), bytes)
    }
}

/// The character that begins at a byte of a valid text, and its bytes.
#[inline]
pub(crate) fn decode(text: &[u8], index: usize) -> (u32, usize) {
    let first = u32::from(text[index]);
    let rest = |offset: usize| u32::from(text.get(index + offset).copied().unwrap_or(0) & 0x3f);
    match first {
        0..0x80 => (first, 1),
        0x80..0xe0 => ((first & 0x1f) << 6 | rest(1), 2),
        0xe0..0xf0 => ((first & 0x0f) << 12 | rest(1) << 6 | rest(2), 3),
        _ => ((first & 0x07) << 18 | rest(1) << 12 | rest(2) << 6 | rest(3), 4),
    }
}

fn build() -> Classes {
    let mut flat = vec![0_u8; 0x11_0000];
    let wanted = [
        (r"\p{L}", LETTER),
        (r"\p{N}", NUMBER),
        (r"\p{M}", MARK),
        (r"[\p{P}\p{S}]", SIGN),
        (r"\s", SPACE),
        (r"\w", WORD),
    ];
    for (pattern, bit) in wanted {
        for (first, last) in ranges(pattern) {
            for class in &mut flat[first as usize..=last as usize] {
                *class |= bit;
            }
        }
    }
    let mut ascii = [0; 128];
    ascii.copy_from_slice(&flat[..128]);
    let (mut blocks, mut known) = (Vec::new(), HashMap::new());
    let block_of = flat
        .chunks_exact(256)
        .map(|chunk| {
            *known.entry(chunk.to_vec()).or_insert_with(|| {
                let mut block = [0; 256];
                block.copy_from_slice(chunk);
                blocks.push(block);
                (blocks.len() - 1) as u16
            })
        })
        .collect();
    Classes { ascii, block_of, blocks }
}

/// The ranges of a class of characters, both ends included.
fn ranges(pattern: &str) -> Vec<(u32, u32)> {
    // The patterns are constants, and the test below sees that each gives ranges.
    let Ok(hir) = regex_syntax::Parser::new().parse(pattern) else { return Vec::new() };
    let HirKind::Class(Class::Unicode(class)) = hir.kind() else { return Vec::new() };
    class.ranges().iter().map(|range| (u32::from(range.start()), u32::from(range.end()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_the_expressions() {
        let table = classes();
        for (pattern, bit) in [
            (r"^\p{L}$", LETTER),
            (r"^\p{N}$", NUMBER),
            (r"^\p{M}$", MARK),
            (r"^[\p{P}\p{S}]$", SIGN),
            (r"^\s$", SPACE),
        ] {
            let regex = fancy_regex::Regex::new(pattern).unwrap();
            let mut buffer = [0; 4];
            for character in ('\0'..='\u{ffff}').chain('\u{1f000}'..='\u{21000}') {
                let text = character.encode_utf8(&mut buffer);
                let (class, bytes) = table.at(text.as_bytes(), 0);
                assert_eq!(bytes, text.len());
                assert_eq!(class & bit != 0, regex.is_match(text).unwrap(), "{character:?} {pattern}");
            }
        }
    }

    #[test]
    fn every_character_decodes() {
        let mut buffer = [0; 4];
        for character in '\0'..=char::MAX {
            let text = character.encode_utf8(&mut buffer);
            assert_eq!(decode(text.as_bytes(), 0), (u32::from(character), text.len()));
        }
    }
}
