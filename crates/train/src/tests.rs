mod curves;
mod settings;

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::project::Schedule;
use base::{ColumnType, Context, Failure, Fault, Progress, Stop, Task, Value};
use infer::{Engine, Model};
use serde_json::Value as Json;

use super::*;
use crate::testing::{Table, project, table_dataset, text_dataset};

pub(crate) const LINE: &str = "[[input]]\ncolumn = \"x\"\n[[output]]\ncolumn = \"y\"";
pub(crate) const MIXED: &str =
    "[[input]]\ncolumn = \"text\"\n[[input]]\ncolumn = \"n\"\n[[input]]\ncolumn = \"c\"\n[[input]]\ncolumn = \"b\"
[[output]]\ncolumn = \"kind\"\n[[output]]\ncolumn = \"sum\"\n[[output]]\ncolumn = \"even\"";

pub(crate) fn open() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

fn json(made: &Made, file: &str) -> Json {
    serde_json::from_slice(&std::fs::read(made.artifact.path(file)).unwrap()).unwrap()
}

fn metric(made: &Made, name: &str) -> f64 {
    json(made, "metrics.json")[name]["value"].as_f64().unwrap_or_else(|| panic!("no metric {name}"))
}

pub(crate) fn train(store: &Store, plan: &Plan, dataset: &Artifact) -> Result<Made, TrainError> {
    run(&Context::silent(), store, plan, dataset, &Ranks::one(), &mut |_| ControlFlow::Continue(()))
}

fn weights(made: &Made) -> Vec<u8> {
    std::fs::read(made.artifact.path("weights.safetensors")).unwrap()
}

pub(crate) fn line(store: &Store, intercept: bool) -> Artifact {
    let number = |value: f64| vec![Value::Number(value)];
    let points = [(1.0, 2.0), (2.0, 4.0), (3.0, 5.0), (4.0, 4.0), (5.0, 5.0)];
    let train = points.iter().map(|(x, y)| (number(*x), number(*y))).collect();
    let table = Table {
        inputs: vec![("x", ColumnType::Number)],
        outputs: vec![("y", ColumnType::Number)],
        buckets: 0,
        intercept,
        splits: [train, vec![], vec![]],
    };
    table_dataset(store, &format!("line {intercept}"), &table)
}

/// Rows with every type of input and output; the outputs follow from the inputs.
pub(crate) fn mixed(store: &Store, buckets: u32) -> Artifact {
    let mut random = nn::random::Random::new(1, &[]);
    let mut rows = |count: usize| -> Vec<(Vec<Value>, Vec<Value>)> {
        let row = |_| {
            let word = ["red", "green", "blue"][random.below(3)];
            let (n, even) = (random.normal(), random.below(2) == 0);
            let c = ["p", "q"][random.below(2)];
            let sum = n * 3.0 + if c == "p" { 1.0 } else { -1.0 };
            let filler = ["a", "the", "one"][random.below(3)];
            let inputs = vec![
                Value::Text(format!("{filler} {word} ball")),
                Value::Number(n),
                Value::Text(c.to_owned()),
                Value::Binary(even),
            ];
            (inputs, vec![Value::Text(word.to_owned()), Value::Number(sum), Value::Binary(even)])
        };
        (0..count).map(row).collect()
    };
    let table = Table {
        inputs: vec![
            ("text", ColumnType::Text),
            ("n", ColumnType::Number),
            ("c", ColumnType::Category),
            ("b", ColumnType::Binary),
        ],
        outputs: vec![("kind", ColumnType::Category), ("sum", ColumnType::Number), ("even", ColumnType::Binary)],
        buckets,
        intercept: true,
        splits: [rows(600), rows(80), rows(100)],
    };
    table_dataset(store, &format!("mixed {buckets}"), &table)
}

pub(crate) fn verses(store: &Store) -> Artifact {
    let verse = |index: usize| format!("the {} moon over hill {}", ["old", "new", "red"][index % 3], index % 5);
    let split = |range: std::ops::Range<usize>| range.map(verse).collect::<Vec<_>>();
    text_dataset(store, "verses", &[split(0..300), split(0..10), split(3..12)], 300)
}

