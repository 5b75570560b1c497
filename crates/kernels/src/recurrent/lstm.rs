//! Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000), as
//! PyTorch's `LSTM` has it:
//!
//! ```text
//! i = σ(W_ii x + b_ii + W_hi h + b_hi)      g = tanh(W_ig x + b_ig + W_hg h + b_hg)      c' = f·c + i·g
//! f = σ(W_if x + b_if + W_hf h + b_hf)      o = σ(W_io x + b_io + W_ho h + b_ho)         h' = o·tanh(c')
//! ```
//!
//! with the gates in the order `i f g o`.

use super::product::Product;
use super::{Gradients, Inputs, Recurrent, Steps, gates, last_state, resized};
use crate::gemm::Matrix;

const GATES: usize = 4;

/// What [`forward`] leaves for [`backward`]. It may be used again, which saves memory that is new each time.
#[derive(Debug, Default, Clone)]
pub struct Tape {
    /// `[time, batch, gate units]`.
    gates_tbg: Vec<f32>,
    /// `[time, batch, hidden]`.
    cells_tbh: Vec<f32>,
    /// Input and state before, next to each other: `[time, batch, input + hidden]`.
    both_tbk: Vec<f32>,
}

/// The states `h` and `c` before the first step or after the last, `[batch, hidden]` each.
pub type States<'a> = (&'a [f32], &'a [f32]);

/// Where states or their gradients are written.
pub type StatesMut<'a> = (&'a mut [f32], &'a mut [f32]);

/// Makes the outputs `y_tbh` (`[time, batch, hidden]`, the `h` of each step) and the states after the last step.
/// Without a tape there is no way back, and less memory to write.
///
/// # Panics
/// When the slices do not fit the shape, or there are no hidden units.
pub fn forward(
    layer: &Recurrent<'_>,
    y_tbh: &mut [f32],
    (last_h, last_c): StatesMut<'_>,
    tape: Option<&mut Tape>,
    inputs: &Inputs<'_, States<'_>>,
) {
    let (batch, hidden, units) = (layer.batch, layer.hidden, GATES * layer.hidden);
    layer.check(GATES, inputs, y_tbh.len(), &[last_h.len(), last_c.len()]);
    let (mut none, depth) = (Tape::default(), layer.input + hidden);
    // Without a tape only this step's gates and the cells of two steps are kept.
    let (all, two) = if tape.is_some() { (layer.time, layer.time) } else { (1, 2) };
    let tape = tape.unwrap_or(&mut none);
    let gates_tbg = resized(&mut tape.gates_tbg, all * batch * units);
    let cells_tbh = resized(&mut tape.cells_tbh, two * batch * hidden);
    let both_tbk = resized(&mut tape.both_tbk, all * batch * depth);
    let weights = inputs.weights;
    let bias: Vec<f32> = weights.input_bias_g.iter().zip(weights.hidden_bias_g).map(|(a, b)| a + b).collect();
    let both_gk = side_by_side(layer, inputs);
    let product = Product::new(layer.compute, Matrix::new(&both_gk[..], units, depth).transposed());
    let input = layer.input;

    let (gates, cells) = (Steps::new(gates_tbg, batch, units), Steps::new(cells_tbh, batch, hidden));
    let (outputs, both) = (Steps::new(y_tbh, batch, hidden), Steps::new(both_tbk, batch, depth));
    let zeros = vec![0.0; batch * hidden];
    let (first_h, first_c) = first_states(layer, inputs, &zeros);
    layer.each_block(|begin, count| {
        let mut halves = Vec::new();
        let block = begin * hidden..(begin + count) * hidden;
        for turn in 0..layer.time {
            let t = layer.step(turn);
            // SAFETY: each sequence has one task, and the slices of this step and of the one before differ.
            let (gates, c, h) =
                unsafe { (gates.at(t, begin, count), cells.at(t, begin, count), outputs.at(t, begin, count)) };
            let (c_before, h_before): (&[f32], &[f32]) = match layer.before(turn) {
                // SAFETY: as above.
                Some(t) => unsafe { (cells.at(t, begin, count), outputs.at(t, begin, count)) },
                None => (&first_c[block.clone()], &first_h[block.clone()]),
            };
            let x = &inputs.x_tbi[(t * batch + begin) * input..][..count * input];
            // SAFETY: as above.
            let both_bk = unsafe { both.at(t, begin, count) };
            for (b, both) in both_bk.chunks_exact_mut(depth).enumerate() {
                both[..input].copy_from_slice(&x[b * input..][..input]);
                both[input..].copy_from_slice(&h_before[b * hidden..][..hidden]);
            }
            product.take(gates, (both_bk, depth), count, Some(&bias), &mut halves);
            for b in 0..count {
                let own = b * hidden..(b + 1) * hidden;
                if layer.has(t, begin + b) {
                    let gates = &mut gates[b * units..(b + 1) * units];
                    gates::lstm_forward(gates, &mut c[own.clone()], &mut h[own.clone()], &c_before[own]);
                } else {
                    c[own.clone()].copy_from_slice(&c_before[own.clone()]);
                    h[own.clone()].copy_from_slice(&h_before[own]);
                }
            }
        }
    });
    last_state(layer, last_h, y_tbh, first_h);
    last_state(layer, last_c, &tape.cells_tbh, first_c);
}

