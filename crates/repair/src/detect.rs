//! Bytes to text: which character set a file is in. Evidence in this order: byte order mark, the zeros
//! of UTF-16 and UTF-32, sound UTF-8, a hint that fits, CESU-8, then the statistics of `chardetng`
//! (Firefox's detector). Decoding is `encoding_rs`'s, so labels and tables are those of the WHATWG
//! Encoding Standard (GBK is read as GB18030, latin-1 as windows-1252).

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, GB18030, GBK, UTF_8, UTF_16BE, UTF_16LE};

use crate::bytes::decode_utf8_variants;

/// How much of a file the detector reads.
const DETECT_BYTES_MAX: usize = 1 << 20;
/// How many characters beyond ASCII make sound UTF-8 stronger than a hint.
const UTF8_CERTAIN: usize = 4;

/// Decoded bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The text, without byte order mark; U+FFFD where bytes made no sense.
    pub text: String,
    /// The character set by its WHATWG name, or `US-ASCII`, `UTF-32LE`, `UTF-32BE`, `utf-8-variants`.
    pub encoding: &'static str,
    /// How sure that is, from 0 to 1: 1 for a byte order mark or pure ASCII, 0.99 for sound UTF-8, 0.95
    /// for a hint that fits, at most 0.8 for statistics; less the more is malformed.
    pub confidence: f32,
    /// How many sequences made no sense.
    pub malformed: usize,
    /// Whether the hint is the answer. False if it is unknown, does not fit, or stronger evidence speaks
    /// against it.
    pub hint_used: bool,
}

/// Decodes bytes of an unknown character set. `hint` is a label as in HTTP or HTML (`gbk`,
/// `windows-1252`), which yields to stronger evidence. Never fails.
pub fn decode(bytes: &[u8], hint: Option<&str>) -> Decoded {
    let hinted = hint.and_then(|label| Encoding::for_label_no_replacement(label.trim().as_bytes()));
    let agrees = |decoded: Decoded| {
        let hint_used = hinted.is_some_and(|encoding| widened(encoding).name() == decoded.encoding)
            || (decoded.encoding == "US-ASCII" && hinted.is_some_and(Encoding::is_ascii_compatible));
        Decoded { hint_used, ..decoded }
    };
    if let Some(decoded) = from_mark(bytes).or_else(|| from_zeros(bytes)) {
        return agrees(decoded);
    }
    if bytes.is_ascii() && !bytes.contains(&0x1B) {
        return agrees(sure(String::from_utf8_lossy(bytes).into_owned(), "US-ASCII", 1.0));
    }
    let utf8 = std::str::from_utf8(bytes).ok().filter(|text| !text.is_ascii());
    let fits = |encoding: &'static Encoding| with_encoding(bytes, encoding, 0.95).malformed == 0;
    if let Some(text) = utf8 {
        let certain = text.chars().filter(|character| !character.is_ascii()).nth(UTF8_CERTAIN - 1).is_some();
        if certain || !hinted.is_some_and(fits) {
            return agrees(sure(text.to_owned(), UTF_8.name(), 0.99));
        }
    }
    if let Some(encoding) = hinted {
        let decoded = with_encoding(bytes, encoding, 0.95);
        if decoded.malformed == 0 {
            return Decoded { hint_used: true, ..decoded };
        }
    }
    if bytes.windows(2).any(|pair| pair[0] == 0xED && pair[1] >= 0xA0 || pair == [0xC0, 0x80])
        && let Some(text) = decode_utf8_variants(bytes)
    {
        return sure(text, "utf-8-variants", 0.95);
    }
    agrees(from_statistics(bytes))
}

fn sure(text: String, encoding: &'static str, confidence: f32) -> Decoded {
    Decoded { text, encoding, confidence, malformed: 0, hint_used: false }
}

