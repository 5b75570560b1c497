//! Substrings that come more than once: the inner nodes of a suffix tree over words, by way of a suffix array.
//!
//! Only substrings within a word and up to a length are wanted, so suffixes are compared no further than that: it makes
//! the array by plain sorting, in parallel, and never slow on repetitive text.

use rayon::prelude::*;

/// A substring by where it stands, and how often it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeat {
    pub begin: u32,
    pub length: u32,
    pub count: u32,
}

/// All substrings of 2 to `length_max` characters that come at least twice and that two different characters (or ends of
/// words) follow. `text`: words of characters, a zero behind each.
pub(super) fn repeats(text: &[u32], length_max: usize) -> Vec<Repeat> {
    let mut suffixes: Vec<u32> = (0..text.len() as u32).filter(|index| text[*index as usize] != 0).collect();
    suffixes.par_sort_unstable_by(|a, b| compare(text, *a, *b, length_max + 1).1.then(a.cmp(b)));
    // Twice the length that neighbours share, and one more if they share the end of a word: then they have more in
    // common than that length, and less than one character more.
    let shared = |pair: &[u32]| compare(text, pair[0], pair[1], length_max + 1).0;
    let shared: Vec<u32> = suffixes.par_windows(2).map(shared).collect();
    let mut found = Vec::new();
    let mut open: Vec<(u32, u32)> = Vec::new();
    for index in 0..suffixes.len() {
        // What the suffix shares with the next one; the last shares nothing.
        let next = shared.get(index).copied().unwrap_or(0);
        let mut begin = index as u32;
        while let Some((depth, first)) = open.last().copied().filter(|(depth, _)| *depth > next) {
            open.pop();
            begin = first;
            let length = depth / 2;
            if depth % 2 == 0 && (2..=length_max as u32).contains(&length) {
                found.push(Repeat { begin: suffixes[first as usize], length, count: index as u32 + 1 - first });
            }
        }
        if open.last().is_none_or(|(depth, _)| *depth < next) {
            open.push((next, begin));
        }
    }
    found
}

/// How much two suffixes share, as [`repeats`] counts it, and their order; no more than so many characters are read.
fn compare(text: &[u32], a: u32, b: u32, most: usize) -> (u32, std::cmp::Ordering) {
    let (a, b) = (&text[a as usize..], &text[b as usize..]);
    for index in 0..most.min(a.len()).min(b.len()) {
        if a[index] != b[index] {
            return (index as u32 * 2, a[index].cmp(&b[index]));
        }
        if a[index] == 0 {
            return (index as u32 * 2 + 1, std::cmp::Ordering::Equal);
        }
    }
    (most as u32 * 2, std::cmp::Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #[test]
        fn they_are_those_of_a_search_of_all_substrings(
            words in proptest::collection::vec(proptest::collection::vec(1_u32..4, 1..9), 1..8), most in 2_usize..6,
        ) {
            let text: Vec<u32> = words.iter().flat_map(|word| word.iter().copied().chain([0])).collect();
            let mut all: BTreeMap<Vec<u32>, (u32, BTreeSet<u32>)> = BTreeMap::new();
            for begin in 0..text.len() {
                for length in 2..=most {
                    let Some(part) = text.get(begin..begin + length) else { continue };
                    if !part.contains(&0) {
                        let entry = all.entry(part.to_vec()).or_default();
                        entry.0 += 1;
                        entry.1.insert(text[begin + length]);
                    }
                }
            }
            all.retain(|_, (_, behind)| behind.len() > 1);
            let wanted: BTreeMap<Vec<u32>, u32> = all.into_iter().map(|(part, (count, _))| (part, count)).collect();
            let found = repeats(&text, most);
            let part = |repeat: &Repeat| text[repeat.begin as usize..(repeat.begin + repeat.length) as usize].to_vec();
            prop_assert_eq!(found.len(), wanted.len());
            prop_assert_eq!(found.iter().map(|one| (part(one), one.count)).collect::<BTreeMap<_, _>>(), wanted);
        }
    }
}
