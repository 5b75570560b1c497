//! OpenAI's completions: `/v1/completions`, whole or as a stream of server-sent events, and
//! `/v1/models`.
//!
//! Supported: `model`, `prompt` (a text or several), `max_tokens`, `temperature`, `top_p`, `seed`,
//! `stop`, `stream`, `stream_options.include_usage`, `echo`, `user`. Fields of OpenAI's that ask for what
//! this server cannot do (`n`, `best_of`, `logprobs`, `suffix`, penalties, `logit_bias`) are accepted
//! with the value that asks for nothing, and refused with any other. Answers name the exact version in
//! `model`, as `name@3`.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use infer::language::{Completion, FinishReason};
use infer::model::Engine;
use infer::sampling::Sampling;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use crate::access::Charge;
use crate::app::{App, too_slow};
use crate::completion_request::{Asked, read};
use crate::model::Loaded;
use crate::refusal::{Refusal, Shape, json_response};
use crate::routes::with_fallback;

/// Events that may wait for a slow client before generation waits too.
const EVENTS_MAX: usize = 64;

/// `GET /v1/models`
pub(crate) async fn models(State(app): State<Arc<App>>) -> Response {
    let body = json!({ "object": "list", "data": [described(&app, &app.slot.current())] });
    json_response(StatusCode::OK, body.to_string().into_bytes())
}

/// `GET /v1/models/{model}`
pub(crate) async fn model(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let current = app.slot.current();
    match check_model(&current, Some(&name)) {
        Ok(_) => json_response(StatusCode::OK, described(&app, &current).to_string().into_bytes()),
        Err(refusal) => refusal.response(Shape::OpenAi),
    }
}

fn described(app: &App, loaded: &Loaded) -> Json {
    json!({ "id": loaded.name, "object": "model", "created": app.started_s, "owned_by": "modelyard" })
}

/// Whether the name is the served model's, and whether it names the version too.
fn check_model(loaded: &Loaded, name: Option<&str>) -> Result<bool, Refusal> {
    match name {
        None => Ok(false),
        Some(name) if name == loaded.name => Ok(false),
        Some(name) if name == loaded.full_name() => Ok(true),
        Some(name) => {
            let served = loaded.full_name();
            let message = format!("the model {name:?} is not served; {served:?} is");
            Err(Refusal { status: StatusCode::NOT_FOUND, message, param: Some("model") })
        }
    }
}

/// `POST /v1/completions`
pub(crate) async fn complete(State(app): State<Arc<App>>, request: Request) -> Response {
    match answer(&app, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.response(Shape::OpenAi),
    }
}

async fn answer(app: &Arc<App>, request: Request) -> Result<Response, Refusal> {
    let permit = app.admit()?;
    let charge = Charge::of(&request);
    let body = app.read_body(request).await?;
    let asked = read(&body, &app.config.limits)?;
    let current = app.slot.current();
    let pinned = check_model(&current, asked.model.as_deref())?;
    charge.note(|about| {
        about.operation = Some("text_completion");
        about.model = asked.model.clone().or_else(|| Some(current.name.clone()));
        about.response_model = Some(current.full_name());
    });
    charge.prompt(|| asked.prompts.join("\n"));
    let job = Job { id: next_id(), created_s: store::now_ms() / 1000, asked, pinned, charge };
    if job.asked.stream {
        return stream(app, current, job, permit).await;
    }
    let limit = app.config.limits.generate_time_max;
    let body = app.work(limit, move |app, cancel| {
        with_fallback(app, &current, job.pinned, |loaded| {
            let mut completions = Vec::with_capacity(job.asked.prompts.len());
            for prompt in &job.asked.prompts {
                let mut go_on =
                    |_: &str| if cancel.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
                completions.push(generate(app, loaded, (prompt, &job.charge), &job.asked.sampling, &mut go_on)?);
            }
            Ok(job.whole(loaded, &completions))
        })
    });
    Ok(json_response(StatusCode::OK, body.await?.to_string().into_bytes()))
}

/// One completion, counted and sketched.
fn generate(
    app: &App,
    loaded: &Loaded,
    (prompt, charge): (&str, &Charge),
    sampling: &Sampling,
    on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Completion, Refusal> {
    let Engine::Language(generator) = loaded.model.engine() else {
        let message = format!("{} answers rows, not prompts; ask it at /v2/models/{}/infer", loaded.name, loaded.name);
        return Err(Refusal::bad_param("model", message));
    };
    let completion = generator.complete(prompt, sampling, on_text)?;
    charge.usage(completion.prompt_tokens as u64, completion.completion_tokens as u64);
    app.metrics.prompt_tokens.fetch_add(completion.prompt_tokens as u64, Ordering::Relaxed);
    app.metrics.completion_tokens.fetch_add(completion.completion_tokens as u64, Ordering::Relaxed);
    if completion.finish_reason == FinishReason::Cancelled {
        return Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, "nobody waits for this completion any more"));
    }
    app.metrics.rows(&loaded.name, loaded.version, 1);
    loaded.traffic.observe_text(prompt, &completion.text);
    Ok(completion)
}

/// A request under way.
struct Job {
    id: String,
    created_s: i64,
    asked: Asked,
    pinned: bool,
    charge: Charge,
}

impl Job {
    fn envelope(&self, loaded: &Loaded, choices: Json) -> Json {
        let (created, model) = (self.created_s, loaded.full_name());
        let mut body = json!({ "id": self.id, "object": "text_completion", "created": created, "model": model });
        body["choices"] = choices;
        body
    }

