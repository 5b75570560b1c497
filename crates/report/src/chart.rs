//! Drawings as SVG: lines, dots and histograms with axes. Colours come from the page's style sheet, so
//! that one drawing serves light and dark.
//!
//! It does not know what the numbers mean.

use maud::{Markup, html};

/// Width of a chart in the units of its view box.
const WIDTH: f64 = 560.0;
/// Height of a chart.
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 50.0;
/// More points than this on a line are thinned; no screen shows more.
const POINTS_MAX: usize = 2000;

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Line,
    Dots,
}

/// One series of a chart.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub name: String,
    /// Which of the page's colours, from 1.
    pub colour: usize,
    pub kind: Kind,
    pub points: Vec<(f64, f64)>,
}

/// A chart with two linear axes.
#[derive(Debug, Clone)]
pub(crate) struct Chart<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    pub series: Vec<Series>,
    /// An upright line with a word to it.
    pub mark: Option<(f64, String)>,
}

impl Chart<'_> {
    /// The chart, or nothing where no series has a finite point.
    pub fn draw(mut self) -> Option<Markup> {
        for series in &mut self.series {
            series.points.retain(|(x, y)| x.is_finite() && y.is_finite());
            series.points = thin(&series.points);
        }
        self.series.retain(|series| !series.points.is_empty());
        let all = || self.series.iter().flat_map(|series| series.points.iter().copied());
        let x = Axis::over(all().map(|point| point.0), WIDTH, LEFT, WIDTH - RIGHT)?;
        let x = x.tight(all().map(|point| point.0));
        let y = Axis::over(all().map(|point| point.1), HEIGHT, HEIGHT - BOTTOM, TOP)?;
        Some(html! {
            figure class="chart" {
                figcaption { (self.title) (legend(&self.series)) }
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(self.label()) {
                    (axes(&x, &y, self.x, self.y))
                    @if let Some((at, word)) = &self.mark { (mark(&x, *at, word)) }
                    @for series in &self.series { (draw_series(series, &x, &y)) }
                }
            }
        })
    }

    fn label(&self) -> String {
        let series: Vec<String> = self
            .series
            .iter()
            .filter_map(|one| Some(format!("{} ends at {}", one.name, significant(one.points.last()?.1, 4))))
            .collect();
        format!("{}: {} over {}. {}.", self.title, self.y, self.x, series.join("; "))
    }
}

/// Every n-th point, the first and the last among them.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(POINTS_MAX).max(1);
    let last = points.len().saturating_sub(1);
    let kept = points.iter().enumerate().filter(|(index, _)| index % every == 0 || *index == last);
    kept.map(|(_, point)| *point).collect()
}

/// What a series' colour stands for; one series needs no legend.
fn legend(series: &[Series]) -> Markup {
    html! {
        @if series.len() > 1 {
            span class="legend" {
                @for one in series {
                    span { i class=(format!("key c{} {}", one.colour, if one.kind == Kind::Dots { "dot" } else { "" })) {} (one.name) }
                }
            }
        }
    }
}

fn draw_series(series: &Series, x: &Axis, y: &Axis) -> Markup {
    let class = format!("c{}", series.colour);
    let place = |point: &(f64, f64)| (x.place(point.0), y.place(point.1));
    if series.kind == Kind::Dots || series.points.len() == 1 {
        return html! {
            g class=(format!("{class} dots")) {
                @for (left, top) in series.points.iter().map(place) {
                    circle cx=(short(left)) cy=(short(top)) r="4" {}
                }
            }
        };
    }
    let path: Vec<String> = series
        .points
        .iter()
        .map(place)
        .enumerate()
        .map(|(index, (left, top))| format!("{}{} {}", if index == 0 { 'M' } else { 'L' }, short(left), short(top)))
        .collect();
    html! { path class=(format!("{class} line")) d=(path.join("")) {} }
}

fn mark(x: &Axis, at: f64, word: &str) -> Markup {
    let left = x.place(at);
    // The word stands on the side that has room.
    let (anchor, shift) = if left > WIDTH / 2.0 { ("end", -6.0) } else { ("start", 6.0) };
    html! {
        line class="mark" x1=(short(left)) x2=(short(left)) y1=(TOP) y2=(HEIGHT - BOTTOM) {}
        text class="tick" x=(short(left + shift)) y=(TOP + 10.0) text-anchor=(anchor) { (word) }
    }
}

