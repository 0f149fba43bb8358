//! A text cut into parents and children, by the tokens of the model that will embed them.
//!
//! ```text
//!   text     │ Heading. Some sentences … │ a paragraph … │ a very long table …         │
//!   parents  [──────────── 0 ────────────][────── 1 ─────][───── 2 ─────][───── 3 ─────]   tile the text
//!   children [──── 0 ────]               [───── 0 ──────]                                  tile their parent,
//!                   [──── 1 ─────]                                                         overlapping by sentences
//! ```
//!
//! Where tokens begin is asked once, for the whole text. That proposes each cut: the strongest bound (heading,
//! paragraph, sentence, line, word) that leaves a piece well filled. Then the piece alone is counted again, because a
//! tokenizer may see it differently; one that has grown is cut shorter. So no piece is ever above its size, whatever
//! the tokenizer does.

mod bounds;
mod cut;
mod options;
mod sentence;

use std::ops::Range;

use crate::Extracted;
use crate::extracted::Places;
use cut::Cutter;
pub use options::{ChunkError, ChunkOptions};

/// What chunk sizes are counted by.
pub trait Tokens {
    /// The bytes that each token of the text stands for, special tokens left out, nothing truncated.
    fn spans(&self, text: &str) -> Result<Vec<Range<usize>>, String>;
    /// Tokens that a model gets beside the text: special ones and a passage's prefix.
    fn overhead(&self) -> usize;
    /// Tokens that the model takes, at most, overhead included.
    fn limit(&self) -> usize;
}

/// What a reader, human or model, gets to see around a hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its bytes of the text.
    pub span: Range<usize>,
    /// The heading above it.
    pub heading: Option<String>,
    /// The page that it begins on.
    pub page: Option<u32>,
    /// What is embedded of it; none where it is white space.
    pub children: Vec<Child>,
}

/// What is embedded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its bytes of the text.
    pub span: Range<usize>,
    /// The page that it begins on.
    pub page: Option<u32>,
}

/// Cuts a document: parents that tile its text, and in each the children that are embedded.
pub fn chunk(document: &Extracted, tokens: &dyn Tokens, options: &ChunkOptions) -> Result<Vec<Parent>, ChunkError> {
    let room = options.room(tokens)?;
    let cutter = Cutter::new(document, tokens)?;
    let (mut parents, mut start) = (Vec::new(), 0);
    let (mut of_parents, mut of_children) = (Places::new(document), Places::new(document));
    while start < document.text.len() {
        let end = cutter.piece(start, document.text.len(), options.parent_tokens)?.span.end;
        // A page's or section's own white space belongs to what follows it.
        let place = of_parents.at(first_word(&document.text, start..end));
        let spans = children(&cutter, start..end, room, options.child_overlap)?;
        let child = |span: Range<usize>| {
            let page = of_children.at(first_word(&document.text, span.clone())).page;
            Child { span, page }
        };
        let children = spans.into_iter().map(child).collect();
        let heading = place.heading.map(str::to_owned);
        parents.push(Parent { span: start..end, heading, page: place.page, children });
        start = end;
    }
    Ok(parents)
}

/// Where the words of a piece begin; its start where it has none.
fn first_word(text: &str, span: Range<usize>) -> usize {
    let piece = &text[span.clone()];
    span.start + piece.find(|char: char| !char.is_whitespace()).unwrap_or(0)
}

/// The children of a parent: each goes on where the one before ended, less the overlap.
fn children(
    cutter: &Cutter<'_>,
    parent: Range<usize>,
    room: usize,
    overlap: usize,
) -> Result<Vec<Range<usize>>, ChunkError> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    if cutter.is_blank(parent.clone()) {
        return Ok(spans);
    }
    let (mut start, mut done) = (parent.start, parent.start);
    while done < parent.end {
        let mut piece = cutter.piece(start, parent.end, room)?;
        if piece.span.end <= done {
            // What was to be repeated fills the child: without it there is progress.
            piece = cutter.piece(done, parent.end, room)?;
        }
        done = piece.span.end;
        start = cutter.overlap(&piece, overlap);
        spans.push(piece.span);
    }
    Ok(spans)
}
