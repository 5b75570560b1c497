//! Documents that are prepared by many machines, on Apache DataFusion Ballista.
//!
//! The process that was asked (`drive`) reads the sources and cuts batches, as it does alone, and lays them into a folder of
//! the stage that all machines see (`exchange`). A query over those files calls one function of ours, [`function`], which
//! prepares a batch and writes its shard. Workers are Ballista's executors with that function registered, and the scheduler is
//! Ballista's own. A shard depends on its batch and the project alone and appears by one rename, so that a worker may die, or
//! two may do the same batch, and the dataset stays the same in every byte.

#[cfg(feature = "ballista")]
mod drive;
#[cfg_attr(not(feature = "ballista"), allow(dead_code, reason = "its tests need no cluster"))]
mod exchange;
#[cfg_attr(not(feature = "ballista"), allow(dead_code, reason = "its tests need no cluster"))]
mod function;
#[cfg(feature = "ballista")]
mod serve;

#[cfg(feature = "ballista")]
pub(super) use drive::prepare;
#[cfg(feature = "ballista")]
pub use serve::{SchedulerConfig, WorkerConfig, schedule, work};
