//! Bytes that were meant as UTF-8 but have suffered: a non-breaking space turned into a plain one, a
//! byte lost, surrogates encoded one by one (CESU-8), Java's long NUL. Behaviour of ftfy 6.3.1
//! (Apache-2.0; `fixes.py`, `chardata.py`, `bad_codecs/utf8_variants.py`).

/// Whether a byte is a continuation byte that is neither 0x85 nor 0xA0, which turn into spaces.
fn likely_continuation(byte: Option<&u8>) -> bool {
    matches!(byte, Some(0x80..=0x84 | 0x86..=0x9F | 0xA1..=0xBF))
}

fn continuation(byte: Option<&u8>) -> bool {
    matches!(byte, Some(0x80..=0xBF))
}

/// The length of a sequence that would be a likely character of UTF-8 if the space in it were 0xA0.
fn altered_length(bytes: &[u8]) -> usize {
    let space = |byte: Option<&u8>| byte == Some(&b' ');
    let (first, b, c, d) = (bytes[0], bytes.get(1), bytes.get(2), bytes.get(3));
    match first {
        0xC2 | 0xC3 | 0xC5 | 0xCE | 0xD0 | 0xD9 if space(b) => 2,
        0xE2 | 0xE3 if space(b) && likely_continuation(c) => 3,
        0xE0..=0xE3 if likely_continuation(b) && space(c) => 3,
        0xF0 if (space(b) && continuation(c) && continuation(d))
            || (continuation(b) && space(c) && continuation(d))
            || (continuation(b) && continuation(c) && space(d)) =>
        {
            4
        }
        _ => 0,
    }
}

/// Gives sequences their 0xA0 back where a space took its place; `None` where there are none.
/// After 0xC3 the space itself is mostly meant too ("à la"), but for some Portuguese words.
pub(crate) fn restore_byte_a0(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut at = bytes.windows(2).position(|pair| pair[0] >= 0xC2 && (pair[1] == b' ' || pair[1] >= 0x80))?;
    at += bytes[at..].iter().enumerate().position(|(offset, _)| altered_length(&bytes[at + offset..]) > 0)?;
    let mut spaced = Vec::with_capacity(bytes.len() + 8);
    spaced.extend_from_slice(&bytes[..at]);
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at + 1..];
        if byte == 0xC3 && rest.first() == Some(&b' ') {
            let word = &rest[1..];
            let joined = [&b" "[..], b"quele", b"quela", b"quilo", b"s "].iter().any(|with| word.starts_with(with));
            spaced.extend_from_slice(if joined { b"\xC3 " } else { b"\xC3\xA0 " });
            at += 2;
        } else {
            spaced.push(byte);
            at += 1;
        }
    }
    at = 0;
    while at < spaced.len() {
        let length = altered_length(&spaced[at..]);
        for byte in &mut spaced[at..at + length] {
            if *byte == b' ' {
                *byte = 0xA0;
            }
        }
        at += length.max(1);
    }
    (spaced != bytes).then_some(spaced)
}

/// The length of a sequence of UTF-8 or CESU-8 some bytes of which were lost to 0x1A or `?`.
fn lossy_length(bytes: &[u8]) -> usize {
    let get = |offset: usize| bytes.get(offset).copied().unwrap_or(0);
    let lost = |offset: usize| matches!(get(offset), 0x1A | b'?');
    let kept = |offset: usize| matches!(get(offset), 0x1A | 0x80..=0xBF);
    match bytes[0] {
        0xC2..=0xDF if get(1) == 0x1A => 2,
        0xC2 | 0xC3 if get(1) == b'?' => 2,
        0xED if (0xA0..=0xAF).contains(&get(1))
            && get(3) == 0xED
            && (0xB0..=0xBF).contains(&get(4))
            && ((lost(2) && (kept(5) || lost(5))) || ((kept(2) || lost(2)) && lost(5))) =>
        {
            6
        }
        0xE0..=0xEF if (lost(1) && kept(2)) || (kept(1) && lost(2)) => 3,
        0xF0..=0xF4
            if (lost(1) && kept(2) && kept(3))
                || (kept(1) && lost(2) && kept(3))
                || (kept(1) && kept(2) && lost(3)) =>
        {
            4
        }
        0x1A => 1,
        _ => 0,
    }
}

