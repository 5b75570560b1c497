//! The transformer of the model's description, with a cache of keys and values.
//!
//! | letter | meaning |
//! |---|---|
//! | `t` | tokens of this call |
//! | `w` | width of the residual stream |
//! | `k` | width of all key heads |
//! | `h` | key heads |
//! | `d` | dimensions of a head |
//! | `p` | positions in the cache |
//!
//! Each element is computed in an order of its own that does not depend on how many tokens come at
//! once, so a prompt in one piece, in several, and token by token gives the same bits.

use kernels::norm::{Input, Kind, Moments};
use kernels::pointwise::Pointwise;

use crate::description::{Mlp, Norm as NormKind, NormPlace, TransformerShape};
use crate::error::InferError;
use crate::weights::{Matrix, Shelf};

/// A prompt goes through the layers in pieces of at most this many tokens.
pub(crate) const PIECE_TOKENS: usize = 64;

/// A transformer's weights.
#[derive(Debug)]
pub(crate) struct Transformer {
    shape: TransformerShape,
    embedding: Matrix,
    /// Learned positions, `[positions, w]`.
    positions: Option<Matrix>,
    /// Behind the embedding, where norms stand behind.
    embedding_norm: Option<Norm>,
    blocks: Vec<Block>,
    /// At the end, where norms stand before.
    norm: Option<Norm>,
    /// A head of its own.
    head: Option<Matrix>,
    /// The frequency of each pair of dimensions of a head; none with learned positions.
    frequencies: Vec<f64>,
}

#[derive(Debug)]
struct Block {
    /// Before or behind attention, and before or behind the MLP.
    norms: [Norm; 2],
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
}

#[derive(Debug)]
struct Norm {
    weight: Vec<f32>,
    /// Of LayerNorm.
    bias: Option<Vec<f32>>,
}

#[derive(Debug)]
struct Linear {
    weight: Matrix,
    bias: Option<Vec<f32>>,
}

impl Linear {
    fn take(
        shape: &TransformerShape,
        name: &str,
        out: usize,
        into: usize,
        shelf: &mut Shelf<'_>,
    ) -> Result<Self, InferError> {
        let weight = shelf.matrix(&format!("{name}.weight"), out, into)?;
        let bias = if shape.biases { Some(shelf.vector(&format!("{name}.bias"), out)?) } else { None };
        Ok(Self { weight, bias })
    }

    /// `y = x·Wᵀ + b` for rows of `x`.
    fn multiply(&self, y: &mut [f32], x: &[f32]) {
        self.weight.multiply(y, x);
        if let Some(bias) = &self.bias {
            for row in y.chunks_exact_mut(bias.len()) {
                kernels::axpy(row, 1.0, bias);
            }
        }
    }
}

/// Keys and values of the tokens that were seen, each layer as `[h, p, d]`.
#[derive(Debug)]
pub(crate) struct Cache {
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    length: usize,
    capacity: usize,
}

impl Cache {
    /// An empty cache with room for `capacity` tokens.
    pub fn new(shape: &TransformerShape, capacity: usize) -> Self {
        let empty = || vec![0.0; shape.kv_width() * capacity];
        Self { layers: (0..shape.layers).map(|_| (empty(), empty())).collect(), length: 0, capacity }
    }
}

