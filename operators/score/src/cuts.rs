//! The cuts that hold in this process: from which offset of a partition on which model scores.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use lunapark_operator::VersionName;
use lunapark_schemas::{Message, Share};

/// A model that takes a share of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taker {
    /// Index into the model set.
    pub model: usize,
    /// Which events.
    pub share: Share,
}

/// From this offset on this model scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// First offset.
    pub from: i64,
    /// Index into the model set.
    pub model: usize,
    /// Scores a share of the events in its place.
    pub canary: Option<Taker>,
}

impl Cut {
    /// A cut without a canary.
    pub fn to(model: usize, from: i64) -> Self {
        Self { from, model, canary: None }
    }

    /// The model that scores this event.
    pub fn scorer(&self, message: &Message<'_>) -> usize {
        self.canary.filter(|canary| canary.share.takes(message)).map_or(self.model, |canary| canary.model)
    }
}

/// From this offset on this model scores besides; or none does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShadowCut {
    /// First offset.
    pub from: i64,
    /// Which model, and which events.
    pub taker: Option<Taker>,
}

/// From this offset on events may name this version, as a cut has named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// First offset.
    pub from: i64,
    /// Of a canary: the events that mean it where they name the model alone.
    pub share: Option<Share>,
    /// Which version.
    pub version: Version,
}

/// A version that cuts name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// Index into the model set.
    Loaded(usize),
    /// Scored before what is read now, so that only events which name it need it: it is loaded when one comes.
    Away(VersionName),
}

/// The cuts of one partition, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Whose scores are the results.
    pub live: Vec<Cut>,
    /// What events may name; of one cut the canary after the model that it is tried on.
    pub named: Vec<Named>,
    /// Only where the past is scored anew: the model that takes the events of its name which pin no version.
    pub instead: Option<usize>,
    /// What is known of earlier configurations: the defaults that have scored. Only what looks at the past needs them.
    pub configured: Vec<Named>,
    /// Whose scores are not.
    pub shadow: Vec<ShadowCut>,
}

/// The cuts of every partition that this process reads. Only a partition's owner changes its cuts, and between two
/// batches.
#[derive(Debug, Default)]
pub struct CutTable {
    partitions: RwLock<HashMap<i32, Arc<Cuts>>>,
}

impl CutTable {
    /// Replaces the cuts of a partition.
    pub fn set(&self, partition: i32, mut cuts: Cuts) {
        cuts.live.sort_by_key(|cut| cut.from);
        cuts.shadow.sort_by_key(|cut| cut.from);
        cuts.named.sort_by_key(|named| named.from);
        cuts.configured.sort_by_key(|named| named.from);
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        partitions.insert(partition, Arc::new(cuts));
    }

    /// The cuts of a partition.
    pub fn of(&self, partition: i32) -> Arc<Cuts> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        partitions.get(&partition).cloned().unwrap_or_default()
    }
}

impl Cuts {
    /// These cuts, whose versions may be named from them on.
    pub fn live(live: Vec<Cut>) -> Self {
        let named = live.iter().flat_map(|cut| {
            let named = |model, share| Named { from: cut.from, share, version: Version::Loaded(model) };
            [Some(named(cut.model, None)), cut.canary.map(|canary| named(canary.model, Some(canary.share)))]
        });
        Self { named: named.flatten().collect(), live, ..Self::default() }
    }

    /// The last of these before or at an event.
    pub(crate) fn up_to(named: &[Named], offset: i64) -> &[Named] {
        &named[..named.partition_point(|named| named.from <= offset)]
    }
}

/// What a batch sees of the table: one look per partition, two comparisons per event.
pub(crate) struct View<'a> {
    table: &'a CutTable,
    seen: Vec<(i32, Arc<Cuts>)>,
    span: Span,
}

/// Offsets of one partition that are scored alike.
pub(crate) struct Span {
    /// Index into `seen`.
    at: usize,
    partition: i32,
    from: i64,
    until: i64,
    /// The cut that governs; none before the first.
    pub(crate) live: Option<Cut>,
    /// What scores besides.
    pub(crate) shadow: Option<Taker>,
}

