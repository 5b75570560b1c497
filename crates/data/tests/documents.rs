//! Documents from outside: what streams from files of many kinds through repair, judgement, deduplication and the split, and
//! that nothing gets lost on the way, whatever the number of threads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::needless_pass_by_value, reason = "tests")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use base::project::Project;
use base::{Context, Failure as _, Stop};
use data::DataError;
use dataset::{DOCUMENTS_FILE, DROPPED_FILE, DocumentRow, Documents, LedgerEntry, Quality};
use store::{Made, Store};

/// A project in a folder of its own.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, contents).unwrap();
        path
    }

    fn lines(&self, name: &str, texts: &[&str]) {
        let lines: String = texts.iter().map(|text| format!("{}\n", serde_json::json!({ "text": text }))).collect();
        self.write(name, lines);
    }

    fn with(&self, data: &str, context: &Context) -> Result<Made, DataError> {
        let toml = format!("name = \"t\"\nfamily = \"language\"\n[data]\n{data}\n[model]\nvocabulary = 300\n");
        let project = Project::parse(&toml, &self.folder.path().join("yard.toml")).unwrap();
        let plan = data::plan(&project)?;
        let store = Store::open(self.folder.path()).unwrap();
        let _lock = store.lock().unwrap();
        data::run(context, &store, &plan)
    }

    fn run(&self, data: &str) -> Made {
        self.with(data, &Context::silent()).unwrap()
    }
}

fn documents(made: &Made, file: &str) -> Vec<DocumentRow> {
    Documents::open(&made.artifact.folder, file).unwrap().collect::<Result<_, _>>().unwrap()
}

fn kept(made: &Made) -> Vec<String> {
    documents(made, DOCUMENTS_FILE).into_iter().map(|document| document.text).collect()
}

/// Reasons of dropped documents by row; with those they repeat.
fn dropped(made: &Made) -> BTreeMap<u64, (String, Option<u64>)> {
    documents(made, DROPPED_FILE).into_iter().map(|document| (document.row, (document.why, document.of))).collect()
}

fn ledger(made: &Made) -> Vec<LedgerEntry> {
    dataset::read_ledger(&made.artifact.folder).unwrap().collect::<Result<_, _>>().unwrap()
}

/// A text of its own for each number, long enough for shingles.
fn story(number: usize) -> String {
    let words =
        ["river", "stone", "lamp", "winter", "garden", "letter", "silver", "harbour", "window", "thread", "cloud"];
    let word = |at: usize| words[(number * 7 + at * at * 3 + at * number) % words.len()];
    let letters =
        |number: usize| number.to_string().bytes().map(|digit| (digit - b'0' + b'a') as char).collect::<String>();
    (0..40).map(|at| format!("{}{}", word(at), letters(number * 41 + at))).collect::<Vec<_>>().join(" ")
}

