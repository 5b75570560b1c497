//! Addresses in networks: e-mail, IP, hardware, web.
//!
//! Each function is entered at a byte that every such address has (`@`, `:`, `.`, a digit) and looks around it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str;

use crate::bytes::{is_alphanumeric, run_end, word_after, word_before};
use crate::finding::Finding;
use crate::kind::Kind;
use crate::scan::Scan;

/// The longest local part of an e-mail address (RFC 5321).
const LOCAL_BYTES_MAX: usize = 64;
/// The longest domain name (RFC 1035).
const DOMAIN_BYTES_MAX: usize = 253;
/// The longest web address that is followed.
const URL_BYTES_MAX: usize = 2048;

/// The top-level domains of the root zone that are written in ASCII letters, sorted.
static TOP_LEVEL_DOMAINS: &str = include_str!("top_level_domains.txt");

/// The sorted names of the top-level domains.
pub(crate) struct Domains(Vec<&'static str>);

impl Domains {
    pub(crate) fn new() -> Self {
        Self(TOP_LEVEL_DOMAINS.lines().collect())
    }

    /// True for a top-level domain; names in punycode are taken for one.
    fn has(&self, label: &[u8]) -> bool {
        let mut lower = [0u8; 24];
        let Some(lower) = lower.get_mut(..label.len()) else { return false };
        lower.copy_from_slice(label);
        lower.make_ascii_lowercase();
        lower.starts_with(b"xn--") || self.0.binary_search_by(|name| name.as_bytes().cmp(lower)).is_ok()
    }
}

/// The characters of an unquoted local part (RFC 5322), without the dot.
const fn is_local(byte: u8) -> bool {
    is_alphanumeric(byte)
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'/'
                | b'='
                | b'?'
                | b'^'
                | b'_'
                | b'`'
                | b'{'
                | b'|'
                | b'}'
                | b'~'
        )
}

/// An e-mail address around the `@` at `at`.
pub(crate) fn email(scan: &mut Scan<'_>, domains: &Domains, at: usize) {
    let text = scan.text;
    let mut start = at;
    while start > 0
        && at - start < LOCAL_BYTES_MAX
        && (is_local(text[start - 1]) || text[start - 1] == b'.' && start < at && text[start] != b'.')
    {
        start -= 1;
    }
    // Marks that belong to the sentence, to a query (`?to=a@b.c`) or to markup.
    if let Some(mark) = text[start..at].iter().rposition(|byte| matches!(byte, b'=' | b'/' | b'|' | b'?' | b'&')) {
        start += mark + 1;
    }
    while start < at && !is_alphanumeric(text[start]) && text[start] != b'_' {
        start += 1;
    }
    if start == at || word_before(text, start) || text[at - 1] == b'.' {
        return;
    }
    let Some((end, top)) = domain_after(text, at + 1) else { return };
    let score = if domains.has(&text[top..end]) { 0.95 } else { 0.4 };
    scan.note(Finding { kind: Kind::Email, start, end, score, checked: false, rule: "email" });
}

/// The end of the domain name that starts at `start`, and the start of its last label; at least two labels, the
/// last one of letters (or punycode).
fn domain_after(text: &[u8], start: usize) -> Option<(usize, usize)> {
    let mut best = None;
    let mut label = start;
    loop {
        let mut end = label;
        while end < text.len() && (is_alphanumeric(text[end]) || text[end] == b'-' || text[end] == b'_') {
            end += 1;
        }
        while end > label && !is_alphanumeric(text[end - 1]) {
            end -= 1;
        }
        if end == label || end - label > 63 || end - start > DOMAIN_BYTES_MAX || !is_alphanumeric(text[label]) {
            return best;
        }
        let name = &text[label..end];
        let lettered = name.len() >= 2 && name.iter().all(u8::is_ascii_alphabetic)
            || name.len() > 4 && name[..4].eq_ignore_ascii_case(b"xn--");
        if label > start && lettered && !word_after(text, end) {
            best = Some((end, label));
        }
        if text.get(end) != Some(&b'.') {
            return best;
        }
        label = end + 1;
    }
}

/// What is left out of the IP addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IpScope {
    /// Private, loopback, link-local, documentation, multicast and unspecified ones are no findings.
    pub(crate) public_only: bool,
}

