//! Greedy continuations: `greedy FILE NEW` reads arrays of tokens, one a line, and prints for each the NEW tokens that
//! follow, as JSON.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example")]

use infer::engine::{Batch, Forward, PackedDecoder, Packing, Part, open_decoder};

const POSITIONS: usize = 32;

/// The likeliest token behind some others.
fn next(decoder: &mut PackedDecoder, tokens: &[u32], position: usize) -> u32 {
    let pages = (0..(position + tokens.len()).div_ceil(POSITIONS) as u32).collect();
    let part = Part { rows: 0..tokens.len(), position, pages };
    let batch = Batch { tokens: tokens.to_vec(), parts: vec![part], wanted: vec![tokens.len() - 1] };
    let logits = decoder.forward(&batch);
    let first = |best: usize, next: usize| if logits[next] > logits[best] { next } else { best };
    (0..logits.len()).reduce(first).unwrap() as u32
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [file, new] = &words[..] else { panic!("greedy FILE NEW") };
    let new: usize = new.parse().unwrap();
    let mut decoder = open_decoder(file.as_ref(), Packing::Exact, 512 / POSITIONS, POSITIONS).unwrap();
    for line in std::io::stdin().lines() {
        let prompt: Vec<u32> = serde_json::from_str(&line.unwrap()).unwrap();
        let mut all = vec![next(&mut decoder, &prompt, 0)];
        while all.len() < new {
            let last = all[all.len() - 1];
            all.push(next(&mut decoder, &[last], prompt.len() + all.len() - 1));
        }
        println!("{}", serde_json::to_string(&all).unwrap());
    }
}
