//! Tensors as bytes: over REST by hand, and over REST and gRPC through Triton's own client, which is not
//! on every machine, so that this runs only with `YARD_TEST_FULL=1`.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::path::Path;
use std::process::Command;

use base::Value;
use serde_json::{Value as Json, json};
use serve::Running;

use crate::clients::python;
use crate::http::{Answer, Http};
use crate::models::{description, rows, write_predict};
use crate::{config, start};

const INFER: &str = "/v2/models/bank/infer";

fn serve() -> (tempfile::TempDir, Running) {
    let folder = tempfile::tempdir().unwrap();
    write_predict(folder.path(), description(64, 3), 7);
    let server = start(folder.path(), config());
    (folder, server)
}

/// JSON of a length that the header tells, and bytes behind it.
fn post(http: &mut Http, json: &Json, bytes: &[u8]) -> Answer {
    let json = json.to_string();
    let length = format!("inference-header-content-length: {}", json.len());
    let body = [json.as_bytes(), bytes].concat();
    http.request("POST", INFER, &[&length, "content-type: application/octet-stream"], &body)
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

#[test]
fn bytes_and_json_may_stand_in_one_request() {
    let (_folder, server) = serve();
    let mut http = Http::connect(server.ready().address);
    let tensor = |name: &str, datatype: &str, rest: Json| {
        let mut tensor = json!({ "name": name, "shape": [2], "datatype": datatype });
        tensor.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        tensor
    };
    let data = |values: Json| json!({ "data": values });
    let size = |size: usize| json!({ "parameters": { "binary_data_size": size } });
    let plain = json!({ "inputs": [
        tensor("message", "BYTES", data(json!(["my card", "茶"]))),
        tensor("age", "FP64", data(json!([33.5, null]))),
        tensor("plan", "BYTES", data(json!(["gold", "basic"]))),
        tensor("vip", "BOOL", data(json!([true, false]))),
    ]});
    let expected = http.post(INFER, &plain).json()["outputs"].clone();
    let messages = [text("my card"), text("茶")].concat();
    let ages: Vec<u8> = [33.5_f32, f32::NAN].iter().flat_map(|age| age.to_le_bytes()).collect();
    let mixed = json!({ "inputs": [
        tensor("message", "BYTES", size(messages.len())),
        tensor("age", "FP32", size(8)),
        tensor("plan", "BYTES", data(json!(["gold", "basic"]))),
        tensor("vip", "BOOL", size(2)),
    ]});
    let bytes = [&messages[..], &ages, &[1, 0]].concat();
    let answer = post(&mut http, &mixed, &bytes);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["outputs"], expected);

    // Outputs as bytes: all but one.
    let mut request = mixed.clone();
    request["parameters"] = json!({ "binary_data_output": true });
    let wanted = |name: &str, parameters: Json| json!({ "name": name, "parameters": parameters });
    request["outputs"] = json!([
        wanted("spend", json!({})),
        wanted("churn", json!({ "binary_data": false })),
        wanted("intent", json!({}))
    ]);
    let answer = post(&mut http, &request, &bytes);
    let length = answer.head.lines().find_map(|line| line.strip_prefix("inference-header-content-length: ")).unwrap();
    assert!(answer.has_header("content-type: application/octet-stream"));
    let (head, rest) = answer.body.split_at(length.trim().parse().unwrap());
    let head: Json = serde_json::from_slice(head).unwrap();
    assert_eq!(head["outputs"][0]["parameters"], json!({ "binary_data_size": 8 }));
    assert!(head["outputs"][0]["data"].is_null());
    assert_eq!(head["outputs"][1], expected[2]);
    let spend: Vec<f32> = rest[..8].as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert_eq!(
        spend,
        expected[4]["data"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap() as f32).collect::<Vec<_>>()
    );
    let labels: Vec<u8> =
        expected[0]["data"].as_array().unwrap().iter().flat_map(|label| text(label.as_str().unwrap())).collect();
    assert_eq!(rest[8..], labels);

    for (request, bytes, message) in [
        (&mixed, &bytes[..bytes.len() - 1], "announces 2 bytes of binary data, and 1 are left"),
        (&mixed, &[&bytes[..], b"x"].concat()[..], "1 bytes of binary data belong to no input"),
        (&plain, b"x", "belong to no input"),
    ] {
        let answer = post(&mut http, request, bytes);
        assert!(answer.status == 400 && answer.error().contains(message), "{}", answer.text());
    }
    let answer = http.request("POST", INFER, &["inference-header-content-length: x"], b"{}");
    assert!(answer.status == 400 && answer.error().contains("no whole number"), "{}", answer.text());
    // Bytes without the header are what they always were: no JSON.
    assert_eq!(http.request("POST", INFER, &["content-type: application/octet-stream"], b"{}").status, 415);
}

#[test]
fn tritons_own_client_agrees() {
    if std::env::var_os("YARD_TEST_FULL").is_none_or(|value| value != "1") {
        eprintln!("skipped: needs YARD_TEST_FULL=1 and Python");
        return;
    }
    let (folder, server) = serve();
    let address = server.ready().address;
    let whole = rows(400, 5).into_iter().filter(|row| !row.contains(&Value::Missing));
    let mut columns = [const { Vec::new() }; 4];
    for row in whole {
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(match value {
                Value::Text(text) => json!(text),
                Value::Number(number) => json!(number),
                Value::Binary(binary) => json!(binary),
                Value::Missing => unreachable!(),
            });
        }
    }
    let names = ["message", "age", "plan", "vip"].into_iter().zip(["BYTES", "FP64", "BYTES", "BOOL"]);
    let inputs: Vec<Json> = names
        .clone()
        .zip(&columns)
        .map(|((name, datatype), data)| json!({ "name": name, "datatype": datatype, "shape": [data.len()], "data": data }))
        .collect();
    let answer = Http::connect(address).post(INFER, &json!({ "inputs": inputs }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let rows: serde_json::Map<String, Json> =
        names.zip(columns).map(|((name, _), column)| (name.to_owned(), Json::from(column))).collect();
    let path = folder.path().join("answers.json");
    std::fs::write(&path, json!({ "rows": rows, "outputs": answer.json()["outputs"] }).to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/triton.py");
    let output =
        Command::new(python("triton", &["tritonclient[http,grpc]"], "import tritonclient.grpc, tritonclient.http"))
            .arg(script)
            .arg(address.to_string())
            .arg(&path)
            .output()
            .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("tritonclient agrees"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
