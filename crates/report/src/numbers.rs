//! The numbers of a report: the headline, the metrics, what compression cost, what the image weighs,
//! and the settings they came from. Each number says how it was obtained.

use base::{Measure, Provenance, units};
use maud::{Markup, html};
use serde_json::Value as Json;
use store::{Run, RunStatus};

use crate::chart::significant;
use crate::page::{damaged, not_made, section};
use crate::story::{File, Story};

/// The metrics that a founder asks for first, the most telling first.
const HEADLINE: [&str; 8] =
    ["accuracy", "r2", "perplexity", "macro_f1", "roc_auc", "rmse", "bits_per_byte", "log_loss"];
/// How many of them stand in the header.
const HEADLINE_MAX: usize = 3;

/// The tiles of the header.
pub(crate) fn headline(story: &Story) -> Markup {
    let metrics = story.file("metrics.json").json().map(measures).unwrap_or_default();
    let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let found = HEADLINE.iter().flat_map(|wanted| metrics.iter().filter(move |(name, _)| last(name) == *wanted));
    let tiles: Vec<_> = found.take(HEADLINE_MAX).collect();
    let trained = story.run_of("train").filter(|run| run.status == RunStatus::Done);
    let model = story.artifact_with("model.json");
    html! {
        div class="tiles" {
            @for (name, measure) in tiles {
                (tile(name, &value(measure), &format!("{}, {}", word(measure.provenance), measure.method)))
            }
            @if let Some(model) = model { (tile("model size", &units::bytes(model.size_bytes()), "all files of the model")) }
            @if let Some(run) = trained { (tile("training time", &units::seconds(run.seconds()), "measured, wall clock")) }
        }
    }
}

pub(crate) fn tile(name: &str, value: &str, note: &str) -> Markup {
    html! { div class="tile" { span class="name" { (name) } strong { (value) } span class="note" { (note) } } }
}

/// The metrics on the test split.
pub(crate) fn metrics(story: &Story) -> Option<Markup> {
    story.artifact_with("model.json")?;
    let body = match story.file("metrics.json") {
        File::Absent => not_made("metrics"),
        File::Damaged(why) => damaged("metrics.json", &why),
        File::Found(json) => table(&measures(&json)),
    };
    Some(section("metrics", "Metrics", &body))
}

/// What compression changed.
pub(crate) fn compression(story: &Story) -> Option<Markup> {
    let body = match story.file("compression.json") {
        File::Absent => {
            let refused = story.run_of("compress").and_then(|run| run.error.clone())?;
            html! { p class="bad" { (refused) } }
        }
        File::Damaged(why) => damaged("compression.json", &why),
        File::Found(json) => {
            let pairs = before_and_after(&json);
            html! { (changes(&pairs)) (table(&others(&json, &pairs))) }
        }
    };
    Some(section("compression", "Compression", &body))
}

/// What the image weighs and how it is called.
pub(crate) fn package(story: &Story) -> Option<Markup> {
    let body = match story.file("package.json") {
        File::Absent => return None,
        File::Damaged(why) => damaged("package.json", &why),
        File::Found(json) => {
            let facts =
                ["tag", "version", "architecture", "port", "user", "manifest_digest", "config_digest", "binary_digest"];
            html! {
                div class="scroll" { table { tbody {
                    @for name in facts {
                        @if let Some(fact) = json.get(name) { tr { th scope="row" { (name.replace('_', " ")) } td { code { (text(fact)) } } } }
                    }
                } } }
                (table(&json.get("measures").map(measures).unwrap_or_default()))
                @if let Some(libraries) = json.get("libraries").and_then(Json::as_array) {
                    details { summary { (libraries.len()) " shared libraries travel with the program" }
                        ul { @for one in libraries { li { code { (one.get("path").map(text).unwrap_or_default()) } } } }
                    }
                }
            }
        }
    };
    Some(section("package", "Package", &body))
}

