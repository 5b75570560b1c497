//! The data stage from outside: files as founders have them, files that are broken, and what must
//! never be lost on the way. Real data is used where it lies beside the repository.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_range_loop,
    clippy::needless_pass_by_value,
    clippy::zombie_processes,
    reason = "tests"
)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use base::project::Project;
use base::{Context, Failure, Fault, Value};
use data::DataError;
use dataset::{LedgerEntry, Quality, Row, Split};
use infer::description::Columns;
use store::{Artifact, Made, Store};

const PREDICT: &str = "name = \"t\"\nfamily = \"predict\"\n[data]\nsource = [\"FILE\"]\nMORE\n\
    [[input]]\ncolumn = \"text\"\ntype = \"text\"\nbuckets = 64\n[[output]]\ncolumn = \"label\"\ntype = \"category\"\n";
const LANGUAGE: &str =
    "name = \"t\"\nfamily = \"language\"\n[data]\nsource = [\"FILE\"]\nMORE\n[model]\nvocabulary = 300\n";

/// A project in a folder of its own.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    fn run_text(&self, toml: &str) -> Result<Made, DataError> {
        let project = Project::parse(toml, &self.folder.path().join("yard.toml")).unwrap();
        let plan = data::plan(&project)?;
        let store = Store::open(self.folder.path()).unwrap();
        let _lock = store.lock().unwrap();
        data::run(&Context::silent(), &store, &plan)
    }

    fn run(&self, toml: &str, file: &str, more: &str) -> Result<Made, DataError> {
        self.run_text(&toml.replace("FILE", file).replace("MORE", more))
    }

    /// Runs over one file with the given contents; the error's message and hint.
    fn error(&self, toml: &str, file: &str, contents: impl AsRef<[u8]>) -> (String, Fault) {
        self.write(file, contents);
        self.error_of(toml, file)
    }

    fn error_of(&self, toml: &str, file: &str) -> (String, Fault) {
        let error = self.run(toml, file, "").map(|made| made.artifact.digest).unwrap_err();
        let hint = error.hint().unwrap_or_else(|| panic!("no hint: {error}"));
        (format!("{error} | {hint}"), error.fault())
    }
}

fn columns(artifact: &Artifact) -> Columns {
    dataset::read_columns(&artifact.folder).unwrap()
}

/// The rows of all splits in the order of the sources.
fn rows(artifact: &Artifact) -> Vec<Row> {
    let columns = columns(artifact);
    let mut rows: Vec<Row> =
        Split::ALL.iter().flat_map(|split| dataset::read_split(&artifact.folder, *split, &columns).unwrap()).collect();
    rows.sort_by_key(|row| row.id);
    rows
}

fn texts(artifact: &Artifact) -> Vec<String> {
    rows(artifact).iter().map(|row| row.inputs[0].as_text().unwrap_or("-").to_owned()).collect()
}

fn ledger(artifact: &Artifact) -> Vec<LedgerEntry> {
    dataset::read_ledger(&artifact.folder).unwrap().map(Result::unwrap).collect()
}

/// A table with `count` rows of two classes.
fn table(count: usize, line_end: &str) -> String {
    let mut text = format!("text,label{line_end}");
    for index in 0..count {
        text.push_str(&format!("message number {index},class{}{line_end}", index % 2));
    }
    text
}

fn assert_line(found: &(String, Fault), line: u64) {
    assert_eq!(found.1, Fault::User, "{}", found.0);
    assert!(found.0.contains(&format!("line {line}:")) || found.0.contains(&format!("line {line} ")), "{}", found.0);
}

