//! The same document, line, paragraph or run of sentences, by 128-bit hashes sorted on disk.
//!
//! Documents: the least id stays. Spans: the first occurrence stays, in the order of ids and places, and the
//! others are given back as ranges to cut. Lines are compared as CCNet does (Wenzek et al. 2020), sentences
//! in runs as C4 and datatrove do (three by default there).

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;
use words::{DIGIT, classes, simplify_into};

use crate::DedupError;
use crate::components::{ClusterSink, Clusters, Member, check_budget};
use crate::records::{Kind, RecordReader, RecordWriter};
use crate::sorter::Sorter;

/// Settings of exact deduplication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExactConfig {
    /// How much memory finding may use, in bytes.
    pub budget_bytes: u64,
}

impl Default for ExactConfig {
    fn default() -> Self {
        Self { budget_bytes: 1 << 30 }
    }
}

/// The two words of a text's hash.
fn hash(bytes: &[u8]) -> [u64; 2] {
    let hash = XxHash3_128::oneshot(bytes);
    [(hash >> 64) as u64, hash as u64]
}

/// Writes one worker's hashes of whole documents.
pub struct DocumentWriter(RecordWriter);

impl DocumentWriter {
    /// Makes the file `path`; it appears when it is finished.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> Result<Self, DedupError> {
        Ok(Self(RecordWriter::create(path, Kind::Documents, 3, 0, 0)?))
    }

    /// Adds a document; ids may come in any order.
    ///
    /// # Errors
    /// There is no room.
    pub fn push(&mut self, id: u64, text: &str) -> Result<(), DedupError> {
        let [high, low] = hash(text.as_bytes());
        self.0.push(&[id, high, low])
    }

    /// Ends the file and gives it its name; answers how many documents it has.
    ///
    /// # Errors
    /// There is no room, or the folder is gone.
    pub fn finish(self) -> Result<u64, DedupError> {
        self.0.finish()
    }
}

/// Finds equal documents in the files of all workers and writes clusters to the folder `output`.
///
/// # Errors
/// A file is missing or damaged, two documents with equal text have one id, or there is no room.
pub fn find_documents(files: &[PathBuf], output: &Path, config: &ExactConfig) -> Result<Clusters, DedupError> {
    check_budget(config.budget_bytes)?;
    fs::create_dir_all(output).map_err(DedupError::io("create", output))?;
    let mut sorter = Sorter::new(output, 3, config.budget_bytes / 2);
    let mut documents = 0;
    for file in files {
        let mut reader = RecordReader::open(file, Kind::Documents)?.expect(3, 0)?;
        while let Some(&[id, high, low]) = reader.next()? {
            sorter.push(&[high, low, id])?;
            documents += 1;
        }
    }
    let mut sink = ClusterSink::new(output, config.budget_bytes / 2);
    let mut sorted = sorter.finish()?;
    let mut group: Option<([u64; 2], u64, u64)> = None;
    while let Some(&[high, low, id]) = sorted.next()? {
        match &mut group {
            Some((key, representative, before)) if *key == [high, low] => {
                if *before == id {
                    return Err(DedupError::Duplicate { id });
                }
                *before = id;
                sink.push(Member { representative: *representative, id, similarity: 1.0 })?;
            }
            _ => group = Some(([high, low], id, id)),
        }
    }
    drop(sorted);
    sink.finish(output, documents)
}

/// Writes one worker's hashes of spans of documents.
pub struct SpanWriter {
    file: RecordWriter,
    text: String,
}

