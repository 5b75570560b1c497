//! A histogram that many threads add to without waiting for each other.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::metrics::line;

/// From a tenth of a millisecond to ten minutes.
pub(crate) const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    120.0, 300.0, 600.0,
];
/// Powers of two, for what is counted in ones: sequences of a batch.
pub(crate) const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// Powers of four, for tokens.
pub(crate) const TOKENS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0];

/// A histogram with fixed edges.
#[derive(Debug)]
pub struct Histogram {
    edges: &'static [f64],
    /// How many values fell between an edge and the one before; the last is above all edges.
    buckets: Box<[AtomicU64]>,
    /// The bits of the sum.
    sum: AtomicU64,
}

impl Histogram {
    /// One without values; the edges rise.
    pub(crate) fn new(edges: &'static [f64]) -> Self {
        Self { edges, buckets: (0..=edges.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    /// Adds a value. One that is no number, or is negative, is left out.
    pub fn observe(&self, value: f64) {
        self.observe_many(value, 1);
    }

    /// Adds the same value some times.
    pub fn observe_many(&self, value: f64, count: u64) {
        if value.is_nan() || value < 0.0 {
            return;
        }
        let bucket = self.edges.partition_point(|edge| *edge < value);
        self.buckets[bucket].fetch_add(count, Relaxed);
        let add = |sum: u64| Some((f64::from_bits(sum) + value * count as f64).to_bits());
        let _ = self.sum.fetch_update(Relaxed, Relaxed, add);
    }

    /// Its samples, as Prometheus reads them.
    pub(crate) fn render(&self, text: &mut String, name: &str, labels: &[(&str, &str)]) {
        let (bucket_name, mut count) = (format!("{name}_bucket"), 0);
        let edges = self.edges.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        // The count is the sum of the buckets as they are read here, so that the parts agree.
        for (edge, bucket) in edges.zip(&self.buckets) {
            count += bucket.load(Relaxed);
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", edge.as_str())]).collect();
            line(text, &bucket_name, &labels, count as f64);
        }
        line(text, &format!("{name}_sum"), labels, f64::from_bits(self.sum.load(Relaxed)));
        line(text, &format!("{name}_count"), labels, count as f64);
    }
}
