//! Documents and deletions → the bytes of a segment.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::{FixedSizeListBuilder, Float32Builder};
use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, LargeStringArray, RecordBatch, UInt32Array, UInt64Array,
};
use arrow_schema::{ArrowError, DataType, Field};
use lunapark_stores::digest_of;

use super::{BLOCK, FORMAT, Footer, MAX_ROWS, Place, Section, ipc, tables};
use crate::document::{Action, Change, Child, Document, Parent};
use crate::lists::Listed;
use crate::manifest::SegmentEntry;
use crate::words::{WORD_RULE, title_beside, words};
use crate::{IndexError, Metric, Source};

/// A segment that is not put yet.
pub(crate) struct Built {
    pub(crate) entry: SegmentEntry,
    pub(crate) bytes: Vec<u8>,
}

/// How vectors are sorted into lists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listing {
    /// With so many vectors, or more.
    pub(crate) from: u32,
    pub(crate) metric: Metric,
    pub(crate) threads: usize,
}

/// Builds the segment of these changes, one for each document.
pub(crate) fn build(
    name: String,
    dimension: u32,
    changes: &BTreeMap<&str, &Change>,
    listing: Option<Listing>,
) -> Result<Built, IndexError> {
    let rows = Rows::collect(changes.values());
    let counts = [rows.changes.len(), rows.parents.len(), rows.children.len()];
    if counts.iter().any(|&count| count as u64 > MAX_ROWS) {
        return Err(IndexError::refused(
            "a segment",
            "it would have more than 2^32 rows; index fewer documents at once",
        ));
    }
    let encoded = encode(&rows, dimension, listing);
    let (bytes, footer) = encoded.map_err(|error| IndexError::corrupt(&name, error.to_string()))?;
    let entry = SegmentEntry {
        name,
        sha256: digest_of(&bytes[bytes.len() - footer..]),
        footer: footer as u32,
        bytes: bytes.len() as u64,
        documents: rows.documents().count() as u32,
        deletions: (rows.changes.len() - rows.documents().count()) as u32,
        parents: rows.parents.len() as u32,
        children: rows.children.len() as u32,
        word_rule: WORD_RULE,
    };
    Ok(Built { entry, bytes })
}

/// The rows of the tables, each with the row that it belongs to.
struct Rows<'a> {
    changes: Vec<(&'a str, Source, Option<&'a Document>)>,
    parents: Vec<(u32, &'a Parent)>,
    children: Vec<(u32, &'a Child)>,
}

impl<'a> Rows<'a> {
    fn collect<'b: 'a>(changes: impl Iterator<Item = &'a &'b Change>) -> Self {
        let mut rows = Self { changes: Vec::new(), parents: Vec::new(), children: Vec::new() };
        for change in changes {
            let document = match &change.action {
                Action::Put(document) => Some(document),
                Action::Delete(_) => None,
            };
            for parent in document.iter().flat_map(|document| &document.parents) {
                let row = rows.parents.len() as u32;
                rows.children.extend(parent.children.iter().map(|child| (row, child)));
                rows.parents.push((rows.changes.len() as u32, parent));
            }
            rows.changes.push((change.document(), change.source, document));
        }
        rows
    }

    fn documents(&self) -> impl Iterator<Item = &'a Document> {
        self.changes.iter().filter_map(|(_, _, document)| *document)
    }

    fn text<'b>(&'b self, of: impl Fn(&'a Document) -> &'a str + 'b) -> ArrayRef {
        let text = self.changes.iter().map(|(_, _, document)| document.map_or("", &of));
        Arc::new(LargeStringArray::from_iter_values(text))
    }
}

