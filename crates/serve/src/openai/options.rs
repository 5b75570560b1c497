//! What chat completions, completions and responses have in common: how the text is sampled and what it must look like.

use std::sync::atomic::{AtomicU64, Ordering};

use infer::engine::Structure;
use infer::sampling::Sampling;
use serde_json::{Map, Value as Json, json};

use super::fields::Fields;
use crate::config::Limits;
use crate::refusal::Refusal;

/// The most stop texts, and the longest, in bytes.
const STOPS_MAX: usize = 16;
const STOP_BYTES_MAX: usize = 1024;
/// The most tokens with a bias.
const BIASES_MAX: usize = 1024;

/// Fields of OpenAI's that change nothing here.
pub(crate) const PASSED: [&str; 7] =
    ["user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"];

/// Reads everything about sampling but the number of tokens and the log-probabilities.
pub(crate) fn sampling(fields: &mut Fields) -> Result<Sampling, Refusal> {
    let stop = fields.texts("stop", STOPS_MAX)?.unwrap_or_default();
    if stop.iter().any(|stop| stop.is_empty() || stop.len() > STOP_BYTES_MAX) {
        return Err(Refusal::bad_param("stop", format!("a stop text has 1 to {STOP_BYTES_MAX} bytes")));
    }
    Ok(Sampling {
        max_tokens: 1,
        temperature: fields.number("temperature", 1.0, 0.0..=2.0)?,
        top_p: fields.number("top_p", 1.0, f64::MIN_POSITIVE..=1.0)?,
        top_k: fields.count("top_k", 0..=1_000_000)?.unwrap_or(0),
        min_p: fields.number("min_p", 0.0, 0.0..=1.0)?,
        repetition_penalty: fields.number("repetition_penalty", 1.0, f64::MIN_POSITIVE..=100.0)?,
        presence_penalty: fields.number("presence_penalty", 0.0, -2.0..=2.0)?,
        frequency_penalty: fields.number("frequency_penalty", 0.0, -2.0..=2.0)?,
        logit_bias: biases(fields.take("logit_bias")?)?,
        logprobs: None,
        seed: fields.take::<i64>("seed")?.map_or_else(any_seed, |seed| seed as u64),
        stop,
    })
}

fn biases(given: Option<Map<String, Json>>) -> Result<Vec<(u32, f32)>, Refusal> {
    let wrong = |what: String| Refusal::bad_param("logit_bias", format!("logit_bias {what}"));
    let given = given.unwrap_or_default();
    if given.len() > BIASES_MAX {
        return Err(wrong(format!("has {} tokens; at most {BIASES_MAX} may be there", given.len())));
    }
    let one = |(token, bias): (String, Json)| {
        let number = token.parse::<u32>().map_err(|_| wrong(format!("names the token {token:?}; write its number")))?;
        match bias.as_f64() {
            Some(bias) if (-100.0..=100.0).contains(&bias) => Ok((number, bias as f32)),
            _ => Err(wrong(format!("gives token {token} {bias}; it must be -100 to 100"))),
        }
    };
    given.into_iter().map(one).collect()
}

/// How many texts are wanted of each prompt.
pub(crate) fn choices(fields: &mut Fields, limits: &Limits) -> Result<usize, Refusal> {
    Ok(fields.count("n", 1..=limits.prompts_max as u64)?.unwrap_or(1))
}

/// The most tokens that one request may ask for.
pub(crate) fn check_tokens(
    param: &'static str,
    tokens: Option<usize>,
    texts: usize,
    limits: &Limits,
) -> Result<(), Refusal> {
    let all = tokens.unwrap_or(1).saturating_mul(texts);
    if tokens == Some(0) || all > limits.rows_max {
        let message = format!("{param} is 1 to {} in all, and this asks for {all}", limits.rows_max);
        return Err(Refusal::bad_param(param, message));
    }
    Ok(())
}

/// Whether the answer comes as a stream, and with its usage.
pub(crate) fn streaming(fields: &mut Fields) -> Result<(bool, bool), Refusal> {
    let stream = fields.take::<bool>("stream")?.unwrap_or(false);
    let Some(options) = fields.take::<Map<String, Json>>("stream_options")? else { return Ok((stream, false)) };
    if !stream {
        return Err(Refusal::bad_param("stream_options", "stream_options is not supported without stream"));
    }
    let mut options = Fields::of(options);
    let usage = options.take::<bool>("include_usage")?.unwrap_or(false);
    options.pass(&["include_obfuscation"]);
    options.finish()?;
    Ok((stream, usage))
}

/// What `response_format` (or `text.format`, which has the schema's parts beside `type`) asks for.
pub(crate) fn format(param: &'static str, given: Option<Map<String, Json>>) -> Result<Option<Structure>, Refusal> {
    let Some(given) = given else { return Ok(None) };
    let mut fields = Fields::of(given);
    let kind: String = fields.take("type")?.unwrap_or_default();
    let structure = match kind.as_str() {
        "text" => None,
        "json_object" => Some(Structure::Json),
        "json_schema" => {
            let mut inner = match fields.take::<Map<String, Json>>("json_schema")? {
                Some(inner) => Fields::of(inner),
                None => std::mem::replace(&mut fields, Fields::of(Map::new())),
            };
            inner.pass(&["name", "description", "strict"]);
            let schema: Json = inner.take("schema")?.unwrap_or_else(|| json!({ "type": "object" }));
            inner.finish()?;
            if !schema.is_object() && !schema.is_boolean() {
                return Err(Refusal::bad_param(param, "the schema is not a JSON Schema"));
            }
            Some(Structure::JsonSchema(schema))
        }
        other => {
            let message = format!("the type {other:?} is not known; there are text, json_object and json_schema");
            return Err(Refusal::bad_param(param, message));
        }
    };
    fields.finish()?;
    Ok(structure)
}

/// `structured_outputs`, an extension: `json` (a schema), `regex`, `grammar` (in Lark's notation) or `choice` (texts).
pub(crate) fn structured(given: Option<Map<String, Json>>) -> Result<Option<Structure>, Refusal> {
    let Some(given) = given else { return Ok(None) };
    let mut fields = Fields::of(given);
    let found: Vec<Structure> = [
        fields.take::<Json>("json")?.map(Structure::JsonSchema),
        fields.take("regex")?.map(Structure::Regex),
        fields.take("grammar")?.map(Structure::Grammar),
        fields.texts("choice", 1000)?.map(|texts| {
            let quoted: Vec<String> = texts.iter().map(|text| Json::from(text.as_str()).to_string()).collect();
            Structure::Grammar(format!("start: {}", quoted.join(" | ")))
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    fields.finish()?;
    match <[Structure; 1]>::try_from(found) {
        Ok([one]) => Ok(Some(one)),
        Err(_) => Err(Refusal::bad_param("structured_outputs", "give one of json, regex, grammar and choice")),
    }
}

/// A seed for a request without one: two requests at the same moment differ too.
fn any_seed() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = since.map_or(0, |since| since.as_nanos() as u64);
    now ^ COUNT.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)
}
