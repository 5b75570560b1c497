//! Finds flipped labels in banking77: `cargo run --release -p modelyard-labels --example labels_speed`.
//!
//! One label in twenty is replaced by another, drawn from a seed; the built-in cross-validation makes
//! the probabilities. Prints one JSON line with the seconds taken and the precision and recall. With a
//! path as argument, writes labels, flips and probabilities there for crates/xtask/peers/labels_speed.py.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use base::{ColumnType, Value};
use labels::{ConfidentConfig, CrossValidationConfig, Filter, cross_validate, find_label_issues};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/banking77");
    let (mut rows, mut names) = (Vec::new(), Vec::new());
    for file in ["train.csv", "test.csv"] {
        for record in csv::Reader::from_path(folder.join(file))?.records() {
            let record = record?;
            rows.push(vec![Value::Text(record[0].to_owned())]);
            names.push(record[1].to_owned());
        }
    }
    let mut classes = names.clone();
    classes.sort();
    classes.dedup();
    let truth: Vec<u32> =
        names.iter().map(|name| classes.binary_search(name).map_or(0, |index| index as u32)).collect();
    let mut state = 20_261_126_u64;
    let mut draw = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut labels = truth.clone();
    for label in &mut labels {
        if draw(20) == 0 {
            *label = (*label + 1 + draw(classes.len() as u64 - 1) as u32) % classes.len() as u32;
        }
    }
    let begin = Instant::now();
    let config = CrossValidationConfig::default();
    let probabilities = cross_validate(&[ColumnType::Text], &rows, &labels, classes.len(), &config)?;
    let seconds = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let mut found = String::new();
    for (name, filter) in [
        ("prune_by_noise_rate", Filter::PruneByNoiseRate),
        ("both", Filter::Both),
        ("confident_learning", Filter::ConfidentLearning),
    ] {
        let issues =
            find_label_issues(&labels, &probabilities, &ConfidentConfig { filter, ..ConfidentConfig::default() })?;
        let hits = issues.iter().filter(|issue| labels[issue.row] != truth[issue.row]).count();
        let mended = issues
            .iter()
            .filter(|issue| labels[issue.row] != truth[issue.row] && issue.suggested == truth[issue.row])
            .count();
        let flips = labels.iter().zip(&truth).filter(|(a, b)| a != b).count();
        write!(
            found,
            r#","{name}":{{"issues":{},"precision":{:.4},"recall":{:.4},"suggestion_right":{:.4},"sum":{}}}"#,
            issues.len(),
            hits as f64 / issues.len() as f64,
            hits as f64 / flips as f64,
            mended as f64 / hits.max(1) as f64,
            // A checksum of rows in their order, for the comparison with cleanlab.
            issues.iter().enumerate().map(|(index, issue)| (index + 1) * issue.row).sum::<usize>()
        )?;
    }
    let find_seconds = begin.elapsed().as_secs_f64();
    let right = (0..labels.len()).filter(|&row| probabilities.best(row) == truth[row] as usize).count();
    let log_loss =
        (0..labels.len()).map(|row| -probabilities.row(row)[truth[row] as usize].max(1e-12).ln()).sum::<f64>();
    if let Some(path) = std::env::args().nth(1) {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        file.write_all(&(labels.len() as u64).to_le_bytes())?;
        file.write_all(&(classes.len() as u64).to_le_bytes())?;
        for values in [&labels, &truth] {
            for value in values {
                file.write_all(&u64::from(*value).to_le_bytes())?;
            }
        }
        for value in probabilities.values() {
            file.write_all(&value.to_le_bytes())?;
        }
    }
    let line = format!(
        r#"{{"rows":{},"classes":{},"threads":{},"cross_validate_seconds":{seconds:.3},"find_seconds":{find_seconds:.4},"accuracy":{:.4},"log_loss":{:.4}{found}}}"#,
        rows.len(),
        classes.len(),
        rayon::current_num_threads(),
        right as f64 / labels.len() as f64,
        log_loss / labels.len() as f64
    );
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