#[test]
fn a_ragged_row_is_named_by_its_physical_line() {
    let place = Place::new();
    for line_end in ["\n", "\r\n"] {
        // The header is line 1, so row 6,999 stands on line 7,000.
        let ragged = format!("{}ragged{line_end}fine,class1{line_end}", table(6_999, line_end));
        assert_line(&place.error(PREDICT, "a.csv", ragged), 7_001);
        let quoted = format!("{}\"two\nlines\",class0{line_end}a,b,c{line_end}", table(10, line_end));
        assert_line(&place.error(PREDICT, "a.csv", quoted), 14);
        let blank = format!("{}{line_end}{line_end}a,b,c{line_end}", table(10, line_end));
        assert_line(&place.error(PREDICT, "a.csv", blank), 14);
    }
    let tabs = table(5, "\n").replace(',', "\t") + "one\ttwo\tthree\n";
    assert_line(&place.error(PREDICT, "a.tsv", tabs), 7);
}

#[test]
fn a_quote_that_is_never_closed_does_not_swallow_the_rest() {
    let place = Place::new();
    let text = format!("{}message,\"class1\n{}", table(10, "\n"), "more,class0\n".repeat(5));
    assert_line(&place.error(PREDICT, "a.csv", text), 12);
}

#[test]
fn bytes_that_are_no_text_are_named_by_their_line() {
    let place = Place::new();
    for rubbish in [&b"caf\xe9,class1\n"[..], &b"nul\0,class1\n"[..]] {
        assert_line(&place.error(PREDICT, "a.csv", [table(10, "\n").as_bytes(), rubbish].concat()), 12);
        let json = [&b"{\"text\": \"a\", \"label\": \"b\"}\n{\"text\": \""[..], rubbish].concat();
        assert_line(&place.error(PREDICT, "a.jsonl", json), 2);
    }
    // The character set of documents is found out.
    place.write("a.txt", b"one\ntwo\ncaf\xe9 au lait, d\xe9j\xe0 vu\n");
    let made = place.run(LANGUAGE, "a.txt", "").unwrap();
    let kept = dataset::Documents::open(&made.artifact.folder, dataset::DOCUMENTS_FILE).unwrap();
    let kept: Vec<String> = kept.map(|document| document.unwrap().text).collect();
    assert_eq!(kept, ["one", "two", "café au lait, déjà vu"]);
    let noise: Vec<u8> = (0..5_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for name in ["a.csv", "a.tsv", "a.jsonl", "a.parquet"] {
        let found = place.error(PREDICT, name, &noise);
        assert_eq!(found.1, Fault::User, "{}", found.0);
    }
    let cut = [&b"PAR1"[..], &noise].concat();
    let found = place.error(PREDICT, "a.parquet", cut);
    assert_eq!(found.1, Fault::User, "{}", found.0);
}

#[test]
fn missing_and_empty_files_are_named() {
    let place = Place::new();
    let found = place.error_of(PREDICT, "absent.csv");
    assert!(found.0.contains("absent.csv") && found.1 == Fault::User, "{found:?}");
    let found = place.error_of(PREDICT, "nothing-*.csv");
    assert!(found.0.contains("nothing-*.csv") && found.1 == Fault::User, "{found:?}");
    for (name, contents) in
        [("a.csv", ""), ("a.csv", "text,label\n"), ("a.jsonl", "\n\n"), ("a.tsv", "text\tlabel"), ("a.parquet", "")]
    {
        let found = place.error(PREDICT, name, contents);
        assert!(found.0.contains(name) && found.1 == Fault::User, "{name} {contents:?}: {found:?}");
    }
    let found = place.error(LANGUAGE, "a.txt", "\n \n");
    assert_eq!(found.1, Fault::User, "{found:?}");
}

#[test]
fn a_wrong_column_is_answered_with_the_nearest_and_all() {
    let place = Place::new();
    let found = place.error(PREDICT, "a.csv", "txet,label,other\na,b,c\n");
    assert!(found.0.contains("\"text\"") && found.0.contains("txet") && found.0.contains("other"), "{found:?}");
}

#[test]
fn a_constant_label_is_refused_with_its_value() {
    let place = Place::new();
    let found = place.error(PREDICT, "a.csv", "text,label\na,same\nb,same\nc, same \n");
    assert!(found.0.contains("label") && found.0.contains("same") && found.1 == Fault::User, "{found:?}");
}

#[test]
fn too_many_bytes_are_refused() {
    let place = Place::new();
    place.write("a.csv", table(100, "\n"));
    let error = place.run(PREDICT, "a.csv", "bytes_max = 100").unwrap_err();
    assert!(error.to_string().contains("100 B") && error.hint().is_some(), "{error}");
}

#[test]
fn formats_agree() {
    let place = Place::new();
    let cells = [("it's \"so\"", "a"), ("two, three", "b"), ("床前明月光", "a"), ("x\ty", "b")];
    let csv: String =
        cells.iter().map(|(text, label)| format!("\"{}\",{label}\n", text.replace('"', "\"\""))).collect();
    let tsv: String =
        cells.iter().map(|(text, label)| format!("\"{}\"\t{label}\n", text.replace('"', "\"\""))).collect();
    let json: String = cells
        .iter()
        .map(|(text, label)| format!("{}\n", serde_json::json!({ "text": text, "label": label })))
        .collect();
    place.write("a.csv", format!("\u{feff}text,label\n{csv}"));
    place.write("a.tsv", format!("\u{feff}text\tlabel\r\n{tsv}"));
    place.write("a.jsonl", format!("\u{feff}{json}"));
    let wanted = ["it's \"so\"", "two, three", "床前明月光", "x y"];
    for name in ["a.csv", "a.tsv", "a.jsonl"] {
        let made = place.run(PREDICT, name, "").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(texts(&made.artifact), wanted, "{name}");
    }
    // What the stage writes it reads as well.
    let made = place.run(PREDICT, "a.csv", "").unwrap();
    std::fs::copy(made.artifact.path("train.parquet"), place.folder.path().join("b.parquet")).unwrap();
    let again = place.run(PREDICT, "b.parquet", "").unwrap();
    let train = dataset::read_split(&made.artifact.folder, Split::Train, &columns(&made.artifact)).unwrap();
    let trained: Vec<_> = train.iter().filter_map(|row| row.inputs[0].as_text()).collect();
    assert_eq!(texts(&again.artifact), trained);
}

#[test]
fn a_name_with_signs_of_patterns_is_a_name() {
    let place = Place::new();
    for name in ["my [1] 50%?.csv", "订单.csv", "a#b&c.csv"] {
        place.write(name, table(20, "\n"));
        assert!(place.run(PREDICT, name, "").is_ok(), "{name}");
    }
    place.write("part-2.csv", table(20, "\n"));
    place.write("part-1.csv", table(30, "\n"));
    let made = place.run(PREDICT, "part-*.csv", "").unwrap();
    let first = ledger(&made.artifact).into_iter().next().unwrap();
    assert_eq!((first.source.as_str(), first.reason.as_str(), first.of), ("part-2.csv", "duplicate", Some(0)));
}

#[test]
fn every_row_is_in_a_split_or_in_the_ledger() {
    let place = Place::new();
    let mut text = table(50, "\n");
    text.push_str(
        "message number 3,class1\n  ,class0\nno label,\ncafe\u{301}  au lait,class0\nmessage number 3,class0\n",
    );
    place.write("a.csv", &text);
    let made = place.run(PREDICT, "a.csv", "").unwrap();
    let quality = Quality::load(&made.artifact.folder).unwrap();
    let ledger = ledger(&made.artifact);
    let kept: Vec<u64> = rows(&made.artifact).iter().map(|row| row.id).collect();
    let dropped: Vec<u64> = ledger.iter().filter(|entry| entry.action == "dropped").map(|entry| entry.row).collect();
    let mut all = [kept.clone(), dropped].concat();
    all.sort_unstable();
    assert_eq!(all, (0..55).collect::<Vec<u64>>());
    assert_eq!((quality.rows_read, quality.rows_kept), (55, kept.len() as u64));
    let reasons: Vec<(u64, u64, &str)> =
        ledger.iter().map(|entry| (entry.row, entry.line, entry.reason.as_str())).collect();
    for wanted in [
        (50, 52, "duplicate"),
        (51, 53, "empty"),
        (52, 54, "missing_output"),
        (53, 55, "unicode"),
        (53, 55, "whitespace"),
    ] {
        assert!(reasons.contains(&wanted), "{wanted:?} is not in {reasons:?}");
    }
    let cleaned = ledger.iter().find(|entry| entry.row == 53 && entry.reason == "whitespace").unwrap();
    assert_eq!((cleaned.before.as_str(), cleaned.after.as_str()), (Some("café  au lait"), Some("café au lait")));
    assert!(!kept.contains(&50) && kept.contains(&54), "same text, other label: both stay unless equal in all");
}

#[test]
fn unreadable_numbers_are_missing_and_in_the_ledger() {
    let place = Place::new();
    place.write("a.csv", "age,label\n1,a\ntwo,b\n3,a\nNA,c\n1e999,a\n4,b\n");
    let toml =
        PREDICT.replace("column = \"text\"\ntype = \"text\"\nbuckets = 64", "column = \"age\"\ntype = \"number\"");
    let more = "[data.clean]\nempty = \"keep\"\n[data.split]\nvalid = 0\ntest = 0";
    let made = place.run(&toml, "a.csv", more).unwrap();
    let ages: Vec<Value> = rows(&made.artifact).into_iter().map(|row| row.inputs[0].clone()).collect();
    let number = Value::Number;
    assert_eq!(ages, [number(1.0), Value::Missing, number(3.0), Value::Missing, Value::Missing, number(4.0)]);
    let unreadable: Vec<_> =
        ledger(&made.artifact).into_iter().filter(|entry| entry.reason == "unreadable_number").collect();
    assert_eq!(unreadable.len(), 2);
    assert_eq!((unreadable[0].row, unreadable[0].before.as_str()), (1, Some("two")));
}

#[test]
fn splits_are_stratified_the_same_twice_and_move_with_the_seed() {
    let place = Place::new();
    place.write("a.csv", table(400, "\n"));
    let split = "[data.split]\nmethod = \"stratified\"\nvalid = 0.1\ntest = 0.2";
    let first = place.run(PREDICT, "a.csv", split).unwrap();
    assert!(place.run(PREDICT, "a.csv", split).unwrap().cached);
    let quality = Quality::load(&first.artifact.folder).unwrap();
    let balance = &quality.balance["label"];
    assert_eq!(
        (&balance.train[..], &balance.valid[..], &balance.test[..]),
        (&[140, 140][..], &[20, 20][..], &[40, 40][..])
    );
    let test = |artifact: &Artifact| -> Vec<u64> {
        dataset::read_split(&artifact.folder, Split::Test, &columns(artifact))
            .unwrap()
            .iter()
            .map(|row| row.id)
            .collect()
    };
    let other = Place::new();
    other.write("a.csv", table(400, "\n"));
    assert_eq!(test(&other.run(PREDICT, "a.csv", split).unwrap().artifact), test(&first.artifact));
    let seeded = PREDICT.replacen("[data]", "seed = 9\n[data]", 1);
    assert_ne!(test(&other.run(&seeded, "a.csv", split).unwrap().artifact), test(&first.artifact));
}

#[test]
fn the_learning_rate_does_not_run_the_stage_again() {
    let place = Place::new();
    place.write("a.csv", table(40, "\n"));
    place.run(PREDICT, "a.csv", "").unwrap();
    assert!(place.run(&format!("{PREDICT}[train]\nlearning_rate = 0.5\n"), "a.csv", "").unwrap().cached);
    assert!(!place.run(&PREDICT.replace("buckets = 64", "buckets = 32"), "a.csv", "").unwrap().cached);
    place.write("a.csv", table(41, "\n"));
    assert!(!place.run(PREDICT, "a.csv", "").unwrap().cached);
}

#[test]
fn ctrl_c_stops_the_stage() {
    let place = Place::new();
    place.write("a.csv", table(40, "\n"));
    let toml = PREDICT.replace("FILE", "a.csv").replace("MORE", "");
    let project = Project::parse(&toml, &place.folder.path().join("yard.toml")).unwrap();
    let plan = data::plan(&project).unwrap();
    let store = Store::open(place.folder.path()).unwrap();
    let _lock = store.lock().unwrap();
    let context = Context::silent();
    context.stop.ask();
    assert_eq!(data::run(&context, &store, &plan).unwrap_err().fault(), Fault::Stopped);
}

#[test]
fn lines_of_text_become_documents_as_they_stand() {
    let place = Place::new();
    let lines =
        ["\"quoted\" and, comma", "  indented", "床前明月光，疑是地上霜。", "it's <|endoftext|> here", "a 'b\" c"];
    place.write("a.txt", format!("\u{feff}{}\r\n\n", lines.join("\r\n\r\n")));
    let made = place.run(LANGUAGE, "a.txt", "[data.split]\nvalid = 0\ntest = 0").unwrap();
    let tokenizer = infer::tokenizer::TextTokenizer::load(&made.artifact.path("tokenizer.json")).unwrap();
    let tokens: Vec<u32> = dataset::read_tokens(&made.artifact.folder, Split::Train).unwrap().iter().collect();
    let end = tokenizer.end_of_text();
    let documents: Vec<String> =
        tokens.split(|token| *token == end).map(|document| tokenizer.decode(document)).collect();
    assert_eq!(documents, [&lines[..], &[""]].concat());
}

#[test]
fn a_label_that_only_the_training_split_lacks_variety_of_is_refused() {
    let place = Place::new();
    place.write("train.csv", "text,label\na,x\nb,x\nc,x\nd,x\n");
    place.write("test.csv", "text,label\ne,x\nf,y\n");
    let given = PREDICT.replace("source = [\"FILE\"]", "train = [\"train.csv\"]\ntest = [\"test.csv\"]");
    let error = place.run(&given, "", "").unwrap_err();
    assert!(error.to_string().contains("training") && error.hint().is_some(), "{error}");
    place.write("train.csv", "text,label\na,x\nb,x\nc,z\nd,z\n");
    let made = place.run(&given, "", "").unwrap();
    let quality = Quality::load(&made.artifact.folder).unwrap();
    assert!(quality.warnings.iter().any(|warning| warning.contains("no training row has")), "{:?}", quality.warnings);
    assert_eq!(quality.splits.test, 2);
}

#[test]
fn init_leaves_out_what_only_names_or_dates_a_row() {
    let place = Place::new();
    let mut text = "user_id,day,message,tier\n".to_owned();
    for index in 0..60 {
        text.push_str(&format!(
            "{},2026-01-{:02},message {index} \"\"x\"\",{}\n",
            900 + index,
            1 + index % 28,
            ["gold", "lead"][index % 2]
        ));
    }
    let path = place.write("my table.csv", text);
    let toml = data::init(&path, place.folder.path()).unwrap();
    for part in [
        "# Left out: column \"user_id\"",
        "# Left out: column \"day\"",
        "[[output]]",
        "column = \"tier\"",
        "source = [\"my table.csv\"]",
    ] {
        assert!(toml.contains(part), "{part} is not in\n{toml}");
    }
    place.run_text(&toml).unwrap();
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    /// Whatever lies in a file: an error with a hint, or a dataset in which no row is lost.
    #[test]
    fn no_bytes_break_the_stage(
        noise in "(?s)(text|label|[\\x00-\\x7f\"\n\r,{}:]|\\PC|[a\"\n,]{1,6}){0,30}",
        cut in 0_usize..200,
        name in "(a\\.csv|a\\.tsv|a\\.jsonl|a\\.parquet|a\\.txt)",
        headed in proptest::bool::ANY,
    ) {
        let place = Place::new();
        let mut bytes = if headed { table(4, "\n").into_bytes() } else { Vec::new() };
        bytes.extend(noise.bytes());
        bytes.truncate(cut.max(20));
        let toml = if name == "a.txt" { LANGUAGE } else { PREDICT };
        place.write(&name, &bytes);
        match place.run(toml, &name, "") {
            Ok(made) => {
                let quality = Quality::load(&made.artifact.folder).unwrap();
                let dropped = ledger(&made.artifact).iter().filter(|entry| entry.action == "dropped").count() as u64;
                proptest::prop_assert_eq!(quality.rows_read, quality.rows_kept + dropped);
            }
            Err(error) => {
                proptest::prop_assert_eq!(error.fault(), Fault::User, "{}", error);
                proptest::prop_assert!(error.hint().is_some(), "{}", error);
            }
        }
    }
}

fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(path);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not here", path.display());
        return None;
    }
    std::fs::canonicalize(path).ok()
}

