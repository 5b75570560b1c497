//! Blocks of 256 elements: `Q4_K`, `Q5_K`, `Q6_K`.
//!
//! ```text
//! Q4_K   d 2 | dmin 2 | scales 12 | q 128
//!        scales: 8 scales and 8 minimums of 6 bits, for 32 elements each
//!          byte i < 4         scale i, and in the top 2 bits the top 2 bits of scale i + 4
//!          byte 4 + i         minimum i, and the top 2 bits of minimum i + 4
//!          byte 8 + i         the lower 4 bits of scale i + 4, and above them those of minimum i + 4
//!        q: element 64c + i is the lower half of q[32c + i], element 64c + 32 + i the upper half (i < 32)
//! Q5_K   d 2 | dmin 2 | scales 12 | h 32 | q 128
//!        as Q4_K; the fifth bit of element 32b + i is bit b of h[i]
//! Q6_K   q 128 | h 64 | scales 16 | d 2
//!        elements come in two halves of 128, each with 64 bytes of q and 32 of h; in a half, element 32b + i has
//!        its lower 4 bits in q[32(b mod 2) + i] (the upper half of the byte for b ≥ 2) and its upper 2 bits in
//!        bits 2b of h[i]
//! ```
//!
//! Formulas: `dequantize_row_*`, `quantize_row_*_ref`, `make_qkx2_quants` and `make_qx_quants` of ggml.

use super::legacy::{half, inverse, set_half};

/// Elements that share a scale and a minimum.
const GROUP: usize = 32;
/// A size below which a group of `Q6_K` counts as zero.
const NOTHING: f32 = 1e-15;

/// The scale and the minimum of group `index` in the 12 bytes of `Q4_K` and `Q5_K`.
pub(super) fn scale_and_minimum(scales: &[u8], index: usize) -> (u8, u8) {
    if index < 4 {
        (scales[index] & 63, scales[index + 4] & 63)
    } else {
        let low = scales[index + 4];
        (low & 15 | (scales[index - 4] >> 6) << 4, low >> 4 | (scales[index] >> 6) << 4)
    }
}

fn set_scale_and_minimum(scales: &mut [u8], index: usize, scale: u8, minimum: u8) {
    if index < 4 {
        scales[index] |= scale;
        scales[index + 4] |= minimum;
    } else {
        scales[index + 4] = scale & 15 | (minimum & 15) << 4;
        scales[index - 4] |= (scale >> 4) << 6;
        scales[index] |= (minimum >> 4) << 6;
    }
}

pub(super) fn dequantise_q4_k(to: &mut [f32], block: &[u8]) {
    dequantise_groups(to, block, &block[16..], &[0; GROUP]);
}

pub(super) fn dequantise_q5_k(to: &mut [f32], block: &[u8]) {
    dequantise_groups(to, block, &block[48..], &block[16..48]);
}

/// Elements of 4 bits in `low` and one in `high`.
fn dequantise_groups(to: &mut [f32], block: &[u8], low: &[u8], high: &[u8]) {
    let (d, dmin) = (half(block), half(&block[2..]));
    for (group, to) in to.chunks_exact_mut(GROUP).enumerate() {
        let (scale, minimum) = scale_and_minimum(&block[4..16], group);
        let (scale, minimum) = (d * f32::from(scale), dmin * f32::from(minimum));
        let low = &low[group / 2 * GROUP..][..GROUP];
        for (to, (low, high)) in to.iter_mut().zip(low.iter().zip(high)) {
            let q = low >> (group % 2 * 4) & 15 | (high >> group & 1) << 4;
            *to = scale * f32::from(q) - minimum;
        }
    }
}

pub(super) fn dequantise_q6_k(to: &mut [f32], block: &[u8]) {
    let d = half(&block[208..]);
    for (i, to) in to.iter_mut().enumerate() {
        let scale = d * f32::from(block[192 + i / 16] as i8);
        *to = scale * f32::from(code_q6_k(block, i) as i8 - 32);
    }
}

