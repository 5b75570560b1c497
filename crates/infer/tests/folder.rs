//! A model's folder: what was written is read, and whatever else lies there is an error that says
//! what is wrong.
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

use std::path::Path;

use base::Failure;
use common::{Parts, language_parts, predict_parts, predictor, rows};
use infer::description::{Encoding, MODEL_FILE, WEIGHTS_FILE};
use infer::weights::{self, Tensor};
use infer::{InferError, Model, Task};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

fn saved(parts: &Parts) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    parts.save(folder.path());
    folder
}

/// Changes `model.json`.
fn edit(folder: &Path, pointer: &str, value: Json) {
    let path = folder.join(MODEL_FILE);
    let mut json: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match json.pointer_mut(parent).unwrap() {
        // What is left out when it is the usual may be missing.
        Json::Object(fields) => drop(fields.insert(key.to_owned(), value)),
        _ => *json.pointer_mut(pointer).unwrap() = value,
    }
    std::fs::write(&path, json.to_string()).unwrap();
}

fn error(folder: &Path) -> InferError {
    let error = Model::load(folder).expect_err("this model should be refused");
    assert!(error.hint().is_some(), "{error}");
    error
}

#[test]
fn what_is_written_is_read() {
    for parts in [predict_parts(1), predict_parts(1).int8(), language_parts(1), language_parts(1).int8()] {
        let (one, other) = (saved(&parts), saved(&parts));
        for file in [MODEL_FILE, WEIGHTS_FILE] {
            assert_eq!(std::fs::read(one.path().join(file)).unwrap(), std::fs::read(other.path().join(file)).unwrap());
        }
        let model = Model::load(one.path()).unwrap();
        assert_eq!(model.description(), &parts.description);
        assert_eq!(model.bytes(), parts.tensors.values().map(Tensor::bytes).sum::<u64>());
        assert_eq!(weights::read(&one.path().join(WEIGHTS_FILE)).unwrap(), parts.tensors);
        if let Task::Predict(_) = parts.description.task {
            for row in rows() {
                let memory = parts.model();
                assert_eq!(predictor(&model).predict(&row).unwrap(), predictor(&memory).predict(&row).unwrap());
            }
        }
    }
}

#[test]
fn int8_takes_a_quarter_and_stays_close() {
    let parts = predict_parts(1);
    let (whole, small) = (parts.model(), parts.int8().model());
    assert!(small.bytes() * 2 < whole.bytes(), "{} of {}", small.bytes(), whole.bytes());
    for (name, tensor) in &parts.int8().dequantised().tensors {
        let (found, shape) = (tensor.as_f32().unwrap(), tensor.shape());
        let columns = shape.last().copied().unwrap();
        for (found, plain) in found.chunks(columns).zip(parts.tensors[name].as_f32().unwrap().chunks(columns)) {
            // Half a step of the row's scale; vectors are untouched.
            let half = if shape.len() == 2 { plain.iter().fold(0.0_f32, |a, b| a.max(b.abs())) / 253.9 } else { 0.0 };
            assert!(found.iter().zip(plain).all(|(a, b)| (a - b).abs() <= half), "{name}");
        }
    }
}

#[test]
fn quantising_by_hand() {
    let tensor = Tensor::f32(vec![3, 2], vec![127.0, -63.6, 0.0, 0.0, -1.0, 0.5]);
    let (quantised, scales) = weights::quantise(&tensor).unwrap();
    assert_eq!(quantised, Tensor::I8 { shape: vec![3, 2], values: vec![127, -64, 0, 0, -127, 64] });
    assert_eq!(scales.as_f32().unwrap(), [1.0, 0.0, 1.0 / 127.0]);
    assert!(weights::quantise(&Tensor::f32(vec![2], vec![1.0, 2.0])).is_none());
    let tiny = Tensor::f32(vec![1, 2], vec![1e-45, -1e-45]);
    let (quantised, _) = weights::quantise(&tiny).unwrap();
    assert_eq!(quantised, Tensor::I8 { shape: vec![1, 2], values: vec![0, 0] });
}

