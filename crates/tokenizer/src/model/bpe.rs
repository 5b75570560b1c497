//! Byte pair encoding (Sennrich et al. 2016): neighbours are joined, the earliest learned first, the leftmost of equals.
//!
//! Short words scan for the best pair; long ones keep a heap, so that a word of any length takes O(n log n).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde_json::Value;

use super::pairs::{NEVER, Pairs};
use crate::error::TokenizerError;
use crate::hash::FastMap;
use crate::json::{list, optional_flag, optional_text};
use crate::trie::Trie;
use crate::vocabulary::Vocabulary;

/// The longest word that is scanned, in symbols.
const SCAN_MAX: usize = 48;
const NONE: u32 = u32::MAX;
/// SentencePiece's mark of a space.
const MARK: &str = "\u{2581}";

/// The model.
#[derive(Debug)]
pub(crate) struct Bpe {
    first: First,
    unknown: Option<u32>,
    fuse_unknown: bool,
    pairs: Pairs,
    /// Words that are tokens as they are, whatever the merges say.
    whole: Option<Trie>,
    cuts_at_marks: bool,
}

/// The symbols that a word begins as.
#[derive(Debug)]
enum First {
    Bytes(Box<[u32; 256]>),
    Characters { tokens: FastMap<char, u32>, bytes: Option<Box<[u32; 256]>> },
}

