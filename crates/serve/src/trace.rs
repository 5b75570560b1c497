//! Traces, as OpenTelemetry reads them: one span a request, by OTLP over HTTP in JSON, with the names of
//! the semantic conventions for HTTP and for generative AI.
//!
//! Spans wait in a bounded queue and are sent in batches; what does not fit, or is not taken, is lost and
//! counted. A caller's `traceparent` (W3C Trace Context) is the span's parent, and one that is not sampled
//! is not sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::access::About;

/// Spans that may wait to be sent.
const QUEUE_MAX: usize = 4096;
/// Spans in one batch.
const BATCH_MAX: usize = 512;
/// How long the first span of a batch waits for others.
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// How long the collector may take for a batch.
const SEND_MAX: Duration = Duration::from_secs(5);

/// Where a request's span belongs.
#[derive(Debug, Clone)]
pub(crate) struct Parent {
    trace_id: [u8; 16],
    span_id: Option<[u8; 8]>,
    sampled: bool,
    state: Option<String>,
}

impl Parent {
    /// The caller's, or the beginning of a trace.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let read = text("traceparent").and_then(Self::read);
        let Some(mut parent) = read else {
            return Self { trace_id: random(), span_id: None, sampled: true, state: None };
        };
        parent.state = text("tracestate").map(str::to_owned);
        parent
    }

    /// `VERSION-TRACE-SPAN-FLAGS`, where later versions may have more behind.
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let mut part = |length: usize| parts.next().filter(|part| part.len() == length);
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let ([version], [flags]) = (bytes(version)?, bytes(flags)?);
        let (trace_id, span_id) = (bytes(trace)?, bytes(span)?);
        let good = version != 0xFF && trace_id != [0; 16] && span_id != [0; 8];
        let more = parts.next().is_some();
        let parent = Self { trace_id, span_id: Some(span_id), sampled: flags & 1 == 1, state: None };
        (good && !(version == 0 && more)).then_some(parent)
    }

    /// Whether the caller wants the trace's spans.
    pub(crate) fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// The trace's name.
    pub(crate) fn trace_id(&self) -> String {
        hex(&self.trace_id)
    }
}

/// Lower-case hexadecimal digits as bytes.
fn bytes<const SIZE: usize>(text: &str) -> Option<[u8; SIZE]> {
    let mut bytes = [0; SIZE];
    let digit = |sign: u8| match sign {
        b'0'..=b'9' => Some(sign - b'0'),
        b'a'..=b'f' => Some(sign - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number that no other span has. Where the system has no random bytes, spans are told apart by nothing,
/// which is no reason to answer nothing.
fn random<const SIZE: usize>() -> [u8; SIZE] {
    let mut bytes = [1; SIZE];
    let _ = getrandom::fill(&mut bytes);
    bytes
}

/// One request that has ended.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) method: String,
    pub(crate) route: &'static str,
    pub(crate) status: u16,
    pub(crate) error: Option<&'static str>,
    pub(crate) begun_ms: i64,
    pub(crate) took: Duration,
    /// Of the prompt, and of the completion.
    pub(crate) tokens: (u64, u64),
    pub(crate) key: Option<String>,
    pub(crate) about: About,
    pub(crate) parent: Parent,
}

impl Span {
    fn json(&self) -> Json {
        let mut attributes = Attributes(Vec::new());
        attributes.text("http.request.method", Some(&self.method));
        attributes.text("http.route", Some(self.route));
        attributes.number("http.response.status_code", self.status.into());
        attributes.text("error.type", self.error);
        attributes.text("enduser.id", self.key.as_deref());
        let about = &self.about;
        let mut name = format!("{} {}", self.method, self.route);
        if let Some(operation) = about.operation {
            name = format!("{operation} {}", about.model.as_deref().unwrap_or("")).trim_end().to_owned();
            attributes.text("gen_ai.operation.name", Some(operation));
            attributes.text("gen_ai.provider.name", Some("modelyard"));
            attributes.text("gen_ai.request.model", about.model.as_deref());
            attributes.text("gen_ai.response.model", about.response_model.as_deref());
            attributes.number("gen_ai.usage.input_tokens", self.tokens.0);
            attributes.number("gen_ai.usage.output_tokens", self.tokens.1);
            attributes.texts("gen_ai.response.finish_reasons", &about.finish_reasons);
            attributes.text("gen_ai.prompt", about.prompt.as_deref());
        }
        let begun_ns = i128::from(self.begun_ms) * 1_000_000;
        let ended_ns = begun_ns + i128::try_from(self.took.as_nanos()).unwrap_or(0);
        let mut span = json!({
            "traceId": hex(&self.parent.trace_id),
            "spanId": hex(&random::<8>()),
            "name": name,
            // A server's.
            "kind": 2,
            "startTimeUnixNano": begun_ns.to_string(),
            "endTimeUnixNano": ended_ns.to_string(),
            "attributes": attributes.0,
            // For a server, what the client did wrong is no error of the span.
            "status": if self.status >= 500 { json!({ "code": 2 }) } else { json!({}) },
        });
        if let Some(parent) = self.parent.span_id {
            span["parentSpanId"] = hex(&parent).into();
        }
        if let Some(state) = &self.parent.state {
            span["traceState"] = state.as_str().into();
        }
        span
    }
}

/// Attributes, of which those that are absent are left out.
struct Attributes(Vec<Json>);

impl Attributes {
    fn text(&mut self, key: &str, text: Option<&str>) {
        self.0.extend(text.map(|text| json!({ "key": key, "value": { "stringValue": text } })));
    }

    /// In OTLP's JSON a number of 64 bits is a text.
    fn number(&mut self, key: &str, number: u64) {
        self.0.push(json!({ "key": key, "value": { "intValue": number.to_string() } }));
    }

    fn texts(&mut self, key: &str, texts: &[&str]) {
        if !texts.is_empty() {
            let values: Vec<Json> = texts.iter().map(|text| json!({ "stringValue": text })).collect();
            self.0.push(json!({ "key": key, "value": { "arrayValue": { "values": values } } }));
        }
    }
}

/// A batch, as a collector reads it.
fn batch(spans: &[Span]) -> Json {
    let mut resource = Attributes(Vec::new());
    resource.text("service.name", Some("modelyard"));
    resource.text("service.version", Some(env!("CARGO_PKG_VERSION")));
    let spans: Vec<Json> = spans.iter().map(Span::json).collect();
    let scope = json!({ "name": "modelyard.serve", "version": env!("CARGO_PKG_VERSION") });
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource.0 },
        "scopeSpans": [{ "scope": scope, "spans": spans }],
    }]})
}

