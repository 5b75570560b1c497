//! What all handlers share: the model, the limits, the counters, the keys; and how work leaves the
//! threads that talk to clients.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::Keyring;
use crate::config::ServerConfig;
use crate::metrics::Metrics;
use crate::models::{Entry, Found, Models};
use crate::oip::HEADER_LENGTH;
use crate::openai::responses::Kept;
use crate::refusal::{Refusal, Shape};
use crate::trace::Tracer;
use crate::watch::Log;

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
    pub(crate) keyring: Keyring,
    pub(crate) log: Option<Log>,
    pub(crate) tracer: Option<Arc<Tracer>>,
    requests: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    waiting: AtomicUsize,
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

/// A place in the queue, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize, max: usize) -> Option<Self> {
        let entered =
            count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < max).then_some(count + 1));
        entered.ok().map(|_| Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
            keyring: Keyring::new(&config),
            log: config.access_log.clone().map(Log::start),
            tracer: config.traces_endpoint.clone().map(|endpoint| Arc::new(Tracer::new(endpoint))),
            requests: Arc::new(Semaphore::new(config.limits.requests_max)),
            workers: Arc::new(Semaphore::new(config.threads.max(1))),
            waiting: AtomicUsize::new(0),
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
        let slot = match entry.living() {
            Some(_) => self.models.load(entry, &self.metrics)?,
            None => {
                let (app, entry) = (self.clone(), entry.clone());
                let loading =
                    tokio::task::spawn_blocking(move || app.guarded(|| app.models.load(&entry, &app.metrics)));
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
        let begun = Instant::now();
        if let Ok(permit) = self.workers.clone().try_acquire_owned() {
            self.metrics.generation.observe_queue(0.0);
            return Ok(permit);
        }
        let queue_max = self.config.limits.queue_max;
        let _waiting = Waiting::enter(&self.waiting, queue_max).ok_or_else(|| {
            let message = format!("{queue_max} requests wait to be computed; try again in a second");
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
        })?;
        let permit = self.workers.clone().acquire_owned().await;
        self.metrics.generation.observe_queue(begun.elapsed().as_secs_f64());
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
        check_content(request.headers())?;
        self.collect(request).await
    }

    /// Reads a body within the limits of size and time.
    pub(crate) async fn collect(&self, request: Request) -> Result<Bytes, Refusal> {
        let limits = &self.config.limits;
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
}

fn check_content(headers: &HeaderMap) -> Result<(), Refusal> {
    let unsupported = |message: String| Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        let text = kind.to_str().unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let bytes = text == "application/octet-stream" && headers.contains_key(HEADER_LENGTH);
        if !bytes && text != "application/json" && !(text.starts_with("application/") && text.ends_with("+json")) {
            return unsupported(format!("the content type {text:?} is not known; send application/json"));
        }
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return unsupported("the body is encoded; send it as it is".to_owned());
    }
    Ok(())
}

pub(crate) fn too_slow(limit: Duration) -> Refusal {
    let message = format!("the answer was not ready within {} s", limit.as_secs_f32());
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, message)
}

/// The shape of a route's errors.
pub(crate) fn shape(uri: &Uri) -> Shape {
    if uri.path().starts_with("/v1/") { Shape::OpenAi } else { Shape::Inference }
}

#[cfg(test)]
pub(crate) mod tests;
