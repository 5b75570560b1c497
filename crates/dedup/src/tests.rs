use std::collections::HashMap;
use std::fs::{self, File};

use proptest::prelude::*;

use crate::components::{Components, Keep};
use crate::records::{Kind, RecordReader, RecordWriter};
use crate::scratch::{PagedArray, Scratch, Spool};
use crate::sorter::Sorter;
use crate::{Clusters, DedupError};

fn sorted(records: &[Vec<u64>], width: usize, budget_bytes: u64) -> Vec<Vec<u64>> {
    let folder = tempfile::tempdir().unwrap();
    let mut sorter = Sorter::new(folder.path(), width, budget_bytes);
    for record in records {
        sorter.push(record).unwrap();
    }
    let mut sorted = sorter.finish().unwrap();
    let mut out = Vec::new();
    while let Some(record) = sorted.next().unwrap() {
        out.push(record.to_vec());
    }
    assert!(sorted.next().unwrap().is_none());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "scratch files have no names");
    out
}

/// What datatrove's clustering does, in the words of its Python.
fn datatrove_roots(pairs: &[(u64, u64)], keep: Keep) -> HashMap<u64, u64> {
    let mut parents: HashMap<u64, u64> = HashMap::new();
    let mut sizes: HashMap<u64, u64> = HashMap::new();
    fn root(parents: &mut HashMap<u64, u64>, node: u64) -> u64 {
        let parent = *parents.entry(node).or_insert(node);
        if parent == node { node } else { root(parents, parent) }
    }
    for (a, b) in pairs {
        let (mut a, mut b) = (root(&mut parents, *a), root(&mut parents, *b));
        if a != b {
            let (size_a, size_b) = (*sizes.get(&a).unwrap_or(&1), *sizes.get(&b).unwrap_or(&1));
            if (keep == Keep::LargestCluster && size_a < size_b) || (keep == Keep::First && b < a) {
                std::mem::swap(&mut a, &mut b);
            }
            parents.insert(b, a);
            sizes.insert(a, size_a + size_b);
        }
    }
    let nodes: Vec<u64> = parents.keys().copied().collect();
    nodes.into_iter().map(|node| (node, root(&mut parents, node))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sorting_on_disk_is_sorting(
        width in 1_usize..11,
        count in 0_usize..700,
        budget_bytes in prop_oneof![Just(0_u64), Just(3000), Just(9000), Just(1 << 20)],
        seed in any::<u64>(),
    ) {
        let word = |at: usize| twox_hash::XxHash64::oneshot(seed, &at.to_le_bytes()) % 5;
        let records: Vec<Vec<u64>> =
            (0..count).map(|index| (0..width).map(|at| word(index * width + at)).collect()).collect();
        let mut expected = records.clone();
        expected.sort();
        prop_assert_eq!(sorted(&records, width, budget_bytes), expected);
    }

    #[test]
    fn a_paged_array_is_an_array(
        writes in prop::collection::vec((0_u64..6000, any::<u64>()), 0..300),
        budget_bytes in prop_oneof![Just(0_u64), Just(9000), Just(1 << 20)],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut array = PagedArray::new(folder.path(), 6000, budget_bytes);
        let mut expected = HashMap::new();
        for (index, value) in writes {
            prop_assert_eq!(array.get(index).unwrap(), expected.get(&index).copied().unwrap_or(0));
            array.set(index, value).unwrap();
            expected.insert(index, value);
        }
        for (index, value) in expected {
            prop_assert_eq!(array.get(index).unwrap(), value);
        }
    }

    #[test]
    fn components_are_datatroves(
        pairs in prop::collection::vec((0_u64..60, 0_u64..60), 0..80),
        budget_bytes in prop_oneof![Just(0_u64), Just(1 << 20)],
        keep in prop_oneof![Just(Keep::LargestCluster), Just(Keep::First)],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let pairs: Vec<(u64, u64)> = pairs.iter().map(|(a, b)| (a * 1000, b * 1000)).collect();
        let mut spools = vec![Spool::create(folder.path(), 2).unwrap(), Spool::create(folder.path(), 2).unwrap()];
        for (index, (a, b)) in pairs.iter().enumerate() {
            spools[usize::from(index >= pairs.len() / 2)].push(&[*a, *b]).unwrap();
        }
        let mut components = Components::new(folder.path(), spools, keep, budget_bytes).unwrap();
        let mut found = HashMap::new();
        let mut before = None;
        components.for_each(|id, representative| {
            assert!(before < Some(id));
            before = Some(id);
            found.insert(id, representative);
            Ok(())
        }).unwrap();
        prop_assert_eq!(found, datatrove_roots(&pairs, keep));
    }
}

#[test]
fn a_full_disk_is_an_error_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        return;
    };
    let path = folder.path().join("records");
    let mut writer = RecordWriter::create(&path, Kind::Dropped, 2, 0, 0).unwrap();
    writer.replace_file(full.try_clone().unwrap());
    let pushed = (0..10_000).try_for_each(|id| writer.push(&[id, id]));
    let error = pushed.unwrap_err();
    assert!(matches!(&error, DedupError::Io { error, .. } if error.kind() == std::io::ErrorKind::StorageFull));
    assert!(error.hint().unwrap().contains("full"));
    drop(writer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let mut scratch = Scratch::create(folder.path()).unwrap();
    scratch.replace_file(full);
    assert!(matches!(scratch.append(&[1; 10_000]), Err(DedupError::Io { .. })));
}

#[test]
fn results_that_do_not_belong_together_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut dropped = RecordWriter::create(&folder.path().join("dropped.dups"), Kind::Dropped, 2, 0, 3).unwrap();
    dropped.push(&[1, 0]).unwrap();
    assert!(matches!(Clusters::open(folder.path()), Err(DedupError::Io { .. })));
    dropped.finish().unwrap();
    RecordWriter::create(&folder.path().join("clusters.dups"), Kind::Clusters, 3, 0, 3).unwrap().finish().unwrap();
    assert!(matches!(Clusters::open(folder.path()), Err(DedupError::File { .. })));
}

#[test]
fn records_come_back_over_many_blocks() {
    let folder = tempfile::tempdir().unwrap();
    for (width, count) in [(1, 0), (1, 2048), (3, 5000), (3000, 3)] {
        let path = folder.path().join("records");
        let mut writer = RecordWriter::create(&path, Kind::Texts, width, 9, 4).unwrap();
        for index in 0..count {
            writer.push(&vec![index; width]).unwrap();
        }
        assert!(!path.exists() || width > 1 || count > 0);
        assert_eq!(writer.finish().unwrap(), count);
        assert_eq!(crate::records::record_count(&path).unwrap(), count);
        let mut reader = RecordReader::open(&path, Kind::Texts).unwrap().expect(width, 9).unwrap();
        assert_eq!(reader.own(), 4);
        for index in 0..count {
            assert_eq!(reader.next().unwrap().unwrap(), vec![index; width]);
        }
        assert!(reader.next().unwrap().is_none());
        assert!(reader.next().unwrap().is_none());
    }
}
