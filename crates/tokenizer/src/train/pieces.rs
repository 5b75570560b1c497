//! BPE and WordPiece from word counts: the alphabet, the merges, and the model's part of the file. Hugging Face trains
//! WordPiece as BPE whose continuing tokens begin with `##`, and so is it done here.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use super::merges::{Corpus, Learned, Limits, learn};
use super::words::Words;
use super::{Alphabet, Scheme, TrainerConfig, Watch};
use crate::alphabet;
use crate::error::TokenizerError;

/// Learns the model; `least`: words that came fewer times are left out.
pub(super) fn train(
    words: Words,
    least: u64,
    config: &TrainerConfig,
    byte_level: bool,
    watch: &mut Watch,
) -> Result<Value, TokenizerError> {
    let word_piece = matches!(config.scheme, Scheme::WordPiece { .. });
    let prefix = if word_piece { "##" } else { "" };
    let learned = learn_tokens(words, least, config, byte_level, prefix, &[], watch)?;
    let vocabulary: Map<String, Value> =
        learned.tokens.iter().zip(0_u32..).map(|(token, id)| (token.clone(), id.into())).collect();
    if word_piece {
        return Ok(json!({
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        }));
    }
    // A pair that was joined twice has the rank of the second time.
    let last: HashMap<(u32, u32), usize> = learned.merges.iter().copied().zip(0..).collect();
    let merges: Vec<Value> = learned
        .merges
        .iter()
        .enumerate()
        .filter(|(index, pair)| last.get(pair) == Some(index))
        .map(|(_, (left, right))| json!([learned.tokens[*left as usize], learned.tokens[*right as usize]]))
        .collect();
    let characters = matches!(config.scheme, Scheme::Bpe { alphabet: Alphabet::Characters });
    let unknown = config.special_tokens.first().filter(|_| characters);
    Ok(json!({
        "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        "vocab": vocabulary, "merges": merges,
    }))
}

/// Learns tokens and merges. Continuing characters get their numbers in the order of `continuing`, and those that are
/// not in it in the order of Unicode.
pub(super) fn learn_tokens(
    words: Words,
    least: u64,
    config: &TrainerConfig,
    byte_level: bool,
    prefix: &str,
    continuing: &[char],
    watch: &mut Watch,
) -> Result<Learned, TokenizerError> {
    let mut learned = Learned::default();
    for token in &config.special_tokens {
        learned.id(token);
    }
    let mut texts: Vec<(Box<str>, u64)> = Vec::new();
    let (mut corpus, mut bytes) = (Corpus::default(), [0_u64; 256]);
    let mut characters: BTreeMap<char, (u64, bool)> = BTreeMap::new();
    words.drain(&mut |word, count| {
        if count < least {
            return;
        }
        if byte_level {
            for byte in word {
                bytes[*byte as usize] += count;
                corpus.symbols.push(u32::from(*byte));
            }
            corpus.end_word(count);
        } else {
            let word = String::from_utf8_lossy(word);
            for (index, character) in word.char_indices() {
                let entry = characters.entry(character).or_default();
                entry.0 += count;
                entry.1 |= index > 0;
            }
            texts.push((word.into(), count));
        }
    })?;
    if byte_level {
        // All bytes are tokens, so that nothing is unknown.
        characters = (0..=255).map(|byte| (alphabet::character(byte), (bytes[byte as usize], true))).collect();
    }
    let kept = keep(characters, config, byte_level);
    for character in kept.keys() {
        learned.id(character.encode_utf8(&mut [0; 4]));
    }
    let continues = |character: &char| kept.get(character).copied().unwrap_or(false);
    if !prefix.is_empty() {
        let ordered = continuing.iter().chain(kept.keys()).filter(|character| continues(character));
        for character in ordered {
            learned.id(&format!("{prefix}{character}"));
        }
    }
    if byte_level {
        let ids: Vec<u32> = (0..=255).map(|byte| learned.id(&alphabet::word(&[byte]))).collect();
        corpus.symbols.iter_mut().for_each(|symbol| *symbol = ids[*symbol as usize]);
    }
    spell(texts, &mut corpus, &mut learned, &kept, prefix);
    let limits = Limits {
        vocabulary_size: config.vocabulary_size,
        min_frequency: config.min_frequency,
        max_token_length: config.max_token_length.unwrap_or(usize::MAX),
        prefix,
    };
    learn(corpus, &mut learned, &limits, watch)?;
    Ok(learned)
}

/// The characters that are tokens, and whether any continues a word.
fn keep(mut characters: BTreeMap<char, (u64, bool)>, config: &TrainerConfig, byte_level: bool) -> BTreeMap<char, bool> {
    for character in &config.initial_alphabet {
        characters.entry(*character).or_default().0 = u64::MAX;
    }
    let mut ordered: Vec<(char, (u64, bool))> = characters.into_iter().collect();
    if let Some(limit) = config.limit_alphabet.filter(|_| !byte_level) {
        ordered.sort_by_key(|(character, (count, _))| (std::cmp::Reverse(*count), *character));
        ordered.truncate(limit);
    }
    ordered.into_iter().map(|(character, (_, continues))| (character, continues)).collect()
}

/// Words of characters in symbols; characters that are no tokens are left out.
fn spell(
    texts: Vec<(Box<str>, u64)>,
    corpus: &mut Corpus,
    learned: &mut Learned,
    kept: &BTreeMap<char, bool>,
    prefix: &str,
) {
    let mut ids: HashMap<char, [u32; 2]> = HashMap::with_capacity(kept.len());
    for (character, continues) in kept {
        let plain = learned.id(character.encode_utf8(&mut [0; 4]));
        let behind = if *continues && !prefix.is_empty() { learned.id(&format!("{prefix}{character}")) } else { plain };
        ids.insert(*character, [plain, behind]);
    }
    for (word, count) in texts {
        for (index, character) in word.char_indices() {
            if let Some(symbol) = ids.get(&character) {
                corpus.symbols.push(symbol[usize::from(index > 0)]);
            }
        }
        corpus.end_word(count);
    }
}
