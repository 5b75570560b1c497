//! Rules: each takes a document's signals and gives a reason to drop it, or none.
//!
//! The rules of Gopher, C4 and FineWeb check in datatrove's order and give its reasons; a threshold that is off (datatrove:
//! `None` or 0) switches a check off. Ratios compare as 64-bit floats, as Python's do.

use serde::{Deserialize, Serialize};

use crate::Signals;
use crate::limit::Limit::{self, At, Off};

/// Why a document is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Reason {
    /// The rule, by its name in a recipe.
    pub rule: &'static str,
    /// What of the rule: for datatrove's rules its own name of the reason.
    pub reason: &'static str,
}

/// One rule of a recipe with its thresholds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Rule {
    /// The language is one of those wanted, with enough probability.
    Language(LanguageRule),
    /// Lines, paragraphs and runs of words that repeat.
    GopherRepetition(GopherRepetitionRule),
    /// Words and lines like those of running text.
    GopherQuality(GopherQualityRule),
    /// C4's rules; the text is what C4 leaves from here on.
    C4(C4Rule),
    /// mC4's rule of long lines.
    C4Paragraph(C4ParagraphRule),
    /// FineWeb's rules of lines.
    FineWeb(FineWebRule),
    /// Words' frequencies.
    Unigram(UnigramRule),
    /// Length in characters and words.
    Length(LengthRule),
    /// Perplexity under the n-gram model.
    Perplexity(PerplexityRule),
    /// Words of a list.
    WordList(WordListRule),
    /// Lines of source code.
    Code(CodeRule),
    /// Turns of a chat.
    Chat(ChatRule),
    /// Chinese running text.
    Chinese(ChineseRule),
}

impl Rule {
    /// Its name in a recipe.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Language(_) => "language",
            Self::GopherRepetition(_) => "gopher_repetition",
            Self::GopherQuality(_) => "gopher_quality",
            Self::C4(_) => "c4",
            Self::C4Paragraph(_) => "c4_paragraph",
            Self::FineWeb(_) => "fine_web",
            Self::Unigram(_) => "unigram",
            Self::Length(_) => "length",
            Self::Perplexity(_) => "perplexity",
            Self::WordList(_) => "word_list",
            Self::Code(_) => "code",
            Self::Chat(_) => "chat",
            Self::Chinese(_) => "chinese",
        }
    }

    /// Why this rule drops a document, if it does.
    pub fn decide(&self, signals: &Signals) -> Option<Reason> {
        let reason = match self {
            Self::Language(rule) => rule.decide(signals),
            Self::GopherRepetition(rule) => rule.decide(signals),
            Self::GopherQuality(rule) => rule.decide(signals),
            Self::C4(rule) => rule.decide(signals),
            Self::C4Paragraph(rule) => rule.decide(signals),
            Self::FineWeb(rule) => rule.decide(signals),
            Self::Unigram(rule) => rule.decide(signals),
            Self::Length(rule) => rule.decide(signals),
            Self::Perplexity(rule) => rule.decide(signals),
            Self::WordList(rule) => rule.decide(signals),
            Self::Code(rule) => rule.decide(signals),
            Self::Chat(rule) => rule.decide(signals),
            Self::Chinese(rule) => rule.decide(signals),
        };
        reason.map(|reason| Reason { rule: self.name(), reason })
    }
}

fn above<T: PartialOrd + Copy>(value: T, max: Limit<T>) -> bool {
    matches!(max, At(max) if value > max)
}

fn below<T: PartialOrd + Copy>(value: T, min: Limit<T>) -> bool {
    matches!(min, At(min) if value < min)
}

