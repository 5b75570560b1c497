//! What spaCy splits off a chunk's front and end, where it splits inside, and its special cases.
//!
//! The rules are those of spaCy 3.8's `lang/punctuation.py`, `lang/en` and `lang/xx` (MIT), written out by
//! hand. A chunk is a run of characters without white space.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use crate::classes::{BEFORE_STOP, Classes, HOST, ICON, LETTER, LOWER, PREFIX, QUOTE, SUFFIX, UPPER};

const SPECIAL_ENGLISH: &str = include_str!("../data/special_en.txt");
const SPECIAL_NEUTRAL: &str = include_str!("../data/special_xx.txt");
const UNITS: &str = include_str!("../data/units.txt");

/// One language's rules.
pub(crate) struct Rules {
    /// A hyphen between a digit and a letter splits.
    pub hyphen_after_digit: bool,
    pub special: Specials,
}

pub(crate) static ENGLISH: LazyLock<Rules> =
    LazyLock::new(|| Rules { hyphen_after_digit: true, special: Specials::read(SPECIAL_ENGLISH) });
pub(crate) static NEUTRAL: LazyLock<Rules> =
    LazyLock::new(|| Rules { hyphen_after_digit: false, special: Specials::read(SPECIAL_NEUTRAL) });
static UNIT_SET: LazyLock<HashSet<&'static str>> = LazyLock::new(|| UNITS.lines().collect());
static UNIT_BYTES_MAX: LazyLock<usize> = LazyLock::new(|| UNITS.lines().map(str::len).max().unwrap_or(0));

/// A special case that is looked for in the finished tokens as well.
pub(crate) struct Pattern {
    /// All its tokens.
    pub tokens: Vec<&'static str>,
}

/// Chunks with fixed pieces, like `don't`.
pub(crate) struct Specials {
    filter: Vec<u64>,
    pieces: HashMap<&'static str, Vec<u8>>,
    bytes_max: usize,
    pattern_filter: Vec<u64>,
    /// The patterns by their first token.
    patterns: HashMap<&'static str, Vec<Pattern>>,
    pattern_first_bytes_max: usize,
    /// First bytes of the second tokens of patterns that start with a letter or digit.
    after_word: [bool; 256],
    /// First bytes of the first tokens of the other patterns.
    symbol_start: [bool; 256],
}

const FILTER_BITS: u32 = 16;

