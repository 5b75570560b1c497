//! The heuristic that tells mojibake from clean text: which characters hardly ever stand side by side.
//! The rules are those of ftfy 6.3.1 (Apache-2.0; `badness.py`, by Robyn Speer), one regular expression
//! of 37 alternatives there. Here they are looked up around the few characters that every match must
//! hold (`is_bad`), and once more as plain rules in ftfy's order (`badness`), which the tests compare.

use crate::scan;
use crate::tables::{
    BAD, BOX, C1, CATEGORIES, COMMON, CURRENCY, END, KAOMOJI, LAW, LOWER_ACCENTED, LOWER_COMMON, NUMERIC, START,
    SUSPECT, Table, UPPER_ACCENTED, UPPER_COMMON,
};

/// What must not follow a character of each category, by the category's bit.
const FOLLOWERS: [u32; CATEGORIES as usize] = [
    0,                                                                                        // C1: bad by itself
    BAD | LOWER_ACCENTED | UPPER_ACCENTED | BOX | START | END | CURRENCY | NUMERIC | LAW,     // BAD
    BAD | UPPER_ACCENTED | CURRENCY | BOX,                                                    // LOWER_ACCENTED
    BAD | NUMERIC | LAW | BOX,                                                                // UPPER_ACCENTED
    BAD | UPPER_ACCENTED | LOWER_ACCENTED | CURRENCY | NUMERIC | LAW | START | KAOMOJI | END, // BOX
    BAD | BOX,                                                                                // START
    BAD | UPPER_ACCENTED | LOWER_ACCENTED | CURRENCY | BOX,                                   // END
    BAD | UPPER_ACCENTED | LOWER_ACCENTED | START | BOX,                                      // CURRENCY
    BAD | UPPER_ACCENTED | LOWER_ACCENTED | START | BOX,                                      // NUMERIC
    BAD | BOX,                                                                                // LAW
    UPPER_ACCENTED,                                                                           // LOWER_COMMON
    0,                                                                                        // UPPER_COMMON
    0,                                                                                        // KAOMOJI
    0,                                                                                        // COMMON
];

/// A character with its flags; NUL without flags where there is none.
type Seen = (char, u32);
const NOTHING: Seen = ('\0', 0);

fn followers(flags: u32) -> u32 {
    let mut rest = flags & ((1 << CATEGORIES) - 1);
    let mut all = 0;
    while rest != 0 {
        all |= FOLLOWERS[rest.trailing_zeros() as usize];
        rest &= rest - 1;
    }
    all
}

/// `\w` of Python's `re`: letters, digits and other numbers, but no marks.
fn is_word(character: char) -> bool {
    let circled =
        matches!(character as u32, 0x24B6..=0x24E9 | 0x1F130..=0x1F149 | 0x1F150..=0x1F169 | 0x1F170..=0x1F189);
    character == '_'
        || (character.is_alphanumeric() && !circled && !unicode_normalization::char::is_combining_mark(character))
}

/// `\s` of Python's `re`, which counts the information separators in.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

/// After a misread 0xC2, 0xC3, 0xCE or 0xD0 in windows-1252, beyond what the categories say.
fn after_lead(character: char, flags: u32) -> bool {
    flags & (START | END) != 0 || "€œŠš¢£Ÿž\u{a0}\u{ad}®©°·»–—´".contains(character)
}

/// Within Arabic read as windows-1252.
fn after_arabic_lead(character: char, flags: u32) -> bool {
    flags & (COMMON | CURRENCY | BAD | NUMERIC | START) != 0 || "ŸŠ®°µ»".contains(character)
}

/// Whether a text looks like mojibake: exactly when ftfy's `is_bad` says so.
pub fn is_bad(text: &str) -> bool {
    is_bad_with(Table::get(), text)
}

pub(crate) fn is_bad_with(table: &Table, text: &str) -> bool {
    let mut at = 0;
    while let Some((position, code, length, flags)) = scan::find(table, text.as_bytes(), at, SUSPECT) {
        let character = char::from_u32(code).unwrap_or('\0');
        if bad_around(table, text, position, position + length, (character, flags)) {
            return true;
        }
        at = position + length;
    }
    false
}

