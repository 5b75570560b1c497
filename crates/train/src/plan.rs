//! The plan of a training: everything derived, nothing computed.

use base::Measure;
use base::project::{GroupConfig, Loss, Optimizer, OutputConfig, Packing, Project, Schedule, TrainConfig};
use infer::description::{
    Columns, Encoding, FORMAT, LanguageDescription, Mlp, ModelDescription, PredictDescription, Target, Task,
    TransformerShape, Weights,
};
use kernels::gemm::Compute;
use nn::{Device, Dropout, Options};
use serde::Serialize;
use serde_json::json;
use store::{Artifact, StageKey};

use crate::derive::{self, Kind};
use crate::error::TrainError;
use crate::facts::{DataShape, Facts};

/// Arithmetic that one thread does in a second on products of the sizes met here: assumed, from
/// measurements on two cores with AVX-512.
const FLOPS_PER_SECOND: f64 = 30e9;
/// Bytes that the optimiser moves in a second: assumed, likewise.
const BYTES_PER_SECOND: f64 = 15e9;
/// Features that a bag of n-grams finds in a text, about.
const BAG_FEATURES: f64 = 250.0;
/// Tokens of a text input, about.
const TEXT_TOKENS: f64 = 24.0;

/// How a model is trained, derived values filled in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// The rule of the update.
    pub optimizer: Optimizer,
    /// The step size at its highest.
    pub learning_rate: f64,
    /// Momentum of SGD and RMSprop.
    pub momentum: f64,
    /// Decoupled weight decay of AdamW and Lion.
    pub weight_decay: f64,
    /// Tensors that are trained otherwise.
    pub group: Vec<GroupConfig>,
    /// L1 penalty on matrices.
    pub l1: f64,
    /// L2 penalty on matrices.
    pub l2: f64,
    /// How the step size falls.
    pub schedule: Schedule,
    /// The share of the steps over which it rises.
    pub warmup: f64,
    /// The share of the steps over which `warmup_stable_decay` falls.
    pub cooldown: f64,
    /// Rows (or sequences) a step.
    pub batch_size: u32,
    /// Parts of a batch that go through the model one after the other.
    pub accumulate: u32,
    /// Whether activations are computed again in the backward pass.
    pub recompute_activations: bool,
    /// The precision of products.
    #[serde(serialize_with = "compute_name")]
    pub compute: Compute,
    /// What computes the steps. On the CPU it stands in no key, so that models keep theirs.
    #[serde(serialize_with = "device_name", skip_serializing_if = "is_cpu")]
    pub device: Device,
    /// How documents become sequences.
    pub packing: Packing,
    /// Decay of the moving average of the weights; 0: none.
    pub average_decay: f64,
    /// A loss so many times the recent median is a mishap; 0: never.
    pub spike_factor: f64,
    /// Mishaps that training survives.
    pub retries: u32,
    /// Passes over the training split.
    pub epochs: u64,
    /// Epochs without a better validation loss before the end; 0: never.
    pub patience: u32,
    /// The longest gradient; 0: any.
    pub clip_norm: f64,
    /// The share of hidden units that a step leaves out.
    pub dropout: f64,
}

fn compute_name<S: serde::Serializer>(compute: &Compute, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match compute {
        Compute::F32 => "f32",
        Compute::Bf16 => "bf16",
    })
}

fn device_name<S: serde::Serializer>(device: &Device, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(device.name())
}

fn is_cpu(device: &Device) -> bool {
    *device == Device::Cpu
}

impl Settings {
    /// How a step computes.
    pub(crate) fn options(&self, dropout: Dropout) -> Options {
        let (compute, device) = (self.compute, self.device);
        Options { compute, dropout, recompute: self.recompute_activations, device }
    }
}

/// The plan of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What the model will be.
    pub description: ModelDescription,
    /// How it is trained.
    pub settings: Settings,
    /// Seconds between checkpoints.
    pub checkpoint_seconds: u32,
    /// The seed of every random choice.
    pub seed: u64,
    /// What the plan was derived from.
    pub facts: Facts,
    threads: usize,
}

/// Plans the training of a project's model on a dataset.
///
/// # Errors
/// [`TrainError::Plan`] when they do not fit; whatever reading the dataset's description gives.
pub fn plan(project: &Project, dataset: &Artifact) -> Result<Plan, TrainError> {
    plan_for(project, Facts::read(dataset)?)
}

