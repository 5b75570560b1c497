//! Asks a GGUF file, a folder of Hugging Face's or a file of llama2.c's: `chat FILE MESSAGE..` answers every message at
//! the same time, greedily, and prints each answer with its rate. Without a chat template messages are continued.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example")]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use infer::Sampling;
use infer::engine::{EngineConfig, Event, Opened, Packing, Request, open};
use serde_json::{Map, json};

const CONFIG: EngineConfig = EngineConfig {
    step_rows_max: 256,
    sequences_max: 16,
    waiting_max: 64,
    page_positions: 32,
    pages: 256,
    guesses_max: 3,
    context: 2048,
};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let begun = Instant::now();
    let Opened { name, engine, template, begin, .. } = open(words[0].as_ref(), CONFIG, Packing::Exact).unwrap();
    println!("{name} loaded in {:.2} s", begun.elapsed().as_secs_f64());
    let first = begin;
    let begun = Instant::now();
    let answers: Vec<_> = words[1..]
        .iter()
        .map(|message| {
            let prompt: Vec<u32> = match &template {
                Some(template) => {
                    let prompt =
                        template.render(&[json!({ "role": "user", "content": message })], None, &Map::new()).unwrap();
                    engine.tokenizer().encode_template(&prompt).unwrap()
                }
                None => first.into_iter().chain(engine.tokenizer().encode(message).unwrap()).collect(),
            };
            let (sender, receiver) = channel();
            let request = Request {
                prompt,
                sampling: Sampling { max_tokens: 128, temperature: 0.0, ..Sampling::default() },
                structure: None,
                ignore_end: false,
                cancelled: Arc::default(),
                on_event: Box::new(move |event| match sender.send(event) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }),
            };
            engine.submit(request).unwrap();
            receiver
        })
        .collect();
    let mut tokens = 0;
    for (message, events) in words[1..].iter().zip(answers) {
        let mut text = String::new();
        for event in events {
            match event {
                Event::Token { text: certain, .. } => text.push_str(&certain),
                Event::End(summary) => {
                    text.push_str(&summary.text);
                    tokens += summary.completion_tokens;
                    println!(
                        "> {message}\n{text}\n({} and {} tokens, {} found, first after {:.0} ms)",
                        summary.prompt_tokens,
                        summary.completion_tokens,
                        summary.cached_tokens,
                        summary.prefill.as_secs_f64() * 1e3
                    );
                }
                Event::Begin { .. } => {}
                Event::Failed(failure) => println!("> {message}\nfailed: {failure:?}"),
            }
        }
    }
    println!("{tokens} tokens in {:.2} s", begun.elapsed().as_secs_f64());
}
