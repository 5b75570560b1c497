//! The source files: which they are, in what format, and what a first look finds.
//!
//! Every file is scanned once before DataFusion reads it, because a founder needs to hear 'line 7,001'
//! and not 'record 6,998 of batch 2': ragged rows, bytes that are no text, empty files. The scan also
//! gives the number of rows and the line each begins on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::project::{DataFormat, Family, Project};
use dataset::Split;
use serde_json::Value as Json;

use super::held::{self, Held};
use crate::error::DataError;

/// The longest line of JSON or text.
const LINE_BYTES_MAX: usize = 64 << 20;

/// The most bytes of rows that are held in memory, unless the project file says otherwise.
const BYTES_MAX: u64 = 2 << 30;

/// A source file and what the first look found.
#[derive(Debug, Clone)]
pub struct Source {
    /// As the project file names it.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its format.
    pub format: DataFormat,
    /// The split that it is, where splits are given.
    pub split: Option<Split>,
    /// Its size.
    pub size_bytes: u64,
    /// Its columns; of Parquet, DataFusion tells them.
    pub columns: Vec<String>,
    /// The line that each row begins on, from 1; of Parquet, none.
    pub lines: Vec<u64>,
    /// Whether it begins with a byte order mark, which is skipped.
    pub mark: bool,
    /// The rows, where they have been read already.
    pub(crate) held: Option<Arc<Held>>,
}

/// Finds the source files of a project, in order: test, validation and training where splits are
/// given, so that earlier ones win over later equal rows.
pub(crate) fn find(project: &Project) -> Result<Vec<Source>, DataError> {
    let data = &project.file.data;
    let lists = [
        (&data.test, Some(Split::Test)),
        (&data.valid, Some(Split::Valid)),
        (&data.train, Some(Split::Train)),
        (&data.source, None),
    ];
    let mut sources = Vec::new();
    let mut total = 0_u64;
    for (names, split) in lists {
        for name in names {
            if held::knows(name) {
                let most = data.bytes_max.unwrap_or(BYTES_MAX);
                let found = held::find(project, name, split, most.saturating_sub(total))?;
                total += found.iter().map(|source| source.size_bytes).sum::<u64>();
                sources.extend(found);
                continue;
            }
            for path in expand(&project.resolve(name))? {
                let shown = if name.contains('*') {
                    path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
                } else {
                    name.clone()
                };
                let size_bytes = std::fs::metadata(&path).map_err(DataError::io("open", &path))?.len();
                total += size_bytes;
                let format = match data.format {
                    Some(format) => format,
                    None => format_of(&path)?,
                };
                sources.push(Source {
                    name: shown,
                    path,
                    format,
                    split,
                    size_bytes,
                    columns: Vec::new(),
                    lines: Vec::new(),
                    mark: false,
                    held: None,
                });
            }
        }
    }
    let most = data.bytes_max.or((project.file.family == Family::Predict).then_some(BYTES_MAX));
    if let Some(most) = most.filter(|most| total > *most) {
        return Err(DataError::rows(
            format!("the source files have {}, more than {}", base::units::bytes(total), base::units::bytes(most)),
            "Raise data.bytes_max, or use fewer rows. The rows of a predict project are held in memory and take about six times the size of their files.",
        ));
    }
    Ok(sources)
}

