//! Parts of a section: single texts and vectors of a segment that is too large to be read for a few of them.
//!
//! ```text
//!   texts    row ─► offsets ─► from, to ─┐
//!   vectors  row · width ────────────────┴► blocks of 1 MiB, each with a digest in the footer ─► cache
//! ```
//!
//! The first answer from a million passages fetches some megabytes of their texts and vectors instead of gigabytes.

use std::ops::Range;

use super::{BLOCK, Place, Section, Segment, ipc, tables};
use crate::IndexError;
use crate::cache::Cache;

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

    /// The text of a row.
    pub(crate) fn text(&self, row: usize) -> Result<String, IndexError> {
        let (offsets, texts) = (self.buffer(1)?, self.buffer(2)?);
        let mut ends = Vec::with_capacity(16);
        let at = offsets.start + 8 * row as u64;
        self.read(at..at + 16, &offsets, &mut |bytes| ends.extend_from_slice(bytes))?;
        let (ends, _) = ends.as_chunks::<8>();
        let place = |at: usize| ends.get(at).and_then(|end| texts.start.checked_add(u64::from_le_bytes(*end)));
        let (start, end) = place(0).zip(place(1)).ok_or_else(|| self.lies())?;
        let mut text = Vec::new();
        self.read(start..end, &texts, &mut |bytes| text.extend_from_slice(bytes))?;
        String::from_utf8(text).map_err(|_| self.segment.corrupt(self.section, "a text is not UTF-8"))
    }

    /// The vector of a row.
    pub(crate) fn vector(&self, row: usize, vector: &mut Vec<f32>) -> Result<(), IndexError> {
        vector.clear();
        let place = self.place_of(row)?;
        // Blocks and buffers begin at multiples of four bytes, so no number lies in two blocks.
        let numbers = |bytes: &[u8]| vector.extend(bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)));
        self.read(place, &self.buffer(2)?, &mut { numbers })?;
        let sound = vector.len() == self.segment.footer.dimension as usize && vector.iter().all(|x| x.is_finite());
        if sound { Ok(()) } else { Err(self.segment.corrupt(self.section, "a vector is not one of finite numbers")) }
    }

    /// The blocks in which the vectors of these rows begin that are not in memory, each once.
    pub(crate) fn missing(&self, rows: impl Iterator<Item = usize>) -> Result<Vec<u64>, IndexError> {
        if self.segment.blocks(self.section) == 0 {
            return Ok(Vec::new());
        }
        let number = |row| Ok::<_, IndexError>(self.place_of(row)?.start / BLOCK);
        let mut numbers = rows.map(number).collect::<Result<Vec<u64>, _>>()?;
        numbers.sort_unstable();
        numbers.dedup();
        numbers.retain(|&number| !self.cache.has_block(self.segment, self.section, number));
        Ok(numbers)
    }

    /// Brings a block into memory.
    pub(crate) fn bring(&self, number: u64) -> Result<(), IndexError> {
        self.cache.block(self.segment, self.section, number).map(drop)
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

    /// Reads bytes of the section, which must lie in one of its buffers, piece by piece.
    fn read(&self, range: Range<u64>, buffer: &Range<u64>, each: &mut dyn FnMut(&[u8])) -> Result<(), IndexError> {
        if range.start < buffer.start || range.start > range.end || range.end > buffer.end {
            return Err(self.lies());
        }
        let size = if self.segment.blocks(self.section) == 0 { u64::MAX } else { BLOCK };
        let mut at = range.start;
        while at < range.end {
            let block = self.cache.block(self.segment, self.section, at / size)?;
            let end = range.end.min((at / size).saturating_add(1).saturating_mul(size));
            let inside = (at % size) as usize..(end - at / size * size) as usize;
            each(block.get(inside).ok_or_else(|| self.lies())?);
            at = end;
        }
        Ok(())
    }
}
