//! The tables of `yard.toml` for what comes after training: compression, image, server, monitoring,
//! gates. As in `file`, a doc comment here is what the user reads in the reference.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Make the model smaller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompressConfig {
    /// How weights are stored.
    #[serde(default = "default_compression")]
    pub method: Compression,
    /// By how much the quality on the test split may fall before the result is refused: of accuracy
    /// for category and binary outputs, of the coefficient of determination for numbers; for
    /// language models, by how much the perplexity may rise, as a share.
    #[serde(default = "default_quality_drop_max")]
    #[schemars(range(min = 0, max = 1))]
    pub quality_drop_max: f64,
}

impl Default for CompressConfig {
    fn default() -> Self {
        Self { method: default_compression(), quality_drop_max: default_quality_drop_max() }
    }
}

fn default_compression() -> Compression {
    Compression::Int8
}

fn default_quality_drop_max() -> f64 {
    0.01
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Eight-bit integers with one scale a row.
    Int8,
}

/// Make an OCI image of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PackageConfig {
    /// The image's tag. Derived: `NAME:latest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The port that the image's server listens on.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: u16,
}

impl Default for PackageConfig {
    fn default() -> Self {
        Self { tag: None, port: 8080 }
    }
}

/// How the model is served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServeConfig {
    /// The address to listen on. Off loopback a key is required of every client.
    pub address: String,
    /// Require a key on loopback too. `yard key create` makes keys.
    pub keys: bool,
    /// The server's certificate and those that vouch for it: a PEM file, read again when it changes.
    /// With it the server speaks TLS only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key: a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// The largest request body.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub body_bytes_max: u32,
    /// How many requests may be under way at once; more are answered with 503.
    #[schemars(range(min = 1, max = 100_000))]
    pub requests_max: u32,
    /// How many requests may wait to be computed; more are answered with 503.
    #[schemars(range(min = 1, max = 100_000))]
    pub queue_max: u32,
    /// How many connections may be open at once; more wait to be accepted.
    #[schemars(range(min = 1, max = 100_000))]
    pub connections_max: u32,
    /// The largest prompt, in bytes; larger ones are answered with 413.
    #[schemars(range(min = 1, max = 1_073_741_824))]
    pub prompt_bytes_max: u32,
    /// The most rows in one request, or tokens in one completion.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub rows_max: u32,
    /// The bytes that the weights and caches of all loaded models may take together; models that are not in use are
    /// unloaded for one that is asked for. 0: no limit.
    pub memory_bytes_max: u64,
    /// How long the predictions of one request may take, in seconds; then 504.
    #[schemars(range(min = 1, max = 86_400))]
    pub predict_seconds_max: u32,
    /// How long the completions of one request may take, in seconds; then 504.
    #[schemars(range(min = 1, max = 86_400))]
    pub generate_seconds_max: u32,
    /// How long a client may take to send a request's head, in seconds.
    #[schemars(range(min = 1, max = 3600))]
    pub head_seconds_max: u32,
    /// How long requests under way may take to end once the server was asked to stop, in seconds.
    #[schemars(range(min = 0, max = 3600))]
    pub drain_seconds_max: u32,
    /// A file that gets one line of JSON for each request; `-` is standard error. Prompts are not in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log: Option<PathBuf>,
    /// Write prompts into the access log and the traces, which may then hold what is personal.
    pub log_prompts: bool,
    /// Where OpenTelemetry traces go by HTTP, such as `http://localhost:4318/v1/traces`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces_endpoint: Option<String>,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:8080".to_owned(),
            keys: false,
            tls_certificate: None,
            tls_key: None,
            body_bytes_max: 8 << 20,
            requests_max: 256,
            queue_max: 256,
            connections_max: 1024,
            prompt_bytes_max: 1 << 20,
            rows_max: 4096,
            memory_bytes_max: 0,
            predict_seconds_max: 60,
            generate_seconds_max: 600,
            head_seconds_max: 30,
            drain_seconds_max: 8,
            access_log: None,
            log_prompts: false,
            traces_endpoint: None,
        }
    }
}

/// How served traffic is compared with the training data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorConfig {
    /// Below this many requests nothing is compared.
    #[schemars(range(min = 1))]
    pub requests_min: u32,
    /// A population stability index above this is reported as drift.
    #[schemars(range(min = 0))]
    pub psi_max: f64,
    /// A two-sample test with a smaller p-value (after Bonferroni's correction) is reported as drift.
    #[schemars(range(min = 0, max = 1))]
    pub p_value_min: f64,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self { requests_min: 100, psi_max: 0.2, p_value_min: 0.01 }
    }
}

/// What a version must show before it may become `champion`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutConfig {
    /// The conditions, all of which must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gate: Vec<GateConfig>,
    /// By how much a metric named in a gate may be worse than the champion's.
    #[schemars(range(min = 0))]
    pub regression_max: f64,
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self { gate: Vec::new(), regression_max: 0.02 }
    }
}

/// One condition on one metric of the test split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateConfig {
    /// The metric, such as `accuracy`, or `OUTPUT.accuracy` where there are several outputs.
    pub metric: String,
    /// The least value that passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The largest value that passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}
