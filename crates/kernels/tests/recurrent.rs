//! Recurrent layers against plain loops in double precision, their gradients against central differences.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_range_loop,
    clippy::needless_pass_by_value,
    reason = "tests"
)]

#[path = "common/every.rs"]
mod every;

use every::{all_close, every, numbers, sines, six, some_differences, wide};
use kernels::gemm::Compute;
use kernels::recurrent::{Gradients, Inputs, Recurrent, Weights, WeightsMut, gru, lstm};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Lstm,
    Gru,
}

/// A layer, its lengths, and whether it starts from states other than 0.
#[derive(Debug, Clone)]
struct Case {
    kind: Kind,
    time: usize,
    batch: usize,
    input: usize,
    hidden: usize,
    reverse: bool,
    lengths: Option<Vec<usize>>,
    starts: bool,
    seed: u64,
}

impl Case {
    fn layer(&self, compute: Compute) -> Recurrent<'_> {
        let Case { time, batch, input, hidden, reverse, .. } = *self;
        Recurrent { compute, time, batch, input, hidden, reverse, lengths: self.lengths.as_deref() }
    }

    fn gates(&self) -> usize {
        if self.kind == Kind::Lstm { 4 * self.hidden } else { 3 * self.hidden }
    }

    /// Lengths of the input, the four parameters and both states.
    fn sizes(&self) -> [usize; 7] {
        let (gates, state) = (self.gates(), self.batch * self.hidden);
        [self.time * self.batch * self.input, gates * self.input, gates * self.hidden, gates, gates, state, state]
    }

    /// All inputs one after the other.
    fn inputs(&self) -> Vec<f32> {
        let mut all = numbers(self.sizes().iter().sum(), self.seed);
        if !self.starts {
            let states = 2 * self.batch * self.hidden;
            let begin = all.len() - states;
            all[begin..].fill(0.0);
        }
        all
    }

    /// The gradients of the outputs, of the last state and of the last cell.
    fn gradients(&self) -> Vec<f32> {
        let (outputs, state) = (self.time * self.batch * self.hidden, self.batch * self.hidden);
        let mut all = numbers(outputs + 2 * state, self.seed + 1);
        if self.kind == Kind::Gru {
            all[outputs + state..].fill(0.0);
        }
        all
    }
}

fn cut<'a, T>(all: &'a [T], sizes: &[usize]) -> Vec<&'a [T]> {
    let mut rest = all;
    let mut parts = Vec::new();
    for size in sizes {
        let (part, after) = rest.split_at(*size);
        parts.push(part);
        rest = after;
    }
    parts
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Outputs, last states and last cells by the equations of PyTorch's documentation.
fn reference(case: &Case, all: &[f64]) -> Vec<f64> {
    let parts = cut(all, &case.sizes());
    let (x, w_i, w_h, b_i, b_h) = (parts[0], parts[1], parts[2], parts[3], parts[4]);
    let (mut h, mut c) = (parts[5].to_vec(), parts[6].to_vec());
    let (hidden, input) = (case.hidden, case.input);
    let mut y = vec![0.0; case.time * case.batch * hidden];
    for turn in 0..case.time {
        let t = if case.reverse { case.time - 1 - turn } else { turn };
        for b in 0..case.batch {
            let own = b * hidden..(b + 1) * hidden;
            if case.lengths.as_ref().is_none_or(|lengths| t < lengths[b]) {
                let x = &x[(t * case.batch + b) * input..][..input];
                let before = h[own.clone()].to_vec();
                let dot = |w: &[f64], x: &[f64], g: usize| -> f64 {
                    w[g * x.len()..][..x.len()].iter().zip(x).map(|(w, x)| w * x).sum()
                };
                let from_x = |gate: usize, u: usize| dot(w_i, x, gate * hidden + u) + b_i[gate * hidden + u];
                let from_h = |gate: usize, u: usize| dot(w_h, &before, gate * hidden + u) + b_h[gate * hidden + u];
                for u in 0..hidden {
                    let sum = |gate: usize| from_x(gate, u) + from_h(gate, u);
                    if case.kind == Kind::Lstm {
                        let cell = &mut c[b * hidden + u];
                        *cell = sigmoid(sum(1)) * *cell + sigmoid(sum(0)) * sum(2).tanh();
                        h[b * hidden + u] = sigmoid(sum(3)) * cell.tanh();
                    } else {
                        let new = (from_x(2, u) + sigmoid(sum(0)) * from_h(2, u)).tanh();
                        let update = sigmoid(sum(1));
                        h[b * hidden + u] = (1.0 - update) * new + update * before[u];
                    }
                }
            }
            y[(t * case.batch + b) * hidden..][..hidden].copy_from_slice(&h[own]);
        }
    }
    let cells = if case.kind == Kind::Lstm { c } else { vec![0.0; case.batch * hidden] };
    [y, h, cells].concat()
}

