//! The gated recurrent unit (Cho et al. 2014) as PyTorch's `GRU` has it, with the reset after the product:
//!
//! ```text
//! r = σ(W_ir x + b_ir + W_hr h + b_hr)      n = tanh(W_in x + b_in + r·(W_hn h + b_hn))
//! z = σ(W_iz x + b_iz + W_hz h + b_hz)      h' = (1 − z)·n + z·h
//! ```
//!
//! with the gates in the order `r z n`.

use super::product::Product;
use super::{Gradients, Inputs, Recurrent, Steps, gates, last_state, resized};
use crate::gemm::Matrix;

const GATES: usize = 3;

/// What [`forward`] leaves for [`backward`]. It may be used again, which saves memory that is new each time.
#[derive(Debug, Default, Clone)]
pub struct Tape {
    /// `[time, batch, gate units]`.
    gates_tbg: Vec<f32>,
    /// `W_hn h + b_hn`, `[time, batch, hidden]`.
    hidden_tbh: Vec<f32>,
}

/// Makes the outputs `y_tbh` (`[time, batch, hidden]`, the `h` of each step) and the state after the last step,
/// `last_bh` (`[batch, hidden]`).
///
/// # Panics
/// When the slices do not fit the shape, or there are no hidden units.
pub fn forward(
    layer: &Recurrent<'_>,
    y_tbh: &mut [f32],
    last_bh: &mut [f32],
    tape: &mut Tape,
    inputs: &Inputs<'_, &[f32]>,
) {
    let (batch, hidden, units) = (layer.batch, layer.hidden, GATES * layer.hidden);
    layer.check(GATES, inputs, y_tbh.len(), &[last_bh.len()]);
    let gates_tbg = resized(&mut tape.gates_tbg, layer.vectors() * units);
    let hidden_tbh = resized(&mut tape.hidden_tbh, layer.vectors() * hidden);
    let weights = inputs.weights;
    layer.input_product(gates_tbg, inputs.x_tbi, weights.input_gi, weights.input_bias_g);

    let (gates, kept) = (Steps::new(gates_tbg, batch, units), Steps::new(hidden_tbh, batch, hidden));
    let outputs = Steps::new(y_tbh, batch, hidden);
    let zeros = vec![0.0; batch * hidden];
    let first = first_state(layer, inputs, &zeros);
    let w = Matrix::new(weights.hidden_gh, units, hidden).transposed();
    let product = Product::new(layer.compute, w);
    layer.each_block(|begin, count| {
        let (mut sums, mut halves) = (vec![0.0; count * units], Vec::new());
        for turn in 0..layer.time {
            let t = layer.step(turn);
            // SAFETY: each sequence has one task, and the slices of this step and of the one before differ.
            let (gates, kept, h) =
                unsafe { (gates.at(t, begin, count), kept.at(t, begin, count), outputs.at(t, begin, count)) };
            let h_before: &[f32] = match layer.before(turn) {
                // SAFETY: as above.
                Some(t) => unsafe { outputs.at(t, begin, count) },
                None => &first[begin * hidden..(begin + count) * hidden],
            };
            product.take(&mut sums, (h_before, hidden), count, Some(weights.hidden_bias_g), &mut halves);
            for b in 0..count {
                let (own, wide) = (b * hidden..(b + 1) * hidden, b * units..(b + 1) * units);
                if layer.has(t, begin + b) {
                    let (kept, h) = (&mut kept[own.clone()], &mut h[own.clone()]);
                    gates::gru_forward(&mut gates[wide.clone()], kept, h, &sums[wide], &h_before[own]);
                } else {
                    h[own.clone()].copy_from_slice(&h_before[own]);
                }
            }
        }
    });
    last_state(layer, last_bh, y_tbh, first);
}

