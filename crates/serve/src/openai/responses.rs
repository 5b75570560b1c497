//! `/v1/responses`: the newer of OpenAI's interfaces, with items in place of messages, named events, and answers that are
//! kept for a while, so that the next request can go on from one by its id.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use infer::engine::Event;
use infer::language::FinishReason;
use serde_json::{Map, Value as Json, json};

use super::fields::Fields;
use super::options::{self, PASSED};
use super::sse::{Events, Format, stream};
use super::tools::{Call, Found, Separator, Tool, ToolChoice};
use super::writing::{Ask, Piece, Usage, Writing};
use super::{answered, chat, logprobs, messages, next_id, ok, tools};
use crate::access::Charge;
use crate::app::App;
use crate::config::Limits;
use crate::model::Loaded;
use crate::refusal::{Refusal, Shape};

/// How many answers are kept, and how many bytes of them.
const KEPT_MAX: usize = 1024;
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Answers that a later request may go on from, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<(VecDeque<Arc<Stored>>, usize)>);

/// An answer with all messages up to it.
#[derive(Debug)]
struct Stored {
    id: String,
    /// Whose it is: nobody else sees it.
    owner: Option<i64>,
    body: Json,
    messages: Vec<Json>,
    bytes: usize,
}

impl Kept {
    fn add(&self, (id, owner): (&str, Option<i64>), body: &Json, messages: Vec<Json>) {
        let bytes = body.to_string().len() + messages.iter().map(|message| message.to_string().len()).sum::<usize>();
        let stored = Stored { id: id.to_owned(), owner, body: body.clone(), messages, bytes };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0.push_back(Arc::new(stored));
        kept.1 += bytes;
        while kept.0.len() > KEPT_MAX || kept.1 > KEPT_BYTES_MAX {
            let Some(oldest) = kept.0.pop_front() else { break };
            kept.1 -= oldest.bytes;
        }
    }

    fn get(&self, id: &str, owner: Option<i64>) -> Result<Arc<Stored>, Refusal> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0.iter().find(|stored| stored.id == id && stored.owner == owner).cloned().ok_or_else(|| not_kept(id))
    }

    fn remove(&self, id: &str, owner: Option<i64>) -> Result<(), Refusal> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place =
            kept.0.iter().position(|stored| stored.id == id && stored.owner == owner).ok_or_else(|| not_kept(id))?;
        if let Some(stored) = kept.0.remove(place) {
            kept.1 -= stored.bytes;
        }
        Ok(())
    }
}

fn not_kept(id: &str) -> Refusal {
    let id: String = id.chars().take(80).collect();
    Refusal::not_found(format!("there is no response {id:?}; the last {KEPT_MAX} are kept while the server runs"))
}

/// A request that was understood.
#[derive(Debug)]
pub(crate) struct ResponseRequest {
    model: Option<String>,
    messages: Vec<Json>,
    instructions: Option<String>,
    previous: Option<String>,
    tools: Vec<Tool>,
    choice: ToolChoice,
    variables: Map<String, Json>,
    ask: Ask,
    stream: bool,
    keep: bool,
    /// What an answer repeats of its request.
    echo: Json,
}