enum Message {
    Span(Box<Span>),
    /// Send what there is, and answer.
    Flush(oneshot::Sender<()>),
}

/// The queue of spans.
pub(crate) struct Tracer {
    sender: mpsc::Sender<Message>,
    receiver: Mutex<Option<mpsc::Receiver<Message>>>,
    endpoint: String,
    pub(crate) lost: AtomicU64,
}

impl Tracer {
    pub(crate) fn new(endpoint: String) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        Self { sender, receiver: Mutex::new(Some(receiver)), endpoint, lost: AtomicU64::new(0) }
    }

    /// Queues a span. Never waits.
    pub(crate) fn export(&self, span: Span) {
        if self.sender.try_send(Message::Span(Box::new(span))).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Waits until what was queued has been sent, or cannot be.
    pub(crate) async fn flush(&self) {
        let (sender, done) = oneshot::channel();
        if self.sender.send(Message::Flush(sender)).await.is_ok() {
            let _ = tokio::time::timeout(SEND_MAX, done).await;
        }
    }

    /// Sends spans until the server ends. Only the first caller does.
    pub(crate) async fn run(self: Arc<Self>) {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut receiver) = receiver else { return };
        while let Some(first) = receiver.recv().await {
            let (mut spans, mut flushed) = (Vec::new(), Vec::new());
            let mut next = Some(first);
            let deadline = tokio::time::Instant::now() + BATCH_WAIT;
            while let Some(message) = next.take() {
                match message {
                    Message::Span(span) => spans.push(*span),
                    Message::Flush(done) => flushed.push(done),
                }
                if spans.len() < BATCH_MAX && flushed.is_empty() {
                    next = tokio::time::timeout_at(deadline, receiver.recv()).await.ok().flatten();
                }
            }
            if !spans.is_empty() && self.send(&spans).await.is_none() {
                self.lost.fetch_add(spans.len() as u64, Relaxed);
            }
            for done in flushed {
                let _ = done.send(());
            }
        }
    }

    async fn send(&self, spans: &[Span]) -> Option<()> {
        let body = batch(spans).to_string();
        tokio::time::timeout(SEND_MAX, post(&self.endpoint, body)).await.ok()?
    }
}

/// Sends JSON, and gives whether it was taken.
async fn post(endpoint: &str, body: String) -> Option<()> {
    let uri: Uri = endpoint.parse().ok()?;
    let authority = uri.authority()?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await.ok()?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    let connection = tokio::spawn(connection);
    let request = hyper::Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, HeaderValue::from_str(authority.as_str()).ok()?)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .ok()?;
    let response = sender.send_request(request).await.ok()?;
    let taken = response.status().is_success();
    let _ = Limited::new(response.into_body(), 1 << 16).collect().await;
    connection.abort();
    taken.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_trace_is_gone_on_with() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = Parent::read(&format!("00-{trace}-00f067aa0ba902b7-01")).unwrap();
        assert_eq!((parent.trace_id().as_str(), parent.sampled), (trace, true));
        assert_eq!(hex(&parent.span_id.unwrap()), "00f067aa0ba902b7");
        assert!(!Parent::read(&format!("00-{trace}-00f067aa0ba902b7-00")).unwrap().sampled);
        assert!(Parent::read(&format!("01-{trace}-00f067aa0ba902b7-01-more")).is_some());
        for wrong in [
            "",
            "00",
            &format!("00-{trace}-00f067aa0ba902b7"),
            &format!("ff-{trace}-00f067aa0ba902b7-01"),
            &format!("00-{trace}-00f067aa0ba902b7-01-more"),
            &format!("00-{trace}-0000000000000000-01"),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            &format!("00-{trace}é-00f067aa0ba902b7-01"),
        ] {
            assert!(Parent::read(wrong).is_none(), "{wrong}");
        }
        let (one, other) = (Parent::of(&HeaderMap::new()), Parent::of(&HeaderMap::new()));
        assert!(one.sampled && one.span_id.is_none() && one.trace_id() != other.trace_id());
    }
}
