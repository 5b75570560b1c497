//! The Open Inference Protocol: answers, metadata, and bit-for-bit verification.
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

use std::sync::Arc;

use base::{Context, Failure, Fault, Value};
use infer::model::{Engine, Model};
use infer::predict::Prediction;
use serde_json::{Value as Json, json};
use serve::{FolderSource, Running, ServeError, ServerConfig, verify_predict};

use crate::http::Http;
use crate::models::{description, rows, write_predict};
use crate::{config, start};

const INFER: &str = "/v2/models/bank/infer";

fn serve(config: ServerConfig) -> (tempfile::TempDir, Running) {
    let folder = tempfile::tempdir().unwrap();
    write_predict(folder.path(), description(64, 3), 7);
    let server = start(folder.path(), config);
    (folder, server)
}

fn offline(model: &Model, rows: &[Vec<Value>]) -> Vec<Vec<Prediction>> {
    let Engine::Predict(predictor) = model.engine() else { panic!("not a model of columns") };
    rows.iter().map(|row| predictor.predict(row).unwrap()).collect()
}

/// A request of one row in which some tensors are replaced.
fn body(replace: &[(&str, Json)]) -> Json {
    let mut inputs = json!([
        { "name": "message", "shape": [1], "datatype": "BYTES", "data": ["my card"] },
        { "name": "age", "shape": [1], "datatype": "FP64", "data": [33.5] },
        { "name": "plan", "shape": [1], "datatype": "BYTES", "data": ["gold"] },
        { "name": "vip", "shape": [1], "datatype": "BOOL", "data": [true] },
    ]);
    for (name, tensor) in replace {
        let old = inputs.as_array_mut().unwrap().iter_mut().find(|input| input["name"] == *name).unwrap();
        for (key, value) in tensor.as_object().unwrap() {
            old[key] = value.clone();
        }
    }
    json!({ "inputs": inputs })
}

#[test]
fn every_answer_is_the_offline_one_bit_for_bit() {
    let (folder, server) = serve(config());
    let model = Model::load(folder.path()).unwrap();
    let rows = rows(500, 1);
    let mut expected = offline(&model, &rows);
    let check = |expected: &[Vec<Prediction>]| {
        verify_predict(server.ready().address, None, &description(64, 3), &rows, expected, &Context::silent())
    };
    let report = check(&expected).unwrap();
    assert_eq!((report.requests, report.rows), (8, 500));
    assert!(report.latency_ms_p50.value > 0.0 && report.latency_ms_p50.value <= report.latency_ms_p99.value);

    // One bit of one number, one label.
    let Prediction::Number { value } = &mut expected[321][2] else { panic!("not a number") };
    *value = f32::from_bits(value.to_bits() ^ 1);
    let Prediction::Category { label, .. } = &mut expected[77][0] else { panic!("not a category") };
    *label = (*label + 1) % 3;
    let error = check(&expected).unwrap_err();
    assert!(matches!(error, ServeError::Mismatch { count: 2, rows: 500, .. }), "{error}");
    assert!(error.to_string().contains("row 321: spend is"), "{error}");
    assert!(error.to_string().contains("row 77: intent is"), "{error}");
    assert_eq!(error.fault(), Fault::Internal);
}

#[test]
fn the_model_describes_itself() {
    let (_folder, server) = serve(config());
    assert_eq!((server.ready().name.as_str(), server.ready().version, server.ready().language), ("bank", 1, false));
    let mut http = Http::connect(server.ready().address);
    assert_eq!(http.get("/v2").json()["name"], "modelyard");
    assert_eq!(http.get("/v2/health/live").json(), json!({ "live": true }));
    assert_eq!(http.get("/v2/health/ready").json()["ready"], true);
    assert_eq!(http.get("/health/live").status, 200);
    assert_eq!(http.get("/health/ready").json()["version"], "1");
    assert_eq!(http.get("/v2/models/bank/ready").json(), json!({ "name": "bank", "ready": true }));
    let metadata = http.get("/v2/models/bank").json();
    assert_eq!(metadata, http.get("/v2/models/bank/versions/1").json());
    assert_eq!(metadata["versions"], json!(["1"]));
    let names = |key: &str| -> Vec<(String, String)> {
        let tensors = metadata[key].as_array().unwrap().iter();
        tensors.map(|t| (t["name"].as_str().unwrap().into(), t["datatype"].as_str().unwrap().into())).collect()
    };
    let pair = |name: &str, datatype: &str| (name.to_owned(), datatype.to_owned());
    assert_eq!(
        names("inputs"),
        [("message", "BYTES"), ("age", "FP64"), ("plan", "BYTES"), ("vip", "BOOL")].map(|(a, b)| pair(a, b))
    );
    assert_eq!(
        names("outputs"),
        [
            ("intent", "BYTES"),
            ("intent.probabilities", "FP32"),
            ("churn", "BYTES"),
            ("churn.probability", "FP32"),
            ("spend", "FP32")
        ]
        .map(|(a, b)| pair(a, b))
    );
    assert_eq!(metadata["outputs"][1]["shape"], json!([-1, 3]));
    assert_eq!(metadata["outputs"][1]["parameters"]["labels"], json!(["intent 00", "intent 01", "intent 02"]));
    for path in
        ["/v2/models/other", "/v2/models/bank/versions/2", "/v2/models/bank/versions/x/ready", "/v2/models/other/infer"]
    {
        let method = if path.ends_with("infer") { "POST" } else { "GET" };
        let answer = http.request(method, path, &[], b"");
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.error().contains("served"), "{path}");
    }
}

