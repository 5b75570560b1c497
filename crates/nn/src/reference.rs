//! The transformer of [`infer::description`] composed of Burn's primitives, differentiated by Burn: what
//! tests hold `transformer.rs` to.
//!
//! Shapes: `n` rows (batch · time), `w` width, `b` batch, `t` time, `h` heads, `d` dimensions a head.

use burn::tensor::activation::{silu, softmax};
use burn::tensor::{Device, Tensor, TensorData};
use infer::description::TransformerShape;

use crate::dropout::Dropout;
use crate::graph::{Leaves, matrix};

/// Added to the attention scores that a token must not see.
const HIDDEN_SCORE: f32 = -1e9;

/// What depends on the batch's shape alone, and is the same in every layer.
pub(crate) struct Frame {
    batch: usize,
    time: usize,
    cos_nw: Tensor<2>,
    sin_nw: Tensor<2>,
    /// Multiplying by it turns `(a, b)` into `(−b, a)`, the two halves of a head.
    turn_dd: Tensor<2>,
    /// 0 where a token may look, [`HIDDEN_SCORE`] where not.
    mask_btt: Tensor<3>,
}

impl Frame {
    /// The frame of a batch in which every sequence has `time` places, the first `lengths[i]` of them
    /// filled.
    pub(crate) fn new(shape: &TransformerShape, time: usize, lengths: &[usize], device: &Device) -> Self {
        let (batch, size) = (lengths.len(), shape.width / shape.heads);
        let (cos, sin) = angles(shape, batch, time);
        let mut turn = vec![0.0_f32; size * size];
        for i in 0..size / 2 {
            turn[(i + size / 2) * size + i] = -1.0;
            turn[i * size + i + size / 2] = 1.0;
        }
        let mut mask = Vec::with_capacity(batch * shape.heads * time * time);
        for length in lengths {
            for _ in 0..shape.heads {
                for query in 0..time {
                    let seen = |key: usize| key < *length && (!shape.causal || key <= query);
                    mask.extend((0..time).map(|key| if seen(key) { 0.0 } else { HIDDEN_SCORE }));
                }
            }
        }
        let mask = TensorData::new(mask, [batch * shape.heads, time, time]);
        Self {
            batch,
            time,
            cos_nw: matrix(cos, [batch * time, shape.width], device),
            sin_nw: matrix(sin, [batch * time, shape.width], device),
            turn_dd: matrix(turn, [size, size], device),
            mask_btt: Tensor::from_data(mask, device),
        }
    }
}

/// Cosines and sines of the rotary angles (Su et al. 2021), laid out as the queries are: `[n, w]`.
fn angles(shape: &TransformerShape, batch: usize, time: usize) -> (Vec<f32>, Vec<f32>) {
    let half = shape.width / shape.heads / 2;
    let (mut cos, mut sin) = (Vec::new(), Vec::new());
    for position in 0..time {
        for column in 0..shape.width {
            let pair = column % (2 * half) % half;
            let frequency = f64::from(shape.rope_theta).powf(-(pair as f64) / half as f64);
            let angle = position as f64 * frequency;
            cos.push(angle.cos() as f32);
            sin.push(angle.sin() as f32);
        }
    }
    (cos.repeat(batch), sin.repeat(batch))
}

/// The final norm's outputs `[n, w]` for embedded tokens `x_nw`.
pub(crate) fn forward(
    shape: &TransformerShape,
    prefix: &str,
    leaves: &Leaves,
    mut x_nw: Tensor<2>,
    frame: &Frame,
    dropout: Dropout,
) -> Tensor<2> {
    for layer in 0..shape.layers {
        let weight = |name: &str| leaves.get(&format!("{prefix}model.layers.{layer}.{name}.weight"));
        let normed = norm(x_nw.clone(), weight("input_layernorm"), shape.norm_epsilon);
        let attended = attention(shape, &weight, &normed, frame);
        x_nw = x_nw + dropout.apply(attended, 2 * layer as u64, &leaves.device);
        let normed = norm(x_nw.clone(), weight("post_attention_layernorm"), shape.norm_epsilon);
        let gate = silu(normed.clone().matmul(weight("mlp.gate_proj").transpose()));
        let up = normed.matmul(weight("mlp.up_proj").transpose());
        let down = (gate * up).matmul(weight("mlp.down_proj").transpose());
        x_nw = x_nw + dropout.apply(down, 2 * layer as u64 + 1, &leaves.device);
    }
    norm(x_nw, leaves.get(&format!("{prefix}model.norm.weight")), shape.norm_epsilon)
}

/// RMSNorm (Zhang and Sennrich 2019).
fn norm(x_nw: Tensor<2>, weight_1w: Tensor<2>, epsilon: f32) -> Tensor<2> {
    let root_n1 = (x_nw.clone().square().mean_dim(1) + epsilon).sqrt();
    x_nw / root_n1 * weight_1w
}

fn attention(
    shape: &TransformerShape,
    weight: &impl Fn(&str) -> Tensor<2>,
    x_nw: &Tensor<2>,
    frame: &Frame,
) -> Tensor<2> {
    let (rows, size) = (frame.batch * frame.time, shape.width / shape.heads);
    let project = |name: &str| x_nw.clone().matmul(weight(&format!("self_attn.{name}_proj")).transpose());
    let turn = |q_nw: Tensor<2>| {
        let turned = q_nw.clone().reshape([rows * shape.heads, size]).matmul(frame.turn_dd.clone());
        q_nw * frame.cos_nw.clone() + turned.reshape([rows, shape.width]) * frame.sin_nw.clone()
    };
    let by_head = |q_nw: Tensor<2>| -> Tensor<3> {
        q_nw.reshape([frame.batch, frame.time, shape.heads, size]).swap_dims(1, 2).reshape([
            frame.batch * shape.heads,
            frame.time,
            size,
        ])
    };
    let (q, k, v) = (by_head(turn(project("q"))), by_head(turn(project("k"))), by_head(project("v")));
    let scores = q.matmul(k.swap_dims(1, 2)) * (1.0 / (size as f32).sqrt()) + frame.mask_btt.clone();
    let mixed = softmax(scores, 2).matmul(v);
    let joined =
        mixed.reshape([frame.batch, shape.heads, frame.time, size]).swap_dims(1, 2).reshape([rows, shape.width]);
    joined.matmul(weight("self_attn.o_proj").transpose())
}
