//! Text becomes tokens and tokens text: byte-level BPE (Sennrich et al. 2016, over bytes as in GPT-2)
//! with one special token, [`END_OF_TEXT`]. `decode(encode(x)) == x` for every text, also for a text
//! that holds the words `<|endoftext|>`: the special token is only ever added by us.
//!
//! Training and encoding are done by `tokenizer`; the file is a `tokenizer.json`, which other programs read. Decoding is
//! done here, so that a stream never shows half a character.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::Value as Json;
use tokenizer::Tokenizer;
use tokenizer::train::{Alphabet, Scheme, SplitPattern, Trainer, TrainerConfig};

use crate::description::END_OF_TEXT;
use crate::error::InferError;
use crate::formats::vocabulary::Vocabulary;

/// The memory that learning a vocabulary may take for its words.
const TRAIN_MEMORY_BYTES_MAX: usize = 512 << 20;
/// The largest vocabulary: tokens are stored in 16 bits.
pub const VOCABULARY_MAX: usize = 1 << 16;
/// The smallest vocabulary: all bytes, and the end of a text.
pub const VOCABULARY_MIN: usize = 257;
/// The largest tokenizer file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A byte-level BPE tokenizer. Clones share its tables.
#[derive(Clone)]
pub struct TextTokenizer(Arc<Tables>);

struct Tables {
    encoder: Encoder,
    /// The bytes of every token; none for the end of a text.
    bytes: Vec<Vec<u8>>,
    end_of_text: u32,
}

/// Whose tokens these are.
enum Encoder {
    /// A tokenizer that this program trained.
    Own(Box<Tokenizer>),
    /// The vocabulary of a file that another program wrote.
    Foreign(Vocabulary),
}

impl From<Vocabulary> for TextTokenizer {
    /// The tokenizer of another program's file. Its control tokens stand for no text.
    fn from(vocabulary: Vocabulary) -> Self {
        let bytes = (0..vocabulary.size() as u32).map(|token| vocabulary.token_bytes(token).to_vec()).collect();
        let end_of_text = vocabulary.ends.first().copied().unwrap_or(u32::MAX);
        Self(Arc::new(Tables { encoder: Encoder::Foreign(vocabulary), bytes, end_of_text }))
    }
}

impl std::fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextTokenizer").field("vocabulary_size", &self.vocabulary_size()).finish_non_exhaustive()
    }
}

