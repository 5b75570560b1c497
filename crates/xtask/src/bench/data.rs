//! `cargo xtask bench data CORPUS.jsonl LID_MODEL [--rounds N]`: what is done to data, beside the programs that are used for
//! it: datatrove, ftfy, Presidio, Hugging Face's tokenizers.
//!
//! The corpus has a `text` on each line; `crates/xtask/peers/corpus.py` makes one of real texts. Ours and the peer's runs follow
//! each other round by round, on one core where the peer takes one; medians are printed. The peers get a smaller part of
//! the corpus, for they are slow; all figures are per second.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value as Json, json};

use super::peers::{Python, output};
use super::quiet;
use crate::steps::{self, Outcome};

const ROUNDS: usize = 3;
/// Megabytes of the corpus that the peers' whole recipe gets.
const PEER_MEGABYTES: &str = "4";
/// Documents of near-deduplication, ours and the peer's.
const DOCUMENTS: (&str, &str) = ("1000000", "20000");
const PACKAGES: [&str; 9] = [
    "datatrove==0.10.1",
    "ftfy==6.3.1",
    "spacy==3.8.18",
    "nltk",
    "tokenizers==0.23.2",
    "orjson",
    "xxhash",
    "fasttext-numpy2-wheel",
    "presidio-analyzer",
];
const PROBE: &str = "import datatrove, ftfy, spacy, tokenizers, fasttext, presidio_analyzer";

struct Bench {
    python: Python,
    corpus: String,
    /// Every tenth line of it.
    tenth: String,
    model: String,
    folder: PathBuf,
    rounds: usize,
    busy: usize,
    lines: Vec<String>,
}

