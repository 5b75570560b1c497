//! Combinations that no schema can express: what belongs to one family only, what excludes what.

use std::collections::BTreeSet;

use super::diagnostic::Diagnostics;
use super::file::{
    Architecture, DataFormat, Family, Loss, Packing, ProjectFile, SearchRange, SplitMethod, TextEncoder,
};
use super::release::ServeConfig;
use super::schema::{KeyKind, key_kind};
use super::tree::Node;
use crate::value::ColumnType;
use crate::version::is_name;

/// Collects what is wrong, with places.
struct Check<'a> {
    tree: &'a Node,
    found: &'a mut Diagnostics,
}

impl Check<'_> {
    fn wrong(&mut self, path: &str, message: impl Into<String>, hint: impl Into<Option<&'static str>>) {
        let hint = hint.into().map(str::to_owned);
        self.found.push(self.tree.place(path), path, message.into(), hint);
    }
}

/// Checks a file that the schema has accepted.
pub(super) fn check(file: &ProjectFile, tree: &Node, found: &mut Diagnostics) {
    let mut check = Check { tree, found };
    if !is_name(&file.name) {
        check.wrong(
            "name",
            format!("`name` cannot be {:?}", file.name),
            "use 1 to 64 lower-case letters, digits, `-`, `_` or `.`; the name stands in image tags and addresses",
        );
    }
    sources(file, &mut check);
    match file.family {
        Family::Predict => predict(file, &mut check),
        Family::Language => language(file, &mut check),
    }
    transformer(file, &mut check);
    tune(file, &mut check);
    for (index, gate) in file.rollout.gate.iter().enumerate() {
        if gate.min.is_none() && gate.max.is_none() {
            check.wrong(
                &format!("rollout.gate.{index}"),
                "this gate has neither `min` nor `max`",
                "give the least or the largest value that passes",
            );
        }
    }
    serve(&file.serve, &mut check);
}

fn serve(serve: &ServeConfig, check: &mut Check<'_>) {
    if serve.address.parse::<std::net::SocketAddr>().is_err() {
        check.wrong(
            "serve.address",
            format!("`serve.address` cannot be {:?}", serve.address),
            "write an address and a port, such as 127.0.0.1:8080",
        );
    }
    let tls = [("tls_certificate", &serve.tls_certificate, "tls_key"), ("tls_key", &serve.tls_key, "tls_certificate")];
    for ((given, path, other), (_, absent, _)) in tls.iter().zip(tls.iter().rev()) {
        if path.is_some() && absent.is_none() {
            check.wrong(
                &format!("serve.{given}"),
                format!("`{given}` is given without `{other}`"),
                "TLS needs the certificate and its private key, each a PEM file",
            );
        }
    }
    if serve.traces_endpoint.as_ref().is_some_and(|endpoint| !endpoint.starts_with("http://")) {
        check.wrong(
            "serve.traces_endpoint",
            "`traces_endpoint` should begin with http://",
            "send traces to a collector on this machine or network, which passes them on by TLS",
        );
    }
}

/// The recipes that are built in.
const RECIPES: [&str; 5] = ["web", "general", "chat", "code", "zh"];

fn sources(file: &ProjectFile, check: &mut Check<'_>) {
    let data = &file.data;
    let given = !data.train.is_empty() || !data.valid.is_empty() || !data.test.is_empty();
    if data.source.is_empty() && data.train.is_empty() {
        check.wrong(
            "data",
            "[data] names no files",
            "give `source` for files to split, or `train` and `test` for given splits",
        );
    }
    if !data.source.is_empty() && given {
        check.wrong(
            "data.source",
            "`source` excludes `train`, `valid` and `test`",
            "files in `source` are split; given splits are used as they are",
        );
    }
    if given && data.split.method == SplitMethod::Time {
        check.wrong("data.split.method", "given splits cannot be split by time", "name the files in `source` instead");
    }
    if data.split.method == SplitMethod::Time && data.split.by.is_none() {
        check.wrong("data.split", "a split by time needs the column that holds the time", "add by = \"COLUMN\"");
    }
    if let Some(recipe) = &data.recipe
        && !RECIPES.contains(&recipe.as_str())
        && !recipe.ends_with(".toml")
    {
        check.wrong(
            "data.recipe",
            format!("there is no recipe {recipe:?}"),
            "use web, general, chat, code or zh, or the path of a file that ends in .toml",
        );
    }
    if data.split.valid + data.split.test >= 0.95 {
        check.wrong("data.split", "validation and test leave less than 5 % of the rows for training", None);
    }
}

