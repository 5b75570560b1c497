//! How a server is set up: address, key and limits. Everything is checked here, before anything opens.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use base::project::ServeConfig;
use infer::engine::EngineConfig;

use crate::error::ServeError;
use crate::refusal::Refusal;

/// Sizes of the engine of a language model.
pub(crate) const ENGINE: EngineConfig = EngineConfig {
    step_rows_max: 256,
    sequences_max: 64,
    waiting_max: 256,
    page_positions: 32,
    pages: 1024,
    guesses_max: 3,
    context: 32_768,
};

/// A server's settings, checked by [`ServerConfig::plan`].
#[derive(Clone)]
pub struct ServerConfig {
    /// Where to listen; port 0 takes any free port.
    pub address: SocketAddr,
    /// A key that may be used for everything, beside those of the source's store. Never shown.
    pub key: Option<String>,
    /// Whether a key is required on loopback too; elsewhere it always is, and where `key` is given.
    pub keys_required: bool,
    /// The certificate to speak TLS with.
    pub tls: Option<TlsFiles>,
    /// Whether prompts are written into the access log and the traces.
    pub log_prompts: bool,
    /// Where OpenTelemetry traces go by HTTP.
    pub traces_endpoint: Option<String>,
    /// Takes the access log, one line at a time, on a thread of its own.
    pub access_log: Option<LogSink>,
    /// The most work that one client, or all of them, can ask for.
    pub limits: Limits,
    /// How many predictions or completions are computed at once.
    pub threads: usize,
    /// The bytes that the weights and caches of all loaded models may take together; 0 for no limit.
    pub memory_bytes_max: u64,
}

/// Takes lines of a log. It may block, and must not fail: there is nobody to tell.
pub type LogSink = Arc<dyn Fn(&str) + Send + Sync>;

/// A certificate and its private key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and then those that vouch for it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A limit on everything from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest request body, in bytes; larger ones are answered with 413.
    pub body_bytes_max: usize,
    /// The largest request head, in bytes; those twice as large are answered with 431 (in between it
    /// depends on how the bytes arrive).
    pub head_bytes_max: usize,
    /// Requests under way at once; more are answered with 503.
    pub requests_max: usize,
    /// Requests that wait to be computed; more are answered with 503.
    pub queue_max: usize,
    /// Connections open at once; more wait to be accepted.
    pub connections_max: usize,
    /// The most rows in one request, or tokens in one completion request.
    pub rows_max: usize,
    /// The most prompts in one completion request.
    pub prompts_max: usize,
    /// The largest prompt, in bytes; larger ones are answered with 413.
    pub prompt_bytes_max: usize,
    /// How long a client may take to send a request's head, and how long an idle connection is kept.
    pub head_time_max: Duration,
    /// How long a client may take to agree on TLS.
    pub handshake_time_max: Duration,
    /// How long a client may take to send a body; then 408.
    pub body_time_max: Duration,
    /// How long predictions of one request may take, waiting included; then 504.
    pub predict_time_max: Duration,
    /// How long completions of one request may take, waiting included; then 504.
    pub generate_time_max: Duration,
    /// How long a client may refuse to read before its connection is closed.
    pub write_time_max: Duration,
    /// How long requests under way may take to end once the server was asked to stop.
    pub drain_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self::of(&ServeConfig::default())
    }
}

impl Limits {
    fn of(serve: &ServeConfig) -> Self {
        let seconds = |count: u32| Duration::from_secs(count.into());
        Self {
            body_bytes_max: serve.body_bytes_max as usize,
            head_bytes_max: 64 << 10,
            requests_max: serve.requests_max as usize,
            queue_max: serve.queue_max as usize,
            connections_max: serve.connections_max.max(serve.requests_max) as usize,
            rows_max: serve.rows_max as usize,
            prompts_max: 16,
            prompt_bytes_max: serve.prompt_bytes_max as usize,
            head_time_max: seconds(serve.head_seconds_max),
            handshake_time_max: Duration::from_secs(10),
            body_time_max: Duration::from_secs(30),
            predict_time_max: seconds(serve.predict_seconds_max),
            generate_time_max: seconds(serve.generate_seconds_max),
            write_time_max: Duration::from_secs(30),
            drain_time_max: seconds(serve.drain_seconds_max),
        }
    }

