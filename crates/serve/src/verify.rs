//! Whether a server answers exactly what the same model answers offline: every row of a split goes
//! through the real HTTP interface, and every label and every bit of every number is compared.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use base::{ColumnType, Context, Measure, Value};
use infer::description::{PredictDescription, Target};
use infer::predict::Prediction;
use infer::sampling::Sampling;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::client::Client;
use crate::error::ServeError;
use crate::oip::binary_label;

/// Rows in one request.
const BATCH: usize = 64;
/// Connections that ask at the same time.
const CONNECTIONS: usize = 2;
/// How many differences are told.
const TOLD: usize = 5;

/// What a verification found: every answer was the same.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyReport {
    /// HTTP requests that were sent.
    pub requests: u64,
    /// Rows or prompts that were compared.
    pub rows: u64,
    /// From the first request to the last answer.
    pub seconds: Measure,
    /// The median of one request, from sending it to its whole answer.
    pub latency_ms_p50: Measure,
    /// The 99th percentile of the same.
    pub latency_ms_p99: Measure,
}

/// Sends rows to a served model and compares each answer with the offline prediction, bit for bit.
/// Blocks, and must not be called on a thread of an async runtime.
///
/// # Errors
/// [`ServeError::Mismatch`] naming the first differences; [`ServeError::Ask`] when the server does not
/// answer; [`ServeError::Stopped`].
///
/// # Panics
/// When there is not one list of expected predictions for each row.
pub fn verify_predict(
    address: SocketAddr,
    key: Option<&str>,
    description: &PredictDescription,
    rows: &[Vec<Value>],
    expected: &[Vec<Prediction>],
    context: &Context,
) -> Result<VerifyReport, ServeError> {
    assert_eq!(rows.len(), expected.len(), "each row has its expected predictions");
    let batches: Vec<Batch> = rows
        .chunks(BATCH)
        .zip(expected.chunks(BATCH))
        .enumerate()
        .map(|(index, (rows, expected))| {
            let check = Expected::Predictions { first: index * BATCH, expected: expected.to_vec() };
            Batch { body: infer_body(description, rows), rows: rows.len(), expected: check }
        })
        .collect();
    verify(address, key, Some(description.clone()), batches, context)
}

/// Sends prompts to a served language model and compares each completion with the expected text.
/// Blocks, and must not be called on a thread of an async runtime.
///
/// # Errors
/// As [`verify_predict`].
///
/// # Panics
/// When there is not one expected text for each prompt.
pub fn verify_language(
    address: SocketAddr,
    key: Option<&str>,
    prompts: &[(String, Sampling)],
    expected: &[String],
    context: &Context,
) -> Result<VerifyReport, ServeError> {
    assert_eq!(prompts.len(), expected.len(), "each prompt has its expected text");
    let batches = prompts
        .iter()
        .zip(expected)
        .enumerate()
        .map(|(index, ((prompt, sampling), expected))| Batch {
            body: completion_body(prompt, sampling),
            rows: 1,
            expected: Expected::Text { index, expected: expected.clone() },
        })
        .collect();
    verify(address, key, None, batches, context)
}

/// One request and what must come back.
struct Batch {
    body: Vec<u8>,
    rows: usize,
    expected: Expected,
}

enum Expected {
    Predictions { first: usize, expected: Vec<Vec<Prediction>> },
    Text { index: usize, expected: String },
}

/// What the connections share.
struct Shared {
    address: SocketAddr,
    key: Option<String>,
    path: String,
    description: Option<PredictDescription>,
    batches: Vec<Batch>,
    next: AtomicUsize,
    done_rows: AtomicUsize,
    stop: base::Stop,
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    latencies_ms: Vec<f64>,
    wrong: u64,
    first: Vec<String>,
}

fn verify(
    address: SocketAddr,
    key: Option<&str>,
    description: Option<PredictDescription>,
    batches: Vec<Batch>,
    context: &Context,
) -> Result<VerifyReport, ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("verify")
        .enable_all()
        .build()
        .map_err(ServeError::Threads)?;
    let rows: u64 = batches.iter().map(|batch| batch.rows as u64).sum();
    let requests = batches.len() as u64;
    let task = context.begin("verify", Some(rows), "rows");
    let (seconds, mut seen) = runtime.block_on(async {
        let path = match &description {
            Some(_) => format!("/v2/models/{}/infer", served_name(address, key).await?),
            None => "/v1/completions".to_owned(),
        };
        let shared = Arc::new(Shared {
            address,
            key: key.map(str::to_owned),
            path,
            description,
            batches,
            next: AtomicUsize::new(0),
            done_rows: AtomicUsize::new(0),
            stop: context.stop.clone(),
        });
        let begun = Instant::now();
        let connections: Vec<_> = (0..CONNECTIONS).map(|_| tokio::spawn(ask_all(shared.clone()))).collect();
        while !connections.iter().all(tokio::task::JoinHandle::is_finished) {
            task.at(shared.done_rows.load(Ordering::Relaxed) as u64);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let mut all = Seen::default();
        for connection in connections {
            let seen = connection.await.map_err(|error| ServeError::Threads(std::io::Error::other(error)))??;
            all.latencies_ms.extend(seen.latencies_ms);
            all.wrong += seen.wrong;
            all.first.extend(seen.first);
        }
        Ok::<_, ServeError>((begun.elapsed().as_secs_f64(), all))
    })?;
    task.end(&format!("{rows} rows"));
    if seen.wrong > 0 {
        seen.first.truncate(TOLD);
        return Err(ServeError::Mismatch { count: seen.wrong, rows, first: seen.first });
    }
    seen.latencies_ms.sort_by(f64::total_cmp);
    let method = format!("{requests} requests over {CONNECTIONS} connections on this machine, client's work included");
    let latency = |share| Measure::measured(percentile(&seen.latencies_ms, share), "ms", &method);
    Ok(VerifyReport {
        requests,
        rows,
        seconds: Measure::measured(seconds, "s", &method),
        latency_ms_p50: latency(0.50),
        latency_ms_p99: latency(0.99),
    })
}

