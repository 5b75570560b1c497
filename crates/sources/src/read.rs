//! Reads one object: opens it, takes packings off, and gives it to the reader of its format.

use std::cell::Cell;
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::Config;
use crate::detect::{Format, HEAD_BYTES, Kind, kind};
use crate::find::{Location, Object};
use crate::input::{Input, Origin, io_damage};
use crate::record::{Counts, Reason, Take};
use crate::sink::{Flow, Halt, Sink, halt};
use crate::{audio, columnar, delimited, docx, html, json, pdf, picture, sql, text, unpack, warc};

/// Reads an object from its beginning to its end, and gives every item to `take`, which may say stop.
/// Items come in the order of the object. The reader works only while `take` is not busy, and holds about
/// two records; several objects may be read on several threads. It must not be called from inside an
/// asynchronous task.
///
/// There is no error: what cannot be read is an [`crate::Item::Damaged`].
pub fn read(object: &Object, config: &Config, take: &mut Take<'_>) -> Counts {
    let mut sink = Sink::new(config, Arc::clone(&object.name), take);
    let meter = Rc::new(Cell::new(0));
    let result = read_object(object, &meter, &mut sink);
    let result = sink.settle(result);
    sink.counts.stopped = matches!(result, Err(Halt::Stopped));
    sink.counts.bytes_read = meter.get();
    sink.counts
}

fn read_object(object: &Object, meter: &Rc<Cell<u64>>, sink: &mut Sink<'_, '_>) -> Flow {
    if let Some(damage) = &object.problem {
        return Err(damage.clone().into());
    }
    match &object.location {
        Location::Local(path) => {
            let file = File::open(path).map_err(io_damage)?;
            let metadata = file.metadata().map_err(io_damage)?;
            if !metadata.is_file() {
                return Err(halt(Reason::Special, "it is no plain file"));
            }
            let input = Input::new(object.name.to_string(), Origin::File(file)).metered(meter);
            read_input(input, sink)
        }
        Location::Remote(remote) => {
            let opened = remote.open(sink.config)?;
            let ranges = remote.ranges(sink.config, opened.size);
            let origin = Origin::Remote(Box::new(opened.stream), Box::new(move || ranges));
            let mut input = Input::new(remote.file_name(), origin).metered(meter);
            input.media_type = opened.media_type;
            input.url = Some(object.name.to_string());
            read_input(input, sink)
        }
        Location::Query(query) => sql::read_query(query, sink),
    }
}

/// Reads a stream of bytes, whatever it is.
pub(crate) fn read_input(mut input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    let (name, media_type) = (input.name.clone(), input.media_type.clone());
    let head = input.peek(HEAD_BYTES)?;
    match kind(&name, media_type.as_deref(), head, sink.config.format) {
        // An empty file of text holds nothing, and that is no damage.
        Kind::Plain(Format::Text | Format::Markdown | Format::Html) | Kind::Unknown if head.is_empty() => Ok(()),
        Kind::Packed(packing) => unpack::read_packed(packing, input, sink),
        Kind::Plain(format) => read_format(format, input, sink),
        Kind::Foreign(what) => Err(halt(Reason::Unsupported, format!("it is {what}, which is not read"))),
        Kind::Unknown => {
            Err(halt(Reason::UnknownFormat, "neither its name nor its first bytes say what it is, and it is no text"))
        }
    }
}

fn read_format(format: Format, input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    match format {
        Format::Csv => delimited::read_delimited(b',', input, sink),
        Format::Tsv => delimited::read_delimited(b'\t', input, sink),
        Format::Json => json::read_json(input, sink),
        Format::Jsonl => json::read_jsonl(input, sink),
        Format::Parquet => columnar::read_parquet(input, sink),
        Format::Arrow => columnar::read_arrow(input, sink),
        Format::Text => text::read_text(input, sink),
        Format::Markdown => text::read_markdown(input, sink),
        Format::Html => html::read_html(input, sink),
        Format::Pdf => pdf::read_pdf(input, sink),
        Format::Docx => docx::read_docx(input, sink),
        Format::Warc => warc::read_warc(input, sink),
        Format::Picture => picture::read_picture(input, sink),
        Format::Audio => audio::read_audio(input, sink),
    }
}
