//! The side that reads: batches are laid out for the workers in waves, and a query over the files of a wave prepares them.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ballista_core::extension::{SessionConfigExt as _, SessionStateExt as _};
use base::Context;
use datafusion::common::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext, col, lit};
use tokio::task::JoinHandle;

use super::super::gather::RawBatch;
use super::super::plan::Plan;
use super::super::prepared::shard_path;
use super::exchange::{self, Job};
use super::function::Prepare;
use crate::error::DataError;

/// Batches of a wave. Two waves are under way at a time: one is prepared while the next is read, and the files of a wave are
/// removed when its shards are there, so that the disk holds little twice.
const WAVE: usize = 32;
/// Queries that may fail one after the other without a single new shard.
const TRIES: usize = 3;
/// How often Ctrl-C is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// The file of a batch, and the number of its shard.
type Laid = (usize, PathBuf);

/// Has the batches prepared by the cluster, until there are no more.
pub(in super::super) fn prepare(
    context: &Context,
    plan: &Plan,
    scheduler: &str,
    receiver: &Mutex<Receiver<RawBatch>>,
    stage: &Path,
) -> Result<(), DataError> {
    let folder = std::path::absolute(stage).map_err(DataError::io("find", stage))?;
    let project = std::path::absolute(&plan.folder).map_err(DataError::io("find", &plan.folder))?;
    let beneath = folder.strip_prefix(&project).map_err(|_| {
        let what = format!("{} does not lie in the project's folder {}", folder.display(), project.display());
        DataError::cluster(what, "The workers find the batches in the project's folder: take .yard back to it.")
    })?;
    let identity = plan.identity()?;
    Job { identity, project: plan.file.clone() }.write(&folder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(DataError::io("start threads for", &folder))?;
    let wave = Wave {
        session: session(scheduler)?,
        scheduler: scheduler.to_owned(),
        stop: context.stop.clone(),
        beneath: beneath.to_string_lossy().into_owned(),
        identity: identity.to_string(),
        folder: folder.clone(),
    };
    let mut under_way: Option<JoinHandle<Result<(), DataError>>> = None;
    let outcome = loop {
        let laid = match lay(receiver, &folder) {
            Ok(laid) => laid,
            Err(error) => break Err(error),
        };
        if let Some(before) = under_way.take() {
            let done = runtime.block_on(before).map_err(|error| DataError::engine(&folder)(error));
            if let Err(error) = done.flatten() {
                break Err(error);
            }
        }
        if laid.is_empty() {
            break Ok(());
        }
        let wave = wave.clone();
        under_way = Some(runtime.spawn(async move { wave.run(laid).await }));
    };
    runtime.shutdown_background();
    outcome?;
    let exchange = exchange::folder(&folder);
    std::fs::remove_dir_all(&exchange).map_err(DataError::io("remove", &exchange))
}

/// Takes the batches of a wave and writes their files; those whose shard is there from an earlier try are passed over. Fewer
/// than [`WAVE`] only at the end, none behind it.
fn lay(receiver: &Mutex<Receiver<RawBatch>>, folder: &Path) -> Result<Vec<Laid>, DataError> {
    let mut laid = Vec::new();
    while laid.len() < WAVE {
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(batch) = next else { break };
        if !shard_path(folder, batch.index).exists() {
            laid.push((batch.index, exchange::write(folder, &batch)?));
        }
    }
    Ok(laid)
}

/// A session whose queries run on the cluster.
fn session(scheduler: &str) -> Result<SessionContext, DataError> {
    let mut config = SessionConfig::new_with_ballista().with_target_partitions(WAVE);
    // A file is one row: it is neither cut nor measured, and a worker takes one at a time.
    config.options_mut().optimizer.repartition_file_scans = false;
    config.options_mut().execution.collect_statistics = false;
    config.options_mut().execution.parquet.schema_force_view_types = false;
    let state = SessionStateBuilder::new().with_default_features().with_config(config).build();
    let state =
        state.upgrade_for_ballista(format!("http://{scheduler}")).map_err(|error| refused(scheduler, &error))?;
    Ok(SessionContext::new_with_state(state))
}

fn refused(scheduler: &str, error: &DataFusionError) -> DataError {
    let text = error.strip_backtrace();
    // What a worker's function said lies in Ballista's wrappings.
    let inner = text.rsplit_once("Execution(\"").and_then(|(_, rest)| rest.split_once("\")"));
    let what = match inner {
        _ if text.contains("ConnectError") => format!("the scheduler at {scheduler} is not reached"),
        Some((said, _)) => format!("a worker of {scheduler} says: {}", said.replace("\\\"", "\"")),
        None => format!("the scheduler at {scheduler} says: {}", text.replace("error: ", "")),
    };
    DataError::cluster(
        what,
        "Are the scheduler (`yard worker scheduler`) and its workers (`yard worker data`) running, and reached from here? \
         Run the same command again; shards that are there are kept.",
    )
}

/// Everything that a query needs.
#[derive(Clone)]
struct Wave {
    session: SessionContext,
    scheduler: String,
    stop: base::Stop,
    /// The folder of the stage, relative to the project's.
    beneath: String,
    identity: String,
    folder: PathBuf,
}

impl Wave {
    /// Asks until all shards are there. What a lost worker left undone is asked for again.
    async fn run(self, laid: Vec<Laid>) -> Result<(), DataError> {
        let (mut missing, mut tries) = (self.missing(&laid), 0);
        while !missing.is_empty() {
            let answer = tokio::select! {
                answer = self.ask(&missing) => answer,
                () = self.stopped() => return Err(DataError::Stopped),
            };
            let left = self.missing(&missing);
            tries = if left.len() < missing.len() { 0 } else { tries + 1 };
            match answer {
                Ok(()) if !left.is_empty() => {
                    return Err(DataError::cluster(
                        format!("the workers prepared {} batches, and their shards are not here", left.len()),
                        "All workers must see this project's folder itself, under the same path, and no copy of it.",
                    ));
                }
                Err(error) if tries >= TRIES => return Err(refused(&self.scheduler, &error)),
                _ => missing = left,
            }
        }
        for (_, file) in laid {
            std::fs::remove_file(&file).map_err(DataError::io("remove", &file))?;
        }
        Ok(())
    }

    fn missing(&self, laid: &[Laid]) -> Vec<Laid> {
        laid.iter().filter(|(index, _)| !shard_path(&self.folder, *index).exists()).cloned().collect()
    }

    async fn stopped(&self) {
        while !self.stop.asked() {
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn ask(&self, files: &[Laid]) -> Result<(), DataFusionError> {
        let paths: Vec<String> = files.iter().map(|(_, file)| file.to_string_lossy().into_owned()).collect();
        let schema = exchange::schema();
        let options = ParquetReadOptions::default().schema(&schema);
        let prepare = Prepare::function(None).call(vec![
            lit(self.beneath.clone()),
            lit(self.identity.clone()),
            col("index"),
            col("first_row"),
            col("documents"),
        ]);
        let batches = self.session.read_parquet(paths, options).await?.select(vec![prepare])?.collect().await?;
        let answers: usize = batches.iter().map(|batch| batch.num_rows()).sum();
        if answers == files.len() {
            return Ok(());
        }
        Err(DataFusionError::Execution(format!("{answers} answers to {} batches", files.len())))
    }
}
