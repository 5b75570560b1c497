//! Agreement against scikit-learn, statsmodels, the package krippendorff and the paper.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;

use labels::agreement::{
    Weights, cohen_kappa, cohen_kappa_interval, count_ratings, fleiss_kappa, fleiss_kappa_interval,
};
use labels::bootstrap::BootstrapConfig;
use labels::krippendorff::{Level, krippendorff_alpha, krippendorff_alpha_interval};
use proptest::prelude::*;
use serde_json::Value as Json;

fn golden() -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/agreement.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list<T: serde::de::DeserializeOwned>(value: &Json) -> Vec<T> {
    serde_json::from_value(value.clone()).unwrap()
}

fn close(ours: f64, theirs: &Json) {
    assert!((ours - theirs.as_f64().unwrap()).abs() < 1e-9, "{ours} is not {theirs}");
}

const LEVELS: [(&str, Level); 4] =
    [("nominal", Level::Nominal), ("ordinal", Level::Ordinal), ("interval", Level::Interval), ("ratio", Level::Ratio)];

#[test]
fn cohen_as_scikit_learn_and_fleiss_as_statsmodels() {
    let golden = golden();
    let (first, second): (Vec<u32>, Vec<u32>) = (list(&golden["first"]), list(&golden["second"]));
    for (name, weights) in [("None", Weights::None), ("linear", Weights::Linear), ("quadratic", Weights::Quadratic)] {
        close(cohen_kappa(&first, &second, weights).unwrap(), &golden["cohen"][name]);
    }
    close(fleiss_kappa(&list::<Vec<u32>>(&golden["counts"])).unwrap(), &golden["fleiss"]);
}

#[test]
fn alpha_as_the_package_krippendorff() {
    let golden = golden();
    for case in golden["krippendorff"].as_array().unwrap() {
        let units: Vec<Vec<Option<f64>>> = list(&case["units"]);
        for (name, level) in LEVELS {
            close(krippendorff_alpha(&units, level).unwrap(), &case["alpha"][name]);
        }
    }
}

#[test]
fn alpha_as_printed_in_the_paper() {
    // Krippendorff 2011, section C: nominal .743, ordinal .815, interval .849, ratio .797.
    let golden = golden();
    let units: Vec<Vec<Option<f64>>> = list(&golden["krippendorff"][2]["units"]);
    for ((_, level), printed) in LEVELS.into_iter().zip([0.743, 0.815, 0.849, 0.797]) {
        let alpha = krippendorff_alpha(&units, level).unwrap();
        assert!((alpha - printed).abs() < 6e-4, "{level:?} {alpha}");
    }
}

#[test]
fn intervals_hold_the_estimate_and_repeat() {
    let golden = golden();
    let (first, second): (Vec<u32>, Vec<u32>) = (list(&golden["first"]), list(&golden["second"]));
    let config = BootstrapConfig { resamples: 400, ..BootstrapConfig::default() };
    let kappa = cohen_kappa_interval(&first, &second, Weights::None, &config).unwrap();
    assert!(kappa.low < kappa.estimate && kappa.estimate < kappa.high && kappa.resamples == 400);
    // The large-sample standard error of kappa at n = 120 and kappa near 0.6 is about 0.05.
    assert!((0.12..0.32).contains(&(kappa.high - kappa.low)), "{kappa:?}");
    assert_eq!(kappa, cohen_kappa_interval(&first, &second, Weights::None, &config).unwrap());
    let other = BootstrapConfig { seed: 1, ..config };
    assert_ne!(kappa, cohen_kappa_interval(&first, &second, Weights::None, &other).unwrap());
    let fleiss = fleiss_kappa_interval(&list::<Vec<u32>>(&golden["counts"]), &config).unwrap();
    assert!(fleiss.low < fleiss.estimate && fleiss.estimate < fleiss.high);
    let units: Vec<Vec<Option<f64>>> = list(&golden["krippendorff"][0]["units"]);
    let alpha = krippendorff_alpha_interval(&units, Level::Ordinal, &config).unwrap();
    assert!(alpha.low < alpha.estimate && alpha.estimate < alpha.high);
    assert!(fleiss_kappa_interval(&[vec![1, 1]], &BootstrapConfig { resamples: 0, ..config }).is_err());
    assert!(fleiss_kappa_interval(&[vec![1, 1]], &BootstrapConfig { level: f64::NAN, ..config }).is_err());
}

#[test]
fn what_has_no_agreement_is_an_error() {
    assert!(cohen_kappa(&[], &[], Weights::None).is_err());
    assert!(cohen_kappa(&[1, 1], &[1, 1], Weights::Linear).is_err());
    assert!(cohen_kappa(&[1], &[1, 2], Weights::None).is_err());
    assert!(cohen_kappa(&[u32::MAX], &[1], Weights::None).is_err());
    assert!(fleiss_kappa(&[]).is_err());
    assert!(fleiss_kappa(&[vec![2, 0], vec![2, 0]]).is_err());
    assert!(fleiss_kappa(&[vec![2, 0], vec![1, 0]]).is_err());
    assert!(fleiss_kappa(&[vec![1, 0], vec![0, 1]]).is_err());
    assert!(krippendorff_alpha(&[], Level::Nominal).is_err());
    assert!(krippendorff_alpha(&[vec![Some(1.0), None]], Level::Nominal).is_err());
    assert!(krippendorff_alpha(&[vec![Some(1.0), Some(f64::NAN)]], Level::Nominal).is_err());
    assert!(krippendorff_alpha(&[vec![Some(-1.0), Some(2.0)]], Level::Ratio).is_err());
    let many: Vec<Vec<Option<f64>>> = (0..3000).map(|n| vec![Some(f64::from(n)), Some(0.0)]).collect();
    assert!(krippendorff_alpha(&many, Level::Interval).is_err());
    assert!(count_ratings(&[vec![1 << 20]]).is_err());
    assert_eq!(count_ratings(&[vec![0, 2, 2], vec![1, 1, 1]]).unwrap(), [[1, 0, 2], [0, 3, 0]]);
}

proptest! {
    #[test]
    fn agreement_is_at_most_one_and_perfect_for_equals(ratings in prop::collection::vec(0_u32..4, 2..40)) {
        prop_assume!(ratings.iter().any(|rating| *rating != ratings[0]));
        for weights in [Weights::None, Weights::Linear, Weights::Quadratic] {
            prop_assert!((cohen_kappa(&ratings, &ratings, weights).unwrap() - 1.0).abs() < 1e-12);
            let reversed: Vec<u32> = ratings.iter().rev().copied().collect();
            let there = cohen_kappa(&ratings, &reversed, weights).unwrap();
            let back = cohen_kappa(&reversed, &ratings, weights).unwrap();
            prop_assert!(there <= 1.0 + 1e-12 && (there - back).abs() < 1e-12);
        }
        let units: Vec<Vec<Option<f64>>> = ratings.iter().map(|&r| vec![Some(f64::from(r)); 3]).collect();
        for (_, level) in LEVELS {
            prop_assert!((krippendorff_alpha(&units, level).unwrap() - 1.0).abs() < 1e-12);
        }
        let counts = count_ratings(&ratings.iter().map(|&r| vec![r; 3]).collect::<Vec<_>>()).unwrap();
        prop_assert!((fleiss_kappa(&counts).unwrap() - 1.0).abs() < 1e-12);
    }
}
