//! The model card: what the model does, what it learned from, how good it measured, and how to run it.
//! Every sentence states a fact that some file of the store holds; nothing is claimed beyond that.
//!
//! It does not know how the image is made.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use base::units;
use base::{Digest, Measure};
use dataset::{QUALITY_FILE, Quality};
use infer::description::{Columns, Encoding, METRICS_FILE, MODEL_FILE, Target};
use infer::{ModelDescription, Task};
use serde_json::{Value as Json, json};
use store::{Artifact, Store};

use crate::error::PackageError;
use crate::image::{Image, Labels, MODEL};

/// Labels beyond this many are counted, not listed.
const LABELS_SHOWN: usize = 20;

/// What the store knows about a model, without dates and run numbers: the card is part of an artifact
/// that must be the same for the same inputs.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    model: ModelDescription,
    model_bytes: u64,
    metrics: BTreeMap<String, Measure>,
    history: Json,
    compression: Json,
    quality: Option<Quality>,
    stages: Vec<StageFacts>,
}

#[derive(Debug, Clone)]
struct StageFacts {
    stage: String,
    settings: Json,
    seed: i64,
    digest: Digest,
    sources: Vec<(String, Digest)>,
}

impl Facts {
    /// Reads a model's description and metrics, and what its lineage says.
    ///
    /// # Errors
    /// [`PackageError::Model`] when the model does not say what it is; [`PackageError::Store`].
    pub(crate) fn read(store: &Store, model: &Artifact) -> Result<Self, PackageError> {
        let mut stages = Vec::new();
        let mut quality = None;
        for run in store.lineage(model.digest)? {
            let Some(digest) = run.artifact else { continue };
            if let Ok(artifact) = store.artifact_unchecked(digest)
                && artifact.has(QUALITY_FILE)
            {
                quality = Some(read_typed(&artifact.path(QUALITY_FILE))?);
            }
            let sources = run.inputs.into_iter().filter(|(role, _)| role.starts_with("source:")).collect();
            stages.push(StageFacts { stage: run.stage, settings: run.config, seed: run.seed, digest, sources });
        }
        let optional = |file: &str| {
            if model.has(file) { read_json(&model.path(file)) } else { Ok(Json::Null) }
        };
        Ok(Self {
            model: read_typed(&model.path(MODEL_FILE))?,
            model_bytes: model.size_bytes(),
            metrics: if model.has(METRICS_FILE) { read_typed(&model.path(METRICS_FILE))? } else { BTreeMap::new() },
            history: optional("history.json")?,
            compression: optional("compression.json")?,
            quality,
            stages,
        })
    }

    /// The digest of what is not already named by the model's own digest.
    pub(crate) fn digest(&self) -> Digest {
        let stages: Vec<Json> =
            self.stages.iter().map(|one| json!([one.stage, one.settings, one.seed, one.digest, one.sources])).collect();
        Digest::of_json(&json!([self.quality, stages]))
    }
}

fn read_json(path: &Path) -> Result<Json, PackageError> {
    read_typed(path)
}

fn read_typed<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, PackageError> {
    let wrong = |what: String| PackageError::Model { path: path.to_owned(), what };
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))
}

/// Writes the card, in Markdown.
pub(crate) fn write(facts: &Facts, labels: &Labels, image: &Image) -> String {
    let mut card = format!("# {}\n\n{}\n", labels.title, purpose(&facts.model));
    match &facts.model.task {
        Task::Predict(predict) => columns(&mut card, &predict.columns),
        Task::Language(_) => {}
    }
    metrics(&mut card, facts);
    data(&mut card, facts);
    training(&mut card, facts);
    limits(&mut card, facts);
    identity(&mut card, facts, labels, image);
    how_to_run(&mut card, facts, labels);
    card
}

