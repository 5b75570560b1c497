//! The transformer of [`infer::description`] with a hand-written backward pass.
//!
//! Matrix products are Burn's; what lies between them is one pass each: norms, rotary embedding,
//! masked softmax, SwiGLU. Burn's automatic differentiation composes these of a dozen single-threaded
//! passes and is three times slower on a CPU; it stands beside as the reference that tests hold this
//! file to (`reference.rs`).
//!
//! Shapes: `n` rows (batch · time), `w` width, `f` feed-forward, `b` batch, `t` time, `h` heads, `d`
//! dimensions a head. A weight is `[out, in]`: `y = x·Wᵀ`, `dx = dy·W`, `dW = dyᵀ·x`.

use burn::tensor::Tensor;
use infer::description::TransformerShape;
use rayon::prelude::*;

use crate::dropout::Dropout;
use crate::graph::{device, matrix, values};
use crate::tensors::Tensors;

/// Rows that one thread takes at a time.
const ROWS: usize = 64;

/// What depends on the batch's shape alone.
pub(crate) struct Frame {
    time: usize,
    lengths: Vec<usize>,
    /// Cosines and sines of each place, `[t, d/2]`.
    cos_td: Vec<f32>,
    sin_td: Vec<f32>,
}

impl Frame {
    /// The frame of sequences of `time` places, the first `lengths[i]` of each filled.
    pub(crate) fn new(shape: &TransformerShape, time: usize, lengths: Vec<usize>) -> Self {
        let half = shape.width / shape.heads / 2;
        let (mut cos_td, mut sin_td) = (Vec::new(), Vec::new());
        for position in 0..time {
            for pair in 0..half {
                let frequency = f64::from(shape.rope_theta).powf(-(pair as f64) / half as f64);
                let angle = position as f64 * frequency;
                cos_td.push(angle.cos() as f32);
                sin_td.push(angle.sin() as f32);
            }
        }
        Self { time, lengths, cos_td, sin_td }
    }

    /// How many keys the query at a row of the scores `[b, h, t, t]` sees.
    fn seen(&self, shape: &TransformerShape, row: usize) -> usize {
        let length = self.lengths[row / (shape.heads * self.time)];
        if shape.causal { length.min(row % self.time + 1) } else { length }
    }
}

/// What the backward pass needs of one layer.
struct Layer {
    attention_in: Normed,
    q_bhtd: Tensor<4>,
    k_bhtd: Tensor<4>,
    v_bhtd: Tensor<4>,
    weights_bhtt: Tensor<4>,
    mixed_nw: Tensor<2>,
    attention_mask: Option<Vec<f32>>,
    mlp_in: Normed,
    gate_nf: Vec<f32>,
    up_nf: Vec<f32>,
    product_nf: Tensor<2>,
    mlp_mask: Option<Vec<f32>>,
}

/// The input of a norm, the factor of each row, and the output.
struct Normed {
    x_nw: Vec<f32>,
    scale_n: Vec<f32>,
    y_nw: Tensor<2>,
}

/// A forward pass, kept for the backward pass.
pub(crate) struct Tape {
    layers: Vec<Layer>,
    last: Normed,
}

/// One transformer with its parameters.
pub(crate) struct Transformer<'a> {
    pub(crate) shape: &'a TransformerShape,
    pub(crate) prefix: &'a str,
    pub(crate) parameters: &'a Tensors,
    pub(crate) frame: &'a Frame,
}

