//! Lines that are written by a thread of their own, so that a slow disk slows no answer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::config::LogSink;

/// Lines that may wait to be written.
const LINES_MAX: usize = 8192;

/// A log under way. Dropping it waits until its lines are written.
pub(crate) struct Log {
    sender: Option<SyncSender<String>>,
    thread: Option<JoinHandle<()>>,
    pub(crate) lost: AtomicU64,
}

impl Log {
    /// Starts the thread; without one, which is where the system has no room for it, all lines are lost.
    pub(crate) fn start(sink: LogSink) -> Self {
        let (sender, receiver) = sync_channel::<String>(LINES_MAX);
        let write = move || {
            for line in receiver {
                sink(&line);
            }
        };
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn(write).ok();
        Self { sender: thread.is_some().then_some(sender), thread, lost: AtomicU64::new(0) }
    }

    /// Adds a line; it is lost where too many wait already.
    pub(crate) fn line(&self, line: String) {
        if self.sender.as_ref().is_none_or(|sender| sender.try_send(line).is_err()) {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