/// The first reason whose check holds.
fn first(checks: &[(bool, &'static str)]) -> Option<&'static str> {
    checks.iter().find(|(holds, _)| *holds).map(|(_, reason)| *reason)
}

macro_rules! rule {
    ($(#[$doc:meta])* $rule:ident { $($(#[$field_doc:meta])* $name:ident: $kind:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $rule {
            $($(#[$field_doc])* pub $name: $kind,)*
        }

        impl Default for $rule {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }
    };
}

rule! {
    /// datatrove's `LanguageFilter`. Without a language model in the configuration it drops nothing.
    LanguageRule {
        /// The languages wanted; none for any.
        languages: Vec<String> = Vec::new(),
        /// One of them must be more likely than this.
        probability_min: f64 = 0.65,
    }
}

impl LanguageRule {
    fn decide(&self, signals: &Signals) -> Option<&'static str> {
        signals.language_probability?;
        let kept = if self.languages.is_empty() {
            signals.language_probability.is_some_and(|probability| probability > self.probability_min)
        } else {
            self.languages.iter().any(|language| signals.probability_of(language) > self.probability_min)
        };
        (!kept).then_some("language")
    }
}

rule! {
    /// datatrove's `GopherRepetitionFilter`: table A1 of the Gopher paper (Rae et al., 2021).
    GopherRepetitionRule {
        /// Most duplicate paragraphs.
        duplicate_paragraphs_max: Limit<f64> = At(0.3),
        /// Most characters in duplicate paragraphs.
        duplicate_paragraph_characters_max: Limit<f64> = At(0.2),
        /// Most duplicate lines.
        duplicate_lines_max: Limit<f64> = At(0.3),
        /// Most characters in duplicate lines.
        duplicate_line_characters_max: Limit<f64> = At(0.2),
        /// Most characters in the most frequent run of 2, 3 and 4 words.
        top_n_grams_max: [Limit<f64>; 3] = [At(0.2), At(0.18), At(0.16)],
        /// Most characters in duplicate runs of 5 to 10 words.
        duplicate_n_grams_max: [Limit<f64>; 6] =
            [At(0.15), At(0.14), At(0.13), At(0.12), At(0.11), At(0.10)],
    }
}

impl GopherRepetitionRule {
    fn decide(&self, signals: &Signals) -> Option<&'static str> {
        let [top_2, top_3, top_4] = self.top_n_grams_max;
        let [five, six, seven, eight, nine, ten] = self.duplicate_n_grams_max;
        first(&[
            (signals.bytes == 0, "empty"),
            (above(signals.duplicate_paragraphs_ratio, self.duplicate_paragraphs_max), "dup_para_frac"),
            (
                above(signals.duplicate_paragraph_characters_ratio, self.duplicate_paragraph_characters_max),
                "dup_para_char_frac",
            ),
            (above(signals.duplicate_lines_ratio, self.duplicate_lines_max), "dup_line_frac"),
            (above(signals.duplicate_line_characters_ratio, self.duplicate_line_characters_max), "dup_line_char_frac"),
            (above(signals.top_2_gram_ratio, top_2), "top_2_gram"),
            (above(signals.top_3_gram_ratio, top_3), "top_3_gram"),
            (above(signals.top_4_gram_ratio, top_4), "top_4_gram"),
            (above(signals.duplicate_5_gram_ratio, five), "duplicated_5_n_grams"),
            (above(signals.duplicate_6_gram_ratio, six), "duplicated_6_n_grams"),
            (above(signals.duplicate_7_gram_ratio, seven), "duplicated_7_n_grams"),
            (above(signals.duplicate_8_gram_ratio, eight), "duplicated_8_n_grams"),
            (above(signals.duplicate_9_gram_ratio, nine), "duplicated_9_n_grams"),
            (above(signals.duplicate_10_gram_ratio, ten), "duplicated_10_n_grams"),
        ])
    }
}

rule! {
    /// datatrove's `GopherQualityFilter`.
    GopherQualityRule {
        /// Fewest words that are not all punctuation.
        words_min: Limit<u64> = At(50),
        /// Most of them.
        words_max: Limit<u64> = At(100_000),
        /// Least mean length of a word.
        mean_word_length_min: Limit<f64> = At(3.0),
        /// Most.
        mean_word_length_max: Limit<f64> = At(10.0),
        /// Most `#`, and most ellipses, for each word.
        symbols_per_word_max: Limit<f64> = At(0.1),
        /// Most lines that start with a bullet.
        bullet_lines_max: Limit<f64> = At(0.9),
        /// Most lines that end with an ellipsis.
        ellipsis_lines_max: Limit<f64> = At(0.3),
        /// Fewest words with a letter.
        alphabetic_words_min: Limit<f64> = At(0.8),
        /// Fewest different stop words.
        stop_words_min: Limit<u64> = At(2),
    }
}

impl GopherQualityRule {
    fn decide(&self, signals: &Signals) -> Option<&'static str> {
        first(&[
            (below(signals.real_words, self.words_min), "gopher_short_doc"),
            (above(signals.real_words, self.words_max), "gopher_long_doc"),
            (below(signals.mean_word_length, self.mean_word_length_min), "gopher_below_avg_threshold"),
            (above(signals.mean_word_length, self.mean_word_length_max), "gopher_above_avg_threshold"),
            (above(signals.hash_ratio, self.symbols_per_word_max), "gopher_too_many_hashes"),
            (above(signals.ellipsis_ratio, self.symbols_per_word_max), "gopher_too_many_ellipsis"),
            (above(signals.bullet_lines_ratio, self.bullet_lines_max), "gopher_too_many_bullets"),
            (above(signals.ellipsis_lines_ratio, self.ellipsis_lines_max), "gopher_too_many_end_ellipsis"),
            (below(signals.alphabetic_words_ratio, self.alphabetic_words_min), "gopher_below_alpha_threshold"),
            (below(signals.stop_words, self.stop_words_min), "gopher_enough_stop_words"),
        ])
    }
}

rule! {
    /// datatrove's `C4QualityFilter`; which lines it removes is in [`crate::C4Config`].
    C4Rule {
        /// Fewest sentences in the lines that are left.
        sentences_min: Limit<u64> = At(5),
    }
}

impl C4Rule {
    fn decide(&self, signals: &Signals) -> Option<&'static str> {
        first(&[
            (signals.c4_lorem_ipsum > 0, "lorem_ipsum"),
            (signals.c4_curly_bracket > 0, "curly_bracket"),
            (below(signals.c4_sentences, self.sentences_min), "too_few_sentences"),
        ])
    }
}

rule! {
    /// datatrove's `C4ParagraphFilter`.
    C4ParagraphRule {
        /// Three lines must be of at least so many characters.
        line_length_min: u64 = 200,
    }
}

impl C4ParagraphRule {
    fn decide(&self, signals: &Signals) -> Option<&'static str> {
        let few = signals.newline_lines < 3 || signals.third_longest_line < self.line_length_min;
        few.then_some("< 3 paragraphs")
    }
}

