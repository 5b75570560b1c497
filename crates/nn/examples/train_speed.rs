//! Steps of training, timed: `train_speed WORKLOAD f32|bf16 SECONDS THREADS` prints one line of JSON with
//! the median rate. `cargo xtask bench train` runs it beside PyTorch; a step is forward, backward, clipping
//! and AdamW, on random tokens.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

use std::time::Instant;

use infer::description::{
    FORMAT, LanguageDescription, Mlp, ModelDescription, Norm, NormPlace, Task, TextCleaning, TransformerShape, Weights,
};
use kernels::gemm::Compute;
use kernels::optimizer::{Adam, Penalty};
use kernels::step::{Rule, Slot, clip_factor, norm_of_all, step_all};
use nn::language::Batch;
use nn::random::Random;
use nn::{Dropout, Options, Tensors, Workspace};

/// A model, and the batch of a step.
struct Workload {
    shape: TransformerShape,
    time: usize,
    batch: usize,
}

fn workload(name: &str) -> Workload {
    match name {
        // 13.9 M parameters, as `shared/peers/torch_gpt.py` has it: LayerNorm, GELU, biases, learned positions.
        "gpt" => Workload {
            shape: TransformerShape {
                norm: Norm::LayerNorm,
                mlp: Mlp::Gelu,
                learned_positions: 256,
                biases: true,
                ..TransformerShape::llama(8192, 384, 6, 6, 1536, true)
            },
            time: 256,
            batch: 8,
        },
        "smollm" => Workload {
            shape: TransformerShape {
                key_value_heads: Some(3),
                ..TransformerShape::llama(49_152, 576, 30, 9, 1536, true)
            },
            time: 512,
            batch: 4,
        },
        // The body of MiniLM; the bench's head is the tied one, over a vocabulary of two classes.
        "minilm" => Workload {
            shape: TransformerShape {
                norm: Norm::LayerNorm,
                norm_place: NormPlace::After,
                mlp: Mlp::Gelu,
                learned_positions: 512,
                biases: true,
                ..TransformerShape::llama(30_522, 384, 6, 12, 1536, false)
            },
            time: 128,
            batch: 32,
        },
        other => panic!("no workload {other}"),
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let compute = if words[1] == "bf16" { Compute::Bf16 } else { Compute::F32 };
    let seconds: f64 = words[2].parse().unwrap();
    kernels::parallel::set_threads(words[3].parse().unwrap());
    let Workload { shape, time, batch } = workload(&words[0]);
    let clean = TextCleaning { unicode: true, whitespace: false };
    let description = LanguageDescription { clean, shape, context: time };
    let model = ModelDescription {
        format: FORMAT,
        made_by: "bench".to_owned(),
        name: "bench".to_owned(),
        weights: Weights::F32,
        task: Task::Language(description.clone()),
    };
    let mut parameters = nn::initial(&model, 1);
    let list = model.tensors();
    let (mut gradients, mut first, mut second) = (Tensors::zeros(&list), Tensors::zeros(&list), Tensors::zeros(&list));
    let mut random = Random::new(1, &[]);
    let tokens: Vec<u32> = (0..=time * batch).map(|_| random.below(description.shape.vocabulary) as u32).collect();
    let batch = Batch::even(tokens[..time * batch].to_vec(), tokens[1..].to_vec(), time);
    let options = Options { compute, ..Options::PLAIN };
    let mut workspace = Workspace::default();
    let (mut times, mut losses) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    while times.len() < 5 || begun.elapsed().as_secs_f64() < seconds {
        let once = Instant::now();
        gradients.clear();
        let scale = 1.0 / batch.tokens.len() as f32;
        let loss =
            nn::language::step(&description, &parameters, &batch, scale, options, &mut workspace, &mut gradients);
        let clip = clip_factor(norm_of_all(&[gradients.flat()]), 1.0);
        let adam = Adam {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            step: times.len() as u64 + 1,
            penalty: Penalty { scale: clip, ..Penalty::default() },
        };
        step_all(&mut [Slot {
            parameters: parameters.flat_mut(),
            gradients: gradients.flat(),
            first: first.flat_mut(),
            second: second.flat_mut(),
            average: None,
            rule: Rule::AdamW(adam),
        }]);
        times.push(once.elapsed().as_secs_f64());
        losses.push(loss / batch.tokens.len() as f64);
    }
    let mut sorted = times[2..].to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    println!(
        "{{\"workload\":\"{}\",\"compute\":\"{}\",\"parameters\":{},\"steps\":{},\"tokens_per_second\":{:.0},\"step_ms\":{:.1},\"best_ms\":{:.1},\"first_loss\":{:.4},\"last_loss\":{:.4}}}",
        words[0],
        words[1],
        parameters.count(),
        times.len(),
        batch.tokens.len() as f64 / median,
        median * 1e3,
        sorted[0] * 1e3,
        losses[0],
        losses[losses.len() - 1]
    );
}