fn predict(file: &ProjectFile, check: &mut Check<'_>) {
    if file.input.is_empty() {
        check.wrong(
            "family",
            "a `predict` project needs at least one [[input]]",
            "add [[input]] with column = \"NAME\"",
        );
    }
    if file.output.is_empty() {
        check.wrong(
            "family",
            "a `predict` project needs at least one [[output]]",
            "add [[output]] with column = \"NAME\"",
        );
    }
    if file.train.packing != Packing::Stream {
        check.wrong("train.packing", "`packing` is for language projects", None);
    }
    if file.data.text_column.is_some() {
        check.wrong("data.text_column", "`text_column` is for language projects", "name the column in an [[input]]");
    }
    let documents = [
        ("recipe", file.data.recipe.is_some()),
        ("drop_where", !file.data.drop_where.is_empty()),
        ("duplicates", file.data.duplicates.is_some()),
        ("contamination", file.data.contamination.is_some()),
    ];
    for (key, given) in documents {
        if given {
            check.wrong(&format!("data.{key}"), format!("`{key}` is for the documents of language projects"), None);
        }
    }
    let mut seen = BTreeSet::new();
    for (index, input) in file.input.iter().enumerate() {
        let path = format!("input.{index}");
        if !seen.insert(input.column.as_str()) {
            check.wrong(&format!("{path}.column"), format!("the column {:?} is used twice", input.column), None);
        }
        input_options(file, index, &path, check);
    }
    for (index, output) in file.output.iter().enumerate() {
        let path = format!("output.{index}");
        if !seen.insert(output.column.as_str()) {
            check.wrong(
                &format!("{path}.column"),
                format!("the column {:?} is used twice", output.column),
                "a column is an input or an output, and stands once",
            );
        }
        if output.column_type == Some(ColumnType::Text) {
            check.wrong(
                &format!("{path}.type"),
                "an output cannot be free text",
                "use \"category\", \"binary\" or \"number\", or family = \"language\"",
            );
        }
        match (output.column_type, output.loss) {
            (Some(ColumnType::Number), Some(Loss::CrossEntropy)) => {
                check.wrong(&format!("{path}.loss"), "a number cannot be learned by cross-entropy", "use \"mse\"");
            }
            (Some(ColumnType::Category), Some(Loss::Mse)) => {
                check.wrong(
                    &format!("{path}.loss"),
                    "a category cannot be learned by mean squared error",
                    "use \"cross_entropy\"",
                );
            }
            _ => {}
        }
    }
    if let Some(hidden) = &file.model.hidden
        && hidden.iter().any(|width| *width == 0 || *width > 65_536)
    {
        check.wrong("model.hidden", "every hidden layer needs a width from 1 to 65536", None);
    }
    if !file.model.intercept && file.model.hidden.as_ref().is_some_and(|hidden| !hidden.is_empty()) {
        check.wrong(
            "model.intercept",
            "only a linear model can go without an intercept",
            "remove `intercept = false`, or set hidden = []",
        );
    }
    let uses_transformer = file.input.iter().any(|input| input.encoder == Some(TextEncoder::Transformer));
    if !uses_transformer {
        for (key, set) in transformer_keys(file) {
            if set {
                check.wrong(
                    &format!("model.{key}"),
                    format!("`model.{key}` shapes a transformer, and no input uses one"),
                    "set encoder = \"transformer\" on a text input, or remove the key",
                );
            }
        }
    }
    if file.model.context.is_some() {
        check.wrong("model.context", "`context` is for language projects", "set `tokens_max` on the input");
    }
}

