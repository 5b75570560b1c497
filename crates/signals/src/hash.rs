//! Hashes of words, lines and runs of words, and tables of them that are used again for every document.
//!
//! Two texts count as equal when their 64-bit hashes are: at a million words the chance of a false pair is 1 in 10⁷.

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes two numbers into one: the halves of their 128-bit product.
#[inline]
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x2d35_8dcc_aa6c_78a5) * u128::from(b ^ 0x8bb8_4b93_962e_acc9);
    (product as u64) ^ (product >> 64) as u64
}

#[inline]
pub(crate) fn load(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes)
}

#[inline]
fn load_half(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].try_into().map_or(0, u32::from_le_bytes)
}

/// The hash of a string of bytes.
#[inline]
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    if length >= 8 {
        let mut state = length as u64;
        let mut at = 0;
        while at + 16 <= length {
            state = mix(load(bytes, at) ^ state, load(bytes, at + 8));
            at += 16;
        }
        if at + 8 <= length {
            state = mix(load(bytes, at) ^ state, MULTIPLIER);
        }
        return mix(load(bytes, length - 8) ^ state, length as u64);
    }
    // Loads that overlap: a copy of unknown length would be a call.
    let word = if length >= 4 {
        u64::from(load_half(bytes, 0)) | u64::from(load_half(bytes, length - 4)) << 32
    } else if length > 0 {
        u64::from(bytes[0]) | u64::from(bytes[length / 2]) << 8 | u64::from(bytes[length - 1]) << 16
    } else {
        0
    };
    mix(word, length as u64)
}

/// A set of hashes.
#[derive(Default)]
pub(crate) struct HashSet {
    slots: Vec<u64>,
    shift: u32,
}

impl HashSet {
    /// Empties it and makes room for so many.
    pub fn reset(&mut self, count: usize) {
        let size = (count.max(4) * 2).next_power_of_two();
        self.slots.clear();
        self.slots.resize(size, 0);
        self.shift = 64 - size.trailing_zeros();
    }

    /// Adds one; says whether it was there.
    #[inline]
    pub fn insert(&mut self, hash: u64) -> bool {
        let hash = hash.max(1);
        let mask = self.slots.len() - 1;
        let mut slot = (hash.wrapping_mul(MULTIPLIER) >> self.shift) as usize;
        loop {
            let held = self.slots[slot];
            if held == hash {
                return true;
            }
            if held == 0 {
                self.slots[slot] = hash;
                return false;
            }
            slot = (slot + 1) & mask;
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Counted {
    hash: u64,
    count: u32,
    first: u32,
}

/// Counts of hashes, each with where it was seen first.
#[derive(Default)]
pub(crate) struct Counter {
    slots: Vec<Counted>,
    shift: u32,
}

impl Counter {
    /// Empties it and makes room for so many.
    pub fn reset(&mut self, count: usize) {
        let size = (count.max(4) * 2).next_power_of_two();
        self.slots.clear();
        self.slots.resize(size, Counted::default());
        self.shift = 64 - size.trailing_zeros();
    }

    /// Counts one; says which slot keeps it.
    #[inline]
    pub fn add(&mut self, hash: u64, position: u32) -> u32 {
        let hash = hash.max(1);
        let mask = self.slots.len() - 1;
        let mut slot = (hash.wrapping_mul(MULTIPLIER) >> self.shift) as usize;
        loop {
            let held = &mut self.slots[slot];
            if held.hash == hash {
                held.count += 1;
                return slot as u32;
            }
            if held.hash == 0 {
                *held = Counted { hash, count: 1, first: position };
                return slot as u32;
            }
            slot = (slot + 1) & mask;
        }
    }

    /// How often the slot's hash was seen.
    #[inline]
    pub fn count(&self, slot: u32) -> u32 {
        self.slots[slot as usize].count
    }

    /// Where the slot's hash was seen first.
    #[inline]
    pub fn first(&self, slot: u32) -> u32 {
        self.slots[slot as usize].first
    }
}

/// A map from numbers to numbers that is filled once and then asked often.
#[derive(Default)]
pub(crate) struct NumberMap {
    slots: Vec<(u32, u32)>,
    shift: u32,
    held: usize,
}

const FREE: u32 = u32::MAX;

impl NumberMap {
    /// From pairs; of equal keys the last counts. The key `u32::MAX` cannot be kept.
    pub fn new(pairs: &[(u32, u32)]) -> Self {
        let size = (pairs.len().max(4) * 2).next_power_of_two();
        let mut out = Self { slots: vec![(FREE, 0); size], shift: 64 - size.trailing_zeros(), held: pairs.len() };
        for &(key, value) in pairs.iter().filter(|(key, _)| *key != FREE) {
            let slot = out.slot(key);
            out.slots[slot] = (key, value);
        }
        out
    }

    /// How many pairs it was made of.
    pub fn len(&self) -> usize {
        self.held
    }

    #[inline]
    fn slot(&self, key: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = (u64::from(key).wrapping_mul(MULTIPLIER) >> self.shift) as usize;
        while self.slots[slot].0 != key && self.slots[slot].0 != FREE {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// The value of a key.
    #[inline]
    pub fn get(&self, key: u32) -> Option<u32> {
        let (held, value) = self.slots[self.slot(key)];
        (held == key && key != FREE).then_some(value)
    }
}
