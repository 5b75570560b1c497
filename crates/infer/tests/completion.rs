//! Completions: from the cache as from nothing, greedy and sampled, stopped, cancelled, refused.
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

use base::{Failure, Fault};
use common::{generator, language_parts};
use infer::{Completion, FinishReason, Generator, InferError, Sampling};

fn greedy(max_tokens: usize) -> Sampling {
    Sampling { max_tokens, temperature: 0.0, ..Sampling::default() }
}

/// Completes, and holds what was streamed to what is returned.
fn complete(generator: &Generator, prompt: &str, sampling: &Sampling) -> Completion {
    let mut streamed = String::new();
    let completion = generator
        .complete(prompt, sampling, &mut |text| {
            streamed.push_str(text);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(streamed, completion.text);
    completion
}

/// The tokens that greedy decoding should give, computed from the whole sequence each time.
fn greedy_tokens(generator: &Generator, prompt: &str, count: usize) -> Vec<u32> {
    let tokenizer = generator.tokenizer();
    let mut tokens = vec![tokenizer.end_of_text()];
    tokens.extend(tokenizer.encode(prompt).unwrap());
    let start = tokens.len();
    while tokens.len() < start + count {
        let logits = generator.logits(&tokens).pop().unwrap();
        let best = (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        if best as u32 == tokenizer.end_of_text() {
            break;
        }
        tokens.push(best as u32);
    }
    tokens.split_off(start)
}

#[test]
fn decoding_from_the_cache_is_decoding_from_nothing() {
    for seed in 0..4 {
        for parts in [language_parts(seed), language_parts(seed).int8()] {
            let model = parts.model();
            let generator = generator(&model);
            // The second prompt is longer than one piece of the prefill.
            for prompt in ["", &"the card is lost ".repeat(8), "春眠不覺"] {
                let tokens = greedy_tokens(generator, prompt, 30);
                let completion = complete(generator, prompt, &greedy(30));
                assert_eq!(completion.text, generator.tokenizer().decode(&tokens));
                assert_eq!(completion.completion_tokens, tokens.len());
                let ended = tokens.len() < 30;
                assert_eq!(completion.finish_reason, if ended { FinishReason::Stop } else { FinishReason::Length });
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_text() {
    let model = language_parts(1).model();
    let sampled = |seed| {
        let sampling =
            Sampling { max_tokens: 40, temperature: 1.3, top_p: 0.95, top_k: 50, seed, ..Sampling::default() };
        complete(generator(&model), "my card", &sampling)
    };
    assert_eq!(sampled(1), sampled(1));
    assert_ne!(sampled(1), sampled(2));
}

#[test]
fn the_end_of_a_document_ends_a_completion() {
    let mut parts = language_parts(1);
    // With a head of one huge row, the model always says the same token.
    let end = parts.tokenizer.as_ref().unwrap().end_of_text() as usize;
    let mut values = vec![0.0; 24 * parts.tokenizer.as_ref().unwrap().vocabulary_size()];
    values[end * 24..(end + 1) * 24].fill(5.0);
    let shape = parts.tensors["model.embed_tokens.weight"].shape().to_vec();
    parts.tensors.insert("model.embed_tokens.weight".into(), infer::weights::Tensor::f32(shape, values));
    for (name, tensor) in &mut parts.tensors {
        if name.contains("layers") {
            let count = tensor.shape().iter().product();
            *tensor = infer::weights::Tensor::f32(tensor.shape().to_vec(), vec![0.0; count]);
        } else if name == "model.norm.weight" {
            *tensor = infer::weights::Tensor::f32(vec![24], vec![1.0; 24]);
        }
    }
    let model = parts.model();
    let completion = complete(generator(&model), "", &greedy(10));
    assert_eq!((completion.text.as_str(), completion.finish_reason), ("", FinishReason::Stop));
    assert_eq!((completion.prompt_tokens, completion.completion_tokens), (1, 0));
}

#[test]
fn a_stop_text_ends_a_completion_wherever_tokens_end() {
    let model = language_parts(5).model();
    let generator = generator(&model);
    let whole = complete(generator, "card", &Sampling { max_tokens: 60, seed: 3, ..Sampling::default() }).text;
    let characters: Vec<char> = whole.chars().collect();
    assert!(characters.len() > 20, "{whole:?}");
    for (start, length) in [(5, 1), (7, 3), (10, 8), (characters.len() - 3, 3)] {
        let stop: String = characters[start..start + length].iter().collect();
        let sampling = Sampling { max_tokens: 60, seed: 3, stop: vec![stop.clone()], ..Sampling::default() };
        let stopped = complete(generator, "card", &sampling);
        assert_eq!(stopped.text, whole[..whole.find(&stop).unwrap()]);
        assert_eq!(stopped.finish_reason, FinishReason::Stop);
        assert!(stopped.completion_tokens <= 60);
    }
}

#[test]
fn the_caller_may_end_it() {
    let model = language_parts(5).model();
    let mut calls = 0;
    let completion = generator(&model)
        .complete("card", &greedy(50), &mut |_| {
            calls += 1;
            if calls == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    // Once for the prompt, then for each token.
    assert_eq!((completion.finish_reason, completion.completion_tokens), (FinishReason::Cancelled, 3));
}

#[test]
fn what_does_not_fit_the_context_is_refused_with_the_numbers() {
    let model = language_parts(5).model();
    let ask = |prompt: &str, max| generator(&model).complete(prompt, &greedy(max), &mut |_| ControlFlow::Continue(()));
    assert!(ask("", 159).is_ok());
    let error = ask("", 160).unwrap_err();
    assert!(matches!(error, InferError::TooLong { prompt: 1, max_tokens: 160, context: 160 }));
    assert_eq!(error.fault(), Fault::User);
    assert!(error.hint().is_some() && error.to_string().contains("160"));
    assert!(ask("", usize::MAX).is_err());
    let error = ask("", 0).unwrap_err();
    assert!(matches!(error, InferError::Sampling { setting: "max_tokens", .. }));
}

#[test]
fn a_prompt_is_brought_to_the_form_of_training() {
    let model = language_parts(5).model();
    // e with an accent, in one character and in two.
    let one = complete(generator(&model), "caf\u{e9}", &greedy(10));
    let two = complete(generator(&model), "cafe\u{301}", &greedy(10));
    assert_eq!(one, two);
}
