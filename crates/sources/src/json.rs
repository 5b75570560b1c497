//! JSON and JSON lines: every value is a row, its keys are the columns.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base::Value;
use serde::Deserialize as _;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::charset::{Decoder, text_input, utf8_input};
use crate::input::Input;
use crate::lines::{Line, Lines, Window, too_long};
use crate::record::{Body, Damage, Position, Reason, Row};
use crate::sink::{Flow, Halt, Sink, halt};

/// The largest whole number that an `f64` holds exactly, with all below.
const EXACT_MAX: u64 = 1 << 53;

/// Reads one JSON value from each line.
pub(crate) fn read_jsonl(input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    let (input, mut decoder) = text_input(input, sink.config)?;
    let mut lines = Lines::new(input, sink.config.record_bytes_max);
    let mut rows = Rows::default();
    loop {
        let number = lines.number + 1;
        let position = Position::Line(number);
        match lines.next().map_err(|halt| halt.at(position))? {
            None => break,
            Some(Line::TooLong) => sink.damaged(position, too_long(sink.config.record_bytes_max))?,
            Some(Line::Whole(line)) => {
                if !line.trim_ascii().is_empty() {
                    rows.give(line, &mut decoder, position, sink)?;
                }
            }
        }
    }
    decoder.close(sink)
}

/// Reads a list of JSON values, or values one after the other.
pub(crate) fn read_json(input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    let (input, mut decoder) = utf8_input(input, sink.config)?;
    let bytes_max = sink.config.record_bytes_max;
    let mut window = Window::new(input, bytes_max);
    let mut rows = Rows::default();
    let mut number = 0;
    let listed = skip_space(&mut window)? == Some(b'[');
    if listed {
        window.consume(1);
    }
    loop {
        let position = Position::Record(number + 1);
        match skip_space(&mut window).map_err(|halt| halt.at(position))? {
            Some(b']') if listed => {
                window.consume(1);
                if skip_space(&mut window)?.is_some() {
                    return Err(halt(Reason::Corrupt, "something follows the end of the list").at(position));
                }
                break;
            }
            Some(b',') if listed && number > 0 => {
                window.consume(1);
                continue;
            }
            Some(b',' | b']' | b'}' | b':') => {
                return Err(halt(Reason::Corrupt, "a value is wanted here").at(position));
            }
            Some(_) => {}
            None if listed => return Err(halt(Reason::Truncated, "the list is not closed").at(position)),
            None => break,
        }
        let length = value_length(&mut window, bytes_max).map_err(|halt| halt.at(position))?;
        number += 1;
        rows.give(&window.bytes()[..length], &mut decoder, position, sink)?;
        window.consume(length);
    }
    decoder.close(sink)
}

/// Lets white space go, and looks at what follows.
fn skip_space(window: &mut Window<'_>) -> Result<Option<u8>, Halt> {
    loop {
        let bytes = window.bytes();
        if let Some(at) = bytes.iter().position(|byte| !byte.is_ascii_whitespace()) {
            let byte = bytes[at];
            window.consume(at);
            return Ok(Some(byte));
        }
        window.consume(bytes.len());
        if window.ended {
            return Ok(None);
        }
        window.fill()?;
    }
}

