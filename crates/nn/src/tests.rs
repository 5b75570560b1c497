//! The graphs against the engine, against finite differences, and against themselves on other threads.

use std::collections::BTreeMap;

use base::{ColumnType, Value};
use infer::description::{
    Columns, Encoding, FORMAT, InputDescription, LanguageDescription, Mlp, Norm, NormPlace, OutputDescription,
    PredictDescription, Target, TextCleaning, TransformerShape, Weights,
};
use infer::preprocess::{Features, Preprocessor};
use infer::tokenizer::TextTokenizer;
use infer::{Engine, Model, ModelDescription, Task, weights};
use kernels::gemm::Compute;

use super::random::Random;
use super::*;

mod devices;

const CLEAN: TextCleaning = TextCleaning { unicode: true, whitespace: true };
const TEXTS: [&str; 4] =
    ["the card did not arrive", "where is my card", "my top up failed", "card payment failed twice"];

fn model(task: Task) -> ModelDescription {
    ModelDescription {
        format: FORMAT,
        made_by: "test".to_owned(),
        name: "test".to_owned(),
        weights: Weights::F32,
        task,
    }
}

fn shape(vocabulary: usize, causal: bool) -> TransformerShape {
    TransformerShape::llama(vocabulary, 12, 2, 3, 20, causal)
}

/// The blocks of Llama (also with shared heads of keys, and a head of its own), GPT-2, and BERT, with a
/// mixture of all.
fn shapes(vocabulary: usize, causal: bool) -> Vec<TransformerShape> {
    let llama = shape(vocabulary, causal);
    let gpt = TransformerShape {
        norm: Norm::LayerNorm,
        mlp: Mlp::Gelu,
        learned_positions: 9,
        biases: true,
        ..shape(vocabulary, causal)
    };
    vec![
        TransformerShape { heads: 6, key_value_heads: Some(2), untied_head: true, ..llama.clone() },
        TransformerShape { norm_place: NormPlace::After, ..gpt.clone() },
        TransformerShape { mlp: Mlp::Relu, norm_place: NormPlace::After, biases: true, ..llama.clone() },
        gpt,
        llama,
    ]
}

fn output(name: &str, target: Target, squared: bool) -> OutputDescription {
    OutputDescription { name: name.to_owned(), target, weight: 0.7, squared }
}

/// A model of every kind of input and output; `parts` chooses bags (`b`), transformers (`t`).
fn predict_model(tokenizer: &TextTokenizer, parts: &str, hidden: Vec<usize>) -> PredictDescription {
    let labels = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut inputs: Vec<(ColumnType, Encoding)> = vec![
        (ColumnType::Number, Encoding::Number { mean: 1.0, deviation: 2.0 }),
        (ColumnType::Category, Encoding::Category { labels: labels(&["a", "b"]) }),
        (ColumnType::Binary, Encoding::Binary { labels: ["no".to_owned(), "yes".to_owned()] }),
    ];
    for part in parts.chars() {
        let encoding = if part == 'b' {
            Encoding::Bag { word_ngrams: [1, 2], character_ngrams: [2, 3], buckets: 32 }
        } else {
            Encoding::Transformer { shape: shape(tokenizer.vocabulary_size(), false), tokens_max: 6 }
        };
        inputs.push((ColumnType::Text, encoding));
    }
    let mut offset = 0;
    let inputs = inputs.into_iter().enumerate().map(|(index, (column_type, encoding))| {
        let input = InputDescription { name: format!("i{index}"), column_type, encoding, offset };
        offset += input.sparse_features();
        input
    });
    let inputs = inputs.collect();
    let outputs = vec![
        output("category", Target::Category { labels: labels(&["x", "y", "z"]) }, false),
        output("binary", Target::Binary { labels: ["no".to_owned(), "yes".to_owned()] }, false),
        output("squared", Target::Binary { labels: ["no".to_owned(), "yes".to_owned()] }, true),
        output("number", Target::Number { mean: 3.0, deviation: 4.0 }, true),
    ];
    PredictDescription { columns: Columns { clean: CLEAN, inputs, outputs }, hidden, intercept: true }
}

/// Weights with no zeros, so that every gradient says something.
fn parameters(description: &ModelDescription) -> Tensors {
    let mut parameters = initial(description, 5);
    let mut random = Random::new(9, &[]);
    for value in parameters.flat_mut() {
        *value += 0.2 * random.normal() as f32;
    }
    parameters
}

fn stored(parameters: &Tensors) -> BTreeMap<String, weights::Tensor> {
    let tensor = |one: Tensor<'_>| (one.name.to_owned(), weights::Tensor::f32(one.shape.to_vec(), one.values.to_vec()));
    parameters.all().map(tensor).collect()
}

