//! Files cut at every byte, and files with flipped bytes: entries of damage, never a panic, and never
//! records that the whole file does not have.

use image::ImageFormat;
use proptest::prelude::*;
use sources::{Body, Config, Format, Item, Reason, TextUnit};

use crate::packed::{gzip, tar, zip};
use crate::{Given, golden, read_bytes};

/// One small file of every format.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let rows = b"{\"id\":1,\"text\":\"one\"}\n{\"id\":2,\"text\":\"two\"}\n";
    let read = |name: &str| std::fs::read(golden(name)).unwrap();
    vec![
        ("a.csv", b"id,text\n1,one\n2,\"t,wo\"\n".to_vec()),
        ("a.jsonl", rows.to_vec()),
        ("a.json", b"[{\"id\":1},{\"id\":[2,{}]}]".to_vec()),
        ("a.md", b"---\ntitle: x\n---\n# Head\ntext\n".to_vec()),
        ("a.html", b"<html><body><p>one <b>two</b></p><!-- x --></body></html>".to_vec()),
        ("a.parquet", crate::formats::parquet_bytes()),
        ("a.arrow", crate::formats::arrow_bytes(true)),
        ("a.arrows", crate::formats::arrow_bytes(false)),
        ("a.jsonl.gz", gzip(rows)),
        ("a.jsonl.zst", zstd::encode_all(&rows[..], 3).unwrap()),
        ("rows.jsonl.xz", read("rows.jsonl.xz")),
        ("a.zip", zip(&[("a.jsonl", rows), ("b.csv", b"h\n1\n")])),
        ("a.tar", tar(&[("a.jsonl", rows), ("b.csv", b"h\n1\n")])),
        ("a.png", crate::media::picture_bytes(ImageFormat::Png)),
        ("a.jpg", crate::media::picture_bytes(ImageFormat::Jpeg)),
        ("a.webp", crate::media::picture_bytes(ImageFormat::WebP)),
        ("a.wav", crate::media::wave_bytes()),
        ("tone.flac", read("tone.flac")),
        ("tone.ogg", read("tone.ogg")),
        ("tone.mp3", read("tone.mp3")),
        ("letter.pdf", read("letter.pdf")),
        ("report.docx", read("report.docx")),
        ("site.warc.gz", read("site.warc.gz")),
    ]
}

/// Reads, and unpacks what is unpacked on demand.
fn read_all(name: &str, bytes: &[u8]) -> (Given, usize) {
    let config = Config { text: TextUnit::Line, ..Config::default() };
    let given = read_bytes(name, bytes, &config);
    let refused = given
        .bodies()
        .filter(|body| match body {
            Body::Picture(picture) => picture.pixels().is_err(),
            Body::Audio(audio) => audio.samples().is_err(),
            _ => false,
        })
        .count();
    (given, refused)
}

/// Whether a decoder panicked. Those of Parquet and Arrow do on wild bytes, and their panics become entries.
fn internal(name: &str, given: &Given) -> bool {
    let known = matches!(name, "a.parquet" | "a.arrow" | "a.arrows");
    !known
        && given
            .items
            .iter()
            .any(|item| matches!(item, Item::Damaged { damage, .. } if damage.reason == Reason::Internal))
}

#[test]
fn a_file_cut_anywhere_is_damage_or_a_shorter_file() {
    for (name, bytes) in samples() {
        let (whole, refused) = read_all(name, &bytes);
        assert_eq!((whole.damaged(), refused), (vec![], 0), "{name}");
        // Every byte of the smallest files; of longer ones a spread, and the ends.
        let step = (bytes.len() / 100).max(1);
        for length in (0..bytes.len()).filter(|length| length % step == 0 || length + 16 > bytes.len()) {
            let (cut, refused) = read_all(name, &bytes[..length]);
            assert!(!internal("", &cut), "{name} at {length}: {:?}", cut.items);
            assert!(cut.counts.records <= whole.counts.records, "{name} at {length}");
            // Text and lossy sound have no end of their own; others say that they were cut.
            let has_end = !matches!(name, "a.csv" | "a.jsonl" | "a.md" | "a.html" | "tone.mp3" | "tone.ogg" | "a.jpg");
            let may_end_here = match name {
                "site.warc.gz" | "a.arrows" => true,
                // Between blocks, and once the first block of zeros, which ends an archive, is there.
                "a.tar" => length % 512 == 0 || length >= bytes.len() - 512,
                // The pixels are whole without the chunk that says so, the text without the last line end.
                "a.png" => length + 12 >= bytes.len(),
                "letter.pdf" => length + 1 >= bytes.len(),
                _ => false,
            };
            if has_end && !may_end_here && length > 0 {
                assert!(
                    cut.counts.damaged > 0 || refused > 0,
                    "{name} cut at {length} of {} is taken for whole",
                    bytes.len()
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn flipped_bytes_never_panic(flips in prop::collection::vec((0.0..1.0_f64, 1..255_u8), 1..4)) {
        for (name, bytes) in samples() {
            let mut bytes = bytes;
            for (at, mask) in &flips {
                let index = (at * bytes.len() as f64) as usize;
                bytes[index] ^= mask;
            }
            let (given, _) = read_all(name, &bytes);
            prop_assert!(!internal(name, &given), "{} {:?}", name, given.items);
        }
    }

    #[test]
    fn noise_of_every_name_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        for (name, bytes) in samples() {
            // The magic of the format, then noise.
            let mut wild = bytes[..bytes.len().min(16)].to_vec();
            wild.extend_from_slice(&noise);
            let (given, _) = read_all(name, &wild);
            prop_assert!(!internal(name, &given), "{} {:?}", name, given.items);
        }
        let forced = [Format::Csv, Format::Json, Format::Jsonl, Format::Html, Format::Markdown, Format::Warc, Format::Pdf, Format::Docx];
        for format in forced {
            let given = read_bytes("a", &noise, &Config { format: Some(format), ..Config::default() });
            prop_assert!(!internal("", &given));
        }
    }
}
