//! CSV and TSV (RFC 4180), as the `csv` crate reads them, with two differences: a record has a limit, and a
//! quote that never closes is one damaged record, not the rest of the file.

use std::borrow::Cow;
use std::sync::Arc;

use base::Value;

use crate::charset::{Decoder, text_input};
use crate::input::Input;
use crate::lines::{Window, too_long};
use crate::record::{Body, Damage, Position, Reason, Row};
use crate::sink::{Flow, Halt, Sink, halt};

/// One field of a record: where it stands, and what must be done to it.
#[derive(Debug, Clone, Copy)]
struct Field {
    start: usize,
    end: usize,
    quoted: bool,
    /// Quotes stand inside it, doubled or after its end.
    inner_quotes: bool,
}

enum Parsed {
    /// A record of so many bytes, its line end among them.
    Record(usize),
    /// The window ends before the record does.
    More,
}

/// Reads delimited rows; the first record names the columns.
pub(crate) fn read_delimited(delimiter: u8, input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    let (input, mut decoder) = text_input(input, sink.config)?;
    let bytes_max = sink.config.record_bytes_max;
    let mut window = Window::new(input, bytes_max);
    let mut fields: Vec<Field> = Vec::new();
    let mut columns: Option<Arc<[String]>> = None;
    let mut line = 1_u64;
    loop {
        let position = Position::Line(line);
        let length = match parse(window.bytes(), delimiter, window.ended, &mut fields) {
            Parsed::Record(0) => break,
            Parsed::Record(length) if length <= bytes_max => length,
            Parsed::More if !window.ended && !window.is_full() => {
                window.fill().map_err(|error| Halt::from(error).at(position))?;
                continue;
            }
            parsed => {
                line += 1;
                let unclosed = matches!(parsed, Parsed::More);
                sink.damaged(position, if unclosed { open_quote(&window, bytes_max) } else { too_long(bytes_max) })?;
                skip_line(&mut window, position)?;
                continue;
            }
        };
        let bytes = &window.bytes()[..length];
        let is_empty = fields.len() == 1 && fields[0].start == fields[0].end && !fields[0].quoted;
        let result = if is_empty {
            Ok(())
        } else if let Some(columns) = &columns {
            row(bytes, &fields, columns, &mut decoder, position, sink)
        } else {
            header(bytes, &fields, &mut decoder, sink).map(|names| columns = Some(names))
        };
        result.map_err(|halt| halt.at(position))?;
        line += line_ends(bytes);
        window.consume(length);
    }
    decoder.close(sink)
}

fn open_quote(window: &Window<'_>, bytes_max: usize) -> Damage {
    if window.ended {
        Damage::new(Reason::Truncated, "a quote is opened and never closed")
    } else {
        too_long(bytes_max)
    }
}

/// Goes on behind the end of the line, which a damaged record begins on.
fn skip_line(window: &mut Window<'_>, position: Position) -> Flow {
    loop {
        let bytes = window.bytes();
        if let Some(at) = memchr::memchr(b'\n', bytes) {
            window.consume(at + 1);
            return Ok(());
        }
        window.consume(bytes.len());
        if window.ended {
            return Ok(());
        }
        window.fill().map_err(|error| Halt::from(error).at(position))?;
    }
}

/// Line ends as editors count them: `\r\n` is one.
fn line_ends(bytes: &[u8]) -> u64 {
    let feeds = memchr::memchr_iter(b'\n', bytes).count();
    let lone = memchr::memchr_iter(b'\r', bytes).filter(|&at| bytes.get(at + 1) != Some(&b'\n')).count();
    (feeds + lone) as u64
}

fn header(bytes: &[u8], fields: &[Field], decoder: &mut Decoder, sink: &Sink<'_, '_>) -> Result<Arc<[String]>, Halt> {
    if fields.len() > sink.config.columns_max {
        return Err(halt(Reason::TooMany, format!("it has more than {} columns", sink.config.columns_max)));
    }
    Ok(fields.iter().map(|field| decoder.text(&content(bytes, *field)).0.trim().to_owned()).collect())
}

