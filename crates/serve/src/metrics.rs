//! Counters of the server, written in Prometheus' text format, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::watch::{Generation, Requests};

/// The upper edges of the latency histogram, in seconds.
const LATENCY_S: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// The counters of one server. Every label's values come from a fixed set or from the registry, never
/// from a request.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    by_route: Mutex<BTreeMap<&'static str, Route>>,
    rows: Mutex<BTreeMap<(String, u32), u64>>,
    pub(crate) generation: Generation,
    pub(crate) requests: Requests,
    pub(crate) in_flight: AtomicI64,
    pub(crate) connections: AtomicI64,
    pub(crate) prompt_tokens: AtomicU64,
    pub(crate) completion_tokens: AtomicU64,
    pub(crate) switches: AtomicU64,
    pub(crate) loads: AtomicU64,
    pub(crate) load_failures: AtomicU64,
    pub(crate) sketch_failures: AtomicU64,
    pub(crate) key_failures: AtomicU64,
    pub(crate) tls_failures: AtomicU64,
    pub(crate) panics: AtomicU64,
}

#[derive(Debug, Default)]
struct Route {
    by_status: BTreeMap<u16, u64>,
    buckets: [u64; LATENCY_S.len()],
    count: u64,
    seconds: f64,
}

/// Counts one thing as under way until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay<'a>(&'a AtomicI64);

