//! Learning a Unigram model (Kudo 2018), as SentencePiece and Hugging Face do it: seeds from a suffix array,
//! expectation maximisation with a sparse prior, and rounds in which the tokens go that cost the least likelihood.
//!
//! Sums of floating-point numbers are taken over a fixed number of parts in a fixed order: the result is the same for
//! any number of threads.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::suffixes::repeats;
use super::words::Words;
use super::{Scheme, TrainerConfig, Watch};
use crate::error::TokenizerError;
use crate::trie::Trie;

/// Parts that words are divided into.
const PARTS: usize = 8;
const SEEDS_MAX: usize = 1_000_000;
/// Tokens left after a round, and rounds of expectation maximisation between.
const SHRINK: f64 = 0.75;
const ROUNDS: usize = 2;
/// A token that is expected fewer times goes.
const EXPECTED_MIN: f64 = 0.5;
const UNKNOWN_PENALTY: f64 = 10.0;
/// Up to this many characters probabilities of whole words are far from the least number.
const LINEAR_CHARACTERS_MAX: usize = 20;

type Word = (Box<str>, f64);

/// Learns the model; `least`: words that came fewer times are left out.
pub(super) fn train(
    words: Words,
    least: u64,
    config: &TrainerConfig,
    watch: &mut Watch,
) -> Result<Value, TokenizerError> {
    let Scheme::Unigram { max_piece_length } = config.scheme else { return Ok(Value::Null) };
    let mut texts: Vec<Word> = Vec::new();
    words.drain(&mut |word, count| {
        if count >= least {
            texts.push((String::from_utf8_lossy(word).into(), count as f64));
        }
    })?;
    texts.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut characters: BTreeMap<char, f64> = BTreeMap::new();
    for (word, count) in &texts {
        word.chars().for_each(|character| *characters.entry(character).or_default() += count);
    }
    let room = config.vocabulary_size.saturating_sub(config.special_tokens.len());
    let required: std::collections::BTreeSet<char> =
        characters.keys().copied().chain(config.initial_alphabet.iter().copied()).collect();
    if required.len() > room {
        let what = format!("the texts have {} characters, and the vocabulary has room for {room}", required.len());
        return Err(TokenizerError::settings(what, "Ask for a larger vocabulary."));
    }
    watch.step("seeds", 0, 1)?;
    let mut model = Pieces::new(seeds(&texts, &characters, max_piece_length));
    watch.step("seeds", 1, 1)?;
    let wanted = config.vocabulary_size * 11 / 10;
    let first = model.pieces.len() as u64;
    loop {
        for _ in 0..ROUNDS {
            let expected = model.expect(&texts);
            model.maximise(&expected);
            watch.step("pieces", first - model.pieces.len() as u64, first)?;
        }
        let before = model.pieces.len();
        if before <= wanted {
            break;
        }
        model.prune(&texts, wanted);
        if model.pieces.len() == before {
            break;
        }
    }
    Ok(finalise(&model, &required, room, config))
}

/// Characters by their counts, and repeated substrings by their count times their length, as log probabilities.
fn seeds(texts: &[Word], characters: &BTreeMap<char, f64>, max_piece_length: usize) -> Vec<(String, f64)> {
    let mut flat: Vec<u32> = Vec::new();
    for (word, _) in texts {
        flat.extend(word.chars().map(u32::from).filter(|character| *character != 0).chain([0]));
    }
    let mut found = repeats(&flat, max_piece_length);
    let part = |begin: u32, length: u32| &flat[begin as usize..(begin + length) as usize];
    found.par_sort_unstable_by(|a, b| {
        let (x, y) = (u64::from(a.count) * u64::from(a.length), u64::from(b.count) * u64::from(b.length));
        y.cmp(&x).then_with(|| part(b.begin, b.length).cmp(part(a.begin, a.length)))
    });
    let mut seeds: Vec<(String, f64)> =
        characters.iter().filter(|(character, _)| **character != '\0').map(|(c, n)| (c.to_string(), *n)).collect();
    seeds.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| b.0.cmp(&a.0)));
    found.truncate(SEEDS_MAX.saturating_sub(seeds.len()));
    for repeat in found {
        let text =
            part(repeat.begin, repeat.length).iter().filter_map(|character| char::from_u32(*character)).collect();
        seeds.push((text, f64::from(repeat.count) * f64::from(repeat.length)));
    }
    let logarithm = seeds.iter().map(|(_, score)| score).sum::<f64>().ln();
    seeds.iter_mut().for_each(|(_, score)| *score = score.ln() - logarithm);
    seeds
}

/// The tokens of the moment with their log probabilities.
struct Pieces {
    pieces: Vec<(String, f64)>,
    /// Finds numbers, of which some tokens are gone and the others have moved.
    trie: Trie,
    moved: Vec<u32>,
    unknown: f64,
}

