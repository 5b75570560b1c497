//! Compares words, sentences and simplified text of many documents with datatrove's:
//! `words_check CORPUS.jsonl DIGESTS.jsonl`, where `crates/xtask/peers/words_golden.py full` wrote the digests.

use std::io::{BufRead, BufReader};

use sha2::{Digest, Sha256};
use words::{Language, for_each_word, sentences, simplify};

fn digest(parts: &[&str]) -> String {
    let bytes = Sha256::digest(parts.join("\u{1}").as_bytes());
    bytes[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[allow(clippy::print_stdout, reason = "an example's whole purpose")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let [corpus, digests] = paths.as_slice() else { return Err("two paths wanted".into()) };
    let corpus = BufReader::new(std::fs::File::open(corpus)?);
    let digests = BufReader::new(std::fs::File::open(digests)?);
    let (mut count, mut wrong) = (0, 0);
    for (line, row) in corpus.lines().zip(digests.lines()) {
        let document: serde_json::Value = serde_json::from_str(&line?)?;
        let row: serde_json::Value = serde_json::from_str(&row?)?;
        let text = document["text"].as_str().unwrap_or_default();
        let mut differs = Vec::new();
        if row["simple"] != digest(&[&simplify(text)]) {
            differs.push("simple");
        }
        for (name, language) in [("en", Language::English), ("xx", Language::Neutral)] {
            let mut mine = Vec::new();
            for_each_word(text, language, |word| mine.push(word));
            if row[name][0] != digest(&mine) {
                differs.push("words");
            }
            if row[name][1] != digest(&sentences(text, language)) {
                differs.push("sentences");
            }
        }
        count += 1;
        if !differs.is_empty() {
            wrong += 1;
            println!("{} {differs:?}", document["id"]);
        }
    }
    println!("{{\"documents\": {count}, \"different\": {wrong}}}");
    Ok(())
}
