//! Ranks over MPI, with the safe interface of the crate `mpi`.
//!
//! Calls come from one thread at a time: the one that drives a training, which is a worker of its pool
//! during steps and the main thread between them. MPI calls that `Serialized`. An error inside MPI ends
//! the process, its default; `mpirun` then ends the others.

use std::ops::Range;
use std::time::Duration;

use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::request::{LocalScope, Request};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives as _, Root as _};

use nn::{Ready, Tensors};

use crate::error::TrainError;

/// How often those who wait for long look up.
const NAP: Duration = Duration::from_millis(2);
/// The most values of one message: MPI counts with 32 bits.
const MESSAGE: usize = 1 << 28;

/// Values of a bucket: 2 MB travel at a good rate, and leave early.
const BUCKET: usize = 1 << 19;

/// Neighbouring gradients that travel together.
#[derive(Debug)]
pub(crate) struct Bucket {
    place: Range<usize>,
    mine: Vec<f32>,
    sum: Vec<f32>,
}

/// The processes that `mpirun` started.
#[derive(Debug)]
pub(super) struct World {
    /// Dropped last: it takes leave of MPI.
    _universe: Leave,
    rank: usize,
    size: usize,
}

/// MPI, which is left when it is dropped.
struct Leave(#[expect(dead_code, reason = "its drop is what it is for")] Universe);

impl std::fmt::Debug for Leave {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Universe")
    }
}

fn world() -> SimpleCommunicator {
    SimpleCommunicator::world()
}

impl World {
    pub(super) fn join(size: usize) -> Result<Self, TrainError> {
        let refused = |what: String| TrainError::Ranks { what, hint: "Start all of them with one `mpirun`." };
        let (universe, threading) = mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| refused("MPI was started before".to_owned()))?;
        let joined = Self {
            _universe: Leave(universe),
            rank: usize::try_from(world().rank()).unwrap_or(0),
            size: usize::try_from(world().size()).unwrap_or(1),
        };
        if threading < Threading::Serialized {
            return Err(refused(format!("this MPI allows calls as {threading:?} only, and yard needs Serialized")));
        }
        if joined.size != size {
            return Err(refused(format!("mpirun started {size} of them, and MPI finds {}", joined.size)));
        }
        Ok(joined)
    }

    pub(super) fn rank(&self) -> usize {
        self.rank
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Waits for the others without keeping a processor busy.
    pub(super) fn meet(&self) {
        let mut request = world().immediate_barrier();
        while let Err(pending) = request.test() {
            request = pending;
            std::thread::sleep(NAP);
        }
    }

    pub(super) fn tell(&self, text: &[u8]) -> Vec<u8> {
        let world = world();
        let leader = world.process_at_rank(0);
        let mut length = text.len() as u64;
        leader.broadcast_into(&mut length);
        let mut heard = text.to_vec();
        heard.resize(length as usize, 0);
        for piece in heard.chunks_mut(MESSAGE) {
            leader.broadcast_into(piece);
        }
        heard
    }

    pub(super) fn abort(&self, code: u8) -> ! {
        world().abort(i32::from(code))
    }

    pub(super) fn sum(&self, value: f64) -> f64 {
        let mut sum = 0.0;
        world().all_reduce_into(&value, &mut sum, SystemOperation::sum());
        sum
    }

    pub(super) fn spread(&self, values: &mut [f32]) {
        let world = world();
        for piece in values.chunks_mut(MESSAGE) {
            world.process_at_rank(0).broadcast_into(piece);
        }
    }

    /// The leader's value.
    pub(super) fn leaders(&self, value: f64) -> f64 {
        let mut heard = value;
        world().process_at_rank(0).broadcast_into(&mut heard);
        heard
    }

    pub(super) fn buckets(&self, count: usize) -> Vec<Bucket> {
        let bucket = |end: usize| {
            let place = end.saturating_sub(BUCKET)..end;
            Bucket { mine: vec![0.0; place.len()], sum: vec![0.0; place.len()], place }
        };
        (0..count.div_ceil(BUCKET)).map(|index| bucket(count - index * BUCKET)).collect()
    }

    /// Sums gradients over all ranks, bucket by bucket, as `work` says that they are final. Every word from it
    /// also lets messages under way proceed, since MPI moves them in its calls alone.
    pub(super) fn reduced<T>(
        &self,
        buckets: &mut [Bucket],
        gradients: &mut Tensors,
        work: impl FnOnce(&mut Tensors, Ready<'_>) -> T,
    ) -> T {
        let made = mpi::request::scope(|scope| {
            let world = world();
            let mut waiting = buckets.iter_mut().peekable();
            let mut under_way: Vec<Request<'_, [f32], &LocalScope<'_>>> = Vec::new();
            let mut ready = |gradients: &Tensors, from: usize| {
                while let Some(Bucket { place, mine, sum }) = waiting.next_if(|bucket| bucket.place.start >= from) {
                    mine.copy_from_slice(&gradients.flat()[place.clone()]);
                    let (mine, sum) = (&mine[..], &mut sum[..]);
                    under_way.push(world.immediate_all_reduce_into(scope, mine, sum, SystemOperation::sum()));
                }
                if let Some(Err(pending)) = under_way.pop().map(Request::test) {
                    under_way.push(pending);
                }
            };
            let made = work(gradients, &mut ready);
            ready(gradients, 0);
            for request in under_way {
                request.wait_without_status();
            }
            made
        });
        for bucket in buckets {
            gradients.flat_mut()[bucket.place.clone()].copy_from_slice(&bucket.sum);
        }
        made
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Taking leave would wait for the others, and they for this one.
            self.abort(101);
        }
        self.meet();
    }
}
