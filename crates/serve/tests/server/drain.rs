//! An orderly end: what is under way is answered to its last byte, and nothing new is taken.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use serve::{Limits, ServerConfig};

use crate::http::{Http, request};
use crate::models::write_language;
use crate::{config, start};

/// A stream that is under way, read up to its first event.
fn begin_stream(http: &mut Http, max_tokens: usize) {
    let body = json!({ "prompt": "the quick", "max_tokens": max_tokens, "temperature": 0, "stream": true }).to_string();
    http.write(&request("POST", "/v1/completions", &["content-type: application/json"], body.as_bytes()));
    assert!(http.head().unwrap().starts_with("HTTP/1.1 200"));
    http.chunk().unwrap();
}

#[test]
fn a_stream_under_way_is_sent_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    write_language(folder.path(), 3, 4096);
    let limits = Limits { drain_time_max: Duration::from_secs(60), ..Limits::default() };
    let server = start(folder.path(), ServerConfig { limits, ..config() });
    let address = server.ready().address;
    let mut http = Http::connect(address);
    // Long enough for the fastest of machines.
    let tokens = 4000;
    begin_stream(&mut http, tokens);
    let stopping = std::thread::spawn(move || server.stop());
    let begun = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(2), "new connections are still taken");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!stopping.is_finished(), "the server did not wait for its stream");
    let mut text = String::new();
    while let Some(chunk) = http.chunk() {
        text.push_str(&String::from_utf8(chunk).unwrap());
    }
    assert!(text.ends_with("data: [DONE]\n\n"), "{}", &text[text.len().saturating_sub(300)..]);
    assert_eq!(stopping.join().unwrap().unwrap().cut, 0);
}

#[test]
fn a_stream_that_takes_too_long_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    write_language(folder.path(), 3, 1 << 20);
    let limits = Limits { drain_time_max: Duration::from_millis(200), rows_max: 1 << 20, ..Limits::default() };
    let server = start(folder.path(), ServerConfig { limits, ..config() });
    let mut http = Http::connect(server.ready().address);
    begin_stream(&mut http, 1 << 19);
    let begun = Instant::now();
    assert_eq!(server.stop().unwrap().cut, 1);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// An HTTP/2 connection that has sent its settings, and never answers anything.
fn dumb_http2(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    stream.read_exact(&mut [0; 9]).unwrap();
    stream
}

#[test]
fn an_idle_connection_of_either_version_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    write_language(folder.path(), 3, 64);
    let limits = Limits { head_time_max: Duration::from_millis(300), ..Limits::default() };
    let server = start(folder.path(), ServerConfig { limits, ..config() });
    let mut first = Http::connect(server.ready().address);
    first.get("/v2");
    let mut second = dumb_http2(server.ready().address);
    let begun = Instant::now();
    assert!(first.try_answer().is_none());
    let mut rest = Vec::new();
    let _ = second.read_to_end(&mut rest);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    // It was told that it has to go: a frame of type 7.
    assert!(rest.windows(4).any(|window| window == [0, 0, 8, 7]), "{rest:?}");
}

#[test]
fn an_idle_connection_that_does_not_answer_holds_up_no_end() {
    let folder = tempfile::tempdir().unwrap();
    write_language(folder.path(), 3, 64);
    let server = start(folder.path(), config());
    let _idle = dumb_http2(server.ready().address);
    let begun = Instant::now();
    assert_eq!(server.stop().unwrap().cut, 0);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