#[test]
fn banking77_keeps_its_test_split_and_is_made_in_seconds() {
    let Some(folder) = shared("banking77") else { return };
    let place = Place::new();
    let toml = format!(
        "name = \"b\"\nfamily = \"predict\"\n[data]\ntrain = [\"{0}/train.csv\"]\ntest = [\"{0}/test.csv\"]\n\
         [[input]]\ncolumn = \"text\"\ntype = \"text\"\n[[output]]\ncolumn = \"category\"\n",
        folder.display()
    );
    let begun = Instant::now();
    let made = place.run_text(&toml).unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("banking77: plan and data stage in {seconds:.2} s");
    let quality = Quality::load(&made.artifact.folder).unwrap();
    assert_eq!((quality.rows_read, quality.splits.test), (13_083, 3_080));
    assert_eq!(quality.balance["category"].labels.len(), 77);
    assert!(seconds < 30.0, "{seconds}");
    let preprocessor = infer::preprocess::Preprocessor::load(&made.artifact.folder).unwrap();
    let rows = rows(&made.artifact);
    let begun = Instant::now();
    let pairs: usize = rows.iter().map(|row| preprocessor.features(&row.inputs).unwrap().sparse.len()).sum();
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("features of {} rows: {pairs} pairs in {seconds:.2} s", rows.len());
    assert!(seconds < 5.0, "{seconds}");
}