impl SpanWriter {
    /// Makes the file `path`; it appears when it is finished.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> Result<Self, DedupError> {
        Ok(Self { file: RecordWriter::create(path, Kind::Spans, 5, 0, 0)?, text: String::new() })
    }

    /// Adds a span that is compared by `key` (the span's text, normalised as one likes) and cut as `span`.
    ///
    /// # Errors
    /// There is no room.
    pub fn push(&mut self, id: u64, key: &[u8], span: Range<usize>) -> Result<(), DedupError> {
        let [high, low] = hash(key);
        self.file.push(&[id, high, low, span.start as u64, span.end as u64])
    }

    /// Adds every line that has something to compare; a line is cut with its line feed.
    ///
    /// # Errors
    /// There is no room.
    pub fn push_lines(&mut self, id: u64, text: &str) -> Result<(), DedupError> {
        self.push_spans(id, text, lines(text))
    }

    /// Adds every paragraph (lines up to an empty one); it is cut with the empty lines behind it.
    ///
    /// # Errors
    /// There is no room.
    pub fn push_paragraphs(&mut self, id: u64, text: &str) -> Result<(), DedupError> {
        self.push_spans(id, text, paragraphs(text))
    }

    fn push_spans(&mut self, id: u64, text: &str, spans: impl Iterator<Item = Range<usize>>) -> Result<(), DedupError> {
        let mut key = std::mem::take(&mut self.text);
        for span in spans {
            line_key(&text[span.clone()], &mut key);
            if !key.is_empty() {
                self.push(id, key.as_bytes(), span)?;
            }
        }
        self.text = key;
        Ok(())
    }

    /// Adds every run of `count` sentences, normalised as datatrove does. `ends` says where each sentence
    /// ends in bytes; a sentence begins where the one before ends, so that white space goes with what follows.
    ///
    /// # Errors
    /// There is no room, or the ends do not ascend within the text.
    pub fn push_sentences(&mut self, id: u64, text: &str, ends: &[usize], count: usize) -> Result<(), DedupError> {
        let mut keys = String::new();
        let mut bounds = vec![(0, 0)];
        for &end in ends {
            let start = bounds.last().map_or(0, |(_, end)| *end);
            let Some(sentence) = text.get(start..end) else {
                return Err(DedupError::Input { id, what: format!("no sentence can end at byte {end}") });
            };
            simplify_into(sentence, &mut self.text);
            keys.push_str(&self.text);
            keys.push(' ');
            bounds.push((keys.len(), end));
        }
        for run in bounds.windows(count + 1) {
            let (first, last) = (run[0], run[count]);
            let key = &keys[first.0..last.0];
            if !key.trim().is_empty() {
                let [high, low] = hash(key.as_bytes());
                self.file.push(&[id, high, low, first.1 as u64, last.1 as u64])?;
            }
        }
        Ok(())
    }

    /// Ends the file and gives it its name; answers how many spans it has.
    ///
    /// # Errors
    /// There is no room, or the folder is gone.
    pub fn finish(self) -> Result<u64, DedupError> {
        self.file.finish()
    }
}

fn lines(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    text.split_inclusive('\n').map(move |line| {
        let span = start..start + line.len();
        start = span.end;
        span
    })
}

fn paragraphs(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut lines = lines(text).peekable();
    std::iter::from_fn(move || {
        let mut span = lines.next()?;
        let mut blank = text[span.clone()].trim().is_empty();
        while let Some(next) = lines.next_if(|next| !blank || text[(*next).clone()].trim().is_empty()) {
            blank = text[next.clone()].trim().is_empty();
            span.end = next.end;
        }
        Some(span)
    })
}

/// CCNet's `normalize_for_dedup` (cc_net, MIT): stripped, lower case, digits to `0`, punctuation outside
/// ASCII and control characters removed.
fn line_key(line: &str, out: &mut String) {
    const PUNCTUATION: &str = "，。、„”“«»１」「《》´∶：？！（）；–—．～’…━〈〉【】％►";
    out.clear();
    let line = words::strip(line);
    let lower;
    let line = if line.contains('Σ') {
        lower = line.to_lowercase();
        &lower
    } else {
        line
    };
    for character in line.chars() {
        if character.is_ascii() {
            match character {
                '0'..='9' => out.push('0'),
                '\0'..='\x1f' | '\x7f' => {}
                other => out.push(other.to_ascii_lowercase()),
            }
            continue;
        }
        for lower in character.to_lowercase() {
            if lower.is_numeric() && classes().is(lower, DIGIT) {
                out.push('0');
            } else if !matches!(lower, '\u{7f}'..='\u{9f}') && !PUNCTUATION.contains(lower) {
                out.push(lower);
            }
        }
    }
}

