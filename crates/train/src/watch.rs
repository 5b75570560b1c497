//! Watching a training: rates, memory, the share of the machine's limit, and what is wrong with a step.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use base::units;
use kernels::gemm::Compute;
use nn::Tensors;

/// Losses that the median is taken of, and how many there must be before a loss counts as a spike.
const LOSSES: usize = 64;
const LOSSES_MIN: usize = 16;
/// How often people are told.
const EVERY: Duration = Duration::from_millis(500);

/// What one step found.
pub(crate) struct Stepped {
    /// The mean loss.
    pub(crate) loss: f64,
    /// The length of the gradient.
    pub(crate) norm: f64,
    /// Rows or tokens that were learned from.
    pub(crate) weight: f64,
}

/// Eyes on a training.
pub(crate) struct Watch {
    begun: Instant,
    told: Instant,
    units: f64,
    flops_per_unit: f64,
    /// Operations a second of a large matrix product, measured when it is first needed.
    limit: Option<f64>,
    compute: Compute,
    /// The CPU's limit says nothing about another device.
    on_cpu: bool,
    losses: VecDeque<f64>,
}

impl Watch {
    pub(crate) fn new(flops_per_unit: f64, compute: Compute, on_cpu: bool) -> Self {
        let now = Instant::now();
        let losses = VecDeque::new();
        Self { begun: now, told: now, units: 0.0, flops_per_unit, limit: None, compute, on_cpu, losses }
    }

    /// Notes a step.
    pub(crate) fn saw(&mut self, step: &Stepped) {
        self.units += step.weight;
        self.losses.push_back(step.loss);
        if self.losses.len() > LOSSES {
            self.losses.pop_front();
        }
    }

    /// After the way back, what is normal is learned anew.
    pub(crate) fn forget_losses(&mut self) {
        self.losses.clear();
    }

    /// Rows or tokens a second since the training began or was continued.
    pub(crate) fn units_per_second(&self) -> f64 {
        self.units / self.begun.elapsed().as_secs_f64().max(1e-9)
    }

    /// What people are told now, if it is time.
    pub(crate) fn text(&mut self, unit: &str) -> Option<String> {
        if self.told.elapsed() < EVERY {
            return None;
        }
        self.told = Instant::now();
        let loss = self.losses.back().copied().unwrap_or(f64::NAN);
        Some(format!("loss {loss:.4}, {}", self.summary(unit)))
    }

    /// Rate, share of the limit, and memory.
    pub(crate) fn summary(&mut self, unit: &str) -> String {
        let rate = self.units_per_second();
        let mut text = format!("{} {unit}/s", units::count(rate as u64));
        // Small models are not bound by arithmetic, and measuring the limit would take longer than they do.
        if self.on_cpu && self.flops_per_unit * self.units > 1e12 {
            let limit = *self.limit.get_or_insert_with(|| kernels::limit::measure(self.compute));
            text.push_str(&format!(", {:.0} % of the machine's limit", 100.0 * rate * self.flops_per_unit / limit));
        }
        if let Some(bytes) = resident_bytes() {
            text.push_str(&format!(", {}", units::bytes(bytes)));
        }
        text
    }

    /// What is wrong with a step, with the tensor where it shows.
    pub(crate) fn wrong(
        &self,
        loss: f64,
        norm: f64,
        spike_factor: f64,
        parameters: &Tensors,
        gradients: &Tensors,
    ) -> Option<String> {
        if !loss.is_finite() {
            let tensor = not_finite(parameters).map_or(String::new(), |name| format!(", and so is {name}"));
            return Some(format!("the loss is not finite{tensor}"));
        }
        if !norm.is_finite() {
            let name = not_finite(gradients).unwrap_or("all tensors together");
            return Some(format!("the gradient of {name} is not finite"));
        }
        if spike_factor > 0.0 && self.losses.len() >= LOSSES_MIN {
            let mut sorted: Vec<f64> = self.losses.iter().copied().collect();
            sorted.sort_by(f64::total_cmp);
            let median = sorted[sorted.len() / 2];
            if loss > spike_factor * median {
                let name = largest(gradients).unwrap_or("no tensor");
                return Some(format!(
                    "the loss jumped to {loss:.4}, {:.1} times the recent median {median:.4} (the longest gradient is \
                     that of {name})",
                    loss / median
                ));
            }
        }
        None
    }
}

/// The first tensor that holds something that is no finite number.
fn not_finite(tensors: &Tensors) -> Option<&str> {
    tensors.all().find(|tensor| tensor.values.iter().any(|value| !value.is_finite())).map(|tensor| tensor.name)
}

/// The longest tensor, as a vector.
fn largest(tensors: &Tensors) -> Option<&str> {
    let length = |values: &[f32]| kernels::vector::sum_of_squares(values);
    tensors.all().max_by(|a, b| length(a.values).total_cmp(&length(b.values))).map(|tensor| tensor.name)
}

/// The memory that this process holds, where the system tells it.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
