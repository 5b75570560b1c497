//! Scores become weights, and the sums of splits are merged.

use crate::attention::tile::exp_of_difference;
use crate::isa::kernel;

kernel! {
    /// `to = to·old + from·new`.
    pub fn blend(to: &mut [f32], old: f32, from: &[f32], new: f32) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = *to * old + from * new;
        }
    }
}

kernel! {
    /// Turns the scores `first..last` into weights and all others into 0; gives the largest score and the sum of
    /// the weights, −∞ and 0 if there are none.
    pub fn softmax(scores: &mut [f32], first: usize, last: usize) -> (f32, f32) {
        scores[..first].fill(f32::NEG_INFINITY);
        scores[last..].fill(f32::NEG_INFINITY);
        if first == last {
            scores.fill(0.0);
            return (f32::NEG_INFINITY, 0.0);
        }
        let mut most = [f32::NEG_INFINITY; 16];
        for scores in scores.as_chunks::<16>().0 {
            for (most, score) in most.iter_mut().zip(scores) {
                *most = if *score > *most { *score } else { *most };
            }
        }
        let most = most.iter().fold(f32::NEG_INFINITY, |most, score| if *score > most { *score } else { most });
        // Scores of −∞ alone: each weighs 0, and the result is not a number.
        let from = if most == f32::NEG_INFINITY { f32::MIN } else { most };
        let mut sums = [0.0_f32; 16];
        for scores in scores.as_chunks_mut::<16>().0 {
            for (sum, score) in sums.iter_mut().zip(scores) {
                *score = exp_of_difference(*score - from);
                *sum += *score;
            }
        }
        (from, sums.iter().fold(0.0, |sum, part| sum + part))
    }
}