struct Rows {
    description: PredictDescription,
    parameters: Tensors,
    engine: Model,
    features: Vec<Features>,
    targets: Vec<Targets>,
}

fn rows(parts: &str, hidden: Vec<usize>) -> Rows {
    let tokenizer = TextTokenizer::train(TEXTS.into_iter(), 280).unwrap();
    let description = predict_model(&tokenizer, parts, hidden);
    let task = model(Task::Predict(description.clone()));
    let parameters = parameters(&task);
    let bags = description.columns.inputs.iter().filter(|input| matches!(input.encoding, Encoding::Bag { .. }));
    let idf: BTreeMap<String, Vec<f32>> = bags.map(|input| (input.name.clone(), vec![1.5; 64])).collect();
    let preprocessor = Preprocessor::new(description.columns.clone(), idf, Some(tokenizer.clone())).unwrap();
    let mut tensors = stored(&parameters);
    tensors.extend(preprocessor.idf_tensors());
    let features = TEXTS.iter().enumerate().map(|(index, text)| {
        let category = if index == 0 { Value::Missing } else { Value::Text("b".to_owned()) };
        let mut row = vec![Value::Number(index as f64), category, Value::Binary(index % 2 == 0)];
        row.extend(parts.chars().map(|_| Value::Text((*text).to_owned())));
        preprocessor.features(&row).unwrap()
    });
    let features = features.collect();
    let engine = Model::from_parts(task, tensors, Some(tokenizer)).unwrap();
    let targets = vec![
        Targets::Labels(vec![0, 2, 1, 2]),
        Targets::Values(vec![0.0, 1.0, 1.0, 0.0]),
        Targets::Values(vec![1.0, 1.0, 0.0, 0.0]),
        Targets::Values(vec![0.3, -1.0, 0.5, 2.0]),
    ];
    Rows { description, parameters, engine, features, targets }
}

fn batch<'a>(features: &'a [Features], targets: &[Targets]) -> predict::Batch<'a> {
    let inputs = features[0].tokens.len();
    predict::Batch {
        sparse: features.iter().map(|one| one.sparse.as_slice()).collect(),
        tokens: (0..inputs).map(|input| features.iter().map(|one| one.tokens[input].as_slice()).collect()).collect(),
        targets: targets.to_vec(),
    }
}

struct Verses {
    description: LanguageDescription,
    parameters: Tensors,
    tokenizer: TextTokenizer,
    batch: language::Batch,
}

fn language_model(shape: TransformerShape) -> Verses {
    let tokenizer = tokenizer();
    let description = LanguageDescription { clean: CLEAN, shape, context: 7 };
    let parameters = parameters(&model(Task::Language(description.clone())));
    let mut random = Random::new(2, &[]);
    let tokens: Vec<u32> = (0..15).map(|_| random.below(tokenizer.vocabulary_size()) as u32).collect();
    let batch = language::Batch::even(tokens[..14].to_vec(), tokens[1..].to_vec(), 7);
    Verses { description, parameters, tokenizer, batch }
}

fn tokenizer() -> TextTokenizer {
    TextTokenizer::train(TEXTS.into_iter(), 280).unwrap()
}

impl Verses {
    fn loss(&self, parameters: &Tensors, options: Options) -> f64 {
        language::loss(&self.description, parameters, &self.batch, options, &mut Workspace::default())
    }

    /// The loss and the gradients of the mean.
    fn step(&self, options: Options) -> (f64, Tensors) {
        let mut gradients = Tensors::zeros(&self.description.shape.tensors(""));
        let scale = 1.0 / self.batch.counted() as f32;
        let mut workspace = Workspace::default();
        let (description, parameters) = (&self.description, &self.parameters);
        let loss = language::step(description, parameters, &self.batch, scale, options, &mut workspace, &mut gradients);
        (loss, gradients)
    }
}

fn assert_close(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() < 1e-4, "{what} at {index}: {a} and {b}");
    }
}

#[test]
fn predict_graphs_and_the_engine_give_the_same_logits() {
    for (parts, hidden) in [("b", vec![]), ("", vec![8, 5]), ("t", vec![]), ("btt", vec![6])] {
        let rows = rows(parts, hidden);
        let batch = batch(&rows.features, &rows.targets);
        let logits = predict::logits(&rows.description, &rows.parameters, &batch, Options::PLAIN, &mut Vec::new());
        let Engine::Predict(engine) = rows.engine.engine() else { panic!("wrong engine") };
        let width = logits.len() / rows.features.len();
        for (row, features) in logits.chunks(width).zip(&rows.features) {
            assert_close(row, &engine.logits(features), parts);
        }
    }
}

