//! How fast and in how much memory a tokenizer is learned:
//! `tokenizer_train_speed CORPUS [VOCABULARY] [gpt2|llama3|deepseek3|characters|word_piece|unigram] [OUT.json]`.
//!
//! The corpus is JSON lines with a `text`, or plain text whose lines are texts. One JSON line is printed; the peer is
//! `crates/xtask/peers/tokenizer_speed.py train` with the same words behind it.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Instant;

use tokenizer::train::{Alphabet, Scheme, SplitPattern, Trainer, TrainerConfig};

type Failure = Box<dyn std::error::Error>;

#[derive(serde::Deserialize)]
struct Row<'r> {
    #[serde(borrow)]
    text: Cow<'r, str>,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let corpus = arguments.first().ok_or("a corpus is wanted")?;
    let vocabulary_size = arguments.get(1).map_or(Ok(32_000), |text| text.parse())?;
    let name = arguments.get(2).map_or("gpt2", String::as_str);
    let bytes = |split| Scheme::Bpe { alphabet: Alphabet::Bytes { split } };
    let (scheme, special) = match name {
        "gpt2" => (bytes(SplitPattern::Gpt2), vec!["<|endoftext|>"]),
        "llama3" => (bytes(SplitPattern::Llama3), vec!["<|endoftext|>"]),
        "deepseek3" => (bytes(SplitPattern::DeepSeek3), vec!["<|endoftext|>"]),
        "characters" => (Scheme::Bpe { alphabet: Alphabet::Characters }, vec!["<unk>"]),
        "word_piece" => (Scheme::WordPiece { lowercase: true }, vec!["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]),
        "unigram" => (Scheme::Unigram { max_piece_length: 16 }, vec!["<unk>", "<s>", "</s>"]),
        other => return Err(format!("{other} is none of the schemes").into()),
    };
    let special_tokens = special.into_iter().map(str::to_owned).collect();
    let memory = std::env::var("MEMORY_BYTES_MAX").map_or(Ok(1 << 30), |text| text.parse())?;
    let config =
        TrainerConfig { scheme, vocabulary_size, special_tokens, memory_bytes_max: memory, ..TrainerConfig::default() };
    let start = Instant::now();
    let mut trainer = Trainer::new(config)?;
    let bytes = feed(&mut trainer, Path::new(corpus))?;
    let counted = start.elapsed().as_secs_f64();
    let learned = trainer.finish(&mut |_| {})?;
    let seconds = start.elapsed().as_secs_f64();
    if let Some(out) = arguments.get(3) {
        learned.save(Path::new(out))?;
    }
    println(
        &serde_json::json!({
            "scheme": name, "seconds": seconds, "seconds_counting": counted, "bytes": bytes,
            "vocabulary_size": learned.vocabulary_size(), "peak_rss_bytes": peak_rss_bytes(),
        })
        .to_string(),
    );
    Ok(())
}

/// Gives the trainer all texts, some at a time; answers their bytes.
fn feed(trainer: &mut Trainer, path: &Path) -> Result<usize, Failure> {
    let is_json = path.extension().is_some_and(|extension| extension == "jsonl");
    let mut from = BufReader::with_capacity(1 << 20, File::open(path)?);
    let (mut batch, mut line, mut all, mut bytes) = (Vec::new(), Vec::new(), 0, 0);
    loop {
        line.clear();
        let read = from.read_until(b'\n', &mut line)?;
        if read > 0 {
            let text = if is_json {
                serde_json::from_slice::<Row>(&line)?.text.into_owned()
            } else {
                String::from_utf8_lossy(&line).into_owned()
            };
            bytes += text.len();
            batch.push(text);
        }
        if read == 0 || bytes > 4 << 20 {
            trainer.feed(&batch)?;
            batch.clear();
            all += std::mem::take(&mut bytes);
        }
        if read == 0 {
            return Ok(all);
        }
    }
}

#[expect(clippy::print_stdout, reason = "the line is what the example is for")]
fn println(line: &str) {
    println!("{line}");
}

/// The most memory that the process has held.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}
