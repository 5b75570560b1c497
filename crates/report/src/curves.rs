//! How training went: losses and the learning rate over the steps.

use maud::{Markup, html};
use serde_json::Value as Json;

use crate::chart::{Chart, Kind, Series};
use crate::page::{damaged, not_made, section};
use crate::story::{File, Story};

/// The losses that are drawn, with their colours.
const LOSSES: [(&str, &str, usize); 2] = [("train_loss", "training", 1), ("valid_loss", "validation", 2)];

/// The curves of the training that led to the model; of a training that did not end, what it recorded.
pub(crate) fn curves(story: &Story) -> Option<Markup> {
    let run = story.run_of("train");
    let body = match story.file("history.json") {
        File::Damaged(why) => damaged("history.json", &why),
        File::Found(history) => {
            let points = history.get("points").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
            let series = |name: &str| points.iter().filter_map(|point| pair(point, name)).collect();
            html! {
                (draw(series, best(&history, points)))
                (closing(&history))
            }
        }
        File::Absent if story.recorded.is_empty() => {
            run?;
            not_made("training history")
        }
        File::Absent => draw(
            |name| {
                let of_name = story.recorded.iter().filter(|point| point.name == name);
                of_name.map(|point| (point.step as f64, point.value)).collect()
            },
            None,
        ),
    };
    Some(section("training", "Training", &body))
}

fn pair(point: &Json, name: &str) -> Option<(f64, f64)> {
    Some((point.get("step")?.as_f64()?, point.get(name)?.as_f64()?))
}

fn draw(points: impl Fn(&str) -> Vec<(f64, f64)>, mark: Option<(f64, String)>) -> Markup {
    let line = |name: &str, colour, points| Series { name: name.to_owned(), colour, kind: Kind::Line, points };
    let losses = LOSSES.iter().map(|(key, name, colour)| line(name, *colour, points(key))).collect();
    let loss = Chart { title: "Loss", x: "step", y: "loss", series: losses, mark }.draw();
    let rate = vec![line("learning rate", 3, points("learning_rate"))];
    let rate = Chart { title: "Learning rate", x: "step", y: "learning rate", series: rate, mark: None }.draw();
    html! {
        @if loss.is_none() && rate.is_none() { (not_made("training curve")) }
        div class="charts" { @if let Some(loss) = loss { (loss) } @if let Some(rate) = rate { (rate) } }
    }
}

/// Where the best validation loss was reached: the last point of the best epoch.
fn best(history: &Json, points: &[Json]) -> Option<(f64, String)> {
    let epoch = history.get("best_epoch")?.as_f64()?;
    let of_epoch = points.iter().rev().find(|point| point.get("epoch").and_then(Json::as_f64) == Some(epoch))?;
    of_epoch.get("valid_loss")?.as_f64()?;
    Some((of_epoch.get("step")?.as_f64()?, format!("best: epoch {epoch}")))
}

fn closing(history: &Json) -> Markup {
    let early = history.get("stopped_early").and_then(Json::as_bool) == Some(true);
    html! {
        @if early { p class="note" { "Training stopped early: the validation loss no longer fell, and the best epoch's weights were kept." } }
    }
}
