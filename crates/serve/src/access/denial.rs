//! Why a request is not let in, in the shape of each protocol.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::json;
use store::Scope;

use super::charge::Charge;
use crate::refusal::{Refusal, Shape, json_response};

/// What a client whose quota is used up may wait before it asks again whether there is more.
const QUOTA_WAIT: Duration = Duration::from_secs(3600);

/// Why a request is not let in.
#[derive(Debug, Clone)]
pub(crate) struct Denial {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// OpenAI's word for the kind.
    kind: &'static str,
    /// OpenAI's word for the particular.
    pub(crate) code: &'static str,
    retry_after: Option<Duration>,
    /// Whose request it was, where that is known.
    pub(crate) charge: Charge,
}

impl Denial {
    pub(crate) fn no_key() -> Self {
        Self::unauthorised("missing_api_key", "send a key as `Authorization: Bearer KEY`")
    }

    pub(crate) fn wrong_key() -> Self {
        Self::unauthorised("invalid_api_key", "the key is not known here, was revoked, or has expired")
    }

    fn unauthorised(code: &'static str, message: &str) -> Self {
        let (status, kind) = (StatusCode::UNAUTHORIZED, "authentication_error");
        Self { status, message: message.to_owned(), kind, code, retry_after: None, charge: Charge::default() }
    }

    pub(crate) fn scope(scope: Scope) -> Self {
        Self::forbidden(
            "missing_scope",
            format!("the key may not be used for this: it lacks the scope {scope:?}", scope = scope.name()),
        )
    }

    pub(crate) fn not_local() -> Self {
        let message = "this server asks for no key, so it answers as localhost only; send a key";
        Self::forbidden("not_local", message.to_owned())
    }

    fn forbidden(code: &'static str, message: String) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            message,
            kind: "permission_error",
            code,
            retry_after: None,
            charge: Charge::default(),
        }
    }

    /// Too much in too short a time, of `requests` or `tokens`.
    pub(crate) fn rate(what: &'static str, per_minute: u32, wait: Duration) -> Self {
        let message = format!("the key is limited to {per_minute} {what} a minute; try again in {} s", seconds(wait));
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self {
            status,
            message,
            kind: what,
            code: "rate_limit_exceeded",
            retry_after: Some(wait),
            charge: Charge::default(),
        }
    }

    pub(crate) fn quota(total: u64) -> Self {
        let message = format!("the key has used the {total} tokens that it was given");
        let (status, kind) = (StatusCode::TOO_MANY_REQUESTS, "insufficient_quota");
        Self { status, message, kind, code: kind, retry_after: Some(QUOTA_WAIT), charge: Charge::default() }
    }

    /// The same, of somebody's request.
    pub(crate) fn of(self, charge: Charge) -> Self {
        Self { charge, ..self }
    }

    pub(crate) fn response(&self, shape: Shape, grpc: bool) -> Response {
        if grpc {
            return self.grpc();
        }
        let mut response = match shape {
            Shape::Inference => Refusal::new(self.status, self.message.clone()).response(shape),
            Shape::OpenAi => {
                let error = json!({ "message": self.message, "type": self.kind, "param": null, "code": self.code });
                json_response(self.status, json!({ "error": error }).to_string().into_bytes())
            }
        };
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(wait)));
        }
        response
    }

    /// gRPC answers with 200 and says in trailers, here in the only head, what went wrong.
    fn grpc(&self) -> Response {
        let status = match self.status {
            StatusCode::UNAUTHORIZED => "16",
            StatusCode::FORBIDDEN => "7",
            _ => "8",
        };
        let mut response = Response::default();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(status));
        // Every message here is of plain ASCII without `%`, which is how gRPC wants it.
        if let Ok(message) = HeaderValue::from_str(&self.message) {
            headers.insert("grpc-message", message);
        }
        response
    }
}

/// Whole seconds, and never too few.
fn seconds(wait: Duration) -> u64 {
    (wait.as_secs_f64().ceil() as u64).max(1)
}
