//! Chats, responses and several models, on a tiny model in Hugging Face's folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use serve::{FolderSource, Running, ServerConfig, Source};
use tempfile::TempDir;

use crate::config;
use crate::http::Http;
use crate::models::{description, write_predict};

const CHAT: &str = "/v1/chat/completions";

/// Two layers of random weights with a real template and a tokenizer (`crates/xtask/peers/huggingface_golden.py`).
pub fn model() -> TempDir {
    let from = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../infer/tests/golden/huggingface/qwen2"));
    let folder = tempfile::tempdir().unwrap();
    for name in ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        std::fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    // Texts of a few hundred bytes have as many tokens.
    let mut settings: Json = serde_json::from_slice(&std::fs::read(from.join("config.json")).unwrap()).unwrap();
    settings["max_position_embeddings"] = json!(4096);
    std::fs::write(folder.path().join("config.json"), settings.to_string()).unwrap();
    folder
}

fn serve() -> (TempDir, Running) {
    let folder = model();
    let source = FolderSource::new(folder.path(), 1).named("qwen2".to_owned());
    (folder, serve_all(config(), vec![Arc::new(source)]))
}

fn serve_all(config: ServerConfig, sources: Vec<Arc<dyn Source>>) -> Running {
    serve::start(config, sources).unwrap()
}

fn ask(http: &mut Http, path: &str, request: &Json) -> Json {
    let answer = http.post(path, request);
    assert_eq!(answer.status, 200, "{request}: {}", answer.text());
    answer.json()
}

fn user(text: &str) -> Json {
    json!([{ "role": "user", "content": text }])
}

/// The bodies of a stream's events, with their names.
fn events(text: &str) -> Vec<(String, Json)> {
    let event = |event: &str| {
        let name = event.lines().find_map(|line| line.strip_prefix("event: ")).unwrap_or_default();
        let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        (name.to_owned(), if data == "[DONE]" { json!("[DONE]") } else { serde_json::from_str(data).unwrap() })
    };
    text.trim_end().split("\n\n").map(event).collect()
}

#[test]
fn a_chat_is_the_same_whole_and_as_a_stream() {
    let (_folder, server) = serve();
    assert!(server.ready().chat && server.ready().language);
    let mut http = Http::connect(server.ready().address);
    let mut request = json!({ "model": "qwen2", "messages": user("hi"), "max_completion_tokens": 12, "n": 2, "seed": 3,
        "logprobs": true, "top_logprobs": 2, "temperature": 0.9 });
    let whole = ask(&mut http, CHAT, &request);
    assert_eq!((&whole["object"], &whole["model"]), (&json!("chat.completion"), &json!("qwen2@1")));
    assert_eq!(ask(&mut http, CHAT, &request)["choices"], whole["choices"], "the same seed");
    let usage = &whole["usage"];
    assert!(usage["prompt_tokens"].as_u64().unwrap() > 2 && usage["completion_tokens"].as_u64().unwrap() <= 24);
    request["stream"] = json!(true);
    request["stream_options"] = json!({ "include_usage": true });
    let answer = http.post(CHAT, &request);
    assert!(answer.has_header("content-type: text/event-stream"), "{}", answer.head);
    let events = events(&answer.text());
    let (done, events) = events.split_last().unwrap();
    assert_eq!(done.1, "[DONE]");
    let (last, events) = events.split_last().unwrap();
    assert_eq!(last.1["usage"]["completion_tokens"], usage["completion_tokens"]);
    let mut texts = vec![(String::new(), Vec::new(), Json::Null); 2];
    for (_, event) in events {
        assert!(event["object"] == "chat.completion.chunk" && event["usage"].is_null());
        let choice = &event["choices"][0];
        let (text, logprobs, reason) = &mut texts[choice["index"].as_u64().unwrap() as usize];
        text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        logprobs.extend(choice["logprobs"]["content"].as_array().cloned().unwrap_or_default());
        if !choice["finish_reason"].is_null() {
            *reason = choice["finish_reason"].clone();
        }
    }
    for (choice, (text, logprobs, reason)) in whole["choices"].as_array().unwrap().iter().zip(texts) {
        assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!(text), &reason));
        assert_eq!(choice["logprobs"]["content"], json!(logprobs));
        assert!(logprobs.iter().all(|token| token["top_logprobs"].as_array().unwrap().len() == 2));
    }
}

