//! Near-deduplication against datatrove's answers, known similarities, budgets, threads, workers and damage.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::PathBuf;

use common::{Random, golden, words_u64};
use dedup::near::{MinHasher, NearConfig, Precision, Shingle, ShingleHash, Signatures, Writer, cluster, permutations};
use dedup::{Clusters, DedupError, Keep, Member};
use tempfile::TempDir;
use words::Language;

#[test]
fn permutations_are_numpys() {
    let golden = golden("near.json");
    for (seed, count) in [(1, 112), (7, 40)] {
        let draws = &golden["permutations"][seed.to_string()];
        let (a, b) = permutations(seed, count);
        assert_eq!(a, words_u64(&draws["a"]));
        assert_eq!(b, words_u64(&draws["b"]));
    }
}

#[test]
fn signatures_are_datatroves() {
    let golden = golden("near.json");
    let configs = [
        ("xxhash64", ShingleHash::Xxhash, Precision::Bits64),
        ("xxhash32", ShingleHash::Xxhash, Precision::Bits32),
        ("sha1_64", ShingleHash::Sha1, Precision::Bits64),
        ("sha1_32", ShingleHash::Sha1, Precision::Bits32),
    ];
    let mut compared = 0;
    for (name, hash, precision) in configs {
        let mut hasher = MinHasher::new(&NearConfig { hash, precision, ..NearConfig::default() }).unwrap();
        for entry in golden["texts"].as_array().unwrap() {
            let words = entry["words"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
            let signature = hasher.signature_of_words(words).map(<[u64]>::to_vec).unwrap_or_default();
            // The whole way from the raw text gives the same.
            let text = entry["text"].as_str().unwrap();
            let raw = hasher.signature_of_text(text, Language::English).map(<[u64]>::to_vec).unwrap_or_default();
            assert_eq!(raw, signature, "{text}");
            if entry[name].is_array() {
                assert_eq!(signature, words_u64(&entry[name]), "{entry}");
            } else {
                let bytes: Vec<u8> = signature.iter().flat_map(|hash| hash.to_le_bytes()).collect();
                assert_eq!(twox_hash::XxHash64::oneshot(0, &bytes), entry[name].as_u64().unwrap(), "{entry}");
            }
            compared += usize::from(!signature.is_empty());
        }
    }
    assert!(compared > 40);
}

/// Writes documents (words with spaces) to `workers` files, round robin, ids from 0.
fn write(folder: &TempDir, documents: &[String], workers: usize, config: &NearConfig) -> Vec<PathBuf> {
    let mut hasher = MinHasher::new(config).unwrap();
    (0..workers)
        .map(|worker| {
            let path = folder.path().join(format!("worker-{worker}.sigs"));
            let mut writer = Writer::create(&path, config).unwrap();
            for (id, document) in documents.iter().enumerate().skip(worker).step_by(workers) {
                if let Some(signature) = hasher.signature_of_words(document.split(' ')) {
                    writer.push(id as u64, signature).unwrap();
                }
            }
            writer.finish().unwrap();
            path
        })
        .collect()
}

fn members(clusters: &Clusters) -> Vec<Member> {
    clusters.members().unwrap().map(Result::unwrap).collect()
}

fn dropped(clusters: &Clusters) -> Vec<(u64, u64)> {
    clusters.dropped().unwrap().map(Result::unwrap).collect()
}

#[test]
fn what_stays_is_what_stays_with_datatrove() {
    let golden = golden("near.json");
    let documents: Vec<String> =
        golden["documents"].as_array().unwrap().iter().map(|words| words.as_str().unwrap().to_owned()).collect();
    for run in golden["runs"].as_array().unwrap() {
        let number = |name: &str| run[name].as_u64().unwrap() as usize;
        let config = NearConfig {
            shingle: Shingle::Words(number("shingle")),
            bands: number("bands"),
            rows: number("rows"),
            precision: if number("precision") == 32 { Precision::Bits32 } else { Precision::Bits64 },
            budget_bytes: 4 << 20,
            ..NearConfig::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let files = write(&folder, &documents, 3, &config);
        let clusters = cluster(&files, &folder.path().join("out"), &config).unwrap();
        let removed: Vec<u64> = dropped(&clusters).iter().map(|(id, _)| *id).collect();
        assert_eq!(removed, words_u64(&run["removed"]), "{config:?}");
        let mut groups: Vec<Vec<u64>> = Vec::new();
        for member in members(&clusters) {
            if member.id == member.representative {
                groups.push(Vec::new());
                assert_eq!(member.similarity, 1.0);
            }
            groups.last_mut().unwrap().push(member.id);
        }
        groups.iter_mut().for_each(|group| group.sort_unstable());
        groups.sort();
        let expected: Vec<Vec<u64>> = run["clusters"].as_array().unwrap().iter().map(words_u64).collect();
        assert_eq!(groups, expected, "{config:?}");
        assert_eq!(clusters.clusters, expected.len() as u64);
    }
}

#[test]
fn shingles_of_characters_need_no_spaces() {
    let config = NearConfig { shingle: Shingle::Characters(3), ..NearConfig::default() };
    let mut hasher = MinHasher::new(&config).unwrap();
    let a = hasher
        .signature_of_text("秦川雄帝宅，函谷壯皇居。綺殿千尋起，離宮百雉餘。", Language::Unspaced)
        .unwrap()
        .to_vec();
    let b = hasher
        .signature_of_text(" 秦川雄帝宅 函谷壯皇居\n綺殿千尋起，離宮百雉餘 ", Language::English)
        .unwrap()
        .to_vec();
    let c = hasher
        .signature_of_text("連甍遙接漢，飛觀迥凌虛。雲日隱層闕，風煙出綺疎。", Language::Unspaced)
        .unwrap()
        .to_vec();
    assert_eq!(a, b);
    assert_ne!(a, c);
    assert_eq!(hasher.signature_of_text("漢，飛", Language::Unspaced), None);
}

/// Pairs of documents whose sets of words have exactly `shared` of `2 size - shared` words in common.
fn pairs_of_known_similarity(count: usize, size: usize, shared: usize) -> Vec<String> {
    let word = |pair: usize, index: usize| format!("w{pair}x{index}");
    (0..count)
        .flat_map(|pair| {
            let first: Vec<String> = (0..size).map(|index| word(pair, index)).collect();
            let second: Vec<String> = (size - shared..2 * size - shared).map(|index| word(pair, index)).collect();
            [first.join(" "), second.join(" ")]
        })
        .collect()
}

#[test]
fn rates_lie_within_binomial_bounds() {
    let config = NearConfig { shingle: Shingle::Words(1), budget_bytes: 4 << 20, ..NearConfig::default() };
    assert!((config.probability(0.8) - 0.924).abs() < 5e-4);
    let pairs = 1500;
    // Jaccard = shared / (2 * 90 - shared): 0.5, 0.636, 0.714, 0.8, 0.895.
    for shared in [60, 70, 75, 80, 85] {
        let similarity = f64::from(shared) / f64::from(180 - shared);
        let folder = tempfile::tempdir().unwrap();
        let documents = pairs_of_known_similarity(pairs, 90, shared as usize);
        let clusters = cluster(&write(&folder, &documents, 1, &config), folder.path(), &config).unwrap();
        assert!(dropped(&clusters).iter().all(|(id, representative)| id / 2 == representative / 2));
        let expected = config.probability(similarity);
        let deviation = (expected * (1.0 - expected) / pairs as f64).sqrt();
        let rate = clusters.dropped as f64 / pairs as f64;
        assert!((rate - expected).abs() < 4.0 * deviation + 1e-9, "s {similarity}: {rate} and not {expected}");
    }
}

#[test]
fn estimates_are_the_known_similarities() {
    let config = NearConfig { shingle: Shingle::Words(1), budget_bytes: 4 << 20, ..NearConfig::default() };
    let folder = tempfile::tempdir().unwrap();
    let documents = pairs_of_known_similarity(400, 90, 85);
    let clusters = cluster(&write(&folder, &documents, 2, &config), folder.path(), &config).unwrap();
    let found: Vec<f64> =
        members(&clusters).iter().filter(|member| member.id != member.representative).map(|m| m.similarity).collect();
    assert!(found.len() > 300);
    let mean = found.iter().sum::<f64>() / found.len() as f64;
    // Those that were found are a little more similar than the truth, 85 / 95.
    assert!((0.89..0.91).contains(&mean), "{mean}");
}

/// Enough documents for many runs in a budget of 1 MiB, in clusters that chain.
fn many_documents() -> Vec<String> {
    let mut random = Random(7);
    let mut documents: Vec<Vec<String>> = Vec::new();
    for index in 0..9000 {
        let words = if index > 10 && random.below(3) == 0 {
            let mut words = documents[index - 1 - random.below(10)].clone();
            let at = random.below(words.len());
            words[at] = format!("new{index}");
            words
        } else {
            (0..30).map(|_| format!("w{}", random.below(5000))).collect()
        };
        documents.push(words);
    }
    documents.into_iter().map(|words| words.join(" ")).collect()
}

#[test]
fn threads_workers_and_budgets_change_nothing() {
    let documents = many_documents();
    for keep in [Keep::LargestCluster, Keep::First] {
        let mut answers = Vec::new();
        for (threads, workers, budget_bytes) in [(1, 1, 1 << 30), (2, 5, 1 << 20), (3, 2, 4 << 20)] {
            let config = NearConfig {
                shingle: Shingle::Words(2),
                bands: 6,
                rows: 6,
                keep,
                budget_bytes,
                threads,
                ..NearConfig::default()
            };
            let folder = tempfile::tempdir().unwrap();
            let files = write(&folder, &documents, workers, &config);
            let clusters = cluster(&files, &folder.path().join("out"), &config).unwrap();
            assert!(clusters.dropped > 1500, "{}", clusters.dropped);
            let read = |name: &str| fs::read(folder.path().join("out").join(name)).unwrap();
            answers.push((read("dropped.dups"), read("clusters.dups")));
            let left: Vec<_> = fs::read_dir(folder.path().join("out")).unwrap().collect();
            assert_eq!(left.len(), 2, "{left:?}");
        }
        assert!(answers.windows(2).all(|two| two[0] == two[1]));
    }
}

#[test]
fn the_first_stays_if_asked_for() {
    let documents = many_documents();
    let config =
        NearConfig { shingle: Shingle::Words(2), keep: Keep::First, budget_bytes: 8 << 20, ..NearConfig::default() };
    let folder = tempfile::tempdir().unwrap();
    let clusters = cluster(&write(&folder, &documents[..3000], 1, &config), folder.path(), &config).unwrap();
    assert!(clusters.dropped > 300);
    assert!(dropped(&clusters).iter().all(|(id, representative)| representative < id));
}

#[test]
fn damaged_files_are_errors() {
    let config = NearConfig { budget_bytes: 1 << 20, ..NearConfig::default() };
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, &many_documents()[..40], 1, &config).remove(0);
    let whole = fs::read(&file).unwrap();
    let mut random = Random(11);
    for trial in 0..120 {
        let mut bytes = whole.clone();
        if trial % 2 == 0 {
            bytes.truncate(random.below(whole.len()));
        } else {
            let at = random.below(whole.len());
            bytes[at] ^= 1 << random.below(8);
        }
        fs::write(&file, &bytes).unwrap();
        let error = cluster(std::slice::from_ref(&file), folder.path(), &config).unwrap_err();
        assert!(matches!(error, DedupError::File { .. }), "trial {trial}: {error}");
        assert!(error.hint().is_some());
    }
    fs::write(&file, [&whole[..], b"x"].concat()).unwrap();
    assert!(cluster(&[file], folder.path(), &config).is_err());
    assert!(!folder.path().join("dropped.dups").exists());
}

#[test]
fn other_settings_are_an_error() {
    let config = NearConfig { budget_bytes: 1 << 20, ..NearConfig::default() };
    let folder = tempfile::tempdir().unwrap();
    let files = write(&folder, &many_documents()[..5], 1, &config);
    let other = NearConfig { seed: 2, ..config };
    assert!(matches!(cluster(&files, folder.path(), &other), Err(DedupError::Settings { .. })));
    let missing = [folder.path().join("none")];
    assert!(matches!(cluster(&missing, folder.path(), &config), Err(DedupError::Io { .. })));
    for bad in [
        NearConfig { bands: 0, ..config },
        NearConfig { rows: 5000, ..config },
        NearConfig { shingle: Shingle::Words(0), ..config },
        NearConfig { budget_bytes: 1000, ..config },
    ] {
        assert!(matches!(MinHasher::new(&bad), Err(DedupError::Config { .. })), "{bad:?}");
    }
}

#[test]
fn ids_are_checked() {
    let config = NearConfig { budget_bytes: 1 << 20, ..NearConfig::default() };
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("1"), folder.path().join("2"));
    let signature = vec![7; config.hashes()];
    for path in [&one, &two] {
        let mut writer = Writer::create(path, &config).unwrap();
        writer.push(5, &signature).unwrap();
        assert!(matches!(writer.push(5, &signature), Err(DedupError::Order { id: 5, before: 5 })));
        assert!(matches!(writer.push(6, &signature[1..]), Err(DedupError::Input { .. })));
        writer.finish().unwrap();
    }
    let error = cluster(&[one.clone(), two], folder.path(), &config).unwrap_err();
    assert!(matches!(error, DedupError::Duplicate { id: 5 }));
    // A writer that is not finished leaves nothing.
    drop(Writer::create(&folder.path().join("3"), &config).unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    let mut signatures = Signatures::open(&one, &config).unwrap();
    assert_eq!(signatures.next_signature().unwrap(), Some((5, &signature[..])));
    assert_eq!(signatures.next_signature().unwrap(), None);
}

/// Files of the first version must be read for ever, and are written with the same bytes.
#[test]
fn formats_stay() {
    let config = NearConfig { shingle: Shingle::Words(1), bands: 3, rows: 2, ..NearConfig::default() };
    let documents: Vec<String> = ["a b c d", "a b c d", "x y z", "a b c d e"].map(str::to_owned).into();
    let folder = tempfile::tempdir().unwrap();
    let files = write(&folder, &documents, 1, &config);
    let clusters = cluster(&files, folder.path(), &config).unwrap();
    assert_eq!((clusters.documents, clusters.clusters), (4, 1));
    for (name, path) in [
        ("signatures", &files[0]),
        ("dropped", &folder.path().join("dropped.dups")),
        ("clusters", &folder.path().join("clusters.dups")),
    ] {
        common::golden_bytes(&format!("{name}.v1.dups"), &fs::read(path).unwrap());
    }
    let path = common::golden_path("signatures.v1.dups");
    let mut signatures = Signatures::open(&path, &config).unwrap();
    let mut count = 0;
    while signatures.next_signature().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 4);
    let old = tempfile::tempdir().unwrap();
    for name in ["dropped", "clusters"] {
        fs::copy(common::golden_path(&format!("{name}.v1.dups")), old.path().join(format!("{name}.dups"))).unwrap();
    }
    let clusters = Clusters::open(old.path()).unwrap();
    assert_eq!(dropped(&clusters).len() as u64, clusters.dropped);
    assert_eq!(members(&clusters).len() as u64, clusters.dropped + clusters.clusters);
}
