//! Which two tokens are joined, how early, and into what: an open-addressing table, read only.

use crate::hash::mix;

/// The answer for a pair that is not joined.
pub(crate) const NEVER: u64 = u64::MAX;
const EMPTY: u64 = u64::MAX;

/// The table of merges.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    slots: Vec<[u64; 2]>,
    shift: u32,
}

impl Pairs {
    /// Builds the table from `(left, right, token)` in the order of their ranks; of equal pairs the last counts.
    pub fn new(merges: &[(u32, u32, u32)]) -> Self {
        let bits = (merges.len() * 2).next_power_of_two().trailing_zeros().max(4);
        let mut new = Self { slots: vec![[EMPTY; 2]; 1 << bits], shift: 64 - bits };
        for (rank, (left, right, token)) in merges.iter().enumerate() {
            let key = u64::from(*left) << 32 | u64::from(*right);
            let mut index = new.index(key);
            while new.slots[index][0] != EMPTY && new.slots[index][0] != key {
                index = (index + 1) & (new.slots.len() - 1);
            }
            new.slots[index] = [key, (rank as u64) << 32 | u64::from(*token)];
        }
        new
    }

    #[inline]
    fn index(&self, key: u64) -> usize {
        (mix(key, key >> 32) >> self.shift) as usize
    }

    /// The rank of a pair in the upper half and its token in the lower, or [`NEVER`].
    #[inline]
    pub fn get(&self, left: u32, right: u32) -> u64 {
        let key = u64::from(left) << 32 | u64::from(right);
        let mut index = self.index(key);
        loop {
            let [found, value] = self.slots[index];
            if found == key {
                return value;
            }
            if found == EMPTY {
                return NEVER;
            }
            index = (index + 1) & (self.slots.len() - 1);
        }
    }
}
