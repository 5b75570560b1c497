//! `/v1/embeddings`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value as Json, json};

use super::fields::Fields;
use super::{answered, ok};
use crate::access::Charge;
use crate::app::{App, Cancel};
use crate::model::Loaded;
use crate::oip::Fp32;
use crate::refusal::Refusal;

/// The most texts of a request.
const TEXTS_MAX: usize = 2048;
/// Texts that are computed together, between two looks whether anybody still waits.
const TOGETHER: usize = 64;

/// A request that was understood.
#[derive(Debug)]
pub(crate) struct EmbeddingRequest {
    model: Option<String>,
    input: Vec<Input>,
    base64: bool,
    dimensions: Option<usize>,
}

/// A text, or its tokens.
#[derive(Debug, Clone)]
enum Input {
    Text(String),
    Tokens(Vec<u32>),
}

/// Reads a request.
pub(crate) fn read(fields: &mut Fields) -> Result<EmbeddingRequest, Refusal> {
    let model = fields.take("model")?;
    let input = input(fields.take("input")?)?;
    let base64 = match fields.take::<String>("encoding_format")?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("encoding_format {other:?} is not known; there are float and base64");
            return Err(Refusal::bad_param("encoding_format", message));
        }
    };
    let dimensions = fields.count("dimensions", 1..=65_536)?;
    fields.pass(&["user"]);
    Ok(EmbeddingRequest { model, input, base64, dimensions })
}

fn input(given: Option<Json>) -> Result<Vec<Input>, Refusal> {
    let wrong = || {
        let message = format!("input is a text or an array of tokens, or an array of 1 to {TEXTS_MAX} of them");
        Refusal::bad_param("input", message)
    };
    let token = |item: &Json| item.as_u64().and_then(|token| u32::try_from(token).ok()).ok_or_else(wrong);
    let one = |item: Json| match item {
        Json::String(text) if !text.is_empty() => Ok(Input::Text(text)),
        Json::Array(tokens) if !tokens.is_empty() => {
            tokens.iter().map(token).collect::<Result<_, _>>().map(Input::Tokens)
        }
        _ => Err(wrong()),
    };
    match given {
        Some(Json::Array(items)) if items.is_empty() || items.len() > TEXTS_MAX => Err(wrong()),
        Some(Json::Array(items)) if items.iter().all(Json::is_number) => Ok(vec![one(Json::Array(items))?]),
        Some(Json::Array(items)) => items.into_iter().map(one).collect(),
        Some(item) => Ok(vec![one(item)?]),
        None => Err(wrong()),
    }
}

/// `POST /v1/embeddings`
pub(crate) async fn create(State(app): State<Arc<App>>, request: Request) -> Response {
    answered(answer(&app, request).await)
}

async fn answer(app: &Arc<App>, request: Request) -> Result<Response, Refusal> {
    let _permit = app.admit()?;
    let charge = Charge::of(&request);
    let body = app.read_body(request).await?;
    let mut fields = Fields::read(&body, "embedding")?;
    let asked = read(&mut fields)?;
    fields.finish()?;
    let found = app.find(asked.model.as_deref()).await?;
    charge.note(|about| {
        about.operation = Some("embeddings");
        about.model = asked.model.clone().or_else(|| Some(found.loaded.name.clone()));
        about.response_model = Some(found.loaded.full_name());
    });
    let model = found.loaded.full_name();
    let base64 = asked.base64;
    let limit = app.config.limits.predict_time_max;
    let (vectors, tokens) = app.work(limit, move |app, cancel| embed(app, &found.loaded, &asked, cancel)).await?;
    charge.usage(tokens as u64, 0);
    let one = |(index, vector): (usize, &Vec<f32>)| {
        let embedding = if base64 { Json::from(in_base64(vector)) } else { numbers(vector) };
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    };
    let data: Vec<Json> = vectors.iter().enumerate().map(one).collect();
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    Ok(ok(&json!({ "object": "list", "model": model, "data": data, "usage": usage })))
}

/// The vectors, and the number of their tokens.
fn embed(
    app: &App,
    loaded: &Loaded,
    asked: &EmbeddingRequest,
    cancel: &Cancel,
) -> Result<(Vec<Vec<f32>>, usize), Refusal> {
    let encoder = loaded.encoder().ok_or_else(|| {
        let message = format!("{} gives no embeddings; an encoder, such as a folder of BERT's kind, does", loaded.name);
        Refusal::bad_param("model", message)
    })?;
    if asked.dimensions.is_some_and(|dimensions| dimensions != encoder.width()) {
        let message = format!("dimensions is not supported other than {}", encoder.width());
        return Err(Refusal::bad_param("dimensions", message));
    }
    let mut sequences = Vec::with_capacity(asked.input.len());
    for input in &asked.input {
        sequences.push(match input {
            Input::Text(text) => {
                app.config.limits.check_prompt(text.len())?;
                encoder.tokens(text)?.0
            }
            Input::Tokens(tokens) => {
                let (most, size) = (encoder.tokens_max(), encoder.vocabulary_size());
                if tokens.len() > most || tokens.iter().any(|token| *token as usize >= size) {
                    let message = format!("input has 1 to {most} tokens below {size}");
                    return Err(Refusal::bad_param("input", message));
                }
                tokens.clone()
            }
        });
    }
    let tokens = sequences.iter().map(Vec::len).sum();
    let mut vectors = Vec::with_capacity(sequences.len());
    for sequences in sequences.chunks(TOGETHER) {
        if cancel.asked() {
            return Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, "nobody waits for this answer any more"));
        }
        vectors.extend(encoder.embed_tokens(sequences)?);
    }
    app.metrics.prompt_tokens.fetch_add(tokens as u64, Ordering::Relaxed);
    app.metrics.rows(&loaded.name, loaded.version, sequences.len() as u64);
    Ok((vectors, tokens))
}

fn numbers(vector: &[f32]) -> Json {
    serde_json::to_value(vector.iter().copied().map(Fp32).collect::<Vec<_>>()).unwrap_or_default()
}

/// The 32 bits of each number, the lowest byte first, in base 64 (RFC 4648): what OpenAI's own client asks for.
fn in_base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    BASE64_STANDARD.encode(bytes)
}