/// One paragraph: what goes in and what comes out.
fn purpose(model: &ModelDescription) -> String {
    match &model.task {
        Task::Predict(predict) => {
            let names = |list: Vec<&str>| list.iter().map(|name| code(name)).collect::<Vec<_>>().join(", ");
            format!(
                "Predicts {} from {}.",
                names(predict.columns.outputs.iter().map(|one| one.name.as_str()).collect()),
                names(predict.columns.inputs.iter().map(|one| one.name.as_str()).collect()),
            )
        }
        Task::Language(language) => format!(
            "Continues text: a causal language model of {} parameters with a context of {} tokens and a vocabulary of {}.",
            units::count(model.parameters() as u64),
            units::count(language.context as u64),
            units::count(language.shape.vocabulary as u64),
        ),
    }
}

fn columns(card: &mut String, columns: &Columns) {
    card.push_str("\n## Inputs and outputs\n\n| | column | type | particulars |\n|---|---|---|---|\n");
    for input in &columns.inputs {
        let particulars = match &input.encoding {
            Encoding::Number { mean, deviation } => format!("training mean {mean:.6}, deviation {deviation:.6}"),
            Encoding::Binary { labels } => label_list(labels),
            Encoding::Category { labels } => label_list(labels),
            Encoding::Bag { word_ngrams: [a, b], character_ngrams: [c, d], buckets } => {
                format!(
                    "word n-grams {a}–{b}, character n-grams {c}–{d}, {} buckets each",
                    units::count(u64::from(*buckets))
                )
            }
            Encoding::Transformer { tokens_max, .. } => format!("tokens beyond {tokens_max} are cut"),
        };
        row(card, &["input", &code(&input.name), input.column_type.name(), &particulars]);
    }
    for output in &columns.outputs {
        let (kind, particulars) = match &output.target {
            Target::Category { labels } => ("category", label_list(labels)),
            Target::Binary { labels } => ("binary", label_list(labels)),
            Target::Number { mean, deviation } => {
                ("number", format!("training mean {mean:.6}, deviation {deviation:.6}"))
            }
        };
        row(card, &["output", &code(&output.name), kind, &particulars]);
    }
}

fn label_list(labels: &[String]) -> String {
    let shown: Vec<String> = labels.iter().take(LABELS_SHOWN).map(|label| code(label)).collect();
    let more = labels.len().saturating_sub(LABELS_SHOWN);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{} labels: {}{more}", labels.len(), shown.join(", "))
}

fn metrics(card: &mut String, facts: &Facts) {
    card.push_str("\n## Quality\n\n");
    if facts.metrics.is_empty() {
        card.push_str("No metric is recorded.\n");
    } else {
        measures(card, facts.metrics.iter().map(|(name, measure)| (name.as_str(), measure)));
    }
    let listed = measures_within(&facts.compression);
    if !listed.is_empty() {
        card.push_str("\n### What compression changed\n\n");
        measures(card, listed.iter().map(|(name, measure)| (name.as_str(), measure)));
    }
}

/// Every [`Measure`] below a JSON value, with its dotted path.
fn measures_within(json: &Json) -> Vec<(String, Measure)> {
    let mut found = Vec::new();
    if let Json::Object(map) = json {
        for (key, value) in map {
            if let Ok(measure) = serde_json::from_value::<Measure>(value.clone()) {
                found.push((key.clone(), measure));
            } else {
                found.extend(measures_within(value).into_iter().map(|(name, one)| (format!("{key}.{name}"), one)));
            }
        }
    }
    found
}

fn measures<'a>(card: &mut String, list: impl Iterator<Item = (&'a str, &'a Measure)>) {
    card.push_str("| metric | value | unit | obtained | method |\n|---|---:|---|---|---|\n");
    for (name, measure) in list {
        let provenance = json!(measure.provenance).as_str().unwrap_or_default().to_owned();
        row(card, &[name, &number(measure.value), &measure.unit, &provenance, &measure.method]);
    }
}

