//! One step of a `predict` model: the loss of a batch of rows, and its gradients.
//!
//! The sum over the shared table of sparse features is one coarse operation with a hand-written
//! backward pass: a row touches a few hundred of its rows, and a dense product would touch them all.
//! Hidden layers are a Burn graph, of which transformers are leaves; a linear model needs none.

use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use infer::description::{Encoding, PredictDescription, TransformerShape};
use rayon::prelude::*;

use crate::dropout::Dropout;
use crate::graph::{Leaves, backward, leaf, matrix, values};
use crate::loss::{Targets, outputs_loss};
use crate::tensors::Tensors;
use crate::transformer::{Frame, Tape, Transformer, embed, embed_backward};

/// The shared table of sparse features.
const TABLE: &str = "features.weight";
/// Dropout masks of hidden layers come after those of any transformer.
const HIDDEN_PLACE: u64 = 1 << 32;

/// Features of some rows.
#[derive(Debug, Clone, Default)]
pub struct Batch<'a> {
    /// Sparse features of each row: positions in the shared table, and values.
    pub sparse: Vec<&'a [(u32, f32)]>,
    /// Tokens of each row for each transformer input, in the order of the inputs: `[input][row]`.
    pub tokens: Vec<Vec<&'a [u32]>>,
}

/// The mean loss of a batch; the gradients are added to `gradients`.
pub fn step(
    description: &PredictDescription,
    parameters: &Tensors,
    batch: &Batch<'_>,
    targets: &[Targets],
    dropout: Dropout,
    gradients: &mut Tensors,
) -> f64 {
    let rows = batch.sparse.len();
    let width = description.widths()[0];
    let h0 = sparse_sum(parameters, width, &batch.sparse);
    let outputs = &description.columns.outputs;
    if is_linear(description) {
        let (loss, dh0) = outputs_loss(outputs, &h0, targets);
        sparse_backward(&batch.sparse, &dh0, width, gradients);
        return loss / rows as f64;
    }
    let encoders = encoders(description, parameters, batch, dropout);
    let leaves = Leaves::new(parameters, true, in_graph);
    let h0_bh = leaf(h0, [rows, width], &leaves.device, true);
    let pooled: Vec<Tensor<2>> = encoders.iter().map(|one| one.pooled(&leaves.device, true)).collect();
    let logits = layers(description, &leaves, h0_bh.clone(), &encoders, &pooled, dropout);
    let (loss, dlogits) = outputs_loss(outputs, &values(logits.clone().inner()), targets);
    let mut found = backward(logits, dlogits);
    leaves.read(&mut found, gradients);
    for (encoder, pooled) in encoders.into_iter().zip(pooled) {
        if let Some(dpooled) = pooled.grad_remove(&mut found) {
            encoder.backward(parameters, &values(dpooled), gradients);
        }
    }
    if let Some(dh0) = h0_bh.grad_remove(&mut found) {
        sparse_backward(&batch.sparse, &values(dh0), width, gradients);
    }
    loss / rows as f64
}

/// The logits of every row, `[rows, width of all outputs]`.
#[must_use]
pub fn logits(description: &PredictDescription, parameters: &Tensors, batch: &Batch<'_>) -> Vec<f32> {
    let width = description.widths()[0];
    let h0 = sparse_sum(parameters, width, &batch.sparse);
    if is_linear(description) {
        return h0;
    }
    let encoders = encoders(description, parameters, batch, Dropout::OFF);
    let leaves = Leaves::new(parameters, false, in_graph);
    let h0_bh = matrix(h0, [batch.sparse.len(), width], &leaves.device);
    let pooled: Vec<Tensor<2>> = encoders.iter().map(|one| one.pooled(&leaves.device, false)).collect();
    values(layers(description, &leaves, h0_bh, &encoders, &pooled, Dropout::OFF))
}

/// Whether the first layer's sum is all there is.
fn is_linear(description: &PredictDescription) -> bool {
    let transformer = |encoding: &Encoding| matches!(encoding, Encoding::Transformer { .. });
    description.hidden.is_empty() && !description.columns.inputs.iter().any(|input| transformer(&input.encoding))
}

/// The graph has the projections of transformers and the layers behind the first sum.
fn in_graph(name: &str) -> bool {
    name.ends_with(".projection") || (name.starts_with("layer.") && name != "layer.0.bias")
}

/// `layer.0.bias + Σ value · features.weight[index]` for every row: `[rows, width]`.
fn sparse_sum(parameters: &Tensors, width: usize, rows: &[&[(u32, f32)]]) -> Vec<f32> {
    let mut sums = vec![0.0_f32; rows.len() * width];
    let bias = parameters.find("layer.0.bias").map(|position| &parameters.all()[position].values);
    let table = parameters.find(TABLE).map(|position| parameters.all()[position].values.as_slice());
    sums.par_chunks_mut(width).zip(rows).with_min_len(16).for_each(|(sum, features)| {
        if let Some(bias) = bias {
            sum.copy_from_slice(bias);
        }
        if let Some(table) = table {
            kernels::add_rows(sum, table, features);
        }
    });
    sums
}