/// A token in a word: where it begins and ends, and its number; none is an unknown character.
type Edge = (u32, u32, Option<u32>);

impl Pieces {
    fn new(pieces: Vec<(String, f64)>) -> Self {
        let trie = Trie::new(pieces.iter().zip(0..).map(|((piece, _), index)| (piece.as_bytes(), index)));
        let moved = (0..pieces.len() as u32).collect();
        let unknown = pieces.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min) - UNKNOWN_PENALTY;
        Self { pieces, trie, moved, unknown }
    }

    /// Keeps these tokens, by their numbers.
    fn keep(&mut self, kept: &[u32], scores: Option<&[f64]>) {
        let mut new_of = vec![Trie::NONE; self.pieces.len()];
        kept.iter().zip(0..).for_each(|(old, new)| new_of[*old as usize] = new);
        let pieces = kept.iter().enumerate().map(|(index, old)| {
            let (piece, score) = std::mem::take(&mut self.pieces[*old as usize]);
            (piece, scores.map_or(score, |scores| scores[index]))
        });
        let pieces: Vec<_> = pieces.collect();
        if pieces.len() * 2 < self.moved.len() {
            *self = Self::new(pieces);
            return;
        }
        for moved in &mut self.moved {
            *moved = new_of.get(*moved as usize).copied().unwrap_or(Trie::NONE);
        }
        self.unknown = pieces.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min) - UNKNOWN_PENALTY;
        self.pieces = pieces;
    }

    /// All tokens of a word, in the order of where they begin.
    fn edges(&self, word: &str, edges: &mut Vec<Edge>) {
        edges.clear();
        for (begin, character) in word.char_indices() {
            let mut single = false;
            self.trie.prefixes(&word.as_bytes()[begin..], |length, value| {
                let piece = self.moved[value as usize];
                if piece != Trie::NONE {
                    single |= length == character.len_utf8();
                    edges.push((begin as u32, (begin + length) as u32, Some(piece)));
                }
            });
            if !single {
                edges.push((begin as u32, (begin + character.len_utf8()) as u32, None));
            }
        }
    }

    fn score(&self, piece: Option<u32>) -> f64 {
        piece.map_or(self.unknown, |piece| self.pieces[piece as usize].1)
    }

    /// How often each token is expected.
    fn expect(&self, texts: &[Word]) -> Vec<f64> {
        let probabilities: Vec<f64> = self.pieces.iter().map(|(_, score)| score.exp()).collect();
        let parts = texts.par_chunks(texts.len().div_ceil(PARTS).max(1)).map(|part| {
            let mut expected = vec![0.0; self.pieces.len()];
            let (mut edges, mut forward, mut backward) = (Vec::new(), Vec::new(), Vec::new());
            for (word, count) in part {
                self.edges(word, &mut edges);
                if word.len() <= LINEAR_CHARACTERS_MAX * 4 && word.chars().count() <= LINEAR_CHARACTERS_MAX {
                    let unknown = self.unknown.exp();
                    let probability = |piece: Option<u32>| piece.map_or(unknown, |piece| probabilities[piece as usize]);
                    linear(&edges, word.len(), *count, probability, &mut forward, &mut backward, &mut expected);
                } else {
                    let score = |piece| self.score(piece);
                    logarithmic(&edges, word.len(), *count, score, &mut forward, &mut backward, &mut expected);
                }
            }
            expected
        });
        let parts: Vec<Vec<f64>> = parts.collect();
        let mut sum = vec![0.0; self.pieces.len()];
        for part in parts {
            sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
        sum
    }

    /// Scores from expectations, with the sparse prior of Liang and Klein (ACL 2007).
    fn maximise(&mut self, expected: &[f64]) {
        let kept: Vec<u32> = (0..expected.len() as u32).filter(|i| expected[*i as usize] >= EXPECTED_MIN).collect();
        let sum: f64 = kept.iter().map(|index| expected[*index as usize]).sum();
        let logarithm = digamma(sum);
        let scores: Vec<f64> = kept.iter().map(|index| digamma(expected[*index as usize]) - logarithm).collect();
        self.keep(&kept, Some(&scores));
    }

    /// The best segmentation; `whole`: a token may be the whole word.
    fn best(&self, word: &str, whole: bool, edges: &mut Vec<Edge>, best: &mut Vec<(f64, Edge)>) -> f64 {
        self.edges(word, edges);
        let none = (f64::NEG_INFINITY, (0, 0, None));
        best.clear();
        best.resize(word.len() + 1, none);
        best[0].0 = 0.0;
        for edge in edges.iter() {
            let length = (edge.1 - edge.0) as usize;
            let score = best[edge.0 as usize].0 + self.score(edge.2);
            if score > best[edge.1 as usize].0 && (whole || length < word.len()) {
                best[edge.1 as usize] = (score, *edge);
            }
        }
        best[word.len()].0
    }

    /// Gives the tokens of the segmentation that [`Pieces::best`] found, the last first.
    fn walk(best: &[(f64, Edge)], mut found: impl FnMut(Option<u32>)) {
        let mut end = best.len() - 1;
        while end > 0 {
            let (begin, _, piece) = best[end].1;
            found(piece);
            end = begin as usize;
        }
    }

    /// How often each token is in the best segmentation of a word; the last: unknown characters.
    fn frequencies(&self, texts: &[Word]) -> Vec<f64> {
        let parts = texts.par_chunks(texts.len().div_ceil(PARTS).max(1)).map(|part| {
            let mut frequencies = vec![0.0; self.pieces.len() + 1];
            let (mut edges, mut best) = (Vec::new(), Vec::new());
            for (word, count) in part {
                self.best(word, true, &mut edges, &mut best);
                let unknown = self.pieces.len();
                Self::walk(&best, |piece| frequencies[piece.map_or(unknown, |piece| piece as usize)] += count);
            }
            frequencies
        });
        let parts: Vec<Vec<f64>> = parts.collect();
        let mut sum = vec![0.0; self.pieces.len() + 1];
        for part in parts {
            sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
        sum
    }

    /// Removes the tokens without which the likelihood falls the least, by what they would be split into.
    fn prune(&mut self, texts: &[Word], wanted: usize) {
        let frequencies = self.frequencies(texts);
        let sum: f64 = frequencies.iter().sum();
        let all: f64 = texts.iter().map(|(_, count)| count).sum();
        let fate = |index: u32| -> Option<f64> {
            let (piece, score) = &self.pieces[index as usize];
            let frequency = frequencies[index as usize];
            let (mut edges, mut best) = (Vec::new(), Vec::new());
            let other = self.best(piece, false, &mut edges, &mut best);
            if other == f64::NEG_INFINITY {
                // A character, which has no other way.
                return Some(f64::INFINITY);
            }
            if other > *score {
                return if frequency == 0.0 { None } else { Some(f64::INFINITY) };
            }
            if frequency == 0.0 {
                return None;
            }
            let mut parts = Vec::new();
            Self::walk(&best, |piece| parts.push(piece.map_or(self.pieces.len(), |piece| piece as usize)));
            let after = (sum + frequency * (parts.len() as f64 - 1.0)).ln();
            let alternative: f64 = parts.iter().map(|part| (frequencies[*part] + frequency).ln() - after).sum();
            Some(frequency / all * (frequency.ln() - sum.ln() - alternative))
        };
        let fates: Vec<Option<f64>> = (0..self.pieces.len() as u32).into_par_iter().map(fate).collect();
        let target = wanted.max((self.pieces.len() as f64 * SHRINK) as usize);
        let of = |keep: fn(f64) -> bool| {
            (0_u32..)
                .zip(&fates)
                .filter_map(move |(index, fate)| fate.filter(|loss| keep(*loss)).map(|loss| (index, loss)))
        };
        let mut kept: Vec<u32> = of(f64::is_infinite).map(|(index, _)| index).collect();
        let mut candidates: Vec<(u32, f64)> = of(f64::is_finite).collect();
        candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
        kept.extend(candidates.iter().take(target.saturating_sub(kept.len())).map(|(index, _)| *index));
        self.keep(&kept, None);
    }
}

/// Expectations by forward and backward sums of probabilities.
fn linear(
    edges: &[Edge],
    length: usize,
    count: f64,
    probability: impl Fn(Option<u32>) -> f64,
    forward: &mut Vec<f64>,
    backward: &mut Vec<f64>,
    expected: &mut [f64],
) {
    for sums in [&mut *forward, &mut *backward] {
        sums.clear();
        sums.resize(length + 1, 0.0);
    }
    (forward[0], backward[length]) = (1.0, 1.0);
    for (begin, end, piece) in edges {
        forward[*end as usize] += forward[*begin as usize] * probability(*piece);
    }
    let scale = count / forward[length];
    for (begin, end, piece) in edges.iter().rev() {
        let rest = probability(*piece) * backward[*end as usize];
        backward[*begin as usize] += rest;
        if let Some(piece) = piece {
            expected[*piece as usize] += forward[*begin as usize] * rest * scale;
        }
    }
}

/// The same with logarithms, for words whose probability is too small for a number.
fn logarithmic(
    edges: &[Edge],
    length: usize,
    count: f64,
    score: impl Fn(Option<u32>) -> f64,
    forward: &mut Vec<f64>,
    backward: &mut Vec<f64>,
    expected: &mut [f64],
) {
    let add = |sum: &mut f64, value: f64| {
        let (low, high) = if *sum < value { (*sum, value) } else { (value, *sum) };
        *sum = if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() };
    };
    for sums in [&mut *forward, &mut *backward] {
        sums.clear();
        sums.resize(length + 1, f64::NEG_INFINITY);
    }
    (forward[0], backward[length]) = (0.0, 0.0);
    for (begin, end, piece) in edges {
        let value = forward[*begin as usize] + score(*piece);
        add(&mut forward[*end as usize], value);
    }
    for (begin, end, piece) in edges.iter().rev() {
        let rest = score(*piece) + backward[*end as usize];
        add(&mut backward[*begin as usize], rest);
        if let Some(piece) = piece {
            expected[*piece as usize] += count * (forward[*begin as usize] + rest - forward[length]).exp();
        }
    }
}

