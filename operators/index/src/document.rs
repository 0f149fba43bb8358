//! What comes in: documents cut into parents and children, and batches of changes.

use std::collections::BTreeMap;
use std::ops::Range;

use lunapark_schemas::documents::MAX_ID_BYTES;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::IndexError;

/// A document as it is indexed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// Its key: a later document of the same id replaces it.
    pub id: String,
    /// Title, or empty.
    pub title: String,
    /// Where it came from, or empty.
    pub uri: String,
    /// What filters see.
    pub metadata: Map<String, Value>,
    /// Digest of its content, by which a sender tells what has changed.
    pub digest: String,
    /// The passages whose texts follow one another.
    pub parents: Vec<Parent>,
}

/// A passage that is shown and searched by its words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parent {
    /// Bytes of the extracted text.
    pub span: Range<u64>,
    /// Those bytes.
    pub text: String,
    /// Heading above it, or empty.
    pub heading: String,
    /// Page on which it begins.
    pub page: Option<u32>,
    /// Where headings and pages begin in it, ascending: by them the text can be cut anew.
    pub marks: Vec<Mark>,
    /// What is searched by its vector.
    pub children: Vec<Child>,
}

/// The begin of a heading's part of the text, or of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// A byte of the extracted text.
    pub start: u64,
    /// The heading; none where only a page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heading: Option<String>,
    /// 1 (a chapter) to 6; 0 where only a page begins.
    #[serde(default)]
    pub level: u8,
    /// The page that begins here, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
}

/// A part of a parent, with its vector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Child {
    /// Bytes of the extracted text, inside the parent's.
    pub span: Range<u64>,
    /// Page on which it begins.
    pub page: Option<u32>,
    /// Its vector.
    pub vector: Vec<f32>,
}

/// Where a change was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// Partition.
    pub partition: i32,
    /// Offset in it.
    pub offset: i64,
}

/// One change of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Where it was read.
    pub source: Source,
    /// What it does.
    pub action: Action,
}

/// What a change does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Adds a document, in the place of the one of the same id.
    Put(Document),
    /// Removes the document of this id, where there is one.
    Delete(String),
}

impl Change {
    /// Id of the document that it changes.
    pub fn document(&self) -> &str {
        match &self.action {
            Action::Put(document) => &document.id,
            Action::Delete(id) => id,
        }
    }

    /// Refuses what would break the collection; the message names the document.
    pub(crate) fn check(&self, dimension: usize) -> Result<(), IndexError> {
        let sound = check_id(self.document()).and_then(|()| match &self.action {
            Action::Put(document) => check_document(document, dimension),
            Action::Delete(_) => Ok(()),
        });
        let named = || format!("document `{}`", self.document().chars().take(100).collect::<String>());
        sound.map_err(|why| IndexError::refused(named(), why))
    }
}

/// Changes of one collection, in the order in which they were read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The changes; offsets of one partition ascend.
    pub changes: Vec<Change>,
    /// First and next offset of each partition that was *read*, records of other collections included.
    pub read: BTreeMap<i32, Range<i64>>,
}

/// The answer to a change. It depends on the change alone, so that a replay gives the same bytes: the place in its topic
/// is the document's version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Id of the document.
    pub document: String,
    /// Where the change was read.
    pub version: Source,
    /// What was done.
    pub outcome: Outcome,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The document is indexed as of this version.
    Indexed {
        /// Digest of its content.
        digest: String,
        /// Passages.
        parents: usize,
        /// Vectors.
        children: usize,
    },
    /// There is no such document as of this version.
    Deleted,
}

impl Batch {
    /// The answers, one for each change.
    pub(crate) fn answers(&self) -> Vec<Applied> {
        self.changes.iter().map(answer).collect()
    }

    /// Refuses what would break the collection; the message names the document.
    pub(crate) fn check(&self, dimension: usize) -> Result<(), IndexError> {
        let mut last: BTreeMap<i32, i64> = BTreeMap::new();
        for Change { source: Source { partition, offset }, .. } in &self.changes {
            let place = || format!("change {partition}/{offset}");
            let read = self.read.get(partition).is_some_and(|read| read.contains(offset));
            if !read || last.insert(*partition, *offset).is_some_and(|before| before >= *offset) {
                return Err(IndexError::refused(place(), "offsets must ascend, inside what was read of the partition"));
            }
        }
        self.changes.iter().try_for_each(|change| change.check(dimension))
    }
}

fn answer(change: &Change) -> Applied {
    let outcome = match &change.action {
        Action::Delete(_) => Outcome::Deleted,
        Action::Put(document) => Outcome::Indexed {
            digest: document.digest.clone(),
            parents: document.parents.len(),
            children: document.parents.iter().map(|parent| parent.children.len()).sum(),
        },
    };
    Applied { document: change.document().to_owned(), version: change.source, outcome }
}

fn check_id(id: &str) -> Result<(), &'static str> {
    match id.len() {
        1..=MAX_ID_BYTES => Ok(()),
        _ => Err("its id must have 1 to 1024 bytes"),
    }
}

fn check_document(document: &Document, dimension: usize) -> Result<(), &'static str> {
    let mut end = 0;
    for parent in &document.parents {
        let length = parent.span.end.checked_sub(parent.span.start);
        if length != Some(parent.text.len() as u64) || parent.span.start < end {
            return Err("parents must follow one another, each with a text as long as its span");
        }
        end = parent.span.end;
        if !parent.marks.iter().all(|mark| parent.span.contains(&mark.start)) {
            return Err("a heading or page must begin inside the parent that holds it");
        }
        parent.children.iter().try_for_each(|child| check_child(parent, child, dimension))?;
    }
    Ok(())
}

fn check_child(parent: &Parent, child: &Child, dimension: usize) -> Result<(), &'static str> {
    if child_text(&parent.text, &parent.span, &child.span).is_none() {
        return Err("a child's span must lie in its parent's, between whole characters");
    }
    if child.vector.len() != dimension || !child.vector.iter().all(|x| x.is_finite()) {
        return Err("a vector must have the collection's dimension and finite numbers");
    }
    Ok(())
}

/// The text of a child; none where its span is not inside the parent's.
pub(crate) fn child_text<'a>(text: &'a str, parent: &Range<u64>, child: &Range<u64>) -> Option<&'a str> {
    let place = |at: u64| usize::try_from(at.checked_sub(parent.start)?).ok();
    text.get(place(child.start)?..place(child.end)?)
}
