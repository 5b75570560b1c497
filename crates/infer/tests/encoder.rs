//! Encoders against what `transformers` computes (`crates/xtask/peers/encoder_golden.py`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

use std::path::{Path, PathBuf};

use infer::InferError;
use infer::encoder::Encoder;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/encoders").join(name)
}

fn golden(name: &str) -> Vec<(String, usize, Vec<f64>)> {
    let json: Json = serde_json::from_slice(&std::fs::read(folder(name).join("golden.json")).unwrap()).unwrap();
    let one = |case: &Json| {
        let vector = case["vector"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
        (case["text"].as_str().unwrap().to_owned(), case["tokens"].as_u64().unwrap() as usize, vector)
    };
    json.as_array().unwrap().iter().map(one).collect()
}

fn cosine_distance(found: &[f32], expected: &[f64]) -> f64 {
    let dot = |a: &mut dyn Iterator<Item = (f64, f64)>| a.map(|(a, b)| a * b).sum::<f64>();
    let wide: Vec<f64> = found.iter().map(|value| f64::from(*value)).collect();
    let lengths = dot(&mut wide.iter().copied().zip(wide.iter().copied())).sqrt()
        * dot(&mut expected.iter().copied().zip(expected.iter().copied())).sqrt();
    1.0 - dot(&mut wide.iter().copied().zip(expected.iter().copied())) / lengths
}

#[test]
fn vectors_are_those_of_transformers() {
    for (name, tokens_max) in [("bert", 30), ("roberta", 34)] {
        let encoder = Encoder::open(&folder(name)).unwrap();
        assert_eq!((encoder.name(), encoder.width(), encoder.tokens_max()), (name, 48, tokens_max));
        let cases = golden(name);
        let texts: Vec<&str> = cases.iter().map(|(text, ..)| text.as_str()).collect();
        for (found, (text, tokens, expected)) in encoder.embed(&texts).unwrap().iter().zip(&cases) {
            let off = cosine_distance(&found.vector, expected);
            println!("{name} {text:.20?}: {off:.1e}");
            assert!(off < 1e-4, "{name} {text:?}: {off}");
            assert_eq!((found.tokens, found.truncated), (*tokens, text.starts_with("the ship ")), "{name} {text:?}");
            let length: f32 = found.vector.iter().map(|value| value * value).sum();
            assert!((length - 1.0).abs() < 1e-5, "{length}");
        }
    }
}

#[test]
fn company_and_threads_change_nothing() {
    let encoder = Encoder::open(&folder("bert")).unwrap();
    let texts: Vec<String> = (0..60).map(|count| "the ship is in 天 ".repeat(count % 7)).collect();
    let alone: Vec<_> = texts.iter().map(|text| encoder.embed(&[text]).unwrap().remove(0)).collect();
    for threads in [1, 2, 3] {
        kernels::parallel::set_threads(threads);
        assert_eq!(encoder.embed(&texts).unwrap(), alone, "{threads} threads");
    }
    kernels::parallel::set_threads(0);
    assert_eq!(encoder.embed::<&str>(&[]).unwrap(), []);
}

#[test]
fn a_very_long_text_is_cut_off() {
    let encoder = Encoder::open(&folder("bert")).unwrap();
    let long = "天".repeat(3_000_000);
    let found = encoder.embed(&[&long]).unwrap().remove(0);
    assert_eq!((found.tokens, found.truncated), (30, true));
}

/// A copy of a golden folder in which one file is changed.
fn changed(file: &str, change: impl FnOnce(&mut Json)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("1_Pooling")).unwrap();
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "modules.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
    ] {
        std::fs::copy(folder("bert").join(name), copy.path().join(name)).unwrap();
    }
    let path = copy.path().join(file);
    let mut json: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(&path, json.to_string()).unwrap();
    copy
}

#[track_caller]
fn refused(file: &str, key: &str, value: Json, what: &str) {
    let copy = changed(file, |json| json[key] = value);
    let error = Encoder::open(copy.path()).unwrap_err();
    let kind = matches!(error, InferError::Unfit { .. } | InferError::Unsupported { .. });
    assert!(kind && error.to_string().contains(what), "{key}: {error}");
}

#[test]
fn what_is_not_known_is_named() {
    refused("config.json", "architectures", json!(["T5EncoderModel"]), "T5EncoderModel");
    refused("config.json", "architectures", json!([]), "BertModel, RobertaModel, XLMRobertaModel");
    refused("config.json", "hidden_act", json!("mish"), "mish");
    refused("config.json", "position_embedding_type", json!("relative_key"), "relative_key");
    refused("config.json", "hidden_size", json!(49), "impossible");
    refused("config.json", "hidden_size", json!(1_u64 << 50), "no size");
    refused("config.json", "num_hidden_layers", json!(3), "missing");
    refused("config.json", "num_hidden_layers", json!(1), "not part");
    refused("config.json", "vocab_size", json!(4), "embeddings.word_embeddings");
    refused("sentence_bert_config.json", "max_seq_length", json!(2), "takes 2 tokens");
    refused("1_Pooling/config.json", "pooling_mode_max_tokens", json!(true), "max");
    let modules = |value: Json| changed("modules.json", |json| json[1] = value);
    let dense = modules(json!({ "type": "sentence_transformers.models.Dense", "path": "2_Dense" }));
    assert!(Encoder::open(dense.path()).unwrap_err().to_string().contains("Dense"));
    for path in ["../x", "/etc", "..", ""] {
        let outside = modules(json!({ "type": "sentence_transformers.models.Pooling", "path": path }));
        assert!(Encoder::open(outside.path()).unwrap_err().to_string().contains("no name of a folder"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever a setting is changed to, the folder is refused or embeds.
    #[test]
    fn changed_settings_are_no_panic(
        file in prop::sample::select(vec![
            "config.json", "sentence_bert_config.json", "1_Pooling/config.json", "tokenizer.json",
        ]),
        key in any::<prop::sample::Index>(),
        value in prop_oneof![
            Just(Json::Null), any::<i64>().prop_map(Json::from), (-2_i64..60).prop_map(Json::from),
            any::<f64>().prop_map(Json::from), Just(json!("x")), Just(json!([])), Just(json!({})), Just(json!(true)),
        ],
    ) {
        let copy = changed(file, |json| {
            let keys: Vec<String> = json.as_object().unwrap().keys().cloned().collect();
            json[&keys[key.index(keys.len())]] = value;
        });
        if let Ok(encoder) = Encoder::open(copy.path()) {
            // Other heads or a huge epsilon give other vectors, and no panic.
            drop(encoder.embed(&["the ship is in 天", ""]));
        }
    }
}
