//! A light tree of an HTML page: tokens by `html5gum` (the standard's tokenizer), nesting by the rules of
//! which elements end which, without the standard's adoption agency. Damaged pages give some tree; nothing
//! fails.

use html5gum::Tokenizer;
use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};

/// No node.
pub(crate) const NONE: u32 = u32::MAX;
/// Deeper elements hang at this depth.
const DEPTH_MAX: usize = 512;
/// What comes after this many nodes is left out, and said.
const NODES_MAX: usize = 4_000_000;

macro_rules! tags {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// The elements that matter here.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Tag { Text, Other, $($name),* }

        impl Tag {
            fn of(name: &[u8]) -> Self {
                match name { $($text => Self::$name,)* _ => Self::Other }
            }
        }
    };
}

tags! {
    Html = b"html", Head = b"head", Title = b"title", Meta = b"meta", Link = b"link", Base = b"base",
    Body = b"body", Main = b"main", Article = b"article", Section = b"section", Div = b"div", P = b"p",
    Span = b"span", A = b"a", H1 = b"h1", H2 = b"h2", H3 = b"h3", H4 = b"h4", H5 = b"h5", H6 = b"h6",
    Ul = b"ul", Ol = b"ol", Li = b"li", Dl = b"dl", Dt = b"dt", Dd = b"dd", Table = b"table",
    Thead = b"thead", Tbody = b"tbody", Tfoot = b"tfoot", Tr = b"tr", Td = b"td", Th = b"th",
    Caption = b"caption", Col = b"col", Colgroup = b"colgroup", Pre = b"pre", Code = b"code",
    Blockquote = b"blockquote", Br = b"br", Hr = b"hr", Nav = b"nav", Footer = b"footer",
    Header = b"header", Aside = b"aside", Form = b"form", Button = b"button", Input = b"input",
    Select = b"select", Option = b"option", Optgroup = b"optgroup", Textarea = b"textarea",
    Script = b"script", Style = b"style", Noscript = b"noscript", Iframe = b"iframe", Svg = b"svg",
    Math = b"math", Canvas = b"canvas", Video = b"video", Audio = b"audio", Object = b"object",
    Embed = b"embed", Template = b"template", Figure = b"figure", Figcaption = b"figcaption",
    Img = b"img", Area = b"area", Map = b"map", Source = b"source", Track = b"track", Wbr = b"wbr",
    Param = b"param", Address = b"address", Details = b"details", Summary = b"summary",
    Fieldset = b"fieldset", Legend = b"legend", Menu = b"menu", Dialog = b"dialog", Center = b"center",
    Rp = b"rp", Rt = b"rt", Time = b"time", Hgroup = b"hgroup", Search = b"search",
    Listing = b"listing", Xmp = b"xmp", Plaintext = b"plaintext",
}

impl Tag {
    fn is_void(self) -> bool {
        matches!(
            self,
            Self::Meta
                | Self::Link
                | Self::Base
                | Self::Br
                | Self::Hr
                | Self::Img
                | Self::Input
                | Self::Col
                | Self::Area
                | Self::Embed
                | Self::Source
                | Self::Track
                | Self::Wbr
                | Self::Param
        )
    }

    /// Whether it stands on lines of its own.
    pub(crate) fn is_block(self) -> bool {
        !matches!(
            self,
            Self::Text
                | Self::Other
                | Self::Span
                | Self::A
                | Self::Code
                | Self::Br
                | Self::Img
                | Self::Wbr
                | Self::Time
        )
    }

    /// Whether its beginning ends an open paragraph (HTML standard, 13.2.6.4.7).
    fn ends_paragraph(self) -> bool {
        self.is_block()
            && !matches!(
                self,
                Self::Td
                    | Self::Th
                    | Self::Tr
                    | Self::Tbody
                    | Self::Thead
                    | Self::Tfoot
                    | Self::Caption
                    | Self::Button
                    | Self::Input
                    | Self::Select
                    | Self::Option
                    | Self::Optgroup
                    | Self::Textarea
                    | Self::Script
                    | Self::Style
                    | Self::Noscript
                    | Self::Iframe
                    | Self::Svg
                    | Self::Math
                    | Self::Canvas
                    | Self::Video
                    | Self::Audio
                    | Self::Object
                    | Self::Embed
                    | Self::Template
                    | Self::Map
                    | Self::Area
                    | Self::Link
                    | Self::Meta
                    | Self::Rp
                    | Self::Rt
                    | Self::Param
                    | Self::Source
                    | Self::Track
            )
    }

    pub(crate) fn is_heading(self) -> bool {
        matches!(self, Self::H1 | Self::H2 | Self::H3 | Self::H4 | Self::H5 | Self::H6)
    }
}

/// The attributes that matter, in lower case where case means nothing.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    /// `class` and `id`, with a space between.
    pub names: String,
    pub role: String,
    /// `name`, `property` or `itemprop`.
    pub property: String,
    pub content: String,
    pub href: String,
    pub rel: String,
    pub lang: String,
    pub datetime: String,
    pub hidden: bool,
}

