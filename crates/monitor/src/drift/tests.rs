use base::{ColumnType, Value};
use infer::description::{Columns, Encoding, InputDescription, OutputDescription, Target, TextCleaning};
use infer::predict::Prediction;

use super::*;

/// Numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.uniform() * end as f64) as usize
    }
}

/// How traffic differs from training.
#[derive(Clone, Copy, Default)]
struct Shift {
    number: f64,
    /// Added to the probability of the first label.
    label: f64,
    missing: f64,
    new_words: f64,
    confidence: f64,
}

const LABELS: usize = 8;

fn columns() -> Columns {
    let labels = |count: usize| (0..count).map(|index| format!("label {index}")).collect::<Vec<_>>();
    let input =
        |name: &str, column_type, encoding| InputDescription { name: name.into(), column_type, encoding, offset: 0 };
    let bag = Encoding::Bag { word_ngrams: [1, 1], character_ngrams: [2, 2], buckets: 16 };
    Columns {
        clean: TextCleaning { unicode: true, whitespace: true },
        inputs: vec![
            input("number", ColumnType::Number, Encoding::Number { mean: 0.0, deviation: 1.0 }),
            input("category", ColumnType::Category, Encoding::Category { labels: labels(LABELS) }),
            input("text", ColumnType::Text, bag),
        ],
        outputs: vec![OutputDescription {
            name: "answer".into(),
            target: Target::Category { labels: labels(LABELS) },
            weight: 1.0,
            squared: false,
        }],
    }
}

fn observe(sketch: &mut Sketch, rows: usize, seed: u64, shift: Shift) {
    let mut random = Random(seed);
    for _ in 0..rows {
        let missing = random.uniform() < 0.02 + shift.missing;
        let number = if missing { Value::Missing } else { Value::Number(random.normal() + shift.number) };
        let draw = |random: &mut Random| {
            if random.uniform() < shift.label { 0 } else { random.below(LABELS) }
        };
        let label = format!("label {}", draw(&mut random));
        let words: Vec<String> = (0..5 + random.below(10))
            .map(|_| {
                let new = if random.uniform() < shift.new_words { "new" } else { "word" };
                format!("{new}{}", random.below(200))
            })
            .collect();
        let answer = draw(&mut random);
        let mut probabilities = vec![0.0_f32; LABELS];
        probabilities[answer] = (random.uniform() * (1.0 - shift.confidence)) as f32;
        let row = [number, Value::Text(label), Value::Text(words.join(" "))];
        sketch.observe(&row, &[Prediction::Category { label: answer, probabilities }]);
    }
}

fn baseline(rows: usize, seed: u64) -> Sketch {
    let mut sketch = Sketch::new(&columns());
    observe(&mut sketch, rows, seed, Shift::default());
    // As it comes from a model's folder: writing settles what it chooses late.
    serde_json::from_value(serde_json::to_value(&sketch).unwrap()).unwrap()
}

fn traffic(baseline: &Sketch, rows: usize, seed: u64, shift: Shift) -> Vec<ColumnReport> {
    let mut sketch = Sketch::like(baseline);
    observe(&mut sketch, rows, seed, shift);
    compare_sketches(baseline, &sketch, &MonitorConfig::default())
}

fn feature<'a>(report: &'a [ColumnReport], column: &str, feature: &str) -> &'a FeatureReport {
    let column = report.iter().find(|one| one.column == column).unwrap();
    column.features.iter().find(|one| one.feature == feature).unwrap()
}

