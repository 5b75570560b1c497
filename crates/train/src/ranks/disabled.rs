//! Ranks without the feature `mpi`: joining others is refused, so that no world of them ever exists.

use nn::{Ready, Tensors};

use crate::error::TrainError;

/// Nothing: no gradients travel.
#[derive(Debug)]
pub(crate) enum Bucket {}

/// Nothing: this program cannot join others.
#[derive(Debug)]
pub(super) enum World {}

impl World {
    pub(super) fn join(size: usize) -> Result<Self, TrainError> {
        Err(TrainError::Ranks {
            what: format!("mpirun started {size} of them, and this yard was built without its feature `mpi`"),
            hint: "Install libopenmpi-dev, openmpi-bin and libclang-dev, and build with `cargo build --release \
                   --features mpi -p modelyard-yard`.",
        })
    }

    pub(super) fn rank(&self) -> usize {
        match *self {}
    }

    pub(super) fn size(&self) -> usize {
        match *self {}
    }

    pub(super) fn meet(&self) {
        match *self {}
    }

    pub(super) fn tell(&self, _: &[u8]) -> Vec<u8> {
        match *self {}
    }

    pub(super) fn abort(&self, _: u8) -> ! {
        match *self {}
    }

    pub(super) fn sum(&self, _: f64) -> f64 {
        match *self {}
    }

    pub(super) fn spread(&self, _: &mut [f32]) {
        match *self {}
    }

    pub(super) fn leaders(&self, _: f64) -> f64 {
        match *self {}
    }

    pub(super) fn buckets(&self, _: usize) -> Vec<Bucket> {
        match *self {}
    }

    pub(super) fn reduced<T>(
        &self,
        _: &mut [Bucket],
        _: &mut Tensors,
        _: impl FnOnce(&mut Tensors, Ready<'_>) -> T,
    ) -> T {
        match *self {}
    }
}
