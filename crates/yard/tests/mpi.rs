//! Training on several processes: the same curve as one, and what happens when one of them dies. Runs where
//! `YARD_TEST_MPI` names a `yard` that was built with the feature `mpi`: `cargo xtask test --mpi`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_pass_by_value,
    clippy::zombie_processes,
    reason = "tests"
)]

mod common;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Project, Ran, YARD, ran};
use serde_json::Value as Json;

/// How far losses may lie apart, relatively: `f32` sums in another order.
const ROUNDING: f64 = 1e-4;

const POEMS: &str = r#"
name = "poems"
family = "language"
seed = 7
[data]
source = ["poems.jsonl"]
text_column = "text"
[data.split]
method = "random"
valid = 0.05
test = 0.05
[model]
layers = 2
width = 64
heads = 2
vocabulary = 512
[train]
compute = "f32"
batch_size = 8
checkpoint_seconds = 1
"#;

const ROWS: &str = r#"
name = "rows"
family = "predict"
seed = 3
[data]
source = ["rows.csv"]
[[input]]
column = "text"
type = "text"
buckets = 4096
[[input]]
column = "amount"
type = "number"
[[output]]
column = "label"
type = "category"
[train]
batch_size = 30
epochs = 5
"#;

/// The program with the feature; nothing, and the reason, where the tests do not run.
fn with_mpi() -> Option<PathBuf> {
    let yard = std::env::var_os("YARD_TEST_MPI").map(PathBuf::from);
    if yard.is_none() {
        println!("skipped: YARD_TEST_MPI names no yard with the feature `mpi`; `cargo xtask test --mpi` runs this");
    }
    yard
}

fn poems() -> Project {
    let from = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/poems/data/quatrains.jsonl");
    let text = std::fs::read_to_string(from).unwrap();
    let some: Vec<&str> = text.lines().take(400).collect();
    Project::new("poems.jsonl", some.join("\n").as_bytes(), POEMS)
}

fn rows() -> Project {
    let words = ["card lost", "where is my money", "open an account", "close it please"];
    let mut text = String::from("text,amount,label\n");
    for row in 0..1000_usize {
        let kind = row * 7 % 4;
        text.push_str(&format!("{} {},{},label{kind}\n", words[kind], row % 97, row * 31 % 1000));
    }
    Project::new("rows.csv", text.as_bytes(), ROWS)
}

/// `yard` with so many ranks, one thread each; one rank needs no `mpirun`.
fn command(yard: &str, project: &Project, ranks: usize, arguments: &[&str]) -> Command {
    let mut command = if ranks == 1 { Command::new(yard) } else { Command::new("mpirun") };
    if ranks > 1 {
        command.args(["--allow-run-as-root", "--oversubscribe", "-n", &ranks.to_string(), yard]);
    }
    command.args(arguments).args(["--threads", "1"]).current_dir(project.path()).stdin(Stdio::null());
    command
}

