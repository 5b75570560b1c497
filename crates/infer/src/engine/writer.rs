//! From logits to what a client hears: the next token is chosen, becomes text, and ends the completion or not.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::grammar::Matcher;
use super::schedule::{Cut, Next, Writer};
use crate::language::FinishReason;
use crate::sampling::{Choice, Sampler, Sampling, StopFilter};
use crate::tokenizer::{StreamDecoder, TextTokenizer};

/// The longest end of a text that guesses are looked up by, and the shortest.
const LOOK_UP: [usize; 2] = [4, 2];
/// Guesses that are judged together, and how many of them must be right for guessing to go on.
const JUDGED: usize = 24;
const RIGHT_MIN: usize = 6;
/// Tokens without guesses after guessing went badly.
const PAUSE: usize = 48;

/// What a client hears, in this order: one begin, tokens, one end.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The prompt begins to be computed; so many of its tokens were found in the cache.
    Begin {
        /// Tokens that need not be computed.
        cached: usize,
    },
    /// A token was chosen. The text is what became certain with it, and may be empty.
    Token {
        /// What is certain now.
        text: String,
        /// The token.
        choice: Choice,
    },
    /// The completion is over.
    End(Summary),
    /// It did not come to its end.
    Failed(Failure),
}

/// Why a completion did not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Prompt and completion do not fit the cache.
    CacheTooSmall,
    /// The model's weights overflow.
    NotFinite,
    /// The structure that was asked for allows nothing more.
    Structure,
}

/// A completion as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Text that became certain with the end.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt, and how many of them were found in the cache.
    pub prompt_tokens: usize,
    /// How many of them were found in the cache.
    pub cached_tokens: usize,
    /// Tokens that were chosen, without one that ends a text.
    pub completion_tokens: usize,
    /// From the request to the first step that computed it.
    pub queued: Duration,
    /// From there to the first token.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
}

impl Summary {
    /// Of a completion that has not begun.
    #[must_use]
    pub(crate) fn new(prompt_tokens: usize) -> Self {
        Self {
            text: String::new(),
            finish_reason: FinishReason::Cancelled,
            prompt_tokens,
            cached_tokens: 0,
            completion_tokens: 0,
            queued: Duration::ZERO,
            prefill: Duration::ZERO,
            decode: Duration::ZERO,
        }
    }
}

/// A prompt with all that is asked of its completion.
pub struct Request {
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// How it is continued.
    pub sampling: Sampling,
    /// What the text must look like.
    pub structure: Option<Matcher>,
    /// Whether tokens that end a text are chosen as little as any other that is not allowed.
    pub ignore_end: bool,
    /// Takes the completion out, also while it waits for its turn, once it is true.
    pub cancelled: Arc<AtomicBool>,
    /// Hears every event, must not wait, and takes the completion out by `Break`.
    pub on_event: Box<dyn FnMut(Event) -> ControlFlow<()> + Send>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (prompt, sampling) = (&self.prompt, &self.sampling);
        formatter.debug_struct("Request").field("prompt", prompt).field("sampling", sampling).finish_non_exhaustive()
    }
}

/// Writes one completion.
pub(crate) struct TextWriter {
    sampler: Sampler,
    decoder: StreamDecoder,
    filter: Option<StopFilter>,
    structure: Option<Matcher>,
    ends: Vec<u32>,
    ignore_end: bool,
    cancelled: Arc<AtomicBool>,
    tokens_max: usize,
    summary: Summary,
    asked: Instant,
    begun: Option<Instant>,
    first: Option<Instant>,
    guesses: Guesses,
    on_event: Box<dyn FnMut(Event) -> ControlFlow<()> + Send>,
    gone: bool,
}

/// How guessing goes.
#[derive(Debug, Default)]
struct Guesses {
    open: Vec<u32>,
    judged: usize,
    right: usize,
    pause: usize,
}

impl TextWriter {
    /// `ends` are the tokens that end a text; `asked` is when the request came.
    pub(crate) fn new(request: Request, tokenizer: &TextTokenizer, ends: &[u32], asked: Instant) -> (Vec<u32>, Self) {
        let Request { prompt, sampling, structure, ignore_end, cancelled, on_event } = request;
        let summary = Summary::new(prompt.len());
        let writer = Self {
            sampler: Sampler::new(&sampling, &prompt),
            decoder: StreamDecoder::new(tokenizer),
            filter: Some(StopFilter::new(&sampling.stop)),
            structure,
            ends: ends.to_vec(),
            ignore_end,
            cancelled,
            tokens_max: sampling.max_tokens,
            summary,
            asked,
            begun: None,
            first: None,
            guesses: Guesses::default(),
            on_event,
            gone: false,
        };
        (prompt, writer)
    }

    fn tell(&mut self, event: Event) {
        if !self.gone && (self.on_event)(event).is_break() {
            self.gone = true;
        }
    }

    fn fail(&mut self, failure: Failure) -> Next {
        self.tell(Event::Failed(failure));
        Next::End
    }

    /// The end of the completion; what a character or a stop text was waiting for will not come.
    fn end(&mut self, mut finish_reason: FinishReason, stopped: bool) -> Next {
        let mut text = String::new();
        if let (false, Some(mut filter)) = (stopped, self.filter.take()) {
            let (certain, stopped) = filter.push(&self.decoder.clone().finish());
            text = certain;
            if stopped {
                finish_reason = FinishReason::Stop;
            } else {
                text.push_str(&filter.finish());
            }
        }
        let now = Instant::now();
        let begun = self.begun.unwrap_or(now);
        let first = self.first.unwrap_or(now);
        self.summary.text = text;
        self.summary.finish_reason = finish_reason;
        self.summary.queued = begun.saturating_duration_since(self.asked);
        self.summary.prefill = first.saturating_duration_since(begun);
        self.summary.decode = now.saturating_duration_since(first);
        let summary = self.summary.clone();
        self.tell(Event::End(summary));
        Next::End
    }
}

