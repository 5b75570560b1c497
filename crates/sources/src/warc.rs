//! Web archives (WARC 1.0 and 1.1, ISO 28500): the pages of their responses and the texts of their
//! conversions are documents; other records hold no documents of their own, and are counted.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::rc::Rc;

use encoding_rs::Encoding;
use flate2::read::{MultiGzDecoder, ZlibDecoder};

use crate::charset::{of_media_type, whole_text};
use crate::detect::{Format, format_of_media_type, looks_like_html};
use crate::html::give_page;
use crate::input::{Guard, Input};
use crate::lines::too_long;
use crate::record::{Body, Damage, Document, NoteKind, Position, Reason};
use crate::sink::{Flow, Halt, Sink, halt};

/// All lines of one header.
const HEADER_BYTES_MAX: usize = 1 << 20;
const BUFFER_BYTES: usize = 128 << 10;

/// The fields of a header, their names in lower case.
#[derive(Debug, Default)]
struct Header(Vec<(String, String)>);

impl Header {
    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
    }
}

/// Reads the records one after the other.
pub(crate) fn read_warc(input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    let mut stream = BufReader::with_capacity(BUFFER_BYTES, input);
    let mut skipped: BTreeMap<String, u64> = BTreeMap::new();
    let mut number = 0_u64;
    loop {
        let position = Position::Record(number + 1);
        let Some(header) = next_header(&mut stream).map_err(|halt| halt.at(position))? else { break };
        number += 1;
        let length: u64 = header
            .get("content-length")
            .parse()
            .map_err(|_| halt(Reason::Corrupt, "a record has no Content-Length").at(position))?;
        let kind = header.get("warc-type").to_ascii_lowercase();
        let mut block = (&mut stream).take(length);
        let result = match kind.as_str() {
            "response" | "resource" | "conversion" => record(&header, &kind, &mut block, position, sink, &mut skipped),
            other => {
                *skipped.entry(format!("{other} records")).or_default() += 1;
                Ok(())
            }
        };
        // Damage of one record leaves the next where the length says.
        sink.settle(result.map_err(|halt| halt.at(position)))?;
        let left = block.limit();
        let passed = std::io::copy(&mut block, &mut std::io::sink()).map_err(|error| Halt::from(error).at(position))?;
        if passed < left {
            return Err(halt(Reason::Truncated, "the last record is cut off").at(position));
        }
    }
    for (what, count) in skipped {
        sink.note(NoteKind::Skipped, count, format!("{what} were passed over"))?;
    }
    Ok(())
}

/// A line without its end; None at the end of the stream.
fn line(stream: &mut impl BufRead, budget: &mut usize) -> Result<Option<String>, Halt> {
    let mut bytes = Vec::new();
    stream.by_ref().take(*budget as u64).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    *budget -= bytes.len();
    if *budget == 0 {
        return Err(halt(Reason::TooLarge, "a header is longer than 1 MiB"));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned()))
}

/// The header of the next record.
fn next_header(stream: &mut impl BufRead) -> Result<Option<Header>, Halt> {
    let mut budget = HEADER_BYTES_MAX;
    let version = loop {
        match line(stream, &mut budget)? {
            None => return Ok(None),
            Some(line) if line.is_empty() => {}
            Some(line) => break line,
        }
    };
    if !version.starts_with("WARC/1.") && !version.starts_with("WARC/0.") {
        return Err(halt(Reason::Corrupt, "a record does not begin with WARC/1"));
    }
    fields(stream, &mut budget).map(Some)
}

