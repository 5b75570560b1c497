//! TLS: the certificate and its key, read from PEM files, and again whenever they change.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use base::Digest;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;

use crate::app::App;
use crate::config::TlsFiles;
use crate::error::ServeError;

/// How often the files are looked at. A certificate's renewal is not urgent; reading them is cheap.
const POLL: Duration = Duration::from_secs(1);

/// What new connections agree on; those that are open keep what they agreed on.
pub(crate) struct Tls {
    files: TlsFiles,
    current: ArcSwap<rustls::ServerConfig>,
    /// The contents that were read last, good or bad.
    seen: Mutex<[Digest; 2]>,
}

impl Tls {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// [`ServeError::Tls`], naming the file that is wrong.
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, ServeError> {
        let contents = Contents::read(files)?;
        let current = ArcSwap::from_pointee(contents.config(files)?);
        Ok(Self { files: files.clone(), current, seen: Mutex::new(contents.digests()) })
    }

    /// What a new connection agrees on.
    pub(crate) fn config(&self) -> Arc<rustls::ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files again if they have changed. What cannot be used changes nothing: the certificate
    /// may have been replaced, and its key not yet. Blocks.
    ///
    /// # Errors
    /// As [`Tls::load`].
    pub(crate) fn refresh(&self) -> Result<(), ServeError> {
        let contents = Contents::read(&self.files)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen != contents.digests() {
            *seen = contents.digests();
            self.current.store(Arc::new(contents.config(&self.files)?));
        }
        Ok(())
    }
}

/// Both files, as bytes.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, ServeError> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| wrong(path, error));
        Ok(Self { certificate: read(&files.certificate)?, key: read(&files.key)? })
    }

    fn digests(&self) -> [Digest; 2] {
        [Digest::of(&self.certificate), Digest::of(&self.key)]
    }

    fn config(&self, files: &TlsFiles) -> Result<rustls::ServerConfig, ServeError> {
        let chain: Result<Vec<CertificateDer<'static>>, pem::Error> =
            CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(|error| wrong(&files.certificate, error))?;
        if chain.is_empty() {
            return Err(wrong(&files.certificate, "it holds no certificate in PEM"));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| match error {
            pem::Error::NoItemsFound => wrong(&files.key, "it holds no private key in PEM"),
            error => wrong(&files.key, error),
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&files.certificate, error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => wrong(&files.key, "it is not the certificate's key"),
                error => wrong(&files.certificate, error),
            })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn wrong(path: &Path, message: impl std::fmt::Display) -> ServeError {
    ServeError::Tls { path: path.to_owned(), message: message.to_string() }
}

/// Looks at the files again and again, until the server ends.
pub(crate) async fn follow(tls: Arc<Tls>, app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    while tokio::time::timeout(POLL, stopped.wait_for(|stopped| *stopped)).await.is_err() {
        let tls = tls.clone();
        if !matches!(tokio::task::spawn_blocking(move || tls.refresh()).await, Ok(Ok(()))) {
            app.metrics.tls_failures.fetch_add(1, Relaxed);
        }
    }
}
