//! Tries the forms of identity numbers at each run of letters and digits that holds a digit.
//!
//! The forms and their checks are in `rules_world` and `rules_china`. Each form is filed under the lengths that its first run can have,
//! so that a year or a count meets a handful of forms, and most fail at their first byte.

use crate::bytes::{run_start, word_after, word_before};
use crate::finding::Finding;
use crate::kind::{Kind, KindSet};
use crate::pattern::Pattern;
use crate::scan::Scan;

/// What a check says about a value whose form fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The check digit agrees.
    Valid,
    /// Nothing speaks against it, and nothing was computed that speaks for it.
    Possible,
    /// It cannot be one.
    Invalid,
}

impl From<bool> for Verdict {
    fn from(valid: bool) -> Self {
        if valid { Self::Valid } else { Self::Invalid }
    }
}

/// How the borders and separators of a form are treated, as bits.
pub(crate) mod flags {
    /// A word may end right before the value.
    pub(crate) const LOOSE_START: u8 = 1;
    /// All separators inside the value are the same.
    pub(crate) const SAME_SEPARATOR: u8 = 2;
    /// A hyphen before the value excludes it.
    pub(crate) const NO_HYPHEN: u8 = 4;
}

/// A form and how much it says.
pub(crate) struct Rule {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    pub(crate) form: &'static str,
    /// The score of the form alone.
    pub(crate) score: f32,
    /// The score once the check agrees.
    pub(crate) valid_score: f32,
    pub(crate) check: fn(&[u8]) -> Verdict,
    pub(crate) flags: u8,
}

struct Prepared {
    rule: &'static Rule,
    pattern: Pattern,
    first_set: u128,
}

/// Longest first run that is told apart; longer ones share a place.
const RUN_MAX: usize = 41;

/// The forms of the wanted kinds, filed by the length of their first run.
pub(crate) struct Rules {
    prepared: Vec<Prepared>,
    /// Indices into `prepared`, by the length of the first run.
    by_run: Vec<Vec<u16>>,
    /// The same, for the forms that may start inside a word.
    loose_by_run: Vec<Vec<u16>>,
}

impl Rules {
    pub(crate) fn new(kinds: KindSet) -> Self {
        let tables = [crate::rules_world::RULES, crate::rules_europe::RULES, crate::rules_china::RULES];
        let wanted = tables.into_iter().flatten().filter(|rule| kinds.contains(rule.kind));
        let mut rules = Self {
            prepared: Vec::new(),
            by_run: vec![Vec::new(); RUN_MAX + 1],
            loose_by_run: vec![Vec::new(); RUN_MAX + 1],
        };
        for (index, rule) in (0u16..).zip(wanted) {
            let pattern = Pattern::parse(rule.form);
            let runs = pattern.first_runs();
            for length in 0..64 {
                if runs >> length & 1 == 1 {
                    rules.by_run[length.min(RUN_MAX)].push(index);
                    if rule.flags & flags::LOOSE_START != 0 {
                        rules.loose_by_run[length.min(RUN_MAX)].push(index);
                    }
                }
            }
            rules.prepared.push(Prepared { rule, first_set: pattern.first_set(), pattern });
        }
        rules
    }

    /// Tries what can start at the run `start..end`, or at up to two short words right before it.
    pub(crate) fn at_run(&self, scan: &mut Scan<'_>, start: usize, end: usize, floor: usize) {
        let text = scan.text;
        self.at_start(scan, start, end);
        if text[start].is_ascii_alphabetic()
            && let Some(inner) = text[start..end].iter().position(u8::is_ascii_digit)
        {
            self.at_inner(scan, start + inner, end);
        }
        // Words that may open a form: `DE 136…`, `B AB 1234`.
        let mut first = start;
        for _ in 0..2 {
            if first < floor + 2 || !matches!(text[first - 1], b' ' | b'-' | b'.') {
                break;
            }
            let word = run_start(text, first - 1, floor);
            let letters = &text[word..first - 1];
            if letters.is_empty() || letters.len() > 5 || !letters.iter().all(u8::is_ascii_alphabetic) {
                break;
            }
            self.at_start(scan, word, first - 1);
            first = word;
        }
    }

    fn at_start(&self, scan: &mut Scan<'_>, start: usize, end: usize) {
        let Some(candidates) = self.by_run.get((end - start).min(RUN_MAX)) else { return };
        if candidates.is_empty() || word_before(scan.text, start) {
            return;
        }
        for index in candidates {
            self.try_rule(scan, &self.prepared[usize::from(*index)], start);
        }
    }

    fn at_inner(&self, scan: &mut Scan<'_>, start: usize, end: usize) {
        let Some(candidates) = self.loose_by_run.get((end - start).min(RUN_MAX)) else { return };
        for index in candidates {
            self.try_rule(scan, &self.prepared[usize::from(*index)], start);
        }
    }

    fn try_rule(&self, scan: &mut Scan<'_>, prepared: &Prepared, start: usize) {
        let text = scan.text;
        let first = text[start];
        if first >= 128 || prepared.first_set >> first & 1 == 0 {
            return;
        }
        let Some(end) = prepared.pattern.match_at(text, start, &|end| !word_after(text, end)) else { return };
        let rule = prepared.rule;
        let value = &text[start..end];
        if rule.flags & flags::SAME_SEPARATOR != 0 && !has_one_separator(value)
            || rule.flags & flags::NO_HYPHEN != 0 && start > 0 && text[start - 1] == b'-'
        {
            return;
        }
        let (mut score, checked) = match (rule.check)(value) {
            Verdict::Valid => (rule.valid_score, true),
            Verdict::Possible => (rule.score, false),
            Verdict::Invalid => return,
        };
        if scan.is_chained(start, end) {
            score *= 0.5;
        }
        // Numbers are printed in capitals; hashes and names of things are not.
        if value.iter().any(u8::is_ascii_lowercase) {
            score *= if checked { 0.6 } else { 0.3 };
        }
        scan.note(Finding { kind: rule.kind, start, end, score, checked, rule: rule.name });
    }
}

/// True if the separators of a value are all alike.
fn has_one_separator(value: &[u8]) -> bool {
    let mut separators = value.iter().filter(|byte| !byte.is_ascii_alphanumeric());
    let first = separators.next();
    separators.all(|byte| Some(byte) == first)
}

/// For forms without a check.
pub(crate) fn form_only(_: &[u8]) -> Verdict {
    Verdict::Possible
}

/// A shorter way to write the tables.
pub(crate) const fn rule(
    kind: Kind,
    form: &'static str,
    scores: (f32, f32),
    check: fn(&[u8]) -> Verdict,
    flags: u8,
) -> Rule {
    Rule { kind, name: kind.name(), form, score: scores.0, valid_score: scores.1, check, flags }
}
