//! Chats beside each other: `chats_speed FILE THREADS` answers eight prompts of 256 tokens, the first 128 of which they
//! share, with 128 tokens each, through the engine. It prints one line of JSON: generated tokens a second from the first
//! request to the last answer (the median of three), and what the process has resident, beside the file's size and the
//! cache's. `chats_speed FILE THREADS first` prints the first token of a short prompt and ends.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use infer::Sampling;
use infer::engine::{Engine, EngineConfig, Event, Opened, Packing, Request, open, open_decoder};
use infer::tokenizer::TextTokenizer;

const CHATS: usize = 8;
const SHARED: usize = 128;
const PROMPT: usize = 256;
const NEW: usize = 128;

const CONFIG: EngineConfig = EngineConfig {
    step_rows_max: 256,
    sequences_max: 16,
    waiting_max: 64,
    page_positions: 32,
    pages: 128,
    guesses_max: 0,
    context: 2048,
};

fn ask(engine: &Engine, prompt: Vec<u32>, new: usize) -> Receiver<Event> {
    let (sender, receiver) = channel();
    let request = Request {
        prompt,
        sampling: Sampling { max_tokens: new, temperature: 0.0, ..Sampling::default() },
        structure: None,
        ignore_end: true,
        cancelled: Arc::default(),
        on_event: Box::new(move |event| match sender.send(event) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }),
    };
    engine.submit(request).unwrap();
    receiver
}

/// Generated tokens a second; every round has prompts of its own, so that nothing is found from the one before.
fn round(engine: &Engine, round: usize) -> f64 {
    let word = |place: usize| (place * 7919 % 1000) as u32;
    let shared = (0..SHARED).map(|place| word(place + 10_000 * round));
    let prompt = |chat: usize| {
        shared.clone().chain((SHARED..PROMPT).map(move |place| word(place + 100_000 * (chat + 1) + round)))
    };
    let begun = Instant::now();
    let answers: Vec<_> = (0..CHATS).map(|chat| ask(engine, prompt(chat).collect(), NEW)).collect();
    let tokens: usize = answers.into_iter().flatten().filter(|event| matches!(event, Event::Token { .. })).count();
    assert_eq!(tokens, CHATS * NEW);
    tokens as f64 / begun.elapsed().as_secs_f64()
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (file, threads) = (&words[0], words[1].parse().unwrap());
    kernels::parallel::set_threads(threads);
    if words.len() > 2 {
        let Opened { engine, .. } = open(file.as_ref(), CONFIG, Packing::Exact).unwrap();
        let prompt = engine.tokenizer().encode("The capital of France is").unwrap();
        let token = ask(&engine, prompt, 1).into_iter().find_map(|event| match event {
            Event::Token { text, .. } => Some(text),
            _ => None,
        });
        println!("{:?}", token.unwrap());
        // What is measured is over; giving everything back piece by piece is not part of it.
        std::process::exit(0);
    }
    // Tokens are numbers without meaning, so that files without words are measured too.
    let decoder = open_decoder(file.as_ref(), Packing::Exact, CONFIG.pages, CONFIG.page_positions).unwrap();
    let cache_bytes = decoder.cache_bytes();
    let tokenizer = TextTokenizer::train(["a"].into_iter(), 257).unwrap();
    let engine = Engine::start(Box::new(decoder), tokenizer, Vec::new(), CONFIG).unwrap();
    let mut rates: Vec<f64> = (0..3).map(|number| round(&engine, number)).collect();
    rates.sort_by(f64::total_cmp);
    println!(
        "{{\"chats\":{:.1},\"resident_mib\":{},\"file_mib\":{},\"cache_mib\":{}}}",
        rates[1],
        resident_mib(),
        std::fs::metadata(file).unwrap().len() >> 20,
        cache_bytes >> 20
    );
}

/// The memory that is resident now; 0 where the system does not say.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) / 1024
}