#[test]
fn language_graphs_and_the_engine_give_the_same_logits_and_loss() {
    for shape in shapes(tokenizer().vocabulary_size(), true) {
        let verses = language_model(shape);
        let Verses { description, parameters, tokenizer, batch } = &verses;
        let logits = language::logits(description, parameters, batch);
        let task = model(Task::Language(description.clone()));
        let loaded = Model::from_parts(task, stored(parameters), Some(tokenizer.clone())).unwrap();
        let Engine::Language(engine) = loaded.engine() else { panic!("wrong engine") };
        let vocabulary = description.shape.vocabulary;
        for (tokens, logits) in batch.tokens.chunks(7).zip(logits.chunks(7 * vocabulary)) {
            assert_close(logits, &engine.logits(tokens).concat(), "language");
        }
        let mut stream = batch.tokens.clone();
        stream.push(*batch.targets.last().unwrap());
        let loss = verses.loss(parameters, Options::PLAIN);
        assert!((loss - engine.loss(&stream).0).abs() < 1e-3, "{loss} and {:?}", engine.loss(&stream));
    }
}

/// Holds gradients to central differences of the loss, at a few places of every tensor.
fn check_gradients(parameters: &Tensors, gradients: &Tensors, loss: impl Fn(&Tensors) -> f64) {
    let mut random = Random::new(4, &[]);
    for (index, tensor) in parameters.all().enumerate() {
        for _ in 0..6 {
            let place = random.below(tensor.values.len());
            let at = |shift: f32| {
                let mut moved = parameters.clone();
                moved.at_mut(index)[place] += shift;
                loss(&moved)
            };
            let numeric = (at(5e-3) - at(-5e-3)) / 1e-2;
            let found = f64::from(gradients.at(index).values[place]);
            let error = (found - numeric).abs();
            assert!(error < 2e-3 + 0.02 * numeric.abs(), "{}[{place}]: {found} and {numeric}", tensor.name);
        }
    }
}

#[test]
fn predict_gradients_are_the_slopes_of_the_loss() {
    for (parts, hidden) in [("b", vec![]), ("bt", vec![9])] {
        let rows = rows(parts, hidden);
        let step = |parameters: &Tensors, gradients: &mut Tensors| {
            let (batch, workspaces) = (batch(&rows.features, &rows.targets), &mut Vec::new());
            let description = &rows.description;
            predict::step(description, parameters, &batch, 0.25, Options::PLAIN, workspaces, gradients) / 4.0
        };
        let mut gradients = Tensors::zeros(&rows.description.tensors());
        let loss = step(&rows.parameters, &mut gradients);
        let batch = batch(&rows.features, &rows.targets);
        let logits = predict::logits(&rows.description, &rows.parameters, &batch, Options::PLAIN, &mut Vec::new());
        let alone = loss::outputs_loss(&rows.description.columns.outputs, &logits, &rows.targets, 1.0).0 / 4.0;
        assert!((loss - alone).abs() < 1e-6);
        check_gradients(&rows.parameters, &gradients, |parameters| step(parameters, &mut gradients.clone()));
    }
}

#[test]
fn language_gradients_are_the_slopes_of_the_loss() {
    // A central difference across the kink of ReLU is no slope; Burn's differentiation covers that shape below.
    let smooth = |shape: &TransformerShape| shape.mlp != Mlp::Relu;
    for shape in shapes(tokenizer().vocabulary_size(), true).into_iter().filter(smooth) {
        let mut verses = language_model(shape);
        // Sequences of different lengths, and places that count for nothing.
        verses.batch.lengths = vec![5, 1, 8];
        verses.batch.targets[3] = language::Batch::IGNORED;
        let (loss, gradients) = verses.step(Options::PLAIN);
        let count = verses.batch.counted() as f64;
        assert!((loss - verses.loss(&verses.parameters, Options::PLAIN)).abs() < 1e-4);
        check_gradients(&verses.parameters, &gradients, |moved| verses.loss(moved, Options::PLAIN) / count);
    }
}

#[test]
fn computing_activations_again_changes_no_bit() {
    for shape in shapes(tokenizer().vocabulary_size(), true) {
        let verses = language_model(shape);
        let dropout = Dropout { share: 0.2, seed: 1, step: 3 };
        for compute in [Compute::F32, Compute::Bf16] {
            let kept = verses.step(Options { compute, dropout, ..Options::PLAIN });
            assert!(kept == verses.step(Options { compute, dropout, recompute: true, ..Options::PLAIN }));
        }
    }
}

