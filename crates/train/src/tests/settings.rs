//! The settings of deep training: parts of a batch, memory, groups, averages, packing, mishaps, rates.

use super::verses as verses_of;
use super::*;

fn verses_plan(dataset: &Artifact, rest: &str) -> Plan {
    let text = format!(
        "[model]\nsize = \"tiny\"\ncontext = 16\n[train]\nepochs = 2\nbatch_size = 16\ncompute = \"f32\"\n{rest}"
    );
    plan(&project("language", "", &text), dataset).unwrap()
}

fn history(made: &Made) -> History {
    History::load(&made.artifact.path(HISTORY_FILE)).unwrap()
}

fn losses(made: &Made) -> Vec<f64> {
    history(made).points.iter().flat_map(|point| [point.train_loss, point.valid_loss.unwrap()]).collect()
}

#[test]
fn a_batch_in_parts_is_the_same_step() {
    let (_folder, store) = open();
    let (verses, mixed) = (verses(&store), mixed(&store, 0));
    let predict = |rest: &str| {
        let text = format!("[train]\nepochs = 2\nbatch_size = 50\n{rest}");
        plan(&project("predict", MIXED, &text), &mixed).unwrap()
    };
    for (dataset, whole, parts) in [
        (&verses, verses_plan(&verses, ""), verses_plan(&verses, "accumulate = 5")),
        (&mixed, predict(""), predict("accumulate = 4")),
    ] {
        let whole = losses(&train(&store, &whole, dataset).unwrap());
        let parts = losses(&train(&store, &parts, dataset).unwrap());
        for (whole, parts) in whole.iter().zip(&parts) {
            assert!((whole / parts - 1.0).abs() < 1e-4, "{whole} and {parts}");
        }
    }
}

#[test]
fn activations_computed_again_give_the_same_bits() {
    let (_folder, store) = open();
    let dataset = verses(&store);
    let kept = train(&store, &verses_plan(&dataset, "dropout = 0.1"), &dataset).unwrap();
    let again = train(&store, &verses_plan(&dataset, "dropout = 0.1\nrecompute_activations = true"), &dataset).unwrap();
    assert!(weights(&kept) == weights(&again) && kept.run != again.run);
}

#[test]
fn memory_decides_the_parts_of_a_batch() {
    let (_folder, store) = open();
    let dataset = verses(&store);
    let free = verses_plan(&dataset, "");
    let bytes = |plan: &Plan| plan.measures().iter().find(|(name, _)| *name == "memory").unwrap().1.value as u64;
    let most = bytes(&free) - 1;
    let tight = verses_plan(&dataset, &format!("memory_bytes_max = {}", most.max(1 << 20)));
    assert!(tight.settings.accumulate == 2 && bytes(&tight) <= most.max(1 << 20), "{:?}", tight.settings);
    let text = "[model]\nsize = \"medium\"\n[train]\nmemory_bytes_max = 1048576";
    let error = plan(&project("language", "", text), &dataset).unwrap_err();
    assert!(error.to_string().contains("memory_bytes_max"), "{error}");
}

#[test]
fn groups_are_trained_otherwise() {
    let (_folder, store) = open();
    let dataset = line(&store, true);
    let slope = |group: &str| {
        let rest = format!("[model]\nhidden = []\n[[train.group]]\n{group}");
        let plan = plan(&project("predict", LINE, &rest), &dataset)?;
        let made = train(&store, &plan, &dataset)?;
        Ok::<f64, TrainError>(json(&made, "coefficients.json")["y"]["slopes"]["x"].as_f64().unwrap())
    };
    assert!(slope("tensors = \"features\"\nlearning_rate_factor = 0.0").unwrap() == 0.0);
    assert!((slope("tensors = \"bias\"\nlearning_rate_factor = 0.5").unwrap() - 0.6).abs() < 1e-3);
    // Decay pulls towards zero, against the optimum at 0.6.
    let decayed = slope("tensors = \"feat*weight\"\nweight_decay = 1.0").unwrap();
    assert!(decayed > 0.05 && decayed < 0.58, "{decayed}");
    let error = slope("tensors = \"nonsense\"").unwrap_err();
    assert!(error.to_string().contains("nonsense") && error.to_string().contains("features.weight"), "{error}");
}

#[test]
fn the_moving_average_is_what_is_kept() {
    let (_folder, store) = open();
    let dataset = line(&store, true);
    let slope = |decay: &str| {
        let rest = format!("[model]\nhidden = []\n[train]\nepochs = 300\naverage_decay = {decay}");
        let plan = plan(&project("predict", LINE, &rest), &dataset).unwrap();
        let made = train(&store, &plan, &dataset).unwrap();
        json(&made, "coefficients.json")["y"]["slopes"]["x"].as_f64().unwrap()
    };
    let last = slope("0.0");
    assert!((slope("1e-9") - last).abs() < 1e-6);
    // Of 300 steps an average with this decay holds hardly anything: it is still near the initial zeros.
    assert!(slope("0.99999").abs() < 0.01);
    let between = slope("0.99");
    assert!(between > 0.1 && between < last + 0.1, "{between}");
}

