//! The programs that ours are measured against, in a virtual environment under the user's cache.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value as Json;

use crate::steps;

/// What the environment needs, at the versions that are measured.
const PACKAGES: [&str; 2] = ["torch==2.15.0", "numpy"];
/// Says with its exit code whether they are there.
const PROBE: &str = "import numpy, torch, sys; sys.exit(torch.__version__.split('+')[0] != '2.15.0')";

/// A Python that has the peers.
pub struct Python(PathBuf);

impl Python {
    /// The environment that the variable `YARD_PEERS` names, or `modelyard/peers` in the user's cache; it is made,
    /// and filled, where it is missing.
    pub fn find() -> Result<Self, String> {
        Self::find_with(&PACKAGES, PROBE)
    }

    /// The same with other packages, which `probe` finds.
    pub fn find_with(packages: &[&str], probe: &str) -> Result<Self, String> {
        let folder = folder()?;
        let python = folder.join("bin/python");
        if !python.exists() {
            println!("==> a virtual environment for the peers, in {}", folder.display());
            steps::command(Path::new("python3"), &["-m", "venv", &folder.to_string_lossy()], &[])?;
        }
        let ready = Command::new(&python).args(["-c", probe]).stderr(Stdio::null()).status();
        if !ready.is_ok_and(|status| status.success()) {
            let words = [["-m", "pip", "install", "--quiet"].as_slice(), packages].concat();
            steps::command(&python, &words, &[])?;
        }
        Ok(Self(python))
    }

    /// Runs `peers/NAME` with some words; what its last line says.
    pub fn run(&self, name: &str, words: &[&str]) -> Result<Json, String> {
        let script = script(name);
        output(&self.0, &[&[&*script.to_string_lossy()], words].concat())
    }

    /// `peers/NAME` with some words, to be run.
    pub fn command(&self, name: &str, words: &[&str]) -> Command {
        let mut command = Command::new(&self.0);
        command.arg(script(name)).args(words);
        command
    }
}

fn script(name: &str) -> PathBuf {
    steps::root().join("crates/xtask/peers").join(name)
}

/// Where the environment is.
fn folder() -> Result<PathBuf, String> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = variable("YARD_PEERS") {
        return Ok(folder);
    }
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    Ok(cache.ok_or("neither YARD_PEERS, XDG_CACHE_HOME nor HOME is set")?.join("modelyard/peers"))
}

/// Runs a program; the JSON of its last line.
pub fn output(program: &Path, words: &[&str]) -> Result<Json, String> {
    let shown = || format!("{} {}", program.display(), words.join(" "));
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{} did not start: {error}", shown()))?;
    if !output.status.success() {
        return Err(format!("{} gave {}:\n{}", shown(), output.status, String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).map_err(|error| format!("{} said {line:?}: {error}", shown()))
}
