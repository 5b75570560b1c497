//! How fast a tokenizer encodes on one thread: `tokenizer_encode_speed TOKENIZER.json CORPUS [MEGABYTES] [--oracle]`.
//!
//! The corpus is JSON lines with a `text`, or plain text that is cut into pieces of some 4 KiB at line ends. One JSON line
//! is printed; its `checksum` is over all numbers, so that a peer's can be compared. With `--oracle` the crate
//! `tokenizers` encodes the same texts in the same process, every number is compared, and the line holds both times.

use std::path::Path;
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let oracle = arguments.iter().any(|argument| argument == "--oracle");
    let mut places = arguments.iter().filter(|argument| !argument.starts_with("--"));
    let (Some(tokenizer), Some(corpus)) = (places.next(), places.next()) else {
        return Err("two paths are wanted: a tokenizer.json and a corpus".into());
    };
    let bytes_max = places.next().map_or(Ok(50), |text| text.parse::<usize>())? << 20;
    let texts = read_texts(Path::new(corpus), bytes_max)?;
    let bytes: usize = texts.iter().map(String::len).sum();
    let ours = tokenizer::Tokenizer::load(Path::new(tokenizer))?.without_limits();
    let (mut out, mut begins) = (Vec::new(), vec![0]);
    let start = Instant::now();
    for text in &texts {
        ours.encode(text, false, &mut out)?;
        begins.push(out.len());
    }
    let seconds = start.elapsed().as_secs_f64();
    let checksum = out.iter().fold(0_u64, |sum, id| (sum * 31 + u64::from(*id)) % ((1 << 31) - 1));
    let mut line = serde_json::json!({
        "seconds": seconds, "bytes": bytes, "megabytes_per_second": bytes as f64 / 1e6 / seconds,
        "tokens": out.len(), "checksum": checksum, "peak_rss_bytes": peak_rss_bytes(),
    });
    if oracle {
        let mut theirs = tokenizers::Tokenizer::from_file(tokenizer).map_err(|error| error.to_string())?;
        theirs.with_truncation(None).map_err(|error| error.to_string())?.with_padding(None);
        let mut wrong = 0;
        let mut theirs_seconds = 0.0;
        for (index, text) in texts.iter().enumerate() {
            let start = Instant::now();
            let encoding = theirs.encode_fast(text.as_str(), false).map_err(|error| error.to_string())?;
            theirs_seconds += start.elapsed().as_secs_f64();
            if encoding.get_ids() != &out[begins[index]..begins[index + 1]] {
                wrong += 1;
            }
        }
        line["texts"] = texts.len().into();
        line["texts_that_differ"] = wrong.into();
        line["oracle_seconds"] = theirs_seconds.into();
        line["times_faster"] = (theirs_seconds / seconds).into();
    }
    println(&line.to_string());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the line is what the example is for")]
fn println(line: &str) {
    println!("{line}");
}

/// The texts of a corpus, at most so many bytes of them.
fn read_texts(path: &Path, bytes_max: usize) -> Result<Vec<String>, Failure> {
    let contents = std::fs::read(path)?;
    let contents = String::from_utf8_lossy(&contents);
    let is_json = path.extension().is_some_and(|extension| extension == "jsonl");
    let (mut texts, mut bytes, mut open) = (Vec::new(), 0, String::new());
    for line in contents.split_inclusive('\n') {
        if bytes >= bytes_max {
            break;
        }
        if is_json {
            let row: serde_json::Value = serde_json::from_str(line)?;
            let text = row["text"].as_str().unwrap_or_default().to_owned();
            bytes += text.len();
            texts.push(text);
            continue;
        }
        open.push_str(line);
        bytes += line.len();
        if open.len() >= 4096 {
            texts.push(std::mem::take(&mut open));
        }
    }
    texts.push(open);
    Ok(texts)
}

/// The most memory that the process has held.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}