#[test]
fn many_kinds_of_files_stream_and_damage_is_an_entry() {
    let place = Place::new();
    place.write("raw/a.jsonl", "{\"text\": \"first line\"}\n{\"text\": broken\n{\"text\": \"third line\"}\n");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all("text,other\n\"a cell, quoted\",1\n".as_bytes()).unwrap();
    place.write("raw/b.csv.gz", gzip.finish().unwrap());
    let page = "<html><body><nav>Home</nav><article><p>The main content of a page is here, long enough to be it.</p>\
                <p>And it goes on for another paragraph of words.</p></article></body></html>";
    place.write("raw/c.html", page);
    place.write("raw/d.md", "---\ntitle: A\n---\n# Heading\n\nSome words.\n");
    place.write("raw/e.pdf", "%PDF-1.7 and then nothing");
    let made = place.run("source = [\"raw/**\"]");
    let texts = kept(&made);
    assert!(texts.contains(&"first line".to_owned()) && texts.contains(&"third line".to_owned()), "{texts:?}");
    assert!(texts.contains(&"a cell, quoted".to_owned()), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("The main content") && !text.contains("Home")), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("Some words.") && !text.contains("title:")), "{texts:?}");
    let ledger = ledger(&made);
    let damaged: Vec<&LedgerEntry> = ledger.iter().filter(|entry| entry.reason.starts_with("damaged_")).collect();
    assert!(damaged.iter().any(|entry| entry.source == "raw/a.jsonl" && entry.line == 2), "{damaged:?}");
    assert!(damaged.iter().any(|entry| entry.source == "raw/e.pdf"), "{damaged:?}");
    let quality = Quality::load(&made.artifact.folder).unwrap();
    assert_eq!(quality.rows_read, quality.rows_kept + quality.dropped.values().sum::<u64>());
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let mut digests = Vec::new();
    for threads in [1, 3] {
        let place = Place::new();
        // More than one batch.
        let texts: Vec<String> = (0..9000).map(|number| story(number % 8900)).collect();
        place.lines("a.jsonl", &texts.iter().map(String::as_str).collect::<Vec<_>>());
        let context = Context { threads, ..Context::silent() };
        let data = "source = [\"a.jsonl\"]\n[data.duplicates]\nnear = true\nmemory_bytes_max = 2097152\n";
        digests.push(place.with(data, &context).unwrap().artifact.digest);
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_run_that_was_stopped_goes_on_and_makes_the_same() {
    let texts: Vec<String> = (0..9000).map(story).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let whole = Place::new();
    whole.lines("a.jsonl", &texts);
    let expected = whole.run("source = [\"a.jsonl\"]").artifact.digest;
    let place = Place::new();
    place.lines("a.jsonl", &texts);
    let stopped = Context { stop: Stop::default(), ..Context::silent() };
    stopped.stop.ask();
    assert!(matches!(place.with("source = [\"a.jsonl\"]", &stopped), Err(DataError::Stopped)));
    assert_eq!(place.run("source = [\"a.jsonl\"]").artifact.digest, expected);
}

#[test]
fn equal_and_near_documents_are_dropped_and_the_first_stays() {
    let place = Place::new();
    let (one, two) = (story(1), story(2));
    let near = one.replacen("river", "rivers", 1).replacen("stone", "stones", 1);
    place.lines("a.jsonl", &[&one, &two, &one, &near, &story(3)]);
    let made = place.run("source = [\"a.jsonl\"]\n[data.duplicates]\nbands = 40\nrows = 2");
    let dropped = dropped(&made);
    assert_eq!(dropped.get(&2), Some(&("duplicate".to_owned(), Some(0))));
    assert_eq!(dropped.get(&3), Some(&("near_duplicate".to_owned(), Some(0))));
    assert_eq!(dropped.len(), 2, "{dropped:?}");
    let clusters = std::fs::read_to_string(made.artifact.folder.join("clusters.jsonl")).unwrap();
    assert!(clusters.lines().count() >= 2, "{clusters}");
}

#[test]
fn passages_that_stood_before_are_cut() {
    let place = Place::new();
    let notice = "All rights are reserved by the people who wrote this down, and by nobody else.";
    let texts = [format!("{}\n\n{notice}", story(1)), format!("{}\n\n{notice}", story(2)), notice.to_owned()];
    place.lines("a.jsonl", &texts.iter().map(String::as_str).collect::<Vec<_>>());
    for how in ["paragraphs = true", "lines = true", "substring_bytes_min = 40"] {
        let made = place.run(&format!("source = [\"a.jsonl\"]\n[data.duplicates]\nnear = false\n{how}"));
        let all = kept(&made).join("\n");
        assert_eq!(all.matches(notice).count(), 1, "{how}: {all}");
        assert!(all.contains(&story(2)), "{how}: {all}");
        assert_eq!(dropped(&made).get(&2).map(|(reason, _)| reason.as_str()), Some("only_repeated_passages"), "{how}");
        assert!(ledger(&made).iter().any(|entry| entry.action == "changed" && entry.row == 1), "{how}");
    }
}

#[test]
fn what_a_model_is_judged_by_is_taken_out_of_its_training() {
    let place = Place::new();
    let judged = story(5);
    place.lines("test.jsonl", &[&judged, &story(6)]);
    let quoting = format!("Somebody wrote: {judged} and so on.");
    place.lines("train.jsonl", &[&story(1), &quoting, &judged, &story(2), &story(3)]);
    let made = place.run("train = [\"train.jsonl\"]\ntest = [\"test.jsonl\"]");
    let dropped = dropped(&made);
    assert_eq!(dropped.values().filter(|(reason, _)| reason == "contaminated").count(), 2, "{dropped:?}");
    let quality = Quality::load(&made.artifact.folder).unwrap();
    assert_eq!(quality.splits.test, 2);
    // An evaluation file that is named is one, too.
    let place = Place::new();
    place.lines("a.jsonl", &[&quoting, &story(1), &story(2)]);
    place.lines("eval.jsonl", &[&judged]);
    let made = place.run("source = [\"a.jsonl\"]\n[data.contamination]\nagainst = [\"eval.jsonl\"]");
    assert!(!kept(&made).contains(&quoting));
    let made = place.run("source = [\"a.jsonl\"]\n[data.contamination]\nagainst = [\"eval.jsonl\"]\naction = \"keep\"");
    assert!(kept(&made).contains(&quoting));
    assert!(ledger(&made).iter().any(|entry| entry.reason == "contaminated"));
}

#[test]
fn personal_data_is_replaced_and_the_ledger_does_not_hold_it() {
    let place = Place::new();
    place.write("key", "sixteen bytes of key and more");
    place.lines(
        "a.jsonl",
        &["Write to anna.b@example.org today.", "Card 4111 1111 1111 1111 was used.", "Nothing here."],
    );
    let made = place.run("source = [\"a.jsonl\"]\n[data.personal]");
    assert!(kept(&made).contains(&"Write to [EMAIL] today.".to_owned()), "{:?}", kept(&made));
    let text = std::fs::read_to_string(made.artifact.folder.join("ledger.jsonl")).unwrap();
    assert!(text.contains("personal_email") && !text.contains("anna.b") && !text.contains("4111"), "{text}");
    let data = "source = [\"a.jsonl\"]\n[data.personal]\nkey_file = \"key\"\nkinds = { email = \"pseudonym\", credit_card = \"drop\" }";
    let made = place.run(data);
    let texts = kept(&made);
    let pseudonym = texts.iter().find(|text| text.starts_with("Write to")).unwrap();
    assert!(!pseudonym.contains("example.org"));
    assert_eq!(
        data::reveal(pseudonym, &place.folder.path().join("key")).unwrap(),
        "Write to anna.b@example.org today."
    );
    assert_eq!(dropped(&made).get(&1).map(|(reason, _)| reason.as_str()), Some("personal_credit_card"));
}

#[test]
fn conditions_and_recipes_drop_and_signals_stay() {
    let place = Place::new();
    let good = "The garden was quiet in the morning, and the old man who kept it had gone to the river with a letter. \
                He said that he would be back before the light of the evening, and that nobody should wait for him. \
                It was the kind of promise that people make when they have already decided not to come home again. \
                His daughter read the newspaper by the window and did not look up from the page until noon. \
                Later she walked to the harbour, where two boats were waiting for the tide, and asked for news of him. \
                The sailors knew nothing, but one of them gave her a cup of tea and a chair by the warm stove. \
                When the bells rang she thanked them, put on her coat, and went up the hill to the silent house.";
    place.lines("a.jsonl", &[good, "short", &format!("{} 1234567890", story(4))]);
    let made = place.run("source = [\"a.jsonl\"]\ndrop_where = [\"characters < 20\", \"digit_ratio > 0.9\"]");
    assert_eq!(dropped(&made).get(&1).map(|(reason, _)| reason.as_str()), Some("where characters < 20"));
    let documents = Documents::open(&made.artifact.folder, DOCUMENTS_FILE).unwrap();
    let at = documents.signals.iter().position(|name| name == "characters").unwrap();
    let counts: Vec<f32> = documents.map(|document| document.unwrap().signals[at]).collect();
    assert_eq!(counts[0], good.trim_end().chars().count() as f32);
    let made = place.run("source = [\"a.jsonl\"]\nrecipe = \"web\"\nlanguages = []");
    let dropped = dropped(&made);
    assert!(dropped.contains_key(&1) && dropped.contains_key(&2), "{dropped:?}");
    assert!(dropped[&1].0.starts_with("gopher_"), "{dropped:?}");
    let error = place.with("source = [\"a.jsonl\"]\nrecipe = \"web\"", &Context::silent()).unwrap_err();
    assert!(
        error.to_string().contains("language_model") && error.hint().unwrap().contains("languages = []"),
        "{error}"
    );
    let ours = "name = \"ours\"\nlanguage = \"en\"\n\n[[rules]]\nrule = \"gopher_quality\"\nwords_min = 30\n";
    place.write("ours.toml", ours);
    let made = place.run("source = [\"a.jsonl\"]\nrecipe = \"ours.toml\"");
    assert!(!kept(&made).contains(&"short".to_owned()) && kept(&made).contains(&good.to_owned()));
    place.write("ours.toml", format!("{ours}\n[[rules]]\nrule = \"perplexity\"\n"));
    let error = place.with("source = [\"a.jsonl\"]\nrecipe = \"ours.toml\"", &Context::silent()).unwrap_err();
    assert!(error.to_string().contains("perplexity") && error.hint().is_some(), "{error}");
    place.write("ours.toml", ours.replace("gopher_quality", "no_such_rule"));
    let error = place.with("source = [\"a.jsonl\"]\nrecipe = \"ours.toml\"", &Context::silent()).unwrap_err();
    assert!(error.to_string().contains("ours.toml, line") && error.hint().is_some(), "{error}");
    let error = place.with("source = [\"a.jsonl\"]\ndrop_where = [\"no_such > 1\"]", &Context::silent()).unwrap_err();
    assert!(error.to_string().contains("no_such") && error.hint().unwrap().contains("characters"), "{error}");
}

#[test]
fn broken_text_is_repaired() {
    let place = Place::new();
    place.lines("a.jsonl", &["schÃ¶n und grÃ¼n", "漢語和簡體字"]);
    let made = place.run("source = [\"a.jsonl\"]\n[data.repair]\nchinese = \"simplified\"");
    assert_eq!(kept(&made), ["schön und grün", "汉语和简体字"]);
    let reasons: Vec<String> = ledger(&made).into_iter().map(|entry| entry.reason).collect();
    assert_eq!(reasons, ["mojibake", "chinese_script"]);
}

#[test]
fn versions_are_compared() {
    let place = Place::new();
    place.lines("a.jsonl", &[&story(1), &story(2), &story(3)]);
    let first = place.run("source = [\"a.jsonl\"]");
    place.lines("a.jsonl", &[&story(1), &story(3), &story(4), &story(4)]);
    let second = place.run("source = [\"a.jsonl\"]");
    let diff = data::diff(&first.artifact.folder, &second.artifact.folder).unwrap();
    assert_eq!((diff.rows, diff.common, diff.added, diff.removed), ([3, 3], 2, 1, 1));
    assert_eq!(diff.dropped["duplicate"], [0, 1]);
    assert!(diff.samples_added[0].starts_with(&story(4)[..20]) && diff.samples_removed[0].starts_with(&story(2)[..20]));
}

#[test]
fn the_newest_documents_test() {
    let place = Place::new();
    let lines: String = (0..20)
        .map(|day| format!("{}\n", serde_json::json!({ "text": story(day), "day": format!("2026-01-{:02}", day + 1) })))
        .collect();
    place.write("a.jsonl", lines);
    let made =
        place.run("source = [\"a.jsonl\"]\n[data.split]\nmethod = \"time\"\nby = \"day\"\nvalid = 0.1\ntest = 0.2");
    let test: Vec<u64> = documents(&made, DOCUMENTS_FILE)
        .iter()
        .filter(|document| document.why == "test")
        .map(|document| document.row)
        .collect();
    assert_eq!(test, [16, 17, 18, 19]);
}

#[test]
fn mistakes_in_the_sources_are_told_before_anything_runs() {
    let place = Place::new();
    place.write("a.csv", "body,other\nhello,1\n");
    let error = place.with("source = [\"a.csv\"]", &Context::silent()).unwrap_err();
    assert!(matches!(&error, DataError::Column { known, .. } if known.contains(&"body".to_owned())), "{error}");
    let error = place.with("source = [\"none/*.txt\"]", &Context::silent()).unwrap_err();
    assert!(error.hint().is_some() && error.to_string().contains("none/*.txt"), "{error}");
}
