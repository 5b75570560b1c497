//! What was done to a text: for the ledger the reasons (`Change`), for a closer look the steps in
//! ftfy's words (`Step`).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A repaired text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired<'a> {
    /// The text; borrowed where nothing had to be done.
    pub text: Cow<'a, str>,
    /// What was done, in the order in which it was first needed.
    pub changes: Vec<Change>,
}

/// One kind of repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Why.
    pub reason: Reason,
    /// For mojibake the encoding it was misread in (`latin-1`, `sloppy-windows-1252`, ...; `mixed` where
    /// pieces of the text were repaired one by one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Cow<'static, str>>,
    /// How many lines were changed; 1 for what is done to a text as a whole.
    pub lines: u64,
}

/// Why a text was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// HTML entities became characters.
    HtmlEntities,
    /// Text was read in the wrong encoding.
    Mojibake,
    /// C1 controls were windows-1252.
    C1Controls,
    /// Ligatures were taken apart.
    Ligatures,
    /// Full-width or half-width forms became standard ones.
    Width,
    /// Curly quotation marks became straight.
    Quotes,
    /// Line breaks became line feeds.
    LineBreaks,
    /// Terminal escapes were removed.
    TerminalEscapes,
    /// Control characters were removed.
    ControlCharacters,
    /// The text was not in the normal form.
    Normalization,
    /// Invisible characters were removed.
    Invisible,
    /// Whitespace was changed.
    Whitespace,
    /// The text was converted to another Chinese script.
    ChineseScript,
}

impl Reason {
    /// The name it has in ledgers and configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::HtmlEntities => "html_entities",
            Self::Mojibake => "mojibake",
            Self::C1Controls => "c1_controls",
            Self::Ligatures => "ligatures",
            Self::Width => "width",
            Self::Quotes => "quotes",
            Self::LineBreaks => "line_breaks",
            Self::TerminalEscapes => "terminal_escapes",
            Self::ControlCharacters => "control_characters",
            Self::Normalization => "normalization",
            Self::Invisible => "invisible",
            Self::Whitespace => "whitespace",
            Self::ChineseScript => "chinese_script",
        }
    }
}

/// What a step does: from text to bytes, back, or within one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Text to bytes, in an encoding.
    Encode,
    /// Bytes to text, in an encoding.
    Decode,
    /// Bytes to bytes.
    Transcode,
    /// Text to text.
    Apply,
    /// Text to a normal form.
    Normalize,
}

/// One step of a repair, as ftfy's `fix_and_explain` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it does.
    pub action: Action,
    /// The encoding, normal form or function, by ftfy's name.
    pub parameter: &'static str,
}

/// Gathers changes over the lines of a text.
#[derive(Default)]
pub(crate) struct Ledger {
    /// The change, and the last line it was seen in.
    changes: Vec<(Change, u64)>,
    line: u64,
}

impl Ledger {
    /// Notes a change to the text as a whole.
    pub(crate) fn note(&mut self, reason: Reason) {
        self.line += 1;
        self.note_line(reason, None);
    }

    /// Notes the steps that changed one line.
    pub(crate) fn note_steps(&mut self, steps: &[Step]) {
        self.line += 1;
        for step in steps {
            let (reason, encoding) = match (step.action, step.parameter) {
                (Action::Encode, encoding) => (Reason::Mojibake, Some(encoding)),
                (Action::Decode, _) | (_, "restore_byte_a0" | "replace_lossy_sequences") => continue,
                (_, "decode_inconsistent_utf8") => (Reason::Mojibake, Some("mixed")),
                (Action::Normalize, _) => (Reason::Normalization, None),
                (_, "unescape_html") => (Reason::HtmlEntities, None),
                (_, "fix_c1_controls") => (Reason::C1Controls, None),
                (_, "fix_latin_ligatures") => (Reason::Ligatures, None),
                (_, "fix_character_width") => (Reason::Width, None),
                (_, "uncurl_quotes") => (Reason::Quotes, None),
                (_, "fix_line_breaks") => (Reason::LineBreaks, None),
                (_, "remove_terminal_escapes") => (Reason::TerminalEscapes, None),
                _ => (Reason::ControlCharacters, None),
            };
            self.note_line(reason, encoding);
        }
    }

    fn note_line(&mut self, reason: Reason, encoding: Option<&'static str>) {
        let known = self.changes.iter_mut().find(|(c, _)| c.reason == reason && c.encoding.as_deref() == encoding);
        match known {
            Some((_, last)) if *last == self.line => {}
            Some((change, last)) => {
                change.lines += 1;
                *last = self.line;
            }
            None => {
                let change = Change { reason, encoding: encoding.map(Cow::Borrowed), lines: 1 };
                self.changes.push((change, self.line));
            }
        }
    }

    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.changes.into_iter().map(|(change, _)| change).collect()
    }
}
