//! The processes of a cluster: Ballista's scheduler, and its executors with our function.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_core::utils::default_session_builder;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig as BallistaSchedulerConfig;
use ballista_scheduler::scheduler_process::start_server;
use datafusion::execution::SessionStateBuilder;

use super::function::{NAME, Prepare};
use crate::error::DataError;

/// How a worker is started.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The project's folder, which driver, scheduler and workers see under the same path.
    pub project: PathBuf,
    /// The scheduler, `HOST:PORT`.
    pub scheduler: String,
    /// Where the others fetch results; port 0 takes a free one.
    pub address: SocketAddr,
    /// Batches prepared at a time.
    pub threads: usize,
    /// Whether everyone who reaches the address is trusted: Ballista asks nobody who they are.
    pub trust_network: bool,
}

/// How a scheduler is started.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// Seconds of silence after which a worker counts as lost. Workers speak every 5.
    pub worker_timeout_seconds: u64,
    /// Whether everyone who reaches the address is trusted.
    pub trust_network: bool,
}

/// Prepares documents until it is told to stop (Ctrl-C, SIGTERM); `ready` hears the address.
///
/// # Errors
/// [`DataError::Cluster`] where the scheduler is not reached, or the address is taken or open to a network.
pub fn work(config: &WorkerConfig, ready: impl FnOnce(SocketAddr)) -> Result<(), DataError> {
    trusted(config.address, config.trust_network)?;
    let Some((host, port)) =
        config.scheduler.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)))
    else {
        return Err(DataError::cluster(
            format!("{:?} is no scheduler", config.scheduler),
            "Name it as HOST:PORT, such as 10.0.0.1:50050.",
        ));
    };
    let project = std::path::absolute(&config.project).map_err(DataError::io("find", &config.project))?;
    if !project.is_dir() {
        return Err(DataError::cluster(format!("{} is no folder", project.display()), "Name the project's folder."));
    }
    let address = free(config.address)?;
    // What is fetched are counts; they need a folder all the same, which goes with the process.
    let own = tempfile::tempdir().map_err(DataError::io("make a folder in", &std::env::temp_dir()))?;
    let prepare = Prepare::function(Some(&project));
    let mut registry = BallistaFunctionRegistry::default();
    registry.scalar_functions.insert(NAME.to_owned(), Arc::new(prepare));
    let process = ExecutorProcessConfig {
        bind_host: address.ip().to_string(),
        external_host: Some(address.ip().to_string()),
        port: address.port(),
        scheduler_host: host.to_owned(),
        scheduler_port: port,
        scheduler_connect_timeout_seconds: 10,
        vcores: config.threads.max(1),
        task_scheduling_policy: TaskSchedulingPolicy::PullStaged,
        work_dir: Some(own.path().to_string_lossy().into_owned()),
        override_function_registry: Some(Arc::new(registry)),
        ..ExecutorProcessConfig::default()
    };
    ready(address);
    runtime(&project)?.block_on(start_executor_process(Arc::new(process))).map_err(|error| {
        let what = format!("the worker ended: {error}");
        DataError::cluster(what, format!("Is the scheduler at {} running, and of the same yard?", config.scheduler))
    })
}

/// Schedules until it is told to stop (Ctrl-C, SIGTERM); `ready` hears the address.
///
/// # Errors
/// [`DataError::Cluster`] where the address is taken or open to a network.
pub fn schedule(config: &SchedulerConfig, ready: impl FnOnce(SocketAddr)) -> Result<(), DataError> {
    trusted(config.address, config.trust_network)?;
    let address = free(config.address)?;
    let scheduler = Arc::new(BallistaSchedulerConfig {
        bind_host: address.ip().to_string(),
        external_host: address.ip().to_string(),
        bind_port: address.port(),
        scheduling_policy: TaskSchedulingPolicy::PullStaged,
        executor_timeout_seconds: config.worker_timeout_seconds,
        expire_dead_executor_interval_seconds: 5,
        no_executors_grace_period_seconds: config.worker_timeout_seconds.max(60),
        override_session_builder: Some(Arc::new(|config| {
            let state = SessionStateBuilder::new_from_existing(default_session_builder(config)?);
            let mut state = state.build();
            datafusion::execution::FunctionRegistry::register_udf(&mut state, Arc::new(Prepare::function(None)))?;
            Ok(state)
        })),
        ..BallistaSchedulerConfig::default()
    });
    let wrong = |error: &dyn std::fmt::Display| {
        DataError::cluster(format!("the scheduler ended: {error}"), "Take another address, or free this one.")
    };
    runtime(Path::new("."))?.block_on(async {
        let cluster = BallistaCluster::new_from_config(&scheduler).await.map_err(|error| wrong(&error))?;
        ready(address);
        tokio::select! {
            ended = start_server(cluster, address, Arc::clone(&scheduler)) => ended.map_err(|error| wrong(&error)),
            () = told_to_stop() => Ok(()),
        }
    })
}

async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    match (interrupt, terminate) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}

fn runtime(folder: &Path) -> Result<tokio::runtime::Runtime, DataError> {
    tokio::runtime::Runtime::new().map_err(DataError::io("start threads for", folder))
}

/// Ballista knows no keys: whoever reaches a worker or the scheduler may give it work.
fn trusted(address: SocketAddr, trust_network: bool) -> Result<(), DataError> {
    if address.ip().is_loopback() || trust_network {
        return Ok(());
    }
    Err(DataError::cluster(
        format!("{address} is open to a network, and Ballista asks nobody for a key"),
        "Listen on 127.0.0.1; or, where only machines you trust reach the address, add --trust-network.",
    ))
}

/// The address, with a free port in the place of 0.
fn free(address: SocketAddr) -> Result<SocketAddr, DataError> {
    let taken = |error: std::io::Error| {
        DataError::cluster(
            format!("{address} cannot be listened on: {error}"),
            "Take another address, or free this one.",
        )
    };
    std::net::TcpListener::bind(address).and_then(|listener| listener.local_addr()).map_err(taken)
}
