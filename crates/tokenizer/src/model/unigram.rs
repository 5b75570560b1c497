//! The unigram model (Kudo 2018): the segmentation whose tokens' log probabilities add up to the most, by Viterbi.

use serde_json::Value;

use crate::error::TokenizerError;
use crate::json::{list, optional_flag};
use crate::trie::Trie;
use crate::vocabulary::Vocabulary;

/// How much worse than the worst token an unknown character is (SentencePiece, `unigram_model.cc`).
const UNKNOWN_PENALTY: f64 = 10.0;

/// The model.
#[derive(Debug)]
pub(crate) struct Unigram {
    trie: Trie,
    scores: Vec<f64>,
    unknown: Option<u32>,
    unknown_score: f64,
    bytes: Option<Box<[u32; 256]>>,
}

/// Buffers for one word.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    best: Vec<Step>,
    path: Vec<(u32, u32, u32)>,
}

/// The best way to an index of the text.
#[derive(Debug, Clone, Copy)]
struct Step {
    score: f64,
    /// Where its last token begins; `u32::MAX`: there is no way.
    begin: u32,
    token: u32,
}

impl Unigram {
    pub fn read(json: &Value) -> Result<(Self, Vocabulary), TokenizerError> {
        let mut tokens = Vec::new();
        let mut scores = Vec::new();
        for entry in list(json, "vocab")? {
            let pair = entry.as_array().map(Vec::as_slice);
            let Some([Value::String(token), score]) = pair else {
                return Err(TokenizerError::damaged(format!("{entry} is no token with a score")));
            };
            let finite = score.as_f64().filter(|score| score.is_finite());
            scores.push(finite.ok_or_else(|| TokenizerError::damaged(format!("the score of {token:?} is none")))?);
            tokens.push(token.clone());
        }
        let unknown = match &json["unk_id"] {
            Value::Null => None,
            id => {
                let id = id.as_u64().filter(|id| *id < tokens.len() as u64);
                Some(id.ok_or_else(|| TokenizerError::damaged("its unk_id is not in the vocabulary"))? as u32)
            }
        };
        let vocabulary = Vocabulary::of_list(tokens)?;
        let bytes = optional_flag(json, "byte_fallback")?.unwrap_or(false).then(|| vocabulary.byte_tokens());
        let tokens = vocabulary.iter().map(|(id, token)| (token.as_bytes(), id));
        let worst = scores.iter().copied().fold(f64::INFINITY, f64::min);
        let unknown_score = worst - UNKNOWN_PENALTY;
        Ok((Self { trie: Trie::new(tokens), scores, unknown, unknown_score, bytes }, vocabulary))
    }

    pub(super) fn encode(&self, word: &str, buffers: &mut Buffers, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        self.forward(word, &mut buffers.best)?;
        let path = &mut buffers.path;
        path.clear();
        let mut end = word.len() as u32;
        while end > 0 {
            let step = buffers.best[end as usize];
            // Unknown characters beside each other are one.
            match path.last_mut() {
                Some((begin, _, token)) if Some(*token) == self.unknown && step.token == *token => *begin = step.begin,
                _ => path.push((step.begin, end, step.token)),
            }
            end = step.begin;
        }
        for (begin, end, token) in path.iter().rev() {
            if Some(*token) != self.unknown {
                out.push(*token);
                continue;
            }
            let piece = &word.as_bytes()[*begin as usize..*end as usize];
            let spelled = |bytes: &[u32; 256]| piece.iter().all(|byte| bytes[*byte as usize] != u32::MAX);
            match (self.trie.get(piece), &self.bytes) {
                (Some(token), _) => out.push(token),
                (None, Some(bytes)) if spelled(bytes) => {
                    out.extend(piece.iter().map(|byte| bytes[*byte as usize]));
                }
                _ => out.push(*token),
            }
        }
        Ok(())
    }

    /// Fills the best way to every index; of equals the first found stays.
    fn forward(&self, word: &str, best: &mut Vec<Step>) -> Result<(), TokenizerError> {
        let bytes = word.as_bytes();
        best.clear();
        best.resize(bytes.len() + 1, Step { score: 0.0, begin: u32::MAX, token: 0 });
        let offer = |step: &mut Step, score: f64, begin: usize, token: u32| {
            if step.begin == u32::MAX || score > step.score {
                *step = Step { score, begin: begin as u32, token };
            }
        };
        for (begin, character) in word.char_indices() {
            let here = best[begin].score;
            let length = character.len_utf8();
            let mut single = false;
            self.trie.prefixes(&bytes[begin..], |size, token| {
                single |= size == length;
                offer(&mut best[begin + size], self.scores[token as usize] + here, begin, token);
            });
            if !single {
                let step = &mut best[begin + length];
                let score = self.unknown_score + here;
                if step.begin == u32::MAX || score > step.score {
                    let what =
                        || TokenizerError::Encode { what: format!("{character:?} has no token, and none is unknown") };
                    offer(step, score, begin, self.unknown.ok_or_else(what)?);
                }
            }
        }
        Ok(())
    }
}
