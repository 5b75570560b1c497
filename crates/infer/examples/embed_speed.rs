//! How fast an encoder embeds: `embed_speed FOLDER THREADS` prints one line of JSON with sequences a second of 32 sequences
//! of 128 tokens (the median of eight), and of one of 16; `embed_speed FOLDER` reads texts, one JSON string a line, from
//! its input and prints their vectors.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

use std::time::Instant;

use infer::encoder::Encoder;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let begun = Instant::now();
    let encoder = Encoder::open(words[0].as_ref()).unwrap();
    let loaded = begun.elapsed().as_secs_f64();
    let Some(threads) = words.get(1) else {
        let texts: Vec<String> =
            std::io::stdin().lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        for embedding in encoder.embed(&texts).unwrap() {
            println!("{}", serde_json::to_string(&embedding.vector).unwrap());
        }
        return;
    };
    kernels::parallel::set_threads(threads.parse().unwrap());
    let [batch, one] = [(32, 128), (1, 16)].map(|(count, length)| {
        let tokens =
            |row: usize| (0..length).map(|place| ((row * 131 + place * 7919) % 29_000 + 1000) as u32).collect();
        let sequences: Vec<Vec<u32>> = (0..count).map(tokens).collect();
        let mut rates: Vec<f64> = (0..10)
            .map(|_| {
                let begun = Instant::now();
                encoder.embed_tokens(&sequences).unwrap();
                count as f64 / begun.elapsed().as_secs_f64()
            })
            .skip(2)
            .collect();
        rates.sort_by(f64::total_cmp);
        (rates[4], rates[7])
    });
    println!(
        "{{\"sequences_per_second\":{:.1},\"best\":{:.1},\"single_per_second\":{:.1},\"load_seconds\":{loaded:.2}}}",
        batch.0, batch.1, one.0
    );
}
