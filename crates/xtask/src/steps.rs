//! Running commands, and where things are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

pub type Outcome = Result<(), String>;

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map_or_else(PathBuf::new, Path::to_owned)
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    if folder.is_absolute() { folder } else { root().join(folder) }
}

/// The release build of `yard`.
pub fn yard() -> PathBuf {
    target().join("release/yard")
}

/// Runs a step and says how long it took.
pub fn step(name: &str, work: impl FnOnce() -> Outcome) -> Outcome {
    println!("==> {name}");
    let begun = Instant::now();
    work().map_err(|message| format!("{name} failed: {message}"))?;
    println!("    {name}: ok in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Runs cargo in the root with some variables set.
pub fn cargo(arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
    command(Path::new(env!("CARGO")), arguments, variables)
}

/// A program that does not hear what `cargo run` said to this one: build scripts (ring's) look at these variables, and half
/// the workspace would be built anew whenever cargo is called with and without `xtask` in turn.
fn child(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let of_this_run = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
        if of_this_run.iter().any(|start| name.to_string_lossy().starts_with(start)) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a program in the root; its output is shown.
pub fn command(program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let status = child(program)
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(root())
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("{} did not start: {error}", program.display()))?;
    if status.success() { Ok(()) } else { Err(format!("{} {} gave {status}", program.display(), arguments.join(" "))) }
}

/// The standard output of cargo in the root.
pub fn cargo_output(arguments: &[&str]) -> Result<Vec<u8>, String> {
    let output = child(Path::new(env!("CARGO")))
        .args(arguments)
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo did not start: {error}"))?;
    if output.status.success() { Ok(output.stdout) } else { Err(format!("cargo {} failed", arguments.join(" "))) }
}

/// Every file below a folder with one of these endings, without build outputs and stores.
pub fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut due = vec![folder.to_owned()];
    while let Some(next) = due.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["target", ".git", ".yard"].contains(&name.as_str()) {
                    due.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
