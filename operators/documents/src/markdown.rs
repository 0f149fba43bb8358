//! Markdown to text: CommonMark with GitHub's tables, footnotes and a front matter in YAML.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, MetadataBlockKind, Options, Parser, Tag, TagEnd};

use crate::writer::Writer;
use crate::{ExtractError, Extracted, Kind, Limits, html};

/// The text of a Markdown document.
pub(crate) fn document(text: &str, encoding: &'static str, limits: &Limits) -> Result<Extracted, ExtractError> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_MATH
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    let mut walk = Walk { writer: Writer::new(limits), lists: Vec::new(), html: String::new(), matter: None };
    for event in Parser::new_ext(text, options) {
        walk = walk.see(event);
    }
    walk.writer.finish(encoding, Kind::Markdown)
}

/// The walk over a document's events.
struct Walk {
    writer: Writer,
    /// The next number of each open list; none of one with bullets.
    lists: Vec<Option<u64>>,
    /// A block of HTML, whole.
    html: String,
    /// The front matter.
    matter: Option<String>,
}

impl Walk {
    fn see(mut self, event: Event<'_>) -> Self {
        match event {
            Event::Start(tag) => self.begins(tag),
            Event::End(TagEnd::HtmlBlock) => self.writer = html::fragment(&std::mem::take(&mut self.html), self.writer),
            Event::End(tag) => self.ends(tag),
            Event::Text(text) => match &mut self.matter {
                Some(matter) => matter.push_str(&text),
                None => self.writer.text(&text),
            },
            Event::Code(text) => self.writer.text(&text),
            Event::InlineMath(text) => self.writer.text(&format!("${text}$")),
            Event::DisplayMath(text) => self.writer.text(&format!("$${text}$$")),
            Event::Html(text) => self.html.push_str(&text),
            Event::InlineHtml(text) if text.starts_with("<br") => self.writer.line(),
            Event::InlineHtml(_) => {}
            Event::FootnoteReference(name) => self.writer.text(&format!("[{name}]")),
            Event::SoftBreak => self.writer.space(),
            Event::HardBreak => self.writer.line(),
            Event::Rule => self.writer.paragraph(),
            Event::TaskListMarker(done) => self.writer.text(if done { "[x] " } else { "[ ] " }),
        }
        self
    }

    fn begins(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { level, .. } => self.writer.heading_begins(level_of(level)),
            Tag::CodeBlock(CodeBlockKind::Indented | CodeBlockKind::Fenced(_)) => self.writer.pre_begins(),
            Tag::List(first) => {
                self.lists.push(first);
                self.writer.line();
            }
            Tag::Item => self.item(),
            Tag::Table(_) | Tag::Paragraph | Tag::BlockQuote(_) => self.writer.paragraph(),
            Tag::TableHead | Tag::TableRow => self.writer.row(),
            Tag::TableCell => self.writer.cell(),
            Tag::FootnoteDefinition(name) => {
                self.writer.paragraph();
                self.writer.item(&format!("[{name}] "));
            }
            Tag::MetadataBlock(MetadataBlockKind::YamlStyle) => self.matter = Some(String::new()),
            _ => {}
        }
    }

    fn ends(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => self.writer.heading_ends(),
            TagEnd::CodeBlock => self.writer.pre_ends(),
            TagEnd::List(_) => {
                self.lists.pop();
                if self.lists.is_empty() {
                    self.writer.paragraph();
                }
            }
            TagEnd::TableCell => self.writer.cell_ends(),
            TagEnd::Item => self.writer.line(),
            TagEnd::Paragraph | TagEnd::Table | TagEnd::BlockQuote(_) | TagEnd::FootnoteDefinition => {
                self.writer.paragraph();
            }
            TagEnd::MetadataBlock(_) => self.matter_ends(),
            _ => {}
        }
    }

    fn item(&mut self) {
        match self.lists.last_mut() {
            Some(Some(number)) => {
                self.writer.item(&format!("{number}. "));
                *number = number.saturating_add(1);
            }
            Some(None) | None => self.writer.item("- "),
        }
    }

    /// Of the front matter only the title is of use here.
    fn matter_ends(&mut self) {
        let matter = self.matter.take().unwrap_or_default();
        if let Some(title) = matter.lines().find_map(|line| line.strip_prefix("title:")) {
            let title = title.trim();
            let quoted = |quote: char| title.strip_prefix(quote)?.strip_suffix(quote);
            self.writer.title(quoted('"').or_else(|| quoted('\'')).unwrap_or(title));
        }
    }
}

fn level_of(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}
