//! The forward pass.

use infer::description::{Mlp, NormPlace};
use kernels::element::Element;
use kernels::gemm::{Activation, Compute, Data, Epilogue};
use kernels::norm::Input;
use kernels::pointwise::swiglu_rows;
use kernels::position::RotaryTable;

use super::{Layers, Linear, Tape, Transformer, Workspace, sized};

impl Transformer<'_> {
    /// The transformer's outputs `[n, w]`, in `workspace.y_nw`, for embedded tokens in
    /// `workspace.dy_nw`, which is free until the backward pass.
    pub(crate) fn forward(&self, workspace: &mut Workspace) {
        self.make_angles(workspace);
        match self.options.compute {
            Compute::F32 => {
                let mut layers = std::mem::take(&mut workspace.single);
                self.forward_through(&mut layers, workspace);
                workspace.single = layers;
            }
            Compute::Bf16 => {
                let mut layers = std::mem::take(&mut workspace.half);
                self.forward_through(&mut layers, workspace);
                workspace.half = layers;
            }
        }
    }

    fn forward_through<E: Element>(&self, layers: &mut Layers<E>, workspace: &mut Workspace) {
        let count = self.frame.rows() * self.shape.width;
        let Workspace { inputs, edge_nw, edge_moments_n, y_nw, dy_nw, rotary, .. } = workspace;
        let tapes = &mut layers.tapes;
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
    pub(super) fn layer<E: Element>(
        &self,
        layer: usize,
        tape: &mut Tape<E>,
        out_nw: &mut [f32],
        rotary: Option<&RotaryTable>,
    ) {
        self.attend(layer, tape, rotary);
        let [attention_norm, mlp_norm] = self.norm_names(layer);
        let (rows, count) = (self.frame.rows(), tape.x_nw.len());
        let place = 2 * layer as u64;
        let attended = sized(&mut tape.attended_nw, count);
        let output = self.output(layer);
        tape.attention_mask = self.add_block(&output, attended, E::data(&tape.mixed_nw), &tape.x_nw, place);
        let down = self.down(layer);
        if self.norms_before() {
            let moments = sized(&mut tape.mlp_moments_n, rows);
            let mlp_in = sized(&mut tape.mlp_in_nw, count);
            self.norm(&mlp_norm).forward(mlp_in, moments, Input::Rows(&tape.attended_nw));
            self.activate(layer, tape);
            let activated = E::data(&tape.activated_nf);
            tape.mlp_mask = self.add_block(&down, out_nw, activated, &tape.attended_nw, place + 1);
        } else {
            let moments = sized(&mut tape.attention_moments_n, rows);
            let middle = sized(&mut tape.middle_nw, count);
            self.norm(&attention_norm).forward(middle, moments, Input::Rows(&tape.attended_nw));
            self.activate(layer, tape);
            let (summed, activated) = (sized(&mut tape.summed_nw, count), E::data(&tape.activated_nf));
            tape.mlp_mask = self.add_block(&down, summed, activated, &tape.middle_nw, place + 1);
            let moments = sized(&mut tape.mlp_moments_n, rows);
            self.norm(&mlp_norm).forward(out_nw, moments, Input::Rows(&tape.summed_nw));
        }
    }

    /// Norm, queries, keys and values, rotary positions, attention.
    fn attend<E: Element>(&self, layer: usize, tape: &mut Tape<E>, rotary: Option<&RotaryTable>) {
        let (rows, width, stride) = (self.frame.rows(), self.shape.width, self.stride());
        let mut kept = std::mem::take(&mut tape.qkv_ns);
        let qkv = sized(&mut kept, rows * stride);
        if self.norms_before() {
            let norm = self.norm(&self.norm_names(layer)[0]);
            let moments = sized(&mut tape.attention_moments_n, rows);
            norm.forward(sized(&mut tape.normed_nw, rows * width), moments, Input::Rows(&tape.x_nw));
        }
        self.qkv(layer).forward(E::data_mut(qkv), self.attention_input(tape), Epilogue::default());
        if let Some(rotary) = rotary {
            let heads = self.shape.heads + self.shape.kv_heads();
            rotary.forward(qkv, stride, 0..heads, &self.frame.positions_n);
        }
        let mixed = sized(&mut tape.mixed_nw, rows * width);
        self.attention().forward(mixed, sized(&mut tape.log_sum_exp_hn, rows * self.shape.heads), qkv);
        tape.qkv_ns = kept;
    }

    /// What queries, keys and values are made of.
    pub(super) fn attention_input<'a, E: Element>(&self, tape: &'a Tape<E>) -> Data<'a> {
        if self.norms_before() { E::data(&tape.normed_nw) } else { Data::F32(&tape.x_nw) }
    }

    /// What the MLP is given.
    pub(super) fn mlp_input<'a, E: Element>(&self, tape: &'a Tape<E>) -> Data<'a> {
        if self.norms_before() { E::data(&tape.mlp_in_nw) } else { Data::F32(&tape.middle_nw) }
    }

    /// The MLP up to its activation.
    fn activate<E: Element>(&self, layer: usize, tape: &mut Tape<E>) {
        let (rows, inner) = (self.frame.rows(), self.shape.feed_forward);
        let up = self.up(layer);
        let mut pre = std::mem::take(&mut tape.pre_nf);
        let mut activated = std::mem::take(&mut tape.activated_nf);
        let (to, result) = (sized(&mut pre, rows * up.out), sized(&mut activated, rows * inner));
        match self.activation() {
            None => {
                up.forward(E::data_mut(to), self.mlp_input(tape), Epilogue::default());
                swiglu_rows(result, to, inner);
            }
            Some(activation) => {
                let epilogue = Epilogue { before: Some(E::data_mut(to)), activation, ..Epilogue::default() };
                up.forward(E::data_mut(result), self.mlp_input(tape), epilogue);
            }
        }
        (tape.pre_nf, tape.activated_nf) = (pre, activated);
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
        x: Data<'_>,
        residual_nw: &[f32],
        place: u64,
    ) -> Option<Vec<f32>> {
        let mask = self.options.dropout.mask(out_nw.len(), place);
        match &mask {
            None => {
                block.forward(
                    out_nw.into(),
                    x,
                    Epilogue { residual: Some(Data::F32(residual_nw)), ..Epilogue::default() },
                );
            }
            Some(mask) => {
                block.forward((&mut *out_nw).into(), x, Epilogue::default());
                for ((out, mask), residual) in out_nw.iter_mut().zip(mask).zip(residual_nw) {
                    *out = *out * mask + residual;
                }
            }
        }
        mask
    }
}
