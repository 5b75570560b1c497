//! Secrets: tokens of known services by their prefixes, private keys, web tokens, and values of high entropy beside words such as `password`.
//!
//! The prefixes, alphabets and lengths are facts that the services document; gitleaks (MIT) collects them in its rules.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use memchr::memmem;

use crate::bytes::is_alphanumeric;
use crate::finding::Finding;
use crate::kind::Kind;
use crate::scan::Scan;
use crate::secret_forms::{Alphabet, Form, Tail};

/// The longest value that is looked at.
const VALUE_BYTES_MAX: usize = 4096;
/// The longest armoured key.
const ARMOUR_BYTES_MAX: usize = 32 << 10;

/// A token whose prefix `at..after` was met.
pub(crate) fn token(scan: &mut Scan<'_>, form: &Form, at: usize, after: usize) {
    let text = scan.text;
    let mut start = at;
    if text[at] == b':' {
        // Telegram's tokens begin with the bot's number.
        start -= text[..at].iter().rev().take(11).take_while(|byte| byte.is_ascii_digit()).count();
        if !(8..=10).contains(&(at - start)) {
            return;
        }
    }
    if start > 0 && (is_alphanumeric(text[start - 1]) || matches!(text[start - 1], b'_' | b'-')) {
        return;
    }
    let Some(end) = tail_end(text, after, form) else { return };
    let body = &text[after..end];
    if entropy(body) < form.entropy_bits_min || is_repetitive(body) {
        return;
    }
    let kind = Kind::ApiKey;
    scan.note_plain(Finding { kind, start, end, score: form.score, checked: false, rule: form.name });
}

fn tail_end(text: &[u8], from: usize, form: &Form) -> Option<usize> {
    let take = |from: usize, alphabet: Alphabet, most: usize| {
        let rest = &text[from.min(text.len())..];
        from + rest.iter().take(most).take_while(|byte| alphabet.has(**byte)).count()
    };
    match form.tail {
        Tail::One(alphabet, least, most) => {
            let mut end = take(from, alphabet, most.min(VALUE_BYTES_MAX));
            // A hyphen or underline at the end belongs to the sentence unless the length is fixed.
            while least < most && end > from && !is_alphanumeric(text[end - 1]) && text[end - 1] != b'=' {
                end -= 1;
            }
            let longer = text.get(end).is_some_and(|byte| alphabet.has(*byte) && is_alphanumeric(*byte));
            (end - from >= least && !longer).then_some(end)
        }
        Tail::Parts(alphabet, mark, lengths) => {
            let mut end = from;
            for (index, (least, most)) in lengths.iter().enumerate() {
                if index > 0 {
                    if text.get(end) != Some(&mark) {
                        return None;
                    }
                    end += 1;
                }
                let next = take(end, alphabet, *most);
                if next - end < *least {
                    return None;
                }
                end = next;
            }
            Some(end)
        }
    }
}

/// A web token whose header starts at `at` with `eyJ`, the base64 of `{"`.
pub(crate) fn web_token(scan: &mut Scan<'_>, at: usize) {
    let text = scan.text;
    if at > 0 && (is_alphanumeric(text[at - 1]) || matches!(text[at - 1], b'_' | b'-' | b'.')) {
        return;
    }
    let part = |from: usize| {
        let rest = &text[from.min(text.len())..];
        from + rest.iter().take(VALUE_BYTES_MAX).take_while(|byte| Alphabet::Url.has(**byte)).count()
    };
    let header = part(at);
    if text.get(header) != Some(&b'.') || header - at < 12 {
        return;
    }
    let payload = part(header + 1);
    if text.get(payload) != Some(&b'.') || payload - header < 12 {
        return;
    }
    let end = part(payload + 1);
    let decoded = URL_SAFE_NO_PAD.decode(&text[at..header]).unwrap_or_default();
    if decoded.windows(5).any(|window| window == b"\"alg\"") {
        let kind = Kind::JsonWebToken;
        scan.note_plain(Finding { kind, start: at, end, score: 0.95, checked: false, rule: "json-web-token" });
    }
}

