//! A decoder on packed weights: what [`super::Engine`] serves the files of other programs with.
//!
//! One decoder for every architecture; what they differ in is data: [`Sizes`], [`Rotary`], and which biases, norms and
//! tables [`Weights`] hold. Norms stand before attention and before the MLP.
//!
//! | letter | meaning |
//! |---|---|
//! | `n` | rows of a step |
//! | `w` | width of the residual stream |
//! | `h`, `k` | query heads, heads of keys and values |
//! | `d` | dimensions of a head |
//! | `f` | elements between the MLP's two products |
//!
//! Weights stay as the file has them, in groups of 16 rows; rows of activations are rounded to what the weights'
//! encoding asks for. A row has the same bits whatever the other rows of the step are: products, norms and attention
//! are computed row by row in an order of their own.

use kernels::attention::paged::{PagedAttention, Pages, Sequence};
use kernels::f16::{F16, zeros};
use kernels::norm::{Input, Kind, Moments, Norm};
use kernels::pointwise::Pointwise;
use kernels::position::RotaryTable;
use kernels::quantised::{Activations, PackedMatrix, Product, multiply, multiply_add, multiply_all, multiply_swiglu};

use super::schedule::{Batch, Forward, Part};

/// Sizes of a decoder, and its formulas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizes {
    /// Tokens that there are.
    pub vocabulary: usize,
    /// Elements of a row of the residual stream.
    pub width: usize,
    /// Query heads.
    pub heads: usize,
    /// Heads of keys and values, a divisor of `heads`.
    pub kv_heads: usize,
    /// Dimensions of a head, a multiple of 16; those that a model lacks are zeros.
    pub dim: usize,
    /// Elements between the MLP's two products.
    pub feed_forward: usize,
    /// Which norm.
    pub norm: Kind,
    /// Added to the variance or mean square by norms.
    pub norm_epsilon: f32,
    /// What stands between the MLP's two products.
    pub mlp: Mlp,
    /// The factor of the scores, usually `1/√d` of the model's own `d`.
    pub scale: f32,
    /// The longest sequence.
    pub context: usize,
}

/// What stands between the MLP's two products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mlp {
    /// `silu(gate) · up` (Shazeer 2020).
    SwiGlu,
    /// GELU by its tanh form (Hendrycks & Gimpel 2016).
    GeluTanh,
    /// GELU by the normal distribution.
    Gelu,
}

/// Rotary positions: how fast each pair of dimensions turns.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// Radians a position, for the pairs `(i, i + n)` of the first `2n` dimensions of a head.
    pub frequencies: Vec<f64>,
    /// What cosines and sines are multiplied by; 1 but for YaRN.
    pub factor: f64,
}

/// `y = x·Wᵀ + b`.
#[derive(Debug)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: PackedMatrix,
    /// `[out]`.
    pub bias: Option<Vec<f32>>,
}

/// The parameters of a norm.
#[derive(Debug)]
pub struct NormWeights {
    /// The factor of each column.
    pub weight: Vec<f32>,
    /// What is added to each column.
    pub bias: Option<Vec<f32>>,
}

/// A layer's weights.
#[derive(Debug)]
pub struct Layer {
    /// Before attention, `[w]`.
    pub attention_norm: NormWeights,
    /// `[h·d, w]`.
    pub query: Linear,
    /// `[k·d, w]`.
    pub key: Linear,
    /// `[k·d, w]`.
    pub value: Linear,
    /// Norms of each head's queries and keys before they are turned, `[d]`.
    pub head_norms: Option<[NormWeights; 2]>,
    /// How many positions a row sees, its own among them; all of them if not set.
    pub window: Option<usize>,
    /// `[w, h·d]`.
    pub output: Linear,
    /// Before the MLP, `[w]`.
    pub mlp_norm: NormWeights,
    /// `[f, w]`, where the MLP has a gate.
    pub gate: Option<Linear>,
    /// `[f, w]`.
    pub up: Linear,
    /// `[w, f]`.
    pub down: Linear,
}

