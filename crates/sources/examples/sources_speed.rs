//! Reads what a pattern names and prints one JSON line: bytes, seconds, MB/s, records, damage, and the peak of
//! memory (`VmHWM`).
//!
//! ```sh
//! cargo run --release -p modelyard-sources --example sources_speed -- 'corpus/*.jsonl.gz'
//! cargo run --release -p modelyard-sources --example sources_speed -- --make jsonl 200 /tmp/rows.jsonl
//! cargo run --release -p modelyard-sources --example sources_speed -- --html pages/*.html > extracted.jsonl
//! ```
//!
//! `--make FORMAT MB PATH` writes an input of real text, repeated (`jsonl`, `csv`, `txt`, `json`, `parquet`).

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use sources::{Body, Config, Item, TextUnit};

/// Paragraphs of this crate's own golden page, which every checkout has.
const PAGE: &str = include_str!("../tests/golden/blog.trafilatura.txt");

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--make") => make(&arguments[1], arguments[2].parse()?, Path::new(&arguments[3])),
        Some("--html") => extract(&arguments[1..]),
        _ => measure(&arguments),
    }
}

fn measure(patterns: &[String]) -> Result<(), Box<dyn Error>> {
    let config = Config { text: TextUnit::Line, ..Config::default() };
    let objects = sources::find(patterns, Path::new("."), &config)?;
    let start = Instant::now();
    let (mut read_bytes, mut records, mut damaged, mut text_bytes) = (0, 0, 0, 0);
    for object in &objects {
        let counts = sources::read(object, &config, &mut |item| {
            if let Item::Record(record) = item {
                text_bytes += match &record.body {
                    Body::Document(document) => document.text.len(),
                    Body::Row(row) => row.cells.iter().filter_map(|cell| cell.as_text()).map(str::len).sum(),
                    _ => 0,
                };
            }
            ControlFlow::Continue(())
        });
        read_bytes += object.size_bytes.unwrap_or(counts.bytes_read);
        records += counts.records;
        damaged += counts.damaged;
    }
    let seconds = start.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
        .unwrap_or(0);
    let line = format!(
        "{{\"objects\":{},\"mb\":{:.1},\"seconds\":{seconds:.3},\"mb_per_second\":{:.1},\"text_mb\":{:.1},\"records\":{records},\"damaged\":{damaged},\"peak_mib\":{:.1}}}",
        objects.len(),
        read_bytes as f64 / 1e6,
        read_bytes as f64 / 1e6 / seconds,
        text_bytes as f64 / 1e6,
        peak as f64 / 1024.0,
    );
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// Prints the main content of pages, one JSON line each, for the comparison with trafilatura.
fn extract(patterns: &[String]) -> Result<(), Box<dyn Error>> {
    let config = Config::default();
    let mut out = BufWriter::new(std::io::stdout());
    for object in sources::find(patterns, Path::new("."), &config)? {
        let mut text = String::new();
        sources::read(&object, &config, &mut |item| {
            if let Item::Record(record) = item
                && let Body::Document(document) = record.body
            {
                text = document.text;
            }
            ControlFlow::Continue(())
        });
        writeln!(out, "{}", serde_json::json!({ "path": &*object.name, "text": text }))?;
    }
    Ok(())
}

fn make(format: &str, megabytes: usize, path: &Path) -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::new(File::create(path)?);
    let paragraphs: Vec<&str> = PAGE.lines().filter(|line| line.len() > 80).collect();
    let texts = |number: usize| {
        format!("{number}. {} {}", paragraphs[number % paragraphs.len()], paragraphs[number * 7 % paragraphs.len()])
    };
    let rows = megabytes * 1_000_000 / texts(0).len();
    match format {
        "jsonl" => {
            for row in 0..rows {
                writeln!(
                    out,
                    "{}",
                    serde_json::json!({ "id": row, "text": texts(row), "url": "https://yard.example/keel" })
                )?;
            }
        }
        "json" => {
            for row in 0..rows {
                write!(
                    out,
                    "{}{}",
                    if row == 0 { "[" } else { ",\n" },
                    serde_json::json!({ "id": row, "text": texts(row) })
                )?;
            }
            out.write_all(b"]")?;
        }
        "csv" => {
            writeln!(out, "id,text,label")?;
            for row in 0..rows {
                writeln!(out, "{row},\"{}\",keel", texts(row))?;
            }
        }
        "parquet" => {
            let batch = |start: usize| {
                let texts: ArrayRef = Arc::new(StringArray::from_iter_values((start..start + 1000).map(texts)));
                let ids: ArrayRef = Arc::new(Int64Array::from_iter_values((start..start + 1000).map(|row| row as i64)));
                RecordBatch::try_from_iter([("id", ids), ("text", texts)])
            };
            let properties = parquet::file::properties::WriterProperties::builder()
                .set_max_row_group_row_count(Some(50_000))
                .set_compression(parquet::basic::Compression::SNAPPY)
                .build();
            let mut writer = parquet::arrow::ArrowWriter::try_new(out, batch(0)?.schema(), Some(properties))?;
            for start in (0..rows).step_by(1000) {
                writer.write(&batch(start)?)?;
            }
            writer.close()?;
        }
        _ => {
            for row in 0..rows {
                writeln!(out, "{}", texts(row))?;
            }
        }
    }
    Ok(())
}
