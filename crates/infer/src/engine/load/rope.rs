//! How fast rotary positions turn, by the ways that models of longer contexts are made from those of shorter ones.
//!
//! Formulas are those of `transformers` (`modeling_rope_utils.py`) and llama.cpp; each is named with its source.

use std::f64::consts::TAU;

use crate::engine::packed::Rotary;

/// How the frequencies `base^(−2i/d)` are changed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scaling {
    /// Not at all.
    None,
    /// Positions are divided by a factor (Chen et al. 2023).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Slow pairs are divided by a factor, fast ones not, with a ramp between (Llama 3.1).
    Llama3 {
        /// The factor.
        factor: f64,
        /// Turns of the original context below which a pair is slow, and above which it is fast.
        low: f64,
        high: f64,
        /// The original context.
        original: f64,
    },
    /// The same with a ramp over dimensions, and a factor of cosines and sines (Peng et al. 2023).
    Yarn {
        /// The factor.
        factor: f64,
        /// Turns of the original context at the ends of the ramp.
        fast: f64,
        slow: f64,
        /// The original context.
        original: f64,
        /// The factor of cosines and sines; `0.1·ln(factor) + 1` where the model has none.
        attention: Option<f64>,
    },
    /// Every pair is divided by a number of its own (`rope_freqs.weight`).
    Each(Vec<f32>),
}

impl Scaling {
    /// The frequencies of `turned` dimensions of a head. Numbers are finite, and factors and contexts above 0.
    pub(crate) fn rotary(&self, turned: usize, base: f64) -> Rotary {
        let pairs = turned / 2;
        let plain = (0..pairs).map(|pair| base.powf(-2.0 * pair as f64 / turned as f64));
        let mut attention_factor = 1.0;
        let frequencies = match self {
            Self::None => plain.collect(),
            Self::Linear { factor } => plain.map(|turn| turn / factor).collect(),
            Self::Each(factors) => plain.zip(factors).map(|(turn, factor)| turn / f64::from(*factor)).collect(),
            Self::Llama3 { factor, low, high, original } => plain
                .map(|turn| {
                    let turns = original * turn / TAU;
                    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    turn * (kept + (1.0 - kept) / factor)
                })
                .collect(),
            Self::Yarn { factor, fast, slow, original, attention } => {
                attention_factor = attention.unwrap_or(if *factor > 1.0 { 0.1 * factor.ln() + 1.0 } else { 1.0 });
                // The dimension whose pair makes so many turns in the original context.
                let at = |turns: f64| turned as f64 * (original / (turns * TAU)).ln() / (2.0 * base.ln());
                let (begin, end) = (at(*fast).floor().max(0.0), at(*slow).ceil().min(turned as f64 - 1.0));
                let width = if begin == end { 0.001 } else { end - begin };
                plain
                    .enumerate()
                    .map(|(pair, turn)| {
                        let scaled = ((pair as f64 - begin) / width).clamp(0.0, 1.0);
                        turn * (1.0 - scaled) + turn / factor * scaled
                    })
                    .collect()
            }
        };
        Rotary { frequencies, factor: attention_factor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_pairs_are_divided_and_fast_ones_kept() {
        let plain = Scaling::None.rotary(64, 10_000.0).frequencies;
        assert_eq!((plain.len(), plain[0]), (32, 1.0));
        let llama = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 }.rotary(64, 10_000.0);
        let yarn = Scaling::Yarn { factor: 8.0, fast: 32.0, slow: 1.0, original: 8192.0, attention: None };
        let yarn = yarn.rotary(64, 10_000.0);
        assert!((yarn.factor - (0.1 * 8_f64.ln() + 1.0)).abs() < 1e-12);
        for found in [&llama.frequencies, &yarn.frequencies] {
            assert_eq!(found[0], plain[0]);
            assert!(found.iter().zip(&plain).all(|(found, plain)| *found <= *plain && *found >= plain / 8.0));
            assert!(found.is_sorted_by(|a, b| a >= b));
        }
        let each = Scaling::Each(vec![2.0; 32]).rotary(64, 10_000.0).frequencies;
        assert_eq!(each, Scaling::Linear { factor: 2.0 }.rotary(64, 10_000.0).frequencies);
    }
}
