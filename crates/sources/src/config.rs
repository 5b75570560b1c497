//! What a reader may be told, and every limit it keeps.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::detect::Format;

/// What one record of a plain text file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextUnit {
    /// The whole file.
    #[default]
    Whole,
    /// One line; empty lines are none.
    Line,
    /// Lines up to an empty line.
    Paragraph,
}

/// How sources are read. The defaults suit a machine with a few GiB of memory; a reader holds about two
/// records, so that `record_bytes_max` bounds the memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The format of every file, instead of what its name and first bytes say. Archives and compression
    /// are still taken off.
    pub format: Option<Format>,
    /// The character set of all text, by its WHATWG name, where nothing in a file says another.
    pub charset: Option<String>,
    /// What one record of a plain text file is.
    pub text: TextUnit,
    /// Of Parquet and Arrow files, only these columns, in this order; empty means all.
    pub columns: Vec<String>,
    /// Of HTML, the main content only; otherwise all visible text.
    pub main_content: bool,
    /// Whether files and folders whose names begin with a dot are read where a pattern does not name
    /// them.
    pub hidden: bool,

    /// The most objects that one list of patterns may name.
    pub objects_max: usize,
    /// The most folders inside each other.
    pub folder_depth_max: usize,
    /// The longest record: a document, a row, an image, a sound.
    pub record_bytes_max: usize,
    /// The longest batch of rows of an Arrow file, unpacked: its writer chose how many rows that is.
    pub batch_bytes_max: u64,
    /// The most columns of a row.
    pub columns_max: usize,
    /// The most members of an archive.
    pub members_max: usize,
    /// The longest member of an archive, unpacked.
    pub member_bytes_max: u64,
    /// The most bytes that one object may unpack to.
    pub expanded_bytes_max: u64,
    /// The most bytes that one packed byte may unpack to, once `RATIO_FREE_BYTES` are out.
    pub ratio_max: u64,
    /// The most archives and compressions inside each other: 3 reads a `.tar.gz` inside a zip.
    pub nesting_max: usize,
    /// What is kept in memory of a packed file that must be read out of order; the rest lies in a
    /// temporary file.
    pub spool_memory_bytes: usize,
    /// The largest image, in pixels.
    pub pixels_max: u64,
    /// The longest sound, in samples of all channels.
    pub samples_max: u64,
    /// The most pages of a PDF.
    pub pages_max: usize,
    /// The most time for one PDF, in seconds.
    pub document_seconds_max: f64,
    /// How long to wait for a connection, and for a server that says nothing, in seconds.
    pub network_seconds_max: f64,
    /// How long to wait for the next row of a query, in seconds.
    pub query_seconds_max: f64,
    /// How often a request is tried again.
    pub retries_max: usize,
}

/// Whatever unpacks to less than this is no bomb, at any ratio.
pub const RATIO_FREE_BYTES: u64 = 64 << 20;

impl Default for Config {
    fn default() -> Self {
        Self {
            format: None,
            charset: None,
            text: TextUnit::Whole,
            columns: Vec::new(),
            main_content: true,
            hidden: false,
            objects_max: 10_000_000,
            folder_depth_max: 64,
            record_bytes_max: 64 << 20,
            batch_bytes_max: 1 << 30,
            columns_max: 16_384,
            members_max: 10_000_000,
            member_bytes_max: 64 << 30,
            expanded_bytes_max: 1 << 40,
            ratio_max: 500,
            nesting_max: 3,
            spool_memory_bytes: 16 << 20,
            pixels_max: 100_000_000,
            samples_max: 500_000_000,
            pages_max: 20_000,
            document_seconds_max: 60.0,
            network_seconds_max: 30.0,
            query_seconds_max: 3600.0,
            retries_max: 3,
        }
    }
}

impl Config {
    pub(crate) fn network_wait(&self) -> Duration {
        seconds(self.network_seconds_max)
    }

    pub(crate) fn query_wait(&self) -> Duration {
        seconds(self.query_seconds_max)
    }

    pub(crate) fn document_wait(&self) -> Duration {
        seconds(self.document_seconds_max)
    }
}

/// A duration of whatever a person wrote, at most a day.
fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value.min(86_400.0)).unwrap_or(Duration::from_secs(1))
}