#[test]
fn a_template_decides_the_prompt_and_a_cache_keeps_it() {
    let (_folder, server) = serve();
    let mut http = Http::connect(server.ready().address);
    let long = "a story that is long enough to fill a page of the cache and a little more than that ".repeat(3);
    let request = json!({ "messages": user(&long), "max_tokens": 4, "temperature": 0 });
    let first = ask(&mut http, CHAT, &request);
    let second = ask(&mut http, CHAT, &request);
    assert_eq!(first["choices"], second["choices"]);
    assert_eq!(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    assert!(second["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap() >= 32, "{second}");
    let metrics = http.get("/metrics").text();
    for name in ["first_token_seconds_count 2", "batch"] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
    let parts = json!([{ "role": "user", "content": [{ "type": "text", "text": long }] }]);
    let third = ask(&mut http, CHAT, &json!({ "messages": parts, "max_tokens": 4, "temperature": 0 }));
    assert_eq!(third["choices"], first["choices"]);
}

#[test]
fn answers_have_the_form_that_is_asked_for() {
    let (_folder, server) = serve();
    let mut http = Http::connect(server.ready().address);
    let schema = json!({ "type": "object", "properties": { "sure": { "type": "boolean" }, "kind": { "enum": ["a", "b"] } },
        "required": ["sure", "kind"], "additionalProperties": false });
    let format =
        json!({ "type": "json_schema", "json_schema": { "name": "answer", "strict": true, "schema": schema } });
    let request = json!({ "messages": user("hi"), "response_format": format, "max_tokens": 80, "seed": 1 });
    let text = ask(&mut http, CHAT, &request)["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let found: Json = serde_json::from_str(&text).unwrap();
    assert!(found["sure"].is_boolean() && (found["kind"] == "a" || found["kind"] == "b"), "{text}");
    let request = json!({ "messages": user("hi"), "structured_outputs": { "regex": "x{3}y" }, "max_tokens": 20 });
    assert_eq!(ask(&mut http, CHAT, &request)["choices"][0]["message"]["content"], "xxxy");
}

#[test]
fn functions_are_called_whole_and_as_a_stream() {
    let (_folder, server) = serve();
    let mut http = Http::connect(server.ready().address);
    let parameters = json!({ "type": "object", "properties": { "up": { "type": "boolean" } }, "required": ["up"],
        "additionalProperties": false });
    let tools = json!([
        { "type": "function", "function": { "name": "move", "description": "Moves.", "parameters": parameters } },
        { "type": "function", "function": { "name": "stop", "parameters": { "type": "object", "properties": {}, "additionalProperties": false } } },
    ]);
    let named = json!({ "type": "function", "function": { "name": "move" } });
    let mut request =
        json!({ "messages": user("go"), "tools": tools, "tool_choice": named, "max_tokens": 80, "seed": 2 });
    let whole = ask(&mut http, CHAT, &request);
    let choice = &whole["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &Json::Null));
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("move")));
    let arguments = call["function"]["arguments"].as_str().unwrap();
    assert!(serde_json::from_str::<Json>(arguments).unwrap()["up"].is_boolean(), "{arguments}");
    request["stream"] = json!(true);
    let told = events(&http.post(CHAT, &request).text());
    let calls: Vec<&Json> = told
        .iter()
        .map(|(_, event)| &event["choices"][0]["delta"]["tool_calls"])
        .filter(|calls| calls.is_array())
        .collect();
    assert_eq!((calls.len(), &calls[0][0]["index"]), (1, &json!(0)));
    assert_eq!(calls[0][0]["function"]["arguments"], arguments);
    // What was called and what came of it go on in the chat.
    let messages = json!([
        { "role": "user", "content": "go" },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": call["id"], "content": "moved" },
    ]);
    let request = json!({ "messages": messages, "tools": tools, "max_tokens": 4, "tool_choice": "required" });
    assert_eq!(ask(&mut http, CHAT, &request)["choices"][0]["message"]["role"], "assistant");
}

#[test]
fn responses_are_kept_and_gone_on_from() {
    let (_folder, server) = serve();
    let mut http = Http::connect(server.ready().address);
    let path = "/v1/responses";
    let request = json!({ "input": "hi", "instructions": "Be brief.", "max_output_tokens": 8, "temperature": 0 });
    let first = ask(&mut http, path, &request);
    assert_eq!((&first["object"], &first["store"]), (&json!("response"), &json!(true)));
    let text = &first["output"][0]["content"][0]["text"];
    assert!(first["status"] == "incomplete" || first["status"] == "completed");
    let id = first["id"].as_str().unwrap();
    assert_eq!(http.get(&format!("{path}/{id}")).json(), first);
    // Going on gives what the whole chat gives.
    let next = json!({ "input": "and", "previous_response_id": id, "max_output_tokens": 6, "temperature": 0 });
    let next = ask(&mut http, path, &next);
    let chat = json!([{ "role": "user", "content": "hi" }, { "role": "assistant", "content": text },
        { "role": "user", "content": "and" }]);
    let chat = ask(&mut http, CHAT, &json!({ "messages": chat, "max_tokens": 6, "temperature": 0 }));
    assert_eq!(next["output"][0]["content"][0]["text"], chat["choices"][0]["message"]["content"]);
    // The stream tells the same, in numbered events.
    let mut streamed = request.clone();
    streamed["stream"] = json!(true);
    let told = events(&http.post(path, &streamed).text());
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names[..4],
        ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
    );
    assert!(
        told.iter()
            .enumerate()
            .all(|(place, (name, event))| event["sequence_number"] == place && event["type"] == *name)
    );
    let deltas = told.iter().filter(|(name, _)| name == "response.output_text.delta");
    let deltas: String = deltas.map(|(_, event)| event["delta"].as_str().unwrap()).collect();
    assert_eq!(json!(deltas), *text);
    assert_eq!(told.last().unwrap().1["response"]["output"][0]["content"], first["output"][0]["content"]);
    // Gone is gone.
    let gone = http.request("DELETE", &format!("{path}/{id}"), &[], b"");
    assert_eq!(gone.json()["deleted"], true);
    assert_eq!(http.get(&format!("{path}/{id}")).status, 404);
    let request = json!({ "input": "and", "previous_response_id": id });
    assert_eq!(http.post(path, &request).status, 404);
}

#[test]
fn what_a_chat_cannot_have_is_refused() {
    let (_folder, server) = serve();
    let mut http = Http::connect(server.ready().address);
    let hi = user("hi");
    let cases = [
        (json!({}), "messages"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": [{ "role": "robot", "content": "hi" }] }), "messages"),
        (json!({ "messages": [{ "role": "user" }] }), "messages"),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }] }),
            "messages",
        ),
        (json!({ "messages": hi, "tool_choice": "required" }), "tool_choice"),
        (json!({ "messages": hi, "tools": [{ "type": "web_search" }] }), "tools"),
        (json!({ "messages": hi, "response_format": { "type": "yaml" } }), "response_format"),
        (
            json!({ "messages": hi, "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": { "type": "odd" } } } }),
            "response_format",
        ),
        (json!({ "messages": hi, "top_logprobs": 2 }), "top_logprobs"),
        (json!({ "messages": hi, "n": 0 }), "n"),
        (json!({ "messages": hi, "max_tokens": 100_000 }), "max_completion_tokens"),
        (json!({ "messages": hi, "modalities": ["audio"] }), "modalities"),
    ];
    for (request, param) in cases {
        let answer = http.post(CHAT, &request);
        assert_eq!(answer.status, 400, "{request}: {}", answer.text());
        assert_eq!(answer.json()["error"]["param"], param, "{request}: {}", answer.text());
    }
    let long = json!({ "messages": user(&"word ".repeat(5000)), "max_tokens": 4 });
    let answer = http.post(CHAT, &long);
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!("context_length_exceeded")));
    let answer = http.post(CHAT, &json!({ "model": "gpt-9", "messages": hi }));
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!("model_not_found")));
    assert_eq!(http.post("/v1/embeddings", &json!({ "input": "hi" })).json()["error"]["param"], "model");
}

