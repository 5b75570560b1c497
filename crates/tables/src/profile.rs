//! What a table holds, in one pass and bounded memory. Profiles of parts merge into the profile of the
//! whole, within the errors of their sketches.

use base::{ColumnType, Value};

use crate::dates;
use crate::distinct::Distinct;
use crate::error::TablesError;
use crate::frequent::Frequent;
use crate::moments::Moments;
use crate::quantiles::Quantiles;

/// Words in pairs of names that say which of two columns is the smaller.
const ORDERED_WORDS: [(&str, &str); 9] = [
    ("min", "max"),
    ("minimum", "maximum"),
    ("start", "end"),
    ("begin", "end"),
    ("from", "to"),
    ("low", "high"),
    ("lower", "upper"),
    ("first", "last"),
    ("created", "updated"),
];

/// The profile of a table: what was pushed so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The number of rows.
    pub rows: u64,
    /// The columns, in their order.
    pub columns: Vec<ColumnProfile>,
    /// Pairs of columns whose names say that one is at most the other.
    pub pairs: Vec<PairProfile>,
}

/// Two columns whose names say that one is at most the other.
#[derive(Debug, Clone, PartialEq)]
pub struct PairProfile {
    /// The index of the smaller.
    pub smaller: usize,
    /// The index of the larger.
    pub larger: usize,
    /// Rows in which both can be compared.
    pub compared: u64,
    /// Rows among them in which it does not hold.
    pub broken: u64,
}

/// The profile of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnProfile {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// All cells.
    pub count: u64,
    /// Cells in which nothing stood.
    pub missing: u64,
    /// Cells of another type than the column's.
    pub mistyped: u64,
    /// Numbers without a fraction.
    pub whole: u64,
    /// Texts with white space within.
    pub spaced: u64,
    /// The numbers.
    pub numbers: Moments,
    /// Quantiles of the numbers.
    pub quantiles: Quantiles,
    /// Lengths of texts, in characters.
    pub lengths: Moments,
    /// How many values differ, without missing ones.
    pub distinct: Distinct,
    /// The frequent values, without missing ones.
    pub frequent: Frequent,
    /// The dates, as seconds since 1970.
    pub dates: Moments,
    /// Whether values only rise, or only fall, from row to row.
    pub order: Order,
}

/// Whether comparable values (numbers, dates) only rise or only fall from row to row.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    ends: Option<(f64, f64)>,
    /// No value is smaller than the one before.
    pub rising: bool,
    /// No value is larger than the one before.
    pub falling: bool,
}

impl Default for Order {
    fn default() -> Self {
        Self { ends: None, rising: true, falling: true }
    }
}

impl Order {
    fn push(&mut self, value: f64) {
        self.ends = Some(match self.ends {
            Some((first, last)) => {
                self.rising &= last <= value;
                self.falling &= last >= value;
                (first, value)
            }
            None => (value, value),
        });
    }

    fn merge(&mut self, other: &Self) {
        self.rising &= other.rising;
        self.falling &= other.falling;
        self.ends = match (self.ends, other.ends) {
            (Some((first, middle)), Some((next, last))) => {
                self.rising &= middle <= next;
                self.falling &= middle >= next;
                Some((first, last))
            }
            (ours, theirs) => ours.or(theirs),
        };
    }
}

impl ColumnProfile {
    /// An empty profile.
    #[must_use]
    pub fn new(name: &str, kind: ColumnType) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            count: 0,
            missing: 0,
            mistyped: 0,
            whole: 0,
            spaced: 0,
            numbers: Moments::default(),
            quantiles: Quantiles::default(),
            lengths: Moments::default(),
            distinct: Distinct::default(),
            frequent: Frequent::default(),
            dates: Moments::default(),
            order: Order::default(),
        }
    }

    /// Adds a cell.
    pub fn push(&mut self, value: &Value) {
        self.count += 1;
        if value.is_missing() {
            self.missing += 1;
            return;
        }
        self.mistyped += u64::from(!fits(value, self.kind));
        match value {
            Value::Number(number) => {
                self.whole += u64::from(number.fract() == 0.0);
                self.numbers.push(*number);
                self.quantiles.push(*number);
                self.order.push(*number);
            }
            Value::Text(text) => {
                self.lengths.push(text.chars().count() as f64);
                self.spaced += u64::from(text.trim().contains(char::is_whitespace));
                if let Some(seconds) = dates::seconds(text) {
                    self.dates.push(seconds as f64);
                    self.order.push(seconds as f64);
                }
            }
            Value::Binary(_) | Value::Missing => {}
        }
        self.distinct.push(value);
        self.frequent.push(value);
    }

    /// Adds what another saw of rows that come after.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.missing += other.missing;
        self.mistyped += other.mistyped;
        self.whole += other.whole;
        self.spaced += other.spaced;
        self.numbers.merge(&other.numbers);
        self.quantiles.merge(&other.quantiles);
        self.lengths.merge(&other.lengths);
        self.distinct.merge(&other.distinct);
        self.frequent.merge(&other.frequent);
        self.dates.merge(&other.dates);
        self.order.merge(&other.order);
    }

    /// Cells in which something stood.
    #[must_use]
    pub fn present(&self) -> u64 {
        self.count - self.missing
    }

    /// The share of cells in which nothing stood.
    #[must_use]
    pub fn missing_share(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.missing as f64 / self.count as f64 }
    }

    /// Whether at least 95 of 100 texts are dates.
    #[must_use]
    pub fn is_date(&self) -> bool {
        self.dates.count() > 0 && self.dates.count() * 100 >= self.present() * 95
    }

    /// A histogram of the numbers: `bins` equally wide bins as (lower edge, upper edge, share), within
    /// the error of the quantile sketch.
    #[must_use]
    pub fn histogram(&self, bins: usize) -> Vec<(f64, f64, f64)> {
        let (Some(least), Some(most)) = (self.numbers.smallest(), self.numbers.largest()) else { return Vec::new() };
        let bins = if least == most { 1 } else { bins.clamp(1, 1000) };
        // Halves first: the width of the range may not be a finite number.
        let at = |edge: usize| {
            let share = edge as f64 / bins as f64;
            least * (1.0 - share) + most * share
        };
        let edges: Vec<f64> = (1..=bins).map(|edge| if edge == bins { most } else { at(edge) }).collect();
        let upto = self.quantiles.shares_upto(&edges).unwrap_or_default();
        let mut before = 0.0;
        let bin = |(index, (&edge, upto)): (usize, (&f64, f64))| {
            let share = upto - before;
            before = upto;
            (at(index), edge, share)
        };
        edges.iter().zip(upto).enumerate().map(bin).collect()
    }
}

