//! Marked-up text made readable: what HTML and Markdown have in common.
//!
//! White space is decided between words, never written ahead: a gap grows from a space to a line to a paragraph as marks
//! are met, and is written before the next word. So there is no state but the place in the text, and nothing nests.

use crate::{ExtractError, Extracted, Kind, Limits, Section};

/// What stands between the last word and the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    #[default]
    None,
    Space,
    Line,
    Paragraph,
}

impl Gap {
    fn text(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Space => " ",
            Self::Line => "\n",
            Self::Paragraph => "\n\n",
        }
    }
}

/// A text under construction.
#[derive(Debug)]
pub(crate) struct Writer {
    text: String,
    sections: Vec<Section>,
    title: Option<String>,
    first_chapter: Option<String>,
    gap: Gap,
    mark: String,
    heading: Option<Heading>,
    cells: usize,
    in_cell: bool,
    pre: bool,
    max_bytes: usize,
}

/// A heading that is not over.
#[derive(Clone, Copy, Debug)]
struct Heading {
    level: u8,
    start: Option<usize>,
}

impl Writer {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            text: String::new(),
            sections: Vec::new(),
            title: None,
            first_chapter: None,
            gap: Gap::None,
            mark: String::new(),
            heading: None,
            cells: 0,
            in_cell: false,
            pre: false,
            max_bytes: limits.max_text_bytes,
        }
    }

    /// The document so far.
    pub(crate) fn finish(mut self, encoding: &'static str, kind: Kind) -> Result<Extracted, ExtractError> {
        self.heading_ends();
        if self.text.len() > self.max_bytes {
            return Err(ExtractError::too_large("bytes of text", self.text.len(), self.max_bytes));
        }
        let title = self.title.or(self.first_chapter);
        Ok(Extracted { title, text: self.text, sections: self.sections, encoding, kind })
    }

    /// The document says its title; its first title counts.
    pub(crate) fn title(&mut self, title: &str) {
        let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
        if self.title.is_none() && !title.is_empty() {
            self.title = Some(title);
        }
    }

    /// Text whose white space only parts words, except where it is preformatted.
    pub(crate) fn text(&mut self, text: &str) {
        match self.pre {
            true => self.verbatim(text),
            false => self.words(text),
        }
    }

    fn words(&mut self, text: &str) {
        if text.starts_with(is_space) {
            self.space();
        }
        let mut words = text.split(is_space).filter(|word| !word.is_empty()).peekable();
        while let Some(word) = words.next() {
            self.push(word);
            if words.peek().is_some() || text.ends_with(is_space) {
                self.space();
            }
        }
    }

    /// Text as it is, but for control characters.
    fn verbatim(&mut self, text: &str) {
        if !text.is_empty() {
            self.push("");
            crate::encoding::clean_into(text, &mut self.text);
        }
    }

    /// Appends behind the gap and the mark that are due. What is above the limit is not kept: `finish` refuses it.
    fn push(&mut self, word: &str) {
        if self.text.len() > self.max_bytes {
            return;
        }
        if !self.text.is_empty() {
            self.text.push_str(self.gap.text());
        }
        self.gap = Gap::None;
        self.text.push_str(&std::mem::take(&mut self.mark));
        if let Some(heading) = &mut self.heading {
            heading.start.get_or_insert(self.text.len());
        }
        crate::encoding::clean_into(word, &mut self.text);
    }

    /// The next word stands apart.
    pub(crate) fn space(&mut self) {
        self.gap = self.gap.max(Gap::Space);
    }

    /// The next word begins a line; in a table's cell, where a row is a line, it only stands apart.
    pub(crate) fn line(&mut self) {
        self.gap = self.gap.max(if self.in_cell { Gap::Space } else { Gap::Line });
    }

    /// The next word begins a paragraph, but in a cell, and where it is an item's first.
    pub(crate) fn paragraph(&mut self) {
        let inside = self.in_cell || !self.mark.is_empty();
        self.gap = self.gap.max(if inside { Gap::Space } else { Gap::Paragraph });
    }

    /// The next word begins an item of a list, behind this mark.
    pub(crate) fn item(&mut self, mark: &str) {
        self.line();
        mark.clone_into(&mut self.mark);
    }

    /// A row of a table begins.
    pub(crate) fn row(&mut self) {
        self.cell_ends();
        self.line();
        self.cells = 0;
    }

    /// A cell of a row begins.
    pub(crate) fn cell(&mut self) {
        self.in_cell = true;
        if self.cells > 0 {
            self.space();
            self.push("|");
            self.space();
        }
        self.cells += 1;
    }

    /// A cell is over, or turns out to hold a part of the page, as where tables make a layout.
    pub(crate) fn cell_ends(&mut self) {
        self.in_cell = false;
    }

    /// Preformatted text begins.
    pub(crate) fn pre_begins(&mut self) {
        self.cell_ends();
        self.paragraph();
        self.pre = true;
    }

    /// Preformatted text is over.
    pub(crate) fn pre_ends(&mut self) {
        if std::mem::take(&mut self.pre) {
            self.text.truncate(self.text.trim_end_matches(['\n', '\r']).len());
            self.paragraph();
        }
    }

    /// Whether text is preformatted.
    pub(crate) fn is_pre(&self) -> bool {
        self.pre
    }

    /// A heading begins.
    pub(crate) fn heading_begins(&mut self, level: u8) {
        self.heading_ends();
        self.cell_ends();
        self.paragraph();
        // An item that is a heading is a heading.
        self.mark.clear();
        self.heading = Some(Heading { level, start: None });
    }

    /// A heading is over: it becomes a section, if it has words.
    pub(crate) fn heading_ends(&mut self) {
        if let Some(Heading { level, start: Some(start) }) = self.heading.take() {
            let words = self.text.get(start..).unwrap_or_default().split_whitespace();
            let heading = words.collect::<Vec<_>>().join(" ");
            self.section(start, level, heading);
        }
        self.paragraph();
    }

    fn section(&mut self, start: usize, level: u8, heading: String) {
        if heading.is_empty() {
            return;
        }
        if level == 1 && self.first_chapter.is_none() {
            self.first_chapter = Some(heading.clone());
        }
        self.sections.push(Section { start, heading: Some(heading), level, page: None });
    }
}

/// The white space of markup; a no-break space keeps words together.
fn is_space(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\n' | '\r' | '\u{c}')
}