#[test]
fn the_answer_has_the_shapes_of_the_protocol() {
    let (_folder, server) = serve(config());
    let mut http = Http::connect(server.ready().address);
    let mut request = body(&[]);
    request["id"] = json!("my id ☕");
    let answer = http.post(INFER, &request);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(
        (&answer["model_name"], &answer["model_version"], &answer["id"]),
        (&json!("bank"), &json!("1"), &json!("my id ☕"))
    );
    let outputs = answer["outputs"].as_array().unwrap();
    let shapes: Vec<_> = outputs.iter().map(|output| output["shape"].clone()).collect();
    assert_eq!(shapes, [json!([1]), json!([1, 3]), json!([1]), json!([1]), json!([1])]);
    let sum: f64 = outputs[1]["data"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5);
    let leaves = outputs[3]["data"][0].as_f64().unwrap() >= 0.5;
    assert_eq!(outputs[2]["data"][0], if leaves { "leaves" } else { "stays" });

    // Some outputs, in the order that was asked for.
    request["outputs"] = json!([{ "name": "spend" }, { "name": "intent", "parameters": { "binary_data": false } }]);
    let some = http.post("/v2/models/bank/versions/1/infer", &request).json();
    assert_eq!(some["outputs"], json!([outputs[4], outputs[0]]));
}

#[test]
fn values_come_in_every_form_the_protocol_allows() {
    let (_folder, server) = serve(config());
    let mut http = Http::connect(server.ready().address);
    let mut outputs = |replace: &[(&str, Json)]| {
        let answer = http.post(INFER, &body(replace));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["outputs"].clone()
    };
    let plain = outputs(&[]);
    assert_eq!(plain, outputs(&[("age", json!({ "datatype": "FP32" }))]));
    assert_eq!(plain, outputs(&[("age", json!({ "shape": [1, 1], "data": [[33.5]] }))]));
    assert_eq!(plain, outputs(&[("message", json!({ "shape": [1, 1] }))]));
    let whole = outputs(&[("age", json!({ "data": [33] }))]);
    assert_eq!(whole, outputs(&[("age", json!({ "data": [33], "datatype": "INT64" }))]));
    assert_eq!(whole, outputs(&[("age", json!({ "data": [33.0], "datatype": "UINT8" }))]));
    assert_ne!(whole, plain);
    for name in ["message", "age", "plan", "vip"] {
        assert_ne!(plain, outputs(&[(name, json!({ "data": [null] }))]), "{name}");
    }
}

