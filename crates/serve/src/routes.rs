//! The routes that are not OpenAI's: health, metrics, the Open Inference Protocol, and what stands
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
use infer::predict::{Prediction, Predictor};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::access::{Charge, guard};
use crate::app::{App, Cancel, shape};
use crate::grpc;
use crate::metrics::{family, line};
use crate::model::Loaded;
use crate::models::{Entry, Found};
use crate::oip::{self, Asked, ResponseOutput, Written};
use crate::openai;
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
        .route("/openapi.json", get(openai::description::serve))
        .route("/v1/models", get(openai::models))
        .route("/v1/models/{model}", get(openai::model))
        .route("/v1/chat/completions", post(openai::chat::complete))
        .route("/v1/completions", post(openai::completions::complete))
        .route("/v1/embeddings", post(openai::embeddings::create))
        .route("/v1/responses", post(openai::responses::create))
        .route("/v1/responses/{response}", get(openai::responses::get).delete(openai::responses::delete))
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
    let draining = app.draining.load(Ordering::Relaxed);
    let status = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    // Who has no key where one is needed is not told what is served.
    if app.keyring.required && charge.is_none_or(|charge| charge.key_name().is_none()) {
        return json_response(status, json!({ "ready": !draining }).to_string().into_bytes());
    }
    let one = |entry: &Entry| {
        let slot = entry.slot();
        json!({
            "model": entry.name,
            "version": entry.version().to_string(),
            "loaded": slot.is_some(),
            "previous": slot.as_ref().and_then(|slot| slot.previous()).map(|previous| previous.version.to_string()),
            "trouble": slot.and_then(|slot| slot.trouble()),
        })
    };
    let mut body = one(app.models.first());
    body["ready"] = Json::from(!draining);
    if app.models.entries().len() > 1 {
        body["models"] = app.models.entries().iter().map(|entry| one(entry)).collect();
    }
    json_response(status, body.to_string().into_bytes())
}

