//! The placeholders that stand for what was taken out, and how to know them again.
//!
//! `[EMAIL]` redacted, `<EMAIL_1>` redacted and numbered within the text, `<EMAIL:MFRGG…>` a pseudonym in base 32
//! (reversible with the key), `<EMAIL#9f86d081884c7d65>` a keyed hash.

use std::str;

use crate::kind::Kind;

/// How far back a placeholder's bracket is looked for.
const BACK_BYTES_MAX: usize = 512;

/// A placeholder in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placeholder<'a> {
    pub(crate) kind: Kind,
    pub(crate) end: usize,
    /// The base-32 text of a pseudonym.
    pub(crate) pseudonym: Option<&'a str>,
}

/// The placeholder that starts at `at`, if one does.
pub(crate) fn parse(text: &[u8], at: usize) -> Option<Placeholder<'_>> {
    let close = match text.get(at)? {
        b'[' => b']',
        b'<' => b'>',
        _ => return None,
    };
    let name_start = at + 1;
    let named = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'_';
    let mut name_end = name_start + text[name_start..].iter().take(40).take_while(|byte| named(byte)).count();
    if close == b'>' && text.get(name_end).is_some_and(u8::is_ascii_digit) && text[name_end - 1] == b'_' {
        name_end -= 1;
    }
    let kind: Kind = str::from_utf8(&text[name_start..name_end]).ok()?.parse().ok()?;
    if close == b']' {
        return (text.get(name_end) == Some(&b']')).then_some(Placeholder { kind, end: name_end + 1, pseudonym: None });
    }
    let body = name_end + 1;
    let inside: fn(&u8) -> bool = match text.get(name_end)? {
        b'_' => |byte| byte.is_ascii_digit(),
        b':' => |byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'),
        b'#' => |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        _ => return None,
    };
    let end = body + text[body..].iter().take_while(|byte| inside(byte)).count();
    if end == body || text.get(end) != Some(&b'>') {
        return None;
    }
    let pseudonym = if text[name_end] == b':' { str::from_utf8(&text[body..end]).ok() } else { None };
    Some(Placeholder { kind, end: end + 1, pseudonym })
}

/// True if a placeholder shares a byte with `start..end`.
pub(crate) fn overlaps(text: &[u8], start: usize, end: usize) -> bool {
    let floor = start.saturating_sub(BACK_BYTES_MAX);
    let before = text[floor..start].iter().rposition(|byte| matches!(byte, b'[' | b'<' | b']' | b'>'));
    let opened = before.map(|index| floor + index).filter(|at| matches!(text[*at], b'[' | b'<'));
    if opened.and_then(|at| parse(text, at)).is_some_and(|found| found.end > start) {
        return true;
    }
    (start..end).any(|at| matches!(text[at], b'[' | b'<') && parse(text, at).is_some())
}
