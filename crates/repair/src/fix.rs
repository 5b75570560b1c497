//! The order of repair: ftfy's loop (6.3.1, Apache-2.0; `fix_text`, `fix_and_explain`) over each line
//! that holds anything of interest, then what ftfy does not do, over the whole text.

use std::borrow::Cow;

use unicode_normalization::{
    IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfd_quick, is_nfkc_quick, is_nfkd_quick,
};

use crate::characters::fix_characters;
use crate::config::{Normalization, RepairConfig, UnescapeHtml, Width};
use crate::escapes::remove_terminal_escapes;
use crate::html::unescape_html;
use crate::mojibake::{self, Budget};
use crate::report::{Action, Ledger, Reason, Repaired, Step};
use crate::tables::{
    AMPERSAND, BREAK, C1, CONTROL, ESCAPE, LIGATURE, NFC, NFD, NFKC, NFKD, QUOTE, SUSPECT, Table, WIDTH, WIDTH_LETTERS,
};
use crate::whitespace::{fix_whitespace, remove_invisible};
use crate::{chinese, scan};

/// Repairs a text, line by line as `ftfy.fix_text` does, and says what was done. Never fails; where
/// hostile text nests its mistakes without end it stops after 64 times the line's length of work.
pub fn repair<'a>(text: &'a str, config: &RepairConfig) -> Repaired<'a> {
    let mut ledger = Ledger::default();
    let mut current = Engine::new(config).fix_lines(text, &mut ledger).map_or(Cow::Borrowed(text), Cow::Owned);
    if let Some(fixed) = remove_invisible(&current, config.invisible) {
        ledger.note(Reason::Invisible);
        current = Cow::Owned(fixed);
    }
    if let Some(fixed) = fix_whitespace(&current, &config.whitespace) {
        ledger.note(Reason::Whitespace);
        current = Cow::Owned(fixed);
    }
    if let Some(script) = config.chinese
        && let Cow::Owned(converted) = chinese::convert(&current, script)
    {
        ledger.note(Reason::ChineseScript);
        current = Cow::Owned(converted);
    }
    Repaired { text: current, changes: ledger.into_changes() }
}

/// Repairs a text as one segment and lists the steps, as `ftfy.fix_and_explain` does. What ftfy does not
/// know is not done.
pub fn explain<'a>(text: &'a str, config: &RepairConfig) -> (Cow<'a, str>, Vec<Step>) {
    let mut steps = Vec::new();
    let html = match config.unescape_html {
        UnescapeHtml::Auto => !text.contains('<'),
        UnescapeHtml::Always => true,
        UnescapeHtml::Never => false,
    };
    let fixed = Engine::new(config).fix_segment(text, html, &mut steps);
    (fixed.map_or(Cow::Borrowed(text), Cow::Owned), steps)
}

/// Repairs only mojibake, in a text as a whole, as `ftfy.fix_encoding` does.
pub fn fix_encoding<'a>(text: &'a str, config: &RepairConfig) -> Cow<'a, str> {
    if !config.mojibake {
        return Cow::Borrowed(text);
    }
    mojibake::fix_encoding(text, config, &mut Budget::of(text), 0, &mut Vec::new())
        .map_or(Cow::Borrowed(text), Cow::Owned)
}

/// The order in which ftfy lists its repairs of single characters.
const NAMES: [(u32, &str); 6] = [
    (C1, "fix_c1_controls"),
    (LIGATURE, "fix_latin_ligatures"),
    (WIDTH | WIDTH_LETTERS, "fix_character_width"),
    (QUOTE, "uncurl_quotes"),
    (BREAK, "fix_line_breaks"),
    (CONTROL, "remove_control_chars"),
];

/// A configuration made ready.
struct Engine<'c> {
    config: &'c RepairConfig,
    table: &'static Table,
    /// The flags of the repairs of single characters.
    characters: u32,
    /// The flag of the normal form.
    normal: u32,
    /// The flags of everything that calls for a closer look.
    want: u32,
}