/// Replaces sequences with lost bytes by U+FFFD; `None` where there are none.
pub(crate) fn replace_lossy_sequences(bytes: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr2(0x1A, b'?', bytes)?;
    let mut out = Vec::new();
    let (mut at, mut copied) = (0, 0);
    while at < bytes.len() {
        let length = lossy_length(&bytes[at..]);
        if length > 0 {
            out.extend_from_slice(&bytes[copied..at]);
            out.extend_from_slice("\u{FFFD}".as_bytes());
            copied = at + length;
        }
        at += length.max(1);
    }
    if copied == 0 {
        return None;
    }
    out.extend_from_slice(&bytes[copied..]);
    Some(out)
}

/// The end of the input as Python's `$` sees it: also before a last line feed.
fn at_end(bytes: &[u8], at: usize) -> bool {
    at >= bytes.len() || (at + 1 == bytes.len() && bytes[at] == b'\n')
}

/// Decodes UTF-8 with CESU-8's surrogate pairs and Java's NUL (0xC0 0x80) in it; `None` where it is not
/// that. Like ftfy's codec it takes a 0xC0 before the last line feed for a NUL and swallows the line
/// feed, so that both give the same text.
pub(crate) fn decode_utf8_variants(bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(offset) = memchr::memchr2(0xC0, 0xED, &bytes[at..]) {
        let special = at + offset;
        let (length, character) = variant(bytes, special)?;
        if length == 0 {
            // Ordinary UTF-8 from here on: 0xED begins a Hangul syllable.
            let end = (special + 3).min(bytes.len());
            text.push_str(std::str::from_utf8(&bytes[at..end]).ok()?);
            at = end;
            continue;
        }
        text.push_str(std::str::from_utf8(&bytes[at..special]).ok()?);
        text.push(character);
        at = special + length;
    }
    text.push_str(std::str::from_utf8(&bytes[at..]).ok()?);
    Some(text)
}

/// The length and meaning of the variant sequence at `at`: length 0 where it is ordinary UTF-8, `None`
/// where it is neither.
fn variant(bytes: &[u8], at: usize) -> Option<(usize, char)> {
    if bytes[at] == 0xC0 {
        let null = bytes.get(at + 1) == Some(&0x80) || (at + 2 == bytes.len() && bytes[at + 1] == b'\n');
        return null.then_some((2, '\0'));
    }
    let in_range = |offset: usize, low: u8, high: u8| bytes.get(at + offset).is_some_and(|b| (low..=high).contains(b));
    if !in_range(1, 0xA0, 0xBF) {
        return Some((0, '\0'));
    }
    let whole = in_range(1, 0xA0, 0xAF) && in_range(2, 0x80, 0xBF) && in_range(3, 0xED, 0xED);
    let last = in_range(4, 0xB0, 0xBF) && (in_range(5, 0x80, 0xBF) || at_end(bytes, at + 5));
    if !whole || !last || at + 6 > bytes.len() {
        return None;
    }
    let bits = |offset: usize, mask: u8| u32::from(bytes[at + offset] & mask);
    let code = (bits(1, 0x0F) << 16 | bits(2, 0x3F) << 10 | bits(4, 0x0F) << 6 | bits(5, 0x3F)) + 0x10000;
    char::from_u32(code).map(|character| (6, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of ftfy's tests/test_bytes.py.
    #[test]
    fn cesu_8_and_javas_nul() {
        let cesu = b"\xed\xa6\x9d\xed\xbd\xb7 is an unassigned character, and \xc0\x80 is null";
        assert_eq!(decode_utf8_variants(cesu).as_deref(), Some("\u{77777} is an unassigned character, and \0 is null"));
        let standard = "\u{77777} is an unassigned character, and \0 is null".as_bytes();
        assert_eq!(decode_utf8_variants(standard).as_deref(), std::str::from_utf8(standard).ok());
        assert_eq!(decode_utf8_variants(b"\xed\x95\x9c\xea\xb5\xad").as_deref(), Some("한국"));
        assert_eq!(decode_utf8_variants(b"surrogates: \xed\xa0\x80 alone"), None);
        assert_eq!(decode_utf8_variants(b"cut \xed\xa0"), None);
        assert_eq!(decode_utf8_variants(b"cut \xc0"), None);
        assert_eq!(decode_utf8_variants(b"\xed"), None);
    }
}
