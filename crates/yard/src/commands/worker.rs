//! `yard worker`: the processes of a cluster.

use base::Context;

use crate::arguments::WorkerAction;
use crate::output::{Error, Output, boxed};

#[cfg(feature = "ballista")]
pub fn worker(output: Output, context: &Context, action: WorkerAction) -> Result<(), Error> {
    use crate::progress::emit;
    use data::cluster::{SchedulerConfig, WorkerConfig, schedule, work};
    use serde_json::json;

    let ready = |what: &'static str| {
        move |address: std::net::SocketAddr| {
            if output.is_json() {
                return emit(&json!({ "event": "ready", "what": what, "address": address }));
            }
            output.line(&format!("{what} on {address}"));
            output.aside("Ctrl-C stops it");
        }
    };
    match action {
        WorkerAction::Data { project, scheduler, address, trust_network } => {
            let config = WorkerConfig { project, scheduler, address, threads: context.threads, trust_network };
            work(&config, ready("worker")).map_err(boxed)
        }
        WorkerAction::Scheduler { address, worker_timeout, trust_network } => {
            let config = SchedulerConfig { address, worker_timeout_seconds: worker_timeout, trust_network };
            schedule(&config, ready("scheduler")).map_err(boxed)
        }
    }
}

#[cfg(not(feature = "ballista"))]
pub fn worker(_: Output, _: &Context, _: WorkerAction) -> Result<(), Error> {
    Err(boxed(data::DataError::without_clusters()))
}
