//! One step of a `predict` model: the loss of a batch of rows, and its gradients.
//!
//! The sum over the shared table of sparse features is one coarse operation with a hand-written
//! backward pass: a row touches a few hundred of its rows, and a dense product would touch them all.
//! Hidden layers are a Burn graph, of which transformers are leaves; a linear model needs none. On another
//! device than the CPU the graph is built there and transformers are a part of it; the sum over sparse
//! features and the losses stay on the CPU.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use infer::description::{Encoding, PredictDescription, TransformerShape};
use kernels::parallel;

use kernels::embedding::{embed, embed_backward};

use crate::composed;
use crate::dropout::Dropout;
use crate::graph::{Leaves, backward, leaf, matrix, values};
use crate::loss::{Targets, outputs_loss};
use crate::tensors::{Sink, Tensors};
use crate::transformer::{Frame, Options, Transformer, Workspace, sized};

/// The shared table of sparse features.
const TABLE: &str = "features.weight";
/// Dropout masks of hidden layers come after those of any transformer.
const HIDDEN_PLACE: u64 = 1 << 32;

/// Rows that a thread takes at a time.
const ROWS: usize = 16;

/// Features of some rows.
#[derive(Debug, Clone, Default)]
pub struct Batch<'a> {
    /// Sparse features of each row: positions in the shared table, and values.
    pub sparse: Vec<&'a [(u32, f32)]>,
    /// Tokens of each row for each transformer input, in the order of the inputs: `[input][row]`.
    pub tokens: Vec<Vec<&'a [u32]>>,
    /// What each output should have said; [`logits`] does not look at them.
    pub targets: Vec<Targets>,
}

/// The sum of a batch's losses; `scale` times its gradients are added to those of `sink`, which hears of each
/// transformer's layer that is done. `workspaces` has one for each transformer input.
pub fn step<'a>(
    description: &PredictDescription,
    parameters: &Tensors,
    batch: &Batch<'_>,
    scale: f32,
    options: Options,
    workspaces: &mut Vec<Workspace>,
    sink: impl Into<Sink<'a>>,
) -> f64 {
    let mut sink = sink.into();
    let width = description.widths()[0];
    let h0 = sparse_sum(parameters, width, &batch.sparse);
    let outputs = &description.columns.outputs;
    if is_linear(description) {
        let (loss, dh0) = outputs_loss(outputs, &h0, &batch.targets, scale);
        sparse_backward(&batch.sparse, &dh0, width, sink.gradients);
        return loss;
    }
    let encoders = encoders(description, parameters, batch, options, workspaces);
    let leaves = Leaves::new(parameters, options, true, |name| in_graph(name, options));
    let h0_bh = leaf(h0, [batch.sparse.len(), width], &leaves.device, true);
    let pooled: Vec<Tensor<2>> =
        encoders.iter().zip(&*workspaces).map(|(one, workspace)| one.pooled(workspace, &leaves, true)).collect();
    let logits = layers(description, &leaves, h0_bh.clone(), &encoders, &pooled, options.dropout);
    let (loss, dlogits) = outputs_loss(outputs, &values(logits.clone().inner()), &batch.targets, scale);
    let mut found = backward(logits, dlogits);
    leaves.read(&mut found, sink.gradients);
    // The last first: what stands behind a transformer in the arena is final before it begins.
    for ((encoder, workspace), pooled) in encoders.iter().zip(workspaces).zip(pooled).rev() {
        // Composed, a transformer is no leaf: its gradients were read with the others.
        if encoder.options.device.is_composed() {
            continue;
        }
        if let Some(dpooled) = pooled.grad_remove(&mut found) {
            encoder.backward(parameters, &values(dpooled), workspace, &mut sink);
        }
    }
    if let Some(dh0) = h0_bh.grad_remove(&mut found) {
        sparse_backward(&batch.sparse, &values(dh0), width, sink.gradients);
    }
    loss
}

/// The logits of every row, `[rows, width of all outputs]`.
#[must_use]
pub fn logits(
    description: &PredictDescription,
    parameters: &Tensors,
    batch: &Batch<'_>,
    options: Options,
    workspaces: &mut Vec<Workspace>,
) -> Vec<f32> {
    let width = description.widths()[0];
    let h0 = sparse_sum(parameters, width, &batch.sparse);
    if is_linear(description) {
        return h0;
    }
    let options = Options { dropout: Dropout::OFF, ..options };
    let encoders = encoders(description, parameters, batch, options, workspaces);
    let leaves = Leaves::new(parameters, options, false, |name| in_graph(name, options));
    let h0_bh = matrix(h0, [batch.sparse.len(), width], &leaves.device);
    let pooled: Vec<Tensor<2>> =
        encoders.iter().zip(&*workspaces).map(|(one, workspace)| one.pooled(workspace, &leaves, false)).collect();
    values(layers(description, &leaves, h0_bh, &encoders, &pooled, Dropout::OFF))
}

/// Whether the sum over sparse features is all there is. It stays on the CPU, whatever the device.
#[must_use]
pub fn is_linear(description: &PredictDescription) -> bool {
    let transformer = |encoding: &Encoding| matches!(encoding, Encoding::Transformer { .. });
    description.hidden.is_empty() && !description.columns.inputs.iter().any(|input| transformer(&input.encoding))
}

/// The graph has the projections of transformers and the layers behind the first sum; composed, the
/// transformers as well.
fn in_graph(name: &str, options: Options) -> bool {
    let composed = options.device.is_composed() && name != TABLE;
    name != "layer.0.bias" && (composed || name.ends_with(".projection") || name.starts_with("layer."))
}

