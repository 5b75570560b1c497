//! Telephone numbers: international (E.164) and the national forms of the larger countries.
//!
//! A number is read as groups of digits with the marks between them; the lengths of the groups and the
//! leading digits decide. Facts: ITU-T E.164 country codes and the national numbering plans, as published.

use crate::bytes::{number, run_start, word_after, word_before};
use crate::finding::Finding;
use crate::kind::Kind;
use crate::scan::Scan;

const GROUPS_MAX: usize = 8;
/// E.164 allows 15 digits; trunk and exit prefixes come on top.
const DIGITS_MAX: usize = 18;

/// Groups of digits in a row.
struct Groups {
    digits: [u8; DIGITS_MAX + 1],
    /// For each group the number of digits up to its end, and the byte after it.
    ends: [(u8, usize); GROUPS_MAX],
    count: usize,
    /// The marks between the groups, the first byte of each.
    marks: [u8; GROUPS_MAX],
    /// A `+` stands before the first digit.
    plus: bool,
    /// The first or second group is in parentheses.
    parentheses: bool,
    start: usize,
}

impl Groups {
    /// The groups that start with the digits `start..run`.
    fn read(text: &[u8], start: usize, run: usize) -> Option<Self> {
        let mut groups = Self {
            digits: [0; DIGITS_MAX + 1],
            ends: [(0, 0); GROUPS_MAX],
            count: 0,
            marks: [0; GROUPS_MAX],
            plus: false,
            parentheses: false,
            start,
        };
        let mut open = false;
        if groups.start > 0 && text[groups.start - 1] == b'(' {
            groups.start -= 1;
            groups.parentheses = true;
            open = true;
        }
        if groups.start > 0 && text[groups.start - 1] == b'+' {
            groups.start -= 1;
            groups.plus = true;
            if groups.start > 0 && text[groups.start - 1] == b'(' {
                groups.start -= 1;
            }
        }
        if word_before(text, groups.start) {
            return None;
        }
        let (mut at, mut end) = (start, run);
        let mut total = 0;
        loop {
            if end - at + total > DIGITS_MAX || groups.count == GROUPS_MAX {
                break;
            }
            groups.digits[total..total + end - at].copy_from_slice(&text[at..end]);
            total += end - at;
            groups.ends[groups.count] = (total as u8, end);
            groups.count += 1;
            let Some((next, mark, parenthesis)) = next_group(text, end, open) else { break };
            groups.marks[groups.count - 1] = mark;
            groups.parentheses |= parenthesis;
            open = parenthesis;
            at = next;
            end = at + text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        }
        (groups.count > 0).then_some(groups)
    }

    fn lengths(&self, count: usize) -> [u8; GROUPS_MAX] {
        let mut lengths = [0; GROUPS_MAX];
        let mut before = 0;
        for (length, (total, _)) in lengths.iter_mut().zip(&self.ends[..count]) {
            *length = total - before;
            before = *total;
        }
        lengths
    }
}

/// The start of the next group after a group that ends at `end`, the mark between, and whether a parenthesis opens.
fn next_group(text: &[u8], end: usize, open: bool) -> Option<(usize, u8, bool)> {
    let mut at = end;
    if open {
        if text.get(at) != Some(&b')') {
            return None;
        }
        at += 1;
    }
    let first = *text.get(at)?;
    let mut opened = false;
    if matches!(first, b' ' | b'-' | b'.' | b'/') {
        at += 1;
        if first == b' ' && text.get(at) == Some(&b'-') && text.get(at + 1) == Some(&b' ') {
            at += 2;
        }
    }
    if text.get(at) == Some(&b'(') {
        opened = true;
        at += 1;
    }
    let digits = text.get(at).is_some_and(u8::is_ascii_digit);
    let parted = at > end && (open || opened || matches!(first, b' ' | b'-' | b'.' | b'/'));
    (digits && parted).then_some((at, first, opened))
}

