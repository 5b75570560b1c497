//! What the store knows about the subject of a report: its runs, its artifacts, and their files.

use std::collections::BTreeSet;

use base::Digest;
use serde_json::Value as Json;
use store::{Artifact, MetricPoint, Run, RunStatus, Store, Version};

use crate::{ReportError, Subject};

/// How many of the newest runs are looked at for what was made of an artifact since.
const RUNS_MAX: u32 = 10_000;

/// Everything a report tells.
#[derive(Debug)]
pub(crate) struct Story {
    /// The run that the report is about.
    pub focus: Option<Run>,
    /// All runs: the one in focus, what came before it, what was made of it since.
    pub runs: Vec<Run>,
    /// Runs whose result was there already when a run of this story used it.
    pub reused: BTreeSet<i64>,
    /// Versions that the artifacts of this story are registered as.
    pub versions: Vec<Version>,
    /// The metrics that the training run recorded while it ran.
    pub recorded: Vec<MetricPoint>,
    artifacts: Vec<Artifact>,
    /// Artifacts that could not be opened, and why.
    pub damaged: Vec<String>,
    /// The version of the dataset before the one of this story.
    pub earlier_dataset: Option<Artifact>,
}

/// A file of an artifact.
pub(crate) enum File {
    /// No artifact has it.
    Absent,
    /// It is there, and cannot be read.
    Damaged(String),
    /// What it holds.
    Found(Json),
}

impl File {
    /// The contents, if there are any.
    pub fn json(&self) -> Option<&Json> {
        if let Self::Found(json) = self { Some(json) } else { None }
    }
}

impl Story {
    pub fn read(store: &Store, subject: Subject) -> Result<Self, ReportError> {
        let all = store.runs(RUNS_MAX)?;
        let (focus, mut runs) = match subject {
            Subject::Run(id) => {
                let run = store.run(id)?;
                let mut runs = vec![run.clone()];
                for (_, input) in &run.inputs {
                    add(&mut runs, store.lineage(*input)?);
                }
                (Some(run), runs)
            }
            Subject::Artifact(digest) => {
                // An artifact that is gone must be an error, not an empty page.
                store.artifact_unchecked(digest)?;
                let runs = store.lineage(digest)?;
                (runs.first().cloned(), runs)
            }
        };
        let made: Vec<Digest> = match subject {
            Subject::Artifact(digest) => vec![digest],
            Subject::Run(_) => focus.iter().filter_map(|run| run.artifact).collect(),
        };
        let versions = store.versions("")?;
        let registered = versions.iter().any(|version| made.contains(&version.artifact));
        let only_checks = matches!(subject, Subject::Run(_)) && !registered;
        add(&mut runs, made_since(&all, made, only_checks));
        let mut story = Self {
            reused: reused(&all, &runs),
            versions: Vec::new(),
            recorded: Vec::new(),
            artifacts: Vec::new(),
            damaged: Vec::new(),
            earlier_dataset: None,
            focus,
            runs,
        };
        story.open_artifacts(store, subject);
        story.earlier_dataset = story
            .run_of("data")
            .and_then(|run| earlier(&all, run))
            .and_then(|digest| store.artifact_unchecked(digest).ok());
        let known = |version: &Version| story.artifacts.iter().any(|artifact| artifact.digest == version.artifact);
        story.versions = versions.into_iter().filter(known).collect();
        let train = story.focus.iter().chain(&story.runs).find(|run| run.stage == "train").map(|run| run.id);
        story.recorded = train.map(|id| store.metrics(id)).transpose()?.unwrap_or_default();
        Ok(story)
    }

    fn open_artifacts(&mut self, store: &Store, subject: Subject) {
        let first = if let Subject::Artifact(digest) = subject { Some(digest) } else { None };
        let mut seen = BTreeSet::new();
        for digest in first.into_iter().chain(self.runs.iter().filter_map(|run| run.artifact)) {
            if seen.insert(digest) {
                match store.artifact_unchecked(digest) {
                    Ok(artifact) => self.artifacts.push(artifact),
                    Err(error) => self.damaged.push(error.to_string()),
                }
            }
        }
    }

