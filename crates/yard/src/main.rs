//! `yard`: the command line of Modelyard. It parses arguments, composes the stages, and prints; the
//! work is in the stages' crates.
//!
//! **Invariant:** only this crate touches arguments, standard output, the environment and exit codes.

mod arguments;
mod commands;
mod launch;
mod output;
mod pipeline;
mod progress;

use std::process::ExitCode;

use base::{Fault, Stop};
use clap::Parser as _;

use crate::arguments::Arguments;
use crate::launch::Launch;
use crate::output::Output;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let launch = Launch::read();
    let output = Output::new(arguments.output, launch.leads());
    let ranks = match launch.join(&arguments.command) {
        Ok(ranks) => ranks,
        Err(error) => return launch.refuse(output, &*error),
    };
    let stop = Stop::default();
    stop_on_signals(&stop, launch, output);
    let context = output.context(launch.threads(arguments.output.threads), stop);
    match commands::execute(arguments.command, output, &context, &ranks) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = output.error(&*error);
            if error.fault() != Fault::Stopped {
                // The others wait for this process, and would wait for ever.
                ranks.abort(output::exit_code(error.fault()));
            }
            code
        }
    }
}

/// The first Ctrl-C (or SIGTERM) asks to stop at the next safe point; the second ends at once.
fn stop_on_signals(stop: &Stop, launch: Launch, output: Output) {
    let stop = stop.clone();
    let handler = move || {
        if stop.asked() {
            std::process::exit(130);
        }
        stop.ask();
        if launch.size > 1 && launch.leads() {
            // What mpirun sends to the ranks that are left when one has died.
            output.warning(
                "this training was asked to stop, by someone or because one of its processes died; the same command \
                 continues from the last checkpoint",
            );
        }
    };
    // Without the handler Ctrl-C still ends the program, and the store survives that too.
    let _ = ctrlc::set_handler(handler);
}
