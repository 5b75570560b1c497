//! The compress stage: every matrix of a model in eight bits, and a measured report of what that cost
//! in quality and gained in size and speed. A model that lost more quality than the project file
//! allows is refused.
//!
//! It does not know how models are trained or served. Read `infer::description` for how int8 weights
//! are stored, `columns.rs` and `text.rs` for how the two models are compared, `gate.rs` for what is
//! refused.

mod columns;
mod error;
mod gate;
mod remake;
mod rounds;
mod text;

use std::collections::BTreeMap;
use std::path::Path;

use base::Context;
use base::Measure;
use base::project::{CompressConfig, Compression, Project};
use infer::description::{METRICS_FILE, MODEL_FILE, Task, WEIGHTS_FILE, Weights};
use infer::metrics::Confusion;
use infer::weights::{self, SCALE, quantise};
use infer::{Engine, Model};
use serde_json::{Map, Value as Json, json};
use store::{Artifact, Made, StageKey, Store, Work};

pub use error::CompressError;

/// Raised whenever this code would make another model of the same inputs.
pub const CODE_VERSION: u32 = 1;
/// The report of size, speed and quality before and after.
pub const REPORT_FILE: &str = "compression.json";
/// How often each label was taken for each other.
const CONFUSION_FILE: &str = "confusion.json";
/// Files that the compressed model has of its own; every other is copied.
const OWN_FILES: [&str; 7] =
    [WEIGHTS_FILE, MODEL_FILE, METRICS_FILE, CONFUSION_FILE, REPORT_FILE, SAMPLES_FILE, COEFFICIENTS_FILE];

/// The completions of a language model that training wrote down.
const SAMPLES_FILE: &str = "samples.json";
/// Intercept and slopes of a linear model.
const COEFFICIENTS_FILE: &str = "coefficients.json";
const ON_VALID: &str = "on the validation split, because there is no test split";
const ON_TRAIN: &str =
    "on the training split, because there is no other: how well the model fits, not how well it predicts";

/// How a model will be compressed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// How weights are stored.
    pub method: Compression,
    /// By how much the quality may fall.
    pub quality_drop_max: f64,
}

/// What a comparison of the model before and after found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Comparison {
    /// The metrics before and after.
    pub metrics: [BTreeMap<String, Measure>; 2],
    /// The confusion of the compressed model.
    pub confusion: BTreeMap<String, Confusion>,
    /// The speed before and after.
    pub speed: Option<[Measure; 2]>,
    /// How much the two say the same.
    pub others: BTreeMap<String, Measure>,
}

/// Reads the `[compress]` table; without one, its defaults hold.
///
/// # Errors
/// None yet: whatever can be wrong with the table, the project file's own checks have found.
pub fn plan(project: &Project) -> Result<Plan, CompressError> {
    let config = project.file.compress.clone().unwrap_or_default();
    let CompressConfig { method, quality_drop_max } = config;
    Ok(Plan { method, quality_drop_max })
}

/// Compresses a model, compares it with the model that went in, and holds it against the gate; or
/// finds what was made before.
///
/// # Errors
/// [`CompressError::Refused`] when the quality fell too far; otherwise what reading and writing give.
pub fn run(
    context: &Context,
    store: &Store,
    plan: &Plan,
    model: &Artifact,
    dataset: &Artifact,
) -> Result<Made, CompressError> {
    let key = StageKey {
        stage: "compress",
        code_version: CODE_VERSION,
        config: json!({ "method": plan.method, "quality_drop_max": plan.quality_drop_max }),
        inputs: vec![("model".to_owned(), model.digest), ("dataset".to_owned(), dataset.digest)],
        seed: 0,
        makes: "model",
    };
    store.stage(&key, |work| make(context, work, plan, model, dataset))
}

