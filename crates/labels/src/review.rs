//! The page on which a person reviews likely label errors: one HTML file that needs no network.
//!
//! The rows travel as JSON inside the page; the script puts them in as text, never as markup. The page
//! may load nothing and send nothing (its own content security policy says so); decisions are kept in
//! the browser and downloaded as the file that [`crate::corrections`] reads.

use base::Digest;
use serde::Serialize;

const STYLE: &str = include_str!("review.css");
const SCRIPT: &str = include_str!("review.js");

/// The language of the page's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Simplified Chinese.
    Chinese,
}

/// A label and its probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suggestion {
    /// The label.
    pub label: String,
    /// Its out-of-sample probability, 0 to 1.
    pub probability: f64,
}

/// A row whose label is likely wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReviewIssue {
    /// The digest of the row's content.
    pub key: Digest,
    /// The row's id.
    pub row: String,
    /// What a person reads to decide: the text, or the cells, one a line.
    pub text: String,
    /// The label it carries, with its probability.
    pub given: Suggestion,
    /// The most probable other label.
    pub suggested: Suggestion,
}

/// Everything the page shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Review {
    /// The data's name.
    pub title: String,
    /// How the issues were found, in a sentence.
    pub method: String,
    /// The issues, worst first.
    pub issues: Vec<ReviewIssue>,
    /// All labels, to choose another from.
    pub labels: Vec<String>,
    /// The language of the page's own words.
    pub language: Language,
}

#[derive(Serialize)]
struct Data<'a> {
    title: &'a str,
    header: &'static str,
    issues: &'a [ReviewIssue],
    labels: &'a [String],
    language: &'static str,
}

/// The page as HTML.
#[must_use]
pub fn review_page(review: &Review) -> String {
    let (language, heading) = match review.language {
        Language::English => ("en", "Labels to review"),
        Language::Chinese => ("zh-Hans", "待审核的标签"),
    };
    let data = Data {
        title: &review.title,
        header: crate::corrections::HEADER,
        issues: &review.issues,
        labels: &review.labels,
        language,
    };
    // Inside <script> only `<` can end the element or open a comment; JSON may write it as \u003c.
    // Strings and finite numbers always serialise; NaN becomes null.
    let json = serde_json::to_string(&data).unwrap_or_default().replace('<', "\\u003c");
    let title = escape(&review.title);
    let method = escape(&review.method);
    format!(
        r#"<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<title>{title} – {heading}</title>
<style>
{STYLE}</style>
</head>
<body>
<header>
<h1>{heading}</h1>
<p class="soft"><strong>{title}</strong> · {method}</p>
</header>
<main id="app"><noscript>This page needs JavaScript; it loads nothing from anywhere.</noscript></main>
<script type="application/json" id="data">{json}</script>
<script>
{SCRIPT}</script>
</body>
</html>
"#
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}
