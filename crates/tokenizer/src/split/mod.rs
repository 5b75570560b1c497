//! Splitting a text by an expression: hand-written scanners for the expressions of the well-known vocabularies, and
//! the regular expression itself for all others.
//!
//! Every scanner gives exactly the matches of its expression; the tests hold them to `fancy-regex` on random texts.

mod scan;

use fancy_regex::Regex;

use crate::error::TokenizerError;

/// GPT-2's expression, which is also that of a `ByteLevel` step with `use_regex`.
pub(crate) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3's expression (that of OpenAI's `cl100k_base`, without possessive runs).
pub(crate) const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen's expression: as Llama 3's, each digit on its own.
pub(crate) const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The first of DeepSeek-V3's three expressions: up to three digits.
pub(crate) const DIGITS3: &str = r"\p{N}{1,3}";
/// The second: runs of Chinese characters and kana.
pub(crate) const HAN_KANA: &str = "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+";
/// The third.
pub(crate) const DEEPSEEK3: &str = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";

/// What a text is split by.
#[derive(Debug, Clone)]
pub(crate) enum Pattern {
    Gpt2,
    /// Llama 3's and Qwen's, with the most digits of a number.
    Llama3 {
        digits: u32,
    },
    Digits3,
    HanKana,
    DeepSeek3,
    Literal(String),
    Regex(Box<Regex>),
}

/// What becomes of the matches; the names are those of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behavior {
    Removed,
    Isolated,
    MergedWithPrevious,
    MergedWithNext,
    Contiguous,
}

impl Behavior {
    pub fn of(name: &str) -> Result<Self, TokenizerError> {
        Ok(match name {
            "Removed" => Self::Removed,
            "Isolated" => Self::Isolated,
            "MergedWithPrevious" => Self::MergedWithPrevious,
            "MergedWithNext" => Self::MergedWithNext,
            "Contiguous" => Self::Contiguous,
            other => return Err(TokenizerError::unsupported(format!("the split behavior {other:?}"))),
        })
    }
}

impl Pattern {
    /// The scanner of an expression, or the expression.
    pub fn regex(expression: &str) -> Result<Self, TokenizerError> {
        Ok(match expression {
            GPT2 => Self::Gpt2,
            LLAMA3 => Self::Llama3 { digits: 3 },
            QWEN2 => Self::Llama3 { digits: 1 },
            DIGITS3 => Self::Digits3,
            HAN_KANA => Self::HanKana,
            DEEPSEEK3 => Self::DeepSeek3,
            other => match Regex::new(other) {
                Ok(regex) => Self::Regex(Box::new(regex)),
                Err(error) => return Err(TokenizerError::unsupported(format!("the expression {other:?} ({error})"))),
            },
        })
    }

