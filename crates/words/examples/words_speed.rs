//! How fast text is cut into words: `words_speed CORPUS.jsonl [MEGABYTES]` prints one JSON line, megabytes of
//! UTF-8 text a second on one core, the median of five passes.

use std::io::{BufRead, BufReader};
use std::time::Instant;

use words::{Language, simplify_into, tokenize};

fn median(mut work: impl FnMut() -> usize, megabytes: f64) -> f64 {
    let mut speeds: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(work());
            megabytes / start.elapsed().as_secs_f64()
        })
        .collect();
    speeds.sort_by(f64::total_cmp);
    speeds[2]
}

#[allow(clippy::print_stdout, reason = "an example's whole purpose")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("a corpus wanted")?;
    let limit = std::env::args().nth(2).map_or(Ok(20.0), |text| text.parse::<f64>())? * 1e6;
    let mut texts = Vec::new();
    let mut bytes = 0;
    for line in BufReader::new(std::fs::File::open(path)?).lines() {
        let row: serde_json::Value = serde_json::from_str(&line?)?;
        let text = row["text"].as_str().unwrap_or_default().to_owned();
        bytes += text.len();
        texts.push(text);
        if bytes as f64 > limit {
            break;
        }
    }
    let megabytes = bytes as f64 / 1e6;
    let mut tokens = Vec::new();
    let mut count = |language| {
        median(
            || texts.iter().map(|text| tokenize(text, language, &mut tokens).map_or(0, |()| tokens.len())).sum(),
            megabytes,
        )
    };
    let (english, neutral, unspaced) = (count(Language::English), count(Language::Neutral), count(Language::Unspaced));
    let mut buffer = String::new();
    let simplify = median(
        || {
            texts
                .iter()
                .map(|text| {
                    simplify_into(text, &mut buffer);
                    buffer.len()
                })
                .sum()
        },
        megabytes,
    );
    println!(
        "{{\"mb_per_second\": {english:.1}, \"neutral\": {neutral:.1}, \"unspaced\": {unspaced:.1}, \"simplify\": {simplify:.1}, \"megabytes\": {megabytes:.1}}}"
    );
    Ok(())
}
