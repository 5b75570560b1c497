//! How an address is shown: never with its secrets.

use url::Url;

/// The keys of a URL's query that are shown; signatures, tokens and passwords travel in others.
const SHOWN_KEYS: [&str; 2] = ["query", "table"];

/// An address without the password and without what a query string may hide: signatures, tokens, keys.
/// What is no URL is given back as it is.
#[must_use]
pub fn without_secrets(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once(':') else { return address.to_owned() };
    if scheme == "sqlite" || !rest.starts_with("//") {
        return address.to_owned();
    }
    let Ok(mut url) = Url::parse(address) else {
        // Whatever stands before an @ may be a password.
        let shown = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        let shown = shown.split_once('?').map_or(shown, |(path, _)| path);
        return format!("{scheme}://{}", shown.trim_start_matches('/'));
    };
    let password = url.password().is_some();
    // A host that takes none has none to lose.
    let _ = url.set_password(None);
    if password && !scheme.starts_with("postgres") {
        let _ = url.set_username("");
    }
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| SHOWN_KEYS.contains(&key.as_ref()))
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    url.set_query(None);
    url.set_fragment(None);
    let mut shown = url.to_string();
    for (index, (key, value)) in kept.iter().enumerate() {
        shown.push(if index == 0 { '?' } else { '&' });
        shown.push_str(key);
        shown.push('=');
        shown.push_str(value);
    }
    shown
}

/// A message whose addresses lost their secrets.
pub(crate) fn without_secrets_in(message: &str) -> String {
    let words = message.split_whitespace().map(|word| {
        let Some(at) = word.find("://") else { return word.to_owned() };
        let is_outside = |letter: char| !letter.is_ascii_alphanumeric();
        let start = word[..at]
            .rfind(is_outside)
            .map_or(0, |found| found + word[found..].chars().next().map_or(1, char::len_utf8));
        let address = &word[start..];
        let end = address.find(['"', '\'', ')', '>', ',']).unwrap_or(address.len());
        format!("{}{}{}", &word[..start], without_secrets(&address[..end]), &address[end..])
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_lose_the_secrets_of_their_addresses() {
        let message = "failed at (url=\"https://u:secret@host/a?key=secret\") after 3 s, ü://x";
        assert_eq!(without_secrets_in(message), "failed at (url=\"https://host/a\") after 3 s, ü://x");
    }

    #[test]
    fn no_secret_is_shown() {
        for (address, expected) in [
            ("data/*.csv", "data/*.csv"),
            ("C:/data/a.csv", "C:/data/a.csv"),
            ("s3://bucket/a/b.csv", "s3://bucket/a/b.csv"),
            ("https://u:secret@host/a.csv?X-Signature=secret", "https://host/a.csv"),
            (
                "postgres://me:secret@db:5432/shop?query=SELECT 1&sslmode=secret",
                "postgres://me@db:5432/shop?query=SELECT 1",
            ),
            ("postgres://me:se/cret@db:x/shop?query=SELECT 1", "postgres://db:x/shop"),
            ("sqlite:shop.db?table=orders", "sqlite:shop.db?table=orders"),
        ] {
            assert_eq!(without_secrets(address), expected);
        }
    }
}
