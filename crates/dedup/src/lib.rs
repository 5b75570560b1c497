//! Duplicates of every kind, found in a fixed budget of memory with the rest on disk.
//!
//! - [`near`]: nearly the same texts, by MinHash and locality-sensitive hashing, as datatrove does it
//! - [`exact`]: the same document, line, paragraph or run of sentences
//! - [`substring`]: the same long run of bytes or tokens, within and across documents
//! - [`semantic`]: the same meaning, by embeddings (SemDeDup)
//! - [`image`]: the same picture, by perceptual hashes
//! - [`contamination`]: texts that hold what a model is evaluated on
//!
//! Ids are the caller's u64 and global; a writer for each worker makes a file, and finding takes all files.
//! Answers are the same for any number of threads and workers and any budget. The crate knows nothing of
//! datasets, tables or the project file; its input are strings, words and numbers.
#![forbid(unsafe_code)]

mod components;
mod error;
mod records;
mod scratch;
mod sorter;
#[cfg(test)]
mod tests;

pub mod contamination;
pub mod exact;
pub mod image;
pub mod near;
pub mod semantic;
pub mod substring;

pub use components::{Clusters, Dropped, Keep, Member, Members};
pub use error::DedupError;