#[test]
fn the_same_distribution_is_stable_at_about_the_nominal_rate() {
    let runs = 200;
    let (mut below, mut changed, mut drifted) = (std::collections::BTreeMap::new(), 0, 0);
    for seed in 0..runs {
        let baseline = baseline(3000, 2 * seed + 1_000_000);
        let report = traffic(&baseline, 600, 2 * seed + 1, Shift::default());
        let worst = report.iter().map(|column| column.verdict).max().unwrap();
        changed += u32::from(worst > Verdict::Stable);
        drifted += u32::from(worst == Verdict::Drift);
        for column in &report {
            for feature in &column.features {
                let p_value = feature.test.unwrap().p_value;
                *below.entry(format!("{}.{}", column.column, feature.feature)).or_insert(0) +=
                    u32::from(p_value < 0.05);
            }
        }
    }
    // 10 of 200 are expected below 0.05; 0 to 23 is 4 standard deviations around it. The chi-square tests
    // must not be far below either: a test that never rejects is no test.
    assert!(below.values().all(|count| *count <= 23), "{below:?}");
    for exact in ["category.label", "answer.label"] {
        assert!(below[exact] >= 2, "{below:?}");
    }
    // Bonferroni bounds the chance of any change at 1 %: 2 of 200, and 8 at 4 standard deviations.
    assert!(changed <= 8, "{changed} of {runs} runs");
    assert_eq!(drifted, 0);
}

#[test]
fn shifts_are_drift_in_their_column_alone() {
    let baseline = baseline(5000, 1);
    let cases = [
        ("number", "value", Shift { number: 1.0, ..Shift::default() }),
        ("category", "label", Shift { label: 0.3, ..Shift::default() }),
        ("number", "missing", Shift { missing: 0.2, ..Shift::default() }),
        ("text", "new_words", Shift { new_words: 0.5, ..Shift::default() }),
        ("answer", "confidence", Shift { confidence: 0.5, ..Shift::default() }),
    ];
    for (column, name, shift) in cases {
        let report = traffic(&baseline, 500, 77, shift);
        let found = feature(&report, column, name);
        assert_eq!(found.verdict, Verdict::Drift, "{column}.{name}: {found:?}");
        assert!(found.reason.contains("PSI") && found.reason.contains("p = "), "{}", found.reason);
        for other in report.iter().filter(|other| other.column != column && other.column != "answer") {
            // The shift of labels moves the input and the output alike.
            assert_eq!(other.verdict, Verdict::Stable, "{column}.{name} moved {other:?}");
        }
    }
    let report = traffic(&baseline, 500, 77, Shift { missing: 0.2, ..Shift::default() });
    assert!((report[0].missing_before - 0.02).abs() < 0.01 && (report[0].missing_now - 0.22).abs() < 0.05);
}

#[test]
fn a_trifle_in_many_requests_is_slight() {
    let baseline = baseline(60_000, 1);
    let report = traffic(&baseline, 60_000, 2, Shift { number: 0.05, ..Shift::default() });
    let found = feature(&report, "number", "value");
    assert_eq!(found.verdict, Verdict::Slight, "{found:?}");
    assert!(found.psi < 0.01 && found.reason.contains("small"), "{found:?}");
}

#[test]
fn few_requests_and_many_labels_are_not_drift_by_chance() {
    let labels: Vec<String> = (0..77).map(|index| format!("label {index:02}")).collect();
    let one = |count: usize, seed: u64| {
        let mut random = Random(seed);
        let mut counts = vec![0; 77];
        (0..count).for_each(|_| counts[random.below(77)] += 1);
        Distribution::Labels { labels: labels.clone(), counts }
    };
    let mut report = compare_counts("label", &one(10_000, 1), &one(100, 2));
    judge(&mut report, 1, &MonitorConfig::default());
    assert!(report.psi > 0.2, "{report:?}");
    assert_eq!(report.verdict, Verdict::Stable, "{report:?}");
}

#[test]
fn p_values_are_corrected_for_the_number_of_tests() {
    let baseline = baseline(3000, 1);
    let report = traffic(&baseline, 600, 3, Shift::default());
    let features: Vec<&FeatureReport> = report.iter().flat_map(|column| &column.features).collect();
    assert_eq!(features.len(), 7, "{features:?}");
    for feature in &features {
        let (raw, corrected) = (feature.test.unwrap().p_value, feature.p_value_corrected.unwrap());
        assert!((corrected - (7.0 * raw).min(1.0)).abs() < 1e-12);
    }
}
