//! Tokens by their numbers and numbers by their tokens.

use std::collections::HashMap;

use serde_json::Value;

use crate::error::TokenizerError;

/// The most tokens of a model.
const TOKENS_MAX: usize = 1 << 24;

/// The vocabulary of a model. The names are what strangers chose: the map has the standard hash.
#[derive(Debug, Default)]
pub(crate) struct Vocabulary {
    tokens: Vec<Option<Box<str>>>,
    ids: HashMap<Box<str>, u32>,
}

impl Vocabulary {
    /// Reads `{"token": number, …}`.
    pub fn of_map(json: &Value) -> Result<Self, TokenizerError> {
        let map = json.as_object().ok_or_else(|| TokenizerError::damaged("its vocab is no map"))?;
        // Numbers may have gaps, but not so many that a few tokens take all memory.
        let most = (map.len() * 2 + (1 << 16)).min(TOKENS_MAX) as u64;
        let mut new = Self { tokens: Vec::new(), ids: HashMap::with_capacity(map.len()) };
        for (token, id) in map {
            let Some(id) = id.as_u64().filter(|id| *id < most) else {
                return Err(TokenizerError::damaged(format!("the token {token:?} has the number {id}")));
            };
            new.insert(token.as_str().into(), id as u32)?;
        }
        Ok(new)
    }

    /// The vocabulary of tokens in their order; of equal ones the last has the name.
    pub fn of_list(tokens: Vec<String>) -> Result<Self, TokenizerError> {
        if tokens.len() > TOKENS_MAX {
            return Err(TokenizerError::damaged(format!("it has {} tokens, more than {TOKENS_MAX}", tokens.len())));
        }
        let ids = tokens.iter().zip(0..).map(|(token, id)| (token.as_str().into(), id)).collect();
        Ok(Self { tokens: tokens.into_iter().map(|token| Some(token.into())).collect(), ids })
    }

    /// The vocabulary of tokens in their order; of equal ones the first has the name.
    pub fn of_words(words: &[String]) -> Result<Self, TokenizerError> {
        if words.len() > TOKENS_MAX {
            return Err(TokenizerError::damaged(format!("it has {} tokens, more than {TOKENS_MAX}", words.len())));
        }
        let mut ids = HashMap::with_capacity(words.len());
        for (word, id) in words.iter().zip(0..) {
            ids.entry(word.as_str().into()).or_insert(id);
        }
        Ok(Self { tokens: words.iter().map(|word| Some(word.as_str().into())).collect(), ids })
    }

    /// Adds a token, whose number no other may have.
    pub fn insert(&mut self, token: Box<str>, id: u32) -> Result<(), TokenizerError> {
        if self.tokens.len() <= id as usize {
            self.tokens.resize(id as usize + 1, None);
        }
        let slot = &mut self.tokens[id as usize];
        if let Some(other) = slot {
            return Err(TokenizerError::damaged(format!(
                "the tokens {other:?} and {token:?} have the same number {id}"
            )));
        }
        *slot = Some(token.clone());
        self.ids.insert(token, id);
        Ok(())
    }

    pub fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    pub fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize)?.as_deref()
    }

    /// One more than the largest number.
    pub fn size(&self) -> usize {
        self.tokens.len()
    }

    /// How many tokens there are.
    pub fn count(&self) -> usize {
        self.tokens.iter().flatten().count()
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.tokens.iter().zip(0..).filter_map(|(token, id)| Some((id, token.as_deref()?)))
    }

    /// The tokens `<0x00>` to `<0xFF>`; `u32::MAX` where there is none.
    pub fn byte_tokens(&self) -> Box<[u32; 256]> {
        let mut tokens = Box::new([u32::MAX; 256]);
        for (byte, token) in tokens.iter_mut().enumerate() {
            *token = self.id(&format!("<0x{byte:02X}>")).unwrap_or(u32::MAX);
        }
        tokens
    }
}
