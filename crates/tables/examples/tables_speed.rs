//! Times profile, check and the search for leaks on adult, repeated to 325,610 rows:
//! `cargo run --release -p modelyard-tables --example tables_speed`. Prints one JSON line.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use base::{ColumnType, Value};
use tables::{LeakageConfig, LeakageInput, Profile, ProposeConfig, References, check, find_leakage, propose};

fn main() -> Result<(), Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/adult/adult.csv");
    let mut reader = csv::Reader::from_path(path)?;
    let names: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut columns: Vec<Vec<Value>> = vec![Vec::new(); names.len()];
    for record in reader.records() {
        for (column, cell) in columns.iter_mut().zip(&record?) {
            column.push(cell.parse().map_or_else(|_| Value::Text(cell.to_owned()), Value::Number));
        }
    }
    let kind = |column: &Vec<Value>| match column[0] {
        Value::Number(_) => ColumnType::Number,
        _ => ColumnType::Category,
    };
    let kinds: Vec<ColumnType> = columns.iter().map(kind).collect();
    let schema: Vec<(&str, ColumnType)> = names.iter().copied().zip(kinds.iter().copied()).collect();
    let begin = Instant::now();
    let mut profile = Profile::new(&schema)?;
    for _ in 0..10 {
        profile.push(&columns)?;
    }
    let profile_seconds = begin.elapsed().as_secs_f64();
    let expectations = propose(&profile, &ProposeConfig { rows_slack: 1.0, ..ProposeConfig::default() });
    let begin = Instant::now();
    let references = References::new();
    let violations = (0..10)
        .map(|_| check(&names, &columns, &expectations, &references, 0).map(|found| found.len()))
        .sum::<Result<usize, _>>()?;
    let check_seconds = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let in_test: Vec<bool> = (0..columns[0].len()).map(|row| row % 5 == 0).collect();
    let label = names.len() - 1;
    let input =
        LeakageInput { names: &names, kinds: &kinds, columns: &columns, label, in_test: &in_test, label_date: None };
    let findings = find_leakage(&input, &LeakageConfig::default())?.len();
    let leakage_seconds = begin.elapsed().as_secs_f64();
    let rows = profile.rows;
    writeln!(
        std::io::stdout(),
        r#"{{"rows":{rows},"columns":{},"profile_seconds":{profile_seconds:.3},"check_seconds":{check_seconds:.3},"violations":{violations},"leakage_rows":{},"leakage_seconds":{leakage_seconds:.3},"findings":{findings}}}"#,
        names.len(),
        in_test.len()
    )?;
    Ok(())
}
