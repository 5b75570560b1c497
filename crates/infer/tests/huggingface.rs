//! Folders of Hugging Face's against what `transformers` computes (`crates/xtask/peers/huggingface_golden.py`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;

use infer::engine::{
    Batch, EngineConfig, Event, Forward, Opened, PackedDecoder, Packing, Part, Request, open, open_decoder,
};
use infer::formats::safetensors::{Safetensors, View};
use infer::formats::vocabulary::Vocabulary;
use infer::weights::Tensor;
use infer::{InferError, Sampling};
use kernels::quantised::Format;
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

const POSITIONS: usize = 32;
const NAMES: [&str; 5] = ["llama", "mistral", "qwen2", "qwen3", "gpt2"];
const CONFIG: EngineConfig = EngineConfig {
    step_rows_max: 16,
    sequences_max: 4,
    waiting_max: 8,
    page_positions: POSITIONS,
    pages: 8,
    guesses_max: 2,
    context: 1000,
};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/huggingface").join(name)
}

fn golden(name: &str) -> Json {
    serde_json::from_slice(&std::fs::read(folder(name).join("golden.json")).unwrap()).unwrap()
}

fn numbers(json: &Json) -> Vec<u32> {
    json.as_array().unwrap().iter().map(|token| token.as_u64().unwrap() as u32).collect()
}

/// Logits of some rows of tokens that begin at a position.
fn logits(decoder: &mut PackedDecoder, tokens: &[u32], position: usize, wanted: &[usize]) -> Vec<Vec<f32>> {
    let pages = (0..(position + tokens.len()).div_ceil(POSITIONS) as u32).collect();
    let part = Part { rows: 0..tokens.len(), position, pages };
    let batch = Batch { tokens: tokens.to_vec(), parts: vec![part], wanted: wanted.to_vec() };
    let vocabulary = decoder.sizes().vocabulary;
    decoder.forward(&batch).chunks_exact(vocabulary).map(<[f32]>::to_vec).collect()
}

fn best(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32
}

/// The largest difference from the golden logits, of the largest of them.
fn difference(name: &str, folder: &Path, packing: Packing) -> f64 {
    let golden = golden(name);
    let mut decoder = open_decoder(folder, packing, 4, POSITIONS).unwrap();
    let places: Vec<usize> = numbers(&golden["places"]).into_iter().map(|place| place as usize).collect();
    let found = logits(&mut decoder, &numbers(&golden["prompt"]), 0, &places);
    let (mut off, mut largest) = (0.0_f64, 0.0_f64);
    for (found, expected) in found.iter().zip(golden["logits"].as_array().unwrap()) {
        for (found, expected) in found.iter().zip(expected.as_array().unwrap()) {
            let expected = expected.as_f64().unwrap();
            off = off.max((f64::from(*found) - expected).abs());
            largest = largest.max(expected.abs());
        }
    }
    off / largest
}

#[test]
fn logits_are_those_of_transformers() {
    for name in NAMES {
        let off = difference(name, &folder(name), Packing::Exact);
        println!("{name}: {off:.1e}");
        // What meets bf16 is rounded to bf16.
        assert!(off < if name == "qwen2" { 4e-2 } else { 1e-3 }, "{name}: {off}");
    }
    // The same weights in f32, which nothing is rounded for.
    let copy = changed("qwen2", |_| {});
    let mut tensors = BTreeMap::new();
    for (name, View { shape, encoding, bytes, .. }) in Safetensors::open(&folder("qwen2")).unwrap().tensors() {
        let mut values = vec![0.0; shape.iter().product()];
        encoding.unwrap().dequantise(&mut values, bytes);
        tensors.insert(name.to_owned(), Tensor::f32(shape.to_vec(), values));
    }
    infer::weights::write(&copy.path().join("model.safetensors"), &tensors).unwrap();
    let off = difference("qwen2", copy.path(), Packing::Exact);
    println!("qwen2 in f32: {off:.1e}");
    assert!(off < 1e-3, "{off}");
}

#[test]
fn rounded_weights_are_near() {
    for name in NAMES {
        for (format, most) in [(Format::Q8_0, 0.1), (Format::Q4_0, 1.0)] {
            let off = difference(name, &folder(name), Packing::Blocks(format));
            println!("{name} {format:?}: {off:.1e}");
            assert!(off > 1e-4 && off < most, "{name} {format:?}: {off}");
        }
    }
}

#[test]
fn greedy_tokens_are_those_of_transformers() {
    for name in NAMES {
        let golden = golden(name);
        let (prompt, follows) = (numbers(&golden["prompt"]), numbers(&golden["follows"]));
        let mut decoder = open_decoder(&folder(name), Packing::Exact, 4, POSITIONS).unwrap();
        let mut next = best(&logits(&mut decoder, &prompt, 0, &[prompt.len() - 1])[0]);
        for (place, expected) in follows.iter().enumerate() {
            assert_eq!(next, *expected, "{name}, token {place}");
            next = best(&logits(&mut decoder, &[next], prompt.len() + place, &[0])[0]);
        }
    }
}

