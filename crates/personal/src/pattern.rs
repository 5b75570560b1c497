//! Forms of identity numbers, written in a small subset of regular expressions and matched at a known start.
//!
//! A form is a row of character sets with counts, without alternatives or groups, so that matching is a short
//! walk over a few bytes and the lengths of its first run of letters and digits are known beforehand.
//! That is what lets `rules` try only the handful of forms that can begin at a number.

use crate::bytes::is_alphanumeric;

/// A set of ASCII characters with how many of them may follow each other.
#[derive(Debug, Clone, Copy)]
struct Item {
    set: u128,
    count_min: u8,
    count_max: u8,
}

impl Item {
    #[inline]
    fn has(self, byte: u8) -> bool {
        byte < 128 && self.set >> byte & 1 == 1
    }

    fn is_separator(self) -> bool {
        (0..128).all(|byte| !self.has(byte) || !is_alphanumeric(byte))
    }
}

/// A form.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    items: Vec<Item>,
}

impl Pattern {
    /// The form that `source` writes: literals, `\d`, `[A-Z0-9-]`, and `?`, `{n}`, `{m,n}` after them.
    /// Letters match both cases.
    ///
    /// # Panics
    ///
    /// On a source outside the subset: the sources are constants of this crate.
    pub(crate) fn parse(source: &str) -> Self {
        let bytes = source.as_bytes();
        let mut items = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let (set, next) = parse_set(bytes, at);
            let (count_min, count_max, next) = parse_count(bytes, next);
            items.push(Item { set, count_min, count_max });
            at = next;
        }
        Self { items }
    }

    /// The end of the longest match at `start` at which `accept` holds.
    pub(crate) fn match_at(&self, text: &[u8], start: usize, accept: &impl Fn(usize) -> bool) -> Option<usize> {
        walk(&self.items, text, start, accept)
    }

    /// The set of characters that a match can start with, as bits.
    pub(crate) fn first_set(&self) -> u128 {
        let mut set = 0;
        for item in &self.items {
            set |= item.set;
            if item.count_min > 0 {
                break;
            }
        }
        set
    }

    /// For each length that the first run of letters and digits can have, what may follow the run: separators as
    /// bits, [`ANYTHING`] where the form can end there, 0 for lengths that no match has.
    pub(crate) fn first_runs(&self) -> [u128; RUN_MAX + 1] {
        let mut runs = [0; RUN_MAX + 1];
        collect_runs(&self.items, 0, &mut runs);
        runs
    }
}

/// The longest first run that is told apart; longer ones share its place.
pub(crate) const RUN_MAX: usize = 41;

/// What may follow a form that can end: whatever is no part of a word.
pub(crate) const ANYTHING: u128 = !0;

fn collect_runs(items: &[Item], length: usize, runs: &mut [u128; RUN_MAX + 1]) {
    let place = length.min(RUN_MAX);
    let Some((item, rest)) = items.split_first() else {
        runs[place] = ANYTHING;
        return;
    };
    if item.is_separator() {
        runs[place] |= item.set;
        if item.count_min == 0 {
            collect_runs(rest, length, runs);
        }
    } else {
        for count in item.count_min..=item.count_max {
            collect_runs(rest, length + usize::from(count), runs);
        }
    }
}

fn walk(items: &[Item], text: &[u8], start: usize, accept: &impl Fn(usize) -> bool) -> Option<usize> {
    let Some((item, rest)) = items.split_first() else { return accept(start).then_some(start) };
    let mut count = 0;
    while count < item.count_max && text.get(start + usize::from(count)).is_some_and(|byte| item.has(*byte)) {
        count += 1;
    }
    loop {
        if count < item.count_min {
            return None;
        }
        if let Some(end) = walk(rest, text, start + usize::from(count), accept) {
            return Some(end);
        }
        if count == 0 {
            return None;
        }
        count -= 1;
    }
}

fn both_cases(byte: u8) -> u128 {
    1 << byte.to_ascii_lowercase() | 1 << byte.to_ascii_uppercase()
}

fn parse_set(bytes: &[u8], at: usize) -> (u128, usize) {
    match bytes[at] {
        b'\\' => {
            assert_eq!(bytes[at + 1], b'd', "only \\d is known");
            (0x3FF << b'0', at + 2)
        }
        b'[' => {
            let mut set = 0;
            let mut index = at + 1;
            while bytes[index] != b']' {
                if bytes[index + 1] == b'-' && bytes[index + 2] != b']' {
                    for byte in bytes[index]..=bytes[index + 2] {
                        set |= both_cases(byte);
                    }
                    index += 3;
                } else {
                    set |= both_cases(bytes[index]);
                    index += 1;
                }
            }
            (set, index + 1)
        }
        byte => (both_cases(byte), at + 1),
    }
}

fn parse_count(bytes: &[u8], at: usize) -> (u8, u8, usize) {
    match bytes.get(at) {
        Some(b'?') => (0, 1, at + 1),
        Some(b'{') => {
            let mut counts = [0u8; 2];
            let mut which = 0;
            let mut index = at + 1;
            while bytes[index] != b'}' {
                if bytes[index] == b',' {
                    which = 1;
                } else {
                    counts[which] = counts[which] * 10 + (bytes[index] - b'0');
                }
                index += 1;
            }
            (counts[0], if which == 1 { counts[1] } else { counts[0] }, index + 1)
        }
        _ => (1, 1, at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_match_and_know_their_first_runs() {
        let form = Pattern::parse(r"DE[ .-]?\d{3}[ .-]?\d{3}[ .-]?\d{3}");
        let end = |text: &str| form.match_at(text.as_bytes(), 0, &|end| end == text.len());
        assert_eq!(end("DE136695976"), Some(11));
        assert_eq!(end("de 136-695.976"), Some(14));
        assert_eq!(end("DE1366959761"), None);
        let lengths =
            |form: &Pattern| -> Vec<usize> { (0..=RUN_MAX).filter(|length| form.first_runs()[*length] != 0).collect() };
        assert_eq!(lengths(&form), [2, 5, 8, 11]);
        assert_eq!(form.first_runs()[2], 1 << b' ' | 1 << b'.' | 1 << b'-');
        assert_eq!(form.first_runs()[11], ANYTHING);
        assert_eq!(lengths(&Pattern::parse(r"[A-C]\d{1,3}")), [2, 3, 4]);
        assert_eq!(form.first_set(), 1 << b'd' | 1 << b'D');
    }
}
