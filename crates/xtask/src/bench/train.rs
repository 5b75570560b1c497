//! `cargo xtask bench train`: tokens per second of a training step, ours and PyTorch's.
//!
//! Each of PyTorch's modes runs once, and the fastest becomes the peer. Then come rounds of ours in `f32`, ours in
//! bf16, and the peer, one after the other, so that a slow minute of the machine falls on all of them; medians are
//! printed. Both sides use as many threads as there are processors.

use std::path::PathBuf;

use serde_json::Value as Json;

use super::peers::{Python, output};
use super::quiet;
use crate::steps::{self, Outcome, cargo};

/// A name, what is counted, what it is, and how much faster than PyTorch it shall be.
struct Workload {
    name: &'static str,
    what: &'static str,
    unit: &'static str,
    target: f64,
}

const WORKLOADS: [Workload; 5] = [
    Workload {
        name: "gpt",
        what: "GPT, 13.9 M: vocabulary 8192, width 384, 6 layers, 6 heads, 8 × 256 tokens",
        unit: "tokens/s",
        target: 1.4,
    },
    Workload {
        name: "smollm",
        what: "SmolLM, 134.5 M: vocabulary 49152, width 576, 30 layers, 9 heads (3 of keys), SwiGLU, 4 × 512 tokens",
        unit: "tokens/s",
        target: 1.4,
    },
    Workload {
        name: "minilm",
        what: "MiniLM classifier, 22.6 M: width 384, 6 layers, 12 heads, 77 classes, 32 × 128 tokens",
        unit: "tokens/s",
        target: 1.4,
    },
    Workload {
        name: "cnn",
        what: "CNN: 28×28×1, 3×3×32, 3×3×64, pool, 128, 10, 128 images",
        unit: "images/s",
        target: 1.2,
    },
    Workload {
        name: "lstm",
        what: "LSTM: 256 features, 256 units, 64 sequences of 128 steps",
        unit: "steps/s",
        target: 1.2,
    },
];
/// PyTorch's modes.
const MODES: [&str; 4] = ["fp32", "fp32compile", "bf16", "bf16compile"];
/// Seconds of a measurement; a large model takes five steps all the same.
const SECONDS: &str = "6";
const ROUNDS: usize = 5;
/// The peak memory of every workload, as a part of PyTorch's.
const MEMORY: f64 = 0.6;

/// What the command line asks for.
struct Asked {
    workloads: Vec<&'static Workload>,
    rounds: usize,
    cuda: bool,
}

impl Asked {
    fn read(words: &[&str]) -> Result<Self, String> {
        let (mut workloads, mut rounds, mut cuda) = (Vec::new(), ROUNDS, false);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if *word == "--rounds" {
                let number = words.next().and_then(|word| word.parse().ok()).filter(|rounds| *rounds > 0);
                rounds = number.ok_or("--rounds needs a number above 0")?;
            } else if *word == "--cuda" {
                cuda = true;
            } else {
                let known = WORKLOADS.iter().find(|workload| workload.name == *word);
                workloads.push(known.ok_or_else(|| format!("no workload {word}\n\n{}", crate::USAGE))?);
            }
        }
        if workloads.is_empty() {
            // Networks of convolutions and recurrent layers are on the CPU alone.
            workloads = WORKLOADS.iter().filter(|workload| !cuda || workload.target > 1.3).collect();
        }
        Ok(Self { workloads, rounds, cuda })
    }
}

/// How both sides are started.
struct Sides {
    ours: PathBuf,
    python: Python,
    threads: String,
    cuda: bool,
    /// Measurements that began while the machine was busy, and all of them.
    busy: usize,
    all: usize,
}

impl Sides {
    fn ours(&mut self, name: &str, compute: &str) -> Result<Json, String> {
        self.look();
        let words = [name, compute, SECONDS, &self.threads, "cuda"];
        output(&self.ours, if self.cuda { &words } else { &words[..4] })
    }

    /// One of PyTorch's modes; all ways of computing it, or the one that is known to be its best.
    fn peer(&mut self, name: &str, mode: &str, way: Option<&str>) -> Result<Json, String> {
        self.look();
        let words = [name, mode, SECONDS, &self.threads, if self.cuda { "cuda" } else { "cpu" }];
        self.python.run("torch_train.py", &[&words[..], way.as_slice()].concat())
    }

    fn look(&mut self) {
        self.all += 1;
        self.busy += usize::from(!quiet::wait());
    }
}

