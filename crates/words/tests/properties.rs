//! What holds for any text.

use proptest::prelude::*;
use words::{Language, Token, TokenKind, classes, lines, sentences, simplify, strip, tokenize};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn tokens_are_in_order_and_miss_only_blanks(text in "\\PC{0,40}|[a-cS5'’.,:;()\\-+…$ \\n\\u{a0}é中]{0,60}") {
        for language in [Language::English, Language::Neutral, Language::Unspaced] {
            let mut tokens: Vec<Token> = Vec::new();
            tokenize(&text, language, &mut tokens).unwrap();
            let mut at = 0;
            for token in &tokens {
                let gap = &text[at..token.start as usize];
                prop_assert!(gap.is_empty() || gap == " ", "{gap:?} lost in {text:?}");
                prop_assert!(token.end > token.start);
                let piece = token.of(&text);
                let space = piece.chars().all(|c| classes().is(c, words::SPACE));
                prop_assert_eq!(space, token.kind == TokenKind::Space);
                prop_assert_eq!(
                    token.kind == TokenKind::Plain, piece.bytes().all(|byte| byte.is_ascii_alphanumeric()));
                at = token.end as usize;
            }
            prop_assert!(text[at..].is_empty() || &text[at..] == " ");
            prop_assert_eq!(sentences(&text, language).concat(), text.clone());
        }
    }

    #[test]
    fn lines_keep_every_character_but_their_ends(text in "[a\\n\\r\\u{b}\\u{85}\\u{2028} é]{0,30}") {
        let kept: String = lines(&text).collect();
        let wanted: String = text.chars().filter(|c| !matches!(c, '\n' | '\r' | '\u{b}' | '\u{85}' | '\u{2028}')).collect();
        prop_assert_eq!(kept, wanted);
    }

    #[test]
    fn simple_text_is_stripped_and_ascii_agrees_with_the_rest(text in "[ -~\\t\\n]{0,60}") {
        let simple = simplify(&text);
        prop_assert_eq!(strip(&simple), simple.as_str());
        // An ideograph behind forces the way of non-ASCII text.
        let other = simplify(&format!("{text} 中"));
        prop_assert_eq!(other, format!("{simple} 中").trim_start().to_owned());
    }
}

#[test]
fn characters_are_words_where_there_are_no_spaces() {
    let mut out = Vec::new();
    words::for_each_word("我用GPT-4o，very好。カナ", Language::Unspaced, |word| out.push(word));
    assert_eq!(out, ["我", "用", "GPT-4o", "，", "very", "好", "。", "カ", "ナ"]);
}
