//! A segment: an immutable object with documents, their parts, their vectors and their words.
//!
//! ```text
//! collections/NAME/segments/ID.segment
//!   documents │ parents │ texts │ children │ vectors │ terms │ postings │ [lists │ codes │ recalls] │ footer (JSON)
//!   └──────── each a whole Arrow IPC stream of one batch ─────────────────────────────────────────┘   where each lies, its
//!                                                                                                   rows and SHA-256
//! ```
//!
//! A section is read by itself: a search by vectors never fetches a text. Of long texts and vectors single blocks are
//! read ([`blocks`]). The manifest has the footer's digest and the footer has those of the sections and blocks, so every
//! byte is checked before it is used. Below the digests nothing is trusted either: a section that contradicts itself or
//! another one is an error.
//!
//! The last three sections are there in large compacted segments: see [`crate::lists`].

pub(crate) mod blocks;
mod build;
mod ipc;
mod listed;
mod tables;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow_buffer::Buffer;
use lunapark_stores::{ArtifactStore, digest_of};
use serde::{Deserialize, Serialize};

use crate::manifest::SegmentEntry;
use crate::settings::MAX_DIMENSION;
use crate::{IndexError, names};

pub(crate) use build::{Built, Listing, build};
pub(crate) use listed::{ListedCodes, Lists, Recalls};
pub(crate) use tables::{
    Children, Documents, Parents, Postings, Table, Terms, Texts, Vectors, read_marks, read_metadata,
};

/// 2: parents have marks.
const FORMAT: u32 = 2;
/// Texts and vectors are read in pieces of this size: an object store gives one as fast as a smaller one.
pub(crate) const BLOCK: u64 = 1 << 20;
/// Rows are counted in 32 bits.
const MAX_ROWS: u64 = u32::MAX as u64;

/// A part of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Section {
    Documents,
    Parents,
    Texts,
    Children,
    Vectors,
    Terms,
    Postings,
    Lists,
    Codes,
    Recalls,
}

impl Section {
    pub(crate) const ALL: [Section; 10] = [
        Section::Documents,
        Section::Parents,
        Section::Texts,
        Section::Children,
        Section::Vectors,
        Section::Terms,
        Section::Postings,
        Section::Lists,
        Section::Codes,
        Section::Recalls,
    ];
    /// Those that every segment has; the others come together.
    pub(crate) const ALWAYS: usize = 7;

    /// True where parts are read by themselves.
    fn has_blocks(self) -> bool {
        matches!(self, Section::Texts | Section::Vectors)
    }
}

/// Where a section lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    section: Section,
    offset: u64,
    bytes: u64,
    rows: u64,
    sha256: String,
    /// The digests of its blocks, where it is longer than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    blocks: Vec<String>,
}

/// What the end of a segment says of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Footer {
    format: u32,
    pub(crate) dimension: u32,
    sections: Vec<Place>,
}

impl Footer {
    /// Rows of a section.
    pub(crate) fn rows(&self, section: Section) -> usize {
        self.sections.get(section as usize).map_or(0, |place| place.rows as usize)
    }

    /// True where the vectors are sorted into lists.
    pub(crate) fn has_lists(&self) -> bool {
        self.sections.len() > Section::ALWAYS
    }

    /// Reads a footer; below its digest.
    fn decode(bytes: &[u8], dimension: u32, before: u64) -> Result<Self, String> {
        let footer: Footer = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let names = || footer.sections.iter().map(|place| place.section);
        let all = names().eq(Section::ALL) || names().eq(Section::ALL.into_iter().take(Section::ALWAYS));
        let inside = |place: &Place| {
            let blocks = [0, place.bytes.div_ceil(BLOCK)].contains(&(place.blocks.len() as u64));
            let end = place.offset.checked_add(place.bytes);
            place.rows <= MAX_ROWS && blocks && end.is_some_and(|end| end <= before)
        };
        if footer.format != FORMAT {
            let what = format!("it has the format {}, and this version reads {FORMAT}", footer.format);
            return Err(format!("{what}: ingest the documents into a new collection"));
        }
        if !all || !footer.sections.iter().all(inside) {
            return Err("its footer does not fit it".to_owned());
        }
        if footer.dimension != dimension || !(1..=MAX_DIMENSION).contains(&dimension) {
            return Err("its vectors have another dimension".to_owned());
        }
        let same = |a: Section, b: Section| footer.rows(a) == footer.rows(b);
        let listed = !footer.has_lists() || same(Section::Children, Section::Codes);
        match same(Section::Parents, Section::Texts) && same(Section::Children, Section::Vectors) && listed {
            true => Ok(footer),
            false => Err("its sections have rows that do not fit one another".to_owned()),
        }
    }

