//! Metrics against numbers computed by hand and by scikit-learn's definitions.

use super::*;
use crate::description::TextCleaning;

fn output(name: &str, target: Target) -> OutputDescription {
    OutputDescription { name: name.to_owned(), target, weight: 1.0, squared: false }
}

fn columns(outputs: Vec<OutputDescription>) -> Columns {
    Columns { clean: TextCleaning { unicode: true, whitespace: true }, inputs: Vec::new(), outputs }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
}

fn category_rows(rows: &[(&str, [f32; 3])]) -> (Vec<Vec<Prediction>>, Vec<Vec<Value>>) {
    rows.iter()
        .map(|(truth, probabilities)| {
            let label = crate::predict::largest(probabilities);
            let prediction = Prediction::Category { label, probabilities: probabilities.to_vec() };
            (vec![prediction], vec![Value::Text((*truth).to_owned())])
        })
        .unzip()
}

#[test]
fn categories_by_hand() {
    let columns = columns(vec![output("intent", Target::Category { labels: names(&["a", "b", "c"]) })]);
    let (predictions, truths) = category_rows(&[
        ("a", [0.5, 0.25, 0.25]),
        ("a", [0.25, 0.5, 0.25]),
        ("b", [0.25, 0.5, 0.25]),
        ("new", [0.0, 0.0, 1.0]),
    ]);
    let evaluation = evaluate(&columns, &predictions, &truths);
    let value = |name: &str| evaluation.metrics[name].value;
    close(value("accuracy"), 0.5);
    // F1: a 2/3, b 2/3, c 0, new 0.
    close(value("macro_f1"), 1.0 / 3.0);
    // -ln 0.5, -ln 0.25, -ln 0.5, -ln 2^-23.
    close(value("log_loss"), (1.0 + 2.0 + 1.0 + 23.0) * std::f64::consts::LN_2 / 4.0);
    close(value("examples"), 4.0);
    let confusion = &evaluation.confusion["intent"];
    assert_eq!(confusion.labels, names(&["a", "b", "c", UNSEEN]));
    assert_eq!(confusion.matrix, [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]);
}

#[test]
fn a_right_answer_to_an_unseen_label_is_impossible() {
    let columns = columns(vec![output("intent", Target::Category { labels: names(&["a", "b", "c"]) })]);
    let (predictions, truths) = category_rows(&[("x", [1.0, 0.0, 0.0]), ("y", [0.0, 1.0, 0.0])]);
    let evaluation = evaluate(&columns, &predictions, &truths);
    close(evaluation.metrics["accuracy"].value, 0.0);
    close(evaluation.metrics["macro_f1"].value, 0.0);
}

#[test]
fn binary_with_ties_by_hand() {
    let labels = ["no".to_owned(), "yes".to_owned()];
    let columns = columns(vec![output("spam", Target::Binary { labels })]);
    let rows = [(0.1_f32, false), (0.4, false), (0.4, true), (0.8, true), (0.9, false)];
    let predictions: Vec<_> = rows.iter().map(|(p, _)| vec![Prediction::Binary { probability: *p }]).collect();
    let truths: Vec<_> = rows.iter().map(|(_, truth)| vec![Value::Binary(*truth)]).collect();
    let evaluation = evaluate(&columns, &predictions, &truths);
    let value = |name: &str| evaluation.metrics[name].value;
    // Pairs (true, false): 0.4 beats 0.1, ties 0.4, loses to 0.9; 0.8 beats two of three: 3.5 / 6.
    close(value("roc_auc"), 3.5 / 6.0);
    close(value("accuracy"), 0.6);
    // no: 2·2/(3+3), yes: 2·1/(2+2).
    close(value("macro_f1"), (2.0 / 3.0 + 0.5) / 2.0);
    assert_eq!(evaluation.confusion["spam"].matrix, [[2, 1], [1, 1]]);
}

