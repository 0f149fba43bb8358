//! A document's text, and where in it one is.

use crate::Kind;

/// The text of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// Its title, where it states one.
    pub title: Option<String>,
    /// Its text: what chunks and citations point into.
    pub text: String,
    /// Where headings and pages begin, ascending.
    pub sections: Vec<Section>,
    /// The encoding that its bytes were read in, by its WHATWG name.
    pub encoding: &'static str,
    /// What it was.
    pub kind: Kind,
}

/// The begin of a heading's part of the text, or of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// A byte of the text.
    pub start: usize,
    /// The heading; none where only a page begins.
    pub heading: Option<String>,
    /// 1 (a chapter) to 6; 0 where only a page begins.
    pub level: u8,
    /// The page that begins here, counted from 1.
    pub page: Option<u32>,
}

/// What a citation says of a place in a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place<'a> {
    /// The nearest heading above.
    pub heading: Option<&'a str>,
    /// The page, counted from 1.
    pub page: Option<u32>,
}

impl Extracted {
    /// The heading and page in force at a byte of the text.
    pub fn place(&self, byte: usize) -> Place<'_> {
        let above = &self.sections[..self.sections.partition_point(|section| section.start <= byte)];
        Place {
            heading: above.iter().rev().find_map(|section| section.heading.as_deref()),
            page: above.iter().rev().find_map(|section| section.page),
        }
    }
}

/// Places of ascending bytes, so that a long document's sections are walked once.
pub(crate) struct Places<'a> {
    sections: std::iter::Peekable<std::slice::Iter<'a, Section>>,
    place: Place<'a>,
}

impl<'a> Places<'a> {
    pub(crate) fn new(document: &'a Extracted) -> Self {
        Self { sections: document.sections.iter().peekable(), place: Place::default() }
    }

    /// The place of a byte that is not before the last one asked for.
    pub(crate) fn at(&mut self, byte: usize) -> Place<'a> {
        while let Some(section) = self.sections.next_if(|section| section.start <= byte) {
            self.place.heading = section.heading.as_deref().or(self.place.heading);
            self.place.page = section.page.or(self.place.page);
        }
        self.place
    }
}
