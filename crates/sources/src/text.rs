//! Plain text and Markdown.

use crate::charset::{of_media_type, text_input, whole_text};
use crate::config::TextUnit;
use crate::input::Input;
use crate::lines::{Line, Lines, too_long};
use crate::record::{Body, Document, Position};
use crate::sink::{Flow, Sink};

/// Reads plain text, whole or in pieces.
pub(crate) fn read_text(input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    match sink.config.text {
        TextUnit::Whole => read_whole(input, sink, "text/plain"),
        TextUnit::Line => read_lines(input, sink),
        TextUnit::Paragraph => read_paragraphs(input, sink),
    }
}

/// Reads Markdown: one document, its front matter as what is known of it.
pub(crate) fn read_markdown(input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    read_whole(input, sink, "text/markdown")
}

fn read_whole(input: Input<'_>, sink: &mut Sink<'_, '_>, media_type: &str) -> Flow {
    let declared = input.media_type.as_deref().and_then(of_media_type);
    let url = input.url.clone();
    let bytes = input.bytes(sink.config.record_bytes_max)?;
    let (text, replaced, decoder) = whole_text(bytes, declared, sink.config);
    let mut document =
        if media_type == "text/markdown" { markdown(text) } else { Document { text, metadata: Vec::new() } };
    document.set("media_type", media_type);
    document.set("url", url.as_deref().unwrap_or_default());
    sink.record(Position::Whole, Body::Document(document), replaced)?;
    decoder.close(sink)
}

fn read_lines(input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    let (input, mut decoder) = text_input(input, sink.config)?;
    let mut lines = Lines::new(input, sink.config.record_bytes_max);
    loop {
        let number = lines.number + 1;
        match lines.next().map_err(|halt| halt.at(Position::Line(number)))? {
            None => break,
            Some(Line::TooLong) => sink.damaged(Position::Line(number), too_long(sink.config.record_bytes_max))?,
            Some(Line::Whole(line)) => {
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let (text, replaced) = decoder.text(line);
                let document = Document { text: text.into_owned(), metadata: Vec::new() };
                sink.record(Position::Line(number), Body::Document(document), replaced)?;
            }
        }
    }
    decoder.close(sink)
}

fn read_paragraphs(input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    let (input, mut decoder) = text_input(input, sink.config)?;
    let bytes_max = sink.config.record_bytes_max;
    let mut lines = Lines::new(input, bytes_max);
    let (mut text, mut replaced, mut first) = (String::new(), 0, 0);
    let mut overlong = false;
    loop {
        let number = lines.number + 1;
        let line = lines.next().map_err(|halt| halt.at(Position::Line(number)))?;
        let ended = line.is_none();
        let piece = match line {
            Some(Line::Whole(line)) if !line.trim_ascii().is_empty() => Some(decoder.text(line)),
            Some(Line::TooLong) => {
                overlong = true;
                Some((String::new().into(), 0))
            }
            _ => None,
        };
        if let Some((piece, broken)) = piece {
            if first == 0 {
                first = number;
            } else {
                text.push('\n');
            }
            overlong |= text.len() + piece.len() > bytes_max;
            if overlong {
                text.clear();
            } else {
                text.push_str(&piece);
            }
            replaced += broken;
        } else if first > 0 {
            let position = Position::Line(first);
            if overlong {
                sink.damaged(position, too_long(bytes_max))?;
            } else {
                let document = Document { text: std::mem::take(&mut text), metadata: Vec::new() };
                sink.record(position, Body::Document(document), replaced)?;
            }
            text.clear();
            (replaced, first, overlong) = (0, 0, false);
        }
        if ended {
            break;
        }
    }
    decoder.close(sink)
}

/// Takes the front matter off: YAML between `---`, TOML between `+++`. The title is that of the front
/// matter, else the first heading.
fn markdown(text: String) -> Document {
    let mut document = Document::default();
    let body = match front_matter(&text) {
        Some((mark, front, body)) => {
            if mark == "+++" {
                toml_keys(front, &mut document);
            } else {
                yaml_keys(front, &mut document);
            }
            body.to_owned()
        }
        None => text,
    };
    let heading =
        body.lines().find_map(|line| line.strip_prefix("# ")).map(|line| line.trim_end_matches('#').to_owned());
    if let Some(heading) = heading {
        document.set("title", &heading);
    }
    document.text = body;
    document
}

/// The mark, what stands between the marks, and what follows.
fn front_matter(text: &str) -> Option<(&str, &str, &str)> {
    let (mark, rest) = text.split_once('\n')?;
    let mark = mark.trim_end();
    if mark != "---" && mark != "+++" {
        return None;
    }
    let mut offset = 0;
    for line in rest.split_inclusive('\n') {
        let end = offset + line.len();
        let line = line.trim_end();
        if line == mark || (mark == "---" && line == "...") {
            return Some((mark, &rest[..offset], rest[end..].trim_start_matches(['\r', '\n'])));
        }
        offset = end;
    }
    None
}

fn toml_keys(front: &str, document: &mut Document) {
    let Ok(table) = front.parse::<toml::Table>() else { return };
    for (key, value) in &table {
        let shown = match value {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        document.set(key, &shown);
    }
}

/// The top-level keys of a YAML mapping. What is indented below a key is its value, as it is written.
fn yaml_keys(front: &str, document: &mut Document) {
    let mut current: Option<(String, String)> = None;
    for line in front.lines() {
        let indented = line.starts_with([' ', '\t', '-']);
        if !indented && let Some((key, value)) = line.split_once(':') {
            if let Some((key, value)) = current.take() {
                document.set(&key, &value);
            }
            current = Some((key.trim().trim_matches(['"', '\'']).to_owned(), unquoted(value).to_owned()));
        } else if indented && let Some((_, value)) = &mut current {
            if !value.is_empty() {
                value.push('\n');
            }
            value.push_str(line.trim());
        }
    }
    if let Some((key, value)) = current {
        document.set(&key, &value);
    }
}

fn unquoted(value: &str) -> &str {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner;
        }
    }
    value.split(" #").next().unwrap_or(value).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_matter_becomes_metadata() {
        let yaml = "---\ntitle: \"A: b\"\ntags:\n  - x\n  - y\ndate: 2024-05-01 # when\n---\n\n# Head\ntext\n";
        let document = markdown(yaml.to_owned());
        assert_eq!(document.text, "# Head\ntext\n");
        assert_eq!(document.get("title"), Some("A: b"));
        assert_eq!(document.get("tags"), Some("- x\n- y"));
        assert_eq!(document.get("date"), Some("2024-05-01"));

        let document = markdown("+++\ntitle = 'T'\nweight = 3\n+++\nbody".to_owned());
        assert_eq!((document.get("title"), document.get("weight")), (Some("T"), Some("3")));
        assert_eq!(document.text, "body");

        let document = markdown("---\nno end\n# Head #\n".to_owned());
        assert_eq!(document.text, "---\nno end\n# Head #\n");
        assert_eq!(document.get("title"), Some("Head"));
    }
}