/// Whether a rule holds that the suspect character between `start` and `end` takes part in. Rules
/// that begin at an earlier suspect have been tried there.
fn bad_around(table: &Table, text: &str, start: usize, end: usize, here: Seen) -> bool {
    let (character, flags) = here;
    if flags & C1 != 0 {
        return true;
    }
    let see = |character: char| (character, table.flags(character as u32));
    let mut forward = text[end..].chars();
    if let Some(next) = forward.next().map(see) {
        if next.1 & followers(flags) != 0 {
            return true;
        }
        if !next.0.is_ascii() || next.0 == ' ' || matches!(character, 'Œ' | 'œ') {
            let third = forward.clone().next().map_or(NOTHING, see);
            if bad_triple(here, next, third) || arabic(here, next, forward, table) {
                return true;
            }
        }
        if flags & UPPER_ACCENTED != 0 && bad_before_pair(text, start, here, next, table) {
            return true;
        }
    }
    bad_before(table, text, start, end, here)
}

/// Rules of two or three characters that begin with this one.
fn bad_triple(first: Seen, second: Seen, third: Seen) -> bool {
    let ((a, a_flags), (b, b_flags)) = (first, second);
    let accented = LOWER_ACCENTED | UPPER_ACCENTED;
    (a_flags & (accented | BOX | CURRENCY | END) != 0 && b_flags & START != 0 && third.1 & NUMERIC != 0)
        || (a_flags & (accented | CURRENCY | NUMERIC | BOX | LAW) != 0 && b_flags & END != 0 && third.1 & START != 0)
        || (a_flags & accented != 0 && b_flags & (START | END) != 0 && third != NOTHING && is_word(third.0))
        || (a_flags & UPPER_ACCENTED != 0 && b == '°')
        || bad_literal(a, b, b_flags, third)
}

/// Rules about single characters.
fn bad_literal(a: char, b: char, b_flags: u32, third: Seen) -> bool {
    match a {
        'Œ' | 'œ' => !b.is_ascii_alphabetic(),
        'Â' | 'Ã' | 'Î' | 'Ð' => after_lead(b, b_flags) || (a == 'Ã' && matches!(b, '\u{a0}' | '¡')),
        '×' => matches!(b, '²' | '³'),
        'à' => "²µ¹¼½¾".contains(b),
        '√' => "±∂†≠®™´≤≥¥µø".contains(b),
        '≈' => matches!(b, '°' | '¢'),
        '‚' => {
            (b == 'Ä' && third != NOTHING && "ìîïòôúùû†°¢π".contains(third.0))
                || (matches!(b, 'â' | 'ó') && third != NOTHING && "àä°ê".contains(third.0))
        }
        'ā' => b == '€',
        _ => false,
    }
}

/// Twice a lead and a follower of Arabic.
fn arabic(first: Seen, second: Seen, mut rest: std::str::Chars<'_>, table: &Table) -> bool {
    let lead = |character: char| matches!(character, 'Ø' | 'Ù');
    let follows = |character: char| after_arabic_lead(character, table.flags(character as u32));
    lead(first.0)
        && after_arabic_lead(second.0, second.1)
        && rest.next().is_some_and(lead)
        && rest.next().is_some_and(follows)
}

/// Rules about an accented capital between what precedes and what follows it.
fn bad_before_pair(text: &str, start: usize, here: Seen, next: Seen, table: &Table) -> bool {
    let mut backward = text[..start].chars();
    let Some(before) = backward.next_back() else {
        return matches!(here.0, 'Â' | 'Ã') && next.0 == ' ';
    };
    let small = before.is_ascii_lowercase();
    if (is_space(before) && next.1 & CURRENCY != 0) || (small && next.1 & (START | CURRENCY) != 0) {
        return true;
    }
    if next.0 == ' ' && matches!(here.0, 'Â' | 'Ã') {
        let apart = is_space(before) && backward.next_back().is_some_and(|c| c.is_ascii_lowercase());
        if small || apart {
            return true;
        }
    }
    let closes = small || matches!(before, '.' | ',' | '?' | '!') || table.flags(before as u32) & END != 0;
    here.0 == 'Â' && closes && (next.0 == ' ' || next.1 & (START | END) != 0)
}

