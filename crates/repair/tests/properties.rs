//! Whatever comes: nothing panics, repairs settle, and a configuration survives its file.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]

use std::borrow::Cow;

use proptest::prelude::*;
use repair::{
    Chinese, Invisible, Normalization, Reason, RepairConfig, UnescapeHtml, Whitespace, Width, convert, decode,
    decode_escapes, explain, repair,
};

fn texts() -> impl Strategy<Value = String> {
    let mojibake = "[ÃÂâ€™œ…†Ø§Ù„Ð°Ñ€вЂв�ï»¿í \u{80}-\u{bf} ?\u{1a}a-z<\n]{0,40}";
    let markup = "(&(amp|lt|eacute|#[0-9x]{1,5}|[a-zA-Z]{1,5});?|\u{1b}\\[[0-9;]{0,3}m?|[\r\n<>＆；ａ １]){0,12}";
    let misread = "\\PC{0,20}".prop_map(|text| text.bytes().map(char::from).collect());
    let twice = "\\PC{0,8}".prop_map(|text| {
        let once: String = text.bytes().map(char::from).collect();
        once.bytes().map(char::from).collect()
    });
    prop_oneof![any::<String>(), mojibake, markup, misread, twice, "[ﬀ-ﬆĳｶﾞﾊﾟ＂－￣“”‘’\u{2028}\u{feff}e\u{301}]{0,20}"]
}

