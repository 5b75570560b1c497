//! Decontamination against datatrove's answers and a plain reference.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::golden;
use dedup::contamination::{Contamination, ContaminationConfig, Match, NgramIndex, NgramIndexConfig, Unit};
use proptest::prelude::*;
use serde_json::Value;

fn words(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

#[test]
fn the_index_answers_as_datatrove_does() {
    let golden = golden("contamination.json");
    let ngram = golden["ngram"].as_u64().unwrap() as usize;
    let config = NgramIndexConfig { ngram, find_query_ngrams: true, find_overlap_ngrams: true };
    let mut index = NgramIndex::new(&config).unwrap();
    for task in golden["tasks"].as_array().unwrap() {
        index.add(task["task"].as_str().unwrap(), &words(&task["label"]), Some(&words(&task["query"])));
    }
    let mut found = 0;
    for document in golden["documents"].as_array().unwrap() {
        let answer = index.check(&words(&document["words"]));
        found += usize::from(answer.is_some());
        match answer {
            Some((ngram, task)) => {
                assert_eq!(ngram, document["ngram"].as_str().unwrap());
                // datatrove names tasks by their files.
                assert_eq!(task.replace(' ', "_"), document["task"].as_str().unwrap());
            }
            None => assert!(document["ngram"].is_null()),
        }
    }
    assert!(found >= 3 && golden["documents"].as_array().unwrap().len() > found);
}

#[test]
fn the_first_ngram_and_its_text_are_named() {
    let config = ContaminationConfig { ngram: 4, unit: Unit::Words };
    let texts = [(7, "The quick, brown fox jumps."), (9, "Brown fox jumps over 12 dogs"), (11, "too short")];
    let known = Contamination::new(&config, texts).unwrap();
    assert_eq!(known.too_short(), 1);
    let found = |text: &str| known.check(text).map(|Match { ngram, evaluation }| (ngram, evaluation));
    assert_eq!(found("a THE quick brown — fox"), Some(("the quick brown fox".to_owned(), 7)));
    assert_eq!(found("fox jumps over 99 dogs"), Some(("fox jumps over 0".to_owned(), 9)));
    assert_eq!(found("the quick brown"), None);
    assert_eq!(found("fox jumps. the quick"), None);
    assert_eq!(found(""), None);
}

#[test]
fn chinese_is_compared_by_characters() {
    let config = ContaminationConfig { ngram: 8, unit: Unit::Characters };
    let known = Contamination::new(&config, [(1, "秦川雄帝宅，函谷壯皇居。")]).unwrap();
    assert_eq!(known.check("他說：川雄帝宅\n函谷壯皇").unwrap().ngram, "川雄帝宅函谷壯皇");
    assert_eq!(known.check("川雄帝宅函谷壯"), None);
}

#[test]
fn settings_are_checked() {
    let none: [(u64, &str); 0] = [];
    assert!(Contamination::new(&ContaminationConfig { ngram: 0, unit: Unit::Words }, none).is_err());
    assert!(NgramIndex::new(&NgramIndexConfig { ngram: 0, ..NgramIndexConfig::default() }).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_found_is_what_is_there(
        evaluations in prop::collection::vec("[ab]( [ab]){0,12}", 1..4),
        text in "[ab]( [ab]){0,30}",
        ngram in 1_usize..7,
    ) {
        let texts = evaluations.iter().enumerate().map(|(id, text)| (id as u64, text.as_str()));
        let known = Contamination::new(&ContaminationConfig { ngram, unit: Unit::Words }, texts).unwrap();
        let units: Vec<&str> = text.split(' ').collect();
        let expected = units.windows(ngram).find_map(|window| {
            let id = evaluations.iter().position(|evaluation| {
                evaluation.split(' ').collect::<Vec<_>>().windows(ngram).any(|other| other == window)
            })?;
            Some(Match { ngram: window.join(" "), evaluation: id as u64 })
        });
        prop_assert_eq!(known.check(&text), expected);
    }
}
