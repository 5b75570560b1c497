//! How generation goes: where its time is spent, how full its batches and its cache are.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::histogram::{COUNTS, Histogram, SECONDS, TOKENS};
use crate::metrics::{family, line};

/// How generation goes. Every method may be called from any thread, and none waits.
#[derive(Debug)]
pub struct Generation {
    first_token: Histogram,
    inter_token: Histogram,
    queue: Histogram,
    prefill: Histogram,
    decode: Histogram,
    batch: Histogram,
    prompt_tokens: Histogram,
    completion_tokens: Histogram,
    kv_pages_used: AtomicU64,
    kv_pages: AtomicU64,
    prefix_hits: AtomicU64,
    prefix_misses: AtomicU64,
}

impl Default for Generation {
    fn default() -> Self {
        Self {
            first_token: Histogram::new(SECONDS),
            inter_token: Histogram::new(SECONDS),
            queue: Histogram::new(SECONDS),
            prefill: Histogram::new(SECONDS),
            decode: Histogram::new(SECONDS),
            batch: Histogram::new(COUNTS),
            prompt_tokens: Histogram::new(TOKENS),
            completion_tokens: Histogram::new(TOKENS),
            kv_pages_used: AtomicU64::new(0),
            kv_pages: AtomicU64::new(0),
            prefix_hits: AtomicU64::new(0),
            prefix_misses: AtomicU64::new(0),
        }
    }
}

impl Generation {
    /// From a request's arrival to its first token, in seconds.
    pub fn observe_first_token(&self, seconds: f64) {
        self.first_token.observe(seconds);
    }

    /// From one token to the next of the same completion, in seconds.
    pub fn observe_inter_token(&self, seconds: f64) {
        self.inter_token.observe(seconds);
    }

    /// From a request's arrival until work on it began, in seconds.
    pub fn observe_queue(&self, seconds: f64) {
        self.queue.observe(seconds);
    }

    /// The time that reading one request's prompt took, in seconds.
    pub fn observe_prefill(&self, seconds: f64) {
        self.prefill.observe(seconds);
    }

    /// From one completion's first token to its last, in seconds.
    pub fn observe_decode(&self, seconds: f64) {
        self.decode.observe(seconds);
    }

    /// Steps of the engine with so many sequences.
    pub fn observe_batches(&self, sequences: u64, steps: u64) {
        self.batch.observe_many(sequences as f64, steps);
    }

    /// Tokens of one request that ended: of its prompt, and of its completion.
    pub fn observe_tokens(&self, prompt: u64, completion: u64) {
        self.prompt_tokens.observe(prompt as f64);
        self.completion_tokens.observe(completion as f64);
    }

    /// Pages of the cache of keys and values: in use, and in all.
    pub fn set_kv_pages(&self, used: u64, total: u64) {
        self.kv_pages_used.store(used, Relaxed);
        self.kv_pages.store(total, Relaxed);
    }

    /// Tokens of one prompt that the prefix cache held, and that it did not.
    pub fn add_prefix(&self, hits: u64, misses: u64) {
        self.prefix_hits.fetch_add(hits, Relaxed);
        self.prefix_misses.fetch_add(misses, Relaxed);
    }

    /// Everything, as Prometheus reads it.
    pub(crate) fn render(&self, text: &mut String) {
        let histograms = [
            ("modelyard_time_to_first_token_seconds", "Seconds from a request to its first token.", &self.first_token),
            ("modelyard_inter_token_seconds", "Seconds from one token to the next.", &self.inter_token),
            ("modelyard_queue_seconds", "Seconds that requests waited to be computed.", &self.queue),
            ("modelyard_prefill_seconds", "Seconds to read a prompt.", &self.prefill),
            ("modelyard_decode_seconds", "Seconds from a completion's first token to its last.", &self.decode),
            ("modelyard_batch_sequences", "Sequences in one step of the engine.", &self.batch),
            ("modelyard_request_prompt_tokens", "Tokens of a request's prompt.", &self.prompt_tokens),
            ("modelyard_request_completion_tokens", "Tokens of a request's completion.", &self.completion_tokens),
        ];
        for (name, help, histogram) in histograms {
            family(text, name, "histogram", help);
            histogram.render(text, name, &[]);
        }
        for (name, help, value) in [
            ("modelyard_kv_pages_used", "Pages in use of the cache of keys and values.", &self.kv_pages_used),
            ("modelyard_kv_pages", "Pages of the cache of keys and values.", &self.kv_pages),
        ] {
            family(text, name, "gauge", help);
            line(text, name, &[], value.load(Relaxed) as f64);
        }
        let name = "modelyard_prefix_cache_tokens_total";
        family(text, name, "counter", "Tokens of prompts, by whether the prefix cache held them.");
        line(text, name, &[("result", "hit")], self.prefix_hits.load(Relaxed) as f64);
        line(text, name, &[("result", "miss")], self.prefix_misses.load(Relaxed) as f64);
    }
}
