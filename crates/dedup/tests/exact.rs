//! Documents, lines, paragraphs and sentences.
#![allow(clippy::unwrap_used, clippy::single_range_in_vec_init, reason = "tests")]

mod common;

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use common::{Random, golden};
use dedup::DedupError;
use dedup::exact::{DocumentWriter, ExactConfig, SpanWriter, cut, find_documents, find_spans};
use tempfile::TempDir;

const SMALL: ExactConfig = ExactConfig { budget_bytes: 1 << 20 };

fn document_files(folder: &TempDir, texts: &[String], workers: usize) -> Vec<PathBuf> {
    (0..workers)
        .map(|worker| {
            let path = folder.path().join(format!("{worker}.docs"));
            let mut writer = DocumentWriter::create(&path).unwrap();
            for (id, text) in texts.iter().enumerate().skip(worker).step_by(workers) {
                writer.push(id as u64, text).unwrap();
            }
            writer.finish().unwrap();
            path
        })
        .collect()
}

#[test]
fn the_first_of_equal_documents_stays() {
    let mut random = Random(3);
    // Enough for several runs in the budget.
    let texts: Vec<String> = (0..60_000).map(|_| format!("text {}", random.below(40_000))).collect();
    let mut first: HashMap<&str, u64> = HashMap::new();
    let expected: Vec<(u64, u64)> = texts
        .iter()
        .enumerate()
        .map(|(id, text)| (id as u64, *first.entry(text).or_insert(id as u64)))
        .filter(|(id, first)| id != first)
        .collect();
    let mut answers = Vec::new();
    for (workers, budget_bytes) in [(1, 1 << 28), (3, 1 << 20)] {
        let folder = tempfile::tempdir().unwrap();
        let files = document_files(&folder, &texts, workers);
        let clusters = find_documents(&files, &folder.path().join("out"), &ExactConfig { budget_bytes }).unwrap();
        let dropped: Vec<(u64, u64)> = clusters.dropped().unwrap().map(Result::unwrap).collect();
        assert_eq!(dropped, expected);
        assert_eq!(clusters.documents, 60_000);
        let members: Vec<_> = clusters.members().unwrap().map(Result::unwrap).collect();
        assert_eq!(members.len() as u64, clusters.dropped + clusters.clusters);
        assert!(members.is_sorted_by_key(|member| (member.representative, member.id)));
        answers.push(fs::read(folder.path().join("out/clusters.dups")).unwrap());
    }
    assert_eq!(answers[0], answers[1]);
}

fn cuts_of(write: impl FnOnce(&mut SpanWriter)) -> Vec<(u64, Vec<Range<usize>>)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spans");
    let mut writer = SpanWriter::create(&path).unwrap();
    write(&mut writer);
    writer.finish().unwrap();
    find_spans(&[path], &folder.path().join("cuts"), &SMALL).unwrap().map(Result::unwrap).collect()
}

#[test]
fn lines_are_compared_as_ccnet_does() {
    let texts =
        ["One line, 12.\nAnother\n\nUNIQUE", "something\n one line, 99. \n\nAnother", "AN“OTHER”\nanother’\u{7}"];
    let cuts = cuts_of(|writer| {
        for (id, text) in texts.iter().enumerate() {
            writer.push_lines(id as u64, text).unwrap();
        }
    });
    let kept: Vec<String> = cuts.iter().map(|(id, ranges)| cut(texts[*id as usize], ranges)).collect();
    assert_eq!(cuts.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(kept, ["something\n\n", ""]);
}

#[test]
fn paragraphs_are_cut_with_the_empty_lines_behind_them() {
    let texts = ["a\nb\n\nc\n", "x\n\n \na\nb\n\n\ny"];
    let cuts = cuts_of(|writer| {
        for (id, text) in texts.iter().enumerate() {
            writer.push_paragraphs(id as u64, text).unwrap();
        }
    });
    // "a\nb\n\n" and "a\nb\n\n\n" are equal once they are stripped.
    assert_eq!(cuts.len(), 1);
    assert_eq!(cut(texts[1], &cuts[0].1), "x\n\n \ny");
}

#[test]
fn sentences_are_cut_as_datatrove_does() {
    let entries = golden("spans.json");
    let entries = entries.as_array().unwrap();
    let text = |index: usize| entries[index]["text"].as_str().unwrap();
    let cuts: HashMap<u64, Vec<Range<usize>>> = cuts_of(|writer| {
        for (id, entry) in entries.iter().enumerate() {
            let ends: Vec<usize> = common::words_u64(&entry["ends"]).iter().map(|end| *end as usize).collect();
            writer.push_sentences(id as u64, text(id), &ends, 3).unwrap();
        }
    })
    .into_iter()
    .collect();
    assert!(cuts.len() > 5);
    for (id, entry) in entries.iter().enumerate() {
        let kept = cuts.get(&(id as u64)).map_or(text(id).to_owned(), |ranges| cut(text(id), ranges));
        assert_eq!(kept.trim_start(), entry["kept"].as_str().unwrap(), "document {id}");
    }
}

#[test]
fn wrong_input_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spans");
    let mut writer = SpanWriter::create(&path).unwrap();
    assert!(matches!(writer.push_sentences(1, "ab", &[3], 1), Err(DedupError::Input { id: 1, .. })));
    assert!(matches!(writer.push_sentences(1, "äb", &[1], 1), Err(DedupError::Input { .. })));
    assert!(matches!(writer.push_sentences(1, "abc", &[2, 1], 1), Err(DedupError::Input { .. })));
    writer.finish().unwrap();
    // A file of spans is none of documents.
    assert!(matches!(find_documents(&[path], folder.path(), &SMALL), Err(DedupError::File { .. })));
    let twice = document_files(&folder, &["a".to_owned()], 1).remove(0);
    let error = find_documents(&[twice.clone(), twice], folder.path(), &SMALL).unwrap_err();
    assert!(matches!(error, DedupError::Duplicate { id: 0 }));
}

#[test]
fn cutting_respects_characters_and_bounds() {
    assert_eq!(cut("aäb", &[0..2]), "äb");
    assert_eq!(cut("aäb", &[2..4]), "aä");
    assert_eq!(cut("abc", &[1..900]), "a");
    assert_eq!(cut("abc", &[]), "abc");
}

#[test]
fn formats_stay() {
    let folder = tempfile::tempdir().unwrap();
    let documents = document_files(&folder, &["a".to_owned(), "b".to_owned(), "a".to_owned()], 1);
    common::golden_bytes("documents.v1.dups", &fs::read(&documents[0]).unwrap());
    let path = folder.path().join("spans");
    let mut writer = SpanWriter::create(&path).unwrap();
    writer.push_lines(1, "one\ntwo").unwrap();
    writer.push_lines(2, "three\ntwo\n").unwrap();
    writer.finish().unwrap();
    common::golden_bytes("spans.v1.dups", &fs::read(&path).unwrap());
    find_spans(&[common::golden_path("spans.v1.dups")], &folder.path().join("cuts"), &SMALL).unwrap();
    common::golden_bytes("cuts.v1.dups", &fs::read(folder.path().join("cuts")).unwrap());
}