/// Plans the training for known facts, which may be estimates: `yard plan` before there is a dataset.
///
/// # Errors
/// [`TrainError::Plan`] when the project and the facts do not fit.
pub fn plan_for(project: &Project, facts: Facts) -> Result<Plan, TrainError> {
    let (task, kind, context) = match &facts.shape {
        DataShape::Predict(columns) => {
            let predict = predict(project, columns, facts.rows.train)?;
            let kind = derive::kind(&predict.columns, &predict.hidden);
            (Task::Predict(predict), kind, 1)
        }
        DataShape::Language { clean, vocabulary } => {
            let context = derive::context(&project.file.model);
            let shape = derive::transformer(&project.file.model, *vocabulary, context, true);
            check_heads(&shape)?;
            // A corpus shorter than one sequence is one short sequence.
            let context = context.min(usize::try_from(facts.rows.train).unwrap_or(usize::MAX).saturating_sub(1));
            if context == 0 {
                let what = format!("the training split has {} tokens", facts.rows.train);
                return Err(TrainError::Plan {
                    what,
                    hint: "A language model needs text to learn from: add documents.",
                });
            }
            (Task::Language(LanguageDescription { clean: *clean, shape, context }), Kind::Language, context)
        }
    };
    let file = &project.file;
    let settings = Settings {
        optimizer: file.train.optimizer,
        learning_rate: derive::learning_rate(file, kind),
        momentum: file.train.momentum,
        weight_decay: file.train.weight_decay,
        group: file.train.group.clone(),
        l1: file.train.l1,
        l2: file.train.l2,
        schedule: file.train.schedule,
        warmup: file.train.warmup,
        cooldown: file.train.cooldown,
        batch_size: derive::batch_size(file, kind, facts.rows.train, context),
        accumulate: file.train.accumulate.unwrap_or(1),
        recompute_activations: file.train.recompute_activations.unwrap_or(false),
        compute: derive::compute(file, kind),
        device: derive::device(file.train.device),
        packing: file.train.packing,
        average_decay: file.train.average_decay,
        spike_factor: file.train.spike_factor,
        retries: file.train.retries,
        epochs: derive::epochs(file, kind, facts.rows.train),
        patience: file.train.patience,
        clip_norm: file.train.clip_norm,
        dropout: file.train.dropout,
    };
    let description = ModelDescription {
        format: FORMAT,
        made_by: concat!("yard ", env!("CARGO_PKG_VERSION")).to_owned(),
        name: file.name.clone(),
        weights: Weights::F32,
        task,
    };
    let mut plan = Plan {
        description,
        settings,
        checkpoint_seconds: file.train.checkpoint_seconds,
        seed: u64::from(file.seed),
        facts,
        threads: base::progress::default_threads(),
    };
    plan.check(kind)?;
    if let Some(bytes_max) = file.train.memory_bytes_max {
        plan.fit_memory(&file.train, bytes_max)?;
    }
    Ok(plan)
}

fn predict(project: &Project, columns: &Columns, rows: u64) -> Result<PredictDescription, TrainError> {
    let model = &project.file.model;
    if rows == 0 {
        let what = "the training split has no rows".to_owned();
        return Err(TrainError::Plan { what, hint: "Look at the ledger: `yard data --explain-drops`." });
    }
    let mut columns = columns.clone();
    for input in &mut columns.inputs {
        if let Encoding::Transformer { shape, tokens_max } = &mut input.encoding {
            // The data stage knows the vocabulary; the model's sizes are train's to choose, so that
            // changing them does not run the data stage again.
            *shape = derive::transformer(model, shape.vocabulary, *tokens_max, false);
            check_heads(shape)?;
        }
    }
    for output in &mut columns.outputs {
        if let Some(config) = project.file.output.iter().find(|config| config.column == output.name) {
            output.weight = config.weight;
            output.squared = squared(&output.target, config)?;
        }
    }
    let hidden = derive::hidden(model, &columns, rows);
    let plain = |encoding: &Encoding| !matches!(encoding, Encoding::Transformer { .. });
    if !model.intercept && !columns.inputs.iter().all(|input| plain(&input.encoding)) {
        let what = "a model with a transformer cannot go without an intercept".to_owned();
        return Err(TrainError::Plan { what, hint: "Remove `intercept = false`." });
    }
    Ok(PredictDescription { columns, hidden, intercept: model.intercept })
}

/// Whether an output's loss is the squared error; types inferred from the data are checked here.
fn squared(target: &Target, config: &OutputConfig) -> Result<bool, TrainError> {
    let unfit = |what: &str| TrainError::Plan {
        what: format!("the output {:?} is a {what}", config.column),
        hint: "Use loss = \"mse\" for numbers and loss = \"cross_entropy\" for categories, or leave it out.",
    };
    match (target, config.loss) {
        (Target::Category { .. }, Some(Loss::Mse)) => Err(unfit("category, which cannot be learned by mse")),
        (Target::Number { .. }, Some(Loss::CrossEntropy)) => {
            Err(unfit("number, which cannot be learned by cross_entropy"))
        }
        (Target::Binary { .. }, loss) => Ok(loss == Some(Loss::Mse)),
        (Target::Number { .. }, _) => Ok(true),
        (Target::Category { .. }, _) => Ok(false),
    }
}

