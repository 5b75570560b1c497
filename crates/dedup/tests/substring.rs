//! Repeated spans against a reference that compares every window with every earlier one.
#![allow(clippy::unwrap_used, clippy::single_range_in_vec_init, reason = "tests")]

mod common;

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use common::Random;
use dedup::DedupError;
use dedup::substring::{SubstringConfig, Symbol, TextWriter, find};
use proptest::prelude::*;
use tempfile::TempDir;

/// Every window equal to an earlier one that it does not overlap, joined.
fn reference(documents: &[Vec<u32>], length: usize) -> Vec<(u64, Vec<Range<usize>>)> {
    let mut out = Vec::new();
    for (id, document) in documents.iter().enumerate() {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for (start, window) in document.windows(length).enumerate() {
            let inside = (0..=start).any(|at| at + length <= start && &document[at..at + length] == window);
            let before = documents[..id].iter().any(|other| other.windows(length).any(|other| other == window));
            if inside || before {
                match ranges.last_mut() {
                    Some(last) if start <= last.end => last.end = start + length,
                    _ => ranges.push(start..start + length),
                }
            }
        }
        if !ranges.is_empty() {
            out.push((id as u64, ranges));
        }
    }
    out
}

fn token_files(folder: &TempDir, documents: &[Vec<u32>], workers: usize) -> Vec<PathBuf> {
    (0..workers)
        .map(|worker| {
            let path = folder.path().join(format!("{worker}.texts"));
            let mut writer = TextWriter::create(&path, Symbol::Token).unwrap();
            for (id, document) in documents.iter().enumerate().skip(worker).step_by(workers) {
                writer.push_tokens(id as u64, document).unwrap();
            }
            writer.finish().unwrap();
            path
        })
        .collect()
}

fn cuts(documents: &[Vec<u32>], length: usize, workers: usize) -> Vec<(u64, Vec<Range<usize>>)> {
    let folder = tempfile::tempdir().unwrap();
    let files = token_files(&folder, documents, workers);
    let config = SubstringConfig { symbol: Symbol::Token, length, budget_bytes: 1 << 20, ..SubstringConfig::default() };
    find(&files, &folder.path().join("cuts"), &config).unwrap().map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn spans_are_those_of_the_reference(
        documents in prop::collection::vec(prop::collection::vec(0_u32..3, 0..60), 1..6),
        length in 2_usize..12,
        workers in 1_usize..4,
    ) {
        prop_assert_eq!(cuts(&documents, length, workers), reference(&documents, length));
    }

    #[test]
    fn pasted_spans_are_found(
        seed in any::<u64>(),
        length in 5_usize..40,
    ) {
        let mut random = Random(seed);
        let mut documents: Vec<Vec<u32>> = Vec::new();
        for _ in 0..5 {
            let mut document: Vec<u32> = (0..random.below(150)).map(|_| random.next() as u32).collect();
            if let Some(source) = documents.last() {
                let from = random.below(source.len() + 1);
                let to = from + random.below(source.len() - from + 1);
                let at = random.below(document.len() + 1);
                document.splice(at..at, source[from..to].iter().copied());
            }
            documents.push(document);
        }
        prop_assert_eq!(cuts(&documents, length, 2), reference(&documents, length));
    }
}

#[test]
fn a_text_that_repeats_itself_keeps_one_window() {
    assert_eq!(cuts(&[vec![1; 100], vec![1; 9], vec![1; 10]], 10, 1), [(0, vec![10..100]), (2, vec![0..10])]);
}

#[test]
fn bytes_are_compared_as_bytes_in_any_budget() {
    let mut random = Random(5);
    let block: String = (0..300).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
    let texts: Vec<String> = (0..400)
        .map(|id| {
            let own: String = (0..600).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
            if id % 4 == 1 { format!("{}{block}{}", &own[..300], &own[300..]) } else { own }
        })
        .collect();
    let mut answers = Vec::new();
    for (budget_bytes, seed) in [(1 << 20, 1), (1 << 28, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("texts");
        let mut writer = TextWriter::create(&path, Symbol::Byte).unwrap();
        for (id, text) in texts.iter().enumerate() {
            writer.push_text(id as u64, text).unwrap();
        }
        writer.finish().unwrap();
        let config = SubstringConfig { budget_bytes, seed, ..SubstringConfig::default() };
        let found: Vec<_> = find(&[path], &folder.path().join("cuts"), &config).unwrap().map(Result::unwrap).collect();
        assert_eq!(found.len(), 99);
        assert!(found.iter().all(|(id, ranges)| id % 4 == 1 && ranges.len() == 1));
        assert!(found.iter().all(|(_, ranges)| ranges[0].start <= 300 && ranges[0].end >= 600));
        assert!(found.iter().all(|(_, ranges)| ranges[0].len() < 310));
        answers.push(fs::read(folder.path().join("cuts")).unwrap());
    }
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn wrong_input_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("cuts");
    let files = token_files(&folder, &[vec![1, 2, 3]], 1);
    let bytes = SubstringConfig::default();
    assert!(matches!(find(&files, &out, &bytes), Err(DedupError::Settings { .. })));
    let none = SubstringConfig { length: 1, ..bytes };
    assert!(matches!(find(&files, &out, &none), Err(DedupError::Config { .. })));
    let mut writer = TextWriter::create(&folder.path().join("x"), Symbol::Token).unwrap();
    assert!(matches!(writer.push_text(1, "a"), Err(DedupError::Input { .. })));
    let whole = fs::read(&files[0]).unwrap();
    let tokens = SubstringConfig { symbol: Symbol::Token, ..SubstringConfig::default() };
    for length in 0..whole.len() {
        fs::write(&files[0], &whole[..length]).unwrap();
        assert!(matches!(find(&files, &out, &tokens), Err(DedupError::File { .. })), "{length}");
    }
    assert!(!out.exists());
}

#[test]
fn formats_stay() {
    let folder = tempfile::tempdir().unwrap();
    let files = token_files(&folder, &[vec![1, 2, 3], vec![4]], 1);
    common::golden_bytes("texts.v1.dups", &fs::read(&files[0]).unwrap());
}
