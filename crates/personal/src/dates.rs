//! Dates in figures, dates of birth, and coordinates.
//!
//! The forms are those of Presidio's date recogniser (presidio-analyzer 2.2, MIT), with Chinese and English written forms
//! for dates of birth.

use crate::bytes::{number, run_end, run_start, word_after, word_before};
use crate::checks::is_date;
use crate::finding::Finding;
use crate::kind::Kind;
use crate::scan::Scan;

/// A date that was read.
struct Dated {
    start: usize,
    end: usize,
    score: f32,
    /// Day, month and year are all there.
    full: bool,
}

/// A date at the run `start..run`, which begins with a digit.
pub(crate) fn date(scan: &mut Scan<'_>, start: usize, run: usize) {
    let text = scan.text;
    let read = named_month(text, start, run)
        .or_else(|| timestamp(text, start))
        .or_else(|| figures(text, start, run))
        .or_else(|| chinese(text, start, run));
    let Some(Dated { start, end, score, full }) = read else { return };
    let rule = "date";
    scan.note(Finding { kind: Kind::DateTime, start, end, score, checked: false, rule });
    if full && scan.wants(Kind::DateOfBirth) && scan.has_context(Kind::DateOfBirth, start, end) {
        scan.note_plain(Finding { kind: Kind::DateOfBirth, start, end, score: 0.7, checked: false, rule });
    }
}

fn digits_end(text: &[u8], at: usize) -> usize {
    at + text[at.min(text.len())..].iter().take(5).take_while(|byte| byte.is_ascii_digit()).count()
}