#[test]
fn a_model_of_another_version_says_so() {
    let folder = saved(&predict_parts(1));
    // A newer format may look different in every other field.
    std::fs::write(folder.path().join(MODEL_FILE), json!({"format": 2, "task": "sing"}).to_string()).unwrap();
    let newer = error(folder.path());
    assert!(matches!(newer, InferError::Format { found: 2, known: 1, .. }));
    assert!(newer.hint().unwrap().contains("newer"), "{:?}", newer.hint());
    std::fs::write(folder.path().join(MODEL_FILE), json!({"format": 0}).to_string()).unwrap();
    assert!(error(folder.path()).hint().unwrap().contains("yard run"));
}

#[test]
fn missing_files_are_named() {
    for file in [MODEL_FILE, WEIGHTS_FILE, "tokenizer.json"] {
        let folder = saved(&predict_parts(1));
        std::fs::remove_file(folder.path().join(file)).unwrap();
        assert!(error(folder.path()).to_string().contains(file));
    }
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let broken = |change: &dyn Fn(&mut Parts)| {
        let mut parts = predict_parts(1);
        change(&mut parts);
        let message = error(saved(&parts).path()).to_string();
        assert!(message.contains(WEIGHTS_FILE), "{message}");
        message
    };
    let name = "layer.1.weight";
    assert!(broken(&|parts| drop(parts.tensors.remove(name))).contains("layer.1.weight is missing"));
    let put = |tensor: Tensor| broken(&|parts| drop(parts.tensors.insert(name.to_owned(), tensor.clone())));
    assert!(put(Tensor::f32(vec![8, 19], vec![0.0; 152])).contains("F32 [8, 19], and should be F32 [19, 8]"));
    assert!(put(Tensor::I8 { shape: vec![19, 8], values: vec![0; 152] }).contains("is I8 [19, 8]"));
    let mut values = vec![0.0; 152];
    values[3] = f32::NAN;
    assert!(put(Tensor::f32(vec![19, 8], values)).contains("holds NaN at 3"));
    let extra = |parts: &mut Parts| drop(parts.tensors.insert("zebra".to_owned(), Tensor::f32(vec![1], vec![0.0])));
    assert!(broken(&extra).contains("zebra is not part"));
    let idf = |parts: &mut Parts| drop(parts.tensors.remove("input.subject.idf"));
    assert!(broken(&idf).contains("input.subject.idf is missing"));
}

#[test]
fn impossible_descriptions_are_refused_before_anything_is_allocated() {
    let inputs = "/task/predict/inputs";
    let body = format!("{inputs}/4/encoding/shape");
    for (pointer, value) in [
        (format!("{body}/layers"), json!(u64::MAX)),
        (format!("{body}/vocabulary"), json!(1_u64 << 60)),
        (format!("{body}/width"), json!(0)),
        (format!("{body}/heads"), json!(0)),
        (format!("{body}/heads"), json!(7)),
        (format!("{body}/key_value_heads"), json!(0)),
        (format!("{body}/key_value_heads"), json!(2)),
        (format!("{body}/learned_positions"), json!(1)),
        (format!("{body}/learned_positions"), json!(u64::MAX)),
        (format!("{body}/rope_theta"), json!(-1.0)),
        (format!("{body}/causal"), json!(true)),
        (format!("{inputs}/4/encoding/tokens_max"), json!(0)),
        (format!("{inputs}/3/encoding/buckets"), json!(u32::MAX)),
        (format!("{inputs}/3/encoding/word_ngrams"), json!([2, 1])),
        (format!("{inputs}/1/offset"), json!(1)),
        (format!("{inputs}/1/name"), json!("age")),
        (format!("{inputs}/0/encoding/deviation"), json!(0.0)),
        ("/task/predict/hidden".to_owned(), json!([u64::MAX, u64::MAX])),
        ("/task/predict/hidden".to_owned(), json!([0])),
        ("/task/predict/outputs".to_owned(), json!([])),
        (inputs.to_owned(), json!([])),
        ("/weights".to_owned(), json!("int8")),
        ("/weights".to_owned(), json!("int2")),
        ("/task".to_owned(), json!({"sing": {}})),
    ] {
        let folder = saved(&predict_parts(1));
        edit(folder.path(), &pointer, value.clone());
        let message = error(folder.path()).to_string();
        assert!(message.contains(".json") || message.contains(WEIGHTS_FILE), "{pointer} = {value}: {message}");
    }
    let folder = saved(&language_parts(1));
    edit(folder.path(), "/task/language/context", json!(0));
    assert!(error(folder.path()).to_string().contains("context"));
}

