//! Sources from outside: files that other programs wrote, archives, damage of every kind, servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_pass_by_value,
    clippy::zombie_processes,
    reason = "tests"
)]

mod damage;
mod find;
mod formats;
mod media;
mod packed;
mod remote;
mod tables;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use sources::{Body, Config, Counts, Document, Item, Place, Reason, Row};

/// Everything that reading a file gives.
pub(crate) struct Given {
    pub(crate) items: Vec<Item>,
    pub(crate) counts: Counts,
}

impl Given {
    pub(crate) fn rows(&self) -> Vec<&Row> {
        self.bodies().filter_map(|body| if let Body::Row(row) = body { Some(row) } else { None }).collect()
    }

    pub(crate) fn documents(&self) -> Vec<&Document> {
        self.bodies()
            .filter_map(|body| if let Body::Document(document) = body { Some(document) } else { None })
            .collect()
    }

    pub(crate) fn texts(&self) -> Vec<&str> {
        self.documents().iter().map(|document| document.text.as_str()).collect()
    }

    pub(crate) fn bodies(&self) -> impl Iterator<Item = &Body> {
        self.items.iter().filter_map(|item| if let Item::Record(record) = item { Some(&record.body) } else { None })
    }

    /// Where, and why.
    pub(crate) fn damaged(&self) -> Vec<(String, Reason)> {
        self.items
            .iter()
            .filter_map(|item| match item {
                Item::Damaged { place, damage } => Some((short(place), damage.reason)),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn places(&self) -> Vec<String> {
        self.items
            .iter()
            .filter_map(|item| if let Item::Record(record) = item { Some(short(&record.place)) } else { None })
            .collect()
    }

    pub(crate) fn notes(&self) -> Vec<(&'static str, u64)> {
        self.items
            .iter()
            .filter_map(
                |item| if let Item::Note { kind, count, .. } = item { Some((kind.code(), *count)) } else { None },
            )
            .collect()
    }
}

/// A place without the folder of the test.
fn short(place: &Place) -> String {
    let shown = place.to_string();
    shown.rsplit_once('/').filter(|_| place.member.is_none()).map_or(shown.clone(), |(_, name)| name.to_owned())
}

/// Reads a file through patterns, as users do.
pub(crate) fn read_path(path: &Path, config: &Config) -> Given {
    let folder = path.parent().unwrap();
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let objects = sources::find(&[name], folder, config).unwrap();
    let mut given = Given { items: Vec::new(), counts: Counts::default() };
    for object in &objects {
        given.counts = sources::read(object, config, &mut |item| {
            given.items.push(item);
            ControlFlow::Continue(())
        });
    }
    given
}

/// Reads bytes that lie in a file of the given name.
pub(crate) fn read_bytes(name: &str, bytes: &[u8], config: &Config) -> Given {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    read_path(&path, config)
}

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}
