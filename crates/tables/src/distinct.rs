//! How many different values a stream holds, in bounded memory: HyperLogLog with 64-bit hashes and
//! 16,384 registers as in HyperLogLog++ (Heule, Nunkesser, Hall 2013), with the estimator of Ertl (*New
//! cardinality estimation algorithms for HyperLogLog sketches*, 2017), which needs no tables against
//! bias.
//!
//! **Error:** standard error 1.04 / √16384 = 0.8 %; up to [`EXACT_MAX`] different values the count is exact.
//! Merging is exact: any order and grouping gives the same sketch.

use std::collections::BTreeSet;

use base::Value;

use crate::hashing::{hash_value, mix};

/// Up to here the count is exact.
pub const EXACT_MAX: usize = 4096;
/// log₂ of the number of registers.
const BITS: u32 = 14;
/// What remains of a hash after the register's number.
const REST: u32 = 64 - BITS;

/// A sketch of the different values.
#[derive(Debug, Clone, PartialEq)]
pub struct Distinct {
    kept: Kept,
}

#[derive(Debug, Clone, PartialEq)]
enum Kept {
    Hashes(BTreeSet<u64>),
    Registers(Vec<u8>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self { kept: Kept::Hashes(BTreeSet::new()) }
    }
}

impl Distinct {
    /// Adds a value.
    pub fn push(&mut self, value: &Value) {
        self.push_hash(hash_value(value));
    }

    pub(crate) fn push_hash(&mut self, hash: u64) {
        match &mut self.kept {
            Kept::Hashes(hashes) => {
                hashes.insert(hash);
                if hashes.len() > EXACT_MAX {
                    let mut registers = vec![0; 1 << BITS];
                    hashes.iter().for_each(|&hash| register(&mut registers, hash));
                    self.kept = Kept::Registers(registers);
                }
            }
            Kept::Registers(registers) => register(registers, hash),
        }
    }

    /// Adds what another saw.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.kept, &other.kept) {
            (_, Kept::Hashes(theirs)) => theirs.iter().for_each(|&hash| self.push_hash(hash)),
            (Kept::Registers(ours), Kept::Registers(theirs)) => {
                ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| *ours = (*ours).max(*theirs));
            }
            (Kept::Hashes(ours), Kept::Registers(theirs)) => {
                let mut registers = theirs.clone();
                ours.iter().for_each(|&hash| register(&mut registers, hash));
                self.kept = Kept::Registers(registers);
            }
        }
    }

    /// Whether the count is exact.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        matches!(self.kept, Kept::Hashes(_))
    }

    /// The number of different values.
    #[must_use]
    pub fn count(&self) -> u64 {
        match &self.kept {
            Kept::Hashes(hashes) => hashes.len() as u64,
            Kept::Registers(registers) => estimate(registers).round() as u64,
        }
    }
}

fn register(registers: &mut [u8], hash: u64) {
    // Mixed once more: the values' hashes may themselves be finalised bit patterns of small numbers.
    let hash = mix(hash ^ 0x2545_f491_4f6c_dd1d);
    let index = (hash >> REST) as usize;
    let rank = ((hash << BITS).leading_zeros().min(REST) + 1) as u8;
    registers[index] = registers[index].max(rank);
}

/// Ertl 2017, algorithm 6.
fn estimate(registers: &[u8]) -> f64 {
    let size = registers.len() as f64;
    let mut counts = [0.0; REST as usize + 2];
    registers.iter().for_each(|&rank| counts[rank as usize] += 1.0);
    let mut sum = size * tau(1.0 - counts[REST as usize + 1] / size);
    for count in counts[1..=REST as usize].iter().rev() {
        sum = 0.5 * (sum + count);
    }
    sum += size * sigma(counts[0] / size);
    size * size / (2.0 * std::f64::consts::LN_2 * sum)
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z == before {
            return z / 3.0;
        }
    }
}