#[test]
fn ids_are_those_of_transformers() {
    for name in ["llama", "qwen2"] {
        let vocabulary = Vocabulary::of_folder(&folder(name), 288).unwrap();
        for case in golden(name)["texts"].as_array().unwrap() {
            let (text, ids) = (case["text"].as_str().unwrap(), numbers(&case["ids"]));
            assert_eq!(vocabulary.encode(text, true).unwrap(), ids, "{name}: {text:?}");
            // The text of a user plays no role.
            let plain = vocabulary.encode(text, false).unwrap();
            let bytes: Vec<u8> = plain.iter().flat_map(|token| vocabulary.token_bytes(*token)).copied().collect();
            let back = String::from_utf8(bytes).unwrap();
            assert_eq!(back.strip_prefix(if name == "llama" { " " } else { "" }).unwrap_or(&back), text, "{name}");
        }
    }
    let llama = Vocabulary::of_folder(&folder("llama"), 288).unwrap();
    assert_eq!((llama.begin, llama.ends), (Some(1), vec![2]));
    let qwen2 = Vocabulary::of_folder(&folder("qwen2"), 288).unwrap();
    assert_eq!((qwen2.begin, qwen2.ends), (None, vec![0, 2]));
    assert!(matches!(Vocabulary::of_folder(&folder("qwen2"), 280), Err(InferError::Unfit { .. })));
}

#[test]
fn a_folder_answers() {
    let Opened { name, engine, template, begin, ends, context_length, .. } =
        open(&folder("qwen2"), CONFIG, Packing::Exact).unwrap();
    assert_eq!((name.as_str(), begin, ends, context_length), ("qwen2", None, vec![0, 2], 128));
    assert_eq!(engine.config().context, 128);
    let prompt = template.unwrap().render(&[json!({ "role": "user", "content": "Hi" })], None, &Map::new()).unwrap();
    let prompt = engine.tokenizer().encode_template(&prompt).unwrap();
    assert_eq!(prompt[0], 1);
    let (sender, receiver) = channel();
    let on_event = move |event| match sender.send(event) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    let sampling = Sampling { max_tokens: 8, temperature: 0.0, ..Sampling::default() };
    let request = Request {
        prompt,
        sampling,
        structure: None,
        ignore_end: true,
        cancelled: Arc::default(),
        on_event: Box::new(on_event),
    };
    engine.submit(request).unwrap();
    let tokens = receiver.iter().filter(|event| matches!(event, Event::Token { .. })).count();
    assert_eq!(tokens, 8);
}

/// A copy of a golden folder whose `config.json` is changed.
fn changed(name: &str, change: impl FnOnce(&mut Json)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let path = copy.path().join("config.json");
    let mut config: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(&path, config.to_string()).unwrap();
    copy
}

#[track_caller]
fn refused(name: &str, key: &str, value: Json, what: &str) {
    let copy = changed(name, |config| config[key] = value);
    let error = open_decoder(copy.path(), Packing::Exact, 4, POSITIONS).unwrap_err();
    assert!(error.to_string().contains(what), "{key}: {error}");
}

#[test]
fn what_is_not_known_is_named() {
    refused("llama", "architectures", json!(["DeepseekV3ForCausalLM"]), "DeepseekV3ForCausalLM");
    refused("llama", "architectures", json!(["X"]), "Qwen3ForCausalLM");
    refused("llama", "hidden_act", json!("gelu"), "hidden_act is \"gelu\"; known here for LlamaForCausalLM: silu");
    refused("llama", "rope_parameters", json!({"rope_type": "longrope"}), "longrope");
    refused("llama", "rope_parameters", json!({"rope_type": "linear", "factor": 0}), "factor");
    refused("llama", "quantization_config", json!({"quant_method": "gptq"}), "quantization_config");
    refused("llama", "hidden_size", json!(64), "should be [");
    refused("llama", "hidden_size", json!(1_u64 << 40), "no size");
    refused("llama", "hidden_size", json!(-3), "no size");
    refused("llama", "num_hidden_layers", json!(3), "missing");
    refused("llama", "num_hidden_layers", json!(1), "not part");
    refused("llama", "num_hidden_layers", json!(u64::MAX), "layers");
    refused("llama", "num_attention_heads", json!(0), "heads");
    refused("llama", "num_key_value_heads", json!(0), "heads of keys");
    refused("llama", "rms_norm_eps", json!(0), "epsilon");
    refused("llama", "max_position_embeddings", Json::Null, "max_position_embeddings");
    refused("gpt2", "scale_attn_by_inverse_layer_idx", json!(true), "scale_attn_by_inverse_layer_idx");
    refused("gpt2", "n_positions", json!(65), "wpe");
    refused("qwen2", "tie_word_embeddings", json!(false), "lm_head");
    refused("qwen2", "layer_types", json!(["full_attention", "chunked_attention"]), "chunked_attention");
}

