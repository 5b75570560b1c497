//! The gates of one sequence at one step, fused: all that a recurrent layer does besides its products.

use crate::activation::exp;
use crate::isa::kernel;

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `tanh x` within some 1e-7 of itself: Taylor's polynomial near 0, where `1 − 2 / (e²ˣ + 1)` loses digits.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    const NEAR: f32 = 0.3;
    let square = x * x;
    let mut polynomial = 21844.0 / 6_081_075.0;
    for coefficient in [-1382.0 / 155_925.0, 62.0 / 2835.0, -17.0 / 315.0, 2.0 / 15.0, -1.0 / 3.0] {
        polynomial = square.mul_add(polynomial, coefficient);
    }
    let near = (x * square).mul_add(polynomial, x);
    let far = 1.0 - 2.0 / (exp(2.0 * x) + 1.0);
    if x.abs() < NEAR { near } else { far }
}

kernel! {
    /// LSTM: makes gates of sums, `i f g o` each as long as a state; `c = f·c_before + i·g`, `h = o·tanh(c)`.
    pub fn lstm_forward(gates: &mut [f32], c: &mut [f32], h: &mut [f32], c_before: &[f32]) {
        let length = c.len();
        let (i, rest) = gates.split_at_mut(length);
        let (f, rest) = rest.split_at_mut(length);
        let (g, o) = rest.split_at_mut(length);
        let (o, h, c_before) = (&mut o[..length], &mut h[..length], &c_before[..length]);
        for u in 0..length {
            i[u] = sigmoid(i[u]);
            f[u] = sigmoid(f[u]);
            g[u] = tanh(g[u]);
            o[u] = sigmoid(o[u]);
            c[u] = f[u].mul_add(c_before[u], i[u] * g[u]);
            h[u] = o[u] * tanh(c[u]);
        }
    }
}

kernel! {
    /// LSTM: makes gradients by sums of `gates`, and the gradient of the cell before of `dc`; `dh` is the whole
    /// gradient of the output.
    pub fn lstm_backward(gates: &mut [f32], dc: &mut [f32], dh: &[f32], c: &[f32], c_before: &[f32]) {
        let length = dc.len();
        let (i, rest) = gates.split_at_mut(length);
        let (f, rest) = rest.split_at_mut(length);
        let (g, o) = rest.split_at_mut(length);
        let (o, dh, c, c_before) = (&mut o[..length], &dh[..length], &c[..length], &c_before[..length]);
        for u in 0..length {
            let (in_, forget, cell, out) = (i[u], f[u], g[u], o[u]);
            let tanh_c = tanh(c[u]);
            let d_cell = (dh[u] * out).mul_add(1.0 - tanh_c * tanh_c, dc[u]);
            o[u] = dh[u] * tanh_c * out * (1.0 - out);
            i[u] = d_cell * cell * in_ * (1.0 - in_);
            f[u] = d_cell * c_before[u] * forget * (1.0 - forget);
            g[u] = d_cell * in_ * (1.0 - cell * cell);
            dc[u] = d_cell * forget;
        }
    }
}

kernel! {
    /// GRU: makes gates `r z n` of the input's sums; `hidden` holds the sums of the state, `r z n` too.
    /// `n = tanh(n + r·hidden_n)`, `h = (1 − z)·n + z·h_before`. `hidden_n` is kept.
    pub fn gru_forward(gates: &mut [f32], hidden_n: &mut [f32], h: &mut [f32], hidden: &[f32], h_before: &[f32]) {
        let length = h.len();
        let (r, rest) = gates.split_at_mut(length);
        let (z, n) = rest.split_at_mut(length);
        let (n, hidden_n, h_before) = (&mut n[..length], &mut hidden_n[..length], &h_before[..length]);
        let (from_r, from_z, from_n) =
            (&hidden[..length], &hidden[length..2 * length], &hidden[2 * length..3 * length]);
        for u in 0..length {
            r[u] = sigmoid(r[u] + from_r[u]);
            z[u] = sigmoid(z[u] + from_z[u]);
            hidden_n[u] = from_n[u];
            n[u] = tanh(r[u].mul_add(from_n[u], n[u]));
            h[u] = z[u].mul_add(h_before[u] - n[u], n[u]);
        }
    }
}

kernel! {
    /// GRU: makes gradients by the input's sums of `gates` and by the state's sums of `hidden_n` (those of `r`
    /// and `z` are the same), and of `dh` what goes to the state before without the product.
    pub fn gru_backward(gates: &mut [f32], hidden_n: &mut [f32], dh: &mut [f32], h_before: &[f32]) {
        let length = dh.len();
        let (r, rest) = gates.split_at_mut(length);
        let (z, n) = rest.split_at_mut(length);
        let (n, hidden_n, h_before) = (&mut n[..length], &mut hidden_n[..length], &h_before[..length]);
        for u in 0..length {
            let (reset, update, new) = (r[u], z[u], n[u]);
            let d_new = dh[u] * (1.0 - update) * (1.0 - new * new);
            r[u] = d_new * hidden_n[u] * reset * (1.0 - reset);
            z[u] = dh[u] * (h_before[u] - new) * update * (1.0 - update);
            n[u] = d_new;
            hidden_n[u] = d_new * reset;
            dh[u] *= update;
        }
    }
}
