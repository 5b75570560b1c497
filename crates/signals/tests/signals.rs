//! Rules, recipes, lists, chats, code and Chinese, by documents made for them.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use proptest::prelude::*;
use signals::{
    Limit, MeasureConfig, Recipe, Rule, Scratch, Signals, Turn, UnigramFrequencies, WordList, c4_clean, measure,
    measure_chat, measure_with,
};
use words::Language;

fn reason(recipe: &Recipe, text: &str) -> Option<&'static str> {
    recipe.decide(&measure(text, &recipe.measure_config()).unwrap()).map(|reason| reason.reason)
}

#[test]
fn every_recipe_survives_toml_and_json() {
    for name in Recipe::NAMES {
        let recipe = Recipe::named(name).unwrap();
        assert_eq!(recipe.name, name);
        let toml = toml::to_string(&recipe).unwrap();
        assert_eq!(toml::from_str::<Recipe>(&toml).unwrap(), recipe, "{toml}");
        let json = serde_json::to_string(&recipe).unwrap();
        assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
    }
    let own = "name = 'own'\nlanguage = 'en'\n[[rules]]\nrule = 'gopher_quality'\nwords_min = 5\nwords_max = 'off'\n";
    let own: Recipe = toml::from_str(own).unwrap();
    let Rule::GopherQuality(rule) = &own.rules[0] else { panic!("{own:?}") };
    assert_eq!((rule.words_min, rule.words_max, rule.stop_words_min), (Limit::At(5), Limit::Off, Limit::At(2)));
    assert!(
        toml::from_str::<Recipe>("name = 'x'\nlanguage = 'en'\n[[rules]]\nrule = 'length'\nno_such = 1\n").is_err()
    );
}

#[test]
fn names_and_values_go_together() {
    let signals = measure("One line. # two…\n- three", &MeasureConfig::default()).unwrap();
    let values: Vec<_> = signals.values().collect();
    assert_eq!(values.iter().map(|(name, _)| *name).collect::<Vec<_>>(), Signals::NAMES);
    let value = |wanted: &str| values.iter().find(|(name, _)| *name == wanted).unwrap().1;
    assert_eq!(value("bytes"), Some(26.0));
    assert_eq!(value("characters"), Some(24.0));
    assert_eq!(value("lines"), Some(2.0));
    assert_eq!(value("bullet_lines_ratio"), Some(0.5));
    assert_eq!(value("perplexity"), None);
}

#[test]
fn c4_changes_the_text_and_says_what_it_took() {
    let text =
        "Home\nThis is a line of text[1] that stays. \nWe use cookies to track you.\n\nAnd this \"stays\"[edit] too.";
    let mut scratch = Scratch::default();
    let clean = c4_clean(text, &MeasureConfig::default().c4, Language::English, &mut scratch).unwrap().unwrap();
    assert_eq!(clean.text, "This is a line of text that stays.\nAnd this \"stays\" too.");
    let removed: Vec<(usize, &str)> = clean.removed.iter().map(|(line, reason)| (*line, reason.name())).collect();
    assert_eq!(removed, [(0, "no_terminal_punc"), (2, "policy"), (3, "no_terminal_punc")]);
    let dropped =
        c4_clean("int f() { return 1; } is code.", &MeasureConfig::default().c4, Language::English, &mut scratch);
    assert_eq!(dropped.unwrap(), None);
}

#[test]
fn chats_are_judged_by_their_turns() {
    let recipe = Recipe::chat();
    let judge = |turns: &[(&str, &str)]| {
        let turns: Vec<Turn<'_>> = turns.iter().map(|(role, content)| Turn { role, content }).collect();
        let signals = measure_chat(&turns, &recipe.measure_config(), &mut Scratch::default()).unwrap();
        recipe.decide(&signals).map(|reason| reason.reason)
    };
    let question = ("user", "What is the capital of France?");
    assert_eq!(judge(&[("system", "Be brief."), question, ("assistant", "Paris.")]), None);
    assert_eq!(judge(&[question]), Some("too_few_turns"));
    assert_eq!(judge(&[question, ("assistant", " \n")]), Some("empty_turn"));
    assert_eq!(judge(&[question, ("narrator", "He thinks.")]), Some("unknown_role"));
    assert_eq!(judge(&[question, question, ("assistant", "Paris.")]), Some("roles_out_of_order"));
    assert_eq!(judge(&[question, ("system", "Be brief."), ("assistant", "Paris.")]), Some("roles_out_of_order"));
    assert_eq!(judge(&[question, ("assistant", "Paris."), ("user", "Thanks")]), Some("no_last_answer"));
    assert_eq!(judge(&[question, ("assistant", "I’m sorry, but I can’t help with that.")]), Some("refusal"));
    assert_eq!(judge(&[question, ("assistant", "很抱歉，我无法回答。")]), Some("refusal"));
    let again = [question, ("assistant", "Paris."), ("user", "Sure?"), ("assistant", "Paris.")];
    assert_eq!(judge(&again), Some("repeated_answer"));
    let tool = [question, ("assistant", "{call}"), ("tool", "Paris"), ("assistant", "It is Paris.")];
    assert_eq!(judge(&tool), None);
}

#[test]
fn code_is_judged_by_its_lines() {
    let recipe = Recipe::code();
    assert_eq!(reason(&recipe, "fn main() {\n    println!(\"hello\");\n}\n"), None);
    assert_eq!(reason(&recipe, ""), Some("empty"));
    assert_eq!(reason(&recipe, &format!("let x = \"{}\";\n", "a".repeat(1200))), Some("long_line"));
    assert_eq!(reason(&recipe, &"let x = a + b; ".repeat(10)), Some("long_lines"));
    assert_eq!(reason(&recipe, "{}();\n[]{}();\n+-*/=<>!?\n"), Some("too_few_alphanumeric"));
    assert_eq!(reason(&recipe, "// Code generated by protoc. DO NOT EDIT.\npackage x\n"), Some("autogenerated"));
}