#[test]
fn the_tokenizer_must_be_that_of_the_model() {
    let folder = saved(&language_parts(1));
    let other = infer::tokenizer::TextTokenizer::train(["a"].into_iter(), 257).unwrap();
    other.save(&folder.path().join("tokenizer.json")).unwrap();
    let message = error(folder.path()).to_string();
    assert!(message.contains("tokenizer.json") && message.contains("257"), "{message}");
}

#[test]
fn weights_of_other_kinds_are_refused() {
    let folder = saved(&predict_parts(1));
    let path = folder.path().join(WEIGHTS_FILE);
    for (contents, part) in [
        (&b""[..], "ends too early"),
        (&b"\xff\xff\xff\xff\xff\xff\xff\xff{}"[..], "header claims"),
        (&b"\x02\0\0\0\0\0\0\0{}tail"[..], "14 bytes"),
        (&b"\x03\0\0\0\0\0\0\0no!"[..], "expected"),
    ] {
        std::fs::write(&path, contents).unwrap();
        let message = error(folder.path()).to_string();
        assert!(message.contains(part), "{message}");
    }
    let header = br#"{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}"#;
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header, b"12345678"].concat()).unwrap();
    assert!(error(folder.path()).to_string().contains("holds F64"));
    // A header that promises far more than the file has.
    let header = br#"{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#;
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header].concat();
    std::fs::write(&path, bytes).unwrap();
    assert!(error(folder.path()).to_string().contains("its header describes"));
}

/// The files of a small model, made once.
fn files() -> &'static [(&'static str, Vec<u8>)] {
    static FILES: std::sync::OnceLock<Vec<(&'static str, Vec<u8>)>> = std::sync::OnceLock::new();
    FILES.get_or_init(|| {
        let folder = saved(&predict_parts(1).int8());
        let read = |file| (file, std::fs::read(folder.path().join(file)).unwrap());
        vec![read(WEIGHTS_FILE), read(MODEL_FILE), read("tokenizer.json")]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A cut or flipped file never makes a panic; and a model that loads all the same answers.
    #[test]
    fn damaged_files_are_errors(
        which in 0_usize..3,
        cut in proptest::option::of(0.0_f64..1.0),
        // Half of the flips hit the header, where they matter most.
        flips in proptest::collection::vec((prop_oneof![0.0_f64..1.0, 0.0_f64..0.05], 0_u32..8), 0..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        for (index, (name, contents)) in files().iter().enumerate() {
            let mut contents = contents.clone();
            if index == which {
                if let Some(cut) = cut {
                    contents.truncate((cut * contents.len() as f64) as usize);
                }
                for (place, bit) in &flips {
                    let place = (place * contents.len() as f64) as usize;
                    if let Some(byte) = contents.get_mut(place) {
                        *byte ^= 1 << bit;
                    }
                }
            }
            std::fs::write(folder.path().join(name), contents).unwrap();
        }
        match Model::load(folder.path()) {
            Ok(model) => for row in rows() {
                let _ = predictor(&model).predict(&row);
            },
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
        if which == 0 && cut.is_some() {
            prop_assert!(Model::load(folder.path()).is_err());
        }
    }
}

#[test]
fn bags_keep_their_place_in_the_table() {
    let parts = predict_parts(1);
    let Task::Predict(predict) = &parts.description.task else { panic!("a predict model") };
    assert!(matches!(predict.columns.inputs[3].encoding, Encoding::Bag { buckets: 16, .. }));
    assert_eq!(predict.columns.inputs[3].offset, 2 + 4 + 3);
    assert_eq!(predict.columns.sparse_features(), 9 + 32);
}
