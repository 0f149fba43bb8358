//! Between a document's text and its passages: cut for the index, and put together again.

use std::ops::Range;

use lunapark_documents::{Extracted, Kind, Section, Tokens};
use lunapark_embed::{Encoder, Role};
use lunapark_index::{Child, Document, Mark, Parent};

/// The encoder as what sizes are counted by.
pub(crate) struct Counted<'a>(&'a Encoder);

impl<'a> Counted<'a> {
    pub fn by(encoder: &'a Encoder) -> Self {
        Self(encoder)
    }
}

impl Tokens for Counted<'_> {
    fn spans(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
        self.0.tokenizer().spans(text).map_err(|error| error.to_string())
    }

    fn overhead(&self) -> usize {
        self.0.tokenizer().overhead(Role::Passage)
    }

    fn limit(&self) -> usize {
        self.0.max_tokens()
    }
}

/// The parents as they are indexed; takes the vectors of their children off the front.
pub(crate) fn indexed<'a>(
    extracted: &Extracted,
    parents: &[lunapark_documents::Parent],
    vectors: &mut impl Iterator<Item = &'a [f32]>,
) -> Vec<Parent> {
    let wide = |span: &Range<usize>| span.start as u64..span.end as u64;
    let mut sections = extracted.sections.iter().peekable();
    let mut parent = |parent: &lunapark_documents::Parent| Parent {
        span: wide(&parent.span),
        text: extracted.text.get(parent.span.clone()).unwrap_or_default().to_owned(),
        heading: parent.heading.clone().unwrap_or_default(),
        page: parent.page,
        marks: std::iter::from_fn(|| sections.next_if(|section| section.start < parent.span.end))
            .filter(|section| section.start >= parent.span.start)
            .map(mark)
            .collect(),
        children: parent
            .children
            .iter()
            .map(|child| Child {
                span: wide(&child.span),
                page: child.page,
                vector: vectors.next().unwrap_or_default().to_vec(),
            })
            .collect(),
    };
    parents.iter().map(&mut parent).collect()
}

fn mark(section: &Section) -> Mark {
    let Section { start, heading, level, page } = section.clone();
    Mark { start: start as u64, heading, level, page }
}

/// The text that a document was cut from, with its headings and pages.
pub(crate) fn whole(document: &Document) -> Result<Extracted, &'static str> {
    let mut extracted =
        Extracted { title: None, text: String::new(), sections: Vec::new(), encoding: "UTF-8", kind: Kind::Text };
    for parent in &document.parents {
        if parent.span.start != extracted.text.len() as u64 {
            return Err("its passages do not follow one another");
        }
        extracted.text.push_str(&parent.text);
        let section = |mark: &Mark| {
            let start = usize::try_from(mark.start).ok()?;
            Some(Section { start, heading: mark.heading.clone(), level: mark.level, page: mark.page })
        };
        extracted.sections.extend(parent.marks.iter().filter_map(section));
    }
    Ok(extracted)
}
