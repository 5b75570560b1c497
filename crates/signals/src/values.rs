//! The signals of one document: plain numbers, each with the name of its column.

/// A language a text may be in.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageScore {
    /// The label without its `__label__`: for lid.176 an ISO 639 code.
    pub language: String,
    /// Its probability; fastText's own rounding may take it a little above 1.
    pub probability: f64,
}

/// A number as a column shows it.
trait Column {
    fn column(&self) -> Option<f64>;
}

impl Column for u64 {
    fn column(&self) -> Option<f64> {
        Some(*self as f64)
    }
}

impl Column for f64 {
    fn column(&self) -> Option<f64> {
        Some(*self)
    }
}

impl Column for Option<f64> {
    fn column(&self) -> Option<f64> {
        *self
    }
}

macro_rules! signals {
    ($($(#[$doc:meta])* $name:ident: $kind:ty,)*) => {
        /// What was measured of one document. Ratios are of 0 to 1 unless said otherwise; a ratio of nothing is 0.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Signals {
            $($(#[$doc])* pub $name: $kind,)*
            /// The most likely languages, best first, if a language model was given.
            pub languages: Vec<LanguageScore>,
            /// For each word list of the configuration, how often its words were found.
            pub word_lists: Vec<u64>,
        }

        impl Signals {
            /// The names of the numeric signals, in order: their columns.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// The numeric signals with their names, in the order of [`Signals::NAMES`]; `None` where one was not measured.
            pub fn values(&self) -> impl Iterator<Item = (&'static str, Option<f64>)> {
                [$((stringify!($name), Column::column(&self.$name))),*].into_iter()
            }
        }
    };
}

signals! {
    /// Length in bytes of UTF-8.
    bytes: u64,
    /// Length in characters.
    characters: u64,
    /// Lines, as Python's `splitlines` counts them.
    lines: u64,
    /// Words, punctuation marks among them.
    words: u64,
    /// Words that are not all punctuation.
    real_words: u64,
    /// Mean length in characters of the words that are not all punctuation.
    mean_word_length: f64,
    /// `#` for each word.
    hash_ratio: f64,
    /// Ellipses, `...` or `…`, for each word.
    ellipsis_ratio: f64,
    /// Lines that start with a bullet or hyphen.
    bullet_lines_ratio: f64,
    /// Lines that end with an ellipsis.
    ellipsis_lines_ratio: f64,
    /// Words that hold a letter.
    alphabetic_words_ratio: f64,
    /// How many different stop words occur.
    stop_words: u64,

    /// Lines that occurred before.
    duplicate_lines_ratio: f64,
    /// Characters in lines that occurred before.
    duplicate_line_characters_ratio: f64,
    /// Paragraphs that occurred before.
    duplicate_paragraphs_ratio: f64,
    /// Characters in paragraphs that occurred before.
    duplicate_paragraph_characters_ratio: f64,
    /// Characters in the most frequent run of 2 words. This ratio and the next two may exceed 1.
    top_2_gram_ratio: f64,
    /// Characters in the most frequent run of 3 words.
    top_3_gram_ratio: f64,
    /// Characters in the most frequent run of 4 words.
    top_4_gram_ratio: f64,
    /// Characters in runs of 5 words that occurred before.
    duplicate_5_gram_ratio: f64,
    /// Characters in runs of 6 words that occurred before.
    duplicate_6_gram_ratio: f64,
    /// Characters in runs of 7 words that occurred before.
    duplicate_7_gram_ratio: f64,
    /// Characters in runs of 8 words that occurred before.
    duplicate_8_gram_ratio: f64,
    /// Characters in runs of 9 words that occurred before.
    duplicate_9_gram_ratio: f64,
    /// Characters in runs of 10 words that occurred before.
    duplicate_10_gram_ratio: f64,

    /// 1 if C4 drops the document for "lorem ipsum" before it meets a curly bracket.
    c4_lorem_ipsum: u64,
    /// 1 if C4 drops the document for a curly bracket before it meets "lorem ipsum".
    c4_curly_bracket: u64,
    /// Sentences in the lines that C4 keeps; not meant if it dropped the document before.
    c4_sentences: u64,
    /// Lines that C4 keeps.
    c4_lines_kept: u64,
    /// Lines that C4 removes for a word that is too long.
    c4_lines_long_word: u64,
    /// Lines that C4 removes for their end.
    c4_lines_no_terminal_punctuation: u64,
    /// Lines that C4 removes for too few words.
    c4_lines_few_words: u64,
    /// Lines that C4 removes for "javascript".
    c4_lines_javascript: u64,
    /// Lines that C4 removes for phrases about cookies and terms of use.
    c4_lines_policy: u64,
    /// Lines between `\n`.
    newline_lines: u64,
    /// Length in characters of the third longest line between `\n`, 0 if there are fewer.
    third_longest_line: u64,

    /// Lines with more than white space: FineWeb's lines.
    filled_lines: u64,
    /// Of those, the ones that end with terminal punctuation of any script.
    line_punctuation_ratio: f64,
    /// Of those, the short ones.
    short_lines_ratio: f64,
    /// Characters in filled lines that occurred before.
    duplicate_filled_line_characters_ratio: f64,
    /// Line ends for each word. May exceed 1.
    list_ratio: f64,
    /// `filled_lines` of the text that C4 leaves.
    after_c4_filled_lines: u64,
    /// `line_punctuation_ratio` of the text that C4 leaves.
    after_c4_line_punctuation_ratio: f64,
    /// `short_lines_ratio` of the text that C4 leaves.
    after_c4_short_lines_ratio: f64,
    /// `duplicate_filled_line_characters_ratio` of the text that C4 leaves.
    after_c4_duplicate_filled_line_characters_ratio: f64,
    /// `list_ratio` of the text that C4 leaves.
    after_c4_list_ratio: f64,

    /// Characters that are decimal digits.
    digit_ratio: f64,
    /// Letters that are upper case.
    upper_case_ratio: f64,
    /// Characters that are letters.
    letter_ratio: f64,
    /// Characters that are letters or digits.
    alphanumeric_ratio: f64,
    /// Characters that are white space.
    whitespace_ratio: f64,
    /// Characters that are neither letters, digits nor white space.
    symbol_ratio: f64,
    /// Characters that are Han, kana or Hangul, of those that are not white space.
    cjk_ratio: f64,
    /// Characters that are Han, of those that are not white space.
    han_ratio: f64,
    /// Web addresses.
    urls: u64,
    /// Characters in web addresses.
    url_characters_ratio: f64,
    /// Chinese stop characters (的, 是, 了 and so on) of all Han characters.
    chinese_stop_ratio: f64,
    /// Chinese punctuation marks for each Han character.
    chinese_punctuation_ratio: f64,

    /// Mean length in characters of the lines between `\n`.
    mean_line_length: f64,
    /// Length in characters of the longest line between `\n`.
    max_line_length: u64,
    /// 1 if one of the first lines says that a program wrote the file.
    autogenerated: u64,

    /// Turns of the chat, 0 if the document is none.
    chat_turns: u64,
    /// Turns without text.
    chat_empty_turns: u64,
    /// Turns of a role that no template knows.
    chat_unknown_roles: u64,
    /// Turns that break the order: system only first, then user and assistant in turn.
    chat_order_breaks: u64,
    /// 1 if the last turn is the assistant's.
    chat_ends_with_assistant: u64,
    /// Turns of the assistant in which it declines.
    chat_refusals: u64,
    /// Turns of the assistant that repeat an earlier one of it.
    chat_repeated_answers: u64,
    /// Length in characters of the assistant's shortest turn.
    chat_shortest_answer: u64,
    /// Length in characters of the longest turn.
    chat_longest_turn: u64,

    /// Probability of the most likely language.
    language_probability: Option<f64>,
    /// Perplexity a word or character under the n-gram model.
    perplexity: Option<f64>,
    /// Mean natural logarithm of the words' frequencies in a list.
    unigram_log_probability: Option<f64>,
}

impl Signals {
    /// The most likely language, if it was measured.
    pub fn language(&self) -> Option<&str> {
        self.languages.first().map(|best| best.language.as_str())
    }

    /// The probability of a language; 0 for one that is not among the likely ones.
    pub fn probability_of(&self, language: &str) -> f64 {
        self.languages.iter().find(|score| score.language == language).map_or(0.0, |score| score.probability)
    }
}