#[test]
fn old_keys_mean_the_same() {
    let copy = changed("llama", |config| {
        let rope = config["rope_parameters"].take();
        config["rope_theta"] = rope["rope_theta"].clone();
        config["rope_scaling"] = rope;
        config["rope_scaling"]["type"] = config["rope_scaling"]["rope_type"].take();
        config["head_dim"] = Json::Null;
    });
    let tokens = [1, 5, 9];
    let all = [copy.path(), &folder("llama")]
        .map(|folder| logits(&mut open_decoder(folder, Packing::Exact, 4, POSITIONS).unwrap(), &tokens, 0, &[2]));
    assert_eq!(all[0], all[1]);
}

#[test]
fn hostile_folders_are_refused() {
    let index = |map: &BTreeMap<&str, &str>| {
        let copy = changed("mistral", |_| {});
        let index = json!({ "weight_map": map });
        std::fs::write(copy.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        open_decoder(copy.path(), Packing::Exact, 4, POSITIONS).unwrap_err().to_string()
    };
    for file in ["../x.safetensors", "/etc/passwd", "a/b", "..", ".", "", "a\\b"] {
        let error = index(&BTreeMap::from([("model.norm.weight", file)]));
        assert!(error.contains("is no name of a file"), "{error}");
    }
    let error = index(&BTreeMap::from([("model.norm.weight", "model-00001-of-00003.safetensors")]));
    assert!(error.contains("the index does not place tensor"), "{error}");
    let error = index(&BTreeMap::from([("model.norm.weight", "absent.safetensors")]));
    assert!(error.contains("absent"), "{error}");
    let copy = changed("qwen3", |_| {});
    let path = copy.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = open_decoder(copy.path(), Packing::Exact, 4, POSITIONS).unwrap_err();
        assert!(matches!(error, InferError::Damaged { .. }), "{length}: {error}");
    }
}

/// A folder with a tokenizer alone.
fn tokenizer_alone(name: &str, bytes: &[u8]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(folder(name).join("tokenizer_config.json"), copy.path().join("tokenizer_config.json")).unwrap();
    std::fs::write(copy.path().join("tokenizer.json"), bytes).unwrap();
    copy
}

/// Reads a tokenizer, and uses it where it is one.
fn use_tokenizer(name: &str, bytes: &[u8]) {
    let copy = tokenizer_alone(name, bytes);
    if let Ok(vocabulary) = Vocabulary::of_folder(copy.path(), 288) {
        for text in ["the ship is in 春眠 🚢", "<s></s> <|im_end|>", ""] {
            drop(vocabulary.encode(text, true));
            drop(vocabulary.encode(text, false));
        }
    }
}

#[test]
fn a_tokenizer_that_is_cut_is_refused() {
    for name in ["llama", "qwen2"] {
        let whole = std::fs::read(folder(name).join("tokenizer.json")).unwrap();
        for length in (0..whole.len()).step_by(211) {
            let copy = tokenizer_alone(name, &whole[..length]);
            let error = Vocabulary::of_folder(copy.path(), 288).unwrap_err();
            assert!(matches!(error, InferError::Damaged { .. }), "{name} {length}: {error}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn changed_tokenizers_are_no_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        place in any::<prop::sample::Index>(),
        with in prop::sample::select(vec!["null", "1", "\"x\"", "[]", "{}", "-1", "1e99"]),
    ) {
        for name in ["llama", "qwen2"] {
            let whole = std::fs::read(folder(name).join("tokenizer.json")).unwrap();
            let mut all = whole.clone();
            for (place, byte) in &changes {
                let place = place.index(all.len());
                all[place] = *byte;
            }
            use_tokenizer(name, &all);
            // One of the values becomes another one.
            let text = String::from_utf8(whole).unwrap();
            let values: Vec<usize> = text.match_indices("\": ").map(|(at, _)| at + 3).collect();
            let at = values[place.index(values.len())];
            let end = text[at..].find(['\n', ',']).map_or(text.len(), |end| at + end);
            use_tokenizer(name, format!("{}{with}{}", &text[..at], &text[end..]).as_bytes());
        }
    }

    #[test]
    fn changed_configurations_are_no_panic(
        name in prop::sample::select(NAMES.to_vec()),
        key in any::<prop::sample::Index>(),
        value in prop_oneof![
            Just(Json::Null), any::<i64>().prop_map(Json::from), (-2_i64..70).prop_map(Json::from),
            any::<f64>().prop_map(Json::from), Just(json!("x")), Just(json!([])), Just(json!({})), Just(json!(true)),
            Just(json!(1e-300)), Just(json!(1e300)),
        ],
        inner in any::<bool>(),
    ) {
        let copy = changed(name, |config| {
            let inside = inner && config["rope_parameters"].is_object();
            let place = if inside { &mut config["rope_parameters"] } else { config };
            let keys: Vec<String> = place.as_object().unwrap().keys().cloned().collect();
            place[&keys[key.index(keys.len())]] = value;
        });
        if let Ok(mut decoder) = open_decoder(copy.path(), Packing::Exact, 2, POSITIONS) {
            let tokens: Vec<u32> = (0..decoder.sizes().context.min(9) as u32).collect();
            logits(&mut decoder, &tokens, 0, &[0]);
        }
    }
}
