//! Compares decisions and numbers of many documents with datatrove's:
//! `signals_check CORPUS.jsonl MODEL ANSWERS.jsonl...`, where `crates/xtask/peers/signals_golden.py run` wrote the answers.

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use signals::{LanguageModel, Scratch};

#[allow(clippy::print_stdout, reason = "an example's whole purpose")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let [corpus, model, answers @ ..] = paths.as_slice() else { return Err("a corpus, a model, answers".into()) };
    let model = Arc::new(LanguageModel::read(Path::new(model))?);
    let mut documents = BufReader::new(std::fs::File::open(corpus)?).lines();
    let mut scratch = Scratch::default();
    let (mut count, mut wrong) = (0, 0);
    for path in answers {
        for answer in BufReader::new(std::fs::File::open(path)?).lines() {
            let answer: serde_json::Value = serde_json::from_str(&answer?)?;
            let document = loop {
                let line = documents.next().ok_or("an answer has no text")??;
                let document: serde_json::Value = serde_json::from_str(&line)?;
                if document["id"] == answer["id"] {
                    break document;
                }
            };
            let text = document["text"].as_str().unwrap_or_default();
            let found = support::differences(text, &answer, Some(&model), &mut scratch);
            count += 1;
            if !found.is_empty() {
                wrong += 1;
                if wrong <= 20 {
                    println!("{} {found:?}", document["id"]);
                }
            }
        }
    }
    println!("{{\"documents\": {count}, \"different\": {wrong}}}");
    Ok(())
}
