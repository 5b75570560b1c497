//! SentencePiece's compiled map of characters (T5, XLM-R, ALBERT): a Darts double array over byte strings, whose values
//! point into a text of replacements that end with a zero byte (sentencepiece, `normalizer.cc`).

use base64::Engine as _;
use unicode_segmentation::UnicodeSegmentation;

use crate::error::TokenizerError;

/// The map.
#[derive(Debug, Clone)]
pub(crate) struct Precompiled {
    units: Vec<u32>,
    replacements: String,
}

impl Precompiled {
    pub fn read(base64: &str) -> Result<Self, TokenizerError> {
        let damaged = || TokenizerError::damaged("its precompiled_charsmap is none");
        let bytes = base64::engine::general_purpose::STANDARD.decode(base64).map_err(|_| damaged())?;
        let (size, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let size = u32::from_le_bytes(*size) as usize / 4 * 4;
        let (units, replacements) = rest.split_at_checked(size).ok_or_else(damaged)?;
        let units: Vec<u32> = units.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        let replacements = String::from_utf8(replacements.to_vec()).map_err(|_| damaged())?;
        if units.is_empty() {
            return Err(damaged());
        }
        Ok(Self { units, replacements })
    }

    pub fn apply(&self, text: &str) -> String {
        let mut new = String::with_capacity(text.len());
        for grapheme in text.graphemes(true) {
            // Longer clusters are looked up by character only: SentencePiece's doing, and Hugging Face's.
            if grapheme.len() < 6
                && let Some(replacement) = self.find(grapheme)
            {
                new.push_str(replacement);
                continue;
            }
            for (index, character) in grapheme.char_indices() {
                let part = &grapheme[index..index + character.len_utf8()];
                match self.find(part) {
                    Some(replacement) => new.push_str(replacement),
                    None => new.push(character),
                }
            }
        }
        new
    }

    /// The replacement of the shortest entry that the part begins with.
    fn find(&self, part: &str) -> Option<&str> {
        let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let mut node = offset(self.units[0]);
        for byte in part.bytes() {
            if byte == 0 {
                return None;
            }
            node ^= byte as usize;
            let unit = *self.units.get(node)?;
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                return None;
            }
            node ^= offset(unit);
            if (unit >> 8) & 1 == 1 {
                let begin = (self.units.get(node)? & 0x7fff_ffff) as usize;
                let rest = self.replacements.get(begin..)?;
                return Some(rest.split('\0').next().unwrap_or(rest));
            }
        }
        None
    }
}
