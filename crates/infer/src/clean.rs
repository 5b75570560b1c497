//! Cells are brought to one form before they become features: the same functions run when a dataset
//! is made, when a model is evaluated, and when it is served.
//!
//! A *blank* is a character with the Unicode property `White_Space`. Every function here is
//! idempotent: cleaning what is clean changes nothing.

use std::borrow::Cow;

use base::Value;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::description::TextCleaning;

/// How a cell that holds nothing is written in files without types (CSV, TSV), besides the empty
/// cell. Compared after trimming, with upper and lower case as they stand.
pub const MISSING_WORDS: [&str; 12] =
    ["NA", "N/A", "n/a", "na", "NULL", "Null", "null", "None", "none", "NaN", "nan", "?"];

/// The pairs of words that a binary column may be written in, false first.
pub const BINARY_PAIRS: [[&str; 2]; 6] =
    [["false", "true"], ["no", "yes"], ["0", "1"], ["n", "y"], ["f", "t"], ["否", "是"]];

/// Brings a cell's text to normalisation form C, trims it and folds runs of blanks into one space,
/// as far as `how` says. Borrowed when nothing changes.
#[must_use]
pub fn clean_text(text: &str, how: TextCleaning) -> Cow<'_, str> {
    let text = compose(text, how);
    if !how.whitespace || blanks_are_folded(&text) {
        return text;
    }
    let mut folded = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.push_str(word);
    }
    Cow::Owned(folded)
}

/// Brings a document of a language model to its form: normalisation form C, lines ended by `\n`, no
/// blanks at the end of a line or of the document. Blanks inside it are part of the text. (A prompt is
/// only composed, with `whitespace: false`: where it ends is where the model goes on.)
#[must_use]
pub fn clean_document(text: &str, how: TextCleaning) -> Cow<'_, str> {
    let text = compose(text, how);
    if !how.whitespace || document_is_trimmed(&text) {
        return text;
    }
    let mut trimmed = String::with_capacity(text.len());
    for (index, line) in text.trim_end().split('\n').enumerate() {
        if index > 0 {
            trimmed.push('\n');
        }
        trimmed.push_str(line.trim_end());
    }
    Cow::Owned(trimmed)
}

/// Cleans a cell: text as [`clean_text`] does, and what then is empty is missing, as is a number
/// that is not finite.
#[must_use]
pub fn clean_value(value: Value, how: TextCleaning) -> Value {
    match value {
        Value::Text(text) => {
            let cleaned = match clean_text(&text, how) {
                Cow::Borrowed(_) => text,
                Cow::Owned(cleaned) => cleaned,
            };
            if cleaned.trim().is_empty() { Value::Missing } else { Value::Text(cleaned) }
        }
        Value::Number(number) if !number.is_finite() => Value::Missing,
        // -0 and 0 are one number, and must be one row to the search for duplicates.
        Value::Number(number) => Value::Number(number + 0.0),
        other => other,
    }
}

/// Whether a cell of a file without types says that it holds nothing.
#[must_use]
pub fn is_missing_word(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || MISSING_WORDS.contains(&text)
}

/// Reads a finite number, with blanks around it; `None` for anything else.
#[must_use]
pub fn read_number(text: &str) -> Option<f64> {
    let text = text.trim();
    // Rust reads "inf", "infinity" and "nan" as well; a column of words must not become numbers.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) {
        return None;
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Reads a truth value written as one of `labels` (false, true), upper or lower case.
#[must_use]
pub fn read_binary(text: &str, labels: &[String; 2]) -> Option<bool> {
    let text = text.trim().to_lowercase();
    let index = labels.iter().position(|label| label.to_lowercase() == text)?;
    Some(index == 1)
}

fn compose(text: &str, how: TextCleaning) -> Cow<'_, str> {
    if !how.unicode || text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return Cow::Borrowed(text);
    }
    let composed: String = text.nfc().collect();
    if composed == text { Cow::Borrowed(text) } else { Cow::Owned(composed) }
}

/// Whether every run of blanks is one space inside the text.
fn blanks_are_folded(text: &str) -> bool {
    let mut after_blank = true;
    for character in text.chars() {
        let blank = character.is_whitespace();
        if blank && (after_blank || character != ' ') {
            return false;
        }
        after_blank = blank;
    }
    text.is_empty() || !after_blank
}

fn document_is_trimmed(text: &str) -> bool {
    text.split('\n').all(|line| line.len() == line.trim_end().len()) && !text.ends_with('\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: TextCleaning = TextCleaning { unicode: true, whitespace: true };
    const NONE: TextCleaning = TextCleaning { unicode: false, whitespace: false };

    #[test]
    fn text_is_composed_trimmed_and_folded() {
        assert_eq!(clean_text(" Cafe\u{301}\t\n ouvert\u{3000}", ALL), "Café ouvert");
        assert_eq!(clean_text(" Cafe\u{301} ", NONE), " Cafe\u{301} ");
        assert!(matches!(clean_text("Café ouvert", ALL), Cow::Borrowed(_)));
        assert_eq!(clean_text("\u{2001}", ALL), "");
    }

    #[test]
    fn a_document_keeps_its_lines_and_indents() {
        assert_eq!(clean_document("  a  b \r\n\r\n\tc\t\n\n", ALL), "  a  b\n\n\tc");
        assert_eq!(clean_document("\n\na", ALL), "\n\na");
        assert_eq!(clean_document("\n a ", ALL), "\n a");
        assert!(matches!(clean_document(" a\nb", ALL), Cow::Borrowed(_)));
    }

    #[test]
    fn empty_and_infinite_cells_are_missing() {
        assert_eq!(clean_value(Value::Text(" \u{a0}".to_owned()), ALL), Value::Missing);
        assert_eq!(clean_value(Value::Number(f64::NAN), ALL), Value::Missing);
        assert_eq!(clean_value(Value::Number(f64::INFINITY), ALL), Value::Missing);
        assert_eq!(clean_value(Value::Binary(true), ALL), Value::Binary(true));
        assert!(is_missing_word(" N/A ") && is_missing_word("") && !is_missing_word("nano"));
    }

    #[test]
    fn only_finite_numbers_are_read() {
        assert_eq!(read_number(" -1.5e3 "), Some(-1500.0));
        for text in ["inf", "NaN", "1e999", "", "1,5", "0x10", "1 2", "e"] {
            assert_eq!(read_number(text), None, "{text}");
        }
        let labels = ["No".to_owned(), "Yes".to_owned()];
        assert_eq!((read_binary("YES ", &labels), read_binary("maybe", &labels)), (Some(true), None));
    }

    proptest::proptest! {
        #[test]
        fn cleaning_twice_is_cleaning_once(text in "(?s)(\\PC|[ \t\n\r\u{85}\u{a0}\u{2001}\u{300}-\u{330}\u{3000}a-c가-각]){0,24}") {
            for how in [ALL, NONE, TextCleaning { unicode: true, whitespace: false }, TextCleaning { unicode: false, whitespace: true }] {
                let once = clean_text(&text, how).into_owned();
                proptest::prop_assert_eq!(clean_text(&once, how), once.as_str());
                let once = clean_document(&text, how).into_owned();
                proptest::prop_assert_eq!(clean_document(&once, how), once.as_str());
                let once = clean_value(Value::Text(text.clone()), how);
                proptest::prop_assert_eq!(clean_value(once.clone(), how), once);
            }
        }
    }
}
