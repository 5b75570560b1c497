//! Small models with random weights, shared by the tests.
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
#![allow(dead_code)]

pub mod reference;

use std::collections::BTreeMap;

use base::{ColumnType, Value};
use infer::description::{
    Columns, Encoding, FORMAT, InputDescription, LanguageDescription, OutputDescription, Target, TextCleaning,
    TransformerShape, Weights,
};
use infer::tokenizer::TextTokenizer;
use infer::weights::{Tensor, quantise_matrices};
use infer::{Engine, Generator, Model, ModelDescription, PredictDescription, Predictor, Task};

/// Numbers from −1 to 1, the same for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    pub fn below(&mut self, end: usize) -> usize {
        (((self.next() + 1.0) / 2.0 * end as f32) as usize).min(end - 1)
    }
}

pub type Tensors = BTreeMap<String, Tensor>;

/// A model's parts, before they are put together.
#[derive(Clone)]
pub struct Parts {
    pub description: ModelDescription,
    pub tensors: Tensors,
    pub tokenizer: Option<TextTokenizer>,
}

impl Parts {
    pub fn model(&self) -> Model {
        Model::from_parts(self.description.clone(), self.tensors.clone(), self.tokenizer.clone()).unwrap()
    }

    /// The same with quantised matrices.
    pub fn int8(&self) -> Self {
        let description = ModelDescription { weights: Weights::Int8, ..self.description.clone() };
        Self { description, tensors: quantise_matrices(&self.tensors), tokenizer: self.tokenizer.clone() }
    }

    /// The model in floating point that an int8 model stands for.
    pub fn dequantised(&self) -> Self {
        let mut tensors = Tensors::new();
        for (name, tensor) in &self.tensors {
            match tensor {
                Tensor::I8 { shape, values } => {
                    let scales = self.tensors[&format!("{name}.scale")].as_f32().unwrap();
                    let values = values
                        .iter()
                        .enumerate()
                        .map(|(i, q)| f32::from(*q) * scales[i / shape[1]])
                        .collect::<Vec<_>>();
                    tensors.insert(name.clone(), Tensor::f32(shape.clone(), values));
                }
                Tensor::F32 { .. } if name.ends_with(".scale") => {}
                Tensor::F32 { .. } => {
                    tensors.insert(name.clone(), tensor.clone());
                }
            }
        }
        let description = ModelDescription { weights: Weights::F32, ..self.description.clone() };
        Self { description, tensors, tokenizer: self.tokenizer.clone() }
    }

    pub fn save(&self, folder: &std::path::Path) {
        infer::model::write(folder, &self.description, &self.tensors).unwrap();
        if let Some(tokenizer) = &self.tokenizer {
            tokenizer.save(&folder.join("tokenizer.json")).unwrap();
        }
    }
}

pub fn predictor(model: &Model) -> &Predictor {
    let Engine::Predict(predictor) = model.engine() else { panic!("a predict model") };
    predictor
}

pub fn generator(model: &Model) -> &Generator {
    let Engine::Language(generator) = model.engine() else { panic!("a language model") };
    generator
}

pub fn tokenizer() -> TextTokenizer {
    let texts = ["春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。", "my card is lost", "the card, the card, my card"];
    TextTokenizer::train(texts.into_iter(), 290).unwrap()
}

pub fn shape(vocabulary: usize, causal: bool) -> TransformerShape {
    TransformerShape::llama(vocabulary, 24, 2, 3, 35, causal)
}

fn describe(task: Task) -> ModelDescription {
    ModelDescription {
        format: FORMAT,
        made_by: "yard 0.1.0".to_owned(),
        name: "test".to_owned(),
        weights: Weights::F32,
        task,
    }
}

const CLEAN: TextCleaning = TextCleaning { unicode: true, whitespace: true };

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Random weights, about as large as training makes them.
pub fn random_tensors(description: &ModelDescription, seed: u64) -> Tensors {
    let mut random = Random(seed);
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let count = shape.iter().product();
        let values: Vec<f32> = match shape[..] {
            [_] if name.ends_with("norm.weight") => (0..count).map(|_| 1.0 + 0.3 * random.next()).collect(),
            [_] => (0..count).map(|_| random.next()).collect(),
            _ => {
                let size = if name.ends_with("proj.weight") { 1.7 / (shape[1] as f32).sqrt() } else { 1.0 };
                (0..count).map(|_| size * random.next()).collect()
            }
        };
        (name, Tensor::f32(shape, values))
    };
    description.tensors().into_iter().map(tensor).collect()
}

/// Columns of every type in and out.
pub fn columns(vocabulary: usize) -> Columns {
    let encodings = [
        ("age", ColumnType::Number, Encoding::Number { mean: 40.0, deviation: 12.0 }),
        ("plan", ColumnType::Category, Encoding::Category { labels: names(&["basic", "plus", "pro"]) }),
        ("active", ColumnType::Binary, Encoding::Binary { labels: ["no".into(), "yes".into()] }),
        ("subject", ColumnType::Text, Encoding::Bag { word_ngrams: [1, 2], character_ngrams: [2, 3], buckets: 16 }),
        ("body", ColumnType::Text, Encoding::Transformer { shape: shape(vocabulary, false), tokens_max: 12 }),
    ];
    let mut offset = 0;
    let inputs = encodings
        .into_iter()
        .map(|(name, column_type, encoding)| {
            let input = InputDescription { name: name.to_owned(), column_type, encoding, offset };
            offset += input.sparse_features();
            input
        })
        .collect();
    let targets = [
        ("intent", Target::Category { labels: names(&["card", "loan", "other", "pin"]) }),
        ("spam", Target::Binary { labels: ["no".into(), "yes".into()] }),
        ("value", Target::Number { mean: 100.0, deviation: 30.0 }),
    ];
    let outputs = targets
        .into_iter()
        .map(|(name, target)| OutputDescription { name: name.to_owned(), target, weight: 1.0, squared: false })
        .collect();
    Columns { clean: CLEAN, inputs, outputs }
}

/// A model of every kind of column, with two hidden layers.
pub fn predict_parts(seed: u64) -> Parts {
    let tokenizer = tokenizer();
    let columns = columns(tokenizer.vocabulary_size());
    let description = describe(Task::Predict(PredictDescription { columns, hidden: vec![19, 8], intercept: true }));
    let mut tensors = random_tensors(&description, seed);
    let mut random = Random(seed + 1);
    let idf = (0..32).map(|_| 2.0 + random.next()).collect();
    tensors.insert("input.subject.idf".to_owned(), Tensor::f32(vec![32], idf));
    Parts { description, tensors, tokenizer: Some(tokenizer) }
}

pub fn language_parts(seed: u64) -> Parts {
    let tokenizer = tokenizer();
    let shape = shape(tokenizer.vocabulary_size(), true);
    let description = describe(Task::Language(LanguageDescription { clean: CLEAN, shape, context: 160 }));
    Parts { tensors: random_tensors(&description, seed), description, tokenizer: Some(tokenizer) }
}

pub fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// Rows for [`predict_parts`], with missing and unseen values among them.
pub fn rows() -> Vec<Vec<Value>> {
    vec![
        vec![Value::Number(52.5), text("plus"), Value::Binary(true), text("My card"), text("my card is lost 春眠")],
        vec![Value::Missing, Value::Missing, Value::Missing, Value::Missing, Value::Missing],
        vec![Value::Number(-3.0), text("unknown"), Value::Binary(false), text("?!"), text("x")],
        vec![Value::Number(40.0), text("basic"), Value::Missing, text("the the pin"), text(&"the card ".repeat(30))],
    ]
}
