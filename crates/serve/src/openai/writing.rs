//! Texts on their way: prompts go to the model's engine, and what it says of each text comes back in one order.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::http::StatusCode;
use infer::engine::{Event, Failure, Matcher, Refused, Request, Structure, Summary};
use infer::sampling::{Choice, Sampling};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::access::Charge;
use crate::app::{App, too_slow};
use crate::model::{Loaded, TextModel};
use crate::models::Found;
use crate::refusal::Refusal;

/// A prompt, and how it becomes tokens.
#[derive(Debug, Clone)]
pub(crate) enum Prompt {
    /// The beginning of a text.
    Text(String),
    /// What a chat template made: it writes all special tokens itself.
    Template(String),
    /// Tokens, used as they are.
    Tokens(Vec<u32>),
}

/// What is asked of a model.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) prompts: Vec<Prompt>,
    /// Texts for each prompt.
    pub(crate) choices: usize,
    pub(crate) sampling: Sampling,
    /// The most tokens of a text; without it as many as the context and the server's limit allow.
    pub(crate) max_tokens: Option<usize>,
    pub(crate) structure: Option<Structure>,
    pub(crate) ignore_end: bool,
}

/// Something about one of the texts.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Which text: the choices of the first prompt come first.
    pub(crate) index: usize,
    pub(crate) event: Event,
}

/// Tokens of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Of all prompts, each counted once.
    pub(crate) prompt: usize,
    /// Of the prompts, those that were found in the cache.
    pub(crate) cached: usize,
    /// Of all texts.
    pub(crate) completion: usize,
}

type Message = (usize, Result<Event, Refusal>);

/// Texts under way. Dropping it ends them.
pub(crate) struct Writing {
    app: Arc<App>,
    pub(crate) loaded: Arc<Loaded>,
    slot: Arc<crate::slot::Slot>,
    receiver: UnboundedReceiver<Message>,
    first: Option<Message>,
    cancelled: Arc<AtomicBool>,
    deadline: tokio::time::Instant,
    open: usize,
    choices: usize,
    pub(crate) usage: Usage,
    charge: Charge,
    /// Of each text: tokens that were not charged yet, and when the last of them came.
    tokens: Vec<(u64, Option<Instant>)>,
    /// What traffic is compared by: the prompts, and the texts so far.
    texts: Option<(Vec<String>, BTreeMap<usize, String>)>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        // What was written for somebody who left is charged all the same.
        let written: u64 = self.tokens.iter().map(|(count, _)| count).sum();
        if written > 0 {
            self.charge.usage(0, written);
        }
    }
}

/// One text as a whole.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    pub(crate) text: String,
    /// Every token with the text that became certain with it.
    pub(crate) tokens: Vec<Choice>,
    pub(crate) summary: Option<Summary>,
}

