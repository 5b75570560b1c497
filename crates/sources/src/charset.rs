//! Character sets: what a mark, a declaration or the bytes themselves say, and decoding that counts what
//! it had to replace.
//!
//! The order is: byte order mark, declaration (HTTP, HTML, XML), UTF-8 where the bytes are UTF-8, the
//! configured set, a guess by `chardetng`. All of the WHATWG encodings are read; UTF-32 is not.

use std::borrow::Cow;
use std::io::{self, Read};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{CoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use crate::config::Config;
use crate::input::Input;
use crate::record::NoteKind;
use crate::sink::{Flow, Halt, Sink};

/// How many first bytes a guess is made from.
const SAMPLE_BYTES: usize = 64 << 10;
const MARK: &[u8] = b"\xef\xbb\xbf";

/// UTF-16 by its byte order mark, or by the zero bytes that every other letter of Latin text has.
pub(crate) fn utf16(head: &[u8]) -> Option<&'static Encoding> {
    if head.starts_with(b"\xff\xfe") {
        return Some(UTF_16LE);
    }
    if head.starts_with(b"\xfe\xff") {
        return Some(UTF_16BE);
    }
    let pairs = head.get(..head.len().min(1024) & !1).unwrap_or_default().as_chunks::<2>().0;
    if pairs.len() < 4 {
        return None;
    }
    let zeros = |at: usize| pairs.iter().filter(|pair| pair[at] == 0).count();
    let (first, second) = (zeros(0), zeros(1));
    match (first * 10 >= pairs.len() * 7, second * 10 >= pairs.len() * 7) {
        (true, false) if second == 0 => Some(UTF_16BE),
        (false, true) if first == 0 => Some(UTF_16LE),
        _ => None,
    }
}

/// The most likely character set of bytes that are no UTF-8.
pub(crate) fn guess(bytes: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(bytes, true);
    detector.guess(None, Utf8Detection::Allow)
}

/// The character set that a media type declares in its parameters.
pub(crate) fn of_media_type(media_type: &str) -> Option<&'static Encoding> {
    media_type.split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']);
        key.trim().eq_ignore_ascii_case("charset").then(|| Encoding::for_label(value.as_bytes())).flatten()
    })
}

/// What bytes look like: UTF-8, something else, or nothing beyond ASCII.
fn look(bytes: &[u8]) -> Option<&'static Encoding> {
    if bytes.is_ascii() {
        // ISO-2022-JP is ASCII with escapes.
        return bytes.windows(2).any(|pair| pair == b"\x1b$").then(|| guess(bytes)).filter(|found| *found != UTF_8);
    }
    let (mut characters, mut broken) = (0_usize, 0_usize);
    let mut left = bytes.len();
    for chunk in bytes.utf8_chunks() {
        characters += chunk.valid().chars().filter(|letter| !letter.is_ascii()).count();
        left -= chunk.valid().len() + chunk.invalid().len();
        // The sample may end inside a character.
        broken += usize::from(!(chunk.invalid().is_empty() || left == 0 && chunk.invalid().len() < 4));
    }
    // A few broken places do not make UTF-8 something else.
    if broken == 0 && characters > 0 || characters >= 4 * broken && broken > 0 {
        return Some(UTF_8);
    }
    Some(guess(bytes))
}

/// Decodes the pieces of one file, counts what was replaced, and says it at the end.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// None as long as all was ASCII.
    charset: Option<&'static Encoding>,
    configured: Option<&'static Encoding>,
    guessed: bool,
    replaced: u64,
}

impl Decoder {
    /// A decoder for a file that begins with `sample`.
    pub(crate) fn new(sample: &[u8], declared: Option<&'static Encoding>, config: &Config) -> Self {
        let configured = config.charset.as_ref().and_then(|label| Encoding::for_label(label.as_bytes()));
        let mut decoder = Self { charset: declared, configured, guessed: false, replaced: 0 };
        if declared.is_none() {
            decoder.decide(sample);
        }
        decoder
    }

    fn decide(&mut self, bytes: &[u8]) {
        let seen = look(bytes);
        self.charset = match (seen, self.configured) {
            (Some(seen), Some(configured)) if seen != UTF_8 => Some(configured),
            _ => seen,
        };
        self.guessed = self.configured.is_none() && self.charset.is_some_and(|charset| charset != UTF_8);
    }

    /// The text of a piece that is whole characters, and how many places were replaced.
    pub(crate) fn text<'a>(&mut self, bytes: &'a [u8]) -> (Cow<'a, str>, u32) {
        let utf8 = self.charset.is_none_or(|charset| charset == UTF_8);
        if utf8 {
            if let Ok(text) = std::str::from_utf8(bytes) {
                if self.charset.is_none() && (!text.is_ascii() || bytes.contains(&0x1b)) {
                    self.decide(bytes);
                }
                if self.charset.is_none_or(|charset| charset == UTF_8) {
                    return (Cow::Borrowed(text), 0);
                }
            } else if self.charset.is_none() {
                self.decide(bytes);
            }
        }
        let (text, replaced) = decode(self.charset.unwrap_or(UTF_8), bytes);
        self.replaced += u64::from(replaced);
        (text, replaced)
    }

    /// Says what the character set was, where it was not UTF-8, and what was replaced.
    pub(crate) fn close(&self, sink: &mut Sink<'_, '_>) -> Flow {
        let name = self.charset.unwrap_or(UTF_8).name();
        if name != UTF_8.name() {
            let how = if self.guessed { ", which was guessed from its bytes" } else { "" };
            sink.note(NoteKind::Charset, 1, format!("decoded from {name}{how}"))?;
        }
        if self.replaced > 0 {
            let what = format!("places that are no characters of {name} became U+FFFD");
            sink.note(NoteKind::Replaced, self.replaced, what)?;
        }
        Ok(())
    }
}

