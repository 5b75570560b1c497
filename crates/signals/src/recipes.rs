//! Recipes: lists of rules for a kind of text, as data that a person can read, change and write down.

use serde::{Deserialize, Serialize};
use words::Language;

use crate::limit::Limit::{At, Off};
use crate::rules::{
    C4Rule, ChatRule, ChineseRule, CodeRule, FineWebRule, GopherQualityRule, GopherRepetitionRule, LanguageRule,
    LengthRule,
};
use crate::{C4Config, MeasureConfig, Reason, Rule, STOP_WORDS, Signals};

/// Rules in their order, and how the signals they look at are measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its name.
    pub name: String,
    /// The ISO 639 code by which words are told apart.
    pub language: String,
    /// Words of which running text holds some.
    #[serde(default = "stop_words")]
    pub stop_words: Vec<String>,
    /// A line of at most so many characters is short.
    #[serde(default = "short_line_characters")]
    pub short_line_characters: u64,
    /// Which lines C4's rule removes.
    #[serde(default)]
    pub c4: C4Config,
    /// The first rule that gives a reason drops the document.
    pub rules: Vec<Rule>,
}

fn stop_words() -> Vec<String> {
    STOP_WORDS.map(str::to_owned).to_vec()
}

fn short_line_characters() -> u64 {
    30
}

impl Recipe {
    /// The names of those that are built in.
    pub const NAMES: [&str; 5] = ["web", "general", "chat", "code", "zh"];

    /// A recipe that is built in, by its name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "web" => Some(Self::web()),
            "general" => Some(Self::general()),
            "chat" => Some(Self::chat()),
            "code" => Some(Self::code()),
            "zh" => Some(Self::zh()),
            _ => None,
        }
    }

    fn of(name: &str, language: &str, rules: Vec<Rule>) -> Self {
        Self {
            name: name.to_owned(),
            language: language.to_owned(),
            stop_words: stop_words(),
            short_line_characters: short_line_characters(),
            c4: C4Config::default(),
            rules,
        }
    }

    /// English pages of the web: FineWeb's filters in FineWeb's order (Penedo et al., 2024).
    pub fn web() -> Self {
        let language = LanguageRule { languages: vec!["en".to_owned()], ..LanguageRule::default() };
        let rules = vec![
            Rule::Language(language),
            Rule::GopherRepetition(GopherRepetitionRule::default()),
            Rule::GopherQuality(GopherQualityRule::default()),
            Rule::C4(C4Rule::default()),
            Rule::FineWeb(FineWebRule { after_c4: true, ..FineWebRule::default() }),
        ];
        let c4 = C4Config { filter_no_terminal_punctuation: false, ..C4Config::default() };
        Self { c4, ..Self::of("web", "en", rules) }
    }

    /// Text of any kind and language: only what is broken, empty or repeats itself goes.
    pub fn general() -> Self {
        let length = LengthRule {
            characters_min: At(20),
            url_characters_max: At(0.5),
            symbols_max: At(0.5),
            digits_max: At(0.5),
            ..LengthRule::default()
        };
        let repetition = GopherRepetitionRule {
            duplicate_paragraphs_max: At(0.5),
            duplicate_paragraph_characters_max: At(0.4),
            duplicate_lines_max: At(0.5),
            duplicate_line_characters_max: At(0.4),
            top_n_grams_max: [Off; 3],
            duplicate_n_grams_max: [At(0.5); 6],
        };
        Self::of("general", "xx", vec![Rule::Length(length), Rule::GopherRepetition(repetition)])
    }

    /// Chats to learn from.
    pub fn chat() -> Self {
        let repetition = GopherRepetitionRule {
            duplicate_paragraphs_max: At(0.5),
            duplicate_paragraph_characters_max: At(0.5),
            duplicate_lines_max: Off,
            duplicate_line_characters_max: Off,
            top_n_grams_max: [Off; 3],
            duplicate_n_grams_max: [At(0.6); 6],
        };
        let rules = vec![Rule::Chat(ChatRule::default()), Rule::GopherRepetition(repetition)];
        Self::of("chat", "xx", rules)
    }

    /// Source code.
    pub fn code() -> Self {
        Self::of("code", "xx", vec![Rule::Code(CodeRule::default())])
    }

    /// Chinese text: repetition and quality by characters. The n-gram limits are wider than Gopher's, whose words
    /// are longer than a character.
    pub fn zh() -> Self {
        let language =
            LanguageRule { languages: vec!["zh".to_owned(), "yue".to_owned(), "wuu".to_owned()], probability_min: 0.5 };
        let repetition = GopherRepetitionRule {
            top_n_grams_max: [At(0.2), At(0.18), At(0.16)],
            duplicate_n_grams_max: [At(0.4), At(0.36), At(0.32), At(0.28), At(0.24), At(0.2)],
            ..GopherRepetitionRule::default()
        };
        let rules =
            vec![Rule::Language(language), Rule::Chinese(ChineseRule::default()), Rule::GopherRepetition(repetition)];
        Self { short_line_characters: 10, ..Self::of("zh", "zh", rules) }
    }

    /// How the signals for this recipe are measured. Models and word lists are the caller's to add.
    pub fn measure_config(&self) -> MeasureConfig {
        MeasureConfig {
            language: Language::from_code(&self.language),
            stop_words: self.stop_words.clone(),
            short_line_characters: self.short_line_characters,
            c4: self.c4.clone(),
            ..MeasureConfig::default()
        }
    }

    /// Whether kept documents are to be changed by [`crate::c4_clean`].
    pub fn changes_text(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule, Rule::C4(_)))
    }

    /// Why the recipe drops a document; `None` if it keeps it.
    pub fn decide(&self, signals: &Signals) -> Option<Reason> {
        self.rules.iter().find_map(|rule| rule.decide(signals))
    }
}
