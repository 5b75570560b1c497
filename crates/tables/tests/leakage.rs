//! Planted leaks are found, and clean data raise no alarm.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod table;

use base::{ColumnType, Value};
use table::{Table, noise};
use tables::leakage::{LeakKind, LeakageConfig, LeakageInput, Risk};
use tables::{Finding, find_leakage};

fn findings(table: &Table, label: &str, in_test: &[bool], label_date: Option<&str>) -> Vec<Finding> {
    let at = |name: &str| table.names.iter().position(|other| other == name).unwrap();
    let input = LeakageInput {
        names: &table.names(),
        kinds: &table.kinds,
        columns: &table.columns,
        label: at(label),
        in_test,
        label_date: label_date.map(at),
    };
    find_leakage(&input, &LeakageConfig::default()).unwrap()
}

/// What is more than a note.
fn alarms(findings: &[Finding]) -> Vec<(Option<&str>, LeakKind, Risk)> {
    findings.iter().filter(|f| f.risk < Risk::Note).map(|f| (f.column.as_deref(), f.kind, f.risk)).collect()
}

fn split(rows: usize, seed: u64) -> Vec<bool> {
    let mut draw = noise(seed);
    (0..rows).map(|_| draw() < 0.2).collect()
}

#[test]
fn clean_data_raise_no_alarm() {
    for name in ["iris", "wine", "breast_cancer"] {
        let table = table::load(&table::golden(&format!("{name}.csv")));
        for seed in 0..5 {
            let found = findings(&table, "class", &split(table.rows(), seed), None);
            assert!(alarms(&found).is_empty(), "{name}: {found:?}");
        }
    }
    let Some(adult) = table::adult() else { return };
    let found = findings(&adult, "income-per-year", &split(adult.rows(), 1), None);
    assert!(alarms(&found).is_empty(), "{found:?}");
    // Adult does hold 24 equal rows; those that straddle the split are a note.
    assert!(found.iter().any(|finding| finding.kind == LeakKind::DuplicateAcrossSplit), "{found:?}");
}

#[test]
fn a_number_as_label_is_looked_at_too() {
    let mut table = table::load(&table::golden("breast_cancer.csv"));
    table.names.pop();
    table.kinds.pop();
    table.columns.pop();
    // Radius, perimeter and area of one thing do predict each other; a line through the label is a copy.
    let found = findings(&table, "mean smoothness", &[], None);
    assert!(alarms(&found).is_empty(), "{found:?}");
    let copy = table.columns[4].iter().map(|v| Value::Number(3.0 - 7.0 * v.as_number().unwrap())).collect();
    table.add("scaled", ColumnType::Number, copy);
    let found = findings(&table, "mean smoothness", &[], None);
    assert_eq!(alarms(&found), [(Some("scaled"), LeakKind::CopyOfLabel, Risk::Leak)]);
    assert!(alarms(&findings(&table, "mean radius", &[], None)).contains(&(
        Some("mean perimeter"),
        LeakKind::PredictsTooWell,
        Risk::Leak
    )));
}

/// A part of adult, with the label's column as truth values.
fn part_of_adult() -> Option<(Table, Vec<bool>)> {
    let mut table = table::adult()?;
    table.columns.iter_mut().for_each(|column| column.truncate(6000));
    let label = table.columns.last().unwrap().iter().map(|value| value.as_text() == Some(">50K")).collect();
    Some((table, label))
}

#[test]
fn planted_leaks_in_adult_are_found() {
    let label_name = "income-per-year";
    let Some((clean, rich)) = part_of_adult() else { return };
    let mut draw = noise(9);
    let plant = |name: &str, kind: ColumnType, values: Vec<Value>| {
        let mut table =
            Table { names: clean.names.clone(), kinds: clean.kinds.clone(), columns: clean.columns.clone() };
        table.add(name, kind, values);
        findings(&table, label_name, &[], None)
    };
    let alarm = |name: &'static str, kind, risk| vec![(Some(name), kind, risk)];
    let copy = rich.iter().map(|rich| Value::Text(if *rich { "B" } else { "A" }.into())).collect();
    assert_eq!(
        alarms(&plant("tax-class", ColumnType::Category, copy)),
        alarm("tax-class", LeakKind::CopyOfLabel, Risk::Leak)
    );
    let salary =
        rich.iter().map(|rich| Value::Number(if *rich { 50_000.0 } else { 0.0 } + 50_000.0 * draw())).collect();
    assert_eq!(
        alarms(&plant("salary", ColumnType::Number, salary)),
        alarm("salary", LeakKind::PredictsTooWell, Risk::Leak)
    );
    let blurred = rich.iter().map(|rich| Value::Binary(*rich != (draw() < 0.05))).collect();
    assert_eq!(
        alarms(&plant("flag", ColumnType::Binary, blurred)),
        alarm("flag", LeakKind::PredictsTooWell, Risk::Warning)
    );
    let ids = (0..6000).map(|n| Value::Text(format!("P-{:05}", (n * 7919) % 6000))).collect();
    assert_eq!(
        alarms(&plant("person", ColumnType::Category, ids)),
        alarm("person", LeakKind::Identifier, Risk::Warning)
    );
    let noise = (0..6000).map(|_| Value::Number(draw())).collect();
    assert_eq!(alarms(&plant("noise", ColumnType::Number, noise)), []);
}

