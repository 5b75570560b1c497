//! The scan that a clean text costs: runs without any character of interest are skipped 32 bytes at a
//! time in code the compiler makes vectors of, the rest is looked up in the table of flags.

use crate::tables::Table;

const CHUNK: usize = 32;

/// Whether none of 32 bytes can be of interest: printable ASCII but `&`, tab, line feed, and the bytes
/// of U+4000 to U+9FFF (leads 0xE4 to 0xE9; a continuation byte counts with its lead).
#[inline]
fn plain(chunk: &[u8]) -> bool {
    let mut interest = 0u8;
    for &byte in chunk {
        let control = (byte < 0x20) & (byte != b'\t') & (byte != b'\n');
        let ascii = (byte == b'&') | (byte == 0x7F);
        let lead = (byte >= 0xC0) & (byte.wrapping_sub(0xE4) > 5);
        interest |= u8::from(control | ascii | lead);
    }
    interest == 0
}

/// The character at `at` of valid UTF-8, which must not be a continuation byte, and its length.
#[inline]
pub(crate) fn decode(bytes: &[u8], at: usize) -> (u32, usize) {
    let low = |offset: usize| bytes.get(at + offset).map_or(0, |byte| u32::from(byte & 0x3F));
    let first = u32::from(bytes[at]);
    match first {
        0..0x80 => (first, 1),
        0x80..0xE0 => ((first & 0x1F) << 6 | low(1), 2),
        0xE0..0xF0 => ((first & 0x0F) << 12 | low(1) << 6 | low(2), 3),
        _ => ((first & 0x07) << 18 | low(1) << 12 | low(2) << 6 | low(3), 4),
    }
}

/// Where the next character with one of the flags `want` begins, at or after `from`, with its code
/// point, its length in bytes and its flags. `from` must be a boundary.
#[inline]
pub(crate) fn find(table: &Table, bytes: &[u8], from: usize, want: u32) -> Option<(usize, u32, usize, u32)> {
    let mut at = from;
    loop {
        while let Some(chunk) = bytes.get(at..at + CHUNK)
            && plain(chunk)
        {
            at += CHUNK;
        }
        let stop = (at + CHUNK).min(bytes.len());
        while at < stop {
            let byte = bytes[at];
            match byte {
                // A continuation byte: the chunk before ended within a character without flags.
                0x80..0xC0 => at += 1,
                0xE4..0xEA => at += 3,
                _ => {
                    let (code, length) = decode(bytes, at);
                    let flags = table.flags(code);
                    if flags & want != 0 {
                        return Some((at, code, length, flags));
                    }
                    at += length;
                }
            }
        }
        if at >= bytes.len() {
            return None;
        }
    }
}

/// The flags of all characters together, so far as they are in `want`.
pub(crate) fn flags(table: &Table, bytes: &[u8], want: u32) -> u32 {
    let (mut seen, mut missing, mut at) = (0, want, 0);
    while missing != 0 {
        match find(table, bytes, at, missing) {
            Some((position, _, length, flags)) => {
                seen |= flags & want;
                missing = want & !seen;
                at = position + length;
            }
            None => break,
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_scan_finds_what_a_plain_loop_finds(text in "([ -~]{0,40}|[一-鿿]{0,20}|\\PC{0,9}|[\\x00-\\xff]{0,5}|[Ⅰ-㏿＀-￯]{0,3}){0,6}", want: u32) {
            let table = Table::get();
            let plain = text.char_indices().find(|(_, c)| table.flags(*c as u32) & want != 0);
            let found = find(table, text.as_bytes(), 0, want);
            // Without the flags of the space and of letters, which are for context only.
            let context = crate::tables::CONTINUATION;
            if want & context == 0 {
                prop_assert_eq!(found.map(|f| f.0), plain.map(|p| p.0));
                let all = text.chars().fold(0, |all, c| all | table.flags(c as u32)) & want;
                prop_assert_eq!(flags(table, text.as_bytes(), want), all);
            }
        }
    }
}
