//! Replaces HTML entities by their characters, with ftfy's caution (6.3.1, Apache-2.0;
//! `fixes.unescape_html`): only names that end in a semicolon, and capitals where they are not
//! ambiguous. `data/entities.txt` has the names of HTML5 and the capitals (written by
//! `crates/xtask/peers/repair_tables.py`); numbers follow HTML5 as Python's `html.unescape` does.

use std::sync::LazyLock;

use crate::mojibake::windows_1252;

/// The longest name that is tried, in characters.
const NAME_MAX: usize = 24;

/// The names in byte order, with what they stand for.
static ENTITIES: LazyLock<Vec<(&'static str, String)>> = LazyLock::new(|| {
    let mut entities: Vec<(&'static str, String)> = include_str!("../data/entities.txt")
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, codes)| {
            let character = |code: &str| u32::from_str_radix(code, 16).ok().and_then(char::from_u32);
            (name, codes.split(' ').filter_map(character).collect())
        })
        .collect();
    entities.sort_unstable_by_key(|entity| entity.0);
    entities
});

/// Replaces the entities of a text; `None` where there are none.
pub(crate) fn unescape_html(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    let mut found = false;
    while let Some(offset) = memchr::memchr(b'&', &bytes[at..]) {
        let start = at + offset;
        at = start + 1;
        let Some(end) = entity_end(bytes, start) else { continue };
        at = end;
        let before = out.len();
        out.push_str(&text[copied..start]);
        if push_meaning(&mut out, &text[start + 1..end - 1]) {
            copied = end;
            found = true;
        } else {
            out.truncate(before);
        }
    }
    if !found {
        return None;
    }
    out.push_str(&text[copied..]);
    Some(out)
}

/// Where `&`, perhaps `#`, 1 to 24 letters or digits and `;` end.
fn entity_end(bytes: &[u8], start: usize) -> Option<usize> {
    let name = start + 1 + usize::from(bytes.get(start + 1) == Some(&b'#'));
    let length = bytes[name..].iter().take(NAME_MAX + 1).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let end = name + length;
    ((1..=NAME_MAX).contains(&length) && bytes.get(end) == Some(&b';')).then_some(end + 1)
}

/// Appends what an entity stands for, given what lies between `&` and `;`. False where it is none.
fn push_meaning(out: &mut String, entity: &str) -> bool {
    if let Some(number) = entity.strip_prefix('#') {
        return push_numeric(out, number);
    }
    let character = match entity {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "nbsp" => '\u{A0}',
        _ => {
            return match ENTITIES.binary_search_by_key(&entity, |known| known.0) {
                Ok(index) => {
                    out.push_str(&ENTITIES[index].1);
                    true
                }
                Err(_) => false,
            };
        }
    };
    out.push(character);
    true
}

/// Appends the character of a number, as HTML5 reads it. The semicolon is left alone, like in ftfy,
/// which takes one in the result for a sign that the entity was not read to its end.
fn push_numeric(out: &mut String, number: &str) -> bool {
    let hexadecimal = number.strip_prefix(['x', 'X']);
    let (digits, radix) = hexadecimal.map_or((number, 10), |digits| (digits, 16));
    if digits.is_empty() || !digits.bytes().all(|digit| char::from(digit).is_digit(radix)) {
        return false;
    }
    let code = digits
        .chars()
        .fold(0u32, |code, digit| code.saturating_mul(radix).saturating_add(digit.to_digit(radix).unwrap_or(0)));
    match code {
        0x3B => return false,
        0x00 => out.push('\u{FFFD}'),
        0x80..=0x9F => out.push(windows_1252(char::from(code as u8))),
        // Code points that HTML5 gives no character to vanish.
        0x01..=0x08 | 0x0B | 0x0E..=0x1F | 0x7F | 0xFDD0..=0xFDEF => {}
        0xFFFE..=0x10FFFF if code & 0xFFFE == 0xFFFE => {}
        _ => out.push(char::from_u32(code).unwrap_or('\u{FFFD}')),
    }
    true
}
