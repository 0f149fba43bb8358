//! Questions to one version of a collection.
//!
//! ```text
//!   filter ─► which documents count
//!                │
//!   vector ─► exact scan of children (dense.rs) ──┐ best of each group: a parent, or a document
//!   words ──► BM25 over parents (bm25.rs) ────────┤
//!                                                 └► reciprocal rank fusion ─► k hits, with text and place (hits.rs)
//! ```
//!
//! Many questions of one call share filter and scan: the vectors are read once for all. Equal scores are ordered by
//! document, so that an answer does not depend on how the documents lie in segments.

mod best;
mod bm25;
#[cfg(target_arch = "x86_64")]
mod bounded;
mod codes;
mod dense;
mod fuse;
mod hits;
mod kernel;
#[cfg(target_arch = "x86_64")]
mod kernel_vnni;
#[cfg(target_arch = "x86_64")]
mod kernel_x86;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

use crate::bits::Bits;
use crate::filter::{Fields, Filter};
use crate::segment::{Children, Documents, Parents, Vectors};
use crate::snapshot::Snapshot;
use crate::{IndexError, Metric};
use best::Candidate;
use dense::{Part, Questions};
use fuse::{Group, List};

pub(crate) use bm25::WordStatistics;
pub(crate) use codes::Codes;
pub use hits::{ChildHit, Hit, ParentHit, Scored};

/// More hits than this are refused: they would be an export.
const MAX_K: usize = 100_000;
/// Rows looked at for each group that is asked for, before more are looked at.
const ROWS_PER_GROUP: usize = 4;

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
    /// Threads of the scan.
    pub threads: usize,
}

