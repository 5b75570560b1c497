//! The golden folders of Hugging Face's written as GGUF files, as llama.cpp's converter names and orders things.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::engine::{Batch, Forward, Part};
use crate::formats::gguf::tests::Writer;
use kernels::quantised::Encoding;

/// Names in a folder and in a GGUF file; `{}` is a layer.
const NAMES: [(&str, &str); 27] = [
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
    ("model.layers.{}.input_layernorm", "blk.{}.attn_norm"),
    ("model.layers.{}.post_attention_layernorm", "blk.{}.ffn_norm"),
    ("model.layers.{}.self_attn.q_proj", "blk.{}.attn_q"),
    ("model.layers.{}.self_attn.k_proj", "blk.{}.attn_k"),
    ("model.layers.{}.self_attn.v_proj", "blk.{}.attn_v"),
    ("model.layers.{}.self_attn.o_proj", "blk.{}.attn_output"),
    ("model.layers.{}.self_attn.q_norm", "blk.{}.attn_q_norm"),
    ("model.layers.{}.self_attn.k_norm", "blk.{}.attn_k_norm"),
    ("model.layers.{}.mlp.gate_proj", "blk.{}.ffn_gate"),
    ("model.layers.{}.mlp.up_proj", "blk.{}.ffn_up"),
    ("model.layers.{}.mlp.down_proj", "blk.{}.ffn_down"),
    ("wte", "token_embd"),
    ("wpe", "position_embd"),
    ("ln_f", "output_norm"),
    ("h.{}.ln_1", "blk.{}.attn_norm"),
    ("h.{}.ln_2", "blk.{}.ffn_norm"),
    ("h.{}.attn.c_attn", "blk.{}.attn_qkv"),
    ("h.{}.attn.c_proj", "blk.{}.attn_output"),
    ("h.{}.mlp.c_fc", "blk.{}.ffn_up"),
    ("h.{}.mlp.c_proj", "blk.{}.ffn_down"),
    ("transformer.wte", "token_embd"),
    ("transformer.wpe", "position_embd"),
    ("transformer.ln_f", "output_norm"),
    ("", ""),
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/huggingface").join(name)
}

fn renamed(name: &str) -> String {
    let name = name.strip_prefix("transformer.").unwrap_or(name);
    let (stem, end) = name.rsplit_once('.').unwrap();
    let layer = stem.split('.').find(|part| part.parse::<usize>().is_ok()).unwrap_or("none");
    let wanted = stem.replacen(&format!(".{layer}."), ".{}.", 1);
    let (_, to) = NAMES.iter().find(|(from, _)| *from == wanted).unwrap_or_else(|| panic!("{name}"));
    format!("{}.{end}", to.replace("{}", layer))
}

/// A GGUF file of a golden folder.
fn written(name: &str, architecture: &str, factors: Option<&[f32]>) -> Vec<u8> {
    let json = read_json(&folder(name).join("config.json"), CONFIG_BYTES_MAX).unwrap();
    let size = |keys: [&str; 2]| keys.iter().find_map(|key| json[*key].as_u64()).unwrap() as u32;
    let mut writer = Writer::default();
    writer.text("general.architecture", architecture);
    let heads = size(["num_attention_heads", "n_head"]);
    for (key, value) in [
        ("embedding_length", size(["hidden_size", "n_embd"])),
        ("block_count", size(["num_hidden_layers", "n_layer"])),
        ("attention.head_count", heads),
        ("attention.head_count_kv", json["num_key_value_heads"].as_u64().map_or(heads, |count| count as u32)),
        ("context_length", size(["max_position_embeddings", "n_positions"])),
        ("feed_forward_length", json["intermediate_size"].as_u64().unwrap_or(128) as u32),
    ] {
        writer.number(&format!("{architecture}.{key}"), value);
    }
    let mut float = |key: &str, value: f64| {
        writer.pair(&format!("{architecture}.{key}"), 6, &(value as f32).to_le_bytes());
    };
    let epsilon = json["rms_norm_eps"].as_f64().unwrap_or(1e-5);
    let norm = if architecture == "gpt2" { "layer_norm_epsilon" } else { "layer_norm_rms_epsilon" };
    float(&format!("attention.{norm}"), epsilon);
    let rope = &json["rope_parameters"];
    if let Some(base) = rope["rope_theta"].as_f64() {
        float("rope.freq_base", base);
    }
    if factors.is_none() && rope["factor"].is_number() {
        float("rope.scaling.factor", rope["factor"].as_f64().unwrap());
        writer.text(&format!("{architecture}.rope.scaling.type"), rope["rope_type"].as_str().unwrap());
        if let Some(original) = rope["original_max_position_embeddings"].as_u64() {
            writer.number(&format!("{architecture}.rope.scaling.original_context_length"), original as u32);
        }
    }
    if let Some(dim) = json["head_dim"].as_u64() {
        writer.number(&format!("{architecture}.attention.key_length"), dim as u32);
        writer.number(&format!("{architecture}.attention.value_length"), dim as u32);
    }
    if let Some(factors) = factors {
        let bytes: Vec<u8> = factors.iter().flat_map(|factor| factor.to_le_bytes()).collect();
        writer.tensor("rope_freqs.weight", &[factors.len()], 0, &bytes);
    }
    let files = Safetensors::open(&folder(name)).unwrap();
    for (tensor, view) in files.tensors() {
        let mut shape = view.shape.to_vec();
        let mut bytes = view.bytes.to_vec();
        let encoding = view.encoding.unwrap();
        let element = encoding.block_bytes();
        if architecture == "gpt2" && tensor.contains(".c_") && shape.len() == 2 {
            let [rows, columns] = shape[..] else { unreachable!() };
            let at = |row: usize, column: usize| &view.bytes[(row * columns + column) * element..][..element];
            bytes = (0..columns).flat_map(|column| (0..rows).flat_map(move |row| at(row, column))).copied().collect();
            shape = vec![columns, rows];
        }
        if architecture == "llama" && (tensor.contains("q_proj") || tensor.contains("k_proj")) {
            // The converter's order: the halves of a pair beside each other.
            let (dim, row_bytes) = (json["head_dim"].as_u64().unwrap() as usize, bytes.len() / shape[0]);
            let from = |place: usize| place / dim * dim + place % dim / 2 + place % 2 * (dim / 2);
            bytes = (0..shape[0]).flat_map(|row| &view.bytes[from(row) * row_bytes..][..row_bytes]).copied().collect();
        }
        let kind = match encoding {
            Encoding::F16 => 1,
            Encoding::Bf16 => 30,
            _ => 0,
        };
        writer.tensor(&renamed(tensor), &shape, kind, &bytes);
    }
    writer.file()
}

