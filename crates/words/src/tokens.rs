//! Text into tokens, as spaCy's tokenizer makes them: chunks between white space, affixes off, special
//! cases kept or cut, separators inside split.
//!
//! Whole chunks of ASCII letters and digits, most of any English text, need no rule but the special cases.

use crate::classes::{Classes, classes};
use crate::rules::{ENGLISH, NEUTRAL, Pattern, Rules, for_each_infix, is_url, prefix_bytes, suffix_bytes};
use crate::{Language, WordsError};

/// The longest text that is taken in one piece: spaCy's own limit, in bytes.
pub const TEXT_BYTES_MAX: usize = 1 << 30;

/// What a token is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// White space; never a word.
    Space,
    /// Nothing but ASCII letters and digits.
    Plain,
    /// Anything else.
    Mixed,
}

/// A token's place in its text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Of its first byte.
    pub start: u32,
    /// Behind its last byte.
    pub end: u32,
    /// What it is made of.
    pub kind: TokenKind,
}

impl Token {
    /// The token's own text.
    #[inline]
    pub fn of(self, text: &str) -> &str {
        &text[self.start as usize..self.end as usize]
    }
}

/// Fills `tokens` with the tokens of a text, white space among them, replacing what was there.
///
/// # Errors
/// If the text is longer than [`TEXT_BYTES_MAX`].
pub fn tokenize(text: &str, language: Language, tokens: &mut Vec<Token>) -> Result<(), WordsError> {
    tokens.clear();
    if text.len() > TEXT_BYTES_MAX {
        return Err(WordsError::TooLong { bytes: text.len() });
    }
    match language {
        Language::English => cut(text, &ENGLISH, tokens),
        Language::Neutral => cut(text, &NEUTRAL, tokens),
        Language::Unspaced => {
            cut(text, &NEUTRAL, tokens);
            crate::unspaced::split_ideographs(text, tokens);
        }
    }
    Ok(())
}

fn cut(text: &str, rules: &Rules, tokens: &mut Vec<Token>) {
    let mut cutter = Cutter { text, rules, classes: classes(), tokens, suffixes: Vec::new(), candidates: Vec::new() };
    cutter.run();
    cutter.find_candidates();
    if !cutter.candidates.is_empty() {
        cutter.apply_patterns();
    }
}

struct Cutter<'a> {
    text: &'a str,
    rules: &'a Rules,
    classes: &'static Classes,
    tokens: &'a mut Vec<Token>,
    suffixes: Vec<Token>,
    /// Runs of tokens that are a pattern: first and behind the last.
    candidates: Vec<(usize, usize)>,
}

const LETTER_OR_DIGIT: u8 = 0;
const OTHER: u8 = 1;
const WHITE: u8 = 2;
const WIDE: u8 = 4;

/// What an ASCII byte is to the search for chunks; every other byte is `WIDE`.
static BYTE: [u8; 256] = {
    let mut table = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => LETTER_OR_DIGIT,
            9..=13 | 28..=32 => WHITE,
            0x80.. => WIDE,
            _ => OTHER,
        };
        byte += 1;
    }
    table
};

/// The length of the white-space character at the front, 0 if it is none. `bytes` starts a character.
#[inline]
fn wide_space_bytes(bytes: &[u8]) -> usize {
    match bytes {
        [0xc2, 0x85 | 0xa0, ..] => 2,
        [0xe1, 0x9a, 0x80, ..] | [0xe2, 0x81, 0x9f, ..] | [0xe3, 0x80, 0x80, ..] => 3,
        [0xe2, 0x80, 0x80..=0x8a | 0xa8 | 0xa9 | 0xaf, ..] => 3,
        _ => 0,
    }
}