impl Default for Search {
    fn default() -> Self {
        let (mode, unit, fusion) = (Mode::default(), Unit::default(), Fusion::default());
        Self { k: 10, mode, unit, filter: None, metric: None, fusion, threads: 1 }
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
        if search.k > MAX_K || search.fusion.depth > MAX_K {
            return Err(IndexError::refused("a search", format!("`k` is at most {MAX_K}; ask for less")));
        }
        let parents = self.wanted(search.filter.as_ref())?;
        let depth = if search.mode == Mode::Hybrid { search.k.max(search.fusion.depth) } else { search.k };
        let dense = match search.mode {
            Mode::Words => vec![None; questions.len()],
            _ => self.dense(search, &parents, questions, depth)?.into_iter().map(Some).collect(),
        };
        let answer = |(question, dense): (&Question, Option<List>)| {
            let words = match search.mode {
                Mode::Dense => None,
                _ => Some(self.words(search, &parents, question, depth)?),
            };
            let found = fuse::fuse(search, dense, words);
            self.hits(search, question, found)
        };
        questions.iter().zip(dense).map(answer).collect()
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

    fn dense(
        &self,
        search: &Search,
        parents: &[Arc<Bits>],
        questions: &[Question],
        depth: usize,
    ) -> Result<Vec<List>, IndexError> {
        let metric = search.metric.unwrap_or(self.settings().metric);
        let vectors: Vec<&[f32]> = questions.iter().map(|question| question.vector.as_slice()).collect();
        let vectors = Questions::new(&vectors, self.settings().dimension as usize, metric)?;
        if self.live_children.get().is_none() {
            self.preload(search.threads)?;
        }
        let parts = self.parts(parents, search.filter.is_none())?;
        let rows = parts.iter().map(|part| part.counts.count()).sum::<usize>();
        let mut most = depth.saturating_mul(ROWS_PER_GROUP).saturating_add(1).min(rows);
        loop {
            let found = dense::search(&parts, &vectors, most, search.threads);
            let lasts: Vec<_> = found.iter().map(|found| found.last().copied()).collect();
            let group = |found| self.grouped(search.unit, found, Candidate::child_of, depth);
            let lists = found.into_iter().map(group).collect::<Result<Vec<List>, _>>()?;
            // Many rows of few groups, or of equal scores: more rows, until nothing can change or no row is left.
            if most >= rows || lists.iter().zip(lasts).all(|(list, last)| list.is_settled(depth, last)) {
                return Ok(lists);
            }
            most = most.saturating_mul(ROWS_PER_GROUP).min(rows);
        }
    }

    /// The vectors of all segments; `all` says that all live parents count.
    fn parts(&self, parents: &[Arc<Bits>], all: bool) -> Result<Vec<Part>, IndexError> {
        let counts = match self.live_children.get() {
            Some(known) if all => known.clone(),
            _ => self.children_of(parents)?,
        };
        if all {
            self.live_children.get_or_init(|| counts.clone());
        }
        let of = |(segment, counts)| Ok(Part { vectors: self.table::<Vectors>(segment)?, counts });
        counts.into_iter().enumerate().map(of).collect()
    }

    /// Reads what the first scan needs, several segments at a time: one alone would wait for the store and for digests.
    fn preload(&self, threads: usize) -> Result<(), IndexError> {
        let next = AtomicUsize::new(0);
        let work = || {
            let segments = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
            let mut segments = segments.take_while(|&segment| segment < self.segments.len());
            segments.try_for_each(|segment| {
                self.table::<Vectors>(segment)?;
                self.table::<Children>(segment).map(drop)
            })
        };
        dense::on_threads(threads.min(self.segments.len()).max(1), &work).into_iter().collect()
    }

    fn children_of(&self, parents: &[Arc<Bits>]) -> Result<Vec<Arc<Bits>>, IndexError> {
        let of = |(segment, parents): (usize, &Arc<Bits>)| {
            let children = self.table::<Children>(segment)?;
            Ok(Arc::new(bm25::owned(children.parent.values(), parents)))
        };
        parents.iter().enumerate().map(of).collect()
    }

    fn words(
        &self,
        search: &Search,
        parents: &[Arc<Bits>],
        question: &Question,
        depth: usize,
    ) -> Result<List, IndexError> {
        let rows = parents.iter().map(|parents| parents.count()).sum::<usize>();
        let mut most = depth.saturating_add(1).min(rows);
        loop {
            let found = bm25::search(self, parents, &question.text, most)?;
            let (all, last) = (found.len() < most || most >= rows, found.last().copied());
            let list = self.grouped(search.unit, found, Candidate::parent_of, depth)?;
            if all || list.is_settled(depth, last) {
                return Ok(list);
            }
            most = most.saturating_mul(ROWS_PER_GROUP).min(rows);
        }
    }

    /// The first `depth` groups, each by its best row; equal scores in the order of the documents.
    fn grouped(
        &self,
        unit: Unit,
        found: Vec<Candidate>,
        parent_of: fn(&Candidate, &Snapshot) -> Result<u32, IndexError>,
        depth: usize,
    ) -> Result<List, IndexError> {
        let mut list = List::default();
        for candidate in found {
            let parent = parent_of(&candidate, self)?;
            let document = self.table::<Parents>(candidate.segment as usize)?.document.value(parent as usize);
            let row = if unit == Unit::Parent { parent } else { document };
            list.offer(Group { segment: candidate.segment, row }, candidate, parent);
        }
        let id = |group: &fuse::Found| {
            let segment = group.candidate.segment as usize;
            let document = self.table::<Parents>(segment)?.document.value(group.parent as usize) as usize;
            Ok::<_, IndexError>(self.table::<Documents>(segment)?.id.value(document).to_owned())
        };
        list.sort(id)?;
        list.truncate(depth);
        Ok(list)
    }
}

impl Candidate {
    /// The parent of a child's row.
    fn child_of(&self, snapshot: &Snapshot) -> Result<u32, IndexError> {
        Ok(snapshot.table::<Children>(self.segment as usize)?.parent.value(self.row as usize))
    }

    /// A parent's row itself.
    fn parent_of(&self, _: &Snapshot) -> Result<u32, IndexError> {
        Ok(self.row)
    }
}
