//! A request that is not answered as asked: its status, and its body in the shape of its protocol.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use base::{Failure, Fault};
use infer::InferError;
use serde_json::json;

/// Why a request is refused.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// The request's field that is wrong, where it is one.
    pub(crate) param: Option<&'static str>,
    /// OpenAI's word for it, where clients look for one.
    pub(crate) code: Option<&'static str>,
}

/// The shape of an error's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `{"error": "..."}`, by the Open Inference Protocol.
    Inference,
    /// `{"error": {"message": ...}}`, as OpenAI's clients read it.
    OpenAi,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn bad_param(param: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into(), param: Some(param), code: None }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// The same with OpenAI's word for it.
    pub(crate) fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The program's fault; the particulars stay in the server.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    pub(crate) fn is_internal(&self) -> bool {
        self.status == StatusCode::INTERNAL_SERVER_ERROR
    }

    /// The body, as both protocols put it on the wire and into a stream.
    pub(crate) fn body(&self, shape: Shape) -> serde_json::Value {
        match shape {
            Shape::Inference => json!({ "error": self.message }),
            Shape::OpenAi => {
                let kind = match self.status.as_u16() {
                    401 => "authentication_error",
                    400..500 => "invalid_request_error",
                    _ => "server_error",
                };
                json!({ "error": { "message": self.message, "type": kind, "param": self.param, "code": self.code } })
            }
        }
    }

    pub(crate) fn response(&self, shape: Shape) -> Response {
        let mut response = json_response(self.status, self.body(shape).to_string().into_bytes());
        let headers = response.headers_mut();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

impl From<InferError> for Refusal {
    fn from(error: InferError) -> Self {
        match error.fault() {
            Fault::User => Self::bad(error.to_string()),
            _ => Self::internal(error.to_string()),
        }
    }
}

/// A JSON answer.
pub(crate) fn json_response(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
