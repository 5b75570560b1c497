//! The search itself: ask for settings, try them, tell the result.

use std::ops::ControlFlow;
use std::time::Instant;

use base::project::Sampler;
use base::{Context, Failure, Fault};
use optimizer::pruner::{MedianPruner, NopPruner};
use optimizer::sampler::RandomSampler;
use optimizer::{Direction, Study as Optimizer, Trial as Asked};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use store::{Made, Store, Work};

use crate::STUDY_FILE;
use crate::error::TuneError;
use crate::journal::{Journal, Trial, TrialState};
use crate::plan::Plan;
use crate::space::{Dimension, Fair, dimensions, suggest};

/// The median rule stops nothing before this many trials are done, and nothing in its first epoch.
const TRIALS_BEFORE_STOPPING: usize = 4;
const EPOCHS_BEFORE_STOPPING: u64 = 2;
/// The estimator chooses at random until it has this many trials, and at most half of the search.
const TRIALS_AT_RANDOM: usize = 10;

/// Hears of an epoch's validation loss, and says whether to go on.
pub type Report<'a> = dyn FnMut(u64, f64) -> ControlFlow<()> + 'a;

/// Trains with some settings and answers with the best validation loss; `None` when a report ended it.
pub type Objective<'a> = dyn FnMut(&[(String, Json)], &mut Report<'_>) -> Result<Option<f64>, Box<dyn Failure>> + 'a;

/// What `study.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// `random` or `tpe`.
    pub sampler: String,
    /// The seed of every choice.
    pub seed: u64,
    /// The best trial.
    pub best: Best,
    /// All trials, in their order.
    pub trials: Vec<Trial>,
}

/// The best trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Its number.
    pub number: u32,
    /// Its settings.
    pub settings: Vec<(String, Json)>,
    /// Its validation loss.
    pub valid_loss: f64,
}

/// Searches, or finds what the same search found before.
///
/// # Errors
/// [`TuneError::Stopped`] after Ctrl-C, with all finished trials kept; [`TuneError::Objective`] for an
/// internal error of the objective (the user's errors, such as a diverged training, fail the trial
/// alone); [`TuneError::NoneDone`] when no trial came to an end.
pub fn run(context: &Context, store: &Store, plan: &Plan, objective: &mut Objective<'_>) -> Result<Made, TuneError> {
    store.stage(&plan.key(), |work| Search::new(context, work, plan)?.run(objective))
}

struct Search<'a> {
    context: &'a Context,
    work: &'a Work<'a>,
    plan: &'a Plan,
    dimensions: Vec<Dimension>,
    optimizer: Optimizer<f64>,
    journal: Journal,
}

impl<'a> Search<'a> {
    fn new(context: &'a Context, work: &'a Work<'a>, plan: &'a Plan) -> Result<Self, TuneError> {
        let builder = Optimizer::builder().direction(Direction::Minimize);
        let builder = match plan.config.sampler {
            Sampler::Random => builder.sampler(RandomSampler::with_seed(plan.seed)),
            Sampler::Tpe => {
                let startup = TRIALS_AT_RANDOM.min(plan.config.trials.div_ceil(2) as usize).max(2);
                builder.sampler(Fair::new(plan.seed, startup)?)
            }
        };
        let optimizer = if plan.config.stop_early {
            let rule = MedianPruner::new(Direction::Minimize);
            let rule = rule.n_min_trials(TRIALS_BEFORE_STOPPING).n_warmup_steps(EPOCHS_BEFORE_STOPPING);
            builder.pruner(rule).build()
        } else {
            builder.pruner(NopPruner).build()
        };
        let dimensions = dimensions(&plan.config.search);
        Ok(Self { context, work, plan, dimensions, optimizer, journal: Journal::open(work.scratch())? })
    }

    fn run(&mut self, objective: &mut Objective<'_>) -> Result<(), TuneError> {
        let trials = self.plan.config.trials;
        let task = self.context.begin("tune", Some(u64::from(trials)), "trials");
        self.replay()?;
        while self.journal.trials.len() < trials as usize {
            let number = self.journal.trials.len();
            task.at(number as u64);
            if self.context.stop.asked() {
                return Err(TuneError::Stopped { done: number, trials });
            }
            let mut asked = self.optimizer.ask();
            let settings = suggest(&self.dimensions, &mut asked)?;
            let trial = self.attempt(&mut asked, number as u32, settings, objective)?;
            self.tell(asked, &trial);
            if let Some(loss) = trial.valid_loss {
                self.work.metric("valid_loss", number as u64, loss)?;
            }
            self.journal.append(trial)?;
            if let Some(best) = self.best() {
                task.say(&format!("best {:.4} (trial {})", best.valid_loss, best.number));
            }
        }
        let best = self.best().ok_or_else(|| TuneError::NoneDone {
            trials: self.journal.trials.len(),
            reason: self.journal.trials.iter().find_map(|trial| trial.reason.clone()).unwrap_or_default(),
        })?;
        task.end(&format!("best {:.4} (trial {})", best.valid_loss, best.number));
        self.write(best)
    }

