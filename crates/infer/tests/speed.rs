//! Speed of the engine at the sizes of the examples. Run by hand, alone on the machine:
//! `cargo test --release -p modelyard-infer -p deps --test speed -- --ignored --nocapture`.
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
use std::time::{Duration, Instant};

use common::{Parts, generator, predictor, random_tensors, text};
use infer::description::{Encoding, LanguageDescription, Target};
use infer::preprocess::Features;
use infer::weights::Tensor;
use infer::{Model, Sampling, Task};

/// A linear model over 2 · 16,384 buckets into 77 labels, as for banking77.
fn banking() -> Parts {
    let mut parts = common::predict_parts(1);
    let Task::Predict(predict) = &mut parts.description.task else { panic!("a predict model") };
    predict.hidden.clear();
    predict.columns.inputs = vec![predict.columns.inputs[3].clone()];
    predict.columns.inputs[0].offset = 0;
    predict.columns.inputs[0].encoding =
        Encoding::Bag { word_ngrams: [1, 2], character_ngrams: [2, 5], buckets: 16_384 };
    predict.columns.outputs.truncate(1);
    predict.columns.outputs[0].target = Target::Category { labels: (0..77).map(|i| format!("{i:02}")).collect() };
    parts.tensors = random_tensors(&parts.description, 1);
    parts.tensors.insert("input.subject.idf".to_owned(), Tensor::f32(vec![32_768], vec![1.0; 32_768]));
    parts.tokenizer = None;
    parts
}

/// Width 256, 4 layers, 4096 tokens.
fn language() -> Parts {
    let mut parts = common::language_parts(1);
    let mut words: Vec<String> = (0..40_000).map(|i: u32| format!("{:x} ", i.wrapping_mul(2_654_435_761))).collect();
    words.extend(words.clone());
    let tokenizer = infer::tokenizer::TextTokenizer::train(words.iter().map(String::as_str), 4096).unwrap();
    let vocabulary = tokenizer.vocabulary_size();
    assert_eq!(vocabulary, 4096);
    let Task::Language(LanguageDescription { shape, context, .. }) = &mut parts.description.task else {
        panic!("a language model")
    };
    (shape.vocabulary, shape.width, shape.layers, shape.heads, shape.feed_forward) = (vocabulary, 256, 4, 4, 704);
    *context = 1024;
    parts.tensors = random_tensors(&parts.description, 1);
    // A small embedding makes every next token about equally likely: the completion goes on.
    let embedding = parts.tensors.get_mut("model.embed_tokens.weight");
    if let Some(Tensor::F32 { values, .. }) = embedding {
        values.iter_mut().for_each(|value| *value *= 0.01);
    }
    parts.tokenizer = Some(tokenizer);
    parts
}

fn best(mut work: impl FnMut()) -> Duration {
    let run = |_| {
        let begun = Instant::now();
        work();
        begun.elapsed()
    };
    (0..20).map(run).min().unwrap()
}

#[test]
#[ignore = "measures time"]
fn predict() {
    for (name, parts) in [("f32", banking()), ("int8", banking().int8())] {
        let folder = tempfile::tempdir().unwrap();
        parts.save(folder.path());
        let load = best(|| drop(Model::load(folder.path()).unwrap()));
        let model = Model::load(folder.path()).unwrap();
        let mut random = common::Random(3);
        let rows: Vec<Features> = (0..1000)
            .map(|_| {
                let sparse = (0..200).map(|_| (random.below(32_768) as u32, 0.1)).collect();
                Features { sparse, tokens: Vec::new() }
            })
            .collect();
        let logits = best(|| rows.iter().for_each(|row| drop(predictor(&model).logits(row))));
        let message = [text("I am still waiting on my card, it has not arrived yet and it was sent last week")];
        let whole = best(|| (0..100).for_each(|_| drop(predictor(&model).predict(&message).unwrap())));
        eprintln!(
            "{name}: {} bytes, load {:.1} ms, 200 features to logits {:.2} µs, message to answer {:.1} µs",
            model.bytes(),
            load.as_secs_f64() * 1e3,
            logits.as_secs_f64() * 1e3,
            whole.as_secs_f64() * 1e4,
        );
    }
}

#[test]
#[ignore = "measures time"]
fn decode() {
    for (name, parts) in [("f32", language()), ("int8", language().int8())] {
        let folder = tempfile::tempdir().unwrap();
        parts.save(folder.path());
        let load = best(|| drop(Model::load(folder.path()).unwrap()));
        let model = parts.model();
        let generator = generator(&model);
        let sampling = Sampling { max_tokens: 200, seed: 1, ..Sampling::default() };
        let mut tokens = 0;
        let time = best(|| {
            tokens = generator.complete("", &sampling, &mut |_| ControlFlow::Continue(())).unwrap().completion_tokens;
        });
        let prompt: Vec<u32> = (0..512).map(|i| i * 7 % 4096).collect();
        let prefill = best(|| drop(generator.logits(&prompt)));
        let long: Vec<u32> = (0..4096).map(|i| i * 7 % 4096).collect();
        let loss = (0..2)
            .map(|_| {
                let begun = Instant::now();
                let _ = generator.loss(&long);
                begun.elapsed()
            })
            .min()
            .unwrap();
        eprintln!(
            "{name}: {} bytes, load {:.1} ms, decode {:.0} tokens/s, all logits of a prompt {:.0} tokens/s, loss {:.0} tokens/s",
            model.bytes(),
            load.as_secs_f64() * 1e3,
            tokens as f64 / time.as_secs_f64(),
            512.0 / prefill.as_secs_f64(),
            4096.0 / loss.as_secs_f64(),
        );
    }
}