/// The 6 bits of an element of `Q6_K`.
pub(super) fn code_q6_k(block: &[u8], element: usize) -> u8 {
    let (part, inner) = (element / 128, element % 128);
    let (group, i) = (inner / 32, inner % 32);
    let low = block[64 * part + 32 * (group % 2) + i] >> (group / 2 * 4) & 15;
    let high = block[128 + 32 * part + i] >> (2 * group) & 3;
    low | high << 4
}

pub(super) fn quantise_q4_k(block: &mut [u8], from: &[f32]) {
    let codes = quantise_groups::<15>(block, from, -1.0, 20);
    for (i, q) in block[16..].iter_mut().enumerate() {
        let first = i / GROUP * 2 * GROUP + i % GROUP;
        *q = codes[first] | codes[first + GROUP] << 4;
    }
}

pub(super) fn quantise_q5_k(block: &mut [u8], from: &[f32]) {
    let codes = quantise_groups::<31>(block, from, -0.5, 15);
    for i in 0..GROUP {
        block[16 + i] = (0..8).fold(0, |bits, group| bits | (codes[group * GROUP + i] >> 4) << group);
    }
    for (i, q) in block[48..].iter_mut().enumerate() {
        let first = i / GROUP * 2 * GROUP + i % GROUP;
        *q = codes[first] & 15 | (codes[first + GROUP] & 15) << 4;
    }
}

/// Writes the scales of `Q4_K` or `Q5_K` and gives the codes of the elements.
fn quantise_groups<const MOST: u8>(block: &mut [u8], from: &[f32], first: f32, steps: usize) -> [u8; 256] {
    let mut groups = [(0.0, 0.0); 8];
    for (group, from) in groups.iter_mut().zip(from.chunks_exact(GROUP)) {
        *group = search_with_minimum(from, f32::from(MOST), first, steps);
    }
    let largest = groups.iter().fold((0.0_f32, 0.0_f32), |most, group| (most.0.max(group.0), most.1.max(group.1)));
    let factors = (63.0 * inverse(largest.0), 63.0 * inverse(largest.1));
    block[4..16].fill(0);
    for (index, (scale, minimum)) in groups.iter().enumerate() {
        let scale = (factors.0 * scale).round_ties_even().min(63.0) as u8;
        let minimum = (factors.1 * minimum).round_ties_even().min(63.0) as u8;
        set_scale_and_minimum(&mut block[4..16], index, scale, minimum);
    }
    set_half(block, largest.0 / 63.0);
    set_half(&mut block[2..], largest.1 / 63.0);
    let (d, dmin) = (half(block), half(&block[2..]));
    let mut codes = [0; 256];
    for (index, (codes, from)) in codes.chunks_exact_mut(GROUP).zip(from.chunks_exact(GROUP)).enumerate() {
        let (scale, minimum) = scale_and_minimum(&block[4..16], index);
        let (scale, minimum) = (d * f32::from(scale), dmin * f32::from(minimum));
        if scale == 0.0 {
            continue;
        }
        for (code, from) in codes.iter_mut().zip(from) {
            *code = ((from + minimum) / scale).round_ties_even().clamp(0.0, f32::from(MOST)) as u8;
        }
    }
    codes
}