/// `2024-06-05T09:15:30.500-07:00`, seconds and fraction optional, the zone not.
fn timestamp(text: &[u8], start: usize) -> Option<Dated> {
    let rest = &text[start..text.len().min(start + 48)];
    let form = b"dddd-dd-ddTdd:dd";
    let fits = rest.len() > form.len()
        && form.iter().zip(rest).all(|(want, byte)| if *want == b'd' { byte.is_ascii_digit() } else { want == byte });
    if !fits || !is_date(number(&rest[..4]), number(&rest[5..7]), number(&rest[8..10])) || word_before(text, start) {
        return None;
    }
    let mut at = form.len();
    let two = |at: usize| rest.get(at..at + 2).is_some_and(|pair| pair.iter().all(u8::is_ascii_digit));
    if rest[at] == b':' && two(at + 1) {
        at += 3;
        if rest.get(at) == Some(&b'.') {
            at += 1;
            at += rest[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        }
    }
    match rest.get(at) {
        Some(b'Z') => at += 1,
        Some(b'+' | b'-') if two(at + 1) && rest.get(at + 3) == Some(&b':') && two(at + 4) => at += 6,
        _ => return None,
    }
    (!word_after(text, start + at)).then_some(Dated { start, end: start + at, score: 0.8, full: true })
}

/// `5/20/2021`, `21.5.21`, `2021-05-21`, `5/2021`.
fn figures(text: &[u8], start: usize, run: usize) -> Option<Dated> {
    let mark = *text.get(run).filter(|byte| matches!(byte, b'/' | b'-' | b'.'))?;
    if word_before(text, start) || run - start > 4 || run - start == 3 {
        return None;
    }
    let middle = run + 1;
    let middle_end = digits_end(text, middle);
    let first = number(&text[start..run]);
    let second = number(&text[middle..middle_end]);
    let third = middle_end + 1;
    if text.get(middle_end) == Some(&mark) && (1..=2).contains(&(middle_end - middle)) {
        let end = digits_end(text, third);
        let last = number(&text[third.min(end)..end]);
        let year_last = match end.saturating_sub(third) {
            4 => Some(last),
            2 if mark != b'-' => Some(2000 + last),
            _ => None,
        };
        let full = match (run - start, year_last) {
            (4, _) if (1..=2).contains(&(end.saturating_sub(third))) => is_date(first, second, last),
            (1..=2, Some(year)) => is_date(year, first, second) && mark != b'.' || is_date(year, second, first),
            _ => false,
        };
        if full && !word_after(text, end) {
            return Some(Dated { start, end, score: 0.6, full: true });
        }
    }
    // Month and year or day only.
    let short = mark == b'/' && run - start <= 2 && (1..=12).contains(&first) && !word_after(text, middle_end);
    match middle_end - middle {
        4 if short => Some(Dated { start, end: middle_end, score: 0.2, full: false }),
        2 if short => Some(Dated { start, end: middle_end, score: 0.1, full: false }),
        _ => None,
    }
}

const MONTHS: [&[u8]; 12] = [
    b"january",
    b"february",
    b"march",
    b"april",
    b"may",
    b"june",
    b"july",
    b"august",
    b"september",
    b"october",
    b"november",
    b"december",
];

/// The month that an English word names, in full or by three letters.
fn month_of(word: &[u8]) -> Option<usize> {
    let mut lower = [0u8; 9];
    let lower = lower.get_mut(..word.len()).filter(|_| word.len() >= 3)?;
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    MONTHS.iter().position(|name| *name == lower || lower.len() == 3 && name[..3] == *lower)
}

/// `5-MAY-2021`, `May-21`, `5 May 1990`, `May 5, 1990`, around the number `start..run`.
fn named_month(text: &[u8], start: usize, run: usize) -> Option<Dated> {
    let day_text = text[start..run].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let suffixed = matches!(&text[start + day_text..run], b"" | b"st" | b"nd" | b"rd" | b"th");
    let day = number(&text[start..start + day_text]);
    if !suffixed || word_before(text, start) {
        return None;
    }
    let mark = text.get(run).copied().unwrap_or(0);
    if matches!(mark, b' ' | b'-') && (1..=31).contains(&day) && day_text <= 2 {
        let word_end = run_end(text, run + 1);
        if month_of(&text[run + 1..word_end]).is_some() {
            let year_end = digits_end(text, word_end + 1);
            let joined = matches!(text.get(word_end), Some(b' ' | b'-' | b','));
            let year = matches!(year_end.saturating_sub(word_end + 1), 4) && joined;
            let short = year_end.saturating_sub(word_end + 1) == 2 && mark == b'-' && text[word_end] == b'-';
            if (year || short) && !word_after(text, year_end) {
                return Some(Dated { start, end: year_end, score: 0.6, full: true });
            }
            let plain = mark == b'-' && !word_after(text, word_end);
            return plain.then_some(Dated { start, end: word_end, score: 0.3, full: false });
        }
    }
    before_month(text, start, run, day_text, day)
}

/// The forms whose month stands before the number.
fn before_month(text: &[u8], start: usize, run: usize, width: usize, day: u64) -> Option<Dated> {
    let mark = start.checked_sub(1).map(|index| text[index]).filter(|byte| matches!(byte, b' ' | b'-'))?;
    let word = run_start(text, start - 1, start.saturating_sub(12));
    month_of(&text[word..start - 1]).filter(|_| !word_before(text, word))?;
    if mark == b'-' {
        let fits = matches!(width, 2 | 4) && width == run - start && !word_after(text, run);
        return fits.then_some(Dated { start: word, end: run, score: 0.3, full: false });
    }
    let comma = text.get(run) == Some(&b',');
    let year = run + 1 + usize::from(comma && text.get(run + 1) == Some(&b' '));
    let end = digits_end(text, year);
    let full = (1..=31).contains(&day) && width <= 2 && end.saturating_sub(year) == 4 && !word_after(text, end);
    full.then_some(Dated { start: word, end, score: 0.6, full: true })
}

/// `1990年1月2日`.
fn chinese(text: &[u8], start: usize, run: usize) -> Option<Dated> {
    let after = |at: usize, word: &str| text[at..].starts_with(word.as_bytes()).then_some(at + word.len());
    let month = after(run, "年").filter(|_| run - start == 4)?;
    let month_end = digits_end(text, month);
    let day = after(month_end, "月")?;
    let day_end = digits_end(text, day);
    let end = after(day_end, "日").or_else(|| after(day_end, "号"))?;
    let sound = is_date(number(&text[start..run]), number(&text[month..month_end]), number(&text[day..day_end]));
    sound.then_some(Dated { start, end, score: 0.6, full: true })
}

/// A pair of decimal degrees such as `51.5007, -0.1246`, the first at the digits `start..run`.
pub(crate) fn coordinates(scan: &mut Scan<'_>, start: usize, run: usize) {
    let text = scan.text;
    let start = if start > 0 && text[start - 1] == b'-' { start - 1 } else { start };
    if word_before(text, start) || start > 0 && text[start - 1] == b'.' {
        return;
    }
    let Some(first_end) = degrees(text, start, run, 90) else { return };
    let mut at = first_end;
    if text.get(at) == Some(&b',') {
        at += 1;
    }
    if text.get(at) == Some(&b' ') {
        at += 1;
    }
    if at == first_end {
        return;
    }
    let digits = at + usize::from(text.get(at) == Some(&b'-'));
    let Some(end) = degrees(text, at, digits_end(text, digits), 180) else { return };
    scan.note(Finding { kind: Kind::Coordinates, start, end, score: 0.5, checked: false, rule: "decimal-degrees" });
}

/// The end of a number with four decimals or more whose whole part ends at `whole` and is at most `most`.
fn degrees(text: &[u8], start: usize, whole: usize, most: u64) -> Option<usize> {
    let digits = start + usize::from(text.get(start) == Some(&b'-'));
    let fits = (1..=3).contains(&whole.saturating_sub(digits)) && text.get(whole) == Some(&b'.');
    if !fits || number(&text[digits..whole]) > most {
        return None;
    }
    let end = run_end(text, whole + 1);
    let decimals = &text[whole + 1..end];
    ((4..=12).contains(&decimals.len()) && decimals.iter().all(u8::is_ascii_digit) && !word_after(text, end))
        .then_some(end)
}
