//! The engine against the formulas in double precision, and against itself: batches, threads, pieces.
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

use common::{Parts, generator, language_parts, predict_parts, predictor, reference, rows, text};
use infer::description::TransformerShape;
use infer::{InferError, Prediction, Task};

/// Each value within 1e-4 of the largest of its vector.
#[track_caller]
fn close(found: &[f32], expected: &[f64], parts: f64) {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1e-3_f64, |largest, value| largest.max(value.abs()));
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < parts * scale, "{found} instead of {expected} (of {scale})");
    }
}

fn shape_of(parts: &Parts) -> TransformerShape {
    let Task::Language(language) = &parts.description.task else { panic!("a language model") };
    language.shape.clone()
}

fn some_tokens(parts: &Parts, count: usize) -> Vec<u32> {
    let mut random = common::Random(count as u64);
    (0..count).map(|_| random.below(shape_of(parts).vocabulary) as u32).collect()
}

#[test]
fn predictions_follow_the_formulas() {
    for seed in 0..5 {
        let parts = predict_parts(seed);
        for (parts, plain) in [(parts.clone(), parts.clone()), (parts.int8(), parts.int8().dequantised())] {
            let model = parts.model();
            let predictor = predictor(&model);
            for row in rows() {
                let features = predictor.preprocessor().features(&row).unwrap();
                let expected = reference::predict_logits(predictor.description(), &plain.tensors, &features);
                close(&predictor.logits(&features), &expected, 1e-5);
            }
        }
    }
}

#[test]
fn outputs_are_cut_in_their_order() {
    let model = predict_parts(3).model();
    let predictor = predictor(&model);
    let row = &rows()[0];
    let logits = predictor.logits(&predictor.preprocessor().features(row).unwrap());
    let predictions = predictor.predict(row).unwrap();
    let [
        Prediction::Category { label, probabilities },
        Prediction::Binary { probability },
        Prediction::Number { value },
    ] = predictions.as_slice()
    else {
        panic!("{predictions:?}");
    };
    let wide: Vec<f64> = logits.iter().map(|logit| f64::from(*logit)).collect();
    let total: f64 = wide[..4].iter().map(|logit| logit.exp()).sum();
    close(probabilities, &wide[..4].iter().map(|logit| logit.exp() / total).collect::<Vec<_>>(), 1e-6);
    assert!(wide[..4].iter().all(|logit| *logit <= wide[*label]));
    close(&[*probability, *value], &[1.0 / (1.0 + (-wide[4]).exp()), wide[5] * 30.0 + 100.0], 1e-6);
}

#[test]
fn an_answer_depends_on_its_row_alone() {
    let model = predict_parts(1).model();
    let predictor = predictor(&model);
    let alone: Vec<_> = rows().iter().map(|row| predictor.predict(row).unwrap()).collect();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = || rows().iter().rev().map(|row| predictor.predict(row).unwrap()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for mut answer in answers {
        answer.reverse();
        assert_eq!(answer, alone);
    }
}

#[test]
fn answers_have_the_same_bits_on_every_instruction_set() {
    let (predict, language) = (predict_parts(1).int8().model(), language_parts(1));
    let tokens = some_tokens(&language, 20);
    let language = language.model();
    let all = || {
        let predictions: Vec<_> = rows().iter().map(|row| predictor(&predict).predict(row).unwrap()).collect();
        (predictions, generator(&language).logits(&tokens))
    };
    let best = all();
    for isa in kernels::isa::available() {
        kernels::isa::force(Some(isa));
        assert!(all() == best, "{isa:?}");
    }
    kernels::isa::force(None);
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let model = predict_parts(1).model();
    let predictor = predictor(&model);
    let mut row = rows()[0].clone();
    row[0] = text("old");
    assert!(matches!(predictor.predict(&row), Err(InferError::Input { column, .. }) if column == "age"));
    assert!(matches!(predictor.predict(&row[1..]), Err(InferError::RowLength { found: 4, wanted: 5 })));
    row[0] = base::Value::Number(1e300);
    assert!(predictor.predict(&row).is_ok());
}

#[test]
fn weights_that_overflow_give_an_error() {
    let mut parts = predict_parts(1);
    let huge = infer::weights::Tensor::f32(vec![8, 6], vec![f32::MAX; 48]);
    parts.tensors.insert("layer.2.weight".to_owned(), huge);
    let model = parts.model();
    let answers: Vec<_> = rows().iter().map(|row| predictor(&model).predict(row)).collect();
    assert!(answers.iter().any(|answer| matches!(answer, Err(InferError::NotFinite { .. }))), "{answers:?}");
}

#[test]
fn logits_follow_the_formulas() {
    for seed in 0..3 {
        let parts = language_parts(seed);
        let tokens = some_tokens(&parts, 33);
        for (parts, plain) in [(parts.clone(), parts.clone()), (parts.int8(), parts.int8().dequantised())] {
            let expected = reference::language_logits(&shape_of(&parts), &plain.tensors, &tokens);
            let model = parts.model();
            for (found, expected) in generator(&model).logits(&tokens).iter().zip(&expected) {
                close(found, expected, 1e-4);
            }
        }
    }
}

#[test]
fn a_token_sees_only_those_before_it() {
    let parts = language_parts(7);
    let model = parts.model();
    let mut tokens = some_tokens(&parts, 100);
    let whole = generator(&model).logits(&tokens);
    for length in [1, 2, 63, 64, 65, 99] {
        assert_eq!(generator(&model).logits(&tokens[..length]), whole[..length], "{length}");
    }
    tokens[80] ^= 1;
    let changed = generator(&model).logits(&tokens);
    assert_eq!(changed[..80], whole[..80]);
    assert_ne!(changed[80], whole[80]);
}

#[test]
fn the_loss_is_that_of_the_logits() {
    let parts = language_parts(2);
    let tokens = some_tokens(&parts, 400);
    let model = parts.model();
    // Pieces of the context's length, 160, that share one token.
    let mut expected = 0.0;
    for piece in [0..161, 160..321, 320..400] {
        let piece = &tokens[piece];
        let logits = reference::language_logits(&shape_of(&parts), &parts.tensors, piece);
        for (logits, target) in logits.iter().zip(&piece[1..]) {
            let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
            expected += total.ln() - logits[*target as usize];
        }
    }
    let (nats, count) = generator(&model).loss(&tokens);
    assert_eq!(count, 399);
    assert!((nats - expected).abs() < 1e-5 * expected, "{nats} instead of {expected}");
    assert_eq!(generator(&model).loss(&tokens), (nats, count));
    assert_eq!(generator(&model).loss(&tokens[..1]), (0.0, 0));
    assert_eq!(generator(&model).loss(&[]), (0.0, 0));
}
