//! Compares everything about one document with datatrove's answer: shared by the golden test and `signals_check`.

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use signals::{
    C4Config, C4ParagraphRule, C4Rule, FineWebRule, GopherQualityRule, GopherRepetitionRule, LanguageModel,
    LanguageRule, MeasureConfig, Rule, Scratch, Signals, c4_clean, measure_with,
};
use words::Language;

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What differs from datatrove's answer, each with a name.
pub fn differences(
    text: &str,
    answer: &Value,
    model: Option<&Arc<LanguageModel>>,
    scratch: &mut Scratch,
) -> Vec<String> {
    let mut out = Vec::new();
    let mut config = MeasureConfig { language_model: model.cloned(), ..MeasureConfig::default() };
    let signals = measure_with(text, &config, scratch).expect("short enough");
    let mut decide = |name: &str, rule: Rule, signals: &Signals, theirs: &Value| {
        let mine = rule.decide(signals).map(|reason| reason.reason);
        if mine != theirs.as_str() {
            out.push(format!("{name}: {mine:?}, not {theirs}"));
        }
        mine.is_none()
    };
    decide("repetition", Rule::GopherRepetition(GopherRepetitionRule::default()), &signals, &answer["repetition"]);
    decide("quality", Rule::GopherQuality(GopherQualityRule::default()), &signals, &answer["quality"]);
    decide("fineweb", Rule::FineWeb(FineWebRule::default()), &signals, &answer["fineweb"]);
    decide("paragraph", Rule::C4Paragraph(C4ParagraphRule::default()), &signals, &answer["paragraph"]);
    let kept = decide("c4", Rule::C4(C4Rule::default()), &signals, &answer["c4"][0]);
    let after = Rule::FineWeb(FineWebRule { after_c4: true, ..FineWebRule::default() });
    if kept {
        decide("fineweb after c4", after.clone(), &signals, &answer["c4"][2]);
    }
    config.c4.filter_no_terminal_punctuation = false;
    let any_end = measure_with(text, &config, scratch).expect("short enough");
    let kept_any = decide("c4 any end", Rule::C4(C4Rule::default()), &any_end, &answer["c4_any_end"][0]);
    if kept_any {
        decide("fineweb after c4 any end", after, &any_end, &answer["c4_any_end"][2]);
    }
    for (kept, name, c4) in [(kept, "c4", C4Config::default()), (kept_any, "c4_any_end", config.c4.clone())] {
        if !kept {
            continue;
        }
        let clean = c4_clean(text, &c4, Language::English, scratch).expect("short enough").expect("kept");
        if answer[name][1] != digest(&clean.text) {
            out.push(format!("{name}: another text, {:?}", clean.text));
        }
    }
    numbers(&signals, &answer["numbers"], &mut out);
    if model.is_some() && !answer["language"].is_null() {
        language(&signals, &answer["language"], &mut out);
    }
    out
}

fn numbers(signals: &Signals, theirs: &Value, out: &mut Vec<String>) {
    let number = |index: usize| theirs[index].as_f64().expect("a number");
    let ratio = |part: usize, whole: usize| if number(whole) == 0.0 { 0.0 } else { number(part) / number(whole) };
    let pairs = [
        ("characters", signals.characters as f64, number(0)),
        ("words", signals.words as f64, number(1)),
        ("real words", signals.real_words as f64, number(2)),
        ("mean length", signals.mean_word_length, ratio(3, 2)),
        ("paragraph characters", signals.duplicate_paragraph_characters_ratio, ratio(5, 0)),
        ("line characters", signals.duplicate_line_characters_ratio, ratio(7, 0)),
        ("top 2", signals.top_2_gram_ratio, ratio(8, 0)),
        ("top 3", signals.top_3_gram_ratio, ratio(9, 0)),
        ("top 4", signals.top_4_gram_ratio, ratio(10, 0)),
        ("duplicate 5", signals.duplicate_5_gram_ratio, ratio(11, 0)),
        ("duplicate 6", signals.duplicate_6_gram_ratio, ratio(12, 0)),
        ("duplicate 7", signals.duplicate_7_gram_ratio, ratio(13, 0)),
        ("duplicate 8", signals.duplicate_8_gram_ratio, ratio(14, 0)),
        ("duplicate 9", signals.duplicate_9_gram_ratio, ratio(15, 0)),
        ("duplicate 10", signals.duplicate_10_gram_ratio, ratio(16, 0)),
        ("alphabetic", signals.alphabetic_words_ratio, ratio(17, 1)),
    ];
    for (name, mine, theirs) in pairs {
        if mine != theirs {
            out.push(format!("{name}: {mine}, not {theirs}"));
        }
    }
}

/// fastText sums in another order: probabilities agree to 1e-4.
fn language(signals: &Signals, theirs: &Value, out: &mut Vec<String>) {
    let probability = signals.language_probability.unwrap_or(0.0);
    let close = |mine: f64, theirs: &Value| theirs.as_f64().is_some_and(|theirs| (mine - theirs).abs() < 1e-4);
    if signals.language() != theirs[0].as_str() || !close(probability, &theirs[1]) {
        out.push(format!("language: {:?} {probability}, not {theirs}", signals.language()));
    }
    let english = signals.probability_of("en");
    let unlisted = english == 0.0 && theirs[2].as_f64().is_some_and(|theirs| theirs < 0.0051);
    if !(unlisted || close(english, &theirs[2])) {
        out.push(format!("English: {english}, not {theirs}"));
    }
    let rule = LanguageRule { languages: vec!["en".to_owned()], ..LanguageRule::default() };
    if Rule::Language(rule).decide(signals).is_none() != theirs[3].as_bool().unwrap_or(false) {
        out.push(format!("English or not: {english}, not {theirs}"));
    }
}