#[test]
fn bf16_is_close_to_f32() {
    for shape in shapes(tokenizer().vocabulary_size(), true) {
        let verses = language_model(shape);
        let (loss, gradients) = verses.step(Options::PLAIN);
        let (rounded, found) = verses.step(Options { compute: Compute::Bf16, ..Options::PLAIN });
        assert!((rounded / loss - 1.0).abs() < 0.01, "{rounded} and {loss}");
        let difference: Vec<f32> = gradients.flat().iter().zip(found.flat()).map(|(a, b)| a - b).collect();
        let share = kernels::global_norm(&[&difference]) / kernels::global_norm(&[gradients.flat()]);
        // At the kink of ReLU a rounded input may take the other side.
        let most = if verses.description.shape.mlp == Mlp::Relu { 0.1 } else { 0.05 };
        assert!(share > 0.0 && share < most, "{share}");
    }
}

#[test]
fn the_layers_are_those_that_burn_differentiates() {
    for causal in [true, false] {
        for shape in shapes(50, causal) {
            let list = shape.tensors("");
            let task = LanguageDescription { clean: CLEAN, shape: shape.clone(), context: 5 };
            let parameters = parameters(&model(Task::Language(task)));
            let mut random = Random::new(8, &[]);
            let mut normal = || (0..8 * 12).map(|_| random.normal() as f32).collect::<Vec<f32>>();
            let (x, dy) = (normal(), normal());
            let dropout = Dropout { share: 0.3, seed: 1, step: 2 };
            let frame = transformer::Frame::new([5, 3]);

            let leaves = graph::Leaves::new(&parameters, Options::PLAIN, true, |name| !name.contains("embed_tokens"));
            let leaf = graph::leaf(x.clone(), [8, 12], &leaves.device, true);
            let composed = composed::Composed {
                shape: &shape,
                prefix: "",
                leaves: &leaves,
                frame: &composed::Frame::new(&shape, &frame, &leaves.device),
                compute: Compute::F32,
                dropout,
            };
            let y = composed.forward(leaf.clone());
            let wanted_y = graph::values(y.clone().inner());
            let mut found = graph::backward(y, dy.clone());
            let mut wanted = Tensors::zeros(&list);
            leaves.read(&mut found, &mut wanted);
            let wanted_dx = graph::values(leaf.grad_remove(&mut found).unwrap());

            let options = Options { dropout, ..Options::PLAIN };
            let ours =
                transformer::Transformer { shape: &shape, prefix: "", parameters: &parameters, frame: &frame, options };
            let mut workspace = Workspace::default();
            workspace.dy_nw = x;
            ours.forward(&mut workspace);
            assert_close(&workspace.y_nw, &wanted_y, "outputs");
            workspace.dy_nw.clone_from(&dy);
            let mut gradients = Tensors::zeros(&list);
            ours.backward(&mut workspace, &mut (&mut gradients).into());
            assert_close(&workspace.dy_nw, &wanted_dx, "gradient by the inputs");
            for (ours, wanted) in gradients.all().zip(wanted.all()) {
                let scale = 1.0 / wanted.values.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
                let scaled = |values: &[f32]| values.iter().map(|value| value * scale).collect::<Vec<_>>();
                assert_close(&scaled(ours.values), &scaled(wanted.values), ours.name);
            }
        }
    }
}

#[test]
fn threads_and_repetition_change_no_bit() {
    let shape = TransformerShape { width: 192, layers: 1, heads: 4, feed_forward: 512, ..shape(2048, true) };
    let description = LanguageDescription { clean: CLEAN, shape, context: 64 };
    let parameters = initial(&model(Task::Language(description.clone())), 1);
    let mut random = Random::new(2, &[]);
    let tokens: Vec<u32> = (0..512).map(|_| random.below(2048) as u32).collect();
    let batch = language::Batch::even(tokens.clone(), tokens, 64);
    for compute in [Compute::F32, Compute::Bf16] {
        let run = |threads: usize| {
            kernels::parallel::set_threads(threads);
            let mut gradients = Tensors::zeros(&description.shape.tensors(""));
            let options = Options { compute, dropout: Dropout { share: 0.1, seed: 3, step: 5 }, ..Options::PLAIN };
            let mut workspace = Workspace::default();
            let scale = 1.0 / 512.0;
            let loss =
                language::step(&description, &parameters, &batch, scale, options, &mut workspace, &mut gradients);
            (loss.to_bits(), gradients)
        };
        let first = run(1);
        for threads in [1, 2, 2, 3, 4] {
            assert!(run(threads) == first, "{threads} threads");
        }
        kernels::parallel::set_threads(0);
    }
}
