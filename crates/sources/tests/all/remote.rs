//! HTTP from a server in this process; S3 from `moto_server` (PyPI `moto[server]`), with `YARD_TEST_FULL=1`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sources::{Body, Config, Item, Reason};

/// A server of a few pages.
fn serve() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let root = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let count = Arc::clone(&count);
            std::thread::spawn(move || answer(stream.unwrap(), &count));
        }
    });
    (root, requests)
}

fn answer(mut stream: TcpStream, count: &AtomicUsize) {
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut request = String::new();
        if lines.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let mut header = String::new();
        while header != "\r\n" {
            header.clear();
            lines.read_line(&mut header).unwrap();
        }
        let path = request.split(' ').nth(1).unwrap().to_owned();
        let flaky = path == "/flaky.csv" && count.fetch_add(1, Ordering::SeqCst) == 0;
        let parquet = crate::formats::parquet_bytes();
        let (status, media_type, body): (&str, &str, Vec<u8>) = match path.as_str() {
            "/rows.csv?signature=secret" => ("200 OK", "text/csv", b"h\n1\n2\n".to_vec()),
            "/page" => (
                "200 OK",
                "text/html; charset=gbk",
                encoding_rs::GBK.encode("<p>模坞造船的地方，大家都来看看。</p>").0.into_owned(),
            ),
            "/t.parquet" => ("200 OK", "application/octet-stream", parquet),
            "/flaky.csv" if flaky => ("503 Service Unavailable", "text/plain", Vec::new()),
            "/flaky.csv" => ("200 OK", "text/csv", b"h\n1\n".to_vec()),
            "/short.csv" => ("200 OK", "text/csv", b"h\n1\n2".to_vec()),
            "/silent.csv" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nh\n1\n").unwrap();
                std::thread::sleep(std::time::Duration::from_secs(3));
                return;
            }
            _ => ("404 Not Found", "text/plain", Vec::new()),
        };
        let promised = if path == "/short.csv" { 1000 } else { body.len() };
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {promised}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        if promised != body.len() {
            return;
        }
    }
}

struct Seen {
    bodies: Vec<Body>,
    damaged: Vec<(String, Reason, String)>,
    names: Vec<String>,
}

fn read(patterns: &[String], config: &Config) -> Seen {
    let mut seen = Seen { bodies: Vec::new(), damaged: Vec::new(), names: Vec::new() };
    for object in sources::find(patterns, Path::new("."), config).unwrap() {
        seen.names.push(object.name.to_string());
        sources::read(&object, config, &mut |item| {
            match item {
                Item::Record(record) => seen.bodies.push(record.body),
                Item::Damaged { place, damage } => {
                    seen.damaged.push((place.to_string(), damage.reason, damage.message));
                }
                _ => {}
            }
            ControlFlow::Continue(())
        });
    }
    seen
}

#[test]
fn addresses_are_read_and_their_secrets_not_shown() {
    let (root, _) = serve();
    let config = Config { network_seconds_max: 1.0, retries_max: 1, ..Config::default() };
    let pages = ["/rows.csv?signature=secret", "/page", "/t.parquet", "/flaky.csv"].map(|path| format!("{root}{path}"));
    let seen = read(&pages, &config);
    assert_eq!(seen.damaged, []);
    assert_eq!(seen.bodies.len(), 2 + 1 + 3 + 1);
    let Body::Document(page) = &seen.bodies[2] else { panic!("{:?}", seen.bodies[2]) };
    assert_eq!(page.text, "模坞造船的地方，大家都来看看。");
    assert_eq!(page.get("url"), Some(format!("{root}/page").as_str()));
    assert!(seen.names.iter().all(|name| !name.contains("secret")));
}

