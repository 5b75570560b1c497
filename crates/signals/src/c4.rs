//! C4's rules, line by line, as datatrove's `c4_filters.py` has them. They change the text: lines go, and so do
//! citations.

use std::borrow::Cow;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind};
use words::{DIGIT, Language, SentenceState, Token, TokenKind, classes, strip, strip_end, strip_start, tokenize};

use crate::config::C4Config;
use crate::lines::characters;
use crate::{Limit, Scratch, SignalsError};

const PHRASES: [&str; 8] = [
    "lorem ipsum",
    "javascript",
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
];
const LOREM_IPSUM: u8 = 1;
const JAVASCRIPT: u8 = 2;
const POLICY: u8 = 4;

static FINDER: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    AhoCorasickBuilder::new().ascii_case_insensitive(true).kind(Some(AhoCorasickKind::DFA)).build(PHRASES).ok()
});

/// Why C4 removes a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineReason {
    /// A word is too long.
    LongWord,
    /// It does not end like a sentence.
    NoTerminalPunctuation,
    /// It has too few words.
    FewWords,
    /// It speaks of JavaScript.
    Javascript,
    /// It speaks of cookies, privacy or terms of use.
    Policy,
}

impl LineReason {
    /// datatrove's name of it, behind `line-filter-`.
    pub fn name(self) -> &'static str {
        match self {
            Self::LongWord => "too_long_word",
            Self::NoTerminalPunctuation => "no_terminal_punc",
            Self::FewWords => "too_few_words",
            Self::Javascript => "javascript",
            Self::Policy => "policy",
        }
    }
}

/// Why C4 drops a whole document at one of its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drop {
    LoremIpsum,
    CurlyBracket,
}

/// One line after C4 looked at it.
pub(crate) struct Line<'a> {
    pub index: usize,
    /// Stripped, without citations.
    pub text: Cow<'a, str>,
    /// `None` if it is kept.
    pub reason: Option<LineReason>,
    pub words: u64,
    pub sentences: u64,
}

/// The text that C4 leaves, and what it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct C4Text {
    /// What is left.
    pub text: String,
    /// Each removed line by its index from 0, among the lines of Python's `splitlines`.
    pub removed: Vec<(usize, LineReason)>,
}

/// The text that C4 leaves of a document; `None` if it drops the document for "lorem ipsum" or a curly bracket.
///
/// # Errors
/// If the text is too long.
pub fn c4_clean(
    text: &str,
    config: &C4Config,
    language: Language,
    scratch: &mut Scratch,
) -> Result<Option<C4Text>, SignalsError> {
    tokenize(text, language, &mut scratch.tokens)?;
    let mut out = C4Text::default();
    let mut first = true;
    let mut keep = |line: Line<'_>| {
        if let Some(reason) = line.reason {
            out.removed.push((line.index, reason));
            return;
        }
        if !first {
            out.text.push('\n');
        }
        first = false;
        out.text.push_str(&line.text);
    };
    let lines: Vec<&str> = words::lines(text).collect();
    let dropped = walk(text, &lines, config, language, &scratch.tokens, &mut scratch.line_tokens, &mut keep);
    if dropped.is_some() {
        return Ok(None);
    }
    let kept = strip(&out.text);
    if kept.len() < out.text.len() {
        out.text = kept.to_owned();
    }
    Ok(Some(out))
}

