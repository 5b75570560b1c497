//! Printing: results on standard output, errors once with their chain and hint, and the exit code.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use base::{Context, Failure, Fault, Progress, Stop};
use serde_json::{Value as Json, json};

use crate::arguments::OutputArguments;
use crate::progress::{Bars, JsonLines, Lines, Silent, emit};

/// Any failure of any stage.
pub type Error = Box<dyn Failure>;

/// Turns a stage's error into [`Error`]; for `map_err`.
pub fn boxed<E: Failure>(error: E) -> Error {
    Box::new(error)
}

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// What the user asked for; of several processes only one `talks`.
    pub fn new(arguments: OutputArguments, talks: bool) -> Self {
        Self { json: arguments.json && talks, quiet: arguments.quiet || !talks }
    }

    /// Whether machines read the output.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// The context that stages get: progress in the way the user asked for.
    pub fn context(self, threads: usize, stop: Stop) -> Context {
        let progress: Arc<dyn Progress> = if self.json {
            Arc::new(JsonLines)
        } else if self.quiet {
            Arc::new(Silent)
        } else if std::io::stderr().is_terminal() {
            Arc::new(Bars::new())
        } else {
            Arc::new(Lines)
        };
        Context { progress, stop, threads }
    }

    /// One line of a result, for people; machines get the same as one JSON line at the end.
    pub fn line(self, text: &str) {
        if !self.json {
            // A reader that closed the pipe is no reason to fail.
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }

    /// One line that `--quiet` leaves out.
    pub fn aside(self, text: &str) {
        if !self.quiet {
            self.line(text);
        }
    }

    /// The result for machines.
    pub fn result(self, command: &str, result: &Json) {
        if self.json {
            emit(&json!({ "event": "result", "command": command, "result": result }));
        }
    }

    /// A result that is a document of its own: printed as it is, or as the JSON result.
    pub fn document(self, command: &str, text: &str, result: &Json) {
        if self.json {
            self.result(command, result);
        } else {
            let _ = write!(std::io::stdout(), "{text}");
        }
    }

    /// A line that is no result and no error.
    pub fn warning(self, text: &str) {
        if self.json {
            emit(&json!({ "event": "warning", "message": text }));
        } else {
            let _ = writeln!(std::io::stderr(), "warning: {text}");
        }
    }

    /// Prints an error with its hint, and says the exit code.
    pub fn error(self, error: &dyn Failure) -> ExitCode {
        let code = exit_code(error.fault());
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            let text = inner.to_string();
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = inner.source();
        }
        if self.json {
            emit(&json!({ "event": "error", "message": message, "hint": error.hint(), "exit_code": code }));
        } else {
            let mut to = std::io::stderr().lock();
            let _ = writeln!(to, "error: {message}");
            if let Some(hint) = error.hint() {
                let _ = writeln!(to, "hint: {hint}");
            }
        }
        ExitCode::from(code)
    }
}

/// 2 for the user's mistake, 1 for ours, 3 for a gate that said no, 130 for Ctrl-C.
pub fn exit_code(fault: Fault) -> u8 {
    match fault {
        Fault::User => 2,
        Fault::Internal => 1,
        Fault::Gate => 3,
        Fault::Stopped => 130,
    }
}

/// A table of text with aligned columns, two blanks between them.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
