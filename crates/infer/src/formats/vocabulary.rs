//! The vocabulary that a GGUF file brings along, as a tokenizer with the ids of the original.
//!
//! Three kinds are known: byte-level BPE with merges (`gpt2`; how text is cut before is named by `tokenizer.ggml.pre`),
//! SentencePiece's BPE by scores with bytes for what has no token (`llama`), and WordPiece (`bert`). What tokens stand
//! for a role and not for a text (control tokens) is looked for in a text only where that is asked for: the text of a
//! user cannot play a role.

use std::collections::{BinaryHeap, HashMap};
use std::sync::LazyLock;

use serde_json::json;
use tokenizer::{Tokenizer, TokenizerError};
use tokenizers::Tokenizer as Foreign;

use super::gguf::{Gguf, Value};
use crate::error::InferError;

/// The space of SentencePiece and WordPiece, U+2581.
pub(super) const SPACE: &str = "\u{2581}";
/// GPT-2's cuts.
const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// The cuts of Llama 3, but for its numbers.
const LLAMA_3: [&str; 2] =
    [r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|", r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"];

/// A tokenizer from a file's vocabulary.
pub struct Vocabulary {
    /// The bytes that each token stands for; none for control tokens.
    pub(super) bytes: Vec<Vec<u8>>,
    pub(super) encoder: Encoder,
    /// Tokens that are found in any text, and those that are found where roles are; the longest first.
    pub(super) user: Vec<(String, u32)>,
    pub(super) control: Vec<(String, u32)>,
    /// The token that begins a text, where one is wanted.
    pub begin: Option<u32>,
    /// The tokens that end a text.
    pub ends: Vec<u32>,
}

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Vocabulary").field("tokens", &self.bytes.len()).finish_non_exhaustive()
    }
}

pub(super) enum Encoder {
    /// Byte-level BPE, or WordPiece.
    Parts(Box<Tokenizer>),
    /// A file of the crate `tokenizers`, which finds added tokens itself: for texts, and for texts with roles.
    Whole {
        plain: Box<Foreign>,
        roles: Box<Foreign>,
    },
    SentencePiece(SentencePiece),
}

impl Vocabulary {
    /// Reads the vocabulary of a file.
    ///
    /// # Errors
    /// [`InferError::Unfit`] when there is none, or one of a kind that is not known here.
    pub fn of(file: &Gguf) -> Result<Self, InferError> {
        let Some(Value::Texts(words)) = file.pairs().get("tokenizer.ggml.tokens") else {
            return Err(file.unfit("it has no tokenizer.ggml.tokens".to_owned()));
        };
        let kinds: Vec<i64> = match file.pairs().get("tokenizer.ggml.token_type") {
            Some(Value::Signeds(kinds)) => kinds.clone(),
            _ => vec![1; words.len()],
        };
        if kinds.len() != words.len() || words.is_empty() {
            return Err(file.unfit(format!("it has {} tokens and {} kinds of them", words.len(), kinds.len())));
        }
        let model = file.text("tokenizer.ggml.model")?;
        let (encoder, bytes) = match model {
            "gpt2" => (byte_level(file, words)?, words.iter().map(|word| byte_level_bytes(word)).collect()),
            "llama" => (sentence_piece(file, words, &kinds)?, words.iter().map(|word| piece_bytes(word)).collect()),
            "bert" => (word_piece(file, words)?, words.iter().map(|word| piece_bytes(word)).collect::<Vec<_>>()),
            other => {
                return Err(file.unsupported(format!("its tokenizer.ggml.model is {other:?}, which is not known here")));
            }
        };
        let mut vocabulary =
            Self { bytes, encoder, user: Vec::new(), control: Vec::new(), begin: None, ends: Vec::new() };
        for ((token, word), kind) in (0..).zip(words).zip(&kinds) {
            match kind {
                3 => {
                    vocabulary.bytes[token as usize] = Vec::new();
                    vocabulary.control.push((word.clone(), token));
                }
                4 => {
                    vocabulary.bytes[token as usize] = word.as_bytes().to_vec();
                    vocabulary.user.push((word.clone(), token));
                }
                _ => {}
            }
        }
        for list in [&mut vocabulary.user, &mut vocabulary.control] {
            list.retain(|(word, _)| !word.is_empty());
            list.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
        }
        vocabulary.roles(file, words.len())?;
        Ok(vocabulary)
    }