/// The gradients, from those of the outputs `dy_tbh` (`[time, batch, hidden]`) and of the last states (0, if there
/// are none). `tape` and `inputs` are those of [`forward`]. The tape is spent: gates become gradients.
///
/// # Panics
/// When the slices do not fit the shape.
pub fn backward(
    layer: &Recurrent<'_>,
    into: Gradients<'_, StatesMut<'_>>,
    tape: &mut Tape,
    inputs: &Inputs<'_, States<'_>>,
    dy_tbh: &[f32],
    dlast: Option<States<'_>>,
) {
    let (batch, hidden, units) = (layer.batch, layer.hidden, GATES * layer.hidden);
    layer.check(GATES, inputs, dy_tbh.len(), &dlast.map_or([batch * hidden; 2], |(h, c)| [h.len(), c.len()]));
    into.check(inputs);
    assert_eq!(tape.gates_tbg.len(), layer.vectors() * units, "the tape of another layer");
    let zeros = vec![0.0; batch * hidden];
    let (_, first_c) = first_states(layer, inputs, &zeros);
    let (mut dh, mut dc) = dlast.map_or_else(|| (zeros.clone(), zeros.clone()), |(h, c)| (h.to_vec(), c.to_vec()));
    let wants_first = into.first.is_some();
    through_time(layer, tape, inputs, (dy_tbh, first_c), (&mut dh, &mut dc), wants_first);

    let (weights, gates_tbg) = (into.weights, &tape.gates_tbg);
    let (input, depth) = (layer.input, layer.input + hidden);
    let mut dboth_gk = vec![0.0; units * depth];
    layer.weights(&mut dboth_gk, gates_tbg, &tape.both_tbk, units);
    for (gate, both) in dboth_gk.chunks_exact(depth).enumerate() {
        weights.input_gi[gate * input..][..input].copy_from_slice(&both[..input]);
        weights.hidden_gh[gate * hidden..][..hidden].copy_from_slice(&both[input..]);
    }
    layer.input_gradients(gates_tbg, inputs.weights.input_gi, weights.input_bias_g, into.x_tbi);
    weights.hidden_bias_g.copy_from_slice(weights.input_bias_g);
    if let Some((to_h, to_c)) = into.first {
        to_h.copy_from_slice(&dh);
        to_c.copy_from_slice(&dc);
    }
}

/// The steps of [`backward`]: makes gradients of the tape's gates, and the first states' of the last states'.
fn through_time(
    layer: &Recurrent<'_>,
    tape: &mut Tape,
    inputs: &Inputs<'_, States<'_>>,
    (dy_tbh, first_c): (&[f32], &[f32]),
    (dh_bh, dc_bh): (&mut [f32], &mut [f32]),
    wants_first: bool,
) {
    let (batch, hidden, units) = (layer.batch, layer.hidden, GATES * layer.hidden);
    let (gates, cells_tbh) = (Steps::new(&mut tape.gates_tbg, batch, units), &tape.cells_tbh);
    let (all_dh, all_dc) = (Steps::new(dh_bh, batch, hidden), Steps::new(dc_bh, batch, hidden));
    let product = Product::new(layer.compute, Matrix::new(inputs.weights.hidden_gh, units, hidden));
    layer.each_block(|begin, count| {
        let mut halves = Vec::new();
        // SAFETY: each sequence has one task.
        let (dh, dc) = unsafe { (all_dh.at(0, begin, count), all_dc.at(0, begin, count)) };
        let mut whole = vec![0.0; hidden];
        for turn in (0..layer.time).rev() {
            let t = layer.step(turn);
            // SAFETY: each sequence has one task.
            let gates = unsafe { gates.at(t, begin, count) };
            for b in 0..count {
                let (own, vector) = (b * hidden..(b + 1) * hidden, begin + b);
                let at = |t: usize| (t * batch + vector) * hidden..(t * batch + vector + 1) * hidden;
                let (dh, dy, own_gates) =
                    (&mut dh[own.clone()], &dy_tbh[at(t)], &mut gates[b * units..(b + 1) * units]);
                if layer.has(t, vector) {
                    whole.copy_from_slice(dh);
                    crate::axpy(&mut whole, 1.0, dy);
                    let c_before = layer.before(turn).map_or(&first_c[at(0)], |t| &cells_tbh[at(t)]);
                    gates::lstm_backward(own_gates, &mut dc[own], &whole, &cells_tbh[at(t)], c_before);
                    dh.fill(0.0);
                } else {
                    crate::axpy(dh, 1.0, dy);
                    own_gates.fill(0.0);
                }
            }
            if turn > 0 || wants_first {
                product.take(dh, (gates, units), count, None, &mut halves);
            }
        }
    });
}

/// The weights of input and state for one product, `[gate units, input + hidden]`.
fn side_by_side<S>(layer: &Recurrent<'_>, inputs: &Inputs<'_, S>) -> Vec<f32> {
    let (input, hidden, weights) = (layer.input, layer.hidden, inputs.weights);
    let mut both_gk = vec![0.0; GATES * hidden * (input + hidden)];
    for (gate, both) in both_gk.chunks_exact_mut(input + hidden).enumerate() {
        both[..input].copy_from_slice(&weights.input_gi[gate * input..][..input]);
        both[input..].copy_from_slice(&weights.hidden_gh[gate * hidden..][..hidden]);
    }
    both_gk
}

/// The states before the first step.
fn first_states<'a>(layer: &Recurrent<'_>, inputs: &Inputs<'_, States<'a>>, zeros: &'a [f32]) -> States<'a> {
    let first = inputs.first.unwrap_or((zeros, zeros));
    let length = layer.batch * layer.hidden;
    assert_eq!((first.0.len(), first.1.len()), (length, length), "the first states of {layer:?}");
    first
}
