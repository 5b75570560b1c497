//! Steps of training, timed: `train_speed WORKLOAD f32|bf16 SECONDS THREADS [cuda|wgpu]` prints one line of JSON
//! with the median rate and the peak memory. `cargo xtask bench train` runs it beside PyTorch.
//!
//! A step is forward, loss, backward and AdamW, on random data that stays the same; transformers also clip
//! their gradients. What counts as a token of `cnn` is an image, of `lstm` a step of a sequence.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "a benchmark")]

mod networks;
mod transformers;

use std::time::Instant;

use kernels::gemm::Compute;
use kernels::optimizer::{Adam, Penalty};
use nn::Device;

/// What is trained.
trait Train {
    /// One step, which counts from 1; its mean loss.
    fn step(&mut self, number: u64) -> f64;
    /// Elements of all parameters.
    fn parameters(&self) -> usize;
    /// Tokens of a step.
    fn tokens(&self) -> usize;
    /// Floating-point operations of a step in products and attention; a product and its sum are two.
    fn operations(&self) -> f64;
}

/// The optimiser of every workload, with a factor of its gradients.
fn adam(number: u64, scale: f32) -> Adam {
    Adam {
        learning_rate: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.01,
        step: number,
        penalty: Penalty { scale, ..Penalty::default() },
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [name, compute, seconds, threads, device @ ..] = &words[..] else {
        panic!("train_speed gpt|smollm|minilm|cnn|lstm f32|bf16 SECONDS THREADS [cuda|wgpu]");
    };
    let device = match device.first().map(String::as_str) {
        None => Device::Cpu,
        Some("cuda") => Device::Cuda,
        Some("wgpu") => Device::Wgpu,
        Some(other) => panic!("no device {other}"),
    };
    if let Err(error) = device.open() {
        eprintln!("{error}\nhint: {}", error.hint);
        std::process::exit(1);
    }
    kernels::parallel::set_threads(threads.parse().unwrap());
    let precision = if compute == "bf16" { Compute::Bf16 } else { Compute::F32 };
    let mut model: Box<dyn Train> = match name.as_str() {
        "gpt" | "smollm" => Box::new(transformers::Language::new(name, precision, device)),
        "minilm" => Box::new(transformers::Classifier::new(precision, device)),
        "cnn" | "lstm" if device != Device::Cpu => panic!("{name} is composed of kernels, which run on the CPU"),
        "cnn" => Box::new(networks::Cnn::new(precision)),
        "lstm" => Box::new(networks::Lstm::new(precision)),
        other => panic!("no workload {other}"),
    };
    let seconds: f64 = seconds.parse().unwrap();
    let (mut times, mut losses, mut faults) = (Vec::new(), Vec::new(), 0);
    let begun = Instant::now();
    while times.len() < 5 || begun.elapsed().as_secs_f64() < seconds {
        if times.len() == WARM {
            faults = page_faults();
        }
        let once = Instant::now();
        losses.push(model.step(times.len() as u64 + 1));
        times.push(once.elapsed().as_secs_f64());
    }
    let mut sorted = times[WARM..].to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    let rate = model.operations() / median;
    // Measured behind the steps, so that its buffers do not count as theirs.
    let peak_mib = peak_mib();
    let limit = if device == Device::Cpu { kernels::limit::measure(precision) } else { 0.0 };
    println!(
        "{{\"workload\":\"{name}\",\"compute\":\"{compute}\",\"isa\":\"{:?}\",\"parameters\":{},\"steps\":{},\"tokens_per_second\":{:.0},\"step_ms\":{:.2},\"best_ms\":{:.2},\"first_loss\":{:.4},\"last_loss\":{:.4},\"page_faults_per_step\":{},\"peak_mib\":{},\"gflops\":{:.0},\"limit_gflops\":{:.0}}}",
        kernels::isa::current(),
        model.parameters(),
        times.len(),
        model.tokens() as f64 / median,
        median * 1e3,
        sorted[0] * 1e3,
        losses[0],
        losses[losses.len() - 1],
        (page_faults() - faults) / sorted.len() as u64,
        peak_mib,
        rate / 1e9,
        limit / 1e9
    );
}

/// Steps that are not counted: the first ones find memory that is new.
const WARM: usize = 2;

/// Page faults of this process so far; 0 where the system does not say.
fn page_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in brackets may hold spaces; minor faults are the eighth field behind it.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields.split_whitespace().nth(7).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The most memory that was resident at a time; 0 where the system does not say.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) / 1024
}