pub fn run(words: &[&str]) -> Outcome {
    let asked = Asked::read(words)?;
    let build = ["build", "--release", "--package", "modelyard-nn", "--example", "train_speed"];
    cargo(&[&build[..], if asked.cuda { &["--features", "cuda"] } else { &[] }].concat(), &[])?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut sides = Sides {
        ours: steps::target().join("release/examples/train_speed"),
        python: Python::find()?,
        threads: threads.to_string(),
        cuda: asked.cuda,
        busy: 0,
        all: 0,
    };
    let mut lines = Vec::new();
    let mut about = String::new();
    for workload in asked.workloads {
        let measured = Measured::take(&mut sides, workload, asked.rounds)?;
        about = format!(
            "{} threads on {}, {}; PyTorch {}; medians of {} rounds",
            threads,
            processor(),
            measured.isa,
            measured.version,
            asked.rounds
        );
        lines.push(measured.line(workload));
    }
    println!("\n{about}; {} of {} measurements began on a busy machine\n", sides.busy, sides.all);
    println!(
        "| workload | ours, f32 | ours, bf16 | PyTorch's best | ratio | target | of the product's limit, f32 and bf16 | \
         peak memory, ours / PyTorch's | target |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for line in lines {
        println!("{line}");
    }
    Ok(())
}

/// The medians of a workload.
struct Measured {
    f32: f64,
    bf16: f64,
    peer: f64,
    mode: String,
    /// MiB, ours and the peer's, the highest of all rounds.
    peaks: [u64; 2],
    /// Operations a second of ours, in `f32` and in bf16, to those of a large matrix product in the same run.
    shares: [f64; 2],
    isa: String,
    version: String,
}

impl Measured {
    fn take(sides: &mut Sides, workload: &Workload, rounds: usize) -> Result<Self, String> {
        let name = workload.name;
        println!("==> {name}");
        let (mut best, mut mode, mut way) = (0.0, "", String::new());
        for one in MODES {
            match sides.peer(name, one, None) {
                Ok(found) => {
                    println!("    PyTorch {one}: {:.0} {}", rate(&found)?, workload.unit);
                    if rate(&found)? > best {
                        (best, mode, way) = (rate(&found)?, one, text(&found, "way"));
                    }
                }
                // A mode that PyTorch cannot do here is not its best.
                Err(message) => println!("    PyTorch {one}: {}", message.lines().last().unwrap_or_default()),
            }
        }
        let (mut ours, mut peers, mut peaks) = ([Vec::new(), Vec::new()], Vec::new(), [0, 0]);
        let mut shares = [Vec::new(), Vec::new()];
        let (mut isa, mut version) = (String::new(), String::new());
        for round in 1..=rounds {
            let pair = [sides.ours(name, "f32")?, sides.ours(name, "bf16")?];
            let peer = sides.peer(name, mode, Some(&way))?;
            let rates = [rate(&pair[0])?, rate(&pair[1])?, rate(&peer)?];
            println!("    round {round}: {:.0} and {:.0}, PyTorch {:.0}", rates[0], rates[1], rates[2]);
            ours[0].push(rates[0]);
            ours[1].push(rates[1]);
            peers.push(rates[2]);
            for (shares, found) in shares.iter_mut().zip(&pair) {
                shares.push(number(found, "gflops")? / number(found, "limit_gflops")?);
            }
            peaks = [peaks[0].max(peak(&pair[1])), peaks[1].max(peak(&peer))];
            (isa, version) = (text(&pair[1], "isa"), text(&peer, "version"));
        }
        let [f32, bf16] = ours.map(median);
        let shares = shares.map(median);
        let mode = if way == "plain" { mode.to_owned() } else { format!("{mode}, {way}") };
        Ok(Self { f32, bf16, peer: median(peers), mode, peaks, shares, isa, version })
    }

    /// Its line of the table.
    fn line(&self, workload: &Workload) -> String {
        let Self { f32, bf16, peer, mode, peaks: [ours, theirs], shares: [single, half], .. } = self;
        let Workload { what, unit, target, .. } = workload;
        format!(
            "| {what} | {f32:.0} {unit} | {bf16:.0} {unit} | {peer:.0} {unit} ({mode}) | {:.2} | ≥ {target:.1} | \
             {} and {} | {ours} / {theirs} MiB = {:.2} | ≤ {MEMORY:.1} |",
            f32.max(*bf16) / peer,
            percent(*single),
            percent(*half),
            *ours as f64 / (*theirs).max(1) as f64
        )
    }
}

/// A part in per cent; on a GPU no product is timed.
fn percent(part: f64) -> String {
    if part.is_finite() { format!("{:.0} %", 100.0 * part) } else { "?".to_owned() }
}

fn rate(found: &Json) -> Result<f64, String> {
    number(found, "tokens_per_second")
}

fn number(found: &Json, name: &str) -> Result<f64, String> {
    found[name].as_f64().ok_or_else(|| format!("no {name} in {found}"))
}

fn peak(found: &Json) -> u64 {
    found["peak_mib"].as_u64().unwrap_or(0)
}

fn text(found: &Json, name: &str) -> String {
    found[name].as_str().unwrap_or_default().to_owned()
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// What the system calls its processor.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("an unnamed processor", |(_, name)| name).to_owned()
}
