//! From raw cells to clean rows. Whatever is changed or dropped is a line in the ledger.

use std::collections::HashMap;

use base::project::{CleanConfig, DropOrKeep};
use base::{ColumnType, Digest, Value};
use dataset::{LedgerEntry, LedgerWriter, Row, Split};
use infer::clean::{clean_text, clean_value, is_missing_word, read_binary, read_number};
use infer::description::TextCleaning;
use serde_json::{Value as Json, json};

use super::plan::PlannedColumn;
use crate::error::DataError;
use crate::mend::Mender;

/// A clean row, and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) row: Row,
    /// The value to split by.
    pub(crate) by: Value,
    pub(crate) split: Option<Split>,
    pub(crate) place: Place,
}

/// Cleans rows in the order they come.
pub(crate) struct Cleaner<'a> {
    pub(crate) inputs: &'a [PlannedColumn],
    pub(crate) outputs: &'a [PlannedColumn],
    pub(crate) sources: Vec<String>,
    pub(crate) config: &'a CleanConfig,
    pub(crate) text: TextCleaning,
    pub(crate) ledger: LedgerWriter,
    /// The first row with given contents.
    seen: HashMap<[u8; 16], (u64, Option<Split>)>,
    /// The outputs of the first row with given inputs.
    answers: HashMap<[u8; 16], [u8; 16]>,
    pub(crate) test_duplicates: u64,
    pub(crate) contradictions: u64,
    pub(crate) mender: Mender,
    /// Why the row under way is dropped for what a cell of it holds.
    drop_for: Option<String>,
    /// Whether to keep rows that lack an output aside.
    pub(crate) keep_unlabelled: bool,
    /// Rows that were dropped because they lack the only output: what could be labelled next.
    pub(crate) unlabelled: Vec<Row>,
}

/// Where a row stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) id: u64,
    pub(crate) source: usize,
    pub(crate) line: u64,
    pub(crate) split: Option<Split>,
}

impl<'a> Cleaner<'a> {
    pub(crate) fn new(
        inputs: &'a [PlannedColumn],
        outputs: &'a [PlannedColumn],
        sources: Vec<String>,
        config: &'a CleanConfig,
        text: TextCleaning,
        mender: Mender,
        ledger: LedgerWriter,
    ) -> Self {
        let (seen, answers) = (HashMap::new(), HashMap::new());
        Self {
            inputs,
            outputs,
            sources,
            config,
            text,
            ledger,
            seen,
            answers,
            test_duplicates: 0,
            contradictions: 0,
            mender,
            drop_for: None,
            keep_unlabelled: false,
            unlabelled: Vec::new(),
        }
    }

    /// Cleans one row of raw cells: inputs, outputs, and the value to split by. `None` when it is
    /// dropped.
    pub(crate) fn row(&mut self, place: Place, mut raw: Vec<Value>, by: Value) -> Result<Option<Placed>, DataError> {
        let output_cells = raw.split_off(self.inputs.len());
        let (inputs_of, outputs_of) = (self.inputs, self.outputs);
        let mut inputs = Vec::with_capacity(raw.len());
        for (value, column) in raw.into_iter().zip(inputs_of) {
            inputs.push(self.cell(place, column, value)?);
        }
        let mut outputs = Vec::with_capacity(output_cells.len());
        for (value, column) in output_cells.into_iter().zip(outputs_of) {
            outputs.push(self.cell(place, column, value)?);
        }
        if let Some(reason) = self.drop_for.take() {
            return self.drop_row(place, &reason, None, None);
        }
        if self.config.empty == DropOrKeep::Drop && inputs.iter().all(Value::is_missing) {
            return self.drop_row(place, "empty", None, None);
        }
        if let Some(at) = outputs.iter().position(Value::is_missing) {
            if self.keep_unlabelled {
                self.unlabelled.push(Row { id: place.id, inputs, outputs });
            }
            return self.drop_row(place, "missing_output", Some(&outputs_of[at].name), None);
        }
        if self.config.missing == DropOrKeep::Drop
            && let Some(at) = inputs.iter().position(Value::is_missing)
        {
            return self.drop_row(place, "missing_input", Some(&inputs_of[at].name), None);
        }
        let row = Row { id: place.id, inputs, outputs };
        if let Some((first, reason)) = self.duplicate(place, &row) {
            return self.drop_row(place, reason, None, Some(first));
        }
        Ok(Some(Placed { row, by, split: place.split, place }))
    }

    /// A row that could not be read. Its number is that behind the last row.
    pub(crate) fn damaged(&mut self, place: Place, code: &str, message: &str) -> Result<(), DataError> {
        let reason = format!("damaged_{code}");
        self.add(place, "dropped", &reason, None, (json!(message), Json::Null), None)
    }

    /// A label that a correction changed.
    pub(crate) fn corrected(&mut self, placed: &Placed, from: &str, to: &str) -> Result<(), DataError> {
        let column = self.outputs.first().map(|output| output.name.as_str());
        self.add(placed.place, "changed", "label_corrected", column, (json!(from), json!(to)), None)
    }