impl Writing {
    /// Begins to write, and waits for the first token, so that what goes wrong before it has a status of its own. A version
    /// that never answered and fails by the program's fault gives way to the one before it, unless it was named.
    pub(crate) async fn start(
        app: &Arc<App>,
        mut found: Found,
        ask: Ask,
        charge: &Charge,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, Refusal> {
        for prompt in &ask.prompts {
            if let Prompt::Text(text) | Prompt::Template(text) = prompt {
                app.config.limits.check_prompt(text.len())?;
            }
        }
        let ask = Arc::new(ask);
        let deadline = tokio::time::Instant::now() + app.config.limits.generate_time_max;
        let mut permit = Some(permit);
        loop {
            let failure = match Self::submit(app, &found, &ask, deadline).await {
                Ok((receiver, cancelled)) => {
                    let texts = found.loaded.traffic.is_some().then(|| {
                        let text = |prompt: &Prompt| match prompt {
                            Prompt::Text(text) | Prompt::Template(text) => text.clone(),
                            Prompt::Tokens(_) => String::new(),
                        };
                        (ask.prompts.iter().map(text).collect(), BTreeMap::new())
                    });
                    let Some(permit) = permit.take() else { return Err(Refusal::internal("a place was lost")) };
                    let mut writing = Self {
                        app: app.clone(),
                        loaded: found.loaded.clone(),
                        slot: found.slot.clone(),
                        receiver,
                        first: None,
                        cancelled,
                        deadline,
                        open: ask.prompts.len() * ask.choices,
                        choices: ask.choices,
                        usage: Usage::default(),
                        charge: charge.clone(),
                        tokens: vec![(0, None); ask.prompts.len() * ask.choices],
                        texts,
                        _permit: permit,
                    };
                    match writing.receive().await {
                        (index, Ok(event)) => {
                            writing.first = Some((index, Ok(event)));
                            return Ok(writing);
                        }
                        (_, Err(refusal)) => refusal,
                    }
                }
                Err(refusal) => refusal,
            };
            if !failure.is_internal() || found.pinned {
                return Err(failure);
            }
            match found.slot.reject(&found.loaded, &failure.message, &app.metrics) {
                Some(previous) => found.loaded = previous,
                None => return Err(failure),
            }
            permit = Some(app.admit()?);
        }
    }

    async fn submit(
        app: &Arc<App>,
        found: &Found,
        ask: &Arc<Ask>,
        deadline: tokio::time::Instant,
    ) -> Result<(UnboundedReceiver<Message>, Arc<AtomicBool>), Refusal> {
        let (sender, receiver) = unbounded_channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        let (loaded, ask, limit) = (found.loaded.clone(), ask.clone(), app.config.limits.rows_max);
        if loaded.text_model().is_some() {
            // Templates, tokens and grammars take a while; none of it may hold up those who talk to clients.
            let flag = cancelled.clone();
            let shared = app.clone();
            let work = tokio::task::spawn_blocking(move || {
                shared.guarded(|| match loaded.text_model() {
                    Some(model) => hand_over(&loaded, model, &ask, limit, &sender, &flag),
                    None => Err(Refusal::internal("the model changed its kind")),
                })
            });
            let done = tokio::time::timeout_at(deadline, work).await;
            done.map_err(|_| too_slow(app.config.limits.generate_time_max))?
                .unwrap_or_else(|_| Err(Refusal::internal("the request could not be read")))?;
        } else if loaded.generator().is_some() {
            let worker = tokio::time::timeout_at(deadline, app.worker()).await;
            let worker = worker.map_err(|_| too_slow(app.config.limits.generate_time_max))??;
            let (flag, app) = (cancelled.clone(), app.clone());
            tokio::task::spawn_blocking(move || {
                let _worker = worker;
                let result = app.guarded(|| write_one_by_one(&loaded, &ask, limit, &sender, &flag));
                if let Err(refusal) = result {
                    // Nobody may be there to receive it.
                    let _ = sender.send((0, Err(refusal)));
                }
            });
        } else {
            let name = &loaded.name;
            let message = format!("{name} writes no text; models of rows answer at /v2/models/{name}/infer");
            return Err(Refusal::bad_param("model", message));
        }
        Ok((receiver, cancelled))
    }

    /// The next message that is not a beginning.
    async fn receive(&mut self) -> Message {
        if let Some(first) = self.first.take() {
            return first;
        }
        loop {
            match tokio::time::timeout_at(self.deadline, self.receiver.recv()).await {
                Ok(Some((index, Ok(Event::Begin { cached })))) => {
                    if index.is_multiple_of(self.choices) {
                        self.usage.cached += cached;
                    }
                }
                Ok(Some((index, Ok(Event::Failed(failure))))) => return (index, Err(refusal_of(failure))),
                Ok(Some(message)) => return message,
                Ok(None) => return (0, Err(Refusal::internal("the engine ended before the text did"))),
                Err(_) => return (0, Err(too_slow(self.app.config.limits.generate_time_max))),
            }
        }
    }

    /// What comes next; nothing once all texts are over.
    pub(crate) async fn next(&mut self) -> Option<Result<Piece, Refusal>> {
        if self.open == 0 {
            return None;
        }
        let (index, event) = self.receive().await;
        let event = match event {
            Ok(event) => event,
            Err(refusal) => {
                self.open = 0;
                return Some(Err(refusal));
            }
        };
        if let Some((_, texts)) = &mut self.texts {
            let text = match &event {
                Event::Token { text, .. } => text,
                Event::End(summary) => &summary.text,
                Event::Begin { .. } | Event::Failed(_) => "",
            };
            texts.entry(index).or_default().push_str(text);
        }
        match &event {
            Event::Token { .. } => {
                let now = Instant::now();
                if let Some((count, last)) = self.tokens.get_mut(index) {
                    *count += 1;
                    if let Some(last) = last.replace(now) {
                        self.app.metrics.generation.observe_inter_token((now - last).as_secs_f64());
                    }
                }
            }
            Event::End(summary) => self.ended(index, summary),
            Event::Begin { .. } | Event::Failed(_) => {}
        }
        Some(Ok(Piece { index, event }))
    }

    fn ended(&mut self, index: usize, summary: &Summary) {
        self.open -= 1;
        self.usage.completion += summary.completion_tokens;
        let metrics = &self.app.metrics;
        let mut prompt = 0;
        if index.is_multiple_of(self.choices) {
            prompt = summary.prompt_tokens as u64;
            self.usage.prompt += summary.prompt_tokens;
            metrics.prompt_tokens.fetch_add(prompt, Ordering::Relaxed);
        }
        if let Some((uncharged, _)) = self.tokens.get_mut(index) {
            *uncharged = 0;
        }
        self.charge.usage(prompt, summary.completion_tokens as u64);
        let reason = super::finish_reason(summary.finish_reason);
        self.charge.note(|about| about.finish_reasons.push(reason));
        let (generation, cached) = (&metrics.generation, summary.cached_tokens as u64);
        if self.loaded.text_model().is_some() {
            // Others wait for a worker, which is observed there.
            generation.observe_queue(summary.queued.as_secs_f64());
        }
        generation.observe_prefill(summary.prefill.as_secs_f64());
        generation.observe_first_token((summary.queued + summary.prefill).as_secs_f64());
        generation.observe_decode(summary.decode.as_secs_f64());
        generation.observe_tokens(summary.prompt_tokens as u64, summary.completion_tokens as u64);
        generation.add_prefix(cached, (summary.prompt_tokens as u64).saturating_sub(cached));
        metrics.completion_tokens.fetch_add(summary.completion_tokens as u64, Ordering::Relaxed);
        metrics.rows(&self.loaded.name, self.loaded.version, 1);
        if let (Some(traffic), Some((prompts, texts))) = (&self.loaded.traffic, &mut self.texts) {
            let prompt = prompts.get(index / self.choices).map_or("", String::as_str);
            traffic.observe_text(prompt, &texts.remove(&index).unwrap_or_default());
        }
        if self.open == 0 {
            self.slot.answered(&self.loaded);
        }
    }

    /// All texts, in the order of their numbers.
    pub(crate) async fn whole(mut self) -> Result<(Arc<Loaded>, Vec<Whole>, Usage), Refusal> {
        let mut all: Vec<Whole> = (0..self.open).map(|_| Whole::default()).collect();
        while let Some(piece) = self.next().await {
            let Piece { index, event } = piece?;
            let Some(one) = all.get_mut(index) else { continue };
            match event {
                Event::Token { text, choice } => {
                    one.text.push_str(&text);
                    one.tokens.push(choice);
                }
                Event::End(summary) => {
                    one.text.push_str(&summary.text);
                    one.summary = Some(summary);
                }
                Event::Begin { .. } | Event::Failed(_) => {}
            }
        }
        Ok((self.loaded.clone(), all, self.usage))
    }
}

/// Gives every text to the engine.
fn hand_over(
    loaded: &Loaded,
    model: &TextModel,
    ask: &Ask,
    tokens_max: usize,
    sender: &UnboundedSender<Message>,
    cancelled: &Arc<AtomicBool>,
) -> Result<(), Refusal> {
    let context = model.engine.config().context;
    let mut requests = Vec::new();
    for (place, prompt) in ask.prompts.iter().enumerate() {
        let tokens = tokens_of(model, prompt)?;
        let left = context.saturating_sub(tokens.len());
        let max_tokens = ask.max_tokens.unwrap_or_else(|| left.min(tokens_max).max(1));
        if max_tokens > left {
            let message = format!(
                "the prompt has {} tokens and the answer up to {max_tokens}; together they may have {context}",
                tokens.len()
            );
            return Err(Refusal::bad_param("messages", message).code("context_length_exceeded"));
        }
        for choice in 0..ask.choices {
            let index = place * ask.choices + choice;
            let sampling =
                Sampling { max_tokens, seed: ask.sampling.seed.wrapping_add(choice as u64), ..ask.sampling.clone() };
            sampling.check()?;
            let (sender, structure) = (sender.clone(), begin(loaded, ask.structure.as_ref())?);
            requests.push(Request {
                prompt: tokens.clone(),
                sampling,
                structure,
                ignore_end: ask.ignore_end,
                cancelled: cancelled.clone(),
                on_event: Box::new(move |event| match sender.send((index, Ok(event))) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }),
            });
        }
    }
    for request in requests {
        if let Err(refused) = model.engine.submit(request) {
            cancelled.store(true, Ordering::Relaxed);
            let message = match refused {
                Refused::Full => "as many requests wait as may; try again in a second",
                Refused::Closed => "the model is being unloaded; try again in a second",
            };
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message));
        }
    }
    Ok(())
}

