//! Sketches: what they count, how small they stay, and that they add up in any order.

use base::ColumnType;

use super::*;
use crate::description::TextCleaning;

fn columns() -> Columns {
    let encodings = [
        ("age", ColumnType::Number, Encoding::Number { mean: 0.0, deviation: 1.0 }),
        ("plan", ColumnType::Category, Encoding::Category { labels: vec!["basic".into(), "pro".into()] }),
        ("active", ColumnType::Binary, Encoding::Binary { labels: ["no".into(), "yes".into()] }),
        ("text", ColumnType::Text, Encoding::Bag { word_ngrams: [1, 1], character_ngrams: [2, 2], buckets: 16 }),
    ];
    let input = |(name, column_type, encoding): (&str, _, _)| InputDescription {
        name: name.to_owned(),
        column_type,
        encoding,
        offset: 0,
    };
    let labels = (0..77).map(|label| format!("a rather long label {label:02}")).collect();
    let outputs = [
        ("intent", Target::Category { labels }),
        ("spam", Target::Binary { labels: ["no".into(), "yes".into()] }),
        ("value", Target::Number { mean: 0.0, deviation: 1.0 }),
    ];
    let output =
        |(name, target): (&str, _)| OutputDescription { name: name.to_owned(), target, weight: 1.0, squared: false };
    Columns {
        clean: TextCleaning { unicode: true, whitespace: true },
        inputs: encodings.into_iter().map(input).collect(),
        outputs: outputs.into_iter().map(output).collect(),
    }
}

fn row(number: usize) -> (Vec<Value>, Vec<Prediction>) {
    let plan = ["basic", "pro", "new"][number % 3];
    let row = vec![
        if number.is_multiple_of(10) { Value::Missing } else { Value::Number(number as f64) },
        Value::Text(plan.to_owned()),
        Value::Binary(number.is_multiple_of(4)),
        Value::Text(format!("word{} of some more words", number % 7)),
    ];
    let mut probabilities = vec![0.0; 77];
    probabilities[number % 77] = 0.8;
    let predictions = vec![
        Prediction::Category { label: number % 77, probabilities },
        Prediction::Binary { probability: (number % 10) as f32 / 10.0 },
        Prediction::Number { value: number as f32 / 2.0 },
    ];
    (row, predictions)
}

fn observe(mut sketch: Sketch, rows: std::ops::Range<usize>) -> Sketch {
    for number in rows {
        let (row, predictions) = row(number);
        sketch.observe(&row, &predictions);
    }
    sketch
}

fn baseline() -> Sketch {
    observe(Sketch::new(&columns()), 0..2000)
}

fn counts(sketch: &ColumnSketch, feature: &str) -> Vec<u64> {
    sketch.feature(feature).unwrap().counts()
}

#[test]
fn every_column_is_counted() {
    let traffic = observe(Sketch::like(&baseline()), 0..100);
    let [age, plan, active, text] = traffic.inputs.as_slice() else { panic!("four inputs") };
    assert_eq!((traffic.rows, age.missing, plan.missing), (100, 10, 0));
    assert_eq!(counts(age, "value").iter().sum::<u64>(), 90);
    assert_eq!(counts(age, "value")[1], 90);
    assert_eq!(counts(plan, "label"), [34, 33, 33]);
    assert_eq!(counts(active, "label"), [75, 25, 0]);
    assert_eq!(counts(text, "characters").iter().sum::<u64>(), 100);
    assert_eq!(counts(text, "new_words").iter().sum::<u64>(), 100);
    let [intent, spam, value] = traffic.outputs.as_slice() else { panic!("three outputs") };
    assert_eq!(counts(intent, "label")[..3], [2, 2, 2]);
    assert_eq!(counts(intent, "confidence")[16], 100);
    assert_eq!(counts(spam, "label"), [50, 50, 0]);
    assert_eq!(counts(spam, "probability").iter().sum::<u64>(), 100);
    assert_eq!(counts(value, "value")[1], 100);
}

#[test]
fn the_baseline_says_how_many_new_words_are_usual() {
    let mut baseline = Sketch::new(&columns());
    let text = |text: &str| vec![Value::Missing, Value::Missing, Value::Missing, Value::Text(text.to_owned())];
    for number in 0..400 {
        // Three words that every row has, and one that none has.
        baseline.observe(&text(&format!("my card is n{number}")), &[]);
    }
    let mut traffic = Sketch::like(&baseline);
    for _ in 0..10 {
        traffic.observe(&text("wholly other language"), &[]);
    }
    let new_words = |sketch: &Sketch| match sketch.inputs[3].feature("new_words").unwrap() {
        Distribution::Histogram(histogram) => (histogram.edges(), histogram.counts()),
        Distribution::Labels { .. } => panic!("a histogram"),
    };
    // The baseline is settled in what is made from it.
    let written: Sketch = serde_json::from_str(&serde_json::to_string(&baseline).unwrap()).unwrap();
    let (edges, shares) = new_words(&written);
    assert_eq!((edges[0], shares.iter().sum::<u64>()), (0.25, 200));
    let (_, shares) = new_words(&traffic);
    assert_eq!(shares.last(), Some(&10));
}

