//! A search of one version, made ready: which rows count for it is settled once, in however many slices its questions come.

use std::sync::{Arc, OnceLock};

use super::dense::{self, Questions};
use super::fuse::{self, List};
use super::part::Part;
use super::settle::Families;
use super::{Hit, MAX_SCANNED, Mode, Question, ROWS_PER_GROUP, Recall, Search, USUAL_RECALL, bm25, threads};
use crate::bits::Bits;
use crate::segment::blocks::Room;
use crate::snapshot::Snapshot;
use crate::{IndexError, Metric};

/// A search that questions can be put to.
pub struct Prepared<'a> {
    snapshot: &'a Snapshot,
    search: &'a Search,
    /// For each segment, the parents that count.
    parents: Vec<Arc<Bits>>,
    families: Families<'a>,
    /// The vectors that count; known since somebody asked by meaning.
    parts: OnceLock<Vec<Part>>,
}

impl<'a> Prepared<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, search: &'a Search) -> Result<Self, IndexError> {
        let parents = snapshot.wanted(search.filter.as_ref())?;
        let families = Families::new(snapshot, search.unit);
        Ok(Self { snapshot, search, parents, families, parts: OnceLock::new() })
    }

    /// The best hits for each of these questions, best first.
    pub fn ask(&self, questions: &[Question]) -> Result<Vec<Vec<Hit>>, IndexError> {
        let (search, families) = (self.search, &self.families);
        let depth = if search.mode == Mode::Hybrid { search.k.max(search.fusion.depth) } else { search.k };
        let dense = match search.mode {
            Mode::Words => None,
            _ => Some(self.dense(questions, depth)?),
        };
        let answer = |room: &mut Room, at: usize| {
            let words = match search.mode {
                Mode::Dense => None,
                _ => Some(self.words(&questions[at], depth)?),
            };
            let found = fuse::fuse(search, families, dense.as_ref().map(|lists| &lists[at]), words.as_ref());
            self.snapshot.hits(search, families, &questions[at], &found, room)
        };
        threads::each_with(search.threads, questions.len(), Room::default, answer).into_iter().collect()
    }

    fn dense(&self, questions: &[Question], depth: usize) -> Result<Vec<List>, IndexError> {
        let (snapshot, search) = (self.snapshot, self.search);
        let metric = search.metric.unwrap_or(snapshot.settings().metric);
        let vectors: Vec<&[f32]> = questions.iter().map(|question| question.vector.as_slice()).collect();
        let vectors = Questions::new(&vectors, snapshot.settings().dimension as usize, metric)?;
        let parts = self.parts(metric)?;
        let rows = parts.iter().map(|part| part.count).sum::<usize>();
        let mut most = depth.saturating_mul(snapshot.rows_per_group(search.unit)).saturating_add(1).min(rows);
        let mut lists: Vec<Option<List>> = questions.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..questions.len()).collect();
        while !open.is_empty() {
            let some = (open.len() < questions.len()).then(|| vectors.picked(&open));
            let asked = some.as_ref().unwrap_or(&vectors);
            let found = dense::search(parts, asked, most, search.threads)?;
            let settle = |room: &mut Room, at: usize| self.families.settle(parts, asked, at, &found[at], depth, room);
            let settled = threads::each_with(search.threads, open.len(), Room::default, settle);
            // Many rows of few groups, or of equal scores: more rows, until nothing can change or no row is left. Only of
            // the questions that need it: what one of them finds is not to depend on the others.
            for (&question, settled) in open.iter().zip(settled) {
                let (is_settled, list) = settled?;
                lists[question] = (is_settled || most >= rows).then_some(list);
            }
            open.retain(|&question| lists[question].is_none());
            most = most.saturating_mul(ROWS_PER_GROUP).min(rows);
        }
        Ok(lists.into_iter().flatten().collect())
    }

    /// The vectors of all segments, and how they are looked through.
    fn parts(&self, metric: Metric) -> Result<&[Part], IndexError> {
        if let Some(parts) = self.parts.get() {
            return Ok(parts);
        }
        if self.snapshot.live_children.get().is_none() {
            self.snapshot.preload(self.search.threads)?;
        }
        let parts = self.make_parts(metric)?;
        Ok(self.parts.get_or_init(|| parts))
    }

    fn make_parts(&self, metric: Metric) -> Result<Vec<Part>, IndexError> {
        let (snapshot, search) = (self.snapshot, self.search);
        let counts = snapshot.counting_children(search.filter.is_none(), &self.parents)?;
        let of = |(segment, counts)| Ok(Part::new(snapshot.stored(segment)?, counts));
        let mut parts = counts.into_iter().enumerate().map(of).collect::<Result<Vec<Part>, IndexError>>()?;
        let recall = match search.recall {
            Recall::Auto if parts.iter().map(|part| part.count).sum::<usize>() <= MAX_SCANNED => return Ok(parts),
            Recall::Exact => return Ok(parts),
            // A sample of which everything was found does not say that everything is.
            Recall::AtLeast(recall) if recall >= 1.0 => return Ok(parts),
            Recall::AtLeast(recall) => recall,
            Recall::Auto => USUAL_RECALL,
        };
        // What the lists reach was measured with the collection's own metric.
        let is_own = metric == snapshot.settings().metric;
        for (segment, part) in parts.iter_mut().enumerate().filter(|(_, part)| is_own || part.is_level()) {
            part.probes = snapshot.probes(segment, part, recall)?;
        }
        Ok(parts)
    }

    fn words(&self, question: &Question, depth: usize) -> Result<List, IndexError> {
        let rows = self.parents.iter().map(|parents| parents.count()).sum::<usize>();
        let mut most = depth.saturating_add(1).min(rows);
        loop {
            let found = bm25::search(self.snapshot, &self.parents, &question.text, most)?;
            let all = found.len() < most || most >= rows;
            let others = found.last().filter(|_| !all).map_or(f64::NEG_INFINITY, |last| last.score);
            let list = self.families.of_parents(&found)?;
            if list.is_settled(depth, others) {
                return self.families.sorted(list, depth);
            }
            most = most.saturating_mul(ROWS_PER_GROUP).min(rows);
        }
    }
}
