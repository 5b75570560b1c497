use std::path::Path;

use super::*;

const GOOD: &str = r#"
name = "banking"
family = "predict"
[data]
train = ["train.csv"]
test = ["test.csv"]
[[input]]
column = "text"
type = "text"
[[output]]
column = "category"
"#;

fn parse(text: &str) -> Result<Project, ProjectError> {
    Project::parse(text, Path::new("yard.toml"))
}

fn errors(text: &str) -> Vec<String> {
    match parse(text) {
        Err(ProjectError::Invalid(found)) => found.sorted().iter().map(|d| d.message.clone()).collect(),
        other => panic!("expected diagnostics, got {other:?}"),
    }
}

#[test]
fn a_short_file_gets_its_defaults() {
    let project = parse(GOOD).unwrap();
    assert_eq!(project.file.train.optimizer, Optimizer::Adamw);
    assert_eq!(project.file.serve.address, "127.0.0.1:8080");
}

#[test]
fn every_error_is_reported_at_once_with_its_place() {
    let text = GOOD
        .replace("family = \"predict\"", "family = \"predikt\"\nsede = 3")
        .replace("[data]", "[train]\nepochs = \"ten\"\nmomentum = 2\nlerning_rate = 1\n[data]");
    let Err(error) = parse(&text) else { panic!("accepted") };
    let shown = error.to_string();
    for part in [
        "yard.toml:3:10: `family` should be one of",
        "did you mean \"predict\"?",
        "unknown key `sede` at the top level",
        "did you mean `seed`?",
        "`train.epochs` should be a whole number, but is the text \"ten\"",
        "`train.momentum` should be from 0 to 0.9999, but is 2",
        "did you mean `learning_rate`?",
        "^^^^^^^^^",
    ] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    assert!(shown.contains("5 errors"), "{shown}");
}

#[test]
fn a_key_in_the_wrong_table_is_sent_home() {
    let Err(error) = parse(&format!("{GOOD}\n[model]\nepochs = 3\n")) else { panic!("accepted") };
    assert!(error.to_string().contains("`epochs` belongs in [train]"), "{error}");
}

#[test]
fn syntax_errors_have_a_place() {
    let Err(error) = parse("name = \n[data") else { panic!("accepted") };
    assert!(error.to_string().contains("yard.toml:1:"), "{error}");
}

#[test]
fn impossible_combinations_are_refused() {
    let cases = [
        (GOOD.replace("type = \"text\"", "type = \"number\"\nbuckets = 64"), "`buckets` is for text"),
        (GOOD.replace("column = \"category\"", "column = \"text\""), "is used twice"),
        (GOOD.replace("train = [\"train.csv\"]", "source = [\"a.csv\"]"), "excludes"),
        (GOOD.replace("\"banking\"", "\"Banking!\""), "`name` cannot be"),
        (GOOD.replace("family = \"predict\"", "family = \"language\""), "[[input]] is for `predict`"),
        (
            format!("{GOOD}\n[tune]\ntrials = 2\n[tune.search]\n\"train.lerning_rate\" = {{low = 1, high = 2}}\n"),
            "learning_rate",
        ),
        (format!("{GOOD}\n[model]\nwidth = 64\n"), "no input uses one"),
        (format!("{GOOD}\n[serve]\ntls_key = \"key.pem\"\n"), "`tls_key` is given without `tls_certificate`"),
        (format!("{GOOD}\n[serve]\ntraces_endpoint = \"https://x\"\n"), "should begin with http://"),
    ];
    for (text, part) in cases {
        let found = errors(&text);
        assert!(found.iter().any(|message| message.contains(part)), "{part:?} is not in {found:?}");
    }
}

#[test]
fn keys_can_be_set_and_are_checked_again() {
    let project = parse(GOOD).unwrap();
    let other = project.with(&[("train.learning_rate".to_owned(), 0.5.into())]).unwrap();
    assert_eq!(other.file.train.learning_rate, Some(0.5));
    let other = project.with(&[("input.0.buckets".to_owned(), 64.into())]).unwrap();
    assert_eq!(other.file.input[0].buckets, Some(64));
    assert!(project.with(&[("train.lerning_rate".to_owned(), 0.5.into())]).is_err());
    assert!(project.with(&[("input.7.buckets".to_owned(), 64.into())]).is_err());
    assert!(project.with(&[("train.epochs".to_owned(), 0.into())]).is_err());
}

#[test]
fn what_is_written_is_read_back() {
    let file = parse(GOOD).unwrap().file;
    let text = toml::to_string(&file).unwrap();
    assert_eq!(parse(&text).unwrap().file, file);
}

#[test]
fn the_schema_knows_every_key() {
    assert_eq!(key_kind("train.epochs"), Ok(KeyKind::Integer));
    assert_eq!(
        key_kind("input.0.type"),
        Ok(KeyKind::Names(["text", "number", "category", "binary"].map(str::to_owned).to_vec()))
    );
    assert!(key_kind("train.epoch").unwrap_err().contains("epochs"));
    assert!(reference_page().contains("| `learning_rate` | a number? |"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC*") {
        let _ = parse(&text);
        let _ = parse(&format!("{GOOD}{text}"));
    }

    #[test]
    fn no_table_makes_the_reader_panic(key in "[a-z_]{1,12}", value in "[\\[\\]{}\"0-9a-z.=,-]{0,12}", table in "(data|train|model|tune|rollout|serve|input)") {
        let _ = parse(&format!("{GOOD}\n[{table}]\n{key} = {value}\n"));
    }
}
