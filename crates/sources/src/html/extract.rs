//! Which part of a page is its content, and what it says.
//!
//! The rules are our own, in the spirit of Readability and trafilatura: elements that are never content and
//! those whose names say navigation are left out; a part that is marked as main is taken, else the deepest
//! element that still holds most of the text that is no link; in it, blocks that are mostly links go.

use super::tree::{NONE, Node, Tag, Tree};
use crate::record::Document;

/// Names of classes and ids, whole words, of what surrounds the content.
const AROUND_WORDS: &[&str] = &[
    "nav",
    "menu",
    "navbar",
    "footer",
    "sidebar",
    "breadcrumb",
    "breadcrumbs",
    "ads",
    "ad",
    "advert",
    "banner",
    "cookie",
    "cookies",
    "consent",
    "newsletter",
    "subscribe",
    "social",
    "share",
    "sharing",
    "promo",
    "popup",
    "modal",
    "pagination",
    "pager",
    "comments",
    "comment",
    "disqus",
    "login",
    "signup",
    "search",
    "searchbox",
    "toolbar",
    "related",
    "sponsor",
    "widget",
    "copyright",
    "noprint",
    "masthead",
    "skip",
    "topbar",
    "headerlink",
    "permalink",
    "hidden",
    "invisible",
    "bottom",
    "legal",
    "prevnext",
    "editsection",
];
/// Parts of such names that are long enough to mean the same inside a word.
const AROUND_PARTS: &[&str] = &[
    "navheader",
    "navfooter",
    "navigation",
    "sidebar",
    "breadcrumb",
    "newsletter",
    "advertis",
    "cookie-",
    "pagination",
    "skip-link",
    "share-",
    "social-",
    "footer-",
    "comment-",
];
/// Names of what holds the content.
const CONTENT_WORDS: &[&str] = &[
    "content",
    "main",
    "article",
    "post",
    "entry",
    "story",
    "maincontent",
    "bodycontent",
    "articlebody",
    "postbody",
    "document",
    "markdown",
    "prose",
];
/// Above this share of link text a block is navigation.
const LINKS_MAX: f32 = 0.66;
/// A part that is marked as main must hold this share of the text around it.
const MARKED_SHARE_MIN: f32 = 0.25;
/// What is chosen by density holds this share of the text that is no link.
const DENSE_SHARE_MIN: f32 = 0.75;

/// The lengths of what is under each node, in letters without white space.
#[derive(Clone, Copy, Default)]
struct Weight {
    letters: u32,
    link_letters: u32,
}

/// The document of a page: its main content, or all that is visible.
pub(crate) fn extract(tree: &Tree, main_content: bool) -> Document {
    let mut document = Document::default();
    let page = Page::new(tree, main_content);
    let root = if main_content { page.main() } else { 0 };
    let mut writer = Writer::default();
    page.write(root, &mut writer, main_content);
    if main_content && writer.text.len() < 200 {
        // Too little: a page of another kind than the rules know.
        let mut whole = Writer::default();
        page.write(page.body, &mut whole, false);
        if whole.text.len() > 3 * writer.text.len() {
            writer = whole;
        }
    }
    document.text = writer.finish();
    metadata(tree, &mut document);
    document
}

struct Page<'a> {
    tree: &'a Tree,
    /// What is never read.
    dropped: Vec<bool>,
    weights: Vec<Weight>,
    body: u32,
}

impl<'a> Page<'a> {
    fn new(tree: &'a Tree, main_content: bool) -> Self {
        let count = tree.nodes.len();
        let mut page = Self { tree, dropped: vec![false; count], weights: Vec::new(), body: 0 };
        for (index, node) in tree.nodes.iter().enumerate() {
            page.dropped[index] = is_invisible(node);
            if node.tag == Tag::Body && page.body == 0 {
                page.body = index as u32;
            }
        }
        page.weigh();
        if main_content {
            let whole = page.weights[page.body as usize].letters;
            for (index, node) in tree.nodes.iter().enumerate() {
                let share = page.weights[index].letters as f32 / whole.max(1) as f32;
                page.dropped[index] |= is_around(node) && share < 0.5;
            }
            page.weigh();
        }
        page
    }

