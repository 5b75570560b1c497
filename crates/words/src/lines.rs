//! Lines and paragraphs, and white space, as Python's string methods see them.

use crate::classes::{SPACE, classes};

/// The lines of a text as Python's `str.splitlines` gives them: without their ends, of which there are eleven kinds.
pub fn lines(text: &str) -> Lines<'_> {
    Lines { rest: text }
}

/// See [`lines`].
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (end, behind) = line_end(self.rest.as_bytes());
        let line = &self.rest[..end];
        self.rest = &self.rest[behind..];
        Some(line)
    }
}

/// Where the first line ends, and where the next starts.
fn line_end(bytes: &[u8]) -> (usize, usize) {
    for (at, &byte) in bytes.iter().enumerate() {
        // Nearly every byte is a character above the last of the controls, or the start of no line end.
        if byte > 0x1e && byte != 0xc2 && byte != 0xe2 {
            continue;
        }
        let length = match &bytes[at..] {
            [b'\r', b'\n', ..] => 2,
            [b'\n' | b'\r' | 0x0b | 0x0c | 0x1c..=0x1e, ..] => 1,
            [0xc2, 0x85, ..] => 2,
            [0xe2, 0x80, 0xa8 | 0xa9, ..] => 3,
            _ => continue,
        };
        return (at, at + length);
    }
    (bytes.len(), bytes.len())
}

/// A text without the white space around it: Python's `str.strip`.
#[inline]
pub fn strip(text: &str) -> &str {
    let edge = |byte: Option<&u8>| byte.is_none_or(|byte| (0x21..0x80).contains(byte));
    let bytes = text.as_bytes();
    if edge(bytes.first()) && edge(bytes.last()) {
        return text;
    }
    let classes = classes();
    text.trim_matches(|character| classes.is(character, SPACE))
}

/// A text without the white space before it: Python's `str.lstrip`.
pub fn strip_start(text: &str) -> &str {
    let classes = classes();
    text.trim_start_matches(|character| classes.is(character, SPACE))
}

/// A text without the white space behind it: Python's `str.rstrip`.
pub fn strip_end(text: &str) -> &str {
    let classes = classes();
    text.trim_end_matches(|character| classes.is(character, SPACE))
}

/// The runs of characters between white space: Python's `str.split()`.
pub fn chunks(text: &str) -> impl Iterator<Item = &str> {
    let classes = classes();
    text.split(|character| classes.is(character, SPACE)).filter(|chunk| !chunk.is_empty())
}

/// The paragraphs of a text as datatrove's `split_into_paragraphs` cuts them: each line with the blank lines after
/// it; line ends become `\n`.
pub fn paragraphs(text: &str) -> Vec<String> {
    let lines: Vec<&str> = lines(text).collect();
    let mut out = Vec::new();
    let mut current = String::new();
    let mut begun = false;
    for (index, line) in lines.iter().enumerate() {
        if begun && !strip(line).is_empty() {
            out.push(std::mem::take(&mut current));
        }
        begun = true;
        current.push_str(line);
        if index + 1 < lines.len() {
            current.push('\n');
        }
    }
    if begun {
        out.push(current);
    }
    out
}
