//! What all handlers share: the model, the limits, the counters; who may ask, and how work leaves the
//! threads that talk to clients.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use base::Digest;
use futures::FutureExt as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::ServerConfig;
use crate::metrics::{Metrics, UnderWay};
use crate::models::{Entry, Found, Models};
use crate::openai::responses::Kept;
use crate::refusal::{Refusal, Shape};

/// What all handlers share.
pub(crate) struct App {
    pub(crate) config: ServerConfig,
    pub(crate) models: Models,
    pub(crate) metrics: Metrics,
    /// Answers of `/v1/responses`.
    pub(crate) responses: Kept,
    pub(crate) draining: AtomicBool,
    /// Seconds since 1970.
    pub(crate) started_s: i64,
    key: Option<Digest>,
    requests: Arc<Semaphore>,
    workers: Arc<Semaphore>,
}

/// Asks work on another thread to end: its client is gone, or its time is up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub(crate) fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Cancels when the handler that waits is dropped.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl App {
    pub(crate) fn new(config: ServerConfig, models: Models) -> Self {
        Self {
            models,
            metrics: Metrics::default(),
            responses: Kept::default(),
            draining: AtomicBool::new(false),
            started_s: store::now_ms() / 1000,
            key: config.key.as_ref().map(|key| Digest::of(key.as_bytes())),
            requests: Arc::new(Semaphore::new(config.limits.requests_max)),
            workers: Arc::new(Semaphore::new(config.threads.max(1))),
            config,
        }
    }

    /// Lets one more request in, until the permit is dropped.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.requests.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{} requests are under way; try again in a second", self.config.limits.requests_max);
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
        })
    }

    /// The version that a name (`name` or `name@3`) means, loaded if it has to be; none means the first model's.
    pub(crate) async fn find(self: &Arc<Self>, name: Option<&str>) -> Result<Found, Refusal> {
        let (entry, pinned) = self.models.entry(name)?;
        self.load(entry, pinned).await
    }

    /// The version of an entry, loaded if it has to be.
    pub(crate) async fn load(self: &Arc<Self>, entry: &Arc<Entry>, pinned: bool) -> Result<Found, Refusal> {
        let slot = match entry.slot() {
            Some(_) => self.models.load(entry, &self.metrics)?,
            None => {
                let (app, entry) = (self.clone(), entry.clone());
                let loading = tokio::task::spawn_blocking(move || app.guarded(|| app.models.load(&entry, &app.metrics)));
                loading.await.unwrap_or_else(|_| Err(Refusal::internal("the model could not be loaded")))?
            }
        };
        let loaded = slot.current();
        Ok(Found { slot, loaded, pinned })
    }

    /// Makes a prompt on a thread that may take its time.
    pub(crate) async fn read_prompt<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let app = self.clone();
        let reading = tokio::task::spawn_blocking(move || app.guarded(read));
        reading.await.unwrap_or_else(|_| Err(Refusal::internal("the prompt could not be made")))
    }

    /// Waits for one of the few places where heavy work runs.
    pub(crate) async fn worker(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let permit = self.workers.clone().acquire_owned().await;
        permit.map_err(|_| Refusal::internal("the server is closing"))
    }

    /// Runs heavy work on a thread of its own and waits for it, at most `limit`. A panic becomes a 500.
    pub(crate) async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        limit: Duration,
        work: impl FnOnce(&Self, &Cancel) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let cancel = Cancel::default();
        let _cancel_on_drop = CancelOnDrop(cancel.clone());
        let app = self.clone();
        let done = async move {
            let permit = app.worker().await?;
            let result = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                app.guarded(|| work(&app, &cancel))
            });
            result.await.unwrap_or_else(|_| Err(Refusal::internal("the request could not be computed")))
        };
        tokio::time::timeout(limit, done).await.unwrap_or_else(|_| Err(too_slow(limit)))
    }

    /// Runs something that should not panic, and turns a panic into a refusal.
    pub(crate) fn guarded<T>(&self, work: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
        std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            self.metrics.panics.fetch_add(1, Ordering::Relaxed);
            Err(Refusal::internal("a fault of the program; its log says more"))
        })
    }

    /// Reads a JSON body within the limits of size and time.
    pub(crate) async fn read_body(&self, request: Request) -> Result<Bytes, Refusal> {
        let limits = &self.config.limits;
        check_content(request.headers())?;
        let large = || {
            let message = format!("the body has more than {} bytes", limits.body_bytes_max);
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
        };
        let length =
            request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > limits.body_bytes_max as u64) {
            return Err(large());
        }
        let body = Limited::new(request.into_body(), limits.body_bytes_max).collect();
        match tokio::time::timeout(limits.body_time_max, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(large()),
            Ok(Err(error)) => Err(Refusal::bad(format!("the body could not be read: {error}"))),
            Err(_) => {
                let message = format!("the body did not arrive within {} s", limits.body_time_max.as_secs_f32());
                Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, message))
            }
        }
    }

    /// With a key, every request must bring it. Without one, which is on loopback only, a web page must
    /// not be able to ask through its visitor's browser: neither under another name that was made to
    /// point here, nor from another origin.
    fn authorise(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(key) = &self.key else {
            let local = |name| headers.get(name).is_none_or(|value| is_local(value.as_bytes()));
            return if local(header::HOST) && local(header::ORIGIN) {
                Ok(())
            } else {
                let message = "this server has no key, so it answers as localhost only; start it with a key";
                Err(Refusal::new(StatusCode::FORBIDDEN, message))
            };
        };
        let sent = headers.get(header::AUTHORIZATION).map(axum::http::HeaderValue::as_bytes);
        let sent = sent.filter(|sent| sent.len() > 7 && sent[..7].eq_ignore_ascii_case(b"bearer "));
        match sent {
            Some(sent) if same(key, &Digest::of(&sent[7..])) => Ok(()),
            _ => Err(Refusal::new(StatusCode::UNAUTHORIZED, "send the server's key as `Authorization: Bearer KEY`")),
        }
    }
}

