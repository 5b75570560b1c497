//! Dropout (Srivastava et al. 2014), scaled in training so that inference needs nothing. The mask is
//! a pure function of seed, step and layer, so that a resumed run draws the same masks.

use burn::tensor::{Device, Tensor};

use crate::graph::matrix;
use crate::random::Random;

/// What the masks are drawn for.
const MASK: u64 = 0xd80b;

/// The masks of one step.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// The share of units that is left out; 0 turns it off.
    pub share: f64,
    /// The seed of the run.
    pub seed: u64,
    /// The step, from 0.
    pub step: u64,
}

impl Dropout {
    /// No dropout, for evaluation.
    pub const OFF: Self = Self { share: 0.0, seed: 0, step: 0 };

    /// The factors of `count` units, 0 for those left out; `place` tells the layers of one step apart.
    /// Nothing where dropout is off.
    pub(crate) fn mask(&self, count: usize, place: u64) -> Option<Vec<f32>> {
        if self.share == 0.0 {
            return None;
        }
        let mut random = Random::new(self.seed, &[MASK, self.step, place]);
        let kept = (1.0 / (1.0 - self.share)) as f32;
        Some((0..count).map(|_| if random.uniform() < self.share { 0.0 } else { kept }).collect())
    }

    /// Leaves out units of `x`.
    pub(crate) fn apply(&self, x: Tensor<2>, place: u64, device: &Device) -> Tensor<2> {
        let shape = x.dims();
        match self.mask(shape[0] * shape[1], place) {
            Some(mask) => x * matrix(mask, shape, device),
            None => x,
        }
    }
}
