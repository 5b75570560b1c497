//! `/v1/completions`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use infer::engine::Event;
use serde_json::{Value as Json, json};

use super::fields::Fields;
use super::options::{self, PASSED};
use super::sse::{Events, Format, stream};
use super::writing::{Ask, Piece, Prompt, Usage, Writing};
use super::{answered, finish_reason, logprobs, next_id, ok, usage_json};
use crate::access::Charge;
use crate::app::App;
use crate::config::Limits;
use crate::model::Loaded;
use crate::refusal::Refusal;

/// OpenAI's default.
const MAX_TOKENS: usize = 16;

/// A request that was understood.
#[derive(Debug)]
pub(crate) struct CompletionRequest {
    model: Option<String>,
    ask: Ask,
    echo: bool,
    stream: bool,
    usage: bool,
}

/// Reads a request.
pub(crate) fn read(fields: &mut Fields, limits: &Limits) -> Result<CompletionRequest, Refusal> {
    let model = fields.take("model")?;
    let prompts = prompts(fields.take("prompt")?, limits.prompts_max)?;
    let choices = options::choices(fields, limits)?;
    let max_tokens = fields.count("max_tokens", 0..=u64::from(u32::MAX))?.unwrap_or(MAX_TOKENS);
    options::check_tokens("max_tokens", Some(max_tokens), choices * prompts.len(), limits)?;
    let mut sampling = options::sampling(fields)?;
    sampling.logprobs = fields.count("logprobs", 0..=20)?;
    let mut structure = options::structured(fields.take("structured_outputs")?)?;
    if structure.is_none() {
        structure = options::format("response_format", fields.take("response_format")?)?;
    }
    let (stream, usage) = options::streaming(fields)?;
    let echo = fields.take("echo")?.unwrap_or(false);
    let ignore_end = fields.take("ignore_eos")?.unwrap_or(false);
    fields.pass(&PASSED);
    if fields.take::<u64>("best_of")?.is_some_and(|best| best != choices as u64) {
        return Err(Refusal::bad_param("best_of", "best_of is not supported other than n"));
    }
    if fields.take::<String>("suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(Refusal::bad_param("suffix", "suffix is not supported other than empty"));
    }
    if echo && prompts.iter().any(|prompt| matches!(prompt, Prompt::Tokens(_))) {
        return Err(Refusal::bad_param("echo", "echo is not supported with a prompt of tokens"));
    }
    if echo && sampling.logprobs.is_some() {
        return Err(Refusal::bad_param("echo", "echo is not supported with logprobs"));
    }
    let ask = Ask { prompts, choices, sampling, max_tokens: Some(max_tokens), structure, ignore_end };
    Ok(CompletionRequest { model, ask, echo, stream, usage })
}

/// A text, tokens, or an array of either.
fn prompts(given: Option<Json>, count_max: usize) -> Result<Vec<Prompt>, Refusal> {
    let wrong = || {
        let message = format!("prompt is a text or an array of tokens, or an array of at most {count_max} of them");
        Refusal::bad_param("prompt", message)
    };
    let token = |item: &Json| item.as_u64().and_then(|token| u32::try_from(token).ok()).ok_or_else(wrong);
    let one = |item: Json| match item {
        Json::String(text) => Ok(Prompt::Text(text)),
        Json::Array(tokens) if !tokens.is_empty() => {
            tokens.iter().map(token).collect::<Result<_, _>>().map(Prompt::Tokens)
        }
        _ => Err(wrong()),
    };
    match given {
        None => Ok(vec![Prompt::Text(String::new())]),
        Some(Json::Array(items)) if items.is_empty() => Err(Refusal::bad_param("prompt", "there is no prompt")),
        Some(Json::Array(items)) if items.iter().all(Json::is_number) => Ok(vec![one(Json::Array(items))?]),
        Some(Json::Array(items)) if items.len() <= count_max => items.into_iter().map(one).collect(),
        Some(Json::Array(_)) => Err(wrong()),
        Some(item) => Ok(vec![one(item)?]),
    }
}

/// `POST /v1/completions`
pub(crate) async fn complete(State(app): State<Arc<App>>, request: Request) -> Response {
    answered(answer(&app, request).await)
}