fn encode(rows: &Rows<'_>, dimension: u32, listing: Option<Listing>) -> Result<(Vec<u8>, usize), ArrowError> {
    let mut encoder = Encoder { dimension, bytes: Vec::new(), sections: Vec::new() };
    let dictionary = Dictionary::of(rows);
    let mut values = None;
    for section in Section::ALL.into_iter().take(Section::ALWAYS) {
        let columns = columns(section, rows, &dictionary, dimension)?;
        if section == Section::Vectors {
            values = Some(columns[0].as_fixed_size_list().values().as_primitive::<Float32Type>().values().clone());
        }
        encoder.add(section, columns)?;
    }
    let listing = listing.filter(|listing| rows.children.len() >= listing.from as usize);
    let listed = values
        .zip(listing)
        .and_then(|(values, Listing { metric, threads, .. })| Listed::of(values, dimension as usize, metric, threads));
    if let Some(listed) = listed {
        for (section, columns) in listed.columns(dimension as usize)? {
            encoder.add(section, columns)?;
        }
    }
    encoder.finish()
}

/// The bytes of a segment as they grow.
struct Encoder {
    dimension: u32,
    bytes: Vec<u8>,
    sections: Vec<Place>,
}

impl Encoder {
    fn add(&mut self, section: Section, columns: Vec<ArrayRef>) -> Result<(), ArrowError> {
        let batch = RecordBatch::try_new(tables::schema(section, self.dimension), columns)?;
        let start = self.bytes.len();
        ipc::encode(&batch, &mut self.bytes)?;
        let encoded = &self.bytes[start..];
        let (offset, bytes, rows) = (start as u64, encoded.len() as u64, batch.num_rows() as u64);
        let cut = section.has_blocks() && bytes > BLOCK;
        let blocks = encoded.chunks(BLOCK as usize).filter(|_| cut).map(digest_of).collect();
        self.sections.push(Place { section, offset, bytes, rows, sha256: digest_of(encoded), blocks });
        Ok(())
    }

    /// All bytes, and how many of them the footer has.
    fn finish(mut self) -> Result<(Vec<u8>, usize), ArrowError> {
        let footer = Footer { format: FORMAT, dimension: self.dimension, sections: self.sections };
        let footer = serde_json::to_vec(&footer).map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
        self.bytes.extend_from_slice(&footer);
        Ok((self.bytes, footer.len()))
    }
}

fn columns(
    section: Section,
    rows: &Rows<'_>,
    dictionary: &Dictionary,
    dimension: u32,
) -> Result<Vec<ArrayRef>, ArrowError> {
    Ok(match section {
        Section::Documents => document_columns(rows),
        Section::Parents => parent_columns(rows, dictionary),
        Section::Texts => vec![texts(rows.parents.iter().map(|(_, parent)| parent.text.as_str()))],
        Section::Children => child_columns(rows),
        Section::Vectors => vec![vectors(rows, dimension)],
        Section::Terms => dictionary.term_columns(),
        Section::Postings => dictionary.posting_columns(),
        Section::Lists | Section::Codes | Section::Recalls => Vec::new(),
    })
}

fn document_columns(rows: &Rows<'_>) -> Vec<ArrayRef> {
    let metadata = rows.changes.iter().map(|(_, _, document)| match document {
        Some(document) => serde_json::Value::Object(document.metadata.clone()).to_string(),
        None => "{}".to_owned(),
    });
    vec![
        texts(rows.changes.iter().map(|(id, _, _)| *id)),
        rows.text(|document| &document.title),
        rows.text(|document| &document.uri),
        Arc::new(LargeStringArray::from_iter_values(metadata)),
        rows.text(|document| &document.digest),
        Arc::new(Int32Array::from_iter_values(rows.changes.iter().map(|(_, source, _)| source.partition))),
        Arc::new(Int64Array::from_iter_values(rows.changes.iter().map(|(_, source, _)| source.offset))),
        Arc::new(BooleanArray::from_iter(rows.changes.iter().map(|(_, _, document)| Some(document.is_none())))),
    ]
}

