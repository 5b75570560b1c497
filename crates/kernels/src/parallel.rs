//! Threads: one pool of the process that runs numbered tasks, each exactly once.
//!
//! A caller hands over a closure and a number of tasks, works along, and returns when all are done. Workers
//! look for the next job for some microseconds before they sleep, because the kernels of a training step
//! follow each other closely. A call from inside a task, or while another thread uses the pool, runs its
//! tasks one after the other on the calling thread: slower, never wrong, never stuck.
//!
//! **Invariant:** a kernel cuts its work by shapes alone and never by the number of threads, so that
//! results do not depend on it.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The most threads that a pool has.
const THREADS_MAX: usize = 256;
/// How long a worker looks for the next job before it sleeps.
const LOOK: Duration = Duration::from_micros(50);
/// Looks between two readings of the clock.
const LOOKS: u32 = 64;

/// 0: as many as the machine has.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread is inside a task.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// The number of threads in use, the caller's among them.
#[must_use]
pub fn threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            // Asked once: the system reads files for its answer, which costs more than a small kernel.
            static MACHINE: OnceLock<usize> = OnceLock::new();
            *MACHINE.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX))
        }
        set => set,
    }
}

/// Sets the number of threads from now on; 0 is as many as the machine has.
pub fn set_threads(count: usize) {
    THREADS.store(count.min(THREADS_MAX), Ordering::Relaxed);
}

/// Calls `work` once with every number below `tasks`, on any threads, and returns when all are done.
///
/// # Panics
/// When a task panics: with the same message, after every other task has been run or passed over.
pub fn run<F: Fn(usize) + Sync>(tasks: usize, work: F) {
    let threads = if tasks > 1 { threads() } else { 1 };
    if threads > 1 && !INSIDE.get() {
        static POOL: OnceLock<Pool> = OnceLock::new();
        let pool = POOL.get_or_init(Pool::new);
        if let Ok(mut workers) = pool.workers.try_lock() {
            pool.grow(&mut workers, threads - 1);
            return pool.run(tasks, threads, &work);
        }
    }
    (0..tasks).for_each(work);
}

/// Cuts a slice into pieces of `size` (the last may be shorter) and calls `work` with each piece's number
/// and the piece.
pub fn chunks<T: Send, F: Fn(usize, &mut [T]) + Sync>(all: &mut [T], size: usize, work: F) {
    let (length, size) = (all.len(), size.max(1));
    let all = Shared(all.as_mut_ptr());
    run(length.div_ceil(size), |index| {
        let begin = index * size;
        let count = size.min(length - begin);
        // SAFETY: pieces of different tasks do not overlap, and each task runs once; the slice is borrowed
        // mutably until `run` returns.
        let piece = unsafe { std::slice::from_raw_parts_mut(all.get().add(begin), count) };
        work(index, piece);
    });
}

/// While one of these lives, workers look for the next job without a pause: for a chain of kernels that is too short for
/// anybody to sleep in between. Whoever holds one must be computing.
#[derive(Debug)]
pub struct Awake(());

/// Callers that keep the workers awake.
static AWAKE: AtomicUsize = AtomicUsize::new(0);

impl Awake {
    /// Keeps the workers awake.
    #[must_use]
    pub fn keep() -> Self {
        AWAKE.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        AWAKE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A pointer that tasks share; each task keeps to its own part.
#[derive(Debug)]
pub(crate) struct Shared<T>(pub(crate) *mut T);

// SAFETY: it is only a number; who dereferences it promises that no two tasks touch the same element.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The pointer; a method, so that closures capture the whole and not its field.
    pub(crate) fn get(&self) -> *mut T {
        self.0
    }
}

struct Pool {
    /// The number of workers that were started; whoever holds the lock owns the pool.
    workers: Mutex<usize>,
    job: &'static Job,
}

/// What the workers share. A claim is one exchange of `claim`, which holds the job's number in the upper
/// half and the next task in the lower one: whoever read the fields of an older job fails to claim.
struct Job {
    claim: AtomicU64,
    tasks: AtomicUsize,
    /// Workers with a lower number take part.
    helpers: AtomicUsize,
    call: AtomicPtr<()>,
    data: AtomicPtr<()>,
    done: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleeping: Mutex<usize>,
    wake: Condvar,
}

type Call = unsafe fn(*const (), usize);

impl Pool {
    fn new() -> Self {
        let null = || AtomicPtr::new(std::ptr::null_mut());
        let job = Box::leak(Box::new(Job {
            claim: AtomicU64::new(0),
            tasks: AtomicUsize::new(0),
            helpers: AtomicUsize::new(0),
            call: null(),
            data: null(),
            done: AtomicUsize::new(0),
            panic: Mutex::new(None),
            sleeping: Mutex::new(0),
            wake: Condvar::new(),
        }));
        Self { workers: Mutex::new(0), job }
    }

    fn grow(&self, workers: &mut usize, wanted: usize) {
        while *workers < wanted {
            let (job, number) = (self.job, *workers);
            let name = format!("kernels-{number}");
            if std::thread::Builder::new().name(name).spawn(move || job.serve(number)).is_err() {
                // Fewer threads are slower, and no reason to fail.
                break;
            }
            *workers += 1;
        }
    }

