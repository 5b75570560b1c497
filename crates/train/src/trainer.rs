//! The training loop, the same for both families: batches in a random order, gradients from `nn`, one
//! optimiser step, validation after each epoch, checkpoints by the clock, and the way back after a mishap.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use base::{Context, Task};
use nn::random::Random;
use nn::{Dropout, Options, Ready, Sink, Tensors};
use store::{Artifact, StoreError, Work};

use crate::checkpoint::{self, Progress, Saver, State};
use crate::error::TrainError;
use crate::facts::DataShape;
use crate::history::{History, HistoryPoint};
use crate::optimizer::{Moments, noise_to_signal, norm, update};
use crate::plan::Plan;
use crate::ranks::{Bucket, Ranks};
use crate::schedule::learning_rate;
use crate::watch::{Stepped, Watch};
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
pub(crate) trait Objective: Send {
    /// Examples in an epoch.
    fn examples(&self) -> usize;
    /// What is counted in rates: rows, or tokens.
    fn unit(&self) -> &'static str;
    /// How much some examples of an epoch (from 0) count in the mean loss, in units.
    fn weight(&self, epoch: u64, batch: &[u32]) -> f64;
    /// The sum of the losses of some examples of an epoch; `scale` times its gradients are added to
    /// those of `sink`.
    fn step(&mut self, parameters: &Tensors, epoch: u64, batch: &[u32], how: How, sink: Sink<'_>) -> f64;
    /// The mean loss on the validation split, if there is one; each rank computes its share.
    fn valid_loss(&mut self, parameters: &Tensors, ranks: &Ranks) -> Option<f64>;
}

/// How a part of a step computes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    pub(crate) scale: f32,
    pub(crate) options: Options,
}

/// One training under way.
pub(crate) struct Session<'a> {
    pub(crate) context: &'a Context,
    /// Where results go; nothing where this rank follows another.
    pub(crate) work: Option<&'a Work<'a>>,
    pub(crate) plan: &'a Plan,
    pub(crate) dataset: &'a Artifact,
    pub(crate) pool: &'a rayon::ThreadPool,
    pub(crate) ranks: &'a Ranks,
}

/// What goes along with a training and is no part of its state.
pub(crate) struct Run<'a> {
    pub(crate) objective: &'a mut dyn Objective,
    gradients: Tensors,
    buckets: Vec<Bucket>,
    saver: Saver,
    clock: Clock,
    watch: Watch,
    /// Steps of an epoch.
    batches: u64,
    pub(crate) task: Box<dyn Task>,
}

