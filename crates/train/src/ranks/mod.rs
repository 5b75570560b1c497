//! One training on several processes ("ranks") that `mpirun` started: what they tell each other.
//!
//! Each rank holds the whole model and computes the gradients of its share of every batch; the sums over
//! all ranks are the gradients of the batch, and every rank takes the same step with them. The gradients
//! travel in buckets, the last of the arena first, while the backward pass computes the others.
//!
//! **Invariant:** every rank makes the same calls in the same order. What decides the way (losses, a wish
//! to stop, a checkpoint's contents) is therefore agreed on first.

#[cfg_attr(feature = "mpi", path = "enabled.rs")]
#[cfg_attr(not(feature = "mpi"), path = "disabled.rs")]
mod world;

use std::ops::Range;

use nn::{Ready, Tensors};

use crate::error::TrainError;
use world::World;

pub(crate) use world::Bucket;

/// The processes of one training, and which of them this is.
#[derive(Debug)]
pub struct Ranks {
    /// Nothing where this process is the only one.
    world: Option<World>,
}

impl Ranks {
    /// This process alone.
    #[must_use]
    pub fn one() -> Self {
        Self { world: None }
    }

    /// Joins the other processes of an `mpirun` of `size`; one is alone.
    ///
    /// # Errors
    /// [`TrainError::Ranks`] without the feature `mpi`, or when the processes do not find each other.
    pub fn join(size: usize) -> Result<Self, TrainError> {
        Ok(Self { world: if size > 1 { Some(World::join(size)?) } else { None } })
    }

    /// The number of this process, from 0.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.world.as_ref().map_or(0, World::rank)
    }

    /// How many processes there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.world.as_ref().map_or(1, World::size)
    }

    /// Whether this is the process that reads the store, writes it, and talks.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// What the leader says, heard by all. Those who wait for it leave the processor to others.
    #[must_use]
    pub fn tell(&self, text: &[u8]) -> Vec<u8> {
        match &self.world {
            Some(world) => {
                world.meet();
                world.tell(text)
            }
            None => text.to_vec(),
        }
    }

    /// Ends every process at once, because this one cannot go on; does nothing where it is alone.
    pub fn abort(&self, code: u8) {
        if let Some(world) = &self.world {
            world.abort(code);
        }
    }

    /// This rank's share of so many things.
    pub(crate) fn share(&self, count: usize) -> Range<usize> {
        let each = count.div_ceil(self.size());
        (self.rank() * each).min(count)..((self.rank() + 1) * each).min(count)
    }

    /// The sum over all ranks.
    pub(crate) fn sum(&self, value: f64) -> f64 {
        self.world.as_ref().map_or(value, |world| world.sum(value))
    }

    /// Whether it is so on any rank.
    pub(crate) fn any(&self, here: bool) -> bool {
        self.world.as_ref().map_or(here, |world| world.sum(f64::from(u8::from(here))) > 0.0)
    }

    /// Copies the leader's values to every rank.
    pub(crate) fn spread(&self, values: &mut [f32]) {
        if let Some(world) = &self.world {
            world.spread(values);
        }
    }

    /// Whether every rank has the leader's value, in every bit.
    pub(crate) fn same(&self, value: f64) -> bool {
        let Some(world) = &self.world else { return true };
        let differs = world.leaders(value).to_bits() != value.to_bits();
        !self.any(differs)
    }

    /// Buckets of so many gradients, in the order in which they travel: the last first.
    pub(crate) fn buckets(&self, count: usize) -> Vec<Bucket> {
        self.world.as_ref().map_or_else(Vec::new, |world| world.buckets(count))
    }

    /// Computes gradients and replaces them by their sums over all ranks. Buckets leave while `work` goes
    /// on, as soon as it says that they are final.
    pub(crate) fn reduced<T>(
        &self,
        buckets: &mut [Bucket],
        gradients: &mut Tensors,
        work: impl FnOnce(&mut Tensors, Ready<'_>) -> T,
    ) -> T {
        match &self.world {
            Some(world) => world.reduced(buckets, gradients, work),
            None => work(gradients, &mut |_, _| {}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_is_alone() {
        let ranks = Ranks::join(1).unwrap();
        assert_eq!((ranks.rank(), ranks.size(), ranks.leads()), (0, 1, true));
        assert_eq!((ranks.share(7), ranks.sum(2.5), ranks.any(true)), (0..7, 2.5, true));
        assert_eq!(ranks.tell(b"train"), b"train");
        assert!(ranks.buckets(10).is_empty());
    }

    #[cfg(not(feature = "mpi"))]
    #[test]
    fn without_the_feature_several_processes_are_refused() {
        let error = Ranks::join(2).unwrap_err();
        let hint = base::Failure::hint(&error).unwrap();
        assert!(error.to_string().contains("feature `mpi`") && hint.contains("--features mpi"), "{error}\n{hint}");
    }
}
