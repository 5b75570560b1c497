//! The sketches against exact answers, and merging in any grouping.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod table;

use std::collections::HashMap;

use base::{ColumnType, Value};
use proptest::prelude::*;
use tables::distinct::Distinct;
use tables::frequent::{Frequent, KEPT};
use tables::moments::Moments;
use tables::quantiles::{Quantiles, RANK_ERROR};
use tables::{Profile, dates};

/// The largest difference between a quantile's true rank and the wanted one, as a share.
fn rank_error(sketch: &Quantiles, mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    let shares: Vec<f64> = (0..=200).map(|share| f64::from(share) / 200.0).collect();
    let answers = sketch.at(&shares).unwrap();
    let error = |(share, answer): (&f64, &f64)| {
        let below = values.partition_point(|value| value < answer) as f64 / count;
        let upto = values.partition_point(|value| value <= answer) as f64 / count;
        (below - share).max(share - upto).max(0.0)
    };
    shares.iter().zip(&answers).map(error).fold(0.0, f64::max)
}

fn streams() -> Vec<(&'static str, Vec<f64>)> {
    let mut draw = table::noise(3);
    let count = 100_000;
    vec![
        ("rising", (0..count).map(f64::from).collect()),
        ("falling", (0..count).rev().map(f64::from).collect()),
        ("uniform", (0..count).map(|_| draw()).collect()),
        ("heavy tail", (0..count).map(|_| 1.0 / (draw() + 1e-9)).collect()),
        ("few values", (0..count).map(|_| (draw() * 10.0).floor()).collect()),
        ("saw", (0..count).map(|n| f64::from(n % 1000)).collect()),
    ]
}

#[test]
fn quantiles_stay_within_the_stated_error_and_in_memory() {
    for (name, values) in streams() {
        let mut whole = Quantiles::default();
        values.iter().for_each(|value| whole.push(*value));
        let error = rank_error(&whole, values.clone());
        assert!(error <= RANK_ERROR, "{name}: {error}");
        // Merged from 37 parts, in one order and in pairs.
        let mut parts: Vec<Quantiles> = values
            .chunks(values.len() / 36)
            .map(|part| {
                let mut sketch = Quantiles::default();
                part.iter().for_each(|value| sketch.push(*value));
                sketch
            })
            .collect();
        let mut chain = Quantiles::default();
        parts.iter().for_each(|part| chain.merge(part));
        while parts.len() > 1 {
            parts = parts
                .chunks(2)
                .map(|pair| {
                    pair[1..].iter().fold(pair[0].clone(), |mut a, b| {
                        a.merge(b);
                        a
                    })
                })
                .collect();
        }
        for merged in [&chain, &parts[0]] {
            assert_eq!(merged.count(), values.len() as u64);
            let error = rank_error(merged, values.clone());
            assert!(error <= RANK_ERROR, "{name} merged: {error}");
            let shares = merged.shares_upto(&[f64::INFINITY]).unwrap();
            assert_eq!(shares, [1.0], "{name}: weights add up to the count");
        }
    }
}

#[test]
fn small_streams_have_exact_quantiles() {
    let mut sketch = Quantiles::default();
    assert_eq!(sketch.at(&[0.5]), None);
    (0..=500).rev().for_each(|n| sketch.push(f64::from(n)));
    sketch.push(f64::NAN);
    assert_eq!(sketch.at(&[0.0, 0.25, 0.5, 1.0]).unwrap(), [0.0, 125.0, 250.0, 500.0]);
    assert_eq!(sketch.shares_upto(&[-1.0, 250.0, 1e9]).unwrap(), [0.0, 251.0 / 501.0, 1.0]);
}

#[test]
fn distinct_counts_stay_within_three_standard_errors() {
    let mut sketch = Distinct::default();
    let mut checked = 0;
    for n in 0..300_000_u32 {
        sketch.push(&Value::Number(f64::from(n)));
        sketch.push(&Value::Number(f64::from(n / 2)));
        if [10, 1000, 4096, 5000, 20_000, 70_000, 150_000, 299_999].contains(&n) {
            let (truth, count) = (f64::from(n) + 1.0, sketch.count() as f64);
            assert!(((count - truth) / truth).abs() <= 3.0 * 0.0081, "{count} for {truth}");
            assert!(!sketch.is_exact() || count == truth);
            checked += 1;
        }
    }
    assert_eq!(checked, 8);
    let mut texts = Distinct::default();
    (0..50_000).for_each(|n| texts.push(&Value::Text(format!("row {n}"))));
    assert!((texts.count() as f64 / 50_000.0 - 1.0).abs() < 0.025, "{}", texts.count());
}

fn numbers() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(prop_oneof![(-1e6_f64..1e6), (0_u32..5).prop_map(f64::from)], 0..300)
}

