//! The transformer of [`infer::description`] composed of Burn's operations and differentiated by Burn: the
//! way of every device but the CPU, and what tests hold `transformer` to.
//!
//! Shapes: `n` rows of all sequences, `m = b·t` rows with every sequence padded to the longest, `w` width,
//! `b` sequences, `t` time, `h` heads, `k` heads of keys, `d` dimensions a head.
//!
//! The parameters live on the CPU, where the optimiser steps them: every step carries them to the device and
//! the gradients back.

pub(crate) mod encoder;
pub(crate) mod language;

use burn::tensor::activation::{gelu_approximate, relu, silu, softmax};
use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};
use infer::description::{Mlp, Norm, NormPlace, TransformerShape};
use kernels::gemm::Compute;

use crate::dropout::Dropout;
use crate::graph::{Leaves, matrix};
use crate::transformer::Frame as Sequences;

/// Added to the attention scores that a token must not see.
const HIDDEN_SCORE: f32 = -1e9;

/// What depends on the batch's shape alone, and is the same in every layer.
pub(crate) struct Frame {
    batch: usize,
    time: usize,
    /// The row that stands at each padded place; padding shows the first row.
    row_of_m: Vec<i64>,
    to_padded_m: Tensor<1, Int>,
    to_rows_n: Tensor<1, Int>,
    cos_m1d: Tensor<3>,
    sin_m1d: Tensor<3>,
    /// 0 where a token may look, [`HIDDEN_SCORE`] where not; one for all sequences where they are equally long.
    mask_b1tt: Tensor<4>,
}

/// Whole numbers on a device.
pub(crate) fn integers(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// A matrix product: in `f32`, or of inputs rounded to bf16, whose results are rounded as well.
pub(crate) fn product<const D: usize>(a: Tensor<D>, b: Tensor<D>, compute: Compute) -> Tensor<D> {
    match compute {
        Compute::F32 => a.matmul(b),
        Compute::Bf16 => a.cast(FloatDType::BF16).matmul(b.cast(FloatDType::BF16)).cast(FloatDType::F32),
    }
}

impl Frame {
    pub(crate) fn new(shape: &TransformerShape, sequences: &Sequences, device: &Device) -> Self {
        let batch = sequences.sequences.len();
        let time = sequences.sequences.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        let even = sequences.sequences.iter().all(|rows| rows.len() == time);
        let masks = if even { 1 } else { batch };
        let (mut row_of_m, mut place_of_n, mut mask) = (Vec::new(), Vec::new(), Vec::new());
        for (index, rows) in sequences.sequences.iter().enumerate() {
            place_of_n.extend((0..rows.len()).map(|place| (index * time + place) as i64));
            row_of_m.extend((0..time).map(|place| if place < rows.len() { (rows.start + place) as i64 } else { 0 }));
            for query in 0..if index < masks { time } else { 0 } {
                let seen = |key: usize| key < rows.len() && (!shape.causal || key <= query);
                mask.extend((0..time).map(|key| if seen(key) { 0.0 } else { HIDDEN_SCORE }));
            }
        }
        let (cos, sin) = angles(shape, batch, time);
        let dim = shape.head_width();
        let turned = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, [batch * time, 1, dim]), device);
        Self {
            batch,
            time,
            to_padded_m: integers(row_of_m.clone(), device),
            to_rows_n: integers(place_of_n, device),
            row_of_m,
            cos_m1d: turned(cos),
            sin_m1d: turned(sin),
            mask_b1tt: Tensor::from_data(TensorData::new(mask, [masks, 1, time, time]), device),
        }
    }
}

/// Cosines and sines of the rotary angles (Su et al. 2021) of every padded place, for both halves of a head.
fn angles(shape: &TransformerShape, batch: usize, time: usize) -> (Vec<f32>, Vec<f32>) {
    let half = shape.head_width() / 2;
    let (mut cos, mut sin) = (Vec::new(), Vec::new());
    for position in 0..time {
        for column in 0..2 * half {
            let frequency = f64::from(shape.rope_theta).powf(-((column % half) as f64) / half as f64);
            let angle = position as f64 * frequency;
            cos.push(angle.cos() as f32);
            sin.push(angle.sin() as f32);
        }
    }
    (cos.repeat(batch), sin.repeat(batch))
}

/// A transformer on a graph.
pub(crate) struct Composed<'a> {
    pub(crate) shape: &'a TransformerShape,
    pub(crate) prefix: &'a str,
    pub(crate) leaves: &'a Leaves,
    pub(crate) frame: &'a Frame,
    pub(crate) compute: Compute,
    pub(crate) dropout: Dropout,
}

