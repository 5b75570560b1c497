//! Perceptual hashes against Python's imagehash, and clusters against all pairs.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;

use common::{Random, golden};
use dedup::image::{Grey, ImageConfig, cluster, cosine_hash, difference_hash, resize};
use dedup::{DedupError, Keep};

/// The pictures of crates/xtask/peers/dedup_golden.py.
fn picture(width: u64, height: u64, kind: u64, index: u64) -> Vec<u8> {
    let pixel = |x: u64, y: u64| match kind {
        0 => (x * 7 + y * 13 + index * 31) % 256,
        1 => ((x * x + 3 * y * y) >> 3) % 256,
        2 => 97,
        _ => ((x * 2_654_435_761 + y * 40_503 * (x + 1)) >> 7) % 256,
    };
    (0..height).flat_map(|y| (0..width).map(move |x| pixel(x, y) as u8)).collect()
}

#[test]
fn hashes_are_those_of_imagehash() {
    for entry in golden("image.json").as_array().unwrap() {
        let number = |name: &str| entry[name].as_u64().unwrap();
        let (width, height) = (number("width"), number("height"));
        let pixels = picture(width, height, number("kind"), number("index"));
        let grey = Grey::new(width as usize, height as usize, &pixels).unwrap();
        for (name, columns, rows) in [("resized9x8", 9, 8), ("resized32x32", 32, 32)] {
            let digest = twox_hash::XxHash64::oneshot(0, &resize(grey, columns, rows));
            assert_eq!(digest, number(name), "{name} of {entry}");
        }
        let hex = |name: &str| u64::from_str_radix(entry[name].as_str().unwrap(), 16).unwrap();
        assert_eq!(difference_hash(grey), hex("dhash"), "{entry}");
        assert_eq!(cosine_hash(grey), hex("phash"), "{entry}");
    }
}

#[test]
fn pictures_have_the_pixels_they_say() {
    assert!(Grey::new(2, 2, &[0; 3]).is_none());
    assert!(Grey::new(0, 5, &[]).is_none());
    assert!(Grey::new(usize::MAX, 2, &[0; 3]).is_none());
}

#[test]
fn clusters_are_those_of_all_pairs() {
    let mut random = Random(9);
    let mut hashes: Vec<(u64, u64)> = Vec::new();
    for id in 0..1200_u64 {
        let hash = match hashes.get(random.below(hashes.len().max(1))) {
            Some((_, near)) if id % 3 > 0 => (0..random.below(8)).fold(*near, |hash, _| hash ^ 1 << random.below(64)),
            _ => random.next(),
        };
        hashes.push((id * 3 + 1, hash));
    }
    for distance in [0, 1, 4, 5, 9] {
        let mut root: Vec<usize> = (0..hashes.len()).collect();
        for a in 0..hashes.len() {
            for b in 0..a {
                if (hashes[a].1 ^ hashes[b].1).count_ones() <= distance && root[a] != root[b] {
                    let (keep, go) = (root[a].min(root[b]), root[a].max(root[b]));
                    root.iter_mut().filter(|root| **root == go).for_each(|root| *root = keep);
                }
            }
        }
        let expected: Vec<(u64, u64)> = (0..hashes.len())
            .filter(|index| root[*index] != *index)
            .map(|index| (hashes[index].0, hashes[root[index]].0))
            .collect();
        let config = ImageConfig { distance, keep: Keep::First, budget_bytes: 1 << 20 };
        let folder = tempfile::tempdir().unwrap();
        // In another order.
        let clusters = cluster(hashes.iter().rev().copied(), folder.path(), &config).unwrap();
        let dropped: Vec<(u64, u64)> = clusters.dropped().unwrap().map(Result::unwrap).collect();
        assert_eq!(dropped, expected, "distance {distance}");
        for member in clusters.members().unwrap().map(Result::unwrap) {
            let hash = |id: u64| hashes[(id as usize - 1) / 3].1;
            let different = (hash(member.id) ^ hash(member.representative)).count_ones();
            assert_eq!(member.similarity, 1.0 - f64::from(different) / 64.0);
        }
    }
}

#[test]
fn wrong_input_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let config = ImageConfig { budget_bytes: 1 << 20, ..ImageConfig::default() };
    assert!(matches!(cluster([(1, 2), (1, 3)], folder.path(), &config), Err(DedupError::Duplicate { id: 1 })));
    let many = (0..20_000).map(|id| (id, id));
    assert!(matches!(cluster(many, folder.path(), &config), Err(DedupError::Config { .. })));
    let far = ImageConfig { distance: 40, ..config };
    assert!(matches!(cluster([(1, 2)], folder.path(), &far), Err(DedupError::Config { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
