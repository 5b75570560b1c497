//! The engine of `language` models: a prompt goes through the transformer once, then token follows
//! token from a cache of keys and values.

use std::ops::ControlFlow;
use std::time::Instant;

use rayon::prelude::*;

use crate::clean::clean_text;
use crate::description::{LanguageDescription, TextCleaning};
use crate::engine::{Event, Matcher, Summary};
use crate::error::InferError;
use crate::sampling::{Sampler, Sampling, StopFilter};
use crate::tokenizer::{StreamDecoder, TextTokenizer};
use crate::transformer::{Cache, PIECE_TOKENS, Transformer};
use crate::weights::Shelf;

/// A `language` model ready to answer.
#[derive(Debug)]
pub struct Generator {
    description: LanguageDescription,
    tokenizer: TextTokenizer,
    transformer: Box<Transformer>,
}

/// What followed a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The text, without the prompt and without the stop text.
    pub text: String,
    /// Why it ends.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt, with the one that begins a document.
    pub prompt_tokens: usize,
    /// Tokens that were generated, without the one that ends a document.
    pub completion_tokens: usize,
}

/// Why a completion ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended the document, or a stop text was reached.
    Stop,
    /// As many tokens were generated as were asked for.
    Length,
    /// The caller asked to end.
    Cancelled,
}

impl Generator {
    /// Takes the model's tensors off the shelf.
    pub(crate) fn new(
        description: LanguageDescription,
        tokenizer: TextTokenizer,
        shelf: &mut Shelf<'_>,
    ) -> Result<Self, InferError> {
        let transformer = Box::new(Transformer::new(description.shape.clone(), "", shelf)?);
        Ok(Self { description, tokenizer, transformer })
    }

    /// What the model is.
    #[must_use]
    pub fn description(&self) -> &LanguageDescription {
        &self.description
    }

    /// Its tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// After each token the logits of the next.
    ///
    /// # Panics
    /// When a token is not in the vocabulary.
    #[must_use]
    pub fn logits(&self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let mut cache = Cache::new(self.transformer.shape(), tokens.len());
        let states = self.transformer.forward(tokens, &mut cache);
        let logits = self.transformer.head(&states);
        logits.chunks_exact(self.description.shape.vocabulary).map(<[f32]>::to_vec).collect()
    }

    /// The cross-entropy of every token but the first, as a sum of nats with the number of tokens.
    /// A sequence longer than the context is cut into pieces of the context's length; a piece begins
    /// with the last token of the one before it. Pieces are computed on all threads, and summed up in
    /// their order.
    ///
    /// # Panics
    /// When a token is not in the vocabulary.
    #[must_use]
    pub fn loss(&self, tokens: &[u32]) -> (f64, u64) {
        let targets = tokens.len().saturating_sub(1);
        let starts: Vec<usize> = (0..targets).step_by(self.description.context).collect();
        let sums: Vec<f64> = starts
            .par_iter()
            .map(|start| {
                let end = (start + self.description.context).min(targets);
                self.piece_loss(&tokens[*start..=end])
            })
            .collect();
        (sums.iter().sum(), targets as u64)
    }

