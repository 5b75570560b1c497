//! Sentences, as spaCy's rule-based sentencizer finds them among the tokens.

use crate::classes::{Classes, PUNCTUATION, SENTENCE_END, classes};
use crate::tokens::{Token, TokenKind};

/// Walks over tokens and says which of them start a sentence.
#[derive(Clone, Copy, Default)]
pub struct SentenceState {
    begun: bool,
    ended: bool,
}

impl SentenceState {
    /// Whether this token, which follows all those shown before, starts a sentence. After a token that ends
    /// one, the first that is no punctuation does, white space included.
    #[inline]
    pub fn starts(&mut self, token: Token, text: &str) -> bool {
        if token.kind != TokenKind::Mixed {
            let starts = self.ended || !self.begun;
            *self = Self { begun: true, ended: false };
            return starts;
        }
        self.mixed_starts(token.of(text), classes())
    }

    fn mixed_starts(&mut self, token: &str, classes: &Classes) -> bool {
        let first = !self.begun;
        self.begun = true;
        let mut characters = token.chars();
        let alone = characters.next().filter(|_| characters.next().is_none());
        let ends = alone.is_some_and(|character| classes.is(character, SENTENCE_END));
        if ends {
            self.ended = true;
            return first;
        }
        if self.ended && !token.chars().all(|character| classes.is(character, PUNCTUATION)) {
            self.ended = false;
            return true;
        }
        first
    }
}

/// Where the sentences of a text start, in bytes; never empty, the first is 0. Together the pieces between are
/// the whole text, as in datatrove's `split_into_sentences`.
pub fn sentence_starts(text: &str, tokens: &[Token]) -> Vec<usize> {
    let mut state = SentenceState::default();
    let mut starts = vec![0];
    let mut end = 0;
    for (index, token) in tokens.iter().enumerate() {
        if state.starts(*token, text) && index > 0 {
            starts.push(end);
        }
        end = token.end as usize;
    }
    starts
}