/// A number that differs for nearly all short strings that differ.
#[inline]
fn sketch(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    let (head, tail) = if length >= 8 {
        (little_endian(&bytes[..8]), little_endian(&bytes[length - 8..]))
    } else if length >= 4 {
        (little_endian_4(&bytes[..4]), little_endian_4(&bytes[length - 4..]))
    } else if length == 0 {
        (0, 0)
    } else {
        (u64::from(bytes[0]) | u64::from(bytes[length / 2]) << 8, u64::from(bytes[length - 1]))
    };
    (head ^ tail.rotate_left(27) ^ (length as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[inline]
fn little_endian(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

#[inline]
fn little_endian_4(bytes: &[u8]) -> u64 {
    u64::from(bytes.try_into().map_or(0, u32::from_le_bytes))
}

#[inline]
fn filter_holds(filter: &[u64], bytes: &[u8]) -> bool {
    let slot = (sketch(bytes) >> (64 - FILTER_BITS)) as usize;
    filter[slot / 64] >> (slot % 64) & 1 != 0
}

fn filter_add(filter: &mut [u64], bytes: &[u8]) {
    let slot = (sketch(bytes) >> (64 - FILTER_BITS)) as usize;
    filter[slot / 64] |= 1 << (slot % 64);
}

impl Specials {
    fn read(list: &'static str) -> Self {
        let mut out = Self {
            filter: vec![0; 1 << (FILTER_BITS - 6)],
            pieces: HashMap::new(),
            bytes_max: 0,
            pattern_filter: vec![0; 1 << (FILTER_BITS - 6)],
            patterns: HashMap::new(),
            pattern_first_bytes_max: 0,
            after_word: [false; 256],
            symbol_start: [false; 256],
        };
        for line in list.lines() {
            let fields: Vec<&'static str> = line.split('\t').collect();
            let bar = fields.iter().position(|field| *field == "|").unwrap_or(fields.len());
            let lengths: Vec<u8> = fields[..bar].iter().map(|piece| piece.len() as u8).collect();
            // Leaked once for each language: the pieces of a case put together.
            let whole: &'static str = Box::leak(fields[..bar].concat().into_boxed_str());
            out.bytes_max = out.bytes_max.max(whole.len());
            filter_add(&mut out.filter, whole.as_bytes());
            out.pieces.insert(whole, lengths);
            if bar < fields.len() {
                out.add_pattern(&fields[bar + 1..]);
            }
        }
        out
    }

    fn add_pattern(&mut self, tokens: &[&'static str]) {
        let first = tokens[0];
        filter_add(&mut self.pattern_filter, first.as_bytes());
        self.pattern_first_bytes_max = self.pattern_first_bytes_max.max(first.len());
        if first.as_bytes()[0].is_ascii_alphanumeric() {
            self.after_word[usize::from(tokens[1].as_bytes()[0])] = true;
        } else {
            self.symbol_start[usize::from(first.as_bytes()[0])] = true;
        }
        self.patterns.entry(first).or_default().push(Pattern { tokens: tokens.to_vec() });
    }

    /// The lengths in bytes of the pieces of a special case.
    #[inline]
    pub fn pieces(&self, chunk: &str) -> Option<&[u8]> {
        if chunk.len() > self.bytes_max || !filter_holds(&self.filter, chunk.as_bytes()) {
            return None;
        }
        self.pieces.get(chunk).map(Vec::as_slice)
    }

    /// The patterns that may start with this token before that one.
    #[inline]
    pub fn patterns(&self, token: &str, next_byte: u8) -> &[Pattern] {
        let bytes = token.as_bytes();
        let possible = bytes.len() <= self.pattern_first_bytes_max
            && (self.after_word[usize::from(next_byte)] || self.symbol_start[usize::from(bytes[0])])
            && filter_holds(&self.pattern_filter, bytes);
        if possible { self.patterns.get(token).map_or(&[], Vec::as_slice) } else { &[] }
    }
}

/// How many bytes are split off the front.
#[inline]
pub(crate) fn prefix_bytes(chunk: &str, classes: &Classes) -> usize {
    let bytes = chunk.as_bytes();
    let Some(&first) = bytes.first() else { return 0 };
    if first >= 0x80 {
        let character = first_character(chunk);
        return if classes.is(character, PREFIX) { character.len_utf8() } else { 0 };
    }
    match first {
        b'.' => match bytes.iter().take_while(|byte| **byte == b'.').count() {
            1 => 0,
            run => run,
        },
        b'+' => usize::from(!bytes.get(1).is_some_and(u8::is_ascii_digit)),
        b'U' => 3 * usize::from(bytes.starts_with(b"US$")),
        b'A' | b'C' => 2 * usize::from(bytes.get(1) == Some(&b'$')),
        _ => usize::from(classes.of_byte(first) & PREFIX != 0),
    }
}

/// How many bytes are split off the end: the longest of all the rules that reach it.
#[inline]
pub(crate) fn suffix_bytes(chunk: &str, classes: &Classes) -> usize {
    let bytes = chunk.as_bytes();
    let Some(&last) = bytes.last() else { return 0 };
    match last {
        b'.' => return stop_suffix_bytes(chunk, classes),
        b's' | b'S' => {
            let before = &bytes[..bytes.len() - 1];
            if before.ends_with(b"'") {
                return 2;
            }
            if before.ends_with("’".as_bytes()) {
                return 1 + "’".len();
            }
        }
        b'+' if bytes.len() > 1 && bytes[bytes.len() - 2].is_ascii_digit() => return 1,
        _ => {}
    }
    let unit = unit_suffix_bytes(chunk);
    let character = last_character(chunk);
    let single = if character == '…' && chunk[..chunk.len() - 3].ends_with('…') {
        6
    } else if classes.is(character, SUFFIX) {
        character.len_utf8()
    } else {
        0
    };
    unit.max(single)
}

/// A final full stop goes with the stops before it, or alone after certain characters.
fn stop_suffix_bytes(chunk: &str, classes: &Classes) -> usize {
    let before = &chunk[..chunk.len() - 1];
    let Some(previous) = before.chars().next_back() else { return 0 };
    if previous == '.' {
        return chunk.bytes().rev().take_while(|byte| *byte == b'.').count();
    }
    if classes.is(previous, BEFORE_STOP) {
        return 1;
    }
    let Some(second) = before.chars().rev().nth(1) else { return 0 };
    let degrees = matches!(previous, 'F' | 'C' | 'K') && second == '°';
    let initials = classes.is(previous, UPPER) && classes.is(second, UPPER);
    usize::from(degrees || initials)
}

/// A unit or a currency after a digit. No unit holds a digit, so only what follows the last one can be one.
#[inline]
fn unit_suffix_bytes(chunk: &str) -> usize {
    let bytes = chunk.as_bytes();
    let from = bytes.len().saturating_sub(*UNIT_BYTES_MAX + 1);
    let Some(digit) = bytes[from..].iter().rposition(u8::is_ascii_digit) else { return 0 };
    let rest = &chunk[from + digit + 1..];
    if !rest.is_empty() && UNIT_SET.contains(rest) { rest.len() } else { 0 }
}

/// Calls with the place, in bytes, of each separator inside a chunk, from the left.
pub(crate) fn for_each_infix(chunk: &str, rules: &Rules, classes: &Classes, mut visit: impl FnMut(usize, usize)) {
    let mut at = 0;
    let mut previous: Option<char> = None;
    while at < chunk.len() {
        let character = first_character(&chunk[at..]);
        let after = at + character.len_utf8();
        let length = infix_bytes(chunk, at, character, previous, rules, classes);
        if length > 0 {
            visit(at, at + length);
            previous = chunk[..at + length].chars().next_back();
            at += length;
        } else {
            previous = Some(character);
            at = after;
        }
    }
}

/// How many bytes of a separator start here, 0 for none.
#[inline]
fn infix_bytes(
    chunk: &str,
    at: usize,
    character: char,
    previous: Option<char>,
    rules: &Rules,
    classes: &Classes,
) -> usize {
    let before = |bits: u32| previous.is_some_and(|previous| classes.is(previous, bits));
    let digit_before = || previous.is_some_and(|previous| previous.is_ascii_digit());
    let rest = &chunk[at + character.len_utf8()..];
    let after = |rest: &str, bits: u32| rest.chars().next().is_some_and(|next| classes.is(next, bits));
    match character {
        '.' => {
            let run = chunk[at..].bytes().take_while(|byte| *byte == b'.').count();
            if run > 1 {
                return run;
            }
            usize::from(before(LOWER | QUOTE) && after(rest, UPPER | QUOTE))
        }
        '…' => 3,
        '+' | '-' | '*' | '^'
            if digit_before() && rest.bytes().next().is_some_and(|next| next.is_ascii_digit() || next == b'-') =>
        {
            1
        }
        ',' => usize::from(before(LETTER) && after(rest, LETTER)),
        '-' | '–' | '—' | '~' => {
            if !(before(LETTER) || rules.hyphen_after_digit && digit_before()) {
                return 0;
            }
            ["-", "–", "—", "--", "---", "——", "~"]
                .into_iter()
                .find(|hyphen| chunk[at..].strip_prefix(hyphen).is_some_and(|rest| after(rest, LETTER)))
                .map_or(0, str::len)
        }
        ':' | '<' | '>' | '=' | '/' => usize::from((before(LETTER) || digit_before()) && after(rest, LETTER)),
        _ if !character.is_ascii() && classes.is(character, ICON) => character.len_utf8(),
        _ => 0,
    }
}

/// Whether a chunk is an address of the web or of mail, as spaCy's `URL_MATCH` has it: an optional scheme,
/// optional credentials, a public IPv4 address or a host with a top-level domain, port, path.
pub(crate) fn is_url(chunk: &str, classes: &Classes) -> bool {
    if !chunk.contains('.') {
        return false;
    }
    if host_and_rest(chunk, classes) {
        return true;
    }
    if let Some(colon) = chunk.find("://") {
        let scheme = &chunk[..colon];
        let fits = |c: char| matches!(c, '+' | '-' | '.') || classes.is(c, crate::classes::WORD);
        if scheme.chars().count() >= 2 && scheme.chars().all(fits) && host_and_rest(&chunk[colon + 3..], classes) {
            return true;
        }
    }
    chunk.match_indices('@').any(|(at, _)| at > 0 && host_and_rest(&chunk[at + 1..], classes))
}

fn host_and_rest(text: &str, classes: &Classes) -> bool {
    let end = text.find([':', '/', '?', '#']).unwrap_or(text.len());
    let (host, mut rest) = text.split_at(end);
    if !is_host(host, classes) && !is_public_address(host, classes) {
        return false;
    }
    if let Some(port) = rest.strip_prefix(':') {
        let end = port.find(['/', '?', '#']).unwrap_or(port.len());
        let digits = &port[..end];
        let count = digits.chars().count();
        if !(2..=5).contains(&count) || !digits.chars().all(|c| classes.is(c, crate::classes::DIGIT)) {
            return false;
        }
        rest = &port[end..];
    }
    rest.is_empty() || rest.starts_with(['/', '?', '#'])
}

fn is_host(host: &str, classes: &Classes) -> bool {
    let Some(stop) = host.rfind('.') else { return false };
    let domain = &host[stop + 1..];
    let count = domain.chars().count();
    if !(2..=63).contains(&count) || !domain.chars().all(|c| classes.is(c, LOWER)) {
        return false;
    }
    host[..stop].split('.').all(|label| {
        let edge = |c: Option<char>| c.is_some_and(|c| classes.is(c, HOST));
        label.chars().count() <= 64
            && edge(label.chars().next())
            && edge(label.chars().next_back())
            && label.chars().all(|c| matches!(c, '-' | '_') || classes.is(c, HOST))
    })
}

/// Four octets, first 1 to 223, last 1 to 254, outside the private networks.
fn is_public_address(host: &str, classes: &Classes) -> bool {
    let octets: Vec<Vec<char>> = host.split('.').map(|octet| octet.chars().take(4).collect()).collect();
    let digit = |c: char| classes.is(c, crate::classes::DIGIT);
    let [first, second, third, fourth] = octets.as_slice() else { return false };
    // 1-99, 100-199, 200-top: spelt with one `\d` where the pattern has one.
    let edge = |octet: &[char], top: char| match octet {
        [a] => ('1'..='9').contains(a),
        [a, b] => ('1'..='9').contains(a) && digit(*b),
        ['1', b, c] => digit(*b) && digit(*c),
        ['2', b, c] => ('0'..top).contains(b) && digit(*c) || *b == top && last_fits(top, *c),
        _ => false,
    };
    let middle = |octet: &[char]| match octet {
        [a] => digit(*a),
        [a, b] => digit(*a) && digit(*b),
        ['1', b, c] => digit(*b) && digit(*c),
        ['2', b, c] => ('0'..='4').contains(b) && digit(*c) || *b == '5' && ('0'..='5').contains(c),
        _ => false,
    };
    if !edge(first, '2') || !middle(second) || !middle(third) || !edge(fourth, '5') {
        return false;
    }
    let private = match (first.as_slice(), second.as_slice()) {
        (['1', '0'] | ['1', '2', '7'], _) => true,
        (['1', '6', '9'], ['2', '5', '4']) | (['1', '9', '2'], ['1', '6', '8']) => true,
        (['1', '7', '2'], ['1', b]) => ('6'..='9').contains(b),
        (['1', '7', '2'], ['2', b]) => digit(*b),
        (['1', '7', '2'], ['3', b]) => matches!(b, '0' | '1'),
        _ => false,
    };
    !private
}

/// 223 is the last first octet, 254 the last fourth one.
fn last_fits(top: char, digit: char) -> bool {
    if top == '2' { ('0'..='3').contains(&digit) } else { ('0'..='4').contains(&digit) }
}

#[inline]
fn first_character(text: &str) -> char {
    text.chars().next().unwrap_or('\0')
}

#[inline]
fn last_character(text: &str) -> char {
    text.chars().next_back().unwrap_or('\0')
}