/// The files that a path with `*` in its last part names, sorted; without a star, the path itself.
fn expand(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    if !name.contains('*') {
        if path.is_dir() {
            return Err(DataError::file(path, "it is a folder", "Name the files in it, such as data/*.csv."));
        }
        return Ok(vec![path.to_owned()]);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::io("list", folder))? {
        let entry = entry.map_err(DataError::io("list", folder))?;
        if entry.path().is_file() && matches(&name, &entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(DataError::file(path, "no file has such a name", "Check the folder and the pattern."));
    }
    Ok(found)
}

/// Whether a name has the parts of a pattern between its stars, in order.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let parts: Vec<&str> = pattern.split('*').collect();
    let (first, rest) = (parts[0], &parts[1..]);
    let Some(mut left) = name.strip_prefix(first) else { return false };
    for (index, part) in rest.iter().enumerate() {
        if index + 1 == rest.len() {
            return left.ends_with(part);
        }
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.is_empty()
}

/// The format that a file's ending says.
pub(crate) fn format_of(path: &Path) -> Result<DataFormat, DataError> {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    Ok(match ending.as_str() {
        "csv" => DataFormat::Csv,
        "tsv" => DataFormat::Tsv,
        "jsonl" | "ndjson" => DataFormat::Jsonl,
        "parquet" | "pq" => DataFormat::Parquet,
        "txt" | "text" => DataFormat::Text,
        _ => {
            return Err(DataError::file(
                path,
                format!("its ending {ending:?} names no format"),
                "Set data.format to \"csv\", \"tsv\", \"jsonl\", \"parquet\" or \"text\".",
            ));
        }
    })
}

/// Scans a source: its columns and the lines of its rows.
pub(crate) fn scan(source: &mut Source) -> Result<(), DataError> {
    if source.held.is_some() {
        return Ok(());
    }
    if source.size_bytes == 0 {
        return Err(DataError::file(&source.path, "it is empty", "Check that it was written completely."));
    }
    match source.format {
        DataFormat::Csv => scan_delimited(source, b','),
        DataFormat::Tsv => scan_delimited(source, b'\t'),
        DataFormat::Jsonl => scan_json(source),
        DataFormat::Text => scan_text(source),
        DataFormat::Parquet => scan_parquet(source),
        other => {
            let what = format!("rows of a predict project are not read from {other:?} files");
            return Err(DataError::file(&source.path, what, "Use CSV, TSV, JSONL, Parquet or text."));
        }
    }?;
    if source.lines.is_empty() && source.format != DataFormat::Parquet {
        return Err(DataError::file(&source.path, "it has no rows", "Check that it was written completely."));
    }
    Ok(())
}

/// The byte order mark that some programs write before UTF-8 text. It is skipped.
pub(crate) const MARK: &str = "\u{feff}";
const NO_TEXT: &str = "it is no text (bytes that are no UTF-8, or NUL)";
const RUBBISH_HINT: &str = "Save it as UTF-8 text, or set data.format if it has another format.";

fn open(path: &Path) -> Result<BufReader<File>, DataError> {
    Ok(BufReader::with_capacity(1 << 20, File::open(path).map_err(DataError::io("open", path))?))
}

fn scan_delimited(source: &mut Source, delimiter: u8) -> Result<(), DataError> {
    let path = &source.path;
    let bytes = std::fs::read(path).map_err(DataError::io("read", path))?;
    source.mark = bytes.starts_with(MARK.as_bytes());
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bytes.as_slice());
    let header = reader.byte_headers().map_err(DataError::engine(path))?.clone();
    let columns = header_columns(path, &header)?;
    let mut record = csv::ByteRecord::new();
    let mut last_at = 0;
    while reader.read_byte_record(&mut record).map_err(DataError::engine(path))? {
        let (line, at) = place_of(&record, &bytes);
        if record.iter().any(|cell| readable(cell).is_none()) {
            return Err(DataError::line(path, line, NO_TEXT, RUBBISH_HINT));
        }
        if record.len() != columns.len() {
            let what = format!("it has {} values, and the header has {}", record.len(), columns.len());
            return Err(DataError::line(
                path,
                line,
                what,
                "Put values that hold the separator or a line break in double quotes, or mend the line.",
            ));
        }
        last_at = at;
        source.lines.push(line);
    }
    if let (Some(line), true) = (source.lines.last(), ends_quoted(&bytes[last_at..], delimiter)) {
        return Err(DataError::line(
            path,
            *line,
            "a double quote that opens a value in this row is never closed, so the rest of the file is one value",
            "Close the quote; inside quotes, write a double quote twice.",
        ));
    }
    source.columns = columns;
    Ok(())
}

/// The names in the header, each once.
fn header_columns(path: &Path, header: &csv::ByteRecord) -> Result<Vec<String>, DataError> {
    let mut columns: Vec<String> = Vec::new();
    for (index, name) in header.iter().enumerate() {
        let name = readable(name).ok_or_else(|| DataError::line(path, 1, NO_TEXT, RUBBISH_HINT))?;
        let name = if index == 0 { name.trim_start_matches(MARK) } else { name };
        if columns.iter().any(|known| known == name) {
            return Err(DataError::line(
                path,
                1,
                format!("the column {name:?} stands there twice"),
                "Give each column a name of its own.",
            ));
        }
        columns.push(name.to_owned());
    }
    Ok(columns)
}

/// The line (from 1) and the byte that a record begins on. The reader tells where it stood before it
/// skipped blank lines and the second half of a line's end.
fn place_of(record: &csv::ByteRecord, bytes: &[u8]) -> (u64, usize) {
    let Some(position) = record.position() else { return (0, bytes.len()) };
    let from = usize::try_from(position.byte()).unwrap_or(usize::MAX).min(bytes.len());
    let skipped = bytes[from..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let lines = bytes[from..from + skipped].iter().filter(|byte| **byte == b'\n').count();
    (position.line() + lines as u64, from + skipped)
}

/// Whether records end inside a value that a double quote opened.
fn ends_quoted(bytes: &[u8], delimiter: u8) -> bool {
    let (mut quoted, mut begins) = (false, true);
    let mut bytes = bytes.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' if quoted => {
                // Two in a row are one double quote inside the value.
                quoted = bytes.next_if_eq(&b'"').is_some();
            }
            b'"' => quoted = begins,
            _ => {}
        }
        begins = !quoted && (byte == delimiter || byte == b'\n' || byte == b'\r');
    }
    quoted
}

