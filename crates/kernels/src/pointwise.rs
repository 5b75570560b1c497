//! Activations of whole tensors for training, forward and backward, in parallel.
//!
//! Every formula is computed element by element with the crate's own exponential, so that the bits are the
//! same on every instruction set and every number of threads. A backward takes what went into the forward.

use crate::activation::exp;
use crate::element::Element;
use crate::isa::kernel;
use crate::parallel;
use crate::rows::{self, Parts};

/// Elements of a task.
const PIECE: usize = 1 << 14;

/// An activation of one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pointwise {
    /// `max(x, 0)`; the derivative at 0 is 0.
    Relu,
    /// `x·Φ(x)` by its tanh form, `x/2·(1 + tanh(√(2/π)(x + 0.044715x³)))` (Hendrycks & Gimpel 2016).
    Gelu,
    /// `x·Φ(x)` with the normal distribution's Φ (Hendrycks & Gimpel 2016), within 4e-7.
    GeluExact,
    /// `x·sigmoid(x)`.
    Silu,
}

impl Pointwise {
    /// `y[i] = f(x[i])`.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn forward(self, y: &mut [f32], x: &[f32]) {
        assert_eq!(y.len(), x.len());
        parallel::chunks(y, PIECE, |index, y| {
            let x = &x[index * PIECE..index * PIECE + y.len()];
            match self {
                Self::Relu => piece::relu(y, x),
                Self::Gelu => piece::gelu(y, x),
                Self::GeluExact => piece::gelu_exact(y, x),
                Self::Silu => piece::silu(y, x),
            }
        });
    }

    /// `dx[i] = f′(x[i])·dy[i]`.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn backward(self, dx: &mut [f32], dy: &[f32], x: &[f32]) {
        assert_eq!((dx.len(), dx.len()), (dy.len(), x.len()));
        parallel::chunks(dx, PIECE, |index, dx| {
            let range = index * PIECE..index * PIECE + dx.len();
            let (dy, x) = (&dy[range.clone()], &x[range]);
            match self {
                Self::Relu => piece::relu_backward(dx, dy, x),
                Self::Gelu => piece::gelu_backward(dx, dy, x),
                Self::GeluExact => piece::gelu_exact_backward(dx, dy, x),
                Self::Silu => piece::silu_backward(dx, dy, x),
            }
        });
    }
}

/// `out[i] = silu(gate[i])·up[i]` (Shazeer 2020).
///
/// # Panics
/// When the slices differ in length.
pub fn swiglu_forward(out: &mut [f32], gate: &[f32], up: &[f32]) {
    assert_eq!((out.len(), out.len()), (gate.len(), up.len()));
    parallel::chunks(out, PIECE, |index, out| {
        let range = index * PIECE..index * PIECE + out.len();
        piece::swiglu(out, &gate[range.clone()], &up[range]);
    });
}

/// The gradients of both inputs of [`swiglu_forward`]: `d_gate = d_out·up·silu′(gate)` and
/// `d_up = d_out·silu(gate)`.
///
/// # Panics
/// When the slices differ in length.
pub fn swiglu_backward(d_gate: &mut [f32], d_up: &mut [f32], d_out: &[f32], gate: &[f32], up: &[f32]) {
    let length = d_gate.len();
    assert_eq!([d_up.len(), d_out.len(), gate.len(), up.len()], [length; 4]);
    let d_up = Parts::new(d_up);
    parallel::chunks(d_gate, PIECE, |index, d_gate| {
        let range = index * PIECE..index * PIECE + d_gate.len();
        // SAFETY: ranges of different tasks do not overlap.
        let d_up = unsafe { d_up.take(range.clone()) };
        piece::swiglu_backward(d_gate, d_up, &d_out[range.clone()], &gate[range.clone()], &up[range]);
    });
}

/// [`swiglu_forward`] of rows whose first half is the gate: `[n, 2·inner]` to `[n, inner]`.
///
/// # Panics
/// When the slices are not rows of `2·inner` and of `inner`.
pub fn swiglu_rows<E: Element>(out_ni: &mut [E], gate_up_n2i: &[E], inner: usize) {
    let count = rows::count(out_ni.len(), inner);
    assert_eq!(gate_up_n2i.len(), 2 * out_ni.len(), "gate and up");
    let out = Parts::new(out_ni);
    rows::run(count, 2 * inner, |_, range| {
        for row in range {
            // SAFETY: rows of different tasks do not overlap.
            let out = unsafe { out.take(row * inner..(row + 1) * inner) };
            let (gate, up) = gate_up_n2i[2 * row * inner..2 * (row + 1) * inner].split_at(inner);
            piece::swiglu(out, gate, up);
        }
    });
}

/// The gradient of the rows that went into [`swiglu_rows`].
///
/// # Panics
/// When the slices are not rows of `2·inner` and of `inner`.
pub fn swiglu_rows_backward<E: Element>(d_gate_up_n2i: &mut [E], d_out_ni: &[E], gate_up_n2i: &[E], inner: usize) {
    let count = rows::count(d_out_ni.len(), inner);
    assert_eq!((d_gate_up_n2i.len(), gate_up_n2i.len()), (2 * d_out_ni.len(), 2 * d_out_ni.len()), "gate and up");
    let to = Parts::new(d_gate_up_n2i);
    rows::run(count, 2 * inner, |_, range| {
        for row in range {
            let both = 2 * row * inner..2 * (row + 1) * inner;
            // SAFETY: rows of different tasks do not overlap.
            let (d_gate, d_up) = unsafe { to.take(both.clone()) }.split_at_mut(inner);
            let (gate, up) = gate_up_n2i[both].split_at(inner);
            piece::swiglu_backward(d_gate, d_up, &d_out_ni[row * inner..(row + 1) * inner], gate, up);
        }
    });
}

