//! PDF: its pages come from another process, because readers of PDF panic, loop and ask for memory on odd files.
//!
//! ```text
//!   ChildReader ──stdin: the file──▶ child_main ─┬▶ Pdfium (where its library is found)
//!        ▲                                       └▶ read_here (the pure-Rust reader)
//!        │                           ulimit -v, ulimit -t
//!        └──stdout: one line of JSON──┘
//!   killed at its time limit; what it answers is bounded too
//! ```

mod answer;
mod child;
mod headings;
mod here;
mod pdfium;

pub use child::ChildReader;
pub use here::{child_main, read_here};
pub use pdfium::Pdfium;

use crate::{ExtractError, Extracted, Kind, Limits, Section};

/// Reads the text of a PDF's pages.
pub trait PdfReader: Sync {
    /// The pages of a file, or why there are none.
    fn read(&self, bytes: &[u8], limits: &Limits) -> Result<Pages, ExtractError>;
}

/// What a reader finds in a PDF.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Pages {
    /// The title that the file states.
    pub title: Option<String>,
    /// The text of each page, in order.
    pub pages: Vec<String>,
}

/// The pages as one text, each page a section, and so each heading.
pub(crate) fn document(pages: Pages, limits: &Limits) -> Result<Extracted, ExtractError> {
    if pages.pages.len() > limits.max_pages as usize {
        return Err(ExtractError::too_large("pages", pages.pages.len(), limits.max_pages as usize));
    }
    let (mut text, mut sections) = (String::new(), Vec::with_capacity(pages.pages.len()));
    let mut numbering = headings::Numbering::default();
    for (page, number) in pages.pages.iter().zip(1..) {
        let page_start = text.len();
        sections.push(Section { start: page_start, heading: None, level: 0, page: Some(number) });
        crate::encoding::clean_into(&joined(page.trim()), &mut text);
        sections.extend(numbering.headings(&text[page_start..]).into_iter().map(|heading| Section {
            start: page_start + heading.start,
            heading: Some(heading.text),
            level: heading.level,
            page: None,
        }));
        text.push_str("\n\n");
    }
    let title = pages.title.as_deref().and_then(stated);
    Ok(Extracted { title, text, sections, encoding: "UTF-8", kind: Kind::Pdf })
}

/// A title as its author means it: many programs write the name of the file that they printed.
fn stated(title: &str) -> Option<String> {
    let title = title.trim().trim_start_matches("Microsoft Word - ").trim();
    let name = title.to_ascii_lowercase();
    let is_file = [".doc", ".docx", ".dvi", ".tex", ".pdf", ".ps", ".odt"].iter().any(|end| name.ends_with(end));
    (!title.is_empty() && !is_file && !name.starts_with("untitled")).then(|| title.to_owned())
}

/// A page's text with the words whole that a line's end hyphenates: `manip-⏎ulation` is searched for as one word.
fn joined(page: &str) -> String {
    let mut joined = String::with_capacity(page.len());
    let mut lines = page.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let goes_on = lines.peek().is_some_and(|next| next.starts_with(char::is_lowercase));
        match line.trim_end().strip_suffix('-') {
            Some(start) if goes_on && start.ends_with(char::is_alphabetic) => joined.push_str(start),
            _ => joined.push_str(line),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::{joined, stated};

    #[test]
    fn names_of_files_are_no_titles() {
        for (title, expected) in [
            (" A short paper ", Some("A short paper")),
            ("Microsoft Word - Wings at speed", Some("Wings at speed")),
            ("Microsoft Word - thesis_v3.docx", None),
            ("paper.dvi", None),
            ("Untitled document", None),
            (" ", None),
        ] {
            assert_eq!(stated(title).as_deref(), expected, "{title}");
        }
    }

    #[test]
    fn words_that_a_line_end_hyphenates_are_whole() {
        for (page, expected) in [
            ("manip-\nulation of", "manipulation of"),
            ("perio- \r\ndo\nnext", "periodo\nnext"),
            ("Rossi-\nBianchi", "Rossi-\nBianchi"),
            ("1990-\n1995 a -\nb", "1990-\n1995 a -\nb"),
            ("a-\n\nb-", "a-\n\nb-"),
        ] {
            assert_eq!(joined(page), expected);
        }
    }
}