    /// Which tokens begin and end texts.
    fn roles(&mut self, file: &Gguf, count: usize) -> Result<(), InferError> {
        let token = |key: &str| -> Result<Option<u32>, InferError> {
            let token = file.size(&format!("tokenizer.ggml.{key}"))?;
            if token.is_some_and(|token| token >= count) {
                return Err(file.unfit(format!("tokenizer.ggml.{key} is no token")));
            }
            Ok(token.map(|token| token as u32))
        };
        // SentencePiece's models begin with a token unless they say otherwise.
        let begins = match file.pairs().get("tokenizer.ggml.add_bos_token") {
            Some(Value::Bool(begins)) => *begins,
            _ => matches!(self.encoder, Encoder::SentencePiece(_)),
        };
        self.begin = token("bos_token_id")?.filter(|_| begins);
        self.ends = [token("eos_token_id")?, token("eot_token_id")?].into_iter().flatten().collect();
        self.add_usual_ends();
        Ok(())
    }

    /// Adds the control tokens that end a text in every model that has them.
    pub(super) fn add_usual_ends(&mut self) {
        for name in ["<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end|>", "<end_of_turn>"] {
            self.ends.extend(self.control.iter().filter(|(word, _)| word == name).map(|(_, token)| *token));
        }
        self.ends.sort_unstable();
        self.ends.dedup();
    }

    /// The number of tokens.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes that a token stands for.
    #[must_use]
    pub fn token_bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], Vec::as_slice)
    }

    /// The tokens of a text, without one that begins it; control tokens are found in it with `roles`.
    ///
    /// # Errors
    /// [`InferError::Tokenizer`] when the crate fails, which no text should make it do.
    pub fn encode(&self, text: &str, roles: bool) -> Result<Vec<u32>, InferError> {
        if let Encoder::Whole { plain, roles: with_roles } = &self.encoder {
            return ids(if roles { with_roles } else { plain }, text);
        }
        let mut tokens = Vec::new();
        let (mut rest, mut first) = (text, true);
        while !rest.is_empty() {
            let lists = [&self.user[..], if roles { &self.control } else { &[] }];
            let place = rest.char_indices().find_map(|(at, _)| {
                let found = lists.into_iter().flatten().filter(|(word, _)| rest[at..].starts_with(word.as_str()));
                found.max_by_key(|(word, _)| word.len()).map(|found| (at, found))
            });
            let (before, found, behind) = match place {
                Some((at, (word, token))) => (&rest[..at], Some(*token), &rest[at + word.len()..]),
                None => (rest, None, ""),
            };
            if !before.is_empty() {
                self.encode_plain(before, first, &mut tokens)?;
            }
            tokens.extend(found);
            (rest, first) = (behind, true);
        }
        Ok(tokens)
    }

    fn encode_plain(&self, text: &str, first: bool, tokens: &mut Vec<u32>) -> Result<(), InferError> {
        match &self.encoder {
            Encoder::Parts(tokenizer) => tokenizer
                .encode(text, false, tokens)
                .map_err(|error| InferError::Tokenizer { verb: "use", what: error.to_string() })?,
            Encoder::Whole { plain: tokenizer, .. } => tokens.extend(ids(tokenizer, text)?),
            Encoder::SentencePiece(pieces) => pieces.encode(text, first, tokens),
        }
        Ok(())
    }
}

/// The tokens of a text, none added at its ends.
fn ids(tokenizer: &Foreign, text: &str) -> Result<Vec<u32>, InferError> {
    let encoding = tokenizer.encode_fast(text, false);
    let encoding = encoding.map_err(|error| InferError::Tokenizer { verb: "use", what: error.to_string() })?;
    Ok(encoding.get_ids().to_vec())
}

/// Numbers of words; of equal words the first.
fn numbers(words: &[String]) -> HashMap<&str, u32> {
    let mut numbers = HashMap::new();
    for (token, word) in (0..).zip(words) {
        numbers.entry(word.as_str()).or_insert(token);
    }
    numbers
}