    /// Adds the lengths up, from the leaves to the root.
    fn weigh(&mut self) {
        self.weights = vec![Weight::default(); self.tree.nodes.len()];
        for index in (0..self.tree.nodes.len()).rev() {
            let node = &self.tree.nodes[index];
            if self.dropped[index] {
                self.weights[index] = Weight::default();
                continue;
            }
            if node.tag == Tag::Text {
                let letters = self.tree.text_of(node).chars().filter(|letter| !letter.is_whitespace()).count();
                self.weights[index].letters = letters as u32;
            }
            if node.tag == Tag::A {
                self.weights[index].link_letters = self.weights[index].letters;
            }
            let own = self.weights[index];
            if let Some(parent) = self.weights.get_mut(node.parent as usize) {
                parent.letters += own.letters;
                parent.link_letters += own.link_letters;
            }
        }
    }

    fn plain_letters(&self, index: u32) -> u32 {
        let weight = self.weights[index as usize];
        weight.letters - weight.link_letters.min(weight.letters)
    }

    /// The element of the main content.
    fn main(&self) -> u32 {
        let whole = self.plain_letters(self.body);
        let fits = |index: u32| self.plain_letters(index) as f32 >= MARKED_SHARE_MIN * whole as f32;
        for mark in [is_main, is_article, is_content] {
            let mut marked = (0..self.tree.nodes.len() as u32).filter(|&index| {
                !self.dropped[index as usize] && mark(&self.tree.nodes[index as usize]) && fits(index)
            });
            if let Some(first) = marked.next() {
                // Several beside each other, as on a page of many articles, are wanted together.
                let beside: Vec<u32> = marked.filter(|&index| !self.is_inside(index, first)).collect();
                return if beside.is_empty() { first } else { self.common(first, &beside) };
            }
        }
        // No mark: down as long as one child holds most.
        let mut current = self.body;
        loop {
            let heaviest = self.tree.children(current).max_by_key(|&child| self.plain_letters(child));
            match heaviest {
                Some(child)
                    if self.plain_letters(child) as f32 >= DENSE_SHARE_MIN * whole as f32
                        && self.tree.nodes[child as usize].tag.is_block()
                        && !self.has_heading_beside(current, child) =>
                {
                    current = child;
                }
                _ => return current,
            }
        }
    }

    /// Whether a heading stands beside a child, which would be lost below it.
    fn has_heading_beside(&self, parent: u32, child: u32) -> bool {
        self.tree.children(parent).any(|other| {
            other != child && !self.dropped[other as usize] && self.tree.nodes[other as usize].tag.is_heading()
        })
    }

    fn is_inside(&self, index: u32, outer: u32) -> bool {
        let mut current = index;
        while current != NONE && current >= outer {
            if current == outer {
                return true;
            }
            current = self.tree.nodes[current as usize].parent;
        }
        false
    }

    /// The innermost element around all of them.
    fn common(&self, first: u32, others: &[u32]) -> u32 {
        let mut current = first;
        while current != NONE {
            if others.iter().all(|&other| self.is_inside(other, current)) {
                return current;
            }
            current = self.tree.nodes[current as usize].parent;
        }
        self.body
    }

    /// Writes the text under a node. It keeps its own stack: pages nest as deep as they like.
    fn write(&self, root: u32, writer: &mut Writer, filter: bool) {
        enum Step {
            Enter(u32),
            Leave(Tag),
        }
        let mut stack = vec![Step::Enter(root)];
        while let Some(step) = stack.pop() {
            match step {
                Step::Leave(tag) => writer.leave(tag),
                Step::Enter(index) => {
                    let node = &self.tree.nodes[index as usize];
                    if self.dropped[index as usize] || (filter && index != root && self.is_navigation(index)) {
                        continue;
                    }
                    if node.tag == Tag::Text {
                        writer.text(self.tree.text_of(node));
                        continue;
                    }
                    writer.enter(node.tag);
                    stack.push(Step::Leave(node.tag));
                    let first = stack.len();
                    stack.extend(self.tree.children(index).map(Step::Enter));
                    stack[first..].reverse();
                }
            }
        }
    }