impl Transformer<'_> {
    /// The final norm's outputs `[n, w]` for embedded tokens.
    pub(crate) fn forward(&self, mut x_nw: Vec<f32>, dropout: Dropout) -> (Vec<f32>, Tape) {
        let mut layers = Vec::new();
        for layer in 0..self.shape.layers {
            let (x, kept) = self.layer(layer, x_nw, dropout);
            layers.push(kept);
            x_nw = x;
        }
        let last = self.norm("model.norm.weight", x_nw);
        (values(last.y_nw.clone()), Tape { layers, last })
    }

    /// The gradient by the embedded tokens; those by the parameters are added to `gradients`.
    pub(crate) fn backward(&self, tape: Tape, dy_nw: &[f32], gradients: &mut Tensors) -> Vec<f32> {
        let mut dx_nw = vec![0.0; dy_nw.len()];
        self.norm_backward("model.norm.weight", &tape.last, dy_nw, &mut dx_nw, gradients);
        for (index, layer) in tape.layers.into_iter().enumerate().rev() {
            self.mlp_backward(index, &layer, &mut dx_nw, gradients);
            self.attention_backward(index, &layer, &mut dx_nw, gradients);
        }
        dx_nw
    }

    fn layer(&self, index: usize, x_nw: Vec<f32>, dropout: Dropout) -> (Vec<f32>, Layer) {
        let name = |name: &str| format!("model.layers.{index}.{name}.weight");
        let attention_in = self.norm(&name("input_layernorm"), x_nw);
        let project = |part: &str| self.product(&attention_in.y_nw, &name(&format!("self_attn.{part}_proj")));
        let q_bhtd = self.by_head(self.turned(project("q"), 1.0));
        let k_bhtd = self.by_head(self.turned(project("k"), 1.0));
        let v_bhtd = self.by_head(project("v"));
        let weights_bhtt = self.softmax(q_bhtd.clone().matmul(k_bhtd.clone().swap_dims(2, 3)));
        let mixed_nw = self.joined(weights_bhtt.clone().matmul(v_bhtd.clone()));
        let mut out = values(self.product(&mixed_nw, &name("self_attn.o_proj")));
        let attention_mask = dropout.mask(out.len(), 2 * index as u64);
        add_masked(&mut out, attention_mask.as_deref(), &attention_in.x_nw);

        let mlp_in = self.norm(&name("post_attention_layernorm"), out);
        let gate_nf = values(self.product(&mlp_in.y_nw, &name("mlp.gate_proj")));
        let up_nf = values(self.product(&mlp_in.y_nw, &name("mlp.up_proj")));
        let mut product = gate_nf.clone();
        let pieces = product.par_chunks_mut(ROWS * self.shape.feed_forward);
        pieces.zip(up_nf.par_chunks(ROWS * self.shape.feed_forward)).for_each(|(gate, up)| kernels::swiglu(gate, up));
        let product_nf = self.rows(product, self.shape.feed_forward);
        let mut out = values(self.product(&product_nf, &name("mlp.down_proj")));
        let mlp_mask = dropout.mask(out.len(), 2 * index as u64 + 1);
        add_masked(&mut out, mlp_mask.as_deref(), &mlp_in.x_nw);
        let kept = Layer {
            attention_in,
            q_bhtd,
            k_bhtd,
            v_bhtd,
            weights_bhtt,
            mixed_nw,
            attention_mask,
            mlp_in,
            gate_nf,
            up_nf,
            product_nf,
            mlp_mask,
        };
        (out, kept)
    }

    fn mlp_backward(&self, index: usize, layer: &Layer, dx_nw: &mut [f32], gradients: &mut Tensors) {
        let name = |name: &str| format!("model.layers.{index}.{name}.weight");
        let out = self.rows(masked(dx_nw, layer.mlp_mask.as_deref()), self.shape.width);
        let mut dup = values(self.product_backward(out, &layer.product_nf, &name("mlp.down_proj"), gradients));
        let mut dgate = layer.gate_nf.clone();
        let size = ROWS * self.shape.feed_forward;
        let pieces = dgate.par_chunks_mut(size).zip(dup.par_chunks_mut(size)).zip(layer.up_nf.par_chunks(size));
        pieces.for_each(|((gate, product), up)| swiglu_backward(gate, product, up));
        let dgate = self.rows(dgate, self.shape.feed_forward);
        let dup = self.rows(dup, self.shape.feed_forward);
        let y = &layer.mlp_in.y_nw;
        let dy = self.product_backward(dgate, y, &name("mlp.gate_proj"), gradients)
            + self.product_backward(dup, y, &name("mlp.up_proj"), gradients);
        self.norm_backward(&name("post_attention_layernorm"), &layer.mlp_in, &values(dy), dx_nw, gradients);
    }

    fn attention_backward(&self, index: usize, layer: &Layer, dx_nw: &mut [f32], gradients: &mut Tensors) {
        let name = |name: &str| format!("model.layers.{index}.{name}.weight");
        let out = self.rows(masked(dx_nw, layer.attention_mask.as_deref()), self.shape.width);
        let dmixed = self.product_backward(out, &layer.mixed_nw, &name("self_attn.o_proj"), gradients);
        let dmixed_bhtd = self.by_head(dmixed);
        let dv = layer.weights_bhtt.clone().swap_dims(2, 3).matmul(dmixed_bhtd.clone());
        let dweights = values(dmixed_bhtd.matmul(layer.v_bhtd.clone().swap_dims(2, 3)));
        let dscores_bhtt = self.softmax_backward(dweights, layer.weights_bhtt.clone());
        let dq = dscores_bhtt.clone().matmul(layer.k_bhtd.clone());
        let dk = dscores_bhtt.swap_dims(2, 3).matmul(layer.q_bhtd.clone());
        let y = &layer.attention_in.y_nw;
        let back = |gradient: Tensor<2>, part: &str, gradients: &mut Tensors| {
            self.product_backward(gradient, y, &name(&format!("self_attn.{part}_proj")), gradients)
        };
        // Turning back by the same angle is the transpose of turning.
        let dy = back(self.turned(self.joined(dq), -1.0), "q", gradients)
            + back(self.turned(self.joined(dk), -1.0), "k", gradients)
            + back(self.joined(dv), "v", gradients);
        self.norm_backward(&name("input_layernorm"), &layer.attention_in, &values(dy), dx_nw, gradients);
    }

    fn weight(&self, name: &str) -> Tensor<2> {
        let one = &self.parameters.all()[self.parameters.position(&format!("{}{name}", self.prefix))];
        matrix(one.values.clone(), one.matrix(), &device(false))
    }

    /// Rows of `width` values as a matrix.
    fn rows(&self, values: Vec<f32>, width: usize) -> Tensor<2> {
        let count = values.len() / width;
        matrix(values, [count, width], &device(false))
    }

    fn product(&self, x: &Tensor<2>, name: &str) -> Tensor<2> {
        x.clone().matmul(self.weight(name).transpose())
    }

    fn product_backward(&self, dy: Tensor<2>, x: &Tensor<2>, name: &str, gradients: &mut Tensors) -> Tensor<2> {
        let position = gradients.position(&format!("{}{name}", self.prefix));
        crate::graph::add(&mut gradients.all_mut()[position].values, dy.clone().transpose().matmul(x.clone()));
        dy.matmul(self.weight(name))
    }

    /// `[n, w]` seen as `[b, h, t, d]`; nothing is copied.
    fn by_head(&self, x_nw: Tensor<2>) -> Tensor<4> {
        let (heads, size) = (self.shape.heads, self.shape.width / self.shape.heads);
        x_nw.reshape([self.frame.lengths.len(), self.frame.time, heads, size]).swap_dims(1, 2)
    }

    fn joined(&self, x_bhtd: Tensor<4>) -> Tensor<2> {
        x_bhtd.swap_dims(1, 2).reshape([self.frame.lengths.len() * self.frame.time, self.shape.width])
    }

    /// Rotary embedding; `direction` −1 turns back.
    fn turned(&self, x_nw: Tensor<2>, direction: f32) -> Tensor<2> {
        let (width, size) = (self.shape.width, self.shape.width / self.shape.heads);
        let (half, time) = (size / 2, self.frame.time);
        let sin_td: Vec<f32> = self.frame.sin_td.iter().map(|sine| direction * sine).collect();
        let mut x = values(x_nw);
        x.par_chunks_mut(width).enumerate().with_min_len(ROWS).for_each(|(row, x)| {
            let angles = row % time * half..(row % time + 1) * half;
            for head in x.chunks_exact_mut(size) {
                kernels::rotary(head, &self.frame.cos_td[angles.clone()], &sin_td[angles.clone()]);
            }
        });
        self.rows(x, width)
    }

    fn scale(&self) -> f32 {
        1.0 / ((self.shape.width / self.shape.heads) as f32).sqrt()
    }

    /// Scaled and masked softmax over the keys.
    fn softmax(&self, scores_bhtt: Tensor<4>) -> Tensor<4> {
        let (shape, scale) = (scores_bhtt.dims(), self.scale());
        let mut scores = values(scores_bhtt);
        scores.par_chunks_mut(self.frame.time).enumerate().with_min_len(ROWS).for_each(|(row, scores)| {
            let (seen, hidden) = scores.split_at_mut(self.frame.seen(self.shape, row));
            seen.iter_mut().for_each(|score| *score *= scale);
            kernels::softmax(seen);
            hidden.fill(0.0);
        });
        Tensor::from_data(burn::tensor::TensorData::new(scores, shape), &device(false))
    }

    /// `dscore = scale · weight · (dweight − Σ dweight · weight)`; what is hidden has weight 0.
    fn softmax_backward(&self, mut dweights: Vec<f32>, weights_bhtt: Tensor<4>) -> Tensor<4> {
        let (shape, scale, time) = (weights_bhtt.dims(), self.scale(), self.frame.time);
        let weights = values(weights_bhtt);
        let rows = dweights.par_chunks_mut(time).zip(weights.par_chunks(time)).with_min_len(ROWS);
        rows.for_each(|(gradient, weights)| {
            let mean = kernels::dot(gradient, weights);
            for (g, weight) in gradient.iter_mut().zip(weights) {
                *g = scale * weight * (*g - mean);
            }
        });
        Tensor::from_data(burn::tensor::TensorData::new(dweights, shape), &device(false))
    }

    fn norm(&self, name: &str, x_nw: Vec<f32>) -> Normed {
        let width = self.shape.width;
        let weight = self.parameters.values(&format!("{}{name}", self.prefix));
        let mut y = vec![0.0; x_nw.len()];
        let mut scale_n = vec![0.0; x_nw.len() / width];
        let rows = y.par_chunks_mut(width).zip(x_nw.par_chunks(width)).zip(scale_n.par_iter_mut());
        rows.with_min_len(ROWS).for_each(|((y, x), scale)| {
            kernels::rms_norm(y, x, weight, self.shape.norm_epsilon);
            let mean = kernels::vector::sum_of_squares(x) / width as f64;
            *scale = (1.0 / (mean + f64::from(self.shape.norm_epsilon)).sqrt()) as f32;
        });
        Normed { x_nw, scale_n, y_nw: self.rows(y, width) }
    }

    /// Adds the gradient through a norm to `dx`. With `s` the row's factor and `g = dy · weight`:
    /// `dx = s · (g − x · s² · Σ g·x / w)` and `dweight = Σ dy · x · s`.
    fn norm_backward(&self, name: &str, normed: &Normed, dy_nw: &[f32], dx_nw: &mut [f32], gradients: &mut Tensors) {
        let width = self.shape.width;
        let name = format!("{}{name}", self.prefix);
        let weight = self.parameters.values(&name);
        let size = ROWS * width;
        let pieces = dx_nw.par_chunks_mut(size).zip(dy_nw.par_chunks(size));
        let pieces = pieces.zip(normed.x_nw.par_chunks(size).zip(normed.scale_n.par_chunks(ROWS)));
        // Each piece sums for itself; the sums of the pieces are added in order.
        let sums: Vec<Vec<f32>> = pieces
            .map(|((dx, dy), (x, scale))| {
                let (mut sum, mut g) = (vec![0.0_f32; width], vec![0.0_f32; width]);
                let rows = dx.chunks_exact_mut(width).zip(dy.chunks_exact(width)).zip(x.chunks_exact(width));
                for (((dx, dy), x), s) in rows.zip(scale) {
                    for (((g, dy), weight), (sum, x)) in g.iter_mut().zip(dy).zip(weight).zip(sum.iter_mut().zip(x)) {
                        *g = dy * weight;
                        *sum += dy * x * s;
                    }
                    let along = s * s * kernels::dot(&g, x) / width as f32;
                    for ((dx, g), x) in dx.iter_mut().zip(&g).zip(x) {
                        *dx += s * (g - x * along);
                    }
                }
                sum
            })
            .collect();
        let position = gradients.position(&name);
        for sum in sums {
            for (total, value) in gradients.all_mut()[position].values.iter_mut().zip(sum) {
                *total += value;
            }
        }
    }
}