impl Transformer {
    /// Takes a transformer's tensors off the shelf.
    pub fn new(shape: TransformerShape, prefix: &str, shelf: &mut Shelf<'_>) -> Result<Self, InferError> {
        let (width, kv, inner) = (shape.width, shape.kv_width(), shape.feed_forward);
        let edge = |part: &str| format!("{prefix}model.{part}");
        let before = shape.norm_place == NormPlace::Before;
        let embedding = shelf.matrix(&edge("embed_tokens.weight"), shape.vocabulary, width)?;
        let positions = match shape.learned_positions {
            0 => None,
            count => Some(shelf.matrix(&edge("embed_positions.weight"), count, width)?),
        };
        let embedding_norm = if before { None } else { Some(take_norm(&shape, &edge("embed_norm"), shelf)?) };
        let mut blocks = Vec::new();
        for layer in 0..shape.layers {
            let name = |part: &str| format!("{prefix}model.layers.{layer}.{part}");
            let norms = if before {
                ["input_layernorm", "post_attention_layernorm"]
            } else {
                ["post_attention_layernorm", "output_layernorm"]
            };
            let mut linear = |part: &str, out, into| Linear::take(&shape, &name(part), out, into, shelf);
            let (query, key) = (linear("self_attn.q_proj", width, width)?, linear("self_attn.k_proj", kv, width)?);
            let (value, output) = (linear("self_attn.v_proj", kv, width)?, linear("self_attn.o_proj", width, width)?);
            let gate = if shape.mlp == Mlp::SwiGlu { Some(linear("mlp.gate_proj", inner, width)?) } else { None };
            let (up, down) = (linear("mlp.up_proj", inner, width)?, linear("mlp.down_proj", width, inner)?);
            let norms = [take_norm(&shape, &name(norms[0]), shelf)?, take_norm(&shape, &name(norms[1]), shelf)?];
            blocks.push(Block { norms, query, key, value, output, gate, up, down });
        }
        let norm = if before { Some(take_norm(&shape, &edge("norm"), shelf)?) } else { None };
        let head = if shape.untied_head {
            Some(shelf.matrix(&format!("{prefix}lm_head.weight"), shape.vocabulary, width)?)
        } else {
            None
        };
        let dim = shape.head_width();
        let frequency = |pair: usize| f64::from(shape.rope_theta).powf(-((2 * pair) as f64) / dim as f64);
        let pairs = if shape.learned_positions > 0 { 0 } else { dim / 2 };
        let frequencies = (0..pairs).map(frequency).collect();
        Ok(Self { embedding, positions, embedding_norm, blocks, norm, head, frequencies, shape })
    }

    /// Its shape.
    pub fn shape(&self) -> &TransformerShape {
        &self.shape
    }

    /// Whether every token is one of the vocabulary: a damaged tokenizer may number them otherwise.
    pub fn check(&self, tokens: &[u32]) -> Result<(), InferError> {
        match tokens.iter().find(|token| **token as usize >= self.shape.vocabulary) {
            None => Ok(()),
            Some(token) => {
                let what = format!("it gives token {token}, and the model has {}", self.shape.vocabulary);
                Err(InferError::Tokenizer { verb: "use", what })
            }
        }
    }

    /// The mean of the final norm's outputs over all tokens: the vector of a text. Zeros for no token.
    pub fn pool(&self, tokens: &[u32]) -> Vec<f32> {
        let mut cache = Cache::new(&self.shape, tokens.len());
        let states = self.forward(tokens, &mut cache);
        let mut mean = vec![0.0; self.shape.width];
        for state in states.chunks_exact(self.shape.width) {
            kernels::axpy(&mut mean, 1.0, state);
        }
        let count = tokens.len().max(1) as f32;
        mean.iter_mut().for_each(|value| *value /= count);
        mean
    }

    /// The final norm's outputs `[t, w]` for tokens that follow those in the cache.
    pub fn forward(&self, tokens: &[u32], cache: &mut Cache) -> Vec<f32> {
        if !self.shape.causal || tokens.len() <= PIECE_TOKENS {
            return self.forward_piece(tokens, cache);
        }
        tokens.chunks(PIECE_TOKENS).flat_map(|piece| self.forward_piece(piece, cache)).collect()
    }

    /// Logits `[t, vocabulary]` of the tokens that follow, from the final norm's outputs `[t, w]`.
    pub fn head(&self, states: &[f32]) -> Vec<f32> {
        let mut logits = vec![0.0; states.len() / self.shape.width * self.shape.vocabulary];
        self.head.as_ref().unwrap_or(&self.embedding).multiply(&mut logits, states);
        logits
    }

