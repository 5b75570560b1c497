//! Workloads of transformers: language models, and a classifier of texts.

use infer::description::{
    Columns, Encoding, FORMAT, InputDescription, LanguageDescription, Mlp, ModelDescription, Norm, NormPlace,
    OutputDescription, PredictDescription, Target, Task, TextCleaning, TransformerShape, Weights,
};
use kernels::gemm::Compute;
use kernels::step::{Rule, Slot, clip_factor, norm_of_all, step_all};
use nn::random::Random;
use nn::{Device, Options, Targets, Tensors, Workspace, language, predict};

use crate::{Train, adam};

/// Parameters, their gradients, and the state of the optimiser.
struct State {
    parameters: Tensors,
    gradients: Tensors,
    first: Tensors,
    second: Tensors,
}

impl State {
    fn new(task: Task) -> Self {
        let model = ModelDescription {
            format: FORMAT,
            made_by: "bench".to_owned(),
            name: "bench".to_owned(),
            weights: Weights::F32,
            task,
        };
        let zeros = || Tensors::zeros(&model.tensors());
        Self { parameters: nn::initial(&model, 1), gradients: zeros(), first: zeros(), second: zeros() }
    }

    /// Clips the gradients to length 1 and takes the optimiser's step.
    fn update(&mut self, number: u64) {
        let clip = clip_factor(norm_of_all(&[self.gradients.flat()]), 1.0);
        step_all(&mut [Slot {
            parameters: self.parameters.flat_mut(),
            gradients: self.gradients.flat(),
            first: self.first.flat_mut(),
            second: self.second.flat_mut(),
            average: None,
            rule: Rule::AdamW(adam(number, clip)),
        }]);
    }
}

const CLEAN: TextCleaning = TextCleaning { unicode: true, whitespace: false };

fn options(compute: Compute, device: Device) -> Options {
    Options { compute, device, ..Options::PLAIN }
}

fn tokens(count: usize, vocabulary: usize) -> Vec<u32> {
    let mut random = Random::new(1, &[]);
    (0..count).map(|_| random.below(vocabulary) as u32).collect()
}

/// Products of two numbers for a token, forward, in all blocks; half of the places are seen where attention is causal.
fn blocks(shape: &TransformerShape, time: usize) -> f64 {
    let (w, k, f) = (shape.width, shape.kv_width(), shape.feed_forward);
    let matrices = if shape.mlp == Mlp::SwiGlu { 3 } else { 2 };
    let attention = 2.0 * (w * time) as f64 * if shape.causal { 0.5 } else { 1.0 };
    shape.layers as f64 * ((2 * w * (w + k) + matrices * w * f) as f64 + attention)
}

/// A causal language model.
pub struct Language {
    description: LanguageDescription,
    state: State,
    batch: language::Batch,
    options: Options,
    workspace: Workspace,
}

impl Language {
    /// `gpt`: 13.9 M parameters with LayerNorm, GELU, biases and learned positions, 8 sequences of 256 tokens.
    /// `smollm`: the shape of SmolLM-135M, 4 sequences of 512 tokens.
    pub fn new(name: &str, compute: Compute, device: Device) -> Self {
        let (shape, time, batch) = if name == "gpt" {
            let llama = TransformerShape::llama(8192, 384, 6, 6, 1536, true);
            let (norm, mlp) = (Norm::LayerNorm, Mlp::Gelu);
            (TransformerShape { norm, mlp, learned_positions: 256, biases: true, ..llama }, 256, 8)
        } else {
            let llama = TransformerShape::llama(49_152, 576, 30, 9, 1536, true);
            (TransformerShape { key_value_heads: Some(3), ..llama }, 512, 4)
        };
        let tokens = tokens(time * batch + 1, shape.vocabulary);
        let batch = language::Batch::even(tokens[..time * batch].to_vec(), tokens[1..].to_vec(), time);
        let description = LanguageDescription { clean: CLEAN, shape, context: time };
        let state = State::new(Task::Language(description.clone()));
        Self { description, state, batch, options: options(compute, device), workspace: Workspace::default() }
    }
}

