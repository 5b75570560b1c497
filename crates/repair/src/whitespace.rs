//! Whitespace and invisible characters: what ftfy leaves alone and a corpus often does not want.

use crate::config::{Invisible, Whitespace};

/// Spaces other than U+0020.
fn is_unusual_space(character: char) -> bool {
    matches!(character, '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}')
}

fn is_invisible(character: char, kinds: Invisible) -> bool {
    match character {
        '\u{AD}' | '\u{180E}' | '\u{200B}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}' => kinds != Invisible::Keep,
        '\u{61C}' | '\u{200C}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => {
            kinds == Invisible::All
        }
        _ => false,
    }
}

/// Whether a byte can begin one of the characters this file is about beyond ASCII.
fn may_matter(byte: u8) -> bool {
    matches!(byte, 0xC2 | 0xD8 | 0xE1 | 0xE2 | 0xE3 | 0xEF)
}

/// Removes invisible characters; `None` where there are none.
pub(crate) fn remove_invisible(text: &str, kinds: Invisible) -> Option<String> {
    if kinds == Invisible::Keep || text.is_ascii() || !text.bytes().any(may_matter) {
        return None;
    }
    let first = text.char_indices().find(|(_, character)| is_invisible(*character, kinds))?.0;
    let mut out = String::with_capacity(text.len());
    out.push_str(&text[..first]);
    out.extend(text[first..].chars().filter(|character| !is_invisible(*character, kinds)));
    Some(out)
}

/// Changes whitespace as configured; `None` where nothing changes.
pub(crate) fn fix_whitespace(text: &str, config: &Whitespace) -> Option<String> {
    if *config == Whitespace::default() {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut blank_lines = 0;
    for line in text.split_inclusive('\n') {
        let (body, line_feed) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
        if body.trim().is_empty() {
            blank_lines += 1;
            if !line_feed.is_empty() && config.blank_lines_max.is_some_and(|most| blank_lines > most) {
                continue;
            }
        } else {
            blank_lines = 0;
        }
        let start = out.len();
        push_line(&mut out, body, config);
        if config.trim_lines {
            let kept = out[start..].trim_end().len();
            out.truncate(start + kept);
        }
        out.push_str(line_feed);
    }
    if config.trim {
        out.truncate(out.trim_end().len());
        let leading = out.len() - out.trim_start().len();
        out.drain(..leading);
    }
    (out != text).then_some(out)
}

fn push_line(out: &mut String, body: &str, config: &Whitespace) {
    if !config.fold && (!config.plain || !body.bytes().any(may_matter)) {
        return out.push_str(body);
    }
    let mut in_run = false;
    for character in body.chars() {
        let unusual = config.plain && is_unusual_space(character);
        let space = unusual || matches!(character, ' ' | '\t');
        if config.fold && space {
            if !in_run {
                out.push(' ');
            }
        } else {
            out.push(if unusual { ' ' } else { character });
        }
        in_run = space;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_switch_does_its_part() {
        let text = "\n a\u{a0}\t b \n\n \n\nc\u{3000}\n";
        let all = Whitespace { plain: true, fold: true, trim_lines: true, trim: true, blank_lines_max: Some(1) };
        let none = Whitespace::default();
        assert_eq!(fix_whitespace(text, &none), None);
        assert_eq!(fix_whitespace(text, &all).as_deref(), Some("a b\n\nc"));
        let plain = Whitespace { plain: true, ..none };
        assert_eq!(fix_whitespace(text, &plain).as_deref(), Some("\n a \t b \n\n \n\nc \n"));
        let fold = Whitespace { fold: true, ..none };
        assert_eq!(fix_whitespace(text, &fold).as_deref(), Some("\n a\u{a0} b \n\n \n\nc\u{3000}\n"));
        let trim_lines = Whitespace { trim_lines: true, ..none };
        assert_eq!(fix_whitespace(text, &trim_lines).as_deref(), Some("\n a\u{a0}\t b\n\n\n\nc\n"));
        let trim = Whitespace { trim: true, ..none };
        assert_eq!(fix_whitespace(text, &trim).as_deref(), Some("a\u{a0}\t b \n\n \n\nc"));
        let blank = Whitespace { blank_lines_max: Some(0), ..none };
        assert_eq!(fix_whitespace(text, &blank).as_deref(), Some(" a\u{a0}\t b \nc\u{3000}\n"));
        assert_eq!(fix_whitespace("a b\n", &all).as_deref(), Some("a b"));
        assert_eq!(fix_whitespace("a b", &all), None);
    }

    #[test]
    fn joiners_go_only_on_request() {
        let text = "soft\u{ad}hyphen, zero\u{200b}width, 👨\u{200d}👩, \u{feff}mark";
        assert_eq!(remove_invisible(text, Invisible::Keep), None);
        let idle = remove_invisible(text, Invisible::Idle);
        assert_eq!(idle.as_deref(), Some("softhyphen, zerowidth, 👨\u{200d}👩, mark"));
        assert_eq!(remove_invisible(text, Invisible::All).as_deref(), Some("softhyphen, zerowidth, 👨👩, mark"));
        assert_eq!(remove_invisible("naïve 中文", Invisible::All), None);
    }
}
