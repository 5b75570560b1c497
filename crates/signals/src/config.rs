//! What is measured, and by which lists and lengths.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use words::Language;

use crate::{LanguageModel, Limit, NgramModel, UnigramFrequencies, WordList};

/// Gopher's stop words.
pub const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];

/// What is measured of a document. The default is datatrove's defaults for English, without any model.
#[derive(Clone, Debug)]
pub struct MeasureConfig {
    /// How words are told apart.
    pub language: Language,
    /// Words of which running text holds some, in their case.
    pub stop_words: Vec<String>,
    /// A line of at most so many characters is short.
    pub short_line_characters: u64,
    /// What C4 removes.
    pub c4: C4Config,
    /// Tells the language.
    pub language_model: Option<Arc<LanguageModel>>,
    /// Gives the perplexity.
    pub perplexity_model: Option<Arc<NgramModel>>,
    /// Gives the words' frequencies.
    pub unigram_frequencies: Option<Arc<UnigramFrequencies>>,
    /// Words to be counted, such as toxic ones.
    pub word_lists: Vec<Arc<WordList>>,
}

impl Default for MeasureConfig {
    fn default() -> Self {
        Self {
            language: Language::English,
            stop_words: STOP_WORDS.map(str::to_owned).to_vec(),
            short_line_characters: 30,
            c4: C4Config::default(),
            language_model: None,
            perplexity_model: None,
            unigram_frequencies: None,
            word_lists: Vec::new(),
        }
    }
}

/// Which lines C4's filter removes; datatrove's `C4QualityFilter` arguments and defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct C4Config {
    /// Citations like `[12]`, `[edit]` and `[citation needed]` are taken out of the lines.
    pub remove_citations: bool,
    /// Lines that do not end in one of `.?!"'`, or end in `...`, are removed. FineWeb switches it off.
    pub filter_no_terminal_punctuation: bool,
    /// Lines with fewer words between white space are removed.
    pub words_per_line_min: u64,
    /// Lines with a longer word are removed.
    pub word_length_max: Limit<u64>,
    /// A document with "lorem ipsum" is dropped.
    pub filter_lorem_ipsum: bool,
    /// Lines with "javascript" are removed.
    pub filter_javascript: bool,
    /// A document with `{` is dropped.
    pub filter_curly_bracket: bool,
    /// Lines with phrases about cookies and terms of use are removed.
    pub filter_policy: bool,
}

impl Default for C4Config {
    fn default() -> Self {
        Self {
            remove_citations: true,
            filter_no_terminal_punctuation: true,
            words_per_line_min: 3,
            word_length_max: Limit::At(1000),
            filter_lorem_ipsum: true,
            filter_javascript: true,
            filter_curly_bracket: true,
            filter_policy: true,
        }
    }
}