impl TextTokenizer {
    /// Learns a vocabulary of at most `vocabulary` tokens; a small text gives fewer. The same texts
    /// give the same tokenizer.
    ///
    /// # Errors
    /// [`InferError::Tokenizer`] when the size is out of bounds or there is no room for temporary files.
    pub fn train<'a>(texts: impl Iterator<Item = &'a str>, vocabulary: usize) -> Result<Self, InferError> {
        let mut trainer = TextTrainer::new(vocabulary, 0, Arc::default())?;
        trainer.0.feed_from(texts).map_err(fail("train"))?;
        trainer.finish()
    }

    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// [`InferError::Io`]; [`InferError::Damaged`] when it is not a tokenizer as this program makes them.
    pub fn load(path: &Path) -> Result<Self, InferError> {
        let size = std::fs::metadata(path).map_err(InferError::io("read", path))?.len();
        if size > FILE_BYTES_MAX {
            return Err(InferError::damaged(path)(format!("it has {size} bytes, more than {FILE_BYTES_MAX}")));
        }
        let bytes = std::fs::read(path).map_err(InferError::io("read", path))?;
        Self::parse(&bytes).map_err(InferError::damaged(path))
    }

    /// Reads a tokenizer from the contents of its file.
    ///
    /// # Errors
    /// [`InferError::Tokenizer`] when it is not a tokenizer as this program makes them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InferError> {
        Self::parse(bytes).map_err(fail("read"))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let json = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let tokenizer = Tokenizer::from_json(json.to_owned()).map_err(|error| error.to_string())?;
        Self::new(tokenizer)
    }

    /// Writes `tokenizer.json`, atomically; equal tokenizers give equal bytes.
    ///
    /// # Errors
    /// [`InferError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), InferError> {
        let Encoder::Own(tokenizer) = &self.0.encoder else {
            return Err(fail("write")("it is that of another program's file, which holds it already"));
        };
        base::files::write_atomically(path, tokenizer.to_json().as_bytes()).map_err(InferError::io("write", path))
    }

    /// The tokens of a text. Nothing is added at either end.
    ///
    /// # Errors
    /// [`InferError::Tokenizer`] when the text cannot be encoded, which none should be.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, InferError> {
        match &self.0.encoder {
            Encoder::Own(tokenizer) => {
                let mut tokens = Vec::new();
                tokenizer.encode(text, false, &mut tokens).map_err(fail("use"))?;
                Ok(tokens)
            }
            Encoder::Foreign(vocabulary) => vocabulary.encode(text, false),
        }
    }

    /// The tokens of a prompt that a chat template made: words of control tokens in it become those tokens. The text of
    /// a user must not come here as it is.
    ///
    /// # Errors
    /// As [`TextTokenizer::encode`].
    pub fn encode_template(&self, text: &str) -> Result<Vec<u32>, InferError> {
        match &self.0.encoder {
            Encoder::Own(_) => self.encode(text),
            Encoder::Foreign(vocabulary) => vocabulary.encode(text, true),
        }
    }

    /// The text of tokens; bytes that are no UTF-8 become U+FFFD, and the end of a text and tokens
    /// that do not exist become nothing.
    #[must_use]
    pub fn decode(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| self.token_bytes(*token)).copied().collect();
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// The bytes that a token stands for.
    #[must_use]
    pub fn token_bytes(&self, token: u32) -> &[u8] {
        self.0.bytes.get(token as usize).map_or(&[], Vec::as_slice)
    }

    /// The number of tokens, the end of a text among them.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.0.bytes.len()
    }

    /// The token that ends a document.
    #[must_use]
    pub fn end_of_text(&self) -> u32 {
        self.0.end_of_text
    }

    /// Builds the tables, and checks that the tokenizer can do what the type promises.
    fn new(tokenizer: Tokenizer) -> Result<Self, String> {
        let size = tokenizer.vocabulary_size();
        if !(VOCABULARY_MIN..=VOCABULARY_MAX).contains(&size) {
            return Err(format!("its vocabulary has {size} tokens, not {VOCABULARY_MIN} to {VOCABULARY_MAX}"));
        }
        let file: Json = serde_json::from_str(tokenizer.to_json()).map_err(|error| error.to_string())?;
        if !splits_bytes(&file["pre_tokenizer"]) || !file["normalizer"].is_null() || file["model"]["type"] != "BPE" {
            return Err("it is not a byte-level tokenizer without normaliser".to_owned());
        }
        if ["truncation", "padding", "post_processor"].iter().any(|key| !file[key].is_null()) {
            return Err("it cuts, pads or adds tokens".to_owned());
        }
        let end_of_text = tokenizer.token_to_id(END_OF_TEXT).ok_or(format!("it has no token {END_OF_TEXT}"))?;
        if file["added_tokens"].as_array().map_or(0, Vec::len) != 1 {
            return Err(format!("it has special tokens besides {END_OF_TEXT}"));
        }
        let size_u32 = u32::try_from(size).map_err(|error| error.to_string())?;
        let mut bytes = Vec::with_capacity(size);
        for id in 0..size_u32 {
            let token = tokenizer.id_to_token(id).ok_or(format!("it has no token with the number {id}"))?;
            bytes.push(if id == end_of_text { Vec::new() } else { bytes_of(token)? });
        }
        let single: std::collections::BTreeSet<u8> = bytes.iter().filter(|b| b.len() == 1).map(|b| b[0]).collect();
        if single.len() != 256 {
            return Err(format!("{} bytes have no token of their own", 256 - single.len()));
        }
        let tokenizer = Box::new(tokenizer.with_special_tokens_in_text(false));
        Ok(Self(Arc::new(Tables { encoder: Encoder::Own(tokenizer), bytes, end_of_text })))
    }
}

