use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, UInt64Array,
};
use arrow::datatypes::Int32Type;
use base::Value;
use proptest::prelude::*;
use sources::{Body, Config, Format, Item, Reason, TextUnit};

use crate::{golden, read_bytes, read_path};

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn csv_rows_know_their_lines_and_survive_their_neighbours() {
    let csv = "id,text\n1,plain\n2,\"two\nlines, \"\"quoted\"\"\"\n\n3\n4,\r\n5,\"\"\n6,\"never closed\n7,last";
    let given = read_bytes("a.csv", csv.as_bytes(), &Config::default());
    let cells: Vec<&[Value]> = given.rows().iter().map(|row| row.cells.as_slice()).collect();
    assert_eq!(
        cells,
        [
            [text("1"), text("plain")],
            [text("2"), text("two\nlines, \"quoted\"")],
            [text("4"), Value::Missing],
            [text("5"), text("")],
            [text("7"), text("last")],
        ]
    );
    assert_eq!(given.places(), ["a.csv:2", "a.csv:3", "a.csv:7", "a.csv:8", "a.csv:10"]);
    assert_eq!(given.damaged(), [("a.csv:6".to_owned(), Reason::Ragged), ("a.csv:9".to_owned(), Reason::Truncated)]);
    assert_eq!(given.rows()[0].get("text"), Some(&text("plain")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// The `csv` crate is the oracle of what fields are.
    #[test]
    fn csv_fields_are_those_of_the_csv_crate(rows in prop::collection::vec(prop::collection::vec("[ab,\"\n\r ;é]{0,6}", 3), 1..8)) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["x", "y", "z"]).unwrap();
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let bytes = writer.into_inner().unwrap();
        let given = read_bytes("a.csv", &bytes, &Config::default());
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        let expected: Vec<Vec<String>> =
            reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect();
        let got: Vec<Vec<String>> = given.rows().iter()
            .map(|row| row.cells.iter().map(|cell| cell.as_text().unwrap_or("").to_owned()).collect()).collect();
        prop_assert_eq!(got, expected);
    }

    /// Wild bytes: the fields are still those of the `csv` crate wherever every record is whole.
    #[test]
    fn wild_csv_never_panics(bytes in prop::collection::vec(prop::sample::select(b"a,\"\r\n\xff;".to_vec()), 0..60)) {
        let given = read_bytes("a.csv", &bytes, &Config::default());
        prop_assert!(!given.counts.stopped);
    }

    #[test]
    fn json_values_come_back(values in prop::collection::vec(json_value(), 0..6), gap in "[ \n\t]{0,3}") {
        let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
        let list = format!("{gap}[{}]{gap}", values.iter().map(ToString::to_string).collect::<Vec<_>>().join(&format!("{gap},{gap}")));
        let by_lines = read_bytes("a.jsonl", lines.as_bytes(), &Config::default());
        let by_list = read_bytes("a.json", list.as_bytes(), &Config::default());
        let in_a_row = read_bytes("b.json", lines.as_bytes(), &Config::default());
        prop_assert_eq!(by_lines.damaged().len() + by_list.damaged().len(), 0);
        prop_assert_eq!(by_lines.rows().len(), values.len());
        prop_assert_eq!(by_lines.rows(), by_list.rows());
        if !lines.starts_with('[') {
            prop_assert_eq!(by_lines.rows(), in_a_row.rows());
        }
        for (row, value) in by_lines.rows().iter().zip(&values) {
            if let Some(object) = value.as_object() {
                for (key, value) in object {
                    let expected = match value {
                        serde_json::Value::String(text) => Value::Text(text.clone()),
                        serde_json::Value::Bool(truth) => Value::Binary(*truth),
                        serde_json::Value::Number(number) => Value::Number(number.as_f64().unwrap()),
                        serde_json::Value::Null => Value::Missing,
                        nested => Value::Text(nested.to_string()),
                    };
                    prop_assert_eq!(row.get(key), Some(&expected));
                }
            }
        }
    }
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        "[a\"\\\\\\]}\u{e9}\u{6a21}\n]{0,6}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn whole_numbers_that_a_float_cannot_hold_stay_exact() {
    let given = read_bytes("a.jsonl", br#"{"a":9007199254740992,"b":9007199254740993,"c":-1.5}"#, &Config::default());
    assert_eq!(
        given.rows()[0].cells,
        [Value::Number(9_007_199_254_740_992.0), text("9007199254740993"), Value::Number(-1.5)]
    );
}

#[test]
fn a_broken_line_of_json_is_one_entry() {
    let given = read_bytes("a.jsonl", b"{\"a\":1}\nnot json\n\n{\"a\":2}\n{\"a\":", &Config::default());
    assert_eq!(given.places(), ["a.jsonl:1", "a.jsonl:4"]);
    assert_eq!(
        given.damaged(),
        [("a.jsonl:2".to_owned(), Reason::Syntax), ("a.jsonl:5".to_owned(), Reason::Truncated)]
    );
    let given = read_bytes("a.json", b"[{\"a\":1},{oops},{\"a\":2}", &Config::default());
    assert_eq!(given.places(), ["a.json#1", "a.json#3"]);
    assert_eq!(given.damaged(), [("a.json#2".to_owned(), Reason::Syntax), ("a.json#4".to_owned(), Reason::Truncated)]);
}

#[test]
fn long_records_are_entries_and_the_next_ones_are_read() {
    let config = Config { record_bytes_max: 1000, text: TextUnit::Line, ..Config::default() };
    let long = "x".repeat(5000);
    for (name, bytes, place) in [
        ("a.jsonl", format!("1\n\"{long}\"\n3\n"), "a.jsonl:2"),
        ("a.csv", format!("h\n1\n{long}\n3\n"), "a.csv:3"),
        ("a.txt", format!("1\n{long}\n3"), "a.txt:2"),
    ] {
        let given = read_bytes(name, bytes.as_bytes(), &config);
        assert_eq!(given.damaged(), [(place.to_owned(), Reason::TooLarge)]);
        assert_eq!(given.counts.records, 2, "{name}");
    }
}

#[test]
fn plain_text_comes_whole_by_line_or_by_paragraph() {
    let bytes = "one\ntwo\n\n \n三\r\nfour".as_bytes();
    let read = |text| read_bytes("a.txt", bytes, &Config { text, ..Config::default() });
    assert_eq!(read(TextUnit::Whole).texts(), ["one\ntwo\n\n \n三\r\nfour"]);
    let lines = read(TextUnit::Line);
    assert_eq!(lines.texts(), ["one", "two", "三", "four"]);
    assert_eq!(lines.places(), ["a.txt:1", "a.txt:2", "a.txt:5", "a.txt:6"]);
    let paragraphs = read(TextUnit::Paragraph);
    assert_eq!(paragraphs.texts(), ["one\ntwo", "三\nfour"]);
    assert_eq!(paragraphs.places(), ["a.txt:1", "a.txt:5"]);
}

#[test]
fn character_sets_are_found_and_said() {
    let chinese = "模坞是一个为大模型准备的船坞，小团队在这里造船。数据从各种来源流进来，一条也不会悄悄丢失。";
    let japanese = "これは文字コードの自動判別を試すための短い文章です。ひらがなとカタカナと漢字。";
    let korean = "이 문장은 문자 집합을 알아내기 위한 짧은 글입니다. 모든 자료는 흐르듯이 읽힌다.";
    let russian = "Это короткий текст для проверки того, как определяется кодировка файла.";
    for (label, sample) in [
        ("gb18030", chinese),
        ("big5", "這是一段用來測試字元集偵測的繁體中文，每一筆資料都不會悄悄消失。"),
        ("shift_jis", japanese),
        ("euc-jp", japanese),
        ("euc-kr", korean),
        ("windows-1251", russian),
        ("windows-1252", "Voilà un café très élégant, naïve déjà vu à Zürich, señor."),
    ] {
        let charset = encoding_rs::Encoding::for_label(label.as_bytes()).unwrap();
        let (bytes, _, broken) = charset.encode(sample);
        assert!(!broken);
        for unit in [TextUnit::Whole, TextUnit::Line] {
            let given = read_bytes("a.txt", &bytes, &Config { text: unit, ..Config::default() });
            assert_eq!(given.texts(), [sample], "{label}");
            assert_eq!(given.notes(), [("charset", 1)], "{label}");
        }
        let mut json = Vec::from(&b"[{\"text\":\""[..]);
        json.extend_from_slice(&bytes);
        json.extend_from_slice(b"\"}]");
        let given = read_bytes("a.json", &json, &Config::default());
        assert_eq!(given.rows()[0].get("text"), Some(&text(sample)), "{label}");
    }
    for (bom, units) in [(true, [1, 0]), (true, [0, 1]), (false, [0, 1])] {
        let mut bytes = Vec::new();
        let ascii = "name,text\nplain ascii,more of it\n";
        for unit in bom.then_some(0xfeff).into_iter().chain(ascii.encode_utf16()) {
            let pair = unit.to_be_bytes();
            bytes.extend([pair[usize::from(units[0] != 0)], pair[usize::from(units[1] != 0)]]);
        }
        let given = read_bytes("a.csv", &bytes, &Config::default());
        assert_eq!(given.rows()[0].cells, [text("plain ascii"), text("more of it")], "{bom} {units:?}");
    }
    let given = read_bytes("a.csv", b"\xef\xbb\xbfname\nx\n", &Config::default());
    assert!(given.rows()[0].get("name").is_some());
}

#[test]
fn bytes_that_are_no_characters_are_replaced_and_counted() {
    let good = "Für jede Zeile gilt: äöü ÄÖÜ ß, und das mehrmals, äöü.\n".repeat(3);
    let mut bytes = good.into_bytes();
    bytes.extend_from_slice(b"bad \xff byte \xc3\n");
    let given = read_bytes("a.txt", &bytes, &Config { text: TextUnit::Line, ..Config::default() });
    assert_eq!(given.texts()[3], "bad \u{fffd} byte \u{fffd}");
    assert_eq!(given.notes(), [("replaced", 2)]);
    let replaced: Vec<u32> = given
        .items
        .iter()
        .filter_map(|item| if let Item::Record(record) = item { Some(record.replaced) } else { None })
        .collect();
    assert_eq!(replaced, [0, 0, 0, 2]);
}

fn batch() -> RecordBatch {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("text", Arc::new(StringArray::from(vec![Some("a"), None, Some("模")]))),
        ("id", Arc::new(Int64Array::from(vec![1, -2, 9_007_199_254_740_993]))),
        ("big", Arc::new(UInt64Array::from(vec![1, 2, u64::MAX]))),
        ("score", Arc::new(Float64Array::from(vec![0.5, f64::NAN, f64::INFINITY]))),
        ("good", Arc::new(BooleanArray::from(vec![true, false, true]))),
        ("list", Arc::new(list) as Arc<dyn Array>),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

pub(crate) fn parquet_bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch().schema(), None).unwrap();
    writer.write(&batch()).unwrap();
    writer.close().unwrap();
    bytes
}