/// Finds spans that occurred before and writes the ranges to cut to the file `output`.
///
/// # Errors
/// A file is missing or damaged, or there is no room.
pub fn find_spans(files: &[PathBuf], output: &Path, config: &ExactConfig) -> Result<Cuts, DedupError> {
    check_budget(config.budget_bytes)?;
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(DedupError::io("create", folder))?;
    let mut sorter = Sorter::new(folder, 5, config.budget_bytes / 2);
    for file in files {
        let mut reader = RecordReader::open(file, Kind::Spans)?.expect(5, 0)?;
        while let Some(&[id, high, low, start, end]) = reader.next()? {
            sorter.push(&[high, low, id, start, end])?;
        }
    }
    let mut cuts = Sorter::new(folder, 3, config.budget_bytes / 2);
    let mut sorted = sorter.finish()?;
    let mut first: Option<[u64; 2]> = None;
    while let Some(&[high, low, id, start, end]) = sorted.next()? {
        if first == Some([high, low]) {
            cuts.push(&[id, start, end])?;
        }
        first = Some([high, low]);
    }
    drop(sorted);
    write_cuts(cuts, output)
}

/// Joins ranges that overlap or touch and writes them.
pub(crate) fn write_cuts(cuts: Sorter, output: &Path) -> Result<Cuts, DedupError> {
    let mut file = RecordWriter::create(output, Kind::Cuts, 3, 0, 0)?;
    let mut sorted = cuts.finish()?;
    let mut open: Option<[u64; 3]> = None;
    while let Some(&[id, start, end]) = sorted.next()? {
        match &mut open {
            Some(range) if range[0] == id && start <= range[2] => range[2] = range[2].max(end),
            _ => {
                if let Some(range) = open.replace([id, start, end]) {
                    file.push(&range)?;
                }
            }
        }
    }
    if let Some(range) = open {
        file.push(&range)?;
    }
    file.finish()?;
    Cuts::open(output)
}

/// A document's id and the ranges to cut from it, ascending.
pub type DocumentCuts = (u64, Vec<Range<usize>>);

/// Ranges to cut, by document; iterates over ids in ascending order with ranges that do not touch.
///
/// Ranges are in bytes, or in tokens where tokens were given.
pub struct Cuts {
    file: RecordReader,
    waiting: Option<[u64; 3]>,
}

impl Cuts {
    /// Opens a finished file.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn open(path: &Path) -> Result<Self, DedupError> {
        Ok(Self { file: RecordReader::open(path, Kind::Cuts)?.expect(3, 0)?, waiting: None })
    }

    fn read(&mut self) -> Result<Option<[u64; 3]>, DedupError> {
        if let Some(range) = self.waiting.take() {
            return Ok(Some(range));
        }
        Ok(self.file.next()?.map(|record| [record[0], record[1], record[2]]))
    }

    fn document(&mut self) -> Result<Option<DocumentCuts>, DedupError> {
        let Some([id, start, end]) = self.read()? else { return Ok(None) };
        let mut ranges = Vec::from([Range { start: start as usize, end: end as usize }]);
        while let Some(range) = self.read()? {
            if range[0] != id {
                self.waiting = Some(range);
                break;
            }
            ranges.push(range[1] as usize..range[2] as usize);
        }
        Ok(Some((id, ranges)))
    }
}

impl Iterator for Cuts {
    type Item = Result<DocumentCuts, DedupError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.document().transpose()
    }
}

/// The text without the ranges (ascending, in bytes). A range that would cut a character apart is
/// narrowed to whole characters.
#[must_use]
pub fn cut(text: &str, ranges: &[Range<usize>]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut kept = 0;
    for range in ranges {
        let start = text.ceil_char_boundary(range.start.min(text.len()));
        let end = text.floor_char_boundary(range.end.min(text.len()));
        if start < end && start >= kept {
            out.push_str(&text[kept..start]);
            kept = end;
        }
    }
    out.push_str(&text[kept..]);
    out
}
