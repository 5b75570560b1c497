//! The page around the sections: head, style, header, the list of contents.
//!
//! The page's own rules forbid the network and scripts (`Content-Security-Policy`), so that even a
//! mistake in escaping could not run anything.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::story::Story;
use crate::{confusion, curves, data, documents, fit, ledger, lineage, numbers, samples};

/// The style sheet: both colour schemes, print, and every class that the sections use.
const STYLE: &str = include_str!("style.css");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The whole page.
pub(crate) fn page(story: &Story) -> Markup {
    let title = title(story);
    let sections: Vec<Markup> = [
        Some(lineage::lineage(story)),
        numbers::metrics(story),
        fit::fit(story),
        samples::samples(story),
        curves::curves(story),
        confusion::confusion(story),
        numbers::compression(story),
        numbers::package(story),
        numbers::verify(story),
        data::quality(story),
        documents::documents(story),
        documents::drift(story),
        ledger::ledger(story),
        Some(numbers::settings(story)),
    ]
    .into_iter()
    .flatten()
    .collect();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) " – report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(story, &title))
                main { @for section in &sections { (section) } }
                footer { "Written by yard " (env!("CARGO_PKG_VERSION")) ". This page needs no network." }
            }
        }
    }
}

fn title(story: &Story) -> String {
    let name = story.name();
    match (story.version(), &story.focus) {
        (Some(version), _) => format!("{}@{}", version.name, version.number),
        (None, Some(run)) => format!("{name}, run {}", run.id),
        (None, None) => name,
    }
}

fn header(story: &Story, title: &str) -> Markup {
    html! {
        header {
            h1 { (title) }
            @if let Some(run) = &story.focus { p class="note" { (numbers::run_line(run)) } }
            @if let Some(error) = story.focus.as_ref().and_then(|run| run.error.as_ref()) { p class="bad" { (error) } }
            @for error in &story.damaged { p class="bad" { (error) } }
            (numbers::headline(story))
        }
    }
}

/// A section with its title.
pub(crate) fn section(id: &str, title: &str, body: &Markup) -> Markup {
    html! { section id=(id) { h2 { a href=(format!("#{id}")) { (title) } } (body) } }
}

/// Says that something was not made, where it would stand.
pub(crate) fn not_made(what: &str) -> Markup {
    html! { p class="note" { "Not made: this run has no " (what) "." } }
}

/// Says that a file cannot be read, where its contents would stand.
pub(crate) fn damaged(file: &str, why: &str) -> Markup {
    html! { p class="bad" { "The file " code { (file) } " cannot be read: " (why) ". `yard run --repair` makes it again." } }
}
