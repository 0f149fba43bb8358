//! Parts of a section: single texts and vectors of a segment that is too large to be read for a few of them.
//!
//! ```text
//!   texts    row ─► offsets ─► from, to ─┐
//!   vectors  row · width ────────────────┴► blocks of 1 MiB, each with a digest in the footer ─► cache
//! ```
//!
//! The first answer from a million passages fetches some megabytes of their texts and vectors instead of gigabytes.

use std::ops::Range;
use std::sync::Arc;

use super::{BLOCK, Place, Section, Segment, ipc, tables};
use crate::IndexError;
use crate::cache::Cache;
use crate::search::each;

impl Segment {
    /// A block of a section: all of its bytes where it is not cut into blocks.
    pub(crate) fn block(&self, section: Section, number: u64) -> Result<Vec<u8>, IndexError> {
        let Place { bytes, sha256, blocks, .. } = self.place(section)?;
        match usize::try_from(number).ok().and_then(|number| blocks.get(number)) {
            Some(digest) => self.fetch(section, number * BLOCK..((number + 1) * BLOCK).min(*bytes), digest),
            None if blocks.is_empty() && number == 0 => self.fetch(section, 0..*bytes, sha256),
            None => Err(self.corrupt(section, "a block is not there")),
        }
    }

    /// How many blocks a section is cut into; none where it is not.
    pub(crate) fn blocks(&self, section: Section) -> u64 {
        self.footer.sections.get(section as usize).map_or(0, |place| place.blocks.len() as u64)
    }
}

/// Blocks that are fetched at a time: an object store answers many requests as soon as one.
const FETCHES: usize = 8;
/// Rows that are read at a time: the blocks in which they lie are held, whatever the cache's budget is.
const ROWS: usize = 32;

/// Room for what is read, to be used again and again.
#[derive(Default)]
pub(crate) struct Room {
    places: Vec<Range<u64>>,
    /// The numbers of the blocks in which these lie, and the blocks.
    numbers: Vec<u64>,
    held: Vec<Option<Arc<Vec<u8>>>>,
    bytes: Vec<u8>,
    vector: Vec<f32>,
}

/// A section of which parts are read.
pub(crate) struct Blocks<'a> {
    cache: &'a Cache,
    segment: &'a Segment,
    section: Section,
}

impl<'a> Blocks<'a> {
    /// Of the texts.
    pub(crate) fn texts(cache: &'a Cache, segment: &'a Segment) -> Self {
        Self { cache, segment, section: Section::Texts }
    }

    /// Of the vectors.
    pub(crate) fn vectors(cache: &'a Cache, segment: &'a Segment) -> Self {
        Self { cache, segment, section: Section::Vectors }
    }

    /// Calls `with` with the text of each row, and at which place among `rows` that is.
    pub(crate) fn each_text(
        &self,
        rows: &[usize],
        room: &mut Room,
        mut with: impl FnMut(usize, &str),
    ) -> Result<(), IndexError> {
        for (some, rows) in rows.chunks(ROWS).enumerate() {
            self.read_texts(rows, room)?;
            let mut rest = room.bytes.as_slice();
            for (at, place) in (some * ROWS..).zip(&room.places) {
                let (text, others) = rest.split_at((place.end - place.start) as usize);
                rest = others;
                let text = std::str::from_utf8(text);
                with(at, text.map_err(|_| self.segment.corrupt(self.section, "a text is not UTF-8"))?);
            }
        }
        Ok(())
    }

    fn read_texts(&self, rows: &[usize], room: &mut Room) -> Result<(), IndexError> {
        let (offsets, texts) = (self.buffer(1)?, self.buffer(2)?);
        room.places.clear();
        room.places.extend(rows.iter().map(|&row| offsets.start + 8 * row as u64).map(|at| at..at + 16));
        self.read(&offsets, room)?;
        room.places.clear();
        let place = |end: &[u8; 8]| texts.start.checked_add(u64::from_le_bytes(*end)).ok_or_else(|| self.lies());
        for [start, end] in room.bytes.as_chunks::<8>().0.as_chunks::<2>().0 {
            room.places.push(place(start)?..place(end)?);
        }
        self.read(&texts, room)
    }

