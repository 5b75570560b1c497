//! Which class was taken for which: the matrix as a heat map, the pairs that were confused most, and
//! the classes that came off worst.

use maud::{Markup, html};
use serde_json::Value as Json;

use crate::chart::{Bar, bars, breakable, cut, short, wide};
use crate::page::{damaged, section};
use crate::story::{File, Story};

/// Up to this many classes, numbers stand in the cells.
const NUMBERS_MAX: usize = 12;
/// Up to this many classes, the columns carry names too.
const COLUMN_NAMES_MAX: usize = 30;
/// Beyond this many classes no matrix is drawn: its cells could not be told apart.
const DRAWN_MAX: usize = 160;
/// Names are cut to so many columns of text.
const ROW_NAME: usize = 34;
const COLUMN_NAME: usize = 20;
/// How many of the most confused pairs are listed.
const PAIRS: usize = 15;
/// How many of the worst classes are listed.
const WORST: usize = 15;

/// The matrix of one output.
struct Matrix {
    labels: Vec<String>,
    counts: Vec<Vec<u64>>,
}

/// Precision, recall and F1 of one class.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scores {
    precision: f64,
    recall: f64,
    f1: f64,
    support: u64,
}

/// The confusion of every category and binary output.
pub(crate) fn confusion(story: &Story) -> Option<Markup> {
    let body = match story.file("confusion.json") {
        File::Absent => return None,
        File::Damaged(why) => damaged("confusion.json", &why),
        File::Found(json) => {
            let outputs: Vec<(&String, Option<Matrix>)> =
                json.as_object()?.iter().map(|(name, one)| (name, Matrix::read(one))).collect();
            if outputs.is_empty() {
                return None;
            }
            html! {
                @for (name, matrix) in outputs {
                    h3 { code { (name) } }
                    @match matrix {
                        Some(matrix) => { (output(&matrix)) }
                        None => { (damaged("confusion.json", "its matrix is not square, or not of counts")) }
                    }
                }
            }
        }
    };
    Some(section("confusion", "Confusion", &body))
}

fn output(matrix: &Matrix) -> Markup {
    html! {
        @if matrix.labels.len() <= DRAWN_MAX { (heat_map(matrix)) }
        @else { p class="note" { (matrix.labels.len()) " classes are too many to draw; the tables below tell what matters." } }
        div class="columns" { (most_confused(matrix)) (worst_classes(matrix)) }
    }
}

impl Matrix {
    fn read(json: &Json) -> Option<Self> {
        let strings = |list: &Vec<Json>| list.iter().map(|one| Some(one.as_str()?.to_owned())).collect::<Option<_>>();
        let labels: Vec<String> = strings(json.get("labels")?.as_array()?)?;
        let row = |row: &Json| row.as_array()?.iter().map(Json::as_u64).collect::<Option<Vec<u64>>>();
        let counts: Vec<Vec<u64>> = json.get("matrix")?.as_array()?.iter().map(row).collect::<Option<_>>()?;
        let square = counts.len() == labels.len() && counts.iter().all(|row| row.len() == labels.len());
        square.then_some(Self { labels, counts })
    }

    fn row_sum(&self, row: usize) -> u64 {
        self.counts[row].iter().sum()
    }

    fn share(&self, row: usize, column: usize) -> f64 {
        self.counts[row][column] as f64 / self.row_sum(row).max(1) as f64
    }

    fn scores(&self, class: usize) -> Scores {
        let hits = self.counts[class][class] as f64;
        let predicted: u64 = self.counts.iter().map(|row| row[class]).sum();
        let support = self.row_sum(class);
        let ratio = |of: u64| if of == 0 { 0.0 } else { hits / of as f64 };
        // F1 = 2·hits / (support + predicted): the harmonic mean of precision and recall.
        let both = support + predicted;
        let f1 = if both == 0 { 0.0 } else { 2.0 * hits / both as f64 };
        Scores { precision: ratio(predicted), recall: ratio(support), f1, support }
    }
}

/// The matrix: a row per true class, a column per predicted class, coloured by its share of the row.
fn heat_map(matrix: &Matrix) -> Markup {
    let count = matrix.labels.len();
    let size = count as f64;
    let cell = (620.0 / size).clamp(7.0, 54.0);
    let font = (cell * 0.86).min(12.0);
    let widest = |columns: usize| matrix.labels.iter().map(|label| wide(&cut(label, columns))).max().unwrap_or(0);
    let left = widest(ROW_NAME) as f64 * font * 0.58 + 26.0;
    let named_columns = count <= COLUMN_NAMES_MAX;
    // Names of columns lean by 45 degrees.
    let slope = if named_columns { widest(COLUMN_NAME) as f64 * font * 0.58 * 0.71 + 8.0 } else { 0.0 };
    let top = 24.0 + slope;
    let (width, height) = (left + size * cell + slope + 8.0, top + size * cell + 8.0);
    let at = |index: usize| index as f64 * cell;
    html! {
        p class="note" {
            "Rows are the true classes, columns the predicted ones"
            @if !named_columns { ", in the same order; hold the pointer over a cell to read it" }
            ". " span class="legend" { span { i class="key right" {} "right" } span { i class="key wrong" {} "wrong" } }
            " The stronger the colour, the larger the share of the row."
        }
        div class="scroll" {
            svg class="heat" width=(short(width)) height=(short(height)) viewBox=(format!("0 0 {} {}", short(width), short(height))) role="img" aria-label="confusion matrix" {
                text class="title" x=(short(left)) y="14" { "predicted →" }
                text class="title" transform=(format!("translate(12 {}) rotate(-90)", short(top + 64.0))) { "← true" }
                rect class="plate" x=(short(left)) y=(short(top)) width=(short(size * cell)) height=(short(size * cell)) {}
                @for (index, label) in matrix.labels.iter().enumerate() {
                    text class="tick" x=(short(left - 6.0)) y=(short(top + at(index) + cell / 2.0)) dy="0.35em" text-anchor="end" style=(format!("font-size:{}px", short(font))) { (cut(label, ROW_NAME)) }
                    @if named_columns {
                        text class="tick" transform=(format!("translate({} {}) rotate(-45)", short(left + at(index) + cell / 2.0), short(top - 6.0))) style=(format!("font-size:{}px", short(font))) { (cut(label, COLUMN_NAME)) }
                    }
                }
                @for row in 0..count { @for column in 0..count { @if matrix.counts[row][column] > 0 {
                    (one_cell(matrix, row, column, left + at(column), top + at(row), cell))
                } } }
            }
        }
    }
}