/// Reads a request.
pub(crate) fn read(fields: &mut Fields, limits: &Limits) -> Result<ResponseRequest, Refusal> {
    let model = fields.take("model")?;
    let messages = input(fields.take("input")?)?;
    let instructions: Option<String> = fields.take("instructions")?;
    let previous: Option<String> = fields.take("previous_response_id")?;
    let given: Option<Vec<Map<String, Json>>> = fields.take("tools")?;
    let told = json!(given.clone().unwrap_or_default());
    let tools = tools::tools(given)?;
    let given: Option<Json> = fields.take("tool_choice")?;
    let told_choice = given.clone().unwrap_or_else(|| json!("auto"));
    let choice = tools::choice(given, &tools)?;
    let max_tokens = fields.count("max_output_tokens", 1..=u64::from(u32::MAX))?;
    options::check_tokens("max_output_tokens", max_tokens, 1, limits)?;
    let mut sampling = options::sampling(fields)?;
    let top = fields.count("top_logprobs", 0..=20)?;
    let include: Vec<String> = fields.take("include")?.unwrap_or_default();
    for wanted in &include {
        match wanted.as_str() {
            "message.output_text.logprobs" => sampling.logprobs = Some(top.unwrap_or(0)),
            "reasoning.encrypted_content" => {}
            other => return Err(Refusal::bad_param("include", format!("{other:?} cannot be included here"))),
        }
    }
    sampling.logprobs = sampling.logprobs.or(top.filter(|top| *top > 0));
    let mut text = Fields::of(fields.take("text")?.unwrap_or_default());
    let told_format: Option<Map<String, Json>> = text.take("format")?;
    let format = options::format("text", told_format.clone())?;
    text.pass(&["verbosity"]);
    text.finish()?;
    let structured = options::structured(fields.take("structured_outputs")?)?;
    let structure = tools::structure(&choice, &tools, structured.or(format));
    let stream = fields.take::<bool>("stream")?.unwrap_or(false);
    let keep = fields.take::<bool>("store")?.unwrap_or(true);
    let metadata: Map<String, Json> = fields.take("metadata")?.unwrap_or_default();
    for (name, allowed) in [("truncation", json!("disabled")), ("background", json!(false))] {
        if fields.take::<Json>(name)?.is_some_and(|value| value != allowed) {
            return Err(Refusal::bad_param(name, format!("{name} is not supported other than {allowed}")));
        }
    }
    let parallel = fields.take::<bool>("parallel_tool_calls")?.unwrap_or(true);
    fields.pass(&PASSED);
    fields.pass(&["reasoning", "max_tool_calls", "stream_options"]);
    let variables: Map<String, Json> = fields.take("chat_template_kwargs")?.unwrap_or_default();
    let ignore_end = fields.take("ignore_eos")?.unwrap_or(false);
    let echo = json!({
        "instructions": instructions,
        "max_output_tokens": max_tokens,
        "metadata": metadata,
        "parallel_tool_calls": parallel,
        "previous_response_id": previous,
        "reasoning": { "effort": null, "summary": null },
        "store": keep,
        "temperature": sampling.temperature,
        "text": { "format": told_format.map_or_else(|| json!({ "type": "text" }), Json::Object) },
        "tool_choice": told_choice,
        "tools": told,
        "top_p": sampling.top_p,
        "truncation": "disabled",
    });
    let ask = Ask { prompts: Vec::new(), choices: 1, sampling, max_tokens, structure, ignore_end };
    Ok(ResponseRequest { model, messages, instructions, previous, tools, choice, variables, ask, stream, keep, echo })
}

