//! What holds for every text.

#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use personal::{Action, Finder, FinderConfig, Key, Kind, KindSet, Policy, PolicyConfig, reveal};
use proptest::prelude::*;

static FINDER: LazyLock<Finder> = LazyLock::new(|| FinderConfig::default().plan().unwrap());
/// Every kind and every form, however weak.
static EAGER: LazyLock<Finder> = LazyLock::new(|| {
    let config = FinderConfig {
        kinds: Some(Kind::ALL.to_vec()),
        score_min: 0.0,
        public_ip_only: false,
        ..FinderConfig::default()
    };
    config.plan().unwrap()
});

fn key() -> Key {
    Key::new(b"0123456789abcdef0123456789abcdef").unwrap()
}

fn policy(action: Action) -> Policy {
    PolicyConfig { action, ..PolicyConfig::default() }.plan(Some(key())).unwrap()
}

/// Texts made of what the finders look for, whole and cut.
fn texts() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "ann.lee@acme.com",
        "@",
        "+86 138 0013 8000",
        "13800138000",
        "010-62345678",
        "(415) 555-0132",
        "11010519491231002X",
        "GB82 WEST 1234 5698 7654 32",
        "4111 1111 1111 1111",
        "4111111111111111",
        "192.168.1.1",
        "8.8.8.8",
        ".5.6.7",
        "2001:db8::1",
        "::",
        ":",
        "aa:bb:cc:dd:ee:ff",
        "00-1A-2B-3C-4D-5E",
        "078-05-1123",
        "078051120",
        "ssn ",
        "passport ",
        "phone ",
        "身份证号",
        "电话：",
        "张伟先生",
        "姓名：王小明",
        "北京市朝阳区建国路88号3单元501室",
        "Mr. ",
        "Dear ",
        "Smith",
        "Étienne",
        "12 Main Street, Springfield, IL 62704",
        "password=hunter2!x",
        "token: ",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-def",
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        "https://u:p4ss@db.example.org/x",
        "www.example.com",
        "京A12345",
        "[EMAIL]",
        "<EMAIL_1>",
        "<PHONE:MFRGG>",
        "[",
        "<",
        ">",
        "]",
        " ",
        "  ",
        "\n",
        "-",
        ".",
        "/",
        ", ",
        "1",
        "42",
        "1990年1月2日",
        "born ",
        "5 May 1990",
        "21/5/21",
        "é",
        "号",
        "😀",
        "x",
    ]);
    let any = prop_oneof![4 => pieces.prop_map(str::to_owned), 1 => "\\PC{0,6}", 1 => "[0-9 .:/-]{0,12}", 1 => "[A-Za-z0-9]{0,20}"];
    prop::collection::vec(any, 0..14).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn findings_are_in_order_and_on_borders(text in texts()) {
        for finder in [&*FINDER, &*EAGER] {
            let findings = finder.find(&text);
            let mut last = 0;
            for found in &findings {
                prop_assert!(last <= found.start && found.start < found.end);
                prop_assert!(text.get(found.start..found.end).is_some());
                prop_assert!((0.0..=1.0).contains(&found.score));
                prop_assert!(finder.kinds().contains(found.kind));
                last = found.end;
            }
            prop_assert_eq!(findings, finder.find(&text));
        }
    }

    #[test]
    fn arbitrary_text_does_not_panic(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = EAGER.find(&text);
        let _ = EAGER.find(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn cleaning_twice_is_cleaning_once(text in texts()) {
        for action in [Action::Redact, Action::RedactNumbered, Action::Pseudonym, Action::Hash] {
            let policy = policy(action);
            let once = policy.clean(&FINDER, &text);
            let twice = policy.clean(&FINDER, &once.text);
            prop_assert_eq!(&once.text, &twice.text);
            prop_assert!(twice.replaced.is_empty());
        }
    }

    #[test]
    fn entries_lie_in_the_original(text in texts()) {
        let cleaned = policy(Action::Redact).clean(&FINDER, &text);
        let mut last = 0;
        for entry in &cleaned.replaced {
            prop_assert!(last <= entry.start && text.get(entry.start..entry.end).is_some());
            prop_assert_eq!(&personal::mask(&text[entry.start..entry.end]), &entry.masked);
            last = entry.end;
        }
    }

    #[test]
    fn the_key_turns_pseudonyms_back(text in texts()) {
        let cleaned = policy(Action::Pseudonym).clean(&FINDER, &text);
        prop_assert_eq!(reveal(&cleaned.text, &key()), text);
        let other = Key::new(b"another key of 16").unwrap();
        prop_assert_eq!(reveal(&cleaned.text, &other), cleaned.text);
    }
}

#[test]
fn hostile_texts_take_linear_time() {
    // Each would take minutes at the second power.
    for piece in [
        "@",
        "1",
        "1 ",
        "1.",
        "1-",
        "a@",
        "::",
        "1:",
        "-----BEGIN PRIVATE KEY-----",
        "eyJ",
        "[",
        "<EMAIL_",
        "password=",
        "<EMAIL:A",
        "Mr ",
        "先生",
        "1号",
        "https://a:b@",
    ] {
        let text = piece.repeat(400_000 / piece.len());
        let _ = FINDER.find(&text);
        let _ = EAGER.find(&text);
    }
}

#[test]
fn every_kind_has_one_name() {
    assert_eq!(KindSet::all(), Kind::ALL.iter().map(|kind| kind.name().parse().unwrap()).collect());
    assert!("NOTHING".parse::<Kind>().is_err());
}
