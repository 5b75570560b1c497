//! Recurrent layers over a sequence, forward and backward through time: [`lstm`] and [`gru`].
//!
//! Sequences are `[time, batch, features]`; the letters of names are t (time), b (batch), i (input feature), h
//! (hidden unit) and g (gate unit: all units of the first gate, of the second, …). Gates lie in PyTorch's order
//! and weights are `[gate units, inputs]`, so that PyTorch's parameters fit as they are.
//!
//! The products of a GRU with its input are one matrix product for the whole sequence, and so are all gradients of
//! weights and inputs at the end. Only products with the last state go step by step; those of an LSTM take the
//! input along, because both are summed up alike and the sums are then used while they are in the cache. Sequences of a batch do not see each other,
//! so a task takes some sequences through all steps, and threads never wait for each other within a sequence.
//!
//! A sequence that is shorter than the others keeps its state from its length on: its outputs there are its last
//! state (the first one, on the way back), and what is read there does not matter, but for being finite: no
//! gradient comes out of it.

mod gates;
pub mod gru;
pub mod lstm;
mod product;

use crate::gemm::{Compute, Epilogue, Matrix, MatrixMut, gemm};
use crate::parallel::{self, Shared};

/// Sequences of a task.
const SEQUENCES: usize = 32;

/// The shape of a recurrent layer, and how it computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recurrent<'a> {
    /// The precision of its matrix products; all else is in `f32`.
    pub compute: Compute,
    /// Steps.
    pub time: usize,
    /// Sequences.
    pub batch: usize,
    /// Features of the input.
    pub input: usize,
    /// Hidden units.
    pub hidden: usize,
    /// From the last step to the first, which is the other half of a bidirectional layer.
    pub reverse: bool,
    /// How many steps each sequence has; all of them, if there are no lengths.
    pub lengths: Option<&'a [usize]>,
}

/// The parameters of a layer, or their gradients.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    /// `[gate units, input]`: PyTorch's `weight_ih`.
    pub input_gi: &'a [f32],
    /// `[gate units, hidden]`: PyTorch's `weight_hh`.
    pub hidden_gh: &'a [f32],
    /// `[gate units]`: PyTorch's `bias_ih`.
    pub input_bias_g: &'a [f32],
    /// `[gate units]`: PyTorch's `bias_hh`.
    pub hidden_bias_g: &'a [f32],
}

/// Where gradients of [`Weights`] are written.
#[derive(Debug)]
pub struct WeightsMut<'a> {
    /// `[gate units, input]`.
    pub input_gi: &'a mut [f32],
    /// `[gate units, hidden]`.
    pub hidden_gh: &'a mut [f32],
    /// `[gate units]`.
    pub input_bias_g: &'a mut [f32],
    /// `[gate units]`.
    pub hidden_bias_g: &'a mut [f32],
}

/// What a layer computes from; `S` is what it takes for its states, `[batch, hidden]` each.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a, S> {
    /// `[time, batch, input]`.
    pub x_tbi: &'a [f32],
    /// The parameters.
    pub weights: Weights<'a>,
    /// The states before the first step; 0, if there are none.
    pub first: Option<S>,
}

/// Where the gradients of [`Inputs`] are written.
#[derive(Debug)]
pub struct Gradients<'a, S> {
    /// `[time, batch, input]`, if wanted.
    pub x_tbi: Option<&'a mut [f32]>,
    /// Of the parameters.
    pub weights: WeightsMut<'a>,
    /// Of the states before the first step, if wanted.
    pub first: Option<S>,
}

impl<S> Gradients<'_, S> {
    /// # Panics
    /// When a slice is not as long as what it is the gradient of.
    fn check<T>(&self, inputs: &Inputs<'_, T>) {
        let own = [&self.weights.input_gi, &self.weights.hidden_gh].map(|slice| slice.len());
        let biases = [&self.weights.input_bias_g, &self.weights.hidden_bias_g].map(|slice| slice.len());
        assert_eq!([own[0], own[1], biases[0], biases[1]], inputs.weights.lengths(), "gradients of weights");
        let fits = self.x_tbi.as_ref().is_none_or(|dx| dx.len() == inputs.x_tbi.len());
        assert!(fits, "a gradient that does not fit the input");
    }
}

