//! Functions that a model may ask to be called: how it is told of them, how it is made to call one, and how its calls are
//! found in what it writes.
//!
//! Models write calls as JSON with a name and arguments: between `<tool_call>` and `</tool_call>` (Hermes, Qwen, SmolLM),
//! or alone (Llama 3, Mistral). Where the model's own template does not know of tools, they are described to it in the
//! system's message in the first of these ways.

use infer::engine::Structure;
use serde_json::{Map, Value as Json, json};

use super::fields::Fields;
use crate::refusal::Refusal;

/// The most functions of a request.
const TOOLS_MAX: usize = 128;
const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// A function.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tool {
    pub(crate) name: String,
    /// As OpenAI's chat completions describe it: `{"type": "function", "function": {...}}`.
    pub(crate) json: Json,
    pub(crate) parameters: Json,
}

/// Whether and what the model must call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToolChoice {
    None,
    Auto,
    Required,
    Named(String),
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// JSON, as text.
    pub(crate) arguments: String,
}

/// Reads `tools`, each with its function in a field of its own or, as responses have it, beside its type.
pub(crate) fn tools(given: Option<Vec<Map<String, Json>>>) -> Result<Vec<Tool>, Refusal> {
    let wrong = |what: String| Refusal::bad_param("tools", what);
    let given = given.unwrap_or_default();
    if given.len() > TOOLS_MAX {
        return Err(wrong(format!("there are {} tools; at most {TOOLS_MAX} may be there", given.len())));
    }
    let one = |tool: Map<String, Json>| {
        let mut fields = Fields::of(tool);
        let kind: Option<String> = fields.take("type")?;
        if kind.as_deref() != Some("function") {
            let kind = kind.unwrap_or_default();
            return Err(wrong(format!("tools of type {kind:?} are not known here; functions are")));
        }
        let mut function = match fields.take::<Map<String, Json>>("function")? {
            Some(function) => Fields::of(function),
            None => std::mem::replace(&mut fields, Fields::of(Map::new())),
        };
        fields.finish()?;
        let name: String = function.take("name")?.unwrap_or_default();
        let plain = |sign: char| sign.is_ascii_alphanumeric() || "_-.".contains(sign);
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            let message = format!("the name {name:?} of a function is not 1 to 64 letters, digits, and `_-.`");
            return Err(wrong(message));
        }
        let description: Option<String> = function.take("description")?;
        let parameters: Map<String, Json> = function.take("parameters")?.unwrap_or_default();
        function.pass(&["strict"]);
        function.finish()?;
        let mut parameters = Json::Object(parameters);
        if parameters.get("type").is_none() {
            parameters["type"] = json!("object");
        }
        let mut inner = json!({ "name": name });
        if let Some(description) = description {
            inner["description"] = Json::from(description);
        }
        inner["parameters"] = parameters.clone();
        Ok(Tool { name, json: json!({ "type": "function", "function": inner }), parameters })
    };
    given.into_iter().map(one).collect()
}

/// Reads `tool_choice`.
pub(crate) fn choice(given: Option<Json>, tools: &[Tool]) -> Result<ToolChoice, Refusal> {
    let wrong = |what: String| Err(Refusal::bad_param("tool_choice", what));
    let choice = match given {
        None => return Ok(if tools.is_empty() { ToolChoice::None } else { ToolChoice::Auto }),
        Some(Json::String(word)) => match word.as_str() {
            "none" => ToolChoice::None,
            "auto" => return Ok(if tools.is_empty() { ToolChoice::None } else { ToolChoice::Auto }),
            "required" => ToolChoice::Required,
            other => return wrong(format!("tool_choice {other:?} is not known; there are none, auto and required")),
        },
        Some(other) => {
            let name = other.pointer("/function/name").or_else(|| other.get("name")).and_then(Json::as_str);
            match name.filter(|_| other.get("type").and_then(Json::as_str) == Some("function")) {
                Some(name) => ToolChoice::Named(name.to_owned()),
                None => return wrong("tool_choice is a word or names a function".to_owned()),
            }
        }
    };
    match &choice {
        ToolChoice::Required if tools.is_empty() => wrong("a call is required, and there are no tools".to_owned()),
        ToolChoice::Named(name) if !tools.iter().any(|tool| tool.name == *name) => {
            wrong(format!("the function {name:?} is not among the tools"))
        }
        _ => Ok(choice),
    }
}