/// One task's elements.
mod piece {
    use super::{Element, exp, gelu_derivative, gelu_exact_derivative, gelu_exact_one, gelu_one, kernel, logistic};

    macro_rules! pair {
        ($forward:ident, $backward:ident, $value:expr, $derivative:expr) => {
            kernel! {
                /// `y[i] = f(x[i])`.
                pub fn $forward(y: &mut [f32], x: &[f32]) {
                    for (y, x) in y.iter_mut().zip(x) {
                        *y = $value(*x);
                    }
                }
            }

            kernel! {
                /// `dx[i] = f′(x[i])·dy[i]`.
                pub fn $backward(dx: &mut [f32], dy: &[f32], x: &[f32]) {
                    for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
                        *dx = $derivative(*x) * dy;
                    }
                }
            }
        };
    }

    pair!(gelu, gelu_backward, gelu_one, gelu_derivative);
    pair!(gelu_exact, gelu_exact_backward, gelu_exact_one, gelu_exact_derivative);
    pair!(silu, silu_backward, |x: f32| x / (1.0 + exp(-x)), |x: f32| {
        let s = logistic(x);
        s * (x * (1.0 - s) + 1.0)
    });

    kernel! {
        /// `y[i] = max(x[i], 0)`.
        pub fn relu(y: &mut [f32], x: &[f32]) {
            for (y, x) in y.iter_mut().zip(x) {
                *y = if *x < 0.0 { 0.0 } else { *x };
            }
        }
    }

    kernel! {
        /// `dx[i] = dy[i]` where `x[i]` is above 0, and 0 elsewhere.
        pub fn relu_backward(dx: &mut [f32], dy: &[f32], x: &[f32]) {
            for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
                let below = if *x <= 0.0 { 0.0 } else { *x };
                *dx = if *x > 0.0 { *dy } else { below };
            }
        }
    }

    kernel! {
        /// `out[i] = silu(gate[i])·up[i]`.
        pub fn swiglu<E: Element>(out: &mut [E], gate: &[E], up: &[E]) {
            for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                let gate = gate.to_f32();
                *out = E::from_f32(gate / (1.0 + exp(-gate)) * up.to_f32());
            }
        }
    }

    kernel! {
        /// The gradients of gate and up.
        pub fn swiglu_backward<E: Element>(d_gate: &mut [E], d_up: &mut [E], d_out: &[E], gate: &[E], up: &[E]) {
            let inputs = d_out.iter().zip(gate).zip(up);
            for ((d_gate, d_up), ((d_out, gate), up)) in d_gate.iter_mut().zip(d_up).zip(inputs) {
                let (d_out, gate, up) = (d_out.to_f32(), gate.to_f32(), up.to_f32());
                let s = logistic(gate);
                *d_gate = E::from_f32(d_out * up * (s * (gate * (1.0 - s) + 1.0)));
                *d_up = E::from_f32(d_out * (gate * s));
            }
        }
    }
}

#[inline(always)]
fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// √(2/π).
const ROOT: f32 = 0.797_884_6;
/// The cubic's factor in the tanh form.
const CUBIC: f32 = 0.044_715;

/// GELU by its tanh form. Because `(1 + tanh(u))/2 = sigmoid(2u)`, nothing cancels.
#[inline(always)]
pub(crate) fn gelu_one(x: f32) -> f32 {
    x * logistic(2.0 * ROOT * x * (CUBIC * x).mul_add(x, 1.0))
}

/// The derivative of [`gelu_one`].
#[inline(always)]
pub(crate) fn gelu_derivative(x: f32) -> f32 {
    // Beyond 16 it is 0 and 1, and nothing in here overflows.
    let x = clamp(x, 16.0);
    let s = logistic(2.0 * ROOT * x * (CUBIC * x).mul_add(x, 1.0));
    let inner = 2.0 * ROOT * (3.0 * CUBIC * x).mul_add(x, 1.0);
    s * (x * inner).mul_add(1.0 - s, 1.0)
}

#[inline(always)]
fn gelu_exact_one(x: f32) -> f32 {
    x * normal(x)
}

#[inline(always)]
pub(crate) fn gelu_exact_derivative(x: f32) -> f32 {
    const DENSITY: f32 = 0.398_942_3;
    let x = clamp(x, 16.0);
    (x * DENSITY).mul_add(exp(-0.5 * x * x), normal(x))
}

/// `x` no further from 0 than `most`; what is not a number passes.
#[inline(always)]
fn clamp(x: f32, most: f32) -> f32 {
    let x = if x < -most { -most } else { x };
    if x > most { most } else { x }
}

/// The normal distribution function `erfc(−x/√2)/2`, by the Chebyshev fit of Press et al., Numerical Recipes
/// in C (1992), 6.2, with a relative error below 1.2e-7 before rounding.
#[inline(always)]
fn normal(x: f32) -> f32 {
    const FIT: [f32; 10] = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_9,
        -1.135_204,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_7,
        -1.265_512_2,
    ];
    let z = clamp(x, 32.0).abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (0.5_f32).mul_add(z, 1.0);
    let mut polynomial = FIT[0];
    for coefficient in &FIT[1..] {
        polynomial = t.mul_add(polynomial, *coefficient);
    }
    let tail = 0.5 * t * exp((-z).mul_add(z, polynomial));
    if x > 0.0 { 1.0 - tail } else { tail }
}