/// A scale and a minimum with a small error of `scale · q − minimum`, where larger elements weigh more: the
/// best of `steps + 1` least squares fits to codes that were rounded with `most + first + step/10` steps.
fn search_with_minimum(from: &[f32], most: f32, first: f32, steps: usize) -> (f32, f32) {
    let mean = (from.iter().map(|x| x * x).sum::<f32>() / from.len() as f32).sqrt();
    let weight = |x: f32| mean + x.abs();
    let least = from.iter().fold(0.0_f32, |least, x| least.min(*x));
    let largest = from.iter().fold(from[0], |largest, x| largest.max(*x));
    if largest <= least {
        return (0.0, -least);
    }
    let sum_w: f32 = from.iter().map(|x| weight(*x)).sum();
    let sum_x: f32 = from.iter().map(|x| weight(*x) * x).sum();
    let code = |factor: f32, x: f32| (factor * (x - least)).round_ties_even().clamp(0.0, most);
    let error = |factor: f32, scale: f32, minimum: f32| -> f32 {
        from.iter()
            .map(|x| {
                let difference = scale * code(factor, *x) + minimum - x;
                weight(*x) * (difference * difference)
            })
            .sum()
    };
    let factor = most / (largest - least);
    let (mut scale, mut minimum) = (1.0 / factor, least);
    let mut best = error(factor, scale, minimum);
    for step in 0..=steps {
        let factor = (first + 0.1 * step as f32 + most) / (largest - least);
        let (mut sum_q, mut sum_qq, mut sum_xq) = (0.0, 0.0, 0.0);
        for x in from {
            let (w, q) = (weight(*x), code(factor, *x));
            sum_q += w * q;
            sum_qq += w * q * q;
            sum_xq += w * q * x;
        }
        let determinant = sum_w * sum_qq - sum_q * sum_q;
        if determinant <= 0.0 {
            continue;
        }
        let mut tried =
            ((sum_w * sum_xq - sum_x * sum_q) / determinant, (sum_qq * sum_x - sum_q * sum_xq) / determinant);
        if tried.1 > 0.0 {
            tried = (sum_xq / sum_qq, 0.0);
        }
        let found = error(factor, tried.0, tried.1);
        if found < best {
            (best, scale, minimum) = (found, tried.0, tried.1);
        }
    }
    (scale, -minimum)
}

pub(super) fn quantise_q6_k(block: &mut [u8], from: &[f32]) {
    block.fill(0);
    let mut scales = [0.0_f32; 16];
    for (scale, from) in scales.iter_mut().zip(from.chunks_exact(16)) {
        *scale = search_symmetric(from, 32.0);
    }
    let largest = scales.iter().fold(0.0_f32, |most, scale| if scale.abs() > most.abs() { *scale } else { most });
    if largest.abs() < NOTHING {
        return;
    }
    let factor = -128.0 / largest;
    set_half(&mut block[208..], 1.0 / factor);
    let d = half(&block[208..]);
    for (index, (scale, from)) in scales.iter().zip(from.chunks_exact(16)).enumerate() {
        let scale = (factor * scale).round_ties_even().min(127.0) as i8;
        block[192 + index] = scale as u8;
        let scale = d * f32::from(scale);
        for (i, from) in from.iter().enumerate() {
            let code = if scale == 0.0 { 0.0 } else { (from / scale).round_ties_even().clamp(-32.0, 31.0) };
            set_code_q6_k(block, index * 16 + i, (code + 32.0) as u8);
        }
    }
}

/// Writes the 6 bits of an element whose bits are 0.
fn set_code_q6_k(block: &mut [u8], element: usize, code: u8) {
    let (part, inner) = (element / 128, element % 128);
    let (group, i) = (inner / 32, inner % 32);
    block[64 * part + 32 * (group % 2) + i] |= (code & 15) << (group / 2 * 4);
    block[128 + 32 * part + i] |= (code >> 4) << (2 * group);
}

/// A scale with a small error of `scale · q`, `−most ≤ q < most`, where larger elements weigh more: the best of
/// 19 least squares fits.
fn search_symmetric(from: &[f32], most: f32) -> f32 {
    let largest = from.iter().fold(0.0_f32, |largest, x| if x.abs() > largest.abs() { *x } else { largest });
    if largest.abs() < NOTHING {
        return 0.0;
    }
    let sums = |factor: f32| {
        from.iter().fold((0.0_f32, 0.0_f32), |(sum_xq, sum_qq), x| {
            let q = (factor * x).round_ties_even().clamp(-most, most - 1.0);
            let w = x * x;
            (sum_xq + w * x * q, sum_qq + w * q * q)
        })
    };
    let (sum_xq, sum_qq) = sums(-most / largest);
    let mut scale = if sum_qq == 0.0 { 0.0 } else { sum_xq / sum_qq };
    let mut best = scale * sum_xq;
    for step in (-9..=9).filter(|step| *step != 0) {
        let (sum_xq, sum_qq) = sums(-(most + 0.1 * step as f32) / largest);
        if sum_qq > 0.0 && sum_xq * sum_xq > best * sum_qq {
            scale = sum_xq / sum_qq;
            best = scale * sum_xq;
        }
    }
    scale
}