/// The form of a text that must be, or together with `format` may be, a call.
pub(crate) fn structure(choice: &ToolChoice, tools: &[Tool], format: Option<Structure>) -> Option<Structure> {
    let call = |tool: &Tool| {
        json!({
            "type": "object",
            "properties": { "name": { "const": tool.name }, "arguments": tool.parameters },
            "required": ["name", "arguments"],
            "additionalProperties": false,
        })
    };
    let any = |mut schemas: Vec<Json>| {
        Structure::JsonSchema(if schemas.len() == 1 { schemas.remove(0) } else { json!({ "anyOf": schemas }) })
    };
    match choice {
        ToolChoice::None => format,
        ToolChoice::Required => Some(any(tools.iter().map(call).collect())),
        ToolChoice::Named(name) => Some(any(tools.iter().filter(|tool| tool.name == *name).map(call).collect())),
        ToolChoice::Auto => match format {
            Some(Structure::Json) => Some(any(vec![json!({ "type": "object" })])),
            Some(Structure::JsonSchema(schema)) => Some(any(tools.iter().map(call).chain([schema]).collect())),
            other => other,
        },
    }
}

/// Tells a model whose template knows no tools of them: the messages as it can read them.
pub(crate) fn describe(messages: Vec<Json>, tools: &[Tool]) -> Vec<Json> {
    let list: Vec<String> = tools.iter().map(|tool| tool.json.to_string()).collect();
    let text = format!(
        "You can call functions. Here they are, one JSON object a line:\n<tools>\n{}\n</tools>\nTo call one, answer \
         with its name and arguments as JSON:\n{OPEN}\n{{\"name\": \"NAME\", \"arguments\": {{}}}}\n{CLOSE}",
        list.join("\n")
    );
    let mut described: Vec<Json> = Vec::with_capacity(messages.len() + 1);
    for mut message in messages {
        let content = message["content"].as_str().unwrap_or_default().to_owned();
        match message["role"].as_str() {
            Some("tool") => {
                described.push(
                    json!({ "role": "user", "content": format!("<tool_response>\n{content}\n</tool_response>") }),
                );
            }
            Some("assistant") if message.get("tool_calls").is_some() => {
                let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
                let text = |call: &Json| format!("{OPEN}\n{}\n{CLOSE}", call["function"]);
                let calls: Vec<String> = calls.iter().map(text).collect();
                let content = [content, calls.join("\n")].join(if message["content"].is_string() { "\n" } else { "" });
                described.push(json!({ "role": "assistant", "content": content.trim_start() }));
            }
            Some("system") if described.is_empty() => {
                message["content"] = Json::from(format!("{content}\n\n{text}"));
                described.push(message);
            }
            _ => described.push(message),
        }
    }
    if described.first().is_none_or(|first| first["role"] != "system") {
        described.insert(0, json!({ "role": "system", "content": text }));
    }
    described
}

/// What a piece of text turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Text(String),
    Call(Call),
}

/// Separates calls from text while it is written.
#[derive(Debug)]
pub(crate) struct Separator {
    names: Vec<String>,
    held: String,
    state: State,
    /// Whether a call was the last that was found.
    after_call: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There are no tools.
    Off,
    /// Nothing but blanks so far.
    Start,
    /// In text, where a call may begin.
    Text,
    /// Between the marks of a call.
    Marked,
    /// All that was written is JSON, and may be a call.
    Json,
}

impl Separator {
    pub(crate) fn new(choice: &ToolChoice, tools: &[Tool]) -> Self {
        let state = if *choice == ToolChoice::None { State::Off } else { State::Start };
        Self {
            names: tools.iter().map(|tool| tool.name.clone()).collect(),
            held: String::new(),
            state,
            after_call: false,
        }
    }

