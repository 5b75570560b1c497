//! The transformer of the model's description (the block of Llama), with a cache of keys and values.
//!
//! | letter | meaning |
//! |---|---|
//! | `t` | tokens of this call |
//! | `w` | width of the residual stream |
//! | `h` | heads |
//! | `d` | dimensions of a head |
//! | `p` | positions in the cache |
//!
//! Each element is computed in an order of its own that does not depend on how many tokens come at
//! once, so a prompt in one piece, in several, and token by token gives the same bits.

use crate::description::TransformerShape;
use crate::error::InferError;
use crate::weights::{Matrix, Shelf};

/// A prompt goes through the layers in pieces of at most this many tokens.
pub(crate) const PIECE_TOKENS: usize = 64;

/// A transformer's weights.
#[derive(Debug)]
pub(crate) struct Transformer {
    shape: TransformerShape,
    embedding: Matrix,
    blocks: Vec<Block>,
    norm: Vec<f32>,
    /// The frequency of each pair of dimensions of a head.
    frequencies: Vec<f64>,
}

#[derive(Debug)]
struct Block {
    attention_norm: Vec<f32>,
    query: Matrix,
    key: Matrix,
    value: Matrix,
    output: Matrix,
    mlp_norm: Vec<f32>,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
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
        let empty = || vec![0.0; shape.width * capacity];
        Self { layers: (0..shape.layers).map(|_| (empty(), empty())).collect(), length: 0, capacity }
    }
}

impl Transformer {
    /// Takes a transformer's tensors off the shelf.
    pub fn new(shape: TransformerShape, prefix: &str, shelf: &mut Shelf<'_>) -> Result<Self, InferError> {
        let (width, inner) = (shape.width, shape.feed_forward);
        let embedding = shelf.matrix(&format!("{prefix}model.embed_tokens.weight"), shape.vocabulary, width)?;
        let mut blocks = Vec::new();
        for layer in 0..shape.layers {
            let name = |part: &str| format!("{prefix}model.layers.{layer}.{part}.weight");
            blocks.push(Block {
                attention_norm: shelf.vector(&name("input_layernorm"), width)?,
                query: shelf.matrix(&name("self_attn.q_proj"), width, width)?,
                key: shelf.matrix(&name("self_attn.k_proj"), width, width)?,
                value: shelf.matrix(&name("self_attn.v_proj"), width, width)?,
                output: shelf.matrix(&name("self_attn.o_proj"), width, width)?,
                mlp_norm: shelf.vector(&name("post_attention_layernorm"), width)?,
                gate: shelf.matrix(&name("mlp.gate_proj"), inner, width)?,
                up: shelf.matrix(&name("mlp.up_proj"), inner, width)?,
                down: shelf.matrix(&name("mlp.down_proj"), width, inner)?,
            });
        }
        let norm = shelf.vector(&format!("{prefix}model.norm.weight"), width)?;
        let head = width / shape.heads;
        let frequency = |pair: usize| f64::from(shape.rope_theta).powf(-((2 * pair) as f64) / head as f64);
        let frequencies = (0..head / 2).map(frequency).collect();
        Ok(Self { shape, embedding, blocks, norm, frequencies })
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
        self.embedding.multiply(&mut logits, states);
        logits
    }

    fn forward_piece(&self, tokens: &[u32], cache: &mut Cache) -> Vec<f32> {
        let width = self.shape.width;
        assert!(cache.length + tokens.len() <= cache.capacity, "more tokens than the cache has room for");
        let mut residual_tw = vec![0.0; tokens.len() * width];
        for (token, row) in tokens.iter().zip(residual_tw.chunks_exact_mut(width)) {
            self.embedding.add_rows(row, &[(*token, 1.0)]);
        }
        let angles = self.angles(cache.length, tokens.len());
        let mut normed_tw = vec![0.0; residual_tw.len()];
        for (layer, block) in self.blocks.iter().enumerate() {
            self.norm(&mut normed_tw, &residual_tw, &block.attention_norm);
            let attended_tw = self.attention(block, &normed_tw, &angles, &mut cache.layers[layer], cache.length);
            add(&mut residual_tw, &attended_tw);
            self.norm(&mut normed_tw, &residual_tw, &block.mlp_norm);
            add(&mut residual_tw, &self.mlp(block, &normed_tw));
        }
        cache.length += tokens.len();
        self.norm(&mut normed_tw, &residual_tw, &self.norm);
        normed_tw
    }

    fn norm(&self, normed_tw: &mut [f32], residual_tw: &[f32], weight: &[f32]) {
        let width = self.shape.width;
        for (normed, row) in normed_tw.chunks_exact_mut(width).zip(residual_tw.chunks_exact(width)) {
            kernels::rms_norm(normed, row, weight, self.shape.norm_epsilon);
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
        let (width, dim) = (self.shape.width, self.shape.width / self.shape.heads);
        let (mut query_tw, mut key_tw, mut value_tw) =
            (vec![0.0; normed_tw.len()], vec![0.0; normed_tw.len()], vec![0.0; normed_tw.len()]);
        block.query.multiply(&mut query_tw, normed_tw);
        block.key.multiply(&mut key_tw, normed_tw);
        block.value.multiply(&mut value_tw, normed_tw);
        let tokens = normed_tw.len() / width;
        let capacity = keys_hpd.len() / width;
        for token in 0..tokens {
            let angle = token * dim / 2..(token + 1) * dim / 2;
            for head in 0..self.shape.heads {
                let at = token * width + head * dim;
                kernels::rotary(&mut query_tw[at..at + dim], &cosines[angle.clone()], &sines[angle.clone()]);
                kernels::rotary(&mut key_tw[at..at + dim], &cosines[angle.clone()], &sines[angle.clone()]);
                let place = (head * capacity + before + token) * dim;
                keys_hpd[place..place + dim].copy_from_slice(&key_tw[at..at + dim]);
                values_hpd[place..place + dim].copy_from_slice(&value_tw[at..at + dim]);
            }
        }
        let mut attended_tw = vec![0.0; normed_tw.len()];
        let mut scores = Vec::new();
        for token in 0..tokens {
            let visible = before + if self.shape.causal { token + 1 } else { tokens };
            for head in 0..self.shape.heads {
                let at = token * width + head * dim;
                let seen = head * capacity * dim..(head * capacity + visible) * dim;
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
        let (mut gate, mut up) = (vec![0.0; size], vec![0.0; size]);
        block.gate.multiply(&mut gate, normed_tw);
        block.up.multiply(&mut up, normed_tw);
        kernels::swiglu(&mut gate, &up);
        let mut output_tw = vec![0.0; normed_tw.len()];
        block.down.multiply(&mut output_tw, &gate);
        output_tw
    }
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
