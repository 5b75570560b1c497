//! Payment cards, bank accounts and wallets.
//!
//! Cards: ISO/IEC 7812 issuer prefixes as the schemes publish them. IBAN: the lengths of the ISO 13616 registry.
//! Wallets: base58check, bech32 (BIP 173) and bech32m (BIP 350), Ethereum's hexadecimal form.

use sha2::{Digest, Sha256};

use crate::bytes::{Compact, is_alphanumeric, number, run_end, word_after, word_before};
use crate::checks::{is_uniform, luhn, mod_97};
use crate::finding::Finding;
use crate::kind::Kind;
use crate::scan::Scan;

/// A payment card at the run of digits `start..run`, in one piece or in groups.
pub(crate) fn card(scan: &mut Scan<'_>, start: usize, run: usize) {
    let text = scan.text;
    let single = run - start >= 12;
    if !single && run - start != 4 || word_before(text, start) {
        return;
    }
    let end = if single { run } else { grouped_end(text, run) };
    let compact = Compact::digits_of(&text[start..end]);
    let digits = compact.as_bytes();
    if !(12..=19).contains(&digits.len()) || word_after(text, end) || is_uniform(digits) || !luhn(digits) {
        return;
    }
    if let Some((kind, rule)) = issuer(digits) {
        // Schemes of many lengths and short prefixes fit one number in a hundred.
        let rare = matches!(rule, "maestro" | "uatp" | "diners" | "dankort" | "mir");
        let score = match (single, rare) {
            (true, true) => 0.35,
            (true, false) => 0.65,
            (false, _) => 0.85,
        };
        let joined = |byte: Option<&u8>| matches!(byte, Some(b'-' | b'/' | b'_' | b'#' | b'&'));
        let part = joined(start.checked_sub(1).and_then(|before| text.get(before))) || joined(text.get(end));
        let score = if part || scan.is_chained(start, end) { score * 0.5 } else { score };
        scan.note(Finding { kind, start, end, score, checked: true, rule });
    }
}

/// The end of groups such as `1234 5678 9012 3456` or `1234-567890-12345` after the first group.
fn grouped_end(text: &[u8], first: usize) -> usize {
    let mark = match text.get(first) {
        Some(mark @ (b' ' | b'-')) => *mark,
        _ => return first,
    };
    let mut end = first;
    for _ in 0..4 {
        let group = end + 1;
        if text.get(end) != Some(&mark) || !text.get(group).is_some_and(u8::is_ascii_digit) {
            break;
        }
        let next = run_end(text, group);
        if !(3..=7).contains(&(next - group)) || !text[group..next].iter().all(u8::is_ascii_digit) {
            break;
        }
        end = next;
    }
    end
}

/// The kind and scheme of a card number, by its prefix and length.
fn issuer(digits: &[u8]) -> Option<(Kind, &'static str)> {
    let (two, three, four, six) =
        (number(&digits[..2]), number(&digits[..3]), number(&digits[..4]), number(&digits[..6]));
    let length = digits.len();
    let scheme = match (digits[0], length) {
        (b'4', 13 | 16 | 19) => "visa",
        (b'1', 15) => "uatp",
        (_, 16) if matches!(two, 51..=55) || matches!(four, 2221..=2720) => "mastercard",
        (_, 15) if matches!(two, 34 | 37) => "amex",
        (_, 16..=19) if matches!(four, 3528..=3589) => "jcb",
        (_, 15) if matches!(four, 1800 | 2131) => "jcb",
        (_, 14..=19) if matches!(three, 300..=305) || four == 3095 || matches!(two, 36 | 38 | 39) => "diners",
        (_, 16) if four == 5019 => "dankort",
        (_, 16..=19) if four == 6011 || matches!(six, 644_000..=659_999) => "discover",
        (_, 16) if matches!(four, 2200..=2204) => "mir",
        (_, 16..=19) if two == 62 || two == 81 && digits[2] < b'8' => return Some((Kind::CnBankCard, "unionpay")),
        // Older bank cards of the mainland keep prefixes of their own.
        (_, 16..=19) if matches!(six, 955_880..=955_889 | 436_742 | 456_351 | 601_382 | 603_367 | 690_755) => {
            return Some((Kind::CnBankCard, "bank"));
        }
        (_, 12..=19) if two == 50 || matches!(two, 56..=58) || two == 63 || two == 67 || two == 60 => "maestro",
        _ => return None,
    };
    Some((Kind::CreditCard, scheme))
}