/// Compares digests in a time that does not depend on where they differ.
fn same(a: &Digest, b: &Digest) -> bool {
    let differences = a.bytes().iter().zip(b.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(differences) == 0
}

/// Whether a `Host` or an `Origin` names this machine.
fn is_local(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let authority = match text.split_once("://") {
        Some((_, rest)) => rest,
        None => text,
    };
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn check_content(headers: &HeaderMap) -> Result<(), Refusal> {
    let unsupported = |message: String| Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        let text = kind.to_str().unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        if text != "application/json" && !(text.starts_with("application/") && text.ends_with("+json")) {
            return unsupported(format!("the content type {text:?} is not known; send application/json"));
        }
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return unsupported("the body is encoded; send it as it is".to_owned());
    }
    if headers.contains_key("inference-header-content-length") {
        return Err(Refusal::bad("binary tensor data is an extension that this server does not have; send JSON"));
    }
    Ok(())
}

pub(crate) fn too_slow(limit: Duration) -> Refusal {
    let message = format!("the answer was not ready within {} s", limit.as_secs_f32());
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, message)
}

/// Stands before every route, the unknown ones too: checks the key, catches panics, counts.
pub(crate) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let _under_way = UnderWay::count(&app.metrics.in_flight);
    let (route, shape) = (route(request.uri()), shape(request.uri()));
    let response = match app.authorise(request.headers()) {
        Err(refusal) => refusal.response(shape),
        Ok(()) => AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
            app.metrics.panics.fetch_add(1, Ordering::Relaxed);
            Refusal::internal("a fault of the program; its log says more").response(shape)
        }),
    };
    app.metrics.answered(route, response.status().as_u16(), begun.elapsed());
    response
}

/// The shape of a route's errors.
pub(crate) fn shape(uri: &Uri) -> Shape {
    if uri.path().starts_with("/v1/") { Shape::OpenAi } else { Shape::Inference }
}

/// The route's name in the metrics; what is not a route has one name in all.
fn route(uri: &Uri) -> &'static str {
    let parts: Vec<&str> = uri.path().split('/').skip(1).take(8).collect();
    match parts[..] {
        ["health", "live"] => "/health/live",
        ["health", "ready"] => "/health/ready",
        ["metrics"] => "/metrics",
        ["traffic"] => "/traffic",
        ["openapi.json"] => "/openapi.json",
        ["v1", "chat", "completions"] => "/v1/chat/completions",
        ["v1", "completions"] => "/v1/completions",
        ["v1", "embeddings"] => "/v1/embeddings",
        ["v1", "responses"] => "/v1/responses",
        ["v1", "responses", _] => "/v1/responses/{response}",
        ["v1", "models"] => "/v1/models",
        ["v1", "models", _] => "/v1/models/{model}",
        ["v2"] => "/v2",
        ["v2", "health", "live"] => "/v2/health/live",
        ["v2", "health", "ready"] => "/v2/health/ready",
        ["v2", "models", _] | ["v2", "models", _, "versions", _] => "/v2/models/{model}",
        ["v2", "models", _, "ready"] | ["v2", "models", _, "versions", _, "ready"] => "/v2/models/{model}/ready",
        ["v2", "models", _, "infer"] | ["v2", "models", _, "versions", _, "infer"] => "/v2/models/{model}/infer",
        _ => "other",
    }
}

#[cfg(test)]
mod tests;
