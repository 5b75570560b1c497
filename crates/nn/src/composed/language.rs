//! One step of a language model on a device of Burn. What it computes is what `crate::language` computes on
//! the CPU; `tests/devices.rs` holds the one to the other.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use infer::description::LanguageDescription;

use super::{Composed, Frame, integers, product};
use crate::dropout::Dropout;
use crate::graph::{Leaves, values};
use crate::language::{Batch, POSITIONS, TABLE, head_name};
use crate::tensors::Tensors;
use crate::transformer::{Frame as Sequences, Options};

/// As [`crate::language::step`].
pub(crate) fn step(
    description: &LanguageDescription,
    parameters: &Tensors,
    batch: &Batch,
    scale: f32,
    options: Options,
    gradients: &mut Tensors,
) -> f64 {
    let leaves = Leaves::new(parameters, options, true, |_| true);
    let Some(losses_c) = losses(description, &leaves, batch, options) else { return 0.0 };
    let sum = total(losses_c.clone().inner());
    let mut found = (losses_c.sum() * scale).backward();
    leaves.read(&mut found, gradients);
    sum
}

/// As [`crate::language::loss`].
pub(crate) fn loss(description: &LanguageDescription, parameters: &Tensors, batch: &Batch, options: Options) -> f64 {
    let options = Options { dropout: Dropout::OFF, ..options };
    let leaves = Leaves::new(parameters, options, false, |_| true);
    losses(description, &leaves, batch, options).map_or(0.0, total)
}

/// Adds up in double precision, as the kernels do.
fn total(losses_c: Tensor<1>) -> f64 {
    values(losses_c).into_iter().map(f64::from).sum()
}

/// The loss of each of the `c` targets that count; nothing where none does.
fn losses(description: &LanguageDescription, leaves: &Leaves, batch: &Batch, options: Options) -> Option<Tensor<1>> {
    let counted = || (0..batch.targets.len()).filter(|row| batch.targets[*row] != Batch::IGNORED);
    let rows_c: Vec<i64> = counted().map(|row| row as i64).collect();
    let targets_c: Vec<i64> = counted().map(|row| i64::from(batch.targets[row])).collect();
    if rows_c.is_empty() {
        return None;
    }
    let (shape, device, count) = (&description.shape, &leaves.device, rows_c.len());
    let sequences = Sequences::new(batch.lengths.iter().copied());
    let x_nw = embedded(leaves, ["", TABLE, POSITIONS], shape.learned_positions > 0, &batch.tokens, &sequences);
    let frame = Frame::new(shape, &sequences, device);
    let (compute, dropout) = (options.compute, options.dropout);
    let y_nw = Composed { shape, prefix: "", leaves, frame: &frame, compute, dropout }.forward(x_nw);
    let hidden_cw = y_nw.select(0, integers(rows_c, device));
    let logits_cv = product(hidden_cw, leaves.get(head_name(description)).transpose(), compute);
    let targets_c1 = integers(targets_c, device).reshape([count, 1]);
    Some(log_softmax(logits_cv, 1).gather(1, targets_c1).neg().reshape([count]))
}

/// The embedded tokens `[n, w]`, with learned positions where there are some. The names: a prefix, the table,
/// the positions.
pub(crate) fn embedded(
    leaves: &Leaves,
    [prefix, table, positions]: [&str; 3],
    learned: bool,
    tokens: &[u32],
    sequences: &Sequences,
) -> Tensor<2> {
    let rows = |name: &str, rows: &[u32]| {
        let rows = rows.iter().map(|row| i64::from(*row)).collect();
        leaves.get(&format!("{prefix}{name}")).select(0, integers(rows, &leaves.device))
    };
    let x_nw = rows(table, tokens);
    if learned { x_nw + rows(positions, &sequences.positions_n) } else { x_nw }
}