    /// Whether a block is mostly links.
    fn is_navigation(&self, index: u32) -> bool {
        let node = &self.tree.nodes[index as usize];
        let weight = self.weights[index as usize];
        if weight.link_letters == 0 {
            return false;
        }
        let share = weight.link_letters as f32 / weight.letters.max(1) as f32;
        match node.tag {
            Tag::Ul | Tag::Ol | Tag::Dl | Tag::Table | Tag::Div | Tag::Section | Tag::Menu => share > LINKS_MAX,
            Tag::P => share > 0.9 && weight.letters < 100,
            _ => false,
        }
    }
}

fn is_invisible(node: &Node) -> bool {
    matches!(
        node.tag,
        Tag::Head
            | Tag::Title
            | Tag::Meta
            | Tag::Link
            | Tag::Script
            | Tag::Style
            | Tag::Noscript
            | Tag::Iframe
            | Tag::Svg
            | Tag::Canvas
            | Tag::Video
            | Tag::Audio
            | Tag::Object
            | Tag::Template
            | Tag::Select
            | Tag::Textarea
            | Tag::Input
            | Tag::Rp
            | Tag::Rt
    ) || node.attributes.as_ref().is_some_and(|attributes| attributes.hidden)
}

fn words(names: &str) -> impl Iterator<Item = &str> {
    names.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

/// Whether an element surrounds the content.
fn is_around(node: &Node) -> bool {
    match node.tag {
        Tag::Nav | Tag::Footer | Tag::Aside | Tag::Form | Tag::Button | Tag::Dialog | Tag::Search => return true,
        Tag::Html | Tag::Body | Tag::Main | Tag::Article | Tag::Text => return false,
        _ => {}
    }
    let Some(attributes) = &node.attributes else { return false };
    if matches!(
        attributes.role.as_str(),
        "navigation" | "banner" | "search" | "contentinfo" | "complementary" | "dialog"
    ) {
        return true;
    }
    let names = attributes.names.as_str();
    !names.is_empty()
        && (words(names).any(|word| AROUND_WORDS.contains(&word))
            || AROUND_PARTS.iter().any(|part| names.contains(part)))
        && !words(names).any(|word| word == "content" || word == "main")
}

fn is_main(node: &Node) -> bool {
    node.tag == Tag::Main || node.attributes.as_ref().is_some_and(|attributes| attributes.role == "main")
}

fn is_article(node: &Node) -> bool {
    node.tag == Tag::Article
        || node
            .attributes
            .as_ref()
            .is_some_and(|attributes| attributes.property == "articlebody" || attributes.role == "article")
}

fn is_content(node: &Node) -> bool {
    matches!(node.tag, Tag::Div | Tag::Section | Tag::Td)
        && node
            .attributes
            .as_ref()
            .is_some_and(|attributes| words(&attributes.names).any(|word| CONTENT_WORDS.contains(&word)))
}

/// Writes blocks on lines, and white space once.
#[derive(Default)]
struct Writer {
    text: String,
    /// What must come before the next letter.
    gap: Gap,
    preformatted: usize,
}

#[derive(Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    #[default]
    None,
    Space,
    Tab,
    Line,
    Paragraph,
}

impl Writer {
    fn enter(&mut self, tag: Tag) {
        self.around(tag);
        match tag {
            Tag::Pre | Tag::Listing | Tag::Xmp | Tag::Plaintext => self.preformatted += 1,
            Tag::Li => {
                self.flush();
                self.text.push_str("- ");
            }
            _ => {}
        }
    }

    fn leave(&mut self, tag: Tag) {
        if matches!(tag, Tag::Pre | Tag::Listing | Tag::Xmp | Tag::Plaintext) {
            self.preformatted -= 1;
        }
        self.around(tag);
    }

