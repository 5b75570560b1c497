//! Blocks of 32 elements: `Q8_0`, `Q4_0`, `Q4_1`.
//!
//! ```text
//! Q8_0   d 2 | q 32                      element i is q[i]
//! Q4_0   d 2 | q 16                      elements i and i + 16 are the lower and the upper half of q[i]
//! Q4_1   d 2 | m 2 | q 16                the same
//! ```
//!
//! Formulas: `quantize_row_*_ref` and `dequantize_row_*` of ggml.

use crate::f16::F16;

/// The f16 at the begin of some bytes.
pub(super) fn half(bytes: &[u8]) -> f32 {
    F16(u16::from_le_bytes([bytes[0], bytes[1]])).to_f32()
}

/// Writes an f16 to the begin of some bytes.
pub(super) fn set_half(bytes: &mut [u8], value: f32) {
    bytes[..2].copy_from_slice(&F16::from_f32(value).0.to_le_bytes());
}

/// `1/value`, and 0 for 0.
pub(super) fn inverse(value: f32) -> f32 {
    if value == 0.0 { 0.0 } else { 1.0 / value }
}

pub(super) fn dequantise_q8_0(to: &mut [f32], block: &[u8]) {
    let d = half(block);
    for (to, q) in to.iter_mut().zip(&block[2..]) {
        *to = f32::from(*q as i8) * d;
    }
}

pub(super) fn dequantise_q4_0(to: &mut [f32], block: &[u8]) {
    let d = half(block);
    for (i, q) in block[2..].iter().enumerate() {
        to[i] = f32::from((q & 15) as i8 - 8) * d;
        to[i + 16] = f32::from((q >> 4) as i8 - 8) * d;
    }
}

pub(super) fn dequantise_q4_1(to: &mut [f32], block: &[u8]) {
    let (d, m) = (half(block), half(&block[2..]));
    for (i, q) in block[4..].iter().enumerate() {
        to[i] = d * f32::from(q & 15) + m;
        to[i + 16] = d * f32::from(q >> 4) + m;
    }
}

pub(super) fn quantise_q8_0(block: &mut [u8], from: &[f32]) {
    let largest = from.iter().fold(0.0_f32, |largest, from| largest.max(from.abs()));
    let d = largest / 127.0;
    let factor = inverse(d);
    set_half(block, d);
    for (q, from) in block[2..].iter_mut().zip(from) {
        *q = (from * factor).round() as i8 as u8;
    }
}

pub(super) fn quantise_q4_0(block: &mut [u8], from: &[f32]) {
    // The first of the largest, with its sign, becomes −8.
    let largest = from.iter().fold(0.0_f32, |largest, from| if from.abs() > largest.abs() { *from } else { largest });
    let d = largest / -8.0;
    let factor = inverse(d);
    set_half(block, d);
    let code = |from: f32| ((from * factor + 8.5) as u8).min(15);
    for (i, q) in block[2..].iter_mut().enumerate() {
        *q = code(from[i]) | code(from[i + 16]) << 4;
    }
}

pub(super) fn quantise_q4_1(block: &mut [u8], from: &[f32]) {
    let least = from.iter().fold(f32::MAX, |least, from| least.min(*from));
    let most = from.iter().fold(f32::MIN, |most, from| most.max(*from));
    let d = (most - least) / 15.0;
    let factor = inverse(d);
    set_half(block, d);
    set_half(&mut block[2..], least);
    let code = |from: f32| (((from - least) * factor + 0.5) as u8).min(15);
    for (i, q) in block[4..].iter_mut().enumerate() {
        *q = code(from[i]) | code(from[i + 16]) << 4;
    }
}
