//! The signals of a document and the recipe's word on it.

use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use signals::{
    LanguageModel, MeasureConfig, NgramConfig, NgramTrainer, Recipe, Rule, Scratch, Signals, Turn, WordList,
};
use words::Language;

use super::plan::Plan;
use super::prepared::Prepared;
use crate::error::DataError;
use crate::mend::Change;

/// Lines that are shown of what C4's rule cut.
const LINES_SHOWN: usize = 5;
/// The largest word list.
const LIST_BYTES_MAX: u64 = 64 << 20;
/// Text that the model of perplexity is learned from; what comes after is not looked at.
const REFERENCE_BYTES_MAX: usize = 256 << 20;

/// The names of the signals; the last counts the words of all lists.
static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| [Signals::NAMES, &["word_lists"]].concat());

/// How documents are judged.
pub(super) struct Judge {
    recipe: Option<Recipe>,
    measures: MeasureConfig,
}

impl Judge {
    pub(super) fn new(plan: &Plan) -> Result<Self, DataError> {
        let neutral = || MeasureConfig { language: Language::Neutral, ..MeasureConfig::default() };
        let mut measures = plan.recipe.as_ref().map_or_else(neutral, Recipe::measure_config);
        if let Some(path) = &plan.language_model {
            measures.language_model = Some(Arc::new(LanguageModel::read(path)?));
        } else if plan
            .recipe
            .as_ref()
            .is_some_and(|recipe| recipe.rules.iter().any(|rule| matches!(rule, Rule::Language(_))))
        {
            return Err(DataError::rows(
                "the recipe tells documents by their language, and data.language_model names no model",
                "Name a model such as fastText's lid.176.ftz, or write `languages = []` to keep every language.",
            ));
        }
        for rule in plan.recipe.iter().flat_map(|recipe| &recipe.rules) {
            let (given, hint) = match rule {
                Rule::Perplexity(_) => {
                    (!plan.reference.is_empty(), "Name clean texts by data.reference, or take the rule out.")
                }
                Rule::WordList(_) => {
                    (!plan.word_lists.is_empty(), "Name lists by data.word_lists, or take the rule out.")
                }
                Rule::Unigram(_) => (false, "Take the rule out: yard reads no list of word frequencies yet."),
                _ => continue,
            };
            if !given {
                let what = format!("the recipe's rule {:?} has nothing to measure by", rule.name());
                return Err(DataError::rows(what, hint));
            }
        }
        measures.word_lists = plan.word_lists.iter().map(|path| word_list(path)).collect::<Result<_, _>>()?;
        measures.perplexity_model = reference(plan)?;
        Ok(Self { recipe: plan.recipe.clone(), measures })
    }

    /// The names of the signals.
    pub(super) fn names(&self) -> &'static [&'static str] {
        &NAMES
    }

    /// For one thread.
    pub(super) fn worker(&self) -> JudgeWorker<'_> {
        JudgeWorker { judge: self, scratch: Scratch::default() }
    }
}

/// Words of a file, one on each line.
fn word_list(path: &std::path::Path) -> Result<Arc<WordList>, DataError> {
    if std::fs::metadata(path).map_err(DataError::io("open", path))?.len() > LIST_BYTES_MAX {
        return Err(DataError::file(path, "it is larger than a list of words can be", "Write one word on each line."));
    }
    let text = std::fs::read_to_string(path).map_err(DataError::io("read", path))?;
    let name = path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    // In writing without spaces a word has no ends to look for.
    let unspaced = text.chars().any(words::is_unspaced);
    let words = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(Arc::new(WordList::new(&name, words, !unspaced)?))
}

