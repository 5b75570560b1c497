//! `cargo xtask bench load FILE.gguf`: a server under more load than it can serve.
//!
//! First it is asked as fast as it answers, for its capacity. Then clients ask twice as often, at random moments; a third
//! of them hang up in the middle, one request in fifty is rubbish. Every answer that comes whole is compared with the one
//! of an idle server; every refusal must have a status that says so; the server must live, and its memory stay flat.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::steps::{self, Outcome};

/// Prompts with an answer that is known, and tokens of an answer.
const PROMPTS: usize = 40;
const NEW: usize = 32;
/// How long the capacity is measured.
const CAPACITY: Duration = Duration::from_secs(15);
/// What a refusal may say.
const REFUSALS: [u16; 2] = [429, 503];
/// What rubbish may be answered with; a connection that is closed is an answer too.
const TO_RUBBISH: [u16; 9] = [400, 404, 405, 408, 411, 413, 415, 422, 431];
/// Memory may grow by this part from the second quarter of the time to the last.
const GROWTH_MAX: f64 = 0.02;

struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Above 0, and at most 1.
    fn part(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// What became of requests.
#[derive(Debug, Default)]
struct Report {
    statuses: BTreeMap<String, usize>,
    first_s: Vec<f64>,
    whole_s: Vec<f64>,
    hung_up: usize,
    faults: Vec<String>,
}

/// A server of its own, ended with its owner.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(file: &str, project: &Path) -> Result<Self, String> {
        let mut child = Command::new(steps::yard())
            .args(["serve", file, "--json", "--address", "127.0.0.1:0", "--project"])
            .arg(project)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let out = child.stdout.take().ok_or("no output")?;
        let mut server = Self { child, address: String::new() };
        for line in BufReader::new(out).lines() {
            let line: Json = serde_json::from_str(&line.map_err(|error| error.to_string())?).unwrap_or_default();
            if line["event"] == "ready" {
                server.address = line["address"].as_str().unwrap_or_default().to_owned();
                return Ok(server);
            }
        }
        Err("the server ended before it was ready".to_owned())
    }

    fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    }
}

/// An answer: its status, its text, and the seconds to its first token.
struct Answer {
    status: u16,
    text: String,
    first_s: f64,
    whole: bool,
}

fn body(prompt: usize) -> String {
    let subjects = ["a ship", "the sea", "bread", "a machine", "snow", "a letter", "the moon", "iron"];
    let message =
        format!("Tell me {} things about {}.", prompt / subjects.len() + 2, subjects[prompt % subjects.len()]);
    let messages = json!([{ "role": "user", "content": message }]);
    json!({ "messages": messages, "max_tokens": NEW, "temperature": 0, "stream": true, "ignore_eos": true }).to_string()
}

/// Asks; `patience` is after how long the client hangs up.
fn ask(address: &str, prompt: usize, patience: Option<Duration>) -> std::io::Result<Answer> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let body = body(prompt);
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Answer { status: 0, text: String::new(), first_s: 0.0, whole: false };
    if let Some(patience) = patience {
        std::thread::sleep(patience);
        return Ok(answer);
    }
    let mut lines = BufReader::new(stream).lines();
    let head = lines.next().transpose()?.unwrap_or_default();
    answer.status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    for line in lines {
        let line = line?;
        let Some(data) = line.strip_prefix("data: ") else { continue };
        if data == "[DONE]" {
            answer.whole = true;
            break;
        }
        let event: Json = serde_json::from_str(data).unwrap_or_default();
        let delta = event["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        if !delta.is_empty() && answer.first_s == 0.0 {
            answer.first_s = begun.elapsed().as_secs_f64();
        }
        answer.text.push_str(delta);
    }
    Ok(answer)
}