    fn around(&mut self, tag: Tag) {
        let gap = match tag {
            Tag::Td | Tag::Th => Gap::Tab,
            Tag::Br | Tag::Li | Tag::Tr | Tag::Dt | Tag::Dd | Tag::Thead | Tag::Tbody | Tag::Tfoot => Gap::Line,
            tag if tag.is_block() => Gap::Paragraph,
            _ => return,
        };
        self.gap = self.gap.max(gap);
    }

    fn flush(&mut self) {
        let gap = std::mem::take(&mut self.gap);
        if self.text.is_empty() || self.text.ends_with("\n- ") || self.text == "- " {
            return;
        }
        match gap {
            Gap::None => {}
            Gap::Space => self.text.push(' '),
            Gap::Tab if self.text.ends_with('\n') => {}
            Gap::Tab => self.text.push('\t'),
            Gap::Line => self.text.push('\n'),
            Gap::Paragraph => self.text.push_str("\n\n"),
        }
    }

    fn text(&mut self, text: &str) {
        if self.preformatted > 0 {
            let text = if self.gap == Gap::Paragraph { text.trim_start_matches(['\r', '\n']) } else { text };
            if !text.is_empty() {
                self.flush();
                self.text.push_str(text);
            }
            return;
        }
        let is_space = |letter: char| letter.is_ascii_whitespace();
        if text.starts_with(is_space) {
            self.gap = self.gap.max(Gap::Space);
        }
        for word in text.split(is_space).filter(|word| !word.is_empty()) {
            self.flush();
            self.text.push_str(word);
            self.gap = Gap::Space;
        }
        if !text.ends_with(is_space) && self.gap == Gap::Space {
            self.gap = Gap::None;
        }
    }

    fn finish(self) -> String {
        let mut lines: Vec<&str> = self.text.lines().map(str::trim_end).collect();
        // Items without text.
        lines.retain(|line| *line != "-");
        let mut text = String::with_capacity(self.text.len());
        let mut empty = 0;
        for line in lines {
            empty = if line.is_empty() { empty + 1 } else { 0 };
            if empty < 2 {
                text.push_str(line);
                text.push('\n');
            }
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// What the page says of itself.
fn metadata(tree: &Tree, document: &mut Document) {
    let mut heading = None;
    let mut title = String::new();
    let mut date = None;
    for (index, node) in tree.nodes.iter().enumerate() {
        match (node.tag, &node.attributes) {
            (Tag::Html, Some(attributes)) => document.set("language", &attributes.lang),
            (Tag::Meta, Some(attributes)) => {
                let name = match attributes.property.as_str() {
                    "og:title" | "twitter:title" | "dc.title" => "title",
                    "author" | "article:author" | "dc.creator" => "author",
                    "description" | "og:description" => "description",
                    "og:site_name" => "site",
                    "og:url" => "url",
                    "date" | "article:published_time" | "dc.date" | "datepublished" | "dcterms.created" | "pubdate" => {
                        "date"
                    }
                    "keywords" => "keywords",
                    _ => continue,
                };
                document.set(name, &attributes.content);
            }
            (Tag::Link, Some(attributes)) if attributes.rel == "canonical" => document.set("url", &attributes.href),
            (Tag::Time, Some(attributes)) if date.is_none() && !attributes.datetime.is_empty() => {
                date = Some(attributes.datetime.as_str());
            }
            (Tag::Title, _) if title.is_empty() => title = inner_text(tree, index as u32),
            (Tag::H1, _) if heading.is_none() => heading = Some(inner_text(tree, index as u32)),
            _ => {}
        }
    }
    document.set("title", &title);
    document.set("title", &heading.unwrap_or_default());
    document.set("date", date.unwrap_or_default());
}

/// The text under a node, white space once.
fn inner_text(tree: &Tree, index: u32) -> String {
    let mut stack = vec![index];
    let mut text = String::new();
    while let Some(index) = stack.pop() {
        let node = &tree.nodes[index as usize];
        if node.tag == Tag::Text {
            for word in tree.text_of(node).split_whitespace() {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(word);
            }
        }
        let first = stack.len();
        stack.extend(tree.children(index));
        stack[first..].reverse();
    }
    text
}