fn row(
    bytes: &[u8],
    fields: &[Field],
    columns: &Arc<[String]>,
    decoder: &mut Decoder,
    position: Position,
    sink: &mut Sink<'_, '_>,
) -> Flow {
    if fields.len() != columns.len() {
        let what = format!("it has {} cells, and there are {} columns", fields.len(), columns.len());
        return sink.damaged(position, Damage::new(Reason::Ragged, what));
    }
    let mut replaced = 0;
    let cells = fields
        .iter()
        .map(|field| {
            if field.start == field.end && !field.quoted {
                return Value::Missing;
            }
            let content = content(bytes, *field);
            let (text, broken) = decoder.text(&content);
            replaced += broken;
            Value::Text(text.into_owned())
        })
        .collect();
    sink.record(position, Body::Row(Row { columns: Arc::clone(columns), cells }), replaced)
}

/// The bytes of a field without its quotes.
fn content(bytes: &[u8], field: Field) -> Cow<'_, [u8]> {
    let raw = &bytes[field.start..field.end];
    if !field.inner_quotes {
        return Cow::Borrowed(raw);
    }
    let mut content = Vec::with_capacity(raw.len());
    let mut inside = true;
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        if inside && byte == b'"' {
            if raw.get(at + 1) == Some(&b'"') {
                content.push(b'"');
                at += 1;
            } else {
                // What follows a closing quote is taken as it stands.
                inside = false;
            }
        } else {
            content.push(byte);
        }
        at += 1;
    }
    Cow::Owned(content)
}

/// Finds the fields of the first record.
fn parse(bytes: &[u8], delimiter: u8, ended: bool, fields: &mut Vec<Field>) -> Parsed {
    fields.clear();
    let mut at = 0;
    loop {
        let quoted = bytes.get(at) == Some(&b'"');
        let start = at + usize::from(quoted);
        let (mut close, mut inner_quotes) = (None, false);
        let mut from = at;
        if quoted {
            from = start;
            loop {
                let Some(quote) = memchr::memchr(b'"', &bytes[from..]).map(|found| from + found) else {
                    return Parsed::More;
                };
                match bytes.get(quote + 1) {
                    Some(b'"') => {
                        inner_quotes = true;
                        from = quote + 2;
                    }
                    None if !ended => return Parsed::More,
                    _ => {
                        close = Some(quote);
                        from = quote + 1;
                        break;
                    }
                }
            }
        }
        let stop = find_stop(bytes, from, delimiter);
        let end = match close {
            // Only the closing quote stands between the field and its delimiter.
            Some(quote) if quote + 1 == stop.unwrap_or(bytes.len()) => quote,
            Some(_) => {
                inner_quotes = true;
                stop.unwrap_or(bytes.len())
            }
            None => stop.unwrap_or(bytes.len()),
        };
        let field = Field { start, end, quoted, inner_quotes };
        match stop {
            Some(stop) if bytes[stop] == delimiter => {
                fields.push(field);
                at = stop + 1;
            }
            Some(stop) => {
                fields.push(field);
                return match (bytes[stop], bytes.get(stop + 1)) {
                    (b'\r', Some(b'\n')) => Parsed::Record(stop + 2),
                    (b'\r', None) if !ended => Parsed::More,
                    _ => Parsed::Record(stop + 1),
                };
            }
            None if ended => {
                fields.push(field);
                return Parsed::Record(bytes.len());
            }
            None => return Parsed::More,
        }
    }
}

fn find_stop(bytes: &[u8], from: usize, delimiter: u8) -> Option<usize> {
    // Most cells are short: looking at them byte by byte is quicker than setting up a search.
    let near = from + 32;
    for (at, &byte) in bytes.iter().enumerate().take(near).skip(from) {
        if byte == delimiter || byte == b'\n' || byte == b'\r' {
            return Some(at);
        }
    }
    let rest = bytes.get(near..)?;
    memchr::memchr3(delimiter, b'\n', b'\r', rest).map(|found| near + found)
}
