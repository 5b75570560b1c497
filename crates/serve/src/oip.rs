//! The Open Inference Protocol, version 2, over REST: the types on the wire, how a request becomes rows,
//! and how predictions become tensors.
//!
//! | column | tensor in | tensors out |
//! |---|---|---|
//! | text | `NAME` BYTES `[-1]` | |
//! | category | `NAME` BYTES `[-1]` | `NAME` BYTES `[-1]`, `NAME.probabilities` FP32 `[-1, labels]` |
//! | binary | `NAME` BOOL `[-1]` | `NAME` BYTES `[-1]` (as in the source), `NAME.probability` FP32 `[-1]` of the second label |
//! | number | `NAME` FP64 `[-1]` | `NAME` FP32 `[-1]` |
//!
//! An encoder has `text` BYTES `[-1]` in, and `embedding` FP32 `[-1, width]` out.
//!
//! A shape `[N, 1]` is read like `[N]`. `null` stands for a missing value. Numbers may come as any
//! floating-point or integer datatype, and are taken as they are written. The labels that the
//! probabilities belong to stand in `parameters.labels`. An answer's FP32 is written with the fewest
//! digits that give the same 32 bits again, also to a client that reads doubles and rounds.
//!
//! With the header `Inference-Header-Content-Length` the body is JSON of that length and then bytes, as
//! [`binary`] reads and writes them: the protocol's extension for binary tensor data.

use axum::http::HeaderMap;
use base::{ColumnType, Value};
use infer::description::{
    Columns, Encoding, InputDescription, OutputDescription, PredictDescription, Target, TextCleaning,
};
use infer::predict::Prediction;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::cells::{Cell, Cells, commas};
use crate::refusal::Refusal;

pub(crate) mod binary;

/// A request for predictions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InferRequest {
    id: Option<String>,
    #[serde(default)]
    parameters: Option<serde_json::Map<String, Json>>,
    inputs: Vec<RequestInput>,
    outputs: Option<Vec<RequestOutput>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestInput {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(default)]
    parameters: Option<serde_json::Map<String, Json>>,
    #[serde(default)]
    data: Option<Cells>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestOutput {
    name: String,
    #[serde(default)]
    parameters: Option<serde_json::Map<String, Json>>,
}

/// A tensor that came in, whatever it came in as.
#[derive(Debug)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) datatype: String,
    pub(crate) data: Cells,
}

/// An output that is wanted.
#[derive(Debug, PartialEq)]
pub(crate) struct WantedOutput {
    pub(crate) name: String,
    /// Whether it is wanted as bytes.
    pub(crate) binary: bool,
}

/// A request that was understood.
#[derive(Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) id: Option<String>,
    pub(crate) rows: Vec<Vec<Value>>,
    outputs: Option<Vec<WantedOutput>>,
    /// Whether outputs that are not named are wanted as bytes.
    binary: bool,
}

/// An answer's body.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) body: Vec<u8>,
    /// How much of it is JSON, where bytes follow.
    pub(crate) header_length: Option<usize>,
}

#[derive(Debug, Serialize)]
struct InferResponse<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<ResponseOutput<'a>>,
}

/// A tensor that goes out.
#[derive(Debug, Serialize)]
pub(crate) struct ResponseOutput<'a> {
    pub(crate) name: String,
    pub(crate) datatype: &'static str,
    pub(crate) shape: Vec<usize>,
    #[serde(skip_serializing_if = "Parameters::is_empty")]
    pub(crate) parameters: Parameters<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Data<'a>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Parameters<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_data_size: Option<usize>,
}

impl Parameters<'_> {
    fn is_empty(&self) -> bool {
        self.labels.is_none() && self.binary_data_size.is_none()
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Data<'a> {
    Text(Vec<&'a str>),
    Numbers(Vec<Fp32>),
}

/// A number that a client reads back with the same 32 bits, although JSON's readers go through doubles.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fp32(pub(crate) f32);

/// The bits, without the sign, of the one number whose shortest digits (7.038531e-26) give a neighbour
/// when they are rounded to a double first and to 32 bits then: all 2^31 patterns were tried.
const TWICE_ROUNDED: u32 = 0x15AE_43FD;

impl Serialize for Fp32 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.to_bits() & 0x7FFF_FFFF == TWICE_ROUNDED {
            return serializer.serialize_f64(f64::from(self.0));
        }
        serializer.serialize_f32(self.0)
    }
}