    /// Takes more text; gives what is certain.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Found> {
        if self.state == State::Off {
            return if text.is_empty() { Vec::new() } else { vec![Found::Text(text.to_owned())] };
        }
        self.held.push_str(text);
        let mut found = Vec::new();
        loop {
            match self.state {
                State::Start => match self.held.trim_start().chars().next() {
                    None => break,
                    Some('{' | '[') => self.state = State::Json,
                    Some(_) => self.state = State::Text,
                },
                State::Text if self.after_call && self.held.trim_start().is_empty() => break,
                State::Text => match self.held.find(OPEN) {
                    Some(place) => {
                        let rest = self.held.split_off(place + OPEN.len());
                        self.held.truncate(place);
                        // Blanks before a call, and between calls, are not worth a text.
                        push_text(&mut found, self.blanks(self.held.trim_end()));
                        self.held = rest;
                        self.state = State::Marked;
                    }
                    None => {
                        let begun = (1..OPEN.len()).rev().find(|count| self.held.ends_with(&OPEN[..*count]));
                        let certain = self.held[..self.held.len() - begun.unwrap_or(0)].trim_end().len();
                        let rest = self.held.split_off(certain);
                        push_text(&mut found, self.blanks(&self.held));
                        self.after_call &= certain == 0;
                        self.held = rest;
                        break;
                    }
                },
                State::Marked => match self.held.find(CLOSE) {
                    Some(place) => {
                        let rest = self.held.split_off(place + CLOSE.len());
                        self.held.truncate(place);
                        let inside = std::mem::replace(&mut self.held, rest);
                        self.take(&inside, &format!("{OPEN}{inside}{CLOSE}"), &mut found);
                        self.state = State::Text;
                        self.after_call = true;
                    }
                    None => break,
                },
                State::Json | State::Off => break,
            }
        }
        found
    }

    /// What is left once the text is over.
    pub(crate) fn finish(&mut self) -> Vec<Found> {
        let held = std::mem::take(&mut self.held);
        let mut found = Vec::new();
        match self.state {
            State::Json => self.take(&held, &held, &mut found),
            // A call whose end is missing is one all the same, if it is whole.
            State::Marked => self.take(&held, &format!("{OPEN}{held}"), &mut found),
            State::Off | State::Start | State::Text => push_text(&mut found, self.blanks(&held)),
        }
        found
    }

    /// The text, without the blanks that follow a call.
    fn blanks<'a>(&self, text: &'a str) -> &'a str {
        if self.after_call { text.trim_start() } else { text }
    }

    /// Reads calls, or gives the text as it stood.
    fn take(&self, inside: &str, whole: &str, found: &mut Vec<Found>) {
        match self.calls(inside) {
            Some(calls) => found.extend(calls.into_iter().map(Found::Call)),
            None => push_text(found, whole),
        }
    }

    fn calls(&self, text: &str) -> Option<Vec<Call>> {
        let items = match serde_json::from_str(text.trim()).ok()? {
            Json::Array(items) => items,
            one => vec![one],
        };
        let call = |item: &Json| {
            let item = item.get("function").filter(|function| function.is_object()).unwrap_or(item);
            let name = item.get("name")?.as_str()?;
            let arguments = item.get("arguments").or_else(|| item.get("parameters"))?;
            let arguments = match arguments {
                Json::String(text) => text.clone(),
                Json::Object(_) => arguments.to_string(),
                _ => return None,
            };
            self.names.iter().any(|known| known == name).then(|| Call { name: name.to_owned(), arguments })
        };
        if items.is_empty() { None } else { items.iter().map(call).collect() }
    }
}

