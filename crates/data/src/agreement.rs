//! How far annotators agree: a file with a row for each item and a column for each annotator.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use base::Value;
use labels::agreement::{Weights, cohen_kappa_interval, count_ratings, fleiss_kappa_interval};
use labels::krippendorff::{Level, krippendorff_alpha_interval};
use labels::{BootstrapConfig, Interval};
use serde::Serialize;

use crate::error::DataError;

/// The most items.
const ITEMS_MAX: usize = 5_000_000;

/// What may be said of the distance between two ratings.
pub use labels::krippendorff::Level as AgreementLevel;

/// A measure of agreement with its 95 % bootstrap interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    /// Its name.
    pub measure: String,
    /// Between which annotators; empty for all.
    pub between: Vec<String>,
    /// The estimate; nothing where it is undefined, as when everyone gave one and the same rating.
    pub estimate: Option<f64>,
    /// The lower end of the interval.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
    /// Items it is computed from.
    pub items: usize,
}

/// Computes Cohen's kappa of each pair of annotators (weighted for ordered levels), Fleiss' kappa of all where every item has
/// every rating, and Krippendorff's alpha.
///
/// # Errors
/// [`DataError`] when the file cannot be read, lacks a column, or has fewer than two annotators.
pub fn agreement(file: &str, folder: &Path, columns: &[String], level: Level) -> Result<Vec<Agreement>, DataError> {
    let (names, ratings) = read(file, folder, columns)?;
    let numbers = numbered(file, &ratings, level)?;
    let mut found = Vec::new();
    let config = BootstrapConfig::default();
    let weights = match level {
        Level::Nominal => Weights::None,
        Level::Ordinal => Weights::Linear,
        Level::Interval | Level::Ratio => Weights::Quadratic,
    };
    for first in 0..names.len() {
        for second in first + 1..names.len() {
            let both = numbers.iter().filter_map(|row| Some((row[first]?.0, row[second]?.0)));
            let (one, other): (Vec<u32>, Vec<u32>) = both.unzip();
            let between = vec![names[first].clone(), names[second].clone()];
            let measure = if weights == Weights::None { "cohen_kappa" } else { "cohen_kappa_weighted" };
            found.push(told(measure, between, one.len(), cohen_kappa_interval(&one, &other, weights, &config).ok()));
        }
    }
    let complete: Vec<Vec<u32>> =
        numbers.iter().filter_map(|row| row.iter().map(|rating| rating.map(|rating| rating.0)).collect()).collect();
    if !complete.is_empty() && names.len() > 2 {
        let interval = count_ratings(&complete).and_then(|counts| fleiss_kappa_interval(&counts, &config));
        found.push(told("fleiss_kappa", Vec::new(), complete.len(), interval.ok()));
    }
    let values: Vec<Vec<Option<f64>>> =
        numbers.iter().map(|row| row.iter().map(|rating| rating.map(|rating| rating.1)).collect()).collect();
    let interval = krippendorff_alpha_interval(&values, level, &config);
    found.push(told("krippendorff_alpha", Vec::new(), values.len(), interval.ok()));
    Ok(found)
}

fn told(measure: &str, between: Vec<String>, items: usize, interval: Option<Interval>) -> Agreement {
    let (estimate, low, high) =
        interval.map_or((None, None, None), |found| (Some(found.estimate), Some(found.low), Some(found.high)));
    Agreement { measure: measure.to_owned(), between, estimate, low, high, items }
}

/// The ratings of items, as text.
type Items = Vec<Vec<Option<String>>>;

