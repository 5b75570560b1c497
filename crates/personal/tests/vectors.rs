//! Presidio's recogniser vectors, each type alone with threshold 0, as Presidio tests its recognisers.
//!
//! What is not exact is listed below with the reason; nothing else may miss.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;

use personal::{FinderConfig, Kind};
use serde_json::Value;

/// Types that are told by a language model there; a pattern finds those that a title or figures show.
const MODEL_EXACT_MIN: usize = 8;

/// Texts that are in the vectors twice with opposite answers (a strict and a lenient recogniser), or whose expected
/// place takes in a mark beside the value.
const NOT_EXACT: [&str; 6] = [
    "DE123456789",
    "DE987654321",
    "DE100000001",
    "Here is my National Insurance Number YZ 61 48 68 B",
    "\"https://presidio.dataprivacystack.org/\"",
    "'https://presidio.dataprivacystack.org/'",
];

fn kind_of(entity: &str) -> Kind {
    match entity {
        "EMAIL_ADDRESS" => Kind::Email,
        other => other.parse().unwrap(),
    }
}

fn places(text: &str, kinds: Vec<Kind>) -> Vec<[usize; 2]> {
    let config = FinderConfig { kinds: Some(kinds), score_min: 0.0, public_ip_only: false, ..FinderConfig::default() };
    let characters = |byte: usize| text[..byte].chars().count();
    let findings = config.plan().unwrap().find(text);
    findings.iter().map(|found| [characters(found.start), characters(found.end)]).collect()
}

#[test]
fn every_vector_that_a_pattern_decides_is_exact() {
    let mut exact: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut model_exact = 0;
    for line in include_str!("golden/presidio-vectors.jsonl").lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let text = row["text"].as_str().unwrap();
        let spans: Option<Vec<[usize; 2]>> = serde_json::from_value(row["spans"].clone()).ok();
        let count = row["count"].as_u64().map(|count| count as usize).or_else(|| spans.as_ref().map(Vec::len));
        let Some(count) = count else { continue };
        let Some(entity) = row["entity"].as_str() else {
            let found = places(text, vec![Kind::Person, Kind::DateTime]);
            model_exact += usize::from(Some(found) == spans);
            continue;
        };
        let found = places(text, vec![kind_of(entity)]);
        let placed = spans.as_ref().is_none_or(|spans| spans.is_empty() || *spans == found);
        let tally = exact.entry(entity.to_owned()).or_default();
        tally.1 += 1;
        if found.len() == count && placed {
            tally.0 += 1;
        } else {
            assert!(NOT_EXACT.contains(&text), "{entity} {text:?}: expected {count} {spans:?}, found {found:?}");
        }
    }
    let (right, all) = exact.values().fold((0, 0), |sum, tally| (sum.0 + tally.0, sum.1 + tally.1));
    assert_eq!((right, all, exact.len()), (1127, 1133, 74));
    assert!(model_exact >= MODEL_EXACT_MIN, "{model_exact} of the texts for language models");
}

/// Hits and findings of the default finder, threshold 0.5, on Presidio's annotated texts: what was measured.
const ANNOTATED: [(&str, Kind, usize, usize); 15] = [
    ("generated_large.json", Kind::CreditCard, 212, 212),
    ("generated_large.json", Kind::Email, 58, 58),
    ("generated_large.json", Kind::Iban, 28, 28),
    ("generated_large.json", Kind::UsSsn, 44, 44),
    ("generated_large.json", Kind::Phone, 129, 129),
    ("generated_large.json", Kind::UsDriverLicense, 12, 12),
    ("generated_large.json", Kind::IpAddress, 10, 10),
    ("generated_large.json", Kind::Person, 167, 167),
    ("generated_large.json", Kind::Address, 545, 412),
    ("synth_dataset_v2.json", Kind::CreditCard, 127, 127),
    ("synth_dataset_v2.json", Kind::Email, 49, 49),
    ("synth_dataset_v2.json", Kind::Phone, 84, 84),
    ("synth_dataset_v2.json", Kind::UsSsn, 16, 16),
    ("synth_dataset_v2.json", Kind::Person, 106, 107),
    ("synth_dataset_v2.json", Kind::Address, 336, 272),
];

#[test]
fn annotated_texts_are_found_as_measured() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/presidio");
    if !std::path::Path::new(folder).exists() {
        eprintln!("SKIPPED: {folder} is absent");
        return;
    }
    let finder = FinderConfig::default().plan().unwrap();
    let mut hits: BTreeMap<(&str, Kind), (usize, usize)> = BTreeMap::new();
    for file in ["generated_large.json", "synth_dataset_v2.json"] {
        let rows: Vec<Value> =
            serde_json::from_str(&std::fs::read_to_string(format!("{folder}/{file}")).unwrap()).unwrap();
        for row in &rows {
            let text = row["full_text"].as_str().unwrap();
            let characters = |byte: usize| text[..byte].chars().count();
            let findings: Vec<(Kind, usize, usize)> = finder
                .find(text)
                .iter()
                .map(|found| {
                    let kind = if found.kind == Kind::CnBankCard { Kind::CreditCard } else { found.kind };
                    (kind, characters(found.start), characters(found.end))
                })
                .collect();
            for (kind, _, _) in &findings {
                hits.entry((file, *kind)).or_default().1 += 1;
            }
            for span in row["spans"].as_array().unwrap() {
                let kind = match span["entity_type"].as_str().unwrap() {
                    "EMAIL_ADDRESS" => Kind::Email,
                    "PHONE_NUMBER" => Kind::Phone,
                    "IBAN_CODE" => Kind::Iban,
                    "STREET_ADDRESS" => Kind::Address,
                    other => match other.parse() {
                        Ok(kind) => kind,
                        Err(_) => continue,
                    },
                };
                let place = |name: &str| span[name].as_u64().unwrap() as usize;
                let (start, end) = (place("start_position"), place("end_position"));
                let hit = findings.iter().any(|found| found.0 == kind && found.1 < end && start < found.2);
                hits.entry((file, kind)).or_default().0 += usize::from(hit);
            }
        }
    }
    for (file, kind, hits_min, found_max) in ANNOTATED {
        let (hit, found) = hits[&(file, kind)];
        assert!(hit >= hits_min, "{file} {kind}: {hit} annotations hit, {hits_min} measured");
        assert!(found <= found_max + hit - hits_min, "{file} {kind}: {found} findings, {found_max} measured");
    }
}