#[test]
fn wrong_requests_are_told_what_is_wrong() {
    let (_folder, server) = serve(config());
    let mut http = Http::connect(server.ready().address);
    let cases = [
        (body(&[("age", json!({ "data": ["x"] }))]), "row 0 of the input \"age\" is a text, which is not FP64"),
        (body(&[("age", json!({ "data": [true] }))]), "is a truth value"),
        (body(&[("age", json!({ "data": [1.5], "datatype": "INT32" }))]), "is a number, which is not INT32"),
        (body(&[("age", json!({ "datatype": "BYTES" }))]), "has datatype \"BYTES\"; it must be FP64"),
        (body(&[("age", json!({ "shape": [2], "data": [1, 2] }))]), "rows"),
        (body(&[("age", json!({ "shape": [2] }))]), "rows"),
        (body(&[("age", json!({ "data": [1, 2] }))]), "has 2 values, and its shape says 1"),
        (body(&[("age", json!({ "shape": [] }))]), "it must be [N] or [N, 1]"),
        (body(&[("age", json!({ "shape": [1, 2] }))]), "it must be [N] or [N, 1]"),
        (body(&[("age", json!({ "shape": [-1] }))]), "not an inference request"),
        (body(&[("age", json!({ "data": [[33.5]] }))]), "its shape is not [N, 1]"),
        (body(&[("age", json!({ "data": [[1, 2]], "shape": [1, 1] }))]), "exactly one value"),
        (body(&[("age", json!({ "data": [[[1]]], "shape": [1, 1] }))]), "exactly one value"),
        (body(&[("age", json!({ "data": [{}] }))]), "not an inference request"),
        (body(&[("age", json!({ "data": null }))]), "has no data"),
        (
            body(&[("age", json!({ "name": "size" }))]),
            "the model has no input \"size\"; it has message, age, plan, vip",
        ),
        (body(&[("age", json!({ "name": "plan" }))]), "given twice"),
        (body(&[("age", json!({ "parameters": { "binary_data_size": 8 } }))]), "binary data"),
        (body(&[("vip", json!({ "data": [1] }))]), "is a number, which is not BOOL"),
        (body(&[("plan", json!({ "data": [1] }))]), "is a number, which is not BYTES"),
        (json!({ "inputs": [] }), "no rows"),
        (json!({ "inputs": [body(&[])["inputs"][0]] }), "the input \"age\" is absent"),
        (
            json!({ "inputs": body(&[])["inputs"], "outputs": [{ "name": "x" }] }),
            "the model has no output \"x\"; it has intent,",
        ),
        (json!({ "inputs": body(&[])["inputs"], "input": [] }), "unknown field `input`"),
        (json!({}), "missing field `inputs`"),
        (json!([]), "not an inference request"),
    ];
    for (request, message) in cases {
        let answer = http.post(INFER, &request);
        assert_eq!(answer.status, 400, "{request}: {}", answer.text());
        assert!(answer.error().contains(message), "{request}: {} instead of {message}", answer.error());
    }
    // The connection and the server are as good as before.
    assert_eq!(http.post(INFER, &body(&[])).status, 200);
}

#[test]
fn a_model_of_columns_does_not_complete() {
    let (_folder, server) = serve(config());
    let mut http = Http::connect(server.ready().address);
    let answer = http.post("/v1/completions", &json!({ "model": "bank", "prompt": "x" }));
    assert_eq!(answer.status, 400);
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("/v2/models/bank/infer"));
    assert_eq!(http.get("/v1/models").json()["data"][0]["id"], "bank");
}

#[test]
fn requests_and_rows_are_counted() {
    let (_folder, server) = serve(config());
    let mut http = Http::connect(server.ready().address);
    for _ in 0..3 {
        http.post(INFER, &body(&[]));
    }
    http.post(INFER, &json!({}));
    http.get("/no/such/route");
    let metrics = http.get("/metrics");
    assert!(metrics.has_header("content-type: text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "modelyard_requests_total{route=\"/v2/models/{model}/infer\",status=\"200\"} 3",
        "modelyard_requests_total{route=\"/v2/models/{model}/infer\",status=\"400\"} 1",
        "modelyard_requests_total{route=\"other\",status=\"404\"} 1",
        "modelyard_request_seconds_count{route=\"/v2/models/{model}/infer\"} 4",
        "modelyard_rows_total{model=\"bank\",version=\"1\"} 3",
        "modelyard_model_version{model=\"bank\"} 1",
        "modelyard_requests_in_flight 1",
        "modelyard_connections 1",
    ] {
        assert!(metrics.text().lines().any(|one| one == line), "{line} is not in\n{}", metrics.text());
    }
    // A packaged model has no store, so the server itself holds the sketch.
    let traffic = http.get("/traffic").json();
    assert_eq!(traffic["pending"]["requests"], 3, "{traffic}");
}

#[test]
fn a_model_that_cannot_be_served_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let source = || Arc::new(FolderSource::new(folder.path(), 1));
    let error = serve::start(config(), vec![source()]).unwrap_err();
    assert_eq!(error.fault(), Fault::User);
    let mut clash = description(64, 3);
    clash.columns.outputs[2].name = "churn.probability".into();
    write_predict(folder.path(), clash, 1);
    let error = serve::start(config(), vec![source()]).unwrap_err();
    assert!(error.to_string().contains("would be called \"churn.probability\""), "{error}");
    write_predict(folder.path(), description(64, 3), 1);
    std::fs::remove_file(folder.path().join("baseline.json")).unwrap();
    assert!(serve::start(config(), vec![source()]).unwrap_err().to_string().contains("baseline.json"));
}