    /// The row that this one equals, and the reason to drop it for that.
    fn duplicate(&mut self, place: Place, row: &Row) -> Option<(u64, &'static str)> {
        let (inputs, outputs) = (key(&row.inputs), key(&row.outputs));
        let known = *self.answers.entry(inputs).or_insert(outputs);
        self.contradictions += u64::from(known != outputs);
        if self.config.duplicates == DropOrKeep::Keep {
            return None;
        }
        let mut both = [0; 32];
        both[..16].copy_from_slice(&inputs);
        both[16..].copy_from_slice(&outputs);
        let contents = short(Digest::of(&both));
        let (first, split) = *self.seen.entry(contents).or_insert((place.id, place.split));
        if first == place.id {
            return None;
        }
        match (place.split, split) {
            // A given test split stays as it is given.
            (Some(Split::Test), _) => {
                self.test_duplicates += 1;
                None
            }
            (_, Some(Split::Test)) => Some((first, "duplicate_of_test")),
            (Some(Split::Train), Some(Split::Valid)) => Some((first, "duplicate_of_valid")),
            _ => Some((first, "duplicate")),
        }
    }

    fn drop_row(
        &mut self,
        place: Place,
        reason: &str,
        column: Option<&str>,
        of: Option<u64>,
    ) -> Result<Option<Placed>, DataError> {
        self.add(place, "dropped", reason, column, (Json::Null, Json::Null), of)?;
        Ok(None)
    }

    fn add(
        &mut self,
        place: Place,
        action: &str,
        reason: &str,
        column: Option<&str>,
        (before, after): (Json, Json),
        of: Option<u64>,
    ) -> Result<(), DataError> {
        self.ledger.add(&LedgerEntry {
            row: place.id,
            source: self.sources[place.source].clone(),
            line: place.line,
            action: action.to_owned(),
            reason: reason.to_owned(),
            column: column.map(str::to_owned),
            before,
            after,
            of,
        })?;
        Ok(())
    }

    /// One cell, cleaned and brought to its column's type.
    fn cell(&mut self, place: Place, column: &PlannedColumn, value: Value) -> Result<Value, DataError> {
        let kind = column.typed.column_type;
        let text = match (kind, value) {
            (_, Value::Missing) => return Ok(Value::Missing),
            (ColumnType::Number, Value::Number(number)) => return Ok(clean_value(Value::Number(number), self.text)),
            (ColumnType::Binary, Value::Binary(truth)) => return Ok(Value::Binary(truth)),
            (_, Value::Text(text)) => text,
            (_, Value::Number(number)) => number.to_string(),
            (_, Value::Binary(truth)) => truth.to_string(),
        };
        match kind {
            ColumnType::Text | ColumnType::Category => {
                let text = self.text_cell(place, column, text)?;
                let missing = text.trim().is_empty() || (kind == ColumnType::Category && is_missing_word(&text));
                Ok(if missing { Value::Missing } else { Value::Text(text) })
            }
            _ if is_missing_word(&text) => Ok(Value::Missing),
            ColumnType::Number => match read_number(&text) {
                Some(number) => Ok(Value::Number(number + 0.0)),
                None => self.unreadable(place, column, "unreadable_number", &text),
            },
            ColumnType::Binary => match column.typed.labels.as_ref().and_then(|labels| read_binary(&text, labels)) {
                Some(truth) => Ok(Value::Binary(truth)),
                None => self.unreadable(place, column, "unreadable_binary", &text),
            },
        }
    }

    fn unreadable(
        &mut self,
        place: Place,
        column: &PlannedColumn,
        reason: &str,
        text: &str,
    ) -> Result<Value, DataError> {
        self.add(place, "changed", reason, Some(&column.name), (json!(text), Json::Null), None)?;
        Ok(Value::Missing)
    }

    /// Cleans text; Unicode and blanks are separate lines in the ledger.
    fn text_cell(&mut self, place: Place, column: &PlannedColumn, text: String) -> Result<String, DataError> {
        let (mut text, mut changes) = (text, Vec::new());
        self.mender.repair(&mut text, &mut changes);
        if column.typed.column_type == ColumnType::Text
            && let Some(kind) = self.mender.personal(&mut text, &mut changes)
        {
            self.drop_for = Some(format!("personal_{kind}"));
        }
        for change in changes {
            let (before, after) = (json!(change.before), json!(change.after));
            self.add(place, "changed", &change.reason, Some(&column.name), (before, after), None)?;
        }
        for (reason, how) in [
            ("unicode", TextCleaning { unicode: self.text.unicode, whitespace: false }),
            ("whitespace", TextCleaning { unicode: false, whitespace: self.text.whitespace }),
        ] {
            let cleaned = clean_text(&text, how).into_owned();
            if cleaned != text {
                self.add(place, "changed", reason, Some(&column.name), (json!(text), json!(cleaned)), None)?;
                text = cleaned;
            }
        }
        Ok(text)
    }
}

/// A short key of the contents of cells.
pub(crate) fn key(values: &[Value]) -> [u8; 16] {
    let mut bytes = Vec::new();
    for value in values {
        match value {
            Value::Missing => bytes.push(0),
            Value::Binary(truth) => bytes.extend([1, u8::from(*truth)]),
            Value::Number(number) => {
                bytes.push(2);
                bytes.extend(number.to_bits().to_le_bytes());
            }
            Value::Text(text) => {
                bytes.push(3);
                bytes.extend((text.len() as u64).to_le_bytes());
                bytes.extend(text.as_bytes());
            }
        }
    }
    short(Digest::of(&bytes))
}

fn short(digest: Digest) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&digest.bytes()[..16]);
    key
}