fn data(card: &mut String, facts: &Facts) {
    card.push_str("\n## Data\n\n");
    for stage in facts.stages.iter().filter(|stage| !stage.sources.is_empty()) {
        card.push_str("| source | SHA-256 |\n|---|---|\n");
        for (role, digest) in &stage.sources {
            row(card, &[&code(role.trim_start_matches("source:")), &code(&digest.to_string())]);
        }
    }
    let Some(quality) = &facts.quality else {
        card.push_str("\nNo report on the data is in the lineage.\n");
        return;
    };
    card.push_str("\n| rows | count |\n|---|---:|\n");
    let mut count = |name: &str, count: u64| row(card, &[name, &units::count(count)]);
    count("read", quality.rows_read);
    count("kept", quality.rows_kept);
    count("training split", quality.splits.train);
    count("validation split", quality.splits.valid);
    count("test split", quality.splits.test);
    for (reason, rows) in &quality.dropped {
        count(&format!("dropped: {}", reason.replace('_', " ")), *rows);
    }
    for (reason, cells) in &quality.changed {
        count(&format!("changed: {}", reason.replace('_', " ")), *cells);
    }
    if !quality.warnings.is_empty() {
        card.push('\n');
    }
    for warning in &quality.warnings {
        let _ = writeln!(card, "- {}", plain(warning));
    }
}

fn training(card: &mut String, facts: &Facts) {
    card.push_str("\n## Training\n");
    let mut made = false;
    for stage in facts.stages.iter().filter(|stage| matches!(stage.stage.as_str(), "train" | "compress")) {
        made = true;
        let _ = write!(card, "\nStage `{}`, seed {}:\n\n| setting | value |\n|---|---|\n", stage.stage, stage.seed);
        settings(card, "", &without_columns(&stage.settings));
    }
    if !made {
        card.push_str("\nThe store does not know how this model was made.\n");
    }
    if let Some(seconds) = facts.history.get("seconds").and_then(Json::as_f64) {
        let points = facts.history.get("points").and_then(Json::as_array).map_or(0, Vec::len);
        let early = facts.history.get("stopped_early").and_then(Json::as_bool) == Some(true);
        let early = if early { ", stopped early" } else { "" };
        let _ = write!(card, "\nTraining took {} (measured), {points} evaluations{early}.\n", units::seconds(seconds));
    }
}

/// A stage's settings without the columns, which have a table of their own.
fn without_columns(settings: &Json) -> Json {
    let mut settings = settings.clone();
    for (place, keys) in
        [("/description/task/predict", ["clean", "inputs", "outputs"]), ("/description", ["format", "made_by", "name"])]
    {
        if let Some(map) = settings.pointer_mut(place).and_then(Json::as_object_mut) {
            map.retain(|key, _| !keys.contains(&key.as_str()));
        }
    }
    settings
}

/// The leaves of a JSON value, one row each, under their dotted paths.
fn settings(card: &mut String, path: &str, json: &Json) {
    match json {
        Json::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                settings(card, &path, value);
            }
        }
        Json::Null => {}
        Json::Array(items) if items.iter().any(|item| item.is_object()) => {
            for (index, item) in items.iter().enumerate() {
                settings(card, &format!("{path}.{index}"), item);
            }
        }
        Json::Array(items) if items.len() > LABELS_SHOWN => {
            row(card, &[&code(path), &format!("{} values", items.len())]);
        }
        Json::String(text) => row(card, &[&code(path), text]),
        other => row(card, &[&code(path), &other.to_string()]),
    }
}

