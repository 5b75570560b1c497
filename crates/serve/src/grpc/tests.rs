use std::net::SocketAddr;

use axum::body::Bytes;
use http_body_util::BodyExt as _;
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;

use super::messages::InferRequestedOutputTensor;
use super::*;
use crate::client::Client;
use crate::config::ServerConfig;
use crate::server::{Running, start};
use crate::slot::tests::folders;
use crate::source::{FolderSource, Source as _};

const ROWS: usize = 3;

fn serve(config: ServerConfig) -> (tempfile::TempDir, Running) {
    let (root, source) = folders();
    let folder = source.folder(&source.wanted().unwrap()).unwrap();
    (root, start(config, vec![Arc::new(FolderSource::new(&folder, 1))]).unwrap())
}

fn config() -> ServerConfig {
    ServerConfig::new(([127, 0, 0, 1], 0).into())
}

/// One call over a connection of its own: the message, or the code and the message of the error.
async fn call<A: prost::Message + Default>(
    address: SocketAddr,
    call: &str,
    key: Option<&str>,
    message: impl prost::Message,
) -> Result<A, (i32, String)> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut body = vec![0];
    body.extend(u32::try_from(message.encoded_len()).unwrap().to_be_bytes());
    body.extend(message.encode_to_vec());
    let mut request = hyper::Request::post(format!("http://{address}/inference.GRPCInferenceService/{call}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let response = sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    let head = response.headers().clone();
    let collected = response.into_body().collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or(head);
    let text = |name: &str| trailers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    match text("grpc-status").parse().unwrap() {
        0 => Ok(A::decode(&collected.to_bytes()[5..]).unwrap()),
        code => Err((code, text("grpc-message").replace("%20", " ").replace("%22", "\""))),
    }
}

/// The same rows in three forms: as JSON, as raw bytes, and as typed contents.
fn requests() -> (Json, ModelInferRequest, ModelInferRequest) {
    let texts = ["my card", "转账 was not charged", ""];
    let plans = ["gold", "basic", "never seen"];
    let ages = [33.5, -1.0, 1e6];
    let vips = [true, false, true];
    let tensor = |name: &str, datatype: &str, data: Json| json!({ "name": name, "shape": [ROWS], "datatype": datatype, "data": data });
    let json = json!({ "id": "seven", "inputs": [
        tensor("message", "BYTES", json!(texts)),
        tensor("age", "FP64", json!(ages)),
        tensor("plan", "BYTES", json!(plans)),
        tensor("vip", "BOOL", json!(vips)),
    ]});
    let bytes = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
    let typed = |name: &str, datatype: &str, contents: InferTensorContents| InferTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: vec![ROWS as i64],
        contents: Some(contents),
        ..InferTensor::default()
    };
    let none = InferTensorContents::default;
    let typed = ModelInferRequest {
        model_name: "bank".to_owned(),
        id: "seven".to_owned(),
        inputs: vec![
            typed("message", "BYTES", InferTensorContents { bytes_contents: bytes(&texts), ..none() }),
            typed("age", "FP64", InferTensorContents { fp64_contents: ages.to_vec(), ..none() }),
            typed("plan", "BYTES", InferTensorContents { bytes_contents: bytes(&plans), ..none() }),
            typed("vip", "BOOL", InferTensorContents { bool_contents: vips.to_vec(), ..none() }),
        ],
        ..ModelInferRequest::default()
    };
    let mut raw = typed.clone();
    raw.inputs.iter_mut().for_each(|input| input.contents = None);
    raw.raw_input_contents = vec![
        binary::encode(&Data::Text(texts.to_vec())),
        ages.iter().flat_map(|age: &f64| age.to_le_bytes()).collect(),
        binary::encode(&Data::Text(plans.to_vec())),
        vips.iter().map(|vip| u8::from(*vip)).collect(),
    ];
    (json, raw, typed)
}