    /// Tells the journal's trials to the sampler, which then stands where the stopped search stood.
    fn replay(&mut self) -> Result<(), TuneError> {
        for index in 0..self.journal.trials.len().min(self.plan.config.trials as usize) {
            let trial = self.journal.trials[index].clone();
            let mut asked = self.optimizer.ask();
            if suggest(&self.dimensions, &mut asked)? != trial.settings {
                // Only a damaged journal differs. The sampler has drawn for this trial already, so
                // the whole search starts again rather than continue from a third state.
                self.context.progress.note("tune: the journal does not belong to this search; starting again");
                self.journal.truncate(0)?;
                let fresh = Self::new(self.context, self.work, self.plan)?;
                *self = fresh;
                return Ok(());
            }
            for (epoch, loss) in &trial.curve {
                asked.report(*epoch, *loss);
            }
            self.tell(asked, &trial);
        }
        if !self.journal.trials.is_empty() {
            let text = format!("tune: continuing after {} finished trials", self.journal.trials.len());
            self.context.progress.note(&text);
        }
        Ok(())
    }

    fn attempt(
        &self,
        asked: &mut Asked,
        number: u32,
        settings: Vec<(String, Json)>,
        objective: &mut Objective<'_>,
    ) -> Result<Trial, TuneError> {
        let begun = Instant::now();
        let (mut curve, mut pruned) = (Vec::new(), false);
        let mut report = |epoch: u64, loss: f64| {
            if pruned {
                return ControlFlow::Break(());
            }
            curve.push((epoch, loss));
            asked.report(epoch, loss);
            pruned = asked.should_prune();
            if pruned { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let found = objective(&settings, &mut report);
        let (state, valid_loss, reason) = match found {
            _ if pruned => (TrialState::Pruned, None, None),
            Ok(Some(loss)) if loss.is_finite() => (TrialState::Done, Some(loss), None),
            Ok(Some(loss)) => (TrialState::Failed, None, Some(format!("the validation loss is {loss}"))),
            Ok(None) => (TrialState::Failed, None, Some("the trial ended without a validation loss".to_owned())),
            Err(error) => match error.fault() {
                Fault::Stopped => {
                    return Err(TuneError::Stopped { done: number as usize, trials: self.plan.config.trials });
                }
                Fault::Internal => return Err(TuneError::Objective(error)),
                Fault::User | Fault::Gate => (TrialState::Failed, None, Some(error.to_string())),
            },
        };
        let epochs = curve.last().map_or(0, |(epoch, _)| *epoch);
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Trial { number, settings, state, valid_loss, epochs, curve, reason, seconds })
    }

    fn tell(&self, asked: Asked, trial: &Trial) {
        match (trial.state, trial.valid_loss) {
            (TrialState::Done, Some(loss)) => self.optimizer.tell(asked, Ok::<_, &str>(loss)),
            (TrialState::Pruned, _) => self.optimizer.prune_trial(asked),
            _ => self.optimizer.tell(asked, Err("failed")),
        }
    }

    fn best(&self) -> Option<Best> {
        let done = self.journal.trials.iter().filter_map(|trial| Some((trial, trial.valid_loss?)));
        let (trial, valid_loss) = done.min_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Best { number: trial.number, settings: trial.settings.clone(), valid_loss })
    }

    fn write(&self, best: Best) -> Result<(), TuneError> {
        let study = Study {
            sampler: self.plan.sampler().to_owned(),
            seed: self.plan.seed,
            best,
            trials: self.journal.trials.clone(),
        };
        let path = self.work.out().join(STUDY_FILE);
        let mut bytes =
            serde_json::to_vec_pretty(&study).map_err(|error| TuneError::io("write", &path)(error.into()))?;
        bytes.push(b'\n');
        std::fs::write(&path, bytes).map_err(TuneError::io("write", &path))
    }
}
