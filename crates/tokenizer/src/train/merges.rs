//! Learning merges (Sennrich et al. 2016), in the order that Hugging Face's `BpeTrainer` learns them.
//!
//! Words are symbols in one flat list. A heap holds pairs with the words they were seen in when they came about; a pair
//! whose count has changed since is put back with its new count when it comes up. Joining a pair looks only at its words,
//! and touches the counts of neighbouring pairs once for each kind of neighbour, not once for each word.
//!
//! Hugging Face's order is kept to the letter: the most frequent pair first, of equals that of the smallest numbers; the
//! count of a pair is not lowered by its own merge; a pair that comes about again later, because a token has two
//! derivations, is a second entry with the places of that time. Counts are 64 bits wide where theirs are 32.

use std::collections::BinaryHeap;
use std::collections::HashMap;

use super::Watch;
use crate::error::TokenizerError;
use crate::hash::FastMap;

/// Words in symbols, and how often each came.
#[derive(Debug, Default)]
pub(super) struct Corpus {
    pub symbols: Vec<u32>,
    /// Where a word begins, and how many symbols it has by now.
    pub words: Vec<Word>,
}

/// A word of a [`Corpus`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    begin: u64,
    length: u32,
    count: u64,
}

impl Corpus {
    /// Ends the word of the symbols that came behind the last word.
    pub fn end_word(&mut self, count: u64) {
        let begin = self.words.last().map_or(0, |word| word.begin + u64::from(word.length));
        self.words.push(Word { begin, length: (self.symbols.len() as u64 - begin) as u32, count });
    }
}

/// What was learned: tokens in the order of their numbers, and merges in the order of their ranks.
#[derive(Debug, Default)]
pub(super) struct Learned {
    pub tokens: Vec<String>,
    pub ids: HashMap<String, u32>,
    pub merges: Vec<(u32, u32)>,
}

impl Learned {
    /// The number of a token, a new one if it has none.
    pub fn id(&mut self, token: &str) -> u32 {
        if let Some(id) = self.ids.get(token) {
            return *id;
        }
        let id = self.tokens.len() as u32;
        self.tokens.push(token.to_owned());
        self.ids.insert(token.to_owned(), id);
        id
    }
}

/// When learning ends, and what is not joined.
#[derive(Debug, Clone)]
pub(super) struct Limits<'c> {
    pub vocabulary_size: usize,
    pub min_frequency: u64,
    pub max_token_length: usize,
    /// What a token that continues a word begins with.
    pub prefix: &'c str,
}