/// Rules that begin before this character with one that is no suspect.
fn bad_before(table: &Table, text: &str, start: usize, end: usize, here: Seen) -> bool {
    let (character, flags) = here;
    if flags & (BAD | UPPER_ACCENTED | START | END | CURRENCY) == 0 && !matches!(character, '°' | 'µ' | 'Ђ') {
        return false;
    }
    let mut backward = text[..start].chars();
    let Some(before) = backward.next_back() else { return false };
    if before.is_ascii() {
        return false;
    }
    let before_flags = table.flags(before as u32);
    if flags & UPPER_ACCENTED != 0 && before_flags & LOWER_COMMON != 0 {
        return true;
    }
    if flags & BAD != 0
        && before_flags & (LOWER_COMMON | UPPER_COMMON) != 0
        && backward.clone().next_back().is_some_and(|c| c.is_ascii_alphabetic())
    {
        return true;
    }
    let mut forward = text[end..].chars();
    let next = forward.next();
    if character == 'Ђ' {
        return before == 'в' || (before == 'В' && next == Some('В') && twice_misread(backward, forward));
    }
    if character == '€' && before == 'β' && next.is_some_and(|c| "™\u{a0}Ά\u{ad}®°".contains(c)) {
        return true;
    }
    let between = flags & (BAD | START | END | CURRENCY) != 0 || character == '°';
    let either = |letters: &str| letters.contains(before) && next.is_some_and(|c| letters.contains(c));
    (between || character == 'µ') && either("ВГРС") || (between && either("ΒΓΞΟ"))
}

/// The rest of `ГўВЂВ.[A-Za-z ]` around its middle.
fn twice_misread(mut backward: std::str::Chars<'_>, mut forward: std::str::Chars<'_>) -> bool {
    backward.next_back() == Some('ў')
        && backward.next_back() == Some('Г')
        && forward.next().is_some_and(|c| c != '\n')
        && forward.next().is_some_and(|c| c == ' ' || c.is_ascii_alphabetic())
}

