//! Questions to one version of a collection.
//!
//! ```text
//!   filter ─► which documents count
//!                │
//!   vector ─► children: all (dense.rs), or those ──┐ best of each group: a parent, or a document
//!             in the nearest lists (lists.rs)      │
//!   words ──► BM25 over parents (bm25.rs) ────────┤
//!                                                 └► reciprocal rank fusion ─► k hits, with text and place (hits.rs)
//! ```
//!
//! Many questions of one call share filter and scan: the vectors are read once for all. No answer depends on the questions
//! that are asked with it. Equal scores are ordered by document, so that none depends on how the documents lie in segments.

mod best;
mod bm25;
mod bounded;
mod codes;
mod dense;
mod fuse;
mod hits;
mod kernel;
mod kernel_codes;
#[cfg(target_arch = "aarch64")]
mod kernel_neon;
#[cfg(target_arch = "x86_64")]
mod kernel_vnni;
#[cfg(target_arch = "x86_64")]
mod kernel_x86;
mod lists;
mod part;
mod prepared;
mod settle;
#[cfg(test)]
pub(crate) mod tests;
mod threads;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tiles;

use std::sync::Arc;

use serde::Serialize;

use crate::bits::Bits;
use crate::filter::{Fields, Filter};
use crate::segment::{Children, Documents, ListedCodes, Lists, Parents, Recalls, Vectors};
use crate::snapshot::Snapshot;
use crate::{IndexError, Metric};
use part::{Listed, Stored};

pub(crate) use bm25::WordStatistics;
pub(crate) use codes::{Codes, Meaning, Question as CodedQuestion, stride as code_bytes};
pub(crate) use dense::{Questions, exact_rows};
pub use hits::{ChildHit, Hit, ParentHit, Scored};
pub(crate) use kernel_codes::CodeKernel;
pub(crate) use lists::nearness;
pub(crate) use part::Part;
pub use prepared::Prepared;
pub(crate) use threads::{each, on_threads};

/// More hits than this are refused: they would be an export.
const MAX_K: usize = 100_000;
/// Rows looked at for each group that is asked for, before more are looked at; fewer where groups have fewer.
const ROWS_PER_GROUP: usize = 4;
/// Up to so many vectors all are compared with a question, unless a recall is asked for: that takes some milliseconds.
const MAX_SCANNED: usize = 200_000;
/// What part of the ten nearest vectors is found where nothing is asked for.
const USUAL_RECALL: f64 = 0.97;

/// What is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Vectors.
    Dense,
    /// Words.
    Words,
    /// Both, by the ranks in either.
    #[default]
    Hybrid,
}

/// What part of the nearest vectors must be found. Scores are exact whatever is found, and words are always looked up in
/// full.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Recall {
    /// All of them in up to 200,000 vectors; beyond, 97 of 100 of the ten nearest where compaction has sorted the vectors
    /// into lists.
    #[default]
    Auto,
    /// All of them.
    Exact,
    /// So many of the ten nearest, as measured on vectors of the collection itself, as they are and as far away as questions
    /// are from passages; more than 0 and at most 1. Questions that have little to do with any passage may find less.
    AtLeast(f64),
}

/// What is found once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// A parent.
    #[default]
    Parent,
    /// A document, by its best parent.
    Document,
}

/// How two rankings become one: Σ weight / (k + rank).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fusion {
    /// How little the first ranks stand out.
    pub k: f64,
    /// Weight of the ranking by vectors.
    pub dense: f64,
    /// Weight of the ranking by words.
    pub words: f64,
    /// How many of each ranking are taken.
    pub depth: usize,
}

impl Default for Fusion {
    /// k of Cormack, Clarke and Büttcher (2009).
    fn default() -> Self {
        Self { k: 60.0, dense: 1.0, words: 1.0, depth: 100 }
    }
}

/// How to search; the same for all questions of a call.
#[derive(Clone, Debug)]
pub struct Search {
    /// How many hits.
    pub k: usize,
    /// What is compared.
    pub mode: Mode,
    /// What is found once.
    pub unit: Unit,
    /// Which documents count.
    pub filter: Option<Filter>,
    /// The metric, in the place of the collection's.
    pub metric: Option<Metric>,
    /// How two rankings become one.
    pub fusion: Fusion,
    /// What part of the nearest vectors must be found.
    pub recall: Recall,
    /// Threads of the scan.
    pub threads: usize,
}

impl Default for Search {
    fn default() -> Self {
        let (mode, unit, fusion) = (Mode::default(), Unit::default(), Fusion::default());
        Self { k: 10, mode, unit, filter: None, metric: None, fusion, recall: Recall::Auto, threads: 1 }
    }
}

