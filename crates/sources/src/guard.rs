//! Runs decoders of other crates so that neither a panic nor an endless loop of theirs ends the run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::record::{Damage, Reason};
use crate::sink::Halt;

/// The stack of a decoder that may call itself as deep as its input nests.
const STACK_BYTES: usize = 32 << 20;

fn internal(panic: &(dyn std::any::Any + Send)) -> Damage {
    let what = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Damage::new(Reason::Internal, format!("the decoder failed: {what}"))
}

/// Runs a decoder that gives nothing to the taker; its panic is damage.
pub(crate) fn guarded<T>(decode: impl FnOnce() -> Result<T, Halt>) -> Result<T, Halt> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| Err(internal(panic.as_ref()).into()))
}

/// Runs a decoder on a thread of its own, and waits for it no longer than `wait`. A thread that does not
/// come back is left behind: there is no way to end it.
pub(crate) fn guarded_for<T: Send + 'static>(
    wait: Duration,
    decode: impl FnOnce() -> Result<T, Damage> + Send + 'static,
) -> Result<T, Damage> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let work = move || {
        let result = catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| Err(internal(panic.as_ref())));
        // Nobody listens any more after the time is over.
        let _ = sender.send(result);
    };
    let started = thread::Builder::new().name("sources-decoder".to_owned()).stack_size(STACK_BYTES).spawn(work);
    if let Err(error) = started {
        return Err(Damage::new(Reason::Io, format!("no thread could be started: {error}")));
    }
    receiver.recv_timeout(wait).unwrap_or_else(|_| {
        let what = format!("it took longer than {}", base::units::seconds(wait.as_secs_f64()));
        Err(Damage::new(Reason::Timeout, what))
    })
}
