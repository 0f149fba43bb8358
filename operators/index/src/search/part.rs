//! The vectors of a segment as a search reads them: in memory as they are, or sorted into lists and read row by row.

use std::sync::Arc;

use super::codes::Codes;
use super::dense::Worth;
use crate::bits::Bits;
use crate::cache::Cache;
use crate::segment::blocks::{Blocks, Room};
use crate::segment::{ListedCodes, Lists, Segment, Vectors};
use crate::{IndexError, Metric};

/// The vectors of a segment, and which of them count.
pub(crate) struct Part {
    pub(super) vectors: Stored,
    pub(super) counts: Arc<Bits>,
    /// How many count.
    pub(super) count: usize,
    /// How many lists are looked into; none: all vectors are.
    pub(super) probes: Option<usize>,
}

/// Where vectors are.
pub(super) enum Stored {
    /// In memory, in the order of the children.
    Plain(Arc<Vectors>),
    /// In memory as codes, list by list; in full on the store.
    Listed(Listed),
}

/// Vectors in lists.
pub(super) struct Listed {
    pub(super) lists: Arc<Lists>,
    pub(super) codes: Arc<ListedCodes>,
    pub(super) cache: Arc<Cache>,
    pub(super) segment: Arc<Segment>,
}

impl Part {
    pub(super) fn new(vectors: Stored, counts: Arc<Bits>) -> Self {
        Self { count: counts.count(), vectors, counts, probes: None }
    }

    /// Vectors in memory.
    pub(crate) fn plain(vectors: Arc<Vectors>, counts: Arc<Bits>) -> Self {
        Self::new(Stored::Plain(vectors), counts)
    }

    /// True where all metrics put the rows in the same order.
    pub(super) fn is_level(&self) -> bool {
        matches!(&self.vectors, Stored::Listed(listed) if listed.codes.is_level)
    }

    /// All rows, counting or not.
    pub(super) fn rows(&self) -> usize {
        self.counts.rows()
    }

    /// The codes of all rows, in their own order of places.
    pub(super) fn codes(&self) -> &Codes {
        match &self.vectors {
            Stored::Plain(vectors) => vectors.codes(),
            Stored::Listed(listed) => &listed.codes.codes,
        }
    }

    /// The row at a place of the codes.
    #[inline]
    pub(super) fn row_at(&self, place: usize) -> usize {
        match &self.vectors {
            Stored::Plain(_) => place,
            Stored::Listed(listed) => listed.codes.children[place] as usize,
        }
    }

    /// Turns the inner product of the row at a place into what orders the rows of a question.
    #[inline]
    pub(super) fn worth_at(&self, metric: Metric, place: usize) -> Worth {
        match metric {
            Metric::InnerProduct => Worth::default(),
            _ => Worth::of_square(metric, self.squares()[place]),
        }
    }

    fn squares(&self) -> &[f32] {
        match &self.vectors {
            Stored::Plain(vectors) => vectors.squares(),
            Stored::Listed(listed) => &listed.codes.squares,
        }
    }

    /// True where a row at one of these places counts.
    pub(super) fn any_at(&self, mut places: std::ops::Range<usize>) -> bool {
        self.count == self.rows() || places.any(|place| self.counts.get(self.row_at(place)))
    }

    /// Calls `with` with the vector of each row, and at which place among `rows` that is.
    pub(super) fn each_vector(
        &self,
        rows: &[usize],
        room: &mut Room,
        mut with: impl FnMut(usize, &[f32]),
    ) -> Result<(), IndexError> {
        match &self.vectors {
            Stored::Plain(vectors) => rows.iter().enumerate().for_each(|(at, &row)| with(at, vectors.row(row))),
            Stored::Listed(listed) => Blocks::vectors(&listed.cache, &listed.segment).each_vector(rows, room, with)?,
        }
        Ok(())
    }
}