impl Train for Language {
    fn step(&mut self, number: u64) -> f64 {
        let Self { description, state, batch, options, workspace } = self;
        state.gradients.clear();
        let count = batch.tokens.len();
        let scale = 1.0 / count as f32;
        let (parameters, gradients) = (&state.parameters, &mut state.gradients);
        let loss = language::step(description, parameters, batch, scale, *options, workspace, gradients);
        state.update(number);
        loss / count as f64
    }

    fn parameters(&self) -> usize {
        self.state.parameters.count()
    }

    fn tokens(&self) -> usize {
        self.batch.tokens.len()
    }

    fn operations(&self) -> f64 {
        let LanguageDescription { shape, context, .. } = &self.description;
        let head = shape.width * shape.vocabulary;
        6.0 * (blocks(shape, *context) + head as f64) * self.tokens() as f64
    }
}

/// MiniLM's encoder (BERT's blocks, norms behind them), the mean of its outputs, and 77 classes.
pub struct Classifier {
    description: PredictDescription,
    state: State,
    rows: Vec<Vec<u32>>,
    targets: Vec<Targets>,
    options: Options,
    workspaces: Vec<Workspace>,
}

impl Classifier {
    const CLASSES: usize = 77;
    const ROWS: usize = 32;
    const TIME: usize = 128;

    pub fn new(compute: Compute, device: Device) -> Self {
        let llama = TransformerShape::llama(30_522, 384, 6, 12, 1536, false);
        let (norm, norm_place, mlp) = (Norm::LayerNorm, NormPlace::After, Mlp::Gelu);
        let shape = TransformerShape { norm, norm_place, mlp, learned_positions: 512, biases: true, ..llama };
        let tokens = tokens(Self::ROWS * Self::TIME, shape.vocabulary);
        let encoding = Encoding::Transformer { shape, tokens_max: Self::TIME };
        let input =
            InputDescription { name: "text".to_owned(), column_type: base::ColumnType::Text, encoding, offset: 0 };
        let labels = (0..Self::CLASSES).map(|class| format!("c{class}")).collect();
        let output = OutputDescription {
            name: "class".to_owned(),
            target: Target::Category { labels },
            weight: 1.0,
            squared: false,
        };
        let columns = Columns { clean: CLEAN, inputs: vec![input], outputs: vec![output] };
        let description = PredictDescription { columns, hidden: Vec::new(), intercept: true };
        let mut random = Random::new(2, &[]);
        let labels = (0..Self::ROWS).map(|_| random.below(Self::CLASSES) as u32).collect();
        Self {
            state: State::new(Task::Predict(description.clone())),
            description,
            rows: tokens.chunks_exact(Self::TIME).map(<[u32]>::to_vec).collect(),
            targets: vec![Targets::Labels(labels)],
            options: options(compute, device),
            workspaces: Vec::new(),
        }
    }
}

impl Train for Classifier {
    fn step(&mut self, number: u64) -> f64 {
        let Self { description, state, rows, targets, options, workspaces } = self;
        state.gradients.clear();
        let batch = predict::Batch {
            sparse: vec![&[]; rows.len()],
            tokens: vec![rows.iter().map(Vec::as_slice).collect()],
            targets: targets.clone(),
        };
        let scale = 1.0 / rows.len() as f32;
        let (parameters, gradients) = (&state.parameters, &mut state.gradients);
        let loss = predict::step(description, parameters, &batch, scale, *options, workspaces, gradients);
        state.update(number);
        loss / f64::from(Self::ROWS as u32)
    }

    fn parameters(&self) -> usize {
        self.state.parameters.count()
    }

    fn tokens(&self) -> usize {
        Self::ROWS * Self::TIME
    }

    fn operations(&self) -> f64 {
        let Encoding::Transformer { shape, .. } = &self.description.columns.inputs[0].encoding else { return 0.0 };
        let head = (shape.width * Self::CLASSES * Self::ROWS) as f64;
        6.0 * (blocks(shape, Self::TIME) * self.tokens() as f64 + head)
    }
}
