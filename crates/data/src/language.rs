//! The dataset of a `language` project.

use base::{Context, Value};
use dataset::{Document, LanguageInfo, LedgerWriter, PerSplit, Quality, Split, write_documents, write_tokens};
use infer::description::TOKENIZER_FILE;
use infer::tokenizer::TextTokenizer;
use store::Work;

use crate::clean::Cleaner;
use crate::error::DataError;
use crate::plan::Plan;
use crate::predict::column_quality;
use crate::split::{Candidate, divide};
use crate::{each_row, out, source_names};

/// A kept document.
struct Kept {
    row: u64,
    text: Value,
    by: Value,
    split: Option<Split>,
}

pub(crate) fn make(context: &Context, plan: &Plan, work: &Work<'_>) -> Result<(), DataError> {
    let ledger = LedgerWriter::create(out(work))?;
    let mut cleaner = Cleaner::new(&plan.inputs, &[], source_names(plan), &plan.clean, plan.cleaning(), ledger);
    let column = &plan.inputs[0];
    let mut names = vec![column.name.clone()];
    names.extend(plan.split_by.clone());
    let mut kept = Vec::new();
    each_row(context, plan, &names, |place, raw| {
        let mut raw = raw.into_iter();
        let value = raw.next().unwrap_or(Value::Missing);
        if let Some(text) = cleaner.document(place, column, value)? {
            let by = raw.next().unwrap_or(Value::Missing);
            kept.push(Kept { row: place.id, text: Value::Text(text), by, split: place.split });
        }
        Ok(())
    })?;
    let splits = splits(plan, &kept)?;
    let train = || {
        kept.iter()
            .zip(&splits)
            .filter(|(_, split)| **split == Split::Train)
            .filter_map(|(kept, _)| kept.text.as_text())
    };
    if train().next().is_none() {
        return Err(DataError::rows(
            "the training split has no documents",
            "Look at the ledger: yard data --explain-drops.",
        ));
    }
    let tokenizer = TextTokenizer::train(train(), plan.vocabulary)?;
    tokenizer.save(&out(work).join(TOKENIZER_FILE))?;
    let info = write(context, plan, work, &tokenizer, &kept, &splits)?;
    info.save(out(work))?;
    let mut quality = Quality {
        rows_read: plan.rows(),
        rows_kept: kept.len() as u64,
        splits: info.documents,
        columns: vec![column_quality("text", column, kept.iter().map(|kept| &kept.text))],
        ..Quality::default()
    };
    if info.vocabulary < plan.vocabulary {
        quality
            .warnings
            .push(format!("the text gave {} tokens of the {} that were asked for", info.vocabulary, plan.vocabulary));
    }
    (quality.dropped, quality.changed) = cleaner.ledger.finish()?;
    quality.save(out(work))?;
    work.metric("tokens", 0, info.tokens.train as f64)?;
    Ok(())
}

fn splits(plan: &Plan, kept: &[Kept]) -> Result<Vec<Split>, DataError> {
    let given_valid = plan.sources.iter().any(|source| source.split == Some(Split::Valid));
    let ours = plan.sources.iter().all(|source| source.split.is_none());
    let mut splits: Vec<Split> = kept.iter().map(|kept| kept.split.unwrap_or(Split::Train)).collect();
    let open: Vec<usize> = (0..kept.len())
        .filter(|index| kept[*index].split.is_none() || (kept[*index].split == Some(Split::Train) && !given_valid))
        .collect();
    let candidates: Vec<Candidate<'_>> = open
        .iter()
        .map(|index| &kept[*index])
        .map(|kept| Candidate { id: kept.row, contents: std::slice::from_ref(&kept.text), by: &kept.by })
        .collect();
    for (index, split) in open.iter().zip(divide(&candidates, &plan.split, plan.seed, ours)?) {
        splits[*index] = split;
    }
    Ok(splits)
}

/// Tokenises and writes every split.
fn write(
    context: &Context,
    plan: &Plan,
    work: &Work<'_>,
    tokenizer: &TextTokenizer,
    kept: &[Kept],
    splits: &[Split],
) -> Result<LanguageInfo, DataError> {
    let task = context.begin("tokenise", Some(kept.len() as u64), "documents");
    let (mut counts, mut documents, mut bytes) = (PerSplit::default(), PerSplit::default(), PerSplit::default());
    let mut done = 0;
    for wanted in Split::ALL {
        let (mut tokens, mut texts) = (Vec::new(), Vec::new());
        for (kept, _) in kept.iter().zip(splits).filter(|(_, split)| **split == wanted) {
            let text = kept.text.as_text().unwrap_or("");
            // The vocabulary has at most 65,536 tokens, so each fits.
            tokens.extend(tokenizer.encode(text)?.into_iter().map(|token| token as u16));
            tokens.push(tokenizer.end_of_text() as u16);
            *documents.of(wanted) += 1;
            *bytes.of(wanted) += text.len() as u64;
            if wanted == Split::Test {
                texts.push(Document { row: kept.row, text: text.to_owned() });
            }
            done += 1;
            if done % 256 == 0 {
                task.at(done);
                if context.stop.asked() {
                    return Err(DataError::Stopped);
                }
            }
        }
        *counts.of(wanted) = tokens.len() as u64;
        write_tokens(out(work), wanted, &tokens)?;
        if wanted == Split::Test {
            write_documents(out(work), &texts)?;
        }
    }
    task.end("");
    Ok(LanguageInfo {
        clean: plan.cleaning(),
        vocabulary: tokenizer.vocabulary_size(),
        tokens: counts,
        documents,
        bytes,
    })
}
