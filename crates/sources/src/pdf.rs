//! The text of PDF files: `hayro` interprets the pages and says which letter stands where; here letters
//! become words, lines and paragraphs by their distances, in the order that the file draws them.

use std::fmt::Write as _;

use hayro_interpret::font::{Glyph, GlyphRun};
use hayro_interpret::hayro_cmap::BfString;
use hayro_interpret::hayro_syntax::{DecryptionError, LoadPdfError, Pdf};
use hayro_interpret::kurbo::{Affine, BezPath, Point, Rect, Vec2};
use hayro_interpret::{
    BlendMode, ClipPath, Context, Device, DrawMode, DrawProps, Image, ImageDrawProps, InterpreterCache,
    InterpreterSettings, SoftMask, interpret_page,
};

use crate::guard::guarded_for;
use crate::input::Input;
use crate::record::{Body, Damage, Document, Position, Reason};
use crate::sink::{Flow, Sink};

/// Letters per em in the glyph space of `hayro`.
const GLYPH_UNITS: f64 = 1000.0;
/// How near the end of a file its end mark stands.
const END_MARK_BYTES: usize = 2048;

/// What a PDF came to.
struct Read {
    document: Document,
    /// Letters whose characters nothing in the file tells.
    unknown: u32,
    /// Pages beyond the limit.
    pages_left: usize,
}

/// Reads the text of all pages as one document, pages apart by a form feed.
pub(crate) fn read_pdf(input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    let url = input.url.clone();
    let bytes = input.bytes(sink.config.record_bytes_max)?;
    let tail = &bytes[bytes.len().saturating_sub(END_MARK_BYTES)..];
    let whole = memchr::memmem::find(tail, b"%%EOF").is_some();
    let (pages_max, text_bytes_max) = (sink.config.pages_max, sink.config.record_bytes_max);
    let read = guarded_for(sink.config.document_wait(), move || text_of(bytes, pages_max, text_bytes_max));
    let Read { mut document, unknown, pages_left } = match read {
        Ok(read) => read,
        Err(damage) if !whole && damage.reason == Reason::Corrupt => {
            return Err(Damage::new(Reason::Truncated, "it ends too early").into());
        }
        Err(damage) => return Err(damage.into()),
    };
    document.set("media_type", "application/pdf");
    document.set("url", url.as_deref().unwrap_or_default());
    sink.record(Position::Whole, Body::Document(document), unknown)?;
    if pages_left > 0 {
        let what = format!("it has {pages_left} pages more than the {pages_max} that were read");
        sink.damaged(Position::Record(pages_max as u64 + 1), Damage::new(Reason::TooMany, what))?;
    }
    if !whole {
        let what = "it ends too early; what could be found of its text was given";
        sink.damaged(Position::Whole, Damage::new(Reason::Truncated, what))?;
    }
    Ok(())
}

fn text_of(bytes: Vec<u8>, pages_max: usize, text_bytes_max: usize) -> Result<Read, Damage> {
    let pdf = Pdf::new(bytes).map_err(|error| match error {
        LoadPdfError::Decryption(DecryptionError::PasswordProtected) => {
            Damage::new(Reason::Encrypted, "it needs a password")
        }
        LoadPdfError::Decryption(_) => Damage::new(Reason::Encrypted, "its encryption is not known"),
        LoadPdfError::Invalid => Damage::new(Reason::Corrupt, "it has no readable pages"),
    })?;
    let cache = InterpreterCache::new();
    let mut writer = Writer { text: String::new(), unknown: 0, last: None, text_bytes_max };
    for (index, page) in pdf.pages().iter().enumerate().take(pages_max) {
        if index > 0 {
            writer.next_page();
        }
        // Pages share fonts; the box and the first transform matter to drawing only.
        let frame = Rect::new(0.0, 0.0, 1.0, 1.0);
        let mut context = Context::new(Affine::IDENTITY, frame, &cache, pdf.xref(), InterpreterSettings::default());
        interpret_page(page, &mut context, &mut writer);
        if writer.text.len() > text_bytes_max {
            return Err(crate::lines::too_long(text_bytes_max));
        }
    }
    let mut document = Document { text: lines(&writer.text), ..Document::default() };
    let known = pdf.metadata();
    document.set("title", &info(known.title.as_deref()));
    document.set("author", &info(known.author.as_deref()));
    document.set("description", &info(known.subject.as_deref()));
    document.set("keywords", &info(known.keywords.as_deref()));
    if let Some(date) = &known.creation_date {
        let mut text = String::new();
        let _ = write!(
            text,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            date.year, date.month, date.day, date.hour, date.minute, date.second
        );
        document.set("date", &text);
    }
    let pages = pdf.pages().len();
    document.set("pages", &pages.to_string());
    Ok(Read { document, unknown: writer.unknown, pages_left: pages.saturating_sub(pages_max) })
}

