//! What is learned is what Hugging Face's trainers learn from the same texts.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::needless_pass_by_value, reason = "tests")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::{Oracle, beside, corpus, same};
use tokenizer::train::{Alphabet, Scheme, SplitPattern, Trainer, TrainerConfig};
use tokenizer::{Tokenizer, TokenizerError};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::models::unigram::UnigramTrainer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Model as _};

fn learn(config: &TrainerConfig, texts: &[String]) -> Tokenizer {
    let mut trainer = Trainer::new(config.clone()).unwrap();
    trainer.feed(texts).unwrap();
    trainer.finish(&mut |_| {}).unwrap()
}

/// Our file without what was learned, which their trainer then learns.
fn skeleton(ours: &Tokenizer, model: serde_json::Value) -> Oracle {
    let mut file: serde_json::Value = serde_json::from_str(ours.to_json()).unwrap();
    file["model"] = model;
    file["added_tokens"] = serde_json::json!([]);
    file["post_processor"] = serde_json::Value::Null;
    Oracle::from_bytes(file.to_string()).unwrap()
}

fn bpe_of_theirs(config: &TrainerConfig, ours: &Tokenizer, texts: &[String]) -> Oracle {
    let special: Vec<AddedToken> = config.special_tokens.iter().map(|token| AddedToken::from(token, true)).collect();
    let bytes = matches!(config.scheme, Scheme::Bpe { alphabet: Alphabet::Bytes { .. } });
    let unknown = if bytes { serde_json::Value::Null } else { config.special_tokens[0].clone().into() };
    let mut theirs =
        skeleton(ours, serde_json::json!({ "type": "BPE", "unk_token": unknown, "vocab": {}, "merges": [] }));
    let mut builder = BpeTrainer::builder()
        .vocab_size(config.vocabulary_size)
        .min_frequency(config.min_frequency)
        .max_token_length(config.max_token_length)
        .special_tokens(special)
        .show_progress(false);
    if bytes {
        builder = builder.initial_alphabet(ByteLevel::alphabet().into_iter().collect());
    }
    let mut trainer = TrainerWrapper::BpeTrainer(builder.build());
    theirs.train(&mut trainer, texts.iter()).unwrap();
    theirs
}

fn bytes(split: SplitPattern) -> Scheme {
    Scheme::Bpe { alphabet: Alphabet::Bytes { split } }
}

fn same_file(config: &TrainerConfig, texts: &[String]) {
    let ours = learn(config, texts);
    let theirs = bpe_of_theirs(config, &ours, texts);
    assert!(ours.to_json() == theirs.to_string(false).unwrap(), "{config:?}");
}

#[test]
fn bpe_of_bytes_is_theirs_to_the_byte() {
    let texts = corpus();
    for (vocabulary_size, min_frequency, split, special) in [
        (257, 0, SplitPattern::Gpt2, vec!["<|endoftext|>"]),
        (700, 1, SplitPattern::DeepSeek3, vec![]),
        (1500, 2, SplitPattern::Llama3, vec!["<|a|>", "<|b|>", "the"]),
        (4000, 5, SplitPattern::Qwen2, vec!["<|endoftext|>"]),
        (60_000, 0, SplitPattern::Gpt2, vec!["x"]),
    ] {
        let special_tokens = special.into_iter().map(str::to_owned).collect();
        let scheme = bytes(split);
        same_file(
            &TrainerConfig { scheme, vocabulary_size, min_frequency, special_tokens, ..TrainerConfig::default() },
            &texts,
        );
    }
}

#[test]
fn bpe_with_short_tokens_and_bpe_of_characters_are_theirs() {
    let texts = corpus();
    let special_tokens = vec!["<unk>".to_owned(), "<s>".to_owned()];
    for (scheme, max_token_length) in [
        (bytes(SplitPattern::Gpt2), Some(5)),
        (Scheme::Bpe { alphabet: Alphabet::Characters }, None),
        (Scheme::Bpe { alphabet: Alphabet::Characters }, Some(4)),
    ] {
        let config = TrainerConfig {
            scheme,
            vocabulary_size: 2000,
            special_tokens: special_tokens.clone(),
            max_token_length,
            ..TrainerConfig::default()
        };
        same_file(&config, &texts);
    }
}

