//! Models in the format of version 1 load for ever, and answer with the same bits for ever.
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

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use base::Value;
use common::{generator, language_parts, predict_parts, predictor, rows};
use infer::{Engine, Model, Prediction, Sampling};
use serde::{Deserialize, Serialize};

/// What a model said when its folder was written.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answers {
    Predict { rows: Vec<Vec<Value>>, predictions: Vec<Vec<Prediction>> },
    Language { prompts: Vec<String>, completions: Vec<String>, logits: Vec<f32> },
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn answers(model: &Model) -> Answers {
    match model.engine() {
        Engine::Predict(predictor) => Answers::Predict {
            predictions: rows().iter().map(|row| predictor.predict(row).unwrap()).collect(),
            rows: rows(),
        },
        Engine::Language(generator) => {
            let prompts = ["", "春眠", "my card"].map(str::to_owned);
            let sampling = Sampling { max_tokens: 30, top_p: 0.9, seed: 7, ..Sampling::default() };
            let complete = |prompt: &String| {
                generator.complete(prompt, &sampling, &mut |_| ControlFlow::Continue(())).unwrap().text
            };
            Answers::Language {
                completions: prompts.iter().map(complete).collect(),
                logits: generator.logits(&[1, 250, 3]).concat(),
                prompts: prompts.into(),
            }
        }
    }
}

#[test]
fn models_of_version_1_answer_as_ever() {
    for name in ["model-v1-f32", "model-v1-int8", "model-v1-language"] {
        let model = Model::load(&folder(name)).unwrap();
        let written = std::fs::read(folder(name).join("answers.json")).unwrap();
        let written: Answers = serde_json::from_slice(&written).unwrap();
        match (&written, model.engine()) {
            (Answers::Predict { rows, predictions }, Engine::Predict(_)) => {
                let found: Vec<_> = rows.iter().map(|row| predictor(&model).predict(row).unwrap()).collect();
                assert_eq!(&found, predictions, "{name}");
            }
            (Answers::Language { .. }, Engine::Language(_)) => {
                assert_eq!(generator(&model).description().context, 160);
                assert_eq!(answers(&model), written, "{name}");
            }
            _ => panic!("{name} changed its task"),
        }
    }
}

/// Writes the golden files. Only for a new format beside the old one: a released one never changes.
#[test]
#[ignore = "writes the golden files"]
fn bless() {
    for (name, parts) in [
        ("model-v1-f32", predict_parts(11)),
        ("model-v1-int8", predict_parts(11).int8()),
        ("model-v1-language", language_parts(11).int8()),
    ] {
        std::fs::create_dir_all(folder(name)).unwrap();
        parts.save(&folder(name));
        let text = serde_json::to_string(&answers(&Model::load(&folder(name)).unwrap())).unwrap();
        std::fs::write(folder(name).join("answers.json"), text + "\n").unwrap();
    }
}
