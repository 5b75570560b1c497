//! What one request cost: charged to its key, and told to the access log and to traces.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::extract::Request;

use super::client::Client;
use crate::model::Loaded;

/// What one request costs. It lies in the request's extensions; clones are the same account, so a stream
/// that outlives its handler keeps one and charges at its end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Charge(Arc<Account>);

#[derive(Debug, Default)]
struct Account {
    client: Option<Arc<Client>>,
    /// The moment that the key's buckets count from.
    epoch: Option<Instant>,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    about: Mutex<About>,
    keeps_prompts: bool,
}

/// What a request was about, for the access log and for traces.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    /// The operation's name by OpenTelemetry's conventions: `chat`, `text_completion`, `embeddings`.
    pub(crate) operation: Option<&'static str>,
    /// The model that was asked for.
    pub(crate) model: Option<String>,
    /// The model that answered, with its version.
    pub(crate) response_model: Option<String>,
    pub(crate) finish_reasons: Vec<&'static str>,
    /// The prompt; only where the server's settings ask for it.
    pub(crate) prompt: Option<String>,
}

impl Charge {
    pub(crate) fn to(client: Option<Arc<Client>>, epoch: Instant, keeps_prompts: bool) -> Self {
        Self(Arc::new(Account { client, epoch: Some(epoch), keeps_prompts, ..Account::default() }))
    }

    /// The account of a request; one that nobody pays where the request came past no guard.
    pub(crate) fn of(request: &Request) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }

    /// Charges tokens to the key.
    pub(crate) fn tokens(&self, count: u64) {
        if let (Some(client), Some(epoch)) = (&self.0.client, self.0.epoch) {
            client.charge(count, epoch.elapsed());
        }
    }

    /// Charges what a prompt and its completion cost, and notes both. May be called again, for more
    /// prompts of the same request.
    pub(crate) fn usage(&self, prompt_tokens: u64, completion_tokens: u64) {
        self.0.prompt_tokens.fetch_add(prompt_tokens, Relaxed);
        self.0.completion_tokens.fetch_add(completion_tokens, Relaxed);
        self.tokens(prompt_tokens + completion_tokens);
    }

    /// Tokens noted by now: of prompts, and of completions.
    pub(crate) fn used(&self) -> (u64, u64) {
        (self.0.prompt_tokens.load(Relaxed), self.0.completion_tokens.load(Relaxed))
    }

    /// The name of the key that pays.
    pub(crate) fn key_name(&self) -> Option<&str> {
        self.0.client.as_deref().map(|client| client.name.as_str())
    }

    /// Whose request it is: the number of the key in the store. What one key left here, no other sees.
    pub(crate) fn owner(&self) -> Option<i64> {
        self.0.client.as_ref().and_then(|client| client.id)
    }

    /// Notes what the request is about.
    pub(crate) fn note(&self, note: impl FnOnce(&mut About)) {
        note(&mut self.lock());
    }

    /// Notes which version answers, and that it is what was asked for.
    pub(crate) fn answered_by(&self, loaded: &Loaded) {
        self.note(|about| {
            about.model = Some(loaded.name.clone());
            about.response_model = Some(loaded.full_name());
        });
    }

    /// Keeps a prompt for the log and the traces, where the server's settings ask for that.
    pub(crate) fn prompt(&self, text: impl FnOnce() -> String) {
        if self.0.keeps_prompts {
            let text = text();
            self.note(|about| about.prompt = Some(text));
        }
    }

    pub(crate) fn about(&self) -> About {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, About> {
        self.0.about.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