    /// Every piece of the text in order, and whether it is a match. No piece is empty, unless a match is.
    pub fn pieces<'t>(
        &self,
        text: &'t str,
        emit: &mut (impl FnMut(&'t str, bool) + ?Sized),
    ) -> Result<(), TokenizerError> {
        match self {
            Self::Gpt2 => scan::whole(text, scan::gpt2, emit),
            Self::Llama3 { digits } => {
                scan::whole(text, |table, text, at| scan::llama3(table, text, at, *digits), emit);
            }
            Self::Digits3 => scan::runs(text, scan::digits, emit),
            Self::HanKana => scan::runs(text, scan::han_kana, emit),
            Self::DeepSeek3 => scan::whole(text, scan::deepseek, emit),
            Self::Literal(literal) => {
                let mut end = 0;
                for (start, found) in text.match_indices(literal.as_str()) {
                    if end < start {
                        emit(&text[end..start], false);
                    }
                    emit(found, true);
                    end = start + found.len();
                }
                if end < text.len() {
                    emit(&text[end..], false);
                }
            }
            Self::Regex(regex) => {
                let mut end = 0;
                for found in regex.find_iter(text) {
                    // Hugging Face stops here without a word, and gives other tokens.
                    let found = found.map_err(|error| TokenizerError::Encode { what: error.to_string() })?;
                    if end < found.start() {
                        emit(&text[end..found.start()], false);
                    }
                    emit(found.as_str(), true);
                    end = found.end();
                }
                if end < text.len() {
                    emit(&text[end..], false);
                }
            }
        }
        Ok(())
    }
}

/// Splits by matches, as a `Split` step does; empty pieces are left out.
pub(crate) fn split<'t>(
    pattern: &Pattern,
    behavior: Behavior,
    invert: bool,
    text: &'t str,
    emit: &mut (impl FnMut(&'t str) + ?Sized),
) -> Result<(), TokenizerError> {
    if behavior == Behavior::Isolated {
        return pattern.pieces(text, &mut |piece, _| {
            if !piece.is_empty() {
                emit(piece);
            }
        });
    }
    let mut merger = Merger::new(text, behavior);
    pattern.pieces(text, &mut |piece, matched| merger.push(piece.len(), matched != invert, emit))?;
    merger.finish(emit);
    Ok(())
}

/// Splits by single characters.
pub(crate) fn split_characters<'t>(
    is_match: impl Fn(char) -> bool,
    behavior: Behavior,
    text: &'t str,
    emit: &mut (impl FnMut(&'t str) + ?Sized),
) {
    let mut merger = Merger::new(text, behavior);
    let mut begin = 0;
    for (index, character) in text.char_indices() {
        if is_match(character) {
            if begin < index {
                merger.push(index - begin, false, emit);
            }
            begin = index + character.len_utf8();
            merger.push(begin - index, true, emit);
        }
    }
    if begin < text.len() {
        merger.push(text.len() - begin, false, emit);
    }
    merger.finish(emit);
}

/// Puts pieces together as a [`Behavior`] says. The pieces come one after the other and cover the text.
struct Merger<'t> {
    text: &'t str,
    behavior: Behavior,
    /// The piece that is not given out yet.
    open: std::ops::Range<usize>,
    open_matched: bool,
}

impl<'t> Merger<'t> {
    fn new(text: &'t str, behavior: Behavior) -> Self {
        Self { text, behavior, open: 0..0, open_matched: false }
    }

    fn push(&mut self, bytes: usize, matched: bool, emit: &mut (impl FnMut(&'t str) + ?Sized)) {
        let joins = !self.open.is_empty()
            && match self.behavior {
                Behavior::Removed | Behavior::Isolated => false,
                Behavior::Contiguous => matched == self.open_matched,
                Behavior::MergedWithPrevious => matched && !self.open_matched,
                Behavior::MergedWithNext => self.open_matched && !matched,
            };
        let end = self.open.end + bytes;
        if joins {
            self.open.end = end;
        } else {
            self.finish(emit);
            self.open = self.open.end..end;
        }
        self.open_matched = matched;
    }

    fn finish(&mut self, emit: &mut (impl FnMut(&'t str) + ?Sized)) {
        let removed = self.behavior == Behavior::Removed && self.open_matched;
        if !self.open.is_empty() && !removed {
            emit(&self.text[self.open.clone()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ours(pattern: &Pattern, text: &str) -> Vec<(String, bool)> {
        let mut pieces = Vec::new();
        pattern.pieces(text, &mut |piece, matched| pieces.push((piece.to_owned(), matched))).unwrap();
        pieces
    }

    fn same(text: &str) {
        for expression in [GPT2, LLAMA3, QWEN2, DIGITS3, HAN_KANA, DEEPSEEK3] {
            let regex = Pattern::Regex(Box::new(Regex::new(expression).unwrap()));
            let known = Pattern::regex(expression).unwrap();
            assert!(!matches!(known, Pattern::Regex(_)));
            assert_eq!(ours(&known, text), ours(&regex, text), "{text:?} by {expression}");
        }
    }

    #[test]
    fn scanners_give_what_their_expressions_give() {
        for text in [
            "",
            " ",
            "  a",
            "a  ",
            "\n",
            " \n ",
            "a \n\r\n  b",
            "I'm I'LL he'ſ 'D 're'",
            "don''t",
            "12345 678",
            " 12",
            "x=\"y\" <b>z</b>\r\n",
            "床前明月光，疑是地上霜。",
            "カタ・カナ゛が",
            "é e\u{301} \u{301}a",
            "\u{200b}a\u{200d}b \u{ad}",
            "👩‍👩‍👧 ok",
            "\u{3000}\u{3000}中文 abc中文1",
            "\t\t  x",
            "a\u{a0}b \u{2028}\u{85}c",
            "½ ² Ⅷ ٣٤٥٦",
            "_a -b ~~c",
            "  1",
            " \r",
            "a\0b\u{7f}\u{378}",
        ] {
            same(text);
        }
    }

    fn nasty() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            4 => "[a-zA-Z]{1,4}", 4 => " {1,3}", 2 => "[\r\n\t]{1,2}", 2 => "[0-9]{1,5}", 2 => "'(s|LL|ſ|re|x)?",
            2 => "[中文字のカー・]{1,3}", 2 => "[.,!?_=<>/-]{1,3}", 1 => "\\PC", 1 => any::<char>().prop_map(String::from),
            1 => "[\u{301}\u{200b}\u{a0}\u{3000}\u{85}\u{2028}½²٣]{1,2}",
        ];
        proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn scanners_are_their_expressions_on_random_texts(text in nasty()) {
            same(&text);
        }
    }
}