fn check_heads(shape: &TransformerShape) -> Result<(), TrainError> {
    let (width, heads, shared) = (shape.width, shape.heads, shape.kv_heads());
    if !width.is_multiple_of(heads) || !(width / heads).is_multiple_of(2) {
        let what = format!("{heads} heads do not divide the width {width} into even parts");
        return Err(TrainError::Plan { what, hint: "Set model.width to an even multiple of model.heads." });
    }
    if shared == 0 || !heads.is_multiple_of(shared) {
        let what = format!("{shared} heads of keys and values do not divide {heads} query heads into equal groups");
        return Err(TrainError::Plan { what, hint: "Set model.key_value_heads to a divisor of model.heads." });
    }
    Ok(())
}

impl Plan {
    fn check(&self, kind: Kind) -> Result<(), TrainError> {
        if self.settings.dropout > 0.0 && matches!(kind, Kind::Linear | Kind::Bag) {
            let what = "`train.dropout` leaves out hidden units, and this model is linear".to_owned();
            return Err(TrainError::Plan { what, hint: "Remove `dropout`, or set model.hidden = [64]." });
        }
        if self.settings.patience > 0 && self.facts.rows.valid == 0 {
            let what = "`train.patience` waits for the validation loss, and there is no validation split".to_owned();
            return Err(TrainError::Plan { what, hint: "Set data.split.valid above 0, or remove `patience`." });
        }
        if self.settings.device == Device::Wgpu && self.settings.compute == Compute::Bf16 {
            let what = "`train.compute` is \"bf16\", and shaders for `train.device = \"wgpu\"` have no such numbers";
            return Err(TrainError::Plan { what: what.to_owned(), hint: "Remove `compute`, or set it to \"f32\"." });
        }
        let names: Vec<String> = self.description.tensors().into_iter().map(|(name, _)| name).collect();
        for group in &self.settings.group {
            if !names.iter().any(|name| crate::optimizer::belongs(group, name)) {
                let what = format!(
                    "`train.group` names the tensors {:?}, and the model has {}",
                    group.tensors,
                    names.join(", ")
                );
                return Err(TrainError::Plan {
                    what,
                    hint: "Name a part of a tensor's name; `*` stands for anything.",
                });
            }
        }
        Ok(())
    }

    /// Cuts the batch into parts, and if need be computes activations again, until the estimated memory is
    /// at most `bytes_max`. What the project file sets stays as it is.
    fn fit_memory(&mut self, config: &TrainConfig, bytes_max: u64) -> Result<(), TrainError> {
        let recompute: &[bool] = match config.recompute_activations {
            Some(set) => &[set],
            None => &[false, true],
        };
        let most = self.settings.batch_size;
        let parts: Vec<u32> = match config.accumulate {
            Some(set) => vec![set],
            None => (1..=most).filter(|parts| *parts == most || parts.is_power_of_two()).collect(),
        };
        for recompute_activations in recompute {
            for accumulate in &parts {
                self.settings.recompute_activations = *recompute_activations;
                self.settings.accumulate = *accumulate;
                if self.memory_bytes() <= bytes_max as f64 {
                    return Ok(());
                }
            }
        }
        let what = format!(
            "train.memory_bytes_max is {}, and the smallest step needs about {}",
            base::units::bytes(bytes_max),
            base::units::bytes(self.memory_bytes() as u64)
        );
        Err(TrainError::Plan { what, hint: "Raise it, or choose a smaller model.size." })
    }

    /// The memory of a training, estimated.
    fn memory_bytes(&self) -> f64 {
        let copies = 5.0 + if self.settings.average_decay > 0.0 { 1.0 } else { 0.0 };
        self.description.parameters() as f64 * 4.0 * copies + self.arithmetic().1
    }

    /// Floating-point operations of training on one row or token, estimated.
    pub(crate) fn flops_per_unit(&self) -> f64 {
        let units = match &self.description.task {
            Task::Predict(_) => self.facts.rows.train as f64,
            Task::Language(language) => self.examples() as f64 * language.context as f64,
        };
        self.arithmetic().0 / units.max(1.0)
    }

    /// What the result depends on.
    #[must_use]
    pub fn key(&self, dataset: &Artifact) -> StageKey {
        StageKey {
            stage: "train",
            code_version: crate::CODE_VERSION,
            config: json!({ "description": self.description, "settings": self.settings }),
            inputs: vec![("dataset".to_owned(), dataset.digest)],
            seed: self.seed,
            makes: "model",
        }
    }