/// `gate` becomes the gradient by the gate, and `product`, which holds the gradient by
/// `silu(gate) · up`, the gradient by `up`.
fn swiglu_backward(gate: &mut [f32], product: &mut [f32], up: &[f32]) {
    for ((gate, product), up) in gate.iter_mut().zip(product).zip(up) {
        let sigmoid = 1.0 / (1.0 + kernels::activation::exp(-*gate));
        let silu = *gate * sigmoid;
        let gradient = *product;
        *gate = gradient * up * (sigmoid + silu * (1.0 - sigmoid));
        *product = gradient * silu;
    }
}

/// `out = residual + out · mask`.
fn add_masked(out: &mut [f32], mask: Option<&[f32]>, residual: &[f32]) {
    if let Some(mask) = mask {
        for (out, mask) in out.iter_mut().zip(mask) {
            *out *= mask;
        }
    }
    for (out, residual) in out.iter_mut().zip(residual) {
        *out += residual;
    }
}

fn masked(x: &[f32], mask: Option<&[f32]>) -> Vec<f32> {
    match mask {
        Some(mask) => x.iter().zip(mask).map(|(x, mask)| x * mask).collect(),
        None => x.to_vec(),
    }
}

/// The rows of an embedding table for a list of tokens.
pub(crate) fn embed(table: &[f32], width: usize, tokens: &[u32]) -> Vec<f32> {
    let mut x = Vec::with_capacity(tokens.len() * width);
    for token in tokens {
        x.extend_from_slice(&table[*token as usize * width..(*token as usize + 1) * width]);
    }
    x
}

/// The backward pass of [`embed`]: adds each row's gradient to its token's row.
pub(crate) fn embed_backward(gradient_nw: &[f32], width: usize, tokens: &[u32], into: &mut [f32]) {
    for (row, token) in gradient_nw.chunks_exact(width).zip(tokens) {
        let place = &mut into[*token as usize * width..(*token as usize + 1) * width];
        for (sum, value) in place.iter_mut().zip(row) {
            *sum += value;
        }
    }
}
