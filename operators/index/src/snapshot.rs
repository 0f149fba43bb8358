//! A collection as of one version: which rows of which segments count.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use arrow_array::{Array, LargeStringArray, UInt32Array};
use serde_json::{Map, Value};

use crate::bits::Bits;
use crate::cache::Cache;
use crate::document::{Child, Document, Parent};
use crate::fields::SegmentFields;
use crate::manifest::Manifest;
use crate::search::WordStatistics;
use crate::segment::blocks::{Blocks, Room};
use crate::segment::{Children, Documents, Parents, Segment, Table, Texts, Vectors, read_marks};
use crate::{IndexError, Settings, Source};

/// A collection as of one version. It never changes; searches run on it.
pub struct Snapshot {
    collection: String,
    manifest: Manifest,
    pub(crate) segments: Vec<Arc<Segment>>,
    /// For each segment, the rows of documents that count.
    pub(crate) live: Vec<Arc<Bits>>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) statistics: OnceLock<WordStatistics>,
    /// For each segment, the children that are live; known since the first search by vectors.
    pub(crate) live_children: OnceLock<Vec<Arc<Bits>>>,
    /// For each segment, what filters can name; known since somebody asked.
    pub(crate) fields: Vec<SegmentFields>,
}

/// How large a collection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Documents.
    pub documents: u64,
    /// Documents and deletions in segments that later ones hide.
    pub hidden: u64,
    /// Passages, hidden ones included.
    pub parents: u64,
    /// Vectors, hidden ones included.
    pub children: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes of all segments.
    pub bytes: u64,
}

/// What is said of a document beside its text.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// Title, or empty.
    pub title: String,
    /// What filters see.
    pub metadata: Map<String, Value>,
    /// Digest of its content.
    pub digest: String,
    /// Where it came from, or empty.
    pub uri: String,
}

/// The last change of a document, as far as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Last {
    /// Where it was read.
    pub source: Source,
    /// What it made of the document; none where it took it out.
    pub about: Option<About>,
    /// Passages.
    pub parents: usize,
    /// Vectors.
    pub children: usize,
}

impl Snapshot {
    pub(crate) fn new(
        collection: String,
        manifest: Manifest,
        segments: Vec<Arc<Segment>>,
        cache: Arc<Cache>,
        before: Option<&Snapshot>,
    ) -> Result<Self, IndexError> {
        let shared = before.map_or(0, |before| shared(&before.segments, &segments));
        let mut live: Vec<Arc<Bits>> = before.map_or(Vec::new(), |before| before.live.clone());
        // Where the other one has more segments, those hide rows here: they count again.
        if before.is_some_and(|before| before.segments.len() > shared) {
            live.clear();
        }
        let known = live.len().min(shared);
        live.truncate(known);
        live_rows(&cache, &segments, known, &mut live)?;
        let same = |at: usize, before: &&Snapshot| at < known && Arc::ptr_eq(&before.live[at], &live[at]);
        let kept = |at: usize| before.filter(|before| same(at, before)).map(|before| before.fields[at].clone());
        let fields = (0..segments.len()).map(|at| kept(at).unwrap_or_default()).collect();
        Ok(Self {
            collection,
            manifest,
            segments,
            live,
            cache,
            statistics: OnceLock::new(),
            live_children: OnceLock::new(),
            fields,
        })
    }

    /// Name of the collection.
    pub fn collection(&self) -> &str {
        &self.collection
    }

