//! The permutations of MinHash, x → (a·x + b) mod (2^61 − 1), and the least value of each over a set.
//!
//! a and b are what NumPy's `RandomState(seed).randint` draws: the generator is MT19937 (Matsumoto and
//! Nishimura 1998), seeded by their `init_genrand`, two outputs a draw, drawn again while out of range.
//! As in datatrove a·x + b wraps at 64 bits before it is reduced.

const MERSENNE: u64 = (1 << 61) - 1;

/// How many permutations are computed side by side.
pub(super) const LANES: usize = 16;

/// The factors and the summands of `count` permutations.
#[must_use]
pub fn permutations(seed: u32, count: usize) -> (Vec<u64>, Vec<u64>) {
    let mut generator = MersenneTwister::new(seed);
    let a = (0..count).map(|_| generator.between(1, MERSENNE)).collect();
    let b = (0..count).map(|_| generator.between(0, MERSENNE)).collect();
    (a, b)
}

struct MersenneTwister {
    state: [u32; 624],
    next: usize,
}

impl MersenneTwister {
    fn new(seed: u32) -> Self {
        let mut state = [seed; 624];
        for index in 1..624 {
            let before = state[index - 1];
            state[index] = (before ^ (before >> 30)).wrapping_mul(1_812_433_253).wrapping_add(index as u32);
        }
        Self { state, next: 624 }
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == 624 {
            for index in 0..624 {
                let joined = (self.state[index] & 0x8000_0000) | (self.state[(index + 1) % 624] & 0x7fff_ffff);
                let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[index] = self.state[(index + 397) % 624] ^ (joined >> 1) ^ odd;
            }
            self.next = 0;
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// A number from `low` up to and without `high`.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        let range = high - 1 - low;
        let mask = u64::MAX >> range.leading_zeros();
        loop {
            let draw = (u64::from(self.next_u32()) << 32 | u64::from(self.next_u32())) & mask;
            if draw <= range {
                return low + draw;
            }
        }
    }
}

/// Permutations padded to whole groups of [`LANES`].
#[derive(Debug, Clone)]
pub(super) struct Permutations {
    arch: pulp::Arch,
    a: Vec<u64>,
    b: Vec<u64>,
    mask: u64,
}

impl Permutations {
    /// `mask` is applied after the permutation (all bits, or the low 32).
    pub(super) fn new(seed: u32, count: usize, mask: u64) -> Self {
        let (mut a, mut b) = permutations(seed, count);
        let padded = count.next_multiple_of(LANES);
        a.resize(padded, 1);
        b.resize(padded, 0);
        Self { arch: pulp::Arch::new(), a, b, mask }
    }

    /// The least value of every permutation over the shingles.
    pub(super) fn minima(&self, shingles: &[u64], out: &mut Vec<u64>) {
        out.resize(self.a.len(), 0);
        self.arch.dispatch(Minima { permutations: self, shingles, out });
    }
}

struct Minima<'a> {
    permutations: &'a Permutations,
    shingles: &'a [u64],
    out: &'a mut [u64],
}

impl pulp::NullaryFnOnce for Minima<'_> {
    type Output = ();

    /// Compiled once for each instruction set; written so that each line is one vector instruction.
    #[inline(always)]
    fn call(self) {
        let mask = self.permutations.mask;
        let a_groups = self.permutations.a.as_chunks::<LANES>().0;
        let b_groups = self.permutations.b.as_chunks::<LANES>().0;
        let out_groups = self.out.as_chunks_mut::<LANES>().0;
        for ((a, b), out) in a_groups.iter().zip(b_groups).zip(out_groups) {
            let (a, b) = (*a, *b);
            let mut least = [u64::MAX; LANES];
            for &shingle in self.shingles {
                for lane in 0..LANES {
                    let value = shingle.wrapping_mul(a[lane]).wrapping_add(b[lane]);
                    let folded = (value & MERSENNE) + (value >> 61);
                    // Folded is at most seven over the prime; below it the difference wraps to a large number.
                    let reduced = folded.min(folded.wrapping_sub(MERSENNE));
                    least[lane] = least[lane].min(reduced & mask);
                }
            }
            *out = least;
        }
    }
}