#[test]
fn the_line_is_the_least_squares_line_with_every_optimiser() {
    let (_folder, store) = open();
    for optimizer in ["sgd", "adam", "adamw", "rmsprop", "lion"] {
        for (intercept, a, b) in [(false, 1.2, 0.0), (true, 0.6, 2.2)] {
            let rest = format!("[model]\nhidden = []\nintercept = {intercept}\n[train]\noptimizer = \"{optimizer}\"");
            let dataset = line(&store, intercept);
            let plan = plan(&project("predict", LINE, &rest), &dataset).unwrap();
            let made = train(&store, &plan, &dataset).unwrap();
            let found = &json(&made, "coefficients.json")["y"];
            let close = |value: &Json, wanted: f64| (value.as_f64().unwrap() - wanted).abs() < 1e-3;
            assert!(close(&found["slopes"]["x"], a), "{optimizer} {found}");
            assert!(found.get("intercept").map_or(!intercept, |found| close(found, b)), "{optimizer} {found}");
            let method = json(&made, "metrics.json")["rmse"]["method"].as_str().unwrap().to_owned();
            assert!(method.contains("on the training split"), "{method}");
        }
    }
}

#[test]
fn all_types_of_columns_are_learned_together() {
    let (_folder, store) = open();
    // A bag and a transformer read the text.
    for (buckets, rest) in [(64, "epochs = 40"), (0, "epochs = 12\nlearning_rate = 0.005")] {
        let dataset = mixed(&store, buckets);
        let text = if buckets == 0 {
            MIXED.replacen("\"text\"", "\"text\"\nencoder = \"transformer\"", 1)
        } else {
            MIXED.to_owned()
        };
        let plan =
            plan(&project("predict", &text, &format!("[model]\nsize = \"tiny\"\n[train]\n{rest}")), &dataset).unwrap();
        let made = train(&store, &plan, &dataset).unwrap();
        assert!(metric(&made, "kind.accuracy") > 0.97, "{}", json(&made, "metrics.json"));
        assert!(metric(&made, "sum.r2") > 0.95, "{}", json(&made, "metrics.json"));
        assert!(metric(&made, "even.roc_auc") > 0.97, "{}", json(&made, "metrics.json"));
        assert_eq!(metric(&made, "examples"), 100.0);
        for file in ["model.json", "baseline.json", "confusion.json", "history.json"] {
            assert!(made.artifact.has(file), "{file}");
        }
        let model = Model::load(&made.artifact.folder).unwrap();
        assert!(matches!(model.engine(), Engine::Predict(_)));
    }
}

#[test]
fn a_language_model_learns_and_completes() {
    let (_folder, store) = open();
    let dataset = verses(&store);
    let rest = "[model]\nsize = \"tiny\"\ncontext = 16\n[train]\nepochs = 6\nlearning_rate = 0.01\nbatch_size = 16";
    let plan = plan(&project("language", "", rest), &dataset).unwrap();
    let made = train(&store, &plan, &dataset).unwrap();
    let history = History::load(&made.artifact.path(HISTORY_FILE)).unwrap();
    assert!(history.points[0].valid_loss > history.points.last().unwrap().valid_loss);
    assert!(metric(&made, "perplexity") < 3.0, "{}", json(&made, "metrics.json"));
    let samples = json(&made, "samples.json");
    assert_eq!(samples.as_array().unwrap().len(), 3);
    assert!(samples[0]["completion"].as_str().unwrap().contains("moon"), "{samples}");
}

/// Asks to stop when the training reports a certain step.
struct StopAt {
    step: AtomicU64,
    stop: Stop,
    notes: std::sync::Mutex<Vec<String>>,
}

struct Handle(Arc<StopAt>);

impl Progress for Handle {
    fn begin(&self, _: &str, _: Option<u64>, _: &str) -> Box<dyn Task> {
        Box::new(Self(self.0.clone()))
    }
    fn note(&self, line: &str) {
        self.0.notes.lock().unwrap().push(line.to_owned());
    }
}

impl Task for Handle {
    fn at(&self, position: u64) {
        if position == self.0.step.load(Ordering::SeqCst) {
            self.0.stop.ask();
        }
    }
    fn say(&self, _: &str) {}
    fn end(self: Box<Self>, _: &str) {}
}

fn stopping(step: u64, threads: usize) -> (Context, Arc<StopAt>) {
    let stop = Stop::default();
    let shared = Arc::new(StopAt { step: AtomicU64::new(step), stop: stop.clone(), notes: Default::default() });
    (Context { progress: Arc::new(Handle(shared.clone())), stop, threads }, shared)
}

