//! The data: the rows that were read, kept, dropped and changed, what the columns are like, and how
//! the classes are balanced.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use base::units;
use dataset::{Balance, ColumnQuality, NumberQuality, QUALITY_FILE, Quality};
use maud::{Markup, html};

use crate::chart::{Bar, bars, histogram, significant};
use crate::numbers::tile;
use crate::page::{damaged, section};
use crate::story::{File, Story};

/// Up to this many labels of an output are all shown.
const LABELS_SHOWN: usize = 24;

/// The quality report of the dataset.
pub(crate) fn quality(story: &Story) -> Option<Markup> {
    let body = match story.file(QUALITY_FILE) {
        File::Absent => return None,
        File::Damaged(why) => damaged(QUALITY_FILE, &why),
        File::Found(json) => match serde_json::from_value::<Quality>(json) {
            Ok(quality) => all(&quality),
            Err(error) => damaged(QUALITY_FILE, &error.to_string()),
        },
    };
    Some(section("data", "Data", &body))
}

fn all(quality: &Quality) -> Markup {
    html! {
        @for warning in &quality.warnings { p class="warning" { (warning) } }
        (rows(quality))
        (columns(&quality.columns))
        div class="charts" { @for column in &quality.columns { (distribution(column)) } }
        @for (output, balance) in &quality.balance { (balances(output, balance)) }
    }
}

/// How many rows there are, and what became of the others.
fn rows(quality: &Quality) -> Markup {
    let dropped: u64 = quality.rows_read.saturating_sub(quality.rows_kept);
    let splits = [("train", quality.splits.train), ("valid", quality.splits.valid), ("test", quality.splits.test)];
    let of_kept = |count: u64| count as f64 / quality.rows_kept.max(1) as f64;
    let split_bars: Vec<Bar> = splits
        .into_iter()
        .map(|(name, count)| Bar {
            name: name.to_owned(),
            share: of_kept(count),
            texts: vec![units::count(count), format!("{:.1} %", of_kept(count) * 100.0)],
        })
        .collect();
    html! {
        div class="tiles" {
            (tile("rows read", &units::count(quality.rows_read), "measured, all sources"))
            (tile("rows kept", &units::count(quality.rows_kept), "measured, in the splits"))
            (tile("rows dropped", &units::count(dropped), "measured, each is in the ledger"))
        }
        div class="columns" {
            (bars("Rows of each split", &["rows", "share"], &split_bars, 1))
            div { (reasons("dropped", &quality.dropped)) (reasons("changed", &quality.changed)) }
        }
    }
}

fn reasons(what: &str, counts: &BTreeMap<String, u64>) -> Markup {
    html! {
        @if counts.is_empty() { p { "Nothing was " (what) "." } } @else {
            div class="scroll" { table {
                caption { "What was " (what) ", and why" }
                tbody { @for (reason, count) in counts {
                    tr { th scope="row" { (reason.replace('_', " ")) } td class="number" { (units::count(*count)) } }
                } }
            } }
        }
    }
}

fn columns(columns: &[ColumnQuality]) -> Markup {
    let heads = ["min", "mean", "median", "max", "deviation"];
    html! {
        div class="scroll" { table {
            caption { "Columns" }
            thead { tr {
                th { "column" } th { "role" } th { "type" } th class="number" { "missing" } th class="number" { "distinct" }
                @for head in heads { th class="number" { (head) } }
                th { "how the type was found" }
            } }
            tbody { @for column in columns { tr {
                th scope="row" class="label" { (column.name) }
                td { (column.role) }
                td { (column.column_type.name()) @if column.length.is_some() { span class="note" { " (length)" } } }
                td class="number" { (units::count(column.missing)) }
                td class="number" { (units::count(column.distinct)) }
                @match column.number.as_ref().or(column.length.as_ref()) {
                    Some(one) => { @for value in [one.min, one.mean, one.median, one.max, one.deviation] { td class="number" { (significant(value, 4)) } } }
                    None => { td colspan="5" {} }
                }
                td class="method" { (column.inferred) }
            } } }
        } }
    }
}

fn distribution(column: &ColumnQuality) -> Markup {
    let draw = |title: String, unit: &str, quality: &NumberQuality| {
        histogram(&title, unit, &quality.histogram.edges, &quality.histogram.counts).unwrap_or_default()
    };
    html! {
        @if let Some(number) = &column.number { (draw(format!("Distribution of {}", column.name), &column.name, number)) }
        @if let Some(length) = &column.length { (draw(format!("Length of {}", column.name), "characters", length)) }
    }
}

/// How often each label stands in each split; of many labels, the most and the least frequent.
fn balances(output: &str, balance: &Balance) -> Markup {
    let count = |list: &[u64], index: usize| list.get(index).copied().unwrap_or(0);
    let mut order: Vec<usize> = (0..balance.labels.len()).collect();
    order.sort_by_key(|index| (Reverse(count(&balance.train, *index)), *index));
    let most = order.first().map_or(1, |index| count(&balance.train, *index)).max(1);
    let rows = |order: &[usize]| -> Vec<Bar> {
        let bar = |index: &usize| Bar {
            name: balance.labels[*index].clone(),
            share: count(&balance.train, *index) as f64 / most as f64,
            texts: [&balance.train, &balance.valid, &balance.test]
                .map(|list| units::count(count(list, *index)))
                .to_vec(),
        };
        order.iter().map(bar).collect()
    };
    let heads = ["train", "valid", "test"];
    let all = order.len();
    html! {
        h3 { "Balance of " code { (output) } ", " (all) " labels" }
        @if all <= LABELS_SHOWN {
            (bars("Rows of each label", &heads, &rows(&order), 1))
        } @else {
            div class="columns" {
                (bars(&format!("The {} most frequent", LABELS_SHOWN / 2), &heads, &rows(&order[..LABELS_SHOWN / 2]), 1))
                (bars(&format!("The {} least frequent", LABELS_SHOWN / 2), &heads, &rows(&order[all - LABELS_SHOWN / 2..]), 1))
            }
        }
    }
}