/// Buffers for one word.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    symbols: Vec<u32>,
    values: Vec<u64>,
    before: Vec<u32>,
    behind: Vec<u32>,
    heap: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Bpe {
    pub fn read(json: &Value, vocabulary: &Vocabulary, byte_level: bool) -> Result<Self, TokenizerError> {
        for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
            if optional_text(json, key)?.is_some_and(|text| !text.is_empty()) {
                return Err(TokenizerError::unsupported(format!("{key} of a BPE model")));
            }
        }
        if !json["dropout"].is_null() && json["dropout"].as_f64() != Some(0.0) {
            return Err(TokenizerError::unsupported("dropout"));
        }
        let unknown =
            match optional_text(json, "unk_token")? {
                None => None,
                Some(token) => Some(vocabulary.id(token).ok_or_else(|| {
                    TokenizerError::damaged(format!("its unk_token {token:?} is not in the vocabulary"))
                })?),
            };
        let flag = |key| Ok::<_, TokenizerError>(optional_flag(json, key)?.unwrap_or(false));
        let first = first_symbols(vocabulary, byte_level, flag("byte_fallback")?)?;
        let merges = read_merges(json, vocabulary)?;
        let whole = if flag("ignore_merges")? { Some(whole_words(vocabulary, byte_level)) } else { None };
        let cuts_at_marks =
            !byte_level && whole.is_none() && vocabulary.id(MARK).is_some() && !joins_over_marks(&merges, vocabulary);
        let pairs = Pairs::new(&merges);
        Ok(Self { first, unknown, fuse_unknown: flag("fuse_unk")?, pairs, whole, cuts_at_marks })
    }

    /// The model of byte-level words with these merges, each two tokens with a space between; `whole`: a word that is a
    /// token is that token, whatever the merges say.
    pub fn of_bytes(merges: &[String], whole: bool, vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        let mut joined = String::new();
        let merges = merges.iter().map(|merge| {
            let damaged = || TokenizerError::damaged(format!("{merge:?} is no merge"));
            let (left, right) = merge.split_once(' ').ok_or_else(damaged)?;
            merged(left, right, vocabulary, &mut joined)
        });
        Ok(Self {
            first: first_symbols(vocabulary, true, false)?,
            unknown: None,
            fuse_unknown: false,
            pairs: Pairs::new(&merges.collect::<Result<Vec<_>, _>>()?),
            whole: whole.then(|| whole_words(vocabulary, true)),
            cuts_at_marks: false,
        })
    }

    /// The mark before which any word may be cut without changing its tokens, if there is one.
    #[inline]
    pub fn cuts_at(&self) -> Option<&'static str> {
        self.cuts_at_marks.then_some(MARK)
    }

    #[inline]
    pub(super) fn encode(&self, word: &str, buffers: &mut Buffers, out: &mut Vec<u32>) {
        if let Some(token) = self.whole.as_ref().and_then(|whole| whole.get(word.as_bytes())) {
            out.push(token);
            return;
        }
        buffers.symbols.clear();
        self.begin(word, &mut buffers.symbols);
        if buffers.symbols.len() <= SCAN_MAX {
            self.scan(buffers);
        } else {
            self.climb(buffers);
        }
        out.extend_from_slice(&buffers.symbols);
    }

    fn begin(&self, word: &str, symbols: &mut Vec<u32>) {
        let mut pending = None;
        match &self.first {
            First::Bytes(tokens) => {
                for byte in word.bytes() {
                    self.symbol(tokens[byte as usize], &mut pending, symbols);
                }
            }
            First::Characters { tokens, bytes } => {
                for character in word.chars() {
                    let token = tokens.get(&character).copied().unwrap_or(NONE);
                    let spelled = bytes.as_deref().filter(|_| token == NONE).and_then(|bytes| {
                        let mut buffer = [0; 4];
                        let spelled = character.encode_utf8(&mut buffer).bytes().map(|byte| bytes[byte as usize]);
                        let spelled: Vec<u32> = spelled.collect();
                        spelled.iter().all(|token| *token != NONE).then_some(spelled)
                    });
                    match spelled {
                        // Hugging Face does not let an unknown that waits go first.
                        Some(spelled) => symbols.extend(spelled),
                        None => self.symbol(token, &mut pending, symbols),
                    }
                }
            }
        }
        symbols.extend(pending);
    }

    /// Unknown symbols wait for the next, with which they may be one.
    #[inline]
    fn symbol(&self, token: u32, pending: &mut Option<u32>, symbols: &mut Vec<u32>) {
        if token != NONE {
            symbols.extend(pending.take());
            symbols.push(token);
        } else if let Some(unknown) = self.unknown {
            if !self.fuse_unknown {
                symbols.extend(pending.take());
            }
            *pending = Some(unknown);
        }
    }

    /// Joins by looking for the best pair over and over.
    fn scan(&self, buffers: &mut Buffers) {
        let Buffers { symbols, values, .. } = buffers;
        values.clear();
        values.extend(symbols.windows(2).map(|pair| self.pairs.get(pair[0], pair[1])));
        loop {
            let (mut best, mut at) = (NEVER, 0);
            for (index, value) in values.iter().enumerate() {
                if *value < best {
                    (best, at) = (*value, index);
                }
            }
            if best == NEVER {
                return;
            }
            symbols[at] = best as u32;
            symbols.remove(at + 1);
            values.remove(at);
            if at > 0 {
                values[at - 1] = self.pairs.get(symbols[at - 1], symbols[at]);
            }
            if at + 1 < symbols.len() {
                values[at] = self.pairs.get(symbols[at], symbols[at + 1]);
            }
        }
    }

    /// Joins by a heap of pairs; what became of a pair since shows by its value.
    fn climb(&self, buffers: &mut Buffers) {
        let Buffers { symbols, values, before, behind, heap } = buffers;
        let count = symbols.len() as u32;
        before.clear();
        before.extend((0..count).map(|index| index.wrapping_sub(1)));
        behind.clear();
        behind.extend(1..=count);
        values.clear();
        values.extend(symbols.windows(2).map(|pair| self.pairs.get(pair[0], pair[1])));
        values.push(NEVER);
        heap.clear();
        let offers = values.iter().zip(0..).filter(|(value, _)| **value != NEVER);
        heap.extend(offers.map(|(value, index)| Reverse((*value, index))));
        while let Some(Reverse((value, left))) = heap.pop() {
            if values[left as usize] != value {
                continue;
            }
            let right = behind[left as usize];
            let next = behind[right as usize];
            symbols[left as usize] = value as u32;
            symbols[right as usize] = NONE;
            values[right as usize] = NEVER;
            behind[left as usize] = next;
            values[left as usize] = NEVER;
            if next < count {
                before[next as usize] = left;
                self.offer(left, next, symbols, values, heap);
            }
            let previous = before[left as usize];
            if previous < count {
                self.offer(previous, left, symbols, values, heap);
            }
        }
        symbols.retain(|symbol| *symbol != NONE);
    }

    fn offer(
        &self,
        left: u32,
        right: u32,
        symbols: &[u32],
        values: &mut [u64],
        heap: &mut BinaryHeap<Reverse<(u64, u32)>>,
    ) {
        let value = self.pairs.get(symbols[left as usize], symbols[right as usize]);
        values[left as usize] = value;
        if value != NEVER {
            heap.push(Reverse((value, left)));
        }
    }
}

fn first_symbols(vocabulary: &Vocabulary, byte_level: bool, fallback: bool) -> Result<First, TokenizerError> {
    if byte_level {
        let mut bytes = Box::new([NONE; 256]);
        for byte in 0..=255 {
            let name = crate::alphabet::character(byte).to_string();
            bytes[byte as usize] = vocabulary.id(&name).unwrap_or(NONE);
        }
        if fallback && bytes.contains(&NONE) {
            return Err(TokenizerError::unsupported("byte_fallback with ByteLevel and bytes without tokens"));
        }
        return Ok(First::Bytes(bytes));
    }
    let single = |(id, token): (u32, &str)| {
        let mut characters = token.chars();
        characters.next().filter(|_| characters.next().is_none()).map(|character| (character, id))
    };
    let tokens = vocabulary.iter().filter_map(single).collect();
    let bytes = fallback.then(|| vocabulary.byte_tokens());
    Ok(First::Characters { tokens, bytes })
}

