//! What a table should hold. [`crate::document`] has the file, [`crate::propose()`] a first version,
//! [`crate::check()`] the check.

use std::collections::BTreeMap;

use base::ColumnType;
use serde::Deserialize;

/// What a table should hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expectations {
    /// The fewest rows.
    pub rows_min: Option<u64>,
    /// The most rows.
    pub rows_max: Option<u64>,
    /// The columns; the table may have others, which are reported as warnings.
    pub columns: Vec<ColumnExpectations>,
    /// Comparisons of two columns, row by row.
    pub comparisons: Vec<Comparison>,
    /// Why rows_min and rows_max, and comparisons by their index, are as they are; for the comments.
    pub reasons: BTreeMap<String, String>,
}

/// What a column should hold. Whatever is `None`, empty or false is not expected.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnExpectations {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// The largest share of missing cells, 0 to 1.
    pub missing_share_max: Option<f64>,
    /// The smallest number.
    pub min: Option<f64>,
    /// The largest number.
    pub max: Option<f64>,
    /// Numbers have no fraction.
    pub whole: bool,
    /// No two present cells are equal.
    pub unique: bool,
    /// The values that may stand there.
    pub values: Vec<String>,
    /// The fewest characters.
    pub length_min: Option<u64>,
    /// The most characters.
    pub length_max: Option<u64>,
    /// A regular expression that each text as a whole matches.
    pub pattern: Option<String>,
    /// Every value stands in a column of another file.
    pub foreign_key: Option<ForeignKey>,
    /// Texts are dates, and the newest is at most so many days old.
    pub newest_days_max: Option<f64>,
    /// How values are spread.
    pub distribution: Option<Distribution>,
    /// The expectations, by their keys, that warn instead of failing.
    pub warn: Vec<String>,
    /// Why each key is as it is; for the comments.
    pub reasons: BTreeMap<String, String>,
}

impl ColumnExpectations {
    /// A column of which only the type is expected.
    #[must_use]
    pub fn new(name: &str, kind: ColumnType) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            missing_share_max: None,
            min: None,
            max: None,
            whole: false,
            unique: false,
            values: Vec::new(),
            length_min: None,
            length_max: None,
            pattern: None,
            foreign_key: None,
            newest_days_max: None,
            distribution: None,
            warn: Vec::new(),
            reasons: BTreeMap::new(),
        }
    }
}

/// A column of another file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignKey {
    /// The file, relative to the project.
    pub file: String,
    /// Its column.
    pub column: String,
}

/// How the difference of two distributions is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The population stability index may be at most the threshold (0.2 is usual).
    Psi,
    /// The largest difference of the cumulative shares at the edges may be at most the threshold.
    Ks,
    /// Pearson's chi-square: the p-value may be no smaller than the threshold.
    ChiSquare,
}

impl Method {
    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Psi => "psi",
            Self::Ks => "ks",
            Self::ChiSquare => "chi_square",
        }
    }
}

/// How values are spread: shares of numbers between edges, or of named values.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// How differences are measured.
    pub method: Method,
    /// The limit, see [`Method`].
    pub threshold: f64,
    /// Numbers: the inner edges, ascending; a bin holds its upper edge.
    pub edges: Vec<f64>,
    /// Names: the values; what is none of them is counted together as the last share.
    pub values: Vec<String>,
    /// The expected shares, one more than there are edges or values, with a sum of 1.
    pub shares: Vec<f64>,
}

/// How two columns compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Operator {
    /// At most.
    #[serde(rename = "<=")]
    AtMost,
    /// Less.
    #[serde(rename = "<")]
    Less,
    /// Equal.
    #[serde(rename = "==")]
    Equal,
    /// Not equal.
    #[serde(rename = "!=")]
    NotEqual,
}

impl Operator {
    /// The operator in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AtMost => "<=",
            Self::Less => "<",
            Self::Equal => "==",
            Self::NotEqual => "!=",
        }
    }
}

/// A comparison of two columns that holds in every row in which both are present.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The left column.
    pub left: String,
    /// The operator; `<=` and `<` compare numbers and dates.
    pub operator: Operator,
    /// The right column.
    pub right: String,
    /// Whether it warns instead of failing.
    #[serde(default)]
    pub warn: bool,
}
