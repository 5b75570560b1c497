//! `/v1/chat/completions`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use infer::engine::{Event, Structure};
use serde_json::{Map, Value as Json, json};

use super::fields::Fields;
use super::options::{self, PASSED};
use super::sse::{Events, Format, stream};
use super::tools::{Call, Found, Separator, Tool, ToolChoice};
use super::writing::{Ask, Piece, Prompt, Usage, Whole, Writing};
use super::{answered, finish_reason, logprobs, messages, next_id, ok, tools, usage_json};
use crate::access::Charge;
use crate::app::App;
use crate::config::Limits;
use crate::model::Loaded;
use crate::refusal::Refusal;

/// A request that was understood.
#[derive(Debug)]
pub(crate) struct ChatRequest {
    model: Option<String>,
    messages: Vec<Json>,
    tools: Vec<Tool>,
    choice: ToolChoice,
    /// Passed on to the template.
    variables: Map<String, Json>,
    ask: Ask,
    stream: bool,
    usage: bool,
}

/// Reads a request.
pub(crate) fn read(fields: &mut Fields, limits: &Limits) -> Result<ChatRequest, Refusal> {
    let model = fields.take("model")?;
    let messages = messages::read(fields.take("messages")?)?;
    let tools = tools::tools(fields.take("tools")?)?;
    let choice = tools::choice(fields.take("tool_choice")?, &tools)?;
    fields.pass(&["parallel_tool_calls"]);
    let choices = options::choices(fields, limits)?;
    let old = fields.count("max_tokens", 1..=u64::from(u32::MAX))?;
    let max_tokens = fields.count("max_completion_tokens", 1..=u64::from(u32::MAX))?.or(old);
    options::check_tokens("max_completion_tokens", max_tokens, choices, limits)?;
    let mut sampling = options::sampling(fields)?;
    let wanted = fields.take::<bool>("logprobs")?.unwrap_or(false);
    let top = fields.count("top_logprobs", 0..=20)?;
    if top.is_some() && !wanted {
        return Err(Refusal::bad_param("top_logprobs", "top_logprobs is not supported without logprobs"));
    }
    sampling.logprobs = wanted.then_some(top.unwrap_or(0));
    let format = options::format("response_format", fields.take("response_format")?)?;
    let structured = options::structured(fields.take("structured_outputs")?)?;
    if format.is_some() && structured.is_some() {
        let message = "response_format and structured_outputs cannot both say what the text looks like";
        return Err(Refusal::bad_param("structured_outputs", message));
    }
    let structure: Option<Structure> = tools::structure(&choice, &tools, structured.or(format));
    let (stream, usage) = options::streaming(fields)?;
    let ignore_end = fields.take("ignore_eos")?.unwrap_or(false);
    let variables: Map<String, Json> = fields.take("chat_template_kwargs")?.unwrap_or_default();
    fields.pass(&PASSED);
    fields.pass(&["reasoning_effort", "verbosity"]);
    let modalities: Option<Vec<String>> = fields.take("modalities")?;
    if modalities.is_some_and(|modalities| modalities != ["text"]) {
        return Err(Refusal::bad_param("modalities", "this server answers with text alone"));
    }
    let ask = Ask { prompts: Vec::new(), choices, sampling, max_tokens, structure, ignore_end };
    Ok(ChatRequest { model, messages, tools, choice, variables, ask, stream, usage })
}

/// The prompt of a chat, by the model's template.
pub(crate) fn prompt(
    loaded: &Loaded,
    messages: &[Json],
    (tools, choice): (&[Tool], &ToolChoice),
    variables: &Map<String, Json>,
) -> Result<Prompt, Refusal> {
    let template = loaded.text_model().and_then(|model| model.template.as_ref()).ok_or_else(|| {
        let message = format!("{} has no chat template; ask it at /v1/completions", loaded.name);
        Refusal::bad_param("model", message)
    })?;
    let wrong = |error: infer::InferError| Refusal::bad_param("messages", error.to_string());
    let render = |messages: &[Json], tools: Option<&[Json]>| {
        template.render(messages, tools, variables).map(Prompt::Template).map_err(wrong)
    };
    if tools.is_empty() || *choice == ToolChoice::None {
        render(messages, None)
    } else if template.knows_tools() {
        let tools: Vec<Json> = tools.iter().map(|tool| tool.json.clone()).collect();
        render(messages, Some(&tools))
    } else {
        render(&tools::describe(messages.to_vec(), tools), None)
    }
}

/// A prompt for the log.
pub(crate) fn prompt_text(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Text(text) | Prompt::Template(text) => text.clone(),
        Prompt::Tokens(tokens) => format!("{tokens:?}"),
    }
}

/// `POST /v1/chat/completions`
pub(crate) async fn complete(State(app): State<Arc<App>>, request: Request) -> Response {
    answered(answer(&app, request).await)
}

