//! Outliers against numpy's and scikit-learn's answers on breast cancer.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod table;

use base::Value;
use proptest::prelude::*;
use serde_json::Value as Json;
use tables::distribution::{chi_square, ks, psi};
use tables::outliers::{OutlierKind, robust};
use tables::{
    ForestConfig, OutlierConfig, category_outliers, isolation_forest, number_outliers, row_outliers, text_outliers,
};

fn answers() -> Json {
    serde_json::from_str(&std::fs::read_to_string(table::golden("answers.json")).unwrap()).unwrap()
}

fn rows(value: &Json) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|row| row.as_u64().unwrap() as usize).collect()
}

#[test]
fn robust_statistics_as_numpy_has_them() {
    let (table, answers) = (table::load(&table::golden("breast_cancer.csv")), answers());
    let mut compared = 0;
    for (name, column) in table.names.iter().zip(&table.columns).filter(|(name, _)| *name != "class") {
        let theirs = &answers["columns"][name];
        let numbers: Vec<f64> = column.iter().filter_map(Value::as_number).collect();
        let ours = robust(&numbers).unwrap();
        for (key, value) in [
            ("median", ours.median),
            ("mad", ours.mad),
            ("quartile_1", ours.quartile_1),
            ("quartile_3", ours.quartile_3),
        ] {
            let wanted = theirs[key].as_f64().unwrap();
            assert!((value - wanted).abs() <= 1e-12 * wanted.abs(), "{name} {key}");
        }
        let found = number_outliers(column, &OutlierConfig::default());
        let of = |kind| {
            let mut rows: Vec<usize> = found.iter().filter(|o| o.kind == kind).map(|o| o.row).collect();
            rows.sort_unstable();
            rows
        };
        let by_z = of(OutlierKind::RobustZ);
        assert_eq!(by_z, rows(&theirs["beyond_z"]), "{name}");
        let fences: Vec<usize> = rows(&theirs["beyond_fences"]).into_iter().filter(|row| !by_z.contains(row)).collect();
        assert_eq!(of(OutlierKind::Fence), fences, "{name}");
        assert!(found.iter().filter(|o| o.kind == OutlierKind::RobustZ).is_sorted_by(|a, b| a.score >= b.score));
        compared += by_z.len();
    }
    assert!(compared > 300, "{compared}");
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    order.into_iter().enumerate().for_each(|(rank, index)| ranks[index] = rank as f64);
    ranks
}

fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let n = a.len() as f64;
    let squares: f64 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
    1.0 - 6.0 * squares / (n * (n * n - 1.0))
}

#[test]
fn the_forest_ranks_as_scikit_learns() {
    let (table, answers) = (table::load(&table::golden("breast_cancer.csv")), answers());
    let columns: Vec<Vec<f64>> =
        table.columns[..30].iter().map(|column| column.iter().filter_map(Value::as_number).collect()).collect();
    let theirs: Vec<f64> =
        answers["isolation"]["mean_scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect();
    let config = ForestConfig { trees: 400, ..ForestConfig::default() };
    let ours = isolation_forest(&columns, &config).unwrap();
    let agreement = spearman(&ours, &theirs);
    // scikit-learn's own forests of 100 trees agree with each other by 0.927 to 0.98.
    assert!(agreement > 0.97, "{agreement}");
    let apart = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart < 0.05, "{apart}");
    assert_eq!(ours, isolation_forest(&columns, &config).unwrap());
    assert_ne!(ours, isolation_forest(&columns, &ForestConfig { seed: 1, ..config }).unwrap());
}

#[test]
fn a_row_far_from_all_others_comes_first() {
    let mut draw = table::noise(5);
    let mut columns: Vec<Vec<Value>> =
        (0..4).map(|_| (0..500).map(|_| Value::Number(draw() + draw() + draw())).collect()).collect();
    columns.iter_mut().for_each(|column| column[123] = Value::Number(9.0));
    columns[0][7] = Value::Missing;
    let found = row_outliers(&columns, &OutlierConfig::default(), &ForestConfig::default()).unwrap();
    assert_eq!(found[0].row, 123);
    assert!(found.len() < 10, "{}", found.len());
    assert!(isolation_forest(&[vec![0.0], vec![]], &ForestConfig::default()).is_err());
    assert!(isolation_forest(&[vec![f64::NAN]], &ForestConfig::default()).is_err());
    assert!(isolation_forest(&[vec![0.0]], &ForestConfig { trees: 0, ..ForestConfig::default() }).is_err());
    assert_eq!(isolation_forest(&[], &ForestConfig::default()).unwrap(), Vec::<f64>::new());
}

#[test]
fn rare_names_and_odd_lengths_are_found() {
    let mut names: Vec<Value> = (0..5000).map(|n| Value::Text(format!("c{}", n % 5))).collect();
    names[77] = Value::Text("typo".into());
    let found = category_outliers(&names, &OutlierConfig::default());
    assert_eq!(found.iter().map(|o| (o.row, o.value.as_str())).collect::<Vec<_>>(), [(77, "typo")]);
    let mut texts: Vec<Value> = (0..300).map(|n| Value::Text("word ".repeat(5 + n % 7))).collect();
    texts[11] = Value::Text("很".repeat(5000));
    texts[200] = Value::Text(String::new());
    let rows: Vec<usize> = text_outliers(&texts, &OutlierConfig::default()).iter().map(|o| o.row).collect();
    assert_eq!(rows, [11, 200]);
}

#[test]
fn differences_as_scipy_and_by_hand() {
    let answers = &answers()["chi_square"];
    let counts: Vec<u64> = answers["counts"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).collect();
    let shares: Vec<f64> = answers["shares"].as_array().unwrap().iter().map(|share| share.as_f64().unwrap()).collect();
    let (statistic, p) = chi_square(&shares, &counts).unwrap();
    assert!((statistic - answers["statistic"].as_f64().unwrap()).abs() < 1e-9);
    assert!((p - answers["p"].as_f64().unwrap()).abs() < 1e-9);
    // (0.75 − 0.5) ln 1.5 + (0.25 − 0.5) ln 0.5
    let by_hand = 0.25 * 1.5_f64.ln() + 0.25 * 2_f64.ln();
    assert!((psi(&[0.5, 0.5], &[75, 25]).unwrap() - by_hand).abs() < 1e-12);
    assert!((ks(&[0.25, 0.25, 0.5], &[50, 25, 25]).unwrap() - 0.25).abs() < 1e-12);
    assert_eq!(psi(&[1.0], &[0]), None);
}

proptest! {
    #[test]
    fn any_numbers_have_scores(values in prop::collection::vec(prop_oneof![any::<f64>(), -1.0..1.0_f64], 0..200)) {
        let cells: Vec<Value> = values.iter().map(|value| if value.is_finite() { Value::Number(*value) } else { Value::Missing }).collect();
        let found = number_outliers(&cells, &OutlierConfig::default());
        prop_assert!(found.iter().all(|outlier| outlier.row < cells.len()));
        let forest = ForestConfig { trees: 10, ..ForestConfig::default() };
        let all = row_outliers(&[cells], &OutlierConfig { isolation_min: 0.0, ..OutlierConfig::default() }, &forest).unwrap();
        prop_assert!(all.iter().all(|outlier| outlier.score > 0.0 && outlier.score <= 1.0));
    }
}