/// All weights.
#[derive(Debug)]
pub struct Weights {
    /// `[vocabulary, w]`; the head as well where there is no other.
    pub embedding: PackedMatrix,
    /// Learned positions `[context, w]`, added to the embedding.
    pub positions: Option<Vec<f32>>,
    /// Rotary positions.
    pub rotary: Option<Rotary>,
    /// The layers in their order.
    pub layers: Vec<Layer>,
    /// At the end, `[w]`.
    pub norm: NormWeights,
    /// `[vocabulary, w]`.
    pub head: Option<PackedMatrix>,
}

/// A decoder with its cache.
#[derive(Debug)]
pub struct PackedDecoder {
    sizes: Sizes,
    weights: Weights,
    pages: Pages,
    /// The pages of each layer.
    caches: Vec<Vec<F16>>,
    rotary: Option<RotaryTable>,
    activations: Activations,
    buffers: Buffers,
}

/// Rows on their way, kept from step to step.
#[derive(Debug, Default)]
struct Buffers {
    x_nw: Vec<f32>,
    normed_nw: Vec<f32>,
    moments_n: Vec<Moments>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    mixed: Vec<f32>,
    inner: Vec<f32>,
    other: Vec<f32>,
    positions_n: Vec<u32>,
    logits: Vec<f32>,
}

impl PackedDecoder {
    /// A decoder with an empty cache of so many pages.
    ///
    /// # Panics
    /// When a weight does not have its size, or pages do not have 32, 64, 128 or 256 positions.
    #[must_use]
    pub fn new(sizes: Sizes, weights: Weights, pages: usize, page_positions: usize) -> Self {
        check(&sizes, &weights);
        let shape = Pages { positions: page_positions, kv_heads: sizes.kv_heads, dim: sizes.dim };
        // No sequence is longer than all pages together.
        let longest = sizes.context.min(pages.saturating_mul(page_positions));
        let rotary = weights.rotary.as_ref();
        let rotary =
            rotary.map(|rotary| RotaryTable::with_frequencies(longest, sizes.dim, &rotary.frequencies, rotary.factor));
        Self {
            caches: weights.layers.iter().map(|_| zeros(pages * shape.elements())).collect(),
            rotary,
            activations: Activations::new(),
            buffers: Buffers::default(),
            sizes,
            weights,
            pages: shape,
        }
    }

    /// Its sizes.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Bytes that the cache takes once it is full.
    #[must_use]
    pub fn cache_bytes(&self) -> usize {
        self.caches.iter().map(|cache| size_of_val(cache.as_slice())).sum()
    }

    /// Bytes of weights that a token reads.
    #[must_use]
    pub fn bytes_per_token(&self) -> usize {
        let layer = |layer: &Layer| {
            let Layer { query, key, value, output, gate, up, down, .. } = layer;
            let all = [query, key, value, output, up, down].into_iter().chain(gate);
            all.map(|linear| linear.weight.bytes()).sum::<usize>()
        };
        let head = self.weights.head.as_ref().unwrap_or(&self.weights.embedding);
        self.weights.layers.iter().map(layer).sum::<usize>() + head.bytes()
    }

    /// Weights of all layers: a row multiplies and adds each of them once.
    #[must_use]
    pub fn layer_weights(&self) -> usize {
        let layer = |layer: &Layer| {
            let Layer { query, key, value, output, gate, up, down, .. } = layer;
            let all = [query, key, value, output, up, down].into_iter().chain(gate);
            all.map(|linear| linear.weight.rows() * linear.weight.columns()).sum::<usize>()
        };
        self.weights.layers.iter().map(layer).sum()
    }