/// A telephone number that starts at the run of digits `start..run`.
pub(crate) fn phone(scan: &mut Scan<'_>, start: usize, run: usize) {
    let text = scan.text;
    // Most numbers are short and stand alone.
    let goes_on = || match (text.get(run), text.get(run + 1)) {
        (Some(b' ' | b'-' | b'.' | b'/' | b')'), Some(next)) => {
            next.is_ascii_digit() || matches!(next, b'(' | b' ' | b'-')
        }
        (Some(b'('), Some(next)) => next.is_ascii_digit(),
        _ => false,
    };
    if run - start < 7 && !goes_on() || is_reference(text, start) {
        return;
    }
    let Some(groups) = Groups::read(text, start, run) else { return };
    if groups.ends[groups.count - 1].0 < 7 {
        return;
    }
    // Inside a longer chain of figures only a strong form counts.
    let follows =
        start >= 2 && matches!(text[start - 1], b'-' | b'.' | b'/' | b',' | b':') && text[start - 2].is_ascii_digit();
    for count in (1..=groups.count).rev() {
        let (total, end) = groups.ends[count - 1];
        let closed = !(groups.marks[count - 1] == b')' || text.get(end) == Some(&b')') && count == groups.count);
        if total < 7 {
            break;
        }
        if word_after(text, end) && extension_end(text, end) == end {
            continue;
        }
        let digits = &groups.digits[..usize::from(total)];
        let lengths = groups.lengths(count);
        let Some((score, rule)) = classify(&groups, digits, &lengths[..count]) else { continue };
        // More groups with the same mark before or after: a row of figures rather than a number.
        let mark = groups.marks[0];
        let row = count > 1 && groups.marks[..count - 1].iter().all(|other| *other == mark);
        let more = count < groups.count && row && groups.marks[count - 1] == mark;
        let before = row && start >= 2 && text[start - 1] == mark && text[start - 2].is_ascii_digit();
        let chained = count == groups.count && scan.is_chained(start, end) || follows || more || before;
        let chained = chained && !groups.plus;
        let score = if chained { score * 0.5 } else { score };
        let end = extension_end(text, end);
        // A parenthesis that was opened and not closed inside belongs to the sentence.
        let first = if closed || !text[groups.start..end].contains(&b'(') { groups.start } else { start };
        let first = if text[first] == b'(' && !text[first..end].contains(&b')') { first + 1 } else { first };
        scan.note(Finding { kind: Kind::Phone, start: first, end, score, checked: false, rule });
        return;
    }
}