/// What the check through the real HTTP interface found.
pub(crate) fn verify(story: &Story) -> Option<Markup> {
    let run = story.run_of("verify")?;
    let body = html! {
        p class=(if run.status == RunStatus::Done { "good" } else { "bad" }) {
            @match (&run.error, run.status) {
                (Some(error), _) => { (error) }
                (None, RunStatus::Done) => { "Every answer of the served model equals the offline one, bit for bit." }
                (None, status) => { "This check is " (status.name()) "." }
            }
        }
        @match story.file("verify.json") {
            File::Found(json) => {
                (table(&measures(&json)))
                @if !json.as_object().is_none_or(|map| map.values().all(|value| as_measure(value).is_some())) { (leaves_table(&json)) }
            }
            File::Damaged(why) => { (damaged("verify.json", &why)) }
            File::Absent => {}
        }
    };
    Some(section("verify", "Verification", &body))
}

/// The settings of every run, derived values filled in.
pub(crate) fn settings(story: &Story) -> Markup {
    let focus = story.focus.as_ref().map(|run| run.id);
    let body = html! {
        @for run in &story.runs {
            @let open = focus == Some(run.id) || run.stage == "train";
            details open[open] {
                summary { (run.stage) " " span class="note" { "run " (run.id) ", seed " (run.seed) } }
                (leaves_table(&run.config))
            }
        }
    };
    section("settings", "Settings", &body)
}

/// The leaves of a JSON value that are not part of a [`Measure`], as a table.
fn leaves_table(json: &Json) -> Markup {
    let mut rows = Vec::new();
    leaves("", json, &mut rows);
    html! {
        @if rows.is_empty() { p class="note" { "No settings." } } @else {
            div class="scroll" { table { tbody {
                @for (name, value) in rows { tr { th scope="row" { code { (name) } } td { (value) } } }
            } } }
        }
    }
}

fn leaves(path: &str, json: &Json, rows: &mut Vec<(String, String)>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match json {
        _ if as_measure(json).is_some() => {}
        Json::Object(map) => map.iter().for_each(|(key, value)| leaves(&below(key), value, rows)),
        Json::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (index, item) in items.iter().enumerate() {
                leaves(&below(&index.to_string()), item, rows);
            }
        }
        Json::Array(items) if items.is_empty() => rows.push((path.to_owned(), "none".to_owned())),
        Json::Array(items) => rows.push((path.to_owned(), items.iter().map(text).collect::<Vec<_>>().join(", "))),
        other => rows.push((path.to_owned(), text(other))),
    }
}

/// One line of facts about a run: how it ended, when, how long it took.
pub(crate) fn run_line(run: &Run) -> Markup {
    html! {
        span class=(format!("status {}", run.status.name())) { (run.status.name()) }
        " " (run.stage) ", run " (run.id) ", " (moment(run.started_ms))
        @if run.ended_ms.is_some() { ", " (units::seconds(run.seconds())) }
    }
}

/// A table of measures with their provenance.
pub(crate) fn table(list: &[(String, Measure)]) -> Markup {
    html! {
        @if !list.is_empty() {
            div class="scroll" { table {
                thead { tr { th { "name" } th class="number" { "value" } th { "unit" } th { "obtained" } th { "method" } } }
                tbody {
                    @for (name, measure) in list {
                        tr {
                            th scope="row" { (name) }
                            td class="number" { (value(measure)) }
                            td { (unit(measure)) }
                            td { span class=(format!("badge {}", word(measure.provenance))) { (word(measure.provenance)) } }
                            td class="method" { (measure.method) }
                        }
                    }
                }
            } }
        }
    }
}

/// A number before and after compression.
struct Change {
    name: String,
    before: Measure,
    after: Measure,
}

/// Every object with a `before` and an `after`, at any depth.
fn before_and_after(json: &Json) -> Vec<Change> {
    let Json::Object(map) = json else { return Vec::new() };
    let mut found = Vec::new();
    for (key, value) in map {
        let side = |name: &str| value.get(name).and_then(as_measure);
        if let (Some(before), Some(after)) = (side("before"), side("after")) {
            found.push(Change { name: key.clone(), before, after });
        } else {
            found.extend(before_and_after(value));
        }
    }
    found
}

fn others(json: &Json, pairs: &[Change]) -> Vec<(String, Measure)> {
    let of_pair = |name: &str| pairs.iter().any(|pair| name.contains(&format!("{}.", pair.name)));
    measures(json).into_iter().filter(|(name, _)| !of_pair(name)).collect()
}