    /// The version, which is the manifest's number.
    pub fn version(&self) -> u64 {
        self.manifest.number
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What the collection is made with.
    pub fn settings(&self) -> &Settings {
        &self.manifest.settings
    }

    /// True where the change that was read there is part of this version, if it is one of this collection.
    pub fn covers(&self, source: Source) -> bool {
        source.offset < self.manifest.next_of(source.partition)
    }

    /// How large it is.
    pub fn counts(&self) -> Counts {
        let entries = self.manifest.segments.iter();
        let sum = |of: fn(&crate::SegmentEntry) -> u64| entries.clone().map(of).sum::<u64>();
        let documents = self.live.iter().map(|live| live.count() as u64).sum();
        Counts {
            documents,
            hidden: sum(|entry| u64::from(entry.documents) + u64::from(entry.deletions)) - documents,
            parents: sum(|entry| entry.parents.into()),
            children: sum(|entry| entry.children.into()),
            segments: self.segments.len() as u64,
            bytes: sum(|entry| entry.bytes),
        }
    }

    /// A section of a segment.
    pub(crate) fn table<T: Table>(&self, segment: usize) -> Result<Arc<T>, IndexError> {
        self.cache.get(&self.segments[segment])
    }

    /// Calls `with` with the texts of some parents, which are read alone, and at which place among `parents` each is.
    pub(crate) fn each_text(
        &self,
        segment: usize,
        parents: &[usize],
        room: &mut Room,
        with: impl FnMut(usize, &str),
    ) -> Result<(), IndexError> {
        Blocks::texts(&self.cache, &self.segments[segment]).each_text(parents, room, with)
    }

    /// Calls `each` with every document, segment by segment, and where it was read.
    pub fn each_document(&self, mut each: impl FnMut(Source, Document)) -> Result<(), IndexError> {
        (0..self.segments.len()).try_for_each(|segment| self.segment_documents(segment, &mut each))
    }

    /// The document of an id.
    pub fn document(&self, id: &str) -> Result<Option<Document>, IndexError> {
        match self.find(id)? {
            Some((segment, row)) => Ok(Some(self.rows(segment)?.document(row))),
            None => Ok(None),
        }
    }

    /// The digest of a document's content; neither its text nor its vectors are read.
    pub fn digest(&self, id: &str) -> Result<Option<String>, IndexError> {
        Ok(self.about(id)?.map(|about| about.digest))
    }

    /// What is said of a document beside its text, which is not read.
    pub fn about(&self, id: &str) -> Result<Option<About>, IndexError> {
        let Some((segment, row)) = self.find(id)? else { return Ok(None) };
        let documents = self.table::<Documents>(segment)?;
        Ok(Some(about(&documents, row)))
    }

    /// The last change of a document. A deletion is kept until a compaction has nothing left that it hides.
    pub fn last_change(&self, id: &str) -> Result<Option<Last>, IndexError> {
        for segment in (0..self.segments.len()).rev() {
            if let Some(row) = self.table::<Documents>(segment)?.find(id) {
                return self.last(segment, row).map(Some);
            }
        }
        Ok(None)
    }

    fn last(&self, segment: usize, row: usize) -> Result<Last, IndexError> {
        let documents = self.table::<Documents>(segment)?;
        let source = Source { partition: documents.partition.value(row), offset: documents.offset.value(row) };
        if documents.deleted.value(row) {
            return Ok(Last { source, about: None, parents: 0, children: 0 });
        }
        let (parents, children) = (self.table::<Parents>(segment)?, self.table::<Children>(segment)?);
        let parents = rows_of(&parents.document, row);
        let children = parents.clone().map(|parent| rows_of(&children.parent, parent).len()).sum();
        Ok(Last { source, about: Some(about(&documents, row)), parents: parents.len(), children })
    }

    /// Calls `each` with every document's id and where it came from; texts and vectors are not read.
    pub fn each_place(&self, mut each: impl FnMut(&str, &str)) -> Result<(), IndexError> {
        for (segment, live) in self.live.iter().enumerate() {
            let documents = self.table::<Documents>(segment)?;
            live.iter().for_each(|row| each(documents.id.value(row), documents.uri.value(row)));
        }
        Ok(())
    }

    /// The page in force at the end of a span of a document's passage, by the number of the passage; none where no page
    /// begins in it. Texts and vectors are not read.
    pub fn last_page(&self, id: &str, passage: usize, end: u64) -> Result<Option<u32>, IndexError> {
        let Some((segment, row)) = self.find(id)? else { return Ok(None) };
        let parents = self.table::<Parents>(segment)?;
        let Some(row) = rows_of(&parents.document, row).nth(passage) else { return Ok(None) };
        let marks = read_marks(parents.marks.value(row)).unwrap_or_default();
        Ok(marks.iter().rev().filter(|mark| mark.start < end).find_map(|mark| mark.page))
    }

    /// The segment and row of a document.
    fn find(&self, id: &str) -> Result<Option<(usize, usize)>, IndexError> {
        for segment in 0..self.segments.len() {
            let row = self.table::<Documents>(segment)?.find(id);
            if let Some(row) = row.filter(|&row| self.live[segment].get(row)) {
                return Ok(Some((segment, row)));
            }
        }
        Ok(None)
    }

    pub(crate) fn segment_documents(
        &self,
        segment: usize,
        each: &mut impl FnMut(Source, Document),
    ) -> Result<(), IndexError> {
        let rows = self.rows(segment)?;
        for row in self.live[segment].iter() {
            each(rows.source(row), rows.document(row));
        }
        Ok(())
    }

    fn rows(&self, segment: usize) -> Result<Rows, IndexError> {
        Ok(Rows { vectors: Some(self.table(segment)?), ..self.rows_without_vectors(segment)? })
    }

    /// What makes documents of a segment's rows; their children have empty vectors.
    pub(crate) fn rows_without_vectors(&self, segment: usize) -> Result<Rows, IndexError> {
        Ok(Rows {
            documents: self.table(segment)?,
            parents: self.table(segment)?,
            texts: self.table(segment)?,
            children: self.table(segment)?,
            vectors: None,
        })
    }
}

fn about(documents: &Documents, row: usize) -> About {
    About {
        title: documents.title.value(row).to_owned(),
        metadata: crate::segment::read_metadata(documents.metadata.value(row)),
        digest: documents.digest.value(row).to_owned(),
        uri: documents.uri.value(row).to_owned(),
    }
}

/// All that makes documents of a segment's rows.
pub(crate) struct Rows {
    documents: Arc<Documents>,
    parents: Arc<Parents>,
    texts: Arc<Texts>,
    children: Arc<Children>,
    vectors: Option<Arc<Vectors>>,
}

impl Rows {
    pub(crate) fn source(&self, row: usize) -> Source {
        Source { partition: self.documents.partition.value(row), offset: self.documents.offset.value(row) }
    }