/// The length of the value that the window begins with, by its brackets and quotes.
fn value_length(window: &mut Window<'_>, bytes_max: usize) -> Result<usize, Halt> {
    let (mut at, mut depth, mut in_string) = (0, 0_usize, false);
    loop {
        let bytes = window.bytes();
        while at < bytes.len() {
            if in_string {
                match memchr::memchr2(b'"', b'\\', &bytes[at..]) {
                    Some(found) if bytes[at + found] == b'"' => {
                        at += found + 1;
                        in_string = false;
                        if depth == 0 {
                            return Ok(at);
                        }
                    }
                    // A backslash and what it stands before; perhaps beyond the window.
                    Some(found) => at += found + 2,
                    None => at = bytes.len(),
                }
                continue;
            }
            match bytes[at] {
                b'"' if depth == 0 && at > 0 => return Ok(at),
                b'"' => in_string = true,
                b'{' | b'[' if depth == 0 && at > 0 => return Ok(at),
                b'{' | b'[' => depth += 1,
                b'}' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return Ok(at),
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(at + 1);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        if window.is_full() || at > bytes_max {
            return Err(too_long(bytes_max).into());
        }
        if window.ended {
            if depth == 0 && !in_string {
                return Ok(window.bytes().len());
            }
            return Err(halt(Reason::Truncated, "the last value is cut off"));
        }
        window.fill()?;
    }
}

/// Makes rows; it remembers the columns of the last, so that equal ones share them.
#[derive(Default)]
struct Rows {
    columns: Option<Arc<[String]>>,
}

impl Rows {
    fn give(&mut self, bytes: &[u8], decoder: &mut Decoder, position: Position, sink: &mut Sink<'_, '_>) -> Flow {
        let (text, replaced) = decoder.text(bytes);
        let mut parser = serde_json::Deserializer::from_str(&text);
        let row = RowSeed { last: self.columns.as_ref() }.deserialize(&mut parser).and_then(|row| {
            parser.end()?;
            Ok(row)
        });
        match row {
            Ok(row) if row.cells.len() > sink.config.columns_max => {
                let what = format!("it has more than {} keys", sink.config.columns_max);
                sink.damaged(position, Damage::new(Reason::TooMany, what))
            }
            Ok(row) => {
                self.columns = Some(Arc::clone(&row.columns));
                sink.record(position, Body::Row(row), replaced)
            }
            Err(error) => {
                let reason = if error.is_eof() { Reason::Truncated } else { Reason::Syntax };
                sink.damaged(position, Damage::new(reason, format!("it is no JSON: {error}")))
            }
        }
    }
}

/// Reads one value as a row: an object's keys are the columns, anything else is the cell `value`.
struct RowSeed<'a> {
    last: Option<&'a Arc<[String]>>,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = Row;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Row, D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn single(cell: Value) -> Row {
    Row { columns: Arc::new(["value".to_owned()]), cells: vec![cell] }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = Row;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, truth: bool) -> Result<Row, E> {
        Ok(single(Value::Binary(truth)))
    }
    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Row, E> {
        CellVisitor.visit_i64(number).map(single)
    }
    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Row, E> {
        CellVisitor.visit_u64(number).map(single)
    }
    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Row, E> {
        CellVisitor.visit_f64(number).map(single)
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Row, E> {
        CellVisitor.visit_str(text).map(single)
    }
    fn visit_unit<E>(self) -> Result<Row, E> {
        Ok(single(Value::Missing))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Row, A::Error> {
        CellVisitor.visit_seq(list).map(single)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
        let known: &[String] = self.last.map_or(&[], |last| last);
        let mut cells = Vec::with_capacity(known.len().max(4));
        // None as long as the keys are those of the last row.
        let mut names: Option<Vec<String>> = None;
        while let Some(key) = map.next_key_seed(KeySeed)? {
            match &mut names {
                None if known.get(cells.len()).is_some_and(|name| *name == key) => {}
                None => {
                    let mut own = known[..cells.len().min(known.len())].to_vec();
                    own.push(key.into_owned());
                    names = Some(own);
                }
                Some(names) => names.push(key.into_owned()),
            }
            cells.push(map.next_value_seed(CellSeed)?);
        }
        let columns = match (names, self.last) {
            (None, Some(last)) if last.len() == cells.len() => Arc::clone(last),
            (None, _) => known[..cells.len()].into(),
            (Some(names), _) => names.into(),
        };
        Ok(Row { columns, cells })
    }
}

/// A key, borrowed where it holds no escapes.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }
    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

struct CellSeed;

impl<'de> DeserializeSeed<'de> for CellSeed {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

/// A whole number: exact as a number, or text.
pub(crate) fn whole_number(number: i128) -> Value {
    if number.unsigned_abs() <= u128::from(EXACT_MAX) {
        Value::Number(number as f64)
    } else {
        Value::Text(number.to_string())
    }
}

impl<'de> Visitor<'de> for CellVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Binary(truth))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(whole_number(i128::from(number)))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(whole_number(i128::from(number)))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }
    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Missing)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Value, A::Error> {
        let value = serde_json::Value::deserialize(SeqAccessDeserializer::new(list))?;
        Ok(Value::Text(value.to_string()))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        let value = serde_json::Value::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Value::Text(value.to_string()))
    }
}
