//! Finds out which encoding a text was misread in and reads it again. Behaviour of ftfy 6.3.1
//! (Apache-2.0; `__init__.py` and `fixes.py`); the bytes are mended in `bytes.rs`.
//!
//! One difference: where ftfy repairs a piece of mojibake within other text it goes back to its
//! default options; here the options given hold there as well.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::badness::is_bad_with;
use crate::bytes::{decode_utf8_variants, replace_lossy_sequences, restore_byte_a0};
use crate::config::RepairConfig;
use crate::report::{Action, Step};
use crate::scan;
use crate::tables::encodings::CHARMAPS;
use crate::tables::{C1, CONTINUATION, CONTINUATION_STRICT, FIRST_OF_2, FIRST_OF_3, FIRST_OF_4, Table};

/// The work that a segment may take, in bytes looked at. Real text needs a few times its length; hostile
/// text nests its mistakes without end.
pub(crate) struct Budget(usize);

impl Budget {
    pub(crate) fn of(segment: &str) -> Self {
        Self((segment.len() + 1024) * 64)
    }

    /// Whether one more look at a text is within the budget, which it then takes.
    pub(crate) fn spend(&mut self, text: &str) -> bool {
        let within = self.0 > 0;
        self.0 = self.0.saturating_sub(text.len() + 16);
        within
    }
}

/// How deep mojibake within mojibake is followed.
const DEPTH_MAX: usize = 16;

const ENCODINGS: usize = CHARMAPS.len();
const ALL: u16 = (1 << ENCODINGS) - 1;
const LATIN_1: u16 = 1;
const WINDOWS_1252: usize = 1;
const MACROMAN: usize = 8;

/// The byte of a character in each encoding that has it.
#[derive(Clone, Copy)]
struct Bytes {
    encodings: u16,
    bytes: [u8; ENCODINGS],
}

/// The characters of the single-byte encodings: two small levels of index, then the bytes.
struct Encoder {
    pages: [u8; 256],
    blocks: Vec<[u16; 256]>,
    entries: Vec<Bytes>,
}

impl Encoder {
    fn get() -> &'static Self {
        static ENCODER: LazyLock<Encoder> = LazyLock::new(Encoder::build);
        &ENCODER
    }

    fn build() -> Self {
        let nothing = Bytes { encodings: 0, bytes: [0; ENCODINGS] };
        let mut all: HashMap<u32, Bytes> = HashMap::new();
        let mut add = |character: char, encoding: usize, byte: u8| {
            let entry = all.entry(character as u32).or_insert(nothing);
            entry.encodings |= 1 << encoding;
            entry.bytes[encoding] = byte;
        };
        for (encoding, charmap) in CHARMAPS.iter().enumerate() {
            for (character, byte) in charmap.upper.chars().zip(0x80..=0xFFu8) {
                add(character, encoding, byte);
            }
            // U+FFFD takes the place of the control code 0x1A in the sloppy encodings.
            add(if charmap.sloppy { '\u{FFFD}' } else { '\x1A' }, encoding, 0x1A);
        }
        let mut encoder = Self { pages: [0; 256], blocks: vec![[0; 256]], entries: vec![nothing] };
        for (code, bytes) in all {
            let page = (code >> 8) as usize;
            if encoder.pages[page] == 0 {
                encoder.pages[page] = encoder.blocks.len() as u8;
                encoder.blocks.push([0; 256]);
            }
            encoder.blocks[encoder.pages[page] as usize][(code & 0xFF) as usize] = encoder.entries.len() as u16;
            encoder.entries.push(bytes);
        }
        encoder
    }

    #[inline]
    fn bytes(&self, character: char) -> &Bytes {
        let code = character as u32;
        let page = self.pages.get((code >> 8) as usize).copied().unwrap_or(0);
        &self.entries[self.blocks[page as usize][(code & 0xFF) as usize] as usize]
    }

    /// The encodings that have every character of a text, as bits.
    fn possible(&self, text: &str) -> u16 {
        let mut encodings = ALL;
        for character in text.chars() {
            if !character.is_ascii() || character == '\x1A' {
                encodings &= self.bytes(character).encodings;
                if encodings == 0 {
                    break;
                }
            }
        }
        encodings
    }

    fn encode(&self, text: &str, encoding: usize, out: &mut Vec<u8>) {
        out.clear();
        out.extend(text.chars().map(|character| {
            if character.is_ascii() { character as u8 } else { self.bytes(character).bytes[encoding] }
        }));
    }
}

/// The character of a C1 control's byte in windows-1252.
pub(crate) fn windows_1252(control: char) -> char {
    static UPPER: LazyLock<Vec<char>> = LazyLock::new(|| CHARMAPS[WINDOWS_1252].upper.chars().collect());
    match control {
        '\u{80}'..='\u{9F}' => UPPER[control as usize - 0x80],
        other => other,
    }
}

/// Repairs the encoding of a text until nothing changes any more. `None` where nothing changed; the
/// steps are noted either way, as ftfy notes them.
pub(crate) fn fix_encoding(
    text: &str,
    config: &RepairConfig,
    budget: &mut Budget,
    depth: usize,
    steps: &mut Vec<Step>,
) -> Option<String> {
    let mut fixed: Option<String> = None;
    loop {
        let current = fixed.as_deref().unwrap_or(text);
        if !budget.spend(current) {
            break;
        }
        match fix_once(current, config, budget, depth, steps) {
            Some(next) if next != current => fixed = Some(next),
            _ => break,
        }
    }
    fixed
}