fn parent_columns(rows: &Rows<'_>, dictionary: &Dictionary) -> Vec<ArrayRef> {
    let parents = || rows.parents.iter();
    vec![
        Arc::new(UInt32Array::from_iter_values(parents().map(|(document, _)| *document))),
        Arc::new(UInt64Array::from_iter_values(parents().map(|(_, parent)| parent.span.start))),
        Arc::new(UInt64Array::from_iter_values(parents().map(|(_, parent)| parent.span.end))),
        Arc::new(UInt32Array::from_iter(parents().map(|(_, parent)| parent.page))),
        texts(parents().map(|(_, parent)| parent.heading.as_str())),
        Arc::new(UInt32Array::from_iter_values(dictionary.lengths.iter().copied())),
        Arc::new(LargeStringArray::from_iter_values(parents().map(|(_, parent)| marks(parent)))),
    ]
}

/// Most parents have none, and then take no bytes.
fn marks(parent: &Parent) -> String {
    match parent.marks.is_empty() {
        true => String::new(),
        // Numbers and texts always serialize.
        false => serde_json::to_string(&parent.marks).unwrap_or_default(),
    }
}

fn child_columns(rows: &Rows<'_>) -> Vec<ArrayRef> {
    let children = || rows.children.iter();
    vec![
        Arc::new(UInt32Array::from_iter_values(children().map(|(parent, _)| *parent))),
        Arc::new(UInt64Array::from_iter_values(children().map(|(_, child)| child.span.start))),
        Arc::new(UInt64Array::from_iter_values(children().map(|(_, child)| child.span.end))),
        Arc::new(UInt32Array::from_iter(children().map(|(_, child)| child.page))),
    ]
}

fn vectors(rows: &Rows<'_>, dimension: u32) -> ArrayRef {
    let values = Float32Builder::with_capacity(rows.children.len() * dimension as usize);
    let width = i32::try_from(dimension).unwrap_or(i32::MAX);
    let mut list = FixedSizeListBuilder::new(values, width).with_field(Field::new("item", DataType::Float32, false));
    for (_, child) in &rows.children {
        list.values().append_slice(&child.vector);
        list.append(true);
    }
    Arc::new(list.finish())
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(LargeStringArray::from_iter_values(texts))
}

/// The title of a document whose text does not have it.
fn title(document: &Document) -> Option<&str> {
    title_beside(&document.title, document.parents.first().map_or("", |parent| &parent.text))
}

/// Which words the parents have.
struct Dictionary {
    /// The postings of each word: parent and count, ascending.
    postings: BTreeMap<String, Vec<(u32, u32)>>,
    /// Words of each parent.
    lengths: Vec<u32>,
}

impl Dictionary {
    fn of(rows: &Rows<'_>) -> Self {
        let mut dictionary = Self { postings: BTreeMap::new(), lengths: Vec::with_capacity(rows.parents.len()) };
        let titles: Vec<_> = rows.changes.iter().map(|(_, _, document)| document.and_then(title)).collect();
        for (row, (document, parent)) in rows.parents.iter().enumerate() {
            let mut length = 0;
            for text in titles[*document as usize].into_iter().chain([parent.text.as_str()]) {
                words(text, |word| {
                    length += 1;
                    dictionary.count(word, row as u32);
                });
            }
            dictionary.lengths.push(length);
        }
        dictionary
    }

    fn count(&mut self, word: &str, row: u32) {
        if !self.postings.contains_key(word) {
            self.postings.insert(word.to_owned(), Vec::new());
        }
        let Some(list) = self.postings.get_mut(word) else { return };
        match list.last_mut() {
            Some((last, count)) if *last == row => *count += 1,
            _ => list.push((row, 1)),
        }
    }

    fn term_columns(&self) -> Vec<ArrayRef> {
        let ends = self.postings.values().scan(0_u64, |end, list| {
            *end += list.len() as u64;
            Some(*end)
        });
        let terms = texts(self.postings.keys().map(String::as_str));
        vec![terms, Arc::new(UInt64Array::from_iter_values(ends))]
    }

    fn posting_columns(&self) -> Vec<ArrayRef> {
        let column = |of: fn(&(u32, u32)) -> u32| -> ArrayRef {
            let postings = self.postings.values().flatten();
            let array = UInt32Array::from_iter_values(postings.map(of));
            debug_assert_eq!(array.null_count(), 0);
            Arc::new(array)
        };
        vec![column(|posting| posting.0), column(|posting| posting.1)]
    }
}