/// An IPv4 address at the run of digits `start..end`, with the length of its network if it is written.
pub(crate) fn ipv4(scan: &mut Scan<'_>, scope: IpScope, start: usize, end: usize) {
    let text = scan.text;
    let chained = start >= 2 && text[start - 1] == b'.' && is_alphanumeric(text[start - 2]);
    if end - start > 3 || text.get(end) != Some(&b'.') || chained || word_before(text, start) {
        return;
    }
    let mut octets = [0u8; 4];
    let mut at = start;
    for (index, octet) in octets.iter_mut().enumerate() {
        let to = at + text[at..].iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
        let parsed = str::from_utf8(&text[at..to]).ok().and_then(|digits| digits.parse::<u8>().ok());
        // Leading zeros are ambiguous (octal or decimal), as in dates.
        let Some(parsed) = parsed.filter(|_| to - at == 1 || text[at] != b'0') else { return };
        *octet = parsed;
        at = to;
        if index < 3 {
            if text.get(at) != Some(&b'.') {
                return;
            }
            at += 1;
        }
    }
    if word_after(text, at) || scope.public_only && !is_public_v4(octets.into()) {
        return;
    }
    let versioned = text.get(at) == Some(&b'.') && text.get(at + 1).is_some_and(u8::is_ascii_digit);
    let small = octets.iter().all(|octet| *octet < 20);
    let score = match (versioned || after_version_word(text, start), small) {
        (true, _) => 0.2,
        (false, true) => 0.35,
        (false, false) => 0.75,
    };
    let end = network_end(text, at, 32);
    scan.note(Finding { kind: Kind::IpAddress, start, end, score, checked: false, rule: "ipv4" });
}

/// True if a word such as `version` or `upgrade to` stands right before.
fn after_version_word(text: &[u8], start: usize) -> bool {
    let window = &text[start.saturating_sub(20)..start];
    let words: [&[u8]; 5] = [b"ersion", b"pgrade", b"elease", b"pdate", b"uild"];
    window.windows(6).any(|six| words.iter().any(|word| six.starts_with(word)))
}

/// The end of `/24` after an address that ends at `at`, or `at`.
fn network_end(text: &[u8], at: usize, bits_max: u32) -> usize {
    if text.get(at) != Some(&b'/') {
        return at;
    }
    let end = run_end(text, at + 1);
    let bits = str::from_utf8(&text[at + 1..end]).ok().and_then(|digits| digits.parse::<u32>().ok());
    let sound = bits.is_some_and(|bits| bits <= bits_max) && end - at <= 4 && !word_after(text, end);
    if sound { end } else { at }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let octets = address.octets();
    let shared = octets[0] == 100 && octets[1] & 0xC0 == 64;
    let benchmark = octets[0] == 198 && octets[1] & 0xFE == 18;
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || address.is_broadcast()
        || octets[0] == 0
        || octets[0] >= 240
        || shared
        || benchmark)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = address.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let first = address.segments()[0];
    let documentation = first == 0x2001 && address.segments()[1] == 0x0DB8 || first & 0xFFF0 == 0x3FF0;
    !(address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || first & 0xFE00 == 0xFC00
        || first & 0xFFC0 == 0xFE80
        || documentation)
}

/// An IPv6 or hardware address around the colon at `at`. Returns the byte after what was looked at.
pub(crate) fn colon(scan: &mut Scan<'_>, scope: IpScope, at: usize) -> usize {
    let text = scan.text;
    let part = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
    let mut start = at;
    while start > 0 && part(text[start - 1]) && at - start < 64 {
        start -= 1;
    }
    let mut end = at + 1;
    while end < text.len() && part(text[end]) && end - start < 128 {
        end += 1;
    }
    let colons = text[start..end].iter().filter(|byte| **byte == b':').count();
    if colons < 2 {
        return at + 1;
    }
    if colons == 5 && end - start == 17 && !word_after(text, end) && !word_before(text, start) {
        hardware(scan, start, end, b':');
    }
    ipv6(scan, scope, start, end);
    end
}

fn ipv6(scan: &mut Scan<'_>, scope: IpScope, start: usize, run: usize) {
    let text = scan.text;
    let mut end = run;
    // The last 32 bits may be written as an IPv4 address.
    if text.get(end) == Some(&b'.') && text.get(end + 1).is_some_and(u8::is_ascii_digit) {
        while end < text.len() && (text[end].is_ascii_digit() || text[end] == b'.') && end - run < 16 {
            end += 1;
        }
        while text[end - 1] == b'.' {
            end -= 1;
        }
    } else if text[end - 1] == b':' && text[end - 2] != b':' {
        end -= 1;
    }
    if word_before(text, start) || word_after(text, end) {
        return;
    }
    let parsed = str::from_utf8(&text[start..end]).ok().and_then(|literal| literal.parse::<Ipv6Addr>().ok());
    let Some(address) = parsed else { return };
    if scope.public_only && !is_public_v6(address) {
        return;
    }
    let hexdigits = text[start..end].iter().filter(|byte| byte.is_ascii_hexdigit()).count();
    let score = match hexdigits {
        _ if end > run => 0.8,
        0 => 0.1,
        1..=5 => 0.3,
        _ => 0.75,
    };
    if text.get(end) == Some(&b'%') {
        end = run_end(text, end + 1).max(end + 1);
    }
    let end = network_end(text, end, 128);
    scan.note(Finding { kind: Kind::IpAddress, start, end, score, checked: false, rule: "ipv6" });
}

