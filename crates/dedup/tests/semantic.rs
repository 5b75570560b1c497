//! SemDeDup against all pairs, and in any budget, number of threads and workers.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::PathBuf;

use common::Random;
use dedup::DedupError;
use dedup::semantic::{EmbeddingWriter, SemanticConfig, SemanticKeep, find};
use tempfile::TempDir;

const DIMENSIONS: usize = 37;

/// Rows around 40 centres, some near an earlier row.
fn rows(count: usize) -> Vec<Vec<f32>> {
    let mut random = Random(21);
    let centres: Vec<Vec<f32>> = (0..40).map(|_| (0..DIMENSIONS).map(|_| random.normal()).collect()).collect();
    let mut rows: Vec<Vec<f32>> = Vec::new();
    for index in 0..count {
        let (base, noise) = if index > 3 && random.below(3) == 0 {
            (rows[random.below(index)].clone(), 0.15)
        } else {
            (centres[random.below(40)].clone(), 0.8)
        };
        rows.push(base.iter().map(|value| value + noise * random.normal()).collect());
    }
    rows
}

fn files(folder: &TempDir, rows: &[Vec<f32>], workers: usize) -> Vec<PathBuf> {
    (0..workers)
        .map(|worker| {
            let path = folder.path().join(format!("{worker}.rows"));
            let mut writer = EmbeddingWriter::create(&path, DIMENSIONS).unwrap();
            for (id, row) in rows.iter().enumerate().skip(worker).step_by(workers) {
                writer.push(id as u64 * 2, row).unwrap();
            }
            writer.finish().unwrap();
            path
        })
        .collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn one_cluster_compares_all_pairs() {
    let rows = rows(700);
    let folder = tempfile::tempdir().unwrap();
    let config = SemanticConfig { budget_bytes: 1 << 20, ..SemanticConfig::default() };
    let clusters = find(&files(&folder, &rows, 2), &folder.path().join("out"), &config).unwrap();
    let mut representative: Vec<usize> = Vec::new();
    let mut expected = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let best = (0..index).map(|at| (at, cosine(&rows[at], row))).max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((at, similarity)) = best.filter(|best| best.1 >= 0.95) {
            assert!(similarity > 0.95001, "the test's rows are too near to the threshold");
            expected.push((2 * index as u64, 2 * representative[at] as u64));
            representative.push(representative[at]);
        } else {
            representative.push(index);
        }
    }
    let dropped: Vec<(u64, u64)> = clusters.dropped().unwrap().map(Result::unwrap).collect();
    assert_eq!(dropped, expected);
    assert!(dropped.len() > 50);
}

#[test]
fn threads_workers_and_budgets_change_nothing() {
    let rows = rows(6000);
    for keep in [SemanticKeep::Farthest, SemanticKeep::Nearest, SemanticKeep::First] {
        let mut answers = Vec::new();
        for (threads, workers, budget_bytes) in [(1, 1, 1 << 30), (3, 4, 1 << 20)] {
            let folder = tempfile::tempdir().unwrap();
            let config = SemanticConfig { clusters: 2, threads, keep, budget_bytes, ..SemanticConfig::default() };
            let clusters = find(&files(&folder, &rows, workers), &folder.path().join("out"), &config).unwrap();
            assert!(clusters.dropped > 500);
            answers.push(fs::read(folder.path().join("out/clusters.dups")).unwrap());
        }
        assert_eq!(answers[0], answers[1]);
    }
}

#[test]
fn clusters_find_nearly_what_all_pairs_find() {
    let rows = rows(3000);
    let dropped = |clusters: usize| {
        let folder = tempfile::tempdir().unwrap();
        let config = SemanticConfig { clusters, ..SemanticConfig::default() };
        find(&files(&folder, &rows, 1), &folder.path().join("out"), &config).unwrap().dropped as f64
    };
    let share = dropped(20) / dropped(1);
    assert!((0.9..=1.0).contains(&share), "{share}");
}

#[test]
fn wrong_input_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    let mut writer = EmbeddingWriter::create(&path, 2).unwrap();
    for row in [&[0.0, 0.0][..], &[1.0], &[f32::NAN, 1.0], &[f32::INFINITY, 1.0]] {
        assert!(matches!(writer.push(1, row), Err(DedupError::Input { id: 1, .. })), "{row:?}");
    }
    writer.push(1, &[3.0, 4.0]).unwrap();
    writer.finish().unwrap();
    common::golden_bytes("embeddings.v1.dups", &fs::read(&path).unwrap());
    let out = folder.path().join("out");
    let config = SemanticConfig::default();
    let error = find(&[path.clone(), path.clone()], &out, &config).unwrap_err();
    assert!(matches!(error, DedupError::Duplicate { id: 1 }));
    let other = folder.path().join("other");
    EmbeddingWriter::create(&other, 3).unwrap().finish().unwrap();
    assert!(matches!(find(&[path, other], &out, &config), Err(DedupError::Settings { .. })));
    assert_eq!(find(&[], &out, &config).unwrap().dropped, 0);
    let odd = SemanticConfig { similarity: f32::NAN, ..config };
    assert!(matches!(find(&[], &out, &odd), Err(DedupError::Config { .. })));
}