    /// Reads a section; below its digest.
    fn table<T: Table>(&self, bytes: Buffer) -> Result<T, String> {
        let batch = ipc::decode(bytes, &tables::schema(T::SECTION, self.dimension), self.rows(T::SECTION))?;
        T::from_batch(&batch, self)
    }
}

/// A segment whose footer is read.
pub(crate) struct Segment {
    pub(crate) entry: SegmentEntry,
    /// Its name on the store, shared by the keys of the cache.
    pub(crate) object: Arc<str>,
    pub(crate) footer: Footer,
    store: Arc<ArtifactStore>,
    /// Where the buffers of a section with blocks lie, known once it was read: texts, vectors.
    buffers: [OnceLock<Vec<Range<u64>>>; 2],
}

impl Segment {
    /// Reads the footer of the segment that a manifest names.
    pub(crate) fn open(
        store: &Arc<ArtifactStore>,
        collection: &str,
        dimension: u32,
        entry: &SegmentEntry,
    ) -> Result<Self, IndexError> {
        let object: Arc<str> = names::segment(collection, &entry.name).into();
        let start = entry.bytes.saturating_sub(entry.footer.into());
        let bytes = store.get_range_named(&object, start..entry.bytes)?;
        let bytes = bytes.ok_or_else(|| IndexError::corrupt(&object, "it is not there, and a manifest names it"))?;
        if digest_of(&bytes) != entry.sha256 {
            return Err(IndexError::corrupt(&object, "its footer does not have the digest that the manifest names"));
        }
        let footer = Footer::decode(&bytes, dimension, start).map_err(|what| IndexError::corrupt(&object, what))?;
        let (store, buffers) = (Arc::clone(store), Default::default());
        let segment = Self { entry: entry.clone(), object, footer, store, buffers };
        segment.check_counts()?;
        Ok(segment)
    }

    fn check_counts(&self) -> Result<(), IndexError> {
        let (entry, rows) = (&self.entry, |section| self.footer.rows(section) as u64);
        let fits = rows(Section::Documents) == u64::from(entry.documents) + u64::from(entry.deletions)
            && rows(Section::Parents) == u64::from(entry.parents)
            && rows(Section::Children) == u64::from(entry.children);
        if fits {
            Ok(())
        } else {
            Err(IndexError::corrupt(&self.object, "it does not have the counts of the manifest"))
        }
    }

    /// Bytes of a section.
    pub(crate) fn bytes_of(&self, section: Section) -> u64 {
        self.footer.sections.get(section as usize).map_or(0, |place| place.bytes)
    }

    /// Fetches a section, compares its digest and reads it.
    pub(crate) fn load<T: Table>(&self) -> Result<T, IndexError> {
        let Place { bytes, sha256, .. } = self.place(T::SECTION)?;
        let found = self.fetch(T::SECTION, 0..*bytes, sha256)?;
        self.footer.table(Buffer::from_vec(found)).map_err(|what| self.corrupt(T::SECTION, &what))
    }

    fn place(&self, section: Section) -> Result<&Place, IndexError> {
        let place = self.footer.sections.get(section as usize);
        place.ok_or_else(|| self.corrupt(section, "it is not there"))
    }

    fn corrupt(&self, section: Section, what: &str) -> IndexError {
        IndexError::corrupt(&format!("{}, {section:?}", self.object), what)
    }

    /// Fetches bytes of a section, from its beginning, and compares their digest.
    fn fetch(&self, section: Section, range: Range<u64>, sha256: &str) -> Result<Vec<u8>, IndexError> {
        let offset = self.place(section)?.offset;
        let found = self.store.get_range_named(&self.object, offset + range.start..offset + range.end)?;
        let found = found.ok_or_else(|| self.corrupt(section, "it is not there, and a manifest names it"))?;
        match digest_of(&found) == sha256 {
            true => Ok(found),
            false => Err(self.corrupt(section, "its bytes do not have the digest that the footer names")),
        }
    }
}
