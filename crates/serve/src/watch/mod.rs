//! What can be seen of a server from outside: histograms for Prometheus, an access log, traces.
//!
//! [`Generation`] is what whoever generates tokens reports to; `App::metrics` holds one. The rest is fed
//! by the guard: when the last byte of an answer is gone, `Finish` counts its duration, writes one line
//! of the access log, and hands a span to the exporter. None of it ever makes a request wait: queues are
//! bounded, and what does not fit is counted as lost.

mod finish;
mod generation;
mod histogram;
mod log;
mod requests;

pub(crate) use finish::Finish;
pub use generation::Generation;
pub use histogram::Histogram;
pub(crate) use log::Log;
pub(crate) use requests::Requests;

#[cfg(test)]
mod tests;
