//! Runs of words that repeat: Gopher's top n-grams of 2 to 4 and duplicate n-grams of 5 to 10, as datatrove's
//! `gopher_repetition_filter.py` counts them.
//!
//! Top n-grams are equal word by word; duplicate ones when the words written together are equal. Both are exact, yet
//! most runs are never looked up: a run of 3 can repeat only where both its runs of 2 do, and a run of 5 or more
//! only where the 24 bytes from its start do.

use crate::hash::{Counter, HashSet, hash_bytes, load, mix};

const START_BYTES: usize = 24;

/// Buffers that are used again for every document.
#[derive(Default)]
pub(crate) struct Runs {
    /// The words written together, and padding.
    joined: Vec<u8>,
    /// Where each word starts in `joined`, and the end.
    byte_at: Vec<u32>,
    /// Characters before each word, and in all.
    characters_before: Vec<u32>,
    hashes: Vec<u64>,
    /// For each position, the slot of the run that starts there, or `NONE`.
    slots: Vec<u32>,
    next_slots: Vec<u32>,
    counter: Counter,
    set: HashSet,
    repeats: Vec<bool>,
}

const NONE: u32 = u32::MAX;

/// Characters in repeated runs of words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repetition {
    /// Of the most frequent run of 2, 3, 4 words, blanks included.
    pub top: [u64; 3],
    /// In repeated runs of 5 to 10 words.
    pub duplicate: [u64; 6],
}

impl Runs {
    /// Forgets the words.
    pub fn clear(&mut self, bytes: usize) {
        self.joined.clear();
        self.joined.reserve(bytes + START_BYTES);
        self.byte_at.clear();
        self.characters_before.clear();
        self.hashes.clear();
        self.byte_at.push(0);
        self.characters_before.push(0);
    }

    /// Takes the next word.
    #[inline]
    pub fn push(&mut self, word: &[u8], characters: u32) {
        self.joined.extend_from_slice(word);
        self.byte_at.push(self.joined.len() as u32);
        let before = self.characters_before[self.characters_before.len() - 1];
        self.characters_before.push(before + characters);
        self.hashes.push(hash_bytes(word));
    }

    /// How many words were taken.
    pub fn words(&self) -> usize {
        self.hashes.len()
    }

    /// Counts the repeated runs.
    pub fn measure(&mut self) -> Repetition {
        self.joined.extend_from_slice(&[0; START_BYTES]);
        let top = self.top();
        self.find_repeated_starts();
        let mut duplicate = [0; 6];
        if self.repeats.iter().any(|repeats| *repeats) {
            for (index, characters) in duplicate.iter_mut().enumerate() {
                *characters = self.duplicate(index + 5);
            }
        }
        Repetition { top, duplicate }
    }

    fn run_characters(&self, first: usize, n: usize) -> u64 {
        u64::from(self.characters_before[first + n] - self.characters_before[first])
    }

    fn top(&mut self) -> [u64; 3] {
        let mut out = [0; 3];
        let words = self.hashes.len();
        self.slots.clear();
        for n in 2..=4 {
            if words < n {
                break;
            }
            self.next_slots.clear();
            self.next_slots.resize(words, NONE);
            let candidates: usize =
                if n == 2 { words } else { self.slots.iter().filter(|slot| **slot != NONE).count() };
            self.counter.reset(candidates);
            let mut best: Option<(u32, u32)> = None;
            for at in 0..=words - n {
                if n > 2 && (self.slots[at] == NONE || self.slots[at + 1] == NONE) {
                    continue;
                }
                let hash = self.hashes[at..at + n].iter().fold(n as u64, |state, hash| mix(state, *hash));
                let slot = self.counter.add(hash, at as u32);
                self.next_slots[at] = slot;
                let (count, first) = (self.counter.count(slot), self.counter.first(slot));
                if best.is_none_or(|(most, earliest)| count > most || count == most && first < earliest) {
                    best = Some((count, first));
                }
            }
            // Only those that repeat matter to longer runs.
            for slot in &mut self.next_slots {
                if *slot != NONE && self.counter.count(*slot) < 2 {
                    *slot = NONE;
                }
            }
            std::mem::swap(&mut self.slots, &mut self.next_slots);
            // Where nothing repeats, the first run is the most frequent.
            let (count, first) = best.filter(|(count, _)| *count > 1).unwrap_or((1, 0));
            out[n - 2] = (self.run_characters(first as usize, n) + n as u64 - 1) * u64::from(count);
        }
        out
    }

    /// Marks the words from which the next 24 bytes occur more than once.
    fn find_repeated_starts(&mut self) {
        let words = self.hashes.len();
        self.counter.reset(words);
        self.slots.clear();
        for at in 0..words {
            let from = self.byte_at[at] as usize;
            let hash = mix(load(&self.joined, from), mix(load(&self.joined, from + 8), load(&self.joined, from + 16)));
            let slot = self.counter.add(hash, 0);
            self.slots.push(slot);
        }
        self.repeats.clear();
        let last = words.saturating_sub(5);
        for at in 0..words {
            // A short run may repeat although what follows it differs.
            let short = at <= last && (self.byte_at[(at + 5).min(words)] - self.byte_at[at]) < START_BYTES as u32;
            let repeats = short || self.counter.count(self.slots[at]) > 1;
            self.repeats.push(repeats);
        }
    }

    /// Characters in the runs of `n` words that occurred before; behind such a run the next is looked for.
    fn duplicate(&mut self, n: usize) -> u64 {
        let words = self.hashes.len();
        if words < n {
            return 0;
        }
        self.set.reset(self.repeats.iter().filter(|repeats| **repeats).count());
        let (mut characters, mut at) = (0, 0);
        while at + n <= words {
            if !self.repeats[at] {
                at += 1;
                continue;
            }
            let run = &self.joined[self.byte_at[at] as usize..self.byte_at[at + n] as usize];
            if self.set.insert(hash_bytes(run)) {
                characters += self.run_characters(at, n);
                at += n;
            } else {
                at += 1;
            }
        }
        characters
    }
}
