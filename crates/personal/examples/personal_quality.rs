//! Precision and recall on Presidio's vectors and annotated texts.
//!
//! `cargo run --release -p modelyard-personal --example personal_quality -- ../shared/data/presidio [misses]`
//!
//! Vectors: each type alone, threshold 0, as Presidio tests its recognisers. Annotated texts: the default
//! finder, threshold 0.5. A finding counts as right if it overlaps an annotation of its type; `exact` counts equal borders.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use personal::{FinderConfig, Kind};
use serde_json::Value;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = Path::new(arguments.first().map_or("../shared/data/presidio", String::as_str));
    let misses = arguments.get(1).is_some_and(|word| word == "misses");
    vectors(&folder.join("recogniser-vectors.jsonl"), misses);
    for file in ["generated_large.json", "synth_dataset_v2.json"] {
        annotated(&folder.join(file), misses);
    }
}

fn kind_of(entity: &str) -> Option<Kind> {
    match entity {
        "EMAIL_ADDRESS" => Some(Kind::Email),
        "PHONE_NUMBER" => Some(Kind::Phone),
        "IBAN_CODE" => Some(Kind::Iban),
        "DOMAIN_NAME" => Some(Kind::Url),
        "STREET_ADDRESS" => Some(Kind::Address),
        other => other.parse().ok(),
    }
}

#[derive(Default)]
struct Tally {
    texts: usize,
    exact: usize,
    right: usize,
    found: usize,
    expected: usize,
}

impl Tally {
    fn print(&self, name: &str) {
        let share = |part: usize, whole: usize| if whole == 0 { 1.0 } else { part as f64 / whole as f64 };
        println!(
            "{name:<28} {:>6} {:>6} {:>6} {:>6} {:>6}   {:>6.3} {:>6.3}",
            self.texts,
            self.exact,
            self.expected,
            self.found,
            self.right,
            share(self.right, self.found),
            share(self.right, self.expected)
        );
    }
}

fn header(title: &str, exact: &str) {
    println!(
        "\n{title}\n{:<28} {:>6} {exact:>6} {:>6} {:>6} {:>6}   precis recall",
        "type", "texts", "gold", "found", "right"
    );
}

fn vectors(path: &Path, misses: bool) {
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut total = Tally::default();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let Some(kind) = row["entity"].as_str().and_then(kind_of) else { continue };
        let config =
            FinderConfig { kinds: Some(vec![kind]), score_min: 0.0, public_ip_only: false, ..FinderConfig::default() };
        let text = row["text"].as_str().unwrap();
        let found: Vec<[usize; 2]> = config
            .plan()
            .unwrap()
            .find(text)
            .iter()
            .map(|found| [text[..found.start].chars().count(), text[..found.end].chars().count()])
            .collect();
        let spans: Option<Vec<[usize; 2]>> = serde_json::from_value(row["spans"].clone()).ok();
        let expected = row["count"].as_u64().map_or_else(|| spans.as_ref().map_or(0, Vec::len), |count| count as usize);
        if row["count"].is_null() && spans.is_none() {
            continue;
        }
        let exact = found.len() == expected && spans.as_ref().is_none_or(|spans| spans.is_empty() || *spans == found);
        let right = spans.as_ref().map_or(found.len().min(expected), |spans| {
            if spans.len() < expected {
                found.len().min(expected)
            } else {
                found.iter().filter(|span| spans.contains(span)).count()
            }
        });
        for tally in [tallies.entry(kind.name()).or_default(), &mut total] {
            tally.texts += 1;
            tally.exact += usize::from(exact);
            tally.expected += expected;
            tally.found += found.len();
            tally.right += right;
        }
        if misses && !exact {
            println!("miss {kind} {text:?}: expected {expected} {spans:?}, found {found:?}");
        }
    }
    header("Presidio's recogniser vectors", "exact");
    for (name, tally) in &tallies {
        tally.print(name);
    }
    total.print("all");
}

fn annotated(path: &Path, misses: bool) {
    let finder = FinderConfig { also: vec![Kind::Url], ..FinderConfig::default() }.plan().unwrap();
    let rows: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for row in &rows {
        let text = row["full_text"].as_str().unwrap();
        let gold: Vec<(Kind, usize, usize)> = row["spans"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|span| {
                let place = |name: &str| span[name].as_u64().unwrap() as usize;
                Some((kind_of(span["entity_type"].as_str().unwrap())?, place("start_position"), place("end_position")))
            })
            .collect();
        let found: Vec<(Kind, usize, usize)> = finder
            .find(text)
            .iter()
            .map(|found| {
                let kind = if found.kind == Kind::CnBankCard { Kind::CreditCard } else { found.kind };
                (kind, text[..found.start].chars().count(), text[..found.end].chars().count())
            })
            .collect();
        let meets = |one: &(Kind, usize, usize), other: &(Kind, usize, usize)| {
            one.0 == other.0 && one.1 < other.2 && other.1 < one.2
        };
        for span in &gold {
            let tally = tallies.entry(span.0.name()).or_default();
            tally.expected += 1;
            tally.exact += usize::from(found.contains(span));
            tally.right += usize::from(found.iter().any(|found| meets(found, span)));
            if misses && !found.iter().any(|found| meets(found, span)) {
                println!("miss {} {:?} in {text:?}", span.0, slice(text, span));
            }
        }
        for span in &found {
            let tally = tallies.entry(span.0.name()).or_default();
            tally.found += 1;
            tally.texts += usize::from(gold.iter().any(|gold| meets(gold, span)));
            if misses && !gold.iter().any(|gold| meets(gold, span)) {
                println!("extra {} {:?} in {text:?}", span.0, slice(text, span));
            }
        }
    }
    println!(
        "\n{} ({} texts)\n{:<28} {:>6} {:>6} {:>6} {:>6}   precis recall",
        path.file_name().unwrap().to_string_lossy(),
        rows.len(),
        "type",
        "gold",
        "found",
        "hit",
        "exact"
    );
    for (name, tally) in &tallies {
        let share = |part: usize, whole: usize| if whole == 0 { f64::NAN } else { part as f64 / whole as f64 };
        println!(
            "{name:<28} {:>6} {:>6} {:>6} {:>6}   {:>6.3} {:>6.3}",
            tally.expected,
            tally.found,
            tally.right,
            tally.exact,
            share(tally.texts, tally.found),
            share(tally.right, tally.expected)
        );
    }
}

fn slice(text: &str, span: &(Kind, usize, usize)) -> String {
    text.chars().skip(span.1).take(span.2 - span.1).collect()
}
