//! Benchmarks: `cargo xtask bench` measures the program itself ([`frame`]), `cargo xtask bench train` its training
//! beside PyTorch's ([`train`], [`peers`]), `cargo xtask bench infer` its inference beside llama.cpp's ([`infer`]), `cargo xtask bench load` its server under too
//! much load ([`load`]), `cargo xtask bench data` what is done to data beside datatrove and others ([`data`]). Nothing here is a test, because a busy machine is no defect.

mod data;
mod frame;
mod infer;
mod load;
mod peers;
mod quiet;
mod train;

use crate::steps::{Outcome, cargo};

/// Runs what the words behind `bench` say.
pub fn run(words: &[&str]) -> Outcome {
    match words {
        [] => frame::run(),
        ["train", words @ ..] => train::run(words),
        ["infer", words @ ..] => infer::run(words),
        ["data", words @ ..] => data::run(words),
        ["load", words @ ..] => load::run(words),
        _ => Err(crate::USAGE.to_owned()),
    }
}

/// Builds the program and all examples in the words of the tests: in others, features differ, and all is built anew.
fn build() -> Outcome {
    cargo(&["build", "--release", "--workspace", "--all-targets"], &[])
}

/// The words without `--rounds N`, and its number.
fn rounds<'a>(words: &[&'a str], default: usize) -> Result<(Vec<&'a str>, usize), String> {
    let (mut rest, mut rounds) = (Vec::new(), default);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if *word == "--rounds" {
            let number = words.next().and_then(|word| word.parse().ok()).filter(|rounds| *rounds > 0);
            rounds = number.ok_or("--rounds needs a number above 0")?;
        } else {
            rest.push(*word);
        }
    }
    Ok((rest, rounds))
}