fn axes(x: &Axis, y: &Axis, x_title: &str, y_title: &str) -> Markup {
    let bottom = HEIGHT - BOTTOM;
    html! {
        @for tick in &y.ticks {
            @let top = short(y.place(*tick));
            line class="grid" x1=(LEFT) x2=(WIDTH - RIGHT) y1=(top) y2=(top) {}
            text class="tick" x=(LEFT - 8.0) y=(top) dy="0.35em" text-anchor="end" { (y.label(*tick)) }
        }
        line class="axis" x1=(LEFT) x2=(WIDTH - RIGHT) y1=(bottom) y2=(bottom) {}
        @for tick in &x.ticks {
            @let left = short(x.place(*tick));
            line class="axis" x1=(left) x2=(left) y1=(bottom) y2=(bottom + 5.0) {}
            text class="tick" x=(left) y=(bottom + 18.0) text-anchor="middle" { (x.label(*tick)) }
        }
        text class="title" x=((LEFT + WIDTH - RIGHT) / 2.0) y=(HEIGHT - 10.0) text-anchor="middle" { (x_title) }
        text class="title" transform=(format!("translate(14 {}) rotate(-90)", (TOP + bottom) / 2.0)) text-anchor="middle" { (y_title) }
    }
}

/// One axis: which numbers stand where.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    step: f64,
    ticks: Vec<f64>,
}

impl Axis {
    /// An axis over all values, from one place of the drawing to another; nothing without values.
    fn over(values: impl Iterator<Item = f64>, length: f64, from: f64, to: f64) -> Option<Self> {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if low > high {
            return None;
        }
        let (low, high) = if high - low > f64::EPSILON * high.abs().max(low.abs()) {
            (low, high)
        } else {
            let half = if low == 0.0 { 0.5 } else { low.abs() * 0.1 };
            (low - half, high + half)
        };
        let step = nice_step((high - low) / (length / 70.0));
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        let count = ((high - low) / step).round().clamp(1.0, 100.0);
        let ticks = (0..=100_u32).map(f64::from).take_while(|index| *index <= count).map(|i| low + i * step).collect();
        Some(Self { low, high, from, to, step, ticks })
    }

    /// The same axis, ending where the values end.
    fn tight(mut self, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if high > low && high - low > self.step {
            (self.low, self.high) = (low, high);
            self.ticks.retain(|tick| (low..=high).contains(tick));
        }
        self
    }

    fn place(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    fn label(&self, value: f64) -> String {
        let value = if value.abs() < self.step / 1e6 { 0.0 } else { value };
        let largest = self.high.abs().max(self.low.abs());
        if value == 0.0 {
            "0".to_owned()
        } else if !(1e-3..1e9).contains(&largest) {
            format!("{value:.1e}").replace(".0e", "e")
        } else if self.step >= 1000.0 {
            format!("{}k", trim(format!("{:.1}", value / 1000.0)))
        } else {
            let decimals = (-self.step.log10()).ceil().clamp(0.0, 6.0);
            // `decimals` lies between 0 and 6.
            let decimals = decimals as usize;
            format!("{value:.decimals$}")
        }
    }
}

/// 1, 2 or 5 times a power of ten: the smallest that is not below the wanted step.
fn nice_step(wanted: f64) -> f64 {
    let power = 10_f64.powf(wanted.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power).find(|step| *step >= wanted * 0.999).unwrap_or(power)
}

/// A histogram: one bar between each two edges.
pub(crate) fn histogram(title: &str, x_title: &str, edges: &[f64], counts: &[u64]) -> Option<Markup> {
    if edges.len() != counts.len() + 1 || counts.iter().all(|count| *count == 0) {
        return None;
    }
    let heights: Vec<f64> = counts.iter().map(|count| *count as f64).collect();
    let x = Axis::over(edges.iter().copied(), WIDTH, LEFT, WIDTH - RIGHT)?;
    let y = Axis::over(heights.iter().copied().chain([0.0]), HEIGHT, HEIGHT - BOTTOM, TOP)?;
    Some(html! {
        figure class="chart" {
            figcaption { (title) }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(title) {
                (axes(&x, &y, x_title, "rows"))
                @for (index, height) in heights.iter().enumerate() {
                    @let (left, right) = (x.place(edges[index]), x.place(edges[index + 1]));
                    rect class="c1 bar" x=(short(left + 0.5)) y=(short(y.place(*height)))
                        width=(short((right - left - 1.0).max(0.5))) height=(short(y.place(0.0) - y.place(*height))) {
                        title { (format!("{} to {}: {height}", significant(edges[index], 4), significant(edges[index + 1], 4))) }
                    }
                }
            }
        }
    })
}

/// A name, a bar and some texts.
pub(crate) struct Bar {
    pub name: String,
    /// The bar's length, from 0 to 1.
    pub share: f64,
    pub texts: Vec<String>,
}

/// A table of bars; `heads` stand over the texts.
pub(crate) fn bars(caption: &str, heads: &[&str], rows: &[Bar], colour: usize) -> Markup {
    html! {
        div class="scroll" { table class="bars" {
            caption { (caption) }
            thead { tr { th {} th {} @for head in heads { th class="number" { (head) } } } }
            tbody {
                @for row in rows {
                    tr {
                        th scope="row" class="label" { (breakable(&row.name)) }
                        td class="track" {
                            span class=(format!("c{colour} fill")) style=(format!("width:{:.2}%", row.share.clamp(0.0, 1.0) * 100.0)) {}
                        }
                        @for text in &row.texts { td class="number" { (text) } }
                    }
                }
            }
        } }
    }
}

/// A label that may be broken after each underscore, where names of classes have no blanks.
pub(crate) fn breakable(label: &str) -> Markup {
    html! { @for part in label.split_inclusive('_') { (part) wbr; } }
}

/// A coordinate with two digits after the point.
pub(crate) fn short(value: f64) -> String {
    trim(format!("{value:.2}"))
}

fn trim(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A number with so many significant digits, without zeros at the end.
pub(crate) fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return "not a number".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor();
    if !(-5.0..15.0).contains(&magnitude) {
        return format!("{value:.*e}", digits.saturating_sub(1));
    }
    let decimals = (digits as f64 - 1.0 - magnitude).clamp(0.0, 20.0) as usize;
    trim(format!("{value:.decimals$}"))
}

/// A text of at most so many columns, an ellipsis at the end where it was cut.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if wide(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    for letter in text.chars() {
        if wide(&kept) + letter_columns(letter) + 1 > columns {
            break;
        }
        kept.push(letter);
    }
    kept + "…"
}

