//! Golden files and a small random generator.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A file that crates/xtask/peers/dedup_golden.py made.
pub fn golden(name: &str) -> Value {
    serde_json::from_slice(&fs::read(golden_path(name)).unwrap()).unwrap()
}

pub fn words_u64(values: &Value) -> Vec<u64> {
    values.as_array().unwrap().iter().map(|value| value.as_u64().unwrap()).collect()
}

/// Compares with a golden file; writes it where `DEDUP_GOLDEN=write` asks for it.
pub fn golden_bytes(name: &str, bytes: &[u8]) {
    let path = golden_path(name);
    if std::env::var_os("DEDUP_GOLDEN").is_some_and(|value| value == "write") {
        fs::write(&path, bytes).unwrap();
    }
    assert_eq!(fs::read(&path).unwrap(), bytes, "{name}");
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// About normal, mean 0.
    pub fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.next() as f64 / u64::MAX as f64 - 0.5).sum::<f64>() as f32
    }
}