#[test]
fn a_client_that_hangs_up_leaves_the_engine() {
    let (_folder, server) = serve();
    let mut http = Http::connect(server.ready().address);
    let long = json!({ "messages": user("hi"), "max_tokens": 60, "stream": true, "ignore_eos": true });
    for _ in 0..20 {
        let mut http = Http::connect(server.ready().address);
        let body = long.to_string();
        http.write(&crate::http::request("POST", CHAT, &["content-type: application/json"], body.as_bytes()));
        drop(http);
    }
    let begun = Instant::now();
    loop {
        let metrics = http.get("/metrics").text();
        let pages =
            metrics.lines().find(|line| line.contains("kv_pages_used") && !line.starts_with('#')).unwrap().to_owned();
        if pages.ends_with(" 0") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{pages}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn several_models_are_loaded_when_they_are_asked_for() {
    let bank = tempfile::tempdir().unwrap();
    write_predict(bank.path(), description(64, 3), 1);
    let folder = model();
    let other = |name: &str| FolderSource::new(folder.path(), 1).named(name.to_owned());
    let sources: Vec<Arc<dyn Source>> =
        vec![Arc::new(other("one")), Arc::new(other("two")), Arc::new(FolderSource::new(bank.path(), 1))];
    let server = serve_all(config(), sources);
    let mut http = Http::connect(server.ready().address);
    let names: Vec<Json> = ask_models(&mut http).iter().map(|model| model["id"].clone()).collect();
    assert_eq!(names, ["one", "two", "bank"]);
    let loaded = |http: &mut Http| -> Vec<bool> {
        let ready = http.get("/health/ready").json();
        ready["models"].as_array().unwrap().iter().map(|model| model["loaded"].as_bool().unwrap()).collect()
    };
    assert_eq!(loaded(&mut http), [true, false, true]);
    let request = |model: &str| json!({ "model": model, "messages": user("hi"), "max_tokens": 3, "temperature": 0 });
    let two = ask(&mut http, CHAT, &request("two"));
    assert_eq!(two["model"], "two@1");
    assert_eq!(two["choices"], ask(&mut http, CHAT, &request("one@1"))["choices"]);
    assert_eq!(loaded(&mut http), [true, true, true]);
    assert_eq!(http.get("/v2/models/bank/ready").status, 200);

    // With room for one of them, each pushes the other out; without room, the request is told so.
    let most = two_models_bytes(&server);
    let sources: Vec<Arc<dyn Source>> = vec![Arc::new(other("one")), Arc::new(other("two"))];
    let server = serve_all(ServerConfig { memory_bytes_max: most * 3 / 4, ..config() }, sources);
    let mut http = Http::connect(server.ready().address);
    for (model, expected) in [("two", [false, true]), ("one", [true, false]), ("two", [false, true])] {
        ask(&mut http, CHAT, &request(model));
        assert_eq!(loaded(&mut http), expected);
    }
    let same = vec![Arc::new(other("one")) as Arc<dyn Source>, Arc::new(other("one"))];
    assert!(serve::start(config(), same).unwrap_err().to_string().contains("named twice"));
}

fn ask_models(http: &mut Http) -> Vec<Json> {
    http.get("/v1/models").json()["data"].as_array().unwrap().clone()
}

/// What two of the tiny models take, by the metrics.
fn two_models_bytes(server: &Running) -> u64 {
    let metrics = Http::connect(server.ready().address).get("/metrics").text();
    let bytes = |name: &str| -> f64 {
        let key = format!("modelyard_model_bytes{{model=\"{name}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&key)).unwrap().parse().unwrap()
    };
    (bytes("one") + bytes("two")) as u64
}
