//! Rows of sources that DataFusion does not read from here: objects of stores, web addresses, tables of databases, packed
//! files and archives, JSON lists, Arrow files. They are read once and held, as all rows of a `predict` project are.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::project::{DataFormat, Project};
use base::{Digest, Value};
use dataset::Split;
use sources::{Body, Config, Item, Position};

use super::source::Source;
use crate::error::DataError;

/// Endings of packed files, archives, and formats that only this reads.
const ENDINGS: [&str; 11] = ["gz", "zst", "xz", "zip", "tar", "tgz", "txz", "tzst", "json", "arrow", "feather"];

/// The rows of one source.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    pub(crate) rows: Vec<Vec<Value>>,
    /// What could not be read: where, a short code, a sentence.
    pub(crate) damaged: Vec<(u64, String, String)>,
}

/// Whether a source is read by this module.
pub(super) fn knows(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let address = name.contains("://") || name.starts_with("sqlite:") || name.starts_with("postgres:");
    let pattern = name.contains("**") || name.contains('{');
    address || pattern || ENDINGS.contains(&ending.to_ascii_lowercase().as_str())
}

/// Finds and reads what a name of the project file names.
pub(super) fn find(project: &Project, name: &str, split: Option<Split>, left: u64) -> Result<Vec<Source>, DataError> {
    let config = Config { text: sources::TextUnit::Line, ..Config::default() };
    let objects = sources::find(&[name.to_owned()], &project.folder, &config)?;
    objects.iter().map(|object| read(object, &config, split, left)).collect()
}

fn read(object: &sources::Object, config: &Config, split: Option<Split>, left: u64) -> Result<Source, DataError> {
    let path = PathBuf::from(&*object.name);
    let (mut columns, mut lines, mut held): (Vec<String>, Vec<u64>, Held) = (Vec::new(), Vec::new(), Held::default());
    let (mut bytes, mut ragged) = (0_u64, None);
    let counts = sources::read(object, config, &mut |item| {
        let line_of = |place: &sources::Place| match place.position {
            Position::Whole => 1,
            Position::Line(line) | Position::Record(line) => line,
        };
        match item {
            Item::Record(record) => {
                let line = line_of(&record.place);
                let (names, cells) = match record.body {
                    Body::Row(row) => (row.columns.to_vec(), row.cells),
                    Body::Document(document) => (vec!["text".to_owned()], vec![Value::Text(document.text)]),
                    _ => {
                        held.damaged.push((line, "no_row".to_owned(), "it is no row".to_owned()));
                        return ControlFlow::Continue(());
                    }
                };
                bytes += cells.iter().map(size).sum::<u64>();
                if columns.is_empty() {
                    columns.clone_from(&names);
                }
                let mut row = vec![Value::Missing; columns.len()];
                for (name, cell) in names.into_iter().zip(cells) {
                    match columns.iter().position(|column| *column == name) {
                        Some(at) => row[at] = cell,
                        None => {
                            // A key that the first rows lacked: those lack its value.
                            columns.push(name);
                            row.push(cell);
                        }
                    }
                }
                held.rows.push(row);
                lines.push(line);
            }
            Item::Damaged { place, damage } => {
                held.damaged.push((line_of(&place), damage.reason.code().replace('-', "_"), damage.message.clone()));
                ragged.get_or_insert(damage.message);
            }
            _ => {}
        }
        if bytes > left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if counts.stopped {
        return Err(DataError::file(
            &path,
            format!("it unpacks to more than the {} that are left of data.bytes_max", base::units::bytes(left)),
            "Raise data.bytes_max, or use fewer rows.",
        ));
    }
    if held.rows.is_empty() {
        let what = ragged.unwrap_or_else(|| "it has no rows".to_owned());
        return Err(DataError::file(&path, what, "Check the address and the format."));
    }
    for row in &mut held.rows {
        row.resize(columns.len(), Value::Missing);
    }
    Ok(Source {
        name: object.name.to_string(),
        path,
        format: DataFormat::Jsonl,
        split,
        size_bytes: bytes,
        columns,
        lines,
        mark: false,
        held: Some(Arc::new(held)),
    })
}

fn size(value: &Value) -> u64 {
    match value {
        Value::Text(text) => text.len() as u64,
        _ => 8,
    }
}

impl Held {
    /// Gives columns of every row.
    pub(super) fn each(
        &self,
        source: &Source,
        columns: &[String],
        mut each: impl FnMut(Vec<Value>) -> Result<bool, DataError>,
    ) -> Result<(), DataError> {
        let places = columns
            .iter()
            .map(|column| {
                source.columns.iter().position(|name| name == column).ok_or_else(|| DataError::Column {
                    column: column.clone(),
                    path: source.path.clone(),
                    known: source.columns.clone(),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        for row in &self.rows {
            if !each(places.iter().map(|place| row[*place].clone()).collect())? {
                break;
            }
        }
        Ok(())
    }

    /// What identifies the rows.
    pub(super) fn digest(&self, path: &Path) -> Digest {
        let mut bytes = Vec::new();
        for row in &self.rows {
            bytes.extend(super::key(row));
        }
        for (line, code, _) in &self.damaged {
            bytes.extend(line.to_le_bytes());
            bytes.extend(code.as_bytes());
        }
        bytes.extend(path.to_string_lossy().as_bytes());
        Digest::of(&bytes)
    }
}
