//! The models once more, in double precision and straight from the formulas of
//! `infer::description`: no caches, no tiles, no tables.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_range_loop,
    clippy::needless_pass_by_value,
    clippy::zombie_processes,
    reason = "tests"
)]

use infer::PredictDescription;
use infer::description::{Encoding, TransformerShape};
use infer::preprocess::Features;

use super::Tensors;

type Vector = Vec<f64>;

fn tensor(tensors: &Tensors, name: &str) -> Vector {
    tensors[name].as_f32().unwrap().iter().map(|value| f64::from(*value)).collect()
}

/// `w · x` for a matrix of the shape `[out, in]`.
fn times(w: &[f64], x: &[f64]) -> Vector {
    w.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
}

fn norm(x: &[f64], weight: &[f64], epsilon: f64) -> Vector {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    x.iter().zip(weight).map(|(x, weight)| x / (mean + epsilon).sqrt() * weight).collect()
}

/// Turns each pair `(i, i + d/2)` of a head by `position · theta^(−2i/d)`.
fn rotate(head: &[f64], position: usize, theta: f64) -> Vector {
    let half = head.len() / 2;
    let mut turned = head.to_vec();
    for i in 0..half {
        let angle = position as f64 * theta.powf(-2.0 * i as f64 / head.len() as f64);
        turned[i] = head[i] * angle.cos() - head[i + half] * angle.sin();
        turned[i + half] = head[i + half] * angle.cos() + head[i] * angle.sin();
    }
    turned
}

fn softmax(x: &[f64]) -> Vector {
    let largest = x.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
    let total: f64 = x.iter().map(|x| (x - largest).exp()).sum();
    x.iter().map(|x| (x - largest).exp() / total).collect()
}

/// The final norm's output for every token.
pub fn states(shape: &TransformerShape, tensors: &Tensors, prefix: &str, tokens: &[u32]) -> Vec<Vector> {
    let get = |name: &str| tensor(tensors, &format!("{prefix}{name}.weight"));
    let embedding = get("model.embed_tokens");
    let row = |token: &u32| embedding[*token as usize * shape.width..][..shape.width].to_vec();
    let mut residual: Vec<Vector> = tokens.iter().map(row).collect();
    let epsilon = f64::from(shape.norm_epsilon);
    for layer in 0..shape.layers {
        let get = |name: &str| get(&format!("model.layers.{layer}.{name}"));
        let normed: Vec<Vector> = residual.iter().map(|x| norm(x, &get("input_layernorm"), epsilon)).collect();
        let project = |name: &str| -> Vec<Vector> {
            let w = get(&format!("self_attn.{name}_proj"));
            normed.iter().map(|x| times(&w, x)).collect()
        };
        let attended = attention(shape, &project("q"), &project("k"), &project("v"));
        let (output, gate, up, down) =
            (get("self_attn.o_proj"), get("mlp.gate_proj"), get("mlp.up_proj"), get("mlp.down_proj"));
        for (x, attended) in residual.iter_mut().zip(attended) {
            x.iter_mut().zip(times(&output, &attended)).for_each(|(x, update)| *x += update);
            let normed = norm(x, &get("post_attention_layernorm"), epsilon);
            let silu = times(&gate, &normed).into_iter().map(|gate| gate / (1.0 + (-gate).exp()));
            let inner: Vector = silu.zip(times(&up, &normed)).map(|(gate, up)| gate * up).collect();
            x.iter_mut().zip(times(&down, &inner)).for_each(|(x, update)| *x += update);
        }
    }
    residual.iter().map(|x| norm(x, &get("model.norm"), epsilon)).collect()
}

fn attention(shape: &TransformerShape, queries: &[Vector], keys: &[Vector], values: &[Vector]) -> Vec<Vector> {
    let dim = shape.width / shape.heads;
    let theta = f64::from(shape.rope_theta);
    let mut attended = vec![vec![0.0; shape.width]; queries.len()];
    for head in 0..shape.heads {
        let part = head * dim..(head + 1) * dim;
        for (position, query) in queries.iter().enumerate() {
            let query = rotate(&query[part.clone()], position, theta);
            let visible = if shape.causal { position + 1 } else { keys.len() };
            let scores: Vector = (0..visible)
                .map(|other| {
                    let key = rotate(&keys[other][part.clone()], other, theta);
                    query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>() / (dim as f64).sqrt()
                })
                .collect();
            for (share, value) in softmax(&scores).iter().zip(values) {
                let sums = attended[position][part.clone()].iter_mut();
                sums.zip(&value[part.clone()]).for_each(|(sum, value)| *sum += share * value);
            }
        }
    }
    attended
}

/// The logits of the next token after each token; the head is the embedding.
pub fn language_logits(shape: &TransformerShape, tensors: &Tensors, tokens: &[u32]) -> Vec<Vector> {
    let head = tensor(tensors, "model.embed_tokens.weight");
    states(shape, tensors, "", tokens).iter().map(|state| times(&head, state)).collect()
}

/// The last layer's values of a `predict` model.
pub fn predict_logits(description: &PredictDescription, tensors: &Tensors, features: &Features) -> Vector {
    let widths = description.widths();
    let mut hidden = tensor(tensors, "layer.0.bias");
    let mut add = |row: &[f64], value: f64| hidden.iter_mut().zip(row).for_each(|(h, w)| *h += value * w);
    let table = tensor(tensors, "features.weight");
    for (index, value) in &features.sparse {
        add(&table[*index as usize * widths[0]..][..widths[0]], f64::from(*value));
    }
    let mut lists = features.tokens.iter();
    for input in &description.columns.inputs {
        if let Encoding::Transformer { shape, .. } = &input.encoding {
            let tokens = lists.next().unwrap();
            let states = states(shape, tensors, &format!("input.{}.", input.name), tokens);
            let projection = tensor(tensors, &format!("input.{}.projection", input.name));
            for (i, row) in projection.chunks(widths[0]).enumerate() {
                add(row, states.iter().map(|state| state[i]).sum::<f64>() / states.len() as f64);
            }
        }
    }
    for layer in 1..widths.len() {
        let weight = tensor(tensors, &format!("layer.{layer}.weight"));
        let mut next = tensor(tensors, &format!("layer.{layer}.bias"));
        for (h, row) in hidden.iter().zip(weight.chunks(widths[layer])) {
            next.iter_mut().zip(row).for_each(|(sum, w)| *sum += h.max(0.0) * w);
        }
        hidden = next;
    }
    hidden
}