impl Profile {
    /// An empty profile of a table with these columns.
    ///
    /// # Errors
    /// When two columns have one name.
    pub fn new(columns: &[(&str, ColumnType)]) -> Result<Self, TablesError> {
        for (index, (name, _)) in columns.iter().enumerate() {
            if columns[..index].iter().any(|(other, _)| other == name) {
                let what = format!("two columns are called {name:?}");
                return Err(TablesError::input("the table", what, "Rename one of them."));
            }
        }
        let pairs = ordered_pairs(columns)
            .map(|(smaller, larger)| PairProfile { smaller, larger, compared: 0, broken: 0 })
            .collect();
        let columns = columns.iter().map(|(name, kind)| ColumnProfile::new(name, *kind)).collect();
        Ok(Self { rows: 0, columns, pairs })
    }

    /// Adds rows, column by column.
    ///
    /// # Errors
    /// When there are not as many columns, or they are not equally long.
    pub fn push(&mut self, columns: &[Vec<Value>]) -> Result<(), TablesError> {
        self.rows += check_batch(columns, self.columns.len())?;
        for (profile, values) in self.columns.iter_mut().zip(columns) {
            values.iter().for_each(|value| profile.push(value));
        }
        for pair in &mut self.pairs {
            for (smaller, larger) in columns[pair.smaller].iter().zip(&columns[pair.larger]) {
                if let (Some(smaller), Some(larger)) = (comparable(smaller), comparable(larger)) {
                    pair.compared += 1;
                    pair.broken += u64::from(smaller > larger);
                }
            }
        }
        Ok(())
    }

    /// Adds the profile of the rows that come after.
    ///
    /// # Errors
    /// When the columns are not the same.
    pub fn merge(&mut self, other: &Self) -> Result<(), TablesError> {
        let same = |(a, b): (&ColumnProfile, &ColumnProfile)| a.name == b.name && a.kind == b.kind;
        if self.columns.len() != other.columns.len() || !self.columns.iter().zip(&other.columns).all(same) {
            let hint = "Merge profiles of the same table only.";
            return Err(TablesError::input("profiles", "their columns differ", hint));
        }
        self.rows += other.rows;
        self.columns.iter_mut().zip(&other.columns).for_each(|(ours, theirs)| ours.merge(theirs));
        for (ours, theirs) in self.pairs.iter_mut().zip(&other.pairs) {
            ours.compared += theirs.compared;
            ours.broken += theirs.broken;
        }
        Ok(())
    }

    /// A column by name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&ColumnProfile> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// The number of rows of a batch.
pub(crate) fn check_batch(columns: &[Vec<Value>], wanted: usize) -> Result<u64, TablesError> {
    let rows = columns.first().map_or(0, Vec::len);
    if columns.len() != wanted || columns.iter().any(|column| column.len() != rows) {
        let what = format!("{} columns where {wanted} are wanted, or columns of unequal length", columns.len());
        return Err(TablesError::input("rows", what, "Give every column with one cell for each row."));
    }
    Ok(rows as u64)
}

/// A cell as something that has an order: a number, or a date as seconds.
pub(crate) fn comparable(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Text(text) => dates::seconds(text).map(|seconds| seconds as f64),
        _ => None,
    }
}

/// Whether a present cell has its column's type.
pub(crate) fn fits(value: &Value, kind: ColumnType) -> bool {
    match value {
        Value::Missing => true,
        Value::Binary(_) => kind == ColumnType::Binary,
        Value::Number(_) => kind == ColumnType::Number,
        Value::Text(_) => matches!(kind, ColumnType::Text | ColumnType::Category),
    }
}

/// Pairs of columns whose names differ in one word only, and that word says which is the smaller.
fn ordered_pairs(columns: &[(&str, ColumnType)]) -> impl Iterator<Item = (usize, usize)> {
    let words: Vec<Vec<String>> = columns
        .iter()
        .map(|(name, _)| name.to_lowercase().split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect())
        .collect();
    let mut pairs = Vec::new();
    for (i, a) in words.iter().enumerate() {
        for (j, b) in words.iter().enumerate().filter(|(_, b)| a.len() == b.len()) {
            let mut different = a.iter().zip(b).filter(|(a, b)| a != b);
            let (first, second) = (different.next(), different.next());
            let told = |(a, b): (&String, &String)| ORDERED_WORDS.iter().any(|(x, y)| a == x && b == y);
            if second.is_none() && first.is_some_and(told) {
                pairs.push((i, j));
            }
        }
    }
    pairs.into_iter()
}
