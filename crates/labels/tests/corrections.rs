//! The corrections file: golden, hostile, and what becomes of each correction.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;

use base::{Digest, Failure, Value};
use labels::corrections::{Applied, Change, Conflict, Correction, LabelledRow, Stale};
use labels::{apply, read_corrections, row_key, write_corrections};
use proptest::prelude::*;

fn correction(content: &str, row: &str, from: &str, to: &str, who: &str, minute: u32) -> Correction {
    Correction {
        key: Digest::of(content.as_bytes()),
        row: row.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        who: who.to_owned(),
        when: format!("2026-11-26T20:{minute:02}:00Z"),
        note: String::new(),
    }
}

fn rows(rows: &[(&str, &str, &str)]) -> Vec<LabelledRow> {
    let row = |(content, id, label): &(&str, &str, &str)| LabelledRow {
        key: Digest::of(content.as_bytes()),
        id: (*id).to_owned(),
        label: (*label).to_owned(),
    };
    rows.iter().map(row).collect()
}

#[test]
fn the_golden_file_loads_and_is_written_back_byte_for_byte() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/corrections.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let corrections = read_corrections(&text).unwrap();
    assert_eq!(corrections.len(), 2);
    assert_eq!(corrections[0].to, "lost_or_stolen_card");
    assert_eq!(corrections[1].note, "\"确认\"");
    assert_eq!(write_corrections(&corrections).unwrap(), text);
    assert_eq!(read_corrections(&format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap(), corrections);
}

#[test]
fn a_wrong_line_is_named() {
    let text = write_corrections(&[correction("a", "1", "x", "y", "Lin", 1)]).unwrap();
    for (from, to) in [
        ("\"to\"", "\"too\""),
        ("20:01:00Z", "20:61:00Z"),
        ("2026-11-26", "2026-02-29"),
        ("00Z", "00+08:00"),
        ("ca978112", "zz978112"),
        ("\"who\":\"Lin\",", ""),
        ("\"row\":\"1\"", "\"row\":1"),
        ("}\n", ",\"more\":1}\n"),
    ] {
        let broken = text.replacen(from, to, usize::MAX);
        let broken = format!("{}\n{}", text.lines().next().unwrap(), broken.lines().last().unwrap());
        assert_ne!(broken.trim(), text.trim(), "{from}");
        let error = read_corrections(&broken).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{from}: {error}");
        assert!(error.hint().is_some());
    }
    let error = read_corrections(text.lines().last().unwrap()).unwrap_err();
    assert!(error.to_string().contains("line 1: no header"), "{error}");
    assert!(read_corrections(&text.replace("\"version\":1", "\"version\":2")).is_err());
    assert!(read_corrections("").unwrap().is_empty());
}

#[test]
fn every_correction_is_accounted_for() {
    let mut data = rows(&[
        ("a", "1", "x"),
        ("b", "2", "x"),
        ("c", "moved", "x"),
        ("twin", "8", "x"),
        ("twin", "9", "x"),
        ("new text", "5", "x"),
        ("d", "6", "y"),
        ("e", "7", "z"),
        ("f", "10", "x"),
    ]);
    let corrections = [
        correction("a", "1", "x", "y", "Lin", 1),        // 0 applies
        correction("b", "2", "x", "x", "Lin", 1),        // 1 confirms
        correction("c", "3", "x", "y", "Lin", 1),        // 2 applies: the row moved
        correction("twin", "9", "x", "y", "Lin", 1),     // 3 applies to one twin
        correction("twin", "77", "x", "y", "Lin", 1),    // 4 which twin?
        correction("old text", "5", "x", "y", "Lin", 1), // 5 the text changed
        correction("d", "6", "x", "y", "Lin", 1),        // 6 is so already
        correction("e", "7", "x", "y", "Lin", 1),        // 7 another label
        correction("nowhere", "0", "x", "y", "Lin", 1),  // 8 gone
        correction("f", "10", "x", "y", "Lin", 1),       // 9 contradicts 10
        correction("f", "10", "x", "z", "Wu", 2),        // 10
        correction("a", "1", "y", "w", "Wu", 5),         // 11 follows 0
        correction("a", "1", "y", "v", "Wu", 4),         // 12 an earlier thought of Wu's
    ];
    let applied = apply(&mut data, &corrections);
    let change =
        |index, from: &str, to: &str, correction| Change { index, from: from.into(), to: to.into(), correction };
    assert_eq!(
        applied,
        Applied {
            changed: vec![
                change(0, "x", "y", 0),
                change(2, "x", "y", 2),
                change(4, "x", "y", 3),
                change(0, "y", "w", 11)
            ],
            confirmed: vec![1],
            already: vec![6],
            replaced: vec![12],
            stale: vec![
                (4, Stale::Ambiguous { rows: 2 }),
                (5, Stale::ContentChanged { index: 5 }),
                (7, Stale::LabelChanged { index: 7, label: "z".into() }),
                (8, Stale::Gone),
            ],
            conflicts: vec![Conflict { corrections: vec![9, 10] }],
        }
    );
    let labels: Vec<&str> = data.iter().map(|row| row.label.as_str()).collect();
    assert_eq!(labels, ["w", "x", "y", "x", "y", "x", "y", "z", "x"]);
}

#[test]
fn a_row_key_is_the_digest_of_its_cells() {
    let key = row_key(&[Value::Text("a".into()), Value::Missing, Value::Number(1.5), Value::Binary(true)]).unwrap();
    assert_eq!(key, Digest::of(br#"["a",null,1.5,true]"#));
}

proptest! {
    #[test]
    fn what_is_written_is_read(texts in prop::collection::vec((".*", ".*", ".*", ".*"), 0..8)) {
        let corrections: Vec<Correction> = texts
            .iter()
            .map(|(a, b, c, d)| Correction { note: d.clone(), ..correction(a, a, b, c, d, 7) })
            .collect();
        prop_assert_eq!(read_corrections(&write_corrections(&corrections).unwrap()).unwrap(), corrections);
    }

    #[test]
    fn rubbish_is_refused_and_never_panics(text in "\\PC*") {
        let text = format!("{}\n{text}", labels::corrections::HEADER);
        prop_assert!(read_corrections(&text).is_err() || text.lines().skip(1).all(|line| line.trim().is_empty()));
    }

    #[test]
    fn every_correction_is_in_exactly_one_list(
        data in prop::collection::vec((0_u8..6, 0_u8..8, 0_u8..3), 0..12),
        wanted in prop::collection::vec((0_u8..6, 0_u8..8, 0_u8..3, 0_u8..3, 0_u8..3, 0_u32..3), 0..12),
    ) {
        let content: Vec<(String, String, String)> =
            data.iter().map(|(a, b, c)| (a.to_string(), b.to_string(), c.to_string())).collect();
        let content: Vec<(&str, &str, &str)> = content.iter().map(|(a, b, c)| (&**a, &**b, &**c)).collect();
        let corrections: Vec<Correction> = wanted
            .iter()
            .map(|(key, row, from, to, who, minute)| correction(&key.to_string(), &row.to_string(), &from.to_string(), &to.to_string(), &who.to_string(), *minute))
            .collect();
        let mut all = rows(&content);
        let applied = apply(&mut all, &corrections);
        let listed = applied.changed.len() + applied.confirmed.len() + applied.already.len() + applied.replaced.len()
            + applied.stale.len() + applied.conflicts.iter().map(|c| c.corrections.len()).sum::<usize>();
        prop_assert_eq!(listed, corrections.len());
    }
}
