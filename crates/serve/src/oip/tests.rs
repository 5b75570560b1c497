use infer::description::{Columns, TextCleaning};

use super::*;

fn numbers_only(outputs: usize) -> PredictDescription {
    let output = |index| OutputDescription {
        name: format!("n{index}"),
        target: Target::Number { mean: 0.0, deviation: 1.0 },
        weight: 1.0,
        squared: false,
    };
    let clean = TextCleaning { unicode: true, whitespace: true };
    let columns = Columns { clean, inputs: vec![], outputs: (0..outputs).map(output).collect() };
    PredictDescription { columns, hidden: vec![], intercept: true }
}

/// Finite numbers of every size, from all bit patterns.
fn patterns(count: usize) -> impl Iterator<Item = f32> {
    let mut state = 1_u64;
    let random = std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from_bits((state >> 32) as u32)
    });
    let twice = f32::from_bits(TWICE_ROUNDED);
    let edges = [
        twice,
        -twice,
        0.0,
        -0.0,
        f32::MIN_POSITIVE,
        f32::from_bits(1),
        f32::MAX,
        f32::MIN,
        0.1,
        1.0 / 3.0,
        0.999_999_94,
    ];
    edges.into_iter().chain(random.filter(|number| number.is_finite())).take(count)
}

#[test]
fn numbers_survive_the_wire_bit_for_bit() {
    let sent: Vec<f32> = patterns(300_000).collect();
    let predictions: Vec<Vec<Prediction>> =
        sent.iter().map(|value| vec![Prediction::Number { value: *value }]).collect();
    let asked = Asked { id: None, rows: vec![], outputs: None, binary: false };
    let body = write(("bank", 1), &asked, outputs(&numbers_only(1), &asked, &predictions)).unwrap().body;
    let json: Json = serde_json::from_slice(&body).unwrap();
    let data = json["outputs"][0]["data"].as_array().unwrap();
    assert_eq!(data.len(), sent.len());
    for (text, number) in data.iter().zip(&sent) {
        let read = text.as_f64().unwrap() as f32;
        assert_eq!(read.to_bits(), number.to_bits(), "{text} for {number:?}");
    }
}

#[test]
fn the_number_that_is_written_longer_needs_it() {
    let number = f32::from_bits(TWICE_ROUNDED);
    let shortest: f64 = serde_json::from_str(&serde_json::to_string(&number).unwrap()).unwrap();
    assert_ne!((shortest as f32).to_bits(), TWICE_ROUNDED);
}

#[test]
fn outputs_come_in_the_order_of_the_request() {
    let predictions = vec![(0..3).map(|value| Prediction::Number { value: value as f32 }).collect::<Vec<_>>()];
    let wanted = |name: &str| WantedOutput { name: name.into(), binary: false };
    let asked = Asked { id: None, rows: vec![], outputs: Some(vec![wanted("n2"), wanted("n0")]), binary: false };
    let body = write(("bank", 1), &asked, outputs(&numbers_only(3), &asked, &predictions)).unwrap().body;
    let json: Json = serde_json::from_slice(&body).unwrap();
    let names: Vec<&str> = json["outputs"].as_array().unwrap().iter().map(|o| o["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["n2", "n0"]);
    assert_eq!(json["outputs"][0]["data"], json!([2.0]));
}

#[test]
fn commas_in_texts_are_no_values() {
    assert_eq!(commas(br#"[1,2,3]"#), 2);
    assert_eq!(commas(br#"["a,b","\",",","]"#), 2);
    assert_eq!(commas(br#"["\\",1]"#), 1);
    assert_eq!(commas(b"\","), 0);
}
