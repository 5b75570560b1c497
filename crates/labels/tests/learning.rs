//! The built-in cross-validation, and what to label next.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;

use base::{ColumnType, Value};
use labels::{
    CrossValidationConfig, Features, Pick, Probabilities, SelectConfig, Strategy, Uncertainty, cross_validate,
    cross_validate_features, cross_validate_numbers, featurize, select,
};

fn banking(rows: usize) -> Option<(Vec<Vec<Value>>, Vec<u32>, usize)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/banking77/train.csv");
    let Ok(mut reader) = csv::Reader::from_path(path) else {
        println!("skipped: shared/data/banking77 is not here");
        return None;
    };
    let all: Vec<(String, String)> = reader.records().map(|r| r.unwrap()).map(|r| (r[0].into(), r[1].into())).collect();
    let mut classes: Vec<&String> = all.iter().take(rows).map(|row| &row.1).collect();
    classes.sort();
    classes.dedup();
    let labels = all.iter().take(rows).map(|row| classes.binary_search(&&row.1).unwrap() as u32).collect();
    Some((all.iter().take(rows).map(|row| vec![Value::Text(row.0.clone())]).collect(), labels, classes.len()))
}

fn accuracy(probabilities: &Probabilities, labels: &[u32]) -> f64 {
    let right = (0..labels.len()).filter(|&row| probabilities.best(row) == labels[row] as usize).count();
    right as f64 / labels.len() as f64
}

#[test]
fn real_texts_are_told_apart_and_threads_do_not_matter() {
    let Some((rows, labels, classes)) = banking(1500) else { return };
    let config = CrossValidationConfig::default();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| cross_validate(&[ColumnType::Text], &rows, &labels, classes, &config).unwrap())
    };
    let one = run(1);
    assert!(accuracy(&one, &labels) > 0.85, "{}", accuracy(&one, &labels));
    assert_eq!(one, run(3));
}

#[test]
fn numbers_and_categories_are_learned_from() {
    let row = |n: u32| {
        let number = if n.is_multiple_of(7) { Value::Missing } else { Value::Number(f64::from(n % 50)) };
        vec![number, Value::Text(format!("c{}", n % 3)), Value::Binary(n.is_multiple_of(2))]
    };
    let rows: Vec<Vec<Value>> = (0..600).map(row).collect();
    let types = [ColumnType::Number, ColumnType::Category, ColumnType::Binary];
    let labels: Vec<u32> = (0..600).map(|n| n % 3).collect();
    let probabilities = cross_validate(&types, &rows, &labels, 3, &CrossValidationConfig::default()).unwrap();
    assert!(accuracy(&probabilities, &labels) > 0.99);
    let above: Vec<u32> = (0..600_u32).map(|n| u32::from(!n.is_multiple_of(7) && n % 50 > 24)).collect();
    let probabilities = cross_validate(&types, &rows, &above, 2, &CrossValidationConfig::default()).unwrap();
    assert!(accuracy(&probabilities, &above) > 0.95);
    let targets: Vec<f64> = (0..600).map(|n| 10.0 + 3.0 * f64::from(n % 3) + 2.0 * f64::from(n % 2)).collect();
    let features = featurize(&types, &rows).unwrap();
    let predicted = cross_validate_numbers(&features, &targets, &CrossValidationConfig::default()).unwrap();
    let error: f64 = targets.iter().zip(&predicted).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / 600.0;
    assert!(error < 0.3, "{error}");
}

#[test]
fn no_row_sees_its_own_label() {
    // Every row has a feature of its own and a random label: nothing can be learned out of sample.
    let rows: Vec<Vec<Value>> = (0..400).map(|n| vec![Value::Text(format!("u{n}"))]).collect();
    let labels: Vec<u32> = (0..400_u32).map(|n| n.wrapping_mul(2_654_435_761) >> 31).collect();
    let probabilities =
        cross_validate(&[ColumnType::Category], &rows, &labels, 2, &CrossValidationConfig::default()).unwrap();
    let accuracy = accuracy(&probabilities, &labels);
    assert!((0.3..0.65).contains(&accuracy), "{accuracy}");
}

#[test]
fn chinese_is_read_by_characters() {
    let rows: Vec<Vec<Value>> = (0..200)
        .map(|n| vec![Value::Text(format!("{}{}号", if n % 2 == 0 { "我的卡片丢失了" } else { "转账没有到账" }, n))])
        .collect();
    let labels: Vec<u32> = (0..200).map(|n| n % 2).collect();
    let probabilities =
        cross_validate(&[ColumnType::Text], &rows, &labels, 2, &CrossValidationConfig::default()).unwrap();
    assert!(accuracy(&probabilities, &labels) > 0.99);
}