/// True for figures that name a publication or a fault: `ISBN 0197222749`, `CVE-2024-4741`.
fn is_reference(text: &[u8], start: usize) -> bool {
    let mut end = start;
    while end > 0 && matches!(text[end - 1], b' ' | b':' | b'-' | b'=' | b'#') && start - end < 3 {
        end -= 1;
    }
    if end == start {
        return false;
    }
    let from = run_start(text, end, end.saturating_sub(6));
    let word = &text[from..end];
    let words: [&[u8]; 8] = [b"isbn", b"issn", b"cve", b"pmid", b"doi", b"oclc", b"rfc", b"ean"];
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// The end of an extension such as `x123` or ` ext. 45` after a number that ends at `end`, or `end`.
fn extension_end(text: &[u8], end: usize) -> usize {
    let rest = &text[end..text.len().min(end + 16)];
    let words: [&[u8]; 7] = [b" ext. ", b" ext ", b" ext.", b"ext", b" x", b"x", b"#"];
    for word in words {
        if rest.len() > word.len() && rest[..word.len()].eq_ignore_ascii_case(word) {
            let digits = rest[word.len()..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let to = end + word.len() + digits;
            if (1..=6).contains(&digits) && !word_after(text, to) {
                return to;
            }
        }
    }
    end
}

/// The score and the plan of a number, or nothing.
fn classify(groups: &Groups, digits: &[u8], lengths: &[u8]) -> Option<(f32, &'static str)> {
    if groups.plus {
        return international(digits).map(|score| (score, "international"));
    }
    if is_figure(groups, digits, lengths) {
        return None;
    }
    if digits.starts_with(b"00") && digits.len() >= 10 && international(&digits[2..]).is_some() {
        let score = if lengths.len() > 1 { 0.65 } else { 0.3 };
        return Some((score, "international-00"));
    }
    china(digits, lengths, groups.parentheses)
        .or_else(|| north_america(digits, lengths, groups.parentheses))
        .or_else(|| elsewhere(digits, lengths, groups))
        .or_else(|| {
            let fits = (7..=13).contains(&digits.len()) && lengths.len() <= 6;
            fits.then_some((0.15, "digits"))
        })
}

/// True for dates, years, decimals, and dotted versions.
fn is_figure(groups: &Groups, digits: &[u8], lengths: &[u8]) -> bool {
    let marks = &groups.marks[..lengths.len() - 1];
    let year = |at: usize| matches!(number(&digits[at..at + 4]), 1000..=2100);
    let dotted = !marks.is_empty() && marks.iter().all(|mark| *mark == b'.');
    let slashed = marks.contains(&b'/') && lengths.len() == 3;
    match lengths {
        [4, 1..=2, 1..=2, ..] if year(0) => true,
        [1..=2, 1..=2, 4] if year(digits.len() - 4) => true,
        [4, 4, ..] if year(0) && year(4) => true,
        [_, _] if dotted => true,
        [1..=3, 1..=3, 1..=3, 1..=3] if dotted => true,
        // Thousands: 1 234 567.
        [1..=3, 3, 3] | [1..=3, 3, 3, 3]
            if digits[0] != b'0' && marks.iter().all(|mark| matches!(mark, b' ' | b'.')) =>
        {
            !matches!(lengths, [3, 3, 3]) || dotted
        }
        _ => slashed,
    }
}

/// National numbers of an E.164 country code: the lengths that are in use.
const COUNTRY_LENGTHS: &[(u16, u8, u8)] = &[
    (1, 10, 10),
    (7, 10, 10),
    (20, 8, 10),
    (27, 9, 9),
    (30, 10, 10),
    (31, 9, 9),
    (32, 8, 9),
    (33, 9, 9),
    (34, 9, 9),
    (36, 8, 9),
    (39, 6, 11),
    (40, 9, 9),
    (41, 9, 9),
    (43, 4, 13),
    (44, 9, 10),
    (45, 8, 8),
    (46, 7, 10),
    (47, 8, 8),
    (48, 9, 9),
    (49, 6, 12),
    (51, 8, 9),
    (52, 10, 11),
    (53, 6, 8),
    (54, 10, 11),
    (55, 10, 11),
    (56, 9, 9),
    (57, 8, 10),
    (58, 10, 10),
    (60, 8, 10),
    (61, 9, 9),
    (62, 8, 12),
    (63, 8, 10),
    (64, 8, 10),
    (65, 8, 8),
    (66, 8, 9),
    (81, 9, 10),
    (82, 8, 10),
    (84, 9, 10),
    (86, 10, 11),
    (90, 10, 10),
    (91, 10, 10),
    (92, 9, 10),
    (93, 9, 9),
    (94, 9, 9),
    (95, 7, 10),
    (98, 10, 10),
];

/// The score of digits that begin with a country code.
fn international(digits: &[u8]) -> Option<f32> {
    if !(7..=15).contains(&digits.len()) {
        return None;
    }
    for width in 1..=2 {
        let code = number(&digits[..width]) as u16;
        if let Ok(index) = COUNTRY_LENGTHS.binary_search_by_key(&code, |row| row.0) {
            let (_, least, most) = COUNTRY_LENGTHS[index];
            let mut national = &digits[width..];
            // `+44 (0)20`: the trunk prefix is written though it is not dialled.
            if national[0] == b'0' && code != 39 {
                national = &national[1..];
            }
            let fits = (usize::from(least)..=usize::from(most)).contains(&national.len());
            return fits.then_some(0.9);
        }
    }
    // Codes of three digits begin like these.
    let three = matches!(digits[0], b'2'..=b'6' | b'8' | b'9') && digits.len() >= 9;
    three.then_some(0.75)
}

/// Mobile and fixed numbers of mainland China.
fn china(digits: &[u8], lengths: &[u8], parentheses: bool) -> Option<(f32, &'static str)> {
    let mobile = |digits: &[u8]| {
        digits.len() == 11
            && digits[0] == b'1'
            && match digits[1] {
                b'3' | b'8' => true,
                b'4' => digits[2] >= b'5' || digits[2] == b'1',
                b'5' => digits[2] != b'4',
                b'6' => matches!(digits[2], b'2' | b'5' | b'6' | b'7'),
                b'7' => digits[2] <= b'8',
                b'9' => digits[2] != b'4',
                _ => false,
            }
    };
    if mobile(digits) {
        match lengths {
            [11] => return Some((0.6, "cn-mobile")),
            [3, 4, 4] | [3, 8] => return Some((0.75, "cn-mobile")),
            _ => {}
        }
    }
    if digits.len() == 13 && digits.starts_with(b"86") && mobile(&digits[2..]) {
        return Some((0.65, "cn-mobile"));
    }
    // 010 and 02x have eight digits, the other areas seven or eight.
    let area = match digits {
        [b'0', b'1', b'0', ..] | [b'0', b'2', b'0'..=b'5' | b'7'..=b'9', ..] => 3,
        [b'0', b'3'..=b'9', b'1'..=b'9', _, ..] => 4,
        _ => 0,
    };
    let fixed = area > 0 && digits.len() > area && matches!(digits.len() - area, 7 | 8) && digits[area] >= b'2';
    let fixed = fixed && (area == 4 || digits.len() == 11);
    if !fixed {
        return None;
    }
    match lengths {
        [first, 7 | 8] if usize::from(*first) == area => Some((if parentheses { 0.75 } else { 0.65 }, "cn-fixed")),
        [first, 3 | 4, 4] if usize::from(*first) == area => Some((0.6, "cn-fixed")),
        [11 | 12] => Some((0.2, "cn-fixed")),
        _ => None,
    }
}

/// Numbers of the North American plan: area code, exchange, line.
fn north_america(digits: &[u8], lengths: &[u8], parentheses: bool) -> Option<(f32, &'static str)> {
    let (body, shape) = match (digits, lengths) {
        ([b'1', rest @ ..], [1, shape @ ..]) if rest.len() == 10 => (rest, shape),
        ([b'1', rest @ ..], [11]) => (rest, &[10][..]),
        _ => (digits, lengths),
    };
    if body.len() == 7 && shape == [3, 4] {
        return Some((0.25, "local"));
    }
    if body.len() != 10 {
        return None;
    }
    let sound = body[0] >= b'2' && body[3] >= b'2' && body[1..3] != *b"11" && body[4..6] != *b"11";
    match shape {
        [3, 3, 4] | [3, 7] if parentheses => Some((if sound { 0.85 } else { 0.6 }, "nanp")),
        [3, 3, 4] => Some((if sound { 0.7 } else { 0.55 }, "nanp")),
        [6, 4] | [3, 7] if sound => Some((0.3, "nanp")),
        [10] if sound => Some((0.2, "nanp")),
        _ => None,
    }
}

/// Forms of other countries, told by the trunk prefix and the grouping.
fn elsewhere(digits: &[u8], lengths: &[u8], groups: &Groups) -> Option<(f32, &'static str)> {
    let total = digits.len();
    let slashed = groups.marks[0] == b'/';
    let spaced = groups.marks[0] == b' ';
    let found = match (digits, lengths) {
        ([b'0', b'7', ..], [5, 6] | [5, 3, 3] | [4, 3, 4] | [4, 7]) => (0.65, "uk-mobile"),
        ([b'0', b'1'..=b'3', ..], [5, 5..=6] | [5, 3, 2..=3] | [4, 3, 4] | [3, 4, 4]) if total >= 10 => (0.6, "uk"),
        ([b'0', b'7', ..], [11]) => (0.4, "uk-mobile"),
        ([b'0', b'1'..=b'9', ..], [2, 2, 2, 2, 2]) => (0.7, "fr"),
        ([b'0', b'1'..=b'9', ..], [4, 2, 2, 2]) => (0.6, "be"),
        ([b'0', b'6', ..], [2, 8]) => (0.6, "nl"),
        ([b'0', b'7'..=b'9', b'0', ..], [3, 4, 4]) => (0.65, "jp-mobile"),
        ([b'0', b'1', b'0' | b'1' | b'6'..=b'9', ..], [3, 3..=4, 4]) => (0.65, "kr-mobile"),
        ([b'0', b'2' | b'3' | b'6'..=b'8', ..], [2, 3..=4, 4]) => (0.55, "jp-kr-au"),
        ([b'0', b'4', ..], [4, 3, 3]) => (0.6, "au-mobile"),
        ([b'0', b'1'..=b'9', ..], [3..=5, 2..=4, 2..=4]) if (9..=11).contains(&total) => (0.45, "trunk"),
        ([b'0', b'1'..=b'9', ..], [2..=5, 5..=9]) if (9..=12).contains(&total) => {
            (if slashed || groups.parentheses { 0.55 } else { 0.45 }, "de")
        }
        ([b'0', b'1'..=b'9', ..], [2..=4, 2..=3, 2..=3, 2..=3, ..]) if (8..=11).contains(&total) => (0.4, "trunk"),
        ([b'8', b'9', ..], [1, 3, 3, 2, 2]) => (0.65, "ru"),
        (_, [2, 4, 4] | [2, 5, 4]) if groups.parentheses => (0.65, "br"),
        (_, [2, 3, 3]) if groups.parentheses => (0.5, "area"),
        ([b'6'..=b'9', ..], [5, 5]) => (0.4, "in"),
        ([b'6'..=b'9', ..], [10]) => (0.2, "in"),
        ([b'3', ..], [3, 6..=7] | [3, 3, 4]) => (0.35, "it"),
        (_, [3, 3, 3]) if spaced => (0.3, "eu"),
        (_, [2, 2, 2, 2]) | (_, [3, 2, 2, 2]) => (0.3, "eu"),
        _ => return None,
    };
    Some(found)
}

/// The national forms that Presidio reports as kinds of their own: Turkey and the Philippines.
pub(crate) fn national(scan: &mut Scan<'_>, start: usize, run: usize) {
    if !scan.wants(Kind::TrPhone) && !scan.wants(Kind::PhMobile) {
        return;
    }
    let text = scan.text;
    let Some(groups) = Groups::read(text, start, run) else { return };
    for count in (1..=groups.count).rev() {
        let (total, end) = groups.ends[count - 1];
        if total < 10 || word_after(text, end) {
            continue;
        }
        let digits = &groups.digits[..usize::from(total)];
        let mut note = |kind: Kind, score: f32, rule: &'static str| {
            scan.note(Finding { kind, start: groups.start, end, score, checked: false, rule });
        };
        match (groups.plus, digits) {
            (true, [b'9', b'0', rest @ ..]) if is_turkish(rest) => note(Kind::TrPhone, 0.6, "tr"),
            (false, [b'0', rest @ ..]) if is_turkish(rest) => note(Kind::TrPhone, 0.3, "tr"),
            (false, rest) if is_turkish(rest) => note(Kind::TrPhone, 0.1, "tr"),
            (true, [b'6', b'3', b'9', rest @ ..]) if rest.len() == 9 => note(Kind::PhMobile, 0.6, "ph"),
            (false, [b'0', b'9', rest @ ..]) if rest.len() == 9 => note(Kind::PhMobile, 0.35, "ph"),
            _ => continue,
        }
        return;
    }
}

/// Area (2 to 4) or mobile (5) and seven digits.
fn is_turkish(digits: &[u8]) -> bool {
    digits.len() == 10 && matches!(digits[0], b'2'..=b'5')
}