fn byte_level(file: &Gguf, words: &[String]) -> Result<Encoder, InferError> {
    let Some(Value::Texts(merges)) = file.pairs().get("tokenizer.ggml.merges") else {
        return Err(file.unfit("it has no tokenizer.ggml.merges".to_owned()));
    };
    let pre =
        if file.pairs().contains_key("tokenizer.ggml.pre") { file.text("tokenizer.ggml.pre")? } else { "default" };
    let [before, behind] = LLAMA_3;
    let cuts: Vec<String> = match pre {
        "default" | "gpt-2" | "gpt2" => vec![GPT_2.to_owned()],
        "smollm" => vec![r"\p{N}".to_owned(), GPT_2.to_owned()],
        "llama-bpe" | "llama3" => vec![format!(r"{before}\p{{N}}{{1,3}}{behind}")],
        "qwen2" => vec![format!(r"{before}\p{{N}}{behind}")],
        "deepseek-coder" => {
            [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+", r"\p{N}"]
                .map(str::to_owned)
                .to_vec()
        }
        "falcon" => [r"[\p{P}\$\+<=>\^~\|`]+", GPT_2, "[0-9][0-9][0-9]"].map(str::to_owned).to_vec(),
        other => return Err(file.unsupported(format!("its tokenizer.ggml.pre is {other:?}, which is not known here"))),
    };
    // Llama 3 takes a word that is a token as it is.
    let whole = pre == "llama-bpe" || pre == "llama3";
    let cuts: Vec<&str> = cuts.iter().map(String::as_str).collect();
    made(file, Tokenizer::byte_level(words, merges, &cuts, whole))
}

fn made(file: &Gguf, tokenizer: Result<Tokenizer, TokenizerError>) -> Result<Encoder, InferError> {
    tokenizer
        .map(|tokenizer| Encoder::Parts(Box::new(tokenizer)))
        .map_err(|error| file.unfit(format!("its vocabulary cannot be used: {error}")))
}

fn word_piece(file: &Gguf, words: &[String]) -> Result<Encoder, InferError> {
    let special = |word: &str| word.starts_with('[') && word.ends_with(']') && word.len() > 2;
    let renamed: Vec<String> = words
        .iter()
        .map(|word| match word.strip_prefix(SPACE) {
            Some(rest) => rest.to_owned(),
            None if special(word) => word.clone(),
            None => format!("##{word}"),
        })
        .collect();
    let unknown = file.size("tokenizer.ggml.unknown_token_id")?.and_then(|token| words.get(token));
    let unknown = unknown.ok_or_else(|| file.unfit("it has no token for what is unknown".to_owned()))?;
    let description = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": true,
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" }, "post_processor": null, "decoder": null,
        "model": {
            "type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": numbers(&renamed),
        },
    });
    made(file, Tokenizer::from_json(description.to_string()))
}

/// SentencePiece's BPE (Kudo & Richardson 2018): of all neighbours whose joined text is a token, those with the best
/// score are joined first, of equal ones the leftmost.
pub(super) struct SentencePiece {
    pub(super) tokens: HashMap<String, (u32, f32)>,
    /// The token of each byte.
    pub(super) bytes: Vec<Option<u32>>,
    pub(super) unknown: Option<u32>,
    /// A space stands before the text.
    pub(super) space_before: bool,
}

fn sentence_piece(file: &Gguf, words: &[String], kinds: &[i64]) -> Result<Encoder, InferError> {
    let scores = match file.pairs().get("tokenizer.ggml.scores") {
        Some(Value::Floats(scores)) if scores.len() == words.len() => scores,
        _ => return Err(file.unfit("it has no tokenizer.ggml.scores for its tokens".to_owned())),
    };
    let mut pieces = SentencePiece {
        tokens: HashMap::new(),
        bytes: vec![None; 256],
        unknown: file.size("tokenizer.ggml.unknown_token_id")?.map(|token| token as u32),
        space_before: file.pairs().get("tokenizer.ggml.add_space_prefix") != Some(&Value::Bool(false)),
    };
    for (((token, word), kind), score) in (0..).zip(words).zip(kinds).zip(scores) {
        if *kind == 6 {
            if let [byte] = piece_bytes(word)[..] {
                pieces.bytes[byte as usize] = Some(token);
            }
        } else {
            pieces.tokens.entry(word.clone()).or_insert((token, *score));
        }
    }
    Ok(Encoder::SentencePiece(pieces))
}

/// Two neighbours that may be joined; the largest comes first.
#[derive(PartialEq)]
struct Join {
    score: f32,
    left: usize,
    right: usize,
    /// Bytes of both, by which a join that came too late is known.
    length: usize,
}

impl Eq for Join {}

