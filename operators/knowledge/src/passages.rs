//! Between a document's text and its passages: cut for the index, and put together again.

use std::borrow::Cow;
use std::ops::Range;

use lunapark_documents::{ChunkError, ChunkOptions, Extracted, Kind, Section, Tokens};
use lunapark_embed::{Encoder, Role};
use lunapark_index::{Child, Document, Mark, Parent, title_beside};

/// Which rule makes a passage's vector of its text and title: raised with each change. The first one knew no titles.
pub const PASSAGE_RULE: u32 = 2;
/// At most this part of a child is its document's title.
const TITLE_SHARE: usize = 4;

/// A document, cut.
pub(crate) struct Cut {
    pub parents: Vec<lunapark_documents::Parent>,
    /// What is embedded before each child: the title, where the text does not have it itself.
    title: Option<String>,
}

impl Cut {
    /// Cuts a text by the tokens of an encoder.
    pub fn of(
        extracted: &Extracted,
        title: Option<&str>,
        encoder: &Encoder,
        options: &ChunkOptions,
    ) -> Result<Self, ChunkError> {
        let room = options.child_tokens.min(encoder.max_tokens()) / TITLE_SHARE;
        let title = title.and_then(|title| title_beside(title, &extracted.text));
        let title = title.and_then(|title| Title::within(title, encoder, room));
        let counted = Counted { encoder, title: title.as_ref().map_or(0, |title| title.tokens) };
        let parents = lunapark_documents::chunk(extracted, &counted, options)?;
        Ok(Self { parents, title: title.map(|title| title.text) })
    }

    /// Every child with its parent's number, in the document's order.
    pub fn children(&self) -> impl Iterator<Item = (usize, &lunapark_documents::Child)> {
        self.parents.iter().enumerate().flat_map(|(number, parent)| parent.children.iter().map(move |c| (number, c)))
    }

    /// What is embedded of each child.
    pub fn texts<'a>(&'a self, extracted: &'a Extracted) -> impl Iterator<Item = Cow<'a, str>> {
        self.children().map(move |(_, child)| {
            let text = extracted.text.get(child.span.clone()).unwrap_or_default();
            match &self.title {
                Some(title) => Cow::Owned(format!("{title}\n{text}")),
                None => Cow::Borrowed(text),
            }
        })
    }
}

/// A title as it is embedded.
struct Title {
    text: String,
    tokens: usize,
}

impl Title {
    /// The beginning of a title that has at most so many tokens; none where no word of it does.
    fn within(title: &str, encoder: &Encoder, most: usize) -> Option<Self> {
        let spans = encoder.tokenizer().spans(title).ok()?;
        let text = match spans.get(most) {
            None => title,
            // Not in the middle of a word.
            Some(next) => title[..next.start].rsplit_once(char::is_whitespace)?.0,
        };
        let tokens = encoder.tokenizer().spans(&format!("{text}\n")).ok()?.len();
        (0 < tokens && tokens <= most).then(|| Self { text: text.to_owned(), tokens })
    }
}

/// The encoder as what sizes are counted by.
struct Counted<'a> {
    encoder: &'a Encoder,
    /// Tokens of the title before each child.
    title: usize,
}

impl Tokens for Counted<'_> {
    fn spans(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
        self.encoder.tokenizer().spans(text).map_err(|error| error.to_string())
    }

    fn overhead(&self) -> usize {
        self.encoder.tokenizer().overhead(Role::Passage) + self.title
    }

    fn limit(&self) -> usize {
        self.encoder.max_tokens()
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