async fn metrics(State(app): Shared) -> Response {
    let all = app.models.loaded();
    let loaded: Vec<_> = all.iter().map(|loaded| (loaded.name.clone(), loaded.version, loaded.bytes)).collect();
    let (generation, mut pages) = (&app.metrics.generation, (0, 0));
    for model in all.iter().filter_map(|loaded| loaded.text_model()) {
        let statistics = model.engine.statistics();
        pages.0 += statistics.pages_used.load(Ordering::Relaxed) as u64;
        pages.1 += model.engine.config().pages as u64;
        for (power, steps) in statistics.batches.iter().enumerate() {
            // Steps since the last look.
            generation.observe_batches(1 << power, steps.swap(0, Ordering::Relaxed));
        }
    }
    generation.set_kv_pages(pages.0, pages.1);
    let mut text = app.metrics.render(&loaded);
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

/// The sketch of the first model's traffic that is in no store (yet).
async fn traffic(State(app): Shared) -> Response {
    let entry = app.models.first();
    let current = entry.slot().map(|slot| slot.current());
    let pending = current.and_then(|current| current.traffic.as_ref()?.pending()).map(|sketch| {
        json!({
            "started_ms": sketch.started_ms,
            "ended_ms": sketch.ended_ms,
            "requests": sketch.requests,
            "body": sketch.body,
        })
    });
    ok(&json!({ "model": entry.name, "version": entry.version().to_string(), "pending": pending }))
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

/// The version that the path names.
async fn named(app: &Arc<App>, path: NamedPath) -> Result<Found, Refusal> {
    let Path(named) = path.map_err(|error| Refusal::bad(error.body_text()))?;
    find(app, &named.model, named.version.as_deref()).await
}

/// The version of a name; with a version, that one and no other.
pub(crate) async fn find(app: &Arc<App>, model: &str, version: Option<&str>) -> Result<Found, Refusal> {
    let (entry, _) = app.models.entry(Some(model))?;
    let Some(version) = version else { return app.load(entry, false).await };
    let known = version.parse().ok().and_then(|number| app.models.version(&entry.name, number));
    match known {
        Some(entry) => app.load(entry, true).await,
        None => {
            let (name, number) = (&entry.name, entry.version());
            Err(Refusal::not_found(format!("version {version:?} of {name:?} is not served; version {number} is")))
        }
    }
}

async fn metadata(State(app): Shared, path: NamedPath) -> Response {
    let current = match named(&app, path).await {
        Ok(found) => found.loaded,
        Err(refusal) => return refusal.response(Shape::Inference),
    };
    ok(&metadata_of(&current))
}

/// The tensors of a model. One that writes text answers at `/v1`; it has none here.
pub(crate) fn metadata_of(loaded: &Loaded) -> Json {
    match (loaded.predictor(), loaded.encoder()) {
        (Some(predictor), _) => oip::model_metadata(predictor.description(), &loaded.name, loaded.version),
        (None, Some(encoder)) => oip::encoder_metadata(encoder.width(), &loaded.name, loaded.version),
        (None, None) => json!({
            "name": loaded.name,
            "versions": [loaded.version.to_string()],
            "platform": "modelyard",
            "inputs": [],
            "outputs": [],
        }),
    }
}

async fn model_ready(State(app): Shared, path: NamedPath) -> Response {
    match named(&app, path).await {
        Ok(found) => ok(&json!({ "name": found.loaded.name, "ready": true })),
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
    let found = named(app, path).await?;
    Charge::of(&request).answered_by(&found.loaded);
    let _permit = app.admit()?;
    let header_length = oip::header_length(request.headers())?;
    let body = app.read_body(request).await?;
    let rows_max = app.config.limits.rows_max;
    let read = move |description: &PredictDescription| oip::read(description, &body, header_length, rows_max);
    predict_rows(app, found, read, oip::write).await
}

/// Predicts what `read` finds in a request, and gives what `write` makes of it.
pub(crate) async fn predict_rows<T: Send + 'static>(
    app: &Arc<App>,
    found: Found,
    read: impl Fn(&PredictDescription) -> Result<Asked, Refusal> + Send + 'static,
    write: impl Fn((&str, u32), &Asked, Vec<ResponseOutput<'_>>) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let limit = app.config.limits.predict_time_max;
    app.work(limit, move |app, cancel| with_fallback(app, &found, |loaded| answer(app, loaded, &read, &write, cancel)))
        .await
}

/// Answers with a version; if that goes wrong by the program's fault before the version ever answered,
/// the version before answers, unless the client named the version.
pub(crate) fn with_fallback<T>(
    app: &App,
    found: &Found,
    mut answer: impl FnMut(&Arc<Loaded>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let Found { slot, loaded, pinned } = found;
    match app.guarded(|| answer(loaded)) {
        Err(refusal) if refusal.is_internal() => match slot.reject(loaded, &refusal.message, &app.metrics) {
            Some(previous) if !*pinned => answer(&previous),
            _ => Err(refusal),
        },
        result => {
            if result.is_ok() {
                slot.answered(loaded);
            }
            result
        }
    }
}

/// Makes an answer of predictions.
type Write<'a, T> = &'a dyn Fn((&str, u32), &Asked, Vec<ResponseOutput<'_>>) -> Result<T, Refusal>;

fn answer<T>(
    app: &App,
    loaded: &Arc<Loaded>,
    read: &dyn Fn(&PredictDescription) -> Result<Asked, Refusal>,
    write: Write<'_, T>,
    cancel: &Cancel,
) -> Result<T, Refusal> {
    let by = (loaded.name.as_str(), loaded.version);
    if let Some(encoder) = loaded.encoder() {
        let asked = read(&oip::encoder_description())?;
        let found = encoder.embed(&oip::texts(&asked))?;
        let vectors: Vec<Vec<f32>> = found.into_iter().map(|embedding| embedding.vector).collect();
        app.metrics.rows(&loaded.name, loaded.version, asked.rows.len() as u64);
        return write(by, &asked, oip::embeddings(&asked, &vectors));
    }
    let Some(predictor) = loaded.predictor() else {
        return Err(Refusal::bad(format!("{} is a language model; ask it at /v1/completions", loaded.name)));
    };
    let asked = read(predictor.description())?;
    let predictions = predict(predictor, &asked.rows, cancel)?;
    let body = write(by, &asked, oip::outputs(predictor.description(), &asked, &predictions))?;
    if let Some(traffic) = &loaded.traffic {
        traffic.observe(&asked.rows, &predictions);
    }
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
