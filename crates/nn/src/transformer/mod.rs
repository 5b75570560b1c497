//! The transformer of [`infer::description`], forward and backward, on `kernels`: the way of the CPU.
//!
//! It is a thin tape of our own: each layer writes what its backward pass needs into buffers that live
//! as long as the training ([`Workspace`]), so that a step allocates nothing. The same description as a
//! graph of Burn's operations (`composed.rs`) is the way of other devices, and what tests hold this file
//! to.
//!
//! What only matrix products and attention read is kept in bf16 where they compute in bf16: they would round it
//! all the same. The stream between the blocks, sums and statistics stay `f32`.
//!
//! Shapes: `n` rows (tokens of all sequences, one behind the other, no padding), `w` width, `f`
//! feed-forward, `k` width of all key heads, `s = w + 2k` a row of queries, keys and values, `h` heads.
//! A weight is `[out, in]`: `y = x·Wᵀ`, `dx = dy·W`, `dW = dyᵀ·x`.

mod backward;
mod forward;
mod linear;

use std::ops::Range;

use infer::description::{Norm as NormKind, NormPlace, TransformerShape};
use kernels::attention::Attention;
use kernels::bf16::Bf16;
use kernels::gemm::Compute;
use kernels::norm::{Kind, Moments, Norm};
use kernels::position::RotaryTable;

use crate::device::Device;
use crate::dropout::Dropout;
use crate::tensors::Tensors;

pub(crate) use linear::Linear;

/// How a step computes.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Matrix products and attention in `f32`, or with inputs rounded to bf16 and sums in `f32`.
    pub compute: Compute,
    /// Dropout of this step.
    pub dropout: Dropout,
    /// Keep only the input of each layer and compute the rest again in the backward pass: less memory,
    /// a third more arithmetic.
    pub recompute: bool,
    /// What computes. Dropout draws the same masks on every device.
    pub device: Device,
}

impl Options {
    /// Plain `f32`, no dropout: evaluation, and tests.
    pub const PLAIN: Self =
        Self { compute: Compute::F32, dropout: Dropout::OFF, recompute: false, device: Device::Cpu };
}

/// Sequences of tokens that lie one behind the other and do not see each other.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The rows of each sequence.
    pub(crate) sequences: Vec<Range<usize>>,
    /// The place of each row in its sequence.
    pub(crate) positions_n: Vec<u32>,
}

impl Frame {
    /// Sequences of these lengths.
    pub(crate) fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let (mut sequences, mut positions_n) = (Vec::new(), Vec::new());
        for length in lengths {
            let begin = positions_n.len();
            positions_n.extend(0..length as u32);
            sequences.push(begin..positions_n.len());
        }
        Self { sequences, positions_n }
    }

    /// Rows of all sequences.
    pub(crate) fn rows(&self) -> usize {
        self.positions_n.len()
    }
}

/// What the backward pass needs of one layer, with `E` for what products read.
#[derive(Debug, Default)]
struct Tape<E> {
    x_nw: Vec<f32>,
    /// The output of the norm before attention; empty where norms stand behind.
    normed_nw: Vec<E>,
    attention_moments_n: Vec<Moments>,
    qkv_ns: Vec<E>,
    mixed_nw: Vec<E>,
    log_sum_exp_hn: Vec<f32>,
    attention_mask: Option<Vec<f32>>,
    /// The input plus attention.
    attended_nw: Vec<f32>,
    /// The output of the norm before the MLP; empty where norms stand behind.
    mlp_in_nw: Vec<E>,
    /// The output of the norm behind attention, which is the MLP's input and goes around it; empty where norms
    /// stand before.
    middle_nw: Vec<f32>,
    mlp_moments_n: Vec<Moments>,
    /// What goes into the activation: `[n, f]`, or gate and up beside each other, `[n, 2f]`.
    pre_nf: Vec<E>,
    activated_nf: Vec<E>,
    mlp_mask: Option<Vec<f32>>,
    /// The sum behind the MLP, where a norm follows it.
    summed_nw: Vec<f32>,
}

/// Buffers that outlive a step, so that the next one of the same size allocates nothing.
#[derive(Debug, Default)]
pub struct Workspace {
    /// In use where products are taken in `f32`.
    single: Layers<f32>,
    /// In use where they are taken in bf16.
    half: Layers<Bf16>,
    /// Only in use where layers are computed again.
    inputs: Vec<Vec<f32>>,
    /// The input of the norm behind the embedding, or before the end.
    edge_nw: Vec<f32>,
    edge_moments_n: Vec<Moments>,
    /// The transformer's outputs.
    pub(crate) y_nw: Vec<f32>,
    /// The gradient by the outputs, and at the end by the inputs.
    pub(crate) dy_nw: Vec<f32>,
    sum_nw: Vec<f32>,
    rotary: Option<RotaryTable>,
    /// Places that the angles are known for.
    rotary_places: usize,
}

