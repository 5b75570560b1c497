//! What is done with what was found: replace, drop, or report.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::error::PersonalError;
use crate::finder::Finder;
use crate::finding::Finding;
use crate::kind::Kind;
use crate::pseudonym::Key;

/// Rounds of finding and replacing after which [`Policy::clean`] stops; real texts need one or two.
const ROUNDS_MAX: usize = 8;

/// The longest masked form in a report, in characters.
const MASK_CHARACTERS_MAX: usize = 64;

/// What to do with a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Put the kind's name: `[EMAIL]`.
    #[default]
    Redact,
    /// Put the kind's name and a number that is the same for the same value within the text: `<EMAIL_1>`.
    RedactNumbered,
    /// Put a pseudonym that is the same for the same value and key everywhere, and that the key turns back.
    Pseudonym,
    /// Put a keyed hash, the same for the same value and key everywhere, that nothing turns back.
    Hash,
    /// Drop the whole text.
    Drop,
    /// Leave it and list it.
    Report,
}

impl Action {
    const fn needs_key(self) -> Option<&'static str> {
        match self {
            Self::Pseudonym => Some("pseudonym"),
            Self::Hash => Some("hash"),
            _ => None,
        }
    }
}

/// What to do with each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// What to do with kinds that are not named.
    pub action: Action,
    /// What to do with the named kinds.
    pub kinds: BTreeMap<Kind, Action>,
}

impl PolicyConfig {
    /// Checks the policy against the key.
    ///
    /// # Errors
    ///
    /// [`PersonalError::KeyMissing`] if an action needs a key and there is none.
    pub fn plan(&self, key: Option<Key>) -> Result<Policy, PersonalError> {
        let named = self.kinds.iter().map(|(kind, action)| (kind.name(), *action));
        for (kind, action) in named.chain([("the other kinds", self.action)]) {
            if let (Some(action), None) = (action.needs_key(), &key) {
                return Err(PersonalError::KeyMissing { action, kind: kind.to_owned() });
            }
        }
        Ok(Policy { config: self.clone(), key })
    }
}

/// A checked policy. Made by [`PolicyConfig::plan`].
#[derive(Debug, Clone)]
pub struct Policy {
    config: PolicyConfig,
    key: Option<Key>,
}

/// What was done to a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The text with its placeholders; the original one if it is to be dropped.
    pub text: String,
    /// One entry for each finding, in order of place.
    pub replaced: Vec<Replaced>,
    /// The first kind that asks for the whole text to be dropped.
    pub drop: Option<Kind>,
}

/// One finding and what was done with it, without the value itself: fit for a ledger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replaced {
    /// What it was.
    pub kind: Kind,
    /// What was done.
    pub action: Action,
    /// Its first byte in the original text.
    pub start: usize,
    /// The byte after its last in the original text.
    pub end: usize,
    /// The shape of the value: `9` for digits, `x` and `X` for letters, `某` for Han and other letters, marks as they
    /// are; at most 64 characters.
    pub masked: String,
    /// The finding's score.
    pub score: f32,
    /// True if a checksum agreed.
    pub checked: bool,
    /// The rule that found it.
    pub rule: &'static str,
}

impl Policy {
    /// What is done with a kind.
    #[must_use]
    pub fn action(&self, kind: Kind) -> Action {
        self.config.kinds.get(&kind).copied().unwrap_or(self.config.action)
    }

    /// Applies the policy to findings of this text ([`Finder::find`]).
    ///
    /// # Panics
    ///
    /// If the findings are of another text: out of order, or beyond its end.
    #[must_use]
    pub fn apply(&self, text: &str, findings: &[Finding]) -> Applied {
        let drop = findings.iter().map(|found| found.kind).find(|kind| self.action(*kind) == Action::Drop);
        let mut out = String::with_capacity(text.len());
        let mut numbers: HashMap<(Kind, &str), usize> = HashMap::new();
        let mut counts: HashMap<Kind, usize> = HashMap::new();
        let mut replaced = Vec::with_capacity(findings.len());
        let mut copied = 0;
        for found in findings {
            let value = &text[found.start..found.end];
            let action = self.action(found.kind);
            replaced.push(Replaced {
                kind: found.kind,
                action,
                start: found.start,
                end: found.end,
                masked: mask(value),
                score: found.score,
                checked: found.checked,
                rule: found.rule,
            });
            if matches!(action, Action::Drop | Action::Report) || drop.is_some() {
                continue;
            }
            out.push_str(&text[copied..found.start]);
            copied = found.end;
            let number = || {
                *numbers.entry((found.kind, value)).or_insert_with(|| {
                    let count = counts.entry(found.kind).or_insert_with(|| numbers_in(text, found.kind));
                    *count += 1;
                    *count
                })
            };
            self.replace(&mut out, action, found.kind, value, number);
        }
        out.push_str(&text[copied..]);
        Applied { text: out, replaced, drop }
    }

