//! The Open Inference Protocol, version 2, over gRPC, on the same port as everything else: the six calls
//! of `inference.GRPCInferenceService`. A request becomes the same rows as over REST, and an answer is made
//! of the same tensors.
//!
//! Tensors come and go as typed contents or as raw bytes; an answer is raw where its request was. The
//! labels that probabilities belong to are a JSON list in the output's parameter `labels`.

mod messages;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use http_body_util::Full;
use infer::description::PredictDescription;
use serde_json::Value as Json;
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use self::messages::{
    InferParameter, InferTensor, InferTensorContents, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
    ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse, ParameterChoice, ServerLiveRequest,
    ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse,
    TensorMetadata,
};
use crate::access::Charge;
use crate::app::App;
use crate::cells::{Cell, Cells};
use crate::oip::{self, Asked, Data, ResponseOutput, Tensor, WantedOutput, binary};
use crate::refusal::Refusal;
use crate::routes::{find, metadata_of, predict_rows};

type Shared = State<Arc<App>>;

/// The calls, as routes.
pub(crate) fn routes() -> Router<Arc<App>> {
    let path = |call: &str| format!("/inference.GRPCInferenceService/{call}");
    Router::new()
        .route(&path("ServerLive"), post(server_live))
        .route(&path("ServerReady"), post(server_ready))
        .route(&path("ServerMetadata"), post(server_metadata))
        .route(&path("ModelReady"), post(model_ready))
        .route(&path("ModelMetadata"), post(model_metadata))
        .route(&path("ModelInfer"), post(model_infer))
}

async fn server_live(State(app): Shared, request: Request) -> Response {
    unary(&app, request, |_: ServerLiveRequest| async { Ok(ServerLiveResponse { live: true }) }).await
}

async fn server_ready(State(app): Shared, request: Request) -> Response {
    let ready = !app.draining.load(Ordering::Relaxed);
    unary(&app, request, |_: ServerReadyRequest| async move { Ok(ServerReadyResponse { ready }) }).await
}

async fn server_metadata(State(app): Shared, request: Request) -> Response {
    let extensions = oip::EXTENSIONS.map(str::to_owned).to_vec();
    let metadata = ServerMetadataResponse {
        name: "modelyard".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions,
    };
    unary(&app, request, |_: ServerMetadataRequest| async { Ok(metadata.clone()) }).await
}

async fn model_ready(State(app): Shared, request: Request) -> Response {
    unary(&app, request, |asked: ModelReadyRequest| {
        // One that is not served is not ready, which is no error here: clients ask in order to find out.
        let app = app.clone();
        async move { Ok(ModelReadyResponse { ready: find(&app, &asked.name, version(&asked.version)).await.is_ok() }) }
    })
    .await
}

async fn model_metadata(State(app): Shared, request: Request) -> Response {
    unary(&app, request, |asked: ModelMetadataRequest| {
        let app = app.clone();
        async move {
            let loaded = find(&app, &asked.name, version(&asked.version)).await?.loaded;
            let metadata = metadata_of(&loaded);
            Ok(ModelMetadataResponse {
                name: loaded.name.clone(),
                versions: vec![loaded.version.to_string()],
                platform: "modelyard".to_owned(),
                inputs: tensor_metadata(&metadata["inputs"]),
                outputs: tensor_metadata(&metadata["outputs"]),
            })
        }
    })
    .await
}

async fn model_infer(State(app): Shared, request: Request) -> Response {
    let charge = Charge::of(&request);
    unary(&app, request, |asked: ModelInferRequest| async {
        let _permit = app.admit()?;
        let found = find(&app, &asked.model_name, version(&asked.model_version)).await?;
        charge.answered_by(&found.loaded);
        let rows_max = app.config.limits.rows_max;
        let raw = !asked.raw_input_contents.is_empty();
        let read = move |description: &PredictDescription| read(description, &asked, rows_max);
        predict_rows(&app, found, read, move |loaded, asked, outputs| Ok(write(loaded, asked, outputs, raw))).await
    })
    .await
}

fn version(version: &str) -> Option<&str> {
    (!version.is_empty()).then_some(version)
}

fn tensor_metadata(tensors: &Json) -> Vec<TensorMetadata> {
    let text = |tensor: &Json, key: &str| tensor[key].as_str().unwrap_or("").to_owned();
    let tensors = tensors.as_array().into_iter().flatten();
    tensors
        .map(|tensor| TensorMetadata {
            name: text(tensor, "name"),
            datatype: text(tensor, "datatype"),
            shape: tensor["shape"].as_array().into_iter().flatten().filter_map(Json::as_i64).collect(),
        })
        .collect()
}

fn read(description: &PredictDescription, request: &ModelInferRequest, rows_max: usize) -> Result<Asked, Refusal> {
    let raw = &request.raw_input_contents;
    if !raw.is_empty() && raw.len() != request.inputs.len() {
        let (found, inputs) = (raw.len(), request.inputs.len());
        return Err(Refusal::bad(format!("there are {inputs} inputs, and {found} raw contents")));
    }
    let mut tensors = Vec::with_capacity(request.inputs.len());
    for (index, tensor) in request.inputs.iter().enumerate() {
        let InferTensor { name, datatype, shape, parameters, contents } = tensor;
        if parameters.contains_key("shared_memory_region") {
            let message =
                format!("the input {name:?} lies in shared memory, an extension that this server does not have");
            return Err(Refusal::bad(message));
        }
        let data = match (raw.get(index), contents) {
            (Some(bytes), None) => binary::decode(name, datatype, bytes, rows_max)?,
            (None, Some(contents)) => Cells { cells: cells(name, datatype, contents)?, nested: false },
            (Some(_), Some(_)) => {
                return Err(Refusal::bad(format!("the input {name:?} has contents, and raw contents too")));
            }
            (None, None) => return Err(Refusal::bad(format!("the input {name:?} has no data"))),
        };
        let shape: Result<Vec<u64>, _> = shape.iter().map(|size| u64::try_from(*size)).collect();
        let shape =
            shape.map_err(|_| Refusal::bad(format!("the shape of the input {name:?} has a negative number")))?;
        tensors.push(Tensor { name: name.clone(), shape, datatype: datatype.clone(), data });
    }
    let wanted = request.outputs.iter().map(|output| WantedOutput { name: output.name.clone(), binary: false });
    let wanted: Vec<WantedOutput> = wanted.collect();
    let id = (!request.id.is_empty()).then(|| request.id.clone());
    oip::asked(description, id, tensors, (!wanted.is_empty()).then_some(wanted), false, rows_max)
}