#[test]
fn a_row_number_of_a_sorted_file_is_a_leak() {
    let Some((mut table, rich)) = part_of_adult() else { return };
    let mut order: Vec<usize> = (0..rich.len()).collect();
    order.sort_by_key(|&row| rich[row]);
    for column in &mut table.columns {
        *column = order.iter().map(|&row| column[row].clone()).collect();
    }
    table.add("number", ColumnType::Number, (0..6000).map(|n| Value::Number(f64::from(n))).collect());
    let found = findings(&table, "income-per-year", &[], None);
    assert!(alarms(&found).contains(&(Some("number"), LeakKind::Identifier, Risk::Leak)), "{found:?}");
}

#[test]
fn rows_on_both_sides_of_the_split_are_found() {
    let mut table = table::load(&table::golden("breast_cancer.csv"));
    let rows = table.rows();
    // 20 test rows are equal to training rows, 10 differ in the last digit.
    for column in &mut table.columns {
        for row in 0..30 {
            let near = 1.0 + if row < 20 { 0.0 } else { 1e-7 };
            let value = match &column[row] {
                Value::Number(number) => Value::Number(number * near),
                other => other.clone(),
            };
            column.push(value);
        }
    }
    let in_test: Vec<bool> = (0..rows + 30).map(|row| row >= rows - 100).collect();
    let found = findings(&table, "class", &in_test, None);
    assert_eq!(alarms(&found), [(None, LeakKind::DuplicateAcrossSplit, Risk::Leak)]);
    assert_eq!(found[0].rows, (rows..rows + 10).collect::<Vec<_>>());
    assert!(found[0].evidence.contains(&("equal", 20.0)) && found[0].evidence.contains(&("nearly equal", 10.0)));
    assert!(found[0].evidence.contains(&("share with the same label", 1.0)));
}

#[test]
fn values_from_after_the_label_are_found() {
    let mut table = table::load(&table::golden("iris.csv"));
    let day = |shift: usize| {
        (0..150).map(move |n| Value::Text(format!("2024-{:02}-{:02}", 1 + (n + shift) / 28 % 12, 1 + (n + shift) % 28)))
    };
    table.add("labelled", ColumnType::Text, day(10).collect());
    table.add("measured", ColumnType::Text, day(0).collect());
    assert!(alarms(&findings(&table, "class", &[], Some("labelled"))).is_empty());
    table.add("closed", ColumnType::Text, day(12).collect());
    let found = findings(&table, "class", &[], Some("labelled"));
    assert!(alarms(&found).contains(&(Some("closed"), LeakKind::AfterTheLabel, Risk::Leak)), "{found:?}");
}

#[test]
fn what_does_not_fit_is_refused_and_little_data_says_nothing() {
    let table = table::load(&table::golden("iris.csv"));
    let names = table.names();
    let input = LeakageInput {
        names: &names,
        kinds: &table.kinds,
        columns: &table.columns,
        label: 4,
        in_test: &[],
        label_date: None,
    };
    let refused = |input: LeakageInput<'_>| find_leakage(&input, &LeakageConfig::default()).is_err();
    assert!(refused(LeakageInput { label: 5, ..input }));
    assert!(refused(LeakageInput { in_test: &[true], ..input }));
    assert!(refused(LeakageInput { names: &names[1..], ..input }));
    assert!(refused(LeakageInput { label_date: Some(9), ..input }));
    let empty: Vec<Vec<Value>> = vec![Vec::new(); 5];
    let none = find_leakage(&LeakageInput { columns: &empty, ..input }, &LeakageConfig::default()).unwrap();
    assert!(none.is_empty());
    let missing: Vec<Vec<Value>> = vec![vec![Value::Missing; 50]; 5];
    assert!(find_leakage(&LeakageInput { columns: &missing, ..input }, &LeakageConfig::default()).unwrap().is_empty());
}
