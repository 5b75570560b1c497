use base::{ColumnType, Value};
use infer::description::{Columns, Encoding, InputDescription, OutputDescription, Target, TextCleaning};

use super::*;

fn columns() -> Columns {
    let input = |name: &str, column_type, encoding| InputDescription {
        name: name.to_owned(),
        column_type,
        encoding,
        offset: 0,
    };
    Columns {
        clean: TextCleaning { unicode: true, whitespace: true },
        inputs: vec![
            input(
                "text",
                ColumnType::Text,
                Encoding::Bag { word_ngrams: [1, 1], character_ngrams: [1, 1], buckets: 16 },
            ),
            input("amount", ColumnType::Number, Encoding::Number { mean: 0.0, deviation: 1.0 }),
        ],
        outputs: vec![OutputDescription {
            name: "member".to_owned(),
            target: Target::Binary { labels: ["no".to_owned(), "yes".to_owned()] },
            weight: 1.0,
            squared: false,
        }],
    }
}

fn rows() -> Vec<Row> {
    vec![
        Row {
            id: 4, inputs: vec![Value::Text("餘額".to_owned()), Value::Missing], outputs: vec![Value::Binary(true)]
        },
        Row { id: 9, inputs: vec![Value::Missing, Value::Number(-0.5)], outputs: vec![Value::Missing] },
    ]
}

#[test]
fn rows_come_back() {
    let folder = tempfile::tempdir().unwrap();
    write_split(folder.path(), Split::Test, &columns(), &rows()).unwrap();
    assert_eq!(read_split(folder.path(), Split::Test, &columns()).unwrap(), rows());
    assert_eq!(count_rows(folder.path(), Split::Test).unwrap(), 2);
    write_split(folder.path(), Split::Valid, &columns(), &[]).unwrap();
    assert_eq!(read_split(folder.path(), Split::Valid, &columns()).unwrap(), []);
}

#[test]
fn damaged_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    write_split(folder.path(), Split::Test, &columns(), &rows()).unwrap();
    let path = folder.path().join("test.parquet");
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 3, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert!(
            matches!(read_split(folder.path(), Split::Test, &columns()), Err(DatasetError::Damaged { .. })),
            "{length}"
        );
    }
    std::fs::write(folder.path().join("test.tokens"), [1, 2, 3]).unwrap();
    assert!(matches!(read_tokens(folder.path(), Split::Test), Err(DatasetError::Damaged { .. })));
}

#[test]
fn tokens_and_documents_come_back() {
    let folder = tempfile::tempdir().unwrap();
    write_tokens(folder.path(), Split::Train, &[0, 1, 65_535]).unwrap();
    assert_eq!(read_tokens(folder.path(), Split::Train).unwrap().iter().collect::<Vec<_>>(), [0, 1, 65_535]);
    let documents = [Document { row: 3, text: "two\nlines".to_owned() }];
    write_documents(folder.path(), &documents).unwrap();
    assert_eq!(read_documents(folder.path()).unwrap(), documents);
}

#[test]
fn distributions_are_those_of_the_numbers() {
    let found = NumberQuality::of(&[1.0, 2.0, 3.0, 4.0], 2).unwrap();
    assert_eq!((found.min, found.mean, found.median, found.max), (1.0, 2.5, 2.5, 4.0));
    assert!((found.deviation - 1.25_f64.sqrt()).abs() < 1e-12);
    assert_eq!(found.histogram, Histogram { edges: vec![1.0, 2.5, 4.0], counts: vec![2, 2] });
    assert_eq!(NumberQuality::of(&[7.0, 7.0], 9).unwrap().histogram.counts, [2]);
    assert_eq!(NumberQuality::of(&[], 9), None);
}

fn golden() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dataset-v1")
}

fn entry() -> LedgerEntry {
    LedgerEntry {
        row: 7,
        source: "rows.csv".to_owned(),
        line: 9,
        action: "dropped".to_owned(),
        reason: "duplicate".to_owned(),
        column: None,
        before: serde_json::Value::Null,
        after: serde_json::Value::Null,
        of: Some(4),
    }
}

fn info() -> LanguageInfo {
    let counts = PerSplit { train: 3, valid: 0, test: 1 };
    LanguageInfo { clean: columns().clean, vocabulary: 300, tokens: counts, documents: counts, bytes: counts }
}

fn quality() -> Quality {
    Quality {
        rows_read: 3,
        rows_kept: 2,
        splits: PerSplit { train: 0, valid: 0, test: 2 },
        dropped: [("duplicate".to_owned(), 1)].into(),
        columns: vec![ColumnQuality {
            name: "amount".to_owned(),
            role: "input".to_owned(),
            column_type: ColumnType::Number,
            inferred: "every value reads as a number".to_owned(),
            missing: 1,
            distinct: 1,
            number: NumberQuality::of(&[-0.5], 4),
            length: None,
        }],
        balance: [(
            "member".to_owned(),
            Balance { labels: vec!["yes".to_owned()], test: vec![1], ..Balance::default() },
        )]
        .into(),
        warnings: vec!["few rows".to_owned()],
        ..Quality::default()
    }
}

/// A dataset of version 1 is read for ever.
#[test]
fn a_dataset_of_version_1_is_read_as_ever() {
    let folder = golden();
    assert_eq!(read_split(&folder, Split::Test, &read_columns(&folder).unwrap()).unwrap(), rows());
    assert_eq!(read_columns(&folder).unwrap(), columns());
    assert_eq!(read_tokens(&folder, Split::Train).unwrap().iter().collect::<Vec<_>>(), [0, 1, 65_535]);
    assert_eq!(read_documents(&folder).unwrap(), [Document { row: 3, text: "two\nlines".to_owned() }]);
    assert_eq!(read_ledger(&folder).unwrap().collect::<Result<Vec<_>, _>>().unwrap(), [entry()]);
    assert_eq!(LanguageInfo::load(&folder).unwrap(), info());
    assert_eq!(Quality::load(&folder).unwrap(), quality());
}

#[test]
#[ignore = "writes the golden files; a released one never changes"]
fn bless() {
    let folder = golden();
    std::fs::create_dir_all(&folder).unwrap();
    let preprocess = serde_json::to_string_pretty(&columns()).unwrap();
    std::fs::write(folder.join(infer::preprocess::PREPROCESS_FILE), preprocess).unwrap();
    write_split(&folder, Split::Test, &columns(), &rows()).unwrap();
    write_tokens(&folder, Split::Train, &[0, 1, 65_535]).unwrap();
    write_documents(&folder, &[Document { row: 3, text: "two\nlines".to_owned() }]).unwrap();
    let mut ledger = LedgerWriter::create(&folder).unwrap();
    ledger.add(&entry()).unwrap();
    ledger.finish().unwrap();
    info().save(&folder).unwrap();
    quality().save(&folder).unwrap();
}