    /// Continues a document that begins with the prompt. The prompt is brought to the Unicode form
    /// that training had; an empty one begins a new document.
    ///
    /// `on_text` gets the text as it becomes certain, and ends the completion by `Break`. It is called
    /// after every token and every piece of a long prompt, with an empty text where nothing is certain
    /// yet. All it got, one after the other, is [`Completion::text`].
    ///
    /// # Errors
    /// [`InferError::Sampling`] for settings out of range, [`InferError::TooLong`] when prompt and
    /// completion would not fit the context, [`InferError::NotFinite`] when the weights overflow.
    pub fn complete(
        &self,
        prompt: &str,
        sampling: &Sampling,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Completion, InferError> {
        let mut completion = Completion {
            text: String::new(),
            finish_reason: FinishReason::Cancelled,
            prompt_tokens: 0,
            completion_tokens: 0,
        };
        let summary = self.write(prompt, sampling, None, &mut |event| match event {
            Event::Token { text, .. } => {
                completion.text.push_str(&text);
                on_text(&text)
            }
            _ => on_text(""),
        })?;
        if summary.finish_reason != FinishReason::Cancelled {
            completion.text.push_str(&summary.text);
            // The completion ends here, whatever the answer.
            let _ = on_text(&summary.text);
        }
        completion.finish_reason = summary.finish_reason;
        completion.prompt_tokens = summary.prompt_tokens;
        completion.completion_tokens = summary.completion_tokens;
        Ok(completion)
    }

    /// As [`Generator::complete`], token by token, in the words of [`crate::engine`]: `on_event` hears [`Event::Begin`]
    /// after every piece of the prompt and [`Event::Token`], and ends the completion by `Break`. `structure` says what
    /// the text must look like.
    ///
    /// # Errors
    /// As [`Generator::complete`]; [`InferError::Structure`] when the structure allows nothing more.
    pub fn write(
        &self,
        prompt: &str,
        sampling: &Sampling,
        structure: Option<Matcher>,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Summary, InferError> {
        sampling.check()?;
        let begun = Instant::now();
        let prompt = self.prompt_tokens(prompt)?;
        let (context, max_tokens) = (self.description.context, sampling.max_tokens);
        if prompt.len().saturating_add(max_tokens) > context {
            return Err(InferError::TooLong { prompt: prompt.len(), max_tokens, context });
        }
        let mut summary = Summary::new(prompt.len());
        // The last token is never fed back.
        let mut cache = Cache::new(self.transformer.shape(), prompt.len() + max_tokens - 1);
        let mut state = Vec::new();
        for piece in prompt.chunks(PIECE_TOKENS) {
            state = self.transformer.forward(piece, &mut cache);
            if on_event(Event::Begin { cached: 0 }).is_break() {
                return Ok(summary);
            }
        }
        let first = Instant::now();
        summary.prefill = first - begun;
        let sampler = Sampler::new(sampling, &prompt);
        self.generate(&mut summary, &mut cache, state, (sampler, sampling, structure), on_event)?;
        summary.decode = first.elapsed();
        Ok(summary)
    }

    fn generate(
        &self,
        summary: &mut Summary,
        cache: &mut Cache,
        mut state_tw: Vec<f32>,
        (mut sampler, sampling, mut structure): (Sampler, &Sampling, Option<Matcher>),
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<(), InferError> {
        let mut decoder = StreamDecoder::new(&self.tokenizer);
        let mut filter = StopFilter::new(&sampling.stop);
        let nothing = || InferError::Structure { verb: "go on with", what: "it allows nothing more".to_owned() };
        loop {
            let last = state_tw.len() - self.description.shape.width;
            let mut logits = self.transformer.head(&state_tw[last..]);
            if logits.iter().any(|logit| !logit.is_finite()) {
                return Err(InferError::NotFinite { output: "the next token".to_owned() });
            }
            let choice = match &mut structure {
                Some(structure) => {
                    let mask = structure.allowed().ok_or_else(nothing)?;
                    sampler.choose(&mut logits, Some(&|token| mask.allows(token)))
                }
                None => sampler.choose(&mut logits, None),
            };
            let token = choice.token;
            if token == self.tokenizer.end_of_text() {
                summary.finish_reason = FinishReason::Stop;
                break;
            }
            if structure.as_mut().is_some_and(|structure| !structure.took(token)) {
                return Err(nothing());
            }
            summary.completion_tokens += 1;
            let (text, stopped) = filter.push(&decoder.push(token));
            if on_event(Event::Token { text, choice }).is_break() {
                return Ok(());
            }
            if stopped {
                summary.finish_reason = FinishReason::Stop;
                return Ok(());
            }
            if summary.completion_tokens == sampling.max_tokens {
                summary.finish_reason = FinishReason::Length;
                break;
            }
            state_tw = self.transformer.forward(&[token], cache);
        }
        // What a character or a stop text was waiting for will not come.
        let (mut rest, stopped) = filter.push(&decoder.finish());
        if stopped {
            summary.finish_reason = FinishReason::Stop;
        } else {
            rest.push_str(&filter.finish());
        }
        summary.text = rest;
        Ok(())
    }

    /// The prompt's tokens after the one that stands between documents, as in training.
    fn prompt_tokens(&self, prompt: &str) -> Result<Vec<u32>, InferError> {
        let how = TextCleaning { unicode: self.description.clean.unicode, whitespace: false };
        let mut tokens = vec![self.tokenizer.end_of_text()];
        tokens.extend(self.tokenizer.encode(&clean_text(prompt, how))?);
        self.transformer.check(&tokens)?;
        Ok(tokens)
    }

    /// The summed cross-entropy of one piece, the head in smaller pieces to save memory.
    fn piece_loss(&self, tokens: &[u32]) -> f64 {
        let shape = self.transformer.shape();
        let (inputs, targets) = (&tokens[..tokens.len() - 1], &tokens[1..]);
        let mut cache = Cache::new(shape, inputs.len());
        let states = self.transformer.forward(inputs, &mut cache);
        let mut nats = 0.0;
        for (states, targets) in states.chunks(PIECE_TOKENS * shape.width).zip(targets.chunks(PIECE_TOKENS)) {
            let logits = self.transformer.head(states);
            for (logits, target) in logits.chunks_exact(shape.vocabulary).zip(targets) {
                nats += kernels::log_sum_exp(logits) - f64::from(logits[*target as usize]);
            }
        }
        nats
    }
}