    /// Refuses a prompt that is too large.
    pub(crate) fn check_prompt(&self, bytes: usize) -> Result<(), Refusal> {
        if bytes <= self.prompt_bytes_max {
            return Ok(());
        }
        let message = format!("the prompt has {bytes} bytes; there may be {}", self.prompt_bytes_max);
        Err(Refusal { param: Some("prompt"), ..Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message) })
    }
}

impl ServerConfig {
    /// The settings that a project file without `[serve]` gives, at an address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            key: None,
            keys_required: false,
            tls: None,
            log_prompts: false,
            traces_endpoint: None,
            access_log: None,
            limits: Limits::default(),
            threads: base::progress::default_threads(),
            memory_bytes_max: 0,
        }
    }

    /// Checks the project file's settings together with the key. Whether there are keys where they are
    /// required is known when the server opens.
    ///
    /// # Errors
    /// [`ServeError::Address`]; [`ServeError::Key`] for a key that cannot be one.
    pub fn plan(serve: &ServeConfig, key: Option<String>) -> Result<Self, ServeError> {
        let address: SocketAddr =
            serve.address.parse().map_err(|_| ServeError::Address { text: serve.address.clone() })?;
        let tls = match (&serve.tls_certificate, &serve.tls_key) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate: certificate.clone(), key: key.clone() }),
            _ => None,
        };
        let config = Self {
            key,
            keys_required: serve.keys,
            tls,
            log_prompts: serve.log_prompts,
            traces_endpoint: serve.traces_endpoint.clone(),
            limits: Limits::of(serve),
            memory_bytes_max: serve.memory_bytes_max,
            ..Self::new(address)
        };
        config.check()?;
        Ok(config)
    }

    /// Checks that the key can be one.
    pub(crate) fn check(&self) -> Result<(), ServeError> {
        self.key.as_deref().map_or(Ok(()), check_key)
    }

    /// Whether every request needs a key.
    pub(crate) fn requires_keys(&self) -> bool {
        self.keys_required || self.key.is_some() || !self.address.ip().is_loopback()
    }
}

fn check_key(key: &str) -> Result<(), ServeError> {
    match key.len() {
        0..16 => Err(ServeError::Key { message: "it is shorter than 16 characters" }),
        513.. => Err(ServeError::Key { message: "it is longer than 512 characters" }),
        _ if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(ServeError::Key { message: "it holds a blank or a sign that is not ASCII" })
        }
        _ => Ok(()),
    }
}

impl std::fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerConfig")
            .field("address", &self.address)
            .field("key", &self.key.as_ref().map(|_| "(hidden)"))
            .field("keys_required", &self.keys_required)
            .field("tls", &self.tls)
            .field("limits", &self.limits)
            .field("threads", &self.threads)
            .field("memory_bytes_max", &self.memory_bytes_max)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(address: &str, key: Option<&str>) -> Result<ServerConfig, ServeError> {
        let serve = ServeConfig { address: address.to_owned(), ..ServeConfig::default() };
        ServerConfig::plan(&serve, key.map(str::to_owned))
    }

    #[test]
    fn other_machines_need_a_key() {
        assert!(!plan("127.0.0.1:0", None).unwrap().requires_keys());
        assert!(!plan("[::1]:0", None).unwrap().requires_keys());
        assert!(plan("0.0.0.0:8080", None).unwrap().requires_keys());
        assert!(plan("127.0.0.1:0", Some("0123456789abcdef")).unwrap().requires_keys());
        let serve = ServeConfig { keys: true, ..ServeConfig::default() };
        assert!(ServerConfig::plan(&serve, None).unwrap().requires_keys());
    }

    #[test]
    fn poor_keys_are_refused_and_good_ones_never_shown() {
        for key in ["", "short", "0123456789 abcdef", "0123456789abcdé√", "line\nfeed-is-not-visible"] {
            assert!(matches!(plan("127.0.0.1:0", Some(key)), Err(ServeError::Key { .. })), "{key:?}");
        }
        let config = plan("127.0.0.1:0", Some("0123456789abcdef")).unwrap();
        assert!(!format!("{config:?}").contains("0123456789abcdef"));
        assert!(matches!(plan("localhost", None), Err(ServeError::Address { .. })));
    }
}