#[test]
fn what_does_not_fit_is_refused() {
    let rows = vec![vec![Value::Number(1.0)], vec![]];
    assert!(featurize(&[ColumnType::Number], &rows).is_err());
    let features = Features::dense(2, &[1.0, 0.0, 0.0, 1.0]).unwrap();
    let config = CrossValidationConfig::default();
    assert!(cross_validate_features(&features, &[0, 1], 2, &config).is_err());
    let config = CrossValidationConfig { folds: 2, ..config };
    assert!(cross_validate_features(&features, &[0, 1], 2, &config).is_ok());
    assert!(cross_validate_features(&features, &[0, 2], 2, &config).is_err());
    assert!(cross_validate_features(&features, &[0], 2, &config).is_err());
    assert!(cross_validate_features(&features, &[0, 0], 1 << 40, &config).is_err());
    assert!(cross_validate_numbers(&features, &[0.0, f64::NAN], &config).is_err());
    assert!(Features::dense(2, &[1.0]).is_err());
    assert!(Features::dense(1, &[f32::NAN]).is_err());
    let empty = featurize(&[ColumnType::Text], &[]).unwrap();
    assert_eq!(empty.rows(), 0);
}

/// Four far-away groups of points; the probability says how unsure each is, by `step`.
fn groups(step: f64) -> (Probabilities, Features) {
    let (mut values, mut points) = (Vec::new(), Vec::new());
    for n in 0_u8..40 {
        let p = 0.51 + step * f64::from(n);
        values.extend([p, 1.0 - p]);
        points.extend((0..4).map(|axis| if n % 4 == axis { 10.0 + f32::from(n) * 0.01 } else { 0.0 }));
    }
    (Probabilities::new(2, values).unwrap(), Features::dense(4, &points).unwrap())
}

#[test]
fn uncertainty_as_computed_by_hand() {
    let probabilities = Probabilities::new(3, vec![0.5, 0.25, 0.25, 1.0, 0.0, 0.0]).unwrap();
    let of = |kind| labels::active::uncertainties(&probabilities, kind);
    let entropy = 1.5 * 2_f64.ln() / 3_f64.ln();
    for (ours, by_hand) in [
        (of(Uncertainty::Entropy), [entropy, 0.0]),
        (of(Uncertainty::Margin), [0.75, 0.0]),
        (of(Uncertainty::LeastConfidence), [0.75, 0.0]),
    ] {
        assert!(ours.iter().zip(by_hand).all(|(a, b)| (a - b).abs() < 1e-12), "{ours:?}");
    }
}

#[test]
fn batches_are_spread_over_the_data() {
    let (probabilities, features) = groups(0.012);
    let rows = |strategy, labelled: &[usize]| -> Vec<usize> {
        let config = SelectConfig { count: 4, strategy, ..SelectConfig::default() };
        let picks: Vec<Pick> = select(&probabilities, &features, labelled, &config).unwrap();
        assert_eq!(picks, select(&probabilities, &features, labelled, &config).unwrap());
        picks.iter().map(|pick| pick.row).collect()
    };
    assert_eq!(rows(Strategy::Uncertain, &[]), [0, 1, 2, 3]);
    assert_eq!(rows(Strategy::Uncertain, &[1, 2]), [0, 3, 4, 5]);
    for strategy in [Strategy::Diverse, Strategy::Mixed] {
        let mut chosen: Vec<usize> = rows(strategy, &[]).iter().map(|row| row % 4).collect();
        chosen.sort_unstable();
        assert_eq!(chosen, [0, 1, 2, 3], "{strategy:?}");
    }
    // With three groups labelled, the first choice is the fourth.
    assert_eq!(rows(Strategy::Diverse, &[4, 5, 6])[0] % 4, 3);
    let config = SelectConfig { count: 1000, ..SelectConfig::default() };
    assert_eq!(select(&probabilities, &features, &[0], &config).unwrap().len(), 39);
    assert!(select(&probabilities, &features, &[40], &config).is_err());
}

#[test]
fn badge_draws_from_every_group_and_by_its_seed() {
    // All rows are equally unsure, so gradient embeddings differ by group alone.
    let (probabilities, features) = groups(0.0);
    let rows = |seed| -> Vec<usize> {
        let config = SelectConfig { count: 4, strategy: Strategy::Badge, seed, ..SelectConfig::default() };
        select(&probabilities, &features, &[], &config).unwrap().iter().map(|pick| pick.row).collect()
    };
    for seed in 0..20 {
        let mut chosen: Vec<usize> = rows(seed).iter().map(|row| row % 4).collect();
        chosen.sort_unstable();
        assert_eq!(chosen, [0, 1, 2, 3], "{seed}");
        assert_eq!(rows(seed), rows(seed));
    }
    assert!((1..20).any(|seed| rows(seed) != rows(0)));
    let config = SelectConfig { count: 1000, strategy: Strategy::Badge, ..SelectConfig::default() };
    let mut all: Vec<usize> =
        select(&probabilities, &features, &[7], &config).unwrap().iter().map(|pick| pick.row).collect();
    all.sort_unstable();
    assert_eq!(all, (0..40).filter(|row| *row != 7).collect::<Vec<_>>());
}
