//! Character sets found from bytes; encoders are `encoding_rs`'s and Rust's own.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]

use encoding_rs::Encoding;
use repair::decode;

const CHINESE: &str =
    "秦川雄帝宅，函谷壮皇居。绮殿千寻起，离宫百雉余。连甍遥接汉，飞观迥凌虚。云日隐层阙，风烟出绮疏。";
const TRADITIONAL: &str =
    "秦川雄帝宅，函谷壯皇居。綺殿千尋起，離宮百雉餘。連甍遙接漢，飛觀迥凌虛。雲日隱層闕，風煙出綺疎。我們在這裡說話。";
const JAPANESE: &str =
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で泣いていた。";
const KOREAN: &str =
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 부여받았다.";
const RUSSIAN: &str =
    "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью.";
const GREEK: &str = "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.";
const FRENCH: &str =
    "Tous les êtres humains naissent libres et égaux en dignité et en droits. À l’été, où ça coûte 5 €, même naïf.";
const POLISH: &str =
    "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni rozumem.";
const TURKISH: &str =
    "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler, ığdır şişli.";
const HEBREW: &str = "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון.";

fn encoded(text: &str, label: &str) -> Vec<u8> {
    let (bytes, _, unmappable) = Encoding::for_label(label.as_bytes()).unwrap().encode(text);
    assert!(!unmappable, "{label}");
    bytes.into_owned()
}

#[test]
fn legacy_sets_are_found_without_a_hint() {
    for (label, name, text) in [
        ("gbk", "gb18030", CHINESE),
        ("gb18030", "gb18030", CHINESE),
        ("big5", "Big5", TRADITIONAL),
        ("shift_jis", "Shift_JIS", JAPANESE),
        ("euc-jp", "EUC-JP", JAPANESE),
        ("iso-2022-jp", "ISO-2022-JP", JAPANESE),
        ("euc-kr", "EUC-KR", KOREAN),
        ("windows-1251", "windows-1251", RUSSIAN),
        ("koi8-u", "KOI8-U", RUSSIAN),
        ("windows-1253", "windows-1253", GREEK),
        ("windows-1252", "windows-1252", FRENCH),
        ("windows-1250", "windows-1250", POLISH),
        ("windows-1254", "windows-1254", TURKISH),
        ("windows-1255", "windows-1255", HEBREW),
    ] {
        let decoded = decode(&encoded(text, label), None);
        assert_eq!((decoded.encoding, decoded.text.as_str()), (name, text));
        assert_eq!(decoded.malformed, 0, "{label}");
        assert!((0.3..0.9).contains(&decoded.confidence), "{label}: {}", decoded.confidence);
        let hinted = decode(&encoded(text, label), Some(label));
        assert_eq!(hinted.text, text);
        assert!(hinted.hint_used && hinted.confidence >= 0.95, "{label}");
    }
}

fn wide(text: &str, bytes_of: fn(u32) -> [u8; 4]) -> Vec<u8> {
    text.chars().flat_map(|character| bytes_of(character as u32)).collect()
}

#[test]
fn unicode_forms_with_and_without_a_mark() {
    for text in [FRENCH, RUSSIAN, CHINESE, "line one\nline two 😀\n"] {
        let utf16 = |mark: &str| -> (Vec<u8>, Vec<u8>) {
            let marked = format!("{mark}{text}");
            let units: Vec<u16> = marked.encode_utf16().collect();
            (
                units.iter().flat_map(|unit| unit.to_le_bytes()).collect(),
                units.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
            )
        };
        let marked = format!("\u{feff}{text}");
        let (little, big) = utf16("\u{feff}");
        for (bytes, name) in [
            (little, "UTF-16LE"),
            (big, "UTF-16BE"),
            (wide(&marked, u32::to_le_bytes), "UTF-32LE"),
            (wide(&marked, u32::to_be_bytes), "UTF-32BE"),
            (marked.clone().into_bytes(), "UTF-8"),
        ] {
            let decoded = decode(&bytes, None);
            assert_eq!((decoded.encoding, decoded.text.as_str()), (name, text));
            assert_eq!((decoded.confidence, decoded.malformed), (1.0, 0));
        }
        assert_eq!(decode(text.as_bytes(), None).encoding, "UTF-8");
        assert_eq!(decode(&wide(text, u32::to_le_bytes), None).text, text);
        assert_eq!(decode(&wide(text, u32::to_be_bytes), None).text, text);
        if text != CHINESE {
            let (little, big) = utf16("");
            assert_eq!(decode(&little, None).text, text);
            assert_eq!(decode(&big, None).text, text);
        }
    }
}

#[test]
fn stronger_evidence_beats_a_hint_and_a_bad_hint_is_not_used() {
    let decoded = decode(CHINESE.as_bytes(), Some("gbk"));
    assert_eq!((decoded.encoding, decoded.hint_used, decoded.text.as_str()), ("UTF-8", false, CHINESE));
    let decoded = decode(CHINESE.as_bytes(), Some("iso-8859-1"));
    assert_eq!((decoded.encoding, decoded.hint_used), ("UTF-8", false));
    // Two characters of GBK that are sound UTF-8 by chance: the famous "联通".
    let gbk = encoded("联通", "gbk");
    assert!(std::str::from_utf8(&gbk).is_err() || decode(&gbk, Some("gbk")).text == "联通");
    let decoded = decode(&encoded(JAPANESE, "shift_jis"), Some("utf-8"));
    assert_eq!((decoded.encoding, decoded.hint_used), ("Shift_JIS", false));
    assert!(!decode(b"plain", Some("no such set")).hint_used);
    assert!(decode(b"plain", Some("latin1")).hint_used);
    assert_eq!(decode(b"plain", None).encoding, "US-ASCII");
    assert_eq!(decode(b"", None).text, "");
}

#[test]
fn damage_is_counted_and_lowers_confidence() {
    let mut bytes = RUSSIAN.repeat(3).into_bytes();
    bytes[40] = 0xFF;
    let decoded = decode(&bytes, None);
    assert_eq!((decoded.encoding, decoded.malformed > 0), ("UTF-8", true));
    assert!(decoded.confidence < 0.8);
    let cut = decode(&[0xFF, 0xFE, 0, 0, b'a', 0, 0, 0, 0, 0, 0x11, 0], None);
    assert_eq!((cut.text.as_str(), cut.malformed), ("a\u{fffd}", 1));
    assert_eq!(decode(b"\xff\xfea\0b", None).malformed, 1);
}