impl<'c> Engine<'c> {
    fn new(config: &'c RepairConfig) -> Self {
        let mut characters = 0;
        for (enabled, flag) in [
            (config.c1_controls, C1),
            (config.latin_ligatures, LIGATURE),
            (config.width == Width::Standard, WIDTH),
            (config.width == Width::Letters, WIDTH_LETTERS),
            (config.quotes, QUOTE),
            (config.line_breaks, BREAK),
            (config.control_characters, CONTROL),
        ] {
            characters |= if enabled { flag } else { 0 };
        }
        let normal = match config.normalization {
            Normalization::None => 0,
            Normalization::Nfc => NFC,
            Normalization::Nfd => NFD,
            Normalization::Nfkc => NFKC,
            Normalization::Nfkd => NFKD,
        };
        let mut want = characters | normal;
        want |= if config.mojibake { SUSPECT } else { 0 };
        want |= if config.terminal_escapes { ESCAPE } else { 0 };
        want |= if config.unescape_html == UnescapeHtml::Never { 0 } else { AMPERSAND };
        Self { config, table: Table::get(), characters, normal, want }
    }

    /// Repairs each line by itself. `None` where nothing changed.
    fn fix_lines(&self, text: &str, ledger: &mut Ledger) -> Option<String> {
        let bytes = text.as_bytes();
        let (mut out, mut copied, mut at) = (String::new(), 0, 0);
        let mut want = self.want;
        let mut html = self.config.unescape_html != UnescapeHtml::Never;
        let mut searched = 0;
        let mut steps = Vec::new();
        while let Some((position, ..)) = scan::find(self.table, bytes, at, want) {
            let mut start = memchr::memrchr(b'\n', &bytes[at..position]).map_or(at, |offset| at + offset + 1);
            let line_end = memchr::memchr(b'\n', &bytes[position..]).map_or(text.len(), |o| position + o + 1);
            while start < line_end {
                let end = self.segment_end(text, start, line_end);
                if html && self.config.unescape_html == UnescapeHtml::Auto {
                    html = memchr::memchr(b'<', &bytes[searched..end]).is_none();
                    searched = end;
                    want &= if html { !0 } else { !AMPERSAND };
                }
                steps.clear();
                if let Some(fixed) = self.fix_segment(&text[start..end], html, &mut steps) {
                    ledger.note_steps(&steps);
                    if copied == 0 {
                        out.reserve(text.len() - copied + 64);
                    }
                    out.push_str(&text[copied..start]);
                    out.push_str(&fixed);
                    copied = end;
                }
                start = end;
            }
            at = line_end;
        }
        if copied == 0 {
            return None;
        }
        out.push_str(&text[copied..]);
        Some(out)
    }

    /// Where the segment from `start` ends: with the line, or after the most characters.
    fn segment_end(&self, text: &str, start: usize, line_end: usize) -> usize {
        let most = self.config.segment_characters_max.max(1);
        if line_end - start <= most {
            return line_end;
        }
        text[start..line_end].char_indices().nth(most).map_or(line_end, |(offset, _)| start + offset)
    }

    /// Repairs one segment until nothing changes. `None` where nothing changed.
    fn fix_segment(&self, segment: &str, html: bool, steps: &mut Vec<Step>) -> Option<String> {
        let mut fixed: Option<String> = None;
        let mut budget = Budget::of(segment);
        let want = self.want & if html { !0 } else { !AMPERSAND };
        loop {
            let current = fixed.as_deref().unwrap_or(segment);
            if !budget.spend(current) {
                break;
            }
            let flags = scan::flags(self.table, current.as_bytes(), want);
            if flags == 0 {
                break;
            }
            match self.fix_round(current, flags, want, &mut budget, steps) {
                Some(next) if next != current => fixed = Some(next),
                _ => break,
            }
        }
        fixed.filter(|text| text != segment)
    }