/// A question.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Question {
    /// Its words; not looked at by [`Mode::Dense`].
    pub text: String,
    /// Its vector; not looked at by [`Mode::Words`].
    pub vector: Vec<f32>,
}

impl Snapshot {
    /// The best hits for each question, best first.
    pub fn search(&self, search: &Search, questions: &[Question]) -> Result<Vec<Vec<Hit>>, IndexError> {
        self.prepare(search)?.ask(questions)
    }

    /// Makes a search ready for questions that come in several slices.
    pub fn prepare<'a>(&'a self, search: &'a Search) -> Result<Prepared<'a>, IndexError> {
        if search.k > MAX_K || search.fusion.depth > MAX_K {
            return Err(IndexError::refused("a search", format!("`k` is at most {MAX_K}; ask for less")));
        }
        if matches!(search.recall, Recall::AtLeast(recall) if !(recall > 0.0 && recall <= 1.0)) {
            return Err(IndexError::refused(
                "a search",
                "`recall` is more than 0 and at most 1; 1 looks at all vectors",
            ));
        }
        Prepared::new(self, search)
    }

    /// For each segment, the parents that count for a filter.
    fn wanted(&self, filter: Option<&Filter>) -> Result<Vec<Arc<Bits>>, IndexError> {
        let Some(filter) = filter else { return Ok(self.word_statistics()?.live.clone()) };
        let of = |(segment, live): (usize, &Arc<Bits>)| {
            let documents = self.table::<Documents>(segment)?;
            let metadata = documents.parsed();
            let fields = |row: usize| Fields {
                metadata: &metadata[row],
                id: documents.id.value(row),
                title: documents.title.value(row),
                uri: documents.uri.value(row),
            };
            let counts = Bits::of(live.rows(), |row| live.get(row) && filter.matches(&fields(row)));
            Ok(Arc::new(bm25::parents_of(&*self.table::<Parents>(segment)?, &counts)))
        };
        self.live.iter().enumerate().map(of).collect()
    }

    /// How many rows are looked at for each group first: as many as groups have on average.
    fn rows_per_group(&self, unit: Unit) -> usize {
        let counts = self.counts();
        let groups = if unit == Unit::Parent { counts.parents } else { counts.documents + counts.hidden };
        (counts.children.div_ceil(groups.max(1)) as usize).clamp(1, ROWS_PER_GROUP)
    }

    fn stored(&self, segment: usize) -> Result<Stored, IndexError> {
        if !self.segments[segment].footer.has_lists() {
            return Ok(Stored::Plain(self.table::<Vectors>(segment)?));
        }
        let (lists, codes) = (self.table::<Lists>(segment)?, self.table::<ListedCodes>(segment)?);
        let (cache, segment) = (Arc::clone(&self.cache), Arc::clone(&self.segments[segment]));
        Ok(Stored::Listed(Listed { lists, codes, cache, segment }))
    }

    /// How many lists of a segment are looked into for a recall; none: all vectors are looked at.
    fn probes(&self, segment: usize, part: &Part, recall: f64) -> Result<Option<usize>, IndexError> {
        let Stored::Listed(listed) = &part.vectors else { return Ok(None) };
        let probes = self.table::<Recalls>(segment)?.probes(recall);
        Ok(lists::probes(probes, part, listed.lists.len()))
    }

    /// Reads what the first scan needs, several tables at a time: one alone would wait for the store and for digests.
    fn preload(&self, threads: usize) -> Result<(), IndexError> {
        let read = |at: usize| match at % 2 {
            0 => self.stored(at / 2).map(drop),
            _ => self.table::<Children>(at / 2).map(drop),
        };
        threads::each(threads, 2 * self.segments.len(), read).into_iter().collect()
    }

    /// For each segment, the children that count: those of these parents, of which no filter has taken any out where `all`.
    fn counting_children(&self, all: bool, parents: &[Arc<Bits>]) -> Result<Vec<Arc<Bits>>, IndexError> {
        let counts = match self.live_children.get() {
            Some(known) if all => known.clone(),
            _ => self.children_of(parents)?,
        };
        if all {
            self.live_children.get_or_init(|| counts.clone());
        }
        Ok(counts)
    }

    fn children_of(&self, parents: &[Arc<Bits>]) -> Result<Vec<Arc<Bits>>, IndexError> {
        let of = |(segment, parents): (usize, &Arc<Bits>)| {
            let children = self.table::<Children>(segment)?;
            Ok(Arc::new(bm25::owned(children.parent.values(), parents)))
        };
        parents.iter().enumerate().map(of).collect()
    }
}
