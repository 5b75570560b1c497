//! Escape sequences: those of terminals, which are removed, and the backslashed ones of JSON and
//! source code, which are decoded on request. Behaviour of ftfy 6.3.1 (Apache-2.0; `fixes.py`).

/// The zeros of Unicode 14's decimal digits: `\d` of Python's `re`.
const ZEROS: [u32; 65] = [
    0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0,
    0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620,
    0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x11066, 0x110F0, 0x11136, 0x111D0,
    0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x11730, 0x118E0, 0x11950, 0x11C50, 0x11D50, 0x11DA0, 0x16A60,
    0x16AC0, 0x16B50, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E950,
];

fn is_digit(character: char) -> bool {
    let code = character as u32;
    (0x1FBF0..0x1FBFA).contains(&code) || ZEROS.iter().any(|&zero| (zero..zero + 10).contains(&code))
}

/// Removes the escape sequences by which terminals colour text (`ESC [ 31 m`); `None` where there are
/// none.
pub(crate) fn remove_terminal_escapes(text: &str) -> Option<String> {
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    let mut found = false;
    while let Some(offset) = memchr::memchr(0x1B, &text.as_bytes()[at..]) {
        let start = at + offset;
        at = start + 1;
        let Some(parameters) = text[at..].strip_prefix('[') else { continue };
        let rest = parameters.trim_start_matches(|c| c == ';' || is_digit(c));
        if rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            out.push_str(&text[copied..start]);
            at = text.len() - rest.len() + 1;
            copied = at;
            found = true;
        }
    }
    if !found {
        return None;
    }
    out.push_str(&text[copied..]);
    Some(out)
}

/// Decodes the backslashed escapes of JSON, Python and C in a text that was never meant to show them:
/// `\u00e9`, `\U0001F600`, `\x41`, octal, and `\n`, `\t`, `\"` and their like. Two `\u` escapes that are
/// a pair of surrogates become one character, a surrogate alone U+FFFD. Python's `\N{…}` is left as it
/// is, and so is what is not a valid escape. Never part of [`repair`](crate::repair): a backslash is no
/// mistake by itself.
pub fn decode_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(offset) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..offset]);
        rest = &rest[offset..];
        match escape(rest) {
            Some((character, length)) => {
                out.push(character);
                rest = &rest[length..];
            }
            None => {
                out.push('\\');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The value of exactly `count` hexadecimal digits after the two characters of an escape's beginning.
fn hexadecimal(escape: &str, count: usize) -> Option<u32> {
    let digits = escape.get(2..2 + count)?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

/// The character of the escape that a text begins with, and the escape's length.
fn escape(text: &str) -> Option<(char, usize)> {
    let kind = *text.as_bytes().get(1)?;
    let simple = match kind {
        b'\\' | b'\'' | b'"' => char::from(kind),
        b'a' => '\x07',
        b'b' => '\x08',
        b'f' => '\x0C',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'v' => '\x0B',
        b'0'..=b'7' => {
            let digits = text[1..].bytes().take(3).take_while(|digit| (b'0'..=b'7').contains(digit)).count();
            let code = u32::from_str_radix(&text[1..=digits], 8).ok()?;
            return Some((char::from_u32(code)?, 1 + digits));
        }
        b'x' => return Some((char::from_u32(hexadecimal(text, 2)?)?, 4)),
        b'U' => return Some((char::from_u32(hexadecimal(text, 8)?)?, 10)),
        b'u' => {
            let first = hexadecimal(text, 4)?;
            if let Some(character) = char::from_u32(first) {
                return Some((character, 6));
            }
            let second = text.get(6..).filter(|next| next.starts_with("\\u")).and_then(|next| hexadecimal(next, 4));
            return Some(match second {
                Some(second @ 0xDC00..=0xDFFF) if first < 0xDC00 => {
                    let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                    (char::from_u32(code).unwrap_or('\u{FFFD}'), 12)
                }
                _ => ('\u{FFFD}', 6),
            });
        }
        _ => return None,
    };
    Some((simple, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_json_and_of_source_code() {
        // ftfy's doc test.
        assert_eq!(
            decode_escapes(r"\u20a1 is the currency symbol for the colón."),
            "₡ is the currency symbol for the colón."
        );
        assert_eq!(decode_escapes(r"a\nb\x41\101\U0001F600\\n\q\"), "a\nbAA😀\\n\\q\\");
        assert_eq!(
            decode_escapes(r"\ud83d\ude00|\ud83d|\ude00\ud83d|\u12|\xéé"),
            "😀|\u{fffd}|\u{fffd}\u{fffd}|\\u12|\\xéé"
        );
    }

    #[test]
    fn terminal_colours() {
        let text = "\x1b[36;44mI'm blue, da ba dee da ba doo...\x1b[0m";
        assert_eq!(remove_terminal_escapes(text).as_deref(), Some("I'm blue, da ba dee da ba doo..."));
        assert_eq!(remove_terminal_escapes("\x1b[\x1b[٣m|\x1b[1"), Some("\x1b[|\x1b[1".to_owned()));
        assert_eq!(remove_terminal_escapes("\x1b 12m"), None);
    }
}
