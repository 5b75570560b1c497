//! What was found where, and which of several overlapping findings stays.

use std::collections::BTreeMap;

use crate::kind::Kind;

/// A piece of a text that is personal data or a secret.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
    /// How sure the finding is, from 0 to 1: up to 0.3 for a form that much else shares, about 0.5 where
    /// the form is typical, 0.7 and more where a check digit or a closed list agrees as well, 0.9 and more
    /// where chance is negligible. Words nearby that name the kind add 0.4, up to 1. It orders findings and is compared
    /// with the threshold; it is not a calibrated probability.
    pub score: f32,
    /// True if a checksum (or a cryptographic check) of the value itself was computed and agrees.
    pub checked: bool,
    /// Which rule found it, for example `github-token`.
    pub rule: &'static str,
}

impl Finding {
    /// Its length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// True if it is empty; no finder makes such.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end == self.start
    }
}

/// Leaves of each cluster of overlapping findings the best: by score, then a check, then length, then
/// place, then the order of [`Kind`]. What remains is in order of place and does not overlap.
pub(crate) fn resolve(findings: &mut Vec<Finding>) {
    if findings.len() < 2 {
        return;
    }
    findings.sort_by(|left, right| {
        left.start.cmp(&right.start).then(right.end.cmp(&left.end)).then(left.kind.cmp(&right.kind))
    });
    let mut kept: Vec<Finding> = Vec::with_capacity(findings.len());
    let mut cluster = 0;
    while cluster < findings.len() {
        let mut end = findings[cluster].end;
        let mut next = cluster + 1;
        while next < findings.len() && findings[next].start < end {
            end = end.max(findings[next].end);
            next += 1;
        }
        if next == cluster + 1 {
            kept.push(findings[cluster]);
        } else {
            resolve_cluster(&mut findings[cluster..next], &mut kept);
        }
        cluster = next;
    }
    *findings = kept;
}

/// Takes the best, then the best of what does not overlap it, and so on.
fn resolve_cluster(cluster: &mut [Finding], kept: &mut Vec<Finding>) {
    cluster.sort_by(|left, right| {
        let by_rank = right.score.total_cmp(&left.score).then(right.checked.cmp(&left.checked));
        let by_place = right.len().cmp(&left.len()).then(left.start.cmp(&right.start));
        by_rank.then(by_place).then(left.kind.cmp(&right.kind)).then(left.rule.cmp(right.rule))
    });
    // By start; a sorted list would take the second power of a long chain.
    let mut taken: BTreeMap<usize, Finding> = BTreeMap::new();
    for finding in cluster.iter() {
        let before = taken.range(..finding.end).next_back();
        if before.is_none_or(|(_, other)| other.end <= finding.start) {
            taken.insert(finding.start, *finding);
        }
    }
    kept.extend(taken.into_values());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: Kind, start: usize, end: usize, score: f32) -> Finding {
        Finding { kind, start, end, score, checked: false, rule: "test" }
    }

    #[test]
    fn the_best_of_a_cluster_stays_whatever_the_order() {
        let all = [
            finding(Kind::Phone, 0, 10, 0.5),
            finding(Kind::UsSsn, 4, 12, 0.9),
            finding(Kind::Phone, 12, 20, 0.5),
            finding(Kind::TrPhone, 12, 20, 0.5),
            finding(Kind::Url, 30, 40, 0.2),
        ];
        for turn in 0..all.len() {
            let mut findings = all.to_vec();
            findings.rotate_left(turn);
            resolve(&mut findings);
            let kept: Vec<_> = findings.iter().map(|found| (found.kind, found.start)).collect();
            assert_eq!(kept, [(Kind::UsSsn, 4), (Kind::Phone, 12), (Kind::Url, 30)]);
        }
    }
}
