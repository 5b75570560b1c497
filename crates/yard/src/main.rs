//! `yard`: the command line of Modelyard. It parses arguments, composes the stages, and prints; the
//! work is in the stages' crates.
//!
//! **Invariant:** only this crate touches arguments, standard output, the environment and exit codes.

mod arguments;
mod commands;
mod output;
mod pipeline;
mod progress;

use std::process::ExitCode;

use base::Stop;
use clap::Parser as _;

use crate::arguments::Arguments;
use crate::output::Output;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.output);
    let stop = Stop::default();
    stop_on_signals(&stop);
    let context = output.context(arguments.output.threads, stop);
    match commands::execute(arguments.command, output, &context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output.error(&*error),
    }
}

/// The first Ctrl-C (or SIGTERM) asks to stop at the next safe point; the second ends at once.
fn stop_on_signals(stop: &Stop) {
    let stop = stop.clone();
    let handler = move || {
        if stop.asked() {
            std::process::exit(130);
        }
        stop.ask();
    };
    // Without the handler Ctrl-C still ends the program, and the store survives that too.
    let _ = ctrlc::set_handler(handler);
}