/// The tensors of an encoder.
const TEXT: &str = "text";
const EMBEDDING: &str = "embedding";

/// The header that says how much of a body is JSON.
pub(crate) const HEADER_LENGTH: &str = "inference-header-content-length";

/// How much of a body is JSON, where its header says that bytes follow.
pub(crate) fn header_length(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(length) = headers.get(HEADER_LENGTH) else { return Ok(None) };
    match length.to_str().ok().and_then(|length| length.trim().parse().ok()) {
        Some(length) => Ok(Some(length)),
        None => Err(Refusal::bad("the header Inference-Header-Content-Length is no whole number")),
    }
}

/// Reads a request for a model of these columns.
pub(crate) fn read(
    description: &PredictDescription,
    body: &[u8],
    header_length: Option<usize>,
    rows_max: usize,
) -> Result<Asked, Refusal> {
    let (json, mut bytes) = body.split_at_checked(header_length.unwrap_or(body.len())).ok_or_else(|| {
        let (said, found) = (header_length.unwrap_or(0), body.len());
        Refusal::bad(format!("the header Inference-Header-Content-Length says {said}, and the body has {found} bytes"))
    })?;
    let values_max = rows_max.saturating_mul(description.columns.inputs.len()).saturating_add(4096);
    if commas(json) > values_max {
        return Err(Refusal::bad(format!("the request has more values than {rows_max} rows can have")));
    }
    let request: InferRequest = serde_json::from_slice(json)
        .map_err(|error| Refusal::bad(format!("the body is not an inference request: {error}")))?;
    let mut tensors = Vec::with_capacity(request.inputs.len());
    for RequestInput { name, shape, datatype, parameters, data } in request.inputs {
        let data = match binary_size(&name, parameters.as_ref())? {
            Some(size) => {
                let (own, rest) = bytes.split_at_checked(size).ok_or_else(|| {
                    let left = bytes.len();
                    let message =
                        format!("the input {name:?} announces {size} bytes of binary data, and {left} are left");
                    Refusal::bad(message)
                })?;
                bytes = rest;
                binary::decode(&name, &datatype, own, rows_max)?
            }
            None => data.ok_or_else(|| Refusal::bad(format!("the input {name:?} has no data")))?,
        };
        tensors.push(Tensor { name, shape, datatype, data });
    }
    if !bytes.is_empty() {
        return Err(Refusal::bad(format!("{} bytes of binary data belong to no input", bytes.len())));
    }
    let flag = |parameters: &Option<serde_json::Map<String, Json>>, name: &str| {
        parameters.as_ref().and_then(|parameters| parameters.get(name)?.as_bool())
    };
    let binary = flag(&request.parameters, "binary_data_output").unwrap_or(false);
    let outputs = request.outputs.map(|outputs| {
        let wanted = |output: RequestOutput| {
            let binary = flag(&output.parameters, "binary_data").unwrap_or(binary);
            WantedOutput { name: output.name, binary }
        };
        outputs.into_iter().map(wanted).collect()
    });
    asked(description, request.id, tensors, outputs, binary, rows_max)
}

/// The size of a tensor that comes as bytes.
fn binary_size(name: &str, parameters: Option<&serde_json::Map<String, Json>>) -> Result<Option<usize>, Refusal> {
    let Some(parameters) = parameters else { return Ok(None) };
    if parameters.contains_key("shared_memory_region") {
        let message = format!("the input {name:?} lies in shared memory, an extension that this server does not have");
        return Err(Refusal::bad(message));
    }
    let Some(size) = parameters.get("binary_data_size") else { return Ok(None) };
    let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
    size.map(Some).ok_or_else(|| Refusal::bad(format!("`binary_data_size` of the input {name:?} is no whole number")))
}

/// Tensors as rows for a model of these columns.
pub(crate) fn asked(
    description: &PredictDescription,
    id: Option<String>,
    mut tensors: Vec<Tensor>,
    outputs: Option<Vec<WantedOutput>>,
    binary: bool,
    rows_max: usize,
) -> Result<Asked, Refusal> {
    let inputs = &description.columns.inputs;
    check_names(description, &tensors, outputs.as_deref().unwrap_or(&[]))?;
    let count = rows_of(&tensors, rows_max)?;
    let mut rows: Vec<Vec<Value>> = (0..count).map(|_| Vec::with_capacity(inputs.len())).collect();
    for input in inputs {
        let Some(at) = tensors.iter().position(|tensor| tensor.name == input.name) else {
            let name = &input.name;
            return Err(Refusal::bad(format!("the input {name:?} is absent; send null where a value is missing")));
        };
        for (index, value) in values(tensors.swap_remove(at), input.column_type)?.into_iter().enumerate() {
            rows[index].push(value);
        }
    }
    Ok(Asked { id, rows, outputs, binary })
}