    /// The answer that is not a stream.
    fn whole(&self, loaded: &Loaded, completions: &[Completion]) -> Json {
        let choices = completions.iter().zip(&self.asked.prompts).enumerate().map(|(index, (completion, prompt))| {
            let echo = if self.asked.echo { prompt.as_str() } else { "" };
            choice(index, &format!("{echo}{}", completion.text), Some(reason(completion)))
        });
        let mut body = self.envelope(loaded, choices.collect());
        body["usage"] = usage(completions);
        body
    }

    /// One event of a stream.
    fn event(&self, loaded: &Loaded, index: usize, text: &str, finish_reason: Option<&str>) -> Bytes {
        let mut body = self.envelope(loaded, json!([choice(index, text, finish_reason)]));
        if self.asked.include_usage {
            body["usage"] = Json::Null;
        }
        event(&body)
    }
}

fn choice(index: usize, text: &str, finish_reason: Option<&str>) -> Json {
    json!({ "text": text, "index": index, "logprobs": null, "finish_reason": finish_reason })
}

fn reason(completion: &Completion) -> &'static str {
    if completion.finish_reason == FinishReason::Length { "length" } else { "stop" }
}

fn usage(completions: &[Completion]) -> Json {
    let prompt: usize = completions.iter().map(|completion| completion.prompt_tokens).sum();
    let completion: usize = completions.iter().map(|completion| completion.completion_tokens).sum();
    json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
}

fn event(body: &Json) -> Bytes {
    Bytes::from(format!("data: {body}\n\n"))
}

type Event = Result<Bytes, Refusal>;

/// Answers with a stream. The first event is waited for, so that what goes wrong before it has a status
/// of its own.
async fn stream(
    app: &Arc<App>,
    loaded: Arc<Loaded>,
    job: Job,
    permit: tokio::sync::OwnedSemaphorePermit,
) -> Result<Response, Refusal> {
    let limit = app.config.limits.generate_time_max;
    let deadline = Instant::now() + limit;
    let worker = tokio::time::timeout(limit, app.worker()).await.map_err(|_| too_slow(limit))??;
    let (sender, mut receiver) = mpsc::channel::<Event>(EVENTS_MAX);
    let shared = app.clone();
    tokio::task::spawn_blocking(move || {
        let _permits = (permit, worker);
        let result = shared.guarded(|| send_all(&shared, &loaded, &job, deadline, &sender));
        if let Err(refusal) = result {
            // Nobody may be there to receive it.
            let _ = sender.blocking_send(Err(refusal));
        }
    });
    let first = match receiver.recv().await {
        Some(Ok(first)) => first,
        Some(Err(refusal)) => return Err(refusal),
        None => return Err(Refusal::internal("the stream ended before it began")),
    };
    let events = futures::stream::unfold((Some(first), receiver), |(first, mut receiver)| async move {
        let event = match first {
            Some(first) => Some(Ok(first)),
            None => receiver.recv().await,
        };
        let bytes = match event? {
            Ok(bytes) => bytes,
            Err(refusal) => event_of(&refusal),
        };
        Some((Ok::<_, std::convert::Infallible>(bytes), (None, receiver)))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// What goes wrong in the middle of a stream is its last event; there is no `[DONE]` then.
fn event_of(refusal: &Refusal) -> Bytes {
    event(&refusal.body(Shape::OpenAi))
}

fn send_all(
    app: &App,
    loaded: &Arc<Loaded>,
    job: &Job,
    deadline: Instant,
    sender: &mpsc::Sender<Event>,
) -> Result<(), Refusal> {
    let mut sent = false;
    // Once a version has sent text, no other may go on with it.
    let completions = with_fallback(app, loaded, job.pinned, |loaded| {
        if sent {
            return Err(Refusal::internal("the version that began this stream failed"));
        }
        send_completions(app, loaded, job, deadline, sender, &mut sent).map(|completions| (loaded.clone(), completions))
    });
    let (loaded, completions) = completions?;
    if job.asked.include_usage {
        let mut body = job.envelope(&loaded, json!([]));
        body["usage"] = usage(&completions);
        let _ = sender.blocking_send(Ok(event(&body)));
    }
    let _ = sender.blocking_send(Ok(Bytes::from_static(b"data: [DONE]\n\n")));
    Ok(())
}

fn send_completions(
    app: &App,
    loaded: &Loaded,
    job: &Job,
    deadline: Instant,
    sender: &mpsc::Sender<Event>,
    sent: &mut bool,
) -> Result<Vec<Completion>, Refusal> {
    let mut completions = Vec::new();
    for (index, prompt) in job.asked.prompts.iter().enumerate() {
        let mut late = false;
        let mut send = |text: &str| {
            late = Instant::now() > deadline;
            let gone = if text.is_empty() {
                sender.is_closed()
            } else {
                *sent = true;
                sender.blocking_send(Ok(job.event(loaded, index, text, None))).is_err()
            };
            if gone || late { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        if job.asked.echo && send(prompt).is_break() {
            break;
        }
        let completion = generate(app, loaded, (prompt, &job.charge), &job.asked.sampling, &mut send);
        if late {
            return Err(too_slow(app.config.limits.generate_time_max));
        }
        let completion = completion?;
        let _ = sender.blocking_send(Ok(job.event(loaded, index, "", Some(reason(&completion)))));
        completions.push(completion);
    }
    Ok(completions)
}

fn next_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("cmpl-{:x}-{count:x}", store::now_ms())
}
