//! The stages in their order: what `yard run` and every verb that runs a part of it do.

pub mod ranks;
mod search;
mod summary;
mod verify;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use base::project::{Project, ProjectError};
use base::version::NotAVersion;
use base::{Context, Failure, Fault, units};
use serde_json::{Value as Json, json};
use store::{Artifact, Lock, Made, Store, Version};
use train::Ranks;

use crate::arguments::ProjectArguments;
use crate::output::{Error, Output, boxed};

/// The last stage that a verb runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    Data,
    Tune,
    Train,
    Compress,
    Package,
    Report,
}

/// A mistake in how `yard` was called.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Usage {
    message: String,
    hint: String,
}

impl Usage {
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

impl From<NotAVersion> for Usage {
    fn from(error: NotAVersion) -> Self {
        Self::new(error.to_string(), "`yard models` lists the versions, and `yard runs` the runs.")
    }
}

impl Failure for Usage {
    fn fault(&self) -> Fault {
        Fault::User
    }
    fn hint(&self) -> Option<String> {
        Some(self.hint.clone())
    }
}

/// Reads the project file, with the settings of this call.
pub fn load(arguments: &ProjectArguments) -> Result<Project, Error> {
    let project = Project::load(&arguments.project).map_err(boxed)?;
    let settings = arguments.settings.iter().map(|text| setting(text)).collect::<Result<Vec<_>, _>>()?;
    project.with(&settings).map_err(boxed)
}

/// `train.epochs=3` as a key and a TOML value; what is no TOML value is text.
fn setting(text: &str) -> Result<(String, Json), Error> {
    let Some((key, value)) = text.split_once('=') else {
        let message = "expected KEY=VALUE".to_owned();
        return Err(boxed(ProjectError::Set { key: text.to_owned(), message }));
    };
    let read = format!("value = {value}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"));
    let value = read.and_then(|value| serde_json::to_value(value).ok()).unwrap_or_else(|| json!(value));
    Ok((key.trim().to_owned(), value))
}

/// A project whose stages run: the store is open, and locked against a second `yard`.
pub struct Pipeline<'a> {
    pub context: &'a Context,
    pub output: Output,
    pub project: Project,
    pub store: Store,
    _lock: Lock,
    stages: Vec<Json>,
    worked: bool,
    /// The processes that train; nothing where this is the only one.
    ranks: Option<&'a Ranks>,
    /// The scheduler of the cluster that prepares documents; nothing where this process does.
    scheduler: Option<&'a str>,
    /// The settings that a search found.
    best: Vec<(String, Json)>,
}

impl<'a> Pipeline<'a> {
    /// Opens a project's store and takes its lock.
    pub fn open(output: Output, context: &'a Context, arguments: &ProjectArguments) -> Result<Self, Error> {
        let project = load(arguments)?;
        let store = Store::open(&project.folder).map_err(boxed)?;
        let lock = store.lock().map_err(boxed)?;
        if arguments.repair {
            for digest in store.repair().map_err(boxed)? {
                output.line(&format!(
                    "{:<10} artifact {} was damaged, set aside, and will be made again",
                    "repair",
                    digest.short()
                ));
            }
        }
        let (stages, best) = (Vec::new(), Vec::new());
        Ok(Self {
            context,
            output,
            project,
            store,
            _lock: lock,
            stages,
            worked: false,
            ranks: None,
            scheduler: None,
            best,
        })
    }

    /// Trains on several processes, of which this is the leader.
    pub fn with_ranks(self, ranks: &'a Ranks) -> Self {
        Self { ranks: Some(ranks), ..self }
    }

    /// Prepares documents on a cluster.
    pub fn with_scheduler(self, scheduler: Option<&'a str>) -> Self {
        Self { scheduler, ..self }
    }

    /// How many processes train, for people; nothing of one.
    pub fn processes(&self) -> String {
        match self.ranks.map_or(1, Ranks::size) {
            1 => String::new(),
            size => format!("{size} processes of "),
        }
    }

    /// Runs the stages in order, up to and with `until`, and gives the result for machines.
    pub fn run(&mut self, until: Until) -> Result<Json, Error> {
        let begun = Instant::now();
        let dataset = self.data(until)?;
        if until == Until::Data {
            return Ok(json!({ "stages": self.stages }));
        }
        if until == Until::Tune && self.project.file.tune.is_none() {
            return Err(boxed(Usage::new(
                "failed to tune: yard.toml has no [tune] table",
                "Add [tune] with trials = 20 and [tune.search] with \"train.learning_rate\" = { low = 1e-4, high = 1e-1, log = true }.",
            )));
        }
        let (settled, dataset) = self.tune(dataset)?;
        if until == Until::Tune {
            return Ok(json!({ "stages": self.stages }));
        }
        let model = self.train(&settled, &dataset)?;
        if until == Until::Train {
            return Ok(json!({ "stages": self.stages }));
        }
        let model = self.compress(model, &dataset, until)?;
        if until == Until::Compress {
            return Ok(json!({ "stages": self.stages }));
        }
        let version = self.register(&model)?;
        let package = self.package(&model, &version, until)?;
        if until == Until::Package {
            return Ok(json!({ "stages": self.stages, "version": name_of(&version), "package": package }));
        }
        let verified = self.verify(&model, &dataset)?;
        let report = self.report(&version)?;
        let promoted = self.promote_first(&version)?;
        self.close(begun, &version, &report);
        Ok(json!({
            "stages": self.stages, "version": name_of(&version), "metrics": version.metrics, "package": package,
            "verify": verified, "report": report, "champion": promoted,
        }))
    }

