//! The text of Office Open XML documents (ECMA-376, part 1, 17): paragraphs on lines, cells apart by tabs,
//! footnotes at the end; what a tracked change deleted is left out.

use std::io::Read;

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

use crate::input::{Guard, Input, ReadSeek};
use crate::record::{Body, Damage, Document, Position, Reason};
use crate::sink::{Flow, Halt, Sink, halt};
use crate::unpack::zip_halt;

type Archive<'a> = zip::ZipArchive<Box<dyn ReadSeek + 'a>>;

/// Elements of XML inside each other.
const DEPTH_MAX: usize = 1000;

/// Reads one document.
pub(crate) fn read_docx(input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    let url = input.url.clone();
    let mut archive = zip::ZipArchive::new(input.seekable(sink.config)?).map_err(zip_halt)?;
    let Some(body) = part(&mut archive, "word/document.xml", sink)? else {
        return Err(halt(Reason::Corrupt, "it has no word/document.xml"));
    };
    let mut document = Document { text: text_of(&body)?, metadata: Vec::new() };
    for name in ["word/footnotes.xml", "word/endnotes.xml"] {
        if let Some(notes) = part(&mut archive, name, sink)? {
            let notes = text_of(&notes)?;
            if !notes.is_empty() {
                document.text.push_str("\n\n");
                document.text.push_str(&notes);
            }
        }
    }
    if let Some(core) = part(&mut archive, "docProps/core.xml", sink)? {
        properties(&core, &mut document)?;
    }
    document.set("media_type", "application/vnd.openxmlformats-officedocument.wordprocessingml.document");
    document.set("url", url.as_deref().unwrap_or_default());
    sink.record(Position::Whole, Body::Document(document), 0)
}

/// A part of the package; none where it is not there.
fn part(archive: &mut Archive<'_>, name: &str, sink: &Sink<'_, '_>) -> Result<Option<Vec<u8>>, Halt> {
    let member = match archive.by_name(name) {
        Ok(member) => member,
        Err(zip::result::ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(zip_halt(error)),
    };
    let packed = std::rc::Rc::new(std::cell::Cell::new(member.compressed_size()));
    let guard = Guard::new(member, sink.config, Some(packed), std::rc::Rc::clone(&sink.expanded));
    let mut bytes = Vec::new();
    let bytes_max = sink.config.record_bytes_max;
    guard.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(crate::lines::too_long(bytes_max).into());
    }
    Ok(Some(bytes))
}

fn xml_halt(error: &quick_xml::Error) -> Halt {
    let reason = match error {
        quick_xml::Error::Syntax(_) => Reason::Truncated,
        _ => Reason::Corrupt,
    };
    Damage::new(reason, format!("its XML is damaged: {error}")).into()
}

/// The text of a main part.
fn text_of(xml: &[u8]) -> Result<String, Halt> {
    let mut reader = Reader::from_reader(xml);
    let mut text = String::new();
    let (mut in_text, mut depth, mut row_cells) = (false, 0_usize, 0_usize);
    let mut table_depth = 0_usize;
    // Text boxes come twice, for new and for old readers: the old one is left out.
    let mut fallback: Option<usize> = None;
    loop {
        match reader.read_event().map_err(|error| xml_halt(&error))? {
            Event::Start(start) => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(halt(Reason::TooDeep, "its XML nests too deep"));
                }
                match start.local_name().as_ref() {
                    b"t" => in_text = true,
                    b"tbl" => table_depth += 1,
                    b"tr" => row_cells = 0,
                    b"tc" => {
                        if row_cells > 0 {
                            end_line(&mut text, '\t');
                        }
                        row_cells += 1;
                    }
                    b"Fallback" if fallback.is_none() => fallback = Some(depth),
                    _ => {}
                }
            }
            Event::End(end) => {
                if fallback == Some(depth) {
                    fallback = None;
                }
                depth = depth.saturating_sub(1);
                match end.local_name().as_ref() {
                    b"t" => in_text = false,
                    b"p" if table_depth > 0 => space(&mut text),
                    b"p" => text.push('\n'),
                    b"tr" => end_line(&mut text, '\n'),
                    b"tbl" => table_depth = table_depth.saturating_sub(1),
                    _ => {}
                }
            }
            Event::Empty(empty) if fallback.is_none() => match empty.local_name().as_ref() {
                b"tab" => text.push('\t'),
                b"br" | b"cr" => text.push('\n'),
                b"noBreakHyphen" => text.push('\u{2011}'),
                b"p" if table_depth == 0 => text.push('\n'),
                _ => {}
            },
            Event::Text(piece) if in_text && fallback.is_none() => {
                text.push_str(&piece.decode().map_err(|error| halt(Reason::Corrupt, error.to_string()))?);
            }
            Event::CData(piece) if in_text && fallback.is_none() => {
                text.push_str(&piece.decode().map_err(|error| halt(Reason::Corrupt, error.to_string()))?);
            }
            Event::GeneralRef(reference) if in_text && fallback.is_none() => text.push(entity(&reference)?),
            Event::Eof => break,
            _ => {}
        }
    }
    if depth > 0 {
        return Err(halt(Reason::Truncated, "its XML ends too early"));
    }
    Ok(text.trim().to_owned())
}

/// One of XML's own entities or a character by its number; a document type, which could name others, is
/// not read.
fn entity(reference: &BytesRef<'_>) -> Result<char, Halt> {
    let corrupt = || halt(Reason::Corrupt, "its XML has an unknown entity");
    if let Some(letter) = reference.resolve_char_ref().map_err(|error| xml_halt(&error))? {
        return Ok(letter);
    }
    Ok(match &**reference {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        _ => return Err(corrupt()),
    })
}

fn space(text: &mut String) {
    if !text.ends_with([' ', '\t', '\n']) && !text.is_empty() {
        text.push(' ');
    }
}

fn end_line(text: &mut String, end: char) {
    while text.ends_with(' ') {
        text.pop();
    }
    text.push(end);
}

/// What the core properties say (ECMA-376, part 2, 11).
fn properties(xml: &[u8], document: &mut Document) -> Flow {
    let mut reader = Reader::from_reader(xml);
    let (mut name, mut value) = (None, String::new());
    loop {
        match reader.read_event().map_err(|error| xml_halt(&error))? {
            Event::Start(start) => {
                value.clear();
                name = match start.local_name().as_ref() {
                    b"title" => Some("title"),
                    b"creator" => Some("author"),
                    b"description" => Some("description"),
                    b"keywords" => Some("keywords"),
                    b"created" => Some("date"),
                    b"language" => Some("language"),
                    _ => None,
                };
            }
            Event::Text(piece) if name.is_some() => {
                value.push_str(&piece.decode().map_err(|error| halt(Reason::Corrupt, error.to_string()))?);
            }
            Event::GeneralRef(reference) if name.is_some() => value.push(entity(&reference)?),
            Event::End(_) => {
                if let Some(name) = name.take() {
                    document.set(name, &value);
                }
            }
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}
