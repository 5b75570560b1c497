//! A tiny checkpoint against the formulas of `run.c` in double precision, and files as they should not be.

use proptest::prelude::*;

use super::*;
use crate::engine::{Batch, Forward, Packing, Part, open_decoder};

const SIZES: Header =
    Header { width: 24, feed_forward: 40, layers: 2, heads: 4, kv_heads: 2, vocabulary: 270, context: 12, tied: false };

/// A checkpoint of these sizes with numbers from −1 to 1.
fn written(header: Header, size: f32) -> Vec<u8> {
    let Header { width, feed_forward, layers, heads, kv_heads, vocabulary, context, tied } = header;
    let words = if tied { vocabulary as i32 } else { -(vocabulary as i32) };
    let sizes =
        [width as i32, feed_forward as i32, layers as i32, heads as i32, kv_heads as i32, words, context as i32];
    let mut bytes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
    let mut state = 7_u64;
    for (_, shape) in layout(&header) {
        for _ in 0..shape.iter().product::<usize>() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0;
            let number = if shape.len() == 1 { 1.0 + 0.2 * number } else { size * number };
            bytes.extend(number.to_le_bytes());
        }
    }
    bytes
}

fn words() -> Vec<u8> {
    let mut bytes = 7_i32.to_le_bytes().to_vec();
    let named = ["<unk>", "\n<s>\n", "\n</s>\n"].map(str::to_owned);
    let single = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let pieces = [" ", "t", "h", "e", " t", "he", " the", "x", "s", "ss", "sss"].map(str::to_owned);
    for (place, word) in named.into_iter().chain(single).chain(pieces).enumerate() {
        bytes.extend((-(place as f32)).to_le_bytes());
        bytes.extend((word.len() as i32).to_le_bytes());
        bytes.extend(word.as_bytes());
    }
    bytes
}

/// `run.c`'s forward pass of all tokens: the last one's logits.
fn reference(bytes: &[u8], header: &Header, tokens: &[usize]) -> Vec<f64> {
    let numbers: Vec<f64> =
        bytes[HEADER_BYTES..].as_chunks::<4>().0.iter().map(|n| f32::from_le_bytes(*n).into()).collect();
    let (mut at, mut all) = (0, HashMap::new());
    for (name, shape) in layout(header) {
        let count = shape.iter().product::<usize>();
        all.insert(name, numbers[at..at + count].to_vec());
        at += count;
    }
    let (w, d) = (header.width, header.width / header.heads);
    let product = |name: &str, x: &[f64]| -> Vec<f64> {
        let row = |row: &[f64]| row.iter().zip(x).map(|(a, b)| a * b).sum();
        all[name].chunks_exact(x.len()).map(row).collect()
    };
    let norm = |name: &str, x: &[f64]| -> Vec<f64> {
        let scale = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + 1e-5).sqrt();
        x.iter().zip(&all[name]).map(|(x, weight)| x / scale * weight).collect()
    };
    let turn = |x: &mut [f64], position: usize| {
        for (pair, two) in x.chunks_exact_mut(2).enumerate() {
            let angle = position as f64 * 10_000_f64.powf(-(((2 * pair) % d) as f64) / d as f64);
            let (a, b) = (two[0], two[1]);
            (two[0], two[1]) = (a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos());
        }
    };
    let mut caches = vec![(Vec::new(), Vec::new()); header.layers];
    let mut logits = Vec::new();
    for (position, token) in tokens.iter().enumerate() {
        let mut x = all["model.embed_tokens.weight"][token * w..(token + 1) * w].to_vec();
        for (layer, (keys, values)) in caches.iter_mut().enumerate() {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            let h = norm(&name("input_layernorm"), &x);
            let (mut q, mut k) = (product(&name("self_attn.q_proj"), &h), product(&name("self_attn.k_proj"), &h));
            turn(&mut q, position);
            turn(&mut k, position);
            keys.push(k);
            values.push(product(&name("self_attn.v_proj"), &h));
            let mut mixed = vec![0.0; w];
            for head in 0..header.heads {
                let shared = head / (header.heads / header.kv_heads) * d;
                let score = |key: &Vec<f64>| -> f64 {
                    (0..d).map(|i| q[head * d + i] * key[shared + i]).sum::<f64>() / (d as f64).sqrt()
                };
                let weights: Vec<f64> = keys.iter().map(|key| score(key).exp()).collect();
                let total: f64 = weights.iter().sum();
                for (weight, value) in weights.iter().zip(values.iter()) {
                    (0..d).for_each(|i| mixed[head * d + i] += weight / total * value[shared + i]);
                }
            }
            let added = product(&name("self_attn.o_proj"), &mixed);
            x.iter_mut().zip(added).for_each(|(x, y)| *x += y);
            let h = norm(&name("post_attention_layernorm"), &x);
            let (gate, up) = (product(&name("mlp.gate_proj"), &h), product(&name("mlp.up_proj"), &h));
            let inner: Vec<f64> = gate.iter().zip(up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect();
            let added = product(&name("mlp.down_proj"), &inner);
            x.iter_mut().zip(added).for_each(|(x, y)| *x += y);
        }
        logits = product("lm_head.weight", &norm("model.norm.weight", &x));
    }
    logits
}

