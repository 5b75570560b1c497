#![allow(dead_code, clippy::print_stdout, clippy::unwrap_used, reason = "tests; each file of them uses its own part")]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tokenizer::Tokenizer;

pub type Oracle = tokenizers::Tokenizer;

pub const NASTY: &[&str] = &[
    "",
    " ",
    "\n",
    "a",
    "Hello, world!",
    " leading and  double   spaces ",
    "tabs\tand\r\nlines\n\n\nend\n",
    "I'm you'LL we'ſ D'",
    "床前明月光，疑是地上霜。舉頭望明月，低頭思故鄉。",
    "中文English混排123个字",
    "カタカナ・ひらがな゛がぎ",
    "한국어 텍스트",
    "👩‍👩‍👧‍👦 family 👍🏽 flags 🇨🇳🇩🇪",
    "zero\u{200b}width\u{200d}joiner\u{feff}bom",
    "e\u{301}le\u{300}ve É café ŉ ﬁ ½ ² Ⅷ",
    "<|endoftext|> in <|endoftext|>text<|endoftext|>",
    "<unk><s> </s>[CLS] [SEP][MASK]hi",
    "[cls]",
    "1234567890 3.14159 1,000,000 ٣٤٥",
    "def f(x):\n    return x**2  # comment\n\tif (a&&b)||!c{}",
    "https://example.com/path?q=1&r=%20#frag",
    "\u{0}\u{1}\u{7f}\u{80}\u{85}\u{a0}\u{ad}",
    "\u{3000}ideographic\u{3000}space\u{2028}sep\u{2029}",
    "▁▁mark▁in▁text ▁",
    "Ġalphabet ĊĠ",
    "ÀÉÎõü ÅÅ ẞß İı Ǆǅ",
    "\u{1f469}\u{fffd}\u{10ffff}\u{e000}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ไทย العربية עברית हिन्दी தமிழ் Ελληνικά кириллица",
    "－全角ＡＢＣ１２３！",
    "\r\r\n \r x",
    "'s 't 're",
    "don't can't won't it's",
];

pub fn nasty_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[a-zA-Z]{1,8}", 4 => " {1,3}", 1 => "[\r\n\t]{1,3}", 1 => "[0-9]{1,5}", 1 => "'(s|LL|ſ|re|t)",
        2 => "[的一是不了人我在有他床前明月光カーが・]{1,6}", 2 => "[.,!?_=<>/|{}()-]{1,3}", 1 => any::<char>().prop_map(String::from),
        1 => "[\u{301}\u{200b}\u{a0}\u{3000}\u{85}\u{2028}½²٣👍🏽▁Ġ\u{ac00}\u{1100}\u{1161}]{1,3}",
        1 => Just("<|endoftext|>".to_owned()), 1 => Just("</s>".to_owned()), 1 => Just("[SEP]".to_owned()),
    ];
    proptest::collection::vec(part, 0..16).prop_map(|parts| parts.concat())
}

/// Holds a text's numbers, and the way back, to Hugging Face's.
pub fn same(ours: &Tokenizer, theirs: &Oracle, text: &str) {
    for special in [false, true] {
        let mut ids = vec![7];
        ours.encode(text, special, &mut ids).unwrap();
        let wanted = theirs.encode_fast(text, special).unwrap();
        assert_eq!(&ids[1..], wanted.get_ids(), "{text:?}, special tokens: {special}");
        for skip in [false, true] {
            assert_eq!(ours.decode(&ids[1..], skip).unwrap(), theirs.decode(&ids[1..], skip).unwrap(), "{text:?}");
        }
    }
}

/// A corpus that is always there: this crate's sources, and some of every script.
pub fn corpus() -> Vec<String> {
    let mut texts: Vec<String> = NASTY.iter().map(|text| (*text).to_owned()).collect();
    for folder in ["src", "src/model", "src/train", "src/split"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut files: Vec<PathBuf> = folder.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        let files = files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
        texts.extend(files.map(|path| std::fs::read_to_string(path).unwrap()));
    }
    texts
}

/// A file beside the project, where it lies there.
pub fn beside(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(path);
    if !path.exists() {
        println!("skipped: there is no {}", path.display());
        return None;
    }
    Some(path)
}