    pub(crate) fn document(&self, row: usize) -> Document {
        let documents = &self.documents;
        let text = |column: &LargeStringArray| column.value(row).to_owned();
        Document {
            id: text(&documents.id),
            title: text(&documents.title),
            uri: text(&documents.uri),
            metadata: crate::segment::read_metadata(documents.metadata.value(row)),
            digest: text(&documents.digest),
            parents: rows_of(&self.parents.document, row).map(|parent| self.parent(parent)).collect(),
        }
    }

    fn parent(&self, row: usize) -> Parent {
        let parents = &self.parents;
        Parent {
            span: parents.start.value(row)..parents.end.value(row),
            text: self.texts.0.value(row).to_owned(),
            heading: parents.heading.value(row).to_owned(),
            page: value(&parents.page, row),
            marks: read_marks(parents.marks.value(row)).unwrap_or_default(),
            children: rows_of(&self.children.parent, row).map(|child| self.child(child)).collect(),
        }
    }

    fn child(&self, row: usize) -> Child {
        let children = &self.children;
        Child {
            span: children.start.value(row)..children.end.value(row),
            page: value(&children.page, row),
            vector: self.vectors.as_ref().map_or_else(Vec::new, |vectors| vectors.row(row).to_vec()),
        }
    }
}

pub(crate) fn value(column: &UInt32Array, row: usize) -> Option<u32> {
    column.is_valid(row).then(|| column.value(row))
}

/// The rows that belong to a row of another section: owners ascend.
pub(crate) fn rows_of(owners: &UInt32Array, row: usize) -> std::ops::Range<usize> {
    let owners = owners.values();
    owners.partition_point(|&owner| (owner as usize) < row)..owners.partition_point(|&owner| owner as usize <= row)
}

/// How many segments two versions have in common at the beginning.
fn shared(before: &[Arc<Segment>], after: &[Arc<Segment>]) -> usize {
    before.iter().zip(after).take_while(|(before, after)| before.entry == after.entry).count()
}

/// Which rows count: those whose document no later segment names, and which are no deletion. Of the first `known`
/// segments that is known already, as far as it depends on each other.
fn live_rows(
    cache: &Cache,
    segments: &[Arc<Segment>],
    known: usize,
    live: &mut Vec<Arc<Bits>>,
) -> Result<(), IndexError> {
    let tables = segments.iter().map(|segment| cache.get::<Documents>(segment)).collect::<Result<Vec<_>, _>>()?;
    let mut later: HashSet<&str> = HashSet::new();
    let mut new = Vec::new();
    for documents in tables[known..].iter().rev() {
        let counts = |row: usize| !documents.deleted.value(row) && !later.contains(documents.id.value(row));
        new.push(Arc::new(Bits::of(documents.id.len(), counts)));
        // The oldest segment hides nothing, and may be by far the largest.
        if new.len() < segments.len() {
            later.extend(documents.id.iter().flatten());
        }
    }
    for (documents, live) in tables.iter().zip(live.iter_mut()) {
        hide(documents, &later, live);
    }
    live.extend(new.into_iter().rev());
    Ok(())
}

/// Takes out of `live` the documents that later segments name.
fn hide(documents: &Documents, later: &HashSet<&str>, live: &mut Arc<Bits>) {
    for row in later.iter().filter_map(|id| documents.find(id)) {
        if live.get(row) {
            Arc::make_mut(live).clear(row);
        }
    }
}
