//! The package stage: a model becomes an OCI image that any container engine runs, made without a
//! daemon, and a model card. The same model, program and settings give the same bytes.
//!
//! The image has two layers: the program with the shared libraries it needs, which changes with a new
//! `yard`, and the model, which changes with a new model.
//!
//! It does not know HTTP, and it does not run containers. Read `image.rs` for what is in an image,
//! `libraries.rs` for what a program needs, `card.rs` for the model card.

mod card;
mod error;
mod image;
mod layer;
pub mod libraries;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use base::project::Project;
use base::{Context, Digest, Measure};
use serde_json::{Value as Json, json};
use store::{Artifact, Made, StageKey, Store, Work};

pub use error::PackageError;
use image::{Image, Labels};
pub use image::{MODEL, PROGRAM, USER};
use layer::{Layer, Source};
use libraries::Program;

/// Raised whenever this code would make another image of the same inputs.
pub const CODE_VERSION: u32 = 1;
/// The image as a tar file in the OCI image layout.
pub const IMAGE_FILE: &str = "image.tar";
/// The model card.
pub const CARD_FILE: &str = "card.md";
/// What was made: digests, sizes and how to run it.
pub const PACKAGE_FILE: &str = "package.json";

/// What will be packaged, and how it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The model's name.
    pub name: String,
    /// The image's name and tag.
    pub tag: String,
    /// The port that the image's server listens on.
    pub port: u16,
}

/// What goes into an image.
#[derive(Debug, Clone, Copy)]
pub struct PackageInputs<'a> {
    /// The model.
    pub model: &'a Artifact,
    /// Its name in the registry, such as `banking@3`, where it is registered.
    pub version: Option<&'a str>,
    /// The program: a Linux `yard`.
    pub binary: &'a Path,
}

/// Everything that was found out before the work begins.
struct Prepared {
    labels: Labels,
    program: Program,
    binary: Source,
    libraries: Vec<Source>,
    facts: card::Facts,
}

/// Checks what the project file says about the image. Without a `[package]` table its defaults hold.
///
/// # Errors
/// [`PackageError::Tag`].
pub fn plan(project: &Project) -> Result<Plan, PackageError> {
    let config = project.file.package.clone().unwrap_or_default();
    let name = project.file.name.clone();
    let tag = config.tag.unwrap_or_else(|| format!("{name}:latest"));
    let tag = if has_tag(&tag) { tag } else { format!("{tag}:latest") };
    if !is_reference(&tag) {
        return Err(PackageError::Tag { tag });
    }
    Ok(Plan { name, tag, port: config.port })
}

/// Makes the image, its card and `package.json`, or finds them made before.
///
/// # Errors
/// [`PackageError`]: a program that is not for Linux, a library that is not there, a model whose files
/// cannot be read, a full disk.
pub fn run(context: &Context, store: &Store, plan: &Plan, inputs: &PackageInputs<'_>) -> Result<Made, PackageError> {
    let prepared = prepare(store, plan, inputs)?;
    let libraries: Vec<Json> = prepared.libraries.iter().map(|one| json!([one.path, one.sha256])).collect();
    let key = StageKey {
        stage: "package",
        code_version: CODE_VERSION,
        config: json!({
            "name": plan.name,
            "tag": plan.tag,
            "port": plan.port,
            "version": prepared.labels.version,
            "facts": prepared.facts.digest(),
        }),
        inputs: vec![
            ("model".to_owned(), inputs.model.digest),
            ("binary".to_owned(), prepared.binary.sha256),
            ("libraries".to_owned(), Digest::of_json(&Json::Array(libraries))),
        ],
        seed: 0,
        makes: "image",
    };
    store.stage(&key, |work| make(context, work, inputs, &prepared))
}

fn prepare(store: &Store, plan: &Plan, inputs: &PackageInputs<'_>) -> Result<Prepared, PackageError> {
    let program = libraries::resolve(inputs.binary)?;
    let libraries = program.libraries.iter().map(|path| Source::of(path)).collect::<Result<_, _>>()?;
    let labels = Labels {
        tag: plan.tag.clone(),
        title: plan.name.clone(),
        version: inputs.version.unwrap_or("unregistered").to_owned(),
        revision: inputs.model.digest,
        port: plan.port,
    };
    let facts = card::Facts::read(store, inputs.model)?;
    Ok(Prepared { labels, program, binary: Source::of(inputs.binary)?, libraries, facts })
}

