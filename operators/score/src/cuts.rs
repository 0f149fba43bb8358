//! The cuts that hold in this process: from which offset of a partition on which model scores.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// From this offset on this model scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// First offset.
    pub from: i64,
    /// Index into the model set.
    pub model: usize,
}

/// The cuts of every partition that this process reads, ascending. Only a partition's owner changes its cuts, and
/// between two batches.
#[derive(Debug, Default)]
pub struct CutTable {
    partitions: RwLock<HashMap<i32, Arc<[Cut]>>>,
}

impl CutTable {
    /// Replaces the cuts of a partition.
    pub fn set(&self, partition: i32, mut cuts: Vec<Cut>) {
        cuts.sort_by_key(|cut| cut.from);
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        partitions.insert(partition, cuts.into());
    }

    /// The cuts of a partition.
    pub fn of(&self, partition: i32) -> Arc<[Cut]> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        partitions.get(&partition).cloned().unwrap_or_default()
    }
}

/// What a batch sees of the table: one look per partition, two comparisons per event.
pub(crate) struct View<'a> {
    table: &'a CutTable,
    seen: Vec<(i32, Arc<[Cut]>)>,
    span: Span,
}

/// Offsets of one partition that one model scores.
struct Span {
    /// Index into `seen`.
    at: usize,
    partition: i32,
    from: i64,
    until: i64,
    model: Option<usize>,
}

impl<'a> View<'a> {
    pub(crate) fn new(table: &'a CutTable) -> Self {
        Self { table, seen: Vec::new(), span: Span { at: 0, partition: -1, from: 0, until: 0, model: None } }
    }

    /// The model that the cuts give an offset; none before the first cut.
    pub(crate) fn model(&mut self, partition: i32, offset: i64) -> Option<usize> {
        let span = &self.span;
        if span.partition != partition || offset < span.from || offset >= span.until {
            self.look(partition, offset);
        }
        self.span.model
    }

    /// The cuts of a partition.
    pub(crate) fn cuts(&mut self, partition: i32) -> &[Cut] {
        let at = self.place(partition);
        &self.seen[at].1
    }

    fn look(&mut self, partition: i32, offset: i64) {
        let at = self.place(partition);
        let cuts = &self.seen[at].1;
        let next = cuts.partition_point(|cut| cut.from <= offset);
        let governing = next.checked_sub(1).map(|index| cuts[index]);
        let from = governing.map_or(i64::MIN, |cut| cut.from);
        let until = cuts.get(next).map_or(i64::MAX, |cut| cut.from);
        self.span = Span { at, partition, from, until, model: governing.map(|cut| cut.model) };
    }

    fn place(&mut self, partition: i32) -> usize {
        if self.span.partition == partition {
            return self.span.at;
        }
        let found = self.seen.iter().position(|(seen, _)| *seen == partition);
        found.unwrap_or_else(|| {
            self.seen.push((partition, self.table.of(partition)));
            self.seen.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_offset_has_the_model_of_the_cut_before_it() {
        let table = CutTable::default();
        table.set(1, vec![Cut { from: 9, model: 3 }, Cut { from: 5, model: 2 }]);
        table.set(2, vec![Cut { from: 0, model: 7 }]);
        let mut view = View::new(&table);
        let models = [(1, 4), (1, 5), (2, 4), (1, 8), (1, 9), (0, 0), (1, 4), (2, 0)].map(|(p, o)| view.model(p, o));
        assert_eq!(models, [None, Some(2), Some(7), Some(2), Some(3), None, None, Some(7)]);
        assert_eq!(view.cuts(1).len(), 2);
    }

    #[test]
    fn a_batch_keeps_what_it_has_seen() {
        let table = CutTable::default();
        let mut view = View::new(&table);
        assert_eq!(view.model(0, 1), None);
        table.set(0, vec![Cut { from: 0, model: 1 }]);
        assert_eq!((view.model(0, 2), View::new(&table).model(0, 2)), (None, Some(1)));
    }
}