/// Learns the model of perplexity from the reference texts.
fn reference(plan: &Plan) -> Result<Option<Arc<signals::NgramModel>>, DataError> {
    if plan.reference.is_empty() {
        return Ok(None);
    }
    let mut trainer = NgramTrainer::new(NgramConfig::default());
    let mut bytes = 0;
    for object in &plan.reference {
        sources::read(object, &plan.reading, &mut |item| {
            if let sources::Item::Record(record) = item {
                let text = match record.body {
                    sources::Body::Document(document) => document.text,
                    sources::Body::Row(row) => {
                        row.into_document(&plan.text_column).map(|document| document.text).unwrap_or_default()
                    }
                    _ => String::new(),
                };
                bytes += text.len();
                trainer.add(&text);
            }
            if bytes > REFERENCE_BYTES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
    if bytes == 0 {
        return Err(DataError::rows("data.reference has no text", "Name files of clean text."));
    }
    Ok(Some(Arc::new(trainer.finish()?)))
}

/// One turn of a chat, as it stands in a list of messages.
#[derive(serde::Deserialize)]
struct Message {
    #[serde(alias = "from")]
    role: String,
    #[serde(alias = "value")]
    content: String,
}

/// The turns of a chat that is written as a JSON list of messages.
fn turns(text: &str) -> Option<Vec<Message>> {
    if text.starts_with('[') { serde_json::from_str(text).ok() } else { None }
}

/// What one thread needs.
pub(super) struct JudgeWorker<'a> {
    judge: &'a Judge,
    scratch: Scratch,
}

impl JudgeWorker<'_> {
    /// How words are told apart.
    pub(super) fn language(&self) -> Language {
        self.judge.measures.language
    }

    /// Measures a document, and lets the recipe decide.
    pub(super) fn judge(&mut self, document: &mut Prepared) {
        let judge = self.judge;
        let measured =
            match turns(&document.text).filter(|_| judge.recipe.as_ref().is_some_and(|recipe| recipe.name == "chat")) {
                Some(turns) => {
                    let turns: Vec<Turn<'_>> =
                        turns.iter().map(|turn| Turn { role: &turn.role, content: &turn.content }).collect();
                    signals::measure_chat(&turns, &judge.measures, &mut self.scratch)
                }
                None => signals::measure_with(&document.text, &judge.measures, &mut self.scratch),
            };
        let signals = match measured {
            Ok(signals) => signals,
            Err(error) => {
                document.changes.push(Change {
                    reason: "not_measured".to_owned(),
                    before: error.to_string(),
                    after: String::new(),
                });
                document.reason = Some("too_long".to_owned());
                return;
            }
        };
        document.signals = signals.values().map(|(_, value)| value.map_or(f32::NAN, |value| value as f32)).collect();
        document.signals.push(signals.word_lists.iter().sum::<u64>() as f32);
        document.language = signals.language().map(str::to_owned);
        let Some(recipe) = &judge.recipe else { return };
        if let Some(reason) = recipe.decide(&signals) {
            document.reason = Some(named(reason.rule, reason.reason));
        } else if recipe.changes_text() {
            self.clean(document, recipe);
        }
    }

    /// Cuts the lines that C4's rule takes out of a document that stays.
    fn clean(&mut self, document: &mut Prepared, recipe: &Recipe) {
        let measures = &self.judge.measures;
        let Ok(Some(cleaned)) = signals::c4_clean(&document.text, &recipe.c4, measures.language, &mut self.scratch)
        else {
            return;
        };
        if cleaned.text == document.text {
            return;
        }
        let lines: Vec<&str> = words::lines(&document.text).collect();
        for (index, reason) in cleaned.removed.iter().take(LINES_SHOWN) {
            let before = lines.get(*index).map_or("", |line| line.trim()).chars().take(200).collect();
            document.changes.push(Change {
                reason: format!("c4_line_{}", reason.name()),
                before,
                after: String::new(),
            });
        }
        if let Some(more) = cleaned.removed.len().checked_sub(LINES_SHOWN).filter(|more| *more > 0) {
            let before = format!("and {more} more lines");
            document.changes.push(Change { reason: "c4_line".to_owned(), before, after: String::new() });
        }
        if cleaned.removed.is_empty() {
            document.changes.extend(Change::of("c4_citation", &document.text, &cleaned.text));
        }
        document.text = cleaned.text;
    }
}

/// The rule and its reason as one name, without a word that both begin with.
fn named(rule: &str, reason: &str) -> String {
    let word = rule.split('_').next().unwrap_or("");
    match reason.strip_prefix(word) {
        Some("") => rule.to_owned(),
        Some(rest) if rest.starts_with('_') => format!("{rule}{rest}"),
        _ => format!("{rule}_{reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn a_word_that_rule_and_reason_begin_with_is_said_once() {
        assert_eq!(named("gopher_quality", "gopher_short_doc"), "gopher_quality_short_doc");
        assert_eq!(named("gopher_repetition", "dup_line_frac"), "gopher_repetition_dup_line_frac");
        assert_eq!(named("language", "language"), "language");
        assert_eq!(named("c4", "c4ish"), "c4_c4ish");
    }
}
