//! One step of a causal language model: the mean cross-entropy of the next token, and its gradients.
//!
//! Embedding, layers and the tied head (matrix product, softmax, cross-entropy) are coarse operations
//! with hand-written backward passes.

use infer::description::LanguageDescription;

use crate::dropout::Dropout;
use crate::graph::{add, matrix, values};
use crate::loss::tokens_loss;
use crate::tensors::Tensors;
use crate::transformer::{Frame, Transformer, embed, embed_backward};

/// The embedding, which is the head as well.
const TABLE: &str = "model.embed_tokens.weight";
/// The most logits that are held at once: 4 MiB, so that their passes stay in the cache.
const LOGITS_MAX: usize = 1 << 20;

/// Sequences of equal length, one after another.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Tokens that go in, `batch · time` of them.
    pub tokens: Vec<u32>,
    /// The token that follows each.
    pub targets: Vec<u32>,
    /// Places in a sequence.
    pub time: usize,
}

/// The mean loss of a batch in nats a token; the gradients are added to `gradients`.
pub fn step(
    description: &LanguageDescription,
    parameters: &Tensors,
    batch: &Batch,
    dropout: Dropout,
    gradients: &mut Tensors,
) -> f64 {
    let width = description.shape.width;
    let frame = frame(description, batch);
    let transformer = transformer(description, parameters, &frame);
    let (y, tape) = transformer.forward(embed(parameters.values(TABLE), width, &batch.tokens), dropout);
    let table = gradients.position(TABLE);
    let scale = 1.0 / batch.targets.len() as f32;
    let into = Some(&mut gradients.all_mut()[table].values);
    let (loss, dy) = head(parameters.values(TABLE), width, &y, &batch.targets, scale, into);
    let dx = transformer.backward(tape, &dy, gradients);
    embed_backward(&dx, width, &batch.tokens, &mut gradients.all_mut()[table].values);
    loss * f64::from(scale)
}

/// The sum of a batch's losses in nats, without gradients.
#[must_use]
pub fn loss(description: &LanguageDescription, parameters: &Tensors, batch: &Batch) -> f64 {
    let y = outputs(description, parameters, batch);
    head(parameters.values(TABLE), description.shape.width, &y, &batch.targets, 1.0, None).0
}

/// The logits of every place, `[batch · time, vocabulary]`: what tests hold against `infer`.
#[must_use]
pub fn logits(description: &LanguageDescription, parameters: &Tensors, batch: &Batch) -> Vec<f32> {
    let shape = &description.shape;
    let device = crate::graph::device(false);
    let y = matrix(outputs(description, parameters, batch), [batch.tokens.len(), shape.width], &device);
    let table = matrix(parameters.values(TABLE).to_vec(), [shape.vocabulary, shape.width], &device);
    values(y.matmul(table.transpose()))
}

fn outputs(description: &LanguageDescription, parameters: &Tensors, batch: &Batch) -> Vec<f32> {
    let frame = frame(description, batch);
    let x = embed(parameters.values(TABLE), description.shape.width, &batch.tokens);
    transformer(description, parameters, &frame).forward(x, Dropout::OFF).0
}

fn frame(description: &LanguageDescription, batch: &Batch) -> Frame {
    Frame::new(&description.shape, batch.time, vec![batch.time; batch.tokens.len() / batch.time])
}

fn transformer<'a>(description: &'a LanguageDescription, parameters: &'a Tensors, frame: &'a Frame) -> Transformer<'a> {
    Transformer { shape: &description.shape, prefix: "", parameters, frame }
}

/// The tied head: the sum of the losses, and `scale` times its gradient by `y`; the gradient by the
/// table is added to `into`. Rows are taken in pieces, so that the logits never fill the memory.
fn head(
    table: &[f32],
    width: usize,
    y: &[f32],
    targets: &[u32],
    scale: f32,
    mut into: Option<&mut Vec<f32>>,
) -> (f64, Vec<f32>) {
    let device = crate::graph::device(false);
    let vocabulary = table.len() / width;
    let rows_max = (LOGITS_MAX / vocabulary).max(1);
    let table_vw = matrix(table.to_vec(), [vocabulary, width], &device);
    let (mut total, mut dy) = (0.0, Vec::with_capacity(if into.is_some() { y.len() } else { 0 }));
    for (y, targets) in y.chunks(rows_max * width).zip(targets.chunks(rows_max)) {
        let y_nw = matrix(y.to_vec(), [targets.len(), width], &device);
        let mut logits = values(y_nw.clone().matmul(table_vw.clone().transpose()));
        total += tokens_loss(&mut logits, vocabulary, targets, scale);
        if let Some(into) = into.as_deref_mut() {
            let g_nv = matrix(logits, [targets.len(), vocabulary], &device);
            dy.extend(values(g_nv.clone().matmul(table_vw.clone())));
            add(into, g_nv.transpose().matmul(y_nw));
        }
    }
    (total, dy)
}