impl Writer for TextWriter {
    fn next(&mut self, _: &[u32], logits: &mut [f32]) -> Next {
        // One number that is none spreads to the sum.
        if !logits.iter().sum::<f32>().is_finite() {
            return self.fail(Failure::NotFinite);
        }
        let choice = match &mut self.structure {
            Some(structure) => {
                let Some(mask) = structure.allowed() else { return self.fail(Failure::Structure) };
                self.sampler.choose(logits, Some(&|token| mask.allows(token)))
            }
            None if self.ignore_end => {
                let ends = &self.ends;
                self.sampler.choose(logits, Some(&|token| !ends.contains(&token)))
            }
            None => self.sampler.choose(logits, None),
        };
        self.first.get_or_insert_with(Instant::now);
        self.guesses.judge(choice.token);
        let token = choice.token;
        if self.ends.contains(&token) {
            return self.end(FinishReason::Stop, false);
        }
        if self.structure.as_mut().is_some_and(|structure| !structure.took(token)) {
            return self.fail(Failure::Structure);
        }
        self.summary.completion_tokens += 1;
        let decoded = self.decoder.push(token);
        let (text, stopped) = self.filter.as_mut().map_or((String::new(), false), |filter| filter.push(&decoded));
        self.tell(Event::Token { text, choice });
        if stopped {
            return self.end(FinishReason::Stop, true);
        }
        if self.summary.completion_tokens >= self.tokens_max {
            return self.end(FinishReason::Length, false);
        }
        Next::Token(token)
    }

    fn guess(&mut self, tokens: &[u32], most: usize) -> Vec<u32> {
        let most = most.min(self.tokens_max.saturating_sub(self.summary.completion_tokens + 1));
        self.guesses.make(tokens, most)
    }

    fn wants_draft(&mut self, most: usize) -> usize {
        if self.guesses.pause > 0 {
            return 0;
        }
        most.min(self.tokens_max.saturating_sub(self.summary.completion_tokens + 1))
    }

    fn drafted(&mut self, guesses: &[u32]) {
        self.guesses.open = guesses.iter().rev().copied().collect();
    }

    fn is_gone(&self) -> bool {
        self.gone || self.cancelled.load(Ordering::Relaxed)
    }

    fn begins(&mut self, cached: usize) {
        self.begun = Some(Instant::now());
        self.summary.cached_tokens = cached;
        self.tell(Event::Begin { cached });
    }

    fn cut(&mut self, why: Cut) {
        if why == Cut::TooLong {
            self.tell(Event::Failed(Failure::CacheTooSmall));
        }
    }
}

impl Guesses {
    /// The tokens that followed the same end of the text before (prompt look-up decoding, Saxena 2023): the longest end
    /// first, and its last place.
    fn make(&mut self, tokens: &[u32], most: usize) -> Vec<u32> {
        self.open.clear();
        if self.pause > 0 || most == 0 {
            self.pause = self.pause.saturating_sub(1);
            return Vec::new();
        }
        for length in (LOOK_UP[1]..=LOOK_UP[0]).rev() {
            let Some(begin) = tokens.len().checked_sub(length) else { continue };
            let (before, end) = (&tokens[..tokens.len() - 1], &tokens[begin..]);
            let Some(place) = before.windows(length).rposition(|window| window == end) else { continue };
            let from = place + length;
            self.open = tokens[from..(from + most).min(tokens.len())].to_vec();
            // The first of them is compared next.
            self.open.reverse();
            return self.open.iter().rev().copied().collect();
        }
        Vec::new()
    }

    /// Whether the next open guess was right.
    fn judge(&mut self, token: u32) {
        let Some(guess) = self.open.pop() else { return };
        self.judged += 1;
        if guess == token {
            self.right += 1;
        } else {
            // Those behind it were computed in vain.
            self.judged += self.open.len();
            self.open.clear();
        }
        if self.judged >= JUDGED {
            if self.right < RIGHT_MIN {
                self.pause = PAUSE;
            }
            (self.judged, self.right) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_what_followed_before() {
        let mut guesses = Guesses::default();
        assert_eq!(guesses.make(&[1, 2, 3, 4, 9, 1, 2], 3), [3, 4, 9]);
        // The last place, and the longest end.
        assert_eq!(guesses.make(&[5, 1, 2, 7, 8, 1, 2, 6, 5, 1, 2], 2), [7, 8]);
        assert_eq!(guesses.make(&[1, 2, 3], 3), [0_u32; 0]);
        assert_eq!(guesses.make(&[4, 4, 4, 4], 3), [4]);
        assert_eq!(guesses.make(&[], 3), [0_u32; 0]);
    }

    #[test]
    fn bad_guesses_pause() {
        let mut guesses = Guesses::default();
        let tokens = [1, 2, 3, 4, 9, 1, 2];
        let mut made = 0;
        for _ in 0..PAUSE {
            made += usize::from(!guesses.make(&tokens, 3).is_empty());
            guesses.judge(77);
        }
        assert!(made <= JUDGED / 3 + 1, "{made}");
    }
}
