use std::path::Path;

use base::project::Project;
use base::{Context, Failure, Fault};
use serde_json::{Value as Json, json};
use store::{StageKey, Store};

use super::*;

const PROJECT: &str = r#"
name = "t"
family = "predict"
seed = 5
[data]
source = ["a.csv"]
[[input]]
column = "x"
[[output]]
column = "y"
[tune]
trials = 40
sampler = "SAMPLER"
stop_early = EARLY
[tune.search]
"train.learning_rate" = { low = 1e-5, high = 1.0, log = true }
"train.dropout" = { low = 0.0, high = 0.5 }
"train.momentum" = { low = 0.0, high = 0.5 }
"train.epochs" = { low = 1, high = 4 }
"train.optimizer" = { choices = ["sgd", "adamw"] }
"train.schedule" = { choices = ["constant", "cosine"] }
"#;

#[derive(Debug, thiserror::Error)]
#[error("failed on purpose")]
struct OnPurpose(Fault);

impl Failure for OnPurpose {
    fn fault(&self) -> Fault {
        self.0
    }
}

struct Bench {
    _folder: tempfile::TempDir,
    store: Store,
    plan: Plan,
}

fn bench(sampler: &str, early: bool, trials: u32) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let key =
        StageKey { stage: "data", code_version: 1, config: Json::Null, inputs: vec![], seed: 0, makes: "dataset" };
    let dataset = store.stage(&key, |_| Ok::<_, TuneError>(())).unwrap().artifact;
    let text = PROJECT
        .replace("SAMPLER", sampler)
        .replace("EARLY", &early.to_string())
        .replace("trials = 40", &format!("trials = {trials}"));
    let project = Project::parse(&text, Path::new("yard.toml")).unwrap();
    let plan = plan(&project, &dataset).unwrap();
    Bench { _folder: folder, store, plan }
}

fn get(settings: &[(String, Json)], key: &str) -> Json {
    settings.iter().find(|(name, _)| name == key).unwrap().1.clone()
}

/// A bowl with its bottom at rate 10⁻², dropout 0.1, momentum 0.4, adamw, cosine; the loss falls to
/// it over four epochs.
fn bowl(settings: &[(String, Json)], report: &mut Report<'_>) -> Option<f64> {
    let number = |key: &str| get(settings, key).as_f64().unwrap();
    let mut loss = 0.3 * (number("train.learning_rate").log10() + 2.0).powi(2);
    loss += 8.0 * ((number("train.dropout") - 0.1).powi(2) + (number("train.momentum") - 0.4).powi(2));
    loss += if get(settings, "train.optimizer") == "adamw" { 0.0 } else { 1.0 };
    loss += if get(settings, "train.schedule") == "cosine" { 0.0 } else { 0.5 };
    assert!((1..=4).contains(&get(settings, "train.epochs").as_i64().unwrap()));
    for epoch in 1..=4 {
        if report(epoch, loss + 1.0 / epoch as f64).is_break() {
            return None;
        }
    }
    Some(loss)
}

fn study(made: &store::Made) -> Study {
    serde_json::from_slice(&std::fs::read(made.artifact.path(STUDY_FILE)).unwrap()).unwrap()
}

fn search(bench: &Bench) -> Study {
    study(&run(&Context::silent(), &bench.store, &bench.plan, &mut |s, r| Ok(bowl(s, r))).unwrap())
}

/// All but the times.
fn essence(study: &Study) -> Vec<Trial> {
    study.trials.iter().map(|trial| Trial { seconds: 0.0, ..trial.clone() }).collect()
}

#[test]
fn the_same_seed_gives_the_same_search() {
    for sampler in ["random", "tpe"] {
        let (a, b) = (search(&bench(sampler, true, 40)), search(&bench(sampler, true, 40)));
        assert_eq!(essence(&a), essence(&b), "{sampler}");
    }
}

#[test]
fn the_estimator_beats_chance_also_with_stopped_trials() {
    let random = search(&bench("random", false, 80));
    for early in [false, true] {
        let tpe = search(&bench("tpe", early, 80));
        let late = |study: &Study| {
            let mut losses: Vec<f64> = study.trials[40..].iter().filter_map(|t| t.curve.last()).map(|c| c.1).collect();
            losses.sort_by(f64::total_cmp);
            losses[losses.len() / 2]
        };
        assert!(late(&tpe) < 0.7 * late(&random), "{} against {} at random", late(&tpe), late(&random));
        assert!(tpe.best.valid_loss < 0.25, "{:?}", tpe.best);
        let pruned = tpe.trials.iter().filter(|trial| trial.state == TrialState::Pruned).count();
        assert_eq!(pruned > 0, early);
    }
}