impl Weights<'_> {
    fn lengths(&self) -> [usize; 4] {
        [self.input_gi, self.hidden_gh, self.input_bias_g, self.hidden_bias_g].map(<[f32]>::len)
    }
}

impl Recurrent<'_> {
    /// The number of vectors of a sequence of batches.
    fn vectors(&self) -> usize {
        self.time * self.batch
    }

    /// The step that comes as number `turn`.
    fn step(&self, turn: usize) -> usize {
        if self.reverse { self.time - 1 - turn } else { turn }
    }

    /// The step before `turn`, if it is not the first.
    fn before(&self, turn: usize) -> Option<usize> {
        turn.checked_sub(1).map(|turn| self.step(turn))
    }

    /// Whether sequence `b` has step `t`.
    fn has(&self, t: usize, b: usize) -> bool {
        self.lengths.is_none_or(|lengths| t < lengths[b])
    }

    /// # Panics
    /// When inputs, outputs or states do not fit the shape.
    fn check<S>(&self, gates: usize, inputs: &Inputs<'_, S>, y: usize, states: &[usize]) {
        let (x, weights) = (inputs.x_tbi.len(), inputs.weights.lengths());
        assert!(self.hidden > 0, "{self:?}");
        let expected = (self.vectors() * self.input, self.vectors() * self.hidden);
        assert_eq!((x, y), expected, "the lengths of input and output of {self:?}");
        let fit = states.iter().all(|state| *state == self.batch * self.hidden);
        assert!(fit, "states of {states:?} numbers for {self:?}");
        let (gates, fits) = (gates * self.hidden, self.lengths.is_none_or(|lengths| lengths.len() == self.batch));
        assert_eq!(weights, [gates * self.input, gates * self.hidden, gates, gates], "weights of {self:?}");
        assert!(fits, "lengths of {self:?}");
    }

    /// Cuts the batch into tasks: calls `work` with the first and the number of its sequences.
    fn each_block(&self, work: impl Fn(usize, usize) + Sync) {
        parallel::run(self.batch.div_ceil(SEQUENCES), |task| {
            let first = task * SEQUENCES;
            work(first, SEQUENCES.min(self.batch - first));
        });
    }

    /// `gates_tbg = x_tbi · weightᵀ + bias` for the whole sequence.
    fn input_product(&self, gates_tbg: &mut [f32], x_tbi: &[f32], weight_gi: &[f32], bias: &[f32]) {
        let gates = MatrixMut::new(gates_tbg, self.vectors(), bias.len());
        let (x, w) = (Matrix::new(x_tbi, self.vectors(), self.input), Matrix::new(weight_gi, bias.len(), self.input));
        gemm(self.compute, gates, x, w.transposed(), Epilogue { bias: Some(bias), ..Epilogue::default() });
    }

    /// `dw_gh = Σ dgates_tbgᵀ · h` over all steps, where `h` is the state before the step: `first_bh` and then the
    /// outputs `y_tbh`. `dgates` holds rows of `stride`, of which `units` from `offset` on are taken.
    fn hidden_weights(
        &self,
        dw_gh: &mut [f32],
        dgates_tbg: &[f32],
        (offset, units, stride): (usize, usize, usize),
        y_tbh: &[f32],
        first_bh: Option<&[f32]>,
    ) {
        let (batch, hidden) = (self.batch, self.hidden);
        if self.vectors() == 0 {
            return dw_gh.fill(0.0);
        }
        let mut product = |from: usize, steps: usize, h: &[f32], accumulate| {
            let rows = steps * batch;
            let dgates = &dgates_tbg[from * batch * stride + offset..];
            let dgates = Matrix::strided(dgates, rows, units, stride, 1).transposed();
            let dw = MatrixMut::new(&mut *dw_gh, units, hidden);
            gemm(
                self.compute,
                dw,
                dgates,
                Matrix::new(h, rows, hidden),
                Epilogue { accumulate, ..Epilogue::default() },
            );
        };
        let (steps, row) = (self.time - 1, batch * hidden);
        // Forward, step t + 1 follows the output of t; on the way back, step t follows that of t + 1.
        let (from, h) = if self.reverse { (0, &y_tbh[row..]) } else { (1, &y_tbh[..steps * row]) };
        product(from, steps, h, false);
        if let Some(first) = first_bh {
            product(self.step(0), 1, first, true);
        }
    }

    /// `dw_gk = dgates_tbgᵀ·x_tbk` for what was multiplied with the weights.
    fn weights(&self, dw_gk: &mut [f32], dgates_tbg: &[f32], x_tbk: &[f32], units: usize) {
        let (rows, depth) = (self.vectors(), dw_gk.len() / units);
        let dgates = Matrix::new(dgates_tbg, rows, units).transposed();
        let (dw, x) = (MatrixMut::new(dw_gk, units, depth), Matrix::new(x_tbk, rows, depth));
        gemm(self.compute, dw, dgates, x, Epilogue::default());
    }

    /// `dbias = Σ dgates`, and `dx = dgates·w` if wanted.
    fn input_gradients(&self, dgates_tbg: &[f32], weight_gi: &[f32], dbias_g: &mut [f32], dx_tbi: Option<&mut [f32]>) {
        crate::convolution::backward_bias(dbias_g, dgates_tbg);
        if let Some(dx) = dx_tbi {
            let (rows, units) = (self.vectors(), dbias_g.len());
            let (dgates, w) = (Matrix::new(dgates_tbg, rows, units), Matrix::new(weight_gi, units, self.input));
            gemm(self.compute, MatrixMut::new(dx, rows, self.input), dgates, w, Epilogue::default());
        }
    }
}