fn transformer_keys(file: &ProjectFile) -> [(&'static str, bool); 7] {
    let model = &file.model;
    [
        ("architecture", model.architecture.is_some()),
        ("key_value_heads", model.key_value_heads.is_some()),
        ("feed_forward", model.feed_forward.is_some()),
        ("width", model.width.is_some()),
        ("layers", model.layers.is_some()),
        ("heads", model.heads.is_some()),
        ("vocabulary", model.vocabulary.is_some()),
    ]
}

fn input_options(file: &ProjectFile, index: usize, path: &str, check: &mut Check<'_>) {
    let input = &file.input[index];
    let text = input.column_type.is_none_or(|kind| kind == ColumnType::Text);
    let transformer = input.encoder == Some(TextEncoder::Transformer);
    let bag_keys = [
        ("word_ngrams", input.word_ngrams.is_some()),
        ("character_ngrams", input.character_ngrams.is_some()),
        ("buckets", input.buckets.is_some()),
    ];
    let text_keys = [("encoder", input.encoder.is_some()), ("tokens_max", input.tokens_max.is_some())];
    if !text {
        for (key, set) in bag_keys.iter().chain(&text_keys) {
            if *set {
                let kind = input.column_type.map_or("", ColumnType::name);
                check.wrong(
                    &format!("{path}.{key}"),
                    format!("`{key}` is for text, and this column is a {kind}"),
                    None,
                );
            }
        }
        return;
    }
    for (key, set) in bag_keys {
        if set && transformer {
            check.wrong(&format!("{path}.{key}"), format!("`{key}` is for encoder = \"bag\""), None);
        }
    }
    if input.tokens_max.is_some() && !transformer {
        check.wrong(&format!("{path}.tokens_max"), "`tokens_max` is for encoder = \"transformer\"", None);
    }
    for (key, range) in [("word_ngrams", input.word_ngrams), ("character_ngrams", input.character_ngrams)] {
        if let Some([low, high]) = range
            && (low == 0 || low > high || high > 8)
        {
            check.wrong(
                &format!("{path}.{key}"),
                format!("`{key}` should run from at least 1 to at most 8"),
                "write [from, to], such as [1, 2]",
            );
        }
    }
}

fn language(file: &ProjectFile, check: &mut Check<'_>) {
    if !file.input.is_empty() {
        check.wrong(
            "input",
            "[[input]] is for `predict` projects",
            "a language model reads one column: data.text_column",
        );
    }
    if !file.output.is_empty() {
        check.wrong("output", "[[output]] is for `predict` projects", None);
    }
    if file.model.hidden.is_some() {
        check.wrong("model.hidden", "`hidden` is for `predict` projects", "use `width` and `layers`");
    }
    if !file.model.intercept {
        check.wrong("model.intercept", "`intercept` is for `predict` projects", None);
    }
    for (key, given) in [("labels", file.data.labels.is_some()), ("expectations", file.data.expectations.is_some())] {
        if given {
            check.wrong(&format!("data.{key}"), format!("`{key}` is for the rows of `predict` projects"), None);
        }
    }
    if file.data.split.method == SplitMethod::Stratified {
        check.wrong("data.split.method", "a language project has no classes to stratify by", "use \"random\"");
    }
    if file.data.text_column.is_none() && file.data.format.is_some_and(|format| format != DataFormat::Text) {
        check.wrong(
            "data",
            "this format has columns, and [data] does not say which holds the text",
            "add text_column = \"NAME\"",
        );
    }
}

fn transformer(file: &ProjectFile, check: &mut Check<'_>) {
    if let (Some(width), Some(heads)) = (file.model.width, file.model.heads)
        && (width % heads != 0 || (width / heads) % 2 != 0)
    {
        check.wrong(
            "model.heads",
            format!("{heads} heads do not divide the width {width} into even parts"),
            "rotary embedding pairs the dimensions of a head",
        );
    }
    if let (Some(heads), Some(shared)) = (file.model.heads, file.model.key_value_heads)
        && heads % shared != 0
    {
        check.wrong(
            "model.key_value_heads",
            format!("{shared} heads of keys and values do not divide {heads} query heads into equal groups"),
            None,
        );
    }
    if file.family == Family::Language && file.model.architecture == Some(Architecture::Bert) {
        check.wrong(
            "model.architecture",
            "`bert` is for text inputs of `predict` projects",
            "use \"llama\" or \"gpt2\"",
        );
    }
}

fn tune(file: &ProjectFile, check: &mut Check<'_>) {
    let Some(tune) = &file.tune else { return };
    if tune.search.is_empty() {
        check.wrong(
            "tune",
            "[tune.search] names nothing to search",
            "add \"train.learning_rate\" = { low = 1e-4, high = 1e-2, log = true }",
        );
    }
    for (key, range) in &tune.search {
        if let Err(message) = search_range(key, range) {
            // The key itself holds dots, so the place is looked up by its table.
            check.found.push(check.tree.place("tune.search"), key, format!("`tune.search.\"{key}\"`: {message}"), None);
        }
    }
}

fn search_range(key: &str, range: &SearchRange) -> Result<(), String> {
    let head = key.split('.').next().unwrap_or("");
    if !["data", "input", "output", "model", "train"].contains(&head) {
        return Err("only keys of data, input, output, model and train can be searched".to_owned());
    }
    let kind = key_kind(key)?;
    match (&range.choices, range.low, range.high) {
        (Some(choices), None, None) if !choices.is_empty() => Ok(()),
        (None, Some(low), Some(high)) if low < high => match kind {
            KeyKind::Integer | KeyKind::Number if range.log && low <= 0.0 => {
                Err("a logarithmic range needs a lowest value above zero".to_owned())
            }
            KeyKind::Integer | KeyKind::Number => Ok(()),
            _ => Err("this key is not a number; give choices".to_owned()),
        },
        _ => Err("give either low < high, or choices".to_owned()),
    }
}