/// The gradients, from those of the outputs `dy_tbh` (`[time, batch, hidden]`) and of the last state (0, if there
/// is none). `tape`, `inputs` and `y_tbh` are those of [`forward`]. The tape is spent: gates become gradients.
///
/// # Panics
/// When the slices do not fit the shape.
pub fn backward(
    layer: &Recurrent<'_>,
    into: Gradients<'_, &mut [f32]>,
    tape: &mut Tape,
    inputs: &Inputs<'_, &[f32]>,
    y_tbh: &[f32],
    dy_tbh: &[f32],
    dlast_bh: Option<&[f32]>,
) {
    let (batch, hidden, units) = (layer.batch, layer.hidden, GATES * layer.hidden);
    layer.check(GATES, inputs, y_tbh.len(), &[]);
    layer.check(GATES, inputs, dy_tbh.len(), &[dlast_bh.map_or(batch * hidden, <[f32]>::len)]);
    into.check(inputs);
    assert_eq!(tape.gates_tbg.len(), layer.vectors() * units, "the tape of another layer");
    let mut dh = dlast_bh.map_or_else(|| vec![0.0; batch * hidden], <[f32]>::to_vec);
    through_time(layer, tape, inputs, (y_tbh, dy_tbh), &mut dh, into.first.is_some());

    let (weights, first) = (into.weights, inputs.first);
    // The state's sums have the gradients of r and z, and their own of n.
    let both = 2 * hidden;
    let (upper, lower) = weights.hidden_gh.split_at_mut(both * hidden);
    layer.hidden_weights(upper, &tape.gates_tbg, (0, both, units), y_tbh, first);
    layer.hidden_weights(lower, &tape.hidden_tbh, (0, hidden, hidden), y_tbh, first);
    layer.weights(weights.input_gi, &tape.gates_tbg, inputs.x_tbi, units);
    layer.input_gradients(&tape.gates_tbg, inputs.weights.input_gi, weights.input_bias_g, into.x_tbi);
    weights.hidden_bias_g[..both].copy_from_slice(&weights.input_bias_g[..both]);
    crate::convolution::backward_bias(&mut weights.hidden_bias_g[both..], &tape.hidden_tbh);
    if let Some(to) = into.first {
        to.copy_from_slice(&dh);
    }
}

/// The steps of [`backward`]: makes gradients of the tape's gates, and the first state's of the last state's.
fn through_time(
    layer: &Recurrent<'_>,
    tape: &mut Tape,
    inputs: &Inputs<'_, &[f32]>,
    (y_tbh, dy_tbh): (&[f32], &[f32]),
    dh_bh: &mut [f32],
    wants_first: bool,
) {
    let (batch, hidden, units) = (layer.batch, layer.hidden, GATES * layer.hidden);
    let (gates, kept) =
        (Steps::new(&mut tape.gates_tbg, batch, units), Steps::new(&mut tape.hidden_tbh, batch, hidden));
    let all_dh = Steps::new(dh_bh, batch, hidden);
    let zeros = vec![0.0; batch * hidden];
    let first = first_state(layer, inputs, &zeros);
    let (upper, lower) = inputs.weights.hidden_gh.split_at(2 * hidden * hidden);
    // Those of r and z lie together, that of n by itself.
    let both = Product::new(layer.compute, Matrix::new(upper, 2 * hidden, hidden));
    let new = Product::new(layer.compute, Matrix::new(lower, hidden, hidden));
    layer.each_block(|begin, count| {
        let mut halves = Vec::new();
        // SAFETY: each sequence has one task.
        let dh = unsafe { all_dh.at(0, begin, count) };
        for turn in (0..layer.time).rev() {
            let t = layer.step(turn);
            // SAFETY: each sequence has one task.
            let (gates, kept) = unsafe { (gates.at(t, begin, count), kept.at(t, begin, count)) };
            for b in 0..count {
                let (own, vector) = (b * hidden..(b + 1) * hidden, begin + b);
                let at = |t: usize| (t * batch + vector) * hidden..(t * batch + vector + 1) * hidden;
                let (dh, own_gates) = (&mut dh[own.clone()], &mut gates[b * units..(b + 1) * units]);
                crate::axpy(dh, 1.0, &dy_tbh[at(t)]);
                if layer.has(t, vector) {
                    let h_before = layer.before(turn).map_or(&first[at(0)], |t| &y_tbh[at(t)]);
                    gates::gru_backward(own_gates, &mut kept[own], dh, h_before);
                } else {
                    own_gates.fill(0.0);
                    kept[own].fill(0.0);
                }
            }
            if turn > 0 || wants_first {
                both.take(dh, (gates, units), count, None, &mut halves);
                new.take(dh, (kept, hidden), count, None, &mut halves);
            }
        }
    });
}

/// The state before the first step.
fn first_state<'a>(layer: &Recurrent<'_>, inputs: &Inputs<'_, &'a [f32]>, zeros: &'a [f32]) -> &'a [f32] {
    let first = inputs.first.unwrap_or(zeros);
    assert_eq!(first.len(), layer.batch * layer.hidden, "the first state of {layer:?}");
    first
}
