//! Text without spaces between its words: each ideograph and kana is a word of its own.
//!
//! datatrove cuts Chinese with jieba's dictionary of 350,000 words; that is not reproduced here. Characters
//! need no dictionary, and shingles and repetition over characters are the usual choice for Chinese.

use crate::tokens::{Token, TokenKind};

/// Whether a character is written without spaces around it: Han, Hiragana, Katakana, Thai, Lao, Khmer, Burmese.
#[inline]
pub fn is_unspaced(character: char) -> bool {
    matches!(u32::from(character),
        0x3005..=0x3007 | 0x3021..=0x3029 | 0x3041..=0x30ff | 0x31f0..=0x31ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff
        | 0xf900..=0xfaff | 0xff66..=0xff9f | 0x20000..=0x323af | 0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff)
}

/// Whether a character is punctuation as wide as an ideograph.
fn is_wide_punctuation(character: char) -> bool {
    matches!(u32::from(character),
        0x3001..=0x3003 | 0x3008..=0x3020 | 0xff01..=0xff0f | 0xff1a..=0xff20 | 0xff3b..=0xff40 | 0xff5b..=0xff65)
}

fn stands_alone(character: char) -> bool {
    is_unspaced(character) || is_wide_punctuation(character)
}

/// Splits each token at its unspaced characters.
pub(crate) fn split_ideographs(text: &str, tokens: &mut Vec<Token>) {
    let Some(first) = tokens.iter().position(|token| token.kind == TokenKind::Mixed && has_unspaced(token.of(text)))
    else {
        return;
    };
    let old = tokens.split_off(first);
    for token in old {
        if token.kind != TokenKind::Mixed {
            tokens.push(token);
            continue;
        }
        let (start, piece) = (token.start, token.of(text));
        let mut from = 0;
        for (at, character) in piece.char_indices() {
            let behind = at + character.len_utf8();
            if stands_alone(character) {
                push(tokens, piece, start, from, at);
                push(tokens, piece, start, at, behind);
                from = behind;
            }
        }
        push(tokens, piece, start, from, piece.len());
    }
}

fn has_unspaced(piece: &str) -> bool {
    !piece.is_ascii() && piece.chars().any(stands_alone)
}

fn push(tokens: &mut Vec<Token>, piece: &str, start: u32, from: usize, to: usize) {
    if from < to {
        let plain = piece.as_bytes()[from..to].iter().all(u8::is_ascii_alphanumeric);
        let kind = if plain { TokenKind::Plain } else { TokenKind::Mixed };
        tokens.push(Token { start: start + from as u32, end: start + to as u32, kind });
    }
}