/// Whether a step splits a text and turns it into bytes, and does nothing else.
fn splits_bytes(step: &Json) -> bool {
    match step["type"].as_str() {
        Some("ByteLevel") => step["add_prefix_space"] == false,
        Some("Split") => step["behavior"] == "Isolated",
        Some("Sequence") => step["pretokenizers"].as_array().is_some_and(|steps| {
            steps.iter().all(splits_bytes) && steps.last().is_some_and(|last| last["type"] == "ByteLevel")
        }),
        _ => false,
    }
}

/// Learns a vocabulary from texts that come one after the other.
#[derive(Debug)]
pub struct TextTrainer(Trainer);

impl TextTrainer {
    /// Begins; `threads` of 0 are as many as there are processors, and `stop` ends the learning.
    ///
    /// # Errors
    /// [`InferError::Tokenizer`] when the size is out of bounds.
    pub fn new(vocabulary: usize, threads: usize, stop: Arc<AtomicBool>) -> Result<Self, InferError> {
        if !(VOCABULARY_MIN..=VOCABULARY_MAX).contains(&vocabulary) {
            let what = format!("a vocabulary has {VOCABULARY_MIN} to {VOCABULARY_MAX} tokens, not {vocabulary}");
            return Err(fail("train")(what));
        }
        let config = TrainerConfig {
            scheme: Scheme::Bpe { alphabet: Alphabet::Bytes { split: SplitPattern::Gpt2 } },
            vocabulary_size: vocabulary,
            min_frequency: 2,
            special_tokens: vec![END_OF_TEXT.to_owned()],
            initial_alphabet: (0..0x180)
                .filter_map(char::from_u32)
                .filter(|letter| byte_of(*letter).is_some())
                .collect(),
            memory_bytes_max: TRAIN_MEMORY_BYTES_MAX,
            threads,
            ..TrainerConfig::default()
        };
        Ok(Self(Trainer::new(config).map_err(fail("train"))?.with_stop(stop)))
    }

    /// Takes texts. Neither their order nor how they are divided among calls makes a difference.
    ///
    /// # Errors
    /// [`InferError::Tokenizer`] when there is no room for temporary files.
    pub fn feed(&mut self, texts: &[&str]) -> Result<(), InferError> {
        self.0.feed(texts).map_err(fail("train"))
    }

    /// Learns.
    ///
    /// # Errors
    /// [`InferError::Tokenizer`] when there is no room for temporary files, or the work was stopped.
    pub fn finish(self) -> Result<TextTokenizer, InferError> {
        let tokenizer = self.0.finish(&mut |_| ()).map_err(fail("train"))?;
        TextTokenizer::new(tokenizer).map_err(fail("train"))
    }
}

/// Turns tokens that come one by one into text, and never shows half a character.
#[derive(Debug, Clone)]
pub struct StreamDecoder {
    tokenizer: TextTokenizer,
    /// The beginning of a character whose end has not come.
    pending: Vec<u8>,
}

impl StreamDecoder {
    /// A decoder at the beginning of a text.
    #[must_use]
    pub fn new(tokenizer: &TextTokenizer) -> Self {
        Self { tokenizer: tokenizer.clone(), pending: Vec::new() }
    }

    /// The text that one more token completes; often empty in the middle of a character.
    pub fn push(&mut self, token: u32) -> String {
        self.pending.extend_from_slice(self.tokenizer.token_bytes(token));
        let mut text = String::new();
        let mut done = 0;
        loop {
            match std::str::from_utf8(&self.pending[done..]) {
                Ok(rest) => {
                    text.push_str(rest);
                    done = self.pending.len();
                    break;
                }
                Err(error) => {
                    let valid = done + error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.pending[done..valid]));
                    done = valid;
                    // `None`: the bytes may yet become a character.
                    let Some(wrong) = error.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    done += wrong;
                }
            }
        }
        self.pending.drain(..done);
        text
    }

    /// What is left when no more tokens come: nothing, or U+FFFD for a character that was cut off.
    #[must_use]
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

fn fail<E: ToString>(verb: &'static str) -> impl FnOnce(E) -> InferError {
    move |error| InferError::Tokenizer { verb, what: error.to_string() }
}