/// The superset that is decoded in an encoding's stead.
fn widened(encoding: &'static Encoding) -> &'static Encoding {
    if encoding == GBK { GB18030 } else { encoding }
}

fn with_encoding(bytes: &[u8], encoding: &'static Encoding, confidence: f32) -> Decoded {
    let encoding = widened(encoding);
    if encoding == UTF_8 {
        let malformed = bytes.utf8_chunks().filter(|chunk| !chunk.invalid().is_empty()).count();
        return weighed(String::from_utf8_lossy(bytes).into_owned(), UTF_8.name(), confidence, malformed);
    }
    let (text, had_errors) = encoding.decode_without_bom_handling(bytes);
    // The replacement character is in none of the legacy sets, so each one stands for an error.
    let malformed = if had_errors { text.matches('\u{FFFD}').count().max(1) } else { 0 };
    weighed(text.into_owned(), encoding.name(), confidence, malformed)
}

fn weighed(text: String, encoding: &'static str, confidence: f32, malformed: usize) -> Decoded {
    let share = malformed as f32 / text.chars().filter(|c| !c.is_ascii()).count().max(1) as f32;
    Decoded { text, encoding, confidence: confidence * (1.0 - share.min(1.0)), malformed, hint_used: false }
}

fn from_mark(bytes: &[u8]) -> Option<Decoded> {
    match bytes {
        [0xFF, 0xFE, 0, 0, rest @ ..] if rest.len().is_multiple_of(4) => {
            Some(from_utf32(rest, u32::from_le_bytes, "UTF-32LE"))
        }
        [0, 0, 0xFE, 0xFF, rest @ ..] => Some(from_utf32(rest, u32::from_be_bytes, "UTF-32BE")),
        [0xEF, 0xBB, 0xBF, rest @ ..] => Some(with_encoding(rest, UTF_8, 1.0)),
        [0xFF, 0xFE, rest @ ..] => Some(with_encoding(rest, UTF_16LE, 1.0)),
        [0xFE, 0xFF, rest @ ..] => Some(with_encoding(rest, UTF_16BE, 1.0)),
        _ => None,
    }
}

fn from_utf32(bytes: &[u8], number: fn([u8; 4]) -> u32, name: &'static str) -> Decoded {
    let mut malformed = usize::from(!bytes.len().is_multiple_of(4));
    let mut text: String = bytes
        .chunks_exact(4)
        .map(|unit| {
            char::from_u32(number([unit[0], unit[1], unit[2], unit[3]])).unwrap_or_else(|| {
                malformed += 1;
                char::REPLACEMENT_CHARACTER
            })
        })
        .collect();
    if !bytes.len().is_multiple_of(4) {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    weighed(text, name, 1.0, malformed)
}

/// UTF-16 and UTF-32 without a mark show by where their zeros lie: text in any script has spaces, digits
/// and line feeds.
fn from_zeros(bytes: &[u8]) -> Option<Decoded> {
    let sample = &bytes[..bytes.len().min(4096) & !3];
    if sample.len() < 4 || !sample.contains(&0) {
        return None;
    }
    let mut zeros = [0usize; 4];
    for unit in sample.chunks_exact(4) {
        for (count, byte) in zeros.iter_mut().zip(unit) {
            *count += usize::from(*byte == 0);
        }
    }
    let units = sample.len() / 4;
    let most = |index: usize| zeros[index] * 10 >= units * 9;
    let few = |index: usize| zeros[index] * 10 <= units;
    if bytes.len().is_multiple_of(4) && most(3) && zeros[2] * 2 >= units && few(0) {
        let decoded = from_utf32(bytes, u32::from_le_bytes, "UTF-32LE");
        return (decoded.malformed == 0).then_some(Decoded { confidence: 0.95, ..decoded });
    }
    if bytes.len().is_multiple_of(4) && most(0) && zeros[1] * 2 >= units && few(3) {
        let decoded = from_utf32(bytes, u32::from_be_bytes, "UTF-32BE");
        return (decoded.malformed == 0).then_some(Decoded { confidence: 0.95, ..decoded });
    }
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    let (even, odd) = (zeros[0] + zeros[2], zeros[1] + zeros[3]);
    let encoding = match (even, odd) {
        (0, odd) if odd * 20 >= units => UTF_16LE,
        (even, 0) if even * 20 >= units => UTF_16BE,
        (even, odd) if odd >= units && even * 8 <= odd => UTF_16LE,
        (even, odd) if even >= units && odd * 8 <= even => UTF_16BE,
        _ => return None,
    };
    let decoded = with_encoding(bytes, encoding, 0.9);
    (decoded.malformed == 0).then_some(decoded)
}

fn from_statistics(bytes: &[u8]) -> Decoded {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    let sample = &bytes[..bytes.len().min(DETECT_BYTES_MAX)];
    detector.feed(sample, sample.len() == bytes.len());
    let guess = detector.guess(None, Utf8Detection::Allow);
    // A few beyond-ASCII bytes tell little; a single-byte set accepts anything.
    let evidence = sample.iter().filter(|byte| **byte >= 0x80).count();
    let confidence = match (guess.is_single_byte(), evidence) {
        (true, 0..8) => 0.3,
        (true, _) => 0.6,
        (false, 0..8) => 0.5,
        (false, _) => 0.8,
    };
    let decoded = with_encoding(bytes, guess, confidence);
    // Sound UTF-8 but for a damaged place or two is still UTF-8: no other set looks like it by chance.
    let as_utf8 = with_encoding(bytes, UTF_8, 0.8);
    let sound = as_utf8.text.chars().filter(|c| !c.is_ascii() && *c != '\u{FFFD}').count();
    if sound >= UTF8_CERTAIN && as_utf8.malformed * 20 <= sound { as_utf8 } else { decoded }
}
