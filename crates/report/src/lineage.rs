//! The lineage as a drawing: what went in, every run, and what it made, from left to right.

use std::collections::BTreeMap;

use base::units;
use maud::{Markup, html};
use store::{Run, RunStatus};

use crate::chart::{cut, short};
use crate::page::section;
use crate::story::Story;

const BOX_WIDTH: f64 = 178.0;
const BOX_HEIGHT: f64 = 78.0;
const GAP_X: f64 = 44.0;
const GAP_Y: f64 = 20.0;
/// The height at which arrows pass over boxes.
const LANE: f64 = 6.0;
/// Names of files beyond this many are counted.
const NAMES_SHOWN: usize = 2;

/// A box of the drawing.
struct Node {
    title: String,
    lines: Vec<String>,
    class: String,
    /// How many arrows lead here at most.
    depth: usize,
    /// The boxes that arrows come from.
    from: Vec<usize>,
    left: f64,
    top: f64,
}

/// The graph of all runs of the story.
pub(crate) fn lineage(story: &Story) -> Markup {
    let mut nodes = nodes(story);
    place(&mut nodes);
    let width = nodes.iter().map(|node| node.left).fold(0.0, f64::max) + BOX_WIDTH + 2.0;
    let height = nodes.iter().map(|node| node.top).fold(0.0, f64::max) + BOX_HEIGHT + 2.0;
    let body = html! {
        div class="scroll" {
            svg class="lineage" width=(short(width)) height=(short(height)) viewBox=(format!("0 0 {} {}", short(width), short(height))) role="img" aria-label="lineage" {
                @for node in &nodes { @for from in &node.from { (arrow(&nodes[*from], node)) } }
                @for node in &nodes { (draw(node)) }
            }
        }
        p class="note" {
            "Each box is a run: its stage, what it made, how long it took. "
            "A result that an earlier run had already used is marked as reused: it was not computed again."
        }
    };
    section("lineage", "Lineage", &body)
}

/// Runs in the order in which they began, each after the files it read.
fn nodes(story: &Story) -> Vec<Node> {
    let mut runs: Vec<&Run> = story.runs.iter().collect();
    runs.sort_by_key(|run| run.id);
    let mut nodes: Vec<Node> = Vec::new();
    let mut makers = BTreeMap::new();
    for run in runs {
        let mut from: Vec<usize> = Vec::new();
        let mut files = Vec::new();
        for (role, digest) in &run.inputs {
            match makers.get(digest) {
                Some(maker) => from.push(*maker),
                None => files.push(role.trim_start_matches("source:").to_owned()),
            }
        }
        if !files.is_empty() {
            from.push(nodes.len());
            nodes.push(files_node(&files));
        }
        let depth = from.iter().map(|index| nodes[*index].depth + 1).max().unwrap_or(0);
        let index = nodes.len();
        nodes.push(run_node(story, run, depth, from));
        if let Some(digest) = run.artifact {
            makers.entry(digest).or_insert(index);
        }
    }
    // Files stand right before the first run that reads them, not at the far left.
    for index in 0..nodes.len() {
        let reader = nodes.iter().filter(|node| node.from.contains(&index)).map(|node| node.depth).min();
        if let (true, Some(depth)) = (nodes[index].class == "files", reader) {
            nodes[index].depth = depth.saturating_sub(1);
        }
    }
    nodes
}

fn files_node(names: &[String]) -> Node {
    let title = if names.len() == 1 { "1 file".to_owned() } else { format!("{} files", names.len()) };
    let mut lines: Vec<String> = names.iter().take(NAMES_SHOWN).map(|name| file_name(name)).collect();
    if names.len() > NAMES_SHOWN {
        lines[NAMES_SHOWN - 1] = format!("{}, …", cut(&lines[NAMES_SHOWN - 1], 20));
    }
    Node { title, lines, class: "files".to_owned(), depth: 0, from: Vec::new(), left: 0.0, top: 0.0 }
}

/// The end of a path tells more than its beginning.
fn file_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

