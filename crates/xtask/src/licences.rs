//! Holds every dependency's licence against the list in `deny.toml`, from `cargo metadata` alone.
//! `deny.toml` is also what cargo-deny reads, for those who have it.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::steps::{self, Outcome};

pub fn check() -> Outcome {
    let text = std::fs::read_to_string(steps::root().join("deny.toml")).map_err(|error| error.to_string())?;
    let table: toml::Table = text.parse().map_err(|error| format!("deny.toml: {error}"))?;
    let allowed: BTreeSet<String> = table
        .get("licenses")
        .and_then(|licenses| licenses.get("allow"))
        .and_then(toml::Value::as_array)
        .ok_or("deny.toml has no licenses.allow")?
        .iter()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    let bytes = steps::cargo_output(&["metadata", "--format-version", "1", "--locked", "--all-features"])?;
    let metadata: Json = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or("");
        let licence = package["license"].as_str().or_else(|| clarified(&table, name)).unwrap_or("");
        if !acceptable(licence, &allowed) {
            wrong.push(format!("{} {}: {licence:?}", package["name"], package["version"]));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("licences outside deny.toml:\n  {}", wrong.join("\n  "))) }
}

/// What `licenses.clarify` says of a crate without a licence field.
fn clarified<'a>(table: &'a toml::Table, name: &str) -> Option<&'a str> {
    let clarify = table.get("licenses")?.get("clarify")?.as_array()?;
    let entry = clarify.iter().find(|entry| entry.get("crate").and_then(toml::Value::as_str) == Some(name))?;
    entry.get("expression")?.as_str()
}

/// Whether an SPDX expression can be met with allowed licences. An exception (`WITH ...`) counts with
/// its licence. `AND` binds stronger than `OR`; `/` is the old way to write `OR`.
fn acceptable(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut position = 0;
    !words.is_empty() && either(&words, &mut position, allowed) && position == words.len()
}

fn either(words: &[&str], position: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut good = both(words, position, allowed);
    while words.get(*position) == Some(&"OR") {
        *position += 1;
        good |= both(words, position, allowed);
    }
    good
}

fn both(words: &[&str], position: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut good = one(words, position, allowed);
    while words.get(*position) == Some(&"AND") {
        *position += 1;
        good &= one(words, position, allowed);
    }
    good
}

fn one(words: &[&str], position: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let word = words.get(*position).copied().unwrap_or("");
    *position += 1;
    if word == "(" {
        let good = either(words, position, allowed);
        *position += 1;
        return good;
    }
    if words.get(*position) == Some(&"WITH") {
        *position += 2;
    }
    allowed.contains(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_spdx_says() {
        let allowed: BTreeSet<String> = ["MIT", "Apache-2.0"].map(str::to_owned).into();
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "(MIT OR GPL-2.0) AND Apache-2.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(acceptable(good, &allowed), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT AND GPL-3.0) OR BSL-1.1"] {
            assert!(!acceptable(bad, &allowed), "{bad}");
        }
    }
}
