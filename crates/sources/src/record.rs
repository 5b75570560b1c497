//! What a reader gives: records, the entries of what was damaged, and notes.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use base::Value;

use crate::audio::Audio;
use crate::picture::Picture;

/// Where in a file a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Position {
    /// The file is the record.
    Whole,
    /// The line that it begins on, from 1.
    Line(u64),
    /// Its number, from 1.
    Record(u64),
}

/// Where a record comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The object, as it is shown to people: a path, a URL without secrets, a table.
    pub source: Arc<str>,
    /// The path inside an archive; of archives inside archives, joined by `!`.
    pub member: Option<Arc<str>>,
    /// Where in the file.
    pub position: Position,
}

impl fmt::Display for Place {
    /// `data/a.zip!b.jsonl:17`, `data/c.parquet#4`, `data/d.txt`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some(member) = &self.member {
            write!(f, "!{member}")?;
        }
        match self.position {
            Position::Whole => Ok(()),
            Position::Line(line) => write!(f, ":{line}"),
            Position::Record(record) => write!(f, "#{record}"),
        }
    }
}

/// One unit of data.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Where it comes from.
    pub place: Place,
    /// What it is.
    pub body: Body,
    /// How many places of the text were no characters in its character set; each became U+FFFD.
    pub replaced: u32,
}

/// What a record is.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Text and what is known of it.
    Document(Document),
    /// Cells under columns.
    Row(Row),
    /// An image, still packed.
    Picture(Picture),
    /// A sound, still packed.
    Audio(Audio),
}

/// Text and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// The text.
    pub text: String,
    /// What the file says of it, in its order: `title`, `url`, `date`, `author`, `language`,
    /// `media_type`, and of Markdown every key of the front matter.
    pub metadata: Vec<(String, String)>,
}

impl Document {
    /// What is known under a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.metadata.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let value = value.trim();
        if !value.is_empty() && self.get(name).is_none() {
            self.metadata.push((name.to_owned(), value.to_owned()));
        }
    }
}

/// Cells under columns. What JSON or Arrow holds as a list or an object is text, as JSON writes it. Whole
/// numbers beyond 2^53, decimals, infinities, dates and times are text as well, so that nothing is
/// rounded.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The columns, shared by the rows of a file.
    pub columns: Arc<[String]>,
    /// A cell for each column.
    pub cells: Vec<Value>,
}

impl Row {
    /// The cell of a column.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&Value> {
        let index = self.columns.iter().position(|name| name == column)?;
        self.cells.get(index)
    }

    /// The row as a document: `column` is the text, the other cells that hold something are what is
    /// known of it. None where `column` holds no text; the row is then given back.
    ///
    /// # Errors
    /// The row itself, unchanged.
    pub fn into_document(mut self, column: &str) -> Result<Document, Self> {
        let Some(index) = self.columns.iter().position(|name| name == column) else { return Err(self) };
        match self.cells.get_mut(index) {
            Some(Value::Text(text)) => {
                let text = std::mem::take(text);
                let mut metadata = Vec::with_capacity(self.cells.len().saturating_sub(1));
                for (at, (name, cell)) in self.columns.iter().zip(self.cells).enumerate() {
                    if at != index && !cell.is_missing() {
                        metadata.push((name.clone(), shown(cell)));
                    }
                }
                Ok(Document { text, metadata })
            }
            _ => Err(self),
        }
    }
}

/// A cell as text: numbers in their shortest form that reads back equal.
fn shown(cell: Value) -> String {
    match cell {
        Value::Missing => String::new(),
        Value::Binary(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text,
    }
}

/// Why something could not be read: the code that ledgers count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// It ends too early.
    Truncated,
    /// Its bytes contradict its format.
    Corrupt,
    /// A record breaks the rules of its format.
    Syntax,
    /// A row has more or fewer cells than there are columns.
    Ragged,
    /// It is larger than a limit allows.
    TooLarge,
    /// There are more archives inside each other than a limit allows.
    TooDeep,
    /// There are more members, columns or pages than a limit allows.
    TooMany,
    /// It unpacks to far more than a limit allows.
    Bomb,
    /// It needs a password.
    Encrypted,
    /// A member of an archive has a path that leads out of it.
    UnsafeName,
    /// A feature of the format that is not read, such as a rare compression.
    Unsupported,
    /// Neither its name nor its first bytes say what it is.
    UnknownFormat,
    /// There is nothing at its place.
    NotFound,
    /// It may not be read.
    Denied,
    /// A socket, a pipe, a device, a link that leads round in a circle.
    Special,
    /// The machine failed to read it.
    Io,
    /// The network or the server failed.
    Network,
    /// The database refused the query or a row.
    Query,
    /// It took longer than a limit allows.
    Timeout,
    /// The reader failed inside; please report it.
    Internal,
}

impl Reason {
    /// The short code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Corrupt => "corrupt",
            Self::Syntax => "syntax",
            Self::Ragged => "ragged",
            Self::TooLarge => "too-large",
            Self::TooDeep => "too-deep",
            Self::TooMany => "too-many",
            Self::Bomb => "bomb",
            Self::Encrypted => "encrypted",
            Self::UnsafeName => "unsafe-name",
            Self::Unsupported => "unsupported",
            Self::UnknownFormat => "unknown-format",
            Self::NotFound => "not-found",
            Self::Denied => "denied",
            Self::Special => "special-file",
            Self::Io => "io",
            Self::Network => "network",
            Self::Query => "query",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }
}

/// Something that could not be read, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Damage {
    /// The code.
    pub reason: Reason,
    /// A sentence for people, without a full stop.
    pub message: String,
}

impl Damage {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum NoteKind {
    /// Bytes that were no characters became U+FFFD; `count` places.
    Replaced,
    /// Members or records that hold no data of their own were passed over; `count` of them.
    Skipped,
    /// The character set was guessed from the bytes, or differs from UTF-8.
    Charset,
}

impl NoteKind {
    /// The short code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::Skipped => "skipped",
            Self::Charset => "charset",
        }
    }
}

/// What a reader gives, one after the other.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Item {
    /// A record.
    Record(Record),
    /// Something that could not be read; what follows it still is, where the format allows.
    Damaged {
        /// Where.
        place: Place,
        /// Why.
        damage: Damage,
    },
    /// Something to know of a file, said once, at its end.
    Note {
        /// The file.
        place: Place,
        /// What it is about.
        kind: NoteKind,
        /// How often.
        count: u64,
        /// A sentence for people, without a full stop.
        message: String,
    },
}

/// What reading an object came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// The records given.
    pub records: u64,
    /// The entries of damage given.
    pub damaged: u64,
    /// Members and records without data of their own.
    pub skipped: u64,
    /// The bytes read from where the object lies, still packed; a Parquet file counts whole.
    pub bytes_read: u64,
    /// Whether the taker said stop before the end.
    pub stopped: bool,
}

/// What takes the items: it works while the reader waits, so that nothing piles up.
pub type Take<'a> = dyn FnMut(Item) -> ControlFlow<()> + 'a;