    /// Notes a stage's result, for people and for machines.
    fn note(&mut self, stage: &str, made: &Made, text: &str) {
        self.worked |= !made.cached;
        let time = if made.cached { "as before".to_owned() } else { units::seconds(made.seconds) };
        self.output.aside(&format!("{stage:<10} {time:<12} {text}"));
        self.stages.push(json!({
            "stage": stage, "cached": made.cached, "seconds": made.seconds, "run": made.run,
            "artifact": made.artifact.digest, "text": text,
        }));
    }

    /// Runs the data stage alone.
    pub fn dataset(&mut self) -> Result<Artifact, Error> {
        self.data(Until::Train)
    }

    fn data(&mut self, until: Until) -> Result<Artifact, Error> {
        let plan = data::plan(&self.project).map_err(boxed)?;
        if until == Until::Data {
            for note in plan.notes() {
                self.output.aside(&format!("{:<10} {note}", ""));
            }
        }
        let plan = match self.scheduler {
            None => plan,
            Some(scheduler) => plan.on_cluster(scheduler).map_err(boxed)?,
        };
        let made = data::run(self.context, &self.store, &plan).map_err(boxed)?;
        let text = summary::data(&made.artifact);
        self.note("data", &made, &text);
        Ok(made.artifact)
    }

    /// The project with the best settings found, and its dataset; both unchanged without `[tune]`.
    fn tune(&mut self, dataset: Artifact) -> Result<(Project, Artifact), Error> {
        if self.project.file.tune.is_none() {
            return Ok((self.project.clone(), dataset));
        }
        let made = search::tune(self.context, &self.store, &self.project, &dataset)?;
        let best = search::best(&made.artifact)?;
        let text = best.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ");
        self.note("tune", &made, &format!("best: {text}"));
        let settled = self.project.with(&best).map_err(boxed)?;
        self.best = best;
        let plan = data::plan(&settled).map_err(boxed)?;
        let dataset = data::run(self.context, &self.store, &plan).map_err(boxed)?.artifact;
        Ok((settled, dataset))
    }

    fn train(&mut self, settled: &Project, dataset: &Artifact) -> Result<Artifact, Error> {
        let plan = train::plan(settled, dataset).map_err(boxed)?;
        let alone = Ranks::one();
        let ranks = self.ranks.unwrap_or(&alone);
        if ranks.size() > 1 {
            ranks::call(ranks, &self.store, &plan, dataset, &self.best)?;
        }
        let observer = &mut |_| ControlFlow::Continue(());
        let made = train::run(self.context, &self.store, &plan, dataset, ranks, observer).map_err(boxed)?;
        let text = summary::metrics(&made.artifact);
        self.note("train", &made, &text);
        Ok(made.artifact)
    }

    fn compress(&mut self, model: Artifact, dataset: &Artifact, until: Until) -> Result<Artifact, Error> {
        if self.project.file.compress.is_none() {
            if until == Until::Compress {
                return Err(boxed(Usage::new(
                    "failed to compress: yard.toml has no [compress] table",
                    "Add [compress] with quality_drop_max = 0.01.",
                )));
            }
            return Ok(model);
        }
        let plan = compress::plan(&self.project).map_err(boxed)?;
        let made = compress::run(self.context, &self.store, &plan, &model, dataset).map_err(boxed)?;
        let text = format!(
            "{} → {}, {}",
            units::bytes(size_of(&model, infer::description::WEIGHTS_FILE)),
            units::bytes(size_of(&made.artifact, infer::description::WEIGHTS_FILE)),
            summary::metrics(&made.artifact)
        );
        self.note("compress", &made, &text);
        Ok(made.artifact)
    }

    fn register(&mut self, model: &Artifact) -> Result<Version, Error> {
        let metrics: Json = summary::read(model, infer::description::METRICS_FILE);
        let known = self.store.versions(&self.project.file.name).map_err(boxed)?.len();
        let version = self.store.register(&self.project.file.name, model.digest, &metrics, &actor()).map_err(boxed)?;
        let new = self.store.versions(&self.project.file.name).map_err(boxed)?.len() > known;
        self.worked |= new;
        let time = if new { "" } else { "as before" };
        self.output.aside(&format!("{:<10} {time:<12} {}", "register", name_of(&version)));
        Ok(version)
    }