fn run_node(story: &Story, run: &Run, depth: usize, from: Vec<usize>) -> Node {
    let version = story.versions.iter().find(|version| Some(version.artifact) == run.artifact);
    let made = match (run.artifact, version) {
        (Some(digest), Some(version)) => format!("{}@{} {}", version.name, version.number, digest.short()),
        (Some(digest), None) => format!("{} {}", story.kind(digest).unwrap_or("artifact"), digest.short()),
        (None, _) => run.status.name().to_owned(),
    };
    let mut facts = format!("run {} · {}", run.id, units::seconds(run.seconds()));
    if story.reused.contains(&run.id) {
        facts += " · reused";
    }
    let title = run.stage.clone();
    let focus = story.focus.as_ref().is_some_and(|focus| focus.id == run.id);
    let failed = run.status != RunStatus::Done;
    let class = format!("run{}{}", if focus { " focus" } else { "" }, if failed { " failed" } else { "" });
    Node { title, lines: vec![made, facts], class, depth, from, left: 0.0, top: 0.0 }
}

/// Columns by depth; within a column, in their order.
fn place(nodes: &mut [Node]) {
    let first = nodes.iter().map(|node| node.depth).min().unwrap_or(0);
    let mut heights: BTreeMap<usize, usize> = BTreeMap::new();
    let count = |nodes: &[Node], depth: usize| nodes.iter().filter(|node| node.depth == depth).count();
    let tallest = nodes.iter().map(|node| count(nodes, node.depth)).max().unwrap_or(1);
    let counts: Vec<usize> = nodes.iter().map(|node| count(nodes, node.depth)).collect();
    let top = if nodes.iter().any(|node| is_long(nodes, node)) { LANE + 14.0 } else { 1.0 };
    for (node, in_column) in nodes.iter_mut().zip(counts) {
        let row = heights.entry(node.depth).or_insert(0);
        // Shorter columns are centred on the tallest.
        let above = (tallest - in_column) as f64 / 2.0 + *row as f64;
        node.left = 1.0 + (node.depth - first) as f64 * (BOX_WIDTH + GAP_X);
        node.top = top + above * (BOX_HEIGHT + GAP_Y);
        *row += 1;
    }
}

/// Whether an arrow to this box passes a column of others.
fn is_long(nodes: &[Node], node: &Node) -> bool {
    node.from.iter().any(|from| node.depth > nodes[*from].depth + 1)
}

fn arrow(from: &Node, to: &Node) -> Markup {
    let (x1, y1) = (from.left + BOX_WIDTH, from.top + BOX_HEIGHT / 2.0);
    let (x2, y2) = (to.left - 7.0, to.top + BOX_HEIGHT / 2.0);
    let bend = GAP_X / 2.0;
    let curve = |x1: f64, y1: f64, x2: f64, y2: f64| {
        let middle = (x1 + x2) / 2.0;
        format!("C{0} {1} {0} {2} {3} {2}", short(middle), short(y1), short(y2), short(x2))
    };
    let path = if to.depth > from.depth + 1 {
        // Above all boxes, so that no arrow passes behind one that it has nothing to do with.
        let (up, down) = (x1 + 2.0 * bend, x2 - 2.0 * bend);
        format!("{}H{}{}", curve(x1, y1, up, LANE), short(down), curve(down, LANE, x2, y2))
    } else {
        curve(x1, y1, x2, y2)
    };
    let start = format!("M{} {}", short(x1), short(y1));
    let head = format!("M{} {}l-8 -4v8z", short(to.left), short(y2));
    html! { path class="edge" d=(start + &path) {} path class="head" d=(head) {} }
}

fn draw(node: &Node) -> Markup {
    html! {
        g class=(node.class) transform=(format!("translate({} {})", short(node.left), short(node.top))) {
            rect width=(BOX_WIDTH) height=(BOX_HEIGHT) rx="8" {}
            text class="name" x="12" y="24" { (cut(&node.title, 21)) }
            @for (index, line) in node.lines.iter().enumerate() {
                text class="line" x="12" y=(46 + 19 * index) { (cut(line, 26)) }
            }
            title { (node.title) " " (node.lines.join(" ")) }
        }
    }
}
