//! The JSON Schema of the project file, made from its types; the check of a tree against it; and the
//! reference page made from it.

use std::fmt::Write as _;
use std::sync::LazyLock;

use serde_json::Value as Json;

use super::diagnostic::Diagnostics;
use super::file::ProjectFile;
use super::tree::{Kind, Node};

static SCHEMA: LazyLock<Json> = LazyLock::new(|| {
    let mut schema = schemars::schema_for!(ProjectFile).to_value();
    schema["title"] = Json::String("yard.toml".to_owned());
    schema
});

/// The JSON Schema (draft 2020-12) of `yard.toml`.
#[must_use]
pub fn schema() -> &'static Json {
    &SCHEMA
}

/// What kind of value a key takes.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyKind {
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// Free text.
    Text,
    /// One of these names.
    Names(Vec<String>),
    /// A table or a list.
    Composite,
}

/// The kind of a dotted key such as `train.learning_rate`, or the reason why there is no such key.
///
/// # Errors
/// A message that names the unknown part and the nearest known one.
pub fn key_kind(path: &str) -> Result<KeyKind, String> {
    let mut here = resolve(schema());
    for part in path.split('.') {
        here = if kind_names(here).contains(&"array") {
            part.parse::<usize>().map_err(|_| format!("{part:?} should be a position, counted from 0"))?;
            resolve(&here["items"])
        } else {
            let properties =
                here["properties"].as_object().ok_or_else(|| format!("{part:?} stands below a plain value"))?;
            let found = properties.get(part).ok_or_else(|| {
                let known = nearest(part, properties.keys().map(String::as_str));
                known.map_or_else(
                    || format!("there is no key {part:?}"),
                    |known| format!("there is no key {part:?}; the nearest is {known:?}"),
                )
            })?;
            resolve(found)
        };
    }
    let names = choices(here);
    Ok(if !names.is_empty() {
        KeyKind::Names(names)
    } else {
        match kind_names(here).first() {
            Some(&"integer") => KeyKind::Integer,
            Some(&"number") => KeyKind::Number,
            Some(&"boolean") => KeyKind::Boolean,
            Some(&"string") => KeyKind::Text,
            _ => KeyKind::Composite,
        }
    })
}

/// Follows `$ref`, and takes the part of an optional value that is not null.
fn resolve(schema: &Json) -> &Json {
    let mut here = schema;
    loop {
        if let Some(name) = here["$ref"].as_str().and_then(|text| text.strip_prefix("#/$defs/")) {
            here = &SCHEMA["$defs"][name];
        } else if let Some(some) = here["anyOf"].as_array().and_then(|all| all.iter().find(|one| one["type"] != "null"))
        {
            here = some;
        } else if let Some([only]) = here["allOf"].as_array().map(Vec::as_slice) {
            here = only;
        } else {
            return here;
        }
    }
}

/// The allowed JSON types, without `null` (TOML has none).
fn kind_names(schema: &Json) -> Vec<&str> {
    match &schema["type"] {
        Json::String(name) => vec![name],
        Json::Array(names) => names.iter().filter_map(Json::as_str).filter(|name| *name != "null").collect(),
        _ => Vec::new(),
    }
}

/// The names an enumeration allows.
fn choices(schema: &Json) -> Vec<String> {
    let constant = |one: &Json| one["const"].as_str().map(str::to_owned);
    let listed = |one: &Json| -> Vec<String> {
        one["enum"].as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect()
    };
    let mut names = listed(schema);
    for one in schema["oneOf"].as_array().into_iter().flatten() {
        names.extend(constant(one));
        names.extend(listed(one));
    }
    names
}

/// The known name nearest to what was written, if one is near enough to suggest.
fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::damerau_levenshtein(&written.to_lowercase(), name), name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
        .map(|(_, name)| name)
}

/// Holds a tree against the schema.
pub(super) fn validate(tree: &Node, found: &mut Diagnostics) {
    validate_node(tree, schema(), "", found);
}

