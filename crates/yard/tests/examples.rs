//! The examples of the README, as a new user would run them.
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

mod common;

use common::Project;
use serde_json::{Value as Json, json};

#[test]
fn banking_is_the_main_job() {
    let project = Project::example("banking");
    let result = project.yard(&["run", "--json"]).ok().result();
    let accuracy = result["metrics"]["accuracy"]["value"].as_f64().unwrap();
    assert!(accuracy >= 0.90, "accuracy {accuracy}");
    assert_eq!(result["metrics"]["examples"]["value"].as_f64(), Some(3080.0));
    assert_eq!(result["version"], "banking@1");
    let package = &result["package"];
    assert!(package["measures"]["binary_layer_bytes"]["value"].as_f64().unwrap() < 60e6, "{package}");

    let server = project.serve(&["banking"]);
    let inputs =
        json!([{ "name": "text", "datatype": "BYTES", "shape": [1], "data": ["My card has not arrived yet"] }]);
    let answer = server.infer("banking", &inputs);
    assert_eq!(answer["outputs"][0]["data"][0], "card_arrival", "{answer}");
}

fn coefficients(settings: &[&str]) -> Json {
    let project = Project::example("line");
    let mut words = vec!["run", "--json"];
    words.extend(settings);
    let result = project.yard(&words).ok().result();
    let model = result["stages"].as_array().unwrap().iter().find(|stage| stage["stage"] == "train").unwrap();
    let folder = project.file(".yard/objects").join(model["artifact"].as_str().unwrap());
    let page = std::fs::read_to_string(project.file(".yard/reports/line@1.html")).unwrap();
    assert!(page.contains("<svg"), "the fit is not drawn");
    serde_json::from_slice(&std::fs::read(folder.join("coefficients.json")).unwrap()).unwrap()
}

/// Every number in a JSON tree, by its last key.
fn number(json: &Json, key: &str) -> f64 {
    match json {
        Json::Object(map) => map
            .iter()
            .find_map(|(name, value)| if name == key { value.as_f64() } else { None })
            .or_else(|| map.values().map(|value| number(value, key)).find(|found| !found.is_nan()))
            .unwrap_or(f64::NAN),
        Json::Array(items) => {
            items.iter().map(|item| number(item, key)).find(|found| !found.is_nan()).unwrap_or(f64::NAN)
        }
        _ => f64::NAN,
    }
}

#[test]
fn line_finds_the_least_squares_slope() {
    let through_origin = coefficients(&[]);
    assert!((number(&through_origin, "x") - 1.2).abs() < 1e-3, "{through_origin}");
    let with_intercept = coefficients(&["--set", "model.intercept=true"]);
    assert!((number(&with_intercept, "x") - 0.6).abs() < 1e-3, "{with_intercept}");
    assert!((number(&with_intercept, "intercept") - 2.2).abs() < 1e-3, "{with_intercept}");
}

/// The poems with a tiny model and a tenth of the data, so that the test is quick; the whole example
/// is a benchmark.
#[test]
fn poems_learns_and_completes_a_line() {
    let project = Project::example("poems");
    let text = std::fs::read_to_string(project.file("data/quatrains.jsonl")).unwrap();
    let part: String = text.lines().take(1400).map(|line| format!("{line}\n")).collect();
    project.write("data/quatrains.jsonl", part.as_bytes());
    let settings = ["run", "--json", "--set", "model.size=tiny", "--set", "train.epochs=1"];
    let gate = std::fs::read_to_string(project.file("yard.toml")).unwrap().replace("max = 1000.0", "max = 100000.0");
    project.write("yard.toml", gate.as_bytes());
    let result = project.yard(&settings).ok().result();
    assert!(result["metrics"]["perplexity"]["value"].as_f64().unwrap() > 1.0, "{result}");

    let server = project.serve(&["poems"]);
    let ask = json!({ "model": "poems", "prompt": "床前明月光，", "max_tokens": 12, "temperature": 0 });
    let (status, body) = server.request("POST", "/v1/completions", &ask.to_string());
    assert_eq!(status, 200, "{body}");
    let whole: Json = serde_json::from_str(&body).unwrap();
    let text = whole["choices"][0]["text"].as_str().unwrap();
    assert!(!text.is_empty() && !text.contains('\u{fffd}'), "{text:?}");

    let mut ask = ask;
    ask["stream"] = json!(true);
    let (status, body) = server.request("POST", "/v1/completions", &ask.to_string());
    assert_eq!(status, 200, "{body}");
    let mut streamed = String::new();
    for line in body.lines().filter_map(|line| line.strip_prefix("data: ")) {
        if line != "[DONE]" {
            let part: Json = serde_json::from_str(line).unwrap();
            streamed.push_str(part["choices"][0]["text"].as_str().unwrap_or(""));
        }
    }
    assert!(body.contains("data: [DONE]"), "{body}");
    assert_eq!(streamed, text);
}