/// `layer.0.bias + Σ value · features.weight[index]` for every row: `[rows, width]`.
fn sparse_sum(parameters: &Tensors, width: usize, rows: &[&[(u32, f32)]]) -> Vec<f32> {
    let mut sums = vec![0.0_f32; rows.len() * width];
    let bias = parameters.find("layer.0.bias").map(|position| parameters.at(position).values);
    let table = parameters.find(TABLE).map(|position| parameters.at(position).values);
    parallel::chunks(&mut sums, ROWS * width, |index, sums| {
        for (sum, features) in sums.chunks_exact_mut(width).zip(&rows[index * ROWS..]) {
            if let Some(bias) = bias {
                sum.copy_from_slice(bias);
            }
            if let Some(table) = table {
                kernels::add_rows(sum, table, features);
            }
        }
    });
    sums
}

/// The backward pass of [`sparse_sum`]. One thread adds in the order of the rows, so that the sums
/// are the same in every run; it is a small part of a step.
fn sparse_backward(rows: &[&[(u32, f32)]], dh0: &[f32], width: usize, gradients: &mut Tensors) {
    if let Some(position) = gradients.find("layer.0.bias") {
        let bias = gradients.at_mut(position);
        for row in dh0.chunks_exact(width) {
            for (sum, value) in bias.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
    let Some(position) = gradients.find(TABLE) else { return };
    let table = gradients.at_mut(position);
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

/// One transformer input; its forward pass is kept in a workspace.
struct Encoder<'a> {
    shape: &'a TransformerShape,
    prefix: String,
    tokens: Vec<u32>,
    frame: Frame,
    options: Options,
}

impl<'a> Encoder<'a> {
    fn new(shape: &'a TransformerShape, prefix: String, rows: &[&[u32]], options: Options) -> Self {
        let frame = Frame::new(rows.iter().map(|row| row.len()));
        Self { shape, prefix, tokens: rows.concat(), frame, options }
    }

    fn transformer<'b>(&'b self, parameters: &'b Tensors) -> Transformer<'b> {
        let (shape, prefix, frame, options) = (self.shape, &*self.prefix, &self.frame, self.options);
        Transformer { shape, prefix, parameters, frame, options }
    }

    fn name(&self, part: &str) -> String {
        format!("{}model.{part}.weight", self.prefix)
    }

    fn forward(&self, parameters: &Tensors, workspace: &mut Workspace) {
        if self.options.device.is_composed() {
            return;
        }
        let learned = self.shape.learned_positions > 0;
        let positions =
            learned.then(|| (parameters.values(&self.name("embed_positions")), &self.frame.positions_n[..]));
        let x = sized(&mut workspace.dy_nw, self.tokens.len() * self.shape.width);
        embed(x, parameters.values(&self.name("embed_tokens")), &self.tokens, positions, self.shape.width);
        self.transformer(parameters).forward(workspace);
    }

    /// The mean of each sequence's outputs, `[batch, width]`; zeros for an empty sequence.
    fn pooled(&self, workspace: &Workspace, leaves: &Leaves, tracked: bool) -> Tensor<2> {
        if self.options.device.is_composed() {
            let (shape, prefix, tokens, options) = (self.shape, &*self.prefix, &self.tokens[..], self.options);
            return composed::encoder::Input { shape, prefix, tokens, sequences: &self.frame, options }.pooled(leaves);
        }
        let width = self.shape.width;
        let mut pooled = vec![0.0_f32; self.frame.sequences.len() * width];
        for (mean, rows) in pooled.chunks_exact_mut(width).zip(&self.frame.sequences) {
            for row in workspace.y_nw[rows.start * width..rows.end * width].chunks_exact(width) {
                kernels::axpy(mean, 1.0 / rows.len() as f32, row);
            }
        }
        leaf(pooled, [self.frame.sequences.len(), width], &leaves.device, tracked)
    }

    /// Adds the gradients of the transformer's parameters, from those of the means.
    fn backward(&self, parameters: &Tensors, dpooled: &[f32], workspace: &mut Workspace, sink: &mut Sink<'_>) {
        let width = self.shape.width;
        let dy = sized(&mut workspace.dy_nw, self.tokens.len() * width);
        dy.fill(0.0);
        for (rows, gradient) in self.frame.sequences.iter().zip(dpooled.chunks_exact(width)) {
            for row in dy[rows.start * width..rows.end * width].chunks_exact_mut(width) {
                kernels::axpy(row, 1.0 / rows.len() as f32, gradient);
            }
        }
        self.transformer(parameters).backward(workspace, sink);
        let (gradients, dx_nw) = (&mut *sink.gradients, &workspace.dy_nw);
        embed_backward(gradients.values_mut(&self.name("embed_tokens")), dx_nw, &self.tokens, width);
        if self.shape.learned_positions > 0 {
            embed_backward(gradients.values_mut(&self.name("embed_positions")), dx_nw, &self.frame.positions_n, width);
        }
    }
}

/// Every transformer input after its forward pass.
fn encoders<'a>(
    description: &'a PredictDescription,
    parameters: &Tensors,
    batch: &Batch<'_>,
    options: Options,
    workspaces: &mut Vec<Workspace>,
) -> Vec<Encoder<'a>> {
    let mut all = Vec::new();
    for input in &description.columns.inputs {
        if let Encoding::Transformer { shape, .. } = &input.encoding {
            // Each encoder draws its own masks.
            let seed = options.dropout.seed.wrapping_add(all.len() as u64);
            let options = Options { dropout: Dropout { seed, ..options.dropout }, ..options };
            let rows = &batch.tokens[all.len()];
            all.push(Encoder::new(shape, format!("input.{}.", input.name), rows, options));
        }
    }
    workspaces.resize_with(all.len(), Workspace::default);
    for (encoder, workspace) in all.iter().zip(workspaces) {
        encoder.forward(parameters, workspace);
    }
    all
}
