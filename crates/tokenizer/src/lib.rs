//! Tokenizers: training and encoding.
//!
//! [`Tokenizer`] reads any `tokenizer.json` of the usual kinds (byte-level BPE as in GPT-2, Llama 3, Qwen and DeepSeek;
//! SentencePiece's BPE as in Llama 2; WordPiece as in BERT; Unigram as in T5) and gives the numbers that Hugging Face's
//! `tokenizers` gives. Training is in [`train`].
//!
//! It knows nothing of models of language, and of files only `tokenizer.json`.

mod added;
mod alphabet;
mod decode;
mod error;
mod hash;
mod json;
mod model;
mod normalize;
mod post;
mod pretokenize;
mod split;
mod tokenizer;
mod trie;
mod unicode;
mod vocabulary;

pub mod train;

pub use error::TokenizerError;
pub use tokenizer::Tokenizer;
