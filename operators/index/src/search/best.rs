//! The best few of many.

use std::cmp::Ordering;

/// A row of a segment, with how good it is: more is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) score: f64,
    pub(crate) segment: u32,
    pub(crate) row: u32,
}

impl Candidate {
    /// Better ones first; of equals the one that lies first, so that threads do not matter.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let place = |c: &Self| (c.segment, c.row);
        other.score.total_cmp(&self.score).then_with(|| place(self).cmp(&place(other)))
    }
}

/// What there is room for from the first one on, at most.
const FIRST: usize = 128;

/// Keeps the best `most` of what is offered.
#[derive(Clone, Debug)]
pub(crate) struct Best {
    most: usize,
    found: Vec<Candidate>,
    /// What is worse than this is not among the best.
    bar: Option<Candidate>,
}

impl Best {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, found: Vec::new(), bar: None }
    }

    #[inline]
    pub(crate) fn offer(&mut self, candidate: Candidate) {
        if self.bar.is_none_or(|bar| candidate.order(&bar) == Ordering::Less) {
            self.take(candidate);
        }
    }

    /// What a score must reach to be offered: less is worse than all that are kept.
    #[inline]
    pub(crate) fn bar(&self) -> f64 {
        self.bar.map_or(f64::NEG_INFINITY, |bar| bar.score)
    }

    fn take(&mut self, candidate: Candidate) {
        if self.found.capacity() == 0 {
            self.found.reserve(self.most.saturating_mul(2).min(FIRST));
        }
        self.found.push(candidate);
        // Cut now and then: each cut is linear, and halves what was gathered.
        if self.most > 0 && self.found.len() >= 2 * self.most {
            self.found.select_nth_unstable_by(self.most - 1, Candidate::order);
            self.found.truncate(self.most);
            self.bar = self.found.last().copied();
        }
    }

    pub(crate) fn merge(&mut self, other: Best) {
        other.found.into_iter().for_each(|candidate| self.offer(candidate));
    }

    /// The best, best first.
    pub(crate) fn sorted(mut self) -> Vec<Candidate> {
        self.found.sort_unstable_by(Candidate::order);
        self.found.truncate(self.most);
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::tests::Dice;

    #[test]
    fn the_best_are_those_of_a_full_sort() {
        let mut dice = Dice(3);
        for (count, most) in [(0, 3), (5, 10), (1000, 1), (1000, 7), (1000, 0)] {
            let score = |dice: &mut Dice| f64::from(dice.below(50));
            let all: Vec<_> = (0..count).map(|row| Candidate { score: score(&mut dice), segment: 0, row }).collect();
            let mut best = Best::new(most);
            all.iter().for_each(|candidate| best.offer(*candidate));
            let mut expected = all;
            expected.sort_by(Candidate::order);
            expected.truncate(most);
            assert_eq!(best.sorted(), expected);
        }
    }
}