    fn layer(&mut self, index: usize, batch: &Batch) {
        self.attention(index, batch);
        let Self { sizes, weights, activations, buffers, .. } = self;
        let (layer, count) = (&weights.layers[index], batch.tokens.len() * sizes.feed_forward);
        let Buffers { x_nw, normed_nw, moments_n, inner, other, .. } = buffers;
        norm(sizes, &layer.mlp_norm).forward(&mut normed_nw[..], moments_n, Input::Rows(x_nw));
        match &layer.gate {
            Some(gate) if gate.bias.is_none() && layer.up.bias.is_none() => {
                activations.prepare(normed_nw, sizes.width, &[&gate.weight, &layer.up.weight]);
                multiply_swiglu(sized(inner, count), &gate.weight, &layer.up.weight, activations);
            }
            Some(gate) => {
                activations.prepare(normed_nw, sizes.width, &[&gate.weight, &layer.up.weight]);
                multiply_biased(&mut [(sized(inner, count), gate), (sized(other, count), &layer.up)], activations);
                kernels::swiglu(inner, other);
            }
            None => {
                activations.prepare(normed_nw, sizes.width, &[&layer.up.weight]);
                multiply_biased(&mut [(sized(other, count), &layer.up)], activations);
                let gelu = if sizes.mlp == Mlp::GeluTanh { Pointwise::Gelu } else { Pointwise::GeluExact };
                gelu.forward(sized(inner, count), other);
            }
        }
        activations.prepare(inner, sizes.feed_forward, &[&layer.down.weight]);
        multiply_add(x_nw, &layer.down.weight, activations);
        add_bias(x_nw, layer.down.bias.as_deref());
    }

    /// Attention with its norm and its products; its result is added to the residual stream.
    fn attention(&mut self, index: usize, batch: &Batch) {
        let Self { sizes, weights, caches, rotary, activations, buffers, pages, .. } = self;
        let Sizes { width, heads, kv_heads, dim, scale, .. } = *sizes;
        let (layer, cache, rows) = (&weights.layers[index], &mut caches[index], batch.tokens.len());
        let Buffers { x_nw, normed_nw, moments_n, query, key, value, mixed, other, positions_n, .. } = buffers;
        norm(sizes, &layer.attention_norm).forward(sized(normed_nw, rows * width), moments_n, Input::Rows(x_nw));
        activations.prepare(normed_nw, width, &[&layer.query.weight, &layer.key.weight, &layer.value.weight]);
        multiply_biased(
            &mut [
                (sized(query, rows * heads * dim), &layer.query),
                (sized(key, rows * kv_heads * dim), &layer.key),
                (sized(value, rows * kv_heads * dim), &layer.value),
            ],
            activations,
        );
        if let Some(norms) = &layer.head_norms {
            for (all, weights) in [&mut *query, &mut *key].into_iter().zip(norms) {
                let mut moments = vec![Moments::default(); all.len() / dim];
                norm(sizes, weights).forward(sized(other, all.len()), &mut moments, Input::Rows(all));
                std::mem::swap(all, other);
            }
        }
        if let Some(rotary) = rotary {
            rotary.forward(&mut query[..], heads * dim, 0..heads, positions_n);
            rotary.forward(&mut key[..], kv_heads * dim, 0..kv_heads, positions_n);
        }
        let mut sequences = Vec::with_capacity(batch.parts.len());
        for Part { rows, position, pages: table } in &batch.parts {
            for (row, position) in rows.clone().zip(*position..) {
                let place = row * kv_heads * dim..(row + 1) * kv_heads * dim;
                pages.write(cache, table, position, &key[place.clone()], &value[place]);
            }
            sequences.push(Sequence { table, rows: rows.clone(), position: *position });
        }
        let attention = PagedAttention { pages: *pages, sequences: &sequences, heads, scale, window: layer.window };
        attention.run(sized(mixed, rows * heads * dim), query, cache);
        activations.prepare(mixed, heads * dim, &[&layer.output.weight]);
        multiply_add(x_nw, &layer.output.weight, activations);
        add_bias(x_nw, layer.output.bias.as_deref());
    }
}

