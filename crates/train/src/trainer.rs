//! The training loop, the same for both families: batches in a random order, gradients from `nn`, one
//! optimiser step, validation after each epoch, checkpoints by the clock.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use base::{Context, Task};
use nn::random::Random;
use nn::{Dropout, Tensors};
use store::{Artifact, Work};

use crate::checkpoint::{self, Progress, State};
use crate::error::TrainError;
use crate::facts::DataShape;
use crate::history::{History, HistoryPoint};
use crate::optimizer::{Moments, norm, update};
use crate::plan::Plan;
use crate::schedule::learning_rate;
use crate::{language, predict, publish};

/// What the order of an epoch is drawn for.
const ORDER: u64 = 0x0de7;
/// The most points of the training loss that are recorded as metrics.
const LOSS_POINTS_MAX: u64 = 1000;

/// What an observer hears after an epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochReport {
    /// Epochs done.
    pub epoch: u64,
    /// Steps done.
    pub step: u64,
    /// The mean loss of the epoch's batches.
    pub train_loss: f64,
    /// The loss on the validation split, where there is one.
    pub valid_loss: Option<f64>,
    /// The learning rate of the last step.
    pub learning_rate: f64,
}

/// What is learned from: examples by number, and a validation split.
pub(crate) trait Objective: Sync {
    /// Examples in an epoch.
    fn examples(&self) -> usize;
    /// What one example counts, and in what unit: 1 row, or so many tokens.
    fn measure(&self) -> (u64, &'static str);
    /// The mean loss of a batch of an epoch (from 0); gradients are added to `gradients`.
    fn step(&self, parameters: &Tensors, epoch: u64, batch: &[u32], dropout: Dropout, gradients: &mut Tensors) -> f64;
    /// The mean loss on the validation split, if there is one.
    fn valid_loss(&self, parameters: &Tensors) -> Option<f64>;
}

/// One training under way.
pub(crate) struct Session<'a> {
    pub(crate) context: &'a Context,
    pub(crate) work: &'a Work<'a>,
    pub(crate) plan: &'a Plan,
    pub(crate) dataset: &'a Artifact,
    pub(crate) pool: &'a rayon::ThreadPool,
}