#[test]
fn the_area_needs_both_classes() {
    let labels = ["no".to_owned(), "yes".to_owned()];
    let columns = columns(vec![output("spam", Target::Binary { labels })]);
    let evaluation = evaluate(&columns, &[vec![Prediction::Binary { probability: 0.7 }]], &[vec![Value::Binary(true)]]);
    assert!(!evaluation.metrics.contains_key("roc_auc"));
    close(evaluation.metrics["accuracy"].value, 1.0);
}

#[test]
fn numbers_as_scikit_learn_documents_them() {
    // The example of sklearn.metrics.r2_score: 0.948608137.
    let columns = columns(vec![output("y", Target::Number { mean: 0.0, deviation: 1.0 })]);
    let rows = [(2.5_f32, 3.0), (0.0, -0.5), (2.0, 2.0), (8.0, 7.0)];
    let predictions: Vec<_> = rows.iter().map(|(value, _)| vec![Prediction::Number { value: *value }]).collect();
    let mut truths: Vec<_> = rows.iter().map(|(_, truth)| vec![Value::Number(*truth)]).collect();
    let evaluation = evaluate(&columns, &predictions, &truths);
    let value = |name: &str| evaluation.metrics[name].value;
    close(value("r2"), 0.948_608_137);
    close(value("mae"), 0.5);
    close(value("rmse"), 0.375_f64.sqrt());
    truths[3] = vec![Value::Missing];
    let evaluation = evaluate(&columns, &predictions, &truths);
    close(evaluation.metrics["mae"].value, 1.0 / 3.0);
    assert!(evaluation.metrics["mae"].method.contains("3 rows"));
}

#[test]
fn a_constant_truth_has_no_spread() {
    let columns = columns(vec![output("y", Target::Number { mean: 0.0, deviation: 1.0 })]);
    let truths = vec![vec![Value::Number(1.0)]; 2];
    let predict = |values: [f32; 2]| values.map(|value| vec![Prediction::Number { value }]).to_vec();
    close(evaluate(&columns, &predict([1.0, 1.0]), &truths).metrics["r2"].value, 1.0);
    close(evaluate(&columns, &predict([1.0, 2.0]), &truths).metrics["r2"].value, 0.0);
}

#[test]
fn several_outputs_have_their_names_before_their_metrics() {
    let labels = ["no".to_owned(), "yes".to_owned()];
    let columns = columns(vec![
        output("a", Target::Binary { labels }),
        output("b", Target::Number { mean: 0.0, deviation: 1.0 }),
    ]);
    let row = vec![Prediction::Binary { probability: 0.7 }, Prediction::Number { value: 1.0 }];
    let truth = vec![Value::Binary(true), Value::Number(1.0)];
    let evaluation = evaluate(&columns, &[row.clone(), row], &[truth.clone(), truth]);
    assert_eq!(primary(&evaluation.metrics), [("a.accuracy".to_owned(), true), ("b.r2".to_owned(), true)]);
    assert_eq!(evaluation.metrics["examples"].value, 2.0);
}

#[test]
fn no_rows_give_no_metrics() {
    let columns = columns(vec![output("intent", Target::Category { labels: names(&["a", "b", "c"]) })]);
    let evaluation = evaluate(&columns, &[], &[]);
    assert_eq!(evaluation.metrics.keys().collect::<Vec<_>>(), ["examples"]);
}

#[test]
fn language_by_hand() {
    // Every one of 8 tokens has probability 1/4; 4 bytes: 4 bits a byte.
    let metrics = evaluate_language(8.0 * 4.0_f64.ln(), 8, 4, 2);
    close(metrics["perplexity"].value, 4.0);
    close(metrics["bits_per_byte"].value, 4.0);
    close(metrics["loss"].value, 4.0_f64.ln());
    assert_eq!(primary(&metrics), [("perplexity".to_owned(), false)]);
    assert_eq!(evaluate_language(0.0, 0, 0, 0).len(), 1);
}
