//! The vocabulary of the training documents, and the tokens of all of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base::Context;
use dataset::Split;
use infer::tokenizer::{TextTokenizer, TextTrainer};

use super::make::{Cut, Pass};
use super::walk::Judged;
use crate::error::DataError;

/// Learns a vocabulary from the training documents, one shard after the other.
pub(super) fn learn(pass: &Pass<'_>, cut: &Cut) -> Result<TextTokenizer, DataError> {
    let task = pass.context.begin("vocabulary", Some(pass.gathered.rows), "documents");
    let mut trainer = TextTrainer::new(pass.plan.vocabulary, pass.context.threads, Arc::default())?;
    let mut walk = pass.walk()?;
    let mut count = 0_u64;
    while let Some(shard) = walk.next_shard()? {
        pass.stopped()?;
        let mut texts: Vec<&str> = Vec::new();
        for judged in &shard {
            if judged.document.reason.is_none() && pass.split(judged, cut)? == Split::Train {
                texts.push(&judged.document.text);
            }
        }
        count += shard.len() as u64;
        trainer.feed(&texts)?;
        task.at(count);
    }
    let tokenizer = trainer.finish()?;
    task.end(&format!("{} tokens", base::units::count(tokenizer.vocabulary_size() as u64)));
    pass.stopped()?;
    Ok(tokenizer)
}

/// The tokens of the kept documents of a shard, each with the end of a text; of dropped ones, none.
pub(super) fn encode(
    context: &Context,
    tokenizer: &TextTokenizer,
    shard: &[Judged],
) -> Result<Vec<Vec<u16>>, DataError> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Vec<u16>>> = Mutex::new(vec![Vec::new(); shard.len()]);
    let failed: Mutex<Option<DataError>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..context.threads.min(shard.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(judged) = shard.get(at) else { break };
                    if judged.document.reason.is_some() {
                        continue;
                    }
                    match tokenizer.encode(&judged.document.text) {
                        Ok(tokens) => {
                            // The vocabulary has at most 65,536 tokens, so each fits.
                            let end = std::iter::once(tokenizer.end_of_text());
                            let tokens = tokens.into_iter().chain(end).map(|token| token as u16).collect();
                            done.lock().unwrap_or_else(PoisonError::into_inner)[at] = tokens;
                        }
                        Err(error) => {
                            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.into());
                            break;
                        }
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}
