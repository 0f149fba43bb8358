//! HTML to text.
//!
//! A tokenizer gives tags and characters; what they mean for the text needs no tree: blocks part paragraphs, headings
//! make sections, some elements are left out with all they hold. So nesting costs nothing, however deep, and tags that
//! do not match do no harm.

use std::convert::Infallible;

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};

use crate::writer::Writer;
use crate::{ExtractError, Extracted, Kind, Limits};

/// The text of a page.
pub(crate) fn document(html: &str, encoding: &'static str, limits: &Limits) -> Result<Extracted, ExtractError> {
    let walk = walked(html, Walk::new(Writer::new(limits), true));
    let walk = match &walk.left_out {
        // A menu that never ends would take the page with it: once more, with menus.
        Some((name, _)) if is_menu(name) => walked(html, Walk::new(Writer::new(limits), false)),
        _ => walk,
    };
    walk.finish().finish(encoding, Kind::Html)
}

/// Writes a fragment, as Markdown may hold one.
pub(crate) fn fragment(html: &str, writer: Writer) -> Writer {
    walked(html, Walk::new(writer, true)).finish()
}

fn walked(html: &str, mut walk: Walk) -> Walk {
    let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, _: Span<()>| -> Option<Infallible> {
        walk.see(event);
        None
    });
    emitter.naively_switch_states(true);
    // A text in memory has no reading errors; without them there is no result to use.
    let Ok(()) = Tokenizer::new_with_emitter(html, emitter).finish();
    walk
}

/// The walk over a page's tags.
struct Walk {
    writer: Writer,
    without_menus: bool,
    /// The element that is left out, and how many of its name are open.
    left_out: Option<(Vec<u8>, usize)>,
    title: Option<String>,
    /// Whether the tag that is being read is a picture, and the attribute that says what it shows.
    picture: bool,
    alternative: bool,
    /// Whether it is of another language.
    foreign: bool,
    pre_begins: bool,
}

impl Walk {
    fn new(writer: Writer, without_menus: bool) -> Self {
        let (left_out, title, pre_begins) = (None, None, false);
        let (picture, alternative, foreign) = (false, false, false);
        Self { writer, without_menus, left_out, title, picture, alternative, foreign, pre_begins }
    }

    fn finish(mut self) -> Writer {
        self.title_ends();
        self.writer.heading_ends();
        self.writer.pre_ends();
        self.writer
    }

    fn see(&mut self, event: CallbackEvent<'_>) {
        match event {
            CallbackEvent::OpenStartTag { name } => self.opens(name),
            CallbackEvent::EndTag { name } => self.closes(name),
            CallbackEvent::String { value } => self.text(&String::from_utf8_lossy(value)),
            CallbackEvent::AttributeName { name } => self.alternative = self.picture && name == b"alt",
            CallbackEvent::AttributeValue { value } if self.alternative => {
                self.text(&String::from_utf8_lossy(value));
            }
            CallbackEvent::CloseStartTag { self_closing } => self.start_tag_ends(self_closing),
            _ => {}
        }
    }

    /// An empty `<svg/>` ends where it begins; elements of HTML do not.
    fn start_tag_ends(&mut self, self_closing: bool) {
        (self.picture, self.alternative) = (false, false);
        if self.foreign && self_closing {
            self.closes(FOREIGN);
        }
    }

    fn text(&mut self, text: &str) {
        if self.left_out.is_some() {
            return;
        }
        match &mut self.title {
            Some(title) => title.push_str(text),
            // A line's end behind <pre> is no part of it.
            None if std::mem::take(&mut self.pre_begins) => {
                self.writer.text(text.strip_prefix("\r\n").or_else(|| text.strip_prefix('\n')).unwrap_or(text));
            }
            None => self.writer.text(text),
        }
    }

    fn opens(&mut self, name: &[u8]) {
        self.pre_begins = false;
        (self.picture, self.foreign) = (name == b"img", name == FOREIGN);
        if let Some((left_out, open)) = &mut self.left_out {
            *open += usize::from(left_out == name);
            return;
        }
        if is_code(name) || self.without_menus && is_menu(name) {
            self.left_out = Some((name.to_vec(), 1));
            return;
        }
        self.mark(name);
    }

    /// What an element's begin means for the text.
    fn mark(&mut self, name: &[u8]) {
        match name {
            b"title" => self.title = Some(String::new()),
            b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" => self.writer.heading_begins(name[1] - b'0'),
            b"pre" | b"listing" | b"xmp" | b"plaintext" => {
                self.writer.pre_begins();
                self.pre_begins = true;
            }
            b"br" if self.writer.is_pre() => self.writer.text("\n"),
            b"br" | b"dt" | b"dd" | b"caption" | b"option" => self.writer.line(),
            b"li" => self.writer.item("- "),
            b"tr" => self.writer.row(),
            b"td" | b"th" => self.writer.cell(),
            b"sup" => self.writer.text("^"),
            b"table" | b"ul" | b"ol" | b"dl" | b"blockquote" => self.layout(),
            _ if is_block(name) => self.writer.paragraph(),
            _ => {}
        }
    }

    /// A block that no cell of a table of figures holds.
    fn layout(&mut self) {
        self.writer.cell_ends();
        self.writer.paragraph();
    }

    fn closes(&mut self, name: &[u8]) {
        self.pre_begins = false;
        if let Some((left_out, open)) = &mut self.left_out {
            *open -= usize::from(left_out == name);
            if *open == 0 {
                self.left_out = None;
                self.writer.space();
            }
            return;
        }
        match name {
            b"title" => self.title_ends(),
            b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" => self.writer.heading_ends(),
            b"pre" | b"listing" | b"xmp" => self.writer.pre_ends(),
            b"td" | b"th" => self.writer.cell_ends(),
            b"tr" | b"caption" | b"li" | b"dt" | b"dd" => {
                self.writer.cell_ends();
                self.writer.line();
            }
            b"table" | b"ul" | b"ol" | b"dl" | b"blockquote" => self.layout(),
            _ if is_block(name) => self.writer.paragraph(),
            _ => {}
        }
    }

    fn title_ends(&mut self) {
        if let Some(title) = self.title.take() {
            self.writer.title(&title);
        }
    }
}

/// Drawings, which may be empty without an end tag.
const FOREIGN: &[u8] = b"svg";

/// Elements that hold code or what only other browsers see.
fn is_code(name: &[u8]) -> bool {
    matches!(name, b"script" | b"style" | b"noscript" | b"noembed" | b"noframes" | b"iframe" | b"template")
}

/// Elements without text for readers.
fn is_menu(name: &[u8]) -> bool {
    name == FOREIGN
        || matches!(name, b"nav" | b"object" | b"canvas" | b"audio" | b"video" | b"textarea" | b"select" | b"button")
}

/// Elements that begin and end a paragraph.
fn is_block(name: &[u8]) -> bool {
    matches!(
        name,
        b"p" | b"div"
            | b"section"
            | b"article"
            | b"main"
            | b"header"
            | b"footer"
            | b"aside"
            | b"nav"
            | b"body"
            | b"html"
            | b"head"
            | b"figure"
            | b"figcaption"
            | b"address"
            | b"details"
            | b"summary"
            | b"form"
            | b"fieldset"
            | b"hr"
            | b"center"
            | b"dialog"
            | b"hgroup"
            | b"search"
            | b"menu"
    )
}
