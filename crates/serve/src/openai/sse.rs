//! Answers as streams of server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::Value as Json;

use super::writing::{Piece, Usage, Writing};
use crate::refusal::{Refusal, Shape};

/// How pieces of texts become events.
pub(crate) trait Format: Send + 'static {
    /// Events before the first piece.
    fn begin(&mut self, events: &mut Events);
    /// Events of a piece.
    fn piece(&mut self, piece: Piece, events: &mut Events);
    /// Events once all texts are over.
    fn end(&mut self, usage: Usage, events: &mut Events);
    /// The event for what goes wrong in the middle.
    fn failed(&mut self, refusal: &Refusal, events: &mut Events) {
        events.data(&refusal.body(Shape::OpenAi));
    }
}

/// Events that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct Events(VecDeque<Bytes>);

impl Events {
    /// An event without a name.
    pub(crate) fn data(&mut self, body: &Json) {
        self.0.push_back(Bytes::from(format!("data: {body}\n\n")));
    }

    /// An event with one.
    pub(crate) fn named(&mut self, name: &str, body: &Json) {
        self.0.push_back(Bytes::from(format!("event: {name}\ndata: {body}\n\n")));
    }

    /// What ends a stream of completions.
    pub(crate) fn done(&mut self) {
        self.0.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
    }
}

struct State<F> {
    writing: Option<Writing>,
    format: F,
    events: Events,
}

/// The answer of a stream.
pub(crate) fn stream<F: Format>(writing: Writing, mut format: F) -> Response {
    let mut events = Events::default();
    format.begin(&mut events);
    let state = State { writing: Some(writing), format, events };
    let events = futures::stream::unfold(state, |mut state| async move {
        loop {
            if let Some(event) = state.events.0.pop_front() {
                return Some((Ok::<_, Infallible>(event), state));
            }
            let writing = state.writing.as_mut()?;
            match writing.next().await {
                Some(Ok(piece)) => state.format.piece(piece, &mut state.events),
                // What goes wrong in the middle of a stream is its last event.
                Some(Err(refusal)) => {
                    state.format.failed(&refusal, &mut state.events);
                    state.writing = None;
                }
                None => {
                    let usage = writing.usage;
                    state.format.end(usage, &mut state.events);
                    state.writing = None;
                }
            }
        }
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