async fn answer(app: &Arc<App>, request: Request) -> Result<Response, Refusal> {
    let permit = app.admit()?;
    let charge = Charge::of(&request);
    let body = app.read_body(request).await?;
    let mut fields = Fields::read(&body, "completion")?;
    let asked = read(&mut fields, &app.config.limits)?;
    fields.finish()?;
    let found = app.find(asked.model.as_deref()).await?;
    charge.note(|about| {
        about.operation = Some("text_completion");
        about.model = asked.model.clone().or_else(|| Some(found.loaded.name.clone()));
        about.response_model = Some(found.loaded.full_name());
    });
    let text = |prompt: &Prompt| match prompt {
        Prompt::Text(text) if asked.echo => text.clone(),
        _ => String::new(),
    };
    let echoes: Vec<String> =
        asked.ask.prompts.iter().flat_map(|prompt| std::iter::repeat_n(text(prompt), asked.ask.choices)).collect();
    let envelope = Envelope { id: next_id("cmpl-"), created_s: store::now_ms() / 1000, usage: asked.usage };
    charge.prompt(|| asked.ask.prompts.iter().map(super::chat::prompt_text).collect::<Vec<_>>().join("\n"));
    let logprobs = asked.ask.sampling.logprobs.is_some();
    let writing = Writing::start(app, found, asked.ask, &charge, permit).await?;
    if asked.stream {
        let (loaded, offsets) = (writing.loaded.clone(), vec![0; echoes.len()]);
        return Ok(stream(writing, Chunks { envelope, loaded, echoes, offsets, logprobs }));
    }
    let (loaded, texts, usage) = writing.whole().await?;
    let choices = texts.iter().zip(&echoes).enumerate().map(|(index, (whole, echo))| {
        let reason = whole.summary.as_ref().map_or("stop", |summary| finish_reason(summary.finish_reason));
        let told = if logprobs { logprobs::completion(&loaded, &whole.tokens, &mut 0) } else { Json::Null };
        choice(index, &format!("{echo}{}", whole.text), &told, Some(reason))
    });
    let mut body = envelope.json(&loaded, choices.collect());
    body["usage"] = usage_json(usage);
    Ok(ok(&body))
}

fn choice(index: usize, text: &str, logprobs: &Json, finish_reason: Option<&str>) -> Json {
    json!({ "text": text, "index": index, "logprobs": logprobs, "finish_reason": finish_reason })
}

/// What all parts of an answer have in common.
struct Envelope {
    id: String,
    created_s: i64,
    usage: bool,
}

impl Envelope {
    fn json(&self, loaded: &Loaded, choices: Json) -> Json {
        let (created, model) = (self.created_s, loaded.full_name());
        let mut body = json!({ "id": self.id, "object": "text_completion", "created": created, "model": model });
        body["choices"] = choices;
        body
    }
}

/// The answer as a stream.
struct Chunks {
    envelope: Envelope,
    loaded: Arc<Loaded>,
    echoes: Vec<String>,
    offsets: Vec<usize>,
    logprobs: bool,
}

impl Chunks {
    fn send(&self, choice: &Json, events: &mut Events) {
        let mut body = self.envelope.json(&self.loaded, json!([choice]));
        if self.envelope.usage {
            body["usage"] = Json::Null;
        }
        events.data(&body);
    }
}

impl Format for Chunks {
    fn begin(&mut self, events: &mut Events) {
        for (index, echo) in self.echoes.iter().enumerate() {
            if !echo.is_empty() {
                self.send(&choice(index, echo, &Json::Null, None), events);
            }
        }
    }

    fn piece(&mut self, piece: Piece, events: &mut Events) {
        let index = piece.index;
        match piece.event {
            Event::Token { text, choice: token } if !text.is_empty() || self.logprobs => {
                let told = if self.logprobs {
                    logprobs::completion(&self.loaded, &[token], &mut self.offsets[index])
                } else {
                    Json::Null
                };
                self.send(&choice(index, &text, &told, None), events);
            }
            Event::End(summary) => {
                if !summary.text.is_empty() {
                    self.send(&choice(index, &summary.text, &Json::Null, None), events);
                }
                self.send(&choice(index, "", &Json::Null, Some(finish_reason(summary.finish_reason))), events);
            }
            Event::Token { .. } | Event::Begin { .. } | Event::Failed(_) => {}
        }
    }

    fn end(&mut self, usage: Usage, events: &mut Events) {
        if self.envelope.usage {
            let mut body = self.envelope.json(&self.loaded, json!([]));
            body["usage"] = usage_json(usage);
            events.data(&body);
        }
        events.done();
    }
}