/// A private key in armour whose `-----BEGIN ` starts at `at`.
pub(crate) fn armour(scan: &mut Scan<'_>, at: usize) {
    let text = scan.text;
    let window = &text[at..text.len().min(at + ARMOUR_BYTES_MAX)];
    let label = &window[..window.len().min(80)];
    let Some(label_end) = find(&label[11..], b"-----") else { return };
    if find(&label[..11 + label_end], b"PRIVATE KEY").is_none() {
        return;
    }
    // The body has no hyphens, so the next five of them close it. A key that is cut off is still secret:
    // take it to where its letters end.
    let body = 11 + label_end + 5;
    let next = memmem::find(&window[body..], b"-----").map(|from| body + from);
    let closing = next.filter(|from| window[*from..].starts_with(b"-----END ")).and_then(|from| {
        let rest = &window[from + 9..window.len().min(from + 89)];
        find(rest, b"-----").map(|to| from + 9 + to + 5)
    });
    let cut = || {
        let armoured = |byte: &u8| is_alphanumeric(*byte) || b"+/=\r\n ,:\\".contains(byte);
        body + window[body..].iter().take_while(|byte| armoured(byte)).count()
    };
    let length = closing.unwrap_or_else(cut);
    let (kind, end) = (Kind::PrivateKey, at + length);
    scan.note_plain(Finding { kind, start: at, end, score: 1.0, checked: false, rule: "private-key" });
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

/// The password of `scheme://user:password@host` whose `://` starts at `at`.
pub(crate) fn connection(scan: &mut Scan<'_>, at: usize) {
    let text = scan.text;
    let from = at + 3;
    let rest = &text[from.min(text.len())..text.len().min(from + 256)];
    let stop = rest.iter().position(|byte| *byte <= b' ' || *byte >= 0x7F || b"/\"'<>?#".contains(byte));
    let authority = &rest[..stop.unwrap_or(rest.len())];
    let Some(host) = authority.iter().rposition(|byte| *byte == b'@') else { return };
    let Some(colon) = authority[..host].iter().position(|byte| *byte == b':') else { return };
    let secret = &authority[colon + 1..host];
    if at == 0 || !is_alphanumeric(text[at - 1]) || colon == 0 || secret.len() < 3 || is_stand_in(secret) {
        return;
    }
    let (kind, start) = (Kind::ConnectionString, from + colon + 1);
    let end = from + host;
    scan.note_plain(Finding { kind, start, end, score: 0.96, checked: false, rule: "url-password" });
}

/// What the word before a value says about the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// A password: people choose it.
    Password,
    /// A token or key: a machine made it.
    Token,
}