pub fn run(words: &[&str]) -> Outcome {
    let (names, rounds) = super::rounds(words, ROUNDS)?;
    let [corpus, model] = names[..] else {
        return Err(format!("bench data needs a corpus and a language model\n\n{}", crate::USAGE));
    };
    super::build()?;
    let python = Python::find_with(&PACKAGES, PROBE)?;
    let folder = steps::target().join("bench-data");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let (corpus, model) = (corpus.to_owned(), model.to_owned());
    let tenth = tenth(Path::new(&corpus), &folder)?;
    let mut bench = Bench { python, corpus, tenth, model, folder, rounds, busy: 0, lines: Vec::new() };
    bench.recipe()?;
    bench.signals()?;
    bench.near()?;
    bench.repair()?;
    bench.personal()?;
    bench.tokenizer()?;
    bench.memory()?;
    println!("\nmedians of {} rounds; {} measurements began on a busy machine\n", bench.rounds, bench.busy);
    println!("| work | ours | peer | ratio | target |");
    println!("|---|---|---|---|---|");
    bench.lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn example(name: &str) -> PathBuf {
    steps::target().join("release/examples").join(name)
}

impl Bench {
    fn quiet(&mut self) {
        self.busy += usize::from(!quiet::wait());
    }

    /// Runs ours and the peer's in turn; the medians of one number of each.
    fn pair(
        &mut self,
        what: &str,
        mut ours: impl FnMut(&Self) -> Result<f64, String>,
        mut peers: impl FnMut(&Self) -> Result<f64, String>,
    ) -> Result<(f64, f64), String> {
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        for round in 1..=self.rounds {
            self.quiet();
            mine.push(ours(self)?);
            self.quiet();
            theirs.push(peers(self)?);
            println!("{what}, round {round}: {:.2}, {:.2}", mine[round - 1], theirs[round - 1]);
        }
        Ok((median(&mut mine), median(&mut theirs)))
    }

    fn line(&mut self, what: &str, unit: &str, (ours, peer): (f64, f64), target: &str) {
        let ratio = ours / peer;
        self.lines.push(format!("| {what} | {ours:.2} {unit} | {peer:.2} {unit} | {ratio:.2} | {target} |"));
    }

    /// The whole web recipe: `yard data` on the corpus with one thread, from file to dataset.
    fn recipe(&mut self) -> Outcome {
        let megabytes = text_megabytes(Path::new(&self.corpus))?;
        let peer_folder = self.folder.join("datatrove").display().to_string();
        let found = self.pair(
            "web recipe",
            |bench| Ok(megabytes / bench.yard_data(&bench.corpus)?.0),
            |bench| {
                let words = [&*bench.corpus, PEER_MEGABYTES, &bench.model, &peer_folder];
                number(&bench.python.run("data_web.py", &words)?, "mb_per_second")
            },
        )?;
        self.line("web recipe with repair and near duplicates, one core", "MB/s", found, "≥ 15");
        Ok(())
    }

    /// Runs `yard data` in a fresh project: the seconds, and the peak of memory in MiB.
    fn yard_data(&self, corpus: &str) -> Result<(f64, f64), String> {
        let project = self.folder.join("project");
        let fail = |error: std::io::Error| format!("{}: {error}", project.display());
        if project.exists() {
            std::fs::remove_dir_all(&project).map_err(fail)?;
        }
        std::fs::create_dir_all(&project).map_err(fail)?;
        let absolute = |path: &str| std::path::absolute(path).map(|path| path.display().to_string()).map_err(fail);
        let toml = format!(
            "name = \"bench\"\nfamily = \"language\"\n[data]\nsource = [{:?}]\ntext_column = \"text\"\nrecipe = \"web\"\n\
             language_model = {:?}\n[data.split]\nvalid = 0.01\ntest = 0.01\n[data.duplicates]\n",
            absolute(corpus)?,
            absolute(&self.model)?
        );
        std::fs::write(project.join("yard.toml"), toml).map_err(fail)?;
        let begin = Instant::now();
        // Pinned, so that reading and writing beside the one thread are on the same core.
        let mut child = Command::new("taskset")
            .args(["--cpu-list", "0"])
            .arg(steps::target().join("release/yard"))
            .args(["data", "--quiet", "--threads", "1"])
            .arg(&project)
            .stdout(Stdio::null())
            .spawn()
            .map_err(fail)?;
        let mut peak_mib = 0.0_f64;
        let status = loop {
            if let Ok(text) = std::fs::read_to_string(format!("/proc/{}/status", child.id())) {
                let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
                peak_mib = peak_mib.max(kib.unwrap_or(0.0) / 1024.0);
            }
            if let Some(status) = child.try_wait().map_err(fail)? {
                break status;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        };
        if !status.success() {
            return Err(format!("yard data gave {status}"));
        }
        Ok((begin.elapsed().as_secs_f64(), peak_mib))
    }

    fn signals(&mut self) -> Outcome {
        let found = self.pair(
            "signals",
            |bench| {
                let line = output(&example("signals_speed"), &[&bench.tenth, &bench.model])?;
                number(&line, "mb_per_second")
            },
            |bench| {
                let line = bench.python.run("signals_speed.py", &[&bench.tenth, &bench.model])?;
                number(&line, "mb_per_second")
            },
        )?;
        self.line("signals and rules alone, one core", "MB/s", found, "≥ 15");
        Ok(())
    }

    fn near(&mut self) -> Outcome {
        let documents = self.folder.join("documents.jsonl").display().to_string();
        steps::command(&example("dedup_speed"), &["write", DOCUMENTS.1, &documents], &[])?;
        let mut peak: f64 = 0.0;
        let found = self.pair(
            "near duplicates",
            |_| {
                let line = output(&example("dedup_speed"), &[DOCUMENTS.0, "512", "1"])?;
                peak = peak.max(number(&line, "peak_memory_mib")?);
                number(&line, "documents_per_second")
            },
            |bench| number(&bench.python.run("dedup_speed.py", &[&documents])?, "documents_per_second"),
        )?;
        self.line("near duplicates of 1 M documents, one core", "documents/s", found, "≥ 6");
        self.lines.push(format!("| the same, peak memory | {peak:.0} MiB | | | ≤ 1,024 |"));
        Ok(())
    }

    fn repair(&mut self) -> Outcome {
        let inputs = self.folder.join("texts").display().to_string();
        let data = steps::root().join("../shared/data").display().to_string();
        let made = self.python.command("repair_speed.py", &["inputs", &data, &inputs]).stdout(Stdio::null()).status();
        if !made.is_ok_and(|status| status.success()) {
            self.lines.push("| repair | not measured: ../shared/data is not here | | | ≥ 15 |".to_owned());
            return Ok(());
        }
        for name in ["english", "wiki", "chinese", "mojibake", "mix"] {
            let file = format!("{inputs}/{name}.txt");
            let found = self.pair(
                &format!("repair {name}"),
                |_| number(&output(&example("repair_speed"), &[&file])?, "mb_per_second"),
                |bench| number(&bench.python.run("repair_speed.py", &[&file])?, "mb_per_second"),
            )?;
            self.line(&format!("repair of {name} text, one core"), "MB/s", found, "≥ 15");
        }
        Ok(())
    }

    fn personal(&mut self) -> Outcome {
        let found = self.pair(
            "personal data",
            |bench| {
                let line = output(&example("personal_speed"), &[&bench.corpus, "60"])?;
                number(&line, "megabytes_per_second")
            },
            |bench| {
                let line = bench.python.run("personal_speed.py", &[&bench.corpus, "1000000"])?;
                number(&line, "megabytes_per_second")
            },
        )?;
        self.line("personal data, one core", "MB/s", found, "ours ≥ 50 MB/s");
        Ok(())
    }

    fn tokenizer(&mut self) -> Outcome {
        let (mut memory, mut peer_memory) = (Vec::new(), Vec::new());
        let made = self.folder.join("tokenizer.json").display().to_string();
        let found = self.pair(
            "training a tokenizer",
            |bench| {
                let words = [&*bench.corpus, "32000", "llama3", &made];
                let line = output(&example("tokenizer_train_speed"), &words)?;
                memory.push(number(&line, "peak_rss_bytes")? / f64::from(1 << 20));
                number(&line, "seconds")
            },
            |bench| {
                let line = bench.python.run("tokenizer_speed.py", &["train", &bench.corpus, "32000", "llama3"])?;
                peer_memory.push(number(&line, "peak_rss_bytes")? / f64::from(1 << 20));
                number(&line, "seconds")
            },
        )?;
        self.line("a vocabulary of 32k, all cores", "s", found, "≤ 0.5");
        self.line("the same, peak memory", "MiB", (median(&mut memory), median(&mut peer_memory)), "≤ 0.5");
        let found = self.pair(
            "encoding",
            |bench| {
                let line = output(&example("tokenizer_encode_speed"), &[&made, &bench.corpus, "50"])?;
                number(&line, "megabytes_per_second")
            },
            |bench| {
                let line = bench.python.run("tokenizer_speed.py", &["encode", &made, &bench.corpus, "20"])?;
                number(&line, "megabytes_per_second")
            },
        )?;
        self.line("encoding, one thread", "MB/s", found, "≥ 3");
        Ok(())
    }

    /// The memory of `yard data` on a tenth of the corpus and on all of it.
    fn memory(&mut self) -> Outcome {
        let (_, tenth) = self.yard_data(&self.tenth)?;
        let (_, whole) = self.yard_data(&self.corpus)?;
        println!("memory: {}", json!({ "tenth_mib": tenth, "whole_mib": whole }));
        self.lines.push(format!(
            "| peak memory of `yard data`, whole corpus against a tenth of it | {whole:.0} MiB | {tenth:.0} MiB | {:.2} | the same |",
            whole / tenth
        ));
        Ok(())
    }
}

fn number(line: &Json, key: &str) -> Result<f64, String> {
    line[key].as_f64().ok_or_else(|| format!("no {key} in {line}"))
}

fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Writes every tenth line of a corpus into a file of its own.
fn tenth(corpus: &Path, folder: &Path) -> Result<String, String> {
    let path = folder.join("tenth.jsonl");
    let text = std::fs::read_to_string(corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
    let lines: String = text.split_inclusive('\n').step_by(10).collect();
    std::fs::write(&path, lines).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path.display().to_string())
}

/// Megabytes of text in a corpus.
fn text_megabytes(corpus: &Path) -> Result<f64, String> {
    let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", corpus.display());
    let text = std::fs::read_to_string(corpus).map_err(|error| fail(&error))?;
    let mut bytes = 0;
    for line in text.lines() {
        let row: Json = serde_json::from_str(line).map_err(|error| fail(&error))?;
        bytes += row["text"].as_str().map_or(0, str::len);
    }
    Ok(bytes as f64 / 1e6)
}
