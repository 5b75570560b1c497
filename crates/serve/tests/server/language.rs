//! OpenAI's completions: whole, streamed, cancelled, verified.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_range_loop,
    clippy::needless_pass_by_value,
    clippy::zombie_processes,
    reason = "tests"
)]

use std::time::{Duration, Instant};

use base::Context;
use infer::model::{Engine, Model};
use infer::sampling::Sampling;
use serde_json::{Value as Json, json};
use serve::{Running, ServeError, ServerConfig, verify_language};

use crate::http::Http;
use crate::models::write_language;
use crate::{config, start};

const PATH: &str = "/v1/completions";

fn serve(config: ServerConfig, context: usize) -> (tempfile::TempDir, Running) {
    let folder = tempfile::tempdir().unwrap();
    write_language(folder.path(), 3, context);
    let server = start(folder.path(), config);
    (folder, server)
}

/// The events of a stream's body.
fn events(body: &str) -> Vec<&str> {
    assert!(body.ends_with("\n\n"));
    body.trim_end().split("\n\n").map(|event| event.strip_prefix("data: ").unwrap()).collect()
}

#[test]
fn served_completions_are_the_offline_ones() {
    let (folder, server) = serve(config(), 128);
    let model = Model::load(folder.path()).unwrap();
    let Engine::Language(generator) = model.engine() else { panic!("not a language model") };
    let prompts: Vec<(String, Sampling)> = ["", "the quick", "白日", "🙂", "\u{0}\"\\"]
        .iter()
        .enumerate()
        .map(|(index, prompt)| {
            let temperature = if index < 3 { 0.0 } else { 0.9 };
            ((*prompt).to_owned(), Sampling { max_tokens: 20, temperature, seed: index as u64, ..Sampling::default() })
        })
        .collect();
    let complete = |(prompt, sampling): &(String, Sampling)| {
        generator.complete(prompt, sampling, &mut |_| std::ops::ControlFlow::Continue(())).unwrap().text
    };
    let mut expected: Vec<String> = prompts.iter().map(complete).collect();
    let check =
        |expected: &[String]| verify_language(server.ready().address, None, &prompts, expected, &Context::silent());
    assert_eq!(check(&expected).unwrap().rows, 5);
    expected[1].push('!');
    let error = check(&expected).unwrap_err();
    assert!(matches!(error, ServeError::Mismatch { count: 1, .. }));
    assert!(error.to_string().contains("row 1: offline"), "{error}");
}

