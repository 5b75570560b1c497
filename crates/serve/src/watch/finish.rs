//! The end of an answer: its last byte, or the moment that nobody waits for it any more.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use serde_json::json;

use super::requests::kind_of;
use crate::access::Charge;
use crate::app::App;
use crate::trace::{Parent, Span};
use crate::wire::Busy;

/// The status of a request whose client went away before there was an answer, as nginx has it.
const GONE: u16 = 499;

/// What is known of a request until its answer has ended. Dropping it is that end.
pub(crate) struct Finish {
    app: Arc<App>,
    method: String,
    route: &'static str,
    status: u16,
    /// The kind of error, where the guard knows it.
    pub(crate) error: Option<&'static str>,
    begun: Instant,
    /// When it began, in milliseconds since 1970.
    begun_ms: i64,
    pub(crate) charge: Charge,
    parent: Parent,
    complete: bool,
    /// Keeps the connection from being idle.
    _busy: Option<Busy>,
}

impl Finish {
    /// Begins with a request.
    pub(crate) fn new(app: Arc<App>, route: &'static str, request: &mut Request) -> Self {
        Self {
            app,
            // A client may name a method as it likes.
            method: request.method().as_str().chars().take(16).collect(),
            route,
            status: GONE,
            error: None,
            begun: Instant::now(),
            begun_ms: store::now_ms(),
            charge: Charge::default(),
            parent: Parent::of(request.headers()),
            complete: false,
            _busy: request.extensions_mut().remove(),
        }
    }

    /// Watches an answer until its end.
    pub(crate) fn watch(mut self, response: Response) -> Response {
        self.status = response.status().as_u16();
        let grpc_status = response.headers().get("grpc-status").and_then(|status| status.to_str().ok()?.parse().ok());
        self.error = self.error.or_else(|| kind_of(self.status, grpc_status));
        self.app.metrics.answered(self.route, self.status, self.begun.elapsed());
        response.map(|body| Body::new(Watched { body, finish: self }))
    }

    fn log(&self, took: Duration) -> String {
        let (prompt_tokens, completion_tokens) = self.charge.used();
        let about = self.charge.about();
        let mut line = json!({
            "time_ms": self.begun_ms,
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "duration_ms": (took.as_secs_f64() * 1e6).round() / 1e3,
            "complete": self.complete,
            "key": self.charge.key_name(),
            "model": about.model,
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "error": self.error,
            "trace_id": self.parent.trace_id(),
        });
        if let Some(prompt) = about.prompt {
            line["prompt"] = prompt.into();
        }
        line.to_string()
    }

    fn span(&self, took: Duration) -> Span {
        Span {
            method: self.method.clone(),
            route: self.route,
            status: self.status,
            error: self.error,
            begun_ms: self.begun_ms,
            took,
            tokens: self.charge.used(),
            key: self.charge.key_name().map(str::to_owned),
            about: self.charge.about(),
            parent: self.parent.clone(),
        }
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        if self.status == GONE {
            self.error = Some("cancelled");
        }
        self.app.metrics.requests.ended(self.route, self.status, took);
        if let Some(kind) = self.error {
            self.app.metrics.requests.error(kind);
        }
        if let Some(log) = &self.app.log {
            log.line(self.log(took));
        }
        if let Some(tracer) = self.app.tracer.as_ref().filter(|_| self.parent.is_sampled()) {
            tracer.export(self.span(took));
        }
    }
}

/// A body that tells of its end.
struct Watched {
    body: Body,
    finish: Finish,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) {
            self.finish.complete = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // A body of a known size is not asked for more once it has been sent.
        self.finish.complete |= self.body.is_end_stream();
    }
}
