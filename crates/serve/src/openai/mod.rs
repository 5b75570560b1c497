//! OpenAI's interfaces: `/v1/models`, `/v1/chat/completions`, `/v1/completions`, `/v1/responses`, whole or as streams of
//! server-sent events.
//!
//! A request is taken apart by [`fields`], strictly: a field that nobody reads is refused, and not passed over. Then
//! [`writing`] gives its prompts to the model, and the file of the route shapes what comes back. Beyond OpenAI's own
//! fields there are `top_k`, `min_p`, `repetition_penalty`, `ignore_eos` and `structured_outputs`. Answers name the exact
//! version in `model`, as `name@3`.

pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod description;
pub(crate) mod embeddings;
mod fields;
mod logprobs;
mod messages;
mod options;
pub(crate) mod responses;
mod sse;
mod tools;
mod writing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use infer::language::FinishReason;
use serde_json::{Value as Json, json};

use crate::app::App;
use crate::models::Entry;
use crate::refusal::{Refusal, Shape, json_response};
use writing::Usage;

/// `GET /v1/models`
pub(crate) async fn models(State(app): State<Arc<App>>) -> Response {
    let all: Vec<Json> = app.models.entries().iter().map(|entry| described(&app, entry)).collect();
    ok(&json!({ "object": "list", "data": all }))
}

/// `GET /v1/models/{model}`
pub(crate) async fn model(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    match app.models.entry(Some(&name)) {
        Ok((entry, _)) => ok(&described(&app, entry)),
        Err(refusal) => refusal.response(Shape::OpenAi),
    }
}

fn described(app: &App, entry: &Entry) -> Json {
    json!({ "id": entry.name, "object": "model", "created": app.started_s, "owned_by": "modelyard" })
}

/// An answer, or why there is none.
fn answered(result: Result<Response, Refusal>) -> Response {
    result.unwrap_or_else(|refusal| refusal.response(Shape::OpenAi))
}

fn ok(body: &Json) -> Response {
    json_response(StatusCode::OK, body.to_string().into_bytes())
}

fn finish_reason(reason: FinishReason) -> &'static str {
    if reason == FinishReason::Length { "length" } else { "stop" }
}

fn usage_json(usage: Usage) -> Json {
    json!({
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": { "cached_tokens": usage.cached },
    })
}

/// A name for an answer that no other has.
fn next_id(kind: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{kind}{:x}-{count:x}", store::now_ms())
}
