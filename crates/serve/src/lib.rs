//! The wire protocols: Open Inference Protocol v2 for models of columns, OpenAI's for
//! language models, health and metrics for both; and the check that what is served is what was trained.
//!
//! Start with [`server::run`]; a request goes from `routes` (or `openai`) through `oip` to
//! [`infer`], on the version that `slot` holds. [`verify_predict`] asks a running server from outside.
//!
//! **Invariant:** this crate knows no training. **Invariant:** nothing from outside is unlimited: size,
//! rows, time, requests and connections all have a limit in [`Limits`]. **Invariant:** every route stands in
//! the table of scopes in `access`, and a test that walks the router fails for one that does not.

mod access;
mod app;
mod cells;
mod client;
mod config;
mod error;
mod grpc;
mod metrics;
mod model;
mod models;
mod oip;
mod openai;
mod patient;
mod refusal;
mod routes;
pub mod server;
mod slot;
mod source;
mod tls;
mod trace;
mod traffic;
mod verify;
pub mod watch;
mod wire;

pub use config::{Limits, LogSink, ServerConfig, TlsFiles};
pub use error::ServeError;
pub use server::{Ready, Running, Server, Summary, run, start};
pub use source::{FolderSource, Kept, RegistrySource, Source, Wanted};
pub use verify::{VerifyReport, verify_language, verify_predict};