/// The nearest-rank percentile of sorted values; 0 where there are none.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

async fn served_name(address: SocketAddr, key: Option<&str>) -> Result<String, ServeError> {
    #[derive(Deserialize)]
    struct Health {
        model: String,
    }
    let mut client = Client::connect(address, key).await?;
    let health: Health = client.json("GET", "/health/ready", None).await?;
    Ok(health.model)
}

/// Sends batches over one connection until none is left.
async fn ask_all(shared: Arc<Shared>) -> Result<Seen, ServeError> {
    let mut client = Client::connect(shared.address, shared.key.as_deref()).await?;
    let mut seen = Seen::default();
    while let Some(batch) = shared.batches.get(shared.next.fetch_add(1, Ordering::Relaxed)) {
        if shared.stop.asked() {
            return Err(ServeError::Stopped);
        }
        let begun = Instant::now();
        let answer: Json = client.json("POST", &shared.path, Some(batch.body.clone())).await?;
        seen.latencies_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
        for (row, difference) in differences(batch, shared.description.as_ref(), &answer) {
            seen.wrong += 1;
            if seen.first.len() < TOLD {
                seen.first.push(format!("row {row}: {difference}"));
            }
        }
        shared.done_rows.fetch_add(batch.rows, Ordering::Relaxed);
    }
    Ok(seen)
}

/// The rows whose answers differ, with both values.
fn differences(batch: &Batch, description: Option<&PredictDescription>, answer: &Json) -> Vec<(usize, String)> {
    match (&batch.expected, description) {
        (Expected::Predictions { first, expected }, Some(description)) => expected
            .iter()
            .enumerate()
            .filter_map(|(row, expected)| {
                let difference = row_difference(description, expected, answer, (row, batch.rows))?;
                Some((first + row, difference))
            })
            .collect(),
        (Expected::Text { index, expected }, _) => {
            let served = &answer["choices"][0]["text"];
            let same = served.as_str() == Some(expected);
            if same { Vec::new() } else { vec![(*index, format!("offline {expected:?}, served {served}"))] }
        }
        (Expected::Predictions { first, .. }, None) => vec![(*first, "its model was not described".to_owned())],
    }
}

/// The first difference of one row, if there is one.
fn row_difference(
    description: &PredictDescription,
    expected: &[Prediction],
    answer: &Json,
    (row, rows): (usize, usize),
) -> Option<String> {
    let column = |name: &str| {
        let tensors = answer["outputs"].as_array()?;
        tensors.iter().find(|tensor| tensor["name"] == name)?["data"].as_array().filter(|data| data.len() % rows == 0)
    };
    let label = |name: &str, wanted: &str| {
        let served = column(name).and_then(|data| data.get(row)).unwrap_or(&Json::Null);
        (served.as_str() != Some(wanted)).then(|| format!("{name} is {wanted:?} offline, {served} served"))
    };
    let numbers = |name: &str, wanted: &[f32]| {
        let width = wanted.len();
        let served = column(name).filter(|data| data.len() == rows * width).map(|data| &data[row * width..][..width]);
        let Some(served) = served else { return Some(format!("{name} was not served")) };
        let other = served.iter().zip(wanted).position(|(served, wanted)| !same_bits(served, *wanted))?;
        let place = if width == 1 { String::new() } else { format!("[{other}]") };
        Some(format!("{name}{place} is {:?} offline, {} served", wanted[other], served[other]))
    };
    description.columns.outputs.iter().zip(expected).find_map(|(output, prediction)| {
        let name = &output.name;
        match (&output.target, prediction) {
            (Target::Category { labels }, Prediction::Category { label: index, probabilities }) => {
                label(name, labels.get(*index).map_or("", String::as_str))
                    .or_else(|| numbers(&format!("{name}.probabilities"), probabilities))
            }
            (Target::Binary { labels }, Prediction::Binary { probability }) => {
                label(name, &labels[binary_label(*probability)])
                    .or_else(|| numbers(&format!("{name}.probability"), &[*probability]))
            }
            (Target::Number { .. }, Prediction::Number { value }) => numbers(name, &[*value]),
            _ => Some(format!("{name} is of another kind offline")),
        }
    })
}

/// A number of JSON, read as a client of the protocol reads FP32: as a double, then rounded.
fn same_bits(served: &Json, wanted: f32) -> bool {
    served.as_f64().is_some_and(|served| (served as f32).to_bits() == wanted.to_bits())
}

fn infer_body(description: &PredictDescription, rows: &[Vec<Value>]) -> Vec<u8> {
    let inputs = description.columns.inputs.iter().enumerate().map(|(index, input)| {
        let datatype = match input.column_type {
            ColumnType::Text | ColumnType::Category => "BYTES",
            ColumnType::Binary => "BOOL",
            ColumnType::Number => "FP64",
        };
        let data: Vec<&Value> = rows.iter().map(|row| row.get(index).unwrap_or(&Value::Missing)).collect();
        json!({ "name": input.name, "shape": [rows.len()], "datatype": datatype, "data": data })
    });
    json!({ "inputs": inputs.collect::<Vec<_>>() }).to_string().into_bytes()
}

fn completion_body(prompt: &str, sampling: &Sampling) -> Vec<u8> {
    let mut body = json!({
        "prompt": prompt,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed as i64,
    });
    if !sampling.stop.is_empty() {
        body["stop"] = json!(sampling.stop);
    }
    body.to_string().into_bytes()
}