/// The tapes of all layers, or one that all share where they are computed again.
#[derive(Debug, Default)]
struct Layers<E> {
    tapes: Vec<Tape<E>>,
    scratch: Scratch<E>,
}

/// Gradients on their way, the same buffers for every layer.
#[derive(Debug, Default)]
struct Scratch<E> {
    wide_nf: Vec<E>,
    wider_nf: Vec<E>,
    qkv_ns: Vec<E>,
    branch_nw: Vec<f32>,
    sum_nw: Vec<f32>,
    masked_nw: Vec<f32>,
}

/// One transformer with its parameters.
#[derive(Clone, Copy)]
pub(crate) struct Transformer<'a> {
    pub(crate) shape: &'a TransformerShape,
    pub(crate) prefix: &'a str,
    pub(crate) parameters: &'a Tensors,
    pub(crate) frame: &'a Frame,
    pub(crate) options: Options,
}

impl<'a> Transformer<'a> {
    /// The name of a layer's tensor.
    fn name(&self, layer: usize, part: &str) -> String {
        format!("{}model.layers.{layer}.{part}", self.prefix)
    }

    /// A tensor outside of the layers.
    fn edge(&self, part: &str) -> String {
        format!("{}model.{part}", self.prefix)
    }

    fn norm(&self, name: &str) -> Norm<'a> {
        let layer = self.shape.norm == NormKind::LayerNorm;
        Norm {
            kind: if layer { Kind::Layer } else { Kind::RootMeanSquare },
            weight_w: self.parameters.values(&format!("{name}.weight")),
            bias_w: layer.then(|| self.parameters.values(&format!("{name}.bias"))),
            epsilon: self.shape.norm_epsilon,
        }
    }

    /// The names of a layer's norms: of attention, and of the MLP.
    fn norm_names(&self, layer: usize) -> [String; 2] {
        match self.shape.norm_place {
            NormPlace::Before => ["input_layernorm", "post_attention_layernorm"].map(|part| self.name(layer, part)),
            NormPlace::After => ["post_attention_layernorm", "output_layernorm"].map(|part| self.name(layer, part)),
        }
    }

    /// Queries, keys and values as one product.
    fn qkv(&self, layer: usize) -> Linear<'a> {
        let out = self.shape.width + 2 * self.shape.kv_width();
        self.linear(layer, ["self_attn.q_proj", "self_attn.v_proj"], self.shape.width, out)
    }

    fn output(&self, layer: usize) -> Linear<'a> {
        self.linear(layer, ["self_attn.o_proj"; 2], self.shape.width, self.shape.width)
    }

    /// Gate and up as one product, or up alone.
    fn up(&self, layer: usize) -> Linear<'a> {
        let (first, factor) = if self.gated() { ("mlp.gate_proj", 2) } else { ("mlp.up_proj", 1) };
        self.linear(layer, [first, "mlp.up_proj"], self.shape.width, factor * self.shape.feed_forward)
    }

    fn down(&self, layer: usize) -> Linear<'a> {
        self.linear(layer, ["mlp.down_proj"; 2], self.shape.feed_forward, self.shape.width)
    }

    /// Neighbouring projections, from the first to the last, as one.
    fn linear(&self, layer: usize, [first, last]: [&str; 2], into: usize, out: usize) -> Linear<'a> {
        let span = |kind: &str| {
            let names = [first, last].map(|part| self.name(layer, &format!("{part}.{kind}")));
            (self.parameters.span(&names[0], &names[1]), names)
        };
        let (weight_oi, weight_names) = span("weight");
        let (bias_o, bias_names) = self.shape.biases.then(|| span("bias")).unzip();
        Linear { weight_oi, weight_names, bias_o, bias_names, into, out, compute: self.options.compute }
    }

    fn gated(&self) -> bool {
        self.shape.mlp == infer::description::Mlp::SwiGlu
    }

    fn norms_before(&self) -> bool {
        self.shape.norm_place == NormPlace::Before
    }

    /// Elements of a row of queries, keys and values.
    fn stride(&self) -> usize {
        self.shape.width + 2 * self.shape.kv_width()
    }

    /// How attention reads the rows of queries, keys and values.
    fn attention(&self) -> Attention<'a> {
        let dim = self.shape.head_width();
        Attention {
            sequences: &self.frame.sequences,
            heads: self.shape.heads,
            kv_heads: self.shape.kv_heads(),
            dim,
            causal: self.shape.causal,
            scale: 1.0 / (dim as f32).sqrt(),
            compute: self.options.compute,
        }
    }
}

/// A buffer of so many values; what they are is the next writer's concern.
pub(crate) fn sized<T: Clone + Default>(buffer: &mut Vec<T>, count: usize) -> &mut [T] {
    buffer.resize(count, T::default());
    buffer
}