/// One place of a rule.
enum Place {
    /// A character with one of the flags, or one of the characters.
    In(u32, &'static str),
    /// `[a-zA-Z]`, with the characters.
    Letter(&'static str),
    /// `[a-z]`, or with one of the flags, or one of the characters.
    Small(u32, &'static str),
    /// Anything but `[A-Za-z]`.
    NoLetter,
    /// `\s`.
    Space,
    /// `\s?`.
    MaybeSpace,
    /// `\w`.
    Word,
    /// Anything but a line feed.
    Any,
    /// `^`.
    Start,
}

const ACCENTED: u32 = LOWER_ACCENTED | UPPER_ACCENTED;
const SIGNS: u32 = ACCENTED | BOX | START | END | CURRENCY | NUMERIC | LAW;
const ARABIC: u32 = COMMON | CURRENCY | BAD | NUMERIC | START;
const MISREAD: u32 = C1 | BAD | START | END | CURRENCY;

/// The rules in ftfy's order.
#[rustfmt::skip]
const RULES: &[&[Place]] = {
    use Place::{Any, In, Letter, MaybeSpace, NoLetter, Small, Space, Start as Begin, Word};
    &[
        &[In(C1, "")],
        &[In(BAD | SIGNS, ""), In(BAD, "")],
        &[Letter(""), In(LOWER_COMMON | UPPER_COMMON, ""), In(BAD, "")],
        &[In(BAD, ""), In(SIGNS, "")],
        &[In(LOWER_ACCENTED | LOWER_COMMON | BOX | END | CURRENCY | NUMERIC, ""), In(UPPER_ACCENTED, "")],
        &[In(BOX | END | CURRENCY | NUMERIC, ""), In(LOWER_ACCENTED, "")],
        &[In(LOWER_ACCENTED | BOX | END, ""), In(CURRENCY, "")],
        &[Space, In(UPPER_ACCENTED, ""), In(CURRENCY, "")],
        &[In(UPPER_ACCENTED | BOX, ""), In(NUMERIC | LAW, "")],
        &[In(ACCENTED | BOX | CURRENCY | END, ""), In(START, ""), In(NUMERIC, "")],
        &[In(ACCENTED | CURRENCY | NUMERIC | BOX | LAW, ""), In(END, ""), In(START, "")],
        &[In(CURRENCY | NUMERIC | BOX, ""), In(START, "")],
        &[Small(0, ""), In(UPPER_ACCENTED, ""), In(START | CURRENCY, "")],
        &[In(BOX, ""), In(KAOMOJI, "")],
        &[In(ACCENTED | CURRENCY | NUMERIC | START | END | LAW, ""), In(BOX, "")],
        &[In(BOX, ""), In(END, "")],
        &[In(ACCENTED, ""), In(START | END, ""), Word],
        &[In(0, "Œœ"), NoLetter],
        &[In(UPPER_ACCENTED, ""), In(0, "°")],
        &[In(0, "ÂÃÎÐ"), In(START | END, "€œŠš¢£Ÿž\u{a0}\u{ad}®©°·»–—´")],
        &[In(0, "×"), In(0, "²³")],
        &[In(0, "ØÙ"), In(ARABIC, "ŸŠ®°µ»"), In(0, "ØÙ"), In(ARABIC, "ŸŠ®°µ»")],
        &[In(0, "à"), In(0, "²µ¹¼½¾")],
        &[In(0, "√"), In(0, "±∂†≠®™´≤≥¥µø")],
        &[In(0, "≈"), In(0, "°¢")],
        &[In(0, "‚"), In(0, "Ä"), In(0, "ìîïòôúùû†°¢π")],
        &[In(0, "‚"), In(0, "âó"), In(0, "àä°ê")],
        &[In(0, "в"), In(0, "Ђ")],
        &[In(0, "ВГРС"), In(MISREAD, "°µ"), In(0, "ВГРС")],
        &[In(0, "Г"), In(0, "ў"), In(0, "В"), In(0, "Ђ"), In(0, "В"), Any, Letter(" ")],
        &[In(0, "Ã"), In(0, "\u{a0}¡")],
        &[Small(0, ""), MaybeSpace, In(0, "ÃÂ"), In(0, " ")],
        &[Begin, In(0, "ÃÂ"), In(0, " ")],
        &[Small(END, ".,?!"), In(0, "Â"), In(START | END, " ")],
        &[In(0, "β"), In(0, "€"), In(0, "™\u{a0}Ά\u{ad}®°")],
        &[In(0, "ΒΓΞΟ"), In(MISREAD, "°"), In(0, "ΒΓΞΟ")],
        &[In(0, "ā"), In(0, "€")],
    ]
};

/// How many unlikely sequences a text holds, as ftfy's `badness` counts them: leftmost first and not
/// overlapping. More than 0 exactly when [`is_bad`].
pub fn badness(text: &str) -> usize {
    let table = Table::get();
    let seen: Vec<Seen> = text.chars().map(|c| (c, table.flags(c as u32))).collect();
    let (mut at, mut count) = (0, 0);
    while at < seen.len() {
        let length = RULES.iter().find_map(|rule| rule_length(rule, &seen, at));
        count += usize::from(length.is_some());
        at += length.unwrap_or(1);
    }
    count
}

/// How many characters a rule takes up at `at`, if it holds there.
fn rule_length(rule: &[Place], seen: &[Seen], at: usize) -> Option<usize> {
    let mut end = at;
    for place in rule {
        let here = seen.get(end).copied();
        match place {
            Place::Start if at == 0 => continue,
            Place::MaybeSpace if here.is_none_or(|(c, _)| !is_space(c)) => continue,
            _ => {}
        }
        let (character, flags) = here?;
        let holds = match place {
            Place::In(any, literal) => flags & any != 0 || literal.contains(character),
            Place::Letter(literal) => character.is_ascii_alphabetic() || literal.contains(character),
            Place::Small(any, literal) => {
                character.is_ascii_lowercase() || flags & any != 0 || literal.contains(character)
            }
            Place::NoLetter => !character.is_ascii_alphabetic(),
            Place::Space | Place::MaybeSpace => is_space(character),
            Place::Word => is_word(character),
            Place::Any => character != '\n',
            Place::Start => false,
        };
        if !holds {
            return None;
        }
        end += 1;
    }
    Some(end - at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Characters the rules speak of, and some they don't.
    fn suspects() -> impl Strategy<Value = String> {
        let table = Table::get();
        let pool: Vec<char> = (0x20..0x10000u32)
            .filter_map(char::from_u32)
            .filter(|c| table.flags(*c as u32) & ((1 << CATEGORIES) - 1) != 0)
            .chain("abz AZ.,?!\n\t_1 °中é  ВГРСΒΓΞΟØÙÂÃ√≈‚βā€вЂГўœ".chars())
            .collect();
        let arabic = "[ØÙ…„ a°µ†]{3,9}";
        let short = "[ÂÃÎÐØÙà√≈‚Äâóβā€œ×в ЂВГРСΒΓΞΟўa-cZ.²°µ™¡®\u{a0}]{0,9}";
        prop_oneof![
            proptest::collection::vec(proptest::sample::select(pool), 0..6).prop_map(String::from_iter),
            short,
            arabic
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn the_fast_way_says_what_the_rules_say(text in suspects()) {
            prop_assert_eq!(is_bad(&text), badness(&text) > 0, "{:?}", text);
        }
    }

    #[test]
    fn the_longest_rule_holds_only_with_a_latin_letter_after_it() {
        assert!(is_bad("ГўВЂВ\u{ae}x"));
        assert_eq!(badness("вЂ вЂ"), 2);
        assert!(!is_bad("ГўВЂ"));
    }
}