/// Outputs and last states, then the gradients of all inputs, from the kernels.
fn everything(case: &Case, compute: Compute, all: &[f32]) -> Vec<f32> {
    with_gradients(case, compute, all, &case.gradients())
}

fn with_gradients(case: &Case, compute: Compute, all: &[f32], gradients: &[f32]) -> Vec<f32> {
    let (layer, state) = (case.layer(compute), case.batch * case.hidden);
    let parts = cut(all, &case.sizes());
    let weights = Weights { input_gi: parts[1], hidden_gh: parts[2], input_bias_g: parts[3], hidden_bias_g: parts[4] };
    let outputs = case.time * state;
    let (dy, dh, dc) = (&gradients[..outputs], &gradients[outputs..outputs + state], &gradients[outputs + state..]);
    let (mut y, mut h, mut c) = (vec![f32::NAN; outputs], vec![f32::NAN; state], vec![0.0; state]);
    let mut into: Vec<Vec<f32>> = case.sizes().iter().map(|size| vec![f32::NAN; *size]).collect();
    let [dx, dw_i, dw_h, db_i, db_h, dfirst_h, dfirst_c] = &mut into[..] else { panic!() };
    let dweights = WeightsMut { input_gi: dw_i, hidden_gh: dw_h, input_bias_g: db_i, hidden_bias_g: db_h };
    if case.kind == Kind::Lstm {
        let first = case.starts.then_some((parts[5], parts[6]));
        let (inputs, mut tape) = (Inputs { x_tbi: parts[0], weights, first }, lstm::Tape::default());
        lstm::forward(&layer, &mut y, (&mut h, &mut c), Some(&mut tape), &inputs);
        let (mut alone, mut last, mut cell) = (y.clone(), h.clone(), c.clone());
        lstm::forward(&layer, &mut alone, (&mut last, &mut cell), None, &inputs);
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!([bits(&alone), bits(&last), bits(&cell)], [bits(&y), bits(&h), bits(&c)], "without a tape");
        let into =
            Gradients { x_tbi: Some(dx), weights: dweights, first: Some((&mut dfirst_h[..], &mut dfirst_c[..])) };
        lstm::backward(&layer, into, &mut tape, &inputs, dy, Some((dh, dc)));
    } else {
        let first = case.starts.then_some(parts[5]);
        let (inputs, mut tape) = (Inputs { x_tbi: parts[0], weights, first }, gru::Tape::default());
        gru::forward(&layer, &mut y, &mut h, &mut tape, &inputs);
        let into = Gradients { x_tbi: Some(dx), weights: dweights, first: Some(&mut dfirst_h[..]) };
        gru::backward(&layer, into, &mut tape, &inputs, &y, dy, Some(dh));
        dfirst_c.fill(0.0);
    }
    [y, h, c].into_iter().chain(into).collect::<Vec<_>>().concat()
}

