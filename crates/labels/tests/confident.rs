//! Label errors against cleanlab, and properties of what is listed.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;

use labels::confident::{ConfidentConfig, Filter, Ranking, confident_joint, find_label_issues};
use labels::multilabel::find_multilabel_issues;
use labels::regression::find_number_issues;
use labels::{LabelsError, Probabilities};
use proptest::prelude::*;
use serde_json::Value as Json;

fn golden(name: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list<T: serde::de::DeserializeOwned>(value: &Json) -> Vec<T> {
    serde_json::from_value(value.clone()).unwrap()
}

fn filter(name: &str) -> Filter {
    match name {
        "prune_by_noise_rate" => Filter::PruneByNoiseRate,
        "prune_by_class" => Filter::PruneByClass,
        "both" => Filter::Both,
        "confident_learning" => Filter::ConfidentLearning,
        "predicted_neq_given" => Filter::PredictedNotGiven,
        _ => panic!("{name}"),
    }
}

#[test]
fn cleanlab_lists_the_same_rows_in_the_same_order() {
    let mut compared = 0;
    for case in golden("confident.json").as_array().unwrap() {
        let name = &case["name"];
        let labels: Vec<u32> = list(&case["labels"]);
        let classes = case["classes"].as_u64().unwrap() as usize;
        let probabilities = Probabilities::new(classes, list(&case["probabilities"])).unwrap();
        let joint = confident_joint(&labels, &probabilities).unwrap();
        for (ours, theirs) in joint.thresholds.iter().zip(list::<f64>(&case["thresholds"])) {
            assert!((ours - theirs).abs() < 1e-12, "{name}");
        }
        assert_eq!(joint.counts, list::<u64>(&case["counts"]), "{name}");
        assert_eq!(joint.calibrated, list::<u64>(&case["calibrated"]), "{name}");
        for (key, issues) in case["issues"].as_object().unwrap() {
            let parts: Vec<&str> = key.split('/').collect();
            let ranking =
                if parts[1] == "self_confidence" { Ranking::SelfConfidence } else { Ranking::NormalisedMargin };
            let config = ConfidentConfig {
                filter: filter(parts[0]),
                ranking,
                noise_share: parts[2].parse().unwrap(),
                ..ConfidentConfig::default()
            };
            let ours = find_label_issues(&labels, &probabilities, &config).unwrap();
            let rows: Vec<usize> = ours.iter().map(|issue| issue.row).collect();
            assert_eq!(rows, list::<usize>(issues), "{name} {key}");
            compared += rows.len();
        }
    }
    assert!(compared > 1000);
}

#[test]
fn cleanlab_lists_the_same_rows_where_several_labels_hold() {
    let case = golden("multilabel.json");
    let classes = case["classes"].as_u64().unwrap() as usize;
    let probabilities = Probabilities::independent(classes, list(&case["probabilities"])).unwrap();
    let labels: Vec<Vec<u32>> = list(&case["labels"]);
    for (name, rows) in case["issues"].as_object().unwrap() {
        let config = ConfidentConfig { filter: filter(name), ..ConfidentConfig::default() };
        let issues = find_multilabel_issues(&labels, &probabilities, &config).unwrap();
        assert!(issues.windows(2).all(|pair| pair[0].score <= pair[1].score));
        let mut ours: Vec<usize> = issues.iter().map(|issue| issue.row).collect();
        ours.sort_unstable();
        assert_eq!(ours, list::<usize>(rows), "{name}");
    }
}

#[test]
fn a_wild_number_is_found() {
    let given: Vec<f64> = (0..100).map(|row| f64::from(row) + if row == 42 { 50.0 } else { 0.0 }).collect();
    let predicted: Vec<f64> = (0..100).map(|row| f64::from(row) + f64::from(row * 7 % 5) - 2.0).collect();
    let issues = find_number_issues(&given, &predicted, 3.5).unwrap();
    assert_eq!(issues.iter().map(|issue| issue.row).collect::<Vec<_>>(), [42]);
    // Residuals −1..2 around a median of 0 with a MAD of 1; row 42 predicts 42 + 4 − 2.
    assert!((issues[0].score - 0.6745 * 48.0).abs() < 1e-9, "{}", issues[0].score);
    assert!(find_number_issues(&given, &given, 3.5).unwrap().is_empty());
    assert!(find_number_issues(&[1.0], &[f64::NAN], 3.5).is_err());
    assert!(find_number_issues(&[1.0], &[], 3.5).is_err());
}

#[test]
fn what_is_no_matrix_of_probabilities_is_refused() {
    assert!(Probabilities::new(2, vec![0.5, 0.5, 0.5]).is_err());
    assert!(Probabilities::new(0, vec![]).is_err());
    assert!(Probabilities::new(2, vec![0.9, 0.9]).is_err());
    assert!(Probabilities::new(2, vec![f64::NAN, 0.5]).is_err());
    assert!(Probabilities::new(2, vec![-0.5, 1.5]).is_err());
    let one = Probabilities::new(2, vec![0.5, 0.5]).unwrap();
    assert!(matches!(confident_joint(&[2], &one), Err(LabelsError::Input { .. })));
    assert!(confident_joint(&[0, 1], &one).is_err());
    let config = ConfidentConfig { noise_share: f64::NAN, ..ConfidentConfig::default() };
    assert!(find_label_issues(&[0], &one, &config).is_err());
}

fn matrices() -> impl Strategy<Value = (usize, Vec<u32>, Vec<f64>)> {
    (1_usize..6, 0_usize..60).prop_flat_map(|(classes, rows)| {
        (
            Just(classes),
            prop::collection::vec(0..classes as u32, rows),
            prop::collection::vec(0.0_f64..1.0, rows * classes),
        )
    })
}

proptest! {
    #[test]
    fn any_matrix_gives_issues_that_hold_together((classes, labels, mut values) in matrices(), least in 0_u32..4) {
        for row in values.chunks_exact_mut(classes) {
            let sum: f64 = row.iter().sum::<f64>().max(1e-9);
            row.iter_mut().for_each(|value| *value /= sum);
            if row.iter().sum::<f64>() < 0.5 {
                row.fill(1.0 / classes as f64);
            }
        }
        let probabilities = Probabilities::new(classes, values).unwrap();
        let joint = confident_joint(&labels, &probabilities).unwrap();
        for class in 0..classes {
            let rows = labels.iter().filter(|&&label| label as usize == class).count() as u64;
            prop_assert_eq!(joint.calibrated[class * classes..][..classes].iter().sum::<u64>(), rows);
        }
        let find = |filter| {
            let config = ConfidentConfig { filter, examples_per_class_min: least, ..ConfidentConfig::default() };
            find_label_issues(&labels, &probabilities, &config).unwrap()
        };
        let both: Vec<usize> = find(Filter::Both).iter().map(|issue| issue.row).collect();
        let rate = find(Filter::PruneByNoiseRate);
        prop_assert!(rate.windows(2).all(|pair| pair[0].score <= pair[1].score));
        prop_assert!(rate.iter().all(|issue| issue.given != issue.suggested));
        prop_assert!(both.iter().all(|row| rate.iter().any(|issue| issue.row == *row)));
        for class in 0..classes as u32 {
            let all = labels.iter().filter(|&&label| label == class).count();
            let listed = find(Filter::PruneByClass).iter().filter(|issue| issue.given == class).count();
            prop_assert!(all - listed >= all.min(least as usize));
        }
    }
}
