//! The keys that open this server, read again from the store all the time.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, header};
use base::Digest;
use tokio::sync::watch;

use super::charge::Charge;
use super::client::Client;
use super::denial::Denial;
use super::table::Need;
use crate::app::App;
use crate::config::ServerConfig;
use crate::error::ServeError;
use crate::source::Source;

/// How often the keys are read: a revoked one is refused well within a second.
const POLL: Duration = Duration::from_millis(300);

/// The keys that open this server.
#[derive(Debug)]
pub(crate) struct Keyring {
    /// Whether a request without a key is refused; otherwise it must come from this machine.
    pub(crate) required: bool,
    own: Option<Arc<Client>>,
    stored: ArcSwap<Vec<Arc<Client>>>,
    epoch: Instant,
    keeps_prompts: bool,
}

impl Keyring {
    /// The key that the server was started with; those of the store come by [`Keyring::refresh`].
    pub(crate) fn new(config: &ServerConfig) -> Self {
        Self {
            required: config.requires_keys(),
            own: config.key.as_deref().map(|key| Arc::new(Client::own(key))),
            stored: ArcSwap::default(),
            epoch: Instant::now(),
            keeps_prompts: config.log_prompts,
        }
    }

    /// Reads the store's keys again. Blocks.
    pub(crate) fn refresh(&self, source: &dyn Source) -> Result<(), ServeError> {
        let keys = source.keys()?.unwrap_or_default();
        let (known, now) = (self.stored.load_full(), self.epoch.elapsed());
        let in_use = keys.iter().filter(|key| key.revoked_ms.is_none());
        let clients = in_use.map(|key| {
            let known = known.iter().find(|client| client.id == Some(key.id)).map(Arc::as_ref);
            Arc::new(Client::stored(key, known, now))
        });
        self.stored.store(Arc::new(clients.collect()));
        Ok(())
    }

    /// Tells the store what its keys have used. Blocks.
    pub(crate) fn flush(&self, source: &dyn Source) -> Result<(), ServeError> {
        let clients = self.stored.load_full();
        let taken: Vec<(&Arc<Client>, u64)> =
            clients.iter().map(|client| (client, client.take_pending())).filter(|(_, tokens)| *tokens > 0).collect();
        let charges: Vec<(i64, u64)> =
            taken.iter().filter_map(|(client, tokens)| Some((client.id?, *tokens))).collect();
        if charges.is_empty() {
            return Ok(());
        }
        source.charge_keys(&charges).inspect_err(|_| taken.iter().for_each(|(client, tokens)| client.put_back(*tokens)))
    }

    /// Lets a request in, or says why not.
    pub(crate) fn enter(&self, need: Need, headers: &HeaderMap) -> Result<Charge, Denial> {
        let client = match bearer(headers) {
            Some(secret) => self.find(secret),
            None => None,
        };
        let Some(client) = client else { return self.enter_without(need, headers) };
        let charge = Charge::to(Some(client.clone()), self.epoch, self.keeps_prompts);
        let admitted = match need.scope() {
            Some(scope) if !client.allows(scope) => Err(Denial::scope(scope)),
            _ if need == Need::Infer => client.admit(self.epoch.elapsed()),
            _ => Ok(()),
        };
        match admitted {
            Ok(()) => Ok(charge),
            Err(denial) => Err(denial.of(charge)),
        }
    }

    /// Without a key, or with one that is not known, which is how clients call that insist on sending one.
    fn enter_without(&self, need: Need, headers: &HeaderMap) -> Result<Charge, Denial> {
        if !self.required {
            // A web page must not be able to ask through its visitor's browser: neither under another name
            // that was made to point here, nor from another origin.
            let local = |name| headers.get(name).is_none_or(|value| is_local(value.as_bytes()));
            if !local(header::HOST) || !local(header::ORIGIN) {
                return Err(Denial::not_local());
            }
        } else if need != Need::Open {
            return Err(if headers.contains_key(header::AUTHORIZATION) {
                Denial::wrong_key()
            } else {
                Denial::no_key()
            });
        }
        Ok(Charge::to(None, self.epoch, self.keeps_prompts))
    }

    /// The key of a secret. All are compared, whichever it is.
    fn find(&self, secret: &[u8]) -> Option<Arc<Client>> {
        let (hash, now_ms) = (Digest::of(secret), store::now_ms());
        let stored = self.stored.load();
        let mut found = None;
        for client in self.own.iter().chain(stored.iter()) {
            if client.is(&hash) {
                found = Some(client.clone());
            }
        }
        found.filter(|client| client.is_valid(now_ms))
    }
}

/// The secret of `Authorization: Bearer SECRET`.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let sent = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes)?;
    (sent.len() > 7 && sent[..7].eq_ignore_ascii_case(b"bearer ")).then(|| &sent[7..])
}

/// Whether a `Host` or an `Origin` names this machine.
pub(super) fn is_local(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let authority = match text.split_once("://") {
        Some((_, rest)) => rest,
        None => text,
    };
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Reads the keys again and again, and stores what they used, until the server ends.
pub(crate) async fn follow(app: Arc<App>, keeper: Arc<dyn Source>, mut stopped: watch::Receiver<bool>) {
    loop {
        let ended = tokio::time::timeout(POLL, stopped.wait_for(|stopped| *stopped)).await.is_ok();
        let (app, keeper) = (app.clone(), keeper.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let flushed = app.keyring.flush(&*keeper);
            // The keys that are known stay in use while the store cannot be read.
            let read = app.keyring.refresh(&*keeper);
            if flushed.is_err() || read.is_err() {
                app.metrics.key_failures.fetch_add(1, Relaxed);
            }
        });
        let _ = looked.await;
        if ended {
            return;
        }
    }
}