/// One step of repair.
fn fix_once(
    text: &str,
    config: &RepairConfig,
    budget: &mut Budget,
    depth: usize,
    steps: &mut Vec<Step>,
) -> Option<String> {
    let table = Table::get();
    if !is_bad_with(table, text) {
        return None;
    }
    let encoder = Encoder::get();
    let possible = encoder.possible(text);
    let mut buffer = Vec::with_capacity(text.len());
    for encoding in (0..ENCODINGS).filter(|encoding| possible & (1 << encoding) != 0) {
        encoder.encode(text, encoding, &mut buffer);
        if let Some(fixed) = reread(&mut buffer, encoding, config, steps) {
            return Some(fixed);
        }
    }
    if config.decode_inconsistent_utf8
        && depth < DEPTH_MAX
        && let Some(fixed) = decode_inconsistent_utf8(table, text, config, budget, depth)
    {
        steps.push(Step { action: Action::Apply, parameter: "decode_inconsistent_utf8" });
        return Some(fixed);
    }
    if possible & LATIN_1 != 0
        && let Some(fixed) = latin_1_as_windows_1252(text)
    {
        steps.push(Step { action: Action::Encode, parameter: "latin-1" });
        steps.push(Step { action: Action::Decode, parameter: "windows-1252" });
        return Some(fixed);
    }
    if config.c1_controls && scan::flags(table, text.as_bytes(), C1) != 0 {
        steps.push(Step { action: Action::Transcode, parameter: "fix_c1_controls" });
        return Some(text.chars().map(windows_1252).collect());
    }
    None
}

/// Reads bytes as UTF-8, mending them where that makes them so.
fn reread(bytes: &mut Vec<u8>, encoding: usize, config: &RepairConfig, steps: &mut Vec<Step>) -> Option<String> {
    let charmap = &CHARMAPS[encoding];
    let (mut restored, mut lossy) = (false, false);
    // In MacRoman an en dash before a space would look like a byte to restore.
    if config.restore_byte_a0
        && encoding != MACROMAN
        && let Some(changed) = restore_byte_a0(bytes)
    {
        *bytes = changed;
        restored = true;
    }
    if config.replace_lossy_sequences
        && charmap.sloppy
        && let Some(changed) = replace_lossy_sequences(bytes)
    {
        *bytes = changed;
        lossy = true;
    }
    let variants = memchr::memchr2(0xC0, 0xED, bytes).is_some();
    let fixed = if variants {
        decode_utf8_variants(bytes)?
    } else {
        String::from_utf8(std::mem::take(bytes)).map_err(|error| *bytes = error.into_bytes()).ok()?
    };
    steps.push(Step { action: Action::Encode, parameter: charmap.name });
    if restored {
        steps.push(Step { action: Action::Transcode, parameter: "restore_byte_a0" });
    }
    if lossy {
        steps.push(Step { action: Action::Transcode, parameter: "replace_lossy_sequences" });
    }
    steps.push(Step { action: Action::Decode, parameter: if variants { "utf-8-variants" } else { "utf-8" } });
    Some(fixed)
}

/// Latin-1 read again as windows-1252, if that has all its bytes and changes something.
fn latin_1_as_windows_1252(text: &str) -> Option<String> {
    let mut changed = false;
    for character in text.chars() {
        match character {
            '\u{81}' | '\u{8D}' | '\u{8F}' | '\u{90}' | '\u{9D}' => return None,
            '\u{80}'..='\u{9F}' => changed = true,
            _ => {}
        }
    }
    changed.then(|| text.chars().map(windows_1252).collect())
}

/// The end of the run of sequences that look like misread UTF-8 from `start` on; `start` where there
/// is none.
fn sequences_end(table: &Table, text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let mut end = start;
    'sequence: while end < bytes.len() {
        let (code, length) = scan::decode(bytes, end);
        let flags = table.flags(code);
        for (lead, count) in [(FIRST_OF_2, 1), (FIRST_OF_3, 2), (FIRST_OF_4, 3)] {
            if flags & lead != 0
                && let Some(next) = continuations_end(table, bytes, end + length, count)
            {
                end = next;
                continue 'sequence;
            }
        }
        break;
    }
    end
}

fn continuations_end(table: &Table, bytes: &[u8], mut at: usize, count: usize) -> Option<usize> {
    for _ in 0..count {
        if at >= bytes.len() {
            return None;
        }
        let (code, length) = scan::decode(bytes, at);
        if table.flags(code) & CONTINUATION == 0 {
            return None;
        }
        at += length;
    }
    Some(at)
}

/// Repairs the pieces of a text that look like misread UTF-8, each by itself. `None` where nothing
/// changed.
fn decode_inconsistent_utf8(
    table: &Table,
    text: &str,
    config: &RepairConfig,
    budget: &mut Budget,
    depth: usize,
) -> Option<String> {
    let leads = FIRST_OF_2 | FIRST_OF_3 | FIRST_OF_4;
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    let mut discarded = Vec::new();
    while let Some((start, _, length, _)) = scan::find(table, text.as_bytes(), at, leads) {
        at = start + length;
        let before = text[..start].chars().next_back();
        if before.is_some_and(|character| table.flags(character as u32) & CONTINUATION_STRICT != 0) {
            continue;
        }
        let end = sequences_end(table, text, start);
        if end == start {
            continue;
        }
        at = end;
        let piece = &text[start..end];
        // A piece as long as the text would come back here for ever.
        if piece.len() < text.len()
            && is_bad_with(table, piece)
            && let Some(fixed) = fix_encoding(piece, config, budget, depth + 1, &mut discarded)
        {
            out.push_str(&text[copied..start]);
            out.push_str(&fixed);
            copied = end;
        }
    }
    if copied == 0 {
        return None;
    }
    out.push_str(&text[copied..]);
    Some(out)
}
