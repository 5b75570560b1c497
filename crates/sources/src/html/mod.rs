//! HTML pages: character set, main content, what the page says of itself.

mod extract;
mod tree;

#[cfg(test)]
mod tests;

use encoding_rs::Encoding;

use crate::charset::{of_media_type, whole_text};
use crate::config::Config;
use crate::input::Input;
use crate::record::{Body, Document, NoteKind, Position};
use crate::sink::{Flow, Sink};
use tree::Tree;

/// How far into a page its declaration may stand (the HTML standard says 1024).
const DECLARATION_BYTES: usize = 4096;

/// Reads one page as one document.
pub(crate) fn read_html(input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    let declared = input.media_type.as_deref().and_then(of_media_type);
    let url = input.url.clone();
    let bytes = input.bytes(sink.config.record_bytes_max)?;
    give_page(bytes, declared, url.as_deref(), &[], Position::Whole, sink)
}

/// Gives a page as a document; `known` comes before what the page says.
pub(crate) fn give_page(
    bytes: Vec<u8>,
    declared: Option<&'static Encoding>,
    url: Option<&str>,
    known: &[(&str, &str)],
    position: Position,
    sink: &mut Sink<'_, '_>,
) -> Flow {
    let declared = declared.or_else(|| declared_in(&bytes));
    let (page, replaced, decoder) = whole_text(bytes, declared, sink.config);
    let (mut document, cut) = page_text(&page, sink.config);
    let own = std::mem::take(&mut document.metadata);
    document.set("url", url.unwrap_or_default());
    for (name, value) in known {
        document.set(name, value);
    }
    for (name, value) in own {
        document.set(&name, &value);
    }
    document.set("media_type", "text/html");
    sink.record(position, Body::Document(document), replaced)?;
    if cut {
        sink.note(
            NoteKind::Skipped,
            1,
            "the page has too many elements; what follows the first 4 million is left out",
        )?;
    }
    decoder.close(sink)
}

/// The document of a page, and whether the page was too large to be kept whole.
fn page_text(page: &str, config: &Config) -> (Document, bool) {
    let tree = Tree::parse(page);
    (extract::extract(&tree, config.main_content), tree.cut)
}

/// The main content of an HTML page and what the page says of itself, or all its visible text.
#[must_use]
pub fn html_document(page: &str, main_content: bool) -> Document {
    extract::extract(&Tree::parse(page), main_content)
}

/// The character set that a page declares in `<meta charset>`, `<meta http-equiv>` or `<?xml encoding>`.
fn declared_in(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = bytes.get(..DECLARATION_BYTES.min(bytes.len()))?.to_ascii_lowercase();
    let xml = head.starts_with(b"<?xml");
    let keys: &[&[u8]] = if xml { &[b"encoding", b"charset"] } else { &[b"charset"] };
    for key in keys {
        for at in memchr::memmem::find_iter(&head, key) {
            let rest = head.get(at + key.len()..)?.trim_ascii_start();
            let Some(rest) = rest.strip_prefix(b"=") else { continue };
            let rest = rest.trim_ascii_start();
            let rest = rest.strip_prefix(b"\"").or_else(|| rest.strip_prefix(b"'")).unwrap_or(rest);
            let end = rest.iter().position(|byte| b"\"' ;>/?".contains(byte)).unwrap_or(rest.len());
            if let Some(charset) = Encoding::for_label(&rest[..end]) {
                return Some(charset);
            }
        }
    }
    None
}
