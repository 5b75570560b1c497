//! The backward pass.

use kernels::element::Element;
use kernels::gemm::{Compute, Epilogue};
use kernels::norm::{Gradients, Moments};
use kernels::pointwise::swiglu_rows_backward;
use kernels::position::RotaryTable;

use super::{Layers, Scratch, Tape, Transformer, Workspace, sized};
use crate::tensors::{Sink, Tensors};

/// Where the gradient of a norm's input goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Into {
    /// It is added to what is there, the gradient that goes around the block.
    Sum,
    /// It is all there is.
    Place,
}

impl Transformer<'_> {
    /// Turns `workspace.dy_nw`, the gradient by the outputs, into the gradient by the embedded tokens;
    /// those by the parameters are added to those of `sink`, which hears of each layer that is done: what stands
    /// behind the layer in the arena was done before.
    pub(crate) fn backward(&self, workspace: &mut Workspace, sink: &mut Sink<'_>) {
        match self.options.compute {
            Compute::F32 => {
                let mut layers = std::mem::take(&mut workspace.single);
                self.backward_through(&mut layers, workspace, sink);
                workspace.single = layers;
            }
            Compute::Bf16 => {
                let mut layers = std::mem::take(&mut workspace.half);
                self.backward_through(&mut layers, workspace, sink);
                workspace.half = layers;
            }
        }
    }

    fn backward_through<E: Element>(&self, layers: &mut Layers<E>, workspace: &mut Workspace, sink: &mut Sink<'_>) {
        let Workspace { inputs, edge_nw, edge_moments_n, y_nw, dy_nw, sum_nw, rotary, .. } = workspace;
        let Layers { tapes, scratch } = layers;
        if self.norms_before() {
            let sum = sized(sum_nw, dy_nw.len());
            self.norm_backward(&self.edge("norm"), sum, Into::Place, dy_nw, edge_nw, edge_moments_n, sink.gradients);
            std::mem::swap(dy_nw, sum_nw);
        }
        for layer in (0..self.shape.layers).rev() {
            if self.options.recompute {
                std::mem::swap(&mut tapes[0].x_nw, &mut inputs[layer]);
                self.layer(layer, &mut tapes[0], sized(y_nw, dy_nw.len()), rotary.as_ref());
            }
            let tape = &tapes[if self.options.recompute { 0 } else { layer }];
            if self.norms_before() {
                self.layer_backward(layer, tape, dy_nw, scratch, rotary.as_ref(), sink);
            } else {
                self.layer_backward_norms_behind(layer, tape, dy_nw, scratch, rotary.as_ref(), sink.gradients);
            }
            sink.final_from(&self.first_tensor(layer));
        }
        if !self.norms_before() {
            let sum = sized(sum_nw, dy_nw.len());
            self.norm_backward(
                &self.edge("embed_norm"),
                sum,
                Into::Place,
                dy_nw,
                edge_nw,
                edge_moments_n,
                sink.gradients,
            );
            std::mem::swap(dy_nw, sum_nw);
        }
    }

    /// The tensor that a layer's others stand behind.
    fn first_tensor(&self, layer: usize) -> String {
        self.name(layer, if self.norms_before() { "input_layernorm.weight" } else { "self_attn.q_proj.weight" })
    }

    fn layer_backward<E: Element>(
        &self,
        layer: usize,
        tape: &Tape<E>,
        d_nw: &mut [f32],
        scratch: &mut Scratch<E>,
        rotary: Option<&RotaryTable>,
        sink: &mut Sink<'_>,
    ) {
        let [attention_norm, mlp_norm] = self.norm_names(layer);
        let mut branch = std::mem::take(&mut scratch.branch_nw);
        self.mlp_backward(layer, tape, d_nw, sized(&mut branch, d_nw.len()), None, scratch, sink.gradients);
        self.norm_backward(&mlp_norm, d_nw, Into::Sum, &branch, &tape.attended_nw, &tape.mlp_moments_n, sink.gradients);
        sink.final_from(&format!("{mlp_norm}.weight"));
        self.attention_backward(layer, tape, d_nw, &mut branch, None, scratch, rotary, sink.gradients);
        let moments = &tape.attention_moments_n;
        self.norm_backward(&attention_norm, d_nw, Into::Sum, &branch, &tape.x_nw, moments, sink.gradients);
        scratch.branch_nw = branch;
    }

    fn layer_backward_norms_behind<E: Element>(
        &self,
        layer: usize,
        tape: &Tape<E>,
        d_nw: &mut [f32],
        scratch: &mut Scratch<E>,
        rotary: Option<&RotaryTable>,
        gradients: &mut Tensors,
    ) {
        let [attention_norm, mlp_norm] = self.norm_names(layer);
        let mut branch = std::mem::take(&mut scratch.branch_nw);
        let mut sum = std::mem::take(&mut scratch.sum_nw);
        sized(&mut branch, d_nw.len());
        sized(&mut sum, d_nw.len());
        let (moments, x) = (&tape.mlp_moments_n, &tape.summed_nw);
        self.norm_backward(&mlp_norm, &mut sum, Into::Place, d_nw, x, moments, gradients);
        self.mlp_backward(layer, tape, &sum, &mut branch, Some(&sum), scratch, gradients);
        let (moments, x) = (&tape.attention_moments_n, &tape.attended_nw);
        self.norm_backward(&attention_norm, &mut sum, Into::Place, &branch, x, moments, gradients);
        self.attention_backward(layer, tape, &sum, d_nw, Some(&sum), scratch, rotary, gradients);
        (scratch.branch_nw, scratch.sum_nw) = (branch, sum);
    }

    /// From the gradient of the sum behind the MLP to that of its input, plus `residual`.
    #[expect(clippy::too_many_arguments, reason = "buffers that are borrowed apart")]
    fn mlp_backward<E: Element>(
        &self,
        layer: usize,
        tape: &Tape<E>,
        d_out_nw: &[f32],
        dx_nw: &mut [f32],
        residual: Option<&[f32]>,
        scratch: &mut Scratch<E>,
        gradients: &mut Tensors,
    ) {
        let (rows, inner) = (self.frame.rows(), self.shape.feed_forward);
        let (down, up) = (self.down(layer), self.up(layer));
        let Scratch { wide_nf, wider_nf, masked_nw, .. } = scratch;
        let d_out_nw = masked(masked_nw, d_out_nw, tape.mlp_mask.as_deref());
        down.backward_weight(d_out_nw.into(), E::data(&tape.activated_nf), gradients);
        let d_activated = sized(wide_nf, rows * inner);
        let d_pre: &[E] = match self.activation() {
            None => {
                down.backward_input(E::data_mut(d_activated), d_out_nw.into(), None);
                let d_pre = sized(wider_nf, rows * 2 * inner);
                swiglu_rows_backward(d_pre, d_activated, &tape.pre_nf, inner);
                d_pre
            }
            Some(activation) => {
                let derivative = Some((activation, E::data(&tape.pre_nf)));
                let epilogue = Epilogue { derivative, ..Epilogue::default() };
                down.backward_through(E::data_mut(d_activated), d_out_nw.into(), epilogue);
                d_activated
            }
        };
        up.backward_weight(E::data(d_pre), self.mlp_input(tape), gradients);
        up.backward_input(dx_nw.into(), E::data(d_pre), residual);
    }

    /// From the gradient of the sum behind attention to that of its input, plus `residual`.
    #[expect(clippy::too_many_arguments, reason = "buffers that are borrowed apart")]
    fn attention_backward<E: Element>(
        &self,
        layer: usize,
        tape: &Tape<E>,
        d_out_nw: &[f32],
        dx_nw: &mut [f32],
        residual: Option<&[f32]>,
        scratch: &mut Scratch<E>,
        rotary: Option<&RotaryTable>,
        gradients: &mut Tensors,
    ) {
        let (rows, stride) = (self.frame.rows(), self.stride());
        let (output, qkv) = (self.output(layer), self.qkv(layer));
        let Scratch { wide_nf, qkv_ns, masked_nw, .. } = scratch;
        let d_out_nw = masked(masked_nw, d_out_nw, tape.attention_mask.as_deref());
        output.backward_weight(d_out_nw.into(), E::data(&tape.mixed_nw), gradients);
        let d_mixed = sized(wide_nf, rows * self.shape.width);
        output.backward_input(E::data_mut(d_mixed), d_out_nw.into(), None);
        let d_qkv = sized(qkv_ns, rows * stride);
        self.attention().backward(d_qkv, d_mixed, &tape.mixed_nw, &tape.log_sum_exp_hn, &tape.qkv_ns);
        if let Some(rotary) = rotary {
            let heads = self.shape.heads + self.shape.kv_heads();
            rotary.backward(d_qkv, stride, 0..heads, &self.frame.positions_n);
        }
        qkv.backward_weight(E::data(d_qkv), self.attention_input(tape), gradients);
        qkv.backward_input(dx_nw.into(), E::data(d_qkv), residual);
    }

    #[expect(clippy::too_many_arguments, reason = "a norm has this many neighbours")]
    fn norm_backward(
        &self,
        name: &str,
        dx_nw: &mut [f32],
        into: Into,
        dy_nw: &[f32],
        x_nw: &[f32],
        moments_n: &[Moments],
        gradients: &mut Tensors,
    ) {
        let norm = self.norm(name);
        let weight = format!("{name}.weight");
        // A bias stands right behind its weight.
        let both = if norm.bias_w.is_some() { format!("{name}.bias") } else { weight.clone() };
        let (d_weight_w, d_bias_w) = gradients.span_mut(&weight, &both).split_at_mut(self.shape.width);
        let d_bias_w = norm.bias_w.is_some().then_some(d_bias_w);
        let accumulate = into == Into::Sum;
        norm.backward(Gradients { dx_nw, accumulate, d_weight_w, d_bias_w }, dy_nw, x_nw, moments_n);
    }
}

/// The gradient behind a dropout mask; without one, the gradient itself.
fn masked<'a>(buffer: &'a mut Vec<f32>, gradient: &'a [f32], mask: Option<&[f32]>) -> &'a [f32] {
    let Some(mask) = mask else { return gradient };
    buffer.clear();
    buffer.extend(gradient.iter().zip(mask).map(|(gradient, mask)| gradient * mask));
    buffer
}