fn logits(decoder: &mut PackedDecoder) -> Vec<f32> {
    let tokens: Vec<u32> = (0..30).map(|place| place * 11 % 288).collect();
    let part = Part { rows: 0..30, position: 0, pages: vec![0] };
    decoder.forward(&Batch { tokens, parts: vec![part], wanted: vec![3, 29] }).to_vec()
}

#[test]
fn a_gguf_file_is_the_folder_it_was_made_of() {
    let temporary = tempfile::tempdir().unwrap();
    // The factors of Llama 3's scaling, as the converter writes them, for its 8 pairs.
    let plain = rope::Scaling::None.rotary(16, 500.0).frequencies;
    let scaled = rope::Scaling::Llama3 { factor: 4.0, low: 1.0, high: 4.0, original: 32.0 }.rotary(16, 500.0);
    let factors: Vec<f32> =
        plain.iter().zip(&scaled.frequencies).map(|(plain, scaled)| (plain / scaled) as f32).collect();
    for (name, architecture, factors) in [
        ("llama", "llama", Some(&factors[..])),
        ("qwen2", "qwen2", None),
        ("qwen3", "qwen3", None),
        ("gpt2", "gpt2", None),
    ] {
        let path = temporary.path().join(format!("{name}.gguf"));
        std::fs::write(&path, written(name, architecture, factors)).unwrap();
        let found = logits(&mut open_decoder(&path, Packing::Exact, 2, 32).unwrap());
        let expected = logits(&mut open_decoder(&folder(name), Packing::Exact, 2, 32).unwrap());
        let off = found.iter().zip(&expected).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(off < 1e-4, "{name}: {off}");
    }
}

#[test]
fn other_architectures_are_named() {
    let temporary = tempfile::tempdir().unwrap();
    let refused = |architecture: &str, change: &dyn Fn(&mut Writer), what: &str| {
        let mut writer = Writer::default();
        writer.text("general.architecture", architecture);
        change(&mut writer);
        let path = temporary.path().join("x.gguf");
        std::fs::write(&path, writer.file()).unwrap();
        let error = open_decoder(&path, Packing::Exact, 2, 32).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    refused("mamba", &|_| {}, "\"mamba\"; known here: llama, qwen2, qwen3, gpt2");
    refused("llama", &|_| {}, "llama.embedding_length");
    let experts = |writer: &mut Writer| {
        writer.number("llama.expert_count", 8);
    };
    refused("llama", &experts, "experts");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is changed in the values of a file, it is loaded or refused.
    #[test]
    fn changed_values_are_no_panic(changes in prop::collection::vec((0..700_usize, any::<u8>()), 1..6)) {
        let mut all = written("qwen3", "qwen3", None);
        for (place, byte) in changes {
            all[place] = byte;
        }
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("x.gguf");
        std::fs::write(&path, all).unwrap();
        drop(open_decoder(&path, Packing::Exact, 2, 32));
    }
}
