//! What a file is: by its first bytes where they are telling, else by its name, else by the media type
//! that a server declared, else by whether it looks like text.

use serde::{Deserialize, Serialize};

/// The formats that hold records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// Comma-separated values with a header line (RFC 4180).
    Csv,
    /// Tab-separated values with a header line.
    Tsv,
    /// JSON: a list of values, or values one after the other.
    Json,
    /// JSON, one value on each line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
    /// Apache Arrow IPC, file or stream.
    Arrow,
    /// Plain text.
    Text,
    /// Markdown, with or without front matter.
    Markdown,
    /// HTML.
    Html,
    /// PDF; its text.
    Pdf,
    /// Office Open XML text; its text.
    Docx,
    /// Web archive (ISO 28500).
    Warc,
    /// PNG, JPEG, WebP.
    Picture,
    /// WAV, FLAC, MP3, Ogg Vorbis.
    Audio,
}

/// What is taken off before records appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Zstd,
    Xz,
    Zip,
    Tar,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Packed(Packing),
    Plain(Format),
    /// Known, and not read.
    Foreign(&'static str),
    Unknown,
}

/// How many first bytes `kind` wants to see.
pub(crate) const HEAD_BYTES: usize = 4096;

/// Says what a file is.
pub(crate) fn kind(name: &str, media_type: Option<&str>, head: &[u8], wanted: Option<Format>) -> Kind {
    let extension = extension(name);
    if let Some(packing) = packing_of_bytes(head) {
        if packing == Packing::Zip {
            match (wanted, extension.as_str()) {
                (Some(Format::Docx), _) | (_, "docx") => return Kind::Plain(Format::Docx),
                (_, "xlsx" | "xlsm") => return Kind::Foreign("an Excel workbook"),
                (_, "pptx") => return Kind::Foreign("a PowerPoint file"),
                (_, "odt" | "ods" | "odp") => return Kind::Foreign("an OpenDocument file"),
                _ => {}
            }
        }
        return Kind::Packed(packing);
    }
    if let Some(packing) = packing_of_name(&extension) {
        return Kind::Packed(packing);
    }
    if let Some(format) = wanted {
        return Kind::Plain(format);
    }
    if let Some(kind) = kind_of_bytes(head) {
        return kind;
    }
    if let Some(format) = format_of_name(&extension) {
        return Kind::Plain(format);
    }
    if let Some(format) = media_type.and_then(format_of_media_type) {
        return Kind::Plain(format);
    }
    if looks_like_html(head) {
        Kind::Plain(Format::Html)
    } else if looks_like_text(head) {
        Kind::Plain(Format::Text)
    } else {
        Kind::Unknown
    }
}

/// The part of a name after its last dot, in lower case; empty where there is none.
pub(crate) fn extension(name: &str) -> String {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    match file.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => extension.to_ascii_lowercase(),
        _ => String::new(),
    }
}

/// The name of what a packed file holds: `a.csv.gz` holds `a.csv`, `a.tgz` holds `a.tar`.
pub(crate) fn unpacked_name(name: &str) -> String {
    let extension = extension(name);
    let stem = name.get(..name.len().saturating_sub(extension.len() + 1)).unwrap_or(name);
    match extension.as_str() {
        "tgz" | "txz" | "tzst" => format!("{stem}.tar"),
        "gz" | "gzip" | "zst" | "zstd" | "xz" => stem.to_owned(),
        _ => name.to_owned(),
    }
}

fn packing_of_bytes(head: &[u8]) -> Option<Packing> {
    let starts = |magic: &[u8]| head.starts_with(magic);
    if starts(&[0x1f, 0x8b, 8]) {
        Some(Packing::Gzip)
    } else if starts(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Some(Packing::Zstd)
    } else if starts(b"\xfd7zXZ\0") {
        Some(Packing::Xz)
    } else if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") {
        Some(Packing::Zip)
    } else if head.get(257..262) == Some(b"ustar") {
        Some(Packing::Tar)
    } else {
        None
    }
}

fn packing_of_name(extension: &str) -> Option<Packing> {
    Some(match extension {
        "gz" | "gzip" | "tgz" => Packing::Gzip,
        "zst" | "zstd" | "tzst" => Packing::Zstd,
        "xz" | "txz" => Packing::Xz,
        "zip" => Packing::Zip,
        "tar" => Packing::Tar,
        _ => return None,
    })
}

fn kind_of_bytes(head: &[u8]) -> Option<Kind> {
    let starts = |magic: &[u8]| head.starts_with(magic);
    let riff = |kind: &[u8]| starts(b"RIFF") && head.get(8..12) == Some(kind);
    let format = if starts(b"PAR1") {
        Format::Parquet
    } else if starts(b"ARROW1\0\0") {
        Format::Arrow
    } else if starts(b"%PDF-") {
        Format::Pdf
    } else if starts(b"\x89PNG\r\n\x1a\n") || starts(&[0xff, 0xd8, 0xff]) || riff(b"WEBP") {
        Format::Picture
    } else if riff(b"WAVE") || starts(b"fLaC") || starts(b"OggS") || starts(b"ID3") {
        Format::Audio
    } else if starts(b"WARC/") {
        Format::Warc
    } else if starts(b"BZh") {
        return Some(Kind::Foreign("a bzip2 file"));
    } else if starts(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        return Some(Kind::Foreign("an old Office file"));
    } else if starts(b"GIF8") {
        return Some(Kind::Foreign("a GIF image"));
    } else if starts(b"SQLite format 3\0") {
        return Some(Kind::Foreign("an SQLite database; name it as sqlite:PATH?table=NAME"));
    } else {
        return None;
    };
    Some(Kind::Plain(format))
}

