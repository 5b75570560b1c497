//! The forward pass.

use infer::description::{Mlp, NormPlace};
use kernels::gemm::{Activation, Data, DataMut, Epilogue};
use kernels::norm::Input;
use kernels::pointwise::swiglu_rows;
use kernels::position::RotaryTable;

use super::{Linear, Tape, Transformer, Workspace, sized};

impl Transformer<'_> {
    /// The transformer's outputs `[n, w]`, in `workspace.y_nw`, for embedded tokens in
    /// `workspace.dy_nw`, which is free until the backward pass.
    pub(crate) fn forward(&self, workspace: &mut Workspace) {
        let count = self.frame.rows() * self.shape.width;
        self.make_angles(workspace);
        let Workspace { tapes, inputs, edge_nw, edge_moments_n, y_nw, dy_nw, rotary, .. } = workspace;
        tapes.resize_with(if self.options.recompute { 1 } else { self.shape.layers.max(1) }, Tape::default);
        inputs.resize_with(if self.options.recompute { self.shape.layers } else { 0 }, Vec::new);
        let x = sized(&mut tapes[0].x_nw, count);
        let moments = sized(edge_moments_n, self.frame.rows());
        if self.shape.norm_place == NormPlace::After {
            std::mem::swap(edge_nw, dy_nw);
            self.norm(&self.edge("embed_norm")).forward(x, moments, Input::Rows(edge_nw));
        } else {
            std::mem::swap(&mut tapes[0].x_nw, dy_nw);
        }
        for layer in 0..self.shape.layers {
            if self.options.recompute {
                inputs[layer].clone_from(&tapes[0].x_nw);
                self.layer(layer, &mut tapes[0], sized(y_nw, count), rotary.as_ref());
                std::mem::swap(&mut tapes[0].x_nw, y_nw);
            } else if layer + 1 < self.shape.layers {
                let (done, rest) = tapes.split_at_mut(layer + 1);
                self.layer(layer, &mut done[layer], sized(&mut rest[0].x_nw, count), rotary.as_ref());
            } else {
                self.layer(layer, &mut tapes[layer], sized(y_nw, count), rotary.as_ref());
            }
        }
        if self.options.recompute || self.shape.layers == 0 {
            std::mem::swap(&mut tapes[0].x_nw, y_nw);
        }
        if self.norms_before() {
            std::mem::swap(edge_nw, y_nw);
            let norm = self.norm(&self.edge("norm"));
            norm.forward(sized(y_nw, count), sized(edge_moments_n, self.frame.rows()), Input::Rows(edge_nw));
        }
    }

    /// The rotary angles of every place of the longest sequence.
    fn make_angles(&self, workspace: &mut Workspace) {
        if self.shape.learned_positions > 0 {
            return;
        }
        let longest = self.frame.sequences.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        if workspace.rotary_places < longest {
            let dim = self.shape.head_width();
            workspace.rotary = Some(RotaryTable::new(longest, dim, f64::from(self.shape.rope_theta)));
            workspace.rotary_places = longest;
        }
    }

    /// One layer, from `tape.x_nw` to `out_nw`.
    pub(super) fn layer(&self, layer: usize, tape: &mut Tape, out_nw: &mut [f32], rotary: Option<&RotaryTable>) {
        self.attend(layer, tape, rotary);
        let [attention_norm, mlp_norm] = self.norm_names(layer);
        let (rows, count) = (self.frame.rows(), tape.x_nw.len());
        let place = 2 * layer as u64;
        let attended = sized(&mut tape.attended_nw, count);
        let output = self.output(layer);
        tape.attention_mask = self.add_block(&output, attended, &tape.mixed_nw, &tape.x_nw, place);
        let norm = self.norm(if self.norms_before() { &mlp_norm } else { &attention_norm });
        let moments = if self.norms_before() { &mut tape.mlp_moments_n } else { &mut tape.attention_moments_n };
        norm.forward(sized(&mut tape.mlp_in_nw, count), sized(moments, rows), Input::Rows(&tape.attended_nw));
        self.activate(layer, tape);
        let down = self.down(layer);
        if self.norms_before() {
            tape.mlp_mask = self.add_block(&down, out_nw, &tape.activated_nf, &tape.attended_nw, place + 1);
        } else {
            let summed = sized(&mut tape.summed_nw, count);
            tape.mlp_mask = self.add_block(&down, summed, &tape.activated_nf, &tape.mlp_in_nw, place + 1);
            let moments = sized(&mut tape.mlp_moments_n, rows);
            self.norm(&mlp_norm).forward(out_nw, moments, Input::Rows(&tape.summed_nw));
        }
    }

    /// Norm, queries, keys and values, rotary positions, attention.
    fn attend(&self, layer: usize, tape: &mut Tape, rotary: Option<&RotaryTable>) {
        let (rows, width, stride) = (self.frame.rows(), self.shape.width, self.stride());
        let qkv = sized(&mut tape.qkv_ns, rows * stride);
        if self.norms_before() {
            let norm = self.norm(&self.norm_names(layer)[0]);
            let moments = sized(&mut tape.attention_moments_n, rows);
            norm.forward(sized(&mut tape.normed_nw, rows * width), moments, Input::Rows(&tape.x_nw));
            self.qkv(layer).forward(qkv, &tape.normed_nw, Epilogue::default());
        } else {
            self.qkv(layer).forward(qkv, &tape.x_nw, Epilogue::default());
        }
        if let Some(rotary) = rotary {
            let heads = self.shape.heads + self.shape.kv_heads();
            rotary.forward(qkv, stride, 0..heads, &self.frame.positions_n);
        }
        let mixed = sized(&mut tape.mixed_nw, rows * width);
        self.attention().forward(mixed, sized(&mut tape.log_sum_exp_hn, rows * self.shape.heads), qkv);
    }

    /// The MLP up to its activation.
    fn activate(&self, layer: usize, tape: &mut Tape) {
        let (rows, inner) = (self.frame.rows(), self.shape.feed_forward);
        let up = self.up(layer);
        let pre = sized(&mut tape.pre_nf, rows * up.out);
        let activated = sized(&mut tape.activated_nf, rows * inner);
        match self.activation() {
            None => {
                up.forward(pre, &tape.mlp_in_nw, Epilogue::default());
                swiglu_rows(activated, pre, inner);
            }
            Some(activation) => {
                let epilogue = Epilogue { before: Some(DataMut::F32(pre)), activation, ..Epilogue::default() };
                up.forward(activated, &tape.mlp_in_nw, epilogue);
            }
        }
    }

    /// The activation of an MLP without gate.
    pub(super) fn activation(&self) -> Option<Activation> {
        match self.shape.mlp {
            Mlp::SwiGlu => None,
            Mlp::Gelu => Some(Activation::Gelu),
            Mlp::Relu => Some(Activation::Relu),
        }
    }

    /// `out = residual + dropout(block(x))`, and the mask of the dropout.
    fn add_block(
        &self,
        block: &Linear<'_>,
        out_nw: &mut [f32],
        x: &[f32],
        residual_nw: &[f32],
        place: u64,
    ) -> Option<Vec<f32>> {
        let mask = self.options.dropout.mask(out_nw.len(), place);
        match &mask {
            None => {
                block.forward(out_nw, x, Epilogue { residual: Some(Data::F32(residual_nw)), ..Epilogue::default() });
            }
            Some(mask) => {
                block.forward(out_nw, x, Epilogue::default());
                for ((out, mask), residual) in out_nw.iter_mut().zip(mask).zip(residual_nw) {
                    *out = *out * mask + residual;
                }
            }
        }
        mask
    }
}