/// The logarithmic derivative of the gamma function, by its asymptotic series behind 7.
fn digamma(mut x: f64) -> f64 {
    let mut result = 0.0;
    while x < 7.0 {
        result -= 1.0 / x;
        x += 1.0;
    }
    x -= 0.5;
    let square = 1.0 / (x * x);
    let fourth = square * square;
    result + x.ln() + square / 24.0 - 7.0 / 960.0 * fourth + 31.0 / 8064.0 * fourth * square
        - 127.0 / 30720.0 * fourth * fourth
}

/// The model's part of the file: special tokens, all characters, and as many tokens as there is room for, the likeliest
/// first.
fn finalise(model: &Pieces, required: &std::collections::BTreeSet<char>, room: usize, config: &TrainerConfig) -> Value {
    let known: std::collections::HashMap<&str, f64> =
        model.pieces.iter().map(|(piece, score)| (piece.as_str(), *score)).collect();
    let worst = model.pieces.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
    let worst = if worst.is_finite() { worst } else { 0.0 };
    let mut missing = 0.0;
    let mut pieces: Vec<(String, f64)> = Vec::new();
    for character in required {
        let text = character.to_string();
        let score = known.get(text.as_str()).copied().unwrap_or_else(|| {
            missing += 1.0;
            worst + 0.0001 * (missing - 1.0)
        });
        pieces.push((text, score));
    }
    let taken: std::collections::HashSet<String> =
        pieces.iter().map(|(piece, _)| piece.clone()).chain(config.special_tokens.iter().cloned()).collect();
    let others = model.pieces.iter().filter(|(piece, _)| !taken.contains(piece));
    pieces.extend(others.take(room - required.len()).cloned());
    pieces.sort_by(|a, b| b.1.total_cmp(&a.1));
    let special = config.special_tokens.iter().map(|token| json!([token, 0.0]));
    let vocabulary: Vec<Value> = special.chain(pieces.iter().map(|(piece, score)| json!([piece, score]))).collect();
    let unknown = config.special_tokens.iter().position(|token| token == "<unk>");
    json!({ "type": "Unigram", "unk_id": unknown, "vocab": vocabulary, "byte_fallback": false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digamma_has_its_known_values() {
        // Abramowitz and Stegun, table 6.1; ψ(1) is minus Euler's constant.
        for (x, value) in
            [(1.0, -0.577_215_664_9), (2.0, 0.422_784_335_1), (0.5, -1.963_510_026_0), (10.0, 2.251_752_589_1)]
        {
            assert!((digamma(x) - value).abs() < 1e-6, "{x}: {}", digamma(x));
        }
    }

    #[test]
    fn both_ways_to_add_probabilities_agree() {
        let pieces = [("a", -1.5), ("b", -2.0), ("ab", -1.0), ("ba", -2.5), ("aba", -3.0)];
        let model = Pieces::new(pieces.iter().map(|(piece, score)| ((*piece).to_owned(), *score)).collect());
        let (mut edges, mut one, mut other) = (Vec::new(), Vec::new(), Vec::new());
        model.edges("abaxab", &mut edges);
        let (mut by_numbers, mut by_logarithms) = (vec![0.0; 5], vec![0.0; 5]);
        linear(&edges, 6, 3.0, |piece| model.score(piece).exp(), &mut one, &mut other, &mut by_numbers);
        logarithmic(&edges, 6, 3.0, |piece| model.score(piece), &mut one, &mut other, &mut by_logarithms);
        for (a, b) in by_numbers.iter().zip(&by_logarithms) {
            assert!((a - b).abs() < 1e-9, "{by_numbers:?} {by_logarithms:?}");
        }
        // Five characters are covered three times; what covers the unknown one is no token.
        let covered: f64 = by_numbers.iter().zip(&pieces).map(|(n, (piece, _))| n * piece.len() as f64).sum();
        assert!((covered - 15.0).abs() < 1e-9);
    }
}