rule! {
    /// datatrove's `FineWebQualityFilter`.
    FineWebRule {
        /// Of the text that C4 leaves, not of the text as it came.
        after_c4: bool = false,
        /// Fewest lines with terminal punctuation.
        line_punctuation_min: f64 = 0.12,
        /// A document without any such line passes that check.
        line_punctuation_exclude_zero: bool = false,
        /// Most short lines.
        short_lines_max: f64 = 0.67,
        /// Most characters in duplicate lines.
        duplicate_characters_max: f64 = 0.01,
        /// Most line ends for each word.
        list_ratio_max: f64 = 0.3,
    }
}

impl FineWebRule {
    fn decide(&self, signals: &Signals) -> Option<&'static str> {
        let (lines, punctuation, short, duplicate, list) = if self.after_c4 {
            (
                signals.after_c4_filled_lines,
                signals.after_c4_line_punctuation_ratio,
                signals.after_c4_short_lines_ratio,
                signals.after_c4_duplicate_filled_line_characters_ratio,
                signals.after_c4_list_ratio,
            )
        } else {
            (
                signals.filled_lines,
                signals.line_punctuation_ratio,
                signals.short_lines_ratio,
                signals.duplicate_filled_line_characters_ratio,
                signals.list_ratio,
            )
        };
        let excused = punctuation == 0.0 && self.line_punctuation_exclude_zero;
        first(&[
            (lines == 0, "empty"),
            (punctuation < self.line_punctuation_min && !excused, "line_punct_ratio"),
            (short > self.short_lines_max, "short_line_ratio"),
            (duplicate > self.duplicate_characters_max, "char_dup_ratio"),
            (list > self.list_ratio_max, "list_ratio"),
        ])
    }
}