fn configs() -> impl Strategy<Value = RepairConfig> {
    let html = prop_oneof![Just(UnescapeHtml::Auto), Just(UnescapeHtml::Always), Just(UnescapeHtml::Never)];
    let width = prop_oneof![Just(Width::Keep), Just(Width::Standard), Just(Width::Letters)];
    let form = prop_oneof![
        Just(Normalization::None),
        Just(Normalization::Nfc),
        Just(Normalization::Nfd),
        Just(Normalization::Nfkc),
        Just(Normalization::Nfkd)
    ];
    let invisible = prop_oneof![Just(Invisible::Keep), Just(Invisible::Idle), Just(Invisible::All)];
    (html, width, form, invisible, any::<[bool; 14]>(), 1usize..30).prop_map(
        |(html, width, form, invisible, on, most)| RepairConfig {
            unescape_html: html,
            terminal_escapes: on[0],
            mojibake: on[1],
            restore_byte_a0: on[2],
            replace_lossy_sequences: on[3],
            decode_inconsistent_utf8: on[4],
            c1_controls: on[5],
            latin_ligatures: on[6],
            width,
            quotes: on[7],
            line_breaks: on[8],
            control_characters: on[9],
            normalization: form,
            segment_characters_max: most,
            invisible,
            whitespace: Whitespace {
                plain: on[10],
                fold: on[11],
                trim_lines: on[12],
                trim: on[13],
                blank_lines_max: on[0].then_some(1),
            },
            chinese: on[1].then_some(Chinese::T2s),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// ftfy repeats its round until nothing changes, so what it gives it leaves alone.
    #[test]
    fn a_repaired_segment_stays_as_it_is(text in texts()) {
        let config = RepairConfig::default();
        let once = explain(&text, &config).0;
        prop_assert_eq!(&explain(&once, &config).0, &once);
        // The same by lines, if no line break is made and entities do not depend on other lines.
        if !text.contains(['\r', '\u{2028}', '\u{2029}', '\u{85}', '<', '&', '\n', '＆']) {
            let lines = repair(&text, &config).text;
            prop_assert_eq!(&repair(&lines, &config).text, &lines);
            prop_assert_eq!(&lines, &once);
        }
    }

    #[test]
    fn any_configuration_takes_any_text(text in texts(), config in configs()) {
        let repaired = repair(&text, &config);
        prop_assert_eq!(matches!(repaired.text, Cow::Borrowed(_)), repaired.changes.is_empty());
        if config.whitespace.trim && config.chinese.is_none() {
            prop_assert_eq!(repaired.text.trim(), &*repaired.text);
        }
        let json = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(serde_json::from_str::<RepairConfig>(&json).unwrap(), config);
        let json = serde_json::to_string(&repaired.changes).unwrap();
        prop_assert_eq!(serde_json::from_str::<Vec<repair::Change>>(&json).unwrap(), repaired.changes);
    }

    #[test]
    fn lines_are_repaired_independently(lines in proptest::collection::vec(texts(), 0..5)) {
        let config = RepairConfig { unescape_html: UnescapeHtml::Always, ..RepairConfig::default() };
        let lines: Vec<String> = lines.iter().map(|line| line.replace('\n', "") + "\n").collect();
        let whole = repair(&lines.concat(), &config).text.into_owned();
        let apart: String = lines.iter().map(|line| repair(line, &config).text.into_owned()).collect();
        prop_assert_eq!(whole, apart);
    }

    #[test]
    fn any_bytes_decode(bytes in prop_oneof![proptest::collection::vec(any::<u8>(), 0..200), proptest::collection::vec(prop_oneof![Just(0u8), Just(0xED), Just(0xC0), Just(0xA0), Just(0x80), Just(0xFF), Just(0xFE), Just(0x1B), Just(b'a')], 0..20)], hint in "(gbk|utf-8|latin1|utf-16|big5|replacement|nonsense)?") {
        let decoded = decode(&bytes, Some(&hint));
        prop_assert!((0.0..=1.0).contains(&decoded.confidence));
        let _ = decode(&bytes, None);
        let _ = decode_escapes(&decoded.text);
    }

    #[test]
    fn any_text_converts(text in any::<String>()) {
        for script in [Chinese::S2twp, Chinese::Tw2sp, Chinese::T2s] {
            let _ = convert(&text, script);
        }
    }
}

#[test]
fn reasons_have_the_names_that_are_written() {
    for reason in [
        Reason::HtmlEntities,
        Reason::Mojibake,
        Reason::C1Controls,
        Reason::Ligatures,
        Reason::Width,
        Reason::Quotes,
        Reason::LineBreaks,
        Reason::TerminalEscapes,
        Reason::ControlCharacters,
        Reason::Normalization,
        Reason::Invisible,
        Reason::Whitespace,
        Reason::ChineseScript,
    ] {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
    }
    let text = "sÃ³ &amp;\r\n“x” sÃ³\nＡ\u{ad}b\n";
    let config = RepairConfig { invisible: Invisible::Idle, ..RepairConfig::default() };
    let changes = serde_json::to_string(&repair(text, &config).changes).unwrap();
    assert_eq!(
        changes,
        concat!(
            r#"[{"reason":"html_entities","lines":1},{"reason":"mojibake","encoding":"latin-1","lines":1},"#,
            r#"{"reason":"line_breaks","lines":1},{"reason":"mojibake","encoding":"mixed","lines":1},"#,
            r#"{"reason":"quotes","lines":1},{"reason":"width","lines":1},{"reason":"invisible","lines":1}]"#
        )
    );
}

#[test]
fn chinese_punctuation_can_stay() {
    let text = "“你好”，ＡＢＣ１２３：ﾊﾝｶｸ　（！）";
    assert_eq!(repair(text, &RepairConfig::chinese()).text, "“你好”，ABC123：ハンカク　（！）");
    assert_eq!(repair(text, &RepairConfig::default()).text, "\"你好\",ABC123:ハンカク (!)");
}

/// Nested mistakes cost a bounded amount of work.
#[test]
fn hostile_nesting_ends() {
    let config = RepairConfig::default();
    for text in [
        format!("&{}lt;", "amp;".repeat(300_000)),
        "&amp;".repeat(200_000),
        "\u{c3}\u{83}".repeat(300_000),
        "Ã".repeat(500_000),
        "Ã ".repeat(300_000),
        "â€".repeat(300_000),
        "e\u{301}\u{302}".repeat(200_000),
        "\u{1b}[".repeat(300_000),
        "\u{fffd}".repeat(300_000),
        "\u{301}".repeat(300_000),
    ] {
        let repaired = repair(&text, &config);
        assert!(repaired.text.len() <= text.len() * 2);
    }
}

/// Files: an unknown switch is an error, a missing one its default.
#[test]
fn a_configuration_is_read_strictly() {
    let config: RepairConfig = serde_json::from_str(r#"{"width":"letters","chinese":"s2twp"}"#).unwrap();
    assert_eq!(config.width, Width::Letters);
    assert_eq!(config.chinese, Some(Chinese::S2twp));
    assert!(config.mojibake);
    assert!(serde_json::from_str::<RepairConfig>(r#"{"widht":"letters"}"#).is_err());
}