/// Sends what is no request, and gives the status; 0 where the connection ends without one.
fn rubbish(address: &str, kind: usize) -> std::io::Result<u16> {
    let post = |length: usize, body: &str| {
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close";
        format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let deep = "[".repeat(50_000);
    let text = match kind {
        0 => "\u{0}\u{1}\u{2} nonsense\r\n\r\n".to_owned(),
        1 => post(9, "{\"a\": 1, "),
        2 => post(2, "[]"),
        3 => post(usize::MAX / 2, "{}"),
        4 => post(deep.len(), &deep),
        5 => "GET /v1/nothing HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".to_owned(),
        6 => "DELETE /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".to_owned(),
        7 => format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(300_000)),
        8 => post(39, "{\"messages\": [{\"role\": \"x\"}], \"n\": 1e9}"),
        _ => post(40, "{\"messages\": \"cut"),
    };
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    // The server may close before all is written.
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = String::new();
    let _ = stream.take(4096).read_to_string(&mut answer);
    Ok(answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0))
}

pub fn run(words: &[&str]) -> Outcome {
    let (mut file, mut clients, mut seconds) = (None, 200, 120);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|word| word.parse().ok()).ok_or("a number is missing");
        match *word {
            "--clients" => clients = number()?,
            "--seconds" => seconds = number()?,
            path => file = Some(path),
        }
    }
    let file = file.ok_or_else(|| format!("bench load needs a GGUF file\n\n{}", crate::USAGE))?;
    super::build()?;
    let project = std::env::temp_dir().join(format!("yard-load-{}", std::process::id()));
    std::fs::create_dir_all(&project).map_err(|error| error.to_string())?;
    let result = measure(file, &project, clients, Duration::from_secs(seconds as u64));
    let _ = std::fs::remove_dir_all(&project);
    result
}

fn measure(file: &str, project: &Path, clients: usize, time: Duration) -> Outcome {
    let mut server = Server::start(file, project)?;
    let address = server.address.clone();
    let failed = |error: std::io::Error| error.to_string();
    let known: Vec<String> = (0..PROMPTS)
        .map(|prompt| ask(&address, prompt, None).map(|answer| answer.text).map_err(failed))
        .collect::<Result<_, _>>()?;
    let capacity = capacity(&address);
    let rate = 2.0 * capacity;
    println!(
        "capacity: {capacity:.1} answers/s of {NEW} tokens; {clients} clients ask {rate:.1} times a second for {} s",
        time.as_secs()
    );
    let report = Mutex::new(Report::default());
    let mut memory = Vec::new();
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (address, known, report) = (&address, &known, &report);
            scope.spawn(move || one_client(address, known, report, (client, rate / clients as f64), time));
        }
        let begun = Instant::now();
        while begun.elapsed() < time {
            std::thread::sleep(Duration::from_secs(2));
            memory.push(server.resident_mib());
        }
    });
    let lives = server.child.try_wait().map_err(failed)?.is_none();
    let after = ask(&address, 0, None).map_err(failed)?;
    let mut report = report.into_inner().map_err(|_| "a client panicked")?;
    print_report(&mut report, &memory, time);
    let quarter = memory.len() / 4;
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
    let growth = mean(&memory[3 * quarter..]) / mean(&memory[quarter..2 * quarter]) - 1.0;
    println!("memory from the second quarter to the last: {:+.1} %", 100.0 * growth);
    if !lives || after.text != known[0] {
        report.faults.push("the server is not what it was".to_owned());
    }
    if growth > GROWTH_MAX {
        report.faults.push(format!("memory grew by {:.1} %", 100.0 * growth));
    }
    if report.faults.is_empty() {
        println!("no crash, no wrong answer, every refusal with its status");
        return Ok(());
    }
    report.faults.truncate(10);
    Err(format!("faults: {:#?}", report.faults))
}

/// Answers a second with 32 clients that ask without a pause.
fn capacity(address: &str) -> f64 {
    let (count, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..32 {
            let (count, over) = (&count, &over);
            scope.spawn(move || {
                let mut prompt = client;
                while !over.load(Ordering::Relaxed) {
                    if ask(address, prompt % PROMPTS, None).is_ok_and(|answer| answer.whole)
                        && !over.load(Ordering::Relaxed)
                    {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    prompt += 7;
                }
            });
        }
        std::thread::sleep(CAPACITY);
        over.store(true, Ordering::Relaxed);
    });
    count.load(Ordering::Relaxed) as f64 / CAPACITY.as_secs_f64().min(begun.elapsed().as_secs_f64())
}

