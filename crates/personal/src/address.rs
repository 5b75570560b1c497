//! Postal addresses, entered at the house number.
//!
//! English and French write number, name, kind of street; German, Dutch and Nordic languages write the kind as the end of the
//! name and the number last; Spanish, Italian and Portuguese write kind, name, number; Chinese goes from province to room.

use crate::bytes::{number, run_end, word_after, word_before};
use crate::finding::Finding;
use crate::kind::Kind;
use crate::names::is_han;
use crate::scan::Scan;

/// Kinds of street that end an English name.
#[rustfmt::skip]
const ENGLISH: &[&[u8]] = &[
    b"street", b"st", b"avenue", b"ave", b"av", b"road", b"rd", b"boulevard", b"blvd", b"lane", b"ln", b"drive", b"dr", b"court", b"ct",
    b"way", b"place", b"pl", b"square", b"sq", b"terrace", b"ter", b"parkway", b"pkwy", b"highway", b"hwy", b"circle", b"cir", b"trail",
    b"crescent", b"cres", b"close", b"gardens", b"grove", b"row", b"mews", b"alley", b"plaza", b"loop", b"route", b"rte", b"quay", b"hill",
];

/// Kinds of street before a French name.
const FRENCH: &[&[u8]] = &[
    b"rue",
    b"avenue",
    b"boulevard",
    b"bd",
    b"place",
    b"chemin",
    b"impasse",
    b"quai",
    b"cours",
    b"route",
    b"faubourg",
    b"square",
];

/// Kinds of street before a name in Spanish, Italian and Portuguese.
#[rustfmt::skip]
const SOUTHERN: &[&[u8]] = &[
    b"Calle", b"Avenida", b"Via", b"Viale", b"Piazza", b"Corso", b"Rua", b"Travessa", b"Largo", b"Paseo", b"Plaza", b"Carrera", b"C/",
    b"Av.", b"Avda.", b"Largo", b"Camino", b"Ronda", b"Estrada", b"Strada",
];

/// Ends of street names in German, Dutch, Swedish, Danish and Finnish, and how much each says.
#[rustfmt::skip]
const ENDINGS: &[(&[u8], f32)] = &[
    ("straße".as_bytes(), 0.65), (b"strasse", 0.65), (b"str.", 0.6), (b"gasse", 0.55), (b"allee", 0.5), (b"platz", 0.5), (b"weg", 0.45),
    (b"straat", 0.65), (b"laan", 0.5), (b"plein", 0.5), (b"gracht", 0.5), (b"gatan", 0.6), ("vägen".as_bytes(), 0.6), (b"gade", 0.5), (b"vej", 0.5),
    (b"veien", 0.5), (b"vegen", 0.5), (b"katu", 0.6), (b"tie", 0.3), (b"damm", 0.4), (b"ufer", 0.4), (b"kuja", 0.35), (b"utca", 0.5),
];

/// An address whose house number is the run `start..run`.
pub(crate) fn address(scan: &mut Scan<'_>, start: usize, run: usize) {
    let text = scan.text;
    if is_han(text, run) {
        chinese(scan, start, run);
        return;
    }
    // A house number: digits, and perhaps a letter.
    let digits = text[start..run].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || run - start - digits > 1 || word_before(text, start) {
        return;
    }
    let found = street_after(text, start, run)
        .map(|(end, score)| (start, end, score))
        .or_else(|| street_before(text, start, run).map(|(from, score)| (from, run, score)))
        .or_else(|| post_box(text, start, run).map(|from| (from, run, 0.6)))
        .or_else(|| unit_before(text, start, run).map(|from| (from, run, 0.55)))
        .or_else(|| {
            let end = capitals_after(text, run)?;
            scan.has_context(Kind::Address, start, run).then_some((start, end, 0.55))
        });
    let Some((start, end, score)) = found else { return };
    let (end, more) = rest_of_address(text, end);
    let score = if more { (score + 0.2).min(0.9) } else { score };
    scan.note_plain(Finding { kind: Kind::Address, start, end, score, checked: false, rule: "street" });
}

/// The end of a word of letters with inner marks, digits for `40th`.
fn word_end(text: &[u8], at: usize) -> usize {
    let mut end = at;
    while end < text.len() && end - at < 32 {
        match text[end] {
            byte if byte.is_ascii_alphanumeric() => end += 1,
            0xC3..=0xDF => end += 2,
            b'-' | b'\'' | b'.' if end > at && text.get(end + 1).is_some_and(u8::is_ascii_alphabetic) => end += 1,
            _ => break,
        }
    }
    end.min(text.len())
}

fn is_one_of(word: &[u8], list: &[&[u8]]) -> bool {
    word.len() <= 10 && list.iter().any(|name| name.eq_ignore_ascii_case(word))
}

