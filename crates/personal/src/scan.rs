//! What the finders share while they go over one text: where they are, what is wanted, what was found.

use std::cell::Cell;

use crate::bytes::is_alphanumeric;
use crate::context::Contexts;
use crate::finding::Finding;
use crate::kind::{Kind, KindSet};

/// What words of context add to a score.
pub(crate) const CONTEXT_GAIN: f32 = 0.4;

/// Scores from which on context is not asked for.
const CERTAIN: f32 = 0.9;

/// One text and what was found in it so far.
pub(crate) struct Scan<'a> {
    /// The text.
    pub(crate) text: &'a [u8],
    /// What is looked for.
    pub(crate) kinds: KindSet,
    /// The least score that counts.
    pub(crate) score_min: f32,
    contexts: &'a Contexts,
    /// The place that context was last asked for, and the answer.
    last_context: Cell<(usize, KindSet)>,
    pub(crate) findings: Vec<Finding>,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(text: &'a str, kinds: KindSet, score_min: f32, contexts: &'a Contexts) -> Self {
        let last_context = Cell::new((usize::MAX, KindSet::EMPTY));
        Self { text: text.as_bytes(), kinds, score_min, contexts, last_context, findings: Vec::new() }
    }

    /// True if the kind is looked for.
    #[inline]
    pub(crate) fn wants(&self, kind: Kind) -> bool {
        self.kinds.contains(kind)
    }

    /// True if words near the value name the kind. Values that start at the same byte share the answer.
    pub(crate) fn has_context(&self, kind: Kind, start: usize, end: usize) -> bool {
        let (place, found) = self.last_context.get();
        if place == start {
            return found.contains(kind);
        }
        let found = self.contexts.around(self.text, start, end);
        self.last_context.set((start, found));
        found.contains(kind)
    }

    /// Notes a finding if the kind is wanted and its score, with what context adds, reaches the threshold.
    pub(crate) fn note(&mut self, mut finding: Finding) {
        if !self.wants(finding.kind) || finding.score + CONTEXT_GAIN < self.score_min {
            return;
        }
        if finding.score < CERTAIN
            && self.contexts.knows(finding.kind)
            && self.has_context(finding.kind, finding.start, finding.end)
        {
            finding.score = (finding.score + CONTEXT_GAIN).min(1.0);
        }
        if finding.score >= self.score_min {
            self.findings.push(finding);
        }
    }

    /// Notes a finding without asking for context.
    pub(crate) fn note_plain(&mut self, finding: Finding) {
        if self.wants(finding.kind) && finding.score >= self.score_min {
            self.findings.push(finding);
        }
    }

    /// True if the value is a part of a longer chain such as `1-22-333` or `1.2.3`.
    pub(crate) fn is_chained(&self, start: usize, end: usize) -> bool {
        let text = self.text;
        let joins = |byte: u8| matches!(byte, b'-' | b'.' | b'/' | b',' | b':');
        let before = start >= 2 && joins(text[start - 1]) && is_alphanumeric(text[start - 2]);
        let after = end + 1 < text.len() && joins(text[end]) && text[end + 1].is_ascii_digit();
        before && text[start - 2].is_ascii_digit() || after
    }
}