#[test]
fn a_stopped_training_ends_with_the_same_bits() {
    let cases = [
        ("predict", MIXED, "[model]\nhidden = [8]\n[train]\nepochs = 4\ndropout = 0.2\nbatch_size = 64"),
        (
            "predict",
            MIXED,
            "[model]\nhidden = []\n[train]\nepochs = 4\nbatch_size = 64\noptimizer = \"sgd\"\npatience = 3",
        ),
        ("language", "", "[model]\nsize = \"tiny\"\ncontext = 16\n[train]\nepochs = 2\ndropout = 0.1\nbatch_size = 16"),
    ];
    for (family, columns, rest) in cases {
        let build = || {
            let (folder, store) = open();
            let dataset = if family == "predict" { mixed(&store, 64) } else { verses(&store) };
            let plan = plan(&project(family, columns, rest), &dataset).unwrap();
            (folder, store, dataset, plan)
        };
        let (_folder, store, dataset, plan) = build();
        let whole = train(&store, &plan, &dataset).unwrap();
        let (_folder, store, dataset, plan) = build();
        let steps = plan.steps();
        // In the middle of an epoch, at its end, and at the very end; on other numbers of threads.
        for (step, threads) in [(steps / 3, 1), (steps / 2, 3), (steps - 1, 2)] {
            let (context, _) = stopping(step, threads);
            let error =
                run(&context, &store, &plan, &dataset, &Ranks::one(), &mut |_| ControlFlow::Continue(())).unwrap_err();
            assert!(matches!(error, TrainError::Stopped { step: at, .. } if at == step), "{error}");
            assert!(error.fault() == Fault::Stopped && error.hint().unwrap().contains("same command"));
        }
        let (context, seen) = stopping(u64::MAX, 2);
        let made = run(&context, &store, &plan, &dataset, &Ranks::one(), &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(seen.notes.lock().unwrap()[0].contains("continuing from the checkpoint"));
        assert!(weights(&made) == weights(&whole), "{family}: {rest}");
        let points = |made: &Made| json(made, HISTORY_FILE)["points"].clone();
        assert_eq!(points(&made), points(&whole));
    }
}

#[test]
fn a_damaged_checkpoint_is_set_aside_with_a_note() {
    let (_folder, store) = open();
    let dataset = mixed(&store, 64);
    let settings = "[model]\nhidden = []\n[train]\nepochs = 2\nbatch_size = 64";
    let plan = plan(&project("predict", MIXED, settings), &dataset).unwrap();
    let (context, _) = stopping(5, 2);
    assert!(run(&context, &store, &plan, &dataset, &Ranks::one(), &mut |_| ControlFlow::Continue(())).is_err());
    let scratch = store.root().join("work").join(plan.key(&dataset).digest().to_string()).join("scratch");
    let path = scratch.join("checkpoint-5.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (context, seen) = stopping(u64::MAX, 2);
    let made = run(&context, &store, &plan, &dataset, &Ranks::one(), &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(seen.notes.lock().unwrap()[0].contains("is damaged"), "{:?}", seen.notes);
    let (_folder, other) = open();
    let dataset = mixed(&other, 64);
    assert!(weights(&made) == weights(&train(&other, &plan, &dataset).unwrap()));
}

#[test]
fn a_diverging_training_says_where_and_what_to_do() {
    let (_folder, store) = open();
    let dataset = line(&store, true);
    let rest = "[model]\nhidden = []\n[train]\noptimizer = \"sgd\"\nlearning_rate = 1e30\nclip_norm = 0.0";
    let plan = plan(&project("predict", LINE, rest), &dataset).unwrap();
    let error = train(&store, &plan, &dataset).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { .. }) && error.fault() == Fault::User, "{error}");
    assert!(error.hint().unwrap().contains("learning_rate"));
}

#[test]
fn patience_ends_the_training_and_the_best_weights_are_kept() {
    let (_folder, store) = open();
    let dataset = mixed(&store, 64);
    let settings =
        "[model]\nhidden = [32]\n[train]\nepochs = 200\nlearning_rate = 0.05\npatience = 3\nschedule = \"constant\"";
    let plan = plan(&project("predict", MIXED, settings), &dataset).unwrap();
    let made = train(&store, &plan, &dataset).unwrap();
    let history = History::load(&made.artifact.path(HISTORY_FILE)).unwrap();
    let last = history.points.last().unwrap().epoch;
    assert!(history.stopped_early && history.best_epoch + 3 == last && last < 200, "{history:?}");
}

#[test]
fn penalties_shrink_the_weights_and_leave_intercepts_alone() {
    let (_folder, store) = open();
    let dataset = line(&store, true);
    let slope = |train_table: &str| {
        let rest = format!("[model]\nhidden = []\n[train]\n{train_table}");
        let plan = plan(&project("predict", LINE, &rest), &dataset).unwrap();
        let made = train(&store, &plan, &dataset).unwrap();
        let found = json(&made, "coefficients.json")["y"].clone();
        // At the mean of x the line passes through the mean of y, whatever the slope.
        let at_mean = found["intercept"].as_f64().unwrap() + 3.0 * found["slopes"]["x"].as_f64().unwrap();
        assert!((at_mean - 4.0).abs() < 1e-2, "{train_table}: {found}");
        found["slopes"]["x"].as_f64().unwrap()
    };
    // Standardised: the loss is (w − r)² + const with r² = 0.6, so that the minimum has a closed form.
    let r = 0.6_f64.sqrt();
    assert!((slope("l2 = 0.5") / 0.6 - 2.0 / 2.5).abs() < 1e-2);
    assert!((slope("l1 = 0.5") / 0.6 - (r - 0.25) / r).abs() < 1e-2);
    assert!(slope("weight_decay = 1.0") < 0.55);
    assert!(slope("l1 = 3.0").abs() < 1e-2);
}

#[test]
fn the_schedules_warm_up_and_fall() {
    let (_folder, store) = open();
    let dataset = line(&store, true);
    let mut settings =
        plan(&project("predict", LINE, "[train]\nlearning_rate = 2.0\nwarmup = 0.1"), &dataset).unwrap().settings;
    let mut rates = |schedule| {
        settings.schedule = schedule;
        [0, 5, 10, 55, 99].map(|step| schedule::learning_rate(&settings, step, 100))
    };
    let close = |found: [f64; 5], wanted: [f64; 5]| found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-2);
    assert!(close(rates(Schedule::Constant), [2.0 / 11.0, 12.0 / 11.0, 2.0, 2.0, 2.0]));
    assert!(close(rates(Schedule::Linear), [2.0 / 11.0, 12.0 / 11.0, 2.0, 1.0, 2.0 / 90.0]));
    assert!(close(rates(Schedule::Cosine), [2.0 / 11.0, 12.0 / 11.0, 2.0, 1.0, 0.0]));
}