fn format_of_name(extension: &str) -> Option<Format> {
    Some(match extension {
        "csv" => Format::Csv,
        "tsv" | "tab" => Format::Tsv,
        "json" => Format::Json,
        "jsonl" | "ndjson" | "jsonlines" => Format::Jsonl,
        "parquet" | "pq" => Format::Parquet,
        "arrow" | "arrows" | "ipc" | "feather" => Format::Arrow,
        "txt" | "text" => Format::Text,
        "md" | "markdown" | "mdown" => Format::Markdown,
        "html" | "htm" | "xhtml" | "shtml" => Format::Html,
        "pdf" => Format::Pdf,
        "docx" => Format::Docx,
        "warc" | "wet" => Format::Warc,
        "png" | "jpg" | "jpeg" | "webp" => Format::Picture,
        "wav" | "wave" | "flac" | "mp3" | "ogg" | "oga" => Format::Audio,
        _ => return None,
    })
}

/// The format of a media type (RFC 9110, 8.3.1), without its parameters.
pub(crate) fn format_of_media_type(media_type: &str) -> Option<Format> {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Some(match essence.as_str() {
        "text/csv" => Format::Csv,
        "text/tab-separated-values" => Format::Tsv,
        "application/json" => Format::Json,
        "application/x-ndjson" | "application/jsonl" | "application/json-lines" => Format::Jsonl,
        "application/vnd.apache.parquet" => Format::Parquet,
        "application/vnd.apache.arrow.file" | "application/vnd.apache.arrow.stream" => Format::Arrow,
        "text/plain" => Format::Text,
        "text/markdown" => Format::Markdown,
        "text/html" | "application/xhtml+xml" => Format::Html,
        "application/pdf" => Format::Pdf,
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => Format::Docx,
        "application/warc" => Format::Warc,
        "image/png" | "image/jpeg" | "image/webp" => Format::Picture,
        "audio/wav" | "audio/x-wav" | "audio/flac" | "audio/mpeg" | "audio/ogg" => Format::Audio,
        _ => return None,
    })
}

pub(crate) fn looks_like_html(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let begins = |tag: &[u8]| head.len() >= tag.len() && head[..tag.len()].eq_ignore_ascii_case(tag);
    begins(b"<!doctype html") || begins(b"<html")
}

/// Text has no zero bytes, unless it is UTF-16, and next to no other control characters.
pub(crate) fn looks_like_text(head: &[u8]) -> bool {
    if crate::charset::utf16(head).is_some() {
        return true;
    }
    let controls = head.iter().filter(|&&byte| byte < 32 && !matches!(byte, b'\t' | b'\n' | b'\r' | 12 | 27)).count();
    !head.contains(&0) && controls * 50 <= head.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_win_over_names_and_names_over_looks() {
        let plain = |format| Kind::Plain(format);
        for (name, head, expected) in [
            ("a.csv", &b"a,b"[..], plain(Format::Csv)),
            ("a.csv", b"\x1f\x8b\x08", Kind::Packed(Packing::Gzip)),
            ("a.csv.GZ", b"", Kind::Packed(Packing::Gzip)),
            ("a.txt", b"%PDF-1.7", plain(Format::Pdf)),
            ("a", b"<!DOCTYPE HTML>", plain(Format::Html)),
            ("README", b"Read me", plain(Format::Text)),
            ("README", b"\xff\xfeR\0", plain(Format::Text)),
            ("a.bin", b"\x00\x01\x02\x03\x00", Kind::Unknown),
            ("a.docx", b"PK\x03\x04", plain(Format::Docx)),
            ("a.zip", b"PK\x05\x06", Kind::Packed(Packing::Zip)),
            (".md", b"x", plain(Format::Text)),
        ] {
            assert_eq!(kind(name, None, head, None), expected, "{name}");
        }
        assert_eq!(kind("page", Some("text/html; charset=x"), b"hello", None), plain(Format::Html));
        assert_eq!(kind("a.gz", None, b"", Some(Format::Jsonl)), Kind::Packed(Packing::Gzip));
    }

    #[test]
    fn packed_names_say_what_is_inside() {
        for (name, expected) in
            [("a.csv.gz", "a.csv"), ("a.tgz", "a.tar"), ("b/c.TAR.XZ", "b/c.TAR"), ("a.csv", "a.csv"), ("gz", "gz")]
        {
            assert_eq!(unpacked_name(name), expected);
        }
    }
}
