//! Clients that mean no good, or are merely broken: every limit, and the server as good as before.
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

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Failure, Fault};
use serde_json::{Value as Json, json};
use serve::{FolderSource, Limits, Running, ServeError, ServerConfig};

use crate::http::{Http, request};
use crate::models::{description, write_predict};
use crate::{config, start};

const INFER: &str = "/v2/models/bank/infer";
const JSON: &str = "content-type: application/json";

fn serve(limits: Limits, key: Option<&str>) -> (tempfile::TempDir, Running) {
    let folder = tempfile::tempdir().unwrap();
    write_predict(folder.path(), description(64, 3), 7);
    let server = start(folder.path(), ServerConfig { limits, key: key.map(str::to_owned), ..config() });
    (folder, server)
}

fn body(rows: usize) -> Json {
    let tensor = |name: &str, datatype: &str, value: Json| json!({ "name": name, "shape": [rows], "datatype": datatype, "data": vec![value; rows] });
    json!({ "inputs": [
        tensor("message", "BYTES", json!("my card")),
        tensor("age", "FP64", json!(1)),
        tensor("plan", "BYTES", json!("gold")),
        tensor("vip", "BOOL", json!(true)),
    ]})
}

/// A fresh client is answered as ever.
fn still_good(server: &Running) {
    let answer = Http::connect(server.ready().address).post(INFER, &body(1));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn every_route_needs_the_key() {
    let key = "0123456789abcdef";
    let (_folder, server) = serve(Limits::default(), Some(key));
    let mut http = Http::connect(server.ready().address);
    let paths = [
        ("GET", "/metrics"),
        ("GET", "/traffic"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/bank"),
        ("POST", "/v1/completions"),
        ("GET", "/v2"),
        ("GET", "/v2/models/bank"),
        ("GET", "/v2/models/bank/ready"),
        ("GET", "/v2/models/bank/versions/1"),
        ("GET", "/v2/models/bank/versions/1/ready"),
        ("POST", INFER),
        ("POST", "/v2/models/bank/versions/1/infer"),
        ("GET", "/no/such/route"),
        ("DELETE", "/metrics"),
    ];
    for path in ["/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"] {
        assert_eq!(http.get(path).status, 200, "{path}");
    }
    let right = format!("authorization: Bearer {key}");
    for (method, path) in paths {
        for wrong in [
            "x-nothing: 1",
            "authorization: Bearer 0123456789abcdeg",
            "authorization: Bearer ",
            "authorization: 0123456789abcdef",
            "authorization: Basic 0123456789abcdef",
        ] {
            let answer = http.request(method, path, &[wrong], b"");
            assert_eq!(answer.status, 401, "{method} {path} {wrong}");
            assert!(answer.has_header("www-authenticate: Bearer"));
            answer.error();
        }
        // A server with a key may be reached by any name.
        let answer = http.request(method, path, &[&right, "host: model.example"], b"");
        assert!(answer.status != 401 && answer.status != 403, "{method} {path}: {}", answer.status);
    }
}

#[test]
fn a_server_without_a_key_answers_no_web_page() {
    let (_folder, server) = serve(Limits::default(), None);
    let mut http = Http::connect(server.ready().address);
    for header in
        ["host: evil.example", "host: 127.0.0.1.evil.example:80", "origin: http://evil.example", "origin: null"]
    {
        let answer = http.request("POST", INFER, &[header, JSON], body(1).to_string().as_bytes());
        assert_eq!(answer.status, 403, "{header}");
        assert!(answer.error().contains("key"));
    }
    for header in ["host: 127.0.0.1:1234", "host: [::1]:80", "origin: http://localhost:3000"] {
        assert_eq!(
            http.request("POST", INFER, &[header, JSON], body(1).to_string().as_bytes()).status,
            200,
            "{header}"
        );
    }
    // What a page may send without asking first is no JSON.
    assert_eq!(http.request("POST", INFER, &["content-type: text/plain"], body(1).to_string().as_bytes()).status, 415);
}

#[test]
fn unknown_routes_methods_and_contents() {
    let (_folder, server) = serve(Limits::default(), None);
    let mut http = Http::connect(server.ready().address);
    let long = format!("/{}", "x".repeat(8000));
    for path in ["/", "/v3", "/v2/models", "/v2/models/bank/infer/", "/%00", "/../../etc/passwd", &long] {
        let answer = http.get(path);
        assert_eq!(answer.status, 404, "{path}");
        answer.error();
    }
    for (method, path) in [("GET", INFER), ("PUT", INFER), ("POST", "/metrics"), ("DELETE", "/v2"), ("OPTIONS", INFER)]
    {
        let answer = http.request(method, path, &[], b"");
        assert_eq!(answer.status, 405, "{method} {path}");
        answer.error();
    }
    let answer = http.request("POST", "/v2/models/%ff/infer", &[], b"{}");
    assert_eq!(answer.status, 400);
    for header in ["content-type: application/x-www-form-urlencoded", "content-type: \u{80}", "content-encoding: gzip"]
    {
        assert_eq!(http.request("POST", INFER, &[header], b"{}").status, 415, "{header}");
    }
    let answer = http.request("POST", INFER, &["inference-header-content-length: 5"], b"{}");
    assert!(answer.status == 400 && answer.error().contains("says 5, and the body has 2"), "{}", answer.text());
    for good in ["content-type: application/json; charset=utf-8", "content-type: APPLICATION/JSON", "x-none: 1"] {
        assert_eq!(http.request("POST", INFER, &[good], body(1).to_string().as_bytes()).status, 200, "{good}");
    }
}

#[test]
fn rubbish_bodies_are_refused() {
    let (_folder, server) = serve(Limits::default(), None);
    let mut http = Http::connect(server.ready().address);
    let deep = |open: &str| open.repeat(200_000).into_bytes();
    let data = |text: &str| {
        body(1)
            .to_string()
            .replace("[1],\"datatype\":\"FP64\",\"data\":[1]", &format!("[1],\"datatype\":\"FP64\",\"data\":[{text}]"))
    };
    let mut bodies: Vec<Vec<u8>> = vec![
        vec![],
        b"null".to_vec(),
        b"{".to_vec(),
        vec![0xff; 1000],
        vec![0; 1000],
        deep("["),
        deep("{\"a\":"),
        format!("{{\"inputs\":{}", "[".repeat(1000)).into_bytes(),
        format!("{{\"inputs\":[{{\"name\":\"age\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":{}", "[".repeat(1000))
            .into_bytes(),
        format!("{{\"parameters\":{}", "{\"a\":".repeat(1000)).into_bytes(),
        br#"{"inputs":[{"name":"age","shape":[18446744073709551615],"datatype":"FP64","data":[]}]}"#.to_vec(),
        br#"{"inputs":[{"name":"age","shape":[18446744073709551616],"datatype":"FP64","data":[]}]}"#.to_vec(),
        br#"{"inputs":[{"name":"\ud800","shape":[1],"datatype":"FP64","data":[1]}]}"#.to_vec(),
    ];
    bodies.extend(["1e999", "-1e999", "NaN", "Infinity", "01"].map(|number| data(number).into_bytes()));
    for body in bodies {
        let answer = http.request("POST", INFER, &[JSON], &body);
        let start: String = String::from_utf8_lossy(&body).chars().take(80).collect();
        assert_eq!(answer.status, 400, "{start}: {}", answer.text());
        assert!(answer.error().len() < 1000, "{start}");
        let answer = http.request("POST", "/v1/completions", &[JSON], &body);
        assert_eq!(answer.status, 400, "{start}");
    }
    // Numbers that are strange and none the less numbers: answered, or refused as too large.
    for number in ["-0.0", "5e-324", "12345678901234567890123", "0.1e1", "1e308", "-1.7e308"] {
        let answer = http.request("POST", INFER, &[JSON], data(number).as_bytes());
        let too_large = answer.status == 400 && answer.error().contains("finite");
        assert!(answer.status == 200 || too_large, "{number}: {}", answer.text());
    }
    still_good(&server);
}

#[test]
fn large_bodies_and_many_rows_are_refused() {
    let limits = Limits { body_bytes_max: 100_000, rows_max: 100, ..Limits::default() };
    let (_folder, server) = serve(limits, None);
    let address = server.ready().address;
    let mut http = Http::connect(address);
    assert_eq!(http.post(INFER, &body(100)).status, 200);
    let answer = http.post(INFER, &body(101));
    assert_eq!(answer.status, 400);
    assert!(answer.error().contains("more than 100 rows"), "{}", answer.text());
    // So many values that they are not even read.
    let many = format!("{{\"inputs\":[{}0]}}", "0,".repeat(40_000));
    let answer = http.request("POST", INFER, &[JSON], many.as_bytes());
    assert!(answer.status == 400 && answer.error().contains("more values"), "{}", answer.text());
    // Declared too large, and found too large under way.
    let mut http = Http::connect(address);
    http.write(format!("POST {INFER} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100001\r\n\r\n").as_bytes());
    assert_eq!(http.answer().status, 413);
    let mut http = Http::connect(address);
    http.write(format!("POST {INFER} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").as_bytes());
    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    for _ in 0..4 {
        http.write(chunk.as_bytes());
    }
    assert_eq!(http.answer().status, 413);
    // A head that never ends.
    let mut http = Http::connect(address);
    let headers: Vec<String> = (0..90).map(|index| format!("x-{index}: {}", "y".repeat(3000))).collect();
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    http.write(&request("GET", "/v2", &headers, b""));
    assert_eq!(http.answer().status, 431);
    still_good(&server);
}

#[test]
fn what_is_not_http_closes_the_connection() {
    let (_folder, server) = serve(Limits::default(), None);
    let address = server.ready().address;
    let rubbish: [&[u8]; 5] = [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nMS\r\n\r\n",
    ];
    for bytes in rubbish {
        let mut http = Http::connect(address);
        http.write(bytes);
        http.stream.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        let _ = http.stream.read_to_end(&mut rest);
        let text = String::from_utf8_lossy(&rest);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 505"), "{text}");
    }
    // Cut off in the head, and in the body.
    let whole = request("POST", INFER, &[JSON], body(1).to_string().as_bytes());
    for end in [10, 40, whole.len() - 1] {
        let mut http = Http::connect(address);
        http.write(&whole[..end]);
        drop(http);
    }
    still_good(&server);
}

#[test]
fn slow_clients_are_not_waited_for() {
    let limits = Limits {
        head_time_max: Duration::from_millis(300),
        body_time_max: Duration::from_millis(300),
        ..Limits::default()
    };
    let (_folder, server) = serve(limits, None);
    let address = server.ready().address;
    let begun = Instant::now();
    let mut silent = Http::connect(address);
    let mut slow_head = Http::connect(address);
    slow_head.write(b"GET /v2 HTTP/1.1\r\nhost: loc");
    let mut slow_body = Http::connect(address);
    slow_body.write(format!("POST {INFER} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\n{{").as_bytes());
    let answer = slow_body.answer();
    assert_eq!(answer.status, 408);
    assert!(answer.error().contains("0.3 s"), "{}", answer.text());
    assert!(slow_head.try_answer().is_none_or(|answer| answer.status == 408));
    assert!(silent.try_answer().is_none());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    still_good(&server);
}

#[test]
fn more_requests_than_allowed_are_sent_away() {
    let (_folder, server) = serve(Limits { requests_max: 1, ..Limits::default() }, None);
    let address = server.ready().address;
    let body = body(1).to_string();
    let mut first = Http::connect(address);
    let head = format!("POST {INFER} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
    first.write(head.as_bytes());
    let mut second = Http::connect(address);
    // On a busy machine it takes a while until the server looks at the first connection.
    let mut ask = |_| {
        std::thread::sleep(Duration::from_millis(5));
        second.request("POST", INFER, &[JSON], body.as_bytes())
    };
    let refused = (0..2000).map(&mut ask).find(|answer| answer.status != 200);
    let refused = refused.expect("the first request was never under way");
    assert_eq!(refused.status, 503);
    assert!(refused.has_header("retry-after: 1"));
    // Who watches the server is answered all the same.
    assert_eq!(second.get("/health/ready").status, 200);
    first.write(body.as_bytes());
    assert_eq!(first.answer().status, 200);
    assert_eq!(second.request("POST", INFER, &[JSON], body.as_bytes()).status, 200);
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let limits = Limits { write_time_max: Duration::from_millis(300), ..Limits::default() };
    let (_folder, server) = serve(limits, None);
    let address = server.ready().address;
    let mut http = Http::connect(address);
    http.stream.get_mut().set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let request = request("POST", INFER, &[JSON], body(4000).to_string().as_bytes());
    // Asks again and again and reads nothing: the answers fill every buffer, and then the server hangs up.
    let begun = Instant::now();
    let cut = (0..2000).any(|_| std::io::Write::write_all(http.stream.get_mut(), &request).is_err());
    assert!(cut, "the server still takes requests after {:?}", begun.elapsed());
    still_good(&server);
    // Only the one that asks is left, once the server has seen the others go.
    let mut watcher = Http::connect(address);
    let mut metrics = String::new();
    let alone = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        metrics = watcher.get("/metrics").text();
        metrics.contains("modelyard_connections 1\n")
    });
    assert!(alone, "{metrics}");
}

#[test]
fn a_port_in_use_is_the_users_to_mend() {
    let (folder, server) = serve(Limits::default(), None);
    let taken = ServerConfig { address: server.ready().address, ..config() };
    let error = serve::start(taken, vec![Arc::new(FolderSource::new(folder.path(), 1))]).unwrap_err();
    assert!(matches!(error, ServeError::Bind { .. }));
    assert_eq!(error.fault(), Fault::User);
    assert!(error.hint().unwrap().contains("--address"), "{:?}", error.hint());
}

#[test]
fn requests_under_way_end_before_the_server_does() {
    let (_folder, server) = serve(Limits::default(), None);
    let address = server.ready().address;
    let body = body(1).to_string();
    let mut http = Http::connect(address);
    http.write(
        format!("POST {INFER} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(),
    );
    let mut idle = Http::connect(address);
    idle.get("/v2");
    let _silent = Http::connect(address);
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    let stopping = std::thread::spawn(move || server.stop());
    // Idle connections are closed at once, and new ones find nobody.
    assert!(idle.try_answer().is_none());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(std::net::TcpStream::connect(address).is_err());
    http.write(body.as_bytes());
    let answer = http.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.has_header("connection: close"), "{}", answer.head);
    assert_eq!(stopping.join().unwrap().unwrap().cut, 0);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn what_does_not_end_is_cut() {
    let limits = Limits { drain_time_max: Duration::from_millis(200), ..Limits::default() };
    let (_folder, server) = serve(limits, None);
    let mut http = Http::connect(server.ready().address);
    http.write(format!("POST {INFER} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\n").as_bytes());
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    assert_eq!(server.stop().unwrap().cut, 1);
    assert!(begun.elapsed() < Duration::from_secs(2));
}
