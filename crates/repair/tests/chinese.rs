//! Chinese conversion against OpenCC 1.4.2's own answers (`crates/xtask/peers/repair_golden.py`).
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]

use std::borrow::Cow;
use std::io::Read;

use repair::{Chinese, Reason, RepairConfig, convert, repair};
use serde_json::Value;

#[test]
fn every_conversion_equals_openccs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/chinese.deflate");
    let mut text = String::new();
    flate2::read::DeflateDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let mut changed = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let input = case["i"].as_str().unwrap();
        for name in ["s2t", "t2s", "s2tw", "s2twp", "tw2s", "tw2sp", "s2hk", "hk2s", "t2tw", "tw2t", "t2hk", "hk2t"] {
            let script: Chinese = serde_json::from_value(Value::from(name)).unwrap();
            let wanted = case["o"][name].as_str().unwrap_or(input);
            changed += usize::from(wanted != input);
            assert_eq!(convert(input, script), wanted, "{name}: {input}");
        }
    }
    assert!(changed > 1000);
}

#[test]
fn conversion_is_part_of_repair_and_costs_nothing_where_nothing_changes() {
    let config = RepairConfig { chinese: Some(Chinese::S2twp), ..RepairConfig::chinese() };
    let repaired = repair("鼠标里的硅二极管坏了，“软件”没坏。", &config);
    assert_eq!(repaired.text, "滑鼠裡的矽二極體壞了，“軟體”沒壞。");
    assert_eq!(repaired.changes.iter().map(|c| c.reason).collect::<Vec<_>>(), [Reason::ChineseScript]);
    assert!(matches!(convert("plain", Chinese::S2t), Cow::Borrowed(_)));
    assert!(matches!(convert("中文", Chinese::S2t), Cow::Borrowed(_)));
}