    fn forward_piece(&self, tokens: &[u32], cache: &mut Cache) -> Vec<f32> {
        let width = self.shape.width;
        assert!(cache.length + tokens.len() <= cache.capacity, "more tokens than the cache has room for");
        let mut residual_tw = vec![0.0; tokens.len() * width];
        for (token, row) in tokens.iter().zip(residual_tw.chunks_exact_mut(width)) {
            self.embedding.add_rows(row, &[(*token, 1.0)]);
        }
        if let Some(positions) = &self.positions {
            for (place, row) in (cache.length..).zip(residual_tw.chunks_exact_mut(width)) {
                positions.add_rows(row, &[(place as u32, 1.0)]);
            }
        }
        let angles = self.angles(cache.length, tokens.len());
        let mut normed_tw = vec![0.0; residual_tw.len()];
        if let Some(norm) = &self.embedding_norm {
            self.norm(&mut normed_tw, &residual_tw, norm);
            std::mem::swap(&mut normed_tw, &mut residual_tw);
        }
        for (layer, block) in self.blocks.iter().enumerate() {
            let cached = &mut cache.layers[layer];
            if self.norm.is_some() {
                self.norm(&mut normed_tw, &residual_tw, &block.norms[0]);
                add(&mut residual_tw, &self.attention(block, &normed_tw, &angles, cached, cache.length));
                self.norm(&mut normed_tw, &residual_tw, &block.norms[1]);
                add(&mut residual_tw, &self.mlp(block, &normed_tw));
            } else {
                let attended_tw = self.attention(block, &residual_tw, &angles, cached, cache.length);
                add(&mut residual_tw, &attended_tw);
                self.norm(&mut normed_tw, &residual_tw, &block.norms[0]);
                let mlp_tw = self.mlp(block, &normed_tw);
                add(&mut normed_tw, &mlp_tw);
                self.norm(&mut residual_tw, &normed_tw, &block.norms[1]);
            }
        }
        cache.length += tokens.len();
        let Some(norm) = &self.norm else { return residual_tw };
        self.norm(&mut normed_tw, &residual_tw, norm);
        normed_tw
    }

    fn norm(&self, normed_tw: &mut [f32], rows_tw: &[f32], norm: &Norm) {
        let width = self.shape.width;
        match &norm.bias {
            None => {
                for (normed, row) in normed_tw.chunks_exact_mut(width).zip(rows_tw.chunks_exact(width)) {
                    kernels::rms_norm(normed, row, &norm.weight, self.shape.norm_epsilon);
                }
            }
            Some(bias) => {
                let layer = kernels::norm::Norm {
                    kind: Kind::Layer,
                    weight_w: &norm.weight,
                    bias_w: Some(bias),
                    epsilon: self.shape.norm_epsilon,
                };
                let mut moments = vec![Moments::default(); rows_tw.len() / width];
                layer.forward(normed_tw, &mut moments, Input::Rows(rows_tw));
            }
        }
    }

    /// Cosines and sines of each token's position, `[t, d/2]` each.
    fn angles(&self, from: usize, count: usize) -> (Vec<f32>, Vec<f32>) {
        let mut cosines = Vec::with_capacity(count * self.frequencies.len());
        let mut sines = Vec::with_capacity(cosines.capacity());
        for position in from..from + count {
            for frequency in &self.frequencies {
                let (sine, cosine) = (position as f64 * frequency).sin_cos();
                cosines.push(cosine as f32);
                sines.push(sine as f32);
            }
        }
        (cosines, sines)
    }

