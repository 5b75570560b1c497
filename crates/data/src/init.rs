//! `yard init`: a look at a data file, and the commented project file that follows from it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base::project::{DataFormat, FILE_NAME, Project};
use base::version::is_name;
use base::{ColumnType, Value};

use crate::error::DataError;
use crate::rows::read;
use crate::rows::source::{self, Source};
use crate::rows::types::{self, Typed};

/// Names that outputs usually have, in the order of preference.
const OUTPUT_NAMES: [&str; 16] = [
    "label",
    "target",
    "category",
    "class",
    "intent",
    "y",
    "output",
    "outcome",
    "answer",
    "sentiment",
    "rating",
    "score",
    "price",
    "churn",
    "标签",
    "类别",
];

/// What was found out about a column.
struct Look {
    name: String,
    typed: Typed,
    distinct: usize,
    rows: usize,
    /// Whether every value is a date.
    dates: bool,
}

impl Look {
    /// Whether it only names the row: every value differs, and it is called like an id or is no text
    /// that says anything.
    fn is_id(&self) -> bool {
        let name = self.name.to_lowercase();
        let called = name == "id" || name == "uuid" || name == "index" || name.ends_with("_id");
        called && self.distinct == self.rows && self.rows > 1
    }

    /// Why it is no input, if it is none.
    fn left_out(&self) -> Option<&'static str> {
        match () {
            () if self.is_id() => Some("names the row"),
            () if self.dates => {
                Some("dates the row; to test on the newest rows: [data.split] method = \"time\", by = this column")
            }
            () => None,
        }
    }
}

/// Writes a project file for the data in `path`, to lie in `folder`.
///
/// # Errors
/// [`DataError`] when the data cannot be read, or says nothing that could be learned.
pub fn init(path: &Path, folder: &Path) -> Result<String, DataError> {
    let size_bytes = std::fs::metadata(path).map_err(DataError::io("open", path))?.len();
    let format = source::format_of(path)?;
    let mut source = Source {
        name: path.display().to_string(),
        path: path.to_owned(),
        format,
        split: None,
        size_bytes,
        columns: Vec::new(),
        lines: Vec::new(),
        mark: false,
        held: None,
    };
    source::scan(&mut source)?;
    let rows = if format == DataFormat::Parquet {
        source.columns = read::parquet_columns(&source)?;
        read::parquet_rows(&source)?
    } else {
        source.lines.len() as u64
    };
    let looks = look(&source)?;
    let name = project_name(path);
    let shown = relative(path, folder);
    let useful: Vec<&Look> = looks.iter().filter(|look| look.left_out().is_none()).collect();
    let text = match useful.as_slice() {
        [only] if only.typed.column_type == ColumnType::Text => language(&name, &shown, format, only, rows),
        _ => predict(&name, &shown, &looks, rows, path)?,
    };
    // What is written must be a project file.
    Project::parse(&text, &folder.join(FILE_NAME))?;
    Ok(text)
}

fn look(source: &Source) -> Result<Vec<Look>, DataError> {
    let mut samples: Vec<Vec<Value>> = vec![Vec::new(); source.columns.len()];
    let mut count = 0;
    read::read(source, &source.columns, |row| {
        for (sample, value) in samples.iter_mut().zip(row) {
            sample.push(value);
        }
        count += 1;
        Ok(count < types::ROWS_LOOKED_AT)
    })?;
    let mut looks = Vec::new();
    for (name, values) in source.columns.iter().zip(&samples) {
        let typed = types::infer(name, None, false, values)
            .map_err(|what| DataError::rows(what, "Mend the column, or leave it out."))?;
        let distinct = values
            .iter()
            .map(|value| crate::rows::key(std::slice::from_ref(value)))
            .collect::<std::collections::HashSet<_>>()
            .len();
        let dates = values.iter().any(|value| !value.is_missing()) && values.iter().all(is_date_or_missing);
        looks.push(Look { name: name.clone(), typed, distinct, rows: values.len(), dates });
    }
    Ok(looks)
}

fn is_date_or_missing(value: &Value) -> bool {
    value.as_text().map_or(value.is_missing(), |text| crate::rows::split::date(text.trim()).is_some())
}

/// A project's name from a file's name.
fn project_name(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(64).collect();
    let name = name.trim_matches('-').to_owned();
    if is_name(&name) { name } else { "project".to_owned() }
}

/// The path as it is written in a project file that lies in `folder`.
fn relative(path: &Path, folder: &Path) -> String {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (path, folder) = (absolute(path), absolute(folder));
    let shared = path.components().zip(folder.components()).take_while(|(a, b)| a == b).count();
    let mut out: PathBuf = folder.components().skip(shared).map(|_| "..").collect();
    out.extend(path.components().skip(shared));
    out.display().to_string()
}