impl Forward for PackedDecoder {
    fn forward(&mut self, batch: &Batch) -> &mut [f32] {
        let (width, rows) = (self.sizes.width, batch.tokens.len());
        let Buffers { x_nw, positions_n, moments_n, .. } = &mut self.buffers;
        moments_n.resize(rows, Moments::default());
        for (token, x) in batch.tokens.iter().zip(sized(x_nw, rows * width).chunks_exact_mut(width)) {
            self.weights.embedding.dequantise_row(*token as usize, x);
        }
        positions_n.clear();
        for Part { rows, position, .. } in &batch.parts {
            positions_n.extend(*position as u32..(*position + rows.len()) as u32);
        }
        if let Some(table) = &self.weights.positions {
            for (position, x) in positions_n.iter().zip(x_nw.chunks_exact_mut(width)) {
                kernels::axpy(x, 1.0, &table[*position as usize * width..][..width]);
            }
        }
        for index in 0..self.weights.layers.len() {
            self.layer(index, batch);
        }
        let Self { sizes, weights, activations, buffers, .. } = self;
        let Buffers { x_nw, normed_nw, moments_n, query: wanted_nw, logits, .. } = buffers;
        wanted_nw.clear();
        for row in &batch.wanted {
            wanted_nw.extend_from_slice(&x_nw[row * width..(row + 1) * width]);
        }
        let count = batch.wanted.len();
        let normed = sized(normed_nw, count * width);
        norm(sizes, &weights.norm).forward(&mut normed[..], sized(moments_n, count), Input::Rows(wanted_nw));
        let head = weights.head.as_ref().unwrap_or(&weights.embedding);
        activations.prepare(normed, width, &[head]);
        let logits = sized(logits, count * sizes.vocabulary);
        multiply(logits, head, activations);
        logits
    }

    fn vocabulary(&self) -> usize {
        self.sizes.vocabulary
    }
}

/// # Panics
/// When a weight does not have its size.
fn check(sizes: &Sizes, weights: &Weights) {
    let Sizes { vocabulary, width, heads, kv_heads, dim, feed_forward, context, .. } = *sizes;
    let matrix = |matrix: &PackedMatrix, rows: usize, columns: usize| {
        assert_eq!((matrix.rows(), matrix.columns()), (rows, columns), "sizes of a matrix");
    };
    let linear = |linear: &Linear, rows: usize, columns: usize| {
        matrix(&linear.weight, rows, columns);
        assert!(linear.bias.as_ref().is_none_or(|bias| bias.len() == rows), "size of a bias");
    };
    let norm = |norm: &NormWeights, size: usize| {
        assert!(norm.weight.len() == size && norm.bias.as_ref().is_none_or(|bias| bias.len() == size), "a norm's size");
    };
    matrix(&weights.embedding, vocabulary, width);
    weights.head.iter().for_each(|head| matrix(head, vocabulary, width));
    assert!(weights.positions.as_ref().is_none_or(|table| table.len() == context * width), "a row for each position");
    for layer in &weights.layers {
        linear(&layer.query, heads * dim, width);
        linear(&layer.key, kv_heads * dim, width);
        linear(&layer.value, kv_heads * dim, width);
        linear(&layer.output, width, heads * dim);
        layer.gate.iter().for_each(|gate| linear(gate, feed_forward, width));
        assert_eq!(layer.gate.is_some(), sizes.mlp == Mlp::SwiGlu, "a gate");
        linear(&layer.up, feed_forward, width);
        linear(&layer.down, width, feed_forward);
        norm(&layer.attention_norm, width);
        norm(&layer.mlp_norm, width);
        layer.head_norms.iter().flatten().for_each(|weights| norm(weights, dim));
    }
    norm(&weights.norm, width);
}

fn norm<'a>(sizes: &Sizes, weights: &'a NormWeights) -> Norm<'a> {
    let (weight_w, bias_w) = (&weights.weight[..], weights.bias.as_deref());
    Norm { kind: sizes.norm, weight_w, bias_w, epsilon: sizes.norm_epsilon }
}

/// `y = x·Wᵀ + b` for each pair, in one parallel region.
fn multiply_biased(all: &mut [(&mut [f32], &Linear)], activations: &Activations) {
    let mut products: Vec<_> =
        all.iter_mut().map(|(y, linear)| Product { y, weights: &linear.weight, add: false }).collect();
    multiply_all(&mut products, activations);
    for (y, linear) in all {
        add_bias(y, linear.bias.as_deref());
    }
}

/// Adds a bias to every row.
fn add_bias(rows: &mut [f32], bias: Option<&[f32]>) {
    if let Some(bias) = bias {
        rows.chunks_exact_mut(bias.len()).for_each(|row| kernels::axpy(row, 1.0, bias));
    }
}

fn sized<T: Clone + Default>(buffer: &mut Vec<T>, count: usize) -> &mut [T] {
    buffer.resize(count, T::default());
    buffer
}