/// Items become messages: texts, calls and what the calls gave.
fn input(given: Option<Json>) -> Result<Vec<Json>, Refusal> {
    let wrong = |what: String| Refusal::bad_param("input", what);
    let items = match given {
        Some(Json::String(text)) => return Ok(vec![json!({ "role": "user", "content": text })]),
        Some(Json::Array(items)) if items.len() <= 10_000 => items,
        _ => return Err(wrong("input is a text or an array of at most 10000 items".to_owned())),
    };
    let mut read: Vec<Json> = Vec::new();
    for item in items {
        let text = |name: &str| item.get(name).and_then(Json::as_str);
        match text("type") {
            None | Some("message") => {
                let role = text("role").unwrap_or_default();
                let role = if role == "developer" { "system" } else { role };
                if !["system", "user", "assistant"].contains(&role) {
                    return Err(wrong(format!("the role {role:?} of an item is not known")));
                }
                let kinds = ["input_text", "output_text", "text", "refusal"];
                let content = messages::content(item.get("content").cloned(), "input", &kinds)?;
                if content.is_null() {
                    return Err(wrong("a message has no content".to_owned()));
                }
                read.push(json!({ "role": role, "content": content }));
            }
            Some("function_call") => {
                let function = json!({ "name": text("name"), "arguments": text("arguments") });
                let call = messages::call(&json!({ "id": text("call_id"), "function": function }))
                    .map_err(|_| wrong("a function_call has no name".to_owned()))?;
                match read.last_mut().and_then(|last| last.get_mut("tool_calls")).and_then(Json::as_array_mut) {
                    Some(calls) => calls.push(call),
                    None => read.push(json!({ "role": "assistant", "content": "", "tool_calls": [call] })),
                }
            }
            Some("function_call_output") => {
                let output = match item.get("output") {
                    Some(Json::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                    None => return Err(wrong("a function_call_output has no output".to_owned())),
                };
                read.push(json!({ "role": "tool", "tool_call_id": text("call_id"), "content": output }));
            }
            Some("reasoning") => {}
            Some(other) => return Err(wrong(format!("items of type {other:?} are not read here"))),
        }
    }
    if read.is_empty() {
        return Err(wrong("there is no input".to_owned()));
    }
    Ok(read)
}

/// `POST /v1/responses`
pub(crate) async fn create(State(app): State<Arc<App>>, request: Request) -> Response {
    answered(answer(&app, request).await)
}

/// `GET /v1/responses/{id}`
pub(crate) async fn get(State(app): State<Arc<App>>, Path(id): Path<String>, request: Request) -> Response {
    match app.responses.get(&id, Charge::of(&request).owner()) {
        Ok(stored) => ok(&stored.body),
        Err(refusal) => refusal.response(Shape::OpenAi),
    }
}

/// `DELETE /v1/responses/{id}`
pub(crate) async fn delete(State(app): State<Arc<App>>, Path(id): Path<String>, request: Request) -> Response {
    match app.responses.remove(&id, Charge::of(&request).owner()) {
        Ok(()) => ok(&json!({ "id": id, "object": "response", "deleted": true })),
        Err(refusal) => refusal.response(Shape::OpenAi),
    }
}

async fn answer(app: &Arc<App>, request: Request) -> Result<Response, Refusal> {
    let permit = app.admit()?;
    let charge = Charge::of(&request);
    let body = app.read_body(request).await?;
    let mut fields = Fields::read(&body, "response")?;
    let mut asked = read(&mut fields, &app.config.limits)?;
    fields.finish()?;
    let mut messages = match &asked.previous {
        Some(id) => app.responses.get(id, charge.owner())?.messages.clone(),
        None => Vec::new(),
    };
    messages.append(&mut asked.messages);
    let found = app.find(asked.model.as_deref()).await?;
    charge.note(|about| {
        about.operation = Some("chat");
        about.model = asked.model.clone().or_else(|| Some(found.loaded.name.clone()));
        about.response_model = Some(found.loaded.full_name());
    });
    let (tools, choice, variables) = (asked.tools.clone(), asked.choice.clone(), asked.variables.clone());
    let (loaded, instructions, sent) = (found.loaded.clone(), asked.instructions.clone(), messages.clone());
    let rendered = app.read_prompt(move || {
        let system = instructions.map(|text| json!({ "role": "system", "content": text }));
        let all: Vec<Json> = system.into_iter().chain(sent).collect();
        chat::prompt(&loaded, &all, (&tools, &choice), &variables)
    });
    let rendered = rendered.await?;
    charge.prompt(|| chat::prompt_text(&rendered));
    asked.ask.prompts = vec![rendered];
    let separator = Separator::new(&asked.choice, &asked.tools);
    let logprobs = asked.ask.sampling.logprobs.is_some();
    let mut writing = Writing::start(app, found, asked.ask, &charge, permit).await?;
    let id = next_id("resp_");
    let mut body = json!({
        "id": id,
        "object": "response",
        "created_at": store::now_ms() / 1000,
        "status": "in_progress",
        "error": null,
        "incomplete_details": null,
        "model": writing.loaded.full_name(),
        "output": [],
        "usage": null,
    });
    if let (Some(body), Json::Object(echo)) = (body.as_object_mut(), asked.echo) {
        body.extend(echo);
    }
    let keep = asked.keep.then(|| (app.clone(), charge.owner(), messages));
    let loaded = writing.loaded.clone();
    let mut items = Items { body, loaded, separator, logprobs, open: None, count: 0, finish: None, keep };
    if asked.stream {
        return Ok(stream(writing, items));
    }
    let mut unheard = Events::default();
    while let Some(piece) = writing.next().await {
        items.piece(piece?, &mut unheard);
        unheard = Events::default();
    }
    items.end(writing.usage, &mut unheard);
    Ok(ok(&items.body))
}

/// The answer, item by item.
struct Items {
    body: Json,
    loaded: Arc<Loaded>,
    separator: Separator,
    logprobs: bool,
    /// The message that is being written.
    open: Option<Message>,
    /// Events so far.
    count: u64,
    finish: Option<FinishReason>,
    /// Where the answer is kept, whose it is, and the messages before it.
    keep: Option<(Arc<App>, Option<i64>, Vec<Json>)>,
}

#[derive(Default)]
struct Message {
    id: String,
    text: String,
    logprobs: Vec<Json>,
}

impl Message {
    fn part(&self) -> Json {
        json!({ "type": "output_text", "text": self.text, "annotations": [], "logprobs": self.logprobs })
    }

    fn item(&self, status: &str) -> Json {
        let content = if status == "in_progress" { json!([]) } else { json!([self.part()]) };
        json!({ "type": "message", "id": self.id, "status": status, "role": "assistant", "content": content })
    }
}

impl Items {
    fn send(&mut self, name: &str, mut body: Json, events: &mut Events) {
        body["type"] = Json::from(name);
        body["sequence_number"] = Json::from(self.count);
        self.count += 1;
        events.named(name, &body);
    }

    /// The number of the item that is written now.
    fn place(&self) -> usize {
        self.body["output"].as_array().map_or(0, Vec::len)
    }

    fn text(&mut self, text: &str, logprobs: &[Json], events: &mut Events) {
        let place = self.place();
        if self.open.is_none() {
            let message = Message { id: next_id("msg_"), ..Message::default() };
            let (item, id) = (message.item("in_progress"), message.id.clone());
            self.send("response.output_item.added", json!({ "output_index": place, "item": item }), events);
            let part = message.part();
            self.open = Some(message);
            let body = json!({ "item_id": id, "output_index": place, "content_index": 0, "part": part });
            self.send("response.content_part.added", body, events);
        }
        let Some(message) = &mut self.open else { return };
        message.text.push_str(text);
        message.logprobs.extend(logprobs.iter().cloned());
        let id = message.id.clone();
        let body = json!({
            "item_id": id, "output_index": place, "content_index": 0, "delta": text, "logprobs": logprobs,
        });
        self.send("response.output_text.delta", body, events);
    }

    fn close(&mut self, status: &str, events: &mut Events) {
        let Some(message) = self.open.take() else { return };
        let place = self.place();
        let at = json!({ "item_id": message.id, "output_index": place, "content_index": 0 });
        let mut done = at.clone();
        done["text"] = Json::from(message.text.as_str());
        done["logprobs"] = json!(message.logprobs);
        self.send("response.output_text.done", done, events);
        let mut part = at;
        part["part"] = message.part();
        self.send("response.content_part.done", part, events);
        self.finish_item(place, &message.item(status), events);
    }

    fn call(&mut self, call: &Call, events: &mut Events) {
        self.close("completed", events);
        let place = self.place();
        let id = next_id("fc_");
        let mut item = json!({
            "type": "function_call", "id": id, "call_id": next_id("call_"), "name": call.name, "arguments": "",
            "status": "in_progress",
        });
        self.send("response.output_item.added", json!({ "output_index": place, "item": item }), events);
        let delta = json!({ "item_id": id, "output_index": place, "delta": call.arguments });
        self.send("response.function_call_arguments.delta", delta, events);
        let done = json!({ "item_id": id, "output_index": place, "name": call.name, "arguments": call.arguments });
        self.send("response.function_call_arguments.done", done, events);
        item["arguments"] = Json::from(call.arguments.as_str());
        item["status"] = Json::from("completed");
        self.finish_item(place, &item, events);
    }

    fn finish_item(&mut self, place: usize, item: &Json, events: &mut Events) {
        if let Some(output) = self.body["output"].as_array_mut() {
            output.push(item.clone());
        }
        self.send("response.output_item.done", json!({ "output_index": place, "item": item }), events);
    }

    fn found(&mut self, found: Vec<Found>, mut logprobs: Vec<Json>, events: &mut Events) {
        for part in found {
            match part {
                Found::Text(text) => self.text(&text, &std::mem::take(&mut logprobs), events),
                Found::Call(call) => self.call(&call, events),
            }
        }
    }

    /// The answer as messages, for the request that goes on from it.
    fn messages(&self) -> Vec<Json> {
        let items = self.body["output"].as_array().cloned().unwrap_or_default();
        input(Some(Json::Array(items))).unwrap_or_default()
    }
}

impl Format for Items {
    fn begin(&mut self, events: &mut Events) {
        for name in ["response.created", "response.in_progress"] {
            self.send(name, json!({ "response": self.body }), events);
        }
    }

    fn piece(&mut self, piece: Piece, events: &mut Events) {
        match piece.event {
            Event::Token { text, choice } => {
                let found = self.separator.push(&text);
                let told = if self.logprobs { vec![logprobs::chat(&self.loaded, &choice)] } else { Vec::new() };
                self.found(found, told, events);
            }
            Event::End(summary) => {
                let mut found = self.separator.push(&summary.text);
                found.extend(self.separator.finish());
                self.found(found, Vec::new(), events);
                self.finish = Some(summary.finish_reason);
            }
            Event::Begin { .. } | Event::Failed(_) => {}
        }
    }

    fn end(&mut self, usage: Usage, events: &mut Events) {
        let whole = self.finish != Some(FinishReason::Length);
        let status = if whole { "completed" } else { "incomplete" };
        self.close(status, events);
        self.body["status"] = Json::from(status);
        if !whole {
            self.body["incomplete_details"] = json!({ "reason": "max_output_tokens" });
        }
        self.body["usage"] = json!({
            "input_tokens": usage.prompt,
            "input_tokens_details": { "cached_tokens": usage.cached },
            "output_tokens": usage.completion,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": usage.prompt + usage.completion,
        });
        if let Some((app, owner, mut messages)) = self.keep.take() {
            messages.extend(self.messages());
            app.responses.add((self.body["id"].as_str().unwrap_or_default(), owner), &self.body, messages);
        }
        let name = if whole { "response.completed" } else { "response.incomplete" };
        self.send(name, json!({ "response": self.body }), events);
    }

    fn failed(&mut self, refusal: &Refusal, events: &mut Events) {
        self.body["status"] = Json::from("failed");
        let code = if refusal.status == StatusCode::INTERNAL_SERVER_ERROR { "server_error" } else { "invalid_prompt" };
        self.body["error"] = json!({ "code": code, "message": refusal.message });
        self.send("response.failed", json!({ "response": self.body }), events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_owners_alone() {
        let kept = Kept::default();
        kept.add(("resp_1", Some(1)), &json!({ "id": "resp_1" }), vec![json!("secret")]);
        for other in [None, Some(2)] {
            assert_eq!(kept.get("resp_1", other).unwrap_err().status, StatusCode::NOT_FOUND);
            assert!(kept.remove("resp_1", other).is_err());
        }
        assert_eq!(kept.get("resp_1", Some(1)).unwrap().messages, [json!("secret")]);
        kept.remove("resp_1", Some(1)).unwrap();
        assert!(kept.get("resp_1", Some(1)).is_err());
    }
}
