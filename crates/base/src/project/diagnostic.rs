//! What is wrong with a project file, drawn with file, line, caret and hint.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Byte offsets in the text.
    pub span: Range<usize>,
    /// The dotted key, where one is concerned.
    pub key: String,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Everything that is wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    path: PathBuf,
    text: String,
    found: Vec<Diagnostic>,
}

impl Diagnostics {
    pub(super) fn new(path: &Path, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), found: Vec::new() }
    }

    pub(super) fn push(&mut self, span: Range<usize>, key: &str, message: String, hint: Option<String>) {
        self.found.push(Diagnostic { span, key: key.to_owned(), message, hint });
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of it, in the order of the text.
    #[must_use]
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut all: Vec<&Diagnostic> = self.found.iter().collect();
        all.sort_by_key(|diagnostic| diagnostic.span.start);
        all
    }

    /// The messages alone, in one line.
    #[must_use]
    pub fn messages(&self) -> String {
        self.sorted().iter().map(|d| d.message.as_str()).collect::<Vec<_>>().join("; ")
    }

    /// Line and column (both from 1) of a byte offset; the column counts characters.
    fn position(&self, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        (line, column)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.found.len();
        write!(f, "{count} {} in {}", if count == 1 { "error" } else { "errors" }, self.path.display())?;
        for diagnostic in self.sorted() {
            let (line, column) = self.position(diagnostic.span.start);
            let source = self.text.lines().nth(line - 1).unwrap_or("");
            let left = source.chars().count().saturating_sub(column - 1).max(1);
            let spanned = self
                .text
                .get(diagnostic.span.clone())
                .map_or(1, |text| text.lines().next().unwrap_or("").chars().count());
            let carets = "^".repeat(spanned.clamp(1, left));
            let pad: String = source.chars().take(column - 1).map(blank_of).collect();
            let gutter = " ".repeat(line.to_string().len());
            write!(f, "\n\n  {}:{line}:{column}: {}", self.path.display(), diagnostic.message)?;
            write!(f, "\n  {gutter} |\n  {line} | {source}\n  {gutter} | {pad}{carets}")?;
            if let Some(hint) = &diagnostic.hint {
                write!(f, "\n  {gutter} = hint: {hint}")?;
            }
        }
        Ok(())
    }
}

/// Blanks as wide as the character above: two columns for East Asian wide characters.
fn blank_of(character: char) -> &'static str {
    match character {
        '\t' => "\t",
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{20000}'..='\u{3fffd}' => "  ",
        _ => " ",
    }
}