    /// Calls `with` with the vector of each row, and at which place among `rows` that is.
    pub(crate) fn each_vector(
        &self,
        rows: &[usize],
        room: &mut Room,
        mut with: impl FnMut(usize, &[f32]),
    ) -> Result<(), IndexError> {
        let width = 4 * self.segment.footer.dimension as usize;
        for (some, rows) in rows.chunks(ROWS).enumerate() {
            room.places.clear();
            for &row in rows {
                room.places.push(self.place_of(row)?);
            }
            self.read(&self.buffer(2)?, room)?;
            let Room { bytes, vector, .. } = &mut *room;
            for (at, bytes) in (some * ROWS..).zip(bytes.chunks_exact(width)) {
                vector.clear();
                vector.extend(bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)));
                if !vector.iter().fold(true, |finite, x: &f32| finite & x.is_finite()) {
                    return Err(self.segment.corrupt(self.section, "a vector is not one of finite numbers"));
                }
                with(at, vector);
            }
        }
        Ok(())
    }

    fn place_of(&self, row: usize) -> Result<Range<u64>, IndexError> {
        let width = 4 * u64::from(self.segment.footer.dimension);
        let start = self.buffer(2)?.start + width * row as u64;
        Ok(start..start + width)
    }

    /// Where a buffer of the section's only column lies.
    fn buffer(&self, number: usize) -> Result<Range<u64>, IndexError> {
        let known = &self.segment.buffers[usize::from(self.section == Section::Vectors)];
        if known.get().is_none() {
            let first = self.cache.block(self.segment, self.section, 0)?;
            let footer = &self.segment.footer;
            let (schema, rows) = (tables::schema(self.section, footer.dimension), footer.rows(self.section));
            let found = ipc::buffers(&first, self.segment.bytes_of(self.section), &schema, rows);
            known.get_or_init(|| found.unwrap_or_default());
        }
        known.get().and_then(|buffers| buffers.get(number)).cloned().ok_or_else(|| self.lies())
    }

    fn lies(&self) -> IndexError {
        self.segment.corrupt(self.section, "its lengths do not fit its bytes")
    }

    /// Reads the room's places, which must lie in one of the section's buffers, into its bytes, one after another. All are
    /// copied before the first one is looked at: so memory is waited for once, and not once for each.
    fn read(&self, buffer: &Range<u64>, room: &mut Room) -> Result<(), IndexError> {
        let outside =
            |place: &Range<u64>| place.start < buffer.start || place.start > place.end || place.end > buffer.end;
        if room.places.iter().any(outside) {
            return Err(self.lies());
        }
        let size = if self.segment.blocks(self.section) == 0 { u64::MAX } else { BLOCK };
        self.hold(room, size)?;
        let Room { places, numbers, held, bytes, .. } = room;
        bytes.clear();
        for place in places {
            let mut at = place.start;
            while at < place.end {
                let number = at / size;
                let block = numbers.binary_search(&number).ok().and_then(|found| held[found].as_ref());
                let end = place.end.min((number + 1).saturating_mul(size));
                let inside = (at % size) as usize..(end - number * size) as usize;
                bytes.extend_from_slice(block.and_then(|block| block.get(inside)).ok_or_else(|| self.lies())?);
                at = end;
            }
        }
        held.clear();
        Ok(())
    }

    /// Brings the blocks in which the room's places lie into memory, several at a time.
    fn hold(&self, room: &mut Room, size: u64) -> Result<(), IndexError> {
        let Room { places, numbers, held, .. } = room;
        numbers.clear();
        held.clear();
        for place in places.iter().filter(|place| !place.is_empty()) {
            numbers.extend(place.start / size..=(place.end - 1) / size);
        }
        numbers.sort_unstable();
        numbers.dedup();
        self.cache.find_blocks(self.segment, self.section, numbers, held);
        let missing: Vec<usize> = (0..held.len()).filter(|&at| held[at].is_none()).collect();
        let bring = |at: usize| self.cache.block(self.segment, self.section, numbers[missing[at]]);
        for (at, block) in missing.iter().zip(each(FETCHES, missing.len(), bring)) {
            held[*at] = Some(block?);
        }
        Ok(())
    }
}