/// The merges as `(left, right, joined)`, in the file either pairs or texts with a space between.
fn read_merges(json: &Value, vocabulary: &Vocabulary) -> Result<Vec<(u32, u32, u32)>, TokenizerError> {
    let mut joined = String::new();
    let mut merges = Vec::new();
    for merge in list(json, "merges")? {
        let damaged = || TokenizerError::damaged(format!("{merge} is no merge"));
        let (left, right) = match merge {
            Value::String(merge) if merge.starts_with("#version") => continue,
            Value::String(merge) => merge.split_once(' ').ok_or_else(damaged)?,
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(left), Value::String(right)] => (left.as_str(), right.as_str()),
                _ => return Err(damaged()),
            },
            _ => return Err(damaged()),
        };
        if left.is_empty() || right.is_empty() || merge.is_string() && right.contains(' ') {
            return Err(damaged());
        }
        merges.push(merged(left, right, vocabulary, &mut joined)?);
    }
    Ok(merges)
}

/// A merge by the numbers of its parts and of what they join to; `joined` is a buffer.
fn merged(
    left: &str,
    right: &str,
    vocabulary: &Vocabulary,
    joined: &mut String,
) -> Result<(u32, u32, u32), TokenizerError> {
    joined.clear();
    joined.push_str(left);
    joined.push_str(right);
    let id = |token: &str| {
        let what = || format!("its merge of {left:?} and {right:?} has a token that does not exist: {token:?}");
        vocabulary.id(token).ok_or_else(|| TokenizerError::damaged(what()))
    };
    Ok((id(left)?, id(right)?, id(joined)?))
}

/// Whether a merge has a mark behind anything else than marks.
fn joins_over_marks(merges: &[(u32, u32, u32)], vocabulary: &Vocabulary) -> bool {
    merges.iter().any(|(_, _, token)| {
        let token = vocabulary.token(*token).unwrap_or_default();
        token.trim_start_matches(MARK).contains(MARK)
    })
}

/// Every token as the word that it is; of equal ones, the one that has the name.
fn whole_words(vocabulary: &Vocabulary, byte_level: bool) -> Trie {
    let words: Vec<(Vec<u8>, u32)> = vocabulary
        .iter()
        .filter(|(id, token)| vocabulary.id(token) == Some(*id))
        .filter_map(|(id, token)| {
            let bytes = if byte_level { crate::alphabet::bytes(token)? } else { token.as_bytes().to_vec() };
            Some((bytes, id))
        })
        .collect();
    Trie::new(words.iter().map(|(word, id)| (word.as_slice(), *id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_equal_words_that_are_tokens_the_first_counts() {
        let words: Vec<String> = ["a", "b", "ab", "ab", ""].map(str::to_owned).to_vec();
        let vocabulary = Vocabulary::of_words(&words).unwrap();
        let model = Bpe::of_bytes(&[], true, &vocabulary).unwrap();
        let mut out = Vec::new();
        model.encode("ab", &mut Buffers::default(), &mut out);
        assert_eq!(out, [2]);
        for merge in ["ab", "a c", "a  b"] {
            assert!(Bpe::of_bytes(&[merge.to_owned()], false, &vocabulary).is_err(), "{merge:?}");
        }
    }

    proptest! {
        #[test]
        fn the_scan_and_the_heap_join_alike(
            merges in proptest::collection::vec((0_u32..6, 0_u32..6), 1..12),
            symbols in proptest::collection::vec(0_u32..4, 0..90),
        ) {
            // A joined token has a number of its own, as a string has.
            let merges: Vec<(u32, u32, u32)> = (4..).zip(merges).map(|(id, (left, right))| (left, right, id)).collect();
            let bpe = Bpe {
                first: First::Bytes(Box::new([NONE; 256])),
                unknown: None,
                fuse_unknown: false,
                pairs: Pairs::new(&merges),
                whole: None,
                cuts_at_marks: false,
            };
            let mut one = Buffers { symbols: symbols.clone(), ..Buffers::default() };
            let mut other = Buffers { symbols, ..Buffers::default() };
            bpe.scan(&mut one);
            if !other.symbols.is_empty() {
                bpe.climb(&mut other);
            }
            prop_assert_eq!(one.symbols, other.symbols);
        }
    }
}
