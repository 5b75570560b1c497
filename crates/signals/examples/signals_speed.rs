//! How fast the web recipe decides: `signals_speed CORPUS.jsonl LID_MODEL [MEGABYTES]` prints one JSON line, megabytes
//! of UTF-8 text a second on one core for all signals, language and decision; the median of five passes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use signals::{LanguageModel, MeasureConfig, Recipe, Scratch, measure_with};

#[allow(clippy::print_stdout, reason = "an example's whole purpose")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [corpus, model, rest @ ..] = arguments.as_slice() else { return Err("a corpus and a model wanted".into()) };
    let limit = rest.first().map_or(Ok(20.0), |text| text.parse::<f64>())? * 1e6;
    let mut texts = Vec::new();
    let mut bytes = 0;
    for line in BufReader::new(std::fs::File::open(corpus)?).lines() {
        let row: serde_json::Value = serde_json::from_str(&line?)?;
        let text = row["text"].as_str().unwrap_or_default().to_owned();
        bytes += text.len();
        texts.push(text);
        if bytes as f64 > limit {
            break;
        }
    }
    let megabytes = bytes as f64 / 1e6;
    let recipe = Recipe::web();
    let without = recipe.measure_config();
    let with =
        MeasureConfig { language_model: Some(Arc::new(LanguageModel::read(Path::new(model))?)), ..without.clone() };
    let mut scratch = Scratch::default();
    let mut speed = |config: &MeasureConfig| {
        let mut kept = 0;
        let mut speeds = Vec::new();
        for _ in 0..5 {
            let start = Instant::now();
            kept = texts
                .iter()
                .filter(|text| {
                    measure_with(text, config, &mut scratch).is_ok_and(|found| recipe.decide(&found).is_none())
                })
                .count();
            speeds.push(megabytes / start.elapsed().as_secs_f64());
        }
        speeds.sort_by(f64::total_cmp);
        (speeds[2], kept)
    };
    let (all, kept) = speed(&with);
    let (no_language, _) = speed(&without);
    println!(
        "{{\"mb_per_second\": {all:.1}, \"without_language\": {no_language:.1}, \"kept\": {kept}, \"documents\": {}, \"megabytes\": {megabytes:.1}}}",
        texts.len()
    );
    Ok(())
}