/// A TOML string.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

fn language(name: &str, path: &str, format: DataFormat, column: &Look, rows: u64) -> String {
    let column_line =
        if format == DataFormat::Text { String::new() } else { format!("text_column = {}\n", quoted(&column.name)) };
    format!(
        "# Written by `yard init` after a look at {path}: {} rows of text and nothing else,\n\
         # so this is a language model, trained from scratch. `yard plan` prints every derived size.\n\
         name = {}\n\
         family = \"language\"\n\
         seed = 1                      # the same seed gives the same model\n\n\
         [data]\n\
         source = [{}]\n{column_line}\n\
         [data.split]\n\
         valid = 0.05                  # the share that settings are judged by\n\
         test = 0.05                   # the share that the model is judged by\n\n\
         [model]\n\
         size = \"small\"                # tiny, small or medium; width, layers, heads, context can be set\n\n\
         # [train]\n\
         # epochs = 3                  # derived from the amount of text where it is left out\n\n\
         [compress]                    # int8 weights\n\
         quality_drop_max = 0.02       # refused if the perplexity rises by more than this share\n",
        base::units::count(rows),
        quoted(name),
        quoted(path),
    )
}

fn predict(name: &str, path: &str, looks: &[Look], rows: u64, file: &Path) -> Result<String, DataError> {
    let output = output(looks).ok_or_else(|| {
        DataError::file(
            file,
            "no column could be an output: all are free text, or name the row",
            "Write yard.toml by hand: see docs/yard.toml.md.",
        )
    })?;
    let mut text = format!(
        "# Written by `yard init` after a look at {path}: {} rows, {} columns.\n\
         # Read it, correct it, then run `yard plan` and `yard run`.\n\
         name = {}\n\
         family = \"predict\"            # columns in, columns out\n\
         seed = 1                      # the same seed gives the same model\n\n\
         [data]\n\
         source = [{}]\n\n\
         [data.split]                  # stratified by class where there is one\n\
         valid = 0.1                   # the share that settings are judged by\n\
         test = 0.1                    # the share that the model is judged by\n",
        base::units::count(rows),
        looks.len(),
        quoted(name),
        quoted(path),
    );
    let mut inputs = 0;
    for (index, look) in looks.iter().enumerate().filter(|(index, _)| *index != output) {
        let about = format!("{}, {} distinct", look.typed.why, base::units::count(look.distinct as u64));
        if let Some(why) = look.left_out() {
            let _ = write!(text, "\n# Left out: column {} {why} ({about}).\n", quoted(&look.name));
            continue;
        }
        if inputs > 0 && looks[..index].iter().any(|other| other.name == look.name) {
            continue;
        }
        inputs += 1;
        let _ = write!(
            text,
            "\n[[input]]\ncolumn = {}\ntype = \"{}\"  # {about}\n",
            quoted(&look.name),
            look.typed.column_type.name()
        );
    }
    if inputs == 0 {
        return Err(DataError::file(
            file,
            "no column is left to predict from",
            "A project needs at least one input and one output.",
        ));
    }
    let look = &looks[output];
    let kind = output_type(look);
    let metric = if kind == ColumnType::Number { "r2" } else { "accuracy" };
    let _ = write!(
        text,
        "\n[[output]]                    # guessed from its name, place and values\ncolumn = {}\ntype = \"{}\"  # {} distinct values\n\n\
         [compress]                    # int8 weights\n\
         quality_drop_max = 0.01       # refused if the quality falls by more than this\n\n\
         [package]                     # an OCI image, made without Docker\n\n\
         # What a version must show before it may become champion:\n\
         # [[rollout.gate]]\n\
         # metric = \"{metric}\"\n\
         # min = 0.8\n",
        quoted(&look.name),
        kind.name(),
        base::units::count(look.distinct as u64),
    );
    Ok(text)
}

fn output_type(look: &Look) -> ColumnType {
    if look.typed.column_type == ColumnType::Text { ColumnType::Category } else { look.typed.column_type }
}

/// The column that is most likely the output: by name, else the last that is no free text.
fn output(looks: &[Look]) -> Option<usize> {
    let possible = |look: &Look| {
        let varied = look.distinct > 1 && look.left_out().is_none();
        // Text with few distinct values in a small file may be a class.
        varied && (look.typed.column_type != ColumnType::Text || look.distinct * 2 <= look.rows)
    };
    for name in OUTPUT_NAMES {
        if let Some(index) = looks.iter().position(|look| look.name.to_lowercase() == name && possible(look)) {
            return Some(index);
        }
    }
    (0..looks.len()).rev().find(|index| possible(&looks[*index]))
}