#[test]
fn an_observer_can_cut_a_training_and_hears_a_cached_one() {
    let (_folder, store) = open();
    let dataset = mixed(&store, 64);
    let settings = "[model]\nhidden = []\n[train]\nepochs = 4";
    let plan = plan(&project("predict", MIXED, settings), &dataset).unwrap();
    let cut = run(&Context::silent(), &store, &plan, &dataset, &Ranks::one(), &mut |report| {
        if report.epoch == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(cut, Err(TrainError::Cut { epoch: 2 })));
    for cached in [false, true] {
        let heard = Cell::new(0);
        let made = run(&Context::silent(), &store, &plan, &dataset, &Ranks::one(), &mut |report| {
            assert!(report.valid_loss.is_some());
            heard.set(heard.get() + 1);
            ControlFlow::Continue(())
        });
        assert_eq!((made.unwrap().cached, heard.get()), (cached, 4));
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_runs() {
    let (_folder, store) = open();
    let dataset = line(&store, true);
    for (rest, part) in
        [("[model]\nhidden = []\n[train]\ndropout = 0.5", "linear"), ("[train]\npatience = 2", "no validation split")]
    {
        let error = plan(&project("predict", LINE, rest), &dataset).unwrap_err();
        assert!(error.to_string().contains(part) && error.fault() == Fault::User, "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn a_plan_names_its_sizes_and_its_estimates() {
    let (_folder, store) = open();
    let dataset = verses(&store);
    let plan = plan(&project("language", "", "[model]\nwidth = 64\nlayers = 2\nheads = 4"), &dataset).unwrap();
    let measures: std::collections::BTreeMap<_, _> = plan.measures().into_iter().collect();
    assert_eq!(measures["parameters"].value, plan.description.parameters() as f64);
    assert!(measures.values().all(|measure| measure.provenance == base::Provenance::Estimated));
    assert!(measures["flops_per_epoch"].value > 0.0 && measures["train_seconds"].value > 0.0);
    assert!(plan.notes()[0].contains("width 64, 2 layers, 4 heads"));
}
