//! What is mended in a text before anything judges it: repair of broken characters, and personal data.

use std::borrow::Cow;
use std::path::Path;

use base::project::{ChineseScript, PersonalConfig, PersonalPolicy, UnicodeForm};
use personal::{Action, Finder, FinderConfig, Key, Kind, Policy, PolicyConfig};
use repair::{Chinese, Normalization, RepairConfig, UnescapeHtml, Width};
use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// Longer texts are shortened in the ledger.
const SHOWN_CHARACTERS: usize = 200;

/// A change of a text, for the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// Why.
    pub(crate) reason: String,
    /// What stood there, in short.
    pub(crate) before: String,
    /// What stands there now, in short.
    pub(crate) after: String,
}

impl Change {
    /// The change from one text to another; none where they are equal.
    pub(crate) fn of(reason: &str, before: &str, after: &str) -> Option<Self> {
        if before == after {
            return None;
        }
        let (before, after) = difference(before, after);
        Some(Self { reason: reason.to_owned(), before, after })
    }
}

/// Mends texts as the project file says.
pub(crate) struct Mender {
    repair: Option<RepairConfig>,
    personal: Option<(Finder, Policy)>,
}

impl Mender {
    /// Reads the settings.
    pub(crate) fn new(
        repair: Option<&base::project::RepairConfig>,
        personal: Option<&PersonalConfig>,
    ) -> Result<Self, DataError> {
        Ok(Self { repair: repair.map(repair_config), personal: personal.map(personal_policy).transpose()? })
    }

    /// For Chinese text, whose punctuation is full-width and stays so.
    pub(crate) fn chinese(mut self) -> Self {
        if let Some(repair) = self.repair.as_mut().filter(|repair| repair.width == Width::Standard) {
            repair.width = Width::Letters;
        }
        self
    }

    /// Repairs a text.
    pub(crate) fn repair(&self, text: &mut String, changes: &mut Vec<Change>) {
        let Some(config) = &self.repair else { return };
        let repaired = repair::repair(text, config);
        let Cow::Owned(after) = repaired.text else { return };
        if after != *text {
            let (shown_before, shown_after) = difference(text, &after);
            changes.extend(repaired.changes.iter().map(|change| Change {
                reason: change.reason.name().to_owned(),
                before: shown_before.clone(),
                after: shown_after.clone(),
            }));
            *text = after;
        }
    }

    /// Takes personal data out of a text, as the policy says; the kind for which the whole text is to be dropped.
    pub(crate) fn personal(&self, text: &mut String, changes: &mut Vec<Change>) -> Option<String> {
        let (finder, policy) = self.personal.as_ref()?;
        let applied = policy.clean(finder, text);
        changes.extend(applied.replaced.iter().map(|replaced| Change {
            reason: format!("personal_{}", replaced.kind.name().to_lowercase()),
            before: replaced.masked.clone(),
            after: format!("{:?}", replaced.action).to_lowercase(),
        }));
        *text = applied.text;
        applied.drop.map(|kind| kind.name().to_lowercase())
    }
}

/// The part of two texts that differs, in short.
fn difference(before: &str, after: &str) -> (String, String) {
    let same = before.bytes().zip(after.bytes()).take_while(|(a, b)| a == b).count();
    let mut from = same;
    while !before.is_char_boundary(from) || !after.is_char_boundary(from) {
        from -= 1;
    }
    let (before, after) = (&before[from..], &after[from..]);
    let tail = before.chars().rev().zip(after.chars().rev()).take_while(|(a, b)| a == b);
    let tail: usize = tail.map(|(a, _)| a.len_utf8()).sum();
    let short = |text: &str| text[..text.len() - tail].chars().take(SHOWN_CHARACTERS).collect();
    (short(before), short(after))
}

/// The settings of repair, in its own words.
fn repair_config(config: &base::project::RepairConfig) -> RepairConfig {
    RepairConfig {
        mojibake: config.mojibake,
        c1_controls: config.mojibake,
        unescape_html: if config.html_entities { UnescapeHtml::Auto } else { UnescapeHtml::Never },
        terminal_escapes: config.control_characters,
        control_characters: config.control_characters,
        width: if config.width { Width::Standard } else { Width::Keep },
        quotes: config.straight_quotes,
        latin_ligatures: config.ligatures,
        line_breaks: config.line_breaks,
        normalization: match config.unicode {
            UnicodeForm::Keep => Normalization::None,
            UnicodeForm::Nfc => Normalization::Nfc,
            UnicodeForm::Nfkc => Normalization::Nfkc,
        },
        chinese: config.chinese.map(|script| match script {
            ChineseScript::Simplified => Chinese::T2s,
            ChineseScript::Traditional => Chinese::S2t,
        }),
        ..RepairConfig::default()
    }
}

