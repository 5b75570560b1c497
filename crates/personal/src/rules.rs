//! Tries the forms of identity numbers at each run of letters and digits that holds a digit.
//!
//! The forms and their checks are in `rules_world` and `rules_china`. Each form is filed under the lengths that its first run can have,
//! so that a year or a count meets a handful of forms, and most fail at their first byte.

use crate::bytes::{run_start, word_after, word_before};
use crate::finding::Finding;
use crate::kind::{Kind, KindSet};
use crate::pattern::{Pattern, RUN_MAX};
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

/// A form that can have a first run of some length, and what may follow the run.
struct Candidate {
    index: u16,
    after: u128,
}

/// The candidates for a length and a kind of first character.
#[derive(Default)]
struct Bucket {
    candidates: Vec<Candidate>,
    /// What may follow for any of them.
    after: u128,
}

/// The forms of the wanted kinds, filed by the length of their first run and by whether it starts with a digit.
pub(crate) struct Rules {
    prepared: Vec<Prepared>,
    buckets: [Vec<Bucket>; 2],
    /// The same, for the forms that may start inside a word.
    loose: Vec<Bucket>,
}

/// The digits as bits.
const DIGITS: u128 = 0x3FF << b'0';

impl Rules {
    pub(crate) fn new(kinds: KindSet) -> Self {
        let tables = [crate::rules_world::RULES, crate::rules_europe::RULES, crate::rules_china::RULES];
        let wanted = tables.into_iter().flatten().filter(|rule| kinds.contains(rule.kind));
        let buckets = || (0..=RUN_MAX).map(|_| Bucket::default()).collect::<Vec<_>>();
        let mut rules = Self { prepared: Vec::new(), buckets: [buckets(), buckets()], loose: buckets() };
        for (index, rule) in (0u16..).zip(wanted) {
            let pattern = Pattern::parse(rule.form);
            let first_set = pattern.first_set();
            for (length, after) in pattern.first_runs().into_iter().enumerate().filter(|(_, after)| *after != 0) {
                let add = |bucket: &mut Bucket| {
                    bucket.candidates.push(Candidate { index, after });
                    bucket.after |= after;
                };
                if first_set & !DIGITS != 0 {
                    add(&mut rules.buckets[0][length]);
                }
                if first_set & DIGITS != 0 {
                    add(&mut rules.buckets[1][length]);
                }
                if rule.flags & flags::LOOSE_START != 0 {
                    add(&mut rules.loose[length]);
                }
            }
            rules.prepared.push(Prepared { rule, first_set, pattern });
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
        let digit = scan.text[start].is_ascii_digit();
        self.try_bucket(scan, &self.buckets[usize::from(digit)][(end - start).min(RUN_MAX)], start, end, false);
    }

    fn at_inner(&self, scan: &mut Scan<'_>, start: usize, end: usize) {
        self.try_bucket(scan, &self.loose[(end - start).min(RUN_MAX)], start, end, true);
    }

    #[inline]
    fn try_bucket(&self, scan: &mut Scan<'_>, bucket: &Bucket, start: usize, end: usize, loose: bool) {
        // The end of the text and other scripts count as byte 0: only forms that can end there have it.
        let next = 1u128 << scan.text.get(end).filter(|byte| byte.is_ascii()).unwrap_or(&0);
        if bucket.after & next == 0 || !loose && word_before(scan.text, start) {
            return;
        }
        for candidate in bucket.candidates.iter().filter(|candidate| candidate.after & next != 0) {
            self.try_rule(scan, &self.prepared[usize::from(candidate.index)], start);
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