rule! {
    /// datatrove's `UnigramLogProbFilter`. Without frequencies in the configuration it drops nothing.
    UnigramRule {
        /// The mean natural logarithm must be above this.
        log_probability_min: f64 = -10.0,
    }
}

impl UnigramRule {
    fn decide(&self, signals: &Signals) -> Option<&'static str> {
        let low = signals.unigram_log_probability.is_some_and(|mean| mean <= self.log_probability_min);
        low.then_some("unigram_log_probability")
    }
}

rule! {
    /// Length.
    LengthRule {
        /// Fewest characters.
        characters_min: Limit<u64> = At(1),
        /// Most characters.
        characters_max: Limit<u64> = Off,
        /// Fewest words.
        words_min: Limit<u64> = Off,
        /// Most words.
        words_max: Limit<u64> = Off,
        /// Most characters in web addresses.
        url_characters_max: Limit<f64> = Off,
        /// Most characters that are neither letters, digits nor white space.
        symbols_max: Limit<f64> = Off,
        /// Most characters that are digits.
        digits_max: Limit<f64> = Off,
    }
}

impl LengthRule {
    fn decide(&self, signals: &Signals) -> Option<&'static str> {
        first(&[
            (below(signals.characters, self.characters_min), "too_short"),
            (above(signals.characters, self.characters_max), "too_long"),
            (below(signals.words, self.words_min), "too_few_words"),
            (above(signals.words, self.words_max), "too_many_words"),
            (above(signals.url_characters_ratio, self.url_characters_max), "too_many_urls"),
            (above(signals.symbol_ratio, self.symbols_max), "too_many_symbols"),
            (above(signals.digit_ratio, self.digits_max), "too_many_digits"),
        ])
    }
}

rule! {
    /// Perplexity. Without a model in the configuration it drops nothing.
    PerplexityRule {
        /// Least: text of a template is not surprising at all.
        perplexity_min: Limit<f64> = Off,
        /// Most.
        perplexity_max: Limit<f64> = Off,
    }
}

impl PerplexityRule {
    fn decide(&self, signals: &Signals) -> Option<&'static str> {
        let perplexity = signals.perplexity?;
        first(&[
            (below(perplexity, self.perplexity_min), "perplexity_low"),
            (above(perplexity, self.perplexity_max), "perplexity_high"),
        ])
    }
}

rule! {
    /// Words of a list, such as C4's bad words: by default one is too many.
    WordListRule {
        /// Which list of the configuration, from 0.
        list: usize = 0,
        /// Most finds.
        finds_max: u64 = 0,
    }
}

impl WordListRule {
    fn decide(&self, signals: &Signals) -> Option<&'static str> {
        let finds = signals.word_lists.get(self.list).copied().unwrap_or(0);
        (finds > self.finds_max).then_some("document_removed_with_badwords")
    }
}

rule! {
    /// Source code, as StarCoder's and The Stack's filters have it (Li et al., 2023, section 3.1).
    CodeRule {
        /// Longest line in characters.
        line_length_max: Limit<u64> = At(1000),
        /// Longest mean of the lines.
        mean_line_length_max: Limit<f64> = At(100.0),
        /// Fewest letters and digits of all characters.
        alphanumeric_min: Limit<f64> = At(0.25),
        /// Fewest letters of all characters.
        letters_min: Limit<f64> = Off,
        /// Files that a program wrote are dropped.
        drop_autogenerated: bool = true,
    }
}