/// One element or piece of text.
#[derive(Debug)]
pub(crate) struct Node {
    pub tag: Tag,
    pub parent: u32,
    pub first: u32,
    pub next: u32,
    last: u32,
    /// Where its text stands, for text.
    pub text: (u32, u32),
    pub attributes: Option<Box<Attributes>>,
}

/// A page. Parents stand before their children.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub nodes: Vec<Node>,
    text: String,
    /// Whether the page was too large to be kept whole.
    pub cut: bool,
}

impl Tree {
    /// Parses a page.
    pub(crate) fn parse(page: &str) -> Self {
        let mut builder = Builder::default();
        builder.push(Tag::Html);
        let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, _span: html5gum::Span<()>| -> Option<()> {
            builder.event(event);
            None
        });
        emitter.naively_switch_states(true);
        for token in Tokenizer::new_with_emitter(page, emitter) {
            // Reading a string cannot fail, and the events give no tokens.
            if token.is_err() {
                break;
            }
        }
        builder.tree
    }

    pub(crate) fn text_of(&self, node: &Node) -> &str {
        self.text.get(node.text.0 as usize..node.text.1 as usize).unwrap_or_default()
    }

    pub(crate) fn children(&self, index: u32) -> impl Iterator<Item = u32> + '_ {
        let mut next = self.nodes[index as usize].first;
        std::iter::from_fn(move || {
            let current = next;
            next = self.nodes.get(current as usize)?.next;
            Some(current)
        })
    }
}

#[derive(Default)]
struct Builder {
    tree: Tree,
    open: Vec<u32>,
    /// The element whose attributes are read, and which of them.
    pending: Option<(Tag, Attributes)>,
    attribute: Attribute,
}

#[derive(Default, Clone, Copy)]
enum Attribute {
    Names,
    Role,
    Property,
    Content,
    Href,
    Rel,
    Lang,
    Datetime,
    Style,
    AriaHidden,
    #[default]
    None,
}

impl Builder {
    #[expect(clippy::needless_pass_by_value, reason = "the tokenizer gives its events away")]
    fn event(&mut self, event: CallbackEvent<'_>) {
        match event {
            CallbackEvent::OpenStartTag { name } => {
                self.pending = Some((Tag::of(name), Attributes::default()));
                self.attribute = Attribute::None;
            }
            CallbackEvent::AttributeName { name } => {
                self.attribute = match name {
                    b"class" | b"id" => Attribute::Names,
                    b"role" => Attribute::Role,
                    b"name" | b"property" | b"itemprop" => Attribute::Property,
                    b"content" => Attribute::Content,
                    b"href" => Attribute::Href,
                    b"rel" => Attribute::Rel,
                    b"lang" | b"xml:lang" => Attribute::Lang,
                    b"datetime" => Attribute::Datetime,
                    b"style" => Attribute::Style,
                    b"aria-hidden" => Attribute::AriaHidden,
                    _ => Attribute::None,
                };
                if let Some((_, attributes)) = &mut self.pending {
                    attributes.hidden |= name == b"hidden";
                }
            }
            CallbackEvent::AttributeValue { value } => self.attribute_value(value),
            CallbackEvent::CloseStartTag { self_closing } => self.start(self_closing),
            CallbackEvent::EndTag { name } => self.end(Tag::of(name)),
            CallbackEvent::String { value } => self.string(value),
            _ => {}
        }
    }

    fn attribute_value(&mut self, value: &[u8]) {
        let Some((_, attributes)) = &mut self.pending else { return };
        let text = String::from_utf8_lossy(value);
        match self.attribute {
            Attribute::Names => {
                attributes.names.push(' ');
                attributes.names.push_str(&text.to_ascii_lowercase());
            }
            Attribute::Role => attributes.role = text.to_ascii_lowercase(),
            Attribute::Property => attributes.property = text.to_ascii_lowercase(),
            Attribute::Content => attributes.content = text.into_owned(),
            Attribute::Href => attributes.href = text.into_owned(),
            Attribute::Rel => attributes.rel = text.to_ascii_lowercase(),
            Attribute::Lang => attributes.lang = text.into_owned(),
            Attribute::Datetime => attributes.datetime = text.into_owned(),
            Attribute::Style => {
                let style: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
                attributes.hidden |= style.contains("display:none") || style.contains("visibility:hidden");
            }
            Attribute::AriaHidden => attributes.hidden |= text == "true",
            Attribute::None => {}
        }
    }