    /// The nearest artifact that has a file.
    pub fn artifact_with(&self, file: &str) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.has(file))
    }

    /// A JSON file of the nearest artifact that has it.
    pub fn file(&self, name: &str) -> File {
        match self.bytes(name) {
            None => File::Absent,
            Some(Err(error)) => File::Damaged(error),
            Some(Ok(bytes)) => match serde_json::from_slice(&bytes) {
                Ok(json) => File::Found(json),
                Err(error) => File::Damaged(error.to_string()),
            },
        }
    }

    /// The contents of a file of the nearest artifact that has it, held against its digest.
    pub fn bytes(&self, name: &str) -> Option<Result<Vec<u8>, String>> {
        let artifact = self.artifact_with(name)?;
        let listed = artifact.files.iter().find(|file| file.path == name)?;
        let read = std::fs::read(artifact.path(name)).map_err(|error| error.to_string());
        Some(read.and_then(|bytes| {
            let intact = Digest::of(&bytes) == listed.sha256;
            if intact { Ok(bytes) } else { Err(format!("{name} is not what it was when it was written")) }
        }))
    }

    /// The run of a stage that is nearest to the focus.
    pub fn run_of(&self, stage: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.stage == stage)
    }

    /// The kind of an artifact.
    pub fn kind(&self, digest: Digest) -> Option<&str> {
        self.artifacts.iter().find(|artifact| artifact.digest == digest).map(|artifact| artifact.kind.as_str())
    }

    /// The model's name: from the registry, from the model, or from the settings of a run.
    pub fn name(&self) -> String {
        let of_model =
            || self.file("model.json").json().and_then(|model| Some(model.get("name")?.as_str()?.to_owned()));
        let of_run = || self.runs.iter().find_map(|run| Some(run.config.get("name")?.as_str()?.to_owned()));
        self.versions
            .first()
            .map(|version| version.name.clone())
            .or_else(of_model)
            .or_else(of_run)
            .or_else(|| self.focus.as_ref().map(|run| run.stage.clone()))
            .unwrap_or_else(|| "Report".to_owned())
    }

    /// The version of the nearest registered artifact.
    pub fn version(&self) -> Option<&Version> {
        self.artifacts.iter().find_map(|artifact| self.versions.iter().find(|one| one.artifact == artifact.digest))
    }
}

/// What the run of the same stage before this one made, if it is another artifact.
fn earlier(all: &[Run], run: &Run) -> Option<Digest> {
    all.iter()
        .filter(|other| other.stage == run.stage && other.id < run.id && other.artifact.is_some())
        .max_by_key(|other| other.id)
        .and_then(|other| other.artifact)
        .filter(|digest| Some(*digest) != run.artifact)
}

fn add(runs: &mut Vec<Run>, more: Vec<Run>) {
    for run in more {
        if !runs.iter().any(|known| known.id == run.id) {
            runs.push(run);
        }
    }
}

/// The runs that took one of these artifacts in, and those that took theirs; of a run's own report,
/// only the checks of it.
fn made_since(all: &[Run], mut due: Vec<Digest>, only_checks: bool) -> Vec<Run> {
    let mut found: Vec<Run> = Vec::new();
    while let Some(digest) = due.pop() {
        for run in all.iter().filter(|run| run.inputs.iter().any(|(_, input)| *input == digest)) {
            let wanted = run.status == RunStatus::Done && (!only_checks || run.stage == "verify");
            if wanted && !found.iter().any(|known| known.id == run.id) {
                due.extend(run.artifact);
                found.push(run.clone());
            }
        }
    }
    found
}

/// The runs whose result an earlier run, not of this story, had already used.
fn reused(all: &[Run], runs: &[Run]) -> BTreeSet<i64> {
    let within = |id: i64| runs.iter().any(|run| run.id == id);
    let users = |digest: Digest| all.iter().filter(move |run| run.inputs.iter().any(|(_, input)| *input == digest));
    let used_before = |made: &Run| {
        let Some(digest) = made.artifact else { return false };
        let first_here = users(digest).filter(|run| within(run.id)).map(|run| run.id).min();
        first_here.is_some_and(|first| users(digest).any(|run| run.id < first && run.id > made.id))
    };
    runs.iter().filter(|run| used_before(run)).map(|run| run.id).collect()
}
