//! The n-gram model against the formula written out slowly, and its file.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use signals::{NgramConfig, NgramModel, NgramTrainer, Units};

const CLEAN: &str = include_str!("golden/clean.txt");

fn trained(config: NgramConfig) -> NgramModel {
    let mut trainer = NgramTrainer::new(config);
    for line in CLEAN.lines() {
        trainer.add(line);
    }
    trainer.finish().unwrap()
}

/// Interpolated Kneser–Ney over words between blanks, with sets and strings.
struct Slow {
    counts: Vec<HashMap<Vec<String>, f64>>,
}

impl Slow {
    fn new(order: usize) -> Self {
        let mut counts = vec![HashMap::new(); order];
        for line in CLEAN.lines() {
            for ngram in padded(line, order).windows(order) {
                *counts[order - 1].entry(ngram.to_vec()).or_insert(0.0) += 1.0;
            }
        }
        for shorter in (0..order - 1).rev() {
            let longer: Vec<Vec<String>> = counts[shorter + 1].keys().cloned().collect();
            for ngram in longer {
                *counts[shorter].entry(ngram[1..].to_vec()).or_insert(0.0) += 1.0;
            }
        }
        Self { counts }
    }

    fn probability(&self, ngram: &[String]) -> f64 {
        let Some(order) = ngram.len().checked_sub(1) else {
            return 1.0 / (self.counts[0].len() as f64 + 1.0);
        };
        let shorter = self.probability(&ngram[1..]);
        let counts = &self.counts[order];
        let with = |times: f64| counts.values().filter(|count| **count == times).count() as f64;
        let discount = with(1.0) / (with(1.0) + 2.0 * with(2.0));
        let following: Vec<f64> =
            counts.iter().filter(|(other, _)| other[..order] == ngram[..order]).map(|(_, count)| *count).collect();
        let total: f64 = following.iter().sum();
        if total == 0.0 {
            return shorter;
        }
        let count = counts.get(ngram).copied().unwrap_or(0.0);
        (count - discount).max(0.0) / total + discount * following.len() as f64 / total * shorter
    }
}

fn padded(line: &str, order: usize) -> Vec<String> {
    let start = std::iter::repeat_n("<s>", order - 1);
    start.chain(line.split_whitespace()).map(str::to_owned).collect()
}

#[test]
fn equals_the_formula() {
    let slow = Slow::new(3);
    let model = trained(NgramConfig::default());
    for text in ["the cat sat on the mat", "a dog ran", "zebra the zebra sat", "mat the on sat cat the"] {
        let words = padded(text, 3);
        let sum: f64 = words.windows(3).map(|ngram| slow.probability(ngram).ln()).sum();
        let wanted = (-sum / (words.len() - 2) as f64).exp();
        let mine = model.perplexity(text).unwrap();
        assert!((mine / wanted - 1.0).abs() < 1e-9, "{text}: {mine}, not {wanted}");
    }
    assert_eq!(model.perplexity(" \n"), None);
}

#[test]
fn probabilities_sum_to_one() {
    // A text of one word has the perplexity 1/p. All words and one unknown: the whole of what may begin a text.
    let model = trained(NgramConfig::default());
    let words: BTreeSet<&str> = CLEAN.split_whitespace().collect();
    let sum: f64 = words.iter().chain(&["unheard"]).map(|word| 1.0 / model.perplexity(word).unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
}

#[test]
fn its_file_is_read_for_ever() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny.ngrams");
    let model = NgramModel::read(&path).unwrap();
    let new = trained(NgramConfig { order: 4, units: Units::Characters, ..NgramConfig::default() });
    let text = "the cat ran to the mat";
    assert_eq!(model.perplexity(text), new.perplexity(text));
    assert!((model.perplexity(text).unwrap() - PERPLEXITY).abs() < 1e-9, "{:?}", model.perplexity(text));
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("written.ngrams");
    new.write(&written).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(std::fs::read(&written).unwrap(), bytes);
    for length in [0, 7, 20, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&written, &bytes[..length]).unwrap();
        assert!(NgramModel::read(&written).is_err(), "{length} bytes");
    }
}

/// `crates/xtask/peers/signals_ngrams.py` says so.
const PERPLEXITY: f64 = 1.6146961245280946;

#[test]
fn memory_has_a_limit_and_bad_text_is_more_perplexing() {
    let mut trainer = NgramTrainer::new(NgramConfig { entries_max: 40, ..NgramConfig::default() });
    for line in CLEAN.lines() {
        trainer.add(line);
    }
    assert!(trainer.refused() > 0);
    let small = trainer.finish().unwrap();
    assert!(small.perplexity("the cat sat").unwrap().is_finite());
    let model = trained(NgramConfig::default());
    assert!(
        model.perplexity("the dog sat on the mat").unwrap() * 3.0 < model.perplexity("qq zz click here xx").unwrap()
    );
    assert!(NgramTrainer::new(NgramConfig::default()).finish().is_err());
}