    /// Steps of the whole training.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.settings.epochs * self.examples().div_ceil(u64::from(self.settings.batch_size))
    }

    /// Rows, or sequences, of an epoch.
    fn examples(&self) -> u64 {
        match &self.description.task {
            Task::Predict(_) => self.facts.rows.train,
            Task::Language(language) => (self.facts.rows.train.saturating_sub(1)) / language.context as u64,
        }
    }

    /// The derived sizes and rates, for people.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let settings = &self.settings;
        let model = match &self.description.task {
            Task::Predict(predict) if predict.hidden.is_empty() => "linear model".to_owned(),
            Task::Predict(predict) => format!("hidden layers {:?}", predict.hidden),
            Task::Language(language) => format!(
                "transformer: width {}, {} layers, {} heads, feed-forward {}, vocabulary {}, context {}",
                language.shape.width,
                language.shape.layers,
                language.shape.heads,
                language.shape.feed_forward,
                language.shape.vocabulary,
                language.context
            ),
        };
        let name = json!(settings.optimizer);
        let device = match settings.device {
            Device::Cpu => String::new(),
            other => format!(", on {}", other.name()),
        };
        vec![
            model + &device,
            format!(
                "{}, learning rate {}, batch {}, {} epochs, {} steps",
                name.as_str().unwrap_or_default(),
                settings.learning_rate,
                settings.batch_size,
                settings.epochs,
                self.steps()
            ),
        ]
    }

    /// Parameters, memory, arithmetic and time, by name.
    #[must_use]
    pub fn measures(&self) -> Vec<(&'static str, Measure)> {
        let parameters = self.description.parameters() as f64;
        // Parameters, gradients, two moments, the best parameters so far, and the average if there is one.
        let memory = self.memory_bytes();
        let (flops, _) = self.arithmetic();
        let moved = self.steps() as f64 * parameters * 4.0 * 8.0;
        let seconds =
            flops * self.settings.epochs as f64 / (FLOPS_PER_SECOND * self.threads as f64) + moved / BYTES_PER_SECOND;
        let device = match self.settings.device {
            Device::Cpu => String::new(),
            other => format!("; that is the CPU's time, of {} nothing is assumed", other.name()),
        };
        let rate = format!(
            "arithmetic at {:.0} GFLOP/s a thread on {} threads, optimiser at {:.0} GB/s (both assumed){device}",
            FLOPS_PER_SECOND / 1e9,
            self.threads,
            BYTES_PER_SECOND / 1e9
        );
        vec![
            ("parameters", Measure::estimated(parameters, "parameters", "sum over the model's tensors")),
            ("memory", Measure::estimated(memory, "bytes", "five or six copies of the parameters, and activations")),
            ("flops_per_epoch", Measure::estimated(flops, "FLOP", "6 per parameter that a row or token meets")),
            ("train_seconds", Measure::estimated(seconds, "s", &rate)),
        ]
    }

    /// Values that a transformer keeps of one token until the backward pass, its gradients on their way, and
    /// the few logits that are there at once.
    fn kept_floats(&self, shape: &TransformerShape) -> usize {
        let (width, inner, stride) = (shape.width, shape.feed_forward, shape.width + 2 * shape.kv_width());
        let pre = if shape.mlp == Mlp::SwiGlu { 2 * inner } else { inner };
        let layer = 5 * width + stride + shape.heads + pre + inner;
        let kept =
            if self.settings.recompute_activations { shape.layers * width + layer } else { shape.layers * layer };
        kept + 6 * width + stride + pre + inner
    }

    /// Floating-point operations of an epoch, and bytes of activations of a part of a step.
    fn arithmetic(&self) -> (f64, f64) {
        let batch = f64::from(self.settings.batch_size.div_ceil(self.settings.accumulate));
        match &self.description.task {
            Task::Language(language) => {
                let shape = &language.shape;
                let tokens = self.examples() as f64 * language.context as f64;
                let attention = (shape.layers * shape.width * language.context) as f64 * 2.0;
                let flops = 6.0 * (shape.parameters() as f64 + attention) * tokens;
                let kept = self.kept_floats(shape);
                (flops, batch * (language.context * kept) as f64 * 4.0)
            }
            Task::Predict(predict) => {
                let widths = predict.widths();
                let (mut met, mut floats) = (0.0, widths.iter().sum::<usize>() as f64 * 4.0);
                for input in &predict.columns.inputs {
                    met += match &input.encoding {
                        Encoding::Bag { .. } => BAG_FEATURES * widths[0] as f64,
                        Encoding::Transformer { shape, tokens_max } => {
                            let tokens = TEXT_TOKENS.min(*tokens_max as f64);
                            let table = shape.vocabulary * shape.width;
                            floats += tokens * self.kept_floats(shape) as f64;
                            (shape.parameters() - table) as f64 * tokens
                        }
                        _ => widths[0] as f64,
                    };
                }
                met += widths.windows(2).map(|pair| (pair[0] * pair[1]) as f64).sum::<f64>();
                (6.0 * met * self.facts.rows.train as f64, batch * floats * 4.0)
            }
        }
    }
}