/// The backward pass of [`sparse_sum`]. One thread adds in the order of the rows, so that the sums
/// are the same in every run; it is a small part of a step.
fn sparse_backward(rows: &[&[(u32, f32)]], dh0: &[f32], width: usize, gradients: &mut Tensors) {
    if let Some(position) = gradients.find("layer.0.bias") {
        let bias = &mut gradients.all_mut()[position].values;
        for row in dh0.chunks_exact(width) {
            for (sum, value) in bias.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
    let Some(position) = gradients.find(TABLE) else { return };
    let table = &mut gradients.all_mut()[position].values;
    for (features, gradient) in rows.iter().zip(dh0.chunks_exact(width)) {
        for (index, value) in *features {
            kernels::axpy(&mut table[*index as usize * width..(*index as usize + 1) * width], *value, gradient);
        }
    }
}

/// `h1..` and the logits, from the sparse part of `h0` and the encoders' parts.
fn layers(
    description: &PredictDescription,
    leaves: &Leaves,
    h0_bh: Tensor<2>,
    encoders: &[Encoder<'_>],
    pooled: &[Tensor<2>],
    dropout: Dropout,
) -> Tensor<2> {
    let mut h = h0_bh;
    for (encoder, pooled_bw) in encoders.iter().zip(pooled) {
        h = h + pooled_bw.clone().matmul(leaves.get(&format!("{}projection", encoder.prefix)));
    }
    for index in 1..description.widths().len() {
        let kept = dropout.apply(relu(h), HIDDEN_PLACE + index as u64, &leaves.device);
        h = kept.matmul(leaves.get(&format!("layer.{index}.weight")));
        let bias = format!("layer.{index}.bias");
        if leaves.has(&bias) {
            h = h + leaves.get(&bias);
        }
    }
    h
}

/// One transformer input after its forward pass.
struct Encoder<'a> {
    shape: &'a TransformerShape,
    prefix: String,
    tokens: Vec<u32>,
    lengths: Vec<usize>,
    frame: Frame,
    tape: Tape,
    y_nw: Vec<f32>,
}

impl Encoder<'_> {
    /// The mean of each sequence's filled places, `[batch, width]`.
    fn pooled(&self, device: &Device, tracked: bool) -> Tensor<2> {
        let (width, time) = (self.shape.width, self.tokens.len() / self.lengths.len());
        let mut pooled = vec![0.0_f32; self.lengths.len() * width];
        for ((mean, length), rows) in
            pooled.chunks_exact_mut(width).zip(&self.lengths).zip(self.y_nw.chunks_exact(time * width))
        {
            for row in rows.chunks_exact(width).take(*length) {
                kernels::axpy(mean, 1.0 / *length as f32, row);
            }
        }
        leaf(pooled, [self.lengths.len(), width], device, tracked)
    }

    /// Adds the gradients of the transformer's parameters, from those of the means.
    fn backward(self, parameters: &Tensors, dpooled: &[f32], gradients: &mut Tensors) {
        let (width, time) = (self.shape.width, self.tokens.len() / self.lengths.len());
        let mut dy = vec![0.0_f32; self.tokens.len() * width];
        for ((rows, length), gradient) in
            dy.chunks_exact_mut(time * width).zip(&self.lengths).zip(dpooled.chunks_exact(width))
        {
            for row in rows.chunks_exact_mut(width).take(*length) {
                kernels::axpy(row, 1.0 / *length as f32, gradient);
            }
        }
        let Self { shape, prefix, frame, tape, .. } = self;
        let transformer = Transformer { shape, prefix: &prefix, parameters, frame: &frame };
        let dx = transformer.backward(tape, &dy, gradients);
        let table = gradients.position(&format!("{prefix}model.embed_tokens.weight"));
        embed_backward(&dx, width, &self.tokens, &mut gradients.all_mut()[table].values);
    }
}

fn encoders<'a>(
    description: &'a PredictDescription,
    parameters: &Tensors,
    batch: &Batch<'_>,
    dropout: Dropout,
) -> Vec<Encoder<'a>> {
    let mut all = Vec::new();
    for input in &description.columns.inputs {
        if let Encoding::Transformer { shape, .. } = &input.encoding {
            // Each encoder draws its own masks.
            let dropout = Dropout { seed: dropout.seed.wrapping_add(all.len() as u64), ..dropout };
            let prefix = format!("input.{}.", input.name);
            all.push(encode(shape, prefix, parameters, &batch.tokens[all.len()], dropout));
        }
    }
    all
}

fn encode<'a>(
    shape: &'a TransformerShape,
    prefix: String,
    parameters: &Tensors,
    rows: &[&[u32]],
    dropout: Dropout,
) -> Encoder<'a> {
    let time = rows.iter().map(|row| row.len()).max().unwrap_or(0).max(1);
    let mut tokens = Vec::with_capacity(rows.len() * time);
    for row in rows {
        tokens.extend_from_slice(row);
        // What stands in the padding is never looked at.
        tokens.resize(tokens.len() + time - row.len(), 0);
    }
    let lengths: Vec<usize> = rows.iter().map(|row| row.len()).collect();
    let table = parameters.values(&format!("{prefix}model.embed_tokens.weight"));
    let frame = Frame::new(shape, time, lengths.clone());
    let transformer = Transformer { shape, prefix: &prefix, parameters, frame: &frame };
    let (y_nw, tape) = transformer.forward(embed(table, shape.width, &tokens), dropout);
    Encoder { shape, prefix, tokens, lengths, frame, tape, y_nw }
}