/// The bytes behind a token in GPT-2's alphabet: printable Latin-1 characters stand for themselves,
/// and the other bytes, in order, for the characters from U+0100 on.
fn bytes_of(token: &str) -> Result<Vec<u8>, String> {
    token.chars().map(|c| byte_of(c).ok_or_else(|| format!("its token {token:?} is not byte-level"))).collect()
}

fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 4] =
        ["床前明月光，疑是地上霜。", "舉頭望明月，低頭思故鄉。", "the cat sat on the mat", "the hat of the cat"];

    fn tokenizer() -> TextTokenizer {
        TextTokenizer::train(TEXTS.into_iter().cycle().take(40), 300).unwrap()
    }

    #[test]
    fn training_is_deterministic_and_merges_what_is_frequent() {
        let one = tokenizer();
        let text = |one: &TextTokenizer| match &one.0.encoder {
            Encoder::Own(tokenizer) => tokenizer.to_json().to_owned(),
            Encoder::Foreign(_) => unreachable!(),
        };
        assert_eq!(text(&one), text(&tokenizer()));
        assert_eq!(one.vocabulary_size(), 300);
        assert_eq!(one.encode(" the").unwrap().len(), 1);
        assert!(one.encode("明月").unwrap().len() < 6);
    }

    #[test]
    fn a_small_text_gives_a_small_vocabulary() {
        assert_eq!(TextTokenizer::train(std::iter::empty(), 4096).unwrap().vocabulary_size(), 257);
        assert!(TextTokenizer::train(std::iter::empty(), 256).is_err());
    }

    #[test]
    fn every_byte_has_its_character() {
        let all: std::collections::BTreeSet<u8> = (0..0x180).filter_map(char::from_u32).filter_map(byte_of).collect();
        assert_eq!(all.len(), 256);
        // Our table is that of `tokenizer`: what it encodes we decode.
        let one = tokenizer();
        let text: String = (0..0x250).filter_map(char::from_u32).collect();
        assert_eq!(one.decode(&one.encode(&text).unwrap()), text);
    }

    #[test]
    fn a_text_cannot_write_the_special_token() {
        let one = tokenizer();
        let tokens = one.encode("a<|endoftext|>b").unwrap();
        assert!(!tokens.contains(&one.end_of_text()));
        assert_eq!(one.decode(&tokens), "a<|endoftext|>b");
        assert_eq!(one.decode(&[one.end_of_text(), 99_999]), "");
    }

    #[test]
    fn a_file_is_read_back_and_rubbish_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let one = tokenizer();
        one.save(&path).unwrap();
        let two = TextTokenizer::load(&path).unwrap();
        let text = "明月 of the <|endoftext|> cat";
        assert_eq!(one.encode(text).unwrap(), two.encode(text).unwrap());
        assert_eq!(one.end_of_text(), two.end_of_text());
        let good = std::fs::read_to_string(&path).unwrap();
        for bad in
            [&good[..good.len() / 2], "{}", "", &good.replace("<|endoftext|>", "<s>"), &good.replace("\"Ġ\"", "\"Ꮤ\"")]
        {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(TextTokenizer::load(&path), Err(InferError::Damaged { .. })));
        }
        assert!(matches!(TextTokenizer::load(&folder.path().join("absent")), Err(InferError::Io { .. })));
    }

    proptest::proptest! {
        #[test]
        fn every_text_comes_back(text in "(?s).{0,64}") {
            let one = tokenizer();
            let tokens = one.encode(&text).unwrap();
            proptest::prop_assert_eq!(one.decode(&tokens), text.as_str());
            let mut stream = StreamDecoder::new(&one);
            let mut shown: String = tokens.iter().map(|token| stream.push(*token)).collect();
            shown.push_str(&stream.finish());
            proptest::prop_assert_eq!(shown, text);
        }

        #[test]
        fn a_stream_of_any_tokens_is_what_decoding_them_at_once_gives(tokens in proptest::collection::vec(0_u32..300, 0..40)) {
            let one = tokenizer();
            let mut stream = StreamDecoder::new(&one);
            let mut shown: String = tokens.iter().map(|token| stream.push(*token)).collect();
            shown.push_str(&stream.finish());
            proptest::prop_assert_eq!(shown, one.decode(&tokens));
        }
    }
}
