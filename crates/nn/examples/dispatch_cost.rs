//! What a step would pay for going through Burn: `dispatch_cost ROUNDS` prints one line of JSON.
//!
//! - The graph of the GPT of `train_speed`, composed of Burn's operations, on tensors so small that arithmetic is
//!   nothing: what is left is dispatch, graph and small allocations, and beside it the same on the tape.
//! - The tape's step in its real size, with buffers that outlive it, and with buffers that are made new for every
//!   step, as those of a graph that owns its tensors are.
//!
//! All are taken in turn, and medians are printed, in milliseconds of a step.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

use std::time::Instant;

use infer::description::{
    FORMAT, LanguageDescription, Mlp, ModelDescription, Norm, Task, TextCleaning, TransformerShape, Weights,
};
use kernels::gemm::Compute;
use nn::device::Device;
use nn::language::{self, Batch};
use nn::random::Random;
use nn::{Options, Tensors, Workspace};

/// A model with its batch.
struct Gpt {
    description: LanguageDescription,
    parameters: Tensors,
    gradients: Tensors,
    batch: Batch,
    workspace: Workspace,
}

impl Gpt {
    fn new(vocabulary: usize, width: usize, time: usize, sequences: usize) -> Self {
        let llama = TransformerShape::llama(vocabulary, width, 6, 6, 4 * width, true);
        let (norm, mlp) = (Norm::LayerNorm, Mlp::Gelu);
        let shape = TransformerShape { norm, mlp, learned_positions: time, biases: true, ..llama };
        let clean = TextCleaning { unicode: true, whitespace: false };
        let description = LanguageDescription { clean, shape, context: time };
        let model = ModelDescription {
            format: FORMAT,
            made_by: "bench".to_owned(),
            name: "bench".to_owned(),
            weights: Weights::F32,
            task: Task::Language(description.clone()),
        };
        let mut random = Random::new(1, &[]);
        let tokens: Vec<u32> = (0..=time * sequences).map(|_| random.below(vocabulary) as u32).collect();
        Self {
            description,
            parameters: nn::initial(&model, 1),
            gradients: Tensors::zeros(&model.tensors()),
            batch: Batch::even(tokens[..time * sequences].to_vec(), tokens[1..].to_vec(), time),
            workspace: Workspace::default(),
        }
    }

    /// Milliseconds of forward and backward.
    fn step(&mut self, device: Device, compute: Compute) -> f64 {
        let Self { description, parameters, gradients, batch, workspace } = self;
        let options = Options { compute, device, ..Options::PLAIN };
        let begun = Instant::now();
        let loss = language::step(description, parameters, batch, 1.0, options, workspace, gradients);
        assert!(loss.is_finite());
        begun.elapsed().as_secs_f64() * 1e3
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    let rounds: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let mut small = Gpt::new(16, 12, 2, 1);
    let mut large = Gpt::new(8192, 384, 256, 8);
    let [mut graph, mut tape, mut kept, mut fresh] = [const { Vec::new() }; 4];
    for round in 0..=rounds {
        let once = [
            small.step(Device::ComposedCpu, Compute::F32),
            small.step(Device::Cpu, Compute::F32),
            large.step(Device::Cpu, Compute::Bf16),
            {
                let kept = std::mem::take(&mut large.workspace);
                let taken = large.step(Device::Cpu, Compute::Bf16);
                large.workspace = kept;
                taken
            },
        ];
        // The first round finds memory that is new.
        if round > 0 {
            for (all, once) in [&mut graph, &mut tape, &mut kept, &mut fresh].into_iter().zip(once) {
                all.push(once);
            }
        }
    }
    println!(
        "{{\"graph_of_nothing_ms\":{:.3},\"tape_of_nothing_ms\":{:.3},\"kept_buffers_ms\":{:.1},\"new_buffers_ms\":{:.1}}}",
        median(graph),
        median(tape),
        median(kept),
        median(fresh)
    );
}
