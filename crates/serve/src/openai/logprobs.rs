//! Log-probabilities in the two shapes that OpenAI has for them.

use infer::sampling::Choice;
use infer::tokenizer::TextTokenizer;
use serde_json::{Map, Value as Json, json};

use crate::model::Loaded;

/// The least that is told: JSON has no infinity.
const LEAST: f32 = -9999.0;

fn tokenizer(loaded: &Loaded) -> Option<&TextTokenizer> {
    match (loaded.text_model(), loaded.generator()) {
        (Some(model), _) => Some(model.engine.tokenizer()),
        (None, Some(generator)) => Some(generator.tokenizer()),
        (None, None) => None,
    }
}

fn bytes_of(loaded: &Loaded, token: u32) -> &[u8] {
    tokenizer(loaded).map_or(&[], |tokenizer| tokenizer.token_bytes(token))
}

fn text_of(loaded: &Loaded, token: u32) -> String {
    String::from_utf8_lossy(bytes_of(loaded, token)).into_owned()
}

/// One token as chat completions and responses have it.
pub(crate) fn chat(loaded: &Loaded, choice: &Choice) -> Json {
    let one = |token: u32, value: f32| json!({ "token": text_of(loaded, token), "logprob": value.max(LEAST), "bytes": bytes_of(loaded, token) });
    let mut told = one(choice.token, choice.logprob.unwrap_or(LEAST));
    told["top_logprobs"] = choice.likeliest.iter().map(|likely| one(likely.token, likely.value)).collect();
    told
}

/// Tokens as completions have them; `offset` is where the first of them stands in the text, in characters.
pub(crate) fn completion(loaded: &Loaded, choices: &[Choice], offset: &mut usize) -> Json {
    let mut offsets = Vec::with_capacity(choices.len());
    let mut tokens = Vec::with_capacity(choices.len());
    for choice in choices {
        let text = text_of(loaded, choice.token);
        offsets.push(*offset);
        *offset += text.chars().count();
        tokens.push(text);
    }
    let likeliest = |choice: &Choice| -> Json {
        let one = |likely: &infer::sampling::LogProbability| {
            (text_of(loaded, likely.token), Json::from(likely.value.max(LEAST)))
        };
        Json::Object(choice.likeliest.iter().map(one).collect::<Map<_, _>>())
    };
    json!({
        "text_offset": offsets,
        "token_logprobs": choices.iter().map(|choice| choice.logprob.unwrap_or(LEAST).max(LEAST)).collect::<Vec<_>>(),
        "tokens": tokens,
        "top_logprobs": choices.iter().map(likeliest).collect::<Vec<_>>(),
    })
}
