//! Requests from their first byte to the last of their answer, and what went wrong with them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::histogram::{Histogram, SECONDS};
use crate::metrics::{family, line};

type ByStatus = BTreeMap<(&'static str, u16), Arc<Histogram>>;

/// Durations by route and status, errors by kind. Both labels' values come from fixed sets.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    durations: Mutex<ByStatus>,
    errors: Mutex<BTreeMap<&'static str, u64>>,
}

impl Requests {
    /// Counts an answer that has ended.
    pub(crate) fn ended(&self, route: &'static str, status: u16, took: Duration) {
        let histogram = {
            let mut durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
            durations.entry((route, status)).or_insert_with(|| Arc::new(Histogram::new(SECONDS))).clone()
        };
        histogram.observe(took.as_secs_f64());
    }

    /// Counts an error of a kind.
    pub(crate) fn error(&self, kind: &'static str) {
        *self.errors.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }

    /// Everything, as Prometheus reads it.
    pub(crate) fn render(&self, text: &mut String) {
        let name = "modelyard_request_duration_seconds";
        family(text, name, "histogram", "Seconds from a request's head to the last byte of its answer.");
        let durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((route, status), histogram) in &durations {
            histogram.render(text, name, &[("route", route), ("status", &status.to_string())]);
        }
        let name = "modelyard_errors_total";
        family(text, name, "counter", "Requests that were refused or went wrong, by kind.");
        for (kind, count) in &*self.errors.lock().unwrap_or_else(PoisonError::into_inner) {
            line(text, name, &[("kind", kind)], *count as f64);
        }
    }
}

/// The kind of error that a status stands for; `None` where it is none.
pub(crate) fn kind_of(status: u16, grpc_status: Option<u16>) -> Option<&'static str> {
    Some(match (status, grpc_status) {
        (_, Some(0)) | (0..400, None) => return None,
        (_, Some(3)) | (400 | 405 | 415 | 422, None) => "invalid_request",
        (_, Some(4)) | (408 | 504, None) => "timeout",
        (_, Some(5)) | (404, None) => "not_found",
        (_, Some(8)) | (413 | 431, None) => "too_large",
        (_, Some(14)) | (503, None) => "overloaded",
        (_, Some(13)) | (500.., None) => "internal",
        _ => "other",
    })
}