fn limits(card: &mut String, facts: &Facts) {
    card.push_str("\n## Intended use and limits\n\n");
    match &facts.model.task {
        Task::Predict(predict) => {
            card.push_str("- Meant for rows like those it was trained on: the columns above, from the sources named under Data. The metrics hold for such rows and for no others.\n");
            for output in &predict.columns.outputs {
                if let Target::Category { labels } = &output.target {
                    let _ = writeln!(
                        card,
                        "- {} is always one of its {} labels: a row that belongs to none of them still gets one.",
                        code(&output.name),
                        labels.len()
                    );
                }
            }
            for input in &predict.columns.inputs {
                if let Encoding::Transformer { tokens_max, .. } = &input.encoding {
                    let _ = writeln!(card, "- Of {}, only the first {tokens_max} tokens count.", code(&input.name));
                }
            }
        }
        Task::Language(language) => {
            let _ = write!(
                card,
                "- Meant to continue text like the text it was trained on, named under Data. It was not tuned to follow instructions or to chat.\n- A prompt and its continuation together have at most {} tokens.\n- What it writes is not checked for truth.\n",
                language.context
            );
        }
    }
    card.push_str("- Fairness between groups, robustness against hostile input and privacy of the training rows were not measured.\n");
}

fn identity(card: &mut String, facts: &Facts, labels: &Labels, image: &Image) {
    let stage = |name: &str| facts.stages.iter().find(|stage| stage.stage == name).map(|stage| stage.digest);
    card.push_str("\n## Identity\n\n| | |\n|---|---|\n");
    row(card, &["version", &labels.version]);
    row(card, &["parameters", &units::count(facts.model.parameters() as u64)]);
    let weights = json!(facts.model.weights).as_str().unwrap_or_default().to_owned();
    row(card, &["weights", &weights]);
    row(
        card,
        &["model size", &format!("{} ({} bytes)", units::bytes(facts.model_bytes), units::count(facts.model_bytes))],
    );
    row(card, &["model digest", &code(&labels.revision.to_string())]);
    if let Some(digest) = stage("data") {
        row(card, &["dataset digest", &code(&digest.to_string())]);
    }
    row(card, &["image digest", &code(&format!("sha256:{}", image.manifest))]);
    row(card, &["image size", &units::bytes(image.size_bytes)]);
    row(card, &["made by", &facts.model.made_by]);
}

fn how_to_run(card: &mut String, facts: &Facts, labels: &Labels) {
    let Labels { tag, port, .. } = labels;
    let request = match &facts.model.task {
        Task::Predict(_) => format!("/v2/models/{}", labels.title),
        Task::Language(_) => "/v1/models".to_owned(),
    };
    let _ = write!(
        card,
        r#"
## How to run it

```sh
podman load --input image.tar
export YARD_KEY="$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')"
podman run --rm --env YARD_KEY --publish {port}:{port} {tag}
curl --header "Authorization: Bearer $YARD_KEY" http://127.0.0.1:{port}{request}
```

The server listens on every address of the container, so it asks each client for a key: the one in
`YARD_KEY`, or one that it makes and prints when it starts. The image holds no key.

The same with skopeo, into a registry: `skopeo copy oci-archive:image.tar docker://REGISTRY/{tag}`.
Without a container: `yard serve --model FOLDER`, where FOLDER holds what stands at `{MODEL}` in the image.
"#
    );
}

/// One row of a table; what would end a cell is escaped.
fn row(card: &mut String, cells: &[&str]) {
    for cell in cells {
        let _ = write!(card, "| {} ", plain(cell).replace('|', "\\|"));
    }
    card.push_str("|\n");
}

/// Text that stays text in Markdown: on one line, without markup of HTML.
fn plain(text: &str) -> String {
    text.replace('\\', "\\\\").replace(['\n', '\r'], " ").replace('<', "&lt;")
}

/// Text in backticks, with as many as it needs.
fn code(text: &str) -> String {
    let text = text.replace(['\n', '\r'], " ");
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

/// A number as people read it: whole where it is whole or large, else with six digits after the point
/// at most.
fn number(value: f64) -> String {
    let value = if value.abs() >= 10_000.0 { value.round() } else { value };
    if value.fract() == 0.0 && value.abs() < 1e15 {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}{}", units::count(value.abs() as u64));
    }
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
