//! The image is read back by hand: every digest, every size, every link between its documents.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_range_loop,
    clippy::needless_pass_by_value,
    clippy::zombie_processes,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;
use std::io::Read;

use base::{Context, Digest, Failure, Fault};
use common::{add_model, model_files, package_sample, project_plan, read_tar, this_program};
use package::{PackageError, PackageInputs};
use serde_json::Value as Json;
use store::Store;

type Files = BTreeMap<String, (u32, Vec<u8>)>;

fn blob<'a>(image: &'a Files, descriptor: &Json) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let (_, bytes) = &image[&format!("blobs/sha256/{digest}")];
    assert_eq!(Digest::of(bytes).to_string(), digest);
    assert_eq!(descriptor["size"].as_u64(), Some(bytes.len() as u64));
    bytes
}

fn parse(bytes: &[u8]) -> Json {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn every_blob_is_what_its_descriptor_says() {
    let folder = tempfile::tempdir().unwrap();
    let made = package_sample(folder.path(), &this_program(), &project_plan()).unwrap();
    assert_eq!(made.artifact.kind, "image");
    let image = read_tar(&std::fs::read(made.artifact.path("image.tar")).unwrap());
    assert_eq!(parse(&image["oci-layout"].1)["imageLayoutVersion"], "1.0.0");
    for (path, (_, bytes)) in &image {
        if let Some(digest) = path.strip_prefix("blobs/sha256/").filter(|rest| !rest.is_empty()) {
            assert_eq!(Digest::of(bytes).to_string(), digest);
        }
    }
    let index = parse(&image["index.json"].1);
    assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "sample:1");
    let manifest = parse(blob(&image, &index["manifests"][0]));
    let config = parse(blob(&image, &manifest["config"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"][0], "/usr/bin/yard");
    assert_eq!(config["config"]["Cmd"][4], "0.0.0.0:9000");
    assert!(config["config"]["ExposedPorts"]["9000/tcp"].is_object());
    assert_eq!(config["created"], "1970-01-01T00:00:00Z");
    let mut layers = Vec::new();
    for (index, descriptor) in manifest["layers"].as_array().unwrap().iter().enumerate() {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(blob(&image, descriptor)).read_to_end(&mut bytes).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][index], format!("sha256:{}", Digest::of(&bytes)));
        layers.push(read_tar(&bytes));
    }
    check_program(&layers[0]);
    for (name, contents) in model_files() {
        assert_eq!(layers[1][&format!("model/{name}")], (0o644, contents), "{name}");
    }
    assert_eq!(Digest::of(&layers[1]["model/manifest.json"].1).to_string(), config_label(&config, "revision"));
    assert_eq!(config_label(&config, "version"), "sample@1");
}

fn config_label(config: &Json, name: &str) -> String {
    config["config"]["Labels"][format!("org.opencontainers.image.{name}")].as_str().unwrap().to_owned()
}

fn check_program(layer: &Files) {
    assert_eq!(layer["usr/bin/yard"], (0o755, std::fs::read(this_program()).unwrap()));
    assert!(String::from_utf8_lossy(&layer["etc/passwd"].1).contains("yard:x:65532:65532"));
    assert_eq!(layer["tmp/"].0, 0o1777);
    for path in package::libraries::resolve(&this_program()).unwrap().libraries {
        let inside = path.strip_prefix("/").unwrap().to_string_lossy().into_owned();
        assert_eq!(layer[&inside], (0o755, std::fs::read(&path).unwrap()), "{inside}");
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes_and_others_do_not() {
    let digest = |plan| {
        let folder = tempfile::tempdir().unwrap();
        let made = package_sample(folder.path(), &this_program(), plan).unwrap();
        assert!(!made.cached);
        made.artifact.digest
    };
    let plan = project_plan();
    assert_eq!(digest(&plan), digest(&plan));
    let mut other = plan.clone();
    other.port = 9001;
    assert_ne!(digest(&plan), digest(&other));
}

#[test]
fn a_second_call_finds_the_first_ones_image() {
    let folder = tempfile::tempdir().unwrap();
    package_sample(folder.path(), &this_program(), &project_plan()).unwrap();
    assert!(package_sample(folder.path(), &this_program(), &project_plan()).unwrap().cached);
}

#[test]
fn the_card_states_facts_and_stays_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let made = package_sample(folder.path(), &this_program(), &project_plan()).unwrap();
    let card = std::fs::read_to_string(made.artifact.path("card.md")).unwrap();
    for fact in
        ["# sample", "类别", "0.75", "learning_rate", "seed 7", "rows.csv", "podman load", "yard 0.1.0", "1,212"]
    {
        assert!(card.contains(fact), "{fact} is missing from\n{card}");
    }
    assert!(!card.contains("<script>"), "a label must not become markup");
    for line in card.lines().filter(|line| line.starts_with("| input")) {
        assert_eq!(line.replace("\\|", "").matches('|').count(), 5, "{line}");
    }
}

#[test]
fn what_cannot_be_packaged_is_refused_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("program");
    std::fs::write(&text, "#!/bin/sh\n").unwrap();
    let error = package_sample(folder.path(), &text, &project_plan()).unwrap_err();
    assert!(matches!(error, PackageError::NotAProgram { .. }), "{error}");
    assert_eq!(error.fault(), Fault::User);
    assert!(error.hint().is_some());

    let store = Store::open(folder.path()).unwrap();
    let mut files = model_files();
    files.insert("sub/.wh.weights".to_owned(), Vec::new());
    let model = add_model(&store, &files);
    let program = this_program();
    let inputs = PackageInputs { model: &model, version: None, binary: &program };
    let error = package::run(&Context::silent(), &store, &project_plan(), &inputs).unwrap_err();
    assert!(matches!(error, PackageError::Name { .. }), "{error}");
}

#[test]
fn a_model_that_changed_on_disk_is_not_packaged() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let model = add_model(&store, &model_files());
    let path = model.path("weights.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let program = this_program();
    let inputs = PackageInputs { model: &model, version: None, binary: &program };
    let error = package::run(&Context::silent(), &store, &project_plan(), &inputs).unwrap_err();
    assert!(matches!(error, PackageError::Changed { .. }), "{error}");
}

#[test]
fn asking_to_stop_stops() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let model = add_model(&store, &model_files());
    let context = Context::silent();
    context.stop.ask();
    let program = this_program();
    let inputs = PackageInputs { model: &model, version: None, binary: &program };
    let error = package::run(&context, &store, &project_plan(), &inputs).unwrap_err();
    assert_eq!(error.fault(), Fault::Stopped);
}
