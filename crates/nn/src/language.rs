//! One step of a causal language model: the cross-entropy of the next token, and its gradients.
//!
//! Embedding, layers and head (matrix product, softmax, cross-entropy) are coarse operations of `kernels`
//! with hand-written backward passes; on another device than the CPU `composed` takes their place.

use infer::description::LanguageDescription;
use kernels::cross_entropy::{Head, HeadGradients, IGNORE};
use kernels::embedding::{embed, embed_backward};
use kernels::gemm::Matrix;

use crate::composed;
use crate::tensors::{Sink, Tensors};
use crate::transformer::{Frame, Options, Transformer, Workspace, sized};

/// The embedding, which is the head as well where the head is tied.
pub(crate) const TABLE: &str = "model.embed_tokens.weight";
pub(crate) const POSITIONS: &str = "model.embed_positions.weight";
const HEAD: &str = "lm_head.weight";

/// Sequences, one after another.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Tokens that go in, all sequences one behind the other.
    pub tokens: Vec<u32>,
    /// The token that follows each; [`Batch::IGNORED`] where nothing is to be learned.
    pub targets: Vec<u32>,
    /// Tokens of each sequence. A token sees those of its own sequence only.
    pub lengths: Vec<usize>,
}

impl Batch {
    /// A target that counts for nothing.
    pub const IGNORED: u32 = IGNORE;

    /// Sequences of equal length.
    #[must_use]
    pub fn even(tokens: Vec<u32>, targets: Vec<u32>, time: usize) -> Self {
        let lengths = vec![time; tokens.len() / time.max(1)];
        Self { tokens, targets, lengths }
    }

    /// Targets that count.
    #[must_use]
    pub fn counted(&self) -> usize {
        self.targets.iter().filter(|target| **target != Self::IGNORED).count()
    }
}

/// The sum of a batch's losses in nats; `scale` times its gradients are added to those of `sink`, which hears
/// of each layer that is done.
pub fn step<'a>(
    description: &LanguageDescription,
    parameters: &Tensors,
    batch: &Batch,
    scale: f32,
    options: Options,
    workspace: &mut Workspace,
    sink: impl Into<Sink<'a>>,
) -> f64 {
    let mut sink = sink.into();
    if options.device.is_composed() {
        return composed::language::step(description, parameters, batch, scale, options, sink.gradients);
    }
    let frame = Frame::new(batch.lengths.iter().copied());
    let transformer = transformer(description, parameters, &frame, options);
    embed_tokens(description, parameters, batch, &frame, workspace);
    transformer.forward(workspace);
    let name = head_name(description);
    let mut dy_nw = std::mem::take(&mut workspace.dy_nw);
    let into = HeadGradients {
        d_hidden_nw: sized(&mut dy_nw, workspace.y_nw.len()),
        d_table_vw: sink.gradients.values_mut(name),
        scale,
    };
    let loss = head(description, parameters, &workspace.y_nw, batch, options).loss_and_gradients(into);
    workspace.dy_nw = dy_nw;
    if description.shape.untied_head {
        sink.final_from(HEAD);
    }
    transformer.backward(workspace, &mut sink);
    let (gradients, width) = (sink.gradients, description.shape.width);
    embed_backward(gradients.values_mut(TABLE), &workspace.dy_nw, &batch.tokens, width);
    if description.shape.learned_positions > 0 {
        embed_backward(gradients.values_mut(POSITIONS), &workspace.dy_nw, &frame.positions_n, width);
    }
    loss.sum
}

/// The sum of a batch's losses in nats, without gradients.
#[must_use]
pub fn loss(
    description: &LanguageDescription,
    parameters: &Tensors,
    batch: &Batch,
    options: Options,
    workspace: &mut Workspace,
) -> f64 {
    if options.device.is_composed() {
        return composed::language::loss(description, parameters, batch, options);
    }
    outputs(description, parameters, batch, options, workspace);
    head(description, parameters, &workspace.y_nw, batch, options).loss().sum
}

/// The logits of every token, `[n, vocabulary]`: what tests hold against `infer`.
#[must_use]
pub fn logits(description: &LanguageDescription, parameters: &Tensors, batch: &Batch) -> Vec<f32> {
    let mut workspace = Workspace::default();
    outputs(description, parameters, batch, Options::PLAIN, &mut workspace);
    let mut logits = vec![0.0; batch.tokens.len() * description.shape.vocabulary];
    kernels::linear(
        &mut logits,
        parameters.values(head_name(description)),
        &workspace.y_nw,
        None,
        description.shape.width,
    );
    logits
}

fn outputs(
    description: &LanguageDescription,
    parameters: &Tensors,
    batch: &Batch,
    options: Options,
    workspace: &mut Workspace,
) {
    let frame = Frame::new(batch.lengths.iter().copied());
    embed_tokens(description, parameters, batch, &frame, workspace);
    transformer(description, parameters, &frame, options).forward(workspace);
}

fn embed_tokens(
    description: &LanguageDescription,
    parameters: &Tensors,
    batch: &Batch,
    frame: &Frame,
    workspace: &mut Workspace,
) {
    let shape = &description.shape;
    let positions = (shape.learned_positions > 0).then(|| (parameters.values(POSITIONS), &frame.positions_n[..]));
    let x = sized(&mut workspace.dy_nw, batch.tokens.len() * shape.width);
    embed(x, parameters.values(TABLE), &batch.tokens, positions, shape.width);
}

fn transformer<'a>(
    description: &'a LanguageDescription,
    parameters: &'a Tensors,
    frame: &'a Frame,
    options: Options,
) -> Transformer<'a> {
    Transformer { shape: &description.shape, prefix: "", parameters, frame, options }
}

/// The matrix of the head.
pub(crate) fn head_name(description: &LanguageDescription) -> &'static str {
    if description.shape.untied_head { HEAD } else { TABLE }
}

fn head<'a>(
    description: &LanguageDescription,
    parameters: &'a Tensors,
    y_nw: &'a [f32],
    batch: &'a Batch,
    options: Options,
) -> Head<'a> {
    let shape = &description.shape;
    Head {
        hidden: Matrix::new(y_nw, batch.tokens.len(), shape.width),
        table: Matrix::new(parameters.values(head_name(description)), shape.vocabulary, shape.width),
        targets_n: &batch.targets,
        compute: options.compute,
    }
}