impl Composed<'_> {
    /// The outputs `[n, w]` for embedded tokens `x_nw`.
    pub(crate) fn forward(&self, x_nw: Tensor<2>) -> Tensor<2> {
        let before = self.shape.norm_place == NormPlace::Before;
        let mut x = x_nw.select(0, self.frame.to_padded_m.clone());
        if !before {
            x = self.norm(&format!("{}model.embed_norm", self.prefix), x);
        }
        for layer in 0..self.shape.layers {
            let name = |part: &str| format!("{}model.layers.{layer}.{part}", self.prefix);
            let (first, second) = (2 * layer as u64, 2 * layer as u64 + 1);
            if before {
                let attended = self.attention(&name, &self.norm(&name("input_layernorm"), x.clone()));
                x = x + self.dropped(attended, first);
                let mlp = self.mlp(&name, self.norm(&name("post_attention_layernorm"), x.clone()));
                x = x + self.dropped(mlp, second);
            } else {
                let attended = self.attention(&name, &x);
                x = self.norm(&name("post_attention_layernorm"), x + self.dropped(attended, first));
                let mlp = self.mlp(&name, x.clone());
                x = self.norm(&name("output_layernorm"), x + self.dropped(mlp, second));
            }
        }
        if before {
            x = self.norm(&format!("{}model.norm", self.prefix), x);
        }
        x.select(0, self.frame.to_rows_n.clone())
    }

    fn norm(&self, name: &str, x_mw: Tensor<2>) -> Tensor<2> {
        let weight = self.leaves.get(&format!("{name}.weight"));
        let x_mw = match self.shape.norm {
            Norm::RmsNorm => x_mw,
            Norm::LayerNorm => x_mw.clone() - x_mw.mean_dim(1),
        };
        let root_m1 = (x_mw.clone().square().mean_dim(1) + self.shape.norm_epsilon).sqrt();
        let scaled = x_mw / root_m1 * weight;
        match self.shape.norm {
            Norm::RmsNorm => scaled,
            Norm::LayerNorm => scaled + self.leaves.get(&format!("{name}.bias")),
        }
    }

    fn linear(&self, name: &str, x: Tensor<2>) -> Tensor<2> {
        let y = product(x, self.leaves.get(&format!("{name}.weight")).transpose(), self.compute);
        if self.shape.biases { y + self.leaves.get(&format!("{name}.bias")) } else { y }
    }

    fn mlp(&self, name: &impl Fn(&str) -> String, x: Tensor<2>) -> Tensor<2> {
        let up = self.linear(&name("mlp.up_proj"), x.clone());
        let activated = match self.shape.mlp {
            Mlp::SwiGlu => silu(self.linear(&name("mlp.gate_proj"), x)) * up,
            Mlp::Gelu => gelu_approximate(up),
            Mlp::Relu => relu(up),
        };
        self.linear(&name("mlp.down_proj"), activated)
    }

    fn attention(&self, name: &impl Fn(&str) -> String, x: &Tensor<2>) -> Tensor<2> {
        let (shape, frame) = (self.shape, self.frame);
        let (dim, kv_heads) = (shape.head_width(), shape.kv_heads());
        let by_head = |part: &str, heads: usize, turn: bool| -> Tensor<4> {
            let projected = self.linear(&name(part), x.clone()).reshape([frame.batch * frame.time, heads, dim]);
            let turned = if turn { self.turned(projected) } else { projected };
            turned.reshape([frame.batch, frame.time, heads, dim]).swap_dims(1, 2)
        };
        // Each head of keys and values stands once for every query head of its group.
        let shared = |x_bktd: Tensor<4>| -> Tensor<4> {
            let group = shape.heads / kv_heads;
            let one: Tensor<5> = x_bktd.reshape([frame.batch, kv_heads, 1, frame.time, dim]);
            one.repeat_dim(2, group).reshape([frame.batch, shape.heads, frame.time, dim])
        };
        let rotary = shape.learned_positions == 0;
        let q = by_head("self_attn.q_proj", shape.heads, rotary);
        let k = shared(by_head("self_attn.k_proj", kv_heads, rotary));
        let v = shared(by_head("self_attn.v_proj", kv_heads, false));
        let products = product(q, k.swap_dims(2, 3), self.compute);
        let scores = products * (1.0 / (dim as f32).sqrt()) + frame.mask_b1tt.clone();
        let mixed = product(softmax(scores, 3), v, self.compute);
        let joined = mixed.swap_dims(1, 2).reshape([frame.batch * frame.time, shape.width]);
        self.linear(&name("self_attn.o_proj"), joined)
    }

    /// Rotary embedding: `x·cos + (−x₂, x₁)·sin` for the two halves of each head.
    fn turned(&self, x_mhd: Tensor<3>) -> Tensor<3> {
        let half = self.shape.head_width() / 2;
        let lower = x_mhd.clone().narrow(2, 0, half);
        let upper = x_mhd.clone().narrow(2, half, half);
        let crossed = Tensor::cat(vec![upper.neg(), lower], 2);
        x_mhd * self.frame.cos_m1d.clone() + crossed * self.frame.sin_m1d.clone()
    }

    /// Dropout with the masks that the packed rows have.
    fn dropped(&self, x_mw: Tensor<2>, place: u64) -> Tensor<2> {
        let width = self.shape.width;
        let rows = self.frame.to_rows_n.dims()[0];
        let Some(mask_nw) = self.dropout.mask(rows * width, place) else { return x_mw };
        let row = |row: &i64| &mask_nw[*row as usize * width..(*row as usize + 1) * width];
        let mask_mw: Vec<f32> = self.frame.row_of_m.iter().flat_map(row).copied().collect();
        let shape = x_mw.dims();
        x_mw * matrix(mask_mw, shape, &self.leaves.device)
    }
}