#[test]
fn init_writes_sound_project_files_for_real_data() {
    let place = Place::new();
    for (file, parts) in [
        ("banking77/train.csv", &["family = \"predict\"", "column = \"category\"", "column = \"text\""][..]),
        ("adult/adult.csv", &["column = \"income-per-year\"", "type = \"number\"", "type = \"category\""]),
        ("etth1/ETTh1.csv", &["family = \"predict\"", "column = \"OT\""]),
        ("tinyshakespeare/input.txt", &["family = \"language\""]),
    ] {
        let Some(path) = shared(file) else { continue };
        let text = data::init(&path, place.folder.path()).unwrap_or_else(|error| panic!("{file}: {error}"));
        for part in parts {
            assert!(text.contains(part), "{file}: {part} is not in\n{text}");
        }
        let project = Project::parse(&text, &place.folder.path().join("yard.toml")).unwrap();
        data::plan(&project).unwrap_or_else(|error| panic!("{file}: {error}\n{text}"));
    }
}

/// Rows of two classes, one label of which is wrong, and two rows without a label.
fn mislabelled() -> String {
    let mut text = "text,label\n".to_owned();
    for number in 0..60 {
        let (words, label) = if number % 2 == 0 {
            ("lost stolen card block", "card")
        } else {
            ("transfer money account pending", "transfer")
        };
        let label = if number == 10 { "transfer" } else { label };
        text.push_str(&format!("{words} number{number} {},{label}\n", number * 3));
    }
    text.push_str("card block please now,\ntransfer my money,\n");
    text
}