pub(crate) fn arrow_bytes(file: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    if file {
        let mut writer = arrow::ipc::writer::FileWriter::try_new(&mut bytes, &batch().schema()).unwrap();
        writer.write(&batch()).unwrap();
        writer.finish().unwrap();
    } else {
        let mut writer = arrow::ipc::writer::StreamWriter::try_new(&mut bytes, &batch().schema()).unwrap();
        writer.write(&batch()).unwrap();
        writer.finish().unwrap();
    }
    bytes
}

#[test]
fn columns_of_parquet_and_arrow_become_cells() {
    for (name, bytes) in
        [("a.parquet", parquet_bytes()), ("a.arrow", arrow_bytes(true)), ("a.arrows", arrow_bytes(false))]
    {
        let given = read_bytes(name, &bytes, &Config::default());
        assert_eq!(given.damaged(), [], "{name}");
        let rows = given.rows();
        assert_eq!(rows[0].cells[..2], [text("a"), Value::Number(1.0)]);
        assert_eq!(rows[1].cells[..2], [Value::Missing, Value::Number(-2.0)]);
        assert_eq!(rows[2].cells[1..4], [text("9007199254740993"), text("18446744073709551615"), text("inf")]);
        assert_eq!(rows[1].cells[3..], [Value::Missing, Value::Binary(false), Value::Missing]);
        assert_eq!(rows[0].get("list"), Some(&text("[1,null]")));
        assert_eq!(given.places()[2], format!("{name}#3"));
        let two = Config { columns: vec!["good".into(), "text".into()], ..Config::default() };
        let given = read_bytes(name, &bytes, &two);
        assert_eq!(&*given.rows()[2].columns, ["good", "text"]);
        assert_eq!(given.rows()[2].cells, [Value::Binary(true), text("模")]);
        let none = Config { columns: vec!["nowhere".into()], ..Config::default() };
        assert_eq!(read_bytes(name, &bytes, &none).damaged()[0].1, Reason::Syntax);
    }
}

