//! What the lines and paragraphs of a text are like: Gopher's repetition and FineWeb's quality rules, as datatrove's
//! `gopher_repetition_filter.py` and `fineweb_quality_filter.py` have them.

use words::{TERMINAL, classes, strip};

use crate::hash::{HashSet, hash_bytes};

/// Length in characters.
#[inline]
pub(crate) fn characters(text: &str) -> u64 {
    text.chars().count() as u64
}

/// Elements that occurred before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Duplicates {
    pub elements: u64,
    pub all: u64,
    pub characters: u64,
}

/// What FineWeb's rules count of filled lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FilledLines {
    pub lines: u64,
    pub with_terminal_punctuation: u64,
    pub short: u64,
    pub duplicate_characters: u64,
}

impl FilledLines {
    /// Takes a line that is not all white space.
    #[inline]
    pub fn push(&mut self, line: &str, duplicate: bool, short_line_characters: u64) {
        self.lines += 1;
        let last = line.chars().next_back();
        self.with_terminal_punctuation += u64::from(last.is_some_and(|last| classes().is(last, TERMINAL)));
        // No character takes more than four bytes.
        let long = line.len() as u64 > 4 * short_line_characters;
        self.short += u64::from(!long && characters(line) <= short_line_characters);
        if duplicate {
            self.duplicate_characters += characters(line);
        }
    }
}

/// What the lines between `\n` are like.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NewlineLines {
    pub gopher: Duplicates,
    pub filled: FilledLines,
    pub count: u64,
    pub longest: [u64; 3],
}

/// Looks at each line between `\n`.
pub(crate) fn measure_lines(text: &str, newlines: usize, short: u64, set: &mut HashSet) -> NewlineLines {
    let mut out = NewlineLines { count: newlines as u64 + 1, ..NewlineLines::default() };
    set.reset(newlines + 1);
    for line in Split::new(text) {
        out.note_length(line);
        // A run of line ends is one: empty lines count at the text's ends only.
        if line.is_empty() {
            continue;
        }
        out.gopher.all += 1;
        let duplicate = set.insert(hash_bytes(line.as_bytes()));
        if duplicate {
            out.gopher.elements += 1;
            out.gopher.characters += characters(line);
        }
        if !strip(line).is_empty() {
            out.filled.push(line, duplicate, short);
        }
    }
    let empty_ends = u64::from(text.starts_with('\n')) + u64::from(text.ends_with('\n'));
    out.gopher.all += empty_ends;
    out.gopher.elements += u64::from(empty_ends == 2);
    out
}

impl NewlineLines {
    fn note_length(&mut self, line: &str) {
        if line.len() as u64 <= self.longest[2] {
            return;
        }
        let length = characters(line);
        let place = self.longest.iter().position(|longer| length > *longer);
        if let Some(place) = place {
            self.longest[place..].rotate_right(1);
            self.longest[place] = length;
        }
    }
}

/// Paragraphs: what stands between two or more `\n`.
pub(crate) fn measure_paragraphs(text: &str, set: &mut HashSet) -> Duplicates {
    let text = strip(text);
    let mut out = Duplicates::default();
    let bytes = text.as_bytes();
    let starts = memchr::memmem::find_iter(bytes, b"\n\n").count();
    if starts == 0 {
        out.all = 1;
        return out;
    }
    set.reset(starts + 1);
    let mut at = 0;
    loop {
        let end = memchr::memmem::find(&bytes[at..], b"\n\n").map_or(bytes.len(), |gap| at + gap);
        out.all += 1;
        if set.insert(hash_bytes(&bytes[at..end])) {
            out.elements += 1;
            out.characters += characters(&text[at..end]);
        }
        if end == bytes.len() {
            return out;
        }
        at = end + bytes[end..].iter().take_while(|byte| **byte == b'\n').count();
    }
}

/// What stands between `\n`.
pub(crate) struct Split<'a> {
    rest: Option<&'a str>,
}

impl<'a> Split<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { rest: Some(text) }
    }
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        if let Some(end) = memchr::memchr(b'\n', rest.as_bytes()) {
            self.rest = Some(&rest[end + 1..]);
            return Some(&rest[..end]);
        }
        self.rest = None;
        Some(rest)
    }
}
