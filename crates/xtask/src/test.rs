//! `cargo xtask test`: formatting, lints, the house rules, licences, tests, documentation.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::steps::{self, Outcome, cargo, step};
use crate::{docs, house, licences};

/// Debian packages that `--full` needs: the program, and the package it is in.
const COUNTERPARTS: [(&str, &str); 5] =
    [("skopeo", "skopeo"), ("umoci", "umoci"), ("podman", "podman"), ("runc", "runc"), ("chromium", "chromium")];

/// Debian packages that `--mpi` needs: the library, `mpirun`, and what reads the library's headers.
const MPI: [&str; 3] = ["libopenmpi-dev", "openmpi-bin", "libclang-dev"];

pub fn run(full: bool) -> Outcome {
    let begun = Instant::now();
    step("format", || cargo(&["fmt", "--all", "--check"], &[]))?;
    step("house rules", house::check)?;
    step("licences", licences::check)?;
    step("generated pages", docs::check)?;
    step("clippy", || cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"], &[]))?;
    step("build", build)?;
    if full {
        step("counterparts", install_counterparts)?;
    }
    let variables: &[(&str, &str)] = if full { &[("YARD_TEST_FULL", "1")] } else { &[] };
    step("tests", || cargo(&["test", "--release", "--workspace", "--quiet"], variables))?;
    step("documentation", || {
        cargo(&["doc", "--quiet", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])
    })?;
    summary(begun);
    Ok(())
}

/// Builds everything in release. Into an empty folder this is the clean build, and its time is kept.
fn build() -> Outcome {
    let clean = !steps::yard().exists() && !steps::target().join("release/deps").exists();
    let begun = Instant::now();
    cargo(&["build", "--release", "--workspace", "--all-targets"], &[])?;
    if clean {
        let seconds = format!("{:.0}", begun.elapsed().as_secs_f64());
        std::fs::write(clean_build_file(), seconds).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn clean_build_file() -> PathBuf {
    steps::target().join("clean-build-seconds")
}

/// Training on several processes, on the real `mpirun`.
pub fn mpi() -> Outcome {
    step("OpenMPI", || {
        let missing = |package: &&str| !is_installed(package);
        install(&MPI.into_iter().filter(missing).collect::<Vec<_>>())
    })?;
    with_feature("mpi", "modelyard-train", "mpi", "YARD_TEST_MPI")
}

/// Documents prepared by several processes, with Ballista's scheduler and executors.
pub fn ballista() -> Outcome {
    with_feature("ballista", "modelyard-data", "cluster", "YARD_TEST_BALLISTA")
}

/// Lints and builds `yard` with a feature that `package` has as well, and runs the tests that need it; they find the program
/// by a variable. The plain `yard` is put back.
fn with_feature(feature: &str, package: &str, test: &str, variable: &str) -> Outcome {
    let yard = steps::target().join(format!("release/yard-{feature}"));
    step(&format!("clippy with {feature}"), || {
        let packages = ["--release", "-p", "modelyard-yard", "-p", package, "--features", feature];
        cargo(&[&["clippy", "--quiet"], &packages[..], &["--", "-D", "warnings"]].concat(), &[])
    })?;
    step(&format!("build with {feature}"), || {
        cargo(&["build", "--release", "-p", "modelyard-yard", "--features", feature], &[])?;
        std::fs::copy(steps::yard(), &yard).map_err(|error| error.to_string())?;
        cargo(&["build", "--release", "--workspace", "--all-targets"], &[])
    })?;
    let yard = yard.to_string_lossy();
    step(&format!("tests with {feature}"), || {
        let arguments = ["test", "--release", "--workspace", "--test", test, "--", "--test-threads", "1"];
        cargo(&arguments, &[(variable, &yard)])
    })
}

/// The features for GPUs. Types of `cuda` alone, because its compiler is downloaded by the build and its GPU is not
/// everywhere; `wgpu` to the end, on whatever adapter there is: Mesa's runs on the processor.
pub fn gpu() -> Outcome {
    step("a Vulkan driver", || {
        let driver = "mesa-vulkan-drivers";
        if is_installed(driver) { Ok(()) } else { install(&[driver]) }
    })?;
    // The build of Burn's compiler takes this as a sign to leave the download out.
    let types = ["check", "--release", "-p", "modelyard-yard", "--features", "cuda"];
    step("types with cuda", || cargo(&types, &[("DOCS_RS", "1")]))?;
    let tests = ["test", "--release", "-p", "modelyard-nn", "--features", "wgpu", "--lib", "--", "gpu", "device"];
    step("tests with wgpu", || cargo(&tests, &[("YARD_TEST_DEVICE", "wgpu")]))
}

fn is_installed(package: &str) -> bool {
    let output = Command::new("dpkg-query").args(["-W", "-f", "${Status}", package]).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("install ok installed"))
}

/// Installs what is missing, as root.
fn install_counterparts() -> Outcome {
    let missing: Vec<&str> =
        COUNTERPARTS.into_iter().filter(|(program, _)| !on_path(program)).map(|(_, p)| p).collect();
    install(&missing)
}

fn install(missing: &[&str]) -> Outcome {
    if missing.is_empty() {
        return Ok(());
    }
    println!("    installing {}", missing.join(", "));
    steps::command("apt-get".as_ref(), &["update", "-qq"], &[])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(missing);
    steps::command("apt-get".as_ref(), &arguments, &[("DEBIAN_FRONTEND", "noninteractive")])
}

fn on_path(program: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {program} >/dev/null")]).status().is_ok_and(|s| s.success())
}

fn summary(begun: Instant) {
    let lock = std::fs::read_to_string(steps::root().join("Cargo.lock")).unwrap_or_default();
    let packages = lock.lines().filter(|line| *line == "[[package]]").count();
    let size = std::fs::metadata(steps::yard()).map_or(0, |file| file.len());
    let clean = std::fs::read_to_string(clean_build_file())
        .map_or_else(|_| "not measured in this target folder".to_owned(), |seconds| format!("{seconds} s"));
    println!("\npackages in Cargo.lock   {packages}");
    println!("release binary           {:.1} MB", size as f64 / 1e6);
    println!("clean build              {clean}");
    println!("all checks               {:.0} s", begun.elapsed().as_secs_f64());
}