/// A pair with the places it was seen in, in the heap.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    count: i64,
    pair: u64,
    /// Its words in the list of places; of equal pairs the earlier goes first.
    begin: u64,
    length: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let ours = (self.count, std::cmp::Reverse((self.pair, self.begin)));
        ours.cmp(&(other.count, std::cmp::Reverse((other.pair, other.begin))))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn pair_of(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// Learns merges until a limit is met.
pub(super) fn learn(
    mut corpus: Corpus,
    learned: &mut Learned,
    limits: &Limits,
    watch: &mut Watch,
) -> Result<(), TokenizerError> {
    let mut state = State::new(&corpus);
    let mut lengths = vec![1_usize; learned.tokens.len()];
    while learned.tokens.len() < limits.vocabulary_size {
        let Some(mut top) = state.heap.pop() else { break };
        let count = state.counts.get(&top.pair).copied().unwrap_or(0);
        if top.count != count {
            top.count = count;
            state.heap.push(top);
            continue;
        }
        if count < 1 || u64::try_from(count).is_ok_and(|count| count < limits.min_frequency) {
            break;
        }
        let (left, right) = ((top.pair >> 32) as u32, top.pair as u32);
        let behind = &learned.tokens[right as usize];
        let behind = behind.strip_prefix(limits.prefix).unwrap_or(behind);
        let token = format!("{}{behind}", learned.tokens[left as usize]);
        let id = learned.id(&token);
        lengths.resize(learned.tokens.len(), 1);
        lengths[id as usize] = lengths[left as usize] + lengths[right as usize];
        learned.merges.push((left, right));
        state.join(&mut corpus, &top, id, |other| {
            lengths[other as usize] + lengths[id as usize] < limits.max_token_length
        });
        if learned.merges.len().is_multiple_of(64) {
            watch.step("merges", learned.tokens.len() as u64, limits.vocabulary_size as u64)?;
        }
    }
    Ok(())
}

struct State {
    counts: FastMap<u64, i64>,
    heap: BinaryHeap<Candidate>,
    /// Words of candidates, each candidate's together.
    places: Vec<u32>,
    /// How many of them belong to candidates that are still there.
    places_in_use: usize,
    step: Step,
}

/// What one merge changes, by kind of neighbour.
#[derive(Default)]
struct Step {
    number: u32,
    /// For each of the four kinds, by the neighbour's number: the step that last used it, and its change there.
    slots: [Vec<(u32, u32)>; 4],
    changes: Vec<Change>,
    /// New pairs seen: a change and a word.
    seen: Vec<(u32, u32)>,
}

struct Change {
    pair: u64,
    sum: i64,
    /// Words seen with it, and the last of them.
    words: u32,
    last: u32,
}

/// Kinds of pairs that a merge changes: what it breaks before and behind, and what it makes.
const BROKEN_BEFORE: usize = 0;
const BROKEN_BEHIND: usize = 1;
const MADE_BEFORE: usize = 2;
const MADE_BEHIND: usize = 3;

impl Step {
    /// The change of a pair in this step.
    #[inline]
    fn change(&mut self, kind: usize, neighbour: u32, pair: u64) -> u32 {
        let slots = &mut self.slots[kind];
        if slots.len() <= neighbour as usize {
            slots.resize(neighbour as usize + 1, (0, 0));
        }
        let slot = &mut slots[neighbour as usize];
        if slot.0 != self.number {
            *slot = (self.number, self.changes.len() as u32);
            self.changes.push(Change { pair, sum: 0, words: 0, last: u32::MAX });
        }
        slot.1
    }

    #[inline]
    fn broken(&mut self, kind: usize, neighbour: u32, pair: u64, count: i64) {
        let index = self.change(kind, neighbour, pair);
        self.changes[index as usize].sum -= count;
    }

    #[inline]
    fn made(&mut self, kind: usize, neighbour: u32, pair: u64, count: i64, word: u32) {
        let index = self.change(kind, neighbour, pair);
        let change = &mut self.changes[index as usize];
        change.sum += count;
        if change.last != word {
            change.last = word;
            change.words += 1;
            self.seen.push((index, word));
        }
    }
}

impl State {
    /// Counts all pairs and finds their words.
    fn new(corpus: &Corpus) -> Self {
        struct Pair {
            count: i64,
            words: u32,
            last: u32,
            at: u64,
        }
        let mut pairs: FastMap<u64, Pair> = FastMap::default();
        for (index, word) in corpus.words.iter().enumerate() {
            for window in corpus.symbols_of(word).windows(2) {
                let new = Pair { count: 0, words: 0, last: u32::MAX, at: 0 };
                let pair = pairs.entry(pair_of(window[0], window[1])).or_insert(new);
                pair.count += word.count as i64;
                if pair.last != index as u32 {
                    pair.last = index as u32;
                    pair.words += 1;
                }
            }
        }
        let mut total = 0;
        let mut counts = FastMap::with_capacity_and_hasher(pairs.len(), Default::default());
        let mut candidates = Vec::with_capacity(pairs.len());
        for (key, pair) in &mut pairs {
            pair.at = total;
            pair.last = u32::MAX;
            counts.insert(*key, pair.count);
            candidates.push(Candidate { count: pair.count, pair: *key, begin: total, length: pair.words });
            total += u64::from(pair.words);
        }
        let mut places = vec![0; total as usize];
        for (index, word) in corpus.words.iter().enumerate() {
            for window in corpus.symbols_of(word).windows(2) {
                if let Some(pair) = pairs.get_mut(&pair_of(window[0], window[1]))
                    && pair.last != index as u32
                {
                    pair.last = index as u32;
                    places[pair.at as usize] = index as u32;
                    pair.at += 1;
                }
            }
        }
        candidates.retain(|candidate| candidate.count > 0);
        let places_in_use = places.len();
        Self { counts, heap: BinaryHeap::from(candidates), places, places_in_use, step: Step::default() }
    }

    /// Joins a pair in its words, and offers the pairs that come about.
    fn join(&mut self, corpus: &mut Corpus, top: &Candidate, id: u32, short: impl Fn(u32) -> bool) {
        let (left, right) = ((top.pair >> 32) as u32, top.pair as u32);
        let step = &mut self.step;
        step.number += 1;
        step.changes.clear();
        step.seen.clear();
        let range = top.begin as usize..top.begin as usize + top.length as usize;
        self.places_in_use -= range.len();
        for place in &self.places[range] {
            let word = &mut corpus.words[*place as usize];
            let begin = word.begin as usize;
            let symbols = &mut corpus.symbols[begin..begin + word.length as usize];
            let count = word.count as i64;
            let (mut read, mut write) = (0, 0);
            while read < symbols.len() {
                if symbols[read] != left || symbols.get(read + 1) != Some(&right) {
                    symbols[write] = symbols[read];
                    (read, write) = (read + 1, write + 1);
                    continue;
                }
                if write > 0 {
                    let before = symbols[write - 1];
                    step.broken(BROKEN_BEFORE, before, pair_of(before, left), count);
                    if short(before) {
                        step.made(MADE_BEFORE, before, pair_of(before, id), count, *place);
                    }
                }
                if let Some(behind) = symbols.get(read + 2).copied() {
                    step.broken(BROKEN_BEHIND, behind, pair_of(right, behind), count);
                    if short(behind) {
                        let kind = if behind == id { MADE_BEFORE } else { MADE_BEHIND };
                        step.made(kind, behind, pair_of(id, behind), count, *place);
                    }
                }
                symbols[write] = id;
                (read, write) = (read + 2, write + 1);
            }
            word.length = write as u32;
        }
        self.offer();
    }

    /// Applies the changes of a step, and puts its new pairs into the heap.
    fn offer(&mut self) {
        let step = &mut self.step;
        let mut begin = self.places.len() as u64;
        for change in &step.changes {
            *self.counts.entry(change.pair).or_default() += change.sum;
        }
        for change in &mut step.changes {
            if change.words == 0 {
                continue;
            }
            let count = self.counts.get(&change.pair).copied().unwrap_or(0);
            if count > 0 {
                self.heap.push(Candidate { count, pair: change.pair, begin, length: change.words });
                // From here on where its next word goes.
                change.sum = begin as i64;
                begin += u64::from(change.words);
            } else {
                change.words = 0;
            }
        }
        self.places_in_use += begin as usize - self.places.len();
        self.places.resize(begin as usize, 0);
        for (index, word) in &step.seen {
            let change = &mut step.changes[*index as usize];
            if change.words > 0 {
                self.places[change.sum as usize] = *word;
                change.sum += 1;
            }
        }
        if self.places.len() > 2 * self.places_in_use + (1 << 20) {
            self.compact();
        }
    }

    /// Moves the words of the candidates that are left together, in their order.
    fn compact(&mut self) {
        let mut candidates = std::mem::take(&mut self.heap).into_vec();
        candidates.sort_unstable_by_key(|candidate| candidate.begin);
        let mut end = 0;
        for candidate in &mut candidates {
            let begin = candidate.begin as usize;
            self.places.copy_within(begin..begin + candidate.length as usize, end);
            candidate.begin = end as u64;
            end += candidate.length as usize;
        }
        self.places.truncate(end);
        self.places.shrink_to_fit();
        self.places_in_use = end;
        self.heap = BinaryHeap::from(candidates);
    }
}

impl Corpus {
    fn symbols_of(&self, word: &Word) -> &[u32] {
        &self.symbols[word.begin as usize..word.begin as usize + word.length as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_beyond_32_bits_keep_their_order() {
        let mut learned = Learned::default();
        ["a", "b", "c", "d"].iter().for_each(|token| {
            learned.id(token);
        });
        let mut corpus = Corpus::default();
        // In 32 bits the first word's pair would count 705,032,704, and the second's be negative.
        for (word, count) in [([0, 1], 5_000_000_000), ([1, 2], 3_000_000_000), ([2, 3], 1_000_000_000)] {
            corpus.symbols.extend(word);
            corpus.end_word(count);
        }
        let limits = Limits { vocabulary_size: 9, min_frequency: 2, max_token_length: usize::MAX, prefix: "" };
        let stop = std::sync::atomic::AtomicBool::new(false);
        let mut watch = Watch { progress: &mut |_| {}, stop: &stop };
        learn(corpus, &mut learned, &limits, &mut watch).unwrap();
        assert_eq!(learned.merges, [(0, 1), (1, 2), (2, 3)]);
        assert_eq!(learned.tokens[4..], ["ab", "bc", "cd"]);
    }
}