#[test]
fn a_stream_gives_the_same_text_in_pieces() {
    let (_folder, server) = serve(config(), 128);
    let mut http = Http::connect(server.ready().address);
    let mut request =
        json!({ "model": "bank", "prompt": "the quick", "max_tokens": 24, "temperature": 0.8, "seed": 5 });
    let whole = http.post(PATH, &request);
    assert_eq!(whole.status, 200, "{}", whole.text());
    let whole = whole.json();
    assert_eq!((&whole["object"], &whole["model"]), (&json!("text_completion"), &json!("bank@1")));
    assert!(whole["id"].as_str().unwrap().starts_with("cmpl-"));
    let usage = &whole["usage"];
    let count = |key: &str| usage[key].as_u64().unwrap();
    assert!(count("prompt_tokens") > 0 && count("completion_tokens") <= 24);
    assert_eq!(count("total_tokens"), count("prompt_tokens") + count("completion_tokens"));

    request["stream"] = json!(true);
    request["stream_options"] = json!({ "include_usage": true });
    let answer = http.post(PATH, &request);
    assert!(answer.has_header("content-type: text/event-stream"), "{}", answer.head);
    let text = answer.text();
    let events = events(&text);
    let (done, events) = events.split_last().unwrap();
    assert_eq!(*done, "[DONE]");
    let events: Vec<Json> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let (last, events) = events.split_last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), usage));
    let pieces: String = events.iter().map(|event| event["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(json!(pieces), whole["choices"][0]["text"]);
    assert!(events.len() > 2, "{events:?}");
    let (end, before) = events.split_last().unwrap();
    assert_eq!(end["choices"][0]["finish_reason"], whole["choices"][0]["finish_reason"]);
    assert!(before.iter().all(|event| event["choices"][0]["finish_reason"].is_null()));
    assert!(events.iter().all(|event| event["id"] == events[0]["id"] && event["usage"].is_null()));
    // The connection is kept alive after a stream.
    assert_eq!(http.get("/health/live").status, 200);
}

#[test]
fn several_prompts_echo_stops_and_seeds() {
    let (_folder, server) = serve(config(), 128);
    let mut http = Http::connect(server.ready().address);
    let mut texts = |request: Json| -> Vec<String> {
        let answer = http.post(PATH, &request);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        let choices = answer["choices"].as_array().unwrap().iter().enumerate();
        choices
            .map(|(index, choice)| {
                assert_eq!(choice["index"], index);
                choice["text"].as_str().unwrap().to_owned()
            })
            .collect()
    };
    let one = |prompt: &str| json!({ "prompt": prompt, "max_tokens": 12, "temperature": 0 });
    let (a, b) = (texts(one("the"))[0].clone(), texts(one("黄河"))[0].clone());
    assert_eq!(texts(json!({ "prompt": ["the", "黄河"], "max_tokens": 12, "temperature": 0 })), [a.clone(), b]);
    assert_eq!(
        texts(json!({ "prompt": "the", "max_tokens": 12, "temperature": 0, "echo": true })),
        [format!("the{a}")]
    );
    let stop: String = a.chars().skip(3).take(2).collect();
    let cut = texts(json!({ "prompt": "the", "max_tokens": 12, "temperature": 0, "stop": [stop] }));
    assert_eq!(cut[0], a[..a.find(&stop).unwrap()]);
    let seeded = |seed: u64| json!({ "prompt": "the", "max_tokens": 24, "temperature": 1.5, "seed": seed });
    assert_eq!(texts(seeded(1)), texts(seeded(1)));
    assert_ne!(texts(seeded(1)), texts(seeded(2)));
    let unseeded = json!({ "prompt": "the", "max_tokens": 24, "temperature": 1.5 });
    assert_ne!(texts(unseeded.clone()), texts(unseeded));
    // What asks for nothing is accepted, as clients send it.
    texts(
        json!({ "prompt": null, "n": 1, "best_of": 1, "logprobs": null, "presence_penalty": 0, "logit_bias": {}, "user": "me", "suffix": null }),
    );
}

#[test]
fn several_choices_logprobs_and_structures() {
    let (_folder, server) = serve(config(), 128);
    let mut http = Http::connect(server.ready().address);
    let mut request = json!({ "prompt": ["the", "quick"], "max_tokens": 6, "n": 2, "seed": 4, "logprobs": 2 });
    let whole = http.post(PATH, &request);
    assert_eq!(whole.status, 200, "{}", whole.text());
    let whole = whole.json();
    let choices = whole["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 4);
    let first = &choices[0]["logprobs"];
    let tokens = first["tokens"].as_array().unwrap();
    assert!(!tokens.is_empty() && tokens.len() == first["token_logprobs"].as_array().unwrap().len());
    assert!(first["top_logprobs"].as_array().unwrap().iter().all(|top| top.as_object().unwrap().len() <= 2));
    assert!(first["token_logprobs"].as_array().unwrap().iter().all(|value| value.as_f64().unwrap() <= 0.0));
    // The second choice has the seed after the first's.
    let alone = http.post(PATH, &json!({ "prompt": "the", "max_tokens": 6, "seed": 5 })).json();
    assert_eq!(alone["choices"][0]["text"], choices[1]["text"]);
    // The stream has the same tokens.
    request["stream"] = json!(true);
    let answer = http.post(PATH, &request);
    let mut texts = vec![(String::new(), 0); 4];
    for event in events(&answer.text()).iter().filter(|event| **event != "[DONE]") {
        let event: Json = serde_json::from_str(event).unwrap();
        let choice = &event["choices"][0];
        let text = &mut texts[choice["index"].as_u64().unwrap() as usize];
        text.0.push_str(choice["text"].as_str().unwrap());
        text.1 += choice["logprobs"]["tokens"].as_array().map_or(0, Vec::len);
    }
    for (choice, (text, count)) in choices.iter().zip(texts) {
        assert_eq!((&choice["text"], choice["logprobs"]["tokens"].as_array().unwrap().len()), (&json!(text), count));
    }
    // Whatever the weights would say, the text has the form that was asked for.
    for (key, value, check) in [
        ("regex", json!("[0-9]{3}-[a-f]{2}"), 6),
        ("choice", json!(["yes", "no"]), 3),
        (
            "json",
            json!({ "type": "object", "properties": { "a": { "type": "boolean" } }, "required": ["a"],
            "additionalProperties": false }),
            9,
        ),
    ] {
        let request = json!({ "prompt": "the", "max_tokens": 60, "structured_outputs": { key: value }, "seed": 1 });
        let answer = http.post(PATH, &request);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.json()["choices"][0]["text"].as_str().unwrap().to_owned();
        match key {
            "regex" => assert!(text.len() == check && text.as_bytes()[3] == b'-', "{text:?}"),
            "choice" => assert!(text == "yes" || text == "no", "{text:?}"),
            _ => assert!(serde_json::from_str::<Json>(&text).unwrap()["a"].is_boolean(), "{text:?}"),
        }
    }
    let answer = http.post(PATH, &json!({ "prompt": "x", "structured_outputs": { "regex": "(" } }));
    assert_eq!(answer.status, 400, "{}", answer.text());
    // A model without a template answers no chats, and says so.
    let chat = json!({ "messages": [{ "role": "user", "content": "hi" }] });
    let answer = http.post("/v1/chat/completions", &chat);
    assert!(answer.status == 400 && answer.error().contains("no chat template"), "{}", answer.text());
}

#[test]
fn what_cannot_be_done_is_refused_in_the_shape_of_openai() {
    let (_folder, server) = serve(config(), 128);
    let mut http = Http::connect(server.ready().address);
    let cases = [
        (json!({ "prompt": "x", "n": 17 }), "n"),
        (json!({ "prompt": "x", "best_of": 3 }), "best_of"),
        (json!({ "prompt": "x", "logprobs": 21 }), "logprobs"),
        (json!({ "prompt": "x", "suffix": "y" }), "suffix"),
        (json!({ "prompt": "x", "frequency_penalty": 2.5 }), "frequency_penalty"),
        (json!({ "prompt": "x", "logit_bias": { "50256": -101 } }), "logit_bias"),
        (json!({ "prompt": [1, 2, 3] }), "prompt"),
        (json!({ "prompt": [] }), "prompt"),
        (json!({ "prompt": vec!["x"; 17] }), "prompt"),
        (json!({ "prompt": "x", "max_tokens": 0 }), "max_tokens"),
        (json!({ "prompt": "x", "max_tokens": 5000 }), "max_tokens"),
        (json!({ "prompt": ["x", "y"], "max_tokens": 4000 }), "max_tokens"),
        (json!({ "prompt": "x", "temperature": 2.5 }), "temperature"),
        (json!({ "prompt": "x", "top_p": 0 }), "top_p"),
        (json!({ "prompt": "x", "stop": "" }), "stop"),
        (json!({ "prompt": "x", "stop": { "a": 1 } }), "stop"),
        (json!({ "prompt": "x", "stream_options": {} }), "stream_options"),
    ];
    for (request, param) in cases {
        let answer = http.post(PATH, &request);
        assert_eq!(answer.status, 400, "{request}: {}", answer.text());
        let error = &answer.json()["error"];
        assert_eq!((&error["type"], &error["param"]), (&json!("invalid_request_error"), &json!(param)), "{request}");
        assert!(error["message"].as_str().unwrap().contains(param), "{request}: {error}");
    }
    let wrong = [
        (json!({ "prompt": "x", "max_token": 3 }), "\"max_token\" is not known"),
        (json!({ "prompt": "x", "max_tokens": -1 }), "max_tokens is not as it should be"),
        (json!("x"), "not a completion request"),
    ];
    for (request, message) in wrong {
        let answer = http.post(PATH, &request);
        assert_eq!(answer.status, 400);
        assert!(answer.error().contains(message), "{request}: {}", answer.text());
    }
    // More than the context holds, whole and streamed: the status is right in both.
    for stream in [false, true] {
        let answer = http.post(PATH, &json!({ "prompt": "x", "max_tokens": 500, "stream": stream }));
        assert_eq!(answer.status, 400);
        assert!(answer.error().contains("context is 128"), "{}", answer.text());
    }
    let answer = http.post(PATH, &json!({ "model": "other", "prompt": "x" }));
    assert_eq!((answer.status, &answer.json()["error"]["param"]), (404, &json!("model")));
    assert_eq!(http.post(PATH, &json!({ "model": "bank@1", "prompt": "x", "max_tokens": 1 })).status, 200);
    assert_eq!(http.get("/v1/nothing").json()["error"]["type"], "invalid_request_error");
    assert_eq!(http.get("/v1/models/bank").json()["id"], "bank");
    assert_eq!(http.get("/v1/models/other").status, 404);
    let answer = http.post("/v2/models/bank/infer", &json!({ "inputs": [] }));
    assert!(answer.error().contains("/v1/completions"));
}

#[test]
fn a_client_that_hangs_up_ends_the_generation() {
    // One worker: until the first generation ends, no other can begin.
    let limits = serve::Limits { rows_max: 1 << 20, ..serve::Limits::default() };
    let config = ServerConfig { threads: 1, limits, ..config() };
    let (_folder, server) = serve(config, 1 << 20);
    let mut http = Http::connect(server.ready().address);
    let long = json!({ "prompt": "the", "max_tokens": 100_000, "temperature": 0, "stream": true });
    let body = long.to_string();
    http.write(&crate::http::request("POST", PATH, &["content-type: application/json"], body.as_bytes()));
    assert!(http.head().unwrap().contains("200"));
    assert!(http.chunk().unwrap().starts_with(b"data: {"));
    drop(http);
    let begun = Instant::now();
    let mut http = Http::connect(server.ready().address);
    assert_eq!(http.post(PATH, &json!({ "prompt": "the", "max_tokens": 1 })).status, 200);
    let waited = begun.elapsed();
    let metrics = http.get("/metrics").text();
    let line = metrics.lines().find(|line| line.starts_with("modelyard_tokens_total{kind=\"completion\"}")).unwrap();
    let tokens: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(tokens < 20_000.0, "{tokens} tokens were generated for nobody, {waited:?}");
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}

#[test]
fn a_generation_has_its_time() {
    let limits =
        serve::Limits { generate_time_max: Duration::from_millis(500), rows_max: 1 << 20, ..serve::Limits::default() };
    let (_folder, server) = serve(ServerConfig { limits, ..config() }, 1 << 20);
    let mut http = Http::connect(server.ready().address);
    let long = |stream: bool| json!({ "prompt": "the", "max_tokens": 100_000, "temperature": 0, "stream": stream });
    let answer = http.post(PATH, &long(false));
    assert_eq!(answer.status, 504);
    assert_eq!(answer.json()["error"]["type"], "server_error");
    // A stream that has begun ends with the error, and without [DONE].
    let answer = http.post(PATH, &long(true));
    assert_eq!(answer.status, 200);
    let text = answer.text();
    let last: Json = serde_json::from_str(events(&text).last().unwrap()).unwrap();
    assert!(last["error"]["message"].as_str().unwrap().contains("0.5 s"), "{last}");
    assert_eq!(http.post(PATH, &json!({ "prompt": "the", "max_tokens": 1 })).status, 200);
}
