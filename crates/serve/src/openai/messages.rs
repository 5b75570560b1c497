//! The messages of a chat, checked and brought to the form that chat templates expect.

use serde_json::{Map, Value as Json, json};

use super::fields::Fields;
use crate::refusal::Refusal;

/// The most messages of a request.
const MESSAGES_MAX: usize = 10_000;
const ROLES: [&str; 5] = ["system", "user", "assistant", "tool", "function"];

fn wrong(param: &'static str, what: String) -> Refusal {
    Refusal::bad_param(param, what)
}

/// Reads `messages`.
pub(crate) fn read(given: Option<Vec<Map<String, Json>>>) -> Result<Vec<Json>, Refusal> {
    let given = given.unwrap_or_default();
    if given.is_empty() || given.len() > MESSAGES_MAX {
        return Err(wrong("messages", format!("there are 1 to {MESSAGES_MAX} messages, not {}", given.len())));
    }
    given.into_iter().enumerate().map(|(index, message)| one(index, message)).collect()
}

fn one(index: usize, message: Map<String, Json>) -> Result<Json, Refusal> {
    let mut fields = Fields::of(message);
    let role: String = fields.take("role")?.unwrap_or_default();
    let role = if role == "developer" { "system" } else { role.as_str() };
    if !ROLES.contains(&role) {
        return Err(wrong("messages", format!("the role {role:?} of message {index} is not known")));
    }
    let content = content(fields.take("content")?, "messages", &["text", "refusal"])?;
    let mut read = json!({ "role": role, "content": content });
    if let Some(name) = fields.take::<String>("name")? {
        read["name"] = Json::from(name);
    }
    if let Some(calls) = fields.take::<Vec<Json>>("tool_calls")?.filter(|calls| !calls.is_empty()) {
        read["tool_calls"] = calls.iter().map(call).collect::<Result<Vec<_>, _>>()?.into();
    }
    if let Some(id) = fields.take::<String>("tool_call_id")? {
        read["tool_call_id"] = Json::from(id);
    }
    fields.pass(&["refusal", "audio", "annotations", "function_call", "reasoning_content"]);
    fields.finish()?;
    if content_is_needed(role) && read["content"].is_null() {
        return Err(wrong("messages", format!("message {index} has no content")));
    }
    Ok(read)
}

fn content_is_needed(role: &str) -> bool {
    role == "system" || role == "user" || role == "tool"
}

/// A call as templates want it: with its arguments as an object, where they are one.
pub(crate) fn call(call: &Json) -> Result<Json, Refusal> {
    let (name, arguments) = (call.pointer("/function/name"), call.pointer("/function/arguments"));
    let Some(name) = name.and_then(Json::as_str) else {
        return Err(wrong("messages", "a tool call has no function with a name".to_owned()));
    };
    let arguments = match arguments {
        Some(Json::String(text)) => serde_json::from_str::<Json>(text).unwrap_or_else(|_| Json::from(text.as_str())),
        Some(other) => other.clone(),
        None => json!({}),
    };
    let mut read = json!({ "type": "function", "function": { "name": name, "arguments": arguments } });
    if let Some(id) = call.get("id").and_then(Json::as_str) {
        read["id"] = Json::from(id);
    }
    Ok(read)
}

/// A text, or an array of parts with texts; null where there is none.
pub(crate) fn content(given: Option<Json>, param: &'static str, kinds: &[&str]) -> Result<Json, Refusal> {
    let part = |part: &Json| {
        let kind = part.get("type").and_then(Json::as_str).unwrap_or_default();
        let text = part.get("text").or_else(|| part.get("refusal")).and_then(Json::as_str);
        text.filter(|_| kinds.contains(&kind)).map(str::to_owned).ok_or_else(|| {
            wrong(param, format!("a part of type {kind:?} is not read here; there are {}", kinds.join(" and ")))
        })
    };
    match given {
        None => Ok(Json::Null),
        Some(Json::String(text)) => Ok(Json::String(text)),
        Some(Json::Array(parts)) => Ok(parts.iter().map(part).collect::<Result<Vec<_>, _>>()?.concat().into()),
        Some(_) => Err(wrong(param, "content is a text or an array of parts".to_owned())),
    }
}