fn check_names(description: &PredictDescription, tensors: &[Tensor], outputs: &[WantedOutput]) -> Result<(), Refusal> {
    let known: Vec<&str> = description.columns.inputs.iter().map(|input| input.name.as_str()).collect();
    for (index, tensor) in tensors.iter().enumerate() {
        if !known.contains(&tensor.name.as_str()) {
            let (name, known) = (&tensor.name, known.join(", "));
            return Err(Refusal::bad(format!("the model has no input {name:?}; it has {known}")));
        }
        if tensors[..index].iter().any(|other| other.name == tensor.name) {
            return Err(Refusal::bad(format!("the input {:?} is given twice", tensor.name)));
        }
    }
    let offered: Vec<String> = description.columns.outputs.iter().flat_map(output_names).collect();
    for output in outputs {
        if !offered.contains(&output.name) {
            let (name, offered) = (&output.name, offered.join(", "));
            return Err(Refusal::bad(format!("the model has no output {name:?}; it has {offered}")));
        }
    }
    Ok(())
}

/// The number of rows that all tensors agree on.
fn rows_of(tensors: &[Tensor], rows_max: usize) -> Result<usize, Refusal> {
    let mut rows = None;
    for tensor in tensors {
        let name = &tensor.name;
        let count = match tensor.shape[..] {
            [count] | [count, 1] => count,
            _ => {
                let shape = &tensor.shape;
                return Err(Refusal::bad(format!("the input {name:?} has shape {shape:?}; it must be [N] or [N, 1]")));
            }
        };
        if count != *rows.get_or_insert(count) {
            return Err(Refusal::bad(format!(
                "the input {name:?} has {count} rows, and another has {}",
                rows.unwrap_or(0)
            )));
        }
    }
    match rows.map(usize::try_from) {
        Some(Ok(count)) if count >= 1 && count <= rows_max => Ok(count),
        Some(Ok(0)) | None => Err(Refusal::bad("the request has no rows")),
        _ => Err(Refusal::bad(format!("the request has more than {rows_max} rows"))),
    }
}

/// One tensor's values, checked against its shape, its datatype and the column's type.
fn values(tensor: Tensor, column_type: ColumnType) -> Result<Vec<Value>, Refusal> {
    let Tensor { name, shape, datatype, data } = tensor;
    let (wanted, fits) = match column_type {
        ColumnType::Text | ColumnType::Category => ("BYTES", datatype == "BYTES"),
        ColumnType::Binary => ("BOOL", datatype == "BOOL"),
        ColumnType::Number => ("FP64", is_numeric(&datatype)),
    };
    if !fits {
        return Err(Refusal::bad(format!("the input {name:?} has datatype {datatype:?}; it must be {wanted}")));
    }
    if data.nested && shape.len() != 2 {
        return Err(Refusal::bad(format!("the data of {name:?} are nested, and its shape is not [N, 1]")));
    }
    if data.cells.len() as u64 != shape[0] {
        let count = data.cells.len();
        return Err(Refusal::bad(format!("the input {name:?} has {count} values, and its shape says {}", shape[0])));
    }
    let whole = datatype.contains("INT");
    let mut values = Vec::with_capacity(data.cells.len());
    for (row, cell) in data.cells.into_iter().enumerate() {
        let value = match (cell, column_type) {
            (Cell::Null, _) => Value::Missing,
            (Cell::Text(text), ColumnType::Text | ColumnType::Category) => Value::Text(text.into()),
            (Cell::Bool(binary), ColumnType::Binary) => Value::Binary(binary),
            (Cell::Number(number), ColumnType::Number) if !whole || number.fract() == 0.0 => Value::Number(number),
            (cell, _) => {
                let kind = cell.kind();
                return Err(Refusal::bad(format!(
                    "row {row} of the input {name:?} is {kind}, which is not {datatype}"
                )));
            }
        };
        values.push(value);
    }
    Ok(values)
}

fn is_numeric(datatype: &str) -> bool {
    const NUMERIC: [&str; 12] =
        ["FP64", "FP32", "FP16", "BF16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"];
    NUMERIC.contains(&datatype)
}

