//! A segment: an immutable object with documents, their parts, their vectors and their words.
//!
//! ```text
//! collections/NAME/segments/ID.segment
//!   documents │ parents │ texts │ children │ vectors │ terms │ postings │ footer (JSON)
//!   └──────── each a whole Arrow IPC stream of one batch ─────────────┘   where each lies, its rows and SHA-256
//! ```
//!
//! A section is read by itself: a search by vectors never fetches a text. The manifest has the footer's digest and the
//! footer has those of the sections, so every byte is checked before it is used. Below the digests nothing is trusted
//! either: a section that contradicts itself or another one is an error.

mod build;
mod ipc;
mod tables;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_buffer::Buffer;
use lunapark_stores::{ArtifactStore, digest_of};
use serde::{Deserialize, Serialize};

use crate::manifest::SegmentEntry;
use crate::settings::MAX_DIMENSION;
use crate::{IndexError, names};

pub(crate) use build::{Built, build};
pub(crate) use tables::{
    Children, Documents, Parents, Postings, Table, Terms, Texts, Vectors, read_marks, read_metadata,
};

/// 2: parents have marks.
const FORMAT: u32 = 2;
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
}

impl Section {
    pub(crate) const ALL: [Section; 7] = [
        Section::Documents,
        Section::Parents,
        Section::Texts,
        Section::Children,
        Section::Vectors,
        Section::Terms,
        Section::Postings,
    ];
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
        self.sections[section as usize].rows as usize
    }

    /// Reads a footer; below its digest.
    fn decode(bytes: &[u8], dimension: u32, before: u64) -> Result<Self, String> {
        let footer: Footer = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let all = footer.sections.iter().map(|place| place.section).eq(Section::ALL);
        let inside = |place: &Place| {
            place.rows <= MAX_ROWS && place.offset.checked_add(place.bytes).is_some_and(|end| end <= before)
        };
        if footer.format != FORMAT || !all || !footer.sections.iter().all(inside) {
            return Err("its footer does not fit it".to_owned());
        }
        if footer.dimension != dimension || !(1..=MAX_DIMENSION).contains(&dimension) {
            return Err("its vectors have another dimension".to_owned());
        }
        let same = |a: Section, b: Section| footer.rows(a) == footer.rows(b);
        match same(Section::Parents, Section::Texts) && same(Section::Children, Section::Vectors) {
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
    pub(crate) footer: Footer,
    object: String,
    store: Arc<ArtifactStore>,
}

impl Segment {
    /// Reads the footer of the segment that a manifest names.
    pub(crate) fn open(
        store: &Arc<ArtifactStore>,
        collection: &str,
        dimension: u32,
        entry: &SegmentEntry,
    ) -> Result<Self, IndexError> {
        let object = names::segment(collection, &entry.name);
        let start = entry.bytes.saturating_sub(entry.footer.into());
        let bytes = store.get_range_named(&object, start..entry.bytes)?;
        let bytes = bytes.ok_or_else(|| IndexError::corrupt(&object, "it is not there, and a manifest names it"))?;
        if digest_of(&bytes) != entry.sha256 {
            return Err(IndexError::corrupt(&object, "its footer does not have the digest that the manifest names"));
        }
        let footer = Footer::decode(&bytes, dimension, start).map_err(|what| IndexError::corrupt(&object, what))?;
        let segment = Self { entry: entry.clone(), footer, object, store: Arc::clone(store) };
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
        self.footer.sections[section as usize].bytes
    }

    /// Fetches a section, compares its digest and reads it.
    pub(crate) fn load<T: Table>(&self) -> Result<T, IndexError> {
        let Place { offset, bytes, sha256, .. } = &self.footer.sections[T::SECTION as usize];
        let corrupt = |what: &str| IndexError::corrupt(&format!("{}, {:?}", self.object, T::SECTION), what);
        let found = self.store.get_range_named(&self.object, *offset..offset + bytes)?;
        let found = found.ok_or_else(|| corrupt("it is not there, and a manifest names it"))?;
        if digest_of(&found) != *sha256 {
            return Err(corrupt("its bytes do not have the digest that the footer names"));
        }
        self.footer.table(Buffer::from_vec(found)).map_err(|what| corrupt(&what))
    }
}
