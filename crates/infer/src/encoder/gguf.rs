//! An encoder of a GGUF file (architecture `bert`): its tensors get Hugging Face's names, its values those of the sizes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use kernels::gemm::Activation;

use super::forward::{Network, Sizes};
use super::pooling::Pooling;
use super::{Encoder, Words, possible};
use crate::engine::Packing;
use crate::engine::load::name_of;
use crate::engine::load::shelf::{Shelf, Tensor};
use crate::error::InferError;
use crate::formats::gguf::{Gguf, Value};
use crate::formats::vocabulary::Vocabulary;

/// Names in GGUF files, and in Hugging Face's; those of layers without what stands before them.
const EDGES: [(&str, &str); 4] = [
    ("token_embd", "embeddings.word_embeddings"),
    ("position_embd", "embeddings.position_embeddings"),
    ("token_types", "embeddings.token_type_embeddings"),
    ("token_embd_norm", "embeddings.LayerNorm"),
];
const PARTS: [(&str, &str); 8] = [
    ("attn_q", "attention.self.query"),
    ("attn_k", "attention.self.key"),
    ("attn_v", "attention.self.value"),
    ("attn_output", "attention.output.dense"),
    ("attn_output_norm", "attention.output.LayerNorm"),
    ("ffn_up", "intermediate.dense"),
    ("ffn_down", "output.dense"),
    ("layer_output_norm", "output.LayerNorm"),
];

/// Opens a file.
pub(super) fn open(path: &Path) -> Result<Encoder, InferError> {
    let file = Gguf::open(path)?;
    let architecture = file.text("general.architecture")?;
    if architecture != "bert" {
        let what = format!("its general.architecture is {architecture:?}; encoders that are known here: bert");
        return Err(file.unsupported(what));
    }
    let needed = |key: &str| -> Result<usize, InferError> {
        file.size(&format!("bert.{key}"))?.ok_or_else(|| file.unfit(format!("it has no bert.{key}")))
    };
    let rows = |name: &str| file.tensors().get(name).and_then(|tensor| tensor.shape.first()).copied().unwrap_or(0);
    let sizes = Sizes {
        vocabulary: rows("token_embd.weight"),
        width: needed("embedding_length")?,
        heads: needed("attention.head_count")?,
        feed_forward: needed("feed_forward_length")?,
        layers: needed("block_count")?,
        positions: rows("position_embd.weight"),
        first_position: 0,
        // A file of one kind of tokens may have its row as a vector.
        kinds: file.tensors().get("token_types.weight").map_or(0, |tensor| match tensor.shape[..] {
            [rows, _] => rows,
            _ => 1,
        }),
        activation: Activation::GeluExact,
        epsilon: file.number("bert.attention.layer_norm_epsilon")?.unwrap_or(1e-12) as f32,
    };
    possible(&sizes).map_err(|what| file.unfit(what))?;
    let first = match file.size("bert.pooling_type")? {
        None | Some(1) => false,
        Some(2) => true,
        Some(other) => {
            return Err(file.unsupported(format!("bert.pooling_type is {other}; known here: 1 (mean), 2 (cls)")));
        }
    };
    let vocabulary = Vocabulary::of(&file)?;
    if vocabulary.size() != sizes.vocabulary {
        let what = format!("it has {} tokens, and weights for {}", vocabulary.size(), sizes.vocabulary);
        return Err(file.unfit(what));
    }
    let token = |keys: [&str; 2], word: &str| -> Result<u32, InferError> {
        for key in keys {
            if let Some(token) = file.size(&format!("tokenizer.ggml.{key}"))?.filter(|token| *token < sizes.vocabulary)
            {
                return Ok(token as u32);
            }
        }
        let words = match file.pairs().get("tokenizer.ggml.tokens") {
            Some(Value::Texts(words)) => words.as_slice(),
            _ => &[],
        };
        let place = words.iter().position(|found| found == word);
        place.map(|place| place as u32).ok_or_else(|| file.unfit(format!("it has no token {word}")))
    };
    let ends = [
        token(["cls_token_id", "bos_token_id"], "[CLS]")?,
        token(["seperator_token_id", "separator_token_id"], "[SEP]")?,
    ];
    let network = Network::new(sizes, shelf(&file))?;
    let longest = file.size("bert.context_length")?.unwrap_or(usize::MAX).min(sizes.positions);
    if longest <= 2 {
        return Err(file.unfit(format!("it takes {longest} tokens, and 2 stand at the ends of a text")));
    }
    let name = match file.pairs().get("general.name") {
        Some(Value::Text(name)) if !name.trim().is_empty() => name.trim().to_owned(),
        _ => name_of(path),
    };
    let pooling = Pooling { first, normalise: true };
    Ok(Encoder { name, words: Words::Pieces { vocabulary, ends }, network, pooling, tokens_max: longest })
}

