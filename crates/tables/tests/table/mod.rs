//! Tables for the tests.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use base::{ColumnType, Value};

/// A CSV file as a table; columns of numbers are numbers, all others categories.
pub struct Table {
    pub names: Vec<String>,
    pub kinds: Vec<ColumnType>,
    pub columns: Vec<Vec<Value>>,
}

pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Adult, or a printed word where it is not here.
pub fn adult() -> Option<Table> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/adult/adult.csv");
    if !path.exists() {
        println!("skipped: shared/data/adult is not here");
        return None;
    }
    Some(load(&path))
}

pub fn load(path: &Path) -> Table {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let names: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let mut texts = vec![Vec::new(); names.len()];
    for record in reader.records() {
        let record = record.unwrap();
        texts.iter_mut().zip(&record).for_each(|(column, cell)| column.push(cell.trim().to_owned()));
    }
    let (mut kinds, mut columns) = (Vec::new(), Vec::new());
    for column in texts {
        let gap = |text: &String| text.is_empty() || text == "?";
        let number = column.iter().all(|text| gap(text) || text.parse::<f64>().is_ok());
        kinds.push(if number { ColumnType::Number } else { ColumnType::Category });
        let cell = |text: String| match () {
            () if gap(&text) => Value::Missing,
            () if number => Value::Number(text.parse().unwrap()),
            () => Value::Text(text),
        };
        columns.push(column.into_iter().map(cell).collect());
    }
    Table { names, kinds, columns }
}

impl Table {
    pub fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    pub fn rows(&self) -> usize {
        self.columns[0].len()
    }

    pub fn schema(&self) -> Vec<(&str, ColumnType)> {
        self.names().into_iter().zip(self.kinds.iter().copied()).collect()
    }

    pub fn add(&mut self, name: &str, kind: ColumnType, values: Vec<Value>) {
        self.names.insert(0, name.to_owned());
        self.kinds.insert(0, kind);
        self.columns.insert(0, values);
    }
}

/// Numbers that look drawn at random and are the same everywhere.
pub fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}