/// The JSON that stands for an answer, with numbers as the 32 bits that they are.
fn as_json(response: &ModelInferResponse) -> Json {
    let outputs = response.outputs.iter().enumerate().map(|(index, output)| {
        let raw = response.raw_output_contents.get(index);
        let data: Json = match (output.datatype.as_str(), raw, &output.contents) {
            ("BYTES", Some(raw), None) => {
                let cells = binary::decode("", "BYTES", raw, 100).unwrap().cells;
                cells
                    .iter()
                    .map(|cell| if let Cell::Text(text) = cell { json!(text) } else { panic!("{cell:?}") })
                    .collect()
            }
            ("FP32", Some(raw), None) => {
                raw.as_chunks().0.iter().map(|bytes| json!(f32::from_le_bytes(*bytes).to_bits())).collect()
            }
            ("BYTES", None, Some(contents)) => {
                contents.bytes_contents.iter().map(|text| json!(std::str::from_utf8(text).unwrap())).collect()
            }
            ("FP32", None, Some(contents)) => {
                contents.fp32_contents.iter().map(|number| json!(number.to_bits())).collect()
            }
            _ => panic!("{output:?}"),
        };
        json!({ "name": output.name, "datatype": output.datatype, "shape": output.shape, "data": data })
    });
    outputs.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_the_same_over_rest_and_grpc_bit_for_bit() {
    let (_root, server) = serve(config());
    let address = server.ready().address;
    let (rest, raw, typed) = requests();
    let mut client = Client::connect(address, None).await.unwrap();
    let body = rest.to_string().into_bytes();
    let mut expected: Json = client.json("POST", "/v2/models/bank/infer", Some(body)).await.unwrap();
    for output in expected["outputs"].as_array_mut().unwrap() {
        output.as_object_mut().unwrap().remove("parameters");
        if output["datatype"] == "FP32" {
            let bits = output["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|number| json!((number.as_f64().unwrap() as f32).to_bits()));
            output["data"] = bits.collect();
        }
    }
    for (request, is_raw) in [(raw, true), (typed, false)] {
        let answer: ModelInferResponse = call(address, "ModelInfer", None, request.clone()).await.unwrap();
        assert_eq!(
            (answer.model_name.as_str(), answer.model_version.as_str(), answer.id.as_str()),
            ("bank", "1", "seven")
        );
        assert_eq!(!answer.raw_output_contents.is_empty(), is_raw);
        assert_eq!(as_json(&answer), expected["outputs"]);
        let labels = &answer.outputs[1].parameters["labels"].parameter_choice;
        assert_eq!(*labels, Some(ParameterChoice::Text(r#"["intent 00","intent 01","intent 02"]"#.to_owned())));
        // Some outputs, in the order that was asked for.
        let wanted = |name: &str| InferRequestedOutputTensor { name: name.to_owned(), ..Default::default() };
        let some = ModelInferRequest { outputs: vec![wanted("spend"), wanted("intent")], ..request };
        let answer: ModelInferResponse = call(address, "ModelInfer", None, some).await.unwrap();
        assert_eq!(as_json(&answer), json!([expected["outputs"][4], expected["outputs"][0]]));
    }
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_and_its_model_describe_themselves() {
    let (_root, server) = serve(config());
    let address = server.ready().address;
    let live: ServerLiveResponse = call(address, "ServerLive", None, ServerLiveRequest {}).await.unwrap();
    let ready: ServerReadyResponse = call(address, "ServerReady", None, ServerReadyRequest {}).await.unwrap();
    assert!(live.live && ready.ready);
    let metadata: ServerMetadataResponse =
        call(address, "ServerMetadata", None, ServerMetadataRequest {}).await.unwrap();
    assert_eq!((metadata.name.as_str(), metadata.extensions), ("modelyard", vec!["binary_tensor_data".to_owned()]));
    let ask = ModelMetadataRequest { name: "bank".to_owned(), version: "1".to_owned() };
    let model: ModelMetadataResponse = call(address, "ModelMetadata", None, ask).await.unwrap();
    assert_eq!((model.name.as_str(), model.versions), ("bank", vec!["1".to_owned()]));
    let described = |tensor: &TensorMetadata| (tensor.name.clone(), tensor.datatype.clone(), tensor.shape.clone());
    assert_eq!(described(&model.inputs[1]), ("age".to_owned(), "FP64".to_owned(), vec![-1]));
    assert_eq!(described(&model.outputs[1]), ("intent.probabilities".to_owned(), "FP32".to_owned(), vec![-1, 3]));
    let ask = |name: &str, version: &str| ModelReadyRequest { name: name.to_owned(), version: version.to_owned() };
    let ready: ModelReadyResponse = call(address, "ModelReady", None, ask("bank", "")).await.unwrap();
    assert!(ready.ready);
    for (name, version) in [("other", ""), ("bank", "2")] {
        let ready: ModelReadyResponse = call(address, "ModelReady", None, ask(name, version)).await.unwrap();
        assert!(!ready.ready);
        let ask = ModelMetadataRequest { name: name.to_owned(), version: version.to_owned() };
        let error = call::<ModelMetadataResponse>(address, "ModelMetadata", None, ask).await.unwrap_err();
        assert!(error.0 == Code::NotFound as i32 && error.1.contains("served"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_calls_are_told_what_is_wrong() {
    let limits = crate::config::Limits { body_bytes_max: 10_000, ..crate::config::Limits::default() };
    let (_root, server) = serve(ServerConfig { limits, ..config() });
    let address = server.ready().address;
    let (_, raw, typed) = requests();
    let with = |base: &ModelInferRequest, change: &dyn Fn(&mut ModelInferRequest)| {
        let mut request = base.clone();
        change(&mut request);
        request
    };
    let cases = [
        (with(&raw, &|r| r.model_name = "other".into()), Code::NotFound, "\"other\" is not served"),
        (with(&raw, &|r| drop(r.raw_input_contents.pop())), Code::InvalidArgument, "4 inputs, and 3 raw"),
        (with(&raw, &|r| r.raw_input_contents[1].truncate(9)), Code::InvalidArgument, "no whole FP64"),
        (with(&raw, &|r| r.inputs[1].shape = vec![-1]), Code::InvalidArgument, "negative"),
        (
            with(&raw, &|r| r.inputs[1].contents = Some(InferTensorContents::default())),
            Code::InvalidArgument,
            "raw contents too",
        ),
        (with(&raw, &|r| r.raw_input_contents.clear()), Code::InvalidArgument, "has no data"),
        (with(&typed, &|r| r.inputs[1].datatype = "FP16".into()), Code::InvalidArgument, "only come as raw"),
        (with(&typed, &|r| r.inputs[1].datatype = "INT64".into()), Code::InvalidArgument, "has 0 values"),
        (with(&typed, &|r| drop(r.inputs.pop())), Code::InvalidArgument, "\"vip\" is absent"),
        (with(&typed, &|r| r.id = "x".repeat(10_001)), Code::ResourceExhausted, "10000 bytes"),
    ];
    for (request, code, message) in cases {
        let error = call::<ModelInferResponse>(address, "ModelInfer", None, request).await.unwrap_err();
        assert!(error.0 == code as i32 && error.1.contains(message), "{message}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_count_over_grpc_too() {
    let key = "0123456789abcdef";
    let (_root, server) = serve(ServerConfig { key: Some(key.to_owned()), ..config() });
    let address = server.ready().address;
    let live: ServerLiveResponse = call(address, "ServerLive", None, ServerLiveRequest {}).await.unwrap();
    assert!(live.live);
    for wrong in [None, Some("0123456789abcdeg")] {
        let error = call::<ModelInferResponse>(address, "ModelInfer", wrong, requests().1).await.unwrap_err();
        assert_eq!(error.0, Code::Unauthenticated as i32, "{error:?}");
    }
    assert!(call::<ModelInferResponse>(address, "ModelInfer", Some(key), requests().1).await.is_ok());
}