impl Span {
    /// The model that the cuts give an event; none before the first cut.
    pub(crate) fn scorer(&self, message: &Message<'_>) -> Option<usize> {
        self.live.map(|cut| cut.scorer(message))
    }
}

impl<'a> View<'a> {
    pub(crate) fn new(table: &'a CutTable) -> Self {
        let span = Span { at: 0, partition: -1, from: 0, until: 0, live: None, shadow: None };
        Self { table, seen: Vec::new(), span }
    }

    /// What the cuts say of an offset.
    pub(crate) fn span(&mut self, partition: i32, offset: i64) -> &Span {
        let span = &self.span;
        if span.partition != partition || offset < span.from || offset >= span.until {
            self.look(partition, offset);
        }
        &self.span
    }

    /// The cuts of a partition.
    pub(crate) fn cuts(&mut self, partition: i32) -> &Cuts {
        let at = self.place(partition);
        &self.seen[at].1
    }

    fn look(&mut self, partition: i32, offset: i64) {
        let at = self.place(partition);
        let cuts = &self.seen[at].1;
        let (live, from, until) = governing(&cuts.live, offset, |cut| cut.from);
        let (shadow, shadow_from, shadow_until) = governing(&cuts.shadow, offset, |cut| cut.from);
        let (from, until) = (from.max(shadow_from), until.min(shadow_until));
        self.span = Span { at, partition, from, until, live, shadow: shadow.and_then(|cut| cut.taker) };
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

/// The last cut at or before an offset, and the offsets for which that holds.
fn governing<T: Copy>(cuts: &[T], offset: i64, from: impl Fn(&T) -> i64) -> (Option<T>, i64, i64) {
    let next = cuts.partition_point(|cut| from(cut) <= offset);
    let found = next.checked_sub(1).map(|index| cuts[index]);
    (found, found.as_ref().map_or(i64::MIN, &from), cuts.get(next).map_or(i64::MAX, &from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(cuts: &[(i64, usize)]) -> Cuts {
        Cuts::live(cuts.iter().map(|(from, model)| Cut::to(*model, *from)).collect())
    }

    fn model(view: &mut View<'_>, partition: i32, offset: i64) -> Option<usize> {
        view.span(partition, offset).live.map(|cut| cut.model)
    }

    #[test]
    fn each_offset_has_the_model_of_the_cut_before_it() {
        let table = CutTable::default();
        table.set(1, live(&[(9, 3), (5, 2)]));
        table.set(2, live(&[(0, 7)]));
        let mut view = View::new(&table);
        let places = [(1, 4), (1, 5), (2, 4), (1, 8), (1, 9), (0, 0), (1, 4), (2, 0)];
        let models = places.map(|(partition, offset)| model(&mut view, partition, offset));
        assert_eq!(models, [None, Some(2), Some(7), Some(2), Some(3), None, None, Some(7)]);
        assert_eq!(view.cuts(1).live.len(), 2);
    }

    #[test]
    fn a_batch_keeps_what_it_has_seen() {
        let table = CutTable::default();
        let mut view = View::new(&table);
        assert_eq!(model(&mut view, 0, 1), None);
        table.set(0, live(&[(0, 1)]));
        assert_eq!((model(&mut view, 0, 2), model(&mut View::new(&table), 0, 2)), (None, Some(1)));
    }

    #[test]
    fn a_shadow_begins_and_ends_at_offsets_of_its_own() {
        let table = CutTable::default();
        let taker = Taker { model: 4, share: Share::try_from(1.0).unwrap() };
        let shadow = vec![ShadowCut { from: 3, taker: Some(taker) }, ShadowCut { from: 7, taker: None }];
        table.set(0, Cuts { shadow, ..live(&[(5, 1)]) });
        let mut view = View::new(&table);
        let found: Vec<_> = (2..8).map(|offset| (model(&mut view, 0, offset), view.span(0, offset).shadow)).collect();
        let (on, one) = (Some(taker), Some(1));
        assert_eq!(found, [(None, None), (None, on), (None, on), (one, on), (one, on), (one, None)]);
    }
}
