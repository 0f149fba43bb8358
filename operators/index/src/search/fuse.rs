//! Rankings, and one of two: reciprocal rank fusion.

use std::collections::hash_map::Entry;

use super::best::Candidate;
use super::settle::Families;
use super::{Mode, Search};
use crate::Metric;
use crate::quick::QuickMap;

/// What is found once: the row of a parent or of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Group {
    pub(super) segment: u32,
    pub(super) row: u32,
}

/// A group by its best row.
#[derive(Clone, Copy, Debug)]
struct Found {
    group: Group,
    candidate: Candidate,
    parent: u32,
}

/// A ranking.
#[derive(Debug, Default)]
pub(super) struct List {
    found: Vec<Found>,
    places: QuickMap<Group, usize>,
}

impl List {
    /// Makes room for so many groups more.
    pub(super) fn reserve(&mut self, groups: usize) {
        self.found.reserve(groups);
        self.places.reserve(groups);
    }

    /// Adds a row; of a group that is here already the better one stays.
    pub(super) fn offer(&mut self, group: Group, candidate: Candidate, parent: u32) {
        let found = Found { group, candidate, parent };
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

    /// The segments in which something was found, some of them repeatedly.
    pub(super) fn segments(&self) -> impl Iterator<Item = u32> {
        self.found.iter().map(|found| found.candidate.segment)
    }

    /// Orders equal scores by the id of the parent's document, which `id` gives, and place in it. Few are equal: an id is
    /// somewhere in memory, and is only read where it matters.
    pub(super) fn sort<'a>(&mut self, id: impl Fn(u32, u32) -> Option<&'a str>) {
        let of = |found: &Found| (id(found.candidate.segment, found.parent), found.candidate.row);
        self.found.sort_by(|a, b| b.candidate.score.total_cmp(&a.candidate.score).then_with(|| of(a).cmp(&of(b))));
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
#[derive(Clone, Copy, Debug)]
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
}

impl Fused {
    /// Of one ranking, or of none yet.
    fn of(found: &Found) -> Self {
        let (segment, parent) = (found.candidate.segment, found.parent);
        Self { score: 0.0, parent, segment, child: None, dense: None, words: None }
    }
}

/// One ranking of the two that there are.
pub(super) fn fuse(search: &Search, families: &Families<'_>, dense: Option<&List>, words: Option<&List>) -> Vec<Fused> {
    let dense = dense.map_or(&[][..], |list| &list.found);
    let ranked = (1..).zip(dense).map(|(rank, found)| {
        let dense = Some((found.candidate.score, rank));
        Fused { child: Some(found.candidate.row), dense, ..Fused::of(found) }
    });
    let mut all: Vec<Fused> = ranked.collect();
    if let Some(words) = words {
        add(search, &mut all, dense, words);
    }
    all.iter_mut().for_each(|fused| fused.score = score(search, fused));
    let of = |fused: &Fused| (families.id(fused.segment, fused.parent), fused.parent);
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| of(a).cmp(&of(b))));
    all.truncate(search.k);
    all
}

/// Adds the ranking by words to that by vectors, whose groups are `known`.
fn add(search: &Search, all: &mut Vec<Fused>, known: &[Found], words: &List) {
    let places: QuickMap<Group, usize> = known.iter().map(|found| found.group).zip(0..).collect();
    for (rank, found) in (1..).zip(&words.found) {
        let words = Some((found.candidate.score, rank));
        match places.get(&found.group) {
            Some(&place) => join(search, &mut all[place], found, words),
            None => all.push(Fused { words, ..Fused::of(found) }),
        }
    }
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
