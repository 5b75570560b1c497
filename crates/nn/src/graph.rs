//! Burn at the edge: parameters become leaves of a graph, and gradients come back as plain vectors.
//! No other crate sees a Burn type.

use std::collections::BTreeMap;

use burn::tensor::{Device, Gradients, Tensor, TensorData};

use crate::tensors::Tensors;
use crate::transformer::Options;

/// Where the graph of a step is built. Where memory is to be saved, Burn keeps less for the backward pass and
/// computes the rest again.
pub(crate) fn device(options: Options, tracked: bool) -> Device {
    let device = options.device.burn();
    match (tracked, options.recompute) {
        (false, _) => device,
        (true, false) => device.autodiff(),
        (true, true) => device.autodiff().gradient_checkpointing(),
    }
}

/// A matrix from plain values, without a copy.
pub(crate) fn matrix(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A tensor's values; no copy where the tensor is the only owner of contiguous storage.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    match tensor.into_data().try_into_vec() {
        Ok(values) => values,
        Err(error) => panic!("a 32-bit tensor did not read as such: {error:?}"),
    }
}

/// The parameters of one step as leaves of one graph.
pub(crate) struct Leaves {
    pub(crate) device: Device,
    tensors: BTreeMap<String, (usize, Tensor<2>)>,
}

impl Leaves {
    /// Leaves for the parameters that `wanted` accepts; vectors become matrices of one row.
    pub(crate) fn new(parameters: &Tensors, options: Options, tracked: bool, wanted: impl Fn(&str) -> bool) -> Self {
        let device = device(options, tracked);
        let mut tensors = BTreeMap::new();
        for (position, one) in parameters.all().enumerate() {
            if wanted(one.name) {
                let leaf = leaf(one.values.to_vec(), one.matrix(), &device, tracked);
                tensors.insert(one.name.to_owned(), (position, leaf));
            }
        }
        Self { device, tensors }
    }

    /// A parameter.
    pub(crate) fn get(&self, name: &str) -> Tensor<2> {
        match self.tensors.get(name) {
            Some((_, tensor)) => tensor.clone(),
            None => panic!("{name} is not in the graph"),
        }
    }

    /// Whether the graph has a parameter.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Adds the gradients of all leaves to `into`.
    pub(crate) fn read(&self, gradients: &mut Gradients, into: &mut Tensors) {
        for (position, leaf) in self.tensors.values() {
            if let Some(gradient) = leaf.grad_remove(gradients) {
                add(into.at_mut(*position), gradient);
            }
        }
    }
}

/// A leaf whose gradient is kept.
pub(crate) fn leaf(values: Vec<f32>, shape: [usize; 2], device: &Device, tracked: bool) -> Tensor<2> {
    let tensor = matrix(values, shape, device);
    if tracked { tensor.require_grad() } else { tensor }
}

/// Adds a gradient to its place.
pub(crate) fn add<const D: usize>(into: &mut [f32], gradient: Tensor<D>) {
    for (sum, value) in into.iter_mut().zip(values(gradient)) {
        *sum += value;
    }
}

/// Runs the backward pass from `output`, whose gradient is known already: the gradient of
/// `Σ output · gradient` is what the chain rule asks for.
pub(crate) fn backward(output: Tensor<2>, gradient: Vec<f32>) -> Gradients {
    let known = matrix(gradient, output.dims(), &output.device());
    (output * known).sum().backward()
}