#[test]
fn likely_label_errors_are_listed_and_corrections_applied() {
    let place = Place::new();
    place.write("a.csv", mislabelled());
    let more = "[data.split]\nvalid = 0.0\ntest = 0.0\n[data.labels]\nnext = 1\n";
    let made = place.run(PREDICT, "a.csv", more).unwrap();
    let issues = std::fs::read_to_string(made.artifact.folder.join("label_issues.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(issues.lines().next().unwrap()).unwrap();
    assert_eq!((first["row"].as_u64(), first["suggested"].as_str()), (Some(10), Some("card")));
    let page = std::fs::read_to_string(made.artifact.folder.join("review.html")).unwrap();
    assert!(page.contains("number10 30"));
    let next = std::fs::read_to_string(made.artifact.folder.join("label_next.jsonl")).unwrap();
    assert_eq!(next.lines().count(), 1, "{next}");
    // What the page would save.
    let row = rows(&made.artifact).into_iter().find(|row| row.id == 10).unwrap();
    let correction = labels::Correction {
        key: labels::row_key(&row.inputs).unwrap(),
        row: "10".to_owned(),
        from: "transfer".to_owned(),
        to: "card".to_owned(),
        who: "anna".to_owned(),
        when: "2026-11-26T20:15:00Z".to_owned(),
        note: String::new(),
    };
    place.write("corrections.jsonl", labels::write_corrections(&[correction]).unwrap());
    let made = place.run(PREDICT, "a.csv", &format!("{more}corrections = \"corrections.jsonl\"\n")).unwrap();
    assert!(ledger(&made.artifact).iter().any(|entry| entry.reason == "label_corrected" && entry.row == 10));
    let row = rows(&made.artifact).into_iter().find(|row| row.id == 10).unwrap();
    assert_eq!(row.outputs, [Value::Text("card".to_owned())]);
    let issues = std::fs::read_to_string(made.artifact.folder.join("label_issues.jsonl")).unwrap();
    assert!(!issues.contains("\"row\":10,"), "{issues}");
}

#[test]
fn expectations_are_proposed_held_and_broken() {
    let place = Place::new();
    place.write("a.csv", table(300, "\n"));
    let toml = PREDICT.replace("FILE", "a.csv").replace("MORE", "");
    let project = Project::parse(&toml, &place.folder.path().join("yard.toml")).unwrap();
    place.write("expectations.toml", data::propose(&project).unwrap());
    let with = "expectations = \"expectations.toml\"";
    place.run(PREDICT, "a.csv", with).unwrap();
    let mut longer = table(300, "\n");
    longer.push_str("a row of another kind,no_such_label_before\n");
    place.write("a.csv", longer);
    let error = place.run(PREDICT, "a.csv", with).map(|made| made.artifact.digest).unwrap_err();
    assert_eq!(error.fault(), Fault::User);
    assert!(error.to_string().contains("label") && error.to_string().contains("row 300"), "{error}");
}

#[test]
fn a_column_that_copies_the_label_is_told() {
    let place = Place::new();
    let mut text = "text,amount,code,label\n".to_owned();
    for number in 0..200 {
        let label = ["red", "green", "blue"][number % 3];
        text.push_str(&format!("words {number} here,{},{},{label}\n", (number * 37) % 101, number % 3 + 7));
    }
    place.write("a.csv", text);
    let toml = PREDICT.replace(
        "[[output]]",
        "[[input]]\ncolumn = \"amount\"\n[[input]]\ncolumn = \"code\"\ntype = \"number\"\n[[output]]",
    );
    let made = place.run(&toml, "a.csv", "").unwrap();
    let quality = Quality::load(&made.artifact.folder).unwrap();
    assert!(quality.warnings.iter().any(|warning| warning.contains("\"code\"")), "{:?}", quality.warnings);
    assert!(!quality.warnings.iter().any(|warning| warning.contains("\"amount\"")), "{:?}", quality.warnings);
}

#[test]
fn rows_come_from_packed_files_and_databases() {
    let place = Place::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, table(120, "\n").as_bytes()).unwrap();
    place.write("a.csv.gz", gzip.finish().unwrap());
    place.write("a.csv", table(120, "\n"));
    let packed = place.run(PREDICT, "a.csv.gz", "").unwrap();
    let plain = place.run(PREDICT, "a.csv", "").unwrap();
    assert_eq!(rows(&packed.artifact), rows(&plain.artifact));
}
