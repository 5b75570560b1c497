//! Workloads composed of the kernels themselves: a convolutional network, and a recurrent layer.

use kernels::convolution::{self, Convolution};
use kernels::cross_entropy::{cross_entropy, squared_error};
use kernels::gemm::{Activation, Compute, Epilogue, Matrix, MatrixMut, gemm};
use kernels::pooling::{self, Pooling};
use kernels::recurrent::{Gradients, Inputs, Recurrent, Weights, WeightsMut, lstm};
use kernels::step::{Rule, Slot, step_all};
use nn::random::Random;

use crate::{Train, adam};

/// Numbers between `-most` and `most`.
fn numbers(count: usize, most: f64, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed, &[]);
    (0..count).map(|_| (random.below(1 << 20) as f64 / f64::from(1 << 19) - 1.0) as f32 * most as f32).collect()
}

/// A tensor with its gradient and the state of its optimiser.
struct Parameter {
    value: Vec<f32>,
    gradient: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Parameter {
    /// As PyTorch draws it: evenly up to `1/√inputs`.
    fn new(count: usize, inputs: usize) -> Self {
        let zeros = || vec![0.0; count];
        let value = numbers(count, 1.0 / (inputs as f64).sqrt(), count as u64);
        Self { value, gradient: zeros(), first: zeros(), second: zeros() }
    }
}

fn update(parameters: &mut [Parameter], number: u64) {
    fn slot(one: &mut Parameter, number: u64) -> Slot<'_> {
        let Parameter { value, gradient, first, second } = one;
        let rule = Rule::AdamW(adam(number, 1.0));
        Slot { parameters: value, gradients: gradient, first, second, average: None, rule }
    }
    step_all(&mut parameters.iter_mut().map(|one| slot(one, number)).collect::<Vec<_>>());
}

/// 28×28×1 → 3×3×32 → ReLU → 3×3×64 → ReLU → 2×2 max pool → 128 → ReLU → 10, 128 images a step.
pub struct Cnn {
    compute: Compute,
    first: Convolution,
    second: Convolution,
    pool: Pooling,
    x: Vec<f32>,
    targets: Vec<u32>,
    /// Weights and biases of the four layers, one after the other.
    parameters: Vec<Parameter>,
    /// What each layer makes (the pool is the third), and the gradients by it.
    made: [Vec<f32>; 5],
    gradients: [Vec<f32>; 4],
    places: Vec<u16>,
}

const IMAGES: usize = 128;
const DENSE: usize = 128;
const CLASSES: usize = 10;

impl Cnn {
    pub fn new(compute: Compute) -> Self {
        let first = Convolution::new(IMAGES, [28, 28], [1, 32], [3, 3]);
        let second = Convolution::new(IMAGES, [26, 26], [32, 64], [3, 3]);
        let pool = Pooling::new(IMAGES, [24, 24], 64, [2, 2]);
        let wide = pool.output_len() / IMAGES;
        let weights = [first.weight_len(), second.weight_len(), wide * DENSE, DENSE * CLASSES];
        let layers = weights.into_iter().zip([9, 9 * 32, wide, DENSE]).zip([32, 64, DENSE, CLASSES]);
        let layer = |((weight, inputs), out)| [Parameter::new(weight, inputs), Parameter::new(out, inputs)];
        let lengths = [first.output_len(), second.output_len(), pool.output_len(), IMAGES * DENSE, IMAGES * CLASSES];
        let made = lengths.map(|length| vec![0.0; length]);
        let mut random = Random::new(1, &[]);
        Self {
            x: numbers(first.input_len(), 1.0, 1),
            targets: (0..IMAGES).map(|_| random.below(CLASSES) as u32).collect(),
            parameters: layers.flat_map(layer).collect(),
            gradients: [0, 1, 2, 3].map(|layer| vec![0.0; lengths[layer]]),
            made,
            places: vec![0; pool.output_len()],
            compute,
            first,
            second,
            pool,
        }
    }

    fn forward(&mut self) {
        let Self { compute, first, second, pool, x, parameters, made: [y1, y2, y3, y4, y5], places, .. } = self;
        let value = |place: usize| &parameters[place].value[..];
        convolution::forward(first, *compute, y1, x, value(0), Some(value(1)), Activation::Relu);
        convolution::forward(second, *compute, y2, y1, value(2), Some(value(3)), Activation::Relu);
        pooling::max_forward(pool, y3, places, y2);
        dense(*compute, y4, y3, value(4), value(5), Activation::Relu);
        dense(*compute, y5, y4, value(6), value(7), Activation::None);
    }

    /// From the gradient of the logits, which lies where they were.
    fn backward(&mut self) {
        let Self { compute, first, second, pool, x, parameters, made: [y1, _, y3, y4, d5], places, gradients, .. } =
            self;
        let [d1, d2, d3, d4] = gradients;
        let [w1, b1, w2, b2, w3, b3, w4, b4] = &mut parameters[..] else { return };
        dense_backward(*compute, d4, (w4, b4), d5, y4, true);
        dense_backward(*compute, d3, (w3, b3), d4, y3, false);
        pooling::max_backward(pool, d2, d3, places, Some(y3));
        convolution::backward_weight(second, *compute, &mut w2.gradient, d2, y1);
        convolution::backward_bias(&mut b2.gradient, d2);
        convolution::backward_input(second, *compute, d1, d2, &w2.value, Some(y1));
        convolution::backward_weight(first, *compute, &mut w1.gradient, d1, x);
        convolution::backward_bias(&mut b1.gradient, d1);
    }
}

