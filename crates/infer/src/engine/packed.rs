//! A decoder of Llama's kind on packed weights: what [`super::Engine`] serves a GGUF file with.
//!
//! | letter | meaning |
//! |---|---|
//! | `n` | rows of a step |
//! | `w` | width of the residual stream |
//! | `h`, `k` | query heads, heads of keys and values |
//! | `d` | dimensions of a head |
//!
//! Weights stay as the file has them, in groups of 16 rows; rows of activations are rounded to bytes. A row has the same
//! bits whatever the other rows of the step are: products, norms and attention are computed row by row in an order of
//! their own.

use kernels::attention::paged::{PagedAttention, Pages, Sequence};
use kernels::f16::F16;
use kernels::norm::{Input, Kind, Moments, Norm};
use kernels::position::RotaryTable;
use kernels::quantised::{Activations, PackedMatrix, Product, multiply, multiply_add, multiply_all, multiply_swiglu};

use super::schedule::{Batch, Forward, Part};

/// Sizes of a decoder.
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
    /// Dimensions of a head.
    pub dim: usize,
    /// Elements between gate and down.
    pub feed_forward: usize,
    /// Added to the mean square by norms.
    pub norm_epsilon: f32,
    /// The base of the rotary frequencies.
    pub rope_theta: f64,
    /// The longest sequence.
    pub context: usize,
}

/// A layer's weights.
#[derive(Debug)]
pub struct Layer {
    /// Before attention, `[w]`.
    pub attention_norm: Vec<f32>,
    /// `[h·d, w]`.
    pub query: PackedMatrix,
    /// `[k·d, w]`.
    pub key: PackedMatrix,
    /// `[k·d, w]`.
    pub value: PackedMatrix,
    /// `[w, h·d]`.
    pub output: PackedMatrix,
    /// Before the MLP, `[w]`.
    pub mlp_norm: Vec<f32>,
    /// `[f, w]`.
    pub gate: PackedMatrix,
    /// `[f, w]`.
    pub up: PackedMatrix,
    /// `[w, f]`.
    pub down: PackedMatrix,
}

/// All weights.
#[derive(Debug)]
pub struct Weights {
    /// `[vocabulary, w]`; the head as well where there is no other.
    pub embedding: PackedMatrix,
    /// The layers in their order.
    pub layers: Vec<Layer>,
    /// At the end, `[w]`.
    pub norm: Vec<f32>,
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
    rotary: RotaryTable,
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
        let Sizes { vocabulary, width, heads, kv_heads, dim, feed_forward, .. } = sizes;
        let is = |matrix: &PackedMatrix, rows: usize, columns: usize| {
            assert_eq!((matrix.rows(), matrix.columns()), (rows, columns), "sizes of a matrix");
        };
        is(&weights.embedding, vocabulary, width);
        weights.head.iter().for_each(|head| is(head, vocabulary, width));
        for layer in &weights.layers {
            is(&layer.query, heads * dim, width);
            is(&layer.key, kv_heads * dim, width);
            is(&layer.value, kv_heads * dim, width);
            is(&layer.output, width, heads * dim);
            is(&layer.gate, feed_forward, width);
            is(&layer.up, feed_forward, width);
            is(&layer.down, width, feed_forward);
            assert_eq!((layer.attention_norm.len(), layer.mlp_norm.len()), (width, width), "sizes of norms");
        }
        assert_eq!(weights.norm.len(), width, "size of the norm");
        let shape = Pages { positions: page_positions, kv_heads, dim };
        Self {
            caches: weights.layers.iter().map(|_| vec![F16::default(); pages * shape.elements()]).collect(),
            rotary: RotaryTable::new(sizes.context, dim, sizes.rope_theta),
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

    /// Bytes of weights that a token reads.
    #[must_use]
    pub fn bytes_per_token(&self) -> usize {
        let layer = |layer: &Layer| {
            let Layer { query, key, value, output, gate, up, down, .. } = layer;
            [query, key, value, output, gate, up, down].into_iter().map(PackedMatrix::bytes).sum::<usize>()
        };
        let head = self.weights.head.as_ref().unwrap_or(&self.weights.embedding);
        self.weights.layers.iter().map(layer).sum::<usize>() + head.bytes()
    }

    fn layer(&mut self, index: usize, batch: &Batch) {
        let Self { sizes, weights, caches, rotary, activations, buffers, pages, .. } = self;
        let Sizes { width, heads, kv_heads, dim, feed_forward, norm_epsilon, .. } = *sizes;
        let (layer, cache, rows) = (&weights.layers[index], &mut caches[index], batch.tokens.len());
        let Buffers { x_nw, normed_nw, moments_n, query, key, value, mixed, inner, positions_n, .. } = buffers;
        let norm = |weight_w| Norm { kind: Kind::RootMeanSquare, weight_w, bias_w: None, epsilon: norm_epsilon };
        norm(&layer.attention_norm).forward(sized(normed_nw, rows * width), moments_n, Input::Rows(x_nw));
        activations.prepare(normed_nw, width, &[&layer.query, &layer.key, &layer.value]);
        multiply_all(
            &mut [
                Product { y: sized(query, rows * heads * dim), weights: &layer.query, add: false },
                Product { y: sized(key, rows * kv_heads * dim), weights: &layer.key, add: false },
                Product { y: sized(value, rows * kv_heads * dim), weights: &layer.value, add: false },
            ],
            activations,
        );
        rotary.forward(&mut query[..], heads * dim, 0..heads, positions_n);
        rotary.forward(&mut key[..], kv_heads * dim, 0..kv_heads, positions_n);
        let mut sequences = Vec::with_capacity(batch.parts.len());
        for Part { rows, position, pages: table } in &batch.parts {
            for (row, position) in rows.clone().zip(*position..) {
                let place = row * kv_heads * dim..(row + 1) * kv_heads * dim;
                pages.write(cache, table, position, &key[place.clone()], &value[place]);
            }
            sequences.push(Sequence { table, rows: rows.clone(), position: *position });
        }
        let scale = 1.0 / (dim as f32).sqrt();
        let attention = PagedAttention { pages: *pages, sequences: &sequences, heads, scale, window: None };
        attention.run(sized(mixed, rows * heads * dim), query, cache);
        activations.prepare(mixed, heads * dim, &[&layer.output]);
        multiply_add(x_nw, &layer.output, activations);
        norm(&layer.mlp_norm).forward(&mut normed_nw[..], moments_n, Input::Rows(x_nw));
        activations.prepare(normed_nw, width, &[&layer.gate, &layer.up]);
        multiply_swiglu(sized(inner, rows * feed_forward), &layer.gate, &layer.up, activations);
        activations.prepare(inner, feed_forward, &[&layer.down]);
        multiply_add(x_nw, &layer.down, activations);
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
        let norm =
            Norm { kind: Kind::RootMeanSquare, weight_w: &weights.norm, bias_w: None, epsilon: sizes.norm_epsilon };
        let normed = sized(normed_nw, count * width);
        norm.forward(&mut normed[..], sized(moments_n, count), Input::Rows(wanted_nw));
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

fn sized<T: Clone + Default>(buffer: &mut Vec<T>, count: usize) -> &mut [T] {
    buffer.resize(count, T::default());
    buffer
}
