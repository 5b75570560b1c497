//! BERT's cleaning (Devlin et al. 2018, `tokenization.py`) as Hugging Face's `BertNormalizer` does it.
//!
//! ASCII and the Chinese characters that never decompose go character by character; what lies between them goes
//! through decomposition as one run, which gives the same because a starter ends any reordering.

use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::UnicodeNormalization;

/// The settings of a `BertNormalizer`.
#[derive(Debug, Clone)]
pub(crate) struct Bert {
    pub clean_text: bool,
    pub handle_chinese_chars: bool,
    pub strip_accents: Option<bool>,
    pub lowercase: bool,
}

/// What BERT's splitter takes for punctuation.
pub(crate) fn is_bert_punctuation(character: char) -> bool {
    if character.is_ascii() { character.is_ascii_punctuation() } else { character.is_punctuation() }
}

fn is_control(character: char) -> bool {
    !matches!(character, '\t' | '\n' | '\r') && character.is_other()
}

fn is_chinese(character: char) -> bool {
    matches!(u32::from(character), 0x4e00..=0x9fff | 0x3400..=0x4dbf | 0x2_0000..=0x2_a6df | 0x2_a700..=0x2_b73f
        | 0x2_b740..=0x2_b81f | 0x2_b920..=0x2_ceaf | 0xf900..=0xfaff | 0x2_f800..=0x2_fa1f)
}

impl Bert {
    pub fn apply(&self, text: &str) -> String {
        let mut new = String::with_capacity(text.len() + text.len() / 2);
        let mut run = String::new();
        for character in text.chars() {
            if character.is_ascii() {
                self.flush(&mut run, &mut new);
                self.ascii(character, &mut new);
            } else if self.handle_chinese_chars && matches!(u32::from(character), 0x4e00..=0x9fa5 | 0x3400..=0x4db5) {
                self.flush(&mut run, &mut new);
                new.extend([' ', character, ' ']);
            } else {
                run.push(character);
            }
        }
        self.flush(&mut run, &mut new);
        new
    }

    #[inline]
    fn ascii(&self, character: char, to: &mut String) {
        let character = if self.clean_text {
            match character {
                '\t' | '\n' | '\r' => ' ',
                '\0'..='\x1f' | '\x7f' => return,
                other => other,
            }
        } else {
            character
        };
        to.push(if self.lowercase { character.to_ascii_lowercase() } else { character });
    }

    /// All steps on a run without ASCII, one after the other.
    fn flush(&self, run: &mut String, to: &mut String) {
        if run.is_empty() {
            return;
        }
        let cleaned = run.chars().filter_map(|character| match character {
            _ if !self.clean_text => Some(character),
            '\u{fffd}' => None,
            _ if is_control(character) => None,
            _ if character.is_whitespace() => Some(' '),
            _ => Some(character),
        });
        let mut padded = String::with_capacity(run.len());
        for character in cleaned {
            if self.handle_chinese_chars && is_chinese(character) {
                padded.extend([' ', character, ' ']);
            } else {
                padded.push(character);
            }
        }
        let mut lower = |character: char| {
            if self.lowercase {
                to.extend(character.to_lowercase());
            } else {
                to.push(character);
            }
        };
        if self.strip_accents.unwrap_or(self.lowercase) {
            padded.nfd().filter(|(character, _)| !character.is_mark_nonspacing()).for_each(|(c, _)| lower(c));
        } else {
            padded.chars().for_each(lower);
        }
        run.clear();
    }
}