/// A sequence of batches `[time, batch, width]` of which each task writes its own vectors; or less than all steps,
/// if only the last ones are kept.
struct Steps {
    all: Shared<f32>,
    length: usize,
    kept: usize,
    batch: usize,
    width: usize,
}

impl Steps {
    fn new(all: &mut [f32], batch: usize, width: usize) -> Self {
        let kept = kept(all, batch * width);
        Self { all: Shared(all.as_mut_ptr()), length: all.len(), kept, batch, width }
    }

    /// The vectors of step `t` of `count` sequences from `first` on.
    ///
    /// # Safety
    /// The slice that this was made from is borrowed as long as the result, no other task uses these sequences,
    /// and this one has no other slice of the same step, or of one that takes the same place.
    #[allow(clippy::mut_from_ref, reason = "the caller's promise")]
    unsafe fn at(&self, t: usize, first: usize, count: usize) -> &mut [f32] {
        let (begin, length) = ((t % self.kept * self.batch + first) * self.width, count * self.width);
        assert!(begin + length <= self.length, "step {t} of a sequence");
        // SAFETY: within the slice; the rest is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.all.get().add(begin), length) }
    }
}

/// The last state of each sequence, `[batch, hidden]`: of states `[time, batch, hidden]` the ones of the last step
/// that was computed, because sequences keep their state; the first one, if there is no step.
fn last_state(layer: &Recurrent<'_>, to_bh: &mut [f32], states_tbh: &[f32], first_bh: &[f32]) {
    let row = layer.batch * layer.hidden;
    to_bh.copy_from_slice(
        layer.before(layer.time).map_or(first_bh, |t| &states_tbh[t % kept(states_tbh, row) * row..][..row]),
    );
}

/// The number of steps that there is room for.
fn kept(all: &[f32], step: usize) -> usize {
    (all.len() / step.max(1)).max(1)
}

fn resized(all: &mut Vec<f32>, length: usize) -> &mut [f32] {
    all.resize(length, 0.0);
    all
}