#[test]
fn servers_that_fail_are_entries() {
    let (root, _) = serve();
    let config = Config { network_seconds_max: 0.5, retries_max: 0, ..Config::default() };
    let seen = read(&["/gone.csv", "/short.csv", "/silent.csv"].map(|path| format!("{root}{path}")), &config);
    let reasons: Vec<Reason> = seen.damaged.iter().map(|(_, reason, _)| *reason).collect();
    assert_eq!(reasons, [Reason::NotFound, Reason::Network, Reason::Timeout], "{:?}", seen.damaged);
    // What came before the silence was given.
    assert_eq!(seen.bodies.len(), 2);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let seen = read(&[format!("http://user:secret@{closed}/a.csv?key=secret")], &config);
    assert_eq!(seen.damaged[0].1, Reason::Network);
    assert!(!format!("{:?}", seen.damaged).contains("secret"), "{:?}", seen.damaged);
}

#[test]
fn objects_of_s3_are_found_and_read() {
    if std::env::var_os("YARD_TEST_FULL").is_none_or(|value| value != "1") {
        eprintln!("skipped: needs YARD_TEST_FULL=1 and moto_server");
        return;
    }
    // The environment is a process's own: the check runs in another.
    if std::env::var_os("SOURCES_TEST_S3").is_none() {
        let (mut server, endpoint) = start_moto();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "remote::objects_of_s3_are_found_and_read", "--nocapture"])
            .envs([
                ("SOURCES_TEST_S3", "1"),
                ("AWS_ALLOW_HTTP", "true"),
                ("AWS_ACCESS_KEY_ID", "k"),
                ("AWS_SECRET_ACCESS_KEY", "s"),
            ])
            .envs([("AWS_ENDPOINT", endpoint.as_str()), ("AWS_REGION", "us-east-1")])
            .status();
        server.kill().unwrap();
        server.wait().unwrap();
        assert!(status.unwrap().success());
        return;
    }
    let endpoint = std::env::var("AWS_ENDPOINT").unwrap();
    put(&endpoint, "/yard", &[]);
    put(&endpoint, "/yard/in/b.csv", b"h\n1\n2\n");
    put(&endpoint, "/yard/in/a.jsonl.gz", &crate::packed::gzip(b"{\"x\":1}\n"));
    put(&endpoint, "/yard/in/deep/t.parquet", &crate::formats::parquet_bytes());
    put(&endpoint, "/yard/in/z.zip", &crate::packed::zip(&[("m.csv", b"h\n1\n")]));
    put(&endpoint, "/yard/out/c.csv", b"h\n1\n");
    let config = Config { network_seconds_max: 5.0, ..Config::default() };
    let seen = read(&["s3://yard/in".to_owned()], &config);
    let names = ["s3://yard/in/a.jsonl.gz", "s3://yard/in/b.csv", "s3://yard/in/deep/t.parquet", "s3://yard/in/z.zip"];
    assert_eq!((seen.names, seen.damaged), (names.map(str::to_owned).to_vec(), vec![]));
    assert_eq!(seen.bodies.len(), 1 + 2 + 3 + 1);
    let seen = read(&["s3://yard/**/{b,c}.csv".to_owned(), "s3://yard/in/b.csv".to_owned()], &config);
    assert_eq!(seen.names, ["s3://yard/in/b.csv", "s3://yard/out/c.csv"]);
    assert_eq!(seen.bodies.len(), 3);
    assert!(sources::find(&["s3://yard/nowhere.csv".to_owned()], Path::new("."), &config).is_err());
}

fn start_moto() -> (std::process::Child, String) {
    let home = std::env::var("HOME").unwrap();
    let own = format!("{home}/.cache/data-peers/bin/moto_server");
    let program = if Path::new(&own).exists() { own } else { "moto_server".to_owned() };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let server = std::process::Command::new(program)
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("pip install 'moto[server]'");
    for _ in 0..300 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    (server, format!("http://127.0.0.1:{port}"))
}

/// Puts an object; moto asks for no signature.
fn put(endpoint: &str, path: &str, body: &[u8]) {
    let host = endpoint.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    let auth = "AWS4-HMAC-SHA256 Credential=k/20240101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    write!(
        stream,
        "PUT {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {auth}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status).unwrap();
    assert!(status.contains("200"), "{path}: {status}");
}
