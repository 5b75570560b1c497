//! A 64-bit hash and a seeded generator that are the same on every machine and in every release,
//! because sketches are kept and merged.

use base::Value;

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection that mixes all 64 bits.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The hash of bytes.
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = mix(bytes.len() as u64 ^ 0x9e37_79b9_7f4a_7c15);
    let mut pieces = bytes.chunks_exact(8);
    for piece in &mut pieces {
        let mut word = [0; 8];
        word.copy_from_slice(piece);
        hash = mix(hash ^ u64::from_le_bytes(word)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    }
    let mut word = [0; 8];
    word[..pieces.remainder().len()].copy_from_slice(pieces.remainder());
    mix(hash ^ u64::from_le_bytes(word))
}

/// The hash of a cell; 0.0 and -0.0 are one number.
pub(crate) fn hash_value(value: &Value) -> u64 {
    match value {
        Value::Missing => mix(1),
        Value::Binary(binary) => mix(2 + u64::from(*binary)),
        Value::Number(number) => mix((number + 0.0).to_bits() ^ 0x51ed_270b_6e5d_3a17),
        Value::Text(text) => hash_bytes(text.as_bytes()),
    }
}

/// SplitMix64.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Random(u64);

impl Random {
    /// A generator for a seed and a stream.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(mix(seed ^ mix(stream.wrapping_add(0x632b_e59b_d9b4_e019))))
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number in `0..bound`; `bound` is at least 1.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// A number in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }
}
