//! How fast a model of the main job's size answers over HTTP, how soon it is ready, what it weighs.
//!
//! `cargo bench -p modelyard-serve -p deps`
//!
//! Clients and server share the machine's cores, so a server alone is faster than this says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_range_loop,
    clippy::needless_pass_by_value,
    clippy::zombie_processes,
    reason = "tests"
)]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/server/http.rs"]
mod http;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/server/models.rs"]
mod models;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use serve::{FolderSource, ServerConfig};

const TIME: Duration = Duration::from_secs(3);

fn main() {
    let folder = tempfile::tempdir().unwrap();
    models::write_predict(folder.path(), models::description(1 << 16, 77), 1);
    let bytes = std::fs::metadata(folder.path().join("weights.safetensors")).unwrap().len();
    println!("model: 77 labels, 2 x 65536 buckets, {} of f32 weights", base::units::bytes(bytes));
    println!("memory before loading: {}", memory());
    let begun = Instant::now();
    let config = ServerConfig { threads: 2, ..ServerConfig::new(([127, 0, 0, 1], 0).into()) };
    let server = serve::start(config, vec![Arc::new(FolderSource::new(folder.path(), 1))]).unwrap();
    let address = server.ready().address;
    assert_eq!(http::Http::connect(address).get("/health/ready").status, 200);
    println!("ready after {:.0} ms; memory then: {}", begun.elapsed().as_secs_f64() * 1000.0, memory());
    for (rows, clients) in [(1, 1), (1, 2), (1, 8), (64, 2)] {
        load(address, rows, clients);
    }
    println!("memory at the end: {}", memory());
    server.stop().unwrap();
}

fn load(address: SocketAddr, rows: usize, clients: usize) {
    let ask = move || {
        let mut http = http::Http::connect(address);
        let body = body(rows);
        let (begun, mut latencies_ms) = (Instant::now(), Vec::new());
        while begun.elapsed() < TIME {
            let asked = Instant::now();
            assert_eq!(http.post("/v2/models/bank/infer", &body).status, 200);
            latencies_ms.push(asked.elapsed().as_secs_f64() * 1000.0);
        }
        latencies_ms
    };
    let clients: Vec<_> = (0..clients).map(|_| std::thread::spawn(ask)).collect();
    let count = clients.len();
    let mut all: Vec<f64> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all[((all.len() - 1) as f64 * share) as usize];
    let per_second = all.len() as f64 / TIME.as_secs_f64();
    println!(
        "{rows:>3} rows a request, {count} clients: {per_second:>6.0} requests/s, p50 {:.2} ms, p99 {:.2} ms",
        at(0.5),
        at(0.99)
    );
}

fn body(rows: usize) -> Json {
    let message = "I was charged twice for the same payment with my new card, can you tell me why?";
    json!({ "inputs": [
        { "name": "message", "shape": [rows], "datatype": "BYTES", "data": vec![message; rows] },
        { "name": "age", "shape": [rows], "datatype": "FP64", "data": vec![33.5; rows] },
        { "name": "plan", "shape": [rows], "datatype": "BYTES", "data": vec!["gold"; rows] },
        { "name": "vip", "shape": [rows], "datatype": "BOOL", "data": vec![true; rows] },
    ]})
}

/// Resident memory of this process, where the system tells.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or("unknown".to_owned(), |line| line.trim().to_owned())
}
