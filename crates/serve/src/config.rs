//! How a server is set up: address, key and limits. Everything is checked here, before anything opens.

use std::net::SocketAddr;
use std::time::Duration;

use base::project::ServeConfig;
use infer::engine::EngineConfig;

use crate::error::ServeError;

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
    /// The key that every client must send. Never shown.
    pub key: Option<String>,
    /// The most work that one client, or all of them, can ask for.
    pub limits: Limits,
    /// How many predictions or completions are computed at once.
    pub threads: usize,
    /// The bytes that the weights and caches of all loaded models may take together; 0 for no limit.
    pub memory_bytes_max: u64,
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
    /// Connections open at once; more wait to be accepted.
    pub connections_max: usize,
    /// The most rows in one request, or tokens in one completion request.
    pub rows_max: usize,
    /// The most prompts in one completion request.
    pub prompts_max: usize,
    /// How long a client may take to send a request's head, and how long an idle connection is kept.
    pub head_time_max: Duration,
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
        let serve = ServeConfig::default();
        Self {
            body_bytes_max: serve.body_bytes_max as usize,
            head_bytes_max: 64 << 10,
            requests_max: serve.requests_max as usize,
            connections_max: 1024,
            rows_max: serve.rows_max as usize,
            prompts_max: 16,
            head_time_max: Duration::from_secs(30),
            body_time_max: Duration::from_secs(30),
            predict_time_max: Duration::from_secs(60),
            generate_time_max: Duration::from_secs(600),
            write_time_max: Duration::from_secs(30),
            drain_time_max: Duration::from_secs(8),
        }
    }
}

impl ServerConfig {
    /// Checks the project file's settings together with the key.
    ///
    /// # Errors
    /// [`ServeError::Address`], [`ServeError::KeyNeeded`] off loopback without a key,
    /// [`ServeError::Key`] for a key that cannot be one.
    pub fn plan(serve: &ServeConfig, key: Option<String>) -> Result<Self, ServeError> {
        let address: SocketAddr =
            serve.address.parse().map_err(|_| ServeError::Address { text: serve.address.clone() })?;
        let limits = Limits {
            body_bytes_max: serve.body_bytes_max as usize,
            requests_max: serve.requests_max as usize,
            connections_max: Limits::default().connections_max.max(serve.requests_max as usize),
            rows_max: serve.rows_max as usize,
            ..Limits::default()
        };
        let config = Self { address, key, limits, threads: base::progress::default_threads(),
            memory_bytes_max: serve.memory_bytes_max,
        };
        config.check()?;
        Ok(config)
    }

    /// Checks that other machines are not let in without a key, and that the key can be one.
    pub(crate) fn check(&self) -> Result<(), ServeError> {
        match &self.key {
            None if !self.address.ip().is_loopback() => Err(ServeError::KeyNeeded { address: self.address }),
            None => Ok(()),
            Some(key) => check_key(key),
        }
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
            .field("limits", &self.limits)
            .field("threads", &self.threads)
            .field("memory_bytes_max", &self.memory_bytes_max)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use base::Failure;

    use super::*;

    fn plan(address: &str, key: Option<&str>) -> Result<ServerConfig, ServeError> {
        let serve = ServeConfig { address: address.to_owned(), ..ServeConfig::default() };
        ServerConfig::plan(&serve, key.map(str::to_owned))
    }

    #[test]
    fn other_machines_need_a_key() {
        assert!(plan("127.0.0.1:0", None).is_ok());
        assert!(plan("[::1]:0", None).is_ok());
        let error = plan("0.0.0.0:8080", None).unwrap_err();
        assert!(matches!(error, ServeError::KeyNeeded { .. }));
        assert!(error.hint().unwrap().contains("key"));
        assert!(plan("0.0.0.0:8080", Some("0123456789abcdef")).is_ok());
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
