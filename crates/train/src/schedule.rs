//! The learning rate of each step: a linear warm-up, then the schedule.

use base::project::Schedule;

use crate::plan::Settings;

/// The learning rate of step `step` (from 0) of `steps`.
#[must_use]
pub(crate) fn learning_rate(settings: &Settings, step: u64, steps: u64) -> f64 {
    let warmup = (settings.warmup * steps as f64).floor();
    let position = step as f64;
    if position < warmup {
        return settings.learning_rate * (position + 1.0) / (warmup + 1.0);
    }
    let progress = (position - warmup) / (steps as f64 - warmup).max(1.0);
    settings.learning_rate
        * match settings.schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => 1.0 - progress,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            // Relative to the end of the warm-up.
            Schedule::InverseSquareRoot => (warmup.max(1.0) / (position + 1.0).max(warmup.max(1.0))).sqrt(),
            Schedule::WarmupStableDecay => {
                let left = steps as f64 - position;
                (left / (settings.cooldown * steps as f64).max(1.0)).min(1.0)
            }
        }
}