/// The text of bytes, unless they are no text.
fn readable(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// Calls `each` with every line and its number, from 1.
fn each_line(path: &Path, mut each: impl FnMut(u64, &str) -> Result<(), DataError>) -> Result<(), DataError> {
    let mut reader = open(path)?;
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let limit = LINE_BYTES_MAX as u64;
        let count =
            reader.by_ref().take(limit + 1).read_until(b'\n', &mut bytes).map_err(DataError::io("read", path))?;
        if count == 0 {
            break;
        }
        if count > LINE_BYTES_MAX {
            return Err(DataError::line(
                path,
                line,
                format!("it is longer than {}", base::units::bytes(limit)),
                "Cut it into several lines.",
            ));
        }
        let text = readable(&bytes).ok_or_else(|| DataError::line(path, line, NO_TEXT, RUBBISH_HINT))?;
        each(line, text.strip_suffix('\n').unwrap_or(text))?;
    }
    Ok(())
}

fn scan_text(source: &mut Source) -> Result<(), DataError> {
    let mut lines = Vec::new();
    let mut mark = false;
    each_line(&source.path, |line, text| {
        mark |= line == 1 && text.starts_with(MARK);
        if text.contains(TEXT_DELIMITER as char) {
            return Err(DataError::line(
                &source.path,
                line,
                "it holds the control character U+001F",
                "Remove it; plain text has none.",
            ));
        }
        // Empty lines are no rows, here as in DataFusion.
        if !text.is_empty() {
            lines.push(line);
        }
        Ok(())
    })?;
    source.columns = vec!["text".to_owned()];
    source.lines = lines;
    source.mark = mark;
    Ok(())
}

/// What separates columns in a file of plain text: a character that it may not hold.
pub(crate) const TEXT_DELIMITER: u8 = 0x1f;

/// The kinds of value that a key of JSON objects has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JsonKind {
    Truth,
    Number,
    Text,
    Nested,
}

fn scan_json(source: &mut Source) -> Result<(), DataError> {
    let path = source.path.clone();
    let mut kinds: BTreeMap<String, (JsonKind, u64)> = BTreeMap::new();
    let mut order = Vec::new();
    let mut lines = Vec::new();
    let mut mark = false;
    each_line(&path, |line, text| {
        mark |= line == 1 && text.starts_with(MARK);
        let text = if line == 1 { text.trim_start_matches(MARK) } else { text };
        if text.trim().is_empty() {
            return Ok(());
        }
        let object: serde_json::Map<String, Json> = serde_json::from_str(text).map_err(|error| {
            DataError::line(
                &path,
                line,
                format!("it is no JSON object ({error})"),
                "Each line must hold one JSON object.",
            )
        })?;
        for (key, value) in object {
            let kind = match value {
                Json::Null => continue,
                Json::Bool(_) => JsonKind::Truth,
                Json::Number(_) => JsonKind::Number,
                Json::String(_) => JsonKind::Text,
                Json::Array(_) | Json::Object(_) => JsonKind::Nested,
            };
            match kinds.get(&key) {
                Some((known, first)) if *known != kind => {
                    let what = format!("{key:?} is {}, and on line {first} it is {}", kind.name(), known.name());
                    return Err(DataError::line(&path, line, what, "Write all values of a key in one type."));
                }
                Some(_) => {}
                None => {
                    order.push(key.clone());
                    kinds.insert(key, (kind, line));
                }
            }
        }
        lines.push(line);
        Ok(())
    })?;
    source.columns = order;
    source.lines = lines;
    source.mark = mark;
    Ok(())
}

impl JsonKind {
    fn name(self) -> &'static str {
        match self {
            Self::Truth => "true or false",
            Self::Number => "a number",
            Self::Text => "text",
            Self::Nested => "a list or an object",
        }
    }
}

/// Looks for the magic bytes at both ends; DataFusion reads the rest.
fn scan_parquet(source: &mut Source) -> Result<(), DataError> {
    let bytes = {
        let mut file = File::open(&source.path).map_err(DataError::io("open", &source.path))?;
        let mut head = [0; 4];
        file.read_exact(&mut head).map(|()| head)
    };
    if !matches!(bytes, Ok(head) if &head == b"PAR1") {
        return Err(DataError::file(
            &source.path,
            "it is no Parquet file",
            "Set data.format if it has another format.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_the_rest_of_a_name() {
        for (pattern, name, expected) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "a.tsv", false),
            ("part-*-of-*.csv", "part-1-of-3.csv", true),
            ("part-*", "port-1", false),
            ("*", "anything", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