/// A text string of the information dictionary: UTF-16 or UTF-8 by its mark, else PDFDocEncoding, which is
/// Latin-1 for what titles hold.
fn info(bytes: Option<&[u8]>) -> String {
    let bytes = bytes.unwrap_or_default();
    if let Some(rest) = bytes.strip_prefix(b"\xfe\xff") {
        return encoding_rs::UTF_16BE.decode_without_bom_handling(rest).0.into_owned();
    }
    if let Some(rest) = bytes.strip_prefix(b"\xff\xfe") {
        return encoding_rs::UTF_16LE.decode_without_bom_handling(rest).0.into_owned();
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

/// Lines without white space at their ends.
fn lines(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for line in text.split('\n') {
        clean.push_str(line.trim_end_matches([' ', '\t', '\r']));
        clean.push('\n');
    }
    clean.truncate(clean.trim_end().len());
    clean
}

/// Puts letters together.
struct Writer {
    text: String,
    unknown: u32,
    last: Option<Place>,
    text_bytes_max: usize,
}

/// Where the last letter ended.
#[derive(Clone, Copy)]
struct Place {
    end: Point,
    /// The direction of its line, of length 1.
    along: Vec2,
    size: f64,
    start: Point,
}

impl Writer {
    fn next_page(&mut self) {
        while self.text.ends_with([' ', '\n']) {
            self.text.pop();
        }
        if !self.text.is_empty() {
            self.text.push_str("\n\u{c}\n");
        }
        self.last = None;
    }

    #[expect(clippy::needless_pass_by_value, reason = "the interpreter gives the letter away")]
    fn letter(&mut self, transform: Affine, advance: f64, letter: Option<BfString>) {
        if self.text.len() > self.text_bytes_max {
            return;
        }
        let start = transform * Point::ZERO;
        let end = transform * Point::new(advance, 0.0);
        let unit = transform * Point::new(GLYPH_UNITS, 0.0) - start;
        let up = transform * Point::new(0.0, GLYPH_UNITS) - start;
        let size = up.hypot().max(1e-6);
        let along = if unit.hypot() > 0.0 { unit / unit.hypot() } else { Vec2::new(1.0, 0.0) };
        let text = match &letter {
            Some(BfString::Char(letter)) => letter.to_string(),
            Some(BfString::String(text)) => text.clone(),
            None => {
                self.unknown += 1;
                '\u{fffd}'.to_string()
            }
        };
        let is_space = text.chars().all(char::is_whitespace);
        if let Some(last) = self.last {
            self.gap(last, start, size);
        }
        if is_space {
            self.space();
        } else {
            self.text.extend(text.chars().filter(|letter| !letter.is_control()));
        }
        self.last = Some(Place { end, along, size, start });
    }

    fn space(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with([' ', '\n']) {
            self.text.push(' ');
        }
    }

    /// Writes what stands between two letters: nothing, a space, a line end, an empty line.
    fn gap(&mut self, last: Place, start: Point, size: f64) {
        let step = start - last.end;
        let ahead = step.dot(last.along);
        let across = step.cross(last.along).abs();
        let em = last.size.min(size);
        if across > 0.6 * em {
            let far = across > 1.9 * last.size.max(size);
            while self.text.ends_with(' ') {
                self.text.pop();
            }
            if !self.text.is_empty() && !self.text.ends_with('\n') {
                self.text.push_str(if far { "\n\n" } else { "\n" });
            }
        } else if ahead > 0.18 * em {
            self.space();
        } else if ahead < -1.2 * em && (start - last.start).dot(last.along) < 0.0 {
            // Back on the same line: a cell or a column that is drawn later.
            self.space();
        }
    }
}

impl<'a> Device<'a> for Writer {
    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, 'a>, props: DrawProps<'a>, _: &DrawMode) {
        for glyph in run.glyphs() {
            let advance = match &**glyph {
                Glyph::Outline(outline) => outline.advance_width(),
                Glyph::Type3(drawn) => drawn.advance_width(),
            };
            let transform = props.transform * glyph.transform();
            self.letter(transform, f64::from(advance.unwrap_or(500.0)), glyph.as_unicode());
        }
    }

    fn draw_path(&mut self, _: &BezPath, _: DrawProps<'a>, _: &DrawMode) {}
    fn push_clip_path(&mut self, _: &ClipPath) {}
    fn push_transparency_group(&mut self, _: f32, _: Option<SoftMask<'a>>, _: BlendMode) {}
    fn draw_image(&mut self, _: Image<'a, '_>, _: ImageDrawProps<'a>) {}
    fn pop_clip(&mut self) {}
    fn pop_transparency_group(&mut self) {}
}