    fn replace(&self, out: &mut String, action: Action, kind: Kind, value: &str, number: impl FnOnce() -> usize) {
        let placeholder = match (action, &self.key) {
            (Action::Pseudonym, Some(key)) => key.pseudonym(kind, value),
            (Action::Hash, Some(key)) => key.hash(kind, value),
            (Action::RedactNumbered, _) => format!("<{}_{}>", kind.name(), number()),
            _ => format!("[{}]", kind.name()),
        };
        out.push_str(&placeholder);
    }

    /// Finds and applies, again and again until nothing more is found to replace: taking one value out can show another
    /// that it overlapped. Places are those in the original text.
    #[must_use]
    pub fn clean(&self, finder: &Finder, text: &str) -> Applied {
        let mut applied = self.apply(text, &finder.find(text));
        // Reported values stay and are found each round; they are listed once.
        let mut changed = applied.text != text;
        for _ in 1..ROUNDS_MAX {
            if !changed || applied.drop.is_some() {
                break;
            }
            let findings = finder.find(&applied.text);
            let (old, new) = (&applied, self.apply(&applied.text, &findings));
            changed = new.text != old.text;
            if new.replaced.is_empty() {
                break;
            }
            let known: Vec<(usize, usize)> = old.replaced.iter().map(|entry| (entry.start, entry.end)).collect();
            let places = Places::new(text, old, self);
            let mut replaced = old.replaced.clone();
            for mut entry in new.replaced {
                (entry.start, entry.end) = (places.original(entry.start), places.original(entry.end));
                if !known.contains(&(entry.start, entry.end)) {
                    replaced.push(entry);
                }
            }
            replaced.sort_by_key(|entry| (entry.start, entry.end));
            let drop = new.drop;
            let text_now = if drop.is_some() { text.to_owned() } else { new.text };
            applied = Applied { text: text_now, replaced, drop };
        }
        applied
    }
}

/// The highest number of a kind's numbered placeholders that a text already has.
fn numbers_in(text: &str, kind: Kind) -> usize {
    let opening = format!("<{}_", kind.name());
    let numbers = text.match_indices(&opening).filter_map(|(at, _)| {
        let digits = text[at + opening.len()..].split('>').next()?;
        if digits.len() <= 9 { digits.parse::<usize>().ok() } else { None }
    });
    numbers.max().unwrap_or(0)
}

/// Where bytes of a replaced text were in the original.
struct Places {
    /// For each placeholder: its end in the new text, and the end of the value in the original.
    ends: Vec<(usize, usize)>,
}

impl Places {
    /// Compares the original with the replaced text, walking the entries that were replaced.
    fn new(text: &str, applied: &Applied, policy: &Policy) -> Self {
        let mut ends = Vec::new();
        let (mut original, mut at) = (0, 0);
        for entry in &applied.replaced {
            if matches!(policy.action(entry.kind), Action::Drop | Action::Report) || entry.start < original {
                continue;
            }
            at += text[original..entry.start].len();
            let found = crate::placeholder::parse(applied.text.as_bytes(), at);
            at = found.map_or(at, |found| found.end);
            original = entry.end;
            ends.push((at, original));
        }
        Self { ends }
    }

    fn original(&self, at: usize) -> usize {
        let index = self.ends.partition_point(|(end, _)| *end <= at);
        match index.checked_sub(1) {
            Some(before) => self.ends[before].1 + (at - self.ends[before].0),
            None => at,
        }
    }
}

/// The shape of a value, without the value.
#[must_use]
pub fn mask(value: &str) -> String {
    let shape = |character: char| match character {
        '0'..='9' => '9',
        'a'..='z' => 'x',
        'A'..='Z' => 'X',
        other if other.is_alphanumeric() => '某',
        other => other,
    };
    value.chars().take(MASK_CHARACTERS_MAX).map(shape).collect()
}
