//! What a client may ask of `/v1/completions`, read strictly.

use std::sync::atomic::{AtomicU64, Ordering};

use infer::sampling::Sampling;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::cells::commas;
use crate::config::Limits;
use crate::refusal::Refusal;

/// OpenAI's default.
const MAX_TOKENS: u64 = 16;
/// The most stop texts, and the longest, in bytes.
const STOPS_MAX: usize = 16;
const STOP_BYTES_MAX: usize = 1024;
/// More values than any sensible request has, so that a body does not unfold into far more memory.
const COMMAS_MAX: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CompletionRequest {
    model: Option<String>,
    prompt: Option<Json>,
    max_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    seed: Option<i64>,
    stop: Option<Json>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    echo: Option<bool>,
    n: Option<u64>,
    best_of: Option<u64>,
    logprobs: Option<u64>,
    presence_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    logit_bias: Option<serde_json::Map<String, Json>>,
    suffix: Option<String>,
    #[serde(rename = "user")]
    _user: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    include_usage: Option<bool>,
    #[serde(rename = "include_obfuscation")]
    _include_obfuscation: Option<bool>,
}

/// A request that was understood.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) model: Option<String>,
    pub(crate) prompts: Vec<String>,
    pub(crate) sampling: Sampling,
    pub(crate) echo: bool,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
}

/// Reads a request.
pub(crate) fn read(body: &[u8], limits: &Limits) -> Result<Asked, Refusal> {
    if commas(body) > COMMAS_MAX {
        return Err(Refusal::bad("the request has too many values"));
    }
    let request: CompletionRequest = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad(format!("the body is not a completion request: {error}")))?;
    refuse_unsupported(&request)?;
    let prompts = texts(request.prompt, "prompt", limits.prompts_max)?.unwrap_or_else(|| vec![String::new()]);
    for prompt in &prompts {
        limits.check_prompt(prompt.len())?;
    }
    if prompts.is_empty() {
        return Err(Refusal::bad_param("prompt", "there is no prompt"));
    }
    let stop = texts(request.stop, "stop", STOPS_MAX)?.unwrap_or_default();
    if stop.iter().any(|stop| stop.is_empty() || stop.len() > STOP_BYTES_MAX) {
        return Err(Refusal::bad_param("stop", format!("a stop text has 1 to {STOP_BYTES_MAX} bytes")));
    }
    let max_tokens = request.max_tokens.unwrap_or(MAX_TOKENS);
    let tokens = max_tokens.saturating_mul(prompts.len() as u64);
    if max_tokens == 0 || tokens > limits.rows_max as u64 {
        let message = format!("max_tokens is 1 to {} in all, and this asks for {tokens}", limits.rows_max);
        return Err(Refusal::bad_param("max_tokens", message));
    }
    let sampling = Sampling {
        max_tokens: max_tokens as usize,
        temperature: within(request.temperature, 1.0, 0.0..=2.0, "temperature")?,
        top_p: within(request.top_p, 1.0, f64::MIN_POSITIVE..=1.0, "top_p")?,
        seed: request.seed.map_or_else(any_seed, |seed| seed as u64),
        stop,
        ..Sampling::default()
    };
    let include_usage = request.stream_options.and_then(|options| options.include_usage).unwrap_or(false);
    Ok(Asked {
        model: request.model,
        prompts,
        sampling,
        echo: request.echo.unwrap_or(false),
        stream: request.stream.unwrap_or(false),
        include_usage,
    })
}

fn refuse_unsupported(request: &CompletionRequest) -> Result<(), Refusal> {
    let wrong = |param, what| Err(Refusal::bad_param(param, format!("{param} is not supported {what}")));
    if request.n.is_some_and(|n| n != 1) {
        return wrong("n", "other than 1");
    }
    if request.best_of.is_some_and(|best_of| best_of != 1) {
        return wrong("best_of", "other than 1");
    }
    if request.logprobs.is_some() {
        return wrong("logprobs", "other than null");
    }
    if request.presence_penalty.is_some_and(|penalty| penalty != 0.0) {
        return wrong("presence_penalty", "other than 0");
    }
    if request.frequency_penalty.is_some_and(|penalty| penalty != 0.0) {
        return wrong("frequency_penalty", "other than 0");
    }
    if request.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty()) {
        return wrong("logit_bias", "other than empty");
    }
    if request.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
        return wrong("suffix", "other than empty");
    }
    if request.stream_options.is_some() && request.stream != Some(true) {
        return wrong("stream_options", "without stream");
    }
    Ok(())
}

/// A text, or an array of texts.
fn texts(value: Option<Json>, param: &'static str, count_max: usize) -> Result<Option<Vec<String>>, Refusal> {
    let wrong = || Refusal::bad_param(param, format!("{param} is a text or an array of at most {count_max} texts"));
    match value {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(vec![text])),
        Some(Json::Array(items)) if items.len() <= count_max => {
            let text = |item| if let Json::String(text) = item { Ok(text) } else { Err(wrong()) };
            items.into_iter().map(text).collect::<Result<_, _>>().map(Some)
        }
        Some(_) => Err(wrong()),
    }
}

fn within(
    value: Option<f64>,
    default: f64,
    range: std::ops::RangeInclusive<f64>,
    param: &'static str,
) -> Result<f32, Refusal> {
    let value = value.unwrap_or(default);
    if range.contains(&value) {
        return Ok(value as f32);
    }
    let low = if range.start() > &0.0 { "above 0" } else { "at least 0" };
    Err(Refusal::bad_param(param, format!("{param} is {value}; it must be {low} and at most {}", range.end())))
}

/// A seed for a request without one: two requests at the same moment differ too.
fn any_seed() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = since.map_or(0, |since| since.as_nanos() as u64);
    now ^ COUNT.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)
}