#[test]
fn text_is_counted_as_the_model_reads_it() {
    let baseline = baseline();
    let count = |plan: &str| {
        let mut traffic = Sketch::like(&baseline);
        traffic.observe(&[Value::Missing, Value::Text(plan.to_owned())], &[]);
        counts(&traffic.inputs[1], "label")
    };
    assert_eq!(count(" pro\n"), count("pro"));
    assert_eq!(count("Pro"), [0, 0, 1]);
}

#[test]
fn wrong_types_count_as_missing() {
    let mut traffic = Sketch::like(&baseline());
    let wrong = [Value::Text("x".into()), Value::Number(1.0), Value::Text("yes".into()), Value::Binary(true)];
    traffic.observe(&wrong, &[]);
    traffic.observe(&[Value::Number(f64::NAN)], &[]);
    assert_eq!(traffic.inputs.iter().map(|input| input.missing).collect::<Vec<_>>(), [2, 1, 0, 1]);
    // A truth value may come as the source writes it.
    assert_eq!(counts(&traffic.inputs[2], "label"), [0, 1, 0]);
}

#[test]
fn sketches_add_up_in_any_order() {
    let baseline = baseline();
    let part = |rows| observe(Sketch::like(&baseline), rows);
    let (a, b, c) = (part(0..50), part(50..333), part(333..1000));
    let sum = |parts: &[&Sketch]| {
        let mut sum = Sketch::like(&baseline);
        parts.iter().for_each(|part| sum.merge(part).unwrap());
        sum
    };
    let whole = part(0..1000);
    assert_eq!(sum(&[&a, &b, &c]), whole);
    assert_eq!(sum(&[&sum(&[&c, &b]), &a]), whole);
    assert_eq!(sum(&[&b, &sum(&[&a, &c])]), whole);
    let other = Sketch::like(&observe(Sketch::new(&columns()), 0..30));
    let mut sum = whole.clone();
    assert!(sum.merge(&other).is_err());
    assert_eq!(sum, whole);
}

#[test]
fn they_are_small_and_survive_a_file() {
    let baseline = baseline();
    let json = serde_json::to_string(&baseline).unwrap();
    assert!(json.len() < 40_000, "{} bytes", json.len());
    let read: Sketch = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), json);
    let traffic = observe(Sketch::like(&baseline), 0..100);
    assert_eq!(observe(Sketch::like(&read), 0..100), traffic);
    let written = serde_json::to_string(&traffic).unwrap();
    assert!(written.len() < 10_000, "{} bytes", written.len());
    let read: Sketch = serde_json::from_str(&written).unwrap();
    let mut sum = Sketch::like(&baseline);
    sum.merge(&read).unwrap();
    assert_eq!(sum.rows, 100);
}

#[test]
fn a_language_model_has_prompts_and_completions() {
    let mut baseline = Sketch::language();
    for _ in 0..10 {
        baseline.observe_text("春眠不覺曉", "處處聞啼鳥。夜來風雨聲，花落知多少。");
    }
    let mut traffic = Sketch::like(&baseline);
    traffic.observe_text("hello", "");
    assert_eq!(counts(&traffic.inputs[0], "characters"), [0, 1, 0]);
    assert_eq!(counts(&traffic.outputs[0], "characters"), [1, 0, 0]);
    assert_eq!(traffic.rows, 1);
}

#[test]
fn rubbish_in_a_file_does_not_panic() {
    let empty = r#"{"rows":1,"clean":{"unicode":true,"whitespace":true},"inputs":[{"name":"a","missing":0,"features":[
        {"name":"label","counts":{"labels":{"labels":[],"counts":[]}}}]}],"outputs":[]}"#;
    let mut sketch: Sketch = serde_json::from_str(empty).unwrap();
    sketch.observe(&[Value::Text("x".into())], &[Prediction::Number { value: 1.0 }]);
    sketch.observe(&[Value::Binary(true)], &[]);
    let rubbish = r#"{"rows":1,"clean":{"unicode":true,"whitespace":true},"inputs":[{"name":"a","missing":0,"features":[
        {"name":"value","counts":{"histogram":{"edges":[3.0,1.0],"counts":[1]}}}]}],"outputs":[]}"#;
    let mut sketch: Sketch = serde_json::from_str(rubbish).unwrap();
    sketch.observe(&[Value::Number(2.0)], &[]);
    assert_eq!(counts(&sketch.inputs[0], "value"), [1, 1, 0]);
}
