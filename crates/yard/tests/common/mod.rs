//! A project in a temporary folder, and the real `yard` run on it.
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
#![allow(dead_code, reason = "each test file uses its own part")]
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value as Json;

/// The program under test.
pub const YARD: &str = env!("CARGO_BIN_EXE_yard");

/// What a finished command left.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// The command must fail with this exit code, one error, and these parts in it.
    #[track_caller]
    pub fn fails(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        assert_eq!(self.err.matches("error: ").count(), 1, "{}", self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in\n{}", self.err);
        }
        self
    }

    /// The `result` of a command that ran with `--json`.
    #[track_caller]
    pub fn result(&self) -> Json {
        let line = self.out.lines().rfind(|line| line.contains("\"event\":\"result\""));
        let line = line.unwrap_or_else(|| panic!("no result in\n{}\n{}", self.out, self.err));
        serde_json::from_str::<Json>(line).unwrap()["result"].clone()
    }
}

/// A project's folder that goes away with the test.
pub struct Project {
    pub folder: tempfile::TempDir,
}

impl Project {
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A project of one file of data and a project file.
    pub fn new(data: &str, contents: &[u8], yard: &str) -> Self {
        let project = Self::empty();
        project.write(data, contents);
        project.write("yard.toml", yard.as_bytes());
        project
    }

    /// A copy of one of the examples, without its store.
    pub fn example(name: &str) -> Self {
        let project = Self::empty();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
        copy(&from, project.path());
        project
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn write(&self, name: &str, contents: &[u8]) {
        let path = self.file(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(YARD);
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        command.env_remove("YARD_KEY").env_remove("YARD_THREADS");
        command
    }

    pub fn yard(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments).output().unwrap())
    }

    /// Starts `yard serve` on a free port and waits until it is ready.
    pub fn serve(&self, arguments: &[&str]) -> Server {
        let mut words = vec!["serve", "--json", "--address", "127.0.0.1:0"];
        words.extend(arguments);
        Server::start(self.command(&words))
    }
}

pub fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name == ".yard" {
            continue;
        }
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(name));
        } else {
            std::fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

/// A running server; it is stopped by its own process id when it is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        loop {
            let Some(Ok(line)) = lines.next() else {
                let mut err = String::new();
                child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
                panic!("the server ended before it was ready:\n{err}");
            };
            let event: Json = serde_json::from_str(&line).unwrap();
            if event["event"] == "ready" {
                // The rest of its output is read, so that the server never waits for a full pipe.
                std::thread::spawn(move || for _ in lines {});
                let address = event["address"].as_str().unwrap().parse().unwrap();
                return Self { child, address };
            }
        }
    }

    /// One HTTP request on a connection of its own: the status and the body.
    pub fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    pub fn infer(&self, model: &str, inputs: &Json) -> Json {
        let body = serde_json::json!({ "inputs": inputs }).to_string();
        let (status, body) = self.request("POST", &format!("/v2/models/{model}/infer"), &body);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Asks the server to stop as a platform does, and waits for it.
    pub fn stop(mut self) -> i32 {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
