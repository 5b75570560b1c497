//! Structured output: which tokens may follow, so that the text is JSON of a schema, matches a regular expression, or is
//! a sentence of a grammar. The crate `llguidance` parses and computes; this file is all that knows it.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher as Inner, ParserFactory};

use crate::error::InferError;
use crate::tokenizer::TextTokenizer;

/// The most bytes of a schema, an expression or a grammar.
const BYTES_MAX: usize = 256 << 10;

/// What a text must look like.
#[derive(Debug, Clone, PartialEq)]
pub enum Structure {
    /// Any JSON object.
    Json,
    /// JSON that a JSON Schema allows.
    JsonSchema(serde_json::Value),
    /// A regular expression that matches the whole.
    Regex(String),
    /// A context-free grammar in Lark's notation.
    Grammar(String),
}

/// The structures of one model's tokens.
pub struct Structures(ParserFactory);

impl std::fmt::Debug for Structures {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Structures")
    }
}

/// A text on its way through a structure.
pub struct Matcher(Inner);

impl std::fmt::Debug for Matcher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Matcher")
    }
}

/// Tokens that may follow.
pub(crate) struct Allowed(SimpleVob);

impl Allowed {
    pub(crate) fn allows(&self, token: u32) -> bool {
        (token as usize) < self.0.len() && self.0.is_allowed(token)
    }
}

impl Structures {
    /// Reads the tokens of a model; `end` is the one that ends a text.
    ///
    /// # Errors
    /// [`InferError::Structure`] when the vocabulary cannot be used.
    pub fn new(tokenizer: &TextTokenizer, end: u32) -> Result<Self, InferError> {
        let words: Vec<Vec<u8>> = (0..tokenizer.vocabulary_size() as u32)
            .map(|token| {
                let bytes = tokenizer.token_bytes(token);
                // The byte that stands in no text marks tokens that are no text.
                let special = || [&[TokTrie::SPECIAL_TOKEN_MARKER][..], format!("[{token}]").as_bytes()].concat();
                if bytes.is_empty() { special() } else { bytes.to_vec() }
            })
            .collect();
        let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, end), &words);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new(&env, InferenceCapabilities::default(), &[])
            .map_err(failed("read the vocabulary for"))?;
        factory.quiet();
        Ok(Self(factory))
    }

    /// Begins a text of a structure.
    ///
    /// # Errors
    /// [`InferError::Structure`] when it is too large, no valid schema, expression or grammar, or uses what is not
    /// supported.
    pub fn begin(&self, structure: &Structure) -> Result<Matcher, InferError> {
        let size = match structure {
            Structure::Json => 0,
            Structure::JsonSchema(schema) => schema.to_string().len(),
            Structure::Regex(text) | Structure::Grammar(text) => text.len(),
        };
        if size > BYTES_MAX {
            return Err(failed("use")(format!("it has {size} bytes, more than {BYTES_MAX}")));
        }
        let grammar = match structure {
            Structure::Json => TopLevelGrammar::from_json_schema(serde_json::json!({ "type": "object" })),
            Structure::JsonSchema(schema) => TopLevelGrammar::from_json_schema(schema.clone()),
            Structure::Regex(text) => TopLevelGrammar::from_regex(text),
            Structure::Grammar(text) => TopLevelGrammar::from_lark(text.clone()),
        };
        let inner = Inner::new(self.0.create_parser(grammar));
        match inner.get_error() {
            Some(error) => Err(failed("use")(error)),
            None => Ok(Matcher(inner)),
        }
    }
}

impl Matcher {
    /// What may follow; nothing where the structure is broken.
    pub(crate) fn allowed(&mut self) -> Option<Allowed> {
        self.0.compute_mask_or_eos().ok().map(Allowed)
    }

    /// Goes on by a token; false where it was not allowed.
    pub(crate) fn took(&mut self, token: u32) -> bool {
        self.0.consume_token(token).is_ok()
    }
}

fn failed<E: ToString>(verb: &'static str) -> impl FnOnce(E) -> InferError {
    move |error| InferError::Structure { verb, what: error.to_string() }
}
