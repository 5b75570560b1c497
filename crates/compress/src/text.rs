//! Two language models on the same text: their perplexity, how often they expect the same token, how
//! fast they write.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use base::{Context, Measure};
use dataset::{LanguageInfo, Split};
use infer::metrics::evaluate_language;
use infer::{Generator, Sampling};

use crate::rounds::{Speeds, race};
use crate::{Comparison, CompressError, ON_TRAIN, ON_VALID, noted};

/// Of a longer test split, only so many tokens are measured; a thousandth of the loss is settled by
/// far fewer.
const TOKENS_MAX: usize = 1 << 17;
/// How many tokens' probabilities are compared one by one.
const COMPARED_TOKENS: usize = 2048;
/// How many tokens one turn of a speed round writes.
const TURN_TOKENS: usize = 32;

/// The text that both models are judged on.
struct Text {
    tokens: Vec<u32>,
    documents: u64,
    bytes: u64,
    /// What stands behind each metric's method, where it is not the whole test split.
    note: Option<String>,
    split: Split,
}

/// Compares two models on the test split, or on the next that is not empty.
pub(crate) fn compare(
    context: &Context,
    before: &Generator,
    after: &Generator,
    dataset: &Path,
) -> Result<Comparison, CompressError> {
    let text = read(dataset, after)?;
    let count = text.tokens.len() as u64;
    let task = context.begin("compress", Some(2 * count), "tokens");
    let first = measure(context, before, &text, &|done| task.at(done))?;
    let second = measure(context, after, &text, &|done| task.at(count + done))?;
    task.say("measuring the speed");
    let others = agreement(context, before, after, &text.tokens)?;
    let speed = speed(context, [before, after])?;
    task.end(&format!("compared on {} tokens of the {} split", base::units::count(count), text.split.name()));
    Ok(Comparison { metrics: [first, second], confusion: BTreeMap::new(), speed: Some(speed), others })
}

fn read(dataset: &Path, model: &Generator) -> Result<Text, CompressError> {
    let info = LanguageInfo::load(dataset)?;
    let splits = [
        (Split::Test, info.bytes.test, info.documents.test, None),
        (Split::Valid, info.bytes.valid, info.documents.valid, Some(ON_VALID)),
        (Split::Train, info.bytes.train, info.documents.train, Some(ON_TRAIN)),
    ];
    for (split, bytes, documents, why) in splits {
        let mut tokens: Vec<u32> = dataset::read_tokens(dataset, split)?.iter().collect();
        if tokens.len() < 2 {
            continue;
        }
        let whole = tokens.len();
        let note = why.map(str::to_owned);
        if whole <= TOKENS_MAX {
            return Ok(Text { tokens, documents, bytes, note, split });
        }
        tokens.truncate(TOKENS_MAX);
        let end = model.tokenizer().end_of_text();
        let parts: Vec<&[u32]> = tokens.split(|token| *token == end).collect();
        let documents = parts.len() as u64;
        let bytes = parts.into_iter().map(|part| model.tokenizer().decode(part).len() as u64).sum();
        let note = format!(
            "the first {TOKENS_MAX} of {whole} tokens{}",
            note.map(|why| format!(" {why}")).unwrap_or_default()
        );
        return Ok(Text { tokens, documents, bytes, note: Some(note), split });
    }
    Err(CompressError::Unmeasured { what: "the dataset has no text".to_owned() })
}

/// The metrics of one model over the text, as training measured them.
fn measure(
    context: &Context,
    model: &Generator,
    text: &Text,
    tell: &dyn Fn(u64),
) -> Result<BTreeMap<String, Measure>, CompressError> {
    // Whole contexts at a time: `loss` cuts there as well, so the sum is that of one call.
    let piece = model.description().context * context.threads.max(1) * 4;
    let targets = text.tokens.len() - 1;
    let (mut nats, mut count) = (0.0, 0);
    for start in (0..targets).step_by(piece) {
        if context.stop.asked() {
            return Err(CompressError::Stopped);
        }
        let end = (start + piece).min(targets);
        let (sum, tokens) = model.loss(&text.tokens[start..=end]);
        nats += sum;
        count += tokens;
        tell(end as u64);
    }
    Ok(noted(evaluate_language(nats, count, text.bytes, text.documents), text.note.as_deref()))
}

/// How often both models hold the same token for the likeliest, and how far their probabilities lie
/// apart.
fn agreement(
    context: &Context,
    before: &Generator,
    after: &Generator,
    text: &[u32],
) -> Result<BTreeMap<String, Measure>, CompressError> {
    let (mut same, mut count, mut apart) = (0_u32, 0_u32, 0.0_f64);
    for piece in text[..text.len().min(COMPARED_TOKENS)].chunks(after.description().context) {
        if context.stop.asked() {
            return Err(CompressError::Stopped);
        }
        for (a, b) in before.logits(piece).iter().zip(after.logits(piece)) {
            let (a, b) = (probabilities(a), probabilities(&b));
            same += u32::from(likeliest(&a) == likeliest(&b));
            count += 1;
            apart = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(apart, f64::max);
        }
    }
    let mut found = BTreeMap::new();
    if count > 0 {
        let share = f64::from(same) / f64::from(count);
        let method = format!("share of {count} places with the same likeliest token");
        found.insert("agreement".to_owned(), Measure::measured(share, "", &method));
        let method = format!("largest difference of two probabilities at {count} places");
        found.insert("probability_difference_max".to_owned(), Measure::measured(apart, "", &method));
    }
    Ok(found)
}

fn probabilities(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let powers: Vec<f64> = logits.iter().map(|logit| f64::from(logit - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

fn likeliest(probabilities: &[f64]) -> Option<usize> {
    (0..probabilities.len()).max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]).then(b.cmp(a)))
}

/// Tokens a second that both models write from nothing.
fn speed(context: &Context, sides: [&Generator; 2]) -> Result<[Measure; 2], CompressError> {
    let max_tokens = TURN_TOKENS.min(sides[0].description().context.saturating_sub(1)).max(1);
    let mut seed = [0_u64; 2];
    let Speeds { per_second, rounds } = race(|side| {
        if context.stop.asked() {
            return Err(CompressError::Stopped);
        }
        // Both sides draw with the same seeds, so that their texts are of like length.
        seed[side] += 1;
        let sampling = Sampling { max_tokens, seed: seed[side], ..Sampling::default() };
        let completion = sides[side].complete("", &sampling, &mut |_| ControlFlow::Continue(()))?;
        Ok(completion.completion_tokens as u64 + 1)
    })?;
    let method =
        format!("median of {rounds} interleaved rounds, one completion of up to {max_tokens} tokens at a time");
    Ok(per_second.map(|speed| Measure::measured(speed, "tokens/s", &method)))
}