/// A value after a word of secrecy that ends at `after`.
pub(crate) fn named(scan: &mut Scan<'_>, word: Word, after: usize) {
    let text = scan.text;
    let Some((mut start, assigned)) = value_start(text, after) else { return };
    let quote = text.get(start).copied().filter(|byte| matches!(byte, b'"' | b'\'' | b'`'));
    if quote.is_some() {
        start += 1;
    }
    let rest = &text[start.min(text.len())..text.len().min(start + VALUE_BYTES_MAX)];
    let stops = |byte: u8| match quote {
        Some(quote) => byte == quote || !matches!(byte, b' '..=b'~'),
        None => byte <= b' ' || byte >= 0x7F || b"\"'`,;<>()[]{}".contains(&byte),
    };
    let mut length = rest.iter().position(|byte| stops(*byte)).unwrap_or(rest.len());
    if quote.is_none() {
        while length > 0 && matches!(rest[length - 1], b'.' | b':' | b'!' | b'?') {
            length -= 1;
        }
        // A call or an index is code, not a value.
        if matches!(rest.get(length), Some(b'(' | b'[' | b'{')) {
            return;
        }
    }
    let value = &rest[..length];
    let digits = value.iter().any(u8::is_ascii_digit);
    let letters = value.iter().any(u8::is_ascii_alphabetic);
    let marks = value.iter().any(|byte| byte.is_ascii_punctuation() && !matches!(byte, b'_' | b'-' | b'.' | b'/'));
    let sound = match word {
        Word::Password if quote.is_some() && assigned => length >= 6 && (digits || marks) && entropy(value) >= 2.3,
        Word::Password => length >= 6 && letters && (digits || marks) && entropy(value) >= 2.3,
        Word::Token => length >= 16 && letters && digits && entropy(value) >= 3.2,
    };
    if !sound || is_stand_in(value) || value.contains(&b' ') && word == Word::Token {
        return;
    }
    let score = if quote.is_some() && assigned { 0.75 } else { 0.6 };
    let (kind, end) = (Kind::Password, start + length);
    scan.note_plain(Finding { kind, start, end, score, checked: false, rule: "named-secret" });
}

/// Where the value starts after a word that ends at `at`, and whether a sign assigns it.
fn value_start(text: &[u8], mut at: usize) -> Option<(usize, bool)> {
    let skip = |mut at: usize, most: usize, wanted: fn(u8) -> bool| {
        let stop = text.len().min(at + most);
        while at < stop && wanted(text[at]) {
            at += 1;
        }
        at
    };
    at = skip(at, 24, |byte| is_alphanumeric(byte) || matches!(byte, b'_' | b'-'));
    at = skip(at, 1, |byte| matches!(byte, b'"' | b'\'' | b']'));
    at = skip(at, 3, |byte| matches!(byte, b' ' | b'\t'));
    let rest = &text[at..];
    let signs: [(&[u8], bool); 9] = [
        (b"=>", true),
        (b":=", true),
        (b"==", false),
        (b"=", true),
        (b":", true),
        ("：".as_bytes(), true),
        (b"is ", false),
        ("是".as_bytes(), false),
        ("为".as_bytes(), false),
    ];
    let (sign, assigned) = signs.into_iter().find(|(sign, _)| rest.starts_with(sign))?;
    if sign == b"==" {
        return None;
    }
    Some((skip(at + sign.len(), 3, |byte| matches!(byte, b' ' | b'\t')), assigned))
}

/// True for what stands where a secret would: variables, placeholders, asterisks, examples of words.
fn is_stand_in(value: &[u8]) -> bool {
    let stand_ins: [&[u8]; 14] = [
        b"password",
        b"passwd",
        b"secret",
        b"example",
        b"changeme",
        b"placeholder",
        b"your",
        b"xxxx",
        b"****",
        b"<",
        b"${",
        b"{{",
        b"%(",
        b"...",
    ];
    let mut lower = [0u8; 64];
    let length = value.len().min(64);
    lower[..length].copy_from_slice(&value[..length]);
    lower.make_ascii_lowercase();
    let lower = &lower[..length];
    stand_ins.iter().any(|word| find(lower, word).is_some())
        || value.first() == Some(&b'$')
        || value.starts_with(b"http")
        || is_repetitive(value)
}

/// True if one character makes up most of the value.
fn is_repetitive(value: &[u8]) -> bool {
    let runs = value.windows(2).filter(|pair| pair[0] == pair[1]).count();
    value.len() > 3 && runs * 2 > value.len()
}

/// Shannon entropy of the bytes, in bits each.
fn entropy(value: &[u8]) -> f32 {
    let mut counts = [0u32; 256];
    for byte in value {
        counts[usize::from(*byte)] += 1;
    }
    let total = value.len().max(1) as f32;
    let share = |count: u32| count as f32 / total;
    counts.iter().filter(|count| **count > 0).map(|count| -share(*count) * share(*count).log2()).sum()
}