fn one_cell(matrix: &Matrix, row: usize, column: usize, left: f64, top: f64, cell: f64) -> Markup {
    let (count, share) = (matrix.counts[row][column], matrix.share(row, column));
    let class = if row == column { "right" } else { "wrong" };
    // The root makes small shares visible: one mistake in forty is what one looks for here.
    let strength = 0.12 + 0.88 * share.sqrt();
    let numbers = matrix.labels.len() <= NUMBERS_MAX;
    html! {
        g {
            rect class=(class) x=(short(left)) y=(short(top)) width=(short(cell - 0.6)) height=(short(cell - 0.6)) fill-opacity=(short(strength)) {}
            @if numbers {
                text class=(if strength > 0.6 { "count strong" } else { "count" }) x=(short(left + cell / 2.0)) y=(short(top + cell / 2.0)) dy="0.35em" text-anchor="middle" { (count) }
            }
            title { (format!("{} taken for {}: {count} ({:.1} % of the row)", matrix.labels[row], matrix.labels[column], share * 100.0)) }
        }
    }
}

/// The pairs with the most mistakes.
fn most_confused(matrix: &Matrix) -> Markup {
    let count = matrix.labels.len();
    let mut pairs: Vec<(usize, usize)> = (0..count)
        .flat_map(|row| (0..count).map(move |column| (row, column)))
        .filter(|(row, column)| row != column && matrix.counts[*row][*column] > 0)
        .collect();
    pairs.sort_by_key(|(row, column)| (std::cmp::Reverse(matrix.counts[*row][*column]), *row, *column));
    let total: u64 = pairs.iter().map(|(row, column)| matrix.counts[*row][*column]).sum();
    let kinds = pairs.len();
    pairs.truncate(PAIRS);
    html! {
        div {
            @if pairs.is_empty() { p { "No row of the test split was classified wrongly." } }
            @else { div class="scroll" { table {
                caption { "Most confused pairs, of " (total) " mistakes in " (kinds) " pairs" }
                thead { tr { th { "true" } th { "taken for" } th class="number" { "rows" } th class="number" { "share" } } }
                tbody { @for (row, column) in pairs { tr {
                    td class="label" { (breakable(&matrix.labels[row])) } td class="label" { (breakable(&matrix.labels[column])) }
                    td class="number" { (matrix.counts[row][column]) }
                    td class="number" { (format!("{:.1} %", matrix.share(row, column) * 100.0)) }
                } } }
            } } }
        }
    }
}

/// The classes with the lowest F1.
fn worst_classes(matrix: &Matrix) -> Markup {
    let mut scored: Vec<(usize, Scores)> = (0..matrix.labels.len())
        .map(|class| (class, matrix.scores(class)))
        .filter(|(_, one)| one.support > 0)
        .collect();
    scored.sort_by(|a, b| a.1.f1.total_cmp(&b.1.f1).then(a.0.cmp(&b.0)));
    let all = scored.len();
    scored.truncate(WORST);
    let rows: Vec<Bar> = scored
        .iter()
        .map(|(class, one)| Bar {
            name: matrix.labels[*class].clone(),
            share: one.f1,
            texts: [one.f1, one.precision, one.recall]
                .map(|score| format!("{score:.3}"))
                .into_iter()
                .chain([one.support.to_string()])
                .collect(),
        })
        .collect();
    let caption = if all > rows.len() {
        format!("F1 of the {} worst of {all} classes", rows.len())
    } else {
        "F1 of each class, the worst first".to_owned()
    };
    html! { div { (bars(&caption, &["F1", "precision", "recall", "rows"], &rows, 1)) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_the_textbook() {
        let json = serde_json::json!({ "labels": ["a", "b"], "matrix": [[8, 2], [1, 9]] });
        let scores = Matrix::read(&json).unwrap().scores(0);
        assert!((scores.precision - 8.0 / 9.0).abs() < 1e-12);
        assert!((scores.recall - 0.8).abs() < 1e-12);
        let harmonic = 2.0 / (9.0 / 8.0 + 10.0 / 8.0);
        assert!((scores.f1 - harmonic).abs() < 1e-12);
    }

    #[test]
    fn a_matrix_that_is_not_square_is_refused() {
        for json in [
            serde_json::json!({}),
            serde_json::json!({ "labels": ["a"], "matrix": [[1, 2]] }),
            serde_json::json!({ "labels": ["a", "b"], "matrix": [[1, 2]] }),
            serde_json::json!({ "labels": ["a"], "matrix": [[-1]] }),
        ] {
            assert!(Matrix::read(&json).is_none(), "{json}");
        }
    }
}