    fn attention(
        &self,
        block: &Block,
        normed_tw: &[f32],
        (cosines, sines): &(Vec<f32>, Vec<f32>),
        (keys_hpd, values_hpd): &mut (Vec<f32>, Vec<f32>),
        before: usize,
    ) -> Vec<f32> {
        let (width, kv, dim) = (self.shape.width, self.shape.kv_width(), self.shape.head_width());
        let tokens = normed_tw.len() / width;
        let (mut query_tw, mut key_tk, mut value_tk) =
            (vec![0.0; tokens * width], vec![0.0; tokens * kv], vec![0.0; tokens * kv]);
        block.query.multiply(&mut query_tw, normed_tw);
        block.key.multiply(&mut key_tk, normed_tw);
        block.value.multiply(&mut value_tk, normed_tw);
        let capacity = keys_hpd.len() / kv;
        for token in 0..tokens {
            let angle = token * dim / 2..(token + 1) * dim / 2;
            let turn = |row: &mut [f32]| {
                // Learned positions turn nothing.
                if !self.frequencies.is_empty() {
                    kernels::rotary(row, &cosines[angle.clone()], &sines[angle.clone()]);
                }
            };
            query_tw[token * width..(token + 1) * width].chunks_exact_mut(dim).for_each(&turn);
            for head in 0..self.shape.kv_heads() {
                let at = token * kv + head * dim;
                turn(&mut key_tk[at..at + dim]);
                let place = (head * capacity + before + token) * dim;
                keys_hpd[place..place + dim].copy_from_slice(&key_tk[at..at + dim]);
                values_hpd[place..place + dim].copy_from_slice(&value_tk[at..at + dim]);
            }
        }
        let mut attended_tw = vec![0.0; normed_tw.len()];
        let mut scores = Vec::new();
        let group = self.shape.heads / self.shape.kv_heads();
        for token in 0..tokens {
            let visible = before + if self.shape.causal { token + 1 } else { tokens };
            for head in 0..self.shape.heads {
                let at = token * width + head * dim;
                let shared = head / group;
                let seen = shared * capacity * dim..(shared * capacity + visible) * dim;
                attend(
                    &mut attended_tw[at..at + dim],
                    &query_tw[at..at + dim],
                    &keys_hpd[seen.clone()],
                    &values_hpd[seen],
                    &mut scores,
                );
            }
        }
        let mut output_tw = vec![0.0; normed_tw.len()];
        block.output.multiply(&mut output_tw, &attended_tw);
        output_tw
    }

    fn mlp(&self, block: &Block, normed_tw: &[f32]) -> Vec<f32> {
        let size = normed_tw.len() / self.shape.width * self.shape.feed_forward;
        let mut up = vec![0.0; size];
        block.up.multiply(&mut up, normed_tw);
        if let Some(linear) = &block.gate {
            let mut gate = vec![0.0; size];
            linear.multiply(&mut gate, normed_tw);
            kernels::swiglu(&mut gate, &up);
            up = gate;
        } else if self.shape.mlp == Mlp::Relu {
            kernels::relu(&mut up);
        } else {
            let pre = up.clone();
            Pointwise::Gelu.forward(&mut up, &pre);
        }
        let mut output_tw = vec![0.0; normed_tw.len()];
        block.down.multiply(&mut output_tw, &up);
        output_tw
    }
}

fn take_norm(shape: &TransformerShape, name: &str, shelf: &mut Shelf<'_>) -> Result<Norm, InferError> {
    let weight = shelf.vector(&format!("{name}.weight"), shape.width)?;
    let layer = shape.norm == NormKind::LayerNorm;
    let bias = if layer { Some(shelf.vector(&format!("{name}.bias"), shape.width)?) } else { None };
    Ok(Norm { weight, bias })
}

/// `softmax(query · keysᵀ / √d) · values` for one query and one head; keys and values are `[p, d]`.
fn attend(attended_d: &mut [f32], query_d: &[f32], keys_pd: &[f32], values_pd: &[f32], pairs: &mut Vec<(u32, f32)>) {
    let dim = query_d.len();
    let mut scores_p = vec![0.0; keys_pd.len() / dim];
    kernels::linear(&mut scores_p, keys_pd, query_d, None, dim);
    let scale = 1.0 / (dim as f32).sqrt();
    scores_p.iter_mut().for_each(|score| *score *= scale);
    kernels::softmax(&mut scores_p);
    pairs.clear();
    pairs.extend((0..).zip(scores_p));
    kernels::add_rows(attended_d, values_pd, pairs);
}

fn add(residual_tw: &mut [f32], update_tw: &[f32]) {
    kernels::axpy(residual_tw, 1.0, update_tw);
}