/// What is looked for, and what happens to it.
fn personal_policy(config: &PersonalConfig) -> Result<(Finder, Policy), DataError> {
    let mut kinds = std::collections::BTreeMap::new();
    let (mut also, mut except) = (Vec::new(), Vec::new());
    for (name, policy) in &config.kinds {
        let kind: Kind = name.to_uppercase().parse().map_err(|_| {
            let known = Kind::ALL.iter().map(|kind| kind.name().to_lowercase()).collect::<Vec<_>>().join(", ");
            DataError::rows(
                format!("data.personal.kinds names {name:?}, which is no kind"),
                format!("There are {known}."),
            )
        })?;
        match action(*policy) {
            Some(action) => {
                also.push(kind);
                kinds.insert(kind, action);
            }
            None => except.push(kind),
        }
    }
    let finder = FinderConfig {
        kinds: (config.policy == PersonalPolicy::Keep).then(Vec::new),
        also,
        except,
        score_min: config.score_min as f32,
        ..FinderConfig::default()
    };
    let key = config.key_file.as_deref().map(read_key).transpose()?;
    let policy = PolicyConfig { action: action(config.policy).unwrap_or(Action::Report), kinds };
    Ok((finder.plan()?, policy.plan(key)?))
}

/// The largest file of a key.
const KEY_BYTES_MAX: u64 = 1 << 16;

fn read_key(path: &Path) -> Result<Key, DataError> {
    if std::fs::metadata(path).map_err(DataError::io("open", path))?.len() > KEY_BYTES_MAX {
        return Err(DataError::file(path, "it is larger than a key can be", "Name the file of the key."));
    }
    Ok(Key::new(std::fs::read(path).map_err(DataError::io("read", path))?.trim_ascii())?)
}

/// Turns the pseudonyms in a text back into what they stand for. Those of another key stay.
///
/// # Errors
/// [`DataError`] when the key cannot be read or is too short.
pub fn reveal(text: &str, key_file: &Path) -> Result<String, DataError> {
    Ok(personal::reveal(text, &read_key(key_file)?))
}

/// What is done; nothing where a kind is not looked for.
fn action(policy: PersonalPolicy) -> Option<Action> {
    Some(match policy {
        PersonalPolicy::Redact => Action::Redact,
        PersonalPolicy::Pseudonym => Action::Pseudonym,
        PersonalPolicy::Hash => Action::Hash,
        PersonalPolicy::Drop => Action::Drop,
        PersonalPolicy::Report => Action::Report,
        PersonalPolicy::Keep => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_shows_what_differs() {
        assert_eq!(difference("schÃ¶n so", "schön so"), ("Ã¶".to_owned(), "ö".to_owned()));
        assert_eq!(difference("aaa", "aa"), ("a".to_owned(), String::new()));
        assert_eq!(difference("", "词"), (String::new(), "词".to_owned()));
        assert_eq!(Change::of("x", "same", "same"), None);
    }

    #[test]
    fn a_text_is_mended_as_the_project_says() {
        let config = PersonalConfig::default();
        let mender = Mender::new(Some(&base::project::RepairConfig::default()), Some(&config)).unwrap();
        let (mut text, mut changes) = ("schÃ¶n: write to anna@example.com".to_owned(), Vec::new());
        mender.repair(&mut text, &mut changes);
        assert_eq!(mender.personal(&mut text, &mut changes), None);
        assert_eq!(text, "schön: write to [EMAIL]");
        assert!(changes[0].reason == "mojibake" && changes[1].reason == "personal_email");
        assert!(!changes[1].before.contains("anna"), "the ledger must not hold the data: {changes:?}");
        let mut kinds = std::collections::BTreeMap::new();
        kinds.insert("no_such_kind".to_owned(), PersonalPolicy::Drop);
        assert!(Mender::new(None, Some(&PersonalConfig { kinds, ..config })).is_err());
    }
}