#[test]
fn documents_are_sequences_of_their_own() {
    let (_folder, store) = open();
    let dataset = verses(&store);
    let stream = train(&store, &verses_plan(&dataset, ""), &dataset).unwrap();
    let plan = verses_plan(&dataset, "packing = \"documents\"");
    let documents = train(&store, &plan, &dataset).unwrap();
    assert!(weights(&stream) != weights(&documents));
    let (first, last) = (losses(&documents)[0], metric(&documents, "perplexity"));
    assert!(last.ln() < first && last < 20.0, "{first} nats, then perplexity {last}");
    // Stopped in the middle and continued, it ends with the same bits.
    let (_folder, other) = open();
    let dataset = verses_of(&other);
    let (context, _) = stopping(plan.steps() / 2, 1);
    run(&context, &other, &plan, &dataset, &Ranks::one(), &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(weights(&train(&other, &plan, &dataset).unwrap()) == weights(&documents));
}

#[test]
fn mishaps_lead_back_and_halve_the_rate() {
    let (_folder, store) = open();
    let dataset = line(&store, true);
    let plan_of = |rest: &str| {
        let rest = format!(
            "[model]\nhidden = []\n[train]\noptimizer = \"sgd\"\nmomentum = 0.0\nschedule = \"constant\"\nwarmup = 0.0\n\
             clip_norm = 0.0\nlearning_rate = 3.0\n{rest}"
        );
        plan(&project("predict", LINE, &rest), &dataset).unwrap()
    };
    // The loss is a parabola of curvature 2: rates from 1 on diverge, so that the third one converges.
    let error = train(&store, &plan_of("retries = 1"), &dataset).unwrap_err();
    assert!(error.to_string().contains("1 earlier mishaps") && error.to_string().contains("not finite"), "{error}");
    let (context, seen) = stopping(u64::MAX, 2);
    let made =
        run(&context, &store, &plan_of("retries = 2"), &dataset, &Ranks::one(), &mut |_| ControlFlow::Continue(()))
            .unwrap();
    assert!((json(&made, "coefficients.json")["y"]["slopes"]["x"].as_f64().unwrap() - 0.6).abs() < 1e-3);
    let notes = seen.notes.lock().unwrap();
    assert!(notes.iter().any(|note| note.contains("going back") && note.contains("0.25 times")), "{notes:?}");
}

#[test]
fn a_range_test_finds_a_rate_that_learns() {
    let (_folder, store) = open();
    let dataset = verses(&store);
    let plan = verses_plan(&dataset, "");
    let made = range_test(&Context::silent(), &store, &plan, &dataset).unwrap();
    let test = RangeTest::load(&made.artifact.path(RANGE_FILE)).unwrap();
    let rate = test.suggestion.unwrap();
    assert!(rate > 1e-5 && rate < 1.0 && test.points.len() > 20, "{rate} of {} steps", test.points.len());
    assert!(range_test(&Context::silent(), &store, &plan, &dataset).unwrap().cached);
}

#[test]
fn the_schedules_of_transformers_fall_as_published() {
    let (_folder, store) = open();
    let dataset = line(&store, true);
    let rest = "[train]\nlearning_rate = 2.0\nwarmup = 0.1\ncooldown = 0.2";
    let mut settings = plan(&project("predict", LINE, rest), &dataset).unwrap().settings;
    let mut rates = |schedule| {
        settings.schedule = schedule;
        [5, 10, 39, 80, 90, 99].map(|step| schedule::learning_rate(&settings, step, 100))
    };
    let close = |found: [f64; 6], wanted: [f64; 6]| found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6);
    let root = |step: f64| 2.0 * (10.0 / step).sqrt();
    let found = rates(Schedule::InverseSquareRoot);
    assert!(close(found, [12.0 / 11.0, root(11.0), root(40.0), root(81.0), root(91.0), root(100.0)]), "{found:?}");
    let found = rates(Schedule::WarmupStableDecay);
    assert!(close(found, [12.0 / 11.0, 2.0, 2.0, 2.0, 1.0, 0.1]), "{found:?}");
}

/// A checkpoint of version 1 is read for ever.
#[test]
fn a_checkpoint_of_version_1_is_continued_as_ever() {
    let (_folder, store) = open();
    let dataset = line(&store, true);
    let plan = golden_plan(&dataset);
    let whole = train(&store, &plan, &dataset).unwrap();
    let (_folder, store) = open();
    let dataset = line(&store, true);
    let scratch = store.root().join("work").join(plan.key(&dataset).digest().to_string()).join("scratch");
    std::fs::create_dir_all(&scratch).unwrap();
    for entry in std::fs::read_dir(golden()).unwrap().flatten() {
        std::fs::copy(entry.path(), scratch.join(entry.file_name())).unwrap();
    }
    let (context, seen) = stopping(u64::MAX, 1);
    let made = run(&context, &store, &plan, &dataset, &Ranks::one(), &mut |_| ControlFlow::Continue(())).unwrap();
    let note = seen.notes.lock().unwrap()[0].clone();
    assert!(note.contains("continuing from the checkpoint at step 40"), "{note}");
    assert!(weights(&made) == weights(&whole));
}

fn golden() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoint-v1")
}

fn golden_plan(dataset: &Artifact) -> Plan {
    let rest = "[model]\nhidden = []\n[train]\nepochs = 100\naverage_decay = 0.9";
    plan(&project("predict", LINE, rest), dataset).unwrap()
}

#[test]
#[ignore = "writes the golden files; a released one never changes"]
fn bless() {
    let (_folder, store) = open();
    let dataset = line(&store, true);
    let plan = golden_plan(&dataset);
    let (context, _) = stopping(40, 1);
    run(&context, &store, &plan, &dataset, &Ranks::one(), &mut |_| ControlFlow::Continue(())).unwrap_err();
    let scratch = store.root().join("work").join(plan.key(&dataset).digest().to_string()).join("scratch");
    std::fs::create_dir_all(golden()).unwrap();
    for entry in std::fs::read_dir(scratch).unwrap().flatten() {
        std::fs::copy(entry.path(), golden().join(entry.file_name())).unwrap();
    }
}