    fn push(&mut self, tag: Tag) -> u32 {
        let index = self.tree.nodes.len() as u32;
        let parent = self.open.last().copied().unwrap_or(NONE);
        self.tree.nodes.push(Node { tag, parent, first: NONE, next: NONE, last: NONE, text: (0, 0), attributes: None });
        if let Some(node) = self.tree.nodes.get_mut(parent as usize) {
            let before = std::mem::replace(&mut node.last, index);
            match self.tree.nodes.get_mut(before as usize) {
                Some(before) => before.next = index,
                None => self.tree.nodes[parent as usize].first = index,
            }
        }
        if !tag.is_void() && tag != Tag::Text && self.open.len() < DEPTH_MAX {
            self.open.push(index);
        }
        index
    }

    fn tag(&self, index: u32) -> Tag {
        self.tree.nodes[index as usize].tag
    }

    fn start(&mut self, self_closing: bool) {
        let Some((tag, attributes)) = self.pending.take() else { return };
        if self.tree.nodes.len() >= NODES_MAX {
            self.tree.cut = true;
            return;
        }
        self.end_implied(tag);
        let before = self.open.len();
        let index = if tag == Tag::Html { 0 } else { self.push(tag) };
        self.tree.nodes[index as usize].attributes = Some(Box::new(attributes));
        // Elements of SVG and MathML may close themselves; HTML's own may not.
        if self_closing && matches!(tag, Tag::Other | Tag::Svg | Tag::Math) {
            self.open.truncate(before);
        }
    }

    /// Ends what the beginning of an element ends.
    fn end_implied(&mut self, tag: Tag) {
        match tag {
            Tag::Li => self.end_within(&[Tag::Li], &[Tag::Ul, Tag::Ol, Tag::Menu]),
            Tag::Dt | Tag::Dd => self.end_within(&[Tag::Dt, Tag::Dd], &[Tag::Dl]),
            Tag::Td | Tag::Th => self.end_within(&[Tag::Td, Tag::Th], &[Tag::Tr, Tag::Table]),
            Tag::Tr => self.end_within(&[Tag::Tr], &[Tag::Table]),
            Tag::Tbody | Tag::Thead | Tag::Tfoot => {
                self.end_within(&[Tag::Tbody, Tag::Thead, Tag::Tfoot], &[Tag::Table]);
            }
            Tag::Option => self.end_within(&[Tag::Option], &[Tag::Select]),
            Tag::Body => self.end_within(&[Tag::Head], &[]),
            Tag::A => self.end_within(&[Tag::A], &[Tag::Td, Tag::Table]),
            tag if tag.is_heading() => {
                let last = self.open.last().map(|&index| self.tag(index));
                if last.is_some_and(Tag::is_heading) {
                    self.open.pop();
                }
            }
            _ => {}
        }
        if tag.ends_paragraph() {
            self.end_within(&[Tag::P], &[Tag::Td, Tag::Th, Tag::Table, Tag::Button, Tag::Object, Tag::Caption]);
        }
    }

    /// Ends the innermost open one of `tags`, unless one of `walls` is further in.
    fn end_within(&mut self, tags: &[Tag], walls: &[Tag]) {
        for depth in (1..self.open.len()).rev() {
            let tag = self.tag(self.open[depth]);
            if tags.contains(&tag) {
                self.open.truncate(depth);
                return;
            }
            if walls.contains(&tag) {
                return;
            }
        }
    }

    fn end(&mut self, tag: Tag) {
        match tag {
            Tag::Html | Tag::Body => {}
            Tag::Br => {
                self.push(Tag::Br);
            }
            Tag::P => self.end_within(&[Tag::P], &[Tag::Td, Tag::Th, Tag::Table]),
            Tag::Other => {
                // Which one is not known; only the innermost may end.
                if self.open.len() > 1 && self.open.last().is_some_and(|&index| self.tag(index) == Tag::Other) {
                    self.open.pop();
                }
            }
            tag if tag.is_heading() => {
                self.end_within(&[Tag::H1, Tag::H2, Tag::H3, Tag::H4, Tag::H5, Tag::H6], &[Tag::Td, Tag::Table]);
            }
            tag if tag.is_block() && !matches!(tag, Tag::Td | Tag::Th | Tag::Tr | Tag::Table | Tag::Tbody) => {
                self.end_within(&[tag], &[Tag::Td, Tag::Th]);
            }
            tag if tag.is_block() => {
                self.end_within(&[tag], &[Tag::Table].map(|wall| if wall == tag { Tag::Html } else { wall }));
            }
            tag => self.end_within(&[tag], &[Tag::Td, Tag::Th, Tag::Table, Tag::Div]),
        }
    }

    fn string(&mut self, value: &[u8]) {
        if self.tree.nodes.len() >= NODES_MAX {
            self.tree.cut = true;
            return;
        }
        let start = self.tree.text.len();
        self.tree.text.push_str(&String::from_utf8_lossy(value));
        let end = self.tree.text.len();
        let index = self.push(Tag::Text);
        if let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end)) {
            self.tree.nodes[index as usize].text = (start, end);
        } else {
            self.tree.cut = true;
        }
    }
}