/// The ratings of each item as text, in the order of the columns.
fn read(file: &str, folder: &Path, columns: &[String]) -> Result<(Vec<String>, Items), DataError> {
    let config = sources::Config { columns: Vec::new(), ..sources::Config::default() };
    let (mut names, mut items) = (columns.to_vec(), Vec::new());
    let mut wrong: Option<DataError> = None;
    for object in sources::find(&[file.to_owned()], folder, &config)? {
        sources::read(&object, &config, &mut |item| {
            match item {
                sources::Item::Record(record) => {
                    let sources::Body::Row(row) = record.body else { return ControlFlow::Continue(()) };
                    if names.is_empty() {
                        names = row.columns.to_vec();
                    }
                    let cell = |name: &String| {
                        row.get(name).map(|value| match value {
                            Value::Missing => None,
                            Value::Text(text) if text.trim().is_empty() => None,
                            Value::Text(text) => Some(text.trim().to_owned()),
                            Value::Number(number) => Some(number.to_string()),
                            Value::Binary(truth) => Some(truth.to_string()),
                        })
                    };
                    match names.iter().map(|name| cell(name).ok_or(name)).collect::<Result<Vec<_>, _>>() {
                        Ok(cells) => items.push(cells),
                        Err(name) => {
                            let (column, path) = (name.clone(), Path::new(&*object.name).to_owned());
                            wrong = Some(DataError::Column { column, path, known: row.columns.to_vec() });
                        }
                    }
                }
                sources::Item::Damaged { place, damage } => {
                    let hint = "Mend the file: every item counts.";
                    wrong = Some(DataError::file(Path::new(&place.to_string()), damage.message, hint));
                }
                _ => {}
            }
            if wrong.is_some() || items.len() > ITEMS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
    match wrong {
        Some(error) => Err(error),
        None if names.len() < 2 || items.is_empty() => Err(DataError::file(
            Path::new(file),
            "it has not two columns of ratings",
            "Write one row for each item, and one column for each annotator.",
        )),
        None if items.len() > ITEMS_MAX => {
            Err(DataError::file(Path::new(file), format!("it has more than {ITEMS_MAX} items"), "Take a sample."))
        }
        None => Ok((names, items)),
    }
}

/// A rating as a number of its category, and as a value.
type Rating = Option<(u32, f64)>;

/// Ratings as numbers: categories in their order; of all levels but the nominal one the numbers themselves.
fn numbered(file: &str, ratings: &[Vec<Option<String>>], level: Level) -> Result<Vec<Vec<Rating>>, DataError> {
    let mut values: BTreeMap<&str, f64> = BTreeMap::new();
    for rating in ratings.iter().flatten().flatten() {
        let number = if level == Level::Nominal { Some(0.0) } else { rating.parse::<f64>().ok() };
        let number = number.filter(|number| number.is_finite()).ok_or_else(|| {
            let hint = "Write ratings as numbers, or compare them by --level nominal.";
            DataError::file(Path::new(file), format!("the rating {rating:?} is no number"), hint)
        })?;
        values.insert(rating, number);
    }
    let mut order: Vec<(&str, f64)> = values.into_iter().collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(b.0)));
    let mut places: BTreeMap<&str, (u32, f64)> = BTreeMap::new();
    let mut category = 0;
    for (at, (rating, value)) in order.iter().enumerate() {
        let same = level != Level::Nominal && at > 0 && order[at - 1].1 == *value;
        category += u32::from(at > 0 && !same);
        places.insert(rating, (category, if level == Level::Nominal { f64::from(category) } else { *value }));
    }
    let numbers = |row: &Vec<Option<String>>| {
        row.iter().map(|rating| rating.as_ref().and_then(|rating| places.get(rating.as_str()).copied())).collect()
    };
    Ok(ratings.iter().map(numbers).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotators_are_compared() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("ratings.csv"),
            "item,anna,bo\n1,yes,yes\n2,no,no\n3,yes,no\n4,no,no\n5,yes,yes\n6,no,\n",
        )
        .unwrap();
        let columns = ["anna".to_owned(), "bo".to_owned()];
        let found = agreement("ratings.csv", folder.path(), &columns, Level::Nominal).unwrap();
        // Five items: observed 4/5; expected 3/5 · 2/5 + 2/5 · 3/5 = 12/25; (0.8 − 0.48) / 0.52.
        assert_eq!((found[0].measure.as_str(), found[0].items), ("cohen_kappa", 5));
        assert!((found[0].estimate.unwrap() - 0.32 / 0.52).abs() < 1e-12);
        assert_eq!(found.last().unwrap().measure, "krippendorff_alpha");
        let wrong = agreement("ratings.csv", folder.path(), &["nobody".to_owned(), "bo".to_owned()], Level::Nominal);
        assert!(matches!(wrong, Err(DataError::Column { .. })));
        assert!(agreement("ratings.csv", folder.path(), &columns, Level::Interval).is_err());
    }
}