/// Shows every line, until one drops the document. `tokens` are those of the whole text, `lines` its lines.
pub(crate) fn walk<'a>(
    text: &'a str,
    lines: &[&'a str],
    config: &C4Config,
    language: Language,
    tokens: &[Token],
    line_tokens: &mut Vec<Token>,
    visit: &mut impl FnMut(Line<'a>),
) -> Option<Drop> {
    let phrases = Phrases::of(text);
    let mut rest = tokens;
    for (index, line) in lines.iter().enumerate() {
        let stripped = strip(line);
        let start = stripped.as_ptr() as usize - text.as_ptr() as usize;
        let end = start + stripped.len();
        let skip = rest.iter().take_while(|token| (token.start as usize) < start).count();
        let here = rest[skip..].iter().take_while(|token| token.end as usize <= end).count();
        let inside = &rest[skip..skip + here];
        rest = &rest[skip + here..];
        let mut out = Line { index, text: Cow::Borrowed(stripped), reason: None, words: 0, sentences: 0 };
        match judge(&mut out, inside, text, config, &phrases) {
            Ok(reason) => out.reason = reason,
            Err(dropped) => return Some(dropped),
        }
        if out.reason.is_none() {
            count(&mut out, inside, text, language, line_tokens);
        }
        visit(out);
    }
    None
}

/// The rules in datatrove's order.
fn judge(
    line: &mut Line<'_>,
    tokens: &[Token],
    text: &str,
    config: &C4Config,
    phrases: &Phrases,
) -> Result<Option<LineReason>, Drop> {
    let (chunks, long) = chunks(tokens, text, config.word_length_max);
    if long {
        return Ok(Some(LineReason::LongWord));
    }
    if config.remove_citations
        && let Some(without) = without_citations(&line.text)
    {
        line.text = Cow::Owned(without);
    }
    if config.filter_no_terminal_punctuation
        && (!line.text.ends_with(['.', '?', '!', '"', '\'']) || line.text.ends_with("..."))
    {
        return Ok(Some(LineReason::NoTerminalPunctuation));
    }
    if chunks < config.words_per_line_min {
        return Ok(Some(LineReason::FewWords));
    }
    let found = phrases.within(&line.text);
    if config.filter_lorem_ipsum && found & LOREM_IPSUM != 0 {
        return Err(Drop::LoremIpsum);
    }
    if config.filter_javascript && found & JAVASCRIPT != 0 {
        return Ok(Some(LineReason::Javascript));
    }
    if config.filter_curly_bracket && line.text.contains('{') {
        return Err(Drop::CurlyBracket);
    }
    if config.filter_policy && found & POLICY != 0 {
        return Ok(Some(LineReason::Policy));
    }
    Ok(None)
}

/// How many runs between white space the tokens make, and whether one is longer than allowed.
fn chunks(tokens: &[Token], text: &str, length_max: Limit<u64>) -> (u64, bool) {
    let mut count = 0;
    let mut chunk = (0, 0);
    let too_long = |(start, end): (u32, u32)| {
        matches!(length_max, Limit::At(max)
            if u64::from(end - start) > max && characters(&text[start as usize..end as usize]) > max)
    };
    for token in tokens {
        if token.kind == TokenKind::Space {
            continue;
        }
        if count == 0 || token.start != chunk.1 {
            if too_long(chunk) {
                return (count, true);
            }
            count += 1;
            chunk.0 = token.start;
        }
        chunk.1 = token.end;
    }
    (count, too_long(chunk))
}

/// Words and sentences of a line that is kept. One that lost a citation is cut anew.
fn count(line: &mut Line<'_>, tokens: &[Token], text: &str, language: Language, line_tokens: &mut Vec<Token>) {
    let (tokens, text) = match &line.text {
        Cow::Borrowed(_) => (tokens, text),
        Cow::Owned(changed) => {
            // A part of a text that was short enough.
            if tokenize(changed, language, line_tokens).is_err() {
                return;
            }
            (line_tokens.as_slice(), changed.as_str())
        }
    };
    let mut state = SentenceState::default();
    let (mut words, mut sentences) = (0, 0);
    for token in tokens {
        words += u64::from(token.kind != TokenKind::Space);
        sentences += u64::from(state.starts(*token, text));
    }
    line.words = words;
    // An empty line is one sentence to datatrove.
    line.sentences = sentences.max(1);
}

/// A line without `[12]`, `[edit]` and `[citation needed]`; `None` if it has none.
fn without_citations(line: &str) -> Option<String> {
    let mut out: Option<String> = None;
    let (mut copied, mut at) = (0, 0);
    while let Some(bracket) = memchr::memchr(b'[', &line.as_bytes()[at..]) {
        let start = at + bracket;
        let inside = &line[start + 1..];
        let named = ["edit]", "citation needed]"].into_iter().find(|name| inside.starts_with(name)).map(str::len);
        let length = named.or_else(|| {
            let digits: usize =
                inside.chars().take_while(|character| classes().is(*character, DIGIT)).map(char::len_utf8).sum();
            inside[digits..].starts_with(']').then_some(digits + 1)
        });
        at = start + 1;
        if let Some(length) = length {
            at += length;
            out.get_or_insert_default().push_str(&line[copied..start]);
            copied = at;
        }
    }
    if let Some(out) = &mut out {
        out.push_str(&line[copied..]);
    }
    out
}

/// Which phrases a text holds: most hold none, and then no line is looked at again.
struct Phrases {
    found: u8,
    /// The Kelvin sign is a k in lower case.
    kelvin: bool,
    brackets: bool,
}

impl Phrases {
    fn of(text: &str) -> Self {
        let kelvin = memchr::memmem::find(text.as_bytes(), "\u{212a}".as_bytes()).is_some();
        // A citation taken out of the middle may make a phrase.
        Self { found: search(text), kelvin, brackets: memchr::memchr(b'[', text.as_bytes()).is_some() }
    }

    fn within(&self, line: &str) -> u8 {
        if self.kelvin && line.contains('\u{212a}') {
            return search(&line.to_lowercase());
        }
        if self.found == 0 && !self.brackets { 0 } else { search(line) }
    }
}

fn search(text: &str) -> u8 {
    let Some(finder) = FINDER.as_ref() else { return 0 };
    // Most texts hold none, and that is found out faster.
    if !finder.is_match(text) {
        return 0;
    }
    finder.find_overlapping_iter(text).fold(0, |found, phrase| {
        found
            | match phrase.pattern().as_usize() {
                0 => LOREM_IPSUM,
                1 => JAVASCRIPT,
                _ => POLICY,
            }
    })
}

/// The lines that C4 keeps without the white space around them all, as they stand in the text it leaves.
pub(crate) fn trim_kept<'s, 'a>(kept: &'s [Cow<'a, str>]) -> impl Iterator<Item = &'s str> + use<'s, 'a> {
    let filled = |line: &Cow<'_, str>| !strip(line).is_empty();
    let first = kept.iter().position(filled).unwrap_or(kept.len());
    let last = kept.iter().rposition(filled).unwrap_or(0);
    let inside = if first < kept.len() { &kept[first..=last] } else { &[] };
    let behind = inside.len();
    inside.iter().enumerate().map(move |(index, line)| {
        let mut line: &str = line;
        if index == 0 {
            line = strip_start(line);
        }
        if index + 1 == behind {
            line = strip_end(line);
        }
        line
    })
}
