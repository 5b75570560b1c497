//! Losses with hand-written gradients, one pass over the logits: cross-entropy, binary cross-entropy,
//! mean squared error. Sums are taken in f64 and in the order of the rows. The losses of tokens are
//! `kernels::cross_entropy`'s.

use infer::description::{OutputDescription, Target};

/// What one output should have said, a row each.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// The positions of labels (category).
    Labels(Vec<u32>),
    /// Truth values as 0 and 1 (binary), or standardised numbers.
    Values(Vec<f32>),
}

/// The loss of each row summed over rows, and `scale` times its gradient by the logits.
///
/// `logits` is `[rows, width of all outputs]`; `targets` has one entry per output. The loss of a row is
/// the sum of its outputs' losses by their weights.
#[must_use]
pub fn outputs_loss(outputs: &[OutputDescription], logits: &[f32], targets: &[Targets], scale: f32) -> (f64, Vec<f32>) {
    let width: usize = outputs.iter().map(OutputDescription::width).sum();
    let rows = logits.len() / width.max(1);
    let mut gradient = vec![0.0_f32; logits.len()];
    let mut total = 0.0_f64;
    for row in 0..rows {
        let mut begin = row * width;
        for (output, target) in outputs.iter().zip(targets) {
            let end = begin + output.width();
            let (z, g) = (&logits[begin..end], &mut gradient[begin..end]);
            let scale = (output.weight * f64::from(scale)) as f32;
            let loss = match (&output.target, target) {
                (Target::Category { .. }, Targets::Labels(labels)) => cross_entropy(z, labels[row], scale, g),
                (Target::Binary { .. }, Targets::Values(truths)) => binary(z[0], truths[row], output.squared, scale, g),
                (Target::Number { .. }, Targets::Values(truths)) => {
                    let error = z[0] - truths[row];
                    g[0] = 2.0 * error * scale;
                    f64::from(error) * f64::from(error)
                }
                _ => unreachable!("labels are for categories, values for the others"),
            };
            total += output.weight * loss;
            begin = end;
        }
    }
    (total, gradient)
}

/// `−ln softmax(logits)[label]`; writes `(softmax − one-hot) · scale`.
fn cross_entropy(logits: &[f32], label: u32, scale: f32, gradient: &mut [f32]) -> f64 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0_f64;
    for (g, z) in gradient.iter_mut().zip(logits) {
        *g = (z - top).exp();
        sum += f64::from(*g);
    }
    let share = (f64::from(scale) / sum) as f32;
    for g in gradient.iter_mut() {
        *g *= share;
    }
    let label = label as usize;
    gradient[label] -= scale;
    sum.ln() - f64::from(logits[label] - top)
}

/// Binary cross-entropy with logits, or the squared error of the probability.
fn binary(z: f32, truth: f32, squared: bool, scale: f32, gradient: &mut [f32]) -> f64 {
    let probability = 1.0 / (1.0 + (-f64::from(z)).exp());
    let error = probability - f64::from(truth);
    if squared {
        gradient[0] = (2.0 * error * probability * (1.0 - probability)) as f32 * scale;
        return error * error;
    }
    gradient[0] = error as f32 * scale;
    // ln(1 + e^z) − truth·z, written so that nothing overflows.
    f64::from(z).max(0.0) - f64::from(truth) * f64::from(z) + (-f64::from(z).abs()).exp().ln_1p()
}
