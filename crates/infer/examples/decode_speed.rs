//! Prefill and decode of a GGUF file, timed: `decode_speed FILE PROMPT DEPTH NEW THREADS` prints one line of JSON with the
//! rates of a prompt of PROMPT tokens (best of three), and of NEW greedy tokens that follow DEPTH ones; `decode_speed
//! FILE TOKENS NEW`, with TOKENS like `1,2,3`, prints the greedy tokens that follow these.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

use std::time::Instant;

use infer::engine::{Batch, Forward, PackedDecoder, Part, gguf_decoder};
use infer::formats::gguf::Gguf;

const POSITIONS: usize = 32;

/// Computes tokens of one sequence from a position on; the greedy token behind the last of them.
fn run(decoder: &mut PackedDecoder, tokens: &[u32], position: usize) -> u32 {
    let pages = (0..(position + tokens.len()).div_ceil(POSITIONS) as u32).collect();
    let part = Part { rows: 0..tokens.len(), position, pages };
    let batch = Batch { tokens: tokens.to_vec(), parts: vec![part], wanted: vec![tokens.len() - 1] };
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
    let file = Gguf::open(words[0].as_ref()).unwrap();
    if let [_, tokens, new] = &words[..] {
        let prompt: Vec<u32> = tokens.split(',').map(|token| token.parse().unwrap()).collect();
        let count: usize = new.parse().unwrap();
        let mut decoder = gguf_decoder(&file, (prompt.len() + count).div_ceil(POSITIONS), POSITIONS).unwrap();
        let mut all = vec![run(&mut decoder, &prompt, 0)];
        while all.len() < count {
            all.push(run(&mut decoder, &all[all.len() - 1..], prompt.len() + all.len() - 1));
        }
        println!("{all:?}");
        return;
    }
    let [_, prompt, depth, new, threads] = &words[..] else {
        panic!("decode_speed FILE PROMPT DEPTH NEW THREADS, or FILE TOKENS NEW");
    };
    let [prompt, depth, new, threads]: [usize; 4] = [prompt, depth, new, threads].map(|word| word.parse().unwrap());
    kernels::parallel::set_threads(threads);
    let longest = prompt.max(depth + new);
    let mut decoder = gguf_decoder(&file, longest.div_ceil(POSITIONS), POSITIONS).unwrap();
    let loaded = begun.elapsed().as_secs_f64();
    let token = |place: usize| (place * 7919 % 1000) as u32;
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let tokens: Vec<u32> = (0..prompt).map(token).collect();
        let once = Instant::now();
        for (index, piece) in tokens.chunks(256).enumerate() {
            run(&mut decoder, piece, index * 256);
        }
        best = best.min(once.elapsed().as_secs_f64());
    }
    let tokens: Vec<u32> = (0..depth.max(1)).map(token).collect();
    let mut next = 0;
    for (index, piece) in tokens.chunks(256).enumerate() {
        next = run(&mut decoder, piece, index * 256);
    }
    let once = Instant::now();
    for place in 0..new {
        next = run(&mut decoder, &[next], depth.max(1) + place);
    }
    let decode = new as f64 / once.elapsed().as_secs_f64();
    println!(
        "{{\"prefill\":{:.1},\"decode\":{decode:.1},\"depth\":{depth},\"load_seconds\":{loaded:.2},\"gigabytes_per_second\":{:.1}}}",
        prompt as f64 / best,
        decode * decoder.bytes_per_token() as f64 / 1e9
    );
}
