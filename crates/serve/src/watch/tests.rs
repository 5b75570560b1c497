use std::collections::BTreeMap;

use super::histogram::SECONDS;
use super::requests::kind_of;
use super::*;
use crate::metrics::{Metrics, tests::read};

#[test]
fn a_histogram_counts_each_value_once() {
    let histogram = Histogram::new(&[1.0, 2.0]);
    for value in [0.0, 1.0, 1.5, 2.0, 7.0, f64::INFINITY, f64::NAN, -1.0] {
        histogram.observe(value);
    }
    let mut text = String::new();
    histogram.render(&mut text, "x", &[("a", "b")]);
    let samples: BTreeMap<&str, &str> = text.lines().map(|line| line.rsplit_once(' ').unwrap()).collect();
    for (sample, value) in [
        ("x_bucket{a=\"b\",le=\"1\"}", "2"),
        ("x_bucket{a=\"b\",le=\"2\"}", "4"),
        ("x_bucket{a=\"b\",le=\"+Inf\"}", "6"),
        ("x_count{a=\"b\"}", "6"),
        ("x_sum{a=\"b\"}", "inf"),
    ] {
        assert_eq!(samples[sample], value, "{sample}");
    }
    assert!(SECONDS.is_sorted());
}

#[test]
fn many_threads_lose_nothing() {
    let histogram = Histogram::new(SECONDS);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| histogram.observe(0.5)));
        }
    });
    let mut text = String::new();
    histogram.render(&mut text, "x", &[]);
    assert!(text.contains("x_count 4000\n") && text.contains("x_sum 2000\n"), "{text}");
}

#[test]
fn what_generation_reports_is_what_prometheus_reads() {
    let metrics = Metrics::default();
    let generation = &metrics.generation;
    generation.observe_first_token(0.2);
    generation.observe_inter_token(0.02);
    generation.observe_queue(0.0);
    generation.observe_prefill(0.1);
    generation.observe_decode(2.0);
    generation.observe_batches(3, 1);
    generation.observe_tokens(100, 20);
    generation.set_kv_pages(7, 64);
    generation.add_prefix(48, 52);
    metrics.requests.ended("/v1/models", 200, std::time::Duration::from_millis(3));
    metrics.requests.error("timeout");
    let samples = read(&metrics.render(&[("bank".to_owned(), 1, 100)]));
    for (sample, value) in [
        ("modelyard_time_to_first_token_seconds_bucket{le=\"0.1\"}", 0.0),
        ("modelyard_time_to_first_token_seconds_bucket{le=\"0.25\"}", 1.0),
        ("modelyard_inter_token_seconds_count", 1.0),
        ("modelyard_queue_seconds_count", 1.0),
        ("modelyard_prefill_seconds_sum", 0.1),
        ("modelyard_decode_seconds_sum", 2.0),
        ("modelyard_batch_sequences_bucket{le=\"4\"}", 1.0),
        ("modelyard_request_prompt_tokens_sum", 100.0),
        ("modelyard_request_completion_tokens_sum", 20.0),
        ("modelyard_kv_pages_used", 7.0),
        ("modelyard_kv_pages", 64.0),
        ("modelyard_prefix_cache_tokens_total{result=\"hit\"}", 48.0),
        ("modelyard_request_duration_seconds_count{route=\"/v1/models\",status=\"200\"}", 1.0),
        ("modelyard_errors_total{kind=\"timeout\"}", 1.0),
    ] {
        assert_eq!(samples[sample], value, "{sample}");
    }
}

#[test]
fn statuses_have_kinds() {
    assert_eq!(kind_of(200, None), None);
    assert_eq!(kind_of(200, Some(0)), None);
    assert_eq!(kind_of(200, Some(3)), Some("invalid_request"));
    assert_eq!(
        [404, 413, 503, 504, 500].map(|status| kind_of(status, None).unwrap()),
        ["not_found", "too_large", "overloaded", "timeout", "internal"]
    );
}

#[test]
fn a_log_that_nobody_empties_loses_lines_and_holds_up_nobody() {
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let written = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = written.clone();
    let log = Log::start(std::sync::Arc::new(move |_: &str| {
        let _ = gate.lock().unwrap().recv();
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }));
    for _ in 0..10_000 {
        log.line("x".to_owned());
    }
    let lost = log.lost.load(std::sync::atomic::Ordering::Relaxed);
    assert!((1000..=10_000 - 8192).contains(&lost), "{lost}");
    drop(release);
    drop(log);
    assert_eq!(written.load(std::sync::atomic::Ordering::Relaxed) + lost, 10_000);
}