fn validate_node(node: &Node, schema: &Json, path: &str, found: &mut Diagnostics) {
    let schema = resolve(schema);
    let names = choices(schema);
    if !names.is_empty() {
        return validate_choice(node, &names, path, found);
    }
    let allowed = kind_names(schema);
    if !allowed.is_empty() && !allowed.iter().any(|kind| is_kind(node, kind)) {
        let message = format!("{} should be {}, but is {}", shown(path), describe(schema), actual(node));
        return found.push(node.span.clone(), path, message, type_hint(node, &allowed));
    }
    match &node.kind {
        Kind::Table(entries) => validate_table(node, entries, schema, path, found),
        Kind::Array(items) => {
            for (limit, wrong) in [("minItems", "at least"), ("maxItems", "at most")] {
                let Some(count) = schema[limit].as_u64() else { continue };
                let broken =
                    if limit == "minItems" { (items.len() as u64) < count } else { items.len() as u64 > count };
                if broken {
                    let message =
                        format!("{} should have {wrong} {count} entries, but has {}", shown(path), items.len());
                    found.push(node.span.clone(), path, message, None);
                }
            }
            for (index, item) in items.iter().enumerate() {
                validate_node(item, &schema["items"], &join(path, &index.to_string()), found);
            }
        }
        Kind::Leaf(Json::Number(number)) => validate_range(node, number, schema, path, found),
        Kind::Leaf(_) => {}
    }
}

fn validate_choice(node: &Node, names: &[String], path: &str, found: &mut Diagnostics) {
    let list = names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    match &node.kind {
        Kind::Leaf(Json::String(text)) if names.contains(text) => {}
        Kind::Leaf(Json::String(text)) => {
            let hint = nearest(text, names.iter().map(String::as_str)).map(|name| format!("did you mean {name:?}?"));
            found.push(
                node.span.clone(),
                path,
                format!("{} should be one of {list}, but is {text:?}", shown(path)),
                hint,
            );
        }
        _ => {
            let message = format!("{} should be one of {list}, but is {}", shown(path), actual(node));
            found.push(node.span.clone(), path, message, None);
        }
    }
}

fn validate_table(
    node: &Node,
    entries: &[(String, std::ops::Range<usize>, Node)],
    schema: &Json,
    path: &str,
    found: &mut Diagnostics,
) {
    let empty = serde_json::Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    for (key, span, value) in entries {
        let below = join(path, key);
        if let Some(property) = properties.get(key) {
            validate_node(value, property, &below, found);
        } else if schema["additionalProperties"].is_object() {
            validate_node(value, &schema["additionalProperties"], &below, found);
        } else {
            let place = if path.is_empty() { "at the top level".to_owned() } else { format!("in [{path}]") };
            let hint = nearest(key, properties.keys().map(String::as_str)).map_or_else(
                || {
                    elsewhere(key).unwrap_or_else(|| {
                        format!("known keys: {}", properties.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
                    })
                },
                |known| format!("did you mean `{known}`?"),
            );
            found.push(span.clone(), &below, format!("unknown key `{key}` {place}"), Some(hint));
        }
    }
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
        if !entries.iter().any(|(key, _, _)| key == required) {
            let place = if path.is_empty() { "at the top level".to_owned() } else { format!("in [{path}]") };
            let about = properties.get(required).and_then(|p| p["description"].as_str()).unwrap_or("").to_owned();
            found.push(
                node.span.clone(),
                path,
                format!("missing key `{required}` {place}"),
                Some(format!("`{required}`: {about}")),
            );
        }
    }
}

/// The table that has a key of this name, if the key stands in the wrong one.
fn elsewhere(key: &str) -> Option<String> {
    let tables = SCHEMA["properties"].as_object()?;
    let table = tables.iter().find(|(_, table)| resolve(table)["properties"].get(key).is_some())?;
    Some(format!("`{key}` belongs in [{}]", table.0))
}

fn validate_range(node: &Node, number: &serde_json::Number, schema: &Json, path: &str, found: &mut Diagnostics) {
    let value = number.as_f64().unwrap_or(f64::NAN);
    let minimum = schema["minimum"].as_f64();
    let maximum = schema["maximum"].as_f64();
    if minimum.is_some_and(|low| value < low) || maximum.is_some_and(|high| value > high) {
        let range = match (minimum, maximum) {
            (Some(low), Some(high)) => format!("from {low} to {high}"),
            (Some(low), None) => format!("at least {low}"),
            (_, high) => format!("at most {}", high.unwrap_or(f64::NAN)),
        };
        found.push(node.span.clone(), path, format!("{} should be {range}, but is {number}", shown(path)), None);
    }
}