fn tokens_of(model: &TextModel, prompt: &Prompt) -> Result<Vec<u32>, Refusal> {
    let tokenizer = model.engine.tokenizer();
    let tokens = match prompt {
        Prompt::Template(text) => tokenizer.encode_template(text)?,
        Prompt::Text(text) => {
            let mut tokens: Vec<u32> = model.begin.into_iter().collect();
            tokens.extend(tokenizer.encode(text)?);
            tokens
        }
        Prompt::Tokens(tokens) => {
            let size = tokenizer.vocabulary_size();
            if let Some(token) = tokens.iter().find(|token| **token as usize >= size) {
                return Err(Refusal::bad_param("prompt", format!("there is no token {token}; there are {size}")));
            }
            tokens.clone()
        }
    };
    if tokens.is_empty() {
        // A text begins with the token that ends the one before it, where there is no other.
        return Ok(vec![model.engine.ends().first().copied().unwrap_or_default()]);
    }
    Ok(tokens)
}

fn begin(loaded: &Loaded, structure: Option<&Structure>) -> Result<Option<Matcher>, Refusal> {
    let Some(structure) = structure else { return Ok(None) };
    let begun = loaded.structures()?.begin(structure);
    begun.map(Some).map_err(|error| Refusal::bad_param("response_format", error.to_string()))
}