#[test]
fn bpe_of_real_texts_is_theirs() {
    let (Some(shakespeare), Some(tang)) =
        (beside("shared/data/tinyshakespeare/input.txt"), beside("shared/data/tang/poems.jsonl"))
    else {
        return;
    };
    let lines = |path, most: usize| -> Vec<String> {
        std::fs::read_to_string(path).unwrap().split_inclusive('\n').take(most).map(str::to_owned).collect()
    };
    let scheme = bytes(SplitPattern::DeepSeek3);
    for (texts, vocabulary_size) in [(lines(shakespeare, 20_000), 5000), (lines(tang, 3000), 3000)] {
        same_file(&TrainerConfig { scheme: scheme.clone(), vocabulary_size, ..TrainerConfig::default() }, &texts);
    }
}

#[test]
fn files_of_every_scheme_encode_alike_in_both_libraries() {
    let texts = corpus();
    let special = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let bert = special(&["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]);
    for (scheme, special_tokens) in [
        (bytes(SplitPattern::Gpt2), special(&["<|endoftext|>"])),
        (bytes(SplitPattern::DeepSeek3), special(&["<|endoftext|>"])),
        (Scheme::Bpe { alphabet: Alphabet::Characters }, special(&["<unk>", "</s>"])),
        (Scheme::WordPiece { lowercase: true }, bert.clone()),
        (Scheme::WordPiece { lowercase: false }, bert),
        (Scheme::Unigram { max_piece_length: 16 }, special(&["<unk>", "<s>", "</s>"])),
    ] {
        let config = TrainerConfig { scheme, special_tokens, vocabulary_size: 1500, ..TrainerConfig::default() };
        let ours = learn(&config, &texts);
        let theirs = Oracle::from_bytes(ours.to_json()).unwrap();
        assert_eq!(ours.vocabulary_size(), theirs.get_vocab_size(true));
        for text in common::NASTY.iter().copied().chain(texts.iter().map(String::as_str)) {
            same(&ours, &theirs, text);
        }
    }
}

#[test]
fn neither_threads_nor_order_nor_memory_make_a_difference() {
    let texts = corpus();
    let base = TrainerConfig { vocabulary_size: 1200, ..TrainerConfig::default() };
    let unigram = TrainerConfig {
        scheme: Scheme::Unigram { max_piece_length: 8 },
        special_tokens: vec!["<unk>".to_owned()],
        ..base.clone()
    };
    // The second does not hold the words: some are left out, the same ones every time.
    for (config, memory_bytes_max) in [(&base, 1 << 30), (&base, 60_000), (&unigram, 1 << 30), (&unigram, 60_000)] {
        let config = TrainerConfig { memory_bytes_max, ..config.clone() };
        let one = learn(&TrainerConfig { threads: 1, ..config.clone() }, &texts);
        let mut reversed = texts.clone();
        reversed.reverse();
        let many = learn(&TrainerConfig { threads: 5, ..config.clone() }, &reversed);
        assert!(one.to_json() == many.to_json());
        let mut trainer = Trainer::new(TrainerConfig { threads: 2, ..config }).unwrap();
        trainer.feed_from(texts.iter().cycle().skip(7).take(texts.len())).unwrap();
        assert!(one.to_json() == trainer.finish(&mut |_| {}).unwrap().to_json());
    }
}

/// Tokens of a text, and the sum of their log probabilities.
fn measure(file: &str, texts: &[String]) -> (usize, f64) {
    let tokenizer = Tokenizer::from_json(file.to_owned()).unwrap();
    let file: serde_json::Value = serde_json::from_str(file).unwrap();
    let (mut count, mut sum) = (0, 0.0);
    for text in texts {
        let mut ids = Vec::new();
        tokenizer.encode(text, false, &mut ids).unwrap();
        count += ids.len();
        sum += ids.iter().map(|id| file["model"]["vocab"][*id as usize][1].as_f64().unwrap()).sum::<f64>();
    }
    (count, sum)
}

#[test]
fn a_unigram_model_is_as_likely_as_theirs() {
    // Texts that stay as they are: those of an example.
    let messages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/banking/data/train.csv");
    let texts: Vec<String> =
        std::fs::read_to_string(messages).unwrap().lines().take(10_000).map(str::to_owned).collect();
    let config = TrainerConfig {
        scheme: Scheme::Unigram { max_piece_length: 16 },
        special_tokens: vec!["<unk>".to_owned()],
        vocabulary_size: 1000,
        ..TrainerConfig::default()
    };
    let ours = learn(&config, &texts);
    let mut theirs = skeleton(&ours, serde_json::json!({ "type": "Unigram", "unk_id": null, "vocab": [] }));
    let trainer = UnigramTrainer::builder()
        .vocab_size(1000)
        .unk_token(Some("<unk>".to_owned()))
        .special_tokens(vec![AddedToken::from("<unk>", true)])
        .show_progress(false)
        .build()
        .unwrap();
    theirs.train(&mut TrainerWrapper::UnigramTrainer(trainer), texts.iter()).unwrap();
    let ours_measured = measure(ours.to_json(), &texts);
    let theirs_measured = measure(&theirs.to_string(false).unwrap(), &texts);
    let (vocabulary, other) = (theirs.get_model().get_vocab(), Oracle::from_bytes(ours.to_json()).unwrap());
    let common = other.get_model().get_vocab().keys().filter(|token| vocabulary.contains_key(*token)).count();
    println!(
        "tokens and log probability {ours_measured:?}, theirs {theirs_measured:?}; {common} of 1000 tokens in common"
    );
    // The likelihood, which is what is learned for, is theirs or better; the tokens may be a few more.
    assert!(ours_measured.1 > theirs_measured.1);
    assert!((ours_measured.0 as f64) < theirs_measured.0 as f64 * 1.03);
    assert!(common > 900, "{common}");
}

#[test]
fn settings_that_cannot_be_met_are_refused() {
    let base = TrainerConfig::default;
    let unigram = || Scheme::Unigram { max_piece_length: 16 };
    for config in [
        TrainerConfig { vocabulary_size: 0, ..base() },
        TrainerConfig { vocabulary_size: 255, ..base() },
        TrainerConfig { vocabulary_size: usize::MAX, ..base() },
        TrainerConfig { special_tokens: vec![String::new()], ..base() },
        TrainerConfig { special_tokens: vec!["a".to_owned(), "a".to_owned()], ..base() },
        TrainerConfig { scheme: unigram(), ..base() },
        TrainerConfig { scheme: Scheme::WordPiece { lowercase: true }, ..base() },
    ] {
        let error = Trainer::new(config).unwrap_err();
        assert!(matches!(error, TokenizerError::Settings { .. }) && error.hint().is_some(), "{error}");
    }
    let small =
        TrainerConfig { scheme: unigram(), vocabulary_size: 20, special_tokens: vec!["<unk>".to_owned()], ..base() };
    let mut trainer = Trainer::new(small).unwrap();
    trainer.feed(&corpus()).unwrap();
    assert!(matches!(trainer.finish(&mut |_| {}), Err(TokenizerError::Settings { .. })));
}

#[test]
fn a_training_stops_when_it_is_told_to() {
    let stop = Arc::new(AtomicBool::new(false));
    let mut trainer = Trainer::new(TrainerConfig::default()).unwrap().with_stop(stop.clone());
    trainer.feed(&corpus()).unwrap();
    let mut seen = 0;
    let result = trainer.finish(&mut |progress| {
        assert!(progress.done <= progress.total);
        seen += 1;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(matches!(result, Err(TokenizerError::Stopped)));
    assert_eq!(seen, 1);
    let mut trainer = Trainer::new(TrainerConfig::default()).unwrap().with_stop(stop);
    assert!(matches!(trainer.feed(&["a"]), Err(TokenizerError::Stopped)));
}

#[test]
fn no_text_gives_the_alphabet() {
    let ours = learn(&TrainerConfig::default(), &[]);
    assert_eq!(ours.vocabulary_size(), 256);
    let mut ids = Vec::new();
    ours.encode("天 a\0", false, &mut ids).unwrap();
    assert_eq!(ours.decode(&ids, false).unwrap(), "天 a\0");
}
