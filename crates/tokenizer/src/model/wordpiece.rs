//! WordPiece (Schuster and Nakajima 2012, as in BERT): the longest token that a word begins with, then the longest
//! continuing token, and so on; a word that this does not cover is unknown as a whole.

use serde_json::Value;

use crate::error::TokenizerError;
use crate::json::{number, text};
use crate::trie::Trie;
use crate::vocabulary::Vocabulary;

/// The model.
#[derive(Debug)]
pub(crate) struct WordPiece {
    first: Trie,
    continuing: Trie,
    unknown: u32,
    characters_max: usize,
}

impl WordPiece {
    pub fn read(json: &Value, vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        let unknown = text(json, "unk_token")?;
        let unknown = vocabulary
            .id(unknown)
            .ok_or_else(|| TokenizerError::damaged(format!("its unk_token {unknown:?} is not in the vocabulary")))?;
        let prefix = text(json, "continuing_subword_prefix")?;
        let continuing = vocabulary.iter().filter_map(|(id, token)| Some((token.strip_prefix(prefix)?.as_bytes(), id)));
        Ok(Self {
            first: Trie::new(vocabulary.iter().map(|(id, token)| (token.as_bytes(), id))),
            continuing: Trie::new(continuing),
            unknown,
            characters_max: number(json, "max_input_chars_per_word")? as usize,
        })
    }

    pub(super) fn encode(&self, word: &str, out: &mut Vec<u32>) {
        let begin = out.len();
        let short = word.len() <= self.characters_max || word.chars().count() <= self.characters_max;
        let mut at = if short { 0 } else { usize::MAX };
        while at < word.len() {
            let trie = if at == 0 { &self.first } else { &self.continuing };
            match trie.longest(&word.as_bytes()[at..]) {
                Some((bytes, token)) => {
                    out.push(token);
                    at += bytes;
                }
                None => at = usize::MAX,
            }
        }
        if at == usize::MAX {
            out.truncate(begin);
            out.push(self.unknown);
        }
    }
}