impl<'a> UnderWay<'a> {
    pub(crate) fn count(gauge: &'a AtomicI64) -> Self {
        gauge.fetch_add(1, Relaxed);
        Self(gauge)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Metrics {
    /// Counts an answered request.
    pub(crate) fn answered(&self, route: &'static str, status: u16, took: Duration) {
        let seconds = took.as_secs_f64();
        let mut routes = lock(&self.by_route);
        let route = routes.entry(route).or_default();
        *route.by_status.entry(status).or_default() += 1;
        route.count += 1;
        route.seconds += seconds;
        if let Some(bucket) = LATENCY_S.iter().position(|edge| seconds <= *edge) {
            route.buckets[bucket] += 1;
        }
    }

    /// Counts answered rows, or completions, of a version.
    pub(crate) fn rows(&self, name: &str, version: u32, count: u64) {
        let mut rows = lock(&self.rows);
        if let Some(sum) = rows.get_mut(&(name.to_owned(), version)) {
            *sum += count;
        } else {
            rows.insert((name.to_owned(), version), count);
        }
    }

    /// Everything, as Prometheus reads it.
    pub(crate) fn render(&self, models: &[(String, u32, u64)]) -> String {
        let mut text = String::with_capacity(4096);
        self.render_routes(&mut text);
        self.requests.render(&mut text);
        self.generation.render(&mut text);
        family(
            &mut text,
            "modelyard_rows_total",
            "counter",
            "Rows or completions answered, by the version that answered.",
        );
        for ((name, version), count) in &*lock(&self.rows) {
            line(
                &mut text,
                "modelyard_rows_total",
                &[("model", name), ("version", &version.to_string())],
                *count as f64,
            );
        }
        family(&mut text, "modelyard_tokens_total", "counter", "Tokens read in prompts and generated in completions.");
        for (kind, count) in [("prompt", &self.prompt_tokens), ("completion", &self.completion_tokens)] {
            line(&mut text, "modelyard_tokens_total", &[("kind", kind)], count.load(Relaxed) as f64);
        }
        family(
            &mut text,
            "modelyard_model_version",
            "gauge",
            "The version that answers now, of every model that is loaded.",
        );
        for (name, version, _) in models {
            line(&mut text, "modelyard_model_version", &[("model", name)], f64::from(*version));
        }
        let help = "Bytes that the weights of a loaded model and its cache, once it is full, take.";
        family(&mut text, "modelyard_model_bytes", "gauge", help);
        for (name, _, bytes) in models {
            line(&mut text, "modelyard_model_bytes", &[("model", name)], *bytes as f64);
        }
        for (name, help, value) in [
            ("modelyard_model_switches_total", "Switches to another version.", &self.switches),
            ("modelyard_model_loads_total", "Models loaded because they were asked for.", &self.loads),
            (
                "modelyard_model_load_failures_total",
                "Versions that could not be loaded or failed at first.",
                &self.load_failures,
            ),
            (
                "modelyard_sketch_failures_total",
                "Times that traffic sketches could not be stored; they are kept.",
                &self.sketch_failures,
            ),
            (
                "modelyard_key_failures_total",
                "Times that keys could not be read or charged in the store; those known stay in use.",
                &self.key_failures,
            ),
            (
                "modelyard_tls_failures_total",
                "Times that the certificate or its key could not be read again; those before stay in use.",
                &self.tls_failures,
            ),
            ("modelyard_panics_total", "Requests that ended in a fault of the program.", &self.panics),
        ] {
            family(&mut text, name, "counter", help);
            line(&mut text, name, &[], value.load(Relaxed) as f64);
        }
        for (name, help, value) in [
            ("modelyard_requests_in_flight", "Requests under way.", &self.in_flight),
            ("modelyard_connections", "Open connections.", &self.connections),
        ] {
            family(&mut text, name, "gauge", help);
            line(&mut text, name, &[], value.load(Relaxed) as f64);
        }
        text
    }

    fn render_routes(&self, text: &mut String) {
        let routes = lock(&self.by_route);
        family(text, "modelyard_requests_total", "counter", "Answered requests, by route and status.");
        for (route, counts) in &*routes {
            for (status, count) in &counts.by_status {
                let labels = [("route", *route), ("status", &status.to_string())];
                line(text, "modelyard_requests_total", &labels, *count as f64);
            }
        }
        let name = "modelyard_request_seconds";
        family(text, name, "histogram", "Seconds from a request's head to the head of its answer.");
        for (route, counts) in &*routes {
            let mut sum = 0;
            for (edge, count) in LATENCY_S.iter().zip(counts.buckets) {
                sum += count;
                let labels = [("route", *route), ("le", &edge.to_string())];
                line(text, "modelyard_request_seconds_bucket", &labels, sum as f64);
            }
            line(text, "modelyard_request_seconds_bucket", &[("route", route), ("le", "+Inf")], counts.count as f64);
            line(text, "modelyard_request_seconds_sum", &[("route", route)], counts.seconds);
            line(text, "modelyard_request_seconds_count", &[("route", route)], counts.count as f64);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

pub(crate) fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    text.push_str(name);
    for (index, (label, content)) in labels.iter().enumerate() {
        let before = if index == 0 { '{' } else { ',' };
        let content = content.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{before}{label}=\"{content}\"");
    }
    let _ = writeln!(text, "{} {value}", if labels.is_empty() { "" } else { "}" });
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A strict reader of the text format: families once, each with help and type before its samples,
    /// names and labels of the permitted signs, numbers as values; histograms cumulative.
    pub(crate) fn read(text: &str) -> BTreeMap<String, f64> {
        assert!(text.ends_with('\n'));
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let (mut seen, mut samples) = (BTreeSet::new(), BTreeMap::new());
        let (mut family, mut kind) = (String::new(), String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                family = rest.split_once(' ').unwrap().0.to_owned();
                assert!(is_name(&family) && seen.insert(family.clone()), "{family} twice");
                kind.clear();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, found) = rest.split_once(' ').unwrap();
                assert!(name == family && kind.is_empty() && ["counter", "gauge", "histogram"].contains(&found));
                kind = found.to_owned();
            } else {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                let name = sample.split('{').next().unwrap();
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                let own = if kind == "histogram" { base.unwrap() } else { name };
                assert!(own == family && is_name(name) && !kind.is_empty(), "{line}");
                assert!(kind != "counter" || name.ends_with("_total"), "{line}");
                read_labels(&sample[name.len()..], &is_name);
                assert!(samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(), "{line} twice");
            }
        }
        samples
    }

    fn read_labels(text: &str, is_name: &dyn Fn(&str) -> bool) {
        let Some(inside) = text.strip_prefix('{') else { return assert!(text.is_empty()) };
        let mut rest = inside.strip_suffix('}').unwrap();
        loop {
            let (label, after) = rest.split_once("=\"").unwrap();
            assert!(is_name(label));
            let mut end = None;
            let mut escaped = false;
            for (index, sign) in after.char_indices() {
                match sign {
                    _ if escaped => {
                        assert!("\\\"n".contains(sign));
                        escaped = false;
                    }
                    '\\' => escaped = true,
                    '"' => {
                        end = Some(index);
                        break;
                    }
                    _ => {}
                }
            }
            rest = &after[end.unwrap() + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return assert!(rest.is_empty()),
            }
        }
    }

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.answered("/v2/models/{model}/infer", 200, Duration::from_micros(700));
        metrics.answered("/v2/models/{model}/infer", 200, Duration::from_secs(100));
        metrics.answered("/v2/models/{model}/infer", 400, Duration::from_millis(1));
        metrics.rows("strange \"name\\\n", 3, 64);
        let _under_way = UnderWay::count(&metrics.in_flight);
        let samples = read(&metrics.render(&[("bank".to_owned(), 7, 100)]));
        let get = |key: &str| samples[key];
        assert_eq!(get("modelyard_requests_total{route=\"/v2/models/{model}/infer\",status=\"200\"}"), 2.0);
        assert_eq!(get("modelyard_request_seconds_bucket{route=\"/v2/models/{model}/infer\",le=\"0.0005\"}"), 0.0);
        assert_eq!(get("modelyard_request_seconds_bucket{route=\"/v2/models/{model}/infer\",le=\"0.001\"}"), 2.0);
        assert_eq!(get("modelyard_request_seconds_bucket{route=\"/v2/models/{model}/infer\",le=\"60\"}"), 2.0);
        assert_eq!(get("modelyard_request_seconds_bucket{route=\"/v2/models/{model}/infer\",le=\"+Inf\"}"), 3.0);
        assert_eq!(get("modelyard_request_seconds_count{route=\"/v2/models/{model}/infer\"}"), 3.0);
        assert_eq!(get("modelyard_model_version{model=\"bank\"}"), 7.0);
        assert_eq!(get("modelyard_requests_in_flight"), 1.0);
        assert_eq!(get("modelyard_rows_total{model=\"strange \\\"name\\\\\\n\",version=\"3\"}"), 64.0);
    }
}