fn make(
    context: &Context,
    work: &Work<'_>,
    inputs: &PackageInputs<'_>,
    prepared: &Prepared,
) -> Result<(), PackageError> {
    let [program, model] = layers(context, work, inputs, prepared)?;
    let image_path = work.out().join(IMAGE_FILE);
    let layers = [program, model];
    let image = image::write(&image_path, &prepared.labels, &prepared.program, &layers)?;
    for layer in &layers {
        std::fs::remove_file(&layer.path).map_err(PackageError::io("remove", &layer.path))?;
    }
    let summary = summary(&image, &layers, prepared);
    let text = serde_json::to_string_pretty(&summary).unwrap_or_else(|_| summary.to_string()) + "\n";
    write_file(&work.out().join(PACKAGE_FILE), &text)?;
    write_file(&work.out().join(CARD_FILE), &card::write(&prepared.facts, &prepared.labels, &image))
}

/// Packs both layers at once: most of the time is compression, which uses one core.
fn layers(
    context: &Context,
    work: &Work<'_>,
    inputs: &PackageInputs<'_>,
    prepared: &Prepared,
) -> Result<[Layer; 2], PackageError> {
    let program = image::program_contents(&prepared.binary, &prepared.libraries)?;
    let model = image::model_contents(inputs.model)?;
    let total = program.size_bytes() + model.size_bytes();
    let task = context.begin("package", Some(total), "bytes");
    let done = AtomicU64::new(0);
    let progress = |count| task.at(done.fetch_add(count, Ordering::Relaxed) + count);
    let (program_path, model_path) = (work.scratch().join("program.tar.gz"), work.scratch().join("model.tar.gz"));
    let (program, model) = std::thread::scope(|scope| {
        let first = scope.spawn(|| program.write(&program_path, &context.stop, &progress));
        let second = model.write(&model_path, &context.stop, &progress);
        (first.join(), second)
    });
    let program = program.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let model = model?;
    task.end(&base::units::bytes(program.size_bytes + model.size_bytes));
    Ok([program, model])
}

/// What `package.json` says.
fn summary(image: &Image, layers: &[Layer; 2], prepared: &Prepared) -> Json {
    let labels = &prepared.labels;
    let size = |bytes: u64, of: &str| Measure::measured(bytes as f64, "bytes", of);
    let libraries: Vec<Json> = prepared
        .libraries
        .iter()
        .map(|one| json!({ "path": one.path, "sha256": one.sha256, "size_bytes": one.size_bytes }))
        .collect();
    json!({
        "tag": labels.tag,
        "version": labels.version,
        "architecture": prepared.program.architecture,
        "port": labels.port,
        "user": USER,
        "manifest_digest": format!("sha256:{}", image.manifest),
        "config_digest": format!("sha256:{}", image.config),
        "model_digest": labels.revision,
        "binary_digest": prepared.binary.sha256,
        "libraries": libraries,
        "measures": {
            "image_bytes": size(image.size_bytes, "size of image.tar"),
            "binary_layer_bytes": size(layers[0].size_bytes, "size of the gzipped layer of the program and its libraries"),
            "model_layer_bytes": size(layers[1].size_bytes, "size of the gzipped layer of the model"),
        },
    })
}

fn write_file(path: &Path, text: &str) -> Result<(), PackageError> {
    std::fs::write(path, text).map_err(PackageError::io("write", path))
}

/// Whether the last part of a reference has a tag; a colon before a slash belongs to a port.
fn has_tag(reference: &str) -> bool {
    reference.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

/// Whether a text is `[host[:port]/]path[/path…]:tag`, as container engines read references.
fn is_reference(text: &str) -> bool {
    let Some((name, tag)) = text.rsplit_once(':') else { return false };
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let tag_fits = tag.len() <= 128
        && tag.bytes().next().is_some_and(letter)
        && tag.bytes().all(|byte| letter(byte) || byte == b'.' || byte == b'-');
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), path),
        _ => (None, name),
    };
    let host_fits = host.is_none_or(|host| {
        let (host, port) = host.split_once(':').unwrap_or((host, "1"));
        !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
            && port.parse::<u16>().is_ok()
    });
    tag_fits && host_fits && text.len() <= 255 && path.split('/').all(is_path_part)
}

/// Lower-case letters and digits; between them `.`, `_`, `__` or any number of `-`.
fn is_path_part(part: &str) -> bool {
    let word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = bytes.first().is_some_and(word) && bytes.last().is_some_and(word);
    let separators = |run: &[u8]| matches!(run, b"" | b"." | b"_" | b"__") || run.iter().all(|byte| *byte == b'-');
    ends && bytes.split(word).all(separators)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_those_that_engines_accept() {
        for good in ["banking:latest", "a/b:1", "localhost:5000/a-b/c_d:V1.2-x", "ghcr.io/team/model:_1"] {
            assert!(is_reference(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "A:1",
            "a:",
            "a:-1",
            "a b:1",
            "/a:1",
            "a/:1",
            "a..b:1",
            "a.-b:1",
            "a-:1",
            "host:port/a:1",
            "a:1/b",
        ] {
            assert!(!is_reference(bad), "{bad}");
        }
        assert!(has_tag("a/b:1") && !has_tag("host:5000/b") && !has_tag("b"));
    }
}