proptest! {
    #[test]
    fn moments_as_computed_plainly_however_grouped(a in numbers(), b in numbers(), c in numbers()) {
        let of = |values: &[f64]| { let mut m = Moments::default(); values.iter().for_each(|v| m.push(*v)); m };
        let (mut left, mut right) = (of(&a), of(&b));
        left.merge(&of(&b));
        left.merge(&of(&c));
        right.merge(&of(&c));
        let mut first = of(&a);
        first.merge(&right);
        let all: Vec<f64> = a.iter().chain(&b).chain(&c).copied().collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        for merged in [left, first] {
            prop_assert_eq!(merged.count(), all.len() as u64);
            prop_assert_eq!(merged.largest(), all.iter().copied().reduce(f64::max));
            if all.len() > 1 {
                let variance = all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (all.len() - 1) as f64;
                prop_assert!((merged.mean().unwrap() - mean).abs() < 1e-6);
                prop_assert!((merged.deviation().unwrap() - variance.sqrt()).abs() < 1e-6 * (1.0 + variance.sqrt()));
            }
        }
    }

    #[test]
    fn frequent_counts_are_short_by_the_error_at_most(
        skewed in prop::collection::vec((0_u32..60).prop_map(|n| n * n), 0..4000), spread in 0_u32..4000, cut in 0_usize..4000
    ) {
        let all: Vec<u32> = skewed.iter().copied().chain((0..spread).map(|n| 10_000 + n)).collect();
        let of = |values: &[u32]| { let mut s = Frequent::default(); values.iter().for_each(|v| s.push(&Value::Number(f64::from(*v)))); s };
        let (left, right) = all.split_at(cut.min(all.len()));
        let mut merged = of(left);
        merged.merge(&of(right));
        let mut exact: HashMap<String, u64> = HashMap::new();
        all.iter().for_each(|value| *exact.entry(value.to_string()).or_default() += 1);
        for sketch in [of(&all), merged] {
            prop_assert_eq!(sketch.total(), all.len() as u64);
            prop_assert!(sketch.error() <= all.len() as u64 / (KEPT as u64 + 1));
            let top: HashMap<&str, u64> = sketch.top().into_iter().collect();
            prop_assert!(top.len() <= KEPT);
            for (value, count) in &exact {
                let seen = top.get(value.as_str()).copied().unwrap_or(0);
                prop_assert!(seen <= *count && *count <= seen + sketch.error());
            }
        }
    }

    #[test]
    fn distinct_sketches_merge_exactly(sizes in prop::collection::vec(0_u32..6000, 3), shift in 0_u32..4000) {
        let of = |index: u32| { let mut d = Distinct::default(); (0..sizes[index as usize]).for_each(|n| d.push(&Value::Number(f64::from(n + index * shift)))); d };
        let (mut left, mut right) = (of(0), of(1));
        left.merge(&of(1));
        left.merge(&of(2));
        right.merge(&of(2));
        let mut first = of(0);
        first.merge(&right);
        prop_assert_eq!(&left, &first);
        let mut whole = of(2);
        (0..2).for_each(|index| (0..sizes[index as usize]).for_each(|n| whole.push(&Value::Number(f64::from(n + index * shift)))));
        prop_assert_eq!(left, whole);
    }

    #[test]
    fn any_text_may_be_no_date(text in "\\PC*") {
        let _ = dates::seconds(&text);
    }

    #[test]
    fn dates_are_shown_as_they_are_read(seconds in -60_000_000_000_i64..250_000_000_000) {
        prop_assert_eq!(dates::seconds(&dates::show(seconds)), Some(seconds));
    }
}

#[test]
fn dates_as_the_calendar_has_them() {
    for (text, seconds) in [
        ("1970-01-01", Some(0)),
        ("2000-02-29", Some(951_782_400)),
        ("2026/11/26", Some(1_795_651_200)),
        ("2024年5月6日", Some(1_714_953_600)),
        ("2024-05-06T08:00:00+08:00", Some(1_714_953_600)),
        ("2024-05-06 00:00:01.500Z", Some(1_714_953_601)),
        ("2024-5-6 0:30", Some(1_714_955_400)),
        ("2023-02-29", None),
        ("2024-13-01", None),
        ("2024-05/06", None),
        ("05/06/2024", None),
        ("20240506", None),
        ("2024-05-06T25:00", None),
        ("2024-05-06x", None),
        ("12345678", None),
        ("1234年", None),
    ] {
        assert_eq!(dates::seconds(text), seconds, "{text}");
    }
}

#[test]
fn a_real_table_is_profiled_the_same_in_parts() {
    let Some(table) = table::adult() else { return };
    let part = |from: usize, to: usize| {
        let mut profile = Profile::new(&table.schema()).unwrap();
        let columns: Vec<Vec<Value>> = table.columns.iter().map(|column| column[from..to].to_vec()).collect();
        profile.push(&columns).unwrap();
        profile
    };
    let whole = part(0, table.rows());
    let mut merged = part(0, 10_000);
    merged.merge(&part(10_000, 10_001)).unwrap();
    merged.merge(&part(10_001, table.rows())).unwrap();
    assert_eq!(whole.rows, 32_561);
    for (a, b) in whole.columns.iter().zip(&merged.columns) {
        assert_eq!(
            (a.count, a.missing, a.whole, &a.distinct),
            (b.count, b.missing, b.whole, &b.distinct),
            "{}",
            a.name
        );
        assert!((a.numbers.mean().unwrap_or(0.0) - b.numbers.mean().unwrap_or(0.0)).abs() < 1e-6);
    }
    // Published for UCI Adult's training file: mean age 38.58, deviation 13.64; 24,720 of at most 50K.
    let age = whole.column("age").unwrap();
    assert!((age.numbers.mean().unwrap() - 38.581_647).abs() < 1e-5);
    assert!((age.numbers.deviation().unwrap() - 13.640_433).abs() < 1e-5);
    assert_eq!(whole.column("income-per-year").unwrap().frequent.top()[0], ("<=50K", 24_720));
    assert!(whole.column("fnlwgt").unwrap().distinct.count().abs_diff(21_648) < 500);
    let shares: f64 = age.histogram(20).iter().map(|bin| bin.2).sum();
    assert!((shares - 1.0).abs() < 1e-9);
    assert!(merged.merge(&Profile::new(&[("x", ColumnType::Text)]).unwrap()).is_err());
    assert!(Profile::new(&[("x", ColumnType::Text), ("x", ColumnType::Text)]).is_err());
    assert!(merged.push(&[vec![]]).is_err());
}
