//! What a language model writes: completions of the beginnings of test documents, beside the truth.

use maud::{Markup, html};
use serde_json::Value as Json;

use crate::page::{damaged, section};
use crate::story::{File, Story};

/// Prompts with their completions.
pub(crate) fn samples(story: &Story) -> Option<Markup> {
    let body = match story.file("samples.json") {
        File::Absent => return None,
        File::Damaged(why) => damaged("samples.json", &why),
        File::Found(json) => table(json.as_array()?),
    };
    Some(section("samples", "Samples", &body))
}

fn table(samples: &[Json]) -> Markup {
    let part = |sample: &Json, name: &str| sample.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
    html! {
        p class="note" { "The likeliest continuation of each prompt, not a chosen one, beside how the document goes on." }
        div class="scroll" { table {
            thead { tr { th { "prompt" } th { "the model goes on" } th { "the document goes on" } } }
            tbody { @for sample in samples {
                tr { @for name in ["prompt", "completion", "truth"] { td class="text" { (part(sample, name)) } } }
            } }
        } }
    }
}
