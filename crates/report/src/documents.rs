//! The documents of a language model: the retention waterfall, samples of what each rule dropped, how signals lie among kept
//! and dropped ones, languages, personal data, licences, and drift since the last version.

use std::collections::BTreeMap;

use base::units;
use dataset::{DocumentsQuality, Licence, NumberQuality, QUALITY_FILE, Quality, Sample, SignalQuality, Step};
use maud::{Markup, html};

use crate::chart::{Bar, Chart, Kind, Series, bars};
use crate::page::section;
use crate::story::{File, Story};

const WIDTH: f64 = 900.0;
const ROW: f64 = 26.0;
/// Where bars begin, behind their names.
const LEFT: f64 = 250.0;
/// Room for the numbers behind bars.
const RIGHT: f64 = 170.0;
/// The most languages that are shown.
const LANGUAGES: usize = 20;
/// From here on, a signal has moved much, and a little (usual bounds of the population stability index).
const STABILITY: (f64, f64) = (0.25, 0.1);

/// What became of the documents.
pub(crate) fn documents(story: &Story) -> Option<Markup> {
    // A damaged file is told of in the section of the data.
    let File::Found(json) = story.file(QUALITY_FILE) else { return None };
    let quality = serde_json::from_value::<Quality>(json).ok()?.documents?;
    Some(section("documents", "Documents", &all(&quality)))
}

/// How the data moved since the version of the dataset before this one.
pub(crate) fn drift(story: &Story) -> Option<Markup> {
    let earlier = story.earlier_dataset.as_ref()?;
    let File::Found(json) = story.file(QUALITY_FILE) else { return None };
    let quality = serde_json::from_value::<Quality>(json).ok()?;
    let moved = quality.stability(&Quality::load(&earlier.folder).ok()?);
    if moved.is_empty() {
        return None;
    }
    Some(section("drift", "Drift since the last version of the dataset", &table(&earlier.digest.short(), &moved)))
}

fn all(quality: &DocumentsQuality) -> Markup {
    html! {
        (waterfall(&quality.steps))
        div class="columns" {
            (counts("Languages (estimated by the language model)", "documents", &quality.languages, LANGUAGES))
            (counts("Personal data that was found", "places", &quality.personal, usize::MAX))
        }
        (licences(&quality.licences))
        @if !quality.samples.is_empty() {
            h3 { "Samples of what was dropped" }
            @for (reason, samples) in &quality.samples { (sampled(reason, samples)) }
        }
        @if !quality.signals.is_empty() {
            h3 { "Signals" }
            p class="note" { "Distributions of a sample of at most 4,096 kept and 4,096 dropped documents." }
            div class="charts" { @for (name, signal) in &quality.signals { (signal_chart(name, signal)) } }
        }
    }
}

/// The waterfall as a drawing: what is left after each step, and what the step took.
fn waterfall(steps: &[Step]) -> Markup {
    let read = steps.first().map_or(0, |step| step.documents);
    if read == 0 {
        return html! {};
    }
    let height = ROW * steps.len() as f64 + 8.0;
    let scale = |documents: u64| documents as f64 / read as f64 * (WIDTH - LEFT - RIGHT);
    let mut left = read;
    let rows: Vec<(f64, &Step, u64, u64)> = steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            let whole = index == 0 || index + 1 == steps.len();
            let taken = if whole { 0 } else { step.documents };
            left = if whole { step.documents } else { left.saturating_sub(taken) };
            (index as f64 * ROW + 4.0, step, left, taken)
        })
        .collect();
    let percent = |documents: u64| format!("{:.1} %", documents as f64 / read as f64 * 100.0);
    let label: Vec<String> = steps.iter().map(|step| format!("{} {}", step.name, step.documents)).collect();
    html! {
        figure class="chart wide" {
            figcaption { "Retention: what each rule took, of all documents that were read (measured)" }
            svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(label.join(", ")) {
                @for (top, step, left, taken) in rows {
                    @let from = LEFT + scale(left);
                    text class="tick" x=(LEFT - 10.0) y=(top + ROW / 2.0) dy="0.2em" text-anchor="end" { (shortened(&step.name)) }
                    rect class="bar c1" x=(LEFT) y=(top) width=(format!("{:.1}", scale(left))) height=(ROW - 7.0) {}
                    @if taken > 0 {
                        rect class="bar c2" x=(format!("{from:.1}")) y=(top) width=(format!("{:.1}", scale(taken).max(1.0))) height=(ROW - 7.0) {}
                    }
                    text class="tick" x=(format!("{:.1}", from + scale(taken) + 8.0)) y=(top + ROW / 2.0) dy="0.2em" {
                        @if taken > 0 { "−" (units::count(taken)) " (" (percent(taken)) ")" }
                        @else { (units::count(left)) " (" (percent(left)) "), " (units::bytes(step.bytes)) }
                    }
                }
            }
        }
    }
}

