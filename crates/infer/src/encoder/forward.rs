//! The network of an encoder: embeddings, and layers whose norms stand behind attention and behind the MLP (Devlin et al.
//! 2019).
//!
//! | letter | meaning |
//! |---|---|
//! | `n` | rows: tokens of some sequences |
//! | `w` | width |
//! | `f` | elements between the MLP's two products |
//!
//! Rows meet each other in attention alone, so sequences are put into groups that one thread takes through all layers:
//! what a group has on its way stays in its core's cache, and threads wait for each other once. Where there are fewer
//! groups than threads, the kernels themselves are shared among the threads. A row has the same bits either way.

use std::ops::Range;

use kernels::attention::Attention;
use kernels::bf16::Bf16;
use kernels::gemm::{Activation, Compute, Epilogue, Matrix, MatrixMut, PackedColumns, gemm_packed};
use kernels::norm::{Input, Kind, Moments, Norm};

use super::pooling::Pooling;
use crate::engine::load::shelf::Shelf;
use crate::error::InferError;

/// Rows of a group, as long as sequences are shorter.
const GROUP_ROWS: usize = 256;

/// Sizes of an encoder, and its formulas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sizes {
    pub(super) vocabulary: usize,
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) feed_forward: usize,
    pub(super) layers: usize,
    /// Rows of the table of positions, and the one of the first token.
    pub(super) positions: usize,
    pub(super) first_position: usize,
    /// Kinds of tokens; all of ours are of the first.
    pub(super) kinds: usize,
    pub(super) activation: Activation,
    pub(super) epsilon: f32,
}

#[derive(Debug)]
struct Linear {
    weight: PackedColumns,
    bias: Vec<f32>,
}

