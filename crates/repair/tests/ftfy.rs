//! Against ftfy 6.3.1: its own test cases, the examples of its documentation and unit tests, and its
//! answers on real text broken in many ways (`crates/xtask/peers/repair_golden.py`).
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]

use std::io::Read;

use repair::{Normalization, RepairConfig, UnescapeHtml, Width, badness, decode, explain, fix_encoding, repair};
use serde_json::Value;

fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The JSON lines of a deflated golden file.
fn cases(name: &str) -> Vec<Value> {
    let packed = golden(name);
    let mut text = String::new();
    flate2::read::DeflateDecoder::new(packed.as_slice()).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn fixed(text: &str) -> String {
    repair(text, &RepairConfig::default()).text.into_owned()
}

/// Only one thing is repaired.
fn only(change: impl FnOnce(&mut RepairConfig)) -> impl Fn(&str) -> String {
    let mut config = RepairConfig::nothing();
    change(&mut config);
    move |text| repair(text, &config).text.into_owned()
}

#[test]
fn all_of_ftfys_own_cases_pass_and_its_known_failures_fail() {
    let (mut passed, mut failed) = (0, Vec::new());
    for name in ["in-the-wild", "language-names", "negative", "synthetic", "known-failures"] {
        let file: Value = serde_json::from_slice(&golden(&format!("ftfy/{name}.json"))).unwrap();
        for case in file.as_array().unwrap() {
            let (original, meant) = (case["original"].as_str().unwrap(), case["fixed"].as_str().unwrap());
            let label = case["label"].as_str().unwrap();
            let encoding = case["fixed-encoding"].as_str().unwrap_or(meant);
            // The checks of ftfy's own test, one of them with another layer of mojibake on top.
            let worse: String = original.bytes().map(char::from).collect();
            let found = [
                fix_encoding(original, &RepairConfig::default()).into_owned(),
                fixed(original),
                fixed(&worse),
                fixed(meant),
            ];
            if case["expect"] == "pass" {
                passed += 1;
                assert_eq!(found, [encoding, meant, meant, meant], "{label}");
            } else {
                assert_ne!(found, [encoding, meant, meant, meant], "{label}: ftfy fails here, by its own word");
                failed.push(label.to_owned());
            }
        }
    }
    assert_eq!(passed, 151);
    assert_eq!(failed, KNOWN_FAILURES);
}

/// What ftfy itself marks as expected failures. What it gives instead is at the head of `broken.deflate`.
const KNOWN_FAILURES: [&str; 10] = [
    "Misleading mix-up in Spanish",
    "Two levels of inconsistent mojibake",
    "A-with-grave in Vietnamese",
    "Latin-1 / MacRoman mixup in Spanish",
    "subtle UTF-8 / codepage 437 mixup in Spanish",
    "Latin-1 / MacRoman mixup in Spanish, 2 characters",
    "An example with 'à' in windows-1251 where we need our heuristic to be bolder",
    "Italian UTF-8 / MacRoman mojibake that looks like math",
    "Synthetic: Incomplete UTF-8 / Windows-1252 mixup in Arabic",
    "Synthetic, false positive: the title of a manga, in weird capitalized romaji, with a non-breaking space",
];

#[test]
fn broken_text_is_repaired_as_ftfy_does_it() {
    let config = RepairConfig::default();
    let all = cases("broken.deflate");
    assert!(all.len() >= 4000);
    for case in all {
        let text = case["i"].as_str().unwrap();
        let wanted = case["o"].as_str().unwrap_or(text);
        let result = repair(text, &config);
        assert_eq!(result.text, wanted, "{text:?}");
        assert_eq!(result.changes.is_empty(), wanted == text, "{text:?}: {:?}", result.changes);
        let (explained, steps) = explain(text, &config);
        assert_eq!(explained, case["e"].as_str().unwrap_or(wanted), "{text:?}");
        let steps: Vec<String> = steps
            .iter()
            .map(|step| format!("{} {}", serde_json::to_value(step.action).unwrap().as_str().unwrap(), step.parameter))
            .collect();
        let wanted: Vec<String> = serde_json::from_value(case["s"].clone()).unwrap();
        assert_eq!(steps, wanted, "{text:?}");
        assert_eq!(badness(text) as u64, case["b"].as_u64().unwrap(), "{text:?}");
    }
}

fn with_option(name: &str) -> RepairConfig {
    let mut config = RepairConfig::default();
    match name {
        "unescape_html=False" => config.unescape_html = UnescapeHtml::Never,
        "unescape_html=True" => config.unescape_html = UnescapeHtml::Always,
        "remove_terminal_escapes=False" => config.terminal_escapes = false,
        "fix_encoding=False" => config.mojibake = false,
        "restore_byte_a0=False" => config.restore_byte_a0 = false,
        "replace_lossy_sequences=False" => config.replace_lossy_sequences = false,
        "decode_inconsistent_utf8=False" => config.decode_inconsistent_utf8 = false,
        "fix_c1_controls=False" => config.c1_controls = false,
        "fix_latin_ligatures=False" => config.latin_ligatures = false,
        "fix_character_width=False" => config.width = Width::Keep,
        "uncurl_quotes=False" => config.quotes = false,
        "fix_line_breaks=False" => config.line_breaks = false,
        "remove_control_chars=False" => config.control_characters = false,
        "normalization=None" => config.normalization = Normalization::None,
        "normalization=NFD" => config.normalization = Normalization::Nfd,
        "normalization=NFKC" => config.normalization = Normalization::Nfkc,
        "normalization=NFKD" => config.normalization = Normalization::Nfkd,
        other => panic!("{other}"),
    }
    config
}

#[test]
fn every_option_does_what_it_does_in_ftfy() {
    let all = cases("options.deflate");
    assert!(all.len() > 1500);
    for case in all {
        let (name, text) = (case["c"].as_str().unwrap(), case["i"].as_str().unwrap());
        let wanted = case["o"].as_str().unwrap_or(text);
        assert_eq!(repair(text, &with_option(name)).text, wanted, "{name}: {text:?}");
    }
}

/// From tests/test_entities.py and the documentation of ftfy.
#[test]
fn entities() {
    let example = "&amp;\n<html>\n&amp;";
    let of = |text: &str, mode| {
        repair(text, &RepairConfig { unescape_html: mode, ..RepairConfig::default() }).text.into_owned()
    };
    assert_eq!(of(example, UnescapeHtml::Always), "&\n<html>\n&");
    assert_eq!(of(example, UnescapeHtml::Never), example);
    assert_eq!(of(example, UnescapeHtml::Auto), "&\n<html>\n&amp;");
    assert_eq!(explain("&lt;&gt;", &RepairConfig::default()).0, "<>");
    let config = RepairConfig { unescape_html: UnescapeHtml::Always, ..RepairConfig::default() };
    assert_eq!(explain("&lt;&gt;", &config).0, "<>");
    assert_eq!(of("jednocze&sacute;nie", UnescapeHtml::Auto), "jednocześnie");
    assert_eq!(of("JEDNOCZE&Sacute;NIE", UnescapeHtml::Auto), "JEDNOCZEŚNIE");
    assert_eq!(of("ellipsis&#133;", UnescapeHtml::Auto), "ellipsis…");
    assert_eq!(of("ellipsis&#x85;", UnescapeHtml::Auto), "ellipsis…");
    assert_eq!(of("broken&#x81;", UnescapeHtml::Auto), "broken\u{81}");
    assert_eq!(of("&amp;amp;amp;", UnescapeHtml::Auto), "&");
    let unescape = only(|config| config.unescape_html = UnescapeHtml::Always);
    assert_eq!(unescape("euro &#x80;"), "euro €");
    assert_eq!(unescape("EURO &EURO;"), "EURO €");
    assert_eq!(unescape("not an entity &#20x6;"), "not an entity &#20x6;");
    assert_eq!(unescape("&lt;tag&gt; &Jscr;ohn &HilbertSpace;ancock &checkmark;"), "<tag> 𝒥ohn ℋancock ✓");
    assert_eq!(unescape("P&eacute;rez P&EACUTE;REZ BUNDESSTRA&SZLIG;E"), "Pérez PÉREZ BUNDESSTRASSE");
    assert_eq!(unescape("&ntilde; &Ntilde; &NTILDE; &nTILDE;"), "ñ Ñ Ñ &nTILDE;");
    assert_eq!(unescape("this&not that &amp &; &#; &#x; &#59;"), "this&not that &amp &; &#; &#x; &#59;");
}

/// From tests/test_bytes.py: `guess_bytes`.
#[test]
fn bytes_in_unknown_encodings() {
    for text in ["Renée\nFleming", "Noël\nCoward", "Señor\nCardgage", "€ • £ • ¥", "¿Qué?"] {
        assert_eq!(decode(text.as_bytes(), None).text, text);
        let mut utf16 = vec![0xFF, 0xFE];
        utf16.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        assert_eq!(decode(&utf16, None).text, text);
    }
    let decoded = decode(b"null\xc0\x80separated", None);
    assert_eq!((decoded.text.as_str(), decoded.encoding), ("null\0separated", "utf-8-variants"));
}

/// From tests/test_characters.py and test_encodings.py.
#[test]
fn characters() {
    assert_eq!(fixed("\u{feff}\u{feff}BOM"), "BOM");
    let controls = only(|config| config.control_characters = true);
    assert_eq!(controls("\u{feff}byte \u{206a}order\x07"), "byte order");
    assert_eq!(fixed("\u{0}\x1b[36;44mfoo\x1b[0m\x7f"), "foo");
    assert_eq!(fixed("Ｕﾀｰﾝ ＬＯＵＤ　ＮＯＩＳＥＳ"), "Uターン LOUD NOISES");
    assert_eq!(fixed("ﬂuﬃeﬆ"), "fluffiest");
    assert_eq!(fixed("\u{201c}here\u{2019}s a test\u{201d}"), "\"here's a test\"");
    let breaks = only(|config| config.line_breaks = true);
    assert_eq!(breaks("What \u{85} is\u{2028}this\u{2029}\r\n\r."), "What \n is\nthis\n\n\n.");
    // A NEXT LINE is an ellipsis in windows-1252 where mojibake is looked for.
    assert_eq!(fixed("What is this \u{85} I don't even"), "What is this … I don't even");
    assert_eq!(fixed("¯\\_(ã\u{83}\u{84})_/¯"), "¯\\_(ツ)_/¯");
    assert_eq!(fixed("Broken text&hellip; it&#x2019;s ﬂubberiﬁc!"), "Broken text… it's flubberific!");
    assert_eq!(fixed("voilÃ le travail"), "voilà le travail");
    assert_eq!(fixed(""), "");
    let ohio = fixed("ohio\u{304}");
    assert_eq!(ohio, "ohiō");
}

/// From tests/test_normalization.py and the documentation.
#[test]
fn normal_forms() {
    let nfkc = RepairConfig { normalization: Normalization::Nfkc, ..RepairConfig::default() };
    assert_eq!(repair("10³ µ \u{2122}", &nfkc).text, "103 μ TM");
    assert_eq!(fixed("10³ µ \u{2122}"), "10³ µ \u{2122}");
}

#[test]
fn long_lines_are_repaired_in_pieces() {
    let config = RepairConfig { segment_characters_max: 4, ..RepairConfig::default() };
    // ftfy.fix_text(text, max_decode_length=4).
    assert_eq!(repair("Ã©Ã©xÃ©", &config).text, "ééxé");
    assert_eq!(repair("Ã©xÃ©", &config).text, "éxÃ©");
    let zero = RepairConfig { segment_characters_max: 0, ..RepairConfig::default() };
    assert_eq!(repair("a\u{fb01}b", &zero).text, "afib");
}
