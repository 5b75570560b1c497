//! The routes that are not completions: health, metrics, the Open Inference Protocol, and what stands
//! where no route is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use base::Value;
use infer::description::PredictDescription;
use infer::model::Engine;
use infer::predict::{Prediction, Predictor};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::access::{Charge, guard};
use crate::app::{App, Cancel, shape};
use crate::completions;
use crate::grpc;
use crate::metrics::{family, line};
use crate::model::Loaded;
use crate::oip::{self, Asked, Written};
use crate::refusal::{Refusal, Shape, json_response};

type Shared = State<Arc<App>>;

/// All routes, guarded.
pub(crate) fn router(app: Arc<App>) -> Router {
    let model = |rest: &str| format!("/v2/models/{{model}}{rest}");
    let version = |rest: &str| format!("/v2/models/{{model}}/versions/{{version}}{rest}");
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/traffic", get(traffic))
        .route("/v1/models", get(completions::models))
        .route("/v1/models/{model}", get(completions::model))
        .route("/v1/completions", post(completions::complete))
        .route("/v2", get(server))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route(&model(""), get(metadata))
        .route(&model("/ready"), get(model_ready))
        .route(&model("/infer"), post(infer))
        .route(&version(""), get(metadata))
        .route(&version("/ready"), get(model_ready))
        .route(&version("/infer"), post(infer))
        .merge(grpc::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

fn ok(body: &Json) -> Response {
    json_response(StatusCode::OK, body.to_string().into_bytes())
}

async fn unknown(uri: Uri) -> Response {
    Refusal::not_found(format!("there is nothing at {}", uri.path())).response(shape(&uri))
}

async fn wrong_method(uri: Uri) -> Response {
    let message = format!("{} does not take this method", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message).response(shape(&uri))
}

async fn live() -> Response {
    ok(&json!({ "live": true }))
}

/// Ready means that a model answers. Trouble with the next version is told here, and is no reason to
/// send no requests: the version before still answers.
async fn ready(State(app): Shared, charge: Option<Extension<Charge>>) -> Response {
    let current = app.slot.current();
    let draining = app.draining.load(Ordering::Relaxed);
    let status = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    // Who has no key where one is needed is not told what is served.
    if app.keyring.required && charge.is_none_or(|charge| charge.key_name().is_none()) {
        return json_response(status, json!({ "ready": !draining }).to_string().into_bytes());
    }
    let body = json!({
        "ready": !draining,
        "model": current.name,
        "version": current.version.to_string(),
        "previous": app.slot.previous().map(|previous| previous.version.to_string()),
        "trouble": app.slot.trouble(),
    });
    json_response(status, body.to_string().into_bytes())
}

async fn metrics(State(app): Shared) -> Response {
    let current = app.slot.current();
    let mut text = app.metrics.render(&current.name, current.version);
    let lost = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let lines = app.log.as_ref().map_or(0, |log| lost(&log.lost));
    let spans = app.tracer.as_ref().map_or(0, |tracer| lost(&tracer.lost));
    for (name, help, count) in [
        ("modelyard_log_lines_lost_total", "Lines of the access log that were not written.", lines),
        ("modelyard_spans_lost_total", "Spans that were not sent.", spans),
    ] {
        family(&mut text, name, "counter", help);
        line(&mut text, name, &[], count as f64);
    }
    let mut response = text.into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The sketch of the current version's traffic that is in no store (yet).
async fn traffic(State(app): Shared) -> Response {
    let current = app.slot.current();
    let pending = current.traffic.pending().map(|sketch| {
        json!({
            "started_ms": sketch.started_ms,
            "ended_ms": sketch.ended_ms,
            "requests": sketch.requests,
            "body": sketch.body,
        })
    });
    ok(&json!({ "model": current.name, "version": current.version.to_string(), "pending": pending }))
}

async fn server() -> Response {
    ok(&oip::server_metadata())
}

/// The model, and perhaps the version, that a path names.
#[derive(Debug, Deserialize)]
struct Named {
    model: String,
    version: Option<String>,
}

type NamedPath = Result<Path<Named>, PathRejection>;

/// The version that answers now, if it is the one that the path names.
fn named(app: &App, path: NamedPath) -> Result<(Arc<Loaded>, bool), Refusal> {
    let Path(named) = path.map_err(|error| Refusal::bad(error.body_text()))?;
    find(app, &named.model, named.version.as_deref())
}

/// The version that answers now, if it is this one.
pub(crate) fn find(app: &App, model: &str, version: Option<&str>) -> Result<(Arc<Loaded>, bool), Refusal> {
    let current = app.slot.current();
    if model != current.name {
        return Err(Refusal::not_found(format!("there is no model {model:?}; {:?} is served", current.name)));
    }
    match version {
        Some(version) if version != current.version.to_string() => {
            let (name, number) = (&current.name, current.version);
            Err(Refusal::not_found(format!("version {version:?} of {name:?} is not served; version {number} is")))
        }
        version => Ok((current, version.is_some())),
    }
}

async fn metadata(State(app): Shared, path: NamedPath) -> Response {
    let (current, _) = match named(&app, path) {
        Ok(named) => named,
        Err(refusal) => return refusal.response(Shape::Inference),
    };
    ok(&match current.model.engine() {
        Engine::Predict(predictor) => oip::model_metadata(predictor.description(), &current.name, current.version),
        // A language model answers at /v1/completions; it has no tensors here.
        Engine::Language(_) => json!({
            "name": current.name, "versions": [current.version.to_string()], "platform": "modelyard", "inputs": [], "outputs": [],
        }),
    })
}

async fn model_ready(State(app): Shared, path: NamedPath) -> Response {
    match named(&app, path) {
        Ok((current, _)) => ok(&json!({ "name": current.name, "ready": true })),
        Err(refusal) => refusal.response(Shape::Inference),
    }
}

async fn infer(State(app): Shared, path: NamedPath, request: Request) -> Response {
    match infer_rows(&app, path, request).await {
        Ok(Written { body, header_length: None }) => json_response(StatusCode::OK, body),
        Ok(Written { body, header_length: Some(length) }) => {
            let mut response = json_response(StatusCode::OK, body);
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            headers.insert(oip::HEADER_LENGTH, HeaderValue::from(length));
            response
        }
        Err(refusal) => refusal.response(Shape::Inference),
    }
}

async fn infer_rows(app: &Arc<App>, path: NamedPath, request: Request) -> Result<Written, Refusal> {
    let named = named(app, path)?;
    let _permit = app.admit()?;
    let header_length = oip::header_length(request.headers())?;
    let body = app.read_body(request).await?;
    let rows_max = app.config.limits.rows_max;
    let read = move |description: &PredictDescription| oip::read(description, &body, header_length, rows_max);
    predict_rows(app, named, read, oip::write).await
}

/// Predicts what `read` finds in a request, and gives what `write` makes of it.
pub(crate) async fn predict_rows<T: Send + 'static>(
    app: &Arc<App>,
    (current, pinned): (Arc<Loaded>, bool),
    read: impl Fn(&PredictDescription) -> Result<Asked, Refusal> + Send + 'static,
    write: impl Fn(&PredictDescription, (&str, u32), &Asked, &[Vec<Prediction>]) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let limit = app.config.limits.predict_time_max;
    app.work(limit, move |app, cancel| {
        with_fallback(app, &current, pinned, |loaded| answer(app, loaded, &read, &write, cancel))
    })
    .await
}

/// Answers with a version; if that goes wrong by the program's fault before the version ever answered,
/// the version before answers, unless the client named the version.
pub(crate) fn with_fallback<T>(
    app: &App,
    loaded: &Arc<Loaded>,
    pinned: bool,
    mut answer: impl FnMut(&Arc<Loaded>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    match app.guarded(|| answer(loaded)) {
        Err(refusal) if refusal.is_internal() => match app.slot.reject(loaded, &refusal.message, &app.metrics) {
            Some(previous) if !pinned => answer(&previous),
            _ => Err(refusal),
        },
        result => {
            if result.is_ok() {
                app.slot.answered(loaded);
            }
            result
        }
    }
}

/// Makes an answer of predictions.
type Write<'a, T> = &'a dyn Fn(&PredictDescription, (&str, u32), &Asked, &[Vec<Prediction>]) -> Result<T, Refusal>;

fn answer<T>(
    app: &App,
    loaded: &Arc<Loaded>,
    read: &dyn Fn(&PredictDescription) -> Result<Asked, Refusal>,
    write: Write<'_, T>,
    cancel: &Cancel,
) -> Result<T, Refusal> {
    let Engine::Predict(predictor) = loaded.model.engine() else {
        return Err(Refusal::bad(format!("{} is a language model; ask it at /v1/completions", loaded.name)));
    };
    let asked = read(predictor.description())?;
    let predictions = predict(predictor, &asked.rows, cancel)?;
    let body = write(predictor.description(), (&loaded.name, loaded.version), &asked, &predictions)?;
    loaded.traffic.observe(&asked.rows, &predictions);
    app.metrics.rows(&loaded.name, loaded.version, asked.rows.len() as u64);
    Ok(body)
}

fn predict(predictor: &Predictor, rows: &[Vec<Value>], cancel: &Cancel) -> Result<Vec<Vec<Prediction>>, Refusal> {
    let mut all = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        if cancel.asked() {
            return Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, "nobody waits for this answer any more"));
        }
        let in_row = |refusal: Refusal| Refusal { message: format!("row {index}: {}", refusal.message), ..refusal };
        all.push(predictor.predict(row).map_err(|error| in_row(error.into()))?);
    }
    Ok(all)
}