/// Texts of a model that writes one after the other.
fn write_one_by_one(
    loaded: &Loaded,
    ask: &Ask,
    tokens_max: usize,
    sender: &UnboundedSender<Message>,
    cancelled: &AtomicBool,
) -> Result<(), Refusal> {
    let Some(generator) = loaded.generator() else { return Err(Refusal::internal("the model changed its kind")) };
    let asked = Instant::now();
    for (place, prompt) in ask.prompts.iter().enumerate() {
        let Prompt::Text(prompt) = prompt else {
            return Err(Refusal::bad_param("prompt", "this model takes its prompt as a text"));
        };
        for choice in 0..ask.choices {
            let index = place * ask.choices + choice;
            let seed = ask.sampling.seed.wrapping_add(choice as u64);
            let max_tokens = ask.max_tokens.unwrap_or_else(|| tokens_max.min(generator.description().context / 2));
            let sampling = Sampling { max_tokens, seed, ..ask.sampling.clone() };
            let structure = begin(loaded, ask.structure.as_ref())?;
            let queued = asked.elapsed();
            let mut tell = |event| {
                let gone = cancelled.load(Ordering::Relaxed) || sender.send((index, Ok(event))).is_err();
                if gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let summary = generator.write(prompt, &sampling, structure, &mut tell)?;
            if cancelled.load(Ordering::Relaxed) {
                return Ok(());
            }
            let _ = sender.send((index, Ok(Event::End(Summary { queued, ..summary }))));
        }
    }
    Ok(())
}

fn refusal_of(failure: Failure) -> Refusal {
    match failure {
        Failure::CacheTooSmall => {
            let message = "prompt and answer are longer than the cache of this server";
            Refusal::bad_param("messages", message).code("context_length_exceeded")
        }
        Failure::NotFinite => Refusal::internal("the model's numbers overflow"),
        Failure::Structure => Refusal::bad_param("response_format", "no token may follow in the structure asked for"),
    }
}