/// `12 Main Street`, `12 rue de la Paix`: the end of the street after a number.
fn street_after(text: &[u8], start: usize, run: usize) -> Option<(usize, f32)> {
    if text.get(run) != Some(&b' ') || !text[start].is_ascii_digit() {
        return None;
    }
    let mut at = run + 1;
    let first_end = word_end(text, at);
    let french = is_one_of(&text[at..first_end], FRENCH);
    let mut end = 0;
    let mut capitals = 0;
    for index in 0..6 {
        let to = word_end(text, at);
        let word = &text[at..to];
        let Some(first) = word.first() else { break };
        let capital = first.is_ascii_uppercase() || first.is_ascii_digit() || !first.is_ascii();
        let small = matches!(word, b"de" | b"la" | b"le" | b"du" | b"des" | b"of" | b"the" | b"et" | b"van" | b"der");
        if !(capital || small || french && index == 0) {
            break;
        }
        capitals += usize::from(capital && !(french && index == 0));
        if !french && index > 0 && capital && is_one_of(word, ENGLISH) {
            end = to;
            break;
        }
        // Courts of law are no addresses.
        if matches!(word, b"Supreme" | b"District" | b"Circuit" | b"High" | b"Appeals") {
            break;
        }
        if french && capitals > 0 && capital {
            end = to;
        }
        if text.get(to) != Some(&b' ') {
            break;
        }
        at = to + 1;
    }
    if end == 0 || capitals == 0 {
        return None;
    }
    let abbreviated = text.get(end) == Some(&b'.') && !french;
    Some((end + usize::from(abbreviated && text.get(end + 1).is_none_or(|byte| *byte != b'.')), 0.65))
}

/// `Hauptstraße 12`, `Calle Mayor 5`: the start of the street before a number.
fn street_before(text: &[u8], start: usize, run: usize) -> Option<(usize, f32)> {
    if run - start > 5 || start < 5 || text[start - 1] != b' ' {
        return None;
    }
    let mut end = start - 1;
    if text[end - 1] == b',' {
        end -= 1;
    }
    let mut at = end;
    for index in 0..5 {
        let mut word = at;
        while word > 0 && !matches!(text[word - 1], b' ' | b'\n' | b'(' | b'"' | b',' | b':' | b'\t') && at - word < 40
        {
            word -= 1;
        }
        let name = &text[word..at];
        let first = *name.first()?;
        if index == 0 && !first.is_ascii_uppercase() && first < 0xC3 {
            return None;
        }
        if index == 0 && (first.is_ascii_uppercase() || first >= 0xC3) && name.len() > 5 {
            let ending = ENDINGS.iter().find(|(ending, _)| {
                name.len() > ending.len() + 2
                    && !name.ends_with(b"rigade")
                    && name[name.len() - ending.len()..].eq_ignore_ascii_case(ending)
            });
            if let Some((_, score)) = ending {
                return Some((word, *score));
            }
        }
        if index > 0 && SOUTHERN.contains(&name) {
            return Some((word, 0.65));
        }
        if first.is_ascii_digit() || word < 2 || text[word - 1] != b' ' {
            return None;
        }
        at = word - 1;
    }
    None
}

/// `Apt. 595`, `Suite 286` at the start of a line or after a comma or figure: where it starts.
fn unit_before(text: &[u8], start: usize, run: usize) -> Option<usize> {
    let words: [&[u8]; 6] = [b"Apt. ", b"Apt ", b"Suite ", b"Ste. ", b"Ste ", b"Apartment "];
    let from = words.iter().find_map(|word| {
        let from = start.checked_sub(word.len())?;
        text[from..start].eq_ignore_ascii_case(word).then_some(from)
    })?;
    let before = text[..from].iter().rev().find(|byte| **byte != b' ');
    let sound = before.is_none_or(|byte| matches!(byte, b',' | b'\n' | b'.') || byte.is_ascii_digit());
    (sound && run - start >= 2 && !word_after(text, run)).then_some(from)
}

/// The end of one to four capitalised words, and a second number, after a number that ends at `run`.
fn capitals_after(text: &[u8], run: usize) -> Option<usize> {
    if text.get(run) != Some(&b' ') {
        return None;
    }
    let mut end = run;
    for index in 0..4 {
        let to = word_end(text, end + 1);
        let first = *text[end + 1..].first()?;
        let capital = first.is_ascii_uppercase() || matches!(first, 0xC3..=0xDF);
        let figure = index > 0 && first.is_ascii_digit();
        if !capital && !figure || to == end + 1 {
            break;
        }
        end = to;
        if figure || text.get(end) != Some(&b' ') {
            break;
        }
    }
    (end > run).then_some(end)
}