fn make(
    context: &Context,
    work: &Work<'_>,
    plan: &Plan,
    model: &Artifact,
    dataset: &Artifact,
) -> Result<(), CompressError> {
    let sizes = shrink(model, work.out())?;
    let before = Model::load(&model.folder)?;
    let after = Model::load(work.out())?;
    let comparison = match (before.engine(), after.engine()) {
        (Engine::Predict(before), Engine::Predict(after)) => columns::compare(context, before, after, &dataset.folder)?,
        (Engine::Language(before), Engine::Language(after)) => text::compare(context, before, after, &dataset.folder)?,
        _ => unreachable!("a model and its compressed form have one task"),
    };
    remake::remake(&after, model, work.out())?;
    let verdicts = gate::hold(plan, &comparison.metrics)?;
    write_json(&work.out().join(METRICS_FILE), &json!(comparison.metrics[1]))?;
    if let Task::Predict(_) = after.description().task {
        write_json(&work.out().join(CONFUSION_FILE), &json!(comparison.confusion))?;
    }
    write_json(&work.out().join(REPORT_FILE), &report(plan, &sizes, &comparison, &verdicts))?;
    for (name, measure) in &comparison.metrics[1] {
        work.metric(name, 0, measure.value)?;
    }
    Ok(())
}

/// Writes the int8 weights and the new description, copies every other file, and returns the sizes of
/// the weights before and after.
fn shrink(model: &Artifact, out: &Path) -> Result<[Measure; 2], CompressError> {
    let mut description = infer::model::read_description(&model.folder)?;
    if description.weights == Weights::Int8 {
        return Err(CompressError::AlreadyCompressed);
    }
    description.weights = Weights::Int8;
    let from = model.path(WEIGHTS_FILE);
    let mut tensors = weights::read(&from)?;
    for (name, _) in description.tensors() {
        if let Some((quantised, scale)) = tensors.get(&name).and_then(quantise) {
            tensors.insert(format!("{name}{SCALE}"), scale);
            tensors.insert(name, quantised);
        }
    }
    infer::model::write(out, &description, &tensors)?;
    for file in model.files.iter().filter(|file| !OWN_FILES.contains(&file.path.as_str())) {
        let to = out.join(&file.path);
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder).map_err(CompressError::io("make", folder))?;
        }
        std::fs::copy(model.path(&file.path), &to).map_err(CompressError::io("copy", &to))?;
    }
    let size = |path: &Path| {
        let bytes = std::fs::metadata(path).map_err(CompressError::io("read", path))?.len();
        Ok::<_, CompressError>(Measure::measured(bytes as f64, "bytes", "size of weights.safetensors"))
    };
    Ok([size(&from)?, size(&out.join(WEIGHTS_FILE))?])
}

/// What `compression.json` says.
fn report(plan: &Plan, sizes: &[Measure; 2], comparison: &Comparison, verdicts: &Json) -> Json {
    let pair = |[before, after]: &[Measure; 2]| json!({ "before": before, "after": after });
    let mut report = Map::new();
    report.insert("method".to_owned(), json!(plan.method));
    report.insert("size".to_owned(), pair(sizes));
    if let Some(speed) = &comparison.speed {
        report.insert("speed".to_owned(), pair(speed));
    }
    let [before, after] = &comparison.metrics;
    let quality: Map<String, Json> = before
        .iter()
        .filter_map(|(name, before)| Some((name.clone(), json!({ "before": before, "after": after.get(name)? }))))
        .collect();
    report.insert("quality".to_owned(), Json::Object(quality));
    for (name, measure) in &comparison.others {
        report.insert(name.clone(), json!(measure));
    }
    report.insert("gate".to_owned(), verdicts.clone());
    Json::Object(report)
}

/// Says in each metric's method what it was measured on, where it was not the whole test split.
fn noted(mut metrics: BTreeMap<String, Measure>, note: Option<&str>) -> BTreeMap<String, Measure> {
    if let Some(note) = note {
        for measure in metrics.values_mut() {
            measure.method = format!("{}, {note}", measure.method);
        }
    }
    metrics
}

fn write_json(path: &Path, json: &Json) -> Result<(), CompressError> {
    let text = serde_json::to_string_pretty(json).unwrap_or_else(|_| json.to_string()) + "\n";
    std::fs::write(path, text).map_err(CompressError::io("write", path))
}