/// Asks at random moments, as often as `rate` says, however long the answers take: each request has a thread.
fn one_client(address: &str, known: &[String], report: &Mutex<Report>, (client, rate): (usize, f64), time: Duration) {
    let mut numbers = Numbers(client as u64 + 1);
    let begun = Instant::now();
    let hangs_up = client % 3 == 0;
    let mut next = -numbers.part().ln() / rate;
    std::thread::scope(|scope| {
        while next < time.as_secs_f64() {
            std::thread::sleep(Duration::from_secs_f64(next).saturating_sub(begun.elapsed()));
            let (kind, prompt) = (numbers.below(500), numbers.below(known.len()));
            let patience = hangs_up.then(|| Duration::from_secs_f64(3.0 * numbers.part()));
            scope.spawn(move || {
                if kind < 10 {
                    let status = rubbish(address, kind);
                    note_rubbish(report, kind, &status);
                } else {
                    let asked = Instant::now();
                    let answer = ask(address, prompt, patience);
                    note(report, &known[prompt], patience.is_some(), answer, asked.elapsed());
                }
            });
            next += -numbers.part().ln() / rate;
        }
    });
}

fn note_rubbish(report: &Mutex<Report>, kind: usize, status: &std::io::Result<u16>) {
    let mut report = report.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match status {
        Ok(0) | Err(_) => *report.statuses.entry("rubbish, closed".to_owned()).or_default() += 1,
        Ok(status) => {
            *report.statuses.entry(format!("rubbish, {status}")).or_default() += 1;
            if !TO_RUBBISH.contains(status) && !REFUSALS.contains(status) {
                report.faults.push(format!("rubbish {kind} was answered with {status}"));
            }
        }
    }
}

fn note(report: &Mutex<Report>, known: &str, left: bool, answer: std::io::Result<Answer>, took: Duration) {
    let mut report = report.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if left {
        report.hung_up += 1;
        return;
    }
    match answer {
        Ok(answer) => {
            *report.statuses.entry(answer.status.to_string()).or_default() += 1;
            if answer.status == 200 && !answer.whole {
                report.faults.push("a stream was cut".to_owned());
            } else if answer.status == 200 && answer.text != known {
                report.faults.push(format!("{:?} in place of {known:?}", answer.text));
            } else if answer.status == 200 {
                report.first_s.push(answer.first_s);
                report.whole_s.push(took.as_secs_f64());
            } else if !REFUSALS.contains(&answer.status) {
                report.faults.push(format!("a request was answered with {}", answer.status));
            }
        }
        Err(error) => report.faults.push(format!("a request got no answer: {error}")),
    }
}

fn print_report(report: &mut Report, memory: &[f64], time: Duration) {
    println!("\n| answers | |\n|---|---|");
    for (status, count) in &report.statuses {
        println!("| {status} | {count} |");
    }
    println!("| hung up | {} |", report.hung_up);
    println!("| served | {:.1} answers/s |", report.whole_s.len() as f64 / time.as_secs_f64());
    println!("\n| of whole answers, s | p50 | p90 | p99 | most |\n|---|---|---|---|---|");
    for (name, all) in [("first token", &mut report.first_s), ("last token", &mut report.whole_s)] {
        all.sort_by(f64::total_cmp);
        let at = |part: f64| all.get(((all.len() as f64 - 1.0) * part) as usize).copied().unwrap_or(f64::NAN);
        println!("| {name} | {:.2} | {:.2} | {:.2} | {:.2} |", at(0.5), at(0.9), at(0.99), at(1.0));
    }
    let shown: Vec<String> = memory.iter().step_by(5).map(|mib| format!("{mib:.0}")).collect();
    println!("\nresident, MiB, every 10 s: {}", shown.join(", "));
}