#[test]
fn chinese_is_judged_by_characters() {
    let recipe = Recipe::zh();
    let good = "春天来了，公园里的花都开了，人们在湖边散步，孩子们在草地上放风筝。我和朋友约好了周末去爬山，\
                听说山上的风景很美，可以看到整个城市。回来的路上，我们会去那家有名的面馆吃饭，他家的牛肉面是我最喜欢的。";
    assert_eq!(reason(&recipe, good), None);
    assert_eq!(reason(&recipe, &good[..90]), Some("too_short"));
    assert_eq!(
        reason(&recipe, "The quick brown fox jumps over a lazy dog, while seven wizards quietly mix up potions."),
        Some("too_few_han")
    );
    assert_eq!(reason(&recipe, &format!("{good}\n\n").repeat(4)), Some("dup_para_frac"));
    assert_eq!(reason(&recipe, &good.replace(['，', '。'], "")), Some("too_little_punctuation"));
    let nouns: String = ('\u{5c0f}'..'\u{5d0f}').step_by(2).collect();
    assert_eq!(
        reason(&recipe, &format!("{nouns}，{nouns}。").replace(&nouns[..9], "，")),
        Some("too_few_stop_characters")
    );
}

#[test]
fn lists_find_whole_words_or_parts() {
    let whole = WordList::new("bad", ["darn", " heck ", "", "what the"], true).unwrap();
    assert_eq!(whole.count("Darn! darned heckler, What the HECK"), 3);
    assert_eq!(whole.count("_darn darn_ 1darn"), 0);
    let parts = WordList::new("坏", ["坏话", "骂人"], false).unwrap();
    assert_eq!(parts.count("他说坏话骂人了"), 2);
    assert!(WordList::new("none", ["", "  "], true).is_err());
    let config = MeasureConfig { word_lists: vec![whole.into()], ..MeasureConfig::default() };
    let rule: Rule = serde_json::from_str(r#"{"rule": "word_list"}"#).unwrap();
    let decide = |text: &str| rule.decide(&measure(text, &config).unwrap()).map(|reason| reason.reason);
    assert_eq!(decide("Oh heck."), Some("document_removed_with_badwords"));
    assert_eq!(decide("Oh well."), None);
}

#[test]
fn unigrams_have_datatroves_mean() {
    // ln(3/4), ln(1/4) and ln(1e-9) for a word not in the list; the full stop is a word as well.
    let frequencies = UnigramFrequencies::new([("the", 3), ("cat", 1)]);
    let mean = frequencies.mean_log_probability(["The", "cat", "."].into_iter());
    let wanted = (0.75f64.ln() + 0.25f64.ln() + 1e-9f64.ln()) / 3.0;
    assert!((mean - wanted).abs() < 1e-12);
    assert_eq!(frequencies.mean_log_probability([].into_iter()), 0.0);
}

/// The peer's own way, word for word, on words that need no tokenizer.
fn slow_repetition(words: &[&str], characters: usize) -> Vec<f64> {
    let mut out = Vec::new();
    for n in 2..=4 {
        let grams: Vec<String> = words.windows(n).map(|run| run.join(" ")).collect();
        let mut best = (0, 0);
        for gram in &grams {
            let count = grams.iter().filter(|other| *other == gram).count();
            if count > best.0 {
                best = (count, gram.len());
            }
        }
        out.push((best.0 * best.1) as f64 / characters as f64);
    }
    for n in 5..=10 {
        let (mut seen, mut at, mut repeated) = (std::collections::HashSet::new(), 0, 0);
        while at + n <= words.len() {
            let gram = words[at..at + n].concat();
            if seen.contains(&gram) {
                repeated += gram.len();
                at += n;
            } else {
                seen.insert(gram);
                at += 1;
            }
        }
        out.push(repeated as f64 / characters as f64);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn repetition_equals_the_slow_way(choice in prop::collection::vec(0usize..7, 0..120)) {
        let words: Vec<&str> = choice.iter().map(|word| ["x", "xx", "yx", "longerword", "y", "verylongwordindeed", "xy"][*word]).collect();
        let text = words.join(" ");
        let signals = measure(&text, &MeasureConfig::default()).unwrap();
        let mine = [
            signals.top_2_gram_ratio, signals.top_3_gram_ratio, signals.top_4_gram_ratio,
            signals.duplicate_5_gram_ratio, signals.duplicate_6_gram_ratio, signals.duplicate_7_gram_ratio,
            signals.duplicate_8_gram_ratio, signals.duplicate_9_gram_ratio, signals.duplicate_10_gram_ratio,
        ];
        if !text.is_empty() {
            prop_assert_eq!(mine.to_vec(), slow_repetition(&words, text.len()));
        }
    }

    #[test]
    fn any_text_is_measured_the_same_with_used_buffers(texts in prop::collection::vec("\\PC{0,30}|[a-c\\n\\r .{\\[\\]1•…\\u{2028}-]{0,80}", 1..6)) {
        let mut scratch = Scratch::default();
        for name in Recipe::NAMES {
            let recipe = Recipe::named(name).unwrap();
            let config = recipe.measure_config();
            for text in &texts {
                let used = measure_with(text, &config, &mut scratch).unwrap();
                prop_assert_eq!(&used, &measure(text, &config).unwrap());
                recipe.decide(&used);
                for (name, value) in used.values() {
                    prop_assert!(value.is_none_or(|value| value.is_finite() && value >= 0.0), "{} {:?}", name, value);
                }
                c4_clean(text, &config.c4, config.language, &mut scratch).unwrap();
            }
        }
    }
}
