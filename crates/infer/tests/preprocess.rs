//! Preprocessing from outside: fitting, the golden file of its format and of the hashing, and rows
//! that must be refused.
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

use std::path::{Path, PathBuf};

use base::{ColumnType, Value};
use infer::InferError;
use infer::description::{
    Columns, Encoding, InputDescription, OutputDescription, Target, TextCleaning, TransformerShape,
};
use infer::fit::Fitter;
use infer::preprocess::Preprocessor;
use infer::tokenizer::TextTokenizer;
use serde_json::json;

fn input(name: &str, column_type: ColumnType, encoding: Encoding) -> InputDescription {
    InputDescription { name: name.to_owned(), column_type, encoding, offset: 0 }
}

fn columns() -> Columns {
    let shape = TransformerShape::llama(0, 0, 0, 0, 0, false);
    let bag = Encoding::Bag { word_ngrams: [1, 2], character_ngrams: [2, 5], buckets: 64 };
    let labels = ["no".to_owned(), "yes".to_owned()];
    Columns {
        clean: TextCleaning { unicode: true, whitespace: true },
        inputs: vec![
            input("message", ColumnType::Text, bag),
            input("age", ColumnType::Number, Encoding::Number { mean: 0.0, deviation: 1.0 }),
            input("member", ColumnType::Binary, Encoding::Binary { labels }),
            input("city", ColumnType::Category, Encoding::Category { labels: Vec::new() }),
            input("note", ColumnType::Text, Encoding::Transformer { shape, tokens_max: 6 }),
        ],
        outputs: vec![OutputDescription {
            name: "intent".to_owned(),
            target: Target::Category { labels: Vec::new() },
            weight: 1.0,
            squared: false,
        }],
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn training() -> Vec<(Vec<Value>, Vec<Value>)> {
    let row = |message: &str, age: Value, member: Value, city: Value, note: &str, intent: &str| {
        (vec![text(message), age, member, city, text(note)], vec![text(intent)])
    };
    vec![
        row("my card is lost", Value::Number(20.0), Value::Binary(true), text("Ulm"), "the cat", "lost"),
        row("卡丟了 my card", Value::Number(40.0), Value::Missing, text("Bonn"), "the hat", "lost"),
        row("top up, please!", Value::Missing, Value::Binary(false), Value::Missing, "the mat", "top_up"),
    ]
}

fn fitted(centre: bool) -> Preprocessor {
    let tokenizer = TextTokenizer::train(["the cat", "the hat", "the mat"].into_iter(), 270).unwrap();
    let mut fitter = Fitter::new(columns(), centre);
    for (inputs, outputs) in training() {
        fitter.observe(&inputs, &outputs);
    }
    fitter.finish(Some(tokenizer)).unwrap()
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/preprocess")
}

fn golden_rows() -> Vec<Vec<Value>> {
    let mut rows: Vec<Vec<Value>> = training().into_iter().map(|(inputs, _)| inputs).collect();
    rows.push(vec![Value::Missing; 5]);
    rows.push(vec![
        text("  Naïve CAFE\u{301} 卡 a"),
        Value::Number(1e300),
        Value::Binary(true),
        text("Kiel"),
        text("the end of it all"),
    ]);
    rows
}

fn features_json(preprocessor: &Preprocessor) -> serde_json::Value {
    let rows: Vec<_> = golden_rows()
        .iter()
        .map(|row| {
            let features = preprocessor.features(row).unwrap();
            json!({ "sparse": features.sparse, "tokens": features.tokens })
        })
        .collect();
    json!(rows)
}

/// Writes the golden files. Only for a new format beside the old one: a released one never changes.
#[test]
#[ignore = "writes the golden files"]
fn bless() {
    let preprocessor = fitted(true);
    preprocessor.save(&golden()).unwrap();
    let text = serde_json::to_string_pretty(&features_json(&preprocessor)).unwrap();
    std::fs::write(golden().join("features.json"), text + "\n").unwrap();
}

#[test]
fn the_golden_files_give_the_same_features_for_ever() {
    let preprocessor = Preprocessor::load(&golden()).unwrap();
    let wanted = std::fs::read_to_string(golden().join("features.json")).unwrap();
    let wanted: serde_json::Value = serde_json::from_str(&wanted).unwrap();
    assert_eq!(features_json(&preprocessor), wanted);
}

#[test]
fn fitting_and_saving_today_gives_the_golden_files() {
    let folder = tempfile::tempdir().unwrap();
    fitted(true).save(folder.path()).unwrap();
    for file in ["preprocess.json", "preprocess.safetensors"] {
        let (now, then) = (folder.path().join(file), golden().join(file));
        assert_eq!(std::fs::read(now).unwrap(), std::fs::read(then).unwrap(), "{file}");
    }
}

#[test]
fn columns_are_fitted() {
    let preprocessor = fitted(true);
    let inputs = &preprocessor.columns().inputs;
    assert_eq!(inputs[1].encoding, Encoding::Number { mean: 30.0, deviation: 10.0 });
    assert_eq!(inputs[3].encoding, Encoding::Category { labels: vec!["Bonn".to_owned(), "Ulm".to_owned()] });
    let offsets: Vec<usize> = inputs.iter().map(|input| input.offset).collect();
    assert_eq!(offsets, [0, 128, 130, 133, 136]);
    let Encoding::Transformer { shape, .. } = &inputs[4].encoding else { panic!("{inputs:?}") };
    assert_eq!(Some(shape.vocabulary), preprocessor.tokenizer().map(TextTokenizer::vocabulary_size));
    // "my" stands in two of three rows, "lost" in one.
    let idf = &preprocessor.idf()["message"];
    let weight = |word: &str| idf[(infer::bag::hash(word.as_bytes()) % 64) as usize];
    assert!((weight("my") - ((4.0_f32 / 3.0).ln() + 1.0)).abs() < 1e-6);
    assert!(weight("lost") > weight("my"));
}

#[test]
fn without_intercept_nothing_is_centred() {
    let preprocessor = fitted(false);
    let inputs = &preprocessor.columns().inputs;
    let deviation = ((20.0_f64 * 20.0 + 40.0 * 40.0) / 2.0).sqrt();
    assert_eq!(inputs[1].encoding, Encoding::Number { mean: 0.0, deviation });
}

#[test]
fn a_row_has_unit_bags_one_hots_and_tokens() {
    let preprocessor = fitted(true);
    let row =
        [text("my card is lost"), Value::Number(20.0), Value::Binary(true), text("Ulm"), text("the cat of the mat")];
    let features = preprocessor.features(&row).unwrap();
    for bag in [0..64, 64..128] {
        let squares: f32 = features.sparse.iter().filter(|(i, _)| bag.contains(i)).map(|(_, v)| v * v).sum();
        assert!((squares - 1.0).abs() < 1e-5, "{bag:?}: {squares}");
    }
    assert!(features.sparse.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let rest: Vec<_> = features.sparse.iter().filter(|(index, _)| *index >= 128).copied().collect();
    assert_eq!(rest, [(128, -1.0), (131, 1.0), (134, 1.0)]);
    assert_eq!(features.tokens[0].len(), 6);
}

#[test]
fn what_is_missing_or_new_has_its_own_features() {
    let preprocessor = fitted(true);
    let features = preprocessor.features(&vec![Value::Missing; 5]).unwrap();
    assert_eq!(features.sparse, [(129, 1.0), (132, 1.0), (135, 1.0)]);
    assert_eq!(features.tokens, [[preprocessor.tokenizer().unwrap().end_of_text()]]);
    let row = [text("\t"), Value::Number(f64::MAX), Value::Binary(false), text("Kiel"), text("")];
    let features = preprocessor.features(&row).unwrap();
    assert_eq!(features.sparse, [(128, 1e6), (130, 1.0), (135, 1.0)]);
}

#[test]
fn a_row_of_the_wrong_shape_is_refused() {
    let preprocessor = fitted(true);
    assert!(matches!(preprocessor.features(&[]), Err(InferError::RowLength { found: 0, wanted: 5 })));
    let mut row = vec![Value::Missing; 5];
    row[1] = text("forty");
    let error = preprocessor.features(&row).unwrap_err().to_string();
    assert!(error.contains("age") && error.contains("text") && error.contains("number"), "{error}");
}

#[test]
fn numbers_beyond_floating_point_cannot_be_fitted() {
    let mut fitter = Fitter::new(columns(), true);
    for number in [f64::MAX, f64::MIN] {
        fitter.observe(&[Value::Missing, Value::Number(number), Value::Missing, Value::Missing, Value::Missing], &[]);
    }
    let tokenizer = TextTokenizer::train(std::iter::empty(), 257).unwrap();
    assert!(matches!(fitter.finish(Some(tokenizer)), Err(InferError::Input { column, .. }) if column == "age"));
}

#[test]
fn damaged_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["preprocess.json", "preprocess.safetensors", "tokenizer.json"] {
        fitted(true).save(folder.path()).unwrap();
        let path = folder.path().join(file);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(Preprocessor::load(folder.path()).is_err(), "{file} cut");
        std::fs::remove_file(&path).unwrap();
        assert!(Preprocessor::load(folder.path()).is_err(), "{file} gone");
    }
    fitted(true).save(folder.path()).unwrap();
    let path = folder.path().join("preprocess.json");
    let good = std::fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("\"offset\": 128", "\"offset\": 7"),
        ("\"buckets\": 64", "\"buckets\": 65"),
        ("\"Bonn\"", "\"Zug\""),
        ("\"deviation\": 10.0", "\"deviation\": 0.0"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        std::fs::write(&path, bad).unwrap();
        assert!(matches!(Preprocessor::load(folder.path()), Err(InferError::Input { .. })), "{from}");
    }
}
