use std::sync::atomic::AtomicBool;

use tokenizers::models::TrainerWrapper;
use tokenizers::models::wordpiece::WordPieceTrainer;
use tokenizers::{AddedToken, Model as _};

use super::*;

/// Hugging Face numbers continuing characters in the order of a hash map, another one in every run, and numbers decide
/// between equal counts. Given the order of a run, everything else has to follow.
#[test]
fn word_pieces_are_those_of_a_run_of_theirs() {
    let mut texts: Vec<&str> = vec![
        include_str!("mod.rs"),
        include_str!("merges.rs"),
        include_str!("unigram.rs"),
        include_str!("words.rs"),
        "床前明月光，疑是地上霜。舉頭望明月，低頭思故鄉。 Été naïve ÀÉ",
    ];
    texts.extend(include_str!("scheme.rs").lines());
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    for (vocabulary_size, min_frequency) in [(400, 0), (900, 2), (2000, 3)] {
        let config = TrainerConfig {
            scheme: Scheme::WordPiece { lowercase: true },
            special_tokens: special.map(str::to_owned).to_vec(),
            vocabulary_size,
            min_frequency,
            ..TrainerConfig::default()
        };
        let mut theirs: tokenizers::Tokenizer = tokenizers::Tokenizer::from_bytes(json_of(
            &config,
            &serde_json::json!({
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": {},
            }),
        ))
        .unwrap();
        let trainer = WordPieceTrainer::builder()
            .vocab_size(vocabulary_size)
            .min_frequency(min_frequency)
            .special_tokens(special.iter().map(|token| AddedToken::from(*token, true)).collect())
            .show_progress(false)
            .build();
        theirs.train(&mut TrainerWrapper::WordPieceTrainer(trainer), texts.iter()).unwrap();
        let mut wanted: Vec<(u32, String)> =
            theirs.get_model().get_vocab().into_iter().map(|(t, id)| (id, t)).collect();
        wanted.sort();
        let continuing: Vec<char> = wanted
            .iter()
            .filter_map(|(_, token)| {
                let mut rest = token.strip_prefix("##")?.chars();
                rest.next().filter(|_| rest.next().is_none())
            })
            .collect();
        let mut trainer = Trainer::new(config.clone()).unwrap();
        trainer.feed(&texts).unwrap();
        trainer.words.finish().unwrap();
        let stop = AtomicBool::new(false);
        let mut watch = Watch { progress: &mut |_| {}, stop: &stop };
        let learned = pieces::learn_tokens(trainer.words, 0, &config, false, "##", &continuing, &mut watch).unwrap();
        let wanted: Vec<String> = wanted.into_iter().map(|(_, token)| token).collect();
        assert_eq!(learned.tokens, wanted);
    }
}

fn json_of(config: &TrainerConfig, model: &Value) -> String {
    let mut file: Value = serde_json::from_str(&scheme::file(config, model)).unwrap();
    file["added_tokens"] = serde_json::json!([]);
    file["post_processor"] = Value::Null;
    file.to_string()
}
