//! Rankings, and one of two: reciprocal rank fusion.

use std::collections::HashMap;

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
        let place = *self.places.entry(group).or_insert(self.found.len());
        if place == self.found.len() {
            self.found.push(Found { group, candidate, parent, document: String::new() });
        }
    }

    /// Orders equal scores by document and place in it.
    pub(super) fn sort(&mut self, id: impl Fn(&Found) -> String) {
        for found in &mut self.found {
            found.document = id(found);
        }
        self.found.sort_by(|a, b| {
            let by_score = b.candidate.score.total_cmp(&a.candidate.score);
            by_score.then_with(|| (&a.document, a.candidate.row).cmp(&(&b.document, b.candidate.row)))
        });
    }

    pub(super) fn truncate(&mut self, depth: usize) {
        self.found.truncate(depth);
    }

    /// True where no row beyond the `last` one that was looked at can be among the first `depth` groups: not even by an
    /// equal score, since equal ones are ordered by document and not by where they lie.
    pub(super) fn is_settled(&self, depth: usize, last: Option<Candidate>) -> bool {
        match (depth.checked_sub(1), last) {
            (None, _) | (_, None) => true,
            (Some(at), Some(last)) => self.found.get(at).is_some_and(|found| found.candidate.score > last.score),
        }
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