/// Decodes, and counts what was replaced.
fn decode<'a>(charset: &'static Encoding, bytes: &'a [u8]) -> (Cow<'a, str>, u32) {
    if charset == UTF_8 {
        let places = bytes.utf8_chunks().filter(|chunk| !chunk.invalid().is_empty()).count();
        return (String::from_utf8_lossy(bytes), u32::try_from(places).unwrap_or(u32::MAX));
    }
    let (text, broken) = charset.decode_without_bom_handling(bytes);
    let places = if broken { text.matches('\u{fffd}').count().max(1) } else { 0 };
    (text, u32::try_from(places).unwrap_or(u32::MAX))
}

/// A stream of text as bytes that contain ASCII: UTF-16 becomes UTF-8, a byte order mark is gone; and the
/// decoder for its pieces.
pub(crate) fn text_input<'a>(mut input: Input<'a>, config: &Config) -> Result<(Input<'a>, Decoder), Halt> {
    let declared = input.media_type.as_deref().and_then(of_media_type);
    let sample = input.peek(SAMPLE_BYTES)?;
    if sample.starts_with(MARK) {
        let decoder = Decoder::new(&[], Some(UTF_8), config);
        input.read_exact(&mut [0; 3])?;
        return Ok((input, decoder));
    }
    if let Some(charset) = utf16(sample) {
        let name = input.name.clone();
        let decoder = Decoder { charset: Some(UTF_8), configured: None, guessed: false, replaced: 0 };
        return Ok((Input::stream(name, Transcoder::new(input, charset)), decoder));
    }
    let decoder = Decoder::new(sample, declared, config);
    Ok((input, decoder))
}

/// Like [`text_input`], and every other character set becomes UTF-8 too: for formats whose own signs are
/// second bytes of characters in some.
pub(crate) fn utf8_input<'a>(input: Input<'a>, config: &Config) -> Result<(Input<'a>, Decoder), Halt> {
    let (input, decoder) = text_input(input, config)?;
    match decoder.charset {
        Some(charset) if charset != UTF_8 => {
            let name = input.name.clone();
            Ok((Input::stream(name, Transcoder::new(input, charset)), decoder.transcoded()))
        }
        _ => Ok((input, decoder)),
    }
}

impl Decoder {
    /// For text that is UTF-8 by now.
    fn transcoded(self) -> Self {
        Self { charset: Some(UTF_8), ..self }
    }
}

/// A whole text, its character set by mark, declaration or looks, and what was replaced.
pub(crate) fn whole_text(
    bytes: Vec<u8>,
    declared: Option<&'static Encoding>,
    config: &Config,
) -> (String, u32, Decoder) {
    if bytes.starts_with(MARK) {
        let mut decoder = Decoder::new(&[], Some(UTF_8), config);
        let (text, replaced) = decoder.text(&bytes[MARK.len()..]);
        return (text.into_owned(), replaced, decoder);
    }
    if let Some(charset) = utf16(&bytes) {
        let mut decoder = Decoder { charset: Some(charset), configured: None, guessed: false, replaced: 0 };
        let marked = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
        let (text, replaced) = decoder.text(&bytes[if marked { 2 } else { 0 }..]);
        return (text.into_owned(), replaced, decoder);
    }
    // A page that declares UTF-16 in ASCII bytes is UTF-8, as the HTML standard says.
    let declared = declared.map(|charset| if charset == UTF_16LE || charset == UTF_16BE { UTF_8 } else { charset });
    let mut decoder = Decoder::new(&bytes, declared, config);
    if decoder.charset.is_none_or(|charset| charset == UTF_8) {
        match String::from_utf8(bytes) {
            Ok(text) => return (text, 0, decoder),
            Err(error) => {
                let (text, replaced) = decode(UTF_8, error.as_bytes());
                decoder.replaced += u64::from(replaced);
                return (text.into_owned(), replaced, decoder);
            }
        }
    }
    let (text, replaced) = decoder.text(&bytes);
    (text.into_owned(), replaced, decoder)
}

/// Makes UTF-8 of a stream in another character set.
struct Transcoder<R> {
    inner: R,
    decoder: encoding_rs::Decoder,
    raw: Vec<u8>,
    raw_range: (usize, usize),
    text: Vec<u8>,
    text_range: (usize, usize),
    last: bool,
    finished: bool,
}

impl<R: Read> Transcoder<R> {
    fn new(inner: R, charset: &'static Encoding) -> Self {
        Self {
            inner,
            // Takes the mark off.
            decoder: charset.new_decoder(),
            raw: vec![0; 32 << 10],
            raw_range: (0, 0),
            text: vec![0; 128 << 10],
            text_range: (0, 0),
            last: false,
            finished: false,
        }
    }
}

impl<R: Read> Read for Transcoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.text_range.0 == self.text_range.1 {
            if self.finished || buffer.is_empty() {
                return Ok(0);
            }
            if self.raw_range.0 == self.raw_range.1 && !self.last {
                let read = self.inner.read(&mut self.raw)?;
                self.raw_range = (0, read);
                self.last = read == 0;
            }
            let raw = &self.raw[self.raw_range.0..self.raw_range.1];
            let (result, used, written, _) = self.decoder.decode_to_utf8(raw, &mut self.text, self.last);
            self.raw_range.0 += used;
            self.text_range = (0, written);
            self.finished = self.last && result == CoderResult::InputEmpty;
        }
        let rest = &self.text[self.text_range.0..self.text_range.1];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.text_range.0 += count;
        Ok(count)
    }
}
