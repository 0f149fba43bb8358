//! Where a text may be cut, and how well.

use super::sentence;
use crate::Extracted;

/// How good a cut is; the greater the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strength {
    /// Between two words.
    Word,
    /// At a line's end: the bound of rows, of verses and of code, but also of text wrapped by hand.
    Line,
    /// At a sentence's end.
    Sentence,
    /// At an empty line.
    Paragraph,
    /// At a heading.
    Section,
}

/// A place to cut: a piece may begin here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) at: usize,
    pub(super) strength: Strength,
}

/// All bounds inside the text, ascending; each stands behind white space, which so belongs to the piece before.
pub(super) fn bounds(document: &Extracted) -> Vec<Bound> {
    let text = document.text.as_str();
    let mut bounds = Vec::with_capacity(text.len() / 6);
    let (mut word, mut at) = (0, 0);
    while let Some(gap) = next_gap(text, at) {
        let end = after_gap(text, gap);
        if end < text.len() && gap > 0 {
            bounds.push(Bound { at: end, strength: strength(&text[word..gap], &text[gap..end], &text[end..]) });
        }
        (word, at) = (end, end);
    }
    with_sections(bounds, document)
}

/// Where the next white space begins, or where a wide full stop has ended.
fn next_gap(text: &str, from: usize) -> Option<usize> {
    let is_gap = |char: char| char.is_whitespace() || sentence::is_wide_stop(char);
    let (at, char) = text[from..].char_indices().find(|(_, char)| is_gap(*char))?;
    Some(from + at + if sentence::is_wide_stop(char) { char.len_utf8() } else { 0 })
}

fn after_gap(text: &str, gap: usize) -> usize {
    let rest = &text[gap..];
    gap + rest.find(|char: char| !char.is_whitespace()).unwrap_or(rest.len())
}

fn strength(word: &str, gap: &str, rest: &str) -> Strength {
    let lines = gap.bytes().filter(|byte| *byte == b'\n').count();
    match lines {
        2.. => Strength::Paragraph,
        _ if sentence::ends(word, rest.chars().next()) => Strength::Sentence,
        1 => Strength::Line,
        _ => Strength::Word,
    }
}

/// The bounds with those of headings among them.
fn with_sections(mut bounds: Vec<Bound>, document: &Extracted) -> Vec<Bound> {
    let starts = document.sections.iter().filter(|section| section.heading.is_some()).map(|section| section.start);
    let inside = |at: &usize| *at > 0 && *at < document.text.len() && document.text.is_char_boundary(*at);
    bounds.extend(starts.filter(inside).map(|at| Bound { at, strength: Strength::Section }));
    // The strongest of a place comes first, and stays.
    bounds.sort_by_key(|bound| (bound.at, std::cmp::Reverse(bound.strength)));
    bounds.dedup_by_key(|bound| bound.at);
    bounds
}
