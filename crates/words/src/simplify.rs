//! Text made comparable before near-duplicates are looked for: datatrove's `simplify_text` with its defaults.

use unicode_normalization::UnicodeNormalization;

use crate::classes::{Classes, DIGIT, ERASED, MARK, SPACE, classes};

/// Lower case, each number a `0`, punctuation and white space one blank, accents off.
pub fn simplify(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    simplify_into(text, &mut out);
    out
}

/// [`simplify`] into a buffer that is used again.
pub fn simplify_into(text: &str, out: &mut String) {
    out.clear();
    if text.is_ascii() {
        return simplify_ascii(text, out);
    }
    let classes = classes();
    let lower = text.to_lowercase();
    let mut blank = true;
    let mut rest = lower.chars();
    let mut spaced = String::with_capacity(lower.len());
    while let Some(mut character) = rest.next() {
        if classes.is(character, DIGIT) {
            rest = after_number(rest, classes);
            character = '0';
        }
        if classes.is(character, SPACE | ERASED) {
            if !blank {
                spaced.push(' ');
            }
            blank = true;
        } else {
            spaced.push(character);
            blank = false;
        }
    }
    out.extend(spaced.nfd().filter(|character| !classes.is(*character, MARK)));
    let kept = crate::strip(out).len();
    let lead = out.len() - crate::strip_start(out).len();
    out.truncate(lead + kept);
    out.drain(..lead);
}

/// Behind the number whose first digit was taken: digits, and once a decimal sign with digits.
fn after_number<'a>(mut rest: std::str::Chars<'a>, classes: &Classes) -> std::str::Chars<'a> {
    let digits = |rest: &mut std::str::Chars<'a>| {
        let mut count = 0;
        while rest.clone().next().is_some_and(|character| classes.is(character, DIGIT)) {
            rest.next();
            count += 1;
        }
        count
    };
    digits(&mut rest);
    let mut fraction = rest.clone();
    if fraction.next().is_some_and(|sign| matches!(sign, '.' | ',' | '،' | '٫' | '⎖' | '⎗' | '⎘'))
        && digits(&mut fraction) > 0
    {
        return fraction;
    }
    rest
}

fn simplify_ascii(text: &str, out: &mut String) {
    let classes = classes();
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut blank = true;
    while at < bytes.len() {
        let byte = bytes[at];
        at += 1;
        if byte.is_ascii_digit() {
            at += digits(&bytes[at..]);
            if matches!(bytes.get(at), Some(b'.' | b',')) {
                let fraction = digits(&bytes[at + 1..]);
                at += if fraction > 0 { fraction + 1 } else { 0 };
            }
            out.push('0');
            blank = false;
        } else if classes.of_byte(byte) & (SPACE | ERASED) != 0 {
            if !blank {
                out.push(' ');
            }
            blank = true;
        } else {
            out.push(char::from(byte.to_ascii_lowercase()));
            blank = false;
        }
    }
    if out.ends_with(' ') {
        out.pop();
    }
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}
