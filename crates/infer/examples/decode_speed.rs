//! Prefill and decode of a GGUF file, a folder of Hugging Face's or a file of llama2.c's, timed: `decode_speed FILE THREADS` prints one line of JSON with tokens a second of a
//! prompt of 512 tokens (best of three), of 64 greedy tokens at its beginning, and of 64 behind 1,024 others;
//! `decode_speed FILE TOKENS NEW`, with TOKENS like `1,2,3`, prints the greedy tokens that follow these.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

use std::time::Instant;

use infer::engine::{Batch, Forward, PackedDecoder, Packing, Part, open_decoder};

const POSITIONS: usize = 32;

/// Computes tokens of one sequence from a position on; the greedy token behind the last of them.
fn run(decoder: &mut PackedDecoder, tokens: &[u32], position: usize) -> u32 {
    let pages = (0..(position + tokens.len()).div_ceil(POSITIONS) as u32).collect();
    let part = Part { rows: 0..tokens.len(), position, pages };
    let batch = Batch { tokens: tokens.to_vec(), parts: vec![part], wanted: vec![tokens.len() - 1] };
    // As the engine does.
    let _awake = kernels::parallel::Awake::keep();
    let logits = decoder.forward(&batch);
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    best as u32
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let begun = Instant::now();
    let file = words[0].as_ref();
    if let [_, tokens, new] = &words[..] {
        let prompt: Vec<u32> = tokens.split(',').map(|token| token.parse().unwrap()).collect();
        let count: usize = new.parse().unwrap();
        let mut decoder =
            open_decoder(file, Packing::Exact, (prompt.len() + count).div_ceil(POSITIONS), POSITIONS).unwrap();
        let mut all = vec![run(&mut decoder, &prompt, 0)];
        while all.len() < count {
            all.push(run(&mut decoder, &all[all.len() - 1..], prompt.len() + all.len() - 1));
        }
        println!("{all:?}");
        return;
    }
    let [_, threads] = &words[..] else { panic!("decode_speed FILE THREADS, or FILE TOKENS NEW") };
    kernels::parallel::set_threads(threads.parse().unwrap());
    let mut decoder = open_decoder(file, Packing::Exact, (DEEP + NEW).div_ceil(POSITIONS), POSITIONS).unwrap();
    let loaded = begun.elapsed().as_secs_f64();
    let prefill = (0..3).map(|_| PREFILL as f64 / timed(|| feed(&mut decoder, PREFILL))).fold(0.0, f64::max);
    let [short, deep] = [1, DEEP].map(|depth| {
        feed(&mut decoder, depth);
        let mut next = 1;
        let taken = timed(|| (0..NEW).for_each(|place| next = run(&mut decoder, &[next], depth + place)));
        NEW as f64 / taken
    });
    println!(
        "{{\"prefill\":{prefill:.1},\"decode\":{short:.1},\"decode_deep\":{deep:.1},\"load_seconds\":{loaded:.2},\"bytes_per_token\":{},\"weights\":{}}}",
        decoder.bytes_per_token(),
        decoder.layer_weights()
    );
}

/// Tokens of a prompt, and of the step that it is cut into.
const PREFILL: usize = 512;
const PIECE: usize = 256;
/// Tokens before a deep decode, and tokens that are decoded.
const DEEP: usize = 1024;
const NEW: usize = 64;

/// Computes a prompt of so many tokens.
fn feed(decoder: &mut PackedDecoder, count: usize) {
    let tokens: Vec<u32> = (0..count).map(|place| (place * 7919 % 1000) as u32).collect();
    for (index, piece) in tokens.chunks(PIECE).enumerate() {
        run(decoder, piece, index * PIECE);
    }
}

/// Seconds of some work.
fn timed(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}