fn check(case: &Case, count: usize) {
    let (all, gradients) = (case.inputs(), wide(&case.gradients()));
    let loss = |all: &[f64]| reference(case, all).iter().zip(&gradients).map(|(y, dy)| y * dy).sum::<f64>();
    let outputs = reference(case, &wide(&all));
    let by_inputs = some_differences(&wide(&all), 1e-4, count, loss);
    for (compute, parts) in [(Compute::F32, 3e-6), (Compute::Bf16, 4e-2)] {
        every(
            || everything(case, compute, &all),
            |found| {
                let (y, gradients) = found.split_at(outputs.len());
                all_close(y, &outputs, parts, &format!("outputs of {case:?}"));
                all_close(gradients, &by_inputs, parts, &format!("gradients of {case:?}"));
            },
        );
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (0_usize..5, 0_usize..4, 0_usize..4, 1_usize..5);
    let kinds = (prop_oneof![Just(Kind::Lstm), Just(Kind::Gru)], any::<bool>(), any::<bool>());
    (sizes, kinds, proptest::option::of(proptest::collection::vec(0_usize..6, 4)), 0_u64..1000).prop_map(
        |((time, batch, input, hidden), (kind, reverse, starts), lengths, seed)| {
            let lengths = lengths.map(|lengths| lengths[..batch].to_vec());
            Case { kind, time, batch, input, hidden, reverse, lengths, starts, seed }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_layer_is_its_equations(case in cases()) {
        check(&case, usize::MAX);
    }
}

#[test]
fn layers_of_several_blocks_are_their_equations() {
    for kind in [Kind::Lstm, Kind::Gru] {
        let lengths = Some((0..35).map(|b| b % 4).collect());
        let case = Case {
            kind,
            time: 3,
            batch: 35,
            input: 5,
            hidden: 19,
            reverse: kind == Kind::Gru,
            lengths,
            starts: true,
            seed: 1,
        };
        check(&case, 100);
    }
}

#[test]
fn what_is_not_a_number_spreads_in_its_sequence_alone() {
    for kind in [Kind::Lstm, Kind::Gru] {
        let (time, batch, input, hidden) = (3, 2, 2, 3);
        let case = Case { kind, time, batch, input, hidden, reverse: false, lengths: None, starts: false, seed: 3 };
        let mut all = case.inputs();
        // The first sequence at the second step.
        all[batch * input] = f32::NAN;
        every(
            || everything(&case, Compute::F32, &all),
            |found| {
                let at = |t: usize, b: usize| found[(t * batch + b) * hidden];
                assert!(at(0, 0).is_finite() && at(1, 0).is_nan() && at(2, 0).is_nan());
                assert!((0..time).all(|t| at(t, 1).is_finite()));
                assert!(found.last().is_some());
            },
        );
    }
}

#[test]
fn gates_far_out_are_finite() {
    let case = Case {
        kind: Kind::Lstm,
        time: 2,
        batch: 1,
        input: 1,
        hidden: 2,
        reverse: false,
        lengths: None,
        starts: false,
        seed: 1,
    };
    let mut all = case.inputs();
    all[..2].copy_from_slice(&[1e30, -1e30]);
    every(
        || everything(&case, Compute::F32, &all),
        |found| {
            assert!(found[..8].iter().all(|value| value.abs() <= 2.0), "{found:?}");
        },
    );
}

#[test]
#[should_panic(expected = "the lengths of input and output")]
fn an_input_that_does_not_fit_is_our_mistake() {
    let case = Case {
        kind: Kind::Gru,
        time: 2,
        batch: 1,
        input: 1,
        hidden: 2,
        reverse: false,
        lengths: None,
        starts: false,
        seed: 1,
    };
    let all = case.inputs();
    everything(&Case { time: 3, ..case.clone() }, Compute::F32, &[&all[..], &[0.0]].concat());
    let layer = case.layer(Compute::F32);
    let weights = Weights { input_gi: &[], hidden_gh: &[], input_bias_g: &[], hidden_bias_g: &[] };
    let inputs = Inputs { x_tbi: &[0.0; 3], weights, first: None };
    gru::forward(&layer, &mut [0.0; 4], &mut [0.0; 2], &mut gru::Tape::default(), &inputs);
}

/// PyTorch 2.15.0, `tests/torch_constants.py`: y, dx, and the gradients of the four parameters.
#[rustfmt::skip]
const LSTM: [f64; 36] = [
    0.364150465, -0.161513358, -0.242972225, 0.208347678, 0.050600715, -0.155011252,
    0.228849754, -0.141373828, 0.215754449, 0.0383800268, -0.209666848, -0.00416056486,
    -0.0919838771, -0.00617053173, -0.0987545103, -0.00739108678, 0.130024225, -0.0460648499,
    -0.0373508222, -0.0245490838, 0.0659931898, 0.0099183172, -0.0194794219, -0.0419653356,
    -0.0691389665, -0.0598609075, -0.131504446, 0.0778128356, 0.0594086796, 0.0222013071,
    -0.0691389665, -0.0598609075, -0.131504446, 0.0778128356, 0.0594086796, 0.0222013071,
];
#[rustfmt::skip]
const GRU: [f64; 36] = [
    0.447301179, -0.614336908, 0.0879451036, 0.106171682, 0.225204363, -0.592116356,
    -0.572122276, 0.428361744, -0.167257577, 0.991478801, -1.52550793, 0.112837926,
    -0.494611472, 0.0148643916, 0.505647659, -0.0212219357, -0.635141551, 0.0891064852,
    0.586373925, -0.000660155434, -0.0714874566, -0.131405145, -0.308643252, -0.0143281482,
    -0.651264131, -0.0185055286, 0.0197783746, 0.275806725, 0.853938878, -0.826552749,
    -0.651264191, -0.0185055267, 0.0197783709, 0.275806725, 0.853938818, -0.660537124,
];

#[test]
fn pytorch_has_the_same_numbers() {
    for (kind, expected) in [(Kind::Lstm, LSTM), (Kind::Gru, GRU)] {
        let case =
            Case { kind, time: 4, batch: 3, input: 2, hidden: 5, reverse: false, lengths: None, starts: true, seed: 0 };
        let (sizes, scales) = (case.sizes(), [1.7, 0.7, 1.1, 0.5, 0.9, 0.4, 0.6]);
        let all: Vec<f32> = sizes.iter().zip(scales).flat_map(|(size, scale)| sines(*size, scale)).collect();
        let outputs = 4 * 3 * 5;
        let gradients = [sines(outputs, 0.3), vec![0.0; 2 * 3 * 5]].concat();
        every(
            || {
                let found = with_gradients(&case, Compute::F32, &all, &gradients);
                let parts = cut(&found, &[outputs, 15, 15, sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]]);
                [0, 3, 4, 5, 6, 7].map(|part| six(parts[part])).concat()
            },
            |found| all_close(found, &expected, 1e-6, "PyTorch"),
        );
    }
}