impl Ord for Join {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Join {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl SentencePiece {
    fn encode(&self, text: &str, first: bool, to: &mut Vec<u32>) {
        let before = if first && self.space_before { SPACE } else { "" };
        let text = format!("{before}{}", text.replace(' ', SPACE));
        // Symbols as a list: where each begins, how long it is (0: joined into another), and its neighbours.
        let mut symbols: Vec<[usize; 4]> = text
            .char_indices()
            .enumerate()
            .map(|(index, (begin, character))| [begin, character.len_utf8(), index.wrapping_sub(1), index + 1])
            .collect();
        let count = symbols.len();
        let mut joins = BinaryHeap::new();
        let offer = |joins: &mut BinaryHeap<Join>, symbols: &[[usize; 4]], left: usize, right: usize| {
            if left >= count || right >= count {
                return;
            }
            let length = symbols[left][1] + symbols[right][1];
            if let Some((_, score)) = self.tokens.get(&text[symbols[left][0]..symbols[left][0] + length]) {
                joins.push(Join { score: *score, left, right, length });
            }
        };
        for left in 0..count {
            offer(&mut joins, &symbols, left, left + 1);
        }
        while let Some(Join { left, right, length, .. }) = joins.pop() {
            let late = symbols[left][1] == 0 || symbols[right][1] == 0;
            if late || symbols[left][1] + symbols[right][1] != length || symbols[left][3] != right {
                continue;
            }
            symbols[left][1] = length;
            let next = symbols[right][3];
            symbols[right][1] = 0;
            symbols[left][3] = next;
            if next < count {
                symbols[next][2] = left;
            }
            offer(&mut joins, &symbols, symbols[left][2], left);
            offer(&mut joins, &symbols, left, next);
        }
        for [begin, length, ..] in symbols.into_iter().filter(|symbol| symbol[1] > 0) {
            let piece = &text[begin..begin + length];
            match self.tokens.get(piece) {
                Some((token, _)) => to.push(*token),
                None => to.extend(piece.bytes().filter_map(|byte| self.bytes[byte as usize].or(self.unknown))),
            }
        }
    }
}

/// The bytes of GPT-2's characters from 256 on: those that are not visible themselves, in their order.
static INVISIBLE: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..=255).filter(|byte| !is_visible(u32::from(*byte))).collect());

fn is_visible(code: u32) -> bool {
    matches!(code, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

/// The bytes of a word of GPT-2's alphabet, in which every byte is a visible character.
pub(super) fn byte_level_bytes(word: &str) -> Vec<u8> {
    let invisible = &**INVISIBLE;
    let byte = |character: char| -> Option<u8> {
        let code = u32::from(character);
        if is_visible(code) {
            return u8::try_from(code).ok();
        }
        invisible.get(code.checked_sub(256)? as usize).copied()
    };
    word.chars().map(byte).collect::<Option<_>>().unwrap_or_else(|| word.as_bytes().to_vec())
}

/// The bytes of a piece: a space for its mark, one byte for `<0xNN>`.
pub(super) fn piece_bytes(word: &str) -> Vec<u8> {
    let hexadecimal = word.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    match hexadecimal.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
        Some(byte) if word.len() == 6 => vec![byte],
        _ => word.replace(SPACE, " ").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// llama.cpp's own texts and ids, where they lie beside the project.
    #[test]
    #[expect(clippy::print_stdout, reason = "what is skipped is told")]
    fn ids_are_those_of_llama_cpp() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/gguf-vocabs");
        if !folder.exists() {
            println!("skipped: there are no vocabularies at {}", folder.display());
            return;
        }
        for name in ["gpt-2", "llama-bpe", "qwen2", "deepseek-coder", "falcon", "llama-spm", "phi-3", "bert-bge"] {
            let path = folder.join(format!("ggml-vocab-{name}.gguf"));
            let vocabulary = Vocabulary::of(&Gguf::open(&path).unwrap()).unwrap();
            let read = |end: &str| std::fs::read_to_string(format!("{}{end}", path.display())).unwrap();
            let (texts, ids) = (read(".inp"), read(".out"));
            let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
            let mut wrong = Vec::new();
            for (text, ids) in texts.iter().zip(ids.lines()) {
                let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
                let found = vocabulary.encode(text, false).unwrap();
                if found != ids {
                    wrong.push(format!("{text:?}: {found:?} and not {ids:?}"));
                }
                if name != "bert-bge" {
                    let bytes: Vec<u8> =
                        found.iter().flat_map(|token| vocabulary.token_bytes(*token)).copied().collect();
                    let back = String::from_utf8_lossy(&bytes).into_owned();
                    assert!(back == *text || back == format!(" {text}"), "{name}: {back:?} of {text:?}");
                }
            }
            assert!(
                wrong.is_empty(),
                "{name}, {} of {}: {}",
                wrong.len(),
                texts.len(),
                wrong[..wrong.len().min(4)].join("\n")
            );
        }
    }
}
