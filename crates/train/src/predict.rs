//! Rows in memory as features and targets, and their loss.

use base::Value;
use dataset::{Row, Split, read_split};
use infer::description::{Columns, PredictDescription, Target, Task};
use infer::preprocess::{Features, Preprocessor};
use nn::predict::Batch;
use nn::{Dropout, Options, Sink, Targets, Tensors, Workspace};
use rayon::prelude::*;

use crate::error::TrainError;
use crate::ranks::Ranks;
use crate::trainer::{How, Objective, Session};

/// Rows whose validation loss is computed at once.
const VALID_ROWS: usize = 512;

/// The training and the validation split.
pub(crate) struct Data<'a> {
    description: &'a PredictDescription,
    train: Examples,
    valid: Examples,
    /// The training rows themselves, for the baseline.
    pub(crate) rows: Vec<Row>,
    options: Options,
    workspaces: Vec<Workspace>,
}

/// Rows as numbers.
struct Examples {
    features: Vec<Features>,
    /// One entry per output, over all rows.
    targets: Vec<Targets>,
}

impl<'a> Data<'a> {
    /// Reads both splits and computes their features.
    pub(crate) fn read(session: &Session<'a>) -> Result<Self, TrainError> {
        let Task::Predict(description) = &session.plan.description.task else {
            unreachable!("the plan of a language model")
        };
        let preprocessor = Preprocessor::load(&session.dataset.folder)?;
        let task = session.context.begin("features", None, "rows");
        let read = |split| read_split(&session.dataset.folder, split, &description.columns);
        let rows = read(Split::Train)?;
        let mut valid = read(Split::Valid)?;
        let seen = valid.len();
        valid.retain(|row| known(&description.columns, &row.outputs));
        if valid.len() < seen {
            let count = seen - valid.len();
            let text =
                format!("train: {count} validation rows have a label that training never saw; their loss is left out");
            session.context.progress.note(&text);
        }
        let examples = |rows: &[Row]| session.pool.install(|| Examples::of(&preprocessor, &description.columns, rows));
        let (train, valid) = (examples(&rows)?, examples(&valid)?);
        let options = session.plan.settings.options(Dropout::OFF);
        let data = Self { description, train, valid, rows, options, workspaces: Vec::new() };
        task.end(&format!(
            "{} rows",
            base::units::count((data.train.features.len() + data.valid.features.len()) as u64)
        ));
        Ok(data)
    }
}

impl Objective for Data<'_> {
    fn examples(&self) -> usize {
        self.train.features.len()
    }

    fn unit(&self) -> &'static str {
        "rows"
    }

    fn weight(&self, _: u64, batch: &[u32]) -> f64 {
        batch.len() as f64
    }

    fn step(&mut self, parameters: &Tensors, _: u64, batch: &[u32], how: How, sink: Sink<'_>) -> f64 {
        let rows: Vec<usize> = batch.iter().map(|row| *row as usize).collect();
        let batch = self.train.batch(&rows);
        let (How { scale, options }, workspaces) = (how, &mut self.workspaces);
        nn::predict::step(self.description, parameters, &batch, scale, options, workspaces, sink)
    }

    fn valid_loss(&mut self, parameters: &Tensors, ranks: &Ranks) -> Option<f64> {
        let count = self.valid.features.len();
        if count == 0 {
            return None;
        }
        let rows: Vec<usize> = ranks.share(count).collect();
        let mut sum = 0.0;
        for rows in rows.chunks(VALID_ROWS) {
            let batch = self.valid.batch(rows);
            let logits = nn::predict::logits(self.description, parameters, &batch, self.options, &mut self.workspaces);
            sum += nn::loss::outputs_loss(&self.description.columns.outputs, &logits, &batch.targets, 1.0).0;
        }
        Some(ranks.sum(sum) / count as f64)
    }
}

impl Examples {
    fn of(preprocessor: &Preprocessor, columns: &Columns, rows: &[Row]) -> Result<Self, TrainError> {
        let features: Result<Vec<Features>, _> =
            rows.par_iter().map(|row| preprocessor.features(&row.inputs)).collect();
        let targets = columns.outputs.iter().enumerate().map(|(index, output)| {
            let values = rows.iter().map(|row| &row.outputs[index]);
            match &output.target {
                Target::Category { labels } => {
                    Targets::Labels(values.map(|value| label(labels, value).unwrap_or(0) as u32).collect())
                }
                Target::Binary { .. } => {
                    Targets::Values(values.map(|value| f32::from(u8::from(value.as_binary() == Some(true)))).collect())
                }
                Target::Number { mean, deviation } => Targets::Values(
                    values.map(|value| ((value.as_number().unwrap_or(*mean) - mean) / deviation) as f32).collect(),
                ),
            }
        });
        Ok(Self { targets: targets.collect(), features: features? })
    }

    fn batch(&self, rows: &[usize]) -> Batch<'_> {
        let inputs = self.features.first().map_or(0, |features| features.tokens.len());
        let tokens = |input: usize| rows.iter().map(|row| self.features[*row].tokens[input].as_slice()).collect();
        let pick = |target: &Targets| match target {
            Targets::Labels(labels) => Targets::Labels(rows.iter().map(|row| labels[*row]).collect()),
            Targets::Values(values) => Targets::Values(rows.iter().map(|row| values[*row]).collect()),
        };
        Batch {
            sparse: rows.iter().map(|row| self.features[*row].sparse.as_slice()).collect(),
            tokens: (0..inputs).map(tokens).collect(),
            targets: self.targets.iter().map(pick).collect(),
        }
    }
}

/// The position of a label among the sorted labels of the training split.
fn label(labels: &[String], value: &Value) -> Option<usize> {
    let text = value.as_text()?;
    labels.binary_search_by(|label| label.as_str().cmp(text)).ok()
}

/// Whether training saw every label of a row.
fn known(columns: &Columns, outputs: &[Value]) -> bool {
    columns.outputs.iter().zip(outputs).all(|(output, value)| match &output.target {
        Target::Category { labels } => label(labels, value).is_some(),
        Target::Binary { .. } => value.as_binary().is_some(),
        Target::Number { .. } => value.as_number().is_some(),
    })
}
