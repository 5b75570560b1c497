//! The learning-rate range test (Smith 2017): a short training whose learning rate rises from step to step,
//! until the loss blows up. A good rate is where the loss falls fastest.

use std::path::Path;

use base::Context;
use nn::random::Random;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Artifact, Made, StageKey, Store};

use crate::error::TrainError;
use crate::plan::Plan;
use crate::ranks::Ranks;
use crate::trainer::Session;

/// Raised whenever the same inputs would give another result.
const CODE_VERSION: u32 = 1;
/// The file of a range test.
pub const RANGE_FILE: &str = "range.json";
/// Steps of the test; few enough for minutes, enough for a smooth curve.
const STEPS: u64 = 100;
/// The rates at the first and the last step.
const LOWEST: f64 = 1e-6;
const HIGHEST: f64 = 10.0;
/// The share of the smoothed loss that stays from step to step.
const SMOOTHING: f64 = 0.9;
/// The test ends when the smoothed loss is this many times its lowest.
const BLOWN_UP: f64 = 4.0;
/// What the batches are drawn for.
const ORDER: u64 = 0x4a17;

/// One step of the test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RangePoint {
    /// The learning rate.
    pub learning_rate: f64,
    /// The loss of the step's batch, before its update.
    pub loss: f64,
    /// The moving average of the losses so far, corrected for its beginning.
    pub smoothed: f64,
}

/// What a test found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RangeTest {
    /// The steps in their order.
    pub points: Vec<RangePoint>,
    /// Where the smoothed loss falls fastest over the logarithm of the rate; none if it never falls.
    pub suggestion: Option<f64>,
}

impl RangeTest {
    /// Reads a test.
    ///
    /// # Errors
    /// [`TrainError::Io`] when the file cannot be read or is none.
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let bytes = std::fs::read(path).map_err(TrainError::io("read", path))?;
        serde_json::from_slice(&bytes).map_err(|error| TrainError::io("read", path)(error.into()))
    }

    fn of(points: Vec<RangePoint>) -> Self {
        // The first steps are those of the smoothing; behind the lowest loss it only rises.
        let begin = points.len() / 10;
        let lowest = points.iter().enumerate().min_by(|a, b| a.1.smoothed.total_cmp(&b.1.smoothed));
        let end = lowest.map_or(0, |(index, _)| index);
        let slope = |index: usize| {
            let (a, b) = (&points[index], &points[index + 1]);
            (b.smoothed - a.smoothed) / (b.learning_rate / a.learning_rate).ln()
        };
        let steepest = (begin..end).min_by(|a, b| slope(*a).total_cmp(&slope(*b)));
        let suggestion = steepest.filter(|index| slope(*index) < 0.0).map(|index| points[index].learning_rate);
        Self { points, suggestion }
    }
}

/// Runs the test for a plan, or finds what was found before; nothing else changes.
///
/// # Errors
/// As [`crate::run`].
pub fn range_test(context: &Context, store: &Store, plan: &Plan, dataset: &Artifact) -> Result<Made, TrainError> {
    let key = StageKey {
        stage: "range",
        code_version: CODE_VERSION,
        config: json!({ "training": plan.key(dataset).config, "steps": STEPS, "from": LOWEST, "to": HIGHEST }),
        inputs: vec![("dataset".to_owned(), dataset.digest)],
        seed: plan.seed,
        makes: "range",
    };
    crate::in_session(context, store, &key, plan, dataset, &Ranks::one(), |session| {
        let test = RangeTest::of(session.rising()?);
        let Some(work) = session.work else { return Ok(()) };
        let path = work.out().join(RANGE_FILE);
        let text = serde_json::to_vec_pretty(&test).map_err(|error| TrainError::io("write", &path)(error.into()))?;
        std::fs::write(&path, text).map_err(TrainError::io("write", &path))
    })
}

impl Session<'_> {
    /// The steps with a rising rate.
    fn rising(&self) -> Result<Vec<RangePoint>, TrainError> {
        let mut objective = self.objective()?;
        let mut state = self.fresh();
        let mut run = self.run_of(&mut *objective, "range", STEPS);
        let (examples, size) = (run.objective.examples(), self.plan.settings.batch_size as usize);
        let (mut points, mut average, mut lowest) = (Vec::new(), 0.0, f64::INFINITY);
        for step in 0..STEPS {
            if self.context.stop.asked() {
                return Err(TrainError::Stopped { step, steps: STEPS });
            }
            let mut random = Random::new(self.plan.seed, &[ORDER, step]);
            let batch: Vec<u32> = (0..size).map(|_| random.below(examples) as u32).collect();
            let rate = LOWEST * (HIGHEST / LOWEST).powf(step as f64 / (STEPS - 1) as f64);
            // A loss that is no number is the end of the test and no mishap.
            let Ok(stepped) = self.pool.install(|| self.one_step(&mut run, &mut state, 0, &batch, rate)) else { break };
            state.progress.step += 1;
            average = SMOOTHING * average + (1.0 - SMOOTHING) * stepped.loss;
            let smoothed = average / (1.0 - SMOOTHING.powf((step + 1) as f64));
            lowest = f64::min(lowest, smoothed);
            points.push(RangePoint { learning_rate: rate, loss: stepped.loss, smoothed });
            self.metric("loss", step, stepped.loss)?;
            run.task.at(step + 1);
            run.task.say(&format!("learning rate {rate:.1e}, loss {smoothed:.4}"));
            if step > STEPS / 10 && smoothed > BLOWN_UP * lowest {
                break;
            }
        }
        run.task.end(&format!("{} steps", points.len()));
        Ok(points)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suggestion_is_where_the_loss_falls_fastest() {
        // The loss falls around 10⁻³ by a logistic curve and blows up behind 10⁻¹.
        let loss = |rate: f64| 3.0 - 2.0 / (1.0 + (-2.0 * (rate.ln() - 1e-3_f64.ln())).exp()) + (rate / 0.1).powi(4);
        let point = |index: i32| {
            let learning_rate = 1e-6 * 10_f64.powf(f64::from(index) / 10.0);
            RangePoint { learning_rate, loss: 0.0, smoothed: loss(learning_rate) }
        };
        let found = RangeTest::of((0..60).map(point).collect()).suggestion.unwrap();
        assert!((found.log10() + 3.0).abs() < 0.15, "{found}");
        let rising = (0..60).map(|index| RangePoint { smoothed: f64::from(index), ..point(index) }).collect();
        assert_eq!(RangeTest::of(rising).suggestion, None);
    }
}