/// Lengths of account numbers by country (ISO 13616 registry).
const IBAN_LENGTHS: &[(&[u8; 2], u8)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// An international bank account number that starts at the run `start..run`.
pub(crate) fn iban(scan: &mut Scan<'_>, start: usize, run: usize) {
    let text = scan.text;
    let head = &text[start..run];
    if head.len() < 4
        || !head[..2].iter().all(u8::is_ascii_alphabetic)
        || !head[2..4].iter().all(u8::is_ascii_digit)
        || word_before(text, start)
    {
        return;
    }
    let country = [head[0].to_ascii_uppercase(), head[1].to_ascii_uppercase()];
    let Ok(index) = IBAN_LENGTHS.binary_search_by_key(&country, |(code, _)| **code) else { return };
    let length = usize::from(IBAN_LENGTHS[index].1);
    let mut characters = [0u8; 40];
    let mut count = 0;
    let mut end = start;
    // Groups are parted by one space or hyphen.
    while count < length {
        match text.get(end) {
            Some(byte) if is_alphanumeric(*byte) => {
                characters[count] = byte.to_ascii_uppercase();
                count += 1;
            }
            Some(b' ' | b'-') if count > 0 && count.is_multiple_of(4) && is_alphanumeric(text[end - 1]) => {}
            _ => return,
        }
        end += 1;
    }
    if !word_after(text, end) && mod_97(&characters[..length]) {
        scan.note(Finding { kind: Kind::Iban, start, end, score: 0.95, checked: true, rule: "iban" });
    }
}

/// A wallet's address in the run `start..end`.
pub(crate) fn wallet(scan: &mut Scan<'_>, start: usize, end: usize) {
    let text = scan.text;
    if !(25..=90).contains(&(end - start)) || word_before(text, start) || word_after(text, end) {
        return;
    }
    let address = &text[start..end];
    let lower = [address[0].to_ascii_lowercase(), address[1].to_ascii_lowercase()];
    let rule = match (address[0], &lower) {
        (b'1' | b'3' | b'L' | b'M' | b'D' | b'T', _) if address.len() <= 35 && base58check(address) => "base58check",
        (_, b"bc" | b"tb" | b"lt") if bech32(address) => "bech32",
        (b'0', b"0x") if address.len() == 42 && address[2..].iter().all(u8::is_ascii_hexdigit) => {
            let (kind, score) = (Kind::Crypto, 0.7);
            scan.note(Finding { kind, start, end, score, checked: false, rule: "ethereum" });
            return;
        }
        _ => return,
    };
    scan.note(Finding { kind: Kind::Crypto, start, end, score: 1.0, checked: true, rule });
}

/// 25 bytes in base 58 whose last four begin the double SHA-256 of the others.
fn base58check(address: &[u8]) -> bool {
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut bytes = [0u8; 25];
    for character in address {
        let Some(digit) = ALPHABET.iter().position(|letter| letter == character) else { return false };
        let mut carry = digit as u32;
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = (carry & 0xFF) as u8;
            carry >>= 8;
        }
        if carry != 0 {
            return false;
        }
    }
    let hash = Sha256::digest(Sha256::digest(&bytes[..21]));
    hash[..4] == bytes[21..]
}

/// The checksum of BIP 173 (constant 1) or BIP 350.
fn bech32(address: &[u8]) -> bool {
    const CHARACTERS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const GENERATOR: [u32; 5] = [0x3B6A_57B2, 0x2650_8E6D, 0x1EA1_19FA, 0x3D42_33DD, 0x2A14_62B3];
    let cased = |byte: &u8| byte.is_ascii_lowercase();
    if address.iter().any(cased) && address.iter().any(u8::is_ascii_uppercase) {
        return false;
    }
    let Some(mark) = address.iter().rposition(|byte| *byte == b'1') else { return false };
    if mark < 2 || mark + 7 > address.len() {
        return false;
    }
    let lower = |byte: &u8| u32::from(byte.to_ascii_lowercase());
    let prefix = address[..mark].iter().map(|byte| lower(byte) >> 5).chain([0]);
    let mut values: Vec<u32> = prefix.chain(address[..mark].iter().map(|byte| lower(byte) & 31)).collect();
    for byte in &address[mark + 1..] {
        let place = CHARACTERS.iter().position(|letter| *letter == byte.to_ascii_lowercase());
        let Some(place) = place else { return false };
        values.push(place as u32);
    }
    let checksum = values.iter().fold(1u32, |checksum, value| {
        let top = checksum >> 25;
        let next = (checksum & 0x01FF_FFFF) << 5 ^ value;
        (0..5).fold(next, |next, bit| if top >> bit & 1 == 1 { next ^ GENERATOR[bit] } else { next })
    });
    matches!(checksum, 1 | 0x2BC8_30A3)
}