impl CodeRule {
    fn decide(&self, signals: &Signals) -> Option<&'static str> {
        first(&[
            (signals.bytes == 0, "empty"),
            (above(signals.max_line_length, self.line_length_max), "long_line"),
            (above(signals.mean_line_length, self.mean_line_length_max), "long_lines"),
            (below(signals.alphanumeric_ratio, self.alphanumeric_min), "too_few_alphanumeric"),
            (below(signals.letter_ratio, self.letters_min), "too_few_letters"),
            (self.drop_autogenerated && signals.autogenerated > 0, "autogenerated"),
        ])
    }
}

rule! {
    /// A chat. A document that is none (no turns) passes.
    ChatRule {
        /// Fewest turns.
        turns_min: u64 = 2,
        /// Shortest answer in characters.
        answer_min: u64 = 1,
        /// Longest turn in characters.
        turn_max: u64 = 32_768,
        /// Most turns in which the assistant declines.
        refusals_max: Limit<u64> = At(0),
        /// Most answers that are given again.
        repeated_answers_max: Limit<u64> = At(0),
        /// The last turn must be the assistant's.
        ends_with_assistant: bool = true,
    }
}

impl ChatRule {
    fn decide(&self, signals: &Signals) -> Option<&'static str> {
        if signals.chat_turns == 0 {
            return None;
        }
        first(&[
            (signals.chat_turns < self.turns_min, "too_few_turns"),
            (signals.chat_unknown_roles > 0, "unknown_role"),
            (signals.chat_empty_turns > 0, "empty_turn"),
            (signals.chat_order_breaks > 0, "roles_out_of_order"),
            (self.ends_with_assistant && signals.chat_ends_with_assistant == 0, "no_last_answer"),
            (signals.chat_shortest_answer < self.answer_min, "short_answer"),
            (signals.chat_longest_turn > self.turn_max, "long_turn"),
            (above(signals.chat_refusals, self.refusals_max), "refusal"),
            (above(signals.chat_repeated_answers, self.repeated_answers_max), "repeated_answer"),
        ])
    }
}

rule! {
    /// Chinese running text: what Gopher's quality rules ask of English, asked of characters.
    ChineseRule {
        /// Fewest characters.
        characters_min: Limit<u64> = At(50),
        /// Most characters.
        characters_max: Limit<u64> = At(200_000),
        /// Fewest Chinese characters of those that are not white space.
        han_min: Limit<f64> = At(0.5),
        /// Fewest stop characters (的, 是, 了) of the Chinese ones. Classical Chinese has fewer.
        stop_characters_min: Limit<f64> = At(0.02),
        /// Fewest Chinese punctuation marks for each Chinese character.
        punctuation_min: Limit<f64> = At(0.01),
        /// Most.
        punctuation_max: Limit<f64> = At(0.5),
        /// Most lines that start with a bullet.
        bullet_lines_max: Limit<f64> = At(0.9),
        /// Most lines that end with an ellipsis.
        ellipsis_lines_max: Limit<f64> = At(0.3),
        /// Fewest lines with terminal punctuation.
        line_punctuation_min: Limit<f64> = At(0.12),
    }
}

impl ChineseRule {
    fn decide(&self, signals: &Signals) -> Option<&'static str> {
        first(&[
            (below(signals.characters, self.characters_min), "too_short"),
            (above(signals.characters, self.characters_max), "too_long"),
            (below(signals.han_ratio, self.han_min), "too_few_han"),
            (below(signals.chinese_stop_ratio, self.stop_characters_min), "too_few_stop_characters"),
            (below(signals.chinese_punctuation_ratio, self.punctuation_min), "too_little_punctuation"),
            (above(signals.chinese_punctuation_ratio, self.punctuation_max), "too_much_punctuation"),
            (above(signals.bullet_lines_ratio, self.bullet_lines_max), "too_many_bullets"),
            (above(signals.ellipsis_lines_ratio, self.ellipsis_lines_max), "too_many_end_ellipsis"),
            (below(signals.line_punctuation_ratio, self.line_punctuation_min), "line_punct_ratio"),
        ])
    }
}
