//! Against datatrove 0.10.1's own filters: see `crates/xtask/peers/signals_golden.py`.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use signals::{LanguageModel, Scratch};

fn model() -> Option<Arc<LanguageModel>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/lid176/lid.176.ftz");
    if !path.exists() {
        eprintln!("SKIPPED: language identification, for want of {}", path.display());
        return None;
    }
    Some(Arc::new(LanguageModel::read(&path).unwrap()))
}

#[test]
fn decisions_equal_datatroves() {
    let model = model();
    let mut scratch = Scratch::default();
    let (mut wrong, mut reasons, mut languages) = (Vec::new(), BTreeSet::new(), 0);
    let rows = include_str!("golden/documents.jsonl");
    for row in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let text = row["text"].as_str().unwrap();
        languages += usize::from(row["language"].is_array());
        for name in ["repetition", "quality", "fineweb", "paragraph"] {
            reasons.insert(row[name].as_str().unwrap_or("kept").to_owned());
        }
        reasons.insert(row["c4"][0].as_str().unwrap_or("kept").to_owned());
        let found = support::differences(text, &row, model.as_ref(), &mut scratch);
        if !found.is_empty() {
            wrong.push(format!("{:?}: {found:?}", text.chars().take(60).collect::<String>()));
        }
    }
    assert!(rows.lines().count() >= 250 && languages >= 200);
    // Every reason there is, but for documents of more than 100,000 words.
    assert!(reasons.len() >= 30, "{reasons:?}");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n"));
}

#[test]
fn damaged_language_models_are_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/lid176/lid.176.ftz");
    let Ok(bytes) = std::fs::read(&path) else {
        return eprintln!("SKIPPED: damaged language models, for want of {}", path.display());
    };
    let folder = tempfile::tempdir().unwrap();
    let damaged = folder.path().join("damaged.ftz");
    for length in [0, 3, 8, 60, 100, 5000, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&damaged, &bytes[..length]).unwrap();
        assert!(LanguageModel::read(&damaged).is_err(), "{length} bytes");
    }
    // Whatever byte of the head is wrong, it is refused or read, never a panic nor a hang.
    for at in (8..400).step_by(9).chain((400..bytes.len()).step_by(49_999)) {
        let mut changed = bytes.clone();
        changed[at] ^= 0xff;
        std::fs::write(&damaged, &changed).unwrap();
        if let Ok(model) = LanguageModel::read(&damaged) {
            model.languages("Some words, in a language.");
        }
    }
}