fn changes(pairs: &[Change]) -> Markup {
    html! {
        @if !pairs.is_empty() {
            div class="scroll" { table {
                thead { tr {
                    th { "name" } th class="number" { "before" } th class="number" { "after" } th class="number" { "change" } th { "unit" } th { "obtained" } th { "method" }
                } }
                tbody {
                    @for pair in pairs {
                        tr {
                            th scope="row" { (pair.name.replace('_', " ")) }
                            td class="number" { (value(&pair.before)) }
                            td class="number" { (value(&pair.after)) }
                            td class="number" { (change(pair.before.value, pair.after.value)) }
                            td { (unit(&pair.after)) }
                            td { span class=(format!("badge {}", word(pair.after.provenance))) { (word(pair.after.provenance)) } }
                            td class="method" { (pair.after.method) }
                        }
                    }
                }
            } }
        }
    }
}

fn change(before: f64, after: f64) -> String {
    if before == after {
        return "none".to_owned();
    }
    let percent = (after / before - 1.0) * 100.0;
    let decimals = if percent.abs() < 1.0 { 2 } else { 1 };
    if percent.is_finite() { format!("{percent:+.decimals$} %").replace('-', "−") } else { "–".to_owned() }
}

/// Every measure at any depth, under its dotted path.
pub(crate) fn measures(json: &Json) -> Vec<(String, Measure)> {
    let Json::Object(map) = json else { return Vec::new() };
    let mut found = Vec::new();
    for (key, value) in map {
        if let Some(measure) = as_measure(value) {
            found.push((key.clone(), measure));
        } else {
            found.extend(measures(value).into_iter().map(|(name, one)| (format!("{key}.{name}"), one)));
        }
    }
    found
}

fn as_measure(json: &Json) -> Option<Measure> {
    json.get("provenance")?;
    serde_json::from_value(json.clone()).ok()
}

fn word(provenance: Provenance) -> &'static str {
    match provenance {
        Provenance::Measured => "measured",
        Provenance::Estimated => "estimated",
        Provenance::Assumed => "assumed",
    }
}

/// A measure's number as people read it: bytes and seconds carry their unit.
fn value(measure: &Measure) -> String {
    let number = measure.value;
    let whole = number >= 0.0 && number.fract() == 0.0 && number < 9e15;
    let count = if whole { number as u64 } else { 0 };
    match measure.unit.as_str() {
        "bytes" if whole => units::bytes(count),
        "s" if number.is_finite() => units::seconds(number),
        _ if whole && number >= 1000.0 => units::count(count),
        _ if (10_000.0..9e15).contains(&number) => units::count(number.round() as u64),
        _ => significant(number, 4),
    }
}

/// The unit, where the number does not carry it.
fn unit(measure: &Measure) -> &str {
    if matches!(measure.unit.as_str(), "bytes" | "s") { "" } else { &measure.unit }
}

/// A JSON leaf as text.
pub(crate) fn text(json: &Json) -> String {
    json.as_str().map_or_else(|| json.to_string(), str::to_owned)
}

/// A point in time, in UTC: `2026-11-24 04:23 UTC`.
pub(crate) fn moment(ms: i64) -> String {
    let (days, minutes) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) / 60_000);
    // Days to a date of the Gregorian calendar, with years that begin in March.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(moment(0), "1970-01-01 00:00 UTC");
        assert_eq!(moment(951_782_400_000), "2000-02-29 00:00 UTC");
        assert_eq!(moment(1_795_494_180_000), "2026-11-24 04:23 UTC");
        assert_eq!(moment(-1), "1969-12-31 23:59 UTC");
    }

    #[test]
    fn measures_are_found_at_any_depth_with_their_pairs() {
        let one = serde_json::json!(Measure::measured(2.0, "bytes", "m"));
        let json = serde_json::json!({ "bytes": { "before": one, "after": one }, "agreement": one, "method": "int8" });
        assert_eq!(measures(&json).len(), 3);
        let pairs = before_and_after(&json);
        assert_eq!(pairs.len(), 1);
        assert_eq!(others(&json, &pairs).len(), 1);
    }
}