fn fields(stream: &mut impl BufRead, budget: &mut usize) -> Result<Header, Halt> {
    let mut header = Header::default();
    loop {
        let line = line(stream, budget)?.ok_or_else(|| halt(Reason::Truncated, "a header is cut off"))?;
        if line.is_empty() {
            return Ok(header);
        }
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = header.0.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            header.0.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}

/// Reads the content of one record.
fn record(
    header: &Header,
    kind: &str,
    block: &mut std::io::Take<&mut BufReader<Input<'_>>>,
    position: Position,
    sink: &mut Sink<'_, '_>,
    skipped: &mut BTreeMap<String, u64>,
) -> Flow {
    let is_http = kind == "response" && header.get("content-type").to_ascii_lowercase().starts_with("application/http");
    let mut http = Header::default();
    let mut media_type = header.get("content-type").to_owned();
    if is_http {
        let mut budget = HEADER_BYTES_MAX;
        let status = line(block, &mut budget)?.unwrap_or_default();
        http = fields(block, &mut budget)?;
        media_type = http.get("content-type").to_owned();
        let code = status.split(' ').nth(1).unwrap_or_default();
        if !code.starts_with('2') {
            *skipped
                .entry(format!("responses with status {}", if code.len() == 3 { code } else { "?" }))
                .or_default() += 1;
            return Ok(());
        }
    } else if kind == "response" {
        *skipped.entry("responses that are not HTTP".to_owned()).or_default() += 1;
        return Ok(());
    }
    let format = format_of_media_type(&media_type);
    let wanted = matches!(format, Some(Format::Html | Format::Text | Format::Markdown)) || media_type.is_empty();
    if !wanted {
        let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        *skipped.entry(format!("records of the type {}", essence.chars().take(60).collect::<String>())).or_default() +=
            1;
        return Ok(());
    }
    let bytes = body(&http, block, sink)?;
    let url = header.get("warc-target-uri").trim_matches(['<', '>']);
    let known = [("date", header.get("warc-date")), ("record_id", header.get("warc-record-id"))];
    let declared = of_media_type(&media_type);
    if format == Some(Format::Html) || (format.is_none() && looks_like_html(&bytes)) {
        return give_page(bytes, declared, Some(url), &known, position, sink);
    }
    // A conversion's text is UTF-8, as the standard says.
    let declared: Option<&'static Encoding> = if kind == "conversion" { Some(encoding_rs::UTF_8) } else { declared };
    let (text, replaced, decoder) = whole_text(bytes, declared, sink.config);
    let mut document = Document { text, metadata: Vec::new() };
    document.set("url", url);
    for (name, value) in known {
        document.set(name, value);
    }
    document.set("media_type", "text/plain");
    sink.record(position, Body::Document(document), replaced)?;
    decoder.close(sink)
}

/// The body of a response, without the codings that it travelled in. Archives often keep the headers but
/// store the body as it was before, so that a coding is taken off only where the bytes have it.
fn body(http: &Header, block: &mut impl BufRead, sink: &Sink<'_, '_>) -> Result<Vec<u8>, Halt> {
    let bytes_max = sink.config.record_bytes_max;
    let raw = limited(block, bytes_max)?;
    let chunked = http.get("transfer-encoding").to_ascii_lowercase().contains("chunked");
    let raw = match chunked.then(|| dechunk(&raw)).flatten() {
        Some(body) => body,
        None => raw,
    };
    let coding = http.get("content-encoding").to_ascii_lowercase();
    let packed = Rc::new(std::cell::Cell::new(raw.len() as u64));
    let guard = |reader: Box<dyn Read>| Guard::new(reader, sink.config, Some(packed), Rc::clone(&sink.expanded));
    if coding.contains("gzip") && raw.starts_with(&[0x1f, 0x8b]) {
        return limited(&mut guard(Box::new(MultiGzDecoder::new(std::io::Cursor::new(raw)))), bytes_max);
    }
    if coding.contains("deflate") && raw.first() == Some(&0x78) {
        return limited(&mut guard(Box::new(ZlibDecoder::new(std::io::Cursor::new(raw)))), bytes_max);
    }
    if matches!(coding.as_str(), "br" | "zstd") && std::str::from_utf8(&raw).is_err() {
        return Err(halt(Reason::Unsupported, format!("its body is coded as {coding}")));
    }
    Ok(raw)
}

fn limited(reader: &mut impl Read, bytes_max: usize) -> Result<Vec<u8>, Halt> {
    let mut bytes = Vec::new();
    reader.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(Damage { ..too_long(bytes_max) }.into());
    }
    Ok(bytes)
}

/// Takes the chunked coding off (RFC 9112, 7.1); None where the bytes have none.
fn dechunk(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        let end = memchr::memchr(b'\n', rest)?;
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[end + 1..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = &rest[size..];
        rest = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n"))?;
    }
}