impl Session<'_> {
    /// Trains and writes the model folder.
    pub(crate) fn train(&self, observer: &mut dyn FnMut(EpochReport) -> ControlFlow<()>) -> Result<(), TrainError> {
        match &self.plan.facts.shape {
            DataShape::Predict(_) => {
                let data = predict::Data::read(self)?;
                let state = self.fit(&data, observer)?;
                publish::predict(self, &state, data)
            }
            DataShape::Language { .. } => {
                let data = language::Data::read(self)?;
                let state = self.fit(&data, observer)?;
                publish::language(self, &state)
            }
        }
    }

    /// Runs all epochs that are left; the state that comes back holds the weights to keep.
    pub(crate) fn fit(
        &self,
        objective: &dyn Objective,
        observer: &mut dyn FnMut(EpochReport) -> ControlFlow<()>,
    ) -> Result<State, TrainError> {
        let mut state = self.begin();
        let epochs = self.plan.settings.epochs;
        let examples = objective.examples();
        let batches = examples.div_ceil(self.plan.settings.batch_size as usize) as u64;
        let task = self.context.begin("train", Some(epochs * batches), "steps");
        let mut clock = Clock::new(self.plan.checkpoint_seconds, state.progress.history.seconds);
        let mut gradients = Tensors::zeros(&self.plan.description.tensors());
        let patience = self.plan.settings.patience;
        let mut over = patience > 0 && state.progress.waited >= patience;
        while state.progress.step < epochs * batches && !over {
            let report = self.epoch(objective, &mut state, &mut gradients, batches, &mut clock, task.as_ref())?;
            over = self.close_epoch(&mut state, report, &clock)?;
            if clock.due() {
                self.save(&mut state, &mut clock)?;
            }
            if observer(report).is_break() {
                return Err(TrainError::Cut { epoch: report.epoch });
            }
        }
        if clock.seconds() >= f64::from(self.plan.checkpoint_seconds) {
            // Of a long training, evaluation alone is repeated after a kill.
            self.save(&mut state, &mut clock)?;
        }
        let history = &mut state.progress.history;
        history.seconds = clock.seconds();
        let (each, unit) = objective.measure();
        let seen = history.points.last().map_or(0, |point| point.epoch) * examples as u64 * each;
        history.rows_per_second = seen as f64 / history.seconds.max(1e-9);
        history.unit = unit.to_owned();
        self.work.metric("rows_per_second", state.progress.step, history.rows_per_second)?;
        task.end(&format!("{:.0} {unit}/s", history.rows_per_second));
        if let Some(best) = state.best.take() {
            state.parameters = best;
        }
        Ok(state)
    }

    /// The state of the checkpoint, or the initial one.
    fn begin(&self) -> State {
        let list = self.plan.description.tensors();
        let fresh = State {
            progress: Progress::default(),
            parameters: nn::initial(&self.plan.description, self.plan.seed),
            moments: Moments::new(&list, self.plan.settings.optimizer),
            best: None,
        };
        match checkpoint::load(self.work.scratch(), &fresh) {
            Ok(Some(state)) => {
                let step = state.progress.step;
                self.context.progress.note(&format!("train: continuing from the checkpoint at step {step}"));
                state
            }
            Ok(None) => fresh,
            Err(why) => {
                self.context.progress.note(&format!("train: the checkpoint is damaged ({why}); starting again"));
                fresh
            }
        }
    }

    /// The rest of the epoch that the state stands in.
    fn epoch(
        &self,
        objective: &dyn Objective,
        state: &mut State,
        gradients: &mut Tensors,
        batches: u64,
        clock: &mut Clock,
        task: &dyn Task,
    ) -> Result<EpochReport, TrainError> {
        let settings = &self.plan.settings;
        let (epoch, steps) = (state.progress.step / batches, settings.epochs * batches);
        let order = Random::new(self.plan.seed, &[ORDER, epoch]).order(objective.examples());
        let size = settings.batch_size as usize;
        let every = steps.div_ceil(LOSS_POINTS_MAX);
        let mut rate = settings.learning_rate;
        for batch in order.chunks(size).skip((state.progress.step % batches) as usize) {
            if self.context.stop.asked() {
                self.save(state, clock)?;
                return Err(TrainError::Stopped { step: state.progress.step, steps });
            }
            let step = state.progress.step;
            rate = learning_rate(settings, step, steps);
            let loss = self.pool.install(|| self.one_step(objective, state, gradients, epoch, batch, rate))?;
            state.progress.epoch_loss += loss * batch.len() as f64;
            state.progress.step += 1;
            if step.is_multiple_of(every) {
                self.work.metric("train_loss", step, loss)?;
            }
            task.at(step + 1);
            // The end of an epoch is saved after its validation.
            if clock.due() && !state.progress.step.is_multiple_of(batches) {
                self.save(state, clock)?;
            }
        }
        let valid_loss = self.pool.install(|| objective.valid_loss(&state.parameters));
        let train_loss = state.progress.epoch_loss / objective.examples() as f64;
        state.progress.epoch_loss = 0.0;
        if valid_loss.is_some_and(|loss| !loss.is_finite()) {
            let step = state.progress.step;
            return Err(TrainError::Diverged { what: "validation loss", step, epoch: epoch + 1, learning_rate: rate });
        }
        let shown = valid_loss.map_or(String::new(), |loss| format!(", valid {loss:.4}"));
        task.say(&format!("epoch {}/{}, loss {train_loss:.4}{shown}", epoch + 1, settings.epochs));
        Ok(EpochReport { epoch: epoch + 1, step: state.progress.step, train_loss, valid_loss, learning_rate: rate })
    }

    fn save(&self, state: &mut State, clock: &mut Clock) -> Result<(), TrainError> {
        state.progress.history.seconds = clock.seconds();
        checkpoint::save(self.work.scratch(), state)?;
        clock.saved = Instant::now();
        Ok(())
    }

    fn one_step(
        &self,
        objective: &dyn Objective,
        state: &mut State,
        gradients: &mut Tensors,
        epoch: u64,
        batch: &[u32],
        rate: f64,
    ) -> Result<f64, TrainError> {
        let step = state.progress.step;
        let diverged = |what| TrainError::Diverged { what, step: step + 1, epoch: epoch + 1, learning_rate: rate };
        let dropout = Dropout { share: self.plan.settings.dropout, seed: self.plan.seed, step };
        gradients.clear();
        let loss = objective.step(&state.parameters, epoch, batch, dropout, gradients);
        if !loss.is_finite() {
            return Err(diverged("loss"));
        }
        let length = norm(gradients);
        if !length.is_finite() {
            return Err(diverged("gradient"));
        }
        update(&self.plan.settings, rate, step + 1, length, &mut state.parameters, gradients, &mut state.moments);
        Ok(loss)
    }

    /// Records an epoch and keeps the best weights; true when patience is at its end.
    fn close_epoch(&self, state: &mut State, report: EpochReport, clock: &Clock) -> Result<bool, TrainError> {
        let settings = &self.plan.settings;
        let progress = &mut state.progress;
        if let Some(loss) = report.valid_loss {
            if progress.best.is_none_or(|(best, _)| loss < best) {
                progress.best = Some((loss, report.epoch));
                progress.waited = 0;
                state.best = Some(state.parameters.clone());
            } else {
                progress.waited += 1;
            }
        }
        let over = settings.patience > 0 && progress.waited >= settings.patience;
        let history = &mut progress.history;
        history.best_epoch = progress.best.map_or(report.epoch, |(_, epoch)| epoch);
        history.stopped_early = over && report.epoch < settings.epochs;
        history.seconds = clock.seconds();
        if History::records(report.epoch, settings.epochs) || over {
            let EpochReport { epoch, step, train_loss, valid_loss, learning_rate } = report;
            history.points.push(HistoryPoint { step, epoch, train_loss, valid_loss, learning_rate });
            self.work.metric("learning_rate", step, learning_rate)?;
            if let Some(loss) = valid_loss {
                self.work.metric("valid_loss", step, loss)?;
            }
        }
        Ok(over)
    }
}

/// Training time, and when the next checkpoint is due.
struct Clock {
    begun: Instant,
    before: f64,
    saved: Instant,
    every: Duration,
}

impl Clock {
    fn new(checkpoint_seconds: u32, before: f64) -> Self {
        let every = Duration::from_secs(u64::from(checkpoint_seconds));
        Self { begun: Instant::now(), before, saved: Instant::now(), every }
    }

    fn seconds(&self) -> f64 {
        self.before + self.begun.elapsed().as_secs_f64()
    }

    fn due(&self) -> bool {
        self.saved.elapsed() >= self.every
    }
}
