//! Web addresses in a text.

use memchr::memmem;

/// How many `http`, `https` and `ftp` addresses there are, and their characters in all.
pub(crate) fn count(text: &str) -> (u64, u64) {
    let (mut urls, mut characters, mut behind) = (0, 0, 0);
    for colon in memmem::find_iter(text.as_bytes(), b"://") {
        let scheme = ["https", "http", "ftp"].into_iter().find(|scheme| text[..colon].ends_with(scheme));
        let Some(scheme) = scheme else { continue };
        let start = colon - scheme.len();
        if start < behind {
            continue;
        }
        let ends = |character: char| {
            character.is_whitespace() || matches!(character, '"' | '<' | '>' | '`' | '）' | '，' | '。')
        };
        let end = text[colon..].find(ends).map_or(text.len(), |length| colon + length);
        urls += 1;
        characters += crate::lines::characters(&text[start..end]);
        behind = end;
    }
    (urls, characters)
}
