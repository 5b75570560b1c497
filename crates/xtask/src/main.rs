//! `cargo xtask`: the checks (`test`), the benchmarks (`bench`), and the generated pages (`docs`).
//! What CI runs is exactly `cargo xtask test`.
#![allow(clippy::print_stdout, reason = "a program for developers prints")]
#![allow(clippy::print_stderr, reason = "a program for developers prints")]

mod bench;
mod docs;
mod house;
mod licences;
mod steps;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask test [--full]   every check; --full adds the heavy real counterparts (skopeo, podman, Chromium)
cargo xtask test --mpi      training on several processes alone: installs OpenMPI, trains with two and four ranks
cargo xtask test --ballista documents prepared by a scheduler and three workers alone, one of them killed
cargo xtask test --gpu      the features cuda (its types) and wgpu (on a GPU, or on the processor: installs a Vulkan driver)
cargo xtask bench           start time, second run, server readiness and memory, beside their targets
cargo xtask bench train [WORKLOAD..] [--rounds N] [--cuda]
                            training steps beside PyTorch's: gpt, smollm, minilm, cnn, lstm (default: all, 5 rounds);
                            with --cuda the transformers, both sides on the first NVIDIA GPU
cargo xtask bench infer FILE.gguf.. [FOLDER..] [--rounds N]
                            prompts, answers and chats beside llama.cpp's; an encoder's folder beside PyTorch's and
                            ONNX Runtime's
cargo xtask bench data CORPUS.jsonl LID_MODEL [--rounds N]
                            data beside datatrove, ftfy, Presidio and Hugging Face (installs their Python once)
cargo xtask bench load FILE.gguf [--clients N] [--seconds N]
                            a server under twice the load that it can serve, with clients that hang up and rubbish
cargo xtask docs            write the generated pages: docs/yard.toml.md and docs/yard.schema.json";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["test"] => test::run(false),
        ["test", "--full"] => test::run(true),
        ["bench", words @ ..] => bench::run(words),
        ["test", "--mpi"] => test::mpi(),
        ["test", "--gpu"] => test::gpu(),
        ["test", "--ballista"] => test::ballista(),
        ["docs"] => docs::write(),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
