//! Expectations: proposed, written, read back, and checked.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod table;

use std::collections::BTreeMap;

use base::{ColumnType, Failure, Value};
use proptest::prelude::*;
use table::Table;
use tables::expectations::{ColumnExpectations, Comparison, Expectations, ForeignKey, Operator};
use tables::{
    Profile, ProposeConfig, References, Severity, TablesError, Violation, check, propose, read_expectations,
    write_expectations,
};

fn golden() -> (String, Expectations) {
    let text = std::fs::read_to_string(table::golden("expectations.toml")).unwrap();
    let expectations = read_expectations(&text).unwrap();
    (text, expectations)
}

fn proposed(table: &Table) -> Expectations {
    let mut profile = Profile::new(&table.schema()).unwrap();
    profile.push(&table.columns).unwrap();
    propose(&profile, &ProposeConfig::default())
}

fn without_reasons(mut expectations: Expectations) -> Expectations {
    expectations.reasons.clear();
    expectations.columns.iter_mut().for_each(|column| column.reasons.clear());
    expectations
}

#[test]
fn the_golden_file_loads_and_survives_being_written() {
    let (_, expectations) = golden();
    assert_eq!(expectations.columns.len(), 6);
    assert_eq!(expectations.columns[1].name, "年龄 \"age\"");
    assert_eq!(expectations.columns[1].warn, ["max", "distribution"]);
    assert_eq!(expectations.comparisons[0].operator, Operator::AtMost);
    let written = write_expectations(&expectations);
    assert_eq!(read_expectations(&written).unwrap(), expectations);
    assert_eq!(write_expectations(&read_expectations(&written).unwrap()), written);
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_a_hint() {
    let (text, _) = golden();
    for (from, to, line, what, hint) in [
        ("format = 1", "format = 2", 2, "format 2", "format = 1"),
        ("format = 1", "", 1, "missing field `format`", "TOML"),
        ("unique = true", "uniqe = true", 11, "unknown field `uniqe`", "Did you mean \"unique\"?"),
        ("unique = true", "unique = 1", 11, "invalid type", "TOML"),
        ("type = \"binary\"", "type = \"bool\"", 49, "unknown variant `bool`", "binary"),
        ("rows_min = 2", "rows_min = 2000", 5, "rows_min is above", "Swap"),
        ("rows_min = 2", "rows_min = -2", 5, "invalid", "TOML"),
        ("missing_share_max = 0.25", "missing_share_max = 25", 19, "missing_share_max is 25", "0.05"),
        ("min = 0", "min = 200", 20, "min is above max", "Swap"),
        ("min = 0", "min = nan", 20, "min is NaN", "finite"),
        ("[A-Z]{2}", "[A-Z{2}", 12, "no regular expression", "single quotes"),
        ("'[A-Z]{2}\\d+'", "')('", 12, "no regular expression", "single quotes"),
        ("'[A-Z]{2}\\d+'", "'(\\w{1000}){1000}'", 12, "no regular expression", "single quotes"),
        ("\"max\", ", "\"maxi\", ", 23, "\"maxi\" is no expectation", "Did you mean \"max\"?"),
        ("0.3, 0.2]", "0.2]", 24, "number of shares", "one share more"),
        ("0.3, 0.2]", "0.3, 0.9]", 24, "do not sum to 1", "sum to 1"),
        ("[18, 40", "[40, 18", 24, "must rise", "Sort"),
        ("name = \"start\"", "name = \"end\"", 48, "stands here twice", "one of the two"),
        ("right = \"end\"", "right = \"ende\"", 54, "\"ende\"", "Did you mean \"end\"?"),
        ("operator = \"<=\"", "operator = \"=<\"", 56, "unknown variant", "<="),
        ("type = \"category\"", "type = \"number\"", 35, "edges for numbers", "fits the type"),
        ("[table]", "[table", 4, "", "TOML"),
    ] {
        let broken = text.replacen(from, to, 1);
        assert_ne!(broken, text);
        let error = read_expectations(&broken).unwrap_err();
        let TablesError::Expectations { line: at, what: said, .. } = &error else { panic!("{error}") };
        assert!(said.contains(what), "{to}: {error}");
        assert!(error.hint().unwrap().contains(hint), "{to}: {:?}", error.hint());
        assert!(at.abs_diff(line) <= 3, "{to}: line {at}, not {line}");
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// The golden file's table, sound but for what `change` does.
fn violations(change: impl FnOnce(&mut BTreeMap<&str, Vec<Value>>)) -> Vec<Violation> {
    let (_, expectations) = golden();
    let number = |n: usize| Value::Number([15.0, 30.0, 30.0, 50.0, 30.0, 50.0, 50.0, 70.0, 70.0, 30.0][n % 10]);
    let mut columns = BTreeMap::from([
        ("id", (0..100).map(|n| text(&format!("AB{n}"))).collect()),
        ("年龄 \"age\"", (0..100).map(number).collect()),
        ("country", (0..100).map(|n| text(if n % 5 < 3 { "cn" } else { "de" })).collect()),
        ("start", vec![text("2026-11-01"); 100]),
        ("end", vec![text("2026-11-20"); 100]),
        ("active", vec![Value::Binary(true); 100]),
    ]);
    change(&mut columns);
    let key = ForeignKey { file: "countries.csv".to_owned(), column: "code".to_owned() };
    let references = References::from([(key, ["cn", "de", "fr"].map(str::to_owned).into_iter().collect())]);
    let (names, cells): (Vec<&str>, Vec<Vec<Value>>) = columns.into_iter().unzip();
    let now = tables::dates::seconds("2026-11-26").unwrap();
    check(&names, &cells, &expectations, &references, now).unwrap()
}

fn keys(violations: &[Violation]) -> Vec<(Option<&str>, &str, u64, Severity)> {
    violations.iter().map(|v| (v.column.as_deref(), v.expectation.as_str(), v.count, v.severity)).collect()
}

#[test]
fn a_sound_table_has_no_violation_and_each_fault_has_its_own() {
    use Severity::{Error, Warning};
    assert_eq!(keys(&violations(|_| {})), []);
    let age = "年龄 \"age\"";
    let one = |column: &'static str, value: Value| violations(move |c| c.get_mut(column).unwrap()[3] = value);
    assert_eq!(keys(&one("id", text("AB4"))), [(Some("id"), "unique", 1, Error)]);
    assert_eq!(keys(&one("id", text("xAB4x"))), [(Some("id"), "pattern", 1, Error)]);
    assert_eq!(keys(&one("id", text("AB12345678901"))), [(Some("id"), "length_max", 1, Error)]);
    assert_eq!(keys(&one("id", Value::Number(4.0))), [(Some("id"), "type", 1, Error)]);
    assert_eq!(keys(&one(age, Value::Number(-1.0))), [(Some(age), "min", 1, Error)]);
    assert_eq!(keys(&one(age, Value::Number(121.0))), [(Some(age), "max", 1, Warning)]);
    assert_eq!(keys(&one(age, Value::Number(30.5))), [(Some(age), "whole", 1, Error)]);
    assert_eq!(keys(&one("country", text("fr"))), [(Some("country"), "values", 1, Error)]);
    let both = one("country", text("zz"));
    assert_eq!(keys(&both), [(Some("country"), "foreign_key", 1, Error), (Some("country"), "values", 1, Error)]);
    assert_eq!((both[0].rows[0].row, both[0].rows[0].value.as_str()), (3, "zz"));
    let compared = one("start", text("2026-11-21"));
    assert_eq!(keys(&compared), [(Some("start"), "comparison", 1, Error)]);
    assert_eq!(compared[0].rows[0].value, "2026-11-21 and 2026-11-20");
    let old = violations(|c| {
        c.insert("end", vec![text("2026-10-20"); 100]);
        c.insert("start", vec![text("2026-10-20"); 100]);
    });
    assert_eq!(keys(&old), [(Some("end"), "newest_days_max", 100, Error)]);
    assert!(old[0].observed.contains("2026-10-20, 37.0 days old"), "{}", old[0].observed);
    let gaps = violations(|c| c.get_mut(age).unwrap()[..30].fill(Value::Missing));
    assert_eq!(keys(&gaps), [(Some(age), "missing_share_max", 30, Error)]);
    assert_eq!(gaps[0].rows.len(), 10);
    let drift = violations(|c| c.get_mut(age).unwrap()[..60].fill(Value::Number(17.0)));
    assert_eq!(keys(&drift), [(Some(age), "distribution", 100, Warning)]);
    assert!(drift[0].observed.contains("up to 18"), "{}", drift[0].observed);
    let shifted = violations(|c| c.get_mut("country").unwrap()[..50].fill(text("de")));
    assert_eq!(keys(&shifted), [(Some("country"), "distribution", 100, Error)]);
    let table = violations(|c| {
        c.remove("active");
        c.insert("extra", vec![Value::Missing; 100]);
        c.values_mut().for_each(|column| column.truncate(1));
    });
    let expected = [
        (None, "rows_min", 1, Error),
        (Some("active"), "columns", 1, Error),
        (None, "columns", 1, Warning),
        (Some(age), "distribution", 1, Warning),
    ];
    assert_eq!(keys(&table), expected);
}

#[test]
fn batches_do_not_matter_and_references_must_be_there() {
    let (_, expectations) = golden();
    let none = References::new();
    assert!(tables::Checker::new(&expectations, &["id"], &none).is_err());
    let mut plain =
        Expectations { columns: vec![ColumnExpectations::new("id", ColumnType::Text)], ..Expectations::default() };
    plain.columns[0].unique = true;
    let mut checker = tables::Checker::new(&plain, &["id"], &none).unwrap();
    checker.push(&[vec![text("a"), text("b")]]).unwrap();
    checker.push(&[vec![text("c"), text("a")]]).unwrap();
    assert!(checker.push(&[]).is_err());
    let found = checker.finish(0);
    assert_eq!((found[0].count, found[0].rows[0].row), (1, 3));
}

#[test]
fn real_tables_meet_what_is_proposed_from_them() {
    let mut tables: Vec<Table> = ["iris", "wine", "breast_cancer"]
        .iter()
        .map(|name| table::load(&table::golden(&format!("{name}.csv"))))
        .collect();
    tables.extend(table::adult());
    for table in tables {
        let expectations = proposed(&table);
        let none = References::new();
        let found = check(&table.names(), &table.columns, &expectations, &none, 0).unwrap();
        assert!(found.is_empty(), "{found:?}");
        let written = write_expectations(&expectations);
        let read = read_expectations(&written).unwrap();
        assert_eq!(read.columns.len(), table.names.len());
        let found = check(&table.names(), &table.columns, &read, &none, 0).unwrap();
        assert!(found.is_empty(), "{found:?}");
        // Half of the table, every second row, is of the same kind.
        let half: Vec<Vec<Value>> = table.columns.iter().map(|c| c.iter().step_by(2).cloned().collect()).collect();
        if table.rows() > 1000 {
            let found = check(&table.names(), &half, &read, &none, 0).unwrap();
            assert!(found.is_empty(), "{found:?}");
        }
    }
}

#[test]
fn proposals_have_reasons_and_catch_what_changed() {
    let Some(mut adult) = table::adult() else { return };
    let expectations = proposed(&adult);
    let written = write_expectations(&expectations);
    assert!(written.contains("max = 127  # ") || written.contains("min = 0  # saw 17 to 90"), "{written}");
    let sex = expectations.columns.iter().find(|column| column.name == "sex").unwrap();
    assert_eq!(sex.values, ["Female", "Male"]);
    let at = |name: &str| adult.names.iter().position(|other| other == name).unwrap();
    let (age, sex) = (at("age"), at("sex"));
    adult.columns[age][5] = Value::Number(1990.0);
    adult.columns[sex].iter_mut().take(20_000).for_each(|cell| *cell = text("Female"));
    adult.columns[sex][7] = text("female");
    let found = check(&adult.names(), &adult.columns, &expectations, &References::new(), 0).unwrap();
    let keys: Vec<(&str, &str)> =
        found.iter().map(|v| (v.column.as_deref().unwrap(), v.expectation.as_str())).collect();
    assert_eq!(keys, [("age", "max"), ("sex", "values"), ("sex", "distribution")]);
    assert_eq!(found[0].rows[0].row, 5);
}

#[test]
fn pairs_are_proposed_where_names_say_so() {
    let mut table = Table { names: vec![], kinds: vec![], columns: vec![] };
    table.add("price_max", ColumnType::Number, (0..50).map(|n| Value::Number(f64::from(n + 1))).collect());
    table.add("price_min", ColumnType::Number, (0..50).map(|n| Value::Number(f64::from(n))).collect());
    table.add("size", ColumnType::Number, (0..50).map(|n| Value::Number(f64::from(n + 5))).collect());
    let comparisons = proposed(&table).comparisons;
    let wanted =
        Comparison { left: "price_min".into(), operator: Operator::AtMost, right: "price_max".into(), warn: false };
    assert_eq!(comparisons, [wanted]);
}

fn cells() -> impl Strategy<Value = Vec<Value>> {
    let cell = prop_oneof![
        Just(Value::Missing),
        any::<bool>().prop_map(Value::Binary),
        (-1e300_f64..1e300).prop_map(Value::Number),
        (0_u8..4).prop_map(|n| Value::Number(f64::from(n))),
        "\\PC{0,12}".prop_map(Value::Text),
        (0_u8..4).prop_map(|n| Value::Text(n.to_string())),
    ];
    prop::collection::vec(cell, 120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_table_gives_a_file_that_reads_back(name in "\\PC{0,20}", cells in cells()) {
        for kind in [ColumnType::Text, ColumnType::Number, ColumnType::Category, ColumnType::Binary] {
            let table = Table { names: vec![name.clone()], kinds: vec![kind], columns: vec![cells.clone()] };
            let expectations = proposed(&table);
            let read = read_expectations(&write_expectations(&expectations)).unwrap();
            let (mut read, mut wanted) = (read, without_reasons(expectations));
            for column in read.columns.iter_mut().chain(&mut wanted.columns) {
                if let Some(distribution) = &mut column.distribution {
                    distribution.shares.iter_mut().for_each(|share| *share = (*share * 1e6).round() / 1e6);
                }
            }
            prop_assert_eq!(read, wanted);
            let found = check(&table.names(), &table.columns, &without_reasons(proposed(&table)), &References::new(), 0).unwrap();
            prop_assert!(found.iter().all(|violation| violation.expectation == "type"), "{:?}", found);
        }
    }

    #[test]
    fn rubbish_is_refused_and_never_panics(text in "(format = 1\n)?(\\PC|\n){0,200}") {
        let _ = read_expectations(&text);
    }
}