/// A name that fits before its bar.
fn shortened(name: &str) -> String {
    let name = name.replace('_', " ");
    if name.chars().count() <= 34 { name } else { name.chars().take(33).chain(['…']).collect() }
}

/// The numbers that moved, most first.
fn table(since: &str, moved: &BTreeMap<String, f64>) -> Markup {
    let mut order: Vec<(&String, &f64)> = moved.iter().collect();
    order.sort_by(|a, b| b.1.total_cmp(a.1).then(a.0.cmp(b.0)));
    let word = |value: f64| match value {
        value if value >= STABILITY.0 => "much",
        value if value >= STABILITY.1 => "a little",
        _ => "hardly",
    };
    html! {
        div class="scroll" { table {
            caption { "Since dataset " code { (since) } ": population stability index over tenths, estimated from histograms" }
            thead { tr { th { "signal" } th class="number" { "index" } th { "moved" } } }
            tbody { @for (name, value) in order.into_iter().take(12) {
                tr { th scope="row" { (name.replace('_', " ")) } td class="number" { (format!("{value:.3}")) } td { (word(*value)) } }
            } }
        } }
    }
}

fn counts(title: &str, what: &str, counts: &BTreeMap<String, u64>, most: usize) -> Markup {
    let mut order: Vec<(&String, u64)> = counts.iter().map(|(name, count)| (name, *count)).collect();
    order.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    let first = order.first().map_or(1, |(_, count)| *count).max(1);
    let list: Vec<Bar> = order
        .into_iter()
        .take(most)
        .map(|(name, count)| Bar {
            name: name.replace('_', " "),
            share: count as f64 / first as f64,
            texts: vec![units::count(count)],
        })
        .collect();
    html! { @if !list.is_empty() { (bars(title, &[what], &list, 1)) } }
}

fn licences(licences: &[Licence]) -> Markup {
    html! {
        @if !licences.is_empty() {
            div class="scroll" { table {
                caption { "Licences of the sources (declared in yard.toml)" }
                thead { tr { th { "source" } th { "licence" } th class="number" { "documents kept" } th class="number" { "text" } } }
                tbody { @for licence in licences { tr {
                    th scope="row" class="label" { (licence.source) }
                    td { @match &licence.licence { Some(name) => { (name) } None => { span class="bad" { "none declared" } } } }
                    td class="number" { (units::count(licence.documents)) }
                    td class="number" { (units::bytes(licence.bytes)) }
                } } }
            } }
        }
    }
}

fn sampled(reason: &str, samples: &[Sample]) -> Markup {
    html! {
        details {
            summary { (reason.replace('_', " ")) }
            @for sample in samples {
                p class="note" { (sample.source) ", " (sample.line) " (row " (sample.row) ")" }
                blockquote class="text" { (sample.beginning) }
            }
        }
    }
}

/// How a signal lies among kept and dropped documents.
fn signal_chart(name: &str, signal: &SignalQuality) -> Markup {
    let of = |name: &str, colour: usize, quality: &Option<NumberQuality>| {
        quality.as_ref().map(|quality| Series {
            name: name.to_owned(),
            colour,
            kind: Kind::Line,
            points: points(quality),
        })
    };
    let series: Vec<Series> =
        [of("kept", 1, &signal.kept), of("dropped", 2, &signal.dropped)].into_iter().flatten().collect();
    let title = name.replace('_', " ");
    let chart = Chart { title: &title, x: &title, y: "share of documents", series, mark: None };
    chart.draw().unwrap_or_default()
}

/// The share of documents in the middle of each bin.
fn points(quality: &NumberQuality) -> Vec<(f64, f64)> {
    let all = quality.histogram.counts.iter().sum::<u64>().max(1) as f64;
    let edges = quality.histogram.edges.windows(2);
    edges.zip(&quality.histogram.counts).map(|(edge, count)| (edge[0].midpoint(edge[1]), *count as f64 / all)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waterfall_says_what_each_step_took() {
        let step = |name: &str, documents: u64| Step { name: name.to_owned(), documents, bytes: documents * 100 };
        let steps = [step("read", 1000), step("gopher_short_doc", 250), step("duplicate", 50), step("kept", 700)];
        let page = waterfall(&steps).into_string();
        assert!(page.contains("−250 (25.0 %)") && page.contains("−50 (5.0 %)") && page.contains("700 (70.0 %)"));
        assert!(waterfall(&[]).into_string().is_empty());
    }
}