    fn run<F: Fn(usize) + Sync>(&self, tasks: usize, threads: usize, work: &F) {
        /// # Safety
        /// `data` is an `F` that lives until the job is done.
        unsafe fn call<F: Fn(usize) + Sync>(data: *const (), index: usize) {
            // SAFETY: the caller's promise.
            unsafe { (*data.cast::<F>())(index) }
        }
        let job = self.job;
        let tasks_max = u32::MAX as usize;
        assert!(tasks < tasks_max, "{tasks} tasks");
        let call: Call = call::<F>;
        // The claim is closed first: a worker that still looks at the last job cannot claim a task with the
        // fields of this one.
        let number = (job.claim.load(Ordering::Relaxed) >> 32).wrapping_add(1) << 32;
        job.claim.swap(number | u64::from(u32::MAX), Ordering::SeqCst);
        job.tasks.store(tasks, Ordering::Relaxed);
        job.helpers.store(threads - 1, Ordering::Relaxed);
        job.call.store(call as *mut (), Ordering::Relaxed);
        job.data.store(std::ptr::from_ref(work).cast_mut().cast(), Ordering::Relaxed);
        job.done.store(0, Ordering::Relaxed);
        job.claim.store(number, Ordering::SeqCst);
        if *job.sleeping.lock().unwrap_or_else(PoisonError::into_inner) > 0 {
            job.wake.notify_all();
        }
        while job.one() {}
        let mut looks = 0_u32;
        while job.done.load(Ordering::Acquire) < tasks {
            looks += 1;
            if looks.is_multiple_of(1 << 12) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
        let panic = job.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Job {
    /// Claims and runs one task, if there is one.
    fn one(&self) -> bool {
        let seen = self.claim.load(Ordering::SeqCst);
        let index = (seen & u64::from(u32::MAX)) as usize;
        let (call, data) = (self.call.load(Ordering::Relaxed), self.data.load(Ordering::Relaxed));
        if index >= self.tasks.load(Ordering::Relaxed) || call.is_null() {
            return false;
        }
        if self.claim.compare_exchange(seen, seen + 1, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return true;
        }
        // SAFETY: `run` stored a `Call` here. The claim succeeded, so the fields are those of this job: they
        // change only with its number, and not before this task is counted as done.
        let call = unsafe { std::mem::transmute::<*mut (), Call>(call) };
        INSIDE.set(true);
        // SAFETY: `data` is the closure that `run` borrows until every task is done.
        let result = catch_unwind(AssertUnwindSafe(|| unsafe { call(data, index) }));
        INSIDE.set(false);
        if let Err(panic) = result {
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
        }
        self.done.fetch_add(1, Ordering::Release);
        true
    }

    /// Whether there is a task that this worker may try to claim.
    fn has_work(&self, worker: usize) -> bool {
        let index = (self.claim.load(Ordering::SeqCst) & u64::from(u32::MAX)) as usize;
        worker < self.helpers.load(Ordering::Relaxed) && index < self.tasks.load(Ordering::Relaxed)
    }

    /// A worker's life.
    fn serve(&self, worker: usize) {
        loop {
            let since = Instant::now();
            let mut looks = 0_u32;
            while !self.has_work(worker) {
                looks += 1;
                std::hint::spin_loop();
                if looks.is_multiple_of(LOOKS) && since.elapsed() > LOOK && AWAKE.load(Ordering::Relaxed) == 0 {
                    self.sleep(worker);
                    break;
                }
            }
            while self.has_work(worker) {
                self.one();
            }
        }
    }

    fn sleep(&self, worker: usize) {
        let mut sleeping = self.sleeping.lock().unwrap_or_else(PoisonError::into_inner);
        *sleeping += 1;
        // A job that was stored before the lock was taken is seen here; a later one finds the count. Waking takes
        // longer than a small job lasts: whoever wakes to find nothing looks for the next one before it sleeps
        // again, or it would be late for each of them.
        if !self.has_work(worker) {
            sleeping = self.wake.wait(sleeping).unwrap_or_else(PoisonError::into_inner);
        }
        *sleeping -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 5] {
            set_threads(threads);
            for tasks in [0, 1, 2, 3, 64, 1000] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                run(tasks, |index| {
                    counts[index].fetch_add(1, Ordering::Relaxed);
                    run(2, |_| {});
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
        set_threads(0);
        let mut values = vec![0_usize; 1003];
        chunks(&mut values, 10, |index, piece| piece.fill(index));
        assert!(values.iter().enumerate().all(|(place, value)| *value == place / 10));
    }

    #[test]
    fn callers_do_not_wait_for_each_other() {
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        run(8, |_| {
                            total.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 4 * 200 * 8);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives() {
        let caught = catch_unwind(|| run(16, |index| assert_ne!(index, 7, "task seven")));
        let panic = caught.expect_err("no panic");
        assert!(panic.downcast_ref::<String>().is_some_and(|text| text.contains("task seven")));
        run(16, |_| {});
    }
}