/// The tensors that an output column answers with.
pub(crate) fn output_names(output: &OutputDescription) -> Vec<String> {
    let name = &output.name;
    match output.target {
        Target::Category { .. } => vec![name.clone(), format!("{name}.probabilities")],
        Target::Binary { .. } => vec![name.clone(), format!("{name}.probability")],
        Target::Number { .. } => vec![name.clone()],
    }
}

/// Which of a binary output's two labels a probability stands for.
pub(crate) fn binary_label(probability: f32) -> usize {
    usize::from(probability >= 0.5)
}

/// Writes the answer.
pub(crate) fn write(
    (name, version): (&str, u32),
    asked: &Asked,
    mut outputs: Vec<ResponseOutput<'_>>,
) -> Result<Written, Refusal> {
    let mut bytes = None;
    for output in &mut outputs {
        let wanted = asked.outputs.iter().flatten().find(|wanted| wanted.name == output.name);
        if wanted.map_or(asked.binary, |wanted| wanted.binary)
            && let Some(data) = output.data.take()
        {
            let own = binary::encode(&data);
            output.parameters.binary_data_size = Some(own.len());
            bytes.get_or_insert_with(Vec::new).extend(own);
        }
    }
    let response =
        InferResponse { model_name: name, model_version: version.to_string(), id: asked.id.as_deref(), outputs };
    let mut body = serde_json::to_vec(&response)
        .map_err(|error| Refusal::internal(format!("the answer cannot be written: {error}")))?;
    let header_length = bytes.is_some().then_some(body.len());
    body.extend(bytes.unwrap_or_default());
    Ok(Written { body, header_length })
}

/// The columns of an encoder: a text in, and a number out for the names alone; its vectors are written by
/// [`embeddings`].
pub(crate) fn encoder_description() -> PredictDescription {
    let clean = TextCleaning { unicode: false, whitespace: false };
    let input = InputDescription {
        name: TEXT.to_owned(),
        column_type: ColumnType::Text,
        encoding: Encoding::Number { mean: 0.0, deviation: 1.0 },
        offset: 0,
    };
    let target = Target::Number { mean: 0.0, deviation: 1.0 };
    let output = OutputDescription { name: EMBEDDING.to_owned(), target, weight: 1.0, squared: false };
    let columns = Columns { clean, inputs: vec![input], outputs: vec![output] };
    PredictDescription { columns, hidden: Vec::new(), intercept: false }
}

/// The metadata of an encoder.
pub(crate) fn encoder_metadata(width: usize, name: &str, version: u32) -> Json {
    json!({
        "name": name,
        "versions": [version.to_string()],
        "platform": "modelyard",
        "inputs": [{ "name": TEXT, "datatype": "BYTES", "shape": [-1] }],
        "outputs": [{ "name": EMBEDDING, "datatype": "FP32", "shape": [-1, width] }],
    })
}

/// The texts of a request to an encoder; a missing one is empty.
pub(crate) fn texts(asked: &Asked) -> Vec<&str> {
    asked.rows.iter().map(|row| if let Some(Value::Text(text)) = row.first() { text } else { "" }).collect()
}

/// Vectors as the tensor that an encoder answers with, where it is wanted.
pub(crate) fn embeddings(asked: &Asked, vectors: &[Vec<f32>]) -> Vec<ResponseOutput<'static>> {
    if asked.outputs.as_ref().is_some_and(|wanted| wanted.iter().all(|one| one.name != EMBEDDING)) {
        return Vec::new();
    }
    vec![ResponseOutput {
        name: EMBEDDING.to_owned(),
        datatype: "FP32",
        shape: vec![vectors.len(), vectors.first().map_or(0, Vec::len)],
        parameters: Parameters { labels: None, binary_data_size: None },
        data: Some(Data::Numbers(vectors.iter().flatten().map(|value| Fp32(*value)).collect())),
    }]
}

/// The wanted outputs, in the order of the request where it has one.
pub(crate) fn outputs<'a>(
    description: &'a PredictDescription,
    asked: &Asked,
    predictions: &[Vec<Prediction>],
) -> Vec<ResponseOutput<'a>> {
    let wanted = |name: &str| asked.outputs.as_ref().is_none_or(|wanted| wanted.iter().any(|one| one.name == name));
    let mut outputs = Vec::new();
    for (index, output) in description.columns.outputs.iter().enumerate() {
        let column = predictions.iter().map(|row| &row[index]);
        outputs.extend(tensors(output, column).into_iter().filter(|tensor| wanted(&tensor.name)));
    }
    if let Some(order) = &asked.outputs {
        outputs.sort_by_key(|tensor| order.iter().position(|wanted| wanted.name == tensor.name));
    }
    outputs
}

