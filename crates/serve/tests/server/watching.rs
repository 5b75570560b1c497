//! What can be seen of a running server: its access log and its traces, with and without prompts.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::{Value as Json, json};
use serve::ServerConfig;

use crate::http::Http;
use crate::models::write_language;
use crate::{config, start};

const PATH: &str = "/v1/completions";
const SECRET: &str = "the quick brown fox";

/// Settings that gather the access log.
fn logging() -> (ServerConfig, Arc<Mutex<Vec<Json>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = lines.clone();
    let access_log: serve::LogSink =
        Arc::new(move |line: &str| sink.lock().unwrap().push(serde_json::from_str(line).unwrap()));
    (ServerConfig { access_log: Some(access_log), ..config() }, lines)
}

/// A collector that takes everything, and passes on the bodies.
fn collector() -> (SocketAddr, mpsc::Receiver<Json>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = Vec::new();
            let body = loop {
                let mut buffer = [0; 4096];
                let count = stream.read(&mut buffer).unwrap();
                bytes.extend(&buffer[..count]);
                let text = String::from_utf8(bytes.clone()).unwrap();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                if body.len() == length.parse::<usize>().unwrap() {
                    break serde_json::from_str(body).unwrap();
                }
            };
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
            if sender.send(body).is_err() {
                return;
            }
        }
    });
    (address, receiver)
}

fn prompt(stream: bool) -> Json {
    json!({ "prompt": SECRET, "max_tokens": 5, "temperature": 0, "stream": stream })
}

