//! TLS against a running server: both versions of HTTP, renewed certificates, broken files, slow clients.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Failure, Fault};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serve::{FolderSource, Limits, Running, ServeError, ServerConfig, TlsFiles};

use crate::config;
use crate::http::Http;
use crate::models::{description, write_predict};

fn files(folder: &Path) -> TlsFiles {
    TlsFiles { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") }
}

/// Writes a new certificate for localhost.
fn renew(files: &TlsFiles) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn scene() -> (tempfile::TempDir, TlsFiles) {
    let folder = tempfile::tempdir().unwrap();
    write_predict(folder.path(), description(64, 3), 7);
    let files = files(folder.path());
    (folder, files)
}

fn start(folder: &Path, files: &TlsFiles, limits: Limits) -> Result<Running, ServeError> {
    let config = ServerConfig { tls: Some(files.clone()), limits, ..config() };
    serve::start(config, vec![Arc::new(FolderSource::new(folder, 1))])
}

/// A client that trusts one certificate.
fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocol: &str,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

fn live(address: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<String> {
    let mut stream = connect(address, trusted, "http/1.1");
    stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn both_versions_of_http_are_spoken_and_nothing_in_the_clear() {
    let (folder, files) = scene();
    let trusted = renew(&files);
    let server = start(folder.path(), &files, Limits::default()).unwrap();
    let address = server.ready().address;
    assert!(live(address, &trusted).unwrap().starts_with("HTTP/1.1 200 OK"));
    // HTTP/2: the server's first frame is its settings (type 4).
    let mut stream = connect(address, &trusted, "h2");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!((stream.conn.alpn_protocol(), frame[3]), (Some(&b"h2"[..]), 4));
    drop(stream);
    // A client that does not know the certificate, and one that speaks no TLS.
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    assert!(live(address, other.cert.der()).is_err());
    let mut plain = Http::connect(address);
    plain.write(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut rest = Vec::new();
    let _ = plain.stream.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    assert_eq!(server.stop().unwrap().cut, 0);
}

#[test]
fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
    let (folder, files) = scene();
    let first = renew(&files);
    let server = start(folder.path(), &files, Limits::default()).unwrap();
    let address = server.ready().address;
    assert!(live(address, &first).is_ok());
    // Half of a renewal: the key is still the old one.
    let key = std::fs::read(&files.key).unwrap();
    let second = renew(&files);
    let renewed = std::fs::read(&files.key).unwrap();
    std::fs::write(&files.key, key).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert!(live(address, &first).is_ok());
    std::fs::write(&files.key, renewed).unwrap();
    let begun = Instant::now();
    while live(address, &second).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5), "the renewed certificate is not used");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(live(address, &first).is_err());
}

#[test]
fn a_bad_file_is_named() {
    let (folder, files) = scene();
    renew(&files);
    let (certificate, key) = (std::fs::read(&files.certificate).unwrap(), std::fs::read(&files.key).unwrap());
    let refused = |path: &Path, contents: Option<&[u8]>, message: &str| {
        std::fs::write(&files.certificate, &certificate).unwrap();
        std::fs::write(&files.key, &key).unwrap();
        match contents {
            Some(contents) => std::fs::write(path, contents).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        let error = start(folder.path(), &files, Limits::default()).unwrap_err();
        assert!(matches!(error, ServeError::Tls { .. }) && error.fault() == Fault::User, "{error}");
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()) && text.contains(message), "{text}");
        assert!(error.hint().is_some());
    };
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().signing_key.serialize_pem();
    for path in [&files.certificate, &files.key] {
        refused(path, None, "");
    }
    refused(&files.certificate, Some(b"rubbish"), "no certificate");
    refused(&files.certificate, Some(&key), "no certificate");
    refused(&files.key, Some(b""), "no private key");
    refused(&files.key, Some(&certificate), "no private key");
    refused(&files.key, Some(other.as_bytes()), "not the certificate's key");
}

#[test]
fn a_client_that_does_not_finish_its_handshake_is_cut_off() {
    let (folder, files) = scene();
    let trusted = renew(&files);
    let limits = Limits { handshake_time_max: Duration::from_millis(200), ..Limits::default() };
    let server = start(folder.path(), &files, limits).unwrap();
    let mut silent = TcpStream::connect(server.ready().address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let begun = Instant::now();
    assert_eq!(silent.read(&mut [0; 8]).unwrap_or(0), 0);
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(live(server.ready().address, &trusted).is_ok());
}