/// The tensors by Hugging Face's names; what has none keeps its own, and is refused as left over.
fn shelf(file: &Gguf) -> Shelf<'_> {
    let tensors: BTreeMap<_, _> = file
        .tensors()
        .iter()
        .map(|(name, tensor)| {
            let mut shape = tensor.shape.clone();
            if name == "token_types.weight" && shape.len() == 1 {
                shape.insert(0, 1);
            }
            (renamed(name), Tensor { shape, encoding: tensor.encoding, bytes: Cow::Borrowed(file.bytes(tensor)) })
        })
        .collect();
    Shelf::new(file.path().to_owned(), tensors, Packing::Exact)
}

fn renamed(name: &str) -> String {
    let own = || name.to_owned();
    let Some((stem, end)) = name.rsplit_once('.') else { return own() };
    if let Some((_, to)) = EDGES.iter().find(|(from, _)| *from == stem) {
        return format!("{to}.{end}");
    }
    let Some((layer, part)) = stem.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else { return own() };
    let found = PARTS.iter().find(|(from, _)| *from == part);
    found.map_or_else(own, |(_, to)| format!("encoder.layer.{layer}.{to}.{end}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::gguf::tests::Writer;
    use crate::formats::safetensors::{Safetensors, read_json};

    fn folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/encoders/bert")
    }

    /// The golden folder as a GGUF file, as llama.cpp's converter names things.
    fn written(pooling: u32) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.text("general.architecture", "bert").text("general.name", "tiny");
        for (key, value) in [
            ("embedding_length", 48),
            ("attention.head_count", 3),
            ("feed_forward_length", 72),
            ("block_count", 2),
            ("context_length", 30),
            ("pooling_type", pooling),
        ] {
            writer.number(&format!("bert.{key}"), value);
        }
        let json = read_json(&folder().join("tokenizer.json"), 1 << 20).unwrap();
        let vocabulary = json["model"]["vocab"].as_object().unwrap();
        let mut words = vec![String::new(); vocabulary.len()];
        for (word, token) in vocabulary {
            let place = token.as_u64().unwrap() as usize;
            words[place] = match word.strip_prefix("##") {
                Some(rest) => rest.to_owned(),
                None if word.starts_with('[') && word.len() > 2 => word.clone(),
                None => format!("\u{2581}{word}"),
            };
        }
        writer.text("tokenizer.ggml.model", "bert").number("tokenizer.ggml.unknown_token_id", 1);
        writer.texts("tokenizer.ggml.tokens", &words.iter().map(String::as_str).collect::<Vec<_>>());
        for (name, view) in Safetensors::open(&folder()).unwrap().tensors() {
            let (stem, end) = name.rsplit_once('.').unwrap();
            let edge = EDGES.iter().find(|(_, from)| *from == stem).map(|(to, _)| (*to).to_owned());
            let part =
                stem.strip_prefix("encoder.layer.").and_then(|rest| rest.split_once('.')).map(|(layer, part)| {
                    let (to, _) = PARTS.iter().find(|(_, from)| *from == part).unwrap();
                    format!("blk.{layer}.{to}")
                });
            // The converter leaves the pooler out.
            if let Some(to) = edge.or(part) {
                writer.tensor(&format!("{to}.{end}"), view.shape, 1, view.bytes);
            }
        }
        writer.file()
    }

    #[test]
    fn a_gguf_file_is_the_folder_it_was_made_of() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("tiny.gguf");
        std::fs::write(&path, written(1)).unwrap();
        let [file, folder] = [Encoder::open(&path).unwrap(), Encoder::open(&folder()).unwrap()];
        assert_eq!((file.name(), file.tokens_max(), file.width()), ("tiny", 30, 48));
        let texts = ["The ship is in the yard.", "", "天 is the sky", &"the ship ".repeat(50)];
        assert_eq!(file.embed(&texts).unwrap(), folder.embed(&texts).unwrap());
        std::fs::write(&path, written(3)).unwrap();
        assert!(Encoder::open(&path).unwrap_err().to_string().contains("pooling_type is 3"));
        let whole = written(1);
        for length in (0..whole.len()).step_by(1999) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(Encoder::open(&path).is_err(), "{length}");
        }
    }
}
