//! Scanners of known expressions: from an index of the text to where the match that begins there ends.

use crate::unicode::{Classes, LETTER, MARK, NUMBER, SIGN, SPACE, classes, decode};

/// Gives all matches of a scanner, and what lies between them as one piece each. A scanner answers the index itself
/// where nothing matches.
#[inline]
pub(super) fn whole<'t>(
    text: &'t str,
    next: impl Fn(&Classes, &[u8], usize) -> usize,
    emit: &mut (impl FnMut(&'t str, bool) + ?Sized),
) {
    let (table, bytes) = (classes(), text.as_bytes());
    let (mut at, mut gap) = (0, 0);
    while at < bytes.len() {
        let end = next(table, bytes, at);
        if end == at {
            at += table.at(bytes, at).1;
            continue;
        }
        if gap < at {
            emit(&text[gap..at], false);
        }
        emit(&text[at..end], true);
        (at, gap) = (end, end);
    }
    if gap < bytes.len() {
        emit(&text[gap..], false);
    }
}

/// As [`whole`], for expressions that mostly do not match: the whole text may be one piece.
#[inline]
pub(super) fn runs<'t>(
    text: &'t str,
    next: impl Fn(&Classes, &[u8], usize) -> usize,
    emit: &mut (impl FnMut(&'t str, bool) + ?Sized),
) {
    whole(text, next, emit);
}

/// The end of a run of characters that have any of the classes.
#[inline]
fn run(table: &Classes, text: &[u8], mut at: usize, any: u8) -> usize {
    while at < text.len() {
        let (class, bytes) = table.at(text, at);
        if class & any == 0 {
            break;
        }
        at += bytes;
    }
    at
}

/// The end of a run of characters that have none of the classes.
#[inline]
fn run_without(table: &Classes, text: &[u8], mut at: usize, none: u8) -> usize {
    while at < text.len() {
        let (class, bytes) = table.at(text, at);
        if class & none != 0 {
            break;
        }
        at += bytes;
    }
    at
}

#[inline]
fn line_ends(text: &[u8], mut at: usize) -> usize {
    while at < text.len() && matches!(text[at], b'\r' | b'\n') {
        at += 1;
    }
    at
}

/// `\s+(?!\S)|\s+` where a space begins.
#[inline]
fn spaces(table: &Classes, text: &[u8], at: usize) -> usize {
    let (mut end, mut last) = (at, at);
    while end < text.len() {
        let (class, bytes) = table.at(text, end);
        if class & SPACE == 0 {
            break;
        }
        last = end;
        end += bytes;
    }
    if end == text.len() || last == at { end } else { last }
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+` where a space begins.
#[inline]
fn spaces_and_lines(table: &Classes, text: &[u8], at: usize) -> usize {
    let (mut end, mut last, mut line) = (at, at, at);
    while end < text.len() {
        let (class, bytes) = table.at(text, end);
        if class & SPACE == 0 {
            break;
        }
        last = end;
        end += bytes;
        if matches!(text[last], b'\r' | b'\n') {
            line = end;
        }
    }
    if line > at {
        line
    } else if end == text.len() || last == at {
        end
    } else {
        last
    }
}

/// `'s|'t|'re|'ve|'m|'ll|'d` behind an apostrophe.
#[inline]
fn contraction(text: &[u8], at: usize) -> Option<usize> {
    match (text.get(at + 1)?, text.get(at + 2)) {
        (b's' | b't' | b'm' | b'd', _) => Some(at + 2),
        (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => Some(at + 3),
        _ => None,
    }
}

/// The same in either case; `ſ` is an `s` then.
#[inline]
fn contraction_any_case(text: &[u8], at: usize) -> Option<usize> {
    match (text.get(at + 1)?, text.get(at + 2)) {
        (b's' | b't' | b'm' | b'd' | b'S' | b'T' | b'M' | b'D', _) => Some(at + 2),
        (b'r' | b'v' | b'R' | b'V', Some(b'e' | b'E')) | (b'l' | b'L', Some(b'l' | b'L')) => Some(at + 3),
        (0xc5, Some(0xbf)) => Some(at + 3),
        _ => None,
    }
}

pub(super) fn gpt2(table: &Classes, text: &[u8], at: usize) -> usize {
    let first = text[at];
    if first == b'\''
        && let Some(end) = contraction(text, at)
    {
        return end;
    }
    let begin = if first == b' ' && at + 1 < text.len() { at + 1 } else { at };
    let (class, bytes) = table.at(text, begin);
    if class & LETTER != 0 {
        return run(table, text, begin + bytes, LETTER);
    }
    if class & NUMBER != 0 {
        return run(table, text, begin + bytes, NUMBER);
    }
    if class & SPACE == 0 {
        return run_without(table, text, begin + bytes, SPACE | LETTER | NUMBER);
    }
    spaces(table, text, at)
}

pub(super) fn llama3(table: &Classes, text: &[u8], at: usize, digits: u32) -> usize {
    let first = text[at];
    if first == b'\''
        && let Some(end) = contraction_any_case(text, at)
    {
        return end;
    }
    let (class, bytes) = table.at(text, at);
    if class & LETTER != 0 {
        return run(table, text, at + bytes, LETTER);
    }
    if class & NUMBER != 0 {
        return number(table, text, at + bytes, digits - 1);
    }
    let line = matches!(first, b'\r' | b'\n');
    let second = if at + bytes < text.len() { table.at(text, at + bytes) } else { (SPACE, 0) };
    if !line && second.0 & LETTER != 0 {
        return run(table, text, at + bytes + second.1, LETTER);
    }
    if class & SPACE == 0 {
        return line_ends(text, run_without(table, text, at + bytes, SPACE | LETTER | NUMBER));
    }
    if first == b' ' && second.0 & (SPACE | LETTER | NUMBER) == 0 {
        return line_ends(text, run_without(table, text, at + 1 + second.1, SPACE | LETTER | NUMBER));
    }
    spaces_and_lines(table, text, at)
}

/// At most so many more digits.
#[inline]
fn number(table: &Classes, text: &[u8], mut at: usize, most: u32) -> usize {
    for _ in 0..most {
        if at == text.len() {
            break;
        }
        let (class, bytes) = table.at(text, at);
        if class & NUMBER == 0 {
            break;
        }
        at += bytes;
    }
    at
}

pub(super) fn digits(table: &Classes, text: &[u8], at: usize) -> usize {
    number(table, text, at, 3)
}

pub(super) fn han_kana(_: &Classes, text: &[u8], mut at: usize) -> usize {
    while at < text.len() && text[at] >= 0xe3 {
        let (character, bytes) = decode(text, at);
        if !matches!(character, 0x4e00..=0x9fa5 | 0x3040..=0x30ff) {
            break;
        }
        at += bytes;
    }
    at
}

pub(super) fn deepseek(table: &Classes, text: &[u8], at: usize) -> usize {
    let first = text[at];
    let second_is_ascii_letter = text.get(at + 1).is_some_and(u8::is_ascii_alphabetic);
    if first.is_ascii_punctuation() && second_is_ascii_letter {
        let mut end = at + 2;
        while text.get(end).is_some_and(u8::is_ascii_alphabetic) {
            end += 1;
        }
        return end;
    }
    let (class, bytes) = table.at(text, at);
    let line = matches!(first, b'\r' | b'\n');
    let second = if at + bytes < text.len() { table.at(text, at + bytes) } else { (0, 0) };
    // The optional first character is taken where it can be: a mark may be it.
    if !line && class & (LETTER | SIGN) == 0 && second.0 & (LETTER | MARK) != 0 {
        return run(table, text, at + bytes + second.1, LETTER | MARK);
    }
    if class & (LETTER | MARK) != 0 {
        return run(table, text, at + bytes, LETTER | MARK);
    }
    if class & SIGN != 0 {
        return line_ends(text, run(table, text, at + bytes, SIGN));
    }
    if first == b' ' && second.0 & SIGN != 0 {
        return line_ends(text, run(table, text, at + 1 + second.1, SIGN));
    }
    if class & SPACE != 0 {
        return spaces_and_lines(table, text, at);
    }
    at
}