#[test]
fn a_packed_file_of_pyarrow_is_read_and_its_claims_are_looked_at() {
    let bytes = std::fs::read(golden("table.feather")).unwrap();
    let given = read_bytes("a.feather", &bytes, &Config::default());
    assert_eq!(given.damaged(), []);
    assert_eq!(given.rows()[1].cells, [Value::Number(2.0), text("y")]);
    let small = Config { batch_bytes_max: 20, ..Config::default() };
    assert_eq!(read_bytes("a.feather", &bytes, &small).damaged()[0].1, Reason::TooLarge);
    // The first packed buffer claims to become 2^60 bytes: `arrow` would try to make room for them.
    let at = bytes.windows(4).position(|word| word == b"\x28\xb5\x2f\xfd").unwrap();
    let mut wild = bytes;
    wild[at - 1] = 0x10;
    assert_eq!(read_bytes("a.feather", &wild, &Config::default()).damaged()[0].1, Reason::TooLarge);
}

#[test]
fn a_row_becomes_a_document() {
    let given = read_bytes("a.jsonl", br#"{"id":7,"text":"words","url":null,"n":2.5}"#, &Config::default());
    let document = given.rows()[0].clone().into_document("text").unwrap();
    assert_eq!(document.text, "words");
    assert_eq!(document.metadata, [("id".to_owned(), "7".to_owned()), ("n".to_owned(), "2.5".to_owned())]);
    assert!(given.rows()[0].clone().into_document("id").is_err());
}

#[test]
fn pages_of_a_pdf_become_text() {
    let given = read_path(&golden("letter.pdf"), &Config::default());
    assert_eq!(given.damaged(), []);
    let document = given.documents()[0];
    let expected = "A letter about boats\n\nThe keel is laid first, and the ribs stand on it.\nCafé naïve – quotes “here”.\n\u{c}\nSecond page\n\nPlanks are bent by steam (30 % faster).";
    assert_eq!(document.text, expected);
    assert_eq!((document.get("title"), document.get("author")), (Some("A letter"), Some("A. Shipwright")));
    assert_eq!(document.get("pages"), Some("2"));
}

#[test]
fn a_word_document_becomes_text() {
    let given = read_path(&golden("report.docx"), &Config::default());
    assert_eq!(given.damaged(), []);
    let document = given.documents()[0];
    assert_eq!(document.text, "A report\nBoats & ships: bold and plain.\nwood\toak\nmetal\tiron\n模坞: the yard.");
    assert_eq!((document.get("title"), document.get("author")), (Some("A report"), Some("A. Shipwright")));
}

#[test]
fn a_page_gives_what_trafilatura_gives() {
    let given = read_path(&golden("blog.html"), &Config::default());
    let expected = std::fs::read_to_string(golden("blog.trafilatura.txt")).unwrap();
    let document = given.documents()[0];
    let score = token_f1(&document.text, &expected);
    assert!(score > 0.97, "{score}: {}", document.text);
    assert_eq!(document.get("url"), Some("https://yard.example/keel"));
    assert_eq!(document.get("date"), Some("2025-03-04T10:00:00Z"));
}

/// The harmonic mean of precision and recall over the multisets of words.
fn token_f1(text: &str, expected: &str) -> f64 {
    let count = |text: &str| {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for word in text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
        counts
    };
    let (ours, theirs) = (count(text), count(expected));
    let shared: usize = ours.iter().map(|(word, count)| count.min(theirs.get(word).unwrap_or(&0))).sum();
    2.0 * shared as f64 / (ours.values().sum::<usize>() + theirs.values().sum::<usize>()) as f64
}

#[test]
fn responses_of_an_archive_become_documents() {
    let given = read_path(&golden("site.warc.gz"), &Config::default());
    assert_eq!(given.damaged(), []);
    let documents = given.documents();
    assert_eq!(documents[0].text, "模坞是船坞的意思，我们在这里造船。");
    assert_eq!(documents[0].get("url"), Some("http://example.com/a"));
    assert_eq!(documents[1].text, "plain café");
    assert_eq!(given.places().len(), 2);
    let skipped: u64 = given.notes().iter().filter(|(kind, _)| *kind == "skipped").map(|(_, count)| count).sum();
    assert_eq!((skipped, given.counts.skipped), (3, 3));
}

#[test]
fn what_is_unknown_is_said() {
    let given = read_bytes("a.bin", &[0, 1, 2, 3, 0, 0], &Config::default());
    assert_eq!(given.damaged(), [("a.bin".to_owned(), Reason::UnknownFormat)]);
    assert_eq!(read_bytes("LICENSE", b"Do what you like.", &Config::default()).texts(), ["Do what you like."]);
    let forced = Config { format: Some(Format::Jsonl), ..Config::default() };
    assert_eq!(read_bytes("a.log", b"{\"a\":1}\n", &forced).rows().len(), 1);
    assert!(read_bytes("empty", b"", &Config::default()).items.is_empty());
}

#[test]
fn the_taker_says_stop() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.jsonl"), "1\n2\n3\n").unwrap();
    let objects = sources::find(&["a.jsonl".to_owned()], folder.path(), &Config::default()).unwrap();
    let mut seen = 0;
    let counts = sources::read(&objects[0], &Config::default(), &mut |item| {
        assert!(matches!(item, Item::Record(ref record) if matches!(record.body, Body::Row(_))));
        seen += 1;
        if seen == 2 { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    });
    assert_eq!((seen, counts.records, counts.stopped), (2, 2, true));
}
