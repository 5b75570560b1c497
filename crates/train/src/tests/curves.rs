//! Curves beside PyTorch's: with the same weights and the same batches, every step of a training has the loss that it
//! has there.
//!
//! `tests/golden/curves` holds, for each curve, its part of the project file (`.toml`), by which both programs train, and
//! what PyTorch found (`.json`), written by `crates/xtask/peers/torch_curve.py`. The text is the beginning of
//! tinyshakespeare, a token a byte. The training is a whole one, by `Session::fit`; only the initial weights come from
//! here, as a checkpoint before the first step.
#![allow(clippy::print_stdout, reason = "figures of a test that fails")]

use std::path::{Path, PathBuf};

use nn::Tensors;
use nn::random::Random;
use serde::Deserialize;

use super::*;
use crate::checkpoint::{self, State};
use crate::language;
use crate::testing::byte_dataset;

/// What the initial weights are drawn for.
const WEIGHTS: u64 = 0x3e16;

/// What PyTorch found.
#[derive(Deserialize)]
struct Golden {
    seed: u64,
    train_bytes: usize,
    valid_bytes: usize,
    #[serde(flatten)]
    curve: Curve,
}

/// The numbers of a training.
#[derive(Deserialize, Default)]
struct Curve {
    losses: Vec<f64>,
    gradient_norms: Vec<f64>,
    valid_losses: Vec<f64>,
}

/// How far curves may be apart, each relative to PyTorch's.
struct Limits {
    losses: f64,
    gradient_norms: f64,
    valid_losses: f64,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/curves")
}

/// A curve of PyTorch's and ours; `change` may do something to our plan.
fn curves(name: &str, change: impl FnOnce(&mut Plan)) -> (Curve, Curve) {
    let read = |file: &str| std::fs::read_to_string(folder().join(file)).unwrap();
    let golden: Golden = serde_json::from_str(&read(&format!("{name}.json"))).unwrap();
    let text = read("tinyshakespeare.txt");
    let (train, rest) = text.as_bytes().split_at(golden.train_bytes);
    let (_folder, store) = open();
    let dataset = byte_dataset(&store, [train, &rest[..golden.valid_bytes], &[]]);
    let mut plan = plan(&project("language", "", &read(&format!("{name}.toml"))), &dataset).unwrap();
    assert_eq!((plan.seed, plan.steps()), (golden.seed, golden.curve.losses.len() as u64));
    change(&mut plan);
    (golden.curve, ours(&store, &plan, &dataset))
}

fn ours(store: &Store, plan: &Plan, dataset: &Artifact) -> Curve {
    let mut curve = Curve::default();
    let made = in_session(&Context::silent(), store, &plan.key(dataset), plan, dataset, &Ranks::one(), |session| {
        let begin = State { parameters: weights_of(plan), ..session.fresh() };
        checkpoint::save(session.work.unwrap().scratch(), &begin)?;
        let mut data = language::Data::read(session)?;
        session.fit(&mut data, &mut |report| {
            curve.valid_losses.extend(report.valid_loss);
            ControlFlow::Continue(())
        })?;
        Ok(())
    });
    for point in store.metrics(made.unwrap().run).unwrap() {
        match &*point.name {
            "train_loss" => curve.losses.push(point.value),
            "gradient_norm" => curve.gradient_norms.push(point.value),
            _ => {}
        }
    }
    curve
}

/// Initial weights that a few lines of any language can make. Norms and biases differ from 1 and 0, so that an error
/// there shows at the first step.
fn weights_of(plan: &Plan) -> Tensors {
    let mut tensors = Tensors::zeros(&plan.description.tensors());
    let count = tensors.all().len();
    for position in 0..count {
        let tensor = tensors.at(position);
        let (middle, reach) = match (tensor.is_matrix(), tensor.name) {
            (true, name) if name.contains(".embed_") => (0.0, 1.0 / 32.0),
            (true, _) => (0.0, 1.0 / 8.0),
            (false, name) if name.ends_with(".bias") => (0.0, 1.0 / 32.0),
            (false, _) => (1.0, 1.0 / 8.0),
        };
        let mut random = Random::new(plan.seed, &[WEIGHTS, position as u64]);
        for value in tensors.at_mut(position) {
            *value = (middle + reach * (2.0 * random.uniform() - 1.0)) as f32;
        }
    }
    tensors
}

/// The largest relative deviation of a list, with its place.
fn deviation(wanted: &[f64], found: &[f64]) -> (usize, f64) {
    assert_eq!(wanted.len(), found.len());
    let mut most = (0, 0.0);
    for (place, (wanted, found)) in wanted.iter().zip(found).enumerate() {
        let deviation = (found / wanted - 1.0).abs();
        // What is no number is the largest.
        if deviation.is_nan() || deviation > most.1 {
            most = (place, deviation);
        }
    }
    most
}

/// What is outside of the limits, in words.
fn apart(limits: &Limits, wanted: &Curve, found: &Curve) -> Vec<String> {
    [
        ("loss", limits.losses, &wanted.losses, &found.losses),
        ("gradient", limits.gradient_norms, &wanted.gradient_norms, &found.gradient_norms),
        ("validation", limits.valid_losses, &wanted.valid_losses, &found.valid_losses),
    ]
    .into_iter()
    .filter_map(|(what, limit, wanted, found)| {
        let (place, most) = deviation(wanted, found);
        println!("{what}: at most {most:.2e} apart, at {place}");
        let (ours, theirs) = (found[place], wanted[place]);
        (most.is_nan() || most > limit)
            .then(|| format!("{what} {place}: ours {ours}, PyTorch's {theirs}, apart by {most:.2e}"))
    })
    .collect()
}

fn check(name: &str, limits: &Limits) {
    let (wanted, found) = curves(name, |_| ());
    let (first, last) = (wanted.losses[0], wanted.losses[wanted.losses.len() - 1]);
    assert!(last < 0.7 * first, "it learns: {first} to {last}");
    assert_eq!(apart(limits, &wanted, &found), [""; 0]);
}

const F32: Limits = Limits { losses: 1e-4, gradient_norms: 1e-3, valid_losses: 1e-4 };
/// Numbers round to 8 bits on their way on both sides, at other places.
const BF16: Limits = Limits { losses: 0.01, gradient_norms: 0.1, valid_losses: 0.01 };

#[test]
fn llama_in_f32_has_the_losses_of_pytorch() {
    check("llama-f32", &F32);
}

#[test]
fn gpt2_in_f32_has_the_losses_of_pytorch() {
    check("gpt2-f32", &F32);
}

#[test]
fn llama_in_bf16_has_the_losses_of_pytorch() {
    check("llama-bf16", &BF16);
}

#[test]
fn a_learning_rate_a_hundredth_off_shows() {
    let (wanted, found) = curves("llama-f32", |plan| plan.settings.learning_rate *= 1.01);
    assert!(!apart(&F32, &wanted, &found).is_empty());
}
