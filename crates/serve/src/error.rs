//! What can go wrong with a server before it answers, and with its verification.

use std::net::SocketAddr;
use std::path::PathBuf;

use base::failure::{io_fault, io_hint};
use base::{Failure, Fault};
use infer::InferError;
use store::StoreError;

/// What can go wrong with a server before it answers, and with its verification.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The model could not be loaded.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// The address could not be bound.
    #[error("failed to listen on {address}: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The address is not one.
    #[error("failed to read the address {text:?}: expected an address and a port")]
    Address {
        /// What stood there.
        text: String,
    },
    /// Keys are required, as they are where other machines reach the address, and there is none.
    #[error("failed to open {address}: every request needs a key there, and there is none")]
    KeyNeeded {
        /// The address.
        address: SocketAddr,
    },
    /// The key cannot be one.
    #[error("failed to use the key: {message}")]
    Key {
        /// What is wrong with it.
        message: &'static str,
    },
    /// A certificate, or its private key, cannot be used.
    #[error("failed to use {} for TLS: {message}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The threads that answer could not be started.
    #[error("failed to start the server's threads: {0}")]
    Threads(std::io::Error),
    /// A model loads, and cannot be served.
    #[error("failed to serve {version}: {message}")]
    Model {
        /// The version, as `name@2`.
        version: String,
        /// What is wrong with it.
        message: String,
    },
    /// A client's request was not answered as it should be.
    #[error("failed to ask {address}: {message}")]
    Ask {
        /// Where the server listens.
        address: SocketAddr,
        /// What happened.
        message: String,
    },
    /// Served answers are not the offline ones.
    #[error("failed to verify the server: {count} of {rows} answers differ from the offline ones; {}", first.join("; "))]
    Mismatch {
        /// How many differ.
        count: u64,
        /// How many were compared.
        rows: u64,
        /// The first few, each naming the row and both values.
        first: Vec<String>,
    },
    /// Someone asked to stop.
    #[error("failed to verify the server: stopped")]
    Stopped,
}

impl Failure for ServeError {
    fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::Infer(error) => error.fault(),
            Self::Bind { error, .. } => io_fault(error),
            Self::Address { .. }
            | Self::KeyNeeded { .. }
            | Self::Key { .. }
            | Self::Model { .. }
            | Self::Tls { .. } => Fault::User,
            Self::Threads(_) | Self::Ask { .. } | Self::Mismatch { .. } => Fault::Internal,
            Self::Stopped => Fault::Stopped,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Store(error) => return error.hint(),
            Self::Infer(error) => return error.hint(),
            Self::Bind { error, .. } if error.kind() == std::io::ErrorKind::PermissionDenied => {
                "Ports below 1024 belong to the system; give another with --address."
            }
            Self::Bind { error, .. } if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
                "This machine does not have that address; 127.0.0.1 is itself, 0.0.0.0 is all of them."
            }
            Self::Bind { error, .. } => return io_hint(error),
            Self::Address { .. } => "Write it as 127.0.0.1:8080, or [::1]:8080; port 0 takes any free port.",
            Self::KeyNeeded { .. } => {
                "Make one with `yard key create NAME` (clients send it as `Authorization: Bearer KEY`), or listen on 127.0.0.1."
            }
            Self::Key { .. } => "Use 16 to 512 letters, digits and other visible ASCII signs.",
            Self::Tls { .. } => {
                "`tls_certificate` is a PEM file of the certificate and those above it, `tls_key` of its private key."
            }
            Self::Threads(_) => "The machine has no room for two more threads.",
            Self::Model { .. } => "Make the model again with `yard run`, or serve another version.",
            Self::Ask { .. } => "The server's own log and /health/ready say more.",
            Self::Mismatch { .. } => "This is a fault of yard; keep the project folder and report it.",
            Self::Stopped => "Run the same command again: it continues where it stopped.",
        };
        Some(text.to_owned())
    }
}