impl Cutter<'_> {
    fn run(&mut self) {
        let bytes = self.text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            at = self.space(at);
            let (end, kinds) = chunk_end(bytes, at);
            if end > at {
                self.chunk(at, end, kinds);
            }
            at = end;
        }
    }

    /// Passes white space; all but one leading blank is a token. At the very start the blank is one too.
    #[inline]
    fn space(&mut self, start: usize) -> usize {
        let bytes = self.text.as_bytes();
        let mut at = start;
        while at < bytes.len() {
            match BYTE[usize::from(bytes[at])] {
                WHITE => at += 1,
                WIDE => match wide_space_bytes(&bytes[at..]) {
                    0 => break,
                    length => at += length,
                },
                _ => break,
            }
        }
        if at > start {
            let from = if bytes[start] == b' ' && start > 0 { start + 1 } else { start };
            if from < at {
                self.push(from, at, TokenKind::Space);
            }
        }
        at
    }

    #[inline]
    fn push(&mut self, start: usize, end: usize, kind: TokenKind) {
        self.tokens.push(Token { start: start as u32, end: end as u32, kind });
    }

    /// A piece whose bytes were not looked at yet.
    fn push_piece(&mut self, start: usize, end: usize) {
        let plain = self.text.as_bytes()[start..end].iter().all(u8::is_ascii_alphanumeric);
        self.push(start, end, if plain { TokenKind::Plain } else { TokenKind::Mixed });
    }

    /// The pieces of a special case, if the text from `start` to `end` is one.
    #[inline]
    fn special(&mut self, start: usize, end: usize) -> bool {
        let Some(pieces) = self.rules.special.pieces(&self.text[start..end]) else { return false };
        let mut at = start;
        for piece in pieces {
            let next = at + usize::from(*piece);
            let plain = self.text.as_bytes()[at..next].iter().all(u8::is_ascii_alphanumeric);
            let kind = if plain { TokenKind::Plain } else { TokenKind::Mixed };
            self.tokens.push(Token { start: at as u32, end: next as u32, kind });
            at = next;
        }
        true
    }

    #[inline]
    fn is_special(&self, start: usize, end: usize) -> bool {
        start < end && self.rules.special.pieces(&self.text[start..end]).is_some()
    }

    #[inline]
    fn chunk(&mut self, start: usize, end: usize, kinds: u8) {
        if kinds == LETTER_OR_DIGIT && !self.may_end_in_unit(start, end) {
            self.word(start, end);
            return;
        }
        if kinds & WIDE != 0 || !self.marked_word(start, end) {
            self.affixes(start, end);
        }
    }

    /// The shapes of most other chunks, letters before or behind one mark that always splits; the rules would come
    /// to the same. No special case has such a shape but for those with a full stop.
    #[inline]
    fn marked_word(&mut self, start: usize, end: usize) -> bool {
        let bytes = &self.text.as_bytes()[start..end];
        let (first, last) = (bytes[0], bytes[bytes.len() - 1]);
        if first.is_ascii_alphabetic() {
            let inner = &bytes[..bytes.len() - 1];
            let marked = match last {
                b',' | b';' | b':' | b'!' | b'?' | b')' | b'"' | b']' | b'}' => true,
                b'.' => inner.last().is_some_and(u8::is_ascii_lowercase),
                _ => false,
            };
            if !marked || !inner.iter().all(u8::is_ascii_alphabetic) {
                return false;
            }
            if last == b'.' && self.special(start, end) {
                return true;
            }
            self.word(start, end - 1);
            self.push(end - 1, end, TokenKind::Mixed);
            return true;
        }
        let opened = matches!(first, b'(' | b'"' | b'[') && bytes.len() > 1;
        if !opened || !bytes[1..].iter().all(u8::is_ascii_alphabetic) {
            return false;
        }
        self.push(start, start + 1, TokenKind::Mixed);
        self.word(start + 1, end);
        true
    }

    /// Letters and digits, which may be a special case.
    #[inline]
    fn word(&mut self, start: usize, end: usize) {
        if !self.special(start, end) {
            self.push(start, end, TokenKind::Plain);
        }
    }

    /// A letter after a digit, at the end of a plain chunk, may be a unit.
    #[inline]
    fn may_end_in_unit(&self, start: usize, end: usize) -> bool {
        let bytes = &self.text.as_bytes()[start..end];
        !bytes[bytes.len() - 1].is_ascii_digit() && bytes.iter().any(u8::is_ascii_digit)
    }

    /// Takes prefixes and suffixes off for as long as there are any; then the middle.
    fn affixes(&mut self, mut start: usize, mut end: usize) {
        self.suffixes.clear();
        while start < end {
            if self.is_special(start, end) {
                break;
            }
            let prefix = prefix_bytes(&self.text[start..end], self.classes);
            if prefix > 0 && self.is_special(start + prefix, end) {
                self.push_piece(start, start + prefix);
                start += prefix;
                break;
            }
            let suffix = suffix_bytes(&self.text[start + prefix..end], self.classes);
            if suffix > 0 && self.is_special(start, end - suffix) {
                self.push_suffix(end - suffix, end);
                end -= suffix;
                break;
            }
            if prefix == 0 && suffix == 0 {
                break;
            }
            if prefix > 0 {
                self.push_piece(start, start + prefix);
                start += prefix;
            }
            if suffix > 0 {
                self.push_suffix(end - suffix, end);
                end -= suffix;
            }
        }
        if start < end {
            self.middle(start, end);
        }
        while let Some(suffix) = self.suffixes.pop() {
            self.tokens.push(suffix);
        }
    }

    fn push_suffix(&mut self, start: usize, end: usize) {
        let plain = self.text.as_bytes()[start..end].iter().all(u8::is_ascii_alphanumeric);
        let kind = if plain { TokenKind::Plain } else { TokenKind::Mixed };
        self.suffixes.push(Token { start: start as u32, end: end as u32, kind });
    }

    fn middle(&mut self, start: usize, end: usize) {
        if self.special(start, end) {
            return;
        }
        let chunk = &self.text[start..end];
        if chunk.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return self.push(start, end, TokenKind::Plain);
        }
        if is_url(chunk, self.classes) {
            return self.push(start, end, TokenKind::Mixed);
        }
        let (rules, classes) = (self.rules, self.classes);
        let mut from = start;
        for_each_infix(chunk, rules, classes, |first, behind| {
            // A separator at the very front belongs to the first piece.
            if first == 0 {
                return;
            }
            if start + first > from {
                self.push_piece(from, start + first);
            }
            self.push_piece(start + first, start + behind);
            from = start + behind;
        });
        if from < end {
            self.push_piece(from, end);
        }
    }

    /// Looks for special cases that the affix rules took apart, like the `:)` of `:)))))`.
    fn find_candidates(&mut self) {
        let bytes = self.text.as_bytes();
        for (index, pair) in self.tokens.windows(2).enumerate() {
            let next_byte = bytes[pair[1].start as usize];
            if pair[0].kind == TokenKind::Plain && pair[1].kind == TokenKind::Plain {
                continue;
            }
            for pattern in self.rules.special.patterns(pair[0].of(self.text), next_byte) {
                if matches(pattern, &self.tokens[index..], self.text) {
                    self.candidates.push((index, index + pattern.tokens.len()));
                }
            }
        }
    }

    /// Of the runs found, the longest and then the first win; those whose text is a special case are cut anew.
    fn apply_patterns(&mut self) {
        self.candidates.sort_by_key(|&(start, end)| (std::cmp::Reverse(end - start), start));
        let mut seen: std::collections::HashSet<usize> = std::collections::HashSet::new();
        let mut chosen = Vec::new();
        for &(start, end) in &self.candidates {
            if !seen.contains(&start) && !seen.contains(&(end - 1)) {
                chosen.push((start, end));
            }
            seen.extend(start..end);
        }
        chosen.sort_unstable();
        let old = std::mem::take(self.tokens);
        let mut copied = 0;
        for (start, end) in chosen {
            self.tokens.extend_from_slice(&old[copied..start]);
            let (from, to) = (old[start].start as usize, old[end - 1].end as usize);
            if !self.special(from, to) {
                self.tokens.extend_from_slice(&old[start..end]);
            }
            copied = end;
        }
        self.tokens.extend_from_slice(&old[copied..]);
    }
}

/// Where the chunk that starts here ends, and which kinds of bytes it holds.
#[inline]
fn chunk_end(bytes: &[u8], start: usize) -> (usize, u8) {
    let mut kinds = 0;
    let mut at = start;
    while at < bytes.len() {
        let kind = BYTE[usize::from(bytes[at])];
        if kind == WHITE || kind == WIDE && wide_space_bytes(&bytes[at..]) > 0 {
            break;
        }
        kinds |= kind;
        at += 1;
    }
    (at, kinds)
}

fn matches(pattern: &Pattern, tokens: &[Token], text: &str) -> bool {
    tokens.len() >= pattern.tokens.len()
        && pattern.tokens.iter().zip(tokens).all(|(wanted, token)| *wanted == token.of(text))
}
