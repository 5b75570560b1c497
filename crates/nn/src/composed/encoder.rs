//! A transformer input of a `predict` model on a device of Burn: what `crate::predict` does on the CPU with
//! kernels, as a part of the graph of the whole step.

use burn::tensor::{IndexingUpdateOp, Tensor};

use super::language::embedded;
use super::{Composed, Frame, integers};
use crate::graph::{Leaves, matrix};
use crate::language::{POSITIONS, TABLE};
use crate::transformer::{Frame as Sequences, Options};
use infer::description::TransformerShape;

/// One transformer input of some rows.
pub(crate) struct Input<'a> {
    pub(crate) shape: &'a TransformerShape,
    pub(crate) prefix: &'a str,
    pub(crate) tokens: &'a [u32],
    pub(crate) sequences: &'a Sequences,
    pub(crate) options: Options,
}

impl Input<'_> {
    /// The mean of each sequence's outputs, `[batch, width]`; zeros for an empty sequence.
    pub(crate) fn pooled(&self, leaves: &Leaves) -> Tensor<2> {
        let Self { shape, prefix, tokens, sequences, options } = *self;
        let (device, width) = (&leaves.device, shape.width);
        let zeros = Tensor::zeros([sequences.sequences.len(), width], device);
        if tokens.is_empty() {
            return zeros;
        }
        let x_nw = embedded(leaves, [prefix, TABLE, POSITIONS], shape.learned_positions > 0, tokens, sequences);
        let frame = Frame::new(shape, sequences, device);
        let (compute, dropout) = (options.compute, options.dropout);
        let y_nw = Composed { shape, prefix, leaves, frame: &frame, compute, dropout }.forward(x_nw);
        let (mut sequence_of_n, mut share_of_n) = (Vec::new(), Vec::new());
        for (index, rows) in sequences.sequences.iter().enumerate() {
            sequence_of_n.extend(rows.clone().map(|_| index as i64));
            share_of_n.extend(rows.clone().map(|_| 1.0 / rows.len() as f32));
        }
        let share_n1 = matrix(share_of_n, [tokens.len(), 1], device);
        zeros.select_assign(0, integers(sequence_of_n, device), y_nw * share_n1, IndexingUpdateOp::Add)
    }
}
