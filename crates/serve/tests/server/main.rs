//! The server from outside: real sockets, real model folders.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_range_loop,
    clippy::needless_pass_by_value,
    clippy::zombie_processes,
    reason = "tests"
)]

mod binary;
mod chat;
mod clients;
mod drain;
mod hostile;
mod http;
mod keys;
mod language;
mod models;
mod predict;
mod switching;
mod tls;
mod watching;

use std::path::Path;
use std::sync::Arc;

use serve::{FolderSource, Running, ServerConfig};

/// Settings for a free port on loopback.
pub fn config() -> ServerConfig {
    ServerConfig { threads: 2, ..ServerConfig::new(([127, 0, 0, 1], 0).into()) }
}

/// A server of a folder's model, as version 1.
pub fn start(folder: &Path, config: ServerConfig) -> Running {
    serve::start(config, vec![Arc::new(FolderSource::new(folder, 1))]).unwrap()
}
