//! Rankings, and one of two: reciprocal rank fusion.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::best::Candidate;
use super::{Mode, Search};
use crate::Metric;

/// What is found once: the row of a parent or of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Group {
    pub(super) segment: u32,
    pub(super) row: u32,
}

/// A group by its best row.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) group: Group,
    pub(super) candidate: Candidate,
    pub(super) parent: u32,
    document: String,
}

/// A ranking.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    found: Vec<Found>,
    places: HashMap<Group, usize>,
}

impl List {
    /// Adds a row; of a group that is here already the better one stays.
    pub(super) fn offer(&mut self, group: Group, candidate: Candidate, parent: u32) {
        let found = Found { group, candidate, parent, document: String::new() };
        match self.places.entry(group) {
            Entry::Vacant(place) => {
                place.insert(self.found.len());
                self.found.push(found);
            }
            Entry::Occupied(place) => {
                let known = &mut self.found[*place.get()];
                if candidate.order(&known.candidate).is_lt() {
                    *known = found;
                }
            }
        }
    }

    /// Writes down whose each group is.
    pub(super) fn name<E>(&mut self, mut id: impl FnMut(&Found) -> Result<String, E>) -> Result<(), E> {
        for found in &mut self.found {
            found.document = id(found)?;
        }
        Ok(())
    }

    /// Orders equal scores by document and place in it.
    pub(super) fn sort(&mut self) {
        self.found.sort_by(|a, b| {
            let by_score = b.candidate.score.total_cmp(&a.candidate.score);
            by_score.then_with(|| (&a.document, a.candidate.row).cmp(&(&b.document, b.candidate.row)))
        });
    }

    pub(super) fn truncate(&mut self, depth: usize) {
        self.found.truncate(depth);
    }

    /// True where no other row can be among the first `depth` groups if none has more than this score: not even by an
    /// equal one, since equal ones are ordered by document and not by where they lie.
    pub(super) fn is_settled(&self, depth: usize, others: f64) -> bool {
        let Some(at) = depth.checked_sub(1) else { return true };
        let mut scores: Vec<f64> = self.found.iter().map(|found| found.candidate.score).collect();
        if at >= scores.len() {
            return others == f64::NEG_INFINITY;
        }
        let (_, last, _) = scores.select_nth_unstable_by(at, |a, b| b.total_cmp(a));
        *last > others || others == f64::NEG_INFINITY
    }
}

/// A group of the final ranking.
#[derive(Clone, Debug)]
pub(super) struct Fused {
    pub(super) score: f64,
    /// Row of the parent that is shown.
    pub(super) parent: u32,
    pub(super) segment: u32,
    /// Row of the child that was nearest, where that is in the parent.
    pub(super) child: Option<u32>,
    /// Score and rank, from 1, by vectors.
    pub(super) dense: Option<(f64, usize)>,
    /// Score and rank, from 1, by words.
    pub(super) words: Option<(f64, usize)>,
    document: String,
}

/// One ranking of the two that there are.
pub(super) fn fuse(search: &Search, dense: Option<List>, words: Option<List>) -> Vec<Fused> {
    let mut all: Vec<Fused> = Vec::new();
    let mut places: HashMap<Group, usize> = HashMap::new();
    for (rank, found) in (1..).zip(dense.into_iter().flat_map(|list| list.found)) {
        places.insert(found.group, all.len());
        let (segment, parent, child) = (found.candidate.segment, found.parent, Some(found.candidate.row));
        let dense = Some((found.candidate.score, rank));
        all.push(Fused { score: 0.0, parent, segment, child, dense, words: None, document: found.document });
    }
    for (rank, found) in (1..).zip(words.into_iter().flat_map(|list| list.found)) {
        let words = Some((found.candidate.score, rank));
        match places.get(&found.group) {
            Some(&place) => join(search, &mut all[place], &found, words),
            None => {
                let (segment, parent) = (found.candidate.segment, found.parent);
                let fused =
                    Fused { score: 0.0, parent, segment, child: None, dense: None, words, document: found.document };
                all.push(fused);
            }
        }
    }
    all.iter_mut().for_each(|fused| fused.score = score(search, fused));
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| (&a.document, a.parent).cmp(&(&b.document, b.parent))));
    all.truncate(search.k);
    all
}

/// The passage of a document is that of the ranking in which it stands higher.
fn join(search: &Search, fused: &mut Fused, found: &Found, words: Option<(f64, usize)>) {
    fused.words = words;
    let (dense, words) = (share(search.fusion.dense, search, fused.dense), share(search.fusion.words, search, words));
    if words > dense && fused.parent != found.parent {
        (fused.parent, fused.child) = (found.parent, None);
    }
}

fn share(weight: f64, search: &Search, ranked: Option<(f64, usize)>) -> f64 {
    ranked.map_or(0.0, |(_, rank)| weight / (search.fusion.k + rank as f64))
}

/// What orders the hits: more is better, for distances as well, which are negative here.
fn score(search: &Search, fused: &Fused) -> f64 {
    let alone = |ranked: Option<(f64, usize)>| ranked.map_or(0.0, |(score, _)| score);
    match search.mode {
        Mode::Dense => alone(fused.dense),
        Mode::Words => alone(fused.words),
        Mode::Hybrid => {
            share(search.fusion.dense, search, fused.dense) + share(search.fusion.words, search, fused.words)
        }
    }
}

/// A score by vectors as it is shown: a distance is positive.
pub(super) fn shown(metric: Metric, score: f64) -> f64 {
    if metric == Metric::L2 { -score } else { score }
}
