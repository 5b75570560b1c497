//! Asks a GGUF file: `chat FILE MESSAGE..` answers every message at the same time, greedily, and prints each answer with
//! its rate.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example")]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use infer::Sampling;
use infer::engine::{EngineConfig, Event, Opened, Request, open_gguf};
use serde_json::json;

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
    let Opened { engine, template, .. } = open_gguf(words[0].as_ref(), CONFIG).unwrap();
    println!("loaded in {:.2} s", begun.elapsed().as_secs_f64());
    let template = template.unwrap();
    let begun = Instant::now();
    let answers: Vec<_> = words[1..]
        .iter()
        .map(|message| {
            let prompt = template
                .render(&[json!({ "role": "user", "content": message })], None, &serde_json::Map::new())
                .unwrap();
            let (sender, receiver) = channel();
            let request = Request {
                prompt: engine.tokenizer().encode_template(&prompt).unwrap(),
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