/// A hardware address of two-digit groups between equal marks, at the first mark `at`.
pub(crate) fn hyphen(scan: &mut Scan<'_>, at: usize) {
    let text = scan.text;
    if at < 2 || text.get(at + 3) != Some(&b'-') {
        return;
    }
    let (start, end) = (at - 2, at + 15);
    let fits = end <= text.len()
        && (0..17).all(|index| match index % 3 {
            2 => text[start + index] == b'-',
            _ => text[start + index].is_ascii_hexdigit(),
        });
    if fits && !word_before(text, start) && !word_after(text, end) {
        hardware(scan, start, end, b'-');
    }
}

fn hardware(scan: &mut Scan<'_>, start: usize, end: usize, mark: u8) {
    let value = &scan.text[start..end];
    let grouped = value.iter().enumerate().all(|(index, byte)| (index % 3 == 2) == (*byte == mark));
    let same = |digit: u8| value.iter().all(|byte| byte.eq_ignore_ascii_case(&digit) || *byte == mark);
    if grouped && !same(b'0') && !same(b'F') {
        scan.note(Finding { kind: Kind::MacAddress, start, end, score: 0.8, checked: false, rule: "mac" });
    }
}

/// What a dot can stand in: a hardware address in Cisco's form, or a bare domain name.
pub(crate) fn dot(scan: &mut Scan<'_>, domains: &Domains, at: usize) {
    let text = scan.text;
    if !text.get(at + 1).is_some_and(|byte| is_alphanumeric(*byte)) || at == 0 {
        return;
    }
    if text.get(at + 5) == Some(&b'.') && at >= 4 && scan.wants(Kind::MacAddress) {
        let (start, end) = (at - 4, at + 10);
        let fits = end <= text.len()
            && (0..14).all(|index| match index {
                4 | 9 => text[start + index] == b'.',
                _ => text[start + index].is_ascii_hexdigit(),
            });
        let nothing = fits && text[start..end].iter().all(|byte| matches!(byte, b'0' | b'.'));
        if fits && !nothing && !word_before(text, start) && !word_after(text, end) {
            scan.note(Finding { kind: Kind::MacAddress, start, end, score: 0.6, checked: false, rule: "mac-cisco" });
        }
    }
    if scan.wants(Kind::Url) && is_alphanumeric(text[at - 1]) {
        bare_domain(scan, domains, at);
    }
}

/// A domain name without a scheme whose first dot is at `at`.
fn bare_domain(scan: &mut Scan<'_>, domains: &Domains, at: usize) {
    let text = scan.text;
    let mut start = at;
    while start > 0 && (is_alphanumeric(text[start - 1]) || text[start - 1] == b'-') && at - start < 64 {
        start -= 1;
    }
    let joined = start > 0 && matches!(text[start - 1], b'.' | b'@' | b'/' | b':' | b'_');
    if joined || word_before(text, start) {
        return;
    }
    let Some((end, top)) = domain_after(text, start) else { return };
    let alone = text[start..top].eq_ignore_ascii_case(b"www.");
    if alone || !domains.has(&text[top..end]) || text.get(end) == Some(&b'@') {
        return;
    }
    let end = path_end(text, end);
    scan.note(Finding { kind: Kind::Url, start, end, score: 0.55, checked: false, rule: "domain" });
}

/// A web address whose `://` starts at `at`.
pub(crate) fn url(scan: &mut Scan<'_>, domains: &Domains, at: usize) {
    let text = scan.text;
    let start = crate::bytes::run_start(text, at, at.saturating_sub(8));
    let scheme = &text[start..at];
    let known = [&b"http"[..], b"https", b"ftp", b"ftps", b"ws", b"wss"];
    if !known.iter().any(|name| scheme.eq_ignore_ascii_case(name)) {
        return;
    }
    let host = at + 3;
    let Some((end, top)) = domain_after(text, host) else { return };
    if domains.has(&text[top..end]) {
        let end = path_end(text, end);
        scan.note(Finding { kind: Kind::Url, start, end, score: 0.8, checked: false, rule: "url" });
    }
}

/// The end of a port and path after a host, without marks that end a sentence.
fn path_end(text: &[u8], host: usize) -> usize {
    let mut end = host;
    if text.get(end) == Some(&b':') && text.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end = run_end(text, end + 1);
    }
    if text.get(end) != Some(&b'/') {
        return end;
    }
    let stops = |byte: u8| byte <= b' ' || byte >= 0x7F || b"()<>\"'[]{}|".contains(&byte);
    while end < text.len() && !stops(text[end]) && end - host < URL_BYTES_MAX {
        end += 1;
    }
    while matches!(text[end - 1], b'.' | b',' | b';' | b':' | b'!' | b'?') {
        end -= 1;
    }
    end
}