async fn answer(app: &Arc<App>, request: Request) -> Result<Response, Refusal> {
    let permit = app.admit()?;
    let charge = Charge::of(&request);
    let body = app.read_body(request).await?;
    let mut fields = Fields::read(&body, "chat completion")?;
    let mut asked = read(&mut fields, &app.config.limits)?;
    fields.finish()?;
    let found = app.find(asked.model.as_deref()).await?;
    charge.note(|about| {
        about.operation = Some("chat");
        about.model = asked.model.clone().or_else(|| Some(found.loaded.name.clone()));
        about.response_model = Some(found.loaded.full_name());
    });
    let (loaded, messages) = (found.loaded.clone(), std::mem::take(&mut asked.messages));
    let (tools, choice, variables) = (asked.tools.clone(), asked.choice.clone(), asked.variables.clone());
    let rendered = app.read_prompt(move || prompt(&loaded, &messages, (&tools, &choice), &variables)).await?;
    charge.prompt(|| prompt_text(&rendered));
    asked.ask.prompts = vec![rendered];
    let envelope = Envelope { id: next_id("chatcmpl-"), created_s: store::now_ms() / 1000, usage: asked.usage };
    let (choices, logprobs) = (asked.ask.choices, asked.ask.sampling.logprobs.is_some());
    let separators = (0..choices).map(|_| Separator::new(&asked.choice, &asked.tools)).collect();
    let writing = Writing::start(app, found, asked.ask, &charge, permit).await?;
    if asked.stream {
        let told = vec![0; choices];
        let loaded = writing.loaded.clone();
        return Ok(stream(writing, Chunks { envelope, loaded, separators, told, logprobs }));
    }
    let (loaded, texts, usage) = writing.whole().await?;
    let choices = texts.into_iter().zip(separators).enumerate();
    let choices = choices.map(|(index, (text, separator))| choice_json(&loaded, index, &text, separator, logprobs));
    let mut body = envelope.json("chat.completion", &loaded, choices.collect());
    body["usage"] = usage_json(usage);
    Ok(ok(&body))
}

fn choice_json(loaded: &Loaded, index: usize, whole: &Whole, mut separator: Separator, logprobs: bool) -> Json {
    let mut found = separator.push(&whole.text);
    found.extend(separator.finish());
    let (mut text, mut calls) = (String::new(), Vec::new());
    for part in found {
        match part {
            Found::Text(more) => text.push_str(&more),
            Found::Call(call) => calls.push(call_json(&call, None)),
        }
    }
    let reason = whole.summary.as_ref().map_or("stop", |summary| finish_reason(summary.finish_reason));
    let mut message = json!({ "role": "assistant", "content": text, "refusal": null, "annotations": [] });
    let called = !calls.is_empty();
    if called {
        if text.is_empty() {
            message["content"] = Json::Null;
        }
        message["tool_calls"] = calls.into();
    }
    let told: Vec<Json> = whole.tokens.iter().map(|choice| logprobs::chat(loaded, choice)).collect();
    json!({
        "index": index,
        "message": message,
        "logprobs": if logprobs { json!({ "content": told, "refusal": null }) } else { Json::Null },
        "finish_reason": if called { "tool_calls" } else { reason },
    })
}

fn call_json(call: &Call, index: Option<usize>) -> Json {
    let function = json!({ "name": call.name, "arguments": call.arguments });
    let mut told = json!({ "id": next_id("call_"), "type": "function", "function": function });
    if let Some(index) = index {
        told["index"] = Json::from(index);
    }
    told
}

/// What all parts of an answer have in common.
struct Envelope {
    id: String,
    created_s: i64,
    usage: bool,
}

impl Envelope {
    fn json(&self, object: &str, loaded: &Loaded, choices: Json) -> Json {
        let model = loaded.full_name();
        let mut body = json!({ "id": self.id, "object": object, "created": self.created_s, "model": model });
        body["choices"] = choices;
        body
    }
}

/// The answer as a stream.
struct Chunks {
    envelope: Envelope,
    loaded: Arc<Loaded>,
    separators: Vec<Separator>,
    /// Calls that were told, of each text.
    told: Vec<usize>,
    logprobs: bool,
}

impl Chunks {
    fn send(&self, index: usize, delta: &Json, logprobs: &Json, reason: Option<&str>, events: &mut Events) {
        let choice = json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason });
        let mut body = self.envelope.json("chat.completion.chunk", &self.loaded, json!([choice]));
        if self.envelope.usage {
            body["usage"] = Json::Null;
        }
        events.data(&body);
    }

    fn tell(&mut self, index: usize, found: Vec<Found>, logprobs: &Json, events: &mut Events) -> bool {
        let mut sent = false;
        for part in found {
            let logprobs = if sent { &Json::Null } else { logprobs };
            let delta = match part {
                Found::Text(text) => json!({ "content": text }),
                Found::Call(call) => {
                    self.told[index] += 1;
                    json!({ "tool_calls": [call_json(&call, Some(self.told[index] - 1))] })
                }
            };
            self.send(index, &delta, logprobs, None, events);
            sent = true;
        }
        sent
    }
}

impl Format for Chunks {
    fn begin(&mut self, events: &mut Events) {
        for index in 0..self.separators.len() {
            self.send(index, &json!({ "role": "assistant", "content": "" }), &Json::Null, None, events);
        }
    }

    fn piece(&mut self, piece: Piece, events: &mut Events) {
        let index = piece.index;
        match piece.event {
            Event::Token { text, choice } => {
                let told = if self.logprobs {
                    json!({ "content": [logprobs::chat(&self.loaded, &choice)], "refusal": null })
                } else {
                    Json::Null
                };
                let found = self.separators[index].push(&text);
                if !self.tell(index, found, &told, events) && self.logprobs {
                    self.send(index, &json!({ "content": "" }), &told, None, events);
                }
            }
            Event::End(summary) => {
                let mut found = self.separators[index].push(&summary.text);
                found.extend(self.separators[index].finish());
                self.tell(index, found, &Json::Null, events);
                let called = self.told[index] > 0;
                let reason = if called { "tool_calls" } else { finish_reason(summary.finish_reason) };
                self.send(index, &json!({}), &Json::Null, Some(reason), events);
            }
            Event::Begin { .. } | Event::Failed(_) => {}
        }
    }

    fn end(&mut self, usage: Usage, events: &mut Events) {
        if self.envelope.usage {
            let mut body = self.envelope.json("chat.completion.chunk", &self.loaded, json!([]));
            body["usage"] = usage_json(usage);
            events.data(&body);
        }
        events.done();
    }
}