/// The values of typed contents.
fn cells(name: &str, datatype: &str, contents: &InferTensorContents) -> Result<Vec<Cell>, Refusal> {
    let numbers = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(binary::number).collect();
    Ok(match datatype {
        "BYTES" => {
            let texts = contents.bytes_contents.iter().enumerate();
            texts.map(|(row, text)| binary::text_cell(name, row, text)).collect::<Result<_, _>>()?
        }
        "BOOL" => contents.bool_contents.iter().copied().map(Cell::Bool).collect(),
        "FP64" => numbers(&mut contents.fp64_contents.iter().copied()),
        "FP32" => numbers(&mut contents.fp32_contents.iter().copied().map(f64::from)),
        "INT8" | "INT16" | "INT32" => numbers(&mut contents.int_contents.iter().copied().map(f64::from)),
        "UINT8" | "UINT16" | "UINT32" => numbers(&mut contents.uint_contents.iter().copied().map(f64::from)),
        "INT64" => numbers(&mut contents.int64_contents.iter().map(|number| *number as f64)),
        "UINT64" => numbers(&mut contents.uint64_contents.iter().map(|number| *number as f64)),
        _ => {
            let message = format!("the input {name:?} has datatype {datatype:?}, which can only come as raw contents");
            return Err(Refusal::bad(message));
        }
    })
}

fn write(
    (name, version): (&str, u32),
    asked: &Asked,
    outputs: Vec<ResponseOutput<'_>>,
    raw: bool,
) -> ModelInferResponse {
    let mut response = ModelInferResponse {
        model_name: name.to_owned(),
        model_version: version.to_string(),
        id: asked.id.clone().unwrap_or_default(),
        ..ModelInferResponse::default()
    };
    for output in outputs {
        let mut parameters = HashMap::new();
        if let Some(labels) = output.parameters.labels {
            let labels = ParameterChoice::Text(Json::from(labels).to_string());
            parameters.insert("labels".to_owned(), InferParameter { parameter_choice: Some(labels) });
        }
        let contents = match output.data {
            Some(data) if raw => {
                response.raw_output_contents.push(binary::encode(&data));
                None
            }
            data => data.map(|data| contents(&data)),
        };
        // Rows and labels are counted in far fewer than 63 bits.
        let shape = output.shape.iter().map(|size| *size as i64).collect();
        let (name, datatype) = (output.name, output.datatype.to_owned());
        response.outputs.push(InferTensor { name, datatype, shape, parameters, contents });
    }
    response
}

fn contents(data: &Data<'_>) -> InferTensorContents {
    match data {
        Data::Text(texts) => InferTensorContents {
            bytes_contents: texts.iter().map(|text| text.as_bytes().to_vec()).collect(),
            ..InferTensorContents::default()
        },
        Data::Numbers(numbers) => InferTensorContents {
            fp32_contents: numbers.iter().map(|number| number.0).collect(),
            ..InferTensorContents::default()
        },
    }
}

/// Answers one call: reads its message within the limits, and writes the answer or why there is none.
async fn unary<Q, A, F>(app: &App, request: Request, answer: impl FnMut(Q) -> F) -> Response
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Send + 'static,
    F: Future<Output = Result<A, Refusal>>,
{
    let parts = request.headers().clone();
    let body = match app.collect(request).await {
        Ok(body) => body,
        Err(refusal) => return status(&refusal).into_http(),
    };
    let mut request = Request::new(Full::new(body));
    *request.headers_mut() = parts;
    let mut grpc = Grpc::new(ProstCodec::<A, Q>::default())
        .apply_max_message_size_config(Some(app.config.limits.body_bytes_max), None);
    grpc.unary(Unary(answer), request).await.map(Body::new)
}

/// A call's answer, as tonic wants to ask for it.
struct Unary<T>(T);

impl<Q, A, F, T> UnaryService<Q> for Unary<T>
where
    T: FnMut(Q) -> F,
    F: Future<Output = Result<A, Refusal>>,
{
    type Response = A;
    type Future = Answer<F>;

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        Answer(Box::pin((self.0)(request.into_inner())))
    }
}

/// An answer under way.
struct Answer<F>(Pin<Box<F>>);

impl<A, F: Future<Output = Result<A, Refusal>>> Future for Answer<F> {
    type Output = Result<tonic::Response<A>, Status>;

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        self.0.as_mut().poll(context).map(|answer| answer.map(tonic::Response::new).map_err(|refusal| status(&refusal)))
    }
}

/// A refusal in gRPC's words.
fn status(refusal: &Refusal) -> Status {
    let code = match refusal.status {
        StatusCode::BAD_REQUEST => Code::InvalidArgument,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
        _ => Code::Internal,
    };
    Status::new(code, refusal.message.clone())
}

#[cfg(test)]
mod tests;