#[test]
fn each_request_is_a_line_without_its_contents() {
    let folder = tempfile::tempdir().unwrap();
    write_language(folder.path(), 3, 64);
    let (config, lines) = logging();
    let key = "0123456789abcdef";
    let server = start(folder.path(), ServerConfig { key: Some(key.to_owned()), ..config });
    let mut http = Http::connect(server.ready().address);
    let authorization = format!("authorization: Bearer {key}");
    for stream in [false, true] {
        let body = prompt(stream).to_string();
        let answer = http.request("POST", PATH, &[&authorization, "content-type: application/json"], body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    http.get("/v1/models/who?prompt=secret");
    http.request("GET", "/no/such", &[&authorization], b"");
    server.stop().unwrap();
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for line in &lines[..2] {
        assert_eq!((&line["method"], &line["route"], &line["status"]), (&json!("POST"), &json!(PATH), &json!(200)));
        assert_eq!((&line["key"], &line["completion_tokens"]), (&json!("(server)"), &json!(5)));
        assert!(line["prompt_tokens"].as_u64().unwrap() > 1 && line["duration_ms"].as_f64().unwrap() > 0.0);
        assert_eq!((&line["complete"], &line["error"]), (&json!(true), &Json::Null));
        assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
    }
    let kinds: Vec<(&Json, &Json, &Json)> =
        lines[2..].iter().map(|line| (&line["route"], &line["error"], &line["key"])).collect();
    assert_eq!(kinds[0], (&json!("/v1/models/{model}"), &json!("missing_api_key"), &Json::Null));
    assert_eq!(kinds[1], (&json!("other"), &json!("not_found"), &json!("(server)")));
    let text = format!("{lines:?}");
    assert!(!text.contains("quick") && !text.contains("secret") && !text.contains(key), "{text}");
}

#[test]
fn a_stream_that_nobody_reads_to_its_end_is_a_line_too() {
    let folder = tempfile::tempdir().unwrap();
    write_language(folder.path(), 3, 1 << 20);
    let (config, lines) = logging();
    let limits = serve::Limits { rows_max: 1 << 20, ..serve::Limits::default() };
    let server = start(folder.path(), ServerConfig { log_prompts: true, limits, ..config });
    let mut http = Http::connect(server.ready().address);
    let body = json!({ "prompt": SECRET, "max_tokens": 100_000, "temperature": 0, "stream": true }).to_string();
    http.write(&crate::http::request("POST", PATH, &["content-type: application/json"], body.as_bytes()));
    assert!(http.head().unwrap().contains("200"));
    http.chunk().unwrap();
    drop(http);
    server.stop().unwrap();
    let lines = lines.lock().unwrap();
    assert_eq!((lines.len(), &lines[0]["complete"], &lines[0]["prompt"]), (1, &json!(false), &json!(SECRET)));
}

#[test]
fn a_client_that_goes_before_its_answer_is_a_line_too() {
    let folder = tempfile::tempdir().unwrap();
    write_language(folder.path(), 3, 1 << 20);
    let (config, lines) = logging();
    let limits = serve::Limits { rows_max: 1 << 20, ..serve::Limits::default() };
    let server = start(folder.path(), ServerConfig { limits, ..config });
    let mut http = Http::connect(server.ready().address);
    let body = json!({ "prompt": SECRET, "max_tokens": 100_000, "temperature": 0 }).to_string();
    http.write(&crate::http::request("POST", PATH, &["content-type: application/json"], body.as_bytes()));
    std::thread::sleep(Duration::from_millis(100));
    drop(http);
    std::thread::sleep(Duration::from_millis(100));
    server.stop().unwrap();
    let lines = lines.lock().unwrap();
    assert_eq!(
        (lines.len(), &lines[0]["status"], &lines[0]["error"]),
        (1, &json!(499), &json!("cancelled")),
        "{lines:?}"
    );
}

#[test]
fn traces_go_to_the_collector_with_the_names_of_the_conventions() {
    let folder = tempfile::tempdir().unwrap();
    write_language(folder.path(), 3, 64);
    let (address, batches) = collector();
    let endpoint = Some(format!("http://{address}/v1/traces"));
    let server = start(folder.path(), ServerConfig { traces_endpoint: endpoint, ..config() });
    let mut http = Http::connect(server.ready().address);
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let mut ask = |flags: &str, path: &str| {
        let header = format!("traceparent: 00-{trace}-{parent}-{flags}");
        let headers = [header.as_str(), "tracestate: vendor=1", "content-type: application/json"];
        http.request("POST", path, &headers, prompt(true).to_string().as_bytes()).status
    };
    // One that is not sampled, one that is, and one that goes wrong.
    assert_eq!([ask("00", PATH), ask("01", PATH), ask("01", "/v1/nothing")], [200, 200, 404]);
    server.stop().unwrap();
    let mut spans = Vec::new();
    while spans.len() < 2 {
        let batch = batches.recv_timeout(Duration::from_secs(10)).unwrap();
        let resource = &batch["resourceSpans"][0];
        assert_eq!(
            resource["resource"]["attributes"][0],
            json!({ "key": "service.name", "value": { "stringValue": "modelyard" } })
        );
        spans.extend(resource["scopeSpans"][0]["spans"].as_array().unwrap().clone());
    }
    assert_eq!(spans.len(), 2, "{spans:?}");
    let span = &spans[0];
    assert_eq!(
        (&span["traceId"], &span["parentSpanId"], &span["traceState"]),
        (&json!(trace), &json!(parent), &json!("vendor=1"))
    );
    assert_eq!((&span["name"], &span["kind"]), (&json!("text_completion bank"), &json!(2)));
    let nanos = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    assert!(nanos("endTimeUnixNano") > nanos("startTimeUnixNano"));
    let attribute = |key: &str| {
        let attributes = span["attributes"].as_array().unwrap().iter();
        attributes.clone().find(|one| one["key"] == key).map_or(Json::Null, |one| one["value"].clone())
    };
    for (key, value) in [
        ("gen_ai.operation.name", json!({ "stringValue": "text_completion" })),
        ("gen_ai.request.model", json!({ "stringValue": "bank" })),
        ("gen_ai.response.model", json!({ "stringValue": "bank@1" })),
        ("gen_ai.usage.output_tokens", json!({ "intValue": "5" })),
        ("http.response.status_code", json!({ "intValue": "200" })),
        ("http.route", json!({ "stringValue": PATH })),
    ] {
        assert_eq!(attribute(key), value, "{key}");
    }
    assert!(!format!("{spans:?}").contains("quick"));
    assert_eq!(spans[1]["name"], "POST other");
}

#[test]
fn a_collector_that_is_not_there_costs_nothing_but_its_spans() {
    let folder = tempfile::tempdir().unwrap();
    write_language(folder.path(), 3, 64);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = Some(format!("http://{gone}/v1/traces"));
    let server = start(folder.path(), ServerConfig { traces_endpoint: endpoint, ..config() });
    let mut http = Http::connect(server.ready().address);
    for _ in 0..3 {
        assert_eq!(http.post(PATH, &prompt(false)).status, 200);
    }
    let lost = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        let metrics = http.get("/metrics").text();
        let line = metrics.lines().find(|line| line.starts_with("modelyard_spans_lost_total ")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() >= 3.0
    });
    assert!(lost);
    server.stop().unwrap();
}
