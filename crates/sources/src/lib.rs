//! Sources of data: where files lie, how they are packed, and what documents or rows stand in them.
//!
//! [`find`] turns patterns (paths, folders, globs, URLs of stores, tables by query) into a list of
//! [`Object`]s in a fixed order. [`read`] gives what is in one of them, item by item, in bounded memory:
//! records (documents, rows, images, sounds), entries of what is damaged, and notes. A damaged file or
//! record never ends a run, and input never makes it panic.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use std::path::Path;
//!
//! # fn main() -> Result<(), sources::SourcesError> {
//! let config = sources::Config::default();
//! for object in sources::find(&["corpus/**/*.jsonl.gz".to_owned()], Path::new("."), &config)? {
//!     let counts = sources::read(&object, &config, &mut |item| {
//!         if let sources::Item::Damaged { place, damage } = item {
//!             let _entry = format!("{place}: {}", damage.reason.code());
//!         }
//!         ControlFlow::Continue(())
//!     });
//!     assert!(!counts.stopped);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Invariant:** this crate knows no stage, keeps nothing, and writes nothing but temporary files of
//! packed members that must be read out of order.

mod audio;
mod charset;
mod columnar;
mod config;
mod delimited;
mod detect;
mod docx;
mod error;
mod find;
mod guard;
mod html;
mod input;
mod ipc;
mod json;
mod lines;
mod pdf;
mod picture;
mod place;
mod read;
mod record;
mod remote;
mod sink;
mod sql;
mod text;
mod unpack;
mod warc;

pub use audio::{Audio, Samples};
pub use config::{Config, RATIO_FREE_BYTES, TextUnit};
pub use detect::Format;
pub use error::SourcesError;
pub use find::{Object, find};
pub use html::html_document;
pub use picture::{Picture, Pixels};
pub use place::without_secrets;
pub use read::read;
pub use record::{Body, Counts, Damage, Document, Item, NoteKind, Place, Position, Reason, Record, Row, Take};