/// How many columns a text takes: Chinese characters and their like take two.
pub(crate) fn wide(text: &str) -> usize {
    text.chars().map(letter_columns).sum()
}

fn letter_columns(letter: char) -> usize {
    if matches!(letter, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}')
    {
        2
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_nice_and_labels_are_short() {
        for (wanted, step) in [(0.13, 0.2), (1.0, 1.0), (3.2, 5.0), (70.0, 100.0), (1e-5, 1e-5)] {
            assert!((nice_step(wanted) / step - 1.0).abs() < 1e-9, "{wanted}");
        }
        let axis = Axis::over([0.0, 4.4].into_iter(), 320.0, 0.0, 100.0).unwrap();
        assert_eq!(axis.ticks.iter().map(|tick| axis.label(*tick)).collect::<Vec<_>>(), ["0", "1", "2", "3", "4", "5"]);
        let axis = Axis::over([0.0, 12_000.0].into_iter(), 320.0, 0.0, 100.0).unwrap();
        assert_eq!(axis.label(5000.0), "5k");
        let axis = Axis::over([1e-5, 3e-4].into_iter(), 320.0, 0.0, 100.0).unwrap();
        assert_eq!(axis.label(2e-4), "2e-4");
    }

    #[test]
    fn hostile_numbers_draw_nothing_or_something_finite() {
        let chart = |points: Vec<(f64, f64)>| {
            let series = vec![Series { name: "a".to_owned(), colour: 1, kind: Kind::Line, points }];
            Chart { title: "t", x: "x", y: "y", series, mark: None }.draw().map(maud::PreEscaped::into_string)
        };
        assert!(chart(vec![]).is_none());
        assert!(chart(vec![(f64::NAN, 1.0), (1.0, f64::INFINITY)]).is_none());
        for points in
            [vec![(0.0, 5.0)], vec![(1.0, 2.0), (2.0, 2.0)], vec![(0.0, -1e300), (1.0, 1e300)], vec![(1e-320, 0.0); 3]]
        {
            let drawn = chart(points).unwrap();
            assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
        }
        let many = chart((0..50_000_u32).map(|i| (f64::from(i), 1.0 / f64::from(i + 1))).collect()).unwrap();
        assert!(many.len() < 60_000, "{}", many.len());
    }

    #[test]
    fn numbers_keep_their_significant_digits() {
        assert_eq!(significant(0.912_345, 4), "0.9123");
        assert_eq!(significant(12_345.678, 4), "12346");
        assert_eq!(significant(1.2, 4), "1.2");
        assert_eq!(significant(3.2e-9, 3), "3.20e-9");
        assert_eq!(significant(f64::NAN, 3), "not a number");
    }

    #[test]
    fn long_labels_are_cut_by_their_width() {
        assert_eq!(cut("card_arrival", 20), "card_arrival");
        assert_eq!(cut("card_arrival", 5), "card…");
        assert_eq!(cut("床前明月光", 7), "床前明…");
    }
}
