//! What can go wrong between a row or a prompt and its answer.

use std::io;
use std::path::{Path, PathBuf};

use base::failure::{io_fault, io_hint};
use base::{Failure, Fault};

/// What can go wrong with a model, a row or a prompt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// A file of a model or dataset could not be used.
    #[error("failed to {verb} {}: {error}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// What came back.
        error: io::Error,
    },
    /// A file of a model or dataset is not what it should be.
    #[error("failed to read {}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The model was made by another version of the program.
    #[error("failed to load {}: its format is {found}, and this yard knows format {known}", path.display())]
    Format {
        /// The file that says so.
        path: PathBuf,
        /// The format it names.
        found: u64,
        /// The newest format that is known here.
        known: u32,
    },
    /// A model's files do not fit each other.
    #[error("failed to load {}: {what}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A model is of a kind, or asks for something, that is not known here.
    #[error("failed to load {}: {what}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not known, and what is.
        what: String,
    },
    /// A row does not fit the model's inputs.
    #[error("failed to read the input {column}: {what}")]
    Input {
        /// The column's name.
        column: String,
        /// What is wrong with its value.
        what: String,
    },
    /// A row has too few or too many values.
    #[error("failed to read a row: it has {found} values, and the model takes {wanted}")]
    RowLength {
        /// How many values it has.
        found: usize,
        /// How many inputs there are.
        wanted: usize,
    },
    /// A prompt and its completion do not fit the model's context.
    #[error(
        "failed to complete the prompt: it has {prompt} tokens and up to {max_tokens} were asked for, and the model's context is {context}"
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens asked for.
        max_tokens: usize,
        /// The longest sequence of the model.
        context: usize,
    },
    /// A setting of sampling is out of its range.
    #[error("failed to use {setting} = {value}: it must be {range}")]
    Sampling {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        range: &'static str,
    },
    /// A result is too large for a number, because an input is.
    #[error("failed to predict {output}: the result is not a finite number")]
    NotFinite {
        /// The output's name.
        output: String,
    },
    /// Two sketches count by different bins.
    #[error("failed to merge sketches: {what}")]
    Sketch {
        /// Where they differ.
        what: String,
    },
    /// What a text must look like could not be used.
    #[error("failed to {verb} the structure of the answer: {what}")]
    Structure {
        /// What was tried.
        verb: &'static str,
        /// What came back.
        what: String,
    },
    /// A chat template could not be used.
    #[error("failed to {verb} the chat template: {what}")]
    Template {
        /// What was tried.
        verb: &'static str,
        /// What came back.
        what: String,
    },
    /// The engine could not be started.
    #[error("failed to start the engine: {what}")]
    Engine {
        /// What came back.
        what: String,
    },
    /// A tokenizer could not be made or used.
    #[error("failed to {verb} the tokenizer: {what}")]
    Tokenizer {
        /// What was tried.
        verb: &'static str,
        /// What came back.
        what: String,
    },
}

impl InferError {
    /// For `map_err` on input and output.
    pub fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { verb, path, error }
    }

    /// For `map_err` on whatever says that a file is not what it should be.
    pub fn damaged<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |error| Self::Damaged { path, what: error.to_string() }
    }
}

impl Failure for InferError {
    fn fault(&self) -> Fault {
        match self {
            Self::Io { error, .. } => io_fault(error),
            Self::Tokenizer { .. } | Self::Sketch { .. } | Self::Engine { .. } => Fault::Internal,
            _ => Fault::User,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Io { error, .. } => return io_hint(error),
            Self::Damaged { .. } | Self::Unfit { .. } => {
                "The file was changed after it was made, or is no file of a model. Make it again with `yard run --repair`, or copy it anew."
            }
            Self::Unsupported { .. } => {
                "Use a model of a kind that is known, or a copy that its makers converted to one; a newer yard may know more."
            }
            Self::Format { found, known, .. } if *found > u64::from(*known) => {
                "Use the yard that made the model, or a newer one."
            }
            Self::Format { .. } => "Make the model again with this yard: `yard run`.",
            Self::Input { .. } | Self::RowLength { .. } => "`yard show` lists a model's inputs with their types.",
            Self::TooLong { .. } => "Shorten the prompt, or ask for fewer tokens (max_tokens).",
            Self::NotFinite { .. } => "Look for a number in the row that is far from all that training saw.",
            Self::Sketch { .. } => "Sketches can be merged when one model version made them.",
            Self::Structure { .. } => {
                "A JSON Schema, a regular expression or a grammar says what the answer must look like; see what it says is wrong."
            }
            Self::Template { .. } => {
                "The model's own template refuses these messages, or is no template that is known here; send other messages, or a prompt."
            }
            Self::Engine { .. } => "The system is short of threads or memory; close other programs.",
            Self::Sampling { .. } | Self::Tokenizer { .. } => return None,
        };
        Some(text.to_owned())
    }
}
