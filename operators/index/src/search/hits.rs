//! What is found, with its text and its place.

use std::ops::Range;

use serde::Serialize;

use super::fuse::{Fused, shown};
use super::settle::{Families, Family};
use super::{Mode, Question, Search};
use crate::IndexError;
use crate::document::child_text;
use crate::segment::Children;
use crate::segment::blocks::Room;
use crate::snapshot::{Snapshot, rows_of, value};
use crate::words::{question_words, words};

/// A score of one kind, and the rank by it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Scored {
    /// The score; less is better for [`Metric::L2`](crate::Metric::L2).
    pub score: f64,
    /// The rank, from 1.
    pub rank: usize,
}

/// A passage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParentHit {
    /// Which one of its document, from 0.
    pub number: usize,
    /// Bytes of the extracted text.
    pub span: Range<u64>,
    /// Heading above it, or empty.
    pub heading: String,
    /// Page on which it begins.
    pub page: Option<u32>,
    /// Its text.
    pub text: String,
}

/// The part of a passage that fits best.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChildHit {
    /// Which one of its parent, from 0.
    pub number: usize,
    /// Bytes of the extracted text.
    pub span: Range<u64>,
    /// Page on which it begins.
    pub page: Option<u32>,
}

/// A hit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hit {
    /// Id of the document.
    pub document: String,
    /// Its title.
    pub title: String,
    /// Where it came from.
    pub uri: String,
    /// The passage.
    pub parent: ParentHit,
    /// The nearest child, or the one with most of the question's words; none where the passage has no children.
    pub child: Option<ChildHit>,
    /// What orders the hits: the score of the one kind that was asked for, or the sum of reciprocal ranks.
    pub score: f64,
    /// By vectors.
    pub dense: Option<Scored>,
    /// By words.
    pub words: Option<Scored>,
    /// Version of the index.
    pub version: u64,
}

impl Snapshot {
    pub(super) fn hits(
        &self,
        search: &Search,
        families: &Families<'_>,
        question: &Question,
        found: &[Fused],
        room: &mut Room,
    ) -> Result<Vec<Hit>, IndexError> {
        self.touch(families, found)?;
        let mut hits = Vec::with_capacity(found.len());
        for (fused, text) in found.iter().zip(self.texts(found, room)?) {
            hits.push(self.hit(search, question, fused, families.of(fused.segment)?, text)?);
        }
        Ok(hits)
    }

    /// Reads a little of all that hits are made of. Each piece lies somewhere else in memory: waited for one after another,
    /// as they are when every hit is made by itself, they take longer than all the rest of it.
    fn touch(&self, families: &Families<'_>, found: &[Fused]) -> Result<(), IndexError> {
        let mut sum = 0_u64;
        for fused in found {
            let Family { children, parents, documents } = families.of(fused.segment)?;
            let (row, first) =
                (fused.parent as usize, |text: &str| text.as_bytes().first().map_or(0, |&byte| byte.into()));
            let document = parents.document.value(row) as usize;
            let child = fused.child.map_or(0, |child| child as usize);
            let of_child = children.start.values().get(child).zip(children.end.values().get(child));
            sum ^= of_child.map_or(0, |(start, end)| start ^ end);
            sum ^= parents.start.value(row) ^ parents.end.value(row) ^ u64::from(parents.page.value(row));
            sum ^= first(documents.id.value(document)) ^ first(documents.title.value(document));
            sum ^= first(documents.uri.value(document)) ^ first(parents.heading.value(row));
        }
        std::hint::black_box(sum);
        Ok(())
    }

    /// The texts of what was found, those of each segment read together.
    fn texts(&self, found: &[Fused], room: &mut Room) -> Result<Vec<String>, IndexError> {
        let mut texts = vec![String::new(); found.len()];
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_by_key(|&at| found[at].segment);
        for same in order.chunk_by(|&a, &b| found[a].segment == found[b].segment) {
            let parents: Vec<usize> = same.iter().map(|&at| found[at].parent as usize).collect();
            let segment = found[same[0]].segment as usize;
            self.each_text(segment, &parents, room, |at, text| text.clone_into(&mut texts[same[at]]))?;
        }
        Ok(texts)
    }

    fn hit(
        &self,
        search: &Search,
        question: &Question,
        fused: &Fused,
        family: &Family,
        text: String,
    ) -> Result<Hit, IndexError> {
        let row = fused.parent as usize;
        let Family { children, parents, documents } = family;
        let document = parents.document.value(row) as usize;
        let parent = ParentHit {
            number: row - first_of(parents.document.values(), row),
            span: parents.start.value(row)..parents.end.value(row),
            heading: parents.heading.value(row).to_owned(),
            page: value(&parents.page, row),
            text,
        };
        let child = match fused.child {
            Some(child) => Some(child as usize),
            None => nearest_by_words(children, rows_of(&children.parent, row), &parent, &question.text),
        };
        let child = child.map(|child| ChildHit {
            number: child - first_of(children.parent.values(), child),
            span: children.start.value(child)..children.end.value(child),
            page: value(&children.page, child),
        });
        let metric = search.metric.unwrap_or(self.settings().metric);
        let scored = |(score, rank)| Scored { score, rank };
        Ok(Hit {
            document: documents.id.value(document).to_owned(),
            title: documents.title.value(document).to_owned(),
            uri: documents.uri.value(document).to_owned(),
            parent,
            child,
            score: if search.mode == Mode::Dense { shown(metric, fused.score) } else { fused.score },
            dense: fused.dense.map(|(score, rank)| Scored { score: shown(metric, score), rank }),
            words: fused.words.map(scored),
            version: self.version(),
        })
    }
}

/// The first row that has the owner of this one: it is a few rows before, where halving would look all over the table.
fn first_of(owners: &[u32], row: usize) -> usize {
    (0..row).rev().take_while(|&before| owners[before] == owners[row]).last().unwrap_or(row)
}

/// The child with most of the question's words; the first of equals.
fn nearest_by_words(children: &Children, family: Range<usize>, parent: &ParentHit, question: &str) -> Option<usize> {
    let wanted = question_words(question);
    let count = |child: usize| {
        let span = children.start.value(child)..children.end.value(child);
        let mut count = 0;
        words(child_text(&parent.text, &parent.span, &span).unwrap_or_default(), |word| {
            count += usize::from(wanted.iter().any(|wanted| wanted == word));
        });
        count
    };
    family.rev().max_by_key(|&child| count(child))
}