#[test]
fn a_stopped_search_continues_where_it_stood_and_computes_nothing_twice() {
    let whole = search(&bench("tpe", true, 20));
    let bench = bench("tpe", true, 20);
    let context = Context::silent();
    let mut count = 0;
    let stopped = run(&context, &bench.store, &bench.plan, &mut |s, r| {
        count += 1;
        if count == 13 {
            context.stop.ask();
            return Err(Box::new(OnPurpose(Fault::Stopped)) as Box<dyn Failure>);
        }
        Ok(bowl(s, r))
    });
    assert!(matches!(stopped, Err(TuneError::Stopped { done: 12, .. })));
    // A kill in the middle of a line.
    let folder = bench.store.root().join("work").join(bench.plan.key().digest().to_string()).join("scratch");
    let path = folder.join("trials.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 5]).unwrap();
    let mut again = 0;
    let made = run(&Context::silent(), &bench.store, &bench.plan, &mut |s, r| {
        again += 1;
        Ok(bowl(s, r))
    });
    assert_eq!(again, 20 - 11);
    assert_eq!(essence(&study(&made.unwrap())), essence(&whole));
}

#[test]
fn a_foreign_journal_is_set_aside() {
    let whole = search(&bench("random", false, 6));
    let bench = bench("random", false, 6);
    let folder = bench.store.root().join("work").join(bench.plan.key().digest().to_string()).join("scratch");
    std::fs::create_dir_all(&folder).unwrap();
    let trial = Trial { settings: vec![("train.epochs".to_owned(), json!(3))], ..whole.trials[0].clone() };
    std::fs::write(folder.join("trials.jsonl"), serde_json::to_string(&trial).unwrap() + "\n").unwrap();
    assert_eq!(essence(&search(&bench)), essence(&whole));
}

#[test]
fn a_failed_trial_is_recorded_and_an_internal_error_ends_the_search() {
    let here = bench("tpe", true, 8);
    let mut count = 0;
    let made = run(&Context::silent(), &here.store, &here.plan, &mut |s, r| {
        count += 1;
        if count % 2 == 0 { Err(Box::new(OnPurpose(Fault::User)) as Box<dyn Failure>) } else { Ok(bowl(s, r)) }
    });
    let found = study(&made.unwrap());
    assert_eq!(found.trials[1].state, TrialState::Failed);
    assert_eq!(found.trials[1].reason.as_deref(), Some("failed on purpose"));
    assert!(found.best.number.is_multiple_of(2));
    let there = bench("tpe", true, 8);
    let mut broken = |_: &[(String, Json)], _: &mut Report<'_>| -> Result<Option<f64>, Box<dyn Failure>> {
        Err(Box::new(OnPurpose(Fault::Internal)))
    };
    assert!(matches!(run(&Context::silent(), &there.store, &there.plan, &mut broken), Err(TuneError::Objective(_))));
    let mut hopeless = |_: &[(String, Json)], _: &mut Report<'_>| -> Result<Option<f64>, Box<dyn Failure>> {
        Err(Box::new(OnPurpose(Fault::User)))
    };
    let error = run(&Context::silent(), &there.store, &there.plan, &mut hopeless).unwrap_err();
    assert!(error.to_string().contains("failed on purpose"), "{error}");
    assert!(matches!(
        run(&Context::silent(), &there.store, &there.plan, &mut |_, _| Ok(Some(f64::NAN))),
        Err(TuneError::NoneDone { .. })
    ));
}

#[test]
fn a_choice_that_the_key_cannot_have_is_refused_before_anything_runs() {
    let here = bench("random", false, 2);
    let text = PROJECT.replace("SAMPLER", "tpe").replace("EARLY", "true").replace("\"sgd\", \"adamw\"", "\"sdg\"");
    let project = Project::parse(&text, Path::new("yard.toml")).unwrap();
    let dataset = here
        .store
        .cached(&StageKey {
            stage: "data",
            code_version: 1,
            config: Json::Null,
            inputs: vec![],
            seed: 0,
            makes: "dataset",
        })
        .unwrap()
        .unwrap()
        .artifact;
    let error = plan(&project, &dataset).unwrap_err();
    assert!(error.to_string().contains("sgd") && error.fault() == Fault::User, "{error}");
}
