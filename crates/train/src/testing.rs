//! Datasets for tests, made by the fitters that `data` uses.

use std::path::Path;

use base::project::Project;
use base::{ColumnType, Value};
use dataset::{Document, LanguageInfo, PerSplit, Row, Split, write_documents, write_split, write_tokens};
use infer::description::{
    Columns, Encoding, InputDescription, OutputDescription, TOKENIZER_FILE, Target, TextCleaning, TransformerShape,
};
use infer::fit::Fitter;
use infer::tokenizer::TextTokenizer;
use serde_json::json;
use store::{Artifact, StageKey, Store};

use crate::TrainError;

const CLEAN: TextCleaning = TextCleaning { unicode: true, whitespace: true };
const SHAPE: TransformerShape = TransformerShape::llama(0, 8, 1, 1, 8, false);

/// A table with its columns' types, in three splits.
pub(crate) struct Table<'a> {
    pub(crate) inputs: Vec<(&'a str, ColumnType)>,
    pub(crate) outputs: Vec<(&'a str, ColumnType)>,
    /// Text inputs become bags of so many buckets; 0: transformers.
    pub(crate) buckets: u32,
    pub(crate) intercept: bool,
    pub(crate) splits: [Vec<(Vec<Value>, Vec<Value>)>; 3],
}

fn key(name: &str) -> StageKey {
    StageKey { stage: "data", code_version: 1, config: json!(name), inputs: vec![], seed: 0, makes: "dataset" }
}

/// Stores a table as a dataset.
pub(crate) fn table_dataset(store: &Store, name: &str, table: &Table<'_>) -> Artifact {
    let truth = ["false".to_owned(), "true".to_owned()];
    let texts = || table.splits[0].iter().flat_map(|row| row.0.iter().filter_map(Value::as_text));
    let tokenizer = (table.buckets == 0 && table.inputs.iter().any(|input| input.1 == ColumnType::Text))
        .then(|| TextTokenizer::train(texts(), 300).unwrap());
    let input = |(name, column_type): &(&str, ColumnType)| {
        let encoding = match column_type {
            ColumnType::Number => Encoding::Number { mean: 0.0, deviation: 1.0 },
            ColumnType::Binary => Encoding::Binary { labels: truth.clone() },
            ColumnType::Category => Encoding::Category { labels: Vec::new() },
            // The transformer's sizes are train's to derive.
            ColumnType::Text if table.buckets == 0 => Encoding::Transformer { shape: SHAPE, tokens_max: 16 },
            ColumnType::Text => Encoding::Bag { word_ngrams: [1, 2], character_ngrams: [2, 5], buckets: table.buckets },
        };
        InputDescription { name: (*name).to_owned(), column_type: *column_type, encoding, offset: 0 }
    };
    let output = |(name, column_type): &(&str, ColumnType)| {
        let target = match column_type {
            ColumnType::Number => Target::Number { mean: 0.0, deviation: 1.0 },
            ColumnType::Binary => Target::Binary { labels: truth.clone() },
            _ => Target::Category { labels: Vec::new() },
        };
        OutputDescription { name: (*name).to_owned(), target, weight: 1.0, squared: false }
    };
    let inputs = table.inputs.iter().map(input).collect();
    let outputs = table.outputs.iter().map(output).collect();
    let mut fitter = Fitter::new(Columns { clean: CLEAN, inputs, outputs }, table.intercept);
    for (inputs, outputs) in &table.splits[0] {
        fitter.observe(inputs, outputs);
    }
    let preprocessor = fitter.finish(tokenizer).unwrap();
    let columns = preprocessor.columns().clone();
    let made = store.stage(&key(name), |work| {
        preprocessor.save(work.out())?;
        for (split, rows) in Split::ALL.into_iter().zip(&table.splits) {
            let row = |(id, row): (usize, &(Vec<Value>, Vec<Value>))| Row {
                id: id as u64,
                inputs: row.0.clone(),
                outputs: row.1.clone(),
            };
            let rows: Vec<Row> = rows.iter().enumerate().map(row).collect();
            write_split(work.out(), split, &columns, &rows)?;
        }
        Ok::<_, TrainError>(())
    });
    made.unwrap().artifact
}

/// Stores documents as a dataset.
pub(crate) fn text_dataset(store: &Store, name: &str, splits: &[Vec<String>; 3], vocabulary: usize) -> Artifact {
    let tokenizer = TextTokenizer::train(splits[0].iter().map(String::as_str), vocabulary).unwrap();
    let (mut tokens, mut documents, mut bytes) = (PerSplit::default(), PerSplit::default(), PerSplit::default());
    let made = store.stage(&key(name), |work| {
        for (split, texts) in Split::ALL.into_iter().zip(splits) {
            let mut stream: Vec<u16> = Vec::new();
            for text in texts {
                stream.extend(tokenizer.encode(text).unwrap().iter().map(|token| *token as u16));
                stream.push(tokenizer.end_of_text() as u16);
            }
            *tokens.of(split) = stream.len() as u64;
            *documents.of(split) = texts.len() as u64;
            *bytes.of(split) = texts.iter().map(|text| text.len() as u64).sum();
            write_tokens(work.out(), split, &stream)?;
        }
        let test = splits[2].iter().enumerate().map(|(row, text)| Document { row: row as u64, text: text.clone() });
        write_documents(work.out(), &test.collect::<Vec<_>>())?;
        tokenizer.save(&work.out().join(TOKENIZER_FILE))?;
        let vocabulary = tokenizer.vocabulary_size();
        LanguageInfo { clean: CLEAN, vocabulary, tokens, documents, bytes }.save(work.out())?;
        Ok::<_, TrainError>(())
    });
    made.unwrap().artifact
}

/// Stores bytes as a dataset, a token each, without documents or a tokenizer: for trainings that are not published.
pub(crate) fn byte_dataset(store: &Store, splits: [&[u8]; 3]) -> Artifact {
    let made = store.stage(&key("bytes"), |work| {
        let mut tokens = PerSplit::default();
        for (split, bytes) in Split::ALL.into_iter().zip(splits) {
            *tokens.of(split) = bytes.len() as u64;
            write_tokens(work.out(), split, &bytes.iter().map(|byte| u16::from(*byte)).collect::<Vec<_>>())?;
        }
        let (documents, bytes) = (PerSplit::default(), tokens);
        LanguageInfo { clean: CLEAN, vocabulary: 256, tokens, documents, bytes }.save(work.out())?;
        Ok::<_, TrainError>(())
    });
    made.unwrap().artifact
}

/// A project file with the given tables after its columns.
pub(crate) fn project(family: &str, columns: &str, rest: &str) -> Project {
    let text =
        format!("name = \"t\"\nfamily = \"{family}\"\nseed = 3\n[data]\nsource = [\"a.csv\"]\n{columns}\n{rest}\n");
    Project::parse(&text, Path::new("yard.toml")).unwrap()
}