    /// One round of all repairs, of which the text's flags say which can matter.
    fn fix_round(
        &self,
        text: &str,
        mut flags: u32,
        want: u32,
        budget: &mut Budget,
        steps: &mut Vec<Step>,
    ) -> Option<String> {
        let mut fixed: Option<String> = None;
        if flags & AMPERSAND != 0
            && let Some(next) = unescape_html(text)
        {
            steps.push(Step { action: Action::Apply, parameter: "unescape_html" });
            flags = scan::flags(self.table, next.as_bytes(), want);
            fixed = Some(next);
        }
        if flags & SUSPECT != 0
            && let Some(next) = mojibake::fix_encoding(fixed.as_deref().unwrap_or(text), self.config, budget, 0, steps)
        {
            flags = scan::flags(self.table, next.as_bytes(), want);
            fixed = Some(next);
        }
        if flags & (self.characters | ESCAPE) != 0
            && let Some(next) = self.fix_characters(fixed.as_deref().unwrap_or(text), flags, steps)
        {
            flags = scan::flags(self.table, next.as_bytes(), want);
            fixed = Some(next);
        }
        if flags & self.normal != 0
            && let Some(next) = normalize(fixed.as_deref().unwrap_or(text), self.config.normalization)
        {
            steps.push(Step { action: Action::Normalize, parameter: form_name(self.config.normalization) });
            fixed = Some(next);
        }
        fixed
    }

    /// The repairs of single characters, and terminal escapes between them and control characters.
    fn fix_characters(&self, text: &str, flags: u32, steps: &mut Vec<Step>) -> Option<String> {
        let escapes = flags & ESCAPE != 0 && self.config.terminal_escapes;
        let early = if escapes { self.characters & !CONTROL } else { self.characters };
        let mut fixed = None;
        let apply = |fixed: &mut Option<String>, enabled: u32, steps: &mut Vec<Step>| {
            let current = fixed.as_deref().unwrap_or(text);
            if let Some((next, applied)) = fix_characters(self.table, current, enabled) {
                let names = NAMES.iter().filter(|(flag, _)| applied & flag != 0);
                steps.extend(names.map(|(_, parameter)| Step { action: Action::Apply, parameter }));
                *fixed = Some(next);
            }
        };
        apply(&mut fixed, early, steps);
        if escapes {
            if let Some(next) = remove_terminal_escapes(fixed.as_deref().unwrap_or(text)) {
                steps.push(Step { action: Action::Apply, parameter: "remove_terminal_escapes" });
                fixed = Some(next);
            }
            apply(&mut fixed, self.characters & CONTROL, steps);
        }
        fixed
    }
}

fn form_name(form: Normalization) -> &'static str {
    match form {
        Normalization::None => "none",
        Normalization::Nfc => "NFC",
        Normalization::Nfd => "NFD",
        Normalization::Nfkc => "NFKC",
        Normalization::Nfkd => "NFKD",
    }
}

/// The text in a normal form; `None` where it is in it already.
fn normalize(text: &str, form: Normalization) -> Option<String> {
    let quick = match form {
        Normalization::None => IsNormalized::Yes,
        Normalization::Nfc => is_nfc_quick(text.chars()),
        Normalization::Nfd => is_nfd_quick(text.chars()),
        Normalization::Nfkc => is_nfkc_quick(text.chars()),
        Normalization::Nfkd => is_nfkd_quick(text.chars()),
    };
    if quick == IsNormalized::Yes {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    match form {
        Normalization::None => {}
        Normalization::Nfc => out.extend(text.nfc()),
        Normalization::Nfd => out.extend(text.nfd()),
        Normalization::Nfkc => out.extend(text.nfkc()),
        Normalization::Nfkd => out.extend(text.nfkd()),
    }
    (out != text).then_some(out)
}