/// `P.O. Box 123`: where it starts.
fn post_box(text: &[u8], start: usize, run: usize) -> Option<usize> {
    let forms: [&[u8]; 5] = [b"P.O. Box ", b"PO Box ", b"P. O. Box ", b"P.O.Box ", b"Post Office Box "];
    let from = forms.iter().find_map(|form| {
        let from = start.checked_sub(form.len())?;
        text[from..start].eq_ignore_ascii_case(form).then_some(from)
    })?;
    (!word_after(text, run)).then_some(from)
}

/// The end of unit, place, state and postcode after a street that ends at `end`, and whether a postcode was among them.
fn rest_of_address(text: &[u8], end: usize) -> (usize, bool) {
    let mut at = unit_end(text, end);
    let mut reached = at;
    // A few capitalised words or a postcode, parted by commas, spaces and line ends.
    for _ in 0..8 {
        let mut next = at;
        while next < text.len() && matches!(text[next], b',' | b' ' | b'\n') && next - at < 4 {
            next += 1;
        }
        if next == at {
            break;
        }
        let to = word_end(text, next);
        let word = &text[next..to];
        let parted = text[at..next].contains(&b',') || text[at..next].contains(&b'\n');
        if (4..=6).contains(&word.len()) && word.iter().all(u8::is_ascii_digit) && number(word) > 999 {
            return (zip_end(text, to), true);
        }
        let state = word.len() == 2 && word.iter().all(u8::is_ascii_uppercase);
        let capital = word.first().is_some_and(|byte| byte.is_ascii_uppercase()) && word.len() > 2;
        if state {
            reached = to;
        } else if !capital || reached == at && !parted && at == end {
            break;
        }
        at = to;
    }
    (reached, false)
}

fn zip_end(text: &[u8], at: usize) -> usize {
    let end = run_end(text, at + 1);
    let plus = text.get(at) == Some(&b'-') && end - at == 5 && text[at + 1..end].iter().all(u8::is_ascii_digit);
    if plus { end } else { at }
}

/// The end of `, Apt. 5`, `Suite 100`, `#12` after `end`, or `end`.
fn unit_end(text: &[u8], end: usize) -> usize {
    let words: [&[u8]; 9] = [b"apt", b"apartment", b"suite", b"ste", b"unit", b"floor", b"flat", b"room", b"#"];
    let mut at = end;
    while at < text.len() && matches!(text[at], b',' | b' ' | b'\n') && at - end < 3 {
        at += 1;
    }
    for word in words {
        let to = at + word.len();
        if text.len() > to && text[at..to].eq_ignore_ascii_case(word) {
            let mut value = to;
            while value < text.len() && matches!(text[value], b'.' | b' ') && value - to < 3 {
                value += 1;
            }
            let value_end = run_end(text, value);
            if value_end > value && value_end - value <= 6 && text[value..value_end].iter().any(u8::is_ascii_digit) {
                return value_end;
            }
        }
    }
    end
}

/// Characters that end the name of a region or street.
const LEVELS: &str = "省市区县州旗镇乡村路街道巷弄里";
/// Characters that end a house, building, floor or room number.
const UNITS: &str = "号弄室栋幢座楼层户单座號樓層";
/// Characters after which an address may begin.
const LEADS: &str = "在于到址为是往至从来去住和与";

fn is_in(list: &str, character: &[u8]) -> bool {
    list.as_bytes().chunks_exact(3).any(|listed| listed == character)
}

/// An address such as `北京市朝阳区建国路88号3单元501室`, at its first number `start..run`.
fn chinese(scan: &mut Scan<'_>, start: usize, run: usize) {
    let text = scan.text;
    if !is_in(UNITS, &text[run..run + 3]) || run - start > 6 {
        return;
    }
    // Back over Han characters to where the address may begin.
    let mut from = start;
    let mut levels = 0;
    let mut streets = 0;
    while start - from < 120 && from >= 3 && is_han(text, from - 3) {
        let character = &text[from - 3..from];
        if levels > 0 && is_in(LEADS, character) {
            break;
        }
        if is_in(LEVELS, character) {
            levels += 1;
            streets += usize::from(is_in("路街道巷弄里村镇", character));
        }
        from -= 3;
    }
    if streets == 0 || start - from < 9 {
        return;
    }
    let mut end = run;
    let mut at = run;
    // On over further units: 号3单元501室.
    while at < text.len() && at - run < 60 {
        if is_han(text, at) && (is_in(UNITS, &text[at..at + 3]) || is_in("元", &text[at..at + 3])) {
            at += 3;
            end = at;
        } else if text[at].is_ascii_alphanumeric() || text[at] == b'-' {
            at += 1;
        } else {
            break;
        }
    }
    let score = if levels > 1 { 0.8 } else { 0.5 };
    scan.note_plain(Finding { kind: Kind::Address, start: from, end, score, checked: false, rule: "cn-street" });
}