    fn package(&mut self, model: &Artifact, version: &Version, until: Until) -> Result<Json, Error> {
        if self.project.file.package.is_none() {
            if until == Until::Package {
                return Err(boxed(Usage::new(
                    "failed to package: yard.toml has no [package] table",
                    "Add an empty [package] table.",
                )));
            }
            return Ok(Json::Null);
        }
        let binary =
            std::env::current_exe().map_err(|error| boxed(store::StoreError::io("find", "yard".as_ref())(error)))?;
        let plan = package::plan(&self.project).map_err(boxed)?;
        let name = name_of(version);
        let inputs = package::PackageInputs { model, version: Some(&name), binary: &binary };
        let made = package::run(self.context, &self.store, &plan, &inputs).map_err(boxed)?;
        let image = size_of(&made.artifact, package::IMAGE_FILE);
        self.note("package", &made, &format!("{} with {} and a model card", units::bytes(image), plan.tag));
        Ok(summary::read(&made.artifact, package::PACKAGE_FILE))
    }

    fn verify(&mut self, model: &Artifact, dataset: &Artifact) -> Result<Json, Error> {
        let made = verify::verify(self.context, &self.store, model, dataset)?;
        let found = summary::read(&made.artifact, verify::FILE);
        let count = |name: &str| found[name]["value"].as_f64().unwrap_or(0.0);
        let text = format!(
            "{} answers over HTTP, each equal in every bit to the offline one; p50 {:.1} ms, p99 {:.1} ms a request (measured)",
            units::count(count("answers") as u64),
            count("latency_ms_p50"),
            count("latency_ms_p99"),
        );
        self.note("verify", &made, &text);
        Ok(found)
    }

    /// The report of a version, written beside the store's objects unless it is there already.
    fn report(&mut self, version: &Version) -> Result<PathBuf, Error> {
        let path = report_path(&self.store, &name_of(version));
        if self.worked || !path.exists() {
            let run = self.store.run_that_made(version.artifact).map_err(boxed)?;
            if let Some(run) = run {
                write_report(&self.store, run.id, &path)?;
            }
        }
        Ok(path)
    }

    /// Promotes the first version that passes its gates; later ones wait for `yard promote`.
    fn promote_first(&mut self, version: &Version) -> Result<Json, Error> {
        let champion = self.store.alias(&version.name, rollout::CHAMPION).map_err(boxed)?;
        let name = name_of(version);
        match champion {
            Some(alias) if alias.version == version.number => {}
            Some(alias) => {
                let text = format!(
                    "champion stays {}@{}; `yard promote {name}` checks the gates and switches",
                    version.name, alias.version
                );
                self.output.aside(&format!("{:<10} {:<12} {text}", "rollout", ""));
            }
            None => {
                let parsed = name.parse().map_err(|error: NotAVersion| boxed(Usage::from(error)))?;
                rollout::promote(&self.store, &self.project.file.rollout, &parsed, &actor()).map_err(boxed)?;
                self.output.aside(&format!("{:<10} {:<12} {name} passed its gates and is champion", "rollout", ""));
            }
        }
        let alias = self.store.alias(&version.name, rollout::CHAMPION).map_err(boxed)?;
        Ok(json!(alias))
    }

    fn close(&self, begun: Instant, version: &Version, report: &std::path::Path) {
        let took = units::seconds(begun.elapsed().as_secs_f64());
        if !self.worked {
            self.output.line(&format!("nothing to do: everything is as the last run left it (looked in {took})"));
        }
        let name = name_of(version);
        self.output.line(&format!("{name}: {}", super::commands::registry::short_metrics(&version.metrics)));
        self.output.aside(&format!("report: {}", report.display()));
        self.output.aside(&format!("next:   yard serve {name} -C {}", self.project.folder.display()));
        if self.worked {
            self.output.aside(&format!("done in {took}"));
        }
    }
}

/// `name@3`.
pub fn name_of(version: &Version) -> String {
    format!("{}@{}", version.name, version.number)
}

/// Who acts, for the audit log: the user's name on this machine.
pub fn actor() -> String {
    ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_else(|| "unknown".to_owned())
}

/// Where a report is written.
pub fn report_path(store: &Store, what: &str) -> PathBuf {
    store.root().join("reports").join(format!("{what}.html"))
}

/// Renders a run's report and writes it atomically.
pub fn write_report(store: &Store, run: i64, path: &std::path::Path) -> Result<(), Error> {
    let page = report::render(store, run).map_err(boxed)?;
    let fail = |error| boxed(store::StoreError::io("write", path)(error));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    base::files::write_atomically(path, page.as_bytes())
        .map_err(|error| boxed(store::StoreError::io("write", path)(error)))
}

fn size_of(artifact: &Artifact, file: &str) -> u64 {
    artifact.files.iter().find(|one| one.path == file).map_or(0, |one| one.size_bytes)
}