fn is_kind(node: &Node, kind: &str) -> bool {
    match (&node.kind, kind) {
        (Kind::Table(_), "object") | (Kind::Array(_), "array") => true,
        (Kind::Leaf(Json::String(_)), "string") | (Kind::Leaf(Json::Bool(_)), "boolean") => true,
        (Kind::Leaf(Json::Number(_)), "number") => true,
        (Kind::Leaf(Json::Number(number)), "integer") => number.is_i64() || number.is_u64(),
        _ => false,
    }
}

fn describe(schema: &Json) -> String {
    let words: Vec<&str> = kind_names(schema)
        .into_iter()
        .map(|kind| match kind {
            "object" => "a table",
            "array" => "a list",
            "string" => "text in quotes",
            "boolean" => "true or false",
            "integer" => "a whole number",
            _ => "a number",
        })
        .collect();
    words.join(" or ")
}

fn actual(node: &Node) -> String {
    match &node.kind {
        Kind::Table(_) => "a table".to_owned(),
        Kind::Array(_) => "a list".to_owned(),
        Kind::Leaf(Json::String(text)) => format!("the text {text:?}"),
        Kind::Leaf(json) => json.to_string(),
    }
}

fn type_hint(node: &Node, allowed: &[&str]) -> Option<String> {
    match &node.kind {
        Kind::Leaf(Json::String(text)) if allowed.iter().any(|k| *k == "number" || *k == "integer") => {
            text.parse::<f64>().ok().map(|_| format!("write {text} without quotes"))
        }
        Kind::Leaf(Json::String(text)) if allowed.contains(&"boolean") && (text == "true" || text == "false") => {
            Some(format!("write {text} without quotes"))
        }
        Kind::Leaf(json) if allowed.contains(&"array") => Some(format!("write [{json}]")),
        Kind::Leaf(json) if allowed.contains(&"string") => Some(format!("write \"{json}\"")),
        _ => None,
    }
}

fn shown(path: &str) -> String {
    if path.is_empty() { "the file".to_owned() } else { format!("`{path}`") }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The reference of every key of `yard.toml`, in Markdown.
#[must_use]
pub fn reference_page() -> String {
    let mut page = String::from(
        "# yard.toml\n\nEvery key, made from the types that read the file (`cargo xtask docs`). Keys without a default are\nrequired where the type is not followed by `?`.\n",
    );
    page.push_str("\n## Top level\n\n");
    table_reference(&mut page, schema());
    let empty = serde_json::Map::new();
    let properties = SCHEMA["properties"].as_object().unwrap_or(&empty);
    for (name, property) in properties {
        let shape = resolve(property);
        let (heading, shape) = if kind_names(shape).contains(&"array") {
            (format!("[[{name}]]"), resolve(&shape["items"]))
        } else {
            (format!("[{name}]"), shape)
        };
        if shape["properties"].is_object() {
            let _ = write!(page, "\n## `{heading}`\n\n{}\n\n", property["description"].as_str().unwrap_or(""));
            table_reference(&mut page, shape);
            nested_reference(&mut page, name, shape);
        }
    }
    page
}

fn nested_reference(page: &mut String, name: &str, shape: &Json) {
    for (key, property) in shape["properties"].as_object().into_iter().flatten() {
        let mut below = resolve(property);
        let mut heading = format!("[{name}.{key}]");
        if kind_names(below).contains(&"array") {
            below = resolve(&below["items"]);
            heading = format!("[[{name}.{key}]]");
        } else if below["additionalProperties"].is_object() {
            below = resolve(&below["additionalProperties"]);
            heading = format!("[{name}.{key}] (one entry per key)");
        }
        if below["properties"].is_object() {
            let _ = write!(page, "\n### `{heading}`\n\n{}\n\n", property["description"].as_str().unwrap_or(""));
            table_reference(page, below);
        }
    }
}

fn table_reference(page: &mut String, shape: &Json) {
    page.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
    let required: Vec<&str> = shape["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    for (key, property) in shape["properties"].as_object().into_iter().flatten() {
        let below = resolve(property);
        let names = choices(below);
        let mut kind = if names.is_empty() {
            describe(below)
        } else {
            names.iter().map(|n| format!("`\"{n}\"`")).collect::<Vec<_>>().join(", ")
        };
        if !required.contains(&key.as_str()) {
            kind.push('?');
        }
        let default = property
            .get("default")
            .filter(|d| !d.is_null() && !d.is_object())
            .map_or(String::new(), |d| format!("`{d}`"));
        let about = property["description"].as_str().unwrap_or("").replace('\n', " ");
        let _ = writeln!(page, "| `{key}` | {kind} | {default} | {about} |");
    }
}
