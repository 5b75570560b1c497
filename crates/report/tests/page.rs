//! The page of every kind of run: what stands in it, and what must not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_range_loop,
    clippy::needless_pass_by_value,
    clippy::zombie_processes,
    reason = "tests"
)]

mod common;

use common::{everything, stage};
use report::{Subject, render};
use serde_json::json;
use store::Store;

fn check(page: &str) {
    assert!(page.starts_with("<!DOCTYPE html>"));
    for outside in ["<script", "src=", "@import", "url(", "http://", "https://", "NaN", "Infinity"] {
        assert!(!page.contains(outside), "{outside} is in the page");
    }
    for element in ["section", "table", "svg", "details", "figure", "div", "g"] {
        let opened = page.matches(&format!("<{element} ")).count() + page.matches(&format!("<{element}>")).count();
        assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
    }
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("Content-Security-Policy"));
    // For looking at the pages: YARD_REPORT_SAMPLES=FOLDER cargo test ….
    if let Some(folder) = std::env::var_os("YARD_REPORT_SAMPLES") {
        let path = std::path::Path::new(&folder).join(format!("{}.html", base::Digest::of(page.as_bytes()).short()));
        std::fs::write(path, page).unwrap();
    }
}

#[test]
fn a_versions_page_tells_everything() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let [_, _, compress, _] = everything(&store, 77);
    store.register("banking", compress.digest, &json!({}), "test").unwrap();
    let page = render(&store, compress.digest).unwrap();
    check(&page);
    let run = store.run_that_made(compress.digest).unwrap().unwrap().id;
    let of_run = render(&store, run).unwrap();
    assert!(of_run.contains(r#"id="package""#), "a registered version's run tells what was made of it");
    for part in [
        "banking@1",
        "0.9136",
        "measured",
        "Learning rate",
        "13,083",
        "Length of text",
        "The 12 least frequent",
        "the rarest label",
        "best: epoch 9",
        "Most confused pairs",
        "worst of 77 classes",
        "predictions/s",
        "−74.7 %",
        "libc.so.6",
        "bit for bit",
        "duplicate",
        "&lt;script&gt;",
        "余额没有更新",
        "train.csv",
        "learning_rate",
        "seed 42",
    ] {
        assert!(page.contains(part), "{part} is not in the page");
    }
    assert!(page.len() < 2_000_000, "{}", page.len());
}

#[test]
fn a_line_is_drawn_through_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let model = common::line(&store);
    let page = render(&store, Subject::Artifact(model.digest)).unwrap();
    check(&page);
    assert!(page.contains(r#"id="fit""#) && page.contains("y by x") && page.contains("<strong>0.5 − 1.2 · x</strong>"));
    assert_eq!(page.matches("<circle").count(), 5, "one dot a row");
    // The model is a straight line: its last point stands at 1.2 times its x.
    assert!(page.contains("the model ends at 6.38"), "5 and 8 % of the spread beyond, times 1.2");
}

#[test]
fn few_classes_have_their_numbers_in_the_cells() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let [_, train, ..] = everything(&store, 4);
    let page = render(&store, Subject::Artifact(train.digest)).unwrap();
    check(&page);
    assert!(page.contains(r#"class="count strong""#));
    assert!(page.contains("F1 of each class"));
}

#[test]
fn every_run_has_a_page_and_a_data_run_only_its_own_part() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    everything(&store, 5);
    for run in store.runs(100).unwrap() {
        let page = render(&store, Subject::Run(run.id)).unwrap();
        check(&page);
        let model_parts = page.contains(r#"id="metrics""#);
        assert_eq!(model_parts, run.stage != "data", "{}", run.stage);
        assert!(page.contains(r#"id="ledger""#));
    }
}

#[test]
fn a_refused_run_shows_why() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let [data, train, ..] = everything(&store, 5);
    let inputs = [("model", train.digest), ("dataset", data.digest)];
    let refused = stage(&store, "compress", json!({ "quality_drop_max": 0.001 }), &inputs, "model", |_| {
        Err(common::TestError::Refused)
    });
    assert!(refused.is_err());
    let page = render(&store, Subject::Run(store.runs(1).unwrap()[0].id)).unwrap();
    check(&page);
    assert!(page.contains("refused") && page.contains("accuracy fell from 0.91 to 0.70"));
}

#[test]
fn an_interrupted_training_shows_what_it_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let failed = stage(&store, "train", json!({}), &[], "model", |work| {
        for step in 0..20_u32 {
            work.metric("train_loss", u64::from(step), 3.0 / f64::from(step + 1))?;
        }
        Err(common::TestError::Refused)
    });
    assert!(failed.is_err());
    let page = render(&store, Subject::Run(1)).unwrap();
    check(&page);
    assert!(page.contains("Loss") && page.contains("M"), "the recorded loss is drawn");
}

#[test]
fn damaged_files_are_named_where_they_would_stand() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let [data, train, ..] = everything(&store, 5);
    std::fs::write(train.path("confusion.json"), "{").unwrap();
    std::fs::write(train.path("history.json"), r#"{"points": []}"#).unwrap();
    std::fs::remove_file(train.path("metrics.json")).unwrap();
    std::fs::remove_dir_all(&data.folder).unwrap();
    let run = store.run_that_made(train.digest).unwrap().unwrap();
    let page = render(&store, Subject::Run(run.id)).unwrap();
    check(&page);
    assert_eq!(page.matches("cannot be read").count(), 3, "confusion, history, metrics");
    assert!(page.contains("its folder is damaged"));
}

#[test]
fn a_run_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert!(render(&store, Subject::Run(7)).is_err());
    assert!(render(&store, Subject::Artifact(base::Digest::of(b"none"))).is_err());
}
