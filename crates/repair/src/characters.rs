//! The repairs that look at one character: C1 controls, ligatures, widths, quotation marks, line
//! breaks, control characters. ftfy (6.3.1, Apache-2.0) makes a pass for each; here it is one, which
//! takes each character through the same order.

use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;

use crate::mojibake::windows_1252;
use crate::scan;
use crate::tables::{BREAK, C1, CONTROL, LIGATURE, QUOTE, Table, WIDTH, WIDTH_LETTERS};

/// The ligature's letters.
fn ligature(character: char) -> Option<&'static str> {
    Some(match character {
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "ʼn",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        _ => return None,
    })
}

/// The standard form of U+FF5F to U+FFEF; U+FFE3, the one that becomes two characters, is apart.
fn standard_width(character: char) -> char {
    static HALF: LazyLock<Vec<char>> =
        LazyLock::new(|| ('\u{FF5F}'..='\u{FFEF}').map(|c| std::iter::once(c).nfkc().next().unwrap_or(c)).collect());
    match character {
        '\u{3000}' => ' ',
        '\u{FF01}'..='\u{FF5E}' => char::from((character as u32 - 0xFEE0) as u8),
        '\u{FF5F}'..='\u{FFEF}' => HALF[character as usize - 0xFF5F],
        other => other,
    }
}

struct Fixer {
    out: String,
    enabled: u32,
    applied: u32,
}

impl Fixer {
    /// Appends a character with the given flags, repaired.
    fn push(&mut self, mut character: char, flags: u32) {
        if self.enabled & C1 != 0 && matches!(character, '\u{80}'..='\u{9F}') {
            let meant = windows_1252(character);
            if meant != character {
                self.applied |= C1;
                character = meant;
            }
        }
        match ligature(character).filter(|_| self.enabled & LIGATURE != 0) {
            Some(letters) => {
                self.applied |= LIGATURE;
                letters.chars().for_each(|letter| self.push_letter(letter));
            }
            None => self.push_width(character, flags),
        }
    }

    fn push_width(&mut self, character: char, flags: u32) {
        let flag = flags & self.enabled & (WIDTH | WIDTH_LETTERS);
        if flag == 0 {
            return self.push_letter(character);
        }
        self.applied |= flag;
        self.push_letter(standard_width(character));
        if character == '\u{FFE3}' {
            self.push_letter('\u{304}');
        }
    }

    fn push_letter(&mut self, character: char) {
        let (flag, instead) = match character {
            '\u{2BC}' | '\u{2018}'..='\u{201B}' => (QUOTE, Some('\'')),
            '\u{201C}'..='\u{201F}' => (QUOTE, Some('"')),
            '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => (BREAK, Some('\n')),
            '\0'..='\x08' | '\x0B' | '\x0E'..='\x1F' | '\x7F' => (CONTROL, None),
            '\u{206A}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFC}' => (CONTROL, None),
            _ => return self.out.push(character),
        };
        if self.enabled & flag == 0 {
            return self.out.push(character);
        }
        self.applied |= flag;
        if let Some(instead) = instead {
            self.out.push(instead);
        }
    }
}

/// Applies the repairs named by the flags `enabled`. `None` where none applies, else the text and the
/// flags of those that did.
pub(crate) fn fix_characters(table: &Table, text: &str, enabled: u32) -> Option<(String, u32)> {
    let bytes = text.as_bytes();
    let mut next = scan::find(table, bytes, 0, enabled);
    next?;
    let mut fixer = Fixer { out: String::with_capacity(text.len()), enabled, applied: 0 };
    let mut copied = 0;
    while let Some((position, code, length, flags)) = next {
        fixer.out.push_str(&text[copied..position]);
        copied = position + length;
        // The line feed of CR LF is the line break.
        if code == 0x0D && enabled & BREAK != 0 && bytes.get(copied) == Some(&b'\n') {
            fixer.applied |= BREAK;
        } else {
            fixer.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), flags);
        }
        next = scan::find(table, bytes, copied, enabled);
    }
    if fixer.applied == 0 {
        return None;
    }
    fixer.out.push_str(&text[copied..]);
    Some((fixer.out, fixer.applied))
}
