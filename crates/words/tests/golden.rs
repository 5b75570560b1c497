//! Against what datatrove 0.10.1 (spaCy 3.8, Python 3.11) said: see `crates/xtask/peers/words_golden.py`.

use words::{Language, for_each_word, paragraphs, sentences, simplify};

fn strings(value: &serde_json::Value) -> Vec<&str> {
    value.as_array().map_or(Vec::new(), |list| list.iter().filter_map(|item| item.as_str()).collect())
}

#[test]
fn equals_datatrove() {
    let rows = include_str!("golden/words.jsonl");
    let mut wrong = Vec::new();
    let mut count = 0;
    for row in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let text = row["text"].as_str().unwrap();
        count += 1;
        for (name, language) in [("en", Language::English), ("xx", Language::Neutral)] {
            let mut mine = Vec::new();
            for_each_word(text, language, |word| mine.push(word));
            let theirs = strings(&row[name][0]);
            if mine != theirs {
                wrong.push(format!("{name} words of {text:?}\n  {mine:?}\n  {theirs:?}"));
            }
            let (mine, theirs) = (sentences(text, language), strings(&row[name][1]));
            if mine != theirs {
                wrong.push(format!("{name} sentences of {text:?}\n  {mine:?}\n  {theirs:?}"));
            }
        }
        if simplify(text) != row["simple"].as_str().unwrap() {
            wrong.push(format!("simplify {text:?}\n  {:?}\n  {:?}", simplify(text), row["simple"]));
        }
        if paragraphs(text) != strings(&row["paragraphs"]) {
            wrong.push(format!("paragraphs {text:?}\n  {:?}\n  {:?}", paragraphs(text), row["paragraphs"]));
        }
    }
    assert!(count > 250);
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
}
