//! What to repair: plain switches. The defaults are those of `ftfy.fix_text`; what ftfy does not know
//! (invisible characters, whitespace, Chinese scripts) is off until asked for.

use serde::{Deserialize, Serialize};

use crate::chinese::Chinese;

/// What to repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepairConfig {
    /// Whether HTML entities become their characters.
    pub unescape_html: UnescapeHtml,
    /// Removes the escape sequences that colour text in a terminal.
    pub terminal_escapes: bool,
    /// Finds mojibake and reads it again in the right encoding. The next three say how.
    pub mojibake: bool,
    /// Takes a space for U+00A0 where that makes mojibake readable.
    pub restore_byte_a0: bool,
    /// Reads mojibake with bytes lost to `�` or `?`; what cannot be known becomes `�`.
    pub replace_lossy_sequences: bool,
    /// Reads pieces of mojibake in text that is otherwise sound.
    pub decode_inconsistent_utf8: bool,
    /// Takes C1 control characters for windows-1252, as browsers do.
    pub c1_controls: bool,
    /// Takes ligatures of Latin letters apart (`ﬁ`, `ĳ`, `ǆ`).
    pub latin_ligatures: bool,
    /// Which full-width and half-width forms become standard ones.
    pub width: Width,
    /// Makes curly quotation marks straight.
    pub quotes: bool,
    /// Makes every kind of line break a line feed.
    pub line_breaks: bool,
    /// Removes control characters without visible effect, U+FEFF (the byte order mark) among them.
    pub control_characters: bool,
    /// The Unicode normal form.
    pub normalization: Normalization,
    /// A line longer than this is repaired in pieces of so many characters.
    pub segment_characters_max: usize,
    /// Which invisible characters are removed.
    pub invisible: Invisible,
    /// What happens to whitespace.
    pub whitespace: Whitespace,
    /// The conversion between Chinese scripts.
    pub chinese: Option<Chinese>,
}

impl Default for RepairConfig {
    fn default() -> Self {
        Self {
            unescape_html: UnescapeHtml::Auto,
            terminal_escapes: true,
            mojibake: true,
            restore_byte_a0: true,
            replace_lossy_sequences: true,
            decode_inconsistent_utf8: true,
            c1_controls: true,
            latin_ligatures: true,
            width: Width::Standard,
            quotes: true,
            line_breaks: true,
            control_characters: true,
            normalization: Normalization::Nfc,
            segment_characters_max: 1_000_000,
            invisible: Invisible::Keep,
            whitespace: Whitespace::default(),
            chinese: None,
        }
    }
}

impl RepairConfig {
    /// Nothing is repaired: the ground on which to switch on one thing.
    pub fn nothing() -> Self {
        Self {
            unescape_html: UnescapeHtml::Never,
            terminal_escapes: false,
            mojibake: false,
            c1_controls: false,
            latin_ligatures: false,
            width: Width::Keep,
            quotes: false,
            line_breaks: false,
            control_characters: false,
            normalization: Normalization::None,
            ..Self::default()
        }
    }

    /// For Chinese text: as the default, but punctuation stays full-width and quotation marks curly.
    pub fn chinese() -> Self {
        Self { width: Width::Letters, quotes: false, ..Self::default() }
    }
}

/// Whether HTML entities become their characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnescapeHtml {
    /// Until the first line with a `<` in it: then it is HTML and its entities are meant.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Which full-width and half-width forms become standard ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Width {
    /// None.
    Keep,
    /// All, and U+3000 becomes a space: what ftfy does.
    #[default]
    Standard,
    /// Full-width letters and digits, half-width katakana and hangul. Punctuation stays as Chinese and
    /// Japanese write it.
    Letters,
}

/// A Unicode normal form (UAX #15).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// As it is.
    None,
    /// Composed.
    #[default]
    Nfc,
    /// Decomposed.
    Nfd,
    /// Composed, compatibility forms replaced: `10³` becomes `103`.
    Nfkc,
    /// Decomposed, compatibility forms replaced.
    Nfkd,
}

/// Which invisible characters are removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invisible {
    /// None.
    #[default]
    Keep,
    /// Those without any effect on the letters around them: soft hyphen, zero-width space, word joiner
    /// and invisible operators, Mongolian vowel separator, byte order mark.
    Idle,
    /// Those, and joiners, non-joiners and direction marks, which emoji, Persian, Indic scripts and
    /// Hebrew need.
    All,
}

/// What happens to whitespace. By default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Whitespace {
    /// Makes no-break, thin, ideographic and other spaces plain ones.
    pub plain: bool,
    /// Makes runs of spaces and tabs one space, at the beginning of a line too.
    pub fold: bool,
    /// Removes whitespace at the ends of lines.
    pub trim_lines: bool,
    /// Removes whitespace at both ends of the text.
    pub trim: bool,
    /// How many blank lines may follow one another.
    pub blank_lines_max: Option<usize>,
}