/// `y = activation(x·Wᵀ + b)`.
fn dense(compute: Compute, y: &mut [f32], x: &[f32], w: &[f32], b: &[f32], activation: Activation) {
    let (from, to) = (x.len() / IMAGES, y.len() / IMAGES);
    let (x, w) = (Matrix::new(x, IMAGES, from), Matrix::new(w, to, from).transposed());
    let epilogue = Epilogue { bias: Some(b), activation, ..Epilogue::default() };
    gemm(compute, MatrixMut::new(y, IMAGES, to), x, w, epilogue);
}

/// The gradients of [`dense`] from `dy`; `rectified` if a ReLU made `x`.
fn dense_backward(
    compute: Compute,
    dx: &mut [f32],
    (w, b): (&mut Parameter, &mut Parameter),
    dy: &[f32],
    x: &[f32],
    rectified: bool,
) {
    let (from, to) = (x.len() / IMAGES, dy.len() / IMAGES);
    let (dy_bo, x_bi) = (Matrix::new(dy, IMAGES, to), Matrix::new(x, IMAGES, from));
    gemm(compute, MatrixMut::new(&mut w.gradient[..], to, from), dy_bo.transposed(), x_bi, Epilogue::default());
    convolution::backward_bias(&mut b.gradient, dy);
    let derivative = rectified.then_some((Activation::Relu, x.into()));
    let epilogue = Epilogue { derivative, ..Epilogue::default() };
    gemm(compute, MatrixMut::new(dx, IMAGES, from), dy_bo, Matrix::new(&w.value[..], to, from), epilogue);
}

impl Train for Cnn {
    fn step(&mut self, number: u64) -> f64 {
        self.forward();
        let loss = cross_entropy(&mut self.made[4], &self.targets, CLASSES, 0.0, Some(1.0 / IMAGES as f32));
        self.backward();
        update(&mut self.parameters, number);
        loss.sum / IMAGES as f64
    }

    fn parameters(&self) -> usize {
        self.parameters.iter().map(|one| one.value.len()).sum()
    }

    fn tokens(&self) -> usize {
        IMAGES
    }

    /// The first layer's input has no gradient.
    fn operations(&self) -> f64 {
        let image = |side: usize, from: usize, to: usize| 2.0 * (side * side * 9 * from * to) as f64;
        let (first, second) = (image(26, 1, 32), image(24, 32, 64));
        let dense = 2.0 * (12 * 12 * 64 * DENSE + DENSE * CLASSES) as f64;
        IMAGES as f64 * (2.0 * first + 3.0 * (second + dense))
    }
}

/// One LSTM layer: 64 sequences of 128 steps, 256 features, 256 units; the loss is the mean squared error of all
/// its outputs.
pub struct Lstm {
    layer: Recurrent<'static>,
    x: Vec<f32>,
    targets: Vec<f32>,
    parameters: Vec<Parameter>,
    y: Vec<f32>,
    dy: Vec<f32>,
    last: [Vec<f32>; 2],
    tape: lstm::Tape,
}

impl Lstm {
    pub fn new(compute: Compute) -> Self {
        let [time, batch, input, hidden] = [128, 64, 256, 256];
        let count = time * batch * hidden;
        let gates = 4 * hidden;
        Self {
            layer: Recurrent { compute, time, batch, input, hidden, reverse: false, lengths: None },
            x: numbers(time * batch * input, 1.0, 1),
            targets: numbers(count, 1.0, 2),
            parameters: [gates * input, gates * hidden, gates, gates].map(|n| Parameter::new(n, hidden)).into(),
            y: vec![0.0; count],
            dy: vec![0.0; count],
            last: [vec![0.0; batch * hidden], vec![0.0; batch * hidden]],
            tape: lstm::Tape::default(),
        }
    }
}

impl Train for Lstm {
    fn step(&mut self, number: u64) -> f64 {
        let Self { layer, x, targets, parameters, y, dy, last: [h, c], tape } = self;
        let [w, u, a, b] = &mut parameters[..] else { return 0.0 };
        let weights =
            Weights { input_gi: &w.value, hidden_gh: &u.value, input_bias_g: &a.value, hidden_bias_g: &b.value };
        let inputs = Inputs { x_tbi: x, weights, first: None };
        lstm::forward(layer, y, (h, c), Some(tape), &inputs);
        let count = y.len() as f64;
        let loss = squared_error(y, targets, Some((dy, (1.0 / count) as f32)));
        let into = WeightsMut {
            input_gi: &mut w.gradient,
            hidden_gh: &mut u.gradient,
            input_bias_g: &mut a.gradient,
            hidden_bias_g: &mut b.gradient,
        };
        lstm::backward(layer, Gradients { x_tbi: None, weights: into, first: None }, tape, &inputs, dy, None);
        update(parameters, number);
        loss / count
    }

    fn parameters(&self) -> usize {
        self.parameters.iter().map(|one| one.value.len()).sum()
    }

    fn tokens(&self) -> usize {
        self.layer.time * self.layer.batch
    }

    /// The input has no gradient.
    fn operations(&self) -> f64 {
        let Recurrent { time, batch, input, hidden, .. } = self.layer;
        2.0 * (time * batch * 4 * hidden) as f64 * (2 * input + 3 * hidden) as f64
    }
}