#[test]
fn logits_are_those_of_the_formulas() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("model.bin");
    let bytes = written(SIZES, 0.5);
    std::fs::write(&path, &bytes).unwrap();
    let tokens = [1, 200, 17, 3, 99, 260];
    let expected = reference(&bytes, &SIZES, &tokens);
    let mut decoder = open_decoder(&path, Packing::Exact, 1, 32).unwrap();
    let part = Part { rows: 0..6, position: 0, pages: vec![0] };
    let batch = Batch { tokens: tokens.map(|token| token as u32).to_vec(), parts: vec![part], wanted: vec![5] };
    let found = decoder.forward(&batch);
    let largest = expected.iter().fold(0.0_f64, |most, logit| most.max(logit.abs()));
    for (found, expected) in found.iter().zip(&expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-3 * largest, "{found} instead of {expected}");
    }
}

#[test]
fn words_are_joined_by_their_scores() {
    let vocabulary = Vocabulary::of_pieces(&parse_tokenizer(&words(), 270).unwrap());
    // 259 is the space, 265 " the", 268 "ss", 269 "sss".
    assert_eq!(vocabulary.encode("the", false).unwrap(), [265]);
    assert_eq!(vocabulary.encode("sss", false).unwrap(), [259, 269]);
    assert_eq!(vocabulary.encode("ssss", false).unwrap(), [259, 268, 268]);
    assert_eq!(vocabulary.encode("é", false).unwrap(), [259, 3 + 0xc3, 3 + 0xa9]);
    assert_eq!(vocabulary.token_bytes(265), b" the");
    assert_eq!(vocabulary.token_bytes(3 + 0xc3), [0xc3]);
    assert_eq!((vocabulary.begin, vocabulary.ends.clone(), vocabulary.token_bytes(1)), (Some(1), vec![1, 2], &[][..]));
}

/// A real model of 260 thousand parameters, where it lies beside the project: greedy text that `run.c` writes as well.
#[test]
#[expect(clippy::print_stdout, reason = "what is skipped is told")]
fn a_real_model_tells_a_story() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/stories260k");
    if !folder.exists() {
        println!("skipped: there is no model at {}", folder.display());
        return;
    }
    let vocabulary = Vocabulary::of_llama2c(&folder.join("tokenizer.bin"), 512).unwrap();
    let mut decoder = open_decoder(&folder.join("checkpoint_legacy.bin"), Packing::Exact, 16, 32).unwrap();
    let (mut tokens, mut text) = (vec![1_u32], Vec::new());
    for position in 0..60 {
        let part = Part { rows: 0..1, position, pages: (0..16).collect() };
        let logits = decoder.forward(&Batch { tokens: vec![tokens[position]], parts: vec![part], wanted: vec![0] });
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32;
        tokens.push(best);
        text.extend_from_slice(vocabulary.token_bytes(best));
    }
    let text = String::from_utf8(text).unwrap();
    println!("{text}");
    assert!(text.trim_start().starts_with("Once upon a time, there was a little girl named Lily."), "{text}");
}

#[test]
fn every_cut_is_an_error() {
    let small =
        Header { width: 4, feed_forward: 2, layers: 1, heads: 2, kv_heads: 1, vocabulary: 5, context: 3, tied: true };
    let whole = written(small, 1.0);
    for length in 0..whole.len() {
        assert!(parse(&whole[..length]).is_err(), "{length}");
    }
    assert_eq!(parse(&whole), Ok(small));
    let whole = words();
    for length in 0..whole.len() {
        assert!(parse_tokenizer(&whole[..length], 270).is_err(), "{length}");
    }
    assert!(parse_tokenizer(&whole, 271).is_err() && parse_tokenizer(&whole, 269).is_err());
}

proptest! {
    #[test]
    fn changed_headers_are_no_panic(numbers in prop::array::uniform7(any::<i32>()), small in prop::array::uniform7(-9..9_i32)) {
        for numbers in [numbers, small] {
            let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            bytes.resize(400, 0);
            drop(parse(&bytes));
        }
    }

    #[test]
    fn changed_words_are_no_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut all = words();
        for (place, byte) in changes {
            let place = place.index(all.len());
            all[place] = byte;
        }
        if let Ok(words) = parse_tokenizer(&all, 270) {
            let vocabulary = Vocabulary::of_pieces(&words);
            prop_assert_eq!(vocabulary.size(), 270);
            drop(vocabulary.encode("the ship sss é", false));
        }
    }
}