#[derive(Debug)]
struct NormWeights {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

#[derive(Debug)]
struct Layer {
    /// `[3w, w]`.
    joint: Linear,
    output: Linear,
    attention_norm: NormWeights,
    up: Linear,
    down: Linear,
    mlp_norm: NormWeights,
}

/// An encoder's weights.
#[derive(Debug)]
pub(super) struct Network {
    sizes: Sizes,
    /// `[vocabulary, w]`.
    words: Vec<f32>,
    /// `[positions, w]`, with the row of the first kind added to each.
    places: Vec<f32>,
    norm: NormWeights,
    layers: Vec<Layer>,
}

/// Rows on their way.
#[derive(Debug, Default)]
struct Buffers {
    x_nw: Vec<f32>,
    sum_nw: Vec<f32>,
    joint_n3w: Vec<Bf16>,
    mixed_nw: Vec<Bf16>,
    inner_nf: Vec<Bf16>,
    moments_n: Vec<Moments>,
    log_sums: Vec<f32>,
}

impl Network {
    /// Takes an encoder's tensors off the shelf.
    pub(super) fn new(sizes: Sizes, shelf: Shelf<'_>) -> Result<Self, InferError> {
        let Sizes { vocabulary, width, feed_forward, layers, positions, kinds, .. } = sizes;
        let mut shelf = shelf;
        let words = shelf.floats("embeddings.word_embeddings.weight", &[vocabulary, width])?;
        let mut places = shelf.floats("embeddings.position_embeddings.weight", &[positions, width])?;
        let kind = shelf.floats("embeddings.token_type_embeddings.weight", &[kinds, width])?;
        places.chunks_exact_mut(width).for_each(|row| kernels::axpy(row, 1.0, &kind[..width]));
        let norm = norm(&mut shelf, "embeddings.LayerNorm", width)?;
        let mut all = Vec::new();
        for layer in 0..layers {
            let name = |part: &str| format!("encoder.layer.{layer}.{part}");
            let (mut weight, mut bias) = (Vec::new(), Vec::new());
            for part in ["query", "key", "value"] {
                let name = name(&format!("attention.self.{part}"));
                weight.extend(shelf.floats(&format!("{name}.weight"), &[width, width])?);
                bias.extend(shelf.floats(&format!("{name}.bias"), &[width])?);
            }
            let mut linear = |part: &str, out: usize, into: usize| -> Result<Linear, InferError> {
                let weight = shelf.floats(&format!("{}.weight", name(part)), &[out, into])?;
                Ok(packed(&weight, shelf.floats(&format!("{}.bias", name(part)), &[out])?, into))
            };
            all.push(Layer {
                joint: packed(&weight, bias, width),
                output: linear("attention.output.dense", width, width)?,
                up: linear("intermediate.dense", feed_forward, width)?,
                down: linear("output.dense", width, feed_forward)?,
                attention_norm: self::norm(&mut shelf, &name("attention.output.LayerNorm"), width)?,
                mlp_norm: self::norm(&mut shelf, &name("output.LayerNorm"), width)?,
            });
        }
        shelf.finish(&["pooler.dense.weight", "pooler.dense.bias"])?;
        Ok(Self { sizes, words, places, norm, layers: all })
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The vectors of sequences.
    pub(super) fn run(&self, sequences: &[&[u32]], pooling: Pooling) -> Vec<Vec<f32>> {
        let groups = groups(sequences);
        let mut found: Vec<Vec<Vec<f32>>> = vec![Vec::new(); groups.len()];
        if groups.len() < kernels::parallel::threads() {
            for (group, found) in groups.iter().zip(&mut found) {
                *found = self.group(&sequences[group.clone()], pooling);
            }
        } else {
            kernels::parallel::chunks(&mut found, 1, |index, found| {
                found[0] = self.group(&sequences[groups[index].clone()], pooling);
            });
        }
        found.concat()
    }

    /// The vectors of a few sequences.
    fn group(&self, sequences: &[&[u32]], pooling: Pooling) -> Vec<Vec<f32>> {
        let width = self.sizes.width;
        let mut ranges = Vec::with_capacity(sequences.len());
        let mut rows = 0;
        for tokens in sequences {
            ranges.push(rows..rows + tokens.len());
            rows += tokens.len();
        }
        let mut buffers = Buffers::default();
        self.begin(sequences, &mut buffers);
        for layer in &self.layers {
            self.layer(layer, &ranges, &mut buffers);
        }
        ranges
            .into_iter()
            .map(|rows| pooling.vector(&buffers.x_nw[rows.start * width..rows.end * width], width))
            .collect()
    }

    /// Words and places, and their norm.
    fn begin(&self, sequences: &[&[u32]], buffers: &mut Buffers) {
        let Sizes { width, first_position, .. } = self.sizes;
        let Buffers { x_nw, sum_nw, moments_n, .. } = buffers;
        for tokens in sequences {
            for (token, place) in tokens.iter().zip(first_position..) {
                let begin = sum_nw.len();
                sum_nw.extend_from_slice(&self.words[*token as usize * width..][..width]);
                kernels::axpy(&mut sum_nw[begin..], 1.0, &self.places[place * width..][..width]);
            }
        }
        x_nw.resize(sum_nw.len(), 0.0);
        moments_n.resize(sum_nw.len() / width, Moments::default());
        self.normalise(x_nw, sum_nw, moments_n, &self.norm);
    }

    fn layer(&self, layer: &Layer, ranges: &[Range<usize>], buffers: &mut Buffers) {
        let Sizes { width, heads, feed_forward, activation, .. } = self.sizes;
        let Buffers { x_nw, sum_nw, joint_n3w, mixed_nw, inner_nf, moments_n, log_sums } = buffers;
        let (rows, dim) = (moments_n.len(), width / heads);
        joint_n3w.resize(rows * 3 * width, Bf16::default());
        mixed_nw.resize(rows * width, Bf16::default());
        inner_nf.resize(rows * feed_forward, Bf16::default());
        log_sums.resize(rows * heads, 0.0);
        gemm_packed(
            MatrixMut::new(&mut joint_n3w[..], rows, 3 * width),
            Matrix::new(&x_nw[..], rows, width),
            &layer.joint.weight,
            epilogue(&layer.joint),
        );
        let scale = 1.0 / (dim as f32).sqrt();
        let (sequences, compute) = (ranges, Compute::Bf16);
        let attention = Attention { sequences, heads, kv_heads: heads, dim, causal: false, scale, compute };
        attention.forward(&mut mixed_nw[..], log_sums, &joint_n3w[..]);
        gemm_packed(
            MatrixMut::new(&mut sum_nw[..], rows, width),
            Matrix::new(&mixed_nw[..], rows, width),
            &layer.output.weight,
            Epilogue { residual: Some((&x_nw[..]).into()), ..epilogue(&layer.output) },
        );
        self.normalise(x_nw, sum_nw, moments_n, &layer.attention_norm);
        gemm_packed(
            MatrixMut::new(&mut inner_nf[..], rows, feed_forward),
            Matrix::new(&x_nw[..], rows, width),
            &layer.up.weight,
            Epilogue { activation, ..epilogue(&layer.up) },
        );
        gemm_packed(
            MatrixMut::new(&mut sum_nw[..], rows, width),
            Matrix::new(&inner_nf[..], rows, feed_forward),
            &layer.down.weight,
            Epilogue { residual: Some((&x_nw[..]).into()), ..epilogue(&layer.down) },
        );
        self.normalise(x_nw, sum_nw, moments_n, &layer.mlp_norm);
    }

    fn normalise(&self, x_nw: &mut [f32], sum_nw: &[f32], moments_n: &mut [Moments], weights: &NormWeights) {
        let (weight_w, bias_w) = (&weights.weight[..], Some(&weights.bias[..]));
        let norm = Norm { kind: Kind::Layer, weight_w, bias_w, epsilon: self.sizes.epsilon };
        norm.forward(x_nw, moments_n, Input::Rows(sum_nw));
    }
}

/// Sequences that go through the layers together.
fn groups(sequences: &[&[u32]]) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut rows = usize::MAX;
    for (index, tokens) in sequences.iter().enumerate() {
        rows = rows.saturating_add(tokens.len());
        match groups.last_mut() {
            Some(last) if rows <= GROUP_ROWS => last.end = index + 1,
            _ => {
                groups.push(index..index + 1);
                rows = tokens.len();
            }
        }
    }
    groups
}

fn epilogue(linear: &Linear) -> Epilogue<'_> {
    Epilogue { bias: Some(&linear.bias), ..Epilogue::default() }
}

/// Packs `[out, into]`, which is multiplied from the right.
fn packed(weight: &[f32], bias: Vec<f32>, into: usize) -> Linear {
    let matrix = Matrix::new(weight, bias.len(), into).transposed();
    Linear { weight: PackedColumns::new(Compute::Bf16, matrix), bias }
}

fn norm(shelf: &mut Shelf<'_>, name: &str, width: usize) -> Result<NormWeights, InferError> {
    let weight = shelf.vector(&format!("{name}.weight"), width)?;
    Ok(NormWeights { weight, bias: shelf.vector(&format!("{name}.bias"), width)? })
}
