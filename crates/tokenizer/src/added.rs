//! Added tokens: what is found in a text before anything else is done to it, special tokens above all.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value;

use crate::error::TokenizerError;
use crate::json::{flag, number, text};
use crate::normalize::Normalizer;
use crate::unicode::{WORD, classes};
use crate::vocabulary::Vocabulary;

/// The most added tokens of a file, and the most bytes of all of them.
const ADDED_MAX: usize = 1 << 16;
const ADDED_BYTES_MAX: usize = 16 << 20;

/// One added token.
#[derive(Debug, Clone)]
struct Token {
    id: u32,
    content: String,
    single_word: bool,
    left: bool,
    right: bool,
    special: bool,
}

/// All added tokens.
#[derive(Debug, Default)]
pub(crate) struct Added {
    /// What is looked for in the text as it is, and in the normalised text.
    original: Option<Matcher>,
    normalized: Option<Matcher>,
    ids: HashMap<String, u32>,
    names: HashMap<u32, Name>,
    /// Special tokens in a text are then only text.
    pub special_is_text: bool,
}

/// What an added token is called.
#[derive(Debug)]
pub(crate) struct Name {
    pub content: String,
    /// What it is taken for when it is decoded: the normalised content, if that is what is looked for.
    pub decoded: String,
    /// Whether decoding may leave it out.
    pub special: bool,
}

#[derive(Debug)]
struct Matcher {
    automaton: AhoCorasick,
    tokens: Vec<Token>,
}

impl Added {
    /// Reads the list; a token gets its number as Hugging Face gives it, which has to be the one in the file.
    pub fn read(
        list: &[Value],
        vocabulary: &Vocabulary,
        normalizer: Option<&Normalizer>,
    ) -> Result<Self, TokenizerError> {
        if list.len() > ADDED_MAX {
            return Err(TokenizerError::unsupported(format!("more than {ADDED_MAX} added tokens")));
        }
        let mut new = Self::default();
        let (mut original, mut normalized) = (Vec::new(), Vec::new());
        let mut next = vocabulary.count() as u32;
        for json in list {
            let content = text(json, "content")?.to_owned();
            if content.is_empty() || new.ids.contains_key(&content) {
                return Err(TokenizerError::unsupported(format!("the added token {content:?}, empty or there twice,")));
            }
            let id = vocabulary.id(&content).unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            let stated = number(json, "id")?;
            if stated != id {
                let what = format!("the added token {content:?} has the number {stated}, and would get {id}");
                return Err(TokenizerError::damaged(what));
            }
            let token = Token {
                id,
                content: content.clone(),
                single_word: flag(json, "single_word")?,
                left: flag(json, "lstrip")?,
                right: flag(json, "rstrip")?,
                special: flag(json, "special")?,
            };
            let mut pattern = content.clone();
            let is_normalized = flag(json, "normalized")?;
            if let Some(normalizer) = normalizer.filter(|_| is_normalized) {
                pattern = normalizer.apply(&content)?.into_owned();
            }
            // Hugging Face looks a normalised name up among contents, and finds it only where both are the same.
            let special = token.special && pattern == content;
            new.names.insert(id, Name { content: content.clone(), decoded: pattern.clone(), special });
            new.ids.insert(content, id);
            if is_normalized { &mut normalized } else { &mut original }.push((pattern, token));
        }
        new.original = Matcher::new(original)?;
        new.normalized = Matcher::new(normalized)?;
        Ok(new)
    }

    pub fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// What an added token is called.
    pub fn name(&self, id: u32) -> Option<&Name> {
        self.names.get(&id)
    }

    /// Numbers and names of all.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.ids.iter().map(|(token, id)| (*id, token.as_str()))
    }

    /// Cuts the text as it is: pieces with where they begin, and tokens.
    pub fn split_original<'t>(&self, text: &'t str, emit: &mut dyn FnMut(Piece<'t>)) {
        split(self.original.as_ref(), text, self.special_is_text, emit);
    }

    /// Cuts the normalised text.
    pub fn split_normalized<'t>(&self, text: &'t str, emit: &mut dyn FnMut(Piece<'t>)) {
        split(self.normalized.as_ref(), text, self.special_is_text, emit);
    }
}

/// A piece of a text.
pub(crate) enum Piece<'t> {
    /// Text, and whether it is the beginning.
    Text(&'t str, bool),
    Token(u32),
}

impl Matcher {
    fn new(patterns: Vec<(String, Token)>) -> Result<Option<Self>, TokenizerError> {
        if patterns.is_empty() {
            return Ok(None);
        }
        if patterns.iter().map(|(pattern, _)| pattern.len()).sum::<usize>() > ADDED_BYTES_MAX {
            return Err(TokenizerError::unsupported(format!("added tokens of more than {ADDED_BYTES_MAX} bytes")));
        }
        let mut seen = std::collections::HashSet::new();
        for (pattern, token) in &patterns {
            if pattern.is_empty() || !seen.insert(pattern) {
                let what =
                    format!("the added token {:?}, which is normalised to nothing or to another,", token.content);
                return Err(TokenizerError::unsupported(what));
            }
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(patterns.iter().map(|(pattern, _)| pattern))
            .map_err(|error| TokenizerError::unsupported(format!("this many added tokens ({error})")))?;
        Ok(Some(Self { automaton, tokens: patterns.into_iter().map(|(_, token)| token).collect() }))
    }
}

fn split<'t>(matcher: Option<&Matcher>, text: &'t str, special_is_text: bool, emit: &mut dyn FnMut(Piece<'t>)) {
    let mut begin = 0;
    for found in matcher.into_iter().flat_map(|matcher| matcher.automaton.find_iter(text).map(move |at| (matcher, at)))
    {
        let (matcher, found) = found;
        let token = &matcher.tokens[found.pattern().as_usize()];
        let (mut start, mut stop) = (found.start(), found.end());
        if special_is_text && token.special {
            continue;
        }
        let word = |character: char| classes().of(u32::from(character)) & WORD != 0;
        let inside =
            text[..start].chars().next_back().is_some_and(word) || text[stop..].chars().next().is_some_and(word);
        if token.single_word && inside {
            continue;
        }
        if token.left {
            start = text[..start].trim_end().len().max(begin);
        }
        if token.right {
            stop = text.len() - text[stop..].trim_start().len();
        }
        if begin < start {
            emit(Piece::Text(&text[begin..start], begin == 0));
        }
        emit(Piece::Token(token.id));
        begin = stop;
    }
    if begin < text.len() {
        emit(Piece::Text(&text[begin..], begin == 0));
    }
}
