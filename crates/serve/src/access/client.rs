//! One key as the server sees it: what it may do, and what it has used.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Digest;
use store::{KeyLimits, Scope};

use super::bucket::Bucket;
use super::denial::Denial;

/// One key. Its use outlives every reading of the keys from the store.
#[derive(Debug)]
pub(crate) struct Client {
    /// The store's number; `None` for the key that the server was started with.
    pub(crate) id: Option<i64>,
    pub(crate) name: String,
    hash: Digest,
    scopes: Vec<Scope>,
    expires_ms: Option<i64>,
    limits: KeyLimits,
    usage: Arc<Usage>,
}

/// What a key has used.
#[derive(Debug)]
pub(crate) struct Usage {
    buckets: Mutex<Buckets>,
    /// Tokens that the store knows of.
    stored: AtomicU64,
    /// Tokens that it does not know of yet.
    pending: AtomicU64,
}

#[derive(Debug)]
struct Buckets {
    limits: KeyLimits,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

impl Buckets {
    fn new(limits: KeyLimits, now: Duration) -> Self {
        let bucket = |per_minute: Option<u32>| per_minute.map(|per_minute| Bucket::new(per_minute, now));
        Self { limits, requests: bucket(limits.requests_per_minute), tokens: bucket(limits.tokens_per_minute) }
    }
}

impl Client {
    /// The key that the server was started with: it may do everything, without limits.
    pub(crate) fn own(key: &str) -> Self {
        let limits = KeyLimits::default();
        Self {
            id: None,
            name: "(server)".to_owned(),
            hash: Digest::of(key.as_bytes()),
            scopes: vec![Scope::Admin],
            expires_ms: None,
            limits,
            usage: Usage::new(limits, Duration::ZERO),
        }
    }

    /// A key of the store, which goes on with the use that is known of it.
    pub(crate) fn stored(key: &store::Key, known: Option<&Self>, now: Duration) -> Self {
        let usage = known.map_or_else(|| Usage::new(key.limits, now), |known| known.usage.clone());
        usage.stored.store(key.tokens_used, Relaxed);
        let mut buckets = usage.buckets();
        if buckets.limits != key.limits {
            *buckets = Buckets::new(key.limits, now);
        }
        drop(buckets);
        Self {
            id: Some(key.id),
            name: key.name.clone(),
            hash: key.hash,
            scopes: key.scopes.clone(),
            expires_ms: key.expires_ms,
            limits: key.limits,
            usage,
        }
    }

    /// Whether a secret of this hash is this key's, in a time that does not depend on where they differ.
    pub(crate) fn is(&self, hash: &Digest) -> bool {
        let differences = self.hash.bytes().iter().zip(hash.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(differences) == 0
    }

    pub(crate) fn is_valid(&self, now_ms: i64) -> bool {
        self.expires_ms.is_none_or(|expires| now_ms < expires)
    }

    pub(crate) fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Takes one request from the limits, or says which of them is reached and for how long.
    pub(crate) fn admit(&self, now: Duration) -> Result<(), Denial> {
        if let Some(total) = self.limits.tokens_total
            && self.used() >= total
        {
            return Err(Denial::quota(total));
        }
        let mut buckets = self.usage.buckets();
        let Buckets { requests, tokens, .. } = &mut *buckets;
        let limits = &self.limits;
        // One token at least: a debt is paid off first.
        if let Some(wait) = tokens.as_mut().and_then(|tokens| tokens.wait(1.0, now)) {
            return Err(Denial::rate("tokens", limits.tokens_per_minute.unwrap_or(0), wait));
        }
        if let Some(requests) = requests {
            if let Some(wait) = requests.wait(1.0, now) {
                return Err(Denial::rate("requests", limits.requests_per_minute.unwrap_or(0), wait));
            }
            requests.spend(1.0, now);
        }
        Ok(())
    }

    /// Charges tokens, whether or not there are any left: the next request waits for them.
    pub(crate) fn charge(&self, tokens: u64, now: Duration) {
        self.usage.pending.fetch_add(tokens, Relaxed);
        if let Some(bucket) = &mut self.usage.buckets().tokens {
            bucket.spend(tokens as f64, now);
        }
    }

    fn used(&self) -> u64 {
        self.usage.stored.load(Relaxed).saturating_add(self.usage.pending.load(Relaxed))
    }

    /// Tokens that the store does not know of; from now on it is taken to know them.
    pub(crate) fn take_pending(&self) -> u64 {
        let tokens = self.usage.pending.swap(0, Relaxed);
        self.usage.stored.fetch_add(tokens, Relaxed);
        tokens
    }

    /// Takes it back: the store did not learn of them.
    pub(crate) fn put_back(&self, tokens: u64) {
        self.usage.pending.fetch_add(tokens, Relaxed);
    }
}

impl Usage {
    fn new(limits: KeyLimits, now: Duration) -> Arc<Self> {
        let buckets = Mutex::new(Buckets::new(limits, now));
        Arc::new(Self { buckets, stored: AtomicU64::new(0), pending: AtomicU64::new(0) })
    }

    fn buckets(&self) -> std::sync::MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
