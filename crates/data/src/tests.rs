use std::path::Path;

use base::project::Project;
use base::{Context, Failure, Fault};
use dataset::{Quality, Split, read_columns, read_ledger, read_split};
use store::Store;

use super::*;

const YARD_TOML: &str = r#"
name = "test"
family = "predict"
[data]
source = ["rows.csv"]
[[input]]
column = "text"
type = "text"
buckets = 64
[[input]]
column = "amount"
type = "number"
[[output]]
column = "label"
"#;

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new(file: &str, contents: &[u8], yard: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file), contents).unwrap();
        std::fs::write(folder.path().join("yard.toml"), yard).unwrap();
        Self { folder }
    }

    fn csv(text: &str) -> Self {
        Self::new("rows.csv", text.as_bytes(), YARD_TOML)
    }

    fn run(&self) -> Result<Made, DataError> {
        let project = Project::load(self.folder.path())?;
        let plan = plan(&project)?;
        let store = Store::open(self.folder.path())?;
        let _lock = store.lock()?;
        run(&Context::silent(), &store, &plan)
    }

    fn error(&self) -> DataError {
        let error = self.run().unwrap_err();
        assert_eq!(error.fault(), Fault::User, "{error}");
        assert!(error.hint().is_some(), "{error}");
        error
    }
}

fn rows(count: usize) -> String {
    let mut text = "text,amount,label\n".to_owned();
    for index in 0..count {
        text.push_str(&format!("message {index},{index}.5,{}\n", ["a", "b", "c"][index % 3]));
    }
    text
}

#[test]
fn every_row_is_kept_dropped_or_changed_in_the_ledger() {
    let mut text = rows(30);
    text.push_str("message 0,0.5,a\n,,b\nonly text,,c\nno label,1,\n  two   blanks ,x,b\n");
    let fixture = Fixture::csv(&text);
    let made = fixture.run().unwrap();
    let quality = Quality::load(&made.artifact.folder).unwrap();
    assert_eq!((quality.rows_read, quality.rows_kept), (35, 32));
    assert_eq!(quality.splits.train + quality.splits.valid + quality.splits.test, 32);
    let entries: Vec<_> = read_ledger(&made.artifact.folder).unwrap().map(Result::unwrap).collect();
    let found: Vec<(u64, &str, &str)> =
        entries.iter().map(|entry| (entry.line, entry.action.as_str(), entry.reason.as_str())).collect();
    assert_eq!(
        found,
        [
            (32, "dropped", "duplicate"),
            (33, "dropped", "empty"),
            (35, "dropped", "missing_output"),
            (36, "changed", "whitespace"),
            (36, "changed", "unreadable_number"),
        ]
    );
    assert_eq!(entries[0].of, Some(0));
    assert_eq!((quality.dropped["duplicate"], quality.changed["whitespace"]), (1, 1));
}

#[test]
fn splits_are_the_same_twice_and_stratified() {
    let fixture = Fixture::csv(&rows(300));
    let made = fixture.run().unwrap();
    assert!(fixture.run().unwrap().cached);
    let other = Fixture::csv(&rows(300)).run().unwrap();
    assert_eq!(made.artifact.digest, other.artifact.digest);
    let columns = read_columns(&made.artifact.folder).unwrap();
    let sizes: Vec<usize> =
        Split::ALL.map(|split| read_split(&made.artifact.folder, split, &columns).unwrap().len()).to_vec();
    assert_eq!(sizes, [240, 30, 30]);
    let quality = Quality::load(&made.artifact.folder).unwrap();
    assert_eq!(quality.balance["label"].test, [10, 10, 10]);
}

#[test]
fn a_given_test_split_survives_whole() {
    let yard = YARD_TOML.replace("source = [\"rows.csv\"]", "train = [\"rows.csv\"]\ntest = [\"test.csv\"]");
    let fixture = Fixture::new("rows.csv", rows(60).as_bytes(), &yard);
    std::fs::write(fixture.folder.path().join("test.csv"), "text,amount,label\nmessage 3,3.5,a\nnew,1,b\nnew,1,b\n")
        .unwrap();
    let made = fixture.run().unwrap();
    let quality = Quality::load(&made.artifact.folder).unwrap();
    assert_eq!(quality.splits.test, 3);
    assert_eq!(quality.dropped["duplicate_of_test"], 1);
    assert_eq!(quality.splits.train + quality.splits.valid, 59);
    assert!(
        quality.warnings.iter().any(|warning| warning.contains("1 rows of the given test split")),
        "{:?}",
        quality.warnings
    );
}

#[test]
fn a_ragged_row_is_named_by_its_physical_line() {
    let mut text = "text,amount,label\n\"two\nlines\",1,a\n".to_owned();
    text.push_str(rows(6996).split_once('\n').unwrap().1);
    text.push_str("one,two\n");
    let line = text.lines().count();
    let error = Fixture::csv(&text).error().to_string();
    assert!(error.contains(&format!("rows.csv, line {line}: it has 2 values, and the header has 3")), "{error}");
}

#[test]
fn what_is_no_table_is_refused() {
    for (contents, part) in [
        (b"".as_slice(), "it is empty"),
        (b"text,amount,label\n", "it has no rows"),
        (b"text,amount,label\n\xff\xfe,1,a\n", "line 2: it is no text"),
        (b"text,amount,label\na\0b,1,a\n", "line 2: it is no text"),
        (b"text,amount,amount\n1,2,3\n", "stands there twice"),
        (b"text,label\na,b\n", "failed to find the column \"amount\""),
        (b"text,amount,label\nx,1,same\ny,2,same\n", "is \"same\" in every row"),
    ] {
        let error = Fixture::new("rows.csv", contents, YARD_TOML).error().to_string();
        assert!(error.contains(part), "{error}");
    }
    let error = Fixture::new("other.csv", b"x", YARD_TOML).error();
    assert!(error.to_string().contains("rows.csv"), "{error}");
    let error = Fixture::csv("text,amuont,label\nx,1,a\n").error();
    assert!(error.hint().unwrap().contains("Did you mean \"amuont\"?"));
}

