//! The ledger: every row that was dropped or changed, counted by reason, and the first of them.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::Value as Json;

use crate::numbers::text;
use crate::page::{damaged, section};
use crate::story::Story;

/// A larger ledger is not read for the page.
const BYTES_MAX: u64 = 64 << 20;
/// How many entries of the ledger are shown.
const ENTRIES_SHOWN: usize = 20;
/// Longer values are cut, for the eye.
const VALUE_LENGTH: usize = 160;

/// The ledger: how many rows were dropped or changed for which reason, and the first of them.
pub(crate) fn ledger(story: &Story) -> Option<Markup> {
    let artifact = story.artifact_with("ledger.jsonl")?;
    let size = artifact.files.iter().find(|file| file.path == "ledger.jsonl").map_or(0, |file| file.size_bytes);
    if size > BYTES_MAX {
        let body = html! {
            p {
                "The ledger has " (base::units::bytes(size)) " and is not shown here; its counts stand under Data. "
                code { "yard data --explain-drops" } " prints it."
            }
        };
        return Some(section("ledger", "Ledger", &body));
    }
    let body = match story.bytes("ledger.jsonl")? {
        Err(why) => damaged("ledger.jsonl", &why),
        Ok(bytes) => entries(&bytes),
    };
    Some(section("ledger", "Ledger", &body))
}

fn entries(bytes: &[u8]) -> Markup {
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut first = Vec::new();
    let mut unreadable = 0_u64;
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        let Ok(entry) = serde_json::from_slice::<Json>(line) else {
            unreadable += 1;
            continue;
        };
        let field = |name: &str| entry.get(name).map(text).unwrap_or_default();
        *counts.entry((field("action"), field("reason"))).or_default() += 1;
        if first.len() < ENTRIES_SHOWN {
            first.push(entry);
        }
    }
    html! {
        @if counts.is_empty() { p { "No row was dropped or changed." } } @else {
            div class="scroll" { table {
                thead { tr { th { "action" } th { "reason" } th class="number" { "entries" } } }
                tbody { @for ((action, reason), count) in &counts {
                    tr { td { (action) } td { (reason.replace('_', " ")) } td class="number" { (base::units::count(*count)) } }
                } }
            } }
            details open { summary { "The first " (first.len()) " entries" } (first_entries(&first)) }
        }
        @if unreadable > 0 { p class="bad" { (unreadable) " lines of the ledger cannot be read." } }
    }
}

fn first_entries(entries: &[Json]) -> Markup {
    let cell = |entry: &Json, name: &str| {
        let value = entry.get(name).filter(|value| !value.is_null()).map(text).unwrap_or_default();
        if value.chars().count() > VALUE_LENGTH {
            value.chars().take(VALUE_LENGTH).chain(['…']).collect()
        } else {
            value
        }
    };
    html! {
        div class="scroll" { table {
            thead { tr {
                th class="number" { "row" } th { "source" } th class="number" { "line" } th { "action" } th { "reason" } th { "column" } th { "before" } th { "after" } th class="number" { "equals row" }
            } }
            tbody { @for entry in entries { tr {
                td class="number" { (cell(entry, "row")) }
                td { (cell(entry, "source")) }
                td class="number" { (cell(entry, "line")) }
                td { (cell(entry, "action")) }
                td { (cell(entry, "reason").replace('_', " ")) }
                td { (cell(entry, "column")) }
                td class="text" { (cell(entry, "before")) }
                td class="text" { (cell(entry, "after")) }
                td class="number" { (cell(entry, "of")) }
            } } }
        } }
    }
}