impl Session<'_> {
    /// Trains and writes the model folder.
    pub(crate) fn train(&self, observer: &mut dyn FnMut(EpochReport) -> ControlFlow<()>) -> Result<(), TrainError> {
        match &self.plan.facts.shape {
            DataShape::Predict(_) => {
                let mut data = predict::Data::read(self)?;
                let state = self.fit(&mut data, observer)?;
                self.work.map_or(Ok(()), |work| publish::predict(self, work.out(), &state, data))
            }
            DataShape::Language { .. } => {
                let mut data = language::Data::read(self)?;
                let state = self.fit(&mut data, observer)?;
                self.work.map_or(Ok(()), |work| publish::language(self, work.out(), &state))
            }
        }
    }

    /// Runs all epochs that are left; the state that comes back holds the weights to keep.
    pub(crate) fn fit(
        &self,
        objective: &mut dyn Objective,
        observer: &mut dyn FnMut(EpochReport) -> ControlFlow<()>,
    ) -> Result<State, TrainError> {
        let mut state = self.begin()?;
        let settings = &self.plan.settings;
        let steps = settings.epochs * self.batches(objective);
        let mut run = self.run_of(objective, "train", steps);
        run.clock.before = state.progress.history.seconds;
        let patience = settings.patience;
        let mut over = patience > 0 && state.progress.waited >= patience;
        while state.progress.step < steps && !over {
            let report = match self.epoch(&mut run, &mut state)? {
                Ok(report) => report,
                Err(mishap) => {
                    state = self.go_back(&mut run, &state, mishap)?;
                    continue;
                }
            };
            over = self.close_epoch(&mut state, report, &run.clock)?;
            if run.clock.due() {
                self.save(&mut run, &mut state)?;
            }
            if observer(report).is_break() {
                return Err(TrainError::Cut { epoch: report.epoch });
            }
        }
        if run.clock.seconds() >= f64::from(self.plan.checkpoint_seconds) {
            // Of a long training, evaluation alone is repeated after a kill.
            self.save(&mut run, &mut state)?;
        }
        run.saver.wait()?;
        self.close(run, &mut state)?;
        Ok(state)
    }

    /// Steps of an epoch.
    fn batches(&self, objective: &dyn Objective) -> u64 {
        objective.examples().div_ceil(self.plan.settings.batch_size as usize) as u64
    }

    /// What goes along with a training of so many steps.
    pub(crate) fn run_of<'a>(&self, objective: &'a mut dyn Objective, label: &str, steps: u64) -> Run<'a> {
        Run {
            batches: self.batches(objective),
            objective,
            buckets: self.ranks.buckets(self.plan.description.parameters()),
            gradients: Tensors::zeros(&self.plan.description.tensors()),
            saver: Saver::default(),
            clock: Clock::new(self.plan.checkpoint_seconds),
            watch: Watch::new(
                self.plan.flops_per_unit() / self.ranks.size() as f64,
                self.plan.settings.compute,
                self.plan.settings.device == nn::Device::Cpu,
            ),
            task: self.context.begin(label, Some(steps), "steps"),
        }
    }

    /// What the plan's model learns from.
    pub(crate) fn objective(&self) -> Result<Box<dyn Objective + '_>, TrainError> {
        Ok(match &self.plan.facts.shape {
            DataShape::Predict(_) => Box::new(predict::Data::read(self)?),
            DataShape::Language { .. } => Box::new(language::Data::read(self)?),
        })
    }

    /// Writes the history's sums, and chooses the weights to keep.
    fn close(&self, mut run: Run<'_>, state: &mut State) -> Result<(), TrainError> {
        let history = &mut state.progress.history;
        history.seconds = run.clock.seconds();
        history.unit = run.objective.unit().to_owned();
        history.rows_per_second = run.watch.units_per_second();
        self.metric("rows_per_second", state.progress.step, history.rows_per_second)?;
        if self.ranks.leads() {
            run.task.end(&run.watch.summary(&history.unit));
        }
        let average = state.average.take();
        if let Some(kept) = state.best.take().or(average) {
            state.parameters = kept;
        }
        Ok(())
    }

    /// The state of the checkpoint, or the initial one.
    fn begin(&self) -> Result<State, TrainError> {
        let fresh = self.fresh();
        let saved = self.work.map_or(Ok(None), |work| checkpoint::load(work.scratch(), &fresh));
        let state = match saved {
            Ok(Some(state)) => {
                let step = state.progress.step;
                self.context.progress.note(&format!("train: continuing from the checkpoint at step {step}"));
                state
            }
            Ok(None) => fresh.clone(),
            Err(why) => {
                self.context.progress.note(&format!("train: the checkpoint is damaged ({why}); starting again"));
                fresh.clone()
            }
        };
        if self.ranks.size() > 1 {
            self.metric("ranks", state.progress.step, self.ranks.size() as f64)?;
        }
        checkpoint::share(self.ranks, state, &fresh)
    }

    /// Records a point of a metric, where this rank records any.
    pub(crate) fn metric(&self, name: &str, step: u64, value: f64) -> Result<(), StoreError> {
        self.work.map_or(Ok(()), |work| work.metric(name, step, value))
    }

    pub(crate) fn fresh(&self) -> State {
        let list = self.plan.description.tensors();
        let parameters = nn::initial(&self.plan.description, self.plan.seed);
        State {
            progress: Progress::default(),
            moments: Moments::new(&list, self.plan.settings.optimizer),
            average: (self.plan.settings.average_decay > 0.0).then(|| parameters.clone()),
            parameters,
            best: None,
        }
    }

    /// After a mishap: the state of the last checkpoint, with half the learning rate from there on.
    fn go_back(&self, run: &mut Run<'_>, state: &State, mishap: TrainError) -> Result<State, TrainError> {
        let mishaps = state.progress.mishaps;
        if mishaps >= self.plan.settings.retries {
            return Err(mishap);
        }
        run.saver.wait()?;
        let fresh = self.fresh();
        let saved = self.work.and_then(|work| checkpoint::load(work.scratch(), &fresh).ok().flatten());
        let mut back = checkpoint::share(self.ranks, saved.unwrap_or_else(|| fresh.clone()), &fresh)?;
        back.progress.mishaps = mishaps + 1;
        let (step, factor) = (back.progress.step, rate_factor(mishaps + 1));
        let text = format!("train: {mishap}; going back to step {step} and on with {factor} times the learning rate");
        self.context.progress.note(&text);
        self.metric("mishap", state.progress.step, f64::from(mishaps + 1))?;
        run.watch.forget_losses();
        self.save(run, &mut back)?;
        Ok(back)
    }

    /// The rest of the epoch that the state stands in, or the mishap that ended it.
    fn epoch(&self, run: &mut Run<'_>, state: &mut State) -> Result<Result<EpochReport, TrainError>, TrainError> {
        let settings = &self.plan.settings;
        let (epoch, steps) = (state.progress.step / run.batches, settings.epochs * run.batches);
        let order = Random::new(self.plan.seed, &[ORDER, epoch]).order(run.objective.examples());
        let size = settings.batch_size as usize;
        let every = steps.div_ceil(LOSS_POINTS_MAX);
        let mut rate = settings.learning_rate;
        for batch in order.chunks(size).skip((state.progress.step % run.batches) as usize) {
            if self.ranks.any(self.context.stop.asked()) {
                self.save(run, state)?;
                run.saver.wait()?;
                return Err(TrainError::Stopped { step: state.progress.step, steps });
            }
            let step = state.progress.step;
            rate = learning_rate(settings, step, steps) * rate_factor(state.progress.mishaps);
            let stepped = match self.pool.install(|| self.one_step(run, state, epoch, batch, rate)) {
                Ok(stepped) => stepped,
                Err(mishap) => return Ok(Err(mishap)),
            };
            run.watch.saw(&stepped);
            state.progress.epoch_loss += stepped.loss * stepped.weight;
            state.progress.epoch_weight += stepped.weight;
            state.progress.step += 1;
            if step.is_multiple_of(every) {
                self.metric("train_loss", step, stepped.loss)?;
                self.metric("gradient_norm", step, stepped.norm)?;
            }
            run.task.at(step + 1);
            let text = if self.ranks.leads() { run.watch.text(run.objective.unit()) } else { None };
            if let Some(text) = text {
                run.task.say(&format!("epoch {}/{}, {text}", epoch + 1, settings.epochs));
                self.metric("units_per_second", step, run.watch.units_per_second())?;
            }
            // The end of an epoch is saved after its validation.
            if run.clock.due() && !state.progress.step.is_multiple_of(run.batches) {
                self.save(run, state)?;
            }
        }
        if let Some(ratio) = noise_to_signal(settings.optimizer, state.progress.step, &state.moments) {
            let units = state.progress.epoch_weight / run.batches as f64;
            self.metric("gradient_noise_scale", state.progress.step, ratio * units)?;
        }
        if !self.ranks.same(norm(&state.parameters)) {
            let what = format!("after step {} they do not have the same weights", state.progress.step);
            return Err(TrainError::Ranks { what, hint: "Start the same yard on machines of the same kind." });
        }
        let judged = state.average.as_ref().unwrap_or(&state.parameters);
        let valid_loss = self.pool.install(|| run.objective.valid_loss(judged, self.ranks));
        let train_loss = state.progress.epoch_loss / state.progress.epoch_weight.max(1.0);
        (state.progress.epoch_loss, state.progress.epoch_weight) = (0.0, 0.0);
        if valid_loss.is_some_and(|loss| !loss.is_finite()) {
            let what = "the validation loss is not finite".to_owned();
            return Ok(Err(self.diverged(what, state, epoch, rate)));
        }
        let shown = valid_loss.map_or(String::new(), |loss| format!(", valid {loss:.4}"));
        run.task.say(&format!("epoch {}/{}, loss {train_loss:.4}{shown}", epoch + 1, settings.epochs));
        Ok(Ok(EpochReport { epoch: epoch + 1, step: state.progress.step, train_loss, valid_loss, learning_rate: rate }))
    }

    fn save(&self, run: &mut Run<'_>, state: &mut State) -> Result<(), TrainError> {
        let Some(work) = self.work else { return Ok(()) };
        state.progress.history.seconds = run.clock.seconds();
        run.saver.begin(work.scratch(), state)?;
        run.clock.saved = Instant::now();
        Ok(())
    }

    /// One update of the weights, the batch in as many parts as the settings say.
    pub(crate) fn one_step(
        &self,
        run: &mut Run<'_>,
        state: &mut State,
        epoch: u64,
        batch: &[u32],
        rate: f64,
    ) -> Result<Stepped, TrainError> {
        let settings = &self.plan.settings;
        let step = state.progress.step;
        run.gradients.clear();
        let weight = run.objective.weight(epoch, batch);
        let mine = &batch[self.ranks.share(batch.len())];
        let accumulate = settings.accumulate as usize;
        let objective = &mut *run.objective;
        let compute = |gradients: &mut Tensors, ready: Ready<'_>| {
            let parts = mine.chunks(mine.len().div_ceil(accumulate).max(1));
            let (mut sum, last) = (0.0, parts.len());
            for (part, examples) in parts.enumerate() {
                // Each part draws its own masks, on each rank.
                let seed = self.plan.seed.wrapping_add(((self.ranks.rank() * accumulate + part) as u64) << 32);
                let dropout = Dropout { share: settings.dropout, seed, step };
                let how = How { scale: (1.0 / weight) as f32, options: settings.options(dropout) };
                let sink = if part + 1 == last {
                    Sink { gradients: &mut *gradients, ready: Some(&mut *ready) }
                } else {
                    Sink::from(&mut *gradients)
                };
                sum += objective.step(&state.parameters, epoch, examples, how, sink);
            }
            sum
        };
        let sum = self.ranks.reduced(&mut run.buckets, &mut run.gradients, compute);
        let loss = self.ranks.sum(sum) / weight.max(1.0);
        let norm = norm(&run.gradients);
        if let Some(what) = run.watch.wrong(loss, norm, settings.spike_factor, &state.parameters, &run.gradients) {
            return Err(self.diverged(what, state, epoch, rate));
        }
        update(settings, rate, step + 1, norm, state, &run.gradients);
        Ok(Stepped { loss, norm, weight })
    }

    fn diverged(&self, what: String, state: &State, epoch: u64, learning_rate: f64) -> TrainError {
        let Progress { step, mishaps, .. } = state.progress;
        TrainError::Diverged { what, step: step + 1, epoch: epoch + 1, learning_rate, mishaps }
    }

    /// Records an epoch and keeps the best weights; true when patience is at its end.
    fn close_epoch(&self, state: &mut State, report: EpochReport, clock: &Clock) -> Result<bool, TrainError> {
        let settings = &self.plan.settings;
        let progress = &mut state.progress;
        if let Some(loss) = report.valid_loss {
            if progress.best.is_none_or(|(best, _)| loss < best) {
                progress.best = Some((loss, report.epoch));
                progress.waited = 0;
                state.best = Some(state.average.as_ref().unwrap_or(&state.parameters).clone());
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
            self.metric("learning_rate", step, learning_rate)?;
            if let Some(loss) = valid_loss {
                self.metric("valid_loss", step, loss)?;
            }
        }
        Ok(over)
    }
}

/// What the learning rate is multiplied by after so many mishaps.
fn rate_factor(mishaps: u32) -> f64 {
    0.5_f64.powi(mishaps.min(100).cast_signed())
}

/// Training time, and when the next checkpoint is due.
struct Clock {
    begun: Instant,
    before: f64,
    saved: Instant,
    every: Duration,
}

impl Clock {
    fn new(checkpoint_seconds: u32) -> Self {
        let every = Duration::from_secs(u64::from(checkpoint_seconds));
        Self { begun: Instant::now(), before: 0.0, saved: Instant::now(), every }
    }

    fn seconds(&self) -> f64 {
        self.before + self.begun.elapsed().as_secs_f64()
    }

    fn due(&self) -> bool {
        self.saved.elapsed() >= self.every
    }
}
