//! The end of an answer: its last byte, or the moment that nobody waits for it any more.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use serde_json::json;

use super::requests::kind_of;
use crate::access::Charge;
use crate::app::App;
use crate::trace::{Parent, Span};

/// What is known of a request when its answer begins.
pub(crate) struct Finish {
    pub(crate) app: Arc<App>,
    pub(crate) method: String,
    pub(crate) route: &'static str,
    pub(crate) status: u16,
    /// The kind of error, where the guard knows it.
    pub(crate) error: Option<&'static str>,
    pub(crate) begun: Instant,
    /// When it began, in milliseconds since 1970.
    pub(crate) begun_ms: i64,
    pub(crate) charge: Charge,
    pub(crate) parent: Parent,
}

impl Finish {
    /// Watches an answer until its end.
    pub(crate) fn watch(mut self, response: Response) -> Response {
        let grpc_status = response.headers().get("grpc-status").and_then(|status| status.to_str().ok()?.parse().ok());
        self.error = self.error.or_else(|| kind_of(self.status, grpc_status));
        response.map(|body| Body::new(Watched { body, finish: Some(self), complete: false }))
    }

    fn end(self, complete: bool) {
        let took = self.begun.elapsed();
        let metrics = &self.app.metrics;
        metrics.requests.ended(self.route, self.status, took);
        if let Some(kind) = self.error {
            metrics.requests.error(kind);
        }
        if let Some(log) = &self.app.log {
            let (prompt_tokens, completion_tokens) = self.charge.used();
            let about = self.charge.about();
            let mut line = json!({
                "time_ms": self.begun_ms,
                "method": self.method,
                "route": self.route,
                "status": self.status,
                "duration_ms": (took.as_secs_f64() * 1e6).round() / 1e3,
                "complete": complete,
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
            log.line(line.to_string());
        }
        if let Some(tracer) = &self.app.tracer {
            tracer.export(|| Span {
                method: self.method,
                route: self.route,
                status: self.status,
                error: self.error,
                begun_ms: self.begun_ms,
                took,
                tokens: self.charge.used(),
                key: self.charge.key_name().map(str::to_owned),
                about: self.charge.about(),
                parent: self.parent,
            });
        }
    }
}

/// A body that tells of its end.
pub(crate) struct Watched {
    body: Body,
    finish: Option<Finish>,
    complete: bool,
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
            self.complete = true;
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
        let complete = self.complete || self.body.is_end_stream();
        if let Some(finish) = self.finish.take() {
            finish.end(complete);
        }
    }
}