fn train(yard: &str, project: &Project, ranks: usize, settings: &[&str]) -> Ran {
    let mut arguments = vec!["train"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", *setting]));
    ran(command(yard, project, ranks, &arguments).output().unwrap())
}

/// The points of the only model's history.
fn curve(project: &Project) -> Vec<(f64, f64)> {
    let objects = std::fs::read_dir(project.file(".yard/objects")).unwrap();
    let path = objects.map(|entry| entry.unwrap().path().join("history.json")).find(|path| path.exists()).unwrap();
    let history: Json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let loss = |point: &Json, name: &str| point[name].as_f64().unwrap();
    history["points"].as_array().unwrap().iter().map(|p| (loss(p, "train_loss"), loss(p, "valid_loss"))).collect()
}

#[track_caller]
fn near(found: &[(f64, f64)], expected: &[(f64, f64)]) {
    assert_eq!(found.len(), expected.len());
    let apart = |a: f64, b: f64| (a - b).abs() / b.abs();
    let most = found.iter().zip(expected).map(|(a, b)| apart(a.0, b.0).max(apart(a.1, b.1))).fold(0.0, f64::max);
    println!("{} epochs, losses at most {most:.1e} apart", found.len());
    assert!(most < ROUNDING, "{found:?}\n{expected:?}");
}

#[track_caller]
fn same_curves(project: fn() -> Project, settings: &[&str]) {
    let Some(yard) = with_mpi() else { return };
    let yard = yard.to_str().unwrap();
    let one = project();
    train(yard, &one, 1, settings).ok();
    for ranks in [2, 4] {
        let several = project();
        let ran = train(yard, &several, ranks, settings).ok();
        assert!(ran.out.contains(&format!("{ranks} processes")), "{}", ran.out);
        near(&curve(&several), &curve(&one));
        // What was trained is found again, with and without mpirun.
        assert!(train(yard, &several, ranks, settings).ok().out.contains("train      as before"));
        assert!(train(yard, &several, 1, settings).ok().out.contains("train      as before"));
    }
}

#[test]
fn a_language_model_learns_the_same_in_several_buckets() {
    same_curves(poems, &["train.epochs=2", "model.width=192", "model.layers=3", "model.heads=4"]);
}

#[test]
fn parts_of_a_batch_and_documents_are_cut_by_ranks() {
    same_curves(poems, &["train.epochs=2", "train.accumulate=2", "train.packing=documents", "train.batch_size=9"]);
}

#[test]
fn a_linear_predict_model_learns_the_same() {
    same_curves(rows, &[]);
}

#[test]
fn a_predict_model_with_a_hidden_layer_learns_the_same() {
    same_curves(rows, &["model.hidden=[256]"]);
}

/// The process of one rank of a running `mpirun`.
fn process(mpirun: &Child, rank: usize) -> Option<u32> {
    let mark = format!("OMPI_COMM_WORLD_RANK={rank}");
    let parent = format!("PPid:\t{}", mpirun.id());
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let id = entry.file_name().to_str()?.parse::<u32>().ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let environment = std::fs::read(entry.path().join("environ")).ok()?;
        let marked = environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
        (marked && status.lines().any(|line| line == parent)).then_some(id)
    })
}

/// Trains on two ranks, and sends one of them a signal once there is a checkpoint.
fn disturbed(yard: &str, project: &Project, rank: usize, signal: &str) -> Ran {
    let mut command = command(yard, project, 2, &["train", "--set", "train.epochs=40"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    let saved = || {
        let stages = std::fs::read_dir(project.file(".yard/work")).into_iter().flatten().flatten();
        stages.map(|stage| stage.path().join("scratch/checkpoint.json")).any(|path| path.exists())
    };
    while !saved() {
        assert!(begun.elapsed() < Duration::from_secs(60), "there is no checkpoint");
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = process(&child, rank).expect("the rank runs").to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    ran(child.wait_with_output().unwrap())
}

#[test]
fn a_training_continues_after_a_rank_was_killed_or_stopped() {
    let Some(yard) = with_mpi() else { return };
    let yard = yard.to_str().unwrap();
    let settings = ["train.epochs=40"];
    let whole = poems();
    train(yard, &whole, 2, &settings).ok();
    for (rank, signal, code, says) in [
        (1, "-KILL", 137, "one of its processes died; the same command continues from the last checkpoint"),
        (0, "-KILL", 137, "exited on signal 9 (Killed)"),
        (1, "-INT", 130, "A checkpoint was written: the same command continues from it."),
    ] {
        let project = poems();
        let ended = disturbed(yard, &project, rank, signal);
        assert!(ended.code == code && ended.err.contains(says), "{}\n{}\n{}", ended.code, ended.out, ended.err);
        let resumed = train(yard, &project, 2, &settings).ok();
        assert!(resumed.err.contains("continuing from the checkpoint at step"), "{}", resumed.err);
        assert_eq!(curve(&project), curve(&whole), "the curve of a training that nobody disturbed, in every bit");
        println!("rank {rank}, kill {signal}: exit code {code}, the same curve after it");
    }
}

#[test]
fn several_processes_are_refused_where_they_cannot_work() {
    let Some(yard) = with_mpi() else { return };
    let project = rows();
    let ended = train(YARD, &project, 2, &[]);
    let says = ["without its feature `mpi`", "--features mpi"];
    assert!(ended.code == 2 && says.iter().all(|part| ended.err.contains(part)), "{}\n{}", ended.code, ended.err);
    assert_eq!(ended.err.matches("error: ").count(), 1, "{}", ended.err);
    let ended = ran(command(yard.to_str().unwrap(), &project, 2, &["run"]).output().unwrap());
    assert!(ended.code == 2 && ended.err.contains("only `yard train`"), "{}\n{}", ended.code, ended.err);
    // An error before the training ends every process.
    let ended = train(yard.to_str().unwrap(), &project, 2, &["train.epochs=no"]);
    assert!(ended.code == 2 && ended.err.contains("train.epochs"), "{}\n{}", ended.code, ended.err);
}
