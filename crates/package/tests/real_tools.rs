//! The image in the hands of the real tools: skopeo and umoci read it, podman loads and runs it. They
//! are not on every machine, so this runs only with `YARD_TEST_FULL=1`.
//!
//! The program in the image is this test program itself, and [`inside_the_image`] is what it does there.
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

use std::path::Path;
use std::process::{Command, Output};

use common::{model_files, package_sample, project_plan, this_program};
use serde_json::Value as Json;

/// How podman runs where there is neither a daemon nor a writable cgroup tree.
const RUN: [&str; 8] = [
    "--runtime",
    "runc",
    "run",
    "--rm",
    "--network=host",
    "--cgroups=no-conmon",
    "--ulimit=nofile=1024:1024",
    "--ulimit=nproc=4096:4096",
];

fn wanted() -> bool {
    let wanted = std::env::var_os("YARD_TEST_FULL").is_some_and(|value| value == "1");
    if !wanted {
        eprintln!("skipped: needs YARD_TEST_FULL=1 and skopeo, umoci, podman, runc");
    }
    wanted
}

fn tool(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("failed to start {program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs in the container only: the user, the model and the folder for temporary files.
#[test]
#[ignore = "runs inside the image"]
fn inside_the_image() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    assert!(status.lines().any(|line| line.starts_with("Uid:\t65532")), "{status}");
    for (name, contents) in model_files() {
        assert_eq!(std::fs::read(Path::new("/model").join(&name)).unwrap(), contents, "{name}");
    }
    assert!(std::fs::write("/model/new", "x").is_err(), "the model must not be writable");
    std::fs::write("/tmp/new", "x").unwrap();
}

#[test]
fn the_tools_accept_the_image_and_the_program_runs_in_it() {
    if !wanted() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut plan = project_plan();
    plan.tag = format!("modelyard-test-{}:1", std::process::id());
    let made = package_sample(folder.path(), &this_program(), &plan).unwrap();
    let image = made.artifact.path("image.tar").display().to_string();
    let seen = tool("skopeo", &["inspect", &format!("oci-archive:{image}:{}", plan.tag)]);
    let seen: Json = serde_json::from_slice(&seen.stdout).unwrap();
    let package: Json = serde_json::from_slice(&std::fs::read(made.artifact.path("package.json")).unwrap()).unwrap();
    assert_eq!(seen["Digest"], package["manifest_digest"]);
    assert_eq!(seen["Labels"]["org.opencontainers.image.title"], "sample");

    let layout = folder.path().join("layout");
    std::fs::create_dir(&layout).unwrap();
    let layout = layout.display().to_string();
    tool("tar", &["-xf", &image, "-C", &layout]);
    let bundle = folder.path().join("bundle").display().to_string();
    tool("umoci", &["unpack", "--rootless", "--image", &format!("{layout}:{}", plan.tag), &bundle]);

    let loaded = text(&tool("podman", &["load", "--input", &image]));
    let name = format!("localhost/{}", plan.tag);
    assert!(loaded.contains(&name), "{loaded}");
    let arguments = [&RUN[..], &[&name, "inside_the_image", "--exact", "--ignored", "--nocapture"]].concat();
    let ran = text(&tool("podman", &arguments));
    tool("podman", &["rmi", "--force", &name]);
    assert!(ran.contains("1 passed"), "{ran}");
}

/// With the real program, where it has been built beside this test: its layer keeps the size limit.
#[test]
fn the_real_program_is_small_enough_and_starts() {
    let yard = this_program().ancestors().nth(2).unwrap().join("yard");
    if !wanted() || !yard.is_file() {
        eprintln!("skipped: {} is looked at only with YARD_TEST_FULL=1, once it is built", yard.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut plan = project_plan();
    plan.tag = format!("modelyard-real-{}:1", std::process::id());
    let made = package_sample(folder.path(), &yard, &plan).unwrap();
    assert!(made.seconds < 10.0, "{} s", made.seconds);
    let package: Json = serde_json::from_slice(&std::fs::read(made.artifact.path("package.json")).unwrap()).unwrap();
    let bytes = package["measures"]["binary_layer_bytes"]["value"].as_f64().unwrap();
    assert!(bytes < 60e6, "{bytes}");
    let image = made.artifact.path("image.tar").display().to_string();
    tool("podman", &["load", "--input", &image]);
    let name = format!("localhost/{}", plan.tag);
    let ran = text(&tool("podman", &[&RUN[..], &[&name, "--version"]].concat()));
    tool("podman", &["rmi", "--force", &name]);
    assert!(ran.contains("yard "), "{ran}");
}
