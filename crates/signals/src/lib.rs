//! Signals of a document's quality, and the rules that decide by them.
//!
//! [`measure()`] counts everything about a text in a few passes; a [`Recipe`] is a list of [`Rule`]s with their
//! thresholds, and [`Recipe::decide`] says which one, if any, drops the document. Gopher's, C4's and FineWeb's rules
//! decide as datatrove 0.10.1 does, document for document, with its names of the reasons.
//!
//! This crate knows no files of documents and no storage. Read next: `values.rs` for what is measured, `rules.rs` for
//! what is decided, `repetition.rs` for what takes the time.
//!
//! ```
//! use signals::{MeasureConfig, Recipe, measure};
//! let recipe = Recipe::web();
//! let signals = measure("Too short.", &recipe.measure_config()).unwrap();
//! let reason = recipe.decide(&signals).unwrap();
//! assert_eq!((reason.rule, reason.reason), ("gopher_repetition", "top_2_gram"));
//! # let _ = MeasureConfig::default();
//! ```

mod c4;
mod characters;
mod chat;
mod code;
mod config;
mod error;
mod fasttext;
mod hash;
mod language;
mod limit;
mod lines;
mod lists;
mod measure;
mod ngrams;
mod recipes;
mod repetition;
mod rules;
mod urls;
mod values;

pub use c4::{C4Text, LineReason, c4_clean};
pub use chat::{Turn, measure_chat};
pub use config::{C4Config, MeasureConfig, STOP_WORDS};
pub use error::SignalsError;
pub use language::{LANGUAGE_PROBABILITY_MIN, LanguageModel};
pub use limit::Limit;
pub use lists::{LIST_ENTRIES_MAX, UnigramFrequencies, WordList};
pub use measure::{Scratch, measure, measure_with};
pub use ngrams::{NgramConfig, NgramModel, NgramTrainer, Units};
pub use recipes::Recipe;
pub use rules::{
    C4ParagraphRule, C4Rule, ChatRule, ChineseRule, CodeRule, FineWebRule, GopherQualityRule, GopherRepetitionRule,
    LanguageRule, LengthRule, PerplexityRule, Reason, Rule, UnigramRule, WordListRule,
};
pub use values::{LanguageScore, Signals};