fn push_text(found: &mut Vec<Found>, text: &str) {
    if !text.is_empty() {
        found.push(Found::Text(text.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weather() -> Vec<Tool> {
        let tool = json!({
            "type": "function",
            "function": { "name": "weather", "parameters": { "type": "object", "properties": { "city": {} } } },
        });
        let Json::Object(tool) = tool else { unreachable!() };
        tools(Some(vec![tool])).unwrap()
    }

    /// All found, with the text in pieces of every length.
    fn separate(text: &str) -> Vec<Found> {
        let mut answers: Vec<Vec<Found>> = Vec::new();
        for length in [1, 2, 3, 7, 1000] {
            let mut separator = Separator::new(&ToolChoice::Auto, &weather());
            let signs: Vec<char> = text.chars().collect();
            let mut found = Vec::new();
            for piece in signs.chunks(length) {
                found.extend(separator.push(&piece.iter().collect::<String>()));
            }
            found.extend(separator.finish());
            let mut joined: Vec<Found> = Vec::new();
            for next in found {
                match (joined.last_mut(), next) {
                    (Some(Found::Text(before)), Found::Text(more)) => before.push_str(&more),
                    (_, next) => joined.push(next),
                }
            }
            answers.push(joined);
        }
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
        answers.remove(0)
    }

    #[test]
    fn calls_are_found_however_they_are_written() {
        let call = || Found::Call(Call { name: "weather".to_owned(), arguments: r#"{"city":"Rome"}"#.to_owned() });
        let text = |text: &str| Found::Text(text.to_owned());
        let json = r#"{"name": "weather", "arguments": {"city": "Rome"}}"#;
        assert_eq!(separate(&format!("<tool_call>\n{json}\n</tool_call>")), [call()]);
        assert_eq!(
            separate(&format!("Let me look.\n<tool_call>{json}</tool_call>\n<tool_call>{json}</tool_call>")),
            [text("Let me look."), call(), call()]
        );
        assert_eq!(separate(&format!("<tool_call>[{json}, {json}]</tool_call>")), [call(), call()]);
        assert_eq!(separate(json), [call()]);
        assert_eq!(separate(&json.replace("arguments", "parameters")), [call()]);
        assert_eq!(separate(&format!("<tool_call>{json}")), [call()]);
    }

    #[test]
    fn what_is_no_call_stays_text() {
        for text in [
            "a < b and <tool> and <tool_cal",
            r#"{"name": "other", "arguments": {}}"#,
            r#"{"name": "weather", "arguments": 3}"#,
            "<tool_call>not json</tool_call>",
            "[]",
            "   {",
        ] {
            assert_eq!(separate(text), [Found::Text(text.to_owned())], "{text}");
        }
        assert_eq!(separate(""), []);
    }

    #[test]
    fn tools_are_read_strictly() {
        let read = |tool: Json| match tool {
            Json::Object(tool) => tools(Some(vec![tool])),
            _ => unreachable!(),
        };
        assert!(read(json!({ "type": "web_search" })).is_err());
        assert!(read(json!({ "type": "function", "function": { "name": "no blanks" } })).is_err());
        assert!(read(json!({ "type": "function", "function": { "name": "f", "odd": 1 } })).is_err());
        let flat = read(json!({ "type": "function", "name": "f", "parameters": {}, "strict": true })).unwrap();
        assert_eq!(flat[0].json["function"]["parameters"], json!({ "type": "object" }));
        assert!(choice(Some(json!("required")), &[]).is_err());
        assert!(choice(Some(json!({ "type": "function", "function": { "name": "g" } })), &flat).is_err());
        let named = choice(Some(json!({ "type": "function", "name": "f" })), &flat).unwrap();
        assert_eq!(named, ToolChoice::Named("f".to_owned()));
    }

    #[test]
    fn models_without_tools_in_their_template_are_told_of_them() {
        let messages = vec![
            json!({ "role": "system", "content": "Be brief." }),
            json!({ "role": "assistant", "content": null, "tool_calls": [
                { "type": "function", "function": { "name": "weather", "arguments": { "city": "Rome" } } }
            ] }),
            json!({ "role": "tool", "content": "sunny" }),
        ];
        let described = describe(messages, &weather());
        assert!(described[0]["content"].as_str().unwrap().starts_with("Be brief.\n\nYou can call"));
        assert!(described[1]["content"].as_str().unwrap().starts_with("<tool_call>\n{\"name\":\"weather\""));
        assert_eq!(described[2]["role"], "user");
        assert_eq!(describe(vec![json!({ "role": "user", "content": "hi" })], &weather()).len(), 2);
    }
}