#[test]
fn every_format_gives_the_same_rows() {
    let fixture = Fixture::csv(&rows(40));
    let csv = fixture.run().unwrap();
    let columns = read_columns(&csv.artifact.folder).unwrap();
    let expected = read_split(&csv.artifact.folder, Split::Train, &columns).unwrap();
    let tsv = rows(40).replace(',', "\t");
    let jsonl: String = rows(40)
        .lines()
        .skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            format!("{{\"text\":\"{}\",\"amount\":{},\"label\":\"{}\"}}\n", cells[0], cells[1], cells[2])
        })
        .collect();
    let parquet = parquet_of(&expected_all(&csv, &columns), &columns);
    for (name, contents) in
        [("rows.tsv", tsv.into_bytes()), ("rows.jsonl", jsonl.into_bytes()), ("rows.parquet", parquet)]
    {
        let yard = YARD_TOML.replace("rows.csv", name);
        let fixture = Fixture::new(name, &contents, &yard);
        let made = fixture.run().unwrap();
        assert_eq!(read_split(&made.artifact.folder, Split::Train, &columns).unwrap(), expected, "{name}");
    }
}

fn expected_all(made: &Made, columns: &infer::description::Columns) -> Vec<dataset::Row> {
    let mut all: Vec<dataset::Row> =
        Split::ALL.into_iter().flat_map(|split| read_split(&made.artifact.folder, split, columns).unwrap()).collect();
    all.sort_by_key(|row| row.id);
    all
}

fn parquet_of(rows: &[dataset::Row], columns: &infer::description::Columns) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    dataset::write_split(folder.path(), Split::Train, columns, rows).unwrap();
    std::fs::read(folder.path().join("train.parquet")).unwrap()
}

#[test]
fn json_of_two_kinds_and_broken_json_name_their_lines() {
    let yard = YARD_TOML.replace("rows.csv", "rows.jsonl");
    let error = Fixture::new("rows.jsonl", b"{\"text\":\"a\"}\n{\"text\":5}\n", &yard).error().to_string();
    assert!(error.contains("line 2: \"text\" is a number, and on line 1 it is text"), "{error}");
    let error = Fixture::new("rows.jsonl", b"{\"text\":\"a\"}\n[1]\n", &yard).error().to_string();
    assert!(error.contains("line 2: it is no JSON object"), "{error}");
    let yard = YARD_TOML.replace("rows.csv", "rows.parquet");
    assert!(Fixture::new("rows.parquet", b"PAR2", &yard).error().to_string().contains("no Parquet"));
}

const LANGUAGE: &str =
    "name = \"poems\"\nfamily = \"language\"\n[data]\nsource = [\"poems.txt\"]\n[model]\nsize = \"tiny\"\n";

#[test]
fn lines_of_text_become_tokens_and_come_back() {
    let verses: String = (0..50).map(|index| format!("第{index}首 明月光 \u{3000}\n\"quoted, {index}\n\n")).collect();
    let fixture = Fixture::new("poems.txt", verses.as_bytes(), LANGUAGE);
    let made = fixture.run().unwrap();
    let folder = &made.artifact.folder;
    let info = dataset::LanguageInfo::load(folder).unwrap();
    assert_eq!(info.documents.train + info.documents.valid + info.documents.test, 100);
    let tokens = dataset::read_tokens(folder, Split::Test).unwrap();
    assert_eq!(tokens.len() as u64, info.tokens.test);
    let tokenizer = infer::tokenizer::TextTokenizer::load(&folder.join("tokenizer.json")).unwrap();
    let first: Vec<u32> = tokens.iter().take_while(|token| *token != tokenizer.end_of_text()).collect();
    assert_eq!(tokenizer.decode(&first), dataset::read_documents(folder).unwrap()[0].text);
}

#[test]
fn written_project_files_are_read_back_and_say_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    for (name, contents, parts) in [
        ("rows.csv", rows(40), vec!["column = \"label\"", "family = \"predict\"", "r2"]),
        ("poems.txt", "one line\nanother\n".to_owned(), vec!["family = \"language\""]),
        (
            "ids.csv",
            "id,age,churn\n1,30,yes\n2,40,no\n3,50,no\n".to_owned(),
            vec!["Left out: column \"id\"", "type = \"binary\""],
        ),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        let text = init(&path, folder.path()).unwrap();
        for part in parts.into_iter().filter(|part| *part != "r2") {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(Project::parse(&text, &folder.path().join("yard.toml")).is_ok());
    }
    assert!(init(Path::new("nowhere.csv"), folder.path()).is_err());
}

#[test]
fn the_example_data_gives_what_its_authors_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/banking");
    let project = Project::load(&folder).unwrap();
    let plan = plan(&project).unwrap();
    assert_eq!(plan.rows(), 13_083);
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(place.path()).unwrap();
    let _lock = store.lock().unwrap();
    let made = run(&Context::silent(), &store, &plan).unwrap();
    let quality = Quality::load(&made.artifact.folder).unwrap();
    assert_eq!(quality.splits.test, 3080);
    assert_eq!(quality.balance["category"].labels.len(), 77);
    assert!(quality.balance["category"].test.iter().all(|count| *count == 40));
}