fn tensors<'a, 'b>(
    output: &'a OutputDescription,
    column: impl ExactSizeIterator<Item = &'b Prediction>,
) -> Vec<ResponseOutput<'a>> {
    let rows = column.len();
    let labels: &[String] = match &output.target {
        Target::Category { labels } => labels,
        Target::Binary { labels } => labels,
        Target::Number { .. } => &[],
    };
    let (mut texts, mut numbers) = (Vec::with_capacity(rows), Vec::with_capacity(rows * labels.len().max(1)));
    for prediction in column {
        match prediction {
            Prediction::Category { label, probabilities } => {
                texts.push(labels[*label].as_str());
                numbers.extend(probabilities.iter().copied().map(Fp32));
            }
            Prediction::Binary { probability } => {
                texts.push(labels[binary_label(*probability)].as_str());
                numbers.push(Fp32(*probability));
            }
            Prediction::Number { value } => numbers.push(Fp32(*value)),
        }
    }
    let name = &output.name;
    match &output.target {
        Target::Category { .. } => {
            let probabilities =
                numeric(format!("{name}.probabilities"), vec![rows, labels.len()], Some(labels), numbers);
            vec![textual(name, texts), probabilities]
        }
        Target::Binary { .. } => {
            vec![textual(name, texts), numeric(format!("{name}.probability"), vec![rows], Some(labels), numbers)]
        }
        Target::Number { .. } => vec![numeric(name.clone(), vec![rows], None, numbers)],
    }
}

fn textual<'a>(name: &str, texts: Vec<&'a str>) -> ResponseOutput<'a> {
    let (name, shape) = (name.to_owned(), vec![texts.len()]);
    let parameters = Parameters { labels: None, binary_data_size: None };
    ResponseOutput { name, datatype: "BYTES", shape, parameters, data: Some(Data::Text(texts)) }
}

fn numeric(name: String, shape: Vec<usize>, labels: Option<&[String]>, numbers: Vec<Fp32>) -> ResponseOutput<'_> {
    let parameters = Parameters { labels, binary_data_size: None };
    ResponseOutput { name, datatype: "FP32", shape, parameters, data: Some(Data::Numbers(numbers)) }
}

/// The protocol's extensions that there are.
pub(crate) const EXTENSIONS: [&str; 1] = ["binary_tensor_data"];

/// What the server says of itself.
pub(crate) fn server_metadata() -> Json {
    json!({ "name": "modelyard", "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS })
}

/// What the server says of a model of columns.
pub(crate) fn model_metadata(description: &PredictDescription, name: &str, version: u32) -> Json {
    let inputs: Vec<Json> = description
        .columns
        .inputs
        .iter()
        .map(|input| {
            let datatype = match input.column_type {
                ColumnType::Text | ColumnType::Category => "BYTES",
                ColumnType::Binary => "BOOL",
                ColumnType::Number => "FP64",
            };
            json!({ "name": input.name, "datatype": datatype, "shape": [-1] })
        })
        .collect();
    let outputs: Vec<Json> = description.columns.outputs.iter().flat_map(output_metadata).collect();
    json!({ "name": name, "versions": [version.to_string()], "platform": "modelyard", "inputs": inputs, "outputs": outputs })
}

fn output_metadata(output: &OutputDescription) -> Vec<Json> {
    let name = &output.name;
    let label = json!({ "name": name, "datatype": "BYTES", "shape": [-1] });
    match &output.target {
        Target::Category { labels } => {
            let (probabilities, shape) = (format!("{name}.probabilities"), json!([-1, labels.len()]));
            let parameters = json!({ "labels": labels });
            vec![label, json!({ "name": probabilities, "datatype": "FP32", "shape": shape, "parameters": parameters })]
        }
        Target::Binary { labels } => {
            let (probability, parameters) = (format!("{name}.probability"), json!({ "labels": labels }));
            vec![label, json!({ "name": probability, "datatype": "FP32", "shape": [-1], "parameters": parameters })]
        }
        Target::Number { .. } => vec![json!({ "name": name, "datatype": "FP32", "shape": [-1] })],
    }
}

#[cfg(test)]
mod tests;
